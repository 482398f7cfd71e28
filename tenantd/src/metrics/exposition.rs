//! All tallies and queues as one text, in the format that Prometheus reads.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{Label, counter, describe_counter, describe_gauge, gauge, with_local_recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use super::tally::{Count, Gauge, Series, Tally};

/// The second over which [`Metrics::tick`] measures the rate.
const RATE: &str = "tenantd_sip_requests_received_per_second";
const QUEUE: &str = "tenantd_queue_length";
const QUEUE_LIMIT: &str = "tenantd_queue_limit";

/// Everything that is counted anywhere in the process.
pub struct Metrics {
    recorder: PrometheusRecorder,
    tallies: Mutex<Vec<Arc<Tally>>>,
    queues: Mutex<Vec<Queue>>,
    shown: Mutex<Vec<Shown>>,
    requests_at_last_tick: AtomicU64,
    requests_in_last_second: AtomicU64,
}

/// A queue, cache or table with a limit.
struct Queue {
    name: String,
    length: Box<dyn Fn() -> usize + Send + Sync>,
    limit: usize,
}

/// A number that somebody else keeps.
struct Shown {
    name: &'static str,
    kind: Kind,
    read: Box<dyn Fn() -> u64 + Send + Sync>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        with_local_recorder(&recorder, || {
            for Series { name, meaning, .. } in Count::ALL.iter().map(|count| count.series()) {
                describe_counter!(name, meaning);
            }
            for Series { name, meaning, .. } in Gauge::ALL.iter().map(|gauge| gauge.series()) {
                describe_gauge!(name, meaning);
            }
            describe_gauge!(RATE, "SIP requests that came in during the last second.");
            describe_gauge!(QUEUE, "What waits in a queue, or is held in a table.");
            describe_gauge!(QUEUE_LIMIT, "How much that queue or table takes.");
        });
        Self {
            recorder,
            tallies: Mutex::default(),
            queues: Mutex::default(),
            shown: Mutex::default(),
            requests_at_last_tick: AtomicU64::new(0),
            requests_in_last_second: AtomicU64::new(0),
        }
    }

    /// A tally for one thread to count in.
    pub fn tally(&self) -> Arc<Tally> {
        let tally = Arc::new(Tally::new());
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner).push(tally.clone());
        tally
    }

    /// Shows a queue from now on. `length` is asked at each scrape and must not wait.
    pub fn queue(
        &self,
        name: impl Into<String>,
        limit: usize,
        length: impl Fn() -> usize + Send + Sync + 'static,
    ) {
        let queue = Queue { name: name.into(), length: Box::new(length), limit };
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).push(queue);
    }

    /// Shows a counter that somebody else keeps; `read` must not wait.
    pub fn show_counter(
        &self,
        name: &'static str,
        meaning: &'static str,
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        with_local_recorder(&self.recorder, || describe_counter!(name, meaning));
        self.show(Shown { name, kind: Kind::Counter, read: Box::new(read) });
    }

    /// Shows a gauge that somebody else keeps; `read` must not wait.
    pub fn show_gauge(
        &self,
        name: &'static str,
        meaning: &'static str,
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        with_local_recorder(&self.recorder, || describe_gauge!(name, meaning));
        self.show(Shown { name, kind: Kind::Gauge, read: Box::new(read) });
    }

    fn show(&self, shown: Shown) {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).push(shown);
    }

    /// To be called once a second: measures the rate of requests.
    pub fn tick(&self) {
        let now = self.total(Count::RequestsReceived);
        let before = self.requests_at_last_tick.swap(now, Ordering::Relaxed);
        self.requests_in_last_second.store(now.saturating_sub(before), Ordering::Relaxed);
    }

    /// How many there were so far, in all threads.
    pub fn total(&self, what: Count) -> u64 {
        let tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        tallies.iter().map(|tally| tally.counted(what)).sum()
    }

    /// The whole text.
    pub fn render(&self) -> String {
        with_local_recorder(&self.recorder, || {
            for what in Count::ALL {
                let series = what.series();
                counter!(series.name, labels(series)).absolute(self.total(*what));
            }
            let tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
            for what in Gauge::ALL {
                let series = what.series();
                let sum: i64 = tallies.iter().map(|tally| tally.gauged(*what)).sum();
                gauge!(series.name, labels(series)).set(as_number(sum));
            }
            drop(tallies);
            let rate = self.requests_in_last_second.load(Ordering::Relaxed);
            gauge!(RATE).set(as_number(i64::try_from(rate).unwrap_or(i64::MAX)));
            for Shown { name, kind, read } in
                self.shown.lock().unwrap_or_else(PoisonError::into_inner).iter()
            {
                match kind {
                    Kind::Counter => counter!(*name).absolute(read()),
                    Kind::Gauge => {
                        gauge!(*name).set(as_number(i64::try_from(read()).unwrap_or(i64::MAX)));
                    }
                }
            }
            for queue in self.queues.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                let number = |size: usize| as_number(i64::try_from(size).unwrap_or(i64::MAX));
                gauge!(QUEUE, "queue" => queue.name.clone()).set(number((queue.length)()));
                gauge!(QUEUE_LIMIT, "queue" => queue.name.clone()).set(number(queue.limit));
            }
        });
        self.recorder.handle().render()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn labels(series: Series) -> Vec<Label> {
    series.label.map(|(key, value)| Label::from_static_parts(key, value)).into_iter().collect()
}

/// Prometheus knows no whole numbers; ours stay far below what a float holds exactly.
fn as_number(number: i64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tallies_of_all_threads_are_summed() {
        let metrics = Metrics::new();
        let (one, two) = (metrics.tally(), metrics.tally());

        one.count(Count::RequestsReceived);
        two.add(Count::RequestsReceived, 41);
        one.set(Gauge::Calls, 3);
        two.set(Gauge::Calls, 4);
        two.set(Gauge::Calls, 2);

        let text = metrics.render();
        assert!(text.contains("\ntenantd_sip_requests_received_total 42\n"), "{text}");
        assert!(text.contains("\ntenantd_calls 5\n"), "{text}");
    }

    #[test]
    fn what_has_not_happened_yet_is_shown_as_zero() {
        let text = Metrics::new().render();
        assert!(text.contains("tenantd_sip_dropped_total{reason=\"unknown_domain\"} 0"), "{text}");
        assert!(text.contains("# HELP tenantd_calls Calls under way."), "{text}");
        assert!(text.contains("# TYPE tenantd_calls_failed_total counter"), "{text}");
    }

    #[test]
    fn a_queue_shows_its_length_and_its_limit() {
        let metrics = Metrics::new();
        metrics.queue("lane_0", 1024, || 7);

        let text = metrics.render();

        assert!(text.contains("tenantd_queue_length{queue=\"lane_0\"} 7"), "{text}");
        assert!(text.contains("tenantd_queue_limit{queue=\"lane_0\"} 1024"), "{text}");
    }

    #[test]
    fn what_others_count_is_read_when_somebody_asks() {
        let metrics = Metrics::new();
        metrics.show_counter("tenantd_sheep_total", "Sheep counted.", || 12);
        metrics.show_gauge("tenantd_sheep", "Sheep here.", || 3);

        let text = metrics.render();

        assert!(
            text.contains("# TYPE tenantd_sheep_total counter\ntenantd_sheep_total 12"),
            "{text}"
        );
        assert!(text.contains("# TYPE tenantd_sheep gauge\ntenantd_sheep 3"), "{text}");
    }

    #[test]
    fn the_rate_is_what_came_between_two_ticks() {
        let metrics = Metrics::new();
        let tally = metrics.tally();
        tally.add(Count::RequestsReceived, 5);
        metrics.tick();
        tally.add(Count::RequestsReceived, 8);
        metrics.tick();

        let text = metrics.render();

        assert!(text.contains("tenantd_sip_requests_received_per_second 8"), "{text}");
    }
}
