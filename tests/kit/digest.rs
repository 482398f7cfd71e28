//! Proving a password: with SHA-256, which neither baresip nor Debian's sipp can, and with MD5 for
//! phones of our own.
//!
//! RFC 7616, with qop=auth and the first use of a nonce.

use std::fmt::Write;

use md5::{Digest, Md5};
use sha2::Sha256;

use crate::failure::{Failure, Outcome};

/// Whose password.
#[derive(Debug, Clone, Copy)]
pub struct Login<'a> {
    /// The user's name.
    pub user: &'a str,
    /// The password.
    pub password: &'a str,
}

/// The value of the Authorization header that answers the challenge in a response.
///
/// # Errors
/// If there is no challenge in it.
pub fn answer_sha256(
    response: &str,
    method: &str,
    target: &str,
    login: &Login<'_>,
) -> Outcome<String> {
    answer::<Sha256>(response, (method, target), login, "SHA-256")
}

/// The same with MD5, which is what is offered unless told otherwise.
///
/// # Errors
/// If there is no challenge in it.
pub fn answer_md5(
    response: &str,
    method: &str,
    target: &str,
    login: &Login<'_>,
) -> Outcome<String> {
    answer::<Md5>(response, (method, target), login, "MD5")
}

fn answer<D: Digest>(
    response: &str,
    (method, target): (&str, &str),
    login: &Login<'_>,
    algorithm: &str,
) -> Outcome<String> {
    let parameter = |name: &str| {
        let value = response.split(&format!("{name}=\"")).nth(1)?;
        value.split('"').next()
    };
    let (Some(realm), Some(nonce)) = (parameter("realm"), parameter("nonce")) else {
        return Err(Failure::new(format!("there is no challenge in:\n{response}")));
    };
    let Login { user, password } = login;
    let secret = hash::<D>(&format!("{user}:{realm}:{password}"));
    let asked = hash::<D>(&format!("{method}:{target}"));
    let proof = hash::<D>(&format!("{secret}:{nonce}:00000001:ours:auth:{asked}"));
    Ok(format!(
        "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{target}\", \
         response=\"{proof}\", algorithm={algorithm}, qop=auth, nc=00000001, cnonce=\"ours\""
    ))
}

fn hash<D: Digest>(text: &str) -> String {
    D::digest(text).iter().fold(String::new(), |mut hex, byte| {
        // Writing into a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::{Login, answer_sha256};

    #[test]
    fn the_parts_of_the_challenge_are_used() {
        let challenge = "WWW-Authenticate: Digest realm=\"a.test\", nonce=\"n1\", qop=\"auth\"";
        let login = Login { user: "101", password: "x" };
        let answer = answer_sha256(challenge, "REGISTER", "sip:a.test", &login).unwrap();
        assert!(answer.contains("realm=\"a.test\", nonce=\"n1\""));
        assert!(answer_sha256("200 OK", "REGISTER", "sip:a.test", &login).is_err());
    }
}
