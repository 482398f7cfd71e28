//! What a phone and we agreed on about sound: codecs, encryption, and where reports go.
//!
//! RFC 3264 §6; RFC 4568 and RFC 5763 for keys.

use serde::{Deserialize, Serialize};

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
