//! A phone of a test: a pair of ports and a stream.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::stage::{COMES_WITHIN, STAYS_AWAY_FOR};

/// A phone: a pair of ports and a stream.
pub(crate) struct Phone {
    pub(crate) sound: UdpSocket,
    pub(crate) reports: UdpSocket,
    ssrc: u32,
    sequence: u16,
}

impl Phone {
    pub(crate) fn new(local: IpAddr, ssrc: u32) -> Self {
        Self::bound(SocketAddr::new(local, 0), ssrc)
    }

    pub(crate) fn bound(mut local: SocketAddr, ssrc: u32) -> Self {
        loop {
            local.set_port(0);
            let sound = UdpSocket::bind(local).unwrap();
            let Some(next) = sound.local_addr().unwrap().port().checked_add(1) else { continue };
            local.set_port(next);
            let Ok(reports) = UdpSocket::bind(local) else { continue };
            return Self { sound, reports, ssrc, sequence: 65_530 };
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.sound.local_addr().unwrap()
    }

    fn next_packet(&mut self) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        let timestamp = u32::from(self.sequence.wrapping_add(6)) * 160;
        let mut packet = vec![0x80, 0];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend(self.ssrc.to_be_bytes());
        packet.extend([self.ssrc as u8; 160]);
        packet
    }

    pub(crate) fn send(&mut self, to: SocketAddr) -> Vec<u8> {
        let packet = self.next_packet();
        self.sound.send_to(&packet, to).unwrap();
        packet
    }
}

pub(crate) fn hear(socket: &UdpSocket) -> Vec<u8> {
    hear_within(socket, COMES_WITHIN).expect("something is heard")
}

pub(crate) fn hears_nothing(socket: &UdpSocket) {
    assert_eq!(hear_within(socket, STAYS_AWAY_FOR), None);
}

pub(crate) fn hear_within(socket: &UdpSocket, within: Duration) -> Option<Vec<u8>> {
    socket.set_read_timeout(Some(within)).unwrap();
    let mut room = [0; 2_048];
    let (len, _) = socket.recv_from(&mut room).ok()?;
    Some(room[..len].to_vec())
}
