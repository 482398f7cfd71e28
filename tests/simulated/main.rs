//! Whole calls under a virtual clock: nothing here waits for anything.

mod calls;
mod phones;
