//! Selection: a comparison that leaves 1, 50 or 99 rows of a hundred, and gathering a column by what it left.

use std::hint::black_box;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array};
use criterion::Throughput;
use flumen_core::batch::{Batch, Column};
use flumen_core::expr::{Expr, Literal};
use flumen_core::types::{Field, LogicalType, Schema};
use flumen_kernels::expr::{CompiledPredicate, FunctionRegistry};
use flumen_kernels::gather::apply_selection;
use flumen_micro_benches::{BATCH_ROWS, criterion, random_below};

fn main() {
    let mut criterion = criterion();
    let schema = Arc::new(Schema::new(vec![Field::new("x", LogicalType::Int64, false)]));
    let values: Vec<i64> = (0..BATCH_ROWS as u64).map(|i| random_below(i, 1000) as i64).collect();
    let column = Column::Array(Arc::new(Int64Array::from(values.clone())) as ArrayRef);
    let batch = Batch::new(Arc::clone(&schema), vec![column], BATCH_ROWS);
    for percent in [1, 50, 99] {
        let bound = percent * 10;
        let less = Expr::call("lt", vec![Expr::Column(0), Expr::Literal(Literal::int64(bound))], LogicalType::Boolean);
        let predicate = CompiledPredicate::compile(&less, &schema, &FunctionRegistry::new()).expect("x < bound");
        let selected = predicate.select(&batch).expect("a comparison does not fail").apply(batch.clone());
        let expected: Vec<u32> = (0..BATCH_ROWS as u32).filter(|row| values[*row as usize] < bound).collect();
        assert_eq!(selected.selection().expect("some rows go")[..], expected, "{percent} %");
        let gathered = apply_selection(&selected).expect("integers");
        let expected: Vec<i64> = values.iter().copied().filter(|value| *value < bound).collect();
        assert_eq!(gathered.column(0).array().as_primitive::<Int64Type>().values()[..], expected, "{percent} %");

        let mut group = criterion.benchmark_group("selection");
        group.throughput(Throughput::Elements(BATCH_ROWS as u64));
        group.bench_function(format!("filter, {percent} % stay, per row in"), |b| {
            b.iter(|| black_box(predicate.select(black_box(&batch)).expect("a comparison does not fail")));
        });
        group.throughput(Throughput::Elements(expected.len() as u64));
        group.bench_function(format!("gather, {percent} % stay, per row out"), |b| {
            b.iter(|| black_box(apply_selection(black_box(&selected)).expect("integers")));
        });
        group.finish();
    }
    criterion.final_summary();
}
