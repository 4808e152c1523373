//! `TUMBLE` as a relation of its own.
//!
//! `TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND [, offset])` adds `window_start`, `window_end` (excluded) and
//! `window_time` (one millisecond before the end) to the rows of `t`. It is an extension node, so that no rule of the
//! stock optimizer treats the added columns as expressions of a projection: filters on them stay above.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use arrow_schema::{DataType, Field, TimeUnit};
use datafusion_common::{Column, DFSchema, DFSchemaRef, DataFusionError, Result, ScalarValue};
use datafusion_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion_sql::sqlparser::ast::{
    self, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectName, TableAlias, TableFactor,
};

use super::{pivot, unnest};
use crate::error::SqlError;
use crate::parse::asof;
use crate::subject::Subject;

/// Names of the columns that a window adds.
pub(crate) const WINDOW_COLUMNS: [&str; 3] = ["window_start", "window_end", "window_time"];

/// Rows of the input with the bounds of their window.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct TumbleNode {
    pub(crate) input: LogicalPlan,
    /// The timestamp column of the input.
    pub(crate) time: Column,
    pub(crate) size_ms: i64,
    pub(crate) offset_ms: i64,
    schema: DFSchemaRef,
}

impl TumbleNode {
    pub(crate) fn new(input: LogicalPlan, time: Column, size_ms: i64, offset_ms: i64) -> Result<Self> {
        let zone = match input.schema().qualified_field_from_column(&time)?.1.data_type() {
            DataType::Timestamp(_, zone) => zone.clone(),
            other => {
                return Err(DataFusionError::from(
                    SqlError::invalid(format!("DESCRIPTOR names {}, which is {other} and not a TIMESTAMP", time.name))
                        .about_subject(Subject::After { word: "DESCRIPTOR", name: time.name.clone() }),
                ));
            }
        };
        let input_schema = input.schema();
        let mut fields: Vec<_> = input_schema.iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).collect();
        for name in WINDOW_COLUMNS {
            let data_type = DataType::Timestamp(TimeUnit::Millisecond, zone.clone());
            fields.push((None, Arc::new(Field::new(name, data_type, false))));
        }
        let schema = Arc::new(DFSchema::new_with_metadata(fields, input_schema.metadata().clone())?);
        Ok(Self { input, time, size_ms, offset_ms, schema })
    }
}

impl PartialOrd for TumbleNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self.size_ms, self.offset_ms).partial_cmp(&(other.size_ms, other.offset_ms))
    }
}

impl UserDefinedLogicalNodeCore for TumbleNode {
    fn name(&self) -> &str {
        "Tumble"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![Expr::Column(self.time.clone())]
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        // A filter on columns of the input drops the same rows below as above.
        WINDOW_COLUMNS.iter().map(|&name| name.to_owned()).collect()
    }

    fn fmt_for_explain(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tumble: time={} size={}ms offset={}ms", self.time, self.size_ms, self.offset_ms)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let time = match exprs.first() {
            Some(Expr::Column(column)) => column.clone(),
            _ => self.time.clone(),
        };
        let input = inputs.pop().ok_or_else(|| DataFusionError::Internal("a window has one input".to_owned()))?;
        Self::new(input, time, self.size_ms, self.offset_ms)
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let time = self.input.schema().maybe_index_of_column(&self.time)?;
        let width = self.input.schema().fields().len();
        let mut columns: Vec<usize> = output_columns.iter().copied().filter(|&c| c < width).chain([time]).collect();
        columns.sort_unstable();
        columns.dedup();
        Some(vec![columns])
    }
}

/// Plans table functions.
#[derive(Debug)]
pub(crate) struct WindowPlanner;

impl RelationPlanner for WindowPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        match relation {
            TableFactor::Table { ref name, ref alias, args: Some(ref args), .. } => {
                plan_function(name, args.args.clone(), alias.clone(), context)
            }
            TableFactor::Function { name, args, alias, .. } if name.to_string() == asof::MARKER => {
                let [FunctionArg::Unnamed(FunctionArgExpr::Expr(ast::Expr::Subquery(subquery)))] =
                    <[FunctionArg; 1]>::try_from(args).map_err(|_| wrong_side())?
                else {
                    return Err(wrong_side());
                };
                let rows = TableFactor::Derived { lateral: false, subquery, alias: None, sample: None };
                let plan = super::asof::side(context.plan(rows)?);
                Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
            }
            TableFactor::Pivot { .. } | TableFactor::Unpivot { .. } => pivot::plan(relation, context),
            TableFactor::Function { name, args, alias, .. } => plan_function(&name, args, alias, context),
            TableFactor::TableFunction { expr: ast::Expr::Function(function), alias } => {
                let FunctionArguments::List(list) = function.args else {
                    return Err(DataFusionError::from(SqlError::invalid(format!(
                        "{} needs arguments in parentheses",
                        function.name
                    ))));
                };
                plan_function(&function.name, list.args, alias, context)
            }
            factor @ TableFactor::UNNEST { .. } => unnest::planned(factor, context),
            TableFactor::MatchRecognize { .. } => {
                Err(DataFusionError::from(SqlError::unsupported("MATCH_RECOGNIZE").about("MATCH_RECOGNIZE")))
            }
            TableFactor::Table { version: Some(_), .. } => {
                Err(DataFusionError::from(SqlError::unsupported("FOR SYSTEM_TIME AS OF").about("SYSTEM_TIME")))
            }
            TableFactor::Table { sample: Some(_), .. } => {
                Err(DataFusionError::from(SqlError::unsupported("TABLESAMPLE").about("TABLESAMPLE")))
            }
            other => Ok(RelationPlanning::Original(Box::new(other))),
        }
    }
}

fn wrong_side() -> DataFusionError {
    DataFusionError::from(SqlError::invalid(format!("{} is not a table function", asof::MARKER)))
}

fn plan_function(
    name: &ObjectName,
    args: Vec<FunctionArg>,
    alias: Option<TableAlias>,
    context: &mut dyn RelationPlannerContext,
) -> Result<RelationPlanning> {
    let written = name.to_string();
    if !written.eq_ignore_ascii_case("tumble") {
        let known = ["hop", "cumulate", "session"];
        let error = if known.iter().any(|k| written.eq_ignore_ascii_case(k)) {
            SqlError::unsupported(format!("the table function {}", written.to_uppercase()))
        } else {
            SqlError::new(crate::error::SqlErrorKind::Unknown, format!("there is no table function {written:?}"))
                .with_hint("the table functions are TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND)")
        };
        return Err(DataFusionError::from(error.about(written)));
    }
    let usage = |message: String| {
        DataFusionError::from(
            SqlError::invalid(message)
                .about(written.clone())
                .with_hint("write TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND [, offset])"),
        )
    };
    let [mut data, mut time, mut size, mut offset] = [const { None::<ast::Expr> }; 4];
    for (position, arg) in args.into_iter().enumerate() {
        let (slot, value) = match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => (position, value),
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. } => {
                let slot = ["data", "timecol", "size", "offset"]
                    .iter()
                    .position(|known| name.value.eq_ignore_ascii_case(known))
                    .ok_or_else(|| usage(format!("TUMBLE has no argument {}", name.value)))?;
                (slot, value)
            }
            other => return Err(usage(format!("TUMBLE cannot take {other}"))),
        };
        match slot {
            0 => data = Some(value),
            1 => time = Some(value),
            2 => size = Some(value),
            3 => offset = Some(value),
            _ => return Err(usage("TUMBLE takes at most four arguments".to_owned())),
        }
    }
    let (Some(data), Some(time), Some(size)) = (data, time, size) else {
        return Err(usage("TUMBLE takes a table, a DESCRIPTOR and a size".to_owned()));
    };
    let input = context.plan(table_argument(data).map_err(&usage)?)?;
    let time = descriptor(time).map_err(&usage)?;
    let time = match context.sql_to_expr(ast::Expr::Identifier(time), input.schema())? {
        Expr::Column(column) => column,
        other => return Err(usage(format!("DESCRIPTOR takes a column, not {other}"))),
    };
    let mut millis = |expr: ast::Expr, what: &str| -> Result<i64> {
        let text = expr.to_string();
        match context.sql_to_expr(expr, &DFSchema::empty())? {
            Expr::Literal(value, _) => interval_millis(&value)
                .ok_or_else(|| usage(format!("the {what} of TUMBLE must be an interval of days or less, not {text}"))),
            _ => Err(usage(format!("the {what} of TUMBLE must be a constant interval, not {text}"))),
        }
    };
    let size_ms = millis(size, "size")?;
    let offset_ms = offset.map(|o| millis(o, "offset")).transpose()?.unwrap_or(0);
    if size_ms <= 0 {
        return Err(usage("the size of TUMBLE must be at least one millisecond".to_owned()));
    }
    if offset_ms.abs() >= size_ms {
        return Err(usage("the offset of TUMBLE must be smaller than its size".to_owned()));
    }
    let node = TumbleNode::new(input, time, size_ms, offset_ms)?;
    let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
    Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
}

fn table_argument(expr: ast::Expr) -> Result<TableFactor, String> {
    let table = |parts: Vec<ast::Ident>| TableFactor::Table {
        name: ObjectName::from(parts),
        alias: None,
        args: None,
        with_hints: Vec::new(),
        version: None,
        with_ordinality: false,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_hints: Vec::new(),
    };
    match expr {
        ast::Expr::Identifier(ident) => Ok(table(vec![ident])),
        ast::Expr::CompoundIdentifier(parts) => Ok(table(parts)),
        ast::Expr::Value(value) => match value.value {
            ast::Value::SingleQuotedString(path) => Ok(table(vec![ast::Ident::with_quote('\'', path)])),
            other => Err(format!("TUMBLE takes a table, not {other}")),
        },
        ast::Expr::Subquery(subquery) => {
            Ok(TableFactor::Derived { lateral: false, subquery, alias: None, sample: None })
        }
        other => Err(format!("TUMBLE takes a table, not {other}")),
    }
}

fn descriptor(expr: ast::Expr) -> Result<ast::Ident, String> {
    let wrong = || "the second argument of TUMBLE is DESCRIPTOR(column)".to_owned();
    let ast::Expr::Function(function) = expr else { return Err(wrong()) };
    if !function.name.to_string().eq_ignore_ascii_case("descriptor") {
        return Err(wrong());
    }
    let FunctionArguments::List(list) = function.args else { return Err(wrong()) };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(ast::Expr::Identifier(ident)))] => Ok(ident.clone()),
        _ => Err(wrong()),
    }
}

/// The length of an interval in milliseconds, rounded up; `None` if it has months or is too long.
pub(crate) fn interval_millis(value: &ScalarValue) -> Option<i64> {
    const DAY_MS: i64 = 86_400_000;
    match value {
        ScalarValue::IntervalMonthDayNano(Some(v)) if v.months == 0 => {
            let nanos = v.nanoseconds.div_euclid(1_000_000) + i64::from(v.nanoseconds.rem_euclid(1_000_000) != 0);
            i64::from(v.days).checked_mul(DAY_MS)?.checked_add(nanos)
        }
        ScalarValue::IntervalDayTime(Some(v)) => {
            i64::from(v.days).checked_mul(DAY_MS)?.checked_add(i64::from(v.milliseconds))
        }
        _ => None,
    }
}

/// The length of `INTERVAL '...' UNIT` in milliseconds, where it stands in a table definition.
pub(crate) fn constant_interval_millis(expr: &ast::Expr) -> Option<i64> {
    let ast::Expr::Interval(interval) = expr else { return None };
    let ast::Expr::Value(value) = &*interval.value else { return None };
    let text = match &value.value {
        ast::Value::SingleQuotedString(text) => text.clone(),
        ast::Value::Number(number, _) => number.clone(),
        _ => return None,
    };
    let text = match &interval.leading_field {
        Some(unit) => format!("{text} {unit}"),
        None => text,
    };
    let value =
        ScalarValue::Utf8(Some(text)).cast_to(&DataType::Interval(arrow_schema::IntervalUnit::MonthDayNano)).ok()?;
    interval_millis(&value)
}
