//! Where live INVITEs went, so that their repeats, CANCEL and ACK go there too.
//!
//! RFC 3261 §9.1 and §17.1.1.3: these have the INVITE's topmost Via.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault};
use std::time::Duration;

use siphasher::sip::SipHasher13;

use crate::id::TenantId;
use crate::input::Placement;
use crate::moment::Moment;
use crate::sip::message::Message;
use crate::sip::method::Method;

/// Live INVITEs whose placement is remembered; older ones are placed by their domain again.
const MOST_PLACED: usize = 65_536;
/// A queue that is shorter than this stays as it is, however empty.
const SMALL: usize = 1_024;
/// As long as an INVITE's repeats, ACK and CANCEL may come.
const PLACED_FOR: Duration = Duration::from_secs(32);

/// Where live INVITEs went, so that their CANCEL and ACK go there too.
#[derive(Debug, Default)]
pub(super) struct Placements {
    by_thread: BTreeMap<u64, (TenantId, Placement)>,
    ends: VecDeque<(Moment, u64)>,
}

impl Placements {
    /// What an INVITE, its repeats, its CANCEL and its ACK have in common.
    pub(super) fn thread(message: &Message) -> Option<u64> {
        match message.method() {
            Method::Invite | Method::Ack | Method::Cancel => {}
            _ => return None,
        }
        let via = message.via().ok()?;
        // Target and From are the same in all of them, and say whose they are: two phones may have
        // the same private address and write the same branch.
        let from = message.from().ok()?.uri().ok()?;
        let from = (from.user, from.host.to_ascii_lowercase());
        let way = (via.branch()?, via.host, via.port);
        let key = (way, message.call_id().ok()?, message.target(), from);
        Some(BuildHasherDefault::<SipHasher13>::default().hash_one(key))
    }

    pub(super) fn find(&mut self, now: Moment, thread: u64) -> Option<(TenantId, Placement)> {
        self.forget_old(now);
        self.by_thread.get(&thread).copied()
    }

    /// Forgets what nothing can follow any more, and gives back what a storm needed.
    pub(super) fn forget_old(&mut self, now: Moment) {
        while let Some((end, old)) = self.ends.front().copied() {
            if end > now {
                break;
            }
            self.ends.pop_front();
            self.by_thread.remove(&old);
        }
        if self.ends.capacity() > SMALL.max(8 * self.ends.len()) {
            self.ends.shrink_to(2 * self.ends.len());
        }
    }

    pub(super) fn keep(&mut self, now: Moment, thread: u64, placed: (TenantId, Placement)) {
        if self.by_thread.len() < MOST_PLACED && self.by_thread.insert(thread, placed).is_none() {
            self.ends.push_back((now + PLACED_FOR, thread));
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_nothing_can_follow_any_more_is_forgotten_though_nothing_comes() {
        let (mut placements, now) = (Placements::default(), Moment::from_secs(1_000));
        let placed = (TenantId(Uuid::nil()), Placement::Known);
        for thread in 0..MOST_PLACED as u64 + 1 {
            placements.keep(now, thread, placed);
        }
        assert_eq!(placements.by_thread.len(), MOST_PLACED);
        placements.forget_old(now + PLACED_FOR);
        assert_eq!(placements.by_thread.len(), 0);
        assert!(placements.ends.capacity() <= SMALL);
    }
}
