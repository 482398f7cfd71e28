//! Reading what the kernel writes beside a datagram, and the address that one is to go to.
//!
//! `struct io_uring_recvmsg_out` of Linux, and its `sockaddr_in` and `sockaddr_in6`: in the machine's own
//! order of bytes, but for ports and addresses.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use nix::libc;

use crate::packet::Packet;

/// Four numbers: the lengths of address, control data and datagram, and flags.
const HEAD: usize = 16;
/// The longer of the two addresses.
pub(super) const ADDRESS: usize = 28;
/// An IPv4 address.
const ADDRESS_V4: usize = 16;
/// What lies before the datagram.
pub(super) const BEFORE: usize = HEAD + ADDRESS;
/// Where the address lies.
pub(super) const ADDRESS_AT: usize = HEAD;

/// Who sent it, and the datagram; `None` if it was cut off, is too long or comes from nowhere.
pub(super) fn read(written: &mut [u8]) -> Option<(SocketAddr, Packet<'_>)> {
    let (head, rest) = written.split_first_chunk_mut::<HEAD>()?;
    let (address, room) = rest.split_first_chunk_mut::<ADDRESS>()?;
    let len = u32::from_ne_bytes([head[8], head[9], head[10], head[11]]);
    let flags = u32::from_ne_bytes([head[12], head[13], head[14], head[15]]);
    let named = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]);
    if named == 0 || flags & libc::MSG_TRUNC as u32 != 0 {
        return None;
    }
    let source = address_from(address)?;
    Some((source, Packet::new(room, usize::try_from(len).ok()?)?))
}

fn address_from(bytes: &[u8; ADDRESS]) -> Option<SocketAddr> {
    let family = i32::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
    let port = u16::from_be_bytes([bytes[2], bytes[3]]);
    match family {
        libc::AF_INET => {
            let ip = Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]);
            Some(SocketAddrV4::new(ip, port).into())
        }
        libc::AF_INET6 => {
            let (ip, scope) = (bytes.get(8..24)?, bytes.get(24..28)?);
            let ip = Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?);
            let scope = u32::from_ne_bytes(scope.try_into().ok()?);
            Some(SocketAddrV6::new(ip, port, 0, scope).into())
        }
        _ => None,
    }
}

/// Writes where a datagram is to go, and says how long that is.
pub(super) fn write_address(into: &mut [u8; ADDRESS], address: SocketAddr) -> usize {
    let family = match address {
        SocketAddr::V4(_) => libc::AF_INET,
        SocketAddr::V6(_) => libc::AF_INET6,
    };
    *into = [0; ADDRESS];
    let mut write = |at: usize, bytes: &[u8]| {
        for (place, byte) in into.iter_mut().skip(at).zip(bytes) {
            *place = *byte;
        }
    };
    write(0, &(family as u16).to_ne_bytes());
    write(2, &address.port().to_be_bytes());
    match address {
        SocketAddr::V4(address) => {
            write(4, &address.ip().octets());
            ADDRESS_V4
        }
        SocketAddr::V6(address) => {
            write(8, &address.ip().octets());
            write(24, &address.scope_id().to_ne_bytes());
            ADDRESS
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel writes it: lengths, flags, the address, the datagram.
    fn written(from: &str, datagram: &[u8], flags: u32) -> Vec<u8> {
        let mut address = [0xff; ADDRESS];
        let len = write_address(&mut address, from.parse().unwrap());
        let head = [len as u32, 0, datagram.len() as u32, flags].map(u32::to_ne_bytes).concat();
        [&head, &address[..], datagram].concat()
    }

    #[test]
    fn an_address_is_read_as_it_was_written() {
        for text in ["198.51.100.7:26000", "[2001:db8::7]:9", "[fe80::1%3]:65535"] {
            let mut written = written(text, b"sound", 0);
            let (source, packet) = read(&mut written).unwrap();
            assert_eq!((source, packet.bytes()), (text.parse().unwrap(), &b"sound"[..]));
        }
    }

    #[test]
    fn what_was_cut_off_and_what_makes_no_sense_is_no_packet() {
        let cut_off = libc::MSG_TRUNC as u32;
        assert!(read(&mut written("198.51.100.7:9", b"sound", cut_off)).is_none());
        let mut nobodys = written("198.51.100.7:9", b"sound", 0);
        nobodys[HEAD] = 0xee;
        assert!(read(&mut nobodys).is_none(), "a family that nobody knows");
        let whole = written("198.51.100.7:9", b"sound", 0);
        for len in 0..whole.len() {
            assert!(read(&mut whole[..len].to_vec()).is_none(), "{len} bytes");
        }
    }
}
