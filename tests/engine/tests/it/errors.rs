//! Bad input gives an error that says what and where, and the process lives.

use crate::harness::{assert_nothing_is_left, rows, session};

fn check_error(text: &str, parts: &[&str]) {
    let mut session = session(&[]);
    let error = rows(&mut session, text).expect_err(text).render();
    for part in parts {
        assert!(error.contains(part), "{text}: {part:?} is not in {error:?}");
    }
    assert_eq!(rows(&mut session, "SELECT 1").unwrap(), [["1"]], "the session lives on");
    assert_nothing_is_left(&session);
}

#[test]
fn a_missing_file_names_its_siblings() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("orders.parquet"), b"").unwrap();
    let path = directory.path().join("order.parquet");
    check_error(&format!("SELECT * FROM '{}'", path.display()), &["order.parquet", "orders.parquet"]);
}

#[test]
fn a_truncated_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("broken.parquet");
    std::fs::write(&path, b"PAR1 and nothing else").unwrap();
    check_error(&format!("SELECT * FROM '{}'", path.display()), &["broken.parquet"]);
}

#[test]
fn division_by_zero_fails_the_statement_only() {
    check_error("SELECT 1 / (x - x) FROM (VALUES (1), (2)) AS t(x)", &["zero"]);
}

#[test]
fn a_wrong_column_is_pointed_at() {
    check_error("SELECT quantty FROM (VALUES (1)) AS t(quantity)", &["line 1", "quantity"]);
}

#[test]
fn deep_nesting_is_refused() {
    let text = format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000));
    check_error(&text, &["nest"]);
}

#[test]
fn a_flat_chain_of_ors_is_answered() {
    let terms: Vec<String> = (0..10_000).map(|i| format!("x = {i}")).collect();
    let text = format!("SELECT count(*) FROM (VALUES (1), (9999), (10000)) AS t(x) WHERE {}", terms.join(" OR "));
    let mut session = session(&[]);
    assert_eq!(rows(&mut session, &text).unwrap(), [["2"]]);
    assert_nothing_is_left(&session);
}
