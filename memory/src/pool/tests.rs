//! Local pools against each other: guarantees, redistribution, waking, leaks.

use super::network::distribute;
use super::*;
use crate::arena::{Arena, ArenaOptions, PAGE_BYTES};
use crate::{MemoryError, MemorySegment};
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn network(buffers: usize) -> NetworkBufferPool {
    let arena = Arena::new(ArenaOptions::new((buffers * PAGE_BYTES) as u64)).unwrap();
    NetworkBufferPool::new(arena, buffers).unwrap()
}

fn options(min: usize, max: usize) -> BufferPoolOptions {
    BufferPoolOptions::new(format!("pool-{min}-{max}"), min, max)
}

fn take_all(pool: &LocalBufferPool) -> Vec<MemorySegment> {
    std::iter::from_fn(|| pool.try_request()).collect()
}

fn counting(pool: &LocalBufferPool) -> Arc<AtomicUsize> {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    pool.set_listener(Arc::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
    }));
    calls
}

/// By hand from Flink's rule: the spare buffers in proportion to min(spare, max - min), rounded cumulatively.
#[test]
fn distribution() {
    const ALL: usize = usize::MAX;
    let check = |spare, ranges: &[(usize, usize)], expected: &[usize]| {
        assert_eq!(distribute(spare, ranges), expected, "{spare} over {ranges:?}");
    };
    check(10, &[], &[]);
    check(0, &[(2, 9), (3, ALL)], &[2, 3]);
    check(10, &[(5, 5)], &[5]);
    check(10, &[(1, ALL)], &[11]);
    check(10, &[(1, 4), (1, 4)], &[4, 4]);
    check(10, &[(1, ALL), (1, ALL), (1, ALL)], &[4, 4, 5]);
    check(10, &[(0, 5), (2, 2), (0, ALL)], &[3, 2, 7]);
    check(7, &[(0, 3), (0, 3), (0, 8)], &[1, 2, 4]);
}

proptest! {
    #[test]
    fn distribution_keeps_its_bounds(
        spare in 0..10_000_usize,
        ranges in prop::collection::vec((0..100_usize, prop_oneof![0..200_usize, Just(usize::MAX)]), 0..20),
    ) {
        let ranges: Vec<_> = ranges.into_iter().map(|(min, more)| (min, min.saturating_add(more))).collect();
        let sizes = distribute(spare, &ranges);
        let wishes: usize = ranges.iter().map(|(min, max)| (max - min).min(spare)).sum();
        let given: usize = sizes.iter().zip(&ranges).map(|(size, (min, _))| size - min).sum();
        prop_assert_eq!(given, spare.min(wishes), "nothing is kept back, nothing invented");
        for (size, (min, max)) in sizes.iter().zip(&ranges) {
            prop_assert!(min <= size && size <= max);
        }
    }
}

#[test]
fn pools_share_what_is_spare_and_give_it_back() {
    let network = network(10);
    let one = network.create_pool(options(2, usize::MAX)).unwrap();
    assert_eq!(one.size(), 10);
    let two = network.create_pool(options(2, usize::MAX)).unwrap();
    assert_eq!((one.size(), two.size()), (5, 5));
    let exclusive = network.create_exclusive_pool("exclusive", 4).unwrap();
    assert_eq!((one.size(), two.size(), exclusive.size()), (3, 3, 4));
    assert_eq!(network.usage().required, 8);
    drop(two);
    assert_eq!((one.size(), exclusive.size()), (6, 4));
    let held = (take_all(&one), take_all(&exclusive));
    assert_eq!((held.0.len(), held.1.len(), network.usage().in_use), (6, 4, 10));
    drop(held);
    drop((one, exclusive));
    assert_eq!((network.usage().pools, network.usage().required), (0, 0));
    network.verify_empty().unwrap();
}

#[test]
fn minima_beyond_the_total_are_refused_by_name() {
    let network = network(10);
    let _one = network.create_pool(options(7, 8)).unwrap();
    let error = network.create_pool(BufferPoolOptions::new("job/map/gate-0", 4, 4)).unwrap_err();
    assert!(error.to_string().contains("job/map/gate-0 needs at least 4, but only 3 of 10"), "{error}");
    assert!(matches!(error, MemoryError::InsufficientNetworkBuffers { .. }));
    network.create_pool(options(3, 4)).unwrap();
}

#[test]
fn a_pool_that_holds_too_much_gives_way_as_buffers_come_back() {
    let network = network(6);
    let first = network.create_pool(options(1, 6)).unwrap();
    let mut held = take_all(&first);
    assert_eq!(held.len(), 6);
    let second = network.create_pool(options(3, 3)).unwrap();
    let calls = counting(&second);
    assert_eq!((first.size(), second.size()), (3, 3));
    assert!(second.try_request().is_none(), "all are out");
    for back in 1..=3 {
        held.pop();
        assert_eq!(calls.load(Ordering::SeqCst), back, "told once for each refusal");
        held.push(second.try_request().expect("the returned one"));
        held.rotate_right(1);
        assert!(second.try_request().is_none());
    }
    // The second pool has its three; what the first returns now stays with it.
    held.pop();
    assert_eq!((first.in_use(), second.in_use()), (2, 3));
    assert!(first.try_request().is_some());
}

#[test]
fn the_listener_is_called_once_after_each_refusal_and_not_else() {
    let network = network(2);
    let pool = network.create_pool(options(2, 2)).unwrap();
    let calls = counting(&pool);
    let mut held = take_all(&pool);
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    held.clear();
    assert_eq!(calls.load(Ordering::SeqCst), 1, "one refusal, two returns");
    drop(pool.try_request());
    assert_eq!(calls.load(Ordering::SeqCst), 1, "no refusal since");
}

#[test]
fn more_room_by_redistribution_wakes_too() {
    let network = network(4);
    let rival = network.create_pool(options(2, 2)).unwrap();
    let pool = network.create_pool(options(1, 4)).unwrap();
    let calls = counting(&pool);
    let held = take_all(&pool);
    assert_eq!((held.len(), calls.load(Ordering::SeqCst)), (2, 0));
    drop(rival);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(take_all(&pool).len(), 2);
}

#[test]
fn channels_have_limits_and_batches_an_overdraft() {
    let network = network(8);
    let pool = network.create_pool(options(3, 3).with_channel_limit(2).with_overdraft(2)).unwrap();
    let calls = counting(&pool);
    let mut of_seven: Vec<_> = std::iter::from_fn(|| pool.try_request_for(7)).collect();
    assert_eq!(of_seven.len(), 2);
    let of_one = pool.try_request_for(1).expect("another channel is served");
    assert!(pool.try_request_for(1).is_none());
    let over = [pool.try_request_overdraft(Some(1)).unwrap(), pool.try_request_overdraft(None).unwrap()];
    assert!(pool.try_request_overdraft(None).is_none(), "at most two");
    assert_eq!((pool.in_use(), network.usage().in_use), (5, 5));
    drop(over);
    assert_eq!(calls.load(Ordering::SeqCst), 0, "the overdraft goes back to the global pool");
    of_seven.pop();
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert!(pool.try_request_for(7).is_some());
    drop((of_one, of_seven));
    pool.verify_empty().unwrap();
}

#[test]
fn buffers_outlive_their_pool_and_the_leak_check_names_it() {
    let network = network(4);
    let pool = network.create_pool(BufferPoolOptions::new("job/source/partition-0", 2, 4)).unwrap();
    let arrow = pool.try_request().unwrap().freeze(100).into_buffer();
    let segment = pool.try_request().unwrap();
    let text = pool.verify_empty().unwrap_err().to_string();
    assert_eq!(text, "buffer pool job/source/partition-0 is not empty, held by buffers 128 KiB");
    drop(pool);
    let text = network.verify_empty().unwrap_err().to_string();
    assert_eq!(text, "network buffer pool is not empty, held by job/source/partition-0 128 KiB");
    let next = network.create_pool(options(4, 4)).unwrap();
    assert_eq!(take_all(&next).len(), 2, "what the closed pool still holds is missing");
    drop(segment);
    assert_eq!(take_all(&next).len(), 3);
    std::thread::spawn(move || drop(arrow)).join().unwrap();
    assert_eq!(take_all(&next).len(), 4);
    drop(next);
    network.verify_empty().unwrap();
}

#[test]
fn buffers_outlive_the_network_pool() {
    let pool = network(2).create_pool(options(2, 2)).unwrap();
    let buffer = pool.try_request().unwrap().freeze(8).into_buffer();
    drop(pool);
    assert_eq!(buffer.len(), 8);
}

/// Three pools on three threads over too few buffers: everybody gets through by waiting for the listener, and in the
/// end nothing is missing.
#[test]
fn waiting_pools_are_always_woken() {
    let network = network(5);
    std::thread::scope(|scope| {
        for number in 0..3 {
            let pool = network.create_pool(options(1, 5)).unwrap();
            scope.spawn(move || {
                let (wake, woken) = std::sync::mpsc::channel();
                pool.set_listener(Arc::new(move || {
                    // The receiver is gone once this pool's thread is done.
                    let _ = wake.send(());
                }));
                let mut held = Vec::new();
                for round in 0..20_000 {
                    let segment = loop {
                        match pool.try_request() {
                            Some(segment) => break segment,
                            None if held.is_empty() => {
                                woken.recv_timeout(std::time::Duration::from_secs(20)).expect("woken in time");
                            }
                            // Let the others have something.
                            None => held.clear(),
                        }
                    };
                    held.push(segment);
                    if (round + number) % 3 == 0 {
                        held.clear();
                    }
                }
            });
        }
    });
    network.verify_empty().unwrap();
}
