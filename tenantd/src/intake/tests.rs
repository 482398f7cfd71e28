//! Cells that lie, hang and die: what is taken from them is a recording or a reason.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use super::*;
use crate::scratch::Scratch;

const LIMITS: Limits = Limits { largest: 1_000, longest: Duration::from_secs(1) };

/// An intake whose cells do this instead.
fn intake(scratch: &Scratch, script: &str) -> Intake {
    let program = scratch.path().join("cell");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    Intake::with_program(program, LIMITS)
}

fn file(scratch: &Scratch, bytes: &[u8]) -> File {
    let path = scratch.path().join("file");
    File::create(&path).unwrap().write_all(bytes).unwrap();
    File::open(path).unwrap()
}

async fn refused(scratch: &Scratch, script: &str) -> Refusal {
    match intake(scratch, script).take(file(scratch, b"x")).await {
        Err(NotTaken::Refused(refusal)) => refusal,
        other => panic!("{script}: {other:?}"),
    }
}

#[tokio::test]
async fn a_cell_is_believed_in_its_samples_and_nothing_else() {
    let scratch = Scratch::new();
    let good = intake(&scratch, "printf 'samples 3\\n\\001\\000\\002\\000\\003\\000'");
    let recording = good.take(file(&scratch, b"x")).await.unwrap();
    assert_eq!(recording.wave.len(), 44 + 6);
    assert_eq!(recording.wave.get(44..), Some(&[1, 0, 2, 0, 3, 0][..]));
    assert_eq!(recording.lasts_ms, 1);
    for (script, refusal) in [
        ("printf 'samples 3\\n\\001\\000\\002\\000'", Refusal::Broken),
        ("printf 'samples 1\\n\\001\\000\\002\\000'", Refusal::Broken),
        ("printf 'samples 0\\n'", Refusal::Broken),
        ("printf 'samples 99999999999999999999\\n'", Refusal::Broken),
        // More than a second.
        ("printf 'samples 16001\\n'; exec cat /dev/zero", Refusal::Broken),
        ("exec cat /dev/zero", Refusal::Broken),
        ("printf 'samples 1\\n\\001\\000'; exit 1", Refusal::Broken),
        ("echo hello", Refusal::Broken),
        ("exit 0", Refusal::Broken),
        ("echo refused too_long", Refusal::TooLong),
        ("echo refused whatever", Refusal::Broken),
        ("kill -SEGV $$", Refusal::Broken),
        ("kill -ABRT $$", Refusal::TooCostly),
        ("kill -XCPU $$", Refusal::TooCostly),
    ] {
        assert_eq!(refused(&scratch, script).await, refusal, "{script}");
    }
}

#[tokio::test]
async fn what_is_too_large_is_not_even_begun() {
    let scratch = Scratch::new();
    let intake = intake(&scratch, "printf 'samples 1\\n\\001\\000'");
    let taken = intake.take(file(&scratch, &[0; 1_001])).await;
    assert!(matches!(taken, Err(NotTaken::Refused(Refusal::TooLarge))), "{taken:?}");
}

#[tokio::test]
async fn two_are_read_at_once_some_wait_and_the_next_is_told_to_come_again() {
    let scratch = Scratch::new();
    // Each holds its turn until the file is there.
    let go = scratch.path().join("go");
    let script = format!(
        "echo x >> {}; until [ -e {} ]; do sleep 0.02; done; printf 'samples 1\\n\\001\\000'",
        scratch.path().join("begun").display(),
        go.display()
    );
    let intake = intake(&scratch, &script);
    let mut taking = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE + WAITING {
        let (intake, file) = (intake.clone(), file(&scratch, b"x"));
        taking.spawn(async move { intake.take(file).await });
    }
    let began_at = Instant::now();
    while intake.room.available_permits() > 0 {
        assert!(began_at.elapsed() < Duration::from_secs(10));
        tokio::task::yield_now().await;
    }
    let taken = intake.take(file(&scratch, b"x")).await;
    assert!(matches!(taken, Err(NotTaken::Busy)), "{taken:?}");
    let begun = fs::read_to_string(scratch.path().join("begun")).unwrap_or_default();
    assert!(begun.lines().count() <= AT_ONCE, "{begun}");
    fs::write(go, "").unwrap();
    while let Some(taken) = taking.join_next().await {
        assert!(taken.unwrap().is_ok());
    }
}
