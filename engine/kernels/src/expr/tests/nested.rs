//! Nested values: conversions, comparisons, constants. What must come out is DuckDB 2.0.0's.

use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::Fields;

use super::*;

const N: &str = "NULL";

fn list(item: LogicalType) -> LogicalType {
    LogicalType::list_of(item)
}

fn as_text(expr: Expr) -> Expr {
    cast(expr, LogicalType::Utf8, false)
}

fn int_lists() -> ArrayRef {
    let lists = [Some(vec![Some(1), None]), None, Some(vec![]), Some(vec![Some(-7)])];
    Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists))
}

/// `['1', NULL]`, NULL over an item that is no number, `['x']`.
fn text_lists() -> ArrayRef {
    let items: ArrayRef = Arc::new(StringArray::from(vec![Some("1"), None, Some("hidden"), Some("x")]));
    let field = Arc::new(arrow_schema::Field::new("element", DataType::Utf8, true));
    let valid = NullBuffer::from(vec![true, false, true]);
    Arc::new(ListArray::new(field, OffsetBuffer::from_lengths([2, 1, 1]), items, Some(valid)))
}

fn structs() -> ArrayRef {
    let fields: Fields =
        vec![arrow_schema::Field::new("a", DataType::Int32, true), arrow_schema::Field::new("B", DataType::Utf8, true)]
            .into();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![Some(1), None, Some(3)])),
        Arc::new(StringArray::from(vec![Some("x"), Some("y"), None])),
    ];
    Arc::new(StructArray::new(fields, columns, Some(NullBuffer::from(vec![true, true, false]))))
}

fn struct_type(fields: &[(&str, LogicalType)]) -> LogicalType {
    LogicalType::Struct(fields.iter().map(|(name, t)| Field::new(*name, t.clone(), true)).collect())
}

#[test]
fn lists_are_cast_item_by_item() {
    let to = |item: LogicalType, safe| as_text(cast(col(0), list(item), safe));
    check(&to(LogicalType::Int64, false), &[int_lists()], &["[1, NULL]", N, "[]", "[-7]"]);
    check(&to(LogicalType::Utf8, false), &[int_lists()], &["[1, NULL]", N, "[]", "[-7]"]);
    check(&to(dec_type(4, 1), false), &[int_lists()], &["[1.0, NULL]", N, "[]", "[-7.0]"]);
    check(&to(LogicalType::Int32, true), &[text_lists()], &["[1, NULL]", N, "[NULL]"]);
    check(&to(LogicalType::Int32, false), &[text_lists().slice(0, 2)], &["[1, NULL]", N]);
    check_error(&to(LogicalType::Int32, false), &[text_lists()], "cannot cast \"x\" from VARCHAR to INTEGER");
    let of_lists = as_text(cast(col(0), list(list(LogicalType::Int8)), false));
    let outer = {
        let field = Arc::new(arrow_schema::Field::new("item", int_lists().data_type().clone(), true));
        Arc::new(ListArray::new(field, OffsetBuffer::from_lengths([1, 3]), int_lists(), None))
    };
    check(&of_lists, &[outer], &["[[1, NULL]]", "[NULL, [], [-7]]"]);
}

#[test]
fn parts_of_structs_are_found_by_name() {
    let to = |fields: &[(&str, LogicalType)]| as_text(cast(col(0), struct_type(fields), false));
    check(&as_text(col(0)), &[structs()], &["{'a': 1, 'B': x}", "{'a': NULL, 'B': y}", N]);
    let swapped = to(&[("b", LogicalType::Utf8), ("c", LogicalType::Int8), ("a", LogicalType::Int64)]);
    check(&swapped, &[structs()], &["{'b': x, 'c': NULL, 'a': 1}", "{'b': y, 'c': NULL, 'a': NULL}", N]);
    let renamed = to(&[("x", LogicalType::Utf8), ("y", LogicalType::Utf8)]);
    check(&renamed, &[structs()], &["{'x': 1, 'y': x}", "{'x': NULL, 'y': y}", N]);
    // Behind a NULL struct nothing fails.
    let failing = to(&[("b", LogicalType::Int32)]);
    check_error(&failing, &[structs()], "cannot cast \"x\" from VARCHAR to INTEGER");
    check(&failing, &[structs().slice(2, 1)], &[N]);
    let fewer = cast(col(0), struct_type(&[("z", LogicalType::Int32)]), false);
    check_error(&fewer, &[structs()], "there is no cast from ROW<a INTEGER, B VARCHAR> to ROW<z INTEGER>");
    check_error(&cast(col(0), LogicalType::Int32, false), &[int_lists()], "there is no cast from ARRAY<INTEGER>");
}

#[test]
fn constants_have_parts() {
    let row = |values: Vec<Value>| Value::Struct(values);
    let literal = |value: Value, data_type: LogicalType| as_text(Expr::Literal(Literal { value, data_type }));
    let one = [ints([Some(1)])];
    let fields = struct_type(&[("a", LogicalType::Int32), ("b", list(LogicalType::Utf8))]);
    let value = row(vec![Value::Int(1), Value::List(vec![Value::Utf8("x".into()), Value::Null])]);
    check(&literal(value.clone(), fields.clone()), &one, &["{'a': 1, 'b': [x, NULL]}"]);
    check(&literal(Value::List(vec![value, Value::Null]), list(fields)), &one, &["[{'a': 1, 'b': [x, NULL]}, NULL]"]);
    let map = LogicalType::map_of(LogicalType::Utf8, LogicalType::Int32);
    let entries =
        vec![row(vec![Value::Utf8("k".into()), Value::Int(1)]), row(vec![Value::Utf8("j".into()), Value::Null])];
    check(&literal(Value::List(entries), map.clone()), &one, &["{k=1, j=NULL}"]);
    check(&literal(Value::List(vec![]), map), &one, &["{}"]);
    check_error(
        &literal(row(vec![]), struct_type(&[("a", LogicalType::Int32)])),
        &one,
        "is not a value of type ROW<a INTEGER>",
    );
}

#[test]
fn whole_values_compare() {
    let constant =
        |items: Vec<Value>| Expr::Literal(Literal { value: Value::List(items), data_type: list(LogicalType::Int32) });
    let one_null = || constant(vec![Value::Int(1), Value::Null]);
    check(&test("eq", [col(0), one_null()]), &[int_lists()], &["true", N, "false", "false"]);
    check(&test("lt", [col(0), one_null()]), &[int_lists()], &["false", N, "true", "true"]);
    let two = constant(vec![Value::Int(1), Value::Int(2)]);
    check(&test("gt", [col(0), two]), &[int_lists()], &["true", N, "false", "false"]);
    check(&test("is_distinct_from", [col(0), one_null()]), &[int_lists()], &["false", "true", "true", "true"]);
    let floats = |zero: f64| -> ArrayRef {
        Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>([Some(vec![Some(zero), Some(f64::NAN)])]))
    };
    check(&test("eq", [col(0), col(1)]), &[floats(0.0), floats(-0.0)], &["true"]);
}
