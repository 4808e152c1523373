//! Columns that joins with USING merge, by the name of a side that has their value.
//!
//! Such a column has one name for both sides. The binder finds it in a select list if there is one USING alone; elsewhere,
//! as in WHERE or with a second USING, it takes the name for ambiguous, and `*` has the column twice. So it is given the
//! side's name here: the left one's of a LEFT JOIN, else the right one's. Of a NATURAL join the columns are not known yet.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    self, ExcludeSelectItem, Expr, Ident, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, Query, Select,
    SelectItem, SelectItemQualifiedWildcardKind, TableFactor, TableWithJoins, VisitMut, VisitorMut,
    WildcardAdditionalOptions,
};

use super::asof::MARKER;
use super::merged_columns::last;

/// Names the merged columns of a SELECT, but not of queries inside of it.
pub(crate) fn qualify(select: &mut Select) {
    let sides: Vec<(String, Ident)> = select.from.iter().flat_map(sides).collect();
    if sides.is_empty() {
        return;
    }
    let items = std::mem::take(&mut select.projection);
    select.projection = items.into_iter().flat_map(|item| spread(item, &select.from)).collect();
    let mut names = Qualify { sides, depth: 0 };
    // Nothing stops the visitor.
    let _ = select.projection.visit(&mut names);
    let _ = select.selection.visit(&mut names);
    let _ = select.group_by.visit(&mut names);
    let _ = select.having.visit(&mut names);
    let _ = select.named_window.visit(&mut names);
    let _ = select.qualify.visit(&mut names);
}

/// The merged columns of a FROM, and a relation that has each.
fn sides(from: &TableWithJoins) -> Vec<(String, Ident)> {
    let mut sides: Vec<(String, Ident)> = Vec::new();
    // What is on the left has a name if it is one relation, or was merged before.
    let mut left = name_of(&from.relation);
    for join in &from.joins {
        let right = name_of(&join.relation);
        for column in using(&join.join_operator).iter().filter_map(last) {
            let known = sides.iter().position(|(name, _)| *name == column);
            let before = known.map(|index| sides.remove(index).1).or_else(|| left.clone());
            let side = match &join.join_operator {
                // The sides of an ASOF join differ in their positions, of which the left one counts.
                _ if is_asof(&join.relation) => before,
                JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => before,
                _ => right.clone(),
            };
            sides.extend(side.map(|side| (column, side)));
        }
        left = None;
    }
    sides
}

fn is_asof(relation: &TableFactor) -> bool {
    matches!(relation, TableFactor::Function { name, .. } if name.to_string() == MARKER)
}

fn using(operator: &JoinOperator) -> &[ObjectName] {
    use JoinOperator as J;
    match operator {
        J::Join(JoinConstraint::Using(columns))
        | J::Inner(JoinConstraint::Using(columns))
        | J::Left(JoinConstraint::Using(columns))
        | J::LeftOuter(JoinConstraint::Using(columns))
        | J::Right(JoinConstraint::Using(columns))
        | J::RightOuter(JoinConstraint::Using(columns))
        | J::FullOuter(JoinConstraint::Using(columns)) => columns,
        _ => &[],
    }
}

fn name_of(factor: &TableFactor) -> Option<Ident> {
    match factor {
        TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. }
        | TableFactor::Function { alias: Some(alias), .. } => Some(alias.name.clone()),
        TableFactor::Table { name, .. } => name.0.last().and_then(ObjectNamePart::as_ident).cloned(),
        _ => None,
    }
}

/// `*` over several joins with USING, or over ASOF joins with USING, as the columns of each relation, without those that were merged before it. Anything
/// else stays.
fn spread(item: SelectItem, from: &[TableWithJoins]) -> Vec<SelectItem> {
    let [from] = from else { return vec![item] };
    let is_plain = matches!(&item, SelectItem::Wildcard(options) if *options == WildcardAdditionalOptions::default());
    let merging = from.joins.iter().filter(|join| !using(&join.join_operator).is_empty()).count();
    let has_asof = from.joins.iter().any(|join| is_asof(&join.relation) && !using(&join.join_operator).is_empty());
    if !is_plain || merging < 2 && !has_asof {
        return vec![item];
    }
    let all = |relation: &TableFactor, merged: &[ObjectName]| -> Option<SelectItem> {
        let name = ObjectName::from(vec![name_of(relation)?]);
        let opt_exclude = (!merged.is_empty()).then(|| ExcludeSelectItem::Multiple(merged.to_vec()));
        let options = WildcardAdditionalOptions { opt_exclude, ..WildcardAdditionalOptions::default() };
        Some(SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options))
    };
    let first = all(&from.relation, &[]);
    let rest = from.joins.iter().map(|join| all(&join.relation, using(&join.join_operator)));
    std::iter::once(first).chain(rest).collect::<Option<Vec<_>>>().unwrap_or_else(|| vec![item])
}

struct Qualify {
    /// Column and relation.
    sides: Vec<(String, Ident)>,
    /// How many queries inside of each other the visitor is in.
    depth: usize,
}

impl VisitorMut for Qualify {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<()> {
        if let Expr::Identifier(column) = expr
            && self.depth == 0
            && let Some((_, side)) = self.sides.iter().find(|(name, _)| name.eq_ignore_ascii_case(&column.value))
        {
            *expr = Expr::CompoundIdentifier(vec![side.clone(), column.clone()]);
        }
        ControlFlow::Continue(())
    }
}
