//! Every SIP and STUN socket.

pub mod stun;
pub mod udp;
