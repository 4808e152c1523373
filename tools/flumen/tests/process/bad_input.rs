//! Bad input through the binary: an exit code and a message, never a signal. How files of all kinds of damage are read
//! is tested in one process (`tests/cluster`); here are a few of each.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use flumen_io::{RandomSource, Rng};
use parquet::arrow::ArrowWriter;

use crate::process::flumen;

fn parquet_bytes() -> Vec<u8> {
    let numbers: ArrayRef = Arc::new((0..2_000).map(|i| (i % 7 != 0).then_some(i)).collect::<Int64Array>());
    let texts: ArrayRef = Arc::new((0..2_000).map(|i| Some(format!("text {}", i % 50))).collect::<StringArray>());
    let batch = RecordBatch::try_from_iter([("n", numbers), ("s", texts)]).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn read(path: &Path) -> crate::process::Answer {
    flumen(&format!("SELECT count(*), sum(n), max(s) FROM '{}'", path.display()), &[])
}

#[test]
fn damaged_parquet_ends_with_an_error_that_names_the_file() {
    let mut rng = Rng::from_entropy();
    println!("seed {}", rng.seed());
    let bytes = parquet_bytes();
    let directory = tempfile::tempdir().unwrap();
    let whole = directory.path().join("whole.parquet");
    std::fs::write(&whole, &bytes).unwrap();
    let answer = read(&whole);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    let right = answer.stdout;
    assert!(right.contains("2000,1713715,text 9"), "{right}");
    for length in [0, 3, 4, 8, bytes.len() / 2, bytes.len() - 9, bytes.len() - 1] {
        let path = directory.path().join(format!("cut-{length}.parquet"));
        std::fs::write(&path, &bytes[..length]).unwrap();
        let answer = read(&path);
        assert_eq!(answer.code, 1, "cut to {length} bytes: {answer:?}");
        assert!(answer.stderr.contains(&format!("cut-{length}.parquet")), "{}", answer.stderr);
    }
    for flip in 0..10 {
        let mut bytes = bytes.clone();
        let at = rng.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << rng.below(8);
        let path = directory.path().join(format!("flip-{flip}.parquet"));
        std::fs::write(&path, &bytes).unwrap();
        let answer = read(&path);
        assert!(answer.code == 0 || answer.stderr.contains(&format!("flip-{flip}.parquet")), "byte {at}: {answer:?}");
    }
}

#[test]
fn a_missing_file_ends_with_the_names_that_are_there() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["orders.parquet", "lineitem.parquet"] {
        std::fs::write(directory.path().join(name), parquet_bytes()).unwrap();
    }
    let answer = read(&directory.path().join("order.parquet"));
    assert_eq!(answer.code, 1);
    assert!(answer.stderr.contains("orders.parquet") && !answer.stderr.contains("lineitem"), "{}", answer.stderr);
}

#[test]
fn sql_nested_ten_thousand_deep_is_refused() {
    const DEPTH: usize = 10_000;
    let around = |open: &str, inner: &str, close: &str| format!("{}{inner}{}", open.repeat(DEPTH), close.repeat(DEPTH));
    let nested = [
        around("(", "SELECT 1", ")"),
        format!("SELECT {}", around("(", "1", ")")),
        format!("SELECT {}", around("-", "1", "")),
        format!("SELECT {}", around("- ", "1", "")),
        format!("SELECT {}", around("NOT ", "true", "")),
        format!("SELECT {}", around("abs(", "1", ")")),
        format!("SELECT {}", around("CAST(", "1", " AS INT)")),
        format!("SELECT {}", around("CASE WHEN true THEN ", "1", " END")),
        format!("SELECT {}", around("(SELECT ", "1", ")")),
        format!("SELECT {}", around("[", "1", "]")),
        format!("SELECT CAST(NULL AS {})", around("ARRAY<", "INT", ">")),
        format!("CREATE TABLE t (x {}) WITH ('connector' = 'datagen')", around("ARRAY<", "INT", ">")),
        format!("SELECT * FROM {}", around("(SELECT * FROM ", "(VALUES (1)) AS t(x)", ") AS s")),
        format!("SELECT 1 WHERE {}", around("EXISTS (SELECT 1 WHERE ", "true", ")")),
        format!("SELECT 1 WHERE {}", around("1 IN (", "1", ")")),
        around("WITH a AS (", "SELECT 1", ") SELECT * FROM a"),
        around("EXPLAIN ", "SELECT 1", ""),
        format!("SELECT {}", around("/*", "1", "*/")),
    ];
    for sql in nested {
        let answer = flumen(&sql, &[]);
        let start: String = sql.chars().take(40).collect();
        assert_eq!(answer.code, 1, "{start}: {}", answer.stdout);
        assert!(answer.stderr.starts_with("error: "), "{start}: {}", answer.stderr);
        assert!(answer.stderr.len() < 10_000, "{start}: the message has {} bytes", answer.stderr.len());
    }
}

/// Long texts that are not deep are answered, or refused for their size; no depth of plans may end the process.
#[test]
fn long_flat_sql_does_not_end_the_process() {
    const TERMS: usize = 10_000;
    let chain = |term: &dyn Fn(usize) -> String, between: &str| (0..TERMS).map(term).collect::<Vec<_>>().join(between);
    let values = "FROM (VALUES (1), (9999), (10000)) AS t(x)";
    let ors = format!("SELECT count(*) AS n {values} WHERE {}", chain(&|i| format!("x = {i}"), " OR "));
    let answer = flumen(&ors, &["--format", "csv"]);
    assert_eq!((answer.code, answer.stdout.as_str()), (0, "n\n2\n"), "{}", answer.stderr);
    let flat = [
        format!("SELECT count(*) {values} WHERE {}", chain(&|i| format!("x <> {}", i + 1), " AND ")),
        format!("SELECT {}", chain(&|_| "1".to_owned(), " + ")),
        format!("SELECT {} {values}", chain(&|_| "x".to_owned(), " + ")),
        format!("SELECT {}", chain(&|_| "'a'".to_owned(), " || ")),
        format!("SELECT count(*) {values} WHERE x IN ({})", chain(&|i| i.to_string(), ", ")),
        format!("SELECT {} {values}", chain(&|i| format!("x + {i} AS c{i}"), ", ")),
        format!("SELECT {} {values}", chain(&|_| "x".to_owned(), ", ")),
        format!("SELECT CASE {} END {values}", chain(&|i| format!("WHEN x = {i} THEN {i}"), " ")),
        chain(&|i| format!("SELECT {i}"), " UNION ALL "),
        format!("SELECT 1 FROM {}", chain(&|i| format!("(VALUES (1)) AS t{i}(x)"), ", ")),
        format!(
            "WITH a0 AS (SELECT 1 AS x), {} SELECT * FROM a{TERMS}",
            chain(&|i| format!("a{} AS (SELECT * FROM a{i})", i + 1), ", ")
        ),
    ];
    for sql in flat {
        let answer = flumen(&sql, &[]);
        let start: String = sql.chars().take(60).collect();
        assert!(answer.code == 0 || answer.stderr.starts_with("error: "), "{start}: {}", answer.stderr);
        assert!(answer.stderr.len() < 10_000, "{start}: the message has {} bytes", answer.stderr.len());
    }
}
