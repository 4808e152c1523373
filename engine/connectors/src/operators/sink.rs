//! The sink operator: gives batches to a writer, waits for it at barriers and at the end, and commits what a completed
//! checkpoint covers.
//!
//! State: the lists `writer` (the writer's own entries) and `committables` (prepared and not known to be committed),
//! both dealt out evenly on rescale. Restored committables are committed when the operator is opened: their checkpoint
//! is complete, and committing is idempotent.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use flumen_core::batch::Batch;
use flumen_core::connectors::ConnectorRegistry;
use flumen_core::failure::Failure;
use flumen_core::ids::CheckpointId;
use flumen_core::sink::{Committable, SinkConnector, SinkWriter, WriterContext, WriterStatus};
use flumen_core::spec::connector::SinkSpec;
use flumen_core::spec::{OperatorPayload, OperatorSpec, StateKind};
use flumen_core::types::Schema;
use flumen_operators::contract::{BlockedReason, Operator, OperatorContext, OperatorFactory, Output, Step};
use flumen_state::{ListPart, OperatorSnapshot, RestoredState};

use super::unknown_connector;

const WRITER: &str = "writer";
const COMMITTABLES: &str = "committables";

/// Builds sink operators.
pub struct SinkFactory {
    connectors: Arc<ConnectorRegistry>,
}

impl SinkFactory {
    /// A factory over these connectors.
    #[must_use]
    pub fn new(connectors: Arc<ConnectorRegistry>) -> Self {
        Self { connectors }
    }
}

impl OperatorFactory for SinkFactory {
    fn kind(&self) -> &'static str {
        SinkSpec::KIND
    }

    fn create(&self, spec: &OperatorSpec, context: &OperatorContext) -> Result<Box<dyn Operator>, Failure> {
        let sink: SinkSpec = spec.payload()?;
        let connector = self
            .connectors
            .sink(&sink.connector)
            .ok_or_else(|| unknown_connector(&self.connectors, &sink.connector))?;
        let schema = spec.inputs.first().ok_or_else(|| Failure::bug("a sink has no input"))?;
        Ok(Box::new(SinkOperator {
            connector: Arc::clone(connector),
            spec: sink,
            schema: Arc::clone(schema),
            context: context.clone(),
            restored: Vec::new(),
            writer: None,
            prepared: Vec::new(),
            uncommitted: BTreeMap::new(),
            call: Call::None,
        }))
    }
}

/// The unfinished call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    None,
    /// `process`: the writer's queue is full.
    Write,
    /// `prepare_snapshot`.
    Flush,
    /// `finish`.
    End,
    /// `checkpoint_complete`.
    Commit,
}

/// Drives a writer.
struct SinkOperator {
    connector: Arc<dyn SinkConnector>,
    spec: SinkSpec,
    schema: Arc<Schema>,
    context: OperatorContext,
    /// The writer's entries, from `restore` until `open`.
    restored: Vec<Vec<u8>>,
    /// Built by `open`, because it is given its restored state at once.
    writer: Option<Box<dyn SinkWriter>>,
    /// What the last snapshot prepared, until it is taken.
    prepared: Vec<Committable>,
    /// Prepared and not known to be committed, by checkpoint.
    uncommitted: BTreeMap<CheckpointId, Vec<Committable>>,
    call: Call,
}

impl SinkOperator {
    fn writer(&mut self) -> Result<&mut dyn SinkWriter, Failure> {
        match &mut self.writer {
            Some(writer) => Ok(writer.as_mut()),
            None => Err(Failure::bug("a sink was used before it was opened")),
        }
    }

    /// What the writer's answer means for the call.
    fn step(&mut self, call: Call, status: WriterStatus) -> Step {
        match status {
            WriterStatus::Ready => {
                self.call = Call::None;
                Step::Done
            }
            WriterStatus::Waiting => {
                self.call = call;
                Step::Blocked(BlockedReason::Sink)
            }
        }
    }
}

impl Operator for SinkOperator {
    fn open(&mut self) -> Result<(), Failure> {
        let context = WriterContext {
            job: self.context.task.attempt.job,
            subtask: self.context.task.attempt.execution_vertex.subtask,
            parallelism: self.context.task.parallelism,
            blocking: Arc::clone(&self.context.blocking),
            waker: self.context.waker.clone(),
            clock: Arc::clone(&self.context.clock),
            timers: Arc::clone(&self.context.timers),
            memory: Arc::clone(&self.context.memory),
            restored: std::mem::take(&mut self.restored),
            is_restored: self.context.is_restored,
        };
        let mut writer = self.connector.create_writer(&self.spec, &self.schema, context)?;
        let restored: Vec<Committable> = std::mem::take(&mut self.uncommitted).into_values().flatten().collect();
        if !restored.is_empty() {
            // A writer that cannot commit at once keeps them and goes on by itself.
            let _ = writer.commit(restored)?;
        }
        self.writer = Some(writer);
        Ok(())
    }

    fn process(&mut self, _input: usize, batch: Batch, _out: &mut Output) -> Result<Step, Failure> {
        let status = self.writer()?.write(batch)?;
        Ok(self.step(Call::Write, status))
    }

    fn resume(&mut self, _out: &mut Output) -> Result<Step, Failure> {
        let call = self.call;
        let status = match call {
            Call::None => WriterStatus::Ready,
            Call::Write => self.writer()?.poll_ready()?,
            Call::Flush => self.writer()?.flush(false)?,
            Call::End => self.writer()?.flush(true)?,
            Call::Commit => self.writer()?.commit(Vec::new())?,
        };
        Ok(self.step(call, status))
    }

    fn prepare_snapshot(&mut self, _checkpoint: CheckpointId, _out: &mut Output) -> Result<Step, Failure> {
        let status = self.writer()?.flush(false)?;
        Ok(self.step(Call::Flush, status))
    }

    fn finish(&mut self, _out: &mut Output) -> Result<Step, Failure> {
        let status = self.writer()?.flush(true)?;
        Ok(self.step(Call::End, status))
    }

    fn snapshot(&mut self, checkpoint: CheckpointId) -> Result<OperatorSnapshot, Failure> {
        let prepared = self.writer()?.prepare_commit(checkpoint)?;
        let writer = self.writer()?.snapshot(checkpoint)?;
        if !prepared.is_empty() {
            self.prepared.extend(prepared.iter().cloned());
            self.uncommitted.insert(checkpoint, prepared);
        }
        let committables = self.uncommitted.values().flatten().map(|c| c.payload.clone()).collect();
        let part = |name: &str, entries| ListPart { name: name.to_owned(), kind: StateKind::OperatorList, entries };
        let lists = vec![part(WRITER, writer), part(COMMITTABLES, committables)];
        Ok(OperatorSnapshot { lists, ..OperatorSnapshot::default() })
    }

    fn restore(&mut self, mut state: RestoredState) -> Result<(), Failure> {
        self.restored = state.lists.remove(WRITER).unwrap_or_default();
        let committables: VecDeque<_> = state.lists.remove(COMMITTABLES).unwrap_or_default().into();
        if !committables.is_empty() {
            let committables = committables.into_iter().map(|payload| Committable { payload }).collect();
            // Older than any checkpoint that is to come.
            self.uncommitted.insert(CheckpointId(0), committables);
        }
        Ok(())
    }

    fn checkpoint_complete(&mut self, checkpoint: CheckpointId) -> Result<Step, Failure> {
        let later = self.uncommitted.split_off(&CheckpointId(checkpoint.0.saturating_add(1)));
        let covered: Vec<_> = std::mem::replace(&mut self.uncommitted, later).into_values().flatten().collect();
        if covered.is_empty() {
            return Ok(Step::Done);
        }
        let status = self.writer()?.commit(covered)?;
        Ok(self.step(Call::Commit, status))
    }

    fn take_committables(&mut self) -> Vec<Committable> {
        std::mem::take(&mut self.prepared)
    }
}
