//! All certificates of this node: read from files, read again when these change, and chosen from at
//! each handshake.
//!
//! Files are looked at every few seconds, which works on every file system and for every tool that
//! writes them. A changed pair is read once it has looked the same twice, so that nothing half
//! written is; one that cannot be used is named once, and what was there before goes on.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pbx::moment::Moment;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use super::certificate::{Certificate, Signed, Unusable, read};
use super::choice::{Choice, plain};
use super::pairs::{self, Look, Pair, Purpose};
use super::self_signed;

const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Where certificates are.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// The default: chain and key.
    pub default: Option<(PathBuf, PathBuf)>,
    /// The directory with a folder for each domain.
    pub directory: Option<PathBuf>,
    /// Where the self-signed one is kept.
    pub own: PathBuf,
    /// The self-signed one's names.
    pub names: Vec<String>,
}

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The default that is configured cannot be used, or none can be made.
    #[error("[tls] {0}")]
    Default(#[from] Unusable),
    /// There is no encryption to be had.
    #[error("[tls] {0}")]
    Library(#[from] rustls::Error),
}

/// Reads a certificate and its key, as a start would.
///
/// # Errors
/// If they cannot be used.
pub fn check(chain: &Path, key: &Path) -> Result<(), Failure> {
    read(chain, key)?;
    Ok(())
}

/// The certificates of this node.
pub struct Certificates {
    setup: Setup,
    shelf: RwLock<Arc<Shelf>>,
    files: Mutex<Files>,
}

/// What handshakes choose from.
#[derive(Debug)]
struct Shelf {
    choice: Choice,
    certificates: Vec<Certificate>,
}

/// What is known of the files.
#[derive(Debug, Default)]
struct Files {
    pairs: BTreeMap<Pair, Seen>,
    own: Option<Certificate>,
}

/// What is known of one pair.
#[derive(Debug)]
struct Seen {
    purpose: Purpose,
    /// How it looked when it was read.
    read: Option<Look>,
    /// How it looked last.
    last: Option<Look>,
    certificate: Option<Certificate>,
}

/// When a changed pair is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Haste {
    /// At once: at the start.
    Now,
    /// When it has looked the same twice.
    Settled,
}

impl Certificates {
    /// Reads what is there.
    ///
    /// # Errors
    /// If the configured default cannot be used, or no certificate can be made.
    pub fn open(setup: Setup) -> Result<Arc<Self>, Failure> {
        if let Some((chain, key)) = &setup.default {
            check(chain, key)?;
        }
        let mut files = Files::default();
        files.look(&setup, now(), Haste::Now)?;
        let shelf = RwLock::new(Arc::new(files.shelf()));
        Ok(Arc::new(Self { setup, shelf, files: Mutex::new(files) }))
    }

    /// Looks after the files for ever.
    pub async fn watch(self: Arc<Self>) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let this = self.clone();
            // It ends otherwise only if it panics, which has been printed.
            let _ = spawn_blocking(move || this.look_again(now())).await;
        }
    }

    fn look_again(&self, now: Moment) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        match files.look(&self.setup, now, Haste::Settled) {
            Ok(Changed::No) => {}
            Ok(Changed::Yes) => {
                let shelf = Arc::new(files.shelf());
                *self.shelf.write().unwrap_or_else(PoisonError::into_inner) = shelf;
            }
            Err(failure) => warn!("{failure}"),
        }
    }

    /// Whether a browser may believe what we show for that name: a valid certificate that did not
    /// sign itself.
    pub fn is_vouched_for(&self, name: &str) -> bool {
        let (shelf, now, name) = (self.shelf(), now(), plain(name));
        let chosen = shelf.choice.choose(Some(&name), now);
        chosen.and_then(|index| shelf.certificates.get(index)).is_some_and(|certificate| {
            let Certificate { facts, signed, .. } = certificate;
            *signed == Signed::ByAnother && facts.is_valid(now) && facts.covers(&name)
        })
    }

    /// When the first of those certificates expires that are shown now.
    pub fn first_expiry(&self) -> Option<Moment> {
        self.shelf().choice.first_expiry(now())
    }

    fn chosen(&self, name: Option<&str>, now: Moment) -> Option<Arc<CertifiedKey>> {
        let shelf = self.shelf();
        let index = shelf.choice.choose(name, now)?;
        shelf.certificates.get(index).map(|certificate| certificate.key.clone())
    }

    fn shelf(&self) -> Arc<Shelf> {
        self.shelf.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.chosen(hello.server_name(), now())
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("setup", &self.setup).finish_non_exhaustive()
    }
}

/// Validity is about the time on everybody's wall, wherever ours is set to.
fn now() -> Moment {
    Moment::EPOCH + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Changed {
    Yes,
    No,
}

impl Files {
    fn look(&mut self, setup: &Setup, now: Moment, haste: Haste) -> Result<Changed, Failure> {
        let mut listed: BTreeMap<Pair, Purpose> = BTreeMap::new();
        if let Some(directory) = &setup.directory {
            match pairs::in_directory(directory) {
                Ok(pairs) => listed.extend(pairs),
                Err(error) if haste == Haste::Now => {
                    warn!("[tls].directory {}: {error}", directory.display());
                }
                // Perhaps it is being replaced: what was read goes on.
                Err(_) => return Ok(Changed::No),
            }
        }
        if let Some((chain, key)) = setup.default.clone() {
            listed.insert(Pair { chain, key }, Purpose::Default);
        }
        let before = self.pairs.len();
        self.pairs.retain(|pair, _| listed.contains_key(pair));
        let mut changed = self.pairs.len() < before;
        for (pair, purpose) in listed {
            let new = Seen { purpose, read: None, last: None, certificate: None };
            changed |= self.pairs.entry(pair.clone()).or_insert(new).look(&pair, haste);
        }
        changed |= self.look_after_own(setup, now)?;
        Ok(if changed { Changed::Yes } else { Changed::No })
    }

    /// The self-signed one is there only as long as nothing else can be the default.
    fn look_after_own(&mut self, setup: &Setup, now: Moment) -> Result<bool, Failure> {
        let is_default =
            |seen: &Seen| seen.purpose == Purpose::Default && seen.certificate.is_some();
        if self.pairs.values().any(is_default) {
            return Ok(self.own.take().is_some());
        }
        let good = |own: &Certificate| self_signed::still_good(own, &setup.names, now);
        if self.own.as_ref().is_some_and(good) {
            return Ok(false);
        }
        self.own = Some(self_signed::keep(&setup.own, &setup.names, now)?);
        Ok(true)
    }

    fn shelf(&self) -> Shelf {
        let mut certificates = vec![];
        let mut default = None;
        for seen in self.pairs.values() {
            let Some(mut certificate) = seen.certificate.clone() else { continue };
            match &seen.purpose {
                // Of several defaults one is as good as the other: they stand in for each other.
                Purpose::Default => default = default.or(Some(certificates.len())),
                Purpose::Name(name) if !certificate.facts.covers(name) => {
                    certificate.facts.names.push(name.clone());
                }
                Purpose::Name(_) | Purpose::Own => {}
            }
            certificates.push(certificate);
        }
        if let Some(own) = &self.own {
            default = default.or(Some(certificates.len()));
            certificates.push(own.clone());
        }
        let facts = certificates.iter().map(|certificate| certificate.facts.clone()).collect();
        Shelf { choice: Choice::new(facts, default), certificates }
    }
}

impl Seen {
    /// Looks at the files, and reads them if they are new; tells whether that changed anything.
    fn look(&mut self, pair: &Pair, haste: Haste) -> bool {
        // A file that is missing is being replaced, or will be named when it is there.
        let Ok(look) = pair.look() else { return false };
        let settled = haste == Haste::Now || self.last == Some(look);
        self.last = Some(look);
        if !settled || self.read == Some(look) {
            return false;
        }
        self.read = Some(look);
        match read(&pair.chain, &pair.key) {
            Ok(certificate) => {
                let names = certificate.facts.names.join(", ");
                info!(names, "a certificate was read: {}", pair.chain.display());
                self.certificate = Some(certificate);
                true
            }
            Err(unusable) => {
                let instead = match self.certificate {
                    Some(_) => "the one before it goes on",
                    None => "it is left out",
                };
                warn!("a certificate cannot be used, {instead}: {unusable}");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests;
