//! The object store against a real S3 server, with all that can be wrong between them; and the
//! folder, which must do the same.

use std::fs;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use kit::failure::Outcome;
use kit::folder::Folder;
use kit::s3::{ACCESS_KEY, BUCKET, Fault, S3, SECRET_KEY};
use kit::scene::play;
use pbx::id::TenantId;
use pbx::moment::Moment;
use store::objects::{
    Addressing, Content, Encryption, Failure, Kind, ObjectKey, Objects, Proof, Reachable, S3Setup,
    Setup,
};
use tokio::runtime::Runtime;
use uuid::Uuid;

const NOW: Moment = Moment::from_micros(1_795_000_000_000_000);
const MIB: usize = 1024 * 1024;

fn key(tenant: u128, id: u128) -> ObjectKey {
    ObjectKey::new(TenantId(Uuid::from_u128(tenant)), Kind::Sound, Uuid::from_u128(id))
}

fn s3_setup(s3: &S3) -> S3Setup {
    S3Setup {
        endpoint: Some(format!("http://{}", s3.at)),
        region: "us-east-1".to_owned(),
        bucket: BUCKET.to_owned(),
        access_key: ACCESS_KEY.to_owned(),
        secret_key: SECRET_KEY.to_owned(),
        addressing: Addressing::Path,
        encryption: Encryption::Unasked,
        answer_within: Duration::from_secs(1),
    }
}

fn open(folder: &Folder, s3: Option<S3Setup>) -> Outcome<Objects> {
    Ok(Objects::open(&Setup {
        s3,
        folder: folder.path().join("objects"),
        outbox: folder.path().join("outbox"),
        outbox_limit: 1 << 30,
        link_key: [7; 32],
    })?)
}

/// Something that is nowhere the same.
fn noise(long: usize) -> Bytes {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..long).map(|_| byte()).collect::<Vec<u8>>().into()
}

/// What every store must do.
async fn does_its_verbs(objects: &Objects, folder: &Path) -> Outcome {
    objects.probe().await?;
    let (ours, theirs) = (key(1, 9), key(2, 9));
    assert_eq!(objects.head(&ours).await?, None);
    assert!(matches!(objects.get(&ours, Content::of(b"x")).await, Err(Failure::Missing(_))));

    let small = Bytes::from_static(b"the sound of one company");
    let content = objects.put(&ours, small.clone()).await?;
    objects.put(&theirs, Bytes::from_static(b"and of another")).await?;
    assert_eq!(objects.get(&ours, content).await?, small);
    assert_eq!(objects.head(&ours).await?, Some(content));
    assert_eq!(objects.get_range(&ours, content, 4..9).await?, "sound");
    assert_eq!(objects.get_range(&ours, content, 0..0).await?, "");
    assert!(objects.get_range(&ours, content, 4..99).await.is_err());

    // In parts: the last one is a short one.
    let (large, file) = (noise(17 * MIB + 5), folder.join("large"));
    fs::write(&file, &large)?;
    let whole = Content::of(&large);
    objects.put_file(&key(1, 10), &file, whole).await?;
    assert_eq!(objects.get(&key(1, 10), whole).await?, large);
    assert_eq!(objects.head(&key(1, 10)).await?, Some(whole));
    let (from, to) = (8 * MIB - 3, 8 * MIB + 3);
    let across = objects.get_range(&key(1, 10), whole, from as u64..to as u64).await?;
    assert_eq!(across, large.slice(from..to));
    // A file that is not what it was is not put.
    let lie = objects.put_file(&key(1, 11), &file, Content { sha256: [0; 32], ..whole }).await;
    assert!(matches!(lie, Err(Failure::Changed(_))), "{lie:?}");
    assert_eq!(objects.head(&key(1, 11)).await?, None);

    let listed = objects.list(&ObjectKey::all_of(ours.tenant())).await?;
    let keys: Vec<String> = listed.iter().map(|listed| listed.key.clone()).collect();
    assert_eq!(keys, [ours.to_string(), key(1, 10).to_string()]);
    assert_eq!(listed[1].bytes, whole.bytes);
    assert_eq!(objects.list("tenant/../").await.unwrap_or_default(), []);

    objects.delete(&ours).await?;
    objects.delete(&ours).await?;
    assert_eq!(objects.head(&ours).await?, None);
    assert!(objects.head(&theirs).await?.is_some(), "the other company's is still there");
    Ok(())
}

#[test]
fn a_folder_does_what_a_store_must() {
    play("folder", |scene| {
        let objects = open(&scene.folder, None)?;
        Runtime::new()?.block_on(async {
            does_its_verbs(&objects, scene.folder.path()).await?;
            // Its links are ours to follow.
            let content = objects.put(&key(1, 9), Bytes::from_static(b"listen")).await?;
            let link = objects.presign(&key(1, 9), NOW, Duration::from_secs(60)).await?;
            let (path, proof) = link.split_once("?until=").expect("no query");
            let (until, proof) = proof.split_once("&proof=").expect("no proof");
            let proof = Proof { until: until.parse()?, proof: proof.to_owned() };
            let path = path.strip_prefix("/objects/").expect("no path");
            assert_eq!(objects.follow(path, &proof, NOW).await?, "listen");
            let late = NOW + Duration::from_secs(61);
            assert!(objects.follow(path, &proof, late).await.is_err());
            let other = key(2, 9).to_string();
            assert!(objects.follow(&other, &proof, NOW).await.is_err());
            // What somebody changed is never given out.
            let file = scene.folder.path().join("objects").join(key(1, 9).to_string());
            fs::write(file, "lasten")?;
            let changed = objects.counts().changed;
            let read = objects.get(&key(1, 9), content).await;
            assert!(matches!(read, Err(Failure::Changed(_))), "{read:?}");
            assert_eq!(objects.counts().changed, changed + 1);
            Ok(())
        })
    });
}

#[test]
fn a_bucket_does_what_a_store_must() {
    play("bucket", |scene| {
        let s3 = S3::start(&scene.folder)?;
        let objects = open(&scene.folder, Some(s3_setup(&s3)))?;
        Runtime::new()?.block_on(async {
            does_its_verbs(&objects, scene.folder.path()).await?;
            assert_eq!(s3.keys()?, [key(1, 10).to_string(), key(2, 9).to_string()]);
            assert_eq!(objects.counts().reachable, Reachable::Here);

            // A link needs no key, and leads to one object.
            objects.put(&key(1, 9), Bytes::from_static(b"listen")).await?;
            let link = objects.presign(&key(1, 9), NOW, Duration::from_secs(60)).await?;
            let path = link.strip_prefix(&format!("http://{}", s3.at)).expect("another host");
            let page = kit::http::get(s3.at, path)?;
            assert_eq!((page.status, page.body.as_str()), (200, "listen"));
            let other = path.replace(&key(1, 9).to_string(), &key(2, 9).to_string());
            assert_eq!(kit::http::get(s3.at, &other)?.status, 403);
            let plain = path.split_once('?').map_or(path, |(plain, _)| plain);
            assert_eq!(kit::http::get(s3.at, plain)?.status, 403);
            Ok(())
        })
    });
}

#[test]
fn what_was_changed_in_the_bucket_is_never_given_out() {
    play("changed", |scene| {
        let s3 = S3::start(&scene.folder)?;
        let objects = open(&scene.folder, Some(s3_setup(&s3)))?;
        Runtime::new()?.block_on(async {
            let content = objects.put(&key(1, 9), Bytes::from_static(b"listen")).await?;
            for other in ["lasten", "", "listen to this"] {
                fs::write(s3.file(&key(1, 9).to_string()), other)?;
                let read = objects.get(&key(1, 9), content).await;
                assert!(matches!(read, Err(Failure::Changed(_))), "{other:?}: {read:?}");
            }
            // Nor is another object of ours in its place.
            objects.put(&key(1, 9), Bytes::from_static(b"silent")).await?;
            let read = objects.get(&key(1, 9), content).await;
            assert!(matches!(read, Err(Failure::Changed(_))), "{read:?}");
            let read = objects.get_range(&key(1, 9), content, 0..3).await;
            assert!(matches!(read, Err(Failure::Changed(_))), "{read:?}");
            Ok(())
        })
    });
}

#[test]
fn who_has_the_wrong_secret_is_refused_and_told_so() {
    play("wrong-secret", |scene| {
        let s3 = S3::start(&scene.folder)?;
        for (wrong, word) in [
            (S3Setup { secret_key: "another".to_owned(), ..s3_setup(&s3) }, "Signature"),
            (S3Setup { access_key: "nobody".to_owned(), ..s3_setup(&s3) }, "40"),
        ] {
            let objects = open(&scene.folder, Some(wrong))?;
            Runtime::new()?.block_on(async {
                let put = objects.put(&key(1, 9), Bytes::from_static(b"listen")).await;
                let said = format!("{put:?}");
                assert!(matches!(put, Err(Failure::Refused(_))), "{said}");
                assert!(said.contains(word), "{said}");
                assert!(!said.contains(SECRET_KEY) && !said.contains("another"), "{said}");
                assert!(matches!(objects.probe().await, Err(Failure::Refused(_))));
                assert_eq!(objects.counts().reachable, Reachable::Away);
            });
        }
        assert_eq!(s3.keys()?, [""; 0]);
        let elsewhere = S3Setup { bucket: "elsewhere".to_owned(), ..s3_setup(&s3) };
        let objects = open(&scene.folder, Some(elsewhere))?;
        let probed = Runtime::new()?.block_on(objects.probe());
        assert!(probed.is_err_and(|failure| failure.to_string().contains("no such bucket")));
        Ok(())
    });
}

#[test]
fn a_store_that_is_away_slow_or_in_trouble_is_no_refusal_and_takes_bounded_time() {
    play("bad-line", |scene| {
        let s3 = S3::start(&scene.folder)?;
        let objects = open(&scene.folder, Some(s3_setup(&s3)))?;
        Runtime::new()?.block_on(async {
            let large = noise(9 * MIB);
            let (file, content) = (scene.folder.path().join("large"), Content::of(&large));
            fs::write(&file, &large)?;
            objects.put_file(&key(1, 9), &file, content).await?;
            for fault in [
                Fault::Away,
                Fault::Slow(Duration::from_secs(30)),
                Fault::Trouble,
                Fault::Truncated(100_000),
                Fault::Choked(100_000),
            ] {
                s3.suffer(fault);
                let began_at = std::time::Instant::now();
                let put = objects.put_file(&key(1, 10), &file, content).await;
                // Only answers break off: what is put, comes through.
                if !matches!(fault, Fault::Truncated(_)) {
                    assert!(put.as_ref().is_err_and(Failure::is_away), "{fault:?}: {put:?}");
                    assert_eq!(objects.counts().reachable, Reachable::Away);
                }
                let read = objects.get(&key(1, 9), content).await;
                if !matches!(fault, Fault::Choked(_)) {
                    assert!(read.as_ref().is_err_and(Failure::is_away), "{fault:?}: {read:?}");
                }
                let took = began_at.elapsed();
                assert!(took < Duration::from_secs(20), "{fault:?} took {took:?}");
            }
            s3.suffer(Fault::None);
            objects.put_file(&key(1, 10), &file, content).await?;
            assert_eq!(objects.get(&key(1, 10), content).await?, large);
            assert_eq!(objects.counts().reachable, Reachable::Here);
            Ok(())
        })
    });
}
