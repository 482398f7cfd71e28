//! Lanes on loopback, with everything real but Postgres.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pbx::edge::Served;
use pbx::flow::{Link, Path, Transport};
use pbx::id::{TenantId, UserId};
use pbx::input::Input;
use pbx::sip::digest;
use pbx::tenant::directory::{Algorithm, Encryption, Limits, Place, Secrets, Srtp, User};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::*;
use crate::lanes::inbox::{Arrival, Order};
use crate::lanes::{Herald, Home};
use crate::scratch::Scratch;

#[test]
fn a_call_between_two_companies_crosses_from_lane_to_lane_and_back() {
    let rig = Rig::new(2, JOURNAL_QUOTA);
    let (alice, bob, eve) = (rig.phone(1, "101"), rig.phone(2, "101"), rig.phone(1, "102"));
    for phone in [&alice, &bob, &eve] {
        // Not 60 s: the lane was told that the registration is stored.
        assert!(phone.register().contains("expires=3600"));
    }
    alice.call("+432");
    let invite = bob.hear("INVITE");
    bob.answer(&invite, "486 Busy Here");
    assert!(alice.hear("SIP/2.0").starts_with("SIP/2.0 100"));
    assert!(alice.hear("SIP/2.0").starts_with("SIP/2.0 486"));
    assert!(bob.hear("ACK").contains("ACK"));
    eve.hears_nothing();
}

#[test]
fn a_timer_fires_on_time_in_a_storm() {
    let rig = Rig::new(1, JOURNAL_QUOTA);
    let (phone, storm) = (rig.phone(1, "101"), rig.phone(1, "102"));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                storm.send(&storm.request("INVITE", "1", "Authorization: Digest nonsense\r\n"));
            }
        });
        let _over = End(&over);
        phone.send(&phone.request("INVITE", "1", "Authorization: Digest nonsense\r\n"));
        let first = phone.hear("SIP/2.0 4");
        let heard_at = Instant::now();
        let second = phone.hear("SIP/2.0 4");
        assert_eq!(first, second);
        let after = heard_at.elapsed();
        assert!(after > Duration::from_millis(400) && after < Duration::from_millis(1_500));
    });
}

/// Ends a storm however its test ends.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn with_the_journal_nearly_full_new_work_is_told_to_come_back() {
    // Two empty files fill it.
    let rig = Rig::new(2, 16);
    let phone = rig.phone(1, "101");
    let refusal = phone.register();
    assert!(refusal.starts_with("SIP/2.0 503") && refusal.contains("Retry-After"), "{refusal}");
}

#[test]
fn strangers_hear_nothing_and_options_are_answered_by_any_lane() {
    let rig = Rig::new(4, JOURNAL_QUOTA);
    let stranger = rig.phone(9, "101");
    stranger.send(&stranger.request("REGISTER", "1", ""));
    for _ in 0..8 {
        let phone = rig.phone(1, "101");
        phone.send(&phone.request("OPTIONS", "1", ""));
        assert!(phone.hear("SIP/2.0").starts_with("SIP/2.0 200"));
    }
    stranger.hears_nothing();
}

#[test]
fn who_registers_over_a_connection_that_is_gone_already_is_not_believed_to_be_there() {
    let rig = Rig::new(2, JOURNAL_QUOTA);
    let phone = rig.phone(1, "101");
    phone.send(&phone.request("REGISTER", "1", ""));
    let challenge = phone.hear("SIP/2.0 401");
    let proof = phone.proof(&challenge, "REGISTER", &format!("sip:{}", phone.domain));
    let request = phone.request("REGISTER", "2", &format!("Authorization: {proof}\r\n"));
    // All lanes were told of its end before this was read: nobody tells them again.
    let link = Link::Stream { transport: Transport::Tcp, boot: 1, number: 7 };
    let path = Path { node: NodeId(1), link, local: rig.to, peer: rig.to };
    // By way of the lane on which the company does not live.
    let post = rig.common.lanes.post(LaneId(1)).unwrap();
    post.arrive(Arrival::Message { path, bytes: request.into() }).unwrap();
    post.wake();
    let wanted = "tenantd_registrations_disconnected_total 1";
    let began_at = Instant::now();
    while !rig.metrics.render().contains(wanted) {
        assert!(began_at.elapsed() < Duration::from_secs(10), "{}", rig.metrics.render());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_new_public_address_is_told_by_every_lane_from_then_on() {
    let rig = Rig::new(2, JOURNAL_QUOTA);
    let advertised =
        |ip: &str| Advertised { external: vec![ip.parse().unwrap()], local_networks: vec![] };
    let (alice, bob) = (rig.phone(1, "101"), rig.phone(2, "101"));
    for phone in [&alice, &bob] {
        assert!(phone.register().starts_with("SIP/2.0 200"));
    }
    let lanes = rig.common.lanes.clone();
    let links = rig.common.links.clone();
    let herald = Herald { lanes, links, node: NodeId(1), boot: 1 };
    rig.tokio.block_on(herald.tell(advertised("198.51.100.8"), advertised("198.51.100.9")));

    // An address of ours is asked for by any lane's door: the orders have come there.
    let target = "OPTIONS sip:198.51.100.8 SIP/2.0";
    for _ in 0..4 {
        let phone = rig.phone(1, "101");
        let asked = phone.request("OPTIONS", "1", "");
        phone.send(&asked.replace("OPTIONS sip:company1.test SIP/2.0", target));
        assert!(phone.hear("SIP/2.0").starts_with("SIP/2.0 200"));
    }
    alice.call("+432");
    let invite = bob.hear("INVITE");
    let port = rig.to.port();
    assert!(invite.contains(&format!("Via: SIP/2.0/UDP 198.51.100.8:{port};")), "{invite}");
    assert!(invite.contains(&format!("@198.51.100.8:{port}>")), "{invite}");
    bob.answer(&invite, "486 Busy Here");
}

/// Lanes, each with one of two companies in turn.
struct Rig {
    common: Common,
    metrics: Metrics,
    threads: Vec<JoinHandle<()>>,
    to: SocketAddr,
    tokio: Runtime,
    _scratch: Scratch,
}

impl Rig {
    fn new(lanes: u16, quota: u64) -> Self {
        let (tokio, scratch, metrics) = (Runtime::new().unwrap(), Scratch::new(), Metrics::new());
        let listeners = Listeners::open(&["127.0.0.1:0".parse().unwrap()], NonZeroU16::new(lanes));
        let listeners = listeners.unwrap();
        let to = listeners.addresses()[0];
        let setup = Setup {
            node: "n1".to_owned(),
            link: None,
            own: Own { sound: vec![], inner: IpAddr::V4(Ipv4Addr::LOCALHOST) },
            journal: scratch.path().join("journal"),
            journal_quota: quota,
            sip: Advertised::default(),
            sound: Advertised::default(),
            media: media::Config { ports: 20_000..=29_999, threads: 1, ..media::Config::default() },
            policy: Policy::default(),
            unknown_domain: UnknownDomain::Drop,
        };
        let (inboxes, posts) = inboxes(usize::from(lanes)).unwrap();
        let lanes = Arc::new(Lanes::new(posts));
        let keys = Keys { node: NodeId(1), boot: 1, tokens: [1; 16], nonces: [2; 16] };
        let (retired, _) = mpsc::channel(1);
        let common =
            Common::new(setup, Clock::start(), keys, (lanes.clone(), None), retired, &metrics)
                .unwrap();
        let mut threads = vec![];
        let (registrations, of_all) = registrations();
        tokio.spawn(run_registrations(of_all, |_| std::future::ready(Ok(0))));
        for (lane, (sockets, inbox)) in lanes.ids().zip(listeners.by_lane.into_iter().zip(inboxes))
        {
            let begun = begin_lane(&common, lane, sockets, inbox, &metrics).unwrap();
            threads.push(begun.thread);
            let registrations = registrations.clone();
            let write = |_| std::future::ready(Ok(0));
            tokio.spawn(run(begun.desk, begun.inbound, registrations, write));
        }
        for number in [1, 2] {
            admit(&lanes, number);
        }
        // A door that asks before the company has come to its lane would have to ask again.
        for lane in lanes.ids() {
            let (done, all_done) = oneshot::channel();
            let post = lanes.post(lane).unwrap();
            post.order(Order::Report(done)).unwrap();
            post.wake();
            tokio.block_on(all_done).unwrap();
        }
        lanes.advance(Stage::Serving);
        Self { common, metrics, threads, to, tokio, _scratch: scratch }
    }

    fn phone(&self, company: u8, user: &'static str) -> Phone {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(self.to).unwrap();
        Phone { socket, domain: domain(company), user }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.common.lanes.advance(Stage::Ended);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

fn domain(company: u8) -> String {
    format!("company{company}.test")
}

/// Brings a company in, as the feed would.
fn admit(lanes: &Lanes, number: u8) {
    let directory = directory(number);
    let home = lanes.ids().nth(usize::from(number - 1)).unwrap_or(LaneId(0));
    let tenant = directory.tenant;
    let served = Served {
        tenant,
        route: directory.route,
        realm: directory.domain.clone(),
        domains: vec![directory.domain.clone()],
        label: None,
        trusted: vec![],
        offered: vec![Algorithm::Md5],
        exceptions: BTreeMap::new(),
    };
    let numbers: Vec<_> = directory.numbers.keys().cloned().collect();
    let (bindings, live, lost) = (vec![], vec![], vec![]);
    let arrived = Input::Arrived { directory: Box::new(directory), bindings, live, lost };
    lanes.post(home).unwrap().order(Order::Tell(Box::new(arrived))).unwrap();
    for lane in lanes.ids() {
        let post = lanes.post(lane).unwrap();
        post.order(Order::Learn(Box::new(served.clone()), Home::Lane(home))).unwrap();
        let numbers = Input::Numbers { tenant, numbers: numbers.clone() };
        post.order(Order::Tell(Box::new(numbers))).unwrap();
        post.wake();
    }
}

fn directory(number: u8) -> Directory {
    let id = |n: u16| Uuid::from_u128(u128::from(number) << 64 | u128::from(n));
    let domain = domain(number);
    let mut directory = Directory {
        tenant: TenantId(id(0)),
        version: 1,
        route: u64::from(number),
        name: domain.clone(),
        domain: domain.clone(),
        aliases: vec![],
        label: None,
        trusted: vec![],
        limits: Limits::default(),
        encryption: Encryption::default(),
        recording: Default::default(),
        users: BTreeMap::new(),
        groups: BTreeMap::new(),
        conferences: BTreeMap::new(),
        numbers: BTreeMap::from([(format!("+43{number}"), "101".to_owned())]),
        names: BTreeMap::new(),
        credentials: BTreeMap::new(),
        sounds: BTreeMap::new(),
        music: None,
        country: Default::default(),
        announcements: BTreeMap::new(),
    };
    for extension in [101, 102] {
        let (user, name) = (UserId(id(extension)), extension.to_string());
        directory.names.insert(name.clone(), Place::User(user));
        directory.credentials.insert(name.clone(), user);
        let entry = User {
            id: user,
            number: name.clone(),
            username: None,
            name: name.clone(),
            secrets: Secrets::new(&name, &domain, "secret"),
            digest: vec![Algorithm::Md5],
            max_contacts: 1,
            limits: Limits::default(),
            srtp: Srtp::default(),
            record: Default::default(),
            music: None,
            announce_recording: None,
        };
        directory.users.insert(user, entry);
    }
    directory
}

struct Phone {
    socket: UdpSocket,
    domain: String,
    user: &'static str,
}

impl Phone {
    fn send(&self, text: &str) {
        self.socket.send(text.as_bytes()).unwrap();
    }

    /// The next message that begins so; others are passed over.
    fn hear(&self, beginning: &str) -> String {
        self.socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut room = [0; 4_096];
        loop {
            let length = self.socket.recv(&mut room).unwrap();
            let text = String::from_utf8(room[..length].to_vec()).unwrap();
            if text.starts_with(beginning) {
                return text;
            }
        }
    }

    fn hears_nothing(&self) {
        self.socket.set_nonblocking(true).unwrap();
        assert!(self.socket.recv(&mut [0; 4_096]).is_err());
    }

    fn request(&self, method: &str, cseq: &str, more: &str) -> String {
        let (user, domain, port) =
            (self.user, &self.domain, self.socket.local_addr().unwrap().port());
        let target = if method == "REGISTER" || method == "OPTIONS" {
            format!("sip:{domain}")
        } else {
            format!("sip:+432@{domain}")
        };
        let to = if method == "REGISTER" { format!("sip:{user}@{domain}") } else { target.clone() };
        format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};rport;\
             branch=z9hG4bK{method}{cseq}-{port}\r\nMax-Forwards: 70\r\n\
             From: <sip:{user}@{domain}>;tag=f{port}\r\nTo: <{to}>\r\nCall-ID: {method}-{port}\r\n\
             CSeq: {cseq} {method}\r\nContact: <sip:{user}@127.0.0.1:{port}>;expires=3600\r\n\
             {more}Content-Length: 0\r\n\r\n"
        )
    }

    fn register(&self) -> String {
        self.send(&self.request("REGISTER", "1", ""));
        let challenge = self.hear("SIP/2.0");
        // Without room in the journal nobody is asked.
        if !challenge.starts_with("SIP/2.0 401") {
            return challenge;
        }
        let proof = self.proof(&challenge, "REGISTER", &format!("sip:{}", self.domain));
        self.send(&self.request("REGISTER", "2", &format!("Authorization: {proof}\r\n")));
        self.hear("SIP/2.0")
    }

    fn call(&self, number: &str) {
        self.send(&self.request("INVITE", "1", ""));
        let challenge = self.hear("SIP/2.0 407");
        let proof = self.proof(&challenge, "INVITE", &format!("sip:{number}@{}", self.domain));
        let proof = format!("Proxy-Authorization: {proof}\r\n");
        self.send(&self.request("INVITE", "2", &proof));
    }

    fn proof(&self, challenge: &str, method: &str, uri: &str) -> String {
        let (_, nonce) = challenge.split_once("nonce=\"").unwrap();
        let (nonce, _) = nonce.split_once('"').unwrap();
        let (user, realm) = (self.user, &self.domain);
        let hex = |hash: [u8; 16]| hash.map(|byte| format!("{byte:02x}")).concat();
        let who = hex(digest::md5(&[user, realm, "secret"]));
        let what = hex(digest::md5(&[method, uri]));
        let response = hex(digest::md5(&[&who, nonce, "00000001", "c", "auth", &what]));
        format!(
            "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             qop=auth, nc=00000001, cnonce=\"c\", response=\"{response}\""
        )
    }

    fn answer(&self, request: &str, status: &str) {
        let kept = |line: &&str| {
            ["Via:", "From:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name))
        };
        let lines: Vec<_> = request.lines().filter(kept).collect();
        let to = request.lines().find(|line| line.starts_with("To:")).unwrap();
        self.send(&format!(
            "SIP/2.0 {status}\r\n{}\r\n{to};tag=b\r\nContent-Length: 0\r\n\r\n",
            lines.join("\r\n")
        ));
    }
}
