//! What we play into a call: music to who is on hold, and whatever else somebody shall hear.
//!
//! RFC 3264 §8.4: a phone that holds another one offers to send only, or nothing. What is played
//! takes the place of what the other phone says, and ends when it is taken back.

use super::desk::Desk;
use super::{Call, Phase};
use crate::flow::Flow;
use crate::media::{Clip, Event as Sound, Often, PlayEnd, PlayId, Stored, Wish};
use crate::sip::sdp::Description;

impl Call {
    /// Lets a leg's phone hear a clip, until [`Sound::Played`] says why no more.
    pub(super) fn play(
        &mut self,
        desk: &mut Desk<'_>,
        index: usize,
        clip: Clip,
        how: Often,
    ) -> PlayId {
        self.plays += 1;
        let play = PlayId(self.plays);
        desk.wish(Wish::Play { side: self.legs[index].side(self.id), play, clip, how });
        play
    }

    /// Ends what is played to a leg's phone.
    pub(super) fn hush(&mut self, desk: &mut Desk<'_>, index: usize, play: PlayId) {
        desk.wish(Wish::Hush { side: self.legs[index].side(self.id), play });
    }

    /// Lets whoever is on hold hear music, and nobody else.
    pub(super) fn tune(&mut self, desk: &mut Desk<'_>) {
        let Phase::Talking { callee, .. } = self.phase else { return };
        let Some(callee) = self.index_of(callee) else { return };
        self.tune_one(desk, callee);
        self.tune_one(desk, 0);
    }

    /// Lets this one hear music if it is on hold.
    pub(super) fn tune_one(&mut self, desk: &mut Desk<'_>, held: usize) {
        let Some(holder) = self.other(held) else { return };
        let holds =
            self.legs[holder].voice.direction.holds() && !self.legs[held].voice.direction.holds();
        let can_hear = self.legs[held].voice.pact.terms.is_some();
        let music = self.music_of(desk, holder).filter(|_| holds && can_hear);
        match (music, self.legs[held].music) {
            (Some(sound), None) => {
                let play = self.play(desk, held, Clip::Music(sound), Often::Forever);
                self.legs[held].music = Some(play);
            }
            (None, Some(play)) => {
                self.hush(desk, held, play);
                self.legs[held].music = None;
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
    }

    /// The music of a phone that holds another one. Another company's plays its own.
    fn music_of(&self, desk: &Desk<'_>, holder: usize) -> Option<Stored> {
        let leg = &self.legs[holder];
        let Flow::Net(_) = leg.flow else { return None };
        let user = leg.party.user.and_then(|user| desk.tenant.users.get(&user));
        let name = user.and_then(|user| user.music.as_ref()).or(desk.tenant.music.as_ref())?;
        desk.tenant.sound(name)
    }

    /// What a phone says about its sound, as the other one shall be told it: where there is music,
    /// who holds another one without sending anything lets it hear something all the same.
    pub(super) fn with_music(
        &self,
        desk: &Desk<'_>,
        index: usize,
        offer: &Description,
    ) -> Description {
        match self.music_of(desk, index) {
            Some(_) => offer.sending(),
            None => offer.clone(),
        }
    }

    /// Something is not played any more.
    pub(super) fn handle_played(&mut self, desk: &mut Desk<'_>, index: usize, sound: &Sound) {
        let Sound::Played { play, end, .. } = sound else { return };
        if self.legs[index].music == Some(*play) {
            self.legs[index].music = None;
            if *end == PlayEnd::Missing {
                self.miss_sound(desk, index);
            }
        }
        self.handle_noticed(desk, index, (*play, *end));
        self.handle_announced(desk, *play, *end);
    }
}
