//! Aggregate functions as the binder sees them: names and types. They are executed by the engine, never here.

use std::sync::{Arc, LazyLock};

use arrow_schema::{DataType, Field, FieldRef};
use datafusion_common::{Result, ScalarValue, not_impl_err, plan_err};
use datafusion_expr::expr::AggregateFunction as AggregateCall;
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Expr, Signature, Volatility};

use super::arithmetic::as_decimal;

/// The name of the function that says what a row is grouped without. The binder takes it for an aggregate, and a rule
/// replaces it (`optimize::grouping`).
pub(crate) const GROUPING: &str = "grouping";

/// The engine's name of the aggregate whose value is the list of its values.
pub(crate) const ARRAY_AGG: &str = "array_agg";

/// An aggregate function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum AggregateKind {
    Count,
    Sum,
    Avg,
    Min,
    Max,
    /// Some value that is not NULL.
    AnyValue,
    /// Whether all values, or any, are true.
    Boolean,
    /// Variances and standard deviations.
    Moment,
    /// Operators on the bits of integers.
    Bits,
    /// Correlation, covariance and regression of pairs.
    Pairs,
    /// Texts by a number beside them; rules call it ([`Ordered::StringAgg`]).
    Concat,
    /// All values, as a list.
    List,
    /// What a row is grouped without.
    Grouping,
    /// By the order of the group's rows; a rule replaces it (`optimize::ordered_set`).
    Ordered(Ordered),
}

/// An aggregate that needs the order of its group's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ordered {
    Median,
    QuantileCont,
    QuantileDisc,
    Mode,
    MaxBy,
    MinBy,
    /// How many different values there are.
    Distinct,
    /// The value of the first row, or of the last.
    First,
    Last,
    /// Texts with a separator between them.
    StringAgg,
}

/// The aggregate that [`Ordered::StringAgg`] is made of.
const CONCAT: &str = "concat_ordered";

/// The only one of pairs that is a count.
const REGR_COUNT: &str = "regr_count";

/// Whether an aggregate has two arguments for the engine, too.
pub(crate) fn takes_pairs(name: &str) -> bool {
    ALL.iter().any(|(known, kind)| *known == name && matches!(kind, AggregateKind::Pairs | AggregateKind::Concat))
}

/// By name; the engine knows them by the same names.
const ALL: [(&str, AggregateKind); 59] = [
    ("count", AggregateKind::Count),
    ("sum", AggregateKind::Sum),
    ("avg", AggregateKind::Avg),
    ("mean", AggregateKind::Avg),
    ("min", AggregateKind::Min),
    ("max", AggregateKind::Max),
    ("any_value", AggregateKind::AnyValue),
    ("bool_and", AggregateKind::Boolean),
    ("every", AggregateKind::Boolean),
    ("bool_or", AggregateKind::Boolean),
    ("variance", AggregateKind::Moment),
    ("var_samp", AggregateKind::Moment),
    ("var_pop", AggregateKind::Moment),
    ("stddev", AggregateKind::Moment),
    ("stddev_samp", AggregateKind::Moment),
    ("stddev_pop", AggregateKind::Moment),
    (ARRAY_AGG, AggregateKind::List),
    ("list", AggregateKind::List),
    (GROUPING, AggregateKind::Grouping),
    ("median", AggregateKind::Ordered(Ordered::Median)),
    ("quantile_cont", AggregateKind::Ordered(Ordered::QuantileCont)),
    ("percentile_cont", AggregateKind::Ordered(Ordered::QuantileCont)),
    ("quantile_disc", AggregateKind::Ordered(Ordered::QuantileDisc)),
    ("quantile", AggregateKind::Ordered(Ordered::QuantileDisc)),
    ("percentile_disc", AggregateKind::Ordered(Ordered::QuantileDisc)),
    ("mode", AggregateKind::Ordered(Ordered::Mode)),
    ("max_by", AggregateKind::Ordered(Ordered::MaxBy)),
    ("arg_max", AggregateKind::Ordered(Ordered::MaxBy)),
    ("min_by", AggregateKind::Ordered(Ordered::MinBy)),
    ("arg_min", AggregateKind::Ordered(Ordered::MinBy)),
    ("approx_distinct", AggregateKind::Ordered(Ordered::Distinct)),
    ("approx_count_distinct", AggregateKind::Ordered(Ordered::Distinct)),
    ("approx_median", AggregateKind::Ordered(Ordered::Median)),
    ("approx_percentile_cont", AggregateKind::Ordered(Ordered::QuantileCont)),
    ("approx_quantile", AggregateKind::Ordered(Ordered::QuantileDisc)),
    ("first", AggregateKind::Ordered(Ordered::First)),
    ("first_value", AggregateKind::Ordered(Ordered::First)),
    ("arbitrary", AggregateKind::Ordered(Ordered::First)),
    ("last", AggregateKind::Ordered(Ordered::Last)),
    ("last_value", AggregateKind::Ordered(Ordered::Last)),
    ("string_agg", AggregateKind::Ordered(Ordered::StringAgg)),
    ("group_concat", AggregateKind::Ordered(Ordered::StringAgg)),
    ("listagg", AggregateKind::Ordered(Ordered::StringAgg)),
    (CONCAT, AggregateKind::Concat),
    ("bit_and", AggregateKind::Bits),
    ("bit_or", AggregateKind::Bits),
    ("bit_xor", AggregateKind::Bits),
    ("corr", AggregateKind::Pairs),
    ("covar_pop", AggregateKind::Pairs),
    ("covar_samp", AggregateKind::Pairs),
    ("regr_slope", AggregateKind::Pairs),
    ("regr_intercept", AggregateKind::Pairs),
    ("regr_r2", AggregateKind::Pairs),
    (REGR_COUNT, AggregateKind::Pairs),
    ("regr_avgx", AggregateKind::Pairs),
    ("regr_avgy", AggregateKind::Pairs),
    ("regr_sxx", AggregateKind::Pairs),
    ("regr_syy", AggregateKind::Pairs),
    ("regr_sxy", AggregateKind::Pairs),
];

impl Ordered {
    /// How many arguments it has, at least and at most.
    fn arguments(self) -> (usize, usize) {
        match self {
            Self::Median | Self::Mode | Self::Distinct | Self::First | Self::Last => (1, 1),
            Self::QuantileCont | Self::QuantileDisc | Self::MaxBy | Self::MinBy => (2, 2),
            Self::StringAgg => (1, 2),
        }
    }
}

impl AggregateKind {
    /// Type of the result.
    pub(crate) fn result_type(self, arg: &DataType) -> Result<DataType> {
        use DataType as T;
        Ok(match self {
            Self::Count => T::Int64,
            Self::Grouping => T::Int32,
            Self::Min | Self::Max | Self::AnyValue => arg.clone(),
            Self::List => T::List(Arc::new(Field::new_list_field(arg.clone(), true))),
            Self::Ordered(Ordered::Median | Ordered::QuantileCont) => match arg {
                number if number.is_numeric() || *number == T::Null => T::Float64,
                other => {
                    return plan_err!("median and quantile_cont take numbers, not {other}; quantile_disc takes all");
                }
            },
            Self::Ordered(Ordered::Distinct) => T::Int64,
            Self::Ordered(Ordered::StringAgg) | Self::Concat => T::Utf8,
            Self::Ordered(_) => arg.clone(),
            Self::Bits => match arg {
                integer if integer.is_integer() => integer.clone(),
                T::Null => T::Int32,
                other => return plan_err!("bit_and, bit_or and bit_xor take integers, not {other}"),
            },
            Self::Pairs => match arg {
                number if number.is_numeric() || *number == T::Null => T::Float64,
                other => return plan_err!("corr, covar_... and regr_... take numbers, not {other}"),
            },
            Self::Boolean => match arg {
                T::Boolean | T::Null => T::Boolean,
                other => return plan_err!("bool_and, every and bool_or take conditions, not {other}"),
            },
            Self::Moment => match arg {
                number if number.is_numeric() || *number == T::Null => T::Float64,
                other => return plan_err!("variance and stddev take numbers, not {other}"),
            },
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
    ALL.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
}

/// Names of all aggregate functions.
pub(crate) fn names() -> Vec<String> {
    ALL.iter().map(|(name, _)| (*name).to_owned()).filter(|name| name != CONCAT).collect()
}

/// All functions, in the order of [`ALL`].
static FUNCTIONS: LazyLock<[Arc<AggregateUDF>; ALL.len()]> = LazyLock::new(|| {
    ALL.map(|(name, kind)| {
        let signature = match kind {
            AggregateKind::Count | AggregateKind::Grouping => Signature::variadic_any(Volatility::Immutable),
            _ => Signature::user_defined(Volatility::Immutable),
        };
        Arc::new(AggregateUDF::new_from_impl(AggregateFunction { name, kind, signature }))
    })
});

/// The function of this name.
pub(crate) fn function(name: &str) -> Option<Arc<AggregateUDF>> {
    FUNCTIONS.iter().find(|f| f.name() == name).map(Arc::clone)
}

/// An aggregate that rules call.
#[derive(Clone, Copy)]
pub(crate) enum Plain {
    Count,
    Min,
    Max,
    AnyValue,
    Concat,
}

impl Plain {
    pub(crate) fn function(self) -> Arc<AggregateUDF> {
        const COUNT: usize = position("count");
        const MIN: usize = position("min");
        const MAX: usize = position("max");
        const ANY_VALUE: usize = position("any_value");
        const CONCATENATION: usize = position(CONCAT);
        let position = match self {
            Self::Count => COUNT,
            Self::Min => MIN,
            Self::Max => MAX,
            Self::AnyValue => ANY_VALUE,
            Self::Concat => CONCATENATION,
        };
        Arc::clone(&FUNCTIONS[position])
    }

    /// The call of it.
    pub(crate) fn of(self, argument: Expr) -> Expr {
        Expr::AggregateFunction(AggregateCall::new_udf(self.function(), vec![argument], false, None, Vec::new(), None))
    }
}

/// Where a name is in [`ALL`]; does not compile for one that is not.
const fn position(name: &str) -> usize {
    let mut index = 0;
    while !same(ALL[index].0.as_bytes(), name.as_bytes()) {
        index += 1;
    }
    index
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut index = 0;
    while index < a.len() && index < b.len() && a[index] == b[index] {
        index += 1;
    }
    index == a.len() && index == b.len()
}

/// The binder's view of an aggregate function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct AggregateFunction {
    name: &'static str,
    pub(crate) kind: AggregateKind,
    signature: Signature,
}

impl AggregateUDFImpl for AggregateFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match (self.kind, arg_types) {
            // COUNT(a, b) counts rows in which neither is null; the planner says that it cannot yet.
            (AggregateKind::Count, _) => Ok(DataType::Int64),
            (AggregateKind::Grouping, _) => Ok(DataType::Int32),
            (AggregateKind::Ordered(kind), types)
                if !(kind.arguments().0..=kind.arguments().1).contains(&types.len()) =>
            {
                let takes = match kind.arguments() {
                    (1, 1) => "1 argument".to_owned(),
                    (least, most) if least == most => format!("{least} arguments"),
                    (least, most) => format!("{least} or {most} arguments"),
                };
                plan_err!("{} takes {takes}, not {}", self.name(), types.len())
            }
            (AggregateKind::Concat, [_, _]) => Ok(DataType::Utf8),
            (AggregateKind::Pairs, [y, x]) => {
                let both = self.kind.result_type(y).and_then(|_| self.kind.result_type(x))?;
                Ok(if self.name == REGR_COUNT { DataType::Int64 } else { both })
            }
            (AggregateKind::Pairs, types) => plan_err!("{} takes 2 arguments, not {}", self.name(), types.len()),
            (kind @ AggregateKind::Ordered(_), [arg, ..]) | (kind, [arg]) => kind.result_type(arg),
            _ => plan_err!("{} takes one argument, not {}", self.name(), arg_types.len()),
        }
    }

    fn return_field(&self, arg_fields: &[FieldRef]) -> Result<FieldRef> {
        let types: Vec<DataType> = arg_fields.iter().map(|f| f.data_type().clone()).collect();
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, self.is_nullable())))
    }

    fn is_nullable(&self) -> bool {
        use AggregateKind as K;
        !matches!(self.kind, K::Count | K::Grouping | K::Ordered(Ordered::Distinct)) && self.name != REGR_COUNT
    }

    fn supports_within_group_clause(&self) -> bool {
        matches!(self.name, "percentile_cont" | "percentile_disc" | "mode")
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.return_type(arg_types)?;
        Ok(match (self.kind, arg_types) {
            (AggregateKind::Boolean, [DataType::Null]) => vec![DataType::Boolean],
            (AggregateKind::Moment, [DataType::Null]) => vec![DataType::Float64],
            (AggregateKind::Concat, [_, _]) => vec![DataType::Utf8, DataType::Int64],
            (AggregateKind::Bits, [DataType::Null]) => vec![DataType::Int32],
            (AggregateKind::Pairs, types) => {
                let number = |t: &DataType| if t.is_null() { DataType::Float64 } else { t.clone() };
                types.iter().map(number).collect()
            }
            _ => arg_types.to_vec(),
        })
    }

    fn accumulator(&self, _args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        not_impl_err!("aggregates are executed by the engine")
    }

    fn state_fields(&self, _args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        not_impl_err!("aggregates are executed by the engine")
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        match self.kind {
            AggregateKind::Count | AggregateKind::Ordered(Ordered::Distinct) => Ok(ScalarValue::Int64(Some(0))),
            _ if self.name == REGR_COUNT => Ok(ScalarValue::Int64(Some(0))),
            _ => ScalarValue::try_from(data_type),
        }
    }
}
