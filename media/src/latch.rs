//! Whose packets are believed: phones behind NAT send from elsewhere than they say, and so would a thief.
//!
//! RFC 7362 §4 describes latching, and what goes wrong with it. Our rules:
//!
//! - Until somebody is believed, sound goes to where the SDP says. Whoever sends a steady stream
//!   from there, or from an address we have reason to expect, is believed after a few packets; a
//!   foreigner only after more, and after a second of them if the signalling's address is known.
//! - Packets that come from an expected address are heard from the first one on, so that nobody's
//!   "hello" is cut; a foreigner is heard once its stream is steady and it leads.
//! - Who is believed keeps the stream. It moves when the SDP says so, to a better reason than
//!   it had (the thief who was first loses to the phone), or when the very same stream goes on
//!   from elsewhere after its old source fell silent (a NAT gave it a new port). A phone that comes
//!   back from a hold may have a new stream as well as a new port: once signalling has spoken, and
//!   until the old source is heard again, any steady stream from the same router is followed.
//! - Where checks (ICE) say where the peer is, none of this is asked.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use pbx::moment::Moment;

use crate::contest::{Contest, Track};
use crate::rtp::Header;

/// How long the source of a stream must be silent before the stream may go on from elsewhere.
const SILENT_AFTER: Duration = Duration::from_millis(200);
/// How long the old source is still heard after the SDP named a new one.
const FORMER_FOR: Duration = Duration::from_secs(1);

/// Where one peer's sound comes from and where ours goes.
#[derive(Debug)]
pub(crate) struct Latch {
    expected: Expected,
    sending: Sending,
    peer: Peer,
    contest: Contest,
}

/// What signalling says about the peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Expected {
    /// The last address its SDP named.
    rtp: Option<SocketAddr>,
    /// Where its signalling comes from.
    near: Option<IpAddr>,
    /// Where it was before the SDP changed.
    former: Option<IpAddr>,
    /// Where its handshake came from: as good as what its SDP names.
    proven: Option<SocketAddr>,
}

/// Whether the peer wants sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sending {
    Wanted,
    Refused,
}

#[derive(Debug)]
enum Peer {
    /// Nobody is believed yet.
    Unknown,
    /// The SDP named a new address; the old one may still be right, if a NAT lies between.
    Former { source: SocketAddr, way: Way, until: Moment },
    /// This one is believed.
    Believed { track: Track, rank: Rank, trust: Trust },
    /// It has proved that it is there (ICE): nothing else is asked, and nothing else moves it.
    Checked { source: SocketAddr },
}

/// Whether who is believed must be where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// It was heard from there.
    Sure,
    /// Signalling has spoken since: it may have been on hold for longer than a NAT remembers.
    Asked,
}

/// How a peer was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// At the address its SDP named.
    AsSignalled,
    /// Elsewhere: what its SDP names is of no use.
    ThroughNat,
}

/// How good the reason is to believe a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// None but that it sends.
    Foreign,
    /// Its address is the SDP's or the signalling's, the port is another.
    Near,
    /// It is the very address that the SDP names.
    Signalled,
}

/// What to make of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Let it be heard.
    Believed,
    /// Let it be heard; from now on this is where the peer is.
    Latched,
    /// Not our peer.
    Stranger,
}

impl Default for Latch {
    fn default() -> Self {
        Self {
            expected: Expected::default(),
            sending: Sending::Refused,
            peer: Peer::Unknown,
            contest: Contest::default(),
        }
    }
}

impl Latch {
    /// Signalling says where the peer is. The same address again changes nothing: a phone that
    /// resumes a call is still where it was.
    pub(crate) fn aim(&mut self, now: Moment, rtp: Option<SocketAddr>, near: Option<IpAddr>) {
        self.expected.near = near;
        let Some(named) = rtp.filter(can_be_sent_to) else {
            self.sending = Sending::Refused;
            return;
        };
        self.sending = Sending::Wanted;
        let before = self.expected.rtp.replace(named);
        if before != Some(named) {
            self.expected.proven = None;
            self.reopen(now, before, named);
        } else if let Peer::Believed { trust, .. } = &mut self.peer {
            *trust = Trust::Asked;
        }
    }

    fn reopen(&mut self, now: Moment, before: Option<SocketAddr>, named: SocketAddr) {
        let Peer::Believed { track, rank, .. } = &mut self.peer else { return };
        if track.source == named {
            *rank = Rank::Signalled;
            return;
        }
        let way = match before {
            Some(before) if before.ip() == track.source.ip() => Way::AsSignalled,
            Some(_) | None => Way::ThroughNat,
        };
        self.expected.former = Some(track.source.ip());
        self.peer = Peer::Former { source: track.source, way, until: now + FORMER_FOR };
        self.contest.clear();
    }

    /// Signalling says whether the peer wants sound, and checks say where it is.
    pub(crate) fn aim_by_checks(&mut self, sending: Sending) {
        self.sending = sending;
    }

    /// A check has shown where the peer is.
    pub(crate) fn follow_check(&mut self, source: SocketAddr) {
        self.peer = Peer::Checked { source };
        self.contest.clear();
    }

    /// There are no checks any more: the peer is looked for as others are.
    pub(crate) fn end_checks(&mut self) {
        if let Peer::Checked { .. } = self.peer {
            self.peer = Peer::Unknown;
        }
    }

    /// A handshake that nobody else could hold came from here.
    pub(crate) fn prove(&mut self, source: SocketAddr) {
        self.expected.proven = Some(source);
    }

    /// Whether the peer names an address for its sound.
    pub(crate) fn is_wanted(&self) -> bool {
        self.sending == Sending::Wanted
    }

    /// An RTP packet came.
    pub(crate) fn handle_packet(
        &mut self,
        now: Moment,
        source: SocketAddr,
        header: &Header,
    ) -> Verdict {
        match &mut self.peer {
            Peer::Believed { track, trust, .. } if track.source == source => {
                track.advance(now, header);
                *trust = Trust::Sure;
                Verdict::Believed
            }
            Peer::Former { source: former, until, .. } if *former == source && now < *until => {
                Verdict::Believed
            }
            Peer::Checked { .. } => Verdict::Believed,
            Peer::Believed { .. } | Peer::Former { .. } | Peer::Unknown => {
                self.challenge(now, source, header)
            }
        }
    }

    fn challenge(&mut self, now: Moment, source: SocketAddr, header: &Header) -> Verdict {
        let Some(rank) = self.expected.rank(source) else { return Verdict::Stranger };
        let believed = match &self.peer {
            Peer::Believed { track, .. } => Some(track),
            Peer::Unknown | Peer::Former { .. } | Peer::Checked { .. } => None,
        };
        let Some(claim) = self.contest.enter(now, source, header, rank, believed) else {
            return Verdict::Stranger;
        };
        let proven = match &self.peer {
            Peer::Checked { .. } => false,
            Peer::Unknown | Peer::Former { .. } => claim.is_steady(self.expected.proof(rank)),
            Peer::Believed { track, .. } if claim.continues_believed() => {
                now.since(track.heard_at) >= SILENT_AFTER && claim.is_steady(SAME_STREAM)
            }
            Peer::Believed { track, rank: held, trust: Trust::Asked }
                if rank > Rank::Foreign || source.ip() == track.source.ip() =>
            {
                (rank > *held || now.since(track.heard_at) >= SILENT_AFTER)
                    && claim.is_steady(self.expected.proof(rank))
            }
            Peer::Believed { rank: held, .. } => {
                rank > *held && claim.is_steady(self.expected.proof(rank))
            }
        };
        let leads = claim.leads();
        if proven && leads {
            self.believe(now, source, header, rank);
            return Verdict::Latched;
        }
        match self.peer {
            Peer::Believed { .. } | Peer::Checked { .. } => Verdict::Stranger,
            Peer::Unknown | Peer::Former { .. } if leads && self.is_heard(rank, claim.streak()) => {
                Verdict::Believed
            }
            Peer::Unknown | Peer::Former { .. } => Verdict::Stranger,
        }
    }

    /// Whether a leader that has proven nothing yet is heard.
    fn is_heard(&self, rank: Rank, streak: u16) -> bool {
        match rank {
            Rank::Signalled | Rank::Near => true,
            Rank::Foreign => self.expected.near.is_none() && streak >= 3,
        }
    }

    fn believe(&mut self, now: Moment, source: SocketAddr, header: &Header, rank: Rank) {
        let track = Track::new(now, source, header);
        self.peer = Peer::Believed { track, rank, trust: Trust::Sure };
        self.contest.clear();
    }

    /// Where our sound goes; `None` while the peer wants none.
    pub(crate) fn destination(&self, now: Moment) -> Option<SocketAddr> {
        match (self.sending, &self.peer) {
            (Sending::Refused, _) => None,
            (Sending::Wanted, Peer::Believed { track, .. }) => Some(track.source),
            (Sending::Wanted, Peer::Checked { source }) => Some(*source),
            (Sending::Wanted, Peer::Former { source, way: Way::ThroughNat, until })
                if now < *until =>
            {
                Some(*source)
            }
            (Sending::Wanted, Peer::Former { .. } | Peer::Unknown) => {
                self.expected.proven.or(self.expected.rtp)
            }
        }
    }

    /// Who is believed.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        match &self.peer {
            Peer::Believed { track, .. } => Some(track.source),
            Peer::Checked { source } => Some(*source),
            Peer::Unknown | Peer::Former { .. } => None,
        }
    }

    /// Where the peer's SDP says it is.
    pub(crate) fn signalled(&self) -> Option<SocketAddr> {
        self.expected.rtp
    }

    /// Whether reports from `ip` are the peer's: they come from where its sound comes from.
    pub(crate) fn expects(&self, ip: IpAddr) -> bool {
        match &self.peer {
            Peer::Believed { track, .. } => track.source.ip() == ip,
            Peer::Checked { source } => source.ip() == ip,
            Peer::Former { source, .. } if source.ip() == ip => true,
            Peer::Former { .. } | Peer::Unknown => self.expected.is_near(ip),
        }
    }
}

/// What a source must show before it is believed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Proof {
    /// Consecutive packets of one stream.
    pub(crate) streak: u16,
    /// Over at least this long, so that a burst fired at every port proves nothing.
    pub(crate) over: Duration,
}

const SAME_STREAM: Proof = Proof { streak: 3, over: Duration::ZERO };

impl Expected {
    /// `None` while nothing is known about the peer: nobody can be told from a stranger.
    fn rank(&self, source: SocketAddr) -> Option<Rank> {
        match self.rtp {
            Some(named) if named == source => Some(Rank::Signalled),
            _ if self.proven == Some(source) => Some(Rank::Signalled),
            _ if self.is_near(source.ip()) => Some(Rank::Near),
            Some(_) => Some(Rank::Foreign),
            None => None,
        }
    }

    fn is_near(&self, ip: IpAddr) -> bool {
        let named = self.rtp.map(|named| named.ip());
        let proven = self.proven.map(|proven| proven.ip());
        [named, self.near, self.former, proven].contains(&Some(ip))
    }

    fn proof(&self, rank: Rank) -> Proof {
        match (rank, self.near) {
            (Rank::Signalled, _) => Proof { streak: 3, over: Duration::ZERO },
            (Rank::Near, _) => Proof { streak: 4, over: Duration::ZERO },
            (Rank::Foreign, None) => Proof { streak: 5, over: Duration::from_millis(30) },
            // A NAT whose signalling and sound leave from different addresses is rare, somebody
            // who tries every port is not.
            (Rank::Foreign, Some(_)) => Proof { streak: 10, over: Duration::from_secs(1) },
        }
    }
}

/// RFC 3264 §8.4 holds with 0.0.0.0, §5.1 refuses with port 0; and no packet of ours goes to many.
pub(crate) fn can_be_sent_to(address: &SocketAddr) -> bool {
    let ip = address.ip();
    let to_all = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !to_all
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHONE: &str = "198.51.100.7:4000";
    const INSIDE: &str = "192.168.1.5:16384";
    const THIEF: &str = "203.0.113.66:5004";

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// A latch under a virtual clock, and how many packets each source has sent.
    struct Scene {
        latch: Latch,
        now: Moment,
    }

    /// A source of packets, one every 20 ms if it is a phone.
    #[derive(Clone, Copy)]
    struct Sender {
        source: SocketAddr,
        ssrc: u32,
        sequence: u16,
    }

    impl Sender {
        fn new(source: &str, ssrc: u32) -> Self {
            Self { source: at(source), ssrc, sequence: 65_533 }
        }

        fn next(&mut self) -> Header {
            self.sequence = self.sequence.wrapping_add(1);
            let Self { ssrc, sequence, .. } = *self;
            // Goes on where the sequence turns.
            let timestamp = (u32::from(sequence.wrapping_add(3)) + 7) * 160;
            Header { payload_type: 0, sequence, timestamp, ssrc, payload_len: 160 }
        }
    }

    impl Scene {
        fn new(rtp: &str, near: Option<&str>) -> Self {
            let mut scene = Self { latch: Latch::default(), now: Moment::from_secs(1_000) };
            scene.aim(rtp, near);
            scene
        }

        fn aim(&mut self, rtp: &str, near: Option<&str>) {
            let near = near.map(|near| near.parse().unwrap());
            self.latch.aim(self.now, Some(at(rtp)), near);
        }

        fn wait(&mut self, ms: u64) {
            self.now += Duration::from_millis(ms);
        }

        fn packet(&mut self, sender: &mut Sender) -> Verdict {
            let header = sender.next();
            self.latch.handle_packet(self.now, sender.source, &header)
        }

        /// `count` packets, 20 ms apart; what became of each, as `.` heard, `L` latched, `x` not.
        fn send(&mut self, sender: &mut Sender, count: usize) -> String {
            let mut all = String::new();
            for _ in 0..count {
                self.wait(20);
                all.push(letter(self.packet(sender)));
            }
            all
        }

        /// Both at the same time; what became of the second one's.
        fn both(&mut self, one: &mut Sender, other: &mut Sender, count: usize) -> String {
            let mut all = String::new();
            for _ in 0..count {
                self.wait(20);
                self.packet(one);
                all.push(letter(self.packet(other)));
            }
            all
        }

        fn destination(&self) -> Option<SocketAddr> {
            self.latch.destination(self.now)
        }
    }

    fn letter(verdict: Verdict) -> char {
        match verdict {
            Verdict::Believed => '.',
            Verdict::Latched => 'L',
            Verdict::Stranger => 'x',
        }
    }

    #[test]
    fn believes_soonest_who_sends_from_the_signalled_address() {
        let mut scene = Scene::new(PHONE, None);
        assert_eq!(scene.destination(), Some(at(PHONE)), "we send before we hear");
        assert_eq!(scene.send(&mut Sender::new(PHONE, 1), 5), "..L..");
        assert_eq!(scene.latch.peer(), Some(at(PHONE)));
    }

    #[test]
    fn cuts_no_word_of_a_phone_behind_nat_whose_signalling_came_the_same_way() {
        let mut scene = Scene::new(INSIDE, Some("198.51.100.7"));
        assert_eq!(scene.send(&mut Sender::new(PHONE, 1), 5), "...L.");
        assert_eq!(scene.destination(), Some(at(PHONE)));
    }

    #[test]
    fn a_phone_of_which_nothing_else_is_known_is_heard_once_it_is_steady() {
        let mut scene = Scene::new(INSIDE, None);
        assert_eq!(scene.send(&mut Sender::new(PHONE, 1), 6), "xx..L.");
    }

    #[test]
    fn a_burst_fired_at_the_port_proves_nothing() {
        let mut scene = Scene::new(INSIDE, None);
        let mut thief = Sender::new(THIEF, 66);
        for _ in 0..100 {
            assert_ne!(scene.packet(&mut thief), Verdict::Latched);
        }
        assert_eq!(scene.destination(), Some(at(INSIDE)));
    }

    #[test]
    fn a_spray_of_random_packets_is_never_heard_and_does_not_stop_the_phone() {
        let mut scene = Scene::new(INSIDE, None);
        let mut phone = Sender::new(PHONE, 1);
        let mut seed: u32 = 1;
        for n in 0..10 {
            scene.wait(10);
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let mut spray = Sender { source: at(THIEF), ssrc: seed, sequence: (seed >> 8) as u16 };
            assert_eq!(scene.packet(&mut spray), Verdict::Stranger);
            scene.wait(10);
            let heard = scene.packet(&mut phone);
            assert_eq!(heard == Verdict::Stranger, n < 2, "packet {n}: {heard:?}");
        }
        assert_eq!(scene.latch.peer(), Some(at(PHONE)));
    }

    #[test]
    fn a_flood_from_many_addresses_leaves_an_expected_phone_its_place() {
        let mut scene = Scene::new(INSIDE, Some("198.51.100.7"));
        let mut phone = Sender::new(PHONE, 1);
        let mut heard = String::new();
        for n in 0..4_u16 {
            for port in 0..200 {
                let mut thief = Sender::new(THIEF, u32::from(port));
                thief.source.set_port(1_024 + n * 200 + port);
                assert_eq!(scene.packet(&mut thief), Verdict::Stranger);
            }
            heard += &scene.send(&mut phone, 1);
        }
        assert_eq!(heard, "...L");
    }

    #[test]
    fn a_thief_who_sends_while_it_rings_loses_to_the_phone() {
        let mut scene = Scene::new(INSIDE, Some("198.51.100.7"));
        let mut thief = Sender::new(THIEF, 66);
        let mut phone = Sender::new(PHONE, 1);
        assert!(!scene.send(&mut thief, 50).contains(['.', 'L']), "a second of silence for it");
        scene.send(&mut thief, 1_000);
        assert_eq!(scene.both(&mut thief, &mut phone, 6), "xxxL..");
        assert_eq!(scene.destination(), Some(at(PHONE)));
        assert_eq!(scene.both(&mut phone, &mut thief, 100), "x".repeat(100));

        let mut scene = Scene::new(PHONE, None);
        scene.send(&mut thief, 1_000);
        assert_eq!(scene.both(&mut thief, &mut phone, 5), "xxL..");
    }

    #[test]
    fn a_foreigner_is_not_heard_beside_somebody_expected() {
        let mut scene = Scene::new("198.51.100.7:9000", None);
        let mut thief = Sender::new(THIEF, 66);
        assert_eq!(scene.send(&mut thief, 3), "xx.");
        assert_eq!(scene.both(&mut Sender::new(PHONE, 1), &mut thief, 3), "xxx");
    }

    #[test]
    fn a_phone_whose_nat_splits_signalling_and_sound_is_heard_after_a_second() {
        let mut scene = Scene::new(INSIDE, Some("198.51.100.99"));
        let heard = scene.send(&mut Sender::new(PHONE, 1), 60);
        assert_eq!(heard.find('L'), Some(50));
        assert!(heard.ends_with(&".".repeat(9)));
    }

    #[test]
    fn whoever_is_believed_is_not_displaced_even_while_silent() {
        let mut scene = Scene::new(INSIDE, Some("198.51.100.7"));
        scene.send(&mut Sender::new(PHONE, 1), 10);
        let mut thief = Sender::new(THIEF, 66);
        assert_eq!(scene.send(&mut thief, 3_000), "x".repeat(3_000));
        let mut colleague = Sender::new("198.51.100.7:4444", 2);
        assert_eq!(scene.send(&mut colleague, 500), "x".repeat(500), "behind the same NAT");
        assert_eq!(scene.destination(), Some(at(PHONE)));
    }

    #[test]
    fn the_same_stream_from_another_port_is_followed_once_the_old_one_is_silent() {
        let mut scene = Scene::new(INSIDE, Some("198.51.100.7"));
        let mut phone = Sender::new(PHONE, 1);
        scene.send(&mut phone, 10);
        let mut moved = Sender { source: at("198.51.100.8:61000"), ..phone };
        let heard = scene.send(&mut moved, 12);
        assert_eq!(heard, "xxxxxxxxxL..", "200 ms after its last packet from there");
        assert_eq!(scene.destination(), Some(moved.source));
    }

    #[test]
    fn a_copy_of_the_stream_does_not_move_it_while_the_phone_still_sends() {
        let mut scene = Scene::new(PHONE, None);
        let mut phone = Sender::new(PHONE, 1);
        scene.send(&mut phone, 10);
        let mut copy = Sender { source: at(THIEF), ..phone };
        copy.sequence = copy.sequence.wrapping_add(5);
        assert_eq!(scene.both(&mut phone, &mut copy, 200), "x".repeat(200));
    }

    #[test]
    fn a_stream_of_the_same_name_far_from_where_it_was_is_another() {
        let mut scene = Scene::new(PHONE, None);
        let mut phone = Sender::new(PHONE, 1);
        scene.send(&mut phone, 10);
        scene.wait(1_000);
        let mut guess = Sender { source: at(THIEF), ..phone };
        guess.sequence = guess.sequence.wrapping_add(30_000);
        assert_eq!(scene.send(&mut guess, 100), "x".repeat(100));
    }

    #[test]
    fn a_new_stream_from_the_believed_source_is_its_own() {
        let mut scene = Scene::new(PHONE, None);
        scene.send(&mut Sender::new(PHONE, 1), 5);
        assert_eq!(scene.send(&mut Sender::new(PHONE, 2), 5), ".....");
    }

    #[test]
    fn losses_and_late_packets_do_not_start_the_proof_again() {
        let mut scene = Scene::new(INSIDE, None);
        let mut phone = Sender::new(PHONE, 1);
        assert_eq!(scene.send(&mut phone, 3), "xx.");
        let mut late = phone;
        late.sequence = late.sequence.wrapping_sub(2);
        assert_eq!(scene.send(&mut late, 1), ".");
        phone.sequence = phone.sequence.wrapping_add(5);
        assert_eq!(scene.send(&mut phone, 2), ".L");
    }

    #[test]
    fn a_new_address_in_the_sdp_opens_the_latch_for_it() {
        let mut scene = Scene::new(PHONE, None);
        let mut phone = Sender::new(PHONE, 1);
        scene.send(&mut phone, 5);
        let mut other = Sender::new("198.51.100.20:7000", 2);
        scene.aim("198.51.100.20:7000", None);
        assert_eq!(scene.destination(), Some(other.source));
        assert_eq!(scene.send(&mut phone, 2), "..", "what is under way is still heard");
        assert_eq!(scene.both(&mut phone, &mut other, 4), "..L.");
        assert_eq!(scene.send(&mut phone, 100), "x".repeat(100));
    }

    #[test]
    fn behind_nat_a_new_inner_address_does_not_send_sound_astray() {
        let mut scene = Scene::new(INSIDE, Some("198.51.100.7"));
        let mut phone = Sender::new(PHONE, 1);
        scene.send(&mut phone, 5);
        scene.aim("192.168.1.5:16400", Some("198.51.100.7"));
        assert_eq!(scene.destination(), Some(phone.source));
        assert!(!scene.send(&mut phone, 60).contains('x'));
        assert_eq!(scene.latch.peer(), Some(phone.source), "nothing but the number had changed");

        scene.aim("192.168.1.5:16500", Some("198.51.100.7"));
        let mut moved = Sender::new("198.51.100.7:4900", 3);
        assert_eq!(scene.send(&mut moved, 5), "...L.");
    }

    #[test]
    fn a_silent_new_address_gets_the_sound_after_a_second() {
        let mut scene = Scene::new(INSIDE, Some("198.51.100.7"));
        scene.send(&mut Sender::new(PHONE, 1), 5);
        scene.aim("198.51.100.20:7000", Some("198.51.100.7"));
        scene.wait(1_000);
        assert_eq!(scene.destination(), Some(at("198.51.100.20:7000")));
    }

    #[test]
    fn a_held_phone_is_found_again_where_it_was() {
        let mut scene = Scene::new(INSIDE, Some("198.51.100.7"));
        scene.send(&mut Sender::new(PHONE, 1), 5);
        for hold in [None, Some(at("0.0.0.0:4000")), Some(at("198.51.100.7:0"))] {
            scene.latch.aim(scene.now, hold, None);
            assert_eq!(scene.destination(), None);
            scene.aim(INSIDE, Some("198.51.100.7"));
            assert_eq!(scene.destination(), Some(at(PHONE)));
        }
    }

    /// A phone that was on hold for longer than its router remembers, and is back.
    fn resumed(inside: &str) -> Scene {
        let mut scene = Scene::new(inside, Some("198.51.100.7"));
        scene.send(&mut Sender::new(PHONE, 1), 10);
        scene.wait(60_000);
        scene.aim(inside, Some("198.51.100.7"));
        scene
    }

    #[test]
    fn a_phone_back_from_hold_is_followed_to_a_new_port_with_a_new_stream() {
        for inside in [INSIDE, PHONE] {
            let mut scene = resumed(inside);
            assert_eq!(scene.destination(), Some(at(PHONE)), "until it is heard elsewhere");
            let mut moved = Sender::new("198.51.100.7:61000", 2);
            assert_eq!(scene.send(&mut moved, 6), "xxxL..");
            assert_eq!(scene.destination(), Some(moved.source));
        }
    }

    #[test]
    fn back_from_hold_whoever_was_believed_comes_first_and_a_thief_never() {
        let mut scene = resumed(INSIDE);
        assert_eq!(scene.send(&mut Sender::new(THIEF, 66), 200), "x".repeat(200));
        let (mut phone, mut colleague) =
            (Sender::new(PHONE, 3), Sender::new("198.51.100.7:4444", 2));
        assert_eq!(scene.both(&mut phone, &mut colleague, 50), "x".repeat(50));
        // It was heard, so its next silence is no invitation.
        assert_eq!(scene.send(&mut colleague, 500), "x".repeat(500));
        assert_eq!(scene.destination(), Some(at(PHONE)));
    }

    #[test]
    fn before_signalling_says_anything_everybody_is_a_stranger() {
        let mut latch = Latch::default();
        let mut phone = Sender::new(PHONE, 1);
        for ms in 0..100 {
            let now = Moment::from_millis(ms * 20);
            let header = phone.next();
            assert_eq!(latch.handle_packet(now, phone.source, &header), Verdict::Stranger);
        }
        assert_eq!(latch.destination(Moment::EPOCH), None);
    }

    #[test]
    fn nothing_is_sent_to_everybody_at_once() {
        for address in ["255.255.255.255:4000", "224.0.0.1:4000", "[ff02::1]:4000", "[::]:4000"] {
            let mut latch = Latch::default();
            latch.aim(Moment::EPOCH, Some(at(address)), None);
            assert_eq!(latch.destination(Moment::EPOCH), None, "{address}");
        }
    }
}
