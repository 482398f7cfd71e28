//! Reports about sound: they come from the address that the sound comes from, and go back there.
//!
//! RTCP, RFC 3550 §6 and §11; its own address in SDP, RFC 3605.

use std::net::SocketAddr;
use std::time::Duration;

use pbx::moment::Moment;

use crate::latch::{Latch, Verdict, can_be_sent_to};

/// Three reports missed (RFC 3550 §6.2: one every 5 s at least): another port may be the peer's now.
const SILENT_AFTER: Duration = Duration::from_secs(15);

/// Where one peer's reports come from and where the other's go.
#[derive(Debug, Default)]
pub(crate) struct Control {
    signalled: Option<SocketAddr>,
    heard: Option<(SocketAddr, Moment)>,
}

impl Control {
    /// Signalling says where the peer takes reports.
    pub(crate) fn aim(&mut self, address: Option<SocketAddr>) {
        self.signalled = address.filter(can_be_sent_to);
    }

    /// A report came; who sends reports for the peer stays until it falls silent or is no longer
    /// where the sound comes from.
    pub(crate) fn handle_report(
        &mut self,
        now: Moment,
        source: SocketAddr,
        latch: &Latch,
    ) -> Verdict {
        let named = self.signalled == Some(source);
        let holds = |(heard, at): (SocketAddr, Moment)| {
            heard != source && latch.expects(heard.ip()) && now.since(at) < SILENT_AFTER
        };
        let expected = named || latch.expects(source.ip());
        if !expected || (!named && self.heard.is_some_and(holds)) {
            return Verdict::Stranger;
        }
        self.heard = Some((source, now));
        Verdict::Believed
    }

    /// Where reports for the peer go.
    pub(crate) fn destination(&self, latch: &Latch) -> Option<SocketAddr> {
        match (self.heard, latch.peer()) {
            (Some((heard, _)), _) if latch.expects(heard.ip()) => Some(heard),
            (_, None) => self.signalled,
            (_, Some(peer)) if latch.signalled() == Some(peer) => self.signalled,
            // Behind NAT: the port above is the best guess until a report came.
            (_, Some(mut peer)) => {
                peer.set_port(peer.port().checked_add(1)?);
                Some(peer)
            }
        }
    }
}
