//! A real softphone, Linphone's console program, run without a face or a sound card: it registers,
//! dials, answers by itself, plays a tone from a file and records what it hears into another.
//!
//! It is driven by lines on its standard input. Its peculiarities (version 5.1) are noted where they
//! matter.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::baresip::{Over, here};
use crate::company::Company;
use crate::failure::{Failure, Outcome};
use crate::program::Program;
use crate::scene::Scene;
use crate::tone::{self, Heard};
use crate::wait::{self, SOON};
use crate::wav::Sound;

/// Such a piece of what it hears is looked at.
const PIECE_S: f64 = 0.5;
/// It writes down a quarter of a second at a time.
const WRITES_WITHIN: Duration = Duration::from_millis(750);
/// How long the file that it plays is; it plays it again and again.
const TONE_S: usize = 30;
const RATE: u32 = 8_000;
/// Bytes before the samples in what it records.
const HEADER: usize = 44;
/// It looks for what to do next about that often, so asking it more often makes it no quicker.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// What a phone is told at its start.
#[derive(Debug, Clone)]
pub struct Setup<'a> {
    /// The user's company.
    pub company: &'a Company,
    /// The user's number.
    pub number: &'a str,
    /// The outbound proxy.
    pub proxy: SocketAddr,
    /// What it speaks to it.
    pub over: Over,
    /// The tone it plays to whoever it talks to, in Hz.
    pub tone: u32,
    /// Whose certificates it believes, and no others: a PEM file. (It compares no address with the
    /// certificate's, so it is told not to compare names.)
    pub authority: PathBuf,
}

/// A running phone. Dropping it kills it, so that it does not de-register.
#[derive(Debug)]
pub struct Linphone {
    name: String,
    folder: PathBuf,
    program: Program,
    domain: String,
    /// So much of what it printed has been looked at.
    read: usize,
}

impl Linphone {
    /// Starts a phone; it registers by itself, and answers by itself.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(scene: &mut Scene, setup: &Setup<'_>) -> Outcome<Self> {
        let (sip, _) = scene.ports.many(2)?;
        let (sound, _) = scene.ports.many(2)?;
        let name = format!("linphone-{}-{}-{sip}", setup.number, setup.company.domain);
        let folder = scene.folder.path().join(&name);
        // Without this folder it ends at once.
        fs::create_dir_all(folder.join(".local/share/linphone"))?;
        let playing = folder.join("tone.wav");
        tone::sine(RATE, f64::from(setup.tone), RATE as usize * TONE_S).write(&playing)?;
        fs::write(folder.join("rc"), config(setup, sip, sound))?;
        let mut command = Command::new("linphonec");
        command.arg("-c").arg(folder.join("rc")).args(["-a", "-d", "6", "-l"]);
        command.arg(folder.join("sip.log")).current_dir(&folder).env("HOME", &folder);
        // It asks a sound server for a card, and would start one.
        command.env("PULSE_SERVER", "none").env("XDG_RUNTIME_DIR", &folder);
        let mut program = Program::start_obeying(&mut command, &folder.join("phone.log"))?;
        program.tell("soundcard use files")?;
        program.tell(&format!("play {}", playing.display()))?;
        program.tell(&format!("record {}", folder.join("heard.wav").display()))?;
        let domain = setup.company.domain.to_owned();
        Ok(Self { name, folder, program, domain, read: 0 })
    }

    /// Starts a phone and waits until it is registered.
    ///
    /// # Errors
    /// If it is not registered in time.
    pub fn registered(scene: &mut Scene, setup: &Setup<'_>) -> Outcome<Self> {
        let mut phone = Self::start(scene, setup)?;
        let what = format!("registration of {}", phone.name);
        let mut asked_at = None::<Instant>;
        wait::until(&what, SOON, || {
            if asked_at.is_none_or(|asked_at| asked_at.elapsed() >= ASK_AGAIN_AFTER) {
                phone.program.tell("status register")?;
                asked_at = Some(Instant::now());
            }
            Ok(phone.program.printed().contains("registered, identity=").then_some(()))
        })?;
        Ok(phone)
    }

    /// Dials a number.
    ///
    /// # Errors
    /// If the phone has ended.
    pub fn dial(&mut self, number: &str) -> Outcome {
        let domain = self.domain.clone();
        self.program.tell(&format!("call sip:{number}@{domain}"))
    }

    /// Hangs up.
    ///
    /// # Errors
    /// If the phone has ended.
    pub fn hang_up(&mut self) -> Outcome {
        self.program.tell("terminate")
    }

    /// Puts the other side on hold, and waits until it is.
    ///
    /// # Errors
    /// If it is not in time.
    pub fn hold(&mut self) -> Outcome {
        self.program.tell("pause")?;
        self.wait_for("is now paused")
    }

    /// Takes the other side back, and waits until it is there.
    ///
    /// # Errors
    /// If it is not in time.
    pub fn resume(&mut self) -> Outcome {
        self.program.tell("resume")?;
        self.wait_for("Media streams established")
    }

    /// Waits until it prints something; each is given once, and what was before is forgotten.
    ///
    /// # Errors
    /// If it does not in time.
    pub fn wait_for(&mut self, what: &str) -> Outcome {
        let named = format!("{what:?} at {}", self.name);
        wait::until(&named, SOON, || {
            let printed = self.program.printed();
            let found = printed.get(self.read..).and_then(|new| new.find(what));
            let running = self.program.is_running()?;
            match found {
                Some(at) => {
                    self.read += at + what.len();
                    Ok(Some(()))
                }
                None if running => Ok(None),
                None => Err(Failure::new(format!("{} ended", self.name))),
            }
        })
        .map_err(|failure| {
            Failure::new(format!("{failure}; it printed:\n{}", self.program.printed()))
        })
    }

    /// Waits until it hears this tone, and nothing else, for half a second on end.
    ///
    /// # Errors
    /// If it does not in time.
    pub fn wait_for_tone(&mut self, hz: f64) -> Outcome {
        let before = self.heard().map_or(0.0, |sound| sound.seconds());
        wait::until(&format!("a tone of {hz} Hz at {}", self.name), SOON, || {
            let Some(sound) = self.heard() else { return Ok(None) };
            let sound = sound.after(before);
            let piece = sound.after(sound.seconds() - PIECE_S);
            let is_tone = tone::windows(&piece, hz).all(|heard| heard == Heard::Tone);
            Ok((piece.seconds() >= PIECE_S && is_tone).then_some(()))
        })
    }

    /// Waits until nothing, or nothing but silence, has been heard for half a second on end.
    ///
    /// # Errors
    /// If it does not in time.
    pub fn wait_for_silence(&mut self) -> Outcome {
        let mut last = (0.0, Instant::now());
        wait::until(&format!("silence at {}", self.name), SOON, || {
            let Some(sound) = self.heard() else { return Ok(None) };
            if sound.seconds() > last.0 {
                last = (sound.seconds(), Instant::now());
            }
            let piece = sound.after(sound.seconds() - PIECE_S);
            let silent = tone::windows(&piece, 440.0).all(|heard| heard == Heard::Silence);
            Ok((silent || last.1.elapsed() >= WRITES_WITHIN).then_some(()))
        })
    }

    /// All that it has heard, in all of its calls. It writes what the header says only when a call
    /// ends, and changes it no more when the next is added.
    fn heard(&self) -> Option<Sound> {
        let bytes = fs::read(self.folder.join("heard.wav")).ok()?;
        let pairs = bytes.get(HEADER..)?.chunks_exact(2);
        let samples = pairs.map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
        Some(Sound { rate: RATE, samples })
    }
}

fn config(setup: &Setup<'_>, sip: u16, sound: u16) -> String {
    let Setup { company, number, proxy, over, authority, .. } = setup;
    let (ip, over, domain) = (here(*proxy), over.name(), company.domain);
    let password = company.password(number);
    let contact = SocketAddr::new(ip, sip);
    let v6 = u8::from(proxy.is_ipv6());
    format!(
        "[sip]\ndefault_proxy=0\nsip_port={sip}\nsip_tcp_port={sip}\nsip_tls_port={tls}\n\
         bind_address={ip}\nuse_ipv6={v6}\nguess_hostname=0\ninc_timeout=60\n\
         media_encryption=none\ncontact=<sip:{number}@{contact}>\n\
         auto_net_state_mon=0\nregister_only_when_network_is_up=0\n\
         verify_server_certs=1\nverify_server_cn=0\nroot_ca={authority}\n\
         [rtp]\naudio_rtp_port={sound}\n\
         [auth_info_0]\nusername={number}\npasswd={password}\nrealm={domain}\ndomain={domain}\n\
         [proxy_0]\nreg_proxy=<sip:{proxy};transport={over}>\n\
         reg_route=<sip:{proxy};transport={over};lr>\nreg_identity=sip:{number}@{domain}\n\
         reg_expires=600\nreg_sendregister=1\npublish=0\n\
         [video]\nenabled=0\n[sound]\nechocancellation=0\n\
         [audio_codec_0]\nmime=PCMU\nrate=8000\nchannels=1\nenabled=1\n",
        tls = sip + 1,
        authority = Path::new(authority).display(),
    )
}
