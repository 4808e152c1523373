//! Casts under names of their own, while the binder works.
//!
//! The binder calls a CAST as what is inside of it. So `GROUP BY CAST(t AS DATE), t` has two keys of one name, and
//! `sum(CAST(a AS DOUBLE))` beside `sum(a)` is refused. The parser therefore puts every CAST of a statement into a call of
//! [`NAMED_CAST`], whose name says the type; before any rule runs, [`rewrite`] takes the calls away and leaves the names.
//!
//! [`KNOWN`] is another function that is there for the binder alone: it asks whether its arguments are columns, and is
//! true.

use std::sync::{Arc, LazyLock};

use arrow_schema::{DataType, FieldRef};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Result, ScalarValue, plan_err};
use datafusion_expr::expr_rewriter::NamePreserver;
use datafusion_expr::{
    Cast, ColumnarValue, Expr, GroupingSet, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, TryCast, Volatility, lit,
};

use crate::wording::sql_types;

/// The function around a CAST.
pub(crate) const NAMED_CAST: &str = "__cast";
/// The function that is true of columns that are there.
pub(crate) const KNOWN: &str = "__known";

/// Both functions.
pub(crate) fn functions() -> [Arc<ScalarUDF>; 2] {
    static ALL: LazyLock<[Arc<ScalarUDF>; 2]> = LazyLock::new(|| {
        [NAMED_CAST, KNOWN].map(|name| {
            let signature = Signature::variadic_any(Volatility::Immutable);
            Arc::new(ScalarUDF::new_from_impl(Passing { name, signature }))
        })
    });
    ALL.clone()
}

/// A function that is gone when a plan is made.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Passing {
    name: &'static str,
    signature: Signature,
}

impl ScalarUDFImpl for Passing {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let cast = |word: &str, inner: &Expr, to: &DataType| {
            format!("{word}({} AS {})", inner.schema_name(), sql_types(&to.to_string()))
        };
        Ok(match args {
            [Expr::Cast(Cast { expr, field })] => cast("CAST", expr, field.data_type()),
            [Expr::TryCast(TryCast { expr, field })] => cast("TRY_CAST", expr, field.data_type()),
            // Two constants of different types may have the same text.
            [other] => format!("{}({})", self.name, other.schema_name()),
            _ => self.name.to_owned(),
        })
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match (self.name, arg_types) {
            (KNOWN, _) => Ok(DataType::Boolean),
            (_, [data_type]) => Ok(data_type.clone()),
            _ => plan_err!("a cast has one argument"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        match (self.name, args.arg_fields) {
            (NAMED_CAST, [field]) => Ok(Arc::clone(field)),
            _ => Ok(Arc::new(arrow_schema::Field::new(self.name, DataType::Boolean, false))),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match (self.name, args.args.into_iter().next()) {
            (NAMED_CAST, Some(value)) => Ok(value),
            _ => Ok(ColumnarValue::Scalar(ScalarValue::Boolean(Some(true)))),
        }
    }
}

/// Takes the calls out of a plan and its subqueries; what has a name keeps it.
pub(crate) fn rewrite(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| {
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            if !has_call(&expr) {
                return Ok(Transformed::no(expr));
            }
            if let Expr::GroupingSet(set) = expr {
                return without_calls_in_set(set).map(|set| Transformed::yes(Expr::GroupingSet(set)));
            }
            let name = names.save(&expr);
            Ok(Transformed::yes(name.restore(without_calls(expr)?)))
        })
    })
    .map(|t| t.data)
}

fn is_call(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if [NAMED_CAST, KNOWN].contains(&call.func.name()))
}

fn has_call(expr: &Expr) -> bool {
    // Nothing in here fails.
    expr.exists(|e| Ok(is_call(e))).unwrap_or(true)
}

fn without_calls(expr: Expr) -> Result<Expr> {
    expr.transform_up(|e| match e {
        Expr::ScalarFunction(mut call) if call.func.name() == NAMED_CAST && call.args.len() == 1 => {
            Ok(Transformed::yes(call.args.remove(0)))
        }
        Expr::ScalarFunction(call) if call.func.name() == KNOWN => Ok(Transformed::yes(lit(true))),
        other => Ok(Transformed::no(other)),
    })
    .map(|t| t.data)
}

/// Each key of a set is a column of its own, and has its own name.
fn without_calls_in_set(set: GroupingSet) -> Result<GroupingSet> {
    let key = |key: Expr| -> Result<Expr> {
        if !has_call(&key) {
            return Ok(key);
        }
        let name = key.schema_name().to_string();
        Ok(without_calls(key)?.alias(name))
    };
    let keys = |keys: Vec<Expr>| keys.into_iter().map(key).collect::<Result<Vec<_>>>();
    Ok(match set {
        GroupingSet::Rollup(all) => GroupingSet::Rollup(keys(all)?),
        GroupingSet::Cube(all) => GroupingSet::Cube(keys(all)?),
        GroupingSet::GroupingSets(sets) => {
            GroupingSet::GroupingSets(sets.into_iter().map(keys).collect::<Result<_>>()?)
        }
    })
}
