//! Damaged files: an error or an answer, never a panic, an abort, a hang or an allocation out of proportion.
//!
//! One test in a process of its own, so that the peak of its address space can be looked at: an allocation by a length
//! field shows there even if it is never touched.

mod support;

use std::sync::Arc;

use arrow_array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray};
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

/// Opens and reads everything. Damage need not be noticed where the format has no checksum, but the number of rows of
/// a scan that ends well is the footer's.
fn read(bytes: &[u8]) -> Result<(), String> {
    let scan = Scan::open(bytes, None).map_err(|e| e.to_string())?;
    let columns: Vec<_> = (0..scan.schema.fields.len()).map(Some).collect();
    let _ = scan.file.statistics(&columns);
    let claimed = scan.file.rows();
    let batches = (0..scan.file.row_groups())
        .map(|group| scan.row_group(group, 16, 0))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| e.to_string())?;
    let rows: usize = batches.iter().flatten().map(flumen_core::batch::Batch::num_rows).sum();
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
    ];
    for (layout, properties) in layouts.into_iter().enumerate() {
        let bytes = parquet_bytes(&rows(), properties);
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
