//! A real softphone, PJSIP with its Python binding, run without a face by `pjsua.py` beside this
//! file.
//!
//! The package comes from PyPI (`infra/pjsua2`). Where it could not be had, [`missing`] says why.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::baresip::{Encrypts, Over};
use crate::company::Company;
use crate::failure::{Failure, Outcome};
use crate::program::Program;
use crate::scene::Scene;
use crate::tone::{self, Heard};
use crate::wait::{self, SOON};
use crate::wav::Sound;

/// What `infra/pjsua2` fetches.
const PACKAGE: &str = "pjsua2-python==2.15.1.post1";
/// So long is listened at a time.
const LISTENS_FOR: Duration = Duration::from_millis(700);
/// The sound that was under way, and the buffer against jitter, which fills anew.
const SETTLES_FOR: f64 = 0.15;

/// What a phone is told at its start.
#[derive(Debug, Clone)]
pub struct Setup<'a> {
    /// The user's company.
    pub company: &'a Company,
    /// The user's number.
    pub number: &'a str,
    /// The outbound proxy, on IPv4: the package was built without IPv6.
    pub proxy: SocketAddr,
    /// What it speaks to it.
    pub over: Over,
    /// The tone it plays to whoever it talks to, in Hz.
    pub tone: u32,
    /// Whose certificates it believes, and no others: a PEM file.
    pub authority: PathBuf,
    /// What it insists on.
    pub insists: Insists,
    /// Whether it encrypts its sound, with keys in its session descriptions.
    pub encrypts: Encrypts,
    /// The codecs it has, best first, as the library names them (`G722/16000`).
    pub codecs: &'a [&'a str],
}

/// What every phone has.
pub const G711: &[&str] = &["PCMU/8000", "PCMA/8000"];

/// What a phone insists on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Insists {
    /// Nothing.
    OnNothing,
    /// Reliable ringing (RFC 3262) and session timers (RFC 4028).
    OnExtensions,
}

/// A running phone. Dropping it kills it, so that it does not de-register.
#[derive(Debug)]
pub struct Pjsua {
    name: String,
    folder: PathBuf,
    program: Program,
    domain: String,
    /// So many of its lines have been looked at.
    read: usize,
    heard: usize,
}

/// Whether it is there; says so where it is not.
///
/// # Panics
/// If `infra/test` has not tried to get it.
pub fn is_there() -> bool {
    let missing = missing().expect("infra/test has tried to get pjsua2");
    if let Some(why) = &missing {
        eprintln!("SKIPPED: no pjsua2: {why}");
    }
    missing.is_none()
}

/// Why there is no such phone on this machine, if there is none.
///
/// # Errors
/// If nobody has tried to get it.
pub fn missing() -> Outcome<Option<String>> {
    let folder = package()?;
    if let Ok(why) = std::fs::read_to_string(folder.join("missing")) {
        return Ok(Some(why.trim().to_owned()));
    }
    match folder.join("python").exists() {
        true => Ok(None),
        false => Err(Failure::new("pjsua2 is not there: ./infra/test gets it")),
    }
}

/// Where `infra/pjsua2` puts it: beside what cargo builds.
fn package() -> Outcome<PathBuf> {
    let test = std::env::current_exe()?;
    let target = test.ancestors().nth(3);
    let target = target.ok_or_else(|| Failure::new("a test lies in no target folder"))?;
    Ok(target.join("pjsua2"))
}

impl Pjsua {
    /// Starts a phone; it registers by itself, and answers by itself.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(scene: &mut Scene, setup: &Setup<'_>) -> Outcome<Self> {
        let Setup { company, number, proxy, over, tone, authority, .. } = setup;
        let (sip, (sound, _)) = (scene.ports.one()?, scene.ports.many(10)?);
        let name = format!("pjsua-{number}-{}-{sip}", company.domain);
        let folder = scene.folder.path().join(&name);
        std::fs::create_dir_all(&folder)?;
        let ip: IpAddr = crate::baresip::here(*proxy);
        let srtp = match setup.encrypts {
            Encrypts::Never | Encrypts::ByHandshake => "off",
            Encrypts::IfItCan => "optional",
            Encrypts::ByKeys => "mandatory",
        };
        let settings = serde_json::json!({
            "number": number, "domain": company.domain, "password": company.password(number),
            "proxy": proxy.to_string(), "over": over.name(), "ip": ip.to_string(), "port": sip,
            "sound": sound, "tone": tone, "authority": authority.display().to_string(),
            "strict": setup.insists == Insists::OnExtensions, "srtp": srtp, "log": folder.join("sip.log"),
            "codecs": setup.codecs,
        });
        let package = package()?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("kit/pjsua.py");
        let mut command = Command::new(package.join("python"));
        command.arg(script).arg(settings.to_string()).current_dir(&folder);
        command.env("PYTHONPATH", package.join(PACKAGE)).env("PYTHONDONTWRITEBYTECODE", "1");
        let program = Program::start_obeying(&mut command, &folder.join("phone.log"))?;
        let domain = company.domain.to_owned();
        Ok(Self { name, folder, program, domain, read: 0, heard: 0 })
    }

    /// Starts a phone and waits until it is registered.
    ///
    /// # Errors
    /// If it is not registered in time.
    pub fn registered(scene: &mut Scene, setup: &Setup<'_>) -> Outcome<Self> {
        let mut phone = Self::start(scene, setup)?;
        phone.wait_for("registered 200")?;
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
        self.program.tell("hang_up")
    }

    /// Puts the other side on hold, and waits until it is.
    ///
    /// # Errors
    /// If it is not in time.
    pub fn hold(&mut self) -> Outcome {
        self.program.tell("hold")?;
        self.wait_for("sound held_by_us").map(drop)
    }

    /// Takes the other side back, and waits until it is there.
    ///
    /// # Errors
    /// If it is not in time.
    pub fn resume(&mut self) -> Outcome {
        self.program.tell("resume")?;
        self.wait_for("sound both_ways").map(drop)
    }

    /// Waits for a line that begins so; each is given once, and those before it are forgotten.
    ///
    /// # Errors
    /// If it does not come in time.
    pub fn wait_for(&mut self, what: &str) -> Outcome<String> {
        let named = format!("{what:?} at {}", self.name);
        wait::until(&named, SOON, || {
            let printed = self.program.printed();
            let whole = printed.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let mut lines = whole.lines().enumerate().skip(self.read);
            let found = lines.find(|(_, line)| line.starts_with(what));
            let running = self.program.is_running()?;
            match found {
                Some((number, line)) => {
                    self.read = number + 1;
                    Ok(Some(line.to_owned()))
                }
                None if running => Ok(None),
                None => Err(Failure::new(format!("{} ended", self.name))),
            }
        })
        .map_err(|failure| Failure::new(format!("{failure}; it said:\n{}", self.program.printed())))
    }

    /// What it hears from now on, for a moment.
    ///
    /// # Errors
    /// If it writes nothing down.
    pub fn listen(&mut self) -> Outcome<Sound> {
        self.heard += 1;
        let file = self.folder.join(format!("heard-{}.wav", self.heard));
        let seconds = LISTENS_FOR.as_secs_f64();
        self.program.tell(&format!("listen {seconds} {}", file.display()))?;
        self.wait_for(&format!("heard {}", file.display()))?;
        Sound::read(&file)
    }

    /// Waits until it hears this tone, and nothing else, for half a second on end.
    ///
    /// # Errors
    /// If it does not in time, with what it heard last.
    pub fn wait_for_tone(&mut self, hz: f64) -> Outcome {
        let what = format!("a tone of {hz} Hz at {}", self.name);
        wait::until(&what, SOON, || {
            let sound = self.listen()?.after(SETTLES_FOR);
            let is_tone = tone::windows(&sound, hz).all(|heard| heard == Heard::Tone);
            Ok((sound.seconds() >= 0.5 && is_tone).then_some(()))
        })
    }

    /// Waits until it hears nothing for half a second on end.
    ///
    /// # Errors
    /// If it does not in time.
    pub fn wait_for_silence(&mut self) -> Outcome {
        let what = format!("silence at {}", self.name);
        wait::until(&what, SOON, || {
            let sound = self.listen()?.after(SETTLES_FOR);
            let silent = tone::windows(&sound, 440.0).all(|heard| heard == Heard::Silence);
            Ok((sound.seconds() >= 0.5 && silent).then_some(()))
        })
    }

    /// Ends, and returns all SIP messages that it sent and received: its log is whole only then.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn quit(mut self) -> Outcome<String> {
        self.program.tell("quit")?;
        self.program.wait(SOON)?;
        let log = std::fs::read(self.folder.join("sip.log"))?;
        Ok(String::from_utf8_lossy(&log).into_owned())
    }
}
