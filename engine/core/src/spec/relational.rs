//! Payloads of the operators that SQL on bounded data needs, and that streams share.

use serde::{Deserialize, Serialize};

use super::OperatorPayload;
use crate::expr::{Expr, Literal};
use crate::types::LogicalType;

macro_rules! payload {
    ($type:ty, $kind:literal) => {
        impl OperatorPayload for $type {
            const KIND: &'static str = $kind;
        }
    };
}

/// Keeps the rows for which the predicate is true.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FilterSpec {
    /// BOOLEAN over the input.
    pub predicate: Expr,
}
payload!(FilterSpec, "filter");

/// Computes the columns of the output, in order; their names and types are the output schema's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProjectSpec {
    /// One for each output column.
    pub expressions: Vec<Expr>,
}
payload!(ProjectSpec, "project");

/// One aggregate of a grouping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AggregateCall {
    /// Registered name: `count`, `sum`, `min`, `max`, `avg`, ... (`count` without arguments counts rows).
    pub function: String,
    /// Input columns. In phase [`AggregatePhase::Global`] these are ignored: state columns follow the keys in order.
    pub args: Vec<usize>,
    /// Types of the arguments as the original input had them (also in the global phase).
    pub arg_types: Vec<LogicalType>,
    /// Only distinct argument values count.
    pub distinct: bool,
    /// How the last arguments, as many as these, order the rows: `array_agg(a ORDER BY b, c)` has three arguments and two
    /// of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order_by: Vec<ArgumentOrder>,
    /// Only rows for which this BOOLEAN input column is true count.
    pub filter: Option<usize>,
    /// Type of the final value.
    pub return_type: LogicalType,
}

/// How an argument of an aggregate orders the rows of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArgumentOrder {
    /// Largest first.
    pub descending: bool,
    /// NULLs before all others.
    pub nulls_first: bool,
}

/// Which half of an aggregation an operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AggregatePhase {
    /// All of it: rows in, final values out.
    Single,
    /// Rows in, accumulator states out; may emit a key more than once, and pass rows through when they do not reduce.
    Local,
    /// Accumulator states in, final values out.
    Global,
}

/// Groups rows by key columns. The output has the keys first, then per aggregate its final value, or (local phase)
/// its state columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HashAggregateSpec {
    /// Key columns of the input; empty means one group, which exists even without rows (bounded, not local).
    pub group_by: Vec<usize>,
    /// What is computed for each group.
    pub aggregates: Vec<AggregateCall>,
    /// Which half this is.
    pub phase: AggregatePhase,
    /// Results are emitted as they change (a changelog), instead of once at the end of the input.
    pub continuous: bool,
    /// Expected number of groups, if the planner has an idea.
    pub estimated_groups: Option<u64>,
    /// Keys of groups that exist even without rows, as the grand total of a ROLLUP does (bounded, not local).
    #[serde(default)]
    pub totals: Vec<Vec<Literal>>,
}
payload!(HashAggregateSpec, "hash-aggregate");

/// Every input row once for each projection: under other keys (GROUPING SETS), or with other arguments (DISTINCT
/// aggregates). Names and types of the columns are the output schema's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExpandSpec {
    /// For each copy the columns of the output.
    pub projections: Vec<Vec<Expr>>,
}
payload!(ExpandSpec, "expand");

/// A column of the output of an [`UnnestSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum UnnestColumn {
    /// This input column, again for each item.
    Input(usize),
    /// The items of this one of the lists; NULL where another list of the row is longer.
    Item(usize),
    /// The number of the item in its lists as BIGINT, from 1.
    Ordinality,
}

/// Every input row once for each item of its lists, side by side: as often as its longest list has items. A list that is
/// NULL has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnnestSpec {
    /// Input columns of a list type, at least one.
    pub lists: Vec<usize>,
    /// The output.
    pub columns: Vec<UnnestColumn>,
    /// A row without items comes once, with NULL in their place (and as ordinality).
    pub outer: bool,
}
payload!(UnnestSpec, "unnest");

/// Which rows a join returns. "Left" is the probe side, "right" the build side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum JoinKind {
    /// Pairs that match.
    Inner,
    /// Pairs that match, and probe rows without a match padded with NULL.
    Left,
    /// Probe rows with a match, once each.
    LeftSemi,
    /// Probe rows without a match.
    LeftAnti,
    /// As left, and build rows without a match padded with NULL. Rows that may match must meet in one subtask: no copy
    /// of a build row in another one may think that it has no match.
    Full,
    /// Every probe row once, and whether it has a match.
    LeftMark,
    /// Build rows with a match, once each, when all probe rows are known. As for a full join, rows that may match must
    /// meet in one subtask.
    BuildSemi,
    /// Build rows without a match, as [`Self::BuildSemi`].
    BuildAnti,
}

impl JoinKind {
    /// Whether it must be known of each build row if a probe row has met it.
    #[must_use]
    pub fn marks_build(self) -> bool {
        matches!(self, Self::Full | Self::BuildSemi | Self::BuildAnti)
    }

    /// Whether build rows alone come out.
    #[must_use]
    pub fn gives_build(self) -> bool {
        matches!(self, Self::BuildSemi | Self::BuildAnti)
    }
}

/// Hash join: input 0 is the build side, read to its end first; input 1 the probe side. The output has the probe
/// columns, then (inner, left, full) the build columns, or (mark) the BOOLEAN mark, which is never NULL; of build semi and
/// build anti joins it has the build columns alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HashJoinSpec {
    /// Which rows come out.
    pub kind: JoinKind,
    /// Key columns of the build side.
    pub build_keys: Vec<usize>,
    /// Key columns of the probe side, pairwise equal in type to the build side's.
    pub probe_keys: Vec<usize>,
    /// Further condition on a pair, over probe columns followed by build columns.
    pub filter: Option<Expr>,
    /// Which columns (of probe columns followed by build columns) come out, in order; `None` means all that may.
    pub projection: Option<Vec<usize>>,
    /// NULL keys match each other (IS NOT DISTINCT FROM).
    pub null_equals_null: bool,
    /// No two build rows share a key, as the planner knows.
    pub build_unique: bool,
    /// Runtime filters that the build side publishes when it is complete: the id that scans refer to, and which of the
    /// keys it is of.
    #[serde(default)]
    pub runtime_filters: Vec<(u32, usize)>,
    /// NOT IN with its NULLs (anti join, one key, no filter): nothing comes out if the build side has a NULL key, and a
    /// probe row with a NULL key only if the build side is empty. Every subtask must have the whole build side.
    #[serde(default)]
    pub null_aware: bool,
    /// A build row matches at most as many probe rows as this BIGINT build column says (semi and anti joins without a
    /// filter: INTERSECT ALL, EXCEPT ALL). Rows with the same key must meet in one subtask.
    #[serde(default)]
    pub build_count: Option<usize>,
}
payload!(HashJoinSpec, "hash-join");

/// ASOF join: each probe row (input 1) with the nearest build row (input 0) of the same keys. The build row's position is
/// at or before the probe row's, or at or after it, and of several the nearest one's; NULL keys and positions match
/// nothing. Rows with the same keys must meet in one subtask.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AsofJoinSpec {
    /// Key columns of the build side.
    pub build_keys: Vec<usize>,
    /// Key columns of the probe side, pairwise equal in type to the build side's.
    pub probe_keys: Vec<usize>,
    /// The build side's column of positions.
    pub build_position: usize,
    /// The probe side's, of the same type.
    pub probe_position: usize,
    /// The build row is looked for after the probe row instead of before.
    pub forward: bool,
    /// An equal position is no match.
    pub strict: bool,
    /// Probe rows without a match come out, padded with NULL.
    pub outer: bool,
    /// Which columns (of probe columns followed by build columns) come out, in order.
    pub projection: Vec<usize>,
}
payload!(AsofJoinSpec, "asof-join");

/// One key of an ordering.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SortKey {
    /// Input column.
    pub column: usize,
    /// Largest first.
    pub descending: bool,
    /// NULLs before all others (PostgreSQL's default: only when descending).
    pub nulls_first: bool,
}

/// Sorts its whole input. With `fetch` it is a Top-N that never holds much more than `offset + fetch` rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SortSpec {
    /// Most significant first.
    pub keys: Vec<SortKey>,
    /// Rows to leave out at the front.
    pub offset: u64,
    /// Rows to return at most.
    pub fetch: Option<u64>,
}
payload!(SortSpec, "sort");

/// Passes on a part of its input, by position.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimitSpec {
    /// Rows to leave out at the front.
    pub offset: u64,
    /// Rows to return at most.
    pub fetch: Option<u64>,
}
payload!(LimitSpec, "limit");

/// Constant rows as a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValuesRows {
    /// Row by row.
    pub rows: Vec<Vec<Literal>>,
}
