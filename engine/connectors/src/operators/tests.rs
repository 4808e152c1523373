//! The operators over the `values` source and the `collect` and `print` sinks.

use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use flumen_core::batch::Batch;
use flumen_core::connectors::ConnectorRegistry;
use flumen_core::element::StreamElement;
use flumen_core::expr::Literal;
use flumen_core::ids::{
    AttemptNumber, CheckpointId, ExecutionAttemptId, ExecutionVertexId, JobId, JobVertexId, OperatorUid, SubtaskIndex,
};
use flumen_core::key_group::KeyGroupRange;
use flumen_core::meter::Unmetered;
use flumen_core::source::SplitResponse;
use flumen_core::spec::OperatorSpec;
use flumen_core::spec::connector::{SinkSpec, SourceSpec};
use flumen_core::spec::relational::ValuesRows;
use flumen_core::types::{Field, LogicalType, Schema};
use flumen_core::waiting::{InlineExecutor, NoTimers, Waker};
use flumen_io::SimulatedClock;
use flumen_kernels::expr::FunctionRegistry;
use flumen_operators::contract::{BlockedReason, Operator, OperatorContext, Output, Step, TaskInfo};
use flumen_operators::registry::OperatorRegistry;
use flumen_state::RestoredState;

use super::register_operators;
use crate::collect::{CollectCapacity, CollectRegistry};
use crate::print::PrintTarget;
use crate::testing::{disk, lines, options, source_spec};
use crate::{ConnectorEnvironment, MemoryTables, register_connectors};

struct Process {
    connectors: Arc<ConnectorRegistry>,
    operators: OperatorRegistry,
    collect: CollectRegistry,
    printed: Arc<Mutex<Vec<u8>>>,
}

fn process() -> Process {
    let printed = Arc::new(Mutex::new(Vec::new()));
    let collect = CollectRegistry::default();
    let environment = ConnectorEnvironment {
        files: Arc::new(disk()),
        collect: collect.clone(),
        tables: MemoryTables::new(Arc::new(Unmetered)),
        print: PrintTarget::new(Arc::clone(&printed) as _),
    };
    let mut connectors = ConnectorRegistry::new();
    register_connectors(&mut connectors, &environment);
    let connectors = Arc::new(connectors);
    let mut operators = OperatorRegistry::default();
    register_operators(&mut operators, &connectors);
    Process { connectors, operators, collect, printed }
}

fn context(subtask: u32, parallelism: u32) -> OperatorContext {
    let execution_vertex = ExecutionVertexId { vertex: JobVertexId(0), subtask: SubtaskIndex(subtask) };
    OperatorContext {
        task: TaskInfo {
            attempt: ExecutionAttemptId { job: JobId(1), execution_vertex, attempt: AttemptNumber(0) },
            parallelism,
            max_parallelism: 128,
            name: "test".to_owned(),
        },
        uid: OperatorUid("test".into()),
        key_groups: KeyGroupRange { start: 0, end: 128 },
        batch_rows: 2,
        memory: Arc::new(Unmetered),
        pages: flumen_state::MeteredPages::unmetered(),
        spill: flumen_operators::spill::SpillSpace::none(),
        functions: Arc::new(FunctionRegistry::new()),
        blocking: Arc::new(InlineExecutor),
        waker: Waker::noop().clone(),
        clock: Arc::new(SimulatedClock::new()),
        timers: Arc::new(NoTimers),
        is_restored: false,
    }
}

fn schema() -> Schema {
    Schema::new(vec![Field::new("n", LogicalType::Int64, true), Field::new("t", LogicalType::Utf8, true)])
}

fn values(extra: &[(&str, &str)]) -> SourceSpec {
    let rows = (0..5).map(|i| {
        let number = if i == 3 { Literal::null(LogicalType::Int64) } else { Literal::int64(i) };
        vec![number, Literal::utf8(format!("t{i}"))]
    });
    let rows = serde_json::to_string(&ValuesRows { rows: rows.collect() }).unwrap();
    let pairs: Vec<_> = [("rows", rows.as_str())].into_iter().chain(extra.iter().copied()).collect();
    source_spec("values", &pairs, schema())
}

fn source(process: &Process, spec: &SourceSpec) -> Box<dyn Operator> {
    let operator = OperatorSpec::new(spec, Vec::new(), Some(Arc::new(schema())));
    process.operators.create(&operator, &context(0, 1)).unwrap()
}

/// Rows, watermarks and what else came out, until the source ends, blocks for good, or `count` elements came.
fn run(process: &Process, spec: &SourceSpec, operator: &mut dyn Operator, count: usize) -> Vec<String> {
    let connector = process.connectors.source("values").unwrap();
    let mut enumerator = connector.create_enumerator(spec, 1, None).unwrap();
    let mut out = Output::default();
    let mut seen = Vec::new();
    while seen.len() < count {
        match operator.produce(&mut out) {
            Err(error) => {
                seen.push(error.to_string());
                break;
            }
            Ok(Step::Blocked(reason)) => {
                assert_eq!(reason, BlockedReason::Source);
                if !operator.wants_split() {
                    seen.push("blocked".to_owned());
                    break;
                }
                match enumerator.request_split(SubtaskIndex(0)).unwrap() {
                    SplitResponse::Assign(splits) => operator.assign_splits(splits, false).unwrap(),
                    _ => operator.assign_splits(Vec::new(), true).unwrap(),
                }
                assert!(!operator.wants_split());
            }
            Ok(Step::Done) => match out.take() {
                Some(StreamElement::Batch(batch)) => seen.push(lines(&batch).join(" ")),
                Some(StreamElement::Watermark(watermark)) => seen.push(format!("watermark {}", watermark.0.0)),
                Some(other) => panic!("{other:?}"),
                None => {
                    seen.push("end".to_owned());
                    break;
                }
            },
            Ok(Step::HasMoreOutput) => panic!("a source answers Done for each element"),
        }
    }
    seen
}

#[test]
fn a_source_reads_to_its_end_with_watermarks_between_rows() {
    let process = process();
    let spec = values(&[]);
    assert_eq!(run(&process, &spec, source(&process, &spec).as_mut(), 99), ["0|t0 1|t1", "2|t2 |t3", "4|t4", "end"]);
    let spec = values(&[("watermarks", "1:100,5:200")]);
    let expected = ["0|t0", "watermark 100", "1|t1 2|t2", "|t3 4|t4", "watermark 200", "end"];
    assert_eq!(run(&process, &spec, source(&process, &spec).as_mut(), 99), expected);
}

#[test]
fn a_restored_source_goes_on_where_it_was() {
    let process = process();
    let spec = values(&[]);
    for elements in 0..4 {
        let mut first = source(&process, &spec);
        let mut seen = run(&process, &spec, first.as_mut(), elements);
        let snapshot = first.snapshot(CheckpointId(1)).unwrap();
        let mut state = RestoredState::default();
        for part in snapshot.lists {
            state.lists.insert(part.name, part.entries);
        }
        let mut second = source(&process, &spec);
        second.restore(state).unwrap();
        seen.extend(run(&process, &spec, second.as_mut(), 99));
        assert_eq!(seen.join(" "), "0|t0 1|t1 2|t2 |t3 4|t4 end", "after {elements} elements");
    }
}

#[test]
fn a_failure_comes_once_with_an_id_and_always_without() {
    let process = process();
    let failed = ["0|t0 1|t1", "2|t2", "failure after 3 rows, as the table's options ask for"];
    let always = values(&[("fail-after-rows", "3")]);
    let once = values(&[("fail-after-rows", "3"), ("fail-id", "x")]);
    for (spec, second_ends) in [(&always, "failure after 3 rows, as the table's options ask for"), (&once, "end")] {
        assert_eq!(run(&process, spec, source(&process, spec).as_mut(), 99), failed);
        assert_eq!(run(&process, spec, source(&process, spec).as_mut(), 99).last().unwrap(), second_ends);
    }
}

fn sink(process: &Process, connector: &str, pairs: &[(&str, &str)], context: &OperatorContext) -> Box<dyn Operator> {
    let spec = SinkSpec { connector: connector.to_owned(), options: options(pairs) };
    let spec = OperatorSpec::new(&spec, vec![Arc::new(schema())], None);
    let mut operator = process.operators.create(&spec, context).unwrap();
    operator.open().unwrap();
    operator
}

fn batch() -> Batch {
    use arrow_array::{Int64Array, StringViewArray};
    let numbers = Int64Array::from(vec![Some(1), None, Some(3)]);
    let text = StringViewArray::from(vec![Some("a"), Some("b"), None]);
    let columns =
        vec![flumen_core::batch::Column::Array(Arc::new(numbers)), flumen_core::batch::Column::Array(Arc::new(text))];
    Batch::new(Arc::new(schema()), columns, 3)
}

#[test]
fn printed_rows_have_subtask_kind_and_values() {
    let process = process();
    let mut out = Output::default();
    let kinds = batch().with_row_kinds(Some(vec![0i8, 3, 2].into()));
    let mut one = sink(&process, "print", &[], &context(0, 1));
    assert_eq!(one.process(0, kinds.clone(), &mut out).unwrap(), Step::Done);
    let mut second = sink(&process, "print", &[("print-identifier", "p")], &context(1, 2));
    assert_eq!(second.process(0, kinds.with_selection(Some(vec![2].into())), &mut out).unwrap(), Step::Done);
    assert_eq!(second.finish(&mut out).unwrap(), Step::Done);
    let printed = String::from_utf8(process.printed.lock().unwrap().clone()).unwrap();
    assert_eq!(printed, "+I[1, a]\n-D[null, b]\n+U[3, null]\np:2> +U[3, null]\n");
}

#[test]
fn a_full_client_blocks_the_sink_until_it_takes() {
    let process = process();
    let stream = process.collect.open("q1", CollectCapacity { batches: 2, bytes: usize::MAX }).unwrap();
    assert!(process.collect.open("q1", CollectCapacity::default()).is_err());
    let mut writers = [0, 1].map(|i| sink(&process, "collect", &[("id", "q1")], &context(i, 2)));
    let mut out = Output::default();
    assert!(stream.poll_next(Waker::noop()).is_pending());
    assert_eq!(writers[0].process(0, batch(), &mut out).unwrap(), Step::Done);
    assert_eq!(writers[1].process(0, batch(), &mut out).unwrap(), Step::Blocked(BlockedReason::Sink));
    assert_eq!(writers[1].resume(&mut out).unwrap(), Step::Blocked(BlockedReason::Sink), "nothing was taken yet");
    let taken = stream.next_blocking().unwrap();
    assert_eq!(lines(&taken), ["1|a", "|b", "3|"]);
    assert_eq!(writers[1].resume(&mut out).unwrap(), Step::Done);
    assert_eq!(writers[0].finish(&mut out).unwrap(), Step::Done);
    assert!(stream.next_blocking().is_some());
    assert!(stream.next_timeout(Duration::ZERO).is_pending(), "one writer is still at work");
    assert_eq!(writers[1].finish(&mut out).unwrap(), Step::Done);
    assert!(matches!(stream.poll_next(Waker::noop()), Poll::Ready(None)));
    assert!(stream.next_blocking().is_none());
}

#[test]
fn a_client_that_leaves_blocks_nobody() {
    let process = process();
    let stream = process.collect.open("q", CollectCapacity { batches: 1, bytes: 1 }).unwrap();
    let mut writer = sink(&process, "collect", &[("id", "q")], &context(0, 1));
    let mut out = Output::default();
    assert_eq!(writer.process(0, batch(), &mut out).unwrap(), Step::Blocked(BlockedReason::Sink));
    let closer = stream.closer();
    drop(stream);
    assert_eq!(writer.resume(&mut out).unwrap(), Step::Done);
    assert_eq!(writer.process(0, batch(), &mut out).unwrap(), Step::Done);
    drop(writer);
    closer.close();
    assert!(process.collect.open("q", CollectCapacity::default()).is_ok(), "the id is free again");
}

#[test]
fn a_stream_can_be_closed_from_elsewhere() {
    let process = process();
    let stream = process.collect.open("q", CollectCapacity::default()).unwrap();
    let closer = stream.closer();
    let waits = std::thread::spawn(move || stream.next_blocking().is_none());
    closer.close();
    assert!(waits.join().unwrap());
}

#[test]
fn unknown_connectors_are_refused_with_the_nearest_name() {
    let process = process();
    let spec = SinkSpec { connector: "prnt".to_owned(), options: options(&[]) };
    let spec = OperatorSpec::new(&spec, vec![Arc::new(schema())], None);
    let error = process.operators.create(&spec, &context(0, 1)).err().unwrap().to_string();
    assert_eq!(error, "no connector 'prnt' is registered here; did you mean 'print'?");
}
