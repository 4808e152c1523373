//! Statements that are large.

use flumen_core::expr::Expr;
use flumen_core::spec::connector::SourceSpec;
use flumen_core::spec::relational::{FilterSpec, ProjectSpec};

use super::stub::Session;
use super::{check_graph, payloads, query};

#[test]
fn flat_chains_are_planned_as_one_call() {
    let ors: Vec<String> = (0..10_000).map(|i| format!("a = {i} AND c > {i}")).collect();
    let (graph, _) = query(Session::new(2).run(&format!("SELECT a FROM 'f.parquet' WHERE {}", ors.join(" OR "))));
    check_graph(&graph);
    let filters = payloads::<FilterSpec>(&graph);
    let Expr::Call { function, args, .. } = &filters[0].predicate else { panic!("{:?}", filters[0].predicate) };
    assert_eq!((function.as_str(), args.len()), ("or", 10_000));

    let equalities: Vec<String> = (0..10_000).map(|i| format!("a = {i}")).collect();
    let (graph, _) =
        query(Session::new(2).run(&format!("SELECT a FROM 'f.parquet' WHERE {}", equalities.join(" OR "))));
    check_graph(&graph);

    let ands: Vec<String> = (0..10_000).map(|i| format!("c <> {i}")).collect();
    let (graph, _) = query(Session::new(2).run(&format!("SELECT a FROM 'f.parquet' WHERE {}", ands.join(" AND "))));
    check_graph(&graph);
    let source = &payloads::<SourceSpec>(&graph)[0];
    assert_eq!(source.filters.len(), 10_000);

    let sum: Vec<String> = (0..10_000).map(|i| format!("a * {}", i + 2)).collect();

    let (graph, _) = query(Session::new(2).run(&format!("SELECT {} AS s FROM 'f.parquet'", sum.join(" + "))));
    check_graph(&graph);
    assert_eq!(payloads::<ProjectSpec>(&graph).len(), 1);
}

#[test]
fn the_deepest_allowed_is_planned_and_stored() {
    let depth = 200;
    let (graph, _) = query(Session::new(1).run(&format!(
        "SELECT {}a{} AS s FROM 'f.parquet'",
        "abs(".repeat(depth),
        ")".repeat(depth)
    )));
    check_graph(&graph);
    let (graph, _) = query(Session::new(1).run(&format!(
        "SELECT a FROM {}'f.parquet'{}",
        "(SELECT * FROM ".repeat(100),
        ")".repeat(100)
    )));
    check_graph(&graph);
}

#[test]
fn wide_statements_are_planned() {
    let items: Vec<String> = (0..1000).map(|i| format!("a + {i} AS c{i}")).collect();
    let (graph, schema) = query(Session::new(2).run(&format!("SELECT {} FROM 'f.parquet'", items.join(", "))));
    check_graph(&graph);
    assert_eq!(schema.fields.len(), 1000);
    let list: Vec<String> = (0..10_000).map(|i| i.to_string()).collect();
    let (graph, _) = query(Session::new(2).run(&format!("SELECT a FROM 'f.parquet' WHERE a IN ({})", list.join(", "))));
    check_graph(&graph);
}
