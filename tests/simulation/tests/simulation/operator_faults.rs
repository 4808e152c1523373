//! Operators that fail or panic when they are told to, whatever they are doing.
//!
//! Every operator of a process is wrapped. A failure is armed with a number of calls; the call that reaches it, of
//! whichever operator, answers an error or unwinds. What is not armed passes through.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use flumen_core::batch::Batch;
use flumen_core::failure::Failure;
use flumen_core::ids::CheckpointId;
use flumen_core::sink::Committable;
use flumen_core::source::{RuntimeFilter, SourceSplit};
use flumen_core::spec::connector::SourceSpec;
use flumen_core::spec::{OperatorPayload, OperatorSpec};
use flumen_core::time::{EventTime, Watermark};
use flumen_operators::contract::{InputSelection, Operator, OperatorContext, OperatorFactory, Output, Step};
use flumen_operators::registry::OperatorRegistry;
use flumen_state::{OperatorSnapshot, RestoredState};

/// What injected failures say of themselves.
pub(crate) const INJECTED: &str = "injected by the simulation";

#[derive(Clone, Copy, Debug)]
struct Armed {
    calls: u64,
    panics: bool,
}

/// Shared by all operators of a machine's processes.
#[derive(Default)]
pub(crate) struct OperatorFaults {
    armed: Mutex<Option<Armed>>,
    forgets: AtomicBool,
}

impl OperatorFaults {
    /// Lets the call fail that comes after so many others.
    pub(crate) fn arm(&self, calls: u64, panics: bool) {
        *self.armed.lock().unwrap() = Some(Armed { calls, panics });
    }

    /// From now on operators that are restored begin without their state, as a bug would have it; sources keep their
    /// place, so that what was summed is lost.
    pub(crate) fn forget_state(&self) {
        self.forgets.store(true, Ordering::Relaxed);
    }

    /// Nothing fails any more.
    pub(crate) fn disarm(&self) {
        *self.armed.lock().unwrap() = None;
    }

    fn call(&self) -> Result<(), Failure> {
        let mut armed = self.armed.lock().unwrap();
        match &mut *armed {
            None => Ok(()),
            Some(Armed { calls, .. }) if *calls > 0 => {
                *calls -= 1;
                Ok(())
            }
            Some(Armed { panics, .. }) => {
                let panics = *panics;
                *armed = None;
                drop(armed);
                if panics {
                    // As a panic, but without the message on stderr.
                    std::panic::resume_unwind(Box::new(format!("a panic {INJECTED}")));
                }
                Err(Failure::transient(format!("a failure {INJECTED}")))
            }
        }
    }

    /// Wraps the operators of a registry.
    pub(crate) fn wrap(self: &Arc<Self>, registry: &mut OperatorRegistry) {
        let factories: Vec<_> = registry.factories().cloned().collect();
        for inner in factories {
            registry.register(Arc::new(Factory { inner, faults: Arc::clone(self) }));
        }
    }
}

struct Factory {
    inner: Arc<dyn OperatorFactory>,
    faults: Arc<OperatorFaults>,
}

impl OperatorFactory for Factory {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn create(&self, spec: &OperatorSpec, context: &OperatorContext) -> Result<Box<dyn Operator>, Failure> {
        let inner = self.inner.create(spec, context)?;
        Ok(Box::new(Faulty { inner, is_source: spec.kind == SourceSpec::KIND, faults: Arc::clone(&self.faults) }))
    }
}

struct Faulty {
    inner: Box<dyn Operator>,
    is_source: bool,
    faults: Arc<OperatorFaults>,
}

impl Operator for Faulty {
    fn is_satisfied(&self) -> bool {
        self.inner.is_satisfied()
    }

    fn open(&mut self) -> Result<(), Failure> {
        self.faults.call()?;
        self.inner.open()
    }

    fn input_selection(&self) -> InputSelection {
        self.inner.input_selection()
    }

    fn process(&mut self, input: usize, batch: Batch, out: &mut Output) -> Result<Step, Failure> {
        self.faults.call()?;
        self.inner.process(input, batch, out)
    }

    fn resume(&mut self, out: &mut Output) -> Result<Step, Failure> {
        self.faults.call()?;
        self.inner.resume(out)
    }

    fn produce(&mut self, out: &mut Output) -> Result<Step, Failure> {
        self.faults.call()?;
        self.inner.produce(out)
    }

    fn watermark(&mut self, watermark: Watermark, out: &mut Output) -> Result<Step, Failure> {
        self.faults.call()?;
        self.inner.watermark(watermark, out)
    }

    fn output_watermark(&self, input: Watermark) -> Option<Watermark> {
        self.inner.output_watermark(input)
    }

    fn timer(&mut self, now: EventTime, out: &mut Output) -> Result<Step, Failure> {
        self.faults.call()?;
        self.inner.timer(now, out)
    }

    fn next_timer(&self) -> Option<EventTime> {
        self.inner.next_timer()
    }

    fn end_of_input(&mut self, input: usize, out: &mut Output) -> Result<Step, Failure> {
        self.faults.call()?;
        self.inner.end_of_input(input, out)
    }

    fn finish(&mut self, out: &mut Output) -> Result<Step, Failure> {
        self.faults.call()?;
        self.inner.finish(out)
    }

    fn prepare_snapshot(&mut self, checkpoint: CheckpointId, out: &mut Output) -> Result<Step, Failure> {
        self.faults.call()?;
        self.inner.prepare_snapshot(checkpoint, out)
    }

    fn snapshot(&mut self, checkpoint: CheckpointId) -> Result<OperatorSnapshot, Failure> {
        self.faults.call()?;
        self.inner.snapshot(checkpoint)
    }

    fn restore(&mut self, state: RestoredState) -> Result<(), Failure> {
        self.faults.call()?;
        if self.faults.forgets.load(Ordering::Relaxed) && !self.is_source {
            return Ok(());
        }
        self.inner.restore(state)
    }

    fn checkpoint_complete(&mut self, checkpoint: CheckpointId) -> Result<Step, Failure> {
        self.faults.call()?;
        self.inner.checkpoint_complete(checkpoint)
    }

    fn checkpoint_aborted(&mut self, checkpoint: CheckpointId) {
        self.inner.checkpoint_aborted(checkpoint);
    }

    fn revoke_memory(&mut self, bytes: usize) -> Result<usize, Failure> {
        self.inner.revoke_memory(bytes)
    }

    fn counters(&self, visit: &mut dyn FnMut(&'static str, u64)) {
        self.inner.counters(visit);
    }

    fn assign_splits(&mut self, splits: Vec<SourceSplit>, last: bool) -> Result<(), Failure> {
        self.faults.call()?;
        self.inner.assign_splits(splits, last)
    }

    fn wants_split(&self) -> bool {
        self.inner.wants_split()
    }

    fn runtime_filter(&mut self, filter: u32, bounds: &RuntimeFilter) {
        self.inner.runtime_filter(filter, bounds);
    }

    fn take_runtime_filters(&mut self) -> Vec<(u32, RuntimeFilter)> {
        self.inner.take_runtime_filters()
    }

    fn take_committables(&mut self) -> Vec<Committable> {
        self.inner.take_committables()
    }
}
