//! What becomes of a packet on its way from one phone to the other: mostly nothing but another number.
//!
//! Payload types are numbers that each description chooses for itself (RFC 3264 §5.1), so between two
//! sides they may have to be exchanged. A codec that the other phone took as well is passed on; only
//! what it does not know is unpacked and packed anew.

use pbx::media::{Codec, CodecKind, Terms};

use crate::codec::{self, Rate};

/// What becomes of packets of one payload type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// They are passed on with this number.
    Pass(u8),
    /// They are unpacked, as the codec with this place among the speaker's, and packed anew.
    Convert(u8),
    /// They are telephone events, passed on with this number, whose lengths the listener counts in
    /// another clock.
    PassEvent(u8),
    /// They are comfort noise, for whom sound is packed anew.
    Noise,
    /// They are telephone events, for whom sound is packed anew.
    Event,
    /// They are telephone events, and the listener has none: it hears tones.
    Tone,
    /// Nobody could make anything of them.
    Drop,
}

/// By payload type, for one direction between two sides.
#[derive(Debug)]
pub(crate) struct Route {
    fates: [Fate; 128],
}

impl Route {
    /// From what the speaker and the listener agreed on with us. `None` if everything passes as it
    /// is, or nothing is known.
    pub(crate) fn between(from: &Terms, to: &Terms) -> Option<Box<Self>> {
        let mut route = Box::new(Self { fates: [Fate::Drop; 128] });
        for number in 0..128 {
            // What nobody spoke of is passed on as ever, unless the listener would take it for
            // something else.
            if !means_something(to, number) {
                route.set(number, Fate::Pass(number));
            }
        }
        let converts = from.codecs.first().is_some_and(|first| is_converted(first, to));
        route.set_beside(from.comfort_noise.or(converts.then_some(13)), || match converts {
            true => Fate::Noise,
            false => to.comfort_noise.map_or(Fate::Drop, Fate::Pass),
        });
        route.set_beside(from.events, || match (to.events, converts) {
            (None, _) => Fate::Tone,
            (Some(_), true) => Fate::Event,
            (Some(number), false) if from.events_clock == to.events_clock => Fate::Pass(number),
            (Some(number), false) => Fate::PassEvent(number),
        });
        for (place, codec) in from.codecs.iter().take(128).enumerate().rev() {
            let fate = match to.codecs.iter().find(|other| are_alike(&codec.kind, &other.kind)) {
                Some(other) => Fate::Pass(other.to_peer),
                None if is_converted(codec, to) => Fate::Convert(place as u8),
                None => Fate::Drop,
            };
            route.set(codec.from_peer, fate);
        }
        let declared = from.codecs.iter().map(|codec| codec.from_peer);
        let mut declared = declared.chain(from.events).chain(from.comfort_noise);
        let changes = declared.any(|number| route.fate(number) != Fate::Pass(number));
        changes.then_some(route)
    }

    /// What becomes of a packet.
    pub(crate) fn fate(&self, payload_type: u8) -> Fate {
        self.fates.get(usize::from(payload_type)).copied().unwrap_or(Fate::Drop)
    }

    /// Whether any sound is packed anew.
    pub(crate) fn converts(&self) -> bool {
        self.fates.iter().any(|fate| matches!(fate, Fate::Convert(_)))
    }

    /// Whether keys that are told of in events are to be heard as tones.
    pub(crate) fn makes_tones(&self) -> bool {
        self.fates.contains(&Fate::Tone)
    }

    fn set(&mut self, payload_type: u8, fate: Fate) {
        if let Some(place) = self.fates.get_mut(usize::from(payload_type)) {
            *place = fate;
        }
    }

    fn set_beside(&mut self, payload_type: Option<u8>, fate: impl FnOnce() -> Fate) {
        if let Some(payload_type) = payload_type {
            self.set(payload_type, fate());
        }
    }
}

/// Whether the listener does not know a codec, and we know both it and the listener's first.
fn is_converted(codec: &Codec, to: &Terms) -> bool {
    let known = |kind: &CodecKind| codec::rate_of(kind).is_some();
    let shared = to.codecs.iter().any(|other| are_alike(&codec.kind, &other.kind));
    !shared && known(&codec.kind) && to.codecs.first().is_some_and(|first| known(&first.kind))
}

fn means_something(terms: &Terms, number: u8) -> bool {
    let codecs = terms.codecs.iter().map(|codec| codec.to_peer);
    codecs.chain(terms.events).chain(terms.comfort_noise).any(|used| used == number)
}

/// Whether what one phone packs the other can unpack. What Opus is asked for in a description is a
/// wish of whoever listens (RFC 7587 §7), and no other codec.
fn are_alike(one: &CodecKind, other: &CodecKind) -> bool {
    match (one, other) {
        (CodecKind::Opus { .. }, CodecKind::Opus { .. }) => true,
        _ => one == other,
    }
}

/// At which rate sound is packed for a listener's first codec: no finer than what it is made from.
pub(crate) fn rate_between(from: &Terms, to: &CodecKind) -> Rate {
    let finest = from.codecs.iter().filter_map(|codec| codec::rate_of(&codec.kind)).max();
    let finest = finest.unwrap_or(Rate::Narrow).min(Rate::Wide);
    codec::rate_of(to).map_or(finest, |own| match to {
        CodecKind::Opus { .. } => finest,
        CodecKind::Pcmu | CodecKind::Pcma | CodecKind::G722 | CodecKind::Other { .. } => own,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcode::tests::{OPUS, terms};

    #[test]
    fn alike_sides_pass_everything_as_it_is() {
        let ada = terms(&[(CodecKind::Pcma, 8), (CodecKind::Pcmu, 0)], Some(101));
        assert!(Route::between(&ada, &ada).is_none());
        let bob = terms(&[(CodecKind::Pcmu, 0), (CodecKind::Pcma, 8)], Some(101));
        assert!(Route::between(&ada, &bob).is_none(), "another order is no other codec");
    }

    #[test]
    fn numbers_are_exchanged_where_they_differ() {
        let ada = terms(&[(OPUS, 96), (CodecKind::Pcmu, 0)], Some(101));
        let bob = terms(&[(OPUS, 111)], Some(96));
        let route = Route::between(&ada, &bob).unwrap();
        assert_eq!(route.fate(96), Fate::Pass(111));
        assert_eq!(route.fate(101), Fate::Pass(96));
        assert_eq!(route.fate(0), Fate::Convert(1), "a codec that only one has");
        assert_eq!(route.fate(111), Fate::Drop, "it would be taken for Opus");
        assert_eq!(route.fate(18), Fate::Pass(18), "nobody spoke of it");
        let back = Route::between(&bob, &ada).unwrap();
        assert_eq!((back.fate(111), back.fate(96)), (Fate::Pass(96), Fate::Pass(101)));
        assert!(!back.converts());
    }

    #[test]
    fn a_codec_of_one_side_is_converted_with_all_that_belongs_to_it() {
        let mut ada = terms(&[(CodecKind::G722, 9)], Some(101));
        ada.comfort_noise = Some(13);
        let bob = terms(&[(OPUS, 111)], Some(110));
        let route = Route::between(&ada, &bob).unwrap();
        assert_eq!(route.fate(9), Fate::Convert(0));
        assert_eq!((route.fate(13), route.fate(101)), (Fate::Noise, Fate::Event));
        assert!(route.converts());
        assert_eq!(rate_between(&ada, &OPUS), Rate::Wide);
        assert_eq!(rate_between(&bob, &CodecKind::G722), Rate::Wide);
        assert_eq!(rate_between(&ada, &CodecKind::Pcmu), Rate::Narrow);
    }

    #[test]
    fn digits_become_tones_for_whom_has_no_events() {
        let ada = terms(&[(CodecKind::Pcma, 8)], Some(101));
        let bob = terms(&[(CodecKind::Pcma, 8)], None);
        assert_eq!(Route::between(&ada, &bob).unwrap().fate(101), Fate::Tone);
    }

    #[test]
    fn what_we_do_not_know_passes_between_those_who_do_and_to_nobody_else() {
        let other = || CodecKind::Other { map: "ilbc/8000 mode=30".into() };
        let ada = terms(&[(other(), 97)], None);
        let bob = terms(&[(other(), 102)], None);
        let eve = terms(&[(CodecKind::Pcmu, 0)], None);
        assert_eq!(Route::between(&ada, &bob).unwrap().fate(97), Fate::Pass(102));
        assert_eq!(Route::between(&ada, &eve).unwrap().fate(97), Fate::Drop);
        assert_eq!(Route::between(&eve, &ada).unwrap().fate(0), Fate::Drop);
    }
}
