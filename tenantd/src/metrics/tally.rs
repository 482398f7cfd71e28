//! One thread's counters and gauges.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use pbx::record::Ending;
use pbx::story::Event;

/// How a series is called: its name, its one label if it has one, and what it means.
#[derive(Debug, Clone, Copy)]
pub(super) struct Series {
    pub(super) name: &'static str,
    pub(super) label: Option<(&'static str, &'static str)>,
    pub(super) meaning: &'static str,
}

macro_rules! series {
    ($(#[$doc:meta])* $kind:ident: $(
        $variant:ident = $name:literal $([$key:literal: $value:literal])?, $meaning:literal;
    )*) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(usize)]
        pub enum $kind {$(
            #[doc = $meaning]
            $variant,
        )*}

        impl $kind {
            pub(super) const ALL: &'static [Self] = &[$(Self::$variant),*];

            pub(super) fn series(self) -> Series {
                match self {$(
                    Self::$variant => Series {
                        name: $name,
                        label: [$(($key, $value))?].first().copied(),
                        meaning: $meaning,
                    },
                )*}
            }
        }
    };
}

series! {
    /// What only ever grows. Requests are counted as they come in: repeats and refused ones too.
    Count:
    RequestsReceived = "tenantd_sip_requests_received_total", "SIP requests that came in.";
    ResponsesReceived = "tenantd_sip_responses_received_total", "SIP responses that came in.";
    RequestsForwarded = "tenantd_sip_requests_forwarded_total",
        "SIP requests that we sent to a phone, a trunk or another tenant.";
    ResponsesSent = "tenantd_sip_responses_sent_total", "SIP responses that we sent.";
    AnsweredStateless = "tenantd_sip_answered_stateless_total",
        "Requests answered at the edge, before a tenant's switch was troubled.";
    DroppedUnknownDomain = "tenantd_sip_dropped_total"["reason": "unknown_domain"],
        "Messages dropped without an answer.";
    DroppedNotSip = "tenantd_sip_dropped_total"["reason": "not_sip"],
        "Messages dropped without an answer.";
    DroppedMalformed = "tenantd_sip_dropped_total"["reason": "malformed"],
        "Messages dropped without an answer.";
    DroppedTruncated = "tenantd_sip_dropped_total"["reason": "truncated"],
        "Messages dropped without an answer.";
    DroppedStray = "tenantd_sip_dropped_total"["reason": "stray"],
        "Messages dropped without an answer.";
    DroppedOverload = "tenantd_sip_dropped_total"["reason": "overload"],
        "Messages dropped without an answer.";
    DroppedUnlinked = "tenantd_sip_dropped_total"["reason": "home_away"],
        "Messages dropped without an answer.";
    LinkSent = "tenantd_link_frames_sent_total", "Frames for peer nodes.";
    LinkReceived = "tenantd_link_frames_received_total", "Frames of peer nodes.";
    LinkUnlinked = "tenantd_link_frames_dropped_total"["reason": "unlinked"],
        "Frames for peer nodes that were dropped.";
    LinkFull = "tenantd_link_frames_dropped_total"["reason": "full"],
        "Frames for peer nodes that were dropped.";
    SendFailed = "tenantd_sip_send_failed_total", "Messages that the system would not send.";
    StunReceived = "tenantd_stun_received_total",
        "Datagrams that came to a STUN address, or as STUN to SIP's.";
    StunAnswered = "tenantd_stun_answered_total", "STUN questions that were answered.";
    StunDropped = "tenantd_stun_dropped_total",
        "Datagrams for STUN that were no question, or could not be answered.";
    ConnectionsAccepted = "tenantd_sip_connections_accepted_total",
        "Connections of phones that were taken.";
    ConnectionsRefused = "tenantd_sip_connections_refused_total"["reason": "full"],
        "Connections closed at once, for there were too many.";
    ConnectionsRefusedOfAddress = "tenantd_sip_connections_refused_total"["reason": "address"],
        "Connections closed at once, for there were too many.";
    ConnectionsEndedByPeer = "tenantd_sip_connections_ended_total"["reason": "peer"],
        "Connections that ended, by why.";
    ConnectionsFailed = "tenantd_sip_connections_ended_total"["reason": "failed"],
        "Connections that ended, by why.";
    ConnectionsEndedNotSip = "tenantd_sip_connections_ended_total"["reason": "not_sip"],
        "Connections that ended, by why.";
    ConnectionsEndedIdle = "tenantd_sip_connections_ended_total"["reason": "idle"],
        "Connections that ended, by why.";
    ConnectionsEndedSlow = "tenantd_sip_connections_ended_total"["reason": "slow"],
        "Connections that ended, by why.";
    ConnectionsNotEncrypted = "tenantd_sip_connections_ended_total"["reason": "handshake"],
        "Connections that ended, by why.";
    ConnectionsEndedStopped = "tenantd_sip_connections_ended_total"["reason": "stopped"],
        "Connections that ended, by why.";
    CallsSucceeded = "tenantd_calls_succeeded_total", "Calls that were answered, once they ended.";
    CallsFailed = "tenantd_calls_failed_total", "Calls that ended without an answer.";
    EndedByCaller = "tenantd_calls_ended_total"["ending": "caller_hung_up"],
        "Calls that ended, by why.";
    EndedByCallee = "tenantd_calls_ended_total"["ending": "callee_hung_up"],
        "Calls that ended, by why.";
    EndedCancelled = "tenantd_calls_ended_total"["ending": "cancelled"],
        "Calls that ended, by why.";
    EndedBusy = "tenantd_calls_ended_total"["ending": "busy"], "Calls that ended, by why.";
    EndedDeclined = "tenantd_calls_ended_total"["ending": "declined"],
        "Calls that ended, by why.";
    EndedNoAnswer = "tenantd_calls_ended_total"["ending": "no_answer"],
        "Calls that ended, by why.";
    EndedUnreachable = "tenantd_calls_ended_total"["ending": "unreachable"],
        "Calls that ended, by why.";
    EndedNobodyThere = "tenantd_calls_ended_total"["ending": "nobody_there"],
        "Calls that ended, by why.";
    EndedForbidden = "tenantd_calls_ended_total"["ending": "forbidden"],
        "Calls that ended, by why.";
    EndedLimitReached = "tenantd_calls_ended_total"["ending": "limit_reached"],
        "Calls that ended, by why.";
    EndedTooLong = "tenantd_calls_ended_total"["ending": "too_long"],
        "Calls that ended, by why.";
    EndedNoCommonMedia = "tenantd_calls_ended_total"["ending": "no_common_media"],
        "Calls that ended, by why.";
    EndedVanished = "tenantd_calls_ended_total"["ending": "vanished"],
        "Calls that ended, by why.";
    EndedServerStopped = "tenantd_calls_ended_total"["ending": "server_stopped"],
        "Calls that ended, by why.";
    EndedServerFailed = "tenantd_calls_ended_total"["ending": "server_failed"],
        "Calls that ended, by why.";
    OneWay = "tenantd_sound_one_way_total", "Sides that heard, and were not heard themselves.";
    ConferenceEntered = "tenantd_conference_members_total", "Callers that came into a conference.";
    PinWrong = "tenantd_conference_pins_wrong_total",
        "PINs of conferences that were wrong, or did not come in time.";
    EndedNotEncrypted = "tenantd_calls_ended_total"["ending": "not_encrypted"],
        "Calls that ended, by why.";
    EndedAnnounced = "tenantd_calls_ended_total"["ending": "announced"],
        "Calls that ended, by why.";
    SoundsMissing = "tenantd_sounds_missing_total",
        "How often somebody should have heard a sound that could not be had.";
    KeysReadable = "tenantd_sound_keys_readable_total",
        "Sides whose keys for sound came over signalling that anybody can read.";
    Registered = "tenantd_registrations_added_total", "Phones that registered anew or moved.";
    Unregistered = "tenantd_registrations_ended_total",
        "Registrations that ended: by the phone, replaced, run out, or the extension gone.";
    Disconnected = "tenantd_registrations_disconnected_total",
        "Phones whose connection broke; they are called again when they are back.";
    NotAnswering = "tenantd_phones_fell_silent_total",
        "Phones behind routers that no longer answered; they are not called until they do.";
    SipAlg = "tenantd_phones_behind_alg_total",
        "Phones whose router was seen to rewrite their messages.";
    WrongPassword = "tenantd_passwords_wrong_total", "Requests with a wrong password.";
    SlowedDown = "tenantd_passwords_slowed_down_total",
        "Requests held off because passwords were wrong too often.";
    RequestsRefused = "tenantd_sip_requests_refused_total",
        "Requests that a tenant's switch refused.";
    JournalRecords = "tenantd_journal_records_total", "Records written to the journal.";
    RecordsKept = "tenantd_journal_records_kept_total", "Records that Postgres has committed.";
    RecordsLost = "tenantd_journal_records_lost_total",
        "Records that neither the journal nor memory had room for.";
    ReportsLost = "tenantd_reports_lost_total",
        "News of storage or sound that a lane had no room for.";
    ShowsLost = "tenantd_board_changes_lost_total",
        "Changes of live pages that there was no room for.";
    MailLost = "tenantd_inner_messages_lost_total",
        "Messages between two tenants that a lane had no room for.";
    RecordsSkipped = "tenantd_journal_records_skipped_total",
        "Records that Postgres refused, such as those of a tenant that is gone.";
}

series! {
    /// What goes up and down; a thread sets its own part, and the parts are summed.
    Gauge:
    Registrations = "tenantd_registrations", "Phones that are registered.";
    Calls = "tenantd_calls", "Calls under way.";
    Transactions = "tenantd_sip_transactions", "SIP transactions that are not over.";
    Connections = "tenantd_sip_connections", "Connections of phones that are open.";
    Tenants = "tenantd_tenants", "Tenants that live here.";
    Links = "tenantd_links", "Peer nodes that are linked.";
}

/// What one thread has counted. Any thread may read it.
#[derive(Debug)]
pub struct Tally {
    counts: Vec<AtomicU64>,
    gauges: Vec<AtomicI64>,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            counts: Count::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            gauges: Gauge::ALL.iter().map(|_| AtomicI64::new(0)).collect(),
        }
    }

    /// One more.
    pub fn count(&self, what: Count) {
        self.add(what, 1);
    }

    /// Some more.
    pub fn add(&self, what: Count, more: u64) {
        if let Some(count) = self.counts.get(what as usize) {
            // Nothing else is told by it, so its order to other memory does not matter.
            count.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// How many of them there are now.
    pub fn set(&self, what: Gauge, now: usize) {
        if let Some(gauge) = self.gauges.get(what as usize) {
            gauge.store(i64::try_from(now).unwrap_or(i64::MAX), Ordering::Relaxed);
        }
    }

    /// Counts what a switch tells.
    pub fn note(&self, event: &Event) {
        match event {
            Event::Ended { ending, status, .. } => {
                let answered = (200..300).contains(status);
                self.count(if answered { Count::CallsSucceeded } else { Count::CallsFailed });
                self.count(ended(*ending));
            }
            Event::Registered { .. } => self.count(Count::Registered),
            Event::Disconnected { .. } => self.count(Count::Disconnected),
            Event::Unregistered { .. } => self.count(Count::Unregistered),
            Event::NotAnswering { .. } => self.count(Count::NotAnswering),
            Event::SipAlg { .. } => self.count(Count::SipAlg),
            Event::OneWay { .. } => self.count(Count::OneWay),
            Event::EnteredConference { .. } => self.count(Count::ConferenceEntered),
            Event::PinWrong { .. } => self.count(Count::PinWrong),
            Event::SoundMissing { .. } => self.count(Count::SoundsMissing),
            Event::KeysReadable { .. } => self.count(Count::KeysReadable),
            Event::WrongPassword { .. } => self.count(Count::WrongPassword),
            Event::SlowedDown { .. } => self.count(Count::SlowedDown),
            Event::RequestRefused { .. } => self.count(Count::RequestsRefused),
            // Steps of a call: its end counts.
            _ => {}
        }
    }

    /// How many there were so far.
    pub fn counted(&self, what: Count) -> u64 {
        self.counts.get(what as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    pub(super) fn gauged(&self, what: Gauge) -> i64 {
        self.gauges.get(what as usize).map_or(0, |gauge| gauge.load(Ordering::Relaxed))
    }
}

fn ended(ending: Ending) -> Count {
    match ending {
        Ending::CallerHungUp => Count::EndedByCaller,
        Ending::CalleeHungUp => Count::EndedByCallee,
        Ending::Cancelled => Count::EndedCancelled,
        Ending::Busy => Count::EndedBusy,
        Ending::Declined => Count::EndedDeclined,
        Ending::NoAnswer => Count::EndedNoAnswer,
        Ending::Unreachable => Count::EndedUnreachable,
        Ending::NobodyThere => Count::EndedNobodyThere,
        Ending::Forbidden => Count::EndedForbidden,
        Ending::LimitReached => Count::EndedLimitReached,
        Ending::TooLong => Count::EndedTooLong,
        Ending::NoCommonMedia => Count::EndedNoCommonMedia,
        Ending::Vanished => Count::EndedVanished,
        Ending::ServerStopped => Count::EndedServerStopped,
        Ending::ServerFailed => Count::EndedServerFailed,
        Ending::NotEncrypted => Count::EndedNotEncrypted,
        Ending::Announced => Count::EndedAnnounced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answered_call_succeeded_whoever_hung_up() {
        let tally = Tally::new();

        tally.note(&Event::Ended { ending: Ending::TooLong, status: 200, talked_s: 9 });
        tally.note(&Event::Ended { ending: Ending::Busy, status: 486, talked_s: 0 });

        let counted = |what| tally.counted(what);
        assert_eq!((counted(Count::CallsSucceeded), counted(Count::CallsFailed)), (1, 1));
        assert_eq!((counted(Count::EndedTooLong), counted(Count::EndedBusy)), (1, 1));
    }

    #[test]
    fn series_of_one_name_differ_in_their_label() {
        let mut seen = std::collections::BTreeSet::new();
        let counts = Count::ALL.iter().map(|count| count.series());
        for series in counts.chain(Gauge::ALL.iter().map(|gauge| gauge.series())) {
            assert!(seen.insert((series.name, series.label)), "{series:?} twice");
        }
    }
}
