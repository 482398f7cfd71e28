//! A bare phone on a socket of its own: registers, calls and answers, and says which of that was
//! acknowledged. Cheap enough for hundreds of them.
//!
//! RFC 3261 over UDP, with SHA-256 as the only password proof, so its company must want that. It
//! shares no code with the server.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::company::Company;
use crate::digest::{Login, answer_sha256};
use crate::failure::{Failure, Outcome};

/// The settings of a company whose phones are such ones.
pub const SETTINGS: &str = "digest = [\"SHA-256\"]\n";
/// T1: an unanswered request is repeated after this long, and then twice as slowly each time.
const REPEAT_AFTER: Duration = Duration::from_millis(500);
/// 64 times T1: nobody answers later.
const GIVE_UP_AFTER: Duration = Duration::from_secs(32);
/// So long a called phone may ring.
const RING_FOR: Duration = Duration::from_secs(60);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// A phone. Dropping it switches it off.
#[derive(Debug)]
pub struct PlainPhone {
    socket: UdpSocket,
    server: SocketAddr,
    domain: String,
    number: String,
    password: String,
    claims: SocketAddr,
    requests: u32,
    gives_up_after: Duration,
}

/// A final answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// All of it.
    pub text: String,
    /// How long it took, the question for the password included.
    pub took: Duration,
}

/// A phone that answers whoever calls. Dropping it switches it off.
#[derive(Debug)]
pub struct Answering {
    ends: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A request as it is written.
struct Request<'a> {
    method: &'a str,
    target: &'a str,
    to: &'a str,
    call: &'a str,
    cseq: u32,
    more: String,
    body: &'a str,
}

impl PlainPhone {
    /// A phone of this extension, on any free port.
    ///
    /// # Errors
    /// If there is none.
    pub fn new(company: &Company, number: &str, server: SocketAddr) -> Outcome<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let claims = socket.local_addr()?;
        Ok(Self {
            socket,
            server,
            domain: company.domain.to_owned(),
            number: number.to_owned(),
            password: company.password(number),
            claims,
            requests: 0,
            gives_up_after: GIVE_UP_AFTER,
        })
    }

    /// Waits for no answer longer than that.
    #[must_use]
    pub fn patient_for(self, gives_up_after: Duration) -> Self {
        Self { gives_up_after, ..self }
    }

    /// The Contact that it registers.
    pub fn contact(&self) -> String {
        format!("sip:{}@{}", self.number, self.claims)
    }

    /// It believes to be there, as phones behind a router do.
    #[must_use]
    pub fn claiming(self, claims: SocketAddr) -> Self {
        Self { claims, ..self }
    }

    /// Registers for so many seconds, or leaves with 0.
    ///
    /// # Errors
    /// If nobody answers.
    pub fn register(&mut self, expires_s: u32) -> Outcome<Answer> {
        let target = format!("sip:{}", self.domain);
        let to = format!("<sip:{}@{}>", self.number, self.domain);
        let call = format!("register-{}@{}", self.number, self.claims);
        self.ask("REGISTER", &target, &to, &call, &format!("Expires: {expires_s}\r\n"), "")
    }

    /// Calls, and once somebody has answered, hangs up. Gives the answer to the BYE, or the refusal.
    ///
    /// # Errors
    /// If nobody answers.
    pub fn call_and_hang_up(&mut self, number: &str) -> Outcome<Answer> {
        let target = format!("sip:{number}@{}", self.domain);
        let call = format!("call{}-{}@{}", self.requests, self.number, self.claims);
        let sdp = description(self.claims);
        let answer = self.ask("INVITE", &target, &format!("<{target}>"), &call, "", &sdp)?;
        if answer.status != 200 {
            return Ok(answer);
        }
        let (Some(to), Some(contact)) =
            (field(&answer.text, "To"), field(&answer.text, "Contact").and_then(uri))
        else {
            return Err(Failure::new(format!("there is no dialog in:\n{}", answer.text)));
        };
        let (to, contact) = (to.to_owned(), contact.to_owned());
        let ack = Request { method: "ACK", body: "", ..self.bare(&contact, &to, &call) };
        self.send(&self.write(&ack))?;
        self.ask("BYE", &contact, &to, &call, "", "")
    }

    /// From now on answers whoever calls, on a thread of its own.
    pub fn answering(self) -> Answering {
        let (ends, ended) = channel();
        let thread = std::thread::spawn(move || self.serve(&ended, |_| {}));
        Answering { ends: Some(ends), thread: Some(thread) }
    }

    /// Answers what comes, and shows it, until the other end of `ended` is gone.
    pub fn serve(&self, ended: &Receiver<()>, mut shown: impl FnMut(&str)) {
        // A socket that cannot wait would be a fault of the system's.
        let _ = self.socket.set_read_timeout(Some(LOOK_AGAIN_AFTER));
        let mut bytes = vec![0; 65_536];
        while ended.try_recv() != Err(TryRecvError::Disconnected) {
            // While the server is down the system may say so: that is silence, too.
            let Ok((length, from)) = self.socket.recv_from(&mut bytes) else { continue };
            let text = String::from_utf8_lossy(bytes.get(..length).unwrap_or_default());
            shown(&text);
            let answer = match text.split(' ').next().unwrap_or_default() {
                "INVITE" => Some(answer_to(&text, self.claims, &description(self.claims))),
                "BYE" | "CANCEL" | "OPTIONS" | "INFO" | "UPDATE" => {
                    Some(answer_to(&text, self.claims, ""))
                }
                _ => None,
            };
            // If it is lost it is asked again.
            let _ = answer.map(|answer| self.socket.send_to(answer.as_bytes(), from));
        }
    }

    /// Asks, proves the password if that is wanted, and waits for the final answer.
    fn ask(
        &mut self,
        method: &str,
        target: &str,
        to: &str,
        call: &str,
        more: &str,
        body: &str,
    ) -> Outcome<Answer> {
        let began_at = Instant::now();
        let mut proof = String::new();
        loop {
            self.requests += 1;
            let (cseq, more) = (self.requests, format!("{proof}{more}"));
            let request = Request { method, target, to, call, cseq, more, body };
            let text = self.transact(&request)?;
            let status = status(&text).unwrap_or_default();
            if method == "INVITE" && status >= 300 {
                let to = field(&text, "To").unwrap_or_default();
                let ack = Request { method: "ACK", to, more: String::new(), body: "", ..request };
                self.send(&self.write(&ack))?;
            }
            let header = match status {
                401 if proof.is_empty() => "Authorization",
                407 if proof.is_empty() => "Proxy-Authorization",
                _ => return Ok(Answer { status, text, took: began_at.elapsed() }),
            };
            let login = Login { user: &self.number, password: &self.password };
            proof = format!("{header}: {}\r\n", answer_sha256(&text, method, target, &login)?);
        }
    }

    /// Sends a request until it is heard, and gives its final answer.
    fn transact(&self, request: &Request<'_>) -> Outcome<String> {
        let (text, began_at) = (self.write(request), Instant::now());
        let (mut repeat_after, mut give_up_after) = (REPEAT_AFTER, self.gives_up_after);
        let mut next_at = began_at;
        let mut bytes = vec![0; 65_536];
        loop {
            if Instant::now() >= next_at {
                self.send(&text)?;
                next_at = Instant::now() + repeat_after;
                repeat_after *= 2;
            }
            if began_at.elapsed() > give_up_after {
                let Request { method, target, .. } = request;
                return Err(Failure::new(format!("nobody answers {method} {target}")));
            }
            let left =
                next_at.min(began_at + give_up_after).saturating_duration_since(Instant::now());
            self.socket
                .set_read_timeout(Some(left.clamp(Duration::from_millis(1), REPEAT_AFTER)))?;
            let length = match self.socket.recv_from(&mut bytes) {
                Ok((length, _)) => length,
                Err(error) if is_silence(&error) => continue,
                Err(error) => return Err(error.into()),
            };
            let heard = String::from_utf8_lossy(bytes.get(..length).unwrap_or_default());
            let cseq = format!("{} {}", request.cseq, request.method);
            if field(&heard, "CSeq") != Some(&cseq)
                || field(&heard, "Call-ID") != Some(request.call)
            {
                continue;
            }
            match status(&heard) {
                Some(100..=199) if request.method == "INVITE" => {
                    give_up_after = RING_FOR;
                    next_at = began_at + 2 * RING_FOR;
                }
                Some(200..) => return Ok(heard.into_owned()),
                Some(_) | None => {}
            }
        }
    }

    fn bare<'a>(&self, target: &'a str, to: &'a str, call: &'a str) -> Request<'a> {
        let (cseq, more) = (self.requests, String::new());
        Request { method: "", target, to, call, cseq, more, body: "" }
    }

    fn write(&self, request: &Request<'_>) -> String {
        let Request { method, target, to, call, cseq, more, body } = request;
        let (number, domain, claims) = (&self.number, &self.domain, self.claims);
        // An ACK to a refusal has its INVITE's branch; one to a 2xx may, and is none the worse.
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} {target} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {claims};rport;branch=z9hG4bKhs{number}x{port}x{cseq}\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:{number}@{domain}>;tag=hs{number}\r\n\
             To: {to}\r\n\
             Call-ID: {call}\r\n\
             CSeq: {cseq} {method}\r\n\
             Contact: <sip:{number}@{claims}>\r\n\
             User-Agent: plain\r\n\
             {more}{kind}Content-Length: {}\r\n\r\n{body}",
            body.len(),
            port = self.socket.local_addr().map_or(0, |at| at.port()),
        )
    }

    fn send(&self, text: &str) -> Outcome {
        match self.socket.send_to(text.as_bytes(), self.server) {
            Ok(_) => Ok(()),
            // Nobody listens right now.
            Err(error) if is_silence(&error) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        drop(self.ends.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed already.
            let _ = thread.join();
        }
    }
}

impl Answer {
    /// For how long the server granted the contact of this answer's own phone, in seconds.
    pub fn granted_s(&self) -> Option<u32> {
        let digits = field(&self.text, "Contact")?.split("expires=").nth(1)?;
        digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    }
}

/// The value of a header field.
pub fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let head = text.split("\r\n\r\n").next()?;
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(field, _)| *field == name).map(|(_, value)| value.trim())
}

/// The 200 to a request, with this description if there is any.
pub fn answer_to(request: &str, claims: SocketAddr, sdp: &str) -> String {
    let head = request.split("\r\n\r\n").next().unwrap_or_default();
    let mut answer = "SIP/2.0 200 OK\r\n".to_owned();
    for line in head.lines() {
        let name = line.split(':').next().unwrap_or_default();
        match name {
            "Via" | "From" | "Call-ID" | "CSeq" | "Record-Route" => {
                answer += &format!("{line}\r\n");
            }
            "To" if line.contains(";tag=") => answer += &format!("{line}\r\n"),
            "To" => answer += &format!("{line};tag=answered\r\n"),
            _ => {}
        }
    }
    let kind = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    answer + &format!("Contact: <sip:{claims}>\r\n{kind}Content-Length: {}\r\n\r\n{sdp}", sdp.len())
}

fn description(at: SocketAddr) -> String {
    let ip = at.ip();
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio 9 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
    )
}

fn uri(contact: &str) -> Option<&str> {
    contact.split('<').nth(1)?.split('>').next()
}

fn status(text: &str) -> Option<u16> {
    text.strip_prefix("SIP/2.0 ")?.split(' ').next()?.parse().ok()
}

fn is_silence(error: &std::io::Error) -> bool {
    let kinds = [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::ConnectionRefused];
    kinds.contains(&error.kind())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_phones_call_each_other_without_any_server() {
        let company = Company::new("alpha.test");
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        let called = PlainPhone::new(&company, "102", nowhere).unwrap();
        let mut calling = PlainPhone::new(&company, "101", called.claims).unwrap();
        let answering = called.answering();
        let answer = calling.call_and_hang_up("102").unwrap();
        assert_eq!((answer.status, field(&answer.text, "CSeq")), (200, Some("2 BYE")));
        drop(answering);
    }

    #[test]
    fn what_was_granted_is_read_from_the_contact() {
        let text = "SIP/2.0 200 OK\r\nContact: <sip:101@192.0.2.1>;expires=60\r\n\r\n".to_owned();
        let answer = Answer { status: 200, text, took: Duration::ZERO };
        assert_eq!(answer.granted_s(), Some(60));
    }
}
