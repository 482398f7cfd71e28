//! How many calls may be under way at once, and how long one may last: the lowest limit wins.
//!
//! A call counts once for the company and once for each extension that is party to it: the caller
//! from its start, an extension that is called from the moment its phones are tried.

use std::collections::BTreeMap;
use std::time::Duration;

use smallvec::SmallVec;

use super::directory::{Directory, Limits};
use crate::id::UserId;

/// The live calls of one tenant, counted.
#[derive(Debug, Default)]
pub struct LiveCalls {
    company: u32,
    users: BTreeMap<UserId, u32>,
}

/// One call's place in the count. It must be given back to [`LiveCalls::end`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit that is dropped is counted for ever"]
pub struct Permit {
    parties: SmallVec<[UserId; 2]>,
}

/// No more calls at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitReached {
    /// Whose limit.
    pub whose: Whose,
    /// How many calls it allows.
    pub limit: u32,
}

/// Whose limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The whole company's.
    Company,
    /// One extension's.
    User(UserId),
}

impl LimitReached {
    /// Busy, not 503: a phone takes that for a broken server and goes looking for another.
    pub fn status(&self) -> u16 {
        486
    }

    /// What the answer's first line says.
    pub fn reason(&self) -> &'static str {
        "Call Limit Reached"
    }
}

impl LiveCalls {
    /// A call begins; `caller` is the calling extension, if it is one of ours.
    pub fn begin(
        &mut self,
        directory: &Directory,
        caller: Option<UserId>,
    ) -> Result<Permit, LimitReached> {
        check(directory.limits, self.company, Whose::Company)?;
        if let Some(user) = caller {
            self.check_user(directory, user)?;
        }
        Ok(self.take_back(caller))
    }

    /// An extension's phones are about to be tried: from now on it is party to the call.
    pub fn join(
        &mut self,
        directory: &Directory,
        permit: &mut Permit,
        user: UserId,
    ) -> Result<(), LimitReached> {
        if permit.parties.contains(&user) {
            return Ok(());
        }
        self.check_user(directory, user)?;
        self.count(permit, user);
        Ok(())
    }

    /// An extension is no longer party to the call: another one answered, or it refused.
    pub fn leave(&mut self, permit: &mut Permit, user: UserId) {
        if let Some(at) = permit.parties.iter().position(|party| *party == user) {
            permit.parties.swap_remove(at);
            self.release(user);
        }
    }

    /// The call is over.
    pub fn end(&mut self, permit: Permit) {
        self.company = self.company.saturating_sub(1);
        for user in permit.parties {
            self.release(user);
        }
    }

    /// Counts a call that was alive before a restart, whatever the limits say now.
    pub fn take_back(&mut self, parties: impl IntoIterator<Item = UserId>) -> Permit {
        self.company += 1;
        let mut permit = Permit { parties: SmallVec::new() };
        for user in parties {
            if !permit.parties.contains(&user) {
                self.count(&mut permit, user);
            }
        }
        permit
    }

    /// Calls under way.
    pub fn company(&self) -> u32 {
        self.company
    }

    /// Calls to which an extension is party.
    pub fn of(&self, user: UserId) -> u32 {
        self.users.get(&user).copied().unwrap_or(0)
    }

    fn check_user(&self, directory: &Directory, user: UserId) -> Result<(), LimitReached> {
        let limits = directory.users.get(&user).map(|user| user.limits).unwrap_or_default();
        check(limits, self.of(user), Whose::User(user))
    }

    fn count(&mut self, permit: &mut Permit, user: UserId) {
        *self.users.entry(user).or_default() += 1;
        permit.parties.push(user);
    }

    fn release(&mut self, user: UserId) {
        if let Some(calls) = self.users.get_mut(&user) {
            *calls -= 1;
            if *calls == 0 {
                self.users.remove(&user);
            }
        }
    }
}

impl Permit {
    /// The extensions that are party to the call.
    pub fn parties(&self) -> &[UserId] {
        &self.parties
    }

    /// How long the call may last from its answer: the lowest of the company's and the parties'.
    pub fn max_call_for(&self, directory: &Directory) -> Option<Duration> {
        let parties = self.parties.iter().filter_map(|user| directory.users.get(user));
        let theirs = parties.filter_map(|user| user.limits.max_call_for);
        theirs.chain(directory.limits.max_call_for).min()
    }
}

fn check(limits: Limits, calls: u32, whose: Whose) -> Result<(), LimitReached> {
    match limits.max_calls {
        Some(limit) if calls >= limit => Err(LimitReached { whose, limit }),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::sample::{directory, user};

    #[test]
    fn the_company_limit_counts_every_call_whoever_makes_it() {
        let mut company = directory();
        company.limits.max_calls = Some(2);
        let mut calls = LiveCalls::default();

        let first = calls.begin(&company, Some(user(101))).unwrap();
        let second = calls.begin(&company, None).unwrap();
        assert_eq!(
            calls.begin(&company, Some(user(102))),
            Err(LimitReached { whose: Whose::Company, limit: 2 })
        );
        assert_eq!(calls.of(user(102)), 0, "a refused call counts for nobody");

        calls.end(first);
        let third = calls.begin(&company, Some(user(102))).unwrap();
        calls.end(second);
        calls.end(third);
        assert_eq!((calls.company(), calls.of(user(101))), (0, 0));
    }

    #[test]
    fn an_extension_at_its_limit_can_neither_call_nor_be_called() {
        let mut company = directory();
        company.users.get_mut(&user(101)).unwrap().limits.max_calls = Some(1);
        let reached = LimitReached { whose: Whose::User(user(101)), limit: 1 };
        let mut calls = LiveCalls::default();

        let mut from_102 = calls.begin(&company, Some(user(102))).unwrap();
        calls.join(&company, &mut from_102, user(101)).unwrap();

        assert_eq!(calls.begin(&company, Some(user(101))), Err(reached));
        let mut from_103 = calls.begin(&company, Some(user(103))).unwrap();
        assert_eq!(calls.join(&company, &mut from_103, user(101)), Err(reached));
        assert_eq!(reached.status(), 486);

        calls.leave(&mut from_102, user(101));
        assert_eq!(calls.join(&company, &mut from_103, user(101)), Ok(()));
        calls.end(from_102);
        calls.end(from_103);
    }

    #[test]
    fn an_extension_that_calls_itself_is_in_one_call() {
        let mut company = directory();
        company.users.get_mut(&user(101)).unwrap().limits.max_calls = Some(1);
        let mut calls = LiveCalls::default();
        let mut permit = calls.begin(&company, Some(user(101))).unwrap();
        assert_eq!(calls.join(&company, &mut permit, user(101)), Ok(()));
        assert_eq!(calls.of(user(101)), 1);
        calls.end(permit);
        assert_eq!(calls.of(user(101)), 0);
    }

    #[test]
    fn leaving_twice_frees_one_place() {
        let company = directory();
        let mut calls = LiveCalls::default();
        let other = calls.take_back([user(102)]);
        let mut permit = calls.begin(&company, Some(user(101))).unwrap();
        calls.join(&company, &mut permit, user(102)).unwrap();
        calls.leave(&mut permit, user(102));
        calls.leave(&mut permit, user(102));
        assert_eq!(calls.of(user(102)), 1);
        calls.end(permit);
        calls.end(other);
    }

    #[test]
    fn a_revived_call_is_counted_even_above_the_limit() {
        let mut company = directory();
        company.limits.max_calls = Some(0);
        let mut calls = LiveCalls::default();
        let permit = calls.take_back([user(101), user(102), user(101)]);
        assert_eq!((calls.company(), calls.of(user(101)), calls.of(user(102))), (1, 1, 1));
        assert!(calls.begin(&company, None).is_err());
        calls.end(permit);
    }

    #[test]
    fn the_shortest_duration_of_company_and_parties_holds() {
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3_600));
        let mut company = directory();
        let mut calls = LiveCalls::default();
        let mut permit = calls.begin(&company, Some(user(101))).unwrap();
        calls.join(&company, &mut permit, user(102)).unwrap();
        assert_eq!(permit.max_call_for(&company), None);

        company.limits.max_call_for = hours(4);
        assert_eq!(permit.max_call_for(&company), hours(4));
        company.users.get_mut(&user(102)).unwrap().limits.max_call_for = hours(1);
        assert_eq!(permit.max_call_for(&company), hours(1));
        company.users.get_mut(&user(103)).unwrap().limits.max_call_for = Some(Duration::ZERO);
        assert_eq!(permit.max_call_for(&company), hours(1), "103 is not party to it");
        calls.end(permit);
    }
}
