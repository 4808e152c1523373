//! Slot sharing: subtask i of every vertex of a group may live in the group's slot i (reference: flink 1.3).
//!
//! So a job needs, for each group, as many slots as its widest vertex has subtasks. A shared slot is taken from the pool
//! when its first subtask is scheduled and goes back when its last one has ended.

use std::collections::BTreeMap;

use flumen_core::graph::JobGraph;
use flumen_gateway::SlotAddress;

use super::pool::SlotPool;

#[derive(Clone, Copy, Debug, Default)]
struct SharedSlot {
    slot: Option<SlotAddress>,
    users: u32,
}

/// Which shared slot a subtask belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SharedSlotKey {
    /// The group.
    pub group: usize,
    /// The subtask.
    pub subtask: u32,
}

/// Shared slots of a job.
#[derive(Clone, Debug)]
pub struct SlotSharing {
    group_of_vertex: Vec<usize>,
    names: Vec<String>,
    slots: Vec<Vec<SharedSlot>>,
}

impl SlotSharing {
    /// Reads the groups off a graph.
    #[must_use]
    pub fn new(graph: &JobGraph) -> Self {
        let mut ids: BTreeMap<&str, usize> = BTreeMap::new();
        let mut sharing = Self { group_of_vertex: Vec::new(), names: Vec::new(), slots: Vec::new() };
        for vertex in &graph.vertices {
            let group = *ids.entry(vertex.slot_sharing_group.as_str()).or_insert_with(|| {
                sharing.names.push(vertex.slot_sharing_group.clone());
                sharing.slots.push(Vec::new());
                sharing.names.len() - 1
            });
            sharing.group_of_vertex.push(group);
            let width = sharing.slots[group].len().max(vertex.parallelism as usize);
            sharing.slots[group].resize(width, SharedSlot::default());
        }
        sharing
    }

    /// Slots that the whole job needs at once: the widest vertex of each group, summed.
    #[must_use]
    pub fn required(&self) -> u32 {
        self.slots.iter().map(|s| s.len() as u32).sum()
    }

    /// Groups and the slots each needs, in order of appearance.
    pub fn groups(&self) -> impl Iterator<Item = (&str, u32)> {
        self.names.iter().map(String::as_str).zip(self.slots.iter().map(|s| s.len() as u32))
    }

    /// The shared slot of a subtask.
    #[must_use]
    pub fn key(&self, vertex: usize, subtask: u32) -> SharedSlotKey {
        SharedSlotKey { group: self.group_of_vertex[vertex], subtask }
    }

    /// Takes a shared slot for each key, one use for each time a key appears: all of them, or (`Err` with the number of
    /// slots that are missing from the pool altogether) none. Answers the slots in the order of the keys.
    ///
    /// # Errors
    /// With the number of slots needed from the pool, if it does not have that many.
    pub fn acquire(&mut self, keys: &[SharedSlotKey], pool: &mut SlotPool) -> Result<Vec<SlotAddress>, u32> {
        let mut fresh: Vec<SharedSlotKey> = Vec::new();
        for key in keys {
            let shared = &mut self.slots[key.group][key.subtask as usize];
            if shared.users == 0 {
                fresh.push(*key);
            }
            shared.users += 1;
        }
        let Some(allocated) = pool.allocate(fresh.len() as u32) else {
            keys.iter().for_each(|key| self.slots[key.group][key.subtask as usize].users -= 1);
            return Err(fresh.len() as u32);
        };
        for (key, slot) in fresh.iter().zip(allocated) {
            self.slots[key.group][key.subtask as usize].slot = Some(slot);
        }
        let slot_of = |key: &SharedSlotKey| self.slots[key.group][key.subtask as usize].slot;
        Ok(keys.iter().map(|key| slot_of(key).expect("a used slot has an address")).collect())
    }

    /// One use of a shared slot has ended.
    ///
    /// # Panics
    /// If there was none.
    pub fn release(&mut self, key: SharedSlotKey, pool: &mut SlotPool) {
        let shared = &mut self.slots[key.group][key.subtask as usize];
        assert!(shared.users > 0, "a slot was released more often than taken");
        shared.users -= 1;
        if shared.users == 0
            && let Some(slot) = shared.slot.take()
        {
            pool.release(slot);
        }
    }
}
