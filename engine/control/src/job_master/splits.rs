//! Source splits: handed out on demand, given back when a reader fails, part of every checkpoint.
//!
//! An enumerator's snapshot and its readers' must agree: a split is either still the enumerator's or already the
//! reader's. Enumerators snapshot before tasks are triggered, and both triggers and assignments go through the same
//! ordered mail, so an assignment made after the snapshot is read after the barrier. What was handed out since a
//! checkpoint is remembered until a later one is complete; when a reader alone goes back to a checkpoint, what it was
//! given after that goes back to the enumerator. (Flink: SplitAssignmentTracker.)

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use flumen_core::failure::Failure;
use flumen_core::graph::JobGraph;
use flumen_core::ids::{CheckpointId, OperatorUid, SubtaskIndex};
use flumen_core::source::{SourceSplit, SplitEnumerator, SplitResponse};
use flumen_core::spec::OperatorPayload;
use flumen_core::spec::connector::SourceSpec;

use super::actions::Action;

/// An assignment to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) operator: OperatorUid,
    pub(super) vertex: usize,
    pub(super) subtask: u32,
    pub(super) request: u64,
    pub(super) splits: Vec<SourceSplit>,
    pub(super) last: bool,
}

#[derive(Clone, Debug, Default)]
struct Reader {
    /// The number that the next new request has.
    next_request: u64,
    /// A request that has not been answered.
    waiting: Option<u64>,
    /// The last answer, in case its request is repeated.
    answer: Option<Assignment>,
}

struct Source {
    operator: OperatorUid,
    vertex: usize,
    generation: u64,
    enumerator: Option<Box<dyn SplitEnumerator>>,
    readers: Vec<Reader>,
    /// Handed out since the last snapshot.
    fresh: Vec<(u32, SourceSplit)>,
    /// Handed out before the snapshot of a checkpoint, and after the one before.
    by_checkpoint: BTreeMap<CheckpointId, Vec<(u32, SourceSplit)>>,
}

/// Calls an enumerator, which is a connector's own code: its panic is the job's failure, not the JobMaster's.
fn guarded<T>(call: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    std::panic::catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err(Failure::bug("the source panicked while it was asked for splits")))
}

/// The sources of a job.
pub(super) struct SplitCoordinator {
    sources: Vec<Source>,
}

impl SplitCoordinator {
    pub(super) fn new(graph: &JobGraph) -> Self {
        let mut sources = Vec::new();
        for (vertex, job_vertex) in graph.vertices.iter().enumerate() {
            let head = &job_vertex.operators[0];
            if head.spec.kind == SourceSpec::KIND {
                sources.push(Source {
                    operator: head.uid.clone(),
                    vertex,
                    generation: 0,
                    enumerator: None,
                    readers: vec![Reader::default(); job_vertex.parallelism as usize],
                    fresh: Vec::new(),
                    by_checkpoint: BTreeMap::new(),
                });
            }
        }
        Self { sources }
    }

    /// Gives up all enumerators and asks for new ones.
    pub(super) fn create_all(
        &mut self,
        graph: &JobGraph,
        states: Option<&BTreeMap<OperatorUid, Arc<[u8]>>>,
    ) -> Vec<Action> {
        let mut actions = Vec::with_capacity(self.sources.len());
        for source in &mut self.sources {
            source.generation += 1;
            source.enumerator = None;
            source.fresh.clear();
            source.by_checkpoint.clear();
            source.readers.iter_mut().for_each(|r| *r = Reader::default());
            let vertex = &graph.vertices[source.vertex];
            actions.push(Action::CreateEnumerator {
                operator: source.operator.clone(),
                generation: source.generation,
                spec: vertex.operators[0].spec.clone(),
                parallelism: vertex.parallelism,
                state: states.and_then(|s| s.get(&source.operator)).cloned(),
            });
        }
        actions
    }

    /// Takes an enumerator over; false if it is not the one that is expected.
    pub(super) fn created(
        &mut self,
        operator: &OperatorUid,
        generation: u64,
        enumerator: Box<dyn SplitEnumerator>,
    ) -> Result<Vec<Assignment>, Failure> {
        let Some(source) = self.expecting(operator, generation) else { return Ok(Vec::new()) };
        source.enumerator = Some(enumerator);
        let mut assignments = Vec::new();
        for subtask in 0..source.readers.len() as u32 {
            if let Some(request) = source.readers[subtask as usize].waiting {
                assignments.extend(source.ask(subtask, request)?);
            }
        }
        Ok(assignments)
    }

    /// Whether an enumerator of this generation is expected.
    pub(super) fn is_expecting(&mut self, operator: &OperatorUid, generation: u64) -> bool {
        self.expecting(operator, generation).is_some()
    }

    fn expecting(&mut self, operator: &OperatorUid, generation: u64) -> Option<&mut Source> {
        self.sources
            .iter_mut()
            .find(|s| s.operator == *operator && s.generation == generation && s.enumerator.is_none())
    }

    /// A reader wants a split. Repetitions of an answered request get the same answer.
    pub(super) fn request(
        &mut self,
        operator: &OperatorUid,
        vertex: usize,
        subtask: u32,
        request: u64,
    ) -> Result<Option<Assignment>, Failure> {
        let Some(source) = self.sources.iter_mut().find(|s| s.operator == *operator && s.vertex == vertex) else {
            return Ok(None);
        };
        let reader = &mut source.readers[subtask as usize];
        if let Some(answer) = reader.answer.as_ref().filter(|a| a.request == request) {
            return Ok(Some(answer.clone()));
        }
        if request != reader.next_request {
            return Ok(None);
        }
        reader.next_request += 1;
        reader.waiting = Some(request);
        source.ask(subtask, request)
    }

    /// Looks whether something came up for readers that were told to wait.
    pub(super) fn poll(&mut self) -> Result<Vec<Assignment>, Failure> {
        let mut assignments = Vec::new();
        for source in self.sources.iter_mut().filter(|s| s.readers.iter().any(|r| r.waiting.is_some())) {
            let Some(enumerator) = &mut source.enumerator else { continue };
            for (subtask, response) in guarded(|| enumerator.poll())? {
                let Some(request) = source.readers.get(subtask.0 as usize).and_then(|r| r.waiting) else {
                    // The reader it was meant for has failed since; whoever asks next gets it.
                    if let (SplitResponse::Assign(splits), Some(enumerator)) = (response, &mut source.enumerator) {
                        enumerator.add_splits_back(splits);
                    }
                    return Ok(assignments);
                };
                assignments.extend(source.answer(subtask.0, request, response));
            }
        }
        Ok(assignments)
    }

    /// Whether a reader waits for an enumerator that exists.
    pub(super) fn has_waiting_readers(&self) -> bool {
        self.sources.iter().any(|s| s.enumerator.is_some() && s.readers.iter().any(|r| r.waiting.is_some()))
    }

    /// Whether all enumerators exist.
    pub(super) fn is_complete(&self) -> bool {
        self.sources.iter().all(|s| s.enumerator.is_some())
    }

    /// The state of all enumerators.
    pub(super) fn snapshot(&mut self, checkpoint: CheckpointId) -> Result<BTreeMap<OperatorUid, Arc<[u8]>>, Failure> {
        let mut states = BTreeMap::new();
        for source in &mut self.sources {
            let enumerator = source.enumerator.as_mut().ok_or_else(|| {
                Failure::transient(format!("the enumerator of source {} does not exist yet", source.operator))
            })?;
            states.insert(source.operator.clone(), guarded(|| enumerator.snapshot(checkpoint))?.into());
            source.by_checkpoint.entry(checkpoint).or_default().append(&mut source.fresh);
        }
        Ok(states)
    }

    /// A checkpoint is complete: what was handed out before it is in it.
    pub(super) fn complete(&mut self, checkpoint: CheckpointId) {
        for source in &mut self.sources {
            source.by_checkpoint = source.by_checkpoint.split_off(&CheckpointId(checkpoint.0 + 1));
        }
    }

    /// One reader starts again, from a checkpoint or from nothing: what it was given since goes back.
    pub(super) fn reset_reader(&mut self, vertex: usize, subtask: u32, restored: Option<CheckpointId>) {
        for source in self.sources.iter_mut().filter(|s| s.vertex == vertex) {
            source.readers[subtask as usize] = Reader::default();
            let later = |id: &CheckpointId| restored.is_none_or(|r| *id > r);
            let mut back = Vec::new();
            let handed = source.by_checkpoint.iter_mut().filter(|(id, _)| later(id)).map(|(_, splits)| splits);
            for splits in handed.chain([&mut source.fresh]) {
                back.extend(splits.extract_if(.., |(reader, _)| *reader == subtask).map(|(_, split)| split));
            }
            if let (Some(enumerator), false) = (&mut source.enumerator, back.is_empty()) {
                enumerator.add_splits_back(back);
            }
        }
    }
}

impl Source {
    fn ask(&mut self, subtask: u32, request: u64) -> Result<Option<Assignment>, Failure> {
        let Some(enumerator) = &mut self.enumerator else { return Ok(None) };
        let response = guarded(|| enumerator.request_split(SubtaskIndex(subtask)))?;
        Ok(self.answer(subtask, request, response))
    }

    fn answer(&mut self, subtask: u32, request: u64, response: SplitResponse) -> Option<Assignment> {
        let (splits, last) = match response {
            SplitResponse::Assign(splits) => (splits, false),
            SplitResponse::NoMoreSplits => (Vec::new(), true),
            SplitResponse::Wait => return None,
        };
        self.fresh.extend(splits.iter().map(|split| (subtask, split.clone())));
        let operator = self.operator.clone();
        let assignment = Assignment { operator, vertex: self.vertex, subtask, request, splits, last };
        let reader = &mut self.readers[subtask as usize];
        reader.waiting = None;
        reader.answer = Some(assignment.clone());
        Some(assignment)
    }
}
