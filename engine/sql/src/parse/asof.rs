//! `ASOF [LEFT] JOIN`, marked for the binder.
//!
//! The right side becomes a call of [`MARKER`], a table function that gives its rows as they are; the binder puts a node in
//! its place, and a rewriting of the bound plan finds the join by it ([`crate::bind::asof`]). So the condition, USING and
//! the names of columns are bound as those of any join.

use datafusion_sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, Ident, JoinConstraint, JoinOperator, ObjectName,
    ObjectNamePart, Query, Select, SetExpr, TableAlias, TableFactor, TableWithJoins,
};
use datafusion_sql::sqlparser::parser::Parser;

use super::FlumenDialect;
use super::statement::syntax;
use crate::error::{Result, SqlError};

/// The table function around the right side.
pub(crate) const MARKER: &str = "__asof";

/// Marks the ASOF joins of a FROM.
pub(super) fn mark(select: &mut Select) -> Result<()> {
    select.from.iter_mut().try_for_each(mark_joins)
}

fn mark_joins(from: &mut TableWithJoins) -> Result<()> {
    if let TableFactor::NestedJoin { table_with_joins, .. } = &mut from.relation {
        mark_joins(table_with_joins)?;
    }
    for join in &mut from.joins {
        if let TableFactor::NestedJoin { table_with_joins, .. } = &mut join.relation {
            mark_joins(table_with_joins)?;
        }
        let mut is_asof = std::mem::take(&mut join.global);
        if let JoinOperator::AsOf { match_condition, constraint } = &join.join_operator {
            // Snowflake's form.
            let condition = match constraint {
                JoinConstraint::None => match_condition.clone(),
                JoinConstraint::On(on) => Expr::BinaryOp {
                    left: Box::new(on.clone()),
                    op: BinaryOperator::And,
                    right: Box::new(match_condition.clone()),
                },
                _ => return Err(SqlError::unsupported("MATCH_CONDITION with USING").about("MATCH_CONDITION")),
            };
            join.join_operator = JoinOperator::Left(JoinConstraint::On(condition));
            is_asof = true;
        }
        if !is_asof {
            continue;
        }
        match &join.join_operator {
            JoinOperator::Join(c) | JoinOperator::Inner(c) | JoinOperator::Left(c) | JoinOperator::LeftOuter(c)
                if matches!(c, JoinConstraint::On(_) | JoinConstraint::Using(_)) => {}
            JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => {
                let error = SqlError::invalid("an ASOF JOIN needs a condition").about("ASOF");
                return Err(error.with_hint("write ASOF JOIN t ON a.key = t.key AND a.time >= t.time"));
            }
            _ => return Err(SqlError::unsupported("ASOF joins other than inner and LEFT").about("ASOF")),
        }
        join.relation = marked(join.relation.clone())?;
    }
    Ok(())
}

fn marked(mut relation: TableFactor) -> Result<TableFactor> {
    let alias = match &mut relation {
        TableFactor::Table { name, alias, .. } => alias.take().or_else(|| {
            let name = name.0.last().and_then(ObjectNamePart::as_ident).cloned()?;
            Some(TableAlias { explicit: false, name, columns: Vec::new(), at: None })
        }),
        TableFactor::Derived { alias, lateral: false, .. } => alias.take(),
        _ => None,
    };
    if alias.is_none() {
        let error = SqlError::unsupported("this right side of an ASOF JOIN").about("ASOF");
        return Err(error.with_hint("write a table, or a query in brackets with a name"));
    }
    let arg = FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Subquery(all_rows(relation)?)));
    let name = ObjectName::from(vec![Ident::new(MARKER)]);
    Ok(TableFactor::Function { lateral: false, name, args: vec![arg], with_ordinality: false, alias })
}

/// `SELECT * FROM relation`.
fn all_rows(relation: TableFactor) -> Result<Box<Query>> {
    let parser = Parser::new(&FlumenDialect).try_with_sql("SELECT * FROM t");
    let mut query = parser.and_then(|mut parser| parser.parse_query()).map_err(syntax)?;
    if let SetExpr::Select(select) = &mut *query.body
        && let Some(from) = select.from.first_mut()
    {
        from.relation = relation;
    }
    Ok(query)
}
