//! What a REGISTER asks for.
//!
//! RFC 3261 §10.2, RFC 5626 §4.2 (instance, reg-id), RFC 3327 §5.3 (Path).

use std::borrow::Cow;

use smallvec::SmallVec;

use super::refusal::Refusal;
use crate::flow::UdpPath;
use crate::sip::address::{Address, Contacts};
use crate::sip::flaw::Flaw;
use crate::sip::message::Message;
use crate::sip::name::Name;
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
    pub path: UdpPath,
    /// Path header values, first one first.
    pub route: Vec<String>,
    /// What the phone calls itself.
    pub user_agent: &'a str,
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
    pub fn read(message: &'a Message, path: UdpPath) -> Result<Self, Refusal> {
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
        Ok(Self {
            contacts,
            expires: message.expires()?,
            call_id,
            cseq: message.cseq()?.number,
            path,
            route,
            user_agent: shortened(message.first(Name::UserAgent).unwrap_or_default()),
        })
    }
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
