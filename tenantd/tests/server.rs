//! The server as an operator meets it: starts, health, stops, and what it says about trouble.

mod program;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use program::Folder;

const ACME: &str = "[[tenant]]\ndomain = \"acme.test\"\nname = \"Acme\"\n";

#[test]
fn it_says_once_that_it_serves_and_ends_well() {
    let folder = Folder::new();
    let mut server = folder.start(&["serve"]);

    assert_eq!(server.ask("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(server.ask("/readyz"), (200, "ok\n".to_owned()));
    let (status, metrics) = server.ask("/metrics");
    assert_eq!(status, 200);
    for series in [
        "tenantd_registrations 0",
        "tenantd_calls 0",
        "tenantd_calls_succeeded_total 0",
        "tenantd_calls_failed_total 0",
        "tenantd_sip_requests_received_total 0",
        "tenantd_sip_requests_forwarded_total 0",
        "tenantd_sip_requests_received_per_second 0",
        "tenantd_sound_sides 0",
        "tenantd_queue_length{queue=\"journal_bytes\"}",
    ] {
        assert!(metrics.contains(&format!("\n{series}")), "no {series} in:\n{metrics}");
    }

    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
    let lines = server.seen.iter().filter(|line| line.contains("ready"));
    assert_eq!(lines.count(), 1, "{:?}", server.seen);
    assert!(!folder.path().join("var/postgres/data/postmaster.pid").exists());
}

#[test]
fn a_port_in_use_is_named() {
    let folder = Folder::new();
    let server = folder.start(&["serve"]);
    for (section, key, what, transport) in [
        ("sip", "udp", "sip udp", "udp"),
        ("web", "http", "http", "tcp"),
        ("admin", "listen", "admin", "tcp"),
    ] {
        let address = server.address_of(what);
        let variable = format!("TENANTD_{section}_{key}").to_uppercase();
        let mut command = folder.command(&["serve"]);
        let command = command.env(variable, &address).env("TENANTD_DATA_DIR", "demo");
        let (code, _, err) = program::told(command.output().unwrap());
        assert_eq!(code, Some(1));
        assert!(err.ends_with(&format!("{transport} {address} is in use\n")), "{err}");
    }
}

#[test]
fn a_data_directory_has_one_server() {
    let folder = Folder::new();
    let _server = folder.start(&["serve"]);
    let (code, _, err) = folder.run(&["serve"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("data_dir var is in use by process "), "{err}");
}

#[test]
fn a_killed_server_leaves_a_postgres_that_the_next_one_takes_over() {
    let folder = Folder::new();
    let mut server = folder.start(&["serve"]);
    let postmaster =
        || folder.read("var/postgres/data/postmaster.pid").lines().next().map(str::to_owned);
    let before = postmaster();

    server.signal(Signal::SIGKILL);
    server.wait();
    let mut server = folder.start(&["serve"]);

    assert_eq!(postmaster(), before);
    server.signal(Signal::SIGINT);
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn a_running_server_takes_over_what_is_applied() {
    let folder = Folder::new();
    folder.write("acme.toml", ACME);
    let server = folder.start(&["serve"]);

    let (code, out, err) = folder.run(&["apply", "acme.toml"]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");

    // A node that lives but does nothing.
    server.signal(Signal::SIGSTOP);
    folder.write("acme.toml", &ACME.replace("Acme", "Acme & Sons"));
    let (code, _, err) = folder.run(&["apply", "acme.toml", "--wait", "100ms"]);
    assert_eq!(code, Some(3));
    assert_eq!(err, "committed, but node n1 has not taken it over yet\n");
    server.signal(Signal::SIGCONT);
    let (code, out, _) = folder.run(&["apply", "acme.toml"]);
    assert_eq!((code, out.as_str()), (Some(0), "nothing to change\n"));
}

#[test]
fn a_postgres_that_dies_runs_again_and_nobody_is_turned_away() {
    let folder = Folder::new();
    folder.write("acme.toml", ACME);
    let mut server = folder.start(&["serve"]);
    let file = folder.read("var/postgres/data/postmaster.pid");
    let pid = file.lines().next().and_then(|pid| pid.parse().ok()).unwrap();

    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    server.wait_for(|line| line.contains("Postgres had died and runs again"));

    let (code, out, err) = folder.run(&["apply", "acme.toml"]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert_eq!(server.ask("/readyz").0, 200);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn nobody_waits_for_a_node_that_was_killed() {
    let folder = Folder::new();
    folder.write("acme.toml", ACME);
    let mut server = folder.start(&["serve"]);
    server.signal(Signal::SIGKILL);
    server.wait();

    let (code, _, err) = folder.run(&["apply", "acme.toml", "--wait", "0s"]);

    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(!folder.path().join("var/postgres/data/postmaster.pid").exists());
}

#[test]
fn postgres_away_at_the_start_is_waited_for_and_said() {
    let folder = Folder::new();
    let url = "[database]\nurl = \"postgres://nobody@127.0.0.1:1/none\"\n";
    let config = folder.read("tenantd.toml");
    folder.write("tenantd.toml", &format!("{config}{url}"));
    let mut server = folder.launch(&["serve"]);

    server.wait_for(|line| line.contains("Postgres is away"));
    server.signal(Signal::SIGTERM);

    assert_eq!(server.wait(), Some(0));
    assert!(!server.seen.iter().any(|line| line.contains("ready")), "{:?}", server.seen);
}

#[test]
fn the_demo_prints_the_same_logins_at_every_start() {
    let folder = Folder::new();
    let run = || {
        let mut demo = folder.start(&["demo", "--config", "tenantd.toml"]);
        demo.wait_for(|line| line.starts_with("Call 600"));
        let (code, _, err) = folder.run(&["demo", "--stop", "--config", "tenantd.toml"]);
        assert_eq!((code, err.as_str()), (Some(0), ""));
        assert_eq!(demo.wait(), Some(0));
        std::mem::take(&mut demo.seen)
    };
    let (first, second) = (run(), run());

    let logins = |lines: &[String]| -> Vec<String> {
        let is_one = |line: &&String| line.contains("sign in as") || line.contains("password");
        lines.iter().filter(is_one).cloned().collect()
    };
    // The provider, two admins, six extensions.
    assert_eq!(logins(&first).len(), 9, "{first:?}");
    assert_eq!(logins(&first), logins(&second));
    let ready = first.iter().position(|line| line.starts_with("tenantd ready")).unwrap();
    let early = first.iter().take(ready).find(|line| line.contains("http://"));
    assert_eq!(early, None, "pages are named once they can be opened");
    for company in ["alpha.localhost", "beta.localhost"] {
        assert!(first.iter().any(|line| line.contains(company)), "{first:?}");
    }
    let (code, _, err) = folder.run(&["demo", "--stop", "--config", "tenantd.toml"]);
    assert_eq!((code, err.as_str()), (Some(1), "no demo runs in var\n"));
}
