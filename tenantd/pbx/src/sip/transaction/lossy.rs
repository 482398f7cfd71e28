//! Two switches and a bad line between them: whatever is lost, doubled or late, each request is
//! served once and each asker hears how it ended.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::{Arrival, Cancelled, Output, ServerId, Transactions};
use crate::chance::Chance;
use crate::flow::Flow;
use crate::id::NodeId;
use crate::moment::Moment;
use crate::sip::answer::{Due, Unacknowledged2xx};
use crate::sip::draft::Draft;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::name::Name;

const REQUESTS: u64 = 300;

/// Something that will happen.
enum Event {
    /// The asker asks.
    Ask(u64),
    /// It has rung long enough.
    GiveUp(u64),
    /// Bytes reach who is asked.
    ToAsked(Bytes),
    /// Bytes reach who asks.
    ToAsker(Bytes),
    /// Who is asked has decided.
    Decide(ServerId, Box<Message>, u16),
    /// An answer is due again.
    Repeat(u64),
}

struct World {
    now: Moment,
    chance: Chance,
    /// How many of a hundred messages are lost.
    lost: u64,
    events: BTreeMap<(Moment, u64), Event>,
    asker: Transactions<u64>,
    asked: Transactions<u64>,
    answered: BTreeMap<u64, Unacknowledged2xx>,
    served: BTreeMap<u64, u32>,
    /// How each request ended for its asker: status and how often it was told.
    endings: BTreeMap<u64, Vec<u16>>,
}

impl World {
    fn new(seed: u8, lost: u64) -> Self {
        let mut world = Self {
            now: Moment::from_secs(1_000),
            chance: Chance::from_seed([seed; 32]),
            lost,
            events: BTreeMap::new(),
            asker: Transactions::new([1; 16], 10_000),
            asked: Transactions::new([2; 16], 10_000),
            answered: BTreeMap::new(),
            served: BTreeMap::new(),
            endings: BTreeMap::new(),
        };
        for number in 0..REQUESTS {
            let wait = world.chance.below(60_000);
            world.later(wait, Event::Ask(number));
        }
        world
    }

    fn later(&mut self, millis: u64, event: Event) {
        let at = self.now + Duration::from_millis(millis);
        self.events.insert((at, self.chance.number()), event);
    }

    fn run(&mut self) {
        loop {
            let event_at = self.events.first_key_value().map(|((at, _), _)| *at);
            let moments = [event_at, self.asker.deadline(), self.asked.deadline()];
            let Some(next) = moments.into_iter().flatten().min() else { return };
            self.now = self.now.max(next);
            self.asker.handle_deadline(self.now);
            self.asked.handle_deadline(self.now);
            if event_at.is_some_and(|at| at <= self.now)
                && let Some((_, event)) = self.events.pop_first()
            {
                self.happen(event);
            }
            self.deliver();
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Ask(number) => {
                let (method, bytes) = request(number, method(number), "");
                self.asker.request(self.now, flow(), method, bytes, number, number).unwrap();
                self.later(10_000, Event::GiveUp(number));
            }
            Event::GiveUp(number) => self.asker.cancel(self.now, number, None),
            Event::ToAsked(bytes) => self.arrive(Message::parse(bytes).unwrap()),
            Event::ToAsker(bytes) => self.hear(&Message::parse(bytes).unwrap()),
            Event::Decide(id, request, status) => {
                let bytes = Draft::response(&request, status, None).to_tag("t").finish();
                self.asked.respond(self.now, id, status, bytes.clone());
                if status == 200 && request.method() == Method::Invite {
                    let answer = Unacknowledged2xx::new(self.now, bytes);
                    self.answered.insert(number_of(&request), answer);
                    self.later(500, Event::Repeat(number_of(&request)));
                }
            }
            Event::Repeat(number) => self.repeat(number),
        }
    }

    fn arrive(&mut self, request: Message) {
        let number = number_of(&request);
        match self.asked.receive_request(self.now, flow(), &request) {
            Arrival::New(id) => {
                self.asked.own(id, number);
                *self.served.entry(number).or_default() += 1;
                if request.method() == Method::Invite {
                    let bytes = Draft::response(&request, 180, None).to_tag("t").finish();
                    self.asked.respond(self.now, id, 180, bytes);
                }
                let status = if number.is_multiple_of(3) { 486 } else { 200 };
                let wait = self.chance.below(6_000);
                self.later(wait, Event::Decide(id, Box::new(request), status));
            }
            Arrival::Ack => drop(self.answered.remove(&number)),
            Arrival::Cancel { server, invite } => {
                let bytes = Draft::response(&request, 200, None).to_tag("t").finish();
                self.asked.respond(self.now, server, 200, bytes);
                if let Cancelled::Invite(id, owner) = invite {
                    assert_eq!(owner, number);
                    let (_, bytes) = self::request(number, Method::Invite, "");
                    let invite = Message::parse(bytes).unwrap();
                    let bytes = Draft::response(&invite, 487, None).to_tag("t").finish();
                    self.asked.respond(self.now, id, 487, bytes);
                }
            }
            Arrival::Absorbed => {}
            other => panic!("{other:?}"),
        }
    }

    fn hear(&mut self, response: &Message) {
        let number = number_of(response);
        let Some(answer) = self.asker.receive_response(self.now, number, response) else { return };
        assert_eq!(answer.owner, number);
        if answer.status < 200 {
            return;
        }
        self.endings.entry(number).or_default().push(answer.status);
        if answer.status == 200 && method(number) == Method::Invite {
            let (_, ack) = request(number, Method::Ack, "x");
            self.travel(Event::ToAsked, ack);
        }
    }

    fn repeat(&mut self, number: u64) {
        let Some(answer) = self.answered.get_mut(&number) else { return };
        match answer.handle_deadline(self.now) {
            Some(Due::Repeat(bytes)) => {
                let wait = (answer.deadline() - self.now).as_millis() as u64;
                self.travel(Event::ToAsker, bytes);
                self.later(wait, Event::Repeat(number));
            }
            Some(Due::GiveUp) => drop(self.answered.remove(&number)),
            None => self.later(1, Event::Repeat(number)),
        }
    }

    fn deliver(&mut self) {
        while let Some(output) = self.asker.poll_output() {
            match output {
                Output::Send { bytes, .. } => self.travel(Event::ToAsked, bytes),
                Output::TimedOut { owner } => self.endings.entry(owner).or_default().push(408),
                Output::NeverAcknowledged { owner } => panic!("{owner} refused nobody"),
            }
        }
        while let Some(output) = self.asked.poll_output() {
            match output {
                Output::Send { bytes, .. } => self.travel(Event::ToAsker, bytes),
                Output::TimedOut { owner } => panic!("{owner} asked nobody"),
                Output::NeverAcknowledged { .. } => assert!(self.lost > 0),
            }
        }
    }

    /// Loses, delays, doubles.
    fn travel(&mut self, arrives: fn(Bytes) -> Event, bytes: Bytes) {
        let copies = if self.lost > 0 && self.chance.below(10) == 0 { 2 } else { 1 };
        for _ in 0..copies {
            if self.chance.below(100) >= self.lost {
                let wait = self.chance.below(300);
                self.later(wait, arrives(bytes.clone()));
            }
        }
    }
}

fn flow() -> Flow {
    let address = |text: &str| text.parse().unwrap();
    Flow::udp(NodeId(1), address("192.0.2.1:5060"), address("192.0.2.2:5060"))
}

fn method(number: u64) -> Method<'static> {
    if number.is_multiple_of(2) { Method::Invite } else { Method::Register }
}

fn request(number: u64, method: Method<'static>, branch: &str) -> (Method<'static>, Bytes) {
    let draft = Draft::request(method, "sip:102@acme.test")
        .header(
            Name::Via,
            format_args!("SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{number}{branch}"),
        )
        .header(Name::From, "<sip:101@acme.test>;tag=f")
        .header(Name::To, "<sip:102@acme.test>")
        .header(Name::CallId, number)
        .header(Name::CSeq, format_args!("1 {method}"))
        .header(Name::MaxForwards, 70);
    (method, draft.finish())
}

fn number_of(message: &Message) -> u64 {
    message.call_id().unwrap().parse().unwrap()
}

fn check(world: &World) {
    for number in 0..REQUESTS {
        let ending = world.endings.get(&number).map_or(&[][..], Vec::as_slice);
        let served = world.served.get(&number).copied().unwrap_or_default();
        assert!(served <= 1, "{number} was served {served} times");
        match (ending, number.is_multiple_of(3), method(number)) {
            ([486], true, _) | ([200], false, _) => assert_eq!(served, 1),
            ([200, rest @ ..], false, Method::Invite) => {
                assert!(rest.iter().all(|status| *status == 200));
            }
            ([487], _, Method::Invite) => assert!(world.lost > 0),
            ([408], ..) => assert!(world.lost > 50, "{number} was given up"),
            other => panic!("{number}: {other:?}"),
        }
    }
    assert!(world.asker.is_empty() && world.asked.is_empty(), "something is left behind");
    assert_eq!((world.asker.unfinished(), world.asked.unfinished()), (0, 0));
}

#[test]
fn on_a_good_line_all_is_answered() {
    let mut world = World::new(1, 0);
    world.run();
    check(&world);
    assert!(world.answered.is_empty());
}

#[test]
fn on_a_bad_line_each_request_is_served_once_and_answered() {
    for seed in 0..20 {
        let mut world = World::new(seed, 15);
        world.run();
        check(&world);
        assert_eq!(world.endings.len() as u64, REQUESTS);
    }
}

#[test]
fn on_a_dead_line_every_asker_is_told() {
    for (seed, lost) in [(1, 80), (2, 95), (3, 100)] {
        let mut world = World::new(seed, lost);
        world.run();
        check(&world);
        let given_up = world.endings.values().filter(|ending| **ending == [408]).count();
        assert!(given_up > 0 && (lost < 100 || given_up as u64 == REQUESTS));
    }
}
