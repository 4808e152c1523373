//! Stored partitions: spilling, re-reading, failing disks, nothing left behind.

use std::sync::Arc;

use flumen_core::failure::FailureKind;
use flumen_core::graph::Partitioner;
use flumen_core::graph::ResultPartitionType::{self, Blocking, HybridFull, HybridSelective, PipelinedBounded};
use flumen_core::meter::{MemoryMeter, Unmetered};
use flumen_core::waiting::BlockingExecutor;
use flumen_io::{Fault, Operation, Rng};
use parking_lot::Mutex;

use super::fixture::*;
use crate::*;

/// Runs the work when the test says so.
#[derive(Default)]
struct Deferred(Mutex<Vec<Box<dyn FnOnce() + Send>>>);

impl BlockingExecutor for Deferred {
    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.0.lock().push(work);
    }
}

impl Deferred {
    fn run(&self) -> usize {
        let work = std::mem::take(&mut *self.0.lock());
        let count = work.len();
        work.into_iter().for_each(|work| work());
        count
    }
}

fn small() -> PartitionConfig {
    PartitionConfig { store_memory_bytes: 64 << 10, ..PartitionConfig::default() }
}

fn fill(writer: &mut ResultPartitionWriter) {
    for start in (0..20_000).step_by(1000) {
        let _ = writer.emit(batch(start, 1000)).unwrap();
    }
}

fn hash() -> Partitioner {
    Partitioner::Hash { columns: vec![0] }
}

fn read_all(
    environment: &ShuffleEnvironment,
    kind: ResultPartitionType,
    id: flumen_core::ids::ResultPartitionId,
) -> Vec<Vec<i64>> {
    (0..3)
        .map(|subpartition| {
            let mut gate = gate_of(environment, kind, &[id], subpartition..subpartition + 1).unwrap();
            let mut received = Received::default();
            received.drain(&mut gate, usize::MAX).unwrap();
            assert!(gate.is_finished());
            received.all()
        })
        .collect()
}

#[test]
fn stored_rows_can_be_read_again() {
    for (kind, rows, spills) in
        [(Blocking, 100, true), (Blocking, 50_000, true), (HybridFull, 100, false), (HybridFull, 50_000, true)]
    {
        let environment = environment();
        let mut writer = writer(&environment, &descriptor(kind, hash(), 0, 3), small());
        for start in (0..rows).step_by(1000) {
            assert!(writer.is_available(), "the disk is as fast as the producer");
            let _ = writer.emit(batch(start, 1000.min(rows as usize))).unwrap();
        }
        writer.finish().unwrap();
        assert!(writer.is_settled().unwrap());
        let rows = rows.max(100);
        assert_eq!(environment.spilled_bytes() > 0, spills, "{kind:?} {rows}");
        let first = read_all(&environment, kind, writer.id());
        assert!(first.iter().all(|numbers| numbers.is_sorted() && !numbers.is_empty()));
        let mut all = first.concat();
        all.sort_unstable();
        assert_eq!(all, (0..rows).collect::<Vec<_>>());
        assert_eq!(read_all(&environment, kind, writer.id()), first);
        assert!(!environment.is_empty());
        environment.registry().release(writer.id());
        drop(writer);
        assert!(environment.is_empty());
    }
}

#[test]
fn blocking_waits_for_its_end() {
    let environment = environment();
    let mut writer = writer(&environment, &descriptor(Blocking, hash(), 0, 3), small());
    let missing = gate_of(&environment, Blocking, &[partition_id(9, 9, 9)], 0..1).unwrap_err();
    assert_eq!(missing.failure_kind(), FailureKind::PartitionMissing);
    let _ = writer.emit(batch(0, 10)).unwrap();
    assert!(matches!(gate_of(&environment, Blocking, &[writer.id()], 0..1), Err(NetworkError::NotFinished { .. })));
    writer.finish().unwrap();
    assert!(gate_of(&environment, Blocking, &[writer.id()], 0..3).is_ok());
    assert!(matches!(
        gate_of(&environment, Blocking, &[writer.id()], 3..4),
        Err(NetworkError::SubpartitionOutOfRange { .. })
    ));
}

#[test]
fn a_range_of_subpartitions_is_read_by_one_consumer() {
    let environment = environment();
    let mut writer = writer(&environment, &descriptor(Blocking, hash(), 0, 3), small());
    let _ = writer.emit(batch(0, 5000)).unwrap();
    writer.finish().unwrap();
    let mut gate = gate_of(&environment, Blocking, &[writer.id()], 1..3).unwrap();
    assert_eq!(gate.channels(), 2);
    let mut received = Received::default();
    received.drain(&mut gate, usize::MAX).unwrap();
    let parts = read_all(&environment, Blocking, writer.id());
    assert_eq!((received.of(0), received.of(1)), (parts[1].clone(), parts[2].clone()));
}

#[test]
fn selective_spills_only_what_is_left() {
    for fast in [true, false] {
        let environment = environment();
        let mut writer = writer(&environment, &descriptor(HybridSelective, Partitioner::Forward, 0, 1), small());
        let mut gate = gate_of(&environment, HybridSelective, &[writer.id()], 0..1).unwrap();
        let mut received = Received::default();
        for start in (0..50_000).step_by(500) {
            let _ = writer.emit(batch(start, 500)).unwrap();
            if fast {
                received.drain(&mut gate, usize::MAX).unwrap();
                assert_eq!(environment.spilled_bytes(), 0);
            }
        }
        writer.finish().unwrap();
        assert_eq!(environment.spilled_bytes() == 0, fast);
        received.drain(&mut gate, usize::MAX).unwrap();
        assert_eq!(received.all(), (0..50_000).collect::<Vec<_>>());
        assert_eq!(environment.spilled_bytes(), 0, "what was read is given back");
        let again = gate_of(&environment, HybridSelective, &[writer.id()], 0..1).unwrap_err();
        assert_eq!(again.failure_kind(), FailureKind::PartitionMissing);
        environment.registry().release_job(JOB);
        assert!(environment.is_empty());
    }
}

#[test]
fn slow_disks_make_the_producer_wait_and_block_nobody() {
    for kind in [Blocking, HybridFull, HybridSelective] {
        let disk = Arc::new(Deferred::default());
        let options = EnvironmentOptions { blocking: disk.clone(), ..options(&file_system()) };
        let environment = ShuffleEnvironment::local(options);
        let mut writer = writer(&environment, &descriptor(kind, Partitioner::Forward, 0, 1), small());
        let (producer, waker) = Wakes::waker();
        writer.set_waker(waker);
        let mut emitted = 0;
        while writer.is_available() {
            let _ = writer.emit(batch(emitted, 100)).unwrap();
            emitted += 100;
            assert!(emitted < 1_000_000);
        }
        assert!(writer.out_pool_usage() < 1.5);
        assert_eq!(producer.count(), 0);
        assert_eq!(disk.run(), 1);
        assert!(producer.count() > 0);
        assert!(writer.is_available());
        writer.finish().unwrap();
        while !writer.is_settled().unwrap() {
            assert!(disk.run() > 0, "somebody works on it");
        }
        let mut gate = gate_of(&environment, kind, &[writer.id()], 0..1).unwrap();
        let (consumer, waker) = Wakes::waker();
        gate.set_waker(waker);
        let mut received = Received::default();
        while !gate.is_finished() {
            if received.drain(&mut gate, usize::MAX).unwrap() == 0 {
                let wakes = consumer.count();
                assert!(disk.run() > 0, "a read is under way");
                assert!(consumer.count() > wakes);
            }
        }
        assert_eq!(received.all(), (0..emitted).collect::<Vec<_>>());
    }
}

#[test]
fn failing_disks_are_errors_at_both_ends() {
    for kind in [Blocking, HybridFull, HybridSelective] {
        let files = file_system();
        let environment = ShuffleEnvironment::local(options(&files));
        let mut full = writer(&environment, &descriptor(kind, Partitioner::Forward, 0, 1), small());
        files.inject(Operation::Write, 0, Fault::StorageFull);
        let mut error = None;
        for start in (0..1000).map(|i| i * 1000) {
            assert!(full.is_available(), "a failed writer takes the next call");
            if let Err(failed) = full.emit(batch(start, 1000)) {
                error = Some(failed);
                break;
            }
        }
        let error = error.unwrap();
        assert_eq!(error.failure_kind(), FailureKind::Transient, "{error}");
        assert!(full.is_settled().is_err());
        environment.registry().release_job(JOB);
        drop(full);

        let mut writer = writer(&environment, &descriptor(kind, Partitioner::Forward, 0, 1), small());
        fill(&mut writer);
        writer.finish().unwrap();
        files.inject(Operation::Read, 0, Fault::Failed);
        let mut gate = gate_of(&environment, kind, &[writer.id()], 0..1).unwrap();
        let error = Received::default().drain(&mut gate, usize::MAX).unwrap_err();
        assert_eq!(error.failure_kind(), FailureKind::Transient, "{error}");
        environment.registry().release_job(JOB);
        drop((writer, gate));
        assert!(environment.is_empty());
    }
}

#[test]
fn released_partitions_leave_no_file() {
    let files = file_system();
    let environment = ShuffleEnvironment::local(options(&files));
    let mut writer = writer(&environment, &descriptor(Blocking, hash(), 0, 3), small());
    fill(&mut writer);
    writer.finish().unwrap();
    let mut gate = gate_of(&environment, Blocking, &[writer.id()], 0..1).unwrap();
    assert!(gate.poll_next().unwrap().is_some());
    environment.registry().release(writer.id());
    let error = Received::default().drain(&mut gate, usize::MAX).unwrap_err();
    assert_eq!(error.failure_kind(), FailureKind::PartitionMissing);
    drop((gate, writer));
    assert!(environment.is_empty());
    assert_eq!((files.paths(), files.handles_open()), (vec!["/spill".into()], 0), "the directory, and nothing in it");
}

#[test]
fn a_producer_whose_consumers_have_all_ended_goes_on_without_keeping_anything() {
    for partition_type in [HybridFull, HybridSelective] {
        let environment = environment();
        let mut writer = writer(&environment, &descriptor(partition_type, hash(), 0, 3), small());
        let _ = writer.emit(batch(0, 100)).unwrap();
        assert!(!writer.is_closed());
        // The consumers had enough (a LIMIT) and finished, so the scheduler releases what they read from.
        environment.registry().release(writer.id());
        assert!(writer.is_closed() && writer.is_available());
        let _ = writer.emit(batch(100, 100)).unwrap();
        writer.finish().unwrap();
        assert!(writer.is_settled().unwrap());
        assert!(environment.is_empty());
    }
}

/// Refuses more than a limit.
struct Limited(usize);

impl MemoryMeter for Limited {
    fn resize(&self, from: usize, to: usize) -> std::result::Result<(), flumen_core::failure::Failure> {
        if to > from && to > self.0 { Err(flumen_core::failure::Failure::transient("full")) } else { Ok(()) }
    }
}

#[test]
fn refused_memory_is_answered_by_writing() {
    let environment = environment();
    let descriptor = descriptor(HybridFull, hash(), 0, 3);
    let config = PartitionConfig { batch_rows: 100, ..PartitionConfig::default() };
    let mut writer =
        environment.create_writer(&descriptor, config, Arc::new(Limited(10_000)), Rng::from_seed(1)).unwrap();
    for start in (0..20_000).step_by(100) {
        assert!(writer.is_available());
        let _ = writer.emit(batch(start, 100)).unwrap();
        assert!(writer.out_pool_usage() * (32 << 20) as f32 <= 30_000.0);
    }
    writer.finish().unwrap();
    assert!(environment.spilled_bytes() > 0);
    let mut all = read_all(&environment, HybridFull, writer.id()).concat();
    all.sort_unstable();
    assert_eq!(all, (0..20_000).collect::<Vec<_>>());
}

#[test]
fn pipelined_partitions_share_the_network_buffers() {
    let options = EnvironmentOptions { buffers: network_buffers(5), ..options(&file_system()) };
    let buffers = options.buffers.clone();
    let environment = ShuffleEnvironment::local(options);
    let descriptor = |index| {
        let id = partition_id(5, index, 0);
        PartitionDescriptor { id, ..descriptor(PipelinedBounded, hash(), 0, 3) }
    };
    let create = |index| {
        let unmetered = Arc::new(Unmetered);
        environment.create_writer(&descriptor(index), PartitionConfig::default(), unmetered, Rng::from_seed(1))
    };
    let first = create(0).unwrap();
    let second = create(1).unwrap();
    let refused = create(2).unwrap_err();
    assert!(matches!(refused, NetworkError::Buffers { .. }), "{refused}");
    assert_eq!(refused.failure_kind(), FailureKind::User);
    assert_eq!(buffers.usage().pools, 2);
    environment.registry().release(first.id());
    drop(first);
    let _third = create(2).unwrap();
    drop(second);
}
