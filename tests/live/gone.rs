//! Those who are gone without a word: a phone that falls silent in a call, a connection whose other
//! end can no longer be reached, and files that the system has none left of.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use kit::baresip::{Phone, Setup};
use kit::company::Company;
use kit::failure::{Failure, Outcome};
use kit::handset::{Handset, status};
use kit::line::Line;
use kit::listeners::Listeners;
use kit::netns::Internet;
use kit::plain_phone::{self, PlainPhone};
use kit::scene::play;
use kit::server::Server;
use kit::wait::{self, SOON};

/// Half a minute without sound, and as long without an answer (Timer F); the rest is for a busy
/// machine.
const VANISHES_WITHIN: Duration = Duration::from_secs(80);
/// What a dead peer does not acknowledge is given up after half a minute.
const BREAKS_WITHIN: Duration = Duration::from_secs(60);
const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);

#[test]
fn a_phone_that_falls_silent_and_answers_nothing_is_hung_up_for() {
    play("vanish", |scene| {
        let alpha = Company::new("alpha.test");
        let server = Server::start_with(scene, &[&alpha])?;
        let mut ada = Phone::registered(scene, &Setup::new(&alpha, "101", server.at.sip, 440))?;
        let mut bob = Phone::registered(scene, &Setup::new(&alpha, "102", server.at.sip, 700))?;
        ada.dial("102")?;
        bob.wait_for("CALL_ESTABLISHED")?;
        ada.wait_for_sound(50)?;
        // Killed: it says nothing to anybody.
        drop(bob);
        let silent_since = Instant::now();
        wait::until("a BYE for the one who is left", VANISHES_WITHIN, || {
            Ok((ada.messages_with("BYE sip:") > 0).then_some(()))
        })?;
        println!("hung up {:.0} s after the phone was gone", silent_since.elapsed().as_secs_f64());
        ada.wait_for("CALL_CLOSED")?;
        server.wait_for_metric("tenantd_calls_ended_total{ending=\"vanished\"}", 1.0, SOON)?;
        server.wait_for_metric("tenantd_calls", 0.0, SOON)
    });
}

#[test]
fn a_connection_whose_other_end_is_out_of_reach_is_given_up_and_its_phone_not_called() {
    play("halfopen", |scene| {
        let Some(mut internet) = Internet::new()? else { return Ok(()) };
        let alpha = Company::new("alpha.test");
        let place = internet.host("srv", SERVER)?;
        let server = place.inside(|| {
            let at = Listeners::in_the_open(scene, SERVER)?;
            let mut server = Server::prepare(&scene.folder, at, "")?;
            let config = fs::read_to_string(server.config_file())?;
            let config = config.replace("tcp = []", &format!("tcp = [\"{}\"]", at.sip));
            fs::write(server.config_file(), config)?;
            server.run()?;
            server.provision(&[&alpha])?;
            Ok(server)
        })?;
        let sip = server.at.sip;
        let far = internet.host("far", Ipv4Addr::new(203, 0, 113, 20))?;
        let near = internet.host("near", Ipv4Addr::new(203, 0, 113, 30))?;
        let phone = far.inside(|| {
            let mut phone = Handset::new(&alpha, "103", Line::tcp(sip)?);
            phone.register(600)?;
            Ok(phone)
        })?;
        far.unplug()?;
        let sound = SocketAddr::from((Ipv4Addr::new(203, 0, 113, 30), 40_000));
        near.inside(|| {
            // Nobody can know yet; what is said into the dark is what shows it.
            let mut first = Handset::new(&alpha, "101", Line::udp(sip)?);
            let _unanswered = first.invite("sip:103@alpha.test", sound);
            Ok(())
        })?;
        let disconnected = "tenantd_registrations_disconnected_total";
        place.inside(|| server.wait_for_metric(disconnected, 1.0, BREAKS_WITHIN))?;
        near.inside(|| {
            let mut second = Handset::new(&alpha, "102", Line::udp(sip)?);
            let began_at = Instant::now();
            let refusal = second.invite("sip:103@alpha.test", sound)?;
            assert_eq!(status(&refusal), 480, "{refusal}");
            assert!(began_at.elapsed() < Duration::from_secs(3), "nobody waits for it any more");
            Ok(())
        })?;
        place.inside(|| server.wait_for_metric("tenantd_sip_connections", 0.0, SOON))?;
        drop((phone, server));
        Ok(())
    });
}

#[test]
fn with_no_file_left_connections_wait_and_nothing_spins() {
    play("files", |scene| {
        let mut alpha = Company::new("alpha.test");
        alpha.settings = plain_phone::SETTINGS.to_owned();
        let mut server = Server::start_everywhere(scene, &[&alpha])?;
        let mut phone = PlainPhone::new(&alpha, "101", server.at.sip)?;
        assert_eq!(phone.register(600)?.status, 200);
        let pid = server.running()?.pid();
        let files = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        limit_files(pid, files + 4)?;
        let mut waiting = vec![];
        for _ in 0..20 {
            waiting.push(Line::tcp(server.at.sip)?);
        }
        server.running()?.wait_for_line("nothing left for new connections", SOON)?;
        let before = cpu(pid)?;
        let window = Duration::from_secs(2);
        wait::unless(window, || {
            let answer = phone.register(600)?;
            Ok((answer.status != 200).then_some(answer.text))
        })?;
        let used = cpu(pid)?.saturating_sub(before);
        assert!(used < window / 2, "it spins: {used:?} of CPU in {window:?}");

        drop(waiting);
        server.running()?.wait_for_line("new connections are taken again", SOON)?;
        let mut late = Handset::new(&alpha, "102", Line::tcp(server.at.sip)?);
        assert_eq!(status(&late.ping()?), 200);
        limit_files(pid, 4_096)
    });
}

/// From now on the process may have so many files open.
fn limit_files(pid: u32, most: usize) -> Outcome {
    let (pid, limit) = (format!("--pid={pid}"), format!("--nofile={most}:"));
    let output = Command::new("prlimit").args([pid, limit]).output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(Failure::new(String::from_utf8_lossy(&output.stderr))),
    }
}

/// What a process has used of CPU so far (proc(5), in hundredths of a second).
fn cpu(pid: u32) -> Outcome<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = text.rsplit(") ").next().unwrap_or_default();
    let fields: Vec<&str> = after_name.split(' ').collect();
    let ticks = [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<u64>().ok());
    Ok(Duration::from_millis(ticks.sum::<u64>() * 10))
}
