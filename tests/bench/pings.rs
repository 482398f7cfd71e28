//! What it costs to keep the way to a phone behind a router open: one question and its answer.
//!
//! `cargo bench -p tests --bench pings -- [PHONES]`. Without sockets: what switch and door do, on one
//! thread. System calls come on top, batched as for any other message.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pbx::edge::{self, Edge, Placed, UnknownDomain};
use pbx::flow::{Advertised, Flow, Path};
use pbx::id::{BindingId, NodeId, UserId};
use pbx::input::Input;
use pbx::moment::Moment;
use pbx::output::Output;
use pbx::record::Binding;
use pbx::registrar::Policy;
use pbx::sip::Draft;
use pbx::sip::message::Message;
use pbx::switch::{Setup, Switch};
use uuid::Uuid;

const NODE: NodeId = NodeId(1);
const START: Moment = Moment::from_secs(1_800_000_000);
/// As long as it is measured, in the phones' time.
const FOR: Duration = Duration::from_secs(60);
const COMPANIES: u32 = 100;

fn main() {
    let phones = std::env::args().filter_map(|argument| argument.parse().ok()).next();
    let phones: u32 = phones.unwrap_or(10_000);
    let (mut switch, mut edge) = (switch(), door());
    for number in 0..COMPANIES {
        let company = kit::sim::company(u8::try_from(number).unwrap_or(0), &domain(number));
        edge.learn(company.served());
        let bindings = (0..phones / COMPANIES).map(|n| binding(number, n, &company)).collect();
        let directory = Box::new(company.directory);
        switch.handle_input(
            START,
            Input::Arrived { directory, bindings, live: vec![], lost: vec![] },
        );
    }
    while switch.poll_output().is_some() {}

    let (mut now, mut asking, mut hearing) = (START, Duration::ZERO, Duration::ZERO);
    let (mut asked, mut heard, mut most) = (0_u32, 0_u32, 0);
    while let Some(next) = switch.deadline().filter(|next| *next < START + FOR) {
        now = now.max(next);
        let began_at = Instant::now();
        switch.handle_deadline(now);
        let mut sent = vec![];
        while let Some(output) = switch.poll_output() {
            if let Output::Send { flow, bytes } = output {
                sent.push((flow, bytes));
            }
        }
        asking += began_at.elapsed();
        asked += u32::try_from(sent.len()).unwrap_or(0);
        most = most.max(sent.len());
        let answers: Vec<_> = sent.into_iter().filter_map(answered).collect();
        let began_at = Instant::now();
        for (flow, bytes) in answers {
            if let Placed::For { tenant, by, message } = edge.place(now, &flow, bytes) {
                heard += 1;
                switch.handle_input(now, Input::Received { tenant, by, flow, message });
            }
        }
        hearing += began_at.elapsed();
    }
    let each = |all: Duration, of: u32| all.as_secs_f64() * 1e6 / f64::from(of.max(1));
    println!(
        "{phones} phones, {} s: {asked} questions, {heard} answers, {most} at once at most;\n\
         {:.2} µs to ask, {:.2} µs to hear, {:.2} µs together",
        FOR.as_secs(),
        each(asking, asked),
        each(hearing, heard),
        each(asking, asked) + each(hearing, heard)
    );
}

fn domain(number: u32) -> String {
    format!("company{number}.example")
}

fn switch() -> Switch {
    Switch::new(Setup {
        node: NODE,
        boot: 1,
        seed: [1; 32],
        token_key: [2; 16],
        nonce_key: [3; 16],
        sip: Advertised::default(),
        media: Advertised::default(),
        own: vec![],
        inner: [127, 0, 0, 1].into(),
        fingerprint: None,
        policy: Policy::default(),
        unknown_domain: UnknownDomain::Drop,
    })
}

fn door() -> Edge {
    Edge::new(edge::Setup {
        token_key: [2; 16],
        nonce_key: [3; 16],
        boot: 1,
        seed: [4; 32],
        advertised: Advertised::default(),
        unknown_domain: UnknownDomain::Drop,
    })
}

/// A phone at 192.168.1.10, as all of them are.
fn binding(company: u32, number: u32, of: &kit::sim::Company) -> Binding {
    let users: &BTreeMap<UserId, _> = &of.directory.users;
    let [_, _, c, d] = company.to_be_bytes();
    let [.., a, b] = number.to_be_bytes();
    let peer = SocketAddr::from(([198, 18 + c, d, a], 1_024 + u16::from(b)));
    let local = SocketAddr::from(([203, 0, 113, 9], 5060));
    Binding {
        id: BindingId(Uuid::from_u128(u128::from(company) << 32 | u128::from(number))),
        user: *users.keys().next().unwrap_or(&UserId(Uuid::nil())),
        contact: "sip:101@192.168.1.10:5060;transport=udp".to_owned(),
        instance: None,
        reg_id: None,
        call_id: format!("{company}-{number}@192.168.1.10"),
        cseq: 2,
        q: 1_000,
        path: Path::udp(NODE, local, peer),
        route: vec![],
        user_agent: "Desk phone 1.0".to_owned(),
        expires_at: START + Duration::from_secs(3_600),
        horizon: START + Duration::from_secs(4_500),
        alg: None,
    }
}

fn answered((flow, bytes): (Flow, Bytes)) -> Option<(Flow, Bytes)> {
    let question = Message::parse(bytes).ok()?;
    Some((flow, Draft::response(&question, 200, None).to_tag("phone").finish()))
}
