//! Phones of three makes call each other over every transport and both families; each hears the
//! other's tone, before a hold and after it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use kit::baresip::{self, Encrypts, Over, Phone};
use kit::company::Company;
use kit::ear::Ear;
use kit::failure::Outcome;
use kit::linphone::{self, Linphone};
use kit::listeners::{Ipv6, Listeners};
use kit::pjsua::{self, Insists, Pjsua};
use kit::scene::{Scene, play};
use kit::server::Server;
use kit::sipp::{self, Sipp};
use kit::tls::Authority;
use kit::wait::{self, SOON};

const HOUR: Duration = Duration::from_secs(3_600);
/// Between two packets of a phone that talks there is never so much.
const QUIET: Duration = Duration::from_millis(500);

/// A server whose certificate is for its addresses, and who has signed it.
struct Stage {
    server: Server,
    authority: PathBuf,
    alpha: Company,
}

/// By which way a phone comes.
#[derive(Debug, Clone, Copy)]
struct Way {
    over: Over,
    family: Family,
}

#[derive(Debug, Clone, Copy)]
enum Family {
    V4,
    V6,
}

impl Way {
    fn v4(over: Over) -> Self {
        Self { over, family: Family::V4 }
    }

    fn v6(over: Over) -> Self {
        Self { over, family: Family::V6 }
    }
}

impl Stage {
    fn set(scene: &mut Scene) -> Outcome<Self> {
        let directory = scene.folder.path().join("certificates");
        let authority = Authority::new()?;
        let names = ["alpha.test", "127.0.0.1", "::1"];
        authority.issue(&directory.join("default"), "", &names, (HOUR, HOUR))?;
        scene.folder.write("authority.pem", authority.pem())?;
        scene.folder.write("stranger.pem", Authority::new()?.pem())?;
        let at = Listeners::everywhere(scene)?;
        let more = format!("[tls]\ndirectory = {directory:?}\n");
        let mut server = Server::prepare(&scene.folder, at, &more)?;
        server.run()?;
        let alpha = Company::new("alpha.test");
        server.provision(&[&alpha])?;
        Ok(Self { server, authority: scene.folder.path().join("authority.pem"), alpha })
    }

    fn proxy(&self, way: Way) -> SocketAddr {
        let at = match way.over {
            Over::Udp | Over::Tcp => self.server.at.sip,
            Over::Tls => self.server.at.tls(),
        };
        match way.family {
            Family::V4 => at,
            Family::V6 => Listeners::on_ipv6(at),
        }
    }

    fn baresip(&self, scene: &mut Scene, number: &'static str, way: Way) -> Outcome<Peer> {
        let setup = baresip::Setup::new(&self.alpha, number, self.proxy(way), 700);
        let phone = Phone::registered(scene, &baresip::Setup { over: way.over, ..setup })?;
        Ok(Peer { number, tone: 700.0, make: Make::Baresip(phone) })
    }

    fn linphone_setup<'a>(&'a self, number: &'a str, way: Way) -> linphone::Setup<'a> {
        linphone::Setup {
            company: &self.alpha,
            number,
            proxy: self.proxy(way),
            over: way.over,
            tone: 1_000,
            authority: self.authority.clone(),
        }
    }

    fn linphone(&self, scene: &mut Scene, number: &'static str, way: Way) -> Outcome<Peer> {
        let phone = Linphone::registered(scene, &self.linphone_setup(number, way))?;
        Ok(Peer { number, tone: 1_000.0, make: Make::Linphone(phone) })
    }

    fn pjsua_setup<'a>(&'a self, number: &'a str, way: Way) -> pjsua::Setup<'a> {
        pjsua::Setup {
            company: &self.alpha,
            number,
            proxy: self.proxy(way),
            over: way.over,
            tone: 440,
            authority: self.authority.clone(),
            insists: Insists::OnNothing,
            encrypts: Encrypts::Never,
            codecs: pjsua::G711,
        }
    }

    fn pjsua(&self, scene: &mut Scene, number: &'static str, way: Way) -> Outcome<Peer> {
        let phone = Pjsua::registered(scene, &self.pjsua_setup(number, way))?;
        Ok(Peer { number, tone: 440.0, make: Make::Pjsua(phone) })
    }
}

/// A phone in a call.
struct Peer {
    number: &'static str,
    tone: f64,
    make: Make,
}

enum Make {
    Baresip(Phone),
    Linphone(Linphone),
    Pjsua(Pjsua),
}

impl Peer {
    fn dial(&mut self, number: &str) -> Outcome {
        match &mut self.make {
            Make::Baresip(phone) => phone.dial(number),
            Make::Linphone(phone) => phone.dial(number),
            Make::Pjsua(phone) => phone.dial(number),
        }
    }

    fn wait_for_answer(&mut self) -> Outcome {
        match &mut self.make {
            Make::Baresip(phone) => phone.wait_for("CALL_ESTABLISHED").map(drop),
            Make::Linphone(phone) => phone.wait_for("Media streams established"),
            Make::Pjsua(phone) => phone.wait_for("call CONFIRMED").map(drop),
        }
    }

    /// Baresip writes down nothing after a hold, so there its packets are counted, and what they
    /// were is seen at the end.
    fn hears(&mut self, other: &Self) -> Outcome {
        match &mut self.make {
            Make::Baresip(phone) => phone.wait_for_sound(75),
            Make::Linphone(phone) => phone.wait_for_tone(other.tone),
            Make::Pjsua(phone) => phone.wait_for_tone(other.tone),
        }
    }

    fn hears_nothing(&mut self) -> Outcome {
        match &mut self.make {
            Make::Baresip(phone) => phone.wait_for_silence(QUIET),
            Make::Linphone(phone) => phone.wait_for_silence(),
            Make::Pjsua(phone) => phone.wait_for_silence(),
        }
    }

    fn hold(&mut self) -> Outcome {
        match &mut self.make {
            Make::Baresip(phone) => phone.hold(),
            Make::Linphone(phone) => phone.hold(),
            Make::Pjsua(phone) => phone.hold(),
        }
    }

    fn resume(&mut self) -> Outcome {
        match &mut self.make {
            Make::Baresip(phone) => phone.resume(),
            Make::Linphone(phone) => phone.resume(),
            Make::Pjsua(phone) => phone.resume(),
        }
    }

    fn hang_up(&mut self) -> Outcome {
        match &mut self.make {
            Make::Baresip(phone) => phone.hang_up(),
            Make::Linphone(phone) => phone.hang_up(),
            Make::Pjsua(phone) => phone.hang_up(),
        }
    }

    fn wait_for_end(&mut self, other: &Self) -> Outcome {
        match &mut self.make {
            Make::Baresip(phone) => {
                phone.wait_for("CALL_CLOSED")?;
                phone.check_heard(other.tone)
            }
            Make::Linphone(phone) => phone.wait_for("ended"),
            Make::Pjsua(phone) => phone.wait_for("call DISCONNECTED").map(drop),
        }
    }
}

/// The first calls the second; both hear each other, do not while the first holds, and do again.
fn talk(caller: &mut Peer, callee: &mut Peer) -> Outcome {
    caller.dial(callee.number)?;
    caller.wait_for_answer()?;
    callee.wait_for_answer()?;
    caller.hears(callee)?;
    callee.hears(caller)?;
    caller.hold()?;
    caller.hears_nothing()?;
    match caller.make {
        Make::Baresip(_) | Make::Pjsua(_) => callee.hears_nothing()?,
        // It plays music of its own to whom it holds.
        Make::Linphone(_) => {}
    }
    caller.resume()?;
    caller.hears(callee)?;
    callee.hears(caller)?;
    callee.hang_up()?;
    caller.wait_for_end(callee)?;
    callee.wait_for_end(caller)
}

/// All three makes, two at a time, each of the scriptable ones holding once.
fn all_talk(scene: &mut Scene, way: Way) -> Outcome {
    let stage = Stage::set(scene)?;
    let mut linphone = stage.linphone(scene, "102", way)?;
    let mut baresip = stage.baresip(scene, "103", way)?;
    talk(&mut linphone, &mut baresip)?;
    if !pjsua::is_there() {
        return Ok(());
    }
    let mut pjsua = stage.pjsua(scene, "101", way)?;
    talk(&mut baresip, &mut pjsua)?;
    talk(&mut pjsua, &mut linphone)
}

#[test]
fn three_makes_of_phones_talk_and_hold_over_udp() {
    play("interop-udp", |scene| all_talk(scene, Way::v4(Over::Udp)));
}

#[test]
fn three_makes_of_phones_talk_and_hold_over_tcp() {
    play("interop-tcp", |scene| all_talk(scene, Way::v4(Over::Tcp)));
}

#[test]
fn three_makes_of_phones_talk_and_hold_over_tls() {
    play("interop-tls", |scene| all_talk(scene, Way::v4(Over::Tls)));
}

#[test]
fn phones_on_ipv6_talk_to_each_other_and_to_one_on_ipv4() {
    play("interop-v6", |scene| {
        let stage = Stage::set(scene)?;
        if stage.server.at.ipv6() == Ipv6::Missing {
            return Ok(());
        }
        let mut linphone = stage.linphone(scene, "102", Way::v6(Over::Tcp))?;
        let mut baresip = stage.baresip(scene, "103", Way::v6(Over::Udp))?;
        talk(&mut linphone, &mut baresip)?;
        if !pjsua::is_there() {
            return Ok(());
        }
        // Its package was built without IPv6: it is the other side.
        let mut pjsua = stage.pjsua(scene, "101", Way::v4(Over::Tls))?;
        talk(&mut pjsua, &mut linphone)?;
        talk(&mut baresip, &mut pjsua)
    });
}

#[test]
fn phones_that_insist_on_reliable_ringing_and_session_timers_talk() {
    if !pjsua::is_there() {
        return;
    }
    play("interop-strict", |scene| {
        let stage = Stage::set(scene)?;
        let mut strict = |number, tone: u32| -> Outcome<Peer> {
            let insists = Insists::OnExtensions;
            let setup = stage.pjsua_setup(number, Way::v4(Over::Udp));
            let setup = pjsua::Setup { insists, tone, ..setup };
            let phone = Pjsua::registered(scene, &setup)?;
            Ok(Peer { number, tone: f64::from(tone), make: Make::Pjsua(phone) })
        };
        let (mut ada, mut bob) = (strict("101", 440)?, strict("102", 1_000)?);
        talk(&mut ada, &mut bob)?;
        let mut baresip = stage.baresip(scene, "103", Way::v4(Over::Udp))?;
        talk(&mut baresip, &mut ada)?;
        for peer in [ada, bob] {
            let Make::Pjsua(phone) = peer.make else { continue };
            let log = phone.quit()?;
            for proof in ["PRACK sip:", "Require: timer", "Session-Expires: "] {
                assert!(log.contains(proof), "{} saw no {proof}", peer.number);
            }
        }
        Ok(())
    });
}

#[test]
fn phones_that_check_the_certificate_stay_away_from_a_strangers() {
    play("interop-stranger", |scene| {
        let stage = Stage::set(scene)?;
        let authority = scene.folder.path().join("stranger.pem");
        let setup = stage.linphone_setup("102", Way::v4(Over::Tls));
        let setup = linphone::Setup { authority: authority.clone(), ..setup };
        let _linphone = Linphone::start(scene, &setup)?;
        let ended = "tenantd_sip_connections_ended_total{reason=\"handshake\"}";
        wait::until("an end of a handshake", SOON, || {
            Ok(stage.server.metric(ended).is_ok_and(|count| count >= 1.0).then_some(()))
        })?;
        if pjsua::is_there() {
            let setup = stage.pjsua_setup("101", Way::v4(Over::Tls));
            let mut phone = Pjsua::start(scene, &pjsua::Setup { authority, ..setup })?;
            let refused = phone.wait_for("registered")?;
            assert!(refused.contains("certificate verification"), "{refused}");
        }
        stage.server.wait_for_metric("tenantd_registrations", 0.0, SOON)
    });
}

#[test]
fn sipp_over_tcp_talks_to_a_phone_and_holds_it() {
    play("interop-sipp", |scene| {
        let stage = Stage::set(scene)?;
        if !sipp::has_tls() {
            eprintln!("SKIPPED: sipp over TLS: it was built without");
        }
        let proxy = stage.proxy(Way::v4(Over::Tcp));
        let setup = baresip::Setup::new(&stage.alpha, "103", proxy, 700);
        let mut theirs = Phone::registered(scene, &baresip::Setup { over: Over::Tcp, ..setup })?;
        let (port, (sound, _)) = (scene.ports.one()?, scene.ports.many(2)?);
        let mut ear = Ear::open(sound, 1_000.0)?;
        let setup = sipp::Setup {
            scenario: "hold",
            server: proxy,
            port,
            keys: vec![("domain", stage.alpha.domain.to_owned()), ("sound", sound.to_string())],
            rows: vec![format!("{};103", sipp::user(&stage.alpha, "102"))],
            calls: 1,
        };
        let mut caller = Sipp::start_over(scene, &setup, Over::Tcp)?;
        theirs.wait_for("CALL_ESTABLISHED")?;
        ear.wait_for_tone(700.0)?;
        ear.wait_for_silence(Duration::from_secs(1))?;
        ear.wait_for_tone(700.0)?;
        theirs.wait_for_sound(25)?;
        caller.finish(SOON)?;
        theirs.wait_for("CALL_CLOSED")?;
        theirs.check_heard(1_000.0)
    });
}
