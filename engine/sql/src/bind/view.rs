//! Views: a query of the catalog, bound where its name is read.
//!
//! The text of a view is parsed and bound anew for each statement that reads it, so it sees the tables of that moment.
//! A view that no longer gives the columns it was made with is refused by name.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use datafusion_common::DataFusionError;
use datafusion_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableSource};
use datafusion_sql::sqlparser::ast;
use flumen_core::catalog::CatalogView;

use super::{Binder, connector_error, without_slash};
use crate::error::{Result, SqlError};
use crate::parse::{StatementKind, parse};

/// Views that read views, at most.
const DEPTH_MAX: usize = 32;

/// A view as the binder sees it.
pub(crate) struct BoundView {
    /// Columns, in their written case.
    columns: Vec<String>,
    schema: SchemaRef,
    plan: LogicalPlan,
}

impl TableSource for BoundView {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        Some(Cow::Borrowed(&self.plan))
    }
}

impl BoundView {
    /// How a column is written, by its lower-case name.
    pub(super) fn written_column(&self, lower: &str) -> Option<&String> {
        self.columns.iter().find(|column| column.to_lowercase() == lower)
    }
}

impl Binder<'_> {
    /// The view of this name, if there is one.
    pub(super) fn view(&self, name: &str) -> Result<Option<Arc<BoundView>>, DataFusionError> {
        let name = without_slash(name);
        let key = name.to_lowercase();
        if let Some(view) = self.views.borrow().get(&key) {
            return Ok(Some(Arc::clone(view)));
        }
        let found = self.catalog.view(name).map_err(|e| DataFusionError::from(connector_error(&e, name)))?;
        let Some(view) = found else { return Ok(None) };
        {
            let mut open = self.open_views.borrow_mut();
            if open.contains(&key) || open.len() == DEPTH_MAX {
                let chain = format!("{} -> {key}", open.join(" -> "));
                return Err(DataFusionError::from(SqlError::invalid(format!(
                    "views read each other in a circle: {chain}"
                ))));
            }
            open.push(key.clone());
        }
        let bound = self.bind_view(&view);
        self.open_views.borrow_mut().pop();
        let bound = Arc::new(bound?);
        self.views.borrow_mut().insert(key, Arc::clone(&bound));
        Ok(Some(bound))
    }

    fn bind_view(&self, view: &CatalogView) -> Result<BoundView, DataFusionError> {
        let plan = self.bind(*view_query(view).map_err(DataFusionError::from)?)?;
        let given = plan.schema().columns();
        if given.len() != view.columns.len() {
            return Err(DataFusionError::from(
                SqlError::invalid(format!(
                    "view {:?} was made with {} columns, and its query now gives {}",
                    view.name,
                    view.columns.len(),
                    given.len()
                ))
                .about(view.name.clone())
                .with_hint("CREATE OR REPLACE VIEW makes it anew"),
            ));
        }
        let named = given.into_iter().zip(&view.columns);
        let named = named.map(|(column, name)| Expr::Column(column).alias(name.to_lowercase()));
        let plan = LogicalPlanBuilder::from(plan).project(named)?.build()?;
        let schema = Arc::new(plan.schema().as_arrow().clone());
        Ok(BoundView { columns: view.columns.clone(), schema, plan })
    }

    /// Whether a query reads the view of this name, itself or through others.
    pub(crate) fn reads_view(&self, query: &ast::Query, name: &str) -> Result<bool> {
        let wanted = name.to_lowercase();
        let mut to_read = vec![query.clone()];
        let mut seen = Vec::new();
        while let Some(query) = to_read.pop() {
            let mut names = Vec::new();
            let _: std::ops::ControlFlow<()> = ast::visit_relations(&query, |relation| {
                names.push(relation.to_string().trim_matches('"').to_lowercase());
                std::ops::ControlFlow::Continue(())
            });
            for name in names {
                if name == wanted {
                    return Ok(true);
                }
                if seen.contains(&name) {
                    continue;
                }
                if let Some(view) = self.catalog.view(&name).map_err(|e| connector_error(&e, &name))? {
                    to_read.push(*view_query(&view)?);
                }
                seen.push(name);
            }
        }
        Ok(false)
    }
}

fn view_query(view: &CatalogView) -> Result<Box<ast::Query>> {
    match parse(&view.query)?.pop().map(|statement| statement.kind) {
        Some(StatementKind::Query(query)) => Ok(query),
        _ => Err(SqlError::internal(format!("the text of view {:?} is not a query", view.name))),
    }
}
