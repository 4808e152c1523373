//! Sort: normalized prefixes of one and two keys, and the whole sort of a million rows by them.

use std::hint::black_box;
use std::sync::Arc;

use arrow_array::{ArrayRef, Date32Array, Int64Array};
use criterion::Throughput;
use flumen_core::batch::Column;
use flumen_core::spec::relational::SortKey;
use flumen_core::types::LogicalType;
use flumen_kernels::sort::{PrefixLayout, sort_indices};
use flumen_micro_benches::{criterion, random_below};

const ROWS: usize = 1 << 20;

fn main() {
    let mut criterion = criterion();
    // As in an ORDER BY of dates, then prices downwards.
    let dates: Vec<i32> = (0..ROWS as u64).map(|i| 8000 + random_below(i, 2500) as i32).collect();
    let prices: Vec<i64> = (0..ROWS as u64).map(|i| random_below(i + ROWS as u64, 10_000_000) as i64).collect();
    let columns = [
        Column::Array(Arc::new(Date32Array::from(dates.clone())) as ArrayRef),
        Column::Array(Arc::new(Int64Array::from(prices.clone())) as ArrayRef),
    ];
    let columns: Vec<&Column> = columns.iter().collect();
    let types = [LogicalType::Date, LogicalType::Int64];
    let key = |column: usize| SortKey { column, descending: column == 1, nulls_first: column == 1 };
    for (name, keys) in [("1 key", vec![key(0)]), ("2 keys", vec![key(0), key(1)])] {
        let sorted = sort_indices(&columns, &types, ROWS, None, &keys).expect("dates and integers have an order");
        let mut expected: Vec<u32> = (0..ROWS as u32).collect();
        match keys.len() {
            1 => expected.sort_by_key(|row| dates[*row as usize]),
            _ => expected.sort_by_key(|row| (dates[*row as usize], std::cmp::Reverse(prices[*row as usize]))),
        }
        assert_eq!(sorted, expected, "{name}");
        let layout = PrefixLayout::new(&types, &keys, |_| false).expect("dates and integers have an order");
        let mut group = criterion.benchmark_group("sort");
        group.throughput(Throughput::Elements(ROWS as u64));
        group.bench_function(format!("prefix, {name}"), |b| {
            b.iter(|| black_box(layout.encode(black_box(&columns), ROWS).expect("integers have one carrier")));
        });
        group.bench_function(format!("sort of 1 M rows, {name}"), |b| {
            b.iter(|| black_box(sort_indices(black_box(&columns), &types, ROWS, None, &keys).expect("as above")));
        });
        group.finish();
    }
    criterion.final_summary();
}
