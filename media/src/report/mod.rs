//! How one phone hears us, and how we hear it: its reports read, and ours sent where nobody else's reach it.
//!
//! RFC 3550 §6. Between alike sides the phones' own reports pass, and are read on the way; where
//! sound is packed anew they would tell of streams that the other side never saw, so each phone has
//! reports of ours.

pub(crate) mod opinion;
pub(crate) mod rtcp;

use std::time::Duration;

use pbx::moment::Moment;

use crate::report::rtcp::{Block, Said};

/// RFC 3550 §6.2: at most one every 5 s, and never in step with others' (§6.3.1).
const EVERY_US: u64 = 5_000_000;
/// A phone that has had no report for so long gets ours.
const NOBODYS_FOR: Duration = Duration::from_secs(12);
/// How many sender reports are remembered until the phone's answer names one.
const REMEMBERED: usize = 4;
/// What answers later names something else.
const LONGEST_TRIP: Duration = Duration::from_secs(30);

/// One side's.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    due_at: Option<Moment>,
    /// When a report of the other phone was last passed on to this one.
    passed_at: Option<Moment>,
    /// Sender reports that went to it: their names, and when.
    sent: [Option<(u32, Moment)>; REMEMBERED],
    next: usize,
    /// Its last sender report.
    last: Option<(u32, Moment)>,
    round_trip: Option<Duration>,
    reported: Option<Block>,
    own: Own,
}

/// Whether we ever reported to it ourselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Own {
    #[default]
    Never,
    Sent,
}

impl Exchange {
    /// The phone reported.
    pub(crate) fn handle_report(&mut self, now: Moment, bytes: &[u8]) {
        rtcp::read(bytes, |said| match said {
            Said::Sent { name } => self.last = Some((name, now)),
            Said::Came(block) => self.handle_block(now, block),
        });
    }

    fn handle_block(&mut self, now: Moment, block: Block) {
        self.reported = Some(block);
        let named = self.sent.iter().flatten().find(|(name, _)| *name == block.last);
        let Some((_, sent_at)) = named.filter(|_| block.last != 0) else { return };
        let held = Duration::from_micros(u64::from(block.since) * 1_000_000 / 65_536);
        let Some(trip) = now.since(*sent_at).checked_sub(held) else { return };
        if trip < LONGEST_TRIP {
            let before = self.round_trip.unwrap_or(trip);
            self.round_trip = Some((before * 3 + trip) / 4);
        }
    }

    /// A report goes to the phone: the other phone's.
    pub(crate) fn handle_passed(&mut self, now: Moment, bytes: &[u8]) {
        self.passed_at = Some(now);
        rtcp::read(bytes, |said| match said {
            Said::Sent { name } => self.remember(now, name),
            Said::Came(_) => {}
        });
    }

    /// A report of ours goes to it.
    pub(crate) fn handle_sent(&mut self, now: Moment, name: u32) {
        self.own = Own::Sent;
        self.remember(now, name);
    }

    fn remember(&mut self, now: Moment, name: u32) {
        if let Some(place) = self.sent.get_mut(self.next) {
            *place = Some((name, now));
        }
        self.next = (self.next + 1) % REMEMBERED;
    }

    /// Whether the other phone's reports reach this one.
    pub(crate) fn are_passed(&self, now: Moment) -> bool {
        self.passed_at.is_some_and(|at| now.since(at) < NOBODYS_FOR)
    }

    /// Whether it is to be told that our stream ends.
    pub(crate) fn says_goodbye(&self) -> bool {
        self.own == Own::Sent
    }

    /// What our report says of the phone's last one: its name, and how long ago.
    pub(crate) fn last(&self, now: Moment) -> (u32, u32) {
        let since = |at| now.since(at).as_micros() as u64 * 65_536 / 1_000_000;
        self.last.map_or((0, 0), |(name, at)| (name, since(at) as u32))
    }

    /// What the phone said last of what it got.
    pub(crate) fn reported(&self) -> Option<Block> {
        self.reported
    }

    /// To the phone and back.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// When the next report of ours may be due.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.due_at
    }

    /// The next one is due some time from now.
    pub(crate) fn schedule(&mut self, now: Moment, random: u64) {
        // Half to one and a half of the interval, over e - 3/2 (§6.3.1).
        let spread = EVERY_US / 2 + random % EVERY_US;
        self.due_at = Some(now + Duration::from_micros(spread * 1_000 / 1_218));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Packet;
    use crate::packet::tests::room;
    use crate::report::rtcp::{Ending, Report, Sender, name_at};

    fn at(ms: u64) -> Moment {
        Moment::from_secs(1_700_000_000) + Duration::from_millis(ms)
    }

    fn report(now: Moment, sender: bool, block: Option<Block>) -> Vec<u8> {
        let (mut room, _) = room(b"");
        let mut packet = Packet::new(&mut room, 0).unwrap();
        let sender = sender.then_some(Sender { timestamp: 0, packets: 1, octets: 1 });
        let (ssrc, at_us, ending) = (3, now.as_micros(), Ending::GoesOn);
        let report = Report { ssrc, at_us, sender, block, name: "x", ending };
        rtcp::write(&report, &mut packet);
        packet.bytes().to_vec()
    }

    #[test]
    fn the_round_trip_is_told_from_the_answer_to_a_report_that_passed() {
        let mut exchange = Exchange::default();
        let bobs = report(at(0), true, None);
        exchange.handle_passed(at(10), &bobs);
        // Ada answers 300 ms after she had it; there and back it is 80 ms.
        let since = 65_536 * 3 / 10;
        let block = Block { last: name_at(at(0).as_micros()), since, lost: 4, ..Block::default() };
        exchange.handle_report(at(10 + 80 + 300), &report(at(0), false, Some(block)));
        let trip = exchange.round_trip().unwrap();
        assert!(trip.abs_diff(Duration::from_millis(80)) < Duration::from_millis(1), "{trip:?}");
        assert_eq!(exchange.reported().unwrap().lost, 4);
    }

    #[test]
    fn an_answer_to_nothing_measures_nothing() {
        let mut exchange = Exchange::default();
        for (last, since) in [(0, 0), (77, 5)] {
            let block = Block { last, since, ..Block::default() };
            exchange.handle_report(at(5), &report(at(0), false, Some(block)));
        }
        exchange.handle_sent(at(0), 78);
        // It says that it held it for longer than it can have had it.
        let block = Block { last: 78, since: 65_536 * 9, ..Block::default() };
        exchange.handle_report(at(50), &report(at(0), false, Some(block)));
        assert_eq!(exchange.round_trip(), None);
    }

    #[test]
    fn ours_are_due_at_different_times_of_five_seconds_in_the_mean() {
        let mut exchange = Exchange::default();
        let mut chance = pbx::chance::Chance::from_seed([1; 32]);
        let mut sum = Duration::ZERO;
        for _ in 0..1_000 {
            exchange.schedule(at(0), chance.number());
            let after = exchange.deadline().unwrap().since(at(0));
            assert!(after >= Duration::from_millis(2_050) && after <= Duration::from_millis(6_160));
            sum += after;
        }
        let mean = sum / 1_000;
        assert!(
            mean.abs_diff(Duration::from_millis(4_105)) < Duration::from_millis(150),
            "{mean:?}"
        );
    }
}
