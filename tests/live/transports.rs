//! Every way to the server: datagrams and connections, IPv4 and IPv6, and calls from one to another.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use kit::baresip::{Over, Phone, Setup};
use kit::company::Company;
use kit::ear::Ear;
use kit::failure::Outcome;
use kit::handset::{Handset, sound_of, status};
use kit::line::{Came, Line, field};
use kit::scene::{Scene, play};
use kit::server::{Ipv6, Listeners, Server};
use kit::wait::SOON;

/// A phone of our own and a real one talk, whoever begins; both hear the other's tone.
fn talk(scene: &mut Scene, ours: &mut Handset, theirs: &mut Phone) -> Outcome {
    let ip = ours.line.local.ip();
    ours.register(600)?;

    let sound = SocketAddr::new(ip, scene.ports.one()?);
    let mut ear = Ear::open_at(sound, 700.0)?;
    let dialog = ours.call("102", sound)?;
    check_addresses(&dialog.theirs, ours)?;
    theirs.wait_for("CALL_ESTABLISHED")?;
    ear.play_to(sound_of(&dialog.theirs)?)?;
    ear.wait_for_tone(440.0)?;
    theirs.wait_for_sound(75)?;
    ours.hang_up(&dialog)?;
    theirs.wait_for("CALL_CLOSED")?;
    theirs.check_heard(700.0)?;
    drop(ear);

    let sound = SocketAddr::new(ip, scene.ports.one()?);
    let mut ear = Ear::open_at(sound, 1_000.0)?;
    theirs.dial("101")?;
    let dialog = ours.answer(sound)?;
    check_addresses(&dialog.theirs, ours)?;
    theirs.wait_for("CALL_ESTABLISHED")?;
    ear.play_to(sound_of(&dialog.theirs)?)?;
    ear.wait_for_tone(440.0)?;
    theirs.wait_for_sound(75)?;
    theirs.hang_up()?;
    ours.wait_for_bye()?;
    theirs.wait_for("CALL_CLOSED")?;
    theirs.check_heard(1_000.0)
}

/// What the server says of itself is what this phone reaches: family, transport and port.
fn check_addresses(message: &str, ours: &Handset) -> Outcome {
    let contact = field(message, "Contact").unwrap_or_default();
    let (server, transport) = (ours.line.server, ours.line.transport());
    assert!(contact.contains(&format!("@{server}")) || contact.contains(&format!(":{server}")));
    if transport != "UDP" {
        let parameter = format!(";transport={}", transport.to_ascii_lowercase());
        assert!(contact.contains(&parameter), "{contact}");
    }
    if message.starts_with("INVITE") {
        let via = field(message, "Via").unwrap_or_default();
        assert!(via.starts_with(&format!("SIP/2.0/{transport} {server};")), "{via}");
    }
    assert_eq!(sound_of(message)?.ip(), server.ip(), "{message}");
    Ok(())
}

fn start(scene: &mut Scene, alpha: &Company) -> Outcome<Server> {
    Server::start_everywhere(scene, &[alpha, &Company::new("beta.test")])
}

fn real(scene: &mut Scene, alpha: &Company, proxy: SocketAddr, over: Over) -> Outcome<Phone> {
    Phone::registered(scene, &Setup { over, ..Setup::new(alpha, "102", proxy, 440) })
}

#[test]
fn a_call_between_ipv6_and_ipv4_by_datagrams() {
    play("udp6", |scene| {
        let alpha = Company::new("alpha.test");
        let server = start(scene, &alpha)?;
        if server.at.ipv6() == Ipv6::Missing {
            return Ok(());
        }
        let mut theirs = real(scene, &alpha, server.at.sip, Over::Udp)?;
        let line = Line::udp(Listeners::on_ipv6(server.at.sip))?;
        talk(scene, &mut Handset::new(&alpha, "101", line), &mut theirs)
    });
}

#[test]
fn a_real_phone_on_ipv6_is_called_by_a_connection_on_ipv4() {
    play("tcp4", |scene| {
        let alpha = Company::new("alpha.test");
        let server = start(scene, &alpha)?;
        if server.at.ipv6() == Ipv6::Missing {
            return Ok(());
        }
        let proxy = Listeners::on_ipv6(server.at.sip);
        let mut theirs = real(scene, &alpha, proxy, Over::Udp)?;
        assert_eq!(theirs.at.ip(), "::1".parse::<IpAddr>()?);
        let line = Line::tcp(server.at.sip)?;
        talk(scene, &mut Handset::new(&alpha, "101", line), &mut theirs)
    });
}

#[test]
fn a_call_between_connections_on_ipv6_and_ipv4() {
    play("tcp6", |scene| {
        let alpha = Company::new("alpha.test");
        let server = start(scene, &alpha)?;
        if server.at.ipv6() == Ipv6::Missing {
            return Ok(());
        }
        let mut theirs = real(scene, &alpha, server.at.sip, Over::Tcp)?;
        let line = Line::tcp(Listeners::on_ipv6(server.at.sip))?;
        talk(scene, &mut Handset::new(&alpha, "101", line), &mut theirs)?;
        server.wait_for_metric("tenantd_sip_connections", 2.0, SOON)
    });
}

#[test]
fn bytes_that_trickle_in_make_the_same_messages() {
    play("trickle", |scene| {
        let alpha = Company::new("alpha.test");
        let server = start(scene, &alpha)?;
        let mut phone = Handset::new(&alpha, "101", Line::tcp(server.at.sip)?);
        let target = format!("sip:{}", alpha.domain);
        let request = phone.request("OPTIONS", &target, &target, "", "", "");
        let two = format!("\r\n{request}\r\n\r\n\r\n{}", request.replace("h1x", "h2x"));
        for byte in two.bytes() {
            phone.line.send(&[byte])?;
        }
        for branch in ["h1x", "h2x"] {
            let answer = phone.line.message()?;
            assert_eq!(status(&answer), 200, "{answer}");
            assert!(answer.contains(branch), "{answer}");
        }
        phone.register(600)?;
        assert_eq!(phone.line.next(Duration::from_millis(200))?, Came::Nothing);
        Ok(())
    });
}
