//! The programs of others that tenantd is compared with, run the way their own users would for speed.

pub(crate) mod kamailio;
pub(crate) mod postgres;
pub(crate) mod rtpengine;
