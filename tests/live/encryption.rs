//! Encrypted ways to the server: which certificate is shown to whom, and what happens to those who
//! cannot or will not shake hands.

use std::fs::write;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kit::baresip::{self, Over, Phone, Setup};
use kit::company::Company;
use kit::failure::Outcome;
use kit::handset::{Handset, status};
use kit::line::Line;
use kit::listeners::Listeners;
use kit::scene::{Scene, play};
use kit::server::Server;
use kit::tls::{Authority, Trust, hello};
use kit::wait::{self, SOON};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A server whose certificates lie in a folder of the scene.
fn start(scene: &mut Scene, companies: &[&Company]) -> Outcome<(Server, PathBuf)> {
    let directory = scene.folder.path().join("certificates");
    std::fs::create_dir_all(&directory)?;
    let at = Listeners::everywhere(scene)?;
    let more = format!("[tls]\ndirectory = {directory:?}\n");
    let mut server = Server::prepare(&scene.folder, at, &more)?;
    server.run()?;
    server.provision(companies)?;
    Ok((server, directory))
}

/// What is shown to whoever asks for that name.
fn shown(server: &Server, name: &str) -> Outcome<Vec<u8>> {
    Ok(Line::tls(server.at.tls(), name, &Trust::Anybody)?.certificate().unwrap_or_default())
}

fn wait_until_shown(server: &Server, name: &str, wanted: &[u8]) -> Outcome {
    let what = format!("another certificate for {name}");
    wait::until(&what, SOON, || Ok((shown(server, name)? == wanted).then_some(())))
}

#[test]
fn a_certificate_comes_is_renewed_expires_and_breaks_and_nobody_is_cut_off() {
    play("renewal", |scene| {
        let alpha = Company::new("alpha.test");
        let (server, directory) = start(scene, &[&alpha])?;
        let authority = Authority::new()?;
        let own = shown(&server, "alpha.test")?;
        let mut early =
            Handset::new(&alpha, "101", Line::tls(server.at.tls(), "alpha.test", &Trust::Anybody)?);
        early.register(600)?;
        assert!(Line::tls(server.at.tls(), "alpha.test", &authority.trust()).is_err());

        let folder = directory.join("alpha.test");
        let first = authority.issue(&folder, "", &["alpha.test"], (2 * HOUR, DAY))?;
        wait_until_shown(&server, "alpha.test", &first)?;
        assert_eq!(shown(&server, "127.0.0.1")?, own, "strangers see the self-signed one");
        assert_eq!(shown(&server, "other.test")?, own);
        let trusting = Line::tls(server.at.tls(), "alpha.test", &authority.trust())?;
        let mut trusting = Handset::new(&alpha, "102", trusting);
        trusting.register(600)?;

        // The self-signed one is shown, too, and is good for a year.
        let until = server.metric("tenantd_certificates_valid_until_seconds")?;
        let left = until - SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        assert!(left > 0.0 && left <= DAY.as_secs_f64(), "{left}");

        // The newest is shown as long as it is valid; then the one before it again.
        let short = Duration::from_secs(9);
        let second = authority.issue(&folder, "-next", &["alpha.test"], (HOUR, short))?;
        wait_until_shown(&server, "alpha.test", &second)?;
        wait_until_shown(&server, "alpha.test", &first)?;

        write(folder.join("fullchain.pem"), "-----BEGIN CERTIFICATE-----\nhalf")?;
        let other = authority.issue(&directory.join("b"), "", &["b.test"], (HOUR, DAY))?;
        wait_until_shown(&server, "b.test", &other)?;
        assert_eq!(shown(&server, "alpha.test")?, first, "a broken file changes nothing");

        for phone in [&mut early, &mut trusting] {
            assert_eq!(status(&phone.ping()?), 200, "its connection is the same");
        }
        server.wait_for_metric("tenantd_sip_connections", 2.0, SOON)
    });
}

#[test]
fn real_phones_call_each_other_over_tls_and_the_other_company_hears_nothing() {
    play("tls", |scene| {
        let (alpha, beta) = (Company::new("alpha.test"), Company::new("beta.test"));
        let (server, _) = start(scene, &[&alpha, &beta])?;
        let over = |company, number: &'static str, tone: u32| Setup {
            over: Over::Tls,
            ..Setup::new(company, number, server.at.tls(), tone)
        };
        let mut ada = Phone::registered(scene, &over(&alpha, "101", 440))?;
        let mut bob = Phone::registered(scene, &over(&alpha, "102", 700))?;
        let mut twin = Phone::registered(scene, &over(&beta, "102", 1_000))?;
        server.wait_for_metric("tenantd_sip_connections", 3.0, SOON)?;
        baresip::converse(&mut ada, "102", &mut bob)?;
        assert_eq!(twin.disturbance()?, None);
        Ok(())
    });
}

/// What the server says to the first words of a handshake: the type of its first record, and the
/// first byte in it.
fn answer_to(server: SocketAddr, bytes: &[u8]) -> Outcome<(u8, Vec<u8>)> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(SOON))?;
    stream.write_all(bytes)?;
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    let mut record = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    stream.read_exact(&mut record)?;
    Ok((head[0], record))
}

#[test]
fn nothing_older_than_tls_1_2_is_spoken_and_an_address_as_a_name_is_no_mistake() {
    play("versions", |scene| {
        let (server, _) = start(scene, &[])?;
        let (alert, handshake, protocol_version, server_hello) = (0x15, 0x16, 70, 2);
        let (kind, record) = answer_to(server.at.tls(), &hello(0x0302, "localhost"))?;
        assert_eq!((kind, record.get(1)), (alert, Some(&protocol_version)));
        for name in ["localhost", "127.0.0.1", "nobody.test"] {
            let (kind, record) = answer_to(server.at.tls(), &hello(0x0303, name))?;
            assert_eq!((kind, record.first()), (handshake, Some(&server_hello)), "{name}");
        }
        Ok(())
    });
}

#[test]
fn a_handshake_that_hangs_is_given_up_and_others_do_not_wait_for_it() {
    play("hangs", |scene| {
        let alpha = Company::new("alpha.test");
        let (server, _) = start(scene, &[&alpha])?;
        let mut hanging = vec![];
        for count in 0..200 {
            let mut line = Line::tcp(server.at.tls())?;
            let words = hello(0x0303, "localhost");
            let said = if count % 2 == 0 { words.get(..40) } else { None };
            line.send(said.unwrap_or_default())?;
            hanging.push(line);
        }
        let line = Line::tls(server.at.tls(), "alpha.test", &Trust::Anybody)?;
        let mut phone = Handset::new(&alpha, "101", line);
        phone.register(600)?;
        for line in &mut hanging {
            line.wait_for_end(SOON)?;
        }
        assert_eq!(status(&phone.ping()?), 200);
        let ended = "tenantd_sip_connections_ended_total{reason=\"handshake\"}";
        server.wait_for_metric(ended, 200.0, SOON)?;
        server.wait_for_metric("tenantd_sip_connections", 1.0, SOON)
    });
}

#[test]
fn pages_are_encrypted_with_cookies_that_stay_so() {
    play("https", |scene| {
        let alpha = Company::new("alpha.test");
        let (server, directory) = start(scene, &[&alpha])?;
        let authority = Authority::new()?;
        authority.issue(&directory.join("pages.test"), "", &["pages.test"], (HOUR, DAY))?;
        let ask = |name: &str, trust: &Trust, request: &str| -> Outcome<String> {
            let mut line = Line::tls(server.at.https(), name, trust)?;
            line.send(request.as_bytes())?;
            line.everything()
        };
        let page = |host: &str| format!("GET /login HTTP/1.0\r\nHost: {host}\r\n\r\n");
        let self_signed = ask("localhost", &Trust::Anybody, &page("localhost"))?;
        assert!(self_signed.starts_with("HTTP/1.0 200"), "{self_signed}");
        assert!(!self_signed.contains("strict-transport-security"), "{self_signed}");

        let vouched = wait::until("a page that somebody vouches for", SOON, || {
            Ok(ask("pages.test", &authority.trust(), &page("pages.test:8443")).ok())
        })?;
        assert!(vouched.contains("strict-transport-security: max-age=31536000"), "{vouched}");

        let (email, password) = alpha.admin();
        let form = format!("email={}&password={password}", email.replace('@', "%40"));
        let login = |host: &str| {
            format!(
                "POST /login HTTP/1.0\r\nHost: {host}\r\nContent-Length: {}\r\n\
                 Content-Type: application/x-www-form-urlencoded\r\n\r\n{form}",
                form.len()
            )
        };
        let signed_in = ask("pages.test", &authority.trust(), &login("pages.test"))?;
        let cookie = signed_in.lines().find(|line| line.starts_with("set-cookie:"));
        let cookie = cookie.unwrap_or_default();
        assert!(cookie.contains("__Host-tenantd=") && cookie.contains("; Secure"), "{signed_in}");
        let plain = kit::http::ask(server.at.web, &login(&server.at.web.to_string()))?;
        let cookie = plain.field("set-cookie").unwrap_or_default();
        assert!(cookie.starts_with("tenantd=") && !cookie.contains("Secure"), "{cookie}");
        Ok(())
    });
}
