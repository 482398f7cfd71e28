//! Breaks inputs in the ways in which they break parsers: cut, doubled, spliced, salted.

use bytes::Bytes;
use pbx::chance::Chance;

/// What parsers stumble over.
pub(crate) type Salt = &'static [&'static [u8]];

/// Parsers of SIP.
pub(crate) const SIP: Salt = &[
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

/// Parsers of session descriptions.
pub(crate) const SDP: Salt = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b"\xff",
    b" ",
    b"=",
    b":",
    b"/",
    b"v=0\r\n",
    b"\r\nc=IN IP6 ::1\r\n",
    b"\r\nc=IN IP4 0.0.0.0\r\n",
    b"\r\nm=audio 0 RTP/AVP 0\r\n",
    b"\r\nm=audio 65536 RTP/AVP 0\r\n",
    b"\r\nm=AUDIO 9/2 RTP/SAVP 0 8\r\n",
    b"\r\na=inactive\r\n",
    b"\r\na=sendonly:x\r\n",
    b"\r\na=rtcp:65535 IN IP6 ::1\r\n",
    b"\r\na=rtcp\r\n",
    b"\r\nb=AS:99999999999999999999\r\n",
    b"\r\nt=0 0\r\nr=7d 1h 0 25h\r\n",
    b"\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\n",
    b"\r\na=crypto:2 AEAD_AES_128_GCM inline:|2^31|1:4 KDR=1\r\n",
    b"\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 stereo=1;=;maxaveragebitrate=-1\r\n",
    b"\r\na=rtpmap:127 telephone-event/8000\r\n",
    b"\r\na=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n",
    b"\r\nm=audio 4000 UDP/TLS/RTP/SAVPF 96 97 127 128 8 8\r\n",
    b"\r\na=setup:holdconn\r\na=mid:\xff\r\n",
    b"\r\na=ptime:0\r\na=maxptime:65536\r\n",
    b"\r\nz=2882844526 -1h 2898848070 0\r\n",
    b"\r\nk=prompt\r\n",
    b"18446744073709551616",
    b"%eth0",
    b"[::]",
    b"::ffff:192.0.2.1",
];

/// Parsers of numbers and lengths.
pub(crate) const BINARY: Salt = &[
    b"\0",
    b"\0\0",
    b"\0\x01",
    b"\0\x04",
    b"\0\x08",
    b"\x01",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\x7f\xff",
    b"\x80\0",
    b"\xff\xff",
    b"\xff\xff\xff\xff",
    b"\x80\0\0\0",
    b"\x21\x12\xa4\x42",
    b"\0\x03\0\x04\0\0\0\x06",
    b"\0\x26\0\x08",
    b"\0\x27\0\x04\x12\x34\0\0",
    b"\x80\x28\0\x04\0\0\0\0",
    b"\0\x08\0\x14",
    b"\x80\xc9\0\x01",
    b"\x90\0",
    b"\xbf\xff",
];

/// An endless row of broken inputs.
pub(crate) struct Mutations<'a> {
    seeds: &'a [Bytes],
    salt: Salt,
    chance: Chance,
}

impl<'a> Mutations<'a> {
    /// Breaks `seeds` with `salt`; the same seed of chance breaks them alike.
    pub(crate) fn of(seeds: &'a [Bytes], salt: Salt, chance: [u8; 32]) -> Self {
        Self { seeds, salt, chance: Chance::from_seed(chance) }
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
                let salt = self.salt[self.below(self.salt.len())];
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
