//! Every SIP socket: datagrams on the lanes' own threads, connections on tokio's. And the links to
//! other nodes.

pub mod connections;
pub mod link;
mod outlet;
mod stream;
pub mod tcp;
pub mod tls;
pub mod udp;
