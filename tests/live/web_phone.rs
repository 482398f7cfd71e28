//! A real browser's sound: it finds its way (ICE), shakes hands (DTLS), and is heard by phones that
//! know nothing of either, as it hears them.
//!
//! RFC 8825, RFC 8445, RFC 5764. What is heard is measured on both sides.

use std::time::Duration;

use kit::baresip::{self, Phone};
use kit::company::Company;
use kit::failure::Outcome;
use kit::handset::Handset;
use kit::line::Line;
use kit::scene::{Scene, play};
use kit::server::Server;
use kit::tls::Trust;
use kit::wait::{self, SOON};
use kit::web_phone::{Addresses, Setup, WebPhone};

const OPUS: &str = "opus/48000/2";
const HANDSHAKES: &str = "tenantd_sound_handshakes_total";

/// A phone and a browser, both registered.
struct Stage {
    server: Server,
    phone: Phone,
    browser: WebPhone,
}

impl Stage {
    fn set(scene: &mut Scene, codecs: &str, setup: &Setup<'_>) -> Outcome<Self> {
        let alpha = Company::new("alpha.test");
        let server = Server::start_everywhere(scene, &[&alpha])?;
        let phone = baresip::Setup::new(&alpha, "101", server.at.sip, 440);
        let phone = Phone::registered(scene, &baresip::Setup { codecs, ..phone })?;
        let line = Line::tls(server.at.tls(), alpha.domain, &Trust::Anybody)?;
        let mut handset = Handset::new(&alpha, "102", line);
        handset.register(600)?;
        let browser = WebPhone::start(scene, handset, setup)?;
        Ok(Self { server, phone, browser })
    }

    /// Both hear each other, and the browser says that it is encrypted and told how it is heard.
    fn talk(&mut self) -> Outcome {
        self.phone.wait_for("CALL_ESTABLISHED")?;
        self.phone.wait_for_sound(100)?;
        self.browser.wait_for_tone(440.0)?;
        let measured = wait::until("a report to the browser", SOON, || {
            let measured = self.browser.measured()?;
            Ok((!measured["remote-inbound-rtp"].is_null()).then_some(measured))
        })?;
        assert_eq!(measured["transport"]["dtlsState"], "connected", "{measured}");
        assert!(measured["transport"]["srtpCipher"].is_string(), "{measured}");
        assert!(measured["inbound-rtp"]["packetsReceived"].as_u64() >= Some(50), "{measured}");
        Ok(())
    }
}

/// A browser calls a phone with these codecs, and hangs up.
fn call(name: &str, codecs: &str, setup: &Setup<'_>) {
    play(name, |scene| {
        let mut stage = Stage::set(scene, codecs, setup)?;
        let offer = stage.browser.call("101")?;
        let hides = offer.lines().any(|line| line.contains("candidate") && line.contains(".local"));
        assert_eq!(hides, setup.addresses == Addresses::Hidden, "{offer}");
        stage.talk()?;
        assert_eq!(stage.server.metric(HANDSHAKES)?, 1.0);
        stage.browser.hang_up()?;
        stage.phone.wait_for("CALL_CLOSED")?;
        stage.phone.check_heard(700.0)
    });
}

const HIDDEN: Setup<'_> = Setup { tone: 700, addresses: Addresses::Hidden, codecs: &[] };

#[test]
fn a_browser_that_hides_its_addresses_calls_a_phone_with_mu_law() {
    call("web-pcmu", "pcmu", &HIDDEN);
}

#[test]
fn a_browser_that_shows_its_addresses_calls_a_phone_with_a_law_and_only_knows_opus() {
    let setup = Setup { addresses: Addresses::Shown, codecs: &["audio/opus"], ..HIDDEN };
    call("web-converted", "pcma", &setup);
}

#[test]
fn a_browser_calls_a_phone_with_opus() {
    if baresip::has(&["opus"]) {
        call("web-opus", OPUS, &HIDDEN);
    }
}

#[test]
fn a_phone_calls_a_browser_that_nobody_knows_yet() {
    play("web-called", |scene| {
        let mut stage = Stage::set(scene, "pcmu", &HIDDEN)?;
        stage.phone.dial("102")?;
        let (refused, offer) = stage.browser.answer()?;
        assert!(refused > 0, "it was thought to be a desk phone first");
        assert!(offer.contains("a=ice-lite\r\n"), "{offer}");
        stage.talk()?;
        stage.phone.hang_up()?;
        stage.browser.handset.wait_for_bye()?;
        stage.phone.wait_for("CALL_CLOSED")?;
        stage.phone.check_heard(700.0)
    });
}

#[test]
fn a_phone_calls_back_a_browser_the_way_it_called() {
    play("web-back", |scene| {
        let mut stage = Stage::set(scene, "pcma", &HIDDEN)?;
        stage.browser.call("101")?;
        stage.talk()?;
        stage.browser.hang_up()?;
        stage.phone.wait_for("CALL_CLOSED")?;
        stage.browser.begin(&HIDDEN)?;
        stage.phone.dial("102")?;
        let (refused, offer) = stage.browser.answer()?;
        assert!(refused == 0 && offer.contains(" UDP/TLS/RTP/SAVPF "), "{refused} before {offer}");
        stage.talk()?;
        assert_eq!(stage.server.metric(HANDSHAKES)?, 2.0);
        stage.browser.hang_up()?;
        stage.phone.wait_for("CALL_CLOSED")?;
        stage.phone.check_heard(700.0)
    });
}

#[test]
fn a_browser_holds_a_phone_and_takes_it_back() {
    play("web-hold", |scene| {
        let mut stage = Stage::set(scene, "pcmu", &HIDDEN)?;
        stage.browser.call("101")?;
        stage.talk()?;
        for _ in 0..2 {
            stage.browser.turn("inactive")?;
            stage.browser.wait_for_silence()?;
            stage.phone.wait_for_silence(Duration::from_secs(1))?;
            stage.browser.turn("sendrecv")?;
            stage.browser.wait_for_tone(440.0)?;
            stage.phone.wait_for_sound(75)?;
        }
        assert_eq!(stage.server.metric(HANDSHAKES)?, 1.0, "the keys are the same");
        stage.browser.hang_up()?;
        stage.phone.wait_for("CALL_CLOSED").map(drop)
    });
}
