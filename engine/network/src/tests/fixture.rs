//! One environment, producers that emit numbered rows, consumers that note what they get.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array, StringViewArray};
use arrow_select::take::take;
use flumen_core::batch::{Batch, Column};
use flumen_core::element::StreamElement;
use flumen_core::graph::{Partitioner, ResultPartitionType};
use flumen_core::ids::{
    AttemptNumber, ExecutionAttemptId, ExecutionVertexId, IntermediateDataSetId, JobId, JobVertexId, ResultPartitionId,
    SubtaskIndex,
};
use flumen_core::meter::Unmetered;
use flumen_core::types::{Field, LogicalType, Schema, SchemaRef};
use flumen_core::waiting::InlineExecutor;
use flumen_io::{Rng, SimulatedClock, SimulatedFileSystem};
use flumen_memory::{Arena, ArenaOptions, NetworkBufferPool, PAGE_BYTES};

use crate::*;

pub(super) const JOB: JobId = JobId(7);

/// Counts how often it was woken.
#[derive(Default)]
pub(super) struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Wakes {
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    pub(super) fn waker() -> (Arc<Self>, Waker) {
        let wakes = Arc::new(Self::default());
        (Arc::clone(&wakes), wakes.into())
    }
}

pub(super) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("key", LogicalType::Int64, true),
        Field::new("number", LogicalType::Int64, false),
        Field::new("text", LogicalType::Utf8, true),
    ]))
}

/// Rows `start..start + rows`: a key that repeats (null every 97), the number, and a text longer than a view holds
/// for every third.
pub(super) fn batch(start: i64, rows: usize) -> Batch {
    let numbers: Vec<i64> = (start..start + rows as i64).collect();
    let keys: Int64Array = numbers.iter().map(|n| (n % 97 != 0).then_some(n * 31 % 1000)).collect();
    let texts: StringViewArray = numbers.iter().map(|n| Some(text_of(*n))).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(keys), Arc::new(Int64Array::from(numbers)), Arc::new(texts)];
    Batch::new(schema(), columns.into_iter().map(Column::Array).collect(), rows)
}

fn text_of(number: i64) -> String {
    if number % 3 == 0 { format!("a text that is not inline, number {number}") } else { format!("t{number}") }
}

/// The numbers of the selected rows; checks that the other columns belong to them.
pub(super) fn numbers(batch: &Batch) -> Vec<i64> {
    let select = |column: usize| -> ArrayRef {
        let array = batch.column(column).array();
        match batch.selection() {
            Some(s) => take(array, &arrow_array::UInt32Array::new(s.clone(), None), None).unwrap(),
            None => Arc::clone(array),
        }
    };
    let (keys, numbers, texts) = (select(0), select(1), select(2));
    let numbers = numbers.as_primitive::<Int64Type>().values().to_vec();
    for (row, number) in numbers.iter().enumerate() {
        let key = keys.as_primitive::<Int64Type>();
        assert_eq!(key.is_null(row), number % 97 == 0);
        assert!(key.is_null(row) || key.value(row) == number * 31 % 1000);
        assert_eq!(texts.as_string_view().value(row), text_of(*number));
    }
    numbers
}

pub(super) fn partition_id(data_set: u32, producer: u32, attempt: u32) -> ResultPartitionId {
    ResultPartitionId {
        data_set: IntermediateDataSetId(data_set),
        producer: ExecutionAttemptId {
            job: JOB,
            execution_vertex: ExecutionVertexId { vertex: JobVertexId(0), subtask: SubtaskIndex(producer) },
            attempt: AttemptNumber(attempt),
        },
    }
}

pub(super) fn descriptor(
    partition_type: ResultPartitionType,
    partitioner: Partitioner,
    producer: u32,
    subpartitions: u32,
) -> PartitionDescriptor {
    PartitionDescriptor {
        id: partition_id(1, producer, 0),
        partition_type,
        partitioner,
        subpartitions,
        max_parallelism: 128,
        schema: schema(),
        producer_subtask: producer,
    }
}

pub(super) fn options(files: &Arc<SimulatedFileSystem>) -> EnvironmentOptions {
    EnvironmentOptions::new("/spill", files.clone(), Arc::new(InlineExecutor), network_buffers(4096))
}

pub(super) fn network_buffers(count: usize) -> NetworkBufferPool {
    let arena = Arena::new(ArenaOptions::new((count * PAGE_BYTES) as u64)).unwrap();
    NetworkBufferPool::new(arena, count).unwrap()
}

pub(super) fn file_system() -> Arc<SimulatedFileSystem> {
    Arc::new(SimulatedFileSystem::new(1, Arc::new(SimulatedClock::new())))
}

pub(super) fn environment() -> ShuffleEnvironment {
    ShuffleEnvironment::local(options(&file_system()))
}

pub(super) fn writer(
    environment: &ShuffleEnvironment,
    descriptor: &PartitionDescriptor,
    config: PartitionConfig,
) -> ResultPartitionWriter {
    environment.create_writer(descriptor, config, Arc::new(Unmetered), Rng::from_seed(3)).unwrap()
}

/// A gate of consumer `subpartition` over these producers.
pub(super) fn gate_of(
    environment: &ShuffleEnvironment,
    partition_type: ResultPartitionType,
    partitions: &[ResultPartitionId],
    subpartitions: std::ops::Range<u32>,
) -> Result<InputGate> {
    let inputs = partitions
        .iter()
        .map(|partition| InputDescriptor {
            partition: *partition,
            subpartitions: subpartitions.clone(),
            location: PartitionLocation::Local,
        })
        .collect();
    environment.create_gate(&GateDescriptor { partition_type, inputs })
}

/// What a consumer got: numbers by channel, and the control elements.
#[derive(Debug, Default)]
pub(super) struct Received {
    pub(super) numbers: Vec<(ChannelIndex, Vec<i64>)>,
    pub(super) control: Vec<(ChannelIndex, StreamElement)>,
}

impl Received {
    pub(super) fn all(&self) -> Vec<i64> {
        self.numbers.iter().flat_map(|(_, numbers)| numbers.iter().copied()).collect()
    }

    /// The numbers of one channel, in order.
    pub(super) fn of(&self, channel: u32) -> Vec<i64> {
        let of_channel = self.numbers.iter().filter(|(index, _)| index.0 == channel);
        of_channel.flat_map(|(_, numbers)| numbers.iter().copied()).collect()
    }

    /// Takes up to `limit` elements; returns how many there were.
    pub(super) fn drain(&mut self, gate: &mut InputGate, limit: usize) -> Result<usize> {
        for taken in 0..limit {
            match gate.poll_next()? {
                Some((channel, StreamElement::Batch(batch))) => self.numbers.push((channel, numbers(&batch))),
                Some((channel, control)) => self.control.push((channel, control)),
                None => return Ok(taken),
            }
        }
        Ok(limit)
    }
}
