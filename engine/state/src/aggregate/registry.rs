//! Aggregate functions by name: what they return, and how their accumulators are made.

use std::collections::BTreeMap;
use std::sync::Arc;

use flumen_core::spec::relational::AggregateCall;
use flumen_core::types::{DECIMAL_PRECISION_MAX, Field, LogicalType};
use flumen_kernels::nested::NestedKeys;

use super::bits::{BitFold, BitOperator};
use super::boolean::{BooleanFold, Connective};
use super::bytes::{Keep, KeptBytes};
use super::collect::Collect;
use super::concat::Concat;
use super::count::Count;
use super::extreme::{Direction, Extreme};
use super::mean::Mean;
use super::moments::{Moment, Moments};
use super::numbers::scale_of;
use super::pick::{Pick, Which};
use super::regression::{Pairs, Regression};
use super::sum::{ExactSum, FloatSum};
use super::{Accumulator, AccumulatorContext, type_list};
use crate::error::{Result, StateError};
use crate::pages::MeteredPages;

/// A function that turns many rows into one value.
pub trait AggregateFunction: Send + Sync {
    /// What it returns for arguments of these types; `None` if it does not take them.
    fn return_type(&self, args: &[LogicalType]) -> Option<LogicalType>;

    /// Whether it takes each value of its argument once if it is asked to.
    fn takes_distinct(&self) -> bool {
        false
    }

    /// An accumulator for a call, whose argument types [`Self::return_type`] takes. The call's return type wins over
    /// the function's.
    ///
    /// # Errors
    /// If it cannot return that type.
    fn create(&self, call: &AggregateCall, context: &AccumulatorContext) -> Result<Box<dyn Accumulator>>;
}

/// The built-in function of a name.
#[derive(Clone, Copy)]
enum BuiltIn {
    Count,
    Sum,
    Mean,
    Extreme(Direction),
    Pick(Which),
    Boolean(Connective),
    Moment(Moment),
    Bits(BitOperator),
    Regression(Regression),
    /// Texts by the number beside them.
    Concat,
    Collect,
}

const fn moment(sample: bool, root: bool) -> BuiltIn {
    BuiltIn::Moment(Moment { sample, root })
}

const BUILT_IN: &[(&str, BuiltIn)] = &[
    ("count", BuiltIn::Count),
    ("sum", BuiltIn::Sum),
    ("avg", BuiltIn::Mean),
    ("mean", BuiltIn::Mean),
    ("any_value", BuiltIn::Pick(Which::First)),
    ("min", BuiltIn::Extreme(Direction::Min)),
    ("max", BuiltIn::Extreme(Direction::Max)),
    ("first_value", BuiltIn::Pick(Which::First)),
    ("last_value", BuiltIn::Pick(Which::Last)),
    ("bool_and", BuiltIn::Boolean(Connective::And)),
    ("every", BuiltIn::Boolean(Connective::And)),
    ("bool_or", BuiltIn::Boolean(Connective::Or)),
    ("variance", moment(true, false)),
    ("var_samp", moment(true, false)),
    ("var_pop", moment(false, false)),
    ("stddev", moment(true, true)),
    ("stddev_samp", moment(true, true)),
    ("stddev_pop", moment(false, true)),
    ("bit_and", BuiltIn::Bits(BitOperator::And)),
    ("bit_or", BuiltIn::Bits(BitOperator::Or)),
    ("bit_xor", BuiltIn::Bits(BitOperator::Xor)),
    ("corr", BuiltIn::Regression(Regression::Correlation)),
    ("covar_pop", BuiltIn::Regression(Regression::Covariance)),
    ("covar_samp", BuiltIn::Regression(Regression::SampleCovariance)),
    ("regr_slope", BuiltIn::Regression(Regression::Slope)),
    ("regr_intercept", BuiltIn::Regression(Regression::Intercept)),
    ("regr_r2", BuiltIn::Regression(Regression::Determination)),
    ("regr_count", BuiltIn::Regression(Regression::Count)),
    ("regr_avgx", BuiltIn::Regression(Regression::MeanX)),
    ("regr_avgy", BuiltIn::Regression(Regression::MeanY)),
    ("regr_sxx", BuiltIn::Regression(Regression::SquaresX)),
    ("regr_syy", BuiltIn::Regression(Regression::SquaresY)),
    ("regr_sxy", BuiltIn::Regression(Regression::Products)),
    ("concat_ordered", BuiltIn::Concat),
    ("array_agg", BuiltIn::Collect),
];

fn is_number(data_type: &LogicalType) -> bool {
    data_type.is_integer() || data_type.is_float() || matches!(data_type, LogicalType::Decimal { .. })
}

/// Whether a value is kept as an unsigned integer, and of 128 bits; `None` for strings and nested values.
fn code_width(data_type: &LogicalType) -> Option<usize> {
    match data_type {
        LogicalType::Utf8 | LogicalType::Binary => None,
        _ => data_type.fixed_width(),
    }
}

impl AggregateFunction for BuiltIn {
    fn takes_distinct(&self) -> bool {
        matches!(self, Self::Collect)
    }

    fn return_type(&self, args: &[LogicalType]) -> Option<LogicalType> {
        let decimal = |scale: i8| LogicalType::Decimal { precision: DECIMAL_PRECISION_MAX, scale };
        if matches!(self, Self::Count) {
            return Some(LogicalType::Int64);
        }
        if matches!(self, Self::Collect) {
            return args.first().map(|value| LogicalType::list_of(value.clone()));
        }
        let arg = match (self, args) {
            (Self::Regression(what), [y, x]) => {
                let returns = if *what == Regression::Count { LogicalType::Int64 } else { LogicalType::Float64 };
                return (is_number(y) && is_number(x)).then_some(returns);
            }
            (Self::Concat, [LogicalType::Utf8, LogicalType::Int64]) => return Some(LogicalType::Utf8),
            (_, [arg]) => arg,
            _ => return None,
        };
        match self {
            Self::Count | Self::Regression(_) | Self::Concat | Self::Collect => None,
            Self::Bits(_) => arg.is_integer().then(|| arg.clone()),
            Self::Sum => match arg {
                LogicalType::Int64 | LogicalType::UInt64 => Some(decimal(0)),
                integer if integer.is_integer() => Some(LogicalType::Int64),
                LogicalType::Float32 | LogicalType::Float64 => Some(LogicalType::Float64),
                LogicalType::Decimal { scale, .. } => Some(decimal(*scale)),
                _ => None,
            },
            Self::Mean => match arg {
                LogicalType::Decimal { scale, .. } => Some(decimal((*scale).max(6))),
                number if is_number(number) => Some(LogicalType::Float64),
                _ => None,
            },
            Self::Extreme(_) | Self::Pick(_) => match arg {
                LogicalType::Null | LogicalType::Interval => None,
                other => Some(other.clone()),
            },
            Self::Boolean(_) => (*arg == LogicalType::Boolean).then_some(LogicalType::Boolean),
            Self::Moment(_) => is_number(arg).then_some(LogicalType::Float64),
        }
    }

    fn create(&self, call: &AggregateCall, context: &AccumulatorContext) -> Result<Box<dyn Accumulator>> {
        let returns = &call.return_type;
        let unsupported = || StateError::UnsupportedAggregate {
            function: call.function.clone(),
            problem: format!("of {} cannot return {returns}; cast its argument", type_list(&call.arg_types)),
        };
        if matches!(self, Self::Count) {
            return if *returns == LogicalType::Int64 { Ok(Box::new(Count::new(context))) } else { Err(unsupported()) };
        }
        if matches!(self, Self::Collect) {
            let is_list = call.arg_types.first().is_some_and(|value| *returns == LogicalType::list_of(value.clone()));
            if !is_list || call.arg_types.len() != call.order_by.len() + 1 {
                return Err(unsupported());
            }
            let collect = Collect::new(call.arg_types.clone(), call.order_by.clone(), call.distinct, context);
            return Ok(Box::new(collect));
        }
        let arg = match (self, call.arg_types.as_slice()) {
            (Self::Regression(what), [y, x]) if self.return_type(&call.arg_types).as_ref() == Some(returns) => {
                return Ok(Box::new(Pairs::new(*what, y, x, context)));
            }
            (Self::Concat, [_, _]) if *returns == LogicalType::Utf8 => return Ok(Box::new(Concat::new(context))),
            (_, [arg]) => arg,
            _ => return Err(unsupported()),
        };
        let nested = match arg.is_nested() {
            true => Some(Arc::new(NestedKeys::new(arg).map_err(|_| unsupported())?)),
            false => None,
        };
        let same_scale = scale_of(arg) == scale_of(returns);
        let exact = |data_type: &LogicalType| is_number(data_type) && !data_type.is_float();
        Ok(match self {
            Self::Count | Self::Collect => return Err(unsupported()),
            Self::Sum if returns.is_float() => Box::new(FloatSum::new(arg, returns.clone(), context)),
            Self::Sum if exact(arg) && exact(returns) && same_scale => {
                Box::new(ExactSum::new(returns.clone(), context))
            }
            Self::Mean if returns.is_float() || (exact(arg) && exact(returns)) => {
                Box::new(Mean::new(arg, returns.clone(), context))
            }
            Self::Extreme(_) | Self::Pick(_) | Self::Bits(_) if returns != arg => return Err(unsupported()),
            Self::Bits(operator) => Box::new(BitFold::new(*operator, arg.clone(), context)),
            Self::Extreme(direction) => match code_width(arg) {
                None => Box::new(KeptBytes::new(Keep::Extreme(*direction), arg.clone(), nested, context)),
                Some(16) => Box::new(Extreme::<u128>::new(*direction, arg.clone(), context)),
                Some(_) => Box::new(Extreme::<u64>::new(*direction, arg.clone(), context)),
            },
            Self::Pick(which) => match code_width(arg) {
                None => Box::new(KeptBytes::new(Keep::Pick(*which), arg.clone(), nested, context)),
                Some(16) => Box::new(Pick::<u128>::new(*which, arg.clone(), context)),
                Some(_) => Box::new(Pick::<u64>::new(*which, arg.clone(), context)),
            },
            Self::Boolean(connective) if *returns == LogicalType::Boolean => {
                Box::new(BooleanFold::new(*connective, context))
            }
            Self::Moment(moment) if *returns == LogicalType::Float64 => Box::new(Moments::new(*moment, arg, context)),
            _ => return Err(unsupported()),
        })
    }
}

/// Aggregate functions by name. Clones share the functions.
#[derive(Clone)]
pub struct AggregateRegistry {
    functions: BTreeMap<String, Arc<dyn AggregateFunction>>,
}

impl Default for AggregateRegistry {
    /// All built-in functions.
    fn default() -> Self {
        let function = |built_in: &BuiltIn| -> Arc<dyn AggregateFunction> { Arc::new(*built_in) };
        Self { functions: BUILT_IN.iter().map(|(name, f)| ((*name).to_owned(), function(f))).collect() }
    }
}

impl AggregateRegistry {
    /// Adds a function, or replaces the one of this name.
    pub fn register(&mut self, name: impl Into<String>, function: Arc<dyn AggregateFunction>) {
        self.functions.insert(name.into(), function);
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.functions.keys().map(String::as_str)
    }

    /// What a function returns for arguments of these types.
    ///
    /// # Errors
    /// [`StateError::UnknownAggregate`] if there is no such function or it does not take them.
    pub fn return_type(&self, function: &str, args: &[LogicalType]) -> Result<LogicalType> {
        let returned = self.functions.get(function).and_then(|f| f.return_type(args));
        returned.ok_or_else(|| self.unknown(function, args, "anything"))
    }

    fn unknown(&self, function: &str, args: &[LogicalType], returns: &str) -> StateError {
        StateError::UnknownAggregate {
            function: function.to_owned(),
            args: type_list(args),
            returns: returns.to_owned(),
            known: self.names().collect::<Vec<_>>().join(", "),
        }
    }

    /// An accumulator for a call.
    ///
    /// # Errors
    /// If the function is unknown, does not take the arguments, cannot return the call's type, is asked to take only
    /// distinct values, or to take rows back and cannot.
    pub fn create(&self, call: &AggregateCall, context: &AccumulatorContext) -> Result<Box<dyn Accumulator>> {
        let unknown = || self.unknown(&call.function, &call.arg_types, &call.return_type.to_string());
        let function = self.functions.get(&call.function).ok_or_else(unknown)?;
        function.return_type(&call.arg_types).ok_or_else(unknown)?;
        if call.distinct && !function.takes_distinct() {
            return Err(StateError::UnsupportedAggregate {
                function: call.function.clone(),
                problem: "over DISTINCT values is not supported here; group by the argument first".into(),
            });
        }
        let accumulator = function.create(call, context)?;
        if context.retracting && !accumulator.supports_retract() {
            return Err(StateError::UnsupportedAggregate {
                function: call.function.clone(),
                problem: "cannot take rows back yet; feed it an append-only input".into(),
            });
        }
        Ok(accumulator)
    }

    /// Fields of the exported state of a call: what a local phase sends to the global one.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn state_fields(&self, call: &AggregateCall, retracting: bool) -> Result<Vec<Field>> {
        let context = AccumulatorContext { pages: MeteredPages::unmetered(), retracting };
        Ok(self.create(call, &context)?.state_fields())
    }
}
