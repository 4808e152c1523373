//! User-defined partitioners, found by name when a task is built.

use std::collections::HashMap;
use std::sync::Arc;

use flumen_core::batch::Batch;
use flumen_core::failure::Failure;

/// Divides rows as a user wants.
pub trait CustomPartitioner: Send + Sync {
    /// Appends to `targets` one subpartition index below `subpartitions` for each *selected* row of `batch`, in order.
    ///
    /// # Errors
    /// Whatever the function says; the task fails with it.
    fn assign(
        &self,
        batch: &Batch,
        columns: &[usize],
        subpartitions: u32,
        targets: &mut Vec<u32>,
    ) -> Result<(), Failure>;
}

/// Custom partitioners by name.
#[derive(Clone, Default)]
pub struct PartitionerRegistry {
    by_name: HashMap<String, Arc<dyn CustomPartitioner>>,
}

impl PartitionerRegistry {
    /// Adds a partitioner, replacing one of the same name.
    pub fn register(&mut self, name: impl Into<String>, partitioner: Arc<dyn CustomPartitioner>) {
        self.by_name.insert(name.into(), partitioner);
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<dyn CustomPartitioner>> {
        self.by_name.get(name).cloned()
    }

    pub(crate) fn names(&self) -> String {
        let mut names: Vec<_> = self.by_name.keys().map(String::as_str).collect();
        names.sort_unstable();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }
}
