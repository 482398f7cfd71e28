//! Those who ask for a company that is not here: as a rule they hear nothing at all.

use std::time::Duration;

use kit::company::Company;
use kit::failure::Outcome;
use kit::listeners::Listeners;
use kit::probe::Probe;
use kit::scene::play;
use kit::server::Server;
use kit::wait::SOON;

/// An answer on loopback takes less than a thousandth of this.
const SILENCE: Duration = Duration::from_secs(1);

fn answer(probe: &mut Probe, server: &Server, method: &str, domain: &str) -> Outcome<String> {
    let target = match method {
        "INVITE" => format!("sip:101@{domain}"),
        _ => format!("sip:{domain}"),
    };
    let request = probe.request(method, &target, &format!("sip:101@{domain}"))?;
    probe.send(server.at.sip, request.as_bytes())?;
    let answer = probe.answer(SILENCE)?.unwrap_or_default();
    Ok(answer.lines().next().unwrap_or("nothing").to_owned())
}

#[test]
fn a_stranger_hears_nothing_and_is_counted() {
    play("silent", |scene| {
        let alpha = Company::new("alpha.test");
        let server = Server::start_with(scene, &[&alpha])?;
        let mut probe = Probe::new()?;
        for method in ["REGISTER", "INVITE", "OPTIONS", "MESSAGE"] {
            assert_eq!(answer(&mut probe, &server, method, "nobody.test")?, "nothing", "{method}");
        }
        probe.send(server.at.sip, b"\r\n\r\n")?;
        probe.send(server.at.sip, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")?;
        assert_eq!(probe.answer(SILENCE)?, None);
        server.wait_for_metric(
            "tenantd_sip_dropped_total{reason=\"unknown_domain\"}",
            4.0,
            SOON,
        )?;

        // The server was there all the time, for those who know whom they want.
        let status = answer(&mut probe, &server, "OPTIONS", "alpha.test")?;
        assert_eq!(status, "SIP/2.0 200 OK");
        let status = answer(&mut probe, &server, "REGISTER", "alpha.test")?;
        assert_eq!(status, "SIP/2.0 401 Unauthorized");
        Ok(())
    });
}

#[test]
fn a_stranger_is_told_where_the_operator_wants_it() {
    play("told", |scene| {
        let alpha = Company::new("alpha.test");
        let at = Listeners::new(scene)?;
        let mut server = Server::prepare(&scene.folder, at, "")?;
        let config = std::fs::read_to_string(server.config_file())?;
        let refusing = config.replace("[sip]\n", "[sip]\nunknown_domain = \"refuse\"\n");
        std::fs::write(server.config_file(), refusing)?;
        server.run()?;
        server.provision(&[&alpha])?;
        let mut probe = Probe::new()?;
        for method in ["REGISTER", "INVITE"] {
            let status = answer(&mut probe, &server, method, "nobody.test")?;
            assert_eq!(status, "SIP/2.0 404 Not Found", "{method}");
        }
        Ok(())
    });
}
