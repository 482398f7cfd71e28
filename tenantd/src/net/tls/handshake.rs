//! The handshake: at most so many at once, and each within ten seconds.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::server::ServerSessionMemoryCache;
use rustls::version::{TLS12, TLS13};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::shelf::{Certificates, Failure};

/// How long a handshake may take, the wait for its turn included.
const HANDSHAKE_FOR: Duration = Duration::from_secs(10);

/// Handshakes at once: more than one address may have connections, so that no single one can take
/// all of them. Others wait for their turn.
const AT_ONCE: usize = 2_048;

/// Sessions of TLS 1.2 that are resumed without a ticket; the oldest are forgotten.
const SESSIONS: usize = 4_096;

/// An encrypted connection.
pub type Encrypted = TlsStream<TcpStream>;

/// Why a connection is not encrypted.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The peer took too long.
    #[error("the handshake took too long")]
    TooLong,
    /// The peer went away, or speaks nothing that we do.
    #[error("{0}")]
    Failed(#[from] io::Error),
}

/// What makes connections encrypted ones.
#[derive(Clone)]
pub struct Terminator {
    acceptor: TlsAcceptor,
    turns: Arc<Semaphore>,
}

impl Terminator {
    /// For connections of phones.
    ///
    /// # Errors
    /// If the library has no randomness.
    pub fn for_phones(certificates: Arc<Certificates>) -> Result<Self, Failure> {
        Self::new(certificates, &[])
    }

    /// For connections of browsers (RFC 7301: HTTP/2 or HTTP/1.1).
    ///
    /// # Errors
    /// If the library has no randomness.
    pub fn for_browsers(certificates: Arc<Certificates>) -> Result<Self, Failure> {
        Self::new(certificates, &[b"h2", b"http/1.1"])
    }

    fn new(certificates: Arc<Certificates>, protocols: &[&[u8]]) -> Result<Self, Failure> {
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_protocol_versions(&[&TLS13, &TLS12])?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(certificates);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        // After a power cut all phones come back at once: with a ticket each costs a tenth.
        config.ticketer = Ticketer::new()?;
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self { acceptor, turns: Arc::new(Semaphore::new(AT_ONCE)) })
    }

    /// Shakes hands.
    ///
    /// # Errors
    /// If the peer takes too long, or no agreement is found.
    pub async fn accept(&self, stream: TcpStream) -> Result<Encrypted, Refused> {
        let handshake = async {
            // Whoever says nothing takes nobody's turn.
            stream.ready(Interest::READABLE).await?;
            let _turn = self.turns.acquire().await.map_err(io::Error::other)?;
            self.acceptor.accept(stream).await
        };
        match timeout(HANDSHAKE_FOR, handshake).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(Refused::Failed(error)),
            Err(_) => Err(Refused::TooLong),
        }
    }
}
