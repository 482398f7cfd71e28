//! A simulated phone: it registers, calls, answers, holds and hangs up as a good phone would.
//!
//! RFC 3261 from the other side. Transactions are the product's own machines, whose tests are
//! elsewhere; dialogs, digests and descriptions are written here by hand, as text.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use pbx::chance::Chance;
use pbx::flow::Flow;
use pbx::id::NodeId;
use pbx::moment::Moment;
use pbx::sip::answer::{Due, Unacknowledged2xx};
use pbx::sip::digest;
use pbx::sip::message::Message;
use pbx::sip::method::Method;
use pbx::sip::name::Name;
use pbx::sip::transaction::{Arrival, Cancelled, Output, ServerId, Transactions};
use pbx::sip::{Contacts, Draft};

/// Whoever is asked for the password more often does not know it.
const MOST_CHALLENGES: u32 = 3;

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

/// Its only call.
#[derive(Debug, Default)]
pub(super) struct Talk {
    pub(super) call_id: String,
    pub(super) local: String,
    pub(super) remote: String,
    pub(super) target: String,
    pub(super) cseq: u32,
    /// What a carrier writes into its requests besides.
    pub(super) more: Vec<(Name, String)>,
    pub(super) invite: Option<(ServerId, Message)>,
    pub(super) asked: Option<(String, u64)>,
    pub(super) challenges: u32,
    pub(super) intent: Intent,
    pub(super) change: Change,
    /// Our 200, by the number of the INVITE that it answers.
    pub(super) unacked: Option<(u32, Unacknowledged2xx)>,
    /// Our ACKs, by the number of their INVITE.
    pub(super) acked: BTreeMap<u32, Bytes>,
    pub(super) answer_at: Option<Moment>,
}

/// What becomes of an answer that comes after all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Intent {
    #[default]
    Talk,
    GiveUp,
}

/// Whether it is changing the call (RFC 3261 §14.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Change {
    #[default]
    None,
    /// It asked, and waits.
    Asked,
    /// The other asked at the same time: it asks again.
    Again { at: Moment, sdp: String },
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
    /// How far its call is.
    pub state: State,
    /// The status of its last REGISTER.
    pub registered: Option<u16>,
    /// Contacts that the last 200 to its REGISTER listed.
    pub contacts: usize,
    /// The direction in the last description it got.
    pub hears: String,
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
            state: State::Idle,
            registered: None,
            contacts: 0,
            hears: String::new(),
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
                self.state = State::Ended(200);
            }
            State::Calling => {
                self.talk.intent = Intent::GiveUp;
                if let Some((_, key)) = self.talk.asked {
                    self.transactions.cancel(now, key, None);
                }
            }
            State::Ringing => self.finish_invite(now, 603),
            State::Idle | State::Ended(_) => {}
        }
    }

    /// When it next does something by itself.
    pub fn deadline(&self) -> Option<Moment> {
        let unacked = self.talk.unacked.as_ref().map(|(_, unacked)| unacked.deadline());
        let again = match self.talk.change {
            Change::Again { at, .. } => Some(at),
            Change::None | Change::Asked => None,
        };
        let own = [self.transactions.deadline(), self.talk.answer_at, unacked, again];
        own.into_iter().flatten().min()
    }

    /// Its time has come.
    pub fn handle_deadline(&mut self, now: Moment) {
        self.transactions.handle_deadline(now);
        if self.talk.answer_at.is_some_and(|at| at <= now) {
            self.talk.answer_at = None;
            self.finish_invite(now, 200);
        }
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

    fn handle_request(&mut self, now: Moment, request: Message) {
        self.last_request = Some(request.clone());
        let flow = self.flow();
        match self.transactions.receive_request(now, flow, &request) {
            Arrival::Ack => {
                let cseq = request.cseq().map(|cseq| cseq.number).unwrap_or_default();
                if self.talk.unacked.as_ref().is_some_and(|(number, _)| *number == cseq) {
                    self.talk.unacked = None;
                    if !request.body().is_empty() {
                        self.hears = direction(&request);
                    }
                }
            }
            Arrival::Cancel { server, invite } => {
                let bytes = Draft::response(&request, 200, None).to_tag("phone").finish();
                self.transactions.respond(now, server, 200, bytes);
                if let Cancelled::Invite(..) = invite {
                    self.finish_invite(now, 487);
                }
            }
            Arrival::New(server) if request.method() == Method::Invite => {
                self.handle_invite(now, server, request);
            }
            Arrival::New(server) => {
                let known = request.call_id().is_ok_and(|id| id == self.talk.call_id);
                let status = match request.method() {
                    Method::Bye if !known => 481,
                    _ => 200,
                };
                if request.method() == Method::Bye && known {
                    self.state = State::Ended(200);
                    self.talk.unacked = None;
                }
                let bytes = Draft::response(&request, status, None).to_tag("phone").finish();
                self.transactions.respond(now, server, status, bytes);
            }
            Arrival::Absorbed | Arrival::Merged | Arrival::Full | Arrival::Unreadable => {}
        }
    }

    fn handle_invite(&mut self, now: Moment, server: ServerId, invite: Message) {
        let within = invite.to().is_ok_and(|to| to.tag().is_some());
        self.transactions.own(server, Asked::Invite);
        if within {
            let known = invite.call_id().is_ok_and(|id| id == self.talk.call_id);
            let refusal = match (self.state, &self.talk.change) {
                (State::Talking, Change::None | Change::Again { .. }) if known => None,
                // RFC 3261 §14.2: it waits for an answer of its own.
                (State::Talking, Change::Asked) | (State::Calling, _) if known => Some(491),
                _ => Some(481),
            };
            if let Some(status) = refusal {
                let bytes = Draft::response(&invite, status, None).finish();
                return self.transactions.respond(now, server, status, bytes);
            }
            self.hears = direction(&invite);
            let answer = match self.hears.as_str() {
                "sendonly" => "recvonly",
                "inactive" => "inactive",
                _ => "sendrecv",
            };
            let sdp = self.description(answer);
            let bytes = self.write_answer(&invite, 200, &sdp);
            self.expect_ack(now, &invite, &bytes);
            return self.transactions.respond(now, server, 200, bytes);
        }
        if matches!(self.state, State::Talking | State::Ringing | State::Calling) {
            let bytes = Draft::response(&invite, 486, None).to_tag("busy").finish();
            return self.transactions.respond(now, server, 486, bytes);
        }
        let tag = self.chance.number();
        self.hears = direction(&invite);
        self.talk = Talk {
            call_id: invite.call_id().unwrap_or_default().to_owned(),
            local: format!("{};tag={tag:x}", invite.first(Name::To).unwrap_or_default()),
            remote: invite.first(Name::From).unwrap_or_default().to_owned(),
            target: contact_of(&invite),
            invite: Some((server, invite.clone())),
            cseq: self.talk.cseq,
            ..Talk::default()
        };
        self.state = State::Ringing;
        match self.habit.clone() {
            Habit::Answer(after) => {
                self.provisional(now, 180);
                self.talk.answer_at = Some(now + after);
            }
            Habit::Early(after) => {
                self.provisional(now, 183);
                self.talk.answer_at = Some(now + after);
            }
            Habit::Ring => self.provisional(now, 180),
            Habit::Refuse(status) => self.finish_invite(now, status),
            Habit::Forward(_) => self.finish_invite(now, 302),
            Habit::Silent => self.state = State::Idle,
        }
    }

    fn provisional(&mut self, now: Moment, status: u16) {
        let Some((server, invite)) = self.talk.invite.clone() else { return };
        let sdp = if status == 183 { self.description("sendrecv") } else { String::new() };
        let bytes = self.write_answer(&invite, status, &sdp);
        self.transactions.respond(now, server, status, bytes);
    }

    fn finish_invite(&mut self, now: Moment, status: u16) {
        let Some((server, invite)) = self.talk.invite.take() else { return };
        self.talk.answer_at = None;
        self.state = if status == 200 { State::Talking } else { State::Ended(status) };
        let sdp = if status == 200 { self.description("sendrecv") } else { String::new() };
        let bytes = self.write_answer(&invite, status, &sdp);
        if status == 200 {
            self.expect_ack(now, &invite, &bytes);
        }
        self.transactions.respond(now, server, status, bytes);
    }

    fn expect_ack(&mut self, now: Moment, invite: &Message, answer: &Bytes) {
        let cseq = invite.cseq().map(|cseq| cseq.number).unwrap_or_default();
        self.talk.unacked = Some((cseq, Unacknowledged2xx::new(now, answer.clone())));
    }

    fn write_answer(&self, invite: &Message, status: u16, sdp: &str) -> Bytes {
        let tag = self.talk.local.rsplit(";tag=").next().unwrap_or_default();
        let draft = Draft::response(invite, status, None).to_tag(tag);
        let draft = match (&self.habit, status) {
            (Habit::Forward(to), 302) => draft.header(Name::Contact, format_args!("<{to}>")),
            _ => draft.header(Name::Contact, self.contact()),
        };
        match sdp.is_empty() {
            true => draft.finish(),
            false => draft.body("application/sdp", sdp.as_bytes()).finish(),
        }
    }

    fn handle_response(&mut self, now: Moment, response: &Message) {
        let branch = response.via().ok().and_then(|via| via.branch().map(str::to_owned));
        let key = branch.and_then(|branch| u64::from_str_radix(branch.get(7..)?, 16).ok());
        let Some(key) = key else { return };
        let Some(answer) = self.transactions.receive_response(now, key, response) else { return };
        match (answer.owner, answer.status) {
            (_, 100) => {}
            (Asked::Register { expires }, 401) if self.registered != Some(401) => {
                self.registered = Some(401);
                let auth = self.authorize(response, "REGISTER", Name::WwwAuthenticate);
                self.register_again(now, expires, auth);
            }
            (Asked::Register { .. }, status) => {
                self.registered = Some(status);
                self.contacts = response.values(Name::Contact).count();
            }
            (Asked::Invite | Asked::ReInvite, 407) if !self.account.password.is_empty() => {
                self.invite_again(now, response);
            }
            (asked @ (Asked::Invite | Asked::ReInvite), 200..=299) => {
                self.answered(now, asked, response);
            }
            (Asked::Invite, 300..) => self.refused(answer.status),
            (Asked::ReInvite, 491) => {
                let at = now + Duration::from_millis(self.chance.below(4_000));
                let sdp = self.talk.asked.as_ref().map(|(sdp, _)| sdp.clone()).unwrap_or_default();
                self.talk.change = Change::Again { at, sdp };
            }
            // RFC 3261 §12.2.1.2: the other knows nothing of this call any more.
            (Asked::ReInvite, 408 | 481) => self.hang_up(now),
            (Asked::ReInvite, 300..) => self.talk.change = Change::None,
            (Asked::Ping, status) => self.pinged = Some(status),
            (Asked::Invite | Asked::ReInvite | Asked::Other, _) => {}
        }
    }

    fn register_again(&mut self, now: Moment, expires: u32, auth: (Name, String)) {
        self.talk.cseq += 1;
        let aor = format!("<sip:{}@{}>", self.account.user, self.account.domain);
        let head = Head {
            method: Method::Register,
            target: format!("sip:{}", self.account.domain),
            from: format!("{aor};tag=reg-{}", self.account.device),
            to: aor,
            call_id: format!("register-{}", self.account.device),
            cseq: self.talk.cseq,
        };
        self.send_request(now, &head, Asked::Register { expires }, Some(auth), "");
    }

    fn invite_again(&mut self, now: Moment, response: &Message) {
        let Some((sdp, _)) = self.talk.asked.clone() else { return };
        self.talk.challenges += 1;
        if self.talk.intent == Intent::GiveUp || self.talk.challenges > MOST_CHALLENGES {
            return self.refused(407);
        }
        let auth = self.authorize(response, "INVITE", Name::ProxyAuthenticate);
        self.talk.cseq += 1;
        self.send_invite(now, Asked::Invite, &sdp, Some(auth));
    }

    fn refused(&mut self, status: u16) {
        if self.state == State::Calling {
            self.state = State::Ended(status);
        }
    }

    fn answered(&mut self, now: Moment, asked: Asked, response: &Message) {
        let cseq = response.cseq().map(|cseq| cseq.number).unwrap_or_default();
        if response.call_id().is_ok_and(|id| id != self.talk.call_id) {
            return;
        }
        if let Some(ack) = self.talk.acked.get(&cseq) {
            return self.outbox.push_back(ack.clone());
        }
        self.talk.remote = response.first(Name::To).unwrap_or_default().to_owned();
        self.talk.target = contact_of(response);
        self.hears = direction(response);
        let offered = self.talk.asked.as_ref().is_some_and(|(sdp, _)| !sdp.is_empty());
        let draft = self.draft(&Head { cseq, ..self.head(Method::Ack) }, self.chance_branch(now));
        let bytes = match offered {
            true => draft.finish(),
            false => {
                draft.body("application/sdp", self.description("sendrecv").as_bytes()).finish()
            }
        };
        self.talk.acked.insert(cseq, bytes.clone());
        self.outbox.push_back(bytes);
        if asked == Asked::ReInvite {
            self.talk.change = Change::None;
            return;
        }
        let wanted = self.state == State::Calling && self.talk.intent == Intent::Talk;
        self.state = State::Talking;
        if !wanted {
            self.hang_up(now);
        }
    }

    fn chance_branch(&self, now: Moment) -> u64 {
        now.as_micros() ^ u64::from(self.talk.cseq) << 48
    }

    fn send_invite(&mut self, now: Moment, asked: Asked, sdp: &str, auth: Option<(Name, String)>) {
        let head = self.head(Method::Invite);
        let key = self.send_request(now, &head, asked, auth, sdp);
        self.talk.asked = Some((sdp.to_owned(), key));
    }

    fn send_request(
        &mut self,
        now: Moment,
        head: &Head,
        asked: Asked,
        auth: Option<(Name, String)>,
        sdp: &str,
    ) -> u64 {
        let key = self.chance.number();
        let mut draft = self.draft(head, key);
        if let Asked::Register { expires } = asked {
            draft = draft.header(Name::Expires, expires);
        }
        for (name, value) in &self.talk.more {
            draft = draft.header(*name, value);
        }
        if let Some((name, value)) = auth {
            draft = draft.header(name, value);
        }
        let bytes = match sdp.is_empty() {
            true => draft.finish(),
            false => draft.body("application/sdp", sdp.as_bytes()).finish(),
        };
        let flow = self.flow();
        self.transactions
            .request(now, flow, head.method, bytes, key, asked)
            .expect("a simulated phone has room");
        self.drain(now);
        key
    }

    fn draft(&self, head: &Head, key: u64) -> Draft {
        Draft::request(head.method, &head.target)
            .header(
                Name::Via,
                format_args!("SIP/2.0/UDP {};branch=z9hG4bK{key:x};rport", self.account.claims),
            )
            .header(Name::MaxForwards, 70)
            .header(Name::From, &head.from)
            .header(Name::To, &head.to)
            .header(Name::CallId, &head.call_id)
            .header(Name::CSeq, format_args!("{} {}", head.cseq, head.method.as_str()))
            .header(Name::Contact, self.contact())
            .header(Name::UserAgent, &self.account.device)
    }

    fn head(&self, method: Method<'static>) -> Head {
        self.talk.head(method)
    }

    /// RFC 7616 §3.4.1, written out.
    fn authorize(&self, response: &Message, method: &str, asked: Name) -> (Name, String) {
        let challenge = response.first(asked).unwrap_or_default();
        let part = |name: &str| {
            let at = challenge.find(&format!("{name}=\"")).map(|at| at + name.len() + 2);
            let rest = at.and_then(|at| challenge.get(at..)).unwrap_or_default();
            rest.split('"').next().unwrap_or_default().to_owned()
        };
        let (realm, nonce) = (part("realm"), part("nonce"));
        let uri = format!("sip:{}", self.account.domain);
        let user = &self.account.user;
        let ha1 = hex(&digest::md5(&[user, &realm, &self.account.password]));
        let ha2 = hex(&digest::md5(&[method, &uri]));
        let proof = hex(&digest::md5(&[&ha1, &nonce, "00000001", "c", "auth", &ha2]));
        let name = match asked {
            Name::WwwAuthenticate => Name::Authorization,
            _ => Name::ProxyAuthorization,
        };
        let value = format!(
            "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{proof}\", qop=auth, nc=00000001, cnonce=\"c\""
        );
        (name, value)
    }

    pub(super) fn description(&self, direction: &str) -> String {
        format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=audio 4000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na={direction}\r\n",
            ip = self.account.claims.ip()
        )
    }

    fn contact(&self) -> String {
        format!("<sip:{}@{};line={}>", self.account.user, self.account.claims, self.account.device)
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

impl Talk {
    fn head(&self, method: Method<'static>) -> Head {
        Head {
            method,
            target: self.target.clone(),
            from: self.local.clone(),
            to: self.remote.clone(),
            call_id: self.call_id.clone(),
            cseq: self.cseq,
        }
    }
}

struct Head {
    method: Method<'static>,
    target: String,
    from: String,
    to: String,
    call_id: String,
    cseq: u32,
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
