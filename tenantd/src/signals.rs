//! What the system asks of the process: to stop, and, if asked again, to stop at once.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How often we were asked to stop.
#[derive(Debug, Clone)]
pub struct Signals(watch::Receiver<u32>);

impl Signals {
    /// From here on, these signals no longer end the process by themselves.
    ///
    /// # Errors
    /// If the system lets us catch none.
    pub fn catch() -> io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        // The terminal was closed.
        let mut hangup = signal(SignalKind::hangup())?;
        let (count, counted) = watch::channel(0);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                    _ = hangup.recv() => {}
                }
                count.send_modify(|times| *times += 1);
            }
        });
        Ok(Self(counted))
    }

    /// Waits until we are asked to stop.
    pub async fn stop(&mut self) {
        self.times(1).await;
    }

    /// Waits until we are asked a second time.
    pub async fn stop_at_once(&mut self) {
        self.times(2).await;
    }

    async fn times(&mut self, wanted: u32) {
        if self.0.wait_for(|times| *times >= wanted).await.is_err() {
            // The catching task ends only with the runtime.
            std::future::pending::<()>().await;
        }
    }
}
