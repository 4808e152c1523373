//! Budgets, refusals, revocation and leaks.

use super::*;
use crate::arena::{Arena, ArenaOptions, PAGE_BYTES};
use crate::{MemoryError, Refusal};
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

const PAGE: u64 = PAGE_BYTES as u64;

fn manager(pages: u64) -> MemoryManager {
    MemoryManager::new(Arena::new(ArenaOptions::new(pages * PAGE)).unwrap(), pages * PAGE).unwrap()
}

fn refusal(error: MemoryError) -> Refusal {
    match error {
        MemoryError::ReservationRefused(refusal) => *refusal,
        other => panic!("not a refusal: {other}"),
    }
}

#[test]
fn a_reservation_grows_shrinks_and_returns_all() {
    let manager = manager(10);
    let reservation = manager.budget("job", u64::MAX).child("task", u64::MAX).reserve("join");
    assert_eq!(reservation.name(), "job/task/join");
    let check = |bytes: u64, pages: u64| {
        assert_eq!((reservation.bytes(), manager.used_bytes()), (bytes, pages * PAGE));
    };
    reservation.try_grow(1).unwrap();
    check(1, 1);
    reservation.try_grow(PAGE - 1).unwrap();
    check(PAGE, 1);
    reservation.try_grow(1).unwrap();
    check(PAGE + 1, 2);
    reservation.resize(10 * PAGE).unwrap();
    check(10 * PAGE, 10);
    assert!(reservation.try_grow(1).is_err());
    check(10 * PAGE, 10);
    assert_eq!(reservation.shrink(9 * PAGE + 1), 9 * PAGE + 1);
    check(PAGE - 1, 1);
    assert_eq!(reservation.shrink(u64::MAX), PAGE - 1, "no more than is held");
    check(0, 0);
    reservation.resize(3 * PAGE).unwrap();
    assert!(reservation.try_grow(u64::MAX).is_err(), "no overflow");
    assert_eq!(reservation.peak_bytes(), 10 * PAGE);
    drop(reservation);
    assert_eq!(manager.used_bytes(), 0);
    manager.verify_empty().unwrap();
}

#[test]
fn every_level_has_its_limit_and_the_refusal_names_it() {
    let manager = manager(100);
    let job = manager.budget("job", 50 * PAGE);
    let other = manager.budget("other", u64::MAX).reserve("sort");
    let (small, large) = (job.child("map", 10 * PAGE), job.child("reduce", u64::MAX));
    assert_eq!((large.limit_bytes(), manager.limit_bytes()), (50 * PAGE, 100 * PAGE));
    let (a, b, c) = (small.reserve("a"), large.reserve("b"), large.reserve("c"));
    a.try_grow(4 * PAGE).unwrap();
    let refused = refusal(a.try_grow(7 * PAGE).unwrap_err());
    assert_eq!((refused.budget.as_str(), refused.limit_bytes, refused.used_bytes), ("job/map", 10 * PAGE, 4 * PAGE));

    b.try_grow(30 * PAGE).unwrap();
    c.try_grow(10 * PAGE).unwrap();
    let error = c.try_grow(7 * PAGE).unwrap_err();
    assert!(error.to_string().contains("held by job/reduce/b 1.9 MiB, job/reduce/c 640 KiB, job/map/a 256 KiB"));
    let refused = refusal(error);
    assert_eq!((refused.reservation.as_str(), refused.budget.as_str()), ("job/reduce/c", "job"));
    assert_eq!(refused.revoking_bytes, 0, "nobody can give back");

    other.try_grow(56 * PAGE).unwrap();
    let refused = refusal(b.try_grow(PAGE).unwrap_err());
    assert_eq!((refused.budget.as_str(), refused.consumers.len()), ("managed memory", 4));
    assert_eq!(refused.consumers[0], crate::Holder::new("other/sort", 56 * PAGE));
    assert_eq!(job.peak_bytes(), 44 * PAGE);
}

#[test]
fn a_limit_that_is_not_whole_pages_is_used_to_its_end() {
    let manager = manager(10);
    let reservation = manager.budget("job", PAGE + 100).reserve("a");
    reservation.try_grow(PAGE + 100).unwrap();
    assert_eq!(manager.used_bytes(), PAGE + 100);
    assert!(reservation.try_grow(1).is_err());
    reservation.shrink(100);
    assert_eq!(manager.used_bytes(), PAGE);
}

#[test]
fn segments_are_charged_until_their_last_share_is_gone() {
    let manager = manager(8);
    let job = manager.budget("job", u64::MAX);
    let reservation = job.reserve("aggregate");
    let segment = reservation.allocate(3).unwrap();
    reservation.try_grow(PAGE).unwrap();
    assert_eq!((reservation.bytes(), reservation.bytes_with_segments()), (PAGE, 4 * PAGE));
    let refused = refusal(reservation.allocate(5).unwrap_err());
    assert_eq!(refused.requested_bytes, 5 * PAGE);
    assert!(matches!(reservation.allocate(0), Err(MemoryError::RunTooLong { pages: 0 })));

    let shared = segment.freeze(1000);
    let buffer = shared.buffer(10..20);
    drop(shared);
    drop(reservation);
    let text = job.verify_empty().unwrap_err().to_string();
    assert_eq!(text, "job is not empty, held by job/aggregate 192 KiB");
    std::thread::spawn(move || drop(buffer)).join().unwrap();
    job.verify_empty().unwrap();
    assert_eq!(manager.used_bytes(), 0);
}

#[test]
fn budgets_cannot_exceed_the_arena_and_never_fail_to_find_a_page() {
    let arena = Arena::new(ArenaOptions::new(10 * PAGE)).unwrap();
    let manager = MemoryManager::new(arena.clone(), 6 * PAGE + 5).unwrap();
    let error = MemoryManager::new(arena.clone(), 5 * PAGE).unwrap_err();
    assert!(matches!(error, MemoryError::ArenaOverbooked { promised: 6, .. }), "{error}");
    let network = crate::NetworkBufferPool::new(arena.clone(), 4).unwrap();
    let pool = network.create_exclusive_pool("gate", 4).unwrap();
    let buffers: Vec<_> = std::iter::from_fn(|| pool.try_request()).collect();
    let reservation = manager.root().reserve("a");
    let segments: Vec<_> = std::iter::from_fn(|| reservation.allocate(1).ok()).collect();
    assert_eq!((buffers.len(), segments.len()), (4, 6));
    drop((segments, buffers, reservation, pool, manager, network));
    MemoryManager::new(arena, 10 * PAGE).expect("promises end with their holders");
}

#[test]
fn the_arbiter_asks_the_largest_that_can() {
    let manager = manager(100);
    let job = manager.budget("job", u64::MAX);
    let fixed = job.reserve("fixed");
    let (small, large) = (job.reserve("small"), job.reserve("large"));
    fixed.try_grow(60 * PAGE).unwrap();
    small.try_grow(10 * PAGE).unwrap();
    large.try_grow(30 * PAGE).unwrap();
    small.set_revocable(10 * PAGE);
    large.set_revocable(25 * PAGE);
    let told = Arc::new(AtomicU64::new(0));
    let listener = Arc::clone(&told);
    large.on_revocation(Arc::new(move |bytes| listener.store(bytes, Ordering::SeqCst)));

    let refused = refusal(fixed.try_grow(5 * PAGE).unwrap_err());
    assert_eq!(refused.revoking_bytes, 5 * PAGE);
    assert_eq!((large.revocation_requested(), told.load(Ordering::SeqCst)), (5 * PAGE, 5 * PAGE));
    // The same refusal again asks nobody twice; a larger one asks for the difference, then the next holder.
    fixed.try_grow(5 * PAGE).unwrap_err();
    assert_eq!(large.revocation_requested(), 5 * PAGE);
    let refused = refusal(fixed.try_grow(30 * PAGE).unwrap_err());
    assert_eq!(refused.revoking_bytes, 30 * PAGE);
    assert_eq!((large.revocation_requested(), small.revocation_requested()), (25 * PAGE, 5 * PAGE));

    large.set_revocable(0);
    large.shrink(25 * PAGE);
    small.decline_revocation();
    assert_eq!((large.revocation_requested(), small.revocation_requested()), (0, 0));
    fixed.try_grow(25 * PAGE).unwrap();
    assert_eq!(refusal(fixed.try_grow(PAGE).unwrap_err()).revoking_bytes, 0, "nobody is left to ask");
    assert_eq!(manager.request_revocation(PAGE), 0);
}

#[test]
fn the_one_who_asks_may_be_the_one_to_spill() {
    let manager = manager(10);
    let sort = manager.root().reserve("sort");
    sort.try_grow(10 * PAGE).unwrap();
    sort.set_revocable(10 * PAGE);
    let refused = refusal(sort.try_grow(2 * PAGE).unwrap_err());
    assert_eq!((refused.revoking_bytes, sort.revocation_requested()), (2 * PAGE, 2 * PAGE));
    sort.shrink(10 * PAGE);
    assert_eq!(sort.revocation_requested(), 0);
    sort.try_grow(2 * PAGE).unwrap();
}

#[test]
fn who_waits_is_told_once_when_memory_comes_back() {
    let manager = manager(10);
    let (a, b) = (manager.root().reserve("a"), manager.root().reserve("b"));
    a.try_grow(10 * PAGE).unwrap();
    b.try_grow(1).unwrap_err();
    let calls = Arc::new(AtomicUsize::new(0));
    let register = || {
        let calls = Arc::clone(&calls);
        b.on_available(Arc::new(move || {
            calls.fetch_add(1, Ordering::SeqCst);
        }));
    };
    register();
    register();
    a.shrink(5 * PAGE);
    a.shrink(5 * PAGE);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    a.try_grow(PAGE).unwrap();
    register();
    drop(a);
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[test]
fn dead_members_are_forgotten() {
    let manager = manager(10);
    let job = manager.budget("job", u64::MAX);
    for _ in 0..10_000 {
        job.child("task", u64::MAX).reserve("operator").try_grow(1).unwrap();
    }
    assert!(manager::member_capacity(&job) < 100);
}

#[test]
fn threads_share_a_budget_exactly() {
    let manager = manager(16);
    std::thread::scope(|scope| {
        for number in 0..4 {
            let budget = manager.budget("job", u64::MAX).child("task", 5 * PAGE);
            scope.spawn(move || {
                let reservation = budget.reserve("operator");
                for round in 0..20_000_u64 {
                    // Four tasks of at most four pages fit, so nobody is ever refused.
                    reservation.resize((round * 7919 + number * 31) % (4 * PAGE + 1)).expect("always room");
                }
            });
        }
    });
    manager.verify_empty().unwrap();
    assert_eq!(manager.used_bytes(), 0);
}

proptest! {
    /// Any sequence of growing and shrinking charges exactly the pages needed, and refuses only what does not fit.
    #[test]
    fn charges_follow_the_bytes(steps in prop::collection::vec((0..3_usize, any::<bool>(), 0..5 * PAGE), 1..100)) {
        let manager = manager(12);
        let job = manager.budget("job", 9 * PAGE);
        let reservations = [job.reserve("a"), job.reserve("b"), manager.root().reserve("c")];
        let mut expected = [0_u64; 3];
        let pages = |bytes: u64| bytes.div_ceil(PAGE);
        for (which, grow, bytes) in steps {
            if grow {
                let mut after = expected;
                after[which] += bytes;
                let of_job = pages(after[0]) + pages(after[1]);
                let fits = of_job <= 9 && of_job + pages(after[2]) <= 12;
                prop_assert_eq!(reservations[which].try_grow(bytes).is_ok(), fits);
                if fits {
                    expected = after;
                }
            } else {
                prop_assert_eq!(reservations[which].shrink(bytes), bytes.min(expected[which]));
                expected[which] = expected[which].saturating_sub(bytes);
            }
            prop_assert_eq!(job.used_bytes(), (pages(expected[0]) + pages(expected[1])) * PAGE);
            prop_assert_eq!(manager.used_bytes(), expected.map(pages).iter().sum::<u64>() * PAGE);
        }
    }
}

#[test]
fn kinds_of_consumers_share_by_weight_while_they_are_there() {
    let manager = manager(100);
    let join = manager.consumer_budget(ConsumerKind::Operator, "query").unwrap();
    let hashed = join.reserve("join");
    assert_eq!(hashed.name(), "query/join", "the kind is no part of the path");
    hashed.try_grow(100 * PAGE).unwrap();
    let asked = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&asked);
    hashed.on_revocation(Arc::new(move |bytes| seen.store(bytes, Ordering::Relaxed)));
    hashed.set_revocable(100 * PAGE);

    // Both weigh 70: the newcomer has a half, and what the other holds beyond its own is asked back at once.
    let state = manager.consumer_budget(ConsumerKind::StateBackend, "stream").unwrap();
    let table = state.reserve("window");
    assert_eq!(asked.load(Ordering::Relaxed), 50 * PAGE);
    assert_eq!(hashed.revocation_requested(), 50 * PAGE);
    hashed.shrink(10 * PAGE);
    let full = refusal(hashed.try_grow(PAGE).unwrap_err());
    assert_eq!((full.budget.as_str(), full.limit_bytes), ("managed memory of kind OPERATOR", 50 * PAGE));
    hashed.shrink(40 * PAGE);
    table.try_grow(50 * PAGE).unwrap();
    let full = refusal(table.try_grow(PAGE).unwrap_err());
    assert_eq!((full.budget.as_str(), full.limit_bytes), ("managed memory of kind STATE_BACKEND", 50 * PAGE));
    assert_eq!(full.consumers.len(), 1, "the other kind's holders are none of its business: {:?}", full.consumers);

    // 70 : 70 : 30.
    let python = manager.consumer_budget(ConsumerKind::Python, "functions").unwrap();
    assert_eq!(
        refusal(python.reserve("worker").try_grow(18 * PAGE).unwrap_err()).limit_bytes,
        100 * PAGE * 30 / 170 + 1
    );
    drop(python);

    // A kind is there until its last byte is given back, and then the others have all again, and are told.
    table.resize(PAGE).unwrap();
    let second = manager.consumer_budget(ConsumerKind::StateBackend, "other stream").unwrap();
    drop((state, table));
    assert!(hashed.try_grow(49 * PAGE).is_err(), "another budget of the kind is open");
    let woken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&woken);
    hashed.on_available(Arc::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
    }));
    let segment = second.reserve("late").allocate(1).unwrap();
    drop(second);
    assert_eq!(woken.load(Ordering::Relaxed), 0);
    assert!(hashed.try_grow(50 * PAGE).is_err(), "a segment of the kind is alive");
    drop(segment);
    assert!(woken.load(Ordering::Relaxed) > 0);
    hashed.try_grow(50 * PAGE).unwrap();
    drop((hashed, join));
    manager.verify_empty().unwrap();
}

#[test]
fn a_kind_without_weight_is_refused_and_changes_nothing() {
    let arena = Arena::new(ArenaOptions::new(10 * PAGE)).unwrap();
    let weights = ConsumerWeights::parse("OPERATOR:1,STATE_BACKEND:0").unwrap();
    let manager = MemoryManager::with_weights(arena, 10 * PAGE, weights).unwrap();
    let sort = manager.consumer_budget(ConsumerKind::Operator, "query").unwrap().reserve("sort");
    let error = manager.consumer_budget(ConsumerKind::StateBackend, "stream").unwrap_err().to_string();
    assert!(error.contains("taskmanager.memory.managed.consumer-weights gives STATE_BACKEND no weight"), "{error}");
    sort.try_grow(10 * PAGE).unwrap();
}
