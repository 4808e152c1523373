//! From an expression to a program.
//!
//! 1. The tree is walked with a stack of its own, children before parents; depth is bounded by [`DEPTH_MAX`].
//! 2. Every node is looked up by what it is and by the numbers of its arguments, so equal parts become one node.
//! 3. Types are checked on the way: a built-in function computes or verifies its result's type, a registered one is
//!    asked, and the type that the planner stated must agree.
//! 4. Some forms become others: `coalesce` is a CASE, a chain of `x = constant` under OR is an IN list.

use std::collections::HashMap;
use std::fmt::Write as _;

use flumen_core::batch::Column;
use flumen_core::expr::{Expr, Literal, Value};
use flumen_core::types::{LogicalType, Schema};

use super::error::ExprError;
use super::functions::{self, Argument};
use super::literal::literal_array;
use super::program::{Bound, Node, NodeId, Op, Program, Traits};
use super::registry::FunctionRegistry;

/// The most levels of an expression.
pub const DEPTH_MAX: usize = 4096;

/// How many `x = constant` of one `x` under OR are worth an IN list.
const OR_LIST_MIN: usize = 3;
/// IN lists up to this length take part in the search for equal parts; longer ones cost more to compare than they save.
const SHARED_LIST_MAX: usize = 64;

/// Compiles `expr` over the columns of `input`.
pub(crate) fn compile(expr: &Expr, input: &Schema, functions: &FunctionRegistry) -> Result<Program, ExprError> {
    let mut compiler = Compiler { input, functions, nodes: Vec::new(), known: HashMap::new(), anonymous: 0 };
    let root = compiler.walk(expr)?;
    compiler.nodes[root].uses += 1;
    Ok(Program { nodes: compiler.nodes, root, columns: input.fields.len() })
}

struct Compiler<'a> {
    input: &'a Schema,
    functions: &'a FunctionRegistry,
    nodes: Vec<Node>,
    known: HashMap<(String, Vec<NodeId>), NodeId>,
    anonymous: u64,
}

/// An expression whose children are being compiled.
struct Open<'e> {
    expr: &'e Expr,
    next: usize,
    ids: Vec<NodeId>,
}

fn child(expr: &Expr, index: usize) -> Option<&Expr> {
    match expr {
        Expr::Column(_) | Expr::Literal(_) => None,
        Expr::Call { args, .. } => args.get(index),
        Expr::Case { branches, otherwise, .. } => match branches.get(index / 2) {
            Some((condition, _)) if index.is_multiple_of(2) => Some(condition),
            Some((_, value)) => Some(value),
            None if index == branches.len() * 2 => otherwise.as_deref(),
            None => None,
        },
        Expr::Cast { input, .. } | Expr::InList { input, .. } => (index == 0).then_some(&**input),
    }
}

impl Compiler<'_> {
    fn walk(&mut self, root: &Expr) -> Result<NodeId, ExprError> {
        let mut open = vec![Open { expr: root, next: 0, ids: Vec::new() }];
        loop {
            let top = open.last_mut().expect("the loop returns with the root");
            if let Some(expr) = child(top.expr, top.next) {
                top.next += 1;
                if open.len() == DEPTH_MAX {
                    return Err(ExprError::TooDeep { limit: DEPTH_MAX });
                }
                open.push(Open { expr, next: 0, ids: Vec::new() });
                continue;
            }
            let done = open.pop().expect("looked at above");
            let id = self.finish(done.expr, done.ids)?;
            match open.last_mut() {
                Some(parent) => parent.ids.push(id),
                None => return Ok(id),
            }
        }
    }

    fn finish(&mut self, expr: &Expr, ids: Vec<NodeId>) -> Result<NodeId, ExprError> {
        match expr {
            Expr::Column(index) => {
                let field = self
                    .input
                    .fields
                    .get(*index)
                    .ok_or(ExprError::UnknownColumn { index: *index, columns: self.input.fields.len() })?;
                let data_type = field.data_type.clone();
                Ok(self.add(format!("column {index}"), Op::Column(*index), ids, data_type))
            }
            Expr::Literal(literal) => self.literal(literal),
            Expr::Call { function, args, return_type } => self.call(function, args, ids, return_type),
            Expr::Case { otherwise, return_type, .. } => self.case(ids, otherwise.is_some(), return_type),
            Expr::Cast { input: _, to, safe } => {
                if self.nodes[ids[0]].data_type == *to {
                    return Ok(ids[0]);
                }
                if self.nodes[ids[0]].data_type == LogicalType::Null {
                    return self.literal(&Literal::null(to.clone()));
                }
                let bound = functions::cast::bind(&self.nodes[ids[0]].data_type, to, *safe)?;
                Ok(self.add(format!("cast {to} {safe}"), Op::Kernel(bound), ids, to.clone()))
            }
            Expr::InList { input: _, list, negated } => self.in_list(ids[0], list, *negated),
        }
    }

    fn literal(&mut self, literal: &Literal) -> Result<NodeId, ExprError> {
        let array = literal_array(literal)?;
        let tag = match &literal.value {
            Value::Utf8(text) if text.len() > 256 => self.anonymous("literal"),
            value => format!("literal {value:?} {}", literal.data_type),
        };
        Ok(self.add(tag, Op::Literal(Column::Constant(array)), Vec::new(), literal.data_type.clone()))
    }

    fn in_list(&mut self, input: NodeId, list: &[Literal], negated: bool) -> Result<NodeId, ExprError> {
        if self.nodes[input].data_type == LogicalType::Null && !list.is_empty() {
            return self.literal(&Literal::null(LogicalType::Boolean));
        }
        let bound = functions::in_list::bind(&self.nodes[input].data_type, list, negated)?;
        let tag = if list.len() <= SHARED_LIST_MAX { format!("in {negated} {list:?}") } else { self.anonymous("in") };
        Ok(self.add(tag, Op::Kernel(bound), vec![input], LogicalType::Boolean))
    }

    fn call(
        &mut self,
        name: &str,
        exprs: &[Expr],
        args: Vec<NodeId>,
        stated: &LogicalType,
    ) -> Result<NodeId, ExprError> {
        match name {
            "and" | "or" => return self.logic(name, exprs, args, stated),
            "coalesce" => return self.coalesce(args, stated),
            _ => {}
        }
        if functions::NAMES.contains(&name) {
            let arguments: Vec<Argument<'_>> = args
                .iter()
                .map(|id| Argument { data_type: &self.nodes[*id].data_type, constant: self.constant(*id) })
                .collect();
            // A literal NULL without a type takes part in no typing: a strict function of it is NULL.
            let untyped_null = arguments.iter().any(|a| *a.data_type == LogicalType::Null);
            if untyped_null && functions::is_strict(name) {
                return self.literal(&Literal::null(stated.clone()));
            }
            let bound = functions::bind(name, &arguments, stated)?;
            return Ok(self.add(format!("{name} {stated:?}"), Op::Kernel(bound), args, stated.clone()));
        }
        let Some(function) = self.functions.get(name).cloned() else { return Err(self.functions.unknown(name)) };
        let types: Vec<LogicalType> = args.iter().map(|id| self.nodes[*id].data_type.clone()).collect();
        let constants: Vec<Option<&Column>> = args.iter().map(|id| self.constant(*id)).collect();
        let computed = function
            .return_type_of(&types, &constants)
            .map_err(|source| ExprError::Function { function: name.to_owned(), source })?;
        if computed != *stated {
            return Err(ExprError::ReturnType { function: name.to_owned(), computed, stated: stated.clone() });
        }
        let tag = if function.is_deterministic() { name.to_owned() } else { self.anonymous(name) };
        Ok(self.add(tag, Op::Function(function), args, computed))
    }

    /// The value of a node that is a literal.
    fn constant(&self, id: NodeId) -> Option<&Column> {
        match &self.nodes[id].op {
            Op::Literal(column) => Some(column),
            _ => None,
        }
    }

    fn logic(
        &mut self,
        name: &str,
        exprs: &[Expr],
        mut args: Vec<NodeId>,
        stated: &LogicalType,
    ) -> Result<NodeId, ExprError> {
        self.expect_type(name, &LogicalType::Boolean, stated)?;
        for arg in &mut args {
            match self.nodes[*arg].data_type {
                LogicalType::Boolean => {}
                LogicalType::Null => *arg = self.literal(&Literal::null(LogicalType::Boolean))?,
                _ => {
                    let found = args.iter().map(|id| self.nodes[*id].data_type.clone()).collect();
                    let expected = "all arguments must be BOOLEAN".to_owned();
                    return Err(ExprError::ArgumentTypes { function: name.to_owned(), found, expected });
                }
            }
        }
        if name == "or" {
            args = self.gather_equalities(exprs, args)?;
        }
        match args.as_slice() {
            [] => self.literal(&Literal::boolean(name == "and")),
            [only] => Ok(*only),
            _ => {
                let op = if name == "and" { Op::And } else { Op::Or };
                Ok(self.add(name.to_owned(), op, args, LogicalType::Boolean))
            }
        }
    }

    /// Replaces `x = 1 OR x = 2 OR ...` by `x IN (1, 2, ...)` at the place of the first, for every `x` that cannot fail.
    fn gather_equalities(&mut self, exprs: &[Expr], args: Vec<NodeId>) -> Result<Vec<NodeId>, ExprError> {
        if exprs.len() != args.len() {
            return Ok(args);
        }
        // The input's node for each term that is an equality with a constant, and its constant.
        let equality = |index: usize| -> Option<(NodeId, &Literal)> {
            let Expr::Call { function, args: sides, .. } = &exprs[index] else { return None };
            let [left, right] = sides.as_slice() else { return None };
            let node = &self.nodes[args[index]];
            if function != "eq" || !matches!(node.op, Op::Kernel(_)) || node.args.len() != 2 {
                return None;
            }
            let (input, literal) = match (left, right) {
                (_, Expr::Literal(literal)) => (node.args[0], literal),
                (Expr::Literal(literal), _) => (node.args[1], literal),
                _ => return None,
            };
            let input_node = &self.nodes[input];
            let usable = !input_node.fallible && input_node.deterministic && input_node.data_type == literal.data_type;
            usable.then_some((input, literal))
        };
        let mut lists: HashMap<NodeId, Vec<Literal>> = HashMap::new();
        let found: Vec<Option<NodeId>> = (0..args.len())
            .map(|index| {
                let (input, literal) = equality(index)?;
                lists.entry(input).or_default().push(literal.clone());
                Some(input)
            })
            .collect();
        let mut out = Vec::with_capacity(args.len());
        for (arg, input) in args.into_iter().zip(found) {
            match input.filter(|i| lists.get(i).is_none_or(|list| list.len() >= OR_LIST_MIN)) {
                // The list was taken by the first of its terms.
                Some(input) => {
                    if let Some(list) = lists.remove(&input) {
                        out.push(self.in_list(input, &list, false)?);
                    }
                }
                None => out.push(arg),
            }
        }
        Ok(out)
    }

    fn coalesce(&mut self, args: Vec<NodeId>, stated: &LogicalType) -> Result<NodeId, ExprError> {
        let args: Vec<NodeId> = args.into_iter().filter(|id| self.nodes[*id].data_type != LogicalType::Null).collect();
        let Some((last, before)) = args.split_last() else { return self.literal(&Literal::null(stated.clone())) };
        let mut parts = Vec::with_capacity(args.len() * 2);
        for id in before {
            let argument = Argument { data_type: &self.nodes[*id].data_type, constant: None };
            let bound = functions::bind("is_not_null", &[argument], &LogicalType::Boolean)?;
            let tag = format!("is_not_null {:?}", LogicalType::Boolean);
            let condition = self.add(tag, Op::Kernel(bound), vec![*id], LogicalType::Boolean);
            parts.extend([condition, *id]);
        }
        parts.push(*last);
        self.case(parts, true, stated)
    }

    fn case(&mut self, mut ids: Vec<NodeId>, has_otherwise: bool, stated: &LogicalType) -> Result<NodeId, ExprError> {
        if !has_otherwise {
            ids.push(self.literal(&Literal::null(stated.clone()))?);
        }
        let last = ids.len() - 1;
        for (position, id) in ids.iter_mut().enumerate() {
            let is_condition = position % 2 == 0 && position != last;
            let expected = if is_condition { &LogicalType::Boolean } else { stated };
            let found = self.nodes[*id].data_type.clone();
            if found == LogicalType::Null && *expected != LogicalType::Null {
                *id = self.literal(&Literal::null(expected.clone()))?;
            } else if found != *expected {
                let function = if is_condition { "a condition of CASE" } else { "a value of CASE" };
                let (computed, stated) = (found, expected.clone());
                return Err(ExprError::ReturnType { function: function.to_owned(), computed, stated });
            }
        }
        if let [only] = ids.as_slice() {
            return Ok(*only);
        }
        Ok(self.add(format!("case {stated:?}"), Op::Case, ids, stated.clone()))
    }

    fn expect_type(&self, function: &str, computed: &LogicalType, stated: &LogicalType) -> Result<(), ExprError> {
        if computed == stated {
            return Ok(());
        }
        Err(ExprError::ReturnType { function: function.to_owned(), computed: computed.clone(), stated: stated.clone() })
    }

    /// A tag that equals no other.
    fn anonymous(&mut self, name: &str) -> String {
        self.anonymous += 1;
        let mut tag = name.to_owned();
        write!(tag, " #{}", self.anonymous).expect("writing to a string");
        tag
    }

    fn add(&mut self, tag: String, op: Op, args: Vec<NodeId>, data_type: LogicalType) -> NodeId {
        let key = (tag, args);
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let args = key.1.clone();
        let own = match &op {
            Op::Kernel(Bound { traits, .. }) => *traits,
            Op::Function(_) => Traits { strict: false, fallible: true, dense: true, cost: 1000 },
            Op::Column(_) | Op::Literal(_) => Traits { cost: 0, ..Traits::PLAIN },
            Op::And | Op::Or | Op::Case => Traits::PLAIN,
        };
        let own_deterministic = match &op {
            Op::Function(function) => function.is_deterministic(),
            _ => true,
        };
        let mut node = Node {
            op,
            args,
            data_type,
            uses: 0,
            fallible: own.fallible,
            deterministic: own_deterministic,
            cost: own.cost,
        };
        for arg in node.args.clone() {
            let below = &mut self.nodes[arg];
            below.uses += 1;
            node.fallible |= below.fallible;
            node.deterministic &= below.deterministic;
            node.cost = node.cost.saturating_add(below.cost);
        }
        let id = self.nodes.len();
        self.nodes.push(node);
        self.known.insert(key, id);
        id
    }
}
