//! Any aggregate over any frame, by its states alone: a tree of them.
//!
//! The leaves are the states of single rows, exported by the aggregate's accumulator; each node above is merged from two.
//! A frame is at most two nodes of each level, for each of its parts if it leaves rows out; levels whose nodes are longer
//! than every frame are not made. A batch of rows is answered by one merge of all their nodes and one evaluation; rows whose frame is empty get the state of no rows. Cost: two states kept for each row, and the merge of
//! `2 log2(frame)` states for each.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::BooleanArray;
use flumen_core::batch::{Batch, Column};
use flumen_core::failure::Failure;
use flumen_core::spec::relational::AggregateCall;
use flumen_core::types::Schema;
use flumen_kernels::gather::concat;
use flumen_state::{Accumulator, StateInput, UpdateInput};

use super::finish::accumulator;
use super::frame::Frames;
use super::{SortedRows, Values};
use crate::contract::OperatorContext;

/// An aggregate over frames that move.
pub(super) struct TreeValues {
    frames: Arc<Frames>,
    accumulator: Box<dyn Accumulator>,
    /// The states of all nodes, level by level from the leaves, and behind them the state of no rows.
    states: Batch,
    /// Where each level begins.
    levels: Vec<usize>,
}

impl TreeValues {
    pub(super) fn new(
        rows: &SortedRows,
        call: &AggregateCall,
        frames: &Arc<Frames>,
        context: &OperatorContext,
    ) -> Result<Self, Failure> {
        let mut accumulator = accumulator(call, context)?;
        let schema = Arc::new(Schema::new(accumulator.state_fields()));
        let args: Vec<&Column> = call.args.iter().map(|arg| rows.batch.column(*arg)).collect();
        let filter = call.filter.map(|filter| rows.batch.column(filter));
        let export = |accumulator: &dyn Accumulator, slots: &[u32]| -> Result<Batch, Failure> {
            let columns = accumulator.export_state(slots)?.into_iter().map(Column::Array).collect();
            Ok(Batch::new(Arc::clone(&schema), columns, slots.len()))
        };
        let mut slots: Vec<u32> = (0..rows.count as u32).collect();
        let input = UpdateInput {
            slots: &slots,
            single: None,
            args: &args,
            rows: rows.count,
            selection: None,
            filter,
            row_kinds: None,
            slot_count: rows.count,
        };
        accumulator.reserve(rows.count)?;
        accumulator.update(&input)?;
        let mut nodes = vec![export(accumulator.as_ref(), &slots)?];
        let mut levels = vec![0];
        let mut width = rows.count;
        let longest = (0..rows.count).map(|row| frames.get(row).len()).max().unwrap_or(0);
        while longest >> levels.len() > 0 {
            let below = &nodes[nodes.len() - 1];
            let parents: Vec<u32> = (0..width as u32).map(|node| node / 2).collect();
            levels.push(levels[levels.len() - 1] + width);
            let (below_width, slot_count) = (width, width.div_ceil(2));
            accumulator.clear();
            accumulator.reserve(slot_count)?;
            let state: Vec<&Column> = below.columns().iter().collect();
            let input = StateInput { slots: &parents, state: &state, rows: below_width, selection: None, slot_count };
            accumulator.merge(&input)?;
            slots.truncate(slot_count);
            let level = export(accumulator.as_ref(), &slots)?;
            nodes.push(level);
            width = slot_count;
        }
        // One row that does not count leaves the state of no rows.
        let none = Column::Constant(Arc::new(BooleanArray::from(vec![false])));
        let args: Vec<Column> = args.iter().map(|arg| Column::Array(arg.array().slice(0, 1))).collect();
        let args: Vec<&Column> = args.iter().collect();
        let input = UpdateInput {
            slots: &[0],
            single: None,
            args: &args,
            rows: 1,
            selection: None,
            filter: Some(&none),
            row_kinds: None,
            slot_count: 1,
        };
        accumulator.clear();
        accumulator.reserve(1)?;
        accumulator.update(&input)?;
        nodes.push(export(accumulator.as_ref(), &[0])?);
        accumulator.clear();
        Ok(Self { frames: Arc::clone(frames), accumulator, states: concat(&schema, &nodes)?, levels })
    }
}

impl Values for TreeValues {
    fn piece(&mut self, rows: Range<usize>) -> Result<Column, Failure> {
        let no_rows = self.states.physical_rows() as u32 - 1;
        let (mut slots, mut nodes) = (Vec::new(), Vec::new());
        for (slot, row) in rows.clone().enumerate() {
            let before = nodes.len();
            for frame in self.frames.parts(row) {
                let (mut from, mut to) = (frame.start, frame.end);
                for level in &self.levels {
                    if from >= to {
                        break;
                    }
                    if from % 2 == 1 {
                        nodes.push((level + from) as u32);
                        from += 1;
                    }
                    if to % 2 == 1 {
                        to -= 1;
                        nodes.push((level + to) as u32);
                    }
                    (from, to) = (from / 2, to / 2);
                }
            }
            if nodes.len() == before {
                nodes.push(no_rows);
            }
            slots.resize(nodes.len(), slot as u32);
        }
        let state: Vec<&Column> = self.states.columns().iter().collect();
        let input = StateInput {
            slots: &slots,
            state: &state,
            rows: self.states.physical_rows(),
            selection: Some(&nodes),
            slot_count: rows.len(),
        };
        self.accumulator.clear();
        self.accumulator.reserve(rows.len())?;
        self.accumulator.merge(&input)?;
        let all: Vec<u32> = (0..rows.len() as u32).collect();
        Ok(Column::Array(self.accumulator.evaluate(&all)?))
    }

    fn bytes(&self) -> usize {
        self.states.memory_size()
    }
}
