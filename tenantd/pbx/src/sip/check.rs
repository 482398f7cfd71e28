//! What every request must pass before anybody asks whose it is, in a fixed order.
//!
//! RFC 3261 §8.2 and §16.3: 400 (513), 505, 416, 483, 420. A malformed ACK or response is dropped,
//! for nobody waits for an answer to it.

use std::borrow::Cow;

use super::address::Contacts;
use super::draft::Draft;
use super::flaw::Flaw;
use super::message::Message;
use super::method::Method;
use super::name::Name;
use super::status::reason_phrase;
use super::uri::Scheme;

/// The extensions we understand: what a Require may ask for, and our Supported says.
pub const SUPPORTED: &[&str] = &["path", "100rel", "timer"];

/// Why a request is not served. Every variant is one response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It cannot be read: 400, or 513.
    Malformed(Flaw),
    /// It speaks another version: 505.
    Version,
    /// Its target is of a kind we cannot reach: 416.
    Scheme,
    /// It has been passed on too often: 483.
    TooManyHops,
    /// It demands extensions that we do not have: 420.
    Extension {
        /// Which ones, as an Unsupported header field says it.
        unsupported: String,
    },
}

impl Refusal {
    /// The response's status code.
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(flaw) => flaw.status(),
            Self::Version => 505,
            Self::Scheme => 416,
            Self::TooManyHops => 483,
            Self::Extension { .. } => 420,
        }
    }

    /// The response's reason phrase; a 400 names the mistake (RFC 3261 §21.4.1).
    pub fn reason(&self) -> Cow<'static, str> {
        match self {
            Self::Malformed(flaw @ (Flaw::Wrong { .. } | Flaw::Missing(_) | Flaw::Repeated(_))) => {
                Cow::Owned(flaw.to_string())
            }
            Self::Malformed(Flaw::TooLarge(_))
            | Self::Version
            | Self::Scheme
            | Self::TooManyHops
            | Self::Extension { .. } => Cow::Borrowed(reason_phrase(self.status())),
        }
    }

    /// The response, but for its tag; `None` if there is nobody to tell: `to` is a response, an
    /// ACK, or does not say where it came from.
    pub fn answer(&self, to: &Message) -> Option<Draft> {
        let has_via = to.raw(Name::Via).next().is_some();
        if !to.is_request() || to.method() == Method::Ack || !has_via {
            return None;
        }
        let draft = Draft::response(to, self.status(), Some(&self.reason()));
        Some(match self {
            Self::Extension { unsupported } => draft.header(Name::Unsupported, unsupported),
            Self::Malformed(_) | Self::Version | Self::Scheme | Self::TooManyHops => draft,
        })
    }
}

impl From<Flaw> for Refusal {
    fn from(flaw: Flaw) -> Self {
        Self::Malformed(flaw)
    }
}

/// Checks what concerns any message, whoever it is for.
pub fn check(message: &Message) -> Result<(), Refusal> {
    check_readable(message)?;
    if !message.version().eq_ignore_ascii_case("SIP/2.0") {
        return Err(Refusal::Version);
    }
    if !message.is_request() {
        return Ok(());
    }
    if let Scheme::Other(_) = message.uri()?.scheme {
        return Err(Refusal::Scheme);
    }
    if message.max_forwards()? == Some(0) && is_passed_on(message)? {
        return Err(Refusal::TooManyHops);
    }
    match message.method() {
        // What they ask for was asked for by the INVITE (RFC 3261 §8.2.2.3).
        Method::Ack | Method::Cancel => Ok(()),
        _ => check_extensions(message),
    }
}

/// What later stages rely on can be read, and is there as often as it must.
fn check_readable(message: &Message) -> Result<(), Flaw> {
    let mut vias = message.vias();
    vias.next().ok_or(Flaw::Missing("Via"))??;
    vias.try_for_each(|via| via.map(drop))?;
    let to = message.to()?;
    message.from()?;
    message.call_id()?;
    let cseq = message.cseq()?;
    message.max_forwards()?;
    message.expires()?;
    let contacts = message.contacts()?;
    if !message.is_request() {
        return Ok(());
    }
    let method = message.method();
    if cseq.method != method {
        return Err(Flaw::wrong("CSeq", "another method than the request's"));
    }
    if !message.uri()?.headers.is_empty() {
        return Err(Flaw::wrong("Request-URI", "header fields in it"));
    }
    if method == Method::Register {
        if !matches!(to.uri()?.scheme, Scheme::Sip | Scheme::Sips) {
            return Err(Flaw::wrong("To", "neither sip nor sips"));
        }
    } else if contacts == Contacts::Star {
        return Err(Flaw::wrong("Contact", "'*' outside a REGISTER"));
    }
    Ok(())
}

/// Whether we would send it on, so that it could come round: we answer REGISTER and OPTIONS
/// ourselves, and what belongs to a dialog or a transaction of ours has arrived.
fn is_passed_on(message: &Message) -> Result<bool, Flaw> {
    Ok(match message.method() {
        Method::Register | Method::Options | Method::Ack | Method::Cancel => false,
        Method::Invite
        | Method::Bye
        | Method::Info
        | Method::Prack
        | Method::Update
        | Method::Refer
        | Method::Subscribe
        | Method::Notify
        | Method::Message
        | Method::Publish
        | Method::Other(_) => message.to()?.tag().is_none(),
    })
}

fn check_extensions(message: &Message) -> Result<(), Refusal> {
    let demanded = message.values(Name::Require).chain(message.values(Name::ProxyRequire));
    let unknown = demanded
        .filter(|tag| !SUPPORTED.iter().any(|known| known.eq_ignore_ascii_case(tag)))
        .collect::<Vec<_>>();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Refusal::Extension { unsupported: unknown.join(", ") })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const REQUEST: &str = "INVITE sip:102@acme.test SIP/2.0\r\n\
        Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n\
        From: <sip:101@acme.test>;tag=1\r\n\
        To: <sip:102@acme.test>\r\n\
        Call-ID: c@x\r\n\
        CSeq: 1 INVITE\r\n\
        Max-Forwards: 70\r\n\
        Contact: <sip:101@192.0.2.1>\r\n\r\n";

    /// The answer to `REQUEST`, changed.
    fn refused(changes: &[(&str, &str)]) -> Option<Refusal> {
        let mut text = REQUEST.to_owned();
        for (from, to) in changes {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        check(&Message::parse(Bytes::from(text)).unwrap()).err()
    }

    fn status(changes: &[(&str, &str)]) -> u16 {
        refused(changes).map_or(0, |refusal| refusal.status())
    }

    #[test]
    fn what_must_be_there_must_be_readable() {
        assert_eq!(refused(&[]), None);
        let flawed: [&[(&str, &str)]; 16] = [
            &[("Via: SIP", "Vi: SIP")],
            &[("192.0.2.1;branch", "192.0.2.1;;branch")],
            &[("branch=z9hG4bKa", "branch=a,,")],
            &[("From:", "Fro:")],
            &[("<sip:101@acme.test>", "<sip:101@acme.test")],
            &[("To:", "Too:")],
            &[("To:", "To: <sip:103@acme.test>\r\nTo:")],
            &[("c@x", "")],
            &[("c@x", "c x")],
            &[("1 INVITE", "1 ACK")],
            &[("1 INVITE", "x INVITE")],
            &[("70", "256")],
            &[("70", "70\r\nExpires: soon")],
            &[("<sip:101@192.0.2.1>", "*")],
            &[("<sip:101@192.0.2.1>", "sip:101@192.0.2.1?a=b")],
            &[("102@acme.test SIP", "102@acme.test?a=b SIP")],
        ];
        for changes in flawed {
            assert_eq!(status(changes), 400, "{changes:?}");
        }
    }

    #[test]
    fn what_we_need_not_act_on_may_be_anything() {
        let strange = "70\r\nCall-Info: ;answer-after=0\r\nDate: whenever\r\nAllow: ,,\r\nEvent:\r\n\
                       Authorization: NoOneKnows opaque\r\nSupported: ;;,";
        assert_eq!(refused(&[("70", strange)]), None);
        assert_eq!(refused(&[("Max-Forwards: 70\r\n", ""), (";tag=1", "")]), None);
    }

    #[test]
    fn refusals_come_in_their_order() {
        let changes = [
            ("CSeq: 1 ", "CSeq: x "),
            ("SIP/2.0\r\n", "SIP/3.0\r\n"),
            ("INVITE sip:102@acme.test", "INVITE nobodyKnows:102"),
            ("70", "0\r\nRequire: a"),
        ];
        assert_eq!(status(&changes), 400);
        assert_eq!(status(&changes[1..]), 505);
        assert_eq!(status(&changes[2..]), 416);
        assert_eq!(status(&changes[3..]), 483);
        assert_eq!(status(&[("70", "70\r\nRequire: a")]), 420);
    }

    #[test]
    fn only_what_is_passed_on_runs_out_of_hops() {
        assert_eq!(status(&[("70", "0")]), 483);
        assert_eq!(status(&[("INVITE", "MESSAGE"), ("70", "0")]), 483);
        for ours in ["REGISTER", "OPTIONS", "ACK", "CANCEL"] {
            assert_eq!(status(&[("INVITE", ours), ("70", "0")]), 0, "{ours}");
        }
        assert_eq!(status(&[("102@acme.test>", "102@acme.test>;tag=ours"), ("70", "0")]), 0);
    }

    #[test]
    fn demanded_extensions_are_named_unless_we_have_them() {
        let demand = ("70", "70\r\nRequire: PATH, a\r\nProxy-Require: b");
        let Some(Refusal::Extension { unsupported }) = refused(&[demand]) else { panic!("taken") };
        assert_eq!(unsupported, "a, b");
        assert_eq!(refused(&[("70", "70\r\nRequire: path, timer, 100rel")]), None);
        assert_eq!(refused(&[("INVITE", "CANCEL"), demand]), None);
    }

    #[test]
    fn registering_a_telephone_number_or_a_book_is_malformed() {
        for to in ["<tel:+431>", "isbn:2983792873"] {
            assert_eq!(status(&[("INVITE", "REGISTER"), ("<sip:102@acme.test>", to)]), 400);
            assert_eq!(status(&[("<sip:102@acme.test>", to)]), 0);
        }
    }

    #[test]
    fn an_answer_names_the_mistake_and_nobody_answers_an_ack() {
        let bytes = REQUEST.replace("CSeq: 1 INVITE", "CSeq: 1 BYE");
        let request = Message::parse(bytes.into()).unwrap();
        let refusal = check(&request).unwrap_err();
        let answer = Message::parse(refusal.answer(&request).unwrap().finish()).unwrap();
        assert_eq!(answer.status(), Some(400));
        assert_eq!(answer.reason(), "CSeq: another method than the request's");
        let ack =
            Message::parse(REQUEST.replace("1 INVITE", "1 BYE").replace("INVITE", "ACK").into());
        let ack = ack.unwrap();
        assert!(check(&ack).unwrap_err().answer(&ack).is_none());
        assert!(refusal.answer(&answer).is_none());
    }
}
