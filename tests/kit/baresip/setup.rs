//! What a phone is told at its start: whose it is, where it registers, what it says and how.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use crate::company::Company;

const MODULES: &str = "/usr/lib/baresip/modules";

/// What a phone is told at its start.
#[derive(Debug, Clone)]
pub struct Setup<'a> {
    /// The user's company.
    pub company: &'a Company,
    /// The user's number.
    pub number: &'a str,
    /// The outbound proxy.
    pub proxy: SocketAddr,
    /// Its own address.
    pub ip: IpAddr,
    /// The tone it plays to whoever it talks to, in Hz.
    pub tone: u32,
    /// Whether it answers by itself.
    pub answer: Answer,
    /// For how long it asks to be registered, in seconds (0: not at all); it refreshes earlier.
    pub expires: u32,
    /// Instead of the right one.
    pub password: Option<&'a str>,
    /// What it speaks to the proxy. (This version looks at no certificate, whatever it is told.)
    pub over: Over,
    /// Whether and how it encrypts its sound.
    pub encrypts: Encrypts,
    /// The codecs it has, best first, as its configuration writes them. See [`lacks`].
    pub codecs: &'a str,
}

/// Whether and how a phone encrypts its sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encrypts {
    /// It does not.
    Never,
    /// With keys in its session descriptions, or not at all.
    IfItCan,
    /// With keys in its session descriptions.
    ByKeys,
    /// With keys from a handshake (DTLS).
    ByHandshake,
}

impl Encrypts {
    fn parameter(self) -> &'static str {
        match self {
            Self::Never => "",
            Self::IfItCan => ";mediaenc=srtp",
            Self::ByKeys => ";mediaenc=srtp-mand",
            Self::ByHandshake => ";mediaenc=dtls_srtp",
        }
    }
}

/// What a phone speaks to its proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// Datagrams.
    Udp,
    /// A connection.
    Tcp,
    /// An encrypted connection.
    Tls,
}

impl Over {
    /// As an address's `transport` parameter has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// Whether a phone answers by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// At once.
    ByItself,
    /// When it is told to.
    WhenTold,
}

impl<'a> Setup<'a> {
    /// A phone that answers by itself.
    pub fn new(company: &'a Company, number: &'a str, proxy: SocketAddr, tone: u32) -> Self {
        let answer = Answer::ByItself;
        let (ip, over, encrypts) = (here(proxy), Over::Udp, Encrypts::Never);
        let (expires, password, codecs) = (600, None, "pcmu,pcma");
        Self { company, number, proxy, ip, tone, answer, expires, password, over, encrypts, codecs }
    }
}

/// The first of these modules for codecs (`g722`, `opus`) that is not installed here.
pub fn lacks<'a>(modules: &[&'a str]) -> Option<&'a str> {
    let is_there = |module: &str| Path::new(MODULES).join(format!("{module}.so")).exists();
    modules.iter().copied().find(|module| !is_there(module))
}

/// Whether all of these modules are installed here; says so where one is not.
pub fn has(modules: &[&str]) -> bool {
    let missing = lacks(modules);
    if let Some(module) = missing {
        eprintln!("SKIPPED: baresip was installed without {module}");
    }
    missing.is_none()
}

/// The loopback address from which the proxy can be reached.
pub(crate) fn here(proxy: SocketAddr) -> IpAddr {
    match proxy {
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    }
}

pub(super) fn account(setup: &Setup<'_>) -> String {
    let Setup { company, number, proxy, expires, .. } = setup;
    let password = setup.password.map_or_else(|| company.password(number), str::to_owned);
    let answer = match setup.answer {
        Answer::ByItself => "auto",
        Answer::WhenTold => "manual",
    };
    format!(
        "<sip:{number}@{domain};transport={over}>;auth_pass={password};regint={expires};\
         answermode={answer};audio_codecs={codecs};mwi=no{encrypts};\
         outbound=\"sip:{proxy};transport={over}\"\n",
        domain = company.domain,
        over = setup.over.name(),
        encrypts = setup.encrypts.parameter(),
        codecs = setup.codecs,
    )
}

/// The tone source wants 48 kHz and two channels. There is no sound card: the player is a bridge
/// to nowhere, and what comes is recorded on its way there.
pub(super) fn config(
    folder: &Path,
    tone: u32,
    at: SocketAddr,
    control: u16,
    rtp: (u16, u16),
) -> String {
    let heard = folder.join("heard");
    let codecs = ["g711", "g722", "opus"];
    let modules = ["sndfile", "ausine", "aubridge", "srtp", "dtls_srtp"];
    let applications = ["contact", "debug_cmd", "menu", "ctrl_tcp"];
    let mut lines = vec![
        "poll_method epoll".to_owned(),
        format!("sip_listen {at}"),
        format!("net_interface {}", at.ip()),
        "call_local_timeout 60".to_owned(),
        "audio_player aubridge,nowhere".to_owned(),
        format!("audio_source ausine,{tone}"),
        "audio_alert aubridge,alert".to_owned(),
        "audio_path /nonexistent".to_owned(),
        "ausrc_srate 48000\nausrc_channels 2\nauplay_srate 48000\nauplay_channels 1".to_owned(),
        "ausrc_format s16\nauplay_format s16\nauenc_format s16\naudec_format s16".to_owned(),
        "jitter_buffer_delay 5-10\nrtp_stats yes\nrtcp_mux no".to_owned(),
        format!("rtp_ports {}-{}", rtp.0, rtp.1),
        "ringback_disabled yes\nstatmode_default off".to_owned(),
        format!("snd_path {}", heard.display()),
        format!("ctrl_tcp_listen 127.0.0.1:{control}"),
        format!("module_path {MODULES}"),
    ];
    let codecs = codecs.into_iter().filter(|codec| lacks(&[codec]).is_none());
    lines.extend(codecs.chain(modules).map(|module| format!("module {module}.so")));
    lines.extend(["uuid", "account"].map(|module| format!("module_tmp {module}.so")));
    lines.extend(applications.map(|module| format!("module_app {module}.so")));
    lines.join("\n") + "\n"
}
