//! The evaluator: a machine with a stack of work and a stack of columns, so that depth costs heap and never stack.
//!
//! A node is entered, its arguments are evaluated, then it is applied. AND, OR and CASE come back to the work stack
//! between their arguments and narrow the scope (`scope`) to the rows that still need the next one.
//!
//! Applying a function takes the cheapest of these ways that gives the same answer:
//! 1. all arguments are constants: once, and the result is a constant;
//! 2. a constant NULL for a strict function: NULL;
//! 3. one dictionary among constants: once for each distinct value, then through the codes (*peeling*); if that fails,
//!    the failing value may be one that no row has, so it is done again row by row;
//! 4. flat, over all rows of the frame, or gathered together first if the function is costly.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::DataType;
use flumen_core::batch::{Batch, Column};
use flumen_core::types::LogicalType;
use std::sync::Arc;

use super::column::{Rows, constant_null, flatten, gather, is_constant_null, positions, scatter, true_bits};
use super::error::ExprError;
use super::functions::choose;
use super::program::{Bound, Node, NodeId, Op, Program};
use super::registry::ScalarFunction;
use super::scope::Scopes;

/// Conditions that cost more (tenths of a nanosecond for a row) are evaluated only for the rows that need them.
const COSTLY: u32 = 30;
/// Conditions that cost no more are evaluated for all rows even if few need them: gathering would cost as much.
const CHEAP: u32 = 3;

/// One evaluation over one batch.
pub(crate) struct Machine<'a> {
    program: &'a Program,
    pub(crate) scopes: Scopes<'a>,
    values: Vec<Column>,
    work: Vec<Work>,
}

enum Work {
    Enter(NodeId),
    Apply(NodeId),
    /// Leaves the scope that was entered for a shared node.
    Leave,
    Logic(Logic),
    Case(Case),
}

/// AND or OR between two of its terms.
struct Logic {
    node: NodeId,
    next: usize,
    /// A term's value is on the stack, computed in a scope of its own or not.
    waiting: Option<bool>,
    truth: Option<Truth>,
    constant: bool,
}

/// CASE between two of its parts.
struct Case {
    node: NodeId,
    next: usize,
    waiting: Option<bool>,
    /// Rows that no condition has taken; `None` means all that count.
    remaining: Option<BooleanBuffer>,
    /// Rows that the last condition took.
    taken: BooleanBuffer,
    /// Rows and their values.
    pieces: Vec<(BooleanBuffer, Column)>,
}

/// Three-valued bits: which rows are true, and which are false (`None`: all others).
struct Truth {
    yes: BooleanBuffer,
    no: Option<BooleanBuffer>,
}

impl Truth {
    fn of(column: &Column, rows: usize) -> Result<Self, ExprError> {
        let yes = true_bits(column, rows)?;
        let array = column.array().as_boolean();
        let no = match column {
            Column::Constant(_) if array.is_null(0) => Some(BooleanBuffer::new_unset(rows)),
            Column::Constant(_) => None,
            Column::Array(_) => {
                array.nulls().filter(|n| n.null_count() > 0).map(|nulls| &!array.values() & nulls.inner())
            }
        };
        Ok(Self { yes, no })
    }

    fn no(&self) -> BooleanBuffer {
        self.no.clone().unwrap_or_else(|| !&self.yes)
    }

    fn and(self, other: Self) -> Self {
        let no = (self.no.is_some() || other.no.is_some()).then(|| &self.no() | &other.no());
        Self { yes: &self.yes & &other.yes, no }
    }

    fn or(self, other: Self) -> Self {
        let no = (self.no.is_some() || other.no.is_some()).then(|| &self.no() & &other.no());
        Self { yes: &self.yes | &other.yes, no }
    }

    fn into_array(self) -> BooleanArray {
        let nulls = self.no.map(|no| NullBuffer::new(&self.yes | &no)).filter(|n| n.null_count() > 0);
        BooleanArray::new(self.yes, nulls)
    }
}

fn restrict(bits: BooleanBuffer, rows: Rows<'_>) -> BooleanBuffer {
    match rows.active {
        Some(active) => &bits & active,
        None => bits,
    }
}

/// Evaluates the root over the selected rows.
pub(crate) fn evaluate(program: &Program, batch: &Batch) -> Result<Column, ExprError> {
    if batch.num_rows() == 0 {
        return Ok(constant_null(&program.nodes[program.root].data_type));
    }
    let mut machine = Machine::new(program, batch);
    let column = machine.run(program.root)?;
    if machine.scopes.depth() > 1 { machine.scopes.leave(column) } else { Ok(column) }
}

impl<'a> Machine<'a> {
    /// A machine over the selected rows of a batch, at least one.
    pub(crate) fn new(program: &'a Program, batch: &'a Batch) -> Self {
        let mut scopes = Scopes::new(batch, program.nodes.len());
        if let Some(selection) = batch.selection().filter(|s| s.len() < batch.physical_rows()) {
            scopes.enter_selection(selection);
        }
        Self { program, scopes, values: Vec::new(), work: Vec::new() }
    }

    /// The value of a node for the rows of the current scope.
    pub(crate) fn run(&mut self, node: NodeId) -> Result<Column, ExprError> {
        self.work.push(Work::Enter(node));
        while let Some(work) = self.work.pop() {
            match work {
                Work::Enter(node) => self.enter(node)?,
                Work::Apply(node) => {
                    let arguments = self.program.nodes[node].args.len();
                    let args = self.values.split_off(self.values.len() - arguments);
                    let column = self.apply(node, args)?;
                    self.finish(node, column);
                }
                Work::Leave => {
                    let column = self.pop();
                    let column = self.scopes.leave(column)?;
                    self.values.push(column);
                }
                Work::Logic(logic) => self.logic(logic)?,
                Work::Case(case) => self.case(case)?,
            }
        }
        Ok(self.pop())
    }

    fn pop(&mut self) -> Column {
        self.values.pop().expect("every node leaves one value")
    }

    fn finish(&mut self, node: NodeId, column: Column) {
        if self.program.nodes[node].uses > 1 {
            self.scopes.keep(node, &column);
        }
        self.values.push(column);
    }

    fn enter(&mut self, id: NodeId) -> Result<(), ExprError> {
        let node = &self.program.nodes[id];
        match &node.op {
            Op::Column(index) => {
                let column = self.scopes.column(*index)?;
                self.values.push(column);
                return Ok(());
            }
            Op::Literal(column) => {
                self.values.push(column.clone());
                return Ok(());
            }
            _ => {}
        }
        if node.uses > 1 {
            if let Some(kept) = self.scopes.kept(id) {
                self.values.push(kept?);
                return Ok(());
            }
            // What cannot fail is computed for all rows at once, so that other branches find it.
            if !node.fallible && node.deterministic && self.scopes.may_widen() {
                self.scopes.enter_base();
                self.work.push(Work::Leave);
            }
        }
        match &node.op {
            Op::And | Op::Or => {
                self.work.push(Work::Logic(Logic { node: id, next: 0, waiting: None, truth: None, constant: true }))
            }
            Op::Case => self.work.push(Work::Case(Case {
                node: id,
                next: 0,
                waiting: None,
                remaining: None,
                taken: BooleanBuffer::new_unset(0),
                pieces: Vec::new(),
            })),
            _ => {
                self.work.push(Work::Apply(id));
                self.work.extend(node.args.iter().rev().map(|arg| Work::Enter(*arg)));
            }
        }
        Ok(())
    }

    /// Whether a part is evaluated for only the `count` rows that need it: because it may fail for others, or because
    /// that is cheaper.
    fn narrows(&self, part: &Node, count: usize) -> bool {
        let all = self.scopes.count();
        let pays = (part.cost > COSTLY && count * 2 < all) || (part.cost > CHEAP && count * 8 < all);
        count < all && (part.fallible || !part.deterministic || pays)
    }

    /// Takes the value that a part left, numbered and scoped as the whole.
    fn take_value(&mut self, scoped: bool) -> Result<Column, ExprError> {
        let column = self.pop();
        if scoped { self.scopes.leave(column) } else { Ok(column) }
    }

    fn logic(&mut self, mut state: Logic) -> Result<(), ExprError> {
        let node = &self.program.nodes[state.node];
        let is_and = matches!(node.op, Op::And);
        if let Some(scoped) = state.waiting.take() {
            let column = flatten(self.take_value(scoped)?)?;
            state.constant &= column.as_constant().is_some();
            let term = Truth::of(&column, self.scopes.rows().len)?;
            state.truth = Some(match state.truth {
                None => term,
                Some(truth) if is_and => truth.and(term),
                Some(truth) => truth.or(term),
            });
        }
        let Some(term) = node.args.get(state.next).copied() else { return self.logic_done(state) };
        let mut scoped = false;
        if let Some(truth) = &state.truth {
            let term = &self.program.nodes[term];
            let rows = self.scopes.rows();
            let undecided = match (is_and, &truth.no) {
                (true, None) => truth.yes.clone(),
                (true, Some(no)) => !no,
                (false, _) => !&truth.yes,
            };
            let undecided = restrict(undecided, rows);
            let count = undecided.count_set_bits();
            if count == 0 {
                return self.logic_done(state);
            }
            if self.narrows(term, count) {
                self.scopes.enter(undecided, count);
                scoped = true;
            }
        }
        state.next += 1;
        state.waiting = Some(scoped);
        self.work.push(Work::Logic(state));
        self.work.push(Work::Enter(term));
        Ok(())
    }

    fn logic_done(&mut self, state: Logic) -> Result<(), ExprError> {
        let array = state.truth.expect("there is at least one term").into_array();
        let column =
            if state.constant { Column::Constant(Arc::new(array.slice(0, 1))) } else { Column::Array(Arc::new(array)) };
        self.finish(state.node, column);
        Ok(())
    }

    fn case(&mut self, mut state: Case) -> Result<(), ExprError> {
        let node = &self.program.nodes[state.node];
        let otherwise = node.args.len() - 1;
        let rows_len = self.scopes.rows().len;
        if let Some(scoped) = state.waiting.take() {
            let column = self.take_value(scoped)?;
            let part = state.next - 1;
            if part == otherwise {
                let rest = state.remaining.take().unwrap_or_else(|| BooleanBuffer::new_set(rows_len));
                state.pieces.push((rest, column));
            } else if part.is_multiple_of(2) {
                let rows = self.scopes.rows();
                let met = restrict(true_bits(&flatten(column)?, rows_len)?, rows);
                state.taken = match &state.remaining {
                    Some(remaining) => &met & remaining,
                    None => met,
                };
                let rest = match &state.remaining {
                    Some(remaining) => remaining & &!&state.taken,
                    None => restrict(!&state.taken, rows),
                };
                state.remaining = Some(rest);
                if !state.taken.has_true() {
                    state.next += 1;
                }
            } else {
                state.pieces.push((state.taken.clone(), column));
            }
        }
        let is_condition = state.next.is_multiple_of(2) && state.next != otherwise;
        let exhausted = state.remaining.as_ref().is_some_and(|r| !r.has_true());
        if state.next > otherwise || (exhausted && (is_condition || state.next == otherwise)) {
            let column = choose::choose(&state.pieces, &node.data_type, self.scopes.rows())?;
            self.finish(state.node, column);
            return Ok(());
        }
        let part = node.args[state.next];
        let part_node = &self.program.nodes[part];
        let needed = if state.next % 2 == 1 { Some(&state.taken) } else { state.remaining.as_ref() };
        let mut scoped = false;
        if let Some(needed) = needed {
            let leaf = matches!(part_node.op, Op::Column(_) | Op::Literal(_));
            if !leaf {
                let count = needed.count_set_bits();
                if self.narrows(part_node, count) {
                    self.scopes.enter(needed.clone(), count);
                    scoped = true;
                }
            }
        }
        state.next += 1;
        state.waiting = Some(scoped);
        self.work.push(Work::Case(state));
        self.work.push(Work::Enter(part));
        Ok(())
    }

    fn apply(&mut self, id: NodeId, args: Vec<Column>) -> Result<Column, ExprError> {
        let node = &self.program.nodes[id];
        let rows = self.scopes.rows();
        let count = self.scopes.count();
        let call = match &node.op {
            Op::Kernel(bound) => Callee::Kernel(bound),
            Op::Function(function) => Callee::Function(function.as_ref(), &node.data_type),
            _ => unreachable!("only functions are applied"),
        };
        if call.is_strict() && args.iter().any(is_constant_null) {
            return Ok(constant_null(&node.data_type));
        }
        if call.is_deterministic() && args.iter().all(|a| a.as_constant().is_some()) {
            let args = args.into_iter().map(flatten).collect::<Result<Vec<_>, _>>()?;
            return Ok(match call.invoke(&args, Rows::all(1))? {
                Column::Array(array) => Column::Constant(array),
                constant => constant,
            });
        }
        if let Some(peeled) = peel(&call, &args, count) {
            return peeled;
        }
        let args = args.into_iter().map(flatten).collect::<Result<Vec<_>, _>>()?;
        match rows.active {
            Some(active) if call.is_dense() => {
                let positions = positions(active);
                let dense = args.iter().map(|a| gather(a, &positions)).collect::<Result<Vec<_>, _>>()?;
                scatter(&call.invoke(&dense, Rows::all(positions.len()))?, &positions, rows.len)
            }
            _ => call.invoke(&args, rows),
        }
    }
}

/// A function about to be called.
enum Callee<'a> {
    Kernel(&'a Bound),
    Function(&'a dyn ScalarFunction, &'a LogicalType),
}

impl Callee<'_> {
    fn is_strict(&self) -> bool {
        match self {
            Self::Kernel(bound) => bound.traits.strict,
            Self::Function(function, _) => function.is_strict(),
        }
    }

    fn is_deterministic(&self) -> bool {
        match self {
            Self::Kernel(_) => true,
            Self::Function(function, _) => function.is_deterministic(),
        }
    }

    fn is_dense(&self) -> bool {
        match self {
            Self::Kernel(bound) => bound.traits.dense,
            Self::Function(_, _) => true,
        }
    }

    fn invoke(&self, args: &[Column], rows: Rows<'_>) -> Result<Column, ExprError> {
        let (function, return_type) = match self {
            Self::Kernel(bound) => return bound.kernel.evaluate(args, rows),
            Self::Function(function, return_type) => (*function, *return_type),
        };
        let column = function
            .invoke(args, rows.len, return_type)
            // What is already said in the engine's words is not said to be a function's failure.
            .map_err(|source| match source.downcast::<ExprError>() {
                Ok(own) => *own,
                Err(source) => ExprError::Function { function: function.name().to_owned(), source },
            })?;
        let length = if column.as_constant().is_some() { 1 } else { rows.len };
        let found = column.logical_type();
        let type_agrees = match (&found, return_type) {
            (Some(LogicalType::Decimal { scale: a, .. }), LogicalType::Decimal { scale: b, .. }) => a == b,
            (Some(found), due) => found == due,
            (None, _) => false,
        };
        if !type_agrees || column.array().len() != length {
            return Err(ExprError::BadResult {
                function: function.name().to_owned(),
                found: format!("{} values of Arrow type {}", column.array().len(), column.array().data_type()),
                expected: format!("{length} values of type {return_type}"),
            });
        }
        Ok(column)
    }
}

/// Evaluates on the distinct values if there is one dictionary and the rest are constants; `None` if that is not so or
/// not worth it.
fn peel(call: &Callee<'_>, args: &[Column], count: usize) -> Option<Result<Column, ExprError>> {
    let mut arrays = args.iter().enumerate().filter(|(_, a)| a.as_constant().is_none());
    let (position, column) = arrays.next()?;
    if arrays.next().is_some() || !call.is_deterministic() {
        return None;
    }
    let dictionary = column.array().as_any_dictionary_opt()?;
    let distinct = dictionary.values().len();
    if distinct > count || (!call.is_strict() && dictionary.keys().null_count() > 0) {
        return None;
    }
    let mut on_values = Vec::with_capacity(args.len());
    for (i, arg) in args.iter().enumerate() {
        let arg = if i == position { Column::Array(Arc::clone(dictionary.values())) } else { arg.clone() };
        match flatten(arg) {
            Ok(arg) => on_values.push(arg),
            Err(error) => return Some(Err(error)),
        }
    }
    let values: ArrayRef = match call.invoke(&on_values, Rows::all(distinct)) {
        Ok(Column::Array(values)) => values,
        Ok(constant @ Column::Constant(_)) if dictionary.keys().null_count() == 0 => return Some(Ok(constant)),
        Ok(Column::Constant(_)) | Err(_) => return None,
    };
    Some(match values.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Binary | DataType::BinaryView => {
            Ok(Column::Array(dictionary.with_values(values)))
        }
        _ => arrow_select::take::take(&values, dictionary.keys(), None)
            .map(Column::Array)
            .map_err(ExprError::arrow("look codes up")),
    })
}
