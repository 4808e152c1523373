//! `taskmanager.memory.managed.consumer-weights` divides the memory of a process between queries and the state of streams.

use crate::harness::{assert_nothing_is_left, rows, session};

const WEIGHTS: &str = "taskmanager.memory.managed.consumer-weights";
const EVENTS: &str = "CREATE TABLE events (k BIGINT, v BIGINT, ts TIMESTAMP(3), \
    WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH ('connector' = 'datagen', 'number-of-rows' = '1000', \
    'fields.k.kind' = 'modulo', 'fields.k.modulo' = '10', 'fields.v.kind' = 'sequence', \
    'fields.ts.kind' = 'sequence', 'fields.ts.step-ms' = '1')";
const QUERY: &str = "SELECT count(*) FROM (SELECT k, sum(v) FROM events GROUP BY k)";
const WINDOWS: &str = "SELECT count(*) FROM (SELECT k, window_start, sum(v) FROM \
    TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY k, window_start, window_end)";

/// The kinds that are there are those of the operators: a query's groups are an algorithm's, windows are state.
#[test]
fn a_kind_without_weight_may_not_run() {
    for (weights, works, refused, kind) in [
        ("OPERATOR:1,STATE_BACKEND:0", QUERY, WINDOWS, "STATE_BACKEND"),
        // Holds nothing, so it is of no kind.
        ("STATE_BACKEND:1", "SELECT v FROM events WHERE v = 10", QUERY, "OPERATOR"),
    ] {
        let mut session = session(&[(WEIGHTS, weights)]);
        rows(&mut session, EVENTS).unwrap();
        assert_eq!(rows(&mut session, works).unwrap(), [["10"]]);
        let error = rows(&mut session, refused).expect_err(weights).render();
        for part in [WEIGHTS, kind, "no weight"] {
            assert!(error.contains(part), "{weights}: {part:?} is not in {error:?}");
        }
        assert_nothing_is_left(&session);
    }
    let mut session = session(&[]);
    rows(&mut session, EVENTS).unwrap();
    assert_eq!(rows(&mut session, WINDOWS).unwrap(), [["10"]]);
    assert_nothing_is_left(&session);
}
