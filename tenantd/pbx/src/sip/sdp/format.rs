//! Codecs as a description lists them: a number, a name, and what else must be known.
//!
//! RFC 8866 §5.14 (the list), §6.6 (`rtpmap`), §6.15 (`fmtp`); RFC 3551 §6 numbers the old ones for
//! good. A number means something only within one description (RFC 3264 §5.1), so two descriptions
//! are compared by names; a name may stand twice, and then the number decides.

use std::collections::BTreeMap;

use sdp_types::{Attribute, Media};

/// Formats that are read; a longer list is passed on as it is.
const MOST: usize = 48;

/// Names of numbers that need no `rtpmap` (RFC 3551 §6, the audio ones).
const STATIC: [(u8, &str); 17] = [
    (0, "pcmu/8000"),
    (3, "gsm/8000"),
    (4, "g723/8000"),
    (5, "dvi4/8000"),
    (6, "dvi4/16000"),
    (7, "lpc/8000"),
    (8, "pcma/8000"),
    (9, "g722/8000"),
    (10, "l16/44100/2"),
    (11, "l16/44100"),
    (12, "qcelp/8000"),
    (13, "cn/8000"),
    (15, "g728/8000"),
    (16, "dvi4/11025"),
    (17, "dvi4/22050"),
    (18, "g729/8000"),
    (14, "mpa/90000"),
];

/// What a phone and we call codecs by, for the life of a leg: a number once used for one codec is
/// never used for another (RFC 3264 §8.3.2). At most 128 names.
pub type Numbers = BTreeMap<u8, Box<str>>;

/// One line of a list of codecs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Format {
    /// The payload type.
    pub(super) payload: u8,
    /// Name, clock and channels, in lower case; one channel is not mentioned.
    pub(super) map: String,
    /// Its parameters, as they were written.
    pub(super) fmtp: Option<String>,
}

/// What a format carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carries {
    /// Sound.
    Sound,
    /// Keys that were pressed (RFC 4733).
    Events,
    /// The lack of sound (RFC 3389).
    Noise,
    /// Other formats' packets, by their numbers (RFC 2198).
    Packets,
}

impl Format {
    /// The formats of a stream, in its order; `None` if they are more, or other, than we can judge.
    pub(super) fn all_of(media: &Media) -> Option<Vec<Self>> {
        let payloads: Option<Vec<u8>> = media
            .fmt
            .split_ascii_whitespace()
            .map(|word| word.parse().ok().filter(|payload| *payload < 128))
            .collect();
        let payloads = payloads.filter(|payloads| (1..=MOST).contains(&payloads.len()))?;
        let mut formats: Vec<Self> = Vec::with_capacity(payloads.len());
        for payload in payloads {
            if formats.iter().all(|format| format.payload != payload) {
                formats.push(Self::read(media, payload));
            }
        }
        Some(formats)
    }

    fn read(media: &Media, payload: u8) -> Self {
        let value = |name: &str| {
            let named = media.attributes.iter().filter(|a| a.attribute.eq_ignore_ascii_case(name));
            let mut values = named.filter_map(|a| split(a.value.as_deref()?));
            values.find(|(number, _)| *number == payload).map(|(_, rest)| rest.trim())
        };
        let fixed = || STATIC.iter().find(|(number, _)| *number == payload).map(|(_, map)| *map);
        let map = value("rtpmap").or_else(fixed).map(plain);
        let map = map.unwrap_or_else(|| payload.to_string());
        Self { payload, map, fmtp: value("fmtp").map(str::to_owned) }
    }

    /// What it carries.
    pub(super) fn carries(&self) -> Carries {
        match self.map.split('/').next().unwrap_or_default() {
            "telephone-event" => Carries::Events,
            "cn" => Carries::Noise,
            "red" => Carries::Packets,
            _ => Carries::Sound,
        }
    }

    /// Ticks a second.
    pub(super) fn clock(&self) -> Option<u32> {
        self.map.split('/').nth(1)?.parse().ok()
    }

    /// The one among `formats` that means the same: with the same number, if there is such a one.
    pub(super) fn like<'a>(&self, formats: &'a [Self]) -> Option<&'a Self> {
        let alike = || formats.iter().filter(|format| format.map == self.map);
        alike().find(|format| format.payload == self.payload).or_else(|| alike().next())
    }

    /// A parameter's value: `stereo` of `minptime=10;stereo=1`.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let words = self.fmtp.as_deref()?.split(';').filter_map(|word| word.split_once('='));
        words
            .map(|(name, value)| (name.trim(), value.trim()))
            .find(|(named, _)| named.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

/// Keeps the formats of `kept` (each the number it has, and the one it gets), in that order, and
/// everything that is said of them; what is said of others goes.
pub(super) fn keep(media: &mut Media, kept: &[(u8, u8)]) {
    let list: Vec<String> = kept.iter().map(|(_, to)| to.to_string()).collect();
    media.fmt = list.join(" ");
    media.attributes.retain_mut(|attribute| {
        let Some(value) = about_a_format(attribute) else { return true };
        let Some((from, rest)) = split(value) else { return true };
        match kept.iter().find(|(number, _)| *number == from) {
            Some((from, to)) if from == to => true,
            Some((_, to)) => {
                attribute.value = Some(format!("{to} {rest}"));
                true
            }
            None => false,
        }
    });
}

/// Adds a format to the end of the list.
pub(super) fn add(media: &mut Media, payload: u8, map: &str, fmtp: Option<&str>) {
    if !media.fmt.is_empty() {
        media.fmt.push(' ');
    }
    media.fmt.push_str(&payload.to_string());
    media.add_attribute_with_value("rtpmap", format_args!("{payload} {map}"));
    if let Some(fmtp) = fmtp {
        media.add_attribute_with_value("fmtp", format_args!("{payload} {fmtp}"));
    }
}

/// Notes what the numbers of a description stand for from now on; what a number stood for first
/// is kept.
pub(super) fn note(numbers: &mut Numbers, formats: &[Format]) {
    for format in formats {
        let name: String = format.map.chars().take(64).collect();
        numbers.entry(format.payload).or_insert(name.into());
    }
}

fn about_a_format(attribute: &Attribute) -> Option<&str> {
    let names = ["rtpmap", "fmtp", "rtcp-fb"];
    let is_one = names.iter().any(|name| attribute.attribute.eq_ignore_ascii_case(name));
    attribute.value.as_deref().filter(|_| is_one)
}

/// `96 opus/48000/2` as the number and the rest.
fn split(value: &str) -> Option<(u8, &str)> {
    let (number, rest) = value.trim_start().split_once(' ')?;
    Some((number.parse().ok()?, rest))
}

/// A name as it can be compared.
fn plain(map: &str) -> String {
    let map = map.trim().to_ascii_lowercase();
    match map.strip_suffix("/1") {
        Some(mono) if mono.contains('/') => mono.to_owned(),
        _ if map == "opus/48000" => "opus/48000/2".to_owned(),
        _ => map,
    }
}
