//! Reading what servers send, as far as a load generator must: it knows who is on the other side.

/// An answer's status code.
pub(super) fn status(message: &str) -> Option<u16> {
    message.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
}

/// The header lines of a message.
pub(super) fn lines(message: &str) -> impl Iterator<Item = &str> {
    message.split("\r\n").skip(1).take_while(|line| !line.is_empty())
}

/// A header line's value, if that is its name.
pub(super) fn value_of<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (found, value) = line.split_once(':')?;
    found.trim_end().eq_ignore_ascii_case(name).then(|| value.trim())
}

/// The first header of this name.
pub(super) fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    lines(message).find_map(|line| value_of(line, name))
}

/// The URI of a Contact, To or the like.
pub(super) fn uri(value: &str) -> &str {
    match value.split_once('<') {
        Some((_, rest)) => rest.split('>').next().unwrap_or(rest),
        None => value.split(';').next().unwrap_or(value),
    }
}

/// The port that a description wants sound at.
pub(super) fn sound_port(message: &str) -> Option<u16> {
    let (_, body) = message.split_once("\r\n\r\n")?;
    let (_, media) = body.split_once("m=audio ")?;
    media.split(' ').next()?.parse().ok()
}

/// Whose answer it is: what our branch says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Branch {
    /// Unlike that of an earlier run: a server remembers for half a minute what it has answered.
    pub(super) run: u32,
    pub(super) place: usize,
    pub(super) serial: u32,
    pub(super) turn: u8,
}

impl Branch {
    /// Found in the topmost Via.
    pub(super) fn find(message: &str) -> Option<Self> {
        let (_, rest) = message.split_once("branch=z9hG4bK")?;
        let end = rest.find(|c: char| !c.is_ascii_hexdigit() && c != '.').unwrap_or(rest.len());
        let mut parts = rest.get(..end)?.split('.');
        let mut next = || u32::from_str_radix(parts.next()?, 16).ok();
        let (run, place, serial, turn) = (next()?, next()?, next()?, next()?);
        let (place, turn) = (usize::try_from(place).ok()?, u8::try_from(turn).ok()?);
        Some(Self { run, place, serial, turn })
    }
}

impl std::fmt::Display for Branch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { run, place, serial, turn } = self;
        write!(f, "z9hG4bK{run:x}.{place:x}.{serial:x}.{turn:x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read() {
        let branch = Branch { run: 5, place: 4711, serial: 99, turn: 3 };
        let message = format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1:9060;branch={branch};rport\r\n\
             contact: \"B\" <sip:b@127.0.0.1:5;x=y>;q=1\r\n\r\nv=0\r\nm=audio 26004 RTP/AVP 0\r\n"
        );
        assert_eq!(status(&message), Some(200));
        assert_eq!(Branch::find(&message), Some(branch));
        assert_eq!(header(&message, "Contact").map(uri), Some("sip:b@127.0.0.1:5;x=y"));
        assert_eq!(sound_port(&message), Some(26_004));
        assert_eq!(status("INVITE sip:a@b SIP/2.0\r\n"), None);
    }
}
