//! What single clauses become.

use flumen_core::catalog::Catalog;
use flumen_core::expr::{Expr, Value};
use flumen_core::graph::Partitioner;
use flumen_core::spec::connector::{SinkSpec, SourceSpec};
use flumen_core::spec::relational::{
    AggregatePhase, FilterSpec, HashAggregateSpec, HashJoinSpec, JoinKind, LimitSpec, ProjectSpec, SortSpec, ValuesRows,
};

use super::stub::Session;
use super::{check_graph, columns, payloads, query};
use crate::Planned;

fn graph_of(parallelism: u32, sql: &str) -> flumen_core::graph::StreamGraph {
    let (graph, _) = query(Session::new(parallelism).run(sql));
    check_graph(&graph);
    graph
}

#[test]
fn the_first_query() {
    let sql = "SELECT a, sum(b) FROM 'f.parquet' WHERE c > 1 GROUP BY a ORDER BY 1 LIMIT 3";
    let (graph, schema) = query(Session::new(2).run(sql));
    check_graph(&graph);
    assert_eq!(columns(&schema), ["a BIGINT", "sum(b) BIGINT"]);
    let kinds: Vec<&str> = graph.nodes.iter().map(|n| n.spec.kind.as_str()).collect();
    assert_eq!(kinds.first(), Some(&"source"));
    assert_eq!(kinds.last(), Some(&"sink"));
    let sink: SinkSpec = graph.nodes.last().unwrap().spec.payload().unwrap();
    assert_eq!((sink.connector.as_str(), sink.options["id"].as_str()), ("collect", "result"));
    assert_eq!(graph.nodes.last().unwrap().parallelism, 1);
    let source: SourceSpec = graph.nodes[0].spec.payload().unwrap();
    assert_eq!(source.filters.len(), 1);
    assert_eq!(payloads::<FilterSpec>(&graph).len(), 1, "the stub applies no filter itself");
}

#[test]
fn a_constant_query_is_one_row_of_values() {
    let graph = graph_of(4, "SELECT 1, 'a' AS b, NULL");
    assert_eq!(graph.nodes.len(), 2);
    let source: SourceSpec = graph.nodes[0].spec.payload().unwrap();
    let rows: ValuesRows = serde_json::from_str(&source.options["rows"]).unwrap();
    assert_eq!(rows.rows.len(), 1);
    assert_eq!(rows.rows[0][0].value, Value::Int(1));
    assert_eq!(graph.nodes[0].parallelism, 1);
}

#[test]
fn one_subtask_aggregates_in_one_step_and_several_in_two() {
    let phases = |parallelism, sql: &str| -> Vec<AggregatePhase> {
        payloads::<HashAggregateSpec>(&graph_of(parallelism, sql)).iter().map(|a| a.phase).collect()
    };
    let sql = "SELECT a, count(*) FROM 'f.parquet' GROUP BY a";
    assert_eq!(phases(1, sql), [AggregatePhase::Single]);
    assert_eq!(phases(3, sql), [AggregatePhase::Local, AggregatePhase::Global]);
    // Distinct values must meet.
    let graph = graph_of(3, "SELECT count(*) FROM 'f.parquet'");
    let global = graph.nodes.iter().rfind(|n| n.spec.kind == "hash-aggregate").unwrap();
    assert_eq!(global.parallelism, 1);
    assert_eq!(global.spec.state[0].name, "groups");
}

#[test]
fn distinct_is_a_grouping() {
    let graph = graph_of(2, "SELECT DISTINCT a, s FROM 'f.parquet'");
    let aggregates = payloads::<HashAggregateSpec>(&graph);
    assert_eq!(aggregates.iter().map(|a| (a.group_by.len(), a.aggregates.len())).collect::<Vec<_>>(), [(2, 0), (2, 0)]);
}

#[test]
fn limits_are_cut_early() {
    let graph = graph_of(2, "SELECT a FROM 'f.parquet' LIMIT 5 OFFSET 2");
    let limits: Vec<_> = payloads::<LimitSpec>(&graph).iter().map(|l| (l.offset, l.fetch)).collect();
    assert_eq!(limits, [(0, Some(7)), (2, Some(5))]);
    let source: SourceSpec = graph.nodes[0].spec.payload().unwrap();
    assert_eq!(source.limit, Some(7));
    let graph = graph_of(2, "SELECT a FROM 'f.parquet' ORDER BY c DESC, a LIMIT 5 OFFSET 2");
    let sorts: Vec<_> = payloads::<SortSpec>(&graph).iter().map(|s| (s.offset, s.fetch)).collect();
    assert_eq!(sorts, [(0, Some(7)), (2, Some(5))]);
    let keys: Vec<_> = payloads::<SortSpec>(&graph)[0].keys.iter().map(|k| (k.descending, k.nulls_first)).collect();
    assert_eq!(keys, [(true, true), (false, false)]);
}

#[test]
fn a_computed_sort_key_is_left_out_again() {
    let (graph, schema) = query(Session::new(2).run("SELECT a FROM 'f.parquet' ORDER BY a + b"));
    check_graph(&graph);
    assert_eq!(columns(&schema), ["a BIGINT"]);
}

#[test]
fn joins_build_on_the_right_side_for_their_kind() {
    let sql = |join: &str| {
        format!(
            "SELECT count(*) FROM 'tpch/orders.parquet' o {join} 'tpch/customer.parquet' c ON o_custkey = c_custkey"
        )
    };
    for (join, kind, build) in [
        ("JOIN", JoinKind::Inner, "customer"),
        ("LEFT JOIN", JoinKind::Left, "customer"),
        ("RIGHT JOIN", JoinKind::Left, "orders"),
        ("LEFT SEMI JOIN", JoinKind::LeftSemi, "customer"),
        ("LEFT ANTI JOIN", JoinKind::LeftAnti, "customer"),
    ] {
        let graph = graph_of(1, &sql(join));
        let joins = payloads::<HashJoinSpec>(&graph);
        assert_eq!(joins[0].kind, kind, "{join}");
        let node = graph.nodes.iter().find(|n| n.spec.kind == "hash-join").unwrap();
        let into_build = graph.edges.iter().find(|e| e.target == node.id && e.target_input == 0).unwrap();
        assert!(graph.node(into_build.source).name.contains(build), "{join}");
    }
}

#[test]
fn small_builds_are_copied_and_large_ones_are_exchanged() {
    let graph = graph_of(
        2,
        "SELECT count(*) FROM 'tpch/lineitem.parquet', 'tpch/customer.parquet' WHERE l_suppkey = c_custkey",
    );
    assert!(graph.edges.iter().any(|e| e.partitioner == Partitioner::Broadcast));
    let graph = graph_of(
        8,
        "SELECT count(*) FROM 'tpch/lineitem.parquet' a, 'tpch/lineitem.parquet' b WHERE a.l_orderkey = b.l_orderkey",
    );
    let hashed = graph.edges.iter().filter(|e| matches!(e.partitioner, Partitioner::Hash { .. })).count();
    assert_eq!(hashed, 2);
    // A filter of one part of the keys must not reach a scan.
    assert!(payloads::<HashJoinSpec>(&graph)[0].runtime_filter.is_none());
}

#[test]
fn keys_of_different_types_are_made_equal() {
    let graph = graph_of(1, "SELECT count(*) FROM 'f.parquet' x JOIN 'f.parquet' y ON x.a = y.b");
    let join = graph.nodes.iter().find(|n| n.spec.kind == "hash-join").unwrap();
    let spec: HashJoinSpec = join.spec.payload().unwrap();
    let build = &join.spec.inputs[0].fields[spec.build_keys[0]].data_type;
    let probe = &join.spec.inputs[1].fields[spec.probe_keys[0]].data_type;
    assert_eq!(build, probe);
}

#[test]
fn conditions_beyond_equalities_stay_with_the_join() {
    let graph = graph_of(1, "SELECT x.s FROM 'f.parquet' x JOIN 'f.parquet' y ON x.a = y.a AND x.c < y.c");
    assert!(payloads::<HashJoinSpec>(&graph)[0].filter.is_some());
    let graph = graph_of(2, "SELECT x.s FROM 'f.parquet' x, 'f.parquet' y");
    assert_eq!(payloads::<HashJoinSpec>(&graph).len(), 1, "a cross product is a join on a constant");
}

#[test]
fn unions_are_edges() {
    let graph = graph_of(2, "SELECT a FROM 'f.parquet' UNION ALL SELECT o_orderkey FROM 'tpch/orders.parquet'");
    let sink = graph.nodes.last().unwrap();
    assert_eq!(graph.edges.iter().filter(|e| e.target == sink.id).count(), 2);
    let graph = graph_of(2, "SELECT a FROM 'f.parquet' UNION SELECT b FROM 'f.parquet'");
    assert!(!payloads::<HashAggregateSpec>(&graph).is_empty());
}

#[test]
fn subqueries_become_joins() {
    for (sql, kind) in [
        ("SELECT a FROM 'f.parquet' WHERE a IN (SELECT o_orderkey FROM 'tpch/orders.parquet')", JoinKind::LeftSemi),
        (
            "SELECT a FROM 'f.parquet' f WHERE NOT EXISTS (SELECT 1 FROM 'tpch/orders.parquet' WHERE o_orderkey = f.a)",
            JoinKind::LeftAnti,
        ),
    ] {
        assert_eq!(payloads::<HashJoinSpec>(&graph_of(2, sql))[0].kind, kind, "{sql}");
    }
    let graph = graph_of(2, "SELECT a FROM 'f.parquet' WHERE c > (SELECT avg(c) FROM 'f.parquet')");
    assert_eq!(payloads::<HashJoinSpec>(&graph).len(), 1);
}

#[test]
fn written_case_comes_back() {
    for (sql, expected) in [
        ("SELECT b FROM 'f.parquet'", "B"),
        ("SELECT B AS Total FROM 'f.parquet'", "Total"),
        ("SELECT b AS \"My Total\" FROM 'f.parquet'", "My Total"),
        ("SELECT \"b\" FROM 'f.parquet'", "B"),
        ("SELECT `B` FROM 'f.parquet'", "B"),
        ("SELECT f.b FROM 'f.parquet'", "B"),
        ("SELECT max(B) FROM 'f.parquet'", "max(B)"),
        ("FROM 'f.parquet' SELECT b", "B"),
    ] {
        let (graph, schema) = query(Session::new(1).run(sql));
        check_graph(&graph);
        assert_eq!(schema.fields[0].name, expected, "{sql}");
        let sink = graph.nodes.last().unwrap();
        assert_eq!(sink.spec.inputs[0].fields[0].name, expected, "{sql}");
    }
    let (_, schema) = query(Session::new(1).run("FROM 'f.parquet'"));
    assert_eq!(schema.fields.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["a", "B", "c", "d", "s", "m"]);
}

#[test]
fn group_by_all() {
    let graph = graph_of(1, "SELECT a, s, sum(b) FROM 'f.parquet' GROUP BY ALL");
    assert_eq!(payloads::<HashAggregateSpec>(&graph)[0].group_by.len(), 2);
}

#[test]
fn functions_go_by_the_engines_names_where_it_has_them() {
    let graph = graph_of(
        1,
        "SELECT upper(s), substring(s, 1, 2), extract(year FROM d), s || 'x', trim(s), char_length(s) FROM 'f.parquet'",
    );
    let mut names = Vec::new();
    for e in &payloads::<ProjectSpec>(&graph)[0].expressions {
        if let Expr::Call { function, .. } = e {
            names.push(function.clone());
        }
    }
    assert_eq!(names, ["upper", "substring", "date_part", "concat", "datafusion:btrim", "length"]);
}

#[test]
fn insert_casts_to_the_table() {
    let mut session = Session::new(2);
    session.run(
        "CREATE TABLE out (Id BIGINT NOT NULL, price DECIMAL(10, 2), note STRING) \
         WITH ('connector'='filesystem', 'path'='o')",
    );
    let Planned::Insert { graph, table, .. } = session.run("INSERT INTO OUT (price, id) SELECT b, a FROM 'f.parquet'")
    else {
        panic!("not an insert");
    };
    assert_eq!(table, "out");
    check_graph(&graph);
    let sink = graph.nodes.last().unwrap();
    assert_eq!(sink.parallelism, 2);
    let types: Vec<String> = sink.spec.inputs[0].fields.iter().map(|f| format!("{} {}", f.name, f.data_type)).collect();
    assert_eq!(types, ["Id BIGINT", "price DECIMAL(10, 2)", "note VARCHAR"]);
    let error = session.try_run("INSERT INTO out SELECT a, s, s FROM 'f.parquet'").unwrap_err();
    assert!(error.to_string().contains("column \"price\" of table \"out\" is DECIMAL(10, 2)"), "{error}");
}

#[test]
fn utility_statements() {
    let mut session = Session::tpch(1);
    let Planned::Rows { rows, .. } = session.run("SHOW TABLES") else { panic!("no rows") };
    assert_eq!(rows, [["customer"], ["lineitem"], ["orders"]]);
    let Planned::Rows { rows, .. } = session.run("DESCRIBE 'f.parquet'") else { panic!("no rows") };
    assert_eq!(rows[1], ["B", "INTEGER", "YES", ""]);
    let Planned::Rows { rows, .. } = session.run("DESCRIBE SELECT count(*) AS N FROM orders") else {
        panic!("no rows")
    };
    assert_eq!(rows, [["N", "BIGINT", "NO", ""]]);
    assert!(matches!(session.run("DROP TABLE Orders"), Planned::Drop { name, .. } if name == "orders"));
    assert!(session.catalog.table("ORDERS").unwrap().is_some(), "planning changes nothing");
}
