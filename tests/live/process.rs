//! The program as its operator sees it: how it starts, refuses to start, tells how it is, and ends.

use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use kit::baresip::{Phone, Setup};
use kit::company::Company;
use kit::failure::{Failure, Outcome};
use kit::listeners::Listeners;
use kit::postgres::Postgres;
use kit::scene::play;
use kit::server::Server;
use kit::wait::{self, SOON, START};
use nix::sys::signal::Signal;

#[test]
fn a_bad_configuration_ends_with_one_line_that_says_where_and_why() {
    play("badconfig", |scene| {
        let at = Listeners::new(scene)?;
        let server = Server::prepare(&scene.folder, at, "")?;
        for (name, text, place) in [
            ("key", "colour = \"red\"\n", "colour"),
            ("value", "[sip]\nlanes = \"many\"\n", "tenantd.toml:2"),
            ("address", "[sip]\nudp = [\"localhost:sip\"]\n", "tenantd.toml:2"),
            ("syntax", "[sip\n", "tenantd.toml:1"),
        ] {
            std::fs::write(server.config_file(), text)?;
            for command in ["check", "serve"] {
                let output = server.command(&[command])?;
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert_eq!(output.status.code(), Some(2), "{name}: {said}");
                assert_eq!(said.trim_end().lines().count(), 1, "{name}: {said}");
                assert!(said.contains(place), "{name}: {said}");
            }
        }
        Ok(())
    });
}

#[test]
fn the_examples_in_the_documentation_are_accepted() {
    play("documents", |scene| {
        let at = Listeners::new(scene)?;
        let mut server = Server::prepare(&scene.folder, at, "")?;
        server.run()?;
        // The recordings that the example speaks of.
        let recording = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/sounds/tone.mp3");
        std::fs::create_dir(scene.folder.path().join("sounds"))?;
        for name in ["welcome.mp3", "recorded.mp3"] {
            std::fs::copy(recording, scene.folder.path().join("sounds").join(name))?;
        }
        let output = server.apply(&example("docs/provisioning.md")?, &["--dry-run"])?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::write(server.config_file(), example("docs/configuration.md")?)?;
        let output = server.command(&["check"])?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    });
}

#[test]
fn a_port_that_is_taken_is_named() {
    play("taken", |scene| {
        let at = Listeners::new(scene)?;
        let mut server = Server::prepare(&scene.folder, at, "")?;
        let taken = UdpSocket::bind(at.sip)?;
        server.launch()?;
        let program = server.running()?;
        let status = program.wait(START)?;
        let said = program.printed();
        assert!(!status.success() && !said.contains("ready"), "{said}");
        let named = said.lines().any(|line| line.contains(&at.sip.to_string()));
        assert!(named && said.contains("in use"), "{said}");
        drop(taken);
        server.run()
    });
}

#[test]
fn postgres_that_is_away_is_waited_for() {
    play("away", |scene| {
        let postgres = Postgres::start(&scene.folder)?;
        let config = postgres.config();
        postgres.stop()?;
        let at = Listeners::new(scene)?;
        let mut server = Server::prepare(&scene.folder, at, &config)?;
        server.launch()?;
        let program = server.running()?;
        program.wait_for_line("Postgres is away", START)?;
        assert!(program.is_running()? && !program.printed().contains("ready"));

        let postgres = Postgres::start(&scene.folder)?;
        program.wait_for_line("tenantd ready", START)?;
        server.stop(START)?;
        postgres.stop()
    });
}

#[test]
fn one_login_of_the_operators_own_is_enough() {
    play("login", |scene| {
        let postgres = Postgres::start(&scene.folder)?;
        postgres.admit_operator()?;
        postgres.stop()?;
        let postgres = Postgres::start(&scene.folder)?;
        let config = format!("[database]\nurl = {:?}\n", postgres.operator_url());
        let at = Listeners::new(scene)?;
        let mut server = Server::prepare(&scene.folder, at, &config)?;
        postgres.as_superuser("CREATE ROLE operator LOGIN")?;
        postgres.as_superuser("GRANT CONNECT ON DATABASE tenantd TO operator")?;

        // What is missing is said as statements that can be run as they stand.
        let refused = server.command(&["migrate"])?;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success(), "{said}");
        let statements = said.split("must run: ").nth(1).unwrap_or_default();
        assert!(statements.contains("GRANT"), "{said}");
        postgres.as_superuser(statements)?;

        let alpha = Company::new("alpha.test");
        server.run()?;
        server.provision(&[&alpha])?;
        let _phone = Phone::registered(scene, &Setup::new(&alpha, "101", server.at.sip, 440))?;
        server.stop(START)?;
        postgres.stop()
    });
}

#[test]
fn who_asks_how_it_is_gets_an_answer() {
    play("health", |scene| {
        let alpha = Company::new("alpha.test");
        let server = Server::start_with(scene, &[&alpha])?;
        assert_eq!(server.admin("/healthz")?.status, 200);
        assert_eq!(server.admin("/readyz")?.status, 200);
        assert_eq!(server.admin("/nothing")?.status, 404);
        server.wait_for_metric("tenantd_tenants", 1.0, SOON)?;
        let _phone = Phone::registered(scene, &Setup::new(&alpha, "101", server.at.sip, 440))?;
        server.wait_for_metric("tenantd_registrations", 1.0, SOON)?;
        assert!(server.metric("tenantd_sip_requests_received_total")? >= 2.0);
        for queue in ["tenantd_queue_length", "tenantd_queue_limit"] {
            assert!(server.metric(queue)? >= 0.0);
        }
        Ok(())
    });
}

#[test]
fn a_stop_lets_a_call_end_and_takes_no_new_ones() {
    play("drain", |scene| {
        let alpha = Company::new("alpha.test");
        let mut server = Server::start_with(scene, &[&alpha])?;
        let config = std::fs::read_to_string(server.config_file())?;
        server.stop(START)?;
        let patient = config.replace("drain_for = \"5s\"", "drain_for = \"120s\"");
        std::fs::write(server.config_file(), patient)?;
        server.run()?;
        let mut ada = Phone::registered(scene, &Setup::new(&alpha, "101", server.at.sip, 440))?;
        let mut bob = Phone::registered(scene, &Setup::new(&alpha, "102", server.at.sip, 700))?;
        ada.dial("102")?;
        bob.wait_for("CALL_ESTABLISHED")?;

        server.running()?.signal(Signal::SIGTERM)?;
        wait::until("/readyz saying no", SOON, || {
            Ok((server.admin("/readyz")?.status == 503).then_some(()))
        })?;
        assert_eq!(server.admin("/healthz")?.status, 200);
        let late = Phone::start(scene, &Setup::new(&alpha, "103", server.at.sip, 440))?;
        wait::until("a refusal that says when to come back", SOON, || {
            let refused = late.messages_with("SIP/2.0 503") > 0;
            Ok((refused && late.messages_with("Retry-After:") > 0).then_some(()))
        })?;
        ada.wait_for_sound(50)?;

        ada.hang_up()?;
        bob.wait_for("CALL_CLOSED")?;
        // What is left is the transactions' own patience: 64 times T1.
        let status = server.running()?.wait(Duration::from_secs(45))?;
        assert!(status.success(), "{status}");
        Ok(())
    });
}

#[test]
fn a_second_signal_ends_a_stop_at_once() {
    play("insist", |scene| {
        let alpha = Company::new("alpha.test");
        let mut server = Server::start_with(scene, &[&alpha])?;
        let mut ada = Phone::registered(scene, &Setup::new(&alpha, "101", server.at.sip, 440))?;
        let mut bob = Phone::registered(scene, &Setup::new(&alpha, "102", server.at.sip, 700))?;
        ada.dial("102")?;
        bob.wait_for("CALL_ESTABLISHED")?;
        server.running()?.signal(Signal::SIGTERM)?;
        wait::until("/readyz saying no", SOON, || {
            Ok((server.admin("/readyz")?.status == 503).then_some(()))
        })?;
        server.running()?.signal(Signal::SIGTERM)?;
        // Far less than `drain_for`.
        server.running()?.wait(Duration::from_secs(4))?;
        Ok(())
    });
}

/// The first TOML block of a page.
fn example(page: &str) -> Outcome<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(page);
    let text = std::fs::read_to_string(path)?;
    let block = text.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    block.map(str::to_owned).ok_or_else(|| Failure::new(format!("{page} has no example")))
}
