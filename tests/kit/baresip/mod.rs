//! A real softphone, baresip, run without a face: it registers, dials, answers, plays a tone and
//! records what it hears.
//!
//! It is driven through its `ctrl_tcp` module: JSON in netstrings. Its peculiarities (version 1.0)
//! are noted where they matter.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::failure::{Failure, Outcome};
use crate::program::Program;
use crate::scene::Scene;
use crate::tone;
use crate::wait::{self, SOON};
use crate::wav::Sound;

mod pair;
mod setup;

pub use pair::{briefly, call, converse, part, talking};
pub(crate) use setup::here;
pub use setup::{Answer, Encrypts, Over, Setup, has, lacks};

use setup::{account, config};

const READ_FOR: Duration = Duration::from_millis(20);

/// How many RTP packets passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packets {
    /// To the peer.
    pub sent: u64,
    /// From the peer.
    pub received: u64,
}

/// A running phone. Dropping it kills it, so that it does not de-register.
#[derive(Debug)]
pub struct Phone {
    /// Where it is reached without any server.
    pub at: SocketAddr,
    name: String,
    /// What it says.
    tone: u32,
    folder: PathBuf,
    program: Program,
    control: TcpStream,
    unread: Vec<u8>,
    events: Vec<Value>,
    tokens: u32,
}

impl Phone {
    /// Starts a phone; it registers by itself.
    ///
    /// # Errors
    /// If it is not installed or cannot be controlled.
    pub fn start(scene: &mut Scene, setup: &Setup<'_>) -> Outcome<Self> {
        let name = format!("{}-{}", setup.number, setup.company.domain);
        let mut folder = scene.folder.path().join(format!("phone-{name}"));
        while folder.exists() {
            folder.set_extension(format!("{}", scene.ports.one()?));
        }
        fs::create_dir_all(folder.join("heard"))?;
        // It takes the next port for TLS, whether or not that is used.
        let (sip, _) = scene.ports.many(2)?;
        let control = scene.ports.one()?;
        let (first_rtp, last_rtp) = scene.ports.many(10)?;
        fs::write(folder.join("accounts"), account(setup))?;
        fs::write(folder.join("contacts"), "\"Nobody\" <sip:nobody@invalid.test>\n")?;
        let at = SocketAddr::from((setup.ip, sip));
        let config = config(&folder, setup.tone, at, control, (first_rtp, last_rtp));
        fs::write(folder.join("config"), config)?;
        let mut command = Command::new("baresip");
        command.arg("-f").arg(&folder).arg("-s").current_dir(&folder);
        let mut program = Program::start(&mut command, &folder.join("phone.log"))?;
        let control = wait::until(&format!("the control port of {name}"), SOON, || {
            if !program.is_running()? {
                return Err(Failure::new(format!("{name} ended: {}", program.printed())));
            }
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, control)).ok())
        })?;
        control.set_read_timeout(Some(READ_FOR))?;
        let (unread, events) = (vec![], vec![]);
        let tone = setup.tone;
        Ok(Self { at, name, tone, folder, program, control, unread, events, tokens: 0 })
    }

    /// Starts a phone and waits until it is registered.
    ///
    /// # Errors
    /// If it is not registered in time.
    pub fn registered(scene: &mut Scene, setup: &Setup<'_>) -> Outcome<Self> {
        let mut phone = Self::start(scene, setup)?;
        phone.wait_until_registered()?;
        Ok(phone)
    }

    /// Waits until the server has accepted its registration.
    ///
    /// # Errors
    /// If it has not in time.
    pub fn wait_until_registered(&mut self) -> Outcome {
        let what = format!("registration of {}", self.name);
        wait::until(&what, SOON, || {
            // It may have registered before we could listen to its events.
            let state = self.command("reginfo", "")?;
            Ok(state.contains("OK").then_some(()))
        })
    }

    /// Dials a number, or a whole address.
    ///
    /// # Errors
    /// If the phone does not do it.
    pub fn dial(&mut self, number: &str) -> Outcome {
        self.command("dial", number).map(drop)
    }

    /// Answers.
    ///
    /// # Errors
    /// If the phone does not do it.
    pub fn answer(&mut self) -> Outcome {
        self.command("accept", "").map(drop)
    }

    /// Hangs up, or declines.
    ///
    /// # Errors
    /// If the phone does not do it.
    pub fn hang_up(&mut self) -> Outcome {
        self.command("hangup", "").map(drop)
    }

    /// Puts the other side on hold.
    ///
    /// # Errors
    /// If the phone does not do it.
    pub fn hold(&mut self) -> Outcome {
        self.command("hold", "").map(drop)
    }

    /// Takes the other side back.
    ///
    /// # Errors
    /// If the phone does not do it.
    pub fn resume(&mut self) -> Outcome {
        self.command("resume", "").map(drop)
    }

    /// Presses a key during a call (RFC 4733).
    ///
    /// # Errors
    /// If the phone does not do it.
    pub fn press(&mut self, key: &str) -> Outcome {
        self.command("sndcode", key).map(drop)
    }

    /// Waits for an event, such as `CALL_INCOMING`; each is given once. Returns what it says.
    ///
    /// # Errors
    /// If it does not come in time.
    pub fn wait_for(&mut self, kind: &str) -> Outcome<String> {
        let what = format!("{kind} at {}", self.name);
        let found = wait::until(&what, SOON, || {
            self.read()?;
            let position = self.events.iter().position(|event| event["type"] == kind);
            Ok(position.map(|position| self.events.remove(position)))
        });
        let event = found.map_err(|failure| {
            let kinds: Vec<&Value> = self.events.iter().map(|event| &event["type"]).collect();
            Failure::new(format!("{failure}; it saw {kinds:?}"))
        })?;
        Ok(event["param"].as_str().unwrap_or_default().to_owned())
    }

    /// How many packets of sound passed in the present call.
    ///
    /// # Errors
    /// If the phone does not tell.
    pub fn packets(&mut self) -> Outcome<Packets> {
        let text = self.command("audio_debug", "")?;
        let number = |before: &str| -> Option<u64> {
            let digits = text.split(before).nth(1)?;
            digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        };
        let sent = number("TX: packets=");
        // Until the first report comes the peer is not known to it.
        let received = number("rcvd=").unwrap_or(0);
        match sent {
            Some(sent) => Ok(Packets { sent, received }),
            None => Err(Failure::new(format!("{} is in no call: {text}", self.name))),
        }
    }

    /// Waits until it has received at least so many packets more.
    ///
    /// # Errors
    /// If they do not come in time.
    pub fn wait_for_sound(&mut self, packets: u64) -> Outcome {
        let before = self.packets()?.received;
        let what = format!("{packets} packets of sound at {}", self.name);
        wait::until(&what, SOON, || {
            let received = self.packets()?.received;
            Ok((received >= before + packets).then_some(()))
        })
    }

    /// Watches that no more sound comes, once what was under way has arrived.
    ///
    /// # Errors
    /// If it does not stop, or begins again.
    pub fn wait_for_silence(&mut self, of: Duration) -> Outcome {
        let what = format!("silence at {}", self.name);
        let mut last = (self.packets()?.received, Instant::now());
        wait::until(&what, SOON, || {
            let received = self.packets()?.received;
            if received != last.0 {
                last = (received, Instant::now());
            }
            Ok((last.1.elapsed() >= of).then_some(()))
        })
    }

    /// What it heard, one recording a call, oldest first. A recording is whole only after its call,
    /// and this version records nothing after the first change of a session (hold, resume).
    ///
    /// # Errors
    /// If a recording cannot be read.
    pub fn recordings(&self) -> Outcome<Vec<Sound>> {
        self.recorded("-dec.wav")
    }

    /// What it said, as it was given to its codec: one recording a call, as with those of what it
    /// heard. It may differ from the tone that it was told: this version's filters are rough.
    ///
    /// # Errors
    /// If a recording cannot be read.
    pub fn said(&self) -> Outcome<Vec<Sound>> {
        self.recorded("-enc.wav")
    }

    fn recorded(&self, end: &str) -> Outcome<Vec<Sound>> {
        let mut paths: Vec<PathBuf> = fs::read_dir(self.folder.join("heard"))?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.to_string_lossy().ends_with(end))
            .collect();
        paths.sort();
        paths.iter().map(|path| Sound::read(path)).collect()
    }

    /// Checks that in its last call it heard this tone for a second or more, and hardly anything
    /// else.
    ///
    /// # Errors
    /// With what it heard.
    pub fn check_heard(&self, hz: f64) -> Outcome {
        let recordings = self.recordings()?;
        let last = recordings
            .last()
            .ok_or_else(|| Failure::new(format!("{} recorded nothing", self.name)))?;
        let (of_it, of_others) = (tone::seconds_of(last, hz), tone::seconds_of_others(last, hz));
        match of_it >= 1.0 && of_others <= 0.3 {
            true => Ok(()),
            false => Err(Failure::new(format!(
                "{} heard {hz} Hz for {of_it:.2} s and something else for {of_others:.2} s",
                self.name
            ))),
        }
    }

    /// All SIP messages it sent and received whose text holds `text`.
    pub fn messages_with(&self, text: &str) -> usize {
        self.program.printed().matches(text).count()
    }

    /// What shows that somebody called it or talked to it, if anything does.
    ///
    /// # Errors
    /// If it does not run any more.
    pub fn disturbance(&mut self) -> Outcome<Option<String>> {
        self.read()?;
        let calls = self.events.iter().filter_map(|event| event["type"].as_str());
        let seen: Vec<&str> = calls.filter(|kind| kind.starts_with("CALL_")).collect();
        let invites = self.messages_with("INVITE sip:");
        Ok((!seen.is_empty() || invites > 0)
            .then(|| format!("{} saw {invites} INVITEs and {seen:?}", self.name)))
    }

    /// De-registers and ends.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn quit(mut self) -> Outcome {
        // It may be gone before it has answered.
        let _ = self.send("quit", "");
        self.program.wait(SOON).map(drop)
    }

    fn command(&mut self, command: &str, parameter: &str) -> Outcome<String> {
        let token = self.send(command, parameter)?;
        let what = format!("answer of {} to {command}", self.name);
        let answer = wait::until(&what, SOON, || {
            self.read()?;
            let is_it = |event: &Value| event["response"] == true && event["token"] == *token;
            let position = self.events.iter().position(is_it);
            Ok(position.map(|position| self.events.remove(position)))
        })?;
        Ok(answer["data"].as_str().unwrap_or_default().to_owned())
    }

    fn send(&mut self, command: &str, parameter: &str) -> Outcome<String> {
        self.tokens += 1;
        let token = self.tokens.to_string();
        let text = match parameter {
            "" => serde_json::json!({ "command": command, "token": token }),
            _ => serde_json::json!({ "command": command, "params": parameter, "token": token }),
        }
        .to_string();
        self.control.write_all(format!("{}:{text},", text.len()).as_bytes())?;
        Ok(token)
    }

    /// Takes in what has come, without waiting for more than a moment.
    fn read(&mut self) -> Outcome {
        let mut bytes = [0; 16 * 1024];
        match self.control.read(&mut bytes) {
            Ok(0) => return Err(Failure::new(format!("{} ended", self.name))),
            Ok(count) => self.unread.extend(bytes.iter().take(count)),
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {}
            Err(error) => return Err(error.into()),
        }
        while let Some((event, length)) = netstring(&self.unread) {
            self.events.extend(event);
            self.unread.drain(..length);
        }
        Ok(())
    }
}

/// The first whole netstring and its length; no event if its text is not JSON.
fn netstring(bytes: &[u8]) -> Option<(Option<Value>, usize)> {
    let colon = bytes.iter().position(|byte| *byte == b':')?;
    let length: usize = std::str::from_utf8(bytes.get(..colon)?).ok()?.parse().ok()?;
    let text = bytes.get(colon + 1..colon + 1 + length)?;
    bytes.get(colon + 1 + length)?;
    Some((serde_json::from_slice(text).ok(), colon + 2 + length))
}

#[cfg(test)]
mod tests {
    use super::netstring;

    #[test]
    fn a_netstring_is_taken_only_when_all_of_it_is_there() {
        assert_eq!(netstring(b"7:{\"a\":1"), None);
        assert_eq!(netstring(b"7:{\"a\":1}"), None);
        let (event, length) = netstring(b"7:{\"a\":1},9:").unwrap();
        assert_eq!((event.unwrap()["a"].as_u64(), length), (Some(1), 10));
        assert_eq!(netstring(b"3:{x},"), Some((None, 6)));
    }
}
