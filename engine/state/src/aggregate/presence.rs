//! Which groups have seen a value that is not NULL.
//!
//! Most aggregates never see a NULL or a filter, and then every group has a value, since a group comes into being with
//! a row. So nothing is stored until the first row is left out. Functions that take rows back count instead.

use std::sync::Arc;

use arrow_buffer::{BooleanBuffer, NullBuffer};

use super::active::Active;
use crate::error::Result;
use crate::pages::{PageSource, SlotColumn};

enum Kind {
    /// Every slot below this has a value.
    Implied(usize),
    Flags(SlotColumn<u8>),
    /// Values seen less values taken back.
    Counts(SlotColumn<i64>),
}

pub(super) struct Presence {
    kind: Kind,
    pages: Arc<dyn PageSource>,
}

impl Presence {
    pub(super) fn new(counting: bool, pages: &Arc<dyn PageSource>) -> Self {
        let kind = if counting { Kind::Counts(SlotColumn::new(Arc::clone(pages))) } else { Kind::Implied(0) };
        Self { kind, pages: Arc::clone(pages) }
    }

    pub(super) fn reserve(&mut self, slots: usize) -> Result<()> {
        match &mut self.kind {
            Kind::Implied(_) => Ok(()),
            Kind::Flags(flags) => flags.reserve(slots),
            Kind::Counts(counts) => counts.reserve(slots),
        }
    }

    /// Counts rows that are taken back, which flags cannot; states so far count as one value each.
    fn flags(&mut self, slot_count: usize) -> Result<()> {
        if let Kind::Implied(known) = self.kind {
            let mut flags = SlotColumn::<u8>::new(Arc::clone(&self.pages));
            flags.reserve(slot_count)?;
            for slot in 0..known {
                flags.set(slot as u32, 1)?;
            }
            self.kind = Kind::Flags(flags);
        }
        Ok(())
    }

    /// The rows that count have values; `signs` by physical row.
    pub(super) fn mark(&mut self, active: &Active<'_>, signs: Option<&[i64]>) -> Result<()> {
        if let Kind::Implied(known) = &mut self.kind {
            if active.complete {
                *known = active.slot_count;
                return Ok(());
            }
            self.flags(active.slot_count)?;
        }
        match &mut self.kind {
            Kind::Implied(_) => Ok(()),
            Kind::Flags(flags) => flags.update_each(&active.slots, |_, flag| *flag = 1),
            Kind::Counts(counts) => match signs {
                None => counts.update_each(&active.slots, |_, count| *count += 1),
                Some(signs) => counts.update_each(&active.slots, |i, count| *count += signs[active.row(i)]),
            },
        }
    }

    /// Merged states that have values bring counts, if counts are kept.
    pub(super) fn merge(&mut self, active: &Active<'_>, counts: Option<&[i64]>) -> Result<()> {
        match (&mut self.kind, counts) {
            (Kind::Counts(own), Some(counts)) => active.scatter(own, counts, |own, count| *own += count),
            _ => self.mark(active, None),
        }
    }

    #[inline]
    pub(super) fn has(&self, slot: u32) -> bool {
        match &self.kind {
            Kind::Implied(known) => (slot as usize) < *known,
            Kind::Flags(flags) => flags.get(slot) != 0,
            Kind::Counts(counts) => counts.get(slot) != 0,
        }
    }

    /// The counts, if they are kept.
    pub(super) fn counts(&self, slots: &[u32]) -> Option<Vec<i64>> {
        match &self.kind {
            Kind::Counts(counts) => Some(slots.iter().map(|slot| counts.get(*slot)).collect()),
            _ => None,
        }
    }

    /// NULLs where a slot has no value.
    pub(super) fn nulls(&self, slots: &[u32]) -> Option<NullBuffer> {
        if let Kind::Implied(known) = self.kind
            && slots.iter().all(|slot| (*slot as usize) < known)
        {
            return None;
        }
        let valid = BooleanBuffer::collect_bool(slots.len(), |i| self.has(slots[i]));
        Some(NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0)
    }

    pub(super) fn reset(&mut self, slots: &[u32]) -> Result<()> {
        let highest = slots.iter().max().map_or(0, |slot| *slot as usize + 1);
        if let Kind::Implied(known) = self.kind {
            self.flags(known.max(highest))?;
        }
        match &mut self.kind {
            Kind::Implied(_) => Ok(()),
            Kind::Flags(flags) => flags.clear(slots),
            Kind::Counts(counts) => counts.clear(slots),
        }
    }

    pub(super) fn freeze(&mut self) -> Self {
        let kind = match &mut self.kind {
            Kind::Implied(known) => Kind::Implied(*known),
            Kind::Flags(flags) => Kind::Flags(flags.freeze()),
            Kind::Counts(counts) => Kind::Counts(counts.freeze()),
        };
        Self { kind, pages: Arc::clone(&self.pages) }
    }

    pub(super) fn clear(&mut self) {
        self.kind = match &mut self.kind {
            Kind::Counts(counts) => {
                counts.release();
                return;
            }
            _ => Kind::Implied(0),
        };
    }

    pub(super) fn memory_bytes(&self) -> usize {
        match &self.kind {
            Kind::Implied(_) => 0,
            Kind::Flags(flags) => flags.memory_bytes(),
            Kind::Counts(counts) => counts.memory_bytes(),
        }
    }
}
