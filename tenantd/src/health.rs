//! Whether this node should be given work, in words for people and load balancers.

use std::sync::{Mutex, PoisonError};

/// How far the process is, and what it lacks. Shared by those who know and those who ask.
#[derive(Debug)]
pub struct Health {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    postgres: Postgres,
    objects: Objects,
}

/// How far the process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not all is open yet.
    Starting,
    /// It serves.
    Serving,
    /// It lets go of what it has, and takes nothing new.
    Draining,
}

/// Whether Postgres answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Postgres {
    /// It does.
    Here,
    /// It does not: calls go on from memory and journal.
    Away,
}

/// Whether the object store answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objects {
    /// It does.
    Here,
    /// It does not: what it shall have waits in the outbox.
    Away,
}

impl Health {
    /// At the start.
    pub fn new() -> Self {
        let state =
            State { phase: Phase::Starting, postgres: Postgres::Away, objects: Objects::Here };
        Self { state: Mutex::new(state) }
    }

    /// The process is that far.
    pub fn enter(&self, phase: Phase) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).phase = phase;
    }

    /// Postgres answered, or did not. Returns what was known before.
    pub fn saw(&self, postgres: Postgres) -> Postgres {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut state.postgres, postgres)
    }

    /// The object store answered, or did not. Returns what was known before.
    pub fn saw_objects(&self, objects: Objects) -> Objects {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut state.objects, objects)
    }

    /// For `/readyz`: `Ok` if work may come.
    ///
    /// Without Postgres or the object store a node still serves: sending its phones elsewhere would end
    /// their calls.
    ///
    /// # Errors
    /// Why no work should come.
    pub fn words(&self) -> Result<&'static str, &'static str> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match (state.phase, state.postgres, state.objects) {
            (Phase::Serving, Postgres::Here, Objects::Here) => Ok("ok"),
            (Phase::Serving, Postgres::Away, Objects::Here) => Ok("degraded: postgres away"),
            (Phase::Serving, Postgres::Here, Objects::Away) => Ok("degraded: object store away"),
            (Phase::Serving, Postgres::Away, Objects::Away) => {
                Ok("degraded: postgres away, object store away")
            }
            (Phase::Starting, Postgres::Here, _) => Err("starting"),
            (Phase::Starting, Postgres::Away, _) => Err("starting: waiting for postgres"),
            (Phase::Draining, _, _) => Err("draining"),
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_taken_only_while_serving_with_or_without_postgres() {
        let health = Health::new();
        assert_eq!(health.words(), Err("starting: waiting for postgres"));
        health.saw(Postgres::Here);
        assert_eq!(health.words(), Err("starting"));
        health.enter(Phase::Serving);
        assert_eq!(health.words(), Ok("ok"));
        assert_eq!(health.saw(Postgres::Away), Postgres::Here);
        assert_eq!(health.words(), Ok("degraded: postgres away"));
        assert_eq!(health.saw_objects(Objects::Away), Objects::Here);
        assert_eq!(health.words(), Ok("degraded: postgres away, object store away"));
        health.saw(Postgres::Here);
        assert_eq!(health.words(), Ok("degraded: object store away"));
        health.enter(Phase::Draining);
        assert_eq!(health.words(), Err("draining"));
    }
}
