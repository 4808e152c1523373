//! What grouped aggregation and windowed aggregation share: keys and accumulators over keyed tables.
//!
//! An [`Aggregation`] is the description (which columns, which accumulators, which phase); the tables hold the groups.
//! A batch is grouped once and then goes to each accumulator as a whole.
//!
//! In a continuous query every accumulator that can is made to take rows back, and rows are counted per group so that
//! a group without rows disappears: by a `count(*)` among the aggregates if there is one, else by one that is added
//! behind them and not part of the output.

use std::sync::Arc;

use flumen_core::batch::{Batch, Column, Selection};
use flumen_core::failure::Failure;
use flumen_core::spec::relational::{AggregateCall, AggregatePhase};
use flumen_core::types::{Field, LogicalType, SchemaRef};
use flumen_state::{
    Accumulator, AccumulatorContext, AggregateRegistry, Groups, KeyInput, KeyedTable, MeteredPages, PageSource,
    RowInput, StateError,
};

use crate::contract::OperatorContext;
use crate::error::{OperatorError, check_columns};

/// The state columns of aggregate calls: what a local phase puts behind the keys and a global phase expects there.
///
/// # Errors
/// If a function is unknown or does not take its arguments.
pub fn aggregate_state_fields(
    registry: &AggregateRegistry,
    calls: &[AggregateCall],
    continuous: bool,
) -> Result<Vec<Field>, StateError> {
    let pages = MeteredPages::unmetered();
    let mut fields = Vec::new();
    for call in calls {
        fields.extend(accumulator(registry, call, continuous, &pages)?.state_fields());
    }
    Ok(fields)
}

/// An accumulator; one that can take rows back if that is wanted and it exists.
fn accumulator(
    registry: &AggregateRegistry,
    call: &AggregateCall,
    retracting: bool,
    pages: &Arc<dyn PageSource>,
) -> Result<Box<dyn Accumulator>, StateError> {
    let context = |retracting| AccumulatorContext { pages: Arc::clone(pages), retracting };
    if retracting && let Ok(accumulator) = registry.create(call, &context(true)) {
        return Ok(accumulator);
    }
    registry.create(call, &context(false))
}

/// Keys and accumulators of a grouping.
pub(crate) struct Aggregation {
    operator: &'static str,
    pub(crate) group_by: Vec<usize>,
    key_fields: Vec<Field>,
    /// Those of the query, then the added row count if there is one.
    calls: Vec<AggregateCall>,
    registry: AggregateRegistry,
    pub(crate) phase: AggregatePhase,
    continuous: bool,
    pages: Arc<dyn PageSource>,
    /// State columns of each call.
    state_widths: Vec<usize>,
    /// Column of the first state in the input of a global phase.
    first_state: usize,
    /// Which call counts the rows of a group.
    row_count: Option<usize>,
    /// The last call is not part of the output.
    has_added_count: bool,
    /// No accumulator is unable to take rows back.
    can_retract: bool,
}

/// What an aggregation is made from.
pub(crate) struct AggregationSpec<'a> {
    pub(crate) operator: &'static str,
    pub(crate) group_by: &'a [usize],
    pub(crate) aggregates: &'a [AggregateCall],
    pub(crate) phase: AggregatePhase,
    pub(crate) continuous: bool,
    pub(crate) input: &'a SchemaRef,
    /// Column of the first state in the input of a global phase.
    pub(crate) first_state: usize,
}

impl Aggregation {
    pub(crate) fn new(spec: &AggregationSpec<'_>, context: &OperatorContext) -> Result<Self, Failure> {
        check_columns(spec.group_by.iter().copied(), spec.input, spec.operator)?;
        let mut calls = spec.aggregates.to_vec();
        let counts_rows =
            |c: &AggregateCall| c.function == "count" && c.args.is_empty() && c.filter.is_none() && !c.distinct;
        let mut row_count = calls.iter().position(counts_rows).filter(|_| spec.continuous);
        let has_added_count = spec.continuous && row_count.is_none() && spec.phase == AggregatePhase::Single;
        if has_added_count {
            row_count = Some(calls.len());
            calls.push(AggregateCall {
                function: "count".into(),
                args: Vec::new(),
                arg_types: Vec::new(),
                distinct: false,
                order_by: Vec::new(),
                filter: None,
                return_type: LogicalType::Int64,
            });
        }
        let registry = AggregateRegistry::default();
        let pages = Arc::clone(&context.pages);
        let mut state_widths = Vec::with_capacity(calls.len());
        let mut can_retract = true;
        for call in &calls {
            if spec.phase != AggregatePhase::Global {
                check_columns(call.args.iter().copied().chain(call.filter), spec.input, spec.operator)?;
            }
            let accumulator = accumulator(&registry, call, spec.continuous, &pages)?;
            state_widths.push(accumulator.state_fields().len());
            can_retract &= accumulator.supports_retract();
        }
        let states: usize = state_widths.iter().sum();
        if spec.phase == AggregatePhase::Global && spec.input.fields.len() != spec.first_state + states {
            let problem = format!(
                "{states} state columns are expected from column {}, the input has {} columns",
                spec.first_state,
                spec.input.fields.len()
            );
            return Err(OperatorError::Spec { operator: spec.operator, problem }.into());
        }
        Ok(Self {
            operator: spec.operator,
            group_by: spec.group_by.to_vec(),
            key_fields: spec.group_by.iter().map(|column| spec.input.fields[*column].clone()).collect(),
            calls,
            registry,
            phase: spec.phase,
            continuous: spec.continuous,
            pages,
            state_widths,
            first_state: spec.first_state,
            row_count,
            has_added_count,
            can_retract,
        })
    }

    /// The call that counts the rows of a group.
    pub(crate) fn row_count(&self) -> Option<usize> {
        self.row_count
    }

    /// Aggregates that come out.
    pub(crate) fn visible_calls(&self) -> usize {
        self.calls.len() - usize::from(self.has_added_count)
    }

    /// Columns of the output before an added count is taken away.
    pub(crate) fn result_schema(&self, output: &SchemaRef) -> SchemaRef {
        if !self.has_added_count {
            return Arc::clone(output);
        }
        let mut schema = flumen_core::types::Schema::clone(output);
        schema.fields.push(Field::new("row_count", LogicalType::Int64, false));
        Arc::new(schema)
    }

    /// Fresh accumulators, one for each call.
    pub(crate) fn accumulators(&self) -> Result<Vec<Box<dyn Accumulator>>, Failure> {
        let make = |call| accumulator(&self.registry, call, self.continuous, &self.pages);
        Ok(self.calls.iter().map(make).collect::<Result<_, _>>()?)
    }

    /// An empty table.
    pub(crate) fn table(&self) -> Result<KeyedTable, Failure> {
        Ok(KeyedTable::new(self.key_fields.clone(), self.accumulators()?, Arc::clone(&self.pages))?)
    }

    /// Refuses batches with rows that take earlier ones back, unless everything can cope with that.
    pub(crate) fn check_kinds(&self, batch: &Batch) -> Result<(), Failure> {
        let can_retract =
            self.continuous && self.can_retract && self.row_count.is_some() && self.phase != AggregatePhase::Global;
        if batch.flags().has_deletes && !can_retract {
            return Err(OperatorError::Retraction { operator: self.operator }.into());
        }
        Ok(())
    }

    /// Finds the group of each of the selected rows, and takes memory for what will be kept of them.
    pub(crate) fn group(
        &self,
        table: &mut KeyedTable,
        batch: &Batch,
        selection: Option<&Selection>,
        groups: &mut Groups,
    ) -> Result<(), StateError> {
        let columns: Vec<&Column> = self.group_by.iter().map(|column| batch.column(*column)).collect();
        let hashes = batch.hashes_of(&self.group_by).map(|h| h.as_ref());
        let rows = batch.physical_rows();
        table.group(KeyInput { columns: &columns, rows, selection, hashes }, groups)?;
        let selected = selection.map_or(rows, |s| s.len());
        self.each_input(batch, |index, columns| table.make_room(index, columns, rows, selected))
    }

    /// Calls `each` with every aggregate and its argument columns or, in a global phase, its states.
    fn each_input(
        &self,
        batch: &Batch,
        mut each: impl FnMut(usize, &[&Column]) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        let mut state = self.first_state;
        let mut columns: Vec<&Column> = Vec::new();
        for (index, call) in self.calls.iter().enumerate() {
            columns.clear();
            if self.phase == AggregatePhase::Global {
                columns.extend((state..state + self.state_widths[index]).map(|column| batch.column(column)));
                state += self.state_widths[index];
            } else {
                columns.extend(call.args.iter().map(|column| batch.column(*column)));
            }
            each(index, &columns)?;
        }
        Ok(())
    }

    /// Takes in the rows that were grouped.
    pub(crate) fn accumulate(
        &self,
        table: &mut KeyedTable,
        batch: &Batch,
        selection: Option<&Selection>,
        groups: &Groups,
    ) -> Result<(), StateError> {
        let selection = selection.map(|s| s.as_ref());
        let rows = batch.physical_rows();
        self.each_input(batch, |index, args| {
            if self.phase == AggregatePhase::Global {
                return table.merge(index, groups, args, rows, selection);
            }
            let filter = self.calls[index].filter.map(|column| batch.column(column));
            let row_kinds = batch.row_kinds().map(|k| k.as_ref());
            table.update(index, groups, RowInput { args, rows, selection, filter, row_kinds })
        })
    }

    /// Argument columns and filter of a call, for accumulators outside of a table.
    pub(crate) fn call_input<'a>(&self, call: usize, batch: &'a Batch) -> (Vec<&'a Column>, Option<&'a Column>) {
        let call = &self.calls[call];
        let args = call.args.iter().map(|column| batch.column(*column)).collect();
        (args, call.filter.map(|column| batch.column(column)))
    }
}
