//! Row groups in which no row can match.
//!
//! A filter keeps the rows for which it is true. The question here is weaker: may it be true for some row of a set of
//! which only bounds are known? Whatever is not understood may be. The rules per column: `min` and `max` bound the
//! values that are not NULL; all rows may be known to be NULL, or none. NaN counts as larger than every number and is
//! not in the bounds, so a floating-point column has no upper bound.
//!
//! Cost: a few hundred nanoseconds per row group and filter, no allocation but for decimals.

use std::cmp::Ordering;

use flumen_core::expr::{Expr, Literal, Value};
use flumen_core::source::RuntimeFilter;
use flumen_core::types::{LogicalType, Resolution};

use crate::file::ParquetFile;
use crate::schema::ColumnBinding;

/// What is known of a column in some set of rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bounds {
    /// Rows of the set.
    pub rows: u64,
    /// No value is less.
    pub min: Option<Literal>,
    /// No value is more (NaN apart).
    pub max: Option<Literal>,
    /// NULLs.
    pub null_count: Option<u64>,
}

impl Bounds {
    /// Bounds of both sets together.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        let all_null = |b: &Self| b.null_count == Some(b.rows);
        // A set without values adds nothing to the bounds of the other.
        let end = |mine: Option<Literal>, theirs: Option<Literal>, keep: Ordering| match (mine, theirs) {
            (Some(a), Some(b)) => match compare(&a, &b) {
                Some(order) if order == keep => Some(a),
                Some(_) => Some(b),
                None => None,
            },
            (Some(a), None) if all_null(&other) => Some(a),
            (None, Some(b)) if all_null(&self) => Some(b),
            _ => None,
        };
        Self {
            min: end(self.min.clone(), other.min.clone(), Ordering::Less),
            max: end(self.max.clone(), other.max.clone(), Ordering::Greater),
            rows: self.rows + other.rows,
            null_count: self.null_count.zip(other.null_count).map(|(a, b)| a + b),
        }
    }

    fn is_all_null(&self) -> bool {
        self.null_count == Some(self.rows)
    }

    /// Whether some value may lie in `low..=high`, an absent end being open.
    fn may_hold(&self, low: Option<&Literal>, high: Option<&Literal>) -> bool {
        let is = |a: Option<&Literal>, b: Option<&Literal>, order: Ordering| {
            a.zip(b).and_then(|(a, b)| compare(a, b)) == Some(order)
        };
        let max = self.max.as_ref().filter(|m| !m.data_type.is_float());
        // For an equality with a number, NaN above the maximum does not matter.
        let max = if high.is_some() { self.max.as_ref() } else { max };
        !self.is_all_null() && !is(max, low, Ordering::Less) && !is(self.min.as_ref(), high, Ordering::Greater)
    }
}

/// Leaves out row groups by filters over the output columns.
#[derive(Clone, Debug)]
pub struct RowGroupPruner {
    filters: Vec<Expr>,
}

impl RowGroupPruner {
    /// A pruner for conditions all of which must hold.
    #[must_use]
    pub fn new(filters: &[Expr]) -> Self {
        Self { filters: filters.to_vec() }
    }

    /// Whether some row of the row group may pass all filters. `bindings` are the output columns.
    #[must_use]
    pub fn may_match(&self, file: &ParquetFile, row_group: usize, bindings: &[ColumnBinding]) -> bool {
        self.may_match_bounds(&|column| bounds_of(file, row_group, bindings.get(column)))
    }

    /// Whether some row of a set may pass all filters of which `bounds` says what is known, by output column.
    #[must_use]
    pub fn may_match_bounds(&self, bounds: &impl Fn(usize) -> Bounds) -> bool {
        self.filters.iter().all(|filter| may_be_true(filter, bounds))
    }

    /// Whether some row of the row group may have a key that the join build knows. `column` is the output column that
    /// the filter is over.
    #[must_use]
    pub fn may_join(
        file: &ParquetFile,
        row_group: usize,
        bindings: &[ColumnBinding],
        column: usize,
        filter: &RuntimeFilter,
    ) -> bool {
        let bounds = bounds_of(file, row_group, bindings.get(column));
        let (low, high) = (Some(&filter.min), Some(&filter.max));
        bounds.may_hold(low, high) && filter.bitmap.as_deref().is_none_or(|bits| may_be_set(bits, low, &bounds))
    }
}

/// Whether a bit is set for some value between the bounds; bit 0 stands for `low`.
fn may_be_set(bits: &[u64], low: Option<&Literal>, bounds: &Bounds) -> bool {
    let int = |literal: Option<&Literal>| match literal {
        Some(Literal { value: Value::Int(value), .. }) => Some(*value),
        _ => None,
    };
    let (Some(low), Some(min), Some(max)) = (int(low), int(bounds.min.as_ref()), int(bounds.max.as_ref())) else {
        return true;
    };
    let first = (min - low).max(0);
    let last = (max - low).min(bits.len() as i128 * 64 - 1);
    if first > last {
        return false;
    }
    let (first, last) = (first as usize, last as usize);
    let (first_word, last_word) = (first / 64, last / 64);
    (first_word..=last_word).any(|word| {
        let from = if word == first_word { u64::MAX << (first % 64) } else { u64::MAX };
        let to = if word == last_word { u64::MAX >> (63 - last % 64) } else { u64::MAX };
        bits[word] & from & to != 0
    })
}

/// Converted values have other bounds than stored ones, so only their number is known.
fn bounds_of(file: &ParquetFile, row_group: usize, binding: Option<&ColumnBinding>) -> Bounds {
    let rows = file.row_group_rows(row_group);
    match binding {
        Some(ColumnBinding { column: Some(column), is_cast: false, .. }) => file.bounds(row_group, *column),
        Some(ColumnBinding { column: None, .. }) => Bounds { rows, null_count: Some(rows), ..Bounds::default() },
        _ => Bounds { rows, ..Bounds::default() },
    }
}

/// Whether `filter` may be true for some row.
fn may_be_true(filter: &Expr, bounds: &impl Fn(usize) -> Bounds) -> bool {
    match filter {
        Expr::Literal(literal) => !matches!(literal.value, Value::Boolean(false) | Value::Null),
        Expr::Column(column) => bounds(*column).may_hold(Some(&Literal::boolean(true)), Some(&Literal::boolean(true))),
        Expr::InList { input, list, negated: false } => match input.as_ref() {
            Expr::Column(column) => {
                let bounds = bounds(*column);
                list.iter().any(|l| l.value != Value::Null && bounds.may_hold(Some(l), Some(l)))
            }
            _ => true,
        },
        Expr::Call { function, args, .. } => match (function.as_str(), args.as_slice()) {
            ("and", args) => args.iter().all(|a| may_be_true(a, bounds)),
            ("or", args) => args.iter().any(|a| may_be_true(a, bounds)),
            ("is_null", [Expr::Column(column)]) => bounds(*column).null_count != Some(0),
            ("is_not_null", [Expr::Column(column)]) => !bounds(*column).is_all_null(),
            (name, [Expr::Column(column), Expr::Literal(literal)]) => {
                comparison_may_hold(name, &bounds(*column), literal)
            }
            (name, [Expr::Literal(literal), Expr::Column(column)]) => {
                comparison_may_hold(turned(name), &bounds(*column), literal)
            }
            _ => true,
        },
        _ => true,
    }
}

/// The comparison with its sides exchanged.
fn turned(name: &str) -> &str {
    match name {
        "lt" => "gt",
        "le" => "ge",
        "gt" => "lt",
        "ge" => "le",
        other => other,
    }
}

fn comparison_may_hold(name: &str, bounds: &Bounds, literal: &Literal) -> bool {
    let is_comparison = matches!(name, "eq" | "ne" | "lt" | "le" | "gt" | "ge");
    if is_comparison && (literal.value == Value::Null || bounds.is_all_null()) {
        return false;
    }
    let order = |end: &Option<Literal>| end.as_ref().and_then(|end| compare(end, literal));
    let max = if literal.data_type.is_float() { &None } else { &bounds.max };
    match name {
        "eq" => bounds.may_hold(Some(literal), Some(literal)),
        // Every value is the one that is not wanted.
        "ne" => !(order(&bounds.min) == Some(Ordering::Equal) && order(max) == Some(Ordering::Equal)),
        "lt" => !order(&bounds.min).is_some_and(Ordering::is_ge),
        "le" => order(&bounds.min) != Some(Ordering::Greater),
        "gt" => !order(max).is_some_and(Ordering::is_le),
        "ge" => order(max) != Some(Ordering::Less),
        _ => true,
    }
}

/// Compares two constants of comparable types; `None` where there is no common order, or NULL or NaN is involved.
pub(crate) fn compare(a: &Literal, b: &Literal) -> Option<Ordering> {
    match (&a.value, &b.value) {
        (Value::Boolean(x), Value::Boolean(y)) => Some(x.cmp(y)),
        (Value::Utf8(x), Value::Utf8(y)) => Some(x.as_bytes().cmp(y.as_bytes())),
        (Value::Binary(x), Value::Binary(y)) => Some(x.cmp(y)),
        (Value::FloatBits(x), Value::FloatBits(y)) => f64::from_bits(*x).partial_cmp(&f64::from_bits(*y)),
        (Value::Int(x), Value::Int(y)) => {
            let (x_unit, y_unit) = (unit(&a.data_type)?, unit(&b.data_type)?);
            let common = match (x_unit, y_unit) {
                (Unit::Number(x), Unit::Number(y)) => Unit::Number(x.max(y)),
                (Unit::Moment { zoned: x, .. }, Unit::Moment { zoned: y, .. }) if x == y => {
                    Unit::Moment { ticks_per_day: 86_400_000_000_000, zoned: x }
                }
                (x, y) if x == y => x,
                _ => return None,
            };
            Some(rescale(*x, x_unit, common)?.cmp(&rescale(*y, y_unit, common)?))
        }
        _ => None,
    }
}

/// What an integer of a type counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// Units of 10^-scale.
    Number(i8),
    /// Ticks since 1970.
    Moment { ticks_per_day: i64, zoned: bool },
    /// Ticks since midnight.
    TimeOfDay(Resolution),
    /// Ticks.
    Span(Resolution),
}

fn unit(data_type: &LogicalType) -> Option<Unit> {
    Some(match data_type {
        t if t.is_integer() => Unit::Number(0),
        LogicalType::Decimal { scale, .. } => Unit::Number(*scale),
        LogicalType::Date => Unit::Moment { ticks_per_day: 1, zoned: false },
        LogicalType::Timestamp { resolution, zone } => {
            Unit::Moment { ticks_per_day: 86_400 * resolution.ticks_per_second(), zoned: zone.is_some() }
        }
        LogicalType::Time(resolution) => Unit::TimeOfDay(*resolution),
        LogicalType::Duration(resolution) => Unit::Span(*resolution),
        _ => return None,
    })
}

/// The value in a finer unit.
fn rescale(value: i128, from: Unit, to: Unit) -> Option<i128> {
    match (from, to) {
        (Unit::Number(from), Unit::Number(to)) => {
            let digits = i16::from(to) - i16::from(from);
            value.checked_mul(10i128.checked_pow(u32::try_from(digits).ok()?)?)
        }
        (Unit::Moment { ticks_per_day: from, .. }, Unit::Moment { ticks_per_day: to, .. }) => {
            value.checked_mul(i128::from(to / from))
        }
        _ => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(value: i128, scale: i8) -> Literal {
        Literal { value: Value::Int(value), data_type: LogicalType::Decimal { precision: 15, scale } }
    }

    fn bounds(min: Literal, max: Literal, nulls: u64) -> Bounds {
        Bounds { rows: 10, min: Some(min), max: Some(max), null_count: Some(nulls) }
    }

    fn call(name: &str, literal: Literal) -> Expr {
        Expr::call(name, vec![Expr::Column(0), Expr::Literal(literal)], LogicalType::Boolean)
    }

    fn check(bounds: &Bounds, filter: &Expr, expected: bool) {
        assert_eq!(may_be_true(filter, &|_| bounds.clone()), expected, "{filter:?} over {bounds:?}");
    }

    #[test]
    fn comparisons_by_every_position_of_the_constant() {
        let set = bounds(Literal::int64(10), Literal::int64(20), 0);
        for (name, expected) in [
            // below, min, inside, max, above
            ("eq", [false, true, true, true, false]),
            ("lt", [false, false, true, true, true]),
            ("le", [false, true, true, true, true]),
            ("gt", [true, true, true, false, false]),
            ("ge", [true, true, true, true, false]),
            ("ne", [true, true, true, true, true]),
            ("like", [true, true, true, true, true]),
        ] {
            for (constant, expected) in [9, 10, 15, 20, 21].into_iter().zip(expected) {
                check(&set, &call(name, Literal::int64(constant)), expected);
                let sides = vec![Expr::Literal(Literal::int64(constant)), Expr::Column(0)];
                check(&set, &Expr::call(turned(name), sides, LogicalType::Boolean), expected);
            }
            if name != "like" {
                check(&set, &call(name, Literal::null(LogicalType::Int64)), false);
            }
        }
        check(&bounds(Literal::int64(7), Literal::int64(7), 0), &call("ne", Literal::int64(7)), false);
    }

    #[test]
    fn logic_lists_and_nulls() {
        let set = bounds(Literal::int64(10), Literal::int64(20), 3);
        let (yes, no) = (call("eq", Literal::int64(15)), call("eq", Literal::int64(5)));
        let logic = |name: &str, args: &[&Expr]| {
            Expr::call(name, args.iter().map(|a| (*a).clone()).collect(), LogicalType::Boolean)
        };
        check(&set, &logic("and", &[&yes, &yes]), true);
        check(&set, &logic("and", &[&yes, &no]), false);
        check(&set, &logic("or", &[&no, &yes]), true);
        check(&set, &logic("or", &[&no, &no]), false);
        check(&set, &logic("not", &[&yes]), true);
        let list = |values: &[i64], negated| Expr::InList {
            input: Box::new(Expr::Column(0)),
            list: values.iter().map(|v| Literal::int64(*v)).collect(),
            negated,
        };
        check(&set, &list(&[1, 2], false), false);
        check(&set, &list(&[1, 12], false), true);
        check(&set, &list(&[1, 2], true), true);
        let is = |name: &str| Expr::call(name, vec![Expr::Column(0)], LogicalType::Boolean);
        let all_null = Bounds { rows: 10, null_count: Some(10), ..Bounds::default() };
        let unknown = Bounds { rows: 10, ..Bounds::default() };
        for (set, null, not_null) in [(&set, true, true), (&all_null, true, false), (&unknown, true, true)] {
            check(set, &is("is_null"), null);
            check(set, &is("is_not_null"), not_null);
        }
        check(&bounds(Literal::int64(1), Literal::int64(2), 0), &is("is_null"), false);
        check(&all_null, &yes, false);
        check(&unknown, &no, true);
    }

    #[test]
    fn nan_is_above_every_bound() {
        let set = bounds(Literal::float64(1.0), Literal::float64(2.0), 0);
        check(&set, &call("gt", Literal::float64(5.0)), true);
        check(&set, &call("ge", Literal::float64(5.0)), true);
        check(&set, &call("eq", Literal::float64(5.0)), false);
        check(&set, &call("eq", Literal::float64(f64::NAN)), true);
        check(&set, &call("lt", Literal::float64(1.0)), false);
        check(&bounds(Literal::float64(2.0), Literal::float64(2.0), 0), &call("ne", Literal::float64(2.0)), true);
    }

    #[test]
    fn units_are_brought_together() {
        let day = |days| Literal { value: Value::Int(days), data_type: LogicalType::Date };
        let moment = |ticks, resolution, zone: Option<&str>| Literal {
            value: Value::Int(ticks),
            data_type: LogicalType::Timestamp { resolution, zone: zone.map(Into::into) },
        };
        for (a, b, expected) in [
            (decimal(150, 2), decimal(15, 1), Some(Ordering::Equal)),
            (decimal(151, 2), Literal::int64(1), Some(Ordering::Greater)),
            (decimal(i128::MAX, 0), decimal(1, 9), None),
            (day(1), moment(86_400, Resolution::Second, None), Some(Ordering::Equal)),
            (day(1), moment(86_400, Resolution::Second, Some("UTC")), None),
            (
                moment(1, Resolution::Millisecond, None),
                moment(999, Resolution::Microsecond, None),
                Some(Ordering::Greater),
            ),
            (Literal::utf8("a"), Literal::int64(1), None),
            (Literal::utf8("Z"), Literal::utf8("a"), Some(Ordering::Less)),
        ] {
            assert_eq!(compare(&a, &b), expected, "{a:?} {b:?}");
        }
    }

    #[test]
    fn merged_bounds_cover_both() {
        let a = bounds(Literal::int64(1), Literal::int64(5), 1);
        let b = bounds(Literal::int64(-3), Literal::int64(4), 2);
        let both = a.clone().merge(b);
        assert_eq!(both, Bounds { rows: 20, ..bounds(Literal::int64(-3), Literal::int64(5), 3) });
        let nulls = Bounds { rows: 10, null_count: Some(10), ..Bounds::default() };
        assert_eq!(a.clone().merge(nulls).min, a.min);
        let unknown = Bounds { rows: 10, ..Bounds::default() };
        assert_eq!(a.merge(unknown), Bounds { rows: 20, ..Bounds::default() });
    }

    #[test]
    fn bitmaps_are_asked_between_the_bounds() {
        // Values 100 + {3, 64, 130} are present.
        let bits = [1 << 3, 1, 1 << 2];
        let low = Literal::int64(100);
        for (min, max, expected) in [
            (0, 99, false),
            (0, 103, true),
            (104, 163, false),
            (104, 164, true),
            (165, 229, false),
            (165, 230, true),
            (231, 1_000, false),
            (1_000, 2_000, false),
            (0, 2_000, true),
        ] {
            let set = bounds(Literal::int64(min), Literal::int64(max), 0);
            assert_eq!(may_be_set(&bits, Some(&low), &set), expected, "{min} to {max}");
        }
    }
}
