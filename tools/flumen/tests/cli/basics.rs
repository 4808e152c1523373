//! What goes where, exit codes, interrupts, and errors that help.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use crate::binary::{check, command, data, run};

const QUERY: &str = "SELECT id, customer, price FROM 'orders.csv' ORDER BY id LIMIT 2";

#[test]
fn rows_go_to_stdout_in_every_format_and_figures_to_stderr() {
    let data = data();
    let csv = "id,customer,price\n1,ann,9.5\n2,bob,3.25\n";
    check(&run(data.path(), &["-c", QUERY]), 0, csv, &["2 rows · ", "read 3 rows", "peak "]);
    check(&run(data.path(), &["-q", "-c", QUERY, "--format", "csv"]), 0, csv, &[]);
    let json = "[\n{\"id\":1,\"customer\":\"ann\",\"price\":9.5},\n{\"id\":2,\"customer\":\"bob\",\"price\":3.25}\n]\n";
    check(&run(data.path(), &["-q", QUERY, "--format", "json"]), 0, json, &[]);
    check(&run(data.path(), &["-q", "-c", QUERY, "--format", "none"]), 0, "", &[]);
    let table = "\
┌────────┬──────────┬────────┐
│ id     │ customer │ price  │
│ BIGINT │ VARCHAR  │ DOUBLE │
├────────┼──────────┼────────┤
│      1 │ ann      │    9.5 │
│      2 │ bob      │   3.25 │
└────────┴──────────┴────────┘
";
    check(&run(data.path(), &["-q", "-c", QUERY, "--format", "box"]), 0, table, &[]);
    let described = "name,type,null,watermark\nid,BIGINT,YES,\"\"\n";
    check(&run(data.path(), &["-q", "DESCRIBE SELECT id FROM 'orders.csv'"]), 0, described, &[]);
}

#[test]
fn a_print_table_writes_to_stdout_while_its_job_runs() {
    let data = data();
    let sql = "CREATE TABLE p (id BIGINT, customer VARCHAR) WITH ('connector' = 'print');
        INSERT INTO p SELECT id, customer FROM 'orders.csv' WHERE id < 3";
    let output = run(data.path(), &["-q", "-c", sql]);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert_eq!(out.lines().count(), 2, "{out}");
    assert!(out.contains("ann") && out.contains("bob"), "{out}");
}

#[test]
fn sql_comes_from_options_files_and_standard_input() {
    let data = data();
    std::fs::write(data.path().join("two.sql"), "SELECT 1 AS a;\n-- a comment\nSELECT 2 AS b;\n").unwrap();
    check(&run(data.path(), &["-q", "-f", "two.sql"]), 0, "a\n1\nb\n2\n", &[]);
    check(&run(data.path(), &["-q", "-c", "SELECT 1 AS a", "-c", "SELECT 2 AS b"]), 0, "a\n1\nb\n2\n", &[]);
    for arguments in [&["-q"][..], &["-q", "-f", "-"], &["sql", "-q"]] {
        let mut child = command(data.path(), arguments).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"SELECT 3 AS c").unwrap();
        check(&child.wait_with_output().unwrap(), 0, "c\n3\n", &[]);
    }
    check(&run(data.path(), &["-f", "tow.sql"]), 2, "", &["cannot read tow.sql"]);
}

#[test]
fn the_first_error_ends_it_unless_told_otherwise() {
    let data = data();
    let text = "SELECT 1 AS a; SELECT nope; SELECT 2 AS b";
    check(&run(data.path(), &["-q", "-c", text]), 1, "a\n1\n", &["there is no column \"nope\""]);
    check(&run(data.path(), &["-q", "--keep-going", "-c", text]), 1, "a\n1\nb\n2\n", &["\"nope\""]);
    // A mistake of grammar is told before anything is done, but only where the first error ends it.
    let text = "SELECT 1 AS a; SELECT FROM WHERE; SELECT 2 AS b";
    check(&run(data.path(), &["-q", "-c", text]), 1, "", &["syntax error"]);
    check(&run(data.path(), &["-q", "--keep-going", "-c", text]), 1, "a\n1\nb\n2\n", &["syntax error"]);
    // A statement that fails before its first row leaves no half of a document.
    for format in ["csv", "json", "box"] {
        let output = run(data.path(), &["-q", "--format", format, "-c", "SELECT id / (id - id) FROM 'orders.csv'"]);
        check(&output, 1, "", &["division by zero"]);
    }
}

#[test]
fn a_wrong_command_line_is_2() {
    let data = data();
    for (arguments, parts) in [
        (&["-c", "SELECT 1", "--formt", "csv"][..], &["--formt", "--format"][..]),
        (&["-c", "SELECT 1", "--format", "jsn"], &["jsn", "json"]),
        (&["-c", "SELECT 1", "--set", "paralelism.default=2"], &["paralelism.default", "parallelism.default"]),
        (&["-c", "SELECT 1", "--set", "parallelism.default=two"], &["parallelism.default", "two"]),
        (&["-c", "SELECT 1", "--set", "parallelism.default"], &["'parallelism.default' is not of the form key=value"]),
        (&["-c", "SELECT 1", "--config", "nope.toml"], &["nope.toml"]),
    ] {
        check(&run(data.path(), arguments), 2, "", parts);
    }
}

/// A statement that gives rows until it is stopped.
const ENDLESS: &str = "CREATE TABLE e (v BIGINT) WITH ('connector' = 'datagen'); SELECT v FROM e";

#[test]
fn a_closed_pipe_ends_it_without_a_word() {
    let data = data();
    for format in ["csv", "json"] {
        let mut child = command(data.path(), &["-q", "--format", format, "-c", ENDLESS]).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.next().unwrap().is_ok());
        drop(lines);
        check(&child.wait_with_output().unwrap(), 0, "", &[]);
    }
}

#[test]
fn an_interrupt_cancels_and_is_130() {
    let data = data();
    let into = "CREATE TABLE e (v BIGINT) WITH ('connector' = 'datagen'); \
                CREATE TABLE b (v BIGINT) WITH ('connector' = 'blackhole'); INSERT INTO b SELECT v FROM e; SELECT 1";
    for (text, on_stdout) in [(ENDLESS, true), (into, false)] {
        let mut child = command(data.path(), &["-c", text]).spawn().unwrap();
        let (mut out, mut err) = (child.stdout.take().unwrap(), BufReader::new(child.stderr.take().unwrap()));
        // It is running when its first bytes come, or when it says so.
        let mut first = String::new();
        if on_stdout {
            out.read_exact(&mut [0]).unwrap();
        } else {
            while !first.contains("is running") {
                assert!(err.read_line(&mut first).unwrap() > 0, "{first}");
            }
        }
        let drained = std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()).unwrap());
        let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        assert_eq!(child.wait().unwrap().code(), Some(130));
        drained.join().unwrap();
        let mut text = String::new();
        err.read_to_string(&mut text).unwrap();
        assert!(text.contains("interrupted: the statement was cancelled"), "{text}");
    }
}

#[test]
fn errors_say_what_where_and_what_to_try() {
    let data = data();
    for (sql, parts) in [
        (
            "SELECT prize FROM 'orders.csv'",
            &["there is no column \"prize\"", "line 1, column 8", "did you mean \"price\"?"][..],
        ),
        ("SELECT * FROM 'order.csv'", &["order.csv", "line 1, column 15", "'orders.csv'"]),
        ("SELECT max(id), max(price) FROM 'late.csv'", &["late.csv", "line 30002", "'x'", "BIGINT"]),
        ("SELECT * FROM 'ragged.csv'", &["ragged.csv", "csv line 3: the row has 1 field, "]),
        (
            "SELECT customer + 1 FROM 'orders.csv'",
            &["operator + for VARCHAR and BIGINT", "line 1, column 17", "CAST(x AS DOUBLE)"],
        ),
        ("SELECT id / (id - 2) FROM 'orders.csv'", &["orders.csv", "division by zero", "NULLIF(divisor, 0)"]),
        ("SELECT id * 9223372036854775807 FROM 'orders.csv'", &["out of range for BIGINT", "cast to a wider type"]),
        ("SELECT CAST(customer AS DATE) FROM 'orders.csv'", &["cannot cast \"ann\" from VARCHAR to DATE", "TRY_CAST"]),
        ("SET 'paralelism.default' = '2'", &["paralelism.default", "did you mean 'parallelism.default'?"]),
        ("SELECT (SELECT id FROM 'orders.csv')", &["stands for one value gave several rows", "add LIMIT 1"]),
        (
            "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL (WITH RECURSIVE s(y) AS (SELECT x FROM r UNION ALL SELECT y + 1 FROM s) \
             SELECT y FROM s)) SELECT * FROM r",
            &["not supported yet: WITH RECURSIVE r, which reads itself in another recursive query", "line 1, column "],
        ),
        ("SELECT id FROM 'orders.csv' TABLESAMPLE (1 ROWS)", &["not supported yet: TABLESAMPLE", "line 1, column 29"]),
    ] {
        check(&run(data.path(), &["-q", "-c", sql]), 1, "", parts);
    }
}
