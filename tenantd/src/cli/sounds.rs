//! The recordings that a provisioning file names: read before anything is changed, so that a bad one
//! is a mistake in the file, with its line.

use std::fs::{File, metadata};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use media::upload::Refusal;
use store::Database;
use store::object_work::{self, Verb, Work};
use store::objects::{Content, Hasher, Objects, Staged};
use store::provision::{self, Ready, Run, SoundFile, Sounds};
use tokio::time::{sleep, timeout};
use web::catalogue::Language;

use super::Failure;
use crate::config::Config;
use crate::intake::{Intake, Limits, NotTaken};
use crate::uploads;

const TRY_AGAIN_AFTER: Duration = Duration::from_millis(500);
const PIECE: usize = 64 * 1024;

/// Makes ready what is new; in a dry run nothing of it is kept.
pub(super) async fn make_ready(
    config: &Config,
    database: &Database,
    objects: &Objects,
    (file, folder): (&provision::File, &Path),
    run: Run,
) -> Result<Sounds, Failure> {
    let mut sounds = Sounds::of(database, file, &config.node.0).await?;
    let limits = Limits { largest: config.sounds.largest.0, longest: config.sounds.longest.0 };
    let intake = Intake::new(limits);
    for sound in file.sounds() {
        let read = read(&intake, &sounds, objects, (file, folder), &sound, run).await;
        match read {
            Ok(Some(ready)) => sounds.insert(&sound, ready),
            Ok(None) => {}
            Err(failure) => {
                forget(objects, &sounds).await;
                return Err(failure);
            }
        }
    }
    Ok(sounds)
}

/// `None`: it is what there is already.
async fn read(
    intake: &Intake,
    sounds: &Sounds,
    objects: &Objects,
    (file, folder): (&provision::File, &Path),
    sound: &SoundFile,
    run: Run,
) -> Result<Option<Ready>, Failure> {
    let limits = intake.limits();
    let wrong =
        |reason: String| file.at_fault(sound.line, format!("file: {}: {reason}", sound.file));
    let path = folder.join(&sound.file);
    let (source, recording) = open(&path, limits).map_err(&wrong)?;
    if sounds.is_known(sound, &source.sha256) {
        return Ok(None);
    }
    let taken = intake.take(recording).await.map_err(|reason| match reason {
        NotTaken::Refused(refusal) => Failure::Provision(wrong(words(refusal, limits))),
        NotTaken::Busy => Failure::Argument(reason.to_string()),
        NotTaken::NoCell(error) => Failure::System(error),
    })?;
    let Some(key) = sounds.new_key(sound) else { return Ok(None) };
    let staged = match run {
        Run::Dry => Staged { key, content: Content::of(&taken.wave) },
        Run::Real => objects.outbox().stage(key, taken.wave).await?,
    };
    Ok(Some(Ready { source: source.sha256, staged, lasts_ms: taken.lasts_ms }))
}

/// A file that may be read, at its beginning, and what it is.
fn open(path: &Path, limits: Limits) -> Result<(Content, File), String> {
    let told = |error: std::io::Error| error.to_string();
    // Not a pipe, which would be waited for.
    if !metadata(path).map_err(told)?.is_file() {
        return Err("it is no file".to_owned());
    }
    let mut file = File::open(path).map_err(told)?;
    let (mut hasher, mut piece) = (Hasher::default(), vec![0; PIECE]);
    let mut rest = (&mut file).take(limits.largest + 1);
    loop {
        let long = rest.read(&mut piece).map_err(told)?;
        match piece.get(..long) {
            Some(read) if !read.is_empty() => hasher.take(read),
            Some(_) | None => break,
        }
    }
    let content = hasher.content();
    if content.bytes > limits.largest {
        return Err(words(Refusal::TooLarge, limits));
    }
    file.seek(SeekFrom::Start(0)).map_err(told)?;
    Ok((content, file))
}

/// Why a recording is not taken, in a sentence.
fn words(refusal: Refusal, limits: Limits) -> String {
    let largest = format!("{} MiB", limits.largest >> 20);
    let longest = format!("{} min", limits.longest.as_secs().div_ceil(60));
    let key = format!("sound.refused.{}", refusal.word());
    Language::English.fill(&key, &[("largest", &largest), ("longest", &longest)])
}

/// Nothing came of it: what was put into the outbox is nobody's.
pub(super) async fn forget(objects: &Objects, sounds: &Sounds) {
    for staged in sounds.staged() {
        // What cannot be removed is swept later.
        let _ = objects.outbox().forget(&staged.key).await;
    }
}

/// Brings what is ready to the store, for so long. Returns how many sounds still wait for it.
pub(super) async fn carry(
    database: &Database,
    objects: &Objects,
    sounds: &Sounds,
    wait: Duration,
) -> usize {
    let give_up_at = Instant::now() + wait;
    let mut left: Vec<Work> = sounds
        .staged()
        .map(|Staged { key, content }| Work { key, verb: Verb::Put, content, tries: 0 })
        .collect();
    loop {
        let mut waiting = Vec::new();
        for work in left {
            let time = give_up_at.saturating_duration_since(Instant::now());
            match timeout(time, uploads::carry(database, objects, &work)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => waiting.push(work),
                Err(_) => {
                    // The server goes on at once; that it cannot be told only means later.
                    let _ = object_work::failed(database, &work, "it takes too long").await;
                    waiting.push(work);
                }
            }
        }
        if waiting.is_empty() || Instant::now() >= give_up_at {
            return waiting.len();
        }
        left = waiting;
        sleep(TRY_AGAIN_AFTER).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_a_sentence_in_both_languages() {
        for refusal in Refusal::ALL {
            let key = format!("sound.refused.{}", refusal.word());
            let texts = [Language::English, Language::German].map(|language| language.get(&key));
            assert!(texts.iter().all(|text| text.len() > 10), "{key}: {texts:?}");
            assert_ne!(texts[0], texts[1], "{key}");
        }
    }
}
