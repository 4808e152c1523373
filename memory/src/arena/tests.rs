//! The arena with real threads and memory; its interleavings are modelled in `loom_tests`.

use super::*;
use crate::MemorySegment;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::mpsc;

fn arena(pages: usize) -> Arena {
    Arena::new(ArenaOptions::new((pages * PAGE_BYTES) as u64)).unwrap()
}

/// Lets a thread end and waits for its thread-local destructors too: `join` returns after they have run.
fn on_thread<R: Send>(act: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| scope.spawn(act).join().expect("the thread did not panic"))
}

#[test]
fn every_page_can_be_had_and_no_more() {
    let arena = arena(70);
    for _ in 0..3 {
        let held: Vec<_> = (0..70).map(|_| arena.allocate(1).unwrap()).collect();
        let error = arena.allocate(1).unwrap_err();
        assert!(matches!(error, MemoryError::ArenaExhausted { pages_used: 70, run_pages_longest: 0, .. }), "{error}");
        assert!(error.is_exhaustion());
        assert_eq!(arena.usage().pages_used, 70);
        drop(held);
        arena.verify_empty().unwrap();
    }
}

#[test]
fn runs_have_1_to_32_pages() {
    let arena = arena(64);
    for pages in [0, 33, usize::MAX] {
        assert!(matches!(arena.allocate(pages), Err(MemoryError::RunTooLong { .. })), "{pages}");
        assert!(arena.try_allocate(pages).is_none());
    }
    let both = [arena.allocate(32).unwrap(), arena.allocate(32).unwrap()];
    assert_eq!(both[0].as_slice().as_ptr() as usize % (2 << 20), 0, "a whole slab is a whole huge page");
    assert!(arena.allocate(1).is_err());
}

#[test]
fn scattered_pages_refuse_a_run_and_say_so() {
    let arena = arena(32);
    let mut held: Vec<_> = (0..32).map(|_| arena.allocate(1).unwrap()).collect();
    held.sort_by_key(|segment| segment.as_slice().as_ptr());
    let mut at = 0;
    held.retain(|_| {
        at += 1;
        at % 2 == 0
    });
    let error = arena.allocate(2).unwrap_err();
    assert!(matches!(error, MemoryError::ArenaExhausted { pages_used: 16, run_pages_longest: 1, .. }), "{error}");
    drop(held);
    // The pages lie in this thread's magazine now and are drained for the run.
    assert_eq!(arena.allocate(32).unwrap().pages(), 32);
}

#[test]
fn sizes_that_cannot_be_are_errors() {
    for bytes in [0, u64::MAX, 1 << 60] {
        let error = Arena::new(ArenaOptions::new(bytes)).unwrap_err();
        assert!(matches!(error, MemoryError::Reserve { .. }), "{bytes}: {error}");
    }
    let rounded = Arena::new(ArenaOptions::new(1).with_huge_pages(false)).unwrap();
    assert_eq!(rounded.pages_total(), 1);
    rounded.prefault(u64::MAX).unwrap();
}

#[test]
fn reserving_costs_nothing_and_recycled_pages_are_used_first() {
    let arena = Arena::new(ArenaOptions::new(1 << 40)).unwrap();
    for _ in 0..10_000 {
        let segments: Vec<_> = (0..20).map(|_| arena.allocate(1).unwrap()).collect();
        let run = arena.allocate(16).unwrap();
        drop((segments, run));
    }
    assert!(arena.usage().pages_carved <= 4 * RUN_PAGES_MAX, "{:?}", arena.usage());
}

#[test]
fn promises_add_up_to_the_arena() {
    let arena = arena(10);
    arena.promise(6).unwrap();
    let error = arena.promise(5).unwrap_err();
    assert!(matches!(error, MemoryError::ArenaOverbooked { pages: 5, promised: 6, total: 10 }), "{error}");
    arena.promise(4).unwrap();
    arena.withdraw_promise(6);
    arena.promise(6).unwrap();
}

#[test]
fn a_thread_that_ends_returns_its_pages() {
    let arena = arena(100);
    on_thread(|| {
        let held: Vec<_> = (0..20).map(|_| arena.allocate(1).unwrap()).collect();
        drop(held);
        assert!(arena.usage().pages_in_magazines >= 20, "{:?}", arena.usage());
    });
    assert_eq!(arena.usage().pages_in_magazines, 0);
    arena.verify_empty().unwrap();
}

#[test]
fn pages_in_an_idle_threads_magazine_are_not_lost() {
    let arena = arena(20);
    let (ready, is_ready) = mpsc::channel();
    let (done, is_done) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let other = arena.clone();
        scope.spawn(move || {
            drop((0..20).map(|_| other.allocate(1).unwrap()).collect::<Vec<_>>());
            ready.send(other.usage().pages_in_magazines).unwrap();
            // Idle, but alive, until the other side is done.
            is_done.recv().unwrap_err();
        });
        assert_eq!(is_ready.recv().unwrap(), 20);
        let held: Vec<_> = (0..20).map(|_| arena.allocate(1).unwrap()).collect();
        assert_eq!(held.len(), 20);
        drop(done);
    });
}

#[test]
fn pages_wander_between_threads_and_all_come_back() {
    let arena = arena(200);
    let (send, receive) = mpsc::channel::<MemorySegment>();
    std::thread::scope(|scope| {
        for producer in 0..3_u64 {
            let (arena, send) = (arena.clone(), send.clone());
            scope.spawn(move || {
                for value in 0..20_000 {
                    // A queue without bounds can hold every page: then the consumer is behind.
                    let mut segment = loop {
                        match arena.try_allocate(1) {
                            Some(segment) => break segment,
                            None => std::thread::yield_now(),
                        }
                    };
                    let words = segment.as_mut_slice_of::<u64>();
                    (words[0], words[8191]) = (producer << 32 | value, value);
                    send.send(segment).unwrap();
                }
            });
        }
        drop(send);
        let mut next = [0; 3];
        for segment in receive {
            let words = segment.as_slice_of::<u64>();
            let (producer, value) = ((words[0] >> 32) as usize, words[0] & 0xffff_ffff);
            assert_eq!((value, words[8191]), (next[producer], value), "nobody else wrote to it");
            next[producer] += 1;
        }
        assert_eq!(next, [20_000; 3]);
    });
    arena.verify_empty().unwrap();
}

#[test]
fn segments_outlive_the_handle_on_many_threads() {
    for _ in 0..200 {
        let arena = arena(8);
        let barrier = Barrier::new(5);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let held = [arena.allocate(1).unwrap(), arena.allocate(1).unwrap()];
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    for mut segment in held {
                        segment.as_mut_slice()[PAGE_BYTES - 1] = 1;
                    }
                });
            }
            barrier.wait();
            drop(arena);
        });
    }
}

#[test]
fn a_thread_local_segment_returns_while_its_thread_ends() {
    thread_local! {
        static KEPT: std::cell::RefCell<Option<MemorySegment>> = const { std::cell::RefCell::new(None) };
    }
    let arena = arena(2);
    on_thread(|| {
        // Registered in both orders of destruction: before and after the magazine.
        KEPT.with(|kept| *kept.borrow_mut() = None);
        KEPT.set(Some(arena.allocate(1).unwrap()));
    });
    on_thread(|| {
        drop(arena.allocate(1).unwrap());
        KEPT.set(Some(arena.allocate(1).unwrap()));
    });
    arena.verify_empty().unwrap();
}

#[derive(Debug, Clone)]
enum Step {
    Allocate(usize),
    Release(prop::sample::Index),
    OnThread(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => prop_oneof![3 => Just(1), 1 => 2..=RUN_PAGES_MAX].prop_map(Step::Allocate),
        4 => any::<prop::sample::Index>().prop_map(Step::Release),
        1 => (1..40_usize).prop_map(Step::OnThread),
    ];
    prop::collection::vec(step, 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Segments never overlap; a single page is refused only when none is free; all is free at the end.
    #[test]
    fn segments_never_overlap(pages in 1..130_usize, steps in steps()) {
        let arena = arena(pages);
        let mut held: Vec<MemorySegment> = Vec::new();
        for step in steps {
            let used: usize = held.iter().map(MemorySegment::pages).sum();
            match step {
                Step::Allocate(count) => match arena.try_allocate(count) {
                    Some(segment) => held.push(segment),
                    None => prop_assert!(count > 1 || used == pages),
                },
                Step::Release(index) if !held.is_empty() => drop(held.swap_remove(index.index(held.len()))),
                Step::Release(_) => {}
                Step::OnThread(count) => {
                    let taken = on_thread(|| (0..count).map_while(|_| arena.try_allocate(1)).collect::<Vec<_>>());
                    prop_assert_eq!(taken.len(), count.min(pages - used));
                    held.extend(taken);
                }
            }
            let mut ranges = BTreeMap::new();
            for segment in &held {
                ranges.insert(segment.as_slice().as_ptr() as usize, segment.size());
            }
            prop_assert_eq!(ranges.len(), held.len());
            let mut end = 0;
            for (start, size) in ranges {
                prop_assert!(start >= end);
                end = start + size;
            }
            prop_assert_eq!(arena.usage().pages_used, held.iter().map(MemorySegment::pages).sum::<usize>());
        }
        drop(held);
        arena.verify_empty().unwrap();
    }
}
