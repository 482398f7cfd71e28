//! Whether the instruments themselves can be believed: two phones and no server between them.

use std::time::Duration;

use kit::baresip::{self, Phone, Setup};
use kit::browser::Browser;
use kit::company::Company;
use kit::ear::Ear;
use kit::scene::play;

#[test]
fn two_phones_hear_each_other_hold_and_hang_up_without_any_server() {
    play("instruments", |scene| {
        let company = Company::new("alpha.test");
        let nowhere = ([127, 0, 0, 1], scene.ports.one()?).into();
        let called = Setup { expires: 0, ..Setup::new(&company, "102", nowhere, 700) };
        let mut bob = Phone::start(scene, &called)?;
        let calling = Setup { expires: 0, ..Setup::new(&company, "101", bob.at, 440) };
        let mut ada = Phone::start(scene, &calling)?;
        assert_eq!(ada.disturbance()?, None);

        ada.dial("102")?;
        baresip::talking(&mut bob, &mut ada)?;

        ada.hold()?;
        bob.wait_for_silence(Duration::from_millis(500))?;
        ada.resume()?;
        bob.wait_for_sound(25)?;
        ada.wait_for_sound(25)?;

        bob.hang_up()?;
        ada.wait_for("CALL_CLOSED")?;
        ada.check_heard(700.0)?;
        bob.check_heard(440.0)?;
        assert!(ada.check_heard(440.0).is_err() && bob.check_heard(700.0).is_err());
        assert!(bob.disturbance()?.is_some());
        ada.quit()?;
        bob.quit()
    });
}

#[test]
fn two_ears_hear_each_other_until_one_is_closed() {
    play("ears", |scene| {
        let (first, second) = (scene.ports.one()?, scene.ports.one()?);
        let mut a = Ear::open(first, 440.0)?;
        let mut b = Ear::open(second, 700.0)?;
        a.play_to(([127, 0, 0, 1], second).into())?;
        a.wait_for_tone(700.0)?;
        b.wait_for_tone(440.0)?;
        drop(a);
        b.wait_for_silence(Duration::from_millis(300))
    });
}

#[test]
fn the_browser_shows_a_page_and_takes_its_picture() {
    play("browser", |scene| {
        let page = "<title>x</title><form><input name=word></form><p id=p>Calls</p>";
        let file = scene.folder.write("page.html", page)?;
        let mut browser = Browser::start(scene)?;
        browser.open(&format!("file://{}", file.display()))?;
        browser.wait_for_text("Calls")?;
        browser.fill("word", "it's \"quoted\"")?;
        let script = "document.querySelector('[name=word]').value.length";
        assert_eq!(browser.evaluate(script)?, 13);
        let picture = scene.folder.path().join("page.png");
        browser.picture(&picture)?;
        assert!(std::fs::read(picture)?.starts_with(b"\x89PNG"));
        assert!(browser.open("http://127.0.0.1:1/").is_err());
        Ok(())
    });
}
