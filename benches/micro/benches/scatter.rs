//! Partition scatter: batches of five integer columns by hash to the builders of 2 to 128 targets.

use std::hint::black_box;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array};
use criterion::Throughput;
use flumen_core::batch::{Batch, Column};
use flumen_core::types::{Field, LogicalType, Schema};
use flumen_kernels::hash::hash_columns;
use flumen_kernels::scatter::{KeyGroupTargets, PartitionBuilders, PartitionLimits, PartitionedRows};
use flumen_micro_benches::{BATCH_ROWS, criterion, scramble};

const COLUMNS: usize = 5;
const KEY_GROUPS: u32 = 4096;
/// Batches that take turns.
const BATCHES: usize = 16;

struct Scatter {
    targets: KeyGroupTargets,
    builders: PartitionBuilders,
    rows: PartitionedRows,
    full: Vec<(usize, Batch)>,
}

impl Scatter {
    fn new(schema: &Arc<Schema>, targets: u32) -> Self {
        let limits = PartitionLimits { rows_max: BATCH_ROWS, bytes_max: usize::MAX };
        Self {
            targets: KeyGroupTargets::new(targets, KEY_GROUPS),
            builders: PartitionBuilders::new(Arc::clone(schema), targets as usize, None, limits),
            rows: PartitionedRows::default(),
            full: Vec::new(),
        }
    }

    fn append(&mut self, batch: &Batch, hashes: &[u64]) {
        self.rows.assign_by_hash(hashes, None, &self.targets);
        self.builders.append(batch, &self.rows, &mut self.full).expect("integers have one carrier");
    }
}

fn main() {
    let mut criterion = criterion();
    let fields = (0..COLUMNS).map(|i| Field::new(format!("c{i}"), LogicalType::Int64, false)).collect();
    let schema = Arc::new(Schema::new(fields));
    let batches: Vec<(Batch, Vec<u64>)> = (0..BATCHES as u64)
        .map(|batch| {
            let column = |c: u64| {
                let value = |row: u64| scramble((batch << 32) + (row << 3) + c) as i64;
                Column::Array(Arc::new(Int64Array::from_iter_values((0..BATCH_ROWS as u64).map(value))) as ArrayRef)
            };
            let columns: Vec<Column> = (0..COLUMNS as u64).map(column).collect();
            let hashes = hash_columns(&[&columns[0]], BATCH_ROWS, None);
            (Batch::new(Arc::clone(&schema), columns, BATCH_ROWS), hashes)
        })
        .collect();
    let mut group = criterion.benchmark_group("scatter of five columns");
    group.throughput(Throughput::Elements(BATCH_ROWS as u64));
    for targets in [2, 16, 128] {
        check(&schema, targets, &batches);
        let mut scatter = Scatter::new(&schema, targets);
        let mut next = 0;
        group.bench_function(format!("{targets} targets"), |b| {
            b.iter(|| {
                let (batch, hashes) = &batches[next];
                scatter.append(batch, hashes);
                next = (next + 1) % BATCHES;
                black_box(&mut scatter.full).clear();
            });
        });
    }
    group.finish();
    criterion.final_summary();
}

/// What arrives at each target, column by column, is what a loop over rows sends there.
fn check(schema: &Arc<Schema>, targets: u32, batches: &[(Batch, Vec<u64>)]) {
    let columns_of = |batch: &Batch| -> Vec<Vec<i64>> {
        batch.columns().iter().map(|c| c.array().as_primitive::<Int64Type>().values().to_vec()).collect()
    };
    let mut expected = vec![vec![Vec::new(); COLUMNS]; targets as usize];
    let mut scatter = Scatter::new(schema, targets);
    for (batch, hashes) in batches {
        scatter.append(batch, hashes);
        for (column, values) in columns_of(batch).into_iter().enumerate() {
            for (value, hash) in values.into_iter().zip(hashes) {
                // Top 32 bits to key group, key group to subtask (DESIGN.md, section 6).
                let key_group = ((hash >> 32) * u64::from(KEY_GROUPS)) >> 32;
                let target = key_group * u64::from(targets) / u64::from(KEY_GROUPS);
                expected[target as usize][column].push(value);
            }
        }
    }
    scatter.builders.finish_all(&mut scatter.full).expect("integers have one carrier");
    let mut arrived = vec![vec![Vec::new(); COLUMNS]; targets as usize];
    for (target, batch) in &scatter.full {
        for (column, values) in columns_of(batch).into_iter().enumerate() {
            arrived[*target][column].extend(values);
        }
    }
    assert_eq!(arrived, expected, "{targets} targets");
}
