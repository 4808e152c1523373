//! Aggregates over whole partitions: one group for each, as in GROUP BY, and its value for each row.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::UInt32Array;
use flumen_core::batch::Column;
use flumen_core::failure::Failure;
use flumen_core::spec::relational::AggregateCall;
use flumen_kernels::gather::take_column;
use flumen_state::UpdateInput;

use super::finish::accumulator;
use super::{SortedRows, Values};
use crate::contract::OperatorContext;

/// One value for each partition.
pub(super) struct PartitionValues {
    rows: Arc<SortedRows>,
    values: Column,
}

impl PartitionValues {
    pub(super) fn new(
        rows: &Arc<SortedRows>,
        call: &AggregateCall,
        context: &OperatorContext,
    ) -> Result<Self, Failure> {
        let partitions = rows.layout.partitions.len() - 1;
        let mut slots = Vec::with_capacity(rows.count);
        for partition in rows.layout.partitions_in(0..rows.count) {
            slots.resize(partition.whole.end, partition.index as u32);
        }
        let args: Vec<&Column> = call.args.iter().map(|arg| rows.batch.column(*arg)).collect();
        let mut accumulator = accumulator(call, context)?;
        accumulator.reserve(partitions)?;
        accumulator.update(&UpdateInput {
            slots: &slots,
            single: (partitions == 1).then_some(0),
            args: &args,
            rows: rows.count,
            selection: None,
            filter: call.filter.map(|filter| rows.batch.column(filter)),
            row_kinds: None,
            slot_count: partitions,
        })?;
        let all: Vec<u32> = (0..partitions as u32).collect();
        Ok(Self { rows: Arc::clone(rows), values: Column::Array(accumulator.evaluate(&all)?) })
    }
}

impl Values for PartitionValues {
    fn piece(&mut self, rows: Range<usize>) -> Result<Column, Failure> {
        let mut partitions = Vec::with_capacity(rows.len());
        for partition in self.rows.layout.partitions_in(rows) {
            partitions.resize(partitions.len() + partition.rows.len(), partition.index as u32);
        }
        Ok(take_column(&self.values, &UInt32Array::new(partitions.into(), None))?)
    }

    fn bytes(&self) -> usize {
        self.values.array().get_array_memory_size()
    }
}
