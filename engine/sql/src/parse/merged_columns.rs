//! RIGHT and FULL JOIN with USING or NATURAL: the column that both sides have is one, with the value of the side that has
//! a row.
//!
//! The binder takes one side's column for it, and a rule ([`crate::optimize`]) gives that column the merged value. So the
//! left side's own column cannot be asked for under its own name any more, nor the right side's in a FULL JOIN; here such
//! names are found.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    self, Expr, Ident, JoinConstraint, JoinOperator, ObjectName, OrderBy, Select, SelectItem,
    SelectItemQualifiedWildcardKind, TableFactor, TableWithJoins, Visit, Visitor,
};

use crate::error::{Result, SqlError};

/// Finds a column that is not to be had, in a SELECT and its ORDER BY.
pub(crate) fn check(select: &Select, order_by: Option<&OrderBy>) -> Result<()> {
    for from in &select.from {
        for (index, join) in from.joins.iter().enumerate() {
            let Some((word, columns)) = merged(&join.join_operator) else { continue };
            let mut names = Names { sides: sides(from, index, word), columns, word };
            let found = match select.visit(&mut names) {
                ControlFlow::Continue(()) => {
                    order_by.map_or(ControlFlow::Continue(()), |order| order.visit(&mut names))
                }
                found @ ControlFlow::Break(_) => found,
            };
            if let ControlFlow::Break(error) = found {
                return Err(error);
            }
        }
    }
    Ok(())
}

/// RIGHT or FULL, and the columns that are merged; `None` for those that both sides happen to have.
fn merged(operator: &JoinOperator) -> Option<(&'static str, Option<Vec<String>>)> {
    let (word, constraint) = match operator {
        JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => ("RIGHT", constraint),
        JoinOperator::FullOuter(constraint) => ("FULL", constraint),
        _ => return None,
    };
    match constraint {
        JoinConstraint::Using(columns) => Some((word, Some(columns.iter().filter_map(last).collect()))),
        JoinConstraint::Natural => Some((word, None)),
        _ => None,
    }
}

pub(super) fn last(name: &ObjectName) -> Option<String> {
    name.0.last()?.as_ident().map(|ident| ident.value.to_lowercase())
}

/// What the relations are called whose own columns are not to be had.
fn sides(from: &TableWithJoins, join: usize, word: &str) -> Vec<String> {
    let until = if word == "FULL" { join + 1 } else { join };
    let joined = from.joins[..until].iter().map(|j| &j.relation);
    std::iter::once(&from.relation).chain(joined).filter_map(name_of).collect()
}

fn name_of(factor: &TableFactor) -> Option<String> {
    match factor {
        TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. }
        | TableFactor::Function { alias: Some(alias), .. } => Some(alias.name.value.to_lowercase()),
        TableFactor::Table { name, .. } => last(name),
        _ => None,
    }
}

struct Names {
    sides: Vec<String>,
    columns: Option<Vec<String>>,
    word: &'static str,
}

impl Names {
    fn refuse(&self, name: &str, ident: &Ident) -> ControlFlow<SqlError> {
        let error = SqlError::unsupported(format!("{name} beside a {} JOIN with USING or NATURAL", self.word));
        let hint = "without the table it is the merged column; to have both sides, join with ON";
        ControlFlow::Break(error.about(ident.value.clone()).with_hint(hint))
    }

    fn is_side(&self, qualifier: &str) -> bool {
        self.sides.iter().any(|name| name.eq_ignore_ascii_case(qualifier))
    }
}

impl Visitor for Names {
    type Break = SqlError;

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<SqlError> {
        for item in &select.projection {
            if let SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) = item
                && let Some(ident) = name.0.last().and_then(ast::ObjectNamePart::as_ident)
                && self.is_side(&ident.value)
            {
                return self.refuse(&format!("{}.*", ident.value), ident);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<SqlError> {
        if let Expr::CompoundIdentifier(parts) = expr
            && let [.., qualifier, column] = parts.as_slice()
            && self.is_side(&qualifier.value)
            && self.columns.as_ref().is_none_or(|all| all.iter().any(|c| c.eq_ignore_ascii_case(&column.value)))
        {
            return self.refuse(&format!("{}.{}", qualifier.value, column.value), column);
        }
        ControlFlow::Continue(())
    }
}
