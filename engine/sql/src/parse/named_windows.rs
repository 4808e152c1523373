//! `WINDOW w AS (...)`: every use of the name is replaced by what it stands for.
//!
//! The binder knows such names in the select list alone and leaves out what `OVER (w ORDER BY ...)` takes over from `w`.
//! As in PostgreSQL, a window that is built on another has its partitions, may give it an order if it has none, and has a
//! frame of its own; the other has no frame.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    Expr, Ident, NamedWindowExpr, OrderByKind, Query, Select, SetExpr, Value, VisitMut, VisitorMut, WindowSpec,
    WindowType,
};

use super::token_forms;
use crate::error::{SqlError, SqlErrorKind, did_you_mean, nearest};

/// The windows of one SELECT by lower-case name.
#[derive(Default)]
struct Windows {
    known: Vec<(String, WindowSpec)>,
}

/// Replaces the names in the ORDER BY of a query, which is outside of its SELECT.
pub(super) fn resolve_order(query: &mut Query) -> Result<(), SqlError> {
    let SetExpr::Select(select) = &*query.body else { return Ok(()) };
    let windows = Windows::of(select)?;
    if let (false, Some(order_by)) = (windows.known.is_empty(), &mut query.order_by)
        && let OrderByKind::Expressions(keys) = &mut order_by.kind
    {
        keys.iter_mut().try_for_each(|key| windows.replace(&mut key.expr))?;
    }
    Ok(())
}

/// Replaces the names in a SELECT and takes their definitions out.
pub(super) fn resolve(select: &mut Select) -> Result<(), SqlError> {
    let windows = Windows::of(select)?;
    select.named_window.clear();
    windows.replace(&mut select.projection)?;
    windows.replace(&mut select.qualify)
}

impl Windows {
    fn of(select: &Select) -> Result<Self, SqlError> {
        let mut windows = Self::default();
        for definition in &select.named_window {
            let name = definition.0.value.to_lowercase();
            if windows.known.iter().any(|(known, _)| *known == name) {
                let error = SqlError::invalid(format!("there are two windows {:?}", definition.0.value));
                return Err(error.about(definition.0.value.clone()));
            }
            let spec = match &definition.1 {
                NamedWindowExpr::NamedWindow(other) => windows.get(other)?.clone(),
                NamedWindowExpr::WindowSpec(spec) => windows.complete(spec.clone())?,
            };
            windows.known.push((name, spec));
        }
        Ok(windows)
    }

    fn get(&self, name: &Ident) -> Result<&WindowSpec, SqlError> {
        let lower = name.value.to_lowercase();
        self.known.iter().find(|(known, _)| *known == lower).map(|(_, spec)| spec).ok_or_else(|| {
            let error = SqlError::new(SqlErrorKind::Unknown, format!("there is no window {:?}", name.value))
                .about(name.value.clone());
            match did_you_mean(&nearest(&lower, self.known.iter().map(|(known, _)| known.as_str()))) {
                Some(hint) => error.with_hint(hint),
                None => error.with_hint(format!("define it: WINDOW {} AS (PARTITION BY ...)", name.value)),
            }
        })
    }

    /// A window with what it takes over from the one that it names.
    fn complete(&self, mut spec: WindowSpec) -> Result<WindowSpec, SqlError> {
        let Some(name) = spec.window_name.take() else { return Ok(spec) };
        let base = self.get(&name)?;
        // What a frame leaves out stands among the partitions, and is the window's own.
        let is_left_out = |key: &Expr| match key {
            Expr::Nested(key) => match &**key {
                Expr::Value(value) => match &value.value {
                    Value::SingleQuotedString(text) => token_forms::exclusion(text).is_some(),
                    _ => false,
                },
                _ => false,
            },
            _ => false,
        };
        let (left_out, own): (Vec<Expr>, Vec<Expr>) = spec.partition_by.drain(..).partition(is_left_out);
        spec.partition_by = own;
        let refused = |what: &str, hint: &str| {
            Err(SqlError::invalid(format!("a window built on {:?} cannot {what}", name.value))
                .about(name.value.clone())
                .with_hint(hint))
        };
        if base.window_frame.is_some() {
            return refused("take over its frame", "leave the frame out of the WINDOW clause");
        }
        if !spec.partition_by.is_empty() {
            return refused("have partitions of its own", "leave PARTITION BY out, or write the window out in full");
        }
        if !spec.order_by.is_empty() && !base.order_by.is_empty() {
            return refused("have another order", "leave ORDER BY out, or write the window out in full");
        }
        spec.partition_by = left_out;
        spec.partition_by.extend(base.partition_by.iter().cloned());
        if spec.order_by.is_empty() {
            spec.order_by.clone_from(&base.order_by);
        }
        Ok(spec)
    }

    fn replace(&self, part: &mut impl VisitMut) -> Result<(), SqlError> {
        match part.visit(&mut Replace { windows: self, depth: 0 }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(error),
        }
    }
}

/// Replaces names outside of subqueries, which have windows of their own.
struct Replace<'a> {
    windows: &'a Windows,
    depth: usize,
}

impl VisitorMut for Replace<'_> {
    type Break = SqlError;

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<SqlError> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<SqlError> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlError> {
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        let spec = match &mut function.over {
            Some(WindowType::NamedWindow(name)) => self.windows.get(name).cloned(),
            Some(WindowType::WindowSpec(spec)) if spec.window_name.is_some() => self.windows.complete(spec.clone()),
            _ => return ControlFlow::Continue(()),
        };
        match spec {
            Ok(spec) => {
                function.over = Some(WindowType::WindowSpec(spec));
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }
}
