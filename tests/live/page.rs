//! The portal in a real browser: sign in, see phones and a call, read its story, open a card.

use kit::baresip::{Phone, Setup};
use kit::browser::Browser;
use kit::company::Company;
use kit::http;
use kit::scene::play;
use kit::server::Server;
use kit::wait::{self, SOON};

#[test]
fn an_admin_sees_phones_a_call_and_its_story() {
    play("page", |scene| {
        let (alpha, beta) = (Company::new("alpha.test"), Company::new("beta.test"));
        let server = Server::start_with(scene, &[&alpha, &beta])?;
        let mut ada = Phone::registered(scene, &Setup::new(&alpha, "101", server.at.sip, 440))?;
        let mut bob = Phone::registered(scene, &Setup::new(&alpha, "102", server.at.sip, 700))?;
        let _twin = Phone::registered(scene, &Setup::new(&beta, "101", server.at.sip, 440))?;
        ada.dial("102")?;
        bob.wait_for("CALL_ESTABLISHED")?;

        let page = format!("http://{}/", server.at.web);
        let mut browser = Browser::start(scene)?;
        let (email, password) = alpha.admin();
        browser.sign_in(&page, (&email, "not the password"))?;
        browser.wait_for("document.querySelector('[role=alert]') !== null")?;
        browser.sign_in(&page, (&email, &password))?;
        browser.wait_for("document.querySelectorAll('#live tbody tr').length === 3")?;
        let text = browser.text()?;
        assert!(text.contains("baresip") && text.contains("talking"), "{text}");
        // An opinion needs a hundred packets.
        ada.wait_for_sound(110)?;
        bob.wait_for_sound(110)?;
        ada.hang_up()?;
        // The page follows by itself.
        browser.wait_for("document.querySelectorAll('#live tbody tr').length === 2")?;
        server.wait_for_metric("tenantd_calls_succeeded_total", 1.0, SOON)?;
        wait::until("the call among the latest", SOON, || {
            browser.open(&page)?;
            let found =
                browser.evaluate("document.querySelector('a[href*=\"/calls/\"]') !== null")?;
            Ok((found == true).then_some(()))
        })?;
        browser.click("a[href*='/calls/']")?;
        browser.wait_for_text("102 answered")?;
        browser.wait_for_text("the caller hung up")?;
        for number in ["101", "102"] {
            let row = "document.querySelector('.quality tbody').innerText.split('\\n')";
            let good = format!(
                "{row}.some(row => row.startsWith('from {number} (baresip') && \
                 /\\d{{3,}}.*none.* ms.*good \\(4.\\d of 4.5\\)/.test(row))"
            );
            browser.wait_for(&good)?;
        }
        browser.portray(scene, "call.png")?;

        browser.click("a[href$='/cards']")?;
        browser.wait_for("document.querySelectorAll('article.card').length === 3")?;
        browser.click("article.card button")?;
        browser.wait_for_text(&alpha.password("101"))?;
        browser.wait_for("document.querySelector('article.card svg') !== null")
    });
}

#[test]
fn nobody_sees_a_page_without_signing_in_or_another_companys() {
    play("walls", |scene| {
        let (alpha, beta) = (Company::new("alpha.test"), Company::new("beta.test"));
        let server = Server::start_with(scene, &[&alpha, &beta])?;
        let signed_in = |company: &Company| {
            let (email, password) = company.admin();
            let form = format!("email={email}&password={password}");
            let request = format!(
                "POST /login HTTP/1.0\r\nHost: {}\r\nContent-Length: {}\r\n\
                 Content-Type: application/x-www-form-urlencoded\r\n\r\n{form}",
                server.at.web,
                form.len()
            );
            let answer = http::ask(server.at.web, &request)?;
            let cookie = answer.field("set-cookie").unwrap_or_default();
            Ok::<_, kit::failure::Failure>(cookie.split(';').next().unwrap_or_default().to_owned())
        };
        let get = |path: &str, cookie: &str| {
            let host = server.at.web;
            let request =
                format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n");
            http::ask(host, &request)
        };
        let (ours, theirs) = (signed_in(&alpha)?, signed_in(&beta)?);
        let own = get("/", &ours)?.field("location").unwrap_or_default().to_owned();
        let other = get("/", &theirs)?.field("location").unwrap_or_default().to_owned();
        assert!(own.starts_with("/t/") && other.starts_with("/t/") && own != other);
        for path in ["", "/live", "/cards"] {
            assert_eq!(get(&format!("{own}{path}"), &ours)?.status, 200);
            assert_eq!(get(&format!("{other}{path}"), &ours)?.status, 403);
            assert_eq!(get(&format!("{own}{path}"), "")?.status, 303);
        }
        assert!(get(&own, &ours)?.body.contains("alpha.test"));
        assert_eq!(get("/nothing", &ours)?.status, 404);
        let last = if ours.ends_with('0') { '1' } else { '0' };
        let forged = format!("{}{last}", ours.get(..ours.len() - 1).unwrap_or_default());
        assert_eq!(get(&own, &forged)?.status, 303);
        Ok(())
    });
}
