//! The columns in which aggregates export their states: between the local and the global phase, and in snapshots.
//!
//! The layout is that of the engine's accumulators (`flumen_state::aggregate`); a test of the whole engine compares.

use flumen_core::spec::relational::AggregateCall;
use flumen_core::types::{DECIMAL_PRECISION_MAX, Field, LogicalType};

use crate::bind::aggregates::{ARRAY_AGG, takes_pairs};

/// State columns of one aggregate.
pub(crate) fn state_fields(call: &AggregateCall) -> Vec<Field> {
    let count = || Field::new("count", LogicalType::Int64, false);
    match call.function.as_str() {
        "count" => vec![count()],
        "variance" | "var_samp" | "var_pop" | "stddev" | "stddev_samp" | "stddev_pop" => {
            let double = |name: &str| Field::new(name, LogicalType::Float64, false);
            vec![count(), double("mean"), double("squares")]
        }
        "bool_and" | "every" | "bool_or" => {
            ["false", "true"].map(|name| Field::new(name, LogicalType::Int64, false)).into()
        }
        "concat_ordered" => vec![Field::new("texts", LogicalType::Binary, true)],
        pairs if takes_pairs(pairs) => {
            let sums = ["mean_x", "mean_y", "squares_x", "squares_y", "products"];
            let doubles = sums.map(|name| Field::new(name, LogicalType::Float64, false));
            std::iter::once(count()).chain(doubles).collect()
        }
        "avg" | "mean" => {
            let sum = match call.arg_types.first() {
                Some(LogicalType::Decimal { scale, .. }) => {
                    LogicalType::Decimal { precision: DECIMAL_PRECISION_MAX, scale: *scale }
                }
                Some(t) if t.is_float() => LogicalType::Float64,
                _ => LogicalType::Decimal { precision: DECIMAL_PRECISION_MAX, scale: 0 },
            };
            vec![Field::new("sum", sum, false), count()]
        }
        ARRAY_AGG => {
            let item = match call.arg_types.as_slice() {
                [value] => value.clone(),
                types => {
                    let field = |(index, data_type): (usize, &LogicalType)| {
                        let name = if index == 0 { "value".to_owned() } else { format!("order_{index}") };
                        Field::new(name, data_type.clone(), true)
                    };
                    LogicalType::Struct(types.iter().enumerate().map(field).collect())
                }
            };
            vec![Field::new("values", LogicalType::list_of(item), true)]
        }
        name => vec![Field::new(name, call.return_type.clone(), true)],
    }
}
