//! Every SIP socket: datagrams on the lanes' own threads, connections on tokio's.

pub mod connections;
mod outlet;
mod stream;
pub mod tcp;
pub mod tls;
pub mod udp;
