//! When something that we stand on fails: Postgres stops, crawls or hangs, the process is killed in
//! a storm, strangers fill every queue, and names and addresses lead nowhere. Calls and
//! registrations go on, and nothing that was acknowledged is lost.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kit::baresip::{Phone, Setup};
use kit::company::Company;
use kit::failure::{Failure, Outcome};
use kit::listeners::Listeners;
use kit::plain_phone::{self, Answering, PlainPhone};
use kit::postgres::Postgres;
use kit::probe::Probe;
use kit::scene::{Scene, play};
use kit::server::{Server, can_mount};
use kit::wait::{self, SOON, START};
use nix::sys::signal::Signal;

/// How soon it is known that Postgres hangs: each question to it may take some seconds.
const NOTICED: Duration = Duration::from_secs(20);
/// A phone waits for a commit for 300 ms at most; the rest is for a busy machine.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// A start with a new Postgres, and with patience for names.
const NAMELESS_START: Duration = Duration::from_secs(30);
/// A flood of strangers.
const BURST: usize = 1_000;
const PAUSE: Duration = Duration::from_millis(200);
/// What is granted while nothing can be stored.
const UNSTORED_S: u32 = 60;

/// A company of plain phones: extensions 200 to 279.
fn crowd() -> Company {
    let mut gamma = Company::new("gamma.test");
    gamma.extensions = (200..280).map(|number| number.to_string()).collect();
    gamma.settings = plain_phone::SETTINGS.to_owned();
    gamma
}

/// Two companies on a server whose Postgres is the test's own.
fn office(scene: &mut Scene) -> Outcome<(Postgres, Server, Company, Company)> {
    let postgres = Postgres::start(&scene.folder)?;
    let at = Listeners::new(scene)?;
    let mut server = Server::prepare(&scene.folder, at, &postgres.config())?;
    server.run()?;
    let (alpha, gamma) = (Company::new("alpha.test"), crowd());
    server.provision(&[&alpha, &gamma])?;
    Ok((postgres, server, alpha, gamma))
}

fn registered(company: &Company, number: u32, server: &Server) -> Outcome<PlainPhone> {
    let mut phone = PlainPhone::new(company, &number.to_string(), server.at.sip)?;
    accepted(phone.register(600)?)?;
    Ok(phone)
}

/// A phone that answers whoever calls.
fn answering(company: &Company, number: u32, server: &Server) -> Outcome<Answering> {
    Ok(registered(company, number, server)?.answering())
}

fn accepted(answer: plain_phone::Answer) -> Outcome<plain_phone::Answer> {
    match answer.status {
        200 => Ok(answer),
        _ => Err(Failure::new(answer.text)),
    }
}

fn ready_says(server: &Server, words: &str) -> Outcome {
    wait::until(&format!("/readyz saying {words:?}"), NOTICED, || {
        let page = server.admin("/readyz")?;
        Ok((page.status == 200 && page.body.trim() == words).then_some(()))
    })
}

/// Waits until Postgres has all of these contacts, and none of those.
fn rows(ask: impl Fn(&str) -> Outcome<String>, here: &[String], gone: &[String]) -> Outcome {
    let mut last = String::new();
    wait::until("the rows of what was acknowledged", SOON, || {
        last = ask("SELECT contact FROM binding")?;
        let stored: BTreeSet<&str> = last.lines().collect();
        let whole = here.iter().all(|contact| stored.contains(contact.as_str()))
            && !gone.iter().any(|contact| stored.contains(contact.as_str()));
        Ok(whole.then_some(()))
    })
    .map_err(|failure| {
        let missing: Vec<_> = here.iter().filter(|contact| !last.contains(*contact)).collect();
        Failure::new(format!("{failure}: {missing:?} are missing, {gone:?} should not be there"))
    })
}

/// What phones notice while Postgres is away: registrations are taken for a minute, without a wait,
/// calls go on and new ones succeed. Returns what must be stored in the end, and what must not.
fn life_goes_on(
    server: &Server,
    gamma: &Company,
    leaving: &mut PlainPhone,
) -> Outcome<(Vec<String>, Vec<String>)> {
    let mut here = vec![];
    for number in 220..240 {
        let mut phone = PlainPhone::new(gamma, &number.to_string(), server.at.sip)?;
        let answer = accepted(phone.register(600)?)?;
        assert!(answer.took < PATIENCE, "{number} waited for {:?}", answer.took);
        assert!(answer.granted_s().is_some_and(|s| s <= UNSTORED_S), "{}", answer.text);
        here.push(phone.contact());
    }
    accepted(leaving.register(0)?)?;
    Ok((here, vec![leaving.contact()]))
}

#[test]
fn while_postgres_hangs_or_is_down_calls_and_registrations_go_on_and_are_stored_later() {
    for kind in ["hangs", "down"] {
        play(kind, |scene| {
            let (postgres, mut server, alpha, gamma) = office(scene)?;
            let mut ada = Phone::registered(scene, &Setup::new(&alpha, "101", server.at.sip, 440))?;
            let mut bob = Phone::registered(scene, &Setup::new(&alpha, "102", server.at.sip, 700))?;
            ada.dial("102")?;
            bob.wait_for("CALL_ESTABLISHED")?;
            ada.wait_for("CALL_ESTABLISHED")?;
            let mut caller = registered(&gamma, 200, &server)?;
            let mut leaving = registered(&gamma, 202, &server)?;
            let _called = answering(&gamma, 201, &server)?;
            ready_says(&server, "ok")?;

            let (frozen, postgres) = match kind {
                "hangs" => (Some(postgres.freeze()?), Some(postgres)),
                _ => {
                    postgres.stop()?;
                    (None, None)
                }
            };
            let (here, gone) = life_goes_on(&server, &gamma, &mut leaving)?;
            ready_says(&server, "degraded: postgres away")?;
            accepted(caller.call_and_hang_up("201")?)?;
            ada.wait_for_sound(50)?;
            ada.hold()?;
            bob.wait_for_silence(Duration::from_millis(500))?;
            ada.resume()?;
            bob.wait_for_sound(25)?;

            drop(frozen);
            let postgres = match postgres {
                Some(postgres) => postgres,
                None => Postgres::start(&scene.folder)?,
            };
            ready_says(&server, "ok")?;
            rows(|query| postgres.ask(query), &here, &gone)?;
            accepted(caller.call_and_hang_up("201")?)?;
            ada.hang_up()?;
            bob.wait_for("CALL_CLOSED")?;
            wait::until("the calls' records", SOON, || {
                let count = "SELECT count(*) FROM call WHERE status = 200";
                Ok((postgres.ask(count)?.trim() == "3").then_some(()))
            })?;
            server.stop(START)?;
            postgres.stop()
        });
    }
}

#[test]
fn a_postgres_that_crawls_makes_no_phone_wait() {
    play("crawls", |scene| {
        let (postgres, mut server, _, gamma) = office(scene)?;
        let over = AtomicBool::new(false);
        let here = std::thread::scope(|scope| -> Outcome<Vec<String>> {
            // Half a second of every 0.55 it does nothing.
            let crawling = scope.spawn(|| -> Outcome {
                while !over.load(Ordering::Relaxed) {
                    let frozen = postgres.freeze()?;
                    std::thread::sleep(Duration::from_millis(500));
                    drop(frozen);
                    std::thread::sleep(Duration::from_millis(50));
                }
                Ok(())
            });
            let registering = || -> Outcome<Vec<String>> {
                let mut here = vec![];
                for number in 200..230 {
                    let mut phone = PlainPhone::new(&gamma, &number.to_string(), server.at.sip)?;
                    let answer = accepted(phone.register(600)?)?;
                    assert!(answer.took < PATIENCE, "{number} waited for {:?}", answer.took);
                    here.push(phone.contact());
                }
                Ok(here)
            };
            let here = registering();
            over.store(true, Ordering::Relaxed);
            crawling.join().map_err(|_| Failure::new("the crawling panicked"))??;
            here
        })?;
        rows(|query| postgres.ask(query), &here, &[])?;
        server.stop(START)?;
        postgres.stop()
    });
}

/// What a storm's phones were told.
#[derive(Default)]
struct Told {
    here: Vec<String>,
    gone: Vec<String>,
    calls: usize,
}

/// Registers, leaves and comes back until the server is gone. What was under way then is unknown.
fn storm(gamma: &Company, at: SocketAddr, numbers: &[u32], seen: &AtomicUsize) -> Outcome<Told> {
    let mut told = Told::default();
    let mut phones = vec![];
    for number in numbers {
        let phone = PlainPhone::new(gamma, &number.to_string(), at)?;
        phones.push((phone.patient_for(Duration::from_secs(2)), None));
    }
    'storm: loop {
        for (place, (phone, is_here)) in phones.iter_mut().enumerate() {
            // Every third one leaves again.
            let expires_s = if place % 3 == 0 && *is_here == Some(true) { 0 } else { 600 };
            *is_here = None;
            match phone.register(expires_s) {
                Ok(answer) if answer.status == 200 => *is_here = Some(expires_s > 0),
                Ok(answer) => return Err(Failure::new(answer.text)),
                Err(_) => break 'storm,
            }
            seen.fetch_add(1, Ordering::Relaxed);
        }
    }
    for (phone, is_here) in phones {
        match is_here {
            Some(true) => told.here.push(phone.contact()),
            Some(false) => told.gone.push(phone.contact()),
            None => {}
        }
    }
    Ok(told)
}

/// Once it is told to, calls again and again until the server is gone or has no ports left; counts
/// the calls whose BYE was answered.
fn chatter(gamma: &Company, at: SocketAddr, go: &AtomicBool, seen: &AtomicUsize) -> Outcome<Told> {
    let phone = PlainPhone::new(gamma, "270", at)?;
    let mut phone = phone.patient_for(Duration::from_secs(2));
    let mut told = Told::default();
    wait::until("word to go", START, || Ok(go.load(Ordering::Relaxed).then_some(())))?;
    while phone.call_and_hang_up("271").is_ok_and(|answer| answer.status == 200) {
        told.calls += 1;
        seen.fetch_add(1, Ordering::Relaxed);
    }
    Ok(told)
}

#[test]
fn what_was_acknowledged_in_a_storm_survives_a_kill() {
    for with_postgres in [false, true] {
        play(if with_postgres { "storm-all" } else { "storm" }, |scene| {
            let gamma = crowd();
            let mut server = Server::start_with(scene, &[&gamma])?;
            let called = answering(&gamma, 271, &server)?;
            let (registers, calls) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let go = AtomicBool::new(false);
            let (at, numbers) = (server.at.sip, (200..260).collect::<Vec<u32>>());
            let told = std::thread::scope(|scope| -> Outcome<Vec<Told>> {
                let storms = numbers.chunks(20);
                let (gamma, registers, calls, go) = (&gamma, &registers, &calls, &go);
                let mut all: Vec<_> = storms
                    .map(|numbers| scope.spawn(move || storm(gamma, at, numbers, registers)))
                    .collect();
                all.push(scope.spawn(move || chatter(gamma, at, go, calls)));
                let reached = |what: &str, counter: &AtomicUsize, count| {
                    wait::until(what, START, || {
                        Ok((counter.load(Ordering::Relaxed) >= count).then_some(()))
                    })
                };
                let full = reached("a storm", registers, 400).and(server.check_next_door());
                go.store(true, Ordering::Relaxed);
                // In the middle of the calls, before all of them can be stored.
                let full = full.and(reached("calls", calls, 5));
                let killed = match with_postgres {
                    true => server.strike_with_postgres(),
                    false => server.strike(),
                };
                full.and(killed)?;
                let joined = all.into_iter().map(|thread| thread.join());
                joined.map(|told| told.map_err(|_| Failure::new("a storm panicked"))?).collect()
            })?;
            server.run()?;

            let here: Vec<String> = told.iter().flat_map(|told| told.here.clone()).collect();
            let gone: Vec<String> = told.iter().flat_map(|told| told.gone.clone()).collect();
            assert!(here.len() > 20, "only {} phones are known to be here", here.len());
            rows(|query| server.ask(query), &here, &gone)?;
            let acknowledged: usize = told.iter().map(|told| told.calls).sum();
            let count = "SELECT count(*) FROM call WHERE status = 200 AND caller = '270'";
            wait::until("the records of all calls", SOON, || {
                let stored: usize = server.ask(count)?.trim().parse()?;
                Ok((stored >= acknowledged).then_some(()))
            })?;
            // Nobody registers again, and is called all the same.
            let mut caller = PlainPhone::new(&gamma, "270", server.at.sip)?;
            accepted(caller.call_and_hang_up("271")?)?;
            drop(called);
            Ok(())
        });
    }
}

#[test]
fn full_inboxes_hold_up_nobody_for_long() {
    play("flood", |scene| {
        let (alpha, gamma) = (Company::new("alpha.test"), crowd());
        let server = Server::start_with(scene, &[&alpha, &gamma])?;
        let mut ada = Phone::registered(scene, &Setup::new(&alpha, "101", server.at.sip, 440))?;
        let mut bob = Phone::registered(scene, &Setup::new(&alpha, "102", server.at.sip, 700))?;
        ada.dial("102")?;
        bob.wait_for("CALL_ESTABLISHED")?;
        let over = AtomicBool::new(false);
        let sent = std::thread::scope(|scope| -> Outcome<usize> {
            let floods: Vec<_> =
                (0..4).map(|_| scope.spawn(|| flood(server.at.sip, &over))).collect();
            let mut meanwhile = || -> Outcome {
                let mut phone = PlainPhone::new(&gamma, "200", server.at.sip)?;
                accepted(phone.register(600)?)?;
                let _called = answering(&gamma, 201, &server)?;
                accepted(phone.call_and_hang_up("201")?)?;
                ada.wait_for_sound(100)?;
                bob.wait_for_sound(100)
            };
            let outcome = meanwhile();
            over.store(true, Ordering::Relaxed);
            let sent = floods.into_iter().map(|flood| flood.join());
            let sent = sent.map(|sent| sent.map_err(|_| Failure::new("a flood panicked"))?);
            let sent = sent.sum::<Outcome<usize>>()?;
            outcome.map(|()| sent)
        })?;
        assert!(sent > 10_000, "{sent} datagrams are no flood");
        // Afterwards nothing waits, and the first question is answered at once.
        for lane in 0..2 {
            let queue = format!("tenantd_queue_length{{queue=\"lane_{lane}_messages\"}}");
            server.wait_for_metric(&queue, 0.0, SOON)?;
        }
        let mut phone = PlainPhone::new(&gamma, "202", server.at.sip)?;
        let answer = accepted(phone.register(600)?)?;
        assert!(answer.took < PATIENCE, "{:?}", answer.took);
        ada.hang_up()?;
        bob.wait_for("CALL_CLOSED")?;
        Ok(())
    });
}

/// Sends registrations with a password that is made up: bursts that no queue has room for. Between
/// them is a pause, since what the system itself drops for want of time nobody can answer.
fn flood(server: SocketAddr, over: &AtomicBool) -> Outcome<usize> {
    let mut probe = Probe::new()?;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    let credentials = "\r\nAuthorization: Digest username=\"103\", realm=\"alpha.test\", \
        nonce=\"x\", uri=\"sip:alpha.test\", response=\"00000000000000000000000000000000\"\r\n";
    let (mut sent, ends_at) = (0, Instant::now() + START);
    while !over.load(Ordering::Relaxed) && Instant::now() < ends_at {
        let request = probe.request("REGISTER", "sip:alpha.test", "sip:103@alpha.test")?;
        let request = request.replacen("\r\n", credentials, 1);
        // What the system does not take it has no room for, which is what is wanted.
        sent += usize::from(socket.send_to(request.as_bytes(), server).is_ok());
        if sent % BURST == 0 {
            std::thread::sleep(PAUSE);
        }
    }
    Ok(sent)
}

#[test]
fn a_postgres_that_answers_nothing_is_waited_for_while_probes_are_answered() {
    play("nowhere", |scene| {
        // It takes connections, and never says a word.
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let url = format!("postgres://nobody@{}/tenantd", silent.local_addr()?);
        let at = Listeners::new(scene)?;
        let config = format!("[database]\nurl = \"{url}\"\n");
        let mut server = Server::prepare(&scene.folder, at, &config)?;
        server.launch()?;
        server.running()?.wait_for_line("Postgres is away", START)?;
        assert_eq!(server.admin("/healthz")?.status, 200);
        let page = server.admin("/readyz")?;
        assert_eq!((page.status, page.body.trim()), (503, "starting: waiting for postgres"));
        let began_at = Instant::now();
        server.running()?.signal(Signal::SIGTERM)?;
        server.running()?.wait(START)?;
        assert!(began_at.elapsed() < Duration::from_secs(10), "{:?}", began_at.elapsed());
        Ok(())
    });
}

#[test]
fn a_mail_server_that_answers_nothing_holds_up_neither_start_nor_service() {
    play("mail", |scene| {
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let gamma = crowd();
        let at = Listeners::new(scene)?;
        let url = format!("smtp://{}", silent.local_addr()?);
        let config = format!("[mail]\nsmtp_url = \"{url}\"\nfrom = \"pbx@gamma.test\"\n");
        let mut server = Server::prepare(&scene.folder, at, &config)?;
        server.run()?;
        server.provision(&[&gamma])?;
        registered(&gamma, 200, &server)?;
        Ok(())
    });
}

#[test]
fn names_that_nobody_answers_hold_up_neither_start_nor_service() {
    // It is asked, and never says a word.
    let silent = SocketAddr::from(([127, 0, 0, 97], 53));
    let (true, Ok(_silent)) = (can_mount(), UdpSocket::bind(silent)) else {
        eprintln!("SKIPPED: a name server that hangs: this machine allows no mount or no port 53");
        return;
    };
    play("names", |scene| {
        let gamma = crowd();
        let at = Listeners::new(scene)?;
        let mut server = Server::prepare(&scene.folder, at, "")?;
        let config = std::fs::read_to_string(server.config_file())?;
        let named = config.replace("[sip]\n", "[sip]\nexternal = [\"pbx.gamma.test\"]\n");
        assert_ne!(config, named);
        std::fs::write(server.config_file(), named)?;
        server.ask_names_at(silent.ip());
        let began_at = Instant::now();
        server.run()?;
        assert!(began_at.elapsed() < NAMELESS_START, "ready after {:?}", began_at.elapsed());
        server.provision(&[&gamma])?;
        // While the name is asked for again and again.
        let mut phone = registered(&gamma, 200, &server)?;
        let _called = answering(&gamma, 201, &server)?;
        accepted(phone.call_and_hang_up("201")?)?;
        Ok(())
    });
}
