//! Directories of files: partitions, columns by name, compressed text, and writing them. The expected rows are DuckDB's,
//! which reads the same text.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use flumen_core::batch::Batch;
use flumen_core::expr::{Expr, Literal, Value};
use flumen_core::sink::{SinkConnector, WriterStatus};
use flumen_core::source::SourceConnector;
use flumen_core::spec::connector::SinkSpec;
use flumen_core::types::{Field, LogicalType, Schema};
use flumen_io::{FileSystem, SimulatedFileSystem};

use super::{FileSink, FileSource};
use crate::testing::{Meter, disk, flush, options, read_all, source_spec, write_file, writer_context};

/// Columns, and all rows in order, of a table that nothing is known of but its options.
fn table(source: &FileSource, pairs: &[(&str, &str)]) -> Result<(String, Vec<String>), String> {
    let schema = source.infer_schema(&options(pairs)).map_err(|e| e.chain())?;
    let columns: Vec<_> = schema.fields.iter().map(|f| format!("{} {}", f.name, f.data_type)).collect();
    let spec = source_spec("filesystem", pairs, schema);
    let mut all: Option<Vec<String>> = None;
    for parallelism in [1, 2, 7] {
        for batch_rows in [1, 7, 8192] {
            for restore_every in [None, Some(1)] {
                let mut rows =
                    read_all(source, &spec, &[parallelism, 2], batch_rows, restore_every).map_err(|e| e.chain())?;
                rows.sort_unstable();
                assert_eq!(*all.get_or_insert_with(|| rows.clone()), rows, "{parallelism} readers, {batch_rows} rows");
            }
        }
    }
    Ok((columns.join(", "), all.unwrap_or_default()))
}

fn of(files: &[(&str, &[u8])]) -> (SimulatedFileSystem, FileSource) {
    let disk = disk();
    files.iter().for_each(|(path, bytes)| write_file(&disk, path, bytes));
    (disk.clone(), FileSource::new(Arc::new(disk)))
}

fn check(source: &FileSource, pairs: &[(&str, &str)], columns: &str, rows: &[&str]) {
    let (found, read) = table(source, pairs).unwrap();
    assert_eq!((found.as_str(), read), (columns, rows.iter().map(|r| (*r).to_owned()).collect()), "{pairs:?}");
}

#[test]
fn directories_of_partitions_have_their_keys_as_columns() {
    let (_, source) = of(&[
        ("/h/year=2023/month=12/b.csv", b"n,t\n2,b\n"),
        ("/h/year=2024/month=05/a.csv", b"n,t\n1,a\n"),
        ("/h/year=2024/month=__HIVE_DEFAULT_PARTITION__/c.csv", b"n,t\n3,\n"),
    ]);
    let all = &["1|a|2024|05", "2|b|2023|12", "3||2024|"];
    check(&source, &[("path", "/h")], "n BIGINT, t VARCHAR, year BIGINT, month VARCHAR", all);
    check(&source, &[("path", "/h/**/*.csv")], "n BIGINT, t VARCHAR, year BIGINT, month VARCHAR", all);
    check(
        &source,
        &[("path", "/h/year=202[4-9]/**"), ("hive-types", "false")],
        "n BIGINT, t VARCHAR, year VARCHAR, month VARCHAR",
        &["1|a|2024|05", "3||2024|"],
    );
    check(
        &source,
        &[("path", "/h"), ("hive-partitioning", "false"), ("filename", "true")],
        "n BIGINT, t VARCHAR, filename VARCHAR",
        &[
            "1|a|/h/year=2024/month=05/a.csv",
            "2|b|/h/year=2023/month=12/b.csv",
            "3||/h/year=2024/month=__HIVE_DEFAULT_PARTITION__/c.csv",
        ],
    );
}

#[test]
fn partitions_that_cannot_match_are_not_opened() {
    // A file that is no CSV is no trouble as long as it is left out.
    let (_, source) = of(&[
        ("/h/y=1/a.csv", b"n\n1\n"),
        ("/h/y=2/b.csv", b"n\n2\n"),
        ("/h/y=3/bad.csv", b"n\n1,2,3\n"),
        ("/h/y=__HIVE_DEFAULT_PARTITION__/c.csv", b"n\n4\n"),
    ]);
    let schema =
        Schema::new(vec![Field::new("n", LogicalType::Int64, true), Field::new("y", LogicalType::Int64, true)]);
    let mut spec = source_spec("filesystem", &[("path", "/h")], schema);
    let read = |spec: &_| {
        read_all(&source, spec, &[1], 8192, None).map(|mut rows| {
            rows.sort_unstable();
            rows
        })
    };
    assert!(read(&spec).is_err());
    let compare = |name: &str, value| {
        let args = vec![Expr::Column(1), Expr::Literal(Literal::int64(value))];
        Expr::call(name, args, LogicalType::Boolean)
    };
    for (filter, rows, note) in [
        (compare("lt", 3), &["1|1", "2|2"][..], "2 of 4 files"),
        (compare("eq", 2), &["2|2"], "1 of 4 files"),
        (compare("gt", 3), &[], "0 of 4 files"),
        (Expr::call("is_null", vec![Expr::Column(1)], LogicalType::Boolean), &["4|"], "1 of 4 files"),
        (
            Expr::InList {
                input: Box::new(Expr::Column(1)),
                list: vec![Literal::int64(1), Literal { value: Value::Null, data_type: LogicalType::Int64 }],
                negated: false,
            },
            &["1|1"],
            "1 of 4 files",
        ),
    ] {
        spec.filters = vec![filter];
        assert_eq!(read(&spec).unwrap(), rows);
        assert_eq!(source.scan_note(&spec).as_deref(), Some(note));
    }
    // A column of the path alone, and none at all.
    spec.filters = vec![compare("lt", 3)];
    spec.projection = vec![0, 1];
    spec.filters =
        vec![Expr::call("le", vec![Expr::Column(0), Expr::Literal(Literal::int64(2))], LogicalType::Boolean)];
    spec.projection = vec![1];
    assert_eq!(read(&spec).unwrap(), ["1", "2"]);
}

#[test]
fn columns_of_all_files_by_name() {
    let (_, source) = of(&[
        ("/d/a.csv", b"n,t\n1,a\n"),
        ("/d/b.csv", b"T,x,n\nb,2024-01-01,2.5\n"),
        ("/d/empty.csv", b"n,t,x\n"),
        ("/d/nothing.csv", b""),
        ("/j/a.json", b"{\"n\":1,\"o\":{\"x\":1}}\n"),
        ("/j/b.json", b"[{\"o\":{\"y\":[1,2]},\"n\":\"two\"}]"),
        ("/p/a=1/x.csv", b"a,b\n7,8\n"),
        ("/m/a.csv", b"n\n1\n"),
        ("/m/b.json", b"{}"),
    ]);
    check(&source, &[("path", "/d")], "n DOUBLE, t VARCHAR, x DATE", &["1.0|a|", "2.5|b|2024-01-01"]);
    let (columns, rows) = table(&source, &[("path", "/j")]).unwrap();
    assert_eq!(columns, "n VARCHAR, o ROW<x BIGINT, y ARRAY<BIGINT>>");
    assert_eq!(rows, ["1|{x: 1, y: }", "two|{x: , y: [1, 2]}"]);
    // The path counts where the file has the column, too.
    check(&source, &[("path", "/p")], "a BIGINT, b BIGINT", &["1|8"]);
    let error = table(&source, &[("path", "/m")]).unwrap_err();
    assert!(error.contains("/m/a.csv is csv, /m/b.json is json"), "{error}");
}

#[test]
fn declared_columns_meet_headers() {
    let (_, source) = of(&[
        ("/d/header.csv", b"t,n,more\na,1,x\n"),
        ("/d/plain.csv", b"1,a\n2,b\n"),
        ("/d/other.csv", b"k,v\n1,a\n"),
        ("/d/wide.csv", b"k,v,w\n1,a,x\n"),
    ]);
    let read = |path: &str| {
        let columns = vec![Field::new("n", LogicalType::Int32, true), Field::new("t", LogicalType::Utf8, true)];
        let spec = source_spec("filesystem", &[("path", path)], Schema::new(columns));
        read_all(&source, &spec, &[1], 8192, None).map_err(|e| e.chain())
    };
    assert_eq!(read("/d/header.csv").unwrap(), ["1|a"], "by name, though there are more");
    assert_eq!(read("/d/plain.csv").unwrap(), ["1|a", "2|b"], "by position");
    assert_eq!(read("/d/other.csv").unwrap(), ["1|a"], "by position: the names are others, their number is not");
    let error = read("/d/wide.csv").unwrap_err();
    assert!(error.contains("the row has more than 2 fields, and the table has 2 columns (n, t)"), "{error}");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// `n,t` and two rows, by liblzma at its highest level.
const XZ: &str = "fd377a585a000004e6d6b446020021011c00000010cf58cc01000b6e2c740a312c610a322c620a0030811ed233babb040001240ca618d8d81fb6f37d010000000004595a";

#[test]
fn compressed_text_is_read_as_it_comes() {
    let rows: String = (0..40_000).map(|i| format!("{i},t{}\n", i % 7)).collect();
    let text = format!("n,t\n{rows}");
    let zstd = zstd::encode_all(text.as_bytes(), 1).unwrap();
    // Two compressed files one after the other are one.
    let (head, tail) = text.as_bytes().split_at(1_000);
    let twice = |compress: fn(&[u8]) -> Vec<u8>| [compress(head), compress(tail)].concat();
    let (_, source) = of(&[
        ("/c/a.csv", text.as_bytes()),
        ("/c/a.csv.gz", &twice(gzip)),
        ("/c/a.csv.bz2", &twice(bzip2)),
        ("/c/a.csv.zst", &[zstd::encode_all(head, 1).unwrap(), zstd::encode_all(tail, 1).unwrap()].concat()),
        ("/c/named.txt", &zstd),
    ]);
    let read = |pairs: &[(&str, &str)]| {
        let schema = source.infer_schema(&options(pairs)).unwrap();
        read_all(&source, &source_spec("filesystem", pairs, schema), &[1], 8192, Some(3)).unwrap()
    };
    let plain = read(&[("path", "/c/a.csv")]);
    assert_eq!((plain.len(), plain[39_999].as_str()), (40_000, "39999|t1"));
    for path in ["/c/a.csv.gz", "/c/a.csv.bz2", "/c/a.csv.zst"] {
        assert_eq!(read(&[("path", path)]), plain, "{path}");
    }
    let xz: Vec<u8> = (0..XZ.len()).step_by(2).map(|at| u8::from_str_radix(&XZ[at..at + 2], 16).unwrap()).collect();
    let (_, small) = of(&[("/c/a.csv.xz", &xz)]);
    check(&small, &[("path", "/c/a.csv.xz")], "n BIGINT, t VARCHAR", &["1|a", "2|b"]);
    assert_eq!(read(&[("path", "/c/named.txt"), ("format", "csv"), ("compression", "zstd")]), plain);
}

#[test]
fn damaged_compression_is_an_error_with_the_file() {
    let good = gzip(b"n,t\n1,a\n");
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0xff;
    // A frame that asks for a window of far more than 128 MiB.
    let zstd_window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, 0x01, 0x00, 0x00];
    let (_, source) = of(&[
        ("/c/cut.csv.gz", &good[..good.len() - 6]),
        ("/c/flipped.csv.gz", &flipped),
        ("/c/none.csv.xz", b"n,t\n1,a\n"),
        ("/c/none.csv.bz2", b"n,t\n1,a\n"),
        ("/c/window.csv.zst", &zstd_window),
    ]);
    for path in ["/c/cut.csv.gz", "/c/flipped.csv.gz", "/c/none.csv.xz", "/c/none.csv.bz2", "/c/window.csv.zst"] {
        let error = table(&source, &[("path", path)]).unwrap_err();
        assert!(error.starts_with(&format!("file '{path}' cannot be decompressed (")), "{error}");
    }
}

fn rows(from: i64, to: i64) -> RecordBatch {
    let number: ArrayRef = Arc::new((from..to).collect::<Int64Array>());
    let key: ArrayRef = Arc::new((from..to).map(|i| (i % 5 != 0).then_some(i % 5)).collect::<Int64Array>());
    let text: ArrayRef =
        Arc::new((from..to).map(|i| Some(["x", "y z/1", "a=b"][i as usize % 3])).collect::<StringArray>());
    RecordBatch::try_from_iter_with_nullable([("n", number, true), ("k", key, true), ("t", text, true)]).unwrap()
}

fn row_schema() -> Arc<Schema> {
    Arc::new(Schema::new(vec![
        Field::new("n", LogicalType::Int64, true),
        Field::new("k", LogicalType::Int64, true),
        Field::new("t", LogicalType::Utf8, true),
    ]))
}

fn sink(pairs: &[(&str, &str)]) -> SinkSpec {
    SinkSpec { connector: "filesystem".to_owned(), options: options(pairs) }
}

fn write(files: &SimulatedFileSystem, pairs: &[(&str, &str)], memory: Option<usize>) -> Result<(), String> {
    let connector = FileSink::new(Arc::new(files.clone()));
    connector.validate(&options(pairs), &row_schema()).map_err(|e| e.chain())?;
    let mut context = writer_context(0, 1);
    let meter = Meter::new(memory.unwrap_or(usize::MAX));
    context.memory = Arc::clone(&meter) as _;
    let mut writer = connector.create_writer(&sink(pairs), &row_schema(), context).map_err(|e| e.chain())?;
    for from in (0..600).step_by(60) {
        let batch = Batch::from_record_batch(row_schema(), &rows(from, from + 60));
        while writer.write(batch.clone()).map_err(|e| e.chain())? == WriterStatus::Waiting
            && writer.poll_ready().map_err(|e| e.chain())? == WriterStatus::Waiting
        {}
    }
    flush(writer.as_mut(), true).map_err(|e| e.chain())?;
    drop(writer);
    assert_eq!(*meter.held.lock().unwrap(), 0);
    Ok(())
}

#[test]
fn partitions_are_written_and_read_again() {
    let expected: Vec<String> = {
        let mut lines: Vec<String> = (0..600)
            .map(|i| {
                let key = if i % 5 == 0 { String::new() } else { (i % 5).to_string() };
                format!("{i}|{key}|{}", ["x", "y z/1", "a=b"][i % 3])
            })
            .collect();
        lines.sort_unstable();
        lines
    };
    for format in ["parquet", "csv", "json", "arrow"] {
        for memory in [None, Some(60_000)] {
            let files = disk();
            let pairs = [("path", "/out/all"), ("format", format), ("write-mode", "replace"), ("partition-by", "k\nT")];
            write(&files, &pairs, memory).unwrap();
            let names = files.list(Path::new("/out")).unwrap();
            assert_eq!(names.iter().map(|e| e.name.as_str()).collect::<Vec<_>>(), ["all"], "nothing else is left");
            let inner: Vec<_> = files.list(Path::new("/out/all/k=1")).unwrap().into_iter().map(|e| e.name).collect();
            assert_eq!(inner, ["t=a%3Db", "t=x", "t=y%20z%2F1"]);
            let source = FileSource::new(Arc::new(files.clone()));
            let mut schema = source.infer_schema(&options(&[("path", "/out/all")])).unwrap();
            assert_eq!(schema.fields.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["n", "k", "t"]);
            schema.event_time = None;
            let mut read =
                read_all(&source, &source_spec("filesystem", &[("path", "/out/all")], schema), &[2], 7, None).unwrap();
            read.sort_unstable();
            assert_eq!(read, expected, "{format}, {memory:?}");
            // It is not replaced unless that is said.
            let error = write(&files, &pairs, None).unwrap_err();
            assert!(error.contains("it is there and not empty"), "{error}");
            let mut pairs = pairs.to_vec();
            pairs.push(("overwrite", "true"));
            write_file(&files, "/out/all/k=9/old.csv", b"n,t\n1,a\n");
            write(&files, &pairs, None).unwrap();
            assert!(!files.exists(Path::new("/out/all/k=9")).unwrap());
        }
    }
}

#[test]
fn a_failed_or_lost_writer_leaves_nothing_to_see() {
    let pairs = [("path", "/out/all"), ("format", "parquet"), ("write-mode", "replace"), ("partition-by", "k")];
    // Dropped in the middle.
    let files = disk();
    let connector = FileSink::new(Arc::new(files.clone()));
    let mut writer = connector.create_writer(&sink(&pairs), &row_schema(), writer_context(0, 1)).unwrap();
    writer.write(Batch::from_record_batch(row_schema(), &rows(0, 600))).unwrap();
    drop(writer);
    assert!(!files.exists(Path::new("/out/all")).unwrap());
    // A machine that fails: what is there is whole or hidden.
    for number in 0..12 {
        let files = disk();
        files.inject(flumen_io::Operation::Write, number, flumen_io::Fault::StorageFull);
        let _ = write(&files, &pairs, None);
        files.crash();
        let names = files.list(Path::new("/out")).unwrap_or_default();
        let seen: Vec<_> = names.iter().filter(|e| !e.name.starts_with('.')).collect();
        if !seen.is_empty() {
            let source = FileSource::new(Arc::new(files.clone()));
            let schema = source.infer_schema(&options(&[("path", "/out/all")])).unwrap();
            let spec = source_spec("filesystem", &[("path", "/out/all")], schema);
            assert_eq!(read_all(&source, &spec, &[1], 8192, None).unwrap().len(), 600);
        }
    }
}

#[test]
fn more_partitions_than_open_files() {
    let files = disk();
    let pairs = [("path", "/out/n"), ("format", "csv"), ("write-mode", "replace"), ("partition-by", "n")];
    write(&files, &pairs, None).unwrap();
    assert_eq!(files.list(Path::new("/out/n")).unwrap().len(), 600);
    let source = FileSource::new(Arc::new(files));
    let schema = source.infer_schema(&options(&[("path", "/out/n")])).unwrap();
    let spec = source_spec("filesystem", &[("path", "/out/n")], schema);
    assert_eq!(read_all(&source, &spec, &[3], 8192, None).unwrap().len(), 600);
}

#[test]
fn compressed_text_and_arrays_are_written() {
    for (path, extra) in [
        ("/out/a.csv.gz", &[][..]),
        ("/out/a.csv.zst", &[("compression-level", "7")]),
        ("/out/a.csv", &[("compression", "gzip")]),
        ("/out/a.json.gz", &[("json.array", "true")]),
        ("/out/a.json", &[("json.array", "true")]),
        ("/out/a.tsv", &[]),
        ("/out/a.parquet", &[("compression", "zstd"), ("compression-level", "5"), ("parquet.row-group-rows", "100")]),
        ("/out/b.parquet", &[("compression", "none")]),
        ("/out/a.arrow", &[]),
        ("/out/a.arrow", &[("compression", "lz4")]),
        ("/out/a.arrows", &[("compression", "zstd")]),
    ] {
        let files = disk();
        let mut pairs = vec![("path", path), ("write-mode", "replace")];
        pairs.extend_from_slice(extra);
        write(&files, &pairs, None).unwrap();
        let source = FileSource::new(Arc::new(files));
        let mut read_options = vec![("path", path)];
        read_options.extend(extra.iter().filter(|(name, _)| *name == "compression" && path.ends_with(".csv")));
        let schema = source.infer_schema(&options(&read_options)).unwrap();
        let read = read_all(&source, &source_spec("filesystem", &read_options, schema), &[1], 8192, None).unwrap();
        // Columns of JSON are in the order of their names.
        let last = if path.contains("json") { "4|599|a=b" } else { "599|4|a=b" };
        assert_eq!((read.len(), read[599].as_str()), (600, last), "{path}");
    }
}

#[test]
fn sinks_say_what_is_wrong_with_their_options() {
    let base = [("path", "/out/x"), ("format", "csv"), ("write-mode", "replace")];
    for (extra, problem) in [
        (("partition-by", "kk"), "there is no such column; did you mean 'k'?"),
        (("partition-by", "k\nk"), "it is named twice"),
        (("partition-by", "n\nk\nt"), "it has all columns"),
        (("compression", "bzip2"), "it is only read; write gzip, zstd or none"),
        (("compression", "rar"), "write gzip, zstd, bzip2, xz or none"),
        (("overwrit", "true"), "did you mean 'overwrite'?"),
    ] {
        let mut pairs = base.to_vec();
        pairs.push(extra);
        let error = write(&disk(), &pairs, None).unwrap_err();
        assert!(error.contains(problem), "{error}");
    }
    let parquet = [("path", "/out/x.parquet"), ("write-mode", "replace"), ("compression", "zstd")];
    for (extra, problem) in [
        (("compression-level", "23"), "its level is 1 to 22, and not 23"),
        (("parquet.row-group-rows", "0"), "it must be at least 1"),
    ] {
        let mut pairs = parquet.to_vec();
        pairs.push(extra);
        let error = write(&disk(), &pairs, None).unwrap_err();
        assert!(error.contains(problem), "{error}");
    }
}
