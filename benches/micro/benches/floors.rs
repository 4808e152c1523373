//! What memory itself costs on the machine at hand: independent random reads of 8 bytes, without an engine around them.
//!
//! The floors of other benches come from a machine with other caches; these numbers say how far that carries. Reads go to
//! pages of 4 KiB, as the allocator gives them, and to segments of the arena, which asks for huge ones.

use std::hint::black_box;

use criterion::Throughput;
use flumen_memory::{Arena, ArenaOptions, MemorySegment, PAGE_BYTES, RUN_PAGES_MAX};
use flumen_micro_benches::{BATCH_ROWS, criterion, random_below};

/// Words of a segment of 2 MiB.
const SEGMENT_WORDS: usize = RUN_PAGES_MAX * PAGE_BYTES / 8;
/// Reads that take turns, in batches.
const BATCHES: usize = 128;

fn main() {
    let mut criterion = criterion();
    let mut group = criterion.benchmark_group("random reads");
    group.throughput(Throughput::Elements(BATCH_ROWS as u64));
    for (name, words) in [("256 KiB", 1usize << 15), ("8 MiB", 1 << 20), ("64 MiB", 1 << 23), ("256 MiB", 1 << 25)] {
        let positions: Vec<u32> =
            (0..(BATCHES * BATCH_ROWS) as u64).map(|i| random_below(i, words as u64) as u32).collect();
        let batches: Vec<&[u32]> = positions.chunks(BATCH_ROWS).collect();
        let expected = positions.iter().map(|position| u64::from(*position)).sum::<u64>();

        let flat: Vec<u64> = (0..words as u64).collect();
        let read_flat = |batch: &[u32]| batch.iter().map(|position| flat[*position as usize]).sum::<u64>();
        assert_eq!(batches.iter().map(|batch| read_flat(batch)).sum::<u64>(), expected);
        let mut next = 0;
        group.bench_function(format!("{name}, pages of 4 KiB"), |b| {
            b.iter(|| {
                next = (next + 1) % BATCHES;
                black_box(read_flat(batches[next]))
            });
        });

        let count = words.div_ceil(SEGMENT_WORDS);
        let arena = Arena::new(ArenaOptions::new((count * SEGMENT_WORDS * 8) as u64)).expect("addresses are enough");
        let mut held: Vec<MemorySegment> =
            (0..count).map(|_| arena.allocate(RUN_PAGES_MAX).expect("the arena has as much")).collect();
        for (index, segment) in held.iter_mut().enumerate() {
            let first = index * SEGMENT_WORDS;
            segment.as_mut_slice_of().iter_mut().zip(first as u64..).for_each(|(word, value)| *word = value);
        }
        let segments: Vec<&[u64]> = held.iter().map(|segment| segment.as_slice_of()).collect();
        let read_segments = |batch: &[u32]| {
            batch.iter().map(|p| segments[*p as usize / SEGMENT_WORDS][*p as usize % SEGMENT_WORDS]).sum::<u64>()
        };
        assert_eq!(batches.iter().map(|batch| read_segments(batch)).sum::<u64>(), expected);
        group.bench_function(format!("{name}, segments"), |b| {
            b.iter(|| {
                next = (next + 1) % BATCHES;
                black_box(read_segments(batches[next]))
            });
        });
    }
    group.finish();
    criterion.final_summary();
}
