//! Every SIP socket.

pub mod udp;
