//! Rows to as many spill files as there are radix partitions.
//!
//! A level takes the next four bits of the key's hash below those of the largest key group, so that all partitions of a
//! subtask are about as large, and each divides again at the next level. Below the fourth level the bits are used up,
//! and what is left is mixed anew. Rows of one key are always in one partition, in the order in which they came.

use flumen_core::batch::Batch;
use flumen_core::failure::Failure;
use flumen_core::meter::MemoryMeter;
use flumen_core::types::SchemaRef;
use flumen_kernels::hash::hash_batch;
use flumen_kernels::scatter::{PartitionBuilders, PartitionLimits, PartitionedRows};
use std::sync::Arc;

use super::rows::{SpillWriter, SpilledRows};
use super::space::SpillSpace;
use crate::charge::Charge;

/// Partitions of a level.
pub(crate) const PARTITIONS: usize = 16;
/// How often a partition is divided again; one that is still too large then has a key that is.
pub(crate) const LEVELS: u32 = 6;
/// Bits that tell the partitions of a level apart.
const BITS: u32 = PARTITIONS.trailing_zeros();
/// Bits of the largest number of key groups, which are the hash's top ones.
const KEY_GROUP_BITS: u32 = 15;
/// Levels for which the upper half of the hash has bits.
const PLAIN_LEVELS: u32 = (32 - KEY_GROUP_BITS) / BITS;
/// Rows and bytes that a partition collects before they are written.
const LIMITS: PartitionLimits = PartitionLimits { rows_max: 8192, bytes_max: 32 << 10 };

/// The partition of a hash.
#[inline]
pub(crate) fn partition_of(hash: u64, level: u32) -> usize {
    let bits = if level < PLAIN_LEVELS {
        hash >> (64 - KEY_GROUP_BITS - (level + 1) * BITS)
    } else {
        let mixed = (hash ^ u64::from(level).wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        (mixed ^ mixed >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93) >> 32
    };
    bits as usize % PARTITIONS
}

/// Collects rows by partition, and writes what has become a frame.
pub(crate) struct SpillPartitions {
    level: u32,
    keys: Vec<usize>,
    builders: PartitionBuilders,
    assigned: PartitionedRows,
    full: Vec<(usize, Batch)>,
    writers: Vec<SpillWriter>,
    charge: Charge,
}

impl SpillPartitions {
    /// Partitions of this level by key columns.
    pub(crate) fn new(
        space: &SpillSpace,
        memory: &Arc<dyn MemoryMeter>,
        schema: &SchemaRef,
        keys: &[usize],
        level: u32,
    ) -> Self {
        Self {
            level,
            keys: keys.to_vec(),
            builders: PartitionBuilders::new(SchemaRef::clone(schema), PARTITIONS, None, LIMITS),
            assigned: PartitionedRows::default(),
            full: Vec::new(),
            writers: (0..PARTITIONS).map(|_| SpillWriter::new(space, schema)).collect(),
            charge: Charge::new(memory),
        }
    }

    /// Bytes of rows that are not written yet; [`Self::flush`] gives them back.
    pub(crate) fn held_bytes(&self) -> usize {
        self.charge.bytes()
    }

    /// Takes the selected rows of a batch.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(crate) fn push(&mut self, batch: &Batch) -> Result<(), Failure> {
        let hashes = hash_batch(batch, &self.keys);
        let level = self.level;
        let target = |row: usize| partition_of(hashes[row], level) as u16;
        self.assigned.assign(PARTITIONS, batch.physical_rows(), batch.selection(), target);
        self.builders.append(batch, &self.assigned, &mut self.full)?;
        self.write()?;
        if self.charge.set_spillable(self.builders.memory_size()).is_err() {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes everything; answers the bytes given back.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn flush(&mut self) -> Result<usize, Failure> {
        self.builders.finish_all(&mut self.full)?;
        self.write()?;
        let held = self.charge.bytes();
        self.charge.set(0)?;
        Ok(held)
    }

    fn write(&mut self) -> Result<(), Failure> {
        self.full.drain(..).try_for_each(|(partition, batch)| self.writers[partition].push(&batch))
    }

    /// Ends writing: the rows of each partition.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(crate) fn finish(mut self) -> Result<Vec<SpilledRows>, Failure> {
        self.flush()?;
        self.writers.into_iter().map(SpillWriter::finish).collect()
    }
}
