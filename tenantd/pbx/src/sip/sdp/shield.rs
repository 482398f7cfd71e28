//! How sound is protected: what a description says of it, and what a leg may do.
//!
//! The profile (RFC 3551, RFC 3711 §12, RFC 5124, RFC 5764 §8), keys in the description (RFC 4568),
//! or the fingerprint of a certificate and who says hello (RFC 8122, RFC 4145), with ICE (RFC 8839)
//! where the phone speaks it. RFC 8643: keys beside a plain profile are a wish, and not a demand.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Description;
use super::crypto::Crypto;
use crate::media::{DtlsRole, Suite};

/// How much encryption a company, an extension or a trunk wants of sound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Srtp {
    /// None.
    Off,
    /// Taken when it is offered, and offered to phones whose signalling is encrypted.
    #[default]
    Optional,
    /// No sound without it.
    Required,
}

/// Whether keys that stand in a description may be used on a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// Nobody between the phone and us can read them.
    Secret,
    /// Anybody on the way can read them, and the company knows it.
    Readable,
    /// Anybody on the way could read them: they are worth nothing.
    Worthless,
}

/// What may be agreed on with a phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How much encryption is wanted.
    pub srtp: Srtp,
    /// What keys in descriptions are worth.
    pub keys: Keys,
    /// Our certificate's fingerprint, if there is one.
    pub fingerprint: Option<[u8; 32]>,
}

/// Why a phone and we cannot agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unfit {
    /// It does not encrypt, and must.
    #[error("the sound is not encrypted")]
    NotEncrypted,
    /// It encrypts with keys that anybody can read.
    #[error("the keys of the sound can be read by others")]
    KeysReadable,
    /// It demands an encryption that we may not or cannot do.
    #[error("the sound is encrypted in a way that is not possible here")]
    Encrypted,
    /// There is no codec for both phones.
    #[error("there is no codec for both sides")]
    NoCodec,
}

/// The profile of a stream: its protection, and when reports may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Profile {
    /// `RTP/AVP`.
    Avp,
    /// `RTP/AVPF`.
    Avpf,
    /// `RTP/SAVP`.
    Savp,
    /// `RTP/SAVPF`.
    Savpf,
    /// `UDP/TLS/RTP/SAVP`.
    TlsSavp,
    /// `UDP/TLS/RTP/SAVPF`.
    TlsSavpf,
}

impl Profile {
    const ALL: [Self; 6] =
        [Self::Avp, Self::Avpf, Self::Savp, Self::Savpf, Self::TlsSavp, Self::TlsSavpf];

    pub(super) fn read(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name().eq_ignore_ascii_case(text))
    }

    /// As an `m=` line has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avp => "RTP/AVP",
            Self::Avpf => "RTP/AVPF",
            Self::Savp => "RTP/SAVP",
            Self::Savpf => "RTP/SAVPF",
            Self::TlsSavp => "UDP/TLS/RTP/SAVP",
            Self::TlsSavpf => "UDP/TLS/RTP/SAVPF",
        }
    }

    /// Whether it can be without protection.
    pub fn is_plain(self) -> bool {
        matches!(self, Self::Avp | Self::Avpf)
    }
}

/// How we make an offer to a phone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Manner {
    /// Without protection.
    #[default]
    Plain,
    /// Without protection, and with keys and a fingerprint for a phone that knows them (RFC 8643).
    Opportune,
    /// With keys, in this profile, and a fingerprint: some phones take a handshake there too.
    Sdes(Profile),
    /// With a handshake on the sound's port, in this profile.
    Dtls(Profile, Check),
}

/// Whether the way of sound is checked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Check {
    /// No.
    None,
    /// By ICE; streams are bundled and reports go with the sound, as whoever speaks it expects.
    Ice,
}

impl Manner {
    /// Whether a phone can only answer it with encryption.
    pub fn demands(self) -> bool {
        matches!(self, Self::Sdes(_) | Self::Dtls(..))
    }
}

/// How we answer an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shield {
    /// Without protection.
    Plain,
    /// By this line of the offer.
    Sdes {
        /// The line's tag, which the answer repeats.
        tag: u32,
        /// Its suite.
        suite: Suite,
    },
    /// By a handshake.
    Dtls {
        /// What part we play.
        role: DtlsRole,
        /// Whether ICE comes first.
        check: Check,
    },
}

/// What a phone says about its handshake (RFC 5763 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Handshake {
    /// SHA-256 of its certificate.
    pub(super) fingerprint: [u8; 32],
    /// Who says hello.
    pub(super) setup: Setup,
}

/// Who says hello (RFC 4145 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setup {
    Active,
    Passive,
    ActPass,
}

impl Setup {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
            Self::ActPass => "actpass",
        }
    }

    fn read(text: &str) -> Option<Self> {
        let all = [Self::Active, Self::Passive, Self::ActPass];
        all.into_iter().find(|setup| setup.name().eq_ignore_ascii_case(text.trim()))
    }
}

impl Description {
    /// The profile of its stream, if we know it.
    pub(super) fn profile(&self) -> Option<Profile> {
        Profile::read(&self.media().proto)
    }

    /// The keys that it offers or takes.
    pub(super) fn cryptos(&self) -> Vec<Crypto> {
        Crypto::all_of(self.media().get_attribute_values("crypto").flatten())
    }

    /// Its certificate and its part in the handshake. A description without `setup` means `active`
    /// (RFC 4145 §4); one that holds the connection back has no handshake.
    pub(super) fn handshake(&self) -> Option<Handshake> {
        let own = self.media().get_attribute_values("fingerprint").flatten();
        let shared = self.session.get_attribute_values("fingerprint").flatten();
        let fingerprint = own.chain(shared).take(16).find_map(fingerprint)?;
        let setup = match self.value("setup") {
            Some(text) => Setup::read(text)?,
            None => Setup::Active,
        };
        Some(Handshake { fingerprint, setup })
    }

    /// Its ICE name and password, unless it is the lite side itself: two lite sides check nothing.
    pub(super) fn ice(&self) -> Option<(String, String)> {
        self.own_ice().filter(|_| !self.session.has_attribute("ice-lite"))
    }

    /// The ICE name and password in a description of ours.
    pub(super) fn own_ice(&self) -> Option<(String, String)> {
        let word = |name: &'static str, length: std::ops::RangeInclusive<usize>| {
            let word = self.value(name)?.trim();
            let fine = word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'));
            (fine && length.contains(&word.len())).then(|| word.to_owned())
        };
        Some((word("ice-ufrag", 4..=256)?, word("ice-pwd", 22..=256)?))
    }

    /// Whether it takes reports on the sound's own port (RFC 5761 §5.1.1).
    pub(super) fn takes_reports_within(&self) -> bool {
        self.media().has_attribute("rtcp-mux")
    }

    /// Whether it says anything about keys or certificates.
    pub fn wishes_encryption(&self) -> bool {
        self.media().has_attribute("crypto")
            || self.handshake().is_some()
            || self.profile().is_some_and(|profile| !profile.is_plain())
    }

    /// How this offer is answered under these rules.
    pub fn shield(&self, rules: &Rules) -> Result<Shield, Unfit> {
        let Some(profile) = self.profile().filter(|_| self.is_live()) else {
            return Ok(Shield::Plain); // nothing of it is understood, or there is no sound
        };
        let wanted = rules.srtp != Srtp::Off;
        let may_use_keys = wanted && rules.keys != Keys::Worthless;
        let crypto = || {
            let line = self.cryptos().into_iter().next().filter(|_| may_use_keys)?;
            Some(Shield::Sdes { tag: line.tag, suite: line.key.suite })
        };
        let handshake = || {
            let theirs = self.handshake().filter(|_| wanted && rules.fingerprint.is_some())?;
            let role = match theirs.setup {
                Setup::Active | Setup::ActPass => DtlsRole::Server,
                Setup::Passive => DtlsRole::Client,
            };
            let check = if self.ice().is_some() { Check::Ice } else { Check::None };
            Some(Shield::Dtls { role, check })
        };
        let found = match profile {
            Profile::TlsSavp | Profile::TlsSavpf => handshake(),
            Profile::Savp | Profile::Savpf | Profile::Avp | Profile::Avpf => {
                crypto().or_else(handshake)
            }
        };
        let has_keys = !self.cryptos().is_empty();
        match found {
            Some(shield) => Ok(shield),
            None if profile.is_plain() && rules.srtp != Srtp::Required => Ok(Shield::Plain),
            None if wanted && has_keys => Err(Unfit::KeysReadable),
            None if profile.is_plain() => Err(Unfit::NotEncrypted),
            None => Err(Unfit::Encrypted),
        }
    }

    /// How its sender likes to be called: as it calls.
    pub fn manner(&self, shield: &Shield) -> Manner {
        match (shield, self.profile()) {
            (Shield::Plain, _) | (_, None) => Manner::Plain,
            (Shield::Sdes { .. }, Some(profile)) if profile.is_plain() => Manner::Opportune,
            (Shield::Sdes { .. }, Some(profile)) => Manner::Sdes(profile),
            (Shield::Dtls { check, .. }, Some(profile)) => Manner::Dtls(profile, *check),
        }
    }
}

/// `sha-256 4A:AD:…` (RFC 8122 §5); other hashes are none that we compare.
fn fingerprint(value: &str) -> Option<[u8; 32]> {
    let (hash, pairs) = value.trim().split_once(' ')?;
    if !hash.eq_ignore_ascii_case("sha-256") {
        return None;
    }
    let mut bytes = [0; 32];
    let mut pairs = pairs.trim().split(':');
    for byte in &mut bytes {
        let pair = pairs.next().filter(|pair| pair.len() == 2)?;
        *byte = u8::from_str_radix(pair, 16).ok().filter(|_| !pair.starts_with('+'))?;
    }
    pairs.next().is_none().then_some(bytes)
}

/// The same, written.
pub(super) fn write_fingerprint(bytes: &[u8; 32]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    format!("sha-256 {}", pairs.join(":"))
}
