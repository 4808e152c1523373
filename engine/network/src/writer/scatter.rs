//! Rows of batches into one builder for each subpartition.
//!
//! A batch is brought into target order by one counting sort and one gather a column, never a `take` for each target;
//! a builder is a list of slices of such gathered batches, joined into one batch when it is flushed. Counting sort keeps
//! the order of rows within a target. Row kinds and hashes travel with their rows.
//!
//! Cost: the gather copies each row once, the join once more unless a flush takes one slice as it is.

use arrow_array::{ArrayRef, UInt32Array};
use arrow_buffer::ScalarBuffer;
use arrow_select::concat::concat;
use arrow_select::take::take;
use flumen_core::batch::{Batch, Column, KeyHashes};

use crate::size::batch_bytes;

#[derive(Default)]
struct Builder {
    pieces: Vec<Batch>,
    rows: usize,
    bytes: usize,
}

/// See the module.
pub(super) struct Scatter {
    builders: Vec<Builder>,
    /// Scratch: where each target's rows begin in target order.
    starts: Vec<u32>,
}

impl Scatter {
    pub(super) fn new(targets: usize) -> Self {
        Self { builders: (0..targets).map(|_| Builder::default()).collect(), starts: Vec::new() }
    }

    pub(super) fn rows(&self, target: usize) -> usize {
        self.builders[target].rows
    }

    pub(super) fn bytes(&self, target: usize) -> usize {
        self.builders[target].bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.builders.iter().all(|b| b.rows == 0)
    }

    /// Adds the selected rows of a batch; `targets` has one entry for each.
    pub(super) fn push(&mut self, batch: &Batch, targets: &[u32]) -> Result<(), String> {
        debug_assert_eq!(targets.len(), batch.num_rows());
        let order = self.target_order(batch, targets);
        let sorted = gather(batch, &order)?;
        let bytes = batch_bytes(&sorted);
        for (target, builder) in self.builders.iter_mut().enumerate() {
            let (start, end) = (self.starts[target] as usize, self.starts[target + 1] as usize);
            if start < end {
                builder.pieces.push(sorted.slice(start, end - start));
                builder.rows += end - start;
                builder.bytes += bytes * (end - start) / targets.len();
            }
        }
        Ok(())
    }

    /// Physical rows ordered by target, stable; leaves `starts[t]..starts[t + 1]` as target t's part.
    fn target_order(&mut self, batch: &Batch, targets: &[u32]) -> UInt32Array {
        let count = self.builders.len();
        self.starts.clear();
        self.starts.resize(count + 1, 0);
        for target in targets {
            self.starts[*target as usize + 1] += 1;
        }
        for target in 0..count {
            self.starts[target + 1] += self.starts[target];
        }
        let mut cursor = self.starts.clone();
        let mut order = vec![0u32; targets.len()];
        for (position, target) in targets.iter().enumerate() {
            let slot = &mut cursor[*target as usize];
            order[*slot as usize] = batch.selection().map_or(position as u32, |s| s[position]);
            *slot += 1;
        }
        UInt32Array::new(order.into(), None)
    }

    /// Empties one builder into batches of about `batch_rows` rows.
    pub(super) fn take(&mut self, target: usize, batch_rows: usize) -> Result<Vec<Batch>, String> {
        let builder = std::mem::take(&mut self.builders[target]);
        let mut batches = Vec::new();
        let mut group: Vec<Batch> = Vec::new();
        let mut rows = 0;
        for piece in builder.pieces {
            if rows > 0 && rows + piece.num_rows() > batch_rows.max(1) {
                batches.push(join(std::mem::take(&mut group))?);
                rows = 0;
            }
            rows += piece.num_rows();
            group.push(piece);
        }
        if !group.is_empty() {
            batches.push(join(group)?);
        }
        Ok(batches)
    }
}

fn gather(batch: &Batch, order: &UInt32Array) -> Result<Batch, String> {
    let columns = batch
        .columns()
        .iter()
        .map(|column| match column {
            Column::Constant(value) => Ok(Column::Constant(value.clone())),
            Column::Array(array) => take(array, order, None).map(Column::Array).map_err(|e| e.to_string()),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let at = |row: &u32| *row as usize;
    let kinds = batch.row_kinds().map(|k| order.values().iter().map(|r| k[at(r)]).collect::<ScalarBuffer<i8>>());
    let hashes = batch.hashes().map(|h| KeyHashes {
        columns: h.columns.clone(),
        values: order.values().iter().map(|r| h.values[at(r)]).collect(),
    });
    Ok(Batch::new(batch.schema().clone(), columns, order.len()).with_row_kinds(kinds).with_hashes(hashes))
}

/// One batch of all rows of batches without selections.
fn join(mut pieces: Vec<Batch>) -> Result<Batch, String> {
    if pieces.len() == 1 {
        return Ok(pieces.swap_remove(0));
    }
    let rows: usize = pieces.iter().map(Batch::num_rows).sum();
    let first = &pieces[0];
    let mut columns = Vec::with_capacity(first.columns().len());
    for index in 0..first.columns().len() {
        columns.push(Column::Array(join_column(&pieces, index)?));
    }
    let kinds = pieces.iter().any(|p| p.row_kinds().is_some()).then(|| {
        let mut kinds = Vec::with_capacity(rows);
        for piece in &pieces {
            match piece.row_kinds() {
                Some(k) => kinds.extend_from_slice(k),
                None => kinds.resize(kinds.len() + piece.num_rows(), 0),
            }
        }
        ScalarBuffer::from(kinds)
    });
    let hashed = first.hashes().map(|h| h.columns.clone());
    let hashes = hashed.filter(|c| pieces.iter().all(|p| p.hashes_of(c).is_some())).map(|columns| {
        let values: Vec<u64> = pieces
            .iter()
            .flat_map(|p| p.hashes_of(&columns).map(|v| v.as_ref()).unwrap_or_default())
            .copied()
            .collect();
        KeyHashes { columns, values: values.into() }
    });
    Ok(Batch::new(first.schema().clone(), columns, rows).with_row_kinds(kinds).with_hashes(hashes))
}

fn join_column(pieces: &[Batch], index: usize) -> Result<ArrayRef, String> {
    let repeated = |array: &ArrayRef, rows: usize| take(array, &UInt32Array::from(vec![0u32; rows]), None);
    let arrays = pieces
        .iter()
        .map(|p| match p.column(index) {
            Column::Array(array) => Ok(array.clone()),
            Column::Constant(value) => repeated(value, p.num_rows()),
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| e.to_string())?;
    let refs: Vec<&dyn arrow_array::Array> = arrays.iter().map(AsRef::as_ref).collect();
    concat(&refs).map_err(|e| e.to_string())
}
