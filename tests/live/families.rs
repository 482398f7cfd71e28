//! Phones of both address families in one call, and one that cannot make up its mind.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use kit::baresip::{Phone, Setup};
use kit::company::Company;
use kit::ear::Ear;
use kit::failure::Outcome;
use kit::scene::{Scene, play};
use kit::server::{Listeners, Server};
use kit::sipp::{self, Sipp};
use kit::wait::SOON;

/// A server that phones reach over IPv4 and IPv6, and its address on the latter.
fn dual(scene: &mut Scene, external: &str) -> Outcome<(Server, SocketAddr)> {
    let at = Listeners::new(scene)?;
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, at.sip.port()));
    let mut server = Server::prepare(&scene.folder, at, "")?;
    let config = std::fs::read_to_string(server.config_file())?;
    let sip = format!("[sip]\nudp = [\"{}\"", at.sip);
    let config = config
        .replace(&sip, &format!("{sip}, \"{v6}\""))
        .replace("[media]\n", &format!("[media]\nexternal = [{external}]\n"));
    std::fs::write(server.config_file(), config)?;
    server.run()?;
    Ok((server, v6))
}

#[test]
fn a_phone_that_signals_over_ipv6_may_have_its_sound_on_ipv4() {
    if UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        eprintln!("SKIPPED: this machine has no IPv6");
        return;
    }
    play("families", |scene| {
        let alpha = Company::new("alpha.test");
        let (server, v6) = dual(scene, "\"127.0.0.1\"")?;
        server.provision(&[&alpha])?;
        let mut ada = Phone::registered(scene, &Setup::new(&alpha, "101", server.at.sip, 440))?;
        let (port, (sound, _)) = (scene.ports.one()?, scene.ports.many(2)?);
        let mut ear = Ear::open(sound, 700.0)?;
        let setup = sipp::Setup {
            scenario: "hold",
            server: v6,
            port,
            keys: vec![("domain", alpha.domain.to_owned()), ("sound", sound.to_string())],
            rows: vec![format!("{};101", sipp::user(&alpha, "102"))],
            calls: 1,
        };
        let mut caller = Sipp::start(scene, &setup)?;
        ada.wait_for("CALL_ESTABLISHED")?;

        ear.wait_for_tone(440.0)?;
        ear.wait_for_silence(Duration::from_secs(1))?;
        ear.wait_for_tone(440.0)?;
        ada.wait_for_sound(25)?;

        caller.finish(SOON)?;
        ada.wait_for("CALL_CLOSED")?;
        ada.check_heard(700.0)
    });
}
