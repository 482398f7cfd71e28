//! What is written down about a call while it lives: its story, its times, its legs.

use serde::{Deserialize, Serialize};

use crate::board::{LiveCall, Stage};
use crate::id::{CallId, UserId};
use crate::moment::Moment;
use crate::record::{CallRecord, Ending, LegRecord};
use crate::story::{Event, LONGEST, Told};

/// A call's book.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// The calling extension, if it is one of the tenant's.
    pub caller_user: Option<UserId>,
    /// The calling number.
    pub caller: String,
    /// The caller's name.
    pub caller_name: String,
    /// What was dialled.
    pub dialled: String,
    /// When the INVITE came.
    pub began_at: Moment,
    /// When the first ringing was passed on.
    pub rang_at: Option<Moment>,
    /// When somebody answered.
    pub answered_at: Option<Moment>,
    /// Who answered.
    pub answered_by: String,
    /// Why and with which status it ended.
    pub ended: Option<(Moment, Ending, u16)>,
    story: Vec<Told>,
    left_out: u32,
}

impl Ledger {
    /// Opens the book of a call that begins now.
    pub fn open(now: Moment, caller: Caller, dialled: &str) -> Self {
        Self {
            caller_user: caller.user,
            caller: caller.number,
            caller_name: caller.name,
            dialled: dialled.to_owned(),
            began_at: now,
            rang_at: None,
            answered_at: None,
            answered_by: String::new(),
            ended: None,
            story: Vec::new(),
            left_out: 0,
        }
    }

    /// Adds to the story; what is over the limit is counted. The last place is kept for the end.
    pub fn tell(&mut self, at: Moment, event: Event) {
        let limit = if matches!(event, Event::Ended { .. }) { LONGEST } else { LONGEST - 2 };
        match self.story.len() < limit {
            true => self.story.push(Told { at, event }),
            false => self.left_out += 1,
        }
    }

    /// Whether the story says so already.
    pub fn is_told(&self, event: &Event) -> bool {
        self.story.iter().any(|told| told.event == *event)
    }

    /// How long people talked.
    pub fn talked_s(&self, now: Moment) -> u64 {
        self.answered_at.map_or(0, |at| (now - at).as_secs())
    }

    /// What the board shows.
    pub fn live(&self, stage: Stage) -> LiveCall {
        LiveCall {
            caller: self.caller.clone(),
            dialled: self.dialled.clone(),
            answered_by: self.answered_by.clone(),
            stage,
            began_at: self.began_at,
            answered_at: self.answered_at,
            member: None,
        }
    }

    /// Closes the book.
    pub fn close(mut self, now: Moment, call: CallId, legs: Vec<LegRecord>) -> CallRecord {
        let (ended_at, ending, status) = self.ended.unwrap_or((now, Ending::ServerFailed, 500));
        if self.left_out > 0 {
            let event = Event::MoreLeftOut { events: self.left_out };
            self.story.push(Told { at: ended_at, event });
        }
        CallRecord {
            call,
            caller_user: self.caller_user,
            caller: self.caller,
            caller_name: self.caller_name,
            dialled: self.dialled,
            began_at: self.began_at,
            rang_at: self.rang_at,
            answered_at: self.answered_at,
            ended_at,
            ending,
            status,
            legs,
            story: self.story,
        }
    }
}

/// Who calls, as the record and the called phones show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The extension, if it is one of the tenant's.
    pub user: Option<UserId>,
    /// The number that is shown; empty if it is withheld.
    pub number: String,
    /// The name that is shown; may be empty.
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn keeps_the_beginning_and_the_end_of_a_long_story() {
        let caller = Caller { user: None, number: "101".to_owned(), name: String::new() };
        let mut ledger = Ledger::open(Moment::from_secs(1), caller, "102");
        for _ in 0..500 {
            ledger.tell(Moment::from_secs(2), Event::Held { number: "101".to_owned() });
        }
        let ended = Event::Ended { ending: Ending::CallerHungUp, status: 200, talked_s: 0 };
        ledger.tell(Moment::from_secs(3), ended.clone());
        let record = ledger.close(Moment::from_secs(3), CallId(Uuid::nil()), vec![]);
        assert_eq!(record.story.len(), LONGEST);
        assert_eq!(record.story[LONGEST - 2].event, ended);
        assert_eq!(record.story[LONGEST - 1].event, Event::MoreLeftOut { events: 302 });
    }
}
