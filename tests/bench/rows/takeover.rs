//! How long 10,000 companies are without a home when the node that has them all is killed, and how
//! long a start with as many takes.
//!
//! Two nodes share a Postgres. One phone of each company repeats its REGISTER by way of the node that
//! is left, until it is answered: that takes the company's new home.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use kit::digest::{Login, answer_md5};
use kit::failure::{Failure, Outcome};
use kit::folder::Folder;
use kit::http;
use kit::postgres::Postgres;
use kit::wait;

use super::{Row, Settings, Verdict, in_words, median};
use crate::load::{Population, domain, password, user};
use crate::ours::{Ours, Place};

const MANY: Population = Population { tenants: 10_000, users: 2 };
const MOST: f64 = 5.0;
const LINKS: [u16; 2] = [7_100, 7_101];
/// Phones share so many addresses, as behind routers of offices.
const SOCKETS: usize = 16;
/// All that is still unanswered is repeated at this rate, so that the load is no storm.
const REPEATS_A_SECOND: u64 = 10_000;
/// Whoever has no answer after this long will have none.
const PATIENCE: Duration = Duration::from_secs(60);
const KNOWN_WITHIN: Duration = Duration::from_secs(60);

pub(super) fn takeover(settings: &Settings) -> Outcome<Vec<Row>> {
    // Its path is short, as that of Postgres's socket must be.
    let folder = Folder::new("takeover")?;
    let postgres = Postgres::start(&folder)?;
    let key = folder.write("cluster.key", &format!("{}\n", "5a".repeat(32)))?;
    let places = [Place::First, Place::Second];
    let node = |number: usize| -> Outcome<Ours> {
        let more = format!(
            "{}[secrets]\nkey_file = {key:?}\n[link]\nlisten = [\"127.0.0.1:{}\"]\n",
            postgres.config(),
            LINKS[number]
        );
        let binary = settings.before.as_ref().unwrap_or(&settings.program);
        Ours::prepare(binary, &settings.folder.join(format!("n{number}")), places[number], &more)
    };
    let mut nodes = [node(0)?, node(1)?];
    nodes[0].run()?;
    nodes[0].apply(MANY)?;
    let mut starts = vec![];
    for _ in 0..settings.pairs {
        nodes[0].stop()?;
        let took = nodes[0].run()?;
        eprintln!("  ready after {}", in_words(took));
        starts.push(took.as_secs_f64());
    }
    nodes[1].run()?;
    let (mut firsts, mut medians, mut lasts) = (vec![], vec![], vec![]);
    for pair in 0..settings.pairs {
        let (home, edge) = (pair % 2, 1 - pair % 2);
        wait_until_known(&nodes[edge])?;
        let mut phones = Phones::new(nodes[edge].address())?;
        phones.register(Instant::now())?;
        nodes[home].kill()?;
        let times = phones.register(Instant::now())?;
        let [first, middle, last] = [0, times.len() / 2, times.len() - 1].map(|at| times[at]);
        let [a, b, c] = [first, middle, last].map(in_words);
        eprintln!("  the first after {a}, half of them after {b}, the last after {c}");
        firsts.push(first.as_secs_f64());
        medians.push(middle.as_secs_f64());
        lasts.push(last.as_secs_f64());
        nodes[home].run()?;
    }
    for node in &mut nodes {
        node.stop()?;
    }
    postgres.stop()?;
    let (first, middle, last) = (median(firsts), median(medians), median(lasts));
    let start = median(starts);
    let row = |work: &str, target, ours, seconds: f64, verdict| Row {
        work: work.to_owned(),
        target,
        ours,
        peer: "–".to_owned(),
        result: format!("{seconds:.2} s"),
        verdict,
    };
    Ok(vec![
        row(
            "a node with 10,000 companies is killed: until each one's phone is answered again",
            "≤ 5 s",
            format!("first {first:.2} s, half {middle:.2} s, last {last:.2} s"),
            last,
            Verdict::at_most(last, MOST),
        ),
        row(
            "start with 10,000 companies to `ready`, Postgres running",
            "–",
            format!("{start:.2} s"),
            start,
            Verdict::Open,
        ),
    ])
}

/// Waits until a node is linked and has heard of every company.
fn wait_until_known(node: &Ours) -> Outcome {
    wait::until("a linked node", KNOWN_WITHIN, || {
        let page = http::get(node.admin().into(), "/metrics")?;
        Ok(page.body.lines().any(|line| line == "tenantd_links 1").then_some(()))
    })
}

/// A phone of each company.
struct Phones {
    server: SocketAddrV4,
    sockets: Vec<UdpSocket>,
    phones: Vec<Phone>,
}

/// A phone that registers.
#[derive(Default)]
struct Phone {
    cseq: u32,
    /// What it sends until it is answered.
    request: String,
    answered_after: Option<Duration>,
}

impl Phones {
    fn new(server: SocketAddrV4) -> Outcome<Self> {
        let socket = || -> Outcome<UdpSocket> {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let sockets = (0..SOCKETS).map(|_| socket()).collect::<Outcome<_>>()?;
        let phones = (0..MANY.tenants).map(|_| Phone::default()).collect();
        Ok(Self { server, sockets, phones })
    }

    /// Has all of them register, repeating what is not answered; says when each was, in order.
    fn register(&mut self, began_at: Instant) -> Outcome<Vec<Duration>> {
        for phone in &mut self.phones {
            phone.answered_after = None;
        }
        let (mut sent, mut next) = (0_u64, 0);
        loop {
            let elapsed = began_at.elapsed();
            while self.hear(began_at)? {}
            let pending: Vec<usize> = (0..self.phones.len())
                .filter(|number| self.phones[*number].answered_after.is_none())
                .collect();
            if pending.is_empty() {
                break;
            }
            if elapsed > PATIENCE {
                let all = self.phones.len();
                let left = pending.len();
                return Err(Failure::new(format!("{left} of {all} companies were not answered")));
            }
            let due = elapsed.as_millis() as u64 * REPEATS_A_SECOND / 1_000;
            // No faster than each of those that are left can answer.
            let now = usize::try_from(due.saturating_sub(sent))?.min(pending.len()).min(500);
            sent = due;
            for _ in 0..now {
                let number = pending.iter().copied().find(|number| *number >= next);
                let number = number.unwrap_or(pending[0]);
                next = number + 1;
                if self.phones[number].request.is_empty() {
                    self.ask(number, None)?;
                }
                self.send(number)?;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut times: Vec<_> = self.phones.iter().filter_map(|p| p.answered_after).collect();
        times.sort();
        Ok(times)
    }

    /// Takes in what has come on each socket once; whether anything had.
    fn hear(&mut self, began_at: Instant) -> Outcome<bool> {
        let mut heard = false;
        for socket in 0..self.sockets.len() {
            let mut bytes = [0; 4_096];
            let length = match self.sockets[socket].recv(&mut bytes) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                // The node that is left is told, by and by, that the other is gone; we are not.
                Err(error) => return Err(error.into()),
            };
            heard = true;
            let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
            let field =
                |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            let number = field("Call-ID: takeover-").and_then(|number| number.parse().ok());
            let cseq: Option<u32> =
                field("CSeq: ").and_then(|value| value.split(' ').next()?.parse().ok());
            let (Some(number), Some(cseq)) = (number, cseq) else { continue };
            let Some(phone) = self.phones.get_mut::<usize>(number) else { continue };
            if cseq != phone.cseq || phone.answered_after.is_some() {
                continue;
            }
            if text.starts_with("SIP/2.0 200 ") {
                phone.answered_after = Some(began_at.elapsed());
            } else if text.starts_with("SIP/2.0 401 ") {
                self.ask(number, Some(&text))?;
                self.send(number)?;
            }
        }
        Ok(heard)
    }

    /// Writes a phone's next REGISTER.
    fn ask(&mut self, number: usize, challenge: Option<&str>) -> Outcome {
        let (domain, user) = (domain(number), user(0));
        let password = password(&user, &domain);
        let target = format!("sip:{domain}");
        let login = Login { user: &user, password: &password };
        let proof = challenge
            .map(|text| answer_md5(text, "REGISTER", &target, &login))
            .transpose()?
            .map_or(String::new(), |proof| format!("Authorization: {proof}\r\n"));
        let at = self.sockets[number % SOCKETS].local_addr()?;
        let phone = &mut self.phones[number];
        phone.cseq += 1;
        let cseq = phone.cseq;
        phone.request = format!(
            "REGISTER {target} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {at};rport;branch=z9hG4bK-{number}-{cseq}\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:{user}@{domain}>;tag=t{number}\r\n\
             To: <sip:{user}@{domain}>\r\n\
             Call-ID: takeover-{number}\r\n\
             CSeq: {cseq} REGISTER\r\n\
             Contact: <sip:{user}-{number}@{at}>\r\n\
             Expires: 600\r\n\
             {proof}Content-Length: 0\r\n\r\n"
        );
        Ok(())
    }

    fn send(&self, number: usize) -> Outcome {
        let bytes = self.phones[number].request.as_bytes();
        match self.sockets[number % SOCKETS].send_to(bytes, self.server) {
            // A full buffer is like a network that drops: it is repeated.
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error.into()),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}
