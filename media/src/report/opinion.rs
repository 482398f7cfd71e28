//! How content a listener would be, in one number from 1 to 4.5, guessed from what the network did.
//!
//! The E-model, ITU-T G.107 with G.113's figures, as far as a relay can know its inputs: the codec, how
//! much was lost and made up, and the delay that was measured. Rooms, phones and ears are the
//! recommendation's defaults.

use std::time::Duration;

use pbx::media::CodecKind;

/// Fewer packets are no basis: two seconds of the usual ones.
const LEAST_PACKETS: u64 = 100;
/// All defaults, no impairment (G.107 §7.7).
const UNIMPAIRED: f64 = 93.2;

/// What an opinion is made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) codec: Option<&'a CodecKind>,
    pub(crate) received: u64,
    pub(crate) lost: u64,
    pub(crate) jitter: Option<Duration>,
    /// There and back, if anybody measured it; a way whose delay is unknown is not charged for it.
    pub(crate) round_trip: Option<Duration>,
}

/// `None` if there is too little to make it from, or the codec is none of ours.
pub(crate) fn of(facts: &Facts<'_>) -> Option<f32> {
    let robustness = robustness(facts.codec?)?;
    let jitter = facts.jitter.filter(|_| facts.received >= LEAST_PACKETS)?;
    let lost = 100.0 * facts.lost as f64 / (facts.received + facts.lost) as f64;
    let equipment = 95.0 * lost / (lost + robustness);
    // A phone waits for its late packets: about twice as long as they vary, and a packet's length.
    let buffered = jitter.as_secs_f64() * 2_000.0 + 20.0;
    let way = facts.round_trip.map_or(0.0, |trip| trip.as_secs_f64() * 500.0);
    let delay = buffered + way;
    let delayed = 0.024 * delay + 0.11 * (delay - 177.3).max(0.0);
    Some(opinion(UNIMPAIRED - equipment - delayed) as f32)
}

/// How well a codec bears loss (G.113 appendix I; with concealment).
fn robustness(codec: &CodecKind) -> Option<f64> {
    match codec {
        CodecKind::Pcmu | CodecKind::Pcma => Some(25.1),
        CodecKind::G722 => Some(20.0),
        CodecKind::Opus { .. } => Some(25.0),
        CodecKind::Other { .. } => None,
    }
}

/// G.107 annex B.
fn opinion(rating: f64) -> f64 {
    match rating {
        ..0.0 => 1.0,
        100.0.. => 4.5,
        r => (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).max(1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(lost: u64) -> Facts<'static> {
        Facts {
            codec: Some(&CodecKind::Pcma),
            received: 1_000 - lost,
            lost,
            jitter: Some(Duration::from_millis(2)),
            round_trip: Some(Duration::from_millis(40)),
        }
    }

    #[test]
    fn a_clean_line_is_good_and_loss_and_delay_make_it_worse() {
        let clean = of(&facts(0)).unwrap();
        assert!((4.3..4.45).contains(&clean), "{clean}");
        let lossy = of(&facts(50)).unwrap();
        assert!((3.2..3.9).contains(&lossy), "5 % lost: {lossy}");
        let broken = of(&facts(300)).unwrap();
        assert!((1.0..2.2).contains(&broken), "30 % lost: {broken}");
        let far = Facts { round_trip: Some(Duration::from_millis(800)), ..facts(0) };
        let far = of(&far).unwrap();
        assert!(far < clean - 0.5, "{far} at 400 ms");
    }

    #[test]
    fn there_is_no_opinion_without_a_basis() {
        assert_eq!(of(&Facts { codec: None, ..facts(0) }), None);
        assert_eq!(of(&Facts { jitter: None, ..facts(0) }), None);
        assert_eq!(of(&Facts { received: 99, ..facts(0) }), None);
        let other = CodecKind::Other { map: "gsm/8000".into() };
        assert_eq!(of(&Facts { codec: Some(&other), ..facts(0) }), None);
    }
}
