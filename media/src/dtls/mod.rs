//! Agreeing on keys for sound with the phone itself: whoever carries the signalling never sees them.
//!
//! DTLS-SRTP, RFC 5763 and RFC 5764. What the session descriptions carry is whose certificate to
//! expect. `openssl` is used here and nowhere else.

mod handshake;
mod identity;

use std::net::SocketAddr;
use std::time::Duration;

use pbx::media::{DtlsRole, Key};
use pbx::moment::Moment;

use handshake::{Handshake, Progress};
pub(crate) use identity::Identity;
pub use identity::NoCertificate;

/// How long a handshake may take: what is lost is repeated after 1, 2, 4 and 8 s.
const TAKES_AT_MOST: Duration = Duration::from_secs(30);
/// How often one that waits looks whether something is to be repeated.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long our last word is said again to a peer that has not heard it.
const REPEATED_FOR: Duration = Duration::from_secs(30);
/// How often somebody else may have begun one in our peer's stead.
const TRIES: u8 = 8;

/// What a side and its peer agree on, and how far they are.
pub(crate) struct Association {
    role: DtlsRole,
    fingerprint: [u8; 32],
    state: State,
    peer: Option<SocketAddr>,
    failed: u8,
}

enum State {
    /// Nobody has said hello.
    Waiting,
    /// It goes on.
    Shaking { handshake: Box<Handshake>, give_up_at: Moment, look_at: Moment },
    /// There are keys.
    Done { handshake: Box<Handshake>, forget_at: Moment },
    /// There are keys, and our last word was heard.
    Forgotten,
    /// There will be none.
    Failed,
}

/// What came of a step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing yet.
    Nothing,
    /// Keys: ours and the peer's, and where the peer is.
    Agreed { ours: Key, theirs: Key, peer: SocketAddr },
    /// It failed; another may begin.
    Failed,
}

/// Whether another handshake may begin on this worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    Free,
    Full,
}

impl Association {
    /// One that is to be, with whoever has the certificate of this fingerprint.
    pub(crate) fn new(role: DtlsRole, fingerprint: [u8; 32]) -> Self {
        Self { role, fingerprint, state: State::Waiting, peer: None, failed: 0 }
    }

    /// Whether it is the one that signalling speaks of (RFC 8842 §3.1).
    pub(crate) fn is(&self, role: DtlsRole, fingerprint: &[u8; 32]) -> bool {
        self.role == role && self.fingerprint == *fingerprint
    }

    /// Where the peer is: if it is ours to say hello first, this is when.
    pub(crate) fn handle_way(
        &mut self,
        now: Moment,
        identity: &Identity,
        peer: SocketAddr,
        room: Room,
    ) {
        match (&self.state, self.role, room) {
            (State::Waiting, DtlsRole::Client, Room::Free) => {
                self.peer = Some(peer);
                self.begin(now, identity);
                let _ = self.go_on(now, None);
            }
            // Full: the next look tries again.
            (State::Waiting, DtlsRole::Client, Room::Full)
            | (State::Waiting, DtlsRole::Server, _) => {}
            (State::Shaking { .. } | State::Done { .. }, _, _) => self.peer = Some(peer),
            (State::Forgotten | State::Failed, _, _) => {}
        }
    }

    /// A datagram came from where the peer may be.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Moment,
        identity: &Identity,
        (source, datagram): (SocketAddr, &[u8]),
        room: Room,
    ) -> Step {
        match (&self.state, self.role, room) {
            (State::Waiting, DtlsRole::Server, Room::Free) => self.begin(now, identity),
            (State::Waiting, _, _) => return Step::Nothing,
            (State::Shaking { .. } | State::Done { .. }, _, _) => {}
            (State::Forgotten | State::Failed, _, _) => return Step::Nothing,
        }
        self.peer = Some(source);
        self.go_on(now, Some(datagram))
    }

    fn begin(&mut self, now: Moment, identity: &Identity) {
        self.state = match Handshake::begin(identity, self.role, self.fingerprint) {
            Ok(handshake) => State::Shaking {
                handshake: Box::new(handshake),
                give_up_at: now + TAKES_AT_MOST,
                look_at: now + LOOK_EVERY,
            },
            Err(_) => State::Failed,
        };
    }

    fn go_on(&mut self, now: Moment, datagram: Option<&[u8]>) -> Step {
        let handshake = match &mut self.state {
            State::Shaking { handshake, look_at, .. } => {
                *look_at = now + LOOK_EVERY;
                handshake
            }
            State::Done { handshake, .. } => handshake,
            State::Waiting | State::Forgotten | State::Failed => return Step::Nothing,
        };
        let progress = match datagram {
            Some(datagram) => handshake.handle_datagram(datagram),
            None => handshake.go_on(),
        };
        match (progress, self.peer) {
            (Progress::GoesOn, _) | (Progress::Done { .. }, None) => Step::Nothing,
            (Progress::Done { ours, theirs }, Some(peer)) => {
                self.state = match std::mem::replace(&mut self.state, State::Forgotten) {
                    State::Shaking { handshake, .. } | State::Done { handshake, .. } => {
                        State::Done { handshake, forget_at: now + REPEATED_FOR }
                    }
                    other @ (State::Waiting | State::Forgotten | State::Failed) => other,
                };
                Step::Agreed { ours, theirs, peer }
            }
            (Progress::Failed, _) => self.fail(),
        }
    }

    /// Somebody else may have begun it, whose neighbour our peer is: it may begin again.
    fn fail(&mut self) -> Step {
        self.failed = self.failed.saturating_add(1);
        self.peer = None;
        self.state = match self.role {
            DtlsRole::Server if self.failed < TRIES => State::Waiting,
            DtlsRole::Server | DtlsRole::Client => State::Failed,
        };
        Step::Failed
    }

    /// What is to be sent, and where.
    pub(crate) fn poll_output(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        match &mut self.state {
            State::Shaking { handshake, .. } | State::Done { handshake, .. } => {
                handshake.poll_output().zip(self.peer).map(|(bytes, peer)| (peer, bytes))
            }
            State::Waiting | State::Forgotten | State::Failed => None,
        }
    }

    /// Whether it takes up room for a handshake.
    pub(crate) fn is_shaking(&self) -> bool {
        matches!(self.state, State::Shaking { .. })
    }

    /// When something is to be done.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        match &self.state {
            State::Shaking { give_up_at, look_at, .. } => Some(*give_up_at.min(look_at)),
            State::Done { forget_at, .. } => Some(*forget_at),
            State::Waiting | State::Forgotten | State::Failed => None,
        }
    }

    /// Does what is due.
    pub(crate) fn handle_deadline(&mut self, now: Moment) -> Step {
        match &self.state {
            State::Shaking { give_up_at, .. } if *give_up_at <= now => self.fail(),
            State::Shaking { look_at, .. } if *look_at <= now => self.go_on(now, None),
            State::Done { forget_at, .. } if *forget_at <= now => {
                self.state = State::Forgotten;
                Step::Nothing
            }
            State::Shaking { .. }
            | State::Done { .. }
            | State::Waiting
            | State::Forgotten
            | State::Failed => Step::Nothing,
        }
    }
}

impl std::fmt::Debug for Association {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.state {
            State::Waiting => "Waiting",
            State::Shaking { .. } => "Shaking",
            State::Done { .. } => "Done",
            State::Forgotten => "Forgotten",
            State::Failed => "Failed",
        })
    }
}

#[cfg(test)]
mod tests;
