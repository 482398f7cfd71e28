//! What is lost, doubled, late, forged, replayed or sealed with another key.

use std::time::Duration;

use pbx::media::{Key, Suite};
use pbx::moment::Moment;

use super::keys::material_len;
use super::{GROWS_BY, Receiver, Refused, Sender};

const NOW: Moment = Moment::from_secs(1_000);
const SUITES: [Suite; 3] =
    [Suite::AesCm128HmacSha1_80, Suite::AesCm128HmacSha1_32, Suite::AeadAes128Gcm];

fn key(suite: Suite, seed: u8) -> Key {
    Key { suite, material: (0..material_len(suite)).map(|at| at as u8 ^ seed).collect() }
}

fn sealed_as(sender: &mut Sender, ssrc: u32, sequence: u16) -> Result<Vec<u8>, Refused> {
    let mut room = plain(ssrc, sequence);
    let len = room.len();
    room.resize(len + GROWS_BY, 0);
    let len = sender.seal_sound(&mut room, len)?;
    room.truncate(len);
    Ok(room)
}

fn sealed(sender: &mut Sender, sequence: u16) -> Vec<u8> {
    sealed_as(sender, 1, sequence).unwrap()
}

fn plain(ssrc: u32, sequence: u16) -> Vec<u8> {
    crate::rtp::tests::packet(ssrc, sequence, u32::from(sequence) * 160)
}

fn open(receiver: &mut Receiver, at: Moment, packet: &[u8]) -> Result<Vec<u8>, Refused> {
    let mut packet = packet.to_vec();
    let len = receiver.open_sound(at, &mut packet)?;
    packet.truncate(len);
    Ok(packet)
}

fn both(suite: Suite) -> (Sender, Receiver) {
    let key = key(suite, 0);
    (Sender::new(&key).unwrap(), Receiver::new(&key).unwrap())
}

#[test]
fn a_stream_with_loss_disorder_and_doubles_is_heard_once_each() {
    for suite in SUITES {
        let (mut sender, mut receiver) = both(suite);
        let mut packets: Vec<_> = (0..400_u16)
            .map(|n| n.wrapping_add(65_400))
            .map(|n| (n, sealed(&mut sender, n)))
            .collect();
        // The turn itself is lost, two change places across it, some are late by 100, one is double.
        packets.drain(130..140);
        packets.swap(129, 131);
        packets.swap(200, 300);
        packets.push(packets[350].clone());
        for (at, (sequence, packet)) in packets.iter().enumerate() {
            let expected = match at {
                390 => Err(Refused::Replayed),
                _ => Ok(plain(1, *sequence)),
            };
            assert_eq!(open(&mut receiver, NOW, packet), expected, "{suite:?} {at}");
        }
    }
}

#[test]
fn the_first_packets_before_the_turn_may_all_be_lost() {
    for suite in SUITES {
        let (mut sender, mut receiver) = both(suite);
        sealed(&mut sender, 65_535);
        let packet = sealed(&mut sender, 3);
        assert_eq!(open(&mut receiver, NOW, &packet), Ok(plain(1, 3)), "{suite:?}");
        assert_eq!(open(&mut receiver, NOW, &packet), Err(Refused::Replayed), "{suite:?}");
    }
}

#[test]
fn a_stream_older_than_we_are_is_found_and_a_flood_cannot_make_us_search_for_ever() {
    let (mut sender, mut receiver) = both(Suite::AeadAes128Gcm);
    for sequence in (0..9 * 65_536_u32).step_by(20_000) {
        sealed(&mut sender, sequence as u16);
    }
    let packet = sealed(&mut sender, 9);
    let mut forged = packet.clone();
    forged[40] ^= 1;
    for _ in 0..99 {
        assert_eq!(open(&mut receiver, NOW, &forged), Err(Refused::Forged));
    }
    assert_eq!(open(&mut receiver, NOW, &packet), Ok(plain(1, 9)));
    let mut late = Receiver::new(&key(Suite::AeadAes128Gcm, 0)).unwrap();
    for _ in 0..100 {
        assert_eq!(open(&mut late, NOW, &forged), Err(Refused::Forged));
    }
    assert_eq!(open(&mut late, NOW, &packet), Err(Refused::Forged));
}

#[test]
fn whatever_bit_is_changed_the_packet_is_not_heard() {
    for suite in SUITES {
        let (mut sender, mut receiver) = both(suite);
        let first = sealed(&mut sender, 7);
        open(&mut receiver, NOW, &first).unwrap();
        let packet = sealed(&mut sender, 8);
        for bit in 0..packet.len() * 8 {
            let mut forged = packet.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&mut receiver, NOW, &forged).is_err(), "{suite:?} bit {bit}");
        }
        assert_eq!(open(&mut receiver, NOW, &packet), Ok(plain(1, 8)), "the true one is not spent");
    }
}

#[test]
fn a_key_that_is_not_the_peers_opens_nothing() {
    for suite in SUITES {
        let (mut sender, _) = both(suite);
        let mut receiver = Receiver::new(&key(suite, 1)).unwrap();
        for sequence in 0..300 {
            let packet = sealed(&mut sender, sequence);
            assert_eq!(open(&mut receiver, NOW, &packet), Err(Refused::Forged));
        }
    }
    assert!(Receiver::new(&Key { suite: Suite::AeadAes128Gcm, material: vec![0; 30] }).is_none());
}

#[test]
fn packets_cut_short_are_refused_and_nothing_panics() {
    for suite in SUITES {
        let (mut sender, mut receiver) = both(suite);
        for first in [0x80, 0x90, 0xbf, 0x40] {
            let mut packet = sealed(&mut sender, 7 + first);
            packet[0] = first as u8;
            for end in 0..packet.len() {
                assert!(open(&mut receiver, NOW, &packet[..end]).is_err());
                assert!(receiver.open_report(NOW, &mut packet[..end].to_vec()).is_err());
                let mut room = packet[..end].to_vec();
                let _ = sender.seal_report(&mut room, end);
                let _ = sender.seal_sound(&mut room, end);
            }
        }
    }
}

#[test]
fn another_key_is_taken_at_once_and_the_old_one_for_two_seconds_more() {
    for suite in SUITES {
        let (mut sender, mut receiver) = both(suite);
        let old: Vec<_> = (65_530..65_535).map(|n| sealed(&mut sender, n)).collect();
        open(&mut receiver, NOW, &old[0]).unwrap();
        receiver.rekey(NOW, &key(suite, 1)).unwrap();
        sender.rekey(&key(suite, 1)).unwrap();
        let new: Vec<_> = [65_535, 0, 1].map(|n| sealed(&mut sender, n)).into();
        assert!(open(&mut receiver, NOW, &new[2]).is_ok());
        assert!(open(&mut receiver, NOW, &new[0]).is_ok(), "it is late");
        assert!(open(&mut receiver, NOW, &old[3]).is_ok(), "it was on its way");
        let again = [&old[0], &old[3], &new[2]].map(|packet| open(&mut receiver, NOW, packet));
        assert_eq!(again, [const { Err(Refused::Replayed) }; 3]);
        let later = NOW + Duration::from_secs(2);
        assert!(open(&mut receiver, later, &old[4]).is_err());
        assert!(open(&mut receiver, later, &new[1]).is_ok());
    }
}

#[test]
fn a_sender_that_begins_its_turns_anew_with_a_new_key_is_heard_as_well() {
    let (mut sender, mut receiver) = both(Suite::AesCm128HmacSha1_80);
    for sequence in [65_000, 100, 30_000, 60_000, 200] {
        let packet = sealed(&mut sender, sequence);
        open(&mut receiver, NOW, &packet).unwrap();
    }
    let other = key(Suite::AesCm128HmacSha1_80, 1);
    receiver.rekey(NOW, &other).unwrap();
    let packet = sealed(&mut Sender::new(&other).unwrap(), 201);
    assert_eq!(open(&mut receiver, NOW, &packet), Ok(plain(1, 201)));
}

#[test]
fn the_same_key_again_and_a_key_that_comes_back_forget_nothing() {
    let suite = Suite::AeadAes128Gcm;
    let (mut sender, mut receiver) = both(suite);
    let packets = [65_535, 0, 1].map(|n| sealed(&mut sender, n));
    open(&mut receiver, NOW, &packets[0]).unwrap();
    receiver.rekey(NOW, &key(suite, 0)).unwrap();
    sender.rekey(&key(suite, 0)).unwrap();
    assert_eq!(open(&mut receiver, NOW, &packets[0]), Err(Refused::Replayed));
    assert!(open(&mut receiver, NOW, &packets[1]).is_ok(), "the turn is known still");
    for seed in [1, 0] {
        receiver.rekey(NOW, &key(suite, seed)).unwrap();
        sender.rekey(&key(suite, seed)).unwrap();
    }
    assert_eq!(open(&mut receiver, NOW, &packets[1]), Err(Refused::Replayed));
    assert!(open(&mut receiver, NOW, &packets[2]).is_ok());
    assert_eq!(sealed_as(&mut sender, 1, 1), Err(Refused::Replayed));
    let packet = sealed(&mut sender, 2);
    assert!(open(&mut receiver, NOW, &packet).is_ok());
}

#[test]
fn another_stream_begins_by_itself_and_there_are_never_too_many() {
    let (mut sender, mut receiver) = both(Suite::AesCm128HmacSha1_32);
    for ssrc in 0..64 {
        let packet = sealed_as(&mut sender, ssrc, 9).unwrap();
        assert!(open(&mut receiver, NOW, &packet).is_ok());
    }
    assert_eq!(sealed_as(&mut sender, 64, 9), Err(Refused::Exhausted));
    let mut another = Sender::new(&key(Suite::AesCm128HmacSha1_32, 0)).unwrap();
    let packet = sealed_as(&mut another, 64, 9).unwrap();
    assert_eq!(open(&mut receiver, NOW, &packet), Err(Refused::Exhausted));
    let packet = sealed_as(&mut sender, 63, 10).unwrap();
    assert!(open(&mut receiver, NOW, &packet).is_ok(), "those that are known go on");
}

#[test]
fn one_index_is_never_sealed_twice_and_a_stream_that_begins_anew_goes_on() {
    let (mut sender, mut receiver) = both(Suite::AesCm128HmacSha1_80);
    let mut heard = |sequence| {
        let packet = sealed_as(&mut sender, 1, sequence)?;
        let opened = open(&mut receiver, NOW, &packet).unwrap();
        Ok(u16::from_be_bytes([opened[2], opened[3]]))
    };
    for sequence in 5_000..5_100 {
        assert_eq!(heard(sequence), Ok(sequence));
        assert_eq!(heard(sequence), Err(Refused::Replayed), "a double");
    }
    // Another phone with the same SSRC: its eighth packet shows that it is no late one.
    for sequence in 100..107 {
        assert_eq!(heard(sequence), Err(Refused::Replayed));
    }
    for sequence in 107..200 {
        assert_eq!(heard(sequence), Ok(sequence - 107 + 5_100));
    }
}

#[test]
fn reports_are_opened_once_under_either_key() {
    for suite in SUITES {
        let (mut sender, mut receiver) = both(suite);
        let plain = [&[0x80, 201, 0, 2, 0, 0, 0, 1][..], &[5; 8]].concat();
        let sealed = |sender: &mut Sender| {
            let mut room = plain.clone();
            room.resize(plain.len() + GROWS_BY, 0);
            let len = sender.seal_report(&mut room, plain.len()).unwrap();
            room.truncate(len);
            assert_ne!(room[8..16], plain[8..16], "it is hidden");
            room
        };
        let open = |receiver: &mut Receiver, report: &Vec<u8>| {
            let mut report = report.clone();
            let len = receiver.open_report(NOW, &mut report)?;
            report.truncate(len);
            Ok(report)
        };
        let old = [sealed(&mut sender), sealed(&mut sender)];
        assert_eq!(open(&mut receiver, &old[0]), Ok(plain.clone()));
        receiver.rekey(NOW, &key(suite, 1)).unwrap();
        sender.rekey(&key(suite, 1)).unwrap();
        let new = sealed(&mut sender);
        assert_eq!(open(&mut receiver, &new), Ok(plain.clone()), "{suite:?}");
        assert_eq!(open(&mut receiver, &old[1]), Ok(plain.clone()), "{suite:?}");
        for report in [&old[0], &old[1], &new] {
            assert_eq!(open(&mut receiver, report), Err(Refused::Replayed), "{suite:?}");
        }
        for bit in 0..new.len() * 8 {
            let mut forged = sealed(&mut sender);
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&mut receiver, &forged).is_err(), "{suite:?} bit {bit}");
        }
    }
}
