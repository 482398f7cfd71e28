//! One thread of sound: it owns its calls' ports, and sleeps until a packet or a wish comes.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pbx::media::{Event, Heard, Side, Wish};
use pbx::moment::Moment;

use crate::clock::Clock;
use crate::counters::{Counters, Tally};
use crate::dtls::Identity;
use crate::guard;
use crate::inbox::{Inbox, State};
use crate::io::Wire;
use crate::play::booth::Booth;
use crate::play::shelf::Shelf;
use crate::ports::Ports;
use crate::precedence::Precedence;
use crate::recording::tap::Tap;
use crate::rtp::Datagram;
use crate::session::{Family, Reply, Sessions, Slot, Way};
use crate::settling::Settling;
use crate::socket::Pair;
use crate::spare::{Pressed, Spares};
use crate::start::{Found, Ways};
use crate::stock::{Offer, Stock};
use crate::stream::Aim;

/// How many pairs are tried when others on this machine hold some of ours.
const TRIES: usize = 32;
/// How many wishes are served before packets have their turn.
const WISHES: usize = 64;

/// What a worker shares with whoever started it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) inbox: Inbox,
    pub(crate) tally: Tally,
    /// What anybody may claim before this worker hears of it.
    pub(crate) stock: Stock,
    /// One for all workers, locked when a side opens or closes: a call that outlives a restart
    /// gets its port back whichever worker serves it.
    pub(crate) ports: Arc<Mutex<Ports>>,
    pub(crate) clock: Clock,
    pub(crate) identity: Identity,
    /// What can be played.
    pub(crate) shelf: Arc<Shelf>,
}

/// A side's pair, or a spare one.
#[derive(Debug)]
struct Held {
    port: u16,
    family: Family,
    local: IpAddr,
    opened_at: Moment,
    /// When something last came while no side had it.
    late_at: Moment,
}

/// The thread's own.
pub(crate) struct Worker<F> {
    shared: Arc<Shared>,
    events: F,
    wire: Wire,
    sessions: Sessions,
    /// By slot.
    held: Vec<Option<Held>>,
    spares: Spares,
    /// Offered pairs that something came to in this turn.
    noisy: Vec<Slot>,
    settling: Settling,
    precedence: Precedence,
    wishes: VecDeque<Wish>,
    turn: Counters,
}

impl<F: Fn(Event)> Worker<F> {
    /// Makes ready to run.
    pub(crate) fn new(
        shared: Arc<Shared>,
        ways: Ways,
        tap: Tap,
        events: F,
    ) -> io::Result<(Self, Found)> {
        let (wire, no_ring) = Wire::new(ways.io, shared.inbox.bell())?;
        let (precedence, not_first) = Precedence::claim(shared.clock.now(), ways.scheduling);
        let found = Found { kind: wire.kind(), no_ring, not_first };
        let booth = Booth::new(Arc::clone(&shared.shelf));
        let sessions = Sessions::new(shared.identity.clone(), booth).kept_by(tap);
        let worker = Self {
            shared,
            events,
            wire,
            sessions,
            held: Vec::new(),
            spares: Spares::new(ways.spare),
            noisy: Vec::new(),
            settling: Settling::default(),
            precedence,
            wishes: VecDeque::new(),
            turn: Counters::default(),
        };
        Ok((worker, found))
    }

    /// Runs until its inbox is stopped.
    pub(crate) fn run(mut self) {
        loop {
            if let Err(error) = self.wire.wait(self.patience()) {
                tracing::error!(%error, "a worker for sound cannot wait and ends");
                return;
            }
            let now = self.shared.clock.now();
            if let State::Stopped = self.handle_wishes(now) {
                return;
            }
            self.relay(now);
            self.handle_deadline(now);
            self.precedence.look(now);
            self.tell();
        }
    }

    /// How long nothing is to be done if nothing comes; `None`: for ever.
    fn patience(&self) -> Option<Duration> {
        // The bell may have been heard for what was taken already, and rung for more meanwhile.
        if !self.wishes.is_empty() || self.shared.inbox.is_filled() {
            return Some(Duration::ZERO);
        }
        let settling = (self.sessions.len() > 0).then(|| self.settling.deadline());
        let due_at = [self.sessions.deadline(), self.spares.deadline(), settling];
        let due_at = due_at.into_iter().flatten().min()?;
        Some(due_at.since(self.shared.clock.now()))
    }

    fn handle_deadline(&mut self, now: Moment) {
        self.sessions.handle_deadline(now);
        self.transmit();
        while let Some(slot) = self.spares.give_up(now, Pressed::No) {
            self.let_go(now, slot);
        }
        for index in self.settling.handle_deadline(now, self.held.len()) {
            self.settle(now, index);
        }
        while let Some(slot) = self.spares.stale_offer(now) {
            match self.end_offer(slot) {
                Offer::Open => self.let_go(now, slot),
                Offer::Claimed => break, // and the wish is about to come
            }
        }
        let held = &self.held;
        while let Some((slot, local)) = self.spares.offer(now, |slot| late_at(held, slot)) {
            if let Some(port) = self.port_of(slot) {
                self.shared.stock.offer(local, port);
            }
        }
    }

    /// Takes an offer back, unless somebody claims it just now.
    fn end_offer(&mut self, slot: Slot) -> Offer {
        let Some(port) = self.port_of(slot) else { return Offer::Claimed };
        let offer = self.shared.stock.withdraw(port);
        if offer == Offer::Open {
            self.spares.end_offer(slot);
        }
        offer
    }

    fn settle(&mut self, now: Moment, index: usize) {
        let Some(Some(Held { opened_at, port, .. })) = self.held.get(index) else { return };
        let Some(slot) = Slot::from_index(index) else { return };
        let Some(peer) = self.sessions.settled_peer(now, slot) else { return };
        if self.wire.is_settled(slot, peer) || !self.settling.may_settle(now, *opened_at) {
            return;
        }
        if let Err(error) = self.wire.settle(slot, peer) {
            tracing::debug!(port, %error, "a peer has no socket of its own");
        }
    }

    /// Sends what the sessions made themselves.
    fn transmit(&mut self) {
        while let Some(made) = self.sessions.poll_transmit() {
            match self.wire.send((made.slot, made.port), made.to, made.bytes) {
                Ok(()) if Datagram::kind(made.bytes) == guard::Kind::Report => {
                    self.turn.reports += 1
                }
                Ok(()) => self.turn.made += 1,
                Err(_) => self.turn.unsent += 1,
            }
        }
    }

    /// Before the packets: a packet that was sent because of a wish must find it done.
    fn handle_wishes(&mut self, now: Moment) -> State {
        let state = match self.wishes.is_empty() && self.shared.inbox.is_filled() {
            true => self.shared.inbox.take(&mut self.wishes),
            false => State::Open,
        };
        for _ in 0..WISHES {
            let Some(wish) = self.wishes.pop_front() else { break };
            self.serve(now, wish);
        }
        state
    }

    /// Says what sides have to say of checks and handshakes.
    fn reply(&mut self) {
        while let Some(Reply { slot, port, to, bytes }) = self.sessions.poll_reply() {
            if self.wire.send((slot, port), to, &bytes).is_err() {
                self.turn.unsent += 1;
            }
        }
    }

    fn tell(&mut self) {
        self.reply();
        while let Some(event) = self.sessions.poll_event() {
            (self.events)(event);
        }
        self.turn.secrecy = self.sessions.take_secrecy();
        self.turn.unrecorded = self.sessions.take_unrecorded();
        self.turn.open = self.sessions.len() as u64;
        self.turn.listeners = self.sessions.listeners();
        self.turn.spare = self.spares.len() as u64;
        self.turn.first = u64::from(self.precedence.goes_first());
        self.shared.tally.add(&self.turn);
        self.turn = Counters::default();
    }

    fn relay(&mut self, now: Moment) {
        let Self { wire, sessions, held, turn, spares, noisy, .. } = self;
        let carried = wire.relay(|at, source, packet| {
            let way = sessions.handle_datagram(now, at, source, packet);
            match way {
                Way::To(slot, port, address) => return Some(((slot, port), address)),
                Way::Unheard => turn.unheard += 1,
                Way::Excess => turn.excess += 1,
                Way::Ended => {}
                Way::Stranger => {
                    turn.strangers += 1;
                    if let Some(Some(held)) = held.get_mut(at.0.index()) {
                        held.late_at = now;
                    }
                    if spares.is_offered(at.0) {
                        noisy.push(at.0);
                    }
                }
            }
            None
        });
        turn.relayed += carried.relayed;
        turn.relayed_bytes += carried.bytes;
        turn.unsent += carried.unsent;
        turn.starved += carried.starved;
        while let Some(slot) = self.noisy.pop() {
            if self.end_offer(slot) == Offer::Open {
                self.keep(now, slot);
            }
        }
    }

    fn serve(&mut self, now: Moment, wish: Wish) {
        match wish {
            Wish::Open { side, local, port } => {
                if let Some(slot) = port.and_then(|port| self.claimed(now, port)) {
                    return self.open_claimed(now, side, slot);
                }
                let opened = self.open(now, side, local, port);
                self.tell_opened(side, opened);
            }
            Wish::Aim { side, rtp, rtcp, near } => {
                self.sessions.aim(now, side, Aim { rtp, rtcp, near });
            }
            Wish::Agree { side, terms } => self.sessions.agree(now, side, terms),
            Wish::Join { a, b } => self.sessions.join(a, b),
            Wish::Press { side, digit, for_ms } => self.sessions.press(now, side, digit, for_ms),
            Wish::Listen { side, tones } => self.sessions.listen(side, tones),
            Wish::Record { side, kept, channel, recording } => {
                if let Err(event) = self.sessions.record(now, side, (kept, channel), recording) {
                    (self.events)(event);
                }
            }
            Wish::Pause { side } => self.sessions.pause(now, side),
            Wish::Resume { side } => self.sessions.resume(now, side),
            Wish::Mix { side, part } => self.sessions.mix(now, side, part),
            Wish::Cue { side, cue } => self.sessions.cue(side, cue),
            Wish::Play { side, play, clip, how } => {
                self.sessions.play(now, side, (play, clip, how));
            }
            Wish::Hush { side, play } => self.sessions.hush(now, side, play),
            Wish::Close { side } => {
                let heard = self.close(now, side);
                (self.events)(Event::Closed { side, heard });
            }
        }
    }

    /// The pair that was claimed by this number; offered, it comes to the same as any other.
    fn claimed(&mut self, now: Moment, port: u16) -> Option<Slot> {
        let slot = self.spares.offered().find(|slot| self.port_of(*slot) == Some(port))?;
        match self.end_offer(slot) {
            Offer::Claimed => {
                self.spares.end_offer(slot);
                Some(slot)
            }
            Offer::Open => {
                self.let_go(now, slot);
                None
            }
        }
    }

    /// Whoever claimed the pair knows its number already.
    fn open_claimed(&mut self, now: Moment, side: Side, slot: Slot) {
        let held = self.held.get_mut(slot.index()).and_then(Option::as_mut);
        let family = held.map(|held| {
            held.opened_at = now;
            held.family
        });
        let opened = family
            .filter(|_| self.sessions.may_open(side))
            .and_then(|family| self.sessions.open_in(slot, side, family));
        if opened.is_some() {
            self.turn.opened += 1;
            return;
        }
        self.keep(now, slot);
        let port = self.sessions.slot_of(side).and_then(|slot| self.port_of(slot));
        self.tell_opened(side, port);
    }

    fn tell_opened(&mut self, side: Side, port: Option<u16>) {
        (self.events)(match port {
            Some(port) => Event::Opened { side, port },
            None => {
                self.turn.no_ports += 1;
                Event::NoPorts { side }
            }
        });
    }

    /// Opens a side, and says on which port; a side that is open stays as it is.
    fn open(&mut self, now: Moment, side: Side, local: IpAddr, port: Option<u16>) -> Option<u16> {
        if let Some(slot) = self.sessions.slot_of(side) {
            return self.port_of(slot);
        }
        if !self.sessions.may_open(side) {
            return None;
        }
        let opened = match port {
            Some(port) => self.open_this(now, side, local, port),
            None => match self.open_spare(now, side, local) {
                Some(port) => Some(port),
                None => self.open_new(now, side, local),
            },
        };
        self.turn.opened += u64::from(opened.is_some());
        opened
    }

    fn port_of(&self, slot: Slot) -> Option<u16> {
        self.held.get(slot.index())?.as_ref().map(|held| held.port)
    }

    /// Its very own after a restart, unless another side has it.
    fn open_this(&mut self, now: Moment, side: Side, local: IpAddr, port: u16) -> Option<u16> {
        let pair = self.bind_this(now, local, port)?;
        self.hold(now, side, local, pair)
    }

    /// In the place of a side that is closed, whose ports are still open.
    fn open_spare(&mut self, now: Moment, side: Side, local: IpAddr) -> Option<u16> {
        let held = &self.held;
        let slot = self.spares.take(now, local, |slot| late_at(held, slot))?;
        let held = self.held.get_mut(slot.index())?.as_mut()?;
        held.opened_at = now;
        let family = held.family;
        self.sessions.open_in(slot, side, family)?;
        self.port_of(slot)
    }

    fn open_new(&mut self, now: Moment, side: Side, local: IpAddr) -> Option<u16> {
        let pair = match self.bind_any(now, local) {
            Some(pair) => pair,
            None => {
                let slot = self.spares.give_up(now, Pressed::ForPorts)?;
                let port = self.port_of(slot)?;
                self.let_go(now, slot);
                self.bind_this(now, local, port)?
            }
        };
        self.hold(now, side, local, pair)
    }

    fn hold(&mut self, now: Moment, side: Side, local: IpAddr, pair: Pair) -> Option<u16> {
        let (port, family) = (pair.port, pair.family);
        let Some(slot) = self.sessions.open(side, family) else {
            self.give_back(now, port);
            return None;
        };
        if let Err(error) = self.wire.open(slot, pair) {
            tracing::warn!(%error, "a port cannot be watched");
            self.sessions.close(now, side);
            self.sessions.free(slot);
            self.give_back(now, port);
            return None;
        }
        if self.held.len() <= slot.index() {
            self.held.resize_with(slot.index() + 1, || None);
        }
        *self.held.get_mut(slot.index())? =
            Some(Held { port, family, local, opened_at: now, late_at: Moment::EPOCH });
        Some(port)
    }

    fn bind_this(&self, now: Moment, local: IpAddr, port: u16) -> Option<Pair> {
        let taken = self.ports(|ports| ports.take_this(port));
        taken.then(|| self.bind(now, local, port))?.ok()
    }

    fn bind_any(&self, now: Moment, local: IpAddr) -> Option<Pair> {
        for _ in 0..TRIES {
            let port = self.ports(|ports| ports.take(now))?;
            match self.bind(now, local, port) {
                Ok(pair) => return Some(pair),
                // Another program's; it is tried again when its turn comes.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => {
                    tracing::warn!(%local, port, %error, "no port for sound can be opened");
                    return None;
                }
            }
        }
        None
    }

    fn bind(&self, now: Moment, local: IpAddr, port: u16) -> io::Result<Pair> {
        let pair = Pair::open(local, port);
        if pair.is_err() {
            self.give_back(now, port);
        }
        pair
    }

    /// Ends a side; of one that is not open nothing was heard.
    fn close(&mut self, now: Moment, side: Side) -> Heard {
        self.sessions.end_recording(now, side);
        self.sessions.say_goodbye(now, side);
        self.transmit();
        let Some((slot, heard)) = self.sessions.close(now, side) else { return Heard::default() };
        self.turn.quality.add(&heard);
        self.wire.unsettle(slot);
        self.keep(now, slot);
        heard
    }

    /// Keeps the pair of a slot that no side has, if there is room.
    fn keep(&mut self, now: Moment, slot: Slot) {
        let local = self.held.get(slot.index()).and_then(Option::as_ref).map(|held| held.local);
        if !local.is_some_and(|local| self.spares.keep(now, slot, local)) {
            self.let_go(now, slot);
        }
    }

    /// Closes the ports of a slot that no side has.
    fn let_go(&mut self, now: Moment, slot: Slot) {
        self.wire.close(slot);
        if let Some(held) = self.held.get_mut(slot.index()).and_then(Option::take) {
            self.give_back(now, held.port);
        }
        self.sessions.free(slot);
    }

    fn give_back(&self, now: Moment, port: u16) {
        self.ports(|ports| ports.give_back(now, port));
    }

    fn ports<T>(&self, with: impl FnOnce(&mut Ports) -> T) -> T {
        with(&mut self.shared.ports.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// When something last came to a pair while no side had it.
fn late_at(held: &[Option<Held>], slot: Slot) -> Moment {
    match held.get(slot.index()) {
        Some(Some(held)) => held.late_at,
        Some(None) | None => Moment::EPOCH,
    }
}
