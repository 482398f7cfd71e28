//! A phone asks who it is: programs that others wrote, and bare datagrams, on every address.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use kit::company::Company;
use kit::failure::{Failure, Outcome};
use kit::listeners::Listeners;
use kit::scene::{Scene, play};
use kit::server::Server;
use kit::wait::{SOON, START};

/// Vovida's client, which knows RFC 3489 alone.
const OLD: &str = "stun";
/// Coturn's clients, which know RFC 8489 and RFC 5780. Their package starts a server of its own on
/// the port of ours, so no test installs it: they are asked where they are.
const NEW: &str = "turnutils_stunclient";
const DISCOVERY: &str = "turnutils_natdiscovery";

/// Where a server answers STUN: two addresses for RFC 5780, and IPv6.
struct Asked {
    server: Server,
    one: SocketAddr,
    v6: SocketAddr,
    sip_v6: SocketAddr,
}

impl Asked {
    fn start(scene: &mut Scene) -> Outcome<Self> {
        let at = Listeners::new(scene)?;
        let (first, second) = (scene.ports.one()?, scene.ports.one()?);
        let [one, other]: [SocketAddr; 2] =
            [([127, 0, 0, 1], first).into(), ([127, 0, 0, 2], second).into()];
        let on_v6 = |port: u16| SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port));
        let (v6, sip_v6) = (on_v6(first), on_v6(at.sip.port()));
        let mut server = Server::prepare(&scene.folder, at, "")?;
        let config = std::fs::read_to_string(server.config_file())?;
        let sip = format!("[sip]\nudp = [\"{}\"", at.sip);
        let open = config
            .replace(
                "[stun]\nudp = []",
                &format!("[stun]\nudp = [\"{one}\", \"{other}\", \"{v6}\"]"),
            )
            .replace(&sip, &format!("{sip}, \"{sip_v6}\""));
        std::fs::write(server.config_file(), open)?;
        server.run()?;
        Ok(Self { server, one, v6, sip_v6 })
    }

    fn everywhere(&self) -> [SocketAddr; 4] {
        [self.one, self.v6, self.server.at.sip, self.sip_v6]
    }
}

#[test]
fn every_address_tells_who_asks_where_it_is() {
    play("stun", |scene| {
        let asked = Asked::start(scene)?;
        for at in asked.everywhere() {
            assert_eq!(ask(at, Dialect::Today)?, None, "{at}");
            assert_eq!(ask(at, Dialect::OfOld)?, None, "{at}");
        }
        asked.server.wait_for_metric("tenantd_stun_received_total", 8.0, SOON)?;
        asked.server.wait_for_metric("tenantd_stun_answered_total", 8.0, SOON)?;
        asked.server.wait_for_metric("tenantd_stun_dropped_total", 0.0, SOON)?;
        assert_eq!(asked.server.metric("tenantd_sip_dropped_total")?, 0.0);
        assert_eq!(asked.server.metric("tenantd_sip_requests_forwarded_total")?, 0.0);
        Ok(())
    });
}

#[test]
fn clients_old_and_new_find_out_what_router_they_are_behind() {
    play("natkind", |scene| {
        let asked = Asked::start(scene)?;
        let one = asked.one.to_string();
        let kind = said(OLD, &[&one])?.ok_or_else(|| Failure::new("./infra/test installs it"))?;
        assert!(kind.contains("Primary: Open"), "{kind}");

        let port = asked.one.port().to_string();
        for host in ["127.0.0.1", "::1"] {
            let Some(told) = said(NEW, &["-L", host, "-p", &port, host])? else { return Ok(()) };
            assert!(told.contains(&format!("UDP reflexive addr: {host}:")), "{told}");
        }
        let discovery = ["-m", "-f", "-P", "-p", &port, "127.0.0.1"];
        let Some(told) = said(DISCOVERY, &discovery)? else { return Ok(()) };
        for found in
            ["Endpoint Independent Mapping", "Endpoint Independent Filtering", "No ALG: Mapped"]
        {
            assert!(told.contains(found), "{told}");
        }
        Ok(())
    });
}

#[test]
fn a_stun_port_that_is_taken_is_named() {
    play("stuntaken", |scene| {
        let at = Listeners::new(scene)?;
        let taken = UdpSocket::bind(("127.0.0.1", scene.ports.one()?))?;
        let address = taken.local_addr()?;
        let mut server = Server::prepare(&scene.folder, at, "")?;
        let config = std::fs::read_to_string(server.config_file())?;
        let config = config.replace("[stun]\nudp = []", &format!("[stun]\nudp = [\"{address}\"]"));
        std::fs::write(server.config_file(), &config)?;
        server.launch()?;
        let program = server.running()?;
        assert!(!program.wait(START)?.success());
        let said = program.printed();
        assert!(said.contains(&format!("udp {address} is in use")), "{said}");

        // A node that has another role leaves the port alone.
        let roles = "roles = [\"sip\", \"media\", \"web\"]\n";
        std::fs::write(server.config_file(), format!("{roles}{config}"))?;
        server.run()?;
        server.provision(&[&Company::new("alpha.test")])
    });
}

/// How old the asker is.
#[derive(Clone, Copy)]
enum Dialect {
    Today,
    OfOld,
}

/// Asks as a phone does, by a datagram written here; `None` if the answer is what it must be.
fn ask(at: SocketAddr, dialect: Dialect) -> Outcome<Option<Vec<u8>>> {
    let phone = UdpSocket::bind((at.ip(), 0))?;
    phone.set_read_timeout(Some(SOON))?;
    let (id, kind, mask): (_, u8, _) = match dialect {
        Dialect::Today => {
            (*b"\x21\x12\xa4\x42ABCDEFGHIJKL", 0x20, *b"\x21\x12\xa4\x42ABCDEFGHIJKL")
        }
        Dialect::OfOld => (*b"0123456789abcdef", 0x01, [0; 16]),
    };
    phone.send_to(&[&[0, 1, 0, 0][..], &id].concat(), at)?;
    let mut room = [0; 1_500];
    let (length, from) = phone.recv_from(&mut room)?;
    let answer = &room[..length];
    let own = phone.local_addr()?;
    let (family, ip) = match own.ip() {
        std::net::IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        std::net::IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let hidden = |bytes: &[u8]| -> Vec<u8> { bytes.iter().zip(mask).map(|(a, b)| a ^ b).collect() };
    let value = [&[0, family][..], &hidden(&own.port().to_be_bytes()), &hidden(&ip)].concat();
    let wanted = [&[0, kind, 0, value.len() as u8][..], &value].concat();
    let right = from == at
        && answer.starts_with(&[1, 1])
        && answer.get(4..20) == Some(&id[..])
        && answer.get(20..20 + wanted.len()) == Some(&wanted[..]);
    Ok((!right).then(|| answer.to_vec()))
}

/// What a program prints; `None`, and a line that says so, where it is not installed.
fn said(program: &str, arguments: &[&str]) -> Outcome<Option<String>> {
    // Some of them wait for ever for an answer that does not come.
    let limit = Duration::from_secs(20).as_secs().to_string();
    let mut command = Command::new("timeout");
    let there = Command::new("sh").args(["-c", &format!("command -v {program}")]).output()?;
    if !there.status.success() {
        eprintln!("SKIPPED: {program} is not installed, so it was not asked");
        return Ok(None);
    }
    let output = command.arg(limit).arg(program).args(arguments).output()?;
    let both = [output.stdout, output.stderr].concat();
    Ok(Some(String::from_utf8_lossy(&both).into_owned()))
}
