//! Every SIP socket, and the links to other nodes.

pub mod link;
pub mod tls;
pub mod udp;
