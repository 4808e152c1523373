//! Scopes of metrics and the snapshot of all of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Counter, Gauge, Histogram, HistogramSnapshot};

/// What a metric's name may end in; the last part of the name after an underscore.
const UNITS: [&str; 17] = [
    "bytes", "rows", "batches", "buffers", "segments", "records", "tasks", "threads", "events", "count", "ns", "us",
    "ms", "seconds", "permille", "percent", "id",
];

/// The scopes of a process. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MetricRegistry {
    scopes: Arc<Mutex<BTreeMap<u64, Arc<ScopeState>>>>,
}

/// Where a component's metrics live. Clones share it; it leaves the registry with the last of them.
#[derive(Clone, Debug)]
pub struct MetricScope {
    entry: Arc<Entry>,
}

/// Takes the scope out of the registry when dropped.
#[derive(Debug)]
struct Entry {
    number: u64,
    state: Arc<ScopeState>,
    registry: MetricRegistry,
}

#[derive(Debug)]
struct ScopeState {
    labels: Vec<(&'static str, String)>,
    metrics: Mutex<BTreeMap<&'static str, Metric>>,
}

#[derive(Clone, Debug)]
enum Metric {
    Counter(Arc<Counter>),
    Gauge(Arc<Gauge>),
    Histogram(Arc<Histogram>),
}

/// The value of a metric at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricValue {
    /// Of a counter.
    Counter(u64),
    /// Of a gauge.
    Gauge(i64),
    /// Of a histogram.
    Histogram(HistogramSnapshot),
}

/// The metrics of a scope at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeSnapshot {
    /// What the scope belongs to, as it was given.
    pub labels: Vec<(&'static str, String)>,
    /// Values by name.
    pub values: BTreeMap<&'static str, MetricValue>,
}

/// All scopes at one moment, in the order they were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricSnapshot {
    /// The scopes.
    pub scopes: Vec<ScopeSnapshot>,
}

/// No code of others runs under these locks, so what they guard is whole even if a holder panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MetricRegistry {
    /// A registry without scopes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a scope, which is in the registry as long as a handle of it is held.
    pub fn scope(&self, labels: impl IntoIterator<Item = (&'static str, String)>) -> MetricScope {
        let state = Arc::new(ScopeState { labels: labels.into_iter().collect(), metrics: Mutex::default() });
        let mut scopes = lock(&self.scopes);
        let number = scopes.last_key_value().map_or(0, |(last, _)| last + 1);
        scopes.insert(number, Arc::clone(&state));
        MetricScope { entry: Arc::new(Entry { number, state, registry: self.clone() }) }
    }

    /// The values of all metrics now.
    pub fn snapshot(&self) -> MetricSnapshot {
        // The lock is held only to copy handles, so that readers do not delay a component that is being built.
        let scopes: Vec<_> = lock(&self.scopes).values().cloned().collect();
        MetricSnapshot { scopes: scopes.iter().map(|scope| scope.snapshot()).collect() }
    }
}

impl MetricScope {
    /// The counter of this name; the same one for every call.
    ///
    /// # Panics
    /// If the name does not end in a unit or belongs to another kind of metric: names are the program's own.
    #[track_caller]
    pub fn counter(&self, name: &'static str) -> Arc<Counter> {
        match self.metric(name, || Metric::Counter(Arc::default())) {
            Metric::Counter(counter) => counter,
            other => panic!("metric '{name}' is not a counter but {other:?}"),
        }
    }

    /// The gauge of this name; the same one for every call.
    ///
    /// # Panics
    /// As [`MetricScope::counter`].
    #[track_caller]
    pub fn gauge(&self, name: &'static str) -> Arc<Gauge> {
        match self.metric(name, || Metric::Gauge(Arc::default())) {
            Metric::Gauge(gauge) => gauge,
            other => panic!("metric '{name}' is not a gauge but {other:?}"),
        }
    }

    /// The histogram of this name; the same one for every call.
    ///
    /// # Panics
    /// As [`MetricScope::counter`].
    #[track_caller]
    pub fn histogram(&self, name: &'static str) -> Arc<Histogram> {
        match self.metric(name, || Metric::Histogram(Arc::default())) {
            Metric::Histogram(histogram) => histogram,
            other => panic!("metric '{name}' is not a histogram but {other:?}"),
        }
    }

    /// What the scope belongs to.
    pub fn labels(&self) -> &[(&'static str, String)] {
        &self.entry.state.labels
    }

    #[track_caller]
    fn metric(&self, name: &'static str, make: impl FnOnce() -> Metric) -> Metric {
        let unit = name.rsplit_once('_').map(|(_, unit)| unit);
        assert!(unit.is_some_and(|unit| UNITS.contains(&unit)), "metric '{name}' does not end in a unit: {UNITS:?}");
        lock(&self.entry.state.metrics).entry(name).or_insert_with(make).clone()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        lock(&self.registry.scopes).remove(&self.number);
    }
}

impl ScopeState {
    fn snapshot(&self) -> ScopeSnapshot {
        let value = |metric: &Metric| match metric {
            Metric::Counter(counter) => MetricValue::Counter(counter.get()),
            Metric::Gauge(gauge) => MetricValue::Gauge(gauge.get()),
            Metric::Histogram(histogram) => MetricValue::Histogram(histogram.snapshot()),
        };
        let values = lock(&self.metrics).iter().map(|(name, metric)| (*name, value(metric))).collect();
        ScopeSnapshot { labels: self.labels.clone(), values }
    }
}

impl MetricSnapshot {
    /// The sum of a counter, or of a gauge, over all scopes.
    pub fn total(&self, name: &str) -> i128 {
        let values = self.scopes.iter().filter_map(|scope| scope.values.get(name));
        values
            .map(|value| match value {
                MetricValue::Counter(count) => i128::from(*count),
                MetricValue::Gauge(value) => i128::from(*value),
                MetricValue::Histogram(histogram) => i128::from(histogram.count),
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_has_every_scope_until_it_is_dropped() {
        let registry = MetricRegistry::new();
        let first = registry.scope([("vertex", "scan".to_owned())]);
        let second = registry.scope([("vertex", "join".to_owned())]);
        first.counter("out_rows").add(3);
        first.counter("out_rows").add(4);
        second.counter("out_rows").add(10);
        second.gauge("held_bytes").set(-1);
        second.gauge("held_bytes").raise(5);
        second.histogram("step_ns").record(100);
        let snapshot = registry.snapshot();
        assert_eq!((snapshot.scopes.len(), snapshot.total("out_rows"), snapshot.total("none")), (2, 17, 0));
        assert_eq!(snapshot.scopes[0].labels, [("vertex", "scan".to_owned())]);
        assert_eq!(snapshot.scopes[1].values["held_bytes"], MetricValue::Gauge(5));
        assert!(matches!(&snapshot.scopes[1].values["step_ns"], MetricValue::Histogram(h) if h.count == 1));

        let (held, clone) = (first.counter("out_rows"), first.clone());
        drop(first);
        assert_eq!(registry.snapshot().scopes.len(), 2);
        drop(clone);
        drop(second);
        assert_eq!(registry.snapshot(), MetricSnapshot::default());
        held.add(1);
        assert_eq!(held.get(), 8, "a metric outlives its scope for who holds it");
    }

    #[test]
    fn updates_from_many_threads_all_count() {
        let registry = MetricRegistry::new();
        let scope = registry.scope([]);
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| {
                    let counter = scope.counter("in_rows");
                    (0..10_000).for_each(|_| counter.add(1));
                });
            }
        });
        assert_eq!(registry.snapshot().total("in_rows"), 40_000);
    }

    #[test]
    #[should_panic(expected = "does not end in a unit")]
    fn a_name_without_its_unit_is_refused() {
        MetricRegistry::new().scope([]).counter("rows_in_total");
    }

    #[test]
    #[should_panic(expected = "is not a gauge")]
    fn a_name_has_one_kind() {
        let scope = MetricRegistry::new().scope([]);
        scope.counter("in_rows");
        scope.gauge("in_rows");
    }
}
