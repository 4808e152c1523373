//! Times, written with Flink's units: `30s`, `100 ms`, `1 min`.
//!
//! A number without a unit is milliseconds, as in Flink (org.apache.flink.util.TimeUtils). The smallest unit is the
//! nanosecond, and the longest time is 2^64 - 1 of them (584 years).

use std::time::Duration;

/// The nanoseconds of each unit and its names; the first is the one that is printed.
const UNITS: [(u64, &[&str]); 7] = [
    (86_400_000_000_000, &["d", "day", "days"]),
    (3_600_000_000_000, &["h", "hour", "hours"]),
    (60_000_000_000, &["min", "m", "minute", "minutes"]),
    (1_000_000_000, &["s", "sec", "secs", "second", "seconds"]),
    (1_000_000, &["ms", "milli", "millis", "millisecond", "milliseconds"]),
    (1_000, &["us", "µs", "micro", "micros", "microsecond", "microseconds"]),
    (1, &["ns", "nano", "nanos", "nanosecond", "nanoseconds"]),
];

/// Reads a time; `None` if it is not one or too long.
pub fn parse(text: &str) -> Option<Duration> {
    let (number, unit) = crate::byte_size::number_and_unit(text)?;
    let nanos = match unit.as_str() {
        "" => 1_000_000,
        unit => UNITS.iter().find(|(_, names)| names.contains(&unit))?.0,
    };
    number.checked_mul(nanos).map(Duration::from_nanos)
}

/// Writes a time in the largest unit that divides it, so that it reads back as the same time.
pub fn display(duration: Duration) -> String {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let (unit, names) = UNITS.iter().find(|(unit, _)| nanos != 0 && nanos % unit == 0).unwrap_or(&UNITS[4]);
    format!("{} {}", nanos / unit, names[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_and_without_units() {
        let check = |text: &str, nanos: Option<u64>| {
            assert_eq!(parse(text), nanos.map(Duration::from_nanos), "{text:?}");
        };
        check("100", Some(100_000_000));
        check("100 ms", Some(100_000_000));
        check("30s", Some(30_000_000_000));
        check("1 min", Some(60_000_000_000));
        check("2M", Some(120_000_000_000));
        check("5 hours", Some(18_000_000_000_000));
        check("1d", Some(86_400_000_000_000));
        check("7µs", Some(7_000));
        check("7 ns", Some(7));
        check("0", Some(0));
        for wrong in ["", "s", "-1 s", "1.5 s", "1 week", "1 m s", "300000 d"] {
            check(wrong, None);
        }
    }

    #[test]
    fn what_is_printed_reads_back() {
        let check = |nanos: u64, expected: &str| {
            let time = Duration::from_nanos(nanos);
            assert_eq!(display(time), expected);
            assert_eq!(parse(expected), Some(time));
        };
        check(0, "0 ms");
        check(1, "1 ns");
        check(1_500_000, "1500 us");
        check(90_000_000_000, "90 s");
        check(120_000_000_000, "2 min");
        check(172_800_000_000_000, "2 d");
    }
}
