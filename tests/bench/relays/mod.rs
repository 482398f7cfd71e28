//! Relays alone, without signalling: ours as a process of its own, and rtpengine beside it.
//!
//! Both are told of the same calls: two phones, each with its codec and its encryption.

mod ng;
mod ours;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kit::failure::{Failure, Outcome};
use kit::program::Program;
use pbx::media::{CodecKind, Key};

use crate::meter::Tree;
use crate::peers::rtpengine::Rtpengine;
use crate::servers::{self, local};
pub(crate) use ours::serve;

/// What `figures` is told to be such a process.
pub(crate) const SERVE: &str = "relay";
/// Both have these; they do not run at the same time.
const PORTS: RangeInclusive<u16> = 26_000..=54_000;
const OURS: u16 = 22_223;
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Who relays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Ours,
    Rtpengine,
}

/// A phone, as its session description has it.
pub(crate) struct Leg {
    pub(crate) at: SocketAddr,
    pub(crate) codec: CodecKind,
    pub(crate) payload_type: u8,
    /// What it seals with.
    pub(crate) key: Option<Key>,
}

/// What a phone is told.
pub(crate) struct Answer {
    pub(crate) target: SocketAddr,
    /// What it is to open with.
    pub(crate) key: Option<Key>,
}

/// A running relay.
pub(crate) struct Relay {
    running: Running,
    socket: UdpSocket,
    calls: u64,
}

enum Running {
    Ours(Program),
    Rtpengine(Rtpengine),
}

impl Relay {
    /// Starts one in an empty folder.
    pub(crate) fn start(who: Who, folder: &Path) -> Outcome<Self> {
        servers::empty(folder)?;
        let (running, address) = match who {
            Who::Ours => (Running::Ours(start_ours(folder)?), local(OURS)),
            Who::Rtpengine => {
                (Running::Rtpengine(Rtpengine::start(folder, &PORTS)?), Rtpengine::address())
            }
        };
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(address)?;
        socket.set_read_timeout(Some(ANSWERS_WITHIN))?;
        Ok(Self { running, socket, calls: 0 })
    }

    /// Begins a call between two phones: its number, and what each phone is told.
    pub(crate) fn connect(&mut self, legs: &[Leg; 2]) -> Outcome<(u64, [Answer; 2])> {
        self.calls += 1;
        let answers = match self.running {
            Running::Ours(_) => ours::connect(&self.socket, self.calls, legs)?,
            Running::Rtpengine(_) => ng::connect(&self.socket, self.calls, legs)?,
        };
        for (leg, answer) in legs.iter().zip(&answers) {
            let both = (&leg.key, &answer.key);
            let (Some(said), Some(heard)) = both else { continue };
            // Who hands on the other phone's key need not open anything.
            if legs.iter().any(|leg| leg.key.as_ref() == Some(heard)) || said.suite != heard.suite {
                return Err(Failure::new("the relay has no key of its own"));
            }
        }
        Ok((self.calls, answers))
    }

    /// A phone enters a conference; only ours has any.
    pub(crate) fn enter(&mut self, conference: u64, seat: u16, leg: &Leg) -> Outcome<Answer> {
        match self.running {
            Running::Ours(_) => ours::enter(&self.socket, conference, seat, leg),
            Running::Rtpengine(_) => Err(Failure::new("rtpengine mixes nothing here")),
        }
    }

    /// Ends a call.
    pub(crate) fn part(&mut self, call: u64) -> Outcome {
        match self.running {
            Running::Ours(_) => ours::part(&self.socket, call),
            Running::Rtpengine(_) => ng::part(&self.socket, call),
        }
    }

    /// What it counted, if it says so.
    pub(crate) fn counted(&self) -> Outcome<Option<String>> {
        match self.running {
            Running::Ours(_) => ours::counted(&self.socket).map(Some),
            Running::Rtpengine(_) => Ok(None),
        }
    }

    /// Its processes.
    pub(crate) fn tree(&self) -> Tree {
        match &self.running {
            Running::Ours(program) => {
                Tree { name: "our relay", root: program.pid(), without: None }
            }
            Running::Rtpengine(rtpengine) => rtpengine.tree(),
        }
    }
}

fn start_ours(folder: &Path) -> Outcome<Program> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(SERVE);
    let mut program = Program::start_obeying(&mut command, &folder.join("relay.log"))?;
    program.wait_for_line("ready", ANSWERS_WITHIN)?;
    Ok(program)
}

/// Asks and waits for the answer.
fn ask(socket: &UdpSocket, question: &[u8]) -> Outcome<Vec<u8>> {
    let mut room = [0; 16_384];
    socket.send(question)?;
    let len = socket.recv(&mut room)?;
    Ok(room.get(..len).unwrap_or_default().to_vec())
}

fn port_of_ours() -> SocketAddrV4 {
    local(OURS)
}
