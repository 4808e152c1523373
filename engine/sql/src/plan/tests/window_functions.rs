//! Plans of window functions.

use flumen_core::graph::{Partitioner, StreamGraph};
use flumen_core::spec::connector::SourceSpec;
use flumen_core::spec::relational::FilterSpec;
use flumen_core::spec::window::{FrameBound, FrameUnits, Position, WindowFunction, WindowFunctionsSpec};

use super::stub::Session;
use super::{check_graph, columns, payloads, query};
use crate::Planned;

fn graph_of(parallelism: u32, sql: &str) -> StreamGraph {
    let (graph, _) = query(Session::new(parallelism).run(sql));
    check_graph(&graph);
    graph
}

/// How rows reach each window operator, from the source on, and its parallelism.
fn ways(graph: &StreamGraph) -> Vec<(Partitioner, u32)> {
    let windows = graph.nodes.iter().filter(|n| n.spec.kind == "window-functions");
    let way = |id| graph.edges.iter().find(|e| e.target == id).unwrap().partitioner.clone();
    windows.map(|n| (way(n.id), n.parallelism)).collect()
}

fn explained(parallelism: u32, sql: &str) -> String {
    match Session::new(parallelism).run(&format!("EXPLAIN {sql}")) {
        Planned::Explain { text, .. } => text,
        other => panic!("not a plan: {other:?}"),
    }
}

#[test]
fn partitions_meet_in_one_subtask() {
    let sql = "SELECT a, rank() OVER (PARTITION BY s ORDER BY b) FROM 'f.parquet'";
    assert_eq!(ways(&graph_of(1, sql)), [(Partitioner::Forward, 1)]);
    let [(Partitioner::Hash { columns }, 3)] = &ways(&graph_of(3, sql))[..] else { panic!("no exchange") };
    assert_eq!(columns.len(), 1);
    let sql = "SELECT a, rank() OVER (ORDER BY b) FROM 'f.parquet'";
    assert_eq!(ways(&graph_of(3, sql)), [(Partitioner::Global, 1)]);
}

#[test]
fn windows_alike_share_an_operator() {
    let sql = "SELECT sum(b) OVER w, rank() OVER (PARTITION BY a ORDER BY c), avg(b) OVER (w ROWS 2 PRECEDING),
        max(b) OVER (PARTITION BY a), lag(b) OVER (PARTITION BY a, s ORDER BY d), count(*) OVER (PARTITION BY s)
        FROM 'f.parquet' WINDOW w AS (PARTITION BY a ORDER BY c)";
    let graph = graph_of(2, sql);
    let specs = payloads::<WindowFunctionsSpec>(&graph);
    let calls: Vec<usize> = specs.iter().map(|s| s.calls.len()).collect();
    assert_eq!((calls.iter().sum::<usize>(), calls.len()), (6, 4), "{calls:?}");
    assert!(calls.contains(&3));
    // Rows that were brought together by `a` are so by `a` and `s`, too.
    assert!(ways(&graph).iter().any(|(way, _)| *way == Partitioner::Forward), "{:?}", ways(&graph));
}

#[test]
fn columns_that_nobody_wants_do_not_come_out() {
    let graph = graph_of(1, "SELECT sum(b * 2) OVER (PARTITION BY upper(s)) FROM 'f.parquet'");
    let window = graph.nodes.iter().find(|n| n.spec.kind == "window-functions").unwrap();
    assert_eq!(window.spec.output.as_ref().unwrap().fields.len(), 1);
    let (_, schema) = query(Session::new(1).run("SELECT B, sum(B) OVER (ORDER BY a) AS Total FROM 'f.parquet'"));
    assert_eq!(columns(&schema), ["B INTEGER", "Total BIGINT"]);
}

#[test]
fn only_conditions_on_partitions_go_below() {
    let filters = |condition: &str| {
        let graph = graph_of(
            2,
            &format!(
                "SELECT * FROM (SELECT a, b, s, rank() OVER (PARTITION BY a, s ORDER BY b) AS r FROM 'f.parquet')
                 WHERE {condition}"
            ),
        );
        let source: SourceSpec = graph.nodes[0].spec.payload().unwrap();
        let position = |kind: &str| graph.nodes.iter().rposition(|n| n.spec.kind == kind);
        let above = position("filter") > position("window-functions");
        assert!(above || payloads::<FilterSpec>(&graph).len() == 1);
        (source.filters.len(), above)
    };
    assert_eq!(filters("a = 3"), (1, false));
    assert_eq!(filters("a = 3 AND s > 'x'"), (2, false));
    assert_eq!(filters("r = 1"), (0, true));
    assert_eq!(filters("b = 1"), (0, true));
    assert_eq!(filters("a + b = 1"), (0, true));
    assert_eq!(filters("a = 3 AND r = 1"), (1, true));
    // Each window must keep its partitions whole.
    let graph = graph_of(
        1,
        "SELECT * FROM (SELECT a, s, count(*) OVER (PARTITION BY a), count(*) OVER (PARTITION BY s) FROM 'f.parquet')
         WHERE a = 3",
    );
    assert_eq!(graph.nodes[0].spec.payload::<SourceSpec>().unwrap().filters.len(), 0);
    // A limit above needs all rows below.
    let graph = graph_of(1, "SELECT a, count(*) OVER () FROM 'f.parquet' LIMIT 3");
    assert_eq!(graph.nodes[0].spec.payload::<SourceSpec>().unwrap().limit, None);
}

#[test]
fn frames_are_what_was_written() {
    let call = |sql: &str| {
        let graph = graph_of(1, &format!("SELECT {sql} FROM 'f.parquet'"));
        payloads::<WindowFunctionsSpec>(&graph)[0].calls[0].function.clone()
    };
    let frame = |sql: &str| match call(sql) {
        WindowFunction::Aggregate { frame, .. } | WindowFunction::Value { frame, .. } => frame,
        other => panic!("{other:?} has no frame"),
    };
    assert!(frame("sum(b) OVER (PARTITION BY a)").is_whole_partition());
    // Peers, without an offset, are groups.
    let default = frame("sum(b) OVER (ORDER BY a, s)");
    assert_eq!(default.units, FrameUnits::Groups);
    assert_eq!((default.start, default.end), (FrameBound::UnboundedPreceding, FrameBound::CurrentRow));
    let range = frame("sum(b) OVER (ORDER BY d RANGE INTERVAL '1' MONTH PRECEDING)");
    assert_eq!(range.units, FrameUnits::Range);
    assert!(matches!(range.start, FrameBound::Preceding(_)));
    let last = call("last_value(s IGNORE NULLS) OVER (ORDER BY a ROWS BETWEEN CURRENT ROW AND 2 FOLLOWING)");
    assert!(matches!(last, WindowFunction::Value { position: Position::Last, ignore_nulls: true, .. }), "{last:?}");
}

#[test]
fn a_plan_shows_functions_partitions_and_order() {
    let text = explained(
        2,
        "SELECT row_number() OVER w, sum(b) OVER (w ROWS BETWEEN 2 PRECEDING AND CURRENT ROW), lag(a, 2) OVER w
         FROM 'f.parquet' WINDOW w AS (PARTITION BY s ORDER BY d DESC, a)",
    );
    let line = text.lines().find(|l| l.contains("WindowFunctions")).unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains("row_number()"), "{line}");
    assert!(line.contains("sum(B) ROWS 2 PRECEDING..CURRENT ROW"), "{line}");
    assert!(line.contains("lag(a, 2)"), "{line}");
    assert!(line.contains("partition by [s] order by [d DESC, a]"), "{line}");
    assert!(text.contains("-> HASH[s]") || text.contains("[s]"), "{text}");
    let text = explained(1, "SELECT count(*) OVER (ORDER BY a) FROM 'f.parquet'");
    assert!(text.contains("count(*) RANGE UNBOUNDED PRECEDING..CURRENT ROW"), "{text}");
}
