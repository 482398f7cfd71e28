//! What a REGISTER asks for.
//!
//! RFC 3261 §10.2, RFC 5626 §4.2 (instance, reg-id), RFC 3327 §5.3 (Path).

use std::borrow::Cow;
use std::net::SocketAddr;

use smallvec::SmallVec;

use super::refusal::Refusal;
use crate::flow::{Link, Path};
use crate::sip::address::{Address, Contacts};
use crate::sip::flaw::Flaw;
use crate::sip::message::Message;
use crate::sip::name::Name;
use crate::sip::nat::{Reach, Seen, Sign};
use crate::sip::uri::{Scheme, Uri};

/// Contacts in one REGISTER at most.
const MOST_CONTACTS: usize = 16;
/// Path values at most.
const MOST_ROUTES: usize = 8;
/// What is stored of a binding is limited, so that a phone cannot fill the database.
const LONGEST_TEXT: usize = 512;
/// Of the User-Agent this much is worth showing.
const LONGEST_USER_AGENT: usize = 100;

/// A REGISTER of a user who has proved who he is.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask<'a> {
    /// Which contacts.
    pub contacts: Asked<'a>,
    /// The Expires header, for contacts without an expiry of their own.
    pub expires: Option<u32>,
    /// The Call-ID, the same for all REGISTERs of a well-behaved phone.
    pub call_id: &'a str,
    /// The CSeq number.
    pub cseq: u32,
    /// Where it came from: the way back.
    pub path: Path,
    /// Path header values, first one first.
    pub route: Vec<String>,
    /// What the phone calls itself.
    pub user_agent: &'a str,
    /// Whether a router stands between.
    pub reach: Reach,
    /// What that router did to the message, as [`crate::record::Binding`] keeps it.
    pub alg: Option<Box<str>>,
}

/// The contacts a REGISTER names.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked<'a> {
    /// None: it asks which there are.
    Nothing,
    /// `*`: all there are.
    Everything,
    /// These.
    These(SmallVec<[AskedContact<'a>; 1]>),
}

/// One contact.
#[derive(Debug, Clone, PartialEq)]
pub struct AskedContact<'a> {
    /// Its URI as it came.
    pub uri: &'a str,
    /// Preference in thousandths; without one, the highest.
    pub q: u16,
    /// Its own expiry in seconds.
    pub expires: Option<u32>,
    /// `+sip.instance`, without quotes.
    pub instance: Option<Cow<'a, str>>,
    /// `reg-id`; means nothing without an instance.
    pub reg_id: Option<u32>,
}

impl<'a> Ask<'a> {
    /// Reads a REGISTER that came over `path`.
    pub fn read(message: &'a Message, path: Path) -> Result<Self, Refusal> {
        let contacts = match message.contacts()? {
            Contacts::None => Asked::Nothing,
            Contacts::Star => Asked::Everything,
            Contacts::List(contacts) if contacts.len() > MOST_CONTACTS => {
                return Err(Flaw::wrong("Contact", "too many").into());
            }
            Contacts::List(contacts) => {
                let contacts: Result<_, Refusal> =
                    contacts.iter().map(AskedContact::read).collect();
                Asked::These(contacts?)
            }
        };
        let route: Vec<String> =
            message.values(Name::Path).take(MOST_ROUTES + 1).map(str::to_owned).collect();
        if route.len() > MOST_ROUTES || route.iter().any(|hop| hop.len() > LONGEST_TEXT) {
            return Err(Flaw::wrong("Path", "too long").into());
        }
        let call_id = message.call_id()?;
        if call_id.len() > LONGEST_TEXT {
            return Err(Flaw::wrong("Call-ID", "too long").into());
        }
        let seen = Seen::of(message, path.peer);
        Ok(Self {
            contacts,
            expires: message.expires()?,
            call_id,
            cseq: message.cseq()?.number,
            path,
            route,
            user_agent: shortened(message.first(Name::UserAgent).unwrap_or_default()),
            reach: match path.link {
                // Through a proxy's own way to the phone we see nothing of either.
                Link::Udp if message.first(Name::Path).is_none() => seen.reach,
                Link::Udp | Link::Stream { .. } => Reach::Direct,
            },
            alg: in_words(&seen.signs),
        })
    }
}

/// What a router did to a message, in words; `None` if nothing is seen of it.
pub fn alg(message: &Message, source: SocketAddr) -> Option<Box<str>> {
    in_words(&Seen::of(message, source).signs)
}

fn in_words(signs: &[Sign]) -> Option<Box<str>> {
    if signs.is_empty() {
        return None;
    }
    let words: Vec<String> = signs.iter().map(Sign::to_string).collect();
    Some(words.join(" ").into())
}

impl<'a> AskedContact<'a> {
    fn read(address: &Address<'a>) -> Result<Self, Refusal> {
        if address.uri_text.len() > LONGEST_TEXT {
            return Err(Flaw::wrong("Contact", "too long").into());
        }
        match Uri::parse(address.uri_text)?.scheme {
            Scheme::Sip | Scheme::Sips => {}
            Scheme::Tel | Scheme::Other(_) => {
                return Err(Flaw::wrong("Contact", "neither sip nor sips").into());
            }
        }
        let instance = address.param("+sip.instance").filter(|instance| !instance.is_empty());
        if instance.as_ref().is_some_and(|instance| instance.len() > LONGEST_TEXT) {
            return Err(Flaw::wrong("Contact", "instance too long").into());
        }
        let reg_id = address.param("reg-id").and_then(|id| id.parse().ok());
        Ok(Self {
            uri: address.uri_text,
            q: address.q().unwrap_or(1_000),
            expires: address.expires(),
            // A reg-id without an instance is to be ignored (RFC 5626 §6).
            reg_id: reg_id.filter(|_| instance.is_some()),
            instance,
        })
    }
}

fn shortened(text: &str) -> &str {
    let end = text.char_indices().nth(LONGEST_USER_AGENT).map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::id::NodeId;

    fn register(headers: &str) -> Message {
        let text = format!(
            "REGISTER sip:acme.test SIP/2.0\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKa\n\
             From: <sip:101@acme.test>;tag=1\nTo: <sip:101@acme.test>\nCall-ID: c@10.0.0.1\n\
             CSeq: 17 REGISTER\n{headers}Content-Length: 0\n\n"
        );
        Message::parse(Bytes::from(text.replace('\n', "\r\n"))).unwrap()
    }

    fn path() -> Path {
        let (local, peer) = ("192.0.2.1:5060", "198.51.100.1:40001");
        Path::udp(NodeId(1), local.parse().unwrap(), peer.parse().unwrap())
    }

    fn refused(headers: &str) -> String {
        let refusal = Ask::read(&register(headers), path()).unwrap_err();
        assert_eq!((refusal.status(), refusal.min_expires()), (400, None), "{headers}");
        refusal.to_string()
    }

    #[test]
    fn reads_what_a_desk_phone_sends() {
        let message = register(
            "Contact: <sip:101@192.168.1.5:5060;line=ab>;reg-id=1;q=0.7;expires=600;\
             +sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000413260001>\"\n\
             m: \"Ada\" <sip:101@192.168.1.6>\nExpires: 300\nUser-Agent: Snom/8\n\
             Path: <sip:edge1.test;lr>, <sip:edge2.test;lr>\n",
        );
        let ask = Ask::read(&message, path()).unwrap();
        assert_eq!((ask.call_id, ask.cseq, ask.expires), ("c@10.0.0.1", 17, Some(300)));
        assert_eq!((ask.user_agent, ask.path), ("Snom/8", path()));
        assert_eq!(ask.route, ["<sip:edge1.test;lr>", "<sip:edge2.test;lr>"]);
        let Asked::These(contacts) = ask.contacts else { panic!("no contacts") };
        let instance = "<urn:uuid:00000000-0000-1000-8000-000413260001>".into();
        assert_eq!(
            contacts[0],
            AskedContact {
                uri: "sip:101@192.168.1.5:5060;line=ab",
                q: 700,
                expires: Some(600),
                instance: Some(instance),
                reg_id: Some(1),
            }
        );
        assert_eq!((contacts[1].uri, contacts[1].q), ("sip:101@192.168.1.6", 1_000));
        assert_eq!((contacts[1].expires, &contacts[1].instance), (None, &None));
    }

    #[test]
    fn tells_a_question_from_a_star() {
        let question = register("");
        assert_eq!(Ask::read(&question, path()).unwrap().contacts, Asked::Nothing);
        let star = register("Contact: *\nExpires: 0\n");
        assert_eq!(Ask::read(&star, path()).unwrap().contacts, Asked::Everything);
    }

    #[test]
    fn a_reg_id_without_an_instance_means_nothing() {
        let message = register("Contact: <sip:101@h>;reg-id=2\n");
        let Asked::These(contacts) = Ask::read(&message, path()).unwrap().contacts else {
            panic!("no contacts")
        };
        assert_eq!(contacts[0].reg_id, None);
    }

    #[test]
    fn refuses_contacts_that_nobody_could_call() {
        assert_eq!(refused("Contact: <tel:+4312345>\n"), "Contact: neither sip nor sips");
        assert_eq!(refused("Contact: <mailto:a@b>\n"), "Contact: neither sip nor sips");
        refused("Contact: <sip:101@a b>\n");
        refused("Contact: *, <sip:101@h>\n");
    }

    #[test]
    fn refuses_what_would_fill_the_database() {
        let long = "x".repeat(LONGEST_TEXT);
        let many = ["<sip:101@h>"; MOST_CONTACTS + 1].join(",");
        assert_eq!(refused(&format!("Contact: <sip:{long}@h>\n")), "Contact: too long");
        assert_eq!(refused(&format!("Contact: {many}\n")), "Contact: too many");
        assert_eq!(
            refused(&format!("Contact: <sip:a@h>;+sip.instance=\"<{long}>\"\n")),
            "Contact: instance too long"
        );
        assert_eq!(refused(&format!("Path: <sip:{long}>\n")), "Path: too long");
        let hops = ["<sip:h;lr>"; MOST_ROUTES + 1].join(",");
        assert_eq!(refused(&format!("Path: {hops}\n")), "Path: too long");
    }

    #[test]
    fn a_boasting_phone_is_cut_short() {
        let message = register(&format!("User-Agent: {}\n", "ü".repeat(300)));
        let ask = Ask::read(&message, path()).unwrap();
        assert_eq!(ask.user_agent.chars().count(), LONGEST_USER_AGENT);
    }
}
