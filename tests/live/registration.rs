//! Phones that register: with the right password and the wrong one, alone and twenty behind one
//! address.

use std::time::Duration;

use kit::baresip::{Phone, Setup};
use kit::company::Company;
use kit::digest::{self, Login};
use kit::probe::Probe;
use kit::scene::play;
use kit::server::Server;
use kit::sipp::{self, Sipp};
use kit::wait::{self, SOON};

const ALL_CALLS: Duration = Duration::from_secs(50);

#[test]
fn a_wrong_password_is_refused_slowed_down_and_nobody_elses_trouble() {
    play("password", |scene| {
        let (alpha, beta) = (Company::new("alpha.test"), Company::new("beta.test"));
        let server = Server::start_with(scene, &[&alpha, &beta])?;
        // The same number's password in the other company. This version of baresip answers every
        // challenge with it, for ever.
        let theirs = beta.password("101");
        let setup =
            Setup { password: Some(&theirs), ..Setup::new(&alpha, "101", server.at.sip, 440) };
        let stubborn = Phone::start(scene, &setup)?;
        for name in ["tenantd_passwords_wrong_total", "tenantd_passwords_slowed_down_total"] {
            wait::until(name, SOON, || Ok((server.metric(name)? >= 1.0).then_some(())))?;
        }
        server.wait_for_metric("tenantd_registrations", 0.0, SOON)?;

        // From the same address: another user, and the same number of the other company.
        let neighbour = Setup::new(&alpha, "102", server.at.sip, 440);
        let _neighbour = Phone::registered(scene, &neighbour)?;
        let _twin = Phone::registered(scene, &Setup::new(&beta, "101", server.at.sip, 440))?;
        server.wait_for_metric("tenantd_registrations", 2.0, SOON)?;
        drop(stubborn);
        Ok(())
    });
}

#[test]
fn a_company_that_wants_sha_256_gets_it() {
    play("sha256", |scene| {
        let mut alpha = Company::new("alpha.test");
        alpha.settings = "digest = [\"SHA-256\"]\n".to_owned();
        let server = Server::start_with(scene, &[&alpha])?;
        let mut probe = Probe::new()?;
        let request = probe.request("REGISTER", "sip:alpha.test", "sip:101@alpha.test")?;
        probe.send(server.at.sip, request.as_bytes())?;
        let challenge = probe.answer(SOON)?.unwrap_or_default();
        assert_eq!(challenge.matches("WWW-Authenticate:").count(), 1, "{challenge}");
        assert!(challenge.contains("algorithm=SHA-256"), "{challenge}");

        let proof = digest::answer_sha256(
            &challenge,
            "REGISTER",
            "sip:alpha.test",
            &Login { user: "101", password: &alpha.password("101") },
        )?;
        let request = probe.request("REGISTER", "sip:alpha.test", "sip:101@alpha.test")?;
        let proved = request.replacen("\r\n", &format!("\r\nAuthorization: {proof}\r\n"), 1);
        probe.send(server.at.sip, proved.as_bytes())?;
        let answer = probe.answer(SOON)?.unwrap_or_default();
        assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
        server.wait_for_metric("tenantd_registrations", 1.0, SOON)
    });
}

#[test]
fn a_phone_that_says_good_bye_is_gone_at_once() {
    play("goodbye", |scene| {
        let alpha = Company::new("alpha.test");
        let server = Server::start_with(scene, &[&alpha])?;
        let phone = Phone::registered(scene, &Setup::new(&alpha, "101", server.at.sip, 440))?;
        server.wait_for_metric("tenantd_registrations", 1.0, SOON)?;
        phone.quit()?;
        server.wait_for_metric("tenantd_registrations", 0.0, SOON)
    });
}

#[test]
fn twenty_handsets_of_one_base_share_an_address_and_each_is_reached() {
    play("base", |scene| {
        let mut alpha = Company::new("alpha.test");
        alpha.extensions.extend((200..220).map(|number| number.to_string()));
        let handsets = &alpha.extensions[3..];
        let server = Server::start_with(scene, &[&alpha])?;
        let (base, caller, (sound, _)) =
            (scene.ports.one()?, scene.ports.one()?, scene.ports.many(2)?);
        let domain = ("domain", alpha.domain.to_owned());
        let sound = ("sound", sound.to_string());

        let register = sipp::Setup {
            scenario: "register",
            server: server.at.sip,
            port: base,
            keys: vec![domain.clone(), ("expires", "600".to_owned())],
            rows: handsets.iter().map(|number| sipp::user(&alpha, number)).collect(),
            calls: handsets.len(),
        };
        let registered = Sipp::play(scene, &register, SOON)?.noted();
        assert_eq!(registered.len(), 20, "{registered:?}");
        server.wait_for_metric("tenantd_registrations", 20.0, SOON)?;

        let answer = sipp::Setup {
            scenario: "answer",
            keys: vec![sound.clone()],
            rows: vec![],
            ..register.clone()
        };
        let mut answering = Sipp::start(scene, &answer)?;
        let user = sipp::user(&alpha, "101");
        let call = sipp::Setup {
            scenario: "call",
            port: caller,
            keys: vec![domain, sound],
            rows: handsets.iter().map(|number| format!("{user};{number}")).collect(),
            ..register.clone()
        };
        Sipp::play(scene, &call, ALL_CALLS)?;
        answering.finish(SOON)?;

        // Each call reached the very Contact that its handset had registered, parameters included.
        let mut called = answering.noted();
        called.sort();
        let contact = |(index, number): (usize, &String)| {
            format!("called sip:{number}@127.0.0.1:{base};handset={}", index + 1)
        };
        let expected: Vec<String> = handsets.iter().enumerate().map(contact).collect();
        assert_eq!(called, expected);
        Ok(())
    });
}
