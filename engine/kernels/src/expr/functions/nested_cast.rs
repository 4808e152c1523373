//! CAST and TRY_CAST of nested values: part by part, and to text.
//!
//! A conversion of a list is that of its items, which lie together in one array: each kind of part is converted once for a
//! batch, and offsets and NULLs stay as they are. Only items of lists that count, and are not NULL, may fail. Parts of a
//! struct find their new place by name, in any case; one that is not there is NULL. If no name is the same, and there are
//! as many, they go by position.

use std::sync::Arc;

use arrow_array::builder::StringViewBuilder;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, ListArray, MapArray, StructArray, new_null_array};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, FieldRef};
use flumen_core::batch::Column;
use flumen_core::types::{Field, LogicalType};

use super::cast;
use crate::expr::column::{Rows, expand, flatten};
use crate::expr::error::ExprError;
use crate::expr::program::{Bound, Kernel, Traits};
use crate::nested::NestedText;

/// The kernel for a conversion from or to a nested type.
///
/// # Errors
/// If there is none.
pub(crate) fn bind(from: &LogicalType, to: &LogicalType, safe: bool) -> Result<Bound, ExprError> {
    let conversion = Conversion::new(from, to, safe)?;
    let traits = Traits { fallible: !safe && conversion.is_fallible(), cost: 500, ..Traits::PLAIN };
    Ok(Bound::new(NestedCast { conversion }, traits))
}

struct NestedCast {
    conversion: Conversion,
}

impl Kernel for NestedCast {
    fn evaluate(&self, args: &[Column], rows: Rows<'_>) -> Result<Column, ExprError> {
        let array = expand(&args[0], rows.len)?;
        Ok(Column::Array(self.conversion.apply(&array, rows)?))
    }
}

/// How one part is converted.
enum Conversion {
    /// It is of the type already; only its carrier may be another.
    Carrier(DataType),
    /// All NULL.
    Null(DataType),
    Simple(Bound),
    List {
        carrier: DataType,
        field: FieldRef,
        items: Box<Conversion>,
    },
    Struct {
        carrier: DataType,
        fields: arrow_schema::Fields,
        parts: Vec<Option<(usize, Conversion)>>,
    },
    Map {
        carrier: DataType,
        field: FieldRef,
        entries: Box<Conversion>,
    },
    /// How each simple type inside becomes text.
    Text {
        carrier: DataType,
        simple: Vec<(DataType, Option<Bound>)>,
    },
}

/// The entries of a map as structs.
fn entry(key: &Field, value: &Field) -> LogicalType {
    LogicalType::Struct([key.clone(), value.clone()].into())
}

impl Conversion {
    fn new(from: &LogicalType, to: &LogicalType, safe: bool) -> Result<Self, ExprError> {
        let unsupported = || ExprError::UnsupportedCast { from: from.clone(), to: to.clone() };
        let carrier = from.arrow_type();
        Ok(match (from, to, to.arrow_type()) {
            (from, to, produced) if from == to => Self::Carrier(produced),
            (LogicalType::Null, _, produced) => Self::Null(produced),
            (LogicalType::List(from), LogicalType::List(to), DataType::List(field)) => {
                Self::List { carrier, field, items: Box::new(Self::new(&from.data_type, &to.data_type, safe)?) }
            }
            (
                LogicalType::Map { key, value },
                LogicalType::Map { key: to_key, value: to_value },
                DataType::Map(field, _),
            ) => {
                let parts = [(key, to_key), (value, to_value)].into_iter().enumerate();
                let part = |(index, (from, to)): (usize, (&Arc<Field>, &Arc<Field>))| {
                    // A key that does not convert has no value to be the key of.
                    Ok(Some((index, Self::new(&from.data_type, &to.data_type, safe && index == 1)?)))
                };
                let DataType::Struct(fields) = field.data_type().clone() else { return Err(unsupported()) };
                let parts = parts.map(part).collect::<Result<_, ExprError>>()?;
                let entries = Self::Struct { carrier: entry(key, value).arrow_type(), fields, parts };
                Self::Map { carrier, field, entries: Box::new(entries) }
            }
            (LogicalType::Struct(from_fields), LogicalType::Struct(to_fields), DataType::Struct(fields)) => {
                let place = |name: &str| from_fields.iter().position(|field| field.name.eq_ignore_ascii_case(name));
                let by_name: Vec<Option<usize>> = to_fields.iter().map(|field| place(&field.name)).collect();
                let places = if by_name.iter().any(Option::is_some) {
                    by_name
                } else if from_fields.len() == to_fields.len() {
                    (0..to_fields.len()).map(Some).collect()
                } else {
                    return Err(unsupported());
                };
                let part = |(place, to): (&Option<usize>, &Field)| {
                    let Some(place) = *place else { return Ok(None) };
                    Ok(Some((place, Self::new(&from_fields[place].data_type, &to.data_type, safe)?)))
                };
                let parts = places.iter().zip(to_fields.iter()).map(part).collect::<Result<_, ExprError>>()?;
                Self::Struct { carrier, fields, parts }
            }
            (from, LogicalType::Utf8, _) if from.is_nested() => {
                let mut simple = Vec::new();
                simple_parts(from, &mut simple)?;
                Self::Text { carrier, simple }
            }
            (from, to, _) if from.is_nested() || to.is_nested() => return Err(unsupported()),
            (from, to, _) => Self::Simple(cast::bind(from, to, safe)?),
        })
    }

    fn is_fallible(&self) -> bool {
        match self {
            Self::Carrier(_) | Self::Null(_) | Self::Text { .. } => false,
            Self::Simple(bound) => bound.traits.fallible,
            Self::List { items: inner, .. } | Self::Map { entries: inner, .. } => inner.is_fallible(),
            Self::Struct { parts, .. } => parts.iter().flatten().any(|(_, part)| part.is_fallible()),
        }
    }

    fn apply(&self, array: &ArrayRef, rows: Rows<'_>) -> Result<ArrayRef, ExprError> {
        match self {
            Self::Carrier(carrier) => carried(array, carrier),
            Self::Null(produced) => Ok(new_null_array(produced, rows.len)),
            Self::Simple(bound) => {
                let column = flatten(Column::Array(Arc::clone(array)))?;
                expand(&bound.kernel.evaluate(&[column], rows)?, rows.len)
            }
            Self::List { carrier, field, items } => {
                let array = carried(array, carrier)?;
                let (_, offsets, values, nulls) = array.as_list::<i32>().clone().into_parts();
                let (offsets, values, counted) = items_of(offsets, &values, nulls.as_ref(), rows);
                let values = items.apply(&values, Rows { len: values.len(), active: Some(&counted) })?;
                let list = ListArray::try_new(Arc::clone(field), offsets, values, nulls);
                Ok(Arc::new(list.map_err(ExprError::arrow("cast a list"))?))
            }
            Self::Map { carrier, field, entries } => {
                let array = carried(array, carrier)?;
                let (_, offsets, values, nulls, sorted) = array.as_map().clone().into_parts();
                let values: ArrayRef = Arc::new(values);
                let (offsets, values, counted) = items_of(offsets, &values, nulls.as_ref(), rows);
                let values = entries.apply(&values, Rows { len: values.len(), active: Some(&counted) })?;
                let map = MapArray::try_new(Arc::clone(field), offsets, values.as_struct().clone(), nulls, sorted);
                Ok(Arc::new(map.map_err(ExprError::arrow("cast a map"))?))
            }
            Self::Struct { carrier, fields, parts } => {
                let array = carried(array, carrier)?;
                let (_, columns, nulls) = array.as_struct().clone().into_parts();
                let counted = match (&nulls, rows.active) {
                    (None, active) => active.cloned(),
                    (Some(nulls), None) => Some(nulls.inner().clone()),
                    (Some(nulls), Some(active)) => Some(nulls.inner() & active),
                };
                let rows = Rows { len: rows.len, active: counted.as_ref() };
                let part = |(part, field): (&Option<(usize, Self)>, &FieldRef)| match part {
                    Some((place, conversion)) => conversion.apply(&columns[*place], rows),
                    None => Ok(new_null_array(field.data_type(), rows.len)),
                };
                let columns = parts.iter().zip(fields).map(part).collect::<Result<Vec<_>, _>>()?;
                let parts = if columns.is_empty() {
                    Ok(StructArray::new_empty_fields(rows.len, nulls))
                } else {
                    StructArray::try_new(fields.clone(), columns, nulls)
                };
                Ok(Arc::new(parts.map_err(ExprError::arrow("cast a struct"))?))
            }
            Self::Text { carrier, simple } => texts(&carried(array, carrier)?, simple, rows),
        }
    }
}

/// The simple types inside of a type, each once, and how they become text; text is text already.
fn simple_parts(data_type: &LogicalType, out: &mut Vec<(DataType, Option<Bound>)>) -> Result<(), ExprError> {
    match data_type {
        LogicalType::List(item) => simple_parts(&item.data_type, out),
        LogicalType::Struct(fields) => fields.iter().try_for_each(|field| simple_parts(&field.data_type, out)),
        LogicalType::Map { key, value } => {
            simple_parts(&key.data_type, out)?;
            simple_parts(&value.data_type, out)
        }
        simple => {
            let carrier = simple.arrow_type();
            if !out.iter().any(|(known, _)| *known == carrier) {
                let as_it_is = matches!(simple, LogicalType::Utf8 | LogicalType::Null);
                let bound = if as_it_is { None } else { Some(cast::bind(simple, &LogicalType::Utf8, true)?) };
                out.push((carrier, bound));
            }
            Ok(())
        }
    }
}

fn texts(array: &ArrayRef, simple: &[(DataType, Option<Bound>)], rows: Rows<'_>) -> Result<ArrayRef, ExprError> {
    let mut part = |part: &ArrayRef| -> Result<Vec<String>, ExprError> {
        if part.null_count() == part.len() || *part.data_type() == DataType::Null {
            return Ok(vec![String::new(); part.len()]);
        }
        let found = simple.iter().find(|(carrier, _)| carrier == part.data_type());
        let text = match found {
            Some((_, None)) => Arc::clone(part),
            Some((_, Some(bound))) => {
                let args = [Column::Array(Arc::clone(part))];
                expand(&bound.kernel.evaluate(&args, Rows::all(part.len()))?, part.len())?
            }
            None => return Err(ExprError::Carrier { operation: "cast to text", found: part.data_type().clone() }),
        };
        let text = arrow_cast::cast(&text, &DataType::Utf8View).map_err(ExprError::arrow("cast to text"))?;
        Ok(text.as_string_view().iter().map(|text| text.unwrap_or_default().to_owned()).collect())
    };
    let written = NestedText::new(array, &mut part)?;
    let mut builder = StringViewBuilder::with_capacity(rows.len);
    let mut text = String::new();
    for row in 0..rows.len {
        if array.is_null(row) || rows.active.is_some_and(|active| !active.value(row)) {
            builder.append_null();
            continue;
        }
        text.clear();
        written.write(row, &mut text);
        builder.try_append_value(&text).map_err(ExprError::arrow("cast to text"))?;
    }
    Ok(Arc::new(builder.finish()))
}

fn carried(array: &ArrayRef, carrier: &DataType) -> Result<ArrayRef, ExprError> {
    if array.data_type() == carrier {
        return Ok(Arc::clone(array));
    }
    arrow_cast::cast(array, carrier).map_err(ExprError::arrow("bring to one carrier"))
}

/// The items that lists refer to, offsets from the first of them, and which of them count.
fn items_of(
    offsets: OffsetBuffer<i32>,
    values: &ArrayRef,
    nulls: Option<&NullBuffer>,
    rows: Rows<'_>,
) -> (OffsetBuffer<i32>, ArrayRef, BooleanBuffer) {
    let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
    let values = values.slice(first as usize, (last - first) as usize);
    let offsets = if first == 0 {
        offsets
    } else {
        // They still ascend.
        OffsetBuffer::new(offsets.iter().map(|offset| offset - first).collect::<ScalarBuffer<i32>>())
    };
    let mut counted = BooleanBufferBuilder::new(values.len());
    for (row, range) in offsets.windows(2).enumerate() {
        let counts = rows.active.is_none_or(|active| active.value(row)) && nulls.is_none_or(|n| n.is_valid(row));
        counted.append_n((range[1] - range[0]) as usize, counts);
    }
    (offsets, values, counted.finish())
}
