//! What phones are played: music while they are on hold, and announcements.

use std::time::Duration;

use kit::sim::{Company, State, World, company};
use pbx::id::{AnnouncementId, SoundId};
use pbx::media::{CallTone, Clip, Country, Often, PlayEnd, Signal, Stored};
use pbx::record::Ending;
use pbx::story::Event;
use pbx::tenant::directory::{Announcement, Directory, Place, Sound};
use uuid::Uuid;

const ALPHA: &str = "alpha.example";
const BETA: &str = "beta.example";

/// A company with music and an announcement at 700.
fn musical(number: u8, domain: &str) -> Company {
    let mut company = company(number, domain);
    let directory = &mut company.directory;
    for (name, object) in [("waltz", 1), ("closed", 2)] {
        let object = Uuid::from_u128(u128::from(number) << 64 | object);
        let lasts_for = Duration::from_secs(3);
        let sound = Sound { id: SoundId(object), object, sha256: [7; 32], bytes: 44, lasts_for };
        directory.sounds.insert(name.to_owned(), sound);
    }
    directory.music = Some("waltz".to_owned());
    let id = AnnouncementId(Uuid::from_u128(u128::from(number)));
    let said = Announcement { id, number: "700".to_owned(), sound: "closed".to_owned() };
    directory.announcements.insert(id, said);
    directory.names.insert("700".to_owned(), Place::Announcement(id));
    company
}

fn stored(number: u8, object: u128) -> Stored {
    let company = company(number, ALPHA);
    let object = Uuid::from_u128(u128::from(number) << 64 | object);
    Stored { tenant: company.tenant(), object, sha256: [7; 32], bytes: 44 }
}

fn music(number: u8) -> Option<(Clip, Often)> {
    Some((Clip::Music(stored(number, 1)), Often::Forever))
}

fn office() -> World {
    let mut world = World::new(vec![musical(1, ALPHA), musical(2, BETA)]);
    world.registered("alice", ALPHA, "101");
    world.registered("bob", ALPHA, "102");
    world
}

fn talking() -> World {
    let mut world = office();
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_secs(4));
    assert_eq!(world.phones["bob"].state, State::Talking);
    world
}

fn hold(world: &mut World, name: &str, direction: &str) {
    world.tell(name, |phone, now| phone.hold(now, direction));
    world.run_for(Duration::from_secs(1));
}

fn over(world: &mut World) {
    world.run_for(Duration::from_secs(120));
    assert!(world.sides.is_empty() && world.live.is_empty() && world.playing.is_empty());
    world.finish();
}

fn dialled() -> World {
    let mut world = office();
    world.tell("alice", |phone, now| phone.call(now, "700"));
    world.run_for(Duration::from_secs(1));
    world
}

fn told(world: &World) -> Vec<Event> {
    world.calls[0].story.iter().map(|told| told.event.clone()).collect()
}

fn configure(world: &mut World, change: impl FnOnce(&mut Directory)) {
    world.configure(ALPHA, change);
    world.run_for(Duration::from_secs(1));
}

#[test]
fn who_is_on_hold_hears_music_until_it_is_taken_back() {
    let mut world = talking();
    for (holder, held) in [("alice", 1), ("bob", 0)] {
        for _ in 0..2 {
            assert_eq!((world.hears(0), world.hears(1)), (None, None));
            hold(&mut world, holder, "sendonly");
            assert_eq!((world.hears(held), world.hears(1 - held)), (music(1), None));
            hold(&mut world, holder, "sendrecv");
        }
    }
    hold(&mut world, "alice", "sendonly");
    world.tell("bob", |phone, now| phone.hang_up(now));
    over(&mut world);
    assert_eq!(world.calls[0].ending, Ending::CalleeHungUp);
}

#[test]
fn who_is_held_by_a_phone_that_sends_nothing_is_told_that_it_will_hear_something() {
    let mut world = talking();
    hold(&mut world, "alice", "inactive");
    assert_eq!(world.phones["bob"].hears, "sendonly");
    assert_eq!(world.phones["alice"].hears, "inactive", "it offered no more");
    assert_eq!(world.hears(1), music(1));
    // The same once more tells nobody anything new.
    hold(&mut world, "alice", "inactive");
    assert_eq!(world.phones["alice"].hears, "inactive");
    assert_eq!(world.hears(1), music(1));
    hold(&mut world, "alice", "sendrecv");
    assert_eq!((world.hears(1), world.phones["bob"].hears.as_str()), (None, "sendrecv"));
    world.tell("bob", |phone, now| phone.hang_up(now));
    over(&mut world);
}

#[test]
fn whoever_is_held_in_return_hears_music_and_no_longer_plays_it() {
    let mut world = talking();
    hold(&mut world, "alice", "sendonly");
    assert_eq!(world.hears(1), music(1));
    hold(&mut world, "bob", "inactive");
    assert_eq!((world.hears(0), world.hears(1)), (music(1), None));
    hold(&mut world, "bob", "recvonly");
    assert_eq!((world.hears(0), world.hears(1)), (None, music(1)), "it wants to listen only");
    world.tell("bob", |phone, now| phone.hang_up(now));
    over(&mut world);
}

#[test]
fn without_music_all_is_as_the_phones_say() {
    let mut world = talking();
    configure(&mut world, |directory| directory.music = None);
    hold(&mut world, "alice", "inactive");
    assert_eq!((world.phones["bob"].hears.as_str(), world.hears(1)), ("inactive", None));
    world.tell("bob", |phone, now| phone.hang_up(now));
    over(&mut world);
}

#[test]
fn an_extension_has_music_of_its_own() {
    let mut world = talking();
    configure(&mut world, |directory| {
        let user = directory.users.values_mut().find(|user| user.number == "101");
        user.expect("an extension").music = Some("closed".to_owned());
    });
    hold(&mut world, "alice", "sendonly");
    let own = Some((Clip::Music(stored(1, 2)), Often::Forever));
    assert_eq!(world.hears(1), own);
    hold(&mut world, "alice", "sendrecv");
    hold(&mut world, "bob", "sendonly");
    assert_eq!(world.hears(0), music(1));
    world.tell("bob", |phone, now| phone.hang_up(now));
    over(&mut world);
}

#[test]
fn music_that_cannot_be_had_is_in_the_story_and_the_hold_goes_on() {
    let mut world = talking();
    hold(&mut world, "alice", "sendonly");
    world.end_play(1, PlayEnd::Missing);
    hold(&mut world, "alice", "sendrecv");
    hold(&mut world, "alice", "sendonly");
    assert_eq!(world.hears(1), music(1), "it is tried again");
    world.tell("bob", |phone, now| phone.hang_up(now));
    over(&mut world);
    let missing = Event::SoundMissing { number: "102".to_owned() };
    assert_eq!(told(&world).iter().filter(|event| **event == missing).count(), 1);
}

#[test]
fn a_held_call_that_outlives_the_process_has_its_music_again() {
    let mut world = talking();
    hold(&mut world, "alice", "inactive");
    world.restart();
    world.run_for(Duration::from_secs(1));
    assert_eq!((world.hears(0), world.hears(1)), (None, music(1)));
    hold(&mut world, "alice", "sendrecv");
    assert_eq!(world.hears(1), None);
    world.tell("bob", |phone, now| phone.hang_up(now));
    over(&mut world);
}

#[test]
fn between_two_companies_the_one_who_holds_plays_its_own_music() {
    let mut world = office();
    world.registered("berta", BETA, "101");
    world.tell("alice", |phone, now| phone.call(now, "+432101"));
    world.run_for(Duration::from_secs(4));
    let all = |world: &World| -> Vec<(Clip, Often)> { world.playing.values().copied().collect() };
    hold(&mut world, "alice", "sendonly");
    assert_eq!(all(&world), [music(1).unwrap()]);
    hold(&mut world, "alice", "sendrecv");
    hold(&mut world, "berta", "sendonly");
    assert_eq!(all(&world), [music(2).unwrap()]);
    world.tell("alice", |phone, now| phone.hang_up(now));
    over(&mut world);
}

#[test]
fn an_announcement_is_answered_said_and_hung_up() {
    let mut world = dialled();
    assert_eq!(world.phones["alice"].state, State::Talking);
    assert_eq!(world.hears(0), Some((Clip::Sound(stored(1, 2)), Often::Once)));
    world.run_for(Duration::from_secs(3));
    world.end_play(0, PlayEnd::Ended);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.phones["alice"].state, State::Ended(200));
    over(&mut world);
    let call = &world.calls[0];
    assert_eq!((call.ending, call.status, call.legs.len()), (Ending::Announced, 200, 1));
    assert!(call.answered_at.is_some());
    let (number, sound) = ("700".to_owned(), "closed".to_owned());
    assert!(told(&world).contains(&Event::DialledAnnouncement { number, sound }));
}

#[test]
fn a_caller_may_leave_before_everything_was_said() {
    let mut world = dialled();
    world.tell("alice", |phone, now| phone.hang_up(now));
    over(&mut world);
    assert_eq!(world.calls[0].ending, Ending::CallerHungUp);
}

#[test]
fn a_caller_may_hold_an_announcement_and_take_it_back() {
    let mut world = dialled();
    for (said, answered) in [("sendonly", "recvonly"), ("sendrecv", "sendrecv")] {
        hold(&mut world, "alice", said);
        assert_eq!(world.phones["alice"].hears, answered);
    }
    world.end_play(0, PlayEnd::Ended);
    over(&mut world);
    assert_eq!(world.calls[0].ending, Ending::Announced);
}

#[test]
fn a_caller_who_makes_no_offer_is_made_one() {
    let mut world = office();
    world.tell("alice", |phone, now| phone.call_with(now, "700", ""));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.phones["alice"].state, State::Talking);
    let offer = &world.phones["alice"].told[0];
    assert!(offer.contains("opus/48000/2") && offer.contains("a=sendrecv"), "{offer}");
    assert_eq!(world.hears(0), Some((Clip::Sound(stored(1, 2)), Often::Once)));
    world.end_play(0, PlayEnd::Ended);
    over(&mut world);
}

#[test]
fn an_announcement_that_cannot_be_had_sounds_like_what_its_country_says_then() {
    for lost in [true, false] {
        let mut world = office();
        configure(&mut world, |directory| {
            directory.country = Country::UnitedKingdom;
            if lost {
                directory.sounds.clear();
            }
        });
        world.tell("alice", |phone, now| phone.call(now, "700"));
        world.run_for(Duration::from_secs(1));
        if !lost {
            world.end_play(0, PlayEnd::Missing);
        }
        let tone = CallTone { signal: Signal::Congestion, country: Country::UnitedKingdom };
        assert_eq!(world.hears(0), Some((Clip::Tone(tone), Often::Once)));
        world.end_play(0, PlayEnd::Ended);
        over(&mut world);
        assert_eq!(world.calls[0].ending, Ending::ServerFailed);
        assert!(told(&world).contains(&Event::SoundMissing { number: "101".to_owned() }));
    }
}

#[test]
fn an_announcement_is_said_again_after_a_restart() {
    let mut world = dialled();
    world.restart();
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.hears(0), Some((Clip::Sound(stored(1, 2)), Often::Once)));
    world.end_play(0, PlayEnd::Ended);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.phones["alice"].state, State::Ended(200));
    over(&mut world);
    assert_eq!(world.calls[0].ending, Ending::Announced);
}

#[test]
fn who_has_no_codec_of_ours_is_refused_by_an_announcement() {
    let mut world = office();
    let alien = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
        m=audio 4000 RTP/AVP 97\r\na=rtpmap:97 iLBC/8000\r\n";
    world.tell("alice", |phone, now| phone.call_with(now, "700", alien));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.phones["alice"].state, State::Ended(488));
    over(&mut world);
    assert_eq!(world.calls[0].ending, Ending::NoCommonMedia);
}
