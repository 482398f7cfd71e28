//! Recorded calls of real phones: what the file holds, who has it, and what a kill or an absent store
//! does to it.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kit::baresip::{self, Encrypts, Over, Phone, Setup};
use kit::company::Company;
use kit::failure::{Failure, Outcome};
use kit::http::{self, Page};
use kit::listeners::Listeners;
use kit::s3::{Fault, S3};
use kit::scene::{Scene, play};
use kit::server::Server;
use kit::tone;
use kit::wait::{self, SOON, START};
use kit::wav::Sound;

/// Words long enough to be measured.
const TALKS_FOR: u64 = 150;
/// A process that was killed is given time for its calls to go on.
const TAKEN_UP: Duration = Duration::from_secs(60);

fn recording_company(domain: &'static str, settings: &str) -> Company {
    Company { settings: settings.to_owned(), ..Company::new(domain) }
}

/// A call of 101 to 102 until both were heard for a while.
fn talk(ada: &mut Phone, bob: &mut Phone) -> Outcome {
    ada.dial("102")?;
    baresip::talking(ada, bob)?;
    ada.wait_for_sound(TALKS_FOR)?;
    bob.wait_for_sound(1)
}

/// A recording's row: whose, its object's key, its length in ms, when it began (ms since 1970), and who
/// wanted it.
#[derive(Debug)]
pub(super) struct Row {
    domain: String,
    key: String,
    lasts_ms: u64,
    began_ms: u64,
    pub(super) asked_by: String,
}

fn rows(server: &Server) -> Outcome<Vec<Row>> {
    let query = "SELECT d.name || '|tenant/' || r.tenant_id || '/recordings/' || r.id || '|' || \
                 r.lasts_ms || '|' || (extract(epoch FROM r.began_at) * 1000)::bigint || '|' || \
                 r.asked_by FROM recording r JOIN domain d USING (tenant_id) ORDER BY d.name, r.id";
    let answer = server.ask(query)?;
    let lines = answer.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| {
            let parts: Vec<&str> = line.trim().split('|').collect();
            let [domain, key, lasts_ms, began_ms, asked_by] = parts[..] else {
                return Err(Failure::new(format!("no row: {line}")));
            };
            Ok(Row {
                domain: domain.to_owned(),
                key: key.to_owned(),
                lasts_ms: lasts_ms.parse()?,
                began_ms: began_ms.parse()?,
                asked_by: asked_by.to_owned(),
            })
        })
        .collect()
}

pub(super) fn wait_for_rows(server: &Server, count: usize, within: Duration) -> Outcome<Vec<Row>> {
    wait::until("the recordings", within, || {
        let rows = rows(server)?;
        Ok((rows.len() == count).then_some(rows))
    })
}

/// Waits until the object is in its folder, and tells where.
pub(super) fn object(server: &Server, row: &Row) -> Outcome<PathBuf> {
    let path = server.data_file("objects").join(&row.key);
    wait::until("the recording's object", SOON, || Ok(path.exists().then(|| path.clone())))
}

/// Checks that each ear heard its tone for so long, and nothing of the other's.
pub(super) fn check_ears(path: &std::path::Path, seconds: f64, tones: [f64; 2]) -> Outcome {
    for (ear, hz) in tones.into_iter().enumerate() {
        let sound = Sound::read_ear(path, ear)?;
        let (heard, others) = (tone::seconds_of(&sound, hz), tone::seconds_of_others(&sound, hz));
        let long = sound.seconds();
        if heard < seconds || others > 0.4 {
            let said = format!("ear {ear}: {heard} s of {hz} Hz, {others} s of others in {long} s");
            return Err(Failure::new(said));
        }
    }
    Ok(())
}

/// When an ear hears a tone for the first time, in seconds.
fn begins(path: &std::path::Path, ear: usize) -> Outcome<f64> {
    let sound = Sound::read_ear(path, ear)?;
    let first = sound.samples.iter().position(|sample| sample.abs() > 1_000);
    let first = first.ok_or_else(|| Failure::new("an ear hears nothing"))?;
    Ok(first as f64 / f64::from(sound.rate))
}

fn nothing_is_left(server: &Server) -> Outcome {
    let folder = server.data_file("recordings");
    wait::until("the raw files' end", SOON, || {
        Ok((fs::read_dir(&folder)?.count() == 0).then_some(()))
    })
}

#[test]
fn both_phones_of_a_call_are_heard_in_its_recording_whatever_they_speak() {
    play("recorded", |scene| {
        let always = "record = \"always\"";
        let alpha = recording_company("alpha.test", always);
        let beta = recording_company("beta.test", always);
        let server = Server::start_everywhere(scene, &[&alpha, &beta])?;
        let opus = baresip::has(&["opus"]);
        let setup = |company, number, tone| Setup::new(company, number, server.at.sip, tone);
        let mut ada = Phone::registered(scene, &setup(&alpha, "101", 440))?;
        let codecs = if opus { "opus/48000/2" } else { "PCMA/8000/1" };
        let bobs = Setup::new(&alpha, "102", server.at.tls(), 700);
        let bobs = Setup { codecs, over: Over::Tls, encrypts: Encrypts::ByKeys, ..bobs };
        let mut bob = Phone::registered(scene, &bobs)?;
        // The twins have the same numbers and talk at the same time.
        let mut eve = Phone::registered(scene, &setup(&beta, "101", 1_000))?;
        let mut mallory = Phone::registered(scene, &setup(&beta, "102", 1_600))?;
        talk(&mut ada, &mut bob)?;
        talk(&mut eve, &mut mallory)?;
        baresip::part(&mut ada, &mut bob)?;
        baresip::part(&mut eve, &mut mallory)?;

        let rows = wait_for_rows(&server, 2, START)?;
        assert_eq!((&*rows[0].domain, &*rows[1].domain), ("alpha.test", "beta.test"));
        for (row, tones) in rows.iter().zip([[440.0, 700.0], [1_000.0, 1_600.0]]) {
            assert_eq!(row.asked_by, "", "the company's rule");
            let path = object(&server, row)?;
            check_ears(&path, 2.0, tones)?;
            let seconds = Sound::read(&path)?.seconds();
            assert!((seconds - row.lasts_ms as f64 / 1_000.0).abs() < 0.01, "{row:?} {seconds}");
        }
        nothing_is_left(&server)?;
        only_its_company_gets_it(&server, [&alpha, &beta], &rows)?;
        a_deleted_one_is_proven_gone(&server, &alpha, &rows[0])
    });
}

/// Signs in; the cookie.
fn sign_in(server: &Server, company: &Company) -> Outcome<String> {
    let (email, password) = company.admin();
    let answer = post(server, "/login", "", &format!("email={email}&password={password}"))?;
    let cookie = answer.field("set-cookie").unwrap_or_default();
    Ok(cookie.split(';').next().unwrap_or_default().to_owned())
}

fn post(server: &Server, path: &str, cookie: &str, form: &str) -> Outcome<Page> {
    let (host, long) = (server.at.web, form.len());
    let head = format!(
        "POST {path} HTTP/1.0\r\nHost: {host}\r\nCookie: {cookie}\r\nContent-Length: {long}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n{form}"
    );
    http::ask(host, &head)
}

fn get(server: &Server, path: &str, cookie: &str) -> Outcome<Page> {
    let host = server.at.web;
    http::ask(host, &format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n"))
}

/// `/t/COMPANY/recordings/RECORDING`.
fn page_of(row: &Row) -> String {
    format!("/t/{}", row.key.trim_start_matches("tenant/"))
}

fn only_its_company_gets_it(server: &Server, of: [&Company; 2], rows: &[Row]) -> Outcome {
    let cookies = [sign_in(server, of[0])?, sign_in(server, of[1])?];
    for (n, row) in rows.iter().enumerate() {
        let page = page_of(row);
        let ours = get(server, &page, &cookies[n])?;
        assert_eq!(ours.status, 303, "{}", ours.body);
        let link = ours.field("location").unwrap_or_default().to_owned();
        let wave = http::get(server.at.web, &link)?;
        assert!(wave.status == 200 && wave.body.starts_with("RIFF"), "{}", wave.status);
        assert_eq!(get(server, &page, &cookies[1 - n])?.status, 403);
        assert_eq!(get(server, &page, "")?.status, 303);
        // Not in one's own company either.
        let (own, id) = (page_of(&rows[1 - n]), row.key.rsplit('/').next().unwrap_or_default());
        let moved = format!("{}/{id}", own.rsplit_once('/').map_or("", |(before, _)| before));
        assert_eq!(get(server, &moved, &cookies[1 - n])?.status, 404);
    }
    for (row, company) in rows.iter().zip(of) {
        let query = "SELECT who || ' ' || count(*) FROM recording_heard GROUP BY who";
        let tenant = row.key.split('/').nth(1).unwrap_or_default();
        let heard = server.ask_within(tenant, query)?;
        assert_eq!(heard.trim(), format!("{} 1", company.admin().0));
        let query = "SELECT count(*) FROM audit WHERE what = 'recording_heard'";
        assert_eq!(server.ask_within(tenant, query)?.trim(), "1");
    }
    Ok(())
}

/// Both companies, whose recordings are kept for so many days; 0: for ever.
fn kept_for(days: u8) -> [Company; 2] {
    let settings = format!("record = \"always\"\nrecord_days = {days}");
    ["alpha.test", "beta.test"].map(|domain| recording_company(domain, &settings))
}

fn a_deleted_one_is_proven_gone(server: &Server, alpha: &Company, row: &Row) -> Outcome {
    let cookie = sign_in(server, alpha)?;
    let id = row.key.rsplit('/').next().unwrap_or_default();
    let call = server.ask(&format!("SELECT call_id FROM recording WHERE id = '{id}'"))?;
    let tenant = row.key.split('/').nth(1).unwrap_or_default();
    let call_page = format!("/t/{tenant}/calls/{}", call.trim());
    let shown = wait::until("the call's page", SOON, || {
        let page = get(server, &call_page, &cookie)?;
        Ok((page.status == 200).then_some(page.body))
    })?;
    assert!(shown.contains("Download the recording"), "{shown}");
    assert!(shown.contains("The call is recorded from here on"), "{shown}");
    let csrf = shown.split("name=\"csrf\" value=\"").nth(1).unwrap_or_default();
    let csrf = csrf.split('"').next().unwrap_or_default().to_owned();
    let act = |what: &str| -> Outcome<u16> {
        Ok(post(server, &format!("{}/{what}", page_of(row)), &cookie, &format!("csrf={csrf}"))?
            .status)
    };
    assert_eq!(act("hold")?, 303);
    assert_eq!(act("delete")?, 404, "what is held stays");
    // Nor does its time end, as it does for all others.
    server.provision(&kept_for(1).each_ref())?;
    server.ask("UPDATE recording SET ended_at = ended_at - interval '2 days'")?;
    wait::until("the other's end", START, || {
        let query = "SELECT count(*) FROM recording WHERE deleted_at IS NOT NULL";
        Ok((server.ask(query)?.trim() == "1").then_some(()))
    })?;
    assert_eq!(server.ask("SELECT count(*) FROM recording WHERE held")?.trim(), "1");
    server.provision(&kept_for(0).each_ref())?;
    assert_eq!(act("release")?, 303);
    assert_eq!(act("delete")?, 303);
    let path = server.data_file("objects").join(&row.key);
    wait::until("the proof", START, || {
        let query = format!("SELECT deleted_at IS NOT NULL FROM recording WHERE id = '{id}'");
        Ok((server.ask(&query)?.trim() == "t").then_some(()))
    })?;
    assert!(!path.exists());
    let shown = get(server, &call_page, &cookie)?.body;
    assert!(shown.contains("was deleted on") && !shown.contains("Download"), "{shown}");
    assert_eq!(get(server, &page_of(row), &cookie)?.status, 404);
    Ok(())
}

#[test]
fn a_code_begins_a_recording_pauses_it_and_lets_it_go_on() {
    play("demand", |scene| {
        let alpha = recording_company("alpha.test", "record = \"on_demand\"\nrecord_code = \"*7\"");
        let server = Server::start_with(scene, &[&alpha])?;
        let setup = |number, tone| Setup::new(&alpha, number, server.at.sip, tone);
        let mut ada = Phone::registered(scene, &setup("101", 440))?;
        let mut bob = Phone::registered(scene, &setup("102", 700))?;
        talk(&mut ada, &mut bob)?;
        let code = |phone: &mut Phone, open: f64, written: &str| -> Outcome {
            for key in ["*", "7"] {
                phone.press(key)?;
            }
            wait::until(written, SOON, || {
                Ok((server.metric("tenantd_recordings_open")? == open).then_some(()))
            })
        };
        assert_eq!(server.metric("tenantd_recordings_open")?, 0.0);
        code(&mut bob, 1.0, "the recording's beginning")?;
        ada.wait_for_sound(TALKS_FOR)?;
        let file = wait::until("its file", SOON, || {
            Ok(fs::read_dir(server.data_file("recordings"))?.next().transpose()?)
        })?;
        let long = || -> Outcome<u64> { Ok(fs::metadata(file.path())?.len()) };
        code(&mut bob, 1.0, "the pause")?;
        // It grows no more.
        wait::until("the file's rest", SOON, || {
            let before = long()?;
            std::thread::sleep(Duration::from_millis(700));
            Ok((long()? == before).then_some(()))
        })?;
        ada.wait_for_sound(TALKS_FOR)?;
        let paused = long()?;
        code(&mut ada, 1.0, "its going on")?;
        wait::until("the file's growth", SOON, || Ok((long()? > paused).then_some(())))?;
        ada.wait_for_sound(TALKS_FOR)?;
        baresip::part(&mut ada, &mut bob)?;
        let row = wait_for_rows(&server, 1, START)?.remove(0);
        assert_eq!(row.asked_by, "102");
        let path = object(&server, &row)?;
        check_ears(&path, 3.0, [440.0, 700.0])?;
        let call = server.ask("SELECT story::text FROM call")?;
        for word in ["Recorded", "RecordingPaused", "RecordingResumed"] {
            assert!(call.contains(word), "{call}");
        }
        let seconds = Sound::read(&path)?.seconds();
        let whole = server.ask("SELECT extract(epoch FROM ended_at - began_at) FROM recording")?;
        let whole: f64 = whole.trim().parse()?;
        assert!(seconds < whole - 2.0, "{seconds} of {whole}: the pause is left out");
        Ok(())
    });
}

#[test]
fn a_kill_loses_less_than_the_last_second_and_the_recording_goes_on() {
    play("killed", |scene| {
        let alpha = recording_company("alpha.test", "record = \"always\"");
        let mut server = Server::start_with(scene, &[&alpha])?;
        let setup = |number, tone| Setup::new(&alpha, number, server.at.sip, tone);
        let mut ada = Phone::registered(scene, &setup("101", 440))?;
        let mut bob = Phone::registered(scene, &setup("102", 700))?;
        talk(&mut ada, &mut bob)?;
        server.cut_off()?;
        let killed_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
        server.run()?;
        ada.wait_for_sound(TALKS_FOR)?;
        bob.wait_for_sound(TALKS_FOR)?;
        baresip::part(&mut ada, &mut bob)?;
        let row = wait_for_rows(&server, 1, TAKEN_UP)?.remove(0);
        let path = object(&server, &row)?;
        let lived = (killed_ms - row.began_ms) as f64 / 1_000.0;
        for (ear, hz) in [(0, 440.0), (1, 700.0)] {
            let sound = Sound::read_ear(&path, ear)?;
            let begins = begins(&path, ear)?;
            let until = ((lived - 1.0) * f64::from(sound.rate)) as usize;
            let samples = sound.samples[..until.min(sound.samples.len())].to_vec();
            let heard = tone::seconds_of(&Sound { rate: sound.rate, samples }, hz);
            assert!(heard > lived - 1.0 - begins - 0.3, "{heard} of {lived} from {begins}");
            let after = tone::seconds_of(&sound.after(lived), hz);
            assert!(after > 2.0, "{after} s after the kill");
        }
        nothing_is_left(&server)
    });
}

#[test]
fn a_store_that_is_away_when_a_call_ends_has_its_recording_later() {
    play("away", |scene| {
        let s3 = S3::start(&scene.folder)?;
        let alpha = recording_company("alpha.test", "record = \"always\"");
        let server = in_bucket(scene, &s3, &alpha)?;
        let setup = |number, tone| Setup::new(&alpha, number, server.at.sip, tone);
        let mut ada = Phone::registered(scene, &setup("101", 440))?;
        let mut bob = Phone::registered(scene, &setup("102", 700))?;
        s3.suffer(Fault::Away);
        talk(&mut ada, &mut bob)?;
        baresip::part(&mut ada, &mut bob)?;
        let row = wait_for_rows(&server, 1, START)?.remove(0);
        server.wait_for_metric("tenantd_objects_waiting", 1.0, START)?;
        assert_eq!(s3.keys()?, [""; 0]);
        s3.suffer(Fault::None);
        let key = wait::until("the recording's arrival", START, || Ok(s3.keys()?.pop()))?;
        assert_eq!(key, row.key);
        check_ears(&s3.file(&key), 2.0, [440.0, 700.0])?;
        nothing_is_left(&server)
    });
}

fn in_bucket(scene: &mut Scene, s3: &S3, company: &Company) -> Outcome<Server> {
    let at = Listeners::new(scene)?;
    let mut server = Server::prepare(&scene.folder, at, &s3.config())?;
    server.run()?;
    server.provision(&[company])?;
    Ok(server)
}

#[test]
fn a_member_of_a_conference_has_what_it_says_on_one_ear_and_what_it_hears_on_the_other() {
    play("recorded-conference", |scene| {
        let mut alpha = recording_company("alpha.test", "record = \"always\"");
        alpha.tables = "[[tenant.conference]]\nnumber = \"800\"\n".to_owned();
        let server = Server::start_with(scene, &[&alpha])?;
        let codecs = if baresip::has(&["opus"]) { "opus/48000/2" } else { "PCMA/8000/1" };
        let ada = Setup::new(&alpha, "101", server.at.sip, 440);
        let bob = Setup { codecs, ..Setup::new(&alpha, "102", server.at.sip, 700) };
        let mut phones = [Phone::registered(scene, &ada)?, Phone::registered(scene, &bob)?];
        for phone in &mut phones {
            phone.dial("800")?;
            phone.wait_for("CALL_ESTABLISHED")?;
        }
        for phone in &mut phones {
            phone.wait_for_sound(TALKS_FOR)?;
        }
        for phone in &mut phones {
            phone.hang_up()?;
            phone.wait_for("CALL_CLOSED")?;
        }
        // In the order in which they came.
        let rows = wait_for_rows(&server, 2, START)?;
        for (row, tones) in rows.iter().zip([[440.0, 700.0], [700.0, 440.0]]) {
            let path = object(&server, row)?;
            for (ear, hz) in tones.into_iter().enumerate() {
                let sound = Sound::read_ear(&path, ear)?;
                let heard = tone::seconds_of(&sound, hz);
                let other = tone::seconds_of(&sound, tones[1 - ear]);
                assert!(heard > 2.0 && other < 0.1, "ear {ear}: {heard} s, {other} s of the other");
            }
        }
        nothing_is_left(&server)
    });
}
