//! What a phone and we say about its sound, and what holds once both have spoken.
//!
//! RFC 3264 §5 to §8, on one leg. Whatever is written for a phone is written here, and what it
//! answers is judged here: by what its company and extension want of encryption, and by what media
//! can do. Media is told of new terms before it is told where sound goes.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;
use std::hash::Hasher;

use super::Call;
use super::desk::Desk;
use super::leg::Leg;
use super::renewal::Renewal;
use crate::flow::{Flow, Link, Path, Transport};
use crate::id::CallId;
use crate::media::{Protection, Terms, Wish};
use crate::sip::sdp::{
    Anchor, Check, Description, End, Held, Keys, Manner, Numbers, Offerer, Profile, Rules, Seed,
    Srtp, Unfit, name_of, terms,
};
use crate::story::Event;
use crate::tenant::directory::PlainKeys;

/// What was said on a leg about its sound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pact {
    /// What we said last.
    pub said: Said,
    /// Where our keys come from.
    pub seed: Seed,
    /// What numbers of codecs mean here.
    pub numbers: Numbers,
    /// How its phone is made an offer.
    pub manner: Manner,
    /// How many other ways were tried before.
    pub tries: u8,
    /// What holds.
    pub terms: Option<Box<Terms>>,
    /// What its phone offered and was not answered yet.
    #[serde(skip)]
    pub offered: Option<Box<Description>>,
    /// Whether new keys are wanted before anything is sent.
    #[serde(skip)]
    pub renewal: Renewal,
}

/// A description that we wrote. Debug shows nothing of it: there may be keys in it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// As it was sent.
    pub text: String,
    /// What the other phone had said, as a hash: whether it says the same again.
    of: u64,
}

impl std::fmt::Debug for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Said({} bytes)", self.text.len())
    }
}

impl Pact {
    /// Nothing was said yet.
    pub fn new(seed: Seed) -> Self {
        Self {
            said: Said::default(),
            seed,
            numbers: Numbers::new(),
            manner: Manner::Plain,
            tries: 0,
            terms: None,
            offered: None,
            renewal: Renewal::None,
        }
    }

    /// How sound is encrypted, in words for a story; `None` if it is not.
    fn encryption(&self) -> Option<Cow<'static, str>> {
        match &self.terms.as_ref()?.protection {
            Protection::Plain | Protection::Awaited => None,
            Protection::Sdes { ours, .. } => Some(format!("SDES {}", name_of(ours.suite)).into()),
            Protection::Dtls { .. } => Some("DTLS-SRTP".into()),
        }
    }
}

impl Leg {
    /// What may be agreed on with its phone. What goes to another company stays in this house.
    pub fn rules(&self, desk: &Desk<'_>) -> Rules {
        let encryption = &desk.tenant.encryption;
        let user = self.party.user.and_then(|user| desk.tenant.users.get(&user));
        let (srtp, keys) = match self.flow {
            Flow::Inner(_) => (Srtp::Off, Keys::Secret),
            Flow::Net(path) => {
                let keys = match (is_secret(&path), encryption.plain_keys) {
                    (true, _) => Keys::Secret,
                    (false, PlainKeys::Taken) => Keys::Readable,
                    (false, PlainKeys::Refused) => Keys::Worthless,
                };
                (user.map_or(encryption.srtp, |user| user.srtp), keys)
            }
        };
        Rules { srtp, keys, fingerprint: desk.office.fingerprint }
    }

    /// Ways to make its phone an offer, the likeliest first. A phone is called as it calls. One that
    /// refuses is asked in the next way; whether it knows keys, or takes them without a demand
    /// (RFC 8643), cannot be known before.
    pub fn manners(&self, desk: &Desk<'_>) -> Vec<Manner> {
        let rules = self.rules(desk);
        let shown = self.party.binding.and_then(|binding| desk.shown.of(binding));
        let certified = rules.fingerprint.is_some();
        let can = |manner: &Manner| match manner {
            Manner::Plain => rules.srtp != Srtp::Required,
            Manner::Opportune => rules.keys == Keys::Secret && rules.srtp == Srtp::Optional,
            Manner::Sdes(_) => rules.keys != Keys::Worthless && rules.srtp != Srtp::Off,
            Manner::Dtls(..) => certified && rules.srtp != Srtp::Off,
        };
        let secret = rules.keys == Keys::Secret || rules.srtp == Srtp::Required;
        let known = [
            Manner::Opportune,
            Manner::Sdes(Profile::Savp),
            Manner::Sdes(Profile::Savpf),
            // Whoever knows no ICE passes over it, and a browser takes nothing without.
            Manner::Dtls(Profile::TlsSavp, Check::Ice),
        ];
        let known = known.into_iter().filter(|_| secret);
        let mut ways: Vec<Manner> = vec![];
        for way in shown.into_iter().chain(known).chain([Manner::Plain]).filter(can) {
            if !ways.contains(&way) {
                ways.push(way);
            }
        }
        ways
    }

    /// What the other phone said, as this one shall read it. `None`: there is no port.
    pub fn offer_sound(&mut self, desk: &Desk<'_>, other: &Description) -> Option<String> {
        let anchor = self.anchor(desk)?;
        let ours = other.offer(&self.end(desk, anchor), self.voice.pact.manner);
        Some(self.say(ours, hash(other, &anchor)))
    }

    /// Answers its offer with what the other phone said: that holds from now on. `None`: there is no
    /// port.
    fn answer_sound(
        &mut self,
        desk: &mut Desk<'_>,
        call: CallId,
        offer: &Description,
        (other, of): (&Description, Option<u64>),
    ) -> Option<Result<String, Unfit>> {
        let anchor = self.anchor(desk)?;
        let answered = offer.shield(&self.rules(desk)).and_then(|shield| {
            let ours = offer.answer(other, &self.end(desk, anchor), &shield)?;
            let terms = terms(&ours, offer, Offerer::They)?;
            Ok((ours, terms, offer.manner(&shield)))
        });
        let (ours, terms, manner) = match answered {
            Ok(answered) => answered,
            Err(unfit) => return Some(Err(unfit)),
        };
        offer.note_numbers(&mut self.voice.pact.numbers);
        self.voice.pact.manner = manner;
        let text = self.say(ours, of.unwrap_or_else(|| hash(other, &anchor)));
        self.agree(desk, call, terms);
        Some(Ok(text))
    }

    /// Takes its answer to our offer: that holds from now on.
    fn take_answer(
        &mut self,
        desk: &mut Desk<'_>,
        call: CallId,
        answer: &Description,
    ) -> Result<(), Unfit> {
        let Ok(ours) = Description::read(self.voice.pact.said.text.as_bytes()) else {
            return Ok(());
        };
        let terms = terms(&ours, answer, Offerer::We)?;
        let plain = terms.as_ref().is_some_and(|terms| terms.protection == Protection::Plain);
        if plain && self.rules(desk).srtp == Srtp::Required {
            return Err(Unfit::NotEncrypted);
        }
        if plain {
            self.voice.pact.manner = Manner::Plain;
        }
        answer.note_numbers(&mut self.voice.pact.numbers);
        self.agree(desk, call, terms);
        Ok(())
    }

    /// Tells media of terms that are new.
    fn agree(&mut self, desk: &mut Desk<'_>, call: CallId, terms: Option<Terms>) {
        let Some(terms) = terms else { return };
        let renewal = std::mem::take(&mut self.voice.pact.renewal);
        if renewal != Renewal::None || self.voice.pact.terms.as_deref() != Some(&terms) {
            self.voice.pact.terms = Some(Box::new(terms));
            self.tell_terms(desk, call);
        }
    }

    /// Tells media what holds: after a restart it knows nothing, and nothing that is encrypted holds
    /// before there are new keys.
    pub fn tell_terms(&self, desk: &mut Desk<'_>, call: CallId) {
        if let Some(mut terms) = self.voice.pact.terms.clone() {
            if self.voice.pact.renewal != Renewal::None {
                terms.protection = Protection::Awaited;
            }
            desk.wish(Wish::Agree { side: self.side(call), terms });
        }
    }

    /// Whether it was told this already.
    pub fn knows(&self, desk: &Desk<'_>, description: &Description) -> bool {
        let said = &self.voice.pact.said;
        let told = |anchor: Anchor| said.of == hash(description, &anchor);
        !said.text.is_empty() && self.anchor(desk).is_some_and(told)
    }

    /// What it was told last, as an offer.
    pub fn said_again(&mut self) -> String {
        let Ok(said) = Description::read(self.voice.pact.said.text.as_bytes()) else {
            return self.voice.pact.said.text.clone();
        };
        let of = self.voice.pact.said.of;
        self.say(said.offered_again(), of)
    }

    /// Draws new keys of ours, and writes what it was told last with them: the next offer holds them.
    /// `None`: nothing is encrypted here.
    pub(super) fn draw_keys(&mut self, desk: &mut Desk<'_>) -> Option<()> {
        let terms = self.voice.pact.terms.as_ref()?;
        match terms.protection {
            Protection::Plain | Protection::Awaited => return None,
            Protection::Sdes { .. } | Protection::Dtls { .. } => {}
        }
        self.voice.pact.seed = Seed::draw(&mut desk.office.chance);
        let said = Description::read(self.voice.pact.said.text.as_bytes());
        if let (Some(anchor), Ok(said)) = (self.anchor(desk), said) {
            let renewed = said.with_new_keys(&self.end(desk, anchor));
            self.say(renewed, self.voice.pact.said.of);
        }
        Some(())
    }

    /// Writes down what we say; a change gets a number of its own (RFC 3264 §8).
    fn say(&mut self, ours: Description, of: u64) -> String {
        let text = ours.text();
        let voice = &mut self.voice;
        ours.note_numbers(&mut voice.pact.numbers);
        if crate::sip::sdp::differs(&voice.pact.said.text, &text) {
            voice.version += 1;
            voice.pact.said.text = ours.numbered(voice.version).text();
        }
        voice.pact.said.of = of;
        voice.pact.said.text.clone()
    }

    fn anchor(&self, desk: &Desk<'_>) -> Option<Anchor> {
        let address = self.sound_address(desk).told;
        let super::leg::Voice { session, version, port, .. } = self.voice;
        Some(Anchor { address, port: port?, session, version })
    }

    fn end(&self, desk: &Desk<'_>, anchor: Anchor) -> End<'_> {
        let Pact { seed, numbers, terms, .. } = &self.voice.pact;
        let held = match terms.as_ref().map(|terms| &terms.protection) {
            Some(Protection::Sdes { ours, .. }) => Held::Keys(ours.suite),
            Some(Protection::Dtls { .. }) => Held::Handshake,
            Some(Protection::Plain | Protection::Awaited) | None => Held::Nothing,
        };
        End { anchor, seed, fingerprint: desk.office.fingerprint, numbers, held }
    }
}

impl Call {
    /// Answers a phone's offer with what the other one said. `None`: there is no port for it.
    pub(super) fn answer(
        &mut self,
        desk: &mut Desk<'_>,
        index: usize,
        offer: &Description,
        other: &Description,
    ) -> Option<Result<String, Unfit>> {
        let before = self.legs[index].voice.pact.encryption();
        let answered = self.legs[index].answer_sound(desk, self.id, offer, (other, None))?;
        self.tell_encryption(desk, index, before);
        Some(answered.inspect_err(|unfit| self.tell_unfit(desk, index, *unfit)))
    }

    /// Answers an offer that tells the other phone nothing new: what is agreed on holds, as far as
    /// the phone still offers it.
    pub(super) fn answer_again(
        &mut self,
        desk: &mut Desk<'_>,
        index: usize,
        offer: &Description,
    ) -> Result<String, Unfit> {
        let leg = &mut self.legs[index];
        let Said { text, of } = leg.voice.pact.said.clone();
        let Ok(said) = Description::read(text.as_bytes()) else { return Ok(text) };
        let said = match &leg.voice.pact.terms {
            Some(terms) => said.limited_to(terms),
            None => said,
        };
        let before = leg.voice.pact.encryption();
        let answered = leg.answer_sound(desk, self.id, offer, (&said, Some(of)));
        self.tell_encryption(desk, index, before);
        answered.unwrap_or(Ok(text)).inspect_err(|unfit| self.tell_unfit(desk, index, *unfit))
    }

    /// A phone answered our offer.
    pub(super) fn take_answer(
        &mut self,
        desk: &mut Desk<'_>,
        index: usize,
        answer: &Description,
    ) -> Result<(), Unfit> {
        let before = self.legs[index].voice.pact.encryption();
        let taken = self.legs[index].take_answer(desk, self.id, answer);
        self.tell_encryption(desk, index, before);
        taken.inspect_err(|unfit| self.tell_unfit(desk, index, *unfit))
    }

    /// Whether a phone's offer can be answered at all, whatever the other one says.
    pub(super) fn may_offer(
        &mut self,
        desk: &mut Desk<'_>,
        index: usize,
        offer: &Description,
    ) -> Result<(), Unfit> {
        let rules = self.legs[index].rules(desk);
        let judged = offer.shield(&rules);
        if let (Ok(shield), Some(binding)) = (&judged, self.legs[index].party.binding) {
            desk.shown.note(binding, offer.manner(shield));
        }
        judged.map(drop).inspect_err(|unfit| self.tell_unfit(desk, index, *unfit))
    }

    /// Adds to the story why a phone and we cannot agree.
    pub(super) fn tell_unfit(&mut self, desk: &mut Desk<'_>, index: usize, unfit: Unfit) {
        let party = &self.legs[index].party;
        let (number, device) = (party.number.clone(), party.device.clone());
        let event = match unfit {
            Unfit::NotEncrypted => Event::NotEncrypted { number, device },
            Unfit::KeysReadable => Event::KeysRefused { number, device },
            Unfit::Encrypted => Event::EncryptionRefused { number, device },
            Unfit::NoCodec => return,
        };
        self.tell(desk, event);
    }

    fn tell_encryption(
        &mut self,
        desk: &mut Desk<'_>,
        index: usize,
        before: Option<Cow<'static, str>>,
    ) {
        let leg = &self.legs[index];
        let Some(how) = leg.voice.pact.encryption() else { return };
        if before.is_some_and(|before| before == how) {
            return;
        }
        let readable = leg.rules(desk).keys == Keys::Readable && how.starts_with("SDES");
        let number = leg.party.number.clone();
        self.tell(desk, Event::Encrypted { number: number.clone(), how: how.into_owned() });
        if readable {
            self.tell(desk, Event::KeysReadable { number });
        }
    }
}

/// What the other phone would learn from a description, as a number. Nothing keeps its key: a phone
/// that finds two that are alike deceives itself.
fn hash(description: &Description, anchor: &Anchor) -> u64 {
    let mut hasher = SipHasher13::new();
    for line in description.anchored(anchor).lines().filter(|line| !line.starts_with("o=")) {
        hasher.write(line.as_bytes());
        hasher.write_u8(b'\n');
    }
    hasher.finish()
}

/// Whether nobody on the way reads what a phone signals.
fn is_secret(path: &Path) -> bool {
    matches!(path.link, Link::Stream { transport: Transport::Tls, .. })
}
