//! Sounds that companies bring, from a provisioning file to the object store.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kit::cell::{self, Said};
use kit::company::Company;
use kit::failure::Outcome;
use kit::listeners::Listeners;
use kit::s3::{Fault, S3};
use kit::scene::{Scene, play};
use kit::server::{Server, tenantd};
use kit::wait::{self, SOON, START};
use kit::{hostile, http};
use pbx::moment::Moment;
use store::ClusterKey;
use store::objects::{ObjectKey, Objects, Setup};
use tokio::runtime::Runtime;

/// All recordings that come with the tests.
const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/sounds");

/// A company's provisioning text with these sounds in it.
fn with_sounds(company: &Company, sounds: &[(&str, &str)]) -> String {
    let sounds = sounds
        .iter()
        .map(|(name, file)| format!("[[tenant.sound]]\nname = {name:?}\nfile = {file:?}\n"));
    company.provisioning() + &sounds.collect::<String>()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

fn copy(scene: &Scene, sample: &str, to: &str) -> Outcome {
    let to = scene.folder.path().join(to);
    fs::create_dir_all(to.parent().expect("a file has a folder"))?;
    fs::copy(Path::new(SAMPLES).join(sample), to)?;
    Ok(())
}

/// The keys of all objects in a folder, and nothing but objects.
fn keys(folder: &Path) -> Outcome<Vec<String>> {
    let output = Command::new("find")
        .args([".", "-type", "f", "-path", "./tenant/*", "-printf", "%P\n"])
        .current_dir(folder)
        .output()?;
    let mut keys: Vec<String> =
        String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect();
    keys.sort();
    Ok(keys)
}

/// Which object each sound is, as the switches are told.
fn rows(server: &Server) -> Outcome<Vec<String>> {
    let query = "SELECT d.name || ' ' || s.name || ' tenant/' || s.tenant_id || '/sounds/' || \
                 s.object_id || ' ' || s.lasts_ms FROM sound s JOIN domain d USING (tenant_id) ORDER BY 1";
    Ok(server.ask(query)?.lines().map(str::to_owned).collect())
}

fn in_bucket(scene: &mut Scene, s3: &S3) -> Outcome<Server> {
    let at = Listeners::new(scene)?;
    let mut server = Server::prepare(&scene.folder, at, &s3.config())?;
    server.run()?;
    Ok(server)
}

#[test]
fn two_companies_have_sounds_of_the_same_names_and_keep_their_own() {
    play("sounds", |scene| {
        let (alpha, beta) = (Company::new("alpha.test"), Company::new("beta.test"));
        let server = Server::start_with(scene, &[&alpha, &beta])?;
        copy(scene, "tone.mp3", "sounds/welcome.mp3")?;
        // A file's name says nothing.
        copy(scene, "tone.flac", "sounds/night.mp3")?;
        let sounds = [("welcome", "sounds/welcome.mp3"), ("night", "sounds/night.mp3")];
        let text = with_sounds(&alpha, &sounds) + &with_sounds(&beta, &sounds);

        let dry = server.apply(&text, &["--dry-run"])?;
        assert!(said(&dry).contains("alpha.test: sound welcome comes"), "{}", said(&dry));
        assert_eq!(keys(&server.data_file("objects"))?, [""; 0]);

        let applied = server.apply(&text, &[])?;
        assert!(applied.status.success(), "{}", said(&applied));
        let first = rows(&server)?;
        assert_eq!(first.len(), 4, "{first:?}");
        assert!(first[1].starts_with("alpha.test welcome") && first[1].ends_with(" 2000"));
        let stored = keys(&server.data_file("objects"))?;
        let mut named: Vec<String> =
            first.iter().filter_map(|row| Some(row.split(' ').nth(2)?.to_owned())).collect();
        named.sort();
        assert_eq!(stored, named);
        assert_eq!(fs::read_dir(server.data_file("outbox"))?.count(), 0);
        // What is kept is what any program reads.
        let wave = fs::read(server.data_file("objects").join(&stored[0]))?;
        assert_eq!((&wave[..4], &wave[8..16]), (&b"RIFF"[..], &b"WAVEfmt "[..]));

        follow_links(scene, &server, &stored)?;

        let again = server.apply(&text, &[])?;
        assert!(said(&again).contains("nothing to change"), "{}", said(&again));

        // Another recording under the same name is another object.
        copy(scene, "tone.ogg", "sounds/welcome.mp3")?;
        let changed = server.apply(&with_sounds(&alpha, &sounds), &[])?;
        assert!(said(&changed).contains("sound welcome changes"), "{}", said(&changed));
        assert!(!said(&changed).contains("night") && !said(&changed).contains("beta"));
        let second = rows(&server)?;
        let differ: Vec<bool> = first.iter().zip(&second).map(|(a, b)| a != b).collect();
        assert_eq!(differ, [false, true, false, false]);

        let pruned = server.apply(&with_sounds(&alpha, &sounds[1..]), &["--prune"])?;
        assert!(said(&pruned).contains("sound welcome goes"), "{}", said(&pruned));
        assert_eq!(rows(&server)?.len(), 3);
        // Calls that play them may still need the old ones for an hour; then they go.
        let doomed = "SELECT count(*) FROM object_work WHERE verb = 'delete' \
                      AND due_at BETWEEN now() + interval '50 min' AND now() + interval '1 h'";
        assert_eq!(server.ask(doomed)?.trim(), "2");
        server.ask("UPDATE object_work SET due_at = now()")?;
        wait::until("nobody's objects being gone", SOON, || {
            Ok((keys(&server.data_file("objects"))?.len() == 3).then_some(()))
        })
    });
}

#[test]
fn a_recording_that_is_none_is_a_mistake_in_its_line_and_changes_nothing() {
    play("no-sounds", |scene| {
        let alpha = Company::new("alpha.test");
        let server = Server::start_with(scene, &[&alpha])?;
        let folder = scene.folder.path().to_owned();
        copy(scene, "tone.mp3", "good.mp3")?;
        fs::write(folder.join("empty.wav"), "")?;
        fs::copy("/bin/sh", folder.join("shell.mp3"))?;
        fs::write(folder.join("text.wav"), "these are words")?;
        copy(scene, "tone-51.opus", "surround.opus")?;
        let large = fs::File::create(folder.join("large.wav"))?;
        large.set_len((32 << 20) + 1)?;
        for (file, reason) in [
            ("empty.wav", "nothing in this file"),
            ("shell.mp3", "recording"),
            ("text.wav", "no recording that we know"),
            ("surround.opus", "cannot read"),
            ("large.wav", "larger than 32 MiB"),
            ("missing.wav", "No such file"),
            (".", "no file"),
        ] {
            let text = with_sounds(&alpha, &[("good", "good.mp3"), ("bad", file)]);
            let line = text.lines().count() - 2;
            let output = server.apply(&text, &[])?;
            let said = said(&output);
            assert_eq!(output.status.code(), Some(2), "{file}: {said}");
            assert_eq!(said.trim_end().lines().count(), 1, "{said}");
            assert!(said.contains(&format!("companies.toml:{line}: ")), "{said}");
            assert!(said.contains(reason) && said.contains(file), "{said}");
        }
        assert_eq!(rows(&server)?, [""; 0]);
        assert_eq!(fs::read_dir(server.data_file("outbox"))?.count(), 0);
        Ok(())
    });
}

#[test]
fn a_hostile_recording_gets_a_reason_and_costs_its_own_process_alone() {
    play("hostile", |scene| {
        for hostile in hostile::all() {
            let began_at = Instant::now();
            let refused = match cell::read(&scene.folder, &hostile.bytes)? {
                Said::Refused(word) => hostile.words.contains(&word.as_str()),
                // Its memory or its time was at an end.
                Said::Ended(6 | 9 | 24) => hostile.words.contains(&"too_costly"),
                Said::Samples(_) | Said::Ended(_) => false,
            };
            let took = began_at.elapsed();
            let said = cell::read(&scene.folder, &hostile.bytes)?;
            assert!(refused, "{}: {said:?}, not one of {:?}", hostile.name, hostile.words);
            assert!(took < Duration::from_secs(60), "{}: {took:?}", hostile.name);
        }
        // Through the door that people use.
        let alpha = Company::new("alpha.test");
        let server = Server::start_with(scene, &[&alpha])?;
        for hostile in hostile::all().iter().take(3) {
            fs::write(scene.folder.path().join("hostile.flac"), &hostile.bytes)?;
            let text = with_sounds(&alpha, &[("hostile", "hostile.flac")]);
            let output = server.apply(&text, &[])?;
            assert_eq!(output.status.code(), Some(2), "{}: {}", hostile.name, said(&output));
        }
        assert_eq!(rows(&server)?, [""; 0]);
        Ok(())
    });
}

#[test]
fn the_process_that_reads_a_recording_has_no_means_to_do_harm() {
    play("cell", |_| {
        let mut cell = Command::new(tenantd()?)
            .args(["read-sound", "--largest=1000000", "--longest-ms=60000"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let about = |what: &str| fs::read_to_string(format!("/proc/{}/{what}", cell.id()));
        // It waits for the end of its input.
        let confined = wait::until("its limits", SOON, || {
            let limits = about("limits")?;
            let of = |name: &str| -> Option<u64> {
                let line = limits.lines().find(|line| line.starts_with(name))?;
                line.strip_prefix(name)?.split_whitespace().nth(1)?.parse().ok()
            };
            let memory = of("Max address space").is_some_and(|bytes| bytes < 400 << 20);
            let seconds = of("Max cpu time").is_some_and(|seconds| seconds < 60);
            let nothing = ["Max open files", "Max file size", "Max core file size"];
            let nothing = nothing.iter().all(|name| of(name) == Some(0));
            Ok((memory && seconds && nothing).then_some(()))
        });
        let may_gain_nothing = about("status")?.lines().any(|line| line == "NoNewPrivs:\t1");
        cell.kill()?;
        cell.wait()?;
        assert!(may_gain_nothing);
        confined
    });
}

#[test]
fn a_company_has_a_quota_of_sounds_and_of_their_bytes() {
    play("quota", |scene| {
        let alpha = Company::new("alpha.test");
        let server = Server::start_with(scene, &[&alpha])?;
        copy(scene, "tone.mp3", "a.mp3")?;
        copy(scene, "tone.ogg", "b.mp3")?;
        let limited = |limit: &str| {
            let text = with_sounds(&alpha, &[("a", "a.mp3"), ("b", "b.mp3")]);
            text.replacen(
                "domain = \"alpha.test\"",
                &format!("domain = \"alpha.test\"\n{limit}"),
                1,
            )
        };
        for (limit, reason) in [
            ("max_sounds = 1", "may have 1 sounds"),
            ("sound_quota = \"100 kB\"", "may have 100000 bytes of sounds"),
        ] {
            let output = server.apply(&limited(limit), &[])?;
            let said = said(&output);
            assert_eq!(output.status.code(), Some(2), "{said}");
            let line = limited(limit).lines().count() - 2;
            assert!(
                said.contains(&format!(":{line}: sound \"b\": ")) && said.contains(reason),
                "{said}"
            );
        }
        assert_eq!(rows(&server)?, [""; 0]);
        let output = server.apply(&limited("max_sounds = 2\nsound_quota = \"1 MB\""), &[])?;
        assert!(output.status.success(), "{}", said(&output));
        // The database says the same to everybody, and to whoever forgot to ask.
        let tenant = server.ask("SELECT tenant_id FROM domain WHERE name = 'alpha.test'")?;
        let limits = server.ask(&format!("SELECT * FROM sound_limits('{}')", tenant.trim()))?;
        assert_eq!(limits.trim(), "2|1000000");
        let others = server.ask(
            "SELECT l.* FROM tenant t, sound_limits(t.id) l WHERE t.max_sounds IS NULL LIMIT 1",
        )?;
        let defaults = (store::provision::MOST_SOUNDS, store::provision::MOST_SOUND_BYTES);
        assert_eq!(others.trim(), format!("{}|{}", defaults.0, defaults.1));
        Ok(())
    });
}

#[test]
fn a_store_that_is_away_delays_a_sound_and_loses_none() {
    play("delayed", |scene| {
        let s3 = S3::start(&scene.folder)?;
        let server = in_bucket(scene, &s3)?;
        let alpha = Company::new("alpha.test");
        server.provision(&[&alpha])?;
        let ready = || -> Outcome<String> { Ok(server.admin("/readyz")?.body.trim().to_owned()) };
        assert_eq!(ready()?, "ok");

        s3.suffer(Fault::Away);
        copy(scene, "tone.mp3", "a.mp3")?;
        let output = server.apply(&with_sounds(&alpha, &[("a", "a.mp3")]), &["--wait", "1s"])?;
        assert_eq!(output.status.code(), Some(3), "{}", said(&output));
        assert!(said(&output).contains("still wait"), "{}", said(&output));
        assert_eq!(rows(&server)?.len(), 1);
        wait::until("the server's noticing", SOON, || {
            Ok((ready()? == "degraded: object store away").then_some(()))
        })?;
        server.wait_for_metric("tenantd_objects_waiting", 1.0, SOON)?;
        assert_eq!(server.metric("tenantd_objects_here")?, 0.0);
        assert_eq!(s3.keys()?, [""; 0]);

        s3.suffer(Fault::None);
        wait::until("the sound's arrival", START, || Ok((s3.keys()?.len() == 1).then_some(())))?;
        server.wait_for_metric("tenantd_objects_waiting", 0.0, SOON)?;
        wait::until("the server's noticing", SOON, || Ok((ready()? == "ok").then_some(())))?;
        assert_eq!(fs::read_dir(server.data_file("outbox"))?.count(), 0);
        let key = s3.keys()?.remove(0);
        assert!(rows(&server)?[0].contains(&key), "{key}");
        Ok(())
    });
}

#[test]
fn an_upload_that_a_killed_process_began_is_finished_by_the_next() {
    play("killed", |scene| {
        let s3 = S3::start(&scene.folder)?;
        let mut server = in_bucket(scene, &s3)?;
        let alpha = Company::new("alpha.test");
        server.provision(&[&alpha])?;
        // Long enough for several parts.
        let minutes = 5;
        fs::write(scene.folder.path().join("long.wav"), long_wave(minutes * 60))?;
        s3.suffer(Fault::Slow(Duration::from_millis(200)));
        let text = with_sounds(&alpha, &[("long", "long.wav")]);
        let output = server.apply(&text, &["--wait", "1s"])?;
        assert_eq!(output.status.code(), Some(3), "{}", said(&output));
        // The server is at it, and slowly.
        wait::until("an upload under way", SOON, || {
            let tried = server
                .ask("SELECT count(*) FROM object_work WHERE due_at > now() + interval '1 min'")?;
            Ok((tried.trim() == "1").then_some(()))
        })?;
        server.cut_off()?;
        assert_eq!(s3.keys()?, [""; 0]);
        s3.suffer(Fault::None);
        server.run()?;
        let key = wait::until("the sound's arrival", SOON, || Ok(s3.keys()?.pop()))?;
        server.wait_for_metric("tenantd_objects_waiting", 0.0, SOON)?;
        let (wave, row) = (fs::read(s3.file(&key))?, rows(&server)?.remove(0));
        assert!(row.contains(&key), "{row}");
        assert_eq!(wave.len(), 44 + minutes as usize * 60 * 32_000);
        assert_eq!(fs::read_dir(server.data_file("outbox"))?.count(), 0);
        Ok(())
    });
}

/// Where the store is a folder, our own pages answer its signed links, and no others.
fn follow_links(scene: &Scene, server: &Server, keys: &[String]) -> Outcome {
    let cluster = ClusterKey::read(&server.data_file("cluster.key"))?;
    let objects = Objects::open(&Setup {
        s3: None,
        folder: server.data_file("objects"),
        outbox: scene.folder.path().join("no-outbox"),
        outbox_limit: 1,
        link_key: cluster.derive("links to objects"),
    })?;
    let now = Moment::EPOCH + SystemTime::now().duration_since(UNIX_EPOCH)?;
    let key = ObjectKey::parse(&keys[0]).expect("a key of ours");
    let links = Runtime::new()?.block_on(async {
        let good = objects.presign(&key, now, Duration::from_secs(60)).await;
        let over = objects.presign(&key, now, Duration::ZERO).await;
        good.and_then(|good| Ok((good, over?)))
    });
    let (good, over) = links?;
    let page = http::get(server.at.web, &good)?;
    assert!(page.status == 200 && page.body.starts_with("RIFF"), "{}", page.status);
    let others = good.replace(&keys[0], &keys[3]);
    let unsigned = good.split('?').next().unwrap_or_default().to_owned();
    let above = good.replace("/objects/tenant/", "/objects/../");
    for bad in [over, others, unsigned, above] {
        assert_eq!(http::get(server.at.web, &bad)?.status, 404, "{bad}");
    }
    Ok(())
}

/// A recording of a low tone at 8 kHz, as any program would write it.
fn long_wave(seconds: u32) -> Vec<u8> {
    let long = seconds * 16_000;
    let mut file =
        [b"RIFF".as_slice(), &(36 + long).to_le_bytes(), b"WAVEfmt \x10\0\0\0\x01\0\x01\0"]
            .concat();
    file.extend(8_000_u32.to_le_bytes().iter().chain(&16_000_u32.to_le_bytes()));
    file.extend(b"\x02\0\x10\0data".iter().chain(&long.to_le_bytes()));
    file.extend((0..long / 2).flat_map(|at| if at % 40 < 20 { [0, 10] } else { [0, 246] }));
    file
}
