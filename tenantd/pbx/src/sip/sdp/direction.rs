//! Which way sound flows, as the side that says it sees it.
//!
//! RFC 3264 §5.1 and §8.4, RFC 8866 §6.7.

use sdp_types::Attribute;
use serde::{Deserialize, Serialize};

/// Which way sound flows (RFC 3264 §5.1), seen from who says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// Both ways.
    SendRecv,
    /// It only sends: the other is on hold.
    SendOnly,
    /// It only receives.
    RecvOnly,
    /// Neither way.
    Inactive,
}

impl Direction {
    /// Whether the one who says it holds the other.
    pub fn holds(self) -> bool {
        matches!(self, Self::SendOnly | Self::Inactive)
    }

    /// The same, seen from the other side.
    pub fn mirrored(self) -> Self {
        match self {
            Self::SendRecv => Self::SendRecv,
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            Self::Inactive => Self::Inactive,
        }
    }

    /// As much of it as may be said to somebody who said that (RFC 3264 §6.1).
    pub fn answering(self, offered: Self) -> Self {
        let sends = |said: Self| matches!(said, Self::SendRecv | Self::SendOnly);
        let takes = |said: Self| matches!(said, Self::SendRecv | Self::RecvOnly);
        match (sends(self) && takes(offered), takes(self) && sends(offered)) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    pub(super) fn of(attributes: &[Attribute]) -> Option<Self> {
        [Self::SendRecv, Self::SendOnly, Self::RecvOnly, Self::Inactive]
            .into_iter()
            .find(|direction| attributes.iter().any(|a| a.attribute == direction.name()))
    }
}
