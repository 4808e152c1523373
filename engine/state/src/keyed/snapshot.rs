//! Snapshots of a keyed table, and filling one from a snapshot.
//!
//! Taking a snapshot shares the table's pages: work for each page, not for each byte. Everything that costs by group
//! (sorting slots by key group, gathering columns) is done by the reader, on an I/O thread.

use std::sync::Arc;

use flumen_core::batch::{Batch, Column};
use flumen_core::failure::Failure;
use flumen_core::key_group::{KeyGroup, key_group_of};
use flumen_core::types::{Schema, SchemaRef};

use super::directory::Directory;
use super::group::{Groups, KeyInput};
use super::table::KeyedTable;
use crate::error::{Result, StateError};
use crate::pages::{Charge, SlotColumn};
use crate::snapshot::KeyedRows;

impl KeyedTable {
    /// The groups as of now, key group by key group, in batches of at most `batch_rows`: keys, then exported states.
    /// The table can be written at once; a page that the snapshot has not been read from yet is then copied.
    #[must_use]
    pub fn snapshot(&mut self, max_parallelism: u32, batch_rows: usize) -> TableSnapshot {
        let schema = self.state_schema();
        let table = Self {
            keys: self.keys.freeze(),
            hashes: self.hashes.freeze(),
            directory: Directory::new(Arc::clone(&self.pages)),
            direct: None,
            accumulators: self.accumulators.iter_mut().map(|a| a.freeze()).collect(),
            slots: self.slots,
            free: Vec::new(),
            retired: self.retired.as_mut().map(SlotColumn::freeze),
            expected_groups: 0,
            pages: Arc::clone(&self.pages),
        };
        TableSnapshot { table, schema, max_parallelism, batch_rows: batch_rows.max(1), order: None }
    }

    /// Takes in rows of snapshots: groups that are there are merged with.
    ///
    /// # Errors
    /// If the rows cannot be read or do not have this table's columns, or memory is refused.
    pub fn restore(&mut self, sources: Vec<Box<dyn KeyedRows>>) -> Result<()> {
        let mut groups = Groups::default();
        for mut rows in sources {
            while let Some((_, batch)) =
                rows.next().map_err(|source| StateError::Rows { name: "of a snapshot".into(), source })?
            {
                self.restore_batch(&batch, &mut groups)?;
            }
        }
        Ok(())
    }

    /// As [`Self::restore`], one batch: keys, then the states of all accumulators.
    ///
    /// # Errors
    /// As [`Self::restore`].
    pub fn restore_batch(&mut self, batch: &Batch, groups: &mut Groups) -> Result<()> {
        let keys = self.key_fields().len();
        let widths: Vec<usize> = self.accumulators.iter().map(|a| a.state_fields().len()).collect();
        if batch.columns().len() != keys + widths.iter().sum::<usize>() {
            return Err(StateError::ColumnType {
                what: "a row of restored state".into(),
                found: describe(batch.schema()),
                expected: describe(&self.state_schema()),
            });
        }
        let columns: Vec<&Column> = batch.columns().iter().collect();
        let key_columns: Vec<usize> = (0..keys).collect();
        let input = KeyInput {
            columns: &columns[..keys],
            rows: batch.physical_rows(),
            selection: batch.selection(),
            hashes: batch.hashes_of(&key_columns).map(|h| h.as_ref()),
        };
        self.group(input, groups)?;
        let mut next = keys;
        for (accumulator, width) in widths.into_iter().enumerate() {
            let selection = batch.selection().map(|s| s.as_ref());
            self.merge(accumulator, groups, &columns[next..next + width], batch.physical_rows(), selection)?;
            next += width;
        }
        Ok(())
    }
}

fn describe(schema: &Schema) -> String {
    let types: Vec<_> = schema.fields.iter().map(|f| format!("{} {}", f.name, f.data_type)).collect();
    format!("({})", types.join(", "))
}

/// A keyed table as of a barrier; read on any thread.
pub struct TableSnapshot {
    table: KeyedTable,
    schema: SchemaRef,
    max_parallelism: u32,
    batch_rows: usize,
    order: Option<Order>,
}

/// Slots by key group, made when the first batch is asked for.
struct Order {
    slots: Vec<u32>,
    /// Key groups that have rows, with the end of their slots.
    ends: Vec<(KeyGroup, usize)>,
    /// Which of `ends` is read.
    group: usize,
    /// How many slots have been read.
    read: usize,
    _charge: Charge,
}

impl TableSnapshot {
    /// Groups of the snapshot.
    #[must_use]
    pub fn len(&self) -> usize {
        let retired = self.table.retired.as_ref();
        let is_live = |slot: &u32| retired.is_none_or(|r| *slot as usize >= r.capacity() || r.get(*slot) == 0);
        (0..self.table.slots).filter(is_live).count()
    }

    /// Whether it has no group.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counting sort of the live slots by key group.
    fn sort(&self) -> Result<Order> {
        let bytes = self.table.slots as usize * size_of::<u32>();
        let charge = Charge::take(&self.table.pages, bytes)?;
        let key_group = |slot: u32| usize::from(key_group_of(self.table.hash(slot), self.max_parallelism).0);
        let mut live = Vec::new();
        let mut next = vec![0usize; self.max_parallelism as usize + 1];
        let chunk = crate::pages::PAGE_SLOTS as u32;
        let chunks = || (0..self.table.slots).step_by(chunk as usize);
        for start in chunks() {
            self.table.live_slots(start..self.table.slots.min(start + chunk), &mut live);
            live.iter().for_each(|slot| next[key_group(*slot) + 1] += 1);
        }
        for group in 1..next.len() {
            next[group] += next[group - 1];
        }
        let ends = (0..self.max_parallelism as usize).filter(|g| next[g + 1] > next[*g]);
        let ends: Vec<_> = ends.map(|g| (KeyGroup(g as u16), next[g + 1])).collect();
        let mut slots = vec![0; *next.last().unwrap_or(&0)];
        for start in chunks() {
            self.table.live_slots(start..self.table.slots.min(start + chunk), &mut live);
            for &slot in &live {
                let place = &mut next[key_group(slot)];
                slots[*place] = slot;
                *place += 1;
            }
        }
        Ok(Order { slots, ends, group: 0, read: 0, _charge: charge })
    }
}

impl KeyedRows for TableSnapshot {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn next(&mut self) -> Result<Option<(KeyGroup, Batch)>, Failure> {
        if self.order.is_none() {
            self.order = Some(self.sort()?);
        }
        let order = self.order.as_mut().expect("made above");
        let Some(&(key_group, end)) = order.ends.get(order.group) else { return Ok(None) };
        let stop = end.min(order.read + self.batch_rows);
        let batch = self.table.states_of(&order.slots[order.read..stop], &self.schema)?;
        order.read = stop;
        order.group += usize::from(stop == end);
        Ok(Some((key_group, batch)))
    }
}
