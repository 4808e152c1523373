//! Comparisons, three-valued logic, CASE, IN, and predicates.

use super::*;

const T: &str = "true";
const F: &str = "false";
const N: &str = "NULL";

#[test]
fn comparisons_of_integers() {
    let a = ints([Some(1), Some(2), Some(3), None, None]);
    let b = ints([Some(2), Some(2), Some(2), Some(2), None]);
    for (name, expected) in [
        ("eq", [F, T, F, N, N]),
        ("ne", [T, F, T, N, N]),
        ("lt", [T, F, F, N, N]),
        ("le", [T, T, F, N, N]),
        ("gt", [F, F, T, N, N]),
        ("ge", [F, T, T, N, N]),
        ("is_distinct_from", [T, F, T, T, F]),
        ("is_not_distinct_from", [F, T, F, F, T]),
    ] {
        check(&test(name, [col(0), col(1)]), &[a.clone(), b.clone()], &expected);
        if !name.contains("distinct") {
            check(&test(name, [col(0), int(2)]), &[a.clone()], &[expected[0], expected[1], expected[2], N, N]);
        }
    }
    check(&test("lt", [int(2), col(0)]), &[a.clone()], &[F, F, T, N, N]);
    check(&test("is_distinct_from", [col(0), null(LogicalType::Int64)]), &[a.clone()], &[T, T, T, F, F]);
    check(&test("is_not_distinct_from", [null(LogicalType::Null), col(0)]), &[a.clone()], &[F, F, F, T, T]);
    check(&test("eq", [col(0), null(LogicalType::Null)]), &[a], &[N; 5]);
}

#[test]
fn nan_is_equal_to_itself_and_greatest_and_zeros_are_equal() {
    let values = [f64::NAN, f64::INFINITY, 1.0, 0.0, -0.0, f64::NEG_INFINITY, -f64::NAN];
    let a = floats(values.map(Some));
    let nan = float(f64::NAN);
    check(&test("eq", [col(0), nan.clone()]), &[a.clone()], &[T, F, F, F, F, F, T]);
    check(&test("lt", [col(0), nan.clone()]), &[a.clone()], &[F, T, T, T, T, T, F]);
    check(&test("ge", [col(0), nan]), &[a.clone()], &[T, F, F, F, F, F, T]);
    check(&test("eq", [col(0), float(-0.0)]), &[a.clone()], &[F, F, F, T, T, F, F]);
    check(&test("gt", [col(0), float(0.0)]), &[a.clone()], &[T, T, T, F, F, F, T]);
    let narrow: ArrayRef = Arc::new(Float32Array::from(vec![f32::NAN, 1.0, -0.0, -1.0]));
    let zero = Expr::Literal(Literal { value: Value::FloatBits(0), data_type: LogicalType::Float32 });
    check(&test("ge", [col(0), zero]), &[narrow], &[T, T, T, F]);
}

#[test]
fn comparisons_of_decimals_with_different_scales() {
    let a = decimals([Some(100), Some(101), Some(-100), None], 15, 2);
    check(&test("eq", [col(0), dec(1, 1, 0)]), &[a.clone()], &[T, F, F, N]);
    check(&test("gt", [col(0), dec(1_005, 4, 3)]), &[a.clone()], &[F, T, F, N]);
    check(&test("eq", [col(0), int(1)]), &[a.clone()], &[T, F, F, N]);
    let b = decimals([Some(1_000_000), Some(1_009_999), Some(-1_000_001), Some(1)], 30, 6);
    check(&test("lt", [col(0), col(1)]), &[a.clone(), b.clone()], &[F, F, F, N]);
    check(&test("ge", [col(0), col(1)]), &[a, b], &[T, T, T, N]);
    // Scaling 38 digits up overflows 128 bits; the answer must not.
    let huge = decimals([Some(10i128.pow(37)), Some(-(10i128.pow(37)))], 38, 0);
    check(&test("gt", [col(0), dec(10i128.pow(37), 38, 37)]), &[huge], &[T, F]);
}

#[test]
fn comparisons_of_strings() {
    let long = "a string of more than twelve bytes";
    let a = strings(&[Some("abc"), Some("abcd"), Some(""), None, Some(long), Some("abcdefghijklmnop")]);
    check(&test("eq", [col(0), text("abcd")]), &[a.clone()], &[F, T, F, N, F, F]);
    check(&test("eq", [col(0), text(long)]), &[a.clone()], &[F, F, F, N, T, F]);
    check(&test("lt", [col(0), text("abcd")]), &[a.clone()], &[T, F, T, N, T, F]);
    check(&test("ge", [col(0), text("abc")]), &[a.clone()], &[T, T, F, N, F, T]);
    let b = strings(&[
        Some("abc\u{0}"),
        Some("abcd"),
        Some("a"),
        Some("x"),
        Some("a string of more than twelve"),
        Some("abcdefghijklmnoq"),
    ]);
    check(&test("lt", [col(0), col(1)]), &[a.clone(), b.clone()], &[T, F, T, N, F, T]);
    check(&test("ne", [col(0), col(1)]), &[a, b], &[T, F, T, N, T, T]);
    check(&test("gt", [col(0), text("é")]), &[strings(&[Some("ê"), Some("z"), Some("日本")])], &[T, F, T]);
}

#[test]
fn comparisons_of_booleans_dates_and_intervals() {
    let a = bools([Some(true), Some(false), None]);
    check(&test("gt", [col(0), Expr::Literal(Literal::boolean(false))]), &[a.clone()], &[T, F, N]);
    check(&test("eq", [col(0), col(0)]), &[a], &[T, T, N]);
    let day = Expr::Literal(Literal { value: Value::Int(10), data_type: LogicalType::Date });
    check(&test("le", [col(0), day]), &[dates([Some(9), Some(10), Some(11), None])], &[T, T, F, N]);
    let interval = |months, days, nanos| {
        Expr::Literal(Literal { value: Value::Interval { months, days, nanos }, data_type: LogicalType::Interval })
    };
    let hours = 3_600_000_000_000;
    check(&test("eq", [interval(1, 0, 0), interval(0, 29, 24 * hours)]), &[], &[T]);
}

#[test]
fn three_valued_logic() {
    let values = [Some(true), Some(false), None];
    let pairs: Vec<_> = values.iter().flat_map(|a| values.iter().map(move |b| (*a, *b))).collect();
    let a = bools(pairs.iter().map(|p| p.0).collect::<Vec<_>>());
    let b = bools(pairs.iter().map(|p| p.1).collect::<Vec<_>>());
    let both = [a.clone(), b];
    check(&test("and", [col(0), col(1)]), &both, &[T, F, N, F, F, F, N, F, N]);
    check(&test("or", [col(0), col(1)]), &both, &[T, T, T, T, F, N, T, N, N]);
    check(&test("not", [col(0)]), &[a.clone()], &[F, F, F, T, T, T, N, N, N]);
    check(&test("is_null", [col(0)]), &[a.clone()], &[F, F, F, F, F, F, T, T, T]);
    check(&test("is_not_null", [col(0)]), &[a.clone()], &[T, T, T, T, T, T, F, F, F]);
    check(&test("is_true", [col(0)]), &[a.clone()], &[T, T, T, F, F, F, F, F, F]);
    check(&test("is_false", [col(0)]), &[a.clone()], &[F, F, F, T, T, T, F, F, F]);
    let untyped = null(LogicalType::Null);
    check(&test("and", [col(0), untyped.clone()]), &[a.clone()], &[N, N, N, F, F, F, N, N, N]);
    check(&test("or", [untyped, col(0), col(0)]), &[a.clone()], &[T, T, T, N, N, N, N, N, N]);
    check(&test("and", []), &[a.clone()], &[T; 9]);
    check(&test("or", []), &[a], &[F; 9]);
}

#[test]
fn case_takes_the_first_true_branch() {
    let a = ints([Some(1), Some(2), Some(3), None]);
    let case = |otherwise: Option<Expr>| Expr::Case {
        branches: vec![
            (test("lt", [col(0), int(2)]), text("small")),
            (test("lt", [col(0), int(3)]), text("a value of more than twelve bytes")),
        ],
        otherwise: otherwise.map(Box::new),
        return_type: LogicalType::Utf8,
    };
    let long = "a value of more than twelve bytes";
    check(&case(Some(text("else"))), &[a.clone()], &["small", long, "else", "else"]);
    check(&case(None), &[a.clone()], &["small", long, "NULL", "NULL"]);
    let sum = |then: Expr, otherwise: Expr, return_type: LogicalType| Expr::Case {
        branches: vec![(test("ge", [col(0), int(2)]), then)],
        otherwise: Some(Box::new(otherwise)),
        return_type,
    };
    check(&sum(col(0), int(-1), LogicalType::Int64), &[a.clone()], &["-1", "2", "3", "-1"]);
    check(&sum(null(LogicalType::Null), col(0), LogicalType::Int64), &[a.clone()], &["1", "NULL", "NULL", "NULL"]);
    check(&sum(dec(100, 20, 2), dec(5, 20, 2), dec_type(20, 2)), &[a.clone()], &["0.05", "1.00", "1.00", "0.05"]);
    let truth = sum(test("eq", [col(0), int(2)]), null(LogicalType::Boolean), LogicalType::Boolean);
    check(&truth, &[a], &["NULL", "true", "false", "NULL"]);
}

#[test]
fn coalesce_takes_the_first_that_is_there() {
    let (a, b) = (ints([Some(1), None, None]), ints([Some(10), Some(20), None]));
    let of = |args: Vec<Expr>| call("coalesce", args, LogicalType::Int64);
    check(&of(vec![col(0), col(1)]), &[a.clone(), b.clone()], &["1", "20", "NULL"]);
    check(&of(vec![col(0), null(LogicalType::Null), col(1), int(7)]), &[a.clone(), b], &["1", "20", "7"]);
    check(&of(vec![null(LogicalType::Null)]), &[a], &["NULL"; 3]);
    let (a, b) = (strings(&[Some("x"), None, None]), strings(&[None, Some("y"), None]));
    check(&call("coalesce", [col(0), col(1)], LogicalType::Utf8), &[a, b], &["x", "y", "NULL"]);
}

fn in_list(input: Expr, list: Vec<Literal>, negated: bool) -> Expr {
    Expr::InList { input: Box::new(input), list, negated }
}

#[test]
fn lists_of_numbers_in_every_form() {
    let a = ints([Some(5), Some(-70_000), Some(9_000_000_000), None, Some(6)]);
    let list = |values: &[i64]| values.iter().map(|v| Literal::int64(*v)).collect::<Vec<_>>();
    let short = list(&[5, 9_000_000_000]);
    check(&in_list(col(0), short.clone(), false), &[a.clone()], &[T, F, T, N, F]);
    check(&in_list(col(0), short.clone(), true), &[a.clone()], &[F, T, F, N, T]);
    let with_null = [short, vec![Literal::null(LogicalType::Int64)]].concat();
    check(&in_list(col(0), with_null.clone(), false), &[a.clone()], &[T, N, T, N, N]);
    check(&in_list(col(0), with_null, true), &[a.clone()], &[F, N, F, N, N]);
    // A bitmap, whose ends are the constants themselves.
    let span: Vec<i64> = (5..500).step_by(2).collect();
    check(&in_list(col(0), list(&span), false), &[a.clone()], &[T, F, F, N, F]);
    // A hash set.
    let wide: Vec<i64> = (0..50).map(|i| i * 1_000_000_000).collect();
    check(&in_list(col(0), list(&wide), false), &[a.clone()], &[F, F, T, N, F]);
    check(&in_list(col(0), vec![], false), &[a.clone()], &[F; 5]);
    check(&in_list(col(0), vec![], true), &[a], &[T; 5]);
    let floats = floats([Some(f64::NAN), Some(-0.0), Some(1.0), None]);
    let list = vec![Literal::float64(f64::NAN), Literal::float64(0.0)];
    check(&in_list(col(0), list, false), &[floats], &[T, T, F, N]);
    let unsigned: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX, 0, 1]));
    let most = Literal { value: Value::Int(u64::MAX.into()), data_type: LogicalType::UInt64 };
    let zero = Literal { value: Value::Int(0), data_type: LogicalType::UInt64 };
    check(&in_list(col(0), vec![most, zero], false), &[unsigned], &[T, T, F]);
}

#[test]
fn lists_of_decimals_and_strings() {
    let a = decimals([Some(100), Some(10i128.pow(30)), None, Some(150)], 38, 2);
    let literal = |value: i128, scale| Literal { value: Value::Int(value), data_type: dec_type(38, scale) };
    let list = vec![literal(10, 1), literal(10i128.pow(30), 2), literal(1_501, 3)];
    check(&in_list(col(0), list, false), &[a], &[T, T, N, F]);
    let long = "a string of more than twelve bytes";
    let a = strings(&[Some("x"), Some(""), Some(long), None, Some("yy")]);
    let list = |items: &[&str]| items.iter().map(|s| Literal::utf8(*s)).collect::<Vec<_>>();
    check(&in_list(col(0), list(&["x", long]), false), &[a.clone()], &[T, F, T, N, F]);
    let many: Vec<String> = (0..100).map(|i| format!("y{i}")).chain(["".to_owned(), "yy".to_owned()]).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    check(&in_list(col(0), list(&many), false), &[a.clone()], &[F, T, F, N, T]);
    check(&in_list(col(0), list(&many), true), &[a], &[T, F, T, N, F]);
}

#[test]
fn two_hundred_thousand_constants() {
    let list: Vec<Literal> = (0..200_000).map(|i| Literal::int64(i * 977)).collect();
    check(&in_list(col(0), list, false), &[ints([Some(977 * 199_999), Some(976), None])], &[T, F, N]);
    let list: Vec<Literal> = (0..200_000).map(|i| Literal::utf8(format!("a rather long key {i}"))).collect();
    check(&in_list(col(0), list, false), &[strings(&[Some("a rather long key 199999"), Some("a"), None])], &[T, F, N]);
}

fn select(expr: &Expr, batch: &Batch) -> Result<Selected, ExprError> {
    CompiledPredicate::compile(expr, batch.schema(), &FunctionRegistry::new())?.select(batch)
}

#[test]
fn predicates_select_what_is_true() {
    let rows = 1000i64;
    let a = ints((0..rows).map(|i| (i % 10 != 3).then_some(i)).collect::<Vec<_>>());
    let b = ints((0..rows).map(|i| Some(i % 7)).collect::<Vec<_>>());
    let all = batch(&[a, b]);
    let condition = test(
        "and",
        [
            test("ge", [col(0), int(100)]),
            test("and", [test("lt", [col(1), int(3)]), test("ne", [col(1), int(1)])]),
            test("eq", [call("modulo", [col(0), int(2)], LogicalType::Int64), int(0)]),
        ],
    );
    let passes = |i: i64| i % 10 != 3 && i >= 100 && i % 7 < 3 && i % 7 != 1 && i % 2 == 0;
    let expected: Vec<u32> = (0..1000u32).filter(|i| passes((*i).into())).collect();
    assert_eq!(select(&condition, &all).unwrap(), Selected::Rows(expected.clone().into()));
    for step in [2usize, 5, 40, 300] {
        let picked: Vec<u32> = (0..1000).step_by(step).collect();
        let narrowed = all.clone().with_selection(Some(picked.clone().into()));
        let wanted: Vec<u32> = picked.into_iter().filter(|i| passes((*i).into())).collect();
        assert_eq!(select(&condition, &narrowed).unwrap(), Selected::Rows(wanted.into()), "step {step}");
    }
    assert_eq!(select(&test("is_not_null", [col(1)]), &all).unwrap(), Selected::All);
    assert_eq!(select(&null(LogicalType::Boolean), &all).unwrap(), Selected::Rows(Selection::default()));
    assert_eq!(select(&test("lt", [col(0), int(0)]), &all).unwrap(), Selected::Rows(Selection::default()));
    let kept = select(&test("lt", [col(1), int(7)]), &all.clone().with_selection(Some(vec![5].into()))).unwrap();
    assert_eq!(kept.apply(all.with_selection(Some(vec![5].into()))).selection().unwrap().as_ref(), &[5]);
}

#[test]
fn predicates_learn_their_order_without_changing_the_answer() {
    let a = ints((0..8192).map(Some).collect::<Vec<_>>());
    let all = batch(&[a]);
    let condition = test("and", [test("ge", [col(0), int(1)]), test("lt", [col(0), int(5)])]);
    let compiled = CompiledPredicate::compile(&condition, all.schema(), &FunctionRegistry::new()).unwrap();
    for _ in 0..5 {
        assert_eq!(compiled.select(&all).unwrap(), Selected::Rows(vec![1, 2, 3, 4].into()));
    }
    // The second removes nearly all rows, so it comes first now.
    assert_eq!(compiled.order(), [1, 0]);
}
