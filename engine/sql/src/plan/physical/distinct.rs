//! Aggregates of DISTINCT values: a grouping by the values first, then a grouping of what is distinct.
//!
//! Each different pair of argument and FILTER among the distinct aggregates is a *branch*, and the other aggregates are
//! one more. With a single branch, rows are grouped by the keys and the value, and then aggregated by the keys. With
//! several, every row comes once for each branch, with the value of that branch alone and the others NULL:
//!
//! ```text
//! SELECT k, count(DISTINCT x), sum(DISTINCT y), max(z) ... GROUP BY k
//!
//! rows, expanded      k  branch  x     y     z       first grouping: by k, branch, x, y
//!                     1  0       NULL  NULL  7       max(z)
//!                     1  1       5     NULL  NULL
//!                     1  2       NULL  3     NULL    second grouping: by k
//!                                                    count(x), sum(y), first_value(max) FILTER (branch = 0)
//! ```
//!
//! Aggregates of distinct values leave NULLs out, so the rows of other branches do not count; a FILTER is a value that
//! is NULL where the condition is not true. The results of the other aggregates are final after the first grouping;
//! the second one picks them. Both groupings have two phases, so values are made distinct before they are exchanged.

use std::sync::Arc;

use flumen_core::expr::{Expr, Literal, Value};
use flumen_core::spec::relational::{AggregateCall, ExpandSpec};
use flumen_core::types::{Field, LogicalType, Schema};

use super::super::node::{Node, Op};
use super::PhysicalPlanner;
use super::aggregate::Grouped;
use crate::bind::aggregates::ARRAY_AGG;
use crate::error::{Result, SqlError};

/// The share of rows that stays when equal values become one, if nothing is known.
const DISTINCT_SHARE: f64 = 0.5;

/// A value of which each is taken once: an argument, and its filter.
type DistinctValue = (usize, Option<usize>);

/// The layout between the two groupings: keys, the branch if there are several, values, results.
struct Branches<'a> {
    keys: usize,
    values: Vec<DistinctValue>,
    /// The aggregates that are not of distinct values.
    plain: Vec<&'a AggregateCall>,
}

/// Whether values are made distinct here: an accumulator of lists does so itself, and keeps NULL.
pub(super) fn is_split(call: &AggregateCall) -> bool {
    call.distinct && call.function != ARRAY_AGG
}

impl PhysicalPlanner<'_> {
    /// Groups, where some of the calls are of distinct values.
    pub(super) fn distinct(
        &self,
        grouped: Grouped,
        calls: &[AggregateCall],
        fields_out: Vec<Field>,
        estimated: f64,
    ) -> Result<Node> {
        if !grouped.child.bounded {
            let what = "aggregates of DISTINCT values over data that does not end";
            return Err(SqlError::unsupported(what).about("DISTINCT"));
        }
        let mut values: Vec<DistinctValue> = Vec::new();
        for call in calls.iter().filter(|call| is_split(call)) {
            let value = (call.args[0], call.filter);
            if !values.contains(&value) {
                values.push(value);
            }
        }
        let plain = calls.iter().filter(|call| !is_split(call)).collect();
        let branches = Branches { keys: grouped.keys.len(), values, plain };
        let totals = grouped.totals;
        let (child, first_calls) = branches.expand(grouped.child, &grouped.keys);
        let node = self.first_grouping(&branches, child, first_calls);
        let node = branches.with_condition(node);
        let may_be_empty = branches.keys == 0 || !totals.is_empty();
        let second = Grouped { child: node, keys: (0..branches.keys).collect(), totals };
        let names = fields_out.clone();
        let node = self.two_phases(second, branches.second_calls(calls), fields_out, estimated);
        Ok(if may_be_empty && !branches.plain.is_empty() { counts_of_nothing(node, calls, names) } else { node })
    }

    fn first_grouping(&self, branches: &Branches<'_>, child: Node, calls: Vec<AggregateCall>) -> Node {
        let keys = branches.first_result();
        let mut fields = child.schema.fields[..keys].to_vec();
        let result = |(index, call): (usize, &AggregateCall)| {
            Field::new(format!("result_{index}"), call.return_type.clone(), call.function != "count")
        };
        fields.extend(calls.iter().enumerate().map(result));
        let rows = (child.rows * DISTINCT_SHARE).max(1.0);
        let grouped = Grouped { child, keys: (0..keys).collect(), totals: Vec::new() };
        self.two_phases(grouped, calls, fields, rows)
    }
}

impl Branches<'_> {
    fn has_several(&self) -> bool {
        self.values.len() + usize::from(!self.plain.is_empty()) > 1
    }

    /// Column of the first value after the expansion, and after the first grouping.
    fn first_value(&self) -> usize {
        self.keys + usize::from(self.has_several())
    }

    /// Column behind the values.
    fn first_result(&self) -> usize {
        self.first_value() + self.values.len()
    }

    /// Rows as the first grouping takes them, and its calls.
    fn expand(&self, child: Node, keys: &[usize]) -> (Node, Vec<AggregateCall>) {
        let input = Arc::clone(&child.schema);
        let field = |column: usize| input.fields[column].clone();
        let null = |column: usize| Expr::Literal(Literal::null(field(column).data_type));
        let mut arguments: Vec<usize> = Vec::new();
        let mut calls: Vec<AggregateCall> = self.plain.iter().map(|call| (*call).clone()).collect();
        for argument in calls.iter_mut().flat_map(|call| call.args.iter_mut().chain(call.filter.as_mut())) {
            let place = arguments.iter().position(|a| a == argument).unwrap_or_else(|| {
                arguments.push(*argument);
                arguments.len() - 1
            });
            *argument = self.first_result() + place;
        }
        // Branch 0 is that of the plain aggregates, also if there is none.
        let first_branch = usize::from(self.plain.is_empty());
        let projection = |branch: usize| -> Vec<Expr> {
            let number = Expr::Literal(Literal { value: Value::Int(branch as i128), data_type: LogicalType::Int32 });
            let value = |(index, value): (usize, &DistinctValue)| match *value {
                (column, None) if index + 1 == branch => Expr::Column(column),
                (column, Some(filter)) if index + 1 == branch => Expr::Case {
                    branches: vec![(Expr::Column(filter), Expr::Column(column))],
                    otherwise: None,
                    return_type: field(column).data_type,
                },
                (column, _) => null(column),
            };
            let argument = |column: &usize| if branch == 0 { Expr::Column(*column) } else { null(*column) };
            let keys = keys.iter().map(|key| Expr::Column(*key));
            let branch = self.has_several().then_some(number);
            let values = self.values.iter().enumerate().map(value);
            keys.chain(branch).chain(values).chain(arguments.iter().map(argument)).collect()
        };
        let nullable = |column: usize| Field { nullable: true, ..field(column) };
        let branch = self.has_several().then(|| Field::new("branch", LogicalType::Int32, false));
        let fields: Vec<Field> = keys
            .iter()
            .map(|key| field(*key))
            .chain(branch)
            .chain(self.values.iter().map(|value| nullable(value.0)))
            .chain(arguments.iter().map(|column| nullable(*column)))
            .collect();
        let mut projections: Vec<Vec<Expr>> = (first_branch..=self.values.len()).map(projection).collect();
        if let [_] = projections.as_slice() {
            return (child.project(projections.swap_remove(0), fields), calls);
        }
        let rows = child.rows * projections.len() as f64;
        let schema = Arc::new(Schema::new(fields));
        (child.then(Op::Expand(ExpandSpec { projections }), schema, rows), calls)
    }

    /// Adds the condition that a row is of the branch of the plain aggregates, if there are any.
    fn with_condition(&self, node: Node) -> Node {
        if self.plain.is_empty() {
            return node;
        }
        let mut fields = node.schema.fields.clone();
        let mut expressions: Vec<Expr> = (0..fields.len()).map(Expr::Column).collect();
        let zero = Expr::Literal(Literal { value: Value::Int(0), data_type: LogicalType::Int32 });
        expressions.push(Expr::call("eq", vec![Expr::Column(self.keys), zero], LogicalType::Boolean));
        fields.push(Field::new("is_plain", LogicalType::Boolean, false));
        node.project(expressions, fields)
    }

    /// The calls of the second grouping, in the order of the query.
    fn second_calls(&self, calls: &[AggregateCall]) -> Vec<AggregateCall> {
        let condition = self.first_result() + self.plain.len();
        let mut next_result = self.first_result();
        let second = |call: &AggregateCall| {
            if is_split(call) {
                let value = self.values.iter().position(|v| *v == (call.args[0], call.filter));
                let column = self.first_value() + value.expect("every distinct value was collected");
                return AggregateCall { args: vec![column], distinct: false, filter: None, ..call.clone() };
            }
            next_result += 1;
            AggregateCall {
                function: "first_value".to_owned(),
                args: vec![next_result - 1],
                arg_types: vec![call.return_type.clone()],
                distinct: false,
                order_by: Vec::new(),
                filter: Some(condition),
                return_type: call.return_type.clone(),
            }
        };
        calls.iter().map(second).collect()
    }
}

/// A group without rows has no count that could be picked: it is 0.
fn counts_of_nothing(node: Node, calls: &[AggregateCall], fields: Vec<Field>) -> Node {
    let keys = fields.len() - calls.len();
    let column = |index: usize| match index.checked_sub(keys).map(|call| &calls[call]) {
        Some(call) if call.function == "count" && !is_split(call) => {
            let zero = Expr::Literal(Literal { value: Value::Int(0), data_type: call.return_type.clone() });
            Expr::call("coalesce", vec![Expr::Column(index), zero], call.return_type.clone())
        }
        _ => Expr::Column(index),
    };
    let expressions = (0..fields.len()).map(column).collect();
    node.project(expressions, fields)
}
