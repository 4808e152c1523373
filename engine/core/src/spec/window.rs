//! Payload of the operator that computes window functions (`OVER`).

use serde::{Deserialize, Serialize};

use super::OperatorPayload;
use super::relational::{AggregateCall, SortKey};
use crate::expr::Literal;
use crate::types::LogicalType;

/// Computes functions of each row and its neighbours: rows with the same partition keys, in order.
///
/// Rows that are equal by the order keys are *peers*; without order keys all rows of a partition are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowFunctionsSpec {
    /// Key columns of the input; none means that all rows are one partition.
    pub partition_by: Vec<usize>,
    /// Order within a partition, most significant first.
    pub order_by: Vec<SortKey>,
    /// What is computed for each row.
    pub calls: Vec<WindowCall>,
    /// Which columns (of input columns followed by one for each call) come out, in order.
    pub projection: Vec<usize>,
}

impl OperatorPayload for WindowFunctionsSpec {
    const KIND: &'static str = "window-functions";
}

/// One call of a window function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowCall {
    /// What is computed.
    pub function: WindowFunction,
    /// Type of the value.
    pub return_type: LogicalType,
}

/// A window function and its arguments, which are input columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum WindowFunction {
    /// Position in the partition, from 1.
    RowNumber,
    /// Position of the first peer, from 1.
    Rank,
    /// Number of the peer group, from 1.
    DenseRank,
    /// `(rank - 1) / (rows - 1)`, 0 in a partition of one row.
    PercentRank,
    /// Share of the partition up to and with the last peer.
    CumeDist,
    /// Number, from 1, of so many buckets of sizes that differ by at most one, the larger ones first.
    Ntile(Count),
    /// The value so many rows before.
    Lag(Shift),
    /// The value so many rows after.
    Lead(Shift),
    /// A value of the frame.
    Value {
        /// Which one.
        position: Position,
        /// Of this column.
        column: usize,
        /// Rows whose value is NULL do not count.
        ignore_nulls: bool,
        /// Among these rows.
        frame: Frame,
    },
    /// An aggregate over the frame.
    Aggregate {
        /// The aggregate.
        call: AggregateCall,
        /// Over these rows.
        frame: Frame,
    },
}

/// Arguments of `lag` and `lead`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shift {
    /// The column whose value is taken.
    pub column: usize,
    /// How many rows away; negative numbers turn the direction round, NULL gives NULL.
    pub offset: Count,
    /// The column whose value, in the row itself, stands where there is no such row; NULL by default.
    pub default: Option<usize>,
    /// Rows whose value is NULL do not count.
    pub ignore_nulls: bool,
}

/// A number that most statements give as a constant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Count {
    /// The same for all rows; `None` is NULL.
    Constant(Option<i64>),
    /// That of a BIGINT column.
    Column(usize),
}

/// Which value of a frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Position {
    /// Of its first row.
    First,
    /// Of its last row.
    Last,
    /// Of its n-th row, counted from 1.
    Nth(Count),
}

/// Which rows of the partition a function sees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// What offsets count.
    pub units: FrameUnits,
    /// Where it begins.
    pub start: FrameBound,
    /// Where it ends.
    pub end: FrameBound,
    /// Which of these rows it leaves out.
    #[serde(default)]
    pub exclude: Exclusion,
}

/// What a frame leaves out near the current row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exclusion {
    /// Nothing.
    #[default]
    NoOthers,
    /// The current row.
    CurrentRow,
    /// The current row and its peers.
    Group,
    /// The peers of the current row, but not itself.
    Ties,
}

/// What the offsets of a frame count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrameUnits {
    /// Rows.
    Rows,
    /// Differences of the only order key; CURRENT ROW means all peers. A NULL has no differences: its frame reaches to
    /// the ends of its peers.
    Range,
    /// Groups of peers; CURRENT ROW means all peers.
    Groups,
}

/// An end of a frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FrameBound {
    /// The beginning of the partition.
    UnboundedPreceding,
    /// So far before the current row: a BIGINT for rows and groups; for ranges of the key's type, or an interval if that
    /// is a date or timestamp.
    Preceding(Literal),
    /// The current row.
    CurrentRow,
    /// So far after the current row.
    Following(Literal),
    /// The end of the partition.
    UnboundedFollowing,
}

impl Frame {
    /// All rows of the partition.
    #[must_use]
    pub fn whole_partition() -> Self {
        let (start, end) = (FrameBound::UnboundedPreceding, FrameBound::UnboundedFollowing);
        Self { units: FrameUnits::Rows, start, end, exclude: Exclusion::NoOthers }
    }

    /// Whether it has all rows of the partition, whatever the current row.
    #[must_use]
    pub fn is_whole_partition(&self) -> bool {
        self.start == FrameBound::UnboundedPreceding
            && self.end == FrameBound::UnboundedFollowing
            && self.exclude == Exclusion::NoOthers
    }
}
