//! Certificates for tests, whom a phone believes, and the first words of a handshake as bytes.
//!
//! RFC 8446 and RFC 5246; RFC 6066 §3 for the name that is asked for.

use std::fs::{create_dir_all, write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::failure::Outcome;

/// Who signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

/// Whom a phone believes.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Whatever is shown.
    Anybody,
    /// This authority, for the name that was asked for.
    Only(CertificateDer<'static>),
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// If the library has no randomness.
    pub fn new() -> Outcome<Self> {
        let mut params = CertificateParams::new(vec![])?;
        params.distinguished_name.push(DnType::CommonName, "Authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate()?;
        let made = params.self_signed(&key)?;
        let (certificate, pem) = (made.der().clone(), made.pem());
        Ok(Self { issuer: Issuer::new(params, key), certificate, pem })
    }

    /// Believes only in this one.
    pub fn trust(&self) -> Trust {
        Trust::Only(self.certificate.clone())
    }

    /// Its own certificate, for phones that want a file.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Writes a certificate and its key as `fullchain<ending>.pem` and `privkey<ending>.pem`, valid
    /// since so long ago and for so long from now. Returns the certificate.
    ///
    /// # Errors
    /// If it cannot be made or written.
    pub fn issue(
        &self,
        folder: &Path,
        ending: &str,
        names: &[&str],
        (since, left): (Duration, Duration),
    ) -> Outcome<Vec<u8>> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "Server of a test");
        let now = SystemTime::now();
        params.not_before = (now - since).into();
        params.not_after = (now + left).into();
        let key = KeyPair::generate()?;
        let made = params.signed_by(&key, &self.issuer)?;
        create_dir_all(folder)?;
        write(folder.join(format!("privkey{ending}.pem")), key.serialize_pem())?;
        write(folder.join(format!("fullchain{ending}.pem")), made.pem())?;
        Ok(made.der().to_vec())
    }
}

impl Trust {
    pub(crate) fn config(&self) -> Outcome<Arc<ClientConfig>> {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?;
        let config = match self {
            Self::Anybody => {
                let all = Arc::new(BelievesAll);
                builder.dangerous().with_custom_certificate_verifier(all).with_no_client_auth()
            }
            Self::Only(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.clone())?;
                builder.with_root_certificates(roots).with_no_client_auth()
            }
        };
        Ok(Arc::new(config))
    }
}

#[derive(Debug)]
struct BelievesAll;

impl ServerCertVerifier for BelievesAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = default_provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = default_provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A ClientHello of that version (`0x0302` is TLS 1.1, `0x0303` is 1.2) that asks for that name.
pub fn hello(version: u16, name: &str) -> Vec<u8> {
    let sized = |bytes: &[u8]| {
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
        [&length[..], bytes].concat()
    };
    let extension = |kind: u16, bytes: &[u8]| [&kind.to_be_bytes()[..], &sized(bytes)].concat();
    let host = [&[0][..], &sized(name.as_bytes())].concat();
    let extensions = [
        extension(0, &sized(&host)),
        extension(10, &sized(&[0, 0x1d, 0, 0x17])),
        extension(11, &[1, 0]),
        extension(13, &sized(&[4, 3, 8, 4, 4, 1])),
    ]
    .concat();
    // Ciphers that both versions know, and those of 1.2.
    let ciphers = sized(&[0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x09, 0xc0, 0x13]);
    let body = [&version.to_be_bytes()[..], &[7; 32], &[0], &ciphers, &[1, 0], &sized(&extensions)]
        .concat();
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    let handshake = [&[1, length[1], length[2], length[3]][..], &body].concat();
    [&[0x16, 3, 1][..], &sized(&handshake)].concat()
}
