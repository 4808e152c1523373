//! Fixed-width values as unsigned integers of the same order, so that one "larger of two" serves every type.
//!
//! Signed integers flip their sign bit, floats get IEEE 754's total order (one zero, and NaN above all), `MIN` takes the
//! complement. Zero, which fresh pages hold, is then never above a value.

use arrow_array::{ArrayRef, BooleanArray};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use flumen_core::types::LogicalType;
use flumen_memory::Pod;

use super::numbers::{exact, integers};
use crate::error::Result;
use crate::values::{ColumnView, Index, Lanes, canonical_f64, fixed_array};

/// `u64` for types of at most 8 bytes, `u128` for wide decimals.
pub(super) trait Code: Pod + Ord + Default + std::ops::Not<Output = Self> {
    /// The values of a column by physical row, in the order of `data_type`; behind a NULL anything.
    fn encode(view: &ColumnView<'_>, rows: usize, data_type: &LogicalType, what: &str) -> Result<Vec<Self>>;

    /// The array of these values.
    fn decode(
        function: &str,
        data_type: &LogicalType,
        codes: impl Iterator<Item = Self>,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef>;
}

const SIGN: u64 = 1 << 63;
const SIGN_WIDE: u128 = 1 << 127;

fn encode_f64(value: f64) -> u64 {
    let bits = canonical_f64(value).to_bits();
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

fn decode_f64(code: u64) -> f64 {
    f64::from_bits(if code & SIGN == 0 { !code } else { code & !SIGN })
}

impl Code for u64 {
    fn encode(view: &ColumnView<'_>, rows: usize, data_type: &LogicalType, what: &str) -> Result<Vec<Self>> {
        macro_rules! by_row {
            ($get:expr) => {
                match &view.index {
                    Index::Row => (0..rows).map($get).collect(),
                    Index::Constant(at) => vec![$get(*at); rows],
                    Index::Positions(positions) => positions[..rows].iter().map(|p| $get(*p as usize)).collect(),
                }
            };
        }
        Ok(match &view.lanes {
            Lanes::Bool(values) => by_row!(|at: usize| u64::from(at < values.len() && values.value(at))),
            Lanes::U64(values) => by_row!(|at: usize| values.get(at).copied().unwrap_or(0)),
            Lanes::F64(values) => by_row!(|at: usize| encode_f64(values.get(at).copied().unwrap_or(0.0))),
            Lanes::F32(values) => {
                by_row!(|at: usize| encode_f64(f64::from(values.get(at).copied().unwrap_or(0.0))))
            }
            // A narrow decimal in the wide carrier.
            Lanes::I128(values) if matches!(data_type, LogicalType::Decimal { .. }) => {
                by_row!(|at: usize| values.get(at).copied().unwrap_or(0) as u64 ^ SIGN)
            }
            _ => integers(view, rows, what)?.iter().map(|v| *v as u64 ^ SIGN).collect(),
        })
    }

    fn decode(
        _function: &str,
        data_type: &LogicalType,
        codes: impl Iterator<Item = Self>,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef> {
        let arrow = data_type.arrow_type();
        let signed = |code: u64| (code ^ SIGN) as i64;
        Ok(match data_type {
            LogicalType::Boolean => {
                let values: BooleanBuffer = codes.map(|code| code == 1).collect();
                std::sync::Arc::new(BooleanArray::new(values, nulls))
            }
            LogicalType::Float64 => fixed_array(arrow, codes.map(decode_f64).collect(), nulls),
            LogicalType::Float32 => fixed_array(arrow, codes.map(|c| decode_f64(c) as f32).collect(), nulls),
            LogicalType::UInt64 => fixed_array(arrow, codes.collect::<Vec<u64>>(), nulls),
            _ => match data_type.fixed_width() {
                Some(1) => fixed_array(arrow, codes.map(|c| signed(c) as i8).collect(), nulls),
                Some(2) => fixed_array(arrow, codes.map(|c| signed(c) as i16).collect(), nulls),
                Some(4) => fixed_array(arrow, codes.map(|c| signed(c) as i32).collect(), nulls),
                _ => fixed_array(arrow, codes.map(signed).collect(), nulls),
            },
        })
    }
}

impl Code for u128 {
    fn encode(view: &ColumnView<'_>, rows: usize, _data_type: &LogicalType, what: &str) -> Result<Vec<Self>> {
        let values = exact(view, rows, what)?;
        Ok((0..rows).map(|row| values.get(row) as u128 ^ SIGN_WIDE).collect())
    }

    fn decode(
        function: &str,
        data_type: &LogicalType,
        codes: impl Iterator<Item = Self>,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef> {
        let values = codes.map(|code| (code ^ SIGN_WIDE) as i128).collect();
        super::numbers::exact_array(function, data_type, values, nulls)
    }
}
