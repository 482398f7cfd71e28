//! A simulated carrier: it calls public numbers from its own address, without any registration, and
//! names people as carriers do; and a gateway, which brings a carrier's calls over a registration.
//!
//! RFC 3261 between two servers, RFC 3325 (P-Asserted-Identity), RFC 3960 (sound before the answer).
//! A carrier is a [`Phone`] whose domain no company has: its calls, holds, refusals and habits are a
//! phone's. What differs is whom it names, and in which words.

use pbx::moment::Moment;
use pbx::sip::method::Method;
use pbx::sip::name::Name;

use super::phone::{Phone, Talk};

/// What a carrier calls itself.
pub const CARRIER: &str = "carrier.example";

/// Who makes the offer (RFC 3264).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// The caller, in the INVITE.
    Early,
    /// Who answers, in the 200.
    Late,
}

/// A call as a carrier brings it.
#[derive(Debug, Clone)]
pub struct Brought<'a> {
    /// Who calls, in E.164 form.
    pub from: &'a str,
    /// Who the carrier vouches for (RFC 3325).
    pub asserted: &'a str,
    /// Who is called, in E.164 form.
    pub to: &'a str,
    /// The host that the call is for: our address, or a company's domain.
    pub host: &'a str,
    /// Who makes the offer.
    pub offer: Offer,
}

impl Phone {
    /// Brings somebody's call.
    pub fn bring(&mut self, now: Moment, call: &Brought<'_>) {
        let Brought { from, asserted, to, host, offer } = call;
        let (tag, domain) = (self.number_of_call(), self.domain().to_owned());
        let talk = Talk {
            call_id: format!("{tag:x}@{domain}"),
            local: format!("\"{from}\" <sip:{from}@{domain};user=phone>;tag={tag:x}"),
            remote: format!("<sip:{to}@{host};user=phone>"),
            target: format!("sip:{to}@{host};user=phone"),
            more: vec![(Name::PAssertedIdentity, format!("<sip:{asserted}@{domain};user=phone>"))],
            ..Talk::default()
        };
        let sdp = match offer {
            Offer::Early => self.description("sendrecv"),
            Offer::Late => String::new(),
        };
        self.begin(now, talk, &sdp);
    }

    /// Asks whether somebody is there, as carriers do every half minute (RFC 3261 §11).
    pub fn ping(&mut self, now: Moment, host: &str) {
        let (tag, domain) = (self.number_of_call(), self.domain().to_owned());
        let talk = Talk {
            call_id: format!("ping-{tag:x}@{domain}"),
            local: format!("<sip:ping@{domain}>;tag={tag:x}"),
            remote: format!("<sip:{host}>"),
            target: format!("sip:{host}"),
            cseq: 1,
            ..Talk::default()
        };
        self.ask(now, Method::Options, &talk);
    }
}
