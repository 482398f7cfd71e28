//! A server that is killed and comes back: phones that registered before are called as if nothing
//! had happened.

use kit::baresip::{self, Phone, Setup};
use kit::company::Company;
use kit::scene::play;
use kit::server::Server;
use kit::wait::SOON;

#[test]
fn after_a_kill_a_call_arrives_without_a_new_register() {
    play("killed", |scene| {
        let (alpha, beta) = (Company::new("alpha.test"), Company::new("beta.test"));
        let mut server = Server::start_with(scene, &[&alpha, &beta])?;
        let mut ada = Phone::registered(scene, &Setup::new(&alpha, "101", server.at.sip, 440))?;
        let mut bob = Phone::registered(scene, &Setup::new(&alpha, "102", server.at.sip, 700))?;
        let mut twin = Phone::registered(scene, &Setup::new(&beta, "102", server.at.sip, 1_000))?;
        let registers = |phone: &Phone| phone.messages_with("REGISTER sip:");
        let before = registers(&bob);

        server.cut_off()?;
        server.run()?;
        server.wait_for_metric("tenantd_registrations", 3.0, SOON)?;

        baresip::converse(&mut ada, "102", &mut bob)?;
        assert_eq!(registers(&bob), before, "the phone had to register again");
        assert_eq!(twin.disturbance()?, None);
        Ok(())
    });
}

#[test]
fn a_registration_that_was_confirmed_survives_the_death_of_everything() {
    play("everything", |scene| {
        let alpha = Company::new("alpha.test");
        let mut server = Server::start_with(scene, &[&alpha])?;
        let mut ada = Phone::registered(scene, &Setup::new(&alpha, "101", server.at.sip, 440))?;
        let mut bob = Phone::registered(scene, &Setup::new(&alpha, "102", server.at.sip, 700))?;

        server.cut_off_with_postgres()?;
        server.run()?;

        server.wait_for_metric("tenantd_registrations", 2.0, SOON)?;
        baresip::briefly(&mut ada, "102", &mut bob)
    });
}

#[test]
fn a_phone_that_left_before_the_kill_stays_gone() {
    play("left", |scene| {
        let alpha = Company::new("alpha.test");
        let mut server = Server::start_with(scene, &[&alpha])?;
        let leaving = Phone::registered(scene, &Setup::new(&alpha, "101", server.at.sip, 440))?;
        let staying = Phone::registered(scene, &Setup::new(&alpha, "102", server.at.sip, 700))?;
        leaving.quit()?;
        server.wait_for_metric("tenantd_registrations", 1.0, SOON)?;

        server.cut_off()?;
        server.run()?;

        server.wait_for_metric("tenantd_registrations", 1.0, SOON)?;
        drop(staying);
        Ok(())
    });
}
