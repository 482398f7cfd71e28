//! Breaks messages in the ways in which they break parsers: cut, doubled, spliced, salted.

use bytes::Bytes;
use pbx::chance::Chance;

/// What parsers stumble over.
const SALT: &[&[u8]] = &[
    b"\r\n",
    b"\r\n ",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\0",
    b"\xff",
    b"\xc3",
    b"\"",
    b"\\",
    b"<",
    b">",
    b",",
    b";",
    b":",
    b"@",
    b"%",
    b"%4",
    b"[",
    b"]",
    b"*",
    b"=",
    b"?",
    b" ",
    b"\t",
    b"/",
    b"::",
    b":::1.2.3.4",
    b"SIP/2.0",
    b"SIP/2.0/UDP h",
    b"\r\nContent-Length: 3\r\n",
    b"\r\nv: SIP/2.0/UDP h;rport\r\n",
    b";received=1",
    b";rport",
    b";tag=",
    b"99999999999999999999",
    b"-1",
    b"sip:",
    b"tel:",
    b"\r\nm: *\r\n",
    b"\r\nRequire: x\r\n",
    b"65536",
    b"\xe2\x80\xa8",
];

/// An endless row of broken messages.
pub(crate) struct Mutations<'a> {
    seeds: &'a [Bytes],
    chance: Chance,
}

impl<'a> Mutations<'a> {
    /// Breaks `seeds`; the same seed of chance breaks them alike.
    pub(crate) fn of(seeds: &'a [Bytes], chance: [u8; 32]) -> Self {
        Self { seeds, chance: Chance::from_seed(chance) }
    }

    /// The next one.
    pub(crate) fn next(&mut self) -> Bytes {
        let mut message = self.seed().to_vec();
        for _ in 0..=self.below(4) {
            self.mutate(&mut message);
        }
        Bytes::from(message)
    }

    fn mutate(&mut self, message: &mut Vec<u8>) {
        let from = self.below(message.len());
        let length = self.below(24).min(message.len() - from);
        match self.below(8) {
            0 => message.truncate(from),
            1 => drop(message.drain(from..from + length)),
            2 => message.extend_from_within(from..from + length),
            3 => {
                let again = message[from..from + length].to_vec();
                message.splice(from..from, again);
            }
            4 => {
                let other = self.seed();
                let at = self.below(other.len());
                message.truncate(from);
                message.extend_from_slice(&other[at..]);
            }
            5 => {
                if let Some(byte) = message.get_mut(from) {
                    *byte ^= 1 << self.chance.below(8);
                }
            }
            _ => {
                let salt = SALT[self.below(SALT.len())];
                let over = self.below(3).min(message.len() - from);
                message.splice(from..from + over, salt.iter().copied());
            }
        }
    }

    fn seed(&mut self) -> Bytes {
        let at = self.below(self.seeds.len());
        self.seeds[at].clone()
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.chance.below(end as u64)).unwrap()
    }
}
