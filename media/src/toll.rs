//! What encryption does to one packet, and what a handshake takes: for those who measure it.
//!
//! Streams and handshakes as a worker has them, with no port, thread or clock, so that a bench sees
//! what they cost and nothing else.

use pbx::media::{DtlsRole, Key};
use pbx::moment::Moment;

use crate::dtls::{Association, Identity, NoCertificate, Room, Step};
use crate::guard::{Guard, Kind};
use crate::packet::{Packet, ROOM};

/// How much sound is in a packet of 20 ms of G.711.
const SOUND: usize = 160;
const NOW: Moment = Moment::from_secs(1_000);

/// A stream that is sealed at one end, and opened at the other.
#[derive(Debug)]
pub struct Stream {
    here: Guard,
    there: Guard,
    room: Box<[u8; ROOM]>,
    sequence: u16,
}

impl Stream {
    /// One that is sealed with this key.
    pub fn begin(key: &Key) -> Self {
        let [here, there] = [0, 1].map(|_| {
            let mut guard = Guard::default();
            guard.take_keys(NOW, key, key);
            guard
        });
        Self { here, there, room: Box::new([0; ROOM]), sequence: 0 }
    }

    /// Writes the next packet, and does nothing to it.
    pub fn pass(&mut self) -> usize {
        self.next().len()
    }

    /// Seals the next packet; how long it is.
    pub fn seal(&mut self) -> Option<usize> {
        let mut packet = next(&mut self.room, &mut self.sequence)?;
        self.here.seal(Kind::Sound, &mut packet).ok()?;
        Some(packet.len())
    }

    /// Seals the next packet and opens it; how long it is.
    pub fn seal_and_open(&mut self) -> Option<usize> {
        let mut packet = next(&mut self.room, &mut self.sequence)?;
        self.here.seal(Kind::Sound, &mut packet).ok()?;
        self.there.open(NOW, Kind::Sound, &mut packet).ok()?;
        Some(packet.len())
    }

    fn next(&mut self) -> &[u8] {
        next(&mut self.room, &mut self.sequence);
        self.room.get(..12 + SOUND).unwrap_or_default()
    }
}

fn next<'a>(room: &'a mut Box<[u8; ROOM]>, sequence: &mut u16) -> Option<Packet<'a>> {
    *sequence = sequence.wrapping_add(1);
    room[..12].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 7, 7, 7, 7]);
    room[2..4].copy_from_slice(&sequence.to_be_bytes());
    Packet::new(room.as_mut_slice(), 12 + SOUND)
}

/// Two ends of handshakes.
#[derive(Debug)]
pub struct Ends {
    client: Identity,
    server: Identity,
}

/// What a handshake ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Both have the same keys.
    Agreed,
    /// They do not.
    Failed,
}

impl Ends {
    /// With a certificate each.
    pub fn make() -> Result<Self, NoCertificate> {
        Ok(Self { client: Identity::make()?, server: Identity::make()? })
    }

    /// A handshake from its first hello to both ends' keys; both ends' work.
    pub fn shake(&self) -> Ended {
        let there = ([127, 0, 0, 1], 9).into();
        let mut client = Association::new(DtlsRole::Client, self.server.fingerprint());
        let mut server = Association::new(DtlsRole::Server, self.client.fingerprint());
        client.handle_way(NOW, &self.client, there, Room::Free);
        let mut agreed = 0;
        for _ in 0..8 {
            while let Some((_, bytes)) = client.poll_output() {
                let step = server.handle_datagram(NOW, &self.server, (there, &bytes), Room::Free);
                agreed += usize::from(matches!(step, Step::Agreed { .. }));
            }
            while let Some((_, bytes)) = server.poll_output() {
                let step = client.handle_datagram(NOW, &self.client, (there, &bytes), Room::Free);
                agreed += usize::from(matches!(step, Step::Agreed { .. }));
            }
            if agreed == 2 {
                return Ended::Agreed;
            }
        }
        Ended::Failed
    }
}
