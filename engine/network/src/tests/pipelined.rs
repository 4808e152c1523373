//! Pipelined partitions: bounds, wake-ups, order, failure of either end.

use flumen_core::element::StreamElement;
use flumen_core::failure::FailureKind;
use flumen_core::graph::{Partitioner, ResultPartitionType::PipelinedBounded};
use flumen_core::time::Watermark;

use super::fixture::*;
use crate::*;

#[test]
fn rows_arrive_once_and_in_order() {
    let environment = environment();
    let mut writer =
        writer(&environment, &descriptor(PipelinedBounded, Partitioner::Forward, 0, 1), Default::default());
    let mut gate = gate_of(&environment, PipelinedBounded, &[writer.id()], 0..1).unwrap();
    let (wakes, waker) = Wakes::waker();
    gate.set_waker(waker);
    let mut received = Received::default();
    for start in (0..100).step_by(10) {
        assert!(writer.is_available());
        let _ = writer.emit(batch(start, 10)).unwrap();
        received.drain(&mut gate, 1).unwrap();
    }
    assert!(wakes.count() > 0);
    writer.broadcast_event(StreamElement::Watermark(Watermark::MAX)).unwrap();
    writer.finish().unwrap();
    received.drain(&mut gate, usize::MAX).unwrap();
    assert_eq!(received.all(), (0..100).collect::<Vec<_>>());
    assert!(matches!(received.control[0].1, StreamElement::Watermark(Watermark::MAX)));
    assert!(gate.is_finished());
    assert!(environment.is_empty(), "a consumed partition is forgotten");
}

#[test]
fn a_consumer_that_never_reads_bounds_the_producer() {
    let environment = environment();
    let partitioner = Partitioner::KeyGroup { columns: vec![0] };
    let mut writer = writer(&environment, &descriptor(PipelinedBounded, partitioner, 0, 3), Default::default());
    let mut gates: Vec<_> =
        (0..3).map(|i| gate_of(&environment, PipelinedBounded, &[writer.id()], i..i + 1).unwrap()).collect();
    let (wakes, waker) = Wakes::waker();
    writer.set_waker(waker);
    let mut emitted = 0;
    while writer.is_available() {
        let _ = writer.emit(batch(emitted, 8192)).unwrap();
        emitted += 8192;
        assert!(emitted < 10_000_000, "the producer is never told to stop");
    }
    let limit = (3 * 4 + 8) * (64 << 10);
    let one_batch = 8192 * 80;
    let held = writer.counters().bytes.load(std::sync::atomic::Ordering::Relaxed) as usize;
    assert!(held <= limit + one_batch, "{held}");
    assert_eq!(wakes.count(), 0);
    // One subpartition at its limit is enough to stop; it is woken when that one is read.
    let mut received: Vec<_> = gates.iter().map(|_| Received::default()).collect();
    for (gate, received) in gates.iter_mut().zip(&mut received) {
        received.drain(gate, usize::MAX).unwrap();
    }
    assert!(wakes.count() > 0);
    assert!(writer.is_available());
    writer.finish().unwrap();
    for (gate, received) in gates.iter_mut().zip(&mut received) {
        received.drain(gate, usize::MAX).unwrap();
        assert!(received.all().is_sorted(), "order within a channel");
    }
    let mut all: Vec<_> = received.iter().flat_map(Received::all).collect();
    all.sort_unstable();
    assert_eq!(all, (0..emitted).collect::<Vec<_>>());
    drop(gates);
    assert!(environment.is_empty());
}

#[test]
fn a_consumer_may_come_before_its_producer() {
    let environment = environment();
    let descriptor = descriptor(PipelinedBounded, Partitioner::Forward, 0, 1);
    let mut gate = gate_of(&environment, PipelinedBounded, &[descriptor.id], 0..1).unwrap();
    assert!(gate.poll_next().unwrap().is_none());
    let (wakes, waker) = Wakes::waker();
    gate.set_waker(waker);
    environment.registry().expire_waiting();
    let mut writer = writer(&environment, &descriptor, Default::default());
    assert_eq!(wakes.count(), 1);
    let _ = writer.emit(batch(0, 3)).unwrap();
    writer.finish().unwrap();
    let mut received = Received::default();
    received.drain(&mut gate, usize::MAX).unwrap();
    assert_eq!(received.all(), [0, 1, 2]);
}

#[test]
fn a_request_that_waits_too_long_fails() {
    let environment = environment();
    let mut gate = gate_of(&environment, PipelinedBounded, &[partition_id(1, 0, 0)], 0..1).unwrap();
    environment.registry().expire_waiting();
    assert!(gate.poll_next().unwrap().is_none());
    environment.registry().expire_waiting();
    let error = gate.poll_next().unwrap_err();
    assert_eq!(error.failure_kind(), FailureKind::PartitionMissing);
    assert_eq!(error.unreadable(), Some(partition_id(1, 0, 0)));
    drop(gate);
    assert!(environment.is_empty());
}

#[test]
fn both_ends_learn_of_a_failure() {
    let environment = environment();
    let forward = descriptor(PipelinedBounded, Partitioner::Forward, 0, 1);
    let mut first = writer(&environment, &forward, Default::default());
    let mut gate = gate_of(&environment, PipelinedBounded, &[first.id()], 0..1).unwrap();
    let _ = first.emit(batch(0, 3)).unwrap();
    first.fail("disk on fire");
    let error = gate.poll_next().unwrap_err();
    assert!(error.to_string().contains("disk on fire"), "{error}");
    environment.registry().release(forward.id);
    drop((first, gate));

    // A writer that is dropped before it finished has failed, too.
    let second = writer(&environment, &forward, Default::default());
    let mut gate = gate_of(&environment, PipelinedBounded, &[forward.id], 0..1).unwrap();
    drop(second);
    assert!(gate.poll_next().is_err());
    environment.registry().release_job(JOB);

    let mut third = writer(&environment, &forward, Default::default());
    let mut gate = gate_of(&environment, PipelinedBounded, &[forward.id], 0..1).unwrap();
    gate.fail("consumer panicked");
    assert!(third.is_available(), "so that the error is seen");
    let error = third.emit(batch(0, 1)).unwrap_err();
    assert_eq!(error.failure_kind(), FailureKind::Transient);
    assert!(error.to_string().contains("consumer panicked"), "{error}");
    environment.registry().release_attempt(forward.id.producer);
    assert!(environment.is_empty());
}

/// Otherwise a job that restarts often holds the buffers of all its former attempts.
#[test]
fn a_failed_attempt_gives_back_what_nobody_will_read_and_its_readers_hear_why() {
    let environment = environment();
    let forward = descriptor(PipelinedBounded, Partitioner::Forward, 0, 1);
    let mut writer = writer(&environment, &forward, Default::default());
    let mut gate = gate_of(&environment, PipelinedBounded, &[forward.id], 0..1).unwrap();
    let _ = writer.emit(batch(0, 3)).unwrap();
    environment.registry().release_attempt(forward.id.producer);
    assert!(environment.is_empty());
    let error = gate.poll_next().unwrap_err();
    assert_eq!(error.failure_kind(), FailureKind::ProducerFailed, "{error}");
    drop((writer, gate));
}

#[test]
fn a_consumer_that_has_enough_ends_the_producer_in_peace() {
    let environment = environment();
    let mut writer =
        writer(&environment, &descriptor(PipelinedBounded, Partitioner::Rebalance, 0, 2), Default::default());
    let gates: Vec<_> =
        (0..2).map(|i| gate_of(&environment, PipelinedBounded, &[writer.id()], i..i + 1).unwrap()).collect();
    let _ = writer.emit(batch(0, 10)).unwrap();
    assert!(!writer.is_closed());
    drop(gates);
    assert!(writer.is_closed());
    let _ = writer.emit(batch(0, 10)).unwrap();
    assert!(writer.is_available());
    writer.finish().unwrap();
    assert!(environment.is_empty());
}

#[test]
fn blocked_channels_wait_and_lose_nothing() {
    let environment = environment();
    let mut writers: Vec<_> = (0..2)
        .map(|i| writer(&environment, &descriptor(PipelinedBounded, Partitioner::Forward, i, 1), Default::default()))
        .collect();
    let ids: Vec<_> = writers.iter().map(ResultPartitionWriter::id).collect();
    let mut gate = gate_of(&environment, PipelinedBounded, &ids, 0..1).unwrap();
    gate.block_channel(ChannelIndex(0));
    for writer in &mut writers {
        let _ = writer.emit(batch(0, 5)).unwrap();
        let _ = writer.emit(batch(5, 5)).unwrap();
        writer.finish().unwrap();
    }
    let mut received = Received::default();
    received.drain(&mut gate, usize::MAX).unwrap();
    assert_eq!((received.of(0), received.of(1)), (vec![], (0..10).collect()));
    gate.resume();
    received.drain(&mut gate, usize::MAX).unwrap();
    assert_eq!(received.of(0), (0..10).collect::<Vec<_>>());
    assert!(gate.is_finished());
}
