//! The synchronous part of a snapshot: what a task does between barrier and next batch, with 1 GiB of keyed state.
//!
//! The state lies in segments of managed memory, as in a job. Between two snapshots every group is written, so that each
//! page of accumulators has its owner back and is shared anew.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array};
use cpu_time::ThreadTime;
use flumen_core::batch::Column;
use flumen_core::spec::relational::AggregateCall;
use flumen_core::types::{Field, LogicalType};
use flumen_micro_benches::{BATCH_ROWS, criterion, managed_pages, scramble};
use flumen_state::pages::PageSource;
use flumen_state::snapshot::KeyedRows;
use flumen_state::{AccumulatorContext, AggregateRegistry, Groups, KeyInput, KeyedTable, RowInput};

const STATE_BYTES: usize = 1 << 30;
const MEMORY_BYTES: u64 = 3 << 30;
const MAX_PARALLELISM: u32 = 128;
const AGGREGATES: [&str; 4] = ["count", "sum", "min", "max"];

struct State {
    table: KeyedTable,
    groups: Groups,
    next_key: u64,
}

impl State {
    /// A table of `COUNT`, `SUM`, `MIN` and `MAX` by key that has grown to [`STATE_BYTES`].
    fn grow(pages: Arc<dyn PageSource>) -> Self {
        let context = AccumulatorContext { pages: Arc::clone(&pages), retracting: false };
        let create = |function: &&str| {
            let call = AggregateCall {
                function: (*function).into(),
                args: Vec::new(),
                arg_types: vec![LogicalType::Int64],
                distinct: false,
                order_by: Vec::new(),
                filter: None,
                return_type: match *function {
                    "sum" => LogicalType::Decimal { precision: 38, scale: 0 },
                    _ => LogicalType::Int64,
                },
            };
            AggregateRegistry::default().create(&call, &context).expect("a function of BIGINT")
        };
        let accumulators = AGGREGATES.iter().map(create).collect();
        let fields = vec![Field::new("k", LogicalType::Int64, false)];
        let table = KeyedTable::new(fields, accumulators, pages).expect("an integer key");
        let mut state = Self { table, groups: Groups::default(), next_key: 0 };
        while state.table.memory_bytes() < STATE_BYTES {
            let from = state.next_key;
            state.next_key += BATCH_ROWS as u64;
            state.update(from);
        }
        state
    }

    /// One more row for each of the keys of a batch; the value is the key's number.
    fn update(&mut self, from: u64) {
        let range = from..from + BATCH_ROWS as u64;
        let column = |values: Vec<i64>| Column::Array(Arc::new(Int64Array::from(values)) as ArrayRef);
        let keys = column(range.clone().map(|i| scramble(i) as i64).collect());
        let values = column(range.map(|i| i as i64).collect());
        let input = KeyInput { columns: &[&keys], rows: BATCH_ROWS, selection: None, hashes: None };
        self.table.group(input, &mut self.groups).expect("memory is enough");
        for accumulator in 0..AGGREGATES.len() {
            let args: &[&Column] = &[&values];
            let input = RowInput { args, rows: BATCH_ROWS, selection: None, filter: None, row_kinds: None };
            self.table.update(accumulator, &self.groups, input).expect("memory is enough");
        }
    }

    fn update_all(&mut self) {
        (0..self.next_key).step_by(BATCH_ROWS).for_each(|from| self.update(from));
    }
}

fn main() {
    let mut criterion = criterion();
    let mut state = State::grow(managed_pages(MEMORY_BYTES));
    check(&mut state);
    let mut group = criterion.benchmark_group("snapshot");
    group.sample_size(10).measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(1));
    group.bench_function("synchronous part at 1 GiB", |b| {
        b.iter_custom(|iterations| {
            let mut spent = Duration::ZERO;
            for _ in 0..iterations {
                state.update_all();
                let started = ThreadTime::now();
                let snapshot = state.table.snapshot(MAX_PARALLELISM, BATCH_ROWS);
                spent += started.elapsed();
                drop(snapshot);
            }
            spent
        });
    });
    group.finish();
    criterion.final_summary();
}

/// A snapshot holds what was there when it was taken, although all of it is written while it is read.
fn check(state: &mut State) {
    let mut snapshot = state.table.snapshot(MAX_PARALLELISM, BATCH_ROWS);
    for from in (0..state.next_key).step_by(64 * BATCH_ROWS) {
        state.update(from);
    }
    let (mut rows, mut counts, mut minima, mut weights) = (0, 0, 0i64, 0u64);
    while let Some((_, batch)) = snapshot.next().expect("states can be exported") {
        let column = |index: usize| batch.column(index).array().as_primitive::<Int64Type>().values();
        rows += batch.num_rows() as u64;
        counts += column(1).iter().sum::<i64>();
        let minimum = batch.columns().len() - 2;
        minima += column(minimum).iter().sum::<i64>();
        let weight = |(key, value): (&i64, &i64)| (*key as u64).wrapping_mul(*value as u64);
        weights = column(0).iter().zip(column(minimum)).map(weight).fold(weights, u64::wrapping_add);
    }
    let n = state.next_key;
    let expected = (0..n).map(|i| scramble(i).wrapping_mul(i)).fold(0, u64::wrapping_add);
    assert_eq!((rows, counts), (n, n as i64), "each key once, with one row");
    assert_eq!((minima, weights), ((n * (n - 1) / 2) as i64, expected), "with its value");
}
