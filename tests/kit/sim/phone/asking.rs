//! What a simulated phone asks, and what it makes of the answers.
//!
//! RFC 3261 §8.1, §13.2 and §22, written out by hand.

use std::time::Duration;

use pbx::moment::Moment;
use pbx::sip::Draft;
use pbx::sip::digest;
use pbx::sip::message::Message;
use pbx::sip::method::Method;
use pbx::sip::name::Name;

use super::talk::{Change, Head, Intent};
use super::{Asked, Phone, State, contact_of, direction, with};

/// Whoever is asked for the password more often does not know it.
const MOST_CHALLENGES: u32 = 3;

impl Phone {
    pub(super) fn handle_response(&mut self, now: Moment, response: &Message) {
        let branch = response.via().ok().and_then(|via| via.branch().map(str::to_owned));
        let key = branch.and_then(|branch| u64::from_str_radix(branch.get(7..)?, 16).ok());
        let Some(key) = key else { return };
        let Some(answer) = self.transactions.receive_response(now, key, response) else { return };
        match (answer.owner, answer.status) {
            (_, 100) => {}
            (Asked::Invite, 101..=199) => self.confirm(now, response),
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
                if asked == Asked::ReInvite {
                    self.note_answer(response);
                }
                self.answered(now, asked, response);
            }
            (Asked::Invite, 300..) => {
                self.last_refusal = Some(response.clone());
                self.refused(answer.status);
            }
            (Asked::ReInvite, 491) => {
                self.note_answer(response);
                let at = now + Duration::from_millis(self.chance.below(4_000));
                let sdp = self.talk.asked.as_ref().map(|(sdp, _)| sdp.clone()).unwrap_or_default();
                self.talk.change = Change::Again { at, sdp };
            }
            // RFC 3261 §12.2.1.2: the other knows nothing of this call any more.
            (Asked::ReInvite, 408 | 481) => self.hang_up(now),
            (Asked::ReInvite, 300..) => {
                self.note_answer(response);
                self.talk.change = Change::None;
            }
            (Asked::Other, 200..) => self.note_answer(response),
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

    pub(super) fn refused(&mut self, status: u16) {
        if self.state == State::Calling {
            self.state = State::Ended(status);
        }
    }

    pub(super) fn answered(&mut self, now: Moment, asked: Asked, response: &Message) {
        let cseq = response.cseq().map(|cseq| cseq.number).unwrap_or_default();
        if response.call_id().is_ok_and(|id| id != self.talk.call_id) {
            return;
        }
        if let Some(ack) = self.talk.acked.get(&cseq) {
            return self.outbox.push_back(ack.clone());
        }
        self.talk.remote = response.first(Name::To).unwrap_or_default().to_owned();
        self.talk.target = contact_of(response);
        if !response.body().is_empty() {
            self.hears = direction(response);
        }
        let offered = self.talk.asked.as_ref().is_some_and(|(sdp, _)| !sdp.is_empty());
        let draft = self.draft(&Head { cseq, ..self.head(Method::Ack) }, self.chance_branch(now));
        let bytes = match offered {
            true => draft.finish(),
            false => {
                let said = self.answer(response, self.skills.acks_with.unwrap_or("sendrecv"));
                draft.body("application/sdp", said.as_bytes()).finish()
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

    pub(super) fn send_invite(
        &mut self,
        now: Moment,
        asked: Asked,
        sdp: &str,
        auth: Option<(Name, String)>,
    ) {
        let head = self.head(Method::Invite);
        let key = self.send_request(now, &head, asked, auth, sdp);
        self.talk.asked = Some((sdp.to_owned(), key));
    }

    pub(super) fn send_request(
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
        if matches!(asked, Asked::Invite | Asked::ReInvite | Asked::Other) {
            draft = with(draft, &self.skills.asks_with);
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

    pub(super) fn draft(&self, head: &Head, key: u64) -> Draft {
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

    pub(super) fn head(&self, method: Method<'static>) -> Head {
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

    pub(in crate::sim) fn description(&self, direction: &str) -> String {
        self.describe(self.skills.sound.offers.as_deref(), direction)
    }

    /// Its answer to what a message offers, or its offer if that offers nothing.
    pub(super) fn answer(&self, asked: &Message, direction: &str) -> String {
        let sound = &self.skills.sound;
        let says = if asked.body().is_empty() { &sound.offers } else { &sound.answers };
        self.describe(says.as_deref(), direction)
    }

    fn describe(&self, stream: Option<&str>, direction: &str) -> String {
        let ip = self.account.claims.ip().to_string();
        let plain = "m=audio 4000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n";
        let stream = stream.unwrap_or(plain).replace("{ip}", &ip);
        format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             {stream}a={direction}\r\n"
        )
    }

    pub(super) fn contact(&self) -> String {
        format!("<sip:{}@{};line={}>", self.account.user, self.account.claims, self.account.device)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
