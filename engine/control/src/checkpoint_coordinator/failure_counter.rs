//! Counts failures in a row, each checkpoint once (Flink: CheckpointFailureManager).

use flumen_core::ids::CheckpointId;

/// See the module.
#[derive(Clone, Debug)]
pub struct FailureCounter {
    tolerable: u32,
    in_a_row: u32,
    last_counted: Option<CheckpointId>,
}

impl FailureCounter {
    /// No failure so far.
    #[must_use]
    pub fn new(tolerable: u32) -> Self {
        Self { tolerable, in_a_row: 0, last_counted: None }
    }

    /// A checkpoint failed in a way that counts. True if that is more than is tolerated; the count then starts over,
    /// since the job does.
    pub fn failed(&mut self, checkpoint: CheckpointId) -> bool {
        if self.last_counted.is_some_and(|last| checkpoint <= last) {
            return false;
        }
        self.last_counted = Some(checkpoint);
        self.in_a_row += 1;
        let too_many = self.in_a_row > self.tolerable;
        if too_many {
            self.in_a_row = 0;
        }
        too_many
    }

    /// A checkpoint is complete.
    pub fn succeeded(&mut self) {
        self.in_a_row = 0;
    }
}
