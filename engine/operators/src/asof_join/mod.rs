//! ASOF join: each row with the nearest row of the other side, by keys and a position such as a time.
//!
//! Both sides are collected and sorted by keys and position ([`crate::external_sort`]: what memory does not hold is
//! spilled); an exchange by the keys has brought rows that may match into one subtask. Then both are read once, in step:
//!
//! 1. A piece of the probe side is taken, and its keys encoded as comparable bytes.
//! 2. For each of its rows the build side is read on while its rows are not behind it. The last one read is the
//!    *candidate*: the greatest build row that is not behind the probe row. It matches if its keys are the same.
//! 3. The build rows that were picked are gathered, and the piece goes out with them.
//!
//! Of the build side, the piece at hand is held, those that were picked from since the last output, and the candidate,
//! as a single row once its piece has been left. So memory does not follow the size of a key's rows.
//!
//! Looking forward (`<=`) is the same with positions in descending order. Positions that are NULL sort last, so such a
//! build row is behind every row that could match it; probe rows with a NULL among keys and position match nothing. Of
//! build rows that are equally near, the one that came last is taken.
//!
//! The input must be append-only. It is an operator of bounded queries: in the middle of its work it has no snapshot and
//! says so.
//!
//! Cost: two sorts, the encoding of both sides' keys, a comparison for each row of both, and a gather.

#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::{Array, new_null_array};
use arrow_buffer::NullBuffer;
use flumen_core::batch::{Batch, Column};
use flumen_core::failure::Failure;
use flumen_core::ids::CheckpointId;
use flumen_core::spec::relational::{AsofJoinSpec, SortKey};
use flumen_core::spec::{OperatorPayload, OperatorSpec};
use flumen_core::types::{Schema, SchemaRef};
use flumen_kernels::gather::{compact, interleave, materialize, take_batch};
use flumen_kernels::sort::{EncodedKeys, KeyEncoder};
use flumen_state::OperatorSnapshot;

use crate::charge::Charge;
use crate::contract::{Operator, OperatorContext, OperatorFactory, Output, Step};
use crate::error::{OperatorError, check_columns, input_schema, output_schema};
use crate::external_sort::{ExternalSort, Order, Piece};
use crate::registry::OperatorRegistry;

const NAME: &str = "ASOF join";
const BUILD: usize = 0;
const PROBE: usize = 1;

/// Adds the factory.
pub fn register(registry: &mut OperatorRegistry) {
    registry.register(Arc::new(Factory));
}

struct Factory;

impl OperatorFactory for Factory {
    fn kind(&self) -> &'static str {
        AsofJoinSpec::KIND
    }

    fn create(&self, spec: &OperatorSpec, context: &OperatorContext) -> Result<Box<dyn Operator>, Failure> {
        let payload: AsofJoinSpec = spec.payload()?;
        let (build, probe) = (input_schema(spec, BUILD, NAME)?, input_schema(spec, PROBE, NAME)?);
        let output = output_schema(spec, NAME)?;
        let columns =
            |keys: &[usize], position: usize| -> Vec<usize> { keys.iter().copied().chain([position]).collect() };
        let build_columns = columns(&payload.build_keys, payload.build_position);
        let probe_columns = columns(&payload.probe_keys, payload.probe_position);
        check_columns(build_columns.iter().copied(), build, NAME)?;
        check_columns(probe_columns.iter().copied(), probe, NAME)?;
        let types = |columns: &[usize], schema: &SchemaRef| -> Vec<_> {
            columns.iter().map(|column| schema.fields[*column].data_type.clone()).collect()
        };
        let key_types = types(&build_columns, build);
        if key_types != types(&probe_columns, probe) {
            let problem = "the keys of the sides differ in number or type".to_owned();
            return Err(OperatorError::Spec { operator: NAME, problem }.into());
        }
        let width = probe.fields.len() + build.fields.len();
        if payload.projection.len() != output.fields.len() || payload.projection.iter().any(|c| *c >= width) {
            let problem = format!("{:?} are not the columns of the output", payload.projection);
            return Err(OperatorError::Spec { operator: NAME, problem }.into());
        }
        let last = build_columns.len() - 1;
        let order = |columns: &[usize]| -> Vec<SortKey> {
            let key = |(index, column): (usize, &usize)| SortKey {
                column: *column,
                descending: payload.forward && index == last,
                nulls_first: false,
            };
            columns.iter().enumerate().map(key).collect()
        };
        let places: Vec<usize> = (0..=last).collect();
        let encoder = Encoder {
            keys: match last {
                0 => None,
                _ => Some(KeyEncoder::new(&key_types, &order(&places[..last]))?),
            },
            all: KeyEncoder::new(&key_types, &order(&places))?,
        };
        let sorted = |schema: &SchemaRef, columns: &[usize]| {
            ExternalSort::new(Order::new(schema, order(columns)), None, context)
        };
        let given: Vec<usize> =
            payload.projection.iter().filter_map(|column| column.checked_sub(probe.fields.len())).collect();
        let given_fields = given.iter().map(|column| {
            let mut field = build.fields[*column].clone();
            field.nullable |= payload.outer;
            field
        });
        let given_schema = Arc::new(Schema::new(given_fields.collect()));
        let nulls = given_schema.fields.iter().map(|field| {
            let carrier = field.data_type.arrow_type();
            Column::Array(new_null_array(&carrier, 1))
        });
        Ok(Box::new(AsofJoin {
            nulls: Batch::new(Arc::clone(&given_schema), nulls.collect(), 1),
            probe: sorted(probe, &probe_columns),
            probe_width: probe.fields.len(),
            probe_columns,
            encoder,
            output: Arc::clone(output),
            projection: payload.projection,
            outer: payload.outer,
            builds: Builds {
                sort: sorted(build, &build_columns),
                columns: build_columns,
                strict: payload.strict,
                batch_rows: context.batch_rows.max(1),
                held: Vec::new(),
                current: None,
                candidate: None,
                has_ended: false,
                charge: Charge::new(&context.memory),
            },
            given,
            given_schema,
            context: context.clone(),
            stage: Stage::Collecting,
            has_rows: false,
        }))
    }
}

/// Makes comparable bytes of keys, and of keys and position.
struct Encoder {
    /// `None` if there are no keys: then all rows have the same.
    keys: Option<KeyEncoder>,
    all: KeyEncoder,
}

/// Rows of one side and their encoded keys.
struct Encoded {
    batch: Batch,
    keys: Option<EncodedKeys>,
    all: EncodedKeys,
}

impl Encoder {
    fn encode(&self, batch: Batch, columns: &[usize]) -> Result<Encoded, Failure> {
        let rows: Vec<u32> = (0..batch.num_rows() as u32).collect();
        let keys: Vec<&Column> = columns.iter().map(|column| batch.column(*column)).collect();
        let all = self.all.encode(&keys, &rows)?;
        let keys = self.keys.as_ref().map(|encoder| encoder.encode(&keys, &rows)).transpose()?;
        Ok(Encoded { batch, keys, all })
    }
}

impl Encoded {
    fn bytes(&self) -> usize {
        let keys = self.keys.as_ref().map_or(0, EncodedKeys::memory_size);
        self.batch.memory_size() + self.all.memory_size() + keys
    }

    #[inline]
    fn has_same_keys(&self, row: usize, other: &Self, other_row: usize) -> bool {
        match (&self.keys, &other.keys) {
            (Some(own), Some(others)) => own.compare(row, others, other_row) == Ordering::Equal,
            _ => true,
        }
    }
}

/// A piece of the build side.
struct Held {
    rows: Encoded,
    /// Rows of it were picked since the last output.
    is_picked: bool,
}

/// A place in the build side: a piece that is held, and a row of it.
type Place = (usize, usize);

/// The build side, read once in order.
struct Builds {
    sort: ExternalSort,
    columns: Vec<usize>,
    strict: bool,
    batch_rows: usize,
    /// Pieces keep their index until the next output.
    held: Vec<Option<Held>>,
    /// The next row.
    current: Option<Place>,
    candidate: Option<Place>,
    has_ended: bool,
    charge: Charge,
}

impl Builds {
    fn rows(&self, piece: usize) -> Option<&Encoded> {
        self.held.get(piece)?.as_ref().map(|held| &held.rows)
    }

    /// Reads on while rows are not behind a probe row; gives the candidate.
    fn read_to(&mut self, probe: &Encoded, row: usize, encoder: &Encoder) -> Result<Option<Place>, Failure> {
        loop {
            let Some((piece, mut at)) = self.current else {
                if self.has_ended {
                    return Ok(self.candidate);
                }
                self.read_piece(encoder)?;
                continue;
            };
            let Some(rows) = self.rows(piece) else { return Ok(self.candidate) };
            let first = at;
            let count = rows.all.len();
            while at < count {
                let order = rows.all.compare(at, &probe.all, row);
                if order == Ordering::Greater || (self.strict && order == Ordering::Equal) {
                    break;
                }
                at += 1;
            }
            if at > first {
                self.candidate = Some((piece, at - 1));
            }
            if at < count {
                self.current = Some((piece, at));
                return Ok(self.candidate);
            }
            self.current = None;
        }
    }

    /// Takes the next piece in, and lets go of what nobody needs.
    fn read_piece(&mut self, encoder: &Encoder) -> Result<(), Failure> {
        let batch = loop {
            match self.sort.next(self.batch_rows)? {
                Piece::Working => {}
                Piece::Rows(batch) => break materialize(&batch)?,
                Piece::End => {
                    self.has_ended = true;
                    return Ok(());
                }
            }
        };
        if let Some((piece, row)) = self.candidate
            && let Some(Some(held)) = self.held.get_mut(piece)
            && !held.is_picked
            && held.rows.all.len() > 1
        {
            let alone = compact(&held.rows.batch.slice(row, 1))?;
            held.rows = encoder.encode(alone, &self.columns)?;
            self.candidate = Some((piece, 0));
        }
        let candidate = self.candidate.map(|(piece, _)| piece);
        for (piece, held) in self.held.iter_mut().enumerate() {
            if held.as_ref().is_some_and(|h| !h.is_picked) && candidate != Some(piece) {
                *held = None;
            }
        }
        let rows = encoder.encode(batch, &self.columns)?;
        self.held.push(Some(Held { rows, is_picked: false }));
        self.current = Some((self.held.len() - 1, 0));
        self.charge_held()
    }

    fn charge_held(&mut self) -> Result<(), Failure> {
        self.charge.set(self.held.iter().flatten().map(|held| held.rows.bytes()).sum())
    }

    /// After an output: keeps what is still needed, under new indices.
    fn forget_picked(&mut self) -> Result<(), Failure> {
        let is_needed = |piece: usize, place: Option<Place>| place.is_some_and(|(p, _)| p == piece);
        let mut kept = Vec::new();
        let (current, candidate) = (self.current, self.candidate);
        for (piece, held) in std::mem::take(&mut self.held).into_iter().enumerate() {
            let Some(mut held) = held else { continue };
            if !is_needed(piece, current) && !is_needed(piece, candidate) {
                continue;
            }
            held.is_picked = false;
            let moved = |place: Option<Place>, now: Option<Place>| match place {
                Some((p, row)) if p == piece => Some((kept.len(), row)),
                _ => now,
            };
            self.current = moved(current, self.current);
            self.candidate = moved(candidate, self.candidate);
            kept.push(Some(held));
        }
        self.held = kept;
        self.charge_held()
    }

    fn clear(&mut self) -> Result<(), Failure> {
        self.held = Vec::new();
        (self.current, self.candidate) = (None, None);
        self.charge.set(0)?;
        self.sort.clear()
    }
}

enum Stage {
    Collecting,
    Giving,
    Done,
}

struct AsofJoin {
    probe: ExternalSort,
    /// Keys, then the position.
    probe_columns: Vec<usize>,
    probe_width: usize,
    builds: Builds,
    encoder: Encoder,
    /// Build columns that come out, in order.
    given: Vec<usize>,
    given_schema: SchemaRef,
    /// One row of NULLs in their place.
    nulls: Batch,
    projection: Vec<usize>,
    output: SchemaRef,
    outer: bool,
    context: OperatorContext,
    stage: Stage,
    has_rows: bool,
}

impl AsofJoin {
    /// A piece of the probe side with the rows that it meets.
    fn join(&mut self, probe: Batch, out: &mut Output) -> Result<(), Failure> {
        let probe = self.encoder.encode(probe, &self.probe_columns)?;
        let valid = self.probe_columns.iter().fold(None, |nulls: Option<NullBuffer>, column| {
            NullBuffer::union(nulls.as_ref(), probe.batch.column(*column).array().logical_nulls().as_ref())
        });
        let count = probe.all.len();
        let (mut rows, mut picks) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for row in 0..count {
            let can_match = valid.as_ref().is_none_or(|valid| valid.is_valid(row));
            let candidate = if can_match { self.builds.read_to(&probe, row, &self.encoder)? } else { None };
            let found = candidate.filter(|(piece, at)| {
                self.builds.rows(*piece).is_some_and(|build| build.has_same_keys(*at, &probe, row))
            });
            if let Some((piece, _)) = found
                && let Some(Some(held)) = self.builds.held.get_mut(piece)
            {
                held.is_picked = true;
            }
            if found.is_some() || self.outer {
                rows.push(row as u32);
                picks.push(found);
            }
        }
        if !rows.is_empty() {
            let batch = if rows.len() == count { probe.batch } else { take_batch(&probe.batch, &rows.into())? };
            out.emit(self.output(&batch, &picks)?);
        }
        self.builds.forget_picked()
    }

    fn output(&self, probe: &Batch, picks: &[Option<Place>]) -> Result<Batch, Failure> {
        let mut places = vec![0_u32; self.builds.held.len()];
        let mut sources = vec![self.nulls.clone()];
        for (piece, held) in self.builds.held.iter().enumerate() {
            let Some(held) = held.as_ref().filter(|held| held.is_picked) else { continue };
            places[piece] = sources.len() as u32;
            let columns = self.given.iter().map(|column| held.rows.batch.column(*column).clone()).collect();
            sources.push(Batch::new(Arc::clone(&self.given_schema), columns, held.rows.all.len()));
        }
        let build = if self.given.is_empty() {
            None
        } else {
            let pick = |place: &Option<Place>| match place {
                Some((piece, row)) => (places[*piece], *row as u32),
                None => (0, 0),
            };
            Some(interleave(&self.given_schema, &sources, &picks.iter().map(pick).collect::<Vec<_>>())?)
        };
        let mut builds = build.iter().flat_map(|batch| batch.columns().iter().cloned());
        let mut columns = Vec::with_capacity(self.projection.len());
        for column in &self.projection {
            if *column < self.probe_width {
                columns.push(probe.column(*column).clone());
            } else {
                columns.extend(builds.next());
            }
        }
        Ok(Batch::new(Arc::clone(&self.output), columns, picks.len()))
    }

    /// Says what could be spilled: the sorts would each say it of themselves alone.
    fn set_revocable(&self) {
        self.context.memory.set_revocable(self.probe.held_bytes() + self.builds.sort.held_bytes());
    }
}

impl Operator for AsofJoin {
    fn process(&mut self, input: usize, batch: Batch, _out: &mut Output) -> Result<Step, Failure> {
        if batch.flags().has_deletes {
            return Err(OperatorError::Retraction { operator: NAME }.into());
        }
        self.has_rows = true;
        let batch = batch.with_row_kinds(None);
        match input {
            BUILD => self.builds.sort.push(&batch)?,
            _ => self.probe.push(&batch)?,
        }
        self.set_revocable();
        Ok(Step::Done)
    }

    fn resume(&mut self, out: &mut Output) -> Result<Step, Failure> {
        if !matches!(self.stage, Stage::Giving) {
            return Ok(Step::Done);
        }
        match self.probe.next(self.context.batch_rows.max(1))? {
            Piece::Rows(rows) => self.join(materialize(&rows)?, out)?,
            Piece::Working => {}
            Piece::End => {
                self.stage = Stage::Done;
                self.probe.clear()?;
                self.builds.clear()?;
                return Ok(Step::Done);
            }
        }
        self.set_revocable();
        Ok(Step::HasMoreOutput)
    }

    fn finish(&mut self, out: &mut Output) -> Result<Step, Failure> {
        self.builds.sort.finish(0..usize::MAX)?;
        self.probe.finish(0..usize::MAX)?;
        self.stage = Stage::Giving;
        self.resume(out)
    }

    fn revoke_memory(&mut self, _bytes: usize) -> Result<usize, Failure> {
        let freed = self.probe.revoke()? + self.builds.sort.revoke()?;
        self.set_revocable();
        Ok(freed)
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<OperatorSnapshot, Failure> {
        if self.has_rows && !matches!(self.stage, Stage::Done) {
            return Err(OperatorError::NoSnapshot { operator: NAME }.into());
        }
        Ok(OperatorSnapshot::default())
    }
}
