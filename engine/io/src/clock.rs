//! Time as a trait: a monotonic clock for intervals and a wall clock for what people and files see.
//!
//! Invariants: [`Clock::now`] never goes backwards, whatever the wall clock does; its zero is arbitrary, so a
//! [`MonotonicTime`] means something only next to another one of the same clock. Wall time is milliseconds since
//! 1970-01-01 UTC and may jump. Units: nanoseconds (monotonic), milliseconds (wall). Both calls are safe on any thread
//! and cost one read of the machine's clock (about 25 ns) or of an atomic.

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// A point on a monotonic clock, in nanoseconds after the clock's arbitrary zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonotonicTime(u64);

impl MonotonicTime {
    /// The clock's zero.
    pub const ZERO: Self = Self(0);
    /// The last point there is; a deadline that never comes.
    pub const MAX: Self = Self(u64::MAX);

    /// The point `nanos` nanoseconds after zero.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's zero.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Milliseconds since the clock's zero, rounded down.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The time from `earlier` to `self`, or zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// `self + duration`, stopping at [`MonotonicTime::MAX`].
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos_of(duration)))
    }
}

impl Add<Duration> for MonotonicTime {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        self.after(duration)
    }
}

impl Sub for MonotonicTime {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Display for MonotonicTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

fn nanos_of(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Where time comes from.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The current point on the monotonic clock; never less than any point returned before, on any thread.
    fn now(&self) -> MonotonicTime;

    /// Milliseconds since 1970-01-01 UTC; may jump in either direction.
    fn wall_millis(&self) -> i64;
}

/// The machine's clock. All values share one zero: the first read in this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the one implementation of the trait that reads the machine")]
    fn now(&self) -> MonotonicTime {
        static ZERO: OnceLock<Instant> = OnceLock::new();
        let zero = *ZERO.get_or_init(Instant::now);
        MonotonicTime(nanos_of(Instant::now().saturating_duration_since(zero)))
    }

    #[allow(clippy::disallowed_methods, reason = "this is the one implementation of the trait that reads the machine")]
    fn wall_millis(&self) -> i64 {
        wall_millis_of(SystemTime::now())
    }
}

/// `time` as milliseconds since 1970-01-01 UTC, negative before it.
pub(crate) fn wall_millis_of(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis),
    }
}

/// A clock that stands still until a test moves it. Share it in an `Arc`.
#[derive(Debug)]
pub struct SimulatedClock {
    nanos: AtomicU64,
    /// Wall time at monotonic zero; changed only by [`SimulatedClock::set_wall_millis`].
    wall_offset_millis: AtomicI64,
}

impl SimulatedClock {
    /// The wall time of a new simulated clock: 2024-01-01 00:00:00 UTC.
    pub const DEFAULT_WALL_MILLIS: i64 = 1_704_067_200_000;

    /// A clock at monotonic zero and [`SimulatedClock::DEFAULT_WALL_MILLIS`].
    pub const fn new() -> Self {
        Self::at_wall_millis(Self::DEFAULT_WALL_MILLIS)
    }

    /// A clock at monotonic zero and the given wall time.
    pub const fn at_wall_millis(wall_millis: i64) -> Self {
        Self { nanos: AtomicU64::new(0), wall_offset_millis: AtomicI64::new(wall_millis) }
    }

    /// Moves both clocks forward and returns the new time.
    pub fn advance(&self, duration: Duration) -> MonotonicTime {
        let step = nanos_of(duration);
        let before = self
            .nanos
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |nanos| Some(nanos.saturating_add(step)))
            .expect("the closure never refuses");
        MonotonicTime(before.saturating_add(step))
    }

    /// Moves both clocks forward to `time`; does nothing if they are already there or past it.
    pub fn advance_to(&self, time: MonotonicTime) {
        self.nanos.fetch_max(time.0, Ordering::SeqCst);
    }

    /// Lets the wall clock jump, in either direction, and leaves the monotonic clock alone.
    pub fn set_wall_millis(&self, wall_millis: i64) {
        let elapsed_millis = i64::try_from(self.now().as_millis()).unwrap_or(i64::MAX);
        self.wall_offset_millis.store(wall_millis.saturating_sub(elapsed_millis), Ordering::SeqCst);
    }
}

impl Default for SimulatedClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> MonotonicTime {
        MonotonicTime(self.nanos.load(Ordering::SeqCst))
    }

    fn wall_millis(&self) -> i64 {
        let elapsed_millis = i64::try_from(self.now().as_millis()).unwrap_or(i64::MAX);
        self.wall_offset_millis.load(Ordering::SeqCst).saturating_add(elapsed_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simulated_time_moves_only_when_told() {
        let clock = SimulatedClock::at_wall_millis(1_000);
        assert_eq!((clock.now(), clock.wall_millis()), (MonotonicTime::ZERO, 1_000));
        assert_eq!(clock.advance(Duration::from_micros(1_500)), MonotonicTime::from_nanos(1_500_000));
        assert_eq!((clock.now().as_millis(), clock.wall_millis()), (1, 1_001));
        clock.advance_to(MonotonicTime::from_nanos(9_000_000));
        clock.advance_to(MonotonicTime::from_nanos(3_000_000));
        assert_eq!(clock.now().as_millis(), 9);
    }

    #[test]
    fn a_wall_jump_leaves_the_monotonic_clock_alone() {
        let clock = SimulatedClock::new();
        clock.advance(Duration::from_secs(5));
        clock.set_wall_millis(-7);
        assert_eq!((clock.now().as_millis(), clock.wall_millis()), (5_000, -7));
        clock.advance(Duration::from_millis(2));
        assert_eq!((clock.now().as_millis(), clock.wall_millis()), (5_002, -5));
    }

    #[test]
    fn arithmetic_saturates() {
        let early = MonotonicTime::from_nanos(10);
        let late = early + Duration::from_nanos(5);
        assert_eq!((late - early, early - late), (Duration::from_nanos(5), Duration::ZERO));
        assert_eq!(MonotonicTime::MAX + Duration::from_secs(1), MonotonicTime::MAX);
        assert_eq!(early + Duration::MAX, MonotonicTime::MAX);
        assert_eq!(MonotonicTime::from_nanos(1_000_000_002).to_string(), "1.000000002s");
        let clock = SimulatedClock::new();
        clock.advance(Duration::MAX);
        assert_eq!(clock.advance(Duration::MAX), MonotonicTime::MAX);
    }

    #[test]
    fn the_machines_clock_does_not_go_back() {
        let clock = SystemClock;
        let mut last = clock.now();
        for _ in 0..1_000 {
            let now = clock.now();
            assert!(now >= last);
            last = now;
        }
        assert!(clock.wall_millis() > SimulatedClock::DEFAULT_WALL_MILLIS);
    }

    #[test]
    fn times_before_1970_are_negative() {
        assert_eq!(wall_millis_of(SystemTime::UNIX_EPOCH - Duration::from_millis(3)), -3);
        assert_eq!(wall_millis_of(SystemTime::UNIX_EPOCH + Duration::from_millis(3)), 3);
    }
}
