//! Between a batch's columns and the columns of the record batch that carries them.
//!
//! Metadata keys of the carrying schema: `flumen.event-time` (schema: index of the event-time column), and on fields
//! `flumen.role` (`constant`, `row-kind`, `key-hashes`), `flumen.precision` (digits of a decimal whose carrier says
//! fewer), `flumen.hashed` (the hashed columns, separated by commas).

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, Int8Array, Int32Array, PrimitiveArray, RecordBatch, RecordBatchOptions};
use arrow_array::{RunArray, UInt32Array, UInt64Array, new_empty_array};
use arrow_buffer::ScalarBuffer;
use arrow_schema::{ArrowError, DataType, Field, Schema};
use arrow_select::take::take;
use flumen_core::batch::{Batch, Column, KeyHashes};
use flumen_core::types::{Field as LogicalField, LogicalType, Schema as LogicalSchema, SchemaRef};

use crate::error::{FrameError, Result};

pub(crate) const EVENT_TIME: &str = "flumen.event-time";
const ROLE: &str = "flumen.role";
const PRECISION: &str = "flumen.precision";
const HASHED: &str = "flumen.hashed";
const CONSTANT: &str = "constant";
const ROW_KIND: &str = "row-kind";
const KEY_HASHES: &str = "key-hashes";

/// The record batch that carries the selected rows of a batch.
pub(crate) fn carry(batch: &Batch, with_hashes: bool) -> Result<RecordBatch, ArrowError> {
    let rows = batch.num_rows();
    let selection = batch.selection().map(|s| PrimitiveArray::new(s.clone(), None));
    let mut fields = Vec::with_capacity(batch.columns().len() + 2);
    let mut arrays = Vec::with_capacity(batch.columns().len() + 2);
    for (field, column) in batch.schema().fields.iter().zip(batch.columns()) {
        let (array, role) = match column {
            Column::Constant(value) if rows > 0 => (constant_run(value, rows)?, Some(CONSTANT)),
            Column::Constant(value) => (value.slice(0, 0), None),
            // Arrow does not write runs of nothing in a way that it reads.
            Column::Array(array) if rows == 0 => (flat(array)?, None),
            Column::Array(array) => (compact(select(array, selection.as_ref())?)?, None),
        };
        fields.push(carrier_field(field, array.data_type(), role));
        arrays.push(array);
    }
    if let Some(kinds) = batch.row_kinds() {
        let kinds: ArrayRef = Arc::new(Int8Array::new(kinds.clone(), None));
        fields.push(role_field("$row_kind", DataType::Int8, ROW_KIND, None));
        arrays.push(select(&kinds, selection.as_ref())?);
    }
    if let Some(hashes) = batch.hashes().filter(|_| with_hashes) {
        let values: ArrayRef = Arc::new(UInt64Array::new(hashes.values.clone(), None));
        let columns: Vec<_> = hashes.columns.iter().map(usize::to_string).collect();
        fields.push(role_field("$key_hash", DataType::UInt64, KEY_HASHES, Some(columns.join(","))));
        arrays.push(select(&values, selection.as_ref())?);
    }
    let metadata = batch.schema().event_time.map(|index| (EVENT_TIME.to_owned(), index.to_string()));
    let schema = Arc::new(Schema::new_with_metadata(fields, metadata.into_iter().collect()));
    RecordBatch::try_new_with_options(schema, arrays, &RecordBatchOptions::new().with_row_count(Some(rows)))
}

fn select(array: &ArrayRef, selection: Option<&UInt32Array>) -> Result<ArrayRef, ArrowError> {
    selection.map_or_else(|| Ok(Arc::clone(array)), |rows| take(array, rows, None))
}

/// One value for all rows, as one run.
fn constant_run(value: &ArrayRef, rows: usize) -> Result<ArrayRef, ArrowError> {
    let end = i32::try_from(rows).map_err(|_| ArrowError::ComputeError(format!("{rows} rows in one batch")))?;
    // Runs of dictionary codes would need a dictionary inside a run; the value alone is as good.
    let value = match value.data_type() {
        DataType::Dictionary(..) => {
            let dictionary = value.as_any_dictionary();
            take(dictionary.values().as_ref(), dictionary.keys(), None)?
        }
        _ => Arc::clone(value),
    };
    Ok(Arc::new(RunArray::<Int32Type>::try_new(&Int32Array::from(vec![end]), &compact(value)?)?))
}

/// No rows, with the values' own type.
fn flat(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    Ok(match array.data_type() {
        DataType::RunEndEncoded(_, values) => new_empty_array(values.data_type()),
        data_type => compact(new_empty_array(data_type))?,
    })
}

/// Leaves behind what the rows do not refer to: view buffers that are mostly others' bytes, dictionaries larger than
/// the batch.
fn compact(array: ArrayRef) -> Result<ArrayRef, ArrowError> {
    Ok(match array.data_type() {
        DataType::Utf8View => {
            let views = array.as_string_view();
            if is_sparse(views.views(), views.data_buffers()) { Arc::new(views.gc()) } else { array }
        }
        DataType::BinaryView => {
            let views = array.as_binary_view();
            if is_sparse(views.views(), views.data_buffers()) { Arc::new(views.gc()) } else { array }
        }
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let values = dictionary.values();
            if values.len() > array.len() || !has_codec(values.data_type()) {
                compact(take(values.as_ref(), dictionary.keys(), None)?)?
            } else {
                array
            }
        }
        _ => array,
    })
}

/// Dictionaries of dictionaries or runs are spelled out: readers differ in what they make of them.
fn has_codec(values: &DataType) -> bool {
    !values.is_nested() && !matches!(values, DataType::Dictionary(..) | DataType::RunEndEncoded(..))
}

fn is_sparse(views: &[u128], buffers: &[arrow_buffer::Buffer]) -> bool {
    let referred: u128 = views.iter().map(|view| view & u128::from(u32::MAX)).filter(|length| *length > 12).sum();
    let held: usize = buffers.iter().map(|buffer| buffer.len()).sum();
    // Copying is worth it when a quarter can be left behind.
    referred < (held - held / 4) as u128
}

fn carrier_field(field: &LogicalField, carrier: &DataType, role: Option<&str>) -> Field {
    let mut metadata = HashMap::new();
    if let Some(role) = role {
        metadata.insert(ROLE.to_owned(), role.to_owned());
    }
    if let (LogicalType::Decimal { precision, .. }, Some(LogicalType::Decimal { precision: carried, .. })) =
        (&field.data_type, LogicalType::from_arrow(carrier))
        && *precision != carried
    {
        metadata.insert(PRECISION.to_owned(), precision.to_string());
    }
    // A run-end-encoded column has no validity of its own, but may say that its values are null.
    Field::new(field.name.as_str(), carrier.clone(), field.nullable).with_metadata(metadata)
}

fn role_field(name: &str, data_type: DataType, role: &str, hashed: Option<String>) -> Field {
    let mut metadata = HashMap::from([(ROLE.to_owned(), role.to_owned())]);
    metadata.extend(hashed.map(|columns| (HASHED.to_owned(), columns)));
    Field::new(name, data_type, false).with_metadata(metadata)
}

/// How the columns of a carrying schema are read back; computed once for each schema of a channel.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) schema: SchemaRef,
    constants: Vec<bool>,
    row_kinds: Option<usize>,
    hashes: Option<(usize, Arc<[usize]>)>,
}

impl Layout {
    /// Reads a carrying schema, and checks it against the one that is expected.
    pub(crate) fn new(carrier: &Schema, expected: Option<&SchemaRef>) -> Result<Self> {
        let mut fields = Vec::new();
        let mut constants = Vec::new();
        let (mut row_kinds, mut hashes) = (None, None);
        for (index, field) in carrier.fields().iter().enumerate() {
            match field.metadata().get(ROLE).map(String::as_str) {
                None | Some(CONSTANT) => {
                    if row_kinds.is_some() || hashes.is_some() {
                        return Err(FrameError::malformed(format!("column {} after a trailing one", field.name())));
                    }
                    let constant = field.metadata().contains_key(ROLE);
                    if constant && !matches!(field.data_type(), DataType::RunEndEncoded(..)) {
                        return Err(FrameError::malformed(format!("constant {} is not run-end encoded", field.name())));
                    }
                    constants.push(constant);
                    fields.push(logical_field(field)?);
                }
                Some(ROW_KIND) if row_kinds.is_none() && hashes.is_none() && *field.data_type() == DataType::Int8 => {
                    row_kinds = Some(index);
                }
                Some(KEY_HASHES) if hashes.is_none() && *field.data_type() == DataType::UInt64 => {
                    hashes = Some((index, hashed_columns(field, constants.len())?));
                }
                Some(role) => {
                    return Err(FrameError::malformed(format!("column {} has role {role:?}", field.name())));
                }
            }
        }
        let event_time = event_time(carrier, &fields)?;
        let schema = match expected {
            Some(expected) => {
                check_expected(&fields, expected)?;
                Arc::clone(expected)
            }
            None => Arc::new(LogicalSchema { fields, event_time }),
        };
        Ok(Self { schema, constants, row_kinds, hashes })
    }

    pub(crate) fn has_row_kinds(&self) -> bool {
        self.row_kinds.is_some()
    }

    pub(crate) fn has_hashes(&self) -> bool {
        self.hashes.is_some()
    }

    /// The batch in a record batch of this layout.
    pub(crate) fn unwrap(&self, record: &RecordBatch) -> Result<Batch> {
        let rows = record.num_rows();
        let columns = self
            .constants
            .iter()
            .zip(record.columns())
            .map(
                |(constant, array)| if *constant { constant_of(array, rows) } else { Ok(Column::Array(array.clone())) },
            )
            .collect::<Result<Vec<_>>>()?;
        let mut batch = Batch::new(Arc::clone(&self.schema), columns, rows);
        if let Some(index) = self.row_kinds {
            let kinds = record.column(index).as_primitive::<arrow_array::types::Int8Type>();
            if kinds.null_count() > 0 || kinds.values().iter().any(|kind| !(0..=3).contains(kind)) {
                return Err(FrameError::malformed("a row kind is not one of 0 to 3"));
            }
            batch = batch.with_row_kinds(Some(kinds.values().clone()));
        }
        if let Some((index, columns)) = &self.hashes {
            let hashes = record.column(*index).as_primitive::<arrow_array::types::UInt64Type>();
            if hashes.null_count() > 0 {
                return Err(FrameError::malformed("a key hash is null"));
            }
            let values: ScalarBuffer<u64> = hashes.values().clone();
            batch = batch.with_hashes(Some(KeyHashes { columns: Arc::clone(columns), values }));
        }
        Ok(batch)
    }
}

fn constant_of(array: &ArrayRef, rows: usize) -> Result<Column> {
    let run = array
        .as_any()
        .downcast_ref::<RunArray<Int32Type>>()
        .ok_or_else(|| FrameError::malformed("a constant whose run ends are not 32 bits"))?;
    if run.values().len() != 1 || run.len() != rows {
        return Err(FrameError::malformed("a constant of other than one run"));
    }
    Ok(Column::Constant(Arc::clone(run.values())))
}

fn logical_field(field: &Field) -> Result<LogicalField> {
    let Some(mut data_type) = LogicalType::from_arrow(field.data_type()) else {
        return Err(FrameError::malformed(format!("column {} has type {}", field.name(), field.data_type())));
    };
    if let Some(text) = field.metadata().get(PRECISION) {
        let wanted = text.parse::<u8>().ok().filter(|p| (1..=38).contains(p));
        match (&mut data_type, wanted) {
            (LogicalType::Decimal { precision, .. }, Some(wanted)) => *precision = wanted,
            _ => return Err(FrameError::malformed(format!("column {} has precision {text:?}", field.name()))),
        }
    }
    Ok(LogicalField::new(field.name().as_str(), data_type, field.is_nullable()))
}

fn hashed_columns(field: &Field, width: usize) -> Result<Arc<[usize]>> {
    let text = field.metadata().get(HASHED).map(String::as_str).unwrap_or_default();
    if text.is_empty() {
        return Ok(Arc::from([]));
    }
    text.split(',')
        .map(|part| part.parse::<usize>().ok().filter(|index| *index < width))
        .collect::<Option<Vec<_>>>()
        .map(Arc::from)
        .ok_or_else(|| FrameError::malformed(format!("hashed columns {text:?} of {width}")))
}

fn event_time(carrier: &Schema, fields: &[LogicalField]) -> Result<Option<usize>> {
    let Some(text) = carrier.metadata().get(EVENT_TIME) else { return Ok(None) };
    let index = text.parse::<usize>().ok().filter(|index| *index < fields.len());
    index.map(Some).ok_or_else(|| FrameError::malformed(format!("event-time column {text:?} of {}", fields.len())))
}

/// Names may differ (an edge renames nothing, but a restored job may); count, types and scales may not.
fn check_expected(fields: &[LogicalField], expected: &LogicalSchema) -> Result<()> {
    let mismatch = |problem: String| Err(FrameError::SchemaMismatch { problem });
    if fields.len() != expected.fields.len() {
        return mismatch(format!("{} columns, {} are expected", fields.len(), expected.fields.len()));
    }
    for (index, (field, expected)) in fields.iter().zip(&expected.fields).enumerate() {
        let fits = match (&field.data_type, &expected.data_type) {
            (LogicalType::Decimal { scale, .. }, LogicalType::Decimal { scale: wanted, .. }) => scale == wanted,
            (found, wanted) => same_kind(found, wanted),
        };
        if !fits {
            let (found, wanted) = (&field.data_type, &expected.data_type);
            return mismatch(format!("column {index} ({}) is {found}, {wanted} is expected", expected.name));
        }
    }
    Ok(())
}

/// Equal but for what carriers do not tell inside nested types: names, and digits of decimals.
fn same_kind(found: &LogicalType, wanted: &LogicalType) -> bool {
    match (found, wanted) {
        (LogicalType::Decimal { scale, .. }, LogicalType::Decimal { scale: other, .. }) => scale == other,
        (LogicalType::List(a), LogicalType::List(b)) => same_kind(&a.data_type, &b.data_type),
        (LogicalType::Struct(a), LogicalType::Struct(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| same_kind(&a.data_type, &b.data_type))
        }
        (LogicalType::Map { key, value }, LogicalType::Map { key: other_key, value: other_value }) => {
            same_kind(&key.data_type, &other_key.data_type) && same_kind(&value.data_type, &other_value.data_type)
        }
        (found, wanted) => found == wanted,
    }
}
