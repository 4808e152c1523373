//! Logical plan to physical plan.
//!
//! Rules of thumb, all of them about cost and none about results: aggregation in two phases when there is more than
//! one subtask; a join builds on its smaller side and sends it to everyone when that is cheaper than moving both; an
//! ordered result is sorted in one subtask, after each subtask has cut its part to what a LIMIT can use.

mod aggregate;
mod asof;
mod distinct;
mod grouping_sets;
mod join;
mod order;
mod scan;
mod set_operation;
mod unnest;
mod window;
mod window_functions;

use std::collections::HashMap;
use std::sync::Arc;

use datafusion_common::DFSchema;
use datafusion_expr::{Expr as LogicalExpr, LogicalPlan, Union, Values};
use flumen_core::expr::{Expr, Literal, Value};
use flumen_core::graph::Partitioner;
use flumen_core::types::{Field, LogicalType, Schema};

use super::PlanOptions;
use super::expr::translate;
use super::node::{Input, Node, Op};
use crate::bind::asof::AsofNode;
use crate::bind::tumble::TumbleNode;
use crate::bind::types::logical_field;
use crate::error::{Result, SqlError};
use crate::optimize::bag_operation::BagOperation;
use crate::optimize::estimate;

/// Makes the physical plan of one statement.
pub(crate) struct PhysicalPlanner<'a> {
    options: &'a PlanOptions,
    runtime_filters: u32,
    /// Parts that several consumers read, by their ids.
    shared: HashMap<usize, Node>,
}

impl<'a> PhysicalPlanner<'a> {
    pub(crate) fn new(options: &'a PlanOptions) -> Self {
        Self { options, runtime_filters: 0, shared: HashMap::new() }
    }

    /// The plan of a query, without what takes its rows.
    pub(crate) fn plan(&mut self, plan: &LogicalPlan) -> Result<Node> {
        let node = self.node(plan)?;
        window::check_windows(&node)?;
        Ok(node)
    }

    fn node(&mut self, plan: &LogicalPlan) -> Result<Node> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::SubqueryAlias(alias) => self.node(&alias.input),
            LogicalPlan::Subquery(subquery) => self.node(&subquery.subquery),
            LogicalPlan::Projection(projection) => {
                let fields = fields(&projection.schema)?;
                let expressions = translate_all(&projection.expr, projection.input.schema())?;
                // Constants alone need no row to compute them from.
                if let LogicalPlan::EmptyRelation(empty) = &*projection.input {
                    let constants: Option<Vec<Literal>> = expressions
                        .iter()
                        .map(|e| if let Expr::Literal(l) = e { Some(l.clone()) } else { None })
                        .collect();
                    if let (Some(row), true) = (constants, empty.produce_one_row) {
                        return Ok(Node::leaf(Op::Values { rows: vec![row] }, Schema::new(fields), 1, 1.0, true));
                    }
                }
                let node = self.node(&projection.input)?;
                // Only the number of rows counts; the columns that are there do no harm.
                Ok(if expressions.is_empty() { node } else { node.project(expressions, fields) })
            }
            LogicalPlan::Filter(filter) => {
                let predicate = translate(&filter.predicate, filter.input.schema())?;
                let share = estimate::selectivity(&filter.predicate, &filter.input);
                Ok(self.node(&filter.input)?.filter(predicate, share))
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Sort(sort) => self.sort(sort, 0, sort.fetch.map(|n| n as u64)),
            LogicalPlan::Limit(limit) => self.limit(limit),
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::Values(values) => self.values(values),
            LogicalPlan::EmptyRelation(empty) => {
                let fields = fields(&empty.schema)?;
                if fields.is_empty() {
                    // A batch needs a column to have rows.
                    let field = Field::new("dummy", LogicalType::Int32, false);
                    let row = vec![Literal { value: Value::Int(0), data_type: LogicalType::Int32 }];
                    let rows = if empty.produce_one_row { vec![row] } else { Vec::new() };
                    let count = rows.len() as f64;
                    return Ok(Node::leaf(Op::Values { rows }, Schema::new(vec![field]), 1, count, true));
                }
                Ok(Node::leaf(Op::Values { rows: Vec::new() }, Schema::new(fields), 1, 0.0, true))
            }
            LogicalPlan::Extension(extension) => {
                let node = extension.node.as_any();
                if let Some(tumble) = node.downcast_ref::<TumbleNode>() {
                    return self.tumble(tumble);
                }
                if let Some(join) = node.downcast_ref::<AsofNode>() {
                    return self.asof(join);
                }
                match node.downcast_ref::<BagOperation>() {
                    Some(operation) => self.bag_operation(operation),
                    None => Err(SqlError::unsupported(extension.node.name())),
                }
            }
            LogicalPlan::Distinct(_) => Err(SqlError::unsupported("DISTINCT ON").about("DISTINCT")),
            LogicalPlan::Window(window) => self.window_functions(window),
            LogicalPlan::RecursiveQuery(_) => Err(SqlError::unsupported("WITH RECURSIVE").about("RECURSIVE")),
            LogicalPlan::Unnest(unnest) => self.unnest(unnest),
            other => Err(SqlError::unsupported(other.display())),
        }
    }

    fn values(&mut self, values: &Values) -> Result<Node> {
        let fields = fields(&values.schema)?;
        let rows = values
            .values
            .iter()
            .map(|row| {
                row.iter()
                    .zip(&fields)
                    .map(|(e, field)| match translate(e, &DFSchema::empty())? {
                        Expr::Literal(l) if l.data_type == field.data_type => Ok(l),
                        Expr::Literal(l) if l.value == Value::Null => Ok(Literal::null(field.data_type.clone())),
                        _ => Err(SqlError::unsupported(format!("the expression {e} in VALUES; it is not a constant"))),
                    })
                    .collect()
            })
            .collect::<Result<Vec<Vec<Literal>>>>()?;
        let count = rows.len() as f64;
        Ok(Node::leaf(Op::Values { rows }, Schema::new(fields), 1, count, true))
    }

    fn union(&mut self, union: &Union) -> Result<Node> {
        let fields = fields(&union.schema)?;
        let schema = Arc::new(Schema::new(fields.clone()));
        let mut nodes = Vec::with_capacity(union.inputs.len());
        for input in &union.inputs {
            let node = self.node(input)?;
            let same = node.schema.fields == fields;
            let columns: Vec<Expr> = (0..fields.len()).map(Expr::Column).collect();
            let node = if same || node.names_its_output() {
                node.project(columns, fields.clone())
            } else {
                let rows = node.rows;
                node.then(Op::Project { expressions: columns }, Arc::clone(&schema), rows)
            };
            nodes.push(node);
        }
        let parallelism = nodes.iter().map(|n| n.parallelism).max().unwrap_or(1);
        let rows = nodes.iter().map(|n| n.rows).sum();
        let bounded = nodes.iter().all(|n| n.bounded);
        let updating = nodes.iter().any(|n| n.updating);
        let inputs = nodes.into_iter().map(|node| Input { partitioner: reach(&node, parallelism), node }).collect();
        Ok(Node { op: Op::Union, inputs, schema, parallelism, rows, bounded, updating })
    }
}

/// The engine's fields of a logical schema.
fn fields(schema: &DFSchema) -> Result<Vec<Field>> {
    schema.fields().iter().map(|f| logical_field(f, f.name())).collect()
}

fn translate_all(exprs: &[LogicalExpr], schema: &DFSchema) -> Result<Vec<Expr>> {
    exprs.iter().map(|e| translate(e, schema)).collect()
}

fn nullable(expr: &LogicalExpr, schema: &DFSchema) -> bool {
    datafusion_expr::ExprSchemable::nullable(expr, schema).unwrap_or(true)
}

/// How rows get to `parallelism` subtasks when it does not matter to which.
fn reach(node: &Node, parallelism: u32) -> Partitioner {
    match node.parallelism {
        same if same == parallelism => Partitioner::Forward,
        _ if parallelism == 1 => Partitioner::Global,
        _ => Partitioner::Rebalance,
    }
}
