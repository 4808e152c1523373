//! `INTERSECT ALL` and `EXCEPT ALL`: set operations that count.
//!
//! The binder writes both as semi and anti joins over all columns in which NULLs are equal. That is right without ALL,
//! where the left side is made distinct first, and wrong with it: `EXCEPT ALL` takes away as many of equal rows as the
//! right side has, not all of them, and `INTERSECT ALL` keeps no more than that. A rule finds these joins right after
//! types were checked, before other rules make joins that look the same, and puts a node of its own in their place,
//! which no rule takes for a join; [the planner](crate::plan) makes a counted join of it.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::Transformed;
use datafusion_common::{DFSchemaRef, DataFusionError, JoinType, NullEquality, Result};
use datafusion_expr::{Expr, Extension, LogicalPlan, Projection, UserDefinedLogicalNodeCore};
use datafusion_optimizer::analyzer::AnalyzerRule;

/// Rows of the left side, each as often as the counts of both sides say.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct BagOperation {
    pub(crate) left: LogicalPlan,
    pub(crate) right: LogicalPlan,
    /// Column by column, in one type: left, right.
    pub(crate) columns: Vec<(Expr, Expr)>,
    /// Rows that both sides have stay (INTERSECT ALL); else they go (EXCEPT ALL).
    pub(crate) keeps_common: bool,
}

impl PartialOrd for BagOperation {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (&self.left, &self.right).partial_cmp(&(&other.left, &other.right))
    }
}

impl UserDefinedLogicalNodeCore for BagOperation {
    fn name(&self) -> &str {
        if self.keeps_common { "IntersectAll" } else { "ExceptAll" }
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.left.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        self.columns.iter().flat_map(|(l, r)| [l.clone(), r.clone()]).collect()
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        self.schema().fields().iter().map(|field| field.name().clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(UserDefinedLogicalNodeCore::name(self))
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let wrong = || DataFusionError::Internal("a set operation has two inputs and pairs of columns".to_owned());
        let [left, right] = <[LogicalPlan; 2]>::try_from(inputs).map_err(|_| wrong())?;
        let (pairs, rest) = exprs.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(wrong());
        }
        let columns = pairs.iter().map(|[l, r]| (l.clone(), r.clone())).collect();
        Ok(Self { left, right, columns, keeps_common: self.keeps_common })
    }

    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        // Rows are compared as a whole.
        let all = |plan: &LogicalPlan| (0..plan.schema().fields().len()).collect();
        Some(vec![all(&self.left), all(&self.right)])
    }
}

/// The rule that finds them.
#[derive(Debug, Default)]
pub(crate) struct BagOperations;

impl AnalyzerRule for BagOperations {
    fn name(&self) -> &str {
        "bag_operations"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Join(join)
                if join.null_equality == NullEquality::NullEqualsNull
                    && matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
                    && join.filter.is_none()
                    && !matches!(*join.left, LogicalPlan::Distinct(_)) =>
            {
                let node = BagOperation {
                    left: Arc::unwrap_or_clone(join.left),
                    right: Arc::unwrap_or_clone(join.right),
                    columns: join.on,
                    keeps_common: join.join_type == JoinType::LeftSemi,
                };
                // What rules want to know of the columns of a subquery they ask a projection.
                let columns = node.left.schema().columns().into_iter().map(Expr::Column).collect();
                let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
                Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?)))
            }
            other => Ok(Transformed::no(other)),
        })
        .map(|t| t.data)
    }
}
