//! Everything a switch can be told.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::id::{NodeId, RecordId, TenantId};
use crate::media;
use crate::record::Binding;
use crate::sip::message::Message;
use crate::tenant::directory::Directory;

use crate::flow::{Advertised, Flow, FlowId};

/// Something that happened outside.
#[derive(Debug)]
pub enum Input {
    /// A message came, and it is this tenant's.
    Received {
        /// Whose.
        tenant: TenantId,
        /// What says so.
        by: Placement,
        /// The way back.
        flow: Flow,
        /// The message.
        message: Message,
    },
    /// A phone of this tenant sent something that only keeps its way open.
    KeptOpen {
        /// Whose.
        tenant: TenantId,
        /// Where it is.
        peer: SocketAddr,
    },
    /// The tenant came to this switch, with what was remembered of it.
    Arrived {
        /// Its configuration.
        directory: Box<Directory>,
        /// Its registrations.
        bindings: Vec<Binding>,
        /// Calls that were alive here ([`crate::record::Memory::Live`]).
        live: Vec<Vec<u8>>,
        /// Calls that were alive on a node that is lost, and their sound with it.
        lost: Vec<Vec<u8>>,
    },
    /// The tenant's configuration was published: take it over whole.
    Configured(Box<Directory>),
    /// The tenant is not here any more: end its calls, forget it. Nothing is noted of a talking
    /// call, because whoever has the tenant now notes its end; if nobody has it, nobody asks.
    Removed(TenantId),
    /// A tenant's public numbers, as every switch must know them (an empty list: none left).
    Numbers {
        /// Whose.
        tenant: TenantId,
        /// In E.164 form, as they are dialled.
        numbers: Vec<String>,
    },
    /// A record that was waited for is durable.
    Kept(RecordId),
    /// Whether Postgres can be reached; while it is away nothing is waited for.
    Storage(Storage),
    /// Something happened to a call's sound.
    Media(media::Event),
    /// A node is linked, or its public addresses changed; this one too.
    Node {
        /// Which.
        node: NodeId,
        /// The process of it that lives.
        boot: u32,
        /// Its addresses in Via and Contact.
        sip: Advertised,
    },
    /// A node is not linked any more: connections on it may be anything.
    NodeGone(NodeId),
    /// This node's addresses in SDP changed.
    SoundMoved(Advertised),
    /// A connection is gone.
    FlowGone(FlowId),
    /// The server is about to stop: refuse what is new, let go of what is done.
    Drain,
    /// The drain is over: hang up what is left.
    HangUp,
}

/// What says that a message is a tenant's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Placement {
    /// Our own branch or tag, or a live INVITE: it is a piece of something we know.
    Known,
    /// The Request-URI's domain (REGISTER: the To's).
    Domain,
    /// The From's domain only: believed if the flow has a binding of this tenant.
    From,
    /// It came over [`Flow::Inner`].
    Inner,
}

/// Whether what must last can be stored right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// Commits work.
    Here,
    /// Commits do not: the journal alone keeps.
    Away,
}
