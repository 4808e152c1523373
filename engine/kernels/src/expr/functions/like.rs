//! LIKE, NOT LIKE, ILIKE, NOT ILIKE.
//!
//! A constant pattern is compiled once (`pattern`). For patterns that are needles only, the strings of a batch that lie
//! in one buffer in order are searched as one text, and hits are mapped back to rows: one search for a page instead of
//! one for each row. Strings that are far apart (after a selective filter) are searched one by one.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, BooleanArray, StringViewArray};
use arrow_buffer::BooleanBuffer;
use arrow_schema::DataType;
use flumen_core::batch::Column;
use memchr::memmem::Finder;

use super::Argument;
use super::comparison::as_views;
use super::pattern::{ESCAPE, Pattern, find_all};
use crate::expr::column::{Rows, expand, is_constant_null, pack_bits, union_nulls};
use crate::expr::error::ExprError;
use crate::expr::program::{Bound, Kernel, Traits};

/// Text between two strings that a search over both may cross.
const GAP_BYTES_MAX: u32 = 128;

/// The kernel of one of the four functions; arguments are strings.
///
/// # Errors
/// If a constant pattern or escape is malformed.
pub(crate) fn bind(name: &str, args: &[Argument<'_>]) -> Result<Bound, ExprError> {
    let (negated, ignore_case) = match name {
        "like" => (false, false),
        "not_like" => (true, false),
        "ilike" => (false, true),
        _ => (true, true),
    };
    let text = |argument: &Argument<'_>| -> Option<String> {
        let column = argument.constant.filter(|c| !is_constant_null(c))?;
        Some(column.array().as_string_view_opt()?.value(0).to_owned())
    };
    let escape = match args.get(2) {
        None => Some(Some(ESCAPE)),
        Some(argument) => text(argument).map(|escape| escape_char(&escape)).transpose()?,
    };
    let compiled = match (text(&args[1]), escape) {
        (Some(pattern), Some(escape)) => Some(compile(&pattern, escape, ignore_case)?),
        _ => None,
    };
    // A pattern out of a column may be malformed in some row.
    let traits = Traits { fallible: compiled.is_none(), ..Traits::STRING };
    Ok(Bound::new(Like { compiled, negated, ignore_case }, traits))
}

fn escape_char(escape: &str) -> Result<Option<char>, ExprError> {
    let mut chars = escape.chars();
    match (chars.next(), chars.next()) {
        (first, None) => Ok(first),
        _ => Err(ExprError::InvalidArgument {
            function: "like".to_owned(),
            reason: format!("the escape {escape:?} must be one character, or empty for none"),
        }),
    }
}

fn compile(pattern: &str, escape: Option<char>, ignore_case: bool) -> Result<Pattern, ExprError> {
    if ignore_case {
        Pattern::new(&pattern.to_lowercase(), escape.map(|e| e.to_lowercase().next().unwrap_or(e)))
    } else {
        Pattern::new(pattern, escape)
    }
}

struct Like {
    compiled: Option<Pattern>,
    negated: bool,
    ignore_case: bool,
}

impl Kernel for Like {
    fn evaluate(&self, args: &[Column], rows: Rows<'_>) -> Result<Column, ExprError> {
        let views = args.iter().map(|a| as_views(a, &DataType::Utf8View)).collect::<Result<Vec<_>, _>>()?;
        let nulls = union_nulls(args);
        let texts = expand(&views[0], rows.len)?;
        let texts = texts.as_string_view();
        let bits = match &self.compiled {
            Some(pattern) if self.ignore_case => {
                let mut lower = Vec::new();
                let mut bits = Vec::with_capacity(rows.len);
                for i in 0..rows.len {
                    bits.push(pattern.matches(lowered(texts.value(i), &mut lower).as_ref()));
                }
                BooleanBuffer::from(bits)
            }
            Some(pattern) => match_all(pattern, texts),
            None => {
                let patterns = expand(&views[1], rows.len)?;
                let escapes = views.get(2).map(|e| expand(e, rows.len)).transpose()?;
                let mut bits = vec![false; rows.len];
                let mut lower = Vec::new();
                let mut last: Option<(&str, Option<char>, Pattern)> = None;
                rows.try_each(nulls.as_ref(), |i| {
                    let escape = match &escapes {
                        Some(escapes) => escape_char(escapes.as_string_view().value(i))?,
                        None => Some(ESCAPE),
                    };
                    let pattern = patterns.as_string_view().value(i);
                    if !last.as_ref().is_some_and(|(p, e, _)| *p == pattern && *e == escape) {
                        last = Some((pattern, escape, compile(pattern, escape, self.ignore_case)?));
                    }
                    let compiled = &last.as_ref().expect("set above").2;
                    let text = texts.value(i);
                    bits[i] = if self.ignore_case {
                        compiled.matches(lowered(text, &mut lower).as_ref())
                    } else {
                        compiled.matches(text.as_bytes())
                    };
                    Ok::<_, ExprError>(())
                })?;
                BooleanBuffer::from(bits)
            }
        };
        let bits = if self.negated { !&bits } else { bits };
        Ok(Column::Array(Arc::new(BooleanArray::new(bits, nulls))))
    }
}

/// The text in lower case; ASCII through the buffer, without an allocation a row.
fn lowered<'a>(text: &str, buffer: &'a mut Vec<u8>) -> Cow<'a, [u8]> {
    if !text.is_ascii() {
        return Cow::Owned(text.to_lowercase().into_bytes());
    }
    buffer.clear();
    buffer.extend_from_slice(text.as_bytes());
    buffer.make_ascii_lowercase();
    Cow::Borrowed(buffer)
}

fn match_all(pattern: &Pattern, texts: &StringViewArray) -> BooleanBuffer {
    if let Some(needles) = pattern.needles() {
        return search(needles, texts);
    }
    if let Pattern::Parts { prefix, needles, suffix, .. } = pattern
        && needles.is_empty()
        && suffix.is_empty()
        && prefix.len() <= 4
    {
        return match_prefix(prefix, texts);
    }
    pack_bits(texts.len(), |i| pattern.matches(texts.value(i).as_bytes()))
}

/// A prefix of up to four bytes is decided by the view.
fn match_prefix(prefix: &[u8], texts: &StringViewArray) -> BooleanBuffer {
    let mut wanted = [0u8; 4];
    wanted[..prefix.len()].copy_from_slice(prefix);
    let wanted = u32::from_le_bytes(wanted);
    let mask = if prefix.is_empty() { 0 } else { u32::MAX >> (32 - 8 * prefix.len()) };
    let length = u32::try_from(prefix.len()).expect("at most four");
    let views = texts.views();
    #[expect(clippy::cast_possible_truncation, reason = "parts of a view")]
    pack_bits(texts.len(), |i| {
        let view = views[i];
        (view as u32 >= length) & ((view >> 32) as u32 & mask == wanted)
    })
}

/// Finds the needles in all strings. Those that lie in one buffer, in order and close together, are searched as one text.
#[expect(clippy::cast_possible_truncation, reason = "parts of a view")]
fn search(needles: &[Finder<'_>], texts: &StringViewArray) -> BooleanBuffer {
    let views = texts.views();
    let mut words = vec![0u64; views.len().div_ceil(64)];
    let mut found = |row: u32| words[row as usize / 64] |= 1 << (row % 64);
    let mut stretch = Stretch { buffer: 0, places: Vec::with_capacity(views.len()) };
    for (row, view) in (0u32..).zip(views.iter()) {
        let length = *view as u32;
        if length <= 12 {
            if find_all(needles, texts.value(row as usize).as_bytes()) {
                found(row);
            }
            continue;
        }
        let (buffer, from) = ((view >> 64) as u32, (view >> 96) as u32);
        if !stretch.goes_on(buffer, from) {
            stretch.search(needles, texts, &mut found);
            stretch.buffer = buffer;
            stretch.places.clear();
        }
        stretch.places.push(Place { from, to: from.saturating_add(length), row });
    }
    stretch.search(needles, texts, &mut found);
    BooleanBuffer::new(arrow_buffer::Buffer::from_vec(words), 0, views.len())
}

/// Where a string lies in its buffer.
#[derive(Clone, Copy)]
struct Place {
    from: u32,
    to: u32,
    row: u32,
}

/// Strings that lie one behind the other.
struct Stretch {
    buffer: u32,
    places: Vec<Place>,
}

impl Stretch {
    fn goes_on(&self, buffer: u32, from: u32) -> bool {
        self.places.last().is_some_and(|last| {
            self.buffer == buffer && from.checked_sub(last.to).is_some_and(|gap| gap <= GAP_BYTES_MAX)
        })
    }

    /// Calls `found` with the rows of the strings that have the needles.
    fn search(&self, needles: &[Finder<'_>], texts: &StringViewArray, found: &mut impl FnMut(u32)) {
        let ([first, others @ ..], [head, ..], [.., tail]) = (needles, &self.places[..], &self.places[..]) else {
            return;
        };
        let start = head.from as usize;
        let data = texts.data_buffers().get(self.buffer as usize).and_then(|data| data.get(..tail.to as usize));
        let Some(data) = data else { return };
        let length = first.needle().len();
        let mut at = start;
        let mut places = self.places.iter();
        let mut current = places.next();
        while let Some(hit) = data.get(at..).and_then(|text| first.find(text)).map(|hit| at + hit) {
            while current.is_some_and(|place| place.to as usize <= hit) {
                current = places.next();
            }
            let Some(Place { from, to, row }) = current.copied() else { break };
            if hit < from as usize || hit + length > to as usize {
                // Between two strings, or across their border.
                at = hit + 1;
                continue;
            }
            if find_all(others, &data[hit + length..to as usize]) {
                found(row);
            }
            at = to as usize;
        }
    }
}
