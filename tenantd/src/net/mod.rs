//! Every SIP and STUN socket: datagrams on the lanes' own threads, the rest on tokio's. And the
//! links to other nodes.

pub mod connections;
pub mod link;
mod outlet;
mod stream;
pub mod stun;
pub mod tcp;
pub mod tls;
pub mod udp;
