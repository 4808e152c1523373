//! ARRAY_AGG: the values of a group as a list, NULLs among them.
//!
//! Values are kept as they come, column by column: a batch's values are one *chunk* beside the slots that they belong to.
//! No value is touched for its group before the groups come out. Then one counting scatter over all slots says where the
//! values of each group are ([`Index`]), and the lists of a batch of groups are one gather.
//!
//! ORDER BY keeps the columns that order beside the values, and DISTINCT nothing: both sort the values of the groups that
//! come out, once for each batch of them, by group and then by what was asked for. So it does not matter in which order
//! and in how many pieces values came, which is why states (lists of values, or of structs of a value and what orders it)
//! merge by being appended.
//!
//! Small chunks are joined, each with one of at most twice its size, so that there are few whatever the batches were.
//! Memory: the values, 4 bytes for the slot of each and 8 for its place in the index; charged before a batch is taken in.

#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, ListArray, StructArray, UInt32Array, new_empty_array};
use arrow_buffer::{BooleanBuffer, NullBuffer, OffsetBuffer};
use arrow_schema::{ArrowError, DataType};
use flumen_core::batch::Column;
use flumen_core::spec::relational::{ArgumentOrder, SortKey};
use flumen_core::types::{Field, LogicalType};
use flumen_kernels::compare::{NullEquality, rows_equal};
use flumen_kernels::gather::{column_array, compact_array, flatten, take};
use flumen_kernels::sort::sort_indices;

use crate::aggregate::active::{Active, ActiveRows, refuse_retract};
use crate::aggregate::{Accumulator, AccumulatorContext, StateInput, UpdateInput};
use crate::error::{Result, StateError};
use crate::pages::{Charge, PageSource};

/// Chunks of more rows are not joined.
const CHUNK_ROWS_MAX: usize = 1 << 16;
/// The slot of values that were reset.
const NO_SLOT: u32 = u32::MAX;
/// Bytes for each value beside itself: its slot and its place in the index.
const BYTES_BESIDE: usize = 12;

/// Values and their slots.
#[derive(Clone)]
struct Chunk {
    /// The values, then what orders them.
    columns: Vec<ArrayRef>,
    slots: Arc<Vec<u32>>,
    bytes: usize,
    _charge: Arc<Vec<Charge>>,
}

/// Where the values of each slot are: `(chunk, row)` in the order in which they came.
struct Index {
    /// One more than there are slots.
    ends: Vec<u32>,
    places: Vec<(u32, u32)>,
}

/// See the module.
pub(super) struct Collect {
    /// Types of the value and of what orders it.
    types: Vec<LogicalType>,
    order: Vec<ArgumentOrder>,
    distinct: bool,
    chunks: Vec<Chunk>,
    index: OnceLock<Index>,
    /// Memory for the next batch.
    prepaid: Option<Charge>,
    pages: Arc<dyn PageSource>,
}

fn failed(error: impl std::fmt::Display) -> StateError {
    StateError::Codec { what: "the values of array_agg".into(), problem: error.to_string() }
}

fn gathered(columns: &[ArrayRef], rows: &UInt32Array) -> Result<Vec<ArrayRef>> {
    columns.iter().map(|column| take(column, rows).map_err(failed)).collect()
}

impl Collect {
    /// For values of the first of `types`; the others order them.
    pub(super) fn new(
        types: Vec<LogicalType>,
        order: Vec<ArgumentOrder>,
        distinct: bool,
        context: &AccumulatorContext,
    ) -> Self {
        let pages = Arc::clone(&context.pages);
        Self { types, order, distinct, chunks: Vec::new(), index: OnceLock::new(), prepaid: None, pages }
    }

    /// What a list of an exported state is made of.
    fn state_item(&self) -> LogicalType {
        match self.types.as_slice() {
            [value] => value.clone(),
            types => {
                let field = |(index, data_type): (usize, &LogicalType)| {
                    let name = if index == 0 { "value".to_owned() } else { format!("order_{index}") };
                    Field::new(name, data_type.clone(), true)
                };
                LogicalType::Struct(types.iter().enumerate().map(field).collect())
            }
        }
    }

    fn append(&mut self, columns: Vec<ArrayRef>, slots: Vec<u32>) -> Result<()> {
        if slots.is_empty() {
            return Ok(());
        }
        self.index = OnceLock::new();
        let columns = columns.iter().map(compact_array).collect::<std::result::Result<Vec<_>, _>>().map_err(failed)?;
        let bytes = columns.iter().map(used_bytes).sum::<usize>() + slots.len() * BYTES_BESIDE;
        let mut charges = Vec::with_capacity(2);
        let paid = self.prepaid.take().map_or(0, |charge| {
            let bytes = charge.bytes();
            charges.push(charge);
            bytes
        });
        if bytes > paid {
            charges.push(Charge::take(&self.pages, bytes - paid)?);
        }
        self.chunks.push(Chunk { columns, slots: Arc::new(slots), bytes: bytes.max(paid), _charge: Arc::new(charges) });
        while let [.., before, last] = self.chunks.as_slice()
            && before.slots.len() <= last.slots.len() * 2
            && before.slots.len() + last.slots.len() <= CHUNK_ROWS_MAX
        {
            // Without memory for it there are more chunks, and nothing else is different.
            let Ok(joined) = self.joined(before, last) else { break };
            self.chunks.truncate(self.chunks.len() - 2);
            self.chunks.push(joined);
        }
        Ok(())
    }

    fn joined(&self, before: &Chunk, last: &Chunk) -> Result<Chunk> {
        let pair = |(a, b): (&ArrayRef, &ArrayRef)| arrow_select::concat::concat(&[a.as_ref(), b.as_ref()]);
        let columns: std::result::Result<Vec<_>, _> = before.columns.iter().zip(&last.columns).map(pair).collect();
        let columns = columns.map_err(failed)?;
        let slots: Vec<u32> = before.slots.iter().chain(last.slots.iter()).copied().collect();
        let bytes = columns.iter().map(used_bytes).sum::<usize>() + slots.len() * BYTES_BESIDE;
        let charge = Charge::take(&self.pages, bytes)?;
        Ok(Chunk { columns, slots: Arc::new(slots), bytes, _charge: Arc::new(vec![charge]) })
    }

    fn index(&self) -> Result<&Index> {
        if self.index.get().is_none() {
            let index = Index::new(&self.chunks)?;
            return Ok(self.index.get_or_init(|| index));
        }
        self.index.get().ok_or_else(|| failed("the index is gone"))
    }

    /// The values of these slots and what orders them, group after group, and how many each has.
    fn values_of(&self, slots: &[u32]) -> Result<(Vec<ArrayRef>, Vec<usize>)> {
        let index = self.index()?;
        let ranges: Vec<std::ops::Range<usize>> = slots.iter().map(|slot| index.range(*slot)).collect();
        let lengths: Vec<usize> = ranges.iter().map(std::ops::Range::len).collect();
        let total: usize = lengths.iter().sum();
        if total > i32::MAX as usize {
            return Err(failed(format!("{total} values are more than the lists of {} groups can hold", slots.len())));
        }
        let places: Vec<(usize, usize)> = ranges
            .into_iter()
            .flat_map(|range| &index.places[range])
            .map(|(chunk, row)| (*chunk as usize, *row as usize))
            .collect();
        let column = |(column, data_type): (usize, &LogicalType)| {
            let arrays: Vec<&dyn Array> = self.chunks.iter().map(|chunk| chunk.columns[column].as_ref()).collect();
            if arrays.is_empty() {
                return Ok(new_empty_array(&data_type.arrow_type()));
            }
            arrow_select::interleave::interleave(&arrays, &places)
        };
        let columns: std::result::Result<Vec<_>, ArrowError> = self.types.iter().enumerate().map(column).collect();
        Ok((columns.map_err(failed)?, lengths))
    }

    /// Sorts the values of each group, and leaves equal ones out if they are to be distinct.
    fn arranged(&self, columns: Vec<ArrayRef>, lengths: Vec<usize>) -> Result<(Vec<ArrayRef>, Vec<usize>)> {
        if !self.distinct && self.order.is_empty() {
            return Ok((columns, lengths));
        }
        let groups = lengths.iter().enumerate().flat_map(|(group, length)| std::iter::repeat_n(group as u32, *length));
        let groups: Vec<u32> = groups.collect();
        let group_column = Column::Array(Arc::new(UInt32Array::from(groups.clone())));
        let values: Vec<Column> = columns.iter().cloned().map(Column::Array).collect();
        let all: Vec<&Column> = std::iter::once(&group_column).chain(&values).collect();
        let types: Vec<LogicalType> = std::iter::once(LogicalType::UInt32).chain(self.types.iter().cloned()).collect();
        let key = |column: usize, order: ArgumentOrder| SortKey {
            column,
            descending: order.descending,
            nulls_first: order.nulls_first,
        };
        let plain = ArgumentOrder { descending: false, nulls_first: false };
        let mut keys = vec![key(0, plain)];
        // Behind the group and the value.
        keys.extend(self.order.iter().enumerate().map(|(index, order)| key(index + 2, *order)));
        if self.distinct {
            keys.push(key(1, plain));
        }
        let mut sorted = sort_indices(&all, &types, groups.len(), None, &keys).map_err(failed)?;
        let mut lengths = lengths;
        if self.distinct && sorted.len() > 1 {
            let mut repeated = Vec::new();
            let value = [&values[0]];
            rows_equal(
                &value,
                &sorted[1..],
                &value,
                &sorted[..sorted.len() - 1],
                NullEquality::NullsEqual,
                &mut repeated,
            );
            let mut kept = vec![true; sorted.len()];
            for position in repeated {
                let (before, row) = (sorted[position as usize] as usize, sorted[position as usize + 1] as usize);
                if groups[before] == groups[row] {
                    kept[position as usize + 1] = false;
                    lengths[groups[row] as usize] -= 1;
                }
            }
            let mut next = kept.iter();
            sorted.retain(|_| next.next().is_some_and(|kept| *kept));
        }
        Ok((gathered(&columns, &UInt32Array::from(sorted))?, lengths))
    }
}

impl Index {
    fn new(chunks: &[Chunk]) -> Result<Self> {
        let rows: usize = chunks.iter().map(|chunk| chunk.slots.len()).sum();
        if rows >= u32::MAX as usize {
            return Err(failed("there are more than 4294967294 of them; use a higher parallelism"));
        }
        let slots = || chunks.iter().flat_map(|chunk| chunk.slots.iter().copied());
        let count = slots().filter(|slot| *slot != NO_SLOT).max().map_or(0, |slot| slot as usize + 1);
        let mut ends = vec![0_u32; count + 1];
        slots().filter(|slot| *slot != NO_SLOT).for_each(|slot| ends[slot as usize + 1] += 1);
        for slot in 0..count {
            ends[slot + 1] += ends[slot];
        }
        let mut next = ends.clone();
        let mut places = vec![(0, 0); ends[count] as usize];
        for (chunk, values) in chunks.iter().enumerate() {
            for (row, slot) in values.slots.iter().enumerate().filter(|(_, slot)| **slot != NO_SLOT) {
                let place = &mut next[*slot as usize];
                places[*place as usize] = (chunk as u32, row as u32);
                *place += 1;
            }
        }
        Ok(Self { ends, places })
    }

    fn range(&self, slot: u32) -> std::ops::Range<usize> {
        match self.ends.get(slot as usize..slot as usize + 2) {
            Some(ends) => ends[0] as usize..ends[1] as usize,
            // A group without values.
            None => 0..0,
        }
    }
}

/// Lists of these lengths; one without values is NULL.
fn lists(values: ArrayRef, lengths: &[usize], data_type: &LogicalType) -> Result<ArrayRef> {
    let DataType::List(field) = LogicalType::list_of(data_type.clone()).arrow_type() else {
        return Err(failed("a list has items"));
    };
    let valid = BooleanBuffer::collect_bool(lengths.len(), |group| lengths[group] > 0);
    let nulls = Some(NullBuffer::new(valid)).filter(|n| n.null_count() > 0);
    let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
    Ok(Arc::new(ListArray::try_new(field, offsets, values, nulls).map_err(failed)?))
}

/// Bytes of the values of an array, without what its buffers hold beside.
fn used_bytes(array: &ArrayRef) -> usize {
    let list = |values: &ArrayRef, first: usize, last: usize| {
        (array.len() + 1) * 4 + used_bytes(&values.slice(first, last.saturating_sub(first)))
    };
    let valid = array.nulls().map_or(0, |_| array.len() / 8);
    valid
        + match array.data_type() {
            DataType::Utf8View => array.len() * 16 + array.as_string_view().total_buffer_bytes_used(),
            DataType::BinaryView => array.len() * 16 + array.as_binary_view().total_buffer_bytes_used(),
            DataType::List(_) => {
                let lists = array.as_list::<i32>();
                let offsets = lists.value_offsets();
                list(lists.values(), offsets[0] as usize, offsets[array.len()] as usize)
            }
            DataType::Map(..) => {
                let maps = array.as_map();
                let offsets = maps.value_offsets();
                let entries: ArrayRef = Arc::new(maps.entries().clone());
                list(&entries, offsets[0] as usize, offsets[array.len()] as usize)
            }
            DataType::Struct(_) => array.as_struct().columns().iter().map(used_bytes).sum(),
            _ => array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_buffer_memory_size()),
        }
}

/// The physical rows of a column in the type's carrier.
fn carried(column: &Column, data_type: &LogicalType, rows: usize) -> Result<ArrayRef> {
    let array = flatten(&column_array(column, rows).map_err(failed)?).map_err(failed)?;
    let carrier = data_type.arrow_type();
    if *array.data_type() == carrier {
        return Ok(array);
    }
    arrow_cast::cast(&array, &carrier).map_err(failed)
}

impl Accumulator for Collect {
    fn state_fields(&self) -> Vec<Field> {
        vec![Field::new("values", LogicalType::list_of(self.state_item()), true)]
    }

    fn reserve(&mut self, _slots: usize) -> Result<()> {
        Ok(())
    }

    fn make_room(&mut self, columns: &[&Column], rows: usize, selected: usize) -> Result<()> {
        self.prepaid = None;
        if selected == 0 || rows == 0 {
            return Ok(());
        }
        let bytes = |column: &&Column| match column {
            // In 128 bits: bytes times rows.
            Column::Array(array) => (used_bytes(array) as u128 * selected as u128 / rows as u128) as usize,
            Column::Constant(value) => used_bytes(value) * selected,
        };
        let bytes = columns.iter().map(bytes).sum::<usize>() + selected * BYTES_BESIDE;
        self.prepaid = Some(Charge::take(&self.pages, bytes)?);
        Ok(())
    }

    fn update(&mut self, input: &UpdateInput<'_>) -> Result<()> {
        refuse_retract("array_agg", input.row_kinds)?;
        let active = Active::of_update(input, &[])?;
        let columns =
            input.args.iter().zip(&self.types).map(|(column, data_type)| carried(column, data_type, input.rows));
        let mut columns = columns.collect::<Result<Vec<_>>>()?;
        if let ActiveRows::List(rows) = &active.rows {
            columns = gathered(&columns, &UInt32Array::from(rows.to_vec()))?;
        }
        self.append(columns, active.slots.into_owned())
    }

    fn merge(&mut self, input: &StateInput<'_>) -> Result<()> {
        let state = carried(input.state[0], &LogicalType::list_of(self.state_item()), input.rows)?;
        let row = |position: usize| input.selection.map_or(position as u32, |selection| selection[position]);
        let rows: Vec<u32> = (0..input.slots.len()).map(row).collect();
        let kept: Vec<usize> = (0..rows.len()).filter(|position| state.is_valid(rows[*position] as usize)).collect();
        let state = if kept.len() == input.rows {
            state
        } else {
            let rows = UInt32Array::from_iter_values(kept.iter().map(|position| rows[*position]));
            take(&state, &rows).map_err(failed)?
        };
        let lists = state.as_list::<i32>();
        let offsets = lists.value_offsets();
        let slots: Vec<u32> = kept
            .iter()
            .zip(offsets.windows(2))
            .flat_map(|(position, ends)| std::iter::repeat_n(input.slots[*position], (ends[1] - ends[0]) as usize))
            .collect();
        let values = lists.values().slice(offsets[0] as usize, slots.len());
        let columns = match self.types.len() {
            1 => vec![values],
            _ => values.as_struct().columns().to_vec(),
        };
        self.append(columns, slots)
    }

    fn supports_retract(&self) -> bool {
        false
    }

    fn export_state(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let (columns, lengths) = self.values_of(slots)?;
        // Fewer values for whoever merges them.
        let (mut columns, lengths) = if self.distinct { self.arranged(columns, lengths)? } else { (columns, lengths) };
        let item = self.state_item();
        let values = match (columns.len(), item.arrow_type()) {
            (2.., DataType::Struct(fields)) => {
                Arc::new(StructArray::try_new(fields, columns, None).map_err(failed)?) as ArrayRef
            }
            _ => columns.swap_remove(0),
        };
        Ok(vec![lists(values, &lengths, &item)?])
    }

    fn evaluate(&self, slots: &[u32]) -> Result<ArrayRef> {
        let (columns, lengths) = self.values_of(slots)?;
        let (mut columns, lengths) = self.arranged(columns, lengths)?;
        lists(columns.swap_remove(0), &lengths, &self.types[0])
    }

    fn reset(&mut self, slots: &[u32]) -> Result<()> {
        self.index = OnceLock::new();
        let mut gone = vec![false; slots.iter().max().map_or(0, |slot| *slot as usize + 1)];
        slots.iter().for_each(|slot| gone[*slot as usize] = true);
        for chunk in &mut self.chunks {
            for slot in Arc::make_mut(&mut chunk.slots) {
                if gone.get(*slot as usize).is_some_and(|gone| *gone) {
                    *slot = NO_SLOT;
                }
            }
        }
        self.chunks.retain(|chunk| chunk.slots.iter().any(|slot| *slot != NO_SLOT));
        Ok(())
    }

    fn freeze(&mut self) -> Box<dyn Accumulator> {
        Box::new(Self {
            types: self.types.clone(),
            order: self.order.clone(),
            distinct: self.distinct,
            chunks: self.chunks.clone(),
            index: OnceLock::new(),
            prepaid: None,
            pages: Arc::clone(&self.pages),
        })
    }

    fn clear(&mut self) {
        self.chunks = Vec::new();
        self.index = OnceLock::new();
        self.prepaid = None;
    }

    fn memory_bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes).sum()
    }
}
