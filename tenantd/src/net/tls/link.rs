//! Encryption between nodes: TLS with a certificate on both sides.
//!
//! RFC 8446 only: both ends are ours. Where the operator names certificates and who signed them, both
//! sides must have one of those. Where not, each process makes one for itself and takes any: then
//! it is the cluster key alone that tells a peer from a stranger. Either way both sides prove that
//! they hold the key for this very connection ([`Channel`], RFC 5705), so whoever stands between
//! two nodes with certificates of his own gains nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// An encrypted connection to a peer.
pub type Stream = tokio_rustls::TlsStream<TcpStream>;

/// Names one connection: both its ends know it, and nobody else.
pub type Channel = [u8; 32];

/// What [`Channel`] is derived with (RFC 5705 §4).
const LABEL: &[u8] = b"EXPORTER-tenantd-link";

/// The name that is asked for: certificates are not judged by names.
const NAME: &str = "node.invalid";

/// The files that an operator named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Our certificate, and those that lead from it to the authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Who signs our peers' certificates.
    pub ca: PathBuf,
}

/// Why links cannot be encrypted.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A file cannot be used.
    #[error("[link] {}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// No certificate can be made.
    #[error("a certificate for links: {0}")]
    Made(#[from] rcgen::Error),
    /// What was given cannot be used together.
    #[error("[link] certificate, key and ca: {0}")]
    Together(String),
}

/// Both ends of links to be.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl Tls {
    /// With the operator's certificates.
    ///
    /// # Errors
    /// If they cannot be used.
    pub fn of_authority(files: &Files) -> Result<Self, Failure> {
        let wrong = |path: &Path, reason: String| Failure::File { path: path.to_owned(), reason };
        let certificates = |path: &Path| -> Result<Vec<CertificateDer<'static>>, Failure> {
            CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect)
                .map_err(|error| wrong(path, error.to_string()))
        };
        let key = PrivateKeyDer::from_pem_file(&files.key);
        let key = key.map_err(|error| wrong(&files.key, error.to_string()))?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&files.ca)? {
            roots.add(certificate).map_err(|error| wrong(&files.ca, error.to_string()))?;
        }
        let (roots, provider) = (Arc::new(roots), Arc::new(ring::default_provider()));
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
        let clients = clients.build().map_err(|error| wrong(&files.ca, error.to_string()))?;
        let servers = Arc::new(Signed { roots, provider: provider.clone() });
        Self::new(provider, certificates(&files.certificate)?, key, clients, servers)
    }

    /// With a certificate that is made now, and any on the other side.
    ///
    /// # Errors
    /// If none can be made.
    pub fn of_key() -> Result<Self, Failure> {
        let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()])?;
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let provider = Arc::new(ring::default_provider());
        let any = Arc::new(Any { provider: provider.clone() });
        Self::new(provider, vec![made.cert.der().clone()], key, any.clone(), any)
    }

    fn new(
        provider: Arc<CryptoProvider>,
        certificate: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        clients: Arc<dyn ClientCertVerifier>,
        servers: Arc<dyn ServerCertVerifier>,
    ) -> Result<Self, Failure> {
        let together = |error: Error| Failure::Together(error.to_string());
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(together)?
            .with_client_cert_verifier(clients)
            .with_single_cert(certificate.clone(), key.clone_key())
            .map_err(together)?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(together)?
            .dangerous()
            .with_custom_certificate_verifier(servers)
            .with_client_auth_cert(certificate, key)
            .map_err(together)?;
        Ok(Self { acceptor: Arc::new(server).into(), connector: Arc::new(client).into() })
    }

    /// Encrypts a connection that came in.
    ///
    /// # Errors
    /// If the other side speaks no TLS, or has no certificate that we take.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<(Stream, Channel)> {
        let stream = self.acceptor.accept(stream).await?;
        let channel = stream.get_ref().1.export_keying_material([0; 32], LABEL, None);
        Ok((stream.into(), channel.map_err(io::Error::other)?))
    }

    /// Encrypts a connection that we opened.
    ///
    /// # Errors
    /// If the other side speaks no TLS, or has no certificate that we take.
    pub async fn connect(&self, stream: TcpStream) -> io::Result<(Stream, Channel)> {
        let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
        let stream = self.connector.connect(name, stream).await?;
        let channel = stream.get_ref().1.export_keying_material([0; 32], LABEL, None);
        Ok((stream.into(), channel.map_err(io::Error::other)?))
    }
}

/// Takes any certificate, as long as the other side has its key.
#[derive(Debug)]
struct Any {
    provider: Arc<CryptoProvider>,
}

/// Takes what the authority signed, whatever name it bears: a node may be reached at any address.
#[derive(Debug)]
struct Signed {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

/// TLS 1.2 is not spoken on links.
fn too_old() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::General("TLS 1.3 is needed".to_owned()))
}

/// How every verifier here checks signatures: as the provider does, in TLS 1.3 alone.
macro_rules! checks_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _certificate: &CertificateDer<'_>,
            _signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            too_old()
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.provider.signature_verification_algorithms;
            verify_tls13_signature(message, certificate, signed, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.provider.signature_verification_algorithms.supported_schemes()
        }
    };
}

impl ServerCertVerifier for Signed {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let all = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            all,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    checks_signatures!();
}

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    checks_signatures!();
}

impl ClientCertVerifier for Any {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    checks_signatures!();
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa,
        KeyPair,
    };
    use tokio::net::TcpListener;

    use super::*;
    use crate::scratch::Scratch;

    #[tokio::test]
    async fn those_of_one_authority_are_linked_and_know_one_secret() {
        let ours = Authority::new();
        let (one, two) = (ours.issue("one"), ours.issue("two"));
        let (caller, called) = link(&one, &two).await;
        assert_eq!(caller.unwrap().1, called.unwrap().1);
    }

    #[tokio::test]
    async fn nobody_is_linked_whose_certificate_another_authority_signed() {
        let (ours, theirs) = (Authority::new(), Authority::new());
        let (one, two) = (ours.issue("one"), theirs.issue("two"));
        let any = Tls::of_key().unwrap();
        for (caller, called) in [(&one, &two), (&two, &one), (&any, &one), (&one, &any)] {
            let (caller, called) = link(caller, called).await;
            assert!(caller.is_err() || called.is_err());
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let scratch = Scratch::new();
        let path = scratch.path().join("none.pem");
        let files = Files { certificate: path.clone(), key: path.clone(), ca: path };
        let said = Tls::of_authority(&files).unwrap_err().to_string();
        assert!(said.contains("none.pem"), "{said}");
    }

    type Outcome = io::Result<(Stream, Channel)>;

    async fn link(caller: &Tls, called: &Tls) -> (Outcome, Outcome) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let calling = TcpStream::connect(listener.local_addr().unwrap());
        let (calling, accepted) = tokio::join!(calling, listener.accept());
        tokio::join!(caller.connect(calling.unwrap()), called.accept(accepted.unwrap().0))
    }

    struct Authority {
        issuer: CertifiedIssuer<'static, KeyPair>,
        scratch: Scratch,
    }

    impl Authority {
        fn new() -> Self {
            let mut params = CertificateParams::new(vec![]).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap());
            Self { issuer: issuer.unwrap(), scratch: Scratch::new() }
        }

        fn issue(&self, name: &str) -> Tls {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec![format!("{name}.test")]).unwrap();
            params.extended_key_usages =
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            let certificate = params.signed_by(&key, &self.issuer).unwrap();
            let write = |end: &str, text: String| {
                let path = self.scratch.path().join(format!("{name}-{end}"));
                fs::write(&path, text).unwrap();
                path
            };
            Tls::of_authority(&Files {
                certificate: write("certificate.pem", certificate.pem()),
                key: write("key.pem", key.serialize_pem()),
                ca: write("ca.pem", self.issuer.pem()),
            })
            .unwrap()
        }
    }
}
