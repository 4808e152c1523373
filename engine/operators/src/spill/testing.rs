//! Spill space in memory, and a budget with an arbiter, for tests of operators that spill.

use std::io;
use std::sync::{Arc, Mutex};

use flumen_core::element::StreamElement;
use flumen_core::failure::Failure;
use flumen_core::meter::MemoryMeter;
use flumen_core::spec::OperatorSpec;
use flumen_core::waiting::Waker;
use flumen_memory::{
    Arena, ArenaOptions, ExtentPool, ExtentPoolOptions, MemoryManager, Reservation, SpillIo, SpillStorage,
};

use super::SpillSpace;
use crate::contract::{Operator, Output, Step};
use crate::registry::{OperatorRegistry, register_builtin};
use crate::testing::{Event, batch_texts, context};

/// Space in memory.
pub(crate) fn space() -> SpillSpace {
    SpillSpace::new(ExtentPool::new(Box::new(InMemory), ExtentPoolOptions::default().with_extent_bytes(4096)))
}

#[derive(Debug)]
struct InMemory;

#[derive(Debug, Default)]
struct File(Mutex<Vec<u8>>);

impl SpillStorage for InMemory {
    fn create(&self) -> io::Result<Box<dyn SpillIo>> {
        Ok(Box::new(File::default()))
    }

    fn name(&self) -> String {
        "memory".to_owned()
    }
}

impl SpillIo for File {
    fn name(&self) -> &str {
        "a file in memory"
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let file = self.0.lock().unwrap();
        let rest = file.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(bytes.len());
        bytes[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let mut file = self.0.lock().unwrap();
        let end = offset as usize + bytes.len();
        if file.len() < end {
            file.resize(end, 0);
        }
        file[offset as usize..end].copy_from_slice(bytes);
        Ok(bytes.len())
    }
}

/// A budget of managed memory.
pub(crate) struct Budget {
    pub(crate) manager: MemoryManager,
}

impl Budget {
    pub(crate) fn new(bytes: u64) -> Self {
        let arena = Arena::new(ArenaOptions::new(bytes.next_multiple_of(1 << 16))).unwrap();
        Self { manager: MemoryManager::new(arena, bytes).unwrap() }
    }

    /// A holder under it.
    pub(crate) fn meter(&self, name: &str) -> Arc<Holder> {
        Arc::new(Holder(self.manager.budget("test", u64::MAX).reserve(name)))
    }
}

/// As the runtime's meter.
pub(crate) struct Holder(Reservation);

impl MemoryMeter for Holder {
    fn resize(&self, from: usize, to: usize) -> Result<(), Failure> {
        if to > from {
            self.0.try_grow((to - from) as u64).map_err(Failure::user)
        } else {
            self.0.shrink((from - to) as u64);
            Ok(())
        }
    }

    fn resize_spillable(&self, from: usize, to: usize) -> Result<(), Failure> {
        if to > from {
            self.0.try_grow_spillable((to - from) as u64).map_err(Failure::user)
        } else {
            self.resize(from, to)
        }
    }

    fn set_revocable(&self, bytes: usize) {
        if bytes == 0 { self.0.decline_revocation() } else { self.0.set_revocable(bytes as u64) }
    }

    fn revocation_requested(&self) -> usize {
        self.0.revocation_requested() as usize
    }

    fn wake_when_others_give(&self, waker: &Waker) -> bool {
        let waker = waker.clone();
        self.0.on_available(Arc::new(move || waker.wake_by_ref()));
        self.0.awaited_bytes() > 0
    }
}

/// With `asks`: calls after which the arbiter asks.
const ASKED_EVERY: usize = 3;

/// Runs one operator on this budget. With `asks` the arbiter asks for memory every few calls, whatever comes next. Answers the rows that came
/// out and the bytes that were spilled; nothing may be left.
pub(crate) fn run_within(
    spec: &OperatorSpec,
    events: &[Event],
    cut: usize,
    batch_rows: usize,
    budget_bytes: u64,
    asks: bool,
) -> Result<(Vec<String>, u64), Failure> {
    let budget = Budget::new(budget_bytes);
    let context = context(0, 1, batch_rows, budget.meter("operator"));
    let mut registry = OperatorRegistry::default();
    register_builtin(&mut registry);
    let mut run =
        Run { operator: registry.create(spec, &context)?, budget: &budget, asks, given: Vec::new(), calls: 0 };
    let outcome = run.all(events, cut);
    let given = std::mem::take(&mut run.given);
    drop(run);
    budget.manager.verify_empty().unwrap();
    context.spill.verify_empty().unwrap();
    outcome.map(|()| (given, context.spill.spilled_bytes()))
}

struct Run<'a> {
    operator: Box<dyn Operator>,
    budget: &'a Budget,
    asks: bool,
    given: Vec<String>,
    calls: usize,
}

impl Run<'_> {
    fn all(&mut self, events: &[Event], cut: usize) -> Result<(), Failure> {
        self.operator.open()?;
        let mut ended = 0;
        for event in events {
            match event {
                Event::Batch(input, batch) => {
                    for offset in (0..batch.num_rows()).step_by(cut) {
                        if !self.operator.is_satisfied() {
                            let piece = batch.slice(offset, cut.min(batch.num_rows() - offset));
                            self.call(|operator, out| operator.process(*input, piece, out))?;
                        }
                    }
                }
                Event::EndOfInput(input) => {
                    ended += 1;
                    self.call(|operator, out| operator.end_of_input(*input, out))?;
                }
                Event::Watermark(_) => panic!("operators that spill are bounded"),
            }
        }
        if ended == 0 {
            self.call(|operator, out| operator.end_of_input(0, out))?;
        }
        self.call(|operator, out| operator.finish(out))
    }

    fn call(
        &mut self,
        call: impl FnOnce(&mut dyn Operator, &mut Output) -> Result<Step, Failure>,
    ) -> Result<(), Failure> {
        let mut out = Output::default();
        let mut step = call(self.operator.as_mut(), &mut out)?;
        loop {
            if let Some(StreamElement::Batch(batch)) = out.take() {
                self.given.extend(batch_texts(&batch));
            }
            self.calls += 1;
            if self.asks && self.calls.is_multiple_of(ASKED_EVERY) {
                self.budget.manager.request_revocation(u64::MAX);
                let _ = self.operator.revoke_memory(usize::MAX)?;
            }
            match step {
                Step::Done => return Ok(()),
                Step::HasMoreOutput => step = self.operator.resume(&mut out)?,
                Step::Blocked(reason) => panic!("blocked for {reason:?}"),
            }
        }
    }
}
