//! Errors are raised for rows that are selected and reached, and for no others.

use super::*;

const I64: LogicalType = LogicalType::Int64;

fn inverse() -> Expr {
    call("divide", [int(1), col(0)], I64)
}

/// Zeros among many, few or all other rows, so that every way of narrowing is taken.
fn mixes() -> Vec<ArrayRef> {
    let mix = |zero: fn(i64) -> bool| ints((0..1000).map(|i| Some(if zero(i) { 0 } else { 1 })).collect::<Vec<_>>());
    vec![mix(|i| i % 2 == 0), mix(|i| i % 100 != 0), mix(|i| i == 17), mix(|_| true), ints([Some(0)])]
}

#[test]
fn case_guards_its_branches() {
    let case = Expr::Case {
        branches: vec![(test("eq", [col(0), int(0)]), int(-1))],
        otherwise: Some(Box::new(inverse())),
        return_type: I64,
    };
    let turned = Expr::Case {
        branches: vec![(test("ne", [col(0), int(0)]), inverse())],
        otherwise: Some(Box::new(int(-1))),
        return_type: I64,
    };
    for expr in [case, turned] {
        for a in mixes() {
            let batch = batch(&[a.clone()]);
            let expected: Vec<&str> =
                a.as_primitive::<Int64Type>().values().iter().map(|v| if *v == 0 { "-1" } else { "1" }).collect();
            assert_eq!(shown(&run(&expr, &batch).unwrap(), &batch), expected);
        }
    }
}

#[test]
fn conjunctions_and_disjunctions_guard_what_follows() {
    let risky = || test("gt", [inverse(), int(0)]);
    let guarded = test("and", [test("ne", [col(0), int(0)]), risky()]);
    let skipped = test("or", [test("eq", [col(0), int(0)]), risky()]);
    for a in mixes() {
        let batch = batch(&[a.clone()]);
        let nonzero: Vec<u32> =
            a.as_primitive::<Int64Type>().values().iter().zip(0..).filter(|(v, _)| **v != 0).map(|(_, i)| i).collect();
        let wanted: Vec<String> = (0..a.len()).map(|i| nonzero.contains(&(i as u32)).to_string()).collect();
        assert_eq!(shown(&run(&guarded, &batch).unwrap(), &batch), wanted);
        assert_eq!(shown(&run(&skipped, &batch).unwrap(), &batch), vec!["true"; a.len()]);
        let predicate = CompiledPredicate::compile(&guarded, batch.schema(), &FunctionRegistry::new()).unwrap();
        for _ in 0..3 {
            assert_eq!(predicate.select(&batch).unwrap(), Selected::Rows(nonzero.clone().into()));
        }
        // Without the guard it fails.
        assert!(run(&risky(), &batch).is_err());
    }
}

#[test]
fn a_null_condition_does_not_guard_the_rest_of_a_conjunction() {
    // NULL AND x needs x, so that FALSE can come out.
    let a = ints([Some(0)]);
    let expr = test("and", [null(LogicalType::Boolean), test("gt", [inverse(), int(0)])]);
    check_error(&expr, &[a], "division by zero");
}

#[test]
fn unselected_rows_never_fail() {
    let a = ints((0..1000).map(|i| Some(i % 3)).collect::<Vec<_>>());
    let of = |step: usize, skip: usize| -> Batch {
        let rows: Vec<u32> = (0..1000u32).filter(|i| i % 3 != 0).skip(skip).step_by(step).collect();
        batch(&[a.clone()]).with_selection(Some(rows.into()))
    };
    let exprs = [
        inverse(),
        call("modulo", [int(1), col(0)], I64),
        call("subtract", [int(i64::MIN + 1), call("subtract", [int(1), col(0)], I64)], I64),
        cast(
            Expr::Case {
                branches: vec![(test("eq", [col(0), int(0)]), text("no number"))],
                otherwise: Some(Box::new(text("5"))),
                return_type: LogicalType::Utf8,
            },
            I64,
            false,
        ),
    ];
    for expr in &exprs[..2] {
        for step in [1, 2, 50] {
            run(expr, &of(step, 0)).unwrap();
        }
        assert!(run(expr, &batch(&[a.clone()])).is_err());
    }
    for step in [1, 2, 50] {
        run(&exprs[3], &of(step, 0)).unwrap();
    }
    assert!(fails(&exprs[3], &[a.clone()]).contains("cannot cast \"no number\" from VARCHAR to BIGINT"));
    assert!(run(&exprs[2], &of(1, 0)).is_ok());
    check_error(&exprs[2], &[ints([Some(-1)])], "out of range");
}

#[test]
fn a_failing_value_that_no_row_has_does_not_fail() {
    let keys: Int32Array = vec![0, 1, 0, 1].into();
    let dictionary: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::new(keys, ints([Some(1), Some(2), Some(0)])));
    let batch = batch(&[dictionary]);
    assert_eq!(shown(&run(&inverse(), &batch).unwrap(), &batch), ["1", "0", "1", "0"]);
}

#[test]
fn nulls_never_fail() {
    // The slot behind a NULL holds a zero.
    let a: ArrayRef = Arc::new(Int64Array::new(vec![1, 0].into(), Some(vec![true, false].into())));
    check(&inverse(), &[a], &["1", "NULL"]);
    let b: ArrayRef = Arc::new(
        Decimal64Array::new(vec![100, 0, i64::MAX].into(), Some(vec![true, false, false].into()))
            .with_precision_and_scale(18, 2)
            .unwrap(),
    );
    let quotient = call("divide", [dec(100, 3, 2), col(0)], dec_type(20, 6));
    let batch = batch(&[b]);
    assert_eq!(shown(&run(&quotient, &batch).unwrap(), &batch), ["1.000000", "NULL", "NULL"]);
}
