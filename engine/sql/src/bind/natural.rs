//! NATURAL JOIN as the join with USING that it stands for.
//!
//! The binder knows both, but a merged column only has one name where the parser knows of it
//! ([`crate::parse::using`]), which of a NATURAL join is once the columns of both sides are known. So both sides are bound
//! by themselves first. A side that cannot be bound alone, as one that refers to others, leaves the join as it is.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    Ident, Join, JoinConstraint, JoinOperator, ObjectName, Query, Select, SetExpr, Statement, TableWithJoins, Visit,
    VisitMut, Visitor, VisitorMut, With,
};
use datafusion_sql::sqlparser::parser::Parser;

use super::Binder;
use crate::error::{Result, SqlError};
use crate::parse::{FlumenDialect, merged_columns, using};

/// Resolves the NATURAL joins of a query and of all in it.
pub(super) fn resolve(binder: &Binder<'_>, query: &mut Query) -> Result<()> {
    if Visit::visit(query, &mut AnyNatural).is_continue() {
        return Ok(());
    }
    match VisitMut::visit(query, &mut Natural { binder, named: Vec::new() }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Stops at a NATURAL join.
struct AnyNatural;

impl Visitor for AnyNatural {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let mut joins = select.from.iter().flat_map(|from| &from.joins);
        if joins.any(|join| is_natural(&join.join_operator)) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

fn constraint(operator: &JoinOperator) -> Option<&JoinConstraint> {
    match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint) => Some(constraint),
        _ => None,
    }
}

fn is_natural(operator: &JoinOperator) -> bool {
    constraint(operator) == Some(&JoinConstraint::Natural)
}

fn with_constraint(operator: &JoinOperator, constraint: JoinConstraint) -> JoinOperator {
    match operator {
        JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => JoinOperator::LeftOuter(constraint),
        JoinOperator::Right(_) | JoinOperator::RightOuter(_) => JoinOperator::RightOuter(constraint),
        JoinOperator::FullOuter(_) => JoinOperator::FullOuter(constraint),
        _ => JoinOperator::Inner(constraint),
    }
}

struct Natural<'a, 'b> {
    binder: &'a Binder<'b>,
    /// The queries with names around the place where the visitor is.
    named: Vec<Option<With>>,
}

impl VisitorMut for Natural<'_, '_> {
    type Break = SqlError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<SqlError> {
        self.named.push(query.with.clone());
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<SqlError> {
        self.named.pop();
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<SqlError> {
        let mut found = false;
        for from in &mut select.from {
            for index in 0..from.joins.len() {
                if !is_natural(&from.joins[index].join_operator) {
                    continue;
                }
                let left = TableWithJoins { relation: from.relation.clone(), joins: from.joins[..index].to_vec() };
                let join = &mut from.joins[index];
                let right = TableWithJoins { relation: join.relation.clone(), joins: Vec::new() };
                found |= self.name_columns(left, right, join);
            }
        }
        if found {
            if let Err(error) = merged_columns::check(select, None) {
                return ControlFlow::Break(error);
            }
            using::qualify(select);
        }
        ControlFlow::Continue(())
    }
}

impl Natural<'_, '_> {
    /// Gives a join the columns that both sides have; whether there are any, as far as is known.
    fn name_columns(&self, left: TableWithJoins, right: TableWithJoins, join: &mut Join) -> bool {
        let (Some(left), Some(right)) = (self.columns(left), self.columns(right)) else { return false };
        let left: HashSet<String> = left.into_iter().collect();
        let common: Vec<ObjectName> = right
            .into_iter()
            .filter(|name| left.contains(name))
            .map(|name| ObjectName::from(vec![Ident::with_quote('"', name)]))
            .collect();
        let is_known = !common.is_empty();
        if is_known {
            join.join_operator = with_constraint(&join.join_operator, JoinConstraint::Using(common));
        }
        is_known
    }

    /// The columns of a side.
    fn columns(&self, side: TableWithJoins) -> Option<Vec<String>> {
        let mut query = Parser::new(&FlumenDialect).try_with_sql("SELECT * FROM t").ok()?.parse_query().ok()?;
        if let SetExpr::Select(select) = &mut *query.body {
            select.from = vec![side];
        }
        for with in self.named.iter().flatten() {
            match &mut query.with {
                None => query.with = Some(with.clone()),
                Some(all) => {
                    all.recursive |= with.recursive;
                    all.cte_tables.extend(with.cte_tables.iter().cloned());
                }
            }
        }
        let plan = self.binder.front_end().sql_statement_to_plan(Statement::Query(query)).ok()?;
        Some(plan.schema().fields().iter().map(|field| field.name().clone()).collect())
    }
}
