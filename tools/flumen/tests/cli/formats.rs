//! Every format through the binary, read again by other readers, and files that are there whole or not at all.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::binary::{check, command, data, run};

/// One row of what is easily spoiled, one of NULLs, one of empty text.
const ROWS: &str = "SELECT * FROM (VALUES \
    (1, 9223372036854775807, CAST('12345678901234567890.12' AS DECIMAL(38, 2)), 'a,\"b\"', TIMESTAMP '2024-02-29 12:30:45'), \
    (2, NULL, NULL, NULL, NULL), (3, 3, CAST('0.50' AS DECIMAL(38, 2)), '', TIMESTAMP '1970-01-01 00:00:00')) AS t(n, big, exact, word, moment) ORDER BY n";

const EXACT: &str = "12345678901234567890.12";

fn text(directory: &Path, arguments: &[&str]) -> String {
    let output = run(directory, arguments);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn formatted(format: &str) -> String {
    text(data().path(), &["-q", "-c", ROWS, "--format", format])
}

#[test]
fn csv_and_tsv_are_read_by_another_reader() {
    for (format, separator) in [("csv", b','), ("tsv", b'\t')] {
        let written = formatted(format);
        let mut reader = csv::ReaderBuilder::new().delimiter(separator).from_reader(written.as_bytes());
        assert_eq!(reader.headers().unwrap(), vec!["n", "big", "exact", "word", "moment"]);
        let rows: Vec<_> = reader.records().map(|row| row.unwrap()).collect();
        assert_eq!(rows[0], vec!["1", "9223372036854775807", EXACT, "a,\"b\"", "2024-02-29T12:30:45"]);
        assert_eq!(rows[1], vec!["2", "", "", "", ""]);
        assert_eq!(rows.len(), 3);
        // What that reader cannot tell apart.
        let empty = format!("3{0}3{0}0.50{0}\"\"{0}", char::from(separator));
        assert!(written.contains(&empty), "{written}");
    }
    assert_eq!(text(data().path(), &["-q", "SELECT NULL AS x, '' AS y"]), "x,y\n,\"\"\n");
}

#[test]
fn json_is_read_by_another_reader() {
    let array = formatted("json");
    let rows: Vec<serde_json::Value> = serde_json::from_str(&array).unwrap();
    let lines = formatted("jsonl");
    let same: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows, same);
    assert_eq!(rows.len(), 3);
    assert_eq!((rows[0]["big"].as_i64(), &rows[0]["word"]), (Some(i64::MAX), &"a,\"b\"".into()));
    assert_eq!(rows[0]["moment"], "2024-02-29T12:30:45");
    assert!(["big", "exact", "word", "moment"].iter().all(|name| rows[1][*name].is_null()));
    assert!(array.contains(&format!("\"exact\":{EXACT},")), "{array}");
    assert_eq!(rows[2]["word"], "");
}

fn check_rows(batches: &[RecordBatch]) {
    let schema = batches[0].schema();
    let with_rows: Vec<_> = batches.iter().filter(|batch| batch.num_rows() > 0).collect();
    let [rows] = with_rows[..] else { panic!("three rows are one batch") };
    assert_eq!(
        schema.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>(),
        ["n", "big", "exact", "word", "moment"]
    );
    assert_eq!(rows.num_rows(), 3);
    assert_eq!(rows.column(1).as_primitive::<Int64Type>().value(0), i64::MAX);
    let exact = rows.column(2).as_primitive::<Decimal128Type>();
    assert_eq!(exact.value_as_string(0), EXACT);
    assert!((1..5).all(|column| rows.column(column).is_null(1)));
    assert_eq!(rows.column(3).as_string::<i32>().value(2), "");
}

#[test]
fn arrow_and_parquet_are_read_again() {
    let data = data();
    let output = run(data.path(), &["-q", "-c", ROWS, "--format", "arrow"]);
    let reader = arrow_ipc::reader::StreamReader::try_new(output.stdout.as_slice(), None).unwrap();
    check_rows(&reader.map(|batch| batch.unwrap()).collect::<Vec<_>>());

    check(&run(data.path(), &["-q", "-c", ROWS, "-o", "rows.parquet"]), 0, "", &[]);
    let file = File::open(data.path().join("rows.parquet")).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    check_rows(&reader.map(|batch| batch.unwrap()).collect::<Vec<_>>());

    // Redirected, it is the same file.
    let redirected = File::create(data.path().join("again.parquet")).unwrap();
    let mut command = command(data.path(), &["-q", "-c", ROWS, "--format", "parquet"]);
    assert!(command.stdout(Stdio::from(redirected)).status().unwrap().success());
    let bytes = |name: &str| std::fs::read(data.path().join(name)).unwrap();
    assert_eq!(bytes("again.parquet"), bytes("rows.parquet"));
    // And the engine reads it.
    let read = "SELECT n, exact FROM 'again.parquet' WHERE big > 5";
    assert_eq!(text(data.path(), &["-q", read]), format!("n,exact\n1,{EXACT}\n"));
}

#[test]
fn people_have_tables() {
    let sql = "SELECT n, word FROM (VALUES (1, 'a|b'), (2, NULL), (3, '日本')) AS t(n, word) ORDER BY n";
    let shown = |format: &str| text(data().path(), &["-q", sql, "--format", format]);
    let table = "\
+---------+---------+
| n       | word    |
| INTEGER | VARCHAR |
+---------+---------+
|       1 | a|b     |
|       2 | NULL    |
|       3 | 日本    |
+---------+---------+
";
    assert_eq!(shown("table"), table);
    let lines = "\
┌─────────┬─────────┐
│ n       │ word    │
│ INTEGER │ VARCHAR │
├─────────┼─────────┤
│       1 │ a|b     │
│       2 │ NULL    │
│       3 │ 日本    │
└─────────┴─────────┘
";
    assert_eq!(shown("box"), lines);
    assert_eq!(shown("markdown"), "| n | word |\n| ---: | --- |\n| 1 | a\\|b |\n| 2 | NULL |\n| 3 | 日本 |\n");
    let html = shown("html");
    assert!(
        html.starts_with("<table>\n") && html.contains("<tr><td class=\"number\">1</td><td>a|b</td></tr>"),
        "{html}"
    );
    assert!(shown("vertical").starts_with("── row 1 ──\nn    │ 1\nword │ a|b\n"), "{}", shown("vertical"));
    assert_eq!(shown("none"), "");
}

#[test]
fn boxes_can_be_cut() {
    let data = data();
    let sql = "SELECT * FROM (VALUES (1), (2), (3), (4), (5)) AS t(n) ORDER BY n";
    let cut = text(data.path(), &["-q", sql, "--format", "table", "--max-rows", "2"]);
    assert!(cut.ends_with("5 rows (2 shown)\n") && cut.contains("| .       |"), "{cut}");
    let columns: Vec<String> = (0..40).map(|i| format!("{i} AS column_{i}")).collect();
    let sql = format!("SELECT {}", columns.join(", "));
    let cut = text(data.path(), &["-q", &sql, "--format", "table", "--max-width", "80"]);
    assert!(cut.contains("column_0 ") && cut.contains("| ~ |") && cut.contains(" column_39 "), "{cut}");
    assert!(cut.lines().all(|line| line.len() <= 80) && cut.ends_with(" of 40 columns shown\n"), "{cut}");
    // Nothing is cut for a pipe that did not ask for it.
    assert!(text(data.path(), &["-q", &sql, "--format", "table"]).contains("column_20"));
}

#[test]
fn the_locale_and_colours_are_the_environments() {
    let data = data();
    let shown = |variables: &[(&str, &str)], arguments: &[&str]| {
        let arguments = [&["-q", "SELECT NULL AS x", "--format", "box"][..], arguments].concat();
        let output = command(data.path(), &arguments).envs(variables.iter().copied()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(shown(&[], &[]).contains('│') && !shown(&[], &[]).contains('\u{1b}'));
    assert!(shown(&[("LC_ALL", "C")], &[]).contains("| NULL |"));
    for (variables, arguments, colored) in [
        (&[("CLICOLOR_FORCE", "1")][..], &[] as &[&str], true),
        (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], &[], false),
        (&[("NO_COLOR", "1")], &["--color", "always"], true),
        (&[("CLICOLOR_FORCE", "1")], &["--color", "never"], false),
    ] {
        assert_eq!(shown(variables, arguments).contains("\u{1b}["), colored, "{variables:?} {arguments:?}");
    }
}

#[test]
fn a_file_is_there_whole_or_not_at_all() {
    let data = data();
    let names = || {
        let entries = std::fs::read_dir(data.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    };
    let before = names();
    let statements = "SELECT 1 AS a; SELECT id / (id - 2) AS q FROM 'orders.csv'";
    check(
        &run(data.path(), &["-q", "-c", statements, "-o", "out.csv"]),
        1,
        "",
        &["division", "out.csv was not written"],
    );
    assert_eq!(names(), before);
    std::fs::write(data.path().join("out.csv"), "before").unwrap();
    check(&run(data.path(), &["-q", "-c", statements, "-o", "out.csv"]), 1, "", &["out.csv was not written"]);
    let read = |name: &str| std::fs::read_to_string(data.path().join(name)).unwrap();
    assert_eq!(read("out.csv"), "before");
    // What was asked to go on has the results of what went well.
    let keep = ["-q", "--keep-going", "-c", statements, "-c", "SELECT 2 AS b", "-o", "out.csv"];
    check(&run(data.path(), &keep), 1, "", &["division"]);
    assert_eq!(read("out.csv"), "a\n1\nb\n2\n");
    check(&run(data.path(), &["-q", "SELECT 1 AS a", "-o", "out.data", "--format", "jsonl"]), 0, "", &[]);
    assert_eq!(read("out.data"), "{\"a\":1}\n");
    check(&run(data.path(), &["-q", "SELECT 1 AS a", "-o", "-"]), 0, "a\n1\n", &[]);
}

#[test]
fn files_that_cannot_be_written_are_usage_errors() {
    let data = data();
    for (arguments, parts) in [
        (&["-o", "out.xls"][..], &["out.xls", ".parquet", "--format"][..]),
        (&["-o", "nowhere/out.csv"], &["cannot write nowhere/out.csv"]),
        (&["-o", "."], &["cannot write .", "directory"]),
    ] {
        check(&run(data.path(), &[&["-q", "SELECT 1"][..], arguments].concat()), 2, "", parts);
    }
    let two = ["-q", "-c", "SELECT 1 AS a; SELECT 2 AS a", "-o", "two.parquet"];
    check(&run(data.path(), &two), 1, "", &["parquet holds one result", "two.parquet was not written"]);
}

#[test]
fn plans_are_rows_for_programs() {
    let data = data();
    let plain = text(data.path(), &["-q", "EXPLAIN SELECT id FROM 'orders.csv' WHERE id > 1"]);
    assert!(!plain.starts_with("plan\n") && plain.contains("orders.csv"), "{plain}");
    let json = text(data.path(), &["-q", "EXPLAIN SELECT id FROM 'orders.csv' WHERE id > 1", "--format", "jsonl"]);
    let lines: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let joined: String = lines.iter().map(|line| format!("{}\n", line["plan"].as_str().unwrap())).collect();
    assert_eq!(joined, plain);
    assert_eq!(text(data.path(), &["-q", "EXPLAIN SELECT 1", "--format", "none"]), "");
    let analyzed = text(data.path(), &["-q", "EXPLAIN ANALYZE SELECT customer, count(*) FROM 'orders.csv' GROUP BY 1"]);
    let measured: Vec<&str> = analyzed.lines().skip_while(|line| !line.starts_with("operator ")).collect();
    assert!(measured.len() > 2, "{analyzed}");
    assert!(measured.iter().all(|line| line.chars().count() == measured[0].chars().count()), "{analyzed}");
}

/// A statement that gives rows until it is stopped.
const ENDLESS: &str = "CREATE TABLE e (v BIGINT) WITH ('connector' = 'datagen'); SELECT v FROM e";

#[test]
fn a_closed_pipe_ends_every_format_without_a_word() {
    let data = data();
    for format in ["csv", "tsv", "json", "jsonl", "markdown", "html", "vertical"] {
        let mut child = command(data.path(), &["-q", "--format", format, "-c", ENDLESS]).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.next().unwrap().is_ok());
        drop(lines);
        check(&child.wait_with_output().unwrap(), 0, "", &[]);
    }
    // Also where nobody hears complaints.
    let mut child = command(data.path(), &["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    child.stdin.take().unwrap().write_all(b"SELECT nope").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
}
