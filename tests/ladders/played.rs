//! Call flows in which the server is heard: announcements, music, and that a call is recorded.

use kit::sim::{Company, World, company};
use pbx::id::{AnnouncementId, SoundId};
use pbx::media::PlayEnd;
use pbx::sip::method::Method;
use pbx::sip::name::Name;
use pbx::tenant::directory::{Announcement, Place, Record, Sound};
use uuid::Uuid;

use super::{ALPHA, kept, seconds};

/// A company with a sound, which is its music, and is announced at 700.
fn heard() -> Company {
    let mut company = company(1, ALPHA);
    let directory = &mut company.directory;
    let object = Uuid::from_u128(1);
    let lasts_for = seconds(3);
    let sound = Sound { id: SoundId(object), object, sha256: [7; 32], bytes: 44, lasts_for };
    directory.sounds.insert("waltz".to_owned(), sound);
    directory.music = Some("waltz".to_owned());
    let id = AnnouncementId(object);
    let said = Announcement { id, number: "700".to_owned(), sound: "waltz".to_owned() };
    directory.announcements.insert(id, said);
    directory.names.insert("700".to_owned(), Place::Announcement(id));
    company
}

fn office(company: Company) -> World {
    let mut world = World::new(vec![company]);
    world.registered("alice", ALPHA, "101");
    world.registered("bob", ALPHA, "102");
    world
}

#[test]
fn an_announcement_is_answered_played_and_hung_up() {
    let mut world = office(heard());
    world.tell("alice", |phone, now| phone.call(now, "700"));
    world.run_for(seconds(3));
    world.end_play(0, PlayEnd::Ended);
    world.run_for(seconds(1));
    kept("announcement", &mut world);
}

#[test]
fn whoever_is_on_hold_hears_music_until_it_is_taken_back() {
    let mut world = office(heard());
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(seconds(4));
    world.take_ladder();
    world.tell("alice", |phone, now| phone.hold(now, "sendonly"));
    world.run_for(seconds(5));
    world.tell("alice", |phone, now| phone.hold(now, "sendrecv"));
    world.run_for(seconds(2));
    world.tell("bob", |phone, now| phone.hang_up(now));
    world.run_for(seconds(1));
    kept("hold-music", &mut world);
}

#[test]
fn both_hear_that_they_are_recorded_and_one_pauses_it() {
    let mut company = heard();
    company.directory.recording.announcement = Some("waltz".to_owned());
    for user in company.directory.users.values_mut() {
        user.record = Record::OnDemand;
    }
    let mut world = office(company);
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(seconds(4));
    for press in 0..3 {
        for key in ["*", "1"] {
            let relay = [(Name::ContentType, "application/dtmf-relay")];
            let body = format!("Signal={key}\r\nDuration=160\r\n");
            world.tell("bob", |phone, now| phone.ask_within(now, Method::Info, &relay, &body));
            world.run_for(seconds(1));
        }
        if press == 0 {
            world.run_for(seconds(2));
            world.end_play(0, PlayEnd::Ended);
            world.end_play(1, PlayEnd::Ended);
        }
    }
    world.tell("alice", |phone, now| phone.hang_up(now));
    world.run_for(seconds(1));
    kept("recorded", &mut world);
}
