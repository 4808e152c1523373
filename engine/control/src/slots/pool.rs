//! The slots that TaskExecutors offer.

use std::collections::BTreeMap;

use flumen_core::ids::SlotId;
use flumen_gateway::{SlotAddress, TaskExecutorId};

#[derive(Clone, Debug)]
struct Offered {
    total: u32,
    free: Vec<SlotId>,
}

/// Slots by TaskExecutor. Owned by one JobMaster.
#[derive(Clone, Debug, Default)]
pub struct SlotPool {
    executors: BTreeMap<TaskExecutorId, Offered>,
}

impl SlotPool {
    /// Takes over the slots `0..slots` of a TaskExecutor; ignored if it is known.
    pub fn offer(&mut self, executor: TaskExecutorId, slots: u32) {
        // Lowest numbers are handed out first.
        let free = (0..slots).rev().map(SlotId).collect();
        self.executors.entry(executor).or_insert(Offered { total: slots, free });
    }

    /// Forgets a TaskExecutor; false if it is not known.
    pub fn remove(&mut self, executor: TaskExecutorId) -> bool {
        self.executors.remove(&executor).is_some()
    }

    /// Whether the TaskExecutor is known.
    #[must_use]
    pub fn knows(&self, executor: TaskExecutorId) -> bool {
        self.executors.contains_key(&executor)
    }

    /// The TaskExecutors.
    pub fn executors(&self) -> impl Iterator<Item = TaskExecutorId> + '_ {
        self.executors.keys().copied()
    }

    /// Slots in all.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.executors.values().map(|e| e.total).sum()
    }

    /// Slots that nobody holds.
    #[must_use]
    pub fn free(&self) -> u32 {
        self.executors.values().map(|e| e.free.len() as u32).sum()
    }

    /// Takes `count` slots, one TaskExecutor filled after the other so that pipelined neighbours are near each other;
    /// `None`, and nothing is taken, if there are not enough.
    pub fn allocate(&mut self, count: u32) -> Option<Vec<SlotAddress>> {
        if self.free() < count {
            return None;
        }
        let mut slots = Vec::with_capacity(count as usize);
        for (&executor, offered) in &mut self.executors {
            while (slots.len() as u32) < count
                && let Some(slot) = offered.free.pop()
            {
                slots.push(SlotAddress { executor, slot });
            }
        }
        Some(slots)
    }

    /// Gives a slot back; ignored if its TaskExecutor is gone.
    pub fn release(&mut self, slot: SlotAddress) {
        if let Some(offered) = self.executors.get_mut(&slot.executor) {
            debug_assert!(!offered.free.contains(&slot.slot), "{slot} was given back twice");
            offered.free.push(slot.slot);
        }
    }
}
