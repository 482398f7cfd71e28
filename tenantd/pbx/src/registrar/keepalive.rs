//! Keeps a phone behind a router reachable: asks it often enough that the router remembers the way,
//! learns how often that is, and notices when nobody answers any more.
//!
//! RFC 5626 §3.5 (keepalives), RFC 4787 §4.3 (how long a router remembers: two minutes, it says; ten
//! seconds, some do), RFC 3261 §11 (OPTIONS). A datagram of two line ends would keep the way open
//! too, if the router lets what comes in count; but only an answer proves it, and goes out.
//!
//! Each longer pause is an experiment, and one that fails makes the phone deaf until it registers
//! again. So we begin with a pause that every router survives, and try a longer one only when the
//! phone is about to register by itself anyway.

use std::time::Duration;

use crate::chance::Chance;
use crate::moment::Moment;

/// Pauses that are tried, the safest first.
const PAUSES: [Duration; 5] = [
    Duration::from_secs(10),
    Duration::from_secs(25),
    Duration::from_secs(45),
    Duration::from_secs(75),
    Duration::from_secs(110),
];

/// How soon after it registered a phone is asked for the first time: while its router surely
/// remembers, so that one that answers no OPTIONS at all is found out.
const FIRST_WITHIN: Duration = Duration::from_secs(8);

/// When a question is asked again, counted from the one before it; then it has failed. Shorter than
/// RFC 3261 §17.1.2 has it: nobody waits, and a router that forgets in 12 s must not.
const AGAIN_AFTER: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_millis(1_000),
    Duration::from_millis(2_000),
    Duration::from_millis(2_500),
];

/// So many questions in a row without any answer, and nobody is there.
const MOST_FAILURES: u8 = 3;

/// Who keeps its own way open is given so long from one sign of it to the next.
const LEFT_ALONE_FOR: Duration = Duration::from_secs(45);

/// How long before a phone's own REGISTER an experiment ends: it fails for no longer.
const JUST_BEFORE: Duration = Duration::from_secs(2);

/// How often a phone that is not there is asked whether it has come back.
const BACK_ASKED_EVERY: Duration = Duration::from_secs(30);

/// How soon it is looked again whether the node is back that a phone registered at.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// A phone that registers again sooner has not done so by its own clock, and later none knows.
const RETURNS: std::ops::Range<Duration> = Duration::from_secs(20)..Duration::from_secs(7_200);

/// One phone's way, kept open.
#[derive(Debug)]
pub struct Keepalive {
    state: State,
    answers: Answers,
    /// Which pause it is known to survive.
    survives: u8,
    /// Which pause has not failed yet.
    may_survive: u8,
    registered_at: Moment,
    /// How long after a REGISTER its next one came.
    returns_after: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing is asked.
    Resting { ask_at: Moment, pause: Pause },
    /// Something is, so often already.
    Asking { times: u8, next_at: Moment, failures: u8, pause: Pause },
    /// Nobody is there.
    Lost { ask_at: Moment },
}

/// What is found out by asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pause {
    /// Nothing new about the router.
    Known,
    /// Whether it remembers for longer than was known.
    Longer,
}

/// What a phone does with OPTIONS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answers {
    /// Nobody knows yet.
    Perhaps,
    /// It has answered once.
    Yes,
    /// It has never answered, though its way was open: its silence means nothing.
    No,
}

/// From where a phone registered again, compared with before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// From the same address and port.
    Same,
    /// From another port: its router had forgotten it.
    NewPort,
    /// From another address: what was learned was about another router.
    NewAddress,
}

/// What is to be done when a deadline has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Ask something new.
    Ask,
    /// Ask the same again.
    AskAgain,
    /// Send two line ends: they keep the way open, and nobody need answer.
    Poke,
    /// Nobody is there: do not call the phone, and ask something new.
    Lost,
}

/// What an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The phone is there, as was believed.
    Alive,
    /// It was believed to be gone.
    Back,
}

impl Keepalive {
    /// For a phone that has just registered, or was found in the database.
    pub fn new(now: Moment, chance: &mut Chance) -> Self {
        Self {
            state: State::Resting { ask_at: soon(now, chance), pause: Pause::Known },
            answers: Answers::Perhaps,
            survives: 0,
            may_survive: LONGEST,
            registered_at: now,
            returns_after: None,
        }
    }

    /// The phone registered again.
    pub fn handle_register(&mut self, now: Moment, chance: &mut Chance, came: Came) {
        let after = now - self.registered_at;
        self.returns_after = Some(after).filter(|after| RETURNS.contains(after));
        self.registered_at = now;
        if let State::Asking { pause: Pause::Longer, times: 3.., .. } = self.state {
            self.may_survive = self.survives;
        }
        match came {
            Came::Same => {}
            Came::NewPort => {
                self.survives = self.survives.saturating_sub(1);
                self.may_survive = self.survives;
            }
            Came::NewAddress => (self.survives, self.may_survive) = (0, LONGEST),
        }
        if self.answers == Answers::Yes && came == Came::Same {
            self.rest(now, chance);
        } else {
            self.answers = Answers::Perhaps;
            self.state = State::Resting { ask_at: soon(now, chance), pause: Pause::Known };
        }
    }

    /// The phone sent something to keep its way open by itself.
    pub fn handle_own_keepalive(&mut self, now: Moment) {
        match (self.state, self.answers) {
            (State::Resting { ask_at, .. }, Answers::Yes | Answers::No) => {
                let ask_at = ask_at.max(now + LEFT_ALONE_FOR);
                self.state = State::Resting { ask_at, pause: Pause::Known };
            }
            // Its datagrams come in, which does not say that ours arrive: it must answer once.
            (State::Resting { .. }, Answers::Perhaps) | (State::Asking { .. }, _) => {}
            (State::Lost { .. }, _) => self.state = State::Lost { ask_at: now },
        }
    }

    /// Nothing that we send goes out: the node is lost that the phone registered at. It is asked once
    /// that is back, and nothing is learned of its silence until then.
    pub fn handle_no_way(&mut self, now: Moment) {
        let ask_at = now + LOOK_AGAIN_AFTER;
        self.state = match self.state {
            State::Resting { .. } | State::Asking { .. } => {
                State::Resting { ask_at, pause: Pause::Known }
            }
            State::Lost { .. } => State::Lost { ask_at },
        };
    }

    /// The phone answered, whatever it said.
    pub fn handle_answer(&mut self, now: Moment, chance: &mut Chance) -> Heard {
        self.answers = Answers::Yes;
        let was = self.state;
        if let State::Asking { pause: Pause::Longer, .. } = was {
            self.survives = (self.survives + 1).min(self.may_survive);
        }
        self.rest(now, chance);
        match was {
            State::Resting { .. } | State::Asking { .. } => Heard::Alive,
            State::Lost { .. } => Heard::Back,
        }
    }

    /// When [`Self::handle_deadline`] is next due.
    pub fn deadline(&self) -> Moment {
        match self.state {
            State::Resting { ask_at, .. } | State::Lost { ask_at } => ask_at,
            State::Asking { next_at, .. } => next_at,
        }
    }

    /// A deadline has come.
    pub fn handle_deadline(&mut self, now: Moment, chance: &mut Chance) -> Option<Step> {
        if now < self.deadline() {
            return None;
        }
        match self.state {
            State::Resting { pause, .. } => match self.answers {
                Answers::Perhaps | Answers::Yes => {
                    self.state = asking(now, 0, pause);
                    Some(Step::Ask)
                }
                Answers::No => {
                    self.rest(now, chance);
                    Some(Step::Poke)
                }
            },
            State::Asking { times, failures, pause, .. } => {
                match AGAIN_AFTER.get(usize::from(times)) {
                    Some(after) => {
                        let next_at = now + *after;
                        self.state = State::Asking { times: times + 1, next_at, failures, pause };
                        Some(Step::AskAgain)
                    }
                    None => Some(self.fail(now, chance, failures + 1, pause)),
                }
            }
            State::Lost { .. } => {
                self.state = State::Lost { ask_at: now + BACK_ASKED_EVERY };
                Some(Step::Ask)
            }
        }
    }

    /// A question was asked often enough.
    fn fail(&mut self, now: Moment, chance: &mut Chance, failures: u8, pause: Pause) -> Step {
        match pause {
            Pause::Longer => self.may_survive = self.survives,
            Pause::Known => {
                self.survives = self.survives.saturating_sub(1);
                self.may_survive = self.survives;
            }
        }
        match self.answers {
            Answers::Perhaps | Answers::No if failures >= MOST_FAILURES => {
                self.answers = Answers::No;
                self.rest(now, chance);
                Step::Poke
            }
            Answers::Yes if failures >= MOST_FAILURES => {
                self.state = State::Lost { ask_at: now + BACK_ASKED_EVERY };
                Step::Lost
            }
            Answers::Perhaps | Answers::Yes | Answers::No => {
                self.state = asking(now, failures, Pause::Known);
                Step::Ask
            }
        }
    }

    /// The way is open now. Spread by chance, so that phones that came together drift apart.
    fn rest(&mut self, now: Moment, chance: &mut Chance) {
        let usual = pause(self.survives);
        let spread = u64::try_from(usual.as_micros() / 8).unwrap_or(0);
        let earlier = Duration::from_micros(chance.below(spread));
        self.state = match self.experiment(now, usual) {
            Some(experiment) => experiment,
            None => State::Resting { ask_at: now + (usual - earlier), pause: Pause::Known },
        };
    }

    /// A longer pause, if it would end just before the phone comes by itself; or the shorter one
    /// after which it would.
    fn experiment(&self, now: Moment, usual: Duration) -> Option<State> {
        if self.survives >= self.may_survive || self.answers != Answers::Yes {
            return None;
        }
        let longer = pause(self.survives + 1);
        let back_after = (self.registered_at + self.returns_after?) - now;
        let wait = back_after.checked_sub(longer)?;
        if wait <= JUST_BEFORE * 2 {
            return Some(State::Resting { ask_at: now + longer, pause: Pause::Longer });
        }
        let ask_at = now + (wait - JUST_BEFORE);
        (wait - JUST_BEFORE <= usual).then_some(State::Resting { ask_at, pause: Pause::Known })
    }
}

const LONGEST: u8 = PAUSES.len() as u8 - 1;

fn pause(number: u8) -> Duration {
    PAUSES.get(usize::from(number)).copied().unwrap_or(PAUSES[0])
}

fn asking(now: Moment, failures: u8, pause: Pause) -> State {
    State::Asking { times: 1, next_at: now + AGAIN_AFTER[0], failures, pause }
}

/// Many phones may have come at once: after a power cut, or with our own start.
fn soon(now: Moment, chance: &mut Chance) -> Moment {
    let within = u64::try_from(FIRST_WITHIN.as_micros()).unwrap_or(0);
    now + Duration::from_secs(1) + Duration::from_micros(chance.below(within))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Moment = Moment::from_secs(1_000_000);

    /// A phone behind a router, and the clock.
    struct World {
        now: Moment,
        chance: Chance,
        keepalive: Keepalive,
        /// How long the router remembers.
        remembers_for: Duration,
        /// When something last passed it.
        open_at: Moment,
        phone: Phone,
        registers_every: Option<Duration>,
        registered_at: Moment,
        /// When something was last sent, either way, and how long before each question that was.
        sent_at: Moment,
        pauses: Vec<u64>,
        pokes: usize,
        lost_at: Option<Moment>,
        back_at: Option<Moment>,
    }

    #[derive(PartialEq, Eq)]
    enum Phone {
        Answers,
        IgnoresOptions,
        Off,
    }

    impl World {
        fn new(remembers_for: u64, registers_every: Option<u64>) -> Self {
            let mut chance = Chance::from_seed([9; 32]);
            Self {
                now: START,
                keepalive: Keepalive::new(START, &mut chance),
                chance,
                remembers_for: Duration::from_secs(remembers_for),
                open_at: START,
                phone: Phone::Answers,
                registers_every: registers_every.map(Duration::from_secs),
                registered_at: START,
                sent_at: START,
                pauses: vec![],
                pokes: 0,
                lost_at: None,
                back_at: None,
            }
        }

        fn run_for(&mut self, seconds: u64) {
            let end = self.now + Duration::from_secs(seconds);
            loop {
                let registers_at = self.registers_every.map(|every| self.registered_at + every);
                let next = self.keepalive.deadline().min(registers_at.unwrap_or(end));
                if next >= end {
                    self.now = end;
                    return;
                }
                self.now = next;
                if registers_at == Some(next) && self.phone != Phone::Off {
                    (self.registered_at, self.open_at, self.sent_at) = (next, next, next);
                    self.keepalive.handle_register(next, &mut self.chance, Came::Same);
                    continue;
                }
                self.step();
            }
        }

        fn step(&mut self) {
            let Some(step) = self.keepalive.handle_deadline(self.now, &mut self.chance) else {
                panic!("woken for nothing")
            };
            match step {
                Step::Lost => self.lost_at = Some(self.now),
                Step::Poke => self.pokes += 1,
                Step::Ask => self.pauses.push((self.now - self.sent_at).as_secs()),
                Step::AskAgain => {}
            }
            self.sent_at = self.now;
            if self.is_open() {
                self.open_at = self.now;
                if self.phone == Phone::Answers && step != Step::Poke {
                    let heard = self.keepalive.handle_answer(self.now, &mut self.chance);
                    if heard == Heard::Back {
                        self.back_at = Some(self.now);
                    }
                }
            }
        }

        fn is_open(&self) -> bool {
            self.now - self.open_at < self.remembers_for
        }
    }

    #[test]
    fn a_router_that_forgets_in_12_seconds_never_gets_the_chance() {
        let mut world = World::new(12, None);
        world.run_for(3_600);
        assert_eq!(world.lost_at, None);
        assert!(world.is_open());
        assert!(world.pauses[1..].iter().all(|pause| (8..=10).contains(pause)));
    }

    #[test]
    fn longer_pauses_are_found_out_shortly_before_the_phone_comes_by_itself() {
        let mut world = World::new(60, Some(270));
        world.run_for(3_600);
        assert_eq!(world.lost_at, None);
        let pauses = &world.pauses;
        let usual = &pauses[pauses.len() - 20..];
        assert!(usual.iter().all(|pause| *pause <= 45), "{usual:?}");
        assert_eq!(pauses.iter().filter(|pause| **pause == 75).count(), 1, "tried once");
        assert_eq!(world.keepalive.survives, 2);
        assert_eq!(world.keepalive.may_survive, 2);
    }

    #[test]
    fn a_failed_experiment_costs_no_more_than_the_time_until_the_phone_comes_by_itself() {
        let mut world = World::new(12, Some(270));
        let (mut closed_for, mut longest) = (0, 0);
        for _ in 0..3_600 {
            world.run_for(1);
            closed_for = if world.is_open() { 0 } else { closed_for + 1 };
            longest = longest.max(closed_for);
        }
        assert!((1..=25).contains(&longest), "{longest} s");
        assert_eq!((world.keepalive.survives, world.lost_at), (0, None));
    }

    #[test]
    fn a_phone_that_is_gone_is_noticed_within_half_a_minute_and_found_again() {
        let mut world = World::new(300, None);
        world.run_for(100);
        world.phone = Phone::Off;
        let off_at = world.now;
        world.run_for(60);
        let lost_after = world.lost_at.unwrap() - off_at;
        assert!(lost_after <= Duration::from_secs(30), "{lost_after:?}");
        world.phone = Phone::Answers;
        let on_at = world.now;
        world.run_for(60);
        assert!(world.back_at.unwrap() - on_at <= BACK_ASKED_EVERY);
        assert_eq!(world.keepalive.handle_answer(world.now, &mut world.chance), Heard::Alive);
    }

    #[test]
    fn a_phone_that_never_answers_options_is_poked_and_never_given_up() {
        let mut world = World::new(15, None);
        world.phone = Phone::IgnoresOptions;
        world.run_for(3_600);
        assert_eq!(world.lost_at, None);
        assert!(world.is_open() && world.pokes > 300, "{}", world.pokes);
        world.phone = Phone::Answers;
        world.keepalive.handle_register(world.now, &mut world.chance, Came::Same);
        world.run_for(60);
        assert_eq!(world.keepalive.answers, Answers::Yes, "it is asked again when it registers");
    }

    #[test]
    fn a_question_is_asked_four_times_within_six_seconds() {
        let mut world = World::new(300, None);
        world.run_for(20);
        world.phone = Phone::Off;
        let mut sent_at = vec![];
        let first_at = world.keepalive.deadline();
        while world.keepalive.deadline() < first_at + Duration::from_secs(6) {
            world.now = world.keepalive.deadline();
            sent_at.push((world.now - first_at).as_millis());
            world.step();
        }
        assert_eq!(sent_at, [0, 500, 1_500, 3_500]);
        assert_eq!(world.keepalive.deadline(), first_at + Duration::from_secs(6));
    }

    #[test]
    fn who_keeps_its_way_open_itself_is_left_alone() {
        let mut world = World::new(60, None);
        world.run_for(60);
        let asked = world.pauses.len();
        for _ in 0..100 {
            world.keepalive.handle_own_keepalive(world.now);
            world.run_for(20);
        }
        assert_eq!(world.pauses.len(), asked);
        world.run_for(60);
        assert!(world.pauses.len() > asked, "it has stopped");
    }

    #[test]
    fn one_that_keeps_its_way_open_must_still_have_answered_once() {
        let mut world = World::new(60, None);
        for _ in 0..10 {
            world.keepalive.handle_own_keepalive(world.now);
            world.run_for(2);
        }
        assert_eq!(world.pauses.len(), 1);
    }

    #[test]
    fn a_new_port_shortens_the_pause_and_a_new_address_begins_anew() {
        let mut world = World::new(300, Some(270));
        world.run_for(3_600);
        assert_eq!(world.keepalive.survives, LONGEST);
        world.keepalive.handle_register(world.now, &mut world.chance, Came::NewPort);
        let Keepalive { survives, may_survive, .. } = world.keepalive;
        assert_eq!((survives, may_survive), (LONGEST - 1, LONGEST - 1));
        world.keepalive.handle_register(world.now, &mut world.chance, Came::NewAddress);
        let Keepalive { survives, may_survive, .. } = world.keepalive;
        assert_eq!((survives, may_survive), (0, LONGEST));
    }

    #[test]
    fn many_that_came_at_once_are_not_asked_at_once() {
        let mut chance = Chance::from_seed([4; 32]);
        let mut seconds = [0_u32; 10];
        for _ in 0..10_000 {
            let first_at = Keepalive::new(START, &mut chance).deadline();
            seconds[(first_at - START).as_secs() as usize] += 1;
        }
        assert!(seconds.iter().all(|count| *count < 1_500), "{seconds:?}");
    }
}
