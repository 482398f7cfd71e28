//! Every key of the configuration and its default.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::value::{
    External, Listen, Network, NodeName, PortRange, PostgresUrl, Secret, Size, Span,
};

/// The whole configuration: a few keys, then one struct a section.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section such as [sip]")]
pub struct Config {
    /// This node's name.
    pub node: NodeName,
    /// Where everything is kept that is not in Postgres or the object store.
    pub data_dir: PathBuf,
    /// What this node does.
    pub roles: Vec<Role>,
    /// How long a stop waits for calls to end.
    pub drain_for: Span,
    /// Where Postgres is.
    pub database: Database,
    /// The key of all secrets.
    pub secrets: Secrets,
    /// Certificates.
    pub tls: Tls,
    /// Signalling.
    pub sip: Sip,
    /// Sound.
    pub media: Media,
    /// What tells phones their public address.
    pub stun: Stun,
    /// The portal.
    pub web: Web,
    /// The link to peer nodes.
    pub link: Link,
    /// Health and metrics.
    pub admin: Admin,
    /// The object store.
    pub objects: Objects,
    /// Recordings that people upload.
    pub sounds: Sounds,
    /// Recordings of calls.
    pub recordings: Recordings,
    /// Outgoing mail.
    pub mail: Mail,
    /// The log.
    pub log: Log,
}

/// Something a node can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Signalling.
    Sip,
    /// Sound.
    Media,
    /// Telling phones their public address.
    Stun,
    /// The portal and the API.
    Web,
    /// Work that can wait: mail, webhooks, uploads.
    Jobs,
}

/// `[database]`; without `url`, a private cluster in the data directory.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section such as [sip]")]
pub struct Database {
    /// For the switches, and for what the others do not name.
    pub url: Option<PostgresUrl>,
    /// For the portal and the API.
    pub web_url: Option<PostgresUrl>,
    /// For migrations.
    pub migrate_url: Option<PostgresUrl>,
    /// The same for the provider's pages and provisioning; absent: `web_url`.
    pub provider_url: Option<PostgresUrl>,
}

/// `[secrets]`
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section such as [sip]")]
pub struct Secrets {
    /// The cluster key; absent: `cluster.key` in the data directory, made when missing.
    pub key_file: Option<PathBuf>,
}

/// `[tls]`; absent: self-signed.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section such as [sip]")]
pub struct Tls {
    /// The default certificate with its chain.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// A folder with `<domain>/fullchain.pem` and `<domain>/privkey.pem`.
    pub directory: Option<PathBuf>,
}

/// `[sip]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section such as [sip]")]
pub struct Sip {
    /// Addresses for datagrams.
    pub udp: Vec<Listen>,
    /// Addresses for TCP.
    pub tcp: Vec<Listen>,
    /// Addresses for TLS.
    pub tls: Vec<Listen>,
    /// Addresses for WebSocket.
    pub ws: Vec<Listen>,
    /// Addresses for WebSocket over TLS.
    pub wss: Vec<Listen>,
    /// Our public addresses, one a family.
    pub external: Vec<External>,
    /// Networks that get the interface's own address.
    pub local_networks: Vec<Network>,
    /// What a stranger hears who asks for a domain that is nobody's.
    pub unknown_domain: UnknownDomain,
    /// Threads for signalling; 0: one a core.
    pub lanes: u16,
    /// Messages a second and source; 0: by share only.
    pub flood_per_source: u32,
}

/// What a stranger hears who asks for a domain that is nobody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownDomain {
    /// Nothing.
    Drop,
    /// A refusal.
    Refuse,
}

/// `[media]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section such as [sip]")]
pub struct Media {
    /// Ports for RTP and RTCP.
    pub ports: PortRange,
    /// Threads for sound; 0: two, or one on a machine with one core.
    pub threads: u16,
    /// How packets come in and go out.
    pub io: SoundIo,
    /// Whether each thread stays on a core.
    pub pin: bool,
    /// Whether they go before all else that runs here, where that is allowed.
    pub realtime: bool,
    /// How much memory may be taken by sounds that are ready to be played.
    pub cache: Size,
    /// Our public addresses for sound; absent: those of `[sip]`.
    pub external: Vec<External>,
}

/// How packets of sound come in and go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SoundIo {
    /// io_uring where it works, else epoll.
    Auto,
    /// io_uring, or no start.
    IoUring,
    /// epoll.
    Epoll,
}

/// `[stun]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section such as [sip]")]
pub struct Stun {
    /// Addresses for datagrams.
    pub udp: Vec<Listen>,
}

/// `[web]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section such as [sip]")]
pub struct Web {
    /// Addresses for plain HTTP: loopback, or behind a proxy.
    pub http: Vec<Listen>,
    /// Addresses for HTTPS.
    pub https: Vec<Listen>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
}

/// `[link]`
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section such as [sip]")]
pub struct Link {
    /// Addresses for peer nodes.
    pub listen: Vec<Listen>,
    /// The address that peers are told.
    pub advertise: Option<Listen>,
    /// Our certificate.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// Who signed our peers' certificates.
    pub ca: Option<PathBuf>,
}

impl Link {
    /// The address that peers are told; `None`: there are none.
    pub fn told(&self) -> Option<SocketAddr> {
        let first = self.listen.first()?;
        Some(self.advertise.as_ref().unwrap_or(first).0)
    }
}

/// `[admin]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section such as [sip]")]
pub struct Admin {
    /// Addresses for `/healthz`, `/readyz` and `/metrics`.
    pub listen: Vec<Listen>,
}

/// `[objects]`; without `bucket`, a folder in the data directory.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section such as [sip]")]
pub struct Objects {
    /// Where the store is.
    pub endpoint: Option<String>,
    /// Its region.
    pub region: Option<String>,
    /// Our bucket.
    pub bucket: Option<String>,
    /// Who we are there.
    pub access_key: Option<String>,
    /// What proves it.
    pub secret_key: Option<Secret>,
    /// How the bucket is named in a request; absent: in the path, if there is an endpoint.
    pub addressing: Option<Addressing>,
    /// What the store is asked to encrypt with.
    pub server_side_encryption: Option<Encryption>,
    /// How long one answer may take.
    pub answer_within: Span,
    /// How much may wait for the store.
    pub outbox_limit: Size,
}

/// `[recordings]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section such as [sip]")]
pub struct Recordings {
    /// How much may lie here that is not rendered yet.
    pub limit: Size,
}

/// How a bucket is named in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Addressing {
    /// As the beginning of the path.
    Path,
    /// As the beginning of the host's name.
    Host,
}

/// What an object store is asked to encrypt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Encryption {
    /// A key of its own.
    #[serde(rename = "AES256")]
    Aes256,
    /// A key of its key service.
    #[serde(rename = "aws:kms")]
    Kms,
}

/// `[sounds]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section such as [sip]")]
pub struct Sounds {
    /// The largest file that is taken.
    pub largest: Size,
    /// The longest recording that is taken.
    pub longest: Span,
}

/// `[mail]`; without `smtp_url`, files in the data directory.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section such as [sip]")]
pub struct Mail {
    /// The server that takes our mail.
    pub smtp_url: Option<Secret>,
    /// Who our mail is from.
    pub from: Option<String>,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section such as [sip]")]
pub struct Log {
    /// How much is told.
    pub level: Level,
    /// How it is written.
    pub format: Format,
}

/// How much the log tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing.
    Off,
    /// What went wrong.
    Error,
    /// What is worth waking someone, too.
    Warn,
    /// Each call's begin and end, too.
    Info,
    /// Each decision, too.
    Debug,
    /// Everything.
    Trace,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A line for people.
    Text,
    /// A line for programs.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node: NodeName("n1".to_owned()),
            data_dir: PathBuf::from("var"),
            roles: vec![Role::Sip, Role::Media, Role::Stun, Role::Web, Role::Jobs],
            drain_for: Span(Duration::from_secs(10)),
            database: Database::default(),
            secrets: Secrets::default(),
            tls: Tls::default(),
            sip: Sip::default(),
            media: Media::default(),
            stun: Stun::default(),
            web: Web::default(),
            link: Link::default(),
            admin: Admin::default(),
            objects: Objects::default(),
            sounds: Sounds::default(),
            recordings: Recordings::default(),
            mail: Mail::default(),
            log: Log::default(),
        }
    }
}

impl Default for Sip {
    fn default() -> Self {
        Self {
            udp: everywhere(5060),
            tcp: everywhere(5060),
            tls: everywhere(5061),
            ws: Vec::new(),
            wss: Vec::new(),
            external: Vec::new(),
            local_networks: Vec::new(),
            unknown_domain: UnknownDomain::Drop,
            lanes: 0,
            flood_per_source: 0,
        }
    }
}

impl Default for Media {
    fn default() -> Self {
        let ports = PortRange { first: 26_000, last: 54_000 };
        let cache = Size(::media::SHELF as u64);
        Self {
            ports,
            threads: 0,
            io: SoundIo::Auto,
            pin: false,
            realtime: true,
            cache,
            external: Vec::new(),
        }
    }
}

impl Default for Stun {
    fn default() -> Self {
        Self { udp: everywhere(3478) }
    }
}

impl Default for Web {
    fn default() -> Self {
        Self {
            http: vec![Listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)))],
            https: vec![Listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8443)))],
            trusted_proxies: Vec::new(),
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: vec![Listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 9090)))] }
    }
}

impl Default for Objects {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            bucket: None,
            access_key: None,
            secret_key: None,
            addressing: None,
            server_side_encryption: None,
            answer_within: Span(Duration::from_secs(30)),
            outbox_limit: Size(10 << 30),
        }
    }
}

impl Default for Recordings {
    fn default() -> Self {
        Self { limit: Size(20 << 30) }
    }
}

impl Default for Sounds {
    fn default() -> Self {
        Self { largest: Size(32 << 20), longest: Span(Duration::from_secs(600)) }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: Level::Info, format: Format::Text }
    }
}

fn everywhere(port: u16) -> Vec<Listen> {
    vec![
        Listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))),
        Listen(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))),
    ]
}

impl Config {
    /// Whether this node does that.
    pub fn does(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Where the cluster key is.
    pub fn key_file(&self) -> PathBuf {
        self.secrets.key_file.clone().unwrap_or_else(|| self.data_dir.join("cluster.key"))
    }

    /// Addresses at which pages, and so passwords, are carried in plain text over a network.
    pub fn plain_pages(&self) -> Vec<Listen> {
        match self.does(Role::Web) && self.web.trusted_proxies.is_empty() {
            true => self.web.http.iter().filter(|at| !at.0.ip().is_loopback()).copied().collect(),
            false => Vec::new(),
        }
    }

    /// Keys that are set, by default or by hand, whose part is not built yet.
    pub fn unbuilt(&self) -> Vec<String> {
        let mut keys: Vec<&str> = Vec::new();
        let mut note = |key, set: bool| keys.extend(set.then_some(key));
        if self.does(Role::Sip) {
            note("[sip].ws", !self.sip.ws.is_empty());
            note("[sip].wss", !self.sip.wss.is_empty());
            note("[sip].flood_per_source", self.sip.flood_per_source > 0);
        }
        note("[mail].smtp_url", self.mail.smtp_url.is_some());
        keys.into_iter().map(str::to_owned).collect()
    }
}
