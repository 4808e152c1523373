//! LIMIT and OFFSET without an order: a part of the input, by position.
//!
//! Batches are sliced, never copied. Once the last row has passed, [`Operator::is_satisfied`] makes the driver stop
//! reading. The state is one number, rows seen so far; entries of several subtasks add up, because what they passed on
//! together already counts. Cost: a few nanoseconds for a batch.

use std::sync::Arc;

use flumen_core::batch::Batch;
use flumen_core::failure::Failure;
use flumen_core::ids::CheckpointId;
use flumen_core::spec::relational::LimitSpec;
use flumen_core::spec::{OperatorPayload, OperatorSpec, StateKind};
use flumen_state::{ListPart, OperatorSnapshot, RestoredState};

use crate::contract::{Operator, OperatorContext, OperatorFactory, Output, Step};
use crate::error::OperatorError;
use crate::registry::OperatorRegistry;

const STATE: &str = "position";

/// Adds the factory.
pub fn register(registry: &mut OperatorRegistry) {
    registry.register(Arc::new(Factory));
}

struct Factory;

impl OperatorFactory for Factory {
    fn kind(&self) -> &'static str {
        LimitSpec::KIND
    }

    fn create(&self, spec: &OperatorSpec, _context: &OperatorContext) -> Result<Box<dyn Operator>, Failure> {
        let spec: LimitSpec = spec.payload()?;
        let end = spec.fetch.map_or(u64::MAX, |fetch| spec.offset.saturating_add(fetch));
        Ok(Box::new(Limit { offset: spec.offset, end, seen: 0 }))
    }
}

struct Limit {
    offset: u64,
    /// Position after the last row that passes.
    end: u64,
    seen: u64,
}

impl Operator for Limit {
    fn is_satisfied(&self) -> bool {
        self.seen >= self.end
    }

    fn process(&mut self, _input: usize, batch: Batch, out: &mut Output) -> Result<Step, Failure> {
        if batch.flags().has_deletes {
            return Err(OperatorError::Retraction { operator: "limit" }.into());
        }
        let rows = batch.num_rows() as u64;
        let from = self.offset.saturating_sub(self.seen).min(rows);
        let to = self.end.saturating_sub(self.seen).min(rows).max(from);
        self.seen = self.seen.saturating_add(rows);
        if from == 0 && to == rows {
            out.emit(batch);
        } else {
            out.emit(batch.slice(from as usize, (to - from) as usize));
        }
        Ok(Step::Done)
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<OperatorSnapshot, Failure> {
        let entries = vec![self.seen.to_le_bytes().to_vec()];
        let list = ListPart { name: STATE.into(), kind: StateKind::OperatorList, entries };
        Ok(OperatorSnapshot { keyed: Vec::new(), lists: vec![list] })
    }

    fn restore(&mut self, mut state: RestoredState) -> Result<(), Failure> {
        for entry in state.lists.remove(STATE).unwrap_or_default() {
            let bytes = <[u8; 8]>::try_from(entry.as_slice())
                .map_err(|_| OperatorError::State { name: STATE, problem: "an entry has not 8 bytes".into() })?;
            self.seen = self.seen.saturating_add(u64::from_le_bytes(bytes));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Event, Feed, Instance, batch, ints, rows_given, schema};
    use flumen_core::types::LogicalType;

    fn spec(offset: u64, fetch: Option<u64>) -> OperatorSpec {
        let schema = schema(&[("v", LogicalType::Int64)]);
        OperatorSpec::new(&LimitSpec { offset, fetch }, vec![Arc::clone(&schema)], Some(schema))
    }

    #[test]
    fn passes_by_position() {
        let schema = schema(&[("v", LogicalType::Int64)]);
        let rows = |range: std::ops::Range<i64>| batch(&schema, vec![ints(range.map(Some))]);
        let events = [Event::Batch(0, rows(0..20)), Event::Batch(0, rows(20..21)), Event::Batch(0, rows(21..50))];
        for (offset, fetch, expected) in [
            (0, None, 0..50),
            (0, Some(0), 0..0),
            (0, Some(7), 0..7),
            (7, Some(14), 7..21),
            (49, Some(5), 49..50),
            (50, Some(5), 0..0),
            (3, Some(u64::MAX), 3..50),
            (u64::MAX, Some(u64::MAX), 0..0),
        ] {
            let expected: Vec<String> = expected.map(|v: i64| format!("+I {v}")).collect();
            for feed in Feed::all(events.len(), true, &[1]) {
                let given = rows_given(&spec(offset, fetch), &[vec![0]], &events, &feed);
                assert_eq!(given, expected, "{offset} {fetch:?} {feed:?}");
            }
        }
    }

    #[test]
    fn needs_nothing_more_after_its_last_row() {
        let schema = schema(&[("v", LogicalType::Int64)]);
        let mut limit = Instance::alone(&spec(1, Some(2)));
        limit.batch(0, batch(&schema, vec![ints([Some(1), Some(2)])])).unwrap();
        assert!(!limit.operator.is_satisfied());
        limit.batch(0, batch(&schema, vec![ints([Some(3)])])).unwrap();
        assert!(limit.operator.is_satisfied());
        assert_eq!(limit.texts(), ["+I 2", "+I 3"]);
    }

    #[test]
    fn refuses_rows_that_are_taken_back() {
        let schema = schema(&[("v", LogicalType::Int64)]);
        let change = batch(&schema, vec![ints([Some(1)])]).with_row_kinds(Some(vec![3i8].into()));
        let error = Instance::alone(&spec(0, Some(1))).batch(0, change).unwrap_err();
        assert!(error.to_string().contains("append-only"), "{error}");
    }
}
