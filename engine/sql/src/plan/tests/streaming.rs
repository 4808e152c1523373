//! Plans over data that does not end.

use flumen_core::graph::Partitioner;
use flumen_core::graph::stream_graph::ChangelogMode;
use flumen_core::source::Boundedness;
use flumen_core::spec::relational::{AggregatePhase, HashAggregateSpec};
use flumen_core::spec::streaming::{TumblingAggregateSpec, WatermarkSpec};

use super::stub::Session;
use super::{check_graph, payloads};
use crate::Planned;

const TABLES: &str = "
    CREATE TABLE events (k BIGINT, v BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
        WITH ('connector'='datagen', 'rows-per-second'='1000');
    CREATE TABLE ending (k BIGINT, v BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
        WITH ('connector'='datagen', 'rows-per-second'='1000', 'number-of-rows'='5000');
    CREATE TABLE out (k BIGINT, window_start TIMESTAMP(3), window_end TIMESTAMP(3), total DECIMAL(38, 0))
        WITH ('connector'='filesystem', 'path'='out', 'format'='csv');";

const INSERT: &str = "INSERT INTO out SELECT k, window_start, window_end, SUM(v)
    FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '10' SECONDS)) GROUP BY k, window_start, window_end";

fn session(parallelism: u32) -> Session {
    let mut session = Session::new(parallelism);
    session.run(TABLES);
    session
}

#[test]
fn the_windowed_sum() {
    for parallelism in [1, 2, 5] {
        let Planned::Insert { graph, boundedness, .. } = session(parallelism).run(INSERT) else {
            panic!("not an insert")
        };
        check_graph(&graph);
        assert_eq!(boundedness, Boundedness::Unbounded);
        let watermarks = payloads::<WatermarkSpec>(&graph);
        assert_eq!((watermarks.len(), watermarks[0].delay_ms), (1, 1000));
        let windows = payloads::<TumblingAggregateSpec>(&graph);
        let phases: Vec<_> = windows.iter().map(|w| w.phase).collect();
        assert_eq!(phases, [AggregatePhase::Local, AggregatePhase::Global]);
        assert!(windows.iter().all(|w| w.size_ms == 10_000 && w.offset_ms == 0 && w.group_by == [0]));
        let keyed = graph.nodes.iter().rfind(|n| n.spec.kind == "tumbling-aggregate").unwrap();
        assert_eq!(keyed.spec.state[0].name, "windows");
        let into = graph.edges.iter().find(|e| e.target == keyed.id).unwrap();
        assert_eq!(into.partitioner, Partitioner::KeyGroup { columns: vec![0] });
        assert!(graph.edges.iter().all(|e| e.changelog == ChangelogMode::Append));
        assert_eq!(graph.nodes.last().unwrap().parallelism, parallelism);
    }
}

#[test]
fn a_stream_keeps_its_uids_at_every_parallelism() {
    for sql in [
        INSERT,
        "INSERT INTO out SELECT 1, window_start, window_end, SUM(v)
         FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '10' SECONDS)) GROUP BY window_start, window_end",
        "INSERT INTO out SELECT k, ts, ts, v FROM events WHERE v > 3",
        &INSERT.replace("events", "ending"),
    ] {
        let uids = |parallelism| {
            let Planned::Insert { graph, .. } = session(parallelism).run(sql) else { panic!("not an insert") };
            graph.nodes.into_iter().map(|n| n.uid).collect::<Vec<_>>()
        };
        let one = uids(1);
        assert!(one.len() >= 3, "{one:?}");
        assert_eq!(one, uids(2));
        assert_eq!(one, uids(7));
    }
}

#[test]
fn both_ways_to_write_it_and_other_orders_of_columns() {
    for from in [
        "TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '10' SECOND)",
        "TABLE(TUMBLE(DATA => TABLE events, TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '10' SECOND))",
        "TUMBLE(events, DESCRIPTOR(Ts), INTERVAL '10' SECOND) AS w",
        "TUMBLE((SELECT k, v, ts FROM events WHERE v > 0), DESCRIPTOR(ts), INTERVAL '10' SECOND)",
    ] {
        let sql = format!("SELECT sum(v) AS s, window_end, k % 7 AS b FROM {from} GROUP BY window_end, k % 7");
        let (graph, schema) = super::query(session(3).run(&sql));
        check_graph(&graph);
        assert_eq!(super::columns(&schema), ["s DECIMAL(38, 0)", "window_end TIMESTAMP(3)", "b BIGINT"], "{from}");
        assert_eq!(payloads::<TumblingAggregateSpec>(&graph).len(), 2, "{from}");
    }
}

#[test]
fn filters_stay_on_their_side_of_the_watermark() {
    let text = session(2).explain(
        "SELECT k, count(*) FROM TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '1' MINUTE) \
         WHERE v > 10 GROUP BY k, window_start HAVING count(*) > 2",
    );
    let line = |part: &str| text.lines().position(|l| l.contains(part)).unwrap_or_else(|| panic!("{part}: {text}"));
    assert!(line("(v > 10") < line("Watermark"), "{text}");
    assert!(line("Watermark") < line("Source: events"), "{text}");
    assert!(!text.lines().nth(line("Source: events")).unwrap().contains("pruned"), "{text}");
}

#[test]
fn a_grouping_without_windows_is_a_changelog() {
    let (graph, _) = super::query(session(2).run("SELECT k, sum(v) FROM events GROUP BY k"));
    check_graph(&graph);
    let aggregates = payloads::<HashAggregateSpec>(&graph);
    assert!(aggregates.iter().all(|a| a.continuous && a.phase == AggregatePhase::Single));
    assert_eq!(graph.edges.last().unwrap().changelog, ChangelogMode::Retract);
}

#[test]
fn what_streams_cannot_do_yet_says_so() {
    for (sql, what) in [
        ("SELECT * FROM events ORDER BY k", "ORDER BY over data that does not end"),
        ("SELECT * FROM events a JOIN events b ON a.k = b.k", "joins of data that does not end"),
        (
            "SELECT sum(v) OVER (PARTITION BY k ORDER BY ts) FROM events",
            "window functions (OVER) over data that does not end",
        ),
        (
            "SELECT window_start, v FROM TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '1' SECOND)",
            "TUMBLE without GROUP BY",
        ),
        (
            "SELECT k FROM HOP(TABLE events, DESCRIPTOR(ts), INTERVAL '1' SECOND, INTERVAL '2' SECOND)",
            "table function HOP",
        ),
        ("INSERT INTO out SELECT k, max(ts), max(ts), sum(v) FROM events GROUP BY k", "results that change into table"),
    ] {
        let error = session(2).try_run(sql).expect_err(sql);
        assert!(error.to_string().starts_with("not supported yet: "), "{error}");
        assert!(error.to_string().contains(what), "{error}");
        assert!(error.position().is_some(), "{error}");
    }
}

#[test]
fn a_window_needs_a_watermark_and_a_time() {
    let mut session = session(2);
    session.run("CREATE TABLE raw (k BIGINT, ts TIMESTAMP(3)) WITH ('connector'='datagen')");
    for (sql, what) in [
        (
            "SELECT k, count(*) FROM TUMBLE(TABLE raw, DESCRIPTOR(ts), INTERVAL '1' SECOND) GROUP BY k, window_start",
            "no watermark",
        ),
        (
            "SELECT k, count(*) FROM TUMBLE(TABLE raw, DESCRIPTOR(k), INTERVAL '1' SECOND) GROUP BY k, window_start",
            "not a TIMESTAMP",
        ),
        (
            "SELECT k, count(*) FROM TUMBLE(TABLE raw, DESCRIPTOR(ts), INTERVAL '1' MONTH) GROUP BY k, window_start",
            "must be an interval of days or less",
        ),
        (
            "SELECT k, count(*) FROM TUMBLE(TABLE raw, DESCRIPTOR(ts)) GROUP BY k, window_start",
            "takes a table, a DESCRIPTOR and a size",
        ),
    ] {
        let error = session.try_run(sql).expect_err(sql);
        assert!(error.to_string().contains(what), "{error}");
    }
}
