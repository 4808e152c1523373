//! UNNEST: lists by the operator, structs by a projection of their parts.
//!
//! Lists inside of lists are unnested level by level. Items are numbered where the plan below asks for lists of numbers
//! ([`ORDINALITY`]), which are then not made.

use std::sync::Arc;

use datafusion_common::NullHandling;
use datafusion_expr::Unnest;
use flumen_core::expr::{Expr, Literal};
use flumen_core::spec::relational::{UnnestColumn, UnnestSpec};
use flumen_core::types::{Field, LogicalType, Schema};

use super::{PhysicalPlanner, fields};
use crate::bind::nested::ORDINALITY;
use crate::error::{Result, SqlError};
use crate::nested_functions::FIELD;
use crate::optimize::estimate;
use crate::plan::expr::FUNCTION_PREFIX;
use crate::plan::node::{Node, Op};

impl PhysicalPlanner<'_> {
    pub(super) fn unnest(&mut self, unnest: &Unnest) -> Result<Node> {
        let is_outer = match unnest.options.null_handling {
            NullHandling::Drop => false,
            NullHandling::PreserveAndExpandEmpty => true,
            NullHandling::Preserve => return Err(SqlError::unsupported("an UNNEST that keeps NULL").about("UNNEST")),
        };
        let mut node = self.node(&unnest.input)?;
        let fields_out = fields(&unnest.schema)?;
        let deepest = unnest.list_type_columns.iter().map(|(_, list)| list.depth).max().unwrap_or(0);
        let is_single = unnest.list_type_columns.len() == 1;
        if deepest > 1 && !is_single {
            let what = "UNNEST of several lists, one of which has lists in it that are unnested, too";
            return Err(SqlError::unsupported(what)
                .about("UNNEST")
                .with_hint("unnest the inner lists in a query around it"));
        }
        // All levels but the last, in place.
        for _ in 1..deepest {
            let list = unnest.list_type_columns[0].0;
            let mut given = node.schema.fields.clone();
            let item = item_type(&given[list])?;
            given[list] = Field::new(given[list].name.clone(), item, true);
            let column = |index: usize| if index == list { UnnestColumn::Item(0) } else { UnnestColumn::Input(index) };
            let columns = (0..given.len()).map(column).collect();
            let rows = node.rows * estimate::ITEMS;
            let spec = UnnestSpec { lists: vec![list], columns, outer: is_outer };
            node = node.then(Op::Unnest(spec), Arc::new(Schema::new(given)), rows);
        }
        if deepest > 0 {
            node = last_level(node, unnest, is_outer)?;
        }
        parts(node, unnest, fields_out)
    }
}

fn item_type(field: &Field) -> Result<LogicalType> {
    match &field.data_type {
        LogicalType::List(item) => Ok(item.data_type.clone()),
        other => Err(SqlError::internal(format!("{other} has no items to unnest"))),
    }
}

/// The rows with items in the place of their lists; structs are still whole, and have one column.
fn last_level(mut node: Node, unnest: &Unnest, is_outer: bool) -> Result<Node> {
    let listed: Vec<usize> = unnest.list_type_columns.iter().map(|(column, _)| *column).collect();
    let numbered = numbered(&mut node, &listed);
    let mut lists = listed.clone();
    lists.retain(|column| !numbered.contains(column));
    let (mut columns, mut given) = (Vec::new(), Vec::new());
    let mut before = None;
    for &from in &unnest.dependency_indices {
        let field = &node.schema.fields[from];
        let position = lists.iter().position(|list| *list == from);
        // The parts of a struct are several columns that depend on one; a list has one for each time it is unnested.
        if unnest.struct_type_columns.contains(&from) && before.replace(from) == Some(from) {
            continue;
        }
        before = Some(from);
        match position {
            Some(list) => {
                columns.push(UnnestColumn::Item(list));
                given.push(Field::new(field.name.clone(), item_type(field)?, true));
            }
            None if numbered.contains(&from) => {
                columns.push(UnnestColumn::Ordinality);
                given.push(Field::new(field.name.clone(), LogicalType::Int64, true));
            }
            None => {
                columns.push(UnnestColumn::Input(from));
                given.push(field.clone());
            }
        }
    }
    let rows = node.rows * estimate::ITEMS;
    let spec = UnnestSpec { lists, columns, outer: is_outer };
    Ok(node.then(Op::Unnest(spec), Arc::new(Schema::new(given)), rows))
}

/// The columns whose lists are the numbers of the others' items; they are not computed any more.
fn numbered(node: &mut Node, listed: &[usize]) -> Vec<usize> {
    let Op::Project { expressions } = &mut node.op else { return Vec::new() };
    let name = format!("{FUNCTION_PREFIX}{ORDINALITY}");
    let is_numbers = |column: &usize| matches!(&expressions[*column], Expr::Call { function, .. } if *function == name);
    let numbered: Vec<usize> = listed.iter().copied().filter(is_numbers).collect();
    // Numbers alone have nothing that they count.
    if numbered.len() == listed.len() {
        return Vec::new();
    }
    for &column in &numbered {
        expressions[column] = Expr::Literal(Literal::null(LogicalType::list_of(LogicalType::Int64)));
    }
    numbered
}

/// The parts of structs in their place, and the names of the output.
fn parts(node: Node, unnest: &Unnest, fields_out: Vec<Field>) -> Result<Node> {
    let mut expressions = Vec::with_capacity(fields_out.len());
    let mut column = 0;
    let mut open: Option<(usize, i64)> = None;
    for (&from, field) in unnest.dependency_indices.iter().zip(&fields_out) {
        if !unnest.struct_type_columns.contains(&from) {
            expressions.push(Expr::Column(column));
            column += 1;
            open = None;
            continue;
        }
        let part = match open {
            Some((struct_from, part)) if struct_from == from => part + 1,
            _ => {
                column += 1;
                0
            }
        };
        open = Some((from, part));
        let args = vec![Expr::Column(column - 1), Expr::Literal(Literal::int64(part))];
        expressions.push(Expr::call(FIELD, args, field.data_type.clone()));
    }
    Ok(node.project(expressions, fields_out))
}
