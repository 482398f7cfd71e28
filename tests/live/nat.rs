//! Phones behind routers of every kind, in an internet of their own: they are found, and stay found.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use kit::baresip::{self, Phone, Setup};
use kit::company::Company;
use kit::digest::{Login, answer_sha256};
use kit::failure::{Failure, Outcome};
use kit::listeners::Listeners;
use kit::netns::{Alg, Internet, Namespace, Nat, PHONE, Router};
use kit::scene::{Scene, play};
use kit::server::Server;
use kit::tone;
use kit::wait::{self, SOON};

const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// As long as nobody calls a phone, and more than any of the routers here remembers.
const IDLE_FOR: Duration = Duration::from_secs(60);

fn router(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, 100 + number)
}

/// A server in the open, in a namespace of its own.
fn serve(
    scene: &mut Scene,
    internet: &mut Internet,
    companies: &[&Company],
) -> Outcome<(Namespace, Server)> {
    let place = internet.host("srv", SERVER)?;
    let server = place.inside(|| {
        let at = Listeners::in_the_open(scene, SERVER)?;
        let mut server = Server::prepare(&scene.folder, at, "")?;
        server.run()?;
        server.provision(companies)?;
        Ok(server)
    })?;
    Ok((place, server))
}

fn phone(scene: &mut Scene, place: &Namespace, setup: &Setup<'_>) -> Outcome<Phone> {
    place.inside(|| Phone::registered(scene, &Setup { ip: PHONE.into(), ..setup.clone() }))
}

fn hold_and_resume(holder: &mut Phone, held: &mut Phone) -> Outcome {
    holder.hold()?;
    held.wait_for_silence(Duration::from_millis(500))?;
    holder.resume()?;
    held.wait_for_sound(25)?;
    holder.wait_for_sound(25)
}

fn hang_up(first: &mut Phone, second: &mut Phone) -> Outcome {
    first.hang_up()?;
    second.wait_for("CALL_CLOSED").map(drop)
}

/// A line that loses datagrams leaves holes in a tone, but it is that tone.
fn check_heard_through_holes(phone: &Phone, hz: f64) -> Outcome {
    let recordings = phone.recordings()?;
    let heard = recordings.last().map_or(0.0, |last| tone::seconds_of(last, hz));
    match heard >= 0.7 {
        true => Ok(()),
        false => Err(Failure::new(format!("{hz} Hz was heard for {heard:.2} s only"))),
    }
}

#[test]
fn phones_behind_routers_of_every_kind_call_each_other_after_a_minute_of_silence() {
    play("nat", |scene| {
        let Some(mut internet) = Internet::new()? else { return Ok(()) };
        let alpha = Company::new("alpha.test");
        let (srv, server) = serve(scene, &mut internet, &[&alpha])?;
        let short = |nat| Router { remembers_s: 12, ..Router::new(nat) };
        let lossy = Router { loss_percent: 5, ..Router::new(Nat::FullCone) };
        let a = internet.behind("a", router(1), short(Nat::PortRestricted))?;
        let b = internet.behind("b", router(2), short(Nat::Symmetric))?;
        let c = internet.behind("c", router(3), lossy)?;
        let setup = |number, tone| Setup::new(&alpha, number, server.at.sip, tone);
        let mut bob = phone(scene, &b, &setup("102", 700))?;
        let silent_since = Instant::now();
        let mut ada = phone(scene, &a, &setup("101", 440))?;
        let mut eve = phone(scene, &c, &setup("103", 1_000))?;

        ada.dial("103")?;
        baresip::talking(&mut ada, &mut eve)?;
        hold_and_resume(&mut eve, &mut ada)?;
        hang_up(&mut ada, &mut eve)?;
        check_heard_through_holes(&ada, 1_000.0)?;
        check_heard_through_holes(&eve, 440.0)?;

        let left = IDLE_FOR.saturating_sub(silent_since.elapsed());
        wait::unless(left, || bob.disturbance())?;
        eve.dial("102")?;
        baresip::talking(&mut eve, &mut bob)?;
        hang_up(&mut bob, &mut eve)?;
        check_heard_through_holes(&eve, 700.0)?;
        check_heard_through_holes(&bob, 1_000.0)?;

        bob.dial("101")?;
        baresip::talking(&mut bob, &mut ada)?;
        hold_and_resume(&mut bob, &mut ada)?;
        hang_up(&mut ada, &mut bob)?;
        ada.check_heard(700.0)?;
        bob.check_heard(440.0)?;
        srv.inside(|| {
            assert_eq!(server.metric("tenantd_phones_fell_silent_total")?, 0.0);
            assert_eq!(server.metric("tenantd_phones_behind_alg_total")?, 0.0);
            server.wait_for_metric("tenantd_calls_succeeded_total", 3.0, SOON)
        })?;
        // The server ends before its network does.
        drop(server);
        Ok(())
    });
}

#[test]
fn a_router_that_rewrites_messages_is_recognised_and_calls_pass_it() {
    rewritten("alg", Alg::Ours(SocketAddr::from((SERVER, 5_060))));
}

#[test]
fn so_is_one_that_does_it_as_this_kernel_does() {
    rewritten("kernel-alg", Alg::Kernel);
}

fn rewritten(name: &str, alg: Alg) {
    play(name, |scene| {
        let Some(mut internet) = Internet::new()? else { return Ok(()) };
        let alpha = Company::new("alpha.test");
        let mut beta = Company::new("beta.test");
        beta.settings = "digest = [\"SHA-256\"]\n".to_owned();
        let (srv, mut server) = serve(scene, &mut internet, &[&alpha, &beta])?;
        let rewriting = Router { alg, ..Router::new(Nat::PortRestricted) };
        let a = match internet.behind("a", router(1), rewriting) {
            Ok(a) => a,
            Err(failure) => {
                eprintln!("SKIPPED: this kernel has no SIP ALG: {failure}");
                return Ok(());
            }
        };
        let b = internet.behind("b", router(2), Router::new(Nat::Symmetric))?;
        let sip = server.at.sip;
        let setup = |number, tone| Setup::new(&alpha, number, sip, tone);
        let mut ada = phone(scene, &a, &setup("101", 440))?;
        let mut bob = phone(scene, &b, &setup("102", 700))?;
        for turn in 0..2 {
            let (caller, callee, number) = match turn {
                0 => (&mut ada, &mut bob, "102"),
                _ => (&mut bob, &mut ada, "101"),
            };
            caller.dial(number)?;
            baresip::talking(caller, callee)?;
            hang_up(callee, caller)?;
        }
        ada.check_heard(700.0)?;
        bob.check_heard(440.0)?;

        // Where a router does all of it, nothing contradicts what baresip says. Half of it shows, and
        // so do other phones.
        let by_baresip = match alg {
            Alg::Kernel | Alg::Off => 0.0,
            Alg::Ours(_) => 1.0,
        };
        srv.inside(|| {
            assert_eq!(server.metric("tenantd_phones_behind_alg_total")?, by_baresip);
            Ok(())
        })?;
        a.inside(|| register_by_hand(&beta, server.at.sip, 1))?;
        let both = by_baresip + 1.0;
        srv.inside(|| server.wait_for_metric("tenantd_phones_behind_alg_total", both, SOON))?;

        // It is kept with the registration: the next process has nothing new to tell.
        srv.inside(|| {
            server.cut_off()?;
            server.run()
        })?;
        a.inside(|| register_by_hand(&beta, server.at.sip, 3))?;
        srv.inside(|| {
            assert_eq!(server.metric("tenantd_phones_behind_alg_total")?, 0.0);
            Ok(())
        })?;
        drop(server);
        Ok(())
    });
}

/// A phone whose Call-ID has its own address in it, as many have.
fn register_by_hand(company: &Company, server: SocketAddr, first: u32) -> Outcome {
    let socket = UdpSocket::bind((PHONE, 5070))?;
    socket.set_read_timeout(Some(SOON))?;
    let (domain, password) = (company.domain, company.password("103"));
    let target = format!("sip:{domain}");
    let mut proof = String::new();
    for cseq in first..first + 2 {
        let request = format!(
            "REGISTER {target} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {PHONE}:5070;rport;branch=z9hG4bKhand{cseq}\r\nMax-Forwards: 70\r\n\
             From: <sip:103@{domain}>;tag=hand\r\nTo: <sip:103@{domain}>\r\n\
             Call-ID: hand@{PHONE}\r\nCSeq: {cseq} REGISTER\r\n\
             Contact: <sip:103@{PHONE}:5070>\r\nExpires: 600\r\n{proof}Content-Length: 0\r\n\r\n"
        );
        socket.send_to(request.as_bytes(), server)?;
        let mut bytes = [0; 4_096];
        let (length, _) = socket.recv_from(&mut bytes)?;
        let answer = String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()).into_owned();
        match answer.get(8..11) {
            Some("401") => {
                let login = Login { user: "103", password: &password };
                let value = answer_sha256(&answer, "REGISTER", &target, &login)?;
                proof = format!("Authorization: {value}\r\n");
            }
            Some("200") => return Ok(()),
            _ => return Err(Failure::new(format!("the phone was answered:\n{answer}"))),
        }
    }
    Err(Failure::new("the phone was not believed"))
}
