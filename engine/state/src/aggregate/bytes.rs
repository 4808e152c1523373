//! MIN, MAX, FIRST_VALUE and LAST_VALUE of strings, binary values, and nested values as the strings of [`NestedKeys`].

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_buffer::{BooleanBuffer, NullBuffer, ToByteSlice};
use flumen_core::batch::Column;
use flumen_core::types::{Field, LogicalType};
use flumen_kernels::nested::NestedKeys;

use super::active::{Active, refuse_retract};
use super::extreme::Direction;
use super::pick::Which;
use super::{Accumulator, AccumulatorContext, StateInput, UpdateInput};
use crate::error::{Result, StateError};
use crate::keyed::{as_strings, from_strings, view_array};
use crate::pages::{ByteArena, PageSource, SlotColumn, VIEW_INLINE_BYTES, view_length, view_words};
use crate::values::{ColumnView, Lanes};

/// Garbage below this is not worth a rewrite.
const GARBAGE_BYTES_MIN: usize = 1 << 20;

/// Which value of a group is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    Extreme(Direction),
    Pick(Which),
}

impl Keep {
    fn name(self) -> &'static str {
        match self {
            Self::Extreme(direction) => direction.name(),
            Self::Pick(which) => which.name(),
        }
    }

    fn replaces(self, kept: &[u8], value: &[u8]) -> bool {
        match self {
            Self::Extreme(Direction::Min) => value < kept,
            Self::Extreme(Direction::Max) => value > kept,
            Self::Pick(Which::First) => false,
            Self::Pick(Which::Last) => true,
        }
    }
}

pub(super) struct KeptBytes {
    /// Arrow views whose place is in the arena.
    views: SlotColumn<u128>,
    has: SlotColumn<u8>,
    arena: ByteArena,
    garbage_bytes: usize,
    keep: Keep,
    data_type: LogicalType,
    /// What makes strings of nested values.
    nested: Option<Arc<NestedKeys>>,
    pages: Arc<dyn PageSource>,
}

impl KeptBytes {
    pub(super) fn new(
        keep: Keep,
        data_type: LogicalType,
        nested: Option<Arc<NestedKeys>>,
        context: &AccumulatorContext,
    ) -> Self {
        let pages = &context.pages;
        Self {
            views: SlotColumn::new(Arc::clone(pages)),
            has: SlotColumn::new(Arc::clone(pages)),
            arena: ByteArena::new(Arc::clone(pages)),
            garbage_bytes: 0,
            keep,
            data_type,
            nested,
            pages: Arc::clone(pages),
        }
    }

    fn get(&self, slot: u32) -> &[u8] {
        let view = &self.views.row(slot)[0];
        let length = view_length(*view as u64);
        if length <= VIEW_INLINE_BYTES {
            &view.to_byte_slice()[4..4 + length]
        } else {
            self.arena.get(*view as u64, (*view >> 64) as u64)
        }
    }

    fn set(&mut self, slot: u32, value: &[u8]) -> Result<()> {
        self.discard(slot);
        let (low, mut high) = view_words(value);
        if value.len() > VIEW_INLINE_BYTES {
            high = self.arena.push(value)?;
        }
        self.views.set(slot, u128::from(low) | u128::from(high) << 64)
    }

    fn discard(&mut self, slot: u32) {
        let length = view_length(self.views.get(slot) as u64);
        if length > VIEW_INLINE_BYTES {
            self.garbage_bytes += length;
        }
    }

    /// Rewrites the arena when most of it is garbage.
    fn compact(&mut self, slots: usize) -> Result<()> {
        if self.garbage_bytes < GARBAGE_BYTES_MIN || self.garbage_bytes * 2 < self.arena.stored_bytes() {
            return Ok(());
        }
        let mut arena = ByteArena::new(Arc::clone(&self.pages));
        for slot in 0..slots.min(self.views.capacity()) as u32 {
            let view = self.views.get(slot);
            let low = view as u64;
            if view_length(low) > VIEW_INLINE_BYTES {
                let place = arena.push(self.arena.get(low, (view >> 64) as u64))?;
                self.views.set(slot, u128::from(low) | u128::from(place) << 64)?;
            }
        }
        self.arena = arena;
        self.garbage_bytes = 0;
        Ok(())
    }

    /// The column, with strings in the place of nested values.
    fn strings<'a>(&self, column: &'a Column) -> Result<Cow<'a, Column>> {
        match &self.nested {
            None => Ok(Cow::Borrowed(column)),
            Some(keys) => as_strings(keys, column).map(Cow::Owned),
        }
    }

    fn take(&mut self, active: &Active<'_>, view: &ColumnView<'_>) -> Result<()> {
        let lanes = match &view.lanes {
            Lanes::Bytes(lanes) => lanes,
            Lanes::Null => return Ok(()),
            _ => {
                return Err(StateError::ColumnType {
                    what: format!("the argument of {}", self.keep.name()),
                    found: "a number".into(),
                    expected: self.data_type.to_string(),
                });
            }
        };
        for (i, &slot) in active.slots.iter().enumerate() {
            let value = lanes.get(view.position(active.row(i)));
            if self.has.get(slot) == 0 {
                self.set(slot, value)?;
                self.has.set(slot, 1)?;
            } else if self.keep.replaces(self.get(slot), value) {
                self.set(slot, value)?;
            }
        }
        self.compact(active.slot_count)
    }
}

impl Accumulator for KeptBytes {
    fn state_fields(&self) -> Vec<Field> {
        vec![Field::new(self.keep.name(), self.data_type.clone(), true)]
    }

    fn reserve(&mut self, slots: usize) -> Result<()> {
        self.views.reserve(slots)?;
        self.has.reserve(slots)
    }

    fn update(&mut self, input: &UpdateInput<'_>) -> Result<()> {
        refuse_retract(self.keep.name(), input.row_kinds)?;
        let column = self.strings(input.args[0])?;
        let view = ColumnView::new(&column)?;
        self.take(&Active::of_update(input, &[&view])?, &view)
    }

    fn merge(&mut self, input: &StateInput<'_>) -> Result<()> {
        let column = self.strings(input.state[0])?;
        let view = ColumnView::new(&column)?;
        self.take(&Active::of_merge(input, Some(&view)), &view)
    }

    fn supports_retract(&self) -> bool {
        false
    }

    fn export_state(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(slots)?])
    }

    fn evaluate(&self, slots: &[u32]) -> Result<ArrayRef> {
        let valid = BooleanBuffer::collect_bool(slots.len(), |i| self.has.get(slots[i]) != 0);
        let nulls = Some(NullBuffer::new(valid)).filter(|n| n.null_count() > 0);
        let views = slots.iter().map(|slot| {
            let view = self.views.get(*slot);
            (view as u64, (view >> 64) as u64)
        });
        let Some(keys) = &self.nested else {
            return view_array(&self.data_type, views, nulls, |low, high| self.arena.get(low, high));
        };
        let strings = view_array(&LogicalType::Binary, views, nulls, |low, high| self.arena.get(low, high))?;
        from_strings(keys, &strings)
    }

    fn reset(&mut self, slots: &[u32]) -> Result<()> {
        for &slot in slots {
            self.discard(slot);
        }
        self.views.clear(slots)?;
        self.has.clear(slots)
    }

    fn freeze(&mut self) -> Box<dyn Accumulator> {
        Box::new(Self {
            views: self.views.freeze(),
            has: self.has.freeze(),
            arena: self.arena.freeze(),
            garbage_bytes: self.garbage_bytes,
            keep: self.keep,
            data_type: self.data_type.clone(),
            nested: self.nested.clone(),
            pages: Arc::clone(&self.pages),
        })
    }

    fn clear(&mut self) {
        self.views.release();
        self.has.release();
        self.arena = ByteArena::new(Arc::clone(&self.pages));
        self.garbage_bytes = 0;
    }

    fn memory_bytes(&self) -> usize {
        self.views.memory_bytes() + self.has.memory_bytes() + self.arena.memory_bytes()
    }
}
