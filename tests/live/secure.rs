//! Sound that is encrypted, between real phones of several makes, while somebody tries to be a third.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use kit::baresip::{self, Encrypts, Over, Phone};
use kit::company::Company;
use kit::failure::Outcome;
use kit::listeners::Listeners;
use kit::pjsua::{self, Insists, Pjsua};
use kit::scene::{Scene, play};
use kit::server::Server;
use kit::tls::Authority;
use kit::wait::{self, SOON};

const HANDSHAKES: &str = "tenantd_sound_handshakes_total";
const FORGED: &str = "tenantd_sound_packets_forged_total";
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// A server with a certificate that phones believe.
struct Stage {
    server: Server,
    authority: std::path::PathBuf,
    alpha: Company,
}

impl Stage {
    fn set(scene: &mut Scene) -> Outcome<Self> {
        let directory = scene.folder.path().join("certificates");
        let authority = Authority::new()?;
        let names = ["alpha.test", "127.0.0.1"];
        authority.issue(&directory.join("default"), "", &names, (HOUR, HOUR))?;
        scene.folder.write("authority.pem", authority.pem())?;
        let at = Listeners::everywhere(scene)?;
        let more = format!("[tls]\ndirectory = {directory:?}\n");
        let mut server = Server::prepare(&scene.folder, at, &more)?;
        server.run()?;
        let alpha = Company::new("alpha.test");
        server.provision(&[&alpha])?;
        Ok(Self { server, authority: scene.folder.path().join("authority.pem"), alpha })
    }

    fn phone(
        &self,
        scene: &mut Scene,
        number: &str,
        tone: u32,
        encrypts: Encrypts,
    ) -> Outcome<Phone> {
        let (over, proxy) = match encrypts {
            Encrypts::Never => (Over::Udp, self.server.at.sip),
            Encrypts::IfItCan | Encrypts::ByKeys | Encrypts::ByHandshake => {
                (Over::Tls, self.server.at.tls())
            }
        };
        let setup = baresip::Setup::new(&self.alpha, number, proxy, tone);
        Phone::registered(scene, &baresip::Setup { over, encrypts, ..setup })
    }

    fn pjsua(&self, scene: &mut Scene, encrypts: Encrypts) -> Outcome<Pjsua> {
        let setup = pjsua::Setup {
            company: &self.alpha,
            number: "103",
            proxy: self.server.at.tls(),
            over: Over::Tls,
            tone: 1_000,
            authority: self.authority.clone(),
            insists: Insists::OnNothing,
            encrypts,
            codecs: pjsua::G711,
        };
        Pjsua::registered(scene, &setup)
    }
}

fn two_phones_talk(ada: Encrypts, bob: Encrypts, handshakes: f64) {
    play("secure", |scene| {
        let stage = Stage::set(scene)?;
        let introduces = bob == Encrypts::ByHandshake;
        let mut ada = stage.phone(scene, "101", 440, ada)?;
        let mut bob = stage.phone(scene, "102", 700, bob)?;
        if introduces {
            // It shows what it wants when it calls, and is called that way then.
            baresip::briefly(&mut bob, "101", &mut ada)?;
        }
        // The introduction may be over before its handshake was.
        let before = stage.server.metric(HANDSHAKES)?;
        baresip::converse(&mut ada, "102", &mut bob)?;
        assert_eq!(stage.server.metric(HANDSHAKES)? - before, handshakes);
        Ok(())
    });
}

#[test]
fn a_phone_that_encrypts_by_keys_and_a_plain_one_talk() {
    two_phones_talk(Encrypts::ByKeys, Encrypts::Never, 0.0);
}

#[test]
fn a_plain_phone_calls_one_that_encrypts_by_keys() {
    two_phones_talk(Encrypts::Never, Encrypts::ByKeys, 0.0);
}

#[test]
fn a_phone_with_keys_calls_one_with_handshakes() {
    two_phones_talk(Encrypts::ByKeys, Encrypts::ByHandshake, 1.0);
}

#[test]
fn a_phone_with_handshakes_calls_one_with_keys() {
    two_phones_talk(Encrypts::ByHandshake, Encrypts::ByKeys, 1.0);
}

/// The server is killed while a plain phone talks with one that encrypts by keys. (Not with baresip:
/// this version uses the first keys for as long as the call lasts, whatever it is told later.)
#[test]
fn a_phone_with_keys_gets_new_ones_after_a_kill_and_talks_on() {
    let missing = pjsua::missing().expect("infra/test has tried to get pjsua2");
    play("secure-killed", |scene| {
        if let Some(why) = missing {
            println!("SKIPPED PJSIP's phone: {why}");
            return Ok(());
        }
        let mut stage = Stage::set(scene)?;
        let mut ada = stage.phone(scene, "101", 440, Encrypts::Never)?;
        let mut other = stage.pjsua(scene, Encrypts::ByKeys)?;
        ada.dial("103")?;
        ada.wait_for("CALL_ESTABLISHED")?;
        other.wait_for_tone(440.0)?;
        let plain = ada.messages_with("INVITE sip:");

        stage.server.cut_off()?;
        stage.server.run()?;
        // It comes back by itself, and is asked as soon as it is there.
        other.wait_for("registered 200")?;
        other.wait_for("sound both_ways")?;
        other.wait_for_tone(440.0)?;
        ada.wait_for_sound(75)?;
        assert_eq!(ada.messages_with("INVITE sip:"), plain, "a plain phone hears nothing of it");
        other.hang_up()?;
        ada.wait_for("CALL_CLOSED")?;
        // What it says of the keys that it opened our packets with.
        let said = other.quit()?;
        let keys: BTreeSet<&str> = said
            .lines()
            .filter_map(|line| line.split_once("RX: AES_"))
            .map(|(_, key)| key)
            .collect();
        assert_eq!(keys.len(), 2, "{keys:?}");
        Ok(())
    });
}

/// This version of baresip shakes hands once a call, and answers with neither part of another
/// handshake (RFC 5763 §5 wants one): there cannot be sound any more.
#[test]
fn a_phone_that_cannot_shake_hands_again_is_hung_up_after_a_kill() {
    play("secure-deaf", |scene| {
        let mut stage = Stage::set(scene)?;
        let mut ada = stage.phone(scene, "101", 440, Encrypts::Never)?;
        let setup = baresip::Setup::new(&stage.alpha, "102", stage.server.at.tls(), 700);
        let encrypts = Encrypts::ByHandshake;
        let setup = baresip::Setup { over: Over::Tls, encrypts, expires: 60, ..setup };
        let mut bob = Phone::registered(scene, &setup)?;
        bob.dial("101")?;
        baresip::talking(&mut bob, &mut ada)?;

        stage.server.cut_off()?;
        stage.server.run()?;
        bob.wait_for_silence(Duration::from_secs(1))?;
        // It comes back when it has to register again.
        wait::until("its refusal", MINUTE + SOON, || {
            Ok((bob.messages_with("BYE sip:102") > 0).then_some(()))
        })?;
        bob.wait_for("CALL_CLOSED")?;
        ada.wait_for("CALL_CLOSED").map(drop)
    });
}

#[test]
fn another_make_that_insists_on_encryption_talks_to_both_kinds() {
    if !pjsua::is_there() {
        return;
    }
    play("secure-makes", |scene| {
        let stage = Stage::set(scene)?;
        let mut pjsua = stage.pjsua(scene, Encrypts::ByKeys)?;
        for (number, encrypts) in [("101", Encrypts::Never), ("102", Encrypts::ByHandshake)] {
            let mut phone = stage.phone(scene, number, 440, encrypts)?;
            if encrypts == Encrypts::ByHandshake {
                phone.dial("103")?;
                phone.wait_for("CALL_ESTABLISHED")?;
                phone.hang_up()?;
                phone.wait_for("CALL_CLOSED")?;
                pjsua.wait_for("call DISCONNECTED")?;
            }
            pjsua.dial(number)?;
            phone.wait_for("CALL_ESTABLISHED")?;
            pjsua.wait_for("call CONFIRMED")?;
            pjsua.wait_for_tone(440.0)?;
            phone.wait_for_sound(75)?;
            pjsua.hang_up()?;
            phone.wait_for("CALL_CLOSED")?;
            phone.check_heard(1_000.0)?;
        }
        Ok(())
    });
}

#[test]
fn who_sends_to_a_live_port_without_the_key_is_not_heard_and_moves_nothing() {
    play("secure-thief", |scene| {
        let stage = Stage::set(scene)?;
        let mut ada = stage.phone(scene, "101", 440, Encrypts::ByKeys)?;
        let mut bob = stage.phone(scene, "102", 700, Encrypts::ByHandshake)?;
        baresip::briefly(&mut bob, "101", &mut ada)?;
        baresip::call(&mut ada, "102", &mut bob)?;
        // At every port that there is, for longer than a latch needs, from an address of his own
        // and from the phones'.
        let thieves = ["127.0.0.66:0", "127.0.0.1:0"].map(UdpSocket::bind);
        for n in 0..60_u16 {
            for thief in thieves.iter().flatten() {
                for port in stage.server.at.sound_ports().step_by(2) {
                    let _ = thief.send_to(&loud(n), SocketAddr::from(([127, 0, 0, 1], port)));
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        ada.wait_for_sound(100)?;
        bob.wait_for_sound(100)?;
        baresip::part(&mut bob, &mut ada)?;
        ada.check_heard(700.0)?;
        bob.check_heard(440.0)?;
        let forged = stage.server.metric(FORGED)?;
        assert!(forged >= 200.0, "only {forged} were seen");
        Ok(())
    });
}

/// A packet of G.711 as loud as can be.
fn loud(n: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(n.to_be_bytes());
    packet.extend((u32::from(n) * 160).to_be_bytes());
    packet.extend([7, 7, 7, 7]);
    packet.extend([[0x80; 20], [0x00; 20]].concat().repeat(4));
    packet
}
