//! Damaged files: an error or an answer, never a panic, an abort, a hang or an allocation out of proportion.
//!
//! One test in a process of its own, so that the peak of its address space can be looked at: an allocation by a length
//! field shows there even if it is never touched.

mod support;

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray};
use flumen_core::expr::{Expr, Literal};
use flumen_core::types::LogicalType;
use flumen_formats_parquet::ScanFilter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion};
use support::{Scan, parquet_bytes};

const ROWS: i64 = 60;
/// More address space than this for files of a few kilobytes is an allocation by a length field.
const ADDRESS_SPACE_BYTES_MAX: u64 = 512 << 20;

fn rows() -> RecordBatch {
    let numbers: ArrayRef = Arc::new((0..ROWS).map(|i| (i % 5 != 0).then_some(i)).collect::<Int64Array>());
    let text: ArrayRef = Arc::new((0..ROWS).map(|i| Some(format!("value {}", i % 7))).collect::<StringArray>());
    let decimals =
        Decimal128Array::from_iter_values((0..ROWS).map(i128::from)).with_precision_and_scale(15, 2).unwrap();
    RecordBatch::try_from_iter([("n", numbers), ("s", text), ("d", Arc::new(decimals))]).unwrap()
}

/// Columns of the other kinds that our decoders take.
fn other_rows() -> RecordBatch {
    let required: ArrayRef = Arc::new((0..ROWS).map(|i| i / 3).map(Some).collect::<Int64Array>());
    let floats: ArrayRef = Arc::new((0..ROWS).map(|i| (i % 4 != 0).then_some(i as f64)).collect::<Float64Array>());
    let booleans: ArrayRef = Arc::new((0..ROWS).map(|i| (i % 9 != 0).then_some(i % 2 == 0)).collect::<BooleanArray>());
    let wide = Decimal128Array::from_iter_values((0..ROWS).map(|i| i128::from(i) << 70));
    let wide: ArrayRef = Arc::new(wide.with_precision_and_scale(33, 2).unwrap());
    let text = (0..ROWS).map(|i| (i % 6 != 0).then(|| "äb€".repeat(i as usize))).collect::<StringArray>();
    let columns = [("n", required), ("f", floats), ("b", booleans), ("w", wide), ("t", Arc::new(text) as ArrayRef)];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// Opens and reads everything. Damage need not be noticed where the format has no checksum, but the number of rows of
/// a scan that ends well is the footer's.
fn read(bytes: &[u8]) -> Result<(), String> {
    let mut scan = Scan::open(bytes, None).map_err(|e| e.to_string())?;
    let columns: Vec<_> = (0..scan.schema.fields.len()).map(Some).collect();
    let _ = scan.file.statistics(&columns);
    let claimed = scan.file.rows();
    let batches = (0..scan.file.row_groups())
        .map(|group| scan.row_group(group, 16, 0))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| e.to_string())?;
    let rows: usize = batches.iter().flatten().map(flumen_core::batch::Batch::num_rows).sum();
    // Other ways through the same bytes: from the middle of a page on, and only where a filter leaves rows.
    let greater = |bound| {
        let bound = Expr::Literal(Literal::int64(bound));
        let condition = Expr::call("gt", vec![Expr::Column(0), bound], LogicalType::Boolean);
        ScanFilter::new(&[condition], &scan.schema)
    };
    for group in 0..scan.file.row_groups() {
        let middle = scan.file.row_group_rows(group) / 3;
        scan.row_group(group, 7, middle).map_err(|e| e.to_string())?;
        scan.filtered(group, 7, 0, &greater(15)).map_err(|e| e.to_string())?;
    }
    // Page by page.
    scan.piece_bytes = 1;
    for group in 0..scan.file.row_groups() {
        let batches = scan.row_group(group, 16, 0).map_err(|e| e.to_string())?;
        let rows: usize = batches.iter().map(flumen_core::batch::Batch::num_rows).sum();
        assert_eq!(rows as u64, scan.file.row_group_rows(group));
    }
    // Without a column there is nothing to compare the footer with.
    assert!(columns.is_empty() || rows as u64 == claimed, "{rows} rows of {claimed}");
    Ok(())
}

fn address_space_peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmPeak:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn base() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_max_row_group_row_count(Some(40))
        .set_data_page_row_count_limit(20)
        .set_write_batch_size(5)
}

#[test]
fn every_damaged_byte_gives_an_error_or_an_answer() {
    // The library's own panics are caught and become errors; their reports would only fill the log.
    std::panic::set_hook(Box::new(|_| {}));
    let before = address_space_peak();
    let v2 = || base().set_writer_version(WriterVersion::PARQUET_2_0);
    let layouts = [
        base().set_compression(Compression::SNAPPY).build(),
        base().build(),
        v2().set_dictionary_enabled(false).build(),
        v2().set_compression(Compression::ZSTD(ZstdLevel::default())).build(),
        base()
            .set_dictionary_enabled(false)
            .set_encoding(Encoding::DELTA_BINARY_PACKED)
            .set_column_encoding("s".into(), Encoding::DELTA_LENGTH_BYTE_ARRAY)
            .build(),
        base().set_compression(Compression::LZ4_RAW).build(),
        base().set_compression(Compression::SNAPPY).set_dictionary_enabled(false).build(),
        v2().set_compression(Compression::SNAPPY).build(),
    ];
    let files = layouts
        .iter()
        .enumerate()
        .map(|(layout, properties)| (layout, parquet_bytes(&rows(), properties.clone())))
        // Those of the layouts that need not know the columns.
        .chain([0, 3, 6].map(|layout| (layout, parquet_bytes(&other_rows(), layouts[layout].clone()))));
    for (layout, bytes) in files {
        assert_eq!(read(&bytes), Ok(()));
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length]).is_err(), "layout {layout} cut to {length} bytes");
        }
        let mut noticed = 0;
        for at in 0..bytes.len() {
            for damage in [0x01, 0x80, 0xff, bytes[at]] {
                let mut bytes = bytes.clone();
                bytes[at] ^= damage;
                noticed += usize::from(read(&bytes).is_err());
            }
            let peak = address_space_peak();
            assert!(
                peak < before + ADDRESS_SPACE_BYTES_MAX,
                "layout {layout}, byte {at}: {} MiB",
                (peak - before) >> 20
            );
        }
        assert!(noticed > bytes.len(), "layout {layout}: only {noticed} of {} damages noticed", 4 * bytes.len());
    }
    let _ = std::panic::take_hook();
}
