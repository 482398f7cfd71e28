//! The real program with real peers: Postgres, softphones, sipp and a browser.
//!
//! Nothing here sleeps for a while and hopes: each step waits for what it is about, for so long
//! and no longer.

mod announced;
mod calls;
mod conference;
mod demo;
mod dialogs;
mod encryption;
mod families;
mod faults;
mod gone;
mod instruments;
mod interop;
mod isolation;
mod large;
mod lent;
mod messages;
mod nat;
mod nodes;
mod objects;
mod page;
mod played;
mod process;
mod provisioning;
mod recordings;
mod registration;
mod restart;
mod secure;
mod sounds;
mod strangers;
mod stun;
mod transports;
mod uploads;
mod voices;
mod web_phone;
