//! Where a question was asked: at one address, or at one of four that stand for each other.
//!
//! RFC 5780 §6: two addresses and two ports make four corners. A phone asks at one and has the
//! answer sent from another, to learn what its router lets in.

use std::net::SocketAddr;

/// Where a question was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At an address that no other stands for.
    Alone,
    /// At one of four.
    Corner(Corner),
}

/// One of four addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corner {
    /// This one.
    pub here: SocketAddr,
    /// The one with the other address and the other port.
    pub across: SocketAddr,
}

/// From where an answer shall come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Change {
    pub(super) address: Wanted,
    pub(super) port: Wanted,
}

/// Which of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Wanted {
    #[default]
    Same,
    Other,
}

impl Corner {
    /// All four corners of two addresses; `None` unless they are of one family, and differ in
    /// address and port.
    pub fn all(one: SocketAddr, other: SocketAddr) -> Option<[Self; 4]> {
        let apart = one.ip() != other.ip() && one.port() != other.port();
        let of_kind = one.is_ipv4() == other.is_ipv4();
        let real = [one, other].iter().all(|at| !at.ip().is_unspecified());
        if !(apart && of_kind && real) {
            return None;
        }
        let corner = Self { here: one, across: other };
        let beside = Change { address: Wanted::Same, port: Wanted::Other };
        let beside = corner.changed(beside);
        Some([corner, beside, corner.reversed(), beside.reversed()])
    }

    fn reversed(self) -> Self {
        Self { here: self.across, across: self.here }
    }

    /// The corner from which an answer leaves.
    pub(super) fn changed(self, change: Change) -> Self {
        let Self { mut here, mut across } = self;
        if change.address == Wanted::Other {
            let ip = here.ip();
            here.set_ip(across.ip());
            across.set_ip(ip);
        }
        if change.port == Wanted::Other {
            let port = here.port();
            here.set_port(across.port());
            across.set_port(port);
        }
        Self { here, across }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn two_addresses_make_four_corners() {
        let corners = Corner::all(at("192.0.2.1:3478"), at("192.0.2.2:3479")).unwrap();
        let shown = corners.map(|corner| format!("{} {}", corner.here, corner.across));
        assert_eq!(
            shown,
            [
                "192.0.2.1:3478 192.0.2.2:3479",
                "192.0.2.1:3479 192.0.2.2:3478",
                "192.0.2.2:3479 192.0.2.1:3478",
                "192.0.2.2:3478 192.0.2.1:3479",
            ]
        );
    }

    #[test]
    fn one_address_one_port_two_families_or_any_address_make_none() {
        for (one, other) in [
            ("192.0.2.1:3478", "192.0.2.1:3479"),
            ("192.0.2.1:3478", "192.0.2.2:3478"),
            ("192.0.2.1:3478", "[2001:db8::1]:3479"),
            ("0.0.0.0:3478", "192.0.2.2:3479"),
        ] {
            assert_eq!(Corner::all(at(one), at(other)), None, "{one} {other}");
        }
    }
}
