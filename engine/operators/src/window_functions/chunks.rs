//! Sorted rows in chunks of whole partitions, for those that do not all fit into memory.
//!
//! Pieces of the merge are collected until there is a chunk's worth, or no more room; then they are cut where the last
//! partition begins, which waits for the rest of its rows. A partition is never divided: one that does not fit is refused.
//! Looking for a cut costs a pass over the keys of what is collected, so it is only done when that has doubled.

use std::sync::Arc;

use flumen_core::batch::{Batch, Column};
use flumen_core::failure::Failure;
use flumen_core::types::SchemaRef;
use flumen_kernels::compare::{NullEquality, rows_equal};
use flumen_kernels::gather::{compact, concat};

use super::WORK_ROW_BYTES;
use crate::charge::Charge;
use crate::external_sort::{ExternalSort, Piece};

/// Bytes of a chunk, about: enough that the work of a chunk is that of its rows.
const CHUNK_BYTES: usize = 1 << 20;
/// Bytes that a call keeps for each row, about: a value, or the bounds of a frame and what is summed over it.
const CALL_ROW_BYTES: usize = 32;
/// Rows that are asked of the merge at a time: so many that computing them takes this part of a chunk.
const PIECES_OF_CHUNK: usize = 8;
/// But at least.
const PIECE_ROWS_MIN: usize = 64;

/// See the module.
pub(super) struct Chunks {
    schema: SchemaRef,
    partition_by: Vec<usize>,
    pieces: Vec<Batch>,
    rows: usize,
    bytes: usize,
    /// Rows when no cut was found last.
    uncut: usize,
    /// Bytes that computing takes for each row.
    row_bytes: usize,
    charge: Charge,
}

/// What asking for a chunk gives.
pub(super) enum Chunk {
    Rows(Batch),
    Working,
    End,
}

impl Chunks {
    pub(super) fn new(schema: &SchemaRef, partition_by: &[usize], calls: usize, charge: Charge) -> Self {
        let row_bytes = WORK_ROW_BYTES + calls * CALL_ROW_BYTES;
        let (schema, partition_by) = (Arc::clone(schema), partition_by.to_vec());
        Self { schema, partition_by, pieces: Vec::new(), rows: 0, bytes: 0, uncut: 0, row_bytes, charge }
    }

    /// The next chunk, after a bounded piece of work. The chunk is the caller's, and charged to it; it has to be given
    /// up before the next is asked for.
    pub(super) fn next(&mut self, sort: &mut ExternalSort) -> Result<Chunk, Failure> {
        let piece_rows = (CHUNK_BYTES / PIECES_OF_CHUNK / self.row_bytes).max(PIECE_ROWS_MIN);
        let piece = match sort.next(piece_rows)? {
            Piece::Working => return Ok(Chunk::Working),
            Piece::Rows(piece) => compact(&piece)?,
            Piece::End if self.rows == 0 => return Ok(Chunk::End),
            Piece::End => {
                let rows = self.all()?;
                self.keep(None)?;
                return Ok(Chunk::Rows(rows));
            }
        };
        let (rows, bytes) = (self.rows + piece.num_rows(), self.bytes + piece.memory_size());
        let has_room = self.charge.set_spillable(self.chunk_bytes(rows, bytes));
        let is_chunk = self.bytes >= CHUNK_BYTES && self.rows >= 2 * self.uncut;
        let chunk = if self.rows > 0 && (has_room.is_err() || is_chunk) { self.cut(&piece)? } else { None };
        if let Some(chunk) = chunk {
            self.rows += piece.num_rows();
            self.bytes += piece.memory_size();
            self.pieces.push(piece);
            self.charge.set(self.bytes)?;
            return Ok(Chunk::Rows(chunk));
        }
        self.pieces.push(piece);
        (self.rows, self.bytes) = (rows, bytes);
        if has_room.is_err() {
            self.charge.set(self.chunk_bytes(rows, bytes))?;
        }
        Ok(Chunk::Working)
    }

    /// What is collected but for its last partition, if `next` goes on with that; else all of it. `None` if it is all one
    /// partition.
    fn cut(&mut self, next: &Batch) -> Result<Option<Batch>, Failure> {
        let all = self.all()?;
        let rows = all.num_rows();
        let (before, after): (Vec<u32>, Vec<u32>) = ((0..rows as u32 - 1).collect(), (1..rows as u32).collect());
        let columns = |batch| -> Vec<&Column> { self.partition_by.iter().map(|c| Batch::column(batch, *c)).collect() };
        let (own, of_next) = (columns(&all), columns(next));
        let mut equal = Vec::new();
        rows_equal(&own, &[rows as u32 - 1], &of_next, &[0], NullEquality::NullsEqual, &mut equal);
        if equal.is_empty() {
            self.keep(None)?;
            return Ok(Some(all));
        }
        equal.clear();
        rows_equal(&own, &before, &own, &after, NullEquality::NullsEqual, &mut equal);
        // The last pair of neighbours that differ: pairs that are equal come in order.
        let tail = equal.iter().rev().zip((0..rows as u32 - 1).rev()).take_while(|(pair, row)| **pair == *row).count();
        let start = rows - 1 - tail;
        if start == 0 {
            self.uncut = rows;
            self.pieces = vec![all];
            return Ok(None);
        }
        self.keep(Some(compact(&all.slice(start, rows - start))?))?;
        Ok(Some(compact(&all.slice(0, start))?))
    }

    /// Bytes to hold rows, put them together and compute their values.
    fn chunk_bytes(&self, rows: usize, bytes: usize) -> usize {
        2 * bytes + rows * self.row_bytes
    }

    fn all(&mut self) -> Result<Batch, Failure> {
        Ok(match self.pieces.as_slice() {
            [only] => only.clone(),
            pieces => concat(&self.schema, pieces)?,
        })
    }

    /// Goes on with these rows alone.
    fn keep(&mut self, rows: Option<Batch>) -> Result<(), Failure> {
        self.rows = rows.as_ref().map_or(0, Batch::num_rows);
        self.bytes = rows.as_ref().map_or(0, Batch::memory_size);
        self.pieces = rows.into_iter().collect();
        self.uncut = 0;
        self.charge.set(self.bytes)
    }
}
