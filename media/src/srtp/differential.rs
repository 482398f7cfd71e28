//! A second opinion: what we seal another implementation opens, byte for byte, and the other way.

use pbx::chance::Chance;
use pbx::media::{Key, Suite};
use pbx::moment::Moment;
use rtc_srtp::context::Context;
use rtc_srtp::crypto::providers::RingCrypto;
use rtc_srtp::protection_profile::ProtectionProfile;

use super::keys::material_len;
use super::{GROWS_BY, Receiver, Sender};

const NOW: Moment = Moment::from_secs(1_000);
const SUITES: [(Suite, ProtectionProfile); 3] = [
    (Suite::AesCm128HmacSha1_80, ProtectionProfile::Aes128CmHmacSha1_80),
    (Suite::AesCm128HmacSha1_32, ProtectionProfile::Aes128CmHmacSha1_32),
    (Suite::AeadAes128Gcm, ProtectionProfile::AeadAes128Gcm),
];

fn some_bytes(chance: &mut Chance, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    chance.fill(&mut bytes);
    bytes
}

fn other(key: &Key, profile: ProtectionProfile) -> Context {
    let (master, salt) = key.material.split_at(16);
    Context::new(master, salt, profile, None, None, &RingCrypto).unwrap()
}

/// A packet with sources, with an extension, or with neither.
fn packet(chance: &mut Chance, sequence: u16) -> Vec<u8> {
    let shape = some_bytes(chance, 2);
    let mut packet = vec![0x80 | shape[0] & 0x13, shape[1] & 0x7f];
    packet.extend(sequence.to_be_bytes());
    packet.extend(some_bytes(chance, 4));
    packet.extend(0xcafe_f00d_u32.to_be_bytes());
    packet.extend(some_bytes(chance, usize::from(shape[0] & 3) * 4));
    if shape[0] & 0x10 != 0 {
        // None that the other would read (RFC 8285).
        packet.extend([0x12, 0x34, 0, 2]);
        packet.extend(some_bytes(chance, 8));
    }
    let len = usize::from(sequence % 200);
    packet.extend(some_bytes(chance, len));
    packet
}

fn report(chance: &mut Chance, words: u16) -> Vec<u8> {
    let mut report = vec![0x80, 200];
    report.extend((words + 1).to_be_bytes());
    report.extend(0xcafe_f00d_u32.to_be_bytes());
    report.extend(some_bytes(chance, usize::from(words) * 4));
    report
}

fn with_room(bytes: &[u8]) -> Vec<u8> {
    let mut room = bytes.to_vec();
    room.resize(bytes.len() + GROWS_BY, 0);
    room
}

#[test]
fn sound_is_the_same_to_both_across_two_turns_of_the_sequence() {
    for (suite, profile) in SUITES {
        let mut chance = Chance::from_seed([7; 32]);
        let key = Key { suite, material: some_bytes(&mut chance, material_len(suite)) };
        let (mut sender, mut receiver) = (Sender::new(&key).unwrap(), Receiver::new(&key).unwrap());
        let (mut their_sender, mut their_receiver) = (other(&key, profile), other(&key, profile));
        // With a third of the packets lost, and both turns among what is lost.
        for index in (65_000_u32..200_000).filter(|index| index % 3 != 1).step_by(31) {
            let plain = packet(&mut chance, index as u16);
            let mut room = with_room(&plain);
            let len = sender.seal_sound(&mut room, plain.len()).unwrap();
            let theirs = their_sender.encrypt_rtp(&plain).unwrap();
            assert_eq!(room[..len], theirs[..], "{suite:?} {index}");
            assert_eq!(their_receiver.decrypt_rtp(&room[..len]).unwrap()[..], plain[..]);
            let len = receiver.open_sound(NOW, &mut room[..len]).unwrap();
            assert_eq!(room[..len], plain[..], "{suite:?} {index}");
        }
    }
}

#[test]
fn reports_are_opened_by_the_other_and_the_others_by_us() {
    for (suite, profile) in SUITES {
        let mut chance = Chance::from_seed([8; 32]);
        let key = Key { suite, material: some_bytes(&mut chance, material_len(suite)) };
        let (mut sender, mut receiver) = (Sender::new(&key).unwrap(), Receiver::new(&key).unwrap());
        let (mut their_sender, mut their_receiver) = (other(&key, profile), other(&key, profile));
        for words in 0..100 {
            let plain = report(&mut chance, words);
            let mut room = with_room(&plain);
            let len = sender.seal_report(&mut room, plain.len()).unwrap();
            assert_eq!(their_receiver.decrypt_rtcp(&room[..len]).unwrap()[..], plain[..]);
            let mut theirs = their_sender.encrypt_rtcp(&plain).unwrap();
            let len = receiver.open_report(NOW, &mut theirs).unwrap();
            assert_eq!(theirs[..len], plain[..], "{suite:?} {words}");
        }
    }
}
