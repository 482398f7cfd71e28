//! Performs what a switch of the virtual world wishes: its messages leave, its records are kept, its
//! sound is played.

use std::net::SocketAddr;

use bytes::Bytes;
use pbx::flow::{Flow, InnerPath, Path};
use pbx::input::{Input, Placement};
use pbx::media::{Clip, Event as Sound, Heard, Kept, Often, PlayEnd, PlayId, Side, Wish};
use pbx::output::Output;
use pbx::record::{Memory, Record, Wait};
use pbx::sip::message::Message;

use super::{Closing, World, summary};
use crate::sim::network::Datagram;
use crate::sim::phone::Phone;

impl World {
    /// SIP as data: from one tenant's switch to the other's, wherever it is.
    pub(super) fn hand_over(&mut self, node: usize, path: InnerPath, bytes: Bytes) {
        let message = Message::parse(bytes).expect("a switch writes what can be read");
        let (tenant, flow) = (path.there, Flow::Inner(path.reversed()));
        assert!(![path.here, tenant].contains(&self.twins.tenant()), "a twin takes part: {path:?}");
        let by = Placement::Inner;
        self.forward(node, tenant, Input::Received { tenant, by, flow, message });
    }

    pub(super) fn perform(&mut self, node: usize, output: Output) {
        match output {
            Output::Remember(record) => self.remember(node, record),
            Output::Send { flow, bytes } => self.send(node, flow, bytes),
            Output::Media(wish) => self.sound(node, wish),
            Output::Note(note) if note.tenant == self.twins.tenant() => {
                self.twins.hear(&note.event);
            }
            Output::Note(note) => {
                self.twins.check_unnamed(&format!("{note:?}"));
                self.notes.push(note);
            }
            // A home that was given up shows nobody anything.
            Output::Show(change) if self.home(change.tenant) != node => {}
            Output::Show(change) if change.tenant == self.twins.tenant() => {
                self.twins.show(change.what);
            }
            Output::Show(change) => {
                self.boards.entry(change.tenant).or_default().apply(change.what);
            }
            Output::Retire(_) => {}
        }
    }

    pub(super) fn send(&mut self, node: usize, flow: Flow, bytes: Bytes) {
        match flow {
            Flow::Net(path) if !self.is_linked(node, path.node) => {}
            Flow::Net(Path { local, peer, .. }) if self.twins.live_at(peer) => {
                self.twins.send(self.now, Datagram { from: local, to: peer, bytes });
            }
            Flow::Net(path @ Path { local, peer, .. }) => {
                let open = self.connections.get(&peer).copied();
                let number = path.stream().map(|stream| stream.number);
                if open.is_some() && open != number {
                    return;
                }
                self.twins.check_unnamed(&String::from_utf8_lossy(&bytes));
                let name = self.name_of(peer).unwrap_or_else(|| peer.to_string());
                self.say(&format!("pbx -> {name}"), summary(&bytes));
                self.network.send(self.now, Datagram { from: local, to: peer, bytes });
            }
            Flow::Inner(path) => {
                self.say("pbx -> pbx", summary(&bytes));
                self.stages[node].inner.push_back((path, bytes));
            }
        }
    }

    /// The phone that has this address, or whose router has it.
    pub(super) fn name_of(&self, peer: SocketAddr) -> Option<String> {
        let behind = self.routers.iter().find(|(_, router)| router.outside == peer);
        let open =
            |phone: &&Phone| phone.address == peer && !self.routers.contains_key(&phone.name);
        let phone = || self.phones.values().find(open).map(|phone| phone.name.clone());
        behind.map(|(name, _)| name.clone()).or_else(phone)
    }

    fn remember(&mut self, node: usize, record: Record) {
        match (record.wait, self.commit_after) {
            (Wait::ForCommit, Some(after)) => {
                self.stages[node].kept.push_back((self.now + after, record));
            }
            (Wait::No, _) if !self.gather_for.is_zero() => {
                self.stages[node].kept.push_back((self.now + self.gather_for, record));
            }
            (Wait::ForCommit, None) | (Wait::No, _) => self.store(node, &record),
        }
    }

    pub(super) fn store(&mut self, node: usize, record: &Record) {
        let tenant = record.tenant;
        if tenant == self.twins.tenant() {
            if self.may_write(node, record) {
                self.twins.store(record);
            }
            return;
        }
        if !self.may_write(node, record) {
            return self.leases.refused.push(record.clone());
        }
        match &record.what {
            Memory::Bound(binding) => {
                self.bindings.insert(binding.id, (**binding).clone());
            }
            Memory::Unbound(id) => drop(self.bindings.remove(id)),
            Memory::Live { call, facts } => {
                assert!(facts.len() < 12 * 1024, "a stored call is under 12 KiB");
                self.live.insert(*call, (tenant, facts.clone()));
            }
            Memory::Ended(record) => {
                self.live.remove(&record.call);
                let line =
                    format!("call {} to {}: {:?}", record.caller, record.dialled, record.ending);
                self.say("pbx -> store", line);
                self.calls.push((**record).clone());
            }
        }
    }

    fn play(&mut self, (side, play): (Side, PlayId), (clip, how): (Clip, Often)) {
        assert!(self.terms.contains_key(&side), "a clip for a side without terms");
        self.twins.check_played(&clip);
        let same = |(other, _): &(Side, PlayId), (_, often): &(Clip, Often)| {
            *other == side && *often == how
        };
        assert!(!self.playing.iter().any(|(at, what)| same(at, what)), "two at a time");
        self.playing.insert((side, play), (clip, how));
        let what = match clip {
            Clip::Sound(_) => "sound",
            Clip::Music(_) => "music",
            Clip::Tone(_) => "tone",
        };
        self.say("pbx -> sound", format!("play {what} to leg {}", side.leg));
    }

    fn tape(&mut self, side: Side, what: &str) {
        self.say("pbx -> sound", format!("{what}, leg {}", side.leg));
        self.taped.push((side.leg, what.to_owned()));
    }

    fn sound(&mut self, node: usize, wish: Wish) {
        let event = match wish {
            Wish::Open { side, port, .. } => {
                self.stages[node].ports += 2;
                let port = port.unwrap_or(self.stages[node].ports);
                self.sides.insert(side, port);
                self.stages[node].sides.insert(side);
                Sound::Opened { side, port }
            }
            Wish::Close { side } => {
                let carried = self.stages[node].sides.remove(&side);
                assert!(carried, "closed twice, or never opened");
                self.sides.remove(&side);
                self.parts.remove(&side);
                self.playing.retain(|(of, _), _| *of != side);
                if self.closing == Closing::TooLate {
                    return;
                }
                Sound::Closed { side, heard: Heard::default() }
            }
            Wish::Aim { rtp, near, .. } => {
                self.twins.check_sound(rtp.map(|address| address.ip()));
                return self.twins.check_sound(near);
            }
            Wish::Agree { side, terms } => {
                assert!(self.sides.contains_key(&side), "terms of no side");
                return drop(self.terms.insert(side, *terms));
            }
            Wish::Press { side, digit, for_ms } => {
                assert!(self.terms.contains_key(&side), "a key for a side without terms");
                return self.pressed.push((side.leg, digit.key(), for_ms));
            }
            Wish::Record { side, kept, ref recording, .. } => {
                assert!(self.sides.contains_key(&side), "a recording of no side");
                let what = match kept {
                    Kept::Said => "record",
                    Kept::Heard => "record what it hears",
                };
                self.say("pbx -> sound", format!("{what}, leg {}", side.leg));
                return self.taped.push((side.leg, format!("{what} {:?}", recording.asked_by)));
            }
            Wish::Pause { side } => return self.tape(side, "pause"),
            Wish::Resume { side } => return self.tape(side, "resume"),
            Wish::Mix { side, part } => {
                assert!(self.sides.contains_key(&side), "a member without a side");
                self.parts.insert(side, part);
                return;
            }
            Wish::Cue { side, cue } => return self.cues.push((side, cue)),
            Wish::Play { side, play, clip, how } => return self.play((side, play), (clip, how)),
            Wish::Hush { side, play } => {
                assert!(self.playing.remove(&(side, play)).is_some(), "it is not played");
                self.say("pbx -> sound", format!("hush leg {}", side.leg));
                Sound::Played { side, play, end: PlayEnd::Stopped }
            }
            Wish::Join { .. } | Wish::Listen { .. } => return,
        };
        self.stages[node].switch.handle_input(self.now, Input::Media(event));
    }
}
