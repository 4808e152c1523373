//! Producers and consumers on threads of their own, each asleep whenever it has nothing to do: a lost wake-up would
//! leave one asleep for ever, which the others notice by never ending.

use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use flumen_core::graph::{Partitioner, ResultPartitionType::PipelinedBounded};

use super::fixture::*;
use crate::*;

const PRODUCERS: u32 = 2;
const CONSUMERS: u32 = 2;
const BATCHES: i64 = 5_000;

/// Wakes a thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn waker() -> Waker {
    Arc::new(Unpark(thread::current())).into()
}

fn produce(environment: &ShuffleEnvironment, index: u32) {
    let config = PartitionConfig {
        segments_per_subpartition: 1,
        floating_segments: 0,
        segments_per_subpartition_max: 1,
        ..PartitionConfig::default()
    };
    let descriptor = descriptor(PipelinedBounded, Partitioner::Rebalance, index, CONSUMERS);
    let mut writer = writer(environment, &descriptor, config);
    writer.set_waker(waker());
    for number in 0..BATCHES {
        while !writer.is_available() {
            thread::park();
        }
        let _ = writer.emit(batch(number, 1)).unwrap();
    }
    writer.finish().unwrap();
}

fn consume(environment: &ShuffleEnvironment, index: u32) -> i64 {
    let ids: Vec<_> = (0..PRODUCERS).map(|producer| partition_id(1, producer, 0)).collect();
    let mut gate = gate_of(environment, PipelinedBounded, &ids, index..index + 1).unwrap();
    gate.set_waker(waker());
    let mut received = Received::default();
    while !gate.is_finished() {
        if received.drain(&mut gate, usize::MAX).unwrap() == 0 {
            thread::park();
        }
    }
    received.all().len() as i64
}

#[test]
fn no_wake_up_is_lost() {
    let environment = Arc::new(environment());
    let (done, ends) = mpsc::channel();
    for index in 0..PRODUCERS {
        let (environment, done) = (Arc::clone(&environment), done.clone());
        thread::spawn(move || {
            produce(&environment, index);
            done.send(0)
        });
    }
    for index in 0..CONSUMERS {
        let (environment, done) = (Arc::clone(&environment), done.clone());
        thread::spawn(move || done.send(consume(&environment, index)));
    }
    let rows: i64 = (0..PRODUCERS + CONSUMERS)
        .map(|_| ends.recv_timeout(Duration::from_secs(120)).expect("a thread sleeps for ever or has panicked"))
        .sum();
    assert_eq!(rows, BATCHES * i64::from(PRODUCERS));
    assert!(environment.is_empty());
}
