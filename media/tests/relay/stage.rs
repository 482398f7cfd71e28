//! The sound of one test: a range of ports of its own, and its events.

use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use media::{Config, Counters, Media};
use pbx::chance::Chance;
use pbx::id::CallId;
use pbx::media::{Event, Heard, Side, Wish};
use pbx::moment::Moment;

use crate::phone::Phone;
use crate::way::Way;

pub(crate) const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub(crate) const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
/// How long a test waits for what must come, and for what must not.
pub(crate) const COMES_WITHIN: Duration = Duration::from_secs(5);
pub(crate) const STAYS_AWAY_FOR: Duration = Duration::from_millis(20);

/// The sound of one test: a range of ports of its own, and its events.
pub(crate) struct Sound {
    pub(crate) media: Media,
    pub(crate) events: Receiver<Event>,
    pub(crate) call: CallId,
}

impl Sound {
    pub(crate) fn start(way: Way, ports: RangeInclusive<u16>) -> Self {
        let (told, events) = channel();
        let ports = way.ports(&ports);
        let config = Config { ports: ports.clone(), threads: 1, io: way.io, ..Config::default() };
        let media = Media::start(&config, move |event| told.send(event).unwrap()).unwrap();
        let seed = [(ports.start() / 100) as u8; 32];
        let call = CallId(Chance::from_seed(seed).uuid(Moment::from_secs(1)));
        Self { media, events, call }
    }

    /// Counters are told a moment after what they count.
    pub(crate) fn counts(&self, so: impl Fn(&Counters) -> bool) -> Counters {
        comes("what is counted", || {
            let counters = self.media.counters();
            if so(&counters) { Ok(counters) } else { Err(format!("{counters:?}")) }
        })
    }

    pub(crate) fn side(&self, leg: u16) -> Side {
        Side { call: self.call, leg }
    }

    pub(crate) fn event(&self) -> Event {
        self.events.recv_timeout(COMES_WITHIN).expect("an event")
    }

    /// Opens a side and says where its sound and its reports are taken.
    pub(crate) fn open(&self, leg: u16, local: IpAddr) -> [SocketAddr; 2] {
        let side = self.side(leg);
        self.media.wish(Wish::Open { side, local, port: None });
        let Event::Opened { side: opened, port } = self.event() else { panic!("not opened") };
        assert_eq!((opened, port % 2), (side, 0));
        [SocketAddr::new(local, port), SocketAddr::new(local, port + 1)]
    }

    pub(crate) fn aim(&self, leg: u16, rtp: SocketAddr) {
        let rtcp = SocketAddr::new(rtp.ip(), rtp.port() + 1);
        let side = self.side(leg);
        self.media.wish(Wish::Aim { side, rtp: Some(rtp), rtcp: Some(rtcp), near: None });
    }

    pub(crate) fn join(&self, a: u16, b: u16) {
        self.media.wish(Wish::Join { a: self.side(a), b: self.side(b) });
    }

    pub(crate) fn close(&self, leg: u16) -> Heard {
        self.media.wish(Wish::Close { side: self.side(leg) });
        loop {
            match self.event() {
                Event::Closed { side, heard } if side == self.side(leg) => return heard,
                Event::Latched { .. } => {}
                other => panic!("not closed but {other:?}"),
            }
        }
    }

    /// Two phones joined to each other, and where each of them sends.
    pub(crate) fn call(&self, local: IpAddr) -> [(Phone, [SocketAddr; 2]); 2] {
        let sides = [0, 1].map(|leg| {
            let phone = Phone::new(local, u32::from(leg) + 1);
            let ours = self.open(leg, local);
            self.aim(leg, phone.address());
            (phone, ours)
        });
        self.join(0, 1);
        sides
    }
}
/// Looks until something has come, and gives up where it would have come long ago.
pub(crate) fn comes<T, W: Debug>(what: &str, look: impl Fn() -> Result<T, W>) -> T {
    let began_at = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) => assert!(began_at.elapsed() < COMES_WITHIN, "{what}, but: {seen:?}"),
        }
        thread::yield_now();
    }
}
