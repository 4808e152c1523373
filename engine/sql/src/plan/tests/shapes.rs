//! What single clauses become.

use flumen_core::catalog::Catalog;
use flumen_core::expr::{Expr, Value};
use flumen_core::graph::Partitioner;
use flumen_core::spec::connector::{SinkSpec, SourceSpec};
use flumen_core::spec::relational::{
    AggregatePhase, ExpandSpec, FilterSpec, HashAggregateSpec, HashJoinSpec, JoinKind, LimitSpec, ProjectSpec,
    SortSpec, UnnestColumn, UnnestSpec, ValuesRows,
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
fn a_lateral_unnest_is_no_join() {
    let from = "FROM (SELECT a, [a, b] AS l FROM 'f.parquet') t";
    for (join, outer) in [(", UNNEST(t.l)", false), ("LEFT JOIN UNNEST(t.l)", true)] {
        let on = if outer { "ON TRUE" } else { "" };
        let graph = graph_of(2, &format!("SELECT t.a, u.x, u.n {from} {join} WITH ORDINALITY AS u(x, n) {on}"));
        assert!(payloads::<HashJoinSpec>(&graph).is_empty());
        let unnests = payloads::<UnnestSpec>(&graph);
        let [unnest] = unnests.as_slice() else { panic!("{unnests:?}") };
        // The numbers of the items are no list beside theirs.
        assert_eq!((unnest.lists.len(), unnest.outer), (1, outer));
        assert!(unnest.columns.contains(&UnnestColumn::Ordinality));
    }
}

#[test]
fn one_subtask_aggregates_in_one_step_and_several_in_two() {
    let phases = |parallelism, sql: &str| -> Vec<AggregatePhase> {
        payloads::<HashAggregateSpec>(&graph_of(parallelism, sql)).iter().map(|a| a.phase).collect()
    };
    let sql = "SELECT a, count(*) FROM 'f.parquet' GROUP BY a";
    assert_eq!(phases(1, sql), [AggregatePhase::Single]);
    assert_eq!(phases(3, sql), [AggregatePhase::Local, AggregatePhase::Global]);
    // Lists grow by being collected, so their rows are sent as they are; without keys the parts are joined.
    assert_eq!(phases(3, "SELECT a, array_agg(b), count(*) FROM 'f.parquet' GROUP BY a"), [AggregatePhase::Single]);
    let all = "SELECT array_agg(b ORDER BY a) FROM 'f.parquet'";
    assert_eq!(phases(3, all), [AggregatePhase::Local, AggregatePhase::Global]);
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
        ("FULL JOIN", JoinKind::Full, "customer"),
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
    assert!(payloads::<HashJoinSpec>(&graph)[0].runtime_filters.is_empty());
}

/// How the rows of both sides of the only join of its kind come, build side first.
fn ways_into_join(graph: &flumen_core::graph::StreamGraph) -> Vec<Partitioner> {
    let node = graph.nodes.iter().find(|n| n.spec.kind == "hash-join").unwrap();
    let mut edges: Vec<_> = graph.edges.iter().filter(|e| e.target == node.id).collect();
    edges.sort_by_key(|e| e.target_input);
    edges.into_iter().map(|e| e.partitioner.clone()).collect()
}

#[test]
fn a_full_join_never_copies_its_build_side() {
    let small = "(SELECT a FROM 'f.parquet' WHERE a = 1) AS small";
    let graph = graph_of(4, &format!("SELECT * FROM 'tpch/lineitem.parquet' FULL JOIN {small} ON l_orderkey = a"));
    assert_eq!(payloads::<HashJoinSpec>(&graph)[0].kind, JoinKind::Full);
    assert!(ways_into_join(&graph).iter().all(|way| matches!(way, Partitioner::Hash { .. })));
    // Without an equality all rows meet in one subtask.
    let graph = graph_of(4, &format!("SELECT * FROM 'tpch/lineitem.parquet' FULL JOIN {small} ON l_orderkey < a"));
    assert_eq!(ways_into_join(&graph), [Partitioner::Global, Partitioner::Global]);
    assert_eq!(graph.nodes.iter().find(|n| n.spec.kind == "hash-join").unwrap().parallelism, 1);
}

#[test]
fn no_runtime_filter_passes_a_full_join() {
    let sql = "SELECT * FROM (SELECT o_orderkey AS k FROM 'tpch/orders.parquet' FULL JOIN 'f.parquet' f ON o_orderkey = f.a) x \
               LEFT SEMI JOIN 'tpch/customer.parquet' ON k = c_custkey";
    let graph = graph_of(1, sql);
    let kinds: Vec<_> = payloads::<HashJoinSpec>(&graph).iter().map(|j| (j.kind, j.runtime_filters.len())).collect();
    assert!(kinds.contains(&(JoinKind::LeftSemi, 0)), "{kinds:?}");
    assert!(payloads::<SourceSpec>(&graph).iter().all(|source| source.runtime_filters.is_empty()));
}

#[test]
fn not_in_asks_every_subtask_for_the_whole_build_side() {
    let graph =
        graph_of(4, "SELECT * FROM 'tpch/lineitem.parquet' WHERE l_orderkey NOT IN (SELECT a FROM 'f.parquet')");
    let joins = payloads::<HashJoinSpec>(&graph);
    assert_eq!((joins.len(), joins[0].kind, joins[0].null_aware), (1, JoinKind::LeftAnti, true));
    assert_eq!(ways_into_join(&graph)[0], Partitioner::Broadcast);
    // Of columns that have no NULL it is a plain anti join.
    let sql = "SELECT * FROM 'f.parquet' WHERE a NOT IN (SELECT a FROM 'f.parquet')";
    assert!(payloads::<HashJoinSpec>(&graph_of(4, sql)).iter().all(|j| j.kind == JoinKind::LeftAnti && !j.null_aware));
}

#[test]
fn subqueries_inside_or_are_marks() {
    let kinds =
        |sql: &str| -> Vec<JoinKind> { payloads::<HashJoinSpec>(&graph_of(2, sql)).iter().map(|j| j.kind).collect() };
    // Where only true counts, one mark is enough.
    let sql = "SELECT B FROM 'f.parquet' WHERE a IN (SELECT a FROM 'f.parquet') OR B = 1";
    assert_eq!(kinds(sql), [JoinKind::LeftMark]);
    // Three values of NULLs on both sides need to know what else there is.
    let sql = "SELECT B FROM 'f.parquet' WHERE B NOT IN (SELECT B FROM 'f.parquet') OR a = 1";
    let asked = kinds(sql);
    assert!(asked.len() >= 3 && asked.iter().all(|kind| *kind == JoinKind::LeftMark), "{asked:?}");
    // Columns without NULLs do not.
    let sql = "SELECT B FROM 'f.parquet' WHERE a NOT IN (SELECT a FROM 'f.parquet') OR B = 1";
    assert_eq!(kinds(sql), [JoinKind::LeftMark]);
}

#[test]
fn distinct_values_are_grouped_before_they_are_exchanged() {
    let phases = |sql: &str| -> Vec<(AggregatePhase, usize, usize)> {
        let aggregates = payloads::<HashAggregateSpec>(&graph_of(3, sql));
        aggregates.iter().map(|a| (a.phase, a.group_by.len(), a.aggregates.len())).collect()
    };
    let (local, global) = (AggregatePhase::Local, AggregatePhase::Global);
    assert_eq!(
        phases("SELECT s, count(DISTINCT a), sum(DISTINCT a) FROM 'f.parquet' GROUP BY s"),
        [(local, 2, 0), (global, 2, 0), (local, 1, 2), (global, 1, 2)]
    );
    // Key, branch and two values.
    let sql = "SELECT s, count(DISTINCT a), sum(DISTINCT B), max(c) FROM 'f.parquet' GROUP BY s";
    assert_eq!(phases(sql), [(local, 4, 1), (global, 4, 1), (local, 1, 3), (global, 1, 3)]);
    let expands = payloads::<ExpandSpec>(&graph_of(3, sql));
    assert_eq!(expands.iter().map(|e| e.projections.len()).collect::<Vec<_>>(), [3]);
}

#[test]
fn all_grouping_sets_are_one_grouping() {
    let graph = graph_of(3, "SELECT s, a, sum(B) FROM 'f.parquet' GROUP BY CUBE (s, a)");
    assert_eq!(payloads::<ExpandSpec>(&graph)[0].projections.len(), 4);
    let aggregates = payloads::<HashAggregateSpec>(&graph);
    assert_eq!(aggregates.iter().map(|a| (a.group_by.len(), a.totals.len())).collect::<Vec<_>>(), [(3, 0), (3, 1)]);
}

#[test]
fn set_operations_with_all_count() {
    let sql = |op: &str| format!("SELECT a FROM 'f.parquet' {op} SELECT o_orderkey FROM 'tpch/orders.parquet'");
    for (op, kind, counts) in [
        ("INTERSECT ALL", JoinKind::LeftSemi, true),
        ("EXCEPT ALL", JoinKind::LeftAnti, true),
        ("INTERSECT", JoinKind::BuildSemi, false),
        ("EXCEPT", JoinKind::BuildAnti, false),
    ] {
        let graph = graph_of(2, &sql(op));
        let joins = payloads::<HashJoinSpec>(&graph);
        assert_eq!((joins.len(), joins[0].kind, joins[0].build_count.is_some()), (1, kind, counts), "{op}");
        assert!(joins[0].null_equals_null);
        assert!(!counts || ways_into_join(&graph).iter().all(|way| matches!(way, Partitioner::Hash { .. })), "{op}");
    }
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
        // The smaller side is built, whichever asks.
        ("SELECT a FROM 'f.parquet' WHERE a IN (SELECT o_orderkey FROM 'tpch/orders.parquet')", JoinKind::BuildSemi),
        ("SELECT 1 FROM 'tpch/orders.parquet' WHERE o_orderkey IN (SELECT a FROM 'f.parquet')", JoinKind::LeftSemi),
        (
            "SELECT a FROM 'f.parquet' f WHERE NOT EXISTS (SELECT 1 FROM 'tpch/orders.parquet' WHERE o_orderkey = f.a)",
            JoinKind::BuildAnti,
        ),
        (
            "SELECT 1 FROM 'tpch/orders.parquet' WHERE NOT EXISTS (SELECT 1 FROM 'f.parquet' f WHERE o_orderkey = f.a)",
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
