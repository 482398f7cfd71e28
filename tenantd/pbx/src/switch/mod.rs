//! A switch: the life of a message, from arrival to answer.
//!
//! It holds some tenants whole, and nobody else touches them: no lock, no query. What it must know
//! is told to it ([`Input`]), what it decides comes out in order ([`Output`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use bytes::Bytes;

use crate::call::Call;
use crate::call::desk::{Desk, LinkedNode, Office};
use crate::call::shown::Shown;
use crate::chance::Chance;
use crate::edge::UnknownDomain;
use crate::flow::{Advertised, Flow, FlowId};
use crate::id::{BindingId, CallId, NodeId, TenantId, UserId};
use crate::input::{Input, Placement, Storage};
use crate::moment::Moment;
use crate::output::Output;
use crate::registrar::{Change, Policy, Registrar};
use crate::sip::deadlines::{Alarm, Deadlines};
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::nonce::{NonceKey, Nonces};
use crate::sip::token::TokenKey;
use crate::sip::transaction::{Arrival, Realm, ServerId, Transactions};
use crate::tenant::directory::Directory;
use crate::tenant::guard::Guard;
use crate::tenant::limits::LiveCalls;
use crate::tenant::rooms::Rooms;

mod admission;
mod arrival;
mod orphan;
mod pings;
mod refusal;
mod registering;

use admission::Inherited;
use pings::Pings;
use refusal::Refusal;
use registering::Waiting;

/// Transactions open at once; beyond that requests are answered 503 (RFC 3261 §21.5.4).
const MOST_TRANSACTIONS: usize = 200_000;
/// Nonces whose counts are remembered.
const MOST_NONCES: usize = 200_000;

/// What a switch starts with.
#[derive(Debug, Clone)]
pub struct Setup {
    /// This node.
    pub node: NodeId,
    /// This process: nonces and connections of an earlier one are stale.
    pub boot: u32,
    /// What randomness starts from; of its own for each switch.
    pub seed: [u8; 32],
    /// Signs tags and branches.
    pub token_key: [u8; 16],
    /// Signs nonces.
    pub nonce_key: [u8; 16],
    /// Our addresses in Via and Contact.
    pub sip: Advertised,
    /// Our addresses in SDP.
    pub media: Advertised,
    /// This node's own addresses, one a family at most.
    pub own: Vec<IpAddr>,
    /// Where sound between two tenants goes: an address that every node of ours reaches.
    pub inner: IpAddr,
    /// SHA-256 of media's certificate, if it has one.
    pub fingerprint: Option<[u8; 32]>,
    /// How long registrations last.
    pub policy: Policy,
    /// What strangers hear.
    pub unknown_domain: UnknownDomain,
}

/// How much a switch has in hand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Tenants.
    pub tenants: usize,
    /// Calls that are not over.
    pub calls: usize,
    /// Open transactions.
    pub transactions: usize,
    /// Registered phones.
    pub bindings: usize,
    /// Answers that wait for a commit.
    pub waiting: usize,
}

/// Some tenants, and everything that happens to them.
#[derive(Debug)]
pub struct Switch {
    office: Office,
    nonces: Nonces,
    /// Refusals that are held back, by when they are due.
    delayed: BTreeMap<(Moment, ServerId), (u16, Bytes)>,
    tenants: BTreeMap<TenantId, Tenant>,
    elsewhere: BTreeMap<String, TenantId>,
    numbers: BTreeMap<TenantId, Vec<String>>,
    due: Deadlines<Due>,
    waiting: Waiting,
    /// Phones that are asked whether they are still there; one transaction each.
    probes: BTreeMap<u64, (TenantId, UserId, BindingId)>,
    pings: Pings,
    /// Media knows calls by their ids.
    sounds: BTreeMap<CallId, (TenantId, u64)>,
    /// And conferences by theirs: many calls share one.
    rooms: BTreeMap<CallId, TenantId>,
    /// Whose phones are connected by what.
    streams: BTreeMap<FlowId, BTreeSet<TenantId>>,
    rules: Rules,
}

/// What holds for all tenants right now.
#[derive(Debug)]
struct Rules {
    policy: Policy,
    unknown_domain: UnknownDomain,
    storage: Storage,
    door: Door,
}

/// Whether new calls and registrations are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    Draining,
}

/// One tenant: a value, which nobody else holds.
#[derive(Debug)]
struct Tenant {
    directory: Box<Directory>,
    registrar: Registrar,
    live: LiveCalls,
    rooms: Rooms,
    shown: Shown,
    guard: Guard,
    calls: BTreeMap<u64, Line>,
    alarm: Alarm,
}

/// A call and when it wants to be woken.
#[derive(Debug)]
struct Line {
    /// Boxed: trees are half empty, and keep a leaf when they are empty.
    call: Box<Call>,
    alarm: Alarm,
}

/// Who wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Call(TenantId, u64),
    Registrar(TenantId),
}

impl Switch {
    /// A switch without tenants.
    pub fn new(setup: Setup) -> Self {
        let mut chance = Chance::from_seed(setup.seed);
        let mut table_key = [0; 16];
        chance.fill(&mut table_key);
        let longest = setup.policy.max_expires + setup.policy.max_expires / 10;
        let valid_for = longest.max(std::time::Duration::from_secs(3_600));
        let here = LinkedNode { boot: setup.boot, sip: setup.sip };
        let nonce_key = NonceKey::new(setup.nonce_key, setup.boot);
        Self {
            office: Office {
                chance,
                transactions: Transactions::new(table_key, MOST_TRANSACTIONS),
                tokens: TokenKey::new(setup.token_key),
                here: setup.node,
                own: setup.own,
                nodes: BTreeMap::from([(setup.node, here)]),
                media: setup.media,
                inner: setup.inner,
                fingerprint: setup.fingerprint,
                outputs: VecDeque::new(),
            },
            nonces: Nonces::new(nonce_key, valid_for, MOST_NONCES),
            delayed: BTreeMap::new(),
            tenants: BTreeMap::new(),
            elsewhere: BTreeMap::new(),
            numbers: BTreeMap::new(),
            due: Deadlines::new(),
            waiting: Waiting::default(),
            probes: BTreeMap::new(),
            pings: Pings::default(),
            sounds: BTreeMap::new(),
            rooms: BTreeMap::new(),
            streams: BTreeMap::new(),
            rules: Rules {
                policy: setup.policy,
                unknown_domain: setup.unknown_domain,
                storage: Storage::Here,
                door: Door::Open,
            },
        }
    }

    /// Something happened.
    pub fn handle_input(&mut self, now: Moment, input: Input) {
        match input {
            Input::Received { tenant, by, flow, message } => {
                self.receive(now, Arrived { tenant, by, flow }, message);
            }
            Input::KeptOpen { tenant, peer } => self.hear_keepalive(now, tenant, peer),
            Input::Arrived { directory, bindings, live, lost } => {
                self.admit(now, directory, bindings, Inherited { live, lost });
            }
            Input::Configured(directory) => self.configure(now, directory),
            Input::Removed(tenant) => self.remove(now, tenant),
            Input::Numbers { tenant, numbers } => self.learn_numbers(tenant, numbers),
            Input::Kept(record) => self.answer_kept(now, record),
            Input::Storage(storage) => {
                self.rules.storage = storage;
                if storage == Storage::Away {
                    self.answer_all_waiting(now);
                }
            }
            Input::Media(event) => self.hear(now, event),
            Input::Node { node, boot, sip } => {
                self.office.nodes.insert(node, LinkedNode { boot, sip });
                self.lose_older(now, node, boot);
            }
            Input::NodeGone(node) => drop(self.office.nodes.remove(&node)),
            Input::SoundMoved(advertised) => self.office.media = advertised,
            Input::FlowGone(stream) => self.lose(now, stream),
            Input::Drain => self.rules.door = Door::Draining,
            Input::HangUp => self.hang_up_all(now),
        }
        self.handle_transactions(now);
    }

    /// What must be done next, if anything.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.office.outputs.pop_front()
    }

    /// When [`Self::handle_deadline`] is next due.
    pub fn deadline(&self) -> Option<Moment> {
        let transactions = self.office.transactions.deadline();
        let delayed = self.delayed.keys().next().map(|(at, _)| *at);
        let pings = self.pings.deadline();
        [transactions, self.due.next(), self.waiting.deadline(), delayed, pings]
            .into_iter()
            .flatten()
            .min()
    }

    /// A deadline has come.
    pub fn handle_deadline(&mut self, now: Moment) {
        self.office.transactions.handle_deadline(now);
        self.handle_transactions(now);
        while let Some(due) = self.due.pop_due(now) {
            match due {
                Due::Call(tenant, number) => self.wake_call(now, tenant, number),
                Due::Registrar(tenant) => self.expire(now, tenant),
            }
        }
        self.ask_due(now);
        self.answer_overdue(now);
        self.answer_delayed(now);
        self.handle_transactions(now);
    }

    /// How much is in hand.
    pub fn load(&self) -> Load {
        let calls = |tenant: &Tenant| tenant.calls.values().filter(|l| !l.call.is_over()).count();
        Load {
            tenants: self.tenants.len(),
            calls: self.tenants.values().map(calls).sum(),
            transactions: match self.rules.door {
                Door::Open => self.office.transactions.len(),
                // A stop waits for those in which somebody waits, not for what is only remembered.
                Door::Draining => self.office.transactions.unfinished(),
            },
            bindings: self.tenants.values().map(|tenant| tenant.registrar.len()).sum(),
            waiting: self.waiting.len(),
        }
    }

    /// The life of a message: a repeat, an answer, or something new.
    fn receive(&mut self, now: Moment, arrived: Arrived, message: Message) {
        if !message.is_request() {
            return self.receive_response(now, &arrived, &message);
        }
        if self.is_stranger(&arrived) {
            return self.turn_away(&arrived, &message);
        }
        let realm = Realm(arrived.tenant.0.as_u128());
        match self.office.transactions.receive_request_in(now, realm, arrived.flow, &message) {
            Arrival::Absorbed => {}
            Arrival::Full => self.answer_stateless(&arrived, &message, &Refusal::Overloaded),
            Arrival::Merged => {
                self.answer_stateless(&arrived, &message, &Refusal::LoopDetected);
            }
            Arrival::Unreadable => {
                self.answer_stateless(&arrived, &message, &Refusal::BadRequest);
            }
            Arrival::Ack => self.receive_ack(now, &arrived, &message),
            Arrival::Cancel { server, invite } => {
                self.receive_cancel(now, &arrived, server, invite, &message);
            }
            Arrival::New(server) => {
                if let Err(refusal) = self.serve(now, &arrived, server, &message) {
                    self.refuse(now, &arrived, server, &message, &refusal);
                }
            }
        }
    }

    /// Each stage is one line; its name is the module that does it.
    fn serve(
        &mut self,
        now: Moment,
        arrived: &Arrived,
        server: ServerId,
        request: &Message,
    ) -> Result<(), Refusal> {
        if let Some(dialog) = self.dialog_of(request) {
            return self.serve_within(now, arrived, server, request, dialog);
        }
        self.check_door(request)?;
        let speaker = self.identify(now, arrived, request)?;
        match request.method() {
            Method::Register => self.register(now, arrived, server, request, speaker),
            Method::Invite => self.start_call(now, arrived, server, request, speaker),
            Method::Subscribe | Method::Publish => Err(Refusal::BadEvent),
            Method::Refer
            | Method::Message
            | Method::Options
            | Method::Ack
            | Method::Cancel
            | Method::Bye
            | Method::Info
            | Method::Prack
            | Method::Update
            | Method::Notify
            | Method::Other(_) => Err(Refusal::MethodNotAllowed),
        }
    }
}

/// Whose a message is, and where it came from.
#[derive(Debug, Clone, Copy)]
struct Arrived {
    tenant: TenantId,
    by: Placement,
    flow: Flow,
}

/// The call and leg that a request's To tag names.
#[derive(Debug, Clone, Copy)]
struct DialogName {
    call: u64,
    leg: u16,
}

impl Tenant {
    fn desk<'a>(
        &'a mut self,
        now: Moment,
        elsewhere: &'a BTreeMap<String, TenantId>,
        office: &'a mut Office,
    ) -> (Desk<'a>, &'a mut BTreeMap<u64, Line>) {
        let Self { directory, registrar, live, rooms, shown, calls, .. } = self;
        (Desk { now, tenant: directory, registrar, live, rooms, shown, elsewhere, office }, calls)
    }
}
