//! Window functions as text: calls with their frames, partitions and order.

use flumen_core::spec::relational::AggregatePhase;
use flumen_core::spec::window::{
    Count, Exclusion, Frame, FrameBound, FrameUnits, Position, Shift, WindowCall, WindowFunction, WindowFunctionsSpec,
};
use flumen_core::types::Schema;

use super::{calls_text, cut, literal_text, names_of, sort_text};

pub(super) fn describe(title: &str, spec: &WindowFunctionsSpec, input: &Schema) -> String {
    let calls: Vec<String> = spec.calls.iter().map(|call| call_text(call, input)).collect();
    let mut text = format!("{title} [{}]", cut(calls.join(", ")));
    if !spec.partition_by.is_empty() {
        text.push_str(&format!(" partition by [{}]", names_of(&spec.partition_by, input)));
    }
    if !spec.order_by.is_empty() {
        text.push_str(&format!(" order by [{}]", sort_text(&spec.order_by, input)));
    }
    text
}

fn call_text(call: &WindowCall, input: &Schema) -> String {
    let name = |column: usize| input.fields[column].name.as_str();
    let count = |count: &Count| match count {
        Count::Constant(Some(number)) => number.to_string(),
        Count::Constant(None) => "NULL".to_owned(),
        Count::Column(column) => name(*column).to_owned(),
    };
    let nulls = |ignore: bool| if ignore { " IGNORE NULLS" } else { "" };
    let shift = |function: &str, shift: &Shift| {
        let default = shift.default.map(|column| format!(", {}", name(column))).unwrap_or_default();
        format!("{function}({}, {}{default}){}", name(shift.column), count(&shift.offset), nulls(shift.ignore_nulls))
    };
    match &call.function {
        WindowFunction::RowNumber => "row_number()".to_owned(),
        WindowFunction::Rank => "rank()".to_owned(),
        WindowFunction::DenseRank => "dense_rank()".to_owned(),
        WindowFunction::PercentRank => "percent_rank()".to_owned(),
        WindowFunction::CumeDist => "cume_dist()".to_owned(),
        WindowFunction::Ntile(buckets) => format!("ntile({})", count(buckets)),
        WindowFunction::Lag(arguments) => shift("lag", arguments),
        WindowFunction::Lead(arguments) => shift("lead", arguments),
        WindowFunction::Value { position, column, ignore_nulls, frame } => {
            let call = match position {
                Position::First => format!("first_value({})", name(*column)),
                Position::Last => format!("last_value({})", name(*column)),
                Position::Nth(number) => format!("nth_value({}, {})", name(*column), count(number)),
            };
            format!("{call}{}{}", nulls(*ignore_nulls), frame_text(frame))
        }
        WindowFunction::Aggregate { call, frame } => {
            let call = calls_text(std::slice::from_ref(call), AggregatePhase::Single, input);
            format!("{call}{}", frame_text(frame))
        }
        other => format!("{other:?}"),
    }
}

fn has_offset(bound: &FrameBound) -> bool {
    matches!(bound, FrameBound::Preceding(_) | FrameBound::Following(_))
}

/// The frame behind a blank; nothing for whole partitions.
fn frame_text(frame: &Frame) -> String {
    if frame.is_whole_partition() {
        return String::new();
    }
    let units = match frame.units {
        FrameUnits::Rows => "ROWS",
        // Without an offset a range and groups are the same; the former is what most people write.
        FrameUnits::Groups if has_offset(&frame.start) || has_offset(&frame.end) => "GROUPS",
        FrameUnits::Range | FrameUnits::Groups => "RANGE",
    };
    let bound = |bound: &FrameBound| match bound {
        FrameBound::UnboundedPreceding => "UNBOUNDED PRECEDING".to_owned(),
        FrameBound::Preceding(offset) => format!("{} PRECEDING", literal_text(offset)),
        FrameBound::CurrentRow => "CURRENT ROW".to_owned(),
        FrameBound::Following(offset) => format!("{} FOLLOWING", literal_text(offset)),
        FrameBound::UnboundedFollowing => "UNBOUNDED FOLLOWING".to_owned(),
    };
    let exclude = match frame.exclude {
        Exclusion::NoOthers => "",
        Exclusion::CurrentRow => " EXCLUDE CURRENT ROW",
        Exclusion::Group => " EXCLUDE GROUP",
        Exclusion::Ties => " EXCLUDE TIES",
    };
    format!(" {units} {}..{}{exclude}", bound(&frame.start), bound(&frame.end))
}
