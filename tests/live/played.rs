//! Phones hear what the server plays: announcements, and music while they are on hold.
//!
//! RFC 3264 §8.4. What is heard is measured: which tone, and how loud. Two companies have the same
//! numbers and the same names for their sounds.

use std::fs;
use std::path::PathBuf;

use kit::baresip::{self, Encrypts, Over, Phone};
use kit::company::Company;
use kit::failure::{Failure, Outcome};
use kit::pjsua::{self, Insists, Pjsua};
use kit::scene::{Scene, play};
use kit::server::Server;
use kit::tone;
use kit::wait::{self, SOON};
use kit::wav::Sound;

const RATE: u32 = 44_100;
/// So much may a tone gain or lose on its way.
const GAINED_DB: f64 = 1.0;
const OPUS: &str = "opus/48000/2";
const MISSES: &str = "tenantd_sound_cache_misses_total";

/// A company whose music and whose announcement (700) are these tones.
fn company(scene: &Scene, domain: &'static str, music: f64, announcement: f64) -> Outcome<Company> {
    let mut company = Company::new(domain);
    company.settings = "music = \"wait\"\n".to_owned();
    for (name, hz, seconds) in [("wait", music, 7), ("closed", announcement, 3)] {
        let file = format!("{name}-{domain}.wav");
        let sound = tone::sine(RATE, hz, RATE as usize * seconds);
        sound.write(&scene.folder.path().join(&file))?;
        company.tables += &format!("[[tenant.sound]]\nname = {name:?}\nfile = {file:?}\n");
    }
    company.tables += "[[tenant.announcement]]\nnumber = \"700\"\nsound = \"closed\"\n";
    Ok(company)
}

/// Two companies, and a server that has both.
fn set(scene: &mut Scene) -> Outcome<(Server, Company, Company)> {
    let alpha = company(scene, "alpha.test", 620.0, 850.0)?;
    let beta = company(scene, "beta.test", 910.0, 530.0)?;
    let server = Server::start_with(scene, &[&alpha, &beta])?;
    Ok((server, alpha, beta))
}

fn phone(
    scene: &mut Scene,
    server: &Server,
    company: &Company,
    number: &str,
    codecs: &str,
) -> Outcome<Phone> {
    let setup = baresip::Setup::new(company, number, server.at.sip, 440);
    Phone::registered(scene, &baresip::Setup { codecs, ..setup })
}

/// Where a company's sound is kept.
fn object(server: &Server, company: &Company, name: &str) -> Outcome<PathBuf> {
    let row = server.ask(&format!(
        "SELECT 'tenant/' || s.tenant_id || '/sounds/' || s.object_id FROM sound s \
         JOIN domain d USING (tenant_id) WHERE d.name = '{}' AND s.name = '{name}'",
        company.domain
    ))?;
    Ok(server.data_file("objects").join(row.trim()))
}

/// How a company's calls ended, oldest first.
fn endings(server: &Server, company: &Company, calls: usize) -> Outcome<Vec<String>> {
    let query = format!(
        "SELECT c.ending FROM call c JOIN domain d USING (tenant_id) WHERE d.name = '{}' \
         ORDER BY c.began_at",
        company.domain
    );
    wait::until("the calls' records", SOON, || {
        let rows: Vec<String> = server.ask(&query)?.lines().map(str::to_owned).collect();
        Ok((rows.len() == calls).then_some(rows))
    })
}

/// The last call was this tone, and as loud as it is kept.
fn check(server: &Server, company: &Company, phone: &Phone, hz: f64) -> Outcome {
    phone.check_heard(hz)?;
    let kept = Sound::read(&object(server, company, "closed")?)?;
    let heard = phone.recordings()?.pop().and_then(|sound| tone::level_of(&sound, hz));
    match (tone::level_of(&kept, hz), heard) {
        (Some(kept), Some(heard)) if (kept - heard).abs() <= GAINED_DB => Ok(()),
        (kept, heard) => {
            Err(Failure::new(format!("{hz} Hz is kept at {kept:?} dB, and was heard at {heard:?}")))
        }
    }
}

#[test]
fn each_company_has_an_announcement_of_its_own_and_it_is_hung_up_when_it_is_over() {
    play("played-announcement", |scene| {
        let (server, alpha, beta) = set(scene)?;
        let codecs = match baresip::lacks(&["opus", "g722"]) {
            None => vec!["pcma", OPUS, "G722/16000/1"],
            Some(module) => {
                eprintln!("SKIPPED: baresip was installed without {module}");
                vec!["pcma"]
            }
        };
        for (number, codec) in ["101", "102", "103"].into_iter().zip(&codecs) {
            for (company, hz) in [(&alpha, 850.0), (&beta, 530.0)] {
                let mut phone = phone(scene, &server, company, number, codec)?;
                phone.dial("700")?;
                phone.wait_for("CALL_ESTABLISHED")?;
                phone.wait_for("CALL_CLOSED")?;
                check(&server, company, &phone, hz)?;
            }
        }
        for company in [&alpha, &beta] {
            let ended = endings(&server, company, codecs.len())?;
            assert!(ended.iter().all(|ending| ending == "Announced"), "{ended:?}");
        }
        assert_eq!(server.metric(MISSES)?, 2.0, "each sound is fetched once");
        server.wait_for_metric("tenantd_sound_listeners", 0.0, SOON)
    });
}

#[test]
fn a_sound_that_is_not_what_was_stored_is_not_played() {
    play("played-changed", |scene| {
        let (server, alpha, _beta) = set(scene)?;
        let kept = object(&server, &alpha, "closed")?;
        wait::until("the sound in the store", SOON, || Ok(kept.exists().then_some(())))?;
        let mut bytes = fs::read(&kept)?;
        bytes[20_000] ^= 1;
        fs::write(&kept, bytes)?;
        let mut ada = phone(scene, &server, &alpha, "101", "pcma")?;
        ada.dial("700")?;
        ada.wait_for("CALL_ESTABLISHED")?;
        ada.wait_for("CALL_CLOSED")?;
        let heard = ada.recordings()?.pop().ok_or_else(|| Failure::new("no recording"))?;
        assert!(tone::seconds_of(&heard, 850.0) < 0.06, "it was played");
        // Austria's tone for what cannot be done now: 420 Hz, a fifth of a second each.
        let regret = tone::seconds_of(&heard, 420.0);
        assert!(regret >= 0.3, "{regret} s of it");
        assert_eq!(endings(&server, &alpha, 1)?, ["ServerFailed"]);
        assert_eq!(server.metric("tenantd_sounds_missing_total")?, 1.0);
        Ok(())
    });
}

fn pjsua(
    scene: &mut Scene,
    server: &Server,
    company: &Company,
    (number, codec, tone): (&str, &str, u32),
) -> Outcome<Pjsua> {
    let setup = pjsua::Setup {
        company,
        number,
        proxy: server.at.sip,
        over: Over::Udp,
        tone,
        // Nobody asks for a certificate over UDP.
        authority: PathBuf::new(),
        insists: Insists::OnNothing,
        encrypts: Encrypts::Never,
        codecs: &[codec],
    };
    Pjsua::registered(scene, &setup)
}

/// Whether there is PJSIP; says so where there is none.
fn has_pjsua() -> bool {
    let missing = pjsua::missing().expect("infra/test has tried to get pjsua2");
    if let Some(why) = &missing {
        eprintln!("SKIPPED: no pjsua2: {why}");
    }
    missing.is_none()
}

/// In both companies at once a call is held, music is heard, and then the partner again.
fn are_held(name: &str, codecs: [&str; 2]) {
    if !has_pjsua() {
        return;
    }
    play(name, |scene| {
        let (server, alpha, beta) = set(scene)?;
        let mut pairs = vec![];
        for company in [&alpha, &beta] {
            let mut ada = pjsua(scene, &server, company, ("101", codecs[0], 440))?;
            let mut bob = pjsua(scene, &server, company, ("102", codecs[1], 1_000))?;
            ada.dial("102")?;
            ada.wait_for("call CONFIRMED")?;
            bob.wait_for("call CONFIRMED")?;
            bob.wait_for_tone(440.0)?;
            pairs.push((ada, bob));
        }
        for ((ada, bob), music) in pairs.iter_mut().zip([620.0, 910.0]) {
            ada.hold()?;
            bob.wait_for_tone(music)?;
        }
        // One is taken back, and the other hears its music still.
        for ((ada, bob), music) in pairs.iter_mut().zip([620.0, 910.0]) {
            bob.wait_for_tone(music)?;
            ada.resume()?;
            bob.wait_for_tone(440.0)?;
            ada.wait_for_tone(1_000.0)?;
        }
        let (ada, bob) = &mut pairs[0];
        bob.hold()?;
        ada.wait_for_tone(620.0)?;
        bob.hang_up()?;
        ada.wait_for("call DISCONNECTED")?;
        server.wait_for_metric("tenantd_sound_listeners", 0.0, SOON)?;
        assert_eq!(server.metric(MISSES)?, 2.0);
        Ok(())
    });
}

#[test]
fn who_is_on_hold_hears_the_music_of_its_company_and_then_the_partner_again() {
    are_held("played-hold", ["PCMA/8000", "PCMA/8000"]);
}

#[test]
fn music_is_heard_where_sound_is_converted_too() {
    are_held("played-hold-converted", ["G722/16000", "PCMU/8000"]);
}
