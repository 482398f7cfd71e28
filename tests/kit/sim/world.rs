//! The world around a switch, and the ladder of what was said in it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use pbx::board::Board;
use pbx::edge::{Placed, UnknownDomain};
use pbx::flow::{Flow, Link, Path, Transport};
use pbx::id::{BindingId, CallId, TenantId};
use pbx::input::Input;
use pbx::media::{Clip, Cue, Often, Part, PlayId, Side, Terms};
use pbx::moment::Moment;
use pbx::record::{Binding, CallRecord, Wait};
use pbx::sip::message::Message;
use pbx::story::Note;
use pbx::switch::Load;

use super::Company;
use super::network::{Datagram, Network};
use super::nodes::{Leases, Life};
use super::phone::{Account, Phone};
use super::router::Router;
use super::trunk::CARRIER;
use super::twins::Twins;

mod stage;
mod wishes;

pub(super) use stage::Stage;

/// Of the certificate that sound is encrypted with.
pub const FINGERPRINT: [u8; 32] = [0xab; 32];

/// A switch, its phones and what lies between; and next door a company whose phones look the same,
/// which must notice nothing, whatever the scenario (see `twins`).
#[derive(Debug)]
pub struct World {
    /// The time.
    pub now: Moment,
    /// The way between phones and switch.
    pub network: Network,
    /// The phones by name.
    pub phones: BTreeMap<String, Phone>,
    /// How long a commit takes; `None`: the database is away and nothing is said.
    pub commit_after: Option<Duration>,
    /// How long what nobody waits for is gathered before it is stored.
    pub gather_for: Duration,
    /// Records of calls that are over.
    pub calls: Vec<CallRecord>,
    /// What was told the log.
    pub notes: Vec<Note>,
    /// Facts of calls that are alive.
    pub live: BTreeMap<CallId, (TenantId, Vec<u8>)>,
    /// Registrations that are stored.
    pub bindings: BTreeMap<BindingId, Binding>,
    /// The routers before phones, by the phone's name.
    pub routers: BTreeMap<String, Router>,
    /// Sound that is open, with its port.
    pub sides: BTreeMap<Side, u16>,
    /// What each side of it agreed on.
    pub terms: BTreeMap<Side, Terms>,
    /// Keys that sides are to let their phones hear: the leg, the key, and for how long.
    pub pressed: Vec<(u16, char, u16)>,
    /// What was wished of recordings: by which leg, and what.
    pub taped: Vec<(u16, String)>,
    /// How sides take part in conferences.
    pub parts: BTreeMap<Side, Part>,
    /// Tones for single members, oldest first.
    pub cues: Vec<(Side, Cue)>,
    /// What sides let their phones hear.
    pub playing: BTreeMap<(Side, PlayId), (Clip, Often)>,
    /// Whether sound tells at once that a side is closed.
    pub closing: Closing,
    /// What each company sees.
    pub boards: BTreeMap<TenantId, Board>,
    /// Phones that are connected over TCP, and the number of their connection.
    pub(super) connections: BTreeMap<SocketAddr, u32>,
    /// Those of them whose connection is encrypted.
    pub(super) encrypted: BTreeSet<SocketAddr>,
    pub(super) twins: Twins,
    pub(super) unknown_domain: UnknownDomain,
    pub(super) companies: Vec<Company>,
    pub(super) stages: Vec<Stage>,
    pub(super) leases: Leases,
    ladder: Vec<String>,
    said_at: Moment,
}

/// When sound tells that a side is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// As soon as it is asked to close it.
    AtOnce,
    /// Not before the process is killed.
    TooLate,
}

impl World {
    /// A world with these tenants on one switch.
    pub fn new(companies: Vec<Company>) -> Self {
        Self::on(1, companies)
    }

    /// A world with these tenants dealt out to so many nodes, a switch each.
    pub fn on(nodes: usize, mut companies: Vec<Company>) -> Self {
        let twins = Twins::new();
        companies.push(twins.company.clone());
        let now = Moment::from_secs(1_800_000_000);
        let mut world = Self {
            now,
            network: Network::new(1),
            phones: BTreeMap::new(),
            commit_after: Some(Duration::from_millis(3)),
            gather_for: Duration::ZERO,
            calls: vec![],
            notes: vec![],
            live: BTreeMap::new(),
            bindings: BTreeMap::new(),
            routers: BTreeMap::new(),
            sides: BTreeMap::new(),
            terms: BTreeMap::new(),
            pressed: Vec::new(),
            taped: Vec::new(),
            parts: BTreeMap::new(),
            cues: Vec::new(),
            playing: BTreeMap::new(),
            closing: Closing::AtOnce,
            boards: BTreeMap::new(),
            connections: BTreeMap::new(),
            encrypted: BTreeSet::new(),
            twins,
            unknown_domain: UnknownDomain::Drop,
            companies,
            stages: (0..nodes)
                .zip(1..)
                .map(|(node, boot)| Stage::new(node, boot, UnknownDomain::Drop))
                .collect(),
            leases: Leases::default(),
            ladder: vec![],
            said_at: now,
        };
        world.admit_all();
        world
    }

    /// Puts a phone of an extension into the world, switched off.
    pub fn phone(&mut self, name: &str, domain: &str, user: &str) -> &mut Phone {
        let number = u8::try_from(self.phones.len() + 10).expect("few phones");
        let address = SocketAddr::from(([192, 0, 2, number], 5060));
        let account = Account {
            user: user.to_owned(),
            password: format!("secret-{user}"),
            domain: domain.to_owned(),
            device: name.to_owned(),
            claims: address,
            switch: self.stages[self.home_of(domain)].address,
        };
        let next_door = self.stages[self.home_of(&self.twins.company.directory.domain)].address;
        let phone = self.phones.entry(name.to_owned());
        let phone = phone.or_insert_with(|| Phone::new(name, address, account));
        self.twins.add(self.now, phone, next_door);
        phone
    }

    /// A carrier that no company has heard of.
    pub fn carrier(&mut self, name: &str) -> &mut Phone {
        let phone = self.phone(name, CARRIER, "gateway");
        phone.account_mut().password.clear();
        phone
    }

    /// Our address, as carriers write it.
    pub fn host(&self) -> String {
        self.stages[0].address.ip().to_string()
    }

    /// What strangers hear from now on, instead of nothing.
    pub fn treat_strangers(&mut self, unknown_domain: UnknownDomain) {
        self.unknown_domain = unknown_domain;
        for (node, stage) in self.stages.iter_mut().enumerate() {
            *stage = Stage::new(node, stage.boot, unknown_domain);
        }
        self.admit_all();
    }

    /// A registered phone in another company that differs from one of ours in nothing but its
    /// domain and the address that it is seen at, randomness included.
    pub fn lookalike(&mut self, name: &str, of: &str, domain: &str) {
        let account = self.phones[of].lookalike(domain, self.stages[self.home_of(domain)].address);
        let user = account.user.clone();
        let phone = self.phone(name, domain, &user);
        *phone = Phone::new(name, phone.address, account);
        self.registered(name, domain, &user);
    }

    /// A phone that is registered, without its REGISTER in the ladder.
    pub fn registered(&mut self, name: &str, domain: &str, user: &str) {
        let now = self.now;
        self.phone(name, domain, user).register(now, 3_600);
        self.run_for(Duration::from_secs(1));
        assert_eq!(self.phones[name].registered, Some(200), "{name} cannot register");
        self.ladder.clear();
    }

    /// Lets a phone do something.
    pub fn tell(&mut self, name: &str, act: impl FnOnce(&mut Phone, Moment)) {
        let now = self.now;
        act(self.phones.get_mut(name).expect("a phone of this name"), now);
        self.settle();
    }

    /// Lets time pass.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.settle();
        while let Some(next) = self.next_at().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.step();
        }
        self.now = end;
    }

    /// Tells every switch something.
    pub fn input(&mut self, make: impl Fn() -> Input) {
        let now = self.now;
        for stage in &mut self.stages {
            stage.switch.handle_input(now, make());
        }
        self.settle();
    }

    /// Ends the process in an instant and starts it again with what was written down.
    pub fn restart(&mut self) {
        for (node, stage) in self.stages.iter_mut().enumerate() {
            *stage = Stage::new(node, stage.boot + 1, self.unknown_domain);
        }
        self.leases = Leases::default();
        self.sides.clear();
        self.terms.clear();
        self.parts.clear();
        self.playing.clear();
        self.boards.clear();
        self.twins.board = Board::default();
        self.say("pbx -> pbx", "killed and started again".to_owned());
        self.admit_all();
        self.settle();
    }

    /// At the end of a scenario: the company next door was there, and nobody spoke of it. (Whatever
    /// reaches it has ended the scenario before.)
    pub fn finish(&self) {
        self.twins.check_registered();
        self.twins.check_unnamed(&format!("{:?} {:?}", self.calls, self.boards));
        for (_, facts) in self.live.values() {
            self.twins.check_unnamed(&String::from_utf8_lossy(facts));
        }
    }

    /// Lets every phone de-register, next door as well, over a line that loses nothing.
    pub fn switch_off(&mut self) {
        let now = self.now;
        self.network = Network::new(1);
        for phone in self.phones.values_mut() {
            phone.register(now, 0);
        }
        self.twins.switch_off(now);
        self.run_for(Duration::from_secs(1));
    }

    /// The company next door leaves: for a time so long that asking its phones whether they are there
    /// would be all that happens.
    pub fn empty_next_door(&mut self) {
        let now = self.now;
        self.twins.switch_off(now);
    }

    /// Whether anybody still waits for a moment to come: a phone, a switch, or a datagram.
    pub fn is_waiting(&self) -> bool {
        self.next_at().is_some()
    }

    /// How much living switches have in hand, the company next door left out.
    pub fn load(&self) -> Load {
        let twin = self.twins.tenant();
        let alive = || self.stages.iter().filter(|stage| stage.life == Life::Alive);
        let next_door = alive().filter(|stage| stage.epochs.contains_key(&twin)).count();
        let phones = next_door * self.twins.board.phones.len();
        let all = alive().map(|stage| stage.switch.load());
        let all = all.fold(Load::default(), |sum, load| Load {
            tenants: sum.tenants + load.tenants,
            calls: sum.calls + load.calls,
            transactions: sum.transactions + load.transactions,
            bindings: sum.bindings + load.bindings,
            waiting: sum.waiting + load.waiting,
        });
        Load { tenants: all.tenants - next_door, bindings: all.bindings - phones, ..all }
    }

    /// The ladder so far, and begins a new one.
    pub fn take_ladder(&mut self) -> String {
        let mut text = std::mem::take(&mut self.ladder).join("\n");
        text.push('\n');
        text
    }

    /// Sends raw bytes to the switch from an address of its own.
    pub fn send_raw(&mut self, from: SocketAddr, bytes: &[u8]) {
        let to = self.stages[0].address;
        let bytes = Bytes::copy_from_slice(bytes);
        self.network.send(self.now, Datagram { from, to, bytes });
    }

    fn admit_all(&mut self) {
        self.link_all();
        for company in self.companies.clone() {
            let tenant = company.tenant();
            let home = self.home_of(&company.directory.domain);
            let numbers: Vec<String> = company.directory.numbers.keys().cloned().collect();
            for stage in &mut self.stages {
                let numbers = numbers.clone();
                stage.switch.handle_input(self.now, Input::Numbers { tenant, numbers });
                stage.edge.learn(company.served());
            }
            let live = self.facts_of(tenant);
            self.bring_home(company, home, live, vec![]);
        }
    }

    fn next_at(&self) -> Option<Moment> {
        let phones = self.phones.values().filter_map(Phone::deadline);
        let alive = || self.stages.iter().filter(|stage| stage.life == Life::Alive);
        let switch = alive().filter_map(|stage| stage.switch.deadline());
        let kept = alive().filter_map(|stage| Some(stage.kept.front()?.0));
        let own = phones.chain(switch).chain(kept).chain(self.network.next_at());
        own.chain(self.twins.next_at()).min()
    }

    fn step(&mut self) {
        let now = self.now;
        for stage in self.stages.iter_mut().filter(|stage| stage.life == Life::Alive) {
            if stage.switch.deadline().is_some_and(|at| at <= now) {
                stage.switch.handle_deadline(now);
            }
        }
        for phone in self.phones.values_mut() {
            if phone.deadline().is_some_and(|at| at <= now) {
                phone.handle_deadline(now);
            }
        }
        for node in 0..self.stages.len() {
            while self.stages[node].life == Life::Alive
                && self.stages[node].kept.front().is_some_and(|(at, _)| *at <= now)
            {
                if let Some((_, record)) = self.stages[node].kept.pop_front() {
                    self.store(node, &record);
                    if record.wait == Wait::ForCommit {
                        self.stages[node].switch.handle_input(now, Input::Kept(record.id));
                    }
                }
            }
        }
        for datagram in self.twins.handle_deadline(now) {
            self.deliver(datagram);
        }
        while let Some(datagram) = self.network.arrive(now) {
            self.deliver(datagram);
        }
        self.settle();
    }

    fn deliver(&mut self, datagram: Datagram) {
        let Datagram { from, to, bytes } = datagram;
        if let Some(node) = self.stages.iter().position(|stage| stage.address == to) {
            if self.stages[node].life == Life::Dead {
                return;
            }
            let Stage { node: number, boot, .. } = self.stages[node];
            let link = match self.connections.get(&from) {
                Some(0) => return,
                Some(number) => {
                    let transport = match self.encrypted.contains(&from) {
                        true => Transport::Tls,
                        false => Transport::Tcp,
                    };
                    Link::Stream { transport, boot, number: *number }
                }
                None => Link::Udp,
            };
            let flow = Flow::Net(Path { node: number, link, local: to, peer: from });
            match self.stages[node].edge.place(self.now, &flow, bytes) {
                Placed::Drop(_) => {}
                Placed::KeepsOpen(tenant) => {
                    self.forward(node, tenant, Input::KeptOpen { tenant, peer: from });
                }
                Placed::Answer(bytes) => self.send(node, flow, bytes),
                Placed::For { tenant, by, message } => {
                    let input = Input::Received { tenant, by, flow, message };
                    self.forward(node, tenant, input);
                }
            }
        } else if let Some(name) = self.name_of(to) {
            let router = self.routers.get_mut(&name);
            let arrives = router.is_none_or(|router| router.lets_in(self.now, to));
            if let Some(phone) = self.phones.get_mut(&name).filter(|_| arrives) {
                phone.handle_datagram(self.now, bytes);
            }
        }
    }

    /// Performs all that is wished, until nobody wishes anything.
    pub(super) fn settle(&mut self) {
        loop {
            let mut quiet = true;
            for node in 0..self.stages.len() {
                while let Some(output) = self.stages[node].switch.poll_output() {
                    quiet = false;
                    if self.stages[node].life == Life::Dead {
                        continue;
                    }
                    self.perform(node, output);
                }
                while let Some((path, bytes)) = self.stages[node].inner.pop_front() {
                    quiet = false;
                    self.hand_over(node, path, bytes);
                }
            }
            let mut said = vec![];
            for phone in self.phones.values_mut() {
                while let Some(bytes) = phone.poll_output() {
                    said.push((phone.name.clone(), phone.address, bytes));
                }
            }
            for (name, from, bytes) in said {
                quiet = false;
                self.say(&format!("{name} -> pbx"), summary(&bytes));
                let to = self.phones[&name].switch();
                let router = self.routers.get_mut(&name);
                let from = router.map_or(from, |router| router.pass_out(self.now));
                self.network.send(self.now, Datagram { from, to, bytes });
            }
            if quiet {
                return;
            }
        }
    }

    /// The node on which a tenant lives: they are dealt out in order.
    pub(super) fn home_of(&self, domain: &str) -> usize {
        let place = self.companies.iter().position(|company| company.directory.domain == domain);
        place.unwrap_or(0) % self.stages.len()
    }

    pub(super) fn say(&mut self, who: &str, what: String) {
        let line = format!("{who:<18} {what}");
        // A pause of the line itself is not worth a word.
        let pause = (self.now - self.said_at).as_millis();
        let after = match (self.ladder.is_empty(), pause) {
            (true, _) | (false, 0..200) => String::new(),
            (false, millis) => format!("    after {}.{} s", millis / 1_000, millis % 1_000 / 100),
        };
        self.said_at = self.now;
        self.ladder.push(format!("{}{after}", line.trim_end()));
    }

    /// The tenants of this world, without the one next door.
    pub fn tenants(&self) -> Vec<TenantId> {
        let all = self.companies.iter().map(Company::tenant);
        all.filter(|tenant| *tenant != self.twins.tenant()).collect()
    }
}

/// A message in one short line: what differs from run to run is left out.
fn summary(bytes: &Bytes) -> String {
    let Ok(message) = Message::parse(bytes.clone()) else { return "?".to_owned() };
    let sdp = String::from_utf8_lossy(&message.body()).into_owned();
    let held = ["sendonly", "recvonly", "inactive"].into_iter().find(|word| sdp.contains(word));
    let body = held.unwrap_or_default();
    match message.status() {
        Some(status) => format!("{status} {} {body}", message.method().as_str()),
        None => {
            let target = message.target().split(";line=").next().unwrap_or_default();
            let reason = message.first(pbx::sip::name::Name::Reason).unwrap_or_default();
            let reason = if reason.is_empty() { String::new() } else { format!("({reason})") };
            format!("{} {target} {body}{reason}", message.method().as_str())
        }
    }
}
