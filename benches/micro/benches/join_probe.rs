//! Probing the build side of a join with keys that are all there: hashed and directly addressed, in and out of cache.

use std::hint::black_box;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array};
use criterion::Throughput;
use flumen_core::batch::{Batch, Column};
use flumen_core::types::{Field, LogicalType, Schema};
use flumen_kernels::hash::hash_columns;
use flumen_kernels::join_table::{JoinTable, JoinTableOptions, Pairs, ProbeCursor, ProbeInput, ProbeStatus};
use flumen_micro_benches::{BATCH_ROWS, criterion, random_below, scramble};

/// Batches that take turns.
const BATCHES: usize = 128;

fn integers(values: impl Iterator<Item = i64>) -> Column {
    Column::Array(Arc::new(Int64Array::from_iter_values(values)) as ArrayRef)
}

/// Name, build rows, and the key of a row.
type Case = (&'static str, u64, fn(u64) -> i64);

fn main() {
    let mut criterion = criterion();
    let mut group = criterion.benchmark_group("join probe");
    group.throughput(Throughput::Elements(BATCH_ROWS as u64));
    let cases: [Case; 5] = [
        ("hashed, 10 K build rows", 10_000, |i| scramble(i) as i64),
        ("hashed, 8 M build rows", 8_000_000, |i| scramble(i) as i64),
        ("direct, 10 K build rows", 10_000, |i| i as i64),
        ("direct, 8 M build rows", 8_000_000, |i| i as i64),
        ("ranked, 150 K build rows of 6 M values", 150_000, |i| (i * 40) as i64),
    ];
    for (name, build_rows, key) in cases {
        let schema = Arc::new(Schema::new(vec![Field::new("k", LogicalType::Int64, false)]));
        let build = Batch::new(schema, vec![integers((0..build_rows).map(key))], build_rows as usize);
        let table = JoinTable::build(&build, vec![0], JoinTableOptions::default()).expect("the table can be built");
        assert_eq!(table.needs_hashes(), name.starts_with("hashed"), "{name}: the layout is as the name says");
        let batches: Vec<(Column, Vec<u64>)> = (0..BATCHES)
            .map(|batch| {
                let rows = (batch * BATCH_ROWS) as u64..((batch + 1) * BATCH_ROWS) as u64;
                let keys = integers(rows.map(|i| key(random_below(i, build_rows))));
                let hashes = hash_columns(&[&keys], BATCH_ROWS, None);
                (keys, hashes)
            })
            .collect();
        let (mut cursor, mut pairs) = (ProbeCursor::default(), Pairs::default());
        let mut probe = |batch: usize, pairs: &mut Pairs| {
            let (keys, hashes) = &batches[batch];
            let input = ProbeInput { hashes, keys: &[keys], rows: BATCH_ROWS, selection: None };
            let status = table.probe(&input, &mut cursor, 2 * BATCH_ROWS, pairs).expect("integers are not flattened");
            assert_eq!(status, ProbeStatus::Finished, "keys are unique, so the pairs fit");
        };
        let build_keys = table.batch().column(0).array().as_primitive::<Int64Type>().values();
        for (index, (keys, _)) in batches.iter().enumerate() {
            probe(index, &mut pairs);
            assert!(pairs.probe.iter().copied().eq(0..BATCH_ROWS as u32), "every row has its one match");
            let found = pairs.build.iter().map(|row| build_keys[*row as usize]);
            assert!(found.eq(keys.array().as_primitive::<Int64Type>().values().iter().copied()), "keys are equal");
        }
        let mut next = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                probe(next, &mut pairs);
                next = (next + 1) % BATCHES;
                black_box(&pairs.build);
            });
        });
    }
    group.finish();
    criterion.final_summary();
}
