//! A call's story in sentences that anybody understands.

use pbx::record::Ending;
use pbx::story::Event;

use crate::catalogue::Language;

/// One sentence for one event.
pub(crate) fn sentence(language: Language, event: &Event) -> String {
    let fill = |key: &str, values: &[(&str, &str)]| language.fill(key, values);
    let phone = |key: &str, number: &str, device: &str| {
        fill(key, &[("number", number), ("device", device)])
    };
    match event {
        Event::Began { caller, dialled } => {
            fill("story.began", &[("caller", caller), ("dialled", dialled)])
        }
        Event::DialledExtension { number, phones } => {
            fill("story.extension", &[("number", number), ("phones", &phones.to_string())])
        }
        Event::DialledGroup { number, members, phones } => {
            let (members, phones) = (members.to_string(), phones.to_string());
            fill("story.group", &[("number", number), ("members", &members), ("phones", &phones)])
        }
        Event::DialledElsewhere { number } => fill("story.elsewhere", &[("number", number)]),
        Event::DialledNobody { number } => fill("story.nobody", &[("number", number)]),
        Event::Called { number, device } => phone("story.called", number, device),
        Event::Rang { number, device } => phone("story.rang", number, device),
        Event::Answered { number, device } => phone("story.answered", number, device),
        Event::Silent { number, device } => phone("story.silent", number, device),
        Event::AnsweredElsewhere { number, device } => {
            phone("story.answered_elsewhere", number, device)
        }
        Event::Refused { number, device, status } => {
            let status = status.to_string();
            fill("story.refused", &[("number", number), ("device", device), ("status", &status)])
        }
        Event::Forwarded { from, to } => fill("story.forwarded", &[("from", from), ("to", to)]),
        Event::ForwardLoop { to } => fill("story.forward_loop", &[("to", to)]),
        Event::Held { number } => fill("story.held", &[("number", number)]),
        Event::Resumed { number } => fill("story.resumed", &[("number", number)]),
        Event::SoundFound { number, from } => {
            fill("story.sound_found", &[("number", number), ("from", from)])
        }
        Event::FellSilent { number } => fill("story.fell_silent", &[("number", number)]),
        Event::OneWay { number } => fill("story.one_way", &[("number", number)]),
        Event::Vanished { number } => fill("story.vanished", &[("number", number)]),
        Event::LimitReached { number, limit } if number.is_empty() => {
            fill("story.limit_company", &[("limit", &limit.to_string())])
        }
        Event::LimitReached { number, limit } => {
            fill("story.limit", &[("number", number), ("limit", &limit.to_string())])
        }
        Event::Revived => language.get("story.revived").to_owned(),
        Event::NodeLost => language.get("story.node_lost").to_owned(),
        _ => rest(language, event),
    }
}

fn rest(language: Language, event: &Event) -> String {
    let fill = |key: &str, values: &[(&str, &str)]| language.fill(key, values);
    match event {
        Event::TooLong { seconds } => fill("story.too_long", &[("seconds", &seconds.to_string())]),
        Event::Ended { ending, talked_s, status } => {
            let answered = (200..300).contains(status);
            let key = if answered { "story.ended" } else { "story.ended_unanswered" };
            let ending = language.get(&format!("ending.{}", key_of(*ending)));
            fill(key, &[("ending", ending), ("seconds", &talked_s.to_string())])
        }
        Event::MoreLeftOut { events } => fill("story.more", &[("events", &events.to_string())]),
        Event::Registered { number, from } => {
            fill("story.registered", &[("number", number), ("from", from)])
        }
        Event::Disconnected { number, from } => {
            fill("story.disconnected", &[("number", number), ("from", from)])
        }
        Event::NotAnswering { number, from } => {
            fill("story.not_answering", &[("number", number), ("from", from)])
        }
        Event::AnsweringAgain { number, from } => {
            fill("story.answering_again", &[("number", number), ("from", from)])
        }
        Event::SipAlg { number, .. } => fill("story.sip_alg", &[("number", number)]),
        Event::Unregistered { number, .. } => fill("story.unregistered", &[("number", number)]),
        Event::WrongPassword { username, from } => {
            fill("story.wrong_password", &[("username", username), ("from", from)])
        }
        Event::SlowedDown { username, from } => {
            fill("story.slowed", &[("username", username), ("from", from)])
        }
        Event::RequestRefused { method, status } => {
            fill("story.request_refused", &[("method", method), ("status", &status.to_string())])
        }
        Event::Encrypted { number, how } => {
            fill("story.encrypted", &[("number", number), ("how", how)])
        }
        Event::KeysReadable { number } => fill("story.keys_readable", &[("number", number)]),
        Event::NotEncrypted { number, device } => {
            fill("story.not_encrypted", &[("number", number), ("device", device)])
        }
        Event::KeysRefused { number, device } => {
            fill("story.keys_refused", &[("number", number), ("device", device)])
        }
        Event::EncryptionRefused { number, device } => {
            fill("story.encryption_refused", &[("number", number), ("device", device)])
        }
        Event::Recorded { number } if number.is_empty() => {
            language.get("story.recorded").to_owned()
        }
        Event::Recorded { number } => fill("story.recorded_by", &[("number", number)]),
        Event::RecordingPaused { number } => fill("story.recording_paused", &[("number", number)]),
        Event::RecordingResumed { number } => {
            fill("story.recording_resumed", &[("number", number)])
        }
        Event::HeardOfRecording { number } => fill("story.heard_of_it", &[("number", number)]),
        Event::Unrecorded => language.get("story.unrecorded").to_owned(),
        Event::DialledAnnouncement { number, sound } => {
            fill("story.announcement", &[("number", number), ("sound", sound)])
        }
        Event::SoundMissing { number } => fill("story.sound_missing", &[("number", number)]),
        _ => in_conference(language, event),
    }
}

fn in_conference(language: Language, event: &Event) -> String {
    let about = |key: &str, number: &str| language.fill(key, &[("number", number)]);
    match event {
        Event::DialledConference { number, members } => {
            let members = members.to_string();
            language.fill("story.conference", &[("number", number), ("members", &members)])
        }
        Event::ConferenceFull { number } => about("story.conference_full", number),
        Event::PinAsked { number } => about("story.pin_asked", number),
        Event::PinWrong { number } => about("story.pin_wrong", number),
        Event::EnteredConference { number } => about("story.entered_conference", number),
        Event::Muted { number } => about("story.muted", number),
        Event::Unmuted { number } => about("story.unmuted", number),
        _ => String::new(),
    }
}

/// The part of a catalogue key that names an ending.
pub(crate) fn key_of(ending: Ending) -> &'static str {
    match ending {
        Ending::CallerHungUp => "caller_hung_up",
        Ending::CalleeHungUp => "callee_hung_up",
        Ending::Cancelled => "cancelled",
        Ending::Busy => "busy",
        Ending::Declined => "declined",
        Ending::NoAnswer => "no_answer",
        Ending::Unreachable => "unreachable",
        Ending::NobodyThere => "nobody_there",
        Ending::Forbidden => "forbidden",
        Ending::LimitReached => "limit_reached",
        Ending::TooLong => "too_long",
        Ending::NoCommonMedia => "no_common_media",
        Ending::Vanished => "vanished",
        Ending::ServerStopped => "server_stopped",
        Ending::ServerFailed => "server_failed",
        Ending::NotEncrypted => "not_encrypted",
        Ending::Announced => "announced",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_a_call_in_two_languages() {
        let event = Event::Answered { number: "102".into(), device: "kitchen".into() };
        assert_eq!(sentence(Language::English, &event), "102 answered (kitchen).");
        assert_eq!(sentence(Language::German, &event), "102 hob ab (kitchen).");
        let ended = Event::Ended { ending: Ending::Busy, status: 486, talked_s: 0 };
        assert_eq!(sentence(Language::English, &ended), "It was over: busy.");
    }
}
