//! Fetches the sounds that calls want to hear from the object store, so that threads of sound find them
//! in memory; or, if the store has them not yet, from the node where they wait for it.
//!
//! A sound that is not what its row says is not played: the store's answer is checked as a whole. One
//! that cannot be had is said to be missing, and asked for again by the next call that wants it.

use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use media::upload::RATE;
use media::{Media, Samples};
use pbx::media::Stored;
use store::objects::{Content, Failure, Kind, ObjectKey, Objects, Reachable};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::metrics::Metrics;
use crate::net::link::Links;

/// How many are fetched at once; the shelf keeps others waiting.
const AT_ONCE: usize = 8;
/// How long the store may take before peers are asked as well: some of what a caller waits (two seconds).
const HEAD_START: Duration = Duration::from_millis(300);
/// What stands before the samples (`intake`).
const HEADER: usize = 44;

/// Begins to fetch what is wanted, for as long as the process lives, and shows how that goes.
pub fn start(media: &Arc<Media>, objects: &Objects, links: &Arc<Links>, metrics: &Metrics) {
    show(media, metrics);
    tokio::spawn(fetch(Arc::downgrade(media), objects.clone(), Arc::downgrade(links)));
}

/// Fetches what is wanted, for as long as there is sound.
async fn fetch(media: Weak<Media>, objects: Objects, links: Weak<Links>) {
    let bell = Arc::new(Notify::new());
    let Some(shelf) = media.upgrade().map(|media| media.shelf().clone()) else { return };
    let rung = bell.clone();
    shelf.on_wanted(move || rung.notify_one());
    let mut fetching = JoinSet::new();
    loop {
        while fetching.len() < AT_ONCE
            && let Some(wanted) = shelf.next_wanted()
        {
            let (objects, links) = (objects.clone(), links.clone());
            fetching.spawn(async move { (wanted, fetch_one(&objects, &links, &wanted).await) });
        }
        tokio::select! {
            () = bell.notified() => {}
            Some(done) = fetching.join_next() => {
                let Some(media) = media.upgrade() else { return };
                if let Ok((wanted, samples)) = done {
                    media.fill(&wanted, samples);
                }
            }
        }
    }
}

async fn fetch_one(objects: &Objects, links: &Weak<Links>, wanted: &Stored) -> Option<Samples> {
    let key = ObjectKey::new(wanted.tenant, Kind::Sound, wanted.object);
    let content = Content { sha256: wanted.sha256, bytes: wanted.bytes };
    let read = match read(objects, links, &key, content).await {
        Ok(bytes) => tokio::task::spawn_blocking(move || samples(&bytes)).await.ok().flatten(),
        Err(failure) => {
            let tenant = wanted.tenant;
            tracing::warn!(%tenant, %key, "a sound cannot be played: {failure}");
            return None;
        }
    };
    if read.is_none() {
        tracing::error!(%key, "a sound is not as it is kept");
    }
    read
}

/// From the store; or from a peer where it waits for that. A caller waits, and a store that is away may
/// be silent for long before that is known: peers are asked as soon as it is slow.
async fn read(
    objects: &Objects,
    links: &Weak<Links>,
    key: &ObjectKey,
    content: Content,
) -> Result<Bytes, Failure> {
    if let Some(waiting) = objects.outbox().read(key, content).await? {
        return Ok(waiting);
    }
    let of_peers = async |after: Duration| {
        sleep(after).await;
        links.upgrade()?.fetch(key, content).await
    };
    let head_start = match objects.counts().reachable {
        Reachable::Away => Duration::ZERO,
        Reachable::Here => HEAD_START,
    };
    let mut store = pin!(objects.get(key, content));
    let mut late = pin!(of_peers(head_start));
    tokio::select! {
        found = &mut store => match found {
            Err(failure @ (Failure::Missing(_) | Failure::Away(_))) => late.await.ok_or(failure),
            outcome => outcome,
        },
        found = &mut late => match found {
            Some(bytes) => Ok(bytes),
            None => store.await,
        },
    }
}

/// The samples of a file of ours.
fn samples(file: &Bytes) -> Option<Samples> {
    let head = file.get(..HEADER)?;
    let rate = head.get(24..28)?;
    let ours = head.starts_with(b"RIFF")
        && head.get(20..24) == Some([1, 0, 1, 0].as_slice())
        && rate == RATE.to_le_bytes();
    let sound = file.get(HEADER..).filter(|_| ours)?;
    let (pairs, _) = sound.as_chunks();
    Some(pairs.iter().map(|pair| i16::from_le_bytes(*pair)).collect())
}

/// Shows what is kept in memory, and how often it was right.
fn show(media: &Arc<Media>, metrics: &Metrics) {
    type Read = fn(media::Shelved) -> u64;
    let gauges: [(&str, &str, Read); 2] = [
        ("tenantd_sound_cache_bytes", "Bytes of sounds that are ready to be played.", |s| s.bytes),
        ("tenantd_sound_cache_sounds", "Sounds that are ready to be played.", |s| s.sounds),
    ];
    let counters: [(&str, &str, Read); 2] = [
        (
            "tenantd_sound_cache_hits_total",
            "Sounds that were ready when a call wanted them.",
            |s| s.hits,
        ),
        ("tenantd_sound_cache_misses_total", "Sounds that had to be fetched first.", |s| s.misses),
    ];
    for (name, meaning, of) in gauges {
        let shelf = media.shelf().clone();
        metrics.show_gauge(name, meaning, move || of(shelf.shelved()));
    }
    for (name, meaning, of) in counters {
        let shelf = media.shelf().clone();
        metrics.show_counter(name, meaning, move || of(shelf.shelved()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_of_ours_has_samples() {
        let mut file = b"RIFF....WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        file.extend(RATE.to_le_bytes());
        file.extend([0; 16]);
        file.extend([1, 0, 0xff, 0xff, 9]);
        assert_eq!(samples(&file.clone().into()).as_deref(), Some([1, -1].as_slice()));
        file[22] = 2;
        assert_eq!(samples(&file.clone().into()), None, "two channels");
        assert_eq!(samples(&Bytes::from_static(b"RIFF")), None);
    }
}
