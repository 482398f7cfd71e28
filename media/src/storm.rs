//! A call's sound without ports: two phones' sides, at which anything can be thrown.
//!
//! For fuzzers: the pure half of this package as a worker drives it, with no socket, thread or
//! clock, so that millions of datagrams cost seconds. Phones can have keys, so that what is thrown at
//! a protected side may be right on the outside and broken within.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use pbx::id::CallId;
use pbx::media::{Cue, Digit, Heard, Key, Part, Protection, Side, Terms, Tones};
use pbx::moment::Moment;

use crate::guard::Kind;
use crate::packet::{LONGEST, Packet, ROOM};
use crate::rtp::Datagram;
use crate::session::{Family, Port, Sessions, Slot, Way};
use crate::srtp::{GROWS_BY, Receiver, Sender};
use crate::stream::Aim;

/// How long a step of time is: as long as a packet's sound.
const STEP: Duration = Duration::from_millis(20);
/// After so many steps the rest of a pause passes at once, as for a thread that was kept from running.
const STEPS: u32 = 15;

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

/// What was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// To which phone.
    pub phone: Phone,
    /// Where to.
    pub to: SocketAddr,
    /// Whether it can make anything of it.
    pub readable: Readable,
}

/// Whether a phone can read what was sent to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readable {
    /// It has no key, or it can open it with its key.
    Yes,
    /// It has a key, and this was not sealed with it; or it waits for one, and nothing may be sent.
    No,
}

/// What a phone with keys does.
#[derive(Default)]
struct Handset {
    /// Seals what it says.
    sender: Option<Sender>,
    opens: Opens,
}

/// What a phone can open.
#[derive(Default)]
enum Opens {
    #[default]
    Plain,
    /// It has no key yet.
    Nothing,
    /// What is sealed with this.
    Sealed(Key),
}

/// Two sides that are joined, and a clock that goes as it is told.
pub struct Storm {
    sessions: Sessions,
    ada: Slot,
    bob: Slot,
    handsets: [Handset; 2],
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
        let (now, room) = (Moment::from_secs(1_000), Box::new([0; ROOM]));
        Self { sessions, ada, bob, handsets: Default::default(), now, room }
    }

    /// Time passes. Returns what was made and sent meanwhile.
    pub fn wait(&mut self, long: Duration) -> Vec<Sent> {
        let until = self.now + long;
        let mut sent = Vec::new();
        for step in 0..=STEPS {
            self.now = if step == STEPS { until } else { until.min(self.now + STEP) };
            while self.sessions.deadline().is_some_and(|due_at| due_at <= self.now) {
                self.sessions.handle_deadline(self.now);
                self.take_made(&mut sent);
            }
            if self.now == until {
                break;
            }
        }
        sent
    }

    fn take_made(&mut self, sent: &mut Vec<Sent>) {
        while self.sessions.poll_event().is_some() {}
        let Self { sessions, ada, handsets, .. } = self;
        while let Some(made) = sessions.poll_transmit() {
            let phone = if made.slot == *ada { Phone::Ada } else { Phone::Bob };
            let readable = handsets[phone.index()].readable(made.bytes);
            sent.push(Sent { phone, to: made.to, readable });
        }
    }

    /// A phone and we agree on something else. A key of the wrong length is none.
    pub fn agree(&mut self, phone: Phone, terms: Terms) {
        let handset = &mut self.handsets[phone.index()];
        match &terms.protection {
            Protection::Sdes { ours, theirs } => {
                handset.opens = Opens::Sealed(ours.clone());
                let kept = handset.sender.as_mut().and_then(|sender| sender.rekey(theirs));
                if kept.is_none() {
                    handset.sender = Sender::new(theirs);
                }
            }
            Protection::Plain => *handset = Handset::default(),
            Protection::Awaited | Protection::Dtls { .. } => {
                *handset = Handset { sender: None, opens: Opens::Nothing };
            }
        }
        self.sessions.agree(self.now, side(phone), Box::new(terms));
    }

    /// A call wishes that a phone hears a key.
    pub fn press(&mut self, phone: Phone, digit: Digit, for_ms: u16) {
        self.sessions.press(self.now, side(phone), digit, for_ms);
    }

    /// A call wishes to hear a phone's tones.
    pub fn listen(&mut self, phone: Phone, tones: Tones) {
        self.sessions.listen(side(phone), tones);
    }

    /// A phone takes part in a conference; both in the same one, if both do.
    pub fn mix(&mut self, phone: Phone, part: Part) {
        self.sessions.mix(self.now, side(phone), part);
    }

    /// A phone is to hear what tells a member something.
    pub fn cue(&mut self, phone: Phone, cue: Cue) {
        self.sessions.cue(side(phone), cue);
    }

    /// A phone leaves, and comes again as one of which nothing is known. Returns what was heard from it.
    pub fn come_again(&mut self, phone: Phone) -> Heard {
        let closed = self.sessions.close(self.now, side(phone));
        let (slot, family) = match phone {
            Phone::Ada => (&mut self.ada, Family::V4),
            Phone::Bob => (&mut self.bob, Family::V6),
        };
        let opened = self.sessions.open(side(phone), family);
        *slot = opened.expect("it has just been closed");
        self.handsets[phone.index()] = Handset::default();
        closed.map_or_else(Heard::default, |(_, heard)| heard)
    }

    /// What a phone makes of this with its key; as it is if it has none, or cannot.
    pub fn seal(&mut self, phone: Phone, datagram: &[u8]) -> Vec<u8> {
        let mut room = datagram.to_vec();
        room.resize(datagram.len() + GROWS_BY, 0);
        let handset = &mut self.handsets[phone.index()];
        let sealed = handset.sender.as_mut().and_then(|sender| match Datagram::kind(datagram) {
            Kind::Sound => sender.seal_sound(&mut room, datagram.len()).ok(),
            Kind::Report => sender.seal_report(&mut room, datagram.len()).ok(),
            Kind::Other => None,
        });
        match sealed {
            Some(len) => room.truncate(len),
            None => room = datagram.to_vec(),
        }
        room
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

    /// A datagram comes to a phone's side. Returns what is sent on, and what is sent because of it; one
    /// that is too long is dropped, as where it would be read.
    pub fn handle_datagram(
        &mut self,
        phone: Phone,
        at: At,
        source: SocketAddr,
        datagram: &[u8],
    ) -> Vec<Sent> {
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
        let mut sent = Vec::new();
        let Some(mut packet) = Packet::new(self.room.as_mut_slice(), read) else { return sent };
        let way = self.sessions.handle_datagram(self.now, (slot, port), source, &mut packet);
        match way {
            Way::To(slot, _, to) => {
                let phone = if slot == self.ada { Phone::Ada } else { Phone::Bob };
                let readable = self.handsets[phone.index()].readable(packet.bytes());
                sent.push(Sent { phone, to, readable });
            }
            Way::Unheard | Way::Excess | Way::Stranger | Way::Ended => {}
        }
        self.take_made(&mut sent);
        sent
    }

    /// The call ends: what was heard from Ada, and from Bob.
    pub fn end(mut self) -> [Heard; 2] {
        [Phone::Ada, Phone::Bob].map(|phone| {
            self.sessions.close(self.now, side(phone)).map_or_else(Heard::default, |(_, h)| h)
        })
    }
}

impl Phone {
    fn index(self) -> usize {
        match self {
            Self::Ada => 0,
            Self::Bob => 1,
        }
    }
}

impl Handset {
    /// One that was never there before can open it: whoever is told a key late must be able to.
    fn readable(&self, sent: &[u8]) -> Readable {
        let ours = match &self.opens {
            Opens::Plain => return Readable::Yes,
            Opens::Nothing => return Readable::No,
            Opens::Sealed(ours) => ours,
        };
        let mut sent = sent.to_vec();
        let opened = Receiver::new(ours).and_then(|mut receiver| match Datagram::kind(&sent) {
            Kind::Sound => receiver.open_sound(Moment::EPOCH, &mut sent).ok(),
            Kind::Report => receiver.open_report(Moment::EPOCH, &mut sent).ok(),
            Kind::Other => None,
        });
        opened.map_or(Readable::No, |_| Readable::Yes)
    }
}

fn side(phone: Phone) -> Side {
    Side { call: CallId(Default::default()), leg: phone.index() as u16 }
}
