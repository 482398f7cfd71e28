//! What a phone is busy with: one piece of work from its first message to its last answer.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::T1;
use super::phone::Dialog;
use super::reading::Branch;

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Registering before anything is measured.
    Preparing,
    Registering,
    Asking,
    Calling,
    /// Answered.
    Talking,
    HangingUp,
}

/// A caller's side of a call.
#[derive(Debug, Default)]
pub(super) struct Call {
    pub(super) dialog: Dialog,
    pub(super) socket: Option<UdpSocket>,
    /// To the last refusal.
    pub(super) refusal_ack: Bytes,
    /// To the answer.
    pub(super) answer_ack: Bytes,
}

/// A piece of work.
#[derive(Debug)]
pub(super) struct Errand {
    pub(super) phone: usize,
    pub(super) stage: Stage,
    /// Of the request that waits for its answer.
    pub(super) branch: Branch,
    /// That request.
    pub(super) message: Bytes,
    pub(super) began_at: Instant,
    pub(super) repeat_after: Duration,
    pub(super) give_up_at: Instant,
    pub(super) challenges: u8,
    pub(super) expires: u32,
    pub(super) is_proceeding: bool,
    pub(super) call: Call,
}

/// All errands of a thread. Each has a place, which its branches name.
pub(super) struct Errands {
    run: u32,
    places: Vec<Option<Errand>>,
    free: Vec<usize>,
    serial: u32,
    count: usize,
}

impl Errands {
    /// None yet, in a run with this number.
    pub(super) fn new(run: u32) -> Self {
        Self { run, places: vec![], free: vec![], serial: 0, count: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// A new one, which is not among them before [`Errands::keep`].
    pub(super) fn begin(&mut self, now: Instant, phone: usize, stage: Stage) -> Errand {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        self.serial = self.serial.wrapping_add(1);
        self.count += 1;
        Errand {
            phone,
            stage,
            branch: Branch { run: self.run, place, serial: self.serial, turn: 0 },
            message: Bytes::new(),
            began_at: now,
            repeat_after: T1,
            give_up_at: now + 64 * T1,
            challenges: 0,
            expires: 0,
            is_proceeding: false,
            call: Call::default(),
        }
    }

    /// Takes out the one that a branch names, in whichever of its turns.
    pub(super) fn take(&mut self, branch: Branch) -> Option<Errand> {
        let place = self.places.get_mut(branch.place)?;
        match place {
            Some(errand)
                if (errand.branch.run, errand.branch.serial) == (branch.run, branch.serial) =>
            {
                place.take()
            }
            Some(_) | None => None,
        }
    }

    /// Puts one back.
    pub(super) fn keep(&mut self, errand: Errand) {
        if let Some(place) = self.places.get_mut(errand.branch.place) {
            *place = Some(errand);
        }
    }

    /// One that was taken out is over.
    pub(super) fn release(&mut self, errand: &Errand) {
        self.count -= 1;
        self.free.push(errand.branch.place);
    }

    /// Some that are in a call.
    pub(super) fn talking(&self, at_most: usize) -> Vec<Branch> {
        let all = self.places.iter().flatten();
        let talking = all.filter(|errand| errand.stage == Stage::Talking);
        talking.map(|errand| errand.branch).take(at_most).collect()
    }
}

/// What is to be done later.
#[derive(Debug)]
pub(super) enum Task {
    Repeat(Branch),
    HangUp(Branch),
    /// Look whether a called phone's answer was acknowledged.
    RepeatAnswer(String),
    /// A phone that was refused tries again.
    TryAgain(usize),
}

/// What is to be done later, by time.
#[derive(Default)]
pub(super) struct Agenda {
    tasks: BTreeMap<(Instant, u64), Task>,
    serial: u64,
}

impl Agenda {
    pub(super) fn add(&mut self, at: Instant, task: Task) {
        self.serial += 1;
        self.tasks.insert((at, self.serial), task);
    }

    /// The next that is due.
    pub(super) fn due(&mut self, now: Instant) -> Option<Task> {
        let first = self.tasks.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}
