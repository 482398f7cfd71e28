//! The one command: from nothing to two companies whose phones talk, seen in a browser.

use kit::baresip::{Answer, Phone, Setup};
use kit::browser::Browser;
use kit::company::Company;
use kit::demo::{Card, Demo};
use kit::failure::Outcome;
use kit::scene::{Scene, play};
use kit::wait::{self, SOON, START};
use nix::sys::signal::Signal;

/// Whether the page asks who we are.
const LOGIN: &str = "document.querySelector('[name=password]') !== null";

fn phone(scene: &mut Scene, card: &Card, number: &str, tone: u32) -> Outcome<Phone> {
    let domain =
        if card.domain.starts_with("alpha") { "alpha.localhost" } else { "beta.localhost" };
    assert_eq!(card.domain, domain);
    let company = Company::new(domain);
    let password = card.users.iter().find(|(user, _)| user == number).map(|(_, p)| p.as_str());
    assert!(password.is_some_and(|password| password != number && password.len() >= 8));
    let answer = Answer::WhenTold;
    let setup = Setup { password, answer, ..Setup::new(&company, number, card.proxy, tone) };
    Phone::registered(scene, &setup)
}

#[test]
fn one_command_leads_to_a_call_that_its_company_sees_and_the_other_does_not() {
    play("demo", |scene| {
        let mut demo = Demo::prepare(scene)?;
        demo.run()?;
        let (alpha, beta) = (demo.card("Alpha")?, demo.card("Beta")?);
        for card in [&alpha, &beta] {
            let users: Vec<&str> = card.users.iter().map(|(user, _)| user.as_str()).collect();
            assert_eq!(users, ["101", "102", "103"]);
        }
        let mut ada = phone(scene, &alpha, "101", 440)?;
        let mut bob = phone(scene, &alpha, "102", 700)?;
        let mut twin = phone(scene, &beta, "102", 1_000)?;

        // Nobody is registered there: that call is over, and has a story.
        ada.dial("103")?;
        ada.wait_for("CALL_CLOSED")?;
        let mut browser = Browser::start(scene)?;
        sign_in(&mut browser, &alpha)?;
        browser.wait_for_text("baresip")?;
        wait::until("the first call among the latest", SOON, || {
            let address = browser.evaluate("location.href")?;
            browser.open(address.as_str().unwrap_or_default())?;
            Ok(browser.text()?.contains("103").then_some(()))
        })?;

        ada.dial("102")?;
        bob.wait_for("CALL_INCOMING")?;
        browser.wait_for_text("ringing")?;
        bob.answer()?;
        ada.wait_for("CALL_ESTABLISHED")?;
        browser.wait_for_text("talking")?;
        ada.wait_for_sound(75)?;
        bob.wait_for_sound(75)?;
        browser.portray(scene, "first-page.png")?;
        ada.hang_up()?;
        bob.wait_for("CALL_CLOSED")?;
        ada.check_heard(700.0)?;
        bob.check_heard(440.0)?;
        browser.wait_for("!document.body.innerText.includes('talking')")?;
        assert_eq!(twin.disturbance()?, None);

        browser.click("main a[href*='/calls/']")?;
        browser.wait_for("location.pathname.includes('/calls/')")?;
        browser.wait_for_text("103")?;

        browser.click("form[action='/logout'] button")?;
        browser.wait_for(LOGIN)?;
        sign_in(&mut browser, &beta)?;
        browser.wait_for_text("102")?;
        // One row, its own phone's: a port may hold the digits of an extension.
        let rows = browser.evaluate("document.querySelectorAll('tbody tr').length")?;
        assert_eq!(rows, 1, "beta sees a phone or call of alpha's:\n{}", browser.text()?);
        demo.stop()
    });
}

#[test]
fn a_demo_that_is_stopped_and_run_again_is_the_same() {
    play("again", |scene| {
        let mut demo = Demo::prepare(scene)?;
        demo.run()?;
        let before = (demo.provider()?, demo.card("Alpha")?, demo.card("Beta")?);
        let mut bob = phone(scene, &before.1, "102", 700)?;
        demo.running()?.signal(Signal::SIGINT)?;
        let status = demo.running()?.wait(SOON)?;
        assert!(status.success(), "{status}");

        demo.run()?;
        assert_eq!((demo.provider()?, demo.card("Alpha")?, demo.card("Beta")?), before);
        // Nobody registered again, and yet the phone is reached.
        let mut ada = phone(scene, &before.1, "101", 440)?;
        ada.dial("102")?;
        bob.wait_for("CALL_INCOMING")?;
        ada.hang_up()?;
        bob.wait_for("CALL_CLOSED")?;
        demo.stop()
    });
}

#[test]
fn a_second_demo_names_the_port_that_the_first_one_has() {
    play("second", |scene| {
        let mut demo = Demo::prepare(scene)?;
        demo.run()?;
        let sip = demo.at.sip;
        let mut other = Demo::prepare(scene)?;
        let config = other.at.config();
        let taken = config.replace(&other.at.sip.to_string(), &sip.to_string());
        scene.folder.write("demo.toml", &taken)?;
        other.elsewhere("other");
        let failure = other.run().expect_err("two demos at one port");
        let words = failure.to_string();
        assert!(words.contains(&sip.to_string()) && words.contains("in use"), "{words}");
        demo.running()?.signal(Signal::SIGTERM)?;
        assert!(demo.running()?.wait(START)?.success());
        Ok(())
    });
}

fn sign_in(browser: &mut Browser, card: &Card) -> Outcome {
    browser.sign_in(&card.page, (&card.email, &card.password))?;
    browser.wait_for("document.querySelector('form[action=\"/logout\"]') !== null")
}
