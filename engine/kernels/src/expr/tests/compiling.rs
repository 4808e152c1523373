//! Types, names, depth, sharing, and registered functions.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const I64: LogicalType = LogicalType::Int64;

#[test]
fn wrong_expressions_are_refused_with_a_reason() {
    let columns = [ints([Some(1)]), strings(&[Some("x")])];
    let of = |expr: Expr, wanted: &str| check_error(&expr, &columns, wanted);
    of(col(7), "column 7 does not exist: the input has 2 columns");
    of(call("ad", [col(0), col(0)], I64), "there is no function \"ad\"; did you mean add");
    of(call("add", [col(0), col(1)], I64), "add does not take (BIGINT, VARCHAR)");
    of(call("add", [col(0), col(0)], LogicalType::Int32), "add returns BIGINT, but the plan states INTEGER");
    of(test("eq", [col(0), col(1)]), "eq does not take (BIGINT, VARCHAR)");
    of(call("eq", [col(0), col(0)], I64), "eq returns BOOLEAN, but the plan states BIGINT");
    of(test("and", [col(0), col(0)]), "all arguments must be BOOLEAN");
    of(call("upper", [col(0)], LogicalType::Utf8), "upper does not take (BIGINT)");
    of(
        Expr::Literal(Literal { value: Value::Int(300), data_type: LogicalType::Int8 }),
        "Int(300) is not a value of type TINYINT",
    );
    of(dec(1000, 3, 0), "is not a value of type DECIMAL(3, 0)");
    let list = vec![Literal::utf8("x")];
    of(
        Expr::InList { input: Box::new(col(0)), list, negated: false },
        "the constants must be of the type of the value",
    );
    let case = Expr::Case { branches: vec![(test("is_null", [col(0)]), text("x"))], otherwise: None, return_type: I64 };
    of(case, "a value of CASE returns VARCHAR, but the plan states BIGINT");
    let predicate = CompiledPredicate::compile(&col(0), batch(&columns).schema(), &FunctionRegistry::new());
    assert!(predicate.unwrap_err().to_string().contains("a condition returns BIGINT"));
}

#[test]
fn every_name_is_known_and_every_literal_has_an_array() {
    let registry = FunctionRegistry::new();
    assert!(registry.contains("add") && !registry.contains("user:add"));
    for name in registry.names() {
        let error = CompiledExpr::compile(
            &call(name, [], LogicalType::Time(Resolution::Second)),
            &Schema::new(vec![]),
            &registry,
        );
        if let Err(ExprError::UnknownFunction { .. }) = error {
            panic!("{name} is listed but not bound");
        }
    }
    for literal in [
        Literal::null(LogicalType::Null),
        Literal { value: Value::Binary(vec![1, 2]), data_type: LogicalType::Binary },
        Literal { value: Value::Int(1), data_type: LogicalType::Time(Resolution::Nanosecond) },
        Literal { value: Value::FloatBits(0.5f64.to_bits()), data_type: LogicalType::Float32 },
    ] {
        let column = run(&Expr::Literal(literal.clone()), &batch(&[ints([Some(1)])])).unwrap();
        assert_eq!(column.logical_type(), Some(literal.data_type));
    }
}

/// Runs on a thread with the stack of a spawned thread.
fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(2 << 20).spawn(work).unwrap().join().unwrap();
}

#[test]
fn depth_is_bounded_and_never_overflows_the_stack() {
    let nested = |levels: usize| {
        let mut expr = col(0);
        for _ in 1..levels {
            expr = call("add", [expr, int(1)], I64);
        }
        expr
    };
    on_a_small_stack(move || {
        let deepest = nested(DEPTH_MAX - 1);
        let batch = batch(&[ints([Some(0)])]);
        assert_eq!(shown(&run(&deepest, &batch).unwrap(), &batch), [(DEPTH_MAX - 2).to_string()]);
        let error = run(&nested(DEPTH_MAX + 1), &batch).unwrap_err();
        assert!(matches!(error, ExprError::TooDeep { limit: DEPTH_MAX }));
    });
    on_a_small_stack(move || {
        // CASE in CASE, and AND in OR in NOT.
        let mut case = col(0);
        let mut logic = test("ge", [col(0), int(0)]);
        for level in 0..1300 {
            case = Expr::Case {
                branches: vec![(test("eq", [col(0), int(level)]), int(-1))],
                otherwise: Some(Box::new(case)),
                return_type: I64,
            };
            let risky = test("ne", [call("divide", [int(1), col(0)], I64), int(level)]);
            logic = test("not", [test("and", [risky, test("or", [logic, test("lt", [col(0), int(level)])])])]);
        }
        let batch = batch(&[ints([Some(2000), Some(5), Some(7000)])]);
        assert_eq!(shown(&run(&case, &batch).unwrap(), &batch), ["2000", "-1", "7000"]);
        run(&logic, &batch).unwrap();
    });
}

#[test]
fn a_flat_chain_of_ten_thousand() {
    on_a_small_stack(|| {
        let a = ints((0..100).map(|i| Some(i * 500)).collect::<Vec<_>>());
        let b = strings(&[Some("x"); 100]);
        let batch = batch(&[a, b]);
        let equal = |i: i64| test("eq", [col(0), int(i)]);
        let expected: Vec<String> = (0..100i64).map(|i| (i * 500 < 10_000).to_string()).collect();
        let chain = test("or", (0..10_000).map(equal).collect::<Vec<_>>());
        assert_eq!(shown(&run(&chain, &batch).unwrap(), &batch), expected);
        // The same where no list can be made of it.
        let either = |i: i64| test("and", [equal(i), test("eq", [col(1), text("x")])]);
        let chain = test("or", (0..10_000).map(either).collect::<Vec<_>>());
        assert_eq!(shown(&run(&chain, &batch).unwrap(), &batch), expected);
        let chain = test("and", (0..10_000).map(|i| test("ne", [col(0), int(i)])).collect::<Vec<_>>());
        let predicate = CompiledPredicate::compile(&chain, batch.schema(), &FunctionRegistry::new()).unwrap();
        let rest: Vec<u32> = (20..100).collect();
        assert_eq!(predicate.select(&batch).unwrap(), Selected::Rows(rest.into()));
    });
}

/// Counts its calls and the rows it was given; adds one.
struct Counting {
    calls: AtomicUsize,
    rows: AtomicUsize,
    volatile: bool,
}

impl Counting {
    fn new(volatile: bool) -> Arc<Self> {
        Arc::new(Self { calls: AtomicUsize::new(0), rows: AtomicUsize::new(0), volatile })
    }
}

impl ScalarFunction for Counting {
    fn name(&self) -> &str {
        "user:next"
    }

    fn return_type(&self, args: &[LogicalType]) -> Result<LogicalType, FunctionError> {
        match args {
            [LogicalType::Int64] => Ok(LogicalType::Int64),
            _ => Err("next takes one BIGINT".into()),
        }
    }

    fn invoke(&self, args: &[Column], rows: usize, _: &LogicalType) -> Result<Column, FunctionError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.rows.fetch_add(rows, Ordering::Relaxed);
        let values = expand(&args[0], rows)?;
        let values = values.as_primitive::<Int64Type>();
        if values.iter().flatten().any(|v| v == 0) {
            return Err("zero has no next".into());
        }
        Ok(Column::Array(Arc::new(values.unary::<_, Int64Type>(|v| v + 1))))
    }

    fn is_deterministic(&self) -> bool {
        !self.volatile
    }
}

fn with(function: &Arc<Counting>) -> FunctionRegistry {
    let mut registry = FunctionRegistry::new();
    registry.register(Arc::<Counting>::clone(function) as Arc<dyn ScalarFunction>).unwrap();
    registry
}

fn evaluate(expr: &Expr, batch: &Batch, registry: &FunctionRegistry) -> Result<Vec<String>, ExprError> {
    let column = CompiledExpr::compile(expr, batch.schema(), registry)?.evaluate(batch)?;
    Ok(shown(&column, batch))
}

#[test]
fn registered_functions_are_found_checked_and_given_dense_rows() {
    let function = Counting::new(false);
    let registry = with(&function);
    let next = |arg| call("user:next", [arg], I64);
    let a = ints((0..100).map(Some).collect::<Vec<_>>());
    let all = batch(&[a]);
    let picked = all.clone().with_selection(Some((50..100).collect()));
    let expected: Vec<String> = (51..101).map(|i: i64| i.to_string()).collect();
    assert_eq!(evaluate(&next(col(0)), &picked, &registry).unwrap(), expected);
    assert_eq!(function.rows.load(Ordering::Relaxed), 50);
    let error = evaluate(&next(col(0)), &all, &registry).unwrap_err();
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "zero has no next");
    // Only rows that reach it.
    let guarded = Expr::Case {
        branches: vec![(test("eq", [col(0), int(0)]), int(-1))],
        otherwise: Some(Box::new(next(col(0)))),
        return_type: I64,
    };
    assert_eq!(evaluate(&guarded, &all, &registry).unwrap()[..2], ["-1", "2"]);
    let error = evaluate(&call("user:nxt", [col(0)], I64), &all, &registry).unwrap_err();
    assert!(error.to_string().contains("did you mean user:next"), "{error}");
    let error = evaluate(&call("user:next", [col(0)], LogicalType::Int32), &all, &registry).unwrap_err();
    assert!(error.to_string().contains("returns BIGINT, but the plan states INTEGER"));
    assert!(matches!(with(&function).register(function), Err(ExprError::DuplicateFunction { .. })));
}

#[test]
fn equal_parts_are_evaluated_once_for_a_batch() {
    let function = Counting::new(false);
    let registry = with(&function);
    let next = call("user:next", [col(0)], I64);
    let twice = call("add", [next.clone(), call("multiply", [next.clone(), next.clone()], I64)], I64);
    let all = batch(&[ints([Some(1), Some(2)])]);
    assert_eq!(evaluate(&twice, &all, &registry).unwrap(), ["6", "12"]);
    assert_eq!(function.calls.load(Ordering::Relaxed), 1);
    // Also by the terms of a conjunction, although each has rows of its own.
    let function = Counting::new(false);
    let range = test("and", [test("gt", [next.clone(), int(2)]), test("lt", [next.clone(), int(9)])]);
    let predicate = CompiledPredicate::compile(&range, all.schema(), &with(&function)).unwrap();
    assert_eq!(predicate.select(&all).unwrap(), Selected::Rows(vec![1].into()));
    assert_eq!(function.calls.load(Ordering::Relaxed), 1);
    // But not if it may give another answer each time.
    let function = Counting::new(true);
    assert_eq!(evaluate(&twice, &all, &with(&function)).unwrap(), ["6", "12"]);
    assert_eq!(function.calls.load(Ordering::Relaxed), 3);
}

#[test]
fn constants_stay_constant_and_dictionaries_are_peeled() {
    let function = Counting::new(false);
    let registry = with(&function);
    let next = call("user:next", [col(0)], I64);
    let constant = batch_of(vec![Column::Constant(ints([Some(1)]))], 1000);
    let column = CompiledExpr::compile(&next, constant.schema(), &registry).unwrap().evaluate(&constant).unwrap();
    assert!(column.as_constant().is_some());
    assert_eq!(function.rows.swap(0, Ordering::Relaxed), 1);
    let keys: Int32Array = (0..1000).map(|i| i % 3).collect::<Vec<_>>().into();
    let dictionary: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::new(keys, ints([Some(1), Some(2), Some(3)])));
    let all = batch(&[dictionary]);
    assert_eq!(evaluate(&next, &all, &registry).unwrap()[..4], ["2", "3", "4", "2"]);
    assert_eq!(function.rows.load(Ordering::Relaxed), 3);
    // Strings keep their codes.
    let keys: Int32Array = (0..1000).map(|i| i % 2).collect::<Vec<_>>().into();
    let words: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::new(keys, strings(&[Some("a"), Some("b")])));
    let column = run(&call("upper", [col(0)], LogicalType::Utf8), &batch(&[words])).unwrap();
    assert_eq!(column.array().as_any_dictionary().values().len(), 2);
}
