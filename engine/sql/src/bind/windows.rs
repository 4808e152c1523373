//! Window functions as the binder sees them: names and types. They are executed by the engine, never here.
//!
//! Aggregates over windows are those of [`super::aggregates`].

use std::sync::{Arc, LazyLock};

use arrow_schema::{DataType, Field, FieldRef};
use datafusion_common::{Result, not_impl_err, plan_err};
use datafusion_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion_expr::type_coercion::binary::type_union_resolution;
use datafusion_expr::{PartitionEvaluator, Signature, Volatility, WindowUDF, WindowUDFImpl};

/// A function that only makes sense over a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum WindowKind {
    RowNumber,
    Rank,
    DenseRank,
    PercentRank,
    CumeDist,
    Ntile,
    Lag,
    Lead,
    FirstValue,
    LastValue,
    NthValue,
}

const ALL: [WindowKind; 11] = [
    WindowKind::RowNumber,
    WindowKind::Rank,
    WindowKind::DenseRank,
    WindowKind::PercentRank,
    WindowKind::CumeDist,
    WindowKind::Ntile,
    WindowKind::Lag,
    WindowKind::Lead,
    WindowKind::FirstValue,
    WindowKind::LastValue,
    WindowKind::NthValue,
];

impl WindowKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RowNumber => "row_number",
            Self::Rank => "rank",
            Self::DenseRank => "dense_rank",
            Self::PercentRank => "percent_rank",
            Self::CumeDist => "cume_dist",
            Self::Ntile => "ntile",
            Self::Lag => "lag",
            Self::Lead => "lead",
            Self::FirstValue => "first_value",
            Self::LastValue => "last_value",
            Self::NthValue => "nth_value",
        }
    }

    /// Whether IGNORE NULLS means anything.
    pub(crate) fn takes_null_treatment(self) -> bool {
        matches!(self, Self::Lag | Self::Lead | Self::FirstValue | Self::LastValue | Self::NthValue)
    }

    /// The types that arguments are cast to.
    fn argument_types(self, args: &[DataType]) -> Result<Vec<DataType>> {
        let count = |data_type: &DataType| match data_type {
            integer if integer.is_integer() || integer.is_null() => Ok(DataType::Int64),
            other => plan_err!("{} takes a whole number, not {other}", self.name()),
        };
        Ok(match (self, args) {
            (Self::RowNumber | Self::Rank | Self::DenseRank | Self::PercentRank | Self::CumeDist, []) => Vec::new(),
            (Self::Ntile, [buckets]) => vec![count(buckets)?],
            (Self::Lag | Self::Lead | Self::FirstValue | Self::LastValue, [value]) => vec![value.clone()],
            (Self::Lag | Self::Lead | Self::NthValue, [value, number]) => vec![value.clone(), count(number)?],
            (Self::Lag | Self::Lead, [value, offset, default]) => {
                let Some(both) = type_union_resolution(&[value.clone(), default.clone()]) else {
                    return plan_err!("{} of {value} cannot have a default of {default}", self.name());
                };
                vec![both.clone(), count(offset)?, both]
            }
            (Self::Ntile, _) => return plan_err!("ntile takes the number of buckets"),
            (Self::Lag | Self::Lead, _) => {
                return plan_err!("{} takes a value, an offset and a default", self.name());
            }
            (Self::FirstValue | Self::LastValue, _) => return plan_err!("{} takes one argument", self.name()),
            (Self::NthValue, _) => return plan_err!("nth_value takes a value and the number of a row"),
            _ => return plan_err!("{} takes no arguments", self.name()),
        })
    }

    /// Type of the result, and whether it may be NULL.
    fn result(self, args: &[FieldRef]) -> (DataType, bool) {
        match self {
            Self::RowNumber | Self::Rank | Self::DenseRank => (DataType::Int64, false),
            Self::Ntile => (DataType::Int64, args.first().is_none_or(|buckets| buckets.is_nullable())),
            Self::PercentRank | Self::CumeDist => (DataType::Float64, false),
            _ => (args.first().map_or(DataType::Null, |value| value.data_type().clone()), true),
        }
    }
}

/// Names of all window functions.
pub(crate) fn names() -> Vec<String> {
    ALL.iter().map(|kind| kind.name().to_owned()).collect()
}

/// Whether a name is that of a function which needs OVER.
pub(crate) fn is_window_function(name: &str) -> bool {
    ALL.iter().any(|kind| kind.name().eq_ignore_ascii_case(name))
}

/// All functions, in the order of [`ALL`].
static FUNCTIONS: LazyLock<[Arc<WindowUDF>; ALL.len()]> = LazyLock::new(|| {
    ALL.map(|kind| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(WindowUDF::new_from_impl(WindowFunction { kind, signature }))
    })
});

/// The function of this name.
pub(crate) fn function(name: &str) -> Option<Arc<WindowUDF>> {
    FUNCTIONS.iter().find(|f| f.name() == name).map(Arc::clone)
}

/// `row_number`, which rules number rows with.
pub(crate) fn row_number() -> Arc<WindowUDF> {
    let [row_number, ..] = &*FUNCTIONS;
    Arc::clone(row_number)
}

/// The binder's view of a window function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct WindowFunction {
    pub(crate) kind: WindowKind,
    signature: Signature,
}

impl WindowUDFImpl for WindowFunction {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn partition_evaluator(&self, _args: PartitionEvaluatorArgs) -> Result<Box<dyn PartitionEvaluator>> {
        not_impl_err!("window functions are executed by the engine")
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        let (data_type, nullable) = self.kind.result(args.input_fields());
        Ok(Arc::new(Field::new(args.name(), data_type, nullable)))
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        self.kind.argument_types(args)
    }
}
