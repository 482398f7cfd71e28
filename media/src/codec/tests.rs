//! What goes in comes out: every sample of G.711, tones through all codecs, and rubbish into all.

use std::f64::consts::TAU;

use pbx::chance::Chance;
use pbx::media::CodecKind;

use super::resample::Resampler;
use super::*;

const OPUS: CodecKind = CodecKind::Opus { stereo: false, fec: true, most: None };
const ALL: [CodecKind; 4] = [CodecKind::Pcmu, CodecKind::Pcma, CodecKind::G722, OPUS];

/// A tone a quarter as strong as can be.
pub(crate) fn tone(rate: Rate, hz: f64, from: usize, count: usize) -> Vec<i16> {
    let sample = |n: usize| 8_192.0 * (TAU * hz * n as f64 / f64::from(rate.hertz())).sin();
    (from..from + count).map(|n| sample(n).round() as i16).collect()
}

/// How strong one frequency is in a sound, as an amplitude (a Hann window, so that its neighbours
/// do not count).
pub(crate) fn strength(sound: &[i16], rate: Rate, hz: f64) -> f64 {
    let (mut re, mut im) = (0.0, 0.0);
    let whole = sound.len() as f64;
    for (n, sample) in sound.iter().enumerate() {
        let n = n as f64;
        let window = 1.0 - (TAU * n / whole).cos();
        let angle = TAU * hz * n / f64::from(rate.hertz());
        re += f64::from(*sample) * window * angle.cos();
        im += f64::from(*sample) * window * angle.sin();
    }
    re.hypot(im) * 2.0 / whole
}

/// In dB, against [`tone`]'s.
pub(crate) fn level(sound: &[i16], rate: Rate, hz: f64) -> f64 {
    20.0 * (strength(sound, rate, hz) / 8_192.0).max(1e-9).log10()
}

fn fnv(values: impl Iterator<Item = u16>) -> u64 {
    values.fold(0xcbf2_9ce4_8422_2325, |hash, value| {
        (hash ^ u64::from(value)).wrapping_mul(0x100_0000_01b3)
    })
}

#[test]
fn every_sample_of_g711_comes_back_as_near_as_eight_bits_allow() {
    let all: Vec<i16> = (i16::MIN..=i16::MAX).collect();
    type Pack = fn(&[i16], &mut [u8]) -> usize;
    type Unpack = fn(&[u8], &mut [i16]) -> usize;
    let mu: (Pack, Unpack) = (|from, to| PCMU.encode(from, to), |from, to| PCMU.decode(from, to));
    let a: (Pack, Unpack) = (|from, to| PCMA.encode(from, to), |from, to| PCMA.decode(from, to));
    for (pack, unpack) in [mu, a] {
        let (mut codes, mut back) = (vec![0; all.len()], vec![0; all.len()]);
        assert_eq!(pack(&all, &mut codes), 65_536);
        assert_eq!(unpack(&codes, &mut back), 65_536);
        let every: Vec<u8> = (0..=255).collect();
        let mut values = vec![0; 256];
        unpack(&every, &mut values);
        values.sort_unstable();
        for (sample, back) in all.iter().zip(&back) {
            // Within the interval whose middle it became; the outermost ones are longer.
            let at = values.iter().position(|value| value == back).unwrap();
            let step = |one: usize, other: usize| values[one].abs_diff(values[other]);
            let half = match at {
                0 | 255 => 768,
                _ => step(at, at - 1).max(step(at, at + 1)) / 2,
            };
            assert!(sample.abs_diff(*back) <= half + 8, "{sample} came back as {back}");
        }
        assert!(back.is_sorted(), "louder never comes back softer");
        let (mut samples, mut again) = (vec![0; 256], vec![0; 256]);
        unpack(&every, &mut samples);
        pack(&samples, &mut again);
        let moved: Vec<_> = every.iter().zip(&again).filter(|(a, b)| a != b).collect();
        assert!(moved.len() <= 1, "only minus nothing may become plus nothing: {moved:?}");
    }
}

#[test]
fn g711_is_read_as_another_implementation_reads_it() {
    use audio_codec::{Decoder as _, pcma::PcmaDecoder, pcmu::PcmuDecoder};
    let every: Vec<u8> = (0..=255).collect();
    let (mut ours, mut theirs) = ([0; 256], [0; 256]);
    PCMU.decode(&every, &mut ours);
    PcmuDecoder::new().decode_into(&every, &mut theirs).unwrap();
    assert_eq!(ours, theirs);
    PCMA.decode(&every, &mut ours);
    PcmaDecoder::new().decode_into(&every, &mut theirs).unwrap();
    assert_eq!(ours, theirs);
    // ITU-T G.711, tables 1 and 2: the ends of the scales, and what silence is.
    let (mut codes, samples) = ([0; 4], [0, -1, 32_767, -32_768]);
    PCMU.encode(&samples, &mut codes);
    assert_eq!(codes, [0xff, 0x7f, 0x80, 0x00]);
    PCMA.encode(&samples, &mut codes);
    assert_eq!(codes, [0xd5, 0x55, 0xaa, 0x2a]);
}

/// A wave that swells and fades, packed by us.
fn packed_wave() -> Vec<u8> {
    let wave = |n: i32| ((n * 37 % 400 - 200).abs() - 100) * (n / 8 % 150);
    let sound: Vec<i16> = (0..16_000).map(|n| wave(n) as i16).collect();
    let mut encoder = g722::Encoder::default();
    let mut packed = Vec::new();
    for frame in sound.chunks(320) {
        let mut out = [0; 160];
        assert_eq!(encoder.encode(frame, &mut out), 160);
        packed.extend(out);
    }
    packed
}

#[test]
fn g722_is_read_as_spandsp_reads_it() {
    let mut decoder = g722::Decoder::default();
    let mut heard = Vec::new();
    for packet in packed_wave().chunks(160) {
        let mut out = [0; 320];
        assert_eq!(decoder.decode(packet, &mut out), 320);
        heard.extend(out);
    }
    // What libspandsp 0.0.6 makes of the same 8,000 bytes.
    assert_eq!(fnv(heard.into_iter().map(|sample: i16| sample as u16)), SPANDSP_HEARD);
}

/// Two seconds of a tone through a codec at a rate; the second of them.
fn through(kind: &CodecKind, rate: Rate, hz: f64) -> (Vec<i16>, Rate) {
    let mut decoder = Decoder::new(kind, rate).unwrap();
    let rate = decoder.rate();
    let mut encoder = Encoder::new(kind, rate).unwrap();
    let mut heard = Vec::new();
    for frame in tone(rate, hz, 0, rate.per_ms() * 2_000).chunks(rate.per_ms() * 20) {
        let (mut packed, mut out) = ([0; LONGEST_PAYLOAD], [0; LONGEST]);
        let len = encoder.encode(frame, &mut packed);
        assert_eq!(duration_us(kind, &packed[..len]), Some(20_000));
        let count = decoder.decode(&packed[..len], &mut out);
        heard.extend(&out[..count]);
    }
    assert_eq!(heard.len(), rate.per_ms() * 2_000);
    (heard.split_off(rate.per_ms() * 1_000), rate)
}

#[test]
fn a_tone_is_as_loud_behind_each_codec_as_before() {
    for kind in &ALL {
        for hz in [440.0, 1_000.0, 3_000.0] {
            let (heard, rate) = through(kind, Rate::Narrow, hz);
            let level = level(&heard, rate, hz);
            assert!(level.abs() < 1.0, "{kind:?} makes {hz} Hz {level} dB louder");
        }
    }
}

#[test]
fn seven_kilohertz_pass_where_the_codec_is_wide() {
    for kind in [CodecKind::G722, OPUS] {
        let (heard, rate) = through(&kind, Rate::Wide, 6_900.0);
        let level = level(&heard, rate, 6_900.0);
        assert!(level > -3.0, "{kind:?} leaves {level} dB");
    }
}

#[test]
fn a_lost_packet_is_filled_with_the_tone_that_was_heard_and_a_lost_phone_is_not() {
    for kind in &ALL {
        let rate = rate_of(kind).unwrap().min(Rate::Wide);
        let mut decoder = Decoder::new(kind, rate).unwrap();
        let mut encoder = Encoder::new(kind, rate).unwrap();
        let frame = rate.per_ms() * 20;
        let (mut packed, mut out) = ([0; LONGEST_PAYLOAD], [0; LONGEST]);
        for n in 0..20 {
            let len = encoder.encode(&tone(rate, 440.0, n * frame, frame), &mut packed);
            decoder.decode(&packed[..len], &mut out);
        }
        let filled = &mut out[..frame];
        decoder.conceal(filled, None);
        let level = level(filled, rate, 440.0);
        assert!((-9.0..3.0).contains(&level), "{kind:?}: {level} dB");
        for _ in 0..40 {
            decoder.conceal(&mut out[..frame], None);
        }
        let loudest = out[..frame].iter().map(|sample| sample.unsigned_abs()).max();
        assert!(loudest < Some(400), "{kind:?} goes on with {loudest:?}");
    }
}

#[test]
fn opus_mends_a_loss_from_the_copy_in_the_packet_after_it() {
    let rate = Rate::Wide;
    let mut encoder = Encoder::new(&OPUS, rate).unwrap();
    encoder.handle_loss(20);
    // A voice, more or less: a pitch that moves, and something that no guess foresees at 1 s.
    let voice = |n: usize| {
        let t = n as f64 / 16_000.0;
        let pitch = if t < 1.0 { 140.0 } else { 210.0 };
        let harmonics = (1..12).map(|k| (TAU * pitch * f64::from(k) * t).sin() / f64::from(k));
        (4_000.0 * harmonics.sum::<f64>()) as i16
    };
    let packets: Vec<Vec<u8>> = (0..75)
        .map(|n| {
            let frame: Vec<i16> = (n * 320..(n + 1) * 320).map(voice).collect();
            let mut packed = [0; LONGEST_PAYLOAD];
            let len = encoder.encode(&frame, &mut packed);
            packed[..len].to_vec()
        })
        .collect();
    let error = |copy: bool| {
        let mut whole = Decoder::new(&OPUS, rate).unwrap();
        let mut broken = Decoder::new(&OPUS, rate).unwrap();
        let mut sum = 0.0;
        for (n, packet) in packets.iter().enumerate() {
            let (mut right, mut heard) = ([0; LONGEST], [0; LONGEST]);
            whole.decode(packet, &mut right);
            match n {
                51 => broken.conceal(&mut heard[..320], copy.then_some(&packets[52])),
                _ => drop(broken.decode(packet, &mut heard)),
            }
            if n == 51 {
                let pairs = right.iter().zip(&heard).take(320);
                sum += pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>();
            }
        }
        sum
    };
    let (mended, guessed) = (error(true), error(false));
    assert!(mended < guessed / 2.0, "{mended} instead of {guessed}");
}

#[test]
fn rubbish_is_never_more_than_silence_or_noise() {
    let mut chance = Chance::from_seed([3; 32]);
    for kind in &ALL {
        for rate in [Rate::Narrow, Rate::Wide, Rate::Full] {
            let mut decoder = Decoder::new(kind, rate).unwrap();
            for _ in 0..1_500 {
                let mut payload = vec![0; chance.below(300) as usize];
                chance.fill(&mut payload);
                let mut out = [0; LONGEST];
                let count = decoder.decode(&payload, &mut out);
                assert!(count <= LONGEST);
                let next = (chance.below(2) == 0).then_some(&*payload);
                let gap = chance.below(960) as usize;
                decoder.conceal(&mut out[..gap], next);
            }
            let mut out = [0; LONGEST];
            assert!(decoder.decode(&[0; 9_000], &mut out) <= LONGEST);
            assert_eq!(decoder.decode(&[], &mut out), 0);
        }
    }
}

#[test]
fn an_encoder_refuses_what_its_codec_has_no_packet_for() {
    let mut out = [0; LONGEST_PAYLOAD];
    let mut opus = Encoder::new(&OPUS, Rate::Wide).unwrap();
    assert_eq!(opus.encode(&[0; 30 * 16], &mut out), 0);
    assert_eq!(opus.encode(&[0; 7], &mut out), 0);
    assert_eq!(opus.encode(&[], &mut out), 0);
    for ms in [10, 20, 40, 60] {
        let len = opus.encode(&vec![100; ms * 16], &mut out);
        assert_eq!(duration_us(&OPUS, &out[..len]), Some(ms as u32 * 1_000));
    }
    assert!(Encoder::new(&CodecKind::Other { map: "gsm/8000".into() }, Rate::Narrow).is_none());
}

/// A second of a tone, resampled in pieces of 20 ms, and what of it came after it had begun.
fn resampled(from: Rate, to: Rate, hz: f64) -> Vec<i16> {
    let mut resampler = Resampler::new(from, to).unwrap();
    let (mut heard, mut room) = (Vec::new(), Vec::new());
    for frame in tone(from, hz, 0, from.per_ms() * 1_000).chunks(from.per_ms() * 20) {
        let mut out = [0; LONGEST];
        let count = resampler.run(frame, &mut out, &mut room);
        assert_eq!(count, to.per_ms() * 20);
        heard.extend(&out[..count]);
    }
    heard.split_off(to.per_ms() * 100)
}

#[test]
fn what_both_rates_hold_is_unchanged_by_resampling() {
    use Rate::{Full, Narrow, Wide};
    for (from, to, highest) in [
        (Narrow, Wide, 3_400.0),
        (Wide, Narrow, 3_400.0),
        (Narrow, Full, 3_400.0),
        (Full, Narrow, 3_400.0),
        (Wide, Full, 7_000.0),
        (Full, Wide, 7_000.0),
    ] {
        for hz in [100.0, 440.0, 1_700.0, highest] {
            let heard = resampled(from, to, hz);
            let level = level(&heard, to, hz);
            assert!(level.abs() < 0.2, "{from:?} to {to:?}: {hz} Hz {level} dB");
        }
    }
}

#[test]
fn what_a_rate_cannot_hold_is_sixty_decibels_down() {
    use Rate::{Full, Narrow, Wide};
    for (from, to, hz) in [
        (Wide, Narrow, 4_100.0),
        (Wide, Narrow, 5_000.0),
        (Wide, Narrow, 7_000.0),
        (Full, Narrow, 4_100.0),
        (Full, Narrow, 12_345.0),
        (Full, Wide, 8_200.0),
        (Full, Wide, 15_000.0),
    ] {
        let heard = resampled(from, to, hz);
        let rate = f64::from(to.hertz());
        let mirrored = (hz % rate).min(rate - hz % rate);
        let level = level(&heard, to, mirrored);
        assert!(level < -60.0, "{from:?} to {to:?}: of {hz} Hz {level} dB are left");
    }
    // And upwards no mirror appears.
    let heard = resampled(Narrow, Wide, 3_000.0);
    assert!(level(&heard, Wide, 5_000.0) < -60.0);
}

#[test]
fn the_silence_of_a_line_sounds_as_loud_as_told() {
    let mut noise = noise::Noise::default();
    let mut out = [1; 8_000];
    noise.fill(&mut out);
    assert_eq!(out, [0; 8_000], "nothing was told");
    noise.handle_payload(&[50]);
    noise.fill(&mut out);
    let power: f64 = out.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / 8_000.0;
    let level = 10.0 * (power / 32_768.0_f64.powi(2)).log10();
    assert!((level + 50.0).abs() < 1.0, "{level} dB");
    noise.handle_payload(&[0]);
    noise.fill(&mut out);
    assert!(out.iter().all(|sample| sample.unsigned_abs() < 600), "silence is not full scale");
}

const SPANDSP_HEARD: u64 = 0xbcd8_7819_4ab1_20e5;
