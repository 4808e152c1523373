//! From the states of an aggregate to its values: the aggregate's own accumulator takes the states in and evaluates, so
//! rounding, range and NULLs are those of GROUP BY.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array};
use flumen_core::batch::Column;
use flumen_core::failure::Failure;
use flumen_core::spec::relational::AggregateCall;
use flumen_state::{Accumulator, AccumulatorContext, AggregateRegistry, StateInput};

use crate::contract::OperatorContext;

/// Turns states into values.
pub(super) struct Finish {
    accumulator: Box<dyn Accumulator>,
    /// `0..` as far as was needed.
    slots: Vec<u32>,
}

impl Finish {
    pub(super) fn new(call: &AggregateCall, context: &OperatorContext) -> Result<Self, Failure> {
        Ok(Self { accumulator: accumulator(call, context)?, slots: Vec::new() })
    }

    /// The values of sums and how many rows each is of: the states of SUM and AVG.
    pub(super) fn sums(&mut self, sums: ArrayRef, counts: Vec<i64>) -> Result<Column, Failure> {
        let rows = sums.len();
        let mut states = vec![Column::Array(sums)];
        if self.accumulator.state_fields().len() > 1 {
            states.push(Column::Array(Arc::new(Int64Array::from(counts))));
        }
        let states: Vec<&Column> = states.iter().collect();
        self.slots.extend(self.slots.len() as u32..rows as u32);
        let slots = &self.slots[..rows];
        self.accumulator.clear();
        self.accumulator.reserve(rows)?;
        self.accumulator.merge(&StateInput { slots, state: &states, rows, selection: None, slot_count: rows })?;
        Ok(Column::Array(self.accumulator.evaluate(slots)?))
    }
}

/// A fresh accumulator of a call.
pub(super) fn accumulator(call: &AggregateCall, context: &OperatorContext) -> Result<Box<dyn Accumulator>, Failure> {
    let context = AccumulatorContext { pages: Arc::clone(&context.pages), retracting: false };
    Ok(AggregateRegistry::default().create(call, &context)?)
}
