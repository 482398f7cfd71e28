//! What people bring, in all the forms in which they bring it.

use std::f32::consts::PI;
use std::time::Duration;

use super::*;

const LIMITS: Limits = Limits { longest: Duration::from_secs(10) };

macro_rules! sample {
    ($name:literal) => {
        include_bytes!(concat!("../../../tests/fixtures/sounds/", $name)).as_slice()
    };
}

/// How much of the sound is a tone of this pitch, of 1.
fn share_of(hertz: f32, samples: &[i16]) -> f32 {
    let (mut sine, mut cosine, mut all) = (0.0, 0.0, 0.0);
    for (at, sample) in samples.iter().enumerate() {
        let (angle, sample) = (2.0 * PI * hertz * at as f32 / RATE as f32, f32::from(*sample));
        sine += sample * angle.sin();
        cosine += sample * angle.cos();
        all += sample * sample;
    }
    2.0 * (sine * sine + cosine * cosine) / (all * samples.len() as f32)
}

/// A file of 16-bit samples as any program would write it, with a tone in its first channel.
fn wav(rate: u32, channels: u16, hertz: f32, seconds: f32) -> Vec<u8> {
    let frames = (rate as f32 * seconds) as u32;
    let long = frames * u32::from(channels) * 2;
    let mut file = Vec::new();
    file.extend_from_slice(b"RIFF");
    file.extend_from_slice(&(36 + long).to_le_bytes());
    file.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0");
    file.extend_from_slice(&channels.to_le_bytes());
    file.extend_from_slice(&rate.to_le_bytes());
    file.extend_from_slice(&(rate * u32::from(channels) * 2).to_le_bytes());
    file.extend_from_slice(&(channels * 2).to_le_bytes());
    file.extend_from_slice(b"\x10\0data");
    file.extend_from_slice(&long.to_le_bytes());
    for frame in 0..frames {
        let sample = (2.0 * PI * hertz * frame as f32 / rate as f32).sin() * 8_000.0;
        file.extend_from_slice(&(sample as i16).to_le_bytes());
        file.extend((1..channels).flat_map(|_| [0, 0]));
    }
    file
}

#[test]
fn every_form_that_people_bring_becomes_the_same_tone() {
    for (name, file, seconds) in [
        // Its encoder adds a little noise.
        ("m4a", sample!("tone.m4a"), 2.0),
        ("mp3", sample!("tone.mp3"), 2.0),
        ("vorbis", sample!("tone.ogg"), 2.0),
        ("opus", sample!("tone.opus"), 2.0),
        ("flac", sample!("tone.flac"), 1.0),
        ("adpcm", sample!("tone-adpcm.wav"), 2.0),
        ("a-law", sample!("tone-alaw.wav"), 1.0),
    ] {
        let samples = read(file.to_vec(), LIMITS).unwrap_or_else(|no| panic!("{name}: {no:?}"));
        let lasts = samples.len() as f32 / RATE as f32;
        assert!((lasts - seconds).abs() < 0.06, "{name}: {lasts} s");
        let inside = samples.get(1_600..samples.len() - 1_600).unwrap();
        assert!(share_of(1_000.0, inside) > 0.95, "{name}: {}", share_of(1_000.0, inside));
        let loud = inside.iter().map(|s| f32::from(*s).powi(2)).sum::<f32>() / inside.len() as f32;
        let loud = loud.sqrt() / 32_768.0;
        assert!((0.09..0.13).contains(&loud), "{name}: {loud}");
    }
}

#[test]
fn plain_samples_of_any_rate_and_number_of_channels_are_taken() {
    for rate in [8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000] {
        for channels in [1, 2, 6] {
            let samples = read(wav(rate, channels, 440.0, 0.5), LIMITS).unwrap();
            assert!((7_990..=8_010).contains(&samples.len()), "{rate}: {}", samples.len());
            let inside = samples.get(800..7_200).unwrap();
            assert!(share_of(440.0, inside) > 0.98, "{rate} {channels}");
        }
    }
}

#[test]
fn a_header_that_lies_is_no_way_in() {
    let good = wav(8_000, 1, 440.0, 1.0);
    let with = |at: usize, bytes: &[u8]| {
        let mut file = good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        read(file, LIMITS).map(|samples| samples.len())
    };
    assert_eq!(with(22, &0_u16.to_le_bytes()).map(drop), Err(Refusal::Broken), "no channel");
    assert!(with(22, &60_000_u16.to_le_bytes()).is_err(), "channels that nobody has");
    assert!(with(24, &0_u32.to_le_bytes()).is_err(), "no rate");
    assert_eq!(with(24, &4_000_000_000_u32.to_le_bytes()), Err(Refusal::Strange));
    assert_eq!(with(24, &100_u32.to_le_bytes()), Err(Refusal::Strange));
    assert!(with(34, &0_u16.to_le_bytes()).is_err(), "samples without bits");
    let long = |long: u32| {
        let mut file = good.clone();
        file[4..8].copy_from_slice(&long.saturating_add(36).to_le_bytes());
        file[40..44].copy_from_slice(&long.to_le_bytes());
        read(file, LIMITS).map(|samples| samples.len())
    };
    assert_eq!(long(8_000 * 2 * 3_600), Err(Refusal::TooLong), "an hour, it says");
    assert_eq!(long(8_000 * 2 * 5), Err(Refusal::BreaksOff));
    assert!(with(40, &(8_000 * 2 * 5_u32).to_le_bytes()).is_err(), "more than the file is");
    // Who writes into a pipe cannot know how much will come.
    assert!(long(u32::MAX).is_ok_and(|long| (15_900..=16_000).contains(&long)));
}

#[test]
fn what_is_no_sound_is_refused_with_the_reason() {
    assert_eq!(read(Vec::new(), LIMITS), Err(Refusal::Empty));
    assert_eq!(
        read(wav(8_000, 1, 440.0, 0.0), LIMITS).map(drop).map_err(|no| no.word().len() > 3),
        Err(true)
    );
    let executable = std::fs::read("/proc/self/exe").unwrap().into_iter().take(1 << 20).collect();
    let refused = read(executable, LIMITS);
    assert!(matches!(refused, Err(Refusal::NotSound | Refusal::Broken)), "{refused:?}");
    for text in ["RIFF", "<html></html>", "OggS", "fLaC", "ID3", "\0\0\0\x20ftypM4A "] {
        assert!(read(text.as_bytes().to_vec(), LIMITS).is_err(), "{text}");
    }
    assert_eq!(read(vec![0; 1 << 20], LIMITS), Err(Refusal::NotSound));
    assert_eq!(read(sample!("tone-51.opus").to_vec(), LIMITS), Err(Refusal::Unsupported));
}

#[test]
fn what_is_longer_than_allowed_is_refused_whatever_it_says() {
    let limits = Limits { longest: Duration::from_millis(900) };
    for file in
        [sample!("tone.mp3"), sample!("tone.opus"), sample!("tone.ogg"), sample!("tone.m4a")]
    {
        assert_eq!(read(file.to_vec(), limits), Err(Refusal::TooLong));
    }
    assert_eq!(read(wav(8_000, 1, 440.0, 1.0), limits), Err(Refusal::TooLong));
}

#[test]
fn a_file_that_breaks_off_is_refused_or_is_what_came_of_it() {
    for file in [
        sample!("tone.mp3"),
        sample!("tone.ogg"),
        sample!("tone.opus"),
        sample!("tone.flac"),
        sample!("tone.m4a"),
    ] {
        for part in 1..20 {
            let begin = file.get(..file.len() * part / 20).unwrap().to_vec();
            if let Ok(samples) = read(begin, LIMITS) {
                assert!(samples.len() <= 33_000, "more came of a part than of all");
            }
        }
    }
    let wav = wav(8_000, 1, 440.0, 4.0);
    let half = wav.get(..wav.len() / 2).unwrap().to_vec();
    assert_eq!(read(half, LIMITS), Err(Refusal::BreaksOff));
}

#[test]
fn a_word_stands_for_each_refusal() {
    for refusal in Refusal::ALL {
        assert_eq!(Refusal::of_word(refusal.word()), Some(refusal));
    }
    assert_eq!(Refusal::of_word("fine"), None);
}
