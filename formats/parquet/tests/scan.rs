//! Files written by the library, read back by the scan: types, batch sizes, positions, bindings, pruning.

mod support;

use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int8Array, Int16Array, Int32Array,
    Int64Array, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow_cast::cast;
use flumen_core::batch::Batch;
use flumen_core::expr::{Expr, Literal, Value};
use flumen_core::source::RuntimeFilter;
use flumen_core::types::{Field, LogicalType, Resolution, Schema};
use flumen_formats::Encoder;
use flumen_formats_parquet::{FooterCache, ParquetEncoder, ParquetError, ParquetFile, RowGroupPruner};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use support::{Scan, file_of, parquet_bytes};

/// Every type the engine takes from Parquet, with and without NULLs, `rows` rows.
fn all_types(rows: i64) -> RecordBatch {
    let some = |i: i64, n: i64| (i % n != 0).then_some(i);
    let list = (0..rows).fold(ListBuilder::new(StringBuilder::new()), |mut list, i| {
        (0..i % 3).for_each(|j| list.values().append_value(format!("{i}/{j}")));
        list.append(i % 4 != 0);
        list
    });
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("id", Arc::new(Int64Array::from_iter_values(0..rows)), false),
        ("bool", Arc::new((0..rows).map(|i| some(i, 5).map(|i| i % 2 == 0)).collect::<BooleanArray>()), true),
        ("i8", Arc::new((0..rows).map(|i| some(i, 3).map(|i| i as i8)).collect::<Int8Array>()), true),
        ("i16", Arc::new((0..rows).map(|i| some(i, 3).map(|i| i as i16)).collect::<Int16Array>()), true),
        ("i32", Arc::new((0..rows).map(|i| some(i, 7).map(|i| i as i32 * 7)).collect::<Int32Array>()), true),
        ("u64", Arc::new((0..rows).map(|i| u64::MAX - i as u64).collect::<UInt64Array>()), true),
        ("f64", Arc::new((0..rows).map(|i| some(i, 4).map(|i| i as f64 / 3.0)).collect::<Float64Array>()), true),
        ("dec9", decimal(rows, 9, 2), true),
        ("dec15", decimal(rows, 15, 2), true),
        ("dec38", decimal(rows, 38, 10), true),
        (
            "text",
            Arc::new((0..rows).map(|i| some(i, 6).map(|i| format!("row number {i}"))).collect::<StringArray>()),
            true,
        ),
        (
            "word",
            Arc::new(
                (0..rows).map(|i| Some(["a", "bb", "a rather long word"][i as usize % 3])).collect::<StringArray>(),
            ),
            false,
        ),
        ("bytes", Arc::new((0..rows).map(|i| some(i, 6).map(|i| i.to_be_bytes())).collect::<BinaryArray>()), true),
        ("date", Arc::new((0..rows).map(|i| some(i, 9).map(|i| i as i32)).collect::<Date32Array>()), true),
        (
            "time",
            Arc::new((0..rows).map(|i| some(i, 9).map(|i| i * 1_001)).collect::<TimestampMicrosecondArray>()),
            true,
        ),
        ("utc", Arc::new(TimestampMicrosecondArray::from_iter_values(0..rows).with_timezone("UTC")), true),
        ("list", Arc::new({ list }.finish()), true),
        ("nothing", Arc::new(Int32Array::from(vec![None; rows as usize])), true),
    ];
    let nested = StructArray::from(vec![(
        Arc::new(arrow_schema::Field::new("x", arrow_schema::DataType::Int64, true)),
        Arc::new((0..rows).map(|i| some(i, 2)).collect::<Int64Array>()) as ArrayRef,
    )]);
    let mut fields: Vec<_> = columns
        .iter()
        .map(|(name, a, nullable)| arrow_schema::Field::new(*name, a.data_type().clone(), *nullable))
        .collect();
    let mut arrays: Vec<_> = columns.into_iter().map(|(_, array, _)| array).collect();
    fields.push(arrow_schema::Field::new("struct", arrow_array::Array::data_type(&nested).clone(), false));
    arrays.push(Arc::new(nested));
    RecordBatch::try_new(Arc::new(arrow_schema::Schema::new(fields)), arrays).unwrap()
}

fn decimal(rows: i64, precision: u8, scale: i8) -> ArrayRef {
    let values = (0..rows).map(|i| (i % 8 != 0).then_some(i128::from(i * 100 - 350)));
    Arc::new(values.collect::<Decimal128Array>().with_precision_and_scale(precision, scale).unwrap())
}

/// The column in the engine's carrier.
fn carried(array: &ArrayRef) -> ArrayRef {
    let carrier = LogicalType::from_arrow(array.data_type()).unwrap().arrow_type();
    cast(array, &carrier).unwrap()
}

fn properties(version: WriterVersion, dictionary: bool, group_rows: usize) -> WriterProperties {
    WriterProperties::builder()
        .set_writer_version(version)
        .set_dictionary_enabled(dictionary)
        .set_max_row_group_row_count(Some(group_rows))
        .set_data_page_row_count_limit(50)
        .set_write_batch_size(16)
        .set_compression(parquet::basic::Compression::SNAPPY)
        .build()
}

#[test]
fn every_type_arrives_in_its_carrier_at_every_batch_size() {
    let rows = all_types(301);
    for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
        for dictionary in [true, false] {
            let bytes = parquet_bytes(&rows, properties(version, dictionary, 128));
            let scan = Scan::open(&bytes, None).unwrap();
            assert_eq!((scan.file.rows(), scan.file.row_groups()), (301, 3));
            for batch_rows in [1, 7, 8192] {
                let columns = scan.columns(batch_rows).unwrap();
                for (index, field) in scan.schema.fields.iter().enumerate() {
                    let expected = carried(rows.column(index));
                    assert_eq!(&columns[index], &expected, "{} {version:?} {dictionary} {batch_rows}", field.name);
                    assert_eq!(columns[index].data_type(), &field.data_type.arrow_type(), "{}", field.name);
                }
            }
        }
    }
}

#[test]
fn a_scan_goes_on_behind_any_row() {
    let rows = all_types(120);
    let bytes = parquet_bytes(&rows, properties(WriterVersion::PARQUET_1_0, true, 120));
    let scan = Scan::open(&bytes, None).unwrap();
    for from in 0..=120 {
        for batch_rows in [7, 8192] {
            let batches = scan.row_group(0, batch_rows, from).unwrap();
            assert_eq!(batches.iter().map(Batch::num_rows).sum::<usize>() as u64, 120 - from);
            if from < 120 {
                let ids = &support::concat(&batches, scan.bindings.len())[0];
                assert_eq!(ids, &(Arc::new(Int64Array::from_iter_values(from as i64..120)) as ArrayRef));
            }
        }
    }
    assert!(scan.row_group(0, 7, 121).is_err(), "there is no such row");
}

#[test]
fn columns_are_bound_by_name_and_converted() {
    let bytes = parquet_bytes(&all_types(20), properties(WriterVersion::PARQUET_1_0, true, 20));
    let fields = vec![
        Field::new("TEXT", LogicalType::Utf8, true),
        Field::new("i32", LogicalType::Int64, true),
        Field::new("absent", LogicalType::Date, true),
        Field::new("id", LogicalType::Int64, false),
        Field::new("i32", LogicalType::Int32, true),
        Field::new("time", LogicalType::Timestamp { resolution: Resolution::Millisecond, zone: None }, true),
    ];
    let columns = Scan::open(&bytes, Some(fields)).unwrap().columns(7).unwrap();
    let rows = all_types(20);
    assert_eq!(&columns[0], &carried(rows.column_by_name("text").unwrap()));
    assert_eq!(&columns[1], &cast(rows.column_by_name("i32").unwrap(), &arrow_schema::DataType::Int64).unwrap());
    assert_eq!((columns[2].len(), columns[2].null_count()), (20, 20));
    assert_eq!(&columns[3], &carried(rows.column_by_name("id").unwrap()));
    assert_eq!(&columns[4], &carried(rows.column_by_name("i32").unwrap()));
    assert_eq!(columns[5].data_type(), &arrow_schema::DataType::Timestamp(arrow_schema::TimeUnit::Millisecond, None));

    for (field, problem) in [
        (Field::new("text", LogicalType::Int64, true), "is BIGINT in the table but VARCHAR"),
        (Field::new("absent", LogicalType::Int64, false), "is BIGINT in the table but missing"),
    ] {
        let error = Scan::open(&bytes, Some(vec![field])).err().unwrap();
        assert!(error.to_string().contains(problem), "{error}");
    }
    let narrow = Scan::open(&bytes, Some(vec![Field::new("i32", LogicalType::Int8, true)])).unwrap();
    let error = narrow.columns(8192).unwrap_err();
    assert!(matches!(error, ParquetError::Value { row_group: 0, ref column, .. } if column == "i32"), "{error}");
}

#[test]
fn without_columns_there_are_still_rows() {
    let bytes = parquet_bytes(&all_types(20), properties(WriterVersion::PARQUET_1_0, true, 11));
    let scan = Scan::open(&bytes, Some(Vec::new())).unwrap();
    let rows =
        |group, from| -> Vec<_> { scan.row_group(group, 7, from).unwrap().iter().map(Batch::num_rows).collect() };
    assert_eq!((rows(0, 0), rows(1, 0), rows(0, 9)), (vec![7, 4], vec![7, 2], vec![2]));
}

#[test]
fn empty_files_have_a_schema_and_no_rows() {
    let bytes = parquet_bytes(&all_types(0), WriterProperties::builder().build());
    let scan = Scan::open(&bytes, None).unwrap();
    assert_eq!((scan.file.rows(), scan.file.row_groups(), scan.schema.fields.len()), (0, 0, 19));
    assert_eq!(scan.file.statistics(&[Some(0)]).rows, Some(0));
}

fn compare(name: &str, column: usize, literal: Literal) -> Expr {
    Expr::call(name, vec![Expr::Column(column), Expr::Literal(literal)], LogicalType::Boolean)
}

/// Row groups of ten rows that may match; each must, by the values, or the scan only reads more than it needs to.
fn check_pruning(column: &str, filter: impl Fn(usize) -> Expr, expected: &[usize]) {
    let bytes = parquet_bytes(&all_types(40), properties(WriterVersion::PARQUET_1_0, true, 10));
    let scan = Scan::open(&bytes, None).unwrap();
    let index = scan.schema.index_of(column).unwrap();
    let pruner = RowGroupPruner::new(&[filter(index)]);
    let kept: Vec<_> = (0..4).filter(|group| pruner.may_match(&scan.file, *group, &scan.bindings)).collect();
    assert_eq!(kept, expected, "{column}");
}

#[test]
fn row_groups_are_left_out_by_their_statistics() {
    let decimal =
        |value, scale| Literal { value: Value::Int(value), data_type: LogicalType::Decimal { precision: 15, scale } };
    let date = |days| Literal { value: Value::Int(days), data_type: LogicalType::Date };
    check_pruning("id", |c| compare("lt", c, Literal::int64(10)), &[0]);
    check_pruning("id", |c| compare("ge", c, Literal::int64(30)), &[3]);
    check_pruning("id", |c| compare("gt", c, Literal::int64(39)), &[]);
    check_pruning("i32", |c| compare("eq", c, Literal { data_type: LogicalType::Int32, ..Literal::int64(105) }), &[1]);
    // Values are 1.00 * row - 3.50.
    check_pruning("dec15", |c| compare("gt", c, decimal(265, 1)), &[3]);
    check_pruning("dec9", |c| compare("lt", c, decimal(6, 0)), &[0]);
    check_pruning("dec38", |c| compare("le", c, decimal(0, 2)), &[0]);
    check_pruning("date", |c| compare("ge", c, date(20)), &[2, 3]);
    check_pruning(
        "u64",
        |c| compare("eq", c, Literal { value: Value::Int(u64::MAX as i128), data_type: LogicalType::UInt64 }),
        &[0],
    );
    check_pruning("word", |c| compare("eq", c, Literal::utf8("a rather")), &[0, 1, 2, 3]);
    check_pruning("word", |c| compare("gt", c, Literal::utf8("c")), &[]);
    check_pruning("f64", |c| compare("lt", c, Literal::float64(3.0)), &[0]);
    check_pruning("f64", |c| compare("gt", c, Literal::float64(1e9)), &[0, 1, 2, 3]);
    check_pruning("nothing", |c| Expr::call("is_not_null", vec![Expr::Column(c)], LogicalType::Boolean), &[]);
    check_pruning("id", |c| Expr::call("is_null", vec![Expr::Column(c)], LogicalType::Boolean), &[]);
    // Nested columns have no statistics of their own.
    check_pruning("list", |c| Expr::call("is_null", vec![Expr::Column(c)], LogicalType::Boolean), &[0, 1, 2, 3]);
}

#[test]
fn runtime_filters_leave_out_row_groups() {
    let bytes = parquet_bytes(&all_types(40), properties(WriterVersion::PARQUET_1_0, true, 10));
    let scan = Scan::open(&bytes, None).unwrap();
    let kept = |min, max, bitmap: Option<Vec<u64>>| -> Vec<_> {
        let (min, max) = (Literal::int64(min), Literal::int64(max));
        let filter = RuntimeFilter { min, max, bitmap: bitmap.map(Arc::from) };
        (0..4).filter(|g| RowGroupPruner::may_join(&scan.file, *g, &scan.bindings, 0, &filter)).collect()
    };
    assert_eq!(kept(12, 25, None), [1, 2]);
    assert_eq!(kept(-5, -1, None), [] as [usize; 0]);
    // Keys 5 and 35.
    assert_eq!(kept(5, 35, Some(vec![1 | 1 << 30])), [0, 3]);
}

#[test]
fn statistics_merge_row_groups() {
    let bytes = parquet_bytes(&all_types(40), properties(WriterVersion::PARQUET_1_0, true, 10));
    let scan = Scan::open(&bytes, None).unwrap();
    let columns: Vec<_> = (0..scan.schema.fields.len()).map(Some).collect();
    let statistics = scan.file.statistics(&columns);
    let of = |name: &str| &statistics.columns[scan.schema.index_of(name).unwrap()];
    assert_eq!(statistics.rows, Some(40));
    assert_eq!((of("id").min.clone(), of("id").max.clone()), (Some(Literal::int64(0)), Some(Literal::int64(39))));
    assert_eq!((of("id").null_count, of("i8").null_count, of("nothing").null_count), (Some(0), Some(14), Some(40)));
    assert_eq!(of("word").min, Some(Literal::utf8("a")));
    assert_eq!(of("nothing").min, None);
    assert_eq!(scan.file.dictionary_size(scan.source.as_ref(), 0, scan.schema.index_of("word").unwrap()), Some(3));

    let without = WriterProperties::builder().set_statistics_enabled(EnabledStatistics::None).build();
    let scan = Scan::open(&parquet_bytes(&all_types(40), without), None).unwrap();
    let statistics = scan.file.statistics(&columns);
    assert_eq!((statistics.rows, &statistics.columns[0].min), (Some(40), &None));
}

#[test]
fn footers_are_kept_until_the_file_changes() {
    let cache = FooterCache::default();
    let bytes = parquet_bytes(&all_types(5), WriterProperties::builder().build());
    let first = cache.open(file_of(&bytes).as_ref()).unwrap();
    assert!(Arc::ptr_eq(&first, &cache.open(file_of(&bytes).as_ref()).unwrap()));
    let other = parquet_bytes(&all_types(50), WriterProperties::builder().build());
    let second = cache.open(file_of(&other).as_ref()).unwrap();
    assert_eq!((first.rows(), second.rows()), (5, 50));
}

#[test]
fn what_is_not_parquet_is_said_so() {
    for (bytes, problem) in [
        (&b""[..], "it has 0 bytes"),
        (b"PAR1PAR1", "it has 8 bytes"),
        (b"a,b,c\n1,2,3\n4,5,6\n", "it ends in"),
        (b"PAR1\x00\x00\x00\x00PARE", "encrypted"),
        (b"PAR1\xff\xff\xff\x7fPAR1", "more than the limit"),
        (b"PAR1\xff\xff\x00\x00PAR1", "in a file of 12"),
    ] {
        let error = ParquetFile::open(file_of(bytes).as_ref()).unwrap_err().to_string();
        assert!(error.contains(problem) && error.contains("/t.parquet"), "{error}");
    }
}

#[test]
fn what_the_encoder_writes_is_read_back() {
    let rows = all_types(100);
    let schema = Arc::new(Schema::from_arrow(&rows.schema()).unwrap());
    let mut encoder = ParquetEncoder::new(Arc::clone(&schema));
    let mut bytes = Vec::new();
    encoder.start(&mut bytes).unwrap();
    let batch = Batch::from_record_batch(Arc::clone(&schema), &rows);
    encoder.encode(&batch.slice(0, 40), &mut bytes).unwrap();
    let selection: Vec<u32> = (40..100).collect();
    encoder.encode(&batch.with_selection(Some(selection.into())), &mut bytes).unwrap();
    encoder.finish(&mut bytes).unwrap();
    let scan = Scan::open(&bytes, None).unwrap();
    for (column, expected) in scan.columns(8192).unwrap().iter().zip(rows.columns()) {
        assert_eq!(column, &carried(expected));
    }
}
