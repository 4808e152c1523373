//! Which rows go to which target.

use flumen_core::batch::{RowKind, Selection};
use flumen_core::key_group::{KeyGroup, key_group_of, subtask_of};

/// The target of each key group.
#[derive(Clone, Debug)]
pub struct KeyGroupTargets {
    target_by_group: Vec<u16>,
    targets: usize,
}

impl KeyGroupTargets {
    /// Key groups to the subtasks that own them.
    ///
    /// # Panics
    /// If `parallelism` is zero or above `max_parallelism`, or that above 32768.
    #[must_use]
    pub fn new(parallelism: u32, max_parallelism: u32) -> Self {
        assert!((1..=max_parallelism).contains(&parallelism), "1 to max parallelism subtasks");
        assert!(max_parallelism <= 32768, "at most 32768 key groups");
        let target = |group: u32| subtask_of(KeyGroup(group as u16), parallelism, max_parallelism) as u16;
        Self { target_by_group: (0..max_parallelism).map(target).collect(), targets: parallelism as usize }
    }

    /// How many targets.
    #[must_use]
    pub fn targets(&self) -> usize {
        self.targets
    }

    /// The target of a hash.
    #[inline]
    #[must_use]
    pub fn target(&self, hash: u64) -> u16 {
        let group = key_group_of(hash, self.target_by_group.len() as u32);
        self.target_by_group[usize::from(group.0)]
    }
}

/// The rows of a batch, grouped by target. Within a target rows keep their order. Reused from batch to batch.
#[derive(Debug, Default)]
pub struct PartitionedRows {
    /// Where each target's rows begin; one more than targets.
    offsets: Vec<u32>,
    rows: Vec<u32>,
    /// Target of each row that counts, in the batch's order.
    targets: Vec<u16>,
}

impl PartitionedRows {
    /// Assigns rows by the key groups of their hashes (one for each physical row).
    ///
    /// # Panics
    /// If a selected row has no hash.
    pub fn assign_by_hash(&mut self, hashes: &[u64], selection: Option<&Selection>, groups: &KeyGroupTargets) {
        self.assign(groups.targets(), hashes.len(), selection, |row| groups.target(hashes[row]));
    }

    /// Assigns rows by any rule; `target` gets physical rows.
    ///
    /// # Panics
    /// If a target is not below `targets`, or there are more than 65536.
    pub fn assign(
        &mut self,
        targets: usize,
        rows: usize,
        selection: Option<&Selection>,
        target: impl Fn(usize) -> u16,
    ) {
        assert!(targets <= 1 << 16, "targets are numbered by 16 bits");
        self.targets.clear();
        match selection {
            None => self.targets.extend((0..rows).map(target)),
            Some(selection) => self.targets.extend(selection.iter().map(|row| target(*row as usize))),
        }
        self.offsets.clear();
        self.offsets.resize(targets + 1, 0);
        for target in &self.targets {
            self.offsets[usize::from(*target)] += 1;
        }
        let mut next = 0;
        for offset in &mut self.offsets {
            next += std::mem::replace(offset, next);
        }
        self.rows.resize(self.targets.len(), 0);
        for (position, target) in self.targets.iter().enumerate() {
            let offset = &mut self.offsets[usize::from(*target)];
            self.rows[*offset as usize] = selection.map_or(position as u32, |s| s[position]);
            *offset += 1;
        }
        // Every offset has moved to the next one's place.
        self.offsets.copy_within(..targets, 1);
        self.offsets[0] = 0;
    }

    /// How many targets.
    #[must_use]
    pub fn targets(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// The physical rows of a target, in the batch's order.
    ///
    /// # Panics
    /// If there is no such target.
    #[inline]
    #[must_use]
    pub fn rows_of(&self, target: usize) -> &[u32] {
        &self.rows[self.offsets[target] as usize..self.offsets[target + 1] as usize]
    }

    /// All rows, target by target.
    #[must_use]
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// Where each target's rows begin in [`rows`](Self::rows), and the end of the last.
    #[must_use]
    pub fn offsets(&self) -> &[u32] {
        &self.offsets
    }

    /// Row kinds with every `-U`, `+U` pair that was split made `-D`, `+I`; `None` if none was.
    pub(super) fn unpaired_kinds(&self, kinds: &[i8], selection: Option<&Selection>) -> Option<Vec<i8>> {
        let row = |position: usize| selection.map_or(position, |s| s[position] as usize);
        let mut changed: Option<Vec<i8>> = None;
        for position in 1..self.targets.len() {
            let (before, after) = (row(position - 1), row(position));
            let is_pair = kinds[before] == RowKind::UpdateBefore as i8 && kinds[after] == RowKind::UpdateAfter as i8;
            if is_pair && self.targets[position - 1] != self.targets[position] {
                let changed = changed.get_or_insert_with(|| kinds.to_vec());
                changed[before] = RowKind::Delete as i8;
                changed[after] = RowKind::Insert as i8;
            }
        }
        changed
    }
}
