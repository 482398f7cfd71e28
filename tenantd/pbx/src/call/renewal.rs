//! New keys for a call that outlived the process: nothing is sent under the old ones any more.
//!
//! RFC 3711 §9.1: a key with which two packets of one number are sealed hides neither. Media counts
//! packets anew after a restart, so an encrypted leg's keys of before are never used again: its phone
//! is offered others by a re-INVITE (RFC 4568 §7.1.4, RFC 8842 §5.5), and until it or an offer of its
//! own is answered, nothing passes on that leg. Who cannot be reached is asked as soon as it is found;
//! how long that may take, its session timer says.

use std::time::Duration;

use super::bridge::is_unsettled;
use super::desk::Desk;
use super::leg::{Leg, Question, State, Way};
use super::{Call, Phase};
use crate::moment::Moment;
use crate::record::Ending;
use crate::sip::sdp::Unfit;
use crate::sip::session_timer::Means;

/// Many calls come back at once; their phones are asked within so many milliseconds.
const SPREAD_MS: u64 = 3_000;
/// Who cannot be asked now is looked for again after so long.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// A phone that is busy is asked again after so long (RFC 3261 §14.1) …
const BUSY_FOR: Duration = Duration::from_millis(2_100);
/// … and up to so many milliseconds more.
const BUSY_SPREAD_MS: u64 = 1_900;
/// A phone that is busy with something else is asked so often; then the call ends.
const MOST_TRIES: u8 = 6;

/// Whether a leg needs new keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Renewal {
    /// No: its keys were agreed on in this process, or it has none.
    #[default]
    None,
    /// They are to be offered.
    Due {
        /// When.
        at: Moment,
        /// How often that was refused.
        tries: u8,
    },
    /// They are offered, or were answered without sound: whatever is agreed on next settles it.
    Asked {
        /// How often that was refused before.
        tries: u8,
    },
}

impl Leg {
    /// After a restart: an encrypted leg's keys are not used again.
    pub(super) fn forget_keys(&mut self, desk: &mut Desk<'_>) {
        if self.draw_keys(desk).is_some() {
            let after = Duration::from_millis(desk.office.chance.below(SPREAD_MS));
            self.voice.pact.renewal = Renewal::Due { at: desk.now + after, tries: 0 };
        }
    }

    /// The offer went nowhere: that is no refusal.
    pub(super) fn ask_keys_again(&mut self, now: Moment) {
        if let Renewal::Asked { tries } = self.voice.pact.renewal {
            self.voice.pact.renewal = Renewal::Due { at: now + LOOK_AGAIN_AFTER, tries };
        }
    }
}

impl Call {
    /// When a phone must next be offered new keys.
    pub(super) fn renewal_at(&self) -> Option<Moment> {
        let Phase::Talking { .. } = self.phase else { return None };
        let due = |leg: &Leg| match (&leg.state, leg.voice.pact.renewal) {
            (State::Up { .. }, Renewal::Due { at, .. }) => Some(at),
            (_, Renewal::None | Renewal::Due { .. } | Renewal::Asked { .. }) => None,
        };
        self.legs.iter().filter_map(due).min()
    }

    /// Offers new keys to whom they are due.
    pub(super) fn renew_keys(&mut self, desk: &mut Desk<'_>) {
        for index in 0..self.legs.len() {
            let leg = &self.legs[index];
            let (Phase::Talking { .. }, State::Up { .. }) = (self.phase, &leg.state) else {
                continue;
            };
            match leg.voice.pact.renewal {
                Renewal::Due { at, tries } if at <= desk.now => self.offer_keys(desk, index, tries),
                Renewal::None | Renewal::Due { .. } | Renewal::Asked { .. } => {}
            }
        }
    }

    fn offer_keys(&mut self, desk: &mut Desk<'_>, index: usize, tries: u8) {
        let busy = self.crossing.is_some() || self.legs.iter().any(is_unsettled);
        let leg = &mut self.legs[index];
        leg.find_way(desk);
        if !busy && leg.question == Question::None && leg.way == Way::Open {
            self.refresh(desk, index, Means::ReInvite);
        }
        self.legs[index].voice.pact.renewal = match self.legs[index].question {
            Question::Offered(_) => Renewal::Asked { tries },
            Question::None | Question::Asked(_) => {
                Renewal::Due { at: desk.now + LOOK_AGAIN_AFTER, tries }
            }
        };
        if let Question::Offered(_) = self.legs[index].question {
            // A second restart must number what it says higher than this (RFC 3264 §8).
            self.keep_facts(desk);
        }
    }

    /// The phone lives, and refuses new keys. Who is only busy is asked again (RFC 3261 §14.1); with
    /// anybody else there is no sound any more, and a call without sound is none.
    pub(super) fn handle_keys_refused(&mut self, desk: &mut Desk<'_>, index: usize, status: u16) {
        let Renewal::Asked { tries } = self.legs[index].voice.pact.renewal else { return };
        if !matches!(status, 491 | 500..=599) || tries + 1 >= MOST_TRIES {
            self.tell_unfit(desk, index, Unfit::Encrypted);
            return self.end(desk, Ending::NoCommonMedia);
        }
        let after = BUSY_FOR + Duration::from_millis(desk.office.chance.below(BUSY_SPREAD_MS));
        self.legs[index].voice.pact.renewal =
            Renewal::Due { at: desk.now + after, tries: tries + 1 };
    }
}
