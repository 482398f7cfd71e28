//! What a switch tells the database: each record is journaled before the outputs that follow it.

use serde::{Deserialize, Serialize};

use crate::flow::Path;
use crate::id::{BindingId, CallId, RecordId, TenantId, UserId};
use crate::media::Heard;
use crate::moment::Moment;
use crate::story;

/// One thing to remember.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its own id: replaying a record twice changes nothing.
    pub id: RecordId,
    /// Whose it is.
    pub tenant: TenantId,
    /// When it was decided.
    pub at: Moment,
    /// What to remember.
    pub what: Memory,
    /// Whether the switch waits for [`crate::input::Input::Kept`].
    pub wait: Wait,
}

/// Whether somebody waits until a record is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wait {
    /// An answer is held back until the commit.
    ForCommit,
    /// The journal is enough.
    No,
}

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Memory {
    /// A binding was added, moved, or refreshed past its horizon.
    Bound(Box<Binding>),
    /// A binding was removed.
    Unbound(BindingId),
    /// A live call's facts, replacing earlier ones ([`postcard`] of `call::Facts`).
    Live {
        /// Which call.
        call: CallId,
        /// Under 12 KiB.
        facts: Vec<u8>,
    },
    /// A call ended: its facts go, its record stays.
    Ended(Box<CallRecord>),
}

/// A registration as it is stored (RFC 3261 §10, RFC 5626 §6).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Binding {
    /// Its id; stays when it is refreshed or moved.
    pub id: BindingId,
    /// Whose phone.
    pub user: UserId,
    /// The Contact URI, parameters included, as it came.
    pub contact: String,
    /// `+sip.instance`, without quotes.
    pub instance: Option<String>,
    /// `reg-id`.
    pub reg_id: Option<u32>,
    /// Call-ID of the REGISTER.
    pub call_id: String,
    /// CSeq of the REGISTER.
    pub cseq: u32,
    /// Preference in thousandths.
    pub q: u16,
    /// The way back: where the REGISTER came from and which of our addresses it reached.
    pub path: Path,
    /// Path header values (RFC 3327), first one first.
    pub route: Vec<String>,
    /// What the phone calls itself.
    pub user_agent: String,
    /// When it ends.
    pub expires_at: Moment,
    /// Until when it is worth trying after a crash: expiry and 15 minutes.
    pub horizon: Moment,
    /// What shows that a router rewrites the phone's messages (SIP ALG), in a word or more.
    pub alg: Option<Box<str>>,
}

/// How a call went, for as long as the tenant keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallRecord {
    /// Its id.
    pub call: CallId,
    /// The calling extension, if it was one of the tenant's.
    pub caller_user: Option<UserId>,
    /// The calling number.
    pub caller: String,
    /// The caller's name, if any.
    pub caller_name: String,
    /// What was dialled.
    pub dialled: String,
    /// When the INVITE came.
    pub began_at: Moment,
    /// When the first ringing was passed on.
    pub rang_at: Option<Moment>,
    /// When somebody answered.
    pub answered_at: Option<Moment>,
    /// When it was over.
    pub ended_at: Moment,
    /// Why it was over.
    pub ending: Ending,
    /// The final response to the caller, or 200 if it was answered.
    pub status: u16,
    /// Each phone that took part; the caller's first.
    pub legs: Vec<LegRecord>,
    /// Each decision, oldest first, 200 at most.
    pub story: Vec<story::Told>,
}

/// One phone's part in a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LegRecord {
    /// The extension it belongs to, if any.
    pub user: Option<UserId>,
    /// That extension's number, or the public number.
    pub number: String,
    /// What the phone calls itself, or its address.
    pub device: String,
    /// When it was called, or called us.
    pub began_at: Moment,
    /// When it began to ring.
    pub rang_at: Option<Moment>,
    /// When it answered.
    pub answered_at: Option<Moment>,
    /// When its part was over.
    pub ended_at: Moment,
    /// Its final response; `None` if it never gave one.
    pub status: Option<u16>,
    /// What was heard from it; `None` if no sound was ever open for it.
    pub heard: Option<Heard>,
}

/// Why a call was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// The caller hung up.
    CallerHungUp,
    /// Who answered hung up.
    CalleeHungUp,
    /// The caller gave up before anybody answered.
    Cancelled,
    /// Everybody who was called is busy.
    Busy,
    /// Somebody declined.
    Declined,
    /// Nobody answered in time.
    NoAnswer,
    /// No phone is registered, or none could be reached.
    Unreachable,
    /// There is no such number.
    NobodyThere,
    /// The caller may not do this.
    Forbidden,
    /// A call limit is reached.
    LimitReached,
    /// The longest allowed duration was reached.
    TooLong,
    /// What the two sides can send does not match, or the offer was not understood.
    NoCommonMedia,
    /// The phone vanished: it acknowledged or answered nothing.
    Vanished,
    /// The server was stopped or had no resources.
    ServerStopped,
    /// No port, no room, or another failure of ours.
    ServerFailed,
    /// The sound's encryption is not what was asked for.
    NotEncrypted,
    /// An announcement was heard to its end.
    Announced,
}
