//! Opening links: we call nodes with higher numbers, and those with lower ones call us.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pbx::id::NodeId;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use super::session::{Ended, greet, serve};
use super::{Links, Means};

/// A node that does not take the call within this is not there.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// How soon a call is tried again: at first, and at last.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(100);
const TRY_AGAIN_AT_LATEST_AFTER: Duration = Duration::from_secs(1);

/// A link that held for so long was a good one: the next call comes at once.
const GOOD_AFTER: Duration = Duration::from_secs(5);

/// Callers that have not proved themselves yet; more are sent away at once.
const MOST_STRANGERS: usize = 32;

/// When the system gives no more connections, it is asked again this soon.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// The nodes that we call.
#[derive(Debug, Default)]
pub(super) struct Calls {
    under_way: BTreeMap<NodeId, (SocketAddr, AbortHandle)>,
    tasks: JoinSet<()>,
}

impl Calls {
    /// Calls these, and nobody else from now on.
    pub(super) fn keep_to(
        &mut self,
        links: &Arc<Links>,
        means: &Means,
        peers: BTreeMap<NodeId, SocketAddr>,
    ) {
        while self.tasks.try_join_next().is_some() {}
        self.under_way.retain(|node, (at, task)| {
            let stays = peers.get(node) == Some(at);
            if !stays {
                task.abort();
            }
            stays
        });
        for (node, at) in peers {
            let (links, means) = (links.clone(), means.clone());
            self.under_way.entry(node).or_insert_with(|| {
                (at, self.tasks.spawn(async move { call_again(links, means, node, at).await }))
            });
        }
    }
}

/// Calls a node, and again whenever the link is lost.
async fn call_again(links: Arc<Links>, means: Means, node: NodeId, at: SocketAddr) {
    let mut pause = TRY_AGAIN_AFTER;
    let mut told = false;
    loop {
        let began_at = Instant::now();
        let ended = call(&links, &means, node, at).await;
        if began_at.elapsed() > GOOD_AFTER {
            (pause, told) = (TRY_AGAIN_AFTER, false);
        }
        match told {
            true => debug!(node = node.0, %at, %ended, "no link to a peer"),
            false => warn!(node = node.0, %at, %ended, "no link to a peer"),
        }
        told = true;
        sleep(pause).await;
        pause = (pause * 2).min(TRY_AGAIN_AT_LATEST_AFTER);
    }
}

async fn call(links: &Arc<Links>, means: &Means, node: NodeId, at: SocketAddr) -> Ended {
    let stream = match timeout(CONNECT_WITHIN, TcpStream::connect(at)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return error.into(),
        Err(_) => return Ended::Silent,
    };
    match greet(links, means, stream, Some(node)).await {
        Ok(greeted) => serve(links, greeted).await,
        Err(ended) => ended,
    }
}

/// Takes calls of peers, for as long as it is let.
pub async fn listen(listener: std::net::TcpListener, links: Arc<Links>) {
    let Some(means) = links.means.clone() else { return };
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return warn!(%error, "peers cannot be heard"),
    };
    let strangers = Arc::new(Semaphore::new(MOST_STRANGERS));
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                debug!(%error, "a peer's call cannot be taken");
                sleep(ACCEPT_AGAIN_AFTER).await;
                continue;
            }
        };
        let Ok(stranger) = strangers.clone().try_acquire_owned() else { continue };
        let (links, means) = (links.clone(), means.clone());
        tasks.spawn(async move {
            let greeted = greet(&links, &means, stream, None).await;
            drop(stranger);
            let ended = match greeted {
                Ok(greeted) => serve(&links, greeted).await,
                Err(ended) => ended,
            };
            debug!(%from, %ended, "a peer's call is over");
        });
    }
}
