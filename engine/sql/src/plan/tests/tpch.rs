//! The TPC-H queries of the first milestone, standard text.

use flumen_core::graph::Partitioner;
use flumen_core::spec::connector::SourceSpec;
use flumen_core::spec::relational::{AggregatePhase, HashAggregateSpec, HashJoinSpec, JoinKind, SortSpec};

use super::stub::Session;
use super::{check_graph, columns, payloads, query};

const Q1: &str = include_str!("queries/q1.sql");
const Q3: &str = include_str!("queries/q3.sql");
const Q6: &str = include_str!("queries/q6.sql");
const Q12: &str = include_str!("queries/q12.sql");
const Q18: &str = include_str!("queries/q18.sql");

fn sources(graph: &flumen_core::graph::StreamGraph) -> Vec<(String, SourceSpec)> {
    graph
        .nodes
        .iter()
        .filter(|n| n.spec.kind == "source")
        .map(|n| (n.name.clone(), n.spec.payload().unwrap()))
        .collect()
}

fn names(spec: &SourceSpec) -> Vec<&str> {
    spec.projection.iter().map(|&c| spec.table_schema.fields[c].name.as_str()).collect()
}

#[test]
fn every_query_gives_a_sound_graph_at_every_parallelism() {
    for sql in [Q1, Q3, Q6, Q12, Q18] {
        for parallelism in [1, 2, 3, 7] {
            let mut session = Session::tpch(parallelism);
            let (graph, _) = query(session.run(sql));
            check_graph(&graph);
            let (again, _) = query(session.run(sql));
            assert_eq!(graph, again, "the same text gives the same graph");
        }
    }
}

#[test]
fn q1_types_and_phases() {
    let (graph, schema) = query(Session::tpch(2).run(Q1));
    assert_eq!(
        columns(&schema),
        [
            "l_returnflag VARCHAR",
            "l_linestatus VARCHAR",
            "sum_qty DECIMAL(38, 2)",
            "sum_base_price DECIMAL(38, 2)",
            "sum_disc_price DECIMAL(38, 4)",
            "sum_charge DECIMAL(38, 6)",
            "avg_qty DECIMAL(38, 6)",
            "avg_price DECIMAL(38, 6)",
            "avg_disc DECIMAL(38, 6)",
            "count_order BIGINT",
        ]
    );
    let phases: Vec<_> = payloads::<HashAggregateSpec>(&graph).iter().map(|a| a.phase).collect();
    assert_eq!(phases, [AggregatePhase::Local, AggregatePhase::Global]);
    assert!(graph.edges.iter().any(|e| e.partitioner == Partitioner::KeyGroup { columns: vec![0, 1] }));
    // The discounted price is computed once.
    let text = Session::tpch(2).explain(Q1);
    assert_eq!(text.matches("l_extendedprice * (1").count(), 1, "{text}");
    assert!(text.contains("l_shipdate <= DATE '1998-09-02'"), "{text}");
}

#[test]
fn q6_reads_four_columns_and_pushes_the_whole_filter() {
    let (graph, schema) = query(Session::tpch(2).run(Q6));
    assert_eq!(columns(&schema), ["revenue DECIMAL(38, 4)"]);
    let sources = sources(&graph);
    let mut read = names(&sources[0].1);
    read.sort_unstable();
    assert_eq!(read, ["l_discount", "l_extendedprice", "l_quantity", "l_shipdate"]);
    assert_eq!(sources[0].1.filters.len(), 5, "{:?}", sources[0].1.filters);
    assert!(graph.edges.iter().any(|e| e.partitioner == Partitioner::Global));
}

#[test]
fn q3_streams_lineitem_and_builds_on_the_rest() {
    let text = Session::tpch(2).explain(Q3);
    let (graph, schema) = query(Session::tpch(2).run(Q3));
    assert_eq!(
        columns(&schema),
        ["l_orderkey BIGINT", "revenue DECIMAL(38, 4)", "o_orderdate DATE", "o_shippriority INTEGER"]
    );
    let joins = payloads::<HashJoinSpec>(&graph);
    assert_eq!(joins.len(), 2, "{text}");
    assert!(joins.iter().all(|j| j.kind == JoinKind::Inner && j.runtime_filters.len() == 1), "{text}");
    // Both the scan of orders (by customers) and that of lineitem (by orders) listen.
    for (name, spec) in sources(&graph) {
        assert_eq!(spec.runtime_filters.len(), usize::from(name != "Source: customer"), "{name}: {text}");
    }
    let sorts = payloads::<SortSpec>(&graph);
    assert_eq!(sorts.iter().map(|s| s.fetch).collect::<Vec<_>>(), [Some(10), Some(10)], "{text}");
}

#[test]
fn q12_counts_in_bigint() {
    let (graph, schema) = query(Session::tpch(2).run(Q12));
    assert_eq!(columns(&schema), ["l_shipmode VARCHAR", "high_line_count BIGINT", "low_line_count BIGINT"]);
    // The few lines that are left are the build side, orders stream through.
    let text = Session::tpch(2).explain(Q12);
    let build = text.lines().position(|l| l.contains("build:")).unwrap();
    assert!(text.lines().skip(build).take(3).any(|l| l.contains("Source: lineitem")), "{text}");
    assert_eq!(payloads::<HashJoinSpec>(&graph).len(), 1);
}

#[test]
fn q18_reduces_orders_by_the_subquery_first() {
    let text = Session::tpch(2).explain(Q18);
    let (graph, schema) = query(Session::tpch(2).run(Q18));
    assert_eq!(columns(&schema).last().unwrap(), "sum_qty DECIMAL(38, 2)");
    let joins = payloads::<HashJoinSpec>(&graph);
    assert_eq!(joins.iter().filter(|j| j.kind == JoinKind::LeftSemi).count(), 1, "{text}");
    assert_eq!(joins.iter().filter(|j| j.kind == JoinKind::Inner).count(), 2, "{text}");
    let semi = joins.iter().find(|j| j.kind == JoinKind::LeftSemi).unwrap();
    assert!(semi.build_unique, "the subquery groups by its key: {text}");
    // The probe side of the semi join is orders.
    let line = text.lines().position(|l| l.contains("SemiJoin")).unwrap();
    assert!(text.lines().skip(line).any(|l| l.contains("probe: Source: orders")), "{text}");
}

#[test]
fn each_key_of_a_join_filters_the_scans_it_comes_from() {
    // Both keys go through the grouping, and that of customer on from orders to lineitem, where it is equal.
    let sql = "SELECT count(*) FROM customer, orders, \
               (SELECT l_orderkey, l_suppkey, sum(l_quantity) AS q FROM lineitem GROUP BY l_orderkey, l_suppkey) \
               WHERE o_orderkey = l_orderkey AND o_custkey = l_suppkey AND o_totalprice > q \
               AND c_custkey = o_custkey AND c_nationkey = 3 AND o_orderkey < 100";
    let text = Session::tpch(1).explain(sql);
    let (graph, _) = query(Session::tpch(1).run(sql));
    let joins = payloads::<HashJoinSpec>(&graph);
    let two = joins.iter().find(|j| j.build_keys.len() == 2).unwrap_or_else(|| panic!("{text}"));
    let (_, lineitem) = sources(&graph).into_iter().find(|(name, _)| name == "Source: lineitem").unwrap();
    let mut heard: Vec<&str> = Vec::new();
    for (_, column) in lineitem.runtime_filters.iter().filter(|f| two.runtime_filters.iter().any(|p| p.0 == f.0)) {
        heard.push(&lineitem.table_schema.fields[lineitem.projection[*column]].name);
    }
    heard.sort_unstable();
    assert_eq!(heard, ["l_orderkey", "l_suppkey"], "{text}");
    assert!(lineitem.awaits_filters);
}

/// Sources and groupings of a query's graph.
fn shape(sql: &str, parallelism: u32) -> (Vec<String>, Vec<HashAggregateSpec>) {
    let (graph, _) = query(Session::tpch(parallelism).run(sql));
    check_graph(&graph);
    let groupings = payloads::<HashAggregateSpec>(&graph).into_iter();
    let complete = groupings.filter(|a| a.phase != AggregatePhase::Local && !a.group_by.is_empty()).collect();
    (sources(&graph).into_iter().map(|(name, _)| name).collect(), complete)
}

#[test]
fn what_differs_and_what_is_cheap_is_not_shared() {
    let scans = "SELECT count(*) FROM orders a, orders b WHERE a.o_orderkey = b.o_custkey";
    assert_eq!(shape(scans, 1).0.len(), 2);
    let differing = "WITH r AS (SELECT o_custkey AS k, count(*) AS n FROM orders GROUP BY o_custkey) \
                     SELECT * FROM r a, r b WHERE a.k = 1 AND b.k = 2";
    assert_eq!(shape(differing, 1).0.len(), 2);
    // As many rows come out as go in.
    let whole = "WITH r AS (SELECT DISTINCT l_orderkey, l_linenumber, l_comment FROM lineitem) \
                 SELECT count(*) FROM r a JOIN r b ON a.l_orderkey = b.l_linenumber";
    assert_eq!(shape(whole, 1).0.len(), 2);
}
