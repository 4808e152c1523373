//! Alignment of checkpoint barriers over a task's input channels (Flink 5.2).
//!
//! Exactly once: a channel that delivered its barrier is not read until all have; at least once: channels are only
//! counted. A channel that ended counts as aligned. A barrier of a newer checkpoint cancels the alignment of an older
//! one; older barriers that still arrive are ignored.
//!
//! A pure state machine: the task tells it what arrived and does what it answers. Unaligned barriers use the priority
//! path of the gates and are driven from here too, as `AlignmentAction::Snapshot` at the first barrier.

use flumen_core::element::{Alignment, CheckpointBarrier};
use flumen_core::ids::CheckpointId;

/// What the task has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlignmentAction {
    /// Do not read this channel.
    Block(usize),
    /// Read these channels again.
    Unblock(Vec<usize>),
    /// All barriers are there: take the snapshot and pass the barrier on.
    Snapshot(CheckpointBarrier),
    /// This checkpoint will not complete here; tell the coordinator.
    Abort(CheckpointId),
}

#[derive(Debug)]
struct Pending {
    barrier: CheckpointBarrier,
    arrived: Vec<bool>,
}

/// Aligns the barriers of one task.
#[derive(Debug)]
pub struct BarrierAligner {
    ended: Vec<bool>,
    pending: Option<Pending>,
    /// The newest checkpoint that was snapshot or given up.
    newest: Option<CheckpointId>,
}

impl BarrierAligner {
    /// An aligner over so many channels.
    #[must_use]
    pub fn new(channels: usize) -> Self {
        Self { ended: vec![false; channels], pending: None, newest: None }
    }

    /// The checkpoint being aligned.
    #[must_use]
    pub fn aligning(&self) -> Option<CheckpointId> {
        self.pending.as_ref().map(|p| p.barrier.id)
    }

    /// A barrier arrived on a channel.
    pub fn barrier(&mut self, channel: usize, barrier: CheckpointBarrier) -> Vec<AlignmentAction> {
        let mut actions = Vec::new();
        if self.newest.is_some_and(|newest| barrier.id <= newest) {
            return actions;
        }
        if let Some(pending) = &self.pending {
            if barrier.id < pending.barrier.id {
                return actions;
            }
            if barrier.id > pending.barrier.id {
                self.give_up(&mut actions);
            }
        }
        let blocks = barrier.options.alignment != Alignment::AtLeastOnce;
        let pending = self.pending.get_or_insert_with(|| Pending { arrived: vec![false; self.ended.len()], barrier });
        pending.arrived[channel] = true;
        if blocks {
            actions.push(AlignmentAction::Block(channel));
        }
        self.complete_if_aligned(&mut actions);
        actions
    }

    /// A channel ended; it counts as aligned from now on.
    pub fn end_of_partition(&mut self, channel: usize) -> Vec<AlignmentAction> {
        self.ended[channel] = true;
        let mut actions = Vec::new();
        self.complete_if_aligned(&mut actions);
        actions
    }

    /// The coordinator gave the checkpoint up.
    pub fn aborted(&mut self, checkpoint: CheckpointId) -> Vec<AlignmentAction> {
        let mut actions = Vec::new();
        if self.aligning() == Some(checkpoint) {
            self.give_up(&mut actions);
            // The coordinator knows already.
            actions.retain(|a| !matches!(a, AlignmentAction::Abort(_)));
        }
        self.newest = self.newest.max(Some(checkpoint));
        actions
    }

    fn give_up(&mut self, actions: &mut Vec<AlignmentAction>) {
        if let Some(pending) = self.pending.take() {
            let blocked = Self::blocked(&pending);
            if !blocked.is_empty() {
                actions.push(AlignmentAction::Unblock(blocked));
            }
            actions.push(AlignmentAction::Abort(pending.barrier.id));
            self.newest = Some(pending.barrier.id);
        }
    }

    fn complete_if_aligned(&mut self, actions: &mut Vec<AlignmentAction>) {
        let aligned = |p: &Pending| p.arrived.iter().zip(&self.ended).all(|(arrived, ended)| *arrived || *ended);
        if let Some(pending) = self.pending.take_if(|p| aligned(p)) {
            let blocked = Self::blocked(&pending);
            self.newest = Some(pending.barrier.id);
            actions.push(AlignmentAction::Snapshot(pending.barrier));
            if !blocked.is_empty() {
                actions.push(AlignmentAction::Unblock(blocked));
            }
        }
    }

    fn blocked(pending: &Pending) -> Vec<usize> {
        if pending.barrier.options.alignment == Alignment::AtLeastOnce {
            return Vec::new();
        }
        pending.arrived.iter().enumerate().filter(|(_, arrived)| **arrived).map(|(channel, _)| channel).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::AlignmentAction::{Abort, Block, Snapshot, Unblock};
    use super::*;
    use flumen_core::element::CheckpointOptions;

    fn barrier(id: u64) -> CheckpointBarrier {
        CheckpointBarrier { id: CheckpointId(id), timestamp_ms: 0, options: CheckpointOptions::default() }
    }

    #[test]
    fn channels_wait_for_each_other() {
        let mut aligner = BarrierAligner::new(3);
        assert_eq!(aligner.barrier(0, barrier(1)), [Block(0)]);
        assert_eq!(aligner.barrier(2, barrier(1)), [Block(2)]);
        assert_eq!(aligner.barrier(1, barrier(1)), [Block(1), Snapshot(barrier(1)), Unblock(vec![0, 1, 2])]);
        assert_eq!(aligner.barrier(1, barrier(1)), [], "a repeated barrier changes nothing");
    }

    #[test]
    fn one_channel_aligns_at_once() {
        assert_eq!(BarrierAligner::new(1).barrier(0, barrier(1)), [Block(0), Snapshot(barrier(1)), Unblock(vec![0])]);
    }

    #[test]
    fn an_ended_channel_counts_as_aligned() {
        let mut aligner = BarrierAligner::new(2);
        assert_eq!(aligner.end_of_partition(1), []);
        assert_eq!(aligner.barrier(0, barrier(1)), [Block(0), Snapshot(barrier(1)), Unblock(vec![0])]);
        let mut aligner = BarrierAligner::new(2);
        assert_eq!(aligner.barrier(0, barrier(1)), [Block(0)]);
        assert_eq!(aligner.end_of_partition(1), [Snapshot(barrier(1)), Unblock(vec![0])]);
    }

    #[test]
    fn a_newer_barrier_cancels_an_older_alignment() {
        let mut aligner = BarrierAligner::new(2);
        assert_eq!(aligner.barrier(0, barrier(1)), [Block(0)]);
        assert_eq!(aligner.barrier(1, barrier(2)), [Unblock(vec![0]), Abort(CheckpointId(1)), Block(1)]);
        assert_eq!(aligner.barrier(0, barrier(1)), []);
        assert_eq!(aligner.barrier(0, barrier(2)), [Block(0), Snapshot(barrier(2)), Unblock(vec![0, 1])]);
    }

    #[test]
    fn an_aborted_checkpoint_is_forgotten_silently() {
        let mut aligner = BarrierAligner::new(2);
        let _ = aligner.barrier(0, barrier(1));
        assert_eq!(aligner.aborted(CheckpointId(1)), [Unblock(vec![0])]);
        assert_eq!(aligner.barrier(1, barrier(1)), []);
        assert_eq!(aligner.barrier(1, barrier(2)), [Block(1)]);
    }

    #[test]
    fn at_least_once_only_counts() {
        let mut first = barrier(1);
        first.options.alignment = Alignment::AtLeastOnce;
        let mut aligner = BarrierAligner::new(2);
        assert_eq!(aligner.barrier(0, first.clone()), []);
        assert_eq!(aligner.barrier(1, first.clone()), [Snapshot(first)]);
    }
}
