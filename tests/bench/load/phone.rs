//! A phone of the load, and the requests that it sends.
//!
//! RFC 3261 §8.1.1 and §10.2.

use std::fmt::Write;
use std::net::SocketAddrV4;

use super::proof::{Asker, Challenge};
use super::reading::Branch;

/// A phone: its account, and what it remembers.
#[derive(Debug, Clone)]
pub(super) struct Phone {
    pub(super) user: String,
    pub(super) domain: String,
    challenge: Option<Challenge>,
    asker: Asker,
    cseq: u32,
    /// Whether its last registration added it.
    pub(super) is_bound: bool,
}

/// What a call of a caller's own has to remember.
#[derive(Debug, Clone, Default)]
pub(super) struct Dialog {
    /// Its Call-ID.
    pub(super) id: String,
    /// Whom it is to.
    pub(super) called: String,
    /// The number of its INVITE.
    pub(super) cseq: u32,
    /// The other side's To, once it has a tag.
    pub(super) to: String,
    /// Where requests within it go.
    pub(super) target: String,
    /// The proxies on the way.
    pub(super) routes: Vec<String>,
}

/// What a phone shows with a request, beside what it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Showing {
    Nothing,
    Password,
}

impl Phone {
    /// The phone with this number among those of all tenants. Its CSeq begins at `cseq`.
    pub(super) fn new(tenant: usize, number: usize, cseq: u32) -> Self {
        Self {
            user: super::user(number),
            domain: super::domain(tenant),
            challenge: None,
            asker: Asker::Registrar,
            cseq,
            is_bound: false,
        }
    }

    /// Takes a challenge. Returns whether there was one that it can answer.
    pub(super) fn learn(&mut self, asker: Asker, value: &str) -> bool {
        self.asker = asker;
        let password = super::password(&self.user, &self.domain);
        self.challenge = Challenge::read(value, &self.user, &password);
        self.challenge.is_some()
    }

    fn proof(&mut self, showing: Showing, method: &str, uri: &str) -> String {
        match (&mut self.challenge, showing) {
            (Some(challenge), Showing::Password) => {
                challenge.answer(self.asker, &self.user, method, uri)
            }
            (None, _) | (_, Showing::Nothing) => String::new(),
        }
    }

    /// Its address as others dial it.
    pub(super) fn address(&self) -> String {
        format!("sip:{}@{}", self.user, self.domain)
    }

    /// A REGISTER.
    pub(super) fn register(
        &mut self,
        from: SocketAddrV4,
        branch: Branch,
        showing: Showing,
        expires: u32,
    ) -> String {
        self.cseq += 1;
        if self.asker == Asker::Proxy {
            // What an INVITE was asked is no answer for a registrar.
            self.asker = Asker::Registrar;
        }
        let uri = format!("sip:{}", self.domain);
        let proof = self.proof(showing, "REGISTER", &uri);
        let Self { user, domain, cseq, .. } = self;
        format!(
            "REGISTER {uri} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {from};rport;branch={branch}\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:{user}@{domain}>;tag=r{user}\r\n\
             To: <sip:{user}@{domain}>\r\n\
             Call-ID: r-{user}-{domain}@{from}\r\n\
             CSeq: {cseq} REGISTER\r\n\
             Contact: <sip:{user}@{from}>\r\n\
             Expires: {expires}\r\n\
             User-Agent: tests/bench\r\n\
             {proof}Content-Length: 0\r\n\r\n"
        )
    }

    /// The INVITE that opens a dialog, with a description of the sound at this port.
    pub(super) fn invite(
        &mut self,
        from: SocketAddrV4,
        branch: Branch,
        showing: Showing,
        dialog: &Dialog,
        sound: u16,
    ) -> String {
        let Dialog { id, called, cseq, .. } = dialog;
        let proof = self.proof(showing, "INVITE", called);
        let body = description(from, sound);
        let Self { user, domain, .. } = self;
        format!(
            "INVITE {called} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {from};rport;branch={branch}\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:{user}@{domain}>;tag=c{run:x}{serial:x}\r\n\
             To: <{called}>\r\n\
             Call-ID: {id}\r\n\
             CSeq: {cseq} INVITE\r\n\
             Contact: <sip:{user}@{from}>\r\n\
             Allow: INVITE, ACK, BYE, CANCEL, OPTIONS\r\n\
             User-Agent: tests/bench\r\n\
             {proof}Content-Type: application/sdp\r\n\
             Content-Length: {length}\r\n\r\n{body}",
            run = branch.run,
            serial = branch.serial,
            length = body.len(),
        )
    }

    /// The ACK to a refusal: it belongs to the INVITE's own transaction.
    pub(super) fn acknowledge_refusal(
        &self,
        from: SocketAddrV4,
        branch: Branch,
        dialog: &Dialog,
        to: &str,
        cseq: u32,
    ) -> String {
        let Dialog { id, called, .. } = dialog;
        let Self { user, domain, .. } = self;
        format!(
            "ACK {called} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {from};rport;branch={branch}\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:{user}@{domain}>;tag=c{run:x}{serial:x}\r\n\
             To: {to}\r\n\
             Call-ID: {id}\r\n\
             CSeq: {cseq} ACK\r\n\
             Content-Length: 0\r\n\r\n",
            run = branch.run,
            serial = branch.serial,
        )
    }

    /// An ACK or BYE within the dialog.
    pub(super) fn within(
        &self,
        from: SocketAddrV4,
        branch: Branch,
        dialog: &Dialog,
        method: &str,
        cseq: u32,
    ) -> String {
        let Dialog { id, to, target, routes, .. } = dialog;
        let Self { user, domain, .. } = self;
        let mut route = String::new();
        for hop in routes {
            write!(route, "Route: {hop}\r\n").expect("writing into a string cannot fail");
        }
        format!(
            "{method} {target} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {from};rport;branch={branch}\r\n\
             Max-Forwards: 70\r\n\
             {route}From: <sip:{user}@{domain}>;tag=c{run:x}{serial:x}\r\n\
             To: {to}\r\n\
             Call-ID: {id}\r\n\
             CSeq: {cseq} {method}\r\n\
             Contact: <sip:{user}@{from}>\r\n\
             User-Agent: tests/bench\r\n\
             Content-Length: 0\r\n\r\n",
            run = branch.run,
            serial = branch.serial,
        )
    }
}

/// A question whether the server lives.
pub(super) fn options(from: SocketAddrV4, server: SocketAddrV4, branch: Branch) -> String {
    format!(
        "OPTIONS sip:{server} SIP/2.0\r\n\
         Via: SIP/2.0/UDP {from};rport;branch={branch}\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:load@{from}>;tag=o{serial:x}\r\n\
         To: <sip:{server}>\r\n\
         Call-ID: o-{run:x}-{serial:x}-{place:x}@{from}\r\n\
         CSeq: 1 OPTIONS\r\n\
         Contact: <sip:load@{from}>\r\n\
         User-Agent: tests/bench\r\n\
         Content-Length: 0\r\n\r\n",
        run = branch.run,
        serial = branch.serial,
        place = branch.place,
    )
}

/// G.711 and keys pressed, at this port.
pub(super) fn description(from: SocketAddrV4, sound: u16) -> String {
    let ip = from.ip();
    format!(
        "v=0\r\no=- {sound} 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {sound} RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=sendrecv\r\n"
    )
}
