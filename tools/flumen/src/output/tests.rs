use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, Decimal128Array, Int64Array, ListArray, NullArray, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Schema};

use super::*;

const ALL: Layout = Layout { rows_max: None, width_max: None, unicode: true, color: false };

/// What readers of other programs stumble over.
fn batch() -> RecordBatch {
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(i64::MAX), None]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a,\"b\"\t|<\n"), Some("")]));
    let decimals = Decimal128Array::from(vec![Some(12_345_678_901_234_567_890_123_456_i128), None]);
    let decimals: ArrayRef = Arc::new(decimals.with_precision_and_scale(38, 4).unwrap());
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![Some(1_704_067_200_000_001), None]));
    let nothing: ArrayRef = Arc::new(NullArray::new(2));
    RecordBatch::try_from_iter_with_nullable([
        ("n", numbers, true),
        ("t", texts, true),
        ("d", decimals, true),
        ("ts", times, true),
        ("x", nothing, true),
    ])
    .unwrap()
}

fn bytes(format: Format, layout: Layout, batches: &[RecordBatch]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = ResultWriter::new(format, batches[0].schema(), layout);
    batches.iter().for_each(|b| writer.write(b, &mut out).unwrap());
    writer.finish(&mut out).unwrap();
    out
}

#[track_caller]
fn text(format: Format, layout: Layout, batches: &[RecordBatch]) -> String {
    String::from_utf8(bytes(format, layout, batches)).unwrap()
}

fn column(name: &str, values: ArrayRef) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([(name, values, true)]).unwrap()
}

#[test]
fn csv_and_tsv_tell_null_from_empty() {
    let csv = "n,t,d,ts,x\n\
        9223372036854775807,\"a,\"\"b\"\"\t|<\n\",1234567890123456789012.3456,2024-01-01T00:00:00.000001,\n\
        ,\"\",,,\n";
    assert_eq!(text(Format::Csv, ALL, &[batch()]), csv);
    let tsv = text(Format::Tsv, ALL, &[batch()]);
    assert!(tsv.starts_with("n\tt\td\tts\tx\n9223372036854775807\t\"a,\"\"b\"\"\t|<\n\"\t"), "{tsv}");
    assert!(tsv.ends_with("\n\t\"\"\t\t\t\n"), "{tsv:?}");
}

#[test]
fn another_reader_of_csv_reads_the_same() {
    for (format, separator) in [(Format::Csv, b','), (Format::Tsv, b'\t')] {
        let written = bytes(format, ALL, &[batch(), batch()]);
        let mut reader = csv::ReaderBuilder::new().delimiter(separator).from_reader(written.as_slice());
        let rows: Vec<_> = reader.records().map(|row| row.unwrap()).collect();
        assert_eq!(rows.len(), 4);
        assert_eq!(&rows[2][1], "a,\"b\"\t|<\n");
        assert_eq!(&rows[2][2], "1234567890123456789012.3456");
        assert_eq!(rows[3].iter().collect::<String>(), "");
    }
}

#[test]
fn json_is_exact() {
    let written = text(Format::Json, ALL, &[batch(), batch()]);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&written).unwrap();
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[0]["n"].as_i64(), Some(i64::MAX));
    assert_eq!(rows[2]["ts"], "2024-01-01T00:00:00.000001");
    assert!(rows[3]["n"].is_null() && rows[3]["x"].is_null() && rows[3]["t"] == "");
    assert!(written.contains("\"d\":1234567890123456789012.3456,"), "{written}");
    let lines = text(Format::Jsonl, ALL, &[batch(), batch()]);
    let rows: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((rows.len(), rows[1]["t"].as_str()), (4, Some("")));
}

#[test]
fn json_without_rows_is_an_empty_array() {
    let empty = batch().slice(0, 0);
    assert_eq!(text(Format::Json, ALL, std::slice::from_ref(&empty)), "[]\n");
    assert_eq!(text(Format::Jsonl, ALL, &[empty]), "");
}

#[test]
fn columns_of_one_name_are_kept_apart_in_json() {
    let one: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let fields: Vec<_> = ["a", "a", "a_2"].map(|name| Field::new(name, DataType::Int64, true)).into();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![Arc::clone(&one), one.clone(), one]).unwrap();
    assert_eq!(text(Format::Jsonl, ALL, &[batch]), "{\"a\":1,\"a_3\":1,\"a_2\":1}\n");
}

#[test]
fn arrow_and_parquet_are_read_again() {
    let (first, second) = (batch(), batch().slice(0, 1));
    let written = bytes(Format::Arrow, ALL, &[first.clone(), second.clone()]);
    let reader = arrow_ipc::reader::StreamReader::try_new(written.as_slice(), None).unwrap();
    assert_eq!(reader.map(|b| b.unwrap()).collect::<Vec<_>>(), [first.clone(), second.clone()]);

    let mut directory = tempfile::NamedTempFile::new().unwrap();
    directory.write_all(&bytes(Format::Parquet, ALL, &[first.clone(), second])).unwrap();
    let file = directory.reopen().unwrap();
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let read: Vec<RecordBatch> = reader.build().unwrap().map(|b| b.unwrap()).collect();
    assert_eq!(read.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
    assert_eq!(read[0].slice(0, 2), first);
}

#[test]
fn arrow_without_rows_has_a_schema() {
    let written = bytes(Format::Arrow, ALL, &[batch().slice(0, 0)]);
    let reader = arrow_ipc::reader::StreamReader::try_new(written.as_slice(), None).unwrap();
    assert_eq!(reader.schema(), batch().schema());
}

#[test]
fn markdown_and_html_escape() {
    let markdown = text(Format::Markdown, ALL, &[batch()]);
    let lines: Vec<&str> = markdown.lines().collect();
    assert_eq!(lines[..2], ["| n | t | d | ts | x |", "| ---: | --- | ---: | --- | --- |"]);
    assert!(lines[2].contains("| a,\"b\"\\t\\|&lt;<br> |"), "{markdown}");
    assert_eq!(lines[3], "| NULL |  | NULL | NULL | NULL |");
    let html = text(Format::Html, ALL, &[batch()]);
    assert!(html.contains("<td>a,&quot;b&quot;\t|&lt;\n</td>"), "{html}");
    assert!(html.contains("<td class=\"number\">9223372036854775807</td>"), "{html}");
    assert!(html.starts_with("<table>") && html.ends_with("</table>\n"), "{html}");
}

#[test]
fn vertical_has_a_line_a_column() {
    let layout = Layout { unicode: false, ..ALL };
    let expected = "\
-- row 1 --
n  | 9223372036854775807
t  | a,\"b\"\\t|<\\n
d  | 1234567890123456789012.3456
ts | 2024-01-01T00:00:00.000001
x  | NULL
-- row 2 --
n  | NULL
t  | \nd  | NULL\nts | NULL\nx  | NULL\n";
    assert_eq!(text(Format::Vertical, layout, &[batch()]), expected);
}

#[test]
fn a_box_shows_head_and_tail() {
    let batch = |from: i64, to: i64| column("n", Arc::new(Int64Array::from_iter_values(from..to)));
    let shown = |rows_max| {
        let layout = Layout { rows_max, unicode: false, ..ALL };
        text(Format::Box, layout, &[batch(0, 60), batch(60, 61), batch(61, 100)])
    };
    let expected = "\
+--------+
| n      |
| BIGINT |
+--------+
|      0 |
|      1 |
|      2 |
| .      |
|     98 |
|     99 |
+--------+
100 rows (5 shown)
";
    assert_eq!(shown(Some(5)), expected);
    assert_eq!(shown(None).lines().count(), 105);
    assert_eq!(shown(Some(100)).lines().count(), 105);
}

#[test]
fn a_box_leaves_columns_out_of_the_middle() {
    let names: Vec<String> = (0..40).map(|i| format!("column_{i}")).collect();
    let one = || Arc::new(Int64Array::from(vec![1])) as ArrayRef;
    let batch = RecordBatch::try_from_iter(names.iter().map(|name| (name, one()))).unwrap();
    let layout = Layout { width_max: Some(60), ..ALL };
    let shown = text(Format::Box, layout, &[batch]);
    let expected = "\
┌──────────┬──────────┬───┬───────────┬───────────┐
│ column_0 │ column_1 │ … │ column_38 │ column_39 │
│ BIGINT   │ BIGINT   │   │ BIGINT    │ BIGINT    │
├──────────┼──────────┼───┼───────────┼───────────┤
│        1 │        1 │ … │         1 │         1 │
└──────────┴──────────┴───┴───────────┴───────────┘
4 of 40 columns shown
";
    assert_eq!(shown, expected);
}

#[test]
fn wide_characters_align() {
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("日本語"), Some("é"), None, Some("東京都千代田区")]));
    let layout = Layout { width_max: Some(13), ..ALL };
    let shown = text(Format::Box, layout, &[column("name", texts)]);
    let expected = "\
┌───────────┐
│ name      │
│ VARCHAR   │
├───────────┤
│ 日本語    │
│ é         │
│ NULL      │
│ 東京都千… │
└───────────┘
";
    assert_eq!(shown, expected);
}

#[test]
fn cells_cannot_steer_the_terminal() {
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["\u{1b}[2Jgone\r\n"]));
    for format in [Format::Box, Format::Table, Format::Vertical, Format::Markdown] {
        let shown = text(format, ALL, &[column("t", Arc::clone(&texts))]);
        assert!(!shown.contains('\u{1b}') && !shown.contains('\r') && shown.contains("gone"), "{shown:?}");
    }
}

#[test]
fn colour_adds_nothing_but_colour() {
    let plain = text(Format::Box, ALL, &[batch()]);
    let colored = text(Format::Box, Layout { color: true, ..ALL }, &[batch()]);
    assert!(colored.contains("\u{1b}[2m"), "{colored:?}");
    assert_eq!(colored.replace("\u{1b}[2m", "").replace("\u{1b}[0m", ""), plain);
}

#[test]
fn nested_values_have_words_for_null() {
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None]);
    assert_eq!(text(Format::Csv, ALL, &[column("l", Arc::new(lists))]), "l\n\"[1, NULL]\"\n\n");
}

#[test]
fn structs_are_shown_as_duckdb_does() {
    let fields = vec![Field::new("a", DataType::Utf8, true), Field::new("b", DataType::Int64, true)];
    let columns: Vec<ArrayRef> =
        vec![Arc::new(StringArray::from(vec![Some("x, y"), None])), Arc::new(Int64Array::from(vec![Some(1), None]))];
    let structs = arrow_array::StructArray::new(fields.into(), columns, None);
    let expected = "s\n{'a': 'x, y', 'b': 1}\n{'a': NULL, 'b': NULL}\n";
    assert_eq!(text(Format::Tsv, ALL, &[column("s", Arc::new(structs))]), expected);
}

#[test]
fn formats_follow_from_names_of_files() {
    let format = |name: &str| Format::from_path(Path::new(name));
    assert_eq!(format("a/b.CSV"), Some(Format::Csv));
    assert_eq!([format("b.ndjson"), format("b.jsonl")], [Some(Format::Jsonl); 2]);
    assert_eq!([format("b"), format("b.xls"), format(".csv")], [None; 3]);
}

#[test]
fn a_layout_is_for_terminals() {
    let terminal =
        Terminal { is_terminal: true, width: Some(80), height: Some(24), unicode: true, color: true, moves: true };
    let shown = |terminal: &Terminal, rows, width| {
        let layout = Layout::new(terminal, rows, width);
        (layout.rows_max, layout.width_max)
    };
    assert_eq!(shown(&terminal, None, None), (Some(40), Some(80)));
    assert_eq!(shown(&terminal, Some(0), Some(0)), (None, None));
    let pipe = Terminal { is_terminal: false, ..terminal };
    assert_eq!(shown(&pipe, None, None), (None, None));
    assert_eq!(shown(&pipe, Some(4), Some(50)), (Some(4), Some(50)));
}
