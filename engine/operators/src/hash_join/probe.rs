//! The probe of one batch, in pieces.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, BooleanArray, new_null_array};
use arrow_buffer::ScalarBuffer;
use flumen_core::batch::{Batch, Column, Selection};
use flumen_core::expr::Expr;
use flumen_core::failure::Failure;
use flumen_core::spec::relational::JoinKind;
use flumen_core::types::{Schema, SchemaRef};
use flumen_kernels::expr::{CompiledPredicate, Selected};
use flumen_kernels::gather::{flatten, index_array, take_column, take_values};
use flumen_kernels::hash::hash_batch;
use flumen_kernels::join_table::{JoinTable, MatchBitmap, Pairs, ProbeCursor, ProbeInput, ProbeStatus};

use crate::contract::{OperatorContext, Output, Step};
use crate::error::expression_failure;

use super::gives_pairs;

/// Where a column comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    /// From this column of the probe side.
    Probe(usize),
    /// From this column of the table.
    Build(usize),
    /// Whether the probe row has a partner.
    Mark,
}

/// A condition on pairs.
pub(super) struct PairFilter {
    predicate: CompiledPredicate,
    schema: SchemaRef,
    /// Its columns, in order.
    sources: Vec<Source>,
}

impl PairFilter {
    /// `sources` are the columns that the filter reads, ascending; `pair` has all columns of both sides.
    pub(super) fn compile(
        filter: &Expr,
        pair: &Schema,
        sources: Vec<Source>,
        context: &OperatorContext,
    ) -> Result<Self, Failure> {
        let columns = filter.columns();
        let position = |column: usize| columns.binary_search(&column).expect("its own column");
        let schema = Schema::new(columns.iter().map(|column| pair.fields[*column].clone()).collect());
        let predicate = CompiledPredicate::compile(&filter.map_columns(&position), &schema, &context.functions)
            .map_err(expression_failure)?;
        Ok(Self { predicate, schema: Arc::new(schema), sources })
    }

    /// Keeps the pairs for which it is true.
    fn apply(&self, probe: &Batch, table: &JoinTable, pairs: &mut Pairs) -> Result<(), Failure> {
        if pairs.is_empty() {
            return Ok(());
        }
        let count = pairs.len();
        let rows = Rows::of(pairs);
        let columns = self.sources.iter().map(|source| rows.gather(*source, probe, table)).collect::<Result<_, _>>()?;
        let batch = Batch::new(Arc::clone(&self.schema), columns, count);
        let selected = self.predicate.select(&batch).map_err(expression_failure)?;
        rows.give_back(pairs);
        if let Selected::Rows(kept) = selected {
            for (to, from) in kept.iter().enumerate() {
                pairs.probe[to] = pairs.probe[*from as usize];
                pairs.build[to] = pairs.build[*from as usize];
            }
            pairs.probe.truncate(kept.len());
            pairs.build.truncate(kept.len());
        }
        Ok(())
    }
}

/// Pairs as arrays of indices; borrows the vectors and gives them back.
struct Rows {
    probe: ScalarBuffer<u32>,
    build: ScalarBuffer<u32>,
}

impl Rows {
    fn of(pairs: &mut Pairs) -> Self {
        Self { probe: std::mem::take(&mut pairs.probe).into(), build: std::mem::take(&mut pairs.build).into() }
    }

    fn gather(&self, source: Source, probe: &Batch, table: &JoinTable) -> Result<Column, Failure> {
        Ok(match source {
            Source::Probe(column) => take_column(probe.column(column), &index_array(&self.probe, None))?,
            Source::Build(column) => take_column(table.batch().column(column), &index_array(&self.build, None))?,
            Source::Mark => return Err(Failure::bug("hash join: a mark is of probe rows, not of pairs")),
        })
    }

    fn give_back(self, pairs: &mut Pairs) {
        let vector =
            |rows: ScalarBuffer<u32>| rows.into_inner().into_vec::<u32>().unwrap_or_else(|b| b.typed_data().to_vec());
        pairs.probe = vector(self.probe);
        pairs.build = vector(self.build);
    }
}

/// What a probe is made from.
pub(super) struct ProbeSpec {
    pub(super) kind: JoinKind,
    pub(super) keys: Vec<usize>,
    pub(super) filter: Option<PairFilter>,
    /// Columns of the output.
    pub(super) sources: Vec<Source>,
    pub(super) null_aware: bool,
    /// Column of the table that says how many probe rows a build row matches at most.
    pub(super) count: Option<usize>,
}

/// What is known of the whole build side, wherever its rows are.
#[derive(Clone, Copy, Debug)]
pub(super) struct BuildFacts {
    pub(super) is_empty: bool,
    /// Looked at for null-aware joins only.
    pub(super) has_null_key: bool,
}

/// Probes batch after batch.
pub(super) struct Probe {
    pub(super) spec: ProbeSpec,
    pub(super) output: SchemaRef,
    pub(super) pairs_max: usize,
    pub(super) facts: BuildFacts,
    cursor: ProbeCursor,
    pairs: Pairs,
    /// Probe rows of the batch that have a partner; not for inner joins.
    matched: MatchBitmap,
    /// Build rows that have had a partner, where that matters.
    pub(super) build_matched: MatchBitmap,
    /// By build row, how many more probe rows it can match; for counted joins.
    pub(super) left_over: Vec<i64>,
    current: Option<Current>,
    /// Which rows of the batch that met a piece of the build side have a partner, when it is done.
    piece: Option<MatchBitmap>,
}

/// The batch that is being probed.
struct Current {
    batch: Batch,
    hashes: Option<ScalarBuffer<u64>>,
    stage: Stage,
    /// The table is a piece of the build side: what depends on all of it does not come out.
    is_piece: bool,
}

#[derive(PartialEq)]
enum Stage {
    /// Pairs are being found.
    Pairs,
    /// What depends on which rows have a partner comes now.
    Rest,
}

impl Probe {
    pub(super) fn new(spec: ProbeSpec, output: SchemaRef, batch_rows: usize) -> Self {
        Self {
            spec,
            output,
            pairs_max: batch_rows.max(1),
            facts: BuildFacts { is_empty: true, has_null_key: false },
            cursor: ProbeCursor::default(),
            pairs: Pairs::default(),
            matched: MatchBitmap::new(0),
            build_matched: MatchBitmap::new(0),
            left_over: Vec::new(),
            current: None,
            piece: None,
        }
    }

    /// The table is complete; no row of it has had a partner yet.
    pub(super) fn begin(&mut self, table: &JoinTable) -> Result<(), Failure> {
        if self.spec.kind.marks_build() {
            self.build_matched.reset(table.num_rows());
        }
        if let Some(column) = self.spec.count {
            let array = flatten(table.batch().column(column).array())?;
            let counts = array.as_primitive_opt::<Int64Type>();
            self.left_over = counts.ok_or_else(|| Failure::bug("hash join: a count is BIGINT"))?.values().to_vec();
        }
        Ok(())
    }

    /// Whether no probe row can come out: NOT IN over values of which one is NULL is never true.
    pub(super) fn refuses_all(&self) -> bool {
        self.spec.null_aware && self.facts.has_null_key
    }

    /// Whether probe rows may be changes: not if a build row remembers which rows it has met.
    pub(super) fn takes_changes(&self) -> bool {
        !self.spec.kind.marks_build() && self.spec.count.is_none()
    }

    /// Begins a batch; the one before is complete.
    pub(super) fn start(&mut self, table: &JoinTable, batch: Batch) {
        if self.spec.kind != JoinKind::Inner {
            self.matched.reset(batch.physical_rows());
        }
        self.start_against(table, batch, false);
    }

    /// Begins a batch against a piece of the build side; `matched` are the rows that have a partner in another piece.
    pub(super) fn start_piece(&mut self, table: &JoinTable, batch: Batch, matched: MatchBitmap) {
        self.matched = matched;
        self.start_against(table, batch, true);
    }

    /// What [`Self::start_piece`] was given, with the rows that have a partner in this piece; once, when it is done.
    pub(super) fn take_piece(&mut self) -> Option<MatchBitmap> {
        self.piece.take()
    }

    fn start_against(&mut self, table: &JoinTable, batch: Batch, is_piece: bool) {
        if self.refuses_all() {
            self.piece = is_piece.then(|| std::mem::replace(&mut self.matched, MatchBitmap::new(0)));
            return;
        }
        let hashes = table.needs_hashes().then(|| hash_batch(&batch, &self.spec.keys));
        let stage = if table.num_rows() == 0 { Stage::Rest } else { Stage::Pairs };
        self.current = Some(Current { batch, hashes, stage, is_piece });
    }

    /// Whether a batch is under way.
    pub(super) fn is_under_way(&self) -> bool {
        self.current.is_some()
    }

    /// The next piece of the batch.
    pub(super) fn next(&mut self, table: &JoinTable, out: &mut Output) -> Result<Step, Failure> {
        let Some(mut current) = self.current.take() else { return Ok(Step::Done) };
        if current.stage == Stage::Pairs {
            let is_finished = self.find_pairs(table, &current, out)?;
            if is_finished {
                if self.spec.kind == JoinKind::Inner && !current.is_piece {
                    return Ok(Step::Done);
                }
                current.stage = Stage::Rest;
            }
            if !is_finished || !out.is_empty() {
                self.current = Some(current);
                return Ok(Step::HasMoreOutput);
            }
        }
        if current.is_piece {
            self.piece = Some(std::mem::replace(&mut self.matched, MatchBitmap::new(0)));
        } else {
            self.emit_rest(&current.batch, out)?;
        }
        Ok(Step::Done)
    }

    /// What of a batch comes out when all pieces have met it; `matched` are its rows with a partner in any.
    pub(super) fn emit_rest_of(
        &mut self,
        batch: &Batch,
        matched: MatchBitmap,
        out: &mut Output,
    ) -> Result<(), Failure> {
        self.matched = matched;
        if self.refuses_all() { Ok(()) } else { self.emit_rest(batch, out) }
    }

    /// One round; answers whether it was the last.
    fn find_pairs(&mut self, table: &JoinTable, current: &Current, out: &mut Output) -> Result<bool, Failure> {
        let batch = &current.batch;
        let keys: Vec<&Column> = self.spec.keys.iter().map(|key| batch.column(*key)).collect();
        let input = ProbeInput {
            hashes: current.hashes.as_ref().map_or(&[], |h| h.as_ref()),
            keys: &keys,
            rows: batch.physical_rows(),
            selection: batch.selection(),
        };
        let gives_pairs = gives_pairs(self.spec.kind);
        let marks_build = self.spec.kind.marks_build();
        let must_see_pairs = gives_pairs || marks_build || self.spec.filter.is_some() || self.spec.count.is_some();
        if !must_see_pairs {
            let rows = table.matching_rows(&input, &mut self.cursor)?;
            self.matched.mark_all(&rows);
            return Ok(true);
        }
        let status = table.probe(&input, &mut self.cursor, self.pairs_max, &mut self.pairs)?;
        if let Some(filter) = &self.spec.filter {
            filter.apply(batch, table, &mut self.pairs)?;
        }
        if self.spec.count.is_some() {
            self.use_up();
        } else if self.spec.kind != JoinKind::Inner {
            self.matched.mark_all(&self.pairs.probe);
        }
        if marks_build {
            self.build_matched.mark_all(&self.pairs.build);
        }
        if gives_pairs && !self.pairs.is_empty() {
            self.emit_pairs(table, batch, out)?;
        }
        Ok(status == ProbeStatus::Finished)
    }

    /// Each probe row takes one of what is left of its build rows.
    fn use_up(&mut self) {
        for (probe, build) in self.pairs.probe.iter().zip(&self.pairs.build) {
            let left = &mut self.left_over[*build as usize];
            if *left > 0 && !self.matched.is_marked(*probe) {
                *left -= 1;
                self.matched.mark(*probe);
            }
        }
    }

    fn emit_pairs(&mut self, table: &JoinTable, batch: &Batch, out: &mut Output) -> Result<(), Failure> {
        let count = self.pairs.len();
        // Every row has one partner, as along a foreign key: the probe columns stay as they are.
        let is_whole =
            count == batch.physical_rows() && self.pairs.probe.iter().enumerate().all(|(i, r)| i == *r as usize);
        let rows = Rows::of(&mut self.pairs);
        let columns = self
            .spec
            .sources
            .iter()
            .map(|source| match source {
                Source::Probe(column) if is_whole => Ok(batch.column(*column).clone()),
                source => rows.gather(*source, batch, table),
            })
            .collect::<Result<_, _>>()?;
        let kinds = batch.row_kinds().map(|kinds| take_values(kinds, &rows.probe));
        rows.give_back(&mut self.pairs);
        out.emit(Batch::new(Arc::clone(&self.output), columns, count).with_row_kinds(kinds));
        Ok(())
    }

    /// Probe rows by whether they have a partner; their columns are not touched.
    fn emit_rest(&self, batch: &Batch, out: &mut Output) -> Result<(), Failure> {
        let mut selection: Option<Selection> = match self.spec.kind {
            JoinKind::Inner | JoinKind::BuildSemi | JoinKind::BuildAnti => return Ok(()),
            JoinKind::LeftMark => batch.selection().cloned(),
            JoinKind::LeftSemi => Some(self.matched.marked(batch.selection())),
            _ => Some(self.matched.unmarked(batch.selection())),
        };
        if self.spec.null_aware && !self.facts.is_empty {
            selection = selection.map(|rows| without_nulls(rows, batch.column(self.spec.keys[0])));
        }
        if selection.as_ref().is_some_and(|rows| rows.is_empty()) {
            return Ok(());
        }
        let column = |(index, source): (usize, &Source)| match source {
            Source::Probe(column) => batch.column(*column).clone(),
            Source::Build(_) => self.null_column(index),
            Source::Mark => Column::Array(Arc::new(BooleanArray::new(self.matched.to_values(), None))),
        };
        let columns = self.spec.sources.iter().enumerate().map(column).collect();
        let rest = batch.with_columns(Arc::clone(&self.output), columns);
        out.emit(rest.with_selection(selection.filter(|rows| rows.len() < batch.physical_rows())));
        Ok(())
    }

    /// NULL in all rows, of the type of an output column.
    pub(super) fn null_column(&self, index: usize) -> Column {
        Column::Constant(new_null_array(&self.output.fields[index].data_type.arrow_type(), 1))
    }
}

/// The rows in which `key` is not NULL.
fn without_nulls(rows: Selection, key: &Column) -> Selection {
    match key {
        Column::Constant(value) if value.logical_null_count() > 0 => Vec::new().into(),
        Column::Constant(_) => rows,
        Column::Array(array) => match array.logical_nulls() {
            Some(nulls) => rows.iter().copied().filter(|row| nulls.is_valid(*row as usize)).collect(),
            None => rows,
        },
    }
}
