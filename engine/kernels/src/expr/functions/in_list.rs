//! Membership in a list of constants.
//!
//! The list is turned once into the cheapest set that answers for it: a chain of up to eight comparisons without a
//! branch, a bitmap over the span of the numbers if that is no larger than the list deserves, a hash set. Dates, times,
//! small decimals and floating-point keys are all 64-bit numbers here. Strings of up to twelve bytes are looked up by
//! their view.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::IntervalMonthDayNanoType;
use arrow_array::{Array, ArrayRef, BooleanArray};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::DataType;
use flumen_core::batch::Column;
use flumen_core::expr::{Literal, Value};
use flumen_core::types::LogicalType;
use hashbrown::HashSet;

use super::comparison::{Ordered, as_views, interval_key};
use super::decimal;
use crate::expr::column::{Fixed, Rows, expand, fixed, nulls_of, pack_bits};
use crate::expr::error::ExprError;
use crate::expr::literal::literal_array;
use crate::expr::program::{Bound, Kernel, Traits};

/// Lists up to this length are compared one by one.
const CHAIN_MAX: usize = 8;
/// A bitmap may have this many bits whatever the list's length (8 KiB: a quarter of the first-level cache).
const BITMAP_BITS_MIN: u64 = 1 << 16;
/// Or this many for each constant: no more memory than a hash set would take.
const BITMAP_BITS_EACH: u64 = 128;

/// The kernel for values of this type and this list.
///
/// # Errors
/// If a constant is not of the input's type, or the type has no equality.
pub(crate) fn bind(input: &LogicalType, list: &[Literal], negated: bool) -> Result<Bound, ExprError> {
    let mut has_null = false;
    let mut items: Vec<&Literal> = Vec::with_capacity(list.len());
    for literal in list {
        let agrees = match (&literal.data_type, input) {
            (LogicalType::Decimal { .. }, LogicalType::Decimal { .. }) | (LogicalType::Null, _) => true,
            (a, b) => a == b,
        };
        if !agrees {
            return Err(ExprError::ArgumentTypes {
                function: "IN".to_owned(),
                found: vec![input.clone(), literal.data_type.clone()],
                expected: "the constants must be of the type of the value".to_owned(),
            });
        }
        if literal.value == Value::Null { has_null = true } else { items.push(literal) }
    }
    let set = match input {
        LogicalType::Utf8 | LogicalType::Binary => Set::Bytes(ByteSet::new(&items)?),
        LogicalType::List(_) | LogicalType::Struct(_) | LogicalType::Map { .. } => {
            return Err(ExprError::ArgumentTypes {
                function: "IN".to_owned(),
                found: vec![input.clone()],
                expected: "a list of constants is for simple types".to_owned(),
            });
        }
        _ => Set::Numbers(NumberSet::new(&items, input)?),
    };
    let traits = Traits { strict: !list.is_empty(), cost: 8, ..Traits::PLAIN };
    Ok(Bound::new(InList { set, has_null, negated, empty: list.is_empty() }, traits))
}

struct InList {
    set: Set,
    has_null: bool,
    negated: bool,
    empty: bool,
}

enum Set {
    Numbers(NumberSet),
    Bytes(ByteSet),
}

impl Kernel for InList {
    fn evaluate(&self, args: &[Column], rows: Rows<'_>) -> Result<Column, ExprError> {
        if self.empty {
            let answer = BooleanArray::from(vec![self.negated]);
            return Ok(Column::Constant(Arc::new(answer)));
        }
        let column = &args[0];
        let found = match &self.set {
            Set::Numbers(set) => set.find(&expand(column, rows.len)?)?,
            Set::Bytes(set) => set.find(column, rows.len)?,
        };
        let mut nulls = nulls_of(column);
        if self.has_null && (found.has_false()) {
            nulls = NullBuffer::union(nulls.as_ref(), Some(&NullBuffer::new(found.clone())));
        }
        let bits = if self.negated { !&found } else { found };
        Ok(Column::Array(Arc::new(BooleanArray::new(bits, nulls))))
    }
}

/// Numbers of 64 bits in the form that suits their count and span, and those beyond.
struct NumberSet {
    form: Form,
    beyond: HashSet<i128>,
}

enum Form {
    /// Filled up with copies of the first; never empty.
    Chain([i64; CHAIN_MAX]),
    Bitmap {
        least: i64,
        words: Vec<u64>,
        span: u64,
    },
    Hash(HashSet<i64>),
}

impl Form {
    fn new(mut numbers: Vec<i64>) -> Self {
        numbers.sort_unstable();
        numbers.dedup();
        let (Some(least), Some(most)) = (numbers.first().copied(), numbers.last().copied()) else {
            return Self::Hash(HashSet::new());
        };
        if numbers.len() <= CHAIN_MAX {
            let mut chain = [least; CHAIN_MAX];
            chain[..numbers.len()].copy_from_slice(&numbers);
            return Self::Chain(chain);
        }
        let span = most.abs_diff(least).saturating_add(1);
        let allowed = BITMAP_BITS_MIN.max((numbers.len() as u64).saturating_mul(BITMAP_BITS_EACH));
        if span > allowed {
            return Self::Hash(numbers.into_iter().collect());
        }
        let mut words = vec![0u64; usize::try_from(span.div_ceil(64)).expect("bounded by what is allowed")];
        for number in numbers {
            let offset = number.abs_diff(least);
            words[usize::try_from(offset / 64).expect("within the span")] |= 1 << (offset % 64);
        }
        Self::Bitmap { least, words, span }
    }

    fn find<T: Copy>(&self, values: &[T], number: impl Fn(T) -> i64) -> BooleanBuffer {
        match self {
            Self::Chain(chain) => pack_bits(values.len(), |i| {
                let value = number(values[i]);
                chain.iter().fold(false, |found, c| found | (value == *c))
            }),
            Self::Bitmap { least, words, span } => pack_bits(values.len(), |i| {
                #[expect(clippy::cast_sign_loss, reason = "the distance wraps to a large number if it is negative")]
                let offset = number(values[i]).wrapping_sub(*least) as u64;
                // Outside of the span the first bit is looked at and masked.
                let (inside, offset) = if offset < *span { (1, offset) } else { (0, 0) };
                words[(offset / 64) as usize] >> (offset % 64) & inside == 1
            }),
            Self::Hash(set) => pack_bits(values.len(), |i| set.contains(&number(values[i]))),
        }
    }
}

impl NumberSet {
    fn new(items: &[&Literal], input: &LogicalType) -> Result<Self, ExprError> {
        let mut numbers = Vec::with_capacity(items.len());
        let mut beyond = HashSet::new();
        for literal in items {
            let array = literal_array(literal)?;
            let value = match (&literal.value, input, &literal.data_type) {
                (
                    Value::Int(value),
                    LogicalType::Decimal { scale: to, .. },
                    LogicalType::Decimal { scale: from, .. },
                ) => {
                    // A constant with digits that the column cannot have equals none of its values.
                    match decimal::rescale(*value, *from, *to) {
                        Some(scaled) if decimal::compare(scaled, *to, *value, *from).is_eq() => scaled,
                        _ => continue,
                    }
                }
                _ => number_at(&array, 0)?,
            };
            match i64::try_from(value) {
                Ok(value) => numbers.push(value),
                Err(_) => {
                    beyond.insert(value);
                }
            }
        }
        Ok(Self { form: Form::new(numbers), beyond })
    }

    fn find(&self, array: &ArrayRef) -> Result<BooleanBuffer, ExprError> {
        Ok(match fixed(array) {
            Some(Fixed::I8(values)) => self.form.find(values, i64::from),
            Some(Fixed::I16(values)) => self.form.find(values, i64::from),
            Some(Fixed::I32(values)) => self.form.find(values, i64::from),
            Some(Fixed::I64(values)) => self.form.find(values, |v| v),
            Some(Fixed::U8(values)) => self.form.find(values, i64::from),
            Some(Fixed::U16(values)) => self.form.find(values, i64::from),
            Some(Fixed::U32(values)) => self.form.find(values, i64::from),
            Some(Fixed::F32(values)) => self.form.find(values, |v| i64::from(v.key())),
            Some(Fixed::F64(values)) => self.form.find(values, Ordered::key),
            Some(Fixed::U64(values)) => self.find_wide(values, i128::from),
            Some(Fixed::I128(values)) => self.find_wide(values, |v| v),
            None => {
                let numbers = (0..array.len()).map(|i| number_at(array, i)).collect::<Result<Vec<_>, _>>()?;
                self.find_wide(&numbers, |v| v)
            }
        })
    }

    fn find_wide<T: Copy>(&self, values: &[T], number: impl Fn(T) -> i128) -> BooleanBuffer {
        let narrow = |v: i128| i64::try_from(v).ok();
        let near: Vec<i64> = values.iter().map(|v| narrow(number(*v)).unwrap_or(0)).collect();
        let found = self.form.find(&near, |v| v);
        pack_bits(values.len(), |i| {
            let value = number(values[i]);
            if narrow(value).is_some() { found.value(i) } else { self.beyond.contains(&value) }
        })
    }
}

/// One value as the number that stands for it here.
fn number_at(array: &dyn Array, row: usize) -> Result<i128, ExprError> {
    Ok(match fixed(array) {
        Some(Fixed::I8(values)) => values[row].into(),
        Some(Fixed::I16(values)) => values[row].into(),
        Some(Fixed::I32(values)) => values[row].into(),
        Some(Fixed::I64(values)) => values[row].into(),
        Some(Fixed::I128(values)) => values[row],
        Some(Fixed::U8(values)) => values[row].into(),
        Some(Fixed::U16(values)) => values[row].into(),
        Some(Fixed::U32(values)) => values[row].into(),
        Some(Fixed::U64(values)) => values[row].into(),
        Some(Fixed::F32(values)) => values[row].key().into(),
        Some(Fixed::F64(values)) => values[row].key().into(),
        None => match array.data_type() {
            DataType::Boolean => array.as_boolean().value(row).into(),
            DataType::Interval(_) => interval_key(array.as_primitive::<IntervalMonthDayNanoType>().value(row)),
            other => return Err(ExprError::Carrier { operation: "IN", found: other.clone() }),
        },
    })
}

/// Strings or bytes: short ones by their view, long ones by their bytes.
struct ByteSet {
    short: HashSet<u128>,
    chain: Option<[u128; CHAIN_MAX]>,
    long: HashSet<Box<[u8]>>,
}

impl ByteSet {
    fn new(items: &[&Literal]) -> Result<Self, ExprError> {
        let (mut short, mut long) = (HashSet::new(), HashSet::new());
        for literal in items {
            let bytes: &[u8] = match &literal.value {
                Value::Utf8(text) => text.as_bytes(),
                Value::Binary(bytes) => bytes,
                other => {
                    let (value, data_type) = (format!("{other:?}"), literal.data_type.clone());
                    return Err(ExprError::Literal { value, data_type });
                }
            };
            if bytes.len() <= 12 {
                let mut view = [0u8; 16];
                view[0] = u8::try_from(bytes.len()).expect("at most twelve");
                view[4..4 + bytes.len()].copy_from_slice(bytes);
                short.insert(u128::from_le_bytes(view));
            } else {
                long.insert(bytes.into());
            }
        }
        let mut values = short.iter().copied();
        let chain = match (values.next(), short.len()) {
            (Some(first), 1..=CHAIN_MAX) => {
                let mut chain = [first; CHAIN_MAX];
                values.zip(&mut chain[1..]).for_each(|(value, slot)| *slot = value);
                Some(chain)
            }
            _ => None,
        };
        Ok(Self { short, chain, long })
    }

    fn find(&self, column: &Column, rows: usize) -> Result<BooleanBuffer, ExprError> {
        let is_text = matches!(column.array().data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        let view = if is_text { DataType::Utf8View } else { DataType::BinaryView };
        let array = expand(&as_views(column, &view)?, rows)?;
        let array =
            if is_text { array.as_string_view().clone().to_binary_view() } else { array.as_binary_view().clone() };
        let views = array.views();
        let short = |view: u128| match &self.chain {
            Some(chain) => chain.iter().fold(false, |found, c| found | (view == *c)),
            None => self.short.contains(&view),
        };
        Ok(pack_bits(rows, |i| {
            let view = views[i];
            if view as u32 <= 12 { short(view) } else { !self.long.is_empty() && self.long.contains(array.value(i)) }
        }))
    }
}
