//! What a call decided, in words that a log, a counter and a page can all be made from.

use serde::{Deserialize, Serialize};

use crate::id::{CallId, TenantId};
use crate::moment::Moment;
use crate::record::Ending;

/// Events kept with one call at most; later ones are counted in [`Event::MoreLeftOut`].
pub const LONGEST: usize = 200;

/// An event for the log and the counters, and, with a call, for its story.
#[derive(Debug, Clone, PartialEq)]
pub struct Note {
    /// Whose.
    pub tenant: TenantId,
    /// Which call's, if it is one's.
    pub call: Option<CallId>,
    /// What happened.
    pub event: Event,
}

/// An event in a call's story.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// When.
    pub at: Moment,
    /// What.
    pub event: Event,
}

/// One decision or happening. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// A phone's connection broke; it is called again when it has come back.
    Disconnected {
        /// Its extension.
        number: String,
        /// Where it was connected from.
        from: String,
    },
    /// A call came in.
    Began {
        /// Who calls.
        caller: String,
        /// What was dialled.
        dialled: String,
    },
    /// The number is an extension, with this many phones online.
    DialledExtension {
        /// Its number.
        number: String,
        /// Registered phones.
        phones: u16,
    },
    /// The number is a ring group.
    DialledGroup {
        /// Its number.
        number: String,
        /// Members.
        members: u16,
        /// Registered phones of all members.
        phones: u16,
    },
    /// The number is another company's.
    DialledElsewhere {
        /// The public number.
        number: String,
    },
    /// The number belongs to nobody.
    DialledNobody {
        /// What was dialled.
        number: String,
    },
    /// A phone was called.
    Called {
        /// Its extension.
        number: String,
        /// Its device name or address.
        device: String,
    },
    /// A phone rings.
    Rang {
        /// Its extension.
        number: String,
        /// Its device name or address.
        device: String,
    },
    /// A phone answered.
    Answered {
        /// Its extension.
        number: String,
        /// Its device name or address.
        device: String,
    },
    /// A phone refused.
    Refused {
        /// Its extension.
        number: String,
        /// Its device name or address.
        device: String,
        /// Its final response.
        status: u16,
    },
    /// A phone never answered anything.
    Silent {
        /// Its extension.
        number: String,
        /// Its device name or address.
        device: String,
    },
    /// A phone stopped ringing because another answered.
    AnsweredElsewhere {
        /// Its extension.
        number: String,
        /// Its device name or address.
        device: String,
    },
    /// A phone sent the call on (3xx), and it was followed.
    Forwarded {
        /// From which extension.
        from: String,
        /// To what.
        to: String,
    },
    /// A forward was not followed: too many, or a loop.
    ForwardLoop {
        /// To what.
        to: String,
    },
    /// A side put the other on hold.
    Held {
        /// Who did it.
        number: String,
    },
    /// A side took the other back.
    Resumed {
        /// Who did it.
        number: String,
    },
    /// The address of a side's sound became known by its packets.
    SoundFound {
        /// Whose sound.
        number: String,
        /// From where, as `198.51.100.7:4000`.
        from: String,
    },
    /// Nothing is heard from a side that was heard before; it is asked whether it is still there.
    FellSilent {
        /// Whose sound.
        number: String,
    },
    /// A phone is gone without a word.
    Vanished {
        /// Its extension.
        number: String,
    },
    /// A call limit was reached.
    LimitReached {
        /// Whose limit: an extension's number, or empty for the company.
        number: String,
        /// The limit.
        limit: u32,
    },
    /// The longest duration was reached.
    TooLong {
        /// In seconds.
        seconds: u64,
    },
    /// The call was taken over after a restart.
    Revived,
    /// The call is over.
    Ended {
        /// Why.
        ending: Ending,
        /// The final response to the caller.
        status: u16,
        /// How long people talked, in seconds.
        talked_s: u64,
    },
    /// This many more events were left out.
    MoreLeftOut {
        /// How many.
        events: u32,
    },
    /// A phone registered (added or moved).
    Registered {
        /// Its extension.
        number: String,
        /// Where from.
        from: String,
    },
    /// A phone de-registered, was replaced, or its registration ran out.
    Unregistered {
        /// Its extension.
        number: String,
        /// Why.
        why: Unregistered,
    },
    /// A password was wrong.
    WrongPassword {
        /// The user name that was claimed, at most 64 characters.
        username: String,
        /// Where from.
        from: String,
    },
    /// Failures from there, or for that user, are being slowed down.
    SlowedDown {
        /// The user name that was claimed, at most 64 characters.
        username: String,
        /// Where from.
        from: String,
    },
    /// A request was refused.
    RequestRefused {
        /// Its method, at most 32 characters.
        method: String,
        /// Our answer.
        status: u16,
    },
    /// A phone behind a router does not answer any more; it is not called until it does.
    NotAnswering {
        /// Its extension.
        number: String,
        /// Where it was.
        from: String,
    },
    /// It answers again.
    AnsweringAgain {
        /// Its extension.
        number: String,
        /// Where it is.
        from: String,
    },
    /// A phone's router rewrites its messages (SIP ALG).
    SipAlg {
        /// Its extension.
        number: String,
        /// Where it is.
        from: String,
        /// What shows it, as `contact port`.
        signs: String,
    },
    /// The node that carried the call's sound was lost, and the call with it.
    NodeLost,
    /// A side's sound is encrypted.
    Encrypted {
        /// Whose sound.
        number: String,
        /// How, as `SDES AES_CM_128_HMAC_SHA1_80` or `DTLS-SRTP`.
        how: String,
    },
    /// The keys of a side's sound came over signalling that anybody on the way can read.
    KeysReadable {
        /// Whose sound.
        number: String,
    },
    /// A phone does not encrypt its sound, though that is required.
    NotEncrypted {
        /// Its extension.
        number: String,
        /// Its device name or address.
        device: String,
    },
    /// A phone's keys were not taken, because anybody on the way can read them.
    KeysRefused {
        /// Its extension.
        number: String,
        /// Its device name or address.
        device: String,
    },
    /// A phone demands an encryption that is switched off, or not possible.
    EncryptionRefused {
        /// Its extension.
        number: String,
        /// Its device name or address.
        device: String,
    },
    /// Nothing comes from a side, though the other is heard and both should be.
    OneWay {
        /// Whose sound is missing.
        number: String,
    },
    /// The number is a conference, with so many who are there already.
    DialledConference {
        /// Its number.
        number: String,
        /// Members, and those who still dial its PIN.
        members: u16,
    },
    /// A conference has no room for one more.
    ConferenceFull {
        /// Its number.
        number: String,
    },
    /// A caller must dial the PIN of a conference.
    PinAsked {
        /// The conference's number.
        number: String,
    },
    /// A caller dialled another, or none in time.
    PinWrong {
        /// The conference's number.
        number: String,
    },
    /// A caller is in a conference, and hears the others.
    EnteredConference {
        /// Its number.
        number: String,
    },
    /// A member does not want to be heard.
    Muted {
        /// Whose sound.
        number: String,
    },
    /// A member is heard again.
    Unmuted {
        /// Whose sound.
        number: String,
    },
    /// The number is an announcement.
    DialledAnnouncement {
        /// Its number.
        number: String,
        /// What it says: a sound's name.
        sound: String,
    },
    /// A sound could not be had, or not in time, and was not heard.
    SoundMissing {
        /// Who should have heard it.
        number: String,
    },
    /// The call is recorded from now on.
    Recorded {
        /// The extension that wants it so; empty for the company.
        number: String,
    },
    /// The recording leaves out what is said from now on.
    RecordingPaused {
        /// Who pressed the code.
        number: String,
    },
    /// The recording goes on.
    RecordingResumed {
        /// Who pressed the code.
        number: String,
    },
    /// The call is not recorded, or not any more: nothing can be written.
    Unrecorded,
    /// A phone has heard to its end that the call is recorded.
    HeardOfRecording {
        /// Whose phone.
        number: String,
    },
}

/// Why a registration ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unregistered {
    /// The phone said so.
    ByPhone,
    /// It was not refreshed.
    Expired,
    /// A newer phone took its place.
    Replaced,
    /// The extension is gone.
    Removed,
}
