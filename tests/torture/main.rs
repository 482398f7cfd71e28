//! Messages made to break parsers: what is valid is read, what is not is refused as it must be.
//!
//! RFC 4475 and RFC 5118.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test tells by failing")]

mod corpus;
mod oracle;
mod values;

use std::collections::BTreeSet;
use std::fs;

use corpus::{Case, Verdict, cases, folder};
use pbx::sip::frame::{Broken, Frame, Framer};
use pbx::sip::{Message, check};

/// What becomes of a message, and what is said about it.
fn judge(case: &Case) -> (Verdict, String) {
    let refused = |answer: Option<pbx::sip::Draft>, why: String| match answer {
        None => (Verdict::Dropped, why),
        Some(draft) => {
            let answer = Message::parse(draft.to_tag("here").finish()).unwrap();
            (Verdict::Refused(answer.status().unwrap()), why)
        }
    };
    match Message::parse(case.bytes.clone()) {
        Err(malformed) => refused(malformed.answer(), malformed.to_string()),
        Ok(message) => match check(&message) {
            Ok(()) => (Verdict::Taken, String::new()),
            Err(refusal) => refused(refusal.answer(&message), refusal.reason().into_owned()),
        },
    }
}

#[test]
fn each_message_gets_the_answer_that_its_rfc_names() {
    let wrong: Vec<_> = cases()
        .iter()
        .filter_map(|case| {
            let (verdict, why) = judge(case);
            let line = || format!("{}: {verdict:?} ({why}), not {:?}", case.name, case.verdict);
            (verdict != case.verdict).then(line)
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_message_is_left_out() {
    let listed: BTreeSet<_> = cases().iter().map(|case| case.name.clone()).collect();
    let mut kept = BTreeSet::new();
    for rfc in ["rfc4475", "rfc5118"] {
        for file in fs::read_dir(folder().join(rfc)).unwrap() {
            let path = file.unwrap().path();
            kept.insert(format!("{rfc}/{}", path.file_stem().unwrap().to_str().unwrap()));
        }
    }
    assert_eq!(listed, kept);
    assert_eq!(listed.iter().filter(|name| name.starts_with("rfc4475")).count(), 49);
    assert_eq!(listed.iter().filter(|name| name.starts_with("rfc5118")).count(), 12);
}

#[test]
fn every_byte_of_a_message_is_still_there() {
    for case in cases() {
        let read = match Message::parse(case.bytes.clone()) {
            Ok(message) => Some(message),
            Err(malformed) => malformed.message.map(|message| *message),
        };
        if let Some(message) = read {
            assert_eq!(message.bytes(), &case.bytes, "{}", case.name);
            let body = message.body();
            assert!(body.is_empty() || case.bytes.windows(body.len()).any(|part| part == body));
        }
    }
}

/// What a connection makes of bytes that come one by one.
fn frames(bytes: &[u8]) -> Vec<Frame> {
    let (mut framer, mut frames) = (Framer::default(), vec![]);
    for byte in bytes {
        framer.push(&[*byte]);
        match framer.next_frame() {
            Frame::NeedMore => {}
            frame @ (Frame::Ping | Frame::Message(_)) => frames.push(frame),
            frame @ Frame::Broken(_) => {
                frames.push(frame);
                break;
            }
        }
    }
    frames
}

#[test]
fn on_a_stream_each_message_is_cut_whole_unless_its_length_lies() {
    for case in cases() {
        let frames = frames(&case.bytes);
        match (case.name.as_str(), &frames[..]) {
            // The rest of the body, or the empty line, would have to come.
            ("rfc4475/clerr" | "rfc4475/baddn", []) => {}
            ("rfc4475/ncl" | "rfc4475/mcl01", [Frame::Broken(broken)]) => {
                let answer = Message::parse(broken.answer().unwrap().finish()).unwrap();
                assert_eq!(answer.status(), Some(400), "{}", case.name);
            }
            // What follows the body is a message of its own on a stream; its body is too long.
            ("rfc4475/dblreq", [Frame::Message(first), Frame::Message(second), _]) => {
                assert!(first.starts_with(b"REGISTER") && second.starts_with(b"INVITE"));
            }
            (name, [Frame::Message(message)]) => assert_eq!(message, &case.bytes, "{name}"),
            // Without a length a body is no message.
            (_, [Frame::Message(message), Frame::Broken(Broken::NotSip)]) => {
                let message = Message::parse(message.clone());
                let message = message.unwrap_or_else(|broken| *broken.message.unwrap());
                assert!(message.other("Content-Length").is_none(), "{}", case.name);
            }
            (name, frames) => panic!("{name}: {frames:?}"),
        }
    }
}

#[test]
fn messages_that_follow_each_other_on_a_stream_are_all_found() {
    let whole: Vec<_> = cases()
        .into_iter()
        .map(|case| case.bytes)
        .filter(|bytes| matches!(&frames(bytes)[..], [Frame::Message(all)] if all == bytes))
        .collect();
    assert!(whole.len() > 40, "{}", whole.len());
    let wanted: Vec<_> = whole.iter().cloned().map(Frame::Message).collect();
    assert_eq!(frames(&whole.concat()), wanted);
}
