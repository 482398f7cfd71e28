//! What a switch lends to a call while it works: the time, chance, transactions and the way out.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;

use super::Owner;
use super::shown::Shown;
use crate::board::{Change, What};
use crate::chance::Chance;
use crate::flow::{Advertised, Flow, Link, Path, Transport};
use crate::id::{CallId, NodeId, RecordId, TenantId, UserId};
use crate::media::Wish;
use crate::moment::Moment;
use crate::output::Output;
use crate::record::{Binding, Memory, Record, Wait};
use crate::registrar::Registrar;
use crate::sip::address::Contacts;
use crate::sip::draft::Draft;
use crate::sip::message::Message;
use crate::sip::method::{ALLOW, Method};
use crate::sip::name::Name;
use crate::sip::token::TokenKey;
use crate::sip::transaction::{Full, ServerId, Transactions};
use crate::sip::uri::{Scheme, Uri};
use crate::story::{Event, Note};
use crate::tenant::directory::Directory;
use crate::tenant::limits::LiveCalls;
use crate::tenant::name::name_in;
use crate::tenant::rooms::Rooms;

/// The content type of a session description.
pub const SDP: &str = "application/sdp";

/// What all tenants of a switch share.
#[derive(Debug)]
pub struct Office {
    /// Tags, branches, Call-IDs and ids come from here only.
    pub chance: Chance,
    /// Every transaction of the switch.
    pub transactions: Transactions<Owner>,
    /// Signs tags and branches.
    pub tokens: TokenKey,
    /// This node.
    pub here: NodeId,
    /// Its own addresses, one a family at most: sound goes there when a phone reached another node.
    pub own: Vec<IpAddr>,
    /// The nodes that are linked, and this one.
    pub nodes: BTreeMap<NodeId, LinkedNode>,
    /// Our addresses in SDP.
    pub media: Advertised,
    /// Where sound between two tenants goes.
    pub inner: IpAddr,
    /// SHA-256 of the certificate that sound is encrypted with; without it there is no DTLS.
    pub fingerprint: Option<[u8; 32]>,
    /// What is wished, oldest first.
    pub outputs: VecDeque<Output>,
}

/// A node whose sockets phones use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkedNode {
    /// The process of it that lives.
    pub boot: u32,
    /// Its addresses in Via and Contact.
    pub sip: Advertised,
}

/// One tenant's switch, as a call sees it.
#[derive(Debug)]
pub struct Desk<'a> {
    /// The time.
    pub now: Moment,
    /// The company.
    pub tenant: &'a Directory,
    /// Where its phones are.
    pub registrar: &'a Registrar,
    /// How many calls it has.
    pub live: &'a mut LiveCalls,
    /// Its conferences.
    pub rooms: &'a mut Rooms,
    /// How its phones encrypt.
    pub shown: &'a mut Shown,
    /// Public numbers of all companies.
    pub elsewhere: &'a BTreeMap<String, TenantId>,
    /// What the switch shares.
    pub office: &'a mut Office,
}

/// Where a leg's sound goes in and out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SoundAddress {
    /// What is bound.
    pub bound: IpAddr,
    /// What the phone is told.
    pub told: IpAddr,
}

impl SoundAddress {
    /// The same for a phone whose sound has another address family than its signalling: it would
    /// not reach us at this one. Without a public address of that family there is none to tell.
    pub fn for_sound_at(self, phone: Option<SocketAddr>, ours: &Advertised) -> Self {
        let names_another =
            |at: &SocketAddr| at.is_ipv4() != self.bound.is_ipv4() && !at.ip().is_unspecified();
        let Some(phone) = phone.filter(names_another) else {
            return self;
        };
        let told = ours.external.iter().find(|ip| ip.is_ipv4() == phone.is_ipv4());
        let bound = match phone {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        told.map_or(self, |told| Self { bound, told: *told })
    }
}

impl Office {
    /// The host and port that a peer on this flow shall know us by.
    pub fn host(&self, flow: &Flow) -> String {
        match flow {
            Flow::Net(Path { node, local, peer, .. }) => {
                let advertised = self.nodes.get(node);
                let ip = advertised.map_or(local.ip(), |n| n.sip.towards(peer.ip(), local.ip()));
                SocketAddr::new(ip, local.port()).to_string()
            }
            Flow::Inner(_) => "switch.invalid".to_owned(),
        }
    }

    /// Whether a connection can still live: its process does.
    pub fn is_open(&self, stream: crate::flow::FlowId) -> bool {
        self.nodes.get(&stream.node).is_some_and(|node| node.boot == stream.boot)
    }

    /// Our Via on this flow (RFC 3261 §18.1.1, RFC 3581 §3).
    pub fn via(&self, flow: &Flow, branch: &str) -> String {
        let transport = match flow {
            Flow::Net(path) => path.transport(),
            Flow::Inner(_) => "TCP",
        };
        format!("SIP/2.0/{transport} {};branch={branch};rport", self.host(flow))
    }

    /// Our Contact on this flow.
    pub fn contact(&self, flow: &Flow, user: &str) -> String {
        let at = if user.is_empty() { "" } else { "@" };
        let transport = match flow {
            Flow::Net(Path { link: Link::Stream { transport, .. }, .. }) => match transport {
                Transport::Tcp => ";transport=tcp",
                Transport::Tls => ";transport=tls",
            },
            Flow::Net(Path { link: Link::Udp, .. }) | Flow::Inner(_) => "",
        };
        format!("<sip:{user}{at}{}{transport}>", self.host(flow))
    }

    /// Whether a path's socket is this node's. A datagram's is also if nobody else has it and the
    /// address is ours: this node had another name, or took that address over.
    pub fn is_here(&self, path: &Path) -> bool {
        path.node == self.here
            || path.node == NodeId::default()
            || path.link == Link::Udp
                && !self.nodes.contains_key(&path.node)
                && self.own.contains(&path.local.ip())
    }

    /// Whether what is sent on this path gets as far as its socket.
    pub fn reaches(&self, path: &Path) -> bool {
        self.nodes.contains_key(&path.node) || self.is_here(path)
    }

    /// Addresses for sound towards a peer on this flow. It comes straight to this node, also if the
    /// phone's signalling reached another: an address of that one would lead nowhere.
    pub fn sound(&self, flow: &Flow) -> SoundAddress {
        match flow {
            Flow::Net(path) if self.is_here(path) => {
                let told = self.media.towards(path.peer.ip(), path.local.ip());
                SoundAddress { bound: path.local.ip(), told }
            }
            Flow::Net(path) => {
                let peer = path.peer.ip();
                let own = self.own.iter().find(|own| own.is_ipv4() == peer.is_ipv4()).copied();
                let told = self.media.towards(peer, own.unwrap_or(path.local.ip()));
                SoundAddress { bound: own.unwrap_or_else(|| all_of(peer)), told }
            }
            Flow::Inner(_) if self.inner.is_loopback() || self.own.contains(&self.inner) => {
                SoundAddress { bound: self.inner, told: self.inner }
            }
            Flow::Inner(_) => SoundAddress { bound: all_of(self.inner), told: self.inner },
        }
    }

    /// Begins a response to `request`, which came over `flow`.
    pub fn reply(&self, flow: &Flow, request: &Message, status: u16) -> Draft {
        let draft = Draft::response(request, status, None);
        match flow.peer() {
            Some(peer) => draft.received(peer),
            None => draft,
        }
    }
}

/// All addresses of a family.
fn all_of(family: IpAddr) -> IpAddr {
    match family {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

impl Desk<'_> {
    /// The phones of `user` that can be called now: those on a node that is lost are not.
    pub fn contacts_of(&self, user: UserId) -> impl Iterator<Item = &Binding> {
        let contacts = self.registrar.contacts_of(self.now, user);
        contacts.filter(|binding| self.office.reaches(&binding.path))
    }

    /// Does something outside.
    pub fn wish(&mut self, wish: Wish) {
        self.office.outputs.push_back(Output::Media(wish));
    }

    /// Sends what no transaction repeats: an ACK, or a 2xx that the leg repeats itself.
    pub fn send(&mut self, flow: Flow, bytes: Bytes) {
        self.office.outputs.push_back(Output::Send { flow, bytes });
    }

    /// Answers a request whose transaction is open.
    pub fn respond(&mut self, server: ServerId, status: u16, bytes: Bytes) {
        self.office.transactions.respond(self.now, server, status, bytes);
    }

    /// Answers an in-dialog request that needs no more than a status.
    pub fn respond_plainly(
        &mut self,
        server: ServerId,
        flow: &Flow,
        request: &Message,
        status: u16,
    ) {
        let draft = self.office.reply(flow, request, status).header(Name::Allow, ALLOW);
        self.respond(server, status, draft.finish());
    }

    /// A branch of ours, and the key that its responses come back with.
    pub fn branch(&mut self) -> (u64, String) {
        let key = self.office.chance.number();
        (key, self.office.tokens.branch(self.tenant.route, key).to_string())
    }

    /// Starts a client transaction.
    pub fn request(
        &mut self,
        flow: Flow,
        method: Method<'_>,
        bytes: Bytes,
        owner: Owner,
    ) -> Result<(), Full> {
        let branch = owner.branch;
        self.office.transactions.request(self.now, flow, method, bytes, branch, owner)
    }

    /// Writes something down for good.
    pub fn remember(&mut self, what: Memory, wait: Wait) -> RecordId {
        let id = RecordId(self.office.chance.uuid(self.now));
        let record = Record { id, tenant: self.tenant.tenant, at: self.now, what, wait };
        self.office.outputs.push_back(Output::Remember(record));
        id
    }

    /// Shows something on the tenant's board.
    pub fn show(&mut self, what: What) {
        let tenant = self.tenant.tenant;
        self.office.outputs.push_back(Output::Show(Change { tenant, what }));
    }

    /// Tells the log and the counters.
    pub fn note(&mut self, call: Option<CallId>, event: Event) {
        let tenant = self.tenant.tenant;
        self.office.outputs.push_back(Output::Note(Note { tenant, call, event }));
    }
}

/// The message, with this body if there is one.
pub fn finish(draft: Draft, body: Option<(&str, &[u8])>) -> Bytes {
    match body {
        Some((kind, body)) => draft.body(kind, body).finish(),
        None => draft.finish(),
    }
}

/// Where a 3xx sends the call, as dialled names: contacts in the company's own domains, in order.
/// Anywhere else would need a trunk, and is not followed (RFC 3261 §8.1.3.4).
pub fn forwards(desk: &Desk<'_>, flow: &Flow, response: &Message) -> Vec<String> {
    let Ok(Contacts::List(contacts)) = response.contacts() else { return Vec::new() };
    let here = desk.office.host(flow);
    let ours = |uri: &Uri<'_>| {
        uri.scheme == Scheme::Tel
            || uri.host.eq_ignore_ascii_case(&desk.tenant.domain)
            || desk.tenant.aliases.iter().any(|alias| uri.host.eq_ignore_ascii_case(alias))
            || here.starts_with(uri.host)
    };
    let mut contacts: Vec<_> = contacts.iter().collect();
    contacts.sort_by_key(|contact| std::cmp::Reverse(contact.q().unwrap_or(1_000)));
    let uris = contacts.into_iter().filter_map(|contact| contact.uri().ok());
    uris.filter(ours)
        .map(|uri| name_in(desk.tenant, &uri).into_owned())
        .filter(|user| !user.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_is_told_an_address_that_its_sound_can_reach() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let at = |text: &str| Some(text.parse::<SocketAddr>().unwrap());
        let ours = |external: &[&str]| Advertised {
            external: external.iter().map(|text| ip(text)).collect(),
            ..Advertised::default()
        };
        let v6 = SoundAddress { bound: ip("2001:db8::1"), told: ip("2001:db8::1") };
        let both = ours(&["2001:db8::7", "203.0.113.7"]);
        assert_eq!(v6.for_sound_at(at("[2001:db8::9]:4000"), &both), v6);
        assert_eq!(v6.for_sound_at(None, &both), v6, "it has not said yet");
        let crossed = SoundAddress { bound: ip("0.0.0.0"), told: ip("203.0.113.7") };
        assert_eq!(v6.for_sound_at(at("198.51.100.9:4000"), &both), crossed);
        assert_eq!(v6.for_sound_at(at("198.51.100.9:4000"), &ours(&["2001:db8::7"])), v6);
        let v4 = SoundAddress { bound: ip("192.0.2.1"), told: ip("203.0.113.7") };
        let crossed = SoundAddress { bound: ip("::"), told: ip("2001:db8::7") };
        assert_eq!(v4.for_sound_at(at("[2001:db8::9]:4000"), &both), crossed);
    }
}
