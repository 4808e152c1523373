//! Grouping: from the keys of a batch to slots of the keyed table, hashes given, at 4 to 10 million groups.

use std::hint::black_box;
use std::sync::Arc;

use arrow_array::Int64Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use criterion::Throughput;
use flumen_core::batch::Column;
use flumen_core::types::{Field, LogicalType};
use flumen_kernels::hash::hash_columns;
use flumen_micro_benches::{BATCH_ROWS, criterion, managed_pages, random_below, scramble};
use flumen_state::{Groups, KeyInput, KeyedTable};

/// Batches that take turns: enough rows that ten million groups do not stay in a cache.
const BATCHES: usize = 128;
const MEMORY_BYTES: u64 = 2 << 30;

struct Keys {
    column: Column,
    hashes: Vec<u64>,
    rows: usize,
}

impl Keys {
    fn new(values: Vec<i64>) -> Self {
        let rows = values.len();
        let column = Column::Array(Arc::new(Int64Array::from(values)));
        let hashes = hash_columns(&[&column], rows, None);
        Self { column, hashes, rows }
    }

    fn group(&self, table: &mut KeyedTable, groups: &mut Groups) {
        let input = KeyInput { columns: &[&self.column], rows: self.rows, selection: None, hashes: Some(&self.hashes) };
        table.group(input, groups).expect("memory is enough");
    }
}

fn main() {
    let mut criterion = criterion();
    let mut measured = criterion.benchmark_group("grouping");
    measured.throughput(Throughput::Elements(BATCH_ROWS as u64));
    for (name, count) in [("4 groups", 4), ("1 K groups", 1000), ("500 K groups", 500_000), ("10 M groups", 10_000_000)]
    {
        // Few groups are what they are in queries, codes; many are keys without order.
        let key = |i: u64| if count <= 4 { i as i64 } else { scramble(i) as i64 };
        let fields = vec![Field::new("k", LogicalType::Int64, false)];
        let mut table = KeyedTable::new(fields, Vec::new(), managed_pages(MEMORY_BYTES)).expect("an integer key");
        let mut groups = Groups::default();
        for start in (0..count).step_by(BATCH_ROWS) {
            let end = count.min(start + BATCH_ROWS as u64);
            Keys::new((start..end).map(key).collect()).group(&mut table, &mut groups);
        }
        let drawn = |batch: usize| {
            let from = (batch * BATCH_ROWS) as u64;
            (from..from + BATCH_ROWS as u64).map(|i| key(random_below(i, count))).collect::<Vec<i64>>()
        };
        let batches: Vec<Keys> = (0..BATCHES).map(|batch| Keys::new(drawn(batch))).collect();
        assert_eq!(table.len() as u64, count, "every key is a group");
        for (index, batch) in batches.iter().enumerate() {
            batch.group(&mut table, &mut groups);
            let found = table.export_keys(&groups.slots).expect("integers");
            assert_eq!(found[0].as_primitive::<Int64Type>().values()[..], drawn(index), "a row's slot has its key");
        }
        assert_eq!(table.len() as u64, count, "no group is new");
        let mut next = 0;
        measured.bench_function(name, |b| {
            b.iter(|| {
                batches[next].group(&mut table, &mut groups);
                next = (next + 1) % BATCHES;
                black_box(&groups.slots);
            });
        });
    }
    measured.finish();
    criterion.final_summary();
}
