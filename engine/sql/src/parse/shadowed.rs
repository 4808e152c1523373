//! Names of WITH that hide others.
//!
//! `WITH a AS (...) SELECT ... FROM (WITH a AS (...) SELECT ...)`: inside, `a` is the inner query. The binder has one scope
//! for all of them and refuses the second. So the inner one gets a name that nobody else can write, and what reads it
//! calls it by its own name again.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{Ident, ObjectNamePart, Query, TableAlias, TableFactor, VisitMut, VisitorMut};

/// The names of the queries around a place, by query.
#[derive(Default)]
pub(super) struct Scopes {
    open: Vec<Vec<String>>,
    renamed: usize,
}

impl Scopes {
    /// Goes into a query, whose parts have not been visited.
    pub(super) fn enter(&mut self, query: &mut Query) {
        let mut own = Vec::new();
        let count = query.with.as_ref().map_or(0, |with| with.cte_tables.len());
        for index in 0..count {
            let Some(with) = &mut query.with else { break };
            let name = lower(&with.cte_tables[index].alias.name);
            if !self.open.iter().flatten().any(|other| *other == name) {
                own.push(name);
                continue;
            }
            self.renamed += 1;
            let mut rename = Rename { to: format!("__{name}_{}", self.renamed), from: name, hidden: 0 };
            with.cte_tables[index].alias.name = Ident::new(rename.to.clone());
            // A query sees those before it, and itself if it is recursive.
            let first = if with.recursive { index } else { index + 1 };
            for reader in &mut with.cte_tables[first..] {
                let _ = reader.query.visit(&mut rename);
            }
            let _ = query.body.visit(&mut rename);
            let _ = query.order_by.visit(&mut rename);
            let _ = query.limit_clause.visit(&mut rename);
            own.push(rename.to);
        }
        self.open.push(own);
    }

    /// Leaves it.
    pub(super) fn leave(&mut self) {
        self.open.pop();
    }
}

fn lower(ident: &Ident) -> String {
    ident.value.to_lowercase()
}

struct Rename {
    from: String,
    to: String,
    /// Queries around the visitor that give the name to a query of their own.
    hidden: usize,
}

impl Rename {
    fn hides(&self, query: &Query) -> bool {
        query.with.iter().flat_map(|with| &with.cte_tables).any(|named| lower(&named.alias.name) == self.from)
    }
}

impl VisitorMut for Rename {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.hidden += usize::from(self.hides(query));
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.hidden -= usize::from(self.hides(query));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, alias, args: None, .. } = factor
            && self.hidden == 0
            && let [ObjectNamePart::Identifier(ident)] = name.0.as_mut_slice()
            && lower(ident) == self.from
        {
            let written = std::mem::replace(ident, Ident::new(self.to.clone()));
            alias.get_or_insert(TableAlias { explicit: false, name: written, columns: Vec::new(), at: None });
        }
        ControlFlow::Continue(())
    }
}
