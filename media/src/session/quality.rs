//! Reports between us and each phone: when ours are sent, what they say, and what a call's record keeps.

use std::net::SocketAddr;

use pbx::media::{CodecKind, Heard};
use pbx::moment::Moment;

use crate::codec;
use crate::end::End;
use crate::guard::Kind;
use crate::packet::{Fit, Packet};
use crate::report::opinion::{self, Facts};
use crate::report::rtcp::{self, Block, Ending, Report, Sender};
use crate::session::Port;

impl End {
    /// The peer reported what it sent and what it got.
    pub(super) fn handle_report(&mut self, now: Moment, packet: &Packet<'_>) {
        self.speech.exchange.handle_report(now, packet.bytes());
        if let (Some(block), Some(mouth)) =
            (self.speech.exchange.reported(), &mut self.speech.mouth)
        {
            mouth.handle_loss((u32::from(block.fraction) * 100 / 256) as u8);
        }
    }

    /// Writes our report, if the peer would have none otherwise and there is something to say.
    pub(super) fn report(
        &mut self,
        now: Moment,
        ending: Ending,
        packet: &mut Packet<'_>,
    ) -> Option<(Port, SocketAddr)> {
        let mouth = self.speech.mouth.as_ref()?;
        let makes_sound = mouth.makes_sound() || self.place.is_some();
        if self.speech.exchange.are_passed(now) && !makes_sound {
            return None;
        }
        let sent = mouth.outgoing.sent();
        let sender = (makes_sound && sent.packets > 0).then_some(Sender {
            timestamp: mouth.outgoing.timestamp_at(now),
            packets: sent.packets,
            octets: sent.octets,
        });
        let first = self.terms.as_ref().and_then(|terms| terms.codecs.first());
        let clock = first.map_or(8, |codec| codec::clock_per_ms(&codec.kind));
        let (last, since) = self.speech.exchange.last(now);
        let block = self.stream.measure().report().map(|came| Block {
            about: came.ssrc,
            fraction: came.fraction,
            lost: came.lost,
            highest: came.highest,
            jitter: (came.jitter.as_micros() as u64 * u64::from(clock) / 1_000) as u32,
            last,
            since,
        });
        if sender.is_none() && block.is_none() {
            return None;
        }
        let (ssrc, at_us, name) = (mouth.outgoing.ssrc(), now.as_micros(), mouth.name());
        let report = Report { ssrc, at_us, sender, block, name, ending };
        if rtcp::write(&report, packet) == Fit::TooLong {
            return None;
        }
        let way = self.send(now, (Kind::Report, Port::Reports), packet)?;
        self.speech.exchange.handle_sent(now, rtcp::name_at(at_us));
        Some(way)
    }

    /// What reports and packets together say of how the peer is heard.
    pub(crate) fn add_quality(&self, heard: &mut Heard) {
        let round_trip = self.speech.exchange.round_trip();
        heard.round_trip_ms = round_trip.map(|trip| trip.as_secs_f32() * 1e3);
        let reported = self.speech.exchange.reported().map(|block| block.lost.max(0));
        heard.reported_lost = reported.map(|lost| u64::from(lost.unsigned_abs()));
        heard.opinion = opinion::of(&Facts {
            codec: self.spoken().as_ref(),
            received: heard.packets,
            lost: heard.lost.unwrap_or(0),
            jitter: self.stream.jitter(),
            round_trip,
        });
    }

    /// The codec that the peer spoke last.
    fn spoken(&self) -> Option<CodecKind> {
        let number = self.stream.payload_type()?;
        match &self.terms {
            Some(terms) => {
                let codec = terms.codecs.iter().find(|codec| codec.from_peer == number);
                codec.or(terms.codecs.first()).map(|codec| codec.kind.clone())
            }
            None => match number {
                0 => Some(CodecKind::Pcmu),
                8 => Some(CodecKind::Pcma),
                9 => Some(CodecKind::G722),
                _ => None,
            },
        }
    }
}
