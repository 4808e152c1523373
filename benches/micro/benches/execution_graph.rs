//! Building and scheduling the ExecutionGraph of an all-to-all job: from the JobGraph to the messages that deploy it.

use std::sync::Arc;

use criterion::{BatchSize, Throughput};
use flumen_control::{Action, Event, JobMaster, JobMasterOptions, Now};
use flumen_core::failure::Failure;
use flumen_core::graph::{JobGraph, Partitioner, StreamGraph, TranslateOptions, translate};
use flumen_core::ids::{CheckpointId, JobId, LeaderEpoch, SubtaskIndex};
use flumen_core::source::{SourceSplit, SplitEnumerator, SplitResponse};
use flumen_core::spec::{
    OperatorPayload, OperatorSpec,
    connector::{SinkSpec, SourceSpec},
};
use flumen_core::types::Schema;
use flumen_gateway::{ExecutionState, TaskExecutorId, TaskExecutorMessage};
use flumen_io::{MonotonicTime, Rng};
use flumen_micro_benches::criterion;

/// A source that has nothing to read.
struct Nothing;

impl SplitEnumerator for Nothing {
    fn request_split(&mut self, _: SubtaskIndex) -> Result<SplitResponse, Failure> {
        Ok(SplitResponse::NoMoreSplits)
    }

    fn add_splits_back(&mut self, _: Vec<SourceSplit>) {}

    fn snapshot(&mut self, _: CheckpointId) -> Result<Vec<u8>, Failure> {
        Ok(Vec::new())
    }
}

/// `parallelism` sources to as many sinks, each to each.
fn all_to_all(parallelism: u32) -> Arc<JobGraph> {
    let mut graph = StreamGraph { name: "all to all".to_owned(), ..StreamGraph::default() };
    let schema = Arc::new(Schema::new(Vec::new()));
    let spec = |kind: &str, inputs: usize| OperatorSpec {
        kind: kind.to_owned(),
        version: 1,
        payload: serde_json::Value::Null,
        inputs: vec![Arc::clone(&schema); inputs],
        output: (inputs == 0).then(|| Arc::clone(&schema)),
        state: Vec::new(),
        memory_weight_bytes: 0,
    };
    graph.add_node("source", "source", spec(SourceSpec::KIND, 0), parallelism);
    graph.add_node("sink", "sink", spec(SinkSpec::KIND, 1), parallelism);
    let (source, sink) = (graph.nodes[0].id, graph.nodes[1].id);
    graph.add_edge(source, sink, 0, Partitioner::Rebalance);
    Arc::new(translate(&graph, JobId(7), &TranslateOptions::default()).expect("the graph is well formed"))
}

/// The JobMaster of a job that has just been deployed, and what it has sent.
fn deploy(graph: Arc<JobGraph>, slots: u32) -> (JobMaster, Vec<Action>) {
    let (executor, now) = (TaskExecutorId(1), Now { time: MonotonicTime::from_nanos(1), wall_ms: 1 });
    let options = JobMasterOptions::default();
    let rng = Box::new(Rng::from_seed(1));
    let mut master = JobMaster::new(graph, LeaderEpoch(1), options, None, None, rng);
    let mut actions = master.on(Event::TaskExecutorRegistered { executor, slots }, now);
    actions.extend(master.on(Event::Start, now));
    let creations: Vec<_> = actions
        .iter()
        .filter_map(|action| match action {
            Action::CreateEnumerator { operator, generation, .. } => Some((operator.clone(), *generation)),
            _ => None,
        })
        .collect();
    for (operator, generation) in creations {
        let event = Event::EnumeratorCreated { operator, generation, result: Ok(Box::new(Nothing)) };
        actions.extend(master.on(event, now));
    }
    (master, actions)
}

fn main() {
    let mut criterion = criterion();
    let mut group = criterion.benchmark_group("execution graph");
    for parallelism in [500, 1000, 2000, 4000] {
        let graph = all_to_all(parallelism);
        check(&graph, parallelism);
        group.throughput(Throughput::Elements(2 * u64::from(parallelism)));
        group.bench_function(format!("{parallelism} x {parallelism}, per subtask"), |b| {
            b.iter_batched(|| Arc::clone(&graph), |graph| deploy(graph, parallelism), BatchSize::PerIteration);
        });
    }
    group.finish();
    criterion.final_summary();
}

/// Every subtask is deployed once; sinks know all their producers.
fn check(graph: &Arc<JobGraph>, parallelism: u32) {
    let (master, actions) = deploy(Arc::clone(graph), parallelism);
    let mut submitted = std::collections::BTreeSet::new();
    for action in actions {
        if let Action::Send { envelope, .. } = action
            && let TaskExecutorMessage::SubmitTask(descriptor) = envelope.message
        {
            assert!(submitted.insert(descriptor.attempt.execution_vertex), "deployed twice");
        }
    }
    assert_eq!(submitted.len() as u32, 2 * parallelism, "every subtask is deployed");
    assert_eq!(master.count(ExecutionState::Deploying), 2 * parallelism);
}
