//! The two requests that travel with an INVITE, hop by hop: the ACK to a refusal, and the CANCEL.
//!
//! RFC 3261 §17.1.1.3 and §9.1. Both are made of the INVITE's own bytes, so that the next hop knows
//! them by the same Via.

use bytes::Bytes;

use crate::sip::draft::Draft;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::name::Name;

/// The ACK to a refusal of `invite`; `None` if the refusal does not say whose it is.
pub(super) fn ack(invite: &Bytes, refusal: &Message) -> Option<Bytes> {
    refusal.to().ok()?;
    let invite = Message::parse(invite.clone()).ok()?;
    let draft = begin(&invite, Method::Ack)?.copy(refusal, Name::To);
    end(draft, &invite, Method::Ack)
}

/// The CANCEL of `invite`, with a Reason (RFC 3326) if there is one to give.
pub(super) fn cancel(invite: &Bytes, reason: Option<&str>) -> Option<Bytes> {
    let invite = Message::parse(invite.clone()).ok()?;
    let mut draft = begin(&invite, Method::Cancel)?.copy(&invite, Name::To);
    if let Some(reason) = reason {
        draft = draft.header(Name::Reason, reason);
    }
    end(draft, &invite, Method::Cancel)
}

/// Whether an INVITE begins a call, and is not part of one.
pub(super) fn begins(invite: &Bytes) -> bool {
    let invite = Message::parse(invite.clone());
    invite.is_ok_and(|invite| invite.to().is_ok_and(|to| to.tag().is_none()))
}

fn begin(invite: &Message, method: Method<'static>) -> Option<Draft> {
    let draft = Draft::request(method, invite.target())
        .header(Name::Via, invite.values(Name::Via).next()?)
        .header(Name::MaxForwards, 70)
        .copy(invite, Name::Route)
        .copy(invite, Name::From);
    Some(draft)
}

fn end(draft: Draft, invite: &Message, method: Method<'static>) -> Option<Bytes> {
    let number = invite.cseq().ok()?.number;
    let draft = draft
        .copy(invite, Name::CallId)
        .header(Name::CSeq, format_args!("{number} {}", method.as_str()));
    Some(draft.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &str = "INVITE sip:102@10.0.0.9:5066;ob SIP/2.0\r\n\
        Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKours;rport\r\n\
        Route: <sip:p1.test;lr>\r\n\
        Route: <sip:p2.test;lr>\r\n\
        Max-Forwards: 69\r\n\
        From: \"Ada\" <sip:101@acme.test>;tag=f\r\n\
        To: <sip:102@acme.test>\r\n\
        Call-ID: c1\r\n\
        CSeq: 7 INVITE\r\n\
        Contact: <sip:192.0.2.1>\r\n\
        Content-Type: application/sdp\r\n\
        Content-Length: 4\r\n\r\nv=0\n";

    #[test]
    fn an_ack_is_the_invite_with_the_refusals_to() {
        let refusal = "SIP/2.0 486 Busy Here\r\n\
            Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKours;rport=5060;received=192.0.2.1\r\n\
            From: \"Ada\" <sip:101@acme.test>;tag=f\r\n\
            To: <sip:102@acme.test>;tag=t\r\n\
            Call-ID: c1\r\nCSeq: 7 INVITE\r\n\r\n";
        let refusal = Message::parse(Bytes::from_static(refusal.as_bytes())).unwrap();
        let ack = ack(&Bytes::from_static(INVITE.as_bytes()), &refusal).unwrap();
        assert_eq!(
            std::str::from_utf8(&ack).unwrap(),
            "ACK sip:102@10.0.0.9:5066;ob SIP/2.0\r\n\
             Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKours;rport\r\n\
             Max-Forwards: 70\r\n\
             Route: <sip:p1.test;lr>\r\n\
             Route: <sip:p2.test;lr>\r\n\
             From: \"Ada\" <sip:101@acme.test>;tag=f\r\n\
             To: <sip:102@acme.test>;tag=t\r\n\
             Call-ID: c1\r\n\
             CSeq: 7 ACK\r\n\
             Content-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn a_cancel_is_the_invite_with_a_reason() {
        let reason = "SIP;cause=200;text=\"Call completed elsewhere\"";
        let cancel = cancel(&Bytes::from_static(INVITE.as_bytes()), Some(reason)).unwrap();
        assert_eq!(
            std::str::from_utf8(&cancel).unwrap(),
            "CANCEL sip:102@10.0.0.9:5066;ob SIP/2.0\r\n\
             Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKours;rport\r\n\
             Max-Forwards: 70\r\n\
             Route: <sip:p1.test;lr>\r\n\
             Route: <sip:p2.test;lr>\r\n\
             From: \"Ada\" <sip:101@acme.test>;tag=f\r\n\
             To: <sip:102@acme.test>\r\n\
             Reason: SIP;cause=200;text=\"Call completed elsewhere\"\r\n\
             Call-ID: c1\r\n\
             CSeq: 7 CANCEL\r\n\
             Content-Length: 0\r\n\r\n"
        );
    }
}
