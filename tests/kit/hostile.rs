//! Recordings that nobody made to be heard: small ones that claim to be endless, and headers that lie.

/// A file, what it is called, and by which words it may be refused.
#[derive(Debug, Clone)]
pub struct Hostile {
    /// What it is.
    pub name: &'static str,
    /// All of it.
    pub bytes: Vec<u8>,
    /// How it may be refused.
    pub words: &'static [&'static str],
}

/// All of them.
pub fn all() -> Vec<Hostile> {
    let hostile = |name, bytes, words| Hostile { name, bytes, words };
    let anything: &[&str] =
        &["broken", "breaks_off", "not_sound", "strange", "too_long", "too_costly"];
    vec![
        hostile("ten hours of silence in some kilobytes", silence(10 * 3_600, 0), &["too_long"]),
        hostile("ten hours that say so", silence(10 * 3_600, 10 * 3_600 * 8_000), &["too_long"]),
        hostile(
            "ten hours that say they are none",
            silence(10 * 3_600, 8_000),
            &["too_long", "broken"],
        ),
        hostile(
            "a header, and a promise of four gigabytes",
            wave(1, 8_000, 16, u32::MAX - 40, 100),
            anything,
        ),
        hostile("sixty thousand channels", wave(60_000, 8_000, 16, 1_000_000, 1_000_000), anything),
        hostile("no channels", wave(0, 8_000, 16, 1_000, 1_000), anything),
        hostile("no rate", wave(1, 0, 16, 1_000, 1_000), anything),
        hostile("a rate of gigahertz", wave(1, 4_000_000_000, 16, 1_000, 1_000), &["strange"]),
        hostile("samples of no bits", wave(1, 8_000, 0, 1_000, 1_000), anything),
        hostile("samples of thousands of bits", wave(1, 8_000, 65_535, 1_000, 1_000), anything),
        hostile("half of what it says", wave(1, 8_000, 16, 160_000, 80_000), anything),
        hostile("a film's index of billions of pieces", index(u32::MAX), anything),
        hostile("a tag that is larger than the file", tag(), anything),
        hostile("zeros", vec![0; 1 << 20], anything),
        hostile("ones", vec![0xff; 1 << 20], anything),
    ]
}

/// FLAC (RFC 9639) that holds nothing but the word "silence", once for each 8 seconds.
fn silence(seconds: u64, says: u64) -> Vec<u8> {
    const BLOCK: u64 = 65_535;
    const RATE: u64 = 8_000;
    let mut file = b"fLaC\x80\0\0\x22".to_vec();
    file.extend([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0]);
    // Rate in 20 bits, channels in 3, bits in 5, samples in 36; then a checksum that is not there.
    let about = (RATE << 44) | (15 << 36) | (says & 0xf_ffff_ffff);
    file.extend(about.to_be_bytes());
    file.extend([0; 16]);
    for number in 0..seconds * RATE / BLOCK {
        let mut frame = vec![0xff, 0xf8, 0x74, 0x08];
        frame.extend(as_utf8(number));
        frame.extend((BLOCK as u16 - 1).to_be_bytes());
        frame.push(crc(&frame, 8, 0x07) as u8);
        // One constant sample stands for all.
        frame.extend([0, 0, 0]);
        let sum = crc(&frame, 16, 0x8005);
        frame.extend(sum.to_be_bytes());
        file.extend(frame);
    }
    file
}

/// A number as UTF-8 would write it, which FLAC does (RFC 9639 §9.1.5).
fn as_utf8(number: u64) -> Vec<u8> {
    match number {
        0..0x80 => vec![number as u8],
        0x80..0x800 => vec![0xc0 | (number >> 6) as u8, 0x80 | (number & 0x3f) as u8],
        _ => vec![
            0xe0 | (number >> 12) as u8,
            0x80 | (number >> 6 & 0x3f) as u8,
            0x80 | (number & 0x3f) as u8,
        ],
    }
}

fn crc(bytes: &[u8], width: u32, polynomial: u32) -> u16 {
    let mut sum = 0_u32;
    for byte in bytes {
        sum ^= u32::from(*byte) << (width - 8);
        for _ in 0..8 {
            let carry = sum >> (width - 1) & 1;
            sum = ((sum << 1) ^ (carry * polynomial)) & ((1 << width) - 1);
        }
    }
    sum as u16
}

/// RIFF WAVE whose header says all this, before so many bytes.
fn wave(channels: u16, rate: u32, bits: u16, says: u32, holds: usize) -> Vec<u8> {
    let frame = u32::from(channels) * u32::from(bits) / 8;
    let mut file = b"RIFF".to_vec();
    file.extend(says.saturating_add(36).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0");
    file.extend(channels.to_le_bytes());
    file.extend(rate.to_le_bytes());
    file.extend(rate.wrapping_mul(frame).to_le_bytes());
    file.extend((frame as u16).to_le_bytes());
    file.extend(bits.to_le_bytes());
    file.extend(b"data");
    file.extend(says.to_le_bytes());
    file.extend((0..holds).map(|at| at as u8));
    file
}

/// An MP4 (ISO 14496-12) whose table of samples claims to have so many entries.
fn index(entries: u32) -> Vec<u8> {
    let atom = |name: &[u8; 4], inside: &[u8]| {
        let long = u32::try_from(inside.len() + 8).expect("it is small");
        [&long.to_be_bytes(), &name[..], inside].concat()
    };
    let table =
        |name: &[u8; 4]| atom(name, &[&[0; 4][..], &entries.to_be_bytes(), &[0; 64]].concat());
    let sizes = atom(b"stsz", &[&[0; 8][..], &entries.to_be_bytes(), &[0; 64]].concat());
    let tables = [table(b"stts"), table(b"stsc"), sizes, table(b"stco"), table(b"stsd")].concat();
    let media = atom(b"mdia", &atom(b"minf", &atom(b"stbl", &tables)));
    let film = atom(b"moov", &atom(b"trak", &media));
    [atom(b"ftyp", b"M4A \0\0\0\0M4A isom"), film, atom(b"mdat", &[0; 64])].concat()
}

/// An ID3 tag that claims all that its length can say.
fn tag() -> Vec<u8> {
    [&b"ID3\x04\0\0\x7f\x7f\x7f\x7f"[..], &[b'A'; 4_000]].concat()
}
