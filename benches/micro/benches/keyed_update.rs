//! Keyed update: a batch of (key, value) into `SUM(value) GROUP BY key`, from hash to accumulator, at 1 K to 10 M keys.

use std::hint::black_box;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal64Type, Decimal128Type, Int64Type};
use arrow_array::{Array, ArrayRef, Int64Array};
use criterion::Throughput;
use flumen_core::batch::Column;
use flumen_core::spec::relational::AggregateCall;
use flumen_core::types::{Field, LogicalType, Schema};
use flumen_kernels::hash::hash_columns_into;
use flumen_micro_benches::{BATCH_ROWS, criterion, managed_pages, random_below, scramble};
use flumen_state::keyed::SlotCursor;
use flumen_state::{AccumulatorContext, AggregateRegistry, Groups, KeyInput, KeyedTable, RowInput};

/// Batches that take turns.
const BATCHES: usize = 128;
const MEMORY_BYTES: u64 = 2 << 30;

struct Sums {
    table: KeyedTable,
    groups: Groups,
    hashes: Vec<u64>,
}

impl Sums {
    fn new() -> Self {
        let pages = managed_pages(MEMORY_BYTES);
        let sum = AggregateCall {
            function: "sum".into(),
            args: Vec::new(),
            arg_types: vec![LogicalType::Int64],
            distinct: false,
            order_by: Vec::new(),
            filter: None,
            return_type: LogicalType::Decimal { precision: 38, scale: 0 },
        };
        let context = AccumulatorContext { pages: Arc::clone(&pages), retracting: false };
        let accumulator = AggregateRegistry::default().create(&sum, &context).expect("SUM(BIGINT)");
        let fields = vec![Field::new("k", LogicalType::Int64, false)];
        let table = KeyedTable::new(fields, vec![accumulator], pages).expect("an integer key");
        Self { table, groups: Groups::default(), hashes: Vec::new() }
    }

    fn update(&mut self, keys: &Column, values: &Column) {
        let rows = keys.array().len();
        hash_columns_into(&[keys], rows, None, &mut self.hashes);
        let input = KeyInput { columns: &[keys], rows, selection: None, hashes: Some(&self.hashes) };
        self.table.group(input, &mut self.groups).expect("memory is enough");
        let input = RowInput { args: &[values], rows, selection: None, filter: None, row_kinds: None };
        self.table.update(0, &self.groups, input).expect("memory is enough");
    }

    /// The sum over groups of `scramble(key) * sum`, modulo 2^64.
    fn checksum(&self) -> u64 {
        let schema = Arc::new(Schema::new(vec![
            Field::new("k", LogicalType::Int64, false),
            Field::new("sum", LogicalType::Decimal { precision: 38, scale: 0 }, true),
        ]));
        let (mut cursor, mut checksum) = (SlotCursor::default(), 0u64);
        while let Some(batch) = self.table.next_results(&mut cursor, &schema, BATCH_ROWS).expect("sums are small") {
            let keys = batch.column(0).array().as_primitive::<Int64Type>();
            for (key, sum) in keys.values().iter().zip(integers(batch.column(1).array())) {
                checksum = checksum.wrapping_add(scramble(*key as u64).wrapping_mul(sum as u64));
            }
        }
        checksum
    }
}

/// A decimal of scale 0 in either carrier.
fn integers(array: &ArrayRef) -> Vec<i64> {
    match array.as_primitive_opt::<Decimal64Type>() {
        Some(narrow) => narrow.values().to_vec(),
        None => array.as_primitive::<Decimal128Type>().values().iter().map(|v| *v as i64).collect(),
    }
}

fn integer_column(values: impl Iterator<Item = i64>) -> Column {
    Column::Array(Arc::new(Int64Array::from_iter_values(values)))
}

fn main() {
    let mut criterion = criterion();
    let mut group = criterion.benchmark_group("keyed update");
    group.throughput(Throughput::Elements(BATCH_ROWS as u64));
    for (name, count) in [("1 K keys", 1000), ("100 K keys", 100_000), ("10 M keys", 10_000_000)] {
        let mut sums = Sums::new();
        let key = |i: u64| scramble(i) as i64;
        let mut expected = 0u64;
        let mut add = |key: i64, value: i64| {
            expected = expected.wrapping_add(scramble(key as u64).wrapping_mul(value as u64));
        };
        for start in (0..count).step_by(BATCH_ROWS) {
            let range = start..count.min(start + BATCH_ROWS as u64);
            range.clone().for_each(|i| add(key(i), i as i64));
            sums.update(&integer_column(range.clone().map(key)), &integer_column(range.map(|i| i as i64)));
        }
        let batches: Vec<(Column, Column)> = (0..BATCHES as u64 * BATCH_ROWS as u64)
            .step_by(BATCH_ROWS)
            .map(|from| {
                let range = from..from + BATCH_ROWS as u64;
                let keys = integer_column(range.clone().map(|i| key(random_below(i, count))));
                (keys, integer_column(range.map(|i| (i % 1000) as i64 - 500)))
            })
            .collect();
        for (keys, values) in &batches {
            sums.update(keys, values);
            let (keys, values) = (keys.array().as_primitive::<Int64Type>(), values.array().as_primitive::<Int64Type>());
            keys.values().iter().zip(values.values()).for_each(|(key, value)| add(*key, *value));
        }
        assert_eq!(sums.table.len() as u64, count, "every key is a group");
        assert_eq!(sums.checksum(), expected, "the sums are those of the rows");
        let mut next = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                let (keys, values) = &batches[next];
                sums.update(keys, values);
                next = (next + 1) % BATCHES;
                black_box(&sums.groups.slots);
            });
        });
    }
    group.finish();
    criterion.final_summary();
}
