//! Results do not depend on encoding, selection, or on how rows are cut into batches.

use proptest::prelude::*;

use super::*;

fn numeric() -> BoxedStrategy<Expr> {
    let leaf = prop_oneof![Just(col(0)), Just(col(1)), (-3i64..4).prop_map(int)];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let binary = prop_oneof![Just("add"), Just("subtract"), Just("multiply"), Just("divide"), Just("modulo")];
        let of = |name: &str, a, b| call(name, [a, b], LogicalType::Int64);
        prop_oneof![
            (binary, inner.clone(), inner.clone()).prop_map(move |(name, a, b)| of(name, a, b)),
            (condition(inner.clone()), inner.clone(), inner.clone()).prop_map(|(condition, then, otherwise)| {
                Expr::Case {
                    branches: vec![(condition, then)],
                    otherwise: Some(Box::new(otherwise)),
                    return_type: LogicalType::Int64,
                }
            }),
            (inner.clone(), inner).prop_map(|(a, b)| call("coalesce", [a, b], LogicalType::Int64)),
        ]
    })
    .boxed()
}

fn condition(number: impl Strategy<Value = Expr> + Clone) -> impl Strategy<Value = Expr> {
    let name = prop_oneof![Just("eq"), Just("ne"), Just("lt"), Just("is_distinct_from")];
    let compare = (name, number.clone(), number).prop_map(|(name, a, b)| test(name, [a, b]));
    let like =
        prop_oneof![Just("%a%"), Just("b%"), Just("_b"), Just("%a%b%")].prop_map(|p| test("like", [col(2), text(p)]));
    let leaf = prop_oneof![compare, like];
    let join = prop_oneof![Just("and"), Just("or")];
    (join, proptest::collection::vec(leaf, 1..4)).prop_map(|(name, terms)| test(name, terms))
}

/// One row at a time, flat: the slow and simple way.
fn row_by_row(expr: &Expr, columns: &[ArrayRef]) -> Vec<Option<String>> {
    (0..columns[0].len())
        .map(|row| {
            let one: Vec<ArrayRef> = columns.iter().map(|c| c.slice(row, 1)).collect();
            let batch = batch(&one);
            run(expr, &batch).ok().map(|column| shown(&column, &batch).remove(0))
        })
        .collect()
}

fn check_all(expr: &Expr, a: Vec<Option<i64>>, b: Vec<Option<i64>>, c: Vec<Option<String>>, picked: &[bool]) {
    let rows = a.len().min(b.len()).min(c.len()).min(picked.len());
    let words: Vec<Option<&str>> = c[..rows].iter().map(Option::as_deref).collect();
    let columns = [ints(&a[..rows]), ints(&b[..rows]), strings(&words)];
    let expected = row_by_row(expr, &columns);
    let selection: Vec<u32> = (0..rows).filter(|i| picked[*i]).map(|i| u32::try_from(i).unwrap()).collect();
    for encoding in 0..ENCODINGS {
        let columns: Vec<ArrayRef> =
            columns.iter().map(|c| encoded(c, encoding).unwrap_or_else(|| Arc::clone(c))).collect();
        for selection in [None, Some(selection.clone())] {
            let batch = batch(&columns).with_selection(selection.clone().map(Into::into));
            let rows: Vec<usize> =
                selection.map_or((0..rows).collect(), |s| s.iter().map(|row| *row as usize).collect());
            let wanted: Option<Vec<String>> = rows.iter().map(|row| expected[*row].clone()).collect();
            match (run(expr, &batch), wanted) {
                (Ok(column), Some(wanted)) => {
                    assert_eq!(shown(&column, &batch), wanted, "{expr:?}, encoding {encoding}")
                }
                (Err(_), None) => {}
                (Ok(_), None) => panic!("{expr:?} must fail for a row of {rows:?}"),
                (Err(error), Some(_)) => panic!("{expr:?} must not fail: {error}"),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn expressions_give_what_each_row_gives_alone(
        expr in prop_oneof![numeric(), condition(numeric())],
        a in proptest::collection::vec(proptest::option::of(-3i64..4), 1..200),
        b in proptest::collection::vec(proptest::option::of(-3i64..4), 200),
        c in proptest::collection::vec(proptest::option::of("[ab]{0,3}"), 200),
        picked in proptest::collection::vec(proptest::bool::weighted(0.1), 200),
    ) {
        check_all(&expr, a, b, c, &picked);
    }

    #[test]
    fn predicates_select_where_the_expression_is_true(
        expr in condition(numeric()),
        a in proptest::collection::vec(proptest::option::of(-3i64..4), 1..200),
        picked in proptest::collection::vec(proptest::bool::weighted(0.4), 200),
    ) {
        let b: Vec<_> = a.iter().rev().copied().collect();
        let words = vec![Some("ab"); a.len()];
        let columns = [ints(a.clone()), ints(b), strings(&words)];
        let rows: Vec<u32> = (0..a.len()).filter(|i| picked[*i]).map(|i| u32::try_from(i).unwrap()).collect();
        let batch = batch(&columns).with_selection(Some(rows.clone().into()));
        let predicate = CompiledPredicate::compile(&expr, batch.schema(), &FunctionRegistry::new()).unwrap();
        // A predicate may raise fewer errors than the expression: it evaluates what cannot fail first.
        if let Ok(column) = run(&expr, &batch) {
            let shown = shown(&column, &batch);
            let wanted: Vec<u32> = rows.iter().zip(&shown).filter(|(_, v)| *v == "true").map(|(row, _)| *row).collect();
            let found = match predicate.select(&batch).unwrap() {
                Selected::All => rows,
                Selected::Rows(rows) => rows.to_vec(),
            };
            prop_assert_eq!(found, wanted);
        }
    }
}

proptest! {
    // Each case is already evaluated in every encoding, repetition and selection.
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn decimals_agree_with_wide_integers(
        a in proptest::collection::vec(proptest::option::of(-10i64.pow(17)..10i64.pow(17)), 1..50),
        b in -10i64.pow(17)..10i64.pow(17),
        small in any::<bool>(),
    ) {
        let shrink = |v: i64| if small { v % 100_000 } else { v };
        let a: Vec<Option<i128>> = a.into_iter().map(|v| v.map(|v| shrink(v).into())).collect();
        let b: i128 = shrink(b).into();
        let columns = [decimals(a.clone(), 18, 2)];
        let text = |value: Option<i128>, scale: i8| value.map_or("NULL".to_owned(), |v| crate::expr::functions::decimal::text(v, scale));
        let of = |name, precision, scale| call(name, [col(0), dec(b, 18, 3)], dec_type(precision, scale));
        let check = |expr: &Expr, expected: Vec<String>| check(expr, &columns, &expected.iter().map(String::as_str).collect::<Vec<_>>());
        check(&of("multiply", 37, 5), a.iter().map(|a| text(a.map(|a| a * b), 5)).collect());
        check(&of("add", 20, 3), a.iter().map(|a| text(a.map(|a| a * 10 + b), 3)).collect());
        check(&of("subtract", 20, 3), a.iter().map(|a| text(a.map(|a| a * 10 - b), 3)).collect());
        if b != 0 {
            // Rounded half up, by doubling instead of comparing remainders.
            let divide = |a: i128| {
                let (n, d) = (a * 10i128.pow(7), b);
                let magnitude = (2 * n.abs() + d.abs()) / (2 * d.abs());
                if (n < 0) == (d < 0) { magnitude } else { -magnitude }
            };
            check(&of("divide", 38, 6), a.iter().map(|a| text(a.map(divide), 6)).collect());
        }
    }
}
