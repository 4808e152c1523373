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
fn mistakes_of_meaning_have_a_place_and_a_way_out() {
    let cast = Some("convert one side, as in CAST(x AS DOUBLE)");
    for (sql, message, column, hint) in [
        ("SELECT s + 1 FROM 'f.parquet'", "there is no operator + for VARCHAR and BIGINT", 10, cast),
        ("SELECT sum(s) FROM 'f.parquet'", "sum does not take VARCHAR; it takes numbers", 8, None),
        ("SELECT abs('x')", "abs expects Numeric but received String", 8, None),
        ("SELECT upper('a', 'b')", "upper expects 1 argument but received 2", 8, None),
        (
            "SELECT substr('a', 1, 2, 3)",
            "substr expects 2 arguments but received 4, or expects 3 arguments but received 4",
            8,
            None,
        ),
        (
            "SELECT a FROM 'f.parquet' WHERE s",
            "a condition is needed, and f.s is VARCHAR",
            33,
            Some("compare it with something, or write IS NOT NULL"),
        ),
        (
            "SELECT a FROM 'f.parquet' WHERE a = 'abc'",
            "cannot cast 'abc' to BIGINT",
            37,
            Some("TRY_CAST gives NULL instead"),
        ),
        ("SELECT DATE '2024-13-01'", "cannot cast '2024-13-01' to DATE", 13, Some("write dates as DATE '2024-01-31'")),
        (
            "SELECT TIMESTAMP '2024-01-01 25:00:00'",
            "cannot cast '2024-01-01 25:00:00' to TIMESTAMP: error parsing time",
            18,
            Some("write timestamps as TIMESTAMP '2024-01-31 12:00:00'"),
        ),
        (
            "SELECT CAST(99999 AS SMALLINT)",
            "cannot cast 99999 to SMALLINT: it is out of range",
            13,
            Some("choose a wider type; TRY_CAST gives NULL instead"),
        ),
        (
            "SELECT d, sum(a) FROM 'f.parquet'",
            "column \"d\" must be in GROUP BY or inside an aggregate",
            8,
            Some("add it to GROUP BY, write GROUP BY ALL, or aggregate it, as in min(d)"),
        ),
        (
            "SELECT a FROM 'f.parquet' WHERE sum(a) > 1",
            "aggregate functions are not allowed in the WHERE clause",
            33,
            Some("HAVING is the condition on groups"),
        ),
        ("SELECT a FROM 'f.parquet' ORDER BY 5", "ORDER BY 5: the query has 1 columns", 27, None),
        (
            "SELECT a FROM 'f.parquet' UNION SELECT a, c FROM 'f.parquet'",
            "UNION queries have different number of columns",
            27,
            Some("name the same number of columns on both sides"),
        ),
        ("SELECT CAST(a AS INTT) FROM 'f.parquet'", "there is no type INTT", 18, Some("did you mean \"INT\"?")),
        (
            "CREATE TABLE t (a BIGIT) WITH ('connector' = 'filesystem', 'path' = 'f.parquet')",
            "there is no type BIGIT",
            19,
            Some("did you mean \"BIGINT\"?"),
        ),
        (
            "SELECT nothing.a FROM 'f.parquet'",
            "there is no table nothing in this FROM",
            8,
            Some("the tables here are f"),
        ),
        (
            "SELECT row_number() FROM 'f.parquet'",
            "row_number is a window function and needs OVER",
            8,
            Some("write row_number(...) OVER (PARTITION BY ... ORDER BY ...)"),
        ),
        (
            "SELECT a FROM 'f.parquet' WHERE rank() OVER (ORDER BY a) = 1",
            "a window function cannot be used here",
            33,
            Some("compute it in a subquery; QUALIFY is the condition on window functions"),
        ),
        (
            "SELECT sum(b) OVER w FROM 'f.parquet' WINDOW v AS (ORDER BY a)",
            "there is no window \"w\"",
            20,
            Some("did you mean \"v\"?"),
        ),
        (
            "SELECT sum(b) OVER (v ORDER BY s) FROM 'f.parquet' WINDOW v AS (ORDER BY a)",
            "a window built on \"v\" cannot have another order",
            21,
            Some("leave ORDER BY out, or write the window out in full"),
        ),
        (
            "SELECT sum(b) OVER (ORDER BY a ROWS BETWEEN CURRENT ROW AND 1 PRECEDING) FROM 'f.parquet'",
            "a frame cannot go from CURRENT ROW to a row before",
            37,
            None,
        ),
        (
            "SELECT sum(DISTINCT b) OVER () FROM 'f.parquet'",
            "not supported yet: sum(DISTINCT ...) as a window function",
            12,
            None,
        ),
        (
            "SELECT count(*) OVER (ORDER BY d RANGE 1 PRECEDING) FROM 'f.parquet'",
            "the offset 1 of RANGE has no unit of time",
            34,
            Some("write an interval, as in INTERVAL '1' DAY"),
        ),
        (
            "SELECT a FROM 'f.parquet' WHERE DATE '2024-01-31' = a",
            "DATE and BIGINT cannot be compared",
            51,
            Some("convert one side, as in CAST(x AS DOUBLE)"),
        ),
        ("SELECT a FROM 'f.parquet' TABLESAMPLE (10 PERCENT)", "not supported yet: TABLESAMPLE", 27, None),
        ("SELECT array_agg(a) OVER () FROM 'f.parquet'", "not supported yet: array_agg as a window function", 8, None),
        (
            "SELECT array_agg(DISTINCT a ORDER BY b) FROM 'f.parquet'",
            "array_agg(DISTINCT ...) can only be ordered by its argument",
            29,
            None,
        ),
        ("SELECT corr(a, s) FROM 'f.parquet'", "corr, covar_... and regr_... take numbers, not VARCHAR", 8, None),
        (
            "SELECT GROUPING(b) FROM 'f.parquet' GROUP BY ROLLUP (a)",
            "GROUPING takes what GROUP BY groups by, not f.b",
            8,
            None,
        ),
        ("SELECT :name", "not supported yet: the parameter :name", 9, None),
    ] {
        check(sql, message, (1, column), hint);
    }
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
        ("SELECT count(*) OVER (ORDER BY s RANGE 1 PRECEDING) FROM 'f.parquet'", "RANGE with an offset over VARCHAR"),
        ("SELECT x.a FROM 'f.parquet' x FULL JOIN 'f.parquet' y USING (a)", "x.a beside a FULL JOIN with USING"),
        ("SELECT y.a FROM 'f.parquet' x FULL JOIN 'f.parquet' y USING (a)", "y.a beside a FULL JOIN with USING"),
        ("SELECT x.* FROM 'f.parquet' x RIGHT JOIN 'f.parquet' y USING (a)", "x.* beside a RIGHT JOIN with USING"),
        ("SELECT b FROM 'f.parquet' x NATURAL RIGHT JOIN 'f.parquet' y WHERE x.b > 1", "x.b beside a RIGHT JOIN"),
        ("SELECT a FROM 'f.parquet' x RIGHT JOIN 'f.parquet' y USING (a) ORDER BY x.a", "x.a beside a RIGHT JOIN"),
        ("SELECT count(a, b) FROM 'f.parquet'", "count of several columns"),
        ("SELECT median(DISTINCT b) FROM 'f.parquet'", "median(DISTINCT ...)"),
        ("SELECT a, median(b) FROM 'f.parquet' GROUP BY ROLLUP (a)", "median with GROUPING SETS, ROLLUP or CUBE"),
        ("SELECT median(b) OVER () FROM 'f.parquet'", "median as a window function"),
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

#[test]
fn places_are_those_of_what_is_meant() {
    // Not the same name in SUM.
    check(
        "SELECT sum(a) FROM TABLE(TUMBLE(TABLE 'f.parquet', DESCRIPTOR(a), INTERVAL '1' SECOND)) GROUP BY window_end",
        "DESCRIPTOR names a, which is Int64 and not a TIMESTAMP",
        (1, 63),
        None,
    );
    let nope = "there is no column \"nope\"";
    check("SELECT * REPLACE (1 AS nope) FROM (SELECT 1 AS nop) t", nope, (1, 24), Some("did you mean \"nop\"?"));
    check("SELECT * EXCLUDE (nope) FROM (SELECT 1 AS nop) t", nope, (1, 19), Some("did you mean \"nop\"?"));
}
