//! Phones of both address families in one call, and one that cannot make up its mind.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};

use kit::baresip::{Phone, Setup};
use kit::company::Company;
use kit::failure::Outcome;
use kit::listeners::Listeners;
use kit::scene::{Scene, play};
use kit::server::Server;

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
        crate::calls::hold_and_resume(scene, &alpha, v6, &mut ada)
    });
}
