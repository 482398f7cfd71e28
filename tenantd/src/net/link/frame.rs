//! What nodes say to each other: whole messages of phones, and what each must know of the other.
//!
//! A frame is its length (four bytes, big-endian) and its content in postcard. The first frame of
//! each side proves that it holds the cluster key; the second says who it is, and in which version
//! the rest is written.

use std::net::SocketAddr;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use pbx::board::What;
use pbx::flow::{Advertised, Flow, FlowId, Path};
use pbx::id::TenantId;
use pbx::input::Placement;
use serde::{Deserialize, Serialize};
use store::objects::{Content, ObjectKey};

/// The version of everything but [`Frame::Proof`] and [`Frame::Hello`]: peers of another one are
/// not linked.
pub const VERSION: u16 = 3;

/// The longest frame: two messages of the largest kind, and what is said about them.
pub const LONGEST: usize = 256 * 1024;

const LENGTH_BYTES: usize = 4;

/// What a phone or a call that is shown takes, at least about.
const ABOUT_A_CHANGE: usize = 256;

/// Something that a node says to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Frame {
    /// I hold the cluster key, and I am at the other end of this very connection.
    Proof([u8; 32]),
    /// Who I am.
    Hello(Hello),
    /// I am still there.
    Ping,
    /// A message came to me for a tenant whose home you are.
    Mail(Letter),
    /// Put these bytes on this path, whose socket is yours.
    Send {
        /// The path.
        path: Path,
        /// One whole message.
        bytes: Bytes,
    },
    /// A connection of mine is gone.
    FlowGone(FlowId),
    /// A phone of a tenant whose home you are keeps its way to me open itself.
    KeptOpen {
        /// Whose.
        tenant: TenantId,
        /// Where the phone is.
        peer: SocketAddr,
    },
    /// Somebody here looks at a tenant: whoever is its home shows what happens, for a while.
    Watch {
        /// Which.
        tenant: TenantId,
        /// How much is seen here.
        seen: u32,
    },
    /// What somebody at your place who looks at a tenant should see; nothing: I am there.
    Show {
        /// Which.
        tenant: TenantId,
        /// What has changed.
        changes: Vec<What>,
    },
    /// Does this wait for the object store at your place? Then tell me a part of it.
    Ask(Question),
    /// A part of what was asked for; empty: it is not here.
    Part {
        /// The question's number.
        number: u32,
        /// What was asked for.
        bytes: Bytes,
    },
}

/// A question for an object that is not in the store yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Tells its answer from others.
    pub number: u32,
    /// Which.
    pub key: ObjectKey,
    /// What it must be.
    pub content: Content,
    /// From which byte on.
    pub from: u64,
}

/// Who a node is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// The version of what follows.
    pub version: u16,
    /// Its number.
    pub node: u16,
    /// This process of it.
    pub boot: u32,
    /// Its addresses in Via and Contact.
    pub sip: Advertised,
}

/// A message, and whose it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Letter {
    /// Whose.
    pub tenant: TenantId,
    /// What says so.
    pub by: Placement,
    /// The way back.
    pub flow: Flow,
    /// The message as it came.
    pub bytes: Bytes,
}

/// Why nothing more can be read from a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A frame is longer than any we write.
    #[error("a frame of {0} bytes")]
    TooLong(usize),
    /// A frame is none of those that we know.
    #[error("a frame that cannot be read")]
    Malformed,
}

impl Frame {
    /// Adds the frame to what will be written. One that would be too long is left out.
    pub fn write(&self, to: &mut BytesMut) -> Result<(), Unreadable> {
        let start = to.len();
        to.put_u32(0);
        let written = postcard::to_extend(self, Behind(to)).map(drop);
        let length = to.len() - start - LENGTH_BYTES;
        let fits = u32::try_from(length).ok().filter(|_| length <= LONGEST);
        match (written, fits) {
            (Ok(()), Some(fits)) => {
                if let Some(head) = to.get_mut(start..start + LENGTH_BYTES) {
                    head.copy_from_slice(&fits.to_be_bytes());
                }
                Ok(())
            }
            (Ok(()), None) => {
                to.truncate(start);
                Err(Unreadable::TooLong(length))
            }
            (Err(_), _) => {
                to.truncate(start);
                Err(Unreadable::Malformed)
            }
        }
    }

    /// What it takes while it waits, at least about.
    pub fn weight(&self) -> usize {
        let content = match self {
            Self::Mail(letter) => letter.bytes.len(),
            Self::Send { bytes, .. } | Self::Part { bytes, .. } => bytes.len(),
            Self::Show { changes, .. } => changes.len() * ABOUT_A_CHANGE,
            Self::Proof(_)
            | Self::Hello(_)
            | Self::Ping
            | Self::FlowGone(_)
            | Self::KeptOpen { .. }
            | Self::Watch { .. }
            | Self::Ask(_) => 0,
        };
        content + std::mem::size_of::<Self>()
    }

    /// Takes the next whole frame out of what was read, no longer than `longest`.
    pub fn read(from: &mut BytesMut, longest: usize) -> Result<Option<Self>, Unreadable> {
        let Some(head) = from.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
        if length > longest {
            return Err(Unreadable::TooLong(length));
        }
        if from.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        from.advance(LENGTH_BYTES);
        let content = from.split_to(length);
        match postcard::take_from_bytes(&content) {
            Ok((frame, [])) => Ok(Some(frame)),
            Ok(_) | Err(_) => Err(Unreadable::Malformed),
        }
    }
}

/// Appends to a buffer.
struct Behind<'a>(&'a mut BytesMut);

impl Extend<u8> for Behind<'_> {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        self.0.extend(bytes);
    }
}

#[cfg(test)]
mod tests {
    use pbx::flow::{InnerPath, Link, Transport};
    use pbx::id::NodeId;
    use store::objects::Kind;
    use uuid::Uuid;

    use super::*;

    fn frames() -> Vec<Frame> {
        let tenant = TenantId(Uuid::from_u128(7));
        let local: SocketAddr = "[2001:db8::1]:5061".parse().unwrap();
        let link = Link::Stream { transport: Transport::Tls, boot: 8, number: 9 };
        let path = Path { node: NodeId(2), link, local, peer: "[2001:db8::2]:9".parse().unwrap() };
        let inner = InnerPath { here: tenant, there: TenantId(Uuid::from_u128(8)) };
        let letter = |flow, by| {
            Frame::Mail(Letter { tenant, by, flow, bytes: Bytes::from_static(b"INVITE sip:x") })
        };
        let sip = Advertised {
            external: vec!["203.0.113.7".parse().unwrap()],
            local_networks: vec![("10.0.0.0".parse().unwrap(), 8)],
        };
        vec![
            Frame::Proof([7; 32]),
            Frame::Hello(Hello { version: VERSION, node: 2, boot: 3, sip }),
            Frame::Ping,
            letter(Flow::Net(path), Placement::Domain),
            letter(Flow::Inner(inner), Placement::Inner),
            Frame::Send { path, bytes: Bytes::from(vec![0, 255, 13, 10]) },
            Frame::FlowGone(FlowId { node: NodeId(2), boot: 8, number: 9 }),
            Frame::KeptOpen { tenant, peer: path.peer },
            Frame::Watch { tenant, seen: 7 },
            Frame::Show { tenant, changes: vec![What::Cleared] },
            Frame::Ask(Question {
                number: 5,
                key: ObjectKey::new(tenant, Kind::Sound, Uuid::from_u128(9)),
                content: Content::of(b"sound"),
                from: 65_536,
            }),
            Frame::Part { number: 5, bytes: Bytes::from_static(b"sound") },
        ]
    }

    #[test]
    fn frames_come_out_as_they_went_in_even_byte_by_byte() {
        let mut written = BytesMut::new();
        frames().iter().for_each(|frame| frame.write(&mut written).unwrap());
        let (mut read, mut got) = (BytesMut::new(), vec![]);
        for byte in written {
            read.put_u8(byte);
            got.extend(Frame::read(&mut read, LONGEST).unwrap());
        }
        assert_eq!(got, frames());
        assert!(read.is_empty());
    }

    #[test]
    fn what_is_too_long_is_neither_written_nor_awaited() {
        let Frame::Send { path, .. } = frames()[5].clone() else { panic!("a message") };
        let large = Frame::Send { path, bytes: vec![0; LONGEST].into() };
        let mut written = BytesMut::new();
        assert!(matches!(large.write(&mut written), Err(Unreadable::TooLong(_))));
        assert!(written.is_empty());
        let mut head = BytesMut::from(&[0xff; 4][..]);
        let length = usize::try_from(u32::MAX).unwrap();
        assert_eq!(Frame::read(&mut head, LONGEST), Err(Unreadable::TooLong(length)));
    }

    #[test]
    fn noise_is_malformed_and_never_a_panic() {
        let mut noise = 1_u64;
        for length in 0..2_000_u32 {
            let mut bytes = BytesMut::new();
            bytes.put_u32(length % 97);
            for _ in 0..length % 97 {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                bytes.put_u8((noise >> 56) as u8);
            }
            let _ = Frame::read(&mut bytes, LONGEST);
        }
        let mut trailing = BytesMut::from(&[0, 0, 0, 2, 2, 0][..]);
        assert_eq!(Frame::read(&mut trailing, LONGEST), Err(Unreadable::Malformed));
    }
}
