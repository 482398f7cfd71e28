//! What the operator decided: the configuration file, the environment over it, defaults below.

mod environment;
mod load;
mod sections;
mod value;

pub use load::{Base, Problem, load};
pub use sections::{
    Addressing, Admin, Config, Database, Encryption, Format, Level, Link, Log, Mail, Media,
    Objects, Role, Secrets, Sip, SoundIo, Sounds, Stun, Tls, UnknownDomain, Web,
};
pub use value::{External, Listen, Network, NodeName, PortRange, PostgresUrl, Secret, Size, Span};
