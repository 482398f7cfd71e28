//! rtpengine's control protocol: an offer, an answer and an end for each call.
//!
//! It is spoken in bencode. Keys stand in the descriptions (RFC 4568).

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use kit::failure::{Failure, Outcome};
use pbx::media::{CodecKind, Key, Suite};

use super::{Answer, Leg, ask};

/// Begins a call: the first phone offers, the second answers.
pub(super) fn connect(socket: &UdpSocket, call: u64, legs: &[Leg; 2]) -> Outcome<[Answer; 2]> {
    let [ada, bob] = legs;
    let mut offer = vec![("DTLS", text("off")), ("transport-protocol", text(profile(bob)))];
    if ada.codec != bob.codec {
        let names = |leg: &Leg| format!("l{}e", text(name(&leg.codec)));
        let lists = [text("mask"), names(ada), text("transcode"), names(bob)].concat();
        offer.push(("codec", format!("d{lists}e")));
    }
    let tag = ada.key.as_ref().map(|_| 1);
    let offered = describe(socket, call, "offer", &sdp(ada, tag), offer)?;
    let to_bob = read(&offered, bob)?;
    let tag = bob.key.as_ref().map(|key| tag_of(&offered, key.suite)).transpose()?;
    let answered = describe(socket, call, "answer", &sdp(bob, tag), vec![("to-tag", text("bob"))])?;
    Ok([read(&answered, ada)?, to_bob])
}

/// Ends a call.
pub(super) fn part(socket: &UdpSocket, call: u64) -> Outcome {
    command(socket, call, "delete", vec![]).map(drop)
}

fn describe(
    socket: &UdpSocket,
    call: u64,
    what: &str,
    sdp: &str,
    mut more: Vec<(&str, String)>,
) -> Outcome<String> {
    more.push(("sdp", text(sdp)));
    let reply = command(socket, call, what, more)?;
    match reply.contains("m=audio ") {
        true => Ok(reply),
        false => Err(Failure::new(format!("rtpengine to an {what}: {reply}"))),
    }
}

fn command(
    socket: &UdpSocket,
    call: u64,
    what: &str,
    more: Vec<(&str, String)>,
) -> Outcome<String> {
    let mut all = more;
    all.push(("call-id", text(&format!("figures-{call}"))));
    all.push(("command", text(what)));
    all.push(("from-tag", text("ada")));
    all.sort();
    let pairs: String = all.into_iter().map(|(key, value)| text(key) + &value).collect();
    let reply = ask(socket, format!("{what}{call} d{pairs}e").as_bytes())?;
    Ok(String::from_utf8_lossy(&reply).into_owned())
}

/// A text in bencode.
fn text(text: &str) -> String {
    format!("{}:{text}", text.len())
}

fn sdp(leg: &Leg, tag: Option<u32>) -> String {
    let Leg { at, payload_type, codec, key } = leg;
    let crypto = key.as_ref().zip(tag).map(|(key, tag)| {
        let inline = BASE64_STANDARD.encode(&key.material);
        format!("a=crypto:{tag} {} inline:{inline}\r\n", suite(key.suite))
    });
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio {} {} {payload_type}\r\na=rtpmap:{payload_type} {}\r\n{}",
        at.port(),
        profile(leg),
        map(codec),
        crypto.unwrap_or_default(),
    )
}

fn profile(leg: &Leg) -> &'static str {
    match leg.key {
        Some(_) => "RTP/SAVP",
        None => "RTP/AVP",
    }
}

fn name(codec: &CodecKind) -> &str {
    map(codec).split('/').next().unwrap_or_default()
}

fn map(codec: &CodecKind) -> &str {
    match codec {
        CodecKind::Pcmu => "PCMU/8000",
        CodecKind::Pcma => "PCMA/8000",
        CodecKind::G722 => "G722/8000",
        CodecKind::Opus { .. } => "opus/48000/2",
        CodecKind::Other { map } => map,
    }
}

fn suite(suite: Suite) -> &'static str {
    match suite {
        Suite::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
        Suite::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
        Suite::AeadAes128Gcm => "AEAD_AES_128_GCM",
    }
}

/// What a description tells a phone.
fn read(sdp: &str, leg: &Leg) -> Outcome<Answer> {
    let unreadable = || Failure::new(format!("rtpengine described: {sdp}"));
    let media = sdp.split("m=audio ").nth(1).and_then(|line| line.lines().next());
    let mut words = media.ok_or_else(unreadable)?.split(' ');
    let port: u16 = words.next().ok_or_else(unreadable)?.parse()?;
    let payload_type = words.nth(1).and_then(|number| number.trim().parse().ok());
    if payload_type != Some(leg.payload_type) {
        return Err(unreadable());
    }
    let key = leg.key.as_ref().map(|key| {
        let (_, inline) = crypto_of(sdp, key.suite).ok_or_else(unreadable)?;
        let material = BASE64_STANDARD_NO_PAD.decode(inline.trim_end_matches('='))?;
        Ok::<_, Failure>(Key { suite: key.suite, material })
    });
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Ok(Answer { target, key: key.transpose()? })
}

fn tag_of(sdp: &str, suite: Suite) -> Outcome<u32> {
    let tag = crypto_of(sdp, suite).and_then(|(tag, _)| tag.parse().ok());
    tag.ok_or_else(|| Failure::new(format!("rtpengine offers no {suite:?}: {sdp}")))
}

/// The tag and the key of a suite.
fn crypto_of(sdp: &str, wanted: Suite) -> Option<(&str, &str)> {
    sdp.lines().find_map(|line| {
        let (tag, rest) = line.strip_prefix("a=crypto:")?.split_once(' ')?;
        let inline = rest.strip_prefix(suite(wanted))?.trim().strip_prefix("inline:")?;
        Some((tag, inline.split('|').next()?))
    })
}
