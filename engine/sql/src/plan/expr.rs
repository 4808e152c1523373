//! Expressions of the front-end library to the engine's.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use datafusion_common::{DFSchema, ScalarValue};
use datafusion_expr::expr::{AggregateFunction, ScalarFunction};
use datafusion_expr::{BinaryExpr, Expr as LogicalExpr, ExprSchemable, Operator};
use flumen_core::expr::{Expr, Literal, Value};
use flumen_core::types::LogicalType;

use crate::bind::arithmetic::ArithmeticFunction;
use crate::bind::rounding::RoundingCast;
use crate::bind::types::logical;
use crate::error::{Result, SqlError};
use crate::nested_functions::{FIELD, MAP_VALUE};
use crate::subject::Subject;
use crate::wording::sql_types;

/// Prefix of the library's functions in the engine's registry.
pub(crate) const FUNCTION_PREFIX: &str = "datafusion:";

/// The library's functions that the engine has of its own, where the arguments mean the same. CONCAT is not among them:
/// it leaves NULLs out, and the engine's `concat` is the operator `||`, which does not.
const BUILT_IN: &[(&str, &str)] = &[
    ("abs", "abs"),
    ("character_length", "length"),
    ("coalesce", "coalesce"),
    ("date_part", "date_part"),
    ("date_trunc", "date_trunc"),
    ("lower", "lower"),
    ("substr", "substring"),
    ("upper", "upper"),
];

/// Translates an expression over the columns of `schema`.
pub(crate) fn translate(expr: &LogicalExpr, schema: &DFSchema) -> Result<Expr> {
    match expr {
        LogicalExpr::Alias(alias) => translate(&alias.expr, schema),
        LogicalExpr::Column(column) => match schema.maybe_index_of_column(column) {
            Some(index) => Ok(Expr::Column(index)),
            None => Err(SqlError::internal(format!("column {column} is not in the plan below"))),
        },
        LogicalExpr::Literal(value, _) => Ok(Expr::Literal(literal(value)?)),
        LogicalExpr::BinaryExpr(binary) => translate_binary(binary, schema),
        LogicalExpr::Not(inner) => boolean("not", &[inner], schema),
        LogicalExpr::IsNull(inner) => boolean("is_null", &[inner], schema),
        LogicalExpr::IsNotNull(inner) => boolean("is_not_null", &[inner], schema),
        LogicalExpr::IsTrue(inner) => boolean("is_true", &[inner], schema),
        LogicalExpr::IsFalse(inner) => boolean("is_false", &[inner], schema),
        LogicalExpr::IsUnknown(inner) => boolean("is_null", &[inner], schema),
        LogicalExpr::IsNotTrue(inner) => Ok(not(boolean("is_true", &[inner], schema)?)),
        LogicalExpr::IsNotFalse(inner) => Ok(not(boolean("is_false", &[inner], schema)?)),
        LogicalExpr::IsNotUnknown(inner) => boolean("is_not_null", &[inner], schema),
        LogicalExpr::Negative(inner) => {
            let return_type = logical_type(inner, schema)?;
            Ok(Expr::call("negate", vec![translate(inner, schema)?], return_type))
        }
        LogicalExpr::Like(like) => {
            let function = match (like.case_insensitive, like.negated) {
                (false, false) => "like",
                (false, true) => "not_like",
                (true, false) => "ilike",
                (true, true) => "not_ilike",
            };
            let mut args = vec![translate(&like.expr, schema)?, translate(&like.pattern, schema)?];
            if let Some(escape) = like.escape_char {
                args.push(Expr::Literal(Literal::utf8(escape)));
            }
            Ok(Expr::call(function, args, LogicalType::Boolean))
        }
        LogicalExpr::SimilarTo(_) => Err(SqlError::unsupported("SIMILAR TO").about("SIMILAR")),
        LogicalExpr::Between(between) => {
            let (first, second, joined) = if between.negated { ("lt", "gt", "or") } else { ("ge", "le", "and") };
            let compared = |function: &str, bound: &LogicalExpr| -> Result<Expr> {
                let args = vec![translate(&between.expr, schema)?, translate(bound, schema)?];
                let args = in_one_width(args, &[&between.expr, bound], schema)?;
                Ok(Expr::call(function, args, LogicalType::Boolean))
            };
            let args = vec![compared(first, &between.low)?, compared(second, &between.high)?];
            Ok(Expr::call(joined, args, LogicalType::Boolean))
        }
        LogicalExpr::Case(case) => {
            let return_type = logical(&expr.get_type(schema).map_err(internal)?)?;
            let operand = case.expr.as_ref().map(|e| translate(e, schema)).transpose()?;
            let branches = case
                .when_then_expr
                .iter()
                .map(|(when, then)| {
                    let when = translate(when, schema)?;
                    let when = match &operand {
                        Some(operand) => Expr::call("eq", vec![operand.clone(), when], LogicalType::Boolean),
                        None => when,
                    };
                    Ok((when, typed(translate(then, schema)?, &logical_type(then, schema)?, &return_type)))
                })
                .collect::<Result<_>>()?;
            let otherwise = match &case.else_expr {
                Some(e) => Some(Box::new(typed(translate(e, schema)?, &logical_type(e, schema)?, &return_type))),
                None => None,
            };
            Ok(Expr::Case { branches, otherwise, return_type })
        }
        LogicalExpr::Cast(cast) => translate_cast(&cast.expr, cast.field.data_type(), false, schema),
        LogicalExpr::TryCast(cast) => translate_cast(&cast.expr, cast.field.data_type(), true, schema),
        LogicalExpr::ScalarFunction(function) => translate_function(function, expr, schema),
        LogicalExpr::InList(list) => {
            let input = translate(&list.expr, schema)?;
            let data_type = logical_type(&list.expr, schema)?;
            let items = list.list.iter().map(|item| translate(item, schema)).collect::<Result<Vec<_>>>()?;
            let constants = items.iter().map(|item| match item {
                // Nested values are compared one by one.
                _ if data_type.is_nested() => None,
                Expr::Literal(l) if l.data_type == data_type => Some(l.clone()),
                Expr::Literal(l) if l.value == Value::Null => Some(Literal::null(data_type.clone())),
                _ => None,
            });
            if let Some(list_of) = constants.collect::<Option<Vec<_>>>() {
                return Ok(Expr::InList { input: Box::new(input), list: list_of, negated: list.negated });
            }
            let equals = items
                .into_iter()
                .map(|item| Expr::call("eq", vec![input.clone(), item], LogicalType::Boolean))
                .collect();
            let any = n_ary("or", equals);
            Ok(if list.negated { not(any) } else { any })
        }
        LogicalExpr::AggregateFunction(AggregateFunction { func, .. }) => {
            Err(SqlError::invalid(format!("the aggregate {} cannot be used here", func.name())).about(func.name()))
        }
        LogicalExpr::WindowFunction(_) => Err(SqlError::invalid("a window function cannot be used here")
            .about_subject(Subject::WindowCall { after: "WHERE" })
            .with_hint("compute it in a subquery; QUALIFY is the condition on window functions")),
        LogicalExpr::Exists(_)
        | LogicalExpr::InSubquery(_)
        | LogicalExpr::ScalarSubquery(_)
        | LogicalExpr::SetComparison(_) => Err(SqlError::unsupported("this subquery")),
        LogicalExpr::OuterReferenceColumn(_, column) => {
            Err(SqlError::unsupported(format!("a subquery that refers to {column} of the query around it"))
                .about(column.name.clone()))
        }
        LogicalExpr::Placeholder(p) => {
            Err(SqlError::unsupported(format!("the parameter {}", p.id)).about(p.id.trim_start_matches([':', '@'])))
        }
        LogicalExpr::GroupingSet(_) => Err(SqlError::unsupported("GROUPING SETS, ROLLUP and CUBE")),
        other => Err(SqlError::unsupported(format!("the expression {other}"))),
    }
}

fn internal(error: datafusion_common::DataFusionError) -> SqlError {
    SqlError::internal(error.strip_backtrace())
}

/// The engine's type of an expression.
pub(crate) fn logical_type(expr: &LogicalExpr, schema: &DFSchema) -> Result<LogicalType> {
    logical(&expr.get_type(schema).map_err(internal)?)
}

fn boolean(function: &str, args: &[&LogicalExpr], schema: &DFSchema) -> Result<Expr> {
    let args = args.iter().map(|a| translate(a, schema)).collect::<Result<_>>()?;
    Ok(Expr::call(function, args, LogicalType::Boolean))
}

fn not(expr: Expr) -> Expr {
    Expr::call("not", vec![expr], LogicalType::Boolean)
}

/// One call of `and` or `or` for any number of conditions.
pub(crate) fn n_ary(function: &str, mut args: Vec<Expr>) -> Expr {
    match args.len() {
        0 => Expr::Literal(Literal::boolean(function == "and")),
        1 => args.swap_remove(0),
        _ => Expr::call(function, args, LogicalType::Boolean),
    }
}

/// `expr` as a value of `to`.
pub(crate) fn typed(expr: Expr, from: &LogicalType, to: &LogicalType) -> Expr {
    match expr {
        expr if from == to => expr,
        Expr::Literal(Literal { value: Value::Null, .. }) => Expr::Literal(Literal::null(to.clone())),
        expr => Expr::Cast { input: Box::new(expr), to: to.clone(), safe: false },
    }
}

/// Integers of several widths in the widest. The binder has seen to that where it put a comparison together; rules that put
/// one together later (of keys, or of a subquery's value) have not.
fn in_one_width(args: Vec<Expr>, exprs: &[&LogicalExpr], schema: &DFSchema) -> Result<Vec<Expr>> {
    let types = exprs.iter().map(|e| logical_type(e, schema)).collect::<Result<Vec<_>>>()?;
    let is_signed =
        |t: &LogicalType| matches!(t, LogicalType::Int8 | LogicalType::Int16 | LogicalType::Int32 | LogicalType::Int64);
    if !types.iter().all(is_signed) {
        return Ok(args);
    }
    let Some(widest) = types.iter().max_by_key(|t| t.fixed_width()) else { return Ok(args) };
    Ok(args.into_iter().zip(&types).map(|(arg, from)| typed(arg, from, widest)).collect())
}

fn translate_binary(binary: &BinaryExpr, schema: &DFSchema) -> Result<Expr> {
    let chain = |op: Operator, function: &str| {
        let mut args = Vec::new();
        let mut stack = vec![(&*binary.right, false), (&*binary.left, false)];
        while let Some((expr, _)) = stack.pop() {
            match expr {
                LogicalExpr::BinaryExpr(inner) if inner.op == op => {
                    stack.push((&inner.right, false));
                    stack.push((&inner.left, false));
                }
                other => args.push(translate(other, schema)?),
            }
        }
        Ok(n_ary(function, args))
    };
    let function = match binary.op {
        Operator::And => return chain(Operator::And, "and"),
        Operator::Or => return chain(Operator::Or, "or"),
        Operator::Eq => "eq",
        Operator::NotEq => "ne",
        Operator::Lt => "lt",
        Operator::LtEq => "le",
        Operator::Gt => "gt",
        Operator::GtEq => "ge",
        Operator::IsDistinctFrom => "is_distinct_from",
        Operator::IsNotDistinctFrom => "is_not_distinct_from",
        Operator::LikeMatch => "like",
        Operator::NotLikeMatch => "not_like",
        Operator::ILikeMatch => "ilike",
        Operator::NotILikeMatch => "not_ilike",
        Operator::Plus => "add",
        Operator::Minus => "subtract",
        Operator::Multiply => "multiply",
        Operator::Divide => "divide",
        Operator::Modulo => "modulo",
        Operator::StringConcat => "concat",
        other => return Err(SqlError::unsupported(format!("the operator {other}"))),
    };
    let mut args = vec![translate(&binary.left, schema)?, translate(&binary.right, schema)?];
    if binary.op.supports_propagation() {
        args = in_one_width(args, &[&binary.left, &binary.right], schema)?;
    }
    let return_type = match binary.op {
        op if op.is_numerical_operators() || op == Operator::StringConcat => {
            let whole = LogicalExpr::BinaryExpr(binary.clone());
            logical(&whole.get_type(schema).map_err(internal)?)?
        }
        _ => LogicalType::Boolean,
    };
    Ok(Expr::call(function, args, return_type))
}

fn translate_cast(inner: &LogicalExpr, to: &DataType, safe: bool, schema: &DFSchema) -> Result<Expr> {
    let to = logical(to)?;
    let from = logical_type(inner, schema)?;
    let input = translate(inner, schema)?;
    if from == to {
        return Ok(input);
    }
    Ok(Expr::Cast { input: Box::new(input), to, safe })
}

fn translate_function(function: &ScalarFunction, whole: &LogicalExpr, schema: &DFSchema) -> Result<Expr> {
    let inner: &dyn std::any::Any = function.func.inner().as_ref();
    if let (Some(cast), [input]) = (inner.downcast_ref::<RoundingCast>(), function.args.as_slice()) {
        return translate_cast(input, &cast.to, cast.safe, schema);
    }
    if function.func.name() == "get_field" {
        return translate_part(function, schema);
    }
    let args = function.args.iter().map(|a| translate(a, schema)).collect::<Result<Vec<_>>>()?;
    let return_type = logical(&whole.get_type(schema).map_err(internal)?)?;
    if let Some(arithmetic) = inner.downcast_ref::<ArithmeticFunction>() {
        return Ok(Expr::call(arithmetic.op.name(), args, return_type));
    }
    let name = function.func.name();
    // The library compares by bits, and -0.0 is 0.0 here.
    if let ("nullif", [value, other]) = (name, args.as_slice())
        && logical_type(&function.args[0], schema)? == logical_type(&function.args[1], schema)?
        && logical_type(&function.args[0], schema)? == return_type
    {
        let equal = Expr::call("eq", vec![value.clone(), other.clone()], LogicalType::Boolean);
        let null = Expr::Literal(Literal::null(return_type.clone()));
        return Ok(Expr::Case { branches: vec![(equal, null)], otherwise: Some(Box::new(value.clone())), return_type });
    }
    match BUILT_IN.iter().find(|(theirs, _)| *theirs == name) {
        Some((_, ours)) => Ok(Expr::call(*ours, args, return_type)),
        None => Ok(Expr::call(format!("{FUNCTION_PREFIX}{name}"), args, return_type)),
    }
}

/// `get_field(value, name, name, ...)`: a part of a struct by its position, a value of a map by its key.
fn translate_part(function: &ScalarFunction, schema: &DFSchema) -> Result<Expr> {
    let Some((base, path)) = function.args.split_first() else {
        return Err(SqlError::invalid("get_field takes a value and the name of a field").about("get_field"));
    };
    let mut value = translate(base, schema)?;
    let mut data_type = logical_type(base, schema)?;
    for step in path {
        (value, data_type) = match data_type {
            LogicalType::Struct(fields) => {
                let LogicalExpr::Literal(name, _) = step else {
                    return Err(SqlError::invalid("a field of a struct is named by a constant").about("get_field"));
                };
                let name = name.try_as_str().flatten().unwrap_or_default();
                let found = fields.iter().position(|field| field.name == name);
                let Some(position) = found else {
                    return Err(SqlError::invalid(format!("the struct has no field {name:?}")).about(name));
                };
                let part = fields[position].data_type.clone();
                let position = Expr::Literal(Literal::int64(i64::try_from(position).unwrap_or(i64::MAX)));
                (Expr::call(FIELD, vec![value, position], part.clone()), part)
            }
            LogicalType::Map { key, value: values } => {
                let asked = typed(translate(step, schema)?, &logical_type(step, schema)?, &key.data_type);
                let found = values.data_type.clone();
                (Expr::call(MAP_VALUE, vec![value, asked], found.clone()), found)
            }
            LogicalType::Null => (Expr::Literal(Literal::null(LogicalType::Null)), LogicalType::Null),
            other => return Err(SqlError::invalid(format!("a value of type {other} has no fields")).about("get_field")),
        };
    }
    Ok(value)
}

/// The value of a row of an array.
fn value_at(array: &ArrayRef, row: usize) -> Result<Value> {
    let items = |items: &ArrayRef| (0..items.len()).map(|item| value_at(items, item)).collect::<Result<_>>();
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match array.data_type() {
        DataType::List(_) => Value::List(items(&array.as_list::<i32>().value(row))?),
        DataType::LargeList(_) => Value::List(items(&array.as_list::<i64>().value(row))?),
        DataType::FixedSizeList(..) => Value::List(items(&array.as_fixed_size_list().value(row))?),
        DataType::Map(..) => {
            let entries: ArrayRef = Arc::new(array.as_map().value(row));
            Value::List(items(&entries)?)
        }
        DataType::Struct(_) => {
            let parts = array.as_struct().columns().iter().map(|part| value_at(part, row));
            Value::Struct(parts.collect::<Result<_>>()?)
        }
        _ => literal(&ScalarValue::try_from_array(array, row).map_err(internal)?)?.value,
    })
}

/// A constant.
pub(crate) fn literal(value: &ScalarValue) -> Result<Literal> {
    let data_type = logical(&value.data_type())?;
    if value.is_null() {
        return Ok(Literal::null(data_type));
    }
    let int = |v: i128| Value::Int(v);
    let value = match value {
        ScalarValue::Boolean(Some(v)) => Value::Boolean(*v),
        ScalarValue::Int8(Some(v)) => int(i128::from(*v)),
        ScalarValue::Int16(Some(v)) => int(i128::from(*v)),
        ScalarValue::Int32(Some(v)) => int(i128::from(*v)),
        ScalarValue::Int64(Some(v)) => int(i128::from(*v)),
        ScalarValue::UInt8(Some(v)) => int(i128::from(*v)),
        ScalarValue::UInt16(Some(v)) => int(i128::from(*v)),
        ScalarValue::UInt32(Some(v)) => int(i128::from(*v)),
        ScalarValue::UInt64(Some(v)) => int(i128::from(*v)),
        ScalarValue::Float32(Some(v)) => Value::FloatBits(f64::from(*v).to_bits()),
        ScalarValue::Float64(Some(v)) => Value::FloatBits(v.to_bits()),
        ScalarValue::Decimal32(Some(v), ..) => int(i128::from(*v)),
        ScalarValue::Decimal64(Some(v), ..) => int(i128::from(*v)),
        ScalarValue::Decimal128(Some(v), ..) => int(*v),
        ScalarValue::Utf8(Some(v)) | ScalarValue::Utf8View(Some(v)) | ScalarValue::LargeUtf8(Some(v)) => {
            Value::Utf8(v.clone())
        }
        ScalarValue::Binary(Some(v)) | ScalarValue::BinaryView(Some(v)) | ScalarValue::LargeBinary(Some(v)) => {
            Value::Binary(v.clone())
        }
        ScalarValue::Date32(Some(v)) | ScalarValue::Time32Second(Some(v)) | ScalarValue::Time32Millisecond(Some(v)) => {
            int(i128::from(*v))
        }
        ScalarValue::Time64Microsecond(Some(v))
        | ScalarValue::Time64Nanosecond(Some(v))
        | ScalarValue::TimestampSecond(Some(v), _)
        | ScalarValue::TimestampMillisecond(Some(v), _)
        | ScalarValue::TimestampMicrosecond(Some(v), _)
        | ScalarValue::TimestampNanosecond(Some(v), _)
        | ScalarValue::DurationSecond(Some(v))
        | ScalarValue::DurationMillisecond(Some(v))
        | ScalarValue::DurationMicrosecond(Some(v))
        | ScalarValue::DurationNanosecond(Some(v)) => int(i128::from(*v)),
        ScalarValue::IntervalMonthDayNano(Some(v)) => {
            Value::Interval { months: v.months, days: v.days, nanos: v.nanoseconds }
        }
        ScalarValue::IntervalYearMonth(Some(v)) => Value::Interval { months: *v, days: 0, nanos: 0 },
        ScalarValue::IntervalDayTime(Some(v)) => {
            Value::Interval { months: 0, days: v.days, nanos: i64::from(v.milliseconds) * 1_000_000 }
        }
        nested if data_type.is_nested() => value_at(&nested.to_array_of_size(1).map_err(internal)?, 0)?,
        other => {
            let data_type = sql_types(&other.data_type().to_string());
            let error = SqlError::unsupported(format!("constants of type {data_type}"));
            return Err(match data_type.starts_with("DECIMAL") {
                true => error.with_hint("a DECIMAL has up to 38 digits; write 1e40 for a DOUBLE"),
                false => error,
            });
        }
    };
    Ok(Literal { value, data_type })
}
