//! `SELECT 1` inside a running session: from the text to the last row, wall time.

use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use flumen_cluster::{Outcome, Polled, Session};
use flumen_config::Origin;
use flumen_micro_benches::wall_criterion;

fn main() {
    let mut criterion = wall_criterion();
    let mut configuration = flumen_cluster::configuration().expect("options are declared well");
    configuration.set("parallelism.default", "2", Origin::Program).expect("a number");
    let mut session = Session::open(configuration).expect("a cluster starts");
    assert_eq!(select(&mut session, "SELECT 1"), [1]);
    assert_eq!(select(&mut session, "SELECT 41 + 1"), [42]);
    let mut group = criterion.benchmark_group("session");
    group.bench_function("SELECT 1, wall", |b| b.iter(|| select(&mut session, "SELECT 1")));
    group.finish();
    criterion.final_summary();
}

/// The integers of a statement's first column.
fn select(session: &mut Session, text: &str) -> Vec<i64> {
    let mut values = Vec::new();
    for statement in session.parse(text).expect("it is SQL") {
        let Outcome::Rows(mut rows) = session.execute(&statement).expect("it can be run") else {
            panic!("a query has rows");
        };
        loop {
            match rows.next_within(Duration::from_secs(10)).expect("it does not fail") {
                Polled::Batch(batch) => {
                    let column = batch.column(0);
                    match column.as_primitive_opt::<Int64Type>() {
                        Some(column) => values.extend_from_slice(column.values()),
                        None => {
                            values.extend(column.as_primitive::<Int32Type>().values().iter().map(|v| i64::from(*v)))
                        }
                    }
                }
                Polled::Waiting => {}
                Polled::End => break,
            }
        }
    }
    values
}
