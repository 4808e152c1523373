//! A compiled expression: a list of nodes in which equal parts appear once.
//!
//! Nodes refer to nodes before them, so the list is its own evaluation order and nothing here is recursive: depth costs
//! heap, never stack.

use std::sync::Arc;

use flumen_core::batch::Column;
use flumen_core::types::LogicalType;

use super::column::Rows;
use super::error::ExprError;
use super::registry::ScalarFunction;

/// Index of a node in its program.
pub(crate) type NodeId = usize;

/// A built-in function, bound to the types of its arguments.
pub(crate) trait Kernel: Send + Sync {
    /// The results. Arguments are flat arrays of `rows.len` rows or constants, not all of them constants of NULL where
    /// the kernel is strict.
    ///
    /// # Errors
    /// Only for rows that are active.
    fn evaluate(&self, args: &[Column], rows: Rows<'_>) -> Result<Column, ExprError>;
}

/// What the evaluator has to know of a kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Traits {
    /// A NULL argument gives NULL.
    pub(crate) strict: bool,
    /// It can fail for some values.
    pub(crate) fallible: bool,
    /// It is costly enough that rows which do not count should not be computed: they are gathered out before.
    pub(crate) dense: bool,
    /// Tenths of a nanosecond for a row, roughly; only the order of conditions depends on it.
    pub(crate) cost: u32,
}

impl Traits {
    /// A strict kernel that never fails and is cheap.
    pub(crate) const PLAIN: Self = Self { strict: true, fallible: false, dense: false, cost: 3 };
    /// The same, but it can fail.
    pub(crate) const FALLIBLE: Self = Self { fallible: true, cost: 5, ..Self::PLAIN };
    /// A strict function of strings.
    pub(crate) const STRING: Self = Self { cost: 100, dense: true, ..Self::PLAIN };
}

/// A kernel and its traits.
pub(crate) struct Bound {
    pub(crate) kernel: Arc<dyn Kernel>,
    pub(crate) traits: Traits,
}

impl Bound {
    pub(crate) fn new(kernel: impl Kernel + 'static, traits: Traits) -> Self {
        Self { kernel: Arc::new(kernel), traits }
    }
}

/// What a node does.
pub(crate) enum Op {
    /// A column of the input.
    Column(usize),
    /// A constant.
    Literal(Column),
    /// A built-in function.
    Kernel(Bound),
    /// A registered function.
    Function(Arc<dyn ScalarFunction>),
    /// Conjunction of all arguments.
    And,
    /// Disjunction of all arguments.
    Or,
    /// Condition, value, condition, value, ..., value otherwise.
    Case,
}

/// A node.
pub(crate) struct Node {
    pub(crate) op: Op,
    pub(crate) args: Vec<NodeId>,
    pub(crate) data_type: LogicalType,
    /// How many nodes (or roots) refer to it.
    pub(crate) uses: u32,
    /// It or a node below can fail.
    pub(crate) fallible: bool,
    /// Equal inputs give equal results, here and below.
    pub(crate) deterministic: bool,
    /// Cost of it and all below, in tenths of a nanosecond for a row.
    pub(crate) cost: u32,
}

/// A compiled expression.
pub(crate) struct Program {
    pub(crate) nodes: Vec<Node>,
    pub(crate) root: NodeId,
    /// Columns of the input it was compiled for.
    pub(crate) columns: usize,
}
