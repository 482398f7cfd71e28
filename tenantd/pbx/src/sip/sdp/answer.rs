//! What a phone that made an offer is answered, once the other one has said what it takes.
//!
//! RFC 3264 §6. If the first codec of the other is one that was offered, the answer holds what both
//! have, in the other's order and with the other's parameters, and nothing is converted. Else it
//! holds the best of the offered codecs that we can convert, alone. Telephone events are taken even if
//! the other has none, where we can make tones of them.

use sdp_types::{Media, Session};

use super::Description;
use super::crypto::Crypto;
use super::format::{self, Carries, Format};
use super::offer::{
    EVENTS, End, OURS, reports_within, without_feedback, write_handshake, write_ice,
};
use super::shield::{Check, Profile, Setup, Shield, Unfit};
use crate::media::{DtlsRole, Terms};

/// What an answer holds.
#[derive(Debug, PartialEq, Eq)]
enum Chosen {
    /// What both have: the other's number, and the number that the phone offered; and events that
    /// the other has not.
    Shared { kept: Vec<(u8, u8)>, events: Option<Format> },
    /// A codec that we convert, and the events beside it.
    Converted { codec: Format, events: Option<Format> },
}

impl Description {
    /// How this offer is answered when the other side says that.
    pub fn answer(
        &self,
        other: &Self,
        end: &End<'_>,
        shield: &Shield,
    ) -> Result<Description, Unfit> {
        let direction = other.direction().answering(self.direction());
        let mut session = match direction == other.direction() {
            true => other.relayed(&end.anchor),
            false => other.directed(direction).relayed(&end.anchor),
        };
        let audio = other.audio;
        let known = self.profile().is_some() && other.profile().is_some();
        let live = self.is_live() && other.is_live();
        let (true, true, Some(offered), Some(said)) =
            (known, live, self.formats(), other.formats())
        else {
            if let (true, Some(media)) = (known, session.medias.get_mut(audio)) {
                media.proto.clone_from(&self.media().proto);
            }
            return Ok(Self { session, audio });
        };
        let media = &mut session.medias[audio];
        match choose(&offered, &said).ok_or(Unfit::NoCodec)? {
            Chosen::Shared { kept, events } => {
                let same = said.iter().map(|format| (format.payload, format.payload));
                if !same.eq(kept.iter().copied()) {
                    format::keep(media, &kept);
                }
                add_events(media, events);
            }
            Chosen::Converted { codec, events } => {
                format::keep(media, &[]);
                let ours = OURS.iter().find(|(_, map, _)| map.eq_ignore_ascii_case(&codec.map));
                let (map, fmtp) = ours.map_or((codec.map.as_str(), None), |(_, map, p)| (*map, *p));
                format::add(media, codec.payload, map, fmtp);
                add_events(media, events);
            }
        }
        media.proto.clone_from(&self.media().proto);
        let bare = |description: &Self| description.profile().is_some_and(Profile::is_plain);
        if *shield != Shield::Plain || !bare(self) || !bare(other) {
            without_feedback(&mut session, audio);
        }
        self.shielded(&mut session, audio, end, shield);
        Ok(Self { session, audio })
    }

    /// Writes our part of the protection.
    fn shielded(&self, session: &mut Session, audio: usize, end: &End<'_>, shield: &Shield) {
        let media = &mut session.medias[audio];
        reports_within(media, self.takes_reports_within());
        match shield {
            Shield::Plain => {}
            Shield::Sdes { tag, suite } => {
                let line = Crypto { tag: *tag, key: end.seed.key(*suite) };
                media.add_attribute_with_value("crypto", line.write());
            }
            Shield::Dtls { role, check } => {
                let setup = match role {
                    DtlsRole::Client => Setup::Active,
                    DtlsRole::Server => Setup::Passive,
                };
                write_handshake(media, end, setup);
                if *check == Check::Ice {
                    write_ice(session, audio, end);
                }
            }
        }
        self.echo_bundle(session, audio);
    }

    /// RFC 9143 §7.3: the one stream that we take is a bundle of its own, if it was in one.
    fn echo_bundle(&self, session: &mut Session, audio: usize) {
        let Some(mid) = self.media().get_first_attribute_value("mid").flatten() else { return };
        session.medias[audio].add_attribute_with_value("mid", mid);
        let groups = self.session.get_attribute_values("group").flatten();
        let mut bundles = groups.map(|group| group.split_ascii_whitespace().collect::<Vec<_>>());
        let holds = |words: Vec<&str>| words.first() == Some(&"BUNDLE") && words.contains(&mid);
        if bundles.any(holds) {
            session.add_attribute_with_value("group", format_args!("BUNDLE {mid}"));
        }
    }

    /// Only what is agreed on already, if it is in there: what a phone hears must not change when
    /// the other one says nothing new.
    pub fn limited_to(&self, terms: &Terms) -> Self {
        let Some(formats) = self.formats() else { return self.clone() };
        let agreed = |format: &&Format| {
            format.carries() != Carries::Sound
                || terms.codecs.iter().any(|codec| codec.from_peer == format.payload)
        };
        let kept: Vec<&Format> = formats.iter().filter(agreed).collect();
        let mut limited = self.clone();
        if kept.iter().any(|format| format.carries() == Carries::Sound) {
            let mut kept: Vec<(u8, u8)> = kept.iter().map(|f| (f.payload, f.payload)).collect();
            let codecs = &terms.codecs;
            kept.sort_by_key(|(number, _)| {
                codecs.iter().position(|codec| codec.from_peer == *number).unwrap_or(codecs.len())
            });
            format::keep(&mut limited.session.medias[self.audio], &kept);
        }
        limited
    }
}

/// Which codecs the answer to `offered` holds when the other side takes `said`.
fn choose(offered: &[Format], said: &[Format]) -> Option<Chosen> {
    let is_sound = |format: &&Format| format.carries() == Carries::Sound;
    let can_convert =
        |format: &&Format| OURS.iter().any(|(_, map, _)| map.eq_ignore_ascii_case(&format.map));
    let first = said.iter().find(is_sound)?;
    let best = offered.iter().find(can_convert).filter(|_| can_convert(&first));
    if let (None, Some(codec)) = (first.like(offered), best) {
        let events = events_beside(codec, offered).cloned();
        return Some(Chosen::Converted { codec: codec.clone(), events });
    }
    let mut kept: Vec<(u8, u8)> = vec![];
    for format in said {
        let left: Vec<Format> = offered
            .iter()
            .filter(|theirs| kept.iter().all(|(_, taken)| *taken != theirs.payload))
            .cloned()
            .collect();
        if let Some(theirs) = format.like(&left) {
            kept.push((format.payload, theirs.payload));
        }
    }
    // What wraps others' packets names their numbers: it goes when one of them changes.
    let carries = |number: u8, what: Carries| {
        said.iter().any(|format| format.payload == number && format.carries() == what)
    };
    if kept.iter().any(|(from, to)| from != to) {
        kept.retain(|(from, _)| !carries(*from, Carries::Packets));
    }
    let has_sound = kept.iter().any(|(number, _)| carries(*number, Carries::Sound));
    let has_events = kept.iter().any(|(number, _)| carries(*number, Carries::Events));
    let codec = first.like(offered).filter(|_| !has_events && can_convert(&first));
    let events = codec.and_then(|codec| events_beside(codec, offered)).cloned();
    has_sound.then_some(Chosen::Shared { kept, events })
}

fn add_events(media: &mut Media, events: Option<Format>) {
    if let Some(events) = events {
        format::add(media, events.payload, &events.map, Some(EVENTS));
    }
}

/// Events at the clock of a codec, else at any that was offered.
fn events_beside<'a>(codec: &Format, offered: &'a [Format]) -> Option<&'a Format> {
    let is_events = |format: &&Format| format.carries() == Carries::Events;
    let mut all = offered.iter().filter(is_events);
    all.clone().find(|events| events.clock() == codec.clock()).or_else(|| all.next())
}
