//! A caller who is answered by us, and not by another phone: it hears an announcement, or is in a
//! conference (`visit`).
//!
//! RFC 3261 §13.3.1, RFC 3264 §6: the call is answered as soon as its sound has a port, and hung up
//! when everything was said.

use serde::{Deserialize, Serialize};

use super::desk::{Desk, SDP, finish};
use super::leg::{Agreed, State};
use super::pick_up::{ELSEWHERE, read_description};
use super::verdict::Verdict;
use super::within::{Within, refuse};
use super::{Call, Phase};
use crate::id::AnnouncementId;
use crate::media::{CallTone, Clip, Often, PlayEnd, PlayId, Signal};
use crate::record::Ending;
use crate::sip::message::Message;
use crate::sip::method::{ALLOW, Method};
use crate::sip::name::Name;
use crate::sip::sdp::Description;
use crate::story::Event;

/// Who of ours speaks with the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attendant {
    /// What is said.
    announcement: AnnouncementId,
    /// How far that is; after a restart it is said again.
    #[serde(skip)]
    speech: Speech,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Speech {
    /// Nothing was said yet.
    #[default]
    Silent,
    /// The announcement.
    Announces(PlayId),
    /// It could not be had: the caller hears that it cannot be done now.
    Regrets(PlayId),
}

impl Call {
    /// The caller dialled an announcement.
    pub(super) fn announce_to(&mut self, desk: &mut Desk<'_>, announcement: AnnouncementId) {
        let Some(said) = desk.tenant.announcements.get(&announcement) else { return };
        let (number, sound) = (said.number.clone(), said.sound.clone());
        self.tell(desk, Event::DialledAnnouncement { number, sound });
        self.attendant = Some(Attendant { announcement, speech: Speech::Silent });
    }

    /// Answers the caller ourselves, now that its sound has a port.
    pub(super) fn attend(&mut self, desk: &mut Desk<'_>) {
        let State::Asking { server, invite } = &self.legs[0].state else { return };
        let (server, invite) = (*server, invite.clone());
        let body = self.own_description(desk);
        let agreed = self.offer.is_none() || self.legs[0].voice.pact.terms.is_some();
        let Some(body) = body.filter(|_| agreed) else {
            let ending = Ending::NoCommonMedia;
            return self.refuse(desk, Verdict { status: 488, ending, q850: 88 });
        };
        let caller = &mut self.legs[0];
        let draft = desk
            .office
            .reply(&caller.flow, &invite, 200)
            .to_tag(&caller.dialog.local_tag)
            .record_route(&invite)
            .header(Name::Contact, desk.office.contact(&caller.flow, &self.ledger.dialled))
            .header(Name::Allow, ALLOW)
            .header(Name::Supported, "timer");
        let draft = caller.timer.answer(desk.now, &invite, draft);
        let answer = finish(draft, Some((SDP, body.as_bytes())));
        caller.state = State::Answering { server, invite, answer };
        caller.marks.answered_at = Some(desk.now);
        caller.marks.status = Some(200);
        self.ledger.answered_at = Some(desk.now);
        self.ledger.answered_by = self.visited().unwrap_or_else(|| self.ledger.dialled.clone());
        let ends_at = self.longest(desk, 0).map(|longest| desk.now + longest);
        self.phase = Phase::Attended { ends_at };
        self.legs[0].aim(desk, self.id);
        self.cancel_others(desk, None, Some(ELSEWHERE));
        self.leave_limits(desk, 0);
        self.release_answer(desk);
        let has_offered = self.offer.take().is_some();
        if self.visit.is_none() {
            self.handle_talk(desk);
        }
        if has_offered {
            self.speak(desk);
        }
        self.handle_seated(desk);
        self.show(desk);
    }

    /// What the caller is told of our sound: an answer, or an offer if it made none.
    fn own_description(&mut self, desk: &mut Desk<'_>) -> Option<String> {
        let ours = Description::ours();
        match self.offer.take() {
            Some(offer) => {
                let answered = self.answer(desk, 0, &offer, &ours);
                self.offer = Some(offer);
                answered?.ok()
            }
            None => self.legs[0].offer_sound(desk, &ours),
        }
    }

    /// Says what there is to say, if nothing was said yet and nothing else comes first.
    pub(super) fn speak(&mut self, desk: &mut Desk<'_>) {
        if self.has_notices() {
            return;
        }
        let Some(Attendant { announcement, speech: Speech::Silent }) = self.attendant else {
            return;
        };
        let said = desk.tenant.announcements.get(&announcement);
        let sound = said.and_then(|said| desk.tenant.sound(&said.sound));
        let speech = match sound {
            Some(sound) => Speech::Announces(self.play(desk, 0, Clip::Sound(sound), Often::Once)),
            None => self.regret(desk),
        };
        self.attendant = Some(Attendant { announcement, speech });
    }

    fn regret(&mut self, desk: &mut Desk<'_>) -> Speech {
        self.miss_sound(desk, 0);
        let tone = CallTone { signal: Signal::Congestion, country: desk.tenant.country };
        Speech::Regrets(self.play(desk, 0, Clip::Tone(tone), Often::Once))
    }

    /// What was played is over: if it was the announcement, so is the call.
    pub(super) fn handle_announced(&mut self, desk: &mut Desk<'_>, play: PlayId, end: PlayEnd) {
        let (Phase::Attended { .. }, Some(attendant)) = (self.phase, self.attendant) else {
            return;
        };
        match (attendant.speech, end) {
            (Speech::Announces(said), PlayEnd::Ended) if said == play => {
                self.end(desk, Ending::Announced);
            }
            (Speech::Announces(said), PlayEnd::Missing) if said == play => {
                let speech = self.regret(desk);
                self.attendant = Some(Attendant { speech, ..attendant });
            }
            (Speech::Regrets(said), _) if said == play => self.end(desk, Ending::ServerFailed),
            (Speech::Announces(_) | Speech::Regrets(_) | Speech::Silent, _) => {}
        }
    }

    /// The caller acknowledges our answer, or answers our offer by it.
    pub(super) fn handle_own_ack(&mut self, desk: &mut Desk<'_>, ack: &Message) {
        if self.visited().is_some() {
            return self.hear_visitor(desk, ack);
        }
        let waits = self.legs[0].voice.pact.terms.is_none();
        let answer = match read_description(ack) {
            Ok(Some(answer)) if self.take_answer(desk, 0, &answer).is_ok() => answer,
            Ok(None) if !waits => return,
            Ok(_) | Err(_) => return self.end(desk, Ending::NoCommonMedia),
        };
        self.take_direction(desk, 0, &answer);
        self.legs[0].aim(desk, self.id);
        self.legs[0].early.agreed = Agreed::No;
        self.say_notices(desk);
        self.speak(desk);
        self.keep_facts(desk);
    }

    /// The caller changes its sound, or only shows that it is there.
    pub(super) fn answer_alone(&mut self, desk: &mut Desk<'_>, asked: &Within) {
        let offer = match read_description(&asked.request) {
            Ok(offer) => offer,
            Err(status) => return refuse(desk, asked, status),
        };
        if self.legs[0].dialog.move_target(&asked.request).is_err() {
            return refuse(desk, asked, 400);
        }
        let ours = Description::ours();
        let body = match &offer {
            Some(offer) => match self.answer(desk, 0, offer, &ours) {
                Some(Ok(body)) => body,
                Some(Err(_)) | None => return refuse(desk, asked, 488),
            },
            None if asked.request.method() == Method::Invite => self.legs[0].said_again(),
            None => return refuse(desk, asked, 488),
        };
        if let Some(offer) = &offer {
            self.take_direction(desk, 0, offer);
            self.legs[0].aim(desk, self.id);
            self.mix(desk);
        }
        let bytes = self.accept(desk, 0, asked, &body);
        self.keep_facts(desk);
        desk.respond(asked.server, 200, bytes);
        self.show(desk);
    }
}
