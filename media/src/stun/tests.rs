//! Questions as phones send them, and what they are told.

use super::*;

const PHONE: &str = "192.0.2.1:32853";
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// The transaction of RFC 5769's samples.
const ID: [u8; 12] = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];

/// RFC 5769 §2.1: an ICE agent's request, with every kind of attribute.
const SAMPLE_REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae\
    802200105354554e207465737420636c69656e74002400046e0001ff80290008932ff9b151263b36\
    000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2\
    80280004e57a3bcf";
/// The XOR-MAPPED-ADDRESS of RFC 5769 §2.2 and §2.3.
const SAMPLE_V4: &str = "002000080001a147e112a643";
const SAMPLE_V6: &str = "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9";
/// RFC 5769 §2.4: with long-term credentials, and a name that is not ASCII.
const SAMPLE_SIGNED: &str = "000100602112a44278ad3433c6ad72c029da412e\
    00060012e3839ee38388e383aae38383e382afe382b90000\
    0015001c662f2f3439396b39353464364f4c33346f4c39465354767936347341\
    0014000b6578616d706c652e6f72670000080014f67024656dd64a3e02b8e0712e85c9a28ca89666";

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    let pair = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(pair).collect()
}

/// A request with these attributes: hex of the type, and the value.
fn question(id: [u8; 16], attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = vec![];
    for (kind, value) in attributes {
        body.extend(kind.to_be_bytes());
        body.extend((value.len() as u16).to_be_bytes());
        body.extend_from_slice(value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    [&[0, 1], (body.len() as u16).to_be_bytes().as_slice(), &id, &body].concat()
}

fn today(attributes: &[(u16, &[u8])]) -> Vec<u8> {
    question([&COOKIE[..], &ID].concat().try_into().unwrap(), attributes)
}

fn of_old(attributes: &[(u16, &[u8])]) -> Vec<u8> {
    question(*b"0123456789abcdef", attributes)
}

fn ask(datagram: &[u8]) -> Option<Told> {
    answer(datagram, at(PHONE), Place::Alone).map(Told::read)
}

/// An answer, taken apart.
#[derive(Debug)]
struct Told {
    kind: u16,
    id: Vec<u8>,
    attributes: Vec<(u16, Vec<u8>)>,
    answer: Answer,
}

impl Told {
    fn read(answer: Answer) -> Self {
        let (header, mut body) = answer.bytes.split_at(20);
        let number = |bytes: &[u8]| u16::from_be_bytes(bytes[..2].try_into().unwrap());
        assert_eq!(usize::from(number(&header[2..])), body.len());
        let mut attributes = vec![];
        while !body.is_empty() {
            let length = usize::from(number(&body[2..]));
            attributes.push((number(body), body[4..4 + length].to_vec()));
            body = &body[4 + length.next_multiple_of(4)..];
        }
        Self { kind: number(header), id: header[4..].to_vec(), attributes, answer }
    }

    fn kinds(&self) -> Vec<u16> {
        self.attributes.iter().map(|(kind, _)| *kind).collect()
    }

    fn get(&self, kind: u16) -> Option<&[u8]> {
        self.attributes.iter().find(|(this, _)| *this == kind).map(|(_, value)| value.as_slice())
    }

    /// An address that stands as it is.
    fn address(&self, kind: u16) -> Option<SocketAddr> {
        let value = self.get(kind)?;
        let port = u16::from_be_bytes(value[2..4].try_into().unwrap());
        let ip: [u8; 4] = value[4..].try_into().unwrap();
        Some(SocketAddr::from((ip, port)))
    }

    fn code(&self) -> (u16, String) {
        let value = self.get(0x0009).unwrap();
        let code = u16::from(value[2]) * 100 + u16::from(value[3]);
        (code, String::from_utf8(value[4..].to_vec()).unwrap())
    }
}

#[test]
fn a_phone_is_told_its_address_as_the_samples_of_rfc_5769_have_it() {
    let told = ask(&today(&[])).unwrap();
    assert_eq!((told.kind, told.kinds()), (0x0101, vec![0x0020, 0x8022]));
    assert_eq!(told.id, [&COOKIE[..], &ID].concat());
    assert_eq!(told.answer.bytes[20..32], bytes(SAMPLE_V4));
    assert_eq!(told.get(0x8022), Some(&b"tenantd"[..]));
    assert_eq!((told.answer.to, told.answer.from), (at(PHONE), None));

    let phone = at("[2001:db8:1234:5678:11:2233:4455:6677]:32853");
    let answer = answer(&today(&[]), phone, Place::Alone).unwrap();
    assert_eq!(answer.bytes[20..44], bytes(SAMPLE_V6));
}

#[test]
fn an_address_that_only_looks_like_ipv6_is_told_as_what_it_is() {
    let answer = answer(&today(&[]), at("[::ffff:192.0.2.1]:32853"), Place::Alone).unwrap();
    assert_eq!(answer.bytes[20..32], bytes(SAMPLE_V4));
}

#[test]
fn a_request_with_what_only_ice_knows_is_refused_by_name_and_with_a_checksum() {
    let told = ask(&bytes(SAMPLE_REQUEST)).unwrap();
    assert_eq!((told.kind, told.kinds()), (0x0111, vec![0x0009, 0x000a, 0x8022, 0x8028]));
    assert_eq!(told.code(), (420, "Unknown Attribute".to_owned()));
    assert_eq!(told.get(0x000a), Some(&[0x00, 0x24][..]));
}

#[test]
fn an_answer_has_a_checksum_if_its_question_had_one() {
    let asked = with_checksum(&today(&[]));
    let told = ask(&asked).unwrap();
    assert_eq!(told.kinds(), [0x0020, 0x8022, 0x8028]);
    let without = told.answer.bytes.len() - 8;
    assert_eq!(told.answer.bytes, with_checksum_over(&told.answer.bytes[..without]));
}

#[test]
fn no_bit_of_a_request_with_a_checksum_can_change() {
    let whole = bytes(SAMPLE_REQUEST);
    assert!(ask(&whole).is_some());
    // The transaction and all values; who changes a type or a length hides the checksum itself.
    let parts = [8..20, 24..40, 44..48, 52..60, 64..76, 80..100, 104..108];
    for (byte, bit) in
        parts.into_iter().flatten().flat_map(|byte| (0..8).map(move |bit| (byte, bit)))
    {
        let mut broken = whole.clone();
        broken[byte] ^= 1 << bit;
        assert!(ask(&broken).is_none(), "bit {bit} of byte {byte}");
    }
}

#[test]
fn a_checksum_that_is_not_the_last_is_none() {
    let mut asked = with_checksum(&today(&[]));
    asked.extend([0x80, 0x22, 0, 0]);
    asked[3] += 4;
    assert!(ask(&asked).is_none());
}

#[test]
fn credentials_are_passed_over_because_nobody_asked_for_them() {
    assert_eq!(ask(&bytes(SAMPLE_SIGNED)).unwrap().kind, 0x0101);
}

#[test]
fn what_follows_a_signature_is_passed_over() {
    let signature = [0; 20];
    assert_eq!(ask(&today(&[(0x0008, &signature), (0x0024, &[0; 4])])).unwrap().kind, 0x0101);
    assert_eq!(ask(&today(&[(0x0024, &[0; 4]), (0x0008, &signature)])).unwrap().kind, 0x0111);
}

#[test]
fn a_name_that_is_no_text_keeps_nobody_from_an_answer() {
    assert_eq!(ask(&today(&[(0x8022, b"old phone\0\xff")])).unwrap().kind, 0x0101);
    assert_eq!(ask(&of_old(&[(0x8022, b"old phone\0\xff")])).unwrap().kind, 0x0101);
}

#[test]
fn unknown_attributes_are_listed_once_each_and_not_without_end() {
    let many: Vec<(u16, &[u8])> = (0..500).map(|n| (0x4000 + n % 250, &b""[..])).collect();
    let told = ask(&today(&many)).unwrap();
    let listed: Vec<u8> = (0x4000..0x4010_u16).flat_map(u16::to_be_bytes).collect();
    assert_eq!(told.get(0x000a), Some(listed.as_slice()));
    assert!(told.answer.bytes.len() < 128);
}

#[test]
fn what_is_no_question_gets_no_answer() {
    let whole = today(&[(0x8022, b"client!!")]);
    for end in 0..whole.len() {
        assert!(ask(&whole[..end]).is_none(), "cut at {end}");
    }
    assert!(ask(&[&whole[..], &[0]].concat()).is_none(), "more than it says");
    for (first, second) in [(1, 1), (1, 0x11), (0, 0x11), (0, 3), (0x80, 1), (0x40, 1)] {
        let mut other = whole.clone();
        (other[0], other[1]) = (first, second);
        assert!(ask(&other).is_none(), "type {first:x} {second:x}");
    }
    let mut long = whole.clone();
    long[23] = 9;
    assert!(ask(&long).is_none(), "an attribute longer than the message");
    assert!(ask(&today(&[(0x8022, &[0; LONGEST])])).is_none(), "too long");
    assert!(ask(b"OPTIONS sip:here SIP/2.0\r\n\r\n").is_none());
    let answer = answer(&whole, at(PHONE), Place::Alone).unwrap();
    assert!(ask(&answer.bytes).is_none(), "two servers would talk for ever");
}

#[test]
fn stun_is_told_from_sip_and_from_what_keeps_a_path_open() {
    let indication = [&[0, 0x11, 0, 0][..], &COOKIE, &ID].concat();
    for stun in [today(&[]), of_old(&[]), indication] {
        assert!(is_stun(&stun));
    }
    let short = &today(&[])[..19];
    for other in [&b"OPTIONS sip:here SIP/2.0\r\n\r\n"[..], b"\r\n\r\n", &[0; 40], short, b""] {
        assert!(!is_stun(other), "{other:?}");
    }
}

#[test]
fn an_old_phone_is_told_in_its_own_words() {
    let told = ask(&of_old(&[])).unwrap();
    assert_eq!((told.kind, told.kinds()), (0x0101, vec![0x0001]));
    assert_eq!(told.id, b"0123456789abcdef");
    assert_eq!(told.address(0x0001), Some(at(PHONE)));
    // As vovida's client asks: change nothing.
    assert_eq!(ask(&of_old(&[(0x0003, &[0; 4])])).unwrap().kind, 0x0101);
}

#[test]
fn an_old_phone_that_asks_too_much_hears_so_in_its_own_words() {
    for (attribute, value) in [(0x0003, &[0, 0, 0, 6][..]), (0x0002, &[0, 1, 0, 9, 1, 2, 3, 4])] {
        let told = ask(&of_old(&[(attribute, value)])).unwrap();
        assert_eq!((told.kind, told.kinds()), (0x0111, vec![0x0009, 0x000a]));
        assert_eq!(told.code(), (420, "Unknown Attribute   ".to_owned()));
        let twice = [attribute.to_be_bytes(), attribute.to_be_bytes()].concat();
        assert_eq!(told.get(0x000a), Some(twice.as_slice()));
        assert_eq!(told.answer.to, at(PHONE));
    }
}

/// Four corners; the first was asked.
fn corner() -> Corner {
    Corner::all(at("198.51.100.1:3478"), at("198.51.100.2:3479")).unwrap()[0]
}

fn ask_at_corner(datagram: &[u8]) -> Told {
    Told::read(answer(datagram, at(PHONE), Place::Corner(corner())).unwrap())
}

#[test]
fn with_two_addresses_the_answer_comes_from_where_it_is_wanted() {
    for (flags, from) in [
        (0, "198.51.100.1:3478"),
        (2, "198.51.100.1:3479"),
        (4, "198.51.100.2:3478"),
        (6, "198.51.100.2:3479"),
    ] {
        let change = [0, 0, 0, flags];
        let told = ask_at_corner(&today(&[(0x0003, &change)]));
        assert_eq!(told.kinds(), [0x0020, 0x0001, 0x802b, 0x802c, 0x8022]);
        assert_eq!(told.answer.from, (flags > 0).then(|| at(from)));
        assert_eq!(told.address(0x0001), Some(at(PHONE)));
        assert_eq!(told.address(0x802b), Some(at(from)), "RESPONSE-ORIGIN");
        assert_eq!(told.address(0x802c), Some(at("198.51.100.2:3479")), "OTHER-ADDRESS");

        let told = ask_at_corner(&of_old(&[(0x0003, &change)]));
        assert_eq!(told.kinds(), [0x0001, 0x0004, 0x0005]);
        assert_eq!(told.answer.from, (flags > 0).then(|| at(from)));
        assert_eq!(told.address(0x0004), Some(at(from)), "SOURCE-ADDRESS");
        assert_eq!(told.address(0x0005), Some(at("198.51.100.2:3479")), "CHANGED-ADDRESS");
    }
}

#[test]
fn with_one_address_nothing_of_rfc_5780_is_known() {
    for (kind, value) in [(0x0003, &[0; 4][..]), (0x0027, &[9, 9, 0, 0]), (0x0026, &[0; 64])] {
        let told = ask(&today(&[(kind, value)])).unwrap();
        assert_eq!((told.kind, told.answer.to), (0x0111, at(PHONE)));
        assert_eq!(told.get(0x000a), Some(kind.to_be_bytes().as_slice()));
    }
    assert_eq!(ask(&today(&[])).unwrap().get(0x802c), None, "no OTHER-ADDRESS");
}

#[test]
fn an_answer_goes_to_another_port_of_who_asked_if_it_shall() {
    let told = ask_at_corner(&today(&[(0x0027, &[0x12, 0x34, 0, 0])]));
    assert_eq!(told.answer.to, at("192.0.2.1:4660"));
    assert_eq!(told.address(0x0001), Some(at(PHONE)));
    let told = ask_at_corner(&today(&[(0x0027, &[0, 0, 0, 0])]));
    assert_eq!((told.code().0, told.answer.to), (400, at(PHONE)));
}

#[test]
fn an_answer_is_as_padded_as_its_question_and_never_to_another_port() {
    let told = ask_at_corner(&today(&[(0x0026, &[b'x'; 1_499])]));
    assert_eq!(told.get(0x0026).map(<[u8]>::len), Some(1_499));
    let both = ask_at_corner(&today(&[(0x0026, &[0; 64]), (0x0027, &[0x12, 0x34, 0, 0])]));
    assert_eq!((both.code().0, both.answer.to), (400, at(PHONE)));
}

#[test]
fn no_answer_is_much_longer_than_the_longest_sort_of_plain_answer() {
    let place = Place::Corner(Corner::all(at("[::1]:1"), at("[::2]:2")).unwrap()[0]);
    let asked = with_checksum(&today(&[]));
    let longest = answer(&asked, at("[::3]:3"), place).unwrap().bytes.len();
    assert_eq!(longest, 20 + 4 * 24 + 12 + 8);
}

fn with_checksum(message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    message[3] += 8;
    with_checksum_over(&message)
}

/// Appends FINGERPRINT; the length already counts it. Worked out here, not by who is judged.
fn with_checksum_over(message: &[u8]) -> Vec<u8> {
    let mut crc = u32::MAX;
    for byte in message {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    let sum = (!crc ^ 0x5354_554e).to_be_bytes();
    [message, &[0x80, 0x28, 0, 4], &sum].concat()
}
