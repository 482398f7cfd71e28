//! Whose recording it is, as it is written into the file itself.

use serde::{Deserialize, Serialize};

use crate::id::{CallId, RecordingId, TenantId};

/// Which ear hears it, in a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Channel {
    /// Who called.
    Left,
    /// Who was called.
    Right,
}

/// What is kept of a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// What its peer says; of a conference's member, what the others hear of it.
    Said,
    /// What its peer hears that we make ourselves: its conference, or what is played to it.
    Heard,
}

/// Whose sound is kept, and why: it is written into the recording's file, so that whoever finds that
/// after a crash knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// Its id.
    pub id: RecordingId,
    /// The company that keeps it.
    pub tenant: TenantId,
    /// Which call.
    pub call: CallId,
    /// The number of the extension whose key or rule asked for it; empty: the company's rule.
    pub asked_by: String,
}

impl Recording {
    /// As it is written down; at most a few hundred bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// What was written down.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}
