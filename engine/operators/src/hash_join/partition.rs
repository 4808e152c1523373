//! One partition of a spilled join: its build rows become a table, all at once or piece by piece, and its probe rows
//! are read against it.
//!
//! With one piece a probe row comes out as in memory. With several, every piece is probed by all probe rows; which of
//! those have had a partner is kept as a bit for each, and what depends on it (a left join's rows without a partner, all
//! of a semi, anti or mark join) comes out in one more reading at the end.
//!
//! A table that the arbiter asks for is dropped, and built again from the same frames when its turn comes; building is
//! deterministic, so that cursors and bits stay what they are.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use flumen_core::batch::Batch;
use flumen_core::failure::Failure;
use flumen_core::meter::MemoryMeter;
use flumen_core::spec::relational::JoinKind;
use flumen_core::waiting::Waker;
use flumen_kernels::gather::{concat, flatten};
use flumen_kernels::join_table::{JoinTable, JoinTableOptions, MatchBitmap};

use super::DIRECTORY_ROW_BYTES;
use super::probe::Probe;
use super::spill::BuildLayout;
use crate::charge::Charge;
use crate::contract::{Output, Step};
use crate::spill::{LEVELS, SPILL_BYTES_MIN, SpillReader, SpilledRows};

/// Both sides of a partition.
pub(super) struct Partition {
    pub(super) build: SpilledRows,
    pub(super) probe: SpilledRows,
    /// Which bits divide it further.
    pub(super) level: u32,
}

/// How far a spilled join is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Something was done, and perhaps put out.
    More,
    /// Memory that others have been asked for is awaited.
    Blocked,
    /// The build rows do not fit, and can be divided.
    TooLarge,
    Finished,
}

/// Takes what comes out while a table is given up.
pub(super) type Sink<'a> = dyn FnMut(&mut Output) -> Result<(), Failure> + 'a;

/// See the module.
pub(super) struct PartitionJoin {
    partition: Partition,
    charge: Charge,
    memory: Arc<dyn MemoryMeter>,
    waker: Waker,
    table: Option<JoinTable>,
    /// Where the piece of the table begins; `next_piece` is where it ends.
    piece: SpillReader,
    next_piece: SpillReader,
    /// Frames of the piece, once they are decided.
    piece_frames: Option<usize>,
    is_first: bool,
    is_last: bool,
    probe_reader: SpillReader,
    /// Number of the probe batch that is read next.
    batch: usize,
    /// With several pieces: which rows of each probe batch have had a partner.
    matched: Vec<MatchBitmap>,
    stage: Stage,
}

enum Stage {
    /// The piece has to be built.
    Load,
    /// Probe rows are read against it. `true` while one batch is under way.
    Probe(bool),
    /// Full joins: its rows without a partner come out, from this one on.
    Unmatched(usize),
    /// After the last of several pieces: what depends on which probe rows have had a partner.
    Rest,
    Finished,
}

impl PartitionJoin {
    pub(super) fn new(partition: Partition, memory: &Arc<dyn MemoryMeter>, waker: &Waker) -> Self {
        let reader = partition.build.reader();
        Self {
            charge: Charge::new(memory),
            memory: Arc::clone(memory),
            waker: waker.clone(),
            table: None,
            piece: reader.clone(),
            next_piece: reader,
            piece_frames: None,
            is_first: true,
            is_last: false,
            probe_reader: partition.probe.reader(),
            batch: 0,
            matched: Vec::new(),
            stage: Stage::Load,
            partition,
        }
    }

    pub(super) fn into_partition(self) -> Partition {
        self.partition
    }

    /// The next piece of work.
    pub(super) fn next(
        &mut self,
        layout: &BuildLayout,
        probe: &mut Probe,
        out: &mut Output,
    ) -> Result<Progress, Failure> {
        match &self.stage {
            Stage::Rest => return self.rest(probe, out),
            Stage::Finished => return Ok(Progress::Finished),
            // Whoever builds a table also uses it, however soon it is asked for.
            _ if self.table.is_none() => match self.load(layout, probe)? {
                Progress::More => {}
                other => return Ok(other),
            },
            _ => {}
        }
        match &self.stage {
            Stage::Load | Stage::Rest | Stage::Finished => {
                return Err(Failure::bug("hash join: a partition's table is there out of turn"));
            }
            Stage::Probe(_) => self.probe(probe, out)?,
            Stage::Unmatched(from) => {
                let from = *from;
                let next = match &self.table {
                    Some(table) if probe.spec.kind.marks_build() => probe.emit_unmatched(table, from, out)?,
                    _ => None,
                };
                match next {
                    Some(next) => self.stage = Stage::Unmatched(next),
                    None => self.end_piece(probe)?,
                }
            }
        }
        Ok(Progress::More)
    }

    /// Reads probe rows against the table.
    fn probe(&mut self, probe: &mut Probe, out: &mut Output) -> Result<(), Failure> {
        let (Stage::Probe(is_under_way), Some(table)) = (&mut self.stage, &self.table) else { return Ok(()) };
        if !*is_under_way {
            let Some(batch) = self.probe_reader.next(&self.partition.probe)? else {
                self.stage = Stage::Unmatched(0);
                return Ok(());
            };
            *is_under_way = true;
            if self.is_first && self.is_last {
                probe.start(table, batch);
            } else {
                if self.matched.len() == self.batch {
                    self.matched.push(MatchBitmap::new(batch.physical_rows()));
                }
                let matched = std::mem::replace(&mut self.matched[self.batch], MatchBitmap::new(0));
                probe.start_piece(table, batch, matched);
            }
        }
        if probe.next(table, out)? == Step::Done {
            if let Some(matched) = probe.take_piece() {
                self.matched[self.batch] = matched;
            }
            *is_under_way = false;
            self.batch += 1;
        }
        Ok(())
    }

    /// The piece has met all probe rows.
    fn end_piece(&mut self, probe: &Probe) -> Result<(), Failure> {
        self.table = None;
        self.charge.set(self.matched_bytes())?;
        self.charge.set_revocable(0);
        self.probe_reader = self.partition.probe.reader();
        self.batch = 0;
        self.piece = self.next_piece.clone();
        self.piece_frames = None;
        self.stage = match (self.is_last, self.is_first || probe.spec.kind == JoinKind::Inner) {
            (false, _) => Stage::Load,
            (true, false) => Stage::Rest,
            // Everything has come out already.
            (true, true) => Stage::Finished,
        };
        self.is_first = false;
        Ok(())
    }

    fn matched_bytes(&self) -> usize {
        self.matched.iter().map(MatchBitmap::memory_size).sum()
    }

    /// What depends on which probe rows have had a partner in any piece.
    fn rest(&mut self, probe: &mut Probe, out: &mut Output) -> Result<Progress, Failure> {
        let Some(batch) = self.probe_reader.next(&self.partition.probe)? else {
            self.charge.set(0)?;
            return Ok(Progress::Finished);
        };
        let matched = std::mem::replace(&mut self.matched[self.batch], MatchBitmap::new(0));
        self.batch += 1;
        probe.emit_rest_of(&batch, matched, out)?;
        Ok(Progress::More)
    }

    /// Builds the piece, deciding on its end if that has not been done.
    fn load(&mut self, layout: &BuildLayout, probe: &mut Probe) -> Result<Progress, Failure> {
        let is_new = self.piece_frames.is_none();
        let rows = match self.read_piece()? {
            Ok(rows) => rows,
            Err(progress) => return Ok(progress),
        };
        let all = concat(&layout.schema, &rows)?;
        drop(rows);
        // Partitions are sparse, and a span of their keys is not small.
        let options = JoinTableOptions { always_hash: true, ..layout.options };
        let table = JoinTable::build(&all, layout.keys.clone(), options)?;
        drop(all);
        // The table's own count has memory twice that columns share; what was charged to build it is enough.
        self.charge.set((self.matched_bytes() + table.memory_size()).min(self.charge.bytes()))?;
        self.charge.set_revocable(self.charge.bytes());
        if is_new {
            probe.begin(&table)?;
            if let Some(column) = layout.matched {
                let flags = flatten(table.batch().column(column).array())?;
                let flags = flags.as_boolean_opt().ok_or_else(|| Failure::bug("hash join: a mark is BOOLEAN"))?;
                flags.values().set_indices().for_each(|row| probe.build_matched.mark(row as u32));
            }
            self.stage = Stage::Probe(false);
        }
        self.table = Some(table);
        Ok(Progress::More)
    }

    /// The rows of the piece, with room charged to build their table; or what has to come before.
    fn read_piece(&mut self) -> Result<Result<Vec<Batch>, Progress>, Failure> {
        let kept = self.matched_bytes();
        let build = &self.partition.build;
        let whole = kept + building_bytes(build.rows(), build.raw_bytes());
        let is_undecided = self.is_first && self.piece_frames.is_none();
        let is_little = whole < 2 * SPILL_BYTES_MIN;
        let fits_whole =
            is_undecided && (self.charge.set_spillable(whole).is_ok() || (is_little && self.charge.set(whole).is_ok()));
        if !fits_whole && is_undecided && self.partition.level < LEVELS {
            return Ok(Err(Progress::TooLarge));
        }
        let mut rows = 0;
        let mut batches: Vec<Batch> = Vec::new();
        let mut reader = self.piece.clone();
        let bytes_before = reader.read_bytes();
        loop {
            if self.piece_frames.is_some_and(|frames| frames == batches.len()) {
                break;
            }
            let before = reader.clone();
            let Some(batch) = reader.next(build)? else {
                self.is_last = true;
                break;
            };
            rows += batch.num_rows();
            let needed = kept + building_bytes(rows, reader.read_bytes() - bytes_before);
            let is_optional = !fits_whole && self.piece_frames.is_none() && !batches.is_empty();
            if needed > self.charge.bytes()
                && let Err(refused) = self.charge.set_spillable(needed)
            {
                if is_optional {
                    reader = before;
                    break;
                }
                // Without these rows there is no progress.
                if self.charge.set(needed).is_err() {
                    if self.memory.wake_when_others_give(&self.waker) {
                        return Ok(Err(Progress::Blocked));
                    }
                    // Memory may have come back in between.
                    self.charge.set(needed).map_err(|_| refused)?;
                }
            }
            batches.push(batch);
        }
        if self.piece_frames.is_none() {
            self.piece_frames = Some(batches.len());
            self.next_piece = reader;
        }
        Ok(Ok(batches))
    }

    /// Drops the table, after the batch under way has come to its end in `sink`; answers the bytes given back.
    pub(super) fn revoke(&mut self, probe: &mut Probe, sink: &mut Sink<'_>) -> Result<usize, Failure> {
        if self.table.is_none() {
            return Ok(0);
        }
        let mut out = Output::default();
        while matches!(self.stage, Stage::Probe(true)) {
            self.probe(probe, &mut out)?;
            sink(&mut out)?;
        }
        let held = self.charge.bytes();
        self.table = None;
        self.charge.set(self.matched_bytes())?;
        Ok(held - self.charge.bytes())
    }
}

/// Bytes that it takes to make a table of rows: each step has them twice.
fn building_bytes(rows: usize, bytes: usize) -> usize {
    2 * bytes + rows * DIRECTORY_ROW_BYTES
}
