//! What a call asks of sound, and what it hears back: plain data between a switch and media.
//!
//! A *session* is a call's sound. It has *sides*, one a leg, each an RTP port with the RTCP port
//! above it. A side relays to the side it is joined to.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::id::{CallId, RecordingId, TenantId};
pub use crate::play::{CallTone, Clip, Country, Often, PlayEnd, PlayId, Signal, Stored};

/// One leg's end of a call's sound. A call has at most 128 sides; a conference's members are sides of
/// one session, whose id is the conference's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Side {
    /// Whose sound.
    pub call: CallId,
    /// Which leg.
    pub leg: u16,
}

/// What a call wishes of its sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Reserve a port pair on the local address; answered by [`Event::Opened`] or [`Event::NoPorts`].
    Open {
        /// For whom.
        side: Side,
        /// The address to bind; a wildcard binds all of its family.
        local: IpAddr,
        /// After a restart: the same port as before (the RTP port; RTCP is the next).
        port: Option<u16>,
    },
    /// Where the peer says it receives (its SDP). Sending there begins at once; see
    /// `media::latch` for when the source of its packets is believed instead.
    Aim {
        /// Whose peer.
        side: Side,
        /// Its RTP address; `None` while it has refused the stream or named no address.
        rtp: Option<SocketAddr>,
        /// Its RTCP address (RFC 3605, else the port above).
        rtcp: Option<SocketAddr>,
        /// Where its signalling comes from: behind NAT its sound comes from there as well, so it
        /// is believed sooner than a stranger who happens to send first.
        near: Option<IpAddr>,
    },
    /// What a side's session descriptions agreed on. Without it, and between two sides whose terms
    /// are alike and plain, packets are relayed as they are.
    Agree {
        /// Which side.
        side: Side,
        /// On what.
        terms: Box<Terms>,
    },
    /// Relay between two sides of one call, both ways.
    Join {
        /// One side.
        a: Side,
        /// The other.
        b: Side,
    },
    /// Let the side's peer hear a digit: as telephone events (RFC 4733), or as tones if it has none.
    /// At most 32 wait for their turn.
    Press {
        /// Whose peer.
        side: Side,
        /// Which.
        digit: Digit,
        /// For how long; 40 ms at least, 8 s at most.
        for_ms: u16,
    },
    /// Listen for digits that the side's peer sends as tones. Telephone events are always heard.
    Listen {
        /// Whose peer.
        side: Side,
        /// Whether.
        tones: Tones,
    },
    /// Keep what the side's peer says, or what it hears of us, until the side is closed. All of a
    /// call that is recorded at the same time is one recording. Refused by [`Event::Unrecorded`].
    Record {
        /// Whose peer.
        side: Side,
        /// What of it.
        kept: Kept,
        /// On which of the two channels.
        channel: Channel,
        /// In which recording.
        recording: Box<Recording>,
    },
    /// Leave out what is kept of the side from now on; a recording whose sides all pause stands
    /// still.
    Pause {
        /// Whose peer.
        side: Side,
    },
    /// Keep it again.
    Resume {
        /// Whose peer.
        side: Side,
    },
    /// The side takes part in its session's conference: it hears all others, and all others hear it.
    /// It is joined to no side from then on.
    Mix {
        /// Which side.
        side: Side,
        /// How.
        part: Part,
    },
    /// Let the peer of a side that [takes part](Self::Mix) in a conference hear a short tone, alone.
    Cue {
        /// Whose peer.
        side: Side,
        /// Which.
        cue: Cue,
    },
    /// Let the side's peer hear a clip instead of whom it is joined to; answered by
    /// [`Event::Played`] when it is over. What is played once goes before what is played for ever,
    /// which goes on behind it; of each kind there is one, and the next ends the one before.
    Play {
        /// Whose peer.
        side: Side,
        /// What this is called in [`Wish::Hush`] and [`Event::Played`].
        play: PlayId,
        /// What.
        clip: Clip,
        /// How often.
        how: Often,
    },
    /// Stop playing.
    Hush {
        /// To whose peer.
        side: Side,
        /// What.
        play: PlayId,
    },
    /// End one side; answered by [`Event::Closed`] with what was measured.
    Close {
        /// Which.
        side: Side,
    },
}

impl Wish {
    /// The call whose sound is meant: a call is served by one worker.
    pub fn call(&self) -> CallId {
        match self {
            Self::Open { side, .. }
            | Self::Aim { side, .. }
            | Self::Agree { side, .. }
            | Self::Press { side, .. }
            | Self::Listen { side, .. }
            | Self::Record { side, .. }
            | Self::Pause { side }
            | Self::Resume { side }
            | Self::Mix { side, .. }
            | Self::Cue { side, .. }
            | Self::Play { side, .. }
            | Self::Hush { side, .. }
            | Self::Close { side } => side.call,
            Self::Join { a, .. } => a.call,
        }
    }
}

/// How a side takes part in a conference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// It stands before the door: it hears silence and its own cues, and nobody hears it.
    Waits,
    /// It hears and is heard.
    Speaks,
    /// It hears and is not heard.
    Listens,
    /// It is on hold: neither.
    Away,
}

/// A short tone that tells one member something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cue {
    /// Dial the PIN.
    AskPin,
    /// That was not it.
    WrongPin,
    /// The others do not hear you any more.
    Muted,
    /// The others hear you again.
    Unmuted,
}

/// A key of a telephone, as RFC 4733 §3.2 numbers them: 0 to 9, `*`, `#`, A to D.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digit(u8);

impl Digit {
    const KEYS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D'];

    /// The key with this sign.
    pub fn from_key(key: char) -> Option<Self> {
        let key = key.to_ascii_uppercase();
        let number = Self::KEYS.iter().position(|known| *known == key)?;
        u8::try_from(number).ok().map(Self)
    }

    /// The key of this event.
    pub fn from_event(event: u8) -> Option<Self> {
        (usize::from(event) < Self::KEYS.len()).then_some(Self(event))
    }

    /// Its event.
    pub fn event(self) -> u8 {
        self.0
    }

    /// Its sign.
    pub fn key(self) -> char {
        Self::KEYS.get(usize::from(self.0)).copied().unwrap_or('?')
    }
}

/// Whether tones are listened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tones {
    /// No.
    Ignored,
    /// Yes.
    Heard,
}

/// What is kept of a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// What its peer says; of a conference's member, what the others hear of it.
    Said,
    /// What its peer hears that we make ourselves: its conference, or what is played to it.
    Heard,
}

/// Which ear hears it, in a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Channel {
    /// Who called.
    Left,
    /// Who was called.
    Right,
}

/// Whose sound is kept, and why: it is written into the recording's file, so that whoever finds that
/// after a crash knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// Its id.
    pub id: RecordingId,
    /// The company that keeps it.
    pub tenant: TenantId,
    /// Which call.
    pub call: CallId,
    /// The number of the extension whose key or rule asked for it; empty: the company's rule.
    pub asked_by: String,
}

impl Recording {
    /// As it is written down; at most a few hundred bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// What was written down.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}

/// What a phone and we agreed on about one side's sound (RFC 3264 §6): what each may send the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The codecs of the answer, the best first; we send the first. At most 16, and at least one.
    pub codecs: Vec<Codec>,
    /// The payload type of telephone events (RFC 4733).
    pub events: Option<u8>,
    /// What their lengths count in, a second: the first codec's clock, or 8,000 where a phone knows
    /// no other beside it.
    pub events_clock: u32,
    /// The payload type of comfort noise (RFC 3389).
    pub comfort_noise: Option<u8>,
    /// How much sound a packet for the peer holds, in milliseconds: 10, 20, 30, 40 or 60.
    pub ptime: u8,
    /// Whether the peer wants sound now.
    #[serde(default)]
    pub reception: Reception,
    /// Whether and how it is encrypted.
    pub protection: Protection,
    /// Where reports go.
    pub reports: Reports,
}

/// Whether a peer wants sound (RFC 3264 §6.1): one that holds the other phone does not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reception {
    /// It does.
    #[default]
    Wanted,
    /// It is sent none, whoever speaks; reports go on.
    Unwanted,
}

/// A codec with its payload types, which the two directions may number differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Codec {
    /// Which.
    pub kind: CodecKind,
    /// The payload type in what we send: the peer's description says it.
    pub to_peer: u8,
    /// The payload type in what comes: our description says it.
    pub from_peer: u8,
}

/// A codec as it is named in descriptions (RFC 3551, RFC 7587), as far as it matters to us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CodecKind {
    /// G.711 µ-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
    /// G.722: 16 kHz sound with a clock of 8,000.
    G722,
    /// Opus: a clock of 48,000.
    Opus {
        /// What the peer can make of it: `stereo=1`.
        stereo: bool,
        /// Whether the peer wants in-band correction: `useinbandfec=1`.
        fec: bool,
        /// `maxaveragebitrate`, in bits a second.
        most: Option<u32>,
    },
    /// One that we only pass on, when both sides name it alike.
    Other {
        /// `rtpmap` without the payload type, lower case, and `fmtp` after a space if there is any.
        map: String,
    },
}

/// How a side's packets are protected on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protection {
    /// Not at all.
    Plain,
    /// By keys that are not agreed on yet: until then nothing passes, either way.
    Awaited,
    /// SRTP whose keys stand in the descriptions (RFC 4568).
    Sdes {
        /// The key that we send with.
        ours: Key,
        /// The key that the peer sends with.
        theirs: Key,
    },
    /// SRTP whose keys come from a DTLS handshake on the sound's own port (RFC 5763, RFC 5764).
    Dtls {
        /// What part we play in the handshake.
        role: DtlsRole,
        /// SHA-256 of the peer's certificate.
        fingerprint: [u8; 32],
        /// How the way is checked, if the peer speaks ICE (RFC 8445; we are the lite side).
        ice: Option<Ice>,
    },
}

/// Who says hello first in a DTLS handshake (RFC 4145 `setup`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DtlsRole {
    /// We do.
    Client,
    /// The peer does.
    Server,
}

/// Both sides' ICE credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ice {
    /// Our `ice-ufrag` and `ice-pwd`.
    pub ours: (String, String),
    /// The peer's.
    pub theirs: (String, String),
}

/// An SRTP master key and salt (RFC 3711 §8.2, RFC 7714 §8.2). Debug shows none of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// For which transform.
    pub suite: Suite,
    /// Key, then salt: 30 bytes, or 28 for AES-GCM.
    pub material: Vec<u8>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("suite", &self.suite).finish_non_exhaustive()
    }
}

/// An SRTP transform (RFC 4568 §6.2, RFC 7714 §14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Suite {
    /// AES in counter mode, a tag of 80 bits.
    AesCm128HmacSha1_80,
    /// AES in counter mode, a tag of 32 bits (80 for reports).
    AesCm128HmacSha1_32,
    /// AES-GCM with a tag of 128 bits.
    AeadAes128Gcm,
}

/// Which port reports (RTCP) use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reports {
    /// The one above the sound's.
    Beside,
    /// The sound's own (RFC 5761).
    Within,
}

/// What happened to a call's sound.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The side's ports are open.
    Opened {
        /// Which side.
        side: Side,
        /// Its RTP port; RTCP is the next.
        port: u16,
    },
    /// No port is free (or the one asked for is taken).
    NoPorts {
        /// Which side.
        side: Side,
    },
    /// The peer's packets come from here, and it is believed (a change of `peer` is told again).
    Latched {
        /// Which side.
        side: Side,
        /// Where its RTP comes from.
        peer: SocketAddr,
    },
    /// Nothing has come from the peer for 30 s, though it was heard before and its phone names an
    /// address; told once, until it is heard again.
    Quiet {
        /// Which side.
        side: Side,
    },
    /// The peer of the side that it is joined to is heard, and this one's has sent nothing for 5 s,
    /// though both name an address. Told once, until signalling speaks of either again.
    OneWay {
        /// From which side nothing comes.
        side: Side,
    },
    /// The peer pressed a key and let it go.
    Digit {
        /// Whose peer.
        side: Side,
        /// Which key.
        digit: Digit,
        /// For how long.
        long_ms: u32,
    },
    /// What was wished of the side is not kept: nothing can be written.
    Unrecorded {
        /// Which side.
        side: Side,
    },
    /// The peer is the one who speaks in its conference now. Told twice a second at most.
    Speaking {
        /// Whose peer.
        side: Side,
    },
    /// A clip is not played any more.
    Played {
        /// To whose peer.
        side: Side,
        /// Which.
        play: PlayId,
        /// Why not.
        end: PlayEnd,
    },
    /// The side is gone.
    Closed {
        /// Which side.
        side: Side,
        /// What was measured while it lived.
        heard: Heard,
    },
}

impl Event {
    /// The side it is about.
    pub fn side(&self) -> Side {
        match self {
            Self::Opened { side, .. }
            | Self::NoPorts { side }
            | Self::Latched { side, .. }
            | Self::Quiet { side }
            | Self::OneWay { side }
            | Self::Digit { side, .. }
            | Self::Unrecorded { side }
            | Self::Speaking { side }
            | Self::Played { side, .. }
            | Self::Closed { side, .. } => *side,
        }
    }
}

/// What was heard from one side's peer, and what it heard. Unknown is `None`, never a flattering
/// number.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Heard {
    /// RTP packets received from it and believed.
    pub packets: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Packets that were expected by their sequence numbers and did not come; `None` if no packet came.
    pub lost: Option<u64>,
    /// Interarrival jitter in milliseconds (RFC 3550 §6.4.1); `None` with fewer than two packets.
    pub jitter_ms: Option<f32>,
    /// From us to the peer and back, by its reports (RFC 3550 §6.4.1).
    pub round_trip_ms: Option<f32>,
    /// Packets that were sent to it and that it says did not come; `None` if it never said.
    pub reported_lost: Option<u64>,
    /// How content somebody would be who hears what came from it (ITU-T G.107), from 1 to 4.5.
    pub opinion: Option<f32>,
    /// Packets from other addresses, and forged ones, not relayed.
    pub strangers: u64,
    /// Those of them whose tag was wrong, or that had none where one was agreed on.
    pub forged: u64,
}
