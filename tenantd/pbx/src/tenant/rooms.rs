//! Conferences that take place now: who sits where. Each is one session of sound, and each member's call
//! has a side in it.

use std::collections::BTreeMap;

use crate::id::{CallId, ConferenceId};
use crate::media::Side;

/// As many as may be in one conference, with those who still dial its PIN.
pub const MOST_MEMBERS: usize = 100;

/// The conferences of one tenant that somebody is in.
#[derive(Debug, Default)]
pub struct Rooms {
    rooms: BTreeMap<ConferenceId, Room>,
}

#[derive(Debug)]
struct Room {
    session: CallId,
    /// The member's call, by its number on this switch.
    seats: BTreeMap<u16, u64>,
    next: u16,
}

/// There is no room for one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Rooms {
    /// A call gets a seat; whoever is the first opens the room, under this id.
    pub fn sit(
        &mut self,
        conference: ConferenceId,
        call: u64,
        session: CallId,
    ) -> Result<Side, Full> {
        let new = || Room { session, seats: BTreeMap::new(), next: 0 };
        let room = self.rooms.entry(conference).or_insert_with(new);
        if room.seats.len() >= MOST_MEMBERS {
            return Err(Full);
        }
        // A number is not given again at once: what is told of the one who had it may be on its way.
        while room.seats.contains_key(&room.next) {
            room.next = room.next.wrapping_add(1);
        }
        let leg = room.next;
        room.next = room.next.wrapping_add(1);
        room.seats.insert(leg, call);
        Ok(Side { call: room.session, leg })
    }

    /// A call had this seat before a restart. Nobody else may have it, and the room is the same.
    pub fn take_back(
        &mut self,
        conference: ConferenceId,
        call: u64,
        seat: Side,
    ) -> Result<(), Full> {
        let new = || Room { session: seat.call, seats: BTreeMap::new(), next: 0 };
        let room = self.rooms.entry(conference).or_insert_with(new);
        let fits = room.session == seat.call && room.seats.len() < MOST_MEMBERS;
        if !fits || room.seats.contains_key(&seat.leg) {
            return Err(Full);
        }
        room.seats.insert(seat.leg, call);
        Ok(())
    }

    /// A seat is free again. The room ends with its last member.
    pub fn leave(&mut self, seat: Side) {
        self.rooms.retain(|_, room| {
            if room.session == seat.call {
                room.seats.remove(&seat.leg);
            }
            !room.seats.is_empty()
        });
    }

    /// The call that has a seat.
    pub fn call_at(&self, seat: Side) -> Option<u64> {
        let room = self.rooms.values().find(|room| room.session == seat.call)?;
        room.seats.get(&seat.leg).copied()
    }

    /// Whether a room is open under this id.
    pub fn is_open(&self, session: CallId) -> bool {
        self.rooms.values().any(|room| room.session == session)
    }

    /// How many are there.
    pub fn members(&self, conference: ConferenceId) -> usize {
        self.rooms.get(&conference).map_or(0, |room| room.seats.len())
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::tenant::sample::conference;

    fn session(number: u128) -> CallId {
        CallId(Uuid::from_u128(number))
    }

    #[test]
    fn members_share_a_session_and_the_room_ends_with_the_last() {
        let mut rooms = Rooms::default();
        let one = rooms.sit(conference(1), 11, session(1)).unwrap();
        let two = rooms.sit(conference(1), 12, session(2)).unwrap();
        let other = rooms.sit(conference(2), 13, session(3)).unwrap();
        assert_eq!((one.call, two.call, other.call), (session(1), session(1), session(3)));
        assert_eq!((rooms.call_at(one), rooms.call_at(two)), (Some(11), Some(12)));
        rooms.leave(one);
        assert_eq!((rooms.call_at(one), rooms.members(conference(1))), (None, 1));
        let three = rooms.sit(conference(1), 14, session(4)).unwrap();
        assert_ne!(three, one, "what is told of the one who left is not told of another");
        rooms.leave(two);
        rooms.leave(three);
        assert!(!rooms.is_open(session(1)) && rooms.is_open(session(3)));
        let anew = rooms.sit(conference(1), 15, session(5)).unwrap();
        assert_eq!(anew.call, session(5));
    }

    #[test]
    fn a_hundred_have_room_and_one_more_has_not() {
        let mut rooms = Rooms::default();
        let seats: Vec<Side> =
            (0..100).map(|call| rooms.sit(conference(1), call, session(1)).unwrap()).collect();
        assert_eq!(rooms.sit(conference(1), 100, session(1)), Err(Full));
        rooms.leave(seats[40]);
        assert!(rooms.sit(conference(1), 100, session(1)).is_ok());
    }

    #[test]
    fn a_seat_is_taken_back_unless_somebody_has_it() {
        let mut rooms = Rooms::default();
        let seat = Side { call: session(9), leg: 3 };
        assert_eq!(rooms.take_back(conference(1), 11, seat), Ok(()));
        assert_eq!(rooms.take_back(conference(1), 12, seat), Err(Full));
        let elsewhere = Side { call: session(8), leg: 4 };
        assert_eq!(rooms.take_back(conference(1), 12, elsewhere), Err(Full));
        for call in 20..24 {
            assert_ne!(rooms.sit(conference(1), call, session(1)).unwrap(), seat);
        }
    }
}
