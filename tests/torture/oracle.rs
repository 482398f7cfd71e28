//! A second opinion: what rsip reads in a message must be what we read in it, and the other way.
//!
//! rsip gets canonical text only, one value a row, long names, nothing folded: it cannot read
//! IPv6 hosts, compact names, unknown methods, `tel:` targets or URI headers. Each message that is
//! kept from it is kept for a reason stated here.

use bytes::Bytes;
use pbx::chance::Chance;
use pbx::sip::{
    Address, Contacts, Draft, EscapedUser, Message, Method, Name, Quoted, Scheme, Uri, check,
};
use rsip::headers::{ToTypedHeader, UntypedHeader};
use rsip::message::HeadersExt;

use crate::corpus::cases;

/// What a message says, whoever reads it.
#[derive(Debug, PartialEq, Eq)]
struct Reading {
    method: String,
    target: Place,
    vias: Vec<(String, Place, Option<String>)>,
    from: (Place, Option<String>),
    to: (Place, Option<String>),
    contacts: Vec<Place>,
    call_id: String,
    cseq: (u32, String),
    max_forwards: Option<u32>,
    body: Vec<u8>,
}

/// Who and where.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    user: Option<String>,
    host: String,
    port: Option<u16>,
    params: usize,
}

impl From<Uri<'_>> for Place {
    fn from(uri: Uri<'_>) -> Self {
        Self {
            user: uri.user.map(str::to_owned),
            host: uri.host.to_lowercase(),
            port: uri.port,
            params: uri.params().count(),
        }
    }
}

impl From<&rsip::Uri> for Place {
    fn from(uri: &rsip::Uri) -> Self {
        Self {
            user: uri.auth.as_ref().map(|auth| auth.user.clone()),
            host: uri.host_with_port.host.to_string().to_lowercase(),
            port: uri.host_with_port.port.as_ref().map(|port| *port.value()),
            params: uri.params.len(),
        }
    }
}

fn ours(message: &Message) -> Reading {
    let person =
        |address: Address<'_>| (address.uri().unwrap().into(), address.tag().map(str::to_owned));
    let cseq = message.cseq().unwrap();
    Reading {
        method: message.method().to_string(),
        target: message.uri().unwrap().into(),
        vias: message
            .vias()
            .map(Result::unwrap)
            .map(|via| {
                let host = via.host.to_lowercase();
                let place = Place { user: None, host, port: via.port, params: 0 };
                (via.transport.to_uppercase(), place, via.branch().map(str::to_owned))
            })
            .collect(),
        from: person(message.from().unwrap()),
        to: person(message.to().unwrap()),
        contacts: match message.contacts().unwrap() {
            Contacts::List(list) => list.iter().map(|c| c.uri().unwrap().into()).collect(),
            Contacts::None | Contacts::Star => vec![],
        },
        call_id: message.call_id().unwrap().to_owned(),
        cseq: (cseq.number, cseq.method.to_string()),
        max_forwards: message.max_forwards().unwrap().map(u32::from),
        body: message.body().to_vec(),
    }
}

fn theirs(request: &rsip::Request) -> Reading {
    let vias = request.headers.iter().filter_map(|header| match header {
        rsip::Header::Via(via) => Some(via.typed().unwrap()),
        _ => None,
    });
    let contacts = request.headers.iter().filter_map(|header| match header {
        rsip::Header::Contact(contact) => Some(contact.typed().unwrap()),
        _ => None,
    });
    let (from, to) = (request.from_header().unwrap(), request.to_header().unwrap());
    let (from, to) = (from.typed().unwrap(), to.typed().unwrap());
    let cseq = request.cseq_header().unwrap().typed().unwrap();
    Reading {
        method: request.method.to_string(),
        target: (&request.uri).into(),
        vias: vias
            .map(|via| {
                let branch = via.branch().map(|branch| branch.value().to_owned());
                (via.transport.to_string(), Place::from(&via.uri), branch)
            })
            .collect(),
        from: ((&from.uri).into(), from.tag().map(|tag| tag.value().to_owned())),
        to: ((&to.uri).into(), to.tag().map(|tag| tag.value().to_owned())),
        contacts: contacts.map(|contact| (&contact.uri).into()).collect(),
        call_id: request.call_id_header().unwrap().value().to_owned(),
        cseq: (cseq.seq, cseq.method.to_string()),
        max_forwards: request
            .max_forwards_header()
            .ok()
            .map(|hops| hops.value().trim().parse().unwrap()),
        body: request.body.clone(),
    }
}

/// The message as rsip can read it; or why it cannot.
fn canonical(message: &Message) -> Result<Bytes, &'static str> {
    if let Method::Other(_) = message.method() {
        return Err("unknown methods are rejected");
    }
    let mut draft = Draft::request(message.method(), readable(message.uri().unwrap())?);
    for via in message.vias().map(Result::unwrap) {
        if via.host.starts_with('[') {
            return Err("IPv6 hosts are rejected");
        }
        if !["UDP", "TCP", "TLS", "SCTP", "WS", "WSS"].contains(&via.transport) {
            return Err("unknown transports are rejected");
        }
        let port = via.port.map(|port| format!(":{port}")).unwrap_or_default();
        let branch = via.branch().map(|branch| format!(";branch={branch}")).unwrap_or_default();
        let value = format!("SIP/2.0/{} {}{port}{branch}", via.transport, via.host);
        draft = draft.header(Name::Via, value);
    }
    for (name, address) in [(Name::From, message.from()), (Name::To, message.to())] {
        let address = address.unwrap();
        let tag = address.tag().map(|tag| format!(";tag={tag}")).unwrap_or_default();
        draft = draft.header(name, format!("<{}>{tag}", readable(address.uri().unwrap())?));
    }
    if let Contacts::List(list) = message.contacts().unwrap() {
        for contact in list {
            let uri = readable(contact.uri().unwrap())?;
            draft = draft.header(Name::Contact, format!("<{uri}>"));
        }
    }
    if let Some(hops) = message.max_forwards().unwrap() {
        draft = draft.header(Name::MaxForwards, hops);
    }
    let cseq = message.cseq().unwrap();
    draft = draft
        .header(Name::CallId, message.call_id().unwrap())
        .header(Name::CSeq, format!("{} {}", cseq.number, cseq.method));
    Ok(draft.body("application/octet-stream", &message.body()).finish())
}

fn readable(uri: Uri<'_>) -> Result<&str, &'static str> {
    match uri.scheme {
        Scheme::Tel | Scheme::Other(_) => Err("other schemes are rejected"),
        Scheme::Sip | Scheme::Sips if uri.host.starts_with('[') => Err("IPv6 hosts are rejected"),
        Scheme::Sip | Scheme::Sips if !uri.headers.is_empty() => Err("URI headers are rejected"),
        Scheme::Sip | Scheme::Sips if uri.user.is_some_and(|user| user.contains([';', '?'])) => {
            Err("a semicolon in the user cuts")
        }
        Scheme::Sip | Scheme::Sips if uri.user.is_some_and(|user| user.contains('.')) => {
            Err("a user with a dot is taken for a host")
        }
        Scheme::Sip | Scheme::Sips => Ok(uri.text),
    }
}

#[test]
fn rsip_reads_the_torture_messages_as_we_do() {
    let (mut compared, mut kept_back) = (0, vec![]);
    for case in cases() {
        let (name, Ok(message)) = (case.name, Message::parse(case.bytes)) else { continue };
        if !message.is_request() || check(&message).is_err() {
            continue;
        }
        match canonical(&message) {
            Err(why) => kept_back.push((name, why)),
            Ok(bytes) => {
                let request = rsip::Request::try_from(bytes.as_ref())
                    .unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(theirs(&request), ours(&message), "{name}");
                compared += 1;
            }
        }
    }
    assert_eq!((compared, kept_back.len()), (12, 22), "kept back: {kept_back:#?}");
}

/// Words of every length, of letters that mean something elsewhere.
fn word(chance: &mut Chance, letters: &str, longest: u64) -> String {
    let letters: Vec<_> = letters.chars().collect();
    let mut letter = || letters[usize::try_from(chance.below(letters.len() as u64)).unwrap()];
    let first = letter();
    std::iter::once(first).chain((0..longest.min(24)).map(|_| letter())).collect()
}

const HOSTS: &str = "abcxyz0189";
const TOKENS: &str = "abcXYZ0189-.!%*_+`'~";

fn uri(chance: &mut Chance) -> String {
    let scheme = if chance.below(4) == 0 { "sips" } else { "sip" };
    let length = chance.below(12);
    // No dot: rsip takes a user with one for a host.
    let user = word(chance, "aZ09 #*@+-_\"äß", length);
    let host = format!("h{}.test", word(chance, HOSTS, 8));
    let port = match chance.below(3) {
        0 => format!(":{}", 1 + chance.below(65_535)),
        _ => String::new(),
    };
    let params = match chance.below(3) {
        0 => format!(";x{}={}", chance.below(9), word(chance, "abc0189-.", 5)),
        1 => ";lr".to_owned(),
        _ => String::new(),
    };
    format!("{scheme}:{}@{host}{port}{params}", EscapedUser(&user))
}

#[test]
fn rsip_reads_what_we_write() {
    let mut chance = Chance::from_seed([1; 32]);
    for _ in 0..2_000 {
        let methods = [Method::Invite, Method::Register, Method::Options, Method::Message];
        let method = methods[usize::try_from(chance.below(4)).unwrap()];
        let mut draft = Draft::request(method, &uri(&mut chance));
        for _ in 0..=chance.below(3) {
            let host = format!("v{}.test", word(&mut chance, HOSTS, 8));
            let branch = word(&mut chance, TOKENS, 20);
            let via = format!("SIP/2.0/UDP {host}:{};branch=z9hG4bK{branch}", chance.below(65_536));
            draft = draft.header(Name::Via, via);
        }
        // A name without what rsip takes for the address's own `<`.
        let name = word(&mut chance, "Adaß .,;", 9);
        let from = format!(
            "{} <{}>;tag={}",
            Quoted(&name),
            uri(&mut chance),
            word(&mut chance, TOKENS, 9)
        );
        let to = format!("<{}>", uri(&mut chance));
        let contact = format!("<{}>", uri(&mut chance));
        let body = word(&mut chance, "v=0\r\n äß", 24);
        let bytes = draft
            .header(Name::From, from)
            .header(Name::To, to)
            .header(Name::Contact, contact)
            .header(Name::CallId, word(&mut chance, TOKENS, 20))
            .header(Name::CSeq, format!("{} {method}", chance.below(1 << 31)))
            .header(Name::MaxForwards, chance.below(256))
            .body("text/plain", body.as_bytes())
            .finish();
        let message = Message::parse(bytes.clone()).unwrap();
        let request = rsip::Request::try_from(bytes.as_ref())
            .unwrap_or_else(|error| panic!("{error}: {bytes:?}"));
        assert_eq!(theirs(&request), ours(&message), "{bytes:?}");
    }
}

#[test]
fn we_read_what_rsip_writes() {
    let mut chance = Chance::from_seed([2; 32]);
    for _ in 0..2_000 {
        let typed = |text: String| rsip::Uri::try_from(text.as_str()).unwrap();
        let (target, from, to) = (uri(&mut chance), uri(&mut chance), uri(&mut chance));
        let tag = rsip::Param::Tag(word(&mut chance, TOKENS, 9).into());
        let branch = rsip::Param::Branch(word(&mut chance, TOKENS, 20).into());
        let via = rsip::typed::Via {
            version: rsip::Version::V2,
            transport: rsip::Transport::Udp,
            uri: typed(format!("sip:h{}.test", word(&mut chance, HOSTS, 8))).host_with_port.into(),
            params: vec![branch],
        };
        let mut headers = rsip::Headers::default();
        headers.push(via.into());
        headers.push(
            rsip::typed::From {
                display_name: Some("Ada".into()),
                uri: typed(from),
                params: vec![tag],
            }
            .into(),
        );
        headers.push(
            rsip::typed::To { display_name: None, uri: typed(to.clone()), params: vec![] }.into(),
        );
        headers.push(
            rsip::typed::Contact { display_name: None, uri: typed(to), params: vec![] }.into(),
        );
        headers.push(rsip::headers::CallId::from(word(&mut chance, TOKENS, 20)).into());
        let seq = u32::try_from(chance.below(1 << 31)).unwrap();
        headers.push(rsip::typed::CSeq { seq, method: rsip::Method::Options }.into());
        headers.push(rsip::headers::MaxForwards::from(chance.below(256).to_string()).into());
        let request = rsip::Request {
            method: rsip::Method::Options,
            uri: typed(target),
            version: rsip::Version::V2,
            headers,
            body: vec![],
        };
        let bytes = Bytes::from(request.to_string());
        let message = Message::parse(bytes.clone()).unwrap();
        assert_eq!(check(&message), Ok(()), "{bytes:?}");
        assert_eq!(ours(&message), theirs(&request), "{bytes:?}");
    }
}
