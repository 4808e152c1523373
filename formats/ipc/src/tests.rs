//! Frames there and back, frames as Arrow sees them, and frames that were tampered with.

use std::io::Cursor;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, Int32Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, BinaryViewArray, BooleanArray, Decimal64Array, Decimal128Array, DictionaryArray, Float64Array,
    Int32Array, Int64Array, NullArray, RunArray, StringArray, StringViewArray, StructArray, UInt32Array,
};
use arrow_buffer::{Buffer, MutableBuffer};
use arrow_ipc::reader::StreamReader;
use arrow_select::take::take;
use flumen_core::batch::{Batch, BatchFlags, Column, KeyHashes};
use flumen_core::types::{Field, LogicalType, Schema};

use crate::header::{FrameFlags, FrameHeader, HEADER_BYTES, MAGIC, ROWS_MAX, frame_checksum};
use crate::{DecodeOptions, EncodeOptions, FrameDecoder, FrameEncoder, FrameError};

/// A batch with a column of every kind that frames treat in a way of their own.
fn batch(rows: usize) -> Batch {
    let every = |n: usize| move |i: usize| !i.is_multiple_of(n);
    let text =
        |i: usize| if i.is_multiple_of(3) { format!("longer than a view holds inline {i}") } else { format!("s{i}") };
    let nullable = |i: usize| every(5)(i).then(|| text(i));
    let numbers: Int64Array = (0..rows).map(|i| every(7)(i).then_some(i as i64 - 3)).collect();
    let names: Vec<String> = (0..rows.clamp(1, 4)).map(text).collect();
    let codes: Int32Array = (0..rows).map(|i| every(4)(i).then_some((i % names.len()) as i32)).collect();
    let mut lists = ListBuilder::new(StringBuilder::new());
    for i in 0..rows {
        (0..i % 3).for_each(|k| lists.values().append_value(text(k)));
        lists.append(every(6)(i));
    }
    let whole: ArrayRef = Arc::new(Int32Array::from_iter_values((0..rows as i32 + 2).map(|i| i * 10)));
    let mut columns: Vec<(LogicalType, Column)> = Vec::new();
    let mut add = |data_type: LogicalType, array: ArrayRef| columns.push((data_type, Column::Array(array)));
    add(LogicalType::Int64, Arc::new(numbers.clone()));
    add(LogicalType::Int32, whole.slice(1, rows));
    add(LogicalType::Boolean, Arc::new((0..rows).map(|i| every(5)(i).then_some(i % 2 == 0)).collect::<BooleanArray>()));
    add(LogicalType::Float64, Arc::new(Float64Array::from_iter_values((0..rows).map(|i| i as f64 / 3.0))));
    add(LogicalType::Utf8, Arc::new((0..rows).map(nullable).collect::<StringArray>()));
    add(LogicalType::Utf8, Arc::new((0..rows).map(nullable).collect::<StringViewArray>()));
    add(LogicalType::Binary, Arc::new((0..rows).map(|i| Some(text(i).into_bytes())).collect::<BinaryViewArray>()));
    add(
        LogicalType::Utf8,
        Arc::new(DictionaryArray::<Int32Type>::new(codes, Arc::new(StringArray::from_iter_values(&names)))),
    );
    let cents = (0..rows).map(|i| every(9)(i).then_some(i as i64 * 7)).collect::<Decimal64Array>();
    let wide = LogicalType::Decimal { precision: 25, scale: 2 };
    add(wide, Arc::new(cents.with_precision_and_scale(18, 2).unwrap()));
    let large = Decimal128Array::from_iter_values((0..rows).map(|i| i as i128 * 10_i128.pow(20)));
    let large = large.with_precision_and_scale(38, 3).unwrap();
    add(LogicalType::Decimal { precision: 38, scale: 3 }, Arc::new(large));
    add(LogicalType::List(Arc::new(Field::new("item", LogicalType::Utf8, true))), Arc::new(lists.finish()));
    let fields = vec![arrow_schema::Field::new("x", arrow_schema::DataType::Int64, true)];
    let structs = StructArray::new(fields.into(), vec![Arc::new(numbers)], None);
    add(LogicalType::Struct(Arc::from([Field::new("x", LogicalType::Int64, true)])), Arc::new(structs));
    add(LogicalType::Null, Arc::new(NullArray::new(rows)));
    if rows > 0 {
        let ends = if rows == 1 { vec![1] } else { vec![1, rows as i32] };
        let values = Int64Array::from_iter((0..ends.len()).map(|i| (i > 0).then_some(5)));
        add(LogicalType::Int64, Arc::new(RunArray::<Int32Type>::try_new(&ends.into(), &values).unwrap()));
    }
    columns.push((LogicalType::Int64, Column::Constant(Arc::new(Int64Array::from(vec![42])))));
    columns.push((LogicalType::Utf8, Column::Constant(Arc::new(StringViewArray::from(vec![None::<&str>])))));
    let (types, columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let fields = types.into_iter().enumerate().map(|(i, t)| Field::new(format!("c{i}"), t, true)).collect();
    Batch::new(Arc::new(Schema { fields, event_time: Some(0) }), columns, rows)
}

fn with_everything(batch: Batch) -> Batch {
    let rows = batch.physical_rows();
    let values = (0..rows as u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
    let kinds = (0..rows).map(|i| (i % 4) as i8).collect();
    let batch = batch.with_row_kinds(Some(kinds)).with_hashes(Some(KeyHashes { columns: Arc::from([0, 4]), values }));
    let flags = BatchFlags { key_unique: true, sorted_by: Some(1), ..batch.flags() };
    batch.with_flags(flags)
}

fn selected(batch: &Batch, column: usize) -> ArrayRef {
    let rows = match batch.selection() {
        Some(selection) => selection.to_vec(),
        None => (0..batch.physical_rows() as u32).collect(),
    };
    match batch.column(column) {
        Column::Array(array) => take(array, &UInt32Array::from(rows), None).unwrap(),
        Column::Constant(value) => take(value, &UInt32Array::from(vec![0; rows.len()]), None).unwrap(),
    }
}

/// Values as text, which is the same for every encoding.
fn shown(array: &ArrayRef) -> Vec<String> {
    if let Some(dictionary) = array.as_any_dictionary_opt() {
        return shown(&take(dictionary.values(), dictionary.keys(), None).unwrap());
    }
    let plain = match array.data_type() {
        arrow_schema::DataType::RunEndEncoded(..) => {
            let run = array.as_any().downcast_ref::<RunArray<Int32Type>>().unwrap();
            let index: Vec<u32> = (0..run.len()).map(|row| run.get_physical_index(row) as u32).collect();
            return shown(&take(run.values(), &UInt32Array::from(index), None).unwrap());
        }
        _ => array,
    };
    (0..plain.len())
        .map(|row| if plain.is_null(row) { "null".into() } else { format!("{:?}", plain.slice(row, 1)) })
        .collect()
}

fn assert_same(batch: &Batch, decoded: &Batch) {
    assert_eq!(batch.schema(), decoded.schema());
    assert_eq!(batch.num_rows(), decoded.num_rows());
    assert!(decoded.selection().is_none());
    for column in 0..batch.columns().len() {
        assert_eq!(shown(&selected(batch, column)), shown(&selected(decoded, column)), "column {column}");
    }
    let rows: Vec<usize> = match batch.selection() {
        Some(selection) => selection.iter().map(|row| *row as usize).collect(),
        None => (0..batch.physical_rows()).collect(),
    };
    let kinds = |b: &Batch| b.row_kinds().map(|k| k.to_vec());
    assert_eq!(kinds(decoded), kinds(batch).map(|k| rows.iter().map(|row| k[*row]).collect()));
    let hashes = |b: &Batch| b.hashes().map(|h| (h.columns.to_vec(), h.values.to_vec()));
    assert_eq!(hashes(decoded), hashes(batch).map(|(c, h)| (c, rows.iter().map(|row| h[*row]).collect())));
    let flags = |b: &Batch| (b.flags().key_unique, b.flags().sorted_by);
    assert_eq!(flags(batch), flags(decoded));
}

fn encode(batch: &Batch, compress: bool) -> Buffer {
    FrameEncoder::new(EncodeOptions { compress, hashes: true }).encode(batch).unwrap()
}

fn decode(frame: &Buffer) -> Result<Batch, FrameError> {
    FrameDecoder::new(DecodeOptions::default()).decode(frame)
}

#[test]
fn batches_come_back_as_they_were() {
    for rows in [0, 1, 7, 100, 8192] {
        for compress in [false, true] {
            let plain = batch(rows);
            let full = with_everything(plain.clone());
            let third: Vec<u32> = (0..rows as u32).step_by(3).collect();
            let narrowed = full.clone().with_selection(Some(third.into()));
            let middle = full.slice(rows / 3, rows / 3);
            let nothing = full.clone().with_selection(Some(vec![].into()));
            for batch in [plain, full, narrowed, middle, nothing] {
                let frame = encode(&batch, compress);
                assert_eq!(frame.len() % 64, 0);
                assert_same(&batch, &decode(&frame).unwrap());
                let mut expecting = FrameDecoder::expecting(batch.schema().clone(), DecodeOptions::default());
                assert_same(&batch, &expecting.decode(&frame).unwrap());
            }
        }
    }
}

#[test]
fn encodings_survive_where_they_are_worth_it() {
    let decoded = decode(&encode(&batch(100), false)).unwrap();
    let is_dictionary = |index: usize| decoded.column(index).array().as_any_dictionary_opt().is_some();
    assert!(is_dictionary(7));
    assert_eq!(decoded.column(8).array().data_type(), &arrow_schema::DataType::Decimal64(18, 2));
    assert_eq!(decoded.column(14).as_constant().unwrap().as_primitive::<Int64Type>().value(0), 42);
    assert!(decoded.column(15).as_constant().unwrap().is_null(0));
    // A dictionary with more entries than rows is spelled out.
    let one = decode(&encode(&batch(100).slice(0, 1), false)).unwrap();
    assert_eq!(one.column(7).array().data_type(), &arrow_schema::DataType::Utf8);
}

#[test]
fn a_slice_leaves_the_rest_behind() {
    let large = batch(8192);
    let (whole, part) = (encode(&large, false).len(), encode(&large.slice(4000, 8), false).len());
    let (few, metadata) = (encode(&batch(8), false).len(), 2048);
    assert!(part < few + metadata, "{part} bytes for 8 of {whole}");
}

#[test]
fn decoding_copies_nothing() {
    let frame = encode(&batch(100), false);
    let decoded = decode(&frame).unwrap();
    let within = frame.as_ptr_range();
    let values = decoded.column(0).array().as_primitive::<Int64Type>().values();
    assert!(within.contains(&values.inner().as_ptr()));
    assert!((values.inner().as_ptr() as usize).is_multiple_of(64));
    let views = decoded.column(5).array().as_string_view();
    assert!(within.contains(&views.data_buffers()[0].as_ptr()));
    // A frame that is not aligned is copied, and read all the same.
    let mut shifted = MutableBuffer::new(0);
    shifted.extend_from_slice(&[0u8; 8]);
    shifted.extend_from_slice(&frame);
    assert_same(&batch(100), &decode(&Buffer::from(shifted).slice(8)).unwrap());
}

#[test]
fn a_channel_carries_its_schema_once() {
    let mut encoder = FrameEncoder::new(EncodeOptions::default());
    let mut decoder = FrameDecoder::new(DecodeOptions::default());
    let flags = |frame: &Buffer| FrameHeader::parse(frame).unwrap().flags;
    let (first, second) = (batch(100), batch(100));
    let frames = [encoder.encode(&first).unwrap(), encoder.encode(&second).unwrap()];
    assert!(flags(&frames[0]).has(FrameFlags::SCHEMA) && !flags(&frames[1]).has(FrameFlags::SCHEMA));
    assert!(frames[1].len() < frames[0].len());
    assert!(matches!(decoder.decode(&frames[1]), Err(FrameError::MissingSchema)));
    for frame in &frames {
        assert_same(&first, &decoder.decode(frame).unwrap());
    }
    // Other encodings bring the schema again, and so does a reset.
    let plain = encoder.encode(&first.slice(0, 1)).unwrap();
    assert!(flags(&plain).has(FrameFlags::SCHEMA));
    assert_same(&first.slice(0, 1), &decoder.decode(&plain).unwrap());
    encoder.reset();
    let alone = encoder.encode(&first.slice(0, 1)).unwrap();
    assert_same(&first.slice(0, 1), &decode(&alone).unwrap());
}

#[test]
fn arrow_reads_the_bodies_as_a_stream() {
    let mut encoder = FrameEncoder::new(EncodeOptions::default());
    let full = with_everything(batch(100));
    let mut stream = Vec::new();
    for _ in 0..3 {
        stream.extend_from_slice(&encoder.encode(&full).unwrap()[HEADER_BYTES..]);
    }
    let records: Vec<_> = StreamReader::try_new(Cursor::new(stream), None).unwrap().map(Result::unwrap).collect();
    assert_eq!(records.len(), 3);
    for record in records {
        assert_eq!(record.num_rows(), 100);
        assert_eq!(record.schema().field(record.num_columns() - 2).name(), "$row_kind");
        for column in 0..full.columns().len() {
            assert_eq!(shown(record.column(column)), shown(&selected(&full, column)), "column {column}");
        }
        let kinds = record.column(record.num_columns() - 2).as_primitive::<Int8Type>();
        assert_eq!(kinds.values()[..], full.row_kinds().unwrap()[..]);
    }
}

/// CRC32C bit by bit: polynomial 0x1EDC6F41, reflected.
fn crc32c_of(parts: [&[u8]; 2]) -> u32 {
    !parts.into_iter().flatten().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
    })
}

/// The bytes that FORMAT.md draws, written out by hand.
#[test]
fn the_bytes_are_those_of_the_format() {
    let schema = Arc::new(Schema::new(vec![Field::new("a", LogicalType::Int64, false)]));
    let column: ArrayRef = Arc::new(Int64Array::from(vec![1, -2, 3]));
    let batch = Batch::new(schema, vec![column.into()], 3).with_row_kinds(Some(vec![0i8, 1, 2].into()));
    let flags = BatchFlags { sorted_by: Some(1), ..batch.flags() };
    let frame = encode(&batch.with_flags(flags), false);
    assert_eq!(crc32c_of([b"1234", b"56789"]), 0xe306_9283, "the check value of CRC-32C");
    let checksum = crc32c_of([&frame[..24], &frame[28..]]);
    let total = frame.len();
    // The buffers: validity (absent) and values of a, then of the row kinds, each padded to 64 bytes.
    let metadata = total - HEADER_BYTES - 2 * 64;
    let mut expected = Vec::new();
    expected.extend_from_slice(b"FLMF");
    expected.extend_from_slice(&[1, 0]);
    expected.extend_from_slice(&[0b101_0101, 0]);
    expected.extend_from_slice(&[3, 0, 0, 0]);
    expected.extend_from_slice(&[2, 0, 0, 0]);
    expected.extend_from_slice(&(total as u64).to_le_bytes());
    expected.extend_from_slice(&checksum.to_le_bytes());
    expected.extend_from_slice(&(metadata as u32).to_le_bytes());
    expected.extend_from_slice(&[1, 0]);
    expected.resize(64, 0);
    assert_eq!(frame[..64], expected[..]);
    assert_eq!(frame[64..68], [0xff; 4]);
    let mut buffers = Vec::new();
    [1i64, -2, 3].iter().for_each(|v| buffers.extend_from_slice(&v.to_le_bytes()));
    buffers.resize(64, 0);
    buffers.extend_from_slice(&[0, 1, 2]);
    buffers.resize(128, 0);
    assert_eq!(frame[total - 128..], buffers[..]);
}

#[test]
fn a_frame_cut_anywhere_is_refused() {
    for compress in [false, true] {
        let frame = encode(&with_everything(batch(7)), compress);
        for length in 0..frame.len() {
            let cut = Buffer::from(&frame[..length]);
            assert!(decode(&cut).is_err(), "{length} of {} bytes", frame.len());
        }
        let mut longer = frame.to_vec();
        longer.extend_from_slice(&[0; 64]);
        assert!(decode(&Buffer::from(longer)).is_err());
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let frame = encode(&with_everything(batch(3)), false);
    let mut bytes = frame.to_vec();
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&Buffer::from(&bytes[..])).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

/// A peer that means harm computes the checksum, too: then what it says may be wrong, but reading it never panics,
/// and what comes out is a batch whose every value can be looked at.
#[test]
fn flipped_bits_under_a_right_checksum_do_no_harm() {
    let mut refused = 0;
    for compress in [false, true] {
        let frame = encode(&with_everything(batch(3)), compress);
        let mut bytes = frame.to_vec();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let checksum = frame_checksum(&bytes);
            bytes[24..28].copy_from_slice(&checksum.to_le_bytes());
            match decode(&Buffer::from(&bytes[..])) {
                Ok(batch) => {
                    (0..batch.columns().len()).for_each(|column| drop(shown(&selected(&batch, column))));
                }
                Err(FrameError::Malformed { problem }) => {
                    assert!(!problem.contains("panic"), "bit {bit}: a check is missing");
                    refused += 1;
                }
                Err(_) => refused += 1,
            }
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
    assert!(refused > 1000, "{refused}");
}

#[test]
fn limits_are_kept_before_anything_is_allocated() {
    let frame = encode(&batch(100), true);
    let mut decoder = FrameDecoder::new(DecodeOptions { bytes_max: 4096 });
    assert!(matches!(decoder.decode(&frame), Err(FrameError::TooLarge { .. })));
    let schema = Arc::new(Schema::new(vec![]));
    let rows = ROWS_MAX as usize + 1;
    let error = FrameEncoder::new(EncodeOptions::default()).encode(&Batch::new(schema, vec![], rows)).unwrap_err();
    assert!(matches!(error, FrameError::TooLarge { .. }));
    assert!(matches!(decode(&Buffer::from(&b"GET / HTTP/1.1"[..])), Err(FrameError::WrongMagic { .. })));
    let mut newer = [0u8; 64];
    newer[..4].copy_from_slice(&MAGIC);
    newer[4] = 2;
    assert!(matches!(decode(&Buffer::from(&newer[..])), Err(FrameError::UnknownVersion { version: 2 })));
}

#[test]
fn another_schema_is_refused() {
    let frame = encode(&batch(3), false);
    let other = |data_type| Arc::new(Schema::new(vec![Field::new("a", data_type, true)]));
    let mut decoder = FrameDecoder::expecting(other(LogicalType::Int64), DecodeOptions::default());
    let error = decoder.decode(&frame).unwrap_err();
    assert_eq!(error.to_string(), "the frame's schema is not the expected one: 16 columns, 1 are expected");
    let one = Batch::new(other(LogicalType::Int32), vec![Column::Array(Arc::new(Int32Array::from(vec![1])))], 1);
    let error = decoder.decode(&encode(&one, false)).unwrap_err();
    assert!(error.to_string().ends_with("column 0 (a) is INTEGER, BIGINT is expected"), "{error}");
}
