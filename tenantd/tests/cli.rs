//! The command line as its callers meet it: exit codes, and one line for each mistake.

mod program;

use std::io::Write;
use std::process::Stdio;

use program::{Folder, told};

const ACME: &str = "
[[tenant]]
domain = \"acme.test\"
name = \"Acme\"
[[tenant.extension]]
number = \"101\"
password = \"a-good-secret\"
";

#[test]
fn a_wrong_configuration_is_one_line_and_exit_2_whatever_is_asked() {
    let folder = Folder::new();
    folder.write("bad.toml", "[sip]\nupd = []\n");
    folder.write("companies.toml", ACME);
    for command in [
        vec!["check"],
        vec!["serve"],
        vec!["migrate"],
        vec!["demo"],
        vec!["apply", "companies.toml"],
        vec!["admin", "add", "a@b.test"],
    ] {
        let (code, out, err) = folder.run(&[&command[..], &["--config", "bad.toml"]].concat());
        assert_eq!((code, out.as_str()), (Some(2), ""), "{command:?}");
        assert!(err.starts_with("bad.toml:2:1: unknown field `upd`, expected one of"), "{err}");
        assert_eq!(err.lines().count(), 1, "{err}");
    }
    assert!(!folder.path().join("var").exists(), "nothing was changed");
    assert!(!folder.path().join("demo").exists(), "nothing was changed");
}

#[test]
fn a_wrong_variable_is_named() {
    let folder = Folder::new();
    let mut command = folder.command(&["check"]);
    let told = told(command.env("TENANTD_SIP_UPD", "x").output().unwrap());
    let line = "TENANTD_SIP_UPD: no such key\n".to_owned();
    assert_eq!(told, (Some(2), String::new(), line));
}

#[test]
fn a_configuration_that_can_be_used_is_ok() {
    let folder = Folder::new();
    let ok = (Some(0), "configuration ok\n".to_owned(), String::new());
    assert_eq!(folder.run(&["check"]), ok);
    assert!(!folder.path().join("var").exists(), "nothing was changed");
}

#[test]
fn a_key_file_that_holds_no_key_is_a_mistake_of_its_line() {
    let folder = Folder::new();
    folder.write("k", "nonsense\n");
    folder.write("key.toml", "[secrets]\nkey_file = \"k\"\n");
    let (code, _, err) = folder.run(&["check", "--config", "key.toml"]);
    assert_eq!(code, Some(2));
    assert_eq!(err, "cluster key k, line 1: 32 bytes in hex or base64 are needed\n");
}

#[test]
fn a_certificate_that_is_none_is_named_before_it_is_needed() {
    let folder = Folder::new();
    folder.write("c", "nonsense\n");
    folder.write("k", "nonsense\n");
    folder.write("tls.toml", "[tls]\ncertificate = \"c\"\nkey = \"k\"\n");
    let (code, _, err) = folder.run(&["check", "--config", "tls.toml"]);
    assert_eq!(code, Some(2));
    assert_eq!(err, "[tls] c: there is no certificate in it\n");
}

#[test]
fn nonsense_on_the_command_line_is_exit_2() {
    let folder = Folder::new();
    for arguments in [
        &["bogus"][..],
        &[],
        &["apply"],
        &["apply", "companies.toml", "--wait", "soon"],
        &["admin", "add", "nobody"],
        &["check", "--config", "missing.toml"],
        &["apply", "missing.toml"],
    ] {
        let (code, _, err) = folder.run(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {err}");
    }
}

#[test]
fn the_version_is_a_name_and_a_number() {
    let (code, out, _) = Folder::new().run(&["version"]);
    assert_eq!((code, out.trim()), (Some(0), concat!("tenantd ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn apply_changes_all_or_nothing_and_the_same_again_changes_nothing() {
    let folder = Folder::new();
    folder.write("companies.toml", ACME);
    folder.write("bad.toml", &format!("{ACME}pasword = \"x\"\n"));

    let (code, _, err) = folder.run(&["apply", "bad.toml"]);
    assert_eq!(code, Some(2));
    assert!(err.starts_with("bad.toml:8: unknown field `pasword`"), "{err}");

    let (code, dry, _) = folder.run(&["apply", "companies.toml", "--dry-run"]);
    assert_eq!(code, Some(0));
    let (code, real, err) = folder.run(&["apply", "companies.toml"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(dry, format!("{real}dry run: nothing was changed\n"));
    assert!(!real.contains("a-good-secret"), "{real}");

    let (code, again, _) = folder.run(&["apply", "companies.toml"]);
    assert_eq!((code, again.as_str()), (Some(0), "nothing to change\n"));
    let left = folder.path().join("var/postgres/data/postmaster.pid");
    assert!(!left.exists(), "the private cluster was stopped");
}

#[test]
fn an_admin_is_added_with_a_password_of_the_caller_or_of_ours() {
    let folder = Folder::new();
    let (code, out, _) = folder.run(&["admin", "add", "boss@acme.test"]);
    assert_eq!(code, Some(0));
    assert!(out.starts_with("boss@acme.test may sign in with "), "{out}");

    let given = |password: &str| {
        let mut command = folder.command(&["admin", "add", "boss@acme.test", "--password-stdin"]);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
        told(child.wait_with_output().unwrap())
    };
    let (code, out, _) = given("s3cret and more\n");
    assert_eq!((code, out.as_str()), (Some(0), "boss@acme.test may sign in\n"));
    let (code, _, err) = given("\n");
    assert_eq!((code, err.as_str()), (Some(2), "the password needs 1 to 128 bytes\n"));
}
