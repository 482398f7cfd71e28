//! Links on loopback: what crosses them, who gets none, and how they end.

use std::time::Duration;

use bytes::Bytes;
use pbx::edge::{Edge, Setup, UnknownDomain};
use pbx::flow::{Flow, InnerPath, Path};
use pbx::input::Placement;
use store::objects::{Kind, ObjectKey, Objects};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::frame::Letter;
use super::*;
use crate::lanes::inbox::{Inbox, Report, inbox};
use crate::metrics::Metrics;

const LONG: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_message_reaches_its_tenants_lane_and_the_answer_comes_back() {
    let (one, two) = (Rig::new(1, [7; 32]).await, Rig::new(2, [7; 32]).await);
    let (tenant, path) = (tenant(1), path(1));
    two.links.set_home(tenant, Some(LaneId(0)));
    one.call(&two).await;

    let letter = letter(tenant, Flow::Net(path));
    one.links.send(NodeId(2), Frame::Mail(letter.clone())).unwrap();
    let mail = two.find(|inbox| inbox.next_mail()).await;
    assert_eq!((mail.tenant, mail.by, mail.flow), (tenant, letter.by, letter.flow));
    assert_eq!(mail.message.bytes(), &letter.bytes);

    let bytes = Bytes::from_static(b"SIP/2.0 200 OK\r\n\r\n");
    two.links.send(NodeId(1), Frame::Send { path, bytes: bytes.clone() }).unwrap();
    assert_eq!(one.find(|inbox| inbox.next_outgoing()).await, (path, bytes));
}

#[tokio::test]
async fn that_a_phone_keeps_its_way_open_is_told_to_its_companys_lane() {
    let (one, two) = (Rig::new(1, [7; 32]).await, Rig::new(2, [7; 32]).await);
    one.call(&two).await;
    two.links.set_home(tenant(1), Some(LaneId(0)));
    let peer = path(1).peer;
    for tenant in [tenant(9), tenant(1)] {
        one.links.send(NodeId(2), Frame::KeptOpen { tenant, peer }).unwrap();
    }
    let reported = two.find(|inbox| inbox.next_report()).await;
    assert!(matches!(reported, Report::KeptOpen(who, at) if (who, at) == (tenant(1), peer)));
}

#[tokio::test]
async fn lanes_hear_who_is_linked_and_who_is_lost() {
    let (one, two) = (Rig::new(1, [7; 32]).await, Rig::new(2, [7; 32]).await);
    one.call(&two).await;
    assert!(matches!(one.told().await, Input::Node { node: NodeId(2), boot: 2, .. }));
    assert!(matches!(two.told().await, Input::Node { node: NodeId(1), boot: 1, .. }));
    let sip = Advertised { external: vec!["203.0.113.7".parse().unwrap()], ..Default::default() };
    two.links.advertise(sip.clone());
    let Input::Node { sip: told, .. } = one.told().await else { panic!("news of the same node") };
    assert_eq!(told, sip);
    drop(two);
    let lost_at = Instant::now();
    assert!(matches!(one.told().await, Input::NodeGone(NodeId(2))));
    assert!(lost_at.elapsed() < SILENT_FOR + Duration::from_secs(1));
    assert_eq!(one.links.send(NodeId(2), Frame::Ping), Err(Unsent::Unlinked));
}

#[tokio::test]
async fn a_node_with_another_key_is_not_linked() {
    let (one, two) = (Rig::new(1, [7; 32]).await, Rig::new(2, [8; 32]).await);
    one.links.set_peers(&BTreeMap::from([(NodeId(2), two.at)]));
    sleep(Duration::from_millis(500)).await;
    assert!(one.links.linked().is_empty() && two.links.linked().is_empty());
}

#[tokio::test]
async fn a_node_is_not_linked_with_itself_or_under_another_number() {
    let (one, two) = (Rig::new(1, [7; 32]).await, Rig::new(2, [7; 32]).await);
    one.links.set_peers(&BTreeMap::from([(NodeId(3), two.at), (NodeId(4), one.at)]));
    sleep(Duration::from_millis(500)).await;
    assert!(one.links.linked().is_empty() && two.links.linked().is_empty());
}

#[tokio::test]
async fn a_stranger_learns_nothing_and_many_hold_up_no_peer() {
    let (one, two) = (Rig::new(1, [7; 32]).await, Rig::new(2, [7; 32]).await);
    let mut speaker = TcpStream::connect(two.at).await.unwrap();
    speaker.write_all(b"INVITE sip:101@alpha.test SIP/2.0\r\n\r\n").await.unwrap();
    let mut heard = vec![];
    // A TLS alert at most.
    let _ = timeout(LONG, speaker.read_to_end(&mut heard)).await.unwrap();
    assert!(heard.len() < 16, "{heard:?}");

    let mut silent = vec![];
    for _ in 0..20 {
        silent.push(TcpStream::connect(two.at).await.unwrap());
    }
    one.call(&two).await;
    // They are sent away after a while, too.
    let mut first = silent.swap_remove(0);
    assert_eq!(timeout(LONG, first.read(&mut [0; 1])).await.unwrap().unwrap_or(0), 0);
}

#[tokio::test]
async fn one_with_tls_but_without_the_key_hears_no_name() {
    let two = Rig::new(2, [7; 32]).await;
    let stream = TcpStream::connect(two.at).await.unwrap();
    let (mut stream, channel) = Tls::of_key().unwrap().connect(stream).await.unwrap();
    let proof = LinkKey::new([9; 32]).prove(proof::End::Caller, &channel);
    let mut bytes = bytes::BytesMut::new();
    Frame::Proof(proof).write(&mut bytes).unwrap();
    stream.write_all(&bytes).await.unwrap();
    let mut heard = vec![];
    let _ = timeout(LONG, stream.read_to_end(&mut heard)).await.unwrap();
    assert!(heard.is_empty(), "{heard:?}");
}

#[tokio::test]
async fn a_peer_that_does_not_read_costs_a_bounded_queue() {
    let (one, two) = (Rig::new(1, [7; 32]).await, Rig::new(2, [7; 32]).await);
    one.call(&two).await;
    let letter = letter(tenant(1), Flow::Net(path(1)));
    let mut sent = 0;
    // Nothing is awaited, so nothing is written meanwhile.
    while one.links.send(NodeId(2), Frame::Mail(letter.clone())).is_ok() {
        sent += 1;
        assert!(sent <= MOST_FRAMES);
    }
    assert_eq!(one.links.send(NodeId(2), Frame::Ping), Err(Unsent::Full));
    assert!(sent > MOST_FRAMES / 2);
    assert!(one.tally.counted(Count::LinkFull) >= 1);
}

#[tokio::test]
async fn a_link_that_was_idle_takes_messages_as_before() {
    let (one, two) = (Rig::new(1, [7; 32]).await, Rig::new(2, [7; 32]).await);
    one.call(&two).await;
    two.links.set_home(tenant(1), Some(LaneId(0)));
    sleep(SILENT_FOR + PING_EVERY).await;
    assert_eq!(
        one.links.send(NodeId(2), Frame::Mail(letter(tenant(1), Flow::Net(path(1))))),
        Ok(())
    );
    two.find(|inbox| inbox.next_mail()).await;
    assert_eq!(one.links.last_serial.load(Ordering::Relaxed), 1, "the link was never lost");
}

#[tokio::test]
async fn what_finds_no_home_is_refused_only_where_nobody_repeats_it() {
    let (one, two) = (Rig::new(1, [7; 32]).await, Rig::new(2, [7; 32]).await);
    one.call(&two).await;
    one.links.set_home(tenant(2), Some(LaneId(0)));
    one.links.send(NodeId(2), Frame::Mail(letter(tenant(1), Flow::Net(path(1))))).unwrap();
    let between = InnerPath { here: tenant(1), there: tenant(2) };
    let inner = Letter { by: Placement::Inner, ..letter(tenant(1), Flow::Inner(between)) };
    one.links.send(NodeId(2), Frame::Mail(inner)).unwrap();
    let refusal = one.find(|inbox| inbox.next_mail()).await;
    assert_eq!((refusal.tenant, refusal.message.status()), (tenant(2), Some(503)));
    assert_eq!(refusal.flow, Flow::Inner(between.reversed()));
    assert_eq!(two.tally.counted(Count::DroppedUnlinked), 2);
    assert!(one.inbox.next_outgoing().is_none());
}

#[tokio::test]
async fn a_peer_that_comes_back_replaces_its_old_link() {
    let (one, two) = (Rig::new(1, [7; 32]).await, Rig::new(2, [7; 32]).await);
    one.call(&two).await;
    let again = Rig::new(1, [7; 32]).await;
    again.call(&two).await;
    // It was linked all the time: only a second link's number shows that there is one.
    let until = Instant::now() + LONG;
    while two.links.last_serial.load(Ordering::Relaxed) < 2 {
        assert!(Instant::now() < until, "no second link");
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(two.links.linked(), BTreeSet::from([NodeId(1)]));
    drop(one);
    sleep(Duration::from_millis(300)).await;
    assert_eq!(two.links.linked(), BTreeSet::from([NodeId(1)]), "the old one's end is no news");
}

#[tokio::test]
async fn what_waits_for_the_store_at_a_peer_is_fetched_there_part_by_part() {
    let (one, two) = (Rig::new(1, [7; 32]).await, Rig::new(2, [7; 32]).await);
    let folder = std::env::temp_dir().join(format!("lent-{}", std::process::id()));
    let objects = Objects::open(&store::objects::Setup {
        s3: None,
        folder: folder.join("objects"),
        outbox: folder.join("outbox"),
        outbox_limit: 1 << 30,
        link_key: [0; 32],
    });
    let outbox = objects.unwrap().outbox().clone();
    let sound: Bytes = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    let key = ObjectKey::new(tenant(1), Kind::Sound, Uuid::from_u128(5));
    let content = outbox.stage(key, sound.clone()).await.unwrap().content;

    assert_eq!(one.links.fetch(&key, content).await, None, "nobody is linked");
    one.call(&two).await;
    assert_eq!(one.links.fetch(&key, content).await, None, "the peer lends nothing yet");
    two.links.lend(outbox.clone());
    let sent = two.tally.counted(Count::LinkSent);
    assert_eq!(one.links.fetch(&key, content).await, Some(sound));
    assert_eq!(two.tally.counted(Count::LinkSent) - sent, 4, "parts of 64 KiB");

    let other = ObjectKey::new(tenant(2), Kind::Sound, Uuid::from_u128(5));
    assert_eq!(one.links.fetch(&other, content).await, None, "another company's");
    let changed = store::objects::Content { sha256: [0; 32], ..content };
    assert_eq!(one.links.fetch(&key, changed).await, None, "something else");
    // An answer that nobody asked for is nothing.
    two.links.send(NodeId(1), Frame::Part { number: 1, bytes: Bytes::new() }).unwrap();
    outbox.forget(&key).await.unwrap();
    assert_eq!(one.links.fetch(&key, content).await, None, "it is in the store by now");
    assert!(one.links.linked().contains(&NodeId(2)));
    std::fs::remove_dir_all(folder).unwrap();
}

/// A node with one lane and nobody who serves it.
struct Rig {
    links: Arc<Links>,
    inbox: Inbox,
    tally: Arc<Tally>,
    at: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Rig {
    async fn new(number: u16, key: [u8; 32]) -> Self {
        let (inbox, post) = inbox().unwrap();
        let (lanes, tally) = (Arc::new(Lanes::new(vec![post])), Metrics::new().tally());
        let door = Edge::new(Setup {
            token_key: [1; 16],
            nonce_key: [2; 16],
            boot: 1,
            seed: [3; 32],
            advertised: Advertised::default(),
            unknown_domain: UnknownDomain::Drop,
        });
        let means = Means { tls: Tls::of_key().unwrap(), key: LinkKey::new(key) };
        let me = Me { node: NodeId(number), boot: number.into() };
        let reception = Reception::new(lanes, tally.clone(), door);
        let links = Links::new(me, Some(means), Advertised::default(), reception);
        let links = Arc::new(links);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(listener.into_std().unwrap(), links.clone()));
        tasks.spawn(links.clone().tell_lanes());
        Self { links, inbox, tally, at, _tasks: tasks }
    }

    async fn call(&self, other: &Self) {
        self.links.set_peers(&BTreeMap::from([(other.links.me.node, other.at)]));
        let until = Instant::now() + LONG;
        while !self.links.linked().contains(&other.links.me.node)
            || !other.links.linked().contains(&self.links.me.node)
        {
            assert!(Instant::now() < until, "no link");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits for something to be put before the lane.
    async fn find<T>(&self, look: impl Fn(&Inbox) -> Option<T>) -> T {
        let until = Instant::now() + LONG;
        loop {
            if let Some(found) = look(&self.inbox) {
                return found;
            }
            assert!(Instant::now() < until, "nothing came");
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn told(&self) -> Input {
        let told = |inbox: &Inbox| match inbox.next_order()? {
            Order::Tell(input) => Some(*input),
            _ => None,
        };
        self.find(told).await
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.links.set_peers(&BTreeMap::new());
    }
}

fn tenant(number: u128) -> TenantId {
    TenantId(Uuid::from_u128(number))
}

fn path(node: u16) -> Path {
    let at = |text: &str| text.parse().unwrap();
    Path::udp(NodeId(node), at("192.0.2.1:5060"), at("198.51.100.1:5060"))
}

fn letter(tenant: TenantId, flow: Flow) -> Letter {
    let bytes = Bytes::from_static(
        b"INVITE sip:101@x.test SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5099;branch=z9hG4bK1\r\n\
          Max-Forwards: 70\r\nFrom: <sip:101@x.test>;tag=1\r\nTo: <sip:101@x.test>\r\n\
          Call-ID: 1\r\nCSeq: 1 INVITE\r\nContact: <sip:101@127.0.0.1:5099>\r\n\
          Content-Length: 0\r\n\r\n",
    );
    Letter { tenant, by: Placement::Domain, flow, bytes }
}
