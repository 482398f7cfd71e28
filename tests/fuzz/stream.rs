//! Fuzz body of the cutting of streams: the same messages, in whatever pieces the bytes come.

use bytes::Bytes;
use pbx::sip::frame::{Broken, Frame, Framer};

/// Cuts a stream twice, whole and in pieces of growing size; panics if that makes a difference.
/// Returns how many messages it held.
pub(crate) fn cut_in_pieces(stream: &[u8]) -> usize {
    let whole = frames(&mut std::iter::once(stream));
    let (mut rest, mut size) = (stream, 0);
    let in_pieces = frames(&mut std::iter::from_fn(|| {
        size = (size * 3 + 1) % 97;
        let (piece, after) = rest.split_at_checked(size + 1).unwrap_or((rest, &[]));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    }));
    assert_eq!(whole, in_pieces, "{stream:?}");
    let messages = whole.iter().filter_map(|frame| match frame {
        Frame::Message(message) => Some(message),
        Frame::Ping | Frame::NeedMore | Frame::Broken(_) => None,
    });
    // What was cut off is in the stream, in order.
    let mut at = 0;
    for message in messages.clone() {
        let rest = stream.get(at..).unwrap();
        let found = rest.windows(message.len()).position(|part| part == message).unwrap();
        at += found + message.len();
    }
    messages.count()
}

fn frames(pieces: &mut dyn Iterator<Item = &[u8]>) -> Vec<Frame> {
    let (mut framer, mut frames) = (Framer::default(), vec![]);
    for piece in pieces {
        framer.push(piece);
        loop {
            match framer.next_frame() {
                Frame::NeedMore => break,
                Frame::Broken(broken) => {
                    drop(broken.answer());
                    // How much of an endless head was read depends on the pieces.
                    let broken = match broken {
                        Broken::NotSip => Broken::NotSip,
                        Broken::Flawed { flaw, .. } => Broken::Flawed { head: Bytes::new(), flaw },
                    };
                    frames.push(Frame::Broken(broken));
                    return frames;
                }
                frame @ (Frame::Ping | Frame::Message(_)) => frames.push(frame),
            }
        }
    }
    if let Some(broken) = framer.end() {
        drop(broken.answer());
    }
    frames
}
