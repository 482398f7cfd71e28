//! A lane's hands: what its switch wishes is gathered through a turn, and done at its end.
//!
//! What must be remembered is in the journal before anything else of the turn is done.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use media::Media;
use pbx::board::Change;
use pbx::flow::{Flow, FlowId, InnerPath, Link, Path};
use pbx::id::NodeId;
use pbx::media::Wish;
use pbx::output::Output;
use pbx::record::Record;
use pbx::story::{Event, Note};
use pbx::tenant::directory::Directory;
use tokio::sync::mpsc;
use tracing::field::display;
use tracing::{debug, info, warn};

use super::LaneId;
use super::sound::Sounds;
use crate::boards::Gathered;
use crate::journal::LaneJournal;
use crate::metrics::{Count, Tally};
use crate::net::connections::{Connections, Sent};
use crate::net::link::frame::Frame;
use crate::net::link::{Links, Unsent};
use crate::net::udp::{Socket, UdpPath, Writer};
use crate::write_behind::{Handed, Outbound};

/// Where a lane's wishes go.
pub struct World {
    /// This node.
    pub node: NodeId,
    /// Which lane.
    pub lane: LaneId,
    /// Its sockets, one a listener.
    pub sockets: Vec<Socket>,
    /// This node's connections.
    pub connections: Arc<Connections>,
    /// Its journal, and whoever takes it to Postgres.
    pub memory: Memory,
    /// The ways to other nodes.
    pub links: Arc<Links>,
    /// All sound.
    pub media: Arc<Media>,
    /// Who hears of which sound.
    pub sounds: Arc<Sounds>,
    /// What it shows.
    pub shown: Arc<Gathered>,
    /// Where it counts.
    pub tally: Arc<Tally>,
    /// Where what it no longer needs is dropped.
    pub retired: mpsc::Sender<Box<Directory>>,
}

/// What a lane remembers, and how it gets to Postgres.
pub struct Memory {
    /// The journal.
    pub journal: LaneJournal,
    /// The way to Postgres.
    pub outbound: Outbound,
    /// Whether the last write went well: one line says that it no longer does.
    pub disk: Disk,
}

/// Whether the journal can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// It can.
    Works,
    /// It cannot: records are in memory alone.
    Fails,
}

/// The wishes of a turn.
#[derive(Debug, Default)]
pub struct Wishes {
    here: NodeId,
    records: Vec<Record>,
    datagrams: Vec<(UdpPath, Bytes)>,
    /// On paths of other nodes.
    away: Vec<(Path, Bytes)>,
    streams: Vec<(FlowId, Bytes)>,
    /// Connections that something was to be sent on, and that are gone.
    gone: Vec<FlowId>,
    inner: VecDeque<(InnerPath, Bytes)>,
    sound: Vec<Wish>,
    shows: Vec<Change>,
    notes: Vec<Note>,
    #[expect(clippy::vec_box, reason = "it is handed on as it came")]
    retired: Vec<Box<Directory>>,
}

impl Wishes {
    /// No wishes yet, on this node.
    pub fn on(here: NodeId) -> Self {
        Self { here, ..Self::default() }
    }

    /// Takes a wish in.
    pub fn add(&mut self, output: Output) {
        match output {
            Output::Remember(record) => self.records.push(record),
            Output::Send { flow: Flow::Net(path), bytes } => self.send(path, bytes),
            Output::Send { flow: Flow::Inner(path), bytes } => self.inner.push_back((path, bytes)),
            Output::Media(wish) => self.sound.push(wish),
            Output::Show(change) => self.shows.push(change),
            Output::Note(note) => self.notes.push(note),
            Output::Retire(directory) => self.retired.push(directory),
        }
    }

    /// A message for a peer, on a path of any node.
    pub fn send(&mut self, path: Path, bytes: Bytes) {
        match path.node == self.here || path.node == NodeId::default() {
            true => self.put_out(path, bytes),
            false => self.away.push((path, bytes)),
        }
    }

    /// A message for a peer, on a path of this node.
    pub fn put_out(&mut self, path: Path, bytes: Bytes) {
        match path.stream() {
            None => self.datagrams.push((UdpPath { local: path.local, peer: path.peer }, bytes)),
            Some(flow) => self.streams.push((flow, bytes)),
        }
    }

    /// A connection that something was to be sent on, and that is gone.
    pub fn next_gone(&mut self) -> Option<FlowId> {
        self.gone.pop()
    }
}

impl World {
    /// Does all that was wished; what goes to another tenant is handed to `inner`.
    pub fn perform(
        &mut self,
        wishes: &mut Wishes,
        writer: &mut Writer,
        inner: impl FnMut((InnerPath, Bytes)),
    ) {
        self.remember(std::mem::take(&mut wishes.records));
        self.forward(wishes);
        self.send(&mut wishes.datagrams, writer);
        self.send_on_streams(wishes);
        wishes.inner.drain(..).for_each(inner);
        if !wishes.sound.is_empty() {
            self.sounds.expect(self.lane, &wishes.sound);
            self.media.wish_all(wishes.sound.drain(..));
        }
        if !wishes.shows.is_empty() {
            self.shown.gather(wishes.shows.drain(..));
        }
        for note in wishes.notes.drain(..) {
            self.tally.note(&note.event);
            tell(&note);
        }
        for directory in wishes.retired.drain(..) {
            // With no room there it is dropped here, which costs this turn a moment.
            let _ = self.retired.try_send(directory);
        }
    }

    fn remember(&mut self, records: Vec<Record>) {
        if records.is_empty() {
            return;
        }
        let count = records.len() as u64;
        let at = match self.memory.journal.append(&records) {
            Ok(at) => {
                self.tally.add(Count::JournalRecords, count);
                self.memory.disk = Disk::Works;
                Some(at)
            }
            Err(error) => {
                if self.memory.disk == Disk::Works {
                    warn!(%error, "what happens is kept in memory alone");
                }
                self.memory.disk = Disk::Fails;
                None
            }
        };
        match self.memory.outbound.hand_over(at, records) {
            Handed::Taken | Handed::LeftInJournal => {}
            Handed::Lost => self.tally.add(Count::RecordsLost, count),
        }
    }

    /// A connection of ours is gone: homes elsewhere may believe in it.
    pub fn tell_peers_gone(&self, flow: FlowId) {
        // A peer takes only what is said of our own.
        if flow.node == self.node {
            self.links.send_all(&Frame::FlowGone(flow));
        }
    }

    /// Hands other nodes what goes out there. A datagram's address may have come over to us together
    /// with the tenants of a node that is lost; a connection never does.
    fn forward(&mut self, wishes: &mut Wishes) {
        for (path, bytes) in std::mem::take(&mut wishes.away) {
            let frame = Frame::Send { path, bytes: bytes.clone() };
            match self.links.send(path.node, frame) {
                Ok(()) => {}
                Err(Unsent::Unlinked) if path.link == Link::Udp => wishes.put_out(path, bytes),
                Err(Unsent::Unlinked | Unsent::Full) => self.tally.count(Count::SendFailed),
            }
        }
    }

    fn send(&mut self, datagrams: &mut Vec<(UdpPath, Bytes)>, writer: &mut Writer) {
        self.count_sent(datagrams);
        let mut failed = 0;
        // One pass a listener; nearly always there is one, and this copies nothing.
        for run in datagrams.chunk_by(|(a, _), (b, _)| self.through(a) == self.through(b)) {
            let socket = run.first().and_then(|(path, _)| self.sockets.get(self.through(path)));
            failed += match socket {
                Some(socket) => writer.write(socket, run).failed,
                None => run.len(),
            };
        }
        if failed > 0 {
            self.tally.add(Count::SendFailed, failed as u64);
        }
        datagrams.clear();
    }

    fn send_on_streams(&mut self, wishes: &mut Wishes) {
        self.count_sent(&wishes.streams);
        for (flow, bytes) in wishes.streams.drain(..) {
            match self.connections.send(flow, bytes) {
                Sent::Taken => {}
                Sent::Gone => {
                    self.tally.count(Count::SendFailed);
                    if !wishes.gone.contains(&flow) {
                        wishes.gone.push(flow);
                    }
                }
            }
        }
    }

    fn count_sent<T>(&self, messages: &[(T, Bytes)]) {
        let responses = messages.iter().filter(|(_, bytes)| is_response(bytes)).count();
        // No SIP message begins with such a byte.
        let stun = messages.iter().filter(|(_, bytes)| matches!(bytes.first(), Some(0 | 1)));
        let requests = messages.len() - responses - stun.count();
        self.tally.add(Count::ResponsesSent, responses as u64);
        self.tally.add(Count::RequestsForwarded, requests as u64);
    }

    /// The listener that a path goes through; one that is gone is replaced by the first.
    fn through(&self, path: &UdpPath) -> usize {
        self.sockets.iter().position(|socket| socket.serves(path.local)).unwrap_or(0)
    }
}

fn is_response(bytes: &[u8]) -> bool {
    bytes.starts_with(b"SIP/2.0 ")
}

/// Two lines a call in the log; the rest only for who looks closely.
fn tell(note: &Note) {
    let (tenant, call) = (note.tenant, note.call.map(display));
    match &note.event {
        Event::Began { caller, dialled } => info!(%tenant, call, caller, dialled, "call begun"),
        Event::Ended { ending, status, talked_s } => {
            info!(%tenant, call, ?ending, status, talked_s, "call ended");
        }
        event => debug!(%tenant, call, ?event, "note"),
    }
}
