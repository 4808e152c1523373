//! How many rows a plan gives, from the tables' statistics.
//!
//! The usual independence assumptions: an equality keeps one in `distinct` rows, a range the share of `min..max` that
//! it covers, an equi-join `|L| * |R| / max(distinct)`. Unknown tables count [`UNKNOWN_ROWS`]. The numbers choose join
//! order, build sides and exchanges; they never change a result.

use datafusion_common::{Column, JoinType, ScalarValue};
use datafusion_expr::utils::{conjunction, split_conjunction};
use datafusion_expr::{BinaryExpr, Expr, FetchType, Join, LogicalPlan, Operator, SkipType, TableSource};
use flumen_core::expr::Value;
use flumen_core::source::ColumnStatistics;

use super::shared;
use crate::bind::table::ConnectedTable;

/// Rows of a table that says nothing.
pub(crate) const UNKNOWN_ROWS: f64 = 1_000_000.0;

const DEFAULT: f64 = 0.25;
const LIKE: f64 = 0.1;
const HAVING: f64 = 0.01;
const EQUALITY: f64 = 0.05;

/// Items of a list.
pub(crate) const ITEMS: f64 = 4.0;

/// Expected rows of a plan.
pub(crate) fn rows(plan: &LogicalPlan) -> f64 {
    match plan {
        LogicalPlan::TableScan(scan) => {
            if let Some(part) = shared::part_of(scan) {
                return part.rows;
            }
            let all = scan
                .source
                .downcast_ref::<ConnectedTable>()
                .and_then(|t| t.statistics().rows)
                .map_or(UNKNOWN_ROWS, |r| r as f64);
            let kept = all * conjunction(scan.filters.clone()).map_or(1.0, |all| selectivity(&all, plan));
            scan.fetch.map_or(kept, |n| kept.min(n as f64)).max(1.0)
        }
        LogicalPlan::Filter(filter) => (rows(&filter.input) * selectivity(&filter.predicate, &filter.input)).max(1.0),
        LogicalPlan::Aggregate(aggregate) => {
            if aggregate.group_expr.is_empty() {
                return 1.0;
            }
            let input = rows(&aggregate.input);
            let groups: f64 = aggregate.group_expr.iter().map(|e| distinct(e, &aggregate.input, input)).product();
            groups.min(input).max(1.0)
        }
        LogicalPlan::Join(join) => {
            let (left, right) = (rows(&join.left), rows(&join.right));
            let filter = join.filter.as_ref().map_or(1.0, |f| selectivity(f, plan));
            match join.join_type {
                JoinType::LeftSemi => (left * semi_share(join, left, right, true)).max(1.0),
                JoinType::RightSemi => (right * semi_share(join, left, right, false)).max(1.0),
                JoinType::LeftAnti => (left * (1.0 - semi_share(join, left, right, true)).max(0.1)).max(1.0),
                JoinType::RightAnti => (right * (1.0 - semi_share(join, left, right, false)).max(0.1)).max(1.0),
                JoinType::LeftMark => left,
                JoinType::RightMark => right,
                kind => {
                    let out = matched((&join.left, left), (&join.right, right), &join.on) * filter;
                    let floor = match kind {
                        JoinType::Left => left,
                        JoinType::Right => right,
                        JoinType::Full => left + right,
                        _ => 1.0,
                    };
                    out.max(floor)
                }
            }
        }
        LogicalPlan::Limit(limit) => {
            let input = rows(&limit.input);
            let skip = match limit.get_skip_type() {
                Ok(SkipType::Literal(n)) => n as f64,
                _ => 0.0,
            };
            match limit.get_fetch_type() {
                Ok(FetchType::Literal(Some(n))) => (input - skip).max(0.0).min(n as f64),
                _ => (input - skip).max(0.0),
            }
        }
        LogicalPlan::Sort(sort) => {
            let input = rows(&sort.input);
            sort.fetch.map_or(input, |n| input.min(n as f64))
        }
        LogicalPlan::Union(union) => union.inputs.iter().map(|i| rows(i)).sum(),
        LogicalPlan::Unnest(unnest) if !unnest.list_type_columns.is_empty() => rows(&unnest.input) * ITEMS,
        LogicalPlan::Values(values) => values.values.len() as f64,
        LogicalPlan::EmptyRelation(empty) => f64::from(u8::from(empty.produce_one_row)),
        other => other.inputs().first().map_or(1.0, |input| rows(input)),
    }
}

/// Pairs of rows that agree in all keys: `|L| * |R|` over the larger number of different keys.
///
/// Columns of a key of several are rarely independent, and the product of their distinct values is soon more than there
/// are rows. A side where it is more than its table has rows is taken to have a key in each row of that table; if that is
/// so of both sides, the smaller table is the one whose key it is.
pub(crate) fn matched(left: (&LogicalPlan, f64), right: (&LogicalPlan, f64), on: &[(Expr, Expr)]) -> f64 {
    let pairs = left.1 * right.1;
    if let [(l, r)] = on {
        return pairs / distinct(l, left.0, left.1).max(distinct(r, right.0, right.1)).max(1.0);
    }
    let keys = |side: (&LogicalPlan, f64), of: &dyn Fn(&(Expr, Expr)) -> Expr| {
        let all: f64 = on.iter().map(|pair| distinct(&of(pair), side.0, side.1)).product();
        let table = on.iter().filter_map(|pair| table_rows(&of(pair), side.0)).fold(side.1, f64::max);
        (all.min(table), all >= table)
    };
    let ((l, l_full), (r, r_full)) = (keys(left, &|pair| pair.0.clone()), keys(right, &|pair| pair.1.clone()));
    let keys = if l_full && r_full { l.min(r) } else { l.max(r) };
    pairs / keys.max(1.0)
}

/// Rows of the base table of a column.
fn table_rows(expr: &Expr, plan: &LogicalPlan) -> Option<f64> {
    match expr {
        Expr::Column(column) => column_statistics(plan, column).map(|(_, rows)| rows),
        Expr::Alias(alias) => table_rows(&alias.expr, plan),
        Expr::Cast(cast) => table_rows(&cast.expr, plan),
        _ => None,
    }
}

/// The share of outer rows with a match, if matches are spread evenly.
fn semi_share(join: &Join, left: f64, right: f64, outer_is_left: bool) -> f64 {
    join.on
        .iter()
        .map(|(l, r)| {
            let (l, r) = (distinct(l, &join.left, left), distinct(r, &join.right, right));
            let (outer, inner) = if outer_is_left { (l, r) } else { (r, l) };
            (inner / outer.max(1.0)).min(1.0)
        })
        .fold(1.0, f64::min)
}

/// Expected distinct values of an expression over a plan that gives `rows`. The rows are passed in, so that estimating
/// a plan visits each of its nodes once.
pub(crate) fn distinct(expr: &Expr, plan: &LogicalPlan, rows: f64) -> f64 {
    match expr {
        Expr::Literal(..) => 1.0,
        other => known_distinct(other, plan).unwrap_or(rows * 0.5).min(rows).max(1.0),
    }
}

/// Distinct values in the base table; `None` if nothing is known.
fn known_distinct(expr: &Expr, plan: &LogicalPlan) -> Option<f64> {
    match expr {
        Expr::Column(column) => {
            column_statistics(plan, column).map(|(statistics, rows)| column_distinct(&statistics, rows))
        }
        Expr::Alias(alias) => known_distinct(&alias.expr, plan),
        Expr::Cast(cast) => known_distinct(&cast.expr, plan),
        Expr::Literal(..) => Some(1.0),
        other => {
            let columns = other.column_refs();
            columns.iter().map(|c| known_distinct(&Expr::Column((*c).clone()), plan)).product()
        }
    }
}

fn column_distinct(statistics: &ColumnStatistics, table_rows: f64) -> f64 {
    if let Some(n) = statistics.distinct_count {
        return n as f64;
    }
    // Integers and dates cannot have more values than their range; decimals are taken by whole units.
    match (bound(statistics.min.as_ref()), bound(statistics.max.as_ref())) {
        (Some(min), Some(max)) => (max - min + 1.0).min(table_rows),
        // Text without statistics: names of few things are as likely as names of many.
        _ => table_rows.sqrt().max(1.0),
    }
}

/// Statistics of the base column that a column of a plan is, and the rows of its table.
fn column_statistics(plan: &LogicalPlan, column: &Column) -> Option<(ColumnStatistics, f64)> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            if let Some(part) = shared::part_of(scan) {
                let index = part.schema().index_of(&column.name).ok()?;
                let (qualifier, field) = part.plan.schema().qualified_field(index);
                return column_statistics(&part.plan, &Column::new(qualifier.cloned(), field.name()));
            }
            let table = scan.source.downcast_ref::<ConnectedTable>()?;
            // A column that only a filter of the scan reads is not among those that come out.
            if column.relation.as_ref().is_some_and(|relation| *relation != scan.table_name) {
                return None;
            }
            let index = table.binder_schema.index_of(&column.name).ok()?;
            let statistics = table.statistics();
            let rows = statistics.rows.map_or(UNKNOWN_ROWS, |r| r as f64);
            Some((statistics.columns.get(index)?.clone(), rows))
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let index = alias.schema.maybe_index_of_column(column)?;
            let (qualifier, field) = alias.input.schema().qualified_field(index);
            column_statistics(&alias.input, &Column::new(qualifier.cloned(), field.name()))
        }
        LogicalPlan::Projection(projection) => {
            let index = projection.schema.maybe_index_of_column(column)?;
            let mut expr = projection.expr.get(index)?;
            while let Expr::Alias(alias) = expr {
                expr = &alias.expr;
            }
            let Expr::Column(below) = expr else { return None };
            column_statistics(&projection.input, below)
        }
        LogicalPlan::Aggregate(aggregate) => {
            let index = aggregate.schema.maybe_index_of_column(column)?;
            let Expr::Column(below) = aggregate.group_expr.get(index)? else { return None };
            column_statistics(&aggregate.input, below)
        }
        other => other
            .inputs()
            .into_iter()
            .find(|input| input.schema().maybe_index_of_column(column).is_some())
            .and_then(|input| column_statistics(input, column)),
    }
}

/// The share of rows for which a condition is true.
pub(crate) fn selectivity(expr: &Expr, plan: &LogicalPlan) -> f64 {
    match expr {
        Expr::Literal(ScalarValue::Boolean(Some(true)), _) => 1.0,
        Expr::Literal(ScalarValue::Boolean(_), _) => 0.0,
        Expr::Not(inner) => 1.0 - selectivity(inner, plan),
        Expr::IsNull(_) => 0.05,
        Expr::IsNotNull(_) => 0.95,
        Expr::Like(like) => {
            if like.negated {
                1.0 - LIKE
            } else {
                LIKE
            }
        }
        Expr::InList(list) => {
            let single = known_distinct(&list.expr, plan).map_or(EQUALITY, |n| 1.0 / n.max(1.0));
            let share = (list.list.len() as f64 * single).min(1.0);
            if list.negated { 1.0 - share } else { share }
        }
        Expr::Between(between) => {
            let low = comparison(Operator::GtEq, &between.expr, &between.low, plan);
            let high = comparison(Operator::LtEq, &between.expr, &between.high, plan);
            let share = (low + high - 1.0).max(0.01);
            if between.negated { 1.0 - share } else { share }
        }
        Expr::BinaryExpr(BinaryExpr { op: Operator::And, .. }) => all_of(&split_conjunction(expr), plan),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let (l, r) = (selectivity(left, plan), selectivity(right, plan));
            l + r - l * r
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => comparison(*op, left, right, plan),
        _ => DEFAULT,
    }
}

/// The share of rows for which all conditions are true: independent of each other, but for two bounds of one column,
/// which are a range.
fn all_of(conditions: &[&Expr], plan: &LogicalPlan) -> f64 {
    let mut share = 1.0;
    let mut used = vec![false; conditions.len()];
    for (index, condition) in conditions.iter().enumerate() {
        if used[index] {
            continue;
        }
        let other = (index + 1..conditions.len())
            .filter(|&other| !used[other])
            .find_map(|other| Some((other, range(condition, conditions[other], plan)?)));
        share *= match other {
            Some((other, share)) => {
                used[other] = true;
                share
            }
            None => selectivity(condition, plan),
        };
    }
    share
}

fn range(left: &Expr, right: &Expr, plan: &LogicalPlan) -> Option<f64> {
    let (Expr::BinaryExpr(l), Expr::BinaryExpr(r)) = (left, right) else { return None };
    let is_low = |op| matches!(op, Operator::Gt | Operator::GtEq);
    let is_high = |op| matches!(op, Operator::Lt | Operator::LtEq);
    if l.left != r.left || !(is_low(l.op) && is_high(r.op) || is_high(l.op) && is_low(r.op)) {
        return None;
    }
    Some((selectivity(left, plan) + selectivity(right, plan) - 1.0).max(0.01))
}

fn comparison(op: Operator, left: &Expr, right: &Expr, plan: &LogicalPlan) -> f64 {
    let (column, constant, op) = match (left, right) {
        (column, Expr::Literal(v, _)) => (column, v, op),
        (Expr::Literal(v, _), column) => match op.swap() {
            Some(op) => (column, v, op),
            None => return DEFAULT,
        },
        (l, r) => {
            return match op {
                Operator::Eq => {
                    let known = known_distinct(l, plan).into_iter().chain(known_distinct(r, plan));
                    known.reduce(f64::max).map_or(EQUALITY, |n| 1.0 / n.max(1.0))
                }
                Operator::NotEq => 0.9,
                _ => 0.33,
            };
        }
    };
    let base = match column {
        Expr::Column(c) => Some(c),
        Expr::Cast(cast) => {
            if let Expr::Column(c) = &*cast.expr {
                Some(c)
            } else {
                None
            }
        }
        _ => None,
    };
    let statistics = base.and_then(|c| column_statistics(plan, c));
    match op {
        Operator::Eq => match &statistics {
            Some((s, rows)) => (1.0 / column_distinct(s, *rows)).min(1.0),
            None => EQUALITY,
        },
        Operator::NotEq => match &statistics {
            Some((s, rows)) => 1.0 - (1.0 / column_distinct(s, *rows)).min(1.0),
            None => 1.0 - EQUALITY,
        },
        Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq => {
            let Some((s, _)) = statistics else {
                // Nothing is known of a computed value; HAVING keeps few groups.
                return if matches!(plan, LogicalPlan::Aggregate(_)) { HAVING } else { 0.33 };
            };
            let value = crate::plan::expr::literal(constant).ok();
            let (Some(min), Some(max), Some(v)) = (bound(s.min.as_ref()), bound(s.max.as_ref()), bound(value.as_ref()))
            else {
                return 0.33;
            };
            let below = if max > min { ((v - min) / (max - min)).clamp(0.0, 1.0) } else { 0.5 };
            let share = if matches!(op, Operator::Lt | Operator::LtEq) { below } else { 1.0 - below };
            share.clamp(0.001, 1.0)
        }
        Operator::LikeMatch | Operator::ILikeMatch => LIKE,
        _ => DEFAULT,
    }
}

/// A constant as a number, decimals by value.
fn bound(literal: Option<&flumen_core::expr::Literal>) -> Option<f64> {
    let literal = literal?;
    match &literal.value {
        Value::Int(v) => match literal.data_type {
            flumen_core::types::LogicalType::Decimal { scale, .. } => Some(*v as f64 / 10_f64.powi(i32::from(scale))),
            _ => Some(*v as f64),
        },
        Value::FloatBits(bits) => Some(f64::from_bits(*bits)),
        _ => None,
    }
}
