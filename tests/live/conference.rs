//! Real phones in a conference: each hears all the others and not itself, and nobody of next door.
//!
//! What is heard is measured: which tones, and how loud each is among the others.

use std::time::Duration;

use kit::baresip::{self, Encrypts, Over, Phone, Setup};
use kit::company::Company;
use kit::failure::{Failure, Outcome};
use kit::listeners::Listeners;
use kit::scene::{Scene, play};
use kit::server::Server;
use kit::tls::Authority;
use kit::tone;
use kit::visitor::Visitor;
use kit::wait::{self, SOON};
use kit::wav::Sound;

const HOUR: Duration = Duration::from_secs(3_600);
const MEMBERS: &str = "tenantd_conference_members_total";
const MADE: &str = "tenantd_sound_packets_made_total";
/// Packets that make so much sound that tones and pauses before can be left out.
const A_WHILE: u64 = 200;
/// What of it is measured, in seconds from its end: before the others began to leave.
const FROM_END: [f64; 2] = [2.5, 0.8];
/// A tone that is heard, in decibels of full scale, and one that is not. Phones say theirs at -9.
const HEARD: f64 = -18.0;
const NOT_HEARD: f64 = -45.0;

/// A company with two conferences, one of which has a PIN.
fn company(domain: &'static str) -> Company {
    let mut company = Company::new(domain);
    company.tables = "[[tenant.conference]]\nnumber = \"800\"\n\
        [[tenant.conference]]\nnumber = \"801\"\npin = \"4711\"\n"
        .to_owned();
    company
}

fn phone(
    scene: &mut Scene,
    server: &Server,
    (company, number): (&Company, &str),
    (codecs, tone): (&str, u32),
) -> Outcome<Phone> {
    let setup = Setup::new(company, number, server.at.sip, tone);
    Phone::registered(scene, &Setup { codecs, ..setup })
}

/// Whether the phone has these codecs; says so where it has not.
fn has(modules: &[&str]) -> bool {
    let missing = baresip::lacks(modules);
    if let Some(module) = missing {
        eprintln!("SKIPPED: baresip was installed without {module}");
    }
    missing.is_none()
}

fn enter(phone: &mut Phone, number: &str) -> Outcome {
    phone.dial(number)?;
    phone.wait_for("CALL_ESTABLISHED").map(drop)
}

/// Presses keys so slowly that a phone takes them for several.
fn press(phone: &mut Phone, keys: &str) -> Outcome {
    for key in keys.chars() {
        phone.press(&key.to_string())?;
        // A key is down for about so long, and the next must not begin before.
        phone.wait_for_sound(25)?;
    }
    Ok(())
}

/// All have heard each other for a while, and leave.
fn leave(phones: &mut [&mut Phone]) -> Outcome {
    for phone in phones.iter_mut() {
        phone.wait_for_sound(A_WHILE)?;
    }
    part(phones)
}

fn part(phones: &mut [&mut Phone]) -> Outcome {
    for phone in phones.iter_mut() {
        phone.hang_up()?;
    }
    for phone in phones.iter_mut() {
        phone.wait_for("CALL_CLOSED")?;
    }
    Ok(())
}

/// What a phone heard in its last call while all were there.
fn heard(phone: &Phone) -> Outcome<Sound> {
    let recordings = phone.recordings()?;
    let whole = recordings.last().ok_or_else(|| Failure::new("nothing was recorded"))?;
    let at = |from_end: f64| {
        let samples = (from_end * f64::from(whole.rate)) as usize;
        whole.samples.len().saturating_sub(samples)
    };
    let samples = whole.samples[at(FROM_END[0])..at(FROM_END[1])].to_vec();
    Ok(Sound { rate: whole.rate, samples })
}

/// It heard these tones, and not those.
fn check(phone: &Phone, tones: &[u32], others: &[u32]) -> Outcome {
    let sound = heard(phone)?;
    let level = |hz: &u32| (*hz, tone::level_among(&sound, f64::from(*hz)));
    let levels: Vec<_> = tones.iter().map(level).collect();
    let unheard: Vec<_> = others.iter().map(level).collect();
    let fits = levels.iter().all(|(_, level)| *level >= HEARD)
        && unheard.iter().all(|(_, level)| *level <= NOT_HEARD);
    match fits {
        true => Ok(()),
        false => Err(Failure::new(format!("heard {levels:?}, and beside them {unheard:?}"))),
    }
}

#[test]
fn three_phones_with_three_codecs_hear_both_others_and_not_themselves() {
    if !has(&["opus", "g722", "g711"]) {
        return;
    }
    play("conference", |scene| {
        let alpha = company("alpha.test");
        let server = Server::start_with(scene, &[&alpha])?;
        let tones = [440, 1_000, 1_700];
        let mut ada = phone(scene, &server, (&alpha, "101"), ("pcma", tones[0]))?;
        let mut bob = phone(scene, &server, (&alpha, "102"), ("G722/16000/1", tones[1]))?;
        let mut eve = phone(scene, &server, (&alpha, "103"), ("opus/48000/2", tones[2]))?;
        for phone in [&mut ada, &mut bob, &mut eve] {
            enter(phone, "800")?;
        }
        server.wait_for_metric(MEMBERS, 3.0, SOON)?;
        leave(&mut [&mut ada, &mut bob, &mut eve])?;
        check(&ada, &[1_000, 1_700], &[440])?;
        check(&bob, &[440, 1_700], &[1_000])?;
        check(&eve, &[440, 1_000], &[1_700])?;
        wait::until("records of three members", SOON, || {
            let told = server.ask(
                "SELECT count(*) FROM call, jsonb_array_elements(story) told
                 WHERE told->'event'->'EnteredConference'->>'number' = '800'",
            )?;
            Ok((told.trim() == "3").then_some(()))
        })
    });
}

#[test]
fn the_page_says_who_is_in_a_conference_who_is_muted_and_who_speaks() {
    play("conference-page", |scene| {
        let (alpha, beta) = (company("alpha.test"), company("beta.test"));
        let server = Server::start_with(scene, &[&alpha, &beta])?;
        let mut ada = phone(scene, &server, (&alpha, "101"), ("pcma", 440))?;
        let mut bob = phone(scene, &server, (&alpha, "102"), ("pcma", 1_000))?;
        let admin = Visitor::sign_in(server.at.web, &alpha)?;
        let twin = Visitor::sign_in(server.at.web, &beta)?;
        let shows = |what: &str, words: &[&str]| {
            wait::until(what, SOON, || {
                let page = admin.get(&format!("{}/live", admin.home))?.body;
                Ok(words.iter().all(|word| page.contains(word)).then_some(()))
            })
        };
        enter(&mut ada, "801")?;
        shows("somebody at the door", &["still dials the PIN"])?;
        ada.wait_for_sound(50)?;
        press(&mut ada, "4711")?;
        enter(&mut bob, "801")?;
        bob.wait_for_sound(50)?;
        press(&mut bob, "4711")?;
        shows("two members", &["Conference 801", "Phone 101", "Phone 102", "can be heard"])?;
        shows("one who speaks", &["speaks now"])?;
        // Whoever of the two it was: it is the other one then, or nobody.
        press(&mut ada, "*6")?;
        shows("who is left", &["does not want to be heard (*6)", "speaks now"])?;
        press(&mut bob, "*6")?;
        wait::until("silence", SOON, || {
            let page = admin.get(&format!("{}/live", admin.home))?.body;
            let muted = page.matches("does not want to be heard (*6)").count();
            Ok((muted == 2 && !page.contains("speaks now")).then_some(()))
        })?;
        let theirs = twin.get(&format!("{}/live", twin.home))?.body;
        assert!(!theirs.contains("Conference 801"), "{theirs}");
        part(&mut [&mut ada, &mut bob])?;
        wait::until("the conference's end", SOON, || {
            let page = admin.get(&format!("{}/live", admin.home))?.body;
            Ok((!page.contains("Conference 801")).then_some(()))
        })
    });
}

#[test]
fn two_companies_with_the_same_number_and_pin_do_not_hear_each_other() {
    play("conference-twins", |scene| {
        let (alpha, beta) = (company("alpha.test"), company("beta.test"));
        let server = Server::start_with(scene, &[&alpha, &beta])?;
        let mut phones = vec![];
        for (whose, number, tone) in [
            (&alpha, "101", 440),
            (&alpha, "102", 1_000),
            (&beta, "101", 700),
            (&beta, "102", 1_700),
        ] {
            phones.push(phone(scene, &server, (whose, number), ("pcmu", tone))?);
        }
        for phone in &mut phones {
            enter(phone, "801")?;
            phone.wait_for_sound(50)?;
            press(phone, "4711")?;
        }
        server.wait_for_metric(MEMBERS, 4.0, SOON)?;
        leave(&mut phones.iter_mut().collect::<Vec<_>>())?;
        check(&phones[0], &[1_000], &[440, 700, 1_700])?;
        check(&phones[1], &[440], &[1_000, 700, 1_700])?;
        check(&phones[2], &[1_700], &[700, 440, 1_000])?;
        check(&phones[3], &[700], &[1_700, 440, 1_000])
    });
}

#[test]
fn whoever_does_not_know_the_pin_hears_nothing_and_is_hung_up() {
    play("conference-pin", |scene| {
        let alpha = company("alpha.test");
        let server = Server::start_with(scene, &[&alpha])?;
        let mut ada = phone(scene, &server, (&alpha, "101"), ("pcma", 440))?;
        let mut bob = phone(scene, &server, (&alpha, "102"), ("pcma", 1_700))?;
        enter(&mut ada, "801")?;
        ada.wait_for_sound(50)?;
        press(&mut ada, "4711")?;
        server.wait_for_metric(MEMBERS, 1.0, SOON)?;
        enter(&mut bob, "801")?;
        bob.wait_for_sound(50)?;
        press(&mut bob, "12#12#12")?;
        bob.press("#")?;
        bob.wait_for("CALL_CLOSED")?;
        ada.hang_up()?;
        ada.wait_for("CALL_CLOSED")?;
        for (phone, tone) in [(&bob, 440.0), (&ada, 1_700.0)] {
            let sounds = phone.recordings()?;
            let whole = sounds.last().ok_or_else(|| Failure::new("nothing was recorded"))?;
            assert_eq!(tone::seconds_of(whole, tone), 0.0, "nobody but who is inside is heard");
        }
        Ok(())
    });
}

#[test]
fn encrypted_members_and_a_plain_one_hear_each_other() {
    play("conference-encrypted", |scene| {
        let directory = scene.folder.path().join("certificates");
        let names = ["alpha.test", "127.0.0.1"];
        Authority::new()?.issue(&directory.join("default"), "", &names, (HOUR, HOUR))?;
        let at = Listeners::everywhere(scene)?;
        let more = format!("[tls]\ndirectory = {directory:?}\n");
        let mut server = Server::prepare(&scene.folder, at, &more)?;
        server.run()?;
        let alpha = company("alpha.test");
        server.provision(&[&alpha])?;
        let mut phones = vec![];
        for (number, tone, encrypts) in [
            ("101", 440, Encrypts::ByKeys),
            ("102", 1_000, Encrypts::ByHandshake),
            ("103", 1_700, Encrypts::Never),
        ] {
            let (over, proxy) = match encrypts {
                Encrypts::Never => (Over::Udp, server.at.sip),
                _ => (Over::Tls, server.at.tls()),
            };
            let setup = Setup::new(&alpha, number, proxy, tone);
            phones.push(Phone::registered(scene, &Setup { over, encrypts, ..setup })?);
        }
        for phone in &mut phones {
            enter(phone, "800")?;
        }
        server.wait_for_metric(MEMBERS, 3.0, SOON)?;
        leave(&mut phones.iter_mut().collect::<Vec<_>>())?;
        check(&phones[0], &[1_000, 1_700], &[440])?;
        check(&phones[1], &[440, 1_700], &[1_000])?;
        check(&phones[2], &[440, 1_000], &[1_700])
    });
}

#[test]
fn members_hear_each_other_again_after_a_kill() {
    play("conference-killed", |scene| {
        let alpha = company("alpha.test");
        let mut server = Server::start_with(scene, &[&alpha])?;
        let mut ada = phone(scene, &server, (&alpha, "101"), ("pcma", 440))?;
        let mut bob = phone(scene, &server, (&alpha, "102"), ("pcmu", 1_000))?;
        enter(&mut ada, "800")?;
        enter(&mut bob, "800")?;
        server.wait_for_metric(MEMBERS, 2.0, SOON)?;
        ada.wait_for_sound(50)?;
        server.cut_off()?;
        server.run()?;
        // These phones count the packets of the first stream only, and this is another.
        wait::until("sound of two members", SOON, || {
            Ok((server.metric(MADE)? >= 2.0 * A_WHILE as f64).then_some(()))
        })?;
        part(&mut [&mut ada, &mut bob])?;
        check(&ada, &[1_000], &[440])?;
        check(&bob, &[440], &[1_000])
    });
}

#[test]
fn a_member_mutes_itself() {
    play("conference-muted", |scene| {
        let alpha = company("alpha.test");
        let server = Server::start_with(scene, &[&alpha])?;
        let mut ada = phone(scene, &server, (&alpha, "101"), ("pcma", 440))?;
        let mut bob = phone(scene, &server, (&alpha, "102"), ("pcmu", 1_000))?;
        enter(&mut ada, "800")?;
        enter(&mut bob, "800")?;
        server.wait_for_metric(MEMBERS, 2.0, SOON)?;
        bob.wait_for_sound(50)?;
        press(&mut bob, "*6")?;
        leave(&mut [&mut ada, &mut bob])?;
        check(&ada, &[], &[1_000])?;
        check(&bob, &[440], &[1_000])
    });
}
