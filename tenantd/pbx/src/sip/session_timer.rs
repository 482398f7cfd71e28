//! The pulse of a call: now and then one side asks the other whether it is still there.
//!
//! RFC 4028, both roles. Each leg has a timer of its own and negotiates by itself; it is plain data,
//! so that it survives a restart. Whoever is the refresher asks at half of the interval; the other
//! one hangs up when nothing came until shortly before its end (§10). A phone that knows nothing of
//! this is asked by us all the same (§7.2): that is how we notice that it vanished.
//!
//! The call drives it: [`SessionTimer::ask`] writes what a request of ours proposes,
//! [`SessionTimer::answer`] what a 2xx of ours agrees to, [`SessionTimer::handle_agreed`] reads the
//! 2xx of the phone. In between [`SessionTimer::deadline`] says when something is due.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cseq::whole;
use super::draft::Draft;
use super::message::Message;
use super::method::Method;
use super::name::Name;
use super::params::Params;
use crate::moment::Moment;

/// The interval that we propose (§4).
pub const INTERVAL_S: u32 = 1_800;
/// The shortest interval that we agree to (§4).
pub const SHORTEST_S: u32 = 90;
/// A phone that wants to be asked more seldom is taken to mean this.
const LONGEST_S: u32 = 86_400;
/// How long before its end a session that was not refreshed is over, at most (§10).
const MARGIN: Duration = Duration::from_secs(32);
/// When a refresh that was refused for no reason of ours is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(30);
/// A timer that came due while we were away waits so long at least: phones come back first.
const REVIVED_AFTER: Duration = Duration::from_secs(64);

/// One leg's session timer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionTimer {
    interval_s: u32,
    /// The highest Min-SE that was named in this dialog (§7.4).
    least_s: u32,
    raised: Raised,
    peer: Peer,
    means: Means,
    state: State,
}

/// Whether a 422 has made us propose a longer interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Raised {
    No,
    Once,
}

/// What the phone knows of session timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Peer {
    /// Nothing, as far as it has said.
    Plain,
    /// It has one of its own.
    Timed,
}

/// What a refresh of ours is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Means {
    /// An UPDATE without a description: nothing but the question.
    Update,
    /// An INVITE with the description that stands.
    ReInvite,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    /// No session yet.
    Off,
    /// We are the refresher.
    Ours { ask_at: Moment },
    /// A refresh of ours waits for its answer, as long as its transaction lasts.
    Asking,
    /// The phone is the refresher.
    Theirs { ends_at: Moment },
}

/// Who refreshes, as a message says it: its sender's role, not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refresher {
    Uac,
    Uas,
}

/// The interval that was asked for is too short: 422, with our Min-SE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooBrief;

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Ask the phone.
    Refresh(Means),
    /// The phone has not asked in time: it is gone.
    Expired,
}

/// What a refusal of a refresh means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It answered, so it lives.
    Goes,
    /// It knows nothing of the call any more (§10).
    Gone,
}

/// Whether a request that was refused may be tried once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// With the longer interval.
    Longer,
    /// Not again.
    No,
}

impl Default for SessionTimer {
    fn default() -> Self {
        Self {
            interval_s: INTERVAL_S,
            least_s: SHORTEST_S,
            raised: Raised::No,
            peer: Peer::Plain,
            means: Means::ReInvite,
            state: State::Off,
        }
    }
}

impl SessionTimer {
    /// Whether a request's interval is long enough for us (§9). Who has no timer of its own could
    /// do nothing with the refusal: a proxy on the way has asked for it.
    pub fn check(request: &Message) -> Result<(), TooBrief> {
        match Proposal::of(request) {
            Some(proposal) if proposal.seconds < SHORTEST_S && knows_timers(request) => {
                Err(TooBrief)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Learns from a request or a response of the phone what it can do.
    pub fn learn(&mut self, message: &Message) {
        if message.first(Name::Allow).is_some() {
            let allows = message.values(Name::Allow).any(|text| Method::of(text) == Method::Update);
            self.means = if allows { Means::Update } else { Means::ReInvite };
        }
        if knows_timers(message) {
            self.peer = Peer::Timed;
        }
        if message.is_request() {
            let least = message.first(Name::MinSe).and_then(seconds).unwrap_or(SHORTEST_S);
            self.least_s = self.least_s.max(least.min(LONGEST_S));
        }
    }

    /// How the phone can be asked.
    pub fn means(&self) -> Means {
        self.means
    }

    /// Whether a refresh of ours waits for its answer.
    pub fn is_asking(&self) -> bool {
        self.state == State::Asking
    }

    /// Writes into a request of ours what we propose (§7.1, §7.4).
    pub fn ask(&self, draft: Draft) -> Draft {
        let interval = self.interval_s.max(self.least_s);
        let draft = match self.state {
            State::Off => draft.header(Name::SessionExpires, interval),
            State::Ours { .. } | State::Asking => {
                draft.header(Name::SessionExpires, format_args!("{interval};refresher=uac"))
            }
            State::Theirs { .. } => {
                draft.header(Name::SessionExpires, format_args!("{interval};refresher=uas"))
            }
        };
        match self.least_s > SHORTEST_S {
            true => draft.header(Name::MinSe, self.least_s),
            false => draft,
        }
    }

    /// We answer an INVITE or UPDATE with a 2xx: the timer starts again, and what we agree to is
    /// written into it (§9, table 2). Who knows no timers is asked by us, and told so only if a proxy
    /// on the way wants to know.
    pub fn answer(&mut self, now: Moment, request: &Message, draft: Draft) -> Draft {
        self.learn(request);
        let proposal = Proposal::of(request);
        let wished = proposal.as_ref().map_or(INTERVAL_S, |proposal| proposal.seconds);
        self.interval_s = wished.min(INTERVAL_S).max(self.least_s);
        let refresher = match (knows_timers(request), proposal) {
            (false, None) => {
                self.run(now, Refresher::Uas, Refresher::Uas);
                return draft;
            }
            (false, Some(_)) => Refresher::Uas,
            (true, Some(Proposal { refresher: Some(refresher), .. })) => refresher,
            (true, Some(Proposal { refresher: None, .. })) => Refresher::Uac,
            (true, None) => Refresher::Uas,
        };
        self.run(now, refresher, Refresher::Uas);
        let interval = self.interval_s;
        match refresher {
            Refresher::Uac => draft
                .header(Name::Require, "timer")
                .header(Name::SessionExpires, format_args!("{interval};refresher=uac")),
            Refresher::Uas => {
                draft.header(Name::SessionExpires, format_args!("{interval};refresher=uas"))
            }
        }
    }

    /// The phone's 2xx to an INVITE or UPDATE of ours (§7.2).
    pub fn handle_agreed(&mut self, now: Moment, response: &Message) {
        self.learn(response);
        match Proposal::of(response) {
            Some(proposal) => {
                self.peer = Peer::Timed;
                self.interval_s = proposal.seconds.clamp(SHORTEST_S, LONGEST_S);
                let refresher = proposal.refresher.unwrap_or(Refresher::Uac);
                self.run(now, refresher, Refresher::Uac);
            }
            None => {
                self.interval_s = INTERVAL_S;
                self.run(now, Refresher::Uac, Refresher::Uac);
            }
        }
    }

    /// The phone refuses our interval with 422 (§7.3): once we propose what it wants.
    pub fn handle_too_brief(&mut self, response: &Message) -> Retry {
        let least = response.first(Name::MinSe).and_then(seconds).unwrap_or(0);
        let proposed = self.interval_s.max(self.least_s);
        if self.raised == Raised::Once || least <= proposed || least > LONGEST_S {
            return Retry::No;
        }
        self.raised = Raised::Once;
        (self.least_s, self.interval_s) = (least, least);
        Retry::Longer
    }

    /// A refresh of ours was refused, or `None`: not answered at all. With 491 it is tried again
    /// `after` a while (RFC 3261 §14.1).
    pub fn handle_refused(&mut self, now: Moment, status: Option<u16>, after: Duration) -> Life {
        let waits = self.state == State::Asking;
        let again = match (status, self.means, self.peer) {
            (None | Some(408 | 481), _, _) => return Life::Gone,
            // It does not know UPDATE after all; its own timer still wants to be refreshed.
            (Some(405 | 501), Means::Update, _) => {
                self.means = Means::ReInvite;
                Duration::ZERO
            }
            (Some(491), _, _) => after,
            (Some(_), _, Peer::Timed) => AGAIN_AFTER,
            (Some(_), _, Peer::Plain) => self.pause(),
        };
        if waits {
            self.state = State::Ours { ask_at: now + again };
        }
        Life::Goes
    }

    /// A refresh cannot be sent right now.
    pub fn postpone(&mut self, now: Moment, after: Duration) {
        if self.state == State::Asking {
            self.state = State::Ours { ask_at: now + after };
        }
    }

    /// When [`Self::handle_deadline`] is next due.
    pub fn deadline(&self) -> Option<Moment> {
        match self.state {
            State::Ours { ask_at } => Some(ask_at),
            State::Theirs { ends_at } => Some(ends_at),
            State::Off | State::Asking => None,
        }
    }

    /// A deadline has come.
    pub fn handle_deadline(&mut self, now: Moment) -> Option<Due> {
        match self.state {
            State::Ours { ask_at } if ask_at <= now => {
                self.state = State::Asking;
                Some(Due::Refresh(self.means))
            }
            State::Theirs { ends_at } if ends_at <= now => {
                self.state = State::Off;
                Some(Due::Expired)
            }
            State::Off | State::Ours { .. } | State::Asking | State::Theirs { .. } => None,
        }
    }

    /// Takes it over after a restart. What came due meanwhile is due a while from now, and not for
    /// all calls at once: `spread` is of each call's own.
    pub fn revive(&mut self, now: Moment, spread: Duration) {
        let soon = now + REVIVED_AFTER;
        match &mut self.state {
            State::Ours { ask_at } => *ask_at = (*ask_at).max(now + spread),
            State::Theirs { ends_at } => *ends_at = (*ends_at).max(soon),
            State::Asking => self.state = State::Ours { ask_at: now + spread },
            State::Off => {}
        }
    }

    fn run(&mut self, now: Moment, refresher: Refresher, we_are: Refresher) {
        self.state = match refresher == we_are {
            true => State::Ours { ask_at: now + self.pause() },
            false => {
                let interval = Duration::from_secs(self.interval_s.into());
                State::Theirs { ends_at: now + (interval - MARGIN.min(interval / 3)) }
            }
        };
    }

    /// From one refresh of ours to the next.
    fn pause(&self) -> Duration {
        Duration::from_secs(self.interval_s.into()) / 2
    }
}

/// What a Session-Expires header field says (§4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Proposal {
    seconds: u32,
    refresher: Option<Refresher>,
}

impl Proposal {
    /// One that cannot be read counts as none.
    fn of(message: &Message) -> Option<Self> {
        let text = message.first(Name::SessionExpires)?;
        let (number, params) = text.split_at(text.find(';').unwrap_or(text.len()));
        let refresher = Params::parse(params, "Session-Expires").ok()?.value("refresher");
        let refresher = match refresher {
            Some(role) if role.eq_ignore_ascii_case("uac") => Some(Refresher::Uac),
            Some(role) if role.eq_ignore_ascii_case("uas") => Some(Refresher::Uas),
            Some(_) | None => None,
        };
        Some(Self { seconds: seconds(number)?, refresher })
    }
}

fn knows_timers(message: &Message) -> bool {
    let said = message.values(Name::Supported).chain(message.values(Name::Require));
    said.into_iter().any(|tag| tag.eq_ignore_ascii_case("timer"))
}

/// A number of seconds, with or without parameters behind it.
fn seconds(text: &str) -> Option<u32> {
    let number = text.split(';').next().unwrap_or_default().trim();
    Some(u32::try_from(whole(number)?).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const START: Moment = Moment::from_secs(1_000);

    fn request(headers: &str) -> Message {
        let text = format!(
            "INVITE sip:102@acme.test SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n\
             From: <sip:101@acme.test>;tag=1\r\nTo: <sip:102@acme.test>\r\nCall-ID: c\r\n\
             CSeq: 1 INVITE\r\n{headers}\r\n"
        );
        Message::parse(Bytes::from(text)).unwrap()
    }

    fn answered(headers: &str) -> Message {
        let asked = request("");
        let text = String::from_utf8(Draft::response(&asked, 200, None).finish().to_vec()).unwrap();
        let text = text.replace("Content-Length: 0\r\n", headers);
        Message::parse(Bytes::from(text)).unwrap()
    }

    /// What we agree to, and after how many seconds what is due.
    fn agreed(headers: &str) -> (String, u64, Due) {
        let (asked, mut timer) = (request(headers), SessionTimer::default());
        let draft = timer.answer(START, &asked, Draft::response(&asked, 200, None));
        let answer = Message::parse(draft.finish()).unwrap();
        let said = answer.first(Name::SessionExpires).unwrap_or_default().to_owned();
        let requires = answer.first(Name::Require).map_or("", |_| " required");
        let (after, due) = next(&mut timer);
        (format!("{said}{requires}"), after, due)
    }

    fn next(timer: &mut SessionTimer) -> (u64, Due) {
        let at = timer.deadline().expect("something is due");
        let early = Moment::from_micros(at.as_micros().saturating_sub(1));
        assert_eq!(timer.handle_deadline(early).filter(|_| at > START), None);
        ((at - START).as_secs(), timer.handle_deadline(at).expect("it is due"))
    }

    #[test]
    fn who_asks_for_a_timer_gets_it_with_the_role_it_wants() {
        let invite = Due::Refresh(Means::ReInvite);
        for (headers, said, after, due) in [
            ("Supported: timer\r\nx: 600\r\n", "600;refresher=uac required", 568, Due::Expired),
            ("Supported: timer\r\nx: 600;refresher=uas\r\n", "600;refresher=uas", 300, invite),
            ("Supported: TIMER\r\n", "1800;refresher=uas", 900, invite),
            (
                "Require: timer\r\nx: 90;refresher=uac\r\n",
                "90;refresher=uac required",
                60,
                Due::Expired,
            ),
            ("k: timer\r\nx: 7200\r\n", "1800;refresher=uac required", 1_768, Due::Expired),
            (
                "k: timer\r\nx: 7200\r\nMin-SE: 3600\r\n",
                "3600;refresher=uac required",
                3_568,
                Due::Expired,
            ),
            ("x: 600\r\n", "600;refresher=uas", 300, invite),
            ("", "", 900, invite),
            ("Allow: INVITE, UPDATE\r\n", "", 900, Due::Refresh(Means::Update)),
            ("k: timer\r\nx: nonsense\r\n", "1800;refresher=uas", 900, invite),
        ] {
            assert_eq!(agreed(headers), (said.to_owned(), after, due), "{headers}");
        }
    }

    #[test]
    fn an_interval_that_is_too_short_is_refused_to_who_can_choose_another() {
        let check = |headers| SessionTimer::check(&request(headers));
        assert_eq!(check("k: timer\r\nx: 89\r\n"), Err(TooBrief));
        assert_eq!(check("k: timer\r\nx: 90\r\n"), Ok(()));
        assert_eq!(check("x: 30\r\n"), Ok(()));
        assert_eq!(agreed("x: 30\r\n").1, 45);
    }

    #[test]
    fn a_called_phone_says_who_refreshes_and_one_that_knows_no_timer_is_asked() {
        for (headers, after, due) in [
            ("x: 1200;refresher=uac\r\nAllow: UPDATE\r\n", 600, Due::Refresh(Means::Update)),
            ("x: 1200;refresher=uas\r\n", 1_168, Due::Expired),
            ("x: 1\r\n", 45, Due::Refresh(Means::ReInvite)),
            ("", 900, Due::Refresh(Means::ReInvite)),
        ] {
            let mut timer = SessionTimer::default();
            timer.handle_agreed(START, &answered(headers));
            assert_eq!(next(&mut timer), (after, due), "{headers}");
        }
    }

    #[test]
    fn what_is_proposed_within_a_dialog_keeps_the_roles() {
        let said = |timer: &SessionTimer| {
            let draft = timer.ask(Draft::response(&request(""), 200, None)).finish();
            let message = Message::parse(draft).unwrap();
            let least = message.first(Name::MinSe).unwrap_or("-").to_owned();
            (message.first(Name::SessionExpires).unwrap().to_owned(), least)
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let mut timer = SessionTimer::default();
        assert_eq!(said(&timer), pair("1800", "-"));
        timer.handle_agreed(START, &answered("x: 600;refresher=uas\r\n"));
        assert_eq!(said(&timer), pair("600;refresher=uas", "-"));
        timer.handle_agreed(START, &answered("x: 600;refresher=uac\r\n"));
        assert_eq!(said(&timer), pair("600;refresher=uac", "-"));
        let too_brief = answered("Min-SE: 4000\r\n");
        assert_eq!(timer.handle_too_brief(&too_brief), Retry::Longer);
        assert_eq!(said(&timer), pair("4000;refresher=uac", "4000"));
        assert_eq!(timer.handle_too_brief(&answered("Min-SE: 5000\r\n")), Retry::No, "once");
    }

    #[test]
    fn only_408_481_and_silence_say_that_a_phone_is_gone() {
        let asking = |headers: &str| {
            let mut timer = SessionTimer::default();
            timer.handle_agreed(START, &answered(headers));
            next(&mut timer);
            timer
        };
        let wait = Duration::from_secs(2);
        for status in [None, Some(408), Some(481)] {
            assert_eq!(asking("").handle_refused(START, status, wait), Life::Gone);
        }
        for (status, headers, after) in [
            (500, "", 900),
            (405, "", 900),
            (488, "x: 1800;refresher=uac\r\n", 30),
            (491, "", 2),
            (405, "Allow: UPDATE\r\n", 0),
        ] {
            let mut timer = asking(headers);
            assert_eq!(timer.handle_refused(START, Some(status), wait), Life::Goes);
            assert_eq!(next(&mut timer), (after, Due::Refresh(Means::ReInvite)), "{status}");
        }
    }

    #[test]
    fn a_phone_that_refreshes_while_we_ask_is_the_refresher_from_then_on() {
        let mut timer = SessionTimer::default();
        timer.handle_agreed(START, &answered(""));
        next(&mut timer);
        assert_eq!(timer.deadline(), None);
        let update = request("k: timer\r\nx: 300;refresher=uac\r\n");
        let _ = timer.answer(START, &update, Draft::response(&update, 200, None));
        assert_eq!(timer.handle_refused(START, Some(500), Duration::ZERO), Life::Goes);
        assert_eq!(next(&mut timer), (268, Due::Expired));
    }

    #[test]
    fn after_a_restart_nobody_is_hung_up_for_our_own_absence() {
        let mut timer = SessionTimer::default();
        timer.handle_agreed(START, &answered("x: 90;refresher=uas\r\n"));
        let later = START + Duration::from_secs(600);
        timer.revive(later, Duration::from_secs(3));
        assert_eq!(timer.deadline(), Some(later + REVIVED_AFTER));
        timer.handle_agreed(START, &answered(""));
        timer.revive(START, Duration::from_secs(3));
        assert_eq!(timer.deadline(), Some(START + Duration::from_secs(900)));
        next(&mut timer);
        timer.revive(later, Duration::from_secs(3));
        assert_eq!(timer.deadline(), Some(later + Duration::from_secs(3)));
    }
}
