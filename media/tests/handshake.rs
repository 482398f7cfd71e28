//! Handshakes with somebody else's program: `openssl s_client` and `s_server`, with RSA and ECDSA.
//!
//! What it prints of the keys must open what we seal, and seal what we open; that is done by another
//! implementation of SRTP.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use media::{Config, Media};
use pbx::id::CallId;
use pbx::media::{
    Codec, CodecKind, DtlsRole, Event, Protection, Reception, Reports, Side, Terms, Wish,
};
use rtc_srtp::context::Context;
use rtc_srtp::crypto::providers::RingCrypto;
use rtc_srtp::protection_profile::ProtectionProfile;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const COMES_WITHIN: Duration = Duration::from_secs(10);

/// What a run is about.
struct Case {
    ports: std::ops::RangeInclusive<u16>,
    role: DtlsRole,
    key: &'static [&'static str],
    profile: (&'static str, ProtectionProfile, usize),
}

const RSA: &[&str] = &["-newkey", "rsa:2048"];
const ECDSA: &[&str] = &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
const SHA1_80: (&str, ProtectionProfile, usize) =
    ("SRTP_AES128_CM_SHA1_80", ProtectionProfile::Aes128CmHmacSha1_80, 14);
const SHA1_32: (&str, ProtectionProfile, usize) =
    ("SRTP_AES128_CM_SHA1_32", ProtectionProfile::Aes128CmHmacSha1_32, 14);
const GCM: (&str, ProtectionProfile, usize) =
    ("SRTP_AEAD_AES_128_GCM", ProtectionProfile::AeadAes128Gcm, 12);

#[test]
fn a_client_with_rsa_is_heard_after_its_handshake() {
    run(Case { ports: 24_000..=24_099, role: DtlsRole::Server, key: RSA, profile: SHA1_80 });
}

#[test]
fn a_client_with_ecdsa_is_heard_after_its_handshake() {
    run(Case { ports: 24_100..=24_199, role: DtlsRole::Server, key: ECDSA, profile: GCM });
}

#[test]
fn a_server_with_rsa_is_heard_after_our_handshake() {
    run(Case { ports: 24_200..=24_299, role: DtlsRole::Client, key: RSA, profile: GCM });
}

#[test]
fn a_server_with_ecdsa_is_heard_after_our_handshake() {
    run(Case { ports: 24_300..=24_399, role: DtlsRole::Client, key: ECDSA, profile: SHA1_32 });
}

fn run(case: Case) {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("SKIPPED: there is no openssl to shake hands with");
        return;
    }
    let folder = Folder::new(*case.ports.start());
    let fingerprint = folder.make_certificate(case.key);
    let (told, events) = channel();
    let config = Config { ports: case.ports, threads: 1, ..Config::default() };
    let media = Media::start(&config, move |event| drop(told.send(event))).unwrap();
    let [phone, bob] = [0, 1].map(|leg| open(&media, &events, leg));
    let listener = UdpSocket::bind((HERE, 0)).unwrap();
    listener.set_read_timeout(Some(COMES_WITHIN)).unwrap();
    aim(&media, 1, listener.local_addr().unwrap());

    let theirs = unused();
    let protection = Protection::Dtls { role: case.role, fingerprint, ice: None };
    // A server has to be there before it is asked; a client asks again.
    let program = match case.role {
        DtlsRole::Client => Program::serve(&folder, theirs, case.profile),
        DtlsRole::Server => {
            agree(&media, protection.clone());
            aim(&media, 0, theirs);
            Program::connect(&folder, theirs, phone, case.profile)
        }
    };
    if case.role == DtlsRole::Client {
        program.wait_for("ACCEPT");
        agree(&media, protection);
        aim(&media, 0, theirs);
    }
    media.wish(Wish::Join { a: side(0), b: side(1) });
    let material = program.keying_material();
    let (_, profile, salt) = case.profile;
    assert_eq!(material.len(), 2 * (16 + salt));

    // The program's own port is busy, so its phone speaks from one beside it.
    let (keys, salts) = material.split_at(32);
    let context = |at: usize| {
        let salt = &salts[at * salt..][..salt];
        Context::new(&keys[at * 16..][..16], salt, profile, None, None, &RingCrypto).unwrap()
    };
    let (client, server) = (context(0), context(1));
    let (mut ours, mut sealing) = match case.role {
        DtlsRole::Client => (client, server),
        DtlsRole::Server => (server, client),
    };
    let mouth = UdpSocket::bind((HERE, 0)).unwrap();
    mouth.set_read_timeout(Some(COMES_WITHIN)).unwrap();
    let mut room = [0; 2_048];
    for n in 0..10 {
        let plain = packet(1, n);
        mouth.send_to(&sealing.encrypt_rtp(&plain).unwrap(), phone).unwrap();
        let (len, _) = listener.recv_from(&mut room).unwrap();
        assert_eq!(room[..len], plain[..]);
    }
    // It has been heard from there, so it is spoken to there.
    let plain = packet(2, 7);
    listener.send_to(&plain, bob).unwrap();
    let (len, _) = mouth.recv_from(&mut room).unwrap();
    assert_ne!(room[..len], plain[..]);
    assert_eq!(ours.decrypt_rtp(&room[..len]).unwrap()[..], plain[..]);
    assert_eq!(media.counters().secrecy.handshakes, 1);
}

fn side(leg: u16) -> Side {
    Side { call: CallId(Default::default()), leg }
}

fn open(media: &Media, events: &Receiver<Event>, leg: u16) -> SocketAddr {
    media.wish(Wish::Open { side: side(leg), local: HERE, port: None });
    match events.recv_timeout(COMES_WITHIN).unwrap() {
        Event::Opened { port, .. } => SocketAddr::new(HERE, port),
        other => panic!("not opened but {other:?}"),
    }
}

fn aim(media: &Media, leg: u16, at: SocketAddr) {
    media.wish(Wish::Aim { side: side(leg), rtp: Some(at), rtcp: None, near: None });
}

fn agree(media: &Media, protection: Protection) {
    let codec = Codec { kind: CodecKind::Pcmu, to_peer: 0, from_peer: 0 };
    let terms = Box::new(Terms {
        codecs: vec![codec],
        events: None,
        events_clock: 8_000,
        comfort_noise: None,
        ptime: 20,
        reception: Reception::Wanted,
        protection,
        reports: Reports::Within,
    });
    media.wish(Wish::Agree { side: side(0), terms });
}

fn packet(ssrc: u32, n: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(n.to_be_bytes());
    packet.extend((u32::from(n) * 160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend([0xd5; 160]);
    packet
}

/// An address that nobody has, for a program that takes it at once.
fn unused() -> SocketAddr {
    UdpSocket::bind((HERE, 0)).unwrap().local_addr().unwrap()
}

/// A certificate and its key, gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(number: u16) -> Self {
        let name = format!("tenantd-handshake-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// SHA-256 of what was made.
    fn make_certificate(&self, key: &[&str]) -> [u8; 32] {
        let made = Command::new("openssl")
            .args(["req", "-x509", "-nodes", "-days", "1", "-subj", "/CN=phone"])
            .args(key)
            .args([Path::new("-keyout"), &self.file("key"), Path::new("-out")])
            .arg(self.file("certificate"))
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let der = Command::new("openssl")
            .args(["x509", "-outform", "DER", "-in"])
            .arg(self.file("certificate"))
            .output()
            .unwrap();
        ring::digest::digest(&ring::digest::SHA256, &der.stdout).as_ref().try_into().unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// OpenSSL's program, and what it says.
struct Program {
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    fn connect(
        folder: &Folder,
        from: SocketAddr,
        to: SocketAddr,
        profile: (&str, ProtectionProfile, usize),
    ) -> Self {
        let args = ["s_client", "-connect", &to.to_string(), "-bind", &from.to_string()];
        Self::start(folder, &args, profile)
    }

    fn serve(folder: &Folder, at: SocketAddr, profile: (&str, ProtectionProfile, usize)) -> Self {
        let args = ["s_server", "-accept", &at.to_string(), "-Verify", "1"];
        Self::start(folder, &args, profile)
    }

    fn start(
        folder: &Folder,
        args: &[&str],
        (profile, _, salt): (&str, ProtectionProfile, usize),
    ) -> Self {
        let mut child = Command::new("openssl")
            .args(args)
            .args(["-dtls1_2", "-use_srtp", profile, "-keymatexport", "EXTRACTOR-dtls_srtp"])
            .args(["-keymatexportlen", &(2 * (16 + salt)).to_string()])
            .args([Path::new("-cert"), &folder.file("certificate")])
            .args([Path::new("-key"), &folder.file("key")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let (told, lines) = channel();
        std::thread::spawn(move || {
            said.lines().map_while(Result::ok).try_for_each(|line| told.send(line))
        });
        Self { child, lines }
    }

    /// A line with these words.
    fn wait_for(&self, words: &str) -> String {
        let mut said = vec![];
        while let Ok(line) = self.lines.recv_timeout(COMES_WITHIN) {
            if line.contains(words) {
                return line;
            }
            said.push(line);
        }
        panic!("it never says {words}, but\n{}", said.join("\n"));
    }

    fn keying_material(&self) -> Vec<u8> {
        let line = self.wait_for("Keying material:");
        let digits = line.split(':').nth(1).unwrap().trim();
        let nibbles: Vec<u8> =
            digits.chars().map(|digit| digit.to_digit(16).unwrap() as u8).collect();
        nibbles.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
