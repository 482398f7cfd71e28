//! One phone's side of a call: its dialog, its sound, and how far it is.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::desk::{Desk, SDP, SoundAddress, finish};
use super::pact::Pact;
use super::verdict::Fate;
use super::{Owner, Task};
use crate::chance::Chance;
use crate::flow::Flow;
use crate::id::{BindingId, CallId, UserId};
use crate::media::{Heard, PlayId, Side, Wish};
use crate::moment::Moment;
use crate::record::LegRecord;
use crate::sip::answer::Unacknowledged2xx;
use crate::sip::dialog::Dialog;
use crate::sip::message::Message;
use crate::sip::method::{ALLOW, Method};
use crate::sip::name::Name;
use crate::sip::reliable::{Announcements, Sequence};
use crate::sip::sdp::{Description, Direction, Seed, Sound};
use crate::sip::session_timer::SessionTimer;
use crate::sip::transaction::ServerId;

/// One phone's side of a call.
#[derive(Debug)]
pub struct Leg {
    /// Which leg: the caller's is 0.
    pub number: u16,
    /// Whose phone.
    pub party: Party,
    /// The way there.
    pub flow: Flow,
    /// Its dialog, as far as it is known.
    pub dialog: Dialog,
    /// Its sound.
    pub voice: Voice,
    /// How far it is.
    pub state: State,
    /// When what happened.
    pub marks: Marks,
    /// When it is asked whether it is still there.
    pub timer: SessionTimer,
    /// What we ask it ourselves just now.
    pub question: Question,
    /// Whether its way is still open.
    pub way: Way,
    /// What was said before the answer.
    pub early: Early,
    /// The music that its phone hears while it is on hold.
    pub music: Option<PlayId>,
}

/// What was said on a leg before the answer.
#[derive(Debug, Default)]
pub struct Early {
    /// Which of a called phone's reliable provisional responses were heard.
    pub sequence: Sequence,
    /// Which of ours a caller has still to confirm.
    pub announcements: Announcements,
    /// What a called phone last said about its sound.
    pub description: Option<Box<Description>>,
    /// Whether offer and answer have met already.
    pub agreed: Agreed,
}

/// Whether offer and answer have met before the call was answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Agreed {
    /// Not in a way that both sides can be sure of.
    #[default]
    No,
    /// Both know: either may now change the sound by UPDATE (RFC 3311 §5.1).
    Reliably,
}

/// Whose phone it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// The extension, if it is one of the tenant's.
    pub user: Option<UserId>,
    /// Its number.
    pub number: String,
    /// What the phone calls itself, or its address.
    pub device: String,
    /// Its registration, if it has one: where it is found when its connection is gone.
    pub binding: Option<BindingId>,
}

/// A request of ours within a dialog that no other phone asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// None.
    None,
    /// Nothing but whether it is there; its transaction.
    Asked(u64),
    /// With the description that stands; its transaction.
    Offered(u64),
}

/// Whether messages to a phone still find their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// As far as we know.
    Open,
    /// Its connection is gone: it will be found by its registration, or come back by itself.
    Gone,
}

/// How far a leg is.
#[derive(Debug)]
pub enum State {
    /// The caller: its INVITE waits for our final response.
    Asking {
        /// Its transaction.
        server: ServerId,
        /// The INVITE.
        invite: Message,
    },
    /// The caller: our 2xx waits until it has confirmed what it was told before (RFC 3262 §3).
    Answering {
        /// Its transaction.
        server: ServerId,
        /// The INVITE.
        invite: Message,
        /// The 2xx.
        answer: Bytes,
    },
    /// A called phone: waits for its port before it is invited.
    Opening,
    /// A called phone: our INVITE waits for its final response.
    Invited {
        /// Our transaction.
        branch: u64,
        /// What it answered so far.
        heard: Provisional,
        /// Whether it still may answer.
        wanted: Wanted,
    },
    /// The dialog stands.
    Up {
        /// Our 2xx, until its ACK comes.
        unacked: Option<Unacknowledged2xx>,
        /// The ACK that we owe while the other side's answer is awaited, or the one we sent last.
        ack: Ack,
    },
    /// The caller: it is hung up as soon as its ACK for our 2xx comes (RFC 3261 §15).
    Leaving {
        /// Our 2xx, until its ACK comes.
        unacked: Unacknowledged2xx,
    },
    /// It takes no part any more.
    Gone(Fate),
}

/// What a called phone answered before its final response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provisional {
    /// Nothing at all, or only 100.
    Nothing,
    /// It rings.
    Ringing,
}

/// Whether a called phone still may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Its answer wins.
    Yes,
    /// It was cancelled: an answer that crosses is hung up.
    No,
}

/// The ACK to a called phone's last 2xx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ack {
    /// No INVITE of ours was answered yet.
    None,
    /// It carries an answer that the other side still owes; the INVITE's number.
    Owed(u32),
    /// It was sent, and is sent again whenever the 2xx comes again.
    Sent(Bytes),
}

/// One leg's sound and what was said about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Voice {
    /// Our RTP port for it.
    pub port: Option<u16>,
    /// Its seat in a conference, whose session is not the call's own.
    pub seat: Option<Side>,
    /// What its descriptions are numbered with.
    pub session: u64,
    /// The version of the last description we wrote for it.
    pub version: u64,
    /// What was said about it, and what holds.
    pub pact: Pact,
    /// Where it receives, as it last said.
    pub aim: Option<std::net::SocketAddr>,
    /// Where it receives RTCP, as it last said.
    pub aim_rtcp: Option<std::net::SocketAddr>,
    /// Which way sound flows, as it last said.
    pub direction: Direction,
    /// What was heard from it, once its sound is closed.
    pub heard: Option<Heard>,
    /// Whether its ports are open.
    pub ports: Ports,
}

/// Whether a leg's ports are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ports {
    /// Never asked for.
    None,
    /// Asked for, or open.
    Open,
    /// Closing: the measurements are on their way.
    Closing,
    /// Closed.
    Closed,
}

/// When what happened on a leg.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// When it called us, or was called.
    pub began_at: Moment,
    /// When it began to ring.
    pub rang_at: Option<Moment>,
    /// When it answered.
    pub answered_at: Option<Moment>,
    /// When its part was over.
    pub ended_at: Option<Moment>,
    /// Its final response.
    pub status: Option<u16>,
}

impl Marks {
    /// It begins now.
    pub fn begin(now: Moment) -> Self {
        Self { began_at: now, rang_at: None, answered_at: None, ended_at: None, status: None }
    }
}

impl Voice {
    /// No sound yet.
    pub fn new(chance: &mut Chance) -> Self {
        let session = chance.number();
        Self {
            port: None,
            seat: None,
            session: session >> 2, // some phones read it as a signed number
            version: 0,
            pact: Pact::new(Seed::draw(chance)),
            aim: None,
            aim_rtcp: None,
            direction: Direction::SendRecv,
            heard: None,
            ports: Ports::None,
        }
    }

    /// What its phone last said about its sound.
    pub fn take(&mut self, sound: &Sound) {
        (self.aim, self.aim_rtcp, self.direction) = (sound.rtp, sound.rtcp, sound.direction);
    }
}

impl Leg {
    /// Its end of the call's sound, or of a conference's.
    pub fn side(&self, call: CallId) -> Side {
        self.voice.seat.unwrap_or(Side { call, leg: self.number })
    }

    /// Asks for its ports.
    pub fn open_sound(&mut self, desk: &mut Desk<'_>, call: CallId) {
        self.voice.ports = Ports::Open;
        let local = self.sound_address(desk).bound;
        desk.wish(Wish::Open { side: self.side(call), local, port: self.voice.port });
    }

    pub(super) fn sound_address(&self, desk: &Desk<'_>) -> SoundAddress {
        let office = &desk.office;
        office.sound(&self.flow).for_sound_at(self.voice.aim, &office.media)
    }

    /// Lets its ports go.
    pub fn close_sound(&mut self, desk: &mut Desk<'_>, call: CallId) {
        if self.voice.ports == Ports::Open {
            self.voice.ports = Ports::Closing;
            desk.wish(Wish::Close { side: self.side(call) });
        }
    }

    /// Points its sound where its phone said.
    pub fn aim(&self, desk: &mut Desk<'_>, call: CallId) {
        let (rtp, rtcp) = (self.voice.aim, self.voice.aim_rtcp);
        let near = self.flow.peer().map(|peer| peer.ip());
        desk.wish(Wish::Aim { side: self.side(call), rtp, rtcp, near });
    }

    /// Whether that transaction is the question that we ask just now.
    pub fn is_asked(&self, branch: u64) -> bool {
        match self.question {
            Question::None => false,
            Question::Asked(asked) | Question::Offered(asked) => asked == branch,
        }
    }

    /// Sends a request in its dialog.
    pub fn request(
        &mut self,
        desk: &mut Desk<'_>,
        task: Task,
        call: u64,
        body: Option<(&str, &[u8])>,
    ) -> Option<u64> {
        self.find_way(desk);
        let (branch, text) = desk.branch();
        let via = desk.office.via(&self.flow, &text);
        let method = task.method();
        let mut draft = self.dialog.request(method, &via);
        if matches!(method, Method::Invite | Method::Update) {
            let contact = desk.office.contact(&self.flow, &self.party.number);
            draft = draft
                .header(Name::Contact, contact)
                .header(Name::Allow, ALLOW)
                .header(Name::Supported, "timer");
            draft = self.timer.ask(draft);
        }
        let tenant = desk.tenant.tenant;
        let owner = Owner { tenant, call, leg: self.number, task, branch };
        // With no room for another transaction the phone is left to its own timers.
        let sent = desk.request(self.flow, method, finish(draft, body), owner);
        sent.map(|()| branch).ok()
    }

    /// Acknowledges its 2xx to our INVITE number `cseq`, with our answer if its 2xx held an offer.
    pub fn acknowledge(&mut self, desk: &mut Desk<'_>, cseq: u32, answer: Option<&str>) {
        self.find_way(desk);
        let (_, text) = desk.branch();
        let draft = self.dialog.ack(cseq, &desk.office.via(&self.flow, &text));
        let bytes = finish(draft, answer.map(|answer| (SDP, answer.as_bytes())));
        desk.send(self.flow, bytes.clone());
        if let State::Up { ack, .. } = &mut self.state {
            *ack = Ack::Sent(bytes);
        }
    }

    /// A phone whose connection broke is reached where it has registered since.
    pub fn find_way(&mut self, desk: &Desk<'_>) {
        let (Way::Gone, Some(user), Some(id)) = (self.way, self.party.user, self.party.binding)
        else {
            return;
        };
        let registered = desk.registrar.find(user, id);
        if let Some(registered) = registered.filter(|found| found.is_reachable(desk.now)) {
            self.flow = Flow::Net(registered.binding.path);
            self.way = Way::Open;
        }
    }

    /// Hangs up, once it is allowed to (RFC 3261 §15: not before the ACK to our 2xx).
    pub fn part(&mut self, desk: &mut Desk<'_>, call: u64) {
        match &self.state {
            State::Up { unacked: Some(unacked), .. } => {
                self.state = State::Leaving { unacked: unacked.clone() };
            }
            State::Up { unacked: None, .. } => self.bye(desk, call),
            State::Asking { .. }
            | State::Answering { .. }
            | State::Opening
            | State::Invited { .. }
            | State::Leaving { .. }
            | State::Gone(_) => {}
        }
    }

    /// Hangs up its dialog.
    pub fn bye(&mut self, desk: &mut Desk<'_>, call: u64) {
        if let State::Up { ack: Ack::Owed(cseq), .. } = self.state {
            self.acknowledge(desk, cseq, None);
        }
        let _no_room = self.request(desk, Task::Bye, call, None);
        self.leave(desk.now, Fate::Rang);
    }

    /// It takes no part any more.
    pub fn leave(&mut self, now: Moment, fate: Fate) {
        self.state = State::Gone(fate);
        self.marks.ended_at.get_or_insert(now);
    }

    /// Whether it takes no part any more.
    pub fn is_gone(&self) -> bool {
        matches!(self.state, State::Gone(_))
    }

    /// Its part, for the call's record.
    pub fn record(&self, now: Moment) -> LegRecord {
        LegRecord {
            user: self.party.user,
            number: self.party.number.clone(),
            device: self.party.device.clone(),
            began_at: self.marks.began_at,
            rang_at: self.marks.rang_at,
            answered_at: self.marks.answered_at,
            ended_at: self.marks.ended_at.unwrap_or(now),
            status: self.marks.status,
            heard: self.voice.heard,
        }
    }
}
