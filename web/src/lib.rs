//! What people click, what programs call, and what monitors ask.

pub mod boards;
pub mod catalogue;
mod channel;
mod error;
mod form;
mod guard;
pub mod mail;
mod page;
pub mod probes;
mod quality;
mod routes;
mod story;
pub mod uploads;

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use pbx::moment::Moment;
use store::objects::Objects;
use store::{ClusterKey, Database};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::boards::Boards;
use crate::channel::Channel;
pub use crate::channel::{Streams, Vouched};
pub use crate::guard::Throttle;
use crate::uploads::Uploads;

/// What the pages are made of.
#[derive(Clone)]
pub struct Portal {
    /// Where everything is kept.
    pub database: Database,
    /// Where sound is.
    pub objects: Objects,
    /// Opens phones' passwords for their cards.
    pub key: Arc<ClusterKey>,
    /// What is seen live.
    pub boards: Boards,
    /// Signs what forms carry.
    pub cookie_key: [u8; 32],
    /// Where mail is kept while no server sends it.
    pub mail_dir: PathBuf,
    /// Where phones reach us, for their cards.
    pub reach: String,
    /// Where companies' files are taken in.
    pub uploads: Uploads,
    /// Who failed to sign in lately.
    pub throttle: Throttle,
}

impl Portal {
    fn now() -> Moment {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Moment::EPOCH + since
    }
}

/// Serves the pages on a listener until `until` is over.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: std::net::TcpListener,
    portal: Portal,
    until: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let routes = routes::routes(portal, Channel::Plain);
    axum::serve(listener, routes).with_graceful_shutdown(until).await
}

/// Serves the pages on connections that are encrypted, until `until` is over. Browsers are told to
/// stay with that if somebody vouches for the certificate of the host they ask for.
///
/// # Errors
/// If the connections fail.
pub async fn serve_encrypted<S>(
    streams: Streams<S>,
    portal: Portal,
    vouched: Vouched,
    until: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let routes = routes::routes(portal, Channel::Encrypted(vouched));
    axum::serve(streams, routes).with_graceful_shutdown(until).await
}
