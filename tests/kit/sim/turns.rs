//! What happens to phones' connections, to sound and to a company's wishes while the world runs.

use pbx::flow::FlowId;
use pbx::input::Input;
use pbx::media::{Clip, Digit, Event as Sound, Often, Part, PlayEnd, Terms};
use pbx::tenant::directory::Directory;

use super::company::Company;
use super::world::{Stage, World};

impl World {
    /// From now on a phone speaks over a connection of this number.
    pub fn connect(&mut self, name: &str, number: u32) {
        self.connections.insert(self.phones[name].address, number);
    }

    /// From now on a phone speaks over an encrypted connection of this number.
    pub fn encrypt(&mut self, name: &str, number: u32) {
        self.encrypted.insert(self.phones[name].address);
        self.connect(name, number);
    }

    /// A phone's connection breaks; until it is connected again nothing reaches it.
    pub fn disconnect(&mut self, name: &str) {
        let number = self.connections.insert(self.phones[name].address, 0);
        let number = number.expect("it is connected");
        let at = self.phones[name].switch();
        let stage = self.stages.iter().find(|stage| stage.address == at);
        let Stage { node, boot, .. } = *stage.expect("a phone's node is there");
        self.input(|| Input::FlowGone(FlowId { node, boot, number }));
    }

    /// The sound of a leg stops: media tells so after a while.
    pub fn fall_silent(&mut self, leg: u16) {
        let side = self.sides.keys().copied().find(|side| side.leg == leg);
        let side = side.expect("sound of this leg is open");
        self.input(|| Input::Media(Sound::Quiet { side }));
    }

    /// Nothing ever came from the phone of this leg, and the other one is heard.
    pub fn be_unheard(&mut self, leg: u16) {
        let side = self.sides.keys().copied().find(|side| side.leg == leg);
        let side = side.expect("sound of this leg is open");
        self.input(|| Input::Media(Sound::OneWay { side }));
    }

    /// The phone of the conference's member with this seat sends keys in its sound.
    pub fn press_keys(&mut self, seat: u16, keys: &str) {
        let mut sides = self.parts.keys().copied();
        let side = sides.find(|side| side.leg == seat).expect("somebody has this seat");
        for digit in keys.chars().filter_map(Digit::from_key) {
            self.input(|| Input::Media(Sound::Digit { side, digit, long_ms: 100 }));
        }
    }

    /// How the members of the conferences take part, by seat.
    pub fn parts(&self) -> Vec<(u16, Part)> {
        self.parts.iter().map(|(side, part)| (side.leg, *part)).collect()
    }

    /// What a leg's phone hears of ours.
    pub fn hears(&self, leg: u16) -> Option<(Clip, Often)> {
        let mut played = self.playing.iter().filter(|((side, _), _)| side.leg == leg);
        played.next().map(|(_, what)| *what)
    }

    /// What a leg's phone hears of ours is over.
    pub fn end_play(&mut self, leg: u16, end: PlayEnd) {
        let at = self.playing.keys().copied().find(|(side, _)| side.leg == leg);
        let (side, play) = at.expect("this leg hears something");
        self.playing.remove(&(side, play));
        self.say("sound -> pbx", format!("{end:?} at leg {leg}").to_lowercase());
        self.input(|| Input::Media(Sound::Played { side, play, end }));
    }

    /// What a leg's phone says cannot be written down.
    pub fn fail_recording(&mut self, leg: u16) {
        let side = self.sides.keys().copied().find(|side| side.leg == leg);
        let side = side.expect("an open side");
        self.input(|| Input::Media(Sound::Unrecorded { side }));
    }

    /// What the company of this domain wants is changed, and published.
    pub fn configure(&mut self, domain: &str, change: impl FnOnce(&mut Directory)) {
        let named = |company: &&mut Company| company.directory.domain == domain;
        let company = self.companies.iter_mut().find(named).expect("a company of this domain");
        change(&mut company.directory);
        company.directory.version += 1;
        let (directory, home) = (company.directory.clone(), self.home_of(domain));
        let now = self.now;
        let stage = &mut self.stages[home];
        stage.switch.handle_input(now, Input::Configured(Box::new(directory)));
        self.settle();
    }

    /// What a leg of the only call agreed on.
    pub fn terms_of(&self, leg: u16) -> &Terms {
        let side = self.terms.keys().find(|side| side.leg == leg);
        &self.terms[side.expect("this leg has agreed on something")]
    }
}
