//! Aggregate functions as the binder sees them: names and types. They are executed by the engine, never here.

use std::sync::{Arc, LazyLock};

use arrow_schema::{DataType, Field, FieldRef};
use datafusion_common::{Result, ScalarValue, not_impl_err, plan_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

use super::arithmetic::as_decimal;

/// The name of the function that says what a row is grouped without. The binder takes it for an aggregate, and a rule
/// replaces it (`optimize::grouping`).
pub(crate) const GROUPING: &str = "grouping";

/// An aggregate function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum AggregateKind {
    Count,
    Sum,
    Avg,
    Min,
    Max,
    Grouping,
}

const ALL: [AggregateKind; 6] = [
    AggregateKind::Count,
    AggregateKind::Sum,
    AggregateKind::Avg,
    AggregateKind::Min,
    AggregateKind::Max,
    AggregateKind::Grouping,
];

impl AggregateKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::Grouping => GROUPING,
        }
    }

    /// Type of the result.
    pub(crate) fn result_type(self, arg: &DataType) -> Result<DataType> {
        use DataType as T;
        Ok(match self {
            Self::Count => T::Int64,
            Self::Grouping => T::Int32,
            Self::Min | Self::Max => arg.clone(),
            Self::Sum => match arg {
                T::Int8 | T::Int16 | T::Int32 | T::UInt8 | T::UInt16 | T::UInt32 | T::Null => T::Int64,
                T::Int64 | T::UInt64 => T::Decimal128(38, 0),
                T::Float16 | T::Float32 | T::Float64 => T::Float64,
                decimal if decimal.is_decimal() => T::Decimal128(38, as_decimal(decimal).map_or(0, |d| d.1)),
                other => return plan_err!("sum does not take {other}; it takes numbers"),
            },
            Self::Avg => match arg {
                decimal if decimal.is_decimal() => T::Decimal128(38, as_decimal(decimal).map_or(6, |d| d.1.max(6))),
                number if number.is_numeric() || *number == T::Null => T::Float64,
                other => return plan_err!("avg does not take {other}; it takes numbers"),
            },
        })
    }
}

/// Whether a name is that of an aggregate function.
pub(crate) fn is_aggregate(name: &str) -> bool {
    ALL.iter().any(|kind| kind.name().eq_ignore_ascii_case(name))
}

/// Names of all aggregate functions.
pub(crate) fn names() -> Vec<String> {
    ALL.iter().map(|kind| kind.name().to_owned()).collect()
}

/// The function of this name.
pub(crate) fn function(name: &str) -> Option<Arc<AggregateUDF>> {
    static FUNCTIONS: LazyLock<[Arc<AggregateUDF>; ALL.len()]> = LazyLock::new(|| {
        ALL.map(|kind| {
            let signature = match kind {
                AggregateKind::Count | AggregateKind::Grouping => Signature::variadic_any(Volatility::Immutable),
                _ => Signature::user_defined(Volatility::Immutable),
            };
            Arc::new(AggregateUDF::new_from_impl(AggregateFunction { kind, signature }))
        })
    });
    FUNCTIONS.iter().find(|f| f.name() == name).map(Arc::clone)
}

/// The binder's view of an aggregate function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct AggregateFunction {
    pub(crate) kind: AggregateKind,
    signature: Signature,
}

impl AggregateUDFImpl for AggregateFunction {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match (self.kind, arg_types) {
            // COUNT(a, b) counts rows in which neither is null; the planner says that it cannot yet.
            (AggregateKind::Count, _) => Ok(DataType::Int64),
            (AggregateKind::Grouping, _) => Ok(DataType::Int32),
            (kind, [arg]) => kind.result_type(arg),
            _ => plan_err!("{} takes one argument, not {}", self.name(), arg_types.len()),
        }
    }

    fn return_field(&self, arg_fields: &[FieldRef]) -> Result<FieldRef> {
        let types: Vec<DataType> = arg_fields.iter().map(|f| f.data_type().clone()).collect();
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, self.is_nullable())))
    }

    fn is_nullable(&self) -> bool {
        !matches!(self.kind, AggregateKind::Count | AggregateKind::Grouping)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.return_type(arg_types)?;
        Ok(arg_types.to_vec())
    }

    fn accumulator(&self, _args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        not_impl_err!("aggregates are executed by the engine")
    }

    fn state_fields(&self, _args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        not_impl_err!("aggregates are executed by the engine")
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        match self.kind {
            AggregateKind::Count => Ok(ScalarValue::Int64(Some(0))),
            _ => ScalarValue::try_from(data_type),
        }
    }
}
