//! Functions of strings: concatenation, case, length, substring. Results are views; substrings share the input's bytes.

use std::sync::Arc;

use arrow_array::builder::StringViewBuilder;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, StringViewArray};
use arrow_buffer::{NullBuffer, ScalarBuffer};
use arrow_schema::DataType;
use flumen_core::batch::Column;
use flumen_core::types::LogicalType;

use super::comparison::as_views;
use crate::expr::column::{Fixed, Native, Rows, expand, fixed, nulls_of, union_nulls};
use crate::expr::error::ExprError;
use crate::expr::program::{Bound, Kernel, Traits};

/// `a || b || ...`; NULL if one is.
pub(crate) fn concat() -> Bound {
    Bound::new(Concat, Traits::STRING)
}

/// Upper or lower case, by Unicode's rules without a locale.
pub(crate) fn change_case(upper: bool) -> Bound {
    Bound::new(ChangeCase { upper }, Traits::STRING)
}

/// Characters of a string.
pub(crate) fn length(result: &LogicalType) -> Bound {
    let traits = Traits { dense: false, cost: 20, ..Traits::STRING };
    Bound::new(Length { result: result.clone() }, traits)
}

/// `substring(text, from[, count])` in characters, from 1.
pub(crate) fn substring() -> Bound {
    Bound::new(Substring, Traits { fallible: true, dense: false, cost: 40, ..Traits::STRING })
}

/// The column as a string view array of all rows.
fn texts(column: &Column, rows: usize) -> Result<ArrayRef, ExprError> {
    expand(&as_views(column, &DataType::Utf8View)?, rows)
}

fn finish(mut builder: StringViewBuilder, nulls: Option<NullBuffer>) -> Result<Column, ExprError> {
    let (views, buffers, _) = builder.finish().into_parts();
    let array = StringViewArray::try_new(views, buffers, nulls).map_err(ExprError::arrow("build strings"))?;
    Ok(Column::Array(Arc::new(array)))
}

struct Concat;

impl Kernel for Concat {
    fn evaluate(&self, args: &[Column], rows: Rows<'_>) -> Result<Column, ExprError> {
        let nulls = union_nulls(args);
        let parts = args.iter().map(|a| as_views(a, &DataType::Utf8View)).collect::<Result<Vec<_>, _>>()?;
        let mut builder = StringViewBuilder::with_capacity(rows.len);
        let mut text = String::new();
        for row in 0..rows.len {
            text.clear();
            if nulls.as_ref().is_none_or(|n| n.is_valid(row)) {
                for part in &parts {
                    let at = if part.as_constant().is_some() { 0 } else { row };
                    text.push_str(part.array().as_string_view().value(at));
                }
            }
            builder.try_append_value(&text).map_err(ExprError::arrow("concat"))?;
        }
        finish(builder, nulls)
    }
}

struct ChangeCase {
    upper: bool,
}

impl Kernel for ChangeCase {
    fn evaluate(&self, args: &[Column], rows: Rows<'_>) -> Result<Column, ExprError> {
        let array = texts(&args[0], rows.len)?;
        let array = array.as_string_view();
        let mut builder = StringViewBuilder::with_capacity(rows.len);
        let mut ascii = String::new();
        for row in 0..rows.len {
            let text = if array.is_valid(row) { array.value(row) } else { "" };
            if text.is_ascii() {
                ascii.clear();
                ascii.push_str(text);
                if self.upper {
                    ascii.make_ascii_uppercase()
                } else {
                    ascii.make_ascii_lowercase()
                }
                builder.try_append_value(&ascii).map_err(ExprError::arrow("change case"))?;
            } else {
                let changed = if self.upper { text.to_uppercase() } else { text.to_lowercase() };
                builder.try_append_value(&changed).map_err(ExprError::arrow("change case"))?;
            }
        }
        finish(builder, array.nulls().cloned())
    }
}

struct Length {
    result: LogicalType,
}

/// Characters: bytes that do not continue one.
fn characters(text: &str) -> usize {
    text.bytes().filter(|b| b & 0xC0 != 0x80).count()
}

impl Kernel for Length {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "views are at most 2^31 bytes long"
    )]
    fn evaluate(&self, args: &[Column], rows: Rows<'_>) -> Result<Column, ExprError> {
        let array = texts(&args[0], rows.len)?;
        let array = array.as_string_view();
        let nulls = nulls_of(&args[0]);
        let lengths = (0..rows.len).map(|i| characters(array.value(i)));
        Ok(Column::Array(match self.result {
            LogicalType::Int32 => i32::array(&DataType::Int32, lengths.map(|n| n as i32).collect(), nulls),
            _ => i64::array(&DataType::Int64, lengths.map(|n| n as i64).collect(), nulls),
        }))
    }
}

struct Substring;

impl Kernel for Substring {
    fn evaluate(&self, args: &[Column], rows: Rows<'_>) -> Result<Column, ExprError> {
        let array = texts(&args[0], rows.len)?;
        let array = array.as_string_view();
        let nulls = union_nulls(args);
        let from = whole_numbers(&args[1])?;
        let count = args.get(2).map(whole_numbers).transpose()?;
        let at = |numbers: &[i64], i: usize| if numbers.len() == 1 { numbers[0] } else { numbers[i] };
        if let Some(count) = &count {
            rows.try_each(nulls.as_ref(), |i| match at(count, i) {
                count if count < 0 => Err(ExprError::InvalidArgument {
                    function: "substring".to_owned(),
                    reason: format!("the length {count} is negative"),
                }),
                _ => Ok(()),
            })?;
        }
        let mut views = Vec::with_capacity(rows.len);
        for (row, view) in array.views().iter().enumerate() {
            let text = array.value(row);
            // From before the first character, those before it are counted but not there.
            let first = at(&from, row).saturating_sub(1);
            let skip = usize::try_from(first.max(0)).unwrap_or(usize::MAX);
            let take = match &count {
                None => usize::MAX,
                Some(count) => {
                    let end = first.saturating_add(at(count, row).max(0));
                    usize::try_from(end.max(0)).unwrap_or(usize::MAX).saturating_sub(skip)
                }
            };
            let (start, end) = byte_range(text, skip, take);
            views.push(sub_view(*view, text.as_bytes(), start, end));
        }
        let array = StringViewArray::try_new(ScalarBuffer::from(views), array.data_buffers().to_vec(), nulls)
            .map_err(ExprError::arrow("substring"))?;
        Ok(Column::Array(Arc::new(array)))
    }
}

/// Where `take` characters after the first `skip` lie.
fn byte_range(text: &str, skip: usize, take: usize) -> (usize, usize) {
    if text.is_ascii() {
        let start = skip.min(text.len());
        return (start, start.saturating_add(take).min(text.len()));
    }
    let place = |text: &str, n: usize| text.char_indices().nth(n).map_or(text.len(), |(at, _)| at);
    let start = place(text, skip);
    (start, start + place(&text[start..], take))
}

/// The view of a part of a string.
#[expect(clippy::cast_possible_truncation, reason = "parts of a view; lengths are below 2^32")]
fn sub_view(view: u128, bytes: &[u8], start: usize, end: usize) -> u128 {
    let part = &bytes[start..end];
    let mut out = [0u8; 16];
    out[..4].copy_from_slice(&(part.len() as u32).to_le_bytes());
    if part.len() <= 12 {
        out[4..4 + part.len()].copy_from_slice(part);
    } else {
        out[4..8].copy_from_slice(&part[..4]);
        out[8..12].copy_from_slice(&((view >> 64) as u32).to_le_bytes());
        out[12..].copy_from_slice(&((view >> 96) as u32 + start as u32).to_le_bytes());
    }
    u128::from_le_bytes(out)
}

/// An integer column as 64-bit numbers, one for a constant.
fn whole_numbers(column: &Column) -> Result<Vec<i64>, ExprError> {
    Ok(match fixed(column.array()) {
        Some(Fixed::I8(values)) => values.iter().map(|v| i64::from(*v)).collect(),
        Some(Fixed::I16(values)) => values.iter().map(|v| i64::from(*v)).collect(),
        Some(Fixed::I32(values)) => values.iter().map(|v| i64::from(*v)).collect(),
        Some(Fixed::I64(values)) => values.to_vec(),
        Some(Fixed::U8(values)) => values.iter().map(|v| i64::from(*v)).collect(),
        Some(Fixed::U16(values)) => values.iter().map(|v| i64::from(*v)).collect(),
        Some(Fixed::U32(values)) => values.iter().map(|v| i64::from(*v)).collect(),
        Some(Fixed::U64(values)) => values.iter().map(|v| i64::try_from(*v).unwrap_or(i64::MAX)).collect(),
        _ => {
            return Err(ExprError::Carrier { operation: "substring", found: column.array().data_type().clone() });
        }
    })
}
