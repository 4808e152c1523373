//! Parquet types to the engine's carriers, and table columns to file columns.
//!
//! The library is told to decode straight into the engine's carriers: decimals of up to 18 digits become 64-bit
//! integers (from INT64 without touching a value), strings become views. Where it cannot (decimals as byte arrays) the
//! column keeps the wider carrier, which every kernel takes too.

use std::path::Path;
use std::sync::Arc;

use arrow_schema::{DataType, FieldRef};
use flumen_core::types::{DECIMAL64_PRECISION_MAX, Field, LogicalType, Schema, SchemaRef};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::basic::Type as PhysicalType;
use parquet::file::metadata::ParquetMetaData;
use parquet::schema::types::SchemaDescriptor;

use crate::error::{ParquetError, footer, guarded};
use crate::file::ParquetFile;

/// The metadata with the engine's carriers as the types to decode into, and the logical schema.
pub(crate) fn carriers(
    path: &Path,
    metadata: Arc<ParquetMetaData>,
) -> Result<(ArrowReaderMetadata, SchemaRef), ParquetError> {
    let stored = guarded(|| ArrowReaderMetadata::try_new(Arc::clone(&metadata), ArrowReaderOptions::new()))
        .map_err(|problem| footer(path, problem))?;
    let mut leaf = 0;
    let descriptor = metadata.file_metadata().schema_descr();
    let fields: Vec<_> = stored.schema().fields().iter().map(|f| carrier_field(f, descriptor, &mut leaf)).collect();
    let schema = Schema::from_arrow(&arrow_schema::Schema::new(fields.clone())).map_err(|field| {
        ParquetError::UnsupportedType {
            path: path.to_path_buf(),
            column: field.name().clone(),
            data_type: field.data_type().to_string(),
        }
    })?;
    let wanted = Arc::new(arrow_schema::Schema::new_with_metadata(fields, stored.schema().metadata().clone()));
    let options = ArrowReaderOptions::new().with_schema(wanted);
    let metadata =
        guarded(|| ArrowReaderMetadata::try_new(metadata, options)).map_err(|problem| footer(path, problem))?;
    Ok((metadata, Arc::new(schema)))
}

fn carrier_field(field: &FieldRef, descriptor: &SchemaDescriptor, leaf: &mut usize) -> FieldRef {
    let data_type = carrier(field.data_type(), descriptor, leaf);
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}

/// The carrier of a type; `leaf` counts the primitive columns passed, which both schemas list in the same order.
fn carrier(data_type: &DataType, descriptor: &SchemaDescriptor, leaf: &mut usize) -> DataType {
    match data_type {
        DataType::List(item) => DataType::List(carrier_field(item, descriptor, leaf)),
        DataType::LargeList(item) => DataType::LargeList(carrier_field(item, descriptor, leaf)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(carrier_field(item, descriptor, leaf), *size),
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|f| carrier_field(f, descriptor, leaf)).collect())
        }
        DataType::Map(entries, sorted) => DataType::Map(carrier_field(entries, descriptor, leaf), *sorted),
        DataType::Dictionary(_, value) => carrier(value, descriptor, leaf),
        primitive => {
            let column = (*leaf < descriptor.num_columns()).then(|| descriptor.column(*leaf));
            *leaf += 1;
            let fits_64_bits = column.is_some_and(|c| match c.physical_type() {
                PhysicalType::INT32 | PhysicalType::INT64 => true,
                PhysicalType::FIXED_LEN_BYTE_ARRAY => (1..=8).contains(&c.type_length()),
                _ => false,
            });
            match primitive {
                DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
                DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
                DataType::Decimal128(precision, scale) if *precision <= DECIMAL64_PRECISION_MAX && fits_64_bits => {
                    DataType::Decimal64(*precision, *scale)
                }
                other => other.clone(),
            }
        }
    }
}

/// Where a column of the table comes from in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnBinding {
    /// The table's column.
    pub field: Field,
    /// The file's root column; `None` if the file lacks it, which reads as NULL.
    pub column: Option<usize>,
    /// Whether values have to be converted to the table's type.
    pub is_cast: bool,
}

impl ColumnBinding {
    /// Finds a table's columns in a file by name: exact first, then without case.
    ///
    /// # Errors
    /// If a column cannot be converted, or one that may not be NULL is missing.
    pub fn bind(file: &ParquetFile, fields: &[Field]) -> Result<Vec<Self>, ParquetError> {
        fields.iter().map(|field| Self::bind_one(file, field)).collect()
    }

    fn bind_one(file: &ParquetFile, field: &Field) -> Result<Self, ParquetError> {
        let found = &file.schema().fields;
        let column = file
            .schema()
            .index_of(&field.name)
            .or_else(|| found.iter().position(|f| f.name.to_lowercase() == field.name.to_lowercase()));
        let mismatch = |found: String| ParquetError::TypeMismatch {
            path: file.path().to_path_buf(),
            column: field.name.clone(),
            wanted: field.data_type.to_string(),
            found,
        };
        let Some(index) = column else {
            return match field.nullable {
                true => Ok(Self { field: field.clone(), column: None, is_cast: false }),
                false => Err(mismatch("missing".to_owned())),
            };
        };
        let stored = &found[index].data_type;
        let is_cast = *stored != field.data_type;
        if is_cast && !converts(stored, &field.data_type) {
            return Err(mismatch(stored.to_string()));
        }
        Ok(Self { field: field.clone(), column, is_cast })
    }
}

/// Whether a stored type may be read as another: among numbers, among times, and NULL as anything. Text is never parsed
/// silently.
fn converts(from: &LogicalType, to: &LogicalType) -> bool {
    let is_number = |t: &LogicalType| t.is_integer() || t.is_float() || matches!(t, LogicalType::Decimal { .. });
    let is_moment = |t: &LogicalType| matches!(t, LogicalType::Date | LogicalType::Timestamp { .. });
    let same_kind = (is_number(from) && is_number(to))
        || (is_moment(from) && is_moment(to))
        || matches!((from, to), (LogicalType::Time(_), LogicalType::Time(_)))
        || matches!((from, to), (LogicalType::Duration(_), LogicalType::Duration(_)))
        || matches!((from, to), (LogicalType::Binary, LogicalType::Utf8) | (LogicalType::Null, _))
        || matches!((from, to), (LogicalType::List(_), LogicalType::List(_)))
        || matches!((from, to), (LogicalType::Struct(_), LogicalType::Struct(_)))
        || matches!((from, to), (LogicalType::Map { .. }, LogicalType::Map { .. }));
    same_kind && arrow_cast::can_cast_types(&from.arrow_type(), &to.arrow_type())
}
