//! Whole calls under a virtual clock: nothing here waits for anything.

mod bad_lines;
mod calls;
mod carriers;
mod conferences;
mod keepalive;
mod limits;
mod nat;
mod nodes;
mod phones;
mod played;
mod recordings;
mod reliable;
mod renewal;
mod secrecy;
mod sound;
mod timers;
mod vanish;
