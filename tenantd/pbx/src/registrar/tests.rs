//! The registrar's promises, each a sentence; time stands still unless a test moves it.

use std::borrow::Cow;
use std::net::SocketAddr;

use smallvec::smallvec;

use super::*;
use crate::chance::Chance;
use crate::flow::Path;
use crate::id::{BindingId, NodeId, UserId};
use crate::moment::Moment;
use crate::record::{Binding, Memory, Wait};
use crate::sip::nat::Reach;
use crate::story::Unregistered;
use crate::tenant::directory::User;
use crate::tenant::sample::{directory, user};

const HOME: &str = "198.51.100.1:40001";
const OFFICE: &str = "203.0.113.9:5060";

/// A registrar with its surroundings.
struct World {
    registrar: Registrar,
    chance: Chance,
    now: Moment,
    policy: Policy,
    users: Vec<User>,
}

impl World {
    fn new() -> Self {
        let mut users: Vec<User> = directory().users.into_values().collect();
        users[1].max_contacts = 2;
        users[2].max_contacts = 3;
        Self {
            registrar: Registrar::default(),
            chance: Chance::from_seed([7; 32]),
            now: Moment::from_secs(10_000),
            policy: Policy::default(),
            users,
        }
    }

    fn register(&mut self, number: u128, ask: &Ask<'_>) -> Result<Outcome, Refusal> {
        let user = self.users.iter().find(|known| known.id == user(number)).unwrap();
        self.registrar.register(self.now, &mut self.chance, user, &self.policy, ask)
    }

    fn wait(&mut self, seconds: u64) {
        self.now += std::time::Duration::from_secs(seconds);
    }

    /// The Contact values that the answer to this user's REGISTER lists.
    fn listed(&self, number: u128) -> Vec<String> {
        self.registrar.listed(self.now, user(number)).map(|listed| listed.to_string()).collect()
    }

    fn reachable(&self, number: u128) -> Vec<&str> {
        let contacts = self.registrar.contacts_of(self.now, user(number));
        contacts.map(|binding| binding.contact.as_str()).collect()
    }
}

fn path(peer: &str) -> Path {
    Path::udp(NodeId(1), "192.0.2.1:5060".parse().unwrap(), peer.parse().unwrap())
}

fn contact(uri: &str) -> AskedContact<'_> {
    AskedContact { uri, q: 1_000, expires: None, instance: None, reg_id: None }
}

fn ask<'a>(call_id: &'a str, cseq: u32, from: &str, contacts: Asked<'a>) -> Ask<'a> {
    let (path, route) = (path(from), vec![]);
    Ask {
        contacts,
        expires: None,
        call_id,
        cseq,
        path,
        route,
        user_agent: "Phone 1.0",
        reach: Reach::BehindNat,
        alg: None,
    }
}

/// A phone at home registers one contact.
fn phone<'a>(call_id: &'a str, cseq: u32, uri: &'a str) -> Ask<'a> {
    ask(call_id, cseq, HOME, Asked::These(smallvec![contact(uri)]))
}

fn from<'a>(peer: &str, ask: Ask<'a>) -> Ask<'a> {
    Ask { path: path(peer), ..ask }
}

fn for_seconds(expires: u32, ask: Ask<'_>) -> Ask<'_> {
    Ask { expires: Some(expires), ..ask }
}

fn with_instance<'a>(instance: &'a str, reg_id: Option<u32>, mut ask: Ask<'a>) -> Ask<'a> {
    if let Asked::These(contacts) = &mut ask.contacts {
        for contact in contacts {
            contact.instance = Some(Cow::Borrowed(instance));
            contact.reg_id = reg_id;
        }
    }
    ask
}

fn added(outcome: &Outcome) -> &Binding {
    match outcome.changes.as_slice() {
        [.., Change::Added(binding)] => binding,
        other => panic!("nothing was added last: {other:?}"),
    }
}

fn kinds(changes: &[Change]) -> Vec<&'static str> {
    let name = |change: &Change| match change {
        Change::Added(_) => "added",
        Change::Moved(_) => "moved",
        Change::Prolonged(_) => "prolonged",
        Change::Refreshed(_) => "refreshed",
        Change::Removed(_, Unregistered::ByPhone) => "removed by phone",
        Change::Removed(_, Unregistered::Expired) => "expired",
        Change::Removed(_, Unregistered::Replaced) => "replaced",
        Change::Removed(_, Unregistered::Removed) => "user removed",
    };
    changes.iter().map(name).collect()
}

mod expiry {
    use super::*;

    #[test]
    fn a_phone_that_registers_is_reachable_until_it_expires() {
        let mut world = World::new();
        let outcome = world.register(101, &phone("a", 1, "sip:101@10.0.0.1:5060")).unwrap();
        assert_eq!(kinds(&outcome.changes), ["added"]);
        assert_eq!(outcome.wait(), Wait::ForCommit);
        assert_eq!(world.listed(101), ["<sip:101@10.0.0.1:5060>;expires=3600"]);
        assert_eq!(added(&outcome).path, path(HOME), "the way back is where it came from");

        world.wait(3_599);
        assert_eq!(world.listed(101), ["<sip:101@10.0.0.1:5060>;expires=1"]);
        world.wait(1);
        assert!(world.listed(101).is_empty(), "gone at once, whoever sweeps when");
        assert_eq!(world.registrar.len(), 1);

        assert_eq!(world.registrar.deadline(), Some(world.now));
        let ended = world.registrar.handle_deadline(world.now);
        assert_eq!(kinds(&ended), ["expired"]);
        assert!(world.registrar.is_empty());
        assert_eq!(world.registrar.deadline(), None);
        assert!(!world.registrar.knows_source(HOME.parse().unwrap()));
    }

    #[test]
    fn a_contacts_own_expiry_goes_before_the_header() {
        let mut world = World::new();
        let mut ask = for_seconds(600, phone("a", 1, "sip:103@10.0.0.1"));
        let own = AskedContact { expires: Some(120), q: 500, ..contact("sip:other@10.0.0.2") };
        if let Asked::These(contacts) = &mut ask.contacts {
            contacts.push(own);
        }
        let _ = world.register(103, &ask).unwrap();
        assert_eq!(
            world.listed(103),
            ["<sip:103@10.0.0.1>;expires=600", "<sip:other@10.0.0.2>;expires=120;q=0.500"]
        );
    }

    #[test]
    fn one_contact_that_is_too_brief_stops_the_whole_register() {
        let mut world = World::new();
        let mut ask = for_seconds(600, phone("a", 1, "sip:103@10.0.0.1"));
        if let Asked::These(contacts) = &mut ask.contacts {
            contacts.push(AskedContact { expires: Some(30), ..contact("sip:103@10.0.0.2") });
        }
        let refusal = world.register(103, &ask).unwrap_err();
        assert_eq!((refusal.status(), refusal.min_expires()), (423, Some(60)));
        assert!(world.registrar.is_empty());
    }

    #[test]
    fn a_refresh_keeps_the_phone_and_needs_no_storing_within_the_horizon() {
        let mut world = World::new();
        let first = world.register(101, &for_seconds(60, phone("a", 1, "sip:101@h"))).unwrap();
        let id = added(&first).id;
        let mut told = vec![];
        for cseq in 2..=40 {
            world.wait(50);
            let refresh = for_seconds(60, phone("a", cseq, "sip:101@h"));
            told.push(world.register(101, &refresh).unwrap());
            assert!(world.registrar.handle_deadline(world.now).is_empty());
            assert_eq!(world.listed(101), ["<sip:101@h>;expires=60"]);
        }
        let stored: Vec<usize> = (1..)
            .zip(&told)
            .filter(|(_, outcome)| outcome.changes != [Change::Refreshed(id)])
            .map(|(at, _)| at)
            .collect();
        assert_eq!(stored, [19, 38], "once in 15 minutes");
        assert_eq!(kinds(&told[18].changes), ["prolonged"]);
        assert_eq!(told[18].wait(), Wait::No);
        assert!(told[17].changes[0].memory().is_none());

        world.wait(60);
        assert_eq!(kinds(&world.registrar.handle_deadline(world.now)), ["expired"]);
    }

    #[test]
    fn what_is_stored_survives_a_crash_long_enough() {
        let mut world = World::new();
        let outcome = world.register(101, &phone("a", 1, "sip:101@h")).unwrap();
        let binding = added(&outcome);
        assert_eq!(binding.horizon - binding.expires_at, register::HORIZON);
        assert_eq!(outcome.changes[0].memory(), Some(Memory::Bound(Box::new(binding.clone()))));
    }

    #[test]
    fn without_a_database_phones_come_back_within_a_minute() {
        let mut world = World::new();
        let outcome = world.register(101, &phone("a", 1, "sip:101@h")).unwrap();
        let ids: Vec<BindingId> = outcome.changes.iter().map(Change::binding).collect();
        world.registrar.shorten(world.now, user(101), ids, Policy::UNSTORED_EXPIRES);
        assert_eq!(world.listed(101), ["<sip:101@h>;expires=60"]);
        world.wait(60);
        assert_eq!(world.registrar.deadline(), Some(world.now), "the earlier end is not missed");
        assert_eq!(kinds(&world.registrar.handle_deadline(world.now)), ["expired"]);
    }

    #[test]
    fn very_many_endings_are_told_in_portions() {
        let mut world = World::new();
        world.users[0].max_contacts = 1_000;
        let uris: Vec<String> = (0..600).map(|n| format!("sip:p{n}@10.0.0.{n}x")).collect();
        for uri in &uris {
            let _ = world.register(101, &phone(uri, 1, uri)).unwrap();
        }
        world.wait(3_600);
        let portions: Vec<usize> =
            std::iter::repeat_with(|| world.registrar.handle_deadline(world.now).len())
                .take_while(|ended| *ended > 0)
                .collect();
        assert_eq!(portions, [256, 256, 88]);
    }
}

mod removal {
    use super::*;

    #[test]
    fn an_expiry_of_zero_removes_that_contact_only() {
        let mut world = World::new();
        let _ = world.register(102, &phone("a", 1, "sip:102@10.0.0.1")).unwrap();
        let _ = world.register(102, &from(OFFICE, phone("b", 1, "sip:102@10.0.0.2"))).unwrap();
        let outcome =
            world.register(102, &for_seconds(0, phone("a", 2, "sip:102@10.0.0.1"))).unwrap();
        assert_eq!(kinds(&outcome.changes), ["removed by phone"]);
        assert_eq!(outcome.wait(), Wait::ForCommit);
        assert!(matches!(outcome.changes[0].memory(), Some(Memory::Unbound(_))));
        assert_eq!(world.reachable(102), ["sip:102@10.0.0.2"]);
    }

    #[test]
    fn a_contact_may_be_removed_by_another_way_to_write_it() {
        let mut world = World::new();
        let _ = world.register(101, &phone("a", 1, "sip:101@Home.test;ob")).unwrap();
        let removal = for_seconds(0, phone("b", 1, "sip:%3101@home.TEST;line=1"));
        assert_eq!(kinds(&world.register(101, &removal).unwrap().changes), ["removed by phone"]);
    }

    #[test]
    fn removing_what_is_not_there_changes_nothing() {
        let mut world = World::new();
        let outcome = world.register(101, &for_seconds(0, phone("a", 2, "sip:101@h"))).unwrap();
        assert_eq!(outcome, Outcome::default());
    }

    #[test]
    fn a_star_removes_all_of_the_extension_and_nothing_else() {
        let mut world = World::new();
        let _ = world.register(102, &phone("a", 1, "sip:102@10.0.0.1")).unwrap();
        let _ = world.register(102, &from(OFFICE, phone("b", 1, "sip:102@10.0.0.2"))).unwrap();
        let _ = world.register(101, &phone("c", 1, "sip:101@10.0.0.1")).unwrap();
        let star = for_seconds(0, ask("d", 1, HOME, Asked::Everything));
        let outcome = world.register(102, &star).unwrap();
        assert_eq!(kinds(&outcome.changes), ["removed by phone", "removed by phone"]);
        assert!(world.reachable(102).is_empty());
        assert_eq!(world.reachable(101), ["sip:101@10.0.0.1"]);
    }

    #[test]
    fn a_star_without_an_expiry_of_zero_is_refused() {
        let mut world = World::new();
        let _ = world.register(101, &phone("a", 1, "sip:101@h")).unwrap();
        for expires in [None, Some(1), Some(3_600)] {
            let star = Ask { expires, ..ask("a", 2, HOME, Asked::Everything) };
            assert_eq!(world.register(101, &star).unwrap_err().status(), 400);
        }
        assert_eq!(world.reachable(101), ["sip:101@h"]);
    }

    #[test]
    fn a_phone_that_learns_its_public_address_may_remove_the_private_one_afterwards() {
        let mut world = World::new();
        let private = "sip:101@192.168.1.5:5060";
        let public = "sip:101@198.51.100.1:40001";
        let _ = world.register(101, &phone("a", 1, private)).unwrap();
        let _ = world.register(101, &phone("a", 2, public)).unwrap();
        let _ = world.register(101, &for_seconds(0, phone("a", 3, private))).unwrap();
        assert_eq!(world.reachable(101), [public]);
    }

    #[test]
    fn removing_and_adding_in_one_register_happens_together() {
        let mut world = World::new();
        let (old, new) = ("sip:101@192.168.1.5:5060", "sip:101@198.51.100.1:40001");
        let _ = world.register(101, &phone("a", 1, old)).unwrap();
        let both = Asked::These(smallvec![
            AskedContact { expires: Some(0), ..contact(old) },
            contact(new)
        ]);
        let outcome = world.register(101, &ask("a", 2, HOME, both)).unwrap();
        assert_eq!(kinds(&outcome.changes), ["removed by phone", "added"]);
        assert_eq!(world.reachable(101), [new]);
    }
}

mod order {
    use super::*;

    #[test]
    fn a_question_changes_nothing_and_lists_what_there_is() {
        let mut world = World::new();
        let _ = world.register(101, &phone("a", 5, "sip:101@h")).unwrap();
        let outcome = world.register(101, &ask("a", 1, OFFICE, Asked::Nothing)).unwrap();
        assert_eq!(outcome, Outcome::default());
        assert_eq!(outcome.wait(), Wait::No);
        assert_eq!(world.listed(101), ["<sip:101@h>;expires=3600"]);
    }

    #[test]
    fn an_older_register_is_refused_and_changes_nothing() {
        let mut world = World::new();
        let _ = world.register(101, &phone("a", 5, "sip:101@h")).unwrap();
        for late in [phone("a", 4, "sip:101@h"), for_seconds(0, phone("a", 4, "sip:101@h"))] {
            assert_eq!(world.register(101, &late), Err(Refusal::OutOfOrder));
        }
        let star = for_seconds(0, ask("a", 4, HOME, Asked::Everything));
        assert_eq!(world.register(101, &star), Err(Refusal::OutOfOrder));
        assert_eq!(world.reachable(101), ["sip:101@h"]);
    }

    #[test]
    fn one_older_contact_stops_the_whole_register() {
        let mut world = World::new();
        let _ = world.register(103, &phone("a", 5, "sip:x@10.0.0.1")).unwrap();
        let both = Asked::These(smallvec![contact("sip:y@10.0.0.2"), contact("sip:x@10.0.0.1")]);
        assert_eq!(world.register(103, &ask("a", 4, HOME, both)), Err(Refusal::OutOfOrder));
        assert_eq!(world.reachable(103), ["sip:x@10.0.0.1"]);
    }

    #[test]
    fn the_same_register_again_is_answered_and_changes_nothing() {
        let mut world = World::new();
        let _ = world.register(101, &phone("a", 5, "sip:101@h")).unwrap();
        world.wait(100);
        let again = world.register(101, &phone("a", 5, "sip:101@h")).unwrap();
        assert_eq!(again, Outcome::default());
        assert_eq!(world.listed(101), ["<sip:101@h>;expires=3500"]);
        let star = for_seconds(0, ask("a", 5, HOME, Asked::Everything));
        assert_eq!(world.register(101, &star).unwrap(), Outcome::default());
    }

    #[test]
    fn a_phone_that_starts_counting_again_after_its_expiry_is_welcome() {
        let mut world = World::new();
        let _ = world.register(101, &phone("a", 50, "sip:101@h")).unwrap();
        world.wait(3_600);
        let outcome = world.register(101, &phone("a", 1, "sip:101@h")).unwrap();
        assert_eq!(kinds(&outcome.changes), ["prolonged"]);
        assert_eq!(world.reachable(101), ["sip:101@h"]);
    }
}

mod sameness {
    use super::*;

    /// Registers `first` and then `second` for an extension that may have three phones; how many
    /// are there in the end.
    fn phones(first: Ask<'_>, second: Ask<'_>) -> usize {
        let mut world = World::new();
        let _ = world.register(103, &first).unwrap();
        let _ = world.register(103, &second).unwrap();
        world.listed(103).len()
    }

    #[test]
    fn a_refresh_with_a_new_call_id_makes_no_ghost() {
        assert_eq!(phones(phone("a", 7, "sip:103@h"), phone("b", 1, "sip:103@h")), 1);
    }

    #[test]
    fn equal_contacts_may_be_written_differently() {
        let (first, second) = ("sip:103@Home.test;ob", "sip:%3103@home.TEST;line=1");
        assert_eq!(phones(phone("a", 1, first), phone("a", 2, second)), 1);
    }

    #[test]
    fn a_restarted_phone_with_another_contact_from_the_same_source_makes_no_ghost() {
        let other_port = ("sip:103@10.0.0.1:5060", "sip:103@10.0.0.1:5062");
        let other_user = ("sip:103-0x1f@10.0.0.1:5060", "sip:103-0x2e@10.0.0.1:5060");
        for (first, second) in [other_port, other_user] {
            assert_eq!(phones(phone("a", 1, first), phone("b", 1, second)), 1);
        }
    }

    #[test]
    fn two_phones_with_one_contact_text_behind_different_ports_are_two() {
        let uri = "sip:103@192.168.1.10:5060";
        let other_home = from("198.51.100.1:40002", phone("b", 1, uri));
        assert_eq!(phones(phone("a", 1, uri), other_home), 2);
    }

    #[test]
    fn two_phones_with_one_contact_text_and_source_but_two_instances_are_two() {
        let uri = "sip:103@192.168.1.10:5060";
        let first = with_instance("<urn:uuid:1>", None, phone("a", 1, uri));
        let second = with_instance("<urn:uuid:2>", None, phone("b", 1, uri));
        assert_eq!(phones(first, second), 2);
    }

    #[test]
    fn a_phone_whose_source_changes_is_moved() {
        let mut world = World::new();
        let uri = "sip:103@192.168.1.10:5060";
        let first = world.register(103, &phone("a", 1, uri)).unwrap();
        let rebound = "198.51.100.1:40777";
        let outcome = world.register(103, &from(rebound, phone("a", 2, uri))).unwrap();
        assert_eq!(kinds(&outcome.changes), ["moved"]);
        assert_eq!(outcome.wait(), Wait::ForCommit);
        assert_eq!(outcome.changes[0].binding(), added(&first).id);
        assert!(world.registrar.knows_source(rebound.parse().unwrap()));
        assert!(!world.registrar.knows_source(HOME.parse().unwrap()));
    }

    #[test]
    fn a_phone_that_takes_its_series_to_another_network_leaves_no_ghost() {
        let at_work = from(OFFICE, phone("a", 2, "sip:103@10.9.9.9:5060"));
        assert_eq!(phones(phone("a", 1, "sip:103@192.168.1.10:5060"), at_work), 1);
    }

    #[test]
    fn an_instance_is_the_same_phone_wherever_it_is() {
        let first = with_instance("<urn:uuid:ABC>", None, phone("a", 1, "sip:x@10.0.0.1"));
        let second = with_instance("<urn:uuid:abc>", None, phone("b", 1, "sip:y@10.0.0.2"));
        assert_eq!(phones(first, from(OFFICE, second)), 1);
    }

    #[test]
    fn each_reg_id_of_an_instance_is_a_way_of_its_own() {
        let way = |call_id, reg_id| {
            with_instance("<urn:uuid:1>", Some(reg_id), phone(call_id, 1, "sip:x@10.0.0.1"))
        };
        assert_eq!(phones(way("a", 1), way("b", 2)), 2);
        assert_eq!(phones(way("a", 1), from(OFFICE, way("b", 1))), 1);
    }

    #[test]
    fn a_firmware_that_learns_to_name_its_instance_is_still_the_same_phone() {
        let after = with_instance("<urn:uuid:1>", Some(1), phone("b", 1, "sip:103@h"));
        assert_eq!(phones(phone("a", 1, "sip:103@h"), after), 1);
    }

    #[test]
    fn two_contacts_of_one_register_are_two() {
        let mut world = World::new();
        let both = || {
            Asked::These(smallvec![
                contact("sip:103@10.0.0.1"),
                contact("sip:103@10.0.0.1;transport=tcp")
            ])
        };
        let _ = world.register(103, &ask("a", 1, HOME, both())).unwrap();
        let outcome = world.register(103, &ask("a", 2, HOME, both())).unwrap();
        assert_eq!(kinds(&outcome.changes), ["refreshed", "refreshed"]);
        assert_eq!(world.listed(103).len(), 2);
    }

    #[test]
    fn a_contact_that_is_certain_goes_before_one_that_is_likely() {
        let mut world = World::new();
        let _ = world.register(103, &phone("a", 1, "sip:103@10.0.0.1")).unwrap();
        let new_and_old =
            Asked::These(smallvec![contact("sip:103@10.0.0.2"), contact("sip:103@10.0.0.1")]);
        let outcome = world.register(103, &ask("a", 2, HOME, new_and_old)).unwrap();
        assert_eq!(kinds(&outcome.changes), ["added", "refreshed"]);
    }

    #[test]
    fn many_users_over_one_source_do_not_disturb_each_other() {
        let mut world = World::new();
        for number in [101, 102, 103] {
            let uri = format!("sip:{number}@10.0.0.1:5060");
            let _ = world.register(number, &phone("base", 1, &uri)).unwrap();
        }
        assert_eq!(world.registrar.len(), 3);
        let gone = for_seconds(0, phone("base", 2, "sip:102@10.0.0.1:5060"));
        let _ = world.register(102, &gone).unwrap();
        assert!(world.registrar.knows_source(HOME.parse().unwrap()));
        assert_eq!(world.registrar.len(), 2);
    }
}

mod room {
    use super::*;

    #[test]
    fn the_newest_phone_replaces_the_oldest() {
        let mut world = World::new();
        let sources: Vec<String> = (1..=3).map(|n| format!("203.0.113.{n}:5060")).collect();
        let mut last = Outcome::default();
        for (call_id, source) in ["a", "b", "c"].iter().zip(&sources) {
            last = world.register(102, &from(source, phone(call_id, 1, "sip:102@lan"))).unwrap();
            world.wait(1);
        }
        assert_eq!(kinds(&last.changes), ["replaced", "added"]);
        let replaced: Vec<SocketAddr> = last.replaced().map(|old| old.path.peer).collect();
        assert_eq!(replaced, [sources[0].parse().unwrap()]);
        let left: Vec<SocketAddr> =
            world.registrar.contacts_of(world.now, user(102)).map(|b| b.path.peer).collect();
        assert_eq!(left, [sources[2].parse().unwrap(), sources[1].parse().unwrap()]);
    }

    #[test]
    fn a_refresh_does_not_make_a_phone_younger_nor_push_anybody_out() {
        let mut world = World::new();
        let a = |cseq| from("203.0.113.1:5060", phone("a", cseq, "sip:102@a"));
        let b = from("203.0.113.2:5060", phone("b", 1, "sip:102@b"));
        let c = from("203.0.113.3:5060", phone("c", 1, "sip:102@c"));
        let _ = world.register(102, &a(1)).unwrap();
        let _ = world.register(102, &b).unwrap();
        let refresh = world.register(102, &a(2)).unwrap();
        assert_eq!(refresh.replaced().count(), 0);
        let outcome = world.register(102, &c).unwrap();
        let replaced: Vec<&str> = outcome.replaced().map(|old| old.contact.as_str()).collect();
        assert_eq!(replaced, ["sip:102@a"]);
    }

    #[test]
    fn who_has_expired_makes_room_for_nothing() {
        let mut world = World::new();
        let _ = world.register(101, &for_seconds(60, phone("a", 1, "sip:101@a"))).unwrap();
        world.wait(60);
        let outcome = world.register(101, &from(OFFICE, phone("b", 1, "sip:101@b"))).unwrap();
        assert_eq!(kinds(&outcome.changes), ["added"]);
        assert_eq!(kinds(&world.registrar.handle_deadline(world.now)), ["expired"]);
        assert_eq!(world.reachable(101), ["sip:101@b"]);
    }

    #[test]
    fn of_too_many_contacts_in_one_register_the_preferred_are_kept() {
        let mut world = World::new();
        let contacts = Asked::These(smallvec![
            AskedContact { q: 300, ..contact("sip:a@10.0.0.1") },
            AskedContact { q: 900, ..contact("sip:b@10.0.0.2") },
            AskedContact { q: 500, ..contact("sip:c@10.0.0.3") },
        ]);
        let outcome = world.register(102, &ask("a", 1, HOME, contacts)).unwrap();
        assert_eq!(kinds(&outcome.changes), ["added", "added"]);
        assert_eq!(world.reachable(102), ["sip:b@10.0.0.2", "sip:c@10.0.0.3"]);
    }

    #[test]
    fn preferred_phones_come_first_then_the_newest() {
        let mut world = World::new();
        for (call_id, q, n) in [("a", 500, 1), ("b", 1_000, 2), ("c", 500, 3)] {
            let uri = format!("sip:{call_id}@lan");
            let one = AskedContact { q, ..contact(&uri) };
            let source = format!("203.0.113.{n}:5060");
            let ask = ask(call_id, 1, &source, Asked::These(smallvec![one]));
            let _ = world.register(103, &ask).unwrap();
        }
        assert_eq!(world.reachable(103), ["sip:b@lan", "sip:c@lan", "sip:a@lan"]);
    }

    #[test]
    fn a_published_configuration_ends_what_it_no_longer_allows() {
        let mut world = World::new();
        let _ = world.register(101, &phone("x", 1, "sip:101@x")).unwrap();
        for (call_id, n) in [("a", 1), ("b", 2)] {
            let source = format!("203.0.113.{n}:5060");
            let _ = world.register(102, &from(&source, phone(call_id, 1, "sip:102@l"))).unwrap();
        }
        let mut published = directory();
        published.users.remove(&user(101));
        let gone = world.registrar.configure(world.now, &published);
        assert_eq!(kinds(&gone), ["user removed", "replaced"]);
        assert_eq!(world.registrar.len(), 1);
        assert!(world.registrar.configure(world.now, &published).is_empty());
    }
}

mod restart {
    use super::*;

    fn stored(world: &mut World, number: u128, ask: &Ask<'_>) -> Binding {
        added(&world.register(number, ask).unwrap()).clone()
    }

    fn restarted(world: &mut World, rows: Vec<Binding>) -> Vec<Change> {
        world.registrar = Registrar::default();
        world.registrar.restore(world.now, &directory(), rows, |_| false)
    }

    #[test]
    fn phones_are_reachable_at_once_after_a_restart() {
        let mut world = World::new();
        let row = stored(&mut world, 101, &phone("a", 5, "sip:101@h"));
        world.wait(600);
        assert!(restarted(&mut world, vec![row]).is_empty());
        assert_eq!(world.listed(101), ["<sip:101@h>;expires=3000"]);
        assert!(world.registrar.knows_source(HOME.parse().unwrap()));
        assert_eq!(world.register(101, &phone("a", 4, "sip:101@h")), Err(Refusal::OutOfOrder));
        let refresh = world.register(101, &phone("a", 6, "sip:101@h")).unwrap();
        assert_eq!(kinds(&refresh.changes), ["refreshed"]);
    }

    #[test]
    fn an_expired_binding_is_doubtful_until_its_horizon() {
        let mut world = World::new();
        let row = stored(&mut world, 101, &phone("a", 1, "sip:101@h"));
        world.wait(3_700);
        assert!(restarted(&mut world, vec![row.clone()]).is_empty());
        assert!(world.reachable(101).is_empty());
        assert_eq!(world.registrar.doubtful().count(), 1);
        assert_eq!(world.registrar.deadline(), Some(row.horizon));
        world.now = row.horizon;
        assert_eq!(kinds(&world.registrar.handle_deadline(world.now)), ["expired"]);
    }

    #[test]
    fn a_doubtful_phone_that_answers_its_probe_is_reachable_again() {
        let mut world = World::new();
        let row = stored(&mut world, 101, &phone("a", 1, "sip:101@h"));
        world.wait(3_700);
        let _ = restarted(&mut world, vec![row.clone()]);
        let confirmed = world.registrar.confirm(user(101), row.id).unwrap();
        assert_eq!(confirmed.expires_at, row.horizon);
        assert_eq!(world.reachable(101), ["sip:101@h"]);
        assert!(world.registrar.confirm(user(101), row.id).is_none(), "only once");
        assert!(world.registrar.give_up(user(101), row.id).is_none(), "and it stays");
    }

    #[test]
    fn a_doubtful_phone_that_is_silent_is_removed() {
        let mut world = World::new();
        let row = stored(&mut world, 101, &phone("a", 1, "sip:101@h"));
        world.wait(3_700);
        let _ = restarted(&mut world, vec![row.clone()]);
        let gone = world.registrar.give_up(user(101), row.id).unwrap();
        assert_eq!(kinds(&[gone]), ["expired"]);
        assert!(world.registrar.is_empty());
    }

    #[test]
    fn a_doubtful_phone_that_registers_needs_no_probe() {
        let mut world = World::new();
        let row = stored(&mut world, 101, &phone("a", 9, "sip:101@h"));
        world.wait(3_700);
        let _ = restarted(&mut world, vec![row.clone()]);
        let outcome = world.register(101, &phone("a", 3, "sip:101@h")).unwrap();
        assert_eq!(kinds(&outcome.changes), ["prolonged"]);
        assert_eq!(world.registrar.doubtful().count(), 0);
        assert!(world.registrar.give_up(user(101), row.id).is_none());
        assert_eq!(world.reachable(101), ["sip:101@h"]);
    }

    #[test]
    fn a_new_phone_replaces_a_doubtful_one_before_an_old_one() {
        let mut world = World::new();
        let short = for_seconds(60, from(OFFICE, phone("b", 1, "sip:102@b")));
        let old = stored(&mut world, 102, &phone("a", 1, "sip:102@a"));
        let doubtful = stored(&mut world, 102, &short);
        world.wait(120);
        let _ = restarted(&mut world, vec![doubtful, old]);
        let new = from("203.0.113.77:5060", phone("c", 1, "sip:102@c"));
        let outcome = world.register(102, &new).unwrap();
        let replaced: Vec<&str> = outcome.replaced().map(|old| old.contact.as_str()).collect();
        assert_eq!(replaced, ["sip:102@b"]);
        assert_eq!(world.reachable(102), ["sip:102@c", "sip:102@a"]);
    }

    #[test]
    fn rows_of_no_use_are_told_to_be_removed() {
        let mut world = World::new();
        let row = stored(&mut world, 101, &phone("a", 1, "sip:101@h"));
        let stranger = Binding { user: UserId(uuid::Uuid::from_u128(9)), ..row.clone() };
        world.now = row.horizon;
        let gone = restarted(&mut world, vec![row, stranger]);
        assert_eq!(kinds(&gone), ["expired", "user removed"]);
        assert!(world.registrar.is_empty());
    }

    #[test]
    fn the_age_of_phones_is_remembered() {
        let mut world = World::new();
        let first = stored(&mut world, 102, &phone("a", 1, "sip:102@a"));
        world.wait(1);
        let second = stored(&mut world, 102, &from(OFFICE, phone("b", 1, "sip:102@b")));
        let _ = restarted(&mut world, vec![second, first]);
        assert_eq!(world.reachable(102), ["sip:102@b", "sip:102@a"]);
    }
}

mod listing {
    use super::*;

    #[test]
    fn the_answer_tells_instance_and_reg_id_back() {
        let mut world = World::new();
        let outbound = with_instance("<urn:uuid:1>", Some(1), phone("a", 1, "sip:101@h;ob"));
        let _ = world.register(101, &outbound).unwrap();
        assert_eq!(
            world.listed(101),
            [r#"<sip:101@h;ob>;expires=3600;+sip.instance="<urn:uuid:1>";reg-id=1"#]
        );
    }

    #[test]
    fn a_started_second_counts_as_one() {
        let mut world = World::new();
        let _ = world.register(101, &phone("a", 1, "sip:101@h")).unwrap();
        world.now += std::time::Duration::from_millis(3_599_999);
        assert_eq!(world.listed(101), ["<sip:101@h>;expires=1"]);
    }
}

mod connections {
    use super::*;
    use crate::flow::{FlowId, Link, Transport};

    fn connected(number: u32, ask: Ask<'_>) -> Ask<'_> {
        let link = Link::Stream { transport: Transport::Tls, boot: 7, number };
        Ask { path: Path { link, ..path(HOME) }, ..ask }
    }

    fn stream(number: u32) -> FlowId {
        FlowId { node: NodeId(1), boot: 7, number }
    }

    #[test]
    fn a_phone_whose_connection_broke_is_not_called_until_it_is_back() {
        let mut world = World::new();
        let first = connected(1, phone("a", 1, "sip:101@h"));
        let _ = world.register(101, &first).unwrap();
        assert!(world.registrar.lose(stream(2)).is_empty());
        assert_eq!(world.reachable(101), ["sip:101@h"]);
        assert_eq!(world.registrar.lose(stream(1)).len(), 1);
        assert!(world.reachable(101).is_empty());
        assert_eq!(world.registrar.doubtful().count(), 0);
        let back = world.register(101, &connected(2, phone("a", 2, "sip:101@h"))).unwrap();
        assert_eq!(kinds(&back.changes), ["moved"]);
        assert_eq!(world.reachable(101), ["sip:101@h"]);
    }

    #[test]
    fn after_a_restart_a_connection_is_dormant_unless_it_is_still_open_elsewhere() {
        let mut world = World::new();
        let outcome = world.register(101, &connected(1, phone("a", 1, "sip:101@h"))).unwrap();
        let row = added(&outcome).clone();
        for (is_open, reachable) in [(false, 0), (true, 1)] {
            world.registrar = Registrar::default();
            let gone =
                world.registrar.restore(world.now, &directory(), vec![row.clone()], |_| is_open);
            assert!(gone.is_empty());
            assert_eq!(world.reachable(101).len(), reachable);
        }
        world.wait(3_601);
        assert_eq!(kinds(&world.registrar.handle_deadline(world.now)), ["expired"]);
    }
}

mod routers {
    use super::*;

    fn rewritten<'a>(signs: &str, ask: Ask<'a>) -> Ask<'a> {
        Ask { alg: Some(signs.into()), ..ask }
    }

    fn alg(world: &World) -> Option<&str> {
        let mut bindings = world.registrar.of(user(101));
        bindings.next().and_then(|registered| registered.binding.alg.as_deref())
    }

    #[test]
    fn what_a_router_did_is_kept_and_stored_until_the_phone_is_elsewhere() {
        let mut world = World::new();
        let _ = world.register(101, &phone("a", 1, "sip:101@h")).unwrap();
        let seen = world.register(101, &rewritten("via", phone("a", 2, "sip:101@h"))).unwrap();
        assert_eq!(kinds(&seen.changes), ["prolonged"], "it is stored, and nobody waits for it");
        assert_eq!(alg(&world), Some("via"));
        let unseen = world.register(101, &phone("a", 3, "sip:101@h")).unwrap();
        assert_eq!(kinds(&unseen.changes), ["refreshed"]);
        assert_eq!(alg(&world), Some("via"));
        let moved = world.register(101, &from(OFFICE, phone("a", 4, "sip:101@h"))).unwrap();
        assert_eq!(kinds(&moved.changes), ["moved"]);
        assert_eq!(alg(&world), None);
    }

    #[test]
    fn what_a_call_shows_of_a_router_is_stored_once() {
        let mut world = World::new();
        let id = added(&world.register(101, &phone("a", 1, "sip:101@h")).unwrap()).id;
        let Some(change) = world.registrar.meddle(user(101), id, "session") else {
            panic!("nothing to store")
        };
        assert_eq!((kinds(&[change]), alg(&world)), (vec!["prolonged"], Some("session")));
        assert_eq!(world.registrar.meddle(user(101), id, "length"), None);
    }

    #[test]
    fn a_phone_that_answers_no_more_is_not_called_until_it_does() {
        let mut world = World::new();
        let id = added(&world.register(101, &phone("a", 1, "sip:101@h")).unwrap()).id;
        assert!(world.registrar.fall_silent(user(101), id).is_some());
        assert!(world.registrar.fall_silent(user(101), id).is_none(), "once is enough");
        assert!(world.reachable(101).is_empty());
        assert!(world.registrar.speak_again(user(101), id).is_some());
        assert!(world.registrar.speak_again(user(101), id).is_none());
        assert_eq!(world.reachable(101), ["sip:101@h"]);

        world.registrar.fall_silent(user(101), id);
        // As if it had been started again: it counts anew.
        let back = world.register(101, &phone("a", 1, "sip:101@h")).unwrap();
        assert_eq!(kinds(&back.changes), ["refreshed"]);
        assert_eq!(world.reachable(101), ["sip:101@h"]);
        world.registrar.fall_silent(user(101), id);
        world.wait(3_601);
        assert_eq!(kinds(&world.registrar.handle_deadline(world.now)), ["expired"]);
    }

    #[test]
    fn once_behind_a_router_always_behind_it() {
        let mut world = World::new();
        let _ = world.register(101, &phone("a", 1, "sip:101@192.168.1.10")).unwrap();
        // The phone has learned its public address from our answer.
        let learned = Ask { reach: Reach::Direct, ..phone("a", 2, "sip:101@198.51.100.1:40001") };
        let moved = world.register(101, &learned).unwrap();
        assert_eq!(kinds(&moved.changes), ["moved"]);
        let mut bindings = world.registrar.of(user(101));
        assert_eq!(bindings.next().map(|registered| registered.reach), Some(Reach::BehindNat));
    }

    #[test]
    fn phones_are_found_by_where_they_come_from() {
        let mut world = World::new();
        let here = |world: &World, peer: &str| world.registrar.from(peer.parse().unwrap()).count();
        let _ = world.register(101, &phone("a", 1, "sip:101@h")).unwrap();
        let _ = world.register(102, &phone("b", 1, "sip:102@h")).unwrap();
        assert_eq!((here(&world, HOME), here(&world, OFFICE)), (2, 0));
        let _ = world.register(101, &from(OFFICE, phone("a", 2, "sip:101@h"))).unwrap();
        assert_eq!((here(&world, HOME), here(&world, OFFICE)), (1, 1));
        let _ = world.register(101, &from(OFFICE, for_seconds(0, phone("a", 3, "sip:101@h"))));
        assert_eq!((here(&world, HOME), here(&world, OFFICE)), (1, 0));
    }
}
