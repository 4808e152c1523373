//! Key groups: the unit in which keyed state is owned, snapshot and moved.
//!
//! A key's hash has 64 bits. Its high 32 bits, taken as a fraction, choose the key group (multiply-shift), so a key
//! group is a contiguous range of hashes and a subtask owns one contiguous range; radix partitions use the bits
//! below, hash tables the lowest. Ranges and defaults are Flink's (`reference: flink KeyGroupRangeAssignment`).

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Smallest default for the number of key groups.
pub const DEFAULT_MAX_PARALLELISM_LOWER_BOUND: u32 = 128;
/// Largest number of key groups.
pub const MAX_PARALLELISM_UPPER_BOUND: u32 = 32768;

/// Index of a key group, below the job's maximum parallelism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyGroup(pub u16);

/// Key group of a hash: `high32(hash) * max_parallelism >> 32`.
#[inline]
#[must_use]
pub fn key_group_of(hash: u64, max_parallelism: u32) -> KeyGroup {
    KeyGroup((((hash >> 32) * u64::from(max_parallelism)) >> 32) as u16)
}

/// Subtask that owns a key group: `key_group * parallelism / max_parallelism`.
#[inline]
#[must_use]
pub fn subtask_of(key_group: KeyGroup, parallelism: u32, max_parallelism: u32) -> u32 {
    u32::from(key_group.0) * parallelism / max_parallelism
}

/// Default maximum parallelism: the next power of two of `parallelism * 1.5`, clamped to `[128, 32768]`.
#[must_use]
pub fn default_max_parallelism(parallelism: u32) -> u32 {
    (parallelism.saturating_add(parallelism / 2))
        .next_power_of_two()
        .clamp(DEFAULT_MAX_PARALLELISM_LOWER_BOUND, MAX_PARALLELISM_UPPER_BOUND)
}

/// A contiguous range of key groups, `start` included, `end` excluded; may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyGroupRange {
    /// First key group.
    pub start: u16,
    /// One past the last.
    pub end: u16,
}

impl KeyGroupRange {
    /// The range of subtask `index`: `[ceil(i*maxP/par), ceil((i+1)*maxP/par))`.
    #[must_use]
    pub fn of_subtask(index: u32, parallelism: u32, max_parallelism: u32) -> Self {
        let bound = |i: u32| (u64::from(i) * u64::from(max_parallelism)).div_ceil(u64::from(parallelism)) as u16;
        Self { start: bound(index), end: bound(index + 1) }
    }

    /// Whether `group` lies in the range.
    #[must_use]
    pub fn contains(self, group: KeyGroup) -> bool {
        (self.start..self.end).contains(&group.0)
    }

    /// What both ranges hold.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        let start = self.start.max(other.start);
        Self { start, end: self.end.min(other.end).max(start) }
    }

    /// Whether it holds no key group.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.start >= self.end
    }

    /// Number of key groups.
    #[must_use]
    pub fn len(self) -> usize {
        usize::from(self.end.saturating_sub(self.start))
    }

    /// The key groups, in order.
    pub fn iter(self) -> impl Iterator<Item = KeyGroup> {
        Range { start: self.start, end: self.end }.map(KeyGroup)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_partition_the_key_groups_and_agree_with_ownership() {
        for (parallelism, max_parallelism) in
            [(1, 128), (2, 128), (3, 128), (5, 128), (7, 128), (128, 128), (100, 256), (3, 32768)]
        {
            let mut next = 0;
            for index in 0..parallelism {
                let range = KeyGroupRange::of_subtask(index, parallelism, max_parallelism);
                assert_eq!(range.start, next);
                next = range.end;
                assert!(range.iter().all(|g| subtask_of(g, parallelism, max_parallelism) == index));
            }
            assert_eq!(u32::from(next), max_parallelism);
        }
    }

    #[test]
    fn defaults_follow_flink() {
        for (parallelism, expected) in [(1, 128), (85, 128), (86, 256), (200, 512), (30000, 32768)] {
            assert_eq!(default_max_parallelism(parallelism), expected, "{parallelism}");
        }
    }

    #[test]
    fn the_top_bits_choose() {
        assert_eq!(key_group_of(0, 128), KeyGroup(0));
        assert_eq!(key_group_of(u64::MAX, 128), KeyGroup(127));
        assert_eq!(key_group_of(u64::MAX, 32768), KeyGroup(32767));
        assert_eq!(key_group_of(1 << 63, 128), KeyGroup(64));
    }
}
