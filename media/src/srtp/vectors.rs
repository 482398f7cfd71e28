//! The RFCs' own examples, byte for byte.
//!
//! RFC 3711 appendix B.2 (keystream) and B.3 (derivation of keys); RFC 7714 §16.1.1 and §17.1.

use aes::Aes128Enc;
use aes::cipher::KeyInit;
use pbx::media::{Key, Suite};
use zeroize::Zeroizing;

use super::keys::{Keys, Use, xor_keystream};
use super::transform::{Place, Transform};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn the_keystream_is_that_of_appendix_b2() {
    let aes = Aes128Enc::new_from_slice(&hex("2B7E151628AED2A6ABF7158809CF4F3C")).unwrap();
    let mut stream = vec![0; 0xff02 * 16];
    let block = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000").try_into().unwrap();
    xor_keystream(&aes, &block, &mut stream);
    for (block, expected) in [
        (0, "E03EAD0935C95E80E166B16DD92B4EB4"),
        (1, "D23513162B02D0F72A43A2FE4A5F97AB"),
        (2, "41E95B3BB0A2E8DD477901E4FCA894C0"),
        (0xfeff, "EC8CDF7398607CB0F2D21675EA9EA1E4"),
        (0xff00, "362B7C3C6773516318A077D7FC5073AE"),
        (0xff01, "6A2CC3787889374FBEB4C81B17BA6C44"),
    ] {
        assert_eq!(stream[block * 16..][..16], hex(expected), "block {block:x}");
    }
}

#[test]
fn keys_are_derived_as_in_appendix_b3() {
    let material = hex("E1F97A0D3E018BE0D64FA32C06DE4139 0EC675AD498AFEEBB6960B3AABE6");
    let master = Key { suite: Suite::AesCm128HmacSha1_80, material };
    let keys = Keys::derive(&master, Use::Sound).unwrap();
    assert_eq!(keys.encryption.to_vec(), hex("C61E7A93744F39EE10734AFE3FF7A087"));
    assert_eq!(keys.salt.to_vec(), hex("30CBBC08863D8C85D49DB34A9AE1"));
    let authentication = hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4");
    assert_eq!(keys.authentication.to_vec(), authentication);
    assert_ne!(Keys::derive(&master, Use::Reports).unwrap().salt, keys.salt);
}

fn gcm(kind: Use) -> Transform {
    let mut keys = Keys {
        encryption: Zeroizing::new([0; 16]),
        authentication: Zeroizing::new([0; 20]),
        salt: Zeroizing::new([0; 14]),
    };
    keys.encryption.copy_from_slice(&hex("000102030405060708090a0b0c0d0e0f"));
    keys.salt[..12].copy_from_slice(&hex("517569642070726f2071756f"));
    Transform::of_session(Suite::AeadAes128Gcm, kind, &keys).unwrap()
}

#[test]
fn sound_is_sealed_by_gcm_as_in_section_16() {
    let plain = hex("8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976
        69736120 696e2070 61727465 73207472 6573");
    let sealed = hex("8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5
        0d294e6f 42a5f47a 51c7d19b 36de3adf 8833 899d7f27 beb16a91 52cf765e e4390cce");
    let place = Place { ssrc: 0x5501_a0b2, index: 0xf17b };
    let mut room = plain.clone();
    room.resize(plain.len() + 16, 0);
    let len = gcm(Use::Sound).seal_sound(place, 12, &mut room, plain.len());
    assert_eq!((len, &room), (Ok(sealed.len()), &sealed));
    let len = gcm(Use::Sound).open_sound(place, 12, &mut room).unwrap();
    assert_eq!(room[..len], plain);
}

#[test]
fn reports_are_sealed_by_gcm_as_in_section_17() {
    let plain = hex("81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61
        deadbeef deadbeef deadbeef deadbeef deadbeef");
    let sealed = hex("81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d
        c676a5f1 730d6fda 4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4");
    let place = Place { ssrc: 0x4d61_7273, index: 0x5d4 };
    let mut room = plain.clone();
    room.resize(plain.len() + 20, 0);
    let len = gcm(Use::Reports).seal_report(place, &mut room, plain.len());
    assert_eq!((len, &room), (Ok(sealed.len()), &sealed));
    assert_eq!(gcm(Use::Reports).report_index(&room), Ok(0x5d4));
    let len = gcm(Use::Reports).open_report(place.ssrc, &mut room).unwrap();
    assert_eq!(room[..len], plain);
}
