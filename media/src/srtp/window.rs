//! Which packets of a stream came already: what is taken twice would be heard twice.
//!
//! RFC 3711 §3.3.2 (replay), §3.3.1 and appendix A (how 16 bits become 48).

/// As many packets back as are remembered; §3.3.2 asks for 64.
const WIDTH: u64 = 128;
/// An index of sound has 48 bits.
const MOST: u64 = 1 << 48;

/// The last indices of one stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Window {
    latest: Option<u64>,
    /// The lowest bit stands for the latest, the next for the one before it.
    seen: u128,
}

impl Window {
    /// The index that a sequence number most likely stands for: the one nearest to the latest.
    /// `None` if there is none such. A stream that is unknown begins in the turn `first_turn`.
    pub(super) fn index_of(&self, sequence: u16, first_turn: u32) -> Option<u64> {
        let Some(latest) = self.latest else {
            return Some(u64::from(first_turn) << 16 | u64::from(sequence));
        };
        let ahead = sequence.wrapping_sub(latest as u16) as i16;
        latest.checked_add_signed(i64::from(ahead)).filter(|index| *index < MOST)
    }

    /// The highest index so far.
    pub(super) fn latest(&self) -> Option<u64> {
        self.latest
    }

    /// The same, with all up to the latest taken.
    pub(super) fn closed(self) -> Self {
        Self { latest: self.latest, seen: u128::MAX }
    }

    /// Whether an index was not taken yet, as far as can be said.
    pub(super) fn is_new(&self, index: u64) -> bool {
        let Some(latest) = self.latest else { return true };
        match latest.checked_sub(index) {
            None => true,
            Some(back) => back < WIDTH && self.seen >> back & 1 == 0,
        }
    }

    /// Takes an index.
    pub(super) fn take(&mut self, index: u64) {
        let Some(latest) = self.latest else {
            *self = Self { latest: Some(index), seen: 1 };
            return;
        };
        match index.checked_sub(latest) {
            Some(ahead) => {
                let kept = u32::try_from(ahead).ok().and_then(|ahead| self.seen.checked_shl(ahead));
                *self = Self { latest: Some(index), seen: kept.unwrap_or(0) | 1 };
            }
            None => {
                let back = u32::try_from(latest - index).ok();
                self.seen |= back.and_then(|back| 1_u128.checked_shl(back)).unwrap_or(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_each_index_once_and_none_that_is_too_old() {
        let mut window = Window::default();
        for index in [500, 502, 501, 600, 473, 474] {
            assert!(window.is_new(index), "{index}");
            window.take(index);
            assert!(!window.is_new(index), "{index} again");
        }
        assert!(!window.is_new(472), "older than is remembered");
        assert!(window.is_new(475) && window.is_new(503) && window.is_new(601));
        window.take(10_000);
        assert!(!window.is_new(9_000) && window.is_new(9_999));
    }

    #[test]
    fn follows_the_turn_of_the_sequence_through_loss_and_disorder() {
        let mut window = Window::default();
        assert_eq!(window.index_of(65_530, 0), Some(65_530));
        assert_eq!(window.index_of(65_530, 3), Some((3 << 16) + 65_530));
        window.take(65_530);
        assert_eq!(window.index_of(20, 0), Some(65_536 + 20), "all between were lost");
        window.take(65_536 + 20);
        assert_eq!(window.index_of(65_535, 0), Some(65_535), "a late one");
        assert_eq!(window.index_of(21, 9), Some(65_536 + 21), "its turn is known");
    }

    #[test]
    fn there_is_nothing_before_the_first_turn_and_after_the_last() {
        let mut window = Window::default();
        window.take(3);
        assert_eq!(window.index_of(65_535, 0), None);
        window.take(MOST - 1);
        assert_eq!(window.index_of(0, 0), None);
    }
}
