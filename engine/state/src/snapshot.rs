//! What an operator hands over at a barrier, and gets back on restore.
//!
//! Both directions speak the same language: keyed state is batches of rows by key group (keys first, then exported
//! accumulators or values, as the state's descriptor says), other state is a list of entries. So a snapshot does not
//! depend on the backend that wrote it, the same export serves spilling, and key groups move between subtasks as they
//! are.

use std::collections::BTreeMap;
use std::sync::Arc;

use flumen_core::batch::Batch;
use flumen_core::failure::Failure;
use flumen_core::key_group::KeyGroup;
use flumen_core::spec::StateKind;
use flumen_core::types::Schema;

/// Rows of keyed state, key group by key group in ascending order. May wait: it is read on an I/O thread.
pub trait KeyedRows: Send {
    /// Columns of the rows.
    fn schema(&self) -> Arc<Schema>;

    /// The next rows, all of one key group; `None` at the end. A key group may come in several batches.
    ///
    /// # Errors
    /// If they cannot be read.
    fn next(&mut self) -> Result<Option<(KeyGroup, Batch)>, Failure>;
}

/// One keyed state of an operator, as of the barrier.
pub struct KeyedPart {
    /// Name of the state.
    pub name: String,
    /// Its rows.
    pub rows: Box<dyn KeyedRows>,
}

/// One list state of an operator, as of the barrier.
#[derive(Clone, Debug, PartialEq)]
pub struct ListPart {
    /// Name of the state.
    pub name: String,
    /// How it is dealt out on rescale; not `Keyed`.
    pub kind: StateKind,
    /// Its entries.
    pub entries: Vec<Vec<u8>>,
}

/// The state of one operator of one subtask, as of the barrier.
#[derive(Default)]
pub struct OperatorSnapshot {
    /// Keyed states.
    pub keyed: Vec<KeyedPart>,
    /// List states.
    pub lists: Vec<ListPart>,
}

/// The state that one operator of one subtask takes over.
#[derive(Default)]
pub struct RestoredState {
    /// Keyed states by name: the rows of the key groups this subtask owns now; several sources, one after the other.
    pub keyed: BTreeMap<String, Vec<Box<dyn KeyedRows>>>,
    /// List states by name: the entries dealt to this subtask.
    pub lists: BTreeMap<String, Vec<Vec<u8>>>,
}
