//! What other threads put before a lane: mail from other lanes, reports of sound and storage,
//! orders of the feed, messages that connections bring, what peer nodes have for our phones. Each has
//! a ring of its own, and each ring its limit.
//!
//! A producer wakes the lane once a batch, and only if it sleeps.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use pbx::edge::Served;
use pbx::flow::{Advertised, Flow, FlowId, Path};
use pbx::id::{RecordId, TenantId};
use pbx::input::{Input, Placement};
use pbx::media;
use pbx::sip::message::Message;
use tokio::sync::oneshot;

use super::Home;

/// Messages that may wait. When full, a request is answered 503 by the lane that has it.
pub const MAIL: usize = 4_096;

/// Reports that may wait. When full, one is lost, and counted: a registration is then answered as
/// if Postgres were away, and a call goes on without that news of its sound.
pub const REPORTS: usize = 16_384;

/// Orders that may wait. When full, the feed waits.
pub const ORDERS: usize = 256;

/// Messages of other nodes' tenants for phones of ours that may wait. When full, one is dropped and
/// counted, like a datagram that the network drops.
pub const OUTGOING: usize = 8_192;
/// Messages of connections that may wait. When full, whoever reads connections waits, and so do
/// their peers.
pub const ARRIVALS: usize = 1_024;

/// A message, and whose it is.
#[derive(Debug)]
pub struct Mail {
    /// Whose.
    pub tenant: TenantId,
    /// What says so.
    pub by: Placement,
    /// The way back.
    pub flow: Flow,
    /// The message.
    pub message: Message,
}

/// What became of a wish.
#[derive(Debug)]
pub enum Report {
    /// A record is durable.
    Kept(RecordId),
    /// Something happened to a call's sound.
    Media(media::Event),
    /// A phone of this tenant keeps its way open itself. Losing it costs a question too many.
    KeptOpen(TenantId, SocketAddr),
}

/// What the feed has for a lane.
#[derive(Debug)]
pub enum Order {
    /// Tell the switch.
    Tell(Box<Input>),
    /// The door shall know this tenant, which lives there.
    Learn(Box<Served>, Home),
    /// The door shall forget this tenant.
    Forget(TenantId),
    /// Our public addresses changed: the door shall know them as its own.
    Advertise(Advertised),
    /// Say that all orders before this one are done.
    Report(oneshot::Sender<()>),
}

/// What a connection brings.
#[derive(Debug)]
pub enum Arrival {
    /// One whole message, nobody knows whose.
    Message {
        /// The way back.
        path: Path,
        /// The message.
        bytes: Bytes,
    },
    /// The connection is gone.
    Gone(FlowId),
}

#[derive(Debug)]
struct Rings {
    mail: ArrayQueue<Mail>,
    reports: ArrayQueue<Report>,
    orders: ArrayQueue<Order>,
    outgoing: ArrayQueue<(Path, Bytes)>,
    arrivals: ArrayQueue<Arrival>,
    asleep: AtomicBool,
    bell: EventFd,
}

/// The lane's end.
#[derive(Debug)]
pub struct Inbox(Arc<Rings>);

/// Everybody else's end.
#[derive(Debug, Clone)]
pub struct Post(Arc<Rings>);

/// Makes both ends.
pub fn inbox() -> Result<(Inbox, Post), Errno> {
    let rings = Arc::new(Rings {
        mail: ArrayQueue::new(MAIL),
        reports: ArrayQueue::new(REPORTS),
        orders: ArrayQueue::new(ORDERS),
        outgoing: ArrayQueue::new(OUTGOING),
        arrivals: ArrayQueue::new(ARRIVALS),
        asleep: AtomicBool::new(false),
        bell: EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?,
    });
    Ok((Inbox(rings.clone()), Post(rings)))
}

impl Post {
    /// Gives a message to the lane; a full ring gives it back.
    #[must_use]
    pub fn mail(&self, mail: Mail) -> Option<Mail> {
        self.0.mail.push(mail).err()
    }

    /// Reports something; false if the ring is full.
    #[must_use]
    pub fn report(&self, report: Report) -> bool {
        self.0.reports.push(report).is_ok()
    }

    /// Orders something; a full ring gives it back, to be tried again.
    pub fn order(&self, order: Order) -> Result<(), Order> {
        self.0.orders.push(order)
    }

    /// Has the lane put bytes on a path of this node; false if there is no room.
    #[must_use]
    pub fn put_out(&self, path: Path, bytes: Bytes) -> bool {
        self.0.outgoing.push((path, bytes)).is_ok()
    }

    /// Gives the lane what a connection brings; a full ring gives it back, to be tried again.
    pub fn arrive(&self, arrival: Arrival) -> Result<(), Arrival> {
        self.0.arrivals.push(arrival)
    }

    /// Whether connections bring more than the lane takes in.
    pub fn is_crowded(&self) -> bool {
        self.0.arrivals.len() > ARRIVALS / 2
    }

    /// Wakes the lane if it sleeps; once after a batch.
    pub fn wake(&self) {
        // The lane says that it sleeps and then looks at the rings; we fill a ring and then look
        // whether it sleeps. In one order of all these, one of us sees the other.
        if self.0.asleep.swap(false, Ordering::SeqCst) {
            // It fails only when the bell has already rung 2^64 times.
            let _ = self.0.bell.write(1);
        }
    }

    /// Messages, reports, orders and arrivals that wait.
    pub fn lengths(&self) -> [usize; 4] {
        let Rings { mail, reports, orders, arrivals, .. } = &*self.0;
        [mail.len(), reports.len(), orders.len(), arrivals.len()]
    }

    /// Messages that wait to be put out.
    pub fn outgoing(&self) -> usize {
        self.0.outgoing.len()
    }
}

impl Inbox {
    /// The next message of another lane.
    pub fn next_mail(&self) -> Option<Mail> {
        self.0.mail.pop()
    }

    /// The next report.
    pub fn next_report(&self) -> Option<Report> {
        self.0.reports.pop()
    }

    /// The next order.
    pub fn next_order(&self) -> Option<Order> {
        self.0.orders.pop()
    }

    /// What to put out next.
    pub fn next_outgoing(&self) -> Option<(Path, Bytes)> {
        self.0.outgoing.pop()
    }

    /// What a connection brought next.
    pub fn next_arrival(&self) -> Option<Arrival> {
        self.0.arrivals.pop()
    }

    /// Sleeps by way of `sleep`, which must end when the bell rings, unless something is there.
    pub fn sleep(&self, sleep: impl FnOnce(&EventFd)) {
        self.0.asleep.store(true, Ordering::SeqCst);
        if self.is_empty() {
            sleep(&self.0.bell);
        }
        if !self.0.asleep.swap(false, Ordering::SeqCst) {
            // Whoever woke us has rung, or is about to: then the next sleep is a short one.
            let _ = self.0.bell.read();
        }
    }

    fn is_empty(&self) -> bool {
        let Rings { mail, reports, orders, arrivals, outgoing, .. } = &*self.0;
        let no_mail = mail.is_empty() && arrivals.is_empty() && outgoing.is_empty();
        no_mail && reports.is_empty() && orders.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_is_put_in_while_the_lane_falls_asleep_is_never_overslept() {
        const ALL: u128 = 20_000;
        let (inbox, post) = inbox().unwrap();
        let producer = thread::spawn(move || {
            for number in 0..ALL {
                while !post.report(Report::Kept(RecordId(Uuid::from_u128(number)))) {
                    thread::yield_now();
                }
                post.wake();
            }
        });
        let mut seen = 0;
        while seen < ALL {
            while let Some(Report::Kept(id)) = inbox.next_report() {
                assert_eq!(id, RecordId(Uuid::from_u128(seen)));
                seen += 1;
            }
            if seen < ALL {
                inbox.sleep(|bell| {
                    let mut polled = [PollFd::new(bell.as_fd(), PollFlags::POLLIN)];
                    let rung = poll(&mut polled, PollTimeout::from(10_000u16)).unwrap();
                    assert_eq!(rung, 1, "overslept after {seen}");
                });
            }
        }
        producer.join().unwrap();
    }

    #[test]
    fn a_lane_that_is_awake_is_not_rung_for() {
        let (inbox, post) = inbox().unwrap();
        post.wake();
        assert_eq!(inbox.0.bell.read(), Err(Errno::EAGAIN));
        inbox.sleep(|_| post.wake());
        assert!(post.report(Report::Kept(RecordId(Uuid::nil()))));
        inbox.sleep(|_| panic!("something is there"));
    }

    #[test]
    fn a_full_ring_says_so() {
        let (inbox, post) = inbox().unwrap();
        for _ in 0..REPORTS {
            assert!(post.report(Report::Kept(RecordId(Uuid::nil()))));
        }
        assert!(!post.report(Report::Kept(RecordId(Uuid::nil()))));
        assert_eq!(post.lengths(), [0, REPORTS, 0, 0]);
        assert!(inbox.next_report().is_some());
        assert!(post.report(Report::Kept(RecordId(Uuid::nil()))));
    }
}
