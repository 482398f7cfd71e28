//! The conferences of a company that take place now: who is in them, who is heard, and who speaks.

use std::collections::BTreeMap;

use pbx::board::{Board, LiveCall, Presence};
use pbx::id::{CallId, ConferenceId};

use super::local;
use crate::catalogue::Language;

/// A conference that somebody is in.
pub(crate) struct Room {
    pub(crate) number: String,
    pub(crate) members: Vec<Member>,
}

/// Somebody in a conference.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) number: String,
    pub(crate) presence: &'static str,
    pub(crate) voice: Voice,
    pub(crate) since: String,
}

/// Whether it is the one who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voice {
    Speaks,
    Silent,
}

/// All of them, by number; members as they came.
pub(crate) fn rooms(t: Language, zone: &str, board: &Board) -> Vec<Room> {
    let mut rooms = BTreeMap::<ConferenceId, Room>::new();
    let mut calls: Vec<(&CallId, &LiveCall)> =
        board.calls.iter().map(|(id, call)| (id, &**call)).collect();
    calls.sort_by_key(|(_, call)| call.began_at);
    for (id, call) in calls {
        let Some(member) = &call.member else { continue };
        let new = || Room { number: member.number.clone(), members: vec![] };
        let room = rooms.entry(member.conference).or_insert_with(new);
        let speaks = board.speakers.get(&member.conference) == Some(id);
        let (key, voice) = match member.presence {
            Presence::Heard if speaks => ("member.speaks", Voice::Speaks),
            Presence::Heard => ("member.heard", Voice::Silent),
            Presence::Dialling => ("member.dialling", Voice::Silent),
            Presence::Muted => ("member.muted", Voice::Silent),
            Presence::Listening => ("member.listening", Voice::Silent),
            Presence::Away => ("member.away", Voice::Silent),
        };
        room.members.push(Member {
            name: member.name.clone(),
            number: call.caller.clone(),
            presence: t.get(key),
            voice,
            since: local(call.began_at, zone, "%H:%M:%S"),
        });
    }
    let mut rooms: Vec<Room> = rooms.into_values().collect();
    rooms.sort_by(|a, b| (a.number.len(), &a.number).cmp(&(b.number.len(), &b.number)));
    rooms
}

#[cfg(test)]
mod tests {
    use pbx::board::{self, Stage};
    use pbx::moment::Moment;
    use uuid::Uuid;

    use super::*;

    fn call(second: u64, room: u128, presence: Presence) -> Box<LiveCall> {
        Box::new(LiveCall {
            caller: format!("10{second}"),
            dialled: "800".to_owned(),
            answered_by: String::new(),
            stage: Stage::Conferring,
            began_at: Moment::from_secs(second),
            answered_at: None,
            member: Some(board::Member {
                conference: ConferenceId(Uuid::from_u128(room)),
                number: format!("80{room}"),
                name: format!("Phone {second}"),
                presence,
            }),
        })
    }

    #[test]
    fn members_are_shown_as_they_came_and_the_one_who_speaks_says_so_in_words() {
        let id = |number| CallId(Uuid::from_u128(number));
        let mut board = Board::default();
        board.calls.insert(id(9), call(1, 2, Presence::Heard));
        board.calls.insert(id(3), call(2, 2, Presence::Muted));
        board.calls.insert(id(5), call(3, 1, Presence::Heard));
        board
            .calls
            .insert(id(6), Box::new(LiveCall { member: None, ..*call(4, 1, Presence::Heard) }));
        board.speakers.insert(ConferenceId(Uuid::from_u128(2)), id(9));
        let shown = rooms(Language::English, "UTC", &board);
        let numbers: Vec<&str> = shown.iter().map(|room| room.number.as_str()).collect();
        assert_eq!(numbers, ["801", "802"]);
        let said: Vec<_> =
            shown[1].members.iter().map(|m| (&*m.name, m.presence, m.voice)).collect();
        assert_eq!(
            said,
            [
                ("Phone 1", "speaks now", Voice::Speaks),
                ("Phone 2", "does not want to be heard (*6)", Voice::Silent)
            ]
        );
        // Who has muted itself does not speak, whatever was heard last.
        board.calls.insert(id(9), call(1, 2, Presence::Muted));
        assert_eq!(rooms(Language::German, "UTC", &board)[1].members[0].voice, Voice::Silent);
    }
}
