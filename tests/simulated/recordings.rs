//! Who is recorded, and what the code for it does.

use std::time::Duration;

use kit::sim::{Company, State, World, company};
use pbx::id::{AnnouncementId, SoundId};
use pbx::media::{Clip, Often, PlayEnd, Stored};
use pbx::sip::method::Method;
use pbx::sip::name::Name;
use pbx::story::Event;
use pbx::tenant::directory::{Announcement, Place, Record, Sound};
use uuid::Uuid;

const ALPHA: &str = "alpha.example";

/// A company with a rule, and 101 and 102 with their own.
fn ruled(rule: Record, rules: [Record; 2]) -> Company {
    let mut company = company(1, ALPHA);
    company.directory.recording.rule = rule;
    for (number, rule) in ["101", "102"].into_iter().zip(rules) {
        let user = company.user(number).expect("an extension");
        company.directory.users.get_mut(&user).expect("a user").record = rule;
    }
    company
}

fn talking(company: Company) -> World {
    let mut world = World::new(vec![company]);
    world.registered("alice", ALPHA, "101");
    world.registered("bob", ALPHA, "102");
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.phones["bob"].state, State::Talking);
    world
}

fn press(world: &mut World, name: &str, keys: &str) {
    for key in keys.chars() {
        let relay = [(Name::ContentType, "application/dtmf-relay")];
        let body = format!("Signal={key}\r\nDuration=160\r\n");
        world.tell(name, |phone, now| phone.ask_within(now, Method::Info, &relay, &body));
        world.run_for(Duration::from_millis(300));
    }
}

fn taped(world: &World) -> Vec<String> {
    world.taped.iter().map(|(leg, what)| format!("{leg} {what}")).collect()
}

fn told(world: &mut World) -> Vec<Event> {
    world.tell("alice", |phone, now| phone.hang_up(now));
    world.run_for(Duration::from_secs(60));
    let story = world.calls.last().expect("a record").story.iter();
    let of_tape = |event: &&Event| {
        matches!(
            event,
            Event::Recorded { .. }
                | Event::RecordingPaused { .. }
                | Event::RecordingResumed { .. }
                | Event::HeardOfRecording { .. }
                | Event::SoundMissing { .. }
                | Event::Unrecorded
        )
    };
    story.map(|told| &told.event).filter(of_tape).cloned().collect()
}

#[test]
fn the_stricter_rule_of_both_who_talk_counts_from_the_answer_on() {
    use Record::{Always, Off, OnDemand};
    for (rule, rules, asked_by) in [
        (Off, [Off, Off], None),
        (Off, [Off, OnDemand], None),
        (Off, [Always, Off], Some("101")),
        (Off, [OnDemand, Always], Some("102")),
        (Always, [Always, Off], Some("")),
        (Always, [Off, Off], None),
    ] {
        let mut world = talking(ruled(rule, rules));
        let expected: Vec<String> = asked_by
            .map(|by: &str| (0..=1).map(|leg| format!("{leg} record {by:?}")).collect())
            .unwrap_or_default();
        assert_eq!(taped(&world), expected, "{rule:?} {rules:?}");
        let told = told(&mut world);
        let by = asked_by.map(|by| Event::Recorded { number: by.to_owned() });
        assert_eq!(told, by.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn the_code_of_who_may_begins_pauses_and_goes_on() {
    let mut world = talking(ruled(Record::Off, [Record::Off, Record::OnDemand]));
    press(&mut world, "alice", "*1");
    press(&mut world, "bob", "**2*");
    assert_eq!(taped(&world), [""; 0], "who may not, and what is no code");
    press(&mut world, "bob", "1");
    press(&mut world, "bob", "5*1");
    press(&mut world, "bob", "*1");
    let number = || "102".to_owned();
    assert_eq!(
        taped(&world),
        ["0 record \"102\"", "1 record \"102\"", "0 pause", "1 pause", "0 resume", "1 resume"]
    );
    assert_eq!(
        told(&mut world),
        [
            Event::Recorded { number: number() },
            Event::RecordingPaused { number: number() },
            Event::RecordingResumed { number: number() },
        ]
    );
}

#[test]
fn keys_that_come_too_slowly_are_no_code_and_a_rule_cannot_be_paused() {
    let mut world = talking(ruled(Record::Off, [Record::OnDemand, Record::Off]));
    press(&mut world, "alice", "*");
    world.run_for(Duration::from_secs(4));
    press(&mut world, "alice", "1");
    assert_eq!(taped(&world), [""; 0]);
    let mut world = talking(ruled(Record::Off, [Record::OnDemand, Record::Always]));
    press(&mut world, "alice", "*1*1");
    assert_eq!(taped(&world).len(), 2, "{:?}", taped(&world));
}

#[test]
fn a_paused_recording_is_still_paused_after_a_restart() {
    let mut world = talking(ruled(Record::Off, [Record::OnDemand, Record::Off]));
    press(&mut world, "alice", "*1");
    press(&mut world, "alice", "*1");
    world.taped.clear();
    world.restart();
    world.run_for(Duration::from_secs(2));
    assert_eq!(taped(&world), ["0 record \"101\"", "1 record \"101\"", "0 pause", "1 pause"]);
    press(&mut world, "alice", "*1");
    assert_eq!(taped(&world)[4..], ["0 resume", "1 resume"]);
}

/// The company announces recordings by `told`; 102 by a sound of its own.
fn announcing(rule: Record, rules: [Record; 2]) -> Company {
    let mut company = ruled(rule, rules);
    for (name, object) in [("told", 1), ("own", 2)] {
        let lasts_for = Duration::from_secs(2);
        let object = Uuid::from_u128(object);
        let sound = Sound { id: SoundId(object), object, sha256: [7; 32], bytes: 44, lasts_for };
        company.directory.sounds.insert(name.to_owned(), sound);
    }
    company.directory.recording.announcement = Some("told".to_owned());
    let user = company.user("102").expect("an extension");
    let user = company.directory.users.get_mut(&user).expect("a user");
    user.announce_recording = Some("own".to_owned());
    company
}

fn said(object: u128) -> Option<(Clip, Often)> {
    let object = Uuid::from_u128(object);
    let tenant = company(1, ALPHA).tenant();
    Some((Clip::Sound(Stored { tenant, object, sha256: [7; 32], bytes: 44 }), Often::Once))
}

fn heard(number: &str) -> Event {
    Event::HeardOfRecording { number: number.to_owned() }
}

#[test]
fn both_hear_once_that_they_are_recorded_and_the_story_says_who_has() {
    use Record::{Always, Off};
    for (rule, rules, by, object) in
        [(Off, [Off, Always], "102", 2), (Always, [Always, Off], "", 1), (Off, [Off, Off], "", 0)]
    {
        let mut world = talking(announcing(rule, rules));
        let expected = if object == 0 { None } else { said(object) };
        assert_eq!((world.hears(0), world.hears(1)), (expected, expected));
        if object == 0 {
            continue;
        }
        world.end_play(0, PlayEnd::Ended);
        assert_eq!((world.hears(0), world.hears(1)), (None, said(object)));
        world.end_play(1, PlayEnd::Ended);
        world.run_for(Duration::from_secs(1));
        assert_eq!((world.hears(0), world.hears(1)), (None, None));
        let recorded = Event::Recorded { number: by.to_owned() };
        assert_eq!(told(&mut world), [recorded, heard("101"), heard("102")]);
    }
}

#[test]
fn what_is_begun_by_a_key_is_announced_then_and_not_when_it_goes_on() {
    let mut world = talking(announcing(Record::Off, [Record::OnDemand, Record::Off]));
    assert_eq!((world.hears(0), world.hears(1)), (None, None));
    press(&mut world, "alice", "*1");
    assert_eq!((world.hears(0), world.hears(1)), (said(1), said(1)));
    world.end_play(0, PlayEnd::Ended);
    world.end_play(1, PlayEnd::Ended);
    press(&mut world, "alice", "*1");
    press(&mut world, "alice", "*1");
    assert_eq!((world.hears(0), world.hears(1)), (None, None));
}

#[test]
fn an_announcement_that_cannot_be_had_is_in_the_story_and_the_call_goes_on() {
    let missing = |number: &str| Event::SoundMissing { number: number.to_owned() };
    let recorded = || Event::Recorded { number: String::new() };
    let mut world = talking(announcing(Record::Always, [Record::Always, Record::Always]));
    world.end_play(0, PlayEnd::Missing);
    world.end_play(1, PlayEnd::Ended);
    assert_eq!(world.phones["bob"].state, State::Talking);
    assert_eq!(told(&mut world), [recorded(), missing("101"), heard("102")]);
    let mut company = announcing(Record::Always, [Record::Always, Record::Always]);
    company.directory.sounds.clear();
    let mut world = talking(company);
    assert_eq!((world.hears(0), world.hears(1)), (None, None));
    assert_eq!(told(&mut world), [recorded(), missing("101"), missing("102")]);
}

#[test]
fn whoever_has_not_heard_it_before_a_restart_hears_it_after() {
    let mut world = talking(announcing(Record::Always, [Record::Always, Record::Always]));
    world.end_play(1, PlayEnd::Ended);
    world.restart();
    world.run_for(Duration::from_secs(2));
    assert_eq!((world.hears(0), world.hears(1)), (said(1), None));
    world.end_play(0, PlayEnd::Ended);
    world.restart();
    world.run_for(Duration::from_secs(2));
    assert_eq!((world.hears(0), world.hears(1)), (None, None));
}

#[test]
fn a_recording_that_cannot_be_written_is_not_announced_to_the_end() {
    let mut world = talking(announcing(Record::Off, [Record::OnDemand, Record::Off]));
    press(&mut world, "alice", "*1");
    world.fail_recording(0);
    assert_eq!((world.hears(0), world.hears(1)), (None, None));
    press(&mut world, "alice", "*1");
    assert_eq!((world.hears(0), world.hears(1)), (said(1), said(1)), "it is tried again");
}

#[test]
fn a_caller_who_makes_no_offer_hears_it_as_soon_as_it_can() {
    let company = announcing(Record::Always, [Record::Always, Record::Always]);
    let mut world = World::new(vec![company]);
    world.registered("alice", ALPHA, "101");
    world.registered("bob", ALPHA, "102");
    world.tell("alice", |phone, now| phone.call_with(now, "102", ""));
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.phones["bob"].state, State::Talking);
    assert_eq!((world.hears(0), world.hears(1)), (said(1), said(1)));
}

/// Alice calls a number at which we answer.
fn dialled(mut company: Company, number: &str) -> World {
    let id = AnnouncementId(Uuid::from_u128(7));
    let said = Announcement { id, number: "700".to_owned(), sound: "own".to_owned() };
    company.directory.announcements.insert(id, said);
    company.directory.names.insert("700".to_owned(), Place::Announcement(id));
    let mut world = World::new(vec![company]);
    world.registered("alice", ALPHA, "101");
    world.tell("alice", |phone, now| phone.call(now, number));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.phones["alice"].state, State::Talking);
    world
}

#[test]
fn a_member_of_a_conference_is_recorded_with_what_it_hears_but_never_its_pin() {
    let always = || announcing(Record::Always, [Record::Always, Record::Always]);
    let both = ["0 record \"\"", "0 record what it hears \"\""];
    let mut world = dialled(always(), "800");
    assert_eq!((taped(&world), world.hears(0)), (both.map(str::to_owned).to_vec(), said(1)));
    world.end_play(0, PlayEnd::Ended);
    world.taped.clear();
    world.restart();
    world.run_for(Duration::from_secs(2));
    assert_eq!((taped(&world), world.hears(0)), (both.map(str::to_owned).to_vec(), None));
    let recorded = Event::Recorded { number: String::new() };
    assert_eq!(told(&mut world), [recorded, heard("101")]);
    let mut world = dialled(always(), "801");
    assert_eq!((taped(&world), world.hears(0)), (vec![], None));
    world.press_keys(0, "1174");
    assert_eq!((taped(&world), world.hears(0)), (vec![], None), "it is wrong");
    world.press_keys(0, "*4711");
    assert_eq!((taped(&world), world.hears(0)), (both.map(str::to_owned).to_vec(), said(1)));
}

#[test]
fn the_code_works_in_a_conference_and_not_before_its_door() {
    let mut company = announcing(Record::Off, [Record::OnDemand, Record::Off]);
    company.directory.recording.announcement = None;
    let mut world = dialled(company, "801");
    world.press_keys(0, "*1");
    assert_eq!(taped(&world), [""; 0]);
    world.press_keys(0, "*4711");
    world.press_keys(0, "*1*1*1");
    let all = ["record \"101\"", "record what it hears \"101\"", "pause", "resume"];
    assert_eq!(taped(&world), all.map(|what| format!("0 {what}")));
}

#[test]
fn an_announcement_is_recorded_and_said_behind_what_says_so() {
    for offer in ["with", ""] {
        let company = announcing(Record::Always, [Record::Always, Record::Always]);
        let mut world = match offer {
            "" => {
                let mut world = dialled(company, "700");
                world.tell("alice", |phone, now| phone.hang_up(now));
                world.run_for(Duration::from_secs(60));
                world.taped.clear();
                world.tell("alice", |phone, now| phone.call_with(now, "700", ""));
                world.run_for(Duration::from_secs(1));
                world
            }
            _ => dialled(company, "700"),
        };
        assert_eq!(taped(&world), ["0 record \"\"", "0 record what it hears \"\""]);
        assert_eq!(world.hears(0), said(1));
        world.end_play(0, PlayEnd::Ended);
        assert_eq!(world.hears(0), said(2));
        world.end_play(0, PlayEnd::Ended);
        world.run_for(Duration::from_secs(1));
        assert_eq!(world.phones["alice"].state, State::Ended(200));
    }
}

#[test]
fn an_announcement_is_said_although_nothing_can_be_recorded() {
    let company = announcing(Record::Always, [Record::Always, Record::Always]);
    let mut world = dialled(company, "700");
    world.fail_recording(0);
    assert_eq!(world.hears(0), said(2));
}
