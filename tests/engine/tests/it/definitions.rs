//! Tables in memory, views, and files written as a whole.

use flumen_cluster::Session;

use crate::harness::{assert_nothing_is_left, rows, session};

const PARALLELISMS: [&str; 3] = ["1", "2", "7"];

fn sessions() -> impl Iterator<Item = Session> {
    PARALLELISMS.iter().map(|p| session(&[("parallelism.default", p), ("execution.batch-size", "7")]))
}

fn refused(session: &mut Session, text: &str) -> String {
    match rows(session, text) {
        Ok(rows) => panic!("{text} was answered: {rows:?}"),
        Err(error) => error.render(),
    }
}

fn one(session: &mut Session, text: &str) -> String {
    let rows = rows(session, text).unwrap_or_else(|error| panic!("{text}: {}", error.render()));
    assert_eq!(rows.len(), 1, "{text}");
    rows[0].join(" ")
}

#[test]
fn a_table_in_memory_grows_by_whole_statements() {
    for mut session in sessions() {
        one(&mut session, "CREATE TABLE t (a BIGINT, b VARCHAR NOT NULL); SELECT count(*) FROM t");
        assert_eq!(
            one(&mut session, "INSERT INTO t VALUES (1, 'x'), (2, 'y'), (NULL, 'z'); SELECT count(*), sum(a) FROM t"),
            "3 3"
        );
        // Reads what was there when it began.
        for rows in [6, 12, 24, 48] {
            let count = one(&mut session, "INSERT INTO t SELECT a + 1, b || '!' FROM t; SELECT count(*) FROM t");
            assert_eq!(count, rows.to_string());
        }
        // A statement that fails adds nothing.
        refused(&mut session, "INSERT INTO t SELECT 1 / (a - a), b FROM t");
        assert_eq!(
            one(&mut session, "SELECT count(*), count(a), min(b), max(b) FROM t WHERE b LIKE 'z%'"),
            "16 0 z z!!!!"
        );
        let error = refused(&mut session, "CREATE TABLE T (a INT)");
        assert!(error.contains("there is a table \"T\" already") && error.contains("OR REPLACE"), "{error}");
        one(&mut session, "CREATE OR REPLACE TABLE t (c INT); SELECT count(c) FROM t");
        rows(&mut session, "DROP TABLE t").unwrap();
        assert!(refused(&mut session, "SELECT * FROM t").contains("there is no table"));
        assert_nothing_is_left(&session);
    }
}

#[test]
fn a_table_is_made_of_a_query() {
    for mut session in sessions() {
        let made = "CREATE TABLE t AS SELECT a AS \"Key\", a * 1.5 AS x, DATE '2024-01-31' AS d FROM (VALUES (1), (2), (3)) v(a)";
        rows(&mut session, made).unwrap();
        let described = rows(&mut session, "DESCRIBE t").unwrap();
        let described: Vec<_> = described.iter().map(|row| format!("{} {}", row[0], row[1])).collect();
        assert_eq!(described, ["Key INTEGER", "x DECIMAL(13, 1)", "d DATE"]);
        assert_eq!(one(&mut session, "SELECT sum(key), sum(x), max(d) FROM t"), "6 9.0 2024-01-31");
        // One that fails leaves no table, and one that replaces nothing leaves the old one.
        refused(&mut session, "CREATE TABLE u AS SELECT 1 / (key - key) AS q FROM t");
        assert!(refused(&mut session, "SELECT * FROM u").contains("there is no table"));
        refused(&mut session, "CREATE OR REPLACE TABLE t AS SELECT 1 / (key - key) AS q FROM t");
        assert_eq!(
            one(&mut session, "CREATE OR REPLACE TABLE t AS SELECT key FROM t WHERE key > 1; SELECT count(*) FROM t"),
            "2"
        );
        assert!(refused(&mut session, "CREATE TABLE n AS SELECT NULL AS x").contains("has no type"));
        rows(&mut session, "DROP TABLE t; DROP TABLE IF EXISTS n").unwrap();
        assert_nothing_is_left(&session);
    }
}

#[test]
fn views_are_queries_under_a_name() {
    for mut session in sessions() {
        rows(
            &mut session,
            "CREATE TABLE t AS SELECT a, a % 3 AS g FROM (VALUES (1), (2), (3), (4), (5)) v(a);
             CREATE VIEW Sums AS SELECT g AS \"Group\", sum(a) AS Total FROM t GROUP BY g;
             CREATE VIEW big (k) AS SELECT \"group\" FROM sums WHERE total > 4",
        )
        .unwrap();
        assert_eq!(rows(&mut session, "SELECT * FROM sums ORDER BY 1").unwrap(), [["0", "3"], ["1", "5"], ["2", "7"]]);
        assert_eq!(
            rows(&mut session, "SELECT k FROM big AS b JOIN t ON t.a = b.k ORDER BY k").unwrap(),
            [["1"], ["2"]]
        );
        // Two readers of one view, under two names.
        assert_eq!(one(&mut session, "SELECT count(*) FROM sums x, sums y WHERE x.total < y.total"), "3");
        let described = rows(&mut session, "DESCRIBE sums").unwrap();
        assert_eq!((described[0][0].as_str(), described[1][0].as_str()), ("Group", "Total"));
        assert_eq!(rows(&mut session, "SHOW VIEWS").unwrap(), [["big"], ["Sums"]]);
        // It sees the tables of the moment.
        assert_eq!(one(&mut session, "INSERT INTO t VALUES (100, 0); SELECT max(total) FROM sums"), "103");
        for (text, part) in [
            ("INSERT INTO sums VALUES (1, 2)", "is a view and cannot be written"),
            ("CREATE TABLE sums (a INT)", "there is a view \"sums\" already"),
            ("CREATE VIEW t AS SELECT 1", "there is a table \"t\" already"),
            ("CREATE OR REPLACE VIEW t AS SELECT 1", "there is a table \"t\" already"),
            ("DROP TABLE sums", "write DROP VIEW"),
            ("DROP VIEW smus", "did you mean \"Sums\"?"),
            ("CREATE VIEW w (a, b) AS SELECT 1", "2 columns are named, the query gives 1"),
            ("CREATE VIEW w AS SELECT nope FROM t", "there is no column \"nope\""),
            ("CREATE OR REPLACE VIEW sums AS SELECT * FROM big", "would read itself"),
        ] {
            let error = refused(&mut session, text);
            assert!(error.contains(part), "{text}: {error}");
        }
        // A table whose columns changed is noticed when the view is read.
        rows(&mut session, "CREATE VIEW all_of_t AS SELECT * FROM t; CREATE OR REPLACE TABLE t AS SELECT 1 AS a")
            .unwrap();
        let error = refused(&mut session, "SELECT * FROM all_of_t");
        assert!(error.contains("was made with 2 columns"), "{error}");
        rows(&mut session, "DROP VIEW big; DROP VIEW sums; DROP VIEW all_of_t; DROP TABLE t").unwrap();
        assert_nothing_is_left(&session);
    }
}

#[test]
fn a_summary_has_a_row_for_each_column() {
    for mut session in sessions() {
        rows(
            &mut session,
            "CREATE TABLE t AS SELECT a AS \"Key\", CASE WHEN a % 2 = 0 THEN 'v' || a END AS s, a * 1.5 AS d,
               CASE WHEN a = 1 THEN DATE '2024-01-02' ELSE DATE '2024-01-05' END AS day, a > 2 AS b FROM (VALUES (1), (2), (3), (4)) v(a)",
        )
        .unwrap();
        let expected = [
            ["Key", "INTEGER", "1", "4", "2.5", "1.2909944487358056", "4", "0.0"],
            ["s", "VARCHAR", "v2", "v4", "", "", "2", "50.0"],
            ["d", "DECIMAL(13, 1)", "1.5", "6.0", "3.75", "1.9364916731037085", "4", "0.0"],
            ["b", "BOOLEAN", "false", "true", "", "", "4", "0.0"],
        ];
        assert_eq!(rows(&mut session, "SUMMARIZE SELECT key AS \"Key\", s, d, b FROM t").unwrap(), expected);
        let all = rows(&mut session, "SUMMARIZE t").unwrap();
        assert_eq!(all.len(), 5);
        assert_eq!(all[3][2..4], ["2024-01-02", "2024-01-05"]);
        let none = rows(&mut session, "SUMMARIZE SELECT * FROM t WHERE key > 9").unwrap();
        assert_eq!(none[0], ["Key", "INTEGER", "", "", "", "", "0", ""]);
        assert!(refused(&mut session, "SUMMARIZE nothing").contains("there is no table"));
        rows(&mut session, "DROP TABLE t").unwrap();
    }
}

#[test]
fn copy_writes_one_file_or_none() {
    for mut session in sessions() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let names = || {
            let mut names: Vec<_> =
                directory.path().read_dir().unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            names.sort_unstable();
            names
        };
        rows(&mut session, "CREATE TABLE t AS SELECT a, 'row ' || a AS b FROM (VALUES (1), (2), (3)) v(a)").unwrap();
        for name in ["t.parquet", "t.csv", "t.json"] {
            let copied = format!("COPY t TO '{0}'; SELECT count(*), sum(a), max(b) FROM '{0}'", path(name));
            assert_eq!(one(&mut session, &copied), "3 6 row 3", "{name}");
            // The second takes the place of the first, also without rows where the format can say so.
            let again = format!("COPY (SELECT * FROM t WHERE a > 1) TO '{0}'; SELECT count(*) FROM '{0}'", path(name));
            assert_eq!(one(&mut session, &again), "2", "{name}");
            // One that fails leaves the old file, and nothing beside it.
            refused(&mut session, &format!("COPY (SELECT 1 / (a - a) AS x FROM t) TO '{}'", path(name)));
            assert_eq!(one(&mut session, &format!("SELECT count(*) FROM '{}'", path(name))), "2", "{name}");
        }
        let none = format!(
            "COPY (SELECT * FROM t WHERE a > 9) TO '{0}'; SELECT count(*), count(b) FROM '{0}'",
            path("t.parquet")
        );
        assert_eq!(one(&mut session, &none), "0 0");
        let text = format!("COPY t TO '{}' (FORMAT csv, HEADER false, DELIMITER '|')", path("bars.txt"));
        rows(&mut session, &text).unwrap();
        assert_eq!(std::fs::read_to_string(path("bars.txt")).unwrap(), "1|row 1\n2|row 2\n3|row 3\n");
        // What a failed job leaves is removed by a thread that nobody waits for.
        for _ in 0..1000 {
            if names().len() == 4 {
                break;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(1));
        }
        assert_eq!(names(), ["bars.txt", "t.csv", "t.json", "t.parquet"]);
        assert!(refused(&mut session, &format!("COPY t TO '{}'", path("x.what"))).contains("format"));
        let error = refused(&mut session, &format!("COPY t TO '{}' (FROMAT csv)", path("x.csv")));
        assert!(error.contains("did you mean \"format\"?"), "{error}");
        // INSERT into one file has one writer, whatever the parallelism.
        let inserted = format!(
            "CREATE TABLE f (a BIGINT, b VARCHAR) WITH ('connector' = 'filesystem', 'path' = '{0}');
             INSERT INTO f SELECT * FROM t; INSERT INTO f SELECT * FROM t; SELECT count(*) FROM f",
            path("f.csv")
        );
        assert_eq!(one(&mut session, &inserted), "6");
        rows(&mut session, "DROP TABLE t").unwrap();
        assert_nothing_is_left(&session);
    }
}
