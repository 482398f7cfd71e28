//! Fuzz body of uploads: a broken recording, read by the process that tenantd has for it.

use bytes::Bytes;
use kit::cell::{self, Said};
use kit::folder::Folder;

use crate::Depth;

/// The longest that is taken, in samples.
const MOST: usize = 600 * 16_000;

/// Has it read; panics if the process does anything but answer or end.
pub(crate) fn read(folder: &Folder, recording: &Bytes) -> Depth {
    match cell::read(folder, recording).unwrap() {
        Said::Samples(count) => {
            assert!((1..=MOST).contains(&count), "{count} samples");
            Depth::Deep
        }
        Said::Refused(word) if word == "not_sound" => Depth::Shallow,
        Said::Refused(_) => Depth::Deep,
        // Out of memory (its own limit), or out of time: whoever waits is told that it is too costly.
        Said::Ended(6 | 9 | 24) => Depth::Deep,
        Said::Ended(signal) => panic!("ended by signal {signal}"),
    }
}
