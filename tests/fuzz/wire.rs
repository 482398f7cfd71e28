//! Fuzz body of the wire layer: read anything, ask it everything, answer it.

use std::net::SocketAddr;

use bytes::Bytes;
use pbx::sip::{Contacts, Draft, Message, Name, check};

/// What became of the bytes.
pub(crate) enum Outcome {
    /// A message that passed every check.
    Taken,
    /// One that was answered with a refusal.
    Refused,
    /// One that nobody is told about.
    Dropped,
}

/// Reads `bytes` as a message and answers it; panics if anything is not as it must be.
pub(crate) fn read_and_answer(bytes: Bytes) -> Outcome {
    let (message, refusal) = match Message::parse(bytes.clone()) {
        Ok(message) => {
            let refusal = check(&message).err();
            let answer = refusal.as_ref().map(|refusal| refusal.answer(&message));
            (Some(message), answer)
        }
        Err(malformed) => {
            let answer = malformed.answer();
            (malformed.message.map(|message| *message), Some(answer))
        }
    };
    if let Some(message) = &message {
        assert_eq!(message.bytes(), &bytes, "a byte was lost");
        ask_everything(message);
    }
    match (message, refusal) {
        (Some(message), None) => {
            if message.is_request() {
                let answer = answer(Draft::response(&message, 200, None), &message);
                assert_eq!(check(&answer), Ok(()), "our answer to {bytes:?} is refused");
            }
            Outcome::Taken
        }
        (Some(message), Some(Some(draft))) => {
            let answer = answer(draft, &message);
            assert!(answer.status().is_some_and(|status| status >= 400));
            Outcome::Refused
        }
        (Some(_), Some(None)) => Outcome::Dropped,
        (None, refusal) => {
            assert!(matches!(refusal, Some(None)), "an answer to what was not read");
            Outcome::Dropped
        }
    }
}

/// Finishes an answer, and reads it as whoever gets it would.
fn answer(draft: Draft, request: &Message) -> Message {
    let source: SocketAddr = "198.51.100.7:40000".parse().unwrap();
    let written = draft.received(source).to_tag("here").finish();
    let answer = Message::parse(written.clone())
        .unwrap_or_else(|wrong| panic!("our answer cannot be read: {wrong}: {written:?}"));
    let rows = |message: &Message, name| message.fields(name).count();
    assert_eq!(rows(&answer, Name::Via), rows(request, Name::Via), "{written:?}");
    for name in [Name::CallId, Name::CSeq, Name::From] {
        // The first row is copied even if it is no text, and then it cannot be asked for.
        let Some(told) = answer.first(name) else { continue };
        let asked = request.first(name).unwrap_or_default().replace('\r', " ");
        assert_eq!(told, asked.trim_matches(' '), "{written:?}");
    }
    if let (Ok(asked), Ok(told)) = (request.via(), answer.via()) {
        assert_eq!((told.host, told.branch()), (asked.host, asked.branch()), "{written:?}");
        assert_eq!(told.received(), Some(source.ip()), "{written:?}");
    }
    if let (Ok(asked), Ok(told)) = (request.to(), answer.to()) {
        assert_eq!(told.tag(), asked.tag().or(Some("here")), "{written:?}");
    }
    answer
}

/// Calls every reader: none may panic, and equals must equal themselves.
fn ask_everything(message: &Message) {
    let _ = (message.method(), message.status(), message.reason(), message.version());
    let _ = (message.call_id(), message.cseq(), message.max_forwards(), message.expires());
    let _ = (message.content_type(), message.body(), format!("{message:?}"));
    if let Ok(uri) = message.uri() {
        assert!(uri.same_as(&uri));
        let _ = (uri.user(), uri.ip(), uri.params().count(), uri.headers().count());
    }
    for via in message.vias().flatten() {
        let _ = (via.branch(), via.rport(), via.received(), via.ip(), via.param("x"));
    }
    let mut people: Vec<_> = message.from().into_iter().chain(message.to()).collect();
    for name in [Name::Route, Name::RecordRoute, Name::ReferTo, Name::Path] {
        people.extend(message.addresses(name).into_iter().flatten());
    }
    if let Ok(Contacts::List(contacts)) = message.contacts() {
        people.extend(contacts);
    }
    for somebody in people {
        let uri = somebody.uri().unwrap_or_else(|flaw| panic!("{somebody:?}: {flaw}"));
        assert!(uri.same_as(&uri));
        let _ = (somebody.display(), somebody.tag(), somebody.q(), somebody.expires());
    }
    for (name, value) in message.all() {
        assert!(!value.contains(['\n']), "a line end in the value of {name}");
        let _ = (message.other(name), message.values(Name::of(name.as_bytes())).count());
    }
}
