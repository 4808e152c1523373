//! The rules that a bound plan goes through, as an explicit list.
//!
//! Only rules whose effect is understood are here: a rule that is right for tables may be wrong for streams (it may
//! push a filter below a window, or prune what a watermark needs), so none comes in by default.

pub(crate) mod bag_operation;
mod cross_join;
pub(crate) mod estimate;
mod exact_in;
pub(crate) mod grouping;
mod join_order;
mod push_down;

use std::sync::{Arc, LazyLock};

use datafusion_common::tree_node::TreeNodeRecursion;
use datafusion_common::{DataFusionError, JoinConstraint, JoinType, Result};
use datafusion_expr::{Distinct, Join, LogicalPlan};
use datafusion_optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion_optimizer::analyzer::{Analyzer, AnalyzerRule};
use datafusion_optimizer::common_subexpr_eliminate::CommonSubexprEliminate;
use datafusion_optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion_optimizer::eliminate_duplicated_expr::EliminateDuplicatedExpr;
use datafusion_optimizer::eliminate_filter::EliminateFilter;
use datafusion_optimizer::eliminate_limit::EliminateLimit;
use datafusion_optimizer::eliminate_outer_join::EliminateOuterJoin;
use datafusion_optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion_optimizer::optimize_projections::OptimizeProjections;
use datafusion_optimizer::optimize_unions::OptimizeUnions;
use datafusion_optimizer::push_down_limit::PushDownLimit;
use datafusion_optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion_optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin;
use datafusion_optimizer::simplify_expressions::SimplifyExpressions;
use datafusion_optimizer::{Optimizer, OptimizerContext, OptimizerRule};

use crate::bind::CONFIG;
use crate::bind::typing::EngineTypes;
use crate::error::SqlError;

type Rule = Arc<dyn OptimizerRule + Send + Sync>;

static ANALYZER: LazyLock<Analyzer> = LazyLock::new(|| {
    let rules: Vec<Arc<dyn AnalyzerRule + Send + Sync>> = vec![
        Arc::new(grouping::GroupingFunctions),
        Arc::new(EngineTypes),
        Arc::new(TypeCoercion::new()),
        Arc::new(bag_operation::BagOperations),
        Arc::new(exact_in::ExactIn),
    ];
    Analyzer::with_rules(rules)
});

/// Repeated until nothing changes.
static SHAPE: LazyLock<Optimizer> = LazyLock::new(|| {
    let rules: Vec<Rule> = vec![
        Arc::new(OptimizeUnions::new()),
        Arc::new(SimplifyExpressions::new()),
        Arc::new(ReplaceDistinctWithAggregate::new()),
        Arc::new(DecorrelatePredicateSubquery::new()),
        Arc::new(ScalarSubqueryToJoin::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(EliminateDuplicatedExpr::new()),
        Arc::new(EliminateFilter::new()),
        Arc::new(cross_join::CrossJoins::default()),
        Arc::new(EliminateLimit::new()),
        Arc::new(EliminateOuterJoin::new()),
        Arc::new(push_down::FilterPushDown::default()),
    ];
    Optimizer::with_rules(rules)
});

/// Once, when filters are where they belong.
static ORDER: LazyLock<Optimizer> =
    LazyLock::new(|| Optimizer::with_rules(vec![Arc::new(join_order::JoinOrder) as Rule]));

/// Columns, limits and shared expressions, repeated until nothing changes.
static PRUNE: LazyLock<Optimizer> = LazyLock::new(|| {
    let rules: Vec<Rule> = vec![
        Arc::new(PushDownLimit::new()),
        Arc::new(push_down::FilterPushDown::default()),
        Arc::new(CommonSubexprEliminate::new()),
        Arc::new(OptimizeProjections::new()),
    ];
    Optimizer::with_rules(rules)
});

/// Types checked and made equal, then rewritten.
pub(crate) fn optimize(plan: LogicalPlan, now_ms: Option<i64>) -> Result<LogicalPlan, DataFusionError> {
    refuse_merged_columns(&plan)?;
    refuse_distinct_on(&plan)?;
    let plan = ANALYZER.execute_and_check(plan, &CONFIG, |_, _| {})?;
    let context = OptimizerContext::new_with_config_options(Arc::clone(&CONFIG)).with_max_passes(3);
    let context = match now_ms.and_then(chrono::DateTime::from_timestamp_millis) {
        Some(now) => context.with_query_execution_start_time(now),
        None => context.without_query_execution_start_time(),
    };
    let plan = SHAPE.optimize(plan, &context, |_, _| {})?;
    let once = OptimizerContext::new_with_config_options(Arc::clone(&CONFIG)).with_max_passes(1);
    let plan = ORDER.optimize(plan, &once, |_, _| {})?;
    PRUNE.optimize(plan, &context, |_, _| {})
}

/// Refuses DISTINCT ON, which the rules would turn into an aggregate that they look for elsewhere.
fn refuse_distinct_on(plan: &LogicalPlan) -> Result<(), DataFusionError> {
    let check = |node: &LogicalPlan| {
        if matches!(node, LogicalPlan::Distinct(Distinct::On(_))) {
            let error = SqlError::unsupported("DISTINCT ON").about("DISTINCT");
            return Err(DataFusionError::External(Box::new(error)));
        }
        Ok(TreeNodeRecursion::Continue)
    };
    plan.apply_with_subqueries(check).map(|_| ())
}

/// Refuses RIGHT and FULL JOIN with USING or NATURAL: there a column of both sides has the value of either or of the right
/// one, and the binder takes the left.
fn refuse_merged_columns(plan: &LogicalPlan) -> Result<(), DataFusionError> {
    let check = |node: &LogicalPlan| {
        let LogicalPlan::Join(Join { join_type, join_constraint: JoinConstraint::Using, .. }) = node else {
            return Ok(TreeNodeRecursion::Continue);
        };
        let (word, hint) = match join_type {
            JoinType::Full => ("FULL", "write ON a.x = b.x, and coalesce(a.x, b.x) for the column"),
            JoinType::Right => ("RIGHT", "write ON a.x = b.x, and b.x for the column"),
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        let error = SqlError::unsupported(format!("{word} JOIN with USING")).about(word).with_hint(hint);
        Err(DataFusionError::External(Box::new(error)))
    };
    plan.apply_with_subqueries(check).map(|_| ())
}
