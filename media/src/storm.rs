//! A call's sound without ports: two phones' sides, at which anything can be thrown.
//!
//! For fuzzers: the pure half of this package as a worker drives it, with no socket, thread or
//! clock, so that millions of datagrams cost seconds.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use pbx::id::CallId;
use pbx::media::{Heard, Side};
use pbx::moment::Moment;

use crate::packet::{LONGEST, Packet, ROOM};
use crate::session::{Family, Port, Sessions, Slot, Way};
use crate::stream::Aim;

/// Which of the two phones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phone {
    /// The one with IPv4.
    Ada,
    /// The one with IPv6.
    Bob,
}

/// Which of a side's ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// RTP.
    Sound,
    /// RTCP.
    Reports,
}

/// Two sides that are joined, and a clock that goes as it is told.
#[derive(Debug)]
pub struct Storm {
    sessions: Sessions,
    ada: Slot,
    bob: Slot,
    now: Moment,
    room: Box<[u8; ROOM]>,
}

impl Storm {
    /// A call whose phones have said nothing yet.
    pub fn begin() -> Self {
        let mut sessions = Sessions::default();
        let mut open = |phone, family| {
            sessions.open(side(phone), family).expect("nothing is open in a call that begins")
        };
        let (ada, bob) = (open(Phone::Ada, Family::V4), open(Phone::Bob, Family::V6));
        sessions.join(side(Phone::Ada), side(Phone::Bob));
        Self { sessions, ada, bob, now: Moment::from_secs(1_000), room: Box::new([0; ROOM]) }
    }

    /// Time passes.
    pub fn wait(&mut self, long: Duration) {
        self.now += long;
    }

    /// A phone's signalling says where it is.
    pub fn aim(
        &mut self,
        phone: Phone,
        rtp: Option<SocketAddr>,
        rtcp: Option<SocketAddr>,
        near: Option<IpAddr>,
    ) {
        self.sessions.aim(self.now, side(phone), Aim { rtp, rtcp, near });
    }

    /// A datagram comes to a phone's side. Returns where it is sent on to, if anywhere; one that is
    /// too long is dropped, as where it would be read.
    pub fn handle_datagram(
        &mut self,
        phone: Phone,
        at: At,
        source: SocketAddr,
        datagram: &[u8],
    ) -> Option<SocketAddr> {
        let slot = match phone {
            Phone::Ada => self.ada,
            Phone::Bob => self.bob,
        };
        let port = match at {
            At::Sound => Port::Sound,
            At::Reports => Port::Reports,
        };
        let read = datagram.len().min(LONGEST + 1);
        for (place, byte) in self.room.iter_mut().zip(datagram) {
            *place = *byte;
        }
        let mut packet = Packet::new(self.room.as_mut_slice(), read)?;
        let way = self.sessions.handle_datagram(self.now, (slot, port), source, &mut packet);
        while self.sessions.poll_event().is_some() {}
        match way {
            Way::To(_, _, address) => Some(address),
            Way::Unheard | Way::Excess | Way::Stranger | Way::Ended => None,
        }
    }

    /// The call ends: what was heard from Ada, and from Bob.
    pub fn end(mut self) -> [Heard; 2] {
        [Phone::Ada, Phone::Bob].map(|phone| {
            self.sessions.close(self.now, side(phone)).map_or_else(Heard::default, |(_, h)| h)
        })
    }
}

fn side(phone: Phone) -> Side {
    let leg = match phone {
        Phone::Ada => 0,
        Phone::Bob => 1,
    };
    Side { call: CallId(Default::default()), leg }
}
