//! Every connection of this node: how many there may be, and how a lane reaches one of them.
//!
//! A connection is found by its number, in one of many small tables, so that lanes hardly ever meet
//! at one. When it ends, every lane is told: a binding or a call on it must not wait for an answer
//! (RFC 5626 §4.2.1 calls this flow failure).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pbx::flow::{FlowId, Link, Path, Transport};
use pbx::id::NodeId;
use tokio::time::{Instant, sleep};

use super::outlet::Outlet;
pub use super::outlet::{MOST_WAITING, Sent};
use crate::lanes::inbox::{Arrival, Post};
use crate::lanes::{LaneId, Lanes};
use crate::metrics::{Count, Gauge, Tally};

const TABLES: usize = 64;

/// How soon a lane without room is asked again. The peer's own flow control holds it back meanwhile.
pub(super) const ASK_AGAIN_AFTER: Duration = Duration::from_millis(2);

/// How long connections get at the end to take what is written to them.
const END_FOR: Duration = Duration::from_secs(1);

/// Connections of one address.
const PER_ADDRESS: usize = 1_000;

/// Connections in all, whatever the system allows: each may cost some 300 KiB at worst.
const MOST_CONNECTIONS: usize = 100_000;

/// Two for each side of a call, two sides a call, and the rest.
const FILES_FOR_OTHERS: usize = 65_536;

/// What every system gives.
const FEWEST_FILES: u64 = 1_024;

/// How many connections there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of all peers.
    pub in_all: usize,
    /// Of one address (of one network of 64 bits, in IPv6): a large office behind one NAT fits in.
    pub per_address: usize,
}

impl Limits {
    /// As many as this process may have files for, which is raised to what the system allows. A
    /// quarter, 65,536 at most, is left for sound, journal, pages and Postgres.
    pub fn of_this_process() -> Self {
        let files = match getrlimit(Resource::RLIMIT_NOFILE) {
            Ok((soft, hard)) => {
                let raised = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
                raised.map_or(soft, |()| hard)
            }
            Err(_) => FEWEST_FILES,
        };
        let files = usize::try_from(files).unwrap_or(usize::MAX).min(MOST_CONNECTIONS * 2);
        let in_all = files.saturating_sub((files / 4).min(FILES_FOR_OTHERS));
        Self { in_all: in_all.min(MOST_CONNECTIONS), per_address: PER_ADDRESS }
    }
}

/// All connections.
#[derive(Debug)]
pub struct Connections {
    node: NodeId,
    boot: u32,
    lanes: Arc<Lanes>,
    tables: Vec<Mutex<HashMap<u32, Arc<Outlet>>>>,
    last_number: AtomicU32,
    crowd: Mutex<Crowd>,
    limits: Limits,
    /// Where connections count.
    pub(super) tally: Arc<Tally>,
}

/// Who has how many.
#[derive(Debug, Default)]
struct Crowd {
    by_address: HashMap<IpAddr, usize>,
    in_all: usize,
}

/// One connection's place among all; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    connections: Arc<Connections>,
    address: IpAddr,
}

/// A connection that can be written to, and whose messages have a lane.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) path: Path,
    pub(super) outlet: Arc<Outlet>,
    pub(super) post: Post,
}

/// Why there is no place for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// Its address has as many as one may have.
    Address,
    /// There are as many as there may be.
    All,
}

impl Connections {
    /// None yet.
    pub fn new(
        node: NodeId,
        boot: u32,
        lanes: Arc<Lanes>,
        limits: Limits,
        tally: Arc<Tally>,
    ) -> Self {
        Self {
            node,
            boot,
            lanes,
            tables: (0..TABLES).map(|_| Mutex::default()).collect(),
            last_number: AtomicU32::new(0),
            crowd: Mutex::default(),
            limits,
            tally,
        }
    }

    /// Writes a message to a connection of this process, and waits for nothing.
    pub fn send(&self, flow: FlowId, message: Bytes) -> Sent {
        if (flow.node, flow.boot) != (self.node, self.boot) {
            return Sent::Gone;
        }
        let outlet = self.table(flow.number).get(&flow.number).cloned();
        outlet.map_or(Sent::Gone, |outlet| outlet.push(message))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.crowd().in_all
    }

    /// How many there may be.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Ends all of them, once what waits for them is written.
    pub async fn end(&self) {
        let outlets = self.tables.iter().flat_map(|table| {
            let table = table.lock().unwrap_or_else(PoisonError::into_inner);
            table.values().cloned().collect::<Vec<_>>()
        });
        outlets.for_each(|outlet| outlet.close());
        let give_up_at = Instant::now() + END_FOR;
        while self.count() > 0 && Instant::now() < give_up_at {
            sleep(ASK_AGAIN_AFTER).await;
        }
    }

    /// A place for a connection of this peer.
    pub(super) fn admit(self: &Arc<Self>, peer: SocketAddr) -> Result<Place, Full> {
        let address = counted_as(peer.ip());
        let mut crowd = self.crowd();
        if crowd.in_all >= self.limits.in_all {
            return Err(Full::All);
        }
        let of_address = crowd.by_address.entry(address).or_default();
        if *of_address >= self.limits.per_address {
            return Err(Full::Address);
        }
        *of_address += 1;
        crowd.in_all += 1;
        self.tally.set(Gauge::Connections, crowd.in_all);
        Ok(Place { connections: self.clone(), address })
    }

    /// Gives a connection its number and its lane.
    pub(super) fn open(&self, transport: Transport, local: SocketAddr, peer: SocketAddr) -> Open {
        let outlet = Arc::new(Outlet::default());
        let number = loop {
            let number = self.last_number.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            let mut table = self.table(number);
            // After 2^32 of them numbers come again.
            if let std::collections::hash_map::Entry::Vacant(entry) = table.entry(number) {
                entry.insert(outlet.clone());
                break number;
            }
        };
        let link = Link::Stream { transport, boot: self.boot, number };
        let path = Path { node: self.node, link, local, peer };
        Open { path, outlet, post: self.lane_of(number) }
    }

    /// A connection is gone: nothing is written to it any more, and every lane hears of it.
    pub(super) async fn close(&self, path: &Path) {
        let Some(flow) = path.stream() else { return };
        if let Some(outlet) = self.table(flow.number).remove(&flow.number) {
            outlet.shut();
        }
        for lane in self.lanes.ids() {
            let Some(post) = self.lanes.post(lane) else { continue };
            arrive(post, Arrival::Gone(flow)).await;
            post.wake();
        }
    }

    fn lane_of(&self, number: u32) -> Post {
        let lanes = self.lanes.ids().count();
        let lane = usize::try_from(number).unwrap_or(0) % lanes.max(1);
        let lane = LaneId(u16::try_from(lane).unwrap_or(0));
        self.lanes.post(lane).cloned().expect("there is a lane for each number below their count")
    }

    fn table(&self, number: u32) -> MutexGuard<'_, HashMap<u32, Arc<Outlet>>> {
        let table = usize::try_from(number).unwrap_or(0) % TABLES;
        let table = self.tables.get(table).expect("a remainder is below the number of tables");
        table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn crowd(&self) -> MutexGuard<'_, Crowd> {
        self.crowd.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut crowd = self.connections.crowd();
        crowd.in_all = crowd.in_all.saturating_sub(1);
        if let Some(of_address) = crowd.by_address.get_mut(&self.address) {
            *of_address = of_address.saturating_sub(1);
            if *of_address == 0 {
                crowd.by_address.remove(&self.address);
            }
        }
        self.connections.tally.set(Gauge::Connections, crowd.in_all);
    }
}

/// Gives something to a lane; while it has no room, waits.
pub(super) async fn arrive(post: &Post, mut arrival: Arrival) {
    while let Err(given_back) = post.arrive(arrival) {
        arrival = given_back;
        post.wake();
        sleep(ASK_AGAIN_AFTER).await;
    }
}

/// Whoever has one IPv6 address has 2^64 of them.
fn counted_as(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// Counts a connection that there was no place for.
pub(super) fn count_full(tally: &Tally, full: Full) {
    tally.count(match full {
        Full::Address => Count::ConnectionsRefusedOfAddress,
        Full::All => Count::ConnectionsRefused,
    });
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::lanes::inbox::{Inbox, inbox};
    use crate::metrics::Metrics;

    pub(in super::super) fn connections(limits: Limits) -> (Arc<Connections>, Vec<Inbox>) {
        let (inboxes, posts) = (0..2).map(|_| inbox().unwrap()).unzip();
        let lanes = Arc::new(Lanes::new(posts));
        let tally = Metrics::new().tally();
        (Arc::new(Connections::new(NodeId(1), 7, lanes, limits, tally)), inboxes)
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_and_all_together_have_only_so_many_places() {
        let (connections, _inboxes) = connections(Limits { in_all: 4, per_address: 2 });
        let admit = |peer: &str| connections.admit(at(peer));
        let one = admit("192.0.2.1:1").unwrap();
        let _two = admit("192.0.2.1:2").unwrap();
        assert_eq!(admit("192.0.2.1:3").unwrap_err(), Full::Address);
        let _three = admit("[2001:db8::1]:1").unwrap();
        let _four = admit("[2001:db8::2]:1").unwrap();
        assert_eq!(admit("192.0.2.2:1").unwrap_err(), Full::All);
        drop(one);
        assert_eq!(admit("[2001:db8::3]:1").unwrap_err(), Full::Address);
        let _again = admit("192.0.2.1:4").unwrap();
        assert_eq!(connections.count(), 4);
    }

    #[tokio::test]
    async fn a_message_finds_its_connection_until_that_is_gone_and_every_lane_hears_of_it() {
        let (connections, inboxes) = connections(Limits { in_all: 4, per_address: 4 });
        let open = connections.open(Transport::Tcp, at("192.0.2.9:5060"), at("192.0.2.1:1"));
        let flow = open.path.stream().unwrap();
        assert_eq!(connections.send(flow, Bytes::from("x")), Sent::Taken);
        assert_eq!(connections.send(FlowId { boot: 6, ..flow }, Bytes::new()), Sent::Gone);
        assert_eq!(connections.send(FlowId { node: NodeId(2), ..flow }, Bytes::new()), Sent::Gone);

        connections.close(&open.path).await;

        assert_eq!(connections.send(flow, Bytes::from("x")), Sent::Gone);
        assert_eq!(open.outlet.push(Bytes::from("x")), Sent::Gone);
        for inbox in inboxes {
            assert!(matches!(inbox.next_arrival(), Some(Arrival::Gone(gone)) if gone == flow));
        }
    }

    #[test]
    fn connections_are_spread_over_lanes() {
        let (connections, inboxes) = connections(Limits { in_all: 4, per_address: 4 });
        for peer in ["192.0.2.1:1", "192.0.2.1:2"] {
            let open = connections.open(Transport::Tls, at("192.0.2.9:5061"), at(peer));
            open.post.arrive(Arrival::Gone(open.path.stream().unwrap())).unwrap();
        }
        assert!(inboxes.iter().all(|inbox| inbox.next_arrival().is_some()));
    }
}
