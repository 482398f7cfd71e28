//! Phones that register: with the right password and the wrong one, alone and twenty behind one
//! address.

use std::time::Duration;

use kit::baresip::{Phone, Setup};
use kit::company::Company;
use kit::probe::Probe;
use kit::scene::play;
use kit::server::Server;
use kit::sipp::{self, Sipp};
use kit::wait::{self, SOON};
use pbx::sip::digest;

const ALL_CALLS: Duration = Duration::from_secs(50);

#[test]
fn a_wrong_password_is_refused_and_counted() {
    play("password", |scene| {
        let (alpha, beta) = (Company::new("alpha.test"), Company::new("beta.test"));
        let server = Server::start_with(scene, &[&alpha, &beta])?;
        // The same number's password in the other company.
        let theirs = beta.password("101");
        let setup =
            Setup { password: Some(&theirs), ..Setup::new(&alpha, "101", server.at.sip, 440) };
        // This phone tries again with each new challenge: it is slowed down.
        let _phone = Phone::start(scene, &setup)?;
        wait::until("a counted failure, and slower answers", SOON, || {
            let wrong = server.metric("tenantd_passwords_wrong_total")?;
            let slowed = server.metric("tenantd_passwords_slowed_down_total")?;
            Ok((wrong >= 5.0 && slowed >= 1.0).then_some(()))
        })?;
        server.wait_for_metric("tenantd_registrations", 0.0, SOON)
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

        // Neither baresip 1.0 nor sipp 3.6 knows SHA-256: the proof is worked out by hand.
        let nonce = challenge.split("nonce=\"").nth(1).and_then(|rest| rest.split('"').next());
        let proof = proof(nonce.unwrap_or_default(), &alpha.password("101"));
        let again = probe.request("REGISTER", "sip:alpha.test", "sip:101@alpha.test")?;
        let again = again.replace("Content-Length", &format!("{proof}\r\nContent-Length"));
        probe.send(server.at.sip, again.as_bytes())?;
        let answer = probe.answer(SOON)?.unwrap_or_default();
        assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
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

/// RFC 7616 §3.4.1 for 101 of alpha.test.
fn proof(nonce: &str, password: &str) -> String {
    let hash = |parts: &[&str]| -> String {
        digest::sha256(parts).iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let uri = "sip:alpha.test";
    let secret = hash(&["101", "alpha.test", password]);
    let asked = hash(&["REGISTER", uri]);
    let response = hash(&[&secret, nonce, "00000001", "c", "auth", &asked]);
    format!(
        "Authorization: Digest username=\"101\", realm=\"alpha.test\", nonce=\"{nonce}\", \
         uri=\"{uri}\", response=\"{response}\", algorithm=SHA-256, qop=auth, nc=00000001, \
         cnonce=\"c\""
    )
}
