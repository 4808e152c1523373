//! What the benches of this crate share: a clock that other processes do not disturb, short runs, and distinct keys.
//!
//! One bench target a subject, in `benches/`. Each computes its answer a second time, the simple way, and compares before
//! anything is timed. `cargo bench --workspace --profile dev --bench NAME` runs one on the profile that the binary is
//! built with (without `--profile dev` Cargo builds everything once more); `benches/run.sh` runs them all.

use std::sync::Arc;
use std::time::Duration;

use cpu_time::ThreadTime;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{Criterion, Throughput};
use flumen_memory::{Arena, ArenaOptions, MemoryManager};
use flumen_state::SegmentPages;
use flumen_state::pages::PageSource;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rows of a batch, as in the engine.
pub const BATCH_ROWS: usize = 8192;

/// CPU time of the measuring thread, shown per element: a machine that does other things too stretches wall time only.
pub struct ThreadCpu;

impl Measurement for ThreadCpu {
    type Intermediate = ThreadTime;
    type Value = Duration;

    fn start(&self) -> ThreadTime {
        ThreadTime::now()
    }

    fn end(&self, started: ThreadTime) -> Duration {
        started.elapsed()
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        &PerElement
    }
}

/// Nanoseconds for each element in place of elements per second.
struct PerElement;

impl ValueFormatter for PerElement {
    fn scale_values(&self, typical: f64, values: &mut [f64]) -> &'static str {
        WallTime.formatter().scale_values(typical, values)
    }

    fn scale_throughputs(&self, typical: f64, throughput: &Throughput, values: &mut [f64]) -> &'static str {
        let Throughput::Elements(elements) = throughput else {
            return WallTime.formatter().scale_throughputs(typical, throughput, values);
        };
        values.iter_mut().for_each(|value| *value /= *elements as f64);
        "ns each"
    }

    fn scale_for_machines(&self, _: &mut [f64]) -> &'static str {
        "ns"
    }
}

/// Criterion over CPU time, with short runs: what is measured takes microseconds and is measured a thousand times.
#[must_use]
pub fn criterion() -> Criterion<ThreadCpu> {
    short(Criterion::default()).with_measurement(ThreadCpu).configure_from_args()
}

/// Criterion over wall time, for what several threads do together.
#[must_use]
pub fn wall_criterion() -> Criterion<WallTime> {
    short(Criterion::default()).configure_from_args()
}

fn short(criterion: Criterion) -> Criterion {
    criterion
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1500))
        .sample_size(20)
        .without_plots()
}

/// A bijection of 64-bit words that looks random (Stafford's variant 4 of the murmur3 finalizer; not the engine's hash):
/// `scramble(0..n)` are `n` distinct keys without order, `scramble` of a counter is a random number.
#[must_use]
pub fn scramble(word: u64) -> u64 {
    let mut x = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 33)).wrapping_mul(0x62a9_d9ed_7997_05f5);
    x = (x ^ (x >> 28)).wrapping_mul(0xcb24_d0a5_c88c_35b3);
    x ^ (x >> 32)
}

/// A random number below `bound`, for a counter.
#[must_use]
pub fn random_below(counter: u64, bound: u64) -> u64 {
    ((u128::from(scramble(counter)) * u128::from(bound)) >> 64) as u64
}

/// Pages of managed memory, as the tasks of a job get them.
///
/// # Panics
/// If the addresses cannot be reserved.
#[must_use]
pub fn managed_pages(bytes: u64) -> Arc<dyn PageSource> {
    let arena = Arena::new(ArenaOptions::new(bytes)).expect("addresses are enough");
    let memory = MemoryManager::new(arena, bytes).expect("the arena has as much");
    Arc::new(SegmentPages::new(Arc::new(memory.root().reserve("bench"))))
}
