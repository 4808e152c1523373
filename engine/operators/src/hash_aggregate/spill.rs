//! Groups that memory does not hold: partial states by radix partition.
//!
//! 1. While rows are taken in, a table that may not grow (or that the arbiter asks for) is written out: the states of
//!    its groups, each to the file of its partition, and begins anew. So rows that share a group are still aggregated
//!    before they are written.
//! 2. At the end the rest of the table follows, and the partitions are aggregated one after the other: states are merged
//!    in the order in which they were written.
//! 3. A partition whose groups do not fit either is written out by the next bits of the hash, which makes sixteen
//!    smaller ones; a table of a single group is as small as it gets.
//! 4. Results that are being given out when the arbiter asks are written as they are.
//!
//! Groups come out partition by partition, with the values that a table in memory would have come to. Where states hold
//! floating point numbers that takes more: sums of sums are not the sums. Then rows that come after the first writing are
//! not aggregated but written as they are, and follow their partition's states in the order in which they came.

use std::sync::Arc;

use flumen_core::batch::{Batch, Column};
use flumen_core::failure::Failure;
use flumen_core::meter::MemoryMeter;
use flumen_core::types::{Field, LogicalType, SchemaRef};
use flumen_state::{Groups, KeyInput, KeyedTable, SlotCursor, StateError};

use crate::contract::OperatorContext;
use crate::spill::{
    LEVELS, PARTITIONS, SpillPartitions, SpillReader, SpillSpace, SpillWriter, SpilledRows, partition_of,
};

/// Groups that are exported at a time.
const EXPORT_ROWS: usize = 2048;

/// What there is of some groups, which are nowhere else.
struct Partition {
    states: SpilledRows,
    rows: Option<SpilledRows>,
    /// Which bits divide it further.
    level: u32,
}

/// A partition that is aggregated: its states, then its rows.
struct Reading {
    states: (SpilledRows, SpillReader),
    rows: Option<(SpilledRows, SpillReader)>,
}

/// What a partition gives.
pub(super) enum Spilled {
    States(Batch),
    Rows(Batch),
}

fn with_reader(rows: SpilledRows) -> (SpilledRows, SpillReader) {
    let reader = rows.reader();
    (rows, reader)
}

/// See the module.
pub(super) struct Spill {
    space: SpillSpace,
    /// Keys, then states.
    schema: SchemaRef,
    /// State columns of each accumulator.
    widths: Vec<usize>,
    memory: Arc<dyn MemoryMeter>,
    input: SchemaRef,
    /// Key columns of the input.
    keys: Vec<usize>,
    /// Merging states is not the same as aggregating their rows.
    rounds: bool,
    /// Which bits divide the groups of the table.
    level: u32,
    /// One for each partition of the table, once it has been written out.
    writers: Vec<SpillWriter>,
    /// If states round: the rows that came after the first writing.
    rows: Option<SpillPartitions>,
    /// Still to be aggregated, the next one last.
    waiting: Vec<Partition>,
    reading: Option<Reading>,
    results: Option<(SpilledRows, SpillReader)>,
}

impl Spill {
    pub(super) fn new(table: &KeyedTable, input: &SchemaRef, keys: &[usize], context: &OperatorContext) -> Self {
        let states: Vec<Vec<Field>> = table.accumulators().iter().map(|a| a.state_fields()).collect();
        let rounds = |field: &Field| matches!(field.data_type, LogicalType::Float32 | LogicalType::Float64);
        Self {
            space: context.spill.clone(),
            schema: table.state_schema(),
            widths: states.iter().map(Vec::len).collect(),
            memory: Arc::clone(&context.memory),
            input: Arc::clone(input),
            keys: keys.to_vec(),
            rounds: states.iter().flatten().any(rounds),
            level: 0,
            writers: Vec::new(),
            rows: None,
            waiting: Vec::new(),
            reading: None,
            results: None,
        }
    }

    /// Whether the table's groups can be divided further.
    pub(super) fn can_divide(&self) -> bool {
        self.level < LEVELS
    }

    /// Whether some of the groups that are being aggregated are written out.
    pub(super) fn is_partial(&self) -> bool {
        !self.writers.is_empty()
    }

    /// Whether any group is on disk.
    pub(super) fn is_used(&self) -> bool {
        self.is_partial() || !self.waiting.is_empty() || self.reading.is_some() || self.results.is_some()
    }

    /// Writes out the first `groups` groups of the table and empties it.
    pub(super) fn write_out(&mut self, table: &mut KeyedTable, groups: usize) -> Result<(), Failure> {
        if self.writers.is_empty() {
            self.writers = (0..PARTITIONS).map(|_| SpillWriter::new(&self.space, &self.schema)).collect();
            self.rows = self
                .rounds
                .then(|| SpillPartitions::new(&self.space, &self.memory, &self.input, &self.keys, self.level));
        }
        let mut slots: Vec<Vec<u32>> = vec![Vec::new(); PARTITIONS];
        for slot in 0..groups as u32 {
            slots[partition_of(table.hash(slot), self.level)].push(slot);
        }
        for (writer, slots) in self.writers.iter_mut().zip(slots) {
            for slots in slots.chunks(EXPORT_ROWS) {
                writer.push(&table.states_of(slots, &self.schema)?)?;
            }
        }
        Ok(table.clear()?)
    }

    /// Whether rows are written as they are; if so, they were taken.
    pub(super) fn push_rows(&mut self, batch: &Batch) -> Result<bool, Failure> {
        match &mut self.rows {
            Some(rows) => rows.push(batch).map(|()| true),
            None => Ok(false),
        }
    }

    /// Bytes of such rows that are not written yet.
    pub(super) fn held_bytes(&self) -> usize {
        self.rows.as_ref().map_or(0, SpillPartitions::held_bytes)
    }

    /// Writes them; answers the bytes given back.
    pub(super) fn flush_rows(&mut self) -> Result<usize, Failure> {
        self.rows.as_mut().map_or(Ok(0), SpillPartitions::flush)
    }

    /// All groups of the table are written out: its partitions wait to be aggregated.
    pub(super) fn divide(&mut self) -> Result<(), Failure> {
        let mut rows: Vec<Option<SpilledRows>> = match self.rows.take() {
            Some(rows) => rows.finish()?.into_iter().map(Some).collect(),
            None => self.writers.iter().map(|_| None).collect(),
        };
        for writer in std::mem::take(&mut self.writers).into_iter().rev() {
            let rows = rows.pop().flatten().filter(|rows| rows.rows() > 0);
            if writer.rows() > 0 || rows.is_some() {
                self.waiting.push(Partition { states: writer.finish()?, rows, level: self.level + 1 });
            }
        }
        Ok(())
    }

    /// Goes on to the next partition; answers whether there is one.
    pub(super) fn next_partition(&mut self) -> bool {
        self.reading = None;
        let Some(Partition { states, rows, level }) = self.waiting.pop() else { return false };
        self.level = level;
        self.reading = Some(Reading { states: with_reader(states), rows: rows.map(with_reader) });
        true
    }

    /// What the partition has next.
    pub(super) fn read(&mut self) -> Result<Option<Spilled>, Failure> {
        let Some(Reading { states: (states, reader), rows }) = &mut self.reading else { return Ok(None) };
        if let Some(batch) = reader.next(states)? {
            return Ok(Some(Spilled::States(batch)));
        }
        match rows {
            Some((rows, reader)) => Ok(reader.next(rows)?.map(Spilled::Rows)),
            None => Ok(None),
        }
    }

    /// Finds the groups of states, and takes memory for what will be kept of them.
    pub(super) fn group(&self, table: &mut KeyedTable, batch: &Batch, groups: &mut Groups) -> Result<(), StateError> {
        let columns: Vec<&Column> = batch.columns().iter().collect();
        let keys = table.key_fields().len();
        let rows = batch.physical_rows();
        let input = KeyInput { columns: &columns[..keys], rows, selection: batch.selection(), hashes: None };
        table.group(input, groups)?;
        let mut next = keys;
        for (accumulator, width) in self.widths.iter().enumerate() {
            table.make_room(accumulator, &columns[next..next + width], rows, batch.num_rows())?;
            next += width;
        }
        Ok(())
    }

    /// Merges the states that were grouped.
    pub(super) fn merge(&self, table: &mut KeyedTable, batch: &Batch, groups: &Groups) -> Result<(), StateError> {
        let columns: Vec<&Column> = batch.columns().iter().collect();
        let selection = batch.selection().map(|s| s.as_ref());
        let mut next = table.key_fields().len();
        for (accumulator, width) in self.widths.iter().enumerate() {
            table.merge(accumulator, groups, &columns[next..next + width], batch.physical_rows(), selection)?;
            next += width;
        }
        Ok(())
    }

    /// Writes the results from `cursor` on and empties the table.
    pub(super) fn write_results(
        &mut self,
        table: &mut KeyedTable,
        cursor: &mut SlotCursor,
        output: &SchemaRef,
        batch_rows: usize,
    ) -> Result<(), Failure> {
        let mut writer = SpillWriter::new(&self.space, output);
        while let Some(batch) = table.next_results(cursor, output, batch_rows)? {
            writer.push(&batch)?;
        }
        self.results = Some(with_reader(writer.finish()?));
        Ok(table.clear()?)
    }

    /// The next of the results that were written.
    pub(super) fn read_results(&mut self, output: &SchemaRef) -> Result<Option<Batch>, Failure> {
        let Some((results, reader)) = &mut self.results else { return Ok(None) };
        let batch = reader.next(results)?;
        if batch.is_none() {
            self.results = None;
        }
        Ok(batch.map(|batch| batch.with_columns(Arc::clone(output), batch.columns().to_vec())))
    }
}
