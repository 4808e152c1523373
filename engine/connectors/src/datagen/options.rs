//! Options of made-up tables.

use std::collections::BTreeMap;

use flumen_core::types::{Field, LogicalType, Schema};

use super::NAME;
use super::field::{FieldFunction, Kind, fnv, mix};
use crate::error::{ConnectorError, Result};
use crate::options::OptionReader;

/// Characters of random text.
const LENGTH: usize = 16;
/// Longest random text.
const LENGTH_MAX: usize = 1 << 16;

/// The options of a table, read and checked.
pub(super) struct DatagenOptions {
    /// Rows in all.
    pub(super) rows: Option<u64>,
    pub(super) rows_per_second: Option<u64>,
    /// One for each column of the table.
    pub(super) fields: Vec<FieldFunction>,
}

impl DatagenOptions {
    pub(super) fn read(options: &BTreeMap<String, String>, schema: &Schema) -> Result<Self> {
        let reader = OptionReader::new(NAME, options);
        let mut rows = reader.parsed("number-of-rows")?;
        let rows_per_second = reader.positive("rows-per-second")?;
        let seed = reader.parsed("seed")?.unwrap_or(0);
        let mut fields = Vec::with_capacity(schema.fields.len());
        for field in &schema.fields {
            let (function, ends_after) = read_field(&reader, field, seed)?;
            rows = rows.into_iter().chain(ends_after).min();
            fields.push(function);
        }
        reader.finish()?;
        Ok(Self { rows, rows_per_second, fields })
    }
}

/// The function of a column, and the rows after which its sequence ends.
fn read_field(reader: &OptionReader<'_>, field: &Field, seed: u64) -> Result<(FieldFunction, Option<u64>)> {
    let name = |option: &str| format!("fields.{}.{option}", field.name);
    let is_time = matches!(field.data_type, LogicalType::Timestamp { .. });
    if !FieldFunction::takes(&field.data_type) {
        return Err(ConnectorError::Column {
            connector: NAME,
            column: field.name.clone(),
            problem: format!("values of type {} cannot be made up; leave it out", field.data_type),
        });
    }
    let kind_text = reader.text(&name("kind"));
    let kind_name = kind_text.unwrap_or(if is_time { "sequence" } else { "random" });
    let mut ends_after = None;
    let kind = match kind_name {
        "sequence" => {
            let start: i64 = reader.parsed(&name("start"))?.unwrap_or(0);
            let step = if is_time { reader.parsed(&name("step-ms"))?.unwrap_or(1) } else { 1 };
            if let Some(end) = reader.parsed::<i64>(&name("end"))? {
                let rows = (i128::from(end) - i128::from(start) + 1).max(0) / i128::from(step.max(1));
                ends_after = u64::try_from(rows).ok();
            }
            Kind::Sequence { start, step }
        }
        "modulo" => {
            let modulo = reader.positive(&name("modulo"))?;
            let missing = || ConnectorError::MissingOption {
                connector: NAME,
                option: name("modulo"),
                purpose: "what row numbers are divided by",
            };
            Kind::Modulo(modulo.ok_or_else(missing)?)
        }
        "random" if field.data_type.is_float() => {
            let min = reader.parsed(&name("min"))?.unwrap_or(0.0);
            let max = reader.parsed(&name("max"))?.unwrap_or(1.0);
            if min.partial_cmp(&max).is_none_or(std::cmp::Ordering::is_gt) {
                return Err(reader.wrong(&name("max"), &max.to_string(), "it is less than the minimum"));
            }
            Kind::RandomFloat { min, max }
        }
        "random" if field.data_type == LogicalType::Utf8 => {
            let length = reader.parsed(&name("length"))?.unwrap_or(LENGTH);
            if length > LENGTH_MAX {
                let problem = format!("it must be at most {LENGTH_MAX}");
                return Err(reader.wrong(&name("length"), &length.to_string(), problem));
            }
            Kind::RandomText { length }
        }
        "random" => {
            let (low, high) = FieldFunction::default_range(&field.data_type);
            let min = bound(reader, &name("min"), &field.data_type)?.unwrap_or(low);
            let max = bound(reader, &name("max"), &field.data_type)?.unwrap_or(high);
            if min > max {
                return Err(reader.wrong(&name("max"), &max.to_string(), "it is less than the minimum"));
            }
            Kind::RandomInteger { min, max }
        }
        other => return Err(reader.wrong(&name("kind"), other, "write random, sequence or modulo")),
    };
    let null_rate = reader.parsed(&name("null-rate"))?.unwrap_or(0.0);
    if !(0.0..=1.0).contains(&null_rate) {
        return Err(reader.wrong(&name("null-rate"), &null_rate.to_string(), "it must be from 0 to 1"));
    }
    if null_rate > 0.0 && !field.nullable {
        return Err(reader.wrong(&name("null-rate"), &null_rate.to_string(), "the column is NOT NULL"));
    }
    let function = FieldFunction {
        data_type: field.data_type.clone(),
        kind,
        base: mix(seed ^ fnv(&field.name)),
        null_base: mix(seed ^ fnv(&format!("{}.null", field.name))),
        null_rate,
    };
    Ok((function, ends_after))
}

/// A bound of random numbers: whole, or for decimals also with a point.
fn bound(reader: &OptionReader<'_>, option: &str, data_type: &LogicalType) -> Result<Option<i64>> {
    let Some(text) = reader.text(option) else { return Ok(None) };
    if let (LogicalType::Decimal { scale, .. }, Some((whole, fraction))) = (data_type, text.split_once('.')) {
        let scale = usize::try_from(*scale).unwrap_or(0);
        if fraction.len() > scale {
            return Err(reader.wrong(option, text, format!("the column has {scale} digits after the point")));
        }
        let unscaled = format!("{whole}{fraction:0<scale$}");
        return unscaled.parse().map(Some).map_err(|e| reader.wrong(option, text, e));
    }
    text.trim().parse().map(Some).map_err(|e| reader.wrong(option, text, e))
}
