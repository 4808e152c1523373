//! The operator trait.

use flumen_core::batch::Batch;
use flumen_core::failure::Failure;
use flumen_core::ids::CheckpointId;
use flumen_core::sink::Committable;
use flumen_core::source::{RuntimeFilter, SourceSplit};
use flumen_core::spec::OperatorSpec;
use flumen_core::time::{EventTime, Watermark};
use flumen_memory::ConsumerKind;
use flumen_state::{OperatorSnapshot, RestoredState};

use super::{OperatorContext, Output};

/// How far a call got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// The call is complete; the output slot may hold one last element.
    Done,
    /// The output slot holds an element and there is more: call `resume` once it has been taken.
    HasMoreOutput,
    /// The call cannot go on for now: call `resume` after the waker was called. The output slot is empty.
    Blocked(BlockedReason),
}

/// Why a call cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockedReason {
    /// A source has nothing to read now, or waits for a split.
    Source,
    /// A read or write is under way.
    Io,
    /// A sink's peer is slow.
    Sink,
    /// Memory was asked for and is being freed by others.
    Memory,
    /// A runtime filter is expected.
    RuntimeFilter,
}

/// Which inputs the operator can use now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputSelection {
    /// Whichever has data.
    Any,
    /// Only this one; the others are not read (they fill up and push back).
    Only(usize),
}

/// A step of a job's computation. One thread calls at a time.
pub trait Operator: Send {
    /// Whether it needs no more input, whatever is left (a satisfied limit). The driver then stops reading for it and
    /// ends its inputs.
    fn is_satisfied(&self) -> bool {
        false
    }

    /// Prepares for the first batch; state, if any, is restored already.
    ///
    /// # Errors
    /// If a resource is missing.
    fn open(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    /// Which inputs it can use; asked before each read.
    fn input_selection(&self) -> InputSelection {
        InputSelection::Any
    }

    /// Takes a batch of `input`. Never empty. Sources are not called.
    ///
    /// # Errors
    /// If the data or a resource is at fault; ends the task.
    fn process(&mut self, input: usize, batch: Batch, out: &mut Output) -> Result<Step, Failure>;

    /// Continues the call that did not answer `Done`.
    ///
    /// # Errors
    /// As that call.
    fn resume(&mut self, out: &mut Output) -> Result<Step, Failure> {
        let _ = out;
        Ok(Step::Done)
    }

    /// Sources only: the next element. `Done` with an empty slot means the source has ended.
    ///
    /// # Errors
    /// If the source fails.
    fn produce(&mut self, out: &mut Output) -> Result<Step, Failure> {
        let _ = out;
        Ok(Step::Done)
    }

    /// The combined watermark of all inputs has advanced. Results that become complete are emitted; when the call is
    /// done the driver forwards [`Operator::output_watermark`].
    ///
    /// # Errors
    /// As `process`.
    fn watermark(&mut self, watermark: Watermark, out: &mut Output) -> Result<Step, Failure> {
        let _ = (watermark, out);
        Ok(Step::Done)
    }

    /// The watermark that consumers see when the input's is `input`; `None` if the operator makes its own.
    fn output_watermark(&self, input: Watermark) -> Option<Watermark> {
        Some(input)
    }

    /// Processing time has reached the time that [`Operator::next_timer`] asked for.
    ///
    /// # Errors
    /// As `process`.
    fn timer(&mut self, now: EventTime, out: &mut Output) -> Result<Step, Failure> {
        let _ = (now, out);
        Ok(Step::Done)
    }

    /// The earliest processing time (wall clock) at which it wants to be called; asked after each call.
    fn next_timer(&self) -> Option<EventTime> {
        None
    }

    /// `input` has ended. The others may go on.
    ///
    /// # Errors
    /// As `process`.
    fn end_of_input(&mut self, input: usize, out: &mut Output) -> Result<Step, Failure> {
        let _ = (input, out);
        Ok(Step::Done)
    }

    /// All inputs have ended for good: emit everything that is left.
    ///
    /// # Errors
    /// As `process`.
    fn finish(&mut self, out: &mut Output) -> Result<Step, Failure> {
        let _ = out;
        Ok(Step::Done)
    }

    /// Called before a barrier is handled, so that nothing that belongs before the barrier stays inside: local
    /// pre-aggregates are emitted, sinks write out what they hold.
    ///
    /// # Errors
    /// As `process`.
    fn prepare_snapshot(&mut self, checkpoint: CheckpointId, out: &mut Output) -> Result<Step, Failure> {
        let _ = (checkpoint, out);
        Ok(Step::Done)
    }

    /// The state as of now. Copies nothing large: what is written later is shared, and copied by the operator on its
    /// next write to it.
    ///
    /// # Errors
    /// If the state cannot be captured.
    fn snapshot(&mut self, checkpoint: CheckpointId) -> Result<OperatorSnapshot, Failure> {
        let _ = checkpoint;
        Ok(OperatorSnapshot::default())
    }

    /// Takes over state from a snapshot; runs where waiting is allowed, before `open`.
    ///
    /// # Errors
    /// If the state cannot be read or does not fit.
    fn restore(&mut self, state: RestoredState) -> Result<(), Failure> {
        let _ = state;
        Ok(())
    }

    /// The checkpoint, and all before it, are complete.
    ///
    /// # Errors
    /// If what waited for it (a commit) fails.
    fn checkpoint_complete(&mut self, checkpoint: CheckpointId) -> Result<Step, Failure> {
        let _ = checkpoint;
        Ok(Step::Done)
    }

    /// The checkpoint will not complete.
    fn checkpoint_aborted(&mut self, checkpoint: CheckpointId) {
        let _ = checkpoint;
    }

    /// The arbiter asks an operator of this task for memory: if it is this one
    /// ([`MemoryMeter::revocation_requested`](flumen_core::meter::MemoryMeter::revocation_requested)), spill or drop
    /// what was said to be revocable, and answer with the bytes given back. Called between any two other calls, also
    /// between one that answered `HasMoreOutput` or `Blocked` and its `resume`.
    ///
    /// # Errors
    /// If spilling fails.
    fn revoke_memory(&mut self, bytes: usize) -> Result<usize, Failure> {
        let _ = bytes;
        Ok(0)
    }

    /// Counters of its own (late rows dropped, for instance), by metric name; what every operator has is counted by the
    /// driver.
    fn counters(&self, visit: &mut dyn FnMut(&'static str, u64)) {
        let _ = visit;
    }

    /// For sources: splits assigned by the enumerator; none and `last` when there are no more.
    ///
    /// # Errors
    /// If a split cannot be read.
    fn assign_splits(&mut self, splits: Vec<SourceSplit>, last: bool) -> Result<(), Failure> {
        let _ = (splits, last);
        Ok(())
    }

    /// For sources: whether it wants a split. The driver asks after each call, sends one request to the enumerator
    /// when the answer turns true, and no further one before an assignment came.
    fn wants_split(&self) -> bool {
        false
    }

    /// For scans: a runtime filter that a join has published.
    fn runtime_filter(&mut self, filter: u32, bounds: &RuntimeFilter) {
        let _ = (filter, bounds);
    }

    /// For joins: the runtime filters that became ready, taken once; the driver sends them to the scans, which may wait
    /// for them: each that the spec names comes, whatever happens to the build side.
    fn take_runtime_filters(&mut self) -> Vec<(u32, RuntimeFilter)> {
        Vec::new()
    }

    /// For sinks: what the last snapshot prepared, to be committed when the checkpoint completes.
    fn take_committables(&mut self) -> Vec<Committable> {
        Vec::new()
    }
}

/// Builds operators of one kind.
pub trait OperatorFactory: Send + Sync {
    /// The kind of spec it takes.
    fn kind(&self) -> &'static str;

    /// What an operator of this spec takes managed memory as; nothing for operators that hold no more than the batches they work on.
    ///
    /// The kinds that run in a process share its managed memory by their weights.
    fn memory_consumer(&self, _spec: &OperatorSpec) -> Option<ConsumerKind> {
        None
    }

    /// Builds one.
    ///
    /// # Errors
    /// If the payload is malformed or asks for something unknown.
    fn create(&self, spec: &OperatorSpec, context: &OperatorContext) -> Result<Box<dyn Operator>, Failure>;
}
