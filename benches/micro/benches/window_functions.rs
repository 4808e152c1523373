//! Window functions: a million rows in a thousand partitions through the operator, sort included, and what each function
//! adds to that.

use std::hint::black_box;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array};
use criterion::Throughput;
use flumen_core::batch::{Batch, Column};
use flumen_core::element::StreamElement;
use flumen_core::expr::Literal;
use flumen_core::ids::{AttemptNumber, ExecutionAttemptId, ExecutionVertexId, JobId, JobVertexId, SubtaskIndex};
use flumen_core::key_group::KeyGroupRange;
use flumen_core::meter::Unmetered;
use flumen_core::spec::OperatorSpec;
use flumen_core::spec::relational::{AggregateCall, SortKey};
use flumen_core::spec::window::{
    Exclusion, Frame, FrameBound, FrameUnits, WindowCall, WindowFunction, WindowFunctionsSpec,
};
use flumen_core::types::{Field, LogicalType, Schema, SchemaRef};
use flumen_core::waiting::{InlineExecutor, NoTimers, Waker};
use flumen_io::SimulatedClock;
use flumen_kernels::expr::FunctionRegistry;
use flumen_micro_benches::{BATCH_ROWS, criterion, managed_pages, random_below};
use flumen_operators::contract::{OperatorContext, Output, Step, TaskInfo};
use flumen_operators::register_builtin;
use flumen_operators::registry::OperatorRegistry;
use flumen_operators::spill::SpillSpace;

const ROWS: usize = 1 << 20;
const PARTITIONS: u64 = 1000;

fn context() -> OperatorContext {
    OperatorContext {
        task: TaskInfo {
            attempt: ExecutionAttemptId {
                job: JobId(1),
                execution_vertex: ExecutionVertexId { vertex: JobVertexId(0), subtask: SubtaskIndex(0) },
                attempt: AttemptNumber(0),
            },
            parallelism: 1,
            max_parallelism: 128,
            name: "bench".into(),
        },
        uid: "operator".into(),
        key_groups: KeyGroupRange::of_subtask(0, 1, 128),
        batch_rows: BATCH_ROWS,
        pages: managed_pages(1 << 30),
        spill: SpillSpace::none(),
        memory: Arc::new(Unmetered),
        functions: Arc::new(FunctionRegistry::new()),
        blocking: Arc::new(InlineExecutor),
        waker: Waker::noop().clone(),
        clock: Arc::new(SimulatedClock::new()),
        timers: Arc::new(NoTimers),
        is_restored: false,
    }
}

/// All rows through the operator; the last column that comes out, added up.
fn run(spec: &OperatorSpec, input: &[Batch]) -> i128 {
    let mut registry = OperatorRegistry::default();
    register_builtin(&mut registry);
    let mut operator = registry.create(spec, &context()).expect("the spec is right");
    let (mut out, mut sum, mut rows) = (Output::default(), 0, 0);
    for batch in input {
        let step = operator.process(0, batch.clone(), &mut out).expect("there is room");
        assert_eq!(step, Step::Done);
    }
    let mut step = operator.finish(&mut out).expect("there is room");
    loop {
        if let Some(StreamElement::Batch(batch)) = out.take() {
            rows += batch.num_rows();
            let array = batch.columns()[batch.columns().len() - 1].array();
            sum += match array.as_primitive_opt::<Int64Type>() {
                Some(values) => values.values().iter().map(|v| i128::from(*v)).sum::<i128>(),
                None => array
                    .as_primitive::<arrow_array::types::Decimal64Type>()
                    .values()
                    .iter()
                    .map(|v| i128::from(*v))
                    .sum(),
            };
            black_box(&batch);
        }
        if step == Step::Done {
            break;
        }
        step = operator.resume(&mut out).expect("there is room");
    }
    assert_eq!(rows, ROWS);
    sum
}

fn main() {
    let mut criterion = criterion();
    let keys: Vec<i64> = (0..ROWS as u64).map(|i| random_below(i, PARTITIONS) as i64).collect();
    let order: Vec<i64> = (0..ROWS as u64).map(|i| random_below(i + (1 << 40), 1_000_000) as i64).collect();
    let values: Vec<i64> = (0..ROWS as u64).map(|i| random_below(i + (1 << 41), 1000) as i64).collect();
    let field = |name: &str| Field::new(name, LogicalType::Int64, false);
    let schema: SchemaRef = Arc::new(Schema::new(vec![field("p"), field("o"), field("v")]));
    let column = |values: &[i64]| Column::Array(Arc::new(Int64Array::from(values.to_vec())) as ArrayRef);
    let batches: Vec<Batch> = (0..ROWS)
        .step_by(BATCH_ROWS)
        .map(|from| {
            let rows = from..from + BATCH_ROWS;
            let columns = [&keys, &order, &values].map(|values| column(&values[rows.clone()])).to_vec();
            Batch::new(Arc::clone(&schema), columns, BATCH_ROWS)
        })
        .collect();
    let aggregate = |function: &str, returns: LogicalType, frame: Frame| WindowCall {
        function: WindowFunction::Aggregate {
            call: AggregateCall {
                function: function.into(),
                args: vec![2],
                arg_types: vec![LogicalType::Int64],
                distinct: false,
                order_by: Vec::new(),
                filter: None,
                return_type: returns.clone(),
            },
            frame,
        },
        return_type: returns,
    };
    let rows =
        |start| Frame { units: FrameUnits::Rows, start, end: FrameBound::CurrentRow, exclude: Exclusion::NoOthers };
    let wide = LogicalType::Decimal { precision: 38, scale: 0 };
    let calls = [
        ("row_number", WindowCall { function: WindowFunction::RowNumber, return_type: LogicalType::Int64 }),
        ("running sum", aggregate("sum", wide, rows(FrameBound::UnboundedPreceding))),
        (
            "min of the last 100 rows",
            aggregate("min", LogicalType::Int64, rows(FrameBound::Preceding(Literal::int64(100)))),
        ),
    ];
    // The answers by rows of each partition.
    let mut sorted: Vec<usize> = (0..ROWS).collect();
    sorted.sort_by_key(|row| (keys[*row], order[*row]));
    let mut expected = [0i128; 3];
    for partition in sorted.chunk_by(|a, b| keys[*a] == keys[*b]) {
        let mut sum = 0;
        for (at, row) in partition.iter().enumerate() {
            sum += i128::from(values[*row]);
            let least = partition[at.saturating_sub(100)..=at].iter().map(|row| values[*row]).min();
            expected[0] += at as i128 + 1;
            expected[1] += sum;
            expected[2] += i128::from(least.expect("the row itself is there"));
        }
    }
    let mut group = criterion.benchmark_group("window functions");
    group.throughput(Throughput::Elements(ROWS as u64));
    let spec = |calls: Vec<WindowCall>, projection: Vec<usize>| {
        let column = |c: &usize| match c.checked_sub(3) {
            None => schema.fields[*c].clone(),
            Some(call) => Field::new("computed", calls[call].return_type.clone(), true),
        };
        let output = Arc::new(Schema::new(projection.iter().map(column).collect()));
        let order_by = vec![SortKey { column: 1, descending: false, nulls_first: false }];
        let payload = WindowFunctionsSpec { partition_by: vec![0], order_by, calls, projection };
        OperatorSpec::new(&payload, vec![Arc::clone(&schema)], Some(output))
    };
    let nothing = spec(Vec::new(), vec![0, 1, 2]);
    group.bench_function("rows sorted, nothing computed", |b| b.iter(|| run(&nothing, &batches)));
    for ((name, call), expected) in calls.into_iter().zip(expected) {
        let spec = spec(vec![call], vec![0, 1, 2, 3]);
        assert_eq!(run(&spec, &batches), expected, "{name}");
        group.bench_function(name, |b| b.iter(|| run(&spec, &batches)));
    }
    group.finish();
    criterion.final_summary();
}
