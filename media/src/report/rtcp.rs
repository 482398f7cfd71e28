//! Reports about sound, read and written: what was sent, and how it came.
//!
//! RFC 3550 §6.4 (sender and receiver reports), §6.5.1 (CNAME), §6.6 (BYE).

use crate::packet::{Fit, Packet};

const SENDER: u8 = 200;
const RECEIVER: u8 = 201;
const DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
const BLOCK: usize = 24;
/// From the epoch of NTP (1900) to Unix's, in seconds.
const NTP_EPOCH: u64 = 2_208_988_800;

/// One thing that a report says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// Its sender sent this; the middle of its NTP time names the report.
    Sent { name: u32 },
    /// Of what came from a source.
    Came(Block),
}

/// What a receiver says of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Block {
    pub(crate) about: u32,
    /// Of the packets since the last report, in 256ths.
    pub(crate) fraction: u8,
    pub(crate) lost: i32,
    pub(crate) highest: u32,
    /// In units of the timestamps.
    pub(crate) jitter: u32,
    /// The last sender report that it had from there, and how long ago, in 65,536ths of a second.
    pub(crate) last: u32,
    pub(crate) since: u32,
}

/// What our stream is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sender {
    pub(crate) timestamp: u32,
    pub(crate) packets: u32,
    pub(crate) octets: u32,
}

/// A report of ours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Report<'a> {
    pub(crate) ssrc: u32,
    /// Microseconds since the Unix epoch.
    pub(crate) at_us: u64,
    /// `None` if we send nothing of our own.
    pub(crate) sender: Option<Sender>,
    pub(crate) block: Option<Block>,
    pub(crate) name: &'a str,
    pub(crate) ending: Ending,
}

/// Whether it is the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    GoesOn,
    Ends,
}

/// The middle 32 bits of NTP time.
pub(crate) fn name_at(at_us: u64) -> u32 {
    (ntp(at_us) >> 16) as u32
}

fn ntp(at_us: u64) -> u64 {
    let (seconds, rest) = (at_us / 1_000_000 + NTP_EPOCH, at_us % 1_000_000);
    (seconds << 32) | ((rest << 32) / 1_000_000)
}

/// Reads all that a compound packet says; what is not understood is passed over.
pub(crate) fn read(mut bytes: &[u8], mut told: impl FnMut(Said)) {
    while let Some((&[first, kind, l0, l1], rest)) = bytes.split_first_chunk::<4>() {
        let len = usize::from(u16::from_be_bytes([l0, l1])) * 4;
        let Some(body) = rest.get(..len).filter(|_| first >> 6 == 2) else { return };
        let blocks = match kind {
            SENDER => {
                if let Some(name) = word(body, 2).zip(word(body, 1)) {
                    told(Said::Sent { name: name.1 << 16 | name.0 >> 16 });
                }
                body.get(24..)
            }
            RECEIVER => body.get(4..),
            _ => None,
        };
        let blocks = blocks.unwrap_or_default().chunks_exact(BLOCK);
        for block in blocks.take(usize::from(first & 0x1f)).filter_map(read_block) {
            told(Said::Came(block));
        }
        bytes = rest.get(len..).unwrap_or_default();
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at * 4..)?.first_chunk().map(|word| u32::from_be_bytes(*word))
}

fn read_block(bytes: &[u8]) -> Option<Block> {
    let lost = word(bytes, 1)?;
    Some(Block {
        about: word(bytes, 0)?,
        fraction: (lost >> 24) as u8,
        // 24 bits with a sign: doubled packets may make it negative.
        lost: (lost << 8).cast_signed() >> 8,
        highest: word(bytes, 2)?,
        jitter: word(bytes, 3)?,
        last: word(bytes, 4)?,
        since: word(bytes, 5)?,
    })
}

/// Writes one; it is short, so it fits any packet.
pub(crate) fn write(report: &Report<'_>, packet: &mut Packet<'_>) -> Fit {
    let mut out = Writer { room: [0; 160], len: 0 };
    let blocks = u8::from(report.block.is_some());
    let start = out.begin(0x80 | blocks, if report.sender.is_some() { SENDER } else { RECEIVER });
    out.word(report.ssrc);
    if let Some(sender) = report.sender {
        let ntp = ntp(report.at_us);
        let numbers = [(ntp >> 32) as u32, ntp as u32];
        out.words(&numbers);
        out.words(&[sender.timestamp, sender.packets, sender.octets]);
    }
    if let Some(block) = report.block {
        out.word(block.about);
        let lost = block.lost.clamp(-0x80_0000, 0x7f_ffff).cast_unsigned() & 0xff_ffff;
        out.word(u32::from(block.fraction) << 24 | lost);
        out.words(&[block.highest, block.jitter, block.last, block.since]);
    }
    out.end(start);
    let start = out.begin(0x81, DESCRIPTION);
    out.word(report.ssrc);
    let name = report.name.get(..report.name.len().min(60)).unwrap_or_default();
    out.bytes(&[1, name.len() as u8]);
    out.bytes(name.as_bytes());
    // The list ends with a zero, and then fills its word.
    out.bytes(&[0, 0, 0, 0][..4 - out.len % 4]);
    out.end(start);
    if report.ending == Ending::Ends {
        let start = out.begin(0x81, GOODBYE);
        out.word(report.ssrc);
        out.end(start);
    }
    let whole = out.room.get(..out.len).unwrap_or_default();
    if packet.set_len(whole.len()) == Fit::TooLong {
        return Fit::TooLong;
    }
    packet.bytes_mut().copy_from_slice(whole);
    Fit::Fits
}

/// The longest report with a name of 60 bytes has 52 + 72 + 8.
struct Writer {
    room: [u8; 160],
    len: usize,
}

impl Writer {
    fn bytes(&mut self, bytes: &[u8]) {
        if let Some(room) = self.room.get_mut(self.len..self.len + bytes.len()) {
            room.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    fn word(&mut self, word: u32) {
        self.bytes(&word.to_be_bytes());
    }

    fn words(&mut self, words: &[u32]) {
        words.iter().for_each(|word| self.word(*word));
    }

    fn begin(&mut self, first: u8, kind: u8) -> usize {
        self.bytes(&[first, kind, 0, 0]);
        self.len
    }

    fn end(&mut self, start: usize) {
        let words = ((self.len - start) / 4) as u16;
        if let Some(length) = self.room.get_mut(start - 2..start) {
            length.copy_from_slice(&words.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use pbx::chance::Chance;

    use super::*;
    use crate::packet::tests::room;

    fn said(bytes: &[u8]) -> Vec<Said> {
        let mut all = Vec::new();
        read(bytes, |said| all.push(said));
        all
    }

    fn written(report: &Report<'_>) -> Vec<u8> {
        let (mut room, _) = room(b"");
        let mut packet = Packet::new(&mut room, 0).unwrap();
        assert_eq!(write(report, &mut packet), Fit::Fits);
        packet.bytes().to_vec()
    }

    const BLOCK: Block =
        Block { about: 9, fraction: 25, lost: -3, highest: 70_000, jitter: 44, last: 5, since: 6 };

    #[test]
    fn what_is_written_is_read_again_and_every_part_is_whole() {
        for name in ["", "a", "ab", "abc", "abcd", "0123456789abcdef@nowhere"] {
            for sender in [None, Some(Sender { timestamp: 1, packets: 2, octets: 3 })] {
                let at_us = 1_700_000_000_250_000;
                let ending = Ending::Ends;
                let block = Some(BLOCK);
                let report = Report { ssrc: 7, at_us, sender, block, name, ending };
                let bytes = written(&report);
                assert_eq!(bytes.len() % 4, 0);
                let named = sender.map(|_| Said::Sent { name: name_at(at_us) });
                let expected: Vec<_> = named.into_iter().chain([Said::Came(BLOCK)]).collect();
                assert_eq!(said(&bytes), expected);
                assert_eq!(&bytes[bytes.len() - 8..], [0x81, 203, 0, 1, 0, 0, 0, 7]);
            }
        }
    }

    #[test]
    fn time_is_counted_from_1900() {
        // 2023-11-14 22:13:20.25: 0xe8fe6b70 seconds since 1900.
        assert_eq!(ntp(1_700_000_000_250_000) >> 32, 1_700_000_000 + 2_208_988_800);
        assert_eq!(ntp(1_700_000_000_250_000) as u32, 0x4000_0000);
        assert_eq!(name_at(1_700_000_000_250_000) & 0xffff, 0x4000);
    }

    #[test]
    fn a_report_of_another_implementation_is_read() {
        // pjsua's, as it came over the wire: SR, one block, and an SDES.
        let mut bytes = vec![0x81, 200, 0, 12, 0, 0, 0, 1];
        bytes.extend([0xe8, 0xfe, 0x6b, 0x70, 0x40, 0, 0, 0, 0, 0, 3, 0xe8, 0, 0, 0, 50]);
        bytes.extend([0, 0, 0x1f, 0x40, 0, 0, 0, 2, 13, 0, 0, 7, 0, 0, 0, 99, 0, 0, 0, 8]);
        bytes.extend([1, 2, 3, 4, 0, 1, 0, 0]);
        bytes.extend([0x81, 202, 0, 2, 0, 0, 0, 1, 1, 1, b'x', 0]);
        let block = Block {
            about: 2,
            fraction: 13,
            lost: 7,
            highest: 99,
            jitter: 8,
            last: 0x0102_0304,
            since: 65_536,
        };
        assert_eq!(said(&bytes), [Said::Sent { name: 0x6b70_4000 }, Said::Came(block)]);
    }

    #[test]
    fn rubbish_says_nothing_and_breaks_nothing() {
        let mut chance = Chance::from_seed([5; 32]);
        for _ in 0..20_000 {
            let mut bytes = vec![0; chance.below(120) as usize];
            chance.fill(&mut bytes);
            if let [first, kind, high, low, ..] = &mut *bytes {
                *first = *first & 0x1f | 0x80;
                *kind = 200 + *kind % 4;
                (*high, *low) = (0, *low % 32);
            }
            assert!(said(&bytes).len() <= 40);
        }
        assert_eq!(said(&[]), []);
        assert_eq!(said(&[0x9f, 201, 0, 1, 0, 0, 0, 1]), [], "31 blocks told, none there");
    }
}
