//! "This call is recorded": what both who talk hear when a recording begins, if the company wants it so.
//!
//! It takes the place of the talk for as long as it lasts, and is said once a recording: whoever lets a
//! paused one go on hears nothing. What cannot be had is in the story, and the call goes on without it.

use serde::{Deserialize, Serialize};

use super::desk::Desk;
use super::leg::Ports;
use super::tape::Tape;
use super::{Call, Phase};
use crate::media::{Clip, Often, PlayEnd, PlayId};
use crate::story::Event;
use crate::tenant::directory::User;

/// What one phone has still to hear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Notice {
    leg: u16,
    /// The sound's name.
    sound: String,
    /// While it is heard. Cut off by a restart it is said again.
    #[serde(skip)]
    play: Option<PlayId>,
}

impl Call {
    /// What is to be heard now that this extension's rule or key begins a recording.
    pub(super) fn notices(&self, desk: &Desk<'_>, by: &User) -> Vec<Notice> {
        let sound = by.announce_recording.as_ref().or(desk.tenant.recording.announcement.as_ref());
        let Some(sound) = sound else { return Vec::new() };
        let who = [Some(0), self.other(0)].into_iter().flatten();
        let leg = |index: usize| self.legs[index].number;
        who.map(|index| Notice { leg: leg(index), sound: sound.clone(), play: None }).collect()
    }

    /// Whether somebody has still to hear that the call is recorded.
    pub(super) fn has_notices(&self) -> bool {
        self.tape.as_ref().is_some_and(|tape| !tape.notices.is_empty())
    }

    /// Says it to whoever can hear now, and has not begun to.
    pub(super) fn say_notices(&mut self, desk: &mut Desk<'_>) {
        let Some(tape) = &mut self.tape else { return };
        let mut notices = std::mem::take(&mut tape.notices);
        notices.retain_mut(|notice| self.say_notice(desk, notice));
        if let Some(tape) = &mut self.tape {
            tape.notices = notices;
        }
    }

    /// Returns whether it is still to be heard.
    fn say_notice(&mut self, desk: &mut Desk<'_>, notice: &mut Notice) -> bool {
        let Some(index) = self.index_of(notice.leg) else { return false };
        let voice = &self.legs[index].voice;
        let can_hear = voice.pact.terms.is_some() && voice.ports == Ports::Open;
        if notice.play.is_some() || !can_hear {
            return true;
        }
        match desk.tenant.sound(&notice.sound) {
            Some(sound) => {
                notice.play = Some(self.play(desk, index, Clip::Sound(sound), Often::Once));
                true
            }
            None => {
                self.miss_sound(desk, index);
                false
            }
        }
    }

    /// Something is not played any more; if it was this, the phone has heard it.
    pub(super) fn handle_noticed(
        &mut self,
        desk: &mut Desk<'_>,
        index: usize,
        (play, end): (PlayId, PlayEnd),
    ) {
        let Some(Tape { notices, .. }) = &mut self.tape else { return };
        let before = notices.len();
        notices.retain(|notice| notice.play != Some(play));
        if notices.len() == before {
            return;
        }
        match end {
            PlayEnd::Ended => {
                let number = self.legs[index].party.number.clone();
                self.tell(desk, Event::HeardOfRecording { number });
            }
            PlayEnd::Missing => self.miss_sound(desk, index),
            PlayEnd::Stopped => {}
        }
        self.keep_facts(desk);
        self.follow_notices(desk);
    }

    /// Nothing is recorded after all: nobody needs to hear on that it is.
    pub(super) fn hush_notices(&mut self, desk: &mut Desk<'_>, notices: &[Notice]) {
        for notice in notices {
            if let (Some(play), Some(index)) = (notice.play, self.index_of(notice.leg)) {
                self.hush(desk, index, play);
            }
        }
        self.follow_notices(desk);
    }

    /// What we have to say ourselves comes behind it.
    fn follow_notices(&mut self, desk: &mut Desk<'_>) {
        if let (Phase::Attended { .. }, false) = (self.phase, self.has_notices()) {
            self.speak(desk);
        }
    }

    pub(super) fn miss_sound(&mut self, desk: &mut Desk<'_>, index: usize) {
        let number = self.legs[index].party.number.clone();
        self.tell(desk, Event::SoundMissing { number });
    }
}
