//! The company next door, live: for each extension that a test provisions it has one with the same
//! number, whose phone is registered and notes all that it is sent. Nothing but its own registering
//! may ever reach it, and its company's page may show no call.
//!
//! The phones are bare sockets that share no code with the server. All of them name the same
//! private address (RFC 1918), as phones behind other people's routers do.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::company::Company;
use crate::digest::{Login, answer_sha256};
use crate::failure::{Failure, Outcome};
use crate::http;
use crate::wait::{self, SOON};

const DOMAIN: &str = "twin.test";
/// Where each of them believes to be.
const PRIVATE: &str = "192.168.1.10:5060";
/// No test lasts longer, so that they register once.
const EXPIRES_S: u32 = 3_600;
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// A request that is not answered by then is sent again.
const REPEAT_AFTER: Duration = Duration::from_secs(2);

/// The company and its phones. Dropping it switches them off.
#[derive(Debug)]
pub struct Twins {
    company: Company,
    phones: Vec<Listening>,
}

/// A registered phone.
#[derive(Debug)]
struct Listening {
    number: String,
    heard: Arc<Mutex<Vec<String>>>,
    ends: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The company next door to these.
pub fn company(of: &[&Company]) -> Company {
    let mut company = Company::new(DOMAIN);
    company.extensions = of.iter().flat_map(|company| company.extensions.clone()).collect();
    company.extensions.sort();
    company.extensions.dedup();
    // What a socket of ours can prove without the server's code.
    company.settings = "digest = [\"SHA-256\"]\n".to_owned();
    company
}

impl Twins {
    /// Registers a phone for each extension.
    ///
    /// # Errors
    /// If the server refuses one.
    pub fn register(company: Company, server: SocketAddr) -> Outcome<Self> {
        let numbers = company.extensions.clone();
        let phones = numbers.iter().map(|number| Listening::start(&company, number, server));
        let phones = phones.collect::<Outcome<_>>()?;
        Ok(Self { company, phones })
    }

    /// How many phones there are.
    pub fn phones(&self) -> usize {
        self.phones.len()
    }

    /// Whether any of the phones was sent anything.
    ///
    /// # Errors
    /// With what it was sent.
    pub fn check_phones(&self) -> Outcome {
        for phone in &self.phones {
            let heard = phone.heard.lock().unwrap_or_else(PoisonError::into_inner);
            if !heard.is_empty() {
                let (number, all) = (&phone.number, heard.join("\n"));
                return Err(Failure::new(format!("next door {number} was sent:\n{all}")));
            }
        }
        Ok(())
    }

    /// Whether the company's page shows anything but its phones.
    ///
    /// # Errors
    /// With what it shows.
    pub fn check_page(&self, web: SocketAddr) -> Outcome {
        let (email, password) = self.company.admin();
        let form = format!("email={email}&password={password}");
        let answer = http::ask(
            web,
            &format!(
                "POST /login HTTP/1.0\r\nHost: {web}\r\nContent-Length: {}\r\n\
                 Content-Type: application/x-www-form-urlencoded\r\n\r\n{form}",
                form.len()
            ),
        )?;
        let cookie = answer.field("set-cookie").unwrap_or_default();
        let cookie = cookie.split(';').next().unwrap_or_default();
        let get = |path: &str| {
            let request = format!("GET {path} HTTP/1.0\r\nHost: {web}\r\nCookie: {cookie}\r\n\r\n");
            http::ask(web, &request)
        };
        let first = get("/")?.field("location").unwrap_or_default().to_owned();
        let phones = self.phones.len();
        // A phone may take a moment to be shown; what should not be shown is no matter of time.
        wait::until("next door's page with its phones", SOON, || {
            let page = get(&first)?;
            let rows = page.body.matches("<tr><td>").count();
            let own = page.status == 200 && page.body.contains(DOMAIN);
            match own && rows <= phones && !page.body.contains("/calls/") {
                true => Ok((rows == phones).then_some(())),
                false => Err(Failure::new(format!(
                    "next door's page ({}) has {rows} rows for {phones} phones:\n{}",
                    page.status, page.body
                ))),
            }
        })
    }
}

impl Listening {
    fn start(company: &Company, number: &str, server: SocketAddr) -> Outcome<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        register(&socket, company, number, server)?;
        socket.set_read_timeout(Some(LOOK_AGAIN_AFTER))?;
        let (ends, ended) = channel();
        let heard = Arc::new(Mutex::new(vec![]));
        let noted = Arc::clone(&heard);
        let thread = std::thread::spawn(move || listen(&socket, &noted, &ended));
        let number = number.to_owned();
        Ok(Self { number, heard, ends: Some(ends), thread: Some(thread) })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        drop(self.ends.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed already.
            let _ = thread.join();
        }
    }
}

/// Registers: a challenge, the proof, and 200.
fn register(socket: &UdpSocket, company: &Company, number: &str, server: SocketAddr) -> Outcome {
    let target = format!("sip:{DOMAIN}");
    let challenge = ask(socket, server, &request(socket, number, 1, "")?)?;
    let password = company.password(number);
    let login = Login { user: number, password: &password };
    let proof = answer_sha256(&challenge, "REGISTER", &target, &login)?;
    let proved = request(socket, number, 2, &format!("Authorization: {proof}\r\n"))?;
    let answer = ask(socket, server, &proved)?;
    match answer.starts_with("SIP/2.0 200 ") {
        true => Ok(()),
        false => Err(Failure::new(format!("next door {number} is refused:\n{answer}"))),
    }
}

fn request(socket: &UdpSocket, number: &str, cseq: u32, more: &str) -> Outcome<String> {
    let port = socket.local_addr()?.port();
    Ok(format!(
        "REGISTER sip:{DOMAIN} SIP/2.0\r\n\
         Via: SIP/2.0/UDP {PRIVATE};rport;branch=z9hG4bKtwin{port}c{cseq}\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:{number}@{DOMAIN}>;tag=twin{number}\r\n\
         To: <sip:{number}@{DOMAIN}>\r\n\
         Call-ID: twin{number}@{PRIVATE}\r\n\
         CSeq: {cseq} REGISTER\r\n\
         Contact: <sip:{number}@{PRIVATE}>\r\n\
         Expires: {EXPIRES_S}\r\n\
         User-Agent: twin\r\n\
         {more}Content-Length: 0\r\n\r\n"
    ))
}

/// Sends a request until a final response comes.
fn ask(socket: &UdpSocket, server: SocketAddr, request: &str) -> Outcome<String> {
    socket.set_read_timeout(Some(REPEAT_AFTER))?;
    let cseq = request.lines().find(|line| line.starts_with("CSeq: ")).unwrap_or_default();
    let mut bytes = vec![0; 65_536];
    wait::until("an answer to the phone next door", SOON, || {
        socket.send_to(request.as_bytes(), server)?;
        loop {
            match socket.recv_from(&mut bytes) {
                Ok((length, _)) => {
                    let text = String::from_utf8_lossy(bytes.get(..length).unwrap_or_default());
                    let is_final = text.starts_with("SIP/2.0 ") && !text.starts_with("SIP/2.0 1");
                    if is_final && text.contains(cseq) {
                        return Ok(Some(text.into_owned()));
                    }
                }
                Err(error) if is_silence(&error) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    })
}

/// Notes what comes, until its phone is dropped.
fn listen(socket: &UdpSocket, heard: &Mutex<Vec<String>>, ended: &Receiver<()>) {
    let mut bytes = vec![0; 65_536];
    while ended.try_recv() != Err(TryRecvError::Disconnected) {
        // While the server is down the system may say so: that is silence, too.
        let Ok((length, from)) = socket.recv_from(&mut bytes) else { continue };
        let text = String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()).into_owned();
        if let Some(answer) = still_there(&text) {
            // If it is lost it is asked again.
            let _ = socket.send_to(answer.as_bytes(), from);
        } else if !is_own_business(&text) {
            heard.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        }
    }
}

/// What keeps a router's way open (RFC 5626), or a late repeat of the answer to its REGISTER.
fn is_own_business(text: &str) -> bool {
    let of_register = text.starts_with("SIP/2.0 ") && text.contains(" REGISTER\r\n");
    text.trim().is_empty() || of_register && text.contains(&format!("@{DOMAIN}>"))
}

/// The answer to its own server's question whether it is still there: OPTIONS in its own domain.
fn still_there(text: &str) -> Option<String> {
    let field = |name: &str| text.lines().find(|line| line.starts_with(name));
    let from = field("From:")?;
    if !text.starts_with("OPTIONS ") || !from.contains(DOMAIN) {
        return None;
    }
    let kept = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
    let fields: Vec<&str> =
        text.lines().filter(|line| kept.iter().any(|name| line.starts_with(name))).collect();
    Some(format!("SIP/2.0 200 OK\r\n{}\r\nContent-Length: 0\r\n\r\n", fields.join("\r\n")))
}

fn is_silence(error: &std::io::Error) -> bool {
    let kinds = [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::ConnectionRefused];
    kinds.contains(&error.kind())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_registering_and_keeping_alive_is_its_business() {
        let answer = "SIP/2.0 200 OK\r\nTo: <sip:101@twin.test>;tag=1\r\nCSeq: 2 REGISTER\r\n\r\n";
        assert!(is_own_business(answer) && is_own_business("\r\n\r\n"));
        assert!(!is_own_business(&answer.replace("twin.test", "alpha.test")));
        assert!(!is_own_business(&answer.replace("2 REGISTER", "2 INVITE")));
        assert!(!is_own_business("INVITE sip:101@twin.test SIP/2.0\r\n\r\n"));
        let options = "OPTIONS sip:x SIP/2.0\r\nVia: v\r\nFrom: <sip:twin.test>\r\nTo: t\r\n\r\n";
        assert!(still_there(options).is_some_and(|answer| answer.contains("\r\nVia: v\r\n")));
        assert_eq!(still_there(&options.replace("twin.test", "alpha.test")), None);
        assert_eq!(still_there(&options.replace("OPTIONS", "INVITE")), None);
    }

    #[test]
    fn the_company_next_door_has_every_number_once() {
        let (alpha, mut beta) = (Company::new("alpha.test"), Company::new("beta.test"));
        beta.extensions.push("140".to_owned());
        assert_eq!(company(&[&alpha, &beta]).extensions, ["101", "102", "103", "140"]);
    }
}
