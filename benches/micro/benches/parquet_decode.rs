//! Decoding a column of a Parquet row group, by our decoders and by the `parquet` crate's reader, per value of the column.
//!
//! Each case is a file of one row group and, where rows are picked, a first column that a filter is over. "picked" reads
//! one row in fifty: what is timed is both columns. Throughput in bytes follows from the value's width: 8 bytes at 0.5 ns
//! are 16 GB/s.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use bytes::Bytes;
use criterion::Throughput;
use flumen_core::batch::Batch;
use flumen_core::expr::{Expr, Literal};
use flumen_core::types::LogicalType;
use flumen_formats_parquet::{
    ColumnBinding, FetchBuffers, ParquetFile, RowGroupChunks, RowGroupPlan, RowGroupReader, ScanFilter,
};
use flumen_io::{FileSystem, SimulatedClock, SimulatedFileSystem};
use flumen_micro_benches::{BATCH_ROWS, criterion, random_below};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding};
use parquet::file::properties::WriterProperties;

const ROWS: usize = 1 << 17;

/// A fetched row group.
struct Fetched {
    bytes: Bytes,
    file: Arc<ParquetFile>,
    bindings: Vec<ColumnBinding>,
    chunks: RowGroupChunks,
}

fn fetched(columns: Vec<(&str, ArrayRef)>, compression: Compression, dictionary: bool) -> Fetched {
    let rows = RecordBatch::try_from_iter(columns).expect("columns of the same length");
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_dictionary_enabled(dictionary)
        .set_encoding(Encoding::PLAIN)
        .set_data_page_row_count_limit(20_000)
        .build();
    let mut bytes = Vec::new();
    let mut writer =
        ArrowWriter::try_new(&mut bytes, rows.schema(), Some(properties)).expect("a schema of flat columns");
    writer.write(&rows).expect("memory is enough");
    writer.close().expect("memory is enough");

    let files = SimulatedFileSystem::new(1, Arc::new(SimulatedClock::new()));
    let path = Path::new("/t.parquet");
    let mut file = files.create(path).expect("an empty file system");
    file.write_all(&bytes).expect("memory is enough");
    file.finish().expect("memory is enough");
    let source = files.open(path).expect("it was just written");
    let file = Arc::new(ParquetFile::open(source.as_ref()).expect("it was just written"));
    let bindings = ColumnBinding::bind(&file, &file.schema().fields).expect("its own columns");
    let plan = RowGroupPlan::new(&file, 0, &RowGroupReader::columns(&bindings)).expect("its own columns");
    let chunks = plan.fetch(source.as_ref(), &FetchBuffers::default()).expect("memory is enough");
    Fetched { bytes: bytes.into(), file, bindings, chunks }
}

impl Fetched {
    fn ours(&self, filter: &ScanFilter) -> Vec<Batch> {
        let schema = Arc::clone(self.file.schema());
        let mut reader = RowGroupReader::new(&self.file, 0, &self.bindings, schema, &self.chunks, BATCH_ROWS, 0)
            .expect("a file without damage");
        reader.set_filter(filter);
        let mut batches = Vec::new();
        while let Some(batch) = reader.next_batch().expect("a file without damage") {
            batches.push(batch);
        }
        batches
    }

    fn library(&self) -> Vec<RecordBatch> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(self.bytes.clone()).expect("a file without damage");
        let reader = reader.with_batch_size(BATCH_ROWS).build().expect("a file without damage");
        reader.map(|batch| batch.expect("a file without damage")).collect()
    }
}

/// A column's rows as text, the slow way.
fn shown(arrays: impl Iterator<Item = ArrayRef>) -> Vec<String> {
    let mut rows = Vec::new();
    for array in arrays {
        let array = match array.as_any_dictionary_opt() {
            Some(dictionary) => {
                arrow_select::take::take(dictionary.values(), dictionary.keys(), None).expect("codes of the dictionary")
            }
            None => array,
        };
        if let Some(strings) = array.as_string_opt::<i32>() {
            rows.extend(strings.iter().map(|s| s.unwrap_or("NULL").to_owned()));
        } else if let Some(strings) = array.as_string_view_opt() {
            rows.extend(strings.iter().map(|s| s.unwrap_or("NULL").to_owned()));
        } else {
            // Debug text of single rows names the type; decimals differ in their carriers.
            rows.extend((0..array.len()).map(|row| {
                let text = format!("{:?}", array.slice(row, 1));
                text[text.find('[').unwrap_or(0)..].to_owned()
            }));
        }
    }
    rows
}

fn main() {
    let mut criterion = criterion();
    let random = |bound: u64| (0..ROWS as u64).map(move |i| random_below(i, bound));
    let cents = random(10_000_000).map(i128::from);
    let decimals = Decimal128Array::from_iter_values(cents).with_precision_and_scale(15, 2).expect("15 digits");
    let decimals: ArrayRef = Arc::new(decimals);
    let few_decimals = Decimal128Array::from_iter_values(random(50).map(i128::from));
    let few_decimals: ArrayRef = Arc::new(few_decimals.with_precision_and_scale(15, 2).expect("15 digits"));
    let dates: ArrayRef = Arc::new(Int32Array::from_iter_values(random(2526).map(|i| i as i32)));
    let nullable: ArrayRef = Arc::new(random(2526).map(|i| (i % 10 != 0).then_some(i as i64)).collect::<Int64Array>());
    let words: ArrayRef = Arc::new(StringArray::from_iter_values(random(7).map(|i| format!("ship mode {i}"))));
    let comments: ArrayRef =
        Arc::new(StringArray::from_iter_values(random(1 << 40).map(|i| format!("comment {i:09}, some text"))));
    let integers: ArrayRef = Arc::new(Int64Array::from_iter_values(random(1 << 40).map(|i| i as i64)));
    let doubles: ArrayRef = Arc::new(Float64Array::from_iter_values(random(1 << 40).map(|i| i as f64)));
    let booleans: ArrayRef = Arc::new(random(2).map(|i| Some(i == 1)).collect::<BooleanArray>());
    let (stored, snappy) = (Compression::UNCOMPRESSED, Compression::SNAPPY);
    let cases: [(&str, &ArrayRef, Compression, bool); 12] = [
        ("decimal(15,2), 6-bit codes, snappy", &few_decimals, snappy, true),
        ("int32, 12-bit codes, stored", &dates, stored, true),
        ("int32, 12-bit codes, snappy", &dates, snappy, true),
        ("int64 with NULLs, 12-bit codes, snappy", &nullable, snappy, true),
        ("int64, plain, stored", &integers, stored, false),
        ("double, plain, stored", &doubles, stored, false),
        ("int64, plain, snappy", &integers, snappy, false),
        ("decimal(15,2), plain, snappy", &decimals, snappy, false),
        ("boolean, plain, stored", &booleans, stored, false),
        ("text of 7 kinds, snappy", &words, snappy, true),
        ("text of 28 bytes, plain, stored", &comments, stored, false),
        ("text of 28 bytes, plain, snappy", &comments, snappy, false),
    ];
    let mut group = criterion.benchmark_group("parquet");
    group.throughput(Throughput::Elements(ROWS as u64));
    for (name, column, compression, dictionary) in cases {
        let fetched = fetched(vec![("c", Arc::clone(column))], compression, dictionary);
        let all = ScanFilter::default();
        let ours = shown(fetched.ours(&all).iter().map(|b| Arc::clone(b.column(0).array())));
        let library = shown(fetched.library().iter().map(|b| Arc::clone(b.column(0))));
        assert!(ours == library, "{name}");
        group.bench_function(format!("{name}, ours"), |b| b.iter(|| black_box(fetched.ours(&all))));
        group.bench_function(format!("{name}, library"), |b| b.iter(|| black_box(fetched.library())));
    }
    for (name, column, compression, dictionary) in cases {
        let key: ArrayRef = Arc::new(Int32Array::from_iter_values(random(50).map(|i| i as i32)));
        let fetched = fetched(vec![("k", Arc::clone(&key)), ("c", Arc::clone(column))], compression, dictionary);
        let literal = Literal { value: flumen_core::expr::Value::Int(7), data_type: LogicalType::Int32 };
        let condition = Expr::call("eq", vec![Expr::Column(0), Expr::Literal(literal)], LogicalType::Boolean);
        let filter = ScanFilter::new(&[condition], fetched.file.schema());
        let ours = shown(fetched.ours(&filter).iter().map(|b| Arc::clone(b.column(1).array())));
        let library = shown(fetched.library().iter().map(|b| Arc::clone(b.column(1))));
        let keys = random(50);
        let expected: Vec<_> = library.into_iter().zip(keys).filter(|(_, key)| *key == 7).map(|(row, _)| row).collect();
        assert!(ours == expected, "{name}");
        group.bench_function(format!("{name}, picked, ours"), |b| b.iter(|| black_box(fetched.ours(&filter))));
    }
    group.finish();
    criterion.final_summary();
}
