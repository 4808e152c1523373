//! LIKE and the functions of strings.

use super::*;

const T: &str = "true";
const F: &str = "false";
const N: &str = "NULL";

/// Strings that lie in several buffers, in and out of order, alone and overlapping, are found like those of one buffer.
#[test]
fn needles_are_found_wherever_strings_lie() {
    let texts: Vec<String> = (0..40)
        .map(|i| match i % 7 {
            0 => format!("{i} a special kind of requests, {i} of them"),
            1 => format!("{i} requests that are special"),
            2 => "special".to_owned(),
            3 => format!("the text ends with spec{}", "x".repeat(i)),
            4 => format!("ial requests begin the next, special{}requests", "y".repeat(i % 5)),
            5 => "special requests".to_owned(),
            _ => String::new(),
        })
        .collect();
    let expected = |text: &String| text.split_once("special").is_some_and(|(_, rest)| rest.contains("requests"));
    for block_bytes in [32, 500] {
        let mut builder = arrow_array::builder::StringViewBuilder::new().with_fixed_block_size(block_bytes);
        texts.iter().for_each(|text| builder.append_value(text));
        let whole = builder.finish();
        let step = |by: usize| (0..texts.len()).map(|i| (i * by % texts.len()) as u32).collect::<Vec<_>>();
        for order in [step(1), step(3), step(39), vec![0, 0, 1, 1, 0]] {
            let views = order.iter().map(|row| whole.views()[*row as usize]).collect::<Vec<_>>();
            let array = StringViewArray::new(views.into(), whole.data_buffers().to_vec(), None);
            let wanted: Vec<&str> =
                order.iter().map(|row| if expected(&texts[*row as usize]) { T } else { F }).collect();
            check(&test("like", [col(0), text("%special%requests%")]), &[Arc::new(array) as ArrayRef], &wanted);
        }
    }
}

#[test]
fn like_in_every_form() {
    let long = "the quick brown fox jumps over the lazy dog";
    let a = strings(&[Some("abc"), Some(""), None, Some(long), Some("a%c"), Some("日本語"), Some("fox")]);
    for (pattern, expected) in [
        ("abc", [T, F, N, F, F, F, F]),
        ("", [F, T, N, F, F, F, F]),
        ("%", [T, T, N, T, T, T, T]),
        ("%%", [T, T, N, T, T, T, T]),
        ("a%", [T, F, N, F, T, F, F]),
        ("the quick%", [F, F, N, T, F, F, F]),
        ("%c", [T, F, N, F, T, F, F]),
        ("%fox%", [F, F, N, T, F, F, T]),
        ("%fox%dog%", [F, F, N, T, F, F, F]),
        ("%dog%fox%", [F, F, N, F, F, F, F]),
        ("the%fox%dog", [F, F, N, T, F, F, F]),
        ("a%c", [T, F, N, F, T, F, F]),
        ("a\\%c", [F, F, N, F, T, F, F]),
        ("___", [T, F, N, F, T, T, T]),
        ("_b%", [T, F, N, F, F, F, F]),
        ("%本%", [F, F, N, F, F, T, F]),
        ("%_本_%", [F, F, N, F, F, T, F]),
        ("%o_ %_azy%", [F, F, N, T, F, F, F]),
    ] {
        check(&test("like", [col(0), text(pattern)]), &[a.clone()], &expected);
        let turned = expected.map(|e| {
            if e == T {
                F
            } else if e == F {
                T
            } else {
                N
            }
        });
        check(&test("not_like", [col(0), text(pattern)]), &[a.clone()], &turned);
        // The same out of a column.
        let patterns = strings(&[Some(pattern); 7]);
        check(&test("like", [col(0), col(1)]), &[a.clone(), patterns], &expected);
    }
    check(&test("like", [col(0), null(LogicalType::Utf8)]), &[a.clone()], &[N; 7]);
    check(&test("like", [col(0), text("a!%c"), text("!")]), &[a.clone()], &[F, F, N, F, T, F, F]);
    check(&test("like", [col(0), text("a\\%"), text("")]), &[a.clone()], &[F, F, N, F, F, F, F]);
    check(&test("ilike", [col(0), text("A%C")]), &[a.clone()], &[T, F, N, F, T, F, F]);
    check(&test("not_ilike", [col(0), text("%FOX%")]), &[a], &[T, T, N, F, T, T, F]);
    check(
        &test("ilike", [col(0), text("straßE ÄÖ_")]),
        &[strings(&[Some("STRASSE äöü"), Some("Straße ÄöÜ")])],
        &[F, T],
    );
}

#[test]
fn needles_are_found_within_rows_only() {
    // Neighbours in one buffer: "fox" lies across their border, and "dog" before "fox" only in the row before.
    let rows = ["twelve bytes and fo", "x and more than twelve", "a dog of twelve bytes", "a fox of twelve bytes, dog"];
    let a = strings(&rows.map(Some));
    check(&test("like", [col(0), text("%fox%")]), &[a.clone()], &[F, F, F, T]);
    check(&test("like", [col(0), text("%dog%fox%")]), &[a.clone()], &[F, F, F, F]);
    check(&test("like", [col(0), text("%fox%dog%")]), &[a.clone()], &[F, F, F, T]);
    check(&test("like", [col(0), text("%s%")]), &[a.clone()], &[T, F, T, T]);
    // In another order than they lie.
    let turned = arrow_select::take::take(&a, &UInt32Array::from(vec![3, 1, 2, 0]), None).unwrap();
    check(&test("like", [col(0), text("%fox%")]), &[turned], &[T, F, F, F]);
    let needle = strings(&[Some("aaaaaaaaaaaaaaaaaaaab"), Some("aaaaaaaaaaaab and b")]);
    check(&test("like", [col(0), text("%aab%b%")]), &[needle], &[F, T]);
}

#[test]
fn a_pattern_that_ends_with_its_escape_is_refused() {
    check_error(&test("like", [col(0), text("a\\")]), &[strings(&[Some("a")])], "ends with its escape character");
    check_error(&test("like", [col(0), col(1)]), &[strings(&[Some("a")]), strings(&[Some("\\")])], "escape");
    check_error(&test("like", [col(0), text("a"), text("xy")]), &[strings(&[Some("a")])], "must be one character");
}

#[test]
fn functions_of_strings() {
    let a = strings(&[Some("abc"), Some(""), None, Some("Grüße an alle in der Straße"), Some("日本語")]);
    let of = |name, args: Vec<Expr>| call(name, args, LogicalType::Utf8);
    check(&of("upper", vec![col(0)]), &[a.clone()], &["ABC", "", N, "GRÜSSE AN ALLE IN DER STRASSE", "日本語"]);
    check(
        &of("lower", vec![of("upper", vec![col(0)])]),
        &[a.clone()],
        &["abc", "", N, "grüsse an alle in der strasse", "日本語"],
    );
    check(&call("length", [col(0)], LogicalType::Int64), &[a.clone()], &["3", "0", N, "27", "3"]);
    check(&call("length", [col(0)], LogicalType::Int32), &[a.clone()], &["3", "0", N, "27", "3"]);
    check(
        &of("concat", vec![col(0), text("-"), col(0)]),
        &[a.clone()],
        &["abc-abc", "-", N, "Grüße an alle in der Straße-Grüße an alle in der Straße", "日本語-日本語"],
    );
    check(&of("concat", vec![col(0), null(LogicalType::Utf8)]), &[a.clone()], &[N; 5]);
    check(&of("substring", vec![col(0), int(2)]), &[a.clone()], &["bc", "", N, "rüße an alle in der Straße", "本語"]);
    check(&of("substring", vec![col(0), int(2), int(1)]), &[a.clone()], &["b", "", N, "r", "本"]);
    check(&of("substring", vec![col(0), int(4), int(16)]), &[a.clone()], &["", "", N, "ße an alle in de", ""]);
    // Positions before the first count but hold nothing (PostgreSQL).
    check(&of("substring", vec![col(0), int(-1), int(3)]), &[a.clone()], &["a", "", N, "G", "日"]);
    check(&of("substring", vec![col(0), int(i64::MAX), int(i64::MAX)]), &[a.clone()], &["", "", N, "", ""]);
    let starts = ints([Some(1), Some(1), Some(1), None, Some(3)]);
    check(&of("substring", vec![col(0), col(1)]), &[a.clone(), starts], &["abc", "", N, N, "語"]);
    check_error(&of("substring", vec![col(0), int(1), int(-1)]), &[a], "the length -1 is negative");
}
