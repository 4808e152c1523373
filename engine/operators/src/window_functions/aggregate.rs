//! Which way an aggregate goes: the cheapest that is exact for its function, argument and frame.

use std::sync::Arc;

use flumen_core::batch::Column;
use flumen_core::failure::Failure;
use flumen_core::spec::relational::AggregateCall;
use flumen_core::spec::window::Frame;
use flumen_kernels::gather::flatten;

use super::extreme::Extremes;
use super::finish::Finish;
use super::floats::FloatSums;
use super::numbers::{counted, doubles, exact};
use super::prefix::{FrameCounts, exact_sums};
use super::tree::TreeValues;
use super::whole::PartitionValues;
use super::{KnownFrames, SortedRows, Values};
use crate::contract::OperatorContext;

/// The values of an aggregate over frames.
pub(super) fn values(
    rows: &Arc<SortedRows>,
    call: &AggregateCall,
    frame: &Frame,
    frames: &mut KnownFrames,
    context: &OperatorContext,
) -> Result<Box<dyn Values>, Failure> {
    if frame.is_whole_partition() {
        return Ok(Box::new(PartitionValues::new(rows, call, context)?));
    }
    let frames = frames.get(rows, frame)?;
    if frames.has_parts() {
        return Ok(Box::new(TreeValues::new(rows, call, &frames, context)?));
    }
    let args: Vec<&Column> = call.args.iter().map(|arg| rows.batch.column(*arg)).collect();
    let counted = counted(&args, call.filter.map(|filter| rows.batch.column(filter)))?;
    match (call.function.as_str(), args.as_slice()) {
        ("count", _) => return Ok(Box::new(FrameCounts::new(&frames, counted.as_ref()))),
        ("sum" | "avg", [arg]) => {
            let array = flatten(arg.array())?;
            let finish = Finish::new(call, context)?;
            if let Some(values) = doubles(&array) {
                return Ok(Box::new(FloatSums::new(values, counted.as_ref(), &frames, &rows.layout, finish)));
            }
            // A sum of exact numbers as DOUBLE has a state of its own.
            let is_exact = call.function == "avg" || !call.return_type.is_float();
            if let Some(values) = exact(&array).filter(|_| is_exact)
                && let Some(sums) = exact_sums(values, counted.as_ref(), &frames, finish)
            {
                return Ok(Box::new(sums));
            }
        }
        ("min" | "max", [arg]) => {
            let (data_type, maximum) = (&call.arg_types[0], call.function == "max");
            return Ok(Box::new(Extremes::new(arg, data_type, maximum, counted.as_ref(), &frames)?));
        }
        _ => {}
    }
    Ok(Box::new(TreeValues::new(rows, call, &frames, context)?))
}
