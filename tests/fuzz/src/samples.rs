//! Whole files, a few kilobytes each, made by code: every layout of a format that takes another way through its reader.

use std::io::Write;
use std::sync::Arc;

use arrow_array::types::{Int8Type, Int32Type};
use arrow_array::{
    ArrayRef, BooleanArray, Decimal128Array, DictionaryArray, Float64Array, Int64Array, ListArray, RecordBatch,
    StringArray, StructArray, TimestampMicrosecondArray,
};
use flumen_core::batch::Batch;
use flumen_core::types::Schema;
use flumen_formats::Encoder;
use flumen_formats_csv::{CsvEncoder, CsvLayout};
use flumen_formats_ipc::{IpcCompression, IpcEncoder};
use flumen_formats_json::JsonEncoder;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterVersion};

/// A format that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Parquet.
    Parquet,
    /// Arrow IPC, files and streams.
    Ipc,
    /// CSV.
    Csv,
    /// CSV, compressed as a whole.
    Compressed,
    /// JSON, lines and arrays.
    Json,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Parquet, Self::Ipc, Self::Csv, Self::Compressed, Self::Json];

    /// What people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Ipc => "ipc",
            Self::Csv => "csv",
            Self::Compressed => "compressed",
            Self::Json => "json",
        }
    }

    /// What a file's name ends in. Compressed files are known by their first bytes.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Ipc => "arrow",
            Self::Csv => "csv",
            Self::Compressed => "data",
            Self::Json => "json",
        }
    }
}

const ROWS: i64 = 40;
const WHY: &str = "samples are whole";

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).expect(WHY)
}

fn flat() -> RecordBatch {
    let texts = ["x", "a \"quoted\", text", "ünïcode of more than twelve\nbytes"];
    let numbers: ArrayRef = Arc::new((0..ROWS).map(|i| (i % 5 != 0).then_some(i * 7)).collect::<Int64Array>());
    let floats: ArrayRef =
        Arc::new((0..ROWS).map(|i| (i % 6 != 0).then_some(i as f64 / 4.0)).collect::<Float64Array>());
    let flags: ArrayRef = Arc::new((0..ROWS).map(|i| (i % 9 != 0).then_some(i % 2 == 0)).collect::<BooleanArray>());
    let text: ArrayRef =
        Arc::new((0..ROWS).map(|i| (i % 7 != 0).then_some(texts[i as usize % 3])).collect::<StringArray>());
    let times: ArrayRef =
        Arc::new((0..ROWS).map(|i| Some(1_700_000_000_000_000 + i)).collect::<TimestampMicrosecondArray>());
    let decimals = Decimal128Array::from_iter_values((0..ROWS).map(|i| i128::from(i) << 60));
    let decimals: ArrayRef = Arc::new(decimals.with_precision_and_scale(30, 2).expect(WHY));
    batch(vec![("n", numbers), ("f", floats), ("b", flags), ("t", text), ("at", times), ("d", decimals)])
}

fn nested() -> RecordBatch {
    let item = |i: i64| (0..i as i32 % 5).map(|v| (v != 2).then_some(v)).collect::<Vec<_>>();
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>((0..ROWS).map(|i| (i % 4 != 0).then(|| item(i))));
    let inner: ArrayRef = Arc::new((0..ROWS).map(|i| (i % 3 != 0).then_some(i)).collect::<Int64Array>());
    let text: ArrayRef = Arc::new((0..ROWS).map(|i| Some(format!("value {i}"))).collect::<StringArray>());
    let structs = StructArray::from(batch(vec![("x", inner), ("y", text)]));
    let codes: DictionaryArray<Int8Type> =
        (0..ROWS).map(|i| (i % 5 != 0).then_some(["p", "q", "r"][i as usize % 3])).collect();
    batch(vec![("l", Arc::new(lists) as ArrayRef), ("s", Arc::new(structs)), ("c", Arc::new(codes))])
}

fn parquet(rows: &RecordBatch, properties: WriterProperties) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, rows.schema(), Some(properties)).expect(WHY);
    writer.write(rows).expect(WHY);
    writer.close().expect(WHY);
    bytes
}

fn encoded(rows: &RecordBatch, encoder: impl FnOnce(&Arc<Schema>) -> Box<dyn Encoder>) -> Vec<u8> {
    let schema = Arc::new(Schema::from_arrow(&rows.schema()).expect(WHY));
    let batch = Batch::from_record_batch(Arc::clone(&schema), rows);
    let mut encoder = encoder(&schema);
    let mut bytes = Vec::new();
    encoder.start(&mut bytes).expect(WHY);
    // Two batches, for formats that mark where one ends.
    let half = batch.num_rows() / 2;
    for part in [batch.slice(0, half), batch.slice(half, batch.num_rows() - half)] {
        encoder.encode(&part, &mut bytes).expect(WHY);
    }
    encoder.finish(&mut bytes).expect(WHY);
    bytes
}

/// Whole files of a format.
#[must_use]
pub fn of(format: Format) -> Vec<Vec<u8>> {
    match format {
        Format::Parquet => {
            let base = || {
                WriterProperties::builder()
                    .set_max_row_group_row_count(Some(25))
                    .set_data_page_row_count_limit(10)
                    .set_write_batch_size(5)
            };
            let v2 = || base().set_writer_version(WriterVersion::PARQUET_2_0);
            let layouts = [
                base().set_compression(Compression::SNAPPY).build(),
                base().set_dictionary_enabled(false).build(),
                v2().set_compression(Compression::ZSTD(ZstdLevel::default())).build(),
                v2().set_dictionary_enabled(false).set_compression(Compression::LZ4_RAW).build(),
            ];
            let delta = base()
                .set_dictionary_enabled(false)
                .set_column_encoding("n".into(), Encoding::DELTA_BINARY_PACKED)
                .set_column_encoding("t".into(), Encoding::DELTA_BYTE_ARRAY)
                .build();
            let all =
                layouts.into_iter().flat_map(|layout| [parquet(&flat(), layout.clone()), parquet(&nested(), layout)]);
            all.chain([parquet(&flat(), delta)]).collect()
        }
        Format::Ipc => [IpcCompression::None, IpcCompression::Lz4, IpcCompression::Zstd]
            .into_iter()
            .flat_map(|compression| [(compression, false), (compression, true)])
            .flat_map(|(compression, is_stream)| {
                let write = |rows: &RecordBatch| {
                    encoded(rows, |schema| Box::new(IpcEncoder::new(Arc::clone(schema), compression, is_stream)))
                };
                [write(&flat()), write(&nested())]
            })
            .collect(),
        Format::Csv | Format::Compressed => {
            let layouts = [
                CsvLayout::default(),
                CsvLayout { delimiter: b';', header: false, ..CsvLayout::default() },
                CsvLayout { delimiter: b'\t', quote: Some(b'\''), escape: b'\\', ..CsvLayout::default() },
            ];
            let plain = layouts
                .map(|layout| encoded(&flat(), |schema| Box::new(CsvEncoder::new(Arc::clone(schema), layout.clone()))));
            match format {
                Format::Csv => plain.to_vec(),
                _ => compressed(&encoded(&flat(), |_| Box::new(JsonEncoder::default()))),
            }
        }
        Format::Json => {
            let lines = |rows: &RecordBatch| encoded(rows, |_| Box::new(JsonEncoder::default()));
            let array = |rows: &RecordBatch| encoded(rows, |_| Box::new(JsonEncoder::array()));
            vec![lines(&flat()), array(&flat()), lines(&nested()), array(&nested())]
        }
    }
}

/// The same bytes by every codec that there is something to write with.
fn compressed(plain: &[u8]) -> Vec<Vec<u8>> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(plain).expect(WHY);
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
    bzip2.write_all(plain).expect(WHY);
    let zstd = zstd::encode_all(plain, 3).expect(WHY);
    vec![gzip.finish().expect(WHY), bzip2.finish().expect(WHY), zstd]
}
