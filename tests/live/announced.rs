//! Phones hear that they are recorded, once, and go on talking; the recording holds the talk.
//!
//! What is heard is measured, in what each phone kept of its call. Next door it is another tone, and
//! somebody must ask for it by a code.

use std::fs;

use kit::baresip::{self, Phone, Setup};
use kit::company::Company;
use kit::failure::{Failure, Outcome};
use kit::scene::{Scene, play};
use kit::server::Server;
use kit::tone;
use kit::wait::{self, SOON, START};

use crate::recordings::{check_ears, object, wait_for_rows};

const RATE: u32 = 16_000;
/// How long the announcement is, and how much of it may be missing at its edges.
const SAID_FOR: f64 = 1.5;
const EDGES: f64 = 0.2;
/// Packets that are enough for the announcement, and talk before and after it.
const A_WHILE: u64 = 200;

/// A company that announces its recordings by a tone.
fn company(scene: &Scene, domain: &'static str, record: &str, hz: f64) -> Outcome<Company> {
    let mut company = Company::new(domain);
    let file = format!("told-{domain}.wav");
    let samples = (SAID_FOR * f64::from(RATE)) as usize;
    tone::sine(RATE, hz, samples).write(&scene.folder.path().join(&file))?;
    company.settings = format!("record = {record:?}\nannounce_recording = \"told\"\n");
    company.tables = format!("[[tenant.sound]]\nname = \"told\"\nfile = {file:?}\n");
    Ok(company)
}

/// For how long a phone heard a tone in its last call.
fn heard(phone: &Phone, hz: f64) -> Outcome<f64> {
    let sound = phone.recordings()?.pop().ok_or_else(|| Failure::new("nothing was heard"))?;
    Ok(tone::seconds_of(&sound, hz))
}

/// It heard the announcement once, its partner before or after it, and nothing of next door.
fn check(phone: &Phone, (told, partner, other): (f64, f64, f64)) -> Outcome {
    let heard_for = heard(phone, told)?;
    let talked = heard(phone, partner)?;
    let strange = heard(phone, other)?;
    match (heard_for - SAID_FOR).abs() <= EDGES && talked > 1.0 && strange < 0.1 {
        true => Ok(()),
        false => {
            let said = format!(
                "{heard_for} s of {told} Hz, {talked} s of {partner} Hz, {strange} s of {other} Hz"
            );
            Err(Failure::new(said))
        }
    }
}

fn story(server: &Server, company: &Company) -> Outcome<String> {
    let query = format!(
        "SELECT c.story::text FROM call c JOIN domain d USING (tenant_id) WHERE d.name = '{}'",
        company.domain
    );
    wait::until("the call's record", SOON, || {
        let story = server.ask(&query)?;
        Ok((!story.trim().is_empty()).then_some(story))
    })
}

#[test]
fn both_hear_that_they_are_recorded_and_then_each_other_again() {
    play("announced", |scene| {
        let alpha = company(scene, "alpha.test", "always", 1_000.0)?;
        let beta = company(scene, "beta.test", "on_demand", 1_300.0)?;
        let server = Server::start_with(scene, &[&alpha, &beta])?;
        // One call is passed on as it is, the other one converted, where the phone has two codecs.
        let codecs = if baresip::has(&["opus"]) { "opus/48000/2" } else { "PCMA/8000/1" };
        let mut phones = vec![];
        for (company, number, tone, codecs) in [
            (&alpha, "101", 440, "PCMA/8000/1"),
            (&alpha, "102", 700, codecs),
            (&beta, "101", 440, "PCMA/8000/1"),
            (&beta, "102", 700, "PCMA/8000/1"),
        ] {
            let setup = Setup::new(company, number, server.at.sip, tone);
            phones.push(Phone::registered(scene, &Setup { codecs, ..setup })?);
        }
        let [ada, bob, eve, mallory] = &mut phones[..] else { unreachable!("four phones") };
        for (caller, callee) in [(&mut *ada, &mut *bob), (&mut *eve, &mut *mallory)] {
            caller.dial("102")?;
            baresip::talking(caller, callee)?;
        }
        eve.wait_for_sound(50)?;
        for key in ["*", "1"] {
            mallory.press(key)?;
        }
        for (caller, callee) in [(&mut *ada, &mut *bob), (&mut *eve, &mut *mallory)] {
            caller.wait_for_sound(A_WHILE)?;
            callee.wait_for_sound(A_WHILE)?;
            baresip::part(caller, callee)?;
        }
        let rows = wait_for_rows(&server, 2, START)?;
        assert_eq!((&*rows[0].asked_by, &*rows[1].asked_by), ("", "102"));
        for row in &rows {
            // What was said meanwhile is there, and what the server said is not.
            check_ears(&object(&server, row)?, 2.5, [440.0, 700.0])?;
        }
        check(ada, (1_000.0, 700.0, 1_300.0))?;
        check(bob, (1_000.0, 440.0, 1_300.0))?;
        check(eve, (1_300.0, 700.0, 1_000.0))?;
        check(mallory, (1_300.0, 440.0, 1_000.0))?;
        for company in [&alpha, &beta] {
            let story = story(&server, company)?;
            assert_eq!(story.matches("HeardOfRecording").count(), 2, "{story}");
        }
        Ok(())
    });
}

#[test]
fn a_call_goes_on_and_is_recorded_if_its_announcement_is_gone() {
    play("announced-gone", |scene| {
        let alpha = company(scene, "alpha.test", "always", 1_000.0)?;
        let server = Server::start_with(scene, &[&alpha])?;
        let row =
            server.ask("SELECT 'tenant/' || tenant_id || '/sounds/' || object_id FROM sound")?;
        let kept = server.data_file("objects").join(row.trim());
        wait::until("the sound in the store", SOON, || Ok(kept.exists().then_some(())))?;
        fs::remove_file(&kept)?;
        let setup = |number, tone| Setup::new(&alpha, number, server.at.sip, tone);
        let mut ada = Phone::registered(scene, &setup("101", 440))?;
        let mut bob = Phone::registered(scene, &setup("102", 700))?;
        ada.dial("102")?;
        baresip::talking(&mut ada, &mut bob)?;
        ada.wait_for_sound(A_WHILE)?;
        bob.wait_for_sound(A_WHILE)?;
        baresip::part(&mut ada, &mut bob)?;
        let row = wait_for_rows(&server, 1, START)?.remove(0);
        check_ears(&object(&server, &row)?, 2.5, [440.0, 700.0])?;
        assert!(heard(&ada, 700.0)? > 2.5 && heard(&bob, 440.0)? > 2.5, "nothing cut the talk");
        let story = story(&server, &alpha)?;
        assert_eq!(story.matches("SoundMissing").count(), 2, "{story}");
        assert_eq!(server.metric("tenantd_sounds_missing_total")?, 2.0);
        Ok(())
    });
}
