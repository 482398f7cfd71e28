//! A phone of our own, on any transport: it registers, dials, answers and hangs up, and shows every
//! message as it was.
//!
//! RFC 3261 and RFC 3264, as little of them as a well-behaved phone needs. It shares no code with
//! the server.

use std::net::SocketAddr;

use crate::company::Company;
use crate::digest::{self, Login};
use crate::failure::{Failure, Outcome};
use crate::line::{Line, field};

/// A phone. Dropping it cuts its line.
#[derive(Debug)]
pub struct Handset {
    /// Its way to the server.
    pub line: Line,
    number: String,
    domain: &'static str,
    password: String,
    requests: u32,
}

/// What a phone says to a dialog that it is in.
#[derive(Debug, Clone)]
pub struct Dialog {
    /// The last INVITE or its 200, as the server sent it.
    pub theirs: String,
    /// Where requests go.
    pub target: String,
    from: String,
    to: String,
    call_id: String,
    cseq: u32,
}

impl Handset {
    /// A phone of an extension.
    pub fn new(company: &Company, number: &str, line: Line) -> Self {
        let password = company.password(number);
        Self { line, number: number.to_owned(), domain: company.domain, password, requests: 0 }
    }

    /// The same phone on another line.
    #[must_use]
    pub fn moved(self, line: Line) -> Self {
        Self { line, ..self }
    }

    /// Its address in the company.
    pub fn address(&self) -> String {
        format!("sip:{}@{}", self.number, self.domain)
    }

    /// Its Contact.
    pub fn contact(&self) -> String {
        let transport = self.line.transport().to_ascii_lowercase();
        format!("<sip:{}@{};transport={transport}>", self.number, self.line.local)
    }

    /// Registers, proving its password when asked to; returns the 200.
    ///
    /// # Errors
    /// If it is refused.
    pub fn register(&mut self, expires: u32) -> Outcome<String> {
        let (from, target) = (self.address(), format!("sip:{}", self.domain));
        let more = format!("Contact: {}\r\nExpires: {expires}\r\n", self.contact());
        let answer = self.ask("REGISTER", &target, &from, &more, "")?;
        expect(answer, 200)
    }

    /// Calls; returns once it is answered, and has acknowledged that.
    ///
    /// # Errors
    /// If the call is refused.
    pub fn call(&mut self, number: &str, sound: SocketAddr) -> Outcome<Dialog> {
        self.call_with(number, &offer(sound))
    }

    /// The same, with that session description.
    ///
    /// # Errors
    /// If the call is refused.
    pub fn call_with(&mut self, number: &str, sdp: &str) -> Outcome<Dialog> {
        let target = format!("sip:{number}@{}", self.domain);
        let answer = self.invite_with(&target, sdp)?;
        let theirs = expect(answer, 200)?;
        let dialog = self.dialog_of(&theirs, Side::Caller)?;
        self.send_within(&dialog, "ACK", dialog.cseq, "", "")?;
        Ok(dialog)
    }

    /// Calls, and returns the final answer whatever it is. A refusal is acknowledged.
    ///
    /// # Errors
    /// If no final answer comes.
    pub fn invite(&mut self, target: &str, sound: SocketAddr) -> Outcome<String> {
        self.invite_with(target, &offer(sound))
    }

    fn invite_with(&mut self, target: &str, sdp: &str) -> Outcome<String> {
        self.ask("INVITE", target, target, &self.with_sdp(), sdp)
    }

    /// Waits for a call and answers it; returns once that is acknowledged.
    ///
    /// # Errors
    /// If none comes.
    pub fn answer(&mut self, sound: SocketAddr) -> Outcome<Dialog> {
        let invite = self.request_of("INVITE")?;
        self.accept(&invite, &offer(sound))
    }

    /// Answers a call that has come with that session description; returns once that is
    /// acknowledged.
    ///
    /// # Errors
    /// If it is not.
    pub fn accept(&mut self, invite: &str, sdp: &str) -> Outcome<Dialog> {
        self.respond(invite, "200 OK", &self.with_sdp(), sdp)?;
        self.request_of("ACK")?;
        self.dialog_of(invite, Side::Callee)
    }

    /// Refuses a call that has come; returns once that is acknowledged.
    ///
    /// # Errors
    /// If it is not.
    pub fn refuse(&mut self, invite: &str, status: &str) -> Outcome {
        self.respond(invite, status, "", "")?;
        self.request_of("ACK").map(drop)
    }

    /// Changes the session of a call that goes on; returns the 200, which it has acknowledged.
    ///
    /// # Errors
    /// If that is refused.
    pub fn renew(&mut self, dialog: &mut Dialog, sdp: &str) -> Outcome<String> {
        dialog.cseq += 1;
        self.send_within(dialog, "INVITE", dialog.cseq, &self.with_sdp(), sdp)?;
        let answer = expect(self.final_answer("INVITE")?, 200)?;
        self.send_within(dialog, "ACK", dialog.cseq, "", "")?;
        Ok(answer)
    }

    /// Hangs up.
    ///
    /// # Errors
    /// If the other side does not confirm it.
    pub fn hang_up(&mut self, dialog: &Dialog) -> Outcome {
        self.send_within(dialog, "BYE", dialog.cseq + 1, "", "")?;
        let mut answer = self.final_answer("BYE")?;
        // From another connection than the call's it has to say again who it is.
        if status(&answer) == 407 {
            let login = Login { user: &self.number, password: &self.password };
            let proof = digest::answer_md5(&answer, "BYE", &dialog.target, &login)?;
            let proof = format!("Proxy-Authorization: {proof}\r\n");
            self.send_within(dialog, "BYE", dialog.cseq + 2, &proof, "")?;
            answer = self.final_answer("BYE")?;
        }
        expect(answer, 200).map(drop)
    }

    /// Waits until the other side hangs up, and confirms it.
    ///
    /// # Errors
    /// If it does not.
    pub fn wait_for_bye(&mut self) -> Outcome<String> {
        let bye = self.request_of("BYE")?;
        self.respond(&bye, "200 OK", "", "")?;
        Ok(bye)
    }

    /// Asks the server whether it is there.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn ping(&mut self) -> Outcome<String> {
        let target = format!("sip:{}", self.domain);
        let request = self.request("OPTIONS", &target, &target, "", "", "");
        self.line.send(request.as_bytes())?;
        self.final_answer("OPTIONS")
    }

    /// The next request of that kind; others are passed over.
    ///
    /// # Errors
    /// If it does not come in time.
    pub fn request_of(&mut self, method: &str) -> Outcome<String> {
        loop {
            let message = self.line.message()?;
            if message.starts_with(&format!("{method} ")) {
                return Ok(message);
            }
        }
    }

    /// A request outside of any dialog, as it goes over the line.
    pub fn request(
        &mut self,
        method: &str,
        target: &str,
        to: &str,
        proof: &str,
        more: &str,
        body: &str,
    ) -> String {
        self.requests += 1;
        let (count, at, user) = (self.requests, self.line.local, self.address());
        let id = format!("{}{}", self.number, at.port());
        format!(
            "{method} {target} SIP/2.0\r\n\
             Via: SIP/2.0/{transport} {at};rport;branch=z9hG4bKh{count}x{id}\r\n\
             Max-Forwards: 70\r\nFrom: <{user}>;tag=h{id}\r\nTo: <{to}>\r\n\
             Call-ID: {method}-{id}\r\nCSeq: {count} {method}\r\n{proof}{more}\
             Content-Length: {length}\r\n\r\n{body}",
            transport = self.line.transport(),
            length = body.len()
        )
    }

    fn ask(
        &mut self,
        method: &str,
        target: &str,
        to: &str,
        more: &str,
        body: &str,
    ) -> Outcome<String> {
        let request = self.request(method, target, to, "", more, body);
        self.line.send(request.as_bytes())?;
        let answer = self.final_answer(method)?;
        let header = match status(&answer) {
            401 => "Authorization",
            407 => "Proxy-Authorization",
            _ => return self.acknowledge(method, &request, answer),
        };
        self.acknowledge(method, &request, answer.clone())?;
        let login = Login { user: &self.number, password: &self.password };
        let proof = digest::answer_md5(&answer, method, target, &login)?;
        let proof = format!("{header}: {proof}\r\n");
        let request = self.request(method, target, to, &proof, more, body);
        self.line.send(request.as_bytes())?;
        let answer = self.final_answer(method)?;
        self.acknowledge(method, &request, answer)
    }

    /// RFC 3261 §17.1.1.3: a refused INVITE is acknowledged hop by hop.
    fn acknowledge(&mut self, method: &str, request: &str, answer: String) -> Outcome<String> {
        if method == "INVITE" && status(&answer) >= 300 {
            let line = request.lines().next().unwrap_or_default().replacen("INVITE", "ACK", 1);
            let mut ack = format!("{line}\r\n");
            for name in ["Via", "Max-Forwards", "From", "Call-ID"] {
                ack += &format!("{name}: {}\r\n", field(request, name).unwrap_or_default());
            }
            let cseq = field(request, "CSeq").unwrap_or_default().replacen("INVITE", "ACK", 1);
            let to = field(&answer, "To").unwrap_or_default();
            ack += &format!("To: {to}\r\nCSeq: {cseq}\r\nContent-Length: 0\r\n\r\n");
            self.line.send(ack.as_bytes())?;
        }
        Ok(answer)
    }

    fn final_answer(&mut self, method: &str) -> Outcome<String> {
        loop {
            let message = self.line.message()?;
            let is_ours = field(&message, "CSeq").is_some_and(|cseq| cseq.ends_with(method));
            if is_ours && status(&message) >= 200 {
                return Ok(message);
            }
        }
    }

    fn respond(&mut self, request: &str, status: &str, more: &str, body: &str) -> Outcome {
        let mut response = format!("SIP/2.0 {status}\r\n");
        let head = request.split("\r\n\r\n").next().unwrap_or_default();
        for line in head.lines().skip(1) {
            let name = line.split(':').next().unwrap_or_default();
            match name {
                "To" if !line.contains(";tag=") => response += &format!("{line};tag=h-callee\r\n"),
                "Via" | "From" | "To" | "Call-ID" | "CSeq" => response += &format!("{line}\r\n"),
                _ => {}
            }
        }
        response += &format!("{more}Content-Length: {}\r\n\r\n{body}", body.len());
        self.line.send(response.as_bytes())
    }

    fn dialog_of(&self, theirs: &str, side: Side) -> Outcome<Dialog> {
        let value = |name: &str| {
            let value = field(theirs, name).map(str::to_owned);
            value.ok_or_else(|| Failure::new(format!("no {name} in:\n{theirs}")))
        };
        let contact = value("Contact")?;
        let target = contact.trim_start_matches('<').split('>').next().unwrap_or_default();
        let (from, to) = match side {
            Side::Caller => (value("From")?, value("To")?),
            Side::Callee => (format!("{};tag=h-callee", value("To")?), value("From")?),
        };
        let cseq = match side {
            Side::Caller => value("CSeq")?.split(' ').next().unwrap_or_default().parse()?,
            Side::Callee => 0,
        };
        let call_id = value("Call-ID")?;
        let (theirs, target) = (theirs.to_owned(), target.to_owned());
        Ok(Dialog { theirs, target, from, to, call_id, cseq })
    }

    /// The header fields of a message of ours with a session description.
    fn with_sdp(&self) -> String {
        format!("Contact: {}\r\nContent-Type: application/sdp\r\n", self.contact())
    }

    fn send_within(
        &mut self,
        dialog: &Dialog,
        method: &str,
        cseq: u32,
        more: &str,
        body: &str,
    ) -> Outcome {
        self.requests += 1;
        let Dialog { target, from, to, call_id, .. } = dialog;
        let at = self.line.local;
        let request = format!(
            "{method} {target} SIP/2.0\r\n\
             Via: SIP/2.0/{transport} {at};rport;branch=z9hG4bKd{count}x{port}\r\n\
             Max-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq} {method}\r\n{more}Content-Length: {length}\r\n\r\n{body}",
            transport = self.line.transport(),
            length = body.len(),
            count = self.requests,
            port = at.port(),
        );
        self.line.send(request.as_bytes())
    }
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Caller,
    Callee,
}

/// The status code of a response; 0 of anything else.
pub fn status(message: &str) -> u16 {
    let code = message.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3));
    code.and_then(|code| code.parse().ok()).unwrap_or(0)
}

fn expect(answer: String, wanted: u16) -> Outcome<String> {
    match status(&answer) == wanted {
        true => Ok(answer),
        false => Err(Failure::new(format!("not {wanted}, but:\n{answer}"))),
    }
}

/// The address for sound in a message's session description.
///
/// # Errors
/// If there is none.
pub fn sound_of(message: &str) -> Outcome<SocketAddr> {
    let line = |start: &str| message.lines().find_map(|line| line.strip_prefix(start));
    let ip = line("c=IN IP4 ").or(line("c=IN IP6 "));
    let port = line("m=audio ").and_then(|rest| rest.split(' ').next());
    match (ip, port) {
        (Some(ip), Some(port)) => Ok(SocketAddr::new(ip.trim().parse()?, port.parse()?)),
        (Some(_) | None, _) => Err(Failure::new(format!("no sound in:\n{message}"))),
    }
}

/// RFC 4566: G.711 µ-law, here.
fn offer(sound: SocketAddr) -> String {
    let family = if sound.is_ipv4() { "IP4" } else { "IP6" };
    let (ip, port) = (sound.ip(), sound.port());
    format!(
        "v=0\r\no=- 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
    )
}
