//! Sound files, as phones write and read them: 16-bit PCM in a RIFF container.

use std::fs;
use std::path::Path;

use crate::failure::{Failure, Outcome};

/// Sound, one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sound {
    /// Samples a second.
    pub rate: u32,
    /// The samples.
    pub samples: Vec<i16>,
}

impl Sound {
    /// Reads a file. One whose writer was killed holds no sizes: then everything up to its end
    /// counts.
    ///
    /// # Errors
    /// If it is no such file.
    pub fn read(path: &Path) -> Outcome<Self> {
        Self::read_ear(path, 0)
    }

    /// Reads one channel of a file; the first is 0.
    ///
    /// # Errors
    /// If it is no such file, or has no such channel.
    pub fn read_ear(path: &Path, ear: usize) -> Outcome<Self> {
        let bytes = fs::read(path)?;
        Self::parse(&bytes, ear)
            .ok_or_else(|| Failure::new(format!("{} is no 16-bit PCM file", path.display())))
    }

    /// Writes a file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Outcome {
        let length = u32::try_from(self.samples.len() * 2)?;
        let mut bytes =
            [&b"RIFF"[..], &(length + 36).to_le_bytes(), b"WAVEfmt \x10\0\0\0"].concat();
        // PCM, one channel.
        bytes.extend(b"\x01\0\x01\0");
        bytes.extend(self.rate.to_le_bytes());
        bytes.extend((self.rate * 2).to_le_bytes());
        bytes.extend(b"\x02\0\x10\0data");
        bytes.extend(length.to_le_bytes());
        bytes.extend(self.samples.iter().flat_map(|sample| sample.to_le_bytes()));
        Ok(fs::write(path, bytes)?)
    }

    /// The part from `from` seconds on.
    pub fn after(&self, from: f64) -> Self {
        let skipped = (from * f64::from(self.rate)) as usize;
        Self { rate: self.rate, samples: self.samples.iter().skip(skipped).copied().collect() }
    }

    /// How long it is, in seconds.
    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.rate)
    }

    fn parse(bytes: &[u8], ear: usize) -> Option<Self> {
        let rest = bytes.strip_prefix(b"RIFF")?.get(4..)?;
        let mut rest = rest.strip_prefix(b"WAVE")?;
        let mut format = None;
        loop {
            let (name, size) = (rest.get(..4)?, rest.get(4..8)?.try_into().ok()?);
            let size = usize::try_from(u32::from_le_bytes(size)).ok()?;
            rest = rest.get(8..)?;
            if name == b"data" {
                let (rate, channels) = format?;
                if ear >= channels {
                    return None;
                }
                let end = if size == 0 { rest.len() } else { size.min(rest.len()) };
                let samples = rest.get(..end)?.chunks_exact(2 * channels).map(|frame| match frame
                    .get(2 * ear..)
                {
                    Some([low, high, ..]) => i16::from_le_bytes([*low, *high]),
                    Some(_) | None => 0,
                });
                return Some(Self { rate, samples: samples.collect() });
            }
            if name == b"fmt " {
                format = Some(parse_format(rest)?);
            }
            rest = rest.get(size + size % 2..)?;
        }
    }
}

/// Rate and channels; none if the samples are not 16-bit PCM.
fn parse_format(bytes: &[u8]) -> Option<(u32, usize)> {
    let short = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let rate = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?);
    let channels = usize::from(short(2)?);
    let is_pcm = short(0)? == 1 && short(14)? == 16 && channels > 0 && rate > 0;
    is_pcm.then_some((rate, channels))
}

#[cfg(test)]
mod tests {
    use super::Sound;

    #[test]
    fn the_first_channel_is_read_whether_or_not_the_writer_could_finish() {
        let expected = Some(Sound { rate: 8_000, samples: vec![1, -2] });
        for size in [8_u32, 0, u32::MAX] {
            assert_eq!(Sound::parse(&stereo(size), 0), expected, "size {size}");
            let second = Some(Sound { rate: 8_000, samples: vec![9, 9] });
            assert_eq!(Sound::parse(&stereo(size), 1), second, "size {size}");
            assert_eq!(Sound::parse(&stereo(size), 2), None, "size {size}");
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let sound = Sound { rate: 16_000, samples: vec![7, -300, 32_767] };
        let path = std::env::temp_dir().join(format!("written-{}.wav", std::process::id()));
        sound.write(&path).unwrap();
        let read = Sound::read(&path);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read.unwrap(), sound);
    }

    #[test]
    fn half_a_file_is_refused_without_harm() {
        let whole = stereo(8);
        for end in 0..whole.len() - 8 {
            assert_eq!(Sound::parse(&whole[..end], 0), None, "{end} bytes");
        }
    }

    fn stereo(size: u32) -> Vec<u8> {
        let mut bytes = b"RIFF\0\0\0\0WAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0\x01\0\x02\0".to_vec();
        bytes.extend(8_000_u32.to_le_bytes());
        bytes.extend(32_000_u32.to_le_bytes());
        bytes.extend(b"\x04\0\x10\0data");
        bytes.extend(size.to_le_bytes());
        bytes.extend([1_i16, 9, -2, 9].into_iter().flat_map(i16::to_le_bytes));
        bytes
    }
}
