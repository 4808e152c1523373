//! The source operator: asks a reader for rows, passes on splits, and keeps the reader's positions as its state.
//!
//! State: the list `splits`, one entry per split held, which is dealt out evenly on rescale. A restored job's readers
//! get their splits back from there; what no reader had is in the enumerator's own state.

use std::sync::Arc;

use flumen_core::batch::Batch;
use flumen_core::connectors::ConnectorRegistry;
use flumen_core::failure::Failure;
use flumen_core::ids::CheckpointId;
use flumen_core::source::{ReaderContext, ReaderStatus, RuntimeFilter, SourceReader, SourceSplit};
use flumen_core::spec::connector::SourceSpec;
use flumen_core::spec::{OperatorPayload, OperatorSpec, StateKind};
use flumen_operators::contract::{BlockedReason, Operator, OperatorContext, OperatorFactory, Output, Step};
use flumen_state::{ListPart, OperatorSnapshot, RestoredState};

use super::unknown_connector;

/// Name of the state that holds splits.
const SPLITS: &str = "splits";

/// Builds source operators.
pub struct SourceFactory {
    connectors: Arc<ConnectorRegistry>,
}

impl SourceFactory {
    /// A factory over these connectors.
    #[must_use]
    pub fn new(connectors: Arc<ConnectorRegistry>) -> Self {
        Self { connectors }
    }
}

impl OperatorFactory for SourceFactory {
    fn kind(&self) -> &'static str {
        SourceSpec::KIND
    }

    fn create(&self, spec: &OperatorSpec, context: &OperatorContext) -> Result<Box<dyn Operator>, Failure> {
        let spec: SourceSpec = spec.payload()?;
        let connector = self
            .connectors
            .source(&spec.connector)
            .ok_or_else(|| unknown_connector(&self.connectors, &spec.connector))?;
        let reader = connector.create_reader(
            &spec,
            ReaderContext {
                subtask: context.task.attempt.execution_vertex.subtask,
                parallelism: context.task.parallelism,
                batch_rows: context.batch_rows,
                blocking: Arc::clone(&context.blocking),
                waker: context.waker.clone(),
                clock: Arc::clone(&context.clock),
                timers: Arc::clone(&context.timers),
                memory: Arc::clone(&context.memory),
            },
        )?;
        Ok(Box::new(SourceOperator { reader, wants_split: false, has_ended: false }))
    }
}

/// Drives a reader.
struct SourceOperator {
    reader: Box<dyn SourceReader>,
    wants_split: bool,
    has_ended: bool,
}

impl Operator for SourceOperator {
    fn process(&mut self, _input: usize, _batch: Batch, _out: &mut Output) -> Result<Step, Failure> {
        Err(Failure::bug("a source was given a batch"))
    }

    fn produce(&mut self, out: &mut Output) -> Result<Step, Failure> {
        if self.has_ended {
            return Ok(Step::Done);
        }
        loop {
            match self.reader.poll_next()? {
                ReaderStatus::Batch(batch) => {
                    // An empty slot would mean the end.
                    if batch.num_rows() == 0 {
                        continue;
                    }
                    out.emit(batch);
                    return Ok(Step::Done);
                }
                ReaderStatus::Watermark(watermark) => {
                    out.emit_watermark(watermark);
                    return Ok(Step::Done);
                }
                // A reader asks once for each answer; it may have something to do meanwhile.
                ReaderStatus::NeedsSplit if !self.wants_split => self.wants_split = true,
                ReaderStatus::NeedsSplit | ReaderStatus::Waiting => return Ok(Step::Blocked(BlockedReason::Source)),
                ReaderStatus::EndOfInput => {
                    self.has_ended = true;
                    return Ok(Step::Done);
                }
            }
        }
    }

    fn wants_split(&self) -> bool {
        self.wants_split
    }

    fn assign_splits(&mut self, splits: Vec<SourceSplit>, last: bool) -> Result<(), Failure> {
        self.wants_split = false;
        if !splits.is_empty() {
            self.reader.add_splits(splits)?;
        }
        if last {
            self.reader.no_more_splits();
        }
        Ok(())
    }

    fn runtime_filter(&mut self, filter: u32, bounds: &RuntimeFilter) {
        self.reader.runtime_filter(filter, bounds.clone());
    }

    fn snapshot(&mut self, checkpoint: CheckpointId) -> Result<OperatorSnapshot, Failure> {
        let splits = if self.has_ended { Vec::new() } else { self.reader.snapshot(checkpoint)? };
        let entries = splits.iter().map(encode_split).collect::<Result<_, _>>()?;
        let part = ListPart { name: SPLITS.to_owned(), kind: StateKind::OperatorList, entries };
        Ok(OperatorSnapshot { lists: vec![part], ..OperatorSnapshot::default() })
    }

    fn restore(&mut self, mut state: RestoredState) -> Result<(), Failure> {
        let entries = state.lists.remove(SPLITS).unwrap_or_default();
        let splits = entries.iter().map(|entry| decode_split(entry)).collect::<Result<Vec<_>, _>>()?;
        if !splits.is_empty() {
            self.reader.add_splits(splits)?;
        }
        Ok(())
    }
}

/// The split as JSON; its payload carries a version of its own.
fn encode_split(split: &SourceSplit) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(split).map_err(Failure::bug)
}

fn decode_split(entry: &[u8]) -> Result<SourceSplit, Failure> {
    serde_json::from_slice(entry).map_err(|e| Failure::user(format!("a restored source split cannot be read: {e}")))
}
