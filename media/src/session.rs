//! The calls of one worker: which side hears which, and where a datagram goes.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use pbx::id::CallId;
use pbx::media::{Event, Heard, Side};
use pbx::moment::Moment;

use crate::latch::Verdict;
use crate::stream::{Aim, Stream};

/// As many sides as [`Side`] says that a call may have.
const SIDES_OF_A_CALL: usize = 64;

/// A side's place in the tables of its worker, as long as the side is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// Out of this side's port of the same kind, to its peer.
    To(Slot, SocketAddr),
    /// Nobody listens: the side is joined to none, or that one's peer wants nothing.
    Unheard,
    /// It is not our peer's.
    Stranger,
}

/// All open sides of a worker.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    ends: Vec<Option<End>>,
    free: Vec<Slot>,
    slots: BTreeMap<Side, Slot>,
    latched: Vec<Event>,
}

#[derive(Debug)]
struct End {
    side: Side,
    family: Family,
    joined: Option<Slot>,
    stream: Stream,
}

impl Slot {
    /// As an index.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
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
    /// Opens a side; `None` if its call has too many, or it is open.
    pub(crate) fn open(&mut self, side: Side, family: Family) -> Option<Slot> {
        if self.slots.contains_key(&side) || self.sides_of(side.call) >= SIDES_OF_A_CALL {
            return None;
        }
        let end = Some(End { side, family, joined: None, stream: Stream::default() });
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let slot = Slot::from_index(self.ends.len())?;
                self.ends.push(None);
                slot
            }
        };
        *self.ends.get_mut(slot.index())? = end;
        self.slots.insert(side, slot);
        Some(slot)
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
        let Some(end) = self.slot_of(side).and_then(|slot| self.end(slot)) else { return };
        let reachable = |address: &SocketAddr| Family::of(address) == end.family;
        let rtp = aim.rtp.filter(reachable);
        let rtcp = aim.rtcp.filter(reachable);
        end.stream.aim(now, Aim { rtp, rtcp, ..aim });
    }

    /// Two sides of a call hear each other, and nobody else.
    pub(crate) fn join(&mut self, a: Side, b: Side) {
        let (Some(one), Some(other)) = (self.slot_of(a), self.slot_of(b)) else { return };
        if a.call != b.call || one == other {
            return;
        }
        self.part(one);
        self.part(other);
        for (slot, joined) in [(one, other), (other, one)] {
            if let Some(end) = self.end(slot) {
                end.joined = Some(joined);
            }
        }
    }

    fn part(&mut self, slot: Slot) {
        let joined = self.end(slot).and_then(|end| end.joined.take());
        if let Some(end) = joined.and_then(|joined| self.end(joined)) {
            end.joined = None;
        }
    }

    /// Ends a side.
    pub(crate) fn close(&mut self, side: Side) -> Option<(Slot, Heard)> {
        let slot = self.slots.remove(&side)?;
        self.part(slot);
        let end = self.ends.get_mut(slot.index())?.take()?;
        self.free.push(slot);
        Some((slot, end.stream.heard()))
    }

    /// A datagram came to one of a side's ports.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Moment,
        (slot, port): (Slot, Port),
        source: SocketAddr,
        datagram: &[u8],
    ) -> Way {
        let Some(end) = self.end(slot) else { return Way::Stranger };
        let verdict = match port {
            Port::Sound => end.stream.handle_sound(now, source, datagram),
            Port::Reports => end.stream.handle_report(now, source, datagram),
        };
        let joined = end.joined;
        match verdict {
            Verdict::Stranger => return Way::Stranger,
            Verdict::Believed => {}
            Verdict::Latched => {
                let side = end.side;
                let told = end.stream.peer().map(|peer| Event::Latched { side, peer });
                self.latched.extend(told);
            }
        }
        let Some((joined, end)) = joined.and_then(|joined| Some((joined, self.end(joined)?)))
        else {
            return Way::Unheard;
        };
        let goes_to = match port {
            Port::Sound => end.stream.sound_goes_to(now),
            Port::Reports => end.stream.reports_go_to(),
        };
        goes_to.map_or(Way::Unheard, |address| Way::To(joined, address))
    }

    /// What happened that the call must know.
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.latched.pop()
    }

    fn end(&mut self, slot: Slot) -> Option<&mut End> {
        self.ends.get_mut(slot.index())?.as_mut()
    }
}
