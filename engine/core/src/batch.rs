//! A batch of rows: columns in any encoding, an optional selection, optional row kinds, and flags.
//!
//! * A column is an Arrow array (flat, dictionary, view or run-end encoded) or a constant. Encodings may vary from
//!   batch to batch; the logical type is in the schema. Operators work on codes where they can.
//! * A selection narrows the batch without touching its columns: filters add one, pipeline breakers materialize it.
//!   It lists physical row indices in ascending order. `num_rows` counts selected rows, `physical_rows` all.
//! * Row kinds (changelog) are absent when every row is an insertion. They are indexed by physical row.
//! * Key hashes are computed once and travel with the batch, indexed by physical row.
//!
//! * A decimal column of any precision may be carried by 64-bit integers (`Decimal64(18, s)`, same scale) when every
//!   value of the batch fits; so products of small decimals stay cheap although their type has more than 18 digits.
//!   Likewise a narrow decimal may arrive as `Decimal128`. Kernels look at the carrier, never infer it from the type.
//!
//! Invariants: every array has `physical_rows` rows, a constant exactly one; selected indices are below
//! `physical_rows`; the columns' logical types are the schema's (decimals: up to precision).

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::ScalarBuffer;
use arrow_schema::ArrowError;
use std::sync::Arc;

use crate::types::{LogicalType, SchemaRef};

/// Rows of a batch by default, and at most on bounded work.
pub const DEFAULT_BATCH_ROWS: usize = 8192;

/// How a row changes the result it belongs to (Flink's RowKind, same numbers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i8)]
pub enum RowKind {
    /// `+I`
    Insert = 0,
    /// `-U`: takes back the previous value of an updated row.
    UpdateBefore = 1,
    /// `+U`: the new value of an updated row.
    UpdateAfter = 2,
    /// `-D`
    Delete = 3,
}

impl RowKind {
    /// From its number.
    #[must_use]
    pub fn from_i8(value: i8) -> Option<Self> {
        Some(match value {
            0 => Self::Insert,
            1 => Self::UpdateBefore,
            2 => Self::UpdateAfter,
            3 => Self::Delete,
            _ => return None,
        })
    }

    /// `+1` for rows that add, `-1` for rows that take back.
    #[must_use]
    pub fn sign(self) -> i64 {
        match self {
            Self::Insert | Self::UpdateAfter => 1,
            Self::UpdateBefore | Self::Delete => -1,
        }
    }

    /// `+I`, `-U`, `+U`, `-D`.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Insert => "+I",
            Self::UpdateBefore => "-U",
            Self::UpdateAfter => "+U",
            Self::Delete => "-D",
        }
    }
}

/// One column of a batch.
#[derive(Clone, Debug)]
pub enum Column {
    /// One value for each physical row, in whatever Arrow encoding.
    Array(ArrayRef),
    /// The single value of this one-row array, for every physical row.
    Constant(ArrayRef),
}

impl Column {
    /// The array: all values, or the one of a constant.
    #[must_use]
    pub fn array(&self) -> &ArrayRef {
        match self {
            Self::Array(array) | Self::Constant(array) => array,
        }
    }

    /// The constant's value as a one-row array.
    #[must_use]
    pub fn as_constant(&self) -> Option<&ArrayRef> {
        match self {
            Self::Constant(array) => Some(array),
            Self::Array(_) => None,
        }
    }

    /// Whether no value is NULL, as far as is known without looking at each.
    #[must_use]
    pub fn has_no_nulls(&self) -> bool {
        self.array().logical_null_count() == 0
    }

    /// The logical type it carries.
    #[must_use]
    pub fn logical_type(&self) -> Option<LogicalType> {
        LogicalType::from_arrow(self.array().data_type())
    }
}

impl From<ArrayRef> for Column {
    fn from(array: ArrayRef) -> Self {
        Self::Array(array)
    }
}

/// What is known of all rows of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchFlags {
    /// Some row is `-U` or `-D`. Row kinds may be present without it (`+U` only).
    pub has_deletes: bool,
    /// No two rows share a key (of the edge's key columns).
    pub key_unique: bool,
    /// Rows ascend by this column, nulls last.
    pub sorted_by: Option<u16>,
}

/// Hashes of the key columns, one for each physical row.
#[derive(Clone, Debug)]
pub struct KeyHashes {
    /// Which columns were hashed, in this order.
    pub columns: Arc<[usize]>,
    /// One hash for each physical row; unselected rows may hold anything.
    pub values: ScalarBuffer<u64>,
}

/// Physical row indices of the rows that count, ascending.
pub type Selection = ScalarBuffer<u32>;

/// A batch of rows.
#[derive(Clone, Debug)]
pub struct Batch {
    schema: SchemaRef,
    columns: Vec<Column>,
    physical_rows: usize,
    selection: Option<Selection>,
    row_kinds: Option<ScalarBuffer<i8>>,
    hashes: Option<KeyHashes>,
    flags: BatchFlags,
}

impl Batch {
    /// A batch of `rows` rows with all of them selected and inserted.
    ///
    /// # Panics
    /// If the number of columns differs from the schema's, or an array has another length than `rows`.
    #[must_use]
    pub fn new(schema: SchemaRef, columns: Vec<Column>, rows: usize) -> Self {
        assert_eq!(schema.fields.len(), columns.len(), "one column for each field");
        for column in &columns {
            let expected = if matches!(column, Column::Constant(_)) { 1 } else { rows };
            assert_eq!(column.array().len(), expected, "every column has the batch's rows");
        }
        Self {
            schema,
            columns,
            physical_rows: rows,
            selection: None,
            row_kinds: None,
            hashes: None,
            flags: BatchFlags::default(),
        }
    }

    /// A batch over the arrays of a record batch, which must match the schema column by column.
    #[must_use]
    pub fn from_record_batch(schema: SchemaRef, batch: &RecordBatch) -> Self {
        let columns = batch.columns().iter().cloned().map(Column::Array).collect();
        Self::new(schema, columns, batch.num_rows())
    }

    /// The record batch over the same arrays, without a copy; `None` if there is a selection or a constant column,
    /// which have to be materialized first. Row kinds are not part of it.
    pub fn to_record_batch(&self) -> Option<Result<RecordBatch, ArrowError>> {
        if self.selection.is_some() {
            return None;
        }
        let arrays = self
            .columns
            .iter()
            .map(|c| match c {
                Column::Array(array) => Some(Arc::clone(array)),
                Column::Constant(_) => None,
            })
            .collect::<Option<Vec<_>>>()?;
        let fields: Vec<_> = self
            .schema
            .fields
            .iter()
            .zip(&arrays)
            .map(|(f, a)| arrow_schema::Field::new(f.name.as_str(), a.data_type().clone(), f.nullable))
            .collect();
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(self.physical_rows));
        Some(RecordBatch::try_new_with_options(Arc::new(arrow_schema::Schema::new(fields)), arrays, &options))
    }

    /// The logical schema.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows that count.
    #[must_use]
    pub fn num_rows(&self) -> usize {
        self.selection.as_ref().map_or(self.physical_rows, |s| s.len())
    }

    /// Rows of every array, selected or not.
    #[must_use]
    pub fn physical_rows(&self) -> usize {
        self.physical_rows
    }

    /// The columns.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// One column.
    ///
    /// # Panics
    /// If there is no such column.
    #[must_use]
    pub fn column(&self, index: usize) -> &Column {
        &self.columns[index]
    }

    /// Which rows count; `None` means all.
    #[must_use]
    pub fn selection(&self) -> Option<&Selection> {
        self.selection.as_ref()
    }

    /// Row kinds by physical row; `None` means all `+I`.
    #[must_use]
    pub fn row_kinds(&self) -> Option<&ScalarBuffer<i8>> {
        self.row_kinds.as_ref()
    }

    /// Key hashes, if they were computed upstream for exactly these columns.
    #[must_use]
    pub fn hashes_of(&self, columns: &[usize]) -> Option<&ScalarBuffer<u64>> {
        self.hashes.as_ref().filter(|h| *h.columns == *columns).map(|h| &h.values)
    }

    /// Key hashes with their columns.
    #[must_use]
    pub fn hashes(&self) -> Option<&KeyHashes> {
        self.hashes.as_ref()
    }

    /// What is known of all rows.
    #[must_use]
    pub fn flags(&self) -> BatchFlags {
        self.flags
    }

    /// The same columns with another selection, which must select a subset of this one's rows.
    ///
    /// # Panics
    /// If an index is out of range (checked on the last one, which is the largest).
    #[must_use]
    pub fn with_selection(mut self, selection: Option<Selection>) -> Self {
        if let Some(last) = selection.as_ref().and_then(|s| s.last()) {
            assert!((*last as usize) < self.physical_rows, "selected rows exist");
        }
        self.selection = selection;
        self
    }

    /// The same rows with row kinds.
    ///
    /// # Panics
    /// If there is not one kind for each physical row.
    #[must_use]
    pub fn with_row_kinds(mut self, kinds: Option<ScalarBuffer<i8>>) -> Self {
        if let Some(kinds) = &kinds {
            assert_eq!(kinds.len(), self.physical_rows, "one kind for each physical row");
        }
        self.flags.has_deletes = kinds
            .as_ref()
            .is_some_and(|k| k.iter().any(|k| *k == RowKind::UpdateBefore as i8 || *k == RowKind::Delete as i8));
        self.row_kinds = kinds;
        self
    }

    /// The same rows with hashes of key columns.
    ///
    /// # Panics
    /// If there is not one hash for each physical row.
    #[must_use]
    pub fn with_hashes(mut self, hashes: Option<KeyHashes>) -> Self {
        if let Some(hashes) = &hashes {
            assert_eq!(hashes.values.len(), self.physical_rows, "one hash for each physical row");
        }
        self.hashes = hashes;
        self
    }

    /// The same rows with other flags.
    #[must_use]
    pub fn with_flags(mut self, flags: BatchFlags) -> Self {
        self.flags = flags;
        self
    }

    /// Other columns for the same rows; selection and row kinds stay, hashes and ordering are dropped.
    ///
    /// # Panics
    /// As [`Batch::new`].
    #[must_use]
    pub fn with_columns(&self, schema: SchemaRef, columns: Vec<Column>) -> Self {
        let mut batch = Self::new(schema, columns, self.physical_rows);
        batch.selection = self.selection.clone();
        batch.row_kinds = self.row_kinds.clone();
        batch.flags = BatchFlags { sorted_by: None, key_unique: false, ..self.flags };
        batch
    }

    /// Rows `offset..offset + rows` of those that count, without a copy.
    ///
    /// # Panics
    /// If there are fewer.
    #[must_use]
    pub fn slice(&self, offset: usize, rows: usize) -> Self {
        assert!(offset + rows <= self.num_rows(), "a slice lies within its batch");
        let mut batch = self.clone();
        if let Some(selection) = &self.selection {
            batch.selection = Some(selection.slice(offset, rows));
            return batch;
        }
        batch.columns = self
            .columns
            .iter()
            .map(|c| match c {
                Column::Array(array) => Column::Array(array.slice(offset, rows)),
                Column::Constant(value) => Column::Constant(Arc::clone(value)),
            })
            .collect();
        batch.physical_rows = rows;
        batch.row_kinds = self.row_kinds.as_ref().map(|k| k.slice(offset, rows));
        batch.hashes = self
            .hashes
            .as_ref()
            .map(|h| KeyHashes { columns: Arc::clone(&h.columns), values: h.values.slice(offset, rows) });
        batch
    }

    /// Bytes of the buffers that this batch keeps alive, shared ones counted in each batch that shares them.
    #[must_use]
    pub fn memory_size(&self) -> usize {
        let columns: usize = self.columns.iter().map(|c| c.array().get_array_memory_size()).sum();
        columns
            + self.selection.as_ref().map_or(0, |s| s.len() * 4)
            + self.row_kinds.as_ref().map_or(0, |k| k.len())
            + self.hashes.as_ref().map_or(0, |h| h.values.len() * 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Field, Schema};
    use arrow_array::Int64Array;

    fn batch() -> Batch {
        let schema = Arc::new(Schema::new(vec![
            Field::new("a", LogicalType::Int64, false),
            Field::new("b", LogicalType::Int64, false),
        ]));
        let columns = vec![
            Column::Array(Arc::new(Int64Array::from(vec![1, 2, 3, 4]))),
            Column::Constant(Arc::new(Int64Array::from(vec![9]))),
        ];
        Batch::new(schema, columns, 4)
    }

    #[test]
    fn selection_narrows_and_slices() {
        let narrowed = batch().with_selection(Some(vec![0, 2, 3].into()));
        assert_eq!((narrowed.num_rows(), narrowed.physical_rows()), (3, 4));
        let slice = narrowed.slice(1, 2);
        assert_eq!(slice.selection().unwrap().as_ref(), &[2, 3]);
        assert!(slice.to_record_batch().is_none());
    }

    #[test]
    fn slices_carry_kinds_and_hashes() {
        let hashes = KeyHashes { columns: Arc::from([0]), values: vec![10u64, 20, 30, 40].into() };
        let slice = batch().with_row_kinds(Some(vec![0i8, 1, 2, 3].into())).with_hashes(Some(hashes)).slice(1, 2);
        assert_eq!(slice.row_kinds().unwrap().as_ref(), &[1, 2]);
        assert_eq!(slice.hashes_of(&[0]).unwrap().as_ref(), &[20, 30]);
        assert!(slice.hashes_of(&[1]).is_none());
        assert!(slice.flags().has_deletes);
    }

    #[test]
    #[should_panic(expected = "selected rows exist")]
    fn selection_out_of_range_is_a_bug() {
        let _ = batch().with_selection(Some(vec![4].into()));
    }
}
