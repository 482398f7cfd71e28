//! How a page travels: as it is, or encrypted, and what a browser is told for that.
//!
//! RFC 6265bis §4.1.3 (`__Host-`): a cookie of the encrypted pages is never sent in plain text, and
//! cannot be replaced by one that was. RFC 6797: a browser that has once seen pages encrypted, with a
//! certificate that it can believe, asks for nothing else any more.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{HOST, STRICT_TRANSPORT_SECURITY};
use axum::http::{HeaderMap, HeaderValue, Request, Response};
use axum::middleware::Next;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// A year.
const STRICT: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Whether somebody vouches for the certificate that we show for a host.
pub type Vouched = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// How pages travel.
#[derive(Clone)]
pub(crate) enum Channel {
    /// For everybody on the way to read.
    Plain,
    /// For the browser only.
    Encrypted(Vouched),
}

/// How the page that is asked for travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secrecy {
    Plain,
    Encrypted,
}

impl Secrecy {
    /// Our cookie's name.
    pub(crate) fn cookie_name(self) -> &'static str {
        match self {
            Self::Plain => "tenantd",
            Self::Encrypted => "__Host-tenantd",
        }
    }

    /// A whole Set-Cookie.
    pub(crate) fn cookie(self, token: &str, max_age: u64) -> String {
        let name = self.cookie_name();
        let secure = match self {
            Self::Plain => "",
            Self::Encrypted => "; Secure",
        };
        format!("{name}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={max_age}{secure}")
    }
}

/// Lets pages know how they travel, and browsers that they shall not do it otherwise.
pub(crate) async fn note(
    State(channel): State<Channel>,
    mut request: Request<Body>,
    next: Next,
) -> Response<Body> {
    let vouched = match channel {
        Channel::Plain => {
            request.extensions_mut().insert(Secrecy::Plain);
            return next.run(request).await;
        }
        Channel::Encrypted(vouched) => vouched,
    };
    request.extensions_mut().insert(Secrecy::Encrypted);
    // HTTP/2 has it in the address.
    let host = request.uri().host().or_else(|| host_of(request.headers()));
    let strict = host.is_some_and(|host| vouched(host));
    let mut response = next.run(request).await;
    if strict {
        response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, STRICT);
    }
    response
}

fn host_of(headers: &HeaderMap) -> Option<&str> {
    let host = headers.get(HOST)?.to_str().ok()?;
    // A port may follow, but an IPv6 address has colons of its own.
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(name),
        Some(_) | None => Some(host),
    }
}

/// Connections that somebody else has encrypted.
pub struct Streams<S> {
    ready: mpsc::Receiver<(S, SocketAddr)>,
    address: Option<SocketAddr>,
}

impl<S> Streams<S> {
    /// As they become ready, at this address of ours.
    pub fn new(ready: mpsc::Receiver<(S, SocketAddr)>, address: Option<SocketAddr>) -> Self {
        Self { ready, address }
    }
}

impl<S> fmt::Debug for Streams<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").field("address", &self.address).finish_non_exhaustive()
    }
}

impl<S> axum::serve::Listener for Streams<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Io = S;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (S, SocketAddr) {
        match self.ready.recv().await {
            Some(stream) => stream,
            // Nobody accepts any more; whoever shows pages is told so otherwise.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.address.ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_part_of_a_host() {
        let host = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, text.parse().unwrap());
            host_of(&headers).unwrap().to_owned()
        };
        assert_eq!(host("a.test"), "a.test");
        assert_eq!(host("a.test:8443"), "a.test");
        assert_eq!(host("[::1]:8443"), "[::1]");
        assert_eq!(host("[::1]"), "[::1]");
    }

    #[test]
    fn only_encrypted_pages_have_cookies_that_must_stay_so() {
        let plain = Secrecy::Plain.cookie("t", 60);
        assert_eq!(plain, "tenantd=t; Path=/; HttpOnly; SameSite=Lax; Max-Age=60");
        let encrypted = Secrecy::Encrypted.cookie("t", 60);
        assert!(encrypted.starts_with("__Host-tenantd=t; Path=/;"), "{encrypted}");
        assert!(encrypted.ends_with("; Secure"), "{encrypted}");
    }
}
