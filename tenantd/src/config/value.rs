//! Values that are more than text: each is checked as it is read, so that a mistake has a place.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::Deserialize;

/// A name of a node, which peers and rows in Postgres know it by.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct NodeName(pub String);

/// An address with a port that is to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Listen(pub SocketAddr);

/// An address of ours as others see it, or a name that leads to it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum External {
    /// An address.
    Address(IpAddr),
    /// A name, resolved again every minute.
    Name(String),
}

/// A range of addresses; a single address is the smallest one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Network {
    /// An address in it.
    pub address: IpAddr,
    /// How many of its first bits all the others share.
    pub prefix: u8,
}

/// A range of ports, both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

/// A length of time, written as `10s`, `500ms`, `2m` or `4h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

/// A number of bytes, written as `32 MiB`, `10GiB` or `500 kB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(pub u64);

/// Where a database is. It may hold a password, so it is never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PostgresUrl(pub String);

/// Something that is never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl TryFrom<String> for NodeName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        match !text.is_empty() && text.len() <= 32 && text.chars().all(is_plain) {
            true => Ok(Self(text)),
            false => Err(format!("{text:?} is no node name: 1 to 32 of a-z, 0-9 and -")),
        }
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.parse() {
            Ok(address) => Ok(Self(address)),
            Err(_) => Err(format!(
                "{text:?} is no address with a port, such as \"0.0.0.0:5060\" or \"[::]:5060\""
            )),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for External {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return match address.is_unspecified() {
                true => Err(format!("{text:?} is nobody's address")),
                false => Ok(Self::Address(address)),
            };
        }
        let is_label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        };
        // What ends in a number is a mistyped address, not a name.
        let is_name = text.len() <= 253
            && text.split('.').all(is_label)
            && !text.ends_with(|c: char| c.is_ascii_digit());
        match is_name {
            true => Ok(Self::Name(text.to_ascii_lowercase())),
            false => Err(format!("{text:?} is neither an address (without a port) nor a name")),
        }
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no range of addresses, such as \"10.0.0.0/8\"");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text.as_str(), None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().ok().filter(|p| *p <= longest).ok_or_else(wrong)?,
            None => longest,
        };
        Ok(Self { address, prefix })
    }
}

impl TryFrom<String> for PortRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let ends = text.split_once('-').and_then(|(first, last)| {
            Some((first.trim().parse::<u16>().ok()?, last.trim().parse::<u16>().ok()?))
        });
        match ends {
            Some((first, last)) if first >= 1024 && last > first => Ok(Self { first, last }),
            _ => Err(format!(
                "{text:?} is no range of ports from 1024 to 65535, such as \"26000-54000\""
            )),
        }
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(unit_at);
        let in_ms: Option<u64> = match unit {
            "ms" => Some(1),
            "s" => Some(1_000),
            "m" => Some(60_000),
            "h" => Some(3_600_000),
            _ => None,
        };
        let span = in_ms.and_then(|unit| number.parse::<u64>().ok()?.checked_mul(unit));
        match span {
            Some(ms) if ms <= 24 * 3_600_000 => Ok(Self(Duration::from_millis(ms))),
            Some(_) => Err(format!("{text:?} is more than a day")),
            None => Err(format!("{text:?} is no length of time, such as \"10s\" or \"500ms\"")),
        }
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match store::provision::bytes(&text) {
            Some(bytes) if bytes > 0 => Ok(Self(bytes)),
            Some(_) | None => Err(format!("{text:?} is no size, such as \"32 MiB\" or \"10 GB\"")),
        }
    }
}

impl TryFrom<String> for PostgresUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
            true => Ok(Self(text)),
            // The text may be a password that was put into the wrong place.
            false => Err("it does not begin with \"postgres://\"".to_owned()),
        }
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostgresUrl(…)")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: TryFrom<String>>(text: &str) -> Option<T> {
        T::try_from(text.to_owned()).ok()
    }

    #[test]
    fn an_address_alone_is_the_smallest_network() {
        let address = "192.0.2.1".parse().unwrap();
        assert_eq!(read("192.0.2.1"), Some(Network { address, prefix: 32 }));
        assert_eq!(read("192.0.2.1/24"), Some(Network { address, prefix: 24 }));
        assert_eq!(read::<Network>("::/0").unwrap().prefix, 0);
        for wrong in ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "host/8"] {
            assert_eq!(read::<Network>(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_span_has_a_unit_and_an_end() {
        assert_eq!(read("10s"), Some(Span(Duration::from_secs(10))));
        assert_eq!(read("0s"), Some(Span(Duration::ZERO)));
        assert_eq!(read("24h"), Some(Span(Duration::from_secs(86_400))));
        for wrong in ["", "10", "s", "-1s", "1 s", "1d", "25h", "99999999999999999999h"] {
            assert_eq!(read::<Span>(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_external_name_is_not_mistaken_for_an_address() {
        let name = |text: &str| Some(External::Name(text.to_owned()));
        assert_eq!(read("SIP.example.com"), name("sip.example.com"));
        assert!(matches!(read("2001:db8::1"), Some(External::Address(_))));
        for wrong in ["", "256.0.0.1", "0.0.0.0", "a..b", "host:5060", "sip:host", "-a.b"] {
            assert_eq!(read::<External>(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_range_of_ports_holds_at_least_a_pair() {
        assert_eq!(read("26000-54000"), Some(PortRange { first: 26_000, last: 54_000 }));
        for wrong in ["", "5060", "54000-26000", "3000-3000", "80-90", "26000-70000"] {
            assert_eq!(read::<PortRange>(wrong), None, "{wrong}");
        }
    }
}
