//! Lists, structs and maps in expressions: parts by name and by position, and functions with limits of their own.
//!
//! `s.a`, `s['a']` and `m['key']` become the library's `get_field`, `l[1]` its `array_element` and `l[1:2]` its
//! `array_slice`. Names of a struct's parts are found in any case; the call has the name as the type has it.

use std::sync::{Arc, LazyLock};

use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, ListArray};
use arrow_schema::{DataType, Field};
use datafusion_common::tree_node::Transformed;
use datafusion_common::{DFSchema, DataFusionError, Result, exec_err, plan_err};
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::planner::{PlannerResult, RawFieldAccessExpr};
use datafusion_expr::{
    ColumnarValue, Expr, ExprSchemable, GetFieldAccess, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility, cast, lit,
};

use super::functions;
use crate::error::{SqlError, SqlErrorKind, did_you_mean, nearest};

/// The function whose lists number the items of others: what `WITH ORDINALITY` unnests beside them.
pub(crate) const ORDINALITY: &str = "__ordinality";

fn call(name: &str, args: Vec<Expr>) -> Result<Expr> {
    match functions::function(name) {
        Some(function) => Ok(Expr::ScalarFunction(ScalarFunction::new_udf(function, args))),
        None => plan_err!("there is no function {name}"),
    }
}

/// The part of a value that has a name, or the value of a map's key.
fn part(value: Expr, data_type: &DataType, name: &str) -> Result<(Expr, DataType)> {
    match data_type {
        DataType::Struct(fields) => {
            let exact = fields.iter().find(|field| field.name() == name);
            let Some(field) = exact.or_else(|| fields.iter().find(|field| field.name().eq_ignore_ascii_case(name)))
            else {
                let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
                let error =
                    SqlError::new(SqlErrorKind::Unknown, format!("the struct has no field {name:?}")).about(name);
                let hint = did_you_mean(&nearest(name, names.iter().copied()));
                let hint = hint.unwrap_or_else(|| format!("its fields are {}", names.join(", ")));
                return Err(error.with_hint(hint).into());
            };
            Ok((call("get_field", vec![value, lit(field.name().as_str())])?, field.data_type().clone()))
        }
        DataType::Map(entries, _) => {
            let DataType::Struct(fields) = entries.data_type() else { return plan_err!("a map has entries") };
            let [key_field, value_field] = fields.as_ref() else { return plan_err!("a map has keys and values") };
            let key = match key_field.data_type() {
                text if text.is_string() => lit(name),
                other => cast(lit(name), other.clone()),
            };
            Ok((call("get_field", vec![value, key])?, value_field.data_type().clone()))
        }
        other => {
            let shown = crate::wording::sql_types(&other.to_string());
            let error = SqlError::invalid(format!("a value of type {shown} has no field {name:?}")).about(name);
            Err(error.with_hint("structs have fields; a table's name goes before a dot, too").into())
        }
    }
}

/// `value['a']`, `value[1]`, `value[1:2]`.
pub(super) fn field_access(raw: RawFieldAccessExpr, schema: &DFSchema) -> Result<PlannerResult<RawFieldAccessExpr>> {
    let RawFieldAccessExpr { expr, field_access } = raw;
    let data_type = expr.get_type(schema)?;
    let planned = match field_access {
        GetFieldAccess::NamedStructField { name } => match name.try_as_str().flatten() {
            Some(name) => part(expr, &data_type, name)?.0,
            None => return plan_err!("the name of a field is text"),
        },
        GetFieldAccess::ListIndex { key } => match &data_type {
            DataType::Map(entries, _) => {
                let DataType::Struct(fields) = entries.data_type() else { return plan_err!("a map has entries") };
                let key_type = fields.first().map_or(DataType::Null, |field| field.data_type().clone());
                let key = if key.get_type(schema)? == key_type { *key } else { cast(*key, key_type) };
                call("get_field", vec![expr, key])?
            }
            DataType::Struct(fields) => match key.as_ref() {
                // By position, from 1, for parts that have no name of their own.
                Expr::Literal(number, _) => {
                    let position = i64::try_from(number.clone()).ok().and_then(|n| usize::try_from(n).ok());
                    let field = position.and_then(|n| n.checked_sub(1)).and_then(|n| fields.get(n));
                    match field {
                        Some(field) => part(expr, &data_type, &field.name().clone())?.0,
                        None => return plan_err!("the struct has fields 1 to {}", fields.len()),
                    }
                }
                _ => return plan_err!("a field of a struct is named by a constant"),
            },
            _ => call("array_element", vec![expr, *key])?,
        },
        GetFieldAccess::ListRange { start, stop, stride } => call("array_slice", vec![expr, *start, *stop, *stride])?,
    };
    Ok(PlannerResult::Planned(planned))
}

/// `column.a.b`.
pub(super) fn path(value: Expr, data_type: &DataType, names: &[String]) -> Result<PlannerResult<Vec<Expr>>> {
    let mut found = (value, data_type.clone());
    for name in names {
        found = part(found.0, &found.1, name)?;
    }
    Ok(PlannerResult::Planned(found.0))
}

/// Functions whose results may be large however short their arguments are. They are not computed while a statement is
/// planned, so that a plan stays small.
const LATE: [&str; 4] = ["range", "generate_series", "array_repeat", "array_resize"];

/// The function as statements call it.
pub(super) fn as_called(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    if !LATE.contains(&function.name()) {
        return function;
    }
    let mut signature = function.signature().clone();
    signature.volatility = Volatility::Volatile;
    Arc::new(ScalarUDF::new_from_impl(Late { function, signature }))
}

/// A function that is not folded.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Late {
    function: Arc<ScalarUDF>,
    signature: Signature,
}

impl ScalarUDFImpl for Late {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn aliases(&self) -> &[String] {
        self.function.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.function.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<Arc<Field>> {
        self.function.return_field_from_args(args)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.function.coerce_types(arg_types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.function.invoke_with_args(args)
    }
}

/// Lists of the numbers 1, 2, ... as long as the longest of the row's lists.
pub(super) fn ordinality() -> Arc<ScalarUDF> {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        let signature = Signature::variadic_any(Volatility::Volatile);
        Arc::new(ScalarUDF::new_from_impl(Ordinality { signature }))
    });
    Arc::clone(&FUNCTION)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Ordinality {
    signature: Signature,
}

impl ScalarUDFImpl for Ordinality {
    fn name(&self) -> &str {
        ORDINALITY
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        if arg_types.iter().all(|data_type| matches!(data_type, DataType::List(_))) {
            return Ok(DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true))));
        }
        Err(DataFusionError::from(SqlError::invalid("WITH ORDINALITY numbers the items of lists").about("ORDINALITY")))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let arrays: Vec<ArrayRef> = args.args.into_iter().map(|value| value.into_array(rows)).collect::<Result<_>>()?;
        let length = |array: &ArrayRef, row: usize| match array.as_any().downcast_ref::<ListArray>() {
            Some(list) if list.is_valid(row) => list.value_length(row),
            _ => 0,
        };
        let numbers = |row: usize| {
            let longest = arrays.iter().map(|array| length(array, row)).max().unwrap_or(0);
            Some((1..=i64::from(longest)).map(Some).collect::<Vec<_>>())
        };
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>((0..rows).map(numbers));
        Ok(ColumnarValue::Array(Arc::new(lists)))
    }
}

/// How long a text or a list is: `length` and `len`, which [`rewritten`] makes calls of the one or the other.
pub(super) fn length() -> Arc<ScalarUDF> {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(ScalarUDF::new_from_impl(Length { signature }))
    });
    Arc::clone(&FUNCTION)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Length {
    signature: Signature,
}

impl Length {
    fn of(arg_types: &[DataType]) -> Result<(&'static str, DataType)> {
        match arg_types {
            [list] if list.is_list() => Ok(("array_length", DataType::Int64)),
            [text] if text.is_string() || text.is_null() => Ok(("character_length", DataType::Int32)),
            [other] => plan_err!("length takes text or a list, not {other}"),
            many => plan_err!("length takes one argument, not {}", many.len()),
        }
    }
}

impl ScalarUDFImpl for Length {
    fn name(&self) -> &str {
        "length"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Self::of(arg_types).map(|(_, returns)| returns)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        Self::of(arg_types).map(|_| arg_types.to_vec())
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        exec_err!("length is replaced before a statement runs")
    }
}

/// Functions of the library that count in unsigned numbers: here numbers of things are BIGINT.
const COUNTS: [&str; 3] = ["array_length", "cardinality", "array_position"];

/// A call as the engine means it.
pub(super) fn rewritten(mut function: ScalarFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
    if function.func.name() == "length" {
        let types = function.args.iter().map(|arg| arg.get_type(schema)).collect::<Result<Vec<_>>>()?;
        let (name, returns) = Length::of(&types)?;
        return Ok(Transformed::yes(as_type(call(name, function.args)?, returns, schema)?));
    }
    if COUNTS.contains(&function.func.name()) {
        return Ok(Transformed::yes(as_type(Expr::ScalarFunction(function), DataType::Int64, schema)?));
    }
    if function.func.name() == "array_sort" && function.args.len() < 3 {
        with_defaults(&mut function.args);
        return Ok(Transformed::yes(Expr::ScalarFunction(function)));
    }
    Ok(Transformed::no(Expr::ScalarFunction(function)))
}

fn as_type(expr: Expr, data_type: DataType, schema: &DFSchema) -> Result<Expr> {
    Ok(if expr.get_type(schema)? == data_type { expr } else { cast(expr, data_type) })
}

/// What a call of `array_sort` means by the arguments that it leaves out: NULLs are largest, as in ORDER BY.
fn with_defaults(args: &mut Vec<Expr>) {
    if args.len() == 1 {
        args.push(lit("ASC"));
    }
    let is_descending = match &args[1] {
        Expr::Literal(order, _) => order.try_as_str().flatten().is_some_and(|order| order.eq_ignore_ascii_case("desc")),
        _ => false,
    };
    args.push(lit(if is_descending { "NULLS FIRST" } else { "NULLS LAST" }));
}
