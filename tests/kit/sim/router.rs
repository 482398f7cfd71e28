//! A router before a simulated phone: it gives the phone another address, and forgets it when
//! nothing passes for a while.

use std::net::SocketAddr;
use std::time::Duration;

use pbx::moment::Moment;

/// A router, with a port outside that is open for its phone.
#[derive(Debug, Clone)]
pub struct Router {
    /// The port, as the switch sees it.
    pub outside: SocketAddr,
    /// How long it remembers.
    pub remembers_for: Duration,
    /// Whether what comes in counts as well as what goes out (RFC 4787 §4.3 demands only the latter).
    pub inbound: Inbound,
    passed_at: Option<Moment>,
}

/// Whether what comes in keeps a way open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inbound {
    /// It does.
    Refreshes,
    /// It does not.
    IsIgnored,
}

impl Router {
    /// One that has nothing open yet.
    pub fn new(outside: SocketAddr, remembers_for: Duration) -> Self {
        Self { outside, remembers_for, inbound: Inbound::IsIgnored, passed_at: None }
    }

    /// The phone sends something: from which address it comes out. A forgotten phone gets a new port.
    pub fn pass_out(&mut self, now: Moment) -> SocketAddr {
        if self.passed_at.is_some() && !self.is_open(now) {
            self.outside.set_port(self.outside.port() + 1);
        }
        self.passed_at = Some(now);
        self.outside
    }

    /// Whether something for this address reaches the phone.
    pub fn lets_in(&mut self, now: Moment, to: SocketAddr) -> bool {
        let open = to == self.outside && self.is_open(now);
        if open && self.inbound == Inbound::Refreshes {
            self.passed_at = Some(now);
        }
        open
    }

    /// Whether the phone can be reached from outside.
    pub fn is_open(&self, now: Moment) -> bool {
        self.passed_at.is_some_and(|at| now - at < self.remembers_for)
    }

    /// It is switched off and on: it has forgotten everything.
    pub fn restart(&mut self) {
        self.passed_at = self.passed_at.map(|_| Moment::EPOCH);
    }
}
