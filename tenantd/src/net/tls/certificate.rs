//! A certificate with its key, as files have them, and what it is for.
//!
//! RFC 5280 §4.1.2.5 (validity) and §4.2.1.6 (names), RFC 6125 §6.4.4: the subject's common name
//! counts only where a certificate has no other.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pbx::moment::Moment;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

use super::choice::Facts;

/// A certificate that can be served.
#[derive(Debug, Clone)]
pub(super) struct Certificate {
    pub(super) facts: Facts,
    pub(super) signed: Signed,
    pub(super) key: Arc<CertifiedKey>,
}

/// Who says that a certificate is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signed {
    ByItself,
    ByAnother,
}

/// Why two files are no certificate with its key.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {what}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

/// Reads a chain and the key of its first certificate, both as PEM.
pub(super) fn read(chain: &Path, key: &Path) -> Result<Certificate, Unusable> {
    let wrong = |path: &Path, what: String| Unusable::Content { path: path.into(), what };
    let pem = |path: &Path, error: pem::Error| match error {
        pem::Error::Io(source) => Unusable::File { path: path.into(), source },
        other => wrong(path, other.to_string()),
    };
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect)
        .map_err(|error| pem(chain, error))?;
    let first = certificates.first();
    let first = first.ok_or_else(|| wrong(chain, "there is no certificate in it".to_owned()))?;
    let (facts, signed) = facts(first).map_err(|what| wrong(chain, what))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| pem(key, error))?;
    let certified = CertifiedKey::from_der(certificates, private, &default_provider())
        .map_err(|error| wrong(key, format!("it does not fit the certificate: {error}")))?;
    Ok(Certificate { facts, signed, key: Arc::new(certified) })
}

fn facts(certificate: &CertificateDer<'_>) -> Result<(Facts, Signed), String> {
    let (_, read) = X509Certificate::from_der(certificate)
        .map_err(|error| format!("the certificate cannot be read: {error}"))?;
    let others = read
        .subject_alternative_name()
        .map_err(|error| format!("its names cannot be read: {error}"))?;
    let mut names: Vec<String> = others
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => address(bytes),
            _ => None,
        })
        .collect();
    if others.is_none() {
        let common = read.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        names.extend(common.map(str::to_owned));
    }
    let validity = read.validity();
    let facts = Facts::new(names, moment(validity.not_before), moment(validity.not_after));
    let signed = match read.issuer() == read.subject() {
        true => Signed::ByItself,
        false => Signed::ByAnother,
    };
    Ok((facts, signed))
}

fn address(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    let v6 = <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from);
    v4.or(v6).map(|ip| ip.to_string())
}

/// Before 1970 there was none of this.
fn moment(time: ASN1Time) -> Moment {
    Moment::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
}
