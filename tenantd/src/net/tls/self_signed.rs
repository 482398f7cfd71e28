//! A certificate of our own, for as long as there is no other: phones that do not look closely can
//! use it, and browsers ask first.

use std::fs::{self, OpenOptions, rename};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pbx::moment::Moment;
use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

use super::certificate::{Certificate, Unusable, read};

const CHAIN: &str = "self-signed.pem";
const KEY: &str = "self-signed.key";

/// Browsers take none that is valid for longer.
const VALID_FOR: Duration = Duration::from_secs(397 * DAY_S);
/// It is made anew so long before it expires.
pub(super) const RENEW_BEFORE: Duration = Duration::from_secs(30 * DAY_S);
const DAY_S: u64 = 24 * 60 * 60;

/// Reads the one that is kept in `folder`, or makes one for these names.
pub(super) fn keep(folder: &Path, names: &[String], now: Moment) -> Result<Certificate, Unusable> {
    let (chain, key) = (folder.join(CHAIN), folder.join(KEY));
    match read(&chain, &key) {
        Ok(kept) if still_good(&kept, names, now) => Ok(kept),
        Ok(_) | Err(_) => {
            make(folder, names, now)?;
            read(&chain, &key)
        }
    }
}

pub(super) fn still_good(kept: &Certificate, names: &[String], now: Moment) -> bool {
    let facts = &kept.facts;
    facts.is_valid(now)
        && facts.until.since(now) > RENEW_BEFORE
        && names.iter().all(|name| facts.covers(name))
}

fn make(folder: &Path, names: &[String], now: Moment) -> Result<(), Unusable> {
    let failed = |path: &Path, error: rcgen::Error| Unusable::Content {
        path: path.into(),
        what: format!("it cannot be made: {error}"),
    };
    let (chain, key) = (folder.join(CHAIN), folder.join(KEY));
    let mut params =
        CertificateParams::new(names.to_vec()).map_err(|error| failed(&chain, error))?;
    params.distinguished_name.push(DnType::CommonName, "tenantd, self-signed");
    // A clock that is slightly behind shall not make it invalid.
    let epoch = date_time_ymd(1970, 1, 1);
    let since = |moment: Moment| Duration::from_secs(moment.as_secs());
    params.not_before = epoch + since(now).saturating_sub(Duration::from_secs(DAY_S));
    params.not_after = epoch + since(now) + VALID_FOR;
    let pair = KeyPair::generate().map_err(|error| failed(&key, error))?;
    let certificate = params.self_signed(&pair).map_err(|error| failed(&chain, error))?;
    let file = |path: &Path, source| Unusable::File { path: path.into(), source };
    let mut builder = fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(folder);
    made.map_err(|source| file(folder, source))?;
    write(&key, &pair.serialize_pem())?;
    write(&chain, &certificate.pem())
}

/// Whole, or not at all; and for nobody else's eyes.
fn write(path: &Path, text: &str) -> Result<(), Unusable> {
    let beside = beside(path);
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let written = options.open(&beside).and_then(|mut file| file.write_all(text.as_bytes()));
    let renamed = written.and_then(|()| rename(&beside, path));
    renamed.map_err(|source| Unusable::File { path: path.into(), source })
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn it_is_kept_until_it_is_old_or_lacks_a_name() {
        let scratch = Scratch::new();
        let folder = scratch.path().join("tls");
        let names =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let now = Moment::from_secs(1_800_000_000);
        let first = keep(&folder, &names(&["localhost"]), now).unwrap();
        assert!(first.facts.covers("localhost") && first.facts.is_valid(now));
        let mode = fs::metadata(folder.join(KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let again = keep(&folder, &names(&["localhost"]), now + RENEW_BEFORE).unwrap();
        assert_eq!(again.key.cert, first.key.cert);
        let renewed = keep(&folder, &names(&["localhost"]), now + VALID_FOR).unwrap();
        assert_ne!(renewed.key.cert, first.key.cert);
        let wider = names(&["localhost", "127.0.0.1", "::1", "alpha.localhost"]);
        let named = keep(&folder, &wider, now).unwrap();
        assert!(wider.iter().all(|name| named.facts.covers(name)), "{:?}", named.facts.names);
        assert_eq!(keep(&folder, &wider, now).unwrap().key.cert, named.key.cert);
    }
}
