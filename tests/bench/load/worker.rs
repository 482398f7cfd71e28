//! One thread of the load: it begins work at its pace, answers what comes, repeats what is lost.
//!
//! RFC 3261 §17.1: requests over UDP are repeated by T1 and given up after 64 times that.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kit::failure::Outcome;

use super::called::Called;
use super::errand::{Agenda, Errand, Errands, Stage, Task};
use super::line::Line;
use super::phone::{Phone, Showing, options};
use super::proof::Asker;
use super::reading::{Branch, header, lines, sound_port, status, uri, value_of};
use super::{
    EXPIRES, FIRST_PORT, NO_SOUND, Pace, Phase, Plan, Preparation, Renewal, Report, Shared, Sound,
    T1, T2, Work,
};
use crate::sound;

/// So many phones of all threads prepare at the same time.
const PREPARING: usize = 64;
/// More than a stuck server can leave unanswered; beyond it nothing new is begun.
const MOST_ERRANDS: usize = 200_000;
/// Reads before what is due gets its turn.
const READS: usize = 8;
/// A phone that was refused for good tries again after this.
const TRIES_AGAIN_AFTER: Duration = Duration::from_secs(1);

struct Worker<'a> {
    plan: &'a Plan,
    shared: &'a Shared,
    line: Line,
    phones: Vec<Phone>,
    errands: Errands,
    called: Called,
    agenda: Agenda,
    report: Report,
    /// Pieces of work begun since the fleet runs, and since when it does.
    begun: usize,
    runs_since: Option<Instant>,
    prepared: usize,
}

/// What becomes of an errand after an answer.
enum After {
    GoesOn,
    Done,
    Failed(String),
}

/// Plays this thread's share of the phones until the fleet is told to leave.
pub(super) fn work(plan: &Plan, index: usize, cseq: u32, shared: &Shared) -> Outcome<Report> {
    let offset = u16::try_from(index)?;
    let line = Line::open(FIRST_PORT + offset)?;
    let users = plan.population.users;
    let all = 0..plan.population.tenants * users;
    // Phones call their neighbour, so a pair stays together.
    let mine = all.filter(|number| number / 2 % plan.cores.len() == index);
    let phones = mine.map(|number| Phone::new(number / users, number % users, cseq)).collect();
    let sound = match plan.work {
        Work::Stay(sound) => sound,
        Work::Options | Work::Register(_) | Work::Call(_) => Sound::Described,
    };
    let called = Called::new(line.address(), sound);
    let mut worker = Worker {
        plan,
        shared,
        line,
        phones,
        errands: Errands::new(cseq),
        called,
        agenda: Agenda::default(),
        report: Report::default(),
        begun: 0,
        runs_since: None,
        prepared: 0,
    };
    worker.run()?;
    Ok(worker.report)
}

impl Worker<'_> {
    fn run(&mut self) -> Outcome {
        let mut has_told = false;
        loop {
            let now = Instant::now();
            match self.shared.phase() {
                Phase::Preparing if self.prepare(now) && !has_told => {
                    has_told = true;
                    self.shared.prepared.fetch_add(1, Ordering::Relaxed);
                }
                Phase::Preparing => {}
                Phase::Running | Phase::Counting => self.begin_due(now)?,
                Phase::Draining => {
                    for branch in self.errands.talking(PREPARING) {
                        self.hang_up(now, branch);
                    }
                    if self.errands.len() == 0 {
                        break;
                    }
                }
                Phase::Leaving => break,
            }
            while let Some(task) = self.agenda.due(now) {
                self.perform(now, task)?;
            }
            self.line.flush();
            self.line.wait(Duration::from_millis(1));
            for _ in 0..READS {
                let heard = self.line.receive();
                if heard.is_empty() {
                    break;
                }
                self.hear(&heard)?;
            }
            self.line.flush();
        }
        if self.errands.len() > 0 {
            self.fail("unfinished", self.errands.len());
        }
        if self.line.unsent > 0 {
            self.fail("unsent", usize::try_from(self.line.unsent)?);
        }
        Ok(())
    }

    /// Lets the next phones prepare. Returns whether all have.
    fn prepare(&mut self, now: Instant) -> bool {
        let all = match self.plan.preparation {
            Preparation::Nothing => 0,
            Preparation::Come | Preparation::Go => self.phones.len(),
        };
        let room = PREPARING / self.plan.cores.len();
        while self.prepared < all && self.errands.len() < room {
            self.register(now, self.prepared, Stage::Preparing);
            self.prepared += 1;
        }
        self.prepared == all && self.errands.len() == 0
    }

    fn begin_due(&mut self, now: Instant) -> Outcome {
        let since = now - *self.runs_since.get_or_insert(now);
        let threads = self.plan.cores.len();
        let by_rate = |rate: f64| (since.as_secs_f64() * rate / threads as f64) as usize;
        let due = match self.plan.pace {
            Pace::Window(window) => (window / threads).max(1).saturating_sub(self.errands.len()),
            Pace::Rate(rate) => by_rate(rate).saturating_sub(self.begun),
            Pace::Upto { count, rate } => by_rate(rate).min(count / threads) - self.begun,
            Pace::Burst(over) => {
                let share = since.div_duration_f64(over).min(1.0);
                (self.phones.len() as f64 * share) as usize - self.begun
            }
        };
        for _ in 0..due {
            if self.errands.len() >= MOST_ERRANDS {
                self.fail("not begun: too much is unanswered", 1);
            } else {
                self.begin(now)?;
            }
            self.begun += 1;
        }
        Ok(())
    }

    fn begin(&mut self, now: Instant) -> Outcome {
        match self.plan.work {
            Work::Options => {
                let mut errand = self.errands.begin(now, 0, Stage::Asking);
                let message = options(self.line.address(), self.plan.target, errand.branch);
                self.ask(now, &mut errand, message);
                self.errands.keep(errand);
            }
            Work::Register(_) => {
                self.register(now, self.begun % self.phones.len(), Stage::Registering);
            }
            Work::Call(_) | Work::Stay(_) => {
                self.call(now, self.begun % (self.phones.len() / 2) * 2)?;
            }
        }
        Ok(())
    }

    fn register(&mut self, now: Instant, phone: usize, stage: Stage) {
        let mut errand = self.errands.begin(now, phone, stage);
        let Some(phone) = self.phones.get_mut(phone) else { return };
        let (showing, expires) = match (stage, self.plan.work, self.plan.preparation) {
            (Stage::Preparing, _, Preparation::Go) => (Showing::Nothing, 0),
            (Stage::Registering, Work::Register(Renewal::Refresh), _) => {
                (Showing::Password, EXPIRES)
            }
            (Stage::Registering, Work::Register(Renewal::Change), _) if phone.is_bound => {
                (Showing::Nothing, 0)
            }
            _ => (Showing::Nothing, EXPIRES),
        };
        errand.expires = expires;
        let message = phone.register(self.line.address(), errand.branch, showing, expires);
        self.ask(now, &mut errand, message);
        self.errands.keep(errand);
    }

    fn call(&mut self, now: Instant, caller: usize) -> Outcome {
        let mut errand = self.errands.begin(now, caller, Stage::Calling);
        let called = self.phones.get(caller + 1).map(Phone::address).unwrap_or_default();
        let Branch { run, place, serial, .. } = errand.branch;
        let dialog = &mut errand.call.dialog;
        dialog.id = format!("c-{run:x}-{serial:x}-{place:x}@{}", self.line.address());
        dialog.called = called;
        dialog.cseq = 1;
        if self.plan.work == Work::Stay(Sound::Sent) {
            errand.call.socket = Some(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?);
        }
        self.invite(now, &mut errand, Showing::Nothing)?;
        self.errands.keep(errand);
        Ok(())
    }

    fn invite(&mut self, now: Instant, errand: &mut Errand, showing: Showing) -> Outcome {
        let port = match &errand.call.socket {
            Some(socket) => socket.local_addr()?.port(),
            None => NO_SOUND,
        };
        let Some(phone) = self.phones.get_mut(errand.phone) else { return Ok(()) };
        let from = self.line.address();
        let message = phone.invite(from, errand.branch, showing, &errand.call.dialog, port);
        self.ask(now, errand, message);
        Ok(())
    }

    fn hang_up(&mut self, now: Instant, branch: Branch) {
        let Some(mut errand) = self.errands.take(branch) else { return };
        if errand.stage == Stage::Talking
            && let Some(phone) = self.phones.get(errand.phone)
        {
            errand.stage = Stage::HangingUp;
            errand.branch.turn += 1;
            let dialog = &errand.call.dialog;
            let from = self.line.address();
            let bye = phone.within(from, errand.branch, dialog, "BYE", dialog.cseq + 1);
            self.ask(now, &mut errand, bye);
        }
        self.errands.keep(errand);
    }

    /// Sends a request, and again until there is an answer.
    fn ask(&mut self, now: Instant, errand: &mut Errand, message: String) {
        errand.message = Bytes::from(message);
        errand.repeat_after = T1;
        errand.give_up_at = now + 64 * T1;
        errand.is_proceeding = false;
        self.line.send(self.plan.target, errand.message.clone());
        self.agenda.add(now + T1, Task::Repeat(errand.branch));
    }

    fn perform(&mut self, now: Instant, task: Task) -> Outcome {
        match task {
            Task::Repeat(branch) => self.repeat(now, branch),
            Task::HangUp(branch) => self.hang_up(now, branch),
            Task::TryAgain(phone) => self.register(now, phone, Stage::Registering),
            Task::RepeatAnswer(id) => {
                if let Some((to, answer, again_at)) = self.called.repeat(now, &id) {
                    self.again("Answering".to_owned());
                    self.line.send(to, answer);
                    self.agenda.add(again_at, Task::RepeatAnswer(id));
                }
            }
        }
        Ok(())
    }

    fn repeat(&mut self, now: Instant, branch: Branch) {
        let Some(mut errand) = self.errands.take(branch) else { return };
        let waits = errand.branch == branch && errand.stage != Stage::Talking;
        if waits && now >= errand.give_up_at {
            let why = format!("{:?} without an answer", errand.stage);
            return self.end(now, &errand, After::Failed(why));
        }
        if waits && !errand.is_proceeding {
            self.again(format!("{:?}", errand.stage));
            self.line.send(self.plan.target, errand.message.clone());
            errand.repeat_after *= 2;
            if errand.stage != Stage::Calling {
                errand.repeat_after = errand.repeat_after.min(T2);
            }
        }
        if waits {
            self.agenda.add(now + errand.repeat_after, Task::Repeat(branch));
        }
        self.errands.keep(errand);
    }

    fn hear(&mut self, heard: &[(SocketAddrV4, Bytes)]) -> Outcome {
        let now = Instant::now();
        for (from, bytes) in heard {
            let Ok(text) = str::from_utf8(bytes) else { continue };
            if let Some(status) = status(text) {
                self.hear_answer(now, status, text)?;
                continue;
            }
            let reaction = self.called.handle_request(now, *from, text)?;
            for reply in reaction.replies {
                self.line.send(*from, reply);
            }
            if let Some((at, id)) = reaction.look_at {
                self.agenda.add(at, Task::RepeatAnswer(id));
            }
            self.talk(reaction.talks);
        }
        Ok(())
    }

    fn talk(&self, phone: Option<sound::Phone>) {
        let talking = &self.shared.talking;
        talking.lock().unwrap_or_else(PoisonError::into_inner).extend(phone);
    }

    fn hear_answer(&mut self, now: Instant, status: u16, text: &str) -> Outcome {
        let Some(branch) = Branch::find(text) else { return Ok(()) };
        let Some(mut errand) = self.errands.take(branch) else { return Ok(()) };
        let is_waited_for = errand.branch == branch && errand.stage != Stage::Talking;
        if !is_waited_for {
            self.acknowledge_again(&errand, status, text);
            self.errands.keep(errand);
            return Ok(());
        }
        if status < 200 {
            errand.is_proceeding = errand.stage == Stage::Calling;
            self.errands.keep(errand);
            return Ok(());
        }
        let after = match (errand.stage, status) {
            (Stage::Calling, 200..=299) => self.answered(now, &mut errand, text),
            (Stage::Calling, _) => self.refused(now, &mut errand, status, text)?,
            (Stage::Preparing | Stage::Registering, 401 | 407) if errand.challenges < 3 => {
                match self.learn(&mut errand, status, text) {
                    true => {
                        self.register_again(now, &mut errand);
                        After::GoesOn
                    }
                    false => After::Failed("a challenge without MD5".to_owned()),
                }
            }
            (_, 200..=299) => After::Done,
            (stage, status) => After::Failed(format!("{stage:?} {status}")),
        };
        match after {
            After::GoesOn => self.errands.keep(errand),
            After::Done | After::Failed(_) => self.end(now, &errand, after),
        }
        Ok(())
    }

    fn register_again(&mut self, now: Instant, errand: &mut Errand) {
        errand.branch.turn += 1;
        let Some(phone) = self.phones.get_mut(errand.phone) else { return };
        let (from, expires) = (self.line.address(), errand.expires);
        let message = phone.register(from, errand.branch, Showing::Password, expires);
        self.ask(now, errand, message);
    }

    /// Takes the challenge in an answer, if there is one with MD5.
    fn learn(&mut self, errand: &mut Errand, status: u16, text: &str) -> bool {
        errand.challenges += 1;
        let (name, asker) = match status {
            407 => ("Proxy-Authenticate", Asker::Proxy),
            _ => ("WWW-Authenticate", Asker::Registrar),
        };
        let mut values = lines(text).filter_map(|line| value_of(line, name));
        let value = values.find(|value| !value.contains("SHA-256"));
        let (Some(value), Some(phone)) = (value, self.phones.get_mut(errand.phone)) else {
            return false;
        };
        phone.learn(asker, value)
    }

    fn refused(
        &mut self,
        now: Instant,
        errand: &mut Errand,
        status: u16,
        text: &str,
    ) -> Outcome<After> {
        let Some(phone) = self.phones.get(errand.phone) else { return Ok(After::GoesOn) };
        let to = header(text, "To").unwrap_or_default();
        let dialog = &errand.call.dialog;
        let from = self.line.address();
        let ack = phone.acknowledge_refusal(from, errand.branch, dialog, to, dialog.cseq);
        errand.call.refusal_ack = Bytes::from(ack);
        self.line.send(self.plan.target, errand.call.refusal_ack.clone());
        let is_challenge = matches!(status, 401 | 407) && errand.challenges < 3;
        if !is_challenge || !self.learn(errand, status, text) {
            return Ok(After::Failed(format!("Calling {status}")));
        }
        errand.branch.turn += 1;
        errand.call.dialog.cseq += 1;
        self.invite(now, errand, Showing::Password)?;
        Ok(After::GoesOn)
    }

    fn answered(&mut self, now: Instant, errand: &mut Errand, text: &str) -> After {
        let dialog = &mut errand.call.dialog;
        dialog.to = header(text, "To").unwrap_or_default().to_owned();
        dialog.target = header(text, "Contact").map(uri).unwrap_or_default().to_owned();
        let recorded = lines(text).filter_map(|line| value_of(line, "Record-Route"));
        let recorded = recorded.flat_map(|value| value.split(','));
        dialog.routes = recorded.map(|hop| hop.trim().to_owned()).collect();
        dialog.routes.reverse();
        errand.stage = Stage::Talking;
        if let Some(phone) = self.phones.get(errand.phone) {
            let turn = errand.branch.turn.wrapping_add(100);
            let branch = Branch { turn, ..errand.branch };
            let dialog = &errand.call.dialog;
            let ack = phone.within(self.line.address(), branch, dialog, "ACK", dialog.cseq);
            errand.call.answer_ack = Bytes::from(ack);
            self.line.send(self.plan.target, errand.call.answer_ack.clone());
        }
        self.note_delay(now, errand);
        self.shared.up.fetch_add(1, Ordering::Relaxed);
        if let (Some(socket), Some(port)) = (errand.call.socket.take(), sound_port(text)) {
            let target = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into();
            self.talk(Some(sound::Phone::new(socket, target)));
        }
        if let Work::Call(lasts_for) = self.plan.work {
            self.agenda.add(now + lasts_for, Task::HangUp(errand.branch));
        }
        After::GoesOn
    }

    /// An answer that has come before: its acknowledgement was lost.
    fn acknowledge_again(&mut self, errand: &Errand, status: u16, text: &str) {
        let is_of_invite = header(text, "CSeq").is_some_and(|cseq| cseq.ends_with("INVITE"));
        let ack = match status {
            200..=299 => &errand.call.answer_ack,
            _ => &errand.call.refusal_ack,
        };
        if is_of_invite && status >= 200 && !ack.is_empty() {
            self.line.send(self.plan.target, ack.clone());
        }
    }

    fn note_delay(&mut self, now: Instant, errand: &Errand) {
        let burst = matches!(self.plan.pace, Pace::Burst(_));
        if burst || self.shared.phase() == Phase::Counting {
            let micros = now.duration_since(errand.began_at).as_micros();
            self.report.delays.push(u32::try_from(micros).unwrap_or(u32::MAX));
        }
    }

    fn end(&mut self, now: Instant, errand: &Errand, after: After) {
        self.errands.release(errand);
        match after {
            After::GoesOn => {}
            After::Failed(why) => {
                self.fail(&why, 1);
                match self.plan.pace {
                    Pace::Burst(_) if errand.stage == Stage::Registering => {
                        let at = now + TRIES_AGAIN_AFTER;
                        self.agenda.add(at, Task::TryAgain(errand.phone));
                    }
                    _ => drop(self.shared.done.fetch_add(1, Ordering::Relaxed)),
                }
            }
            After::Done => {
                if let Some(phone) = self.phones.get_mut(errand.phone)
                    && matches!(errand.stage, Stage::Preparing | Stage::Registering)
                {
                    phone.is_bound = errand.expires > 0;
                }
                if errand.stage == Stage::Preparing {
                    return;
                }
                if errand.stage != Stage::HangingUp {
                    self.note_delay(now, errand);
                }
                self.shared.done.fetch_add(1, Ordering::Relaxed);
                self.report.done += u64::from(self.shared.phase() == Phase::Counting);
            }
        }
    }

    fn again(&mut self, what: String) {
        *self.report.repeated.entry(what).or_default() += 1;
    }

    fn fail(&mut self, why: &str, count: usize) {
        *self.report.failed.entry(why.to_owned()).or_default() += count as u64;
    }
}
