//! Segments: taken from the arena and given back, through the thread's magazine and through the shared list.

use std::collections::HashSet;
use std::hint::black_box;

use criterion::Throughput;
use flumen_memory::{Arena, ArenaOptions, BufferPoolOptions, MemorySegment, NetworkBufferPool, PAGE_BYTES};
use flumen_micro_benches::criterion;

/// Pages of the arena; more than any magazine holds.
const PAGES: usize = 1024;

fn main() {
    let mut criterion = criterion();
    let arena = Arena::new(ArenaOptions::new((PAGES * PAGE_BYTES) as u64)).expect("64 MiB of addresses");
    check(&arena);
    let mut group = criterion.benchmark_group("segment");
    group.throughput(Throughput::Elements(1));
    group.bench_function("magazine", |b| b.iter(|| drop(black_box(arena.allocate(1).expect("a page is free")))));
    group.bench_function("run of 32 pages", |b| b.iter(|| drop(black_box(arena.allocate(32).expect("a run is free")))));
    group.throughput(Throughput::Elements(PAGES as u64 / 2));
    let mut held: Vec<MemorySegment> = Vec::with_capacity(PAGES);
    group.bench_function("shared list", |b| {
        b.iter(|| {
            held.extend((0..PAGES / 2).map(|_| arena.allocate(1).expect("a page is free")));
            black_box(&mut held).clear();
        });
    });
    group.throughput(Throughput::Elements(1));
    let global = NetworkBufferPool::new(arena.clone(), 64).expect("the arena has room");
    let pool = global.create_pool(BufferPoolOptions::new("bench", 16, 16)).expect("the pool has room");
    group.bench_function("local pool", |b| b.iter(|| drop(black_box(pool.try_request().expect("a buffer is free")))));
    group.finish();
    drop(pool);
    global.verify_empty().expect("all buffers are back");
    arena.verify_empty().expect("all pages are back");
    criterion.final_summary();
}

/// Every page can be had, no two are the same, none is left behind.
fn check(arena: &Arena) {
    let mut pages: Vec<_> = (0..PAGES).map(|_| arena.allocate(1).expect("the arena has so many pages")).collect();
    for (index, page) in pages.iter_mut().enumerate() {
        page.as_mut_slice_of::<u64>().fill(index as u64);
    }
    let starts: HashSet<_> = pages.iter().map(|page| page.as_slice().as_ptr()).collect();
    assert_eq!(starts.len(), PAGES, "pages differ");
    assert!(pages.iter().enumerate().all(|(i, page)| page.as_slice_of::<u64>().iter().all(|word| *word == i as u64)));
    assert!(arena.try_allocate(1).is_none(), "there are no more");
    drop(pages);
    arena.verify_empty().expect("all pages are back");
}
