//! Columns of a file as the table wants them, for formats whose files have a schema of their own.

use std::any::Any;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, new_null_array};
use arrow_cast::{CastOptions, can_cast_types, cast_with_options};
use arrow_schema::Schema as ArrowSchema;
use flumen_core::batch::{Batch, Column};
use flumen_core::types::{Field, LogicalType, Schema, SchemaRef};

use crate::decoder::FormatError;

/// Which column of a file each column of the output is; by name, exact first, then without case.
#[derive(Clone, Debug)]
pub struct Conform {
    format: &'static str,
    schema: SchemaRef,
    places: Vec<Option<usize>>,
}

impl Conform {
    /// Finds the columns `projection` of a table in a file.
    ///
    /// # Errors
    /// If a column cannot be converted, or one that may not be NULL is missing.
    pub fn new(
        format: &'static str,
        table: &Schema,
        projection: &[usize],
        file: &ArrowSchema,
    ) -> Result<Self, FormatError> {
        let fields: Vec<Field> = projection.iter().map(|column| table.fields[*column].clone()).collect();
        let places = fields.iter().map(|field| place(format, field, file)).collect::<Result<_, _>>()?;
        Ok(Self { format, schema: Arc::new(Schema::new(fields)), places })
    }

    /// The output's columns.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The file's columns that are wanted, in ascending order.
    #[must_use]
    pub fn wanted(&self) -> Vec<usize> {
        let mut wanted: Vec<usize> = self.places.iter().flatten().copied().collect();
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }

    /// Rows of the file, of all its columns or of those that are [wanted](Self::wanted), as the table has them.
    ///
    /// # Errors
    /// If a value does not fit the table's type.
    pub fn batch(&self, rows: &RecordBatch, only_wanted: bool) -> Result<Batch, FormatError> {
        let wanted = self.wanted();
        let options = CastOptions { safe: false, ..CastOptions::default() };
        let columns = self.places.iter().zip(&self.schema.fields).map(|(place, field)| {
            let carrier = field.data_type.arrow_type();
            let place = place.map(|place| match only_wanted {
                true => wanted.binary_search(&place).unwrap_or(place),
                false => place,
            });
            let Some(array) = place.and_then(|place| rows.columns().get(place)) else {
                return Ok(Column::Constant(new_null_array(&carrier, 1)));
            };
            let array: ArrayRef = match *array.data_type() == carrier {
                true => Arc::clone(array),
                false => cast_with_options(array, &carrier, &options).map_err(|error| FormatError::Unsupported {
                    format: self.format,
                    problem: format!("column {:?} as {}: {error}", field.name, field.data_type),
                })?,
            };
            match !field.nullable && array.null_count() > 0 {
                true => Err(FormatError::Unsupported {
                    format: self.format,
                    problem: format!("column {:?} is declared NOT NULL and has NULLs", field.name),
                }),
                false => Ok(Column::Array(array)),
            }
        });
        Ok(Batch::new(Arc::clone(&self.schema), columns.collect::<Result<_, _>>()?, rows.num_rows()))
    }
}

fn place(format: &'static str, field: &Field, file: &ArrowSchema) -> Result<Option<usize>, FormatError> {
    let names = file.fields();
    let place = names
        .iter()
        .position(|known| *known.name() == field.name)
        .or_else(|| names.iter().position(|known| known.name().to_lowercase() == field.name.to_lowercase()));
    let found = match place.map(|place| names[place].data_type()) {
        None if field.nullable => return Ok(None),
        None => "missing".to_owned(),
        Some(stored) => match LogicalType::from_arrow(stored) {
            Some(logical) if logical == field.data_type || converts(&logical, &field.data_type) => {
                return Ok(place.filter(|_| can_cast_types(stored, &field.data_type.arrow_type())));
            }
            Some(logical) => logical.to_string(),
            None => stored.to_string(),
        },
    };
    let problem = format!("column {:?} is {} in the table but {found} in the file", field.name, field.data_type);
    Err(FormatError::Unsupported { format, problem })
}

/// Whether a stored type may be read as another: among numbers, among times, and NULL as anything. Text is never parsed
/// silently.
fn converts(from: &LogicalType, to: &LogicalType) -> bool {
    let is_number = |t: &LogicalType| t.is_integer() || t.is_float() || matches!(t, LogicalType::Decimal { .. });
    let is_moment = |t: &LogicalType| matches!(t, LogicalType::Date | LogicalType::Timestamp { .. });
    (is_number(from) && is_number(to))
        || (is_moment(from) && is_moment(to))
        || matches!((from, to), (LogicalType::Time(_), LogicalType::Time(_)) | (LogicalType::Null, _))
        || matches!((from, to), (LogicalType::Duration(_), LogicalType::Duration(_)))
        || matches!((from, to), (LogicalType::List(_), LogicalType::List(_)))
        || matches!((from, to), (LogicalType::Struct(_), LogicalType::Struct(_)))
        || matches!((from, to), (LogicalType::Map { .. }, LogicalType::Map { .. }))
}

/// What a panic said.
#[must_use]
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "the decoder gave up",
    }
}
