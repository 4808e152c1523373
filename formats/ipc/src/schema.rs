//! A schema message, checked before it is converted: Arrow's conversion asserts that what it meets is an Arrow type.
//!
//! Only types that a batch may have are let through (no unions, no list views, no 256-bit decimals).

use arrow_ipc::{DateUnit, Endianness, Field, Int, IntervalUnit, Precision, Schema, TimeUnit, Type};

use crate::error::{FrameError, Result};

/// Checks every field, also nested ones; the depth is bounded by the verifier of the metadata.
pub(crate) fn check_schema(schema: &Schema<'_>) -> Result<()> {
    if schema.endianness() != Endianness::Little {
        return Err(FrameError::malformed("a schema of big-endian values"));
    }
    let fields = schema.fields().ok_or_else(|| FrameError::malformed("a schema without fields"))?;
    fields.iter().try_for_each(|field| check_field(&field))
}

fn check_field(field: &Field<'_>) -> Result<()> {
    let refuse = || {
        let name = field.name().unwrap_or_default();
        Err(FrameError::malformed(format!("column {name:?} has no type that is known ({:?})", field.type_type())))
    };
    if let Some(dictionary) = field.dictionary()
        && !dictionary.indexType().is_some_and(is_int)
    {
        return refuse();
    }
    let children = field.children().map_or(0, |children| children.len());
    let known = match field.type_type() {
        Type::Null | Type::Bool | Type::Binary | Type::LargeBinary | Type::BinaryView => children == 0,
        Type::Utf8 | Type::LargeUtf8 | Type::Utf8View => children == 0,
        Type::Int => field.type_as_int().is_some_and(is_int),
        Type::FixedSizeBinary => field.type_as_fixed_size_binary().is_some_and(|t| t.byteWidth() > 0),
        Type::FloatingPoint => field
            .type_as_floating_point()
            .is_some_and(|t| matches!(t.precision(), Precision::SINGLE | Precision::DOUBLE)),
        Type::Decimal => field.type_as_decimal().is_some_and(|t| is_decimal(t.bitWidth(), t.precision(), t.scale())),
        Type::Date => field.type_as_date().is_some_and(|t| t.unit() == DateUnit::DAY),
        Type::Time => field.type_as_time().is_some_and(|t| match t.bitWidth() {
            32 => matches!(t.unit(), TimeUnit::SECOND | TimeUnit::MILLISECOND),
            64 => matches!(t.unit(), TimeUnit::MICROSECOND | TimeUnit::NANOSECOND),
            _ => false,
        }),
        Type::Timestamp => field.type_as_timestamp().is_some_and(|t| is_unit(t.unit())),
        Type::Duration => field.type_as_duration().is_some_and(|t| is_unit(t.unit())),
        Type::Interval => field.type_as_interval().is_some_and(|t| {
            matches!(t.unit(), IntervalUnit::YEAR_MONTH | IntervalUnit::DAY_TIME | IntervalUnit::MONTH_DAY_NANO)
        }),
        Type::List | Type::LargeList => children == 1,
        Type::FixedSizeList => children == 1 && field.type_as_fixed_size_list().is_some_and(|t| t.listSize() >= 0),
        Type::Struct_ => true,
        Type::Map => field.type_as_map().is_some() && is_map_entry(field),
        Type::RunEndEncoded => children == 2 && is_run_end(field),
        _ => false,
    };
    if !known {
        return refuse();
    }
    field.children().into_iter().flatten().try_for_each(|child| check_field(&child))
}

fn is_int(int: Int<'_>) -> bool {
    matches!(int.bitWidth(), 8 | 16 | 32 | 64)
}

fn is_unit(unit: TimeUnit) -> bool {
    matches!(unit, TimeUnit::SECOND | TimeUnit::MILLISECOND | TimeUnit::MICROSECOND | TimeUnit::NANOSECOND)
}

fn is_decimal(bits: i32, precision: i32, scale: i32) -> bool {
    let digits = match bits {
        32 => 9,
        64 => 18,
        128 => 38,
        _ => return false,
    };
    (1..=digits).contains(&precision) && (-digits..=precision).contains(&scale)
}

fn is_map_entry(field: &Field<'_>) -> bool {
    let Some(children) = field.children().filter(|children| children.len() == 1) else { return false };
    let entry = children.get(0);
    entry.type_type() == Type::Struct_ && entry.children().is_some_and(|pair| pair.len() == 2)
}

/// Run ends are signed integers of 16 to 64 bits.
fn is_run_end(field: &Field<'_>) -> bool {
    let ends = field.children().map(|children| children.get(0));
    ends.is_some_and(|ends| {
        ends.dictionary().is_none()
            && ends.type_as_int().is_some_and(|int| int.is_signed() && matches!(int.bitWidth(), 16 | 32 | 64))
    })
}
