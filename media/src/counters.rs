//! What sound costs and carries, for whoever watches: numbers only, no call's content.

use std::sync::atomic::{AtomicU64, Ordering};

use pbx::media::Heard;

/// All workers' counters, added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams relayed.
    pub relayed: u64,
    /// Their bytes.
    pub relayed_bytes: u64,
    /// Packets of our own: sound packed anew, digits.
    pub made: u64,
    /// Reports of our own.
    pub reports: u64,
    /// Datagrams from addresses that are no peer's, dropped.
    pub strangers: u64,
    /// Datagrams of peers that nobody listens to, dropped.
    pub unheard: u64,
    /// Datagrams of peers that send faster than any sound, dropped.
    pub excess: u64,
    /// Datagrams that the kernel did not take, dropped.
    pub unsent: u64,
    /// How often a port found no room to receive into: its packets waited, and no other's did.
    pub starved: u64,
    /// Sides that were opened.
    pub opened: u64,
    /// Sides that found no port.
    pub no_ports: u64,
    /// Sides that are open now.
    pub open: u64,
    /// Sides whose peers hear something that we play, now.
    pub listeners: u64,
    /// Port pairs that are kept open for the next call.
    pub spare: u64,
    /// Port pairs in use now.
    pub ports_taken: u64,
    /// Threads that go before all else now.
    pub first: u64,
    /// Wishes that wait for a worker now.
    pub queued: u64,
    /// Wishes dropped because a worker's queue was full.
    pub refused: u64,
    /// Packets that are missing in recordings because the disk was too slow.
    pub unrecorded: u64,
    /// Recordings that are being written now.
    pub recording: u64,
    /// Recordings that could not begin, or not go on.
    pub recordings_failed: u64,
    /// Bytes in the recordings' folder.
    pub recorded_bytes: u64,
    /// What encryption did.
    pub secrecy: Secrecy,
    /// How sound was.
    pub quality: Quality,
}

/// How the sound of sides was that are closed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quality {
    /// Packets that came.
    pub heard: u64,
    /// Packets that did not.
    pub lost: u64,
    /// Packets for them that they say did not come.
    pub reported_lost: u64,
    /// Sides of which an opinion could be formed.
    pub opinions: u64,
    /// The sum of the opinions, in hundredths.
    pub opinion_hundredths: u64,
}

impl Quality {
    /// A side is closed.
    pub(crate) fn add(&mut self, heard: &Heard) {
        self.heard += heard.packets;
        self.lost += heard.lost.unwrap_or(0);
        self.reported_lost += heard.reported_lost.unwrap_or(0);
        if let Some(opinion) = heard.opinion {
            self.opinions += 1;
            self.opinion_hundredths += (opinion * 100.0) as u64;
        }
    }
}

/// What encryption of sound did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Secrecy {
    /// Datagrams without a right tag where one was agreed on, dropped.
    pub forged: u64,
    /// Datagrams that had come before, dropped.
    pub repeated: u64,
    /// Handshakes that ended with keys.
    pub handshakes: u64,
    /// Handshakes that did not: the other end was somebody else, too slow, or not able to.
    pub handshakes_failed: u64,
}

/// One worker's counters: written by it alone, once a turn.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    relayed: AtomicU64,
    relayed_bytes: AtomicU64,
    made: AtomicU64,
    reports: AtomicU64,
    strangers: AtomicU64,
    unheard: AtomicU64,
    excess: AtomicU64,
    unsent: AtomicU64,
    starved: AtomicU64,
    opened: AtomicU64,
    no_ports: AtomicU64,
    unrecorded: AtomicU64,
    open: AtomicU64,
    listeners: AtomicU64,
    spare: AtomicU64,
    first: AtomicU64,
    heard: AtomicU64,
    lost: AtomicU64,
    reported_lost: AtomicU64,
    opinions: AtomicU64,
    opinion_hundredths: AtomicU64,
    forged: AtomicU64,
    repeated: AtomicU64,
    handshakes: AtomicU64,
    handshakes_failed: AtomicU64,
}

impl Tally {
    /// Takes over what a turn added; `turn.open`, `turn.listeners`, `turn.spare`
    /// and `turn.first` are how many there are now.
    pub(crate) fn add(&self, turn: &Counters) {
        for (counter, added) in [
            (&self.relayed, turn.relayed),
            (&self.relayed_bytes, turn.relayed_bytes),
            (&self.made, turn.made),
            (&self.reports, turn.reports),
            (&self.strangers, turn.strangers),
            (&self.unheard, turn.unheard),
            (&self.excess, turn.excess),
            (&self.unsent, turn.unsent),
            (&self.starved, turn.starved),
            (&self.opened, turn.opened),
            (&self.no_ports, turn.no_ports),
            (&self.unrecorded, turn.unrecorded),
            (&self.heard, turn.quality.heard),
            (&self.lost, turn.quality.lost),
            (&self.reported_lost, turn.quality.reported_lost),
            (&self.opinions, turn.quality.opinions),
            (&self.opinion_hundredths, turn.quality.opinion_hundredths),
            (&self.forged, turn.secrecy.forged),
            (&self.repeated, turn.secrecy.repeated),
            (&self.handshakes, turn.secrecy.handshakes),
            (&self.handshakes_failed, turn.secrecy.handshakes_failed),
        ] {
            if added > 0 {
                counter.fetch_add(added, Ordering::Relaxed);
            }
        }
        self.open.store(turn.open, Ordering::Relaxed);
        self.listeners.store(turn.listeners, Ordering::Relaxed);
        self.spare.store(turn.spare, Ordering::Relaxed);
        self.first.store(turn.first, Ordering::Relaxed);
    }

    /// Adds this worker's to `sum`.
    pub(crate) fn add_to(&self, sum: &mut Counters) {
        for (counter, sum) in [
            (&self.relayed, &mut sum.relayed),
            (&self.relayed_bytes, &mut sum.relayed_bytes),
            (&self.made, &mut sum.made),
            (&self.reports, &mut sum.reports),
            (&self.strangers, &mut sum.strangers),
            (&self.unheard, &mut sum.unheard),
            (&self.excess, &mut sum.excess),
            (&self.unsent, &mut sum.unsent),
            (&self.starved, &mut sum.starved),
            (&self.opened, &mut sum.opened),
            (&self.no_ports, &mut sum.no_ports),
            (&self.unrecorded, &mut sum.unrecorded),
            (&self.open, &mut sum.open),
            (&self.listeners, &mut sum.listeners),
            (&self.spare, &mut sum.spare),
            (&self.first, &mut sum.first),
            (&self.heard, &mut sum.quality.heard),
            (&self.lost, &mut sum.quality.lost),
            (&self.reported_lost, &mut sum.quality.reported_lost),
            (&self.opinions, &mut sum.quality.opinions),
            (&self.opinion_hundredths, &mut sum.quality.opinion_hundredths),
            (&self.forged, &mut sum.secrecy.forged),
            (&self.repeated, &mut sum.secrecy.repeated),
            (&self.handshakes, &mut sum.secrecy.handshakes),
            (&self.handshakes_failed, &mut sum.secrecy.handshakes_failed),
        ] {
            *sum += counter.load(Ordering::Relaxed);
        }
    }
}
