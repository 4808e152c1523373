//! GROUP BY: aggregates by key, over bounded input at its end, or continuously as a changelog.
//!
//! | phase | takes | gives |
//! |---|---|---|
//! | single | rows | final values |
//! | local | rows | accumulator states, a key perhaps more than once |
//! | global | states | final values |
//!
//! *Bounded*: groups are kept until the input ends and then come out in the order in which they were found. Without keys
//! there is one group even without rows (not in the local phase); with keys the spec may name such groups (`totals`), and
//! each is given by the subtask that owns its key. Groups that memory does not hold are spilled by radix partition
//! ([`spill`]), and then come out partition by partition.
//!
//! *Continuous* (`continuous`): after each input batch the net change of each of its keys comes out: `+I` for a new
//! group, `-U +U` side by side if a value has changed, `-D` when the group's last row is taken back; nothing if the
//! values are what they were.
//!
//! *Local* never fails for lack of memory as long as one batch fits: it gives out what it holds and starts anew. It
//! looks at its benefit whenever it holds [`local::GROUPS_MAX`] groups; if there is little, it turns the next rows into
//! states one by one, without a table, and tries again later. It holds nothing across a barrier.
//!
//! State: `groups`, keyed by the group-by columns: keys, then the states of all aggregates.
//!
//! Cost: grouping, and a pass for each aggregate. Measured (`benches/RESULTS.md`): grouping by an integer 2.8 ns per row
//! into 4 groups, 9-12 into a thousand, 52 into half a million; the floors are 1, 6 and 6-15.

mod bounded;
mod changes;
mod local;
mod spill;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use flumen_core::batch::{Batch, Column};
use flumen_core::failure::Failure;
use flumen_core::ids::CheckpointId;
use flumen_core::key_group::key_group_of;
use flumen_core::spec::relational::{AggregatePhase, HashAggregateSpec};
use flumen_core::spec::{OperatorPayload, OperatorSpec};
use flumen_kernels::expr::literal_array;
use flumen_kernels::hash::hash_columns;
use flumen_memory::ConsumerKind;
use flumen_state::{Groups, KeyedPart, KeyedTable, OperatorSnapshot, RestoredState};

use crate::aggregation::{Aggregation, AggregationSpec};
use crate::contract::{Operator, OperatorContext, OperatorFactory, Output, Step};
use crate::error::{OperatorError, expression_failure, input_schema, output_schema};
use crate::registry::OperatorRegistry;
use bounded::BoundedAggregate;
use changes::ChangeLog;
use local::LocalAggregate;

const NAME: &str = "hash aggregate";
const STATE: &str = "groups";

/// Adds the factory.
pub fn register(registry: &mut OperatorRegistry) {
    registry.register(Arc::new(Factory));
}

struct Factory;

impl OperatorFactory for Factory {
    fn kind(&self) -> &'static str {
        HashAggregateSpec::KIND
    }

    /// The groups of an unbounded input are state; what a local phase collects, and bounded groups, are not kept.
    fn memory_consumer(&self, spec: &OperatorSpec) -> Option<ConsumerKind> {
        // What cannot be read is refused by `create`.
        let payload: HashAggregateSpec = spec.payload().ok()?;
        let is_state = payload.continuous && payload.phase != AggregatePhase::Local;
        Some(if is_state { ConsumerKind::StateBackend } else { ConsumerKind::Operator })
    }

    fn create(&self, spec: &OperatorSpec, context: &OperatorContext) -> Result<Box<dyn Operator>, Failure> {
        let payload: HashAggregateSpec = spec.payload()?;
        let (input, output) = (input_schema(spec, 0, NAME)?, output_schema(spec, NAME)?);
        let aggregation = Aggregation::new(
            &AggregationSpec {
                operator: NAME,
                group_by: &payload.group_by,
                aggregates: &payload.aggregates,
                phase: payload.phase,
                continuous: payload.continuous,
                input,
                first_state: payload.group_by.len(),
            },
            context,
        )?;
        let mut table = aggregation.table()?;
        let values = match payload.phase {
            AggregatePhase::Local => table.state_schema().fields.len(),
            _ => payload.group_by.len() + payload.aggregates.len(),
        };
        if output.fields.len() != values {
            let problem = format!("the output has {} columns instead of {values}", output.fields.len());
            return Err(OperatorError::Spec { operator: NAME, problem }.into());
        }
        if payload.phase == AggregatePhase::Local {
            return Ok(Box::new(LocalAggregate::new(aggregation, table, payload.continuous, output, context)?));
        }
        if let Some(groups) = payload.estimated_groups {
            let share = groups / u64::from(context.task.parallelism.max(1));
            table = table.with_expected_groups(usize::try_from(share).unwrap_or(usize::MAX));
        }
        let totals = owned_totals(&payload, context)?;
        if !payload.continuous {
            return Ok(Box::new(BoundedAggregate::new(aggregation, table, totals, input, output, context)));
        }
        Ok(Box::new(ContinuousAggregate {
            changes: ChangeLog::new(&aggregation, output, context),
            aggregation,
            table,
            groups: Groups::default(),
            batch_rows: context.batch_rows,
            max_parallelism: context.task.max_parallelism,
        }))
    }
}

/// The keys of the groups that exist even without rows, of those that this subtask owns: columns of one row.
fn owned_totals(spec: &HashAggregateSpec, context: &OperatorContext) -> Result<Vec<Vec<Column>>, Failure> {
    let mut owned = Vec::new();
    for key in &spec.totals {
        if key.len() != spec.group_by.len() || spec.continuous {
            let problem = format!("a total of {} keys among groups of {}", key.len(), spec.group_by.len());
            return Err(OperatorError::Spec { operator: NAME, problem }.into());
        }
        let arrays = key.iter().map(literal_array).collect::<Result<Vec<_>, _>>().map_err(expression_failure)?;
        let columns: Vec<Column> = arrays.into_iter().map(Column::Array).collect();
        let hash = hash_columns(&columns.iter().collect::<Vec<_>>(), 1, None)[0];
        if context.key_groups.contains(key_group_of(hash, context.task.max_parallelism)) {
            owned.push(columns);
        }
    }
    Ok(owned)
}

/// Phases single and global of a continuous query.
struct ContinuousAggregate {
    aggregation: Aggregation,
    table: KeyedTable,
    groups: Groups,
    batch_rows: usize,
    max_parallelism: u32,
    changes: ChangeLog,
}

impl Operator for ContinuousAggregate {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut Output) -> Result<Step, Failure> {
        self.aggregation.check_kinds(&batch)?;
        self.aggregation.group(&mut self.table, &batch, batch.selection(), &mut self.groups)?;
        self.changes.before(&self.table, &self.groups)?;
        self.aggregation.accumulate(&mut self.table, &batch, batch.selection(), &self.groups)?;
        self.changes.after(&mut self.table)?;
        self.changes.emit(out)
    }

    fn resume(&mut self, out: &mut Output) -> Result<Step, Failure> {
        self.changes.emit(out)
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<OperatorSnapshot, Failure> {
        let rows = self.table.snapshot(self.max_parallelism, self.batch_rows);
        let part = KeyedPart { name: STATE.into(), rows: Box::new(rows) };
        Ok(OperatorSnapshot { keyed: vec![part], lists: Vec::new() })
    }

    fn restore(&mut self, mut state: RestoredState) -> Result<(), Failure> {
        Ok(self.table.restore(state.keyed.remove(STATE).unwrap_or_default())?)
    }
}
