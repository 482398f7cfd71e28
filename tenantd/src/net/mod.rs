//! Every SIP and STUN socket: datagrams on threads of their own, connections on tokio's.

pub mod connections;
mod outlet;
mod stream;
pub mod stun;
pub mod tcp;
pub mod tls;
pub mod udp;
