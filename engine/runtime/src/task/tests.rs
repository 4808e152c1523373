//! Tasks on the deterministic executor, with operators, gates and writers made for the purpose.

use super::*;
use crate::chain::{ChainLink, ElementWriter, OperatorChain};
use crate::executor::deterministic::{DeterministicExecutor, Progress};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use flumen_core::batch::{Batch, Column};
use flumen_core::element::CheckpointOptions;
use flumen_core::time::Watermark;
use flumen_core::types::{Field, LogicalType, Schema};
use flumen_io::SimulatedClock;
use flumen_operators::contract::{BlockedReason, Operator, Output, Step};
use parking_lot::Mutex;

fn batch(values: Vec<i64>) -> Batch {
    let schema = Arc::new(Schema::new(vec![Field::new("v", LogicalType::Int64, false)]));
    let rows = values.len();
    Batch::new(schema, vec![Column::Array(Arc::new(arrow_array::Int64Array::from(values)))], rows)
}

fn values(batch: &Batch) -> Vec<i64> {
    batch.column(0).array().as_primitive::<Int64Type>().values().to_vec()
}

/// Emits each batch `times` times, in one piece per call, blocking once before each batch if it is told to.
struct Repeat {
    times: usize,
    blocks: bool,
    waker: Waker,
    left: Option<(Batch, usize)>,
    limit: Option<usize>,
    seen: usize,
}

impl Repeat {
    fn next(&mut self, out: &mut Output) -> Step {
        let Some((batch, left)) = self.left.take() else { return Step::Done };
        out.emit(batch.clone());
        if left > 1 {
            self.left = Some((batch, left - 1));
            return Step::HasMoreOutput;
        }
        Step::Done
    }
}

impl Operator for Repeat {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut Output) -> Result<Step, Failure> {
        self.seen += 1;
        if batch.num_rows() == 3 {
            panic!("three rows");
        }
        self.left = Some((batch, self.times));
        if self.blocks {
            self.waker.wake_by_ref();
            return Ok(Step::Blocked(BlockedReason::Io));
        }
        Ok(self.next(out))
    }

    fn resume(&mut self, out: &mut Output) -> Result<Step, Failure> {
        Ok(self.next(out))
    }

    fn finish(&mut self, out: &mut Output) -> Result<Step, Failure> {
        out.emit(batch(vec![-1]));
        Ok(Step::Done)
    }

    fn is_satisfied(&self) -> bool {
        self.limit.is_some_and(|limit| self.seen >= limit)
    }
}

#[derive(Default)]
struct Shared {
    written: Vec<String>,
    credit: usize,
    events: Vec<String>,
    waker: Option<Waker>,
}

type SharedRef = Arc<Mutex<Shared>>;

struct Writer(SharedRef);

impl ElementWriter for Writer {
    fn is_available(&mut self) -> bool {
        self.0.lock().credit > 0
    }

    fn write(&mut self, element: StreamElement) -> Result<(), Failure> {
        let mut shared = self.0.lock();
        if let StreamElement::Batch(_) = &element {
            shared.credit -= 1;
        }
        shared.written.push(describe(&element));
        Ok(())
    }

    fn is_closed(&self) -> bool {
        false
    }
}

fn describe(element: &StreamElement) -> String {
    match element {
        StreamElement::Batch(batch) => format!("{:?}", values(batch)),
        StreamElement::Watermark(w) if *w == Watermark::MAX => "w max".to_owned(),
        StreamElement::Watermark(w) => format!("w {}", w.0.0),
        StreamElement::Barrier(b) => format!("b {}", b.id.0),
        StreamElement::EndOfData(_) => "end of data".to_owned(),
        StreamElement::EndOfPartition => "end".to_owned(),
        other => format!("{other:?}"),
    }
}

struct Reader {
    channels: Vec<VecDeque<StreamElement>>,
    blocked: Vec<bool>,
    turn: usize,
}

impl ElementReader for Reader {
    fn channels(&self) -> usize {
        self.channels.len()
    }

    fn poll_next(&mut self) -> Result<Option<(usize, StreamElement)>, Failure> {
        for _ in 0..self.channels.len() {
            self.turn = (self.turn + 1) % self.channels.len();
            if !self.blocked[self.turn]
                && let Some(element) = self.channels[self.turn].pop_front()
            {
                return Ok(Some((self.turn, element)));
            }
        }
        Ok(None)
    }

    fn block(&mut self, channel: usize) {
        self.blocked[channel] = true;
    }

    fn unblock(&mut self, channel: usize) {
        self.blocked[channel] = false;
    }

    fn close(&mut self) {
        self.channels.iter_mut().for_each(VecDeque::clear);
    }
}

struct Hooks(SharedRef);

impl TaskHooks for Hooks {
    fn running(&self) {
        self.0.lock().events.push("running".to_owned());
    }
    fn end_of_data(&self) {}
    fn finished(&self) {
        self.0.lock().events.push("finished".to_owned());
    }
    fn failed(&self, failure: Failure) {
        self.0.lock().events.push(format!("failed {:?} {}", failure.failure_kind(), failure.chain()));
    }
    fn cancelled(&self) {
        self.0.lock().events.push("cancelled".to_owned());
    }
    fn snapshot_taken(&self, barrier: CheckpointBarrier, snapshots: Vec<(OperatorUid, OperatorSnapshot)>) {
        self.0.lock().events.push(format!("snapshot {} of {}", barrier.id.0, snapshots.len()));
    }
    fn decline_checkpoint(&self, checkpoint: CheckpointId, _reason: &str) {
        self.0.lock().events.push(format!("decline {}", checkpoint.0));
    }
    fn request_split(&self, uid: &OperatorUid) {
        self.0.lock().events.push(format!("split for {uid}"));
    }
    fn publish_filter(&self, filter: u32, _bounds: RuntimeFilter) {
        self.0.lock().events.push(format!("filter {filter}"));
    }
}

struct Case {
    executor: DeterministicExecutor,
    shared: SharedRef,
    sender: MailboxSender,
}

/// A task of two operators over the given channels; the writer has credit for `credit` batches.
fn case(
    seed: u64,
    channels: Vec<Vec<StreamElement>>,
    credit: usize,
    final_checkpoint: bool,
    limit: Option<usize>,
) -> Case {
    let clock = Arc::new(SimulatedClock::new());
    let executor = DeterministicExecutor::new(seed, Arc::clone(&clock));
    let shared = SharedRef::default();
    shared.lock().credit = credit;
    let blocked = vec![false; channels.len()];
    let reader = Reader { channels: channels.into_iter().map(VecDeque::from).collect(), blocked, turn: 0 };
    let (give, take) = std::sync::mpsc::channel();
    let setup = TaskSetup {
        inputs: vec![(0, Box::new(reader))],
        hooks: Arc::new(Hooks(Arc::clone(&shared))),
        clock: Arc::<SimulatedClock>::clone(&clock),
        timers: executor.timers(),
        final_checkpoint,
    };
    let for_task = Arc::clone(&shared);
    executor.runner().spawn(Box::new(move |waker| {
        for_task.lock().waker = Some(waker.clone());
        let (sender, task) = Task::new(setup, waker.clone());
        let link = |uid: &str, times, blocks, consumers, writers, limit| ChainLink {
            uid: uid.into(),
            operator: Box::new(Repeat { times, blocks, waker: waker.clone(), left: None, limit, seen: 0 }),
            consumers,
            writers,
            metrics: Arc::default(),
        };
        let links =
            vec![link("first", 2, true, vec![1], vec![], None), link("second", 2, false, vec![], vec![0], limit)];
        let chain = OperatorChain::new(links, vec![Box::new(Writer(for_task))], clock);
        sender.send(Mail::Opened(Ok(chain)));
        give.send(sender).unwrap();
        Box::new(task)
    }));
    let sender = take.recv().unwrap();
    Case { executor, shared, sender }
}

impl Case {
    fn run(&self) -> (Vec<String>, Vec<String>) {
        while self.executor.step() != Progress::Stuck {}
        let shared = self.shared.lock();
        (shared.written.clone(), shared.events.clone())
    }
}

fn barrier(id: u64) -> StreamElement {
    StreamElement::Barrier(CheckpointBarrier {
        id: CheckpointId(id),
        timestamp_ms: 0,
        options: CheckpointOptions::default(),
    })
}

fn ends() -> [StreamElement; 3] {
    [StreamElement::Watermark(Watermark::MAX), StreamElement::EndOfData(StopMode::Drain), StreamElement::EndOfPartition]
}

#[test]
fn elements_pass_in_order_through_operators_that_block_and_multiply() {
    for seed in 0..20 {
        let channel =
            [StreamElement::Batch(batch(vec![1, 2])), StreamElement::Watermark(Watermark(EventTime(5))), barrier(1)];
        let case = case(seed, vec![channel.into_iter().chain(ends()).collect()], 100, false, None);
        let (written, events) = case.run();
        let rows = ["[1, 2]"; 4];
        let rest = ["w 5", "b 1", "w max", "[-1]", "[-1]", "[-1]", "end of data", "end"];
        assert_eq!(written, rows.into_iter().chain(rest).collect::<Vec<_>>(), "seed {seed}");
        assert_eq!(events, ["running", "snapshot 1 of 2", "finished"]);
        assert_eq!(case.executor.live_tasks(), 0);
    }
}

#[test]
fn without_credit_the_task_waits_and_goes_on_where_it_was() {
    let case =
        case(1, vec![[StreamElement::Batch(batch(vec![7]))].into_iter().chain(ends()).collect()], 0, false, None);
    for given in 0..4 {
        assert_eq!(case.run().0.len(), given);
        case.shared.lock().credit = 1;
        let waker = case.shared.lock().waker.clone().unwrap();
        waker.wake();
    }
    assert_eq!(case.run().0, ["[7]", "[7]", "[7]", "[7]", "w max"]);
    case.shared.lock().credit = 100;
    case.shared.lock().waker.clone().unwrap().wake();
    assert_eq!(case.run().1, ["running", "finished"]);
}

#[test]
fn a_barrier_waits_for_its_fellows() {
    for seed in 0..20 {
        let first = [barrier(1), StreamElement::Batch(batch(vec![2]))].into_iter().chain(ends()).collect();
        let second = [StreamElement::Batch(batch(vec![1])), barrier(1)].into_iter().chain(ends()).collect();
        let (written, _) = case(seed, vec![first, second], 100, false, None).run();
        let position = |what: &str| written.iter().position(|w| w == what).unwrap();
        assert!(position("[1]") < position("b 1") && position("b 1") < position("[2]"), "seed {seed}: {written:?}");
    }
}

#[test]
fn a_panic_fails_the_task_alone() {
    let (_, events) = case(1, vec![vec![StreamElement::Batch(batch(vec![1, 2, 3]))]], 100, false, None).run();
    assert_eq!(events, ["running", "failed Bug an operator panicked: three rows"]);
}

#[test]
fn cancelling_ends_a_task_that_waits() {
    let case = case(1, vec![vec![StreamElement::Batch(batch(vec![1]))]], 0, false, None);
    assert_eq!(case.run().1, ["running"]);
    case.sender.send(Mail::Cancel);
    assert_eq!(case.run().1, ["running", "cancelled"]);
    assert_eq!(case.executor.live_tasks(), 0);
}

#[test]
fn the_final_checkpoint_covers_the_end() {
    let channel: Vec<_> = [barrier(1)]
        .into_iter()
        .chain([StreamElement::Watermark(Watermark::MAX), StreamElement::EndOfData(StopMode::Drain), barrier(2)])
        .collect();
    let case = case(3, vec![channel], 100, true, None);
    assert_eq!(case.run().1, ["running", "snapshot 1 of 2", "snapshot 2 of 2"]);
    case.sender.send(Mail::CheckpointComplete(CheckpointId(1)));
    assert_eq!(case.run().1.len(), 3, "checkpoint 1 does not cover the end");
    case.sender.send(Mail::CheckpointComplete(CheckpointId(2)));
    assert_eq!(case.run().1.last().unwrap(), "finished");
}

#[test]
fn a_satisfied_chain_stops_reading() {
    let channel = (0..10).map(|i| StreamElement::Batch(batch(vec![i]))).collect();
    let (written, events) = case(5, vec![channel], 100, false, Some(1)).run();
    assert_eq!(written.iter().filter(|w| *w == "[1]").count(), 0, "{written:?}");
    assert_eq!(events, ["running", "finished"]);
}

#[test]
fn an_input_that_breaks_off_is_an_error() {
    let (_, events) = case(5, vec![vec![StreamElement::EndOfPartition]], 100, false, None).run();
    assert_eq!(events, ["running", "failed Transient input channel 0 ended before its data did"]);
}
