//! Where something is: a name or an address, and perhaps a port.
//!
//! RFC 3261 §25.1 (hostport); RFC 5118 §4.10: three colons before an embedded IPv4 address come
//! from a slip in that grammar, and are read as two.

use std::net::{IpAddr, Ipv6Addr};

use super::letters::{Letters, only};
use super::list::SPACE;

/// Reads `host[:port]`, the host with its brackets if it has any. Space around the colon is a
/// Via's privilege; whoever has none has checked before.
pub(crate) fn host_and_port(text: &str) -> Result<(&str, Option<u16>), &'static str> {
    let end = match text.strip_prefix('[') {
        Some(rest) => rest.find(']').ok_or("no closing ']'")? + 2,
        None => memchr::memchr3(b':', b' ', b'\t', text.as_bytes()).unwrap_or(text.len()),
    };
    let (host, port) = text.split_at_checked(end).ok_or("no host")?;
    if !is_host(host) {
        return Err("no name or address of a host");
    }
    let port = port.trim_matches(SPACE);
    if port.is_empty() {
        return Ok((host, None));
    }
    let port = port.strip_prefix(':').ok_or("text behind the host")?.trim_start_matches(SPACE);
    if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("no number as port");
    }
    port.parse().map(|port| (host, Some(port))).map_err(|_| "a port above 65535")
}

/// The address that `host` is, if it is no name; brackets may be there or not.
pub fn ip(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bare {
        Some(bare) => ipv6(bare).map(IpAddr::V6),
        None => host.parse().ok().or_else(|| ipv6(host).map(IpAddr::V6)),
    }
}

fn ipv6(text: &str) -> Option<Ipv6Addr> {
    text.parse().ok().or_else(|| {
        let (before, after) = text.split_once(":::")?;
        let _embedded: std::net::Ipv4Addr = after.parse().ok()?;
        format!("{before}::{after}").parse().ok()
    })
}

fn is_host(host: &str) -> bool {
    match host.strip_prefix('[') {
        Some(_) => ip(host).is_some(),
        None => !host.is_empty() && only(Letters::Host, host.as_bytes()),
    }
}

/// Whether two hosts are the same, by address or by name.
pub fn same_host(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || ip(a).is_some_and(|a| Some(a) == ip(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_with_and_without_port() {
        assert_eq!(host_and_port("example.com"), Ok(("example.com", None)));
        assert_eq!(host_and_port("a_b.test:5060"), Ok(("a_b.test", Some(5060))));
        assert_eq!(host_and_port("[2001:db8::10]:5070"), Ok(("[2001:db8::10]", Some(5070))));
        assert_eq!(host_and_port("[2001:db8::10:5070]"), Ok(("[2001:db8::10:5070]", None)));
        assert_eq!(host_and_port("host \t: 5062"), Ok(("host", Some(5062))));
    }

    #[test]
    fn an_address_with_colons_needs_its_brackets() {
        let bad = [
            "2001:db8::10",
            "[2001:db8::10",
            "[example.com]",
            "[]",
            "",
            ":5060",
            "host:",
            "host:x",
            "host:+1",
            "host:65536",
            "ho st",
            "höst",
            "a@b",
            "[::1]x",
        ];
        for text in bad {
            assert!(host_and_port(text).is_err(), "{text}");
        }
    }

    #[test]
    fn three_colons_are_two_before_an_embedded_address_only() {
        let two = "2001:db8::192.0.2.1".parse::<IpAddr>().unwrap();
        assert_eq!(ip("[2001:db8:::192.0.2.1]"), Some(two));
        assert_eq!(ip("[2001:db8:::1]"), None);
        assert_eq!(ip("[2001::db8:::192.0.2.1]"), None);
        assert_eq!(ip("192.0.2.1"), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(ip("[192.0.2.1]"), None);
        assert_eq!(ip("2001:db8::1"), ip("[2001:DB8:0::1]"));
    }

    #[test]
    fn hosts_are_compared_as_what_they_are() {
        assert!(same_host("Example.COM", "example.com"));
        assert!(same_host("[2001:db8::1]", "[2001:DB8:0:0::1]"));
        assert!(!same_host("example.com", "example.org"));
    }
}
