//! The world around a switch, and the ladder of what was said in it.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use pbx::board::Board;
use pbx::edge::{self, Edge, Placed, UnknownDomain};
use pbx::flow::{Advertised, Flow, InnerPath, Path};
use pbx::id::{BindingId, CallId, NodeId, TenantId};
use pbx::input::{Input, Placement};
use pbx::media::{Event as Sound, Heard, Side, Wish};
use pbx::moment::Moment;
use pbx::output::Output;
use pbx::record::{Binding, CallRecord, Memory, Record, Wait};
use pbx::registrar::Policy;
use pbx::sip::message::Message;
use pbx::story::Note;
use pbx::switch::{Load, Setup, Switch};

use super::Company;
use super::network::{Datagram, Network};
use super::phone::{Account, Phone};
use super::router::Router;

const TOKEN_KEY: [u8; 16] = [3; 16];
const NODE: NodeId = NodeId(1);
const NONCE_KEY: [u8; 16] = [4; 16];

/// A switch, its phones and what lies between.
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
    /// What is shown of registered phones.
    pub boards: BTreeMap<TenantId, Board>,
    /// Sound that is open, with its port.
    pub sides: BTreeMap<Side, u16>,
    companies: Vec<Company>,
    stages: Vec<Stage>,
    ladder: Vec<String>,
    said_at: Moment,
}

/// The switch and what it waits for.
#[derive(Debug)]
struct Stage {
    switch: Switch,
    edge: Edge,
    address: SocketAddr,
    boot: u32,
    kept: VecDeque<(Moment, Record)>,
    inner: VecDeque<(InnerPath, Bytes)>,
    ports: u16,
}

impl World {
    /// A world with these tenants on one switch.
    pub fn new(companies: Vec<Company>) -> Self {
        Self::on(1, companies)
    }

    /// A world with these tenants dealt out to so many nodes, a switch each.
    pub fn on(nodes: usize, companies: Vec<Company>) -> Self {
        let now = Moment::from_secs(1_800_000_000);
        let mut world = Self {
            now,
            network: Network::new(1),
            phones: BTreeMap::new(),
            commit_after: Some(Duration::from_millis(3)),
            calls: vec![],
            notes: vec![],
            live: BTreeMap::new(),
            bindings: BTreeMap::new(),
            routers: BTreeMap::new(),
            boards: BTreeMap::new(),
            sides: BTreeMap::new(),
            companies,
            stages: (0..nodes).map(|node| Stage::new(node, 1)).collect(),
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
            switch: self.stages[self.home_of(domain)].address,
        };
        self.phones.entry(name.to_owned()).or_insert_with(|| Phone::new(name, address, account))
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
            *stage = Stage::new(node, stage.boot + 1);
        }
        self.sides.clear();
        self.say("pbx -> pbx", "killed and started again".to_owned());
        self.admit_all();
        self.settle();
    }

    /// How much the switch has in hand.
    pub fn load(&self) -> Load {
        self.stages.iter().map(|stage| stage.switch.load()).fold(Load::default(), |sum, load| {
            Load {
                tenants: sum.tenants + load.tenants,
                calls: sum.calls + load.calls,
                transactions: sum.transactions + load.transactions,
                bindings: sum.bindings + load.bindings,
                waiting: sum.waiting + load.waiting,
            }
        })
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
        for company in self.companies.clone() {
            let tenant = company.tenant();
            let home = self.home_of(&company.directory.domain);
            let numbers: Vec<String> = company.directory.numbers.keys().cloned().collect();
            for stage in &mut self.stages {
                let numbers = numbers.clone();
                stage.switch.handle_input(self.now, Input::Numbers { tenant, numbers });
            }
            self.stages[home].edge.learn(company.served());
            let users = &company.directory.users;
            let of_tenant = |binding: &&Binding| users.contains_key(&binding.user);
            let bindings = self.bindings.values().filter(of_tenant).cloned().collect();
            let live = self.live.values().filter(|(whose, _)| *whose == tenant);
            let live = live.map(|(_, facts)| facts.clone()).collect();
            let directory = Box::new(company.directory);
            let arrived = Input::Arrived { directory, bindings, live };
            self.stages[home].switch.handle_input(self.now, arrived);
        }
    }

    fn next_at(&self) -> Option<Moment> {
        let phones = self.phones.values().filter_map(Phone::deadline);
        let switch = self.stages.iter().filter_map(|stage| stage.switch.deadline());
        let kept = self.stages.iter().filter_map(|stage| Some(stage.kept.front()?.0));
        phones.chain(switch).chain(kept).chain(self.network.next_at()).min()
    }

    fn step(&mut self) {
        let now = self.now;
        for stage in &mut self.stages {
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
            while self.stages[node].kept.front().is_some_and(|(at, _)| *at <= now) {
                if let Some((_, record)) = self.stages[node].kept.pop_front() {
                    self.store(&record);
                    self.stages[node].switch.handle_input(now, Input::Kept(record.id));
                }
            }
        }
        while let Some(datagram) = self.network.arrive(now) {
            self.deliver(datagram);
        }
        self.settle();
    }

    fn deliver(&mut self, datagram: Datagram) {
        let Datagram { from, to, bytes } = datagram;
        if let Some(node) = self.stages.iter().position(|stage| stage.address == to) {
            let flow = Flow::udp(NODE, to, from);
            match self.stages[node].edge.place(self.now, &flow, bytes) {
                Placed::Drop(_) => {}
                Placed::KeepsOpen(tenant) => {
                    let input = Input::KeptOpen { tenant, peer: from };
                    self.stages[node].switch.handle_input(self.now, input);
                }
                Placed::Answer(bytes) => self.send(node, flow, bytes),
                Placed::For { tenant, by, message } => {
                    let input = Input::Received { tenant, by, flow, message };
                    self.stages[node].switch.handle_input(self.now, input);
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
    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            for node in 0..self.stages.len() {
                while let Some(output) = self.stages[node].switch.poll_output() {
                    quiet = false;
                    self.perform(node, output);
                }
                while let Some((path, bytes)) = self.stages[node].inner.pop_front() {
                    quiet = false;
                    self.hand_over(path, bytes);
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

    /// SIP as data: from one tenant's switch to the other's, wherever it is.
    fn hand_over(&mut self, path: InnerPath, bytes: Bytes) {
        let message = Message::parse(bytes).expect("a switch writes what can be read");
        let (tenant, flow) = (path.there, Flow::Inner(path.reversed()));
        let by = Placement::Inner;
        let home = self.companies.iter().position(|company| company.tenant() == tenant);
        let node = home.unwrap_or(0) % self.stages.len();
        let input = Input::Received { tenant, by, flow, message };
        self.stages[node].switch.handle_input(self.now, input);
    }

    /// The node on which a tenant lives: they are dealt out in order.
    fn home_of(&self, domain: &str) -> usize {
        let place = self.companies.iter().position(|company| company.directory.domain == domain);
        place.unwrap_or(0) % self.stages.len()
    }

    fn perform(&mut self, node: usize, output: Output) {
        match output {
            Output::Remember(record) => self.remember(node, record),
            Output::Send { flow, bytes } => self.send(node, flow, bytes),
            Output::Media(wish) => self.sound(node, wish),
            Output::Note(note) => self.notes.push(note),
            Output::Show(change) => {
                self.boards.entry(change.tenant).or_default().apply(change.what);
            }
            Output::Retire(_) => {}
        }
    }

    fn send(&mut self, node: usize, flow: Flow, bytes: Bytes) {
        match flow {
            Flow::Net(Path { local, peer, .. }) => {
                let name = self.name_of(peer).unwrap_or_else(|| peer.to_string());
                self.say(&format!("pbx -> {name}"), summary(&bytes));
                self.network.send(self.now, Datagram { from: local, to: peer, bytes });
            }
            Flow::Inner(path) => {
                self.say("pbx -> pbx", summary(&bytes));
                self.stages[node].inner.push_back((path, bytes));
            } // No phone of a simulation has a stream.
        }
    }

    /// The phone that has this address, or whose router has it.
    fn name_of(&self, peer: SocketAddr) -> Option<String> {
        let behind = self.routers.iter().find(|(_, router)| router.outside == peer);
        let open =
            |phone: &&Phone| phone.address == peer && !self.routers.contains_key(&phone.name);
        let phone = || self.phones.values().find(open).map(|phone| phone.name.clone());
        behind.map(|(name, _)| name.clone()).or_else(phone)
    }

    fn remember(&mut self, node: usize, record: Record) {
        match (record.wait, self.commit_after) {
            (Wait::ForCommit, Some(after)) => {
                self.stages[node].kept.push_back((self.now + after, record));
            }
            (Wait::ForCommit, None) | (Wait::No, _) => self.store(&record),
        }
    }

    fn store(&mut self, record: &Record) {
        let tenant = record.tenant;
        match &record.what {
            Memory::Bound(binding) => {
                self.bindings.insert(binding.id, (**binding).clone());
            }
            Memory::Unbound(id) => drop(self.bindings.remove(id)),
            Memory::Live { call, facts } => {
                assert!(facts.len() < 12 * 1024, "a stored call is under 12 KiB");
                self.live.insert(*call, (tenant, facts.clone()));
            }
            Memory::Ended(record) => {
                self.live.remove(&record.call);
                let line =
                    format!("call {} to {}: {:?}", record.caller, record.dialled, record.ending);
                self.say("pbx -> store", line);
                self.calls.push((**record).clone());
            }
        }
    }

    fn sound(&mut self, node: usize, wish: Wish) {
        let event = match wish {
            Wish::Open { side, port, .. } => {
                self.stages[node].ports += 2;
                let port = port.unwrap_or(self.stages[node].ports);
                self.sides.insert(side, port);
                Sound::Opened { side, port }
            }
            Wish::Close { side } => {
                assert!(self.sides.remove(&side).is_some(), "closed twice, or never opened");
                Sound::Closed { side, heard: Heard::default() }
            }
            Wish::Aim { .. } | Wish::Join { .. } => return,
        };
        self.stages[node].switch.handle_input(self.now, Input::Media(event));
    }

    fn say(&mut self, who: &str, what: String) {
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

    /// The tenants of this world.
    pub fn tenants(&self) -> Vec<TenantId> {
        self.companies.iter().map(Company::tenant).collect()
    }
}

impl Stage {
    fn new(node: usize, boot: u32) -> Self {
        let number = u8::try_from(node + 1).unwrap_or(u8::MAX);
        let mut seed = [number; 32];
        seed[0] = u8::try_from(boot % 251).unwrap_or(0);
        let advertised = Advertised::default();
        let setup = Setup {
            node: NODE,
            boot,
            seed,
            token_key: TOKEN_KEY,
            nonce_key: NONCE_KEY,
            sip: advertised.clone(),
            media: advertised.clone(),
            inner: [127, 0, 0, 1].into(),
            policy: Policy::default(),
            unknown_domain: UnknownDomain::Drop,
        };
        let edge = edge::Setup {
            token_key: TOKEN_KEY,
            nonce_key: NONCE_KEY,
            boot,
            seed: [number.wrapping_add(100); 32],
            advertised,
            unknown_domain: UnknownDomain::Drop,
        };
        Self {
            switch: Switch::new(setup),
            edge: Edge::new(edge),
            address: SocketAddr::from(([203, 0, 113, number], 5060)),
            boot,
            kept: VecDeque::new(),
            inner: VecDeque::new(),
            ports: 26_000,
        }
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
