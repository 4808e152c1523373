//! Texts to statements, and texts that are refused.

use datafusion_sql::sqlparser::ast::{BinaryOperator, Expr, SelectItem, SetExpr};

use super::{DescribeTarget, Statement, StatementKind, parse};
use crate::error::SqlErrorKind;

fn one(sql: &str) -> Statement {
    let mut all = parse(sql).unwrap_or_else(|e| panic!("{}", e.render()));
    assert_eq!(all.len(), 1, "{sql}");
    all.remove(0)
}

#[track_caller]
fn refused(sql: &str, kind: SqlErrorKind, message: &str, place: (u64, u64)) {
    let error = parse(sql).expect_err(sql);
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(message), "{error}");
    let position = error.position().expect("a position");
    assert_eq!((position.line, position.column), place, "{}", error.render());
}

#[test]
fn statements_are_told_apart() {
    let name = |sql: &str| match one(sql).kind {
        StatementKind::Query(_) => "query".to_owned(),
        StatementKind::Insert { table, columns, .. } => format!("insert {table} {columns:?}"),
        StatementKind::CreateTable(t) => format!("create {} {}", t.name.value, t.columns.len()),
        StatementKind::CreateTableAs { table, .. } => format!("create {} as", table.name.value),
        StatementKind::CreateView(v) => format!("view {} {:?} as {}", v.name.value, v.columns, v.text),
        StatementKind::Drop { what, name, if_exists } => format!("drop {what:?} {name} {if_exists}"),
        StatementKind::Copy { target, options, .. } => format!("copy to {target} {options:?}"),
        StatementKind::ShowViews => "views".to_owned(),
        StatementKind::Summarize(query) => format!("summarize {query}"),
        StatementKind::Set { key, value } => format!("set {key}={value}"),
        StatementKind::Reset { key } => format!("reset {key:?}"),
        StatementKind::ShowSettings => "settings".to_owned(),
        StatementKind::Explain { analyze, .. } => format!("explain {analyze}"),
        StatementKind::ShowTables => "tables".to_owned(),
        StatementKind::Describe(DescribeTarget::Table(name)) => format!("describe {name}"),
        StatementKind::Describe(DescribeTarget::Query(_)) => "describe query".to_owned(),
    };
    for (sql, expected) in [
        ("SELECT 1", "query"),
        ("FROM 'x.parquet'", "query"),
        ("WITH a AS (SELECT 1) SELECT * FROM a", "query"),
        ("VALUES (1), (2)", "query"),
        ("(SELECT 1)", "query"),
        ("INSERT INTO t SELECT 1", "insert t []"),
        ("INSERT INTO t (a, b) VALUES (1, 2)", "insert t [\"a\", \"b\"]"),
        ("CREATE TEMPORARY TABLE IF NOT EXISTS t (a INT, b STRING NOT NULL) WITH ('connector'='x')", "create t 2"),
        ("CREATE TABLE t WITH ('connector'='x')", "create t 0"),
        ("CREATE TABLE t (a INT)", "create t 1"),
        ("CREATE OR REPLACE TABLE t AS SELECT 1 AS a", "create t as"),
        ("CREATE TABLE t WITH ('connector'='x') AS (SELECT 1 AS a)", "create t as"),
        ("DROP TABLE IF EXISTS t", "drop Table t true"),
        ("DROP VIEW v", "drop View v false"),
        ("CREATE VIEW v AS SELECT 1", "view v [] as SELECT 1"),
        ("CREATE VIEW v AS\n  SELECT 'é;' -- c\n FROM t ; ", "view v [] as SELECT 'é;' -- c\n FROM t"),
        ("COPY t TO 'x.csv'", "copy to x.csv {}"),
        ("COPY 'in.csv' TO 'x.parquet'", "copy to x.parquet {}"),
        (
            "COPY (SELECT 1) TO 'x' WITH (FORMAT csv, HEADER, DELIMITER '|')",
            "copy to x {\"delimiter\": \"|\", \"format\": \"csv\", \"header\": \"true\"}",
        ),
        ("SHOW VIEWS", "views"),
        ("SUMMARIZE t", "summarize SELECT * FROM t"),
        ("summarize FROM t", "summarize SELECT * FROM t"),
        ("SET 'execution.state-recovery.path' = '/a b'", "set execution.state-recovery.path=/a b"),
        ("SET parallelism.default = 4", "set parallelism.default=4"),
        ("SET", "settings"),
        ("RESET", "reset None"),
        ("RESET 'a.b'", "reset Some(\"a.b\")"),
        ("EXPLAIN SELECT 1", "explain false"),
        ("EXPLAIN PLAN FOR SELECT 1", "explain false"),
        ("EXPLAIN ANALYZE SELECT 1", "explain true"),
        ("SHOW TABLES", "tables"),
        ("DESCRIBE t", "describe t"),
        ("DESC 'f.parquet'", "describe 'f.parquet'"),
        ("DESCRIBE SELECT 1", "describe query"),
    ] {
        assert_eq!(name(sql), expected, "{sql}");
    }
}

#[test]
fn a_text_is_cut_at_semicolons_outside_of_strings_and_comments() {
    let all = parse("SELECT ';' -- ; here\n; /* ; */ SELECT 2;\n\n;  SHOW TABLES ;").unwrap();
    let places: Vec<_> = all.iter().map(|s| (s.position().line, s.position().column)).collect();
    assert_eq!(places, [(1, 1), (2, 11), (4, 4)]);
    assert!(parse("  -- nothing\n").unwrap().is_empty());
}

#[test]
fn a_table_definition_is_taken_apart() {
    let StatementKind::CreateTable(table) =
        one("CREATE TABLE events (k BIGINT, \"V\" DECIMAL(15, 2) NOT NULL COMMENT 'x', ts TIMESTAMP(3), \
         WATERMARK FOR ts AS ts - INTERVAL '1' SECOND, PRIMARY KEY (k) NOT ENFORCED) \
         WITH ('connector' = 'datagen', 'rows-per-second' = '10')")
        .kind
    else {
        panic!("not a table");
    };
    assert_eq!(table.columns.iter().map(|c| c.nullable).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(table.watermark.unwrap().column.value, "ts");
    assert_eq!(table.primary_key, ["k"]);
    assert_eq!(table.options["rows-per-second"], "10");
}

#[test]
fn mistakes_have_a_place() {
    refused("SELECT 'abc", SqlErrorKind::Syntax, "unterminated", (1, 8));
    refused("SELECT 1 +", SqlErrorKind::Syntax, "expected", (1, 11));
    refused("SELECT a\nFROM t WHERE", SqlErrorKind::Syntax, "expected", (2, 13));
    refused("SELCT 1", SqlErrorKind::Syntax, "expected a statement", (1, 1));
    refused("SELECT 1; SELECT 1 1", SqlErrorKind::Syntax, "unexpected 1", (1, 20));
    refused("CREATE INDEX i ON t (a)", SqlErrorKind::Unsupported, "not supported yet: CREATE INDEX", (1, 1));
    refused("COPY t FROM 'x.csv'", SqlErrorKind::Unsupported, "not supported yet: COPY FROM", (1, 8));
    refused("CREATE TABLE t", SqlErrorKind::Invalid, "the table has no columns", (1, 1));
    refused("CREATE TABLE t (a INT) AS SELECT 1", SqlErrorKind::Unsupported, "with columns and a query", (1, 1));
    refused("CREATE TABLE t (a INT) WITH ('path'='x')", SqlErrorKind::Invalid, "no connector", (1, 30));
    refused("DELETE FROM t", SqlErrorKind::Unsupported, "not supported yet: DELETE", (1, 1));
    refused(
        "CREATE TABLE t (a INT, PRIMARY KEY (a)) WITH ('connector'='x')",
        SqlErrorKind::Invalid,
        "NOT ENFORCED",
        (1, 24),
    );
    let hint = parse("SELCT 1").unwrap_err();
    assert_eq!(hint.hint(), Some("did you mean \"SELECT\"?"));
}

#[test]
fn deep_statements_name_the_limit_and_do_not_overflow() {
    let deep = 10_000;
    let nested = [
        format!("SELECT {}1{}", "(".repeat(deep), ")".repeat(deep)),
        format!("SELECT {} 1", "NOT ".repeat(deep)),
        format!("SELECT {} 1", "- ".repeat(deep)),
        format!("SELECT {}1{}", "abs(".repeat(deep), ")".repeat(deep)),
        format!("SELECT {} 1 {}", "CASE WHEN true THEN ".repeat(deep), "END ".repeat(deep)),
        format!("SELECT * FROM {}t{}", "(SELECT * FROM ".repeat(deep), ")".repeat(deep)),
        format!("SELECT * FROM {}t{}", "(".repeat(deep), ")".repeat(deep)),
        format!("SELECT {}1{}", "[".repeat(deep), "]".repeat(deep)),
    ];
    for sql in &nested {
        let error = parse(sql).expect_err("too deep");
        assert_eq!(error.kind(), SqlErrorKind::Limit, "{error}");
        assert!(error.to_string().contains("256"), "{error}");
        assert!(error.position().is_some());
        assert!(error.render().len() < 1000);
    }
    let divisions = format!("SELECT 1{}", " / 1".repeat(deep));
    assert_eq!(parse(&divisions).unwrap_err().kind(), SqlErrorKind::Limit);
    let unions = format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(deep));
    assert_eq!(parse(&unions).unwrap_err().kind(), SqlErrorKind::Limit);
    let relations = format!("SELECT 1 FROM t{}", ", t".repeat(deep));
    assert_eq!(parse(&relations).unwrap_err().kind(), SqlErrorKind::Limit);
}

#[test]
fn as_deep_as_allowed_is_parsed() {
    for sql in [
        format!("SELECT {}1{}", "(".repeat(250), ")".repeat(250)),
        format!("SELECT {}1{}", "abs(".repeat(250), ")".repeat(250)),
        format!("SELECT {} 1", "NOT ".repeat(250)),
    ] {
        assert_eq!(parse(&sql).unwrap_or_else(|e| panic!("{}", e.render())).len(), 1);
    }
}

fn depth(expr: &Expr) -> usize {
    match expr {
        Expr::BinaryOp { left, right, .. } => 1 + depth(left).max(depth(right)),
        Expr::Nested(inner) => depth(inner),
        _ => 0,
    }
}

/// The value of an expression of small integers.
fn value(expr: &Expr) -> i64 {
    match expr {
        Expr::BinaryOp { left, op, right } => match op {
            BinaryOperator::Plus => value(left) + value(right),
            BinaryOperator::Minus => value(left) - value(right),
            other => panic!("{other}"),
        },
        Expr::Nested(inner) => value(inner),
        Expr::Value(v) => v.to_string().parse().unwrap(),
        other => panic!("{other}"),
    }
}

fn first_item(sql: &str) -> Expr {
    let StatementKind::Query(query) = one(sql).kind else { panic!("not a query") };
    let SetExpr::Select(mut select) = *query.body else { panic!("not a select") };
    match select.projection.remove(0) {
        SelectItem::UnnamedExpr(e) | SelectItem::ExprWithAlias { expr: e, .. } => e,
        other => panic!("{other}"),
    }
}

#[test]
fn depth_is_that_of_one_statement_and_of_types_too() {
    let nested = |open: &str, depth: usize| format!("{}INT{}", open.repeat(depth), ">".repeat(depth));
    for open in ["ARRAY<", "ARRAY <", "array< "] {
        let deep = format!("SELECT CAST(NULL AS {})", nested(open, 10_000));
        assert_eq!(parse(&deep).unwrap_err().kind(), SqlErrorKind::Limit, "{open}");
        assert_eq!(parse(&format!("SELECT CAST(NULL AS {})", nested(open, 100))).unwrap().len(), 1, "{open}");
    }
    let comparisons = vec!["a > b AND a < b"; 500].join(" OR ");
    assert_eq!(parse(&format!("SELECT {comparisons}")).unwrap().len(), 1);
    let unions = vec!["SELECT 1"; 200].join(" UNION ALL ");
    assert_eq!(parse(&format!("{unions}; {unions};")).unwrap().len(), 2);
}

#[test]
fn long_chains_become_shallow_and_mean_the_same() {
    for op in [" OR ", " AND ", " + ", " * ", " || "] {
        let sql = format!("SELECT {}", vec!["a"; 10_000].join(op));
        let expr = first_item(&sql);
        assert!(depth(&expr) <= 15, "{op}: {}", depth(&expr));
    }
    // Signs survive the regrouping: the sum over i of (-1)^i * i, and one that starts with subtractions.
    let mixed: String = (1..=1000).map(|i| format!(" {} {i}", if i % 2 == 0 { "+" } else { "-" })).collect();
    assert_eq!(value(&first_item(&format!("SELECT 7{mixed}"))), 7 + 500);
    let minus: String = (1..=1000).map(|i| format!(" - {i}")).collect();
    assert_eq!(value(&first_item(&format!("SELECT 0{minus}"))), -500_500);
    assert!(depth(&first_item(&format!("SELECT 0{minus}"))) <= 11);
}

#[test]
fn short_sums_are_grouped_from_the_left() {
    let expr = first_item("SELECT 1 - 2 - 3 + 4");
    let Expr::BinaryOp { op: BinaryOperator::Plus, right, .. } = &expr else { panic!("{expr}") };
    assert_eq!(right.to_string(), "4");
    assert_eq!(value(&expr), 0);
}

#[test]
fn repeated_names_are_numbered() {
    let StatementKind::Query(query) = one("SELECT a, a, b AS a, sum(x), sum(x)").kind else { panic!("not a query") };
    assert_eq!(
        query.body.to_string(),
        "SELECT a, a AS \"a_1\", b AS \"a_2\", sum(x) AS \"sum(x)\", sum(x) AS \"sum(x)_1\""
    );
}

#[test]
fn distinct_from_ends_where_a_comparison_does() {
    for (sql, same) in [
        ("a IS DISTINCT FROM b AND c", "(a IS DISTINCT FROM b) AND c"),
        ("a IS NOT DISTINCT FROM b OR c", "(a IS NOT DISTINCT FROM b) OR c"),
        ("a IS DISTINCT FROM b + 1", "a IS DISTINCT FROM (b + 1)"),
        ("NOT a IS NOT DISTINCT FROM b", "NOT (a IS NOT DISTINCT FROM b)"),
    ] {
        let expr = |text: &str| {
            let StatementKind::Query(query) = one(&format!("SELECT {text} AS x")).kind else { panic!("a query") };
            let SetExpr::Select(mut select) = *query.body else { panic!("a select") };
            let SelectItem::ExprWithAlias { mut expr, .. } = select.projection.remove(0) else { panic!("an alias") };
            // Parentheses are nodes of their own.
            let _ = datafusion_sql::sqlparser::ast::visit_expressions_mut(&mut expr, |e: &mut Expr| {
                if let Expr::Nested(inner) = e {
                    *e = (**inner).clone();
                }
                std::ops::ControlFlow::<()>::Continue(())
            });
            expr
        };
        assert_eq!(format!("{:?}", plain(&expr(sql))), format!("{:?}", plain(&expr(same))), "{sql}");
    }
}

/// The expression without the places of its words.
fn plain(expr: &Expr) -> String {
    fn walk(expr: &Expr) -> String {
        match expr {
            Expr::BinaryOp { left, op, right } => format!("[{} {op} {}]", walk(left), walk(right)),
            Expr::IsDistinctFrom(left, right) => format!("[{} <> {}]", walk(left), walk(right)),
            Expr::IsNotDistinctFrom(left, right) => format!("[{} == {}]", walk(left), walk(right)),
            Expr::UnaryOp { op, expr } => format!("[{op} {}]", walk(expr)),
            other => other.to_string(),
        }
    }
    walk(expr)
}

#[test]
fn fetch_is_a_limit() {
    let limit = |sql: &str| match one(sql).kind {
        StatementKind::Query(query) => format!("{:?}", query.limit_clause.map(|l| l.to_string())),
        other => panic!("{other:?}"),
    };
    assert_eq!(limit("SELECT a FROM t FETCH FIRST 3 ROWS ONLY"), limit("SELECT a FROM t LIMIT 3"));
    assert_eq!(limit("SELECT a FROM t FETCH NEXT ROW ONLY"), limit("SELECT a FROM t LIMIT 1"));
    let offset = limit("SELECT a FROM t OFFSET 1 ROWS FETCH NEXT 2 ROWS ONLY");
    assert!(offset.contains("LIMIT 2") && offset.contains("OFFSET 1"), "{offset}");
    let ties = "SELECT a FROM t ORDER BY a FETCH FIRST 3 ROWS WITH TIES";
    refused(ties, SqlErrorKind::Unsupported, "WITH TIES", (1, 28));
}

#[test]
fn what_the_binder_would_pass_over_is_refused() {
    for (sql, what, column) in [
        ("SELECT a FROM t TABLESAMPLE (10 PERCENT)", "TABLESAMPLE", 17),
        ("SELECT a FROM (SELECT 1 AS a) t TABLESAMPLE (1 ROWS)", "TABLESAMPLE", 33),
        ("SELECT a FROM t CONNECT BY a = 1", "CONNECT BY", 17),
    ] {
        refused(sql, SqlErrorKind::Unsupported, what, (1, column));
    }
}

#[test]
fn slips_of_keywords_are_found() {
    for (sql, column, meant) in [
        ("SELECT a FORM t", 10, "FROM"),
        ("SELECT a FROM t WEHRE a = 1", 17, "WHERE"),
        ("SELECT a FROM t ORDER BU a", 23, "BY"),
        ("SELECT a FROM t LEFT JION u ON true", 22, "JOIN"),
        ("SELECT a FROM t WHERE a BETWEN 1 AND 2", 25, "BETWEEN"),
        ("CREATE TABEL t (a INT)", 8, "TABLE"),
    ] {
        let error = parse(sql).expect_err(sql);
        assert_eq!(error.position().map(|p| p.column), Some(column), "{}", error.render());
        assert_eq!(error.hint(), Some(format!("did you mean {meant:?}?").as_str()), "{}", error.render());
    }
    // A word that is like a keyword is no slip if that would be no better.
    let error = parse("SELECT form bow shift FROM t").unwrap_err();
    assert_eq!(error.hint(), None, "{}", error.render());
    refused("SELECT a FROM WHERE a = 1", SqlErrorKind::Syntax, "expected a table, found WHERE", (1, 15));
    refused("SELECT a FROM t WHERE a = ORDER BY a", SqlErrorKind::Syntax, "an expression", (1, 27));
    refused("SELECT CASE WHEN a THEN 1 FROM t", SqlErrorKind::Syntax, "END", (1, 27));
    refused("SELECT a /* b\n/* c */\nFROM t", SqlErrorKind::Syntax, "comment", (1, 10));
}

#[test]
fn a_long_chain_is_called_as_it_was_written() {
    let sum = (0..200).map(|i| format!("a{i}")).collect::<Vec<_>>().join(" + ");
    let name = |sql: &str| match one(sql).kind {
        StatementKind::Query(query) => match *query.body {
            SetExpr::Select(select) => match &select.projection[0] {
                SelectItem::ExprWithAlias { alias, .. } => alias.value.clone(),
                other => panic!("{other}"),
            },
            other => panic!("{other}"),
        },
        other => panic!("{other:?}"),
    };
    assert_eq!(name(&format!("SELECT {sum} FROM t")), format!("{}...", &sum[..96]));
    assert_eq!(name("SELECT a + b FROM t"), "a + b");
    // So is a frame that leaves rows out.
    for call in [
        "sum(a) OVER (PARTITION BY b ORDER BY c ROWS BETWEEN 1 PRECEDING AND CURRENT ROW EXCLUDE TIES)",
        "first_value(a) OVER (ORDER BY (c) ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE GROUP) + 1",
    ] {
        assert_eq!(name(&format!("SELECT {call} FROM t")), call);
    }
}

#[test]
fn statements_are_parsed_each_for_itself() {
    let all = super::parse_each("SELECT 1; SELECT FROM WHERE; ; SELECT 2");
    assert_eq!(all.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(super::parse_each("SELECT 'a").len(), 1, "what cannot be cut into tokens is one mistake");
}

#[test]
fn rows_are_compared_with_rows_of_their_length() {
    for (sql, message) in [
        ("SELECT (1, 2) = (1, 2, 3)", "a row of 2 values is compared with one of 3"),
        ("SELECT 1 FROM t WHERE (a, b) IN ((1, 2), 3)", "a row of 2 values is compared with 3"),
        ("SELECT (1, 2) + (3, 4)", "the operator + on rows"),
    ] {
        let error = parse(sql).expect_err(sql);
        assert!(error.to_string().contains(message), "{error}");
    }
}
