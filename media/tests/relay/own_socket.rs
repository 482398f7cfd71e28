//! A phone that stays where it is gets a socket of its own at the same port, and is still followed.

use std::net::SocketAddr;

use pbx::media::Event;

use crate::phone::{Phone, hear, hears_nothing};
use crate::stage::{Sound, V4, comes};
use crate::way::{Way, with_both_ways};

with_both_ways! {
    a_phone_that_stays_has_a_socket_of_its_own_and_is_still_followed
}

fn a_phone_that_stays_has_a_socket_of_its_own_and_is_still_followed(way: Way) {
    let sound = Sound::start(way, 22_800..=22_899);
    let [(mut ada, to_ada), (mut bob, to_bob)] = sound.call(V4);
    for _ in 0..4 {
        assert_eq!(ada.send(to_ada[0]), hear(&bob.sound));
    }
    assert_eq!(connected_at(to_ada[0].port()), None, "it may be a short call");
    settled(to_ada[0], Some(ada.address()));
    assert_eq!(connected_at(to_bob[0].port()), None, "bob has said nothing yet");
    for _ in 0..4 {
        assert_eq!(ada.send(to_ada[0]), hear(&bob.sound));
        assert_eq!(bob.send(to_bob[0]), hear(&ada.sound));
    }
    let mut thief = Phone::new(V4, 99);
    thief.send(to_ada[0]);
    hears_nothing(&bob.sound);
    assert!(share(to_ada[0]).is_err(), "the port is ours alone");

    // Signalling says that she is elsewhere now.
    let mut moved = Phone::new(V4, 1);
    sound.aim(0, moved.address());
    for _ in 0..4 {
        assert_eq!(moved.send(to_ada[0]), hear(&bob.sound));
        assert_eq!(bob.send(to_bob[0]), hear(&moved.sound));
    }
    settled(to_ada[0], Some(moved.address()));
    assert_eq!(bob.send(to_bob[0]), hear(&moved.sound));
    assert_eq!(moved.send(to_ada[0]), hear(&bob.sound));
    while !matches!(sound.event(), Event::Latched { side, peer } if (side, peer) == (sound.side(0), moved.address()))
    {
    }
    assert_eq!(sound.close(0).strangers, 1);
    assert_eq!(connected_at(to_ada[0].port()), None);
}

/// Waits until the kernel says that a port of ours is connected to this address.
fn settled(ours: SocketAddr, to: Option<SocketAddr>) {
    comes(&format!("{ours} is connected to {to:?}"), || match connected_at(ours.port()) {
        found if found == to => Ok(()),
        found => Err(found),
    });
}

/// Whom a port of this machine is connected to.
fn connected_at(port: u16) -> Option<SocketAddr> {
    let table = std::fs::read_to_string("/proc/net/udp").unwrap();
    table.lines().skip(1).find_map(|line| {
        let mut addresses = line.split_whitespace().skip(1).take(2).map(|text| {
            let (ip, port) = text.split_once(':').unwrap();
            let ip = u32::from_str_radix(ip, 16).unwrap().to_ne_bytes();
            SocketAddr::from((ip, u16::from_str_radix(port, 16).unwrap()))
        });
        let (ours, theirs) = (addresses.next().unwrap(), addresses.next().unwrap());
        (ours.port() == port && theirs.port() != 0).then_some(theirs)
    })
}

/// Tries to have a port beside whoever has it.
fn share(address: SocketAddr) -> nix::Result<()> {
    use nix::sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
    };
    let fd = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::empty(), None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrStorage::from(address))
}
