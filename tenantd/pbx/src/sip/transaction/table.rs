//! All transactions of a switch: which one a message belongs to, and what is due next.
//!
//! RFC 3261 §17. `O` is who owns one, a small value of the caller's own.

use bytes::Bytes;

use super::agenda::{Agenda, Due, Output};
use super::clients::{Answer, Clients, Full, Request};
use super::key::Realm;
use super::servers::{Arrival, ServerId, Servers};
use crate::flow::{Flow, FlowId};
use crate::moment::Moment;
use crate::sip::message::Message;
use crate::sip::method::Method;

/// Both sides of every transaction.
///
/// Take the outputs after each input or deadline: they are the only thing here without a limit of
/// its own, and each input adds two at most.
#[derive(Debug)]
pub struct Transactions<O> {
    servers: Servers<O>,
    clients: Clients<O>,
    agenda: Agenda<O>,
}

impl<O: Copy> Transactions<O> {
    /// How many requests of each side a switch keeps unless told otherwise.
    pub const USUAL_LIMIT: usize = 200_000;

    /// None yet. `key` is secret; at most `limit` requests are kept on each side, and an eighth
    /// more of those that end something. On the answering side those that were answered longest
    /// ago make room first.
    pub fn new(key: [u8; 16], limit: usize) -> Self {
        Self {
            servers: Servers::new(key, limit),
            clients: Clients::new(limit),
            agenda: Agenda::new(),
        }
    }

    /// A request came. What it says was checked before.
    pub fn receive_request(&mut self, now: Moment, flow: Flow, request: &Message) -> Arrival<O> {
        self.receive_request_in(now, Realm::default(), flow, request)
    }

    /// A request came that can be mistaken for none of another realm.
    pub fn receive_request_in(
        &mut self,
        now: Moment,
        realm: Realm,
        flow: Flow,
        request: &Message,
    ) -> Arrival<O> {
        self.servers.receive(&mut self.agenda, now, (realm, flow), request)
    }

    /// Says who is told if a request is cancelled, or our refusal never acknowledged.
    pub fn own(&mut self, id: ServerId, owner: O) {
        self.servers.own(id, owner);
    }

    /// Answers a request. What may not be said (any more) is not: a second final response, a 408,
    /// or a provisional response, to anything but an INVITE.
    pub fn respond(&mut self, now: Moment, id: ServerId, status: u16, bytes: Bytes) {
        self.servers.respond(&mut self.agenda, now, id, status, bytes);
    }

    /// Sends a request, again and again if need be. `branch_key` is the key of the token in its
    /// branch, and no other request's. An ACK is no transaction.
    pub fn request(
        &mut self,
        now: Moment,
        flow: Flow,
        method: Method<'_>,
        bytes: Bytes,
        branch_key: u64,
        owner: O,
    ) -> Result<(), Full> {
        let request = Request { flow, branch_key, owner, bytes };
        self.clients.request(&mut self.agenda, now, method, request)
    }

    /// A response came, with this key in the token of its branch. `None`: a repeat, or a stray.
    pub fn receive_response(
        &mut self,
        now: Moment,
        branch_key: u64,
        response: &Message,
    ) -> Option<Answer<O>> {
        self.clients.receive(&mut self.agenda, now, branch_key, response)
    }

    /// Cancels an INVITE, now or as soon as somebody has heard it, with the value of a Reason
    /// header. Its owner still gets a final response, or [`Output::TimedOut`]; it may be a 2xx.
    pub fn cancel(&mut self, now: Moment, branch_key: u64, reason: Option<&str>) {
        self.clients.cancel(&mut self.agenda, now, branch_key, reason);
    }

    /// A connection is gone: requests on it that nobody has answered count as never answered
    /// (RFC 3261 §8.1.3.1).
    pub fn lose(&mut self, stream: FlowId) {
        self.clients.lose(&mut self.agenda, stream);
    }

    /// What shall be done next.
    pub fn poll_output(&mut self) -> Option<Output<O>> {
        self.agenda.outputs.pop_front()
    }

    /// When [`Self::handle_deadline`] is next due. It may then find that nothing is.
    pub fn deadline(&self) -> Option<Moment> {
        self.agenda.alarms.next()
    }

    /// A deadline has come.
    pub fn handle_deadline(&mut self, now: Moment) {
        self.ring(now);
    }

    /// Transactions that are remembered.
    pub fn len(&self) -> usize {
        self.servers.len() + self.clients.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Transactions in which somebody still waits: for a final response or the ACK to one. It looks
    /// at all of them; ask when the server is about to stop, not with each message.
    pub fn unfinished(&self) -> usize {
        self.servers.unfinished() + self.clients.unfinished()
    }

    /// Handles the alarms that ring, and says how many.
    fn ring(&mut self, now: Moment) -> usize {
        let mut rung = 0;
        while let Some(due) = self.agenda.alarms.pop_due(now) {
            rung += 1;
            match due {
                Due::Server(id) => self.servers.handle_deadline(&mut self.agenda, now, id),
                Due::Client(key) => self.clients.handle_deadline(&mut self.agenda, now, key),
            }
        }
        rung
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::super::servers::Cancelled;
    use super::*;
    use crate::flow::{InnerPath, Link, Path, Transport};
    use crate::id::{NodeId, TenantId};
    use crate::sip::draft::Draft;
    use crate::sip::name::Name;
    use uuid::Uuid;

    const START: Moment = Moment::from_secs(1_000);
    const OWNER: u32 = 7;
    const KEY: u64 = 42;

    type Table = Transactions<u32>;

    fn table() -> Table {
        Transactions::new([9; 16], Table::USUAL_LIMIT)
    }

    fn after(millis: u64) -> Moment {
        START + Duration::from_millis(millis)
    }

    fn from(peer: &str) -> Flow {
        let local = "192.0.2.1:5060".parse().unwrap();
        Flow::udp(NodeId(1), local, peer.parse::<SocketAddr>().unwrap())
    }

    fn phone() -> Flow {
        from("198.51.100.7:40000")
    }

    fn elsewhere() -> Flow {
        let tenant = |number| TenantId(Uuid::from_u128(number));
        Flow::Inner(InnerPath { here: tenant(1), there: tenant(2) })
    }

    fn asks(method: &str, branch: &str, to: &str) -> Message {
        let text = format!(
            "{method} sip:102@acme.test SIP/2.0\r\n\
             Via: SIP/2.0/UDP 10.0.0.5:5062;rport;branch={branch}\r\n\
             From: <sip:101@acme.test>;tag=f\r\nTo: <sip:102@acme.test>{to}\r\n\
             Call-ID: call-{branch}\r\nCSeq: 3 {method}\r\nMax-Forwards: 70\r\n\r\n"
        );
        Message::parse(Bytes::from(text)).unwrap()
    }

    fn invite() -> Message {
        asks("INVITE", "z9hG4bKa", "")
    }

    fn answers(to: &Message, status: u16) -> Message {
        Message::parse(Draft::response(to, status, None).to_tag("t").finish()).unwrap()
    }

    fn respond(table: &mut Table, now: Moment, id: ServerId, to: &Message, status: u16) {
        table.respond(now, id, status, answers(to, status).bytes().clone());
    }

    fn new(arrival: Arrival<u32>) -> ServerId {
        match arrival {
            Arrival::New(id) => id,
            other => panic!("{other:?}"),
        }
    }

    /// What is sent, each as its first line.
    fn sent(table: &mut Table) -> Vec<String> {
        let mut lines = vec![];
        while let Some(output) = table.poll_output() {
            lines.push(match output {
                Output::Send { bytes, .. } => {
                    String::from_utf8_lossy(&bytes).lines().next().unwrap().to_owned()
                }
                Output::TimedOut { owner } => format!("timed out: {owner}"),
                Output::NeverAcknowledged { owner } => format!("never acknowledged: {owner}"),
            });
        }
        lines
    }

    /// Jumps from deadline to deadline; returns what is sent, and after how many milliseconds.
    fn until_the_end(table: &mut Table) -> Vec<(u128, String)> {
        let mut all = vec![];
        while let Some(now) = table.deadline() {
            table.handle_deadline(now);
            all.extend(sent(table).into_iter().map(|line| ((now - START).as_millis(), line)));
        }
        all
    }

    fn call(table: &mut Table, flow: Flow) -> Message {
        let invite = invite();
        let bytes = invite.bytes().clone();
        table.request(START, flow, Method::Invite, bytes, KEY, OWNER).unwrap();
        assert_eq!(sent(table), ["INVITE sip:102@acme.test SIP/2.0"]);
        invite
    }

    fn hears(table: &mut Table, now: Moment, to: &Message, status: u16) -> Option<u16> {
        let answer = table.receive_response(now, KEY, &answers(to, status))?;
        assert_eq!(answer.owner, OWNER);
        Some(answer.status)
    }

    #[test]
    fn a_repeat_gets_the_last_answer_and_is_served_once() {
        let (mut table, register) = (table(), asks("REGISTER", "z9hG4bKr", ""));
        let id = new(table.receive_request(START, phone(), &register));
        assert_eq!(table.receive_request(START, phone(), &register), Arrival::Absorbed);
        assert!(sent(&mut table).is_empty());
        respond(&mut table, START, id, &register, 200);
        assert_eq!(table.receive_request(START, phone(), &register), Arrival::Absorbed);
        assert_eq!(sent(&mut table), ["SIP/2.0 200 OK"; 2]);
        assert_eq!((table.len(), table.unfinished()), (1, 0));
        assert!(until_the_end(&mut table).is_empty());
        assert!(table.is_empty());
        let _ = new(table.receive_request(after(40_000), phone(), &register));
    }

    #[test]
    fn who_waits_is_told_100_with_the_address_it_came_from() {
        let (mut table, invite) = (table(), invite());
        let _ = table.receive_request(START, phone(), &invite);
        let _ = table.receive_request(START, phone(), &asks("REGISTER", "z9hG4bKr", ""));
        for due in [after(200), after(3_500)] {
            assert_eq!(table.deadline(), Some(due));
            table.handle_deadline(due);
            let Some(Output::Send { flow, bytes }) = table.poll_output() else { panic!() };
            let trying = Message::parse(bytes).unwrap();
            assert_eq!((flow, trying.status()), (phone(), Some(100)));
            let via = trying.via().unwrap();
            assert_eq!(via.received().map(|ip| ip.to_string()).as_deref(), Some("198.51.100.7"));
            assert_eq!(via.param("rport"), Some("40000"));
        }
    }

    #[test]
    fn a_lost_refusal_is_repeated_until_its_ack_comes() {
        let (mut table, invite) = (table(), invite());
        let id = new(table.receive_request(START, phone(), &invite));
        table.own(id, OWNER);
        respond(&mut table, START, id, &invite, 486);
        table.handle_deadline(after(200)); // the 100 is not needed any more
        for now in [after(500), after(1_500)] {
            assert_eq!(table.deadline(), Some(now));
            table.handle_deadline(now);
        }
        assert_eq!(sent(&mut table), ["SIP/2.0 486 Busy Here"; 3]);
        let ack = asks("ACK", "z9hG4bKa", ";tag=t");
        assert_eq!(table.receive_request(after(1_600), phone(), &ack), Arrival::Absorbed);
        assert_eq!(table.receive_request(after(1_700), phone(), &ack), Arrival::Absorbed);
        assert_eq!(table.unfinished(), 0);
        assert!(until_the_end(&mut table).is_empty());
        assert!(table.is_empty());
    }

    #[test]
    fn who_is_never_acknowledged_is_told() {
        let (mut table, invite) = (table(), invite());
        let id = new(table.receive_request(START, phone(), &invite));
        table.own(id, OWNER);
        respond(&mut table, START, id, &invite, 486);
        let last = until_the_end(&mut table).pop();
        assert_eq!(last, Some((32_000, format!("never acknowledged: {OWNER}"))));
    }

    #[test]
    fn what_went_over_a_connection_that_is_gone_is_never_answered() {
        let mut table = table();
        let stream = |number| {
            let link = Link::Stream { transport: Transport::Tcp, boot: 3, number };
            let Flow::Net(path) = phone() else { panic!() };
            Flow::Net(Path { link, ..path })
        };
        let asked = call(&mut table, stream(1));
        table.lose(stream(2).stream().unwrap());
        assert!(sent(&mut table).is_empty());
        table.lose(stream(1).stream().unwrap());
        assert_eq!(sent(&mut table), [format!("timed out: {OWNER}")]);
        assert_eq!(hears(&mut table, START, &asked, 200), None);
        assert!(table.is_empty());
    }

    #[test]
    fn the_ack_to_a_2xx_is_the_dialogs() {
        let (mut table, invite) = (table(), invite());
        let id = new(table.receive_request(START, phone(), &invite));
        respond(&mut table, START, id, &invite, 200);
        for branch in ["z9hG4bKa", "z9hG4bKother"] {
            let ack = asks("ACK", branch, ";tag=t");
            assert_eq!(table.receive_request(START, phone(), &ack), Arrival::Ack);
        }
        assert_eq!(table.receive_request(START, phone(), &invite), Arrival::Absorbed);
        assert_eq!(sent(&mut table), ["SIP/2.0 200 OK"]);
    }

    #[test]
    fn a_cancel_finds_its_invite_while_that_is_unanswered() {
        let (mut table, invite) = (table(), invite());
        let cancel = asks("CANCEL", "z9hG4bKa", "");
        let id = new(table.receive_request(START, phone(), &invite));
        table.own(id, OWNER);
        let Arrival::Cancel { server, invite: found } =
            table.receive_request(START, phone(), &cancel)
        else {
            panic!()
        };
        assert_eq!(found, Cancelled::Invite(id, OWNER));
        respond(&mut table, START, server, &cancel, 200);
        respond(&mut table, START, id, &invite, 487);
        assert_eq!(table.receive_request(START, phone(), &cancel), Arrival::Absorbed);
        assert_eq!(
            sent(&mut table),
            ["SIP/2.0 200 OK", "SIP/2.0 487 Request Terminated", "SIP/2.0 200 OK"]
        );
    }

    #[test]
    fn a_cancel_that_comes_too_late_or_for_nothing_stops_nothing() {
        let mut table = table();
        let cancels = |table: &mut Table, branch: &str| match table.receive_request(
            START,
            phone(),
            &asks("CANCEL", branch, ""),
        ) {
            Arrival::Cancel { invite, .. } => invite,
            other => panic!("{other:?}"),
        };
        assert_eq!(cancels(&mut table, "z9hG4bKx"), Cancelled::Nothing);
        let answered = asks("INVITE", "z9hG4bKa", "");
        let id = new(table.receive_request(START, phone(), &answered));
        table.own(id, OWNER);
        respond(&mut table, START, id, &answered, 200);
        assert_eq!(cancels(&mut table, "z9hG4bKa"), Cancelled::Finished);
        let _ = table.receive_request(START, phone(), &asks("INVITE", "z9hG4bKu", ""));
        assert_eq!(cancels(&mut table, "z9hG4bKu"), Cancelled::Finished, "nobody owns it");
        let _ = table.receive_request(START, phone(), &asks("OPTIONS", "z9hG4bKo", ""));
        assert_eq!(cancels(&mut table, "z9hG4bKo"), Cancelled::Nothing);
    }

    #[test]
    fn the_same_request_by_another_way_is_merged() {
        let (mut table, first) = (table(), invite());
        let id = new(table.receive_request(START, phone(), &first));
        let text = String::from_utf8(first.bytes().to_vec()).unwrap();
        let second =
            text.replace("z9hG4bKa;", "z9hG4bKb;").replace("branch=z9hG4bKa", "branch=z9hG4bKb");
        let second = Message::parse(second.into()).unwrap();
        assert_eq!(table.receive_request(START, phone(), &second), Arrival::Merged);
        assert_eq!(table.receive_request(START, phone(), &second), Arrival::Merged);
        // A phone that sends the password with the same CSeq is no second way.
        respond(&mut table, START, id, &first, 407);
        let _ = new(table.receive_request(START, phone(), &second));
    }

    #[test]
    fn an_answer_follows_a_phone_to_its_new_port_but_not_to_another_address() {
        let (mut table, register) = (table(), asks("REGISTER", "z9hG4bKr", ""));
        let id = new(table.receive_request(START, phone(), &register));
        respond(&mut table, START, id, &register, 200);
        let moved = from("198.51.100.7:41000");
        for flow in [moved, from("203.0.113.66:40000"), elsewhere()] {
            assert_eq!(table.receive_request(START, flow, &register), Arrival::Absorbed);
        }
        let flows: Vec<Flow> = std::iter::from_fn(|| table.poll_output())
            .map(|output| match output {
                Output::Send { flow, .. } => flow,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(flows, [phone(), moved, moved, moved]);
    }

    #[test]
    fn what_cannot_be_read_has_no_transaction() {
        let text = "OPTIONS sip:acme.test SIP/2.0\r\nVia: nonsense\r\nFrom: <sip:a@b>;tag=f\r\n\
                    To: <sip:a@b>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n\r\n";
        let message = match Message::parse(Bytes::from_static(text.as_bytes())) {
            Ok(message) => message,
            Err(malformed) => *malformed.message.unwrap(),
        };
        assert_eq!(table().receive_request(START, phone(), &message), Arrival::Unreadable);
    }

    #[test]
    fn a_refused_call_is_acknowledged_each_time_and_told_once() {
        let mut table = table();
        let invite = call(&mut table, phone());
        assert_eq!(hears(&mut table, START, &invite, 180), Some(180));
        assert_eq!(hears(&mut table, START, &invite, 486), Some(486));
        assert_eq!(hears(&mut table, START, &invite, 486), None);
        assert_eq!(sent(&mut table), ["ACK sip:102@acme.test SIP/2.0"; 2]);
        assert_eq!(hears(&mut table, START, &invite, 200), None);
        assert!(until_the_end(&mut table).is_empty());
        assert!(table.is_empty());
        assert_eq!(hears(&mut table, START, &invite, 486), None, "a stray");
    }

    #[test]
    fn an_accepted_call_hears_every_2xx_and_acknowledges_itself() {
        let mut table = table();
        let invite = call(&mut table, phone());
        assert_eq!(hears(&mut table, START, &invite, 200), Some(200));
        assert_eq!(hears(&mut table, after(500), &invite, 200), Some(200));
        assert_eq!(table.unfinished(), 0);
        assert!(until_the_end(&mut table).is_empty());
        assert!(table.is_empty());
    }

    #[test]
    fn a_call_that_nobody_hears_times_out_and_is_cancelled_in_case_somebody_did() {
        for cancelled_before in [false, true] {
            let mut table = table();
            let _ = call(&mut table, phone());
            if cancelled_before {
                table.cancel(START, KEY, None);
            }
            let all = until_the_end(&mut table);
            let (calls, late) = all.split_at(6);
            assert_eq!(
                calls.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
                [500, 1_500, 3_500, 7_500, 15_500, 31_500]
            );
            assert_eq!(late[0], (32_000, format!("timed out: {OWNER}")));
            let cancel = "CANCEL sip:102@acme.test SIP/2.0".to_owned();
            assert_eq!(late[1], (32_000, cancel.clone()));
            assert!(late[1..].iter().all(|(at, what)| *what == cancel && *at < 64_000));
            assert!(table.is_empty());
        }
    }

    #[test]
    fn a_phone_that_rang_unheard_stops_and_its_refusal_is_acknowledged() {
        let mut table = table();
        let invite = call(&mut table, phone());
        let timed_out_at = after(32_000);
        while table.deadline().is_some_and(|at| at <= timed_out_at) {
            let at = table.deadline().unwrap();
            table.handle_deadline(at);
        }
        let _ = sent(&mut table);
        assert_eq!(hears(&mut table, timed_out_at, &invite, 487), None, "nobody waits for it");
        assert_eq!(sent(&mut table), ["ACK sip:102@acme.test SIP/2.0"]);
    }

    #[test]
    fn a_change_of_a_call_that_nobody_hears_is_not_cancelled() {
        let mut table = table();
        let invite = asks("INVITE", "z9hG4bKa", ";tag=there");
        table.request(START, phone(), Method::Invite, invite.bytes().clone(), KEY, OWNER).unwrap();
        let _ = table.poll_output();
        let all = until_the_end(&mut table);
        assert_eq!(all.last(), Some(&(32_000, format!("timed out: {OWNER}"))));
    }

    #[test]
    fn a_cancel_goes_out_at_once_if_somebody_has_heard_the_invite() {
        let mut table = table();
        let invite = call(&mut table, phone());
        let _ = hears(&mut table, START, &invite, 180);
        table.cancel(START, KEY, Some("SIP;cause=200;text=\"Call completed elsewhere\""));
        table.cancel(START, KEY, None);
        let Some(Output::Send { flow, bytes }) = table.poll_output() else { panic!() };
        let cancel = Message::parse(bytes).unwrap();
        assert_eq!((flow, cancel.method()), (phone(), Method::Cancel));
        assert_eq!(
            cancel.first(Name::Reason),
            Some("SIP;cause=200;text=\"Call completed elsewhere\"")
        );
        assert_eq!(table.poll_output(), None);
        assert_eq!(hears(&mut table, START, &cancel, 200), None, "nobody asked about it");
        assert_eq!(hears(&mut table, START, &invite, 487), Some(487));
        assert_eq!(sent(&mut table), ["ACK sip:102@acme.test SIP/2.0"]);
        assert!(until_the_end(&mut table).is_empty());
    }

    #[test]
    fn a_cancel_waits_for_the_first_provisional_response() {
        let mut table = table();
        let invite = call(&mut table, phone());
        table.cancel(START, KEY, None);
        assert!(sent(&mut table).is_empty());
        assert_eq!(hears(&mut table, START, &invite, 100), Some(100));
        assert_eq!(sent(&mut table), ["CANCEL sip:102@acme.test SIP/2.0"]);
        // It is repeated like any request, and when nobody obeys, the call is told.
        let mut all = until_the_end(&mut table);
        assert_eq!(all.pop(), Some((32_000, format!("timed out: {OWNER}"))));
        assert_eq!(all.len(), 10);
        assert!(table.is_empty());
    }

    #[test]
    fn nothing_is_left_to_cancel_after_a_final_response() {
        let mut table = table();
        let invite = call(&mut table, phone());
        table.cancel(START, KEY, None);
        assert_eq!(hears(&mut table, START, &invite, 200), Some(200), "the call hangs up");
        table.cancel(START, KEY, None);
        assert!(sent(&mut table).is_empty());
        assert!(until_the_end(&mut table).is_empty());
    }

    #[test]
    fn a_2xx_that_crossed_the_cancel_reaches_the_call_and_ends_the_repeats() {
        let mut table = table();
        let invite = call(&mut table, phone());
        let _ = hears(&mut table, START, &invite, 180);
        table.cancel(START, KEY, None);
        let _ = sent(&mut table);
        assert_eq!(hears(&mut table, after(100), &invite, 200), Some(200));
        assert!(until_the_end(&mut table).is_empty());
    }

    #[test]
    fn an_answer_with_another_method_or_key_is_a_stray() {
        let (mut table, bye) = (table(), asks("BYE", "z9hG4bKb", ";tag=t"));
        let invite = call(&mut table, phone());
        assert_eq!(hears(&mut table, START, &bye, 200), None);
        assert_eq!(table.receive_response(START, KEY + 1, &answers(&invite, 200)), None);
        table.request(START, phone(), Method::Bye, bye.bytes().clone(), KEY + 1, OWNER).unwrap();
        assert_eq!(table.receive_response(START, KEY + 1, &answers(&invite, 200)), None);
        let ok = table.receive_response(START, KEY + 1, &answers(&bye, 200));
        assert_eq!(ok.map(|answer| answer.status), Some(200));
    }

    #[test]
    fn between_tenants_nothing_is_repeated() {
        let (mut table, register) = (table(), asks("REGISTER", "z9hG4bKr", ""));
        let invite = call(&mut table, elsewhere());
        let _ = hears(&mut table, START, &invite, 486);
        assert_eq!(sent(&mut table), ["ACK sip:102@acme.test SIP/2.0"]);
        let id = new(table.receive_request(START, elsewhere(), &register));
        respond(&mut table, START, id, &register, 200);
        assert_eq!(sent(&mut table), ["SIP/2.0 200 OK"]);
        assert!(table.is_empty());
        assert!(until_the_end(&mut table).is_empty());
    }

    #[test]
    fn when_full_new_requests_are_turned_away_but_calls_can_end() {
        let mut table: Table = Transactions::new([9; 16], 8);
        let branch = |number: u32| format!("z9hG4bK{number}");
        for number in 0..8 {
            let _ =
                new(table.receive_request(START, phone(), &asks("INVITE", &branch(number), "")));
        }
        let more = asks("INVITE", &branch(8), "");
        assert_eq!(table.receive_request(START, phone(), &more), Arrival::Full);
        let cancel = |number| asks("CANCEL", &branch(number), "");
        assert_eq!(table.receive_request(START, phone(), &cancel(8)), Arrival::Full);
        let arrival = table.receive_request(START, phone(), &cancel(3));
        assert!(matches!(arrival, Arrival::Cancel { .. }));
        // The CANCEL is the ninth: the reserve of one is used up.
        let bye = asks("BYE", &branch(9), ";tag=t");
        assert_eq!(table.receive_request(START, phone(), &bye), Arrival::Full);
    }

    #[test]
    fn the_reserve_is_for_what_belongs_to_a_dialog() {
        let mut table: Table = Transactions::new([9; 16], 8);
        for number in 0..8_u64 {
            let invite = asks("INVITE", &format!("z9hG4bK{number}"), "");
            let _ = new(table.receive_request(START, phone(), &invite));
            let bytes = invite.bytes().clone();
            table.request(START, phone(), Method::Invite, bytes, number, OWNER).unwrap();
        }
        let bytes = invite().bytes().clone();
        let full = table.request(START, phone(), Method::Invite, bytes.clone(), 8, OWNER);
        assert_eq!(full, Err(Full));
        let bye = asks("BYE", "z9hG4bKbye", ";tag=t");
        let _ = new(table.receive_request(START, phone(), &bye));
        assert_eq!(table.request(START, phone(), Method::Bye, bytes, 9, OWNER), Ok(()));
    }

    #[test]
    fn what_was_answered_longest_ago_makes_room() {
        let mut table: Table = Transactions::new([9; 16], 2);
        let register = |number: u32| asks("REGISTER", &format!("z9hG4bK{number}"), "");
        for number in 0..2 {
            let id = new(table.receive_request(START, phone(), &register(number)));
            respond(&mut table, after(number.into()), id, &register(number), 200);
        }
        assert_eq!(table.receive_request(after(7_999), phone(), &register(2)), Arrival::Full);
        let _ = new(table.receive_request(after(8_000), phone(), &register(2)));
        assert_eq!(table.receive_request(after(8_000), phone(), &register(3)), Arrival::Full);
        assert_eq!(table.receive_request(after(8_000), phone(), &register(1)), Arrival::Absorbed);
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn a_deadline_touches_only_what_is_due_among_a_hundred_thousand() {
        let mut table = table();
        let bytes = invite().bytes().clone();
        for number in 0..100_000 {
            let at = START + Duration::from_millis(number % 1_000);
            table.request(at, phone(), Method::Bye, bytes.clone(), number, OWNER).unwrap();
        }
        assert_eq!(table.len(), 100_000);
        assert_eq!(table.ring(after(499)), 0);
        assert_eq!(table.ring(after(500)), 100);
        assert_eq!(table.ring(after(500)), 0);
        assert_eq!(table.ring(after(1_499)), 99_900);
        assert_eq!(table.agenda.alarms.len(), 100_000, "one alarm each");
    }
}
