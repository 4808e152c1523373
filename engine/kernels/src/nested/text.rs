//! Nested values as text: `[1, NULL]`, `{'a': 1, 'b': x}`, `{key=value}`.
//!
//! The form is DuckDB's. Text is quoted with `'` where it would be read as something else: if it is empty, is the word
//! NULL, begins or ends with a blank, or has one of `"'(),:=[\]{}`; quotes and backslashes in quotes get a backslash.
//! Names of a struct's parts always are.

use std::fmt::Write as _;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;

/// The texts of the values of one array.
pub struct NestedText {
    node: Node,
}

struct Node {
    nulls: Option<NullBuffer>,
    kind: Kind,
}

enum Kind {
    Simple(Vec<String>),
    List { offsets: Vec<i64>, items: Box<Node> },
    Struct { names: Vec<String>, parts: Vec<Node> },
    Map { offsets: Vec<i64>, keys: Box<Node>, values: Box<Node> },
}

impl NestedText {
    /// The texts of `array`, where `simple` gives those of the parts that are not nested, row by row; what it gives for a
    /// NULL is not looked at.
    ///
    /// # Errors
    /// Those of `simple`.
    pub fn new<E>(array: &ArrayRef, simple: &mut impl FnMut(&ArrayRef) -> Result<Vec<String>, E>) -> Result<Self, E> {
        Ok(Self { node: Node::new(array, simple)? })
    }

    /// Appends the text of a row.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn write(&self, row: usize, out: &mut String) {
        self.node.write(row, out);
    }
}

impl Node {
    fn new<E>(array: &ArrayRef, simple: &mut impl FnMut(&ArrayRef) -> Result<Vec<String>, E>) -> Result<Self, E> {
        let kind = match array.data_type() {
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                let offsets = list.value_offsets().iter().map(|o| i64::from(*o)).collect();
                Kind::List { offsets, items: Box::new(Self::new(list.values(), simple)?) }
            }
            DataType::LargeList(_) => {
                let list = array.as_list::<i64>();
                Kind::List {
                    offsets: list.value_offsets().to_vec(),
                    items: Box::new(Self::new(list.values(), simple)?),
                }
            }
            DataType::FixedSizeList(_, width) => {
                let offsets = (0..=array.len() as i64).map(|row| row * i64::from(*width)).collect();
                Kind::List { offsets, items: Box::new(Self::new(array.as_fixed_size_list().values(), simple)?) }
            }
            DataType::Struct(fields) => {
                let names = fields.iter().map(|field| format!("'{}'", escaped(field.name()))).collect();
                let parts = array.as_struct().columns().iter().map(|part| Self::new(part, simple));
                Kind::Struct { names, parts: parts.collect::<Result<_, E>>()? }
            }
            DataType::Map(..) => {
                let map = array.as_map();
                let offsets = map.value_offsets().iter().map(|o| i64::from(*o)).collect();
                let (keys, values) = (Self::new(map.keys(), simple)?, Self::new(map.values(), simple)?);
                Kind::Map { offsets, keys: Box::new(keys), values: Box::new(values) }
            }
            _ => Kind::Simple(simple(array)?),
        };
        Ok(Self { nulls: array.logical_nulls().filter(|n| n.null_count() > 0), kind })
    }

    fn write(&self, row: usize, out: &mut String) {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            out.push_str("NULL");
            return;
        }
        match &self.kind {
            Kind::Simple(texts) => {
                let text = &texts[row];
                if needs_quotes(text) {
                    // Writing to a string does not fail.
                    let _ = write!(out, "'{}'", escaped(text));
                } else {
                    out.push_str(text);
                }
            }
            Kind::List { offsets, items } => {
                out.push('[');
                for (index, item) in (offsets[row]..offsets[row + 1]).enumerate() {
                    out.push_str(if index == 0 { "" } else { ", " });
                    items.write(item as usize, out);
                }
                out.push(']');
            }
            Kind::Struct { names, parts } => {
                out.push('{');
                for (index, (name, part)) in names.iter().zip(parts).enumerate() {
                    out.push_str(if index == 0 { "" } else { ", " });
                    out.push_str(name);
                    out.push_str(": ");
                    part.write(row, out);
                }
                out.push('}');
            }
            Kind::Map { offsets, keys, values } => {
                out.push('{');
                for (index, entry) in (offsets[row]..offsets[row + 1]).enumerate() {
                    out.push_str(if index == 0 { "" } else { ", " });
                    keys.write(entry as usize, out);
                    out.push('=');
                    values.write(entry as usize, out);
                }
                out.push('}');
            }
        }
    }
}

fn needs_quotes(text: &str) -> bool {
    text.is_empty()
        || text.starts_with(char::is_whitespace)
        || text.ends_with(char::is_whitespace)
        || text.eq_ignore_ascii_case("null")
        || text.contains(['"', '\'', '(', ')', ',', ':', '=', '[', '\\', ']', '{', '}'])
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "\\'")
}
