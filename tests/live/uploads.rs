//! Sounds that a company's admin uploads on its page: in a real browser, heard by a real phone; and
//! what is no sound, too much, or somebody else's.

use std::fs;
use std::path::Path;

use kit::baresip::{Phone, Setup};
use kit::browser::Browser;
use kit::company::Company;
use kit::failure::{Failure, Outcome};
use kit::scene::{Scene, play};
use kit::server::Server;
use kit::visitor::Visitor;
use kit::wait::{self, SOON};
use kit::{hostile, tone};

const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/sounds");

/// A tone of three seconds, as a file of the scene.
fn wave(scene: &Scene, name: &str, hz: f64) -> Outcome<std::path::PathBuf> {
    let path = scene.folder.path().join(name);
    tone::sine(16_000, hz, 48_000).write(&path)?;
    Ok(path)
}

/// A company whose announcement (700) is this tone.
fn company(scene: &Scene, domain: &'static str, hz: f64) -> Outcome<Company> {
    let file = format!("closed-{domain}.wav");
    wave(scene, &file, hz)?;
    let mut company = Company::new(domain);
    company.tables = format!(
        "[[tenant.sound]]\nname = \"closed\"\nfile = {file:?}\n\
         [[tenant.announcement]]\nnumber = \"700\"\nsound = \"closed\"\n"
    );
    Ok(company)
}

/// Calls an announcement, and hears this tone.
fn check(
    scene: &mut Scene,
    server: &Server,
    company: &Company,
    call: (&str, &str, f64),
) -> Outcome {
    let (from, number, hz) = call;
    let mut phone = Phone::registered(scene, &Setup::new(company, from, server.at.sip, 440))?;
    phone.dial(number)?;
    phone.wait_for("CALL_ESTABLISHED")?;
    phone.wait_for("CALL_CLOSED")?;
    phone.check_heard(hz)?;
    phone.quit()
}

fn rows(server: &Server, domain: &str) -> Outcome<Vec<String>> {
    let query = format!(
        "SELECT s.name FROM sound s JOIN domain d USING (tenant_id) WHERE d.name = '{domain}' \
         ORDER BY 1"
    );
    Ok(server.ask(&query)?.lines().map(str::to_owned).collect())
}

/// Uploads with the form that is shown, and waits for the page after it.
fn submit(browser: &mut Browser, name: Option<&str>, file: &Path) -> Outcome {
    if let Some(name) = name {
        browser.fill("name", name)?;
    }
    browser.choose("file", file)?;
    browser.click("#upload button")
}

#[test]
fn an_admin_uploads_sounds_in_a_browser_and_callers_hear_them() {
    play("uploads", |scene| {
        let alpha = company(scene, "alpha.test", 850.0)?;
        let beta = company(scene, "beta.test", 530.0)?;
        let server = Server::start_with(scene, &[&alpha, &beta])?;
        let page = format!("http://{}/", server.at.web);
        let mut browser = Browser::start(scene)?;
        let (email, password) = alpha.admin();
        browser.sign_in(&page, (&email, &password))?;
        browser.wait_for("document.querySelector(\"a[href$='/sounds']\") !== null")?;
        browser.click("a[href$='/sounds']")?;
        let count =
            |count| format!("document.querySelectorAll('.sounds tbody tr').length === {count}");
        browser.wait_for(&count(1))?;
        browser.wait_for_text("announcement 700")?;

        submit(&mut browser, Some("night"), &wave(scene, "night.wav", 620.0)?)?;
        browser.wait_for(&count(2))?;
        submit(&mut browser, Some("Welcome"), &Path::new(SAMPLES).join("tone.mp3"))?;
        browser.wait_for(&count(3))?;
        submit(&mut browser, Some("Music for the evening"), &Path::new(SAMPLES).join("tone.ogg"))?;
        browser.wait_for(&count(4))?;
        let text = browser.text()?;
        assert!(text.contains("4 of 500 sounds") && text.contains("0:03"), "{text}");
        browser.portray(scene, "sounds.png")?;
        // A browser finds what is to be heard, and knows it.
        browser
            .evaluate("document.querySelectorAll('audio').forEach(a => { a.preload = 'auto' })")?;
        browser.wait_for(
            "[...document.querySelectorAll('audio')].every(a => a.duration > 1.9 && a.duration < 4)",
        )?;

        // The same name: asked first.
        submit(&mut browser, Some("closed"), &wave(scene, "again.wav", 910.0)?)?;
        browser.wait_for_text("There is a sound of this name already")?;
        check(scene, &server, &alpha, ("101", "700", 850.0))?;
        browser.wait_for_text("announcement 700")?;
        submit(&mut browser, None, &scene.folder.path().join("again.wav"))?;
        browser.wait_for(&count(4))?;
        check(scene, &server, &alpha, ("102", "700", 910.0))?;
        // Next door nothing has changed.
        check(scene, &server, &beta, ("101", "700", 530.0))?;

        // What was uploaded can be used like any sound, and then it stays.
        let used = format!(
            "{}[[tenant.announcement]]\nnumber = \"701\"\nsound = \"night\"\n",
            alpha.provisioning().replacen(
                "[[tenant]]\n",
                "[[tenant]]\nannounce_recording = \"Music for the evening\"\n",
                1
            )
        );
        fs::copy(
            scene.folder.path().join("again.wav"),
            scene.folder.path().join("closed-alpha.test.wav"),
        )?;
        let applied = server.apply(&used, &[])?;
        assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
        check(scene, &server, &alpha, ("103", "701", 620.0))?;
        let delete = |name: &str| {
            format!(
                "[...document.querySelectorAll('.sounds tbody tr')].find(row => \
                 row.cells[0].innerText === '{name}').querySelector('button').click()"
            )
        };
        browser.evaluate(&delete("night"))?;
        browser.wait_for_text("This sound is needed and therefore stays: announcement 701.")?;
        browser.evaluate(&delete("Music for the evening"))?;
        browser.wait_for_text("therefore stays: “this call is recorded”.")?;
        browser.evaluate(&delete("Welcome"))?;
        browser.wait_for(&count(3))?;
        assert_eq!(rows(&server, "alpha.test")?, ["Music for the evening", "closed", "night"]);
        let audit = "SELECT count(*) FROM audit WHERE what = 'sound' AND who = 'boss@alpha.test'";
        let tenant = server.ask("SELECT tenant_id FROM domain WHERE name = 'alpha.test'")?;
        // Three came, one was replaced, one went.
        assert_eq!(server.ask_within(tenant.trim(), audit)?.trim(), "5");
        Ok(())
    });
}

#[test]
fn what_is_no_sound_or_too_much_or_anothers_is_refused_in_a_sentence() {
    play("no-uploads", |scene| {
        let mut alpha = company(scene, "alpha.test", 850.0)?;
        alpha.settings = "max_sounds = 2\n".to_owned();
        let mut beta = company(scene, "beta.test", 530.0)?;
        beta.settings = "sound_quota = \"100 kB\"\n".to_owned();
        let server = Server::start_with(scene, &[&alpha, &beta])?;
        let ada = Visitor::sign_in(server.at.web, &alpha)?;
        let ben = Visitor::sign_in(server.at.web, &beta)?;
        let (ours, theirs) = (format!("{}/sounds", ada.home), format!("{}/sounds", ben.home));
        let csrf = ada.csrf(&ours)?;
        let good = fs::read(Path::new(SAMPLES).join("tone.flac"))?;
        let fields = |name| [("csrf", csrf.as_str()), ("name", name)];

        let lying = hostile::all();
        let lying = lying.iter().find(|file| file.name.contains("promise of four gigabytes"));
        let lying = lying.ok_or_else(|| Failure::new("no such hostile file"))?;
        for (file, words) in [
            (fs::read("/bin/sh")?, "recording"),
            (b"these are words".to_vec(), "no recording that we know"),
            (vec![], "nothing in this file"),
            (vec![1; (32 << 20) + 1], "larger than 32 MiB"),
            (fs::read(Path::new(SAMPLES).join("tone-51.opus"))?, "cannot read"),
        ] {
            let page = ada.upload(&ours, &fields("x"), &file)?;
            assert!(page.status == 422 && page.body.contains(words), "{words}: {}", page.body);
        }
        let page = ada.upload(&ours, &fields("x"), &lying.bytes)?;
        assert!(page.status == 422 && page.body.contains("role=\"alert\""), "{}", page.body);
        let long = "n".repeat(129);
        for name in ["", "  ", "a\u{7}b", &long] {
            let page = ada.upload(&ours, &fields(name), &good)?;
            assert!(page.status == 422 && page.body.contains("needs a name"), "{}", page.body);
        }
        let taken = ada.upload(&ours, &fields("closed"), &good)?;
        assert!(taken.status == 409 && taken.body.contains("already"), "{}", taken.body);
        // Forged, or another's: nothing is even read.
        for forged in [&[("name", "x")][..], &[("csrf", "0"), ("name", "x")]] {
            assert_eq!(ada.upload(&ours, forged, &good)?.status, 403);
        }
        assert_eq!(ada.upload(&theirs, &fields("x"), &good)?.status, 403);
        assert_eq!(ada.get(&theirs)?.status, 403);
        assert_eq!(rows(&server, "alpha.test")?, ["closed"]);

        assert_eq!(ada.upload(&ours, &fields("second"), &good)?.status, 303);
        let full = ada.upload(&ours, &fields("third"), &good)?;
        assert!(full.status == 422 && full.body.contains("2 of 2 sounds"), "{}", full.body);
        assert_eq!(rows(&server, "alpha.test")?, ["closed", "second"]);
        let mine = ben.csrf(&theirs)?;
        let fields = [("csrf", mine.as_str()), ("name", "second")];
        let full = ben.upload(&theirs, &fields, &good)?;
        assert!(full.status == 422 && full.body.contains("97 kB of 100 kB"), "{}", full.body);
        assert_eq!(rows(&server, "beta.test")?, ["closed"]);
        only_the_company_reaches_its_sounds(&server, (&ada, &ours), (&ben, &theirs))?;
        // Nothing of all that was refused is left.
        for folder in ["outbox", "uploads"] {
            let path = server.data_file(folder);
            wait::until("an empty folder", SOON, || {
                Ok((fs::read_dir(&path)?.count() == 0).then_some(()))
            })?;
        }
        Ok(())
    });
}

fn only_the_company_reaches_its_sounds(
    server: &Server,
    (ada, ours): (&Visitor, &str),
    (ben, theirs): (&Visitor, &str),
) -> Outcome {
    let id = server.ask("SELECT id FROM sound WHERE name = 'second'")?;
    let id = id.trim();
    let (csrf, theirs_csrf) = (ada.csrf(ours)?, ben.csrf(theirs)?);
    assert_eq!(ada.get(&format!("{ours}/{id}"))?.status, 303);
    let good = fs::read(Path::new(SAMPLES).join("tone.mp3"))?;
    // By its own pages another company is told that there is nothing.
    for path in [format!("{theirs}/{id}"), format!("{theirs}/{id}/replace")] {
        assert_eq!(ben.get(&path)?.status, 404);
    }
    let form = format!("csrf={theirs_csrf}");
    assert_eq!(ben.post(&format!("{theirs}/{id}/delete"), &form)?.status, 404);
    assert_eq!(ben.post(&format!("{ours}/{id}/delete"), &form)?.status, 403);
    let fields = [("csrf", theirs_csrf.as_str())];
    assert_eq!(ben.upload(&format!("{theirs}/{id}/replace"), &fields, &good)?.status, 404);
    assert_eq!(ben.upload(&format!("{ours}/{id}/replace"), &fields, &good)?.status, 403);
    assert_eq!(ada.post(&format!("{ours}/{id}/delete"), "csrf=0")?.status, 403);
    let fields = [("csrf", csrf.as_str())];
    assert_eq!(ada.upload(&format!("{ours}/{id}/replace"), &fields, &good)?.status, 303);
    assert_eq!(ada.post(&format!("{ours}/{id}/delete"), &format!("csrf={csrf}"))?.status, 303);
    assert_eq!(rows(server, "alpha.test")?, ["closed"]);
    Ok(())
}
