//! Both ways, and damage. What others write is what Arrow's own writers do.

use super::*;
use arrow_array::types::Int8Type;
use arrow_array::{Decimal128Array, DictionaryArray, Int64Array, StringArray};
use flumen_core::types::LogicalType;
use flumen_formats::decode_all;

fn rows(from: i64, to: i64) -> RecordBatch {
    let numbers: ArrayRef = Arc::new((from..to).map(|i| (i % 7 != 0).then_some(i)).collect::<Int64Array>());
    let codes: DictionaryArray<Int8Type> =
        (from..to).map(|i| (i % 5 != 0).then_some(["x", "yy", "a longer text than twelve"][i as usize % 3])).collect();
    let text: ArrayRef = Arc::new((from..to).map(|i| Some(format!("t{i}"))).collect::<StringArray>());
    let decimals = Decimal128Array::from_iter_values((from..to).map(|i| i128::from(i) * 25));
    let decimals: ArrayRef = Arc::new(decimals.with_precision_and_scale(12, 2).unwrap());
    let columns: [(&str, ArrayRef, bool); 4] =
        [("n", numbers, true), ("c", Arc::new(codes), true), ("t", text, true), ("d", decimals, true)];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn file(is_stream: bool, codec: Option<CompressionType>) -> Vec<u8> {
    let options = IpcWriteOptions::default().try_with_compression(codec).unwrap();
    let mut bytes = Vec::new();
    let schema = rows(0, 1).schema();
    if is_stream {
        let mut writer = StreamWriter::try_new_with_options(&mut bytes, &schema, options).unwrap();
        [(0, 50), (50, 100)].into_iter().for_each(|(from, to)| writer.write(&rows(from, to)).unwrap());
        writer.finish().unwrap();
    } else {
        let mut writer = FileWriter::try_new_with_options(&mut bytes, &schema, options).unwrap();
        // One dictionary serves all batches of a file.
        let all = rows(0, 100);
        [0, 50].into_iter().for_each(|from| writer.write(&all.slice(from, 50)).unwrap());
        writer.finish().unwrap();
    }
    bytes
}

fn table() -> Schema {
    Schema::from_arrow(&rows(0, 1).schema()).unwrap()
}

fn lines(batches: &[Batch]) -> Vec<String> {
    let show = |batch: &Batch| {
        let rows = portable_batch(batch).unwrap();
        let text = |column: &ArrayRef, row| arrow_cast::display::array_value_to_string(column, row).unwrap();
        (0..rows.num_rows())
            .map(|row| rows.columns().iter().map(|c| text(c, row)).collect::<Vec<_>>().join("|"))
            .collect::<Vec<_>>()
    };
    batches.iter().flat_map(show).collect()
}

fn decoded(bytes: &[u8], projection: &[usize], batch_rows: usize, piece: usize) -> Result<Vec<String>, FormatError> {
    let mut decoder = IpcDecoder::new(&table(), projection, batch_rows);
    let mut batches = Vec::new();
    for mut bytes in bytes.chunks(piece) {
        while !bytes.is_empty() {
            bytes = &bytes[decoder.decode(bytes)?..];
            while decoder.buffered_rows() > 0 {
                batches.extend(decoder.flush()?);
            }
        }
    }
    decoder.finish()?;
    assert!(batches.iter().all(|batch| batch.num_rows() <= batch_rows));
    Ok(lines(&batches))
}

#[test]
fn files_and_streams_are_read_whatever_the_pieces() {
    let whole = lines(&[Batch::from_record_batch(Arc::new(table()), &rows(0, 100))]);
    for is_stream in [false, true] {
        for codec in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
            let bytes = file(is_stream, codec);
            for (batch_rows, piece) in [(1, bytes.len()), (7, 1), (8192, 13), (8192, bytes.len())] {
                let read = decoded(&bytes, &[0, 1, 2, 3], batch_rows, piece).unwrap();
                assert_eq!(read, whole, "stream {is_stream}, {codec:?}, {batch_rows} rows, pieces of {piece}");
            }
            let some = decoded(&bytes, &[3, 0], 8192, 1000).unwrap();
            assert_eq!((some.len(), some[1].as_str()), (100, "0.25|1"));
            assert_eq!(decode_all(&mut IpcDecoder::new(&table(), &[], 64), &bytes).unwrap().len(), 2);
            let mut inference = IpcInference::default();
            assert!(!inference.push(&bytes).unwrap());
            assert_eq!(inference.finish(false).unwrap(), table());
        }
    }
}

#[test]
fn what_is_written_is_read() {
    let batch = Batch::from_record_batch(Arc::new(table()), &rows(0, 100));
    for is_stream in [false, true] {
        for compression in [IpcCompression::None, IpcCompression::Lz4, IpcCompression::Zstd] {
            let mut encoder = IpcEncoder::new(Arc::new(table()), compression, is_stream);
            let mut bytes = Vec::new();
            encoder.start(&mut bytes).unwrap();
            encoder.encode(&batch, &mut bytes).unwrap();
            encoder.finish(&mut bytes).unwrap();
            assert_eq!(decoded(&bytes, &[0, 1, 2, 3], 8192, 100).unwrap(), lines(&[batch.clone()]));
            // Arrow's own reader takes it, too.
            let rows: usize = match is_stream {
                true => arrow_ipc::reader::StreamReader::try_new(&bytes[..], None)
                    .unwrap()
                    .map(|batch| batch.unwrap().num_rows())
                    .sum(),
                false => arrow_ipc::reader::FileReader::try_new(io::Cursor::new(&bytes), None)
                    .unwrap()
                    .map(|batch| batch.unwrap().num_rows())
                    .sum(),
            };
            assert_eq!(rows, 100);
        }
    }
}

#[test]
fn damage_is_an_error_or_an_answer() {
    // Panics of the library are caught and become errors; their reports would only fill the log.
    std::panic::set_hook(Box::new(|_| {}));
    let mut escaped = Vec::new();
    for is_stream in [false, true] {
        for codec in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
            let bytes = file(is_stream, codec);
            // The messages are the same whatever the codec; of compressed ones a part will do.
            for at in (0..bytes.len()).step_by(if codec.is_none() { 1 } else { 7 }) {
                for damage in [0x01, 0xff] {
                    let mut damaged = bytes.clone();
                    damaged[at] ^= damage;
                    let read = catch_unwind(|| decoded(&damaged, &[0, 1, 2, 3], 64, damaged.len()).map(|r| r.len()));
                    if !matches!(read, Ok(Ok(0..=200) | Err(_))) {
                        let what = read.map_err(|panic| panic_text(panic.as_ref()).to_owned());
                        escaped.push(format!("stream {is_stream}, {codec:?}, byte {at} ^ {damage}: {what:?}"));
                    }
                }
            }
            for length in (8..bytes.len()).step_by(3) {
                if catch_unwind(|| decoded(&bytes[..length], &[0], 64, length).map(drop)).is_err() {
                    escaped.push(format!("stream {is_stream}, {codec:?}, cut to {length} bytes"));
                }
            }
        }
    }
    let _ = std::panic::take_hook();
    assert!(escaped.is_empty(), "{} cases: {:?}", escaped.len(), &escaped[..escaped.len().min(8)]);
    let bytes = file(true, None);
    assert!(decoded(&bytes[..bytes.len() / 2], &[0], 64, 64).is_err(), "cut in a message");
    let error = decoded(b"n,t\n1,a\n", &[0], 64, 8).unwrap_err().to_string();
    assert!(error.contains("no message begins here"), "{error}");
}

#[test]
fn columns_are_found_by_name_and_converted() {
    let bytes = file(false, None);
    let wanted = Schema::new(vec![
        flumen_core::types::Field::new("N", LogicalType::Float64, true),
        flumen_core::types::Field::new("none", LogicalType::Utf8, true),
    ]);
    let batches = decode_all(&mut IpcDecoder::new(&wanted, &[1, 0], 8192), &bytes).unwrap();
    assert_eq!(lines(&batches)[1], "|1.0");
    let wrong = Schema::new(vec![flumen_core::types::Field::new("t", LogicalType::Int64, true)]);
    let error = decode_all(&mut IpcDecoder::new(&wrong, &[0], 8192), &bytes).unwrap_err().to_string();
    assert_eq!(error, "arrow cannot do this: column \"t\" is BIGINT in the table but VARCHAR in the file");
}
