//! Long flat chains of operators, made balanced.
//!
//! The parser builds `a OR b OR c ...` as a tree that leans to the left and is as deep as it is long; everything after
//! it is recursive. [`rebalance`] walks down such chains with a loop and rebuilds them with logarithmic depth. Short
//! chains keep SQL's grouping from the left; of `+`, `-`, `*` and `||` this is more than a matter of cost, since
//! grouping differently may change the last bits of floating-point sums and the digits of decimals.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{BinaryOperator, Expr, Ident, Select, SelectItem, Value, VisitMut, VisitorMut};

use super::{limits, normalize};
use crate::error::Result;

/// Chains of arithmetic up to this length keep SQL's grouping from the left.
pub(crate) const ARITHMETIC_CHAIN_MIN: usize = 64;
/// Chains of AND and OR up to this length are left alone. It must exceed the depth of any rebuilt chain, or the visitor
/// would find the left edge of one and rebuild it again.
const LOGICAL_CHAIN_MIN: usize = 32;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    And,
    Or,
    Sum,
    Product,
    Concat,
}

fn family(op: &BinaryOperator) -> Option<Family> {
    Some(match op {
        BinaryOperator::And => Family::And,
        BinaryOperator::Or => Family::Or,
        BinaryOperator::Plus | BinaryOperator::Minus => Family::Sum,
        BinaryOperator::Multiply => Family::Product,
        BinaryOperator::StringConcat => Family::Concat,
        _ => return None,
    })
}

fn placeholder() -> Expr {
    Expr::value(Value::Null)
}

/// Rebuilds the chains below (and at) `expr`.
pub(crate) struct Rebalance;

impl VisitorMut for Rebalance {
    type Break = crate::error::SqlError;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Self::Break> {
        select.projection.iter_mut().for_each(name_chain);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        match rebalance(expr) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// Names a select item that is a chain by its text, as long as that is as it was written.
fn name_chain(item: &mut SelectItem) {
    let SelectItem::UnnamedExpr(expr) = item else { return };
    let (mut length, mut below) = (1, &*expr);
    while let Expr::BinaryOp { left, .. } = below {
        (length, below) = (length + 1, left);
    }
    if length > LOGICAL_CHAIN_MIN {
        let alias = Ident::with_quote('"', normalize::text_name(expr));
        *item = SelectItem::ExprWithAlias { expr: std::mem::replace(expr, placeholder()), alias };
    }
}

fn rebalance(expr: &mut Expr) -> Result<()> {
    let Expr::BinaryOp { op, .. } = &*expr else { return Ok(()) };
    let Some(wanted) = family(op) else {
        // A chain of other operators cannot be regrouped; it counts as nesting.
        let mut depth = 0;
        let mut below = &*expr;
        while let Expr::BinaryOp { left, .. } = below {
            depth += 1;
            if depth > limits::NESTING_MAX {
                return Err(limits::too_deep());
            }
            below = left;
        }
        return Ok(());
    };
    let mut length = 1;
    let mut below = &*expr;
    while let Expr::BinaryOp { left, op, .. } = below {
        if family(op) != Some(wanted) {
            break;
        }
        length += 1;
        below = left;
    }
    let logical = matches!(wanted, Family::And | Family::Or);
    if length <= if logical { LOGICAL_CHAIN_MIN } else { ARITHMETIC_CHAIN_MIN } {
        return Ok(());
    }
    // Operand and the operator before it, last first.
    let mut operands = Vec::with_capacity(length);
    let mut rest = std::mem::replace(expr, placeholder());
    loop {
        match rest {
            Expr::BinaryOp { left, op, right } if family(&op) == Some(wanted) => {
                operands.push((op, *right));
                rest = *left;
            }
            first => {
                let op = operands.last().map_or(BinaryOperator::Plus, |(op, _)| op.clone());
                let op = if wanted == Family::Sum { BinaryOperator::Plus } else { op };
                operands.push((op, first));
                break;
            }
        }
    }
    operands.reverse();
    *expr = balanced(&mut operands, wanted == Family::Sum);
    Ok(())
}

/// Combines the operands in halves. In a sum, a half that starts with minus is subtracted as a whole, and the signs
/// inside it are turned round.
fn balanced(operands: &mut [(BinaryOperator, Expr)], signed: bool) -> Expr {
    if let [(_, only)] = operands {
        return std::mem::replace(only, placeholder());
    }
    let (left, right) = operands.split_at_mut(operands.len() / 2);
    let op = right[0].0.clone();
    if signed && op == BinaryOperator::Minus {
        for (sign, _) in right.iter_mut() {
            *sign = if *sign == BinaryOperator::Minus { BinaryOperator::Plus } else { BinaryOperator::Minus };
        }
    }
    let (left, right) = (balanced(left, signed), balanced(right, signed));
    let nest = |e: Expr, on_the_right: bool| {
        // `a - (b + c)` needs its parentheses when it is printed.
        if signed && on_the_right && matches!(e, Expr::BinaryOp { .. }) { Expr::Nested(Box::new(e)) } else { e }
    };
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(nest(right, true)) }
}

/// Rebuilds all chains of a piece of syntax.
pub(crate) fn rebalance_all(node: &mut impl VisitMut) -> Result<()> {
    match node.visit(&mut Rebalance) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}
