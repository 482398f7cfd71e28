//! Keeps what is too large for Postgres: sound, under a key that says whose it is.
//!
//! An object store that speaks S3 where one is configured, else a folder, behind the same few verbs.
//! An object is written once under its key and never changed; what changes gets another key. So
//! whoever reads knows from its row in Postgres what must come, and takes nothing else.

mod content;
mod failure;
mod folder;
mod key;
mod link;
mod outbox;
mod s3;
mod setup;
mod state;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pbx::moment::Moment;
use tokio::sync::Semaphore;
use tokio::time::timeout;

pub use self::content::{Content, Hasher};
pub use self::failure::Failure;
pub use self::key::{Kind, ObjectKey};
pub use self::link::Proof;
pub use self::outbox::{Outbox, Parcel, Staged};
pub use self::setup::{Addressing, Encryption, S3Setup, Setup};
use self::state::State;
pub use self::state::{Counts, Reachable};

/// Questions to the store at the same time; others wait for their turn.
const AT_ONCE: usize = 16;
/// How long one waits for its turn before the store counts as away.
const TURN_WITHIN: Duration = Duration::from_secs(30);
/// What is read into memory at once; sound that is played is far below.
pub const LARGEST_READ: u64 = 128 * 1024 * 1024;
/// How many keys one listing names at most.
pub const LONGEST_LIST: usize = 100_000;

/// An object store, and what is on its way to it. Clones share it.
#[derive(Debug, Clone)]
pub struct Objects {
    place: Arc<Place>,
    outbox: Outbox,
    turns: Arc<Semaphore>,
    state: Arc<State>,
}

#[derive(Debug)]
enum Place {
    Folder(folder::Folder),
    S3(s3::S3),
}

/// An object as a listing names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its whole key.
    pub key: String,
    /// Its size.
    pub bytes: u64,
}

impl Objects {
    /// Prepares the store; nothing is connected before it is used, so an absent one is no failure
    /// here.
    ///
    /// # Errors
    /// If a folder of ours cannot be made, or an address is none.
    pub fn open(setup: &Setup) -> Result<Self, Failure> {
        let place = match &setup.s3 {
            Some(s3) => Place::S3(s3::S3::new(s3)?),
            None => Place::Folder(folder::Folder::open(&setup.folder, setup.link_key)?),
        };
        Ok(Self {
            place: Arc::new(place),
            outbox: Outbox::open(&setup.outbox, setup.outbox_limit)?,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            state: Arc::new(State::new()),
        })
    }

    /// What waits here until the store has it.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// How it went so far.
    pub fn counts(&self) -> Counts {
        self.state.counts()
    }

    /// Puts an object that is in memory.
    ///
    /// # Errors
    /// If the store is away or refuses.
    pub async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<Content, Failure> {
        let content = Content::of(&bytes);
        self.in_turn(async {
            match &*self.place {
                Place::Folder(folder) => folder.put(key, bytes).await,
                Place::S3(s3) => s3.put(key, bytes, content).await,
            }
        })
        .await?;
        Ok(content)
    }

    /// Puts a file, in parts if it is large; putting it again after a failure is no harm.
    ///
    /// # Errors
    /// If the store is away or refuses, or the file is not what it should be.
    pub async fn put_file(
        &self,
        key: &ObjectKey,
        file: &Path,
        content: Content,
    ) -> Result<(), Failure> {
        self.in_turn(async {
            match &*self.place {
                Place::Folder(folder) => folder.put_file(key, file, content).await,
                Place::S3(s3) => s3.put_file(key, file, content).await,
            }
        })
        .await
    }

    /// Gets a whole object, from the outbox if it still waits there. What comes is what `content`
    /// says, or an error.
    ///
    /// # Errors
    /// If it is not there, is something else, or the store is away.
    pub async fn get(&self, key: &ObjectKey, content: Content) -> Result<Bytes, Failure> {
        if content.bytes > LARGEST_READ {
            return Err(Failure::TooLarge(key.to_string()));
        }
        if let Some(waiting) = self.outbox.read(key, content).await? {
            return Ok(waiting);
        }
        let read = self.in_turn(async {
            match &*self.place {
                Place::Folder(folder) => folder.get(key, content).await,
                Place::S3(s3) => s3.get(key, content).await,
            }
        });
        let bytes = read.await?;
        match Content::of(&bytes) == content {
            true => Ok(bytes),
            false => {
                self.state.changed();
                Err(Failure::Changed(key.to_string()))
            }
        }
    }

    /// Gets a part of an object. Its length is checked, and that the store has the right object; its
    /// bytes cannot be, so it is for whoever looks, and not for what is played into a call.
    ///
    /// # Errors
    /// If it is not there, is something else, or the store is away.
    pub async fn get_range(
        &self,
        key: &ObjectKey,
        content: Content,
        range: Range<u64>,
    ) -> Result<Bytes, Failure> {
        let long = range.end.checked_sub(range.start).filter(|long| *long <= LARGEST_READ);
        let Some(long) = long.filter(|_| range.end <= content.bytes) else {
            return Err(Failure::TooLarge(key.to_string()));
        };
        if long == 0 {
            return Ok(Bytes::new());
        }
        if let Some(waiting) = self.outbox.read_range(key, content, range.clone()).await? {
            return Ok(waiting);
        }
        let read = self.in_turn(async {
            match &*self.place {
                Place::Folder(folder) => folder.get_range(key, content, range).await,
                Place::S3(s3) => s3.get_range(key, content, range).await,
            }
        });
        let bytes = read.await?;
        match bytes.len() as u64 == long {
            true => Ok(bytes),
            false => Err(Failure::Changed(key.to_string())),
        }
    }

    /// What the store has under a key; `None`: nothing. What waits in the outbox is not yet there.
    ///
    /// # Errors
    /// If the store is away.
    pub async fn head(&self, key: &ObjectKey) -> Result<Option<Content>, Failure> {
        self.in_turn(async {
            match &*self.place {
                Place::Folder(folder) => folder.head(key).await,
                Place::S3(s3) => s3.head(key).await,
            }
        })
        .await
    }

    /// Removes an object; that it is not there is as good.
    ///
    /// # Errors
    /// If the store is away or refuses.
    pub async fn delete(&self, key: &ObjectKey) -> Result<(), Failure> {
        self.in_turn(async {
            match &*self.place {
                Place::Folder(folder) => folder.delete(key).await,
                Place::S3(s3) => s3.delete(key).await,
            }
        })
        .await
    }

    /// All objects whose keys begin so ([`ObjectKey::all_of`]), in the order of their keys,
    /// [`LONGEST_LIST`] at most.
    ///
    /// # Errors
    /// If the store is away.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Listed>, Failure> {
        self.in_turn(async {
            match &*self.place {
                Place::Folder(folder) => folder.list(prefix).await,
                Place::S3(s3) => s3.list(prefix).await,
            }
        })
        .await
    }

    /// A link by which a browser can read the object for a while, without signing in: to the store,
    /// or, where it is a folder, a path of our own pages.
    ///
    /// # Errors
    /// If the store's address is no good.
    pub async fn presign(
        &self,
        key: &ObjectKey,
        now: Moment,
        valid_for: Duration,
    ) -> Result<String, Failure> {
        match &*self.place {
            Place::Folder(folder) => Ok(folder.presign(key, now, valid_for)),
            Place::S3(s3) => s3.presign(key, valid_for).await,
        }
    }

    /// Reads what a link of [`Self::presign`] to our own pages leads to.
    ///
    /// # Errors
    /// If the link was never ours or its time is over ([`Failure::Missing`]: it leads nowhere), or
    /// the object is not there.
    pub async fn follow(&self, key: &str, proof: &Proof, now: Moment) -> Result<Bytes, Failure> {
        match &*self.place {
            Place::Folder(folder) => {
                let key = folder.prove(key, proof, now)?;
                self.in_turn(folder.get_whole(&key)).await
            }
            Place::S3(_) => Err(Failure::Missing(key.to_owned())),
        }
    }

    /// Asks the store whether it is there and lets us in; [`Self::counts`] tells it, too.
    ///
    /// # Errors
    /// If it does not.
    pub async fn probe(&self) -> Result<(), Failure> {
        self.in_turn(async {
            match &*self.place {
                Place::Folder(folder) => folder.probe().await,
                Place::S3(s3) => s3.probe().await,
            }
        })
        .await
    }

    /// One question, when there is room for it; how it went is counted.
    async fn in_turn<T>(
        &self,
        question: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let turn = timeout(TURN_WITHIN, self.turns.acquire()).await;
        let outcome = match turn {
            Ok(_turn) => question.await,
            Err(_) => Err(Failure::Away("too many questions at once".to_owned())),
        };
        self.state.went(&outcome);
        outcome
    }
}
