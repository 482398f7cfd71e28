//! The company next door: for each phone of a simulation it has one with the same name, number,
//! Call-ID and private address. Whatever reaches it but its own registering ends the test.
//!
//! Two offices behind two routers really look like this (RFC 1918), so nothing but the domain and
//! the way back tells their phones apart.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use pbx::board::{Board, What};
use pbx::id::{BindingId, TenantId};
use pbx::media::Clip;
use pbx::moment::Moment;
use pbx::record::{Binding, Memory, Record};
use pbx::sip::message::Message;
use pbx::sip::method::Method;
use pbx::sip::{Address, Flaw};
use pbx::story::Event;

use super::Company;
use super::company::company;
use super::network::{Datagram, Network};
use super::phone::Phone;

const NUMBER: u8 = 200;
const DOMAIN: &str = "twin.example";
/// Whence its phones come: addresses that nobody else in a simulation has (RFC 6598).
const OUTSIDE: &str = "100.64.0.";
/// Nothing of a simulation lasts longer, so that they register once.
const EXPIRES_S: u32 = 86_400;
const LINE: Duration = Duration::from_millis(10);

/// The company next door, its phones, and a good line of their own.
#[derive(Debug)]
pub(super) struct Twins {
    pub(super) company: Company,
    pub(super) bindings: BTreeMap<BindingId, Binding>,
    pub(super) board: Board,
    phones: BTreeMap<String, Phone>,
    network: Network,
}

impl Twins {
    /// The company, with no phone yet.
    pub(super) fn new() -> Self {
        let mut company = company(NUMBER, DOMAIN);
        for user in company.directory.users.values_mut() {
            user.max_contacts = 100;
        }
        let mut network = Network::new(0);
        network.delay = LINE;
        Self {
            company,
            bindings: BTreeMap::new(),
            board: Board::default(),
            phones: BTreeMap::new(),
            network,
        }
    }

    pub(super) fn tenant(&self) -> TenantId {
        self.company.tenant()
    }

    /// Gives `of` a twin that begins to register at once.
    pub(super) fn add(&mut self, now: Moment, of: &Phone, switch: SocketAddr) {
        if self.phones.contains_key(&of.name) || self.company.user(of.number()).is_none() {
            return;
        }
        let account = of.lookalike(DOMAIN, switch);
        let host = self.phones.len() + 1;
        let address = format!("{OUTSIDE}{host}:5060").parse().expect("few phones");
        let mut phone = Phone::new(&of.name, address, account);
        phone.register(now, EXPIRES_S);
        self.phones.insert(of.name.clone(), phone);
        self.drain(now);
    }

    /// They leave.
    pub(super) fn switch_off(&mut self, now: Moment) {
        for phone in self.phones.values_mut() {
            phone.register(now, 0);
        }
        self.drain(now);
    }

    pub(super) fn next_at(&self) -> Option<Moment> {
        let phones = self.phones.values().filter_map(Phone::deadline);
        phones.chain(self.network.next_at()).min()
    }

    /// What their time has come for; returns what reaches the switch.
    pub(super) fn handle_deadline(&mut self, now: Moment) -> Vec<Datagram> {
        for phone in self.phones.values_mut() {
            if phone.deadline().is_some_and(|at| at <= now) {
                phone.handle_deadline(now);
            }
        }
        let mut for_switch = vec![];
        while let Some(datagram) = self.network.arrive(now) {
            let Datagram { to, bytes, .. } = datagram;
            match self.phones.values_mut().find(|phone| phone.address == to) {
                Some(phone) => phone.handle_datagram(now, bytes),
                None => for_switch.push(Datagram { to, bytes, ..datagram }),
            }
        }
        self.drain(now);
        for_switch
    }

    /// Whether a phone of the company is there.
    pub(super) fn live_at(&self, address: SocketAddr) -> bool {
        self.phones.values().any(|phone| phone.address == address)
    }

    /// Something is sent to one of its phones: an answer to its own REGISTER, or a fault.
    pub(super) fn send(&mut self, now: Moment, datagram: Datagram) {
        assert!(is_own_business(&datagram.bytes), "a twin is sent {:?}", datagram.bytes);
        self.network.send(now, datagram);
    }

    /// What is sent to anybody else says nothing of it.
    pub(super) fn check_unnamed(&self, what: &str) {
        assert!(!names_a_twin(what), "the company next door is named: {what}");
    }

    /// Nobody else's sound is sent to it.
    pub(super) fn check_sound(&self, to: Option<IpAddr>) {
        let is_theirs = to.is_some_and(|ip| ip.to_string().starts_with(OUTSIDE));
        assert!(!is_theirs, "sound is sent to a twin: {to:?}");
    }

    /// Nobody is played a sound of theirs.
    pub(super) fn check_played(&self, clip: &Clip) {
        match clip {
            Clip::Sound(sound) | Clip::Music(sound) => {
                assert_ne!(sound.tenant, self.tenant(), "a twin's sound is played");
            }
            Clip::Tone(_) => {}
        }
    }

    /// Keeps a record of its own: registrations, and nothing else.
    pub(super) fn store(&mut self, record: &Record) {
        match &record.what {
            Memory::Bound(binding) => {
                assert!(self.live_at(binding.path.peer), "a twin's binding leads to {binding:?}");
                self.bindings.insert(binding.id, (**binding).clone());
            }
            Memory::Unbound(id) => drop(self.bindings.remove(id)),
            Memory::Live { .. } | Memory::Ended(_) => {
                assert!(self.phones.is_empty(), "a call is remembered of a twin: {record:?}");
            }
        }
    }

    /// Hears a note about the company: that its phones came or went.
    pub(super) fn hear(&self, event: &Event) {
        let own = match event {
            Event::Registered { from, .. } => from.contains(OUTSIDE),
            Event::Unregistered { .. } => true,
            _ => false,
        };
        assert!(own, "told of a twin: {event:?}");
    }

    /// Takes over a change of its page: a phone of its own.
    pub(super) fn show(&mut self, what: What) {
        let own = match &what {
            What::Phone(_, phone) => phone.path.to_string().contains(OUTSIDE),
            What::PhoneGone(_) | What::Cleared => true,
            What::Call(..) | What::CallEnded(_) | What::Speaks(..) | What::Silent(_) => false,
        };
        assert!(own, "a twin's page shows {what:?}");
        self.board.apply(what);
    }

    /// At the end: each of them registered, so that there was somebody to be disturbed.
    pub(super) fn check_registered(&self) {
        for phone in self.phones.values() {
            assert_eq!(phone.registered, Some(200), "the twin of {} was not there", phone.name);
            assert_eq!(phone.state, super::State::Idle, "the twin of {}", phone.name);
        }
    }

    fn drain(&mut self, now: Moment) {
        for phone in self.phones.values_mut() {
            while let Some(bytes) = phone.poll_output() {
                let (from, to) = (phone.address, phone.switch());
                self.network.send(now, Datagram { from, to, bytes });
            }
        }
    }
}

/// Whether a text speaks of the company next door or of one of its phones.
fn names_a_twin(text: &str) -> bool {
    text.contains(DOMAIN) || text.contains(OUTSIDE)
}

/// Whether a message is the company's own: an answer to a REGISTER of its domain, or what keeps its
/// phone's way open (RFC 5626): an empty line, or its own server's question whether it is there.
fn is_own_business(bytes: &Bytes) -> bool {
    let Ok(message) = Message::parse(bytes.clone()) else {
        return bytes.iter().all(|byte| b"\r\n".contains(byte));
    };
    let names_it = |address: Result<Address<'_>, Flaw>| {
        address.ok().and_then(|address| address.uri().ok()).is_some_and(|uri| uri.host == DOMAIN)
    };
    match (message.status(), message.method()) {
        (Some(_), Method::Register) => names_it(message.to()),
        (None, Method::Options) => names_it(message.from()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use pbx::id::{CallId, RecordId};
    use pbx::record::Wait;
    use uuid::Uuid;

    use super::super::phone::Account;
    use super::*;

    fn twins() -> Twins {
        let mut twins = Twins::new();
        let address = "192.0.2.10:5060".parse().unwrap();
        let account = Account {
            user: "101".to_owned(),
            password: String::new(),
            domain: "alpha.example".to_owned(),
            device: "alice".to_owned(),
            claims: address,
            switch: address,
        };
        let phone = Phone::new("alice", address, account);
        twins.add(Moment::from_secs(1), &phone, address);
        twins
    }

    fn datagram(text: &str) -> Datagram {
        let at = "100.64.0.1:5060".parse().unwrap();
        Datagram { from: at, to: at, bytes: Bytes::copy_from_slice(text.as_bytes()) }
    }

    fn answer(method: &str, domain: &str) -> Datagram {
        datagram(&format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK1\r\n\
             From: <sip:101@{domain}>;tag=1\r\nTo: <sip:101@{domain}>;tag=2\r\nCall-ID: x\r\n\
             CSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
        ))
    }

    #[test]
    fn an_answer_to_its_own_register_is_nothing_to_object_to() {
        twins().send(Moment::from_secs(1), answer("REGISTER", DOMAIN));
    }

    #[test]
    fn what_keeps_its_way_open_is_nothing_to_object_to() {
        let options = "OPTIONS sip:101@192.0.2.10 SIP/2.0\r\nFrom: <sip:twin.example>;tag=1\r\n\
            CSeq: 1 OPTIONS\r\n\r\n";
        twins().send(Moment::from_secs(1), datagram(options));
        twins().send(Moment::from_secs(1), datagram("\r\n\r\n"));
    }

    #[test]
    #[should_panic(expected = "a twin is sent")]
    fn somebody_elses_question_is_objected_to() {
        let options = "OPTIONS sip:101@192.0.2.10 SIP/2.0\r\nFrom: <sip:alpha.example>;tag=1\r\n\
            CSeq: 1 OPTIONS\r\n\r\n";
        twins().send(Moment::from_secs(1), datagram(options));
    }

    #[test]
    #[should_panic(expected = "a twin is sent")]
    fn somebody_elses_answer_is_objected_to() {
        twins().send(Moment::from_secs(1), answer("REGISTER", "alpha.example"));
    }

    #[test]
    #[should_panic(expected = "a twin is sent")]
    fn an_answer_to_a_call_is_objected_to() {
        twins().send(Moment::from_secs(1), answer("INVITE", DOMAIN));
    }

    #[test]
    #[should_panic(expected = "a twin is sent")]
    fn a_request_is_objected_to() {
        let bye = "BYE sip:101@twin.example SIP/2.0\r\nCSeq: 1 BYE\r\n\r\n";
        twins().send(Moment::from_secs(1), datagram(bye));
    }

    #[test]
    #[should_panic(expected = "a call is remembered")]
    fn a_calls_facts_are_objected_to() {
        let mut twins = twins();
        let (id, tenant) = (RecordId(Uuid::nil()), twins.tenant());
        let what = Memory::Live { call: CallId(Uuid::nil()), facts: vec![] };
        twins.store(&Record { id, tenant, at: Moment::from_secs(1), what, wait: Wait::No });
    }

    #[test]
    #[should_panic(expected = "a twin's page shows")]
    fn a_call_on_its_page_is_objected_to() {
        twins().show(What::CallEnded(CallId(Uuid::nil())));
    }

    #[test]
    #[should_panic(expected = "told of a twin")]
    fn a_wrong_password_of_somebody_else_is_objected_to() {
        let (username, from) = ("101".to_owned(), "udp 192.0.2.10:5060".to_owned());
        twins().hear(&Event::WrongPassword { username, from });
    }

    #[test]
    #[should_panic(expected = "sound is sent")]
    fn sound_is_objected_to() {
        twins().check_sound(Some("100.64.0.1".parse().unwrap()));
    }

    #[test]
    #[should_panic(expected = "is named")]
    fn its_name_in_what_others_hear_is_objected_to() {
        twins().check_unnamed("INVITE sip:101@twin.example");
    }

    #[test]
    #[should_panic(expected = "was not there")]
    fn a_twin_that_never_registered_proves_nothing() {
        twins().check_registered();
    }
}
