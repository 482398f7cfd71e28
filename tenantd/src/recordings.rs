//! Makes recordings of what calls left, hands them to the object store's outbox, and sees to it that what
//! shall go is gone.
//!
//! Media writes a file a part of a recording, in a folder of their own: `open` while the call goes on,
//! `whole` after it. What a killed process left is open for ever; it is taken when the calls that
//! outlived the process had time to go on. Raw files go when a row says that their recording waits
//! in the outbox. Rendering takes a thread a recording that steps back behind calls, and few at once.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{io, thread};

use media::recording::{Failure as NotRendered, OPEN, Rendering, WHOLE};
use pbx::id::RecordingId;
use store::Database;
use store::objects::{self, ObjectKey, Objects, Staged};
use store::recordings::{self, Added, Rendered, Seen};
use tokio::sync::oneshot;
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval};
use uuid::Uuid;

use crate::nice;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// In looks: how often it is asked what shall go.
const EXPIRE_EVERY: u32 = 10;
/// In looks: how often it is seen what is gone.
const PROVE_EVERY: u32 = 5;
/// Calls that outlived the process go on within this time.
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(30);
/// What could not be done is tried again after this, at first, and then more seldom.
const RETRY_AFTER: Duration = Duration::from_secs(2);
const RETRY_AT_LEAST_EVERY: Duration = Duration::from_secs(300);
/// So many recordings are rendered at once on a large machine, and on a small one as many as it has
/// pairs of cores: a core renders some hundred calls as they go on.
const AT_ONCE: usize = 8;

/// Why a recording is not made yet.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Render(#[from] NotRendered),
    #[error(transparent)]
    Objects(#[from] objects::Failure),
    #[error(transparent)]
    Store(#[from] store::Failure),
    #[error("{0}")]
    File(#[from] io::Error),
    #[error("rendering ended in a panic")]
    Panicked,
}

/// What makes recordings, for as long as it runs.
#[derive(Debug)]
pub struct Studio {
    desk: Desk,
    folder: PathBuf,
    /// Files that an earlier process left open.
    left: BTreeSet<PathBuf>,
    started_at: Instant,
    failed: BTreeMap<RecordingId, Failed>,
    /// Those that are next.
    waiting: VecDeque<(RecordingId, Vec<PathBuf>)>,
    making: JoinSet<Result<(), Failure>>,
    /// What each task makes.
    made_by: HashMap<task::Id, RecordingId>,
}

/// What it takes to make one.
#[derive(Debug, Clone)]
struct Desk {
    database: Database,
    objects: Objects,
    node: String,
}

/// A recording that could not be made.
#[derive(Debug, Clone, Copy)]
struct Failed {
    times: u32,
    try_at: Instant,
}

impl Studio {
    /// For this node's recordings. To be made before any call is recorded, so that it can tell what an
    /// earlier process left.
    pub fn new(database: Database, objects: Objects, node: &str, folder: &Path) -> Self {
        let files = files(folder).unwrap_or_default();
        let left = files.into_iter().filter(|file| file.extension().is_some_and(|it| it == OPEN));
        Self {
            desk: Desk { database, objects, node: node.to_owned() },
            folder: folder.to_owned(),
            left: left.collect(),
            started_at: Instant::now(),
            failed: BTreeMap::new(),
            waiting: VecDeque::new(),
            making: JoinSet::new(),
            made_by: HashMap::new(),
        }
    }

    /// Works until it is dropped; whatever is under way then is done again.
    pub async fn run(mut self) {
        self.started_at = Instant::now();
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = 0_u32;
        loop {
            tokio::select! {
                _ = looks.tick() => {
                    self.look(look).await;
                    look = look.wrapping_add(1);
                }
                Some(made) = self.making.join_next_with_id() => self.take(made),
            }
            self.begin();
        }
    }

    async fn look(&mut self, look: u32) {
        if self.waiting.is_empty() {
            self.waiting = self.ready().into();
        }
        if look.is_multiple_of(EXPIRE_EVERY) {
            // Postgres away is told elsewhere, and tried again.
            if let Ok(expired @ 1..) = recordings::expire(&self.desk.database).await {
                tracing::info!(expired, "recordings whose time is over");
            }
        }
        if look.is_multiple_of(PROVE_EVERY) {
            self.desk.prove().await;
        }
    }

    /// Begins with those that are next, as far as there is room.
    fn begin(&mut self) {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        while self.making.len() < (cores / 2).clamp(1, AT_ONCE)
            && let Some((id, parts)) = self.waiting.pop_front()
        {
            let desk = self.desk.clone();
            let task = self.making.spawn(async move { desk.make(parts).await });
            self.made_by.insert(task.id(), id);
        }
    }

    /// A recording is made, or could not be.
    fn take(&mut self, made: Result<(task::Id, Result<(), Failure>), JoinError>) {
        let (task, made) = match made {
            Ok(made) => made,
            Err(error) => (error.id(), Err(Failure::Panicked)),
        };
        let Some(id) = self.made_by.remove(&task) else { return };
        match made {
            Ok(()) => drop(self.failed.remove(&id)),
            Err(failure) => {
                let times = self.failed.get(&id).map_or(0, |failed| failed.times).min(16);
                let after = (RETRY_AFTER * 2_u32.pow(times)).min(RETRY_AT_LEAST_EVERY);
                tracing::warn!(recording = %id, "a recording waits: {failure}");
                let failed = Failed { times: times + 1, try_at: Instant::now() + after };
                self.failed.insert(id, failed);
            }
        }
    }

    /// Recordings that nobody adds to any more, with their parts in order.
    fn ready(&self) -> Vec<(RecordingId, Vec<PathBuf>)> {
        let Ok(files) = files(&self.folder) else { return Vec::new() };
        let mut all: BTreeMap<RecordingId, Vec<PathBuf>> = BTreeMap::new();
        for file in files {
            if let Some(id) = id_of(&file) {
                all.entry(id).or_default().push(file);
            }
        }
        let taken_up = self.started_at.elapsed() >= TAKEN_UP_WITHIN;
        let is_over = |file: &PathBuf| match file.extension() {
            Some(end) if end == WHOLE => true,
            _ => taken_up && self.left.contains(file),
        };
        // A call that was taken up begins another part; what was left waits for that one's end.
        let is_ready = |(id, files): &(RecordingId, Vec<PathBuf>)| {
            let try_at = self.failed.get(id).map(|failed| failed.try_at);
            let being_made = self.made_by.values().any(|made| made == id);
            files.iter().all(is_over) && !being_made && try_at.is_none_or(|at| at <= Instant::now())
        };
        let ready = all.into_iter().map(|(id, mut parts)| {
            parts.sort();
            (id, parts)
        });
        ready.filter(is_ready).collect()
    }
}

impl Desk {
    async fn make(&self, parts: Vec<PathBuf>) -> Result<(), Failure> {
        let opened = {
            let parts = parts.clone();
            beside_calls(move || Ok(Rendering::open(parts)?)).await
        };
        let rendering = match opened {
            Ok(rendering) => rendering,
            Err(Failure::Render(NotRendered::Nothing)) => {
                tracing::info!(?parts, "a recording that was killed before its first second");
                return remove(parts).await;
            }
            Err(failure) => return Err(failure),
        };
        let Some(key) = self.key(&rendering).await? else { return remove(parts).await };
        let outbox = self.objects.outbox().clone();
        let (rendering, staged, strange) = beside_calls(move || {
            let mut parcel = outbox.begin(key)?;
            let mut not_taken = None;
            let rendered = rendering.render(|piece| {
                parcel.write(piece).map_err(|failure| {
                    not_taken = Some(failure);
                    io::ErrorKind::Other.into()
                })
            });
            match (not_taken, rendered) {
                (Some(failure), _) => Err(failure.into()),
                (None, Err(failure)) => Err(failure.into()),
                (None, Ok(strange)) => Ok((rendering, parcel.finish()?, strange)),
            }
        })
        .await?;
        let rendered = rendered(&rendering, &staged);
        if strange > 0 {
            let recording = key.id();
            tracing::warn!(%recording, strange, "packets in a codec that cannot be recorded");
        }
        match recordings::add(&self.database, &self.node, &rendered).await? {
            Added::Yes => {}
            Added::Nobodys => self.objects.outbox().forget(&key).await?,
        }
        remove(parts).await
    }

    /// The key of a recording's object; `None`: it is known already.
    async fn key(&self, rendering: &Rendering) -> Result<Option<ObjectKey>, Failure> {
        let recording = &rendering.recording;
        let key = recordings::key(recording.tenant, recording.id);
        Ok(match recordings::known(&self.database, &key).await? {
            None => Some(key),
            Some(ended_at) if ended_at >= rendering.ended_at => None,
            // Its call was taken up so late that what was there is a recording of its own.
            Some(_) => Some(recordings::new_key(recording.tenant)),
        })
    }

    /// Looks whether objects that shall go are gone.
    async fn prove(&self) {
        let Ok(doomed) = recordings::unproven(&self.database).await else { return };
        for key in doomed {
            let seen = match self.objects.head(&key).await {
                Ok(None) if !self.objects.outbox().path(&key).exists() => Seen::Gone,
                Ok(_) => Seen::Here,
                // It cannot be seen now.
                Err(_) => continue,
            };
            if let Err(failure) = recordings::prove(&self.database, &key, seen).await {
                tracing::debug!("what is gone was not written down: {failure}");
            }
        }
    }
}

fn rendered(rendering: &Rendering, staged: &Staged) -> Rendered {
    Rendered {
        key: staged.key,
        content: staged.content,
        call: rendering.recording.call,
        began_at: rendering.began_at,
        ended_at: rendering.ended_at,
        lasts_ms: u64::try_from(rendering.lasts_for.as_millis()).unwrap_or(u64::MAX),
        asked_by: rendering.recording.asked_by.clone(),
        lost: rendering.lost,
    }
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
}

/// Whose part a file is.
fn id_of(file: &Path) -> Option<RecordingId> {
    let (id, _) = file.file_name()?.to_str()?.split_once('.')?;
    Uuid::parse_str(id).ok().map(RecordingId)
}

async fn remove(parts: Vec<PathBuf>) -> Result<(), Failure> {
    blocking(move || Ok(parts.iter().try_for_each(std::fs::remove_file)?)).await
}

/// Does what takes long on a thread that steps back behind calls.
async fn beside_calls<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let (done, outcome) = oneshot::channel();
    let run = move || {
        if let Err(error) = nice::step_back() {
            tracing::debug!("rendering does not step back: {error}");
        }
        // Nobody waits for it where the process ends.
        let _ = done.send(work());
    };
    thread::Builder::new().name("render".to_owned()).spawn(run)?;
    outcome.await.unwrap_or(Err(Failure::Panicked))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Failure::Panicked))
}
