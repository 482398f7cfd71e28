//! Companies that come, change and go while the server runs.

use kit::baresip::{Phone, Setup};
use kit::company::Company;
use kit::scene::play;
use kit::server::Server;
use kit::wait::SOON;

#[test]
fn an_extension_that_is_added_to_a_running_server_can_be_used_at_once() {
    play("added", |scene| {
        let mut alpha = Company::new("alpha.test");
        let server = Server::start_with(scene, &[&alpha])?;
        let mut ada = Phone::registered(scene, &Setup::new(&alpha, "101", server.at.sip, 440))?;

        alpha.extensions.push("140".to_owned());
        server.provision(&[&alpha])?;

        // Success means that the server has taken it over: nothing needs to be waited for.
        let mut new = Phone::registered(scene, &Setup::new(&alpha, "140", server.at.sip, 700))?;
        ada.dial("140")?;
        new.wait_for("CALL_ESTABLISHED")?;
        ada.hang_up()?;
        new.wait_for("CALL_CLOSED")?;

        let again = server.apply(&alpha.provisioning(), &[])?;
        assert!(again.status.success());
        let said = String::from_utf8_lossy(&again.stdout).into_owned();
        assert!(!said.contains("140"), "applying again changed something: {said}");
        Ok(())
    });
}

#[test]
fn a_company_that_wants_encryption_has_it_from_the_next_call_on() {
    play("wanted", |scene| {
        let mut alpha = Company::new("alpha.test");
        let server = Server::start_with(scene, &[&alpha])?;
        let mut ada = Phone::registered(scene, &Setup::new(&alpha, "101", server.at.sip, 440))?;
        let mut bob = Phone::registered(scene, &Setup::new(&alpha, "102", server.at.sip, 700))?;
        alpha.settings = "srtp = \"required\"\n".to_owned();
        server.provision(&[&alpha])?;
        ada.dial("102")?;
        let closed = ada.wait_for("CALL_CLOSED")?;
        assert!(closed.contains("488"), "{closed}");
        alpha.settings = "srtp = \"optional\"\n".to_owned();
        server.provision(&[&alpha])?;
        ada.dial("102")?;
        bob.wait_for("CALL_ESTABLISHED")?;
        ada.hang_up()?;
        bob.wait_for("CALL_CLOSED")?;
        Ok(())
    });
}

#[test]
fn an_extension_that_is_pruned_is_gone_and_so_is_its_phone() {
    play("pruned", |scene| {
        let mut alpha = Company::new("alpha.test");
        let server = Server::start_with(scene, &[&alpha])?;
        let phone = Phone::registered(scene, &Setup::new(&alpha, "103", server.at.sip, 440))?;
        server.wait_for_metric("tenantd_registrations", 1.0, SOON)?;

        alpha.extensions.pop();
        let kept = server.apply(&alpha.provisioning(), &[])?;
        assert!(kept.status.success());
        server.wait_for_metric("tenantd_registrations", 1.0, SOON)?;

        let pruned = server.apply(&alpha.provisioning(), &["--prune"])?;
        assert!(pruned.status.success(), "{}", String::from_utf8_lossy(&pruned.stderr));
        server.wait_for_metric("tenantd_registrations", 0.0, SOON)?;
        drop(phone);
        Ok(())
    });
}

#[test]
fn a_bad_file_is_refused_with_its_line_and_changes_nothing() {
    play("refused", |scene| {
        let alpha = Company::new("alpha.test");
        let server = Server::start_with(scene, &[&alpha])?;
        let text = format!("{}\n[[tenant.extension]]\nnumber = \"150\"\n", alpha.provisioning());
        for (text, reason) in [
            (text.clone() + "password = \"150\"\n", "password"),
            (text.clone() + "password = \"Secret-150\"\ncolour = \"red\"\n", "colour"),
            (text.clone() + "password = \"Secret-150\"\nsrtp = \"yes\"\n", "and not \"yes\""),
            (text.clone() + "password = \"Secret-150\"\nmax_contacts = \"many\"\n", ":27: "),
        ] {
            let output = server.apply(&text, &[])?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert_eq!(said.trim_end().lines().count(), 1, "{said}");
            assert!(said.contains("companies.toml") && said.contains(reason), "{said}");
        }
        // Nothing of it has come: this one is still new.
        let output = server.apply(&(text + "password = \"Secret-150\"\n"), &["--dry-run"])?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains("150"), "{said}");
        assert!(!said.contains("Secret-150"), "a secret was printed: {said}");
        Ok(())
    });
}

#[test]
fn a_name_that_another_company_has_is_refused_with_the_line_that_wants_it() {
    play("taken", |scene| {
        let alpha = Company::new("alpha.test");
        let server = Server::start_with(scene, &[&alpha])?;
        let number = "[[tenant.number]]\nnumber = \"+4319990001\"\nto = \"101\"\n";
        let label = "domain = \"alpha.test\"\nlabel = \"alps\"";
        let text = alpha.provisioning().replacen("domain = \"alpha.test\"", label, 1) + number;
        let applied = server.apply(&text, &[])?;
        assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));

        let free = "[[tenant]]\ndomain = \"gamma.test\"\n\n[[tenant]]\ndomain = \"beta.test\"\n";
        let phone = "[[tenant.extension]]\nnumber = \"101\"\npassword = \"Another-Secret-1\"\n";
        for (wanted, told) in [
            ("label = \"alps\"\n".to_owned(), ":4: label alps belongs to another tenant"),
            (
                "aliases = [\"alpha.test\"]\n".to_owned(),
                ":4: domain alpha.test belongs to another tenant",
            ),
            (format!("{phone}{number}"), ":9: number +4319990001 belongs to another tenant"),
        ] {
            let output = server.apply(&format!("{free}{wanted}"), &[])?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert_eq!(said.trim_end().lines().count(), 1, "{said}");
            assert!(said.trim_end().ends_with(told), "{said}");
        }
        let output = server.apply(&format!("{free}{phone}"), &["--dry-run"])?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("beta.test: a new tenant"), "something of it was kept: {said}");
        Ok(())
    });
}
