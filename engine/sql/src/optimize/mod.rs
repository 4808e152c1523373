//! The rules that a bound plan goes through, as an explicit list.
//!
//! Only rules whose effect is understood are here: a rule that is right for tables may be wrong for streams (it may
//! push a filter below a window, or prune what a watermark needs), so none comes in by default.

pub(crate) mod bag_operation;
mod cross_join;
mod distinct_on;
mod equijoin;
pub(crate) mod estimate;
mod exact_in;
pub(crate) mod grouping;
mod join_order;
mod lateral_unnest;
mod merged_columns;
mod ordered_set;
mod push_down;
pub(crate) mod shared;
mod subquery;

use std::sync::{Arc, LazyLock};

use datafusion_common::{DataFusionError, Result};
use datafusion_expr::LogicalPlan;
use datafusion_optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion_optimizer::analyzer::{Analyzer, AnalyzerRule};
use datafusion_optimizer::common_subexpr_eliminate::CommonSubexprEliminate;
use datafusion_optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion_optimizer::eliminate_filter::EliminateFilter;
use datafusion_optimizer::eliminate_limit::EliminateLimit;
use datafusion_optimizer::eliminate_outer_join::EliminateOuterJoin;
use datafusion_optimizer::optimize_projections::OptimizeProjections;
use datafusion_optimizer::optimize_unions::OptimizeUnions;
use datafusion_optimizer::push_down_limit::PushDownLimit;
use datafusion_optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion_optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin;
use datafusion_optimizer::simplify_expressions::SimplifyExpressions;
use datafusion_optimizer::{Optimizer, OptimizerContext, OptimizerRule};

use crate::bind::typing::EngineTypes;
use crate::bind::{CONFIG, asof, named_cast};

type Rule = Arc<dyn OptimizerRule + Send + Sync>;

static ANALYZER: LazyLock<Analyzer> = LazyLock::new(|| {
    let rules: Vec<Arc<dyn AnalyzerRule + Send + Sync>> = vec![
        Arc::new(grouping::GroupingFunctions),
        Arc::new(ordered_set::OrderedSets),
        Arc::new(EngineTypes),
        Arc::new(TypeCoercion::new()),
        Arc::new(bag_operation::BagOperations),
        Arc::new(exact_in::ExactIn),
        Arc::new(subquery::Subqueries),
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
        Arc::new(equijoin::EquijoinKeys::default()),
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
    let plan = named_cast::rewrite(plan)?;
    let plan = asof::rewrite(plan)?;
    let plan = merged_columns::rewrite(plan)?;
    let plan = distinct_on::rewrite(plan)?;
    let plan = lateral_unnest::rewrite(plan)?;
    let plan = ANALYZER.execute_and_check(plan, &CONFIG, |_, _| {})?;
    let context = OptimizerContext::new_with_config_options(Arc::clone(&CONFIG)).with_max_passes(3);
    let context = match now_ms.and_then(chrono::DateTime::from_timestamp_millis) {
        Some(now) => context.with_query_execution_start_time(now),
        None => context.without_query_execution_start_time(),
    };
    let mut plan = SHAPE.optimize(plan, &context, |_, _| {})?;
    let rest = subquery::decorrelate_rest(plan)?;
    plan = if rest.transformed { SHAPE.optimize(rest.data, &context, |_, _| {})? } else { rest.data };
    let once = OptimizerContext::new_with_config_options(Arc::clone(&CONFIG)).with_max_passes(1);
    let plan = ORDER.optimize(plan, &once, |_, _| {})?;
    shared::share(plan, |plan| PRUNE.optimize(plan, &context, |_, _| {}))
}
