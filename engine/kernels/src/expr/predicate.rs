//! Conditions that narrow a batch.
//!
//! The terms of a conjunction are evaluated one after another, each for the rows that the ones before have left, until
//! none is left. Only rows for which every term is true pass: NULL is not true.
//!
//! The order of terms that cannot fail adapts: what a term costs for a row (an estimate of its kernels) over the share
//! of rows that it removes (measured), least first. The clock is not read, so the same rows always give the same order.
//! Terms that can fail keep their place after all that cannot, in the order written: a condition written before
//! `1 / x > 2` still guards it, and which rows raise an error never depends on what was measured.

use std::sync::atomic::{AtomicU64, Ordering};

use flumen_core::batch::{Batch, Selection};
use flumen_core::expr::Expr;
use flumen_core::types::{LogicalType, Schema};

use super::column::{positions, true_bits};
use super::compile;
use super::error::ExprError;
use super::evaluate::Machine;
use super::program::{NodeId, Op, Program};
use super::registry::FunctionRegistry;

/// Rows after which what was measured counts half.
const MEMORY_ROWS: u64 = 1 << 20;

/// A compiled condition.
///
/// It may be shared by several threads; what it learns is then mixed.
pub struct CompiledPredicate {
    program: Program,
    /// Terms that cannot fail; their order adapts.
    sure: Vec<Term>,
    /// Terms that can fail, in order.
    unsure: Vec<NodeId>,
}

struct Term {
    node: NodeId,
    cost: u32,
    rows_in: AtomicU64,
    rows_out: AtomicU64,
}

/// The rows that pass.
#[derive(Clone, Debug, PartialEq)]
pub enum Selected {
    /// All rows that were selected before; the batch keeps its selection.
    All,
    /// These physical rows, ascending; perhaps none.
    Rows(Selection),
}

impl Selected {
    /// The batch with only the rows that pass.
    #[must_use]
    pub fn apply(self, batch: Batch) -> Batch {
        match self {
            Self::All => batch,
            Self::Rows(rows) => batch.with_selection(Some(rows)),
        }
    }
}

impl CompiledPredicate {
    /// Compiles a condition over the columns of `input`.
    ///
    /// # Errors
    /// As [`CompiledExpr::compile`](super::CompiledExpr::compile), and if it is not BOOLEAN.
    pub fn compile(expr: &Expr, input: &Schema, functions: &FunctionRegistry) -> Result<Self, ExprError> {
        let program = compile::compile(expr, input, functions)?;
        let root = &program.nodes[program.root];
        if !matches!(root.data_type, LogicalType::Boolean | LogicalType::Null) {
            return Err(ExprError::ReturnType {
                function: "a condition".to_owned(),
                computed: root.data_type.clone(),
                stated: LogicalType::Boolean,
            });
        }
        // The terms, with conjunctions inside of conjunctions taken apart; each once.
        let mut terms: Vec<NodeId> = Vec::new();
        let mut seen = vec![false; program.nodes.len()];
        let mut open = vec![program.root];
        while let Some(id) = open.pop() {
            let node = &program.nodes[id];
            match node.op {
                Op::And => open.extend(node.args.iter().rev()),
                _ if !std::mem::replace(&mut seen[id], true) => terms.push(id),
                _ => {}
            }
        }
        let fails = |id: &NodeId| program.nodes[*id].fallible || !program.nodes[*id].deterministic;
        let (unsure, sure): (Vec<NodeId>, Vec<NodeId>) = terms.into_iter().partition(fails);
        let sure = sure
            .into_iter()
            .map(|node| Term {
                node,
                cost: program.nodes[node].cost.max(1),
                rows_in: AtomicU64::new(0),
                rows_out: AtomicU64::new(0),
            })
            .collect();
        Ok(Self { program, sure, unsure })
    }

    /// Whether some term may fail, or give another answer when asked again.
    #[must_use]
    pub fn can_fail(&self) -> bool {
        !self.unsure.is_empty()
    }

    /// The selected rows of the batch for which the condition is true.
    ///
    /// # Errors
    /// The first error of a row that a term reached.
    ///
    /// # Panics
    /// If the batch has fewer columns than the schema it was compiled for.
    pub fn select(&self, batch: &Batch) -> Result<Selected, ExprError> {
        if batch.num_rows() == 0 {
            return Ok(Selected::All);
        }
        assert!(batch.columns().len() >= self.program.columns, "the batch has the columns of the schema");
        let mut machine = Machine::new(&self.program, batch);
        let before = machine.scopes.count();
        for index in self.order() {
            let term = &self.sure[index];
            let rows_in = machine.scopes.count();
            let rows_out = narrow(&mut machine, term.node)?;
            term.learn(rows_in as u64, rows_out as u64);
            if rows_out == 0 {
                return Ok(Selected::Rows(Selection::default()));
            }
        }
        for node in &self.unsure {
            if narrow(&mut machine, *node)? == 0 {
                return Ok(Selected::Rows(Selection::default()));
            }
        }
        if machine.scopes.count() == before {
            return Ok(Selected::All);
        }
        let rows = machine.scopes.rows();
        let selected = match rows.active {
            Some(active) => positions(active),
            None => (0..u32::try_from(rows.len).expect("batches have fewer than 2^32 rows")).collect(),
        };
        Ok(Selected::Rows(machine.scopes.physical(selected)))
    }

    /// Terms by cost over the share of rows removed, least first; in the order written while nothing is known.
    pub(super) fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.sure.len()).collect();
        if self.sure.len() > 1 {
            let ranks: Vec<f64> = self.sure.iter().map(Term::rank).collect();
            order.sort_by(|a, b| ranks[*a].total_cmp(&ranks[*b]));
        }
        order
    }
}

impl Term {
    #[expect(clippy::cast_precision_loss, reason = "a rank is an estimate")]
    fn rank(&self) -> f64 {
        let (rows_in, rows_out) = (self.rows_in.load(Ordering::Relaxed), self.rows_out.load(Ordering::Relaxed));
        // Before the first rows: as if half would go.
        let removed = if rows_in == 0 { 0.5 } else { 1.0 - rows_out as f64 / rows_in as f64 };
        f64::from(self.cost) / removed.max(1e-3)
    }

    fn learn(&self, rows_in: u64, rows_out: u64) {
        let (mut seen, mut passed) = (self.rows_in.load(Ordering::Relaxed), self.rows_out.load(Ordering::Relaxed));
        if seen > MEMORY_ROWS {
            seen /= 2;
            passed /= 2;
        }
        self.rows_in.store(seen + rows_in, Ordering::Relaxed);
        self.rows_out.store(passed + rows_out, Ordering::Relaxed);
    }
}

/// Narrows the machine's scope to the rows for which the node is true; comes back with their count.
fn narrow(machine: &mut Machine<'_>, node: NodeId) -> Result<usize, ExprError> {
    let column = super::column::flatten(machine.run(node)?)?;
    let rows = machine.scopes.rows();
    let bits = true_bits(&column, rows.len)?;
    let bits = match rows.active {
        Some(active) => &bits & active,
        None => bits,
    };
    let count = bits.count_set_bits();
    if count > 0 && count < machine.scopes.count() {
        machine.scopes.enter(bits, count);
    }
    Ok(count)
}

impl std::fmt::Debug for CompiledPredicate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CompiledPredicate").field("terms", &(self.sure.len() + self.unsure.len())).finish()
    }
}
