//! What a phone is offered: all that the other one said, and what we could convert.
//!
//! RFC 3264 §5 and §8. The other's codecs come first, in its order and under its numbers, so that a
//! phone that can choose chooses what needs no converting. Then come ours that the other lacks.

use sdp_types::{Media, Session};

use super::crypto::{Crypto, SUITES};
use super::format::{self, Carries, Format, Numbers};
use super::own::Seed;
use super::shield::{Check, Manner, Profile, Setup, write_fingerprint};
use super::{Anchor, Description};
use crate::media::Suite;

/// Codecs that we can convert, the best first: number (or any), name, parameters.
pub(super) const OURS: [(Option<u8>, &str, Option<&str>); 4] = [
    (None, "opus/48000/2", Some("useinbandfec=1")),
    (Some(9), "G722/8000", None),
    (Some(8), "PCMA/8000", None),
    (Some(0), "PCMU/8000", None),
];
/// The keys that can be pressed (RFC 4733 §7.1.1).
pub(super) const EVENTS: &str = "0-15";

/// Our end of a leg.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    /// Our address and the like.
    pub anchor: Anchor,
    /// Our keys.
    pub seed: &'a Seed,
    /// Our certificate's fingerprint, if there is one.
    pub fingerprint: Option<[u8; 32]>,
    /// What numbers mean on this leg.
    pub numbers: &'a Numbers,
    /// What holds already.
    pub held: Held,
}

/// What protects a leg's sound already: nothing else is offered then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Nothing.
    Nothing,
    /// Keys for this suite.
    Keys(Suite),
    /// A handshake.
    Handshake,
}

impl Description {
    /// What we take ourselves, where there is no other phone: all that we can convert. Its addresses
    /// are nobody's.
    pub fn ours() -> Self {
        let mut text = String::from(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
             m=audio 9 RTP/AVP 96 9 8 0 101 97\r\n",
        );
        for (number, map, fmtp) in OURS {
            let number = number.unwrap_or(96);
            text += &format!("a=rtpmap:{number} {map}\r\n");
            if let Some(fmtp) = fmtp {
                text += &format!("a=fmtp:{number} {fmtp}\r\n");
            }
        }
        for (number, clock) in [(101, 8_000), (97, 48_000)] {
            text += &format!("a=rtpmap:{number} telephone-event/{clock}\r\n");
            text += &format!("a=fmtp:{number} {EVENTS}\r\n");
        }
        text += "a=sendrecv\r\n";
        Self::read(text.as_bytes()).expect("a description of ours can be read")
    }

    /// What a phone is offered when the other one says this.
    pub fn offer(&self, end: &End<'_>, manner: Manner) -> Self {
        let mut session = self.relayed(&end.anchor);
        let (Some(profile), Some(formats)) = (self.profile(), self.formats()) else {
            return Self { session, audio: self.audio };
        };
        if self.is_live() {
            let media = &mut session.medias[self.audio];
            list(media, &formats, end.numbers);
            let manner = match manner {
                Manner::Dtls(..) if end.fingerprint.is_none() => Manner::Sdes(Profile::Savp),
                manner => manner,
            };
            self.protect(&mut session, profile, end, manner);
        }
        Self { session, audio: self.audio }
    }

    fn protect(&self, session: &mut Session, theirs: Profile, end: &End<'_>, manner: Manner) {
        let bare = manner == Manner::Plain && theirs.is_plain();
        if !bare {
            without_feedback(session, self.audio);
            let within = matches!(manner, Manner::Dtls(..));
            reports_within(&mut session.medias[self.audio], within);
        }
        let media = &mut session.medias[self.audio];
        match manner {
            Manner::Plain if bare => {}
            Manner::Plain => media.proto = Profile::Avp.name().to_owned(),
            Manner::Opportune => {
                media.proto = Profile::Avp.name().to_owned();
                write_both(media, end);
            }
            Manner::Sdes(profile) => {
                media.proto = profile.name().to_owned();
                write_both(media, end);
            }
            Manner::Dtls(profile, check) => {
                media.proto = profile.name().to_owned();
                write_handshake(media, end, Setup::ActPass);
                if check == Check::Ice {
                    media.add_attribute_with_value("mid", "0");
                    session.add_attribute_with_value("group", "BUNDLE 0");
                    write_ice(session, self.audio, end);
                }
            }
        }
    }

    /// This description of ours as an offer, if it was an answer: whoever answers it may choose
    /// again who says hello (RFC 5763 §5).
    pub fn offered_again(&self) -> Self {
        let mut again = self.clone();
        for attribute in &mut again.session.medias[self.audio].attributes {
            if attribute.attribute == "setup" {
                attribute.value = Some(Setup::ActPass.name().to_owned());
            }
        }
        again
    }
}

impl Description {
    /// This description of ours as an offer of new keys, in the way that holds already: other keys,
    /// and another handshake with another name and password for ICE (RFC 8842 §4, RFC 8839 §4.4.1).
    pub fn with_new_keys(&self, end: &End<'_>) -> Self {
        const SECRETS: [&str; 7] = [
            "crypto",
            "fingerprint",
            "setup",
            "ice-ufrag",
            "ice-pwd",
            "candidate",
            "end-of-candidates",
        ];
        let mut session = self.session.clone();
        let checks = self.own_ice().is_some();
        session.attributes.retain(|a| a.attribute != "ice-lite");
        let media = &mut session.medias[self.audio];
        media.attributes.retain(|a| !SECRETS.contains(&a.attribute.as_str()));
        match end.held {
            Held::Nothing => {}
            Held::Keys(_) => write_keys(media, end),
            Held::Handshake => {
                write_handshake(media, end, Setup::ActPass);
                if checks {
                    write_ice(&mut session, self.audio, end);
                }
            }
        }
        Self { session, audio: self.audio }
    }
}

/// The other's formats under numbers that this leg knows, then ours.
fn list(media: &mut Media, formats: &[Format], numbers: &Numbers) {
    let kept = numbered(formats, numbers);
    if kept.iter().any(|(from, to)| from != to) || kept.len() < formats.len() {
        format::keep(media, &kept);
    }
    let mut listed: Vec<Format> = kept
        .iter()
        .filter_map(|(from, to)| {
            let format = formats.iter().find(|format| format.payload == *from)?;
            Some(Format { payload: *to, ..format.clone() })
        })
        .collect();
    for (number, map, fmtp) in OURS {
        append(media, &mut listed, numbers, (number, map, fmtp));
    }
    let clocks: Vec<u32> = listed
        .iter()
        .filter(|format| format.carries() == Carries::Sound)
        .filter_map(Format::clock)
        .collect();
    for clock in [8_000, 48_000] {
        if clocks.contains(&clock) {
            let map = format!("telephone-event/{clock}");
            append(media, &mut listed, numbers, (None, &map, Some(EVENTS)));
        }
    }
}

/// Adds one that is not listed yet, if there is a number for it.
fn append(
    media: &mut Media,
    listed: &mut Vec<Format>,
    numbers: &Numbers,
    (number, map, fmtp): (Option<u8>, &str, Option<&str>),
) {
    let plain = map.to_ascii_lowercase();
    if listed.iter().any(|format| format.map == plain) {
        return;
    }
    let fixed = number.filter(|number| is_free(*number, &plain, listed, numbers));
    let Some(payload) = fixed.or_else(|| number_for(&plain, listed, numbers)) else { return };
    format::add(media, payload, map, fmtp);
    listed.push(Format { payload, map: plain, fmtp: fmtp.map(str::to_owned) });
}

/// Which number each format gets on this leg. What wraps others' packets names their numbers, and
/// is left out when one of them changes.
fn numbered(formats: &[Format], numbers: &Numbers) -> Vec<(u8, u8)> {
    let mut listed: Vec<Format> = vec![];
    let mut kept = vec![];
    for format in formats {
        let as_it_is =
            Some(format.payload).filter(|payload| is_free(*payload, &format.map, &listed, numbers));
        let held = as_it_is.filter(|payload| numbers.contains_key(payload));
        let known = held.or_else(|| known_number(&format.map, &listed, numbers));
        let payload = known.or(as_it_is).or_else(|| number_for(&format.map, &listed, numbers));
        let Some(payload) = payload else { continue };
        kept.push((format.payload, payload));
        listed.push(Format { payload, ..format.clone() });
    }
    if kept.iter().any(|(from, to)| from != to) {
        let wraps = |payload: u8| {
            formats.iter().any(|f| f.payload == payload && f.carries() == Carries::Packets)
        };
        kept.retain(|(from, _)| !wraps(*from));
    }
    kept
}

/// Whether a codec may have this number: nothing else has it in the list, or ever had it here.
fn is_free(payload: u8, map: &str, listed: &[Format], numbers: &Numbers) -> bool {
    listed.iter().all(|format| format.payload != payload)
        && numbers.get(&payload).is_none_or(|known| **known == *map)
}

/// The number that this leg knows a codec by, or a new one.
fn number_for(map: &str, listed: &[Format], numbers: &Numbers) -> Option<u8> {
    let mut new = 96..=127;
    let known = known_number(map, listed, numbers);
    known.or_else(|| new.find(|number| is_free(*number, map, listed, numbers)))
}

fn known_number(map: &str, listed: &[Format], numbers: &Numbers) -> Option<u8> {
    let mut known = numbers.iter().filter(|(_, known)| ***known == *map).map(|(number, _)| *number);
    known.find(|number| is_free(*number, map, listed, numbers))
}

/// Says whether reports go with the sound, and leaves a description that says so already alone.
pub(super) fn reports_within(media: &mut Media, within: bool) {
    match (media.has_attribute("rtcp-mux"), within) {
        (true, false) => media.attributes.retain(|a| a.attribute != "rtcp-mux"),
        (false, true) => media.add_attribute_from_str("rtcp-mux"),
        (true, true) | (false, false) => {}
    }
}

/// Leaves out what names streams and their packets' extensions: they end here when packets are
/// opened on the way.
pub(super) fn without_feedback(session: &mut Session, audio: usize) {
    const NAMES: [&str; 8] = [
        "ssrc",
        "ssrc-group",
        "msid",
        "extmap",
        "extmap-allow-mixed",
        "rtcp-fb",
        "rtcp-rsize",
        "zrtp-hash",
    ];
    let own = &mut session.medias[audio].attributes;
    for attributes in [own, &mut session.attributes] {
        attributes.retain(|a| !NAMES.iter().any(|name| a.attribute.eq_ignore_ascii_case(name)));
    }
}

/// Keys and a fingerprint, so that the phone may choose; once one of them holds, only that.
fn write_both(media: &mut Media, end: &End<'_>) {
    if end.held != Held::Handshake {
        write_keys(media, end);
    }
    if !matches!(end.held, Held::Keys(_)) {
        write_handshake(media, end, Setup::ActPass);
    }
}

fn write_keys(media: &mut Media, end: &End<'_>) {
    let holds = |suite: &Suite| match end.held {
        Held::Keys(held) => held == *suite,
        Held::Nothing | Held::Handshake => true,
    };
    let suites = SUITES.into_iter().filter(holds);
    for (tag, suite) in (1..).zip(suites) {
        let line = Crypto { tag, key: end.seed.key(suite) };
        media.add_attribute_with_value("crypto", line.write());
    }
}

pub(super) fn write_handshake(media: &mut Media, end: &End<'_>, setup: Setup) {
    if let Some(fingerprint) = &end.fingerprint {
        media.add_attribute_with_value("fingerprint", write_fingerprint(fingerprint));
        media.add_attribute_with_value("setup", setup.name());
    }
}

/// RFC 8839 §5: we are the lite side, and our only address is the one in the description.
pub(super) fn write_ice(session: &mut Session, audio: usize, end: &End<'_>) {
    let (name, password) = end.seed.ice();
    let Anchor { address, port, .. } = end.anchor;
    session.add_attribute_from_str("ice-lite");
    let media = &mut session.medias[audio];
    media.add_attribute_with_value("ice-ufrag", name);
    media.add_attribute_with_value("ice-pwd", password);
    let candidate = format_args!("1 1 UDP 2130706431 {address} {port} typ host").to_string();
    media.add_attribute_with_value("candidate", candidate);
    if !media.has_attribute("rtcp-mux") {
        let port = port.saturating_add(1);
        let candidate = format_args!("1 2 UDP 2130706430 {address} {port} typ host").to_string();
        media.add_attribute_with_value("candidate", candidate);
    }
    media.add_attribute_from_str("end-of-candidates");
}
