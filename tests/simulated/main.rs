//! Whole calls under a virtual clock: nothing here waits for anything.

mod bad_lines;
mod calls;
mod limits;
mod nodes;
mod phones;
