//! Descriptions as real phones write them, and what becomes of each.

use super::*;
use crate::chance::Chance;
use crate::media::{CodecKind, DtlsRole, Protection, Reception, Reports, Suite, Terms};

const PRINT: [u8; 32] = [0xab; 32];
const KEY: &str = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB";

/// baresip with `mediaenc=srtp`.
const BARESIP: &str = "v=0\r\no=- 3916384 1 IN IP4 192.0.2.20\r\ns=-\r\nc=IN IP4 192.0.2.20\r\nt=0 0\r\n\
    a=tool:baresip 1.0.0\r\nm=audio 10036 RTP/AVP 96 0 8 101\r\na=rtpmap:96 opus/48000/2\r\n\
    a=fmtp:96 stereo=1;sprop-stereo=1;maxaveragebitrate=28000\r\na=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n\
    a=rtcp:10037\r\na=rtcp-rsize\r\na=ssrc:3308541398 cname:sip:ada@example\r\na=sendrecv\r\n\
    a=label:1\r\na=crypto:1 AES_CM_128_HMAC_SHA1_32 inline:KEY\r\n\
    a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:KEY\r\na=ptime:20\r\n";
/// Linphone with SRTP: many lines, with the tags in its own order.
const LINPHONE: &str = "v=0\r\no=101 2342 3182 IN IP4 192.0.2.21\r\ns=Talk\r\nc=IN IP4 192.0.2.21\r\n\
    t=0 0\r\na=rtcp-xr:rcvr-rtt=all:10000 stat-summary=loss,dup,jitt,TTL voip-metrics\r\n\
    a=record:off\r\nm=audio 7078 RTP/SAVP 96 97 98 0 8 101 99 100\r\na=rtpmap:96 opus/48000/2\r\n\
    a=fmtp:96 useinbandfec=1\r\na=rtpmap:97 speex/16000\r\na=fmtp:97 vbr=on\r\n\
    a=rtpmap:98 speex/8000\r\na=fmtp:98 vbr=on\r\na=rtpmap:101 telephone-event/48000\r\n\
    a=rtpmap:99 telephone-event/16000\r\na=rtpmap:100 telephone-event/8000\r\n\
    a=crypto:1 AEAD_AES_128_GCM inline:Q0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQw==\r\n\
    a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:KEY\r\na=crypto:3 AEAD_AES_256_GCM inline:KEY\r\n\
    a=rtcp-fb:* trr-int 5000\r\na=rtcp-fb:* ccm tmmbr\r\n";
/// pjsua with SRTP as a wish.
const PJSUA: &str = "v=0\r\no=- 3963220800 3963220800 IN IP4 192.0.2.22\r\ns=pjmedia\r\nb=AS:117\r\nt=0 0\r\n\
    a=X-nat:0\r\nm=audio 4000 RTP/AVP 98 97 99 104 3 0 8 9 96 120 121 122\r\n\
    c=IN IP4 192.0.2.22\r\nb=TIAS:96000\r\na=rtcp:4001 IN IP4 192.0.2.22\r\na=sendrecv\r\n\
    a=rtpmap:98 speex/16000\r\na=rtpmap:97 speex/8000\r\na=rtpmap:99 speex/32000\r\n\
    a=rtpmap:104 iLBC/8000\r\na=fmtp:104 mode=30\r\na=rtpmap:3 GSM/8000\r\na=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:8 PCMA/8000\r\na=rtpmap:9 G722/8000\r\na=rtpmap:96 opus/48000/2\r\n\
    a=fmtp:96 useinbandfec=1\r\na=rtpmap:120 telephone-event/16000\r\na=fmtp:120 0-16\r\n\
    a=rtpmap:121 telephone-event/8000\r\na=fmtp:121 0-16\r\n\
    a=rtpmap:122 telephone-event/48000\r\na=fmtp:122 0-16\r\na=ssrc:1125 cname:5d1f\r\na=rtcp-mux\r\n\
    a=crypto:1 AES_256_CM_HMAC_SHA1_80 inline:KEY\r\na=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:KEY\r\n";
/// Chromium: everything bundled, and an address that is none yet.
const CHROMIUM: &str = "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
    a=group:BUNDLE 0 1\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS stream\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126\r\nc=IN IP4 0.0.0.0\r\n\
    a=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:Oyef\r\na=ice-pwd:T0teqPLNQQOf+5W+ls+P2p16\r\n\
    a=ice-options:trickle\r\na=fingerprint:sha-256 5A:5A:5A:5A:5A:5A:5A:5A:5A:5A:5A:5A:5A:5A:5A:5A:\
    5A:5A:5A:5A:5A:5A:5A:5A:5A:5A:5A:5A:5A:5A:5A:5A\r\na=setup:actpass\r\na=mid:0\r\n\
    a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=sendrecv\r\na=msid:stream track\r\n\
    a=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\n\
    a=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n\
    a=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:13 CN/8000\r\n\
    a=rtpmap:110 telephone-event/48000\r\na=rtpmap:126 telephone-event/8000\r\n\
    a=ssrc:2528571811 cname:user@host\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\n\
    a=mid:1\r\na=rtpmap:96 VP8/90000\r\n";
/// Yealink, with keys and a lifetime.
const YEALINK: &str = "v=0\r\no=- 20001 20001 IN IP4 192.0.2.23\r\ns=SDP data\r\nc=IN IP4 192.0.2.23\r\n\
    t=0 0\r\nm=audio 11780 RTP/SAVP 9 0 8 18 101\r\na=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:8 PCMA/8000\r\na=rtpmap:18 G729/8000\r\na=fmtp:18 annexb=no\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n\
    a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:KEY\r\n\
    a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:KEY\r\n\
    a=crypto:3 F8_128_HMAC_SHA1_80 inline:KEY\r\n";
/// Polycom writes a lifetime; static numbers without names.
const POLYCOM: &str = "v=0\r\no=Polycom 1 1 IN IP4 192.0.2.24\r\ns=Polycom IP Phone\r\n\
    c=IN IP4 192.0.2.24\r\nt=0 0\r\na=sendrecv\r\nm=audio 2236 RTP/SAVP 9 0 8 127\r\n\
    a=rtpmap:9 G722/8000\r\na=rtpmap:127 telephone-event/8000/1\r\n\
    a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:KEY|2^31\r\n";
/// Snom says with an attribute of its own that keys are a wish.
const SNOM: &str = "v=0\r\no=root 1193541 1193541 IN IP4 192.0.2.25\r\ns=call\r\nc=IN IP4 192.0.2.25\r\n\
    t=0 0\r\nm=audio 53844 RTP/AVP 9 99 8 0 18 101\r\na=direction:both\r\n\
    a=crypto:1 AES_CM_128_HMAC_SHA1_32 inline:KEY\r\na=rtpmap:9 G722/8000\r\n\
    a=rtpmap:99 G726-32/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:18 G729/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\n\
    a=encryption:optional\r\na=sendrecv\r\n";

fn read(text: &str) -> Description {
    Description::read(text.replace("KEY", KEY).as_bytes()).unwrap()
}

fn anchor() -> Anchor {
    let address = "203.0.113.7".parse().unwrap();
    Anchor { address, port: 26_000, session: 77, version: 1 }
}

fn rules() -> Rules {
    Rules { srtp: Srtp::Optional, keys: Keys::Secret, fingerprint: Some(PRINT) }
}

fn with_end<T>(numbers: &Numbers, act: impl FnOnce(&End<'_>) -> T) -> T {
    let seed = Seed::draw(&mut Chance::from_seed([3; 32]));
    let fingerprint = Some(PRINT);
    act(&End { anchor: anchor(), seed: &seed, fingerprint, numbers, held: Held::Nothing })
}

fn answer(offer: &Description, other: &Description) -> (String, Terms) {
    let shield = offer.shield(&rules()).unwrap();
    let ours = with_end(&Numbers::new(), |end| offer.answer(other, end, &shield)).unwrap();
    let terms = terms(&ours, offer, Offerer::They).unwrap().unwrap();
    (ours.text(), terms)
}

fn offer(other: &Description, manner: Manner) -> String {
    with_end(&Numbers::new(), |end| other.offer(end, manner)).text()
}

/// The `m=` line of the first stream.
fn list(text: &str) -> &str {
    text.lines().find(|line| line.starts_with("m=audio")).unwrap()
}

#[test]
fn phones_that_write_keys_are_answered_with_the_first_line_that_we_know() {
    let expected = [
        (BARESIP, "RTP/AVP", Suite::AesCm128HmacSha1_32, 1),
        (LINPHONE, "RTP/SAVP", Suite::AeadAes128Gcm, 1),
        (PJSUA, "RTP/AVP", Suite::AesCm128HmacSha1_80, 2),
        (YEALINK, "RTP/SAVP", Suite::AesCm128HmacSha1_80, 1),
        (POLYCOM, "RTP/SAVP", Suite::AesCm128HmacSha1_80, 1),
        (SNOM, "RTP/AVP", Suite::AesCm128HmacSha1_32, 1),
    ];
    for (text, profile, suite, tag) in expected {
        let phone = read(text);
        let (written, terms) = answer(&phone, &phone.mirrored());
        assert_eq!(list(&written).split(' ').nth(2), Some(profile), "{written}");
        let line = format!("\r\na=crypto:{tag} {} inline:", name_of(suite));
        assert!(written.contains(&line) && !written.contains(KEY), "{written}");
        assert_eq!(written.matches("a=crypto").count(), 1, "{written}");
        let Protection::Sdes { ours, theirs } = &terms.protection else { panic!("{terms:?}") };
        assert_eq!((ours.suite, theirs.suite), (suite, suite));
        assert_ne!(ours.material, theirs.material);
        // The same phone, called by one that knows nothing of keys.
        let plain = offer(&phone, Manner::Plain);
        assert!(list(&plain).starts_with("m=audio 26000 RTP/AVP "), "{plain}");
        assert!(!plain.contains("crypto"), "{plain}");
    }
}

#[test]
fn codecs_of_real_phones_keep_their_order_their_numbers_and_what_is_said_of_them() {
    for (text, formats) in [
        (BARESIP, "96 0 8 101 9 97"),
        (LINPHONE, "96 97 98 0 8 101 99 100 9"),
        (PJSUA, "98 97 99 104 3 0 8 9 96 120 121 122"),
        (YEALINK, "9 0 8 18 101 96 97"),
        (POLYCOM, "9 0 8 127 96 97"),
        (SNOM, "9 99 8 0 18 101 96 97"),
    ] {
        let phone = read(text);
        let written = offer(&phone, Manner::Plain);
        assert_eq!(list(&written), format!("m=audio 26000 RTP/AVP {formats}"), "{text}");
        for line in text.lines() {
            let passes = line.starts_with("a=rtpmap:") || line.starts_with("a=fmtp:");
            assert!(!passes || written.contains(&format!("{line}\r\n")), "{line}: {written}");
        }
    }
    let events = |text| answer(&read(text), &read(text).mirrored()).1.events;
    assert_eq!(events(LINPHONE), Some(101), "at 48,000, as Opus");
    assert_eq!(events(PJSUA), Some(120), "at 16,000, as speex");
    assert_eq!(events(BARESIP), Some(101), "at 8,000, because there is no other");
    assert_eq!(events(POLYCOM), Some(127), "one channel is no other name");
}

#[test]
fn a_browser_is_answered_by_a_desk_phone() {
    let browser = read(CHROMIUM);
    assert_eq!(browser.sound().direction, Direction::SendRecv, "0.0.0.0 is no hold here");
    assert_eq!(browser.sound().rtp, Some("0.0.0.0:9".parse().unwrap()), "it wants sound");
    let refused = read(&CHROMIUM.replace("m=audio 9 ", "m=audio 0 "));
    assert_eq!(refused.sound().rtp, None);
    let phone = read(&YEALINK.replace("RTP/SAVP", "RTP/AVP").replace("a=crypto", "a=x-none"));
    let (written, terms) = answer(&browser, &phone);
    assert_eq!(list(&written), "m=audio 26000 UDP/TLS/RTP/SAVPF 9 0 8 126", "{written}");
    for line in ["a=group:BUNDLE 0", "a=mid:0", "a=ice-lite", "a=rtcp-mux", "a=setup:passive"] {
        assert!(written.contains(&format!("\r\n{line}\r\n")), "{line}: {written}");
    }
    assert!(written.contains("a=candidate:1 1 UDP 2130706431 203.0.113.7 26000 typ host\r\n"));
    let Protection::Dtls { role, fingerprint, ice } = &terms.protection else { panic!() };
    assert_eq!((*role, *fingerprint), (DtlsRole::Server, [0x5a; 32]));
    let ice = ice.clone().unwrap();
    assert_eq!(ice.theirs, ("Oyef".to_owned(), "T0teqPLNQQOf+5W+ls+P2p16".to_owned()));
    assert!(written.contains(&format!("a=ice-ufrag:{}\r\n", ice.ours.0)));
    assert_eq!((terms.reports, terms.events), (Reports::Within, Some(126)));
    assert_eq!(terms.comfort_noise, None, "the phone has none");
    // What the phone was offered knows nothing of the browser's ways.
    let offered = offer(&browser, Manner::Plain);
    assert_eq!(list(&offered), "m=audio 26000 RTP/AVP 111 63 9 0 8 13 110 126", "{offered}");
    let foreign =
        ["ice", "candidate", "fingerprint", "setup", "mid", "BUNDLE", "rtcp-", "ssrc", "ext"];
    for word in foreign {
        assert!(!offered.contains(&format!("a={word}")), "{word}: {offered}");
    }
    assert!(offered.contains("\r\nm=video 0 "), "{offered}");
}

#[test]
fn redundancy_passes_only_under_the_numbers_that_it_names() {
    let browser = read(CHROMIUM);
    let mut numbers = Numbers::new();
    let same = with_end(&numbers, |end| browser.offer(end, Manner::Plain)).text();
    assert!(same.contains("a=fmtp:63 111/111\r\n"));
    numbers.insert(96, "opus/48000/2".into());
    let other = with_end(&numbers, |end| browser.offer(end, Manner::Plain)).text();
    assert!(list(&other).starts_with("m=audio 26000 RTP/AVP 96 9 0 8 13 "), "{other}");
    assert!(!other.contains("red/48000"), "{other}");
    let renumbered = read(&same.replace("111", "112"));
    let (written, terms) = answer(&browser, &renumbered);
    assert!(list(&written).starts_with("m=audio 26000 UDP/TLS/RTP/SAVPF 111 "), "{written}");
    assert!(!written.contains("red/48000"), "{written}");
    assert!(matches!(terms.codecs[0].kind, CodecKind::Opus { fec: true, .. }));
}

#[test]
fn an_answer_is_judged_by_the_line_that_it_takes() {
    let phone = read(YEALINK);
    let seed = Seed::draw(&mut Chance::from_seed([3; 32]));
    let ours = with_end(&Numbers::new(), |end| phone.offer(end, Manner::Sdes(Profile::Savp)));
    let says = |crypto: &str| {
        let text = YEALINK.lines().filter(|line| !line.starts_with("a=crypto"));
        let mut text: String = text.map(|line| format!("{line}\r\n")).collect();
        text.push_str(crypto);
        terms(&ours, &read(&text), Offerer::We)
    };
    let taken = says("a=crypto:3 AES_CM_128_HMAC_SHA1_32 inline:KEY\r\n").unwrap().unwrap();
    let Protection::Sdes { ours: key, theirs } = &taken.protection else { panic!("{taken:?}") };
    assert_eq!(*key, seed.key(Suite::AesCm128HmacSha1_32), "the key of that line");
    assert_eq!(theirs.material, vec![b'A'; 30]);
    for (crypto, unfit) in [
        ("a=crypto:1 AES_CM_128_HMAC_SHA1_32 inline:KEY\r\n", Unfit::Encrypted),
        ("a=crypto:9 AES_CM_128_HMAC_SHA1_80 inline:KEY\r\n", Unfit::Encrypted),
        ("", Unfit::NotEncrypted),
    ] {
        assert_eq!(says(crypto), Err(unfit), "{crypto}");
    }
}

#[test]
fn a_handshake_needs_one_side_that_begins() {
    let browser = read(CHROMIUM);
    let ours = with_end(&Numbers::new(), |end| {
        browser.offer(end, Manner::Dtls(Profile::TlsSavpf, Check::Ice))
    });
    for (setup, role) in [
        ("active", Ok(DtlsRole::Server)),
        ("passive", Ok(DtlsRole::Client)),
        ("actpass", Err(Unfit::Encrypted)),
        ("holdconn", Err(Unfit::NotEncrypted)),
    ] {
        let theirs = read(&CHROMIUM.replace("setup:actpass", &format!("setup:{setup}")));
        let agreed = terms(&ours, &theirs, Offerer::We).map(|terms| match terms {
            Some(Terms { protection: Protection::Dtls { role, .. }, .. }) => role,
            other => panic!("{other:?}"),
        });
        assert_eq!(agreed, role, "{setup}");
    }
    for broken in ["sha-256 5A:5A", "sha-1 5A:5A:5A:5A", "sha-256 zz", ""] {
        let at = CHROMIUM.find("a=fingerprint").unwrap();
        let end = at + CHROMIUM[at..].find("\r\n").unwrap();
        let text = format!("{}a=fingerprint:{broken}{}", &CHROMIUM[..at], &CHROMIUM[end..]);
        assert_eq!(read(&text).shield(&rules()), Err(Unfit::Encrypted), "{broken}");
    }
    let none = Rules { fingerprint: None, ..rules() };
    assert_eq!(browser.shield(&none), Err(Unfit::Encrypted), "without a certificate of ours");
}

#[test]
fn a_lite_side_checks_nothing_with_another() {
    let lite = read(
        &CHROMIUM
            .replace("a=ice-options:trickle\r\n", "")
            .replace("a=group", "a=ice-lite\r\na=group"),
    );
    let (written, terms) = answer(&lite, &lite.mirrored());
    assert!(!written.contains("ice-"), "{written}");
    assert!(matches!(terms.protection, Protection::Dtls { ice: None, .. }));
}

#[test]
fn packets_are_as_long_as_the_phone_wishes_and_we_can_make_them() {
    for (said, ptime) in [
        ("", 20),
        ("a=ptime:10\r\n", 10),
        ("a=ptime:30\r\n", 30),
        ("a=ptime:50\r\n", 40),
        ("a=ptime:200\r\n", 60),
        ("a=ptime:5\r\n", 10),
        ("a=ptime:60\r\na=maxptime:40\r\n", 40),
        ("a=maxptime:10\r\n", 10),
        ("a=ptime:many\r\n", 20),
    ] {
        let phone = read(&format!("{}{said}", SNOM.replace("a=ptime:20\r\n", "")));
        assert_eq!(answer(&phone, &phone.mirrored()).1.ptime, ptime, "{said}");
    }
}

#[test]
fn a_phone_is_sent_sound_if_it_says_that_it_receives_and_the_other_that_it_sends() {
    let says = |direction: &str| {
        read(
            &SNOM
                .replace("a=sendrecv\r\n", "")
                .replace("a=ptime", &format!("a={direction}\r\na=ptime")),
        )
    };
    for (phone, other, reception) in [
        ("sendrecv", "sendrecv", Reception::Wanted),
        ("recvonly", "sendonly", Reception::Wanted),
        ("sendonly", "recvonly", Reception::Unwanted),
        ("inactive", "inactive", Reception::Unwanted),
        ("sendrecv", "recvonly", Reception::Unwanted),
        ("sendrecv", "sendonly", Reception::Wanted),
    ] {
        let (written, terms) = answer(&says(phone), &says(other));
        assert_eq!(terms.reception, reception, "{phone}, {other}: {written}");
    }
    let before_rfc_3264 = read(&SNOM.replace("IN IP4 192.0.2.25", "IN IP4 0.0.0.0"));
    let (written, terms) = answer(&before_rfc_3264, &says("recvonly"));
    assert_eq!(terms.reception, Reception::Unwanted, "{written}");
}

#[test]
fn nothing_of_a_description_is_shown() {
    let shown = format!("{:?}", read(YEALINK));
    assert_eq!(shown, "Description(RTP/SAVP 9 0 8 18 101)");
}
