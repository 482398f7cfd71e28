//! Who we are in handshakes: a certificate of our own, known by its fingerprint alone.
//!
//! RFC 5763 §5: signalling carries the fingerprint, so no authority has to vouch for it, and one that
//! lives as long as the process will do. RFC 5764 §4.1.2 names the ways to encrypt that are offered.

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{
    SslContext, SslMethod, SslMode, SslOptions, SslSessionCacheMode, SslVerifyMode, SslVersion,
};
use openssl::x509::{X509, X509NameBuilder, X509Ref};

/// The best first. RFC 5764 has no name for the way that RFC 7714 §14.2 adds, OpenSSL has.
const SUITES: &str = "SRTP_AEAD_AES_128_GCM:SRTP_AES128_CM_SHA1_80:SRTP_AES128_CM_SHA1_32";
/// Forward secrecy, with keys of phones of either kind.
const CIPHERS: &str = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES";
/// No process lives as long, and phones' clocks differ.
const VALID_DAYS: u32 = 3_650;

/// A certificate, and how handshakes are held with it.
#[derive(Clone)]
pub(crate) struct Identity {
    context: SslContext,
    fingerprint: [u8; 32],
}

/// OpenSSL could not make one.
#[derive(Debug, thiserror::Error)]
#[error("no certificate for encrypted sound can be made")]
pub struct NoCertificate(#[source] ErrorStack);

impl Identity {
    /// Makes a new one.
    pub(crate) fn make() -> Result<Self, NoCertificate> {
        Self::try_make().map_err(NoCertificate)
    }

    fn try_make() -> Result<Self, ErrorStack> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
        let certificate = certificate(&key)?;
        let mut context = SslContext::builder(SslMethod::dtls())?;
        context.set_min_proto_version(Some(SslVersion::DTLS1_2))?;
        context.set_cipher_list(CIPHERS)?;
        context.set_groups_list("X25519:P-256:P-384")?;
        context.set_tlsext_use_srtp(SUITES)?;
        context.set_certificate(&certificate)?;
        context.set_private_key(&key)?;
        context.set_session_cache_mode(SslSessionCacheMode::OFF);
        context.set_read_ahead(true);
        context.set_mode(SslMode::RELEASE_BUFFERS);
        context.set_options(
            SslOptions::NO_RENEGOTIATION
                | SslOptions::NO_TICKET
                | SslOptions::NO_COMPRESSION
                | SslOptions::NO_QUERY_MTU
                | SslOptions::SINGLE_ECDH_USE,
        );
        // Whoever it names, it is the fingerprint that counts; see `Handshake`.
        let verify = SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT;
        context.set_verify_callback(verify, |_, _| true);
        let fingerprint = fingerprint(&certificate)?;
        Ok(Self { context: context.build(), fingerprint })
    }

    /// SHA-256 of the certificate, for session descriptions.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// For handshakes.
    pub(super) fn context(&self) -> &SslContext {
        &self.context
    }
}

/// SHA-256 of a certificate (RFC 8122 §5).
pub(super) fn fingerprint(certificate: &X509Ref) -> Result<[u8; 32], ErrorStack> {
    let mut fingerprint = [0; 32];
    let digest = certificate.digest(MessageDigest::sha256())?;
    fingerprint.iter_mut().zip(digest.iter()).for_each(|(to, from)| *to = *from);
    Ok(fingerprint)
}

fn certificate(key: &PKey<Private>) -> Result<X509, ErrorStack> {
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_text("CN", "tenantd")?;
    let name = name.build();
    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::MAYBE_ZERO, false)?;
    let mut certificate = X509::builder()?;
    certificate.set_version(2)?;
    certificate.set_serial_number(&*serial.to_asn1_integer()?)?;
    certificate.set_subject_name(&name)?;
    certificate.set_issuer_name(&name)?;
    certificate.set_not_before(&*Asn1Time::from_unix(0)?)?;
    certificate.set_not_after(&*Asn1Time::days_from_now(VALID_DAYS)?)?;
    certificate.set_pubkey(key)?;
    certificate.sign(key, MessageDigest::sha256())?;
    Ok(certificate.build())
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}
