//! How a call sounded, for each phone and each way, in words and figures that anybody can compare.
//!
//! RFC 3550 §6.4 (loss, jitter, round trip), ITU-T G.107 annex B (what an opinion means to people).
//! What nobody measured is left empty.

use pbx::media::Heard;
use pbx::record::LegRecord;

use crate::catalogue::Language;

/// One way of one phone's sound.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Way {
    /// Which phone's, and which way.
    pub(crate) name: String,
    /// How many packets came.
    pub(crate) packets: String,
    /// How many did not.
    pub(crate) lost: String,
    /// By how much their distance varied.
    pub(crate) jitter: String,
    /// How long a packet is on its way to the phone and back.
    pub(crate) round_trip: String,
    /// How content somebody would be who hears it.
    pub(crate) opinion: String,
}

/// All ways of a call of which something is known.
pub(crate) fn ways(language: Language, legs: &[LegRecord]) -> Vec<Way> {
    let heard = legs.iter().filter_map(|leg| Some((leg, leg.heard.as_ref()?)));
    heard
        .flat_map(|(leg, heard)| [from(language, leg, heard), to(language, leg, heard)])
        .flatten()
        .collect()
}

/// From a phone to us.
fn from(t: Language, leg: &LegRecord, heard: &Heard) -> Option<Way> {
    (heard.packets > 0).then(|| Way {
        name: name(t, "quality.from", leg),
        packets: heard.packets.to_string(),
        lost: heard.lost.map_or_else(String::new, |lost| share(t, lost, heard.packets + lost)),
        jitter: heard.jitter_ms.map_or_else(String::new, |ms| milliseconds(t, ms)),
        round_trip: String::new(),
        opinion: heard.opinion.map_or_else(String::new, |opinion| {
            let figure = decimal(t, opinion);
            t.fill("quality.words", &[("word", t.get(word(opinion))), ("opinion", &figure)])
        }),
    })
}

/// From us to a phone, as far as the phone has told.
fn to(t: Language, leg: &LegRecord, heard: &Heard) -> Option<Way> {
    (heard.reported_lost.is_some() || heard.round_trip_ms.is_some()).then(|| Way {
        name: name(t, "quality.to", leg),
        packets: String::new(),
        lost: heard.reported_lost.map_or_else(String::new, |lost| match lost {
            0 => t.get("quality.none").to_owned(),
            lost => lost.to_string(),
        }),
        jitter: String::new(),
        round_trip: heard.round_trip_ms.map_or_else(String::new, |ms| milliseconds(t, ms)),
        opinion: String::new(),
    })
}

fn name(t: Language, key: &str, leg: &LegRecord) -> String {
    t.fill(key, &[("number", &leg.number), ("device", &leg.device)])
}

fn share(t: Language, lost: u64, of: u64) -> String {
    if lost == 0 {
        return t.get("quality.none").to_owned();
    }
    let share = decimal(t, lost as f32 * 100.0 / of as f32);
    t.fill("quality.some", &[("lost", &lost.to_string()), ("share", &share)])
}

fn milliseconds(t: Language, ms: f32) -> String {
    let figure = if ms < 9.95 { decimal(t, ms) } else { format!("{ms:.0}") };
    t.fill("quality.ms", &[("ms", &figure)])
}

/// With one digit behind the point, or the comma.
fn decimal(language: Language, number: f32) -> String {
    let text = format!("{number:.1}");
    match language {
        Language::English => text,
        Language::German => text.replace('.', ","),
    }
}

/// From "very satisfied" to "nearly all are dissatisfied" (G.107 annex B, table B.1).
fn word(opinion: f32) -> &'static str {
    match opinion {
        4.3.. => "quality.very_good",
        4.0.. => "quality.good",
        3.6.. => "quality.fair",
        3.1.. => "quality.poor",
        _ => "quality.bad",
    }
}

#[cfg(test)]
mod tests {
    use pbx::moment::Moment;

    use super::*;

    fn leg(heard: Option<Heard>) -> LegRecord {
        LegRecord {
            user: None,
            number: "101".to_owned(),
            device: "desk".to_owned(),
            began_at: Moment::from_secs(1),
            rang_at: None,
            answered_at: None,
            ended_at: Moment::from_secs(2),
            status: Some(200),
            heard,
        }
    }

    fn cells(way: &Way) -> [&str; 6] {
        let Way { name, packets, lost, jitter, round_trip, opinion } = way;
        [name, packets, lost, jitter, round_trip, opinion]
    }

    #[test]
    fn both_ways_of_a_phone_are_told_in_both_languages() {
        let heard = Heard {
            packets: 990,
            lost: Some(10),
            jitter_ms: Some(2.34),
            round_trip_ms: Some(41.6),
            reported_lost: Some(0),
            opinion: Some(4.12),
            ..Heard::default()
        };
        let legs = [leg(Some(heard))];
        let english = ways(Language::English, &legs);
        let from = ["from 101 (desk)", "990", "10 (1.0 %)", "2.3 ms", "", "good (4.1 of 4.5)"];
        assert_eq!(cells(&english[0]), from);
        assert_eq!(cells(&english[1]), ["to 101 (desk)", "", "none", "", "42 ms", ""]);
        let german = ways(Language::German, &legs);
        let von = ["von 101 (desk)", "990", "10 (1,0 %)", "2,3 ms", "", "gut (4,1 von 4,5)"];
        assert_eq!(cells(&german[0]), von);
        assert_eq!(german.len(), 2);
    }

    #[test]
    fn nothing_is_shown_of_what_was_not_heard_and_no_opinion_without_one() {
        assert_eq!(ways(Language::English, &[leg(None), leg(Some(Heard::default()))]), []);
        let heard = Heard { packets: 3, ..Heard::default() };
        let shown = ways(Language::English, &[leg(Some(heard))]);
        assert_eq!(cells(&shown[0]), ["from 101 (desk)", "3", "", "", "", ""]);
        assert_eq!(shown.len(), 1);
    }

    #[test]
    fn every_opinion_has_a_word() {
        let opinions = [4.4, 4.1, 3.7, 3.2, 2.0];
        let words = opinions.map(|opinion| Language::English.get(word(opinion)));
        assert_eq!(words, ["very good", "good", "fair", "poor", "bad"]);
    }
}
