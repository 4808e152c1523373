//! A histogram of whole numbers in fixed space: four buckets for each power of two, so quantiles are off by less than
//! a quarter. Recording is three atomic additions and no lock.
//!
//! Source: the log-linear buckets of HdrHistogram (G. Tene), with two bits of precision.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bits of a number that its bucket keeps below the leading one.
const PRECISION_BITS: u32 = 2;
const PER_POWER: usize = 1 << PRECISION_BITS;
/// Numbers below `PER_POWER` have a bucket each; every power of two from there up has `PER_POWER`.
const BUCKETS: usize = PER_POWER + (64 - PRECISION_BITS as usize) * PER_POWER;

/// How often numbers of which size were seen.
#[derive(Debug)]
#[repr(align(128))]
pub struct Histogram {
    sum: AtomicU64,
    max: AtomicU64,
    buckets: Box<[AtomicU64; BUCKETS]>,
}

/// What a histogram held at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistogramSnapshot {
    /// How many numbers were recorded.
    pub count: u64,
    /// Their sum, modulo 2^64.
    pub sum: u64,
    /// The largest of them, exactly; 0 if there is none.
    pub max: u64,
    buckets: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            sum: AtomicU64::new(0),
            max: AtomicU64::new(0),
            buckets: Box::new(std::array::from_fn(|_| AtomicU64::new(0))),
        }
    }
}

impl Histogram {
    /// Counts `value`.
    pub fn record(&self, value: u64) {
        self.sum.fetch_add(value, Ordering::Relaxed);
        self.max.fetch_max(value, Ordering::Relaxed);
        self.buckets[bucket_of(value)].fetch_add(1, Ordering::Relaxed);
    }

    /// What has been recorded so far. Numbers recorded meanwhile may be in a part of it only.
    pub fn snapshot(&self) -> HistogramSnapshot {
        let buckets: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        HistogramSnapshot {
            count: buckets.iter().sum(),
            sum: self.sum.load(Ordering::Relaxed),
            max: self.max.load(Ordering::Relaxed),
            buckets,
        }
    }
}

impl HistogramSnapshot {
    /// The number that a share `quantile` (from 0 to 1) of all are not above, rounded up within its bucket; 0 if there
    /// is none.
    pub fn quantile(&self, quantile: f64) -> u64 {
        let wanted = ((self.count as f64 * quantile.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return last_of(bucket).min(self.max);
            }
        }
        self.max
    }
}

fn bucket_of(value: u64) -> usize {
    if value < PER_POWER as u64 {
        return value as usize;
    }
    let power = value.ilog2() - PRECISION_BITS;
    // The leading one and the bits after it: PER_POWER..2 * PER_POWER.
    let leading = (value >> power) as usize;
    power as usize * PER_POWER + leading
}

/// The largest number that falls into `bucket`.
fn last_of(bucket: usize) -> u64 {
    if bucket < PER_POWER {
        return bucket as u64;
    }
    let (power, leading) = (bucket / PER_POWER - 1, bucket % PER_POWER + PER_POWER);
    let next = (leading as u128 + 1) << power;
    u64::try_from(next - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_contiguous_and_cover_everything() {
        assert_eq!((bucket_of(0), bucket_of(u64::MAX)), (0, BUCKETS - 1));
        assert_eq!(last_of(BUCKETS - 1), u64::MAX);
        for bucket in 0..BUCKETS - 1 {
            let last = last_of(bucket);
            assert_eq!((bucket_of(last), bucket_of(last + 1)), (bucket, bucket + 1));
            // The width of a bucket is at most a quarter of its numbers.
            let first = if bucket == 0 { 0 } else { last_of(bucket - 1) + 1 };
            assert!((last - first) as f64 <= first as f64 / 4.0);
        }
    }

    #[test]
    fn quantiles_are_within_a_quarter() {
        let histogram = Histogram::default();
        assert_eq!(histogram.snapshot().quantile(0.5), 0);
        for value in 1..=1_000 {
            histogram.record(value);
        }
        let snapshot = histogram.snapshot();
        assert_eq!((snapshot.count, snapshot.sum, snapshot.max), (1_000, 500_500, 1_000));
        for (quantile, exact) in [(0.0, 1), (0.5, 500), (0.9, 900), (0.99, 990), (1.0, 1_000)] {
            let found = snapshot.quantile(quantile);
            assert!((exact..=exact + exact / 4).contains(&found), "{quantile}: {found}");
        }
        assert_eq!(snapshot.quantile(1.0), 1_000);
    }
}
