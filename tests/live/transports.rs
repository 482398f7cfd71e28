//! Every way to the server: datagrams and connections, IPv4 and IPv6, and calls from one to another.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use kit::baresip::{Over, Phone, Setup};
use kit::company::Company;
use kit::ear::Ear;
use kit::failure::{Failure, Outcome};
use kit::handset::{Handset, sound_of, status};
use kit::line::{Came, Line, field};
use kit::listeners::{Ipv6, Listeners};
use kit::scene::{Scene, play};
use kit::server::Server;
use kit::tls::Trust;
use kit::wait::SOON;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

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

#[test]
fn a_call_between_tls_on_ipv6_and_tcp_on_ipv4() {
    play("tls6", |scene| {
        let alpha = Company::new("alpha.test");
        let server = start(scene, &alpha)?;
        if server.at.ipv6() == Ipv6::Missing {
            return Ok(());
        }
        let mut theirs = real(scene, &alpha, server.at.sip, Over::Tcp)?;
        let tls = Listeners::on_ipv6(server.at.tls());
        let line = Line::tls(tls, "alpha.test", &Trust::Anybody)?;
        talk(scene, &mut Handset::new(&alpha, "101", line), &mut theirs)
    });
}

#[test]
fn a_hundred_work_while_others_never_read() {
    play("unread", |scene| {
        let alpha = Company::new("alpha.test");
        let server = start(scene, &alpha)?;
        let mut deaf = vec![];
        for _ in 0..5 {
            let mut line = Line::tcp(server.at.sip)?;
            let mut phone = Handset::new(&alpha, "103", Line::udp(server.at.sip)?);
            phone.line.local = line.local;
            let target = format!("sip:{}", alpha.domain);
            let mut request = phone.request("OPTIONS", &target, &target, "", "", "");
            request = request.replace("/UDP", "/TCP").repeat(100);
            // Each answer goes unread; once there is room for no more, nothing is taken from us.
            line.fill(request.as_bytes())?;
            deaf.push(line);
        }
        let mut others = vec![];
        for _ in 0..100 {
            others.push(Handset::new(&alpha, "101", Line::tcp(server.at.sip)?));
        }
        let began_at = Instant::now();
        for round in 0..5 {
            for phone in &mut others {
                assert_eq!(status(&phone.ping()?), 200, "round {round}");
            }
        }
        assert!(began_at.elapsed() < SOON, "held up by those who do not read");
        // In the end those are let go.
        let slow = "tenantd_sip_connections_ended_total{reason=\"slow\"}";
        server.wait_for_metric(slow, 5.0, 2 * SOON)?;
        server.wait_for_metric("tenantd_sip_connections", 100.0, SOON)
    });
}

#[test]
fn one_address_has_a_thousand_connections_and_no_more() {
    play("crowd", |scene| {
        let alpha = Company::new("alpha.test");
        let server = start(scene, &alpha)?;
        let (files, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
        if most < 4_096 {
            eprintln!("SKIPPED: {most} files are too few for a crowd");
            return Ok(());
        }
        setrlimit(Resource::RLIMIT_NOFILE, files.max(4_096), most)?;
        let mut crowd: Vec<Line> = vec![];
        for _ in 0..1_000 {
            crowd.push(Line::tcp(server.at.sip)?);
        }
        server.wait_for_metric("tenantd_sip_connections", 1_000.0, SOON)?;
        Line::tcp(server.at.sip)?.wait_for_end(SOON)?;
        let refused = "tenantd_sip_connections_refused_total{reason=\"address\"}";
        server.wait_for_metric(refused, 1.0, SOON)?;
        let line = crowd.pop().ok_or_else(|| Failure::new("an empty crowd"))?;
        let mut phone = Handset::new(&alpha, "101", line);
        phone.register(600)?;
        drop(crowd.pop());
        server.wait_for_metric("tenantd_sip_connections", 999.0, SOON)?;
        let mut next = Handset::new(&alpha, "102", Line::tcp(server.at.sip)?);
        assert_eq!(status(&next.ping()?), 200);
        Ok(())
    });
}

#[test]
fn a_phone_whose_connection_is_cut_in_mid_call_comes_back_and_hangs_up() {
    play("cut", |scene| {
        let alpha = Company::new("alpha.test");
        let server = start(scene, &alpha)?;
        let mut theirs = real(scene, &alpha, server.at.sip, Over::Tcp)?;
        let mut ours = Handset::new(&alpha, "101", Line::tcp(server.at.sip)?);
        ours.register(600)?;
        let sound = SocketAddr::new(ours.line.local.ip(), scene.ports.one()?);
        let mut ear = Ear::open_at(sound, 700.0)?;
        let dialog = ours.call("102", sound)?;
        ear.play_to(sound_of(&dialog.theirs)?)?;
        ear.wait_for_tone(440.0)?;

        let mut ours = ours.moved(Line::tcp(server.at.sip)?);
        server.wait_for_metric("tenantd_registrations_disconnected_total", 1.0, SOON)?;
        ear.wait_for_tone(440.0)?;
        // Nobody is called over a connection that is gone, and nobody waits for it.
        let mut other = Handset::new(&alpha, "103", Line::tcp(server.at.sip)?);
        let asked_at = Instant::now();
        let answer = other.invite("sip:101@alpha.test", sound)?;
        assert_eq!(status(&answer), 480, "{answer}");
        assert!(asked_at.elapsed() < Duration::from_secs(3), "{:?}", asked_at.elapsed());

        ours.register(600)?;
        ours.hang_up(&dialog)?;
        theirs.wait_for("CALL_CLOSED")?;
        theirs.dial("101")?;
        let dialog = ours.answer(sound)?;
        theirs.wait_for("CALL_ESTABLISHED")?;
        ours.hang_up(&dialog)
    });
}

#[test]
fn after_a_kill_phones_on_connections_wait_for_their_return_and_others_do_not() {
    play("dormant", |scene| {
        let alpha = Company::new("alpha.test");
        let mut server = start(scene, &alpha)?;
        let mut on_udp = Handset::new(&alpha, "101", Line::udp(server.at.sip)?);
        let on_tls = Line::tls(server.at.tls(), "alpha.test", &Trust::Anybody)?;
        let mut on_tls = Handset::new(&alpha, "102", on_tls);
        let mut on_tcp = Handset::new(&alpha, "103", Line::tcp(server.at.sip)?);
        for phone in [&mut on_udp, &mut on_tls, &mut on_tcp] {
            phone.register(600)?;
        }

        server.cut_off()?;
        server.run()?;
        server.wait_for_metric("tenantd_registrations", 3.0, SOON)?;

        on_tcp.line.wait_for_end(SOON)?;
        let sound = SocketAddr::from(([127, 0, 0, 1], scene.ports.one()?));
        for gone in ["102", "103"] {
            let asked_at = Instant::now();
            let answer = on_udp.invite(&format!("sip:{gone}@alpha.test"), sound)?;
            assert_eq!(status(&answer), 480, "{answer}");
            assert!(asked_at.elapsed() < Duration::from_secs(3), "{:?}", asked_at.elapsed());
        }
        let mut on_tcp = on_tcp.moved(Line::tcp(server.at.sip)?);
        // Reachable at once, without a new REGISTER.
        let call = std::thread::spawn(move || {
            let called = on_tcp.call("101", sound);
            called.and_then(|dialog| on_tcp.hang_up(&dialog)).map(|()| on_tcp)
        });
        on_udp.answer(sound)?;
        on_udp.wait_for_bye()?;
        let on_tcp = call.join().map_err(|_| Failure::new("the caller panicked"))??;

        let line = Line::tls(server.at.tls(), "alpha.test", &Trust::Anybody)?;
        let mut on_tls = on_tls.moved(line);
        on_tls.register(600)?;
        let call = std::thread::spawn(move || {
            let mut caller = on_tcp;
            let called = caller.call("102", sound);
            called.and_then(|dialog| caller.hang_up(&dialog))
        });
        on_tls.answer(sound)?;
        on_tls.wait_for_bye()?;
        call.join().map_err(|_| Failure::new("the caller panicked"))?
    });
}
