//! Damaged Parquet files through SQL: an error that names the file, or an answer; nothing is left in the process.
//!
//! `formats/parquet` tests every byte of its decoder; here the damage goes through planning, pruning by statistics,
//! scanning on two tasks and aggregation, by a few hundred seeded flips.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray};
use flumen_cluster::{Outcome, Polled, Session, SessionError};
use flumen_io::{RandomSource, Rng};
use flumen_testkit::{configuration, text_rows};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::{WriterProperties, WriterVersion};

/// Nothing here takes longer, even on a machine with other work.
const DEADLINE: Duration = Duration::from_secs(60);
const ROWS: i64 = 3_000;
/// Set this to the seed that a failed run has printed.
const SEED_VARIABLE: &str = "FLUMEN_TEST_SEED";

fn session() -> Session {
    Session::open(configuration(&[("parallelism.default", "2"), ("taskmanager.worker-threads", "2")])).unwrap()
}

/// All rows of a query as text. A query that neither ends nor fails is a panic here.
fn rows(session: &mut Session, sql: &str) -> Result<Vec<String>, SessionError> {
    let statements = session.parse(sql)?;
    let Outcome::Rows(mut stream) = session.execute(&statements[0])? else { panic!("{sql} is not a query") };
    let mut rows = Vec::new();
    loop {
        match stream.next_within(DEADLINE)? {
            Polled::Batch(batch) => rows.extend(text_rows(&batch).into_iter().map(|row| row.join(","))),
            Polled::Waiting => panic!("{sql} does not end"),
            Polled::End => return Ok(rows),
        }
    }
}

fn parquet_bytes(properties: WriterProperties) -> Vec<u8> {
    let numbers: ArrayRef = Arc::new((0..ROWS).map(|i| (i % 7 != 0).then_some(i)).collect::<Int64Array>());
    let texts: ArrayRef = Arc::new((0..ROWS).map(|i| Some(format!("text {}", i % 50))).collect::<StringArray>());
    let decimals =
        Decimal128Array::from_iter_values((0..ROWS).map(i128::from)).with_precision_and_scale(15, 2).unwrap();
    let batch = RecordBatch::try_from_iter([("n", numbers), ("s", texts), ("d", Arc::new(decimals))]).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn layouts() -> [Vec<u8>; 2] {
    let small =
        || WriterProperties::builder().set_max_row_group_row_count(Some(1_000)).set_data_page_row_count_limit(300);
    [
        parquet_bytes(small().set_compression(Compression::SNAPPY).build()),
        parquet_bytes(small().set_writer_version(WriterVersion::PARQUET_2_0).set_dictionary_enabled(false).build()),
    ]
}

/// Everything that reads: all columns, filters that prune, rows as they are.
fn queries(path: &Path) -> [String; 3] {
    let path = path.display();
    [
        format!("SELECT count(*), sum(n), max(s), sum(d) FROM '{path}'"),
        format!("SELECT s, count(*) FROM '{path}' WHERE n > 1500 AND d < 29 GROUP BY s"),
        format!("SELECT * FROM '{path}' LIMIT 2500"),
    ]
}

/// Writes the bytes under a name of their own, runs the queries, and says how many of them failed.
fn check(session: &mut Session, directory: &Path, name: &str, bytes: &[u8]) -> usize {
    let path = directory.join(name);
    std::fs::write(&path, bytes).unwrap();
    let mut failed = 0;
    for sql in queries(&path) {
        if let Err(error) = rows(session, &sql) {
            let message = error.render();
            // A column that claims another type makes the statement wrong, and that is what is pointed at.
            assert!(message.contains(name) || message.contains("at line 1, column "), "{sql}: {message}");
            assert!(!message.contains("bug in flumen"), "{sql}: {message}");
            failed += 1;
        }
    }
    std::fs::remove_file(&path).unwrap();
    failed
}

fn assert_nothing_is_left(session: &Session) {
    // A job's last task reports its end before it is dropped.
    for _ in 0..10_000 {
        if session.process().verify_empty().is_ok() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    session.process().verify_empty().unwrap();
}

#[test]
fn whole_files_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let mut session = session();
    for (layout, bytes) in layouts().iter().enumerate() {
        let path = directory.path().join(format!("{layout}.parquet"));
        std::fs::write(&path, bytes).unwrap();
        let [sums, groups, all] = queries(&path).map(|sql| rows(&mut session, &sql).unwrap());
        let expected: i64 = (0..ROWS).filter(|i| i % 7 != 0).sum();
        assert_eq!(sums, [format!("{ROWS},{expected},text 9,{}.00", (0..ROWS).sum::<i64>() / 100)]);
        assert_eq!((groups.len(), all.len()), (50, 2_500));
    }
}

#[test]
fn truncated_files_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let mut session = session();
    let mut rng = Rng::from_seed(7);
    for (layout, bytes) in layouts().iter().enumerate() {
        let length = bytes.len();
        let some = (0..40).map(|_| rng.below(length as u64) as usize);
        for cut in [0, 1, 3, 4, 7, 8, 11, 12, length - 9, length - 8, length - 4, length - 1].into_iter().chain(some) {
            let failed = check(&mut session, directory.path(), &format!("{layout}-cut-{cut}.parquet"), &bytes[..cut]);
            assert_eq!(failed, 3, "layout {layout}, cut to {cut} of {length} bytes");
        }
    }
    assert_nothing_is_left(&session);
}

#[test]
fn flipped_bits_give_an_error_with_the_name_or_an_answer() {
    // The reports of panics that the Parquet library's caller catches would only fill the log.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let inside = panic.location().is_some_and(|l| l.file().contains("/parquet-") || l.file().contains("/arrow-"));
        if !inside {
            report(panic);
        }
    }));
    let seed = std::env::var(SEED_VARIABLE).ok().map(|text| text.parse().unwrap());
    let mut rng = seed.map_or_else(Rng::from_entropy, Rng::from_seed);
    println!("{SEED_VARIABLE}={}", rng.seed());
    let directory = tempfile::tempdir().unwrap();
    let mut session = session();
    for (layout, bytes) in layouts().iter().enumerate() {
        let length = bytes.len() as u64;
        let footer = u64::from(u32::from_le_bytes(bytes[bytes.len() - 8..bytes.len() - 4].try_into().unwrap())) + 8;
        let mut failed = 0;
        // Half of the flips go to the footer, and some to the first page's header.
        for flip in 0..150 {
            let at = match flip % 6 {
                0..=2 => length - 1 - rng.below(footer),
                3 => 4 + rng.below(60),
                _ => rng.below(length),
            };
            let mut bytes = bytes.clone();
            bytes[at as usize] ^= 1 << rng.below(8);
            failed += check(&mut session, directory.path(), &format!("{layout}-flip-{flip}-at-{at}.parquet"), &bytes);
        }
        assert!(failed > 100, "layout {layout}: only {failed} of 450 queries over damaged files noticed it");
    }
    assert_eq!(rows(&mut session, "SELECT 1").unwrap(), ["1"]);
    assert_nothing_is_left(&session);
}

#[test]
fn a_missing_file_is_reported_with_its_nearest_siblings() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["orders.parquet", "order_lines.parquet", "customers.parquet"] {
        std::fs::write(directory.path().join(name), b"").unwrap();
    }
    let mut session = session();
    let missing = directory.path().join("ordres.parquet");
    let error = rows(&mut session, &format!("SELECT * FROM '{}'", missing.display())).unwrap_err().render();
    assert!(error.contains("ordres.parquet") && error.contains("'orders.parquet'"), "{error}");
    assert!(!error.contains("customers"), "{error}");
}
