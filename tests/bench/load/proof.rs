//! Answering a challenge: a phone proves its password by MD5, as phones do.
//!
//! RFC 2617 §3.2.2, with and without qop.

use std::fmt::Write;

use md5::{Digest, Md5};

/// A challenge that a phone has got, and how often it has used it.
#[derive(Debug, Clone)]
pub(super) struct Challenge {
    realm: String,
    nonce: String,
    secret: String,
    with_qop: bool,
    uses: u32,
}

/// Which header the answer stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// The one whose user the phone is (401).
    Registrar,
    /// One on the way (407).
    Proxy,
}

impl Challenge {
    /// Reads a challenge's value.
    pub(super) fn read(value: &str, user: &str, password: &str) -> Option<Self> {
        let quoted = |name: &str| value.split(name).nth(1)?.split('"').next();
        let (realm, nonce) = (quoted("realm=\"")?, quoted("nonce=\"")?);
        Some(Self {
            secret: hash(&format!("{user}:{realm}:{password}")),
            realm: realm.to_owned(),
            nonce: nonce.to_owned(),
            with_qop: value.contains("qop="),
            uses: 0,
        })
    }

    /// The header line that proves the password for this request.
    pub(super) fn answer(&mut self, asker: Asker, user: &str, method: &str, uri: &str) -> String {
        self.uses += 1;
        let Self { realm, nonce, secret, uses, .. } = self;
        let asked = hash(&format!("{method}:{uri}"));
        let name = match asker {
            Asker::Registrar => "Authorization",
            Asker::Proxy => "Proxy-Authorization",
        };
        let mut line = String::with_capacity(320);
        let told = write!(
            line,
            "{name}: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", \
             uri=\"{uri}\", algorithm=MD5, "
        );
        let proved = match self.with_qop {
            true => {
                let proof = hash(&format!("{secret}:{nonce}:{uses:08x}:0a4f113b:auth:{asked}"));
                write!(
                    line,
                    "response=\"{proof}\", qop=auth, nc={uses:08x}, cnonce=\"0a4f113b\"\r\n"
                )
            }
            false => {
                let proof = hash(&format!("{secret}:{nonce}:{asked}"));
                write!(line, "response=\"{proof}\"\r\n")
            }
        };
        told.and(proved).expect("writing into a string cannot fail");
        line
    }
}

fn hash(text: &str) -> String {
    let mut hex = String::with_capacity(32);
    for byte in Md5::digest(text) {
        for digit in [byte >> 4, byte & 15] {
            hex.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc_is_proved() {
        let value =
            "Digest realm=\"testrealm@host.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\"";
        let mut challenge = Challenge::read(value, "Mufasa", "Circle Of Life").unwrap();
        let line = challenge.answer(Asker::Registrar, "Mufasa", "GET", "/dir/index.html");
        // RFC 2617 §3.5 without qop, as RFC 2069 would have it.
        assert!(line.contains("response=\"670fd8c2df070c60b045671b8b24ff02\""), "{line}");
    }

    #[test]
    fn each_use_of_a_nonce_is_counted() {
        let value = "Digest realm=\"a\", nonce=\"b\", qop=\"auth\"";
        let mut challenge = Challenge::read(value, "1", "2").unwrap();
        let first = challenge.answer(Asker::Proxy, "1", "INVITE", "sip:2@a");
        let second = challenge.answer(Asker::Proxy, "1", "INVITE", "sip:2@a");
        assert!(first.contains("nc=00000001") && second.contains("nc=00000002"));
    }
}
