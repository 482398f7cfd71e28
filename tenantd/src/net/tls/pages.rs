//! Encrypted connections of browsers, ready for whoever shows the pages.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::debug;

use super::handshake::{Encrypted, Terminator};
use crate::net::tcp::accept_each;

/// Browsers' connections at once; one more is closed.
pub const MOST_PAGES: usize = 4_096;

/// An encrypted connection and its place among all.
#[derive(Debug)]
pub struct Held {
    stream: Encrypted,
    _place: OwnedSemaphorePermit,
}

/// Takes browsers' connections for ever, and hands them on once they are encrypted.
pub async fn listen(
    listener: std::net::TcpListener,
    terminator: Terminator,
    ready: mpsc::Sender<(Held, SocketAddr)>,
) {
    let places = Arc::new(Semaphore::new(MOST_PAGES));
    accept_each(listener, |stream: TcpStream, peer| {
        let Ok(place) = places.clone().try_acquire_owned() else {
            return debug!(%peer, "a browser too many");
        };
        let (terminator, ready) = (terminator.clone(), ready.clone());
        tokio::spawn(async move {
            match terminator.accept(stream).await {
                // With nobody to show pages any more it is closed.
                Ok(stream) => drop(ready.send((Held { stream, _place: place }, peer)).await),
                Err(refused) => debug!(%peer, %refused, "no encrypted connection"),
            }
        });
    })
    .await;
}

impl AsyncRead for Held {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Held {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
