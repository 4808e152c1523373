//! The keyed table: groups by key, each with a slot, and accumulators by slot.

use std::sync::Arc;

use arrow_array::ArrayRef;
use flumen_core::batch::{Batch, Column, KeyHashes};
use flumen_core::types::{Field, Schema, SchemaRef};

use super::direct::Direct;
use super::directory::{Directory, SLOTS_MAX};
use super::group::Groups;
use super::layout::EncodedKeys;
use super::store::KeyStore;
use crate::aggregate::{Accumulator, StateInput, UpdateInput};
use crate::error::{Result, StateError};
use crate::pages::{PageSource, SlotColumn};

/// Groups by key with their accumulators: the table of a hash aggregate, and keyed state. See the [module](super).
pub struct KeyedTable {
    pub(super) keys: KeyStore,
    pub(super) hashes: SlotColumn<u64>,
    /// Slots by key, while there is one; then there is nothing in the directory.
    pub(super) direct: Option<Direct>,
    pub(super) directory: Directory,
    pub(super) accumulators: Vec<Box<dyn Accumulator>>,
    /// Slots that were ever used; all below have memory.
    pub(super) slots: u32,
    /// Slots of removed groups.
    pub(super) free: Vec<u32>,
    /// 1 for slots of removed groups; absent until the first removal.
    pub(super) retired: Option<SlotColumn<u8>>,
    pub(super) expected_groups: usize,
    pub(super) pages: Arc<dyn PageSource>,
}

impl KeyedTable {
    /// An empty table. Accumulators are fresh; they take their pages from wherever they were made with.
    ///
    /// # Errors
    /// [`StateError::KeyType`] for a key column whose type has no order, and for too many columns.
    pub fn new(
        key_fields: Vec<Field>,
        accumulators: Vec<Box<dyn Accumulator>>,
        pages: Arc<dyn PageSource>,
    ) -> Result<Self> {
        let keys = KeyStore::new(key_fields, &pages)?;
        Ok(Self {
            direct: Self::new_direct(&keys, &pages),
            keys,
            hashes: SlotColumn::new(Arc::clone(&pages)),
            directory: Directory::new(Arc::clone(&pages)),
            accumulators,
            slots: 0,
            free: Vec::new(),
            retired: None,
            expected_groups: 0,
            pages,
        })
    }

    fn new_direct(keys: &KeyStore, pages: &Arc<dyn PageSource>) -> Option<Direct> {
        let has_one_word = keys.layout.plain_words.len() == 1 && keys.layout.words == 1;
        (has_one_word && !keys.layout.fields.is_empty()).then(|| Direct::new(Arc::clone(pages)))
    }

    /// Finds groups by their hashes from now on.
    ///
    /// # Errors
    /// If memory for the directory is refused; nothing has changed then.
    pub(super) fn leave_direct(&mut self) -> Result<()> {
        if self.direct.is_none() {
            return Ok(());
        }
        let mut directory = Directory::new(Arc::clone(&self.pages));
        directory.expect(self.expected_groups.max(self.slots as usize))?;
        for slot in 0..self.slots {
            let hash = self.hashes.get(slot);
            directory.reserve(hash)?;
            directory.insert(hash, slot);
        }
        self.directory = directory;
        self.direct = None;
        Ok(())
    }

    /// Makes the directory large enough for this many groups when the first batch comes, if it is a good guess.
    #[must_use]
    pub fn with_expected_groups(mut self, groups: usize) -> Self {
        self.expected_groups = groups;
        self
    }

    /// Changes that guess for a table that is filled anew; zero takes it back.
    pub fn set_expected_groups(&mut self, groups: usize) {
        self.expected_groups = groups;
    }

    /// The key columns.
    #[must_use]
    pub fn key_fields(&self) -> &[Field] {
        &self.keys.layout.fields
    }

    /// Groups.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots as usize - self.free.len()
    }

    /// Whether there is no group.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One past the highest slot in use.
    #[must_use]
    pub fn slot_count(&self) -> usize {
        self.slots as usize
    }

    /// The accumulators.
    #[must_use]
    pub fn accumulators(&self) -> &[Box<dyn Accumulator>] {
        &self.accumulators
    }

    /// The accumulators, to update. [`Self::group`] has made memory for all slots.
    pub fn accumulators_mut(&mut self) -> &mut [Box<dyn Accumulator>] {
        &mut self.accumulators
    }

    /// Takes memory for what one accumulator will keep of a batch that was grouped and comes next.
    ///
    /// # Errors
    /// As [`Accumulator::make_room`].
    pub fn make_room(&mut self, accumulator: usize, columns: &[&Column], rows: usize, selected: usize) -> Result<()> {
        self.accumulators[accumulator].make_room(columns, rows, selected)
    }

    /// Updates one accumulator with the rows that `groups` was computed for.
    ///
    /// # Errors
    /// As [`Accumulator::update`].
    pub fn update(&mut self, accumulator: usize, groups: &Groups, rows: RowInput<'_>) -> Result<()> {
        self.accumulators[accumulator].update(&UpdateInput {
            slots: &groups.slots,
            single: groups.single,
            args: rows.args,
            rows: rows.rows,
            selection: rows.selection,
            filter: rows.filter,
            row_kinds: rows.row_kinds,
            slot_count: self.slots as usize,
        })
    }

    /// Merges exported states into one accumulator; `groups` was computed for the same rows.
    ///
    /// # Errors
    /// As [`Accumulator::merge`].
    pub fn merge(
        &mut self,
        accumulator: usize,
        groups: &Groups,
        state: &[&Column],
        rows: usize,
        selection: Option<&[u32]>,
    ) -> Result<()> {
        self.accumulators[accumulator].merge(&StateInput {
            slots: &groups.slots,
            state,
            rows,
            selection,
            slot_count: self.slots as usize,
        })
    }

    /// Makes the one group of a table without keys; answers whether it is new, which it also is after its removal.
    /// Bounded global aggregates call it at the end, because their result has a row even without input.
    ///
    /// # Errors
    /// If memory is refused.
    pub fn ensure_single_group(&mut self) -> Result<bool> {
        assert!(self.key_fields().is_empty(), "only a table without keys has a single group");
        if !self.is_empty() {
            return Ok(false);
        }
        if self.slots > 0 {
            // It was removed, and its accumulators were reset then: the slot is used again.
            if let Some(retired) = &mut self.retired {
                retired.set(0, 0)?;
            }
            self.free.clear();
            return Ok(true);
        }
        self.keys.reserve(1)?;
        self.hashes.reserve(1)?;
        let hash = flumen_kernels::hash::hash_columns(&[], 1, None)[0];
        self.hashes.set(0, hash)?;
        self.slots = 1;
        self.reserve_accumulators()?;
        Ok(true)
    }

    pub(super) fn reserve_accumulators(&mut self) -> Result<()> {
        self.accumulators.iter_mut().try_for_each(|a| a.reserve(self.slots as usize))
    }

    /// Adds a group. On an error nothing has changed, but for memory that is kept for the next.
    pub(super) fn insert(&mut self, hash: u64, keys: &EncodedKeys<'_>, i: usize, row: usize) -> Result<u32> {
        let reused = self.free.last().copied();
        let slot = reused.unwrap_or(self.slots);
        if slot as usize >= SLOTS_MAX {
            return Err(StateError::TooManyGroups { max: SLOTS_MAX });
        }
        match &mut self.direct {
            Some(direct) => direct.reserve(keys.words[i])?,
            None => self.directory.reserve(hash)?,
        }
        self.keys.reserve(slot as usize + 1)?;
        self.hashes.reserve(slot as usize + 1)?;
        self.hashes.set(slot, hash)?;
        self.keys.store(slot, keys, i, row)?;
        if reused.is_some() {
            if let Some(retired) = &mut self.retired {
                retired.set(slot, 0)?;
            }
            self.free.pop();
        } else {
            self.slots += 1;
        }
        match &mut self.direct {
            Some(direct) => direct.set(keys.words[i], slot),
            None => self.directory.insert(hash, slot),
        }
        Ok(slot)
    }

    /// Removes groups; their slots will be used again. Each slot once, and of a live group.
    ///
    /// # Errors
    /// If memory for a copy of a shared page is refused; then some of the groups may be gone.
    pub fn remove(&mut self, slots: &[u32]) -> Result<()> {
        self.leave_direct()?;
        let pages = &self.pages;
        let retired = self.retired.get_or_insert_with(|| SlotColumn::new(Arc::clone(pages)));
        retired.reserve(self.slots as usize)?;
        for accumulator in &mut self.accumulators {
            accumulator.reset(slots)?;
        }
        for &slot in slots {
            retired.set(slot, 1)?;
            if !self.keys.layout.fields.is_empty() {
                self.directory.remove(self.hashes.get(slot), slot);
            }
            self.free.push(slot);
        }
        let live = (0..self.slots).filter(|slot| retired.get(*slot) == 0);
        self.keys.discard(slots, live)
    }

    /// Forgets all groups and gives the memory back.
    ///
    /// # Errors
    /// If an accumulator cannot be reset, which giving memory back never causes.
    pub fn clear(&mut self) -> Result<()> {
        self.keys.clear();
        self.hashes.release();
        self.directory.clear();
        self.direct = Self::new_direct(&self.keys, &self.pages);
        for accumulator in &mut self.accumulators {
            accumulator.clear();
        }
        self.slots = 0;
        self.free.clear();
        self.retired = None;
        Ok(())
    }

    /// Slots of live groups in `range`, in order.
    pub(crate) fn live_slots(&self, range: std::ops::Range<u32>, out: &mut Vec<u32>) {
        out.clear();
        match &self.retired {
            None => out.extend(range),
            Some(retired) => {
                let memory = retired.capacity() as u32;
                out.extend(range.filter(|slot| *slot >= memory || retired.get(*slot) == 0));
            }
        }
    }

    /// The key columns of some groups.
    ///
    /// # Errors
    /// If they cannot be put into arrays.
    pub fn export_keys(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        self.keys.export(slots)
    }

    /// The hash of a group's key.
    #[must_use]
    pub fn hash(&self, slot: u32) -> u64 {
        self.hashes.get(slot)
    }

    /// Fields of the rows that [`Self::next_states`] gives and snapshots hold: keys, then the state of each accumulator.
    #[must_use]
    pub fn state_schema(&self) -> SchemaRef {
        let states = self.accumulators.iter().flat_map(|a| a.state_fields());
        Arc::new(Schema::new(self.key_fields().iter().cloned().chain(states).collect()))
    }

    /// The next groups in slot order from `cursor`, at most `rows`, with keys and final values; `None` at the end.
    /// The schema has the keys, then one column for each accumulator. Key hashes travel with the batch.
    ///
    /// # Errors
    /// If a result is out of its type's range.
    pub fn next_results(&self, cursor: &mut SlotCursor, schema: &SchemaRef, rows: usize) -> Result<Option<Batch>> {
        self.next_batch(cursor, schema, rows, |accumulator, slots| Ok(vec![accumulator.evaluate(slots)?]))
    }

    /// As [`Self::next_results`], with exported states instead of final values.
    ///
    /// # Errors
    /// If a state cannot be exported.
    pub fn next_states(&self, cursor: &mut SlotCursor, schema: &SchemaRef, rows: usize) -> Result<Option<Batch>> {
        self.next_batch(cursor, schema, rows, |accumulator, slots| accumulator.export_state(slots))
    }

    fn next_batch(
        &self,
        cursor: &mut SlotCursor,
        schema: &SchemaRef,
        rows: usize,
        columns_of: impl Fn(&dyn Accumulator, &[u32]) -> Result<Vec<ArrayRef>>,
    ) -> Result<Option<Batch>> {
        while cursor.next < self.slots {
            let end = self.slots.min(cursor.next.saturating_add(rows.max(1) as u32));
            self.live_slots(cursor.next..end, &mut cursor.slots);
            cursor.next = end;
            if cursor.slots.is_empty() {
                continue;
            }
            return self.batch_of(&cursor.slots, schema, columns_of).map(Some);
        }
        Ok(None)
    }

    /// A batch of the given groups: keys and final values.
    ///
    /// # Errors
    /// If a result is out of its type's range.
    pub fn results_of(&self, slots: &[u32], schema: &SchemaRef) -> Result<Batch> {
        self.batch_of(slots, schema, |accumulator, slots| Ok(vec![accumulator.evaluate(slots)?]))
    }

    /// A batch of the given groups: keys and exported states.
    ///
    /// # Errors
    /// If a state cannot be exported.
    pub fn states_of(&self, slots: &[u32], schema: &SchemaRef) -> Result<Batch> {
        self.batch_of(slots, schema, |accumulator, slots| accumulator.export_state(slots))
    }

    fn batch_of(
        &self,
        slots: &[u32],
        schema: &SchemaRef,
        columns_of: impl Fn(&dyn Accumulator, &[u32]) -> Result<Vec<ArrayRef>>,
    ) -> Result<Batch> {
        let mut columns = self.export_keys(slots)?;
        for accumulator in &self.accumulators {
            columns.extend(columns_of(accumulator.as_ref(), slots)?);
        }
        let hashes: Vec<u64> = slots.iter().map(|slot| self.hashes.get(*slot)).collect();
        let hashes = KeyHashes { columns: (0..self.key_fields().len()).collect(), values: hashes.into() };
        let columns = columns.into_iter().map(Column::Array).collect();
        Ok(Batch::new(Arc::clone(schema), columns, slots.len()).with_hashes(Some(hashes)))
    }

    /// Bytes of keys, directory and accumulators.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.keys.memory_bytes()
            + self.hashes.memory_bytes()
            + self.directory.memory_bytes()
            + self.direct.as_ref().map_or(0, Direct::memory_bytes)
            + self.accumulators.iter().map(|a| a.memory_bytes()).sum::<usize>()
    }
}

/// Where an iteration over the groups of a table is.
#[derive(Debug, Default)]
pub struct SlotCursor {
    next: u32,
    slots: Vec<u32>,
}

impl SlotCursor {
    /// Slots of the groups of the batch that was returned last.
    #[must_use]
    pub fn slots(&self) -> &[u32] {
        &self.slots
    }
}

/// The rows of a batch for one accumulator.
#[derive(Clone, Copy)]
pub struct RowInput<'a> {
    /// Argument columns.
    pub args: &'a [&'a Column],
    /// Physical rows of the batch.
    pub rows: usize,
    /// Which of them count, as when they were grouped.
    pub selection: Option<&'a [u32]>,
    /// BOOLEAN column: only rows for which it is true count.
    pub filter: Option<&'a Column>,
    /// Row kinds by physical row; `None` means all are insertions.
    pub row_kinds: Option<&'a [i8]>,
}
