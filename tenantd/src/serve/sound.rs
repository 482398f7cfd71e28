//! What sound counts, beside all other counters.

use std::sync::{Arc, Weak};

use media::{Counters, Media};
use store::objects::Objects;

use crate::metrics::Metrics;
use crate::sounds;

type Read = fn(&Counters) -> u64;

const COUNTERS: [(&str, &str, Read); 22] = [
    ("tenantd_sound_packets_relayed_total", "Datagrams of sound relayed.", |c| c.relayed),
    ("tenantd_sound_bytes_relayed_total", "Bytes of sound relayed.", |c| c.relayed_bytes),
    (
        "tenantd_sound_packets_made_total",
        "Packets of sound of our own: packed anew, or digits.",
        |c| c.made,
    ),
    ("tenantd_sound_reports_made_total", "Reports on sound (RTCP) of our own.", |c| c.reports),
    (
        "tenantd_sound_packets_heard_total",
        "Packets of sound that came from phones whose calls are over.",
        |c| c.quality.heard,
    ),
    (
        "tenantd_sound_packets_lost_total",
        "Packets of sound of such phones that did not come.",
        |c| c.quality.lost,
    ),
    (
        "tenantd_sound_packets_reported_lost_total",
        "Packets of sound for such phones that they say did not come.",
        |c| c.quality.reported_lost,
    ),
    (
        "tenantd_sound_opinions_total",
        "Such phones of which an opinion could be formed (ITU-T G.107).",
        |c| c.quality.opinions,
    ),
    (
        "tenantd_sound_opinions_hundredths_total",
        "The sum of these opinions, in hundredths: 100 to 450 each.",
        |c| c.quality.opinion_hundredths,
    ),
    (
        "tenantd_sound_packets_of_strangers_total",
        "Datagrams from addresses that are no peer's, dropped.",
        |c| c.strangers,
    ),
    (
        "tenantd_sound_packets_unheard_total",
        "Datagrams of peers that nobody listens to, dropped.",
        |c| c.unheard,
    ),
    (
        "tenantd_sound_packets_in_excess_total",
        "Datagrams of peers that send faster than any sound, dropped.",
        |c| c.excess,
    ),
    (
        "tenantd_sound_packets_unsent_total",
        "Datagrams that the kernel did not take, dropped.",
        |c| c.unsent,
    ),
    (
        "tenantd_sound_ports_starved_total",
        "How often packets of sound had to wait because every buffer was in use.",
        |c| c.starved,
    ),
    ("tenantd_sound_sides_opened_total", "Sides of calls that got ports for sound.", |c| c.opened),
    ("tenantd_sound_without_ports_total", "Sides of calls that found no port for sound.", |c| {
        c.no_ports
    }),
    (
        "tenantd_sound_packets_forged_total",
        "Datagrams without a right tag where encryption was agreed on, dropped.",
        |c| c.secrecy.forged,
    ),
    (
        "tenantd_sound_packets_repeated_total",
        "Encrypted datagrams that had come before, dropped.",
        |c| c.secrecy.repeated,
    ),
    (
        "tenantd_recordings_packets_lost_total",
        "Packets of sound that are missing in recordings because the disk was too slow.",
        |c| c.unrecorded,
    ),
    (
        "tenantd_recordings_failed_total",
        "Recordings that could not begin, or not go on: no room, or no disk.",
        |c| c.recordings_failed,
    ),
    ("tenantd_sound_handshakes_total", "DTLS handshakes that ended with keys.", |c| {
        c.secrecy.handshakes
    }),
    ("tenantd_sound_handshakes_failed_total", "DTLS handshakes that ended without.", |c| {
        c.secrecy.handshakes_failed
    }),
];

const GAUGES: [(&str, &str, Read); 8] = [
    ("tenantd_recordings_open", "Recordings that are being written.", |c| c.recording),
    ("tenantd_recordings_bytes", "Bytes of recordings that are not rendered yet.", |c| {
        c.recorded_bytes
    }),
    ("tenantd_sound_sides", "Sides of calls that have ports for sound.", |c| c.open),
    ("tenantd_sound_listeners", "Sides of calls that hear something we play.", |c| c.listeners),
    ("tenantd_sound_port_pairs", "Pairs of ports in use.", |c| c.ports_taken),
    ("tenantd_sound_port_pairs_spare", "Pairs of ports kept open for the next calls.", |c| c.spare),
    ("tenantd_sound_threads_first", "Threads of sound that go before all else.", |c| c.first),
    ("tenantd_sound_wishes_waiting", "Wishes of calls that wait for a thread of sound.", |c| {
        c.queued
    }),
];

/// Fetches what calls want to play, and shows what sound counts, for as long as there is sound.
pub(super) fn begin(media: &Arc<Media>, objects: &Objects, metrics: &Metrics) {
    show(media, metrics);
    sounds::start(media, objects, metrics);
}

/// Shows them from now on, for as long as there is sound.
fn show(media: &Arc<Media>, metrics: &Metrics) {
    let read = |media: Weak<Media>, read: Read| {
        // What ends the sound must not have to wait for whoever counts.
        move || media.upgrade().map_or(0, |media| read(&media.counters()))
    };
    for (name, meaning, of) in COUNTERS {
        metrics.show_counter(name, meaning, read(Arc::downgrade(media), of));
    }
    for (name, meaning, of) in GAUGES {
        metrics.show_gauge(name, meaning, read(Arc::downgrade(media), of));
    }
}
