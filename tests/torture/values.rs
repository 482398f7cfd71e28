//! What the valid messages say, value by value: accepting them is not yet reading them rightly.

use bytes::Bytes;
use pbx::sip::{Contacts, Message, Method, Name, Rport, Scheme, check};

use crate::corpus::message;

fn read(name: &str) -> Message {
    Message::parse(message(name)).unwrap_or_else(|malformed| panic!("{name}: {malformed}"))
}

/// What a refused message's answer says in its first line.
fn refusal(name: &str) -> String {
    let answer = match Message::parse(message(name)) {
        Err(malformed) => malformed.answer(),
        Ok(message) => check(&message).unwrap_err().answer(&message),
    };
    let answer = answer.unwrap().finish();
    String::from_utf8_lossy(&answer).lines().next().unwrap().to_owned()
}

fn contacts(message: &Message) -> Vec<pbx::sip::Address<'_>> {
    match message.contacts().unwrap() {
        Contacts::List(list) => list.to_vec(),
        Contacts::None | Contacts::Star => panic!("no list of contacts"),
    }
}

#[test]
fn wsinv_is_read_through_its_folds_and_spaces() {
    let message = read("rfc4475/wsinv");
    assert_eq!(message.method(), Method::Invite);
    let target = message.uri().unwrap();
    assert_eq!((target.user, target.host), (Some("vivekg"), "chair-dnrc.example.com"));
    assert_eq!(target.param("unknownparam"), Some(""));
    assert_eq!(message.to().unwrap().tag(), Some("1918181833n"));
    let from = message.from().unwrap();
    assert_eq!((from.display().as_ref(), from.tag()), (r#"J Rosenberg \""#, Some("98asjd8")));
    assert_eq!(message.max_forwards(), Ok(Some(68)));
    assert_eq!(message.cseq().unwrap().number, 9);
    let vias: Vec<_> = message.vias().map(Result::unwrap).collect();
    assert_eq!(vias.len(), 3);
    assert_eq!((vias[0].transport, vias[0].host), ("UDP", "192.0.2.2"));
    assert_eq!(vias[0].branch(), Some("390skdjuw"));
    assert_eq!((vias[1].transport, vias[1].host), ("TCP", "spindle.example.com"));
    assert_eq!((vias[1].branch(), vias[1].rport()), (Some("z9hG4bK9ikj8"), Rport::Absent));
    assert_eq!((vias[2].host, vias[2].branch()), ("192.168.255.111", Some("z9hG4bK30239")));
    assert_eq!(message.first(Name::Subject), Some(""));
    let contact = contacts(&message)[0];
    assert_eq!(contact.display(), r#"Quoted string """#);
    assert_eq!((contact.q(), contact.param("newparam").as_deref()), (Some(330), Some("newvalue")));
    assert!(contact.params.has("secondparam"));
    let routes = message.routes().unwrap();
    let route = routes[0].uri().unwrap();
    assert_eq!((route.host, route.param("lr")), ("services.example.com", Some("")));
    assert_eq!(message.other("unknownheaderwithunusualvalue"), Some(";;,,;;,;"));
    let fangled = message.other("NewFangledHeader").unwrap();
    assert_eq!(
        fangled.split_whitespace().collect::<Vec<_>>(),
        ["newfangled", "value", "continued", "newfangled", "value"]
    );
    assert_eq!(message.body().len(), 150);
}

#[test]
fn intmeth_keeps_its_strange_letters() {
    let message = read("rfc4475/intmeth");
    let method = "!interesting-Method0123456789_*+`.%indeed'~";
    assert_eq!(message.method(), Method::Other(method));
    assert_eq!(message.cseq().unwrap().method, Method::Other(method));
    let target = message.uri().unwrap();
    assert_eq!(target.user, Some("1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"));
    assert_eq!(target.password, Some("&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"));
    assert_eq!(target.host, "example.com");
    let to = message.to().unwrap();
    assert_eq!(to.display(), "BEL:\u{7} NUL:\0 DEL:\u{7f}");
    let from = message.from().unwrap();
    assert_eq!(from.display(), "token1~` token2'+_ token3*%!.-");
    assert_eq!(from.tag(), Some("_token~1'+`*%!-."));
    assert_eq!(from.param("fromParam''~+*_!.-%").as_deref(), Some("работающий"));
    assert_eq!(message.call_id(), Ok("intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{"));
    assert_eq!(message.other("EXTENSIONHEADER-!.%*+_`'~"), Some("\u{feff}大停電"));
    assert_eq!(message.max_forwards(), Ok(Some(255)));
    let answer = Message::parse(pbx::sip::Draft::response(&message, 501, None).finish()).unwrap();
    assert_eq!(answer.first(Name::To), message.first(Name::To));
    assert_eq!(answer.call_id(), message.call_id());
}

#[test]
fn escapes_are_data_where_they_are_escapes() {
    let message = read("rfc4475/esc01");
    let target = message.uri().unwrap();
    assert_eq!((target.user(), target.host), ("sips:user@example.com".into(), "example.net"));
    assert_eq!(message.to().unwrap().uri().unwrap().user(), "user");
    assert_eq!(message.from().unwrap().uri().unwrap().user(), "I have spaces");
    let contact = contacts(&message)[0].uri().unwrap();
    assert_eq!((contact.user(), contact.param("lr")), ("caller".into(), Some("")));
    assert_eq!(contact.param("name"), Some("v%61lue%25%34%31"));

    let message = read("rfc4475/esc02");
    assert_eq!(message.method(), Method::Other("RE%47IST%45R"));
    assert_eq!(message.to().unwrap().display(), "%Z%45");
    assert_eq!(contacts(&message).len(), 2, "C%6Fntact is no Contact");
    assert_eq!(message.via().unwrap().branch(), Some("z9hG4bK209%fzsnel234"));

    let message = read("rfc4475/escnull");
    assert_eq!(message.to().unwrap().uri().unwrap().user(), "null-\0-null");
    let both = contacts(&message);
    let (one, two) = (both[0].uri().unwrap(), both[1].uri().unwrap());
    assert_eq!((one.user(), two.user()), ("\0".into(), "\0\0".into()));
    assert!(!one.same_as(&two));
}

#[test]
fn names_users_and_transports_may_be_unusual() {
    assert_eq!(read("rfc4475/lwsdisp").from().unwrap().display(), "caller");
    let semicolons = read("rfc4475/semiuri");
    assert_eq!(semicolons.uri().unwrap().user(), "user;par=u@example.net");
    assert_eq!(semicolons.values(Name::Accept).count(), 6);
    let vias = read("rfc4475/transports");
    let transports: Vec<_> = vias.vias().map(|via| via.unwrap().transport).collect();
    assert_eq!(transports, ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]);
    let long = read("rfc4475/longreq");
    assert_eq!(long.vias().count(), 34);
    assert_eq!(long.to().unwrap().uri().unwrap().port, Some(6000));
    let old = read("rfc4475/inv2543");
    assert_eq!((old.via().unwrap().branch(), old.from().unwrap().tag()), (None, None));
    assert_eq!(old.max_forwards(), Ok(None));
    assert_eq!(read("rfc4475/baddn").from().unwrap().display(), "Bell, Alexander");
    assert_eq!(read("rfc4475/badaspec").to().unwrap().uri_text, "sip:t.watson@example.org");
    assert_eq!(read("rfc4475/badbranch").via().unwrap().branch(), Some("z9hG4bK"));
}

#[test]
fn bodies_end_where_they_say_and_are_passed_byte_for_byte() {
    let double = read("rfc4475/dblreq");
    assert_eq!((double.method(), double.body().len()), (Method::Register, 0));
    assert_eq!(double.all().count(), 8);
    let parts = read("rfc4475/mpart01");
    assert_eq!(parts.body().len(), 553);
    assert!(parts.bytes().ends_with(&parts.body()));
    let again = pbx::sip::Draft::request(Method::Message, "sip:a@b")
        .body(parts.content_type().unwrap(), &parts.body())
        .finish();
    assert_eq!(Message::parse(again).unwrap().body(), parts.body());
}

#[test]
fn reason_phrases_may_be_anything_or_nothing() {
    let strange = read("rfc4475/unreason");
    let reason = "= 2**3 * 5**2 но сто девяносто девять - простое";
    assert_eq!((strange.status(), strange.reason()), (Some(200), reason));
    assert_eq!(strange.method(), Method::Invite);
    let silent = read("rfc4475/noreason");
    assert_eq!((silent.status(), silent.reason()), (Some(100), ""));
    assert_eq!(read("rfc4475/bcast").vias().count(), 2);
}

#[test]
fn parameters_belong_to_the_contact_or_to_its_address() {
    let bare = read("rfc4475/cparam01");
    assert!(contacts(&bare)[0].params.has("unknownparam"));
    let within = read("rfc4475/cparam02");
    assert_eq!(contacts(&within)[0].uri().unwrap().param("unknownparam"), Some(""));
    let escaped = read("rfc4475/regescrt");
    let headers: Vec<_> = contacts(&escaped)[0].uri().unwrap().headers().collect();
    assert_eq!(headers, [("Route", "%3Csip:sip.example.com%3E")]);
}

#[test]
fn refusals_name_the_mistake() {
    assert_eq!(refusal("rfc4475/clerr"), "SIP/2.0 400 Content-Length: more than came");
    assert_eq!(refusal("rfc4475/insuf"), "SIP/2.0 400 To: missing");
    assert_eq!(refusal("rfc4475/quotbal"), "SIP/2.0 400 To: no closing quote");
    assert_eq!(refusal("rfc4475/unksm2"), "SIP/2.0 400 To: neither sip nor sips");
    assert_eq!(refusal("rfc4475/lwsruri"), "SIP/2.0 400 Request-URI: space in an address");
    assert_eq!(refusal("rfc4475/badvers"), "SIP/2.0 505 Version Not Supported");
    let demand = read("rfc4475/bext01");
    let answer = check(&demand).unwrap_err().answer(&demand).unwrap().finish();
    let unsupported = Message::parse(answer).unwrap();
    let tags: Vec<_> = unsupported.values(Name::Unsupported).collect();
    assert_eq!(
        tags,
        [
            "nothingSupportsThis",
            "nothingSupportsThisEither",
            "noProxiesSupportThis",
            "norDoAnyProxiesSupportThis"
        ]
    );
}

#[test]
fn ipv6_stands_where_ipv4_does() {
    let good = read("rfc5118/ipv6-good");
    let ip = |text: &str| Some(text.parse::<std::net::IpAddr>().unwrap());
    assert_eq!(good.uri().unwrap().ip(), ip("2001:db8::10"));
    assert_eq!(good.via().unwrap().ip(), ip("2001:db8::9:1"));
    assert_eq!(contacts(&good)[0].uri().unwrap().ip(), ip("2001:db8::1"));
    let ambiguous = read("rfc5118/port-ambiguous");
    assert_eq!(ambiguous.uri().unwrap().port, None);
    assert_eq!(ambiguous.uri().unwrap().ip(), ip("2001:db8::10:5070"));
    assert_eq!(read("rfc5118/port-unambiguous").uri().unwrap().port, Some(5070));
    for name in ["via-received-param-with-delim", "via-received-param-no-delim"] {
        let message = read(&format!("rfc5118/{name}"));
        assert_eq!(message.via().unwrap().received(), ip("2001:db8::9:255"), "{name}");
    }
    let mixed = read("rfc5118/mult-ip-in-header");
    let vias: Vec<_> = mixed.vias().map(|via| via.unwrap().ip()).collect();
    assert_eq!(vias, [ip("2001:db8::9:1"), ip("192.0.2.1"), ip("2001:db8::9:255")]);
    assert_eq!(mixed.via().unwrap().port, Some(6050));
    let mapped = read("rfc5118/ipv4-mapped-ipv6");
    assert_eq!(mapped.via().unwrap().ip(), ip("::ffff:192.0.2.10"));
    let three = read("rfc5118/ipv6-bug-abnf-3-colons");
    let two = read("rfc5118/ipv6-correct-abnf-2-colons");
    assert_eq!(three.uri().unwrap().ip(), ip("2001:db8::192.0.2.1"));
    assert!(three.uri().unwrap().same_as(&two.uri().unwrap()));
    for name in ["ipv6-in-sdp", "mult-ip-in-sdp", "ipv4-mapped-ipv6"] {
        let body = read(&format!("rfc5118/{name}")).body();
        assert!(body.starts_with(b"v=0\r\n") && body.ends_with(b"/90000\r\n"), "{name}");
    }
}

#[test]
fn known_schemes_are_told_from_strange_ones() {
    assert_eq!(read("rfc4475/novelsc").uri().unwrap().scheme, Scheme::Other("soap.beep"));
    let strange = read("rfc4475/unksm2");
    assert_eq!(strange.to().unwrap().uri().unwrap().scheme, Scheme::Other("isbn"));
    assert_eq!(strange.from().unwrap().uri().unwrap().text, "http://www.example.com");
    assert_eq!(contacts(&strange)[0].uri().unwrap().scheme, Scheme::Other("name"));
}

#[test]
fn auto_answer_headers_that_break_the_grammar_are_carried() {
    let invite = String::from_utf8(message("rfc4475/sdp01").to_vec()).unwrap();
    let headers = "Call-Info: ;answer-after=0\r\nAlert-Info: Ring Answer\r\nCSeq:";
    let invite = Message::parse(Bytes::from(invite.replace("CSeq:", headers))).unwrap();
    assert_eq!(check(&invite), Ok(()));
    assert_eq!(invite.first(Name::CallInfo), Some(";answer-after=0"));
    assert_eq!(invite.first(Name::AlertInfo), Some("Ring Answer"));
}
