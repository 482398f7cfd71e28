//! Carries what waits in the outbox to the object store, removes what nobody needs any more, and
//! knows whether the store is there.
//!
//! What is to be done stands in Postgres (`store::object_work`), so a process that is killed in the
//! middle does it again after its start, and a store that is away delays it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use store::object_work::{self, Verb, Waiting, Work};
use store::objects::{
    Addressing, Encryption, Failure, ObjectKey, Objects, Reachable, S3Setup, Setup,
};
use store::{ClusterKey, Database};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};

use crate::config::{self, Config};
use crate::health::{self, Health};
use crate::metrics::Metrics;

/// How much is carried at the same time; more waits in Postgres.
const AT_ONCE: u16 = 8;
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// In looks: how often the store is asked whether it is there.
const PROBE_EVERY: u32 = 10;
/// In looks: how often the outbox is tidied.
const SWEEP_EVERY: u32 = 300;
/// Where no region is named, most stores of one's own want this one.
const REGION: &str = "us-east-1";

/// The store that is configured, with its outbox in the data directory.
///
/// # Errors
/// If an address is none, or a folder cannot be made.
pub fn open(config: &Config, key: &ClusterKey) -> Result<Objects, Failure> {
    let objects = &config.objects;
    let secret = objects.access_key.clone().zip(objects.secret_key.clone());
    let s3 = objects.bucket.clone().zip(secret).map(|(bucket, (access_key, secret))| S3Setup {
        endpoint: objects.endpoint.clone(),
        region: objects.region.clone().unwrap_or_else(|| REGION.to_owned()),
        bucket,
        access_key,
        secret_key: secret.0,
        addressing: match (objects.addressing, &objects.endpoint) {
            (Some(config::Addressing::Path), _) | (None, Some(_)) => Addressing::Path,
            (Some(config::Addressing::Host), _) | (None, None) => Addressing::Host,
        },
        encryption: match objects.server_side_encryption {
            None => Encryption::Unasked,
            Some(config::Encryption::Aes256) => Encryption::Aes256,
            Some(config::Encryption::Kms) => Encryption::Kms,
        },
        answer_within: objects.answer_within.0,
    });
    Objects::open(&Setup {
        s3,
        folder: config.data_dir.join("objects"),
        outbox: outbox(&config.data_dir),
        outbox_limit: objects.outbox_limit.0,
        link_key: key.derive("links to objects"),
    })
}

fn outbox(data_dir: &Path) -> PathBuf {
    data_dir.join("outbox")
}

/// Does one piece of work, and says in Postgres how it went.
///
/// # Errors
/// If it could not be done; then somebody tries it again later.
pub async fn carry(database: &Database, objects: &Objects, work: &Work) -> Result<(), Failure> {
    let done = match work.verb {
        Verb::Put => put(objects, work).await,
        Verb::Delete => objects.delete(&work.key).await,
    };
    let told = match &done {
        Ok(()) => object_work::done(database, work).await,
        Err(failure) => object_work::failed(database, work, &failure.to_string()).await,
    };
    match told {
        // Only now: a row always finds its file.
        Ok(()) if done.is_ok() => objects.outbox().forget(&work.key).await?,
        Ok(()) => {}
        // It is done once more when the claim runs out.
        Err(failure) => tracing::debug!("how an upload went was not written down: {failure}"),
    }
    done
}

async fn put(objects: &Objects, work: &Work) -> Result<(), Failure> {
    let file = objects.outbox().path(&work.key);
    let put = objects.put_file(&work.key, &file, work.content).await;
    match put {
        // Done before, by a process that could not say so any more.
        Err(Failure::File(..)) if objects.head(&work.key).await? == Some(work.content) => Ok(()),
        outcome => outcome,
    }
}

/// What carries, for as long as it runs.
#[derive(Debug)]
pub struct Carrier {
    database: Database,
    objects: Objects,
    node: String,
    waiting: Arc<Shown>,
}

/// What is shown of it.
#[derive(Debug, Default)]
struct Shown {
    puts: AtomicU64,
    bytes: AtomicU64,
    deletes: AtomicU64,
}

impl Carrier {
    /// For this node's outbox.
    pub fn new(database: Database, objects: Objects, node: &str) -> Self {
        Self { database, objects, node: node.to_owned(), waiting: Arc::default() }
    }

    /// Shows what waits and how the store answers, from now on.
    pub fn show(&self, metrics: &Metrics) {
        type Read = fn(&Shown) -> &AtomicU64;
        let gauges: [(&str, &str, Read); 3] = [
            ("tenantd_objects_waiting", "Objects that wait for the object store.", |s| &s.puts),
            ("tenantd_objects_waiting_bytes", "Their bytes.", |s| &s.bytes),
            ("tenantd_objects_to_delete", "Objects that nobody needs any more.", |s| &s.deletes),
        ];
        for (name, meaning, read) in gauges {
            let waiting = self.waiting.clone();
            metrics.show_gauge(name, meaning, move || read(&waiting).load(Ordering::Relaxed));
        }
        let objects = self.objects.clone();
        let (_, limit) = objects.outbox().room();
        let full = "Bytes that the outbox may hold.";
        metrics.show_gauge("tenantd_outbox_limit_bytes", full, move || limit);
        let room = self.objects.clone();
        let used = "Bytes in the outbox.";
        metrics.show_gauge("tenantd_outbox_bytes", used, move || room.outbox().room().0);
        metrics.show_gauge(
            "tenantd_objects_here",
            "Whether the object store answers.",
            move || u64::from(objects.counts().reachable == Reachable::Here),
        );
        type Count = fn(store::objects::Counts) -> u64;
        let counters: [(&str, &str, Count); 4] = [
            ("tenantd_objects_questions_total", "Questions to the object store.", |c| c.questions),
            ("tenantd_objects_failures_total", "Those that it did not answer.", |c| c.failures),
            ("tenantd_objects_refusals_total", "Those that it refused.", |c| c.refusals),
            ("tenantd_objects_changed_total", "Objects that were not what was stored.", |c| {
                c.changed
            }),
        ];
        for (name, meaning, read) in counters {
            let objects = self.objects.clone();
            metrics.show_counter(name, meaning, move || read(objects.counts()));
        }
    }

    /// Carries until it is dropped; whatever is under way then is done again.
    pub async fn run(self, health: Arc<Health>) {
        let mut again = object_work::start_again(&self.database, &self.node).await;
        let mut looks = interval(LOOK_EVERY);
        for look in 0_u32.. {
            looks.tick().await;
            if again.is_err() {
                again = object_work::start_again(&self.database, &self.node).await;
            }
            self.carry_all().await;
            if look % PROBE_EVERY == 0 {
                // How it went is counted, which is all that is wanted.
                let probed = self.objects.probe().await;
                self.tell(&health, probed.err().as_ref());
                self.count().await;
            }
            if look % SWEEP_EVERY == SWEEP_EVERY - 1 {
                self.sweep().await;
            }
        }
    }

    /// All that is due.
    async fn carry_all(&self) {
        // Postgres away is told elsewhere.
        while let Ok(due) = object_work::claim(&self.database, &self.node, AT_ONCE).await
            && !due.is_empty()
        {
            let mut carrying = JoinSet::new();
            let began_at = Instant::now();
            for work in due {
                let (database, objects) = (self.database.clone(), self.objects.clone());
                carrying.spawn(async move {
                    let outcome = carry(&database, &objects, &work).await;
                    if let Err(failure) = &outcome {
                        let tenant = work.key.tenant();
                        tracing::info!(%tenant, key = %work.key, "an object waits on: {failure}");
                    }
                    outcome.is_ok()
                });
            }
            let mut good = 0;
            while let Some(done) = carrying.join_next().await {
                good += u32::from(done.unwrap_or(false));
            }
            tracing::debug!(good, took = ?began_at.elapsed(), "objects carried");
            self.count().await;
        }
    }

    async fn count(&self) {
        if let Ok(Waiting { puts, bytes, deletes }) =
            object_work::waiting(&self.database, &self.node).await
        {
            self.waiting.puts.store(puts, Ordering::Relaxed);
            self.waiting.bytes.store(bytes, Ordering::Relaxed);
            self.waiting.deletes.store(deletes, Ordering::Relaxed);
        }
    }

    fn tell(&self, health: &Health, failure: Option<&Failure>) {
        let now = match failure {
            None => health::Objects::Here,
            Some(_) => health::Objects::Away,
        };
        match (health.saw_objects(now), failure) {
            (health::Objects::Here, Some(failure)) => tracing::warn!("{failure}"),
            (health::Objects::Away, None) => tracing::info!("the object store answers"),
            (health::Objects::Here, None) | (health::Objects::Away, Some(_)) => {}
        }
    }

    async fn sweep(&self) {
        // Without Postgres nobody knows what is needed.
        let Ok(named) = object_work::named(&self.database, &self.node).await else { return };
        let is_named = move |key: &ObjectKey| named.binary_search(key).is_ok();
        match self.objects.outbox().sweep(is_named).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "the outbox held what no row names"),
            Err(failure) => tracing::warn!("the outbox cannot be tidied: {failure}"),
        }
    }
}
