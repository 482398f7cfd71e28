//! Our threads of sound in a process of their own, told of calls over loopback.
//!
//! So that its CPU time and memory are those of the relay alone, as rtpengine's are.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use kit::failure::{Failure, Outcome};
use media::{Config, Media};
use pbx::id::CallId;
use pbx::media::{Codec, Event, Key, Part, Protection, Reception, Reports, Side, Terms, Wish};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{ANSWERS_WITHIN, Answer, Leg, PORTS, ask, port_of_ours};

/// As many as the rows about whole servers have.
const THREADS: usize = 2;

#[derive(Serialize, Deserialize)]
enum Question {
    Connect { call: u64, phones: [(SocketAddr, Box<Terms>); 2] },
    Enter { call: u64, seat: u16, at: SocketAddr, terms: Box<Terms> },
    Part { call: u64 },
    Count,
}

#[derive(Serialize, Deserialize)]
enum Reply {
    Connected([u16; 2]),
    Entered(u16),
    Parted,
    NoPorts,
    Counted(String),
}

/// Begins a call.
pub(super) fn connect(socket: &UdpSocket, call: u64, legs: &[Leg; 2]) -> Outcome<[Answer; 2]> {
    let keys = [0, 1].map(|leg| own_key(call, leg, legs));
    let phones = [0, 1].map(|leg: usize| (legs[leg].at, terms(&legs[leg], keys[leg].as_ref())));
    match exchange(socket, &Question::Connect { call, phones })? {
        Reply::Connected(ports) => {
            let [a, b] = keys;
            let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let [first, second] = ports.map(at);
            Ok([Answer { target: first, key: a }, Answer { target: second, key: b }])
        }
        Reply::NoPorts => Err(Failure::new("no port is free")),
        Reply::Entered(_) | Reply::Parted | Reply::Counted(_) => {
            Err(Failure::new("this is no answer"))
        }
    }
}

/// A phone enters a conference, and speaks there.
pub(super) fn enter(socket: &UdpSocket, call: u64, seat: u16, leg: &Leg) -> Outcome<Answer> {
    let question = Question::Enter { call, seat, at: leg.at, terms: terms(leg, None) };
    match exchange(socket, &question)? {
        Reply::Entered(port) => {
            Ok(Answer { target: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), key: None })
        }
        Reply::NoPorts => Err(Failure::new("no port is free")),
        Reply::Connected(_) | Reply::Parted | Reply::Counted(_) => {
            Err(Failure::new("this is no answer"))
        }
    }
}

/// Ends a call.
pub(super) fn part(socket: &UdpSocket, call: u64) -> Outcome {
    exchange(socket, &Question::Part { call }).map(drop)
}

/// What it counted so far.
pub(super) fn counted(socket: &UdpSocket) -> Outcome<String> {
    match exchange(socket, &Question::Count)? {
        Reply::Counted(counters) => Ok(counters),
        Reply::Connected(_) | Reply::Entered(_) | Reply::Parted | Reply::NoPorts => {
            Err(Failure::new("this is no answer"))
        }
    }
}

fn exchange(socket: &UdpSocket, question: &Question) -> Outcome<Reply> {
    Ok(serde_json::from_slice(&ask(socket, &serde_json::to_vec(question)?)?)?)
}

/// The key that we seal with for a phone: none is used twice.
fn own_key(call: u64, leg: u8, legs: &[Leg; 2]) -> Option<Key> {
    let Key { suite, material } = legs.get(usize::from(leg))?.key.as_ref()?;
    let material = (0..).zip(material).map(|(place, _): (u8, _)| match place {
        0..8 => call.to_be_bytes()[usize::from(place)],
        _ => place ^ leg,
    });
    Some(Key { suite: *suite, material: material.collect() })
}

/// What a phone and we agreed on, as a call has it.
fn terms(leg: &Leg, ours: Option<&Key>) -> Box<Terms> {
    let Leg { codec, payload_type, key, .. } = leg;
    Box::new(Terms {
        codecs: vec![Codec {
            kind: codec.clone(),
            to_peer: *payload_type,
            from_peer: *payload_type,
        }],
        events: Some(101),
        events_clock: 8_000,
        comfort_noise: None,
        ptime: 20,
        reception: Reception::Wanted,
        protection: match (ours, key) {
            (Some(ours), Some(theirs)) => {
                Protection::Sdes { ours: ours.clone(), theirs: theirs.clone() }
            }
            (_, _) => Protection::Plain,
        },
        reports: Reports::Beside,
    })
}

/// Is the relay until nobody speaks to it any more.
pub(crate) fn serve() -> Outcome {
    let (told, events) = channel();
    let config = Config { ports: PORTS, threads: THREADS, ..Config::default() };
    let media = Media::start(&config, move |event| drop(told.send(event)))?;
    let socket = UdpSocket::bind(port_of_ours())?;
    // Whoever started us holds the other end as long as he lives.
    thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        process::exit(0);
    });
    eprintln!("ready");
    let mut room = [0; 16_384];
    loop {
        let (len, from) = socket.recv_from(&mut room)?;
        let question = serde_json::from_slice(room.get(..len).unwrap_or_default())?;
        let reply = answer(&media, &events, question)?;
        socket.send_to(&serde_json::to_vec(&reply)?, from)?;
    }
}

fn answer(media: &Media, events: &Receiver<Event>, question: Question) -> Outcome<Reply> {
    match question {
        Question::Connect { call, phones } => {
            let [a, b] = sides(call);
            media.wish_all([a, b].into_iter().zip(phones).flat_map(|(side, (at, terms))| {
                let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
                [
                    Wish::Open { side, local, port: None },
                    Wish::Aim { side, rtp: Some(at), rtcp: None, near: Some(at.ip()) },
                    Wish::Agree { side, terms },
                ]
            }));
            media.wish(Wish::Join { a, b });
            let mut ports = [0; 2];
            while ports.contains(&0) {
                match events.recv_timeout(ANSWERS_WITHIN)? {
                    Event::Opened { side, port } if side == a => ports[0] = port,
                    Event::Opened { side, port } if side == b => ports[1] = port,
                    Event::NoPorts { .. } => {
                        close(media, events, [a, b])?;
                        return Ok(Reply::NoPorts);
                    }
                    _ => {}
                }
            }
            Ok(Reply::Connected(ports))
        }
        Question::Enter { call, seat, at, terms } => {
            let side = Side { call: CallId(Uuid::from_u128(u128::from(call))), leg: seat };
            let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
            media.wish_all([
                Wish::Open { side, local, port: None },
                Wish::Aim { side, rtp: Some(at), rtcp: None, near: Some(at.ip()) },
                Wish::Agree { side, terms },
                Wish::Mix { side, part: Part::Speaks },
            ]);
            loop {
                match events.recv_timeout(ANSWERS_WITHIN)? {
                    Event::Opened { side: opened, port } if opened == side => {
                        return Ok(Reply::Entered(port));
                    }
                    Event::NoPorts { .. } => return Ok(Reply::NoPorts),
                    _ => {}
                }
            }
        }
        Question::Part { call } => close(media, events, sides(call)).map(|()| Reply::Parted),
        Question::Count => Ok(Reply::Counted(format!("{:?}", media.counters()))),
    }
}

fn close(media: &Media, events: &Receiver<Event>, sides: [Side; 2]) -> Outcome {
    media.wish_all(sides.map(|side| Wish::Close { side }));
    let mut open = sides.to_vec();
    while !open.is_empty() {
        if let Event::Closed { side, .. } = events.recv_timeout(ANSWERS_WITHIN)? {
            open.retain(|other| *other != side);
        }
    }
    Ok(())
}

fn sides(call: u64) -> [Side; 2] {
    [0, 1].map(|leg| Side { call: CallId(Uuid::from_u128(u128::from(call))), leg })
}
