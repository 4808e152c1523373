//! Other spellings of what the binder knows.
//!
//! | written | becomes |
//! |---|---|
//! | `a // b`, `~a` | calls of functions of [`crate::bind::own_functions`] |
//! | `(a, b) = (c, d)`, `<>`, `<`, `IS DISTINCT FROM`, `IN ((c, d), ...)` | comparisons of the values, from the left |
//! | `(a, b) IN (SELECT ...)` | EXISTS over the subquery, with SQL's three values |
//! | `year(t)`, `dayofweek(t)`, ... | `date_part('year', t)`, ... |
//! | `CAST(x AS t)` | the same inside a call that gives it a name of its own ([`crate::bind::named_cast`]) |
//! | `SEMI JOIN`, `ANTI JOIN` | `LEFT SEMI JOIN`, `LEFT ANTI JOIN` |
//! | `ROLLUP` and `CUBE` with a key twice, or with several keys in brackets | the grouping sets that they mean |
//! | `HAVING` without GROUP BY and aggregates | one group |
//! | `x IN (VALUES ...)` | `x IN (SELECT * FROM (VALUES ...))` |
//! | `ORDER BY ALL` | `ORDER BY 1, 2, ...`, if the columns are counted |
//! | `* REPLACE (e AS c)` | the same, and `c` is asked for, so that one that is not there is an error |

use datafusion_sql::sqlparser::ast::{
    self, BinaryOperator, CaseWhen, CastKind, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArgumentList, FunctionArguments, GroupByExpr, Ident, JoinOperator, ObjectName, OrderByExpr, OrderByKind,
    Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableFactor, UnaryOperator, Value,
    WildcardAdditionalOptions,
};
use datafusion_sql::sqlparser::parser::Parser;

use super::FlumenDialect;
use super::normalize::is_computed_of_groups;
use super::statement::syntax;
use crate::bind::named_cast::{KNOWN, NAMED_CAST};
use crate::bind::own_functions::{BIT_NOT, INTEGER_DIVIDE};
use crate::error::{Result, SqlError};

/// Functions that give a part of a time, and the name of the part.
pub(crate) const DATE_PARTS: [(&str, &str); 21] = [
    ("millennium", "millennium"),
    ("century", "century"),
    ("decade", "decade"),
    ("year", "year"),
    ("isoyear", "isoyear"),
    ("quarter", "quarter"),
    ("month", "month"),
    ("week", "week"),
    ("weekofyear", "week"),
    ("day", "day"),
    ("dayofmonth", "day"),
    ("dayofyear", "doy"),
    ("dayofweek", "dow"),
    ("weekday", "dow"),
    ("isodow", "isodow"),
    ("hour", "hour"),
    ("minute", "minute"),
    ("second", "second"),
    ("millisecond", "millisecond"),
    ("microsecond", "microsecond"),
    ("epoch", "epoch"),
];

/// Keys of a CUBE that is written out as grouping sets, at most; one with more is refused later.
const CUBE_KEYS_MAX: usize = 12;

/// Rewrites one expression, whose parts have been rewritten.
pub(super) fn expression(expr: &mut Expr) -> Result<()> {
    let rewritten = match &mut *expr {
        Expr::BinaryOp { left, op: BinaryOperator::DuckIntegerDivide | BinaryOperator::MyIntegerDivide, right } => {
            call(INTEGER_DIVIDE, vec![take(left), take(right)])
        }
        Expr::UnaryOp { op: UnaryOperator::BitwiseNot, expr } => call(BIT_NOT, vec![take(expr)]),
        Expr::BinaryOp { left, op, right } if row(left).is_some() && row(right).is_some() => {
            let (op, left, right) = (op.clone(), take_row(left), take_row(right));
            compared(&left, &op, &right)?
        }
        Expr::IsDistinctFrom(left, right) if row(left).is_some() && row(right).is_some() => {
            not(same_rows(take_row(left), take_row(right))?)
        }
        Expr::IsNotDistinctFrom(left, right) if row(left).is_some() && row(right).is_some() => {
            same_rows(take_row(left), take_row(right))?
        }
        Expr::InList { expr, list, negated } if row(expr).is_some() => {
            let (value, negated) = (take_row(expr), *negated);
            let items = list.iter_mut().map(|item| match row(item) {
                Some(_) => compared(&value, &BinaryOperator::Eq, &take_row(item)),
                None => Err(SqlError::invalid(format!("a row of {} values is compared with {item}", value.len()))),
            });
            let any = joined(items.collect::<Result<Vec<_>>>()?, &BinaryOperator::Or);
            if negated { not(any) } else { any }
        }
        Expr::InSubquery { expr, subquery, negated } if row(expr).is_some() => {
            values_as_table(subquery)?;
            in_rows(&take_row(expr), subquery, *negated)?
        }
        Expr::InSubquery { subquery, .. } | Expr::Subquery(subquery) => return values_as_table(subquery),
        Expr::Function(function) => {
            if order_by_constants(function) {
                return Ok(());
            }
            match date_part(function) {
                Some(part) => part,
                None => return Ok(()),
            }
        }
        Expr::Cast {
            kind: CastKind::Cast | CastKind::DoubleColon | CastKind::TryCast | CastKind::SafeCast, ..
        } => call(NAMED_CAST, vec![take(expr)]),
        _ => return Ok(()),
    };
    *expr = rewritten;
    Ok(())
}

/// Rewrites the order of one query.
pub(super) fn order(query: &mut Query) {
    let Some(order_by) = &mut query.order_by else { return };
    let OrderByKind::All(options) = &order_by.kind else { return };
    let mut body = &*query.body;
    let columns = loop {
        match body {
            SetExpr::Query(inner) => body = &inner.body,
            SetExpr::SetOperation { left, .. } => body = left,
            SetExpr::Select(select) => break select.projection.as_slice(),
            _ => return,
        }
    };
    let is_one = |item: &SelectItem| matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. });
    if columns.is_empty() || !columns.iter().all(is_one) {
        return;
    }
    let key = |number: usize| OrderByExpr {
        expr: Expr::value(Value::Number(number.to_string(), false)),
        options: *options,
        with_fill: None,
    };
    order_by.kind = OrderByKind::Expressions((1..=columns.len()).map(key).collect());
}

/// Rewrites one SELECT, whose parts have not been rewritten.
pub(super) fn select(select: &mut Select) -> Result<()> {
    for join in select.from.iter_mut().flat_map(|from| &mut from.joins) {
        let operator = std::mem::replace(&mut join.join_operator, JoinOperator::OuterApply);
        join.join_operator = match operator {
            JoinOperator::Semi(constraint) => JoinOperator::LeftSemi(constraint),
            JoinOperator::Anti(constraint) => JoinOperator::LeftAnti(constraint),
            other => other,
        };
    }
    if let Some(condition) = &mut select.selection {
        only_true(condition)?;
    }
    let known = replaced_columns(&select.projection);
    if !known.is_empty() {
        let known = call(KNOWN, known);
        select.selection = Some(match select.selection.take() {
            Some(condition) => binary(Expr::Nested(Box::new(condition)), &BinaryOperator::And, known),
            None => known,
        });
    }
    if let GroupByExpr::Expressions(keys, _) = &mut select.group_by {
        keys.iter_mut().for_each(grouping);
        let items = || {
            select.projection.iter().filter_map(|item| match item {
                SelectItem::UnnamedExpr(e) | SelectItem::ExprWithAlias { expr: e, .. } => Some(e),
                _ => None,
            })
        };
        if keys.is_empty()
            && let Some(having) = &select.having
            && !items().chain([having]).any(is_computed_of_groups)
        {
            keys.push(Expr::GroupingSets(vec![Vec::new()]));
        }
    }
    Ok(())
}

fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::value(Value::Null))
}

/// The values of `(a, b)`.
fn row(expr: &Expr) -> Option<&[Expr]> {
    match expr {
        Expr::Tuple(values) => Some(values),
        Expr::Nested(inner) => row(inner),
        _ => None,
    }
}

fn take_row(expr: &mut Expr) -> Vec<Expr> {
    match take(expr) {
        Expr::Tuple(values) => values,
        Expr::Nested(mut inner) => take_row(&mut inner),
        _ => Vec::new(),
    }
}

fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args = args.into_iter().map(|e| FunctionArg::Unnamed(FunctionArgExpr::Expr(e))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

fn binary(left: Expr, op: &BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op: op.clone(), right: Box::new(right) }
}

fn not(expr: Expr) -> Expr {
    Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(Expr::Nested(Box::new(expr))) }
}

/// The expressions joined by one operator, in halves, so that many of them are not deep.
fn joined(mut all: Vec<Expr>, op: &BinaryOperator) -> Expr {
    if all.len() > 1 {
        let rest = all.split_off(all.len() / 2);
        return Expr::Nested(Box::new(binary(joined(all, op), op, joined(rest, op))));
    }
    all.pop().unwrap_or_else(|| Expr::value(Value::Null))
}

fn same_length(left: &[Expr], right: &[Expr]) -> Result<()> {
    if left.len() == right.len() && !left.is_empty() {
        return Ok(());
    }
    let message = format!("a row of {} values is compared with one of {}", left.len(), right.len());
    Err(SqlError::invalid(message).with_hint("write as many values on both sides"))
}

/// Two rows compared value by value, as SQL:2016 8.2 has it.
fn compared(left: &[Expr], op: &BinaryOperator, right: &[Expr]) -> Result<Expr> {
    use BinaryOperator as Op;
    same_length(left, right)?;
    let pairs = || left.iter().cloned().zip(right.iter().cloned());
    let all = |op: &Op| pairs().map(|(l, r)| binary(l, op, r)).collect::<Vec<_>>();
    let strict = match op {
        Op::Eq => return Ok(joined(all(&Op::Eq), &Op::And)),
        Op::NotEq => return Ok(joined(all(&Op::NotEq), &Op::Or)),
        Op::Lt | Op::LtEq => Op::Lt,
        Op::Gt | Op::GtEq => Op::Gt,
        other => return Err(SqlError::unsupported(format!("the operator {other} on rows"))),
    };
    // From the last value to the first: `l < r OR l = r AND (the rest)`.
    let mut decided: Option<Expr> = None;
    for (l, r) in pairs().rev() {
        decided = Some(match decided {
            None => binary(l, op, r),
            Some(rest) => {
                let rest = binary(binary(l.clone(), &Op::Eq, r.clone()), &Op::And, Expr::Nested(Box::new(rest)));
                binary(binary(l, &strict, r), &Op::Or, rest)
            }
        });
    }
    Ok(Expr::Nested(Box::new(decided.unwrap_or_else(|| Expr::value(Value::Null)))))
}

/// Two rows that are not distinct from each other.
fn same_rows(left: Vec<Expr>, right: Vec<Expr>) -> Result<Expr> {
    same_length(&left, &right)?;
    let same = |(l, r)| Expr::IsNotDistinctFrom(Box::new(l), Box::new(r));
    Ok(joined(left.into_iter().zip(right).map(same).collect(), &BinaryOperator::And))
}

/// `(a, b) IN (S)`: true if a row of S equals it; else unknown if a comparison is; else false.
fn in_rows(value: &[Expr], subquery: &Query, negated: bool) -> Result<Expr> {
    let found = compared(value, &BinaryOperator::Eq, &columns(value.len()))?;
    let unknown = Expr::IsNull(Box::new(found.clone()));
    let case = |condition: Expr, result: Value| CaseWhen { condition, result: Expr::value(result) };
    let conditions = vec![
        case(exists(subquery, value.len(), found)?, Value::Boolean(!negated)),
        case(exists(subquery, value.len(), unknown)?, Value::Null),
    ];
    Ok(Expr::Case {
        case_token: ast::helpers::attached_token::AttachedToken::empty(),
        end_token: ast::helpers::attached_token::AttachedToken::empty(),
        operand: None,
        conditions,
        else_result: Some(Box::new(Expr::value(Value::Boolean(negated)))),
    })
}

/// `(a, b) IN (S)` where it only matters whether it is true: one EXISTS, which becomes a semi join.
fn only_true(condition: &mut Expr) -> Result<()> {
    match condition {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            only_true(left)?;
            only_true(right)
        }
        Expr::Nested(inner) => only_true(inner),
        Expr::InSubquery { expr, subquery, negated: false } if row(expr).is_some() => {
            let value = take_row(expr);
            let found = compared(&value, &BinaryOperator::Eq, &columns(value.len()))?;
            *condition = exists(subquery, value.len(), found)?;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// `VALUES ...` as `SELECT * FROM (VALUES ...)`.
fn values_as_table(query: &mut Query) -> Result<()> {
    if matches!(*query.body, SetExpr::Values(_)) {
        let values = std::mem::replace(query, parsed("SELECT * FROM (SELECT 1) AS __values")?);
        put_into_from(query, values);
    }
    Ok(())
}

/// Queries of our own, with a place to put others in.
fn parsed(text: &str) -> Result<Query> {
    Parser::new(&FlumenDialect).try_with_sql(text).and_then(|mut p| p.parse_query()).map(|q| *q).map_err(syntax)
}

/// Puts a query in the place of that in FROM.
fn put_into_from(query: &mut Query, other: Query) {
    if let SetExpr::Select(select) = &mut *query.body
        && let Some(from) = select.from.first_mut()
        && let TableFactor::Derived { subquery, .. } = &mut from.relation
    {
        **subquery = other;
    }
}

/// What the columns of a subquery are called in conditions on its rows.
fn column(index: usize) -> String {
    format!("__row_{index}")
}

fn columns(count: usize) -> Vec<Expr> {
    (0..count).map(|index| Expr::Identifier(Ident::new(column(index)))).collect()
}

/// Whether a subquery of so many columns has a row for which the condition holds.
fn exists(subquery: &Query, width: usize, condition: Expr) -> Result<Expr> {
    let names: Vec<String> = (0..width).map(column).collect();
    let mut query = parsed(&format!("SELECT 1 FROM (SELECT 1) AS __row ({}) WHERE TRUE", names.join(", ")))?;
    put_into_from(&mut query, subquery.clone());
    if let SetExpr::Select(select) = &mut *query.body {
        select.selection = Some(condition);
    }
    Ok(Expr::Exists { subquery: Box::new(query), negated: false })
}

/// Takes constants out of an ORDER BY among arguments, where they order nothing and the binder would take them for
/// positions; whether there were any.
fn order_by_constants(function: &mut Function) -> bool {
    let FunctionArguments::List(list) = &mut function.args else { return false };
    let mut found = false;
    list.clauses.retain_mut(|clause| match clause {
        FunctionArgumentClause::OrderBy(keys) => {
            let count = keys.len();
            keys.retain(|key| !matches!(key.expr, Expr::Value(_)));
            found |= keys.len() < count;
            !keys.is_empty()
        }
        _ => true,
    });
    found
}

/// `date_part` in the place of a function that gives one part.
fn date_part(function: &mut Function) -> Option<Expr> {
    let name = function.name.to_string();
    let (_, part) = DATE_PARTS.iter().find(|(known, _)| known.eq_ignore_ascii_case(&name))?;
    let FunctionArguments::List(list) = &mut function.args else { return None };
    match list.args.as_mut_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(time))] if function.over.is_none() => {
            let part = Expr::value(Value::SingleQuotedString((*part).to_owned()));
            Some(call("date_part", vec![part, take(time)]))
        }
        _ => None,
    }
}

/// The columns that `* REPLACE` names.
fn replaced_columns(items: &[SelectItem]) -> Vec<Expr> {
    let mut columns = Vec::new();
    for item in items {
        let (table, options): (&[_], &WildcardAdditionalOptions) = match item {
            SelectItem::Wildcard(options) => (&[], options),
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                (name.0.as_slice(), options)
            }
            _ => continue,
        };
        let table: Vec<Ident> = table.iter().filter_map(|part| part.as_ident().cloned()).collect();
        for replaced in options.opt_replace.iter().flat_map(|replace| &replace.items) {
            let column = replaced.column_name.clone();
            columns.push(match table.is_empty() {
                true => Expr::Identifier(column),
                false => Expr::CompoundIdentifier(table.iter().cloned().chain([column]).collect()),
            });
        }
    }
    columns
}

/// ROLLUP and CUBE as grouping sets, if a key is there twice or several are in brackets; and no set has a key twice.
fn grouping(key: &mut Expr) {
    let needs_sets = |parts: &[Vec<Expr>]| {
        parts.iter().any(|part| part.len() != 1)
            || parts.iter().enumerate().any(|(i, part)| parts[..i].iter().any(|other| is_same(&other[0], &part[0])))
    };
    let sets = match key {
        Expr::Rollup(parts) if needs_sets(parts) => {
            (0..=parts.len()).rev().map(|count| parts[..count].concat()).collect()
        }
        Expr::Cube(parts) if parts.len() <= CUBE_KEYS_MAX && needs_sets(parts) => (0_u32..1 << parts.len())
            .map(|left_out| {
                let kept = parts.iter().enumerate().filter(|(i, _)| left_out >> i & 1 == 0);
                kept.flat_map(|(_, part)| part.iter().cloned()).collect()
            })
            .collect(),
        Expr::GroupingSets(sets) => std::mem::take(sets),
        _ => return,
    };
    *key = Expr::GroupingSets(sets.into_iter().map(each_once).collect());
}

fn each_once(keys: Vec<Expr>) -> Vec<Expr> {
    let mut once: Vec<Expr> = Vec::with_capacity(keys.len());
    for key in keys {
        if !once.iter().any(|other| is_same(other, &key)) {
            once.push(key);
        }
    }
    once
}

/// Whether two keys are written alike.
fn is_same(one: &Expr, other: &Expr) -> bool {
    one == other || one.to_string().eq_ignore_ascii_case(&other.to_string())
}
