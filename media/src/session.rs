//! The calls of one worker: which side hears which, and where a datagram goes.

mod outbox;
mod quality;
mod rooms;
pub(crate) mod speech;
pub(crate) mod tapping;
mod timetable;
pub(crate) mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use pbx::id::CallId;
use pbx::media::{Event, Heard, Side, Terms};
use pbx::moment::Moment;

use crate::allowance::Pass;
use crate::counters::Secrecy;
use crate::dtls::{Identity, Room};
use crate::end::{End, Moved, Received, Surroundings};
use crate::guard::Kind;
use crate::packet::Packet;
use crate::play::booth::Booth;
use crate::recording::tap::Tap;
use crate::session::outbox::Outbox;
use crate::session::rooms::Rooms;
use crate::session::timetable::Timetable;
use crate::stream::{Aim, Look};
use crate::transcode::mouth::{Change, Spoken};

/// As many sides as [`Side`] says that a call may have.
const SIDES_OF_A_CALL: usize = 128;
/// How often peers that have fallen silent are looked for, while any side is open.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often handshakes that wait are asked whether something is to be repeated.
const SHAKE_EVERY: Duration = Duration::from_millis(250);
/// More at once are not begun: each costs a third of a millisecond, and sound waits meanwhile. Who
/// says hello then says it again after a second.
const HANDSHAKES: usize = 256;

/// A side's place in the tables of its worker, as long as the side is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(u32);

/// Which addresses a side can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// Which of a side's two ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    /// RTP.
    Sound,
    /// RTCP.
    Reports,
}

/// Where a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Out of this side's port, to its peer.
    To(Slot, Port, SocketAddr),
    /// Nobody listens: the side is joined to none, or that one's peer wants nothing.
    Unheard,
    /// Its peer sends more than any sound.
    Excess,
    /// It is not our peer's.
    Stranger,
    /// Here: [`Sessions::take_secrecy`] counts it.
    Ended,
}

/// What a side itself says, of checks and handshakes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// From which side.
    pub(crate) slot: Slot,
    /// From which of its ports.
    pub(crate) port: Port,
    /// Where to.
    pub(crate) to: SocketAddr,
    /// What.
    pub(crate) bytes: Vec<u8>,
}

/// All open sides of a worker.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    /// Boxed: there are as many places as there ever were sides at once.
    ends: Vec<Option<Box<End>>>,
    free: Vec<Slot>,
    slots: BTreeMap<Side, Slot>,
    events: VecDeque<Event>,
    look_at: Moment,
    secrecy: Secrecy,
    timetable: Timetable<Slot>,
    rooms: Rooms,
    outbox: Outbox,
    booth: Booth,
    identity: Option<Identity>,
    /// Sides that shake hands now.
    shaking: Vec<Slot>,
    shake_at: Moment,
    replies: VecDeque<Reply>,
    tap: Tap,
}

impl Slot {
    /// As an index.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }

    /// From a number.
    pub(crate) fn of(number: u32) -> Self {
        Self(number)
    }

    /// From [`Self::index`].
    pub(crate) fn from_index(index: usize) -> Option<Self> {
        u32::try_from(index).ok().map(Self)
    }
}

impl Family {
    /// The family of an address.
    pub(crate) fn of(address: &SocketAddr) -> Self {
        match address {
            SocketAddr::V4(_) => Self::V4,
            SocketAddr::V6(_) => Self::V6,
        }
    }
}

impl Sessions {
    /// None, with a certificate for handshakes.
    #[cfg(test)]
    pub(crate) fn with_identity(identity: Identity) -> Self {
        Self { identity: Some(identity), ..Self::default() }
    }

    /// With a way to keep what is said.
    pub(crate) fn kept_by(self, tap: Tap) -> Self {
        Self { tap, ..self }
    }

    /// None, with a certificate for handshakes, and what can be played.
    pub(crate) fn new(identity: Identity, booth: Booth) -> Self {
        Self { identity: Some(identity), booth, ..Self::default() }
    }

    /// The same with other things to be played.
    #[cfg(test)]
    pub(crate) fn booth(&mut self) -> &mut Booth {
        &mut self.booth
    }

    /// How many sides' peers hear something that we play.
    pub(crate) fn listeners(&self) -> u64 {
        self.booth.listeners()
    }

    /// Opens a side; `None` if it [cannot be](Self::may_open).
    pub(crate) fn open(&mut self, side: Side, family: Family) -> Option<Slot> {
        if !self.may_open(side) {
            return None;
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let slot = Slot::from_index(self.ends.len())?;
                self.ends.push(None);
                slot
            }
        };
        self.open_in(slot, side, family)
    }

    /// Opens a side in the place of one that was closed and not [freed](Self::free).
    pub(crate) fn open_in(&mut self, slot: Slot, side: Side, family: Family) -> Option<Slot> {
        *self.ends.get_mut(slot.index())? = Some(Box::new(End::new(side, family)));
        self.slots.insert(side, slot);
        Some(slot)
    }

    /// Whether a side is not open yet, and its call has not too many.
    pub(crate) fn may_open(&self, side: Side) -> bool {
        !self.slots.contains_key(&side) && self.sides_of(side.call) < SIDES_OF_A_CALL
    }

    fn sides_of(&self, call: CallId) -> usize {
        let all = Side { call, leg: 0 }..=Side { call, leg: u16::MAX };
        self.slots.range(all).count()
    }

    /// An open side's slot.
    pub(crate) fn slot_of(&self, side: Side) -> Option<Slot> {
        self.slots.get(&side).copied()
    }

    /// How many sides are open.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Signalling says where a side's peer is.
    pub(crate) fn aim(&mut self, now: Moment, side: Side, aim: Aim) {
        let Some(slot) = self.slot_of(side) else { return };
        self.with(slot, |end, around| end.aim(now, aim, around));
        self.watch(slot);
    }

    /// Signalling says what a side and its peer agreed on.
    pub(crate) fn agree(&mut self, now: Moment, side: Side, terms: Box<Terms>) {
        let Some(slot) = self.slot_of(side) else { return };
        let Some(end) = self.end(slot) else { return };
        // Who is held, or taken back, is heard and spoken to as before.
        let again = |before: &Terms| Terms { reception: terms.reception, ..before.clone() };
        let change = match end.terms.as_deref().map(again).as_ref() == Some(&*terms) {
            true => Change::Join,
            false => Change::Terms,
        };
        self.with(slot, |end, around| end.agree(now, terms, around));
        self.note_terms(now, slot);
        self.open_mouth(now, slot);
        self.retarget(now, slot);
        self.reroute(slot, change);
        if change == Change::Terms {
            self.agree_in_room(slot);
        }
    }

    /// Two sides of a call hear each other, and nobody else.
    pub(crate) fn join(&mut self, a: Side, b: Side) {
        let (Some(one), Some(other)) = (self.slot_of(a), self.slot_of(b)) else { return };
        let mixes = |slot: Slot| {
            self.ends.get(slot.index()).and_then(Option::as_ref).is_some_and(|e| e.place.is_some())
        };
        if a.call != b.call || one == other || mixes(one) || mixes(other) {
            return;
        }
        if self.end(one).is_some_and(|end| end.joined == Some(other)) {
            return;
        }
        self.part(one);
        self.part(other);
        for (slot, joined) in [(one, other), (other, one)] {
            if let Some(end) = self.end(slot) {
                end.joined = Some(joined);
            }
        }
        self.reroute(one, Change::Join);
        self.watch(one);
    }

    fn part(&mut self, slot: Slot) {
        self.unroute(slot);
        let Some(joined) = self.end(slot).and_then(|end| end.joined.take()) else { return };
        self.unroute(joined);
        if let Some(end) = self.end(joined) {
            end.joined = None;
        }
    }

    /// Ends a side. Its place is left for who opens another [in it](Self::open_in), or
    /// [frees](Self::free) it.
    pub(crate) fn close(&mut self, now: Moment, side: Side) -> Option<(Slot, Heard)> {
        let slot = self.slots.remove(&side)?;
        self.stop_playing(now, slot);
        self.part(slot);
        let end = self.ends.get_mut(slot.index())?.take()?;
        if let Some(place) = end.place {
            self.leave_room(side, place);
        }
        Some((slot, end.heard()))
    }

    /// Anybody may have the place of a side that was closed.
    pub(crate) fn free(&mut self, slot: Slot) {
        self.free.push(slot);
    }

    /// A datagram came to one of a side's ports. If it goes on, `packet` is what goes.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Moment,
        (slot, port): (Slot, Port),
        source: SocketAddr,
        packet: &mut Packet<'_>,
    ) -> Way {
        let end = self.ends.get_mut(slot.index()).and_then(Option::as_deref_mut);
        let Some(end) = end else { return Way::Stranger };
        let kind = match end.receive(now, port, source, packet) {
            Received::Believed(kind) => kind,
            Received::Latched(kind) => {
                self.events.extend(end.latched());
                kind
            }
            Received::Check | Received::Handshake => {
                self.converse(now, slot, source, packet.bytes());
                return Way::Ended;
            }
            Received::Stranger => return Way::Stranger,
            Received::Forged => {
                self.secrecy.forged += 1;
                return Way::Ended;
            }
            Received::Repeated => {
                self.secrecy.repeated += 1;
                return Way::Ended;
            }
        };
        if end.stream.take_allowance(now) == Pass::No {
            return Way::Excess;
        }
        let guarded = end.is_guarded();
        let word = end.word(now, kind, packet);
        let (joined, side, place) = (end.joined, end.side, end.place);
        if let (Kind::Sound, Some(tapped), None) = (kind, &mut end.tapping.said, place) {
            self.tap.copy(now, tapped, packet.bytes());
        }
        self.hear_keys(now, slot, word, packet);
        if let Some(place) = place {
            return self.hear_in_room(now, (slot, side, place), word, packet);
        }
        let Some(joined) = joined else { return Way::Unheard };
        match self.speak(now, joined, word, packet) {
            Spoken::Now => {}
            Spoken::Later => return Way::Ended,
            Spoken::Never => return Way::Unheard,
        }
        let way = self.end(joined).and_then(|end| match (kind, guarded || end.is_guarded()) {
            (Kind::Other, true) => None,
            (Kind::Sound | Kind::Report | Kind::Other, _) => end.send(now, (kind, port), packet),
        });
        way.map_or(Way::Unheard, |(port, address)| Way::To(joined, port, address))
    }

    /// What is meant for us came to a side's port for sound.
    fn converse(&mut self, now: Moment, slot: Slot, source: SocketAddr, message: &[u8]) {
        let moved = self.with(slot, |end, around| end.converse(now, source, message, around));
        if moved == Some(Moved::Yes) {
            let told = self.end(slot).and_then(|end| end.latched());
            self.events.extend(told);
        }
    }

    /// Does something with a side and what its worker lends it.
    fn with<T>(
        &mut self,
        slot: Slot,
        act: impl FnOnce(&mut End, &mut Surroundings<'_>) -> T,
    ) -> Option<T> {
        let end = self.ends.get_mut(slot.index())?.as_deref_mut()?;
        let was_shaking = end.is_shaking();
        let room = match self.shaking.len() {
            0..HANDSHAKES => Room::Free,
            _ => Room::Full,
        };
        let (replies, secrecy) = (&mut self.replies, &mut self.secrecy);
        let identity = self.identity.as_ref();
        let done = act(end, &mut Surroundings { slot, identity, room, replies, secrecy });
        if end.is_shaking() && !was_shaking && !self.shaking.contains(&slot) {
            self.shaking.push(slot);
        }
        Some(done)
    }

    /// What is to be sent of checks and handshakes.
    pub(crate) fn poll_reply(&mut self) -> Option<Reply> {
        self.replies.pop_front()
    }

    /// What encryption did since this was asked last.
    pub(crate) fn take_secrecy(&mut self) -> Secrecy {
        std::mem::take(&mut self.secrecy)
    }

    /// When something is to be done, although nothing comes.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        let shake_at = (!self.shaking.is_empty()).then_some(self.shake_at);
        let look_at = (self.len() > 0).then_some(self.look_at);
        let (tap, rooms) = (self.tap.deadline(), self.rooms.deadline());
        let due = [look_at, shake_at, self.timetable.deadline(), rooms, tap];
        due.into_iter().flatten().min()
    }

    /// Does what is due by now.
    pub(crate) fn handle_deadline(&mut self, now: Moment) {
        if self.look_at <= now {
            self.look_at = now + LOOK_EVERY;
            self.look(now);
        }
        if !self.shaking.is_empty() && self.shake_at <= now {
            self.shake_at = now + SHAKE_EVERY;
            for slot in std::mem::take(&mut self.shaking) {
                self.with(slot, |end, around| end.handle_deadline(now, around));
                if self.end(slot).is_some_and(|end| end.is_shaking())
                    && !self.shaking.contains(&slot)
                {
                    self.shaking.push(slot);
                }
            }
        }
        self.handle_due(now);
        self.handle_rooms(now);
        self.tap.handle_deadline(now);
    }

    /// Finds the peers that have fallen silent.
    fn look(&mut self, now: Moment) {
        for index in 0..self.ends.len() {
            let Some(slot) = Slot::from_index(index) else { return };
            let seen = self.with(slot, |end, around| {
                end.handle_deadline(now, around);
                (end.stream.look(now), end.side)
            });
            if let Some((Look::FellSilent, side)) = seen {
                self.events.push_back(Event::Quiet { side });
            }
        }
        self.look_for_keys(now);
        self.look_for_one_way(now);
    }

    /// Where a side's peer is, if sound comes from there and goes there.
    pub(crate) fn settled_peer(&self, now: Moment, slot: Slot) -> Option<SocketAddr> {
        let stream = &self.ends.get(slot.index())?.as_ref()?.stream;
        stream.peer().filter(|peer| stream.sound_goes_to(now) == Some(*peer))
    }

    /// What happened that the call must know.
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn end(&mut self, slot: Slot) -> Option<&mut End> {
        self.ends.get_mut(slot.index())?.as_deref_mut()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::packet::tests::room;
    use crate::rtp::tests::packet;

    const NOW: Moment = Moment::from_secs(1_000);

    fn side(leg: u16) -> Side {
        Side { call: CallId(Default::default()), leg }
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// These bytes come to a port.
    fn come(
        sessions: &mut Sessions,
        now: Moment,
        at: (Slot, Port),
        from: SocketAddr,
        bytes: &[u8],
    ) -> Way {
        let (mut room, len) = room(bytes);
        sessions.handle_datagram(now, at, from, &mut Packet::new(&mut room, len).unwrap())
    }

    /// Sides 0, 1 and so on, aimed at these addresses, and their slots.
    fn sessions(peers: &[&str]) -> (Sessions, Vec<Slot>) {
        let mut sessions = Sessions::default();
        let mut slots = Vec::new();
        for (leg, peer) in (0..).zip(peers.iter().map(|peer| at(peer))) {
            slots.extend(sessions.open(side(leg), Family::of(&peer)));
            let rtcp = Some(SocketAddr::new(peer.ip(), peer.port() + 1));
            sessions.aim(NOW, side(leg), Aim { rtp: Some(peer), rtcp, near: None });
        }
        (sessions, slots)
    }

    #[test]
    fn sound_goes_to_the_joined_sides_peer_and_reports_to_the_port_above() {
        let (mut sessions, slots) = sessions(&["198.51.100.1:4000", "[2001:db8::2]:5000"]);
        let (ada, sound) = (at("198.51.100.1:4000"), packet(1, 1, 160));
        let from_ada =
            |sessions: &mut Sessions| come(sessions, NOW, (slots[0], Port::Sound), ada, &sound);
        assert_eq!(from_ada(&mut sessions), Way::Unheard);
        sessions.join(side(0), side(1));
        assert_eq!(
            from_ada(&mut sessions),
            Way::To(slots[1], Port::Sound, at("[2001:db8::2]:5000"))
        );
        let report = [0x80, 200, 0, 1, 0, 0, 0, 1];
        let reports = (slots[0], Port::Reports);
        let way = come(&mut sessions, NOW, reports, at("198.51.100.1:4001"), &report);
        assert_eq!(way, Way::To(slots[1], Port::Reports, at("[2001:db8::2]:5001")));

        sessions.close(NOW, side(1));
        assert_eq!(from_ada(&mut sessions), Way::Unheard);
    }

    #[test]
    fn reports_follow_the_sound_through_a_nat() {
        let (mut sessions, slots) = sessions(&["192.168.1.5:4000", "198.51.100.2:5000"]);
        sessions.join(side(0), side(1));
        let report = [0x80, 201, 0, 1, 0, 0, 0, 1];
        let (ada, bob) = ((slots[0], Port::Reports), (slots[1], Port::Reports));
        let bobs = at("198.51.100.2:5001");
        let to_ada = |sessions: &mut Sessions| come(sessions, NOW, bob, bobs, &report);
        assert_eq!(to_ada(&mut sessions), Way::To(slots[0], Port::Reports, at("192.168.1.5:4001")));

        for n in 0..5 {
            let now = NOW + Duration::from_millis(u64::from(n) * 20);
            let sound = packet(1, n, u32::from(n) * 160);
            let nat = at("203.0.113.9:30000");
            come(&mut sessions, now, (slots[0], Port::Sound), nat, &sound);
        }
        let latched = Event::Latched { side: side(0), peer: at("203.0.113.9:30000") };
        assert_eq!(sessions.poll_event(), Some(latched));
        assert_eq!(
            to_ada(&mut sessions),
            Way::To(slots[0], Port::Reports, at("203.0.113.9:30001"))
        );
        let thief = come(&mut sessions, NOW, ada, at("203.0.113.66:30001"), &report);
        assert_eq!(thief, Way::Stranger);
        let adas = at("203.0.113.9:41234");
        come(&mut sessions, NOW, ada, adas, &report);
        assert_eq!(to_ada(&mut sessions), Way::To(slots[0], Port::Reports, adas));
        let other = come(&mut sessions, NOW, ada, at("203.0.113.9:41235"), &report);
        assert_eq!(other, Way::Stranger, "somebody else behind the same NAT");
    }

    #[test]
    fn an_address_of_the_other_family_is_never_sent_to() {
        let (mut sessions, slots) = sessions(&["198.51.100.1:4000", "198.51.100.2:5000"]);
        sessions.join(side(0), side(1));
        let aim = Aim { rtp: Some(at("[2001:db8::2]:5000")), rtcp: None, near: None };
        sessions.aim(NOW, side(1), aim);
        let ada = at("198.51.100.1:4000");
        let way = come(&mut sessions, NOW, (slots[0], Port::Sound), ada, &packet(1, 1, 1));
        assert_eq!(way, Way::Unheard);
    }

    #[test]
    fn a_peer_that_falls_silent_is_told_of_once_until_it_is_heard_again() {
        let (mut sessions, slots) = sessions(&["198.51.100.1:4000", "198.51.100.2:5000"]);
        let after = |seconds| NOW + Duration::from_secs(seconds);
        let speak = |sessions: &mut Sessions, seconds| {
            let (ada, sound) = (at("198.51.100.1:4000"), packet(1, seconds as u16, 160));
            come(sessions, after(seconds), (slots[0], Port::Sound), ada, &sound);
        };
        let quiet = |sessions: &mut Sessions, seconds| {
            sessions.look(after(seconds));
            std::iter::from_fn(|| sessions.poll_event())
                .filter(|event| matches!(event, Event::Quiet { .. }))
                .collect::<Vec<_>>()
        };
        assert_eq!(quiet(&mut sessions, 300), [], "nobody was ever heard");
        for second in 300..310 {
            speak(&mut sessions, second);
        }
        assert_eq!(quiet(&mut sessions, 338), []);
        assert_eq!(quiet(&mut sessions, 339), [Event::Quiet { side: side(0) }]);
        assert_eq!(quiet(&mut sessions, 400), [], "it is told once");
        speak(&mut sessions, 401);
        assert_eq!(quiet(&mut sessions, 402), []);
        sessions.aim(after(402), side(0), Aim { rtp: None, rtcp: None, near: None });
        assert_eq!(quiet(&mut sessions, 500), [], "it is on hold");
        let aim = Aim { rtp: Some(at("198.51.100.1:4000")), rtcp: None, near: None };
        sessions.aim(after(505), side(0), aim);
        assert_eq!(quiet(&mut sessions, 510), [], "it has had no time to speak");
        assert_eq!(quiet(&mut sessions, 530), [Event::Quiet { side: side(0) }]);
    }

    #[test]
    fn a_call_has_at_most_128_sides_and_a_place_is_used_again() {
        let mut sessions = Sessions::default();
        for leg in 0..128 {
            assert!(sessions.open(side(leg), Family::V4).is_some());
        }
        assert_eq!(sessions.open(side(128), Family::V4), None);
        let (slot, _) = sessions.close(NOW, side(7)).unwrap();
        sessions.free(slot);
        assert_eq!(sessions.close(NOW, side(7)), None);
        assert_eq!(sessions.open(side(128), Family::V4), Some(slot));
        assert_eq!(sessions.open(side(128), Family::V4), None, "it is open");
    }

    #[test]
    fn two_sides_aimed_at_each_other_stop_turning_in_a_circle() {
        let (ports_of_0, ports_of_1) = ("198.51.100.9:26000", "198.51.100.9:26002");
        let (mut sessions, slots) = sessions(&[ports_of_1, ports_of_0]);
        sessions.join(side(0), side(1));
        let sound = packet(1, 1, 160);
        let mut turns = 0;
        // What comes to side 0 leaves from side 1's port, and so comes to side 0 again.
        for _ in 0..1_000_000 {
            let from = at(ports_of_1);
            match come(&mut sessions, NOW, (slots[0], Port::Sound), from, &sound) {
                Way::To(..) => turns += 1,
                Way::Unheard | Way::Excess | Way::Stranger | Way::Ended => break,
            }
        }
        assert_eq!(turns, 501);
    }
}
