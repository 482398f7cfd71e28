//! Two ends that shake hands over a wire that loses, and ends that are not who they should be.

use std::time::Instant;

use super::*;

const START: Moment = Moment::from_secs(1_000);
const CLIENT: &str = "198.51.100.1:4000";
const SERVER: &str = "198.51.100.2:5000";

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A client and a server that know each other's fingerprint.
struct Ends {
    identities: [Identity; 2],
    ends: [Association; 2],
    agreed: [Option<(Key, Key)>; 2],
}

impl Ends {
    fn new() -> Self {
        let identities = [0, 1].map(|_| Identity::make().unwrap());
        let ends = [
            Association::new(DtlsRole::Client, identities[1].fingerprint()),
            Association::new(DtlsRole::Server, identities[0].fingerprint()),
        ];
        Self { identities, ends, agreed: [None, None] }
    }

    fn begin(&mut self, now: Moment) {
        self.ends[0].handle_way(now, &self.identities[0], at(SERVER), Room::Free);
    }

    /// Carries what one end has to say to the other, as far as `carries` says; how many were sent.
    fn carry(&mut self, now: Moment, from: usize, mut carries: impl FnMut(usize) -> bool) -> usize {
        let to = 1 - from;
        let mut sent = 0;
        while let Some((_, bytes)) = self.ends[from].poll_output() {
            assert!(bytes.len() <= 1_200, "{}", bytes.len());
            sent += 1;
            if carries(sent) {
                let came = (at([CLIENT, SERVER][from]), &bytes[..]);
                let step =
                    self.ends[to].handle_datagram(now, &self.identities[to], came, Room::Free);
                self.take(to, step);
            }
        }
        sent
    }

    fn take(&mut self, end: usize, step: Step) {
        match step {
            Step::Agreed { ours, theirs, peer } => {
                assert_eq!(peer, at([SERVER, CLIENT][end]));
                self.agreed[end] = Some((ours, theirs));
            }
            Step::Nothing => {}
            Step::Failed => panic!("{end} failed"),
        }
    }

    fn assert_agreed(&self) {
        let (client, server) = (self.agreed[0].clone().unwrap(), self.agreed[1].clone().unwrap());
        assert_eq!((client.0, client.1), (server.1, server.0), "each sends what the other opens");
    }
}

#[test]
fn two_ends_agree_on_keys_that_fit_each_other() {
    let mut ends = Ends::new();
    ends.begin(START);
    for _ in 0..4 {
        ends.carry(START, 0, |_| true);
        ends.carry(START, 1, |_| true);
    }
    ends.assert_agreed();
    let (ours, theirs) = ends.agreed[0].clone().unwrap();
    assert_ne!(ours, theirs);
    assert_eq!((ours.suite, ours.material.len()), (pbx::media::Suite::AeadAes128Gcm, 28));
    assert_eq!(ends.ends[0].deadline(), Some(START + REPEATED_FOR));
    for end in &mut ends.ends {
        assert_eq!(end.handle_deadline(START + REPEATED_FOR), Step::Nothing);
        assert_eq!(end.deadline(), None);
    }
}

#[test]
fn what_is_lost_is_said_again() {
    // The hello, the answer to it, the client's keys, and the server's last word.
    for lost in 0..4 {
        let mut ends = Ends::new();
        let (began_at, mut flight) = (Instant::now(), 0);
        ends.begin(START);
        // OpenSSL repeats by its own clock, for the first time after a second.
        while ends.agreed.iter().any(Option::is_none) {
            let now = START + began_at.elapsed();
            assert!(began_at.elapsed() < Duration::from_secs(10), "flight {lost} stays lost");
            for end in [0, 1] {
                let step = ends.ends[end].handle_deadline(now);
                ends.take(end, step);
                let sent = ends.carry(now, end, |_| flight != lost);
                flight += usize::from(sent > 0);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        ends.assert_agreed();
        assert!(began_at.elapsed() > Duration::from_millis(900), "flight {lost} was not lost");
    }
}

#[test]
fn who_has_another_certificate_than_was_signalled_gets_no_keys_and_keeps_nobody_out() {
    let mut ends = Ends::new();
    let (server, thief) = (&ends.identities[1], Identity::make().unwrap());
    for tries in 1..=TRIES {
        let mut stolen = Association::new(DtlsRole::Client, server.fingerprint());
        stolen.handle_way(START, &thief, at(SERVER), Room::Free);
        let mut steps = vec![];
        for _ in 0..4 {
            while let Some((_, bytes)) = stolen.poll_output() {
                let came = (at(CLIENT), &bytes[..]);
                steps.push(ends.ends[1].handle_datagram(START, server, came, Room::Free));
            }
            while let Some((_, bytes)) = ends.ends[1].poll_output() {
                stolen.handle_datagram(START, &thief, (at(SERVER), &bytes), Room::Free);
            }
        }
        assert!(steps.contains(&Step::Failed), "try {tries}");
        assert!(!steps.iter().any(|step| matches!(step, Step::Agreed { .. })), "try {tries}");
        if tries == TRIES - 1 {
            break;
        }
    }
    ends.begin(START);
    for _ in 0..4 {
        ends.carry(START, 0, |_| true);
        ends.carry(START, 1, |_| true);
    }
    ends.assert_agreed();
}

#[test]
fn a_handshake_with_nobody_is_given_up_and_a_full_worker_begins_none() {
    let mut ends = Ends::new();
    ends.ends[0].handle_way(START, &ends.identities[0], at(SERVER), Room::Full);
    assert_eq!((ends.ends[0].deadline(), ends.ends[0].is_shaking()), (None, false));
    ends.begin(START);
    let (_, hello) = ends.ends[0].poll_output().unwrap();
    let came = (at(CLIENT), &hello[..]);
    let step = ends.ends[1].handle_datagram(START, &ends.identities[1], came, Room::Full);
    assert_eq!((step, ends.ends[1].is_shaking()), (Step::Nothing, false));
    assert!(ends.ends[0].is_shaking());
    assert_eq!(ends.ends[0].handle_deadline(START + TAKES_AT_MOST), Step::Failed);
    assert_eq!((ends.ends[0].deadline(), ends.ends[0].is_shaking()), (None, false));
}

#[test]
fn what_is_no_handshake_harms_none() {
    let mut ends = Ends::new();
    ends.begin(START);
    ends.carry(START, 0, |_| true);
    for kind in 20..64 {
        for len in 0..40 {
            let noise: Vec<u8> = [&[kind, 0xfe, 0xfd][..], &[7; 40][..len]].concat();
            for end in [0, 1] {
                let came = (at([SERVER, CLIENT][end]), &noise[..]);
                let identity = &ends.identities[end];
                let step = ends.ends[end].handle_datagram(START, identity, came, Room::Free);
                assert_eq!(step, Step::Nothing, "{kind} {len}");
            }
        }
    }
    for _ in 0..4 {
        ends.carry(START, 1, |_| true);
        ends.carry(START, 0, |_| true);
    }
    ends.assert_agreed();
}
