//! Values against the written function, splits and rates.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use flumen_core::ids::SubtaskIndex;
use flumen_core::source::{Boundedness, ReaderStatus, SourceConnector, SplitResponse};
use flumen_core::types::{Field, LogicalType, Resolution, Schema};
use flumen_core::waiting::{TimerService, Waker};
use flumen_io::{Clock, MonotonicTime, SimulatedClock};

use super::DatagenSource;
use crate::testing::{options, read_all, reader_context, source_spec};

const NAME: &str = "datagen";

fn schema() -> Schema {
    let time = LogicalType::Timestamp { resolution: Resolution::Millisecond, zone: None };
    Schema::new(vec![
        Field::new("id", LogicalType::Int64, false),
        Field::new("key", LogicalType::Int32, false),
        Field::new("ts", time, false),
        Field::new("price", LogicalType::Decimal { precision: 10, scale: 2 }, true),
        Field::new("name", LogicalType::Utf8, true),
        Field::new("x", LogicalType::Float64, true),
        Field::new("flag", LogicalType::Boolean, true),
        Field::new("day", LogicalType::Date, true),
    ])
}

const OPTIONS: &[(&str, &str)] = &[
    ("number-of-rows", "1000"),
    ("seed", "42"),
    ("fields.id.kind", "sequence"),
    ("fields.id.start", "5"),
    ("fields.key.kind", "modulo"),
    ("fields.key.modulo", "7"),
    ("fields.ts.step-ms", "10"),
    ("fields.ts.start", "1000"),
    ("fields.price.min", "1.00"),
    ("fields.price.max", "2.5"),
    ("fields.name.length", "20"),
    ("fields.name.null-rate", "0.25"),
    ("fields.flag.kind", "sequence"),
    ("fields.day.min", "0"),
    ("fields.day.max", "9"),
];

fn number(line: &str) -> i64 {
    line.split('|').next().unwrap().parse().unwrap()
}

#[test]
fn rows_are_a_function_of_their_number_whatever_the_cut() {
    let spec = source_spec(NAME, OPTIONS, schema());
    let mut reference = read_all(&DatagenSource, &spec, &[1], 8192, None).unwrap();
    let ids: Vec<_> = reference.iter().map(|line| number(line)).collect();
    assert_eq!(ids, (5..1005).collect::<Vec<_>>(), "a single reader returns rows in order");
    reference.sort_unstable();
    for parallelism in [1, 2, 5, 7, 61] {
        for batch_rows in [1, 7, 8192] {
            for restore_every in [None, Some(1), Some(13)] {
                let mut rows =
                    read_all(&DatagenSource, &spec, &[parallelism, 5, 3], batch_rows, restore_every).unwrap();
                rows.sort_unstable();
                assert_eq!(rows, reference, "{parallelism} readers, {batch_rows} rows, {restore_every:?}");
            }
        }
    }
}

/// The documented function, written down a second time.
mod written {
    pub(super) fn mix(z: u64) -> u64 {
        let z = (z ^ (z >> 30)).wrapping_mul(13_787_848_793_156_543_929);
        let z = (z ^ (z >> 27)).wrapping_mul(10_723_151_780_598_845_931);
        z ^ (z >> 31)
    }

    pub(super) fn word(seed: u64, column: &str, row: u64) -> u64 {
        let mut h: u64 = 14_695_981_039_346_656_037;
        for b in column.bytes() {
            h = (h ^ u64::from(b)).wrapping_mul(1_099_511_628_211);
        }
        mix(mix(seed ^ h).wrapping_add((row + 1).wrapping_mul(11_400_714_819_323_198_485)))
    }
}

#[test]
fn values_are_those_of_the_written_function() {
    let spec = source_spec(NAME, OPTIONS, schema());
    let rows = read_all(&DatagenSource, &spec, &[1], 100, None).unwrap();
    let mut nulls = 0;
    for (row, line) in rows.iter().enumerate() {
        let row = row as u64;
        let word = |column: &str| written::word(42, column, row);
        let span = |column: &str, min: u64, max: u64| {
            min + ((u128::from(word(column)) * u128::from(max - min + 1)) >> 64) as u64
        };
        let values: Vec<_> = line.split('|').collect();
        let price = span("price", 100, 250);
        let millis = 1000 + row * 10;
        let is_null = (word("name.null") >> 11) as f64 / (1u64 << 53) as f64 * 1.0 < 0.25;
        nulls += usize::from(is_null);
        let name: String = (0..20u64)
            .map(|i| format!("{:x}", (written::mix(word("name").wrapping_add(i / 16)) >> (4 * (i % 16))) & 15))
            .collect();
        assert_eq!(values[0], (row + 5).to_string());
        assert_eq!(values[1], (row % 7).to_string());
        assert!(values[2].starts_with("1970-01-01T00:00:"), "{}", values[2]);
        assert!(values[2].contains(&format!("00:{:02}", millis / 1000)), "{} {millis}", values[2]);
        assert_eq!(values[3], format!("{}.{:02}", price / 100, price % 100));
        assert_eq!(values[4], if is_null { "" } else { &name });
        let x: f64 = values[5].parse().unwrap();
        assert_eq!(x, (word("x") >> 11) as f64 / (1u64 << 53) as f64);
        assert_eq!(values[6], (row % 2 == 1).to_string());
        assert_eq!(values[7], format!("1970-01-{:02}", span("day", 0, 9) + 1));
    }
    assert!((150..350).contains(&nulls), "{nulls} of 1000 with a rate of a quarter");
}

#[test]
fn tables_end_where_they_are_told_to() {
    let boundedness = |pairs: &[(&str, &str)]| DatagenSource.validate(&options(pairs), &schema()).unwrap();
    assert_eq!(boundedness(&[]), Boundedness::Unbounded);
    assert_eq!(boundedness(&[("number-of-rows", "5")]), Boundedness::Bounded);
    let sequence = &[("fields.id.kind", "sequence"), ("fields.id.start", "3"), ("fields.id.end", "12")];
    assert_eq!(boundedness(sequence), Boundedness::Bounded);
    assert_eq!(read_all(&DatagenSource, &source_spec(NAME, sequence, schema()), &[2], 3, None).unwrap().len(), 10);
    let none = source_spec(NAME, &[("number-of-rows", "0")], schema());
    assert_eq!(read_all(&DatagenSource, &none, &[2], 3, None).unwrap(), [] as [&str; 0]);
    let mut limited = source_spec(NAME, &[], schema());
    limited.limit = Some(11);
    limited.projection = vec![1];
    assert_eq!(read_all(&DatagenSource, &limited, &[1], 3, None).unwrap().len(), 11);
}

#[test]
fn options_that_make_no_sense_are_refused() {
    for (pairs, problem) in [
        (&[("rows-per-secnd", "5")][..], "did you mean 'rows-per-second'?"),
        (&[("fields.idd.kind", "sequence")], "has no option 'fields.idd.kind'; did you mean 'fields.id.kind'?"),
        (&[("fields.id.kind", "sequential")], "write random, sequence or modulo"),
        (&[("fields.key.kind", "modulo")], "needs option 'fields.key.modulo'"),
        (&[("fields.id.min", "9"), ("fields.id.max", "8")], "less than the minimum"),
        (&[("fields.id.null-rate", "0.5")], "NOT NULL"),
        (&[("fields.price.min", "1.005")], "2 digits after the point"),
    ] {
        let error = DatagenSource.validate(&options(pairs), &schema()).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

/// Remembers the latest request.
#[derive(Default)]
struct Asked(Mutex<Option<MonotonicTime>>);

impl TimerService for Asked {
    fn wake_at(&self, at: MonotonicTime, _waker: Waker) {
        *self.0.lock().unwrap() = Some(at);
    }
}

#[test]
fn the_rate_is_kept_without_spinning() {
    let spec = source_spec(NAME, &[("rows-per-second", "1000"), ("number-of-rows", "3000")], schema());
    let (clock, asked) = (Arc::new(SimulatedClock::new()), Arc::new(Asked::default()));
    let mut context = reader_context(0, 2, 8192);
    context.clock = Arc::clone(&clock) as _;
    context.timers = Arc::clone(&asked) as _;
    let mut enumerator = DatagenSource.create_enumerator(&spec, 2, None).unwrap();
    let mut reader = DatagenSource.create_reader(&spec, context).unwrap();
    let (mut rows, mut waits) = (0, 0);
    loop {
        match reader.poll_next().unwrap() {
            ReaderStatus::Batch(batch) => rows += batch.num_rows(),
            ReaderStatus::Waiting => {
                waits += 1;
                let at = asked.0.lock().unwrap().take().expect("it asked to be woken");
                assert!(at > clock.now(), "it waits for a time to come");
                // Polled for another reason, it does not ask again: such requests would never grow fewer.
                assert!(matches!(reader.poll_next().unwrap(), ReaderStatus::Waiting));
                assert_eq!(*asked.0.lock().unwrap(), None);
                clock.advance_to(at);
            }
            ReaderStatus::NeedsSplit => match enumerator.request_split(SubtaskIndex(0)).unwrap() {
                SplitResponse::Assign(splits) => reader.add_splits(splits).unwrap(),
                _ => reader.no_more_splits(),
            },
            ReaderStatus::EndOfInput => break,
            other => panic!("{other:?}"),
        }
        // One of two readers: half of the rate.
        let seconds = clock.now().as_nanos() as f64 / 1e9;
        assert!(rows as f64 <= seconds * 500.0 + 1.0, "{rows} rows after {seconds} s");
        if rows == 750 {
            // The consumer was slow for a while; what is made up for is at most a second's worth.
            assert!((1.4..1.6).contains(&seconds), "{seconds}");
        }
    }
    assert_eq!(rows, 1500);
    assert!(clock.now() >= MonotonicTime::ZERO + Duration::from_millis(2_990), "{}", clock.now());
    assert!(waits <= 200, "{waits} waits in three seconds");
}
