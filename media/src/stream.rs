//! One side's end of a call's sound: what comes from its peer, and where what is for it goes.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use pbx::media::Heard;
use pbx::moment::Moment;

use crate::allowance::{Allowance, Pass};
use crate::control::Control;
use crate::latch::{Latch, Verdict};
use crate::measure::Measure;
use crate::rtp::Datagram;

/// A peer that was heard and then is not for so long has fallen silent.
const QUIET_AFTER: Duration = Duration::from_secs(30);

/// A peer's stream.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    latch: Latch,
    control: Control,
    measure: Measure,
    allowance: Allowance,
    strangers: u64,
    hearing: Hearing,
}

/// Whether anything is heard from the peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Hearing {
    /// Never anything.
    #[default]
    Nothing,
    /// Last at this moment.
    Heard { last_at: Moment },
    /// It was, and is not any more, and that was told.
    Quiet,
}

/// Whether a peer has fallen silent since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    Unchanged,
    FellSilent,
}

/// Where a peer says that it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Aim {
    pub(crate) rtp: Option<SocketAddr>,
    pub(crate) rtcp: Option<SocketAddr>,
    pub(crate) near: Option<IpAddr>,
}

impl Stream {
    /// Signalling says where the peer is.
    pub(crate) fn aim(&mut self, now: Moment, aim: Aim) {
        self.latch.aim(now, aim.rtp, aim.near);
        self.control.aim(aim.rtcp);
    }

    /// Where the peer is, for who asks more than what its packets show.
    pub(crate) fn latch(&mut self) -> &mut Latch {
        &mut self.latch
    }

    /// A datagram came to the port for sound.
    pub(crate) fn handle_sound(
        &mut self,
        now: Moment,
        source: SocketAddr,
        datagram: &[u8],
    ) -> Verdict {
        let verdict = match Datagram::read(datagram) {
            Datagram::Rtp(header) => {
                let verdict = self.latch.handle_packet(now, source, &header);
                if verdict != Verdict::Stranger {
                    self.hearing = Hearing::Heard { last_at: now };
                    self.measure.handle_packet(now, &header);
                }
                verdict
            }
            // Reports on the same port, fax (T.38) and key agreement pass once the peer is known.
            Datagram::Rtcp | Datagram::Other if self.latch.peer() == Some(source) => {
                Verdict::Believed
            }
            Datagram::Rtcp | Datagram::Other => Verdict::Stranger,
        };
        self.count(verdict)
    }

    /// A datagram came to the port for reports.
    pub(crate) fn handle_report(
        &mut self,
        now: Moment,
        source: SocketAddr,
        datagram: &[u8],
    ) -> Verdict {
        let verdict = match Datagram::read(datagram) {
            Datagram::Rtcp => self.control.handle_report(now, source, &self.latch),
            Datagram::Rtp(_) | Datagram::Other => Verdict::Stranger,
        };
        self.count(verdict)
    }

    fn count(&mut self, verdict: Verdict) -> Verdict {
        match verdict {
            Verdict::Stranger => self.strangers += 1,
            Verdict::Believed | Verdict::Latched => {}
        }
        verdict
    }

    /// Whether what was believed may be relayed.
    pub(crate) fn take_allowance(&mut self, now: Moment) -> Pass {
        self.allowance.take(now)
    }

    /// Whether the peer has fallen silent. One that wants no sound is on hold or gone for good, and
    /// may be as silent as it likes; its silence counts from when it wants sound again.
    pub(crate) fn look(&mut self, now: Moment) -> Look {
        let Hearing::Heard { last_at } = self.hearing else { return Look::Unchanged };
        if !self.latch.is_wanted() {
            self.hearing = Hearing::Heard { last_at: now };
            return Look::Unchanged;
        }
        if now.since(last_at) < QUIET_AFTER {
            return Look::Unchanged;
        }
        self.hearing = Hearing::Quiet;
        Look::FellSilent
    }

    /// Where sound for the peer goes.
    pub(crate) fn sound_goes_to(&self, now: Moment) -> Option<SocketAddr> {
        self.latch.destination(now)
    }

    /// Where reports for the peer go.
    pub(crate) fn reports_go_to(&self) -> Option<SocketAddr> {
        self.control.destination(&self.latch)
    }

    /// Where the peer is, once it is believed.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.latch.peer()
    }

    /// When the peer was heard last, unless it has fallen silent.
    pub(crate) fn heard_at(&self) -> Option<Moment> {
        match self.hearing {
            Hearing::Heard { last_at } => Some(last_at),
            Hearing::Nothing | Hearing::Quiet => None,
        }
    }

    /// Whether the peer names an address for its sound.
    pub(crate) fn is_wanted(&self) -> bool {
        self.latch.is_wanted()
    }

    /// How evenly its packets come.
    pub(crate) fn jitter(&self) -> Option<Duration> {
        self.measure.jitter()
    }

    /// The payload type of its last packet.
    pub(crate) fn payload_type(&self) -> Option<u8> {
        self.measure.payload_type()
    }

    /// How its packets come.
    pub(crate) fn measure(&mut self) -> &mut Measure {
        &mut self.measure
    }

    /// What was heard from the peer.
    pub(crate) fn heard(&self) -> Heard {
        self.measure.heard(self.strangers)
    }
}
