//! Which pairs of rows are equal.

use std::borrow::Cow;

use arrow_array::{Array, make_array};
use arrow_buffer::NullBuffer;
use arrow_ord::ord::make_comparator;
use arrow_schema::SortOptions;
use flumen_core::batch::Column;

use crate::carrier::{ByteRows, Carrier, Indexed, VIEW_INLINE_BYTES, Views, carrier};
use crate::nested::canonical;

/// An index that stands for a row of NULLs.
pub const NO_ROW: u32 = u32::MAX;

/// Whether NULL matches NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NullEquality {
    /// `=`: NULL matches nothing.
    NullsDiffer,
    /// `IS NOT DISTINCT FROM`, grouping: NULL matches NULL.
    NullsEqual,
}

/// Positions `i`, ascending, for which row `left_rows[i]` of the left columns equals row `right_rows[i]` of the right.
/// They replace what was in `matches`.
///
/// An index [`NO_ROW`] is a row of NULLs. Columns are compared pairwise and carry the same logical type.
///
/// # Panics
/// If there are not as many columns or rows on both sides, or an index is out of range.
pub fn rows_equal(
    left: &[&Column],
    left_rows: &[u32],
    right: &[&Column],
    right_rows: &[u32],
    nulls: NullEquality,
    matches: &mut Vec<u32>,
) {
    assert_eq!(left.len(), right.len(), "as many columns on both sides");
    assert_eq!(left_rows.len(), right_rows.len(), "as many rows on both sides");
    matches.clear();
    matches.extend(0..left_rows.len() as u32);
    for (left, right) in left.iter().zip(right) {
        if matches.is_empty() {
            return;
        }
        let pairs = Pairs { left: Side::new(left, left_rows), right: Side::new(right, right_rows), nulls };
        pairs.compare(matches);
    }
}

/// A column and a row of it for each pair.
struct Side<'a> {
    array: &'a dyn Array,
    rows: Cow<'a, [u32]>,
    nulls: Option<&'a NullBuffer>,
    /// Some row may be `NO_ROW`.
    may_lack_rows: bool,
}

impl<'a> Side<'a> {
    fn new(column: &'a Column, rows: &'a [u32]) -> Self {
        let array = column.array().as_ref();
        let may_lack_rows = rows.iter().fold(0, |max, row| max.max(*row)) == NO_ROW;
        let rows = match column {
            Column::Array(_) => Cow::Borrowed(rows),
            // The only row of a constant, unless the pair has none.
            Column::Constant(_) => rows.iter().map(|row| if *row == NO_ROW { NO_ROW } else { 0 }).collect(),
        };
        Self { array, rows, nulls: array.nulls().filter(|n| n.null_count() > 0), may_lack_rows }
    }

    /// The same rows as rows of the values behind a dictionary or run-end column.
    fn behind<'b>(&self, indexed: &'b Indexed<'_>) -> Side<'b> {
        let position = |row: &u32| match indexed.nulls {
            _ if *row == NO_ROW => NO_ROW,
            Some(nulls) if nulls.is_null(*row as usize) => NO_ROW,
            _ => indexed.positions[*row as usize],
        };
        let rows: Cow<'b, [u32]> = self.rows.iter().map(position).collect();
        let array = indexed.values.as_ref();
        let may_lack_rows = self.may_lack_rows || indexed.nulls.is_some_and(|n| n.null_count() > 0);
        Side { array, rows, nulls: array.nulls().filter(|n| n.null_count() > 0), may_lack_rows }
    }

    fn is_nullable(&self) -> bool {
        self.nulls.is_some() || self.may_lack_rows
    }

    #[inline(always)]
    fn is_valid(&self, pair: usize) -> bool {
        let row = self.rows[pair];
        row != NO_ROW && self.nulls.is_none_or(|n| n.is_valid(row as usize))
    }

    #[inline(always)]
    fn row(&self, pair: usize) -> usize {
        self.rows[pair] as usize
    }

    /// Integers, decimals and intervals as 128-bit integers, one for each pair; `None` for other carriers.
    fn wide(&self) -> Option<Vec<i128>> {
        fn collect<T: Copy>(side: &Side<'_>, values: &[T], wide: impl Fn(T) -> i128) -> Vec<i128> {
            // Behind NO_ROW there is nothing; what stands in is not looked at.
            side.rows.iter().map(|row| values.get(*row as usize).map_or(0, |v| wide(*v))).collect()
        }
        let interval = |months: i32, days: i32, nanos: i64| {
            i128::from(months) << 96 | i128::from(days as u32) << 64 | i128::from(nanos as u64)
        };
        Some(match carrier(self.array) {
            Carrier::I8(values) => collect(self, values, i128::from),
            Carrier::I16(values) => collect(self, values, i128::from),
            Carrier::I32(values) => collect(self, values, i128::from),
            Carrier::I64(values) => collect(self, values, i128::from),
            Carrier::I128(values) => collect(self, values, |v| v),
            Carrier::U8(values) => collect(self, values, i128::from),
            Carrier::U16(values) => collect(self, values, i128::from),
            Carrier::U32(values) => collect(self, values, i128::from),
            Carrier::U64(values) => collect(self, values, i128::from),
            Carrier::YearMonth(values) => collect(self, values, |v| interval(v, 0, 0)),
            Carrier::DayTime(values) => {
                collect(self, values, |v| interval(0, v.days, i64::from(v.milliseconds) * 1_000_000))
            }
            Carrier::MonthDayNano(values) => collect(self, values, |v| interval(v.months, v.days, v.nanoseconds)),
            _ => return None,
        })
    }

    fn floats(&self) -> Option<Vec<f64>> {
        Some(match carrier(self.array) {
            Carrier::F32(v) => self.rows.iter().map(|r| v.get(*r as usize).map_or(0.0, |v| f64::from(*v))).collect(),
            Carrier::F64(v) => self.rows.iter().map(|r| v.get(*r as usize).copied().unwrap_or(0.0)).collect(),
            _ => return None,
        })
    }
}

struct Pairs<'a> {
    left: Side<'a>,
    right: Side<'a>,
    nulls: NullEquality,
}

impl Pairs<'_> {
    /// Keeps the matches whose values are equal; `equal` gets positions of pairs where both are valid.
    #[inline(always)]
    fn retain(&self, matches: &mut Vec<u32>, equal: impl Fn(usize) -> bool) {
        let mut len = 0;
        if self.left.is_nullable() || self.right.is_nullable() {
            for at in 0..matches.len() {
                let pair = matches[at] as usize;
                let keep = match (self.left.is_valid(pair), self.right.is_valid(pair)) {
                    (true, true) => equal(pair),
                    (false, false) => self.nulls == NullEquality::NullsEqual,
                    _ => false,
                };
                matches[len] = pair as u32;
                len += usize::from(keep);
            }
        } else {
            for at in 0..matches.len() {
                let pair = matches[at] as usize;
                matches[len] = pair as u32;
                len += usize::from(equal(pair));
            }
        }
        matches.truncate(len);
    }

    #[inline(always)]
    fn values<T: PartialEq>(&self, left: &[T], right: &[T], matches: &mut Vec<u32>) {
        self.retain(matches, |pair| left[self.left.row(pair)] == right[self.right.row(pair)]);
    }

    fn bytes(&self, left: &impl ByteRows, right: &impl ByteRows, matches: &mut Vec<u32>) {
        self.retain(matches, |pair| left.bytes(self.left.row(pair)) == right.bytes(self.right.row(pair)));
    }

    /// Length and first four bytes decide most pairs, and all short ones, without touching the data.
    fn views(&self, left: &Views<'_>, right: &Views<'_>, matches: &mut Vec<u32>) {
        self.retain(matches, |pair| {
            let (left_view, right_view) = (left.views[self.left.row(pair)], right.views[self.right.row(pair)]);
            if left_view as u64 != right_view as u64 {
                return false;
            }
            if left_view as u32 <= VIEW_INLINE_BYTES {
                return left_view == right_view;
            }
            left.outside(left_view) == right.outside(right_view)
        });
    }

    fn compare(&self, matches: &mut Vec<u32>) {
        match (carrier(self.left.array), carrier(self.right.array)) {
            (Carrier::Indexed(indexed), _) => {
                let right = Side { rows: Cow::Borrowed(&self.right.rows), ..self.right };
                Pairs { left: self.left.behind(&indexed), right, nulls: self.nulls }.compare(matches);
            }
            (_, Carrier::Indexed(indexed)) => {
                let left = Side { rows: Cow::Borrowed(&self.left.rows), ..self.left };
                Pairs { left, right: self.right.behind(&indexed), nulls: self.nulls }.compare(matches);
            }
            (Carrier::Boolean(l), Carrier::Boolean(r)) => {
                self.retain(matches, |pair| l.value(self.left.row(pair)) == r.value(self.right.row(pair)));
            }
            (Carrier::I8(l), Carrier::I8(r)) => self.values(l, r, matches),
            (Carrier::I16(l), Carrier::I16(r)) => self.values(l, r, matches),
            (Carrier::I32(l), Carrier::I32(r)) => self.values(l, r, matches),
            (Carrier::I64(l), Carrier::I64(r)) => self.values(l, r, matches),
            (Carrier::I128(l), Carrier::I128(r)) => self.values(l, r, matches),
            (Carrier::U8(l), Carrier::U8(r)) => self.values(l, r, matches),
            (Carrier::U16(l), Carrier::U16(r)) => self.values(l, r, matches),
            (Carrier::U32(l), Carrier::U32(r)) => self.values(l, r, matches),
            (Carrier::U64(l), Carrier::U64(r)) => self.values(l, r, matches),
            (Carrier::Views(l), Carrier::Views(r)) => self.views(&l, &r, matches),
            (Carrier::Bytes(l), r) => self.bytes_with(&l, &r, matches),
            (Carrier::LargeBytes(l), r) => self.bytes_with(&l, &r, matches),
            (Carrier::FixedBytes(l), r) => self.bytes_with(&l, &r, matches),
            (Carrier::Views(l), r) => self.bytes_with(&l, &r, matches),
            (Carrier::Null, _) | (_, Carrier::Null) => {
                // A column without values has no validity either.
                let null = |side: &Side<'_>, pair| matches!(carrier(side.array), Carrier::Null) || !side.is_valid(pair);
                let equal = self.nulls == NullEquality::NullsEqual;
                matches.retain(|pair| equal && null(&self.left, *pair as usize) && null(&self.right, *pair as usize));
            }
            (Carrier::Nested, _) | (_, Carrier::Nested) => self.nested(matches),
            _ => self.mixed(matches),
        }
    }

    fn bytes_with(&self, left: &impl ByteRows, right: &Carrier<'_>, matches: &mut Vec<u32>) {
        match right {
            Carrier::Bytes(right) => self.bytes(left, right, matches),
            Carrier::LargeBytes(right) => self.bytes(left, right, matches),
            Carrier::FixedBytes(right) => self.bytes(left, right, matches),
            Carrier::Views(right) => self.bytes(left, right, matches),
            Carrier::Null => self.retain(matches, |_| false),
            _ => matches.clear(),
        }
    }

    /// Numbers of two widths, and floats.
    fn mixed(&self, matches: &mut Vec<u32>) {
        if let (Some(left), Some(right)) = (self.left.wide(), self.right.wide()) {
            self.retain(matches, |pair| left[pair] == right[pair]);
        } else if let (Some(left), Some(right)) = (self.left.floats(), self.right.floats()) {
            self.retain(matches, |pair| left[pair] == right[pair] || left[pair].is_nan() && right[pair].is_nan());
        } else {
            // Other types are no pair of one logical type.
            matches.clear();
        }
    }

    fn nested(&self, matches: &mut Vec<u32>) {
        // Both in one carrier, since the items may be carried differently.
        let one_carrier = |side: &Side<'_>| canonical(&make_array(side.array.to_data())).ok();
        let comparator = one_carrier(&self.left)
            .zip(one_carrier(&self.right))
            .and_then(|(left, right)| make_comparator(&left, &right, SortOptions::default()).ok());
        match comparator {
            Some(compare) => {
                self.retain(matches, |pair| compare(self.left.row(pair), self.right.row(pair)).is_eq());
            }
            None => matches.clear(),
        }
    }
}
