//! Values against what DuckDB 2.0.0 says of them.

use std::sync::Arc;

use arrow_array::builder::{Int32Builder, MapBuilder, StringBuilder};
use arrow_array::types::{Float64Type, Int32Type};
use arrow_array::{Array, ArrayRef, BinaryViewArray, Decimal64Array, Int32Array, ListArray, StringArray, StructArray};
use arrow_cast::display::array_value_to_string;
use arrow_schema::{ArrowError, DataType, Field};
use flumen_core::types::LogicalType;

use super::*;

fn lists(values: Vec<Option<Vec<Option<i32>>>>) -> ArrayRef {
    Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(values))
}

fn logical(array: &ArrayRef) -> LogicalType {
    LogicalType::from_arrow(array.data_type()).unwrap()
}

fn maps() -> ArrayRef {
    let mut builder = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    for entries in [Some(vec![("a b", Some(1)), ("k=", None)]), Some(vec![]), None] {
        for (key, value) in entries.iter().flatten() {
            builder.keys().append_value(key);
            builder.values().append_option(*value);
        }
        builder.append(entries.is_some()).unwrap();
    }
    Arc::new(builder.finish())
}

fn structs() -> ArrayRef {
    let texts = StringArray::from(vec![Some("x"), None, Some("it's"), Some("")]);
    let numbers =
        Decimal64Array::from(vec![Some(150), Some(-5), None, Some(0)]).with_precision_and_scale(9, 2).unwrap();
    let parts: Vec<(Arc<Field>, ArrayRef)> = vec![
        (Arc::new(Field::new("t", DataType::Utf8, true)), Arc::new(texts)),
        (Arc::new(Field::new("n", numbers.data_type().clone(), true)), Arc::new(numbers)),
    ];
    let valid = arrow_buffer::NullBuffer::from(vec![true, true, true, false]);
    let (fields, columns): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    Arc::new(StructArray::new(fields.into(), columns, Some(valid)))
}

fn text(array: &ArrayRef) -> Vec<String> {
    let simple = &mut |part: &ArrayRef| {
        (0..part.len()).map(|row| array_value_to_string(part, row)).collect::<Result<Vec<_>, ArrowError>>()
    };
    let texts = NestedText::new(array, simple).unwrap();
    (0..array.len())
        .map(|row| {
            let mut text = String::new();
            texts.write(row, &mut text);
            text
        })
        .collect()
}

#[test]
fn bytes_turn_into_the_values_again() {
    let floats = ListArray::from_iter_primitive::<Float64Type, _, _>([Some(vec![Some(1.5), None]), None, Some(vec![])]);
    let lists_of_lists = {
        let inner = lists(vec![Some(vec![Some(1)]), None, Some(vec![]), Some(vec![None, Some(2)])]);
        let offsets = arrow_buffer::OffsetBuffer::from_lengths([2, 0, 2]);
        let field = Arc::new(Field::new("element", inner.data_type().clone(), true));
        Arc::new(ListArray::new(field, offsets, inner, None)) as ArrayRef
    };
    for array in [Arc::new(floats) as ArrayRef, lists_of_lists, maps(), structs()] {
        for slice in [Arc::clone(&array), array.slice(1, 2), array.slice(0, 0)] {
            let keys = NestedKeys::new(&logical(&slice)).unwrap();
            let bytes = keys.encode(&slice).unwrap();
            assert_eq!(bytes.null_count(), slice.null_count());
            let bytes = arrow_cast::cast(&bytes, &DataType::BinaryView).unwrap();
            let back = keys.decode(bytes.as_any().downcast_ref::<BinaryViewArray>().unwrap()).unwrap();
            assert_eq!(back.data_type(), &logical(&slice).arrow_type());
            assert_eq!(text(&back), text(&slice));
        }
    }
}

#[test]
fn bytes_order_as_values_do() {
    // SELECT x FROM (VALUES ...) ORDER BY x.
    let sorted = lists(vec![
        Some(vec![]),
        Some(vec![Some(1)]),
        Some(vec![Some(1), Some(2)]),
        Some(vec![Some(1), None]),
        Some(vec![None]),
    ]);
    let bytes = NestedKeys::new(&logical(&sorted)).unwrap().encode(&sorted).unwrap();
    let bytes: Vec<&[u8]> = bytes.iter().flatten().collect();
    assert_eq!(bytes.len(), 5);
    assert!(bytes.is_sorted_by(|a, b| a < b));
}

#[test]
fn equal_values_have_equal_bytes_whatever_carries_them() {
    let zeros = |values: [f64; 2]| -> ArrayRef {
        Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>([Some(values.map(Some))]))
    };
    let encode = |array: &ArrayRef| NestedKeys::new(&logical(array)).unwrap().encode(array).unwrap().value(0).to_vec();
    assert_eq!(encode(&zeros([0.0, f64::NAN])), encode(&zeros([-0.0, -f64::NAN])));
    let narrow = structs().slice(0, 1);
    let wide = DataType::Struct(
        vec![Field::new("t", DataType::Utf8View, true), Field::new("n", DataType::Decimal128(9, 2), true)].into(),
    );
    let wide = arrow_cast::cast(&narrow, &wide).unwrap();
    assert_eq!(encode(&narrow), encode(&wide));
    // Another name for the items.
    let named = ListArray::new(
        Arc::new(Field::new("element", DataType::Int32, false)),
        arrow_buffer::OffsetBuffer::from_lengths([1]),
        Arc::new(Int32Array::from(vec![7])),
        None,
    );
    assert_eq!(encode(&(Arc::new(named) as ArrayRef)), encode(&lists(vec![Some(vec![Some(7)])])));
}

#[test]
fn texts_are_quoted_where_they_would_be_misread() {
    assert_eq!(text(&lists(vec![Some(vec![Some(1), None]), Some(vec![]), None])), ["[1, NULL]", "[]", "NULL"]);
    assert_eq!(text(&maps()), ["{a b=1, 'k='=NULL}", "{}", "NULL"]);
    assert_eq!(
        text(&structs()),
        ["{'t': x, 'n': 1.50}", "{'t': NULL, 'n': -0.05}", "{'t': 'it\\'s', 'n': NULL}", "NULL"]
    );
    let words = ["a", "b,c", "", "x y", "NULL", "q\"r", "[", "a\\b", " s", "a/b", "nULL x"];
    let values: ArrayRef = Arc::new(StringArray::from(words.to_vec()));
    let field = Arc::new(Field::new("item", DataType::Utf8, true));
    let offsets = arrow_buffer::OffsetBuffer::from_lengths([words.len()]);
    let list: ArrayRef = Arc::new(ListArray::new(field, offsets, values, None));
    let expected = r#"[a, 'b,c', '', x y, 'NULL', 'q"r', '[', 'a\\b', ' s', a/b, nULL x]"#;
    assert_eq!(text(&list), [expected]);
}
