//! Mail: written here, sent by a server, or kept as files where none is configured.

use std::fs;
use std::path::Path;

use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message};
use lettre::{AsyncFileTransport, AsyncTransport, Tokio1Executor};

/// Letters that the folder's page shows: the newest.
const MOST_SHOWN: usize = 200;
/// A kept letter that is longer is not read to its end.
const LONGEST_SHOWN: usize = 256 * 1024;

/// Why a letter was not written.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// An address is none.
    #[error("{0:?} is no mail address: {1}")]
    Address(String, #[source] lettre::address::AddressError),
    /// It cannot be put into words.
    #[error("the letter cannot be written: {0}")]
    Letter(#[from] lettre::error::Error),
    /// The folder cannot be used.
    #[error("the mail folder: {0}")]
    Folder(#[from] std::io::Error),
    /// The folder did not take it.
    #[error("the mail folder: {0}")]
    File(#[from] lettre::transport::file::Error),
}

/// A letter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Letter {
    /// Who writes.
    pub from: String,
    /// To whom.
    pub to: String,
    /// What about.
    pub subject: String,
    /// When, as it stands in the letter; empty for a new one.
    pub date: String,
    /// The text.
    pub text: String,
}

/// Keeps a letter as a file in a folder.
///
/// # Errors
/// If an address is none, or the folder cannot be used.
pub async fn keep(dir: &Path, letter: &Letter) -> Result<(), Failure> {
    fs::create_dir_all(dir)?;
    let mailbox = |text: &str| -> Result<Mailbox, Failure> {
        text.parse().map_err(|error| Failure::Address(text.to_owned(), error))
    };
    let message = Message::builder()
        .from(mailbox(&letter.from)?)
        .to(mailbox(&letter.to)?)
        .subject(&letter.subject)
        .header(ContentType::TEXT_PLAIN)
        .body(letter.text.clone())?;
    AsyncFileTransport::<Tokio1Executor>::new(dir).send(message).await?;
    Ok(())
}

/// The letters of a folder, newest first. What cannot be read is left out.
pub fn kept(dir: &Path) -> Vec<Letter> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let letters = entries.filter(|entry| entry.path().extension().is_some_and(|e| e == "eml"));
    let mut files: Vec<_> = letters
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    files.sort_by(|a, b| b.cmp(a));
    let read = |path: &Path| {
        let bytes = fs::read(path).ok()?;
        let text =
            String::from_utf8_lossy(bytes.get(..LONGEST_SHOWN).unwrap_or(&bytes)).into_owned();
        Some(read(&text))
    };
    files.iter().take(MOST_SHOWN).filter_map(|(_, path)| read(path)).collect()
}

fn read(text: &str) -> Letter {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let field = |name: &str| {
        let row = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        row.unwrap_or_default().to_owned()
    };
    let quoted = field("Content-Transfer-Encoding") == "quoted-printable";
    Letter {
        from: field("From"),
        to: field("To"),
        subject: field("Subject"),
        date: field("Date"),
        text: if quoted { unquoted(body) } else { body.to_owned() },
    }
}

/// RFC 2045 §6.7.
fn unquoted(text: &str) -> String {
    let joined = text.replace("=\r\n", "");
    let mut bytes = Vec::with_capacity(joined.len());
    let mut rest = joined.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let pair = after.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).filter(|_| *first == b'=') {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_kept_can_be_read_again() {
        let dir = std::env::temp_dir().join(format!("tenantd-mail-{}", std::process::id()));
        let letter = Letter {
            from: "tenantd <noreply@localhost>".into(),
            to: "boss@acme.test".into(),
            subject: "Welcome".into(),
            date: String::new(),
            text: "Grüß Gott,\n\nall is well = fine.\n".into(),
        };
        keep(&dir, &letter).await.unwrap();
        let found = kept(&dir);
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].subject, "Welcome");
        assert!(found[0].to.contains("boss@acme.test"));
        assert!(found[0].text.contains("Grüß Gott") && found[0].text.contains("= fine."));
    }
}
