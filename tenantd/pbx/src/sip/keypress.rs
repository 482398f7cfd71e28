//! A key that a phone presses by a message instead of in its sound.
//!
//! No RFC: `application/dtmf-relay` as desk phones have had it for twenty years (`Signal=5`,
//! `Duration=160`), and `application/dtmf`, whose body is the key. RFC 6086 §1 only tells of them.

use super::message::Message;

/// What a phone says that gives no duration.
const USUAL_MS: u16 = 160;
/// A shorter one would not be heard, a longer one is a mistake.
const SHORTEST_MS: u16 = 40;
const LONGEST_MS: u16 = 8_000;
/// A body longer than that holds no key.
const LONGEST_BODY: usize = 256;

/// A key, and for how long it is pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keypress {
    /// 0 to 9, `*`, `#`, or A to D.
    pub key: char,
    /// How long, in milliseconds.
    pub for_ms: u16,
}

/// The key that an INFO presses, if it does; a hook flash is none.
pub fn keypress(info: &Message) -> Option<Keypress> {
    let kind = info.content_type()?.split(';').next()?.trim();
    let body = info.body();
    let text = std::str::from_utf8(&body).ok().filter(|text| text.len() <= LONGEST_BODY)?;
    match kind.to_ascii_lowercase().as_str() {
        "application/dtmf-relay" => {
            let value = |name: &str| {
                let pairs = text.lines().filter_map(|line| line.split_once('='));
                let mut named = pairs.filter(|(named, _)| named.trim().eq_ignore_ascii_case(name));
                named.next().map(|(_, value)| value.trim())
            };
            let for_ms = value("Duration").and_then(|ms| ms.parse().ok()).unwrap_or(USUAL_MS);
            let for_ms = for_ms.clamp(SHORTEST_MS, LONGEST_MS);
            Some(Keypress { key: key(value("Signal")?)?, for_ms })
        }
        "application/dtmf" => Some(Keypress { key: key(text.trim())?, for_ms: USUAL_MS }),
        _ => None,
    }
}

/// The key's sign; some write 10 and 11 for what their keypad has left and right of 0.
fn key(text: &str) -> Option<char> {
    let mut signs = text.chars();
    match (text, signs.next(), signs.next()) {
        ("10", ..) => Some('*'),
        ("11", ..) => Some('#'),
        (_, Some(sign), None) => {
            let sign = sign.to_ascii_uppercase();
            matches!(sign, '0'..='9' | '*' | '#' | 'A'..='D').then_some(sign)
        }
        (_, _, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn info(kind: &str, body: &str) -> Option<Keypress> {
        let text = format!(
            "INFO sip:102@acme.test SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n\
             From: <sip:101@acme.test>;tag=1\r\nTo: <sip:102@acme.test>;tag=2\r\nCall-ID: c\r\n\
             CSeq: 2 INFO\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        keypress(&Message::parse(Bytes::from(text)).unwrap())
    }

    #[test]
    fn reads_keys_as_phones_write_them() {
        for (kind, body, key, for_ms) in [
            ("application/dtmf-relay", "Signal=5\r\nDuration=250\r\n", '5', 250),
            ("application/dtmf-relay", "Signal= *\nDuration= 100", '*', 100),
            ("Application/DTMF-Relay;x=y", "duration=1\r\nSIGNAL=11\r\n", '#', 40),
            ("application/dtmf-relay", "Signal=d\r\nDuration=9999\r\n", 'D', 8_000),
            ("application/dtmf-relay", "Signal=10\r\nDuration=x\r\n", '*', 160),
            ("application/dtmf", "7\r\n", '7', 160),
            ("application/dtmf", "#", '#', 160),
        ] {
            assert_eq!(info(kind, body), Some(Keypress { key, for_ms }), "{kind} {body:?}");
        }
    }

    #[test]
    fn leaves_alone_what_is_no_key() {
        for (kind, body) in [
            ("application/dtmf-relay", "Signal=hf\r\nDuration=160\r\n"),
            ("application/dtmf-relay", "Signal=16\r\n"),
            ("application/dtmf-relay", "Duration=160\r\n"),
            ("application/dtmf-relay", "5"),
            ("application/dtmf", "!"),
            ("application/dtmf", "12"),
            ("application/media_control+xml", "5"),
            ("application/dtmf", &"5".repeat(300)),
        ] {
            assert_eq!(info(kind, body), None, "{kind} {body:?}");
        }
    }
}
