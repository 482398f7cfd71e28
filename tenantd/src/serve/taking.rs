//! How the portal takes files in: it receives them, and we read and carry them as `tenantd apply` does.

use std::fs::File;
use std::io;
use std::time::Duration;

use store::Database;
use store::object_work::{self, Work};
use store::objects::Objects;
use tokio::time::timeout;
use web::uploads::{Means, NotTaken, Recording, Uploads};

use crate::config::Config;
use crate::intake::{self, Intake, Limits};
use crate::uploads;

/// How long whoever uploaded a recording waits for the object store; then it waits in the outbox.
const CARRY_FOR: Duration = Duration::from_secs(3);

/// What the portal takes files in with.
pub(super) fn uploads(
    config: &Config,
    database: &Database,
    objects: &Objects,
) -> io::Result<Uploads> {
    let limits = Limits { largest: config.sounds.largest.0, longest: config.sounds.longest.0 };
    let intake = Intake::new(limits);
    let (database, objects) = (database.clone(), objects.clone());
    Uploads::new(Means {
        folder: config.data_dir.join("uploads"),
        node: config.node.0.clone(),
        largest: limits.largest,
        longest: limits.longest,
        read: Box::new(move |file| Box::pin(read(intake.clone(), file))),
        carry: Box::new(move |work| Box::pin(carry(database.clone(), objects.clone(), work))),
    })
}

async fn read(intake: Intake, file: File) -> Result<Recording, NotTaken> {
    match intake.take(file).await {
        Ok(intake::Recording { wave, lasts_ms }) => Ok(Recording { wave, lasts_ms }),
        Err(intake::NotTaken::Refused(refusal)) => Err(NotTaken::Refused(refusal.word())),
        Err(intake::NotTaken::Busy) => Err(NotTaken::Busy),
        Err(intake::NotTaken::NoCell(error)) => Err(NotTaken::Failed(error.to_string())),
    }
}

async fn carry(database: Database, objects: Objects, work: Work) {
    let Err(_) = timeout(CARRY_FOR, uploads::carry(&database, &objects, &work)).await else {
        return;
    };
    // The carrier goes on at once; that it cannot be told only means later.
    let _ = object_work::failed(&database, &work, "it takes too long").await;
}
