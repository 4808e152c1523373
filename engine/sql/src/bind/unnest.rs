//! `UNNEST(...)` in FROM: names for its columns, and `WITH ORDINALITY`.
//!
//! The columns are called `unnest`, `unnest_2`, ..., and `ordinality` behind them, unless the statement names them. The
//! numbers are a list of their own beside the others ([`ORDINALITY`]), which the planner knows.

use datafusion_common::{DFSchema, DataFusionError, Result};
use datafusion_expr::ExprSchemable;
use datafusion_expr::planner::{RelationPlannerContext, RelationPlanning};
use datafusion_sql::sqlparser::ast::{
    AccessExpr, Expr, FunctionArg, FunctionArgExpr, Subscript, TableAliasColumnDef, TableFactor, Value,
};

use super::nested::ORDINALITY;
use crate::error::SqlError;
use crate::parse::unnest::{call, named};

/// `t.s['a']` for `t.s.a`.
fn last_part_subscripted(expr: &Expr) -> Option<Expr> {
    let Expr::CompoundIdentifier(parts) = expr else { return None };
    let (last, before) = parts.split_last()?;
    let root = match before {
        [] => return None,
        [one] => Expr::Identifier(one.clone()),
        many => Expr::CompoundIdentifier(many.to_vec()),
    };
    let index = Expr::value(Value::SingleQuotedString(last.value.clone()));
    let access_chain = vec![AccessExpr::Subscript(Subscript::Index { index })];
    Some(Expr::CompoundFieldAccess { root: Box::new(root), access_chain })
}

pub(super) fn planned(factor: TableFactor, context: &mut dyn RelationPlannerContext) -> Result<RelationPlanning> {
    let TableFactor::UNNEST { alias, mut array_exprs, with_offset, with_offset_alias, with_ordinality } = factor else {
        return Ok(RelationPlanning::Original(Box::new(factor)));
    };
    if with_offset || with_offset_alias.is_some() {
        let error = SqlError::unsupported("WITH OFFSET").about("OFFSET");
        return Err(DataFusionError::from(error.with_hint("WITH ORDINALITY numbers the items from 1")));
    }
    let mut has_structs = false;
    for expr in &mut array_exprs {
        let bound = context.sql_to_expr(expr.clone(), &DFSchema::empty());
        // The binder knows parts of the columns around it by subscripts alone.
        let subscripted = match &bound {
            Err(DataFusionError::NotImplemented(_)) => last_part_subscripted(expr),
            _ => None,
        };
        let bound = match subscripted {
            Some(subscripted) => {
                *expr = subscripted;
                context.sql_to_expr(expr.clone(), &DFSchema::empty())?
            }
            None => bound?,
        };
        has_structs |= matches!(bound.get_type(&DFSchema::empty())?, arrow_schema::DataType::Struct(_));
    }
    let lists = array_exprs.len();
    if with_ordinality {
        let args = |e: &Expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(e.clone()));
        array_exprs.push(call(ORDINALITY, array_exprs.iter().map(args).collect()));
    }
    // The parts of a struct have names, and are as many as they are.
    let alias = if has_structs {
        alias
    } else {
        let mut alias = alias.unwrap_or_else(|| named("unnest"));
        for column in alias.columns.len()..array_exprs.len() {
            let name = match column {
                0 => "unnest".to_owned(),
                last if last == lists => "ordinality".to_owned(),
                other => format!("unnest_{}", other + 1),
            };
            alias.columns.push(TableAliasColumnDef::from_name(name));
        }
        Some(alias)
    };
    Ok(RelationPlanning::Original(Box::new(TableFactor::UNNEST {
        alias,
        array_exprs,
        with_offset,
        with_offset_alias,
        with_ordinality: false,
    })))
}
