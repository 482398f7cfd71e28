//! What an earlier process left in the journal goes to Postgres before anybody is served.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use pbx::record::Record;
use tracing::{info, warn};

use super::segment::{Unreadable, left_over, read};

/// Records in one transaction.
const GROUP: usize = 512;

/// What was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Records that Postgres has now.
    pub records: usize,
    /// Files they stood in.
    pub files: usize,
}

/// Why the journal was not replayed whole; what was not is still there.
#[derive(Debug, thiserror::Error)]
pub enum Failure<E: std::error::Error> {
    /// A file cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// Postgres did not take a group.
    #[error(transparent)]
    Refused(E),
}

/// Writes all that is left in `dir` by way of `write`, oldest first, and removes each file once
/// all it holds is written.
pub async fn replay<W, F, E>(dir: &Path, write: W) -> Result<Replayed, Failure<E>>
where
    W: Fn(Arc<[Record]>) -> F,
    F: Future<Output = Result<usize, E>>,
    E: std::error::Error,
{
    let mut replayed = Replayed::default();
    for path in left_over(dir)? {
        let contents = read(&path)?;
        for group in contents.records.chunks(GROUP) {
            write(group.into()).await.map_err(Failure::Refused)?;
            replayed.records += group.len();
        }
        replayed.files += 1;
        if contents.torn > 0 {
            info!(journal = %path.display(), bytes = contents.torn, "a last write was cut short");
        }
        let done = match contents.strange {
            0 => fs::remove_file(&path),
            // Nobody knows what they say: a person may want to look.
            count => {
                warn!(journal = %path.display(), count, "records that cannot be read are kept aside");
                fs::rename(&path, path.with_extension("strange"))
            }
        };
        done.map_err(|error| Unreadable::Refused(path, error))?;
    }
    if replayed.records > 0 {
        let Replayed { records, files } = replayed;
        info!(records, files, "what the last process left in the journal is in postgres");
    }
    Ok(replayed)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::journal::tests::unbound;
    use crate::journal::{LaneJournal, Room};
    use crate::scratch::Scratch;

    #[tokio::test]
    async fn what_was_left_is_written_in_order_and_then_gone() {
        let scratch = Scratch::new();
        leave(&scratch, 0, 0..1_000);
        leave(&scratch, 1, 1_000..1_500);
        let written = Mutex::new(vec![]);
        let write = |group: Arc<[Record]>| {
            written.lock().unwrap().extend(group.iter().map(|record| record.id));
            std::future::ready(Ok::<_, std::io::Error>(0))
        };
        let replayed = replay(scratch.path(), &write).await.unwrap();
        assert_eq!(replayed, Replayed { records: 1_500, files: 2 });
        let wanted: Vec<_> = (0..1_500).map(|number| unbound(number).id).collect();
        assert_eq!(*written.lock().unwrap(), wanted);
        assert_eq!(replay(scratch.path(), &write).await.unwrap(), Replayed::default());
    }

    #[tokio::test]
    async fn what_postgres_does_not_take_stays() {
        let scratch = Scratch::new();
        leave(&scratch, 0, 0..10);
        let write = |_| std::future::ready(Err::<usize, _>(std::io::Error::other("away")));
        let failure = replay(scratch.path(), write).await.unwrap_err();
        assert_eq!(failure.to_string(), "away");
        assert_eq!(left_over(scratch.path()).unwrap().len(), 1);
    }

    fn leave(scratch: &Scratch, lane: u16, records: std::ops::Range<u128>) {
        let room = Arc::new(Room::new(1 << 30));
        let mut journal = LaneJournal::open(scratch.path(), lane, room).unwrap();
        journal.append(&records.map(unbound).collect::<Vec<_>>()).unwrap();
    }
}
