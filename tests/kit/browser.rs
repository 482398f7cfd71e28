//! A real browser without a window: opens a page, fills it in, reads it, and takes its picture.
//!
//! It is driven by the Chrome DevTools Protocol: JSON texts, each ended by a zero byte, through two
//! named pipes that the browser has as its files 3 and 4.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};

use crate::failure::{Failure, Outcome};
use crate::program::Program;
use crate::scene::Scene;
use crate::wait::{self, SOON};

/// As Debian, Ubuntu and Google call it.
const NAMES: &[&str] = &["chromium", "chromium-browser", "google-chrome"];

const FLAGS: &[&str] = &[
    "--headless=new",
    "--remote-debugging-pipe",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-sync",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    "--lang=en",
    "--no-default-browser-check",
    "--no-first-run",
    // Its sandbox refuses to run as root, which is what a container is.
    "--no-sandbox",
    "--window-size=1280,960",
];

/// A browser with one page. Dropping it ends it.
#[derive(Debug)]
pub struct Browser {
    commands: File,
    answers: Receiver<Value>,
    _program: Program,
    session: Option<String>,
    last: u64,
}

impl Browser {
    /// Starts it with an empty page.
    ///
    /// # Errors
    /// If it is not installed, or does not come up.
    pub fn start(scene: &Scene) -> Outcome<Self> {
        Self::start_with(scene, &[])
    }

    /// The same with more flags.
    ///
    /// # Errors
    /// If it is not installed, or does not come up.
    pub fn start_with(scene: &Scene, flags: &[&str]) -> Outcome<Self> {
        let folder = scene.folder.path().join("browser");
        fs::create_dir_all(folder.join("home"))?;
        let (to_it, from_it) = (folder.join("commands"), folder.join("answers"));
        for pipe in [&to_it, &from_it] {
            mkfifo(pipe, Mode::S_IRUSR | Mode::S_IWUSR)?;
        }
        // The shell gives the pipes their numbers and becomes the browser.
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec \"$@\" 3<\"$COMMANDS\" 4>\"$ANSWERS\"", "sh", installed()?])
            .args(FLAGS)
            .args(flags)
            .arg(format!("--user-data-dir={}", folder.join("profile").display()))
            .arg("about:blank")
            .env("COMMANDS", &to_it)
            .env("ANSWERS", &from_it)
            .env("HOME", folder.join("home"));
        let program = Program::start(&mut command, &folder.join("browser.log"))?;
        let commands = File::options().write(true).open(&to_it)?;
        let answers = listen(File::open(&from_it)?);
        let (session, last) = (None, 0);
        let mut browser = Self { commands, answers, _program: program, session, last };
        let page = browser.ask("Target.createTarget", &json!({ "url": "about:blank" }))?;
        let attach = json!({ "targetId": page["targetId"], "flatten": true });
        let attached = browser.ask("Target.attachToTarget", &attach)?;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        browser.ask("Page.enable", &json!({}))?;
        Ok(browser)
    }

    /// Opens an address and waits until the page is there.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(&mut self, address: &str) -> Outcome {
        let opened = self.ask("Page.navigate", &json!({ "url": address }))?;
        if let Some(reason) = opened["errorText"].as_str() {
            return Err(Failure::new(format!("{address} cannot be opened: {reason}")));
        }
        self.wait_for("document.readyState === 'complete'")
    }

    /// Opens a page of the portal and signs in. What comes then is not waited for.
    ///
    /// # Errors
    /// If it leads to no login page.
    pub fn sign_in(&mut self, page: &str, (email, password): (&str, &str)) -> Outcome {
        self.open(page)?;
        self.wait_for("document.querySelector('[name=password]') !== null")?;
        self.fill("email", email)?;
        self.fill("password", password)?;
        self.click("form[action='/login'] button")
    }

    /// What a script on the page comes to.
    ///
    /// # Errors
    /// If the script fails.
    pub fn evaluate(&mut self, script: &str) -> Outcome<Value> {
        let ask = json!({ "expression": script, "returnByValue": true, "awaitPromise": true });
        let answer = self.ask("Runtime.evaluate", &ask)?;
        match answer["exceptionDetails"].is_null() {
            true => Ok(answer["result"]["value"].clone()),
            false => Err(Failure::new(format!("{script}: {}", answer["exceptionDetails"]))),
        }
    }

    /// Waits until a script comes to `true`. While a page gives way to another a script may fail.
    ///
    /// # Errors
    /// If it does not in time; the page's text is told.
    pub fn wait_for(&mut self, script: &str) -> Outcome {
        let waited = wait::until(script, SOON, || {
            Ok(self.evaluate(script).ok().filter(|value| value == true).map(drop))
        });
        match waited {
            Ok(()) => Ok(()),
            Err(failure) => {
                Err(Failure::new(format!("{failure}; the page says:\n{}", self.text()?)))
            }
        }
    }

    /// Waits until the page shows this text.
    ///
    /// # Errors
    /// If it does not in time.
    pub fn wait_for_text(&mut self, text: &str) -> Outcome {
        self.wait_for(&format!("document.body.innerText.includes({})", json!(text)))
    }

    /// The text that the page shows.
    ///
    /// # Errors
    /// If there is no page.
    pub fn text(&mut self) -> Outcome<String> {
        let text = self.evaluate("document.body ? document.body.innerText : ''")?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Writes into the field with this name.
    ///
    /// # Errors
    /// If there is no such field.
    pub fn fill(&mut self, name: &str, text: &str) -> Outcome {
        let field = format!("document.querySelector('[name={name}]')");
        self.evaluate(&format!("{field}.value = {}", json!(text))).map(drop)
    }

    /// Chooses a file in the field with this name, as a person would in a dialog.
    ///
    /// # Errors
    /// If there is no such field.
    pub fn choose(&mut self, name: &str, file: &Path) -> Outcome {
        let expression = format!("document.querySelector('[name={name}]')");
        let field = self.ask("Runtime.evaluate", &json!({ "expression": expression }))?;
        let field = &field["result"]["objectId"];
        let files = json!({ "files": [file.display().to_string()], "objectId": field });
        self.ask("DOM.setFileInputFiles", &files).map(drop)
    }

    /// Clicks what this CSS selector finds.
    ///
    /// # Errors
    /// If it finds nothing.
    pub fn click(&mut self, selector: &str) -> Outcome {
        self.evaluate(&format!("document.querySelector({}).click()", json!(selector))).map(drop)
    }

    /// Takes a picture of what the window shows.
    ///
    /// # Errors
    /// If it cannot be taken or written.
    pub fn picture(&mut self, path: &Path) -> Outcome {
        let answer = self.ask("Page.captureScreenshot", &json!({ "format": "png" }))?;
        let bytes = answer["data"].as_str().and_then(from_base64);
        fs::write(path, bytes.ok_or_else(|| Failure::new("the picture cannot be read"))?)?;
        Ok(())
    }

    /// Takes a picture for the documents, if they are to have new ones (`UPDATE_PICTURES=1`), else
    /// one for whoever looks at the scene's folder.
    ///
    /// # Errors
    /// If it cannot be taken or written.
    pub fn portray(&mut self, scene: &Scene, name: &str) -> Outcome {
        let documents = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        let folder = match std::env::var_os("UPDATE_PICTURES") {
            Some(_) => documents.as_path(),
            None => scene.folder.path(),
        };
        self.picture(&folder.join(name))
    }

    fn ask(&mut self, method: &str, parameters: &Value) -> Outcome<Value> {
        self.last += 1;
        let mut command = json!({ "id": self.last, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        self.commands.write_all(format!("{command}\0").as_bytes())?;
        loop {
            // What is no answer to us is an event.
            let answer = match self.answers.recv_timeout(SOON) {
                Ok(answer) if answer["id"] == self.last => answer,
                Ok(_) => continue,
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Failure::new(format!("no answer to {method}")));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::new("the browser ended"));
                }
            };
            return match answer["error"].is_null() {
                true => Ok(answer["result"].clone()),
                false => Err(Failure::new(format!("{method}: {}", answer["error"]))),
            };
        }
    }
}

fn installed() -> Outcome<&'static str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there =
        |name: &&&str| std::env::split_paths(&path).any(|folder| folder.join(name).exists());
    let name = NAMES.iter().find(is_there).copied();
    name.ok_or_else(|| Failure::new("no Chromium is installed: ./infra/test installs it"))
}

/// Reads answers until the browser ends.
fn listen(mut from_it: File) -> Receiver<Value> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let (mut unread, mut bytes) = (vec![], vec![0; 64 * 1024]);
        while let Ok(count @ 1..) = from_it.read(&mut bytes) {
            unread.extend(bytes.iter().take(count));
            while let Some(end) = unread.iter().position(|byte| *byte == 0) {
                let text: Vec<u8> = unread.drain(..=end).take(end).collect();
                let answer = serde_json::from_slice(&text).unwrap_or(Value::Null);
                if sender.send(answer).is_err() {
                    return;
                }
            }
        }
    });
    receiver
}

/// RFC 4648 §4; none if it is not that.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = text.trim_end_matches('=');
    let (mut bytes, mut bits, mut held) = (Vec::with_capacity(text.len()), 0_u32, 0);
    for byte in text.bytes() {
        let digit = DIGITS.iter().position(|digit| *digit == byte)?;
        bits = bits << 6 | u32::try_from(digit).ok()?;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::from_base64;

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        for (text, expected) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")]
        {
            assert_eq!(from_base64(text), Some(expected.as_bytes().to_vec()));
        }
        assert_eq!(from_base64("Zm9*"), None);
    }
}
