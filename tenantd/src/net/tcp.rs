//! TCP, encrypted or not: who connects is given a place, a number and a lane, and then its life
//! begins.
//!
//! RFC 3261 §18. The kernel's keepalives notice a dead peer within two minutes and keep the
//! mapping of a NAT between us open; they cost neither side a message.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use pbx::flow::Transport;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

use super::connections::{Connections, Place, count_full};
use super::stream::{Patience, serve};
use super::tls::Terminator;
use crate::metrics::Count;

/// Without a byte for so long, the peer's kernel is asked whether it is there.
const ASK_AFTER_S: u32 = 60;
const ASK_AGAIN_AFTER_S: u32 = 10;
const ASK_TIMES: u32 = 3;

/// What is not acknowledged for so long never will be.
const UNACKNOWLEDGED_FOR_MS: u32 = 30_000;

/// With no file left for a connection, those that wait are looked at again this soon.
const REST_FOR: Duration = Duration::from_millis(100);

/// What is spoken on a listener's connections.
#[derive(Clone)]
pub enum Speech {
    /// SIP as it is.
    Plain,
    /// SIP over TLS.
    Encrypted(Terminator),
}

/// Takes connections of phones for ever.
pub async fn listen(
    listener: std::net::TcpListener,
    speech: Speech,
    connections: Arc<Connections>,
) {
    accept_each(listener, |stream, peer| take(stream, peer, &speech, &connections)).await;
}

/// Hands on connections for ever.
pub(super) async fn accept_each(
    listener: std::net::TcpListener,
    mut each: impl FnMut(TcpStream, SocketAddr),
) {
    let address = listener.local_addr().ok();
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return error!(?address, %error, "connections cannot be taken"),
    };
    let mut mood = Mood::Taking;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                mood = mood.now(Mood::Taking, address);
                each(stream, peer);
            }
            // The peer has gone again, or its network has.
            Err(error) if concerns_one(&error) => {}
            Err(_) => {
                mood = mood.now(Mood::Resting, address);
                sleep(REST_FOR).await;
            }
        }
    }
}

/// Whether connections can be taken at all; only a change is worth a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Taking,
    Resting,
}

impl Mood {
    fn now(self, now: Self, address: Option<SocketAddr>) -> Self {
        match (self, now) {
            (Self::Taking, Self::Resting) => {
                warn!(?address, "the system has nothing left for new connections");
            }
            (Self::Resting, Self::Taking) => info!(?address, "new connections are taken again"),
            (Self::Taking, Self::Taking) | (Self::Resting, Self::Resting) => {}
        }
        now
    }
}

fn concerns_one(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted,
        NetworkDown, NetworkUnreachable, PermissionDenied, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionRefused
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | PermissionDenied
            | TimedOut
    )
}

fn take(stream: TcpStream, peer: SocketAddr, speech: &Speech, connections: &Arc<Connections>) {
    let place = match connections.admit(peer) {
        Ok(place) => place,
        Err(full) => {
            debug!(%peer, ?full, "a connection too many");
            return count_full(&connections.tally, full);
        }
    };
    // One that is gone already shows so at its first read.
    let _ = prepare(&stream);
    connections.tally.count(Count::ConnectionsAccepted);
    match speech.clone() {
        Speech::Plain => tokio::spawn(live(stream, peer, place, connections.clone())),
        Speech::Encrypted(terminator) => {
            tokio::spawn(live_encrypted(terminator, stream, peer, place, connections.clone()))
        }
    };
}

async fn live(stream: TcpStream, peer: SocketAddr, place: Place, connections: Arc<Connections>) {
    let Ok(local) = stream.local_addr() else { return };
    serve_as(Transport::Tcp, stream, (local, peer), &connections).await;
    drop(place);
}

async fn live_encrypted(
    terminator: Terminator,
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    connections: Arc<Connections>,
) {
    let Ok(local) = stream.local_addr() else { return };
    match terminator.accept(stream).await {
        Ok(stream) => serve_as(Transport::Tls, stream, (local, peer), &connections).await,
        Err(refused) => {
            debug!(%peer, %refused, "no encrypted connection");
            connections.tally.count(Count::ConnectionsNotEncrypted);
        }
    }
    drop(place);
}

async fn serve_as(
    transport: Transport,
    stream: impl AsyncRead + AsyncWrite,
    (local, peer): (SocketAddr, SocketAddr),
    connections: &Connections,
) {
    let open = connections.open(transport, local, peer);
    debug!(path = %open.path, "connected");
    let ended = serve(stream, &open, &Patience::default()).await;
    debug!(path = %open.path, ?ended, "disconnected");
    connections.tally.count(ended.count());
    connections.close(&open.path).await;
}

/// Answers are not held back for company, and a dead peer is noticed.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &ASK_AFTER_S)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &ASK_AGAIN_AFTER_S)?;
    setsockopt(stream, sockopt::TcpKeepCount, &ASK_TIMES)?;
    setsockopt(stream, sockopt::TcpUserTimeout, &UNACKNOWLEDGED_FOR_MS)?;
    Ok(())
}
