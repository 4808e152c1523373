//! Both ways, and what does not fit. What a layout and the types are told to be is what DuckDB tells of the same text.

use std::sync::Arc;

use flumen_core::batch::Batch;
use flumen_core::types::{Field, LogicalType, Resolution, Schema, SchemaRef};
use flumen_formats::{Decoder, Encoder, FormatError, SchemaInference, decode_all};

use super::*;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("n", LogicalType::Int64, true),
        Field::new("t", LogicalType::Utf8, true),
        Field::new("d", LogicalType::Decimal { precision: 9, scale: 2 }, true),
    ]))
}

const TEXT: &str = "n,t,d\n1,\"a,\"\"b\"\"\",1.50\n,,\n-3,c,-0.25\n";

fn encoded(schema: &SchemaRef, batches: &[Batch]) -> Result<String, FormatError> {
    let mut out = Vec::new();
    let mut encoder = CsvEncoder::new(Arc::clone(schema), CsvLayout::default());
    encoder.start(&mut out)?;
    for batch in batches {
        encoder.encode(batch, &mut out)?;
    }
    encoder.finish(&mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

fn decoded(text: &str, projection: &[usize], batch_rows: usize) -> Result<(Vec<usize>, String), FormatError> {
    let mut decoder = CsvDecoder::new(&schema(), projection, CsvLayout::default(), batch_rows);
    let batches = decode_all(&mut decoder, text.as_bytes())?;
    let text = encoded(decoder.schema(), &batches)?;
    Ok((batches.iter().map(Batch::num_rows).collect(), text))
}

#[test]
fn rows_survive_both_ways() {
    for (batch_rows, counts) in [(1, vec![1, 1, 1]), (2, vec![2, 1]), (8192, vec![3])] {
        assert_eq!(decoded(TEXT, &[0, 1, 2], batch_rows).unwrap(), (counts, TEXT.to_owned()));
    }
    assert_eq!(decoded(TEXT.trim_end(), &[0, 1, 2], 8192).unwrap().1, TEXT, "no newline at the end");
    assert_eq!(decoded(TEXT, &[2, 0], 8192).unwrap().1, "d,n\n1.50,1\n,\n-0.25,-3\n");
    assert_eq!(decoded("n,t,d\n", &[0], 7).unwrap().0, [] as [usize; 0]);
    let marked = format!("\u{feff}{}", TEXT.replace('\n', "\r\n"));
    assert_eq!(decoded(&marked, &[0, 1, 2], 8192).unwrap().1, TEXT, "a byte order mark and other ends of lines");
    // An empty text is not NULL; in a number a quoted nothing is.
    assert_eq!(decoded("n,t,d\n1,\"\",\n\"\",,2\n", &[0, 1], 8192).unwrap().1, "n,t\n1,\"\"\n,\n");
    // Spaces around numbers do not count, those of text do.
    assert_eq!(decoded("n,t,d\n 1 , a , 2.5 \n", &[0, 1, 2], 8192).unwrap().1, "n,t,d\n1, a ,2.50\n");
}

#[test]
fn rows_do_not_depend_on_where_pieces_end() {
    let text = "n,t,d\r\n1,\"a\r\n,\"\"b\"\"\",1.50\r\n\r\n2,ü\u{1F600},\r\n\"3\",\"\",\"-0.25\"";
    let whole = decoded(text, &[0, 1, 2], 8192).unwrap().1;
    assert_eq!(whole, "n,t,d\n1,\"a\r\n,\"\"b\"\"\",1.50\n2,ü\u{1F600},\n3,\"\",-0.25\n");
    for piece in 1..text.len() {
        let mut decoder = CsvDecoder::new(&schema(), &[0, 1, 2], CsvLayout::default(), 2);
        let mut batches = Vec::new();
        for mut bytes in text.as_bytes().chunks(piece) {
            while !bytes.is_empty() {
                let taken = decoder.decode(bytes).unwrap();
                bytes = &bytes[taken..];
                if decoder.buffered_rows() == 2 {
                    batches.extend(decoder.flush().unwrap());
                }
            }
        }
        decoder.finish().unwrap();
        batches.extend(decoder.flush().unwrap());
        assert_eq!(encoded(decoder.schema(), &batches).unwrap(), whole, "pieces of {piece}");
    }
}

#[test]
fn other_quotes_escapes_and_nulls() {
    let layout = CsvLayout {
        header: false,
        delimiter: b'|',
        quote: Some(b'\''),
        escape: b'\\',
        null: "NA".to_owned(),
        ignore_errors: false,
    };
    let mut decoder = CsvDecoder::new(&schema(), &[0, 1, 2], layout.clone(), 8192);
    let batches = decode_all(&mut decoder, b"NA|'it\\'s|\\\\'|1\n2|'NA'|NA\n3|\"q|\n").unwrap();
    assert_eq!(encoded(decoder.schema(), &batches).unwrap(), "n,t,d\n,it's|\\,1.00\n2,NA,\n3,\"\"\"q\",\n");
    let mut out = Vec::new();
    let mut encoder = CsvEncoder::new(schema(), layout);
    batches.iter().for_each(|batch| encoder.encode(batch, &mut out).unwrap());
    assert_eq!(String::from_utf8(out).unwrap(), "NA|'it\\'s|\\\\'|1.00\n2|'NA'|NA\n3|\"q|NA\n");
}

#[test]
fn lines_are_those_of_an_editor() {
    for (text, expected) in [
        ("n,t,d\n1,a,1\nx,b,2\n", "csv line 3: 'x' in column \"n\" is not BIGINT; "),
        ("n,t,d\r\n1,a,1\r\n2,b,y\r\n", "csv line 3: 'y' in column \"d\" is not DECIMAL(9, 2); "),
        // Text over two lines, and an empty line.
        ("n,t,d\n1,\"a\nb\",1\n\nx,b,2", "csv line 5: 'x' in column \"n\" is not BIGINT; "),
        ("n,t,d\n1,a,1\n1,a\n", "csv line 3: the row has 2 fields, and the table has 3 columns (n, t, d); "),
        ("n,t,d\n1,a,1,7\n", "csv line 2: the row has more than 3 fields, and the table has 3 columns (n, t, d); "),
        ("n,t\n1,a\n", "csv line 1: the row has 2 fields, and the table has 3 columns (n, t, d); "),
        ("n,t,d\n1,\"a\n,1\n2,b,1\n", "csv line 2: the file ends inside of quotes; "),
        ("n,t,d\n9223372036854775808,a,1\n", "csv line 2: '9223372036854775808' in column \"n\" is not BIGINT; "),
        ("n,t,d\n1,a,12345678.9\n", "csv line 2: '12345678.9' in column \"d\" is not DECIMAL(9, 2); "),
    ] {
        for batch_rows in [1, 2, 8192] {
            let error = decoded(text, &[0, 1, 2], batch_rows).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{batch_rows} rows: {error}");
        }
    }
    let error = decoded("n,t,d\nx,b,2\n", &[0], 8192).unwrap_err().to_string();
    for way in ["sample_size => -1", "types => {'n': 'VARCHAR'}", "ignore_errors => true"] {
        assert!(error.contains(way), "{error}");
    }
    let mut decoder = CsvDecoder::new(&schema(), &[1], CsvLayout::default(), 8192);
    let error = decode_all(&mut decoder, b"n,t,d\n1,a,1\n1,\xff,1\n").unwrap_err().to_string();
    assert_eq!(error, "csv line 3: column \"t\" is not UTF-8 text; convert the file's encoding");
    // Two fields that are no text, though one after the other they look like it.
    let mut decoder = CsvDecoder::new(&schema(), &[1, 2], CsvLayout::default(), 8192);
    assert!(decode_all(&mut decoder, b"n,t,d\n1,\xc3,\xa9\n").is_err());
    // A value of a column that is not read may be anything.
    assert_eq!(decoded("n,t,d\nx,a,1\n", &[1], 8192).unwrap().1, "t\na\n");
    let mut not_null = Schema::clone(&schema());
    not_null.fields[0].nullable = false;
    let layout = CsvLayout { header: false, delimiter: b';', ..CsvLayout::default() };
    let mut decoder = CsvDecoder::new(&not_null, &[0], layout, 8192);
    let error = decode_all(&mut decoder, b"1;a;1\n;b;2\n").unwrap_err().to_string();
    assert_eq!(error, "csv line 2: column \"n\" is empty, which is NULL, and it is declared NOT NULL");
}

#[test]
fn rows_that_do_not_fit_can_be_left_out() {
    let layout = CsvLayout { ignore_errors: true, ..CsvLayout::default() };
    let text = b"n,t,d\n1,a,1\nx,b,2\n2,c\n3,\xff,3\n4,d,4\n5,e,six\n6,f,7\n7,\"open";
    for batch_rows in [1, 2, 8192] {
        let mut decoder = CsvDecoder::new(&schema(), &[0, 1, 2], layout.clone(), batch_rows);
        let batches = decode_all(&mut decoder, text).unwrap();
        let kept = encoded(decoder.schema(), &batches).unwrap();
        assert_eq!(kept, "n,t,d\n1,a,1.00\n4,d,4.00\n6,f,7.00\n", "{batch_rows} rows");
    }
}

fn inferred(format: &CsvFormat, text: &str, rows: u64) -> Result<(CsvLayout, Vec<(String, LogicalType)>), FormatError> {
    let layout = format.layout(text.as_bytes(), &[]);
    let mut inference = CsvInference::new(format, layout.clone(), rows);
    inference.push(text.as_bytes())?;
    let schema = inference.finish(true)?;
    Ok((layout, schema.fields.into_iter().map(|f| (f.name, f.data_type)).collect()))
}

#[test]
fn layouts_and_types_are_told_from_the_text() {
    use LogicalType::{Boolean, Date, Float64, Int64, Utf8};
    let timestamp = LogicalType::Timestamp { resolution: Resolution::Microsecond, zone: None };
    let check = |text: &str, delimiter: u8, quote: u8, header: bool, columns: &[(&str, LogicalType)]| {
        let (layout, types) = inferred(&CsvFormat::default(), text, 1_000).unwrap();
        assert_eq!((layout.delimiter, layout.quote, layout.header), (delimiter, Some(quote), header), "{text}");
        let columns: Vec<_> = columns.iter().map(|(name, t)| ((*name).to_owned(), t.clone())).collect();
        assert_eq!(types, columns, "{text}");
    };
    check("a,b,c\n1,x,2024-01-01\n2.5,,2024-01-02\n", b',', b'"', true, &[("a", Float64), ("b", Utf8), ("c", Date)]);
    check("a;b\n1;2024-01-01\n2;2024-01-02 10:00:00\n", b';', b'"', true, &[("a", Int64), ("b", Utf8)]);
    check("name,city\nann,rome\nbob,oslo\n", b',', b'"', true, &[("name", Utf8), ("city", Utf8)]);
    check("a|b\n'x|y'|1\n'it''s'|2\n", b'|', b'\'', true, &[("a", Utf8), ("b", Int64)]);
    check("1,a\n2,b\n", b',', b'"', false, &[("column0", Int64), ("column1", Utf8)]);
    check("a\tb\n\"x\ty\"\t1\n\"q\"\"q\"\t2\n\"e\nf\"\t03\n", b'\t', b'"', true, &[("a", Utf8), ("b", Utf8)]);
    check(
        "id,when,flag,zip\n1,2024-01-01 00:00:00,TRUE,0123\n2,2024-01-01 00:00:01.5,false,0456\n",
        b',',
        b'"',
        true,
        &[("id", Int64), ("when", timestamp), ("flag", Boolean), ("zip", Utf8)],
    );
    check("n,n,\n1,2,3\n", b',', b'"', true, &[("n", Int64), ("n_1", Int64), ("column2", Int64)]);
    check("", b',', b'"', false, &[]);
}

#[test]
fn what_is_known_is_not_told() {
    let text = "1;2\n3;x\n";
    let (layout, types) = inferred(&CsvFormat { header: Some(true), ..CsvFormat::default() }, text, 1_000).unwrap();
    assert!(layout.header && types[0] == ("1".to_owned(), LogicalType::Int64));
    let comma = CsvFormat { delimiter: Some(b','), ..CsvFormat::default() };
    assert_eq!(inferred(&comma, text, 1_000).unwrap().1.len(), 1);
    // One row is not enough to know.
    let (_, types) = inferred(&CsvFormat::default(), text, 1).unwrap();
    assert_eq!(types[1].1, LogicalType::Int64);
    let all_text = CsvFormat { all_text: true, ..CsvFormat::default() };
    assert!(inferred(&all_text, text, 1_000).unwrap().1.iter().all(|(_, t)| *t == LogicalType::Utf8));
    let names = CsvFormat::default().layout(b"1,2\n3,4\n", &["2", "1"]);
    assert!(names.header, "these are the names that were expected");
    assert!(!CsvFormat::default().layout(b"1,2\n3,4\n", &["a", "b"]).header);
}

#[test]
fn rows_of_other_widths_are_told_while_types_are() {
    for (text, expected) in [
        ("a,b\n1,2\n\n3\n4,5\n", "csv line 4: the row has 1 field, and the first has 2; "),
        ("1,2\n3\n4,5\n", "csv line 2: the row has 1 field, and the first has 2; "),
    ] {
        let error = inferred(&CsvFormat::default(), text, 1_000).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn one_column_may_be_empty() {
    let table = Schema::new(vec![Field::new("t", LogicalType::Utf8, true)]);
    let mut decoder = CsvDecoder::new(&table, &[0], CsvLayout::default(), 8192);
    let batches = decode_all(&mut decoder, b"t\na\n\n\"\"\nb\n").unwrap();
    assert_eq!(encoded(decoder.schema(), &batches).unwrap(), "t\na\n\n\"\"\nb\n");
}

#[test]
fn a_row_may_be_longer_than_a_batch() {
    let long = "x".repeat(9 << 20);
    let text = format!("n,t,d\n1,a,1\n2,{long},2\n3,c,3\n");
    let mut decoder = CsvDecoder::new(&schema(), &[0, 1], CsvLayout::default(), 8192);
    let mut rows = 0;
    for mut bytes in text.as_bytes().chunks(1 << 20) {
        let mut idle = 0;
        while !bytes.is_empty() {
            let taken = decoder.decode(bytes).unwrap();
            bytes = &bytes[taken..];
            idle = if taken == 0 { idle + 1 } else { 0 };
            assert!(idle < 2, "it takes nothing and gives nothing");
            if !bytes.is_empty() {
                rows += decoder.flush().unwrap().map_or(0, |batch| batch.num_rows());
            }
        }
    }
    decoder.finish().unwrap();
    rows += decoder.flush().unwrap().map_or(0, |batch| batch.num_rows());
    assert_eq!(rows, 3);
}

#[test]
fn what_looks_like_a_type_can_be_read_as_it() {
    let columns: [(&str, &[&str]); 6] = [
        ("i", &["1", "-12", "+7", "0", "9223372036854775807", " 3 "]),
        ("f", &["1.", ".5", "+2.5", "1e5", "-1.5E-3", "9223372036854775808"]),
        ("b", &["true", "FALSE", "True", "false", "tRUE", "TRUE"]),
        ("d", &["2024-02-29", "1970-01-01", "0001-01-01", "9999-12-31", "2000-02-29", "1900-02-28"]),
        (
            "t",
            &[
                "2024-02-29 10:00:00",
                "2024-02-29T10:00:00.5",
                "1969-12-31 23:59:59.999999",
                "2024-02-29 10:00:00.123456789",
                "2024-01-01 00:00:00.1",
                "0001-01-01 00:00:00",
            ],
        ),
        (
            "z",
            &[
                "2024-02-29 10:00:00Z",
                "2024-02-29T10:00:00+02:00",
                "2024-02-29 10:00:00.5-05:30",
                "1969-12-31T23:59:59Z",
                "2024-02-29 10:00:00Z",
                "2024-02-29 10:00:00Z",
            ],
        ),
    ];
    for (name, values) in columns {
        let text = format!("{name}\n{}\n", values.join("\n"));
        let (layout, types) = inferred(&CsvFormat::default(), &text, 1_000).unwrap();
        assert!(layout.header && types[0].1 != LogicalType::Utf8, "{types:?}");
        let table = Schema::new(vec![Field::new(name, types[0].1.clone(), true)]);
        let mut decoder = CsvDecoder::new(&table, &[0], layout, 8192);
        let batches = decode_all(&mut decoder, text.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(batches[0].num_rows(), values.len());
    }
}
