//! Merging runs: as many as there is room for, in as many passes as it takes.
//!
//! A merge holds one frame of each of its runs, and the frame's keys. A pass goes over the runs from the first to the
//! last and makes one of each group of neighbours; passes stop as soon as what is left can be merged at once. Every call
//! does a bounded piece of work: one frame read, or one batch gathered.

use std::ops::Range;

use flumen_core::batch::{Batch, Column};
use flumen_core::failure::Failure;
use flumen_kernels::gather::{concat, interleave};
use flumen_kernels::sort::{MergeStatus, SortedMerge};

use super::{Order, Piece};
use crate::charge::Charge;
use crate::spill::{FRAME_BYTES, SpillReader, SpillSpace, SpillWriter, SpilledRows};

/// Runs that are merged at once at most: beyond that, reading jumps more than it saves.
const FAN_IN_MAX: usize = 64;
/// Rows that are gathered at a time within a pass.
const PASS_ROWS: usize = 8192;
/// Bytes of a run while it is merged, for each byte of its frame: the frame, its keys, and what is gathered from it.
const FRAME_FACTOR: usize = 3;

/// See the module.
pub(super) struct Merging {
    /// Those that are not part of the merge under way, in order.
    runs: Vec<SpilledRows>,
    /// Where the pass stands among them: what it makes goes there.
    at: usize,
    work: Work,
    /// Rows that are still to be left out, and then given.
    skip: usize,
    left: usize,
}

enum Work {
    Plan,
    /// To one longer run.
    Pass(Pass),
    /// To the result.
    Last(Merge),
}

impl Merging {
    pub(super) fn new(runs: Vec<SpilledRows>, range: Range<usize>) -> Self {
        Self { runs, at: 0, work: Work::Plan, skip: range.start, left: range.len() }
    }

    pub(super) fn next(
        &mut self,
        rows: usize,
        order: &Order,
        space: &SpillSpace,
        charge: &mut Charge,
    ) -> Result<Piece, Failure> {
        if self.left == 0 {
            return Ok(Piece::End);
        }
        match &mut self.work {
            Work::Plan => {
                self.plan(order, space, charge)?;
                Ok(Piece::Working)
            }
            Work::Pass(pass) => {
                if !pass.step(order)? {
                    let Work::Pass(pass) = std::mem::replace(&mut self.work, Work::Plan) else {
                        return Ok(Piece::Working);
                    };
                    self.runs.insert(self.at, pass.writer.finish()?);
                    self.at += 1;
                }
                Ok(Piece::Working)
            }
            Work::Last(merge) => {
                let Some(batch) = merge.next(rows, order)? else { return Ok(Piece::End) };
                let skipped = self.skip.min(batch.num_rows());
                self.skip -= skipped;
                let given = self.left.min(batch.num_rows() - skipped);
                self.left -= given;
                Ok(if given == 0 { Piece::Working } else { Piece::Rows(batch.slice(skipped, given)) })
            }
        }
    }

    /// Decides on the next merge.
    fn plan(&mut self, order: &Order, space: &SpillSpace, charge: &mut Charge) -> Result<(), Failure> {
        let fan_in = fan_in(&self.runs, charge)?;
        if fan_in >= self.runs.len() {
            self.work = Work::Last(Merge::new(std::mem::take(&mut self.runs), order)?);
            return Ok(());
        }
        if self.at + 1 >= self.runs.len() {
            self.at = 0;
        }
        let end = self.runs.len().min(self.at + fan_in);
        let group: Vec<SpilledRows> = self.runs.drain(self.at..end).collect();
        let writer = SpillWriter::new(space, &order.schema);
        self.work = Work::Pass(Pass { merge: Merge::new(group, order)?, writer, pieces: Vec::new(), bytes: 0 });
        Ok(())
    }
}

/// How many of the runs there is room for, at least two; that room is charged.
fn fan_in(runs: &[SpilledRows], charge: &mut Charge) -> Result<usize, Failure> {
    let run_bytes = runs.iter().map(SpilledRows::frame_bytes_max).max().unwrap_or(0) * FRAME_FACTOR;
    let mut fan_in = runs.len().clamp(1, FAN_IN_MAX);
    while fan_in > 2 {
        if charge.set_spillable(fan_in * run_bytes).is_ok() {
            return Ok(fan_in);
        }
        fan_in = (fan_in / 2).max(2);
    }
    charge.set(fan_in * run_bytes)?;
    Ok(fan_in)
}

/// A merge to a longer run.
struct Pass {
    merge: Merge,
    writer: SpillWriter,
    /// Less than a frame.
    pieces: Vec<Batch>,
    bytes: usize,
}

impl Pass {
    /// A piece of work; answers whether there is more.
    fn step(&mut self, order: &Order) -> Result<bool, Failure> {
        let piece = self.merge.next(PASS_ROWS, order)?;
        let is_end = piece.is_none();
        if let Some(piece) = piece {
            self.bytes += piece.memory_size();
            self.pieces.push(piece);
        }
        if (is_end || self.bytes >= FRAME_BYTES) && !self.pieces.is_empty() {
            self.writer.push(&concat(&order.schema, &self.pieces)?)?;
            self.pieces.clear();
            self.bytes = 0;
        }
        Ok(!is_end)
    }
}

/// Some runs on their way to one sequence.
struct Merge {
    merge: SortedMerge,
    runs: Vec<(SpilledRows, SpillReader)>,
    /// The batch of each run that the merge sees.
    current: Vec<Batch>,
    picked: Vec<(u32, u32)>,
}

impl Merge {
    fn new(runs: Vec<SpilledRows>, order: &Order) -> Result<Self, Failure> {
        let merge = SortedMerge::new(&order.types, &order.keys, runs.len())?;
        let none = concat(&order.schema, &[])?;
        let current = runs.iter().map(|_| none.clone()).collect();
        let with_reader = |run: SpilledRows| {
            let reader = run.reader();
            (run, reader)
        };
        let runs = runs.into_iter().map(with_reader).collect();
        Ok(Self { merge, runs, current, picked: Vec::new() })
    }

    /// The next rows; `None` at the end.
    fn next(&mut self, rows: usize, order: &Order) -> Result<Option<Batch>, Failure> {
        loop {
            match self.merge.merge(rows, &mut self.picked) {
                // What was picked lies in the batches of now.
                _ if !self.picked.is_empty() => {
                    let batch = interleave(&order.schema, &self.current, &self.picked)?;
                    self.picked.clear();
                    return Ok(Some(batch));
                }
                MergeStatus::NeedsInput(run) => self.feed(run)?,
                MergeStatus::Full => {}
                MergeStatus::Finished => return Ok(None),
            }
        }
    }

    fn feed(&mut self, run: usize) -> Result<(), Failure> {
        let (rows, reader) = &mut self.runs[run];
        match reader.next(rows)? {
            Some(batch) => {
                let columns: Vec<&Column> = batch.columns().iter().collect();
                self.merge.feed(run, &columns, batch.num_rows())?;
                self.current[run] = batch;
            }
            None => {
                self.current[run] = self.current[run].slice(0, 0);
                self.merge.end(run);
            }
        }
        Ok(())
    }
}
