//! A simulated phone's only call: its names, and what it waits for.
//!
//! RFC 3261 §12 from the phone's side.

use std::collections::BTreeMap;

use bytes::Bytes;
use pbx::moment::Moment;
use pbx::sip::answer::Unacknowledged2xx;
use pbx::sip::message::Message;
use pbx::sip::method::Method;
use pbx::sip::name::Name;
use pbx::sip::reliable::{Announcements, Sequence};
use pbx::sip::transaction::ServerId;

/// Its only call.
#[derive(Debug, Default)]
pub(in crate::sim) struct Talk {
    pub(in crate::sim) call_id: String,
    pub(in crate::sim) local: String,
    pub(in crate::sim) remote: String,
    pub(in crate::sim) target: String,
    pub(in crate::sim) cseq: u32,
    /// What a carrier writes into its requests besides.
    pub(in crate::sim) more: Vec<(Name, String)>,
    pub(in crate::sim) invite: Option<(ServerId, Message)>,
    pub(in crate::sim) asked: Option<(String, u64)>,
    pub(in crate::sim) challenges: u32,
    pub(in crate::sim) intent: Intent,
    pub(in crate::sim) change: Change,
    /// Our 200, by the number of the INVITE that it answers.
    pub(in crate::sim) unacked: Option<(u32, Unacknowledged2xx)>,
    /// Our ACKs, by the number of their INVITE.
    pub(in crate::sim) acked: BTreeMap<u32, Bytes>,
    pub(in crate::sim) answer_at: Option<Moment>,
    /// How it rings reliably (RFC 3262).
    pub(in crate::sim) announcements: Announcements,
    /// What it was told reliably.
    pub(in crate::sim) sequence: Sequence,
    pub(in crate::sim) answers_once_confirmed: bool,
    pub(in crate::sim) described: bool,
}

/// What becomes of an answer that comes after all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::sim) enum Intent {
    #[default]
    Talk,
    GiveUp,
}

/// Whether it is changing the call (RFC 3261 §14.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::sim) enum Change {
    #[default]
    None,
    /// It asked, and waits.
    Asked,
    /// The other asked at the same time: it asks again.
    Again { at: Moment, sdp: String },
}

impl Talk {
    /// The head of a request within it.
    pub(in crate::sim) fn head(&self, method: Method<'static>) -> Head {
        Head {
            method,
            target: self.target.clone(),
            from: self.local.clone(),
            to: self.remote.clone(),
            call_id: self.call_id.clone(),
            cseq: self.cseq,
        }
    }
}

/// What each of its requests begins with.
pub(in crate::sim) struct Head {
    pub(in crate::sim) method: Method<'static>,
    pub(in crate::sim) target: String,
    pub(in crate::sim) from: String,
    pub(in crate::sim) to: String,
    pub(in crate::sim) call_id: String,
    pub(in crate::sim) cseq: u32,
}
