//! The company next door, live: for each extension that a test provisions it has one with the same
//! number, whose phone is registered and notes all that it is sent. Nothing but its own registering
//! may ever reach it, and its company's page may show no call.
//!
//! The phones are bare sockets that share no code with the server. All of them name the same
//! private address (RFC 1918), as phones behind other people's routers do.

use std::net::SocketAddr;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::company::Company;
use crate::failure::{Failure, Outcome};
use crate::http;
use crate::plain_phone::{PlainPhone, SETTINGS, field};
use crate::wait::{self, SOON};

const DOMAIN: &str = "twin.test";
/// Where each of them believes to be.
const PRIVATE: ([u8; 4], u16) = ([192, 168, 1, 10], 5_060);
/// No test lasts longer, so that they register once.
const EXPIRES_S: u32 = 3_600;

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
    company.settings = SETTINGS.to_owned();
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
            // Its home may be out of this node's reach: then nothing may be shown.
            let phones = if page.body.contains("role=\"status\"") { 0 } else { phones };
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
        let phone = PlainPhone::new(company, number, server)?;
        let mut phone = phone.claiming(SocketAddr::from(PRIVATE));
        let answer = phone.register(EXPIRES_S)?;
        if answer.status != 200 {
            let text = answer.text;
            return Err(Failure::new(format!("next door {number} is refused:\n{text}")));
        }
        let (ends, ended) = channel();
        let heard = Arc::new(Mutex::new(vec![]));
        let noted = Arc::clone(&heard);
        let thread = std::thread::spawn(move || {
            phone.serve(&ended, |text| {
                if !is_own_business(text) {
                    noted.lock().unwrap_or_else(PoisonError::into_inner).push(text.to_owned());
                }
            });
        });
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

/// What keeps a router's way open (RFC 5626), its own server's question whether it is still there,
/// or a late repeat of the answer to its REGISTER.
fn is_own_business(text: &str) -> bool {
    let own = |name| field(text, name).is_some_and(|value| value.contains(DOMAIN));
    let of_register = text.starts_with("SIP/2.0 ") && text.contains(" REGISTER\r\n");
    text.trim().is_empty()
        || of_register && own("To")
        || text.starts_with("OPTIONS ") && own("From")
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
        let options = "OPTIONS sip:x SIP/2.0\r\nFrom: <sip:twin.test>\r\nTo: t\r\n\r\n";
        assert!(is_own_business(options));
        assert!(!is_own_business(&options.replace("twin.test", "alpha.test")));
        assert!(!is_own_business(&options.replace("OPTIONS", "INVITE")));
    }

    #[test]
    fn the_company_next_door_has_every_number_once() {
        let (alpha, mut beta) = (Company::new("alpha.test"), Company::new("beta.test"));
        beta.extensions.push("140".to_owned());
        assert_eq!(company(&[&alpha, &beta]).extensions, ["101", "102", "103", "140"]);
    }
}
