//! Errors as people see them.

use super::stub::Session;
use crate::SqlErrorKind;

#[track_caller]
fn check(sql: &str, message: &str, place: (u64, u64), hint: Option<&str>) {
    let error = Session::tpch(1).try_run(sql).expect_err(sql);
    assert_eq!(error.to_string(), message);
    let position = error.position().unwrap_or_else(|| panic!("no position: {error}"));
    assert_eq!((position.line, position.column), place, "{}", error.render());
    assert_eq!(error.hint(), hint, "{}", error.render());
}

#[test]
fn names_that_are_not_there() {
    check(
        "SELECT l_shipdat FROM lineitem",
        "there is no column \"l_shipdat\"",
        (1, 8),
        Some("did you mean \"l_shipdate\"?"),
    );
    check("SELECT B2 FROM 'f.parquet'", "there is no column \"B2\"", (1, 8), Some("did you mean \"B\"?"));
    check("SELECT 1\nFROM linitem", "there is no table \"linitem\"", (2, 6), Some("did you mean \"lineitem\"?"));
    check("SELECT uper('a')", "there is no function \"uper\"", (1, 8), Some("did you mean \"upper\"?"));
    check(
        "SELECT * FROM 'order.parquet'",
        "there is no file \"order.parquet\"; did you mean \"orders.parquet\"?",
        (1, 15),
        None,
    );
    check(
        "CREATE TABLE t (a INT) WITH ('connector' = 'filesytem')",
        "there is no connector \"filesytem\"",
        (1, 44),
        Some("did you mean \"filesystem\"?"),
    );
    check("DROP TABLE nope", "there is no table \"nope\"", (1, 12), Some("the tables are customer, lineitem, orders"));
}

#[test]
fn the_caret_is_under_the_word() {
    let error = Session::tpch(1).try_run("SELECT o_orderkey,\n       o_totalprize\nFROM orders").unwrap_err();
    let text = error.render();
    let lines: Vec<&str> = text.lines().collect();
    let code = lines.iter().position(|l| l.contains("2 |        o_totalprize")).unwrap_or_else(|| panic!("{text}"));
    let caret = lines[code + 1];
    assert_eq!(caret.find('^'), lines[code].find("o_totalprize"), "{text}");
    assert_eq!(caret.matches('^').count(), "o_totalprize".len(), "{text}");
}

#[test]
fn a_long_line_is_shown_in_part() {
    let sql = format!("SELECT {}, nope FROM orders", vec!["o_orderkey"; 1000].join(", "));
    let text = Session::tpch(1).try_run(&sql).unwrap_err().render();
    assert!(text.len() < 600, "{}", text.len());
    assert!(text.contains("nope"), "{text}");
}

#[test]
fn what_is_not_supported_says_what_and_where() {
    for (sql, what) in [
        ("SELECT row_number() OVER (ORDER BY a) FROM 'f.parquet'", ""),
        ("SELECT * FROM orders FULL JOIN customer ON o_custkey = c_custkey", "FULL JOIN"),
        ("SELECT a FROM 'f.parquet' WHERE s NOT IN (SELECT s FROM 'f.parquet')", "NOT IN"),
        ("SELECT count(a, b) FROM 'f.parquet'", "count of several columns"),
        ("WITH RECURSIVE r AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM r) SELECT * FROM r", ""),
    ] {
        let error = Session::tpch(1).try_run(sql).expect_err(sql);
        assert!(error.to_string().contains(what), "{error}");
        assert_ne!(error.kind(), SqlErrorKind::Internal, "{error}");
    }
}

#[test]
fn mistakes_of_meaning_are_no_internal_errors() {
    for sql in [
        "SELECT a, sum(b) FROM 'f.parquet'",
        "SELECT sum(s) FROM 'f.parquet'",
        "SELECT a FROM 'f.parquet' GROUP BY s",
        "SELECT a FROM 'f.parquet' WHERE s",
        "SELECT o_custkey FROM orders o, orders p",
        "SELECT x.a FROM 'f.parquet'",
        "SELECT a + s FROM 'f.parquet'",
        "SELECT sum(sum(b)) FROM 'f.parquet'",
        "SELECT a FROM 'f.parquet' WHERE sum(b) > 1",
        "SELECT 1 FROM a.b.c",
        "SELECT 1 FROM f.parquet",
        "INSERT INTO orders SELECT 1",
        "SELECT (SELECT a FROM 'f.parquet')",
        "SELECT * FROM (VALUES (1), (1, 2)) AS t",
        "SELECT a FROM 'f.parquet' UNION ALL SELECT a, b FROM 'f.parquet'",
    ] {
        match Session::tpch(1).try_run(sql) {
            Ok(_) => {}
            Err(error) => {
                assert_ne!(error.kind(), SqlErrorKind::Internal, "{sql}: {error}");
                assert!(!error.to_string().contains("DataFusion"), "{error}");
            }
        }
    }
    for sql in ["SELECT a, sum(b) FROM 'f.parquet'", "SELECT sum(s) FROM 'f.parquet'", "SELECT 1 FROM f.parquet"] {
        assert!(Session::tpch(1).try_run(sql).is_err(), "{sql}");
    }
}
