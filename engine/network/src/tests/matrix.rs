//! Every partition type, partitioner, batch size, pace of consumers and transport: rows arrive once and in order.

use std::sync::Arc;

use flumen_core::batch::Batch;
use flumen_core::element::{StopMode, StreamElement};
use flumen_core::failure::{Failure, FailureKind};
use flumen_core::graph::Partitioner;
use flumen_core::graph::ResultPartitionType::{self, *};
use flumen_core::key_group::{key_group_of, subtask_of};
use flumen_core::meter::Unmetered;
use flumen_io::Rng;
use flumen_kernels::hash::hash_batch;

use super::fixture::*;
use crate::*;

const PRODUCERS: u32 = 2;
const CONSUMERS: u32 = 3;

/// Rows by number, modulo the subpartitions.
struct ByNumber;

impl CustomPartitioner for ByNumber {
    fn assign(
        &self,
        batch: &Batch,
        _: &[usize],
        subpartitions: u32,
        targets: &mut Vec<u32>,
    ) -> std::result::Result<(), Failure> {
        targets.extend(numbers(batch).iter().map(|n| (*n % i64::from(subpartitions)) as u32));
        Ok(())
    }
}

struct Case {
    kind: ResultPartitionType,
    partitioner: Partitioner,
    batch_rows: usize,
    /// A consumer reads this many elements a round; the producer emits one batch.
    pace: usize,
    hostile: Option<u64>,
}

impl Case {
    fn subpartitions(&self) -> u32 {
        if self.partitioner == Partitioner::Forward { 1 } else { CONSUMERS }
    }

    /// Steps producers and consumers until all have ended; gives what each consumer got.
    fn run(&self) -> Vec<Received> {
        let registry = PartitionRegistry::new();
        let mut options = options(&file_system());
        options.partitioners.register("by_number", Arc::new(ByNumber));
        let hostile =
            self.hostile.map(|seed| HostileTransport::new(Arc::clone(&registry), seed, HostileOptions::default()));
        let environment = match &hostile {
            Some(transport) => ShuffleEnvironment::with_transport(options, registry, Arc::new(transport.clone())),
            None => ShuffleEnvironment::local(options),
        };
        let mut writers: Vec<_> = (0..PRODUCERS).map(|index| self.writer(&environment, index)).collect();
        let ids: Vec<_> = writers.iter().map(ResultPartitionWriter::id).collect();
        let gates = || -> Vec<_> {
            let gate = |i| gate_of(&environment, self.kind, &ids, i..i + 1).unwrap();
            (0..self.subpartitions()).map(gate).collect()
        };
        let mut open: Option<Vec<InputGate>> = (!self.kind.must_be_finished()).then(gates);
        let mut received: Vec<_> = (0..self.subpartitions()).map(|_| Received::default()).collect();
        let mut next = vec![0i64; PRODUCERS as usize];
        let (rows, mut rounds) = (self.rows(), 0);
        let total = i64::try_from(rows * PRODUCERS as usize).unwrap();
        while open.as_ref().is_none_or(|gates| !gates.iter().all(InputGate::is_finished)) {
            rounds += 1;
            assert!(rounds < 2_000_000, "nothing moves");
            for (index, writer) in writers.iter_mut().enumerate() {
                let start = next[index] + (rows * index) as i64;
                let size = self.batch_rows.min(rows.saturating_sub(next[index] as usize));
                if size > 0 && writer.is_available() {
                    let _ = writer.emit(batch(start, size)).unwrap();
                    next[index] += size as i64;
                } else if size == 0 {
                    if next[index] as usize == rows {
                        writer.broadcast_event(StreamElement::EndOfData(StopMode::Drain)).unwrap();
                        next[index] += 1;
                    }
                    writer.finish().unwrap();
                }
            }
            if open.is_none()
                && next.iter().all(|n| *n as usize > rows)
                && writers.iter_mut().all(|w| w.is_settled().unwrap())
            {
                open = Some(gates());
            }
            if let Some(transport) = &hostile {
                for _ in 0..20 {
                    transport.pump();
                }
            }
            for (gate, received) in open.iter_mut().flatten().zip(&mut received) {
                received.drain(gate, self.pace).unwrap();
            }
        }
        drop(open);
        if let Some(transport) = &hostile {
            transport.pump_all();
            assert_eq!(transport.connections(), 0);
        }
        environment.registry().release_job(JOB);
        drop(writers);
        assert!(environment.is_empty(), "{:?}", environment.registry().partitions());
        self.check(&received, total);
        received
    }

    fn rows(&self) -> usize {
        match self.batch_rows {
            1 => 300,
            7 => 3000,
            _ => 40_000,
        }
    }

    fn writer(&self, environment: &ShuffleEnvironment, index: u32) -> ResultPartitionWriter {
        let descriptor = descriptor(self.kind, self.partitioner.clone(), index, self.subpartitions());
        let config = PartitionConfig { store_memory_bytes: 100 << 10, ..PartitionConfig::default() };
        let rng = Rng::from_seed(u64::from(index));
        let mut writer = environment.create_writer(&descriptor, config, Arc::new(Unmetered), rng).unwrap();
        if matches!(self.partitioner, Partitioner::Range { .. }) {
            assert!(!writer.is_available(), "bounds are missing");
            writer.set_range_bounds(&(Arc::new(arrow_array::Int64Array::from(vec![300, 700])) as _)).unwrap();
        }
        writer
    }

    /// What must hold: each row once (or once for each consumer), in order, where it belongs; control behind all rows.
    fn check(&self, received: &[Received], total: i64) {
        let what =
            format!("{:?} {} {} {} {:?}", self.kind, self.partitioner.name(), self.batch_rows, self.pace, self.hostile);
        for consumer in received {
            for channel in 0..PRODUCERS {
                assert!(consumer.of(channel).is_sorted(), "{what}: order on a channel");
                let ends: Vec<_> = consumer.control.iter().filter(|(index, _)| index.0 == channel).collect();
                assert!(
                    matches!(
                        ends[..],
                        [(_, StreamElement::EndOfData(StopMode::Drain)), (_, StreamElement::EndOfPartition)]
                    ),
                    "{what}: {ends:?}"
                );
            }
        }
        if self.partitioner == Partitioner::Broadcast {
            for consumer in received {
                assert_eq!(sorted(consumer.all()), (0..total).collect::<Vec<_>>(), "{what}");
            }
            return;
        }
        let all = received.iter().flat_map(Received::all).collect();
        assert_eq!(sorted(all), (0..total).collect::<Vec<_>>(), "{what}");
        for (index, consumer) in received.iter().enumerate() {
            let index = index as u32;
            let numbers = consumer.all();
            match &self.partitioner {
                Partitioner::Global => assert!(index == 0 || numbers.is_empty(), "{what}"),
                Partitioner::KeyGroup { .. } | Partitioner::Hash { .. } => {
                    for number in numbers.iter().step_by(37) {
                        let hash = hash_batch(&batch(*number, 1), &[0])[0];
                        assert_eq!(subtask_of(key_group_of(hash, 128), CONSUMERS, 128), index, "{what}");
                    }
                }
                Partitioner::Range { .. } => assert!(numbers.iter().all(|n| range_of(*n) == index), "{what}"),
                Partitioner::Custom { .. } => assert!(numbers.iter().all(|n| *n % 3 == i64::from(index)), "{what}"),
                Partitioner::Rebalance | Partitioner::Rescale => {
                    let even = total as usize / CONSUMERS as usize;
                    assert!(numbers.len().abs_diff(even) <= 2 * self.batch_rows, "{what}: {}", numbers.len());
                }
                _ => {}
            }
        }
    }
}

/// By the fixture's key, nulls last, with bounds 300 and 700.
fn range_of(number: i64) -> u32 {
    if number % 97 == 0 {
        return 2;
    }
    match number * 31 % 1000 {
        ..=300 => 0,
        301..=700 => 1,
        _ => 2,
    }
}

fn sorted(mut numbers: Vec<i64>) -> Vec<i64> {
    numbers.sort_unstable();
    numbers
}

fn partitioners() -> Vec<Partitioner> {
    vec![
        Partitioner::Forward,
        Partitioner::Rebalance,
        Partitioner::Rescale,
        Partitioner::Shuffle,
        Partitioner::Broadcast,
        Partitioner::Global,
        Partitioner::KeyGroup { columns: vec![0] },
        Partitioner::Hash { columns: vec![0] },
        Partitioner::Range { column: 0 },
        Partitioner::Custom { name: "by_number".to_owned(), columns: vec![1] },
    ]
}

fn run_all(hostile: Option<u64>) {
    for kind in [PipelinedBounded, Blocking, HybridFull, HybridSelective] {
        for partitioner in partitioners() {
            for batch_rows in [1, 7, 8192] {
                for pace in [1, usize::MAX] {
                    Case { kind, partitioner: partitioner.clone(), batch_rows, pace, hostile }.run();
                }
            }
        }
    }
}

#[test]
fn rows_arrive_once_and_in_order_in_one_process() {
    run_all(None);
}

#[test]
fn rows_arrive_once_and_in_order_through_a_hostile_network() {
    run_all(Some(11));
}

#[test]
fn a_seed_is_a_history() {
    let case = |seed| Case {
        kind: PipelinedBounded,
        partitioner: Partitioner::KeyGroup { columns: vec![0] },
        batch_rows: 7,
        pace: 3,
        hostile: Some(seed),
    };
    let history = |seed| format!("{:?}", case(seed).run());
    assert_eq!(history(1), history(1));
    assert_ne!(history(1), history(2));
}

#[test]
fn a_consumer_that_never_reads_bounds_a_hostile_network_too() {
    let registry = PartitionRegistry::new();
    let transport = HostileTransport::new(Arc::clone(&registry), 5, HostileOptions::default());
    let environment =
        ShuffleEnvironment::with_transport(options(&file_system()), registry, Arc::new(transport.clone()));
    let mut writer =
        writer(&environment, &descriptor(PipelinedBounded, Partitioner::Forward, 0, 1), PartitionConfig::default());
    let mut gate = gate_of(&environment, PipelinedBounded, &[writer.id()], 0..1).unwrap();
    let mut emitted = 0;
    loop {
        transport.pump_all();
        if !writer.is_available() {
            break;
        }
        let _ = writer.emit(batch(emitted, 1000)).unwrap();
        emitted += 1000;
        assert!(emitted < 1_000_000, "nothing stops the producer");
    }
    // Every credit the gate could give is spent, and its frames wait.
    assert!((gate.in_pool_usage() - 1.0).abs() < f32::EPSILON, "{}", gate.in_pool_usage());
    assert!(writer.out_pool_usage() >= 0.8);
    let backlog = gate.backlog();
    assert!(backlog <= 12, "{backlog} frames for 12 credits");
    let frames = gate.snapshot_channel_state(ChannelIndex(0)).unwrap();
    assert_eq!(frames.len(), backlog);
    writer.finish().unwrap();
    let mut received = Received::default();
    while !gate.is_finished() {
        received.drain(&mut gate, 1).unwrap();
        transport.pump_all();
    }
    assert_eq!(received.all(), (0..emitted).collect::<Vec<_>>());
}

struct Nobody;

impl DataListener for Nobody {
    fn data_available(&self) {}

    fn priority_available(&self) {}
}

#[test]
fn a_broken_connection_is_seen_at_both_ends() {
    let mut broken = 0;
    for seed in 0..30 {
        let registry = PartitionRegistry::new();
        let options_ = HostileOptions { break_chance: 0.01, ..HostileOptions::default() };
        let transport = HostileTransport::new(Arc::clone(&registry), seed, options_);
        let environment =
            ShuffleEnvironment::with_transport(options(&file_system()), registry, Arc::new(transport.clone()));
        let mut writer =
            writer(&environment, &descriptor(PipelinedBounded, Partitioner::Forward, 0, 1), PartitionConfig::default());
        let mut gate = gate_of(&environment, PipelinedBounded, &[writer.id()], 0..1).unwrap();
        let mut received = Received::default();
        let (mut produced, mut consumed): (Option<NetworkError>, Option<NetworkError>) = (None, None);
        for start in (0..20_000).step_by(100) {
            if produced.is_none() && writer.is_available() {
                produced = writer.emit(batch(start, 100)).err();
            }
            for _ in 0..10 {
                transport.pump();
            }
            if consumed.is_none() {
                consumed = received.drain(&mut gate, usize::MAX).err();
            }
        }
        // A break in the last steps is seen by the next call of either end.
        produced = produced.or_else(|| writer.emit(batch(20_000, 1)).err());
        consumed = consumed.or_else(|| received.drain(&mut gate, usize::MAX).err());
        if produced.is_none() && consumed.is_some() {
            // The request itself was lost: there was no connection at the producer's end, and there may be one yet.
            assert!(environment.registry().open(writer.id(), 0, Arc::new(Nobody)).is_ok(), "seed {seed}");
        } else {
            assert_eq!(produced.is_some(), consumed.is_some(), "seed {seed}: one end does not know");
        }
        for error in produced.iter().chain(&consumed) {
            assert_eq!(error.failure_kind(), FailureKind::Transient, "{error}");
        }
        broken += usize::from(produced.is_some());
        // What came before the break came in order and without a gap.
        let got = received.all();
        assert!(got.windows(2).all(|pair| pair[1] == pair[0] + 1 || pair[1] % 100 == 0), "seed {seed}");
        drop((writer, gate));
        transport.pump_all();
        environment.registry().release_job(JOB);
        assert!(environment.is_empty());
        assert_eq!(transport.connections(), 0);
    }
    assert!(broken > 20, "{broken} of 30");
}

#[test]
fn a_missing_partition_is_reported_across_a_network() {
    let registry = PartitionRegistry::new();
    let transport = HostileTransport::new(Arc::clone(&registry), 5, HostileOptions::default());
    let environment =
        ShuffleEnvironment::with_transport(options(&file_system()), registry, Arc::new(transport.clone()));
    let mut gate = gate_of(&environment, Blocking, &[partition_id(1, 0, 0)], 0..1).unwrap();
    transport.pump_all();
    let error = gate.poll_next().unwrap_err();
    assert_eq!(error.failure_kind(), FailureKind::PartitionMissing);
    drop(gate);
    transport.pump_all();
    assert_eq!(transport.connections(), 0);
}
