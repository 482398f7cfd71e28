//! Our public addresses: those that are written down, and those that a name leads to today.
//!
//! A name is asked for again every minute, because an office's address may change any day. What it
//! answered last counts until it answers something else; a name server that is slow or away costs
//! nobody anything but a start that waits for it, and that no longer than [`ANSWER_WITHIN`].

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};

use crate::config::External;

/// How often names are asked for again.
pub const ASK_EVERY: Duration = Duration::from_secs(60);

/// As long as some name has never answered, all are asked more often: phones outside wait for it.
pub const ASK_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// An answer that takes longer is taken when it comes, with the next question.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What phones shall call us; one address a family at most.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// In Via and Contact.
    pub sip: Vec<IpAddr>,
    /// In SDP.
    pub sound: Vec<IpAddr>,
}

type Answer = io::Result<Vec<IpAddr>>;
type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;
type Ask = Box<dyn Fn(String) -> Answering + Send + Sync>;

/// Knows our public addresses.
pub struct Resolver {
    sip: Vec<External>,
    sound: Vec<External>,
    names: BTreeMap<String, Name>,
    ask: Ask,
    told: Addresses,
}

/// What is known of a name.
#[derive(Debug, Default)]
struct Name {
    /// The last good answer.
    addresses: Vec<IpAddr>,
    /// The question that is out: the system's resolver cannot be interrupted, so there is only one.
    asked: Option<JoinHandle<Answer>>,
    /// Why the last answer was none, told once.
    trouble: Option<String>,
}

impl Resolver {
    /// For these addresses and names of signalling and sound; without any for sound, sound has those
    /// of signalling.
    pub fn new(sip: &[External], sound: &[External]) -> Self {
        Self::asking(sip, sound, Box::new(|name| Box::pin(system(name))))
    }

    fn asking(sip: &[External], sound: &[External], ask: Ask) -> Self {
        let sound = if sound.is_empty() { sip } else { sound };
        let named = |external: &External| match external {
            External::Name(name) => Some((name.clone(), Name::default())),
            External::Address(_) => None,
        };
        let names = sip.iter().chain(sound).filter_map(named).collect();
        let (sip, sound, told) = (sip.to_vec(), sound.to_vec(), Addresses::default());
        Self { sip, sound, names, ask, told }
    }

    /// Our addresses now: asks for all names at once, and waits 5 s at most.
    pub async fn refresh(&mut self) -> Addresses {
        let give_up_at = Instant::now() + ANSWER_WITHIN;
        for (name, known) in &mut self.names {
            known.asked.get_or_insert_with(|| tokio::spawn((self.ask)(name.clone())));
        }
        for (name, known) in &mut self.names {
            known.wait(name, give_up_at).await;
        }
        let now = Addresses {
            sip: self.chosen(&self.sip, &self.told.sip),
            sound: self.chosen(&self.sound, &self.told.sound),
        };
        self.told = now.clone();
        now
    }

    /// Tells what our addresses have become, each time that they change, for as long as it is let.
    pub async fn run<T: Future<Output = ()>>(mut self, tell: impl Fn(Addresses) -> T) {
        while !self.names.is_empty() {
            let is_waited_for = self.names.values().any(|name| name.addresses.is_empty());
            sleep(if is_waited_for { ASK_AGAIN_AFTER } else { ASK_EVERY }).await;
            let before = self.told.clone();
            let now = self.refresh().await;
            if now != before {
                info!(sip = ?now.sip, sound = ?now.sound, "our public addresses have changed");
                tell(now).await;
            }
        }
    }

    /// One address a family. A name with several is not changed for another that it had before too.
    fn chosen(&self, external: &[External], told: &[IpAddr]) -> Vec<IpAddr> {
        let all = || external.iter().flat_map(|external| self.addresses_of(external));
        [IpAddr::is_ipv4, IpAddr::is_ipv6]
            .into_iter()
            .filter_map(|family: fn(&IpAddr) -> bool| {
                let kept = told.iter().filter(|ip| family(ip)).find(|ip| all().any(|n| n == *ip));
                kept.or_else(|| all().find(|ip| family(ip))).copied()
            })
            .collect()
    }

    fn addresses_of<'a>(&'a self, external: &'a External) -> &'a [IpAddr] {
        match external {
            External::Address(address) => std::slice::from_ref(address),
            External::Name(name) => self.names.get(name).map_or(&[], |known| &known.addresses),
        }
    }
}

impl Name {
    /// Takes the answer, if it comes in time. A name without one is worth waking someone, but phones
    /// in our own network are served.
    async fn wait(&mut self, name: &str, give_up_at: Instant) {
        let Some(asked) = self.asked.as_mut() else { return };
        let trouble = match timeout_at(give_up_at, asked).await {
            Err(_) => "no answer yet".to_owned(),
            Ok(answered) => {
                self.asked = None;
                match answered.map_err(io::Error::other).flatten() {
                    Ok(addresses) if addresses.is_empty() => "no address".to_owned(),
                    Ok(addresses) => {
                        self.addresses = addresses;
                        self.trouble = None;
                        return;
                    }
                    Err(error) => error.to_string(),
                }
            }
        };
        if self.trouble.as_ref() != Some(&trouble) {
            match self.addresses.is_empty() {
                true => warn!("the external name {name} leads to no address: {trouble}"),
                false => warn!("the external name {name} keeps its last address: {trouble}"),
            }
        }
        self.trouble = Some(trouble);
    }
}

/// The system's own way to names: its hosts file, its name servers.
async fn system(name: String) -> Answer {
    let found = lookup_host((name.as_str(), 0)).await?;
    Ok(found.map(|address| address.ip().to_canonical()).collect())
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What a name answers, the last for ever; `None` hangs.
    type Script = Arc<Mutex<Vec<Option<Result<Vec<IpAddr>, ()>>>>>;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn external(text: &str) -> External {
        External::try_from(text.to_owned()).unwrap()
    }

    fn answers(answers: &[Option<Result<&[&str], ()>>]) -> Script {
        let read = |list: &&[&str]| list.iter().map(|text| ip(text)).collect();
        let read = |answer: &Option<Result<&[&str], ()>>| {
            answer.as_ref().map(|answer| answer.as_ref().map(read).map_err(|never| *never))
        };
        Arc::new(Mutex::new(answers.iter().map(read).collect()))
    }

    fn resolver(sip: &[&str], script: &Script) -> Resolver {
        let script = script.clone();
        let sip: Vec<_> = sip.iter().map(|text| external(text)).collect();
        let ask = move |_| -> Answering {
            let mut script = script.lock().unwrap();
            let next = if script.len() > 1 { script.remove(0) } else { script[0].clone() };
            match next {
                Some(answer) => {
                    Box::pin(async { answer.map_err(|()| io::Error::other("no such name")) })
                }
                None => Box::pin(pending()),
            }
        };
        Resolver::asking(&sip, &[], Box::new(ask))
    }

    #[tokio::test]
    async fn one_address_a_family_is_told_and_what_is_written_down_comes_first() {
        let script = answers(&[Some(Ok(&["192.0.2.1", "2001:db8::1", "2001:db8::2"]))]);
        let mut resolver = resolver(&["203.0.113.7", "pbx.example"], &script);
        let found = resolver.refresh().await;
        assert_eq!(found.sip, [ip("203.0.113.7"), ip("2001:db8::1")]);
        assert_eq!(found.sound, found.sip);
    }

    #[tokio::test]
    async fn sound_may_have_addresses_of_its_own() {
        let mut resolver = Resolver::new(&[external("203.0.113.7")], &[external("203.0.113.8")]);
        let found = resolver.refresh().await;
        assert_eq!((found.sip, found.sound), (vec![ip("203.0.113.7")], vec![ip("203.0.113.8")]));
    }

    #[tokio::test]
    async fn the_system_knows_itself() {
        let mut resolver = Resolver::new(&[external("localhost")], &[]);
        let found = resolver.refresh().await.sip;
        assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback), "{found:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_hangs_delays_nobody_for_more_than_five_seconds() {
        let script = answers(&[None]);
        let mut resolver = resolver(&["pbx.example", "2001:db8::7"], &script);
        let start = Instant::now();
        assert_eq!(resolver.refresh().await.sip, [ip("2001:db8::7")]);
        assert_eq!(start.elapsed().as_secs(), 5);
        // The question that is out is not asked a second time.
        *script.lock().unwrap() = vec![Some(Ok(vec![ip("192.0.2.1")]))];
        assert_eq!(resolver.refresh().await.sip, [ip("2001:db8::7")]);
    }

    #[tokio::test]
    async fn the_last_good_answer_is_kept() {
        let good: &[&str] = &["192.0.2.1"];
        let script = answers(&[Some(Ok(good)), Some(Err(())), Some(Ok(&[]))]);
        let mut resolver = resolver(&["pbx.example"], &script);
        for _ in 0..4 {
            assert_eq!(resolver.refresh().await.sip, [ip("192.0.2.1")]);
        }
    }

    #[tokio::test]
    async fn of_several_addresses_one_stays_as_long_as_it_is_among_them() {
        let script = answers(&[
            Some(Ok(&["192.0.2.1", "192.0.2.2"])),
            Some(Ok(&["192.0.2.2", "192.0.2.1"])),
            Some(Ok(&["192.0.2.2", "192.0.2.3"])),
        ]);
        let mut resolver = resolver(&["pbx.example"], &script);
        for expected in ["192.0.2.1", "192.0.2.1", "192.0.2.2"] {
            assert_eq!(resolver.refresh().await.sip, [ip(expected)]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_told_within_a_minute_and_once() {
        let script = answers(&[Some(Ok(&["192.0.2.1"])), Some(Ok(&["192.0.2.9"]))]);
        let mut resolver = resolver(&["pbx.example"], &script);
        resolver.refresh().await;
        let told = Mutex::new(vec![]);
        let start = Instant::now();
        let run = resolver.run(|now| {
            told.lock().unwrap().push((start.elapsed().as_secs(), now.sip));
            async {}
        });
        assert!(tokio::time::timeout(Duration::from_secs(600), run).await.is_err());
        assert_eq!(*told.lock().unwrap(), [(60, vec![ip("192.0.2.9")])]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_has_never_answered_is_asked_more_often() {
        let script = answers(&[Some(Err(())), Some(Err(())), Some(Ok(&["192.0.2.9"]))]);
        let mut resolver = resolver(&["pbx.example"], &script);
        assert!(resolver.refresh().await.sip.is_empty());
        let told = Mutex::new(vec![]);
        let start = Instant::now();
        let run = resolver.run(|now| {
            told.lock().unwrap().push((start.elapsed().as_secs(), now.sip));
            async {}
        });
        assert!(tokio::time::timeout(Duration::from_secs(300), run).await.is_err());
        assert_eq!(*told.lock().unwrap(), [(20, vec![ip("192.0.2.9")])]);
    }
}
