//! A connection in memory, on virtual time.

use std::sync::Arc;

use pbx::flow::Transport;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::task::JoinHandle;

use super::*;
use crate::lanes::inbox::Inbox;
use crate::net::connections::tests::connections;
use crate::net::connections::{Connections, Limits, MOST_WAITING, Sent};

const OPTIONS: &str = "OPTIONS sip:x.test SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\n\
                       From: <sip:a@x.test>;tag=1\r\nTo: <sip:x.test>\r\nCall-ID: 1\r\n\
                       CSeq: 1 OPTIONS\r\n";

/// What the kernel would hold between two programs.
const PIPE: usize = 4_096;

/// A connection in memory, whose time is virtual.
struct Rig {
    peer: DuplexStream,
    connections: Arc<Connections>,
    open: Arc<Open>,
    inboxes: Vec<Inbox>,
    ended: JoinHandle<End>,
}

impl Rig {
    fn new() -> Self {
        let (connections, inboxes) = connections(Limits { in_all: 9, per_address: 9 });
        let at = |text: &str| text.parse().unwrap();
        let open = connections.open(Transport::Tcp, at("192.0.2.9:5060"), at("192.0.2.1:40000"));
        let open = Arc::new(open);
        let (peer, ours) = duplex(PIPE);
        let served = open.clone();
        let ended = tokio::spawn(async move { serve(ours, &served, &Patience::default()).await });
        Self { peer, connections, open, inboxes, ended }
    }

    fn send(&self, text: &str) -> Sent {
        let flow = self.open.path.stream().unwrap();
        self.connections.send(flow, Bytes::from(text.to_owned()))
    }

    async fn arrived(&self) -> Bytes {
        loop {
            for inbox in &self.inboxes {
                if let Some(Arrival::Message { path, bytes }) = inbox.next_arrival() {
                    assert_eq!(path, self.open.path);
                    return bytes;
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// All that the peer gets until the connection ends.
    async fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.peer.read_to_string(&mut rest).await.unwrap();
        rest
    }
}

#[tokio::test(start_paused = true)]
async fn messages_come_in_and_answers_go_out() {
    let mut rig = Rig::new();
    let request = format!("\r\n{OPTIONS}Content-Length: 0\r\n\r\n");
    for byte in request.bytes() {
        rig.peer.write_all(&[byte]).await.unwrap();
    }
    assert_eq!(rig.arrived().await, request.trim_start());
    assert_eq!(rig.send("SIP/2.0 200 OK\r\n\r\n"), Sent::Taken);
    let mut answer = [0; 18];
    rig.peer.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"SIP/2.0 200 OK\r\n\r\n");
    rig.peer.shutdown().await.unwrap();
    assert_eq!(rig.ended.await.unwrap(), End::ByPeer);
}

#[tokio::test(start_paused = true)]
async fn a_question_of_line_ends_is_answered_by_one() {
    let mut rig = Rig::new();
    rig.peer.write_all(b"\r\n\r\n").await.unwrap();
    let mut answer = [0; 2];
    rig.peer.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"\r\n");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_cut_is_refused_and_answers_under_way_are_still_written() {
    let mut rig = Rig::new();
    let broken = format!("{OPTIONS}l: 0\r\n\r\n{OPTIONS}Content-Length: -1\r\n\r\n");
    rig.peer.write_all(broken.as_bytes()).await.unwrap();
    rig.arrived().await;
    assert_eq!(rig.send("the first one's answer"), Sent::Taken);
    let rest = rig.rest().await;
    assert!(rest.starts_with("SIP/2.0 400 Content-Length"), "{rest}");
    assert!(rest.contains(";received=192.0.2.1"), "{rest}");
    assert!(rest.ends_with("the first one's answer"), "{rest}");
    drop(rig.peer);
    assert_eq!(rig.ended.await.unwrap(), End::NotSip);
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_sensible_is_not_waited_for() {
    let started_at = Instant::now();
    let mut rig = Rig::new();
    // Line ends now and then are nothing sensible.
    for _ in 0..6 {
        sleep(Duration::from_secs(4)).await;
        rig.peer.write_all(b"\r\n").await.unwrap();
    }
    assert_eq!(rig.rest().await, "\r\n\r\n\r\n");
    drop(rig.peer);
    assert_eq!(rig.ended.await.unwrap(), End::Idle);
    let took = started_at.elapsed();
    assert!(took > Duration::from_secs(29) && took < Duration::from_secs(33), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_trickles_in_for_too_long_is_refused() {
    let mut rig = Rig::new();
    let whole = format!("{OPTIONS}Content-Length: 0\r\n\r\n");
    rig.peer.write_all(whole.as_bytes()).await.unwrap();
    rig.arrived().await;
    // Once something sensible was said, silence is fine.
    sleep(Duration::from_secs(3_600)).await;
    rig.peer.write_all(OPTIONS.as_bytes()).await.unwrap();
    let begun_at = Instant::now();
    while begun_at.elapsed() < Duration::from_secs(29) {
        sleep(Duration::from_secs(1)).await;
        rig.peer.write_all(b"X").await.unwrap();
    }
    let rest = rig.rest().await;
    assert!(rest.starts_with("SIP/2.0 400 Message"), "{rest}");
    drop(rig.peer);
    assert_eq!(rig.ended.await.unwrap(), End::Idle);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_reading_is_slow_after_ten_seconds() {
    let rig = Rig::new();
    let started_at = Instant::now();
    assert_eq!(rig.send(&"x".repeat(2 * PIPE)), Sent::Taken);
    assert_eq!(rig.ended.await.unwrap(), End::Slow);
    assert_eq!(started_at.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn nothing_more_is_taken_from_a_peer_that_is_behind_with_reading() {
    let mut rig = Rig::new();
    let ping = b"\r\n\r\n".repeat(64);
    let mut taken = 0;
    while timeout(Duration::from_secs(1), rig.peer.write_all(&ping)).await.is_ok() {
        taken += 64;
        assert!(taken < 10_000, "it is heard for ever");
    }
    // It hears on as soon as it reads.
    let mut answers = vec![0; 2 * 64];
    for _ in 0..taken / 64 {
        timeout(Duration::from_secs(1), rig.peer.read_exact(&mut answers)).await.unwrap().unwrap();
    }
    timeout(Duration::from_secs(1), rig.peer.write_all(&ping)).await.unwrap().unwrap();
    assert!(!rig.ended.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_peer_with_too_much_unread_is_slow_at_once() {
    let rig = Rig::new();
    let started_at = Instant::now();
    for _ in 0..=MOST_WAITING / PIPE {
        assert_eq!(rig.send(&"x".repeat(PIPE)), Sent::Taken);
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.ended.await.unwrap(), End::Slow);
    assert!(started_at.elapsed() < Duration::from_secs(11));
}

#[tokio::test(start_paused = true)]
async fn a_lane_without_room_holds_up_the_peer_and_loses_nothing() {
    use crate::lanes::inbox::ARRIVALS;
    let rig = Rig::new();
    let total = ARRIVALS + 500;
    let (mut reading, mut writing) = tokio::io::split(rig.peer);
    let peer = tokio::spawn(async move {
        for number in 0..total {
            let request = format!("{OPTIONS}X: {number}\r\nl: 0\r\n\r\n");
            writing.write_all(request.as_bytes()).await.unwrap();
        }
        writing
    });
    let inbox = rig.inboxes.iter().find(|inbox| inbox.next_arrival().is_some());
    assert!(inbox.is_none(), "nothing has run yet");
    sleep(Duration::from_secs(5)).await;
    let mut next = 0;
    while next < total {
        for inbox in &rig.inboxes {
            while let Some(Arrival::Message { bytes, .. }) = inbox.next_arrival() {
                let text = String::from_utf8(bytes.to_vec()).unwrap();
                assert!(text.contains(&format!("X: {next}\r\n")), "{text}");
                next += 1;
            }
        }
        sleep(Duration::from_millis(1)).await;
    }
    drop(peer.await.unwrap());
    drop(reading.read_u8().await);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_server_ends_it_once_all_is_written() {
    let mut rig = Rig::new();
    assert_eq!(rig.send("BYE"), Sent::Taken);
    rig.open.outlet.close();
    assert_eq!(rig.rest().await, "BYE");
    drop(rig.peer);
    assert_eq!(rig.ended.await.unwrap(), End::Stopped);
    assert_eq!(rig.connections.send(rig.open.path.stream().unwrap(), Bytes::new()), Sent::Gone);
}
