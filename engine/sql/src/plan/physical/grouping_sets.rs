//! GROUPING SETS, ROLLUP and CUBE: every row once for each set, with NULL for the keys that the set has not, and the
//! number of the set as one more key.
//!
//! So one grouping, in two phases like any other, does all sets; the local phase reduces what was multiplied before it
//! is exchanged. The set without keys has a row even if there is no input: the grouping is told to have that group.

use std::sync::Arc;

use flumen_core::expr::{Expr, Literal, Value};
use flumen_core::spec::relational::{AggregateCall, ExpandSpec};
use flumen_core::types::{Field, Schema};

use super::super::node::Op;
use super::aggregate::Grouped;
use crate::error::Result;

impl Grouped {
    /// Groups by these sets, each of which says which of the keys it has; `id` is the field of their number.
    pub(super) fn by_sets(self, sets: &[Vec<bool>], calls: &mut [AggregateCall], id: &Field) -> Result<Self> {
        let Self { child, keys, .. } = self;
        let field = |column: usize| child.schema.fields[column].clone();
        let key_field = |column: &usize| Field { nullable: true, ..field(*column) };
        // Arguments stay what they are, also where they are keys.
        let mut arguments: Vec<usize> = Vec::new();
        for argument in calls.iter_mut().flat_map(|call| call.args.iter_mut().chain(call.filter.as_mut())) {
            let place = arguments.iter().position(|a| a == argument).unwrap_or_else(|| {
                arguments.push(*argument);
                arguments.len() - 1
            });
            *argument = keys.len() + 1 + place;
        }
        let fields: Vec<Field> =
            keys.iter().map(key_field).chain([id.clone()]).chain(arguments.iter().map(|a| field(*a))).collect();
        let null = |key: usize| Literal::null(field(key).data_type);
        let number = |index: usize| Literal { value: Value::Int(index as i128), data_type: id.data_type.clone() };
        let projection = |(index, set): (usize, &Vec<bool>)| {
            let key = |(key, has): (&usize, &bool)| if *has { Expr::Column(*key) } else { Expr::Literal(null(*key)) };
            let keys = keys.iter().zip(set).map(key);
            keys.chain([Expr::Literal(number(index))]).chain(arguments.iter().map(|a| Expr::Column(*a))).collect()
        };
        let projections: Vec<Vec<Expr>> = sets.iter().enumerate().map(projection).collect();
        let totals = sets
            .iter()
            .enumerate()
            .filter(|(_, set)| !set.contains(&true))
            .map(|(index, _)| keys.iter().map(|key| null(*key)).chain([number(index)]).collect())
            .collect();
        let rows = child.rows * sets.len() as f64;
        let child = child.then(Op::Expand(ExpandSpec { projections }), Arc::new(Schema::new(fields)), rows);
        Ok(Self { child, keys: (0..=keys.len()).collect(), totals })
    }
}
