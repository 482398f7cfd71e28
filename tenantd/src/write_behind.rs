//! Moves records from the journal to Postgres, in groups, without any call waiting for it.
//!
//! A lane hands over what it has journaled. Registrations and calls travel apart, so that a phone
//! that waits for its 200 never waits for a call's long story; each keeps its order. While
//! Postgres is away both stand still: memory holds a few thousand records a lane, the journal the
//! rest, from which they are read again.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pbx::input::Storage;
use pbx::record::{Memory, Record, Wait};
use tokio::sync::Notify;
use tokio::sync::mpsc::{self, error::TryRecvError};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::warn;

use crate::journal::{Appended, Journaled, Position, Tail};
use crate::lanes::{LaneId, Lanes, Neighbours, Witness};
use crate::metrics::{Count, Tally};

/// Records in one transaction at most. A group is whatever came while the one before was written,
/// so that in a storm groups are full.
const GROUP: usize = 512;

/// How long what a lane remembers is gathered before it is taken, unless somebody waits for it.
/// Until it is in Postgres it is safe from the death of the process, though not of the machine.
const GATHER_FOR: Duration = Duration::from_millis(50);

/// How much longer a group of calls waits for others: nobody ever waits for one, and a transaction
/// costs more than what it holds.
const GATHER_CALLS_FOR: Duration = Duration::from_millis(150);

/// How long is gathered in all where other nodes would follow this one. They know what Postgres
/// knows: an answered call that is not there yet when this node dies can be hung up by nobody.
const GATHER_BESIDE_OTHERS_FOR: Duration = Duration::from_millis(5);

/// Records of one kind that a lane keeps in memory.
const IN_MEMORY: usize = 4_096;

/// Turns that may be handed over and not yet taken; more are read again from the journal.
const TURNS: usize = 256;

/// How long a quiet lane's journal is not looked at: something may have been left in it.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// A transaction that takes longer is as good as none.
const GIVE_UP_AFTER: Duration = Duration::from_secs(5);

/// How long to wait before Postgres is tried again; doubled up to the last.
const RETRY_AFTER: Duration = Duration::from_millis(50);
const RETRY_AT_LAST_AFTER: Duration = Duration::from_secs(2);

/// Why a group was not written: Postgres is away, or cannot work. The same again later may do.
#[derive(Debug)]
pub struct Setback(pub String);

/// What one turn of a lane remembered.
#[derive(Debug)]
struct Turn {
    /// Where it stands in the journal; `None` if the journal could not take it.
    at: Option<Appended>,
    records: Vec<Record>,
}

/// What became of a turn that was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handed {
    /// It will be written.
    Taken,
    /// There is no room in memory: it will be read from the journal.
    LeftInJournal,
    /// There is no room, and the journal does not have it either.
    Lost,
}

/// The lane's end.
#[derive(Debug)]
pub struct Outbound {
    turns: mpsc::Sender<Turn>,
    // After the sender: its last ring says that there is no sender any more.
    bell: Ringer,
}

/// The other end.
#[derive(Debug)]
pub struct Inbound {
    turns: mpsc::Receiver<Turn>,
    bell: Arc<Bell>,
    tail: Arc<Tail>,
    /// Up to here all has been taken.
    next: Position,
    /// Up to here the journal must be read before the turn in hand is taken.
    read_to: Position,
    in_hand: Option<Turn>,
}

/// Connects a lane's journal with its writer.
pub fn between(tail: Arc<Tail>) -> (Outbound, Inbound) {
    let (sender, receiver) = mpsc::channel(TURNS);
    let next = tail.end();
    let bell = Arc::new(Bell::default());
    let inbound =
        Inbound { turns: receiver, bell: bell.clone(), tail, next, read_to: next, in_hand: None };
    (Outbound { turns: sender, bell: Ringer(bell) }, inbound)
}

/// Wakes the writer: once for the first of what is gathered, and at once for what is awaited. A
/// wake-up costs a lane more than what it hands over.
#[derive(Debug, Default)]
struct Bell {
    rung: Notify,
    hurry: AtomicBool,
}

/// The lane's hand on it, which rings when it lets go.
#[derive(Debug)]
struct Ringer(Arc<Bell>);

impl Drop for Ringer {
    fn drop(&mut self) {
        self.0.ring_in_a_hurry();
    }
}

impl Bell {
    fn ring(&self) {
        self.rung.notify_one();
    }

    fn ring_in_a_hurry(&self) {
        self.hurry.store(true, Ordering::Release);
        self.rung.notify_one();
    }

    /// Until there is something, and others have had the time to join it.
    async fn wait(&self, gather_for: Duration) {
        if timeout(LOOK_AFTER, self.rung.notified()).await.is_err() {
            return;
        }
        let give_up_at = Instant::now() + gather_for;
        while !self.hurry.swap(false, Ordering::AcqRel) {
            if timeout_at(give_up_at, self.rung.notified()).await.is_err() {
                return;
            }
        }
    }
}

impl Outbound {
    /// Hands a turn's records over. Never waits.
    pub fn hand_over(&self, at: Option<Appended>, records: Vec<Record>) -> Handed {
        let is_awaited = records.iter().any(|record| record.wait == Wait::ForCommit);
        let room = self.turns.capacity();
        let handed = match (self.turns.try_send(Turn { at, records }), at) {
            (Ok(()), _) => Handed::Taken,
            (Err(_), Some(_)) => Handed::LeftInJournal,
            (Err(_), None) => Handed::Lost,
        };
        if is_awaited || room <= TURNS / 2 {
            self.bell.0.ring_in_a_hurry();
        } else if room == TURNS {
            self.bell.0.ring();
        }
        handed
    }

    /// Turns that wait to be taken, and how many may.
    pub fn load(&self) -> (usize, usize) {
        (TURNS - self.turns.capacity(), TURNS)
    }
}

/// Everything that the writer of a lane's records works with.
#[derive(Clone)]
pub struct Desk {
    /// Whose records.
    pub lane: LaneId,
    /// Who is told when they are durable.
    pub lanes: Arc<Lanes>,
    /// Where it is counted.
    pub tally: Arc<Tally>,
}

/// A record on its way, with where it came from and who is told.
struct Sent {
    journaled: Journaled,
    origin: Arc<Origin>,
}

struct Origin {
    desk: Desk,
    tail: Arc<Tail>,
}

/// Where all lanes put their registrations.
#[derive(Clone)]
pub struct Registrations(mpsc::Sender<Sent>);

/// What all lanes have put there.
pub struct AllRegistrations(mpsc::Receiver<Sent>);

/// One queue for the registrations of all lanes: one full group costs less than several that are
/// half empty, and phones wait for it.
pub fn registrations() -> (Registrations, AllRegistrations) {
    let (sender, receiver) = mpsc::channel(IN_MEMORY);
    (Registrations(sender), AllRegistrations(receiver))
}

/// Writes the registrations of all lanes until all have ended and what they left is in Postgres.
///
/// `write` writes one group in one transaction, and returns which of its records it left out
/// because they can never be stored, such as those of a tenant that is gone.
pub async fn run_registrations<W, F>(all: AllRegistrations, write: W)
where
    W: Fn(Arc<[Record]>) -> F,
    F: Future<Output = Result<usize, Setback>>,
{
    write_all(all.0, || Duration::ZERO, write).await;
}

/// Writes a lane's calls, and puts its registrations where all go, until the lane has ended and its
/// calls are in Postgres.
pub async fn run<W, F>(desk: Desk, mut inbound: Inbound, registrations: Registrations, write: W)
where
    W: Fn(Arc<[Record]>) -> F + Send + 'static,
    F: Future<Output = Result<usize, Setback>> + Send,
{
    let (calls, for_calls) = mpsc::channel(IN_MEMORY);
    let sorter = desk.clone();
    let gatherer = desk.clone();
    let origin = Arc::new(Origin { desk, tail: inbound.tail.clone() });
    let sort = async move {
        let sorted = Sorted { registrations: registrations.0, calls };
        while let Some(records) = inbound.next(&sorter).await {
            for journaled in records {
                sorted.send(Sent { journaled, origin: origin.clone() }).await;
            }
        }
    };
    let gather_for = || gatherer.gather_calls_for();
    tokio::join!(sort, write_all(for_calls, gather_for, write));
}

/// One queue a kind, so that the one kind never waits for the other.
struct Sorted {
    registrations: mpsc::Sender<Sent>,
    calls: mpsc::Sender<Sent>,
}

impl Sorted {
    async fn send(&self, sent: Sent) {
        let queue = match &sent.journaled.record.what {
            Memory::Bound(_) | Memory::Unbound(_) => &self.registrations,
            Memory::Live { .. } | Memory::Ended(_) => &self.calls,
        };
        // Its receiver lives until this sender is gone.
        let _ = queue.send(sent).await;
    }
}

impl Inbound {
    /// The next records, in order: those of a turn, or those that were left in the journal.
    async fn next(&mut self, desk: &Desk) -> Option<Vec<Journaled>> {
        loop {
            let records = if self.next < self.read_to {
                self.read_again().await
            } else if let Some(turn) = self.in_hand.take() {
                self.take(turn)
            } else if self.wait(desk).await.is_some() {
                continue;
            } else {
                return None;
            };
            if !records.is_empty() {
                return Some(records);
            }
        }
    }

    /// Waits until there is something to take or to read.
    async fn wait(&mut self, desk: &Desk) -> Option<()> {
        let end = self.tail.end();
        self.in_hand = match self.turns.try_recv() {
            Ok(turn) => Some(turn),
            Err(TryRecvError::Disconnected) if self.next >= self.tail.end() => return None,
            Err(TryRecvError::Disconnected) => None,
            Err(TryRecvError::Empty) => {
                self.bell.wait(desk.gather_for()).await;
                self.turns.try_recv().ok()
            }
        };
        self.read_to = match &self.in_hand {
            Some(turn) => turn.at.map_or(self.next, |at| at.from),
            None if self.turns.is_closed() => self.tail.end(),
            // What was handed over before the end was read has been received by now: the rest was
            // left in the journal. What is handed over meanwhile may be read, and is then not taken.
            None => end,
        };
        Some(())
    }

    fn take(&mut self, turn: Turn) -> Vec<Journaled> {
        let segment = turn.at.map(|at| at.from.segment);
        match turn.at {
            Some(at) if at.to <= self.next => return vec![],
            Some(at) => self.next = at.to,
            None => {}
        }
        turn.records.into_iter().map(|record| Journaled { record, segment }).collect()
    }

    async fn read_again(&mut self) -> Vec<Journaled> {
        let (tail, from, to) = (self.tail.clone(), self.next, self.read_to);
        let read = spawn_blocking(move || tail.read_again(from, to, GROUP)).await;
        match read.map_err(io::Error::other).flatten() {
            Ok((records, next)) => {
                self.next = next;
                records
            }
            Err(error) => {
                warn!(%error, "journal cannot be read; it is kept for the next start");
                self.next = to;
                vec![]
            }
        }
    }
}

impl Desk {
    fn gather_for(&self) -> Duration {
        match self.lanes.signals().neighbours() {
            Neighbours::None => GATHER_FOR,
            Neighbours::Some => GATHER_BESIDE_OTHERS_FOR,
        }
    }

    fn gather_calls_for(&self) -> Duration {
        match self.lanes.signals().neighbours() {
            Neighbours::None => GATHER_CALLS_FOR,
            Neighbours::Some => Duration::ZERO,
        }
    }
}

/// Writes one kind's records in groups, each of which waits `gather_for` for others to join it.
async fn write_all<W, F>(
    mut queue: mpsc::Receiver<Sent>,
    gather_for: impl Fn() -> Duration,
    write: W,
) where
    W: Fn(Arc<[Record]>) -> F,
    F: Future<Output = Result<usize, Setback>>,
{
    let mut group = Vec::new();
    while queue.recv_many(&mut group, GROUP).await > 0 {
        let gather_for = gather_for();
        if !gather_for.is_zero() && group.len() < GROUP && !queue.is_closed() {
            // Not one by one: each would wake this task.
            sleep(gather_for).await;
            while group.len() < GROUP
                && let Ok(sent) = queue.try_recv()
            {
                group.push(sent);
            }
        }
        write_until_done(&group, &write).await;
        group.clear();
    }
}

async fn write_until_done<W, F>(group: &[Sent], write: &W)
where
    W: Fn(Arc<[Record]>) -> F,
    F: Future<Output = Result<usize, Setback>>,
{
    let Some(lanes) = group.first().map(|sent| &sent.origin.desk.lanes) else { return };
    let records: Arc<[Record]> = group.iter().map(|sent| sent.journaled.record.clone()).collect();
    let mut retry_after = RETRY_AFTER;
    loop {
        let why = match timeout(GIVE_UP_AFTER, write(records.clone())).await {
            Ok(Ok(skipped)) => {
                lanes.set_storage(Witness::Writer, Storage::Here, "");
                return settle(group, skipped);
            }
            Ok(Err(Setback(why))) => why,
            Err(_) => "no answer".to_owned(),
        };
        // Once may be chance, such as a deadlock between two groups.
        if retry_after > RETRY_AFTER {
            lanes.set_storage(Witness::Writer, Storage::Away, &why);
        }
        sleep(retry_after).await;
        retry_after = (retry_after * 2).min(RETRY_AT_LAST_AFTER);
    }
}

/// Records are done with: files may go, and who waits is told, each lane once.
fn settle(group: &[Sent], mut skipped: usize) {
    let mut origins = BTreeMap::<LaneId, (&Origin, Vec<&Journaled>)>::new();
    for sent in group {
        let (_, theirs) =
            origins.entry(sent.origin.desk.lane).or_insert_with(|| (&sent.origin, vec![]));
        theirs.push(&sent.journaled);
    }
    for (Origin { desk, tail }, part) in origins.into_values() {
        let mut segments = BTreeMap::<u32, u64>::new();
        for segment in part.iter().filter_map(|journaled| journaled.segment) {
            *segments.entry(segment).or_default() += 1;
        }
        segments.into_iter().for_each(|(segment, records)| tail.commit(segment, records));
        let waited_for = part.iter().map(|j| &j.record).filter(|r| r.wait == Wait::ForCommit);
        let missed = desk.lanes.kept(desk.lane, waited_for.map(|record| record.id));
        desk.tally.add(Count::ReportsLost, missed as u64);
        // Whose they were is not known; lanes' counters are only seen as one sum.
        let left_out = skipped.min(part.len());
        skipped -= left_out;
        desk.tally.add(Count::RecordsSkipped, left_out as u64);
        desk.tally.add(Count::RecordsKept, (part.len() - left_out) as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    use pbx::id::{CallId, RecordId};
    use tokio::sync::Notify;

    use super::*;
    use crate::journal::tests::unbound;
    use crate::journal::{LaneJournal, Room, left_over};
    use crate::lanes::inbox::{Inbox, Report, inbox};
    use crate::metrics::Metrics;
    use crate::scratch::Scratch;

    #[tokio::test(start_paused = true)]
    async fn what_is_waited_for_is_reported_once_it_is_written_and_its_file_goes() {
        let mut lane = Lane::new();
        let waited = Record { wait: Wait::ForCommit, ..unbound(1) };
        lane.remember(vec![waited, unbound(2)]);
        let written = lane.end_with(|_| Ok(0)).await;
        assert_eq!(written.len(), 2);
        let Some(Report::Kept(id)) = lane.inbox.next_report() else { panic!("a report") };
        assert_eq!(id, unbound(1).id);
        assert!(lane.inbox.next_report().is_none());
        assert!(left_over(lane.scratch.path()).unwrap().is_empty());
        assert_eq!(lane.desk.tally.counted(Count::RecordsKept), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn while_postgres_is_away_everybody_knows_and_nothing_is_lost() {
        let mut lane = Lane::new();
        lane.remember(vec![unbound(1)]);
        let (tries, lanes) = (AtomicUsize::new(0), lane.desk.lanes.clone());
        let started = Instant::now();
        let written = lane
            .end_with(move |_| match tries.fetch_add(1, Ordering::Relaxed) {
                0..2 => {
                    assert_eq!(lanes.signals().storage(), Storage::Here);
                    Err(Setback("it stopped".to_owned()))
                }
                2..5 => {
                    assert_eq!(lanes.signals().storage(), Storage::Away);
                    Err(Setback("it stopped".to_owned()))
                }
                _ => Ok(0),
            })
            .await;
        assert_eq!(written, [unbound(1).id]);
        assert_eq!(lane.desk.lanes.signals().storage(), Storage::Here);
        assert!(started.elapsed() >= Duration::from_millis(50 + 100 + 200 + 400 + 800));
    }

    #[tokio::test(start_paused = true)]
    async fn what_memory_has_no_room_for_is_read_from_the_journal_in_order_and_once() {
        const TURN: u128 = 100;
        const ALL: u128 = 60_000;
        let mut lane = Lane::new();
        let mut left = 0;
        for first in (0..ALL).step_by(TURN as usize) {
            let handed = lane.remember((first..first + TURN).map(unbound).collect());
            left += usize::from(handed == Handed::LeftInJournal);
        }
        assert_eq!(left, (ALL / TURN) as usize - TURNS);
        let written = lane.end_with(|_| Ok(0)).await;
        assert_eq!(written, (0..ALL).map(|n| unbound(n).id).collect::<Vec<_>>());
        assert!(left_over(lane.scratch.path()).unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_lane_is_looked_at_after_a_second() {
        let lane = Lane::new();
        let Lane { mut journal, inbound, desk, .. } = lane;
        let written = Arc::new(Notify::new());
        let told = written.clone();
        // Journaled, and never handed over: as if there had been no room.
        let journal = journal.as_mut().unwrap();
        journal.append(&[unbound(1)]).unwrap();
        let write = move |_| {
            told.notify_one();
            std::future::ready(Ok(0))
        };
        let started = Instant::now();
        tokio::select! {
            () = run_all(desk, inbound.unwrap(), write) => panic!("the lane has not ended"),
            () = written.notified() => {}
        }
        assert!(started.elapsed() <= LOOK_AFTER + GATHER_FOR + Duration::from_millis(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_registration_never_waits_for_a_call() {
        let mut lane = Lane::new();
        let call = CallId(unbound(5).id.0);
        let live = Record { what: Memory::Live { call, facts: vec![] }, ..unbound(5) };
        lane.remember(vec![live, unbound(6)]);
        let (inbound, desk) = (lane.inbound.take().unwrap(), lane.desk.clone());
        let stored = Arc::new(Notify::new());
        let told = stored.clone();
        let write = move |group: Arc<[Record]>| {
            let told = told.clone();
            async move {
                match group.iter().any(|record| matches!(record.what, Memory::Live { .. })) {
                    true => std::future::pending().await,
                    false => told.notify_one(),
                }
                Ok(0)
            }
        };
        tokio::select! {
            () = run_all(desk, inbound, write) => panic!("the call is still being written"),
            () = stored.notified() => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_waits_for_others_only_while_nobody_waits_for_it() {
        let waited = Record { wait: Wait::ForCommit, ..unbound(2) };
        let call = CallId(unbound(3).id.0);
        let live = Record { what: Memory::Live { call, facts: vec![] }, ..unbound(3) };
        let (none, some) = (Neighbours::None, Neighbours::Some);
        for (records, neighbours, after) in [
            (vec![unbound(1)], none, GATHER_FOR),
            (vec![live.clone()], none, GATHER_FOR + GATHER_CALLS_FOR),
            (vec![live], some, GATHER_BESIDE_OTHERS_FOR),
            (vec![waited], none, Duration::ZERO),
        ] {
            let mut lane = Lane::new();
            lane.desk.lanes.signals().set_neighbours(neighbours);
            let stored = Arc::new(Notify::new());
            let told = stored.clone();
            let write = move |_| {
                told.notify_one();
                std::future::ready(Ok(0))
            };
            let (inbound, desk) = (lane.inbound.take().unwrap(), lane.desk.clone());
            let writer = tokio::spawn(run_all(desk, inbound, write));
            tokio::task::yield_now().await;
            let started = Instant::now();
            lane.remember(records);
            stored.notified().await;
            writer.abort();
            let late = started.elapsed().saturating_sub(after);
            assert!(started.elapsed() >= after && late <= Duration::from_millis(4), "{late:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_neither_journal_nor_memory_has_room_for_is_lost_and_said_so() {
        let lane = Lane::new();
        let outbound = lane.outbound.as_ref().unwrap();
        for _ in 0..TURNS {
            assert_eq!(outbound.hand_over(None, vec![unbound(1)]), Handed::Taken);
        }
        assert_eq!(outbound.load(), (TURNS, TURNS));
        assert_eq!(outbound.hand_over(None, vec![unbound(1)]), Handed::Lost);
    }

    async fn run_all<W, F>(desk: Desk, inbound: Inbound, write: W)
    where
        W: Fn(Arc<[Record]>) -> F + Clone + Send + 'static,
        F: Future<Output = Result<usize, Setback>> + Send,
    {
        let (registrations, all) = registrations();
        tokio::join!(
            run(desk, inbound, registrations, write.clone()),
            run_registrations(all, write)
        );
    }

    struct Lane {
        scratch: Scratch,
        journal: Option<LaneJournal>,
        outbound: Option<Outbound>,
        inbound: Option<Inbound>,
        inbox: Inbox,
        desk: Desk,
    }

    impl Lane {
        fn new() -> Self {
            let scratch = Scratch::new();
            let room = Arc::new(Room::new(1 << 30));
            let journal = LaneJournal::open(scratch.path(), 0, room).unwrap();
            let (outbound, inbound) = between(journal.tail());
            let (inbox, post) = inbox().unwrap();
            let lanes = Arc::new(Lanes::new(vec![post]));
            let desk = Desk { lane: LaneId(0), lanes, tally: Metrics::new().tally() };
            let (journal, outbound, inbound) = (Some(journal), Some(outbound), Some(inbound));
            Self { scratch, journal, outbound, inbound, inbox, desk }
        }

        fn remember(&mut self, records: Vec<Record>) -> Handed {
            let at = self.journal.as_mut().unwrap().append(&records).unwrap();
            self.outbound.as_ref().unwrap().hand_over(Some(at), records)
        }

        /// Ends the lane, writes all it has by way of `write`, and returns what was written.
        async fn end_with(
            &mut self,
            write: impl Fn(&[Record]) -> Result<usize, Setback> + Send + Sync + 'static,
        ) -> Vec<RecordId> {
            self.journal.take().unwrap().close();
            drop(self.outbound.take());
            let written = Arc::new(Mutex::new(vec![]));
            let (write, stored) = (Arc::new(write), written.clone());
            let write = move |group: Arc<[Record]>| {
                assert!(group.len() <= GROUP);
                let outcome = write(&group);
                if outcome.is_ok() {
                    stored.lock().unwrap().extend(group.iter().map(|record| record.id));
                }
                std::future::ready(outcome)
            };
            run_all(self.desk.clone(), self.inbound.take().unwrap(), write).await;
            written.lock().unwrap().drain(..).collect()
        }
    }
}
