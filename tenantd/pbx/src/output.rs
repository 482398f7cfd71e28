//! Everything a switch can wish, in the order in which it must be done.

use bytes::Bytes;

use crate::board::Change;
use crate::flow::Flow;
use crate::media::Wish;
use crate::record::Record;
use crate::story::Note;
use crate::tenant::directory::Directory;

/// Something the driver shall do.
#[derive(Debug)]
pub enum Output {
    /// Write this into the journal before any later output is performed.
    Remember(Record),
    /// Put these bytes on this path.
    Send {
        /// The path.
        flow: Flow,
        /// One whole message.
        bytes: Bytes,
    },
    /// Tell the sound.
    Media(Wish),
    /// Show this to whoever looks.
    Show(Change),
    /// Log and count this.
    Note(Note),
    /// Drop this where it costs no call any time.
    Retire(Box<Directory>),
}
