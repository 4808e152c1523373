//! Texts of a group one behind the other, by a number that orders them: what STRING_AGG is made of.
//!
//! Each text is an entry of its own, linked to the one before it of the same group, so that a row costs the same however
//! long a group has become. Texts with equal numbers stay in the order in which they came. An exported state is the
//! entries one behind the other:
//!
//! ```text
//! order: i64 LE | length: u32 LE | text     (repeated)
//! ```

use std::sync::Arc;

use arrow_array::builder::BinaryViewBuilder;
use arrow_array::{Array, ArrayRef};
use arrow_buffer::ToByteSlice;
use flumen_core::types::{Field, LogicalType};

use super::active::{Active, refuse_retract};
use super::numbers::integers;
use super::{Accumulator, AccumulatorContext, StateInput, UpdateInput};
use crate::error::{Result, StateError};
use crate::pages::{ByteArena, PageSource, SlotColumn, VIEW_INLINE_BYTES, view_length, view_words};
use crate::values::{ColumnView, Lanes};

const NAME: &str = "string_agg";
/// What an entry has before its text.
const HEADER_BYTES: usize = size_of::<i64>() + size_of::<u32>();

pub(super) struct Concat {
    /// The last entry of each group, counted from 1.
    lasts: SlotColumn<u32>,
    /// By entry: the one before it of the same group, counted from 1.
    before: SlotColumn<u32>,
    orders: SlotColumn<i64>,
    /// Arrow views whose place is in the arena.
    views: SlotColumn<u128>,
    entries: usize,
    arena: ByteArena,
    pages: Arc<dyn PageSource>,
}

impl Concat {
    pub(super) fn new(context: &AccumulatorContext) -> Self {
        let pages = &context.pages;
        Self {
            lasts: SlotColumn::new(Arc::clone(pages)),
            before: SlotColumn::new(Arc::clone(pages)),
            orders: SlotColumn::new(Arc::clone(pages)),
            views: SlotColumn::new(Arc::clone(pages)),
            entries: 0,
            arena: ByteArena::new(Arc::clone(pages)),
            pages: Arc::clone(pages),
        }
    }

    fn push(&mut self, slot: u32, order: i64, text: &[u8]) -> Result<()> {
        let entry = u32::try_from(self.entries).ok().filter(|entry| *entry < u32::MAX).ok_or_else(|| {
            let problem = "takes at most 4 billion texts in one task; raise the parallelism".to_owned();
            StateError::UnsupportedAggregate { function: NAME.to_owned(), problem }
        })?;
        self.entries += 1;
        self.before.reserve(self.entries)?;
        self.orders.reserve(self.entries)?;
        self.views.reserve(self.entries)?;
        let (low, mut high) = view_words(text);
        if text.len() > VIEW_INLINE_BYTES {
            high = self.arena.push(text)?;
        }
        self.views.set(entry, u128::from(low) | u128::from(high) << 64)?;
        self.orders.set(entry, order)?;
        self.before.set(entry, self.lasts.get(slot))?;
        self.lasts.set(slot, entry + 1)
    }

    /// The entries of a group, in the order in which they came.
    fn entries_of(&self, slot: u32) -> Vec<u32> {
        let mut entries = Vec::new();
        let mut next = self.lasts.get(slot);
        while let Some(entry) = next.checked_sub(1) {
            entries.push(entry);
            next = self.before.get(entry);
        }
        entries.reverse();
        entries
    }

    fn text(&self, entry: u32) -> &[u8] {
        let view = &self.views.row(entry)[0];
        let length = view_length(*view as u64);
        if length <= VIEW_INLINE_BYTES {
            &view.to_byte_slice()[4..4 + length]
        } else {
            self.arena.get(*view as u64, (*view >> 64) as u64)
        }
    }

    /// One value for each slot, written by `write` into a buffer; NULL for groups without texts.
    fn column(&self, slots: &[u32], write: impl Fn(&mut Vec<u8>, &[u32])) -> Result<BinaryViewBuilder> {
        let mut builder = BinaryViewBuilder::with_capacity(slots.len());
        let mut value = Vec::new();
        for slot in slots {
            let entries = self.entries_of(*slot);
            if entries.is_empty() {
                builder.append_null();
                continue;
            }
            value.clear();
            write(&mut value, &entries);
            if value.len() > i32::MAX as usize {
                return Err(StateError::UnsupportedAggregate {
                    function: NAME.to_owned(),
                    problem: format!("gives a text of {} bytes; 2 GiB are the most", value.len()),
                });
            }
            builder.append_value(&value);
        }
        Ok(builder)
    }
}

fn damaged() -> StateError {
    StateError::Codec { what: format!("of {NAME}"), problem: "an entry ends before its text".to_owned() }
}

/// The first entry of an exported state, and the rest.
fn split_entry(state: &[u8]) -> Option<(i64, &[u8], &[u8])> {
    let (order, rest) = state.split_first_chunk::<{ size_of::<i64>() }>()?;
    let (length, rest) = rest.split_first_chunk::<{ size_of::<u32>() }>()?;
    let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some((i64::from_le_bytes(*order), text, rest))
}

fn bytes_of<'a, 'v>(view: &'a ColumnView<'v>, what: &str) -> Result<Option<&'a crate::values::ByteLanes<'v>>> {
    match &view.lanes {
        Lanes::Bytes(lanes) => Ok(Some(lanes)),
        Lanes::Null => Ok(None),
        _ => Err(StateError::ColumnType {
            what: format!("{what} of {NAME}"),
            found: "a number".into(),
            expected: LogicalType::Utf8.to_string(),
        }),
    }
}

impl Accumulator for Concat {
    fn state_fields(&self) -> Vec<Field> {
        vec![Field::new("texts", LogicalType::Binary, true)]
    }

    fn reserve(&mut self, slots: usize) -> Result<()> {
        self.lasts.reserve(slots)
    }

    fn update(&mut self, input: &UpdateInput<'_>) -> Result<()> {
        refuse_retract(NAME, input.row_kinds)?;
        let (texts, orders) = (ColumnView::new(input.args[0])?, ColumnView::new(input.args[1])?);
        let active = Active::of_update(input, &[&texts])?;
        let numbers = integers(&orders, input.rows, "the order of string_agg")?;
        let Some(lanes) = bytes_of(&texts, "the argument")? else { return Ok(()) };
        for (i, &slot) in active.slots.iter().enumerate() {
            let row = active.row(i);
            self.push(slot, numbers[row], lanes.get(texts.position(row)))?;
        }
        Ok(())
    }

    fn merge(&mut self, input: &StateInput<'_>) -> Result<()> {
        let view = ColumnView::new(input.state[0])?;
        let active = Active::of_merge(input, Some(&view));
        let Some(lanes) = bytes_of(&view, "the state")? else { return Ok(()) };
        for (i, &slot) in active.slots.iter().enumerate() {
            let mut state = lanes.get(view.position(active.row(i)));
            while !state.is_empty() {
                let (order, text, rest) = split_entry(state).ok_or_else(damaged)?;
                self.push(slot, order, text)?;
                state = rest;
            }
        }
        Ok(())
    }

    fn supports_retract(&self) -> bool {
        false
    }

    fn export_state(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let write = |state: &mut Vec<u8>, entries: &[u32]| {
            for &entry in entries {
                let text = self.text(entry);
                state.reserve(HEADER_BYTES + text.len());
                state.extend_from_slice(&self.orders.get(entry).to_le_bytes());
                // A text came from an array, whose values have 32 bits of length.
                state.extend_from_slice(&(text.len() as u32).to_le_bytes());
                state.extend_from_slice(text);
            }
        };
        Ok(vec![Arc::new(self.column(slots, write)?.finish())])
    }

    fn evaluate(&self, slots: &[u32]) -> Result<ArrayRef> {
        let write = |value: &mut Vec<u8>, entries: &[u32]| {
            let mut sorted = entries.to_vec();
            if !entries.is_sorted_by_key(|entry| self.orders.get(*entry)) {
                sorted.sort_by_key(|entry| self.orders.get(*entry));
            }
            sorted.iter().for_each(|entry| value.extend_from_slice(self.text(*entry)));
        };
        let texts = self.column(slots, write)?.finish();
        let checked = texts.to_string_view();
        let texts = checked
            .map_err(|problem| StateError::Codec { what: format!("of {NAME}"), problem: problem.to_string() })?;
        debug_assert_eq!(texts.len(), slots.len());
        Ok(Arc::new(texts))
    }

    fn reset(&mut self, slots: &[u32]) -> Result<()> {
        self.lasts.clear(slots)
    }

    fn freeze(&mut self) -> Box<dyn Accumulator> {
        Box::new(Self {
            lasts: self.lasts.freeze(),
            before: self.before.freeze(),
            orders: self.orders.freeze(),
            views: self.views.freeze(),
            entries: self.entries,
            arena: self.arena.freeze(),
            pages: Arc::clone(&self.pages),
        })
    }

    fn clear(&mut self) {
        self.lasts.release();
        self.before.release();
        self.orders.release();
        self.views.release();
        self.entries = 0;
        self.arena = ByteArena::new(Arc::clone(&self.pages));
    }

    fn memory_bytes(&self) -> usize {
        [self.lasts.memory_bytes(), self.before.memory_bytes(), self.orders.memory_bytes(), self.views.memory_bytes()]
            .into_iter()
            .sum::<usize>()
            + self.arena.memory_bytes()
    }
}
