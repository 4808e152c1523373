//! The analyzer rule that gives expressions the engine's types, before the binder's own coercion runs.
//!
//! Integer constants that fit are INTEGER (as in PostgreSQL and Flink), and arithmetic on numbers becomes the functions
//! of [`super::arithmetic`] with operands cast to what they take. A constant beside a decimal becomes the shortest
//! decimal, so that `1 - discount` does not grow by the digits of a BIGINT.

use std::sync::Arc;

use arrow_schema::{DataType, FieldRef};
use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, DataFusionError, Result, ScalarValue, TableReference, plan_err};
use datafusion_expr::expr::{ScalarFunction, WindowFunctionParams};
use datafusion_expr::expr_rewriter::{NamePreserver, coerce_plan_expr_for_schema};
use datafusion_expr::type_coercion::other::get_coerce_type_for_case_expression;
use datafusion_expr::utils::merge_schema;
use datafusion_expr::{
    BinaryExpr, Cast, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator, ScalarUDF, Union,
    WindowFrameBound, WindowFrameUnits, lit,
};
use datafusion_optimizer::analyzer::AnalyzerRule;
use datafusion_optimizer::analyzer::type_coercion::coerce_union_schema;

use super::arithmetic::{Arithmetic, integer_as_decimal, numeric_types};
use super::nested;
use super::own_functions::{self, BIT_NOT, INTEGER_DIVIDE};
use super::rounding::rounding_cast;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct EngineTypes;

impl AnalyzerRule for EngineTypes {
    fn name(&self) -> &str {
        "engine_types"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(rewrite_node).map(|t| t.data)
    }
}

fn rewrite_node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    // Limits are counted in 64 bits.
    if matches!(plan, LogicalPlan::Limit(_)) {
        return plan.recompute_schema().map(Transformed::yes);
    }
    // The binder has given every row of VALUES the column's type, so columns are narrowed as a whole.
    let plan = match plan {
        LogicalPlan::Values(mut values) => {
            (0..values.schema.fields().len()).for_each(|column| narrow_column(&mut values.values, column));
            for expr in values.values.iter_mut().flatten() {
                // Constants inside of lists, structs and maps.
                if !matches!(expr, Expr::Literal(..)) && expr.get_type(&DFSchema::empty())?.is_nested() {
                    let narrowed = expr.clone().transform_up(|e| match e {
                        Expr::Literal(..) => rewrite_expr(e, &DFSchema::empty()),
                        other => Ok(Transformed::no(other)),
                    })?;
                    *expr = narrowed.data;
                }
            }
            return LogicalPlanBuilder::values(values.values)?.build().map(Transformed::yes);
        }
        LogicalPlan::Union(union) => return with_common_types(union).map(|u| Transformed::yes(LogicalPlan::Union(u))),
        other => other,
    };
    let mut schema = merge_schema(&plan.inputs());
    if let LogicalPlan::TableScan(scan) = &plan {
        schema.merge(&DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())?);
    }
    let names = NamePreserver::new(&plan);
    let plan = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let rewritten = expr.transform_up(|e| rewrite_expr(e, &schema))?;
        Ok(rewritten.update_data(|e| name.restore(e)))
    })?;
    plan.data.recompute_schema().map(Transformed::yes)
}

/// A UNION whose sides have the types of its columns. The binder gives it those of the first side, and arithmetic above it
/// is chosen by them. Types that do not go together are left for the binder to refuse.
fn with_common_types(union: Union) -> Result<Union> {
    let Ok(common) = coerce_union_schema(&union.inputs) else { return Ok(union) };
    let field = |((table, field), common): ((Option<&TableReference>, &FieldRef), &FieldRef)| {
        let field = field.as_ref().clone().with_data_type(common.data_type().clone());
        (table.cloned(), Arc::new(field.with_nullable(common.is_nullable())))
    };
    let fields = union.schema.iter().zip(common.fields()).map(field).collect();
    let schema = Arc::new(DFSchema::new_with_metadata(fields, union.schema.metadata().clone())?);
    let cast = |input| coerce_plan_expr_for_schema(Arc::unwrap_or_clone(input), &schema).map(Arc::new);
    let inputs = union.inputs.into_iter().map(cast).collect::<Result<_>>()?;
    Ok(Union { inputs, schema })
}

/// Makes a column of BIGINT constants INTEGER if all of them fit.
fn narrow_column(rows: &mut [Vec<Expr>], column: usize) {
    let narrowed = |expr: &Expr| match expr {
        Expr::Literal(ScalarValue::Int64(Some(value)), metadata) => {
            let small = i32::try_from(*value).ok()?;
            Some(Expr::Literal(ScalarValue::Int32(Some(small)), metadata.clone()))
        }
        Expr::Literal(ScalarValue::Int64(None), metadata) => {
            Some(Expr::Literal(ScalarValue::Int32(None), metadata.clone()))
        }
        // A NULL beside them has been cast to their type.
        Expr::Cast(cast) if *cast.field.data_type() == DataType::Int64 => match &*cast.expr {
            Expr::Literal(ScalarValue::Null, metadata) => {
                Some(Expr::Literal(ScalarValue::Int32(None), metadata.clone()))
            }
            _ => None,
        },
        _ => None,
    };
    let has_constant = rows.iter().any(|row| matches!(row[column], Expr::Literal(ScalarValue::Int64(Some(_)), _)));
    let all: Option<Vec<Expr>> = rows.iter().map(|row| narrowed(&row[column])).collect();
    if let (true, Some(all)) = (has_constant, all) {
        for (row, expr) in rows.iter_mut().zip(all) {
            row[column] = expr;
        }
    }
}

fn rewrite_expr(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(value)), metadata) => match i32::try_from(value) {
            Ok(small) => Ok(Transformed::yes(Expr::Literal(ScalarValue::Int32(Some(small)), metadata))),
            Err(_) => Ok(Transformed::no(Expr::Literal(ScalarValue::Int64(Some(value)), metadata))),
        },
        Expr::BinaryExpr(BinaryExpr { mut left, op, mut right }) => {
            let Some(arithmetic) = Arithmetic::of(op) else {
                if let Some(func) = own_functions::of_operator(op) {
                    return on_bits(func, vec![*left, *right], schema);
                }
                if let Some((ignores_case, is_negated)) = pattern(op) {
                    let mut args = vec![*left, *right];
                    args.extend(ignores_case.then(|| lit("i")));
                    let func = datafusion_functions::regex::regexp_like();
                    let found = Expr::ScalarFunction(ScalarFunction { func, args });
                    return Ok(Transformed::yes(if is_negated { !found } else { found }));
                }
                check_comparison(&left, op, &right, schema)?;
                return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })));
            };
            let (left_type, right_type) = (left.get_type(schema)?, right.get_type(schema)?);
            // A constant integer beside a decimal is as short as it can be.
            if left_type.is_decimal() && right_type.is_integer() {
                shorten(&mut right);
            } else if right_type.is_decimal() && left_type.is_integer() {
                shorten(&mut left);
            }
            let types = numeric_types(arithmetic, &left.get_type(schema)?, &right.get_type(schema)?);
            let Some((to_left, to_right, _)) = types else {
                return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })));
            };
            let args = vec![cast_to(*left, to_left, schema)?, cast_to(*right, to_right, schema)?];
            Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction { func: arithmetic.function(), args })))
        }
        Expr::Case(mut case) => {
            // Arithmetic around it is chosen by its type, which is that of all branches and not of the first.
            let type_of = |value: &Expr| value.get_type(schema);
            let types = case.when_then_expr.iter().map(|(_, v)| type_of(v)).collect::<Result<Vec<_>>>()?;
            let otherwise = case.else_expr.as_deref().map(type_of).transpose()?;
            let common = get_coerce_type_for_case_expression(&types, otherwise.as_ref());
            let Some(common) = common.filter(|common| types.iter().chain(&otherwise).any(|t| t != common)) else {
                return Ok(Transformed::no(Expr::Case(case)));
            };
            let values = case.when_then_expr.iter_mut().map(|(_, value)| value).chain(&mut case.else_expr);
            for value in values {
                **value = cast_to((**value).clone(), common.clone(), schema)?;
            }
            Ok(Transformed::yes(Expr::Case(case)))
        }
        Expr::Between(between) => {
            check_comparison(&between.expr, Operator::GtEq, &between.low, schema)?;
            check_comparison(&between.expr, Operator::LtEq, &between.high, schema)?;
            Ok(Transformed::no(Expr::Between(between)))
        }
        Expr::InList(list) => {
            list.list.iter().try_for_each(|item| check_comparison(&list.expr, Operator::Eq, item, schema))?;
            Ok(Transformed::no(Expr::InList(list)))
        }
        Expr::Cast(cast) => {
            let from = cast.expr.get_type(schema)?;
            match rounding_cast(&cast.expr, &from, cast.field.data_type(), false) {
                Some(call) => Ok(Transformed::yes(call)),
                None => Ok(Transformed::no(Expr::Cast(cast))),
            }
        }
        Expr::TryCast(cast) => {
            let from = cast.expr.get_type(schema)?;
            match rounding_cast(&cast.expr, &from, cast.field.data_type(), true) {
                Some(call) => Ok(Transformed::yes(call)),
                None => Ok(Transformed::no(Expr::TryCast(cast))),
            }
        }
        Expr::ScalarFunction(call) if call.func.name() == INTEGER_DIVIDE => {
            // Checks the types.
            Expr::ScalarFunction(call.clone()).get_type(schema)?;
            let [left, right] = <[Expr; 2]>::try_from(call.args).map_err(|_| wrong_arguments())?;
            let (left, right) = (Box::new(left), Box::new(right));
            rewrite_expr(Expr::BinaryExpr(BinaryExpr { left, op: Operator::Divide, right }), schema)
        }
        Expr::ScalarFunction(call) if ["xor", BIT_NOT].contains(&call.func.name()) => {
            on_bits(call.func, call.args, schema)
        }
        Expr::ScalarFunction(mut call) if matches!(call.func.name(), "ceil" | "floor" | "round") => {
            // 9.99 rounds to 10.00, which has a digit more.
            let Some(value) = call.args.first_mut() else { return Ok(Transformed::no(Expr::ScalarFunction(call))) };
            match value.get_type(schema)? {
                DataType::Decimal128(digits, scale) if scale > 0 && digits < 38 => {
                    *value = cast_to(value.clone(), DataType::Decimal128(digits + 1, scale), schema)?;
                    Ok(Transformed::yes(Expr::ScalarFunction(call)))
                }
                _ => Ok(Transformed::no(Expr::ScalarFunction(call))),
            }
        }
        Expr::ScalarFunction(call) => nested::rewritten(call, schema),
        Expr::WindowFunction(mut function) => {
            rewrite_frame(&mut function.params, schema)?;
            Ok(Transformed::yes(Expr::WindowFunction(function)))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// Of `~` and its kin: whether case is ignored, and whether it is negated.
fn pattern(op: Operator) -> Option<(bool, bool)> {
    match op {
        Operator::RegexMatch => Some((false, false)),
        Operator::RegexIMatch => Some((true, false)),
        Operator::RegexNotMatch => Some((false, true)),
        Operator::RegexNotIMatch => Some((true, true)),
        _ => None,
    }
}

fn wrong_arguments() -> DataFusionError {
    DataFusionError::Internal("// has two arguments".to_owned())
}

/// A function on bits with its arguments in one type.
fn on_bits(func: Arc<ScalarUDF>, args: Vec<Expr>, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let types = args.iter().map(|arg| arg.get_type(schema)).collect::<Result<Vec<_>>>()?;
    let types = func.coerce_types(&types)?;
    let args = args.into_iter().zip(types).map(|(arg, to)| cast_to(arg, to, schema)).collect::<Result<_>>()?;
    Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction { func, args })))
}

/// Refuses to compare a date with a number, which the binder would take for days since 1970.
fn check_comparison(left: &Expr, op: Operator, right: &Expr, schema: &DFSchema) -> Result<()> {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    if !matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom) {
        return Ok(());
    }
    let (left, right) = (left.get_type(schema)?, right.get_type(schema)?);
    let is_date = |data_type: &DataType| matches!(data_type, DataType::Date32 | DataType::Date64);
    if is_date(&left) && right.is_numeric() || left.is_numeric() && is_date(&right) {
        return plan_err!("Cannot infer common argument type for comparison operation {left} {op} {right}");
    }
    Ok(())
}

/// A frame of ranges without offsets is one of groups, and good for keys of every type. Offsets are still text here; the
/// binder would round one that has more digits than the key, and take a bare number for some unit of time.
fn rewrite_frame(params: &mut WindowFunctionParams, schema: &DFSchema) -> Result<()> {
    let frame = &mut params.window_frame;
    if frame.units != WindowFrameUnits::Range {
        return Ok(());
    }
    let text = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::Preceding(ScalarValue::Utf8(Some(text)))
        | WindowFrameBound::Following(ScalarValue::Utf8(Some(text))) => Some(text.clone()),
        _ => None,
    };
    let offsets: Vec<String> = [&frame.start_bound, &frame.end_bound].into_iter().filter_map(text).collect();
    if offsets.is_empty() {
        frame.units = WindowFrameUnits::Groups;
        return Ok(());
    }
    let Some(key) = params.order_by.first() else { return Ok(()) };
    let key = key.expr.get_type(schema)?;
    for offset in &offsets {
        let digits = offset.split_once('.').map_or(0, |(_, fraction)| fraction.trim_end_matches('0').len());
        match &key {
            DataType::Decimal128(_, scale) if digits as i64 > i64::from(*scale) => {
                return plan_err!("the offset {offset} of RANGE has more digits than its key, {key}");
            }
            time if time.is_temporal() && offset.trim().parse::<f64>().is_ok() => {
                return plan_err!("the offset {offset} of RANGE has no unit of time");
            }
            _ => {}
        }
    }
    Ok(())
}

fn shorten(expr: &mut Expr) {
    if let Expr::Literal(value, _) = expr
        && let Some(decimal) = integer_as_decimal(value)
    {
        *value = decimal;
    }
}

fn cast_to(expr: Expr, data_type: DataType, schema: &DFSchema) -> Result<Expr> {
    if expr.get_type(schema)? == data_type {
        return Ok(expr);
    }
    if let Expr::Literal(value, metadata) = &expr {
        // Widening a constant is certain; anything else is left to the engine.
        if let Ok(value) = value.cast_to(&data_type) {
            return Ok(Expr::Literal(value, metadata.clone()));
        }
    }
    Ok(Expr::Cast(Cast::new(Box::new(expr), data_type)))
}
