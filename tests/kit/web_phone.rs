//! A real browser as a phone: its sound, its encryption and its descriptions of both are Chromium's,
//! and only the signalling is ours.
//!
//! RFC 8825 and what it names: ICE, DTLS-SRTP, reports on the sound's port, bundles. Our signalling is
//! a [`Handset`], which carries the browser's descriptions to the server as they are.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::failure::{Failure, Outcome};
use crate::handset::{Dialog, Handset};
use crate::scene::Scene;
use crate::tone;
use crate::wait::{self, SOON};
use crate::wav::Sound;

const SCRIPT: &str = include_str!("web_phone.js");
const RATE: u32 = 48_000;
/// Of the two thirds of a second that are looked at, so much has to be the tone.
const LONG_ENOUGH_S: f64 = 0.6;
/// More offers are not made to one that refuses.
const MOST_OFFERS: usize = 8;

/// Whether a browser tells a server what its addresses are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addresses {
    /// It gives names instead, which only its own network can look up (as browsers do until
    /// somebody allows a page to listen).
    Hidden,
    /// It does.
    Shown,
}

/// What a browser is told at its start.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    /// The tone that it says, in Hz.
    pub tone: u32,
    /// Its addresses.
    pub addresses: Addresses,
    /// The codecs it may use (`audio/opus`); all that it has if there are none.
    pub codecs: &'a [&'a str],
}

/// A browser that can call and be called. Dropping it ends it.
#[derive(Debug)]
pub struct WebPhone {
    /// Its page.
    pub browser: Browser,
    /// Its signalling.
    pub handset: Handset,
    dialog: Option<Dialog>,
}

impl WebPhone {
    /// Starts a browser beside this signalling.
    ///
    /// # Errors
    /// If the browser does not come up.
    pub fn start(scene: &Scene, handset: Handset, setup: &Setup<'_>) -> Outcome<Self> {
        let mut flags = vec!["--autoplay-policy=no-user-gesture-required"];
        match setup.addresses {
            Addresses::Hidden => {}
            Addresses::Shown => flags.push("--disable-features=WebRtcHideLocalIpsWithMdns"),
        }
        let mut browser = Browser::start_with(scene, &flags)?;
        browser.evaluate(SCRIPT)?;
        let mut phone = Self { browser, handset, dialog: None };
        phone.begin(setup)?;
        Ok(phone)
    }

    /// Is ready for a call: a browser has a new connection for each.
    ///
    /// # Errors
    /// If the browser refuses that.
    pub fn begin(&mut self, setup: &Setup<'_>) -> Outcome {
        let codecs = match setup.codecs {
            [] => Value::Null,
            codecs => json!(codecs),
        };
        self.browser.evaluate(&format!("phone.start({}, {codecs})", setup.tone)).map(drop)
    }

    /// Calls; returns the browser's offer once sound can flow.
    ///
    /// # Errors
    /// If the call is refused, or no way for sound is found.
    pub fn call(&mut self, number: &str) -> Outcome<String> {
        let offer = self.offer("sendrecv")?;
        let dialog = self.handset.call_with(number, &offer)?;
        self.take(&dialog.theirs)?;
        self.dialog = Some(dialog);
        self.wait_until_connected()?;
        Ok(offer)
    }

    /// Waits for a call and answers it. Offers that the browser cannot take are refused as a phone
    /// does it. Returns how many that were and the offer that it took, once sound can flow.
    ///
    /// # Errors
    /// If none comes, or no way for sound is found.
    pub fn answer(&mut self) -> Outcome<(usize, String)> {
        let mut refused = vec![];
        for _ in 0..MOST_OFFERS {
            let invite = self.handset.request_of("INVITE")?;
            let offer = json!(body(&invite));
            match self.browser.evaluate(&format!("phone.answer({offer})")) {
                Ok(answer) => {
                    let answer = text(&answer)?;
                    self.dialog = Some(self.handset.accept(&invite, &answer)?);
                    self.wait_until_connected()?;
                    return Ok((refused.len(), body(&invite).to_owned()));
                }
                Err(failure) => {
                    refused.push(failure.to_string());
                    self.handset.refuse(&invite, "488 Not Acceptable Here")?;
                }
            }
        }
        Err(Failure::new(format!("the browser takes no offer: {refused:?}")))
    }

    /// Holds the other side, or takes it back (`sendonly`, `sendrecv`).
    ///
    /// # Errors
    /// If that is refused.
    pub fn turn(&mut self, direction: &str) -> Outcome {
        let offer = self.offer(direction)?;
        let mut dialog = self.talking()?;
        let answer = self.handset.renew(&mut dialog, &offer)?;
        self.dialog = Some(dialog);
        self.take(&answer)
    }

    /// Hangs up.
    ///
    /// # Errors
    /// If it is in no call, or that is not confirmed.
    pub fn hang_up(&mut self) -> Outcome {
        let dialog = self.talking()?;
        self.handset.hang_up(&dialog)
    }

    /// Waits until it hears this tone, and hardly anything else.
    ///
    /// # Errors
    /// If it does not in time.
    pub fn wait_for_tone(&mut self, hz: f64) -> Outcome {
        let mut last = (0.0, 0.0);
        let heard = wait::until(&format!("{hz} Hz in the browser"), SOON, || {
            let sound = self.heard()?;
            last = (tone::seconds_of(&sound, hz), tone::seconds_of_others(&sound, hz));
            Ok((last.0 >= LONG_ENOUGH_S).then_some(()))
        });
        match heard {
            Ok(()) => Ok(()),
            Err(failure) => {
                let (of_it, of_others) = last;
                let measured = self.measured()?;
                let heard = format!("{of_it:.2} s of it, {of_others:.2} s of others");
                Err(Failure::new(format!("{failure}; last {heard}; it measured {measured}")))
            }
        }
    }

    /// Waits until it hears nothing.
    ///
    /// # Errors
    /// If it still does after a while.
    pub fn wait_for_silence(&mut self) -> Outcome {
        wait::until("silence in the browser", SOON, || {
            let sound = self.heard()?;
            // Of silence there is neither this tone nor another.
            let of_anything = tone::seconds_of(&sound, 1.0) + tone::seconds_of_others(&sound, 1.0);
            Ok((of_anything == 0.0).then_some(()))
        })
    }

    /// What the browser has measured, by the kind of report (W3C's Statistics API).
    ///
    /// # Errors
    /// If it does not tell.
    pub fn measured(&mut self) -> Outcome<Value> {
        self.browser.evaluate("phone.measured()")
    }

    fn heard(&mut self) -> Outcome<Sound> {
        let samples = self.browser.evaluate("phone.heard()")?;
        Ok(Sound { rate: RATE, samples: serde_json::from_value(samples)? })
    }

    fn wait_until_connected(&mut self) -> Outcome {
        self.browser.wait_for("phone.connection.connectionState === 'connected'")
    }

    fn offer(&mut self, direction: &str) -> Outcome<String> {
        text(&self.browser.evaluate(&format!("phone.offer('{direction}')"))?)
    }

    fn take(&mut self, answer: &str) -> Outcome {
        self.browser.evaluate(&format!("phone.take({})", json!(body(answer)))).map(drop)
    }

    fn talking(&self) -> Outcome<Dialog> {
        self.dialog.clone().ok_or_else(|| Failure::new("the browser is in no call"))
    }
}

fn text(value: &Value) -> Outcome<String> {
    let text = value.as_str().map(str::to_owned);
    text.ok_or_else(|| Failure::new(format!("no session description: {value}")))
}

fn body(message: &str) -> &str {
    message.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}
