//! A lane's loop: deadlines first, then a bounded batch of inputs, then everything the switch
//! wishes, then sleep.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::EventFd;
use nix::sys::time::TimeSpec;
use pbx::flow::Flow;
use pbx::input::{Input, Storage};
use pbx::moment::Moment;
use pbx::switch::{Load, Switch};

use crate::clock::Clock;
use crate::dispatch::Dispatch;
use crate::lanes::inbox::{Arrival, Inbox, Report};
use crate::lanes::{LaneId, Lanes, Stage, Wishes, World};
use crate::metrics::{Count, Gauge, Tally};
use crate::net::udp::{BATCH, Reader, Writer};

/// Inputs of a kind handled before the outputs are drained: large enough to batch system calls,
/// small enough to keep timers punctual.
const INPUTS: usize = 64;

/// How often a lane says how much it has in hand.
const LOAD_EVERY: Duration = Duration::from_millis(500);
const LOAD_WHILE_ENDING_EVERY: Duration = Duration::from_millis(20);

/// Deadlines are met this much later at most while nothing else happens: timers of many calls then
/// share a wake-up, and none of SIP's is that exact.
const DEADLINE_SLACK: Duration = Duration::from_millis(20);

/// While another lane has no room for what must not be lost, it is asked again this soon.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(1);

/// Everything that a lane's thread owns.
pub struct Lane {
    /// What decides.
    pub switch: Switch,
    /// What finds the way.
    pub dispatch: Dispatch,
    /// What other threads have for it.
    pub inbox: Inbox,
    /// Where wishes go.
    pub world: World,
    /// All lanes.
    pub lanes: Arc<Lanes>,
    /// The time.
    pub clock: Clock,
}

/// How far the switch has been told of what concerns all lanes.
struct Told {
    stage: Stage,
    storage: Storage,
    load_at: Moment,
}

impl Lane {
    /// Runs until the server has ended. A full inbox never starves a timer: each turn begins with
    /// the deadline that is due.
    pub fn run(mut self) {
        let (mut reader, mut writer) = (Reader::default(), Writer::default());
        let mut wishes = Wishes::on(self.world.node);
        let mut readable = vec![true; self.world.sockets.len()];
        let mut told =
            Told { stage: Stage::Opening, storage: Storage::Here, load_at: self.clock.now() };
        loop {
            let now = self.clock.now();
            if self.switch.deadline().is_some_and(|due| due <= now) {
                self.switch.handle_deadline(now);
            }
            self.hear_signals(now, &mut told);
            let mut more = self.take_in(now, &mut reader, &readable, told.stage);
            self.serve(now);
            self.perform(&mut wishes, &mut writer);
            more |= self.hear_what_is_gone(now, &mut wishes);
            if told.stage == Stage::Ended {
                break;
            }
            if now >= told.load_at {
                let load = self.switch.load();
                gauge(&self.world.tally, load);
                self.lanes.set_load(self.world.lane, load, self.dispatch.waiting());
                self.dispatch.tidy(now);
                told.load_at = now + load_every(told.stage);
            }
            // A lane that goes on at once has not asked which sockets hold something.
            readable.fill(true);
            if !more && self.dispatch.waiting() == 0 {
                self.sleep(told.load_at, &mut readable);
            }
        }
        self.world.memory.journal.close();
    }

    fn hear_signals(&mut self, now: Moment, told: &mut Told) {
        let storage = self.lanes.signals().storage();
        if storage != told.storage {
            told.storage = storage;
            self.switch.handle_input(now, Input::Storage(storage));
        }
        let stage = self.lanes.signals().stage();
        if stage > told.stage {
            if stage >= Stage::Draining && told.stage < Stage::Draining {
                self.switch.handle_input(now, Input::Drain);
                self.dispatch.drain();
            }
            if stage >= Stage::HangingUp && told.stage < Stage::HangingUp {
                self.switch.handle_input(now, Input::HangUp);
            }
            told.stage = stage;
            told.load_at = now;
        }
    }

    /// Fills the queue that is served in turn; true if there was more than a batch of anything.
    ///
    /// Mail comes before orders: a message that was sent here because its tenant is here finds it.
    /// The network comes after: what the first phone says is for a tenant that is known.
    fn take_in(
        &mut self,
        now: Moment,
        reader: &mut Reader,
        readable: &[bool],
        stage: Stage,
    ) -> bool {
        let mail = (0..INPUTS).map_while(|_| self.inbox.next_mail());
        let mut more = mail.map(|mail| self.dispatch.take_in(mail)).count() == INPUTS;
        while let Some(order) = self.inbox.next_order() {
            if let Some(input) = self.dispatch.handle_order(order) {
                self.switch.handle_input(now, *input);
            }
        }
        if stage > Stage::Opening {
            let sockets = self.world.sockets.iter().zip(readable);
            for socket in sockets.filter_map(|(socket, readable)| readable.then_some(socket)) {
                let (dispatch, node) = (&mut self.dispatch, self.world.node);
                let read = reader.read(socket, |path, bytes| {
                    dispatch.receive(now, Flow::udp(node, path.local, path.peer), bytes);
                });
                self.world.tally.add(Count::DroppedTruncated, read.unusable as u64);
                more |= read.datagrams == BATCH;
            }
            more |= self.take_in_arrivals(now);
        }
        let reports = (0..INPUTS).map_while(|_| self.inbox.next_report());
        let reported = reports.map(|report| match report {
            Report::Kept(record) => self.switch.handle_input(now, Input::Kept(record)),
            Report::Media(event) => self.switch.handle_input(now, Input::Media(event)),
            Report::KeptOpen(tenant, peer) => {
                self.switch.handle_input(now, Input::KeptOpen { tenant, peer });
            }
        });
        more | (reported.count() == INPUTS)
    }

    fn take_in_arrivals(&mut self, now: Moment) -> bool {
        let arrivals = (0..INPUTS).map_while(|_| self.inbox.next_arrival());
        let arrived = arrivals.map(|arrival| match arrival {
            Arrival::Message { path, bytes } => {
                self.dispatch.receive(now, Flow::Net(path), bytes);
            }
            Arrival::Gone(flow) => {
                // Every lane hears it, and one of them tells the other nodes.
                if self.world.lane == LaneId(0) {
                    self.world.tell_peers_gone(flow);
                }
                self.switch.handle_input(now, Input::FlowGone(flow));
            }
        });
        arrived.count() == INPUTS
    }

    /// Whatever still believes in a connection that is gone learns of it here: it was told when
    /// the connection ended, and may have heard of it only after that.
    fn hear_what_is_gone(&mut self, now: Moment, wishes: &mut Wishes) -> bool {
        let gone = std::iter::from_fn(|| wishes.next_gone());
        let heard = gone.map(|flow| {
            self.world.tell_peers_gone(flow);
            self.switch.handle_input(now, Input::FlowGone(flow));
        });
        heard.count() > 0
    }

    fn serve(&mut self, now: Moment) {
        for _ in 0..INPUTS {
            let Some(mail) = self.dispatch.take() else { return };
            let (tenant, by, flow, message) = (mail.tenant, mail.by, mail.flow, mail.message);
            self.switch.handle_input(now, Input::Received { tenant, by, flow, message });
        }
    }

    fn perform(&mut self, wishes: &mut Wishes, writer: &mut Writer) {
        for (path, answer) in self.dispatch.answers() {
            wishes.send(path, answer);
        }
        for (path, bytes) in (0..INPUTS).map_while(|_| self.inbox.next_outgoing()) {
            wishes.put_out(path, bytes);
        }
        while let Some(output) = self.switch.poll_output() {
            wishes.add(output);
        }
        let dispatch = &mut self.dispatch;
        self.world.perform(wishes, writer, |(path, bytes)| dispatch.receive_inner(path, bytes));
        self.dispatch.wake();
    }

    /// Until a datagram comes, the bell rings, or a deadline is due; says which sockets hold one.
    fn sleep(&self, load_at: Moment, readable: &mut [bool]) {
        let now = self.clock.now();
        let deadline = self.switch.deadline().map_or(load_at, |due| due.min(load_at));
        let mut longest = with_slack(deadline).since(now);
        if self.dispatch.holds() {
            longest = longest.min(ASK_AGAIN_AFTER);
        }
        if deadline <= now {
            return;
        }
        self.inbox.sleep(|bell| self.poll(bell, longest, readable));
    }

    fn poll(&self, bell: &EventFd, longest: Duration, readable: &mut [bool]) {
        let sockets = self.world.sockets.iter().map(|socket| socket.as_fd());
        let mut polled: Vec<PollFd<'_>> =
            sockets.chain([bell.as_fd()]).map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        // An interrupted wait is a short one: then all are looked at.
        if ppoll(&mut polled, Some(TimeSpec::from_duration(longest)), None).is_ok() {
            for (readable, polled) in readable.iter_mut().zip(&polled) {
                *readable = polled.any() != Some(false);
            }
        }
    }
}

/// Rounded up to the next of the moments at which a sleeping lane looks at its deadlines.
fn with_slack(deadline: Moment) -> Moment {
    let slack = DEADLINE_SLACK.as_micros() as u64;
    Moment::from_micros(deadline.as_micros().div_ceil(slack).saturating_mul(slack))
}

fn load_every(stage: Stage) -> Duration {
    match stage {
        Stage::Opening | Stage::Serving => LOAD_EVERY,
        Stage::Draining | Stage::HangingUp | Stage::Ended => LOAD_WHILE_ENDING_EVERY,
    }
}

fn gauge(tally: &Tally, load: Load) {
    tally.set(Gauge::Calls, load.calls);
    tally.set(Gauge::Transactions, load.transactions);
    tally.set(Gauge::Registrations, load.bindings);
    tally.set(Gauge::Tenants, load.tenants);
}
