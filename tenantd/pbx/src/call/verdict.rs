//! What the caller is told when nobody answered: the kindest truth about all who were called.
//!
//! RFC 3261 §16.7 step 6 chooses among branches; we choose among people, in their words.

use crate::record::Ending;

/// How one phone's part ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It gave this final response (300 to 699).
    Refused(u16),
    /// It rang, and nobody came.
    Rang,
    /// It could not be reached: nothing came back, or no way there.
    Silent,
}

/// The final response to the caller, and why the call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The response's status code.
    pub status: u16,
    /// Why.
    pub ending: Ending,
    /// The same in the telephone network's numbers (ITU-T Q.850), for the Reason header.
    pub q850: u16,
}

const DECLINED: Verdict = Verdict { status: 603, ending: Ending::Declined, q850: 21 };
const BUSY: Verdict = Verdict { status: 486, ending: Ending::Busy, q850: 17 };
const NO_ANSWER: Verdict = Verdict { status: 480, ending: Ending::NoAnswer, q850: 19 };
const NO_MEDIA: Verdict = Verdict { status: 488, ending: Ending::NoCommonMedia, q850: 88 };
/// Nobody could be reached.
pub const UNREACHABLE: Verdict = Verdict { status: 480, ending: Ending::Unreachable, q850: 20 };

/// Weighs the fates of all phones. A declined call is declined even if another phone rang on; a
/// phone that rang outweighs one that was busy elsewhere or out of reach.
pub fn weigh(fates: &[Fate]) -> Verdict {
    let order = |fate: &Fate| match fate {
        Fate::Refused(603 | 607) => (0, DECLINED),
        Fate::Refused(486 | 600) => (1, BUSY),
        Fate::Rang => (2, NO_ANSWER),
        Fate::Refused(408 | 480 | 487) => (4, NO_ANSWER),
        Fate::Refused(415 | 488 | 606) => (3, NO_MEDIA),
        Fate::Refused(_) | Fate::Silent => (5, UNREACHABLE),
    };
    fates.iter().map(order).min_by_key(|(rank, _)| *rank).map_or(UNREACHABLE, |(_, v)| v)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_who_declined_counts_more_than_phones_that_rang() {
        assert_eq!(weigh(&[Fate::Rang, Fate::Refused(603), Fate::Silent]), DECLINED);
        assert_eq!(weigh(&[Fate::Refused(486), Fate::Silent, Fate::Refused(480)]), BUSY);
        assert_eq!(weigh(&[Fate::Rang, Fate::Refused(404)]), NO_ANSWER);
        assert_eq!(weigh(&[Fate::Refused(488), Fate::Silent]), NO_MEDIA);
    }

    #[test]
    fn nobody_there_is_unreachable() {
        assert_eq!(weigh(&[]), UNREACHABLE);
        assert_eq!(weigh(&[Fate::Silent, Fate::Refused(500)]), UNREACHABLE);
    }
}
