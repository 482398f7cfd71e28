//! What a value in a provisioning file may be, and how it is written the same way every time.

use std::net::IpAddr;

use chrono_tz::Tz;

use super::countries;

/// A checked value, or why it is none.
type Checked<T> = Result<T, String>;

const LONGEST_DOMAIN: usize = 253;
const LONGEST_NAME: usize = 128;
const LONGEST_PASSWORD: usize = 128;
/// A day: what runs longer was forgotten.
const MOST_CALL_SECONDS: u64 = 7 * 86_400;

/// A domain or address, in lower case; an IPv6 address in brackets, as it stands in a URI.
pub(super) fn domain(text: &str) -> Checked<String> {
    let plain = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    match plain.parse() {
        Ok(IpAddr::V4(address)) => return Ok(address.to_string()),
        Ok(IpAddr::V6(address)) => return Ok(format!("[{address}]")),
        Err(_) => {}
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if name.split_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        return Err(format!("{text:?} has a port; ports are ignored, leave it out"));
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    if name.len() > LONGEST_DOMAIN || !name.split('.').all(label) {
        return Err(format!("{text:?} is neither a domain nor an address"));
    }
    Ok(name)
}

/// A tenant's short label for `USER*LABEL`; empty takes it away.
pub(super) fn label(text: &str) -> Checked<String> {
    let fits = text.len() <= 32 && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    fits.then(|| text.to_ascii_lowercase())
        .ok_or_else(|| format!("{text:?} is no label: letters, digits and - only, 32 at most"))
}

/// What somebody or something is called.
pub(super) fn name(text: &str) -> Checked<String> {
    let text = text.trim();
    match text.chars().count() {
        _ if text.chars().any(char::is_control) => Err(format!("{text:?} has control characters")),
        0..=LONGEST_NAME => Ok(text.to_owned()),
        _ => Err(format!("a name of more than {LONGEST_NAME} characters")),
    }
}

/// A country's code in capitals; empty takes it away.
pub(super) fn country(text: &str) -> Checked<String> {
    let code = text.to_ascii_uppercase();
    let known = code.is_empty() || countries::exists(&code);
    known.then_some(code).ok_or_else(|| format!("{text:?} is no country of ISO 3166, as AT is"))
}

/// A time zone of the IANA database.
pub(super) fn time_zone(text: &str) -> Checked<String> {
    let zone: Result<Tz, _> = text.parse();
    zone.map(|zone| zone.name().to_owned())
        .map_err(|_| format!("{text:?} is no time zone, as Europe/Vienna is"))
}

/// An extension's or group's number.
pub(super) fn extension_number(text: &str) -> Checked<String> {
    let fits = (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| text.to_owned()).ok_or_else(|| format!("{text:?} is no number: 1 to 32 digits"))
}

/// A public number in E.164 form; what only makes it readable is dropped.
pub(super) fn public_number(text: &str) -> Checked<String> {
    let number: String = text.chars().filter(|c| !" -/().".contains(*c)).collect();
    let digits = number.strip_prefix('+').unwrap_or_default();
    let fits = (2..=15).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit())
        && !digits.starts_with('0');
    fits.then_some(number)
        .ok_or_else(|| format!("{text:?} is no public number: + and country code, as +4312345"))
}

/// A SIP user name; empty takes it away. No `*`: that is `USER*LABEL`.
pub(super) fn username(text: &str) -> Checked<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
    (text.len() <= 64 && text.chars().all(fits)).then(|| text.to_owned()).ok_or_else(|| {
        format!("{text:?} is no user name: letters, digits and . _ - + only, 64 at most")
    })
}

/// A digest user name; empty takes it away. RFC 7616 §3.4.2 forbids the colon.
pub(super) fn auth_username(text: &str) -> Checked<String> {
    let fits = |c: char| c.is_ascii_graphic() && !":\"\\".contains(c);
    (text.len() <= 64 && text.chars().all(fits)).then(|| text.to_owned()).ok_or_else(|| {
        format!("{text:?} is no authentication name: printable, without : \" \\, 64 at most")
    })
}

/// A mail address in lower case; empty takes it away.
pub(super) fn email(text: &str) -> Checked<String> {
    let plain = |part: &str| {
        !part.is_empty() && !part.chars().any(|c| c.is_whitespace() || c.is_control() || c == '@')
    };
    let fits = text.is_empty()
        || text.len() <= 254
            && text.split_once('@').is_some_and(|(user, host)| plain(user) && plain(host));
    fits.then(|| text.to_lowercase()).ok_or_else(|| format!("{text:?} is no mail address"))
}

/// A password, which must not be one of `names`. It is never repeated in the reason.
pub(super) fn password(text: &str, names: &[&str]) -> Checked<String> {
    let reason = match text.len() {
        0 => "the password is empty",
        1..=LONGEST_PASSWORD if text.chars().any(char::is_control) => {
            "the password has control characters"
        }
        1..=LONGEST_PASSWORD if names.contains(&text) => "the password equals the name it protects",
        1..=LONGEST_PASSWORD => return Ok(text.to_owned()),
        _ => "the password has more than 128 bytes",
    };
    Err(reason.to_owned())
}

/// What must be dialled to get into a conference of this number; empty takes it away. It is never
/// repeated in the reason.
pub(super) fn pin(text: &str, number: &str) -> Checked<String> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    match text.len() {
        0 => Ok(String::new()),
        4..=16 if digits && text == number => Err("equals the number it protects".to_owned()),
        4..=16 if digits => Ok(text.to_owned()),
        _ => Err("is 4 to 16 digits".to_owned()),
    }
}

/// A network or address, as Postgres writes it: with its length, and nothing below it.
pub(super) fn network(text: &str) -> Checked<String> {
    let wrong = || format!("{text:?} is no network, as 192.0.2.0/24 is");
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    let length: u32 = length.map_or(Ok(width), str::parse).map_err(|_| wrong())?;
    if length > width {
        return Err(wrong());
    }
    let network = match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    };
    Ok(format!("{network}/{length}"))
}

/// Digest algorithms in the order in which they are offered.
pub(super) fn digest(names: &[String]) -> Checked<Vec<String>> {
    let known = [&["MD5"][..], &["SHA-256"], &["SHA-256", "MD5"]];
    known
        .contains(&names.iter().map(String::as_str).collect::<Vec<_>>().as_slice())
        .then(|| names.to_owned())
        .ok_or_else(|| r#"digest is one of ["MD5"], ["SHA-256"] and ["SHA-256", "MD5"]"#.to_owned())
}

/// How much encryption of sound is wanted.
pub(super) fn srtp(text: &str) -> Checked<String> {
    let known = ["off", "optional", "required"].contains(&text);
    known
        .then(|| text.to_owned())
        .ok_or_else(|| format!(r#"srtp is "off", "optional" or "required", and not {text:?}"#))
}

/// The same of an extension; empty leaves it to the company.
pub(super) fn own_srtp(text: &str) -> Checked<String> {
    if text.is_empty() { Ok(String::new()) } else { srtp(text) }
}

/// Whether calls are recorded.
pub(super) fn record(text: &str) -> Checked<String> {
    let known = ["off", "always", "on_demand"].contains(&text);
    known
        .then(|| text.to_owned())
        .ok_or_else(|| format!(r#"record is "off", "always" or "on_demand", and not {text:?}"#))
}

/// The same of an extension; empty leaves it to the company.
pub(super) fn own_record(text: &str) -> Checked<String> {
    if text.is_empty() { Ok(String::new()) } else { record(text) }
}

/// What is pressed within a call.
pub(super) fn code(text: &str) -> Checked<String> {
    let keys =
        |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'*' | b'#' | b'A'..=b'D'));
    ((2..=8).contains(&text.len()) && keys(text))
        .then(|| text.to_owned())
        .ok_or_else(|| format!("{text:?} is no code: 2 to 8 keys of a telephone"))
}

/// A whole number within bounds.
pub(super) fn count(value: i64, from: u32, to: u32) -> Checked<u32> {
    let count = u32::try_from(value).ok().filter(|count| (from..=to).contains(count));
    count.ok_or_else(|| format!("{value} is not between {from} and {to}"))
}

/// A duration as `4h`, `1h30m`, `90s` in seconds; `0` is none.
pub(super) fn seconds(text: &str) -> Checked<u32> {
    let wrong = || format!("{text:?} is no duration, as 4h, 90m or 1h30m is");
    if text == "0" {
        return Ok(0);
    }
    let (mut total, mut digits) = (0_u64, String::new());
    for c in text.chars() {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        let unit = match c {
            'd' => 86_400,
            'h' => 3_600,
            'm' => 60,
            's' => 1,
            _ => return Err(wrong()),
        };
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        total = number.checked_mul(unit).and_then(|s| total.checked_add(s)).ok_or_else(wrong)?;
        digits.clear();
    }
    match u32::try_from(total) {
        Ok(seconds) if digits.is_empty() && !text.is_empty() && total <= MOST_CALL_SECONDS => {
            Ok(seconds)
        }
        Ok(_) if digits.is_empty() && total > MOST_CALL_SECONDS => {
            Err(format!("{text:?} is more than a week"))
        }
        Ok(_) | Err(_) => Err(wrong()),
    }
}

/// A number of bytes: `32 MiB`, `10GB`, `4096`.
pub fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim_start() {
        "" | "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    let bytes = number.parse::<u64>().ok()?.checked_mul(unit)?;
    i64::try_from(bytes).is_ok().then_some(bytes)
}

/// A quota in bytes.
pub(super) fn quota(text: &str) -> Checked<u64> {
    bytes(text).ok_or_else(|| format!("{text:?} is no size, as 200 MiB is"))
}

/// What a sound is called: a file's name would do.
///
/// # Errors
/// Why it is no name.
pub fn sound_name(text: &str) -> Result<String, String> {
    match name(text)? {
        empty if empty.is_empty() => Err("is empty".to_owned()),
        name => Ok(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_written_one_way() {
        let good = [
            ("Acme.TEST", "acme.test"),
            ("acme.test.", "acme.test"),
            ("192.0.2.7", "192.0.2.7"),
            ("2001:DB8:0::1", "[2001:db8::1]"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("localhost", "localhost"),
        ];
        for (text, written) in good {
            assert_eq!(domain(text).as_deref(), Ok(written));
        }
        for text in ["", "a..b", "-a.test", "a b", "acme.test:5060", "ä.test", "[1.2.3]", "a/b"] {
            assert!(domain(text).is_err(), "{text}");
        }
    }

    #[test]
    fn networks_lose_what_is_below_them() {
        assert_eq!(network("192.168.7.9/16").as_deref(), Ok("192.168.0.0/16"));
        assert_eq!(network("10.0.0.1").as_deref(), Ok("10.0.0.1/32"));
        assert_eq!(network("0.0.0.0/0").as_deref(), Ok("0.0.0.0/0"));
        assert_eq!(network("2001:db8::7/32").as_deref(), Ok("2001:db8::/32"));
        assert_eq!(network("::/0").as_deref(), Ok("::/0"));
        for text in ["", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0/8", "x/8", "::/129"] {
            assert!(network(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_sums_of_units() {
        assert_eq!(seconds("4h"), Ok(14_400));
        assert_eq!(seconds("1h30m"), Ok(5_400));
        assert_eq!(seconds("0"), Ok(0));
        for text in ["", "4", "h", "4x", "1h30", "-1h", "8d", "99999999999999999999h"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_have_units() {
        let sizes = [("4096", 4_096), ("32 MiB", 32 << 20), ("1GB", 1_000_000_000), ("0", 0)];
        for (text, size) in sizes {
            assert_eq!(bytes(text), Some(size), "{text}");
        }
        for text in ["", "MiB", "-1", "1 mib", "1.5 GB", "99999999999 TiB", "1 M B"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn a_password_is_refused_only_for_the_four_reasons() {
        assert!(password("x", &["101"]).is_ok());
        assert!(password("pä ss;\"", &["101"]).is_ok());
        assert!(password(&"x".repeat(128), &[]).is_ok());
        for (text, reason) in [
            ("", "empty"),
            ("101", "equals"),
            ("ada", "equals"),
            ("a\tb", "control"),
            ("x".repeat(129).as_str(), "128"),
        ] {
            assert!(password(text, &["101", "ada"]).unwrap_err().contains(reason), "{text}");
        }
    }

    #[test]
    fn numbers_and_names_keep_to_their_characters() {
        assert_eq!(public_number("+43 (1) 505-641").as_deref(), Ok("+431505641"));
        for text in ["4312345", "+0431", "+", "+43x", "+1234567890123456"] {
            assert!(public_number(text).is_err(), "{text}");
        }
        assert!(extension_number("4312345678").is_ok());
        assert!(extension_number("10a").is_err() && extension_number("").is_err());
        assert!(username("ada.lovelace").is_ok() && username("ada*x").is_err());
        assert!(auth_username("ada@acme").is_ok() && auth_username("a:b").is_err());
        assert_eq!(email("Ada@Acme.test").as_deref(), Ok("ada@acme.test"));
        assert!(email("ada").is_err() && email("a@b@c").is_err() && email("a @b").is_err());
        assert_eq!(time_zone("Europe/Vienna").as_deref(), Ok("Europe/Vienna"));
        assert!(time_zone("Europe/Wien").is_err());
        assert_eq!(country("at").as_deref(), Ok("AT"));
        assert!(country("UK").is_err());
        assert_eq!(count(3, 1, 100), Ok(3));
        assert!(count(0, 1, 100).is_err() && count(-1, 0, 9).is_err());
        assert!(srtp("required").is_ok() && srtp("").is_err() && srtp("Off").is_err());
        assert!(own_srtp("").is_ok() && own_srtp("yes").is_err());
        assert!(digest(&["SHA-256".into(), "MD5".into()]).is_ok());
        assert!(digest(&["MD5".into(), "SHA-256".into()]).is_err() && digest(&[]).is_err());
    }
}
