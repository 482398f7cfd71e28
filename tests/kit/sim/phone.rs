//! A simulated phone: it registers, calls, answers, holds and hangs up as a good phone would.
//!
//! RFC 3261 from the other side. Transactions are the product's own machines, whose tests are
//! elsewhere; dialogs, digests and descriptions are written here by hand, as text.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use pbx::chance::Chance;
use pbx::flow::Flow;
use pbx::id::NodeId;
use pbx::moment::Moment;
use pbx::sip::answer::Due;
use pbx::sip::message::Message;
use pbx::sip::method::Method;
use pbx::sip::name::Name;
use pbx::sip::transaction::{Output, Transactions};
use pbx::sip::{Contacts, Draft};

mod answering;
mod asking;
pub mod skills;
mod talk;

use skills::{Power, Skills};
use talk::{Change, Head, Intent};

pub(super) use talk::Talk;

/// What a phone does when it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Habit {
    /// Rings, and answers after this long.
    Answer(Duration),
    /// Rings for ever.
    Ring,
    /// Refuses at once with this status.
    Refuse(u16),
    /// Answers nothing at all.
    Silent,
    /// Sends the caller on to this URI.
    Forward(String),
    /// Speaks before it answers (183), and answers after this long.
    Early(Duration),
}

/// How far a phone's call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No call.
    Idle,
    /// It called, and waits.
    Calling,
    /// It is called.
    Ringing,
    /// It talks.
    Talking,
    /// The last call ended with this status (200: it was hung up after an answer).
    Ended(u16),
}

/// A simulated phone.
#[derive(Debug)]
pub struct Phone {
    /// Its name in ladders.
    pub name: String,
    /// Its address.
    pub address: SocketAddr,
    /// What it does when it is called.
    pub habit: Habit,
    /// What it knows beyond a plain call.
    pub skills: Skills,
    /// Final answers to what it asked within its call, as `200 UPDATE`.
    pub answers: Vec<String>,
    /// The last of these.
    pub last_answer: Option<Message>,
    /// The last refusal of a call of its.
    pub last_refusal: Option<Message>,
    /// How far its call is.
    pub state: State,
    /// The status of its last REGISTER.
    pub registered: Option<u16>,
    /// Contacts that the last 200 to its REGISTER listed.
    pub contacts: usize,
    /// The direction in the last description it got.
    pub hears: String,
    /// All descriptions that it got.
    pub told: Vec<String>,
    /// The last request it got.
    pub last_request: Option<Message>,
    /// The status of the answer to its last ping.
    pub pinged: Option<u16>,
    account: Account,
    talk: Talk,
    transactions: Transactions<Asked>,
    chance: Chance,
    outbox: VecDeque<Bytes>,
}

/// Who it is, and where its switch is.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its number.
    pub user: String,
    /// Its password.
    pub password: String,
    /// Its domain.
    pub domain: String,
    /// What it calls itself in Call-IDs, Contact and User-Agent.
    pub device: String,
    /// What it believes its address to be, and writes into Via, Contact and SDP.
    pub claims: SocketAddr,
    /// Where it sends everything.
    pub switch: SocketAddr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Register { expires: u32 },
    Invite,
    ReInvite,
    Ping,
    Other,
}

impl Phone {
    /// A phone that is switched off until it is told something.
    pub fn new(name: &str, address: SocketAddr, account: Account) -> Self {
        let mut seed = [7; 32];
        // A phone that knows no better chance than its own name and address.
        let own = format!("{}{}", account.device, account.claims);
        for (at, byte) in own.bytes().enumerate() {
            seed[at % 32] ^= byte.wrapping_add(at as u8);
        }
        Self {
            name: name.to_owned(),
            address,
            habit: Habit::Answer(Duration::from_secs(2)),
            skills: Skills::default(),
            answers: vec![],
            last_answer: None,
            last_refusal: None,
            state: State::Idle,
            registered: None,
            contacts: 0,
            hears: String::new(),
            told: vec![],
            last_request: None,
            pinged: None,
            account,
            talk: Talk::default(),
            transactions: Transactions::new([1; 16], 1_000),
            chance: Chance::from_seed(seed),
            outbox: VecDeque::new(),
        }
    }

    /// Who it is: to be changed before it does something.
    pub fn account_mut(&mut self) -> &mut Account {
        &mut self.account
    }

    /// Its number.
    pub fn number(&self) -> &str {
        &self.account.user
    }

    /// The account of a phone in another company that looks like this one in all but its domain.
    pub fn lookalike(&self, domain: &str, switch: SocketAddr) -> Account {
        Account { domain: domain.to_owned(), switch, ..self.account.clone() }
    }

    /// Where it sends everything.
    pub fn switch(&self) -> SocketAddr {
        self.account.switch
    }

    /// Registers, or with 0 leaves.
    pub fn register(&mut self, now: Moment, expires: u32) {
        self.registered = None;
        let call_id = format!("register-{}", self.account.device);
        let aor = format!("<sip:{}@{}>", self.account.user, self.account.domain);
        let domain = format!("sip:{}", self.account.domain);
        self.talk.cseq += 1;
        let head = Head {
            method: Method::Register,
            target: domain,
            from: format!("{aor};tag=reg-{}", self.account.device),
            to: aor,
            call_id,
            cseq: self.talk.cseq,
        };
        self.send_request(now, &head, Asked::Register { expires }, None, "");
    }

    /// Calls somebody in its own domain.
    pub fn call(&mut self, now: Moment, number: &str) {
        let sdp = self.description("sendrecv");
        self.call_with(now, number, &sdp);
    }

    /// Calls with this description; with an empty one the other side makes the offer.
    pub fn call_with(&mut self, now: Moment, number: &str, sdp: &str) {
        let number_of_call = self.chance.number();
        let domain = self.account.domain.clone();
        let talk = Talk {
            call_id: format!("{number_of_call:x}@{}", self.account.device),
            local: format!("<sip:{}@{domain}>;tag={number_of_call:x}", self.account.user),
            remote: format!("<sip:{number}@{domain}>"),
            target: format!("sip:{number}@{domain}"),
            ..Talk::default()
        };
        self.begin(now, talk, sdp);
    }

    /// Begins a call.
    pub(super) fn begin(&mut self, now: Moment, talk: Talk, sdp: &str) {
        self.talk = Talk { cseq: self.talk.cseq + 1, ..talk };
        self.state = State::Calling;
        self.send_invite(now, Asked::Invite, sdp, None);
    }

    /// Asks something outside of any call.
    pub(super) fn ask(&mut self, now: Moment, method: Method<'static>, about: &Talk) {
        self.pinged = None;
        let head = about.head(method);
        self.send_request(now, &head, Asked::Ping, None, "");
    }

    /// Its domain.
    pub(super) fn domain(&self) -> &str {
        &self.account.domain
    }

    /// A number that its other calls do not have.
    pub(super) fn number_of_call(&mut self) -> u64 {
        self.chance.number()
    }

    /// Puts the other on hold, or takes them back, unless a change is under way.
    pub fn hold(&mut self, now: Moment, direction: &str) {
        let sdp = self.description(direction);
        self.change(now, &sdp);
    }

    fn change(&mut self, now: Moment, sdp: &str) {
        if self.talk.change != Change::Asked && self.state == State::Talking {
            self.talk.change = Change::Asked;
            self.talk.cseq += 1;
            self.send_invite(now, Asked::ReInvite, sdp, None);
        }
    }

    /// Hangs up, gives up or refuses, whichever fits.
    pub fn hang_up(&mut self, now: Moment) {
        match self.state {
            State::Talking => {
                self.talk.cseq += 1;
                let head = self.head(Method::Bye);
                self.send_request(now, &head, Asked::Other, None, "");
                self.end(now);
            }
            State::Calling => {
                self.talk.intent = Intent::GiveUp;
                if let Some((_, key)) = self.talk.asked {
                    self.transactions.cancel(now, key, None);
                }
            }
            State::Ringing => {
                self.finish_invite(now, 603);
                self.drain(now);
            }
            State::Idle | State::Ended(_) => {}
        }
        self.drain(now);
    }

    /// Its call is over, and with it whatever it wanted to change.
    fn end(&mut self, now: Moment) {
        self.state = State::Ended(200);
        if let (Change::Asked, Some((_, key))) = (&self.talk.change, &self.talk.asked) {
            self.transactions.cancel(now, *key, None);
        }
        self.talk.change = Change::None;
    }

    /// When it next does something by itself.
    pub fn deadline(&self) -> Option<Moment> {
        let unacked = self.talk.unacked.as_ref().map(|(_, unacked)| unacked.deadline());
        let again = match self.talk.change {
            Change::Again { at, .. } => Some(at),
            Change::None | Change::Asked => None,
        };
        let announced = self.talk.announcements.deadline();
        let own = [self.transactions.deadline(), self.talk.answer_at, unacked, again, announced];
        own.into_iter().flatten().min()
    }

    /// Its time has come.
    pub fn handle_deadline(&mut self, now: Moment) {
        if self.skills.power == Power::Off {
            self.transactions = Transactions::new([1; 16], 1_000);
            self.talk = Talk::default();
            return;
        }
        self.transactions.handle_deadline(now);
        if self.talk.answer_at.is_some_and(|at| at <= now) {
            self.talk.answer_at = None;
            self.finish_invite(now, 200);
        }
        self.announce_again(now);
        match self.talk.unacked.as_mut().and_then(|(_, unacked)| unacked.handle_deadline(now)) {
            Some(Due::Repeat(bytes)) => self.outbox.push_back(bytes),
            // RFC 3261 §13.3.1.4: whoever called is not there.
            Some(Due::GiveUp) => {
                self.talk.unacked = None;
                self.hang_up(now);
            }
            None => {}
        }
        if let Change::Again { at, sdp } = self.talk.change.clone()
            && at <= now
        {
            self.talk.change = Change::None;
            self.change(now, &sdp);
        }
        self.drain(now);
    }

    /// What it sends to its switch.
    pub fn poll_output(&mut self) -> Option<Bytes> {
        self.outbox.pop_front()
    }

    /// A datagram came.
    pub fn handle_datagram(&mut self, now: Moment, bytes: Bytes) {
        let Ok(message) = Message::parse(bytes) else { return };
        if self.skills.power == Power::Off {
            return;
        }
        if !message.body().is_empty() {
            self.told.push(String::from_utf8_lossy(&message.body()).into_owned());
        }
        match message.is_request() {
            true => self.handle_request(now, message),
            false => self.handle_response(now, &message),
        }
        self.drain(now);
    }

    /// Whether nothing is left to do or to forget.
    pub fn is_quiet(&self) -> bool {
        self.transactions.is_empty() && self.talk.unacked.is_none()
    }

    fn flow(&self) -> Flow {
        Flow::udp(NodeId(0), self.address, self.account.switch)
    }

    fn drain(&mut self, now: Moment) {
        while let Some(output) = self.transactions.poll_output() {
            match output {
                Output::Send { bytes, .. } => self.outbox.push_back(bytes),
                Output::TimedOut { owner: Asked::Invite } => self.refused(408),
                Output::TimedOut { owner: Asked::ReInvite } => self.hang_up(now),
                Output::TimedOut { owner: Asked::Register { .. } } => self.registered = Some(408),
                Output::TimedOut { .. } | Output::NeverAcknowledged { .. } => {}
            }
        }
    }
}

fn contact_of(message: &Message) -> String {
    match message.contacts() {
        Ok(Contacts::List(list)) => {
            list.first().map(|contact| contact.uri_text.to_owned()).unwrap_or_default()
        }
        Ok(Contacts::None | Contacts::Star) | Err(_) => String::new(),
    }
}

fn direction(message: &Message) -> String {
    let body = String::from_utf8_lossy(&message.body()).into_owned();
    let known = ["sendrecv", "sendonly", "recvonly", "inactive"];
    let found = known.into_iter().find(|name| body.contains(&format!("a={name}\r\n")));
    found.unwrap_or_default().to_owned()
}

fn answering(heard: &str) -> &'static str {
    match heard {
        "sendonly" => "recvonly",
        "recvonly" => "sendonly",
        "inactive" => "inactive",
        _ => "sendrecv",
    }
}

fn with(draft: Draft, headers: &[(Name, String)]) -> Draft {
    headers.iter().fold(draft, |draft, (name, value)| draft.header(*name, value))
}
