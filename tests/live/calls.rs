//! Calls between real phones, with sound that is measured, while the company next door, whose
//! phones have the same numbers, sees and hears nothing of it (`kit::twins`).

use std::net::SocketAddr;
use std::time::Duration;

use kit::baresip::{self, Answer, Phone, Setup};
use kit::company::Company;
use kit::ear::Ear;
use kit::failure::Outcome;
use kit::scene::{Scene, play};
use kit::server::Server;
use kit::sipp::{self, Sipp};
use kit::wait::SOON;

#[test]
fn two_phones_talk_hold_resume_and_hang_up_and_the_other_company_hears_nothing() {
    play("call", |scene| {
        let alpha = Company::new("alpha.test");
        let server = Server::start_with(scene, &[&alpha])?;
        let mut ada = Phone::registered(scene, &Setup::new(&alpha, "101", server.at.sip, 440))?;
        let called =
            Setup { answer: Answer::WhenTold, ..Setup::new(&alpha, "102", server.at.sip, 700) };
        let mut bob = Phone::registered(scene, &called)?;
        server.wait_for_metric("tenantd_registrations", 2.0, SOON)?;

        ada.dial("102")?;
        bob.wait_for("CALL_INCOMING")?;
        ada.wait_for("CALL_RINGING")?;
        bob.answer()?;
        ada.wait_for("CALL_ESTABLISHED")?;
        bob.wait_for("CALL_ESTABLISHED")?;
        server.wait_for_metric("tenantd_calls", 1.0, SOON)?;
        ada.wait_for_sound(75)?;
        bob.wait_for_sound(75)?;
        ada.press("5")?;
        assert_eq!(bob.wait_for("CALL_DTMF_START")?, "5");

        ada.hold()?;
        bob.wait_for_silence(Duration::from_millis(500))?;
        ada.resume()?;
        bob.wait_for_sound(25)?;
        ada.wait_for_sound(25)?;

        bob.hang_up()?;
        ada.wait_for("CALL_CLOSED")?;
        ada.check_heard(700.0)?;
        bob.check_heard(440.0)?;
        server.wait_for_metric("tenantd_calls", 0.0, SOON)?;
        server.wait_for_metric("tenantd_calls_succeeded_total", 1.0, SOON)
    });
}

#[test]
fn a_caller_who_hangs_up_first_stops_the_ringing() {
    play("cancel", |scene| {
        let alpha = Company::new("alpha.test");
        let server = Server::start_with(scene, &[&alpha])?;
        let mut ada = Phone::registered(scene, &Setup::new(&alpha, "101", server.at.sip, 440))?;
        let called =
            Setup { answer: Answer::WhenTold, ..Setup::new(&alpha, "102", server.at.sip, 700) };
        let mut bob = Phone::registered(scene, &called)?;

        ada.dial("102")?;
        bob.wait_for("CALL_INCOMING")?;
        ada.hang_up()?;
        bob.wait_for("CALL_CLOSED")?;
        server.wait_for_metric("tenantd_calls", 0.0, SOON)?;
        server.wait_for_metric("tenantd_calls_failed_total", 1.0, SOON)
    });
}

#[test]
fn a_group_rings_everywhere_and_the_first_answer_wins() {
    play("group", |scene| {
        let mut alpha = Company::new("alpha.test");
        alpha.tables =
            "[[tenant.ring_group]]\nnumber = \"600\"\nmembers = [\"102\", \"103\"]\n".to_owned();
        let server = Server::start_with(scene, &[&alpha])?;
        let mut ada = Phone::registered(scene, &Setup::new(&alpha, "101", server.at.sip, 440))?;
        let ringing = |number| Setup {
            answer: Answer::WhenTold,
            ..Setup::new(&alpha, number, server.at.sip, 700)
        };
        let mut bob = Phone::registered(scene, &ringing("102"))?;
        let mut eve = Phone::registered(scene, &ringing("103"))?;

        ada.dial("600")?;
        bob.wait_for("CALL_INCOMING")?;
        eve.wait_for("CALL_INCOMING")?;
        eve.answer()?;
        ada.wait_for("CALL_ESTABLISHED")?;
        bob.wait_for("CALL_CLOSED")?;
        // RFC 3326: who did not answer is told why it stopped ringing.
        assert!(bob.messages_with("Reason: SIP") > 0, "no Reason on the CANCEL");
        ada.wait_for_sound(75)?;
        ada.hang_up()?;
        eve.wait_for("CALL_CLOSED")?;
        ada.check_heard(700.0)
    });
}

#[test]
fn another_company_is_reached_by_its_public_number_and_only_by_that() {
    play("across", |scene| {
        let alpha = Company::new("alpha.test");
        let mut beta = Company::new("beta.test");
        beta.tables = "[[tenant.number]]\nnumber = \"+431234567\"\nto = \"102\"\n".to_owned();
        let server = Server::start_with(scene, &[&alpha, &beta])?;
        let mut ada = Phone::registered(scene, &Setup::new(&alpha, "101", server.at.sip, 440))?;
        let mut theirs = Phone::registered(scene, &Setup::new(&beta, "102", server.at.sip, 700))?;

        ada.dial("sip:102@beta.test")?;
        ada.wait_for("CALL_CLOSED")?;
        assert_eq!(theirs.disturbance()?, None, "reached past the company's public number");

        ada.dial("+431234567")?;
        baresip::talking(&mut theirs, &mut ada)?;
        theirs.hang_up()?;
        ada.wait_for("CALL_CLOSED")?;
        ada.check_heard(700.0)?;
        theirs.check_heard(440.0)
    });
}

/// 102, whose signalling comes to `server`, calls 101, puts it on hold and comes back: its sound is
/// heard, is not heard, and is heard again, and so is that of 101 at the end.
pub(super) fn hold_and_resume(
    scene: &mut Scene,
    alpha: &Company,
    server: SocketAddr,
    ada: &mut Phone,
) -> Outcome {
    let (port, (sound, _)) = (scene.ports.one()?, scene.ports.many(2)?);
    let mut ear = Ear::open(sound, 700.0)?;
    let setup = sipp::Setup {
        scenario: "hold",
        server,
        port,
        keys: vec![("domain", alpha.domain.to_owned()), ("sound", sound.to_string())],
        rows: vec![format!("{};101", sipp::user(alpha, "102"))],
        calls: 1,
    };
    let mut caller = Sipp::start(scene, &setup)?;
    ada.wait_for("CALL_ESTABLISHED")?;

    ear.wait_for_tone(440.0)?;
    ear.wait_for_silence(Duration::from_secs(1))?;
    ear.wait_for_tone(440.0)?;
    ada.wait_for_sound(25)?;

    caller.finish(SOON)?;
    ada.wait_for("CALL_CLOSED")?;
    ada.check_heard(700.0)
}

#[test]
fn sound_stops_on_hold_and_comes_back_when_resumed() {
    play("hold", |scene| {
        let alpha = Company::new("alpha.test");
        let server = Server::start_with(scene, &[&alpha])?;
        let mut ada = Phone::registered(scene, &Setup::new(&alpha, "101", server.at.sip, 440))?;
        hold_and_resume(scene, &alpha, server.at.sip, &mut ada)
    });
}
