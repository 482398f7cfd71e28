//! One thread of sound: it owns its calls' ports, and sleeps until a packet or a wish comes.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use pbx::media::{Event, Heard, Side, Wish};
use pbx::moment::Moment;

use crate::clock::Clock;
use crate::counters::{Counters, Tally};
use crate::inbox::{Inbox, State};
use crate::ports::Ports;
use crate::session::{Port, Sessions, Slot, Way};
use crate::socket::{Pair, Room};
use crate::spare::{Pressed, Spares};
use crate::stream::Aim;

/// How many ready ports are served before wishes are looked at again.
const READY: usize = 256;
/// How many pairs are tried when others on this machine hold some of ours.
const TRIES: usize = 32;
/// How many wishes are served before packets have their turn.
const WISHES: usize = 64;
/// The token of the worker's inbox; no slot has it.
const INBOX: u64 = u64::MAX;

/// What a worker shares with whoever started it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) inbox: Inbox,
    pub(crate) tally: Tally,
    /// One for all workers, locked when a side opens or closes: a call that outlives a restart
    /// gets its port back whichever worker serves it.
    pub(crate) ports: Arc<Mutex<Ports>>,
    pub(crate) clock: Clock,
}

/// A side's pair, or a spare one.
#[derive(Debug)]
struct Held {
    pair: Pair,
    local: IpAddr,
    /// When something last came while no side had it.
    late_at: Moment,
}

/// The thread's own.
pub(crate) struct Worker<F> {
    shared: Arc<Shared>,
    events: F,
    epoll: Epoll,
    sessions: Sessions,
    /// By slot.
    pairs: Vec<Option<Held>>,
    spares: Spares,
    room: Room,
    wishes: VecDeque<Wish>,
    turn: Counters,
}

impl<F: Fn(Event)> Worker<F> {
    /// Makes ready to run.
    pub(crate) fn new(shared: Arc<Shared>, spare: usize, events: F) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&shared.inbox, EpollEvent::new(EpollFlags::EPOLLIN, INBOX))?;
        Ok(Self {
            shared,
            events,
            epoll,
            sessions: Sessions::default(),
            pairs: Vec::new(),
            spares: Spares::new(spare),
            room: Room::new(),
            wishes: VecDeque::new(),
            turn: Counters::default(),
        })
    }

    /// Runs until its inbox is stopped.
    pub(crate) fn run(mut self) {
        let mut ready = [EpollEvent::empty(); READY];
        loop {
            let patience = match self.patience() {
                None => EpollTimeout::NONE,
                // Rounded up, as a deadline is not to be woken for before it is there.
                Some(long) => EpollTimeout::try_from(long + Duration::from_micros(999))
                    .unwrap_or(EpollTimeout::MAX),
            };
            let count = match self.epoll.wait(&mut ready, patience) {
                Ok(count) => count,
                Err(Errno::EINTR) => continue,
                Err(error) => {
                    tracing::error!(%error, "a worker for sound cannot wait and ends");
                    return;
                }
            };
            let ready = ready.get(..count).unwrap_or_default();
            let now = self.shared.clock.now();
            if let State::Stopped = self.handle_wishes(now, ready) {
                return;
            }
            for event in ready {
                self.relay(now, event.data());
            }
            self.handle_deadline(now);
            self.tell();
        }
    }

    /// How long nothing is to be done if nothing comes; `None`: for ever.
    fn patience(&self) -> Option<Duration> {
        if !self.wishes.is_empty() {
            return Some(Duration::ZERO);
        }
        let due_at = self.sessions.deadline().into_iter().chain(self.spares.deadline()).min()?;
        Some(due_at.since(self.shared.clock.now()))
    }

    fn handle_deadline(&mut self, now: Moment) {
        self.sessions.handle_deadline(now);
        self.transmit();
        while let Some(slot) = self.spares.give_up(now, Pressed::No) {
            self.let_go(now, slot);
        }
    }

    /// Sends what the sessions made themselves.
    fn transmit(&mut self) {
        while let Some(made) = self.sessions.poll_transmit() {
            let out = self.pairs.get(made.slot.index()).and_then(Option::as_ref);
            match out.map(|held| held.pair.socket(made.port).send_to(made.bytes, made.to)) {
                Some(Ok(_)) => self.turn.made += 1,
                Some(Err(_)) | None => self.turn.unsent += 1,
            }
        }
    }

    /// Before the packets: a packet that was sent because of a wish must find it done.
    fn handle_wishes(&mut self, now: Moment, ready: &[EpollEvent]) -> State {
        let told = ready.iter().any(|event| event.data() == INBOX);
        let state = match told && self.wishes.is_empty() {
            true => self.shared.inbox.take(&mut self.wishes),
            false => State::Open,
        };
        for _ in 0..WISHES {
            let Some(wish) = self.wishes.pop_front() else { break };
            self.serve(now, wish);
        }
        state
    }

    fn tell(&mut self) {
        while let Some(event) = self.sessions.poll_event() {
            (self.events)(event);
        }
        self.turn.secrecy = self.sessions.take_secrecy();
        self.turn.open = self.sessions.len() as u64;
        self.turn.spare = self.spares.len() as u64;
        self.shared.tally.add(&self.turn);
        self.turn = Counters::default();
    }

    fn relay(&mut self, now: Moment, token: u64) {
        let Some((slot, port)) = place(token) else { return };
        let Some(Some(held)) = self.pairs.get_mut(slot.index()) else { return };
        let read = match self.room.read(held.pair.socket(port)) {
            Ok(read) => read,
            Err(error) => {
                // An error of the network, told once and gone: the port stays open.
                tracing::debug!(port = held.pair.port, %error, "a port could not be read");
                return;
            }
        };
        // Level-triggered: what is left is told again, after the other ports had their turn.
        let Some((source, mut packet)) = read else { return };
        match self.sessions.handle_datagram(now, (slot, port), source, &mut packet) {
            Way::Stranger => {
                self.turn.strangers += 1;
                held.late_at = now;
            }
            Way::Unheard => self.turn.unheard += 1,
            Way::Excess => self.turn.excess += 1,
            Way::Ended => {}
            Way::To(slot, port, address) => {
                let out = self.pairs.get(slot.index()).and_then(Option::as_ref);
                match out.map(|held| held.pair.socket(port).send_to(packet.bytes(), address)) {
                    Some(Ok(_)) => {
                        self.turn.relayed += 1;
                        self.turn.relayed_bytes += packet.len() as u64;
                    }
                    Some(Err(_)) | None => self.turn.unsent += 1,
                }
            }
        }
    }

    fn serve(&mut self, now: Moment, wish: Wish) {
        match wish {
            Wish::Open { side, local, port } => {
                let event = match self.open(now, side, local, port) {
                    Some(port) => Event::Opened { side, port },
                    None => {
                        self.turn.no_ports += 1;
                        Event::NoPorts { side }
                    }
                };
                (self.events)(event);
            }
            Wish::Aim { side, rtp, rtcp, near } => {
                self.sessions.aim(now, side, Aim { rtp, rtcp, near });
            }
            Wish::Agree { side, terms } => self.sessions.agree(now, side, terms),
            Wish::Join { a, b } => self.sessions.join(a, b),
            Wish::Press { side, digit, for_ms } => self.sessions.press(now, side, digit, for_ms),
            Wish::Listen { side, tones } => self.sessions.listen(side, tones),
            Wish::Close { side } => {
                let heard = self.close(now, side);
                (self.events)(Event::Closed { side, heard });
            }
        }
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
        self.pairs.get(slot.index())?.as_ref().map(|held| held.pair.port)
    }

    /// Its very own after a restart, unless another side has it.
    fn open_this(&mut self, now: Moment, side: Side, local: IpAddr, port: u16) -> Option<u16> {
        let pair = self.bind_this(now, local, port)?;
        self.hold(now, side, local, pair)
    }

    /// In the place of a side that is closed, whose ports are still open.
    fn open_spare(&mut self, now: Moment, side: Side, local: IpAddr) -> Option<u16> {
        let late_at = |slot: Slot| match self.pairs.get(slot.index()) {
            Some(Some(held)) => held.late_at,
            Some(None) | None => Moment::EPOCH,
        };
        let slot = self.spares.take(now, local, late_at)?;
        let family = self.pairs.get(slot.index())?.as_ref()?.pair.family;
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
        let number = pair.port;
        let Some(slot) = self.sessions.open(side, pair.family) else {
            self.give_back(now, number);
            return None;
        };
        if let Err(error) = self.watch(slot, &pair) {
            tracing::warn!(%error, "a port cannot be watched");
            self.sessions.close(side);
            self.sessions.free(slot);
            self.give_back(now, number);
            return None;
        }
        if self.pairs.len() <= slot.index() {
            self.pairs.resize_with(slot.index() + 1, || None);
        }
        *self.pairs.get_mut(slot.index())? = Some(Held { pair, local, late_at: Moment::EPOCH });
        Some(number)
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

    fn watch(&self, slot: Slot, pair: &Pair) -> nix::Result<()> {
        for port in [Port::Sound, Port::Reports] {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, token(slot, port));
            self.epoll.add(pair.socket(port).as_fd(), event)?;
        }
        Ok(())
    }

    /// Ends a side; of one that is not open nothing was heard.
    fn close(&mut self, now: Moment, side: Side) -> Heard {
        self.sessions.say_goodbye(now, side);
        self.transmit();
        let Some((slot, heard)) = self.sessions.close(side) else { return Heard::default() };
        let local = self.pairs.get(slot.index()).and_then(Option::as_ref).map(|held| held.local);
        if !local.is_some_and(|local| self.spares.keep(now, slot, local)) {
            self.let_go(now, slot);
        }
        heard
    }

    /// Closes the ports of a slot that no side has.
    fn let_go(&mut self, now: Moment, slot: Slot) {
        // Closing the last descriptor of a socket takes it out of the epoll set.
        if let Some(held) = self.pairs.get_mut(slot.index()).and_then(Option::take) {
            self.give_back(now, held.pair.port);
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

fn token(slot: Slot, port: Port) -> u64 {
    let kind = match port {
        Port::Sound => 0,
        Port::Reports => 1,
    };
    (slot.index() as u64) << 1 | kind
}

fn place(token: u64) -> Option<(Slot, Port)> {
    let port = match token & 1 {
        0 => Port::Sound,
        _ => Port::Reports,
    };
    let slot = (token != INBOX).then_some(token >> 1)?;
    let slot = usize::try_from(slot).ok().and_then(Slot::from_index)?;
    Some((slot, port))
}
