//! Our decoders beside the library's: random columns, encodings, page sizes, codecs, NULLs, batch sizes, starts, filters.

mod support;

use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array,
    Int16Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt8Array, UInt16Array,
    UInt32Array, UInt64Array,
};
use arrow_cast::cast;
use flumen_core::batch::Batch;
use flumen_core::expr::{Expr, Literal, Value};
use flumen_core::types::{LogicalType, Schema};
use flumen_formats_parquet::ScanFilter;
use flumen_kernels::expr::{CompiledPredicate, FunctionRegistry};
use flumen_kernels::gather::materialize;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterVersion};
use support::{Scan, flat, parquet_bytes};

/// Numbers that look random, always the same for a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// Some numbers, in runs or not, of few or many kinds, NULL or not.
fn numbers(random: &mut Random, rows: usize, nulls: bool) -> Vec<Option<u64>> {
    let kinds = random.one_of(&[1, 2, 10, 300, 5_000, u64::MAX]);
    let run = random.one_of(&[1, 1, 5, 200]);
    let null_in = if nulls { random.one_of(&[1, 2, 10, 1000]) } else { 0 };
    let mut values = Vec::with_capacity(rows);
    while values.len() < rows {
        let value = random.below(kinds);
        let value = (null_in == 0 || random.below(null_in) != 0).then_some(value);
        let length = 1 + random.below(run) as usize;
        values.resize((values.len() + length).min(rows), value);
    }
    values
}

fn text(number: u64) -> String {
    match number % 7 {
        0 => String::new(),
        1 => format!("{}", number % 1000),
        2 => format!("the number {number}"),
        3 => "äöü€😀".repeat((number % 5) as usize),
        4 => "twelve bytes".to_owned(),
        5 if number.is_multiple_of(3) => "long ".repeat(40 + (number % 50) as usize),
        _ => format!("neither short nor very long: {number}"),
    }
}

const KINDS: u64 = 21;

fn column(random: &mut Random, kind: u64, rows: usize, nulls: bool) -> ArrayRef {
    let n = numbers(random, rows, nulls);
    macro_rules! of {
        ($array:ty, $value:expr) => {
            Arc::new(n.into_iter().map(|n| n.map($value)).collect::<$array>()) as ArrayRef
        };
    }
    let decimals = |precision: u8, limit: i128| {
        let values = n.iter().map(|n| n.map(|n| i128::from(n as i64) % limit)).collect::<Decimal128Array>();
        Arc::new(values.with_precision_and_scale(precision, 2).unwrap()) as ArrayRef
    };
    match kind {
        0 => of!(BooleanArray, |n| n % 2 == 1),
        1 => of!(Int8Array, |n| n as i8),
        2 => of!(Int16Array, |n| n as i16),
        3 => of!(Int32Array, |n| n as i32),
        4 => of!(Int64Array, |n| n as i64),
        5 => of!(UInt8Array, |n| n as u8),
        6 => of!(UInt16Array, |n| n as u16),
        7 => of!(UInt32Array, |n| n as u32),
        8 => of!(UInt64Array, |n| n),
        9 => of!(Float32Array, |n| n as f32 / 7.0),
        10 => of!(Float64Array, |n| n as f64 / 7.0),
        11 => of!(Date32Array, |n| (n % 20_000) as i32),
        12 => of!(TimestampMicrosecondArray, |n| (n % (1 << 50)) as i64),
        13 => decimals(9, 1_000_000_000),
        14 => decimals(15, 1_000_000_000_000_000),
        15 => decimals(30, i128::MAX),
        16 | 17 => of!(StringArray, text),
        18 => {
            let bytes = n.iter().map(|n| n.map(|n| n.to_le_bytes()[..(n % 9) as usize].to_vec()));
            Arc::new(bytes.collect::<BinaryArray>())
        }
        19 => of!(StringArray, |n| ["A", "N", "R"][(n % 3) as usize].to_owned()),
        _ => {
            let mut list = ListBuilder::new(StringBuilder::new());
            for n in n {
                (0..n.unwrap_or(0) % 3).for_each(|i| list.values().append_value(format!("{i}")));
                list.append(n.is_some());
            }
            Arc::new(list.finish())
        }
    }
}

fn rows(random: &mut Random) -> RecordBatch {
    let rows = random.one_of(&[1, 8, 9, 100, 1000, 3000, 20_000]);
    let mut fields = vec![arrow_schema::Field::new("id", arrow_schema::DataType::Int64, false)];
    let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(0..rows as i64))];
    for index in 0..1 + random.below(5) {
        // Lists, which the library decodes, in few files: they leave no filter to apply.
        let kind = if random.below(10) == 0 { 20 } else { random.below(KINDS - 1) };
        let nullable = random.below(2) == 0;
        let nulls = nullable && random.below(3) > 0;
        let array = column(random, kind, rows, nulls);
        fields.push(arrow_schema::Field::new(format!("c{index}"), array.data_type().clone(), nullable));
        columns.push(array);
    }
    RecordBatch::try_new(Arc::new(arrow_schema::Schema::new(fields)), columns).unwrap()
}

fn properties(random: &mut Random) -> WriterProperties {
    let compressions = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::SNAPPY,
        Compression::LZ4_RAW,
        Compression::ZSTD(ZstdLevel::default()),
        Compression::GZIP(Default::default()),
    ];
    let mut properties = WriterProperties::builder()
        .set_writer_version(random.one_of(&[WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0]))
        .set_compression(random.one_of(&compressions))
        .set_dictionary_enabled(random.below(4) > 0)
        .set_dictionary_page_size_limit(random.one_of(&[64, 2000, 1 << 20]))
        .set_data_page_row_count_limit(random.one_of(&[1, 13, 500, 8192, 100_000]))
        .set_data_page_size_limit(random.one_of(&[100, 4000, 1 << 20]))
        .set_write_batch_size(random.one_of(&[1, 7, 1024]))
        .set_max_row_group_row_count(Some(random.one_of(&[900, 100_000])));
    // Version 2 falls back to delta encodings, which are not ours.
    if random.below(4) > 0 {
        properties = properties.set_encoding(Encoding::PLAIN);
    }
    properties.build()
}

/// All rows by the library, in the engine's carriers.
fn by_library(bytes: &[u8], schema: &Schema) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::copy_from_slice(bytes)).unwrap();
    let reader = reader.with_batch_size(1 << 20).build().unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    let all = arrow_select::concat::concat_batches(&batches[0].schema(), &batches).unwrap();
    let columns: Vec<_> = all
        .columns()
        .iter()
        .zip(&schema.fields)
        .map(|(column, field)| cast(column, &field.data_type.arrow_type()).unwrap())
        .collect();
    let schema = arrow_schema::Schema::new(
        schema
            .fields
            .iter()
            .map(|f| arrow_schema::Field::new(&f.name, f.data_type.arrow_type(), f.nullable))
            .collect::<Vec<_>>(),
    );
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

/// A condition that about some rows meet: a comparison with one of the column's own values, or a test for NULL.
fn condition(random: &mut Random, schema: &Schema, rows: &RecordBatch) -> Option<Expr> {
    let index = random.below(schema.fields.len() as u64) as usize;
    let data_type = &schema.fields[index].data_type;
    let column = Expr::Column(index);
    let unary = |name: &str| Expr::call(name, vec![Expr::Column(index)], LogicalType::Boolean);
    match random.below(8) {
        0 => return Some(unary("is_null")),
        1 => return Some(unary("is_not_null")),
        _ => {}
    }
    let row = random.below(rows.num_rows() as u64) as usize;
    let array = rows.column(index).slice(row, 1);
    if array.null_count() > 0 {
        return None;
    }
    let value = match data_type {
        LogicalType::Utf8 => Value::Utf8(array.as_string_view().value(0).to_owned()),
        t if t.is_integer() && *t != LogicalType::UInt64 => {
            let wide = cast(&array, &arrow_schema::DataType::Int64).unwrap();
            Value::Int(wide.as_primitive::<Int64Type>().value(0).into())
        }
        _ => return None,
    };
    let literal = Expr::Literal(Literal { value, data_type: data_type.clone() });
    let name = random.one_of(&["eq", "ne", "lt", "le", "gt", "ge"]);
    Some(Expr::call(name, vec![column, literal], LogicalType::Boolean))
}

/// The rows of batches that meet all conditions.
fn filtered(batches: &[Batch], condition: Option<&Expr>, schema: &Schema) -> Vec<Batch> {
    let Some(condition) = condition else { return batches.to_vec() };
    let predicate = CompiledPredicate::compile(condition, schema, &FunctionRegistry::new()).unwrap();
    batches.iter().map(|batch| materialize(&predicate.select(batch).unwrap().apply(batch.clone())).unwrap()).collect()
}

#[test]
fn any_file_gives_the_same_rows_as_the_library() {
    let seeds = std::env::var("FLUMEN_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(300);
    let (mut row_groups, mut pieces) = (0, 0);
    for seed in 0..seeds {
        let random = &mut Random(seed);
        let rows = rows(random);
        let properties = properties(random);
        let bytes = parquet_bytes(&rows, properties);
        let mut scan = Scan::open(&bytes, None).unwrap();
        let expected = by_library(&bytes, &scan.schema);
        let whole = Batch::from_record_batch(Arc::clone(&scan.schema), &expected);
        let mut conditions: Vec<_> = (0..3).filter_map(|_| condition(random, &scan.schema, &expected)).collect();
        conditions.truncate(random.below(4) as usize);
        let filter = ScanFilter::new(&conditions, &scan.schema);
        let all = conditions.into_iter().reduce(|a, b| Expr::call("and", vec![a, b], LogicalType::Boolean));
        let wanted = filtered(&[whole.clone()], all.as_ref(), &scan.schema);

        let batch_rows = if rows.num_rows() > 3000 { &[100, 8192][..] } else { &[1, 7, 8192] };
        for (turn, batch_rows) in (seed as usize..).zip(batch_rows) {
            scan.piece_bytes = [usize::MAX, 1, usize::MAX, 2000][turn % 4];
            let (scan, piece_bytes) = (&scan, scan.piece_bytes);
            let at = || {
                format!("seed {seed}, batches of {batch_rows}, pieces of {piece_bytes} B, {:?}, {all:?}", rows.schema())
            };
            for (filter, wanted, condition) in
                [(&ScanFilter::default(), &[whole.clone()][..], None), (&filter, &wanted[..], all.as_ref())]
            {
                let mut batches = Vec::new();
                for group in 0..scan.file.row_groups() {
                    batches.extend(
                        scan.filtered(group, *batch_rows, 0, filter).unwrap_or_else(|e| panic!("{e}: {}", at())),
                    );
                }
                let found = filtered(&batches, condition, &scan.schema);
                compare(&found, wanted, &at);
            }
            // From some row on.
            let from = random.below(scan.file.row_group_rows(0) + 1);
            let batches = scan.filtered(0, *batch_rows, from, &filter).unwrap();
            let rest = whole.slice(from as usize, (scan.file.row_group_rows(0) - from) as usize);
            let found = filtered(&batches, all.as_ref(), &scan.schema);
            compare(&found, &filtered(&[rest], all.as_ref(), &scan.schema), &at);
            row_groups += 2 * scan.file.row_groups() + 1;
        }
        pieces += scan.pieces.get();
    }
    assert!(pieces > row_groups * 3 / 2, "{row_groups} row groups were fetched in {pieces} pieces");
}

fn compare(found: &[Batch], wanted: &[Batch], at: &dyn Fn() -> String) {
    let columns = wanted[0].columns().len();
    let rows = |batches: &[Batch]| batches.iter().map(Batch::num_rows).sum::<usize>();
    assert_eq!(rows(found), rows(wanted), "{}", at());
    if rows(found) == 0 {
        return;
    }
    let (found, wanted) = (support::concat(found, columns), support::concat(wanted, columns));
    for (column, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
        assert_eq!(&flat(found), &flat(wanted), "column {column}, {}", at());
        found.to_data().validate_full().unwrap();
    }
}
