//! Phones that share no codec talk all the same, and those that share a good one are left alone.
//!
//! RFC 3551, RFC 7587 (Opus), RFC 4733. What is heard is measured: which tone, and how loud.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;

use kit::baresip::{self, Encrypts, Over, Phone};
use kit::company::Company;
use kit::failure::{Failure, Outcome};
use kit::handset::Handset;
use kit::line::Line;
use kit::pjsua::{self, Insists, Pjsua};
use kit::scene::{Scene, play};
use kit::server::Server;
use kit::tone;
use kit::wait::{self, SOON};
use kit::wav::Sound;

const OPUS: &str = "opus/48000/2";
const G722: &str = "G722/16000/1";
/// Packets of sound that the server did not only pass on.
const MADE: &str = "tenantd_sound_packets_made_total";
const ONE_WAY: &str = "tenantd_sound_one_way_total";
/// So much may a tone gain or lose on its way.
const GAINED_DB: f64 = 1.0;

/// A company of phones with one codec each, or few.
struct Stage {
    server: Server,
    alpha: Company,
}

impl Stage {
    fn set(scene: &mut Scene) -> Outcome<Self> {
        let alpha = Company::new("alpha.test");
        let server = Server::start_with(scene, &[&alpha])?;
        Ok(Self { server, alpha })
    }

    fn phone(&self, scene: &mut Scene, number: &str, codecs: &str, tone: u32) -> Outcome<Phone> {
        let setup = baresip::Setup::new(&self.alpha, number, self.server.at.sip, tone);
        Phone::registered(scene, &baresip::Setup { codecs, ..setup })
    }

    fn pjsua(&self, scene: &mut Scene, number: &str, codec: &str, tone: u32) -> Outcome<Pjsua> {
        let setup = pjsua::Setup {
            company: &self.alpha,
            number,
            proxy: self.server.at.sip,
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

    /// How many packets were made so far.
    fn made(&self) -> Outcome<f64> {
        self.server.metric(MADE)
    }
}

/// The phone heard this tone of the other, hardly anything else, and as loud as it was said.
fn check(phone: &Phone, other: &Phone, hz: f64) -> Outcome {
    phone.check_heard(hz)?;
    let level = |sounds: Vec<Sound>| sounds.last().and_then(|sound| tone::level_of(sound, hz));
    match (level(other.said()?), level(phone.recordings()?)) {
        (Some(said), Some(heard)) if (said - heard).abs() <= GAINED_DB => Ok(()),
        (said, heard) => {
            Err(Failure::new(format!("{hz} Hz was said at {said:?} dB, and heard at {heard:?}")))
        }
    }
}

/// Two phones with these codecs hear these tones of each other, through a conversion.
fn are_converted(name: &str, codecs: [&str; 2], tones: [u32; 2]) {
    play(name, |scene| {
        let stage = Stage::set(scene)?;
        let mut ada = stage.phone(scene, "101", codecs[0], tones[0])?;
        let mut bob = stage.phone(scene, "102", codecs[1], tones[1])?;
        baresip::call(&mut ada, "102", &mut bob)?;
        let made = stage.made()?;
        assert!(made >= 140.0, "only {made} packets were made");
        baresip::part(&mut bob, &mut ada)?;
        check(&ada, &bob, tones[1].into())?;
        check(&bob, &ada, tones[0].into())
    });
}

#[test]
fn a_phone_with_only_opus_and_one_with_only_a_law_hear_each_other_as_loud_as_they_are() {
    if baresip::has(&["opus", "g711"]) {
        are_converted("voices-opus-pcma", [OPUS, "pcma"], [440, 700]);
    }
}

#[test]
fn a_phone_with_only_a_law_calls_one_with_only_opus() {
    if baresip::has(&["opus", "g711"]) {
        are_converted("voices-pcma-opus", ["pcma", OPUS], [440, 700]);
    }
}

#[test]
fn a_high_tone_that_no_telephone_carried_of_old_passes_between_g722_and_opus() {
    if baresip::has(&["opus", "g722"]) {
        are_converted("voices-wide", [G722, OPUS], [6_600, 6_000]);
    }
}

#[test]
fn a_phone_with_only_g722_and_one_with_only_mu_law_hear_each_other() {
    if baresip::has(&["g722", "g711"]) {
        are_converted("voices-g722-pcmu", [G722, "pcmu"], [1_000, 700]);
    }
}

#[test]
fn two_phones_with_g722_first_keep_a_high_tone_and_nothing_is_converted() {
    if !baresip::has(&["g722", "g711"]) {
        return;
    }
    play("voices-untouched", |scene| {
        let stage = Stage::set(scene)?;
        let mut ada = stage.phone(scene, "101", "G722/16000/1,pcmu,pcma", 6_600)?;
        let mut bob = stage.phone(scene, "102", "G722/16000/1,pcma", 6_000)?;
        baresip::call(&mut ada, "102", &mut bob)?;
        assert_eq!(stage.made()?, 0.0);
        baresip::part(&mut bob, &mut ada)?;
        check(&ada, &bob, 6_000.0)?;
        check(&bob, &ada, 6_600.0)
    });
}

#[test]
fn another_make_with_only_g722_talks_to_a_phone_with_mu_law_and_to_one_with_opus() {
    if !baresip::has(&["opus", "g711"]) || !pjsua::is_there() {
        return;
    }
    play("voices-makes", |scene| {
        let stage = Stage::set(scene)?;
        let mut pjsua = stage.pjsua(scene, "103", "G722/16000", 1_000)?;
        for (number, codecs) in [("101", "pcmu"), ("102", OPUS)] {
            let mut phone = stage.phone(scene, number, codecs, 440)?;
            pjsua.dial(number)?;
            phone.wait_for("CALL_ESTABLISHED")?;
            pjsua.wait_for("call CONFIRMED")?;
            pjsua.wait_for_tone(440.0)?;
            phone.wait_for_sound(75)?;
            pjsua.hang_up()?;
            phone.wait_for("CALL_CLOSED")?;
            pjsua.wait_for("call DISCONNECTED")?;
            phone.check_heard(1_000.0)?;
        }
        assert!(stage.made()? >= 200.0);
        Ok(())
    });
}

#[test]
fn a_phone_with_opus_holds_one_without_and_takes_it_back() {
    if !baresip::has(&["opus", "g711"]) || !pjsua::is_there() {
        return;
    }
    play("voices-hold-opus", |scene| {
        let stage = Stage::set(scene)?;
        let mut bob = stage.pjsua(scene, "103", "PCMU/8000", 1_000)?;
        let mut ada = stage.phone(scene, "101", OPUS, 440)?;
        ada.dial("103")?;
        ada.wait_for("CALL_ESTABLISHED")?;
        bob.wait_for("call CONFIRMED")?;
        bob.wait_for_tone(440.0)?;
        ada.wait_for_sound(75)?;
        ada.hold()?;
        bob.wait_for_silence()?;
        ada.resume()?;
        bob.wait_for_tone(440.0)?;
        ada.wait_for_sound(75)?;
        bob.hang_up()?;
        ada.wait_for("CALL_CLOSED")?;
        ada.check_heard(1_000.0)
    });
}

/// Each side is heard by the other before this one holds and after it, and not meanwhile. What is
/// held may get packets all the same, of silence, so it is sound that is listened for.
fn hold(holder: &mut Pjsua, held: &mut Pjsua, tones: [f64; 2]) -> Outcome {
    held.wait_for_tone(tones[0])?;
    holder.wait_for_tone(tones[1])?;
    holder.hold()?;
    held.wait_for_silence()?;
    holder.resume()?;
    held.wait_for_tone(tones[0])?;
    holder.wait_for_tone(tones[1])
}

#[test]
fn a_converted_call_is_held_and_taken_back_by_either_side() {
    if !pjsua::is_there() {
        return;
    }
    play("voices-hold", |scene| {
        let stage = Stage::set(scene)?;
        let mut ada = stage.pjsua(scene, "101", "G722/16000", 440)?;
        let mut bob = stage.pjsua(scene, "102", "PCMU/8000", 1_000)?;
        ada.dial("102")?;
        ada.wait_for("call CONFIRMED")?;
        bob.wait_for("call CONFIRMED")?;
        hold(&mut ada, &mut bob, [440.0, 1_000.0])?;
        hold(&mut bob, &mut ada, [1_000.0, 440.0])?;
        assert!(stage.made()? >= 200.0);
        bob.hang_up()?;
        ada.wait_for("call DISCONNECTED").map(drop)
    });
}

#[test]
fn keys_pressed_in_a_converted_call_arrive_at_the_other_clock() {
    if !baresip::has(&["opus", "g711"]) {
        return;
    }
    play("voices-digits", |scene| {
        let stage = Stage::set(scene)?;
        let mut ada = stage.phone(scene, "101", OPUS, 440)?;
        let mut bob = stage.phone(scene, "102", "pcma", 700)?;
        baresip::call(&mut ada, "102", &mut bob)?;
        for key in ["5", "#", "0"] {
            ada.press(key)?;
            assert_eq!(bob.wait_for("CALL_DTMF_START")?, key);
            bob.wait_for("CALL_DTMF_END")?;
            bob.press(key)?;
            assert_eq!(ada.wait_for("CALL_DTMF_START")?, key);
            ada.wait_for("CALL_DTMF_END")?;
        }
        // The speech goes on after them.
        ada.wait_for_sound(50)?;
        bob.wait_for_sound(50)?;
        baresip::part(&mut bob, &mut ada)
    });
}

/// How long after its answer the story of the one call there was says so, in seconds.
const TOLD_AFTER: &str = "SELECT (told->>'at')::numeric / 1e6 - extract(epoch FROM answered_at) \
                          FROM call, jsonb_array_elements(story) told \
                          WHERE told->'event'->'OneWay'->>'number' = '102'";

#[test]
fn sound_that_goes_one_way_is_in_the_story_within_five_seconds() {
    play("voices-one-way", |scene| {
        let stage = Stage::set(scene)?;
        let mut ada = stage.phone(scene, "101", "pcmu", 440)?;
        let mut mute = Handset::new(&stage.alpha, "102", Line::udp(stage.server.at.sip)?);
        mute.register(600)?;
        // It takes all that comes and sends nothing.
        let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        ada.dial("102")?;
        let dialog = mute.answer(socket.local_addr()?)?;
        ada.wait_for("CALL_ESTABLISHED")?;
        assert_eq!(stage.server.metric(ONE_WAY)?, 0.0, "it is too early to tell");
        stage.server.wait_for_metric(ONE_WAY, 1.0, SOON)?;
        mute.hang_up(&dialog)?;
        ada.wait_for("CALL_CLOSED")?;
        let told = wait::until("the call's story", SOON, || {
            let told = stage.server.ask(TOLD_AFTER)?;
            Ok((!told.trim().is_empty()).then_some(told))
        })?;
        let after: Vec<f64> =
            told.lines().map(|line| line.trim().parse()).collect::<Result<_, _>>()?;
        assert!(matches!(after[..], [after] if (2.0..=5.0).contains(&after)), "{after:?}");
        Ok(())
    });
}
