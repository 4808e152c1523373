//! File tables over a simulated disk.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use flumen_core::batch::Batch;
use flumen_core::expr::{Expr, Literal};
use flumen_core::ids::{CheckpointId, SubtaskIndex};
use flumen_core::sink::{SinkConnector, WriterStatus};
use flumen_core::source::{ReaderStatus, RuntimeFilter, SourceConnector, SplitResponse};
use flumen_core::spec::connector::{SinkSpec, SourceSpec};
use flumen_core::types::{Field, LogicalType, Schema};
use flumen_io::{Fault, SimulatedClock, SimulatedFileSystem};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use super::{FileSink, FileSource};
use crate::testing::{
    Delayed, Meter, disk, flush, lines, options, read_all, reader_context, source_spec, write_file, writer_context,
};

fn schema() -> Schema {
    Schema::new(vec![Field::new("n", LogicalType::Int64, true), Field::new("t", LogicalType::Utf8, true)])
}

/// Rows `from..to` of the test table; every seventh number and every fifth text is NULL.
fn rows(from: i64, to: i64) -> RecordBatch {
    let numbers: ArrayRef = Arc::new((from..to).map(|i| (i % 7 != 0).then_some(i)).collect::<Int64Array>());
    let text: ArrayRef = Arc::new((from..to).map(|i| (i % 5 != 0).then(|| format!("t{i}"))).collect::<StringArray>());
    RecordBatch::try_from_iter_with_nullable([("n", numbers, true), ("t", text, true)]).unwrap()
}

fn expected(from: i64, to: i64) -> Vec<String> {
    lines(&Batch::from_record_batch(Arc::new(schema()), &rows(from, to)))
}

fn parquet(rows: &RecordBatch, group_rows: usize) -> Vec<u8> {
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group_rows)).build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, rows.schema(), Some(properties)).unwrap();
    writer.write(rows).unwrap();
    writer.close().unwrap();
    bytes
}

/// Three files of 300 rows in all, in the given format, and an empty one.
fn table(format: &str) -> (SimulatedFileSystem, FileSource) {
    let files = disk();
    for (name, from, to) in [("a", 0, 100), ("b", 100, 290), ("c", 290, 300), ("empty", 300, 300)] {
        let rows = rows(from, to);
        let bytes = match format {
            "parquet" => parquet(&rows, 40),
            "csv" => {
                let text = lines(&Batch::from_record_batch(Arc::new(schema()), &rows)).join("\n");
                format!("n,t\n{}{}", text.replace('|', ","), if text.is_empty() { "" } else { "\n" }).into_bytes()
            }
            _ => {
                let rows = lines(&Batch::from_record_batch(Arc::new(schema()), &rows)).into_iter().map(|line| {
                    let (n, t) = line.split_once('|').unwrap();
                    let n = if n.is_empty() { "null" } else { n };
                    let t = if t.is_empty() { "null".to_owned() } else { format!("\"{t}\"") };
                    format!("{{\"t\":{t},\"n\":{n}}}\n")
                });
                rows.collect::<String>().into_bytes()
            }
        };
        write_file(&files, &format!("/d/{name}.{format}"), &bytes);
    }
    (files.clone(), FileSource::new(Arc::new(files)))
}

fn sorted(mut rows: Vec<String>) -> Vec<String> {
    rows.sort_unstable();
    rows
}

#[test]
fn every_row_comes_once_whatever_the_cut() {
    for format in ["parquet", "csv", "json"] {
        let (_, source) = table(format);
        let spec = source_spec("filesystem", &[("path", "/d")], schema());
        for parallelism in [1, 2, 7] {
            for batch_rows in [1, 7, 8192] {
                for restore_every in [None, Some(1), Some(3)] {
                    let read = read_all(&source, &spec, &[parallelism, 3, 2], batch_rows, restore_every).unwrap();
                    let case = format!("{format}, {parallelism} readers, {batch_rows} rows, {restore_every:?}");
                    assert_eq!(sorted(read), sorted(expected(0, 300)), "{case}");
                }
            }
        }
    }
}

#[test]
fn projections_limits_and_patterns() {
    for format in ["parquet", "csv", "json"] {
        let (_, source) = table(format);
        let pattern = format!("/d/{{a,c}}.{format}");
        let mut spec = source_spec("filesystem", &[("path", &pattern)], schema());
        spec.projection = vec![1];
        let text: Vec<_> = expected(0, 100).into_iter().chain(expected(290, 300)).collect();
        let text = text.iter().map(|line| line.split_once('|').unwrap().1.to_owned()).collect();
        assert_eq!(sorted(read_all(&source, &spec, &[1], 8192, None).unwrap()), sorted(text));
        for limit in [1, 13, 1_000] {
            spec.limit = Some(limit);
            assert_eq!(read_all(&source, &spec, &[1], 7, None).unwrap().len(), limit.min(110) as usize);
        }
        spec.limit = None;
        spec.projection = Vec::new();
        assert_eq!(read_all(&source, &spec, &[2], 7, None).unwrap().len(), 110, "{format}");
    }
}

#[test]
fn the_schema_and_statistics_are_known() {
    for format in ["parquet", "csv", "json"] {
        let (_, source) = table(format);
        assert_eq!(source.infer_schema(&options(&[("path", "/d")])).unwrap(), schema(), "{format}");
    }
    let (_, source) = table("parquet");
    let statistics = source.statistics(&source_spec("filesystem", &[("path", "/d")], schema()));
    assert_eq!(statistics.rows, Some(300));
    let [n, t] = &statistics.columns[..] else { panic!("two columns") };
    assert_eq!((n.null_count, t.null_count), (Some(43), Some(60)));
    // Of 0..300, number 0 is NULL; so are texts 0 and 295, and texts are in order of their letters.
    assert_eq!((&n.min, &n.max), (&Some(Literal::int64(1)), &Some(Literal::int64(299))));
    assert_eq!((&t.min, &t.max), (&Some(Literal::utf8("t1")), &Some(Literal::utf8("t99"))));
    assert!(n.distinct_count.is_some_and(|distinct| distinct > 0), "an empty file hides nothing");
    let (_, csv) = table("csv");
    assert_eq!(csv.statistics(&source_spec("filesystem", &[("path", "/d")], schema())).rows, None);
}

/// The row groups that a scan reads, by their smallest row.
fn first_rows(source: &FileSource, spec: &SourceSpec, filter: Option<RuntimeFilter>) -> Vec<i64> {
    let mut enumerator = source.create_enumerator(spec, 1, None).unwrap();
    let mut reader = source.create_reader(spec, reader_context(0, 1, 8192)).unwrap();
    if let Some(filter) = filter {
        reader.runtime_filter(3, filter);
    }
    let mut rows = Vec::new();
    loop {
        match reader.poll_next().unwrap() {
            ReaderStatus::Batch(batch) => {
                let first = lines(&batch).into_iter().find_map(|line| line.split('|').next()?.parse().ok());
                rows.push(first.unwrap());
            }
            ReaderStatus::NeedsSplit => match enumerator.request_split(SubtaskIndex(0)).unwrap() {
                SplitResponse::Assign(splits) => reader.add_splits(splits).unwrap(),
                _ => reader.no_more_splits(),
            },
            ReaderStatus::EndOfInput => break,
            other => panic!("{other:?}"),
        }
    }
    rows.sort_unstable();
    rows
}

#[test]
fn row_groups_that_cannot_match_are_not_read() {
    let (_, source) = table("parquet");
    let mut spec = source_spec("filesystem", &[("path", "/d")], schema());
    assert_eq!(first_rows(&source, &spec, None), [1, 40, 80, 100, 141, 180, 220, 260, 290]);
    let args = vec![Expr::Column(0), Expr::Literal(Literal::int64(139))];
    spec.filters = vec![Expr::call("lt", args, LogicalType::Boolean)];
    assert_eq!(first_rows(&source, &spec, None), [1, 40, 80, 100]);
    spec.runtime_filters = vec![(3, 0)];
    let filter = RuntimeFilter { min: Literal::int64(90), max: Literal::int64(1_000), bitmap: None };
    // Of the row groups that are read, rows are left out too.
    assert_eq!(first_rows(&source, &spec, Some(filter)), [90, 100]);
}

#[test]
fn a_scan_that_awaits_filters_reads_nothing_before_they_have_come() {
    let (_, source) = table("parquet");
    let mut spec = source_spec("filesystem", &[("path", "/d/b.parquet")], schema());
    spec.runtime_filters = vec![(3, 0), (4, 0), (4, 1)];
    spec.awaits_filters = true;
    let filter = |min, max| RuntimeFilter { min: Literal::int64(min), max: Literal::int64(max), bitmap: None };
    let clock = Arc::new(SimulatedClock::new());
    // With both filters, with one of them and patience, and with neither.
    for published in [&[(3, filter(110, 150)), (4, RuntimeFilter::unknown())][..], &[(3, filter(110, 150))], &[]] {
        let mut context = reader_context(0, 1, 8192);
        context.clock = Arc::clone(&clock) as _;
        let mut enumerator = source.create_enumerator(&spec, 1, None).unwrap();
        let mut reader = source.create_reader(&spec, context).unwrap();
        assert!(matches!(reader.poll_next().unwrap(), ReaderStatus::NeedsSplit));
        while let SplitResponse::Assign(splits) = enumerator.request_split(SubtaskIndex(0)).unwrap() {
            reader.add_splits(splits).unwrap();
        }
        reader.no_more_splits();
        for (id, filter) in published {
            assert!(matches!(reader.poll_next().unwrap(), ReaderStatus::Waiting));
            reader.runtime_filter(*id, filter.clone());
        }
        if published.len() < 2 {
            assert!(matches!(reader.poll_next().unwrap(), ReaderStatus::Waiting));
            clock.advance(std::time::Duration::from_secs(1));
        }
        let mut numbers = Vec::new();
        while let ReaderStatus::Batch(batch) = reader.poll_next().unwrap() {
            numbers.extend(lines(&batch).iter().filter_map(|line| line.split('|').next()?.parse::<i64>().ok()));
        }
        let all: Vec<i64> = expected(100, 290).iter().filter_map(|l| l.split('|').next()?.parse().ok()).collect();
        let wanted = |n: &i64| published.is_empty() || (110..=150).contains(n);
        assert_eq!(numbers, all.into_iter().filter(wanted).collect::<Vec<_>>(), "{published:?}");
    }
}

#[test]
fn a_filter_that_comes_before_the_first_split_decides_no_format() {
    for format in ["parquet", "csv", "json"] {
        let (_, source) = table(format);
        let mut spec = source_spec("filesystem", &[("path", "/d")], schema());
        spec.runtime_filters = vec![(3, 0)];
        // All numbers lie in it, so none may be lost; rows without one match nothing and may be.
        let filter = RuntimeFilter { min: Literal::int64(0), max: Literal::int64(300), bitmap: None };
        let mut enumerator = source.create_enumerator(&spec, 1, None).unwrap();
        let mut reader = source.create_reader(&spec, reader_context(0, 1, 8192)).unwrap();
        reader.runtime_filter(3, filter.clone());
        let mut read = Vec::new();
        loop {
            match reader.poll_next().unwrap() {
                ReaderStatus::Batch(batch) => read.extend(lines(&batch)),
                ReaderStatus::NeedsSplit => match enumerator.request_split(SubtaskIndex(0)).unwrap() {
                    SplitResponse::Assign(splits) => reader.add_splits(splits).unwrap(),
                    _ => reader.no_more_splits(),
                },
                ReaderStatus::EndOfInput => break,
                other => panic!("{other:?}"),
            }
            reader.runtime_filter(3, filter.clone());
        }
        let numbered = |lines: Vec<String>| {
            sorted(lines.into_iter().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).collect())
        };
        assert_eq!(numbered(read), numbered(expected(0, 300)), "{format}");
    }
}

#[test]
fn the_end_of_splits_may_be_known_before_a_restored_one() {
    for format in ["parquet", "csv"] {
        let (_, source) = table(format);
        let spec = source_spec("filesystem", &[("path", &format!("/d/c.{format}"))], schema());
        let mut enumerator = source.create_enumerator(&spec, 1, None).unwrap();
        let SplitResponse::Assign(splits) = enumerator.request_split(SubtaskIndex(0)).unwrap() else { panic!() };
        let mut reader = source.create_reader(&spec, reader_context(0, 1, 8192)).unwrap();
        reader.no_more_splits();
        reader.add_splits(splits).unwrap();
        let ReaderStatus::Batch(batch) = reader.poll_next().unwrap() else { panic!("{format}: rows") };
        assert_eq!(lines(&batch), expected(290, 300));
        assert!(matches!(reader.poll_next().unwrap(), ReaderStatus::EndOfInput), "{format}");
    }
}

#[test]
fn reads_wait_for_the_executor_and_are_charged() {
    let (_, source) = table("parquet");
    let spec = source_spec("filesystem", &[("path", "/d/b.parquet")], schema());
    let (work, meter) = (Delayed::default(), Meter::new(usize::MAX));
    let mut context = reader_context(0, 1, 8192);
    context.blocking = Arc::new(work.clone());
    context.memory = Arc::clone(&meter) as _;
    let mut enumerator = source.create_enumerator(&spec, 1, None).unwrap();
    let mut reader = source.create_reader(&spec, context).unwrap();
    let mut counts = (0, 0);
    loop {
        match reader.poll_next().unwrap() {
            ReaderStatus::Batch(batch) => counts.0 += batch.num_rows(),
            ReaderStatus::Waiting => {
                counts.1 += 1;
                assert!(work.run_one(), "it waits for work that it has started");
            }
            ReaderStatus::NeedsSplit => match enumerator.request_split(SubtaskIndex(0)).unwrap() {
                SplitResponse::Assign(splits) => reader.add_splits(splits).unwrap(),
                _ => reader.no_more_splits(),
            },
            ReaderStatus::EndOfInput => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(counts.0, 190);
    assert!(counts.1 >= 5, "it waited {} times for five row groups", counts.1);
    drop(reader);
    assert!(*meter.peak.lock().unwrap() > 0);
    assert_eq!(*meter.held.lock().unwrap(), 0);
}

/// Reads a table with so much memory, from a snapshot again after every `restore_every` batches; what it read, and the
/// most it held.
fn read_within(
    source: &FileSource,
    spec: &SourceSpec,
    limit: usize,
    restore_every: usize,
) -> Result<(Vec<String>, usize), flumen_core::failure::Failure> {
    let meter = Meter::new(limit);
    let context = || {
        let mut context = reader_context(0, 1, 8192);
        context.memory = Arc::clone(&meter) as _;
        context
    };
    let mut enumerator = source.create_enumerator(spec, 1, None)?;
    let mut reader = source.create_reader(spec, context())?;
    let (mut read, mut batches) = (Vec::new(), 0);
    loop {
        match reader.poll_next()? {
            ReaderStatus::Batch(batch) => {
                read.extend(lines(&batch));
                batches += 1;
                if batches % restore_every == 0 {
                    let splits = reader.snapshot(CheckpointId(batches as u64))?;
                    drop(reader);
                    reader = source.create_reader(spec, context())?;
                    reader.add_splits(splits)?;
                }
            }
            ReaderStatus::NeedsSplit => match enumerator.request_split(SubtaskIndex(0))? {
                SplitResponse::Assign(splits) => reader.add_splits(splits)?,
                _ => reader.no_more_splits(),
            },
            ReaderStatus::EndOfInput => break,
            other => panic!("{other:?}"),
        }
    }
    drop(reader);
    assert_eq!(*meter.held.lock().unwrap(), 0);
    let peak = *meter.peak.lock().unwrap();
    Ok((read, peak))
}

#[test]
fn little_memory_costs_the_read_ahead_and_none_is_an_error() {
    let (_, source) = table("parquet");
    let spec = source_spec("filesystem", &[("path", "/d/b.parquet")], schema());
    let (rows, peak) = read_within(&source, &spec, usize::MAX, usize::MAX).unwrap();
    assert_eq!(rows, expected(100, 290));
    let (rows, _) = read_within(&source, &spec, peak * 3 / 4, usize::MAX).unwrap();
    assert_eq!(rows, expected(100, 290));
    assert!(read_within(&source, &spec, 10, usize::MAX).unwrap_err().to_string().contains("no memory"));
}

#[test]
fn a_row_group_that_is_larger_than_memory_is_read_in_pieces() {
    let files = disk();
    // 2.6 MB in one row group; pages of the two columns end at different rows.
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_data_page_size_limit(30_000)
        .set_write_batch_size(500)
        .build();
    let (all, mut bytes) = (rows(0, 200_000), Vec::new());
    let mut writer = ArrowWriter::try_new(&mut bytes, all.schema(), Some(properties)).unwrap();
    writer.write(&all).unwrap();
    writer.close().unwrap();
    write_file(&files, "/d/large.parquet", &bytes);
    let source = FileSource::new(Arc::new(files));
    let spec = source_spec("filesystem", &[("path", "/d/large.parquet")], schema());
    let (whole, peak) = read_within(&source, &spec, usize::MAX, usize::MAX).unwrap();
    assert!(whole == expected(0, 200_000) && peak > 2_000_000, "{} rows, {peak} B", whole.len());
    for limit in [peak / 2, peak / 4, 300_000] {
        for restore_every in [usize::MAX, 3] {
            let (read, peak) = read_within(&source, &spec, limit, restore_every).unwrap();
            assert!(read == whole, "{} rows in {limit} B, restored every {restore_every} batches", read.len());
            assert!(peak <= limit);
        }
    }
}

fn failure(source: &FileSource, pairs: &[(&str, &str)]) -> String {
    let spec = source_spec("filesystem", pairs, schema());
    read_all(source, &spec, &[1], 8192, None).unwrap_err().chain()
}

#[test]
fn failures_name_the_file_and_what_to_do() {
    let (files, source) = table("parquet");
    for (pairs, problem) in [
        (&[("path", "/d/aa.parquet")][..], "nearest in /d: 'a.parquet'"),
        (&[("path", "/d/*.orc")], "no file matches '/d/*.orc'"),
        (&[("pth", "/d")], "did you mean 'path'?"),
        (&[], "needs option 'path'"),
        (&[("path", "/d"), ("format", "orc")], "write parquet, csv, json, arrow or arrows"),
        (&[("path", "/d"), ("format", "csv")], "/d/"),
    ] {
        let text = failure(&source, pairs);
        assert!(text.contains(problem), "{text}");
    }
    let whole = parquet(&rows(0, 100), 40);
    let mut damaged = whole.clone();
    // The first page's header. Damage among values alone shows only where a writer added checksums.
    damaged[4..20].fill(0xff);
    write_file(&files, "/bad/damaged.parquet", &damaged);
    write_file(&files, "/bad/cut.parquet", &whole[..whole.len() - 5]);
    write_file(&files, "/bad/what", b"?!");
    write_file(&files, "/bad/bad.csv", b"n,t\n1,a\nx,b\n");
    for (path, problem) in [
        ("/bad/damaged.parquet", "row group 0 of Parquet file /bad/damaged.parquet"),
        ("/bad/cut.parquet", "/bad/cut.parquet is not a Parquet file"),
        ("/bad/what", "set the option 'format'"),
        ("/bad/bad.csv", "file '/bad/bad.csv': csv line 3: 'x' in column \"n\" is not BIGINT"),
    ] {
        let text = failure(&source, &[("path", path)]);
        assert!(text.contains(problem), "{text}");
    }
}

#[test]
fn a_file_that_changes_under_the_job_is_refused() {
    let (files, source) = table("parquet");
    let spec = source_spec("filesystem", &[("path", "/d/a.parquet")], schema());
    let mut enumerator = source.create_enumerator(&spec, 1, None).unwrap();
    let SplitResponse::Assign(splits) = enumerator.request_split(SubtaskIndex(0)).unwrap() else { panic!("a split") };
    write_file(&files, "/d/a.parquet", &parquet(&rows(0, 50), 40));
    let mut reader = source.create_reader(&spec, reader_context(0, 1, 8192)).unwrap();
    reader.add_splits(splits).unwrap();
    let error = (0..3).find_map(|_| reader.poll_next().err()).unwrap();
    assert!(error.to_string().contains("has changed since the job began"), "{error}");
}

#[test]
fn device_errors_are_transient() {
    let (files, source) = table("parquet");
    let spec = source_spec("filesystem", &[("path", "/d/a.parquet")], schema());
    let mut enumerator = source.create_enumerator(&spec, 1, None).unwrap();
    let SplitResponse::Assign(splits) = enumerator.request_split(SubtaskIndex(0)).unwrap() else { panic!("a split") };
    let mut reader = source.create_reader(&spec, reader_context(0, 1, 8192)).unwrap();
    reader.add_splits(splits).unwrap();
    files.inject(flumen_io::Operation::Read, 0, Fault::Failed);
    let error = (0..3).find_map(|_| reader.poll_next().err()).unwrap();
    assert_eq!(error.failure_kind(), flumen_core::failure::FailureKind::Transient, "{error}");
}

/// Writes rows `0..300` in batches of 37 with two subtasks, a flush in the middle, and reads the table back.
fn written(format: &str, path: &str, parallelism: u32) -> (SimulatedFileSystem, Vec<String>) {
    let files = disk();
    let sink = FileSink::new(Arc::new(files.clone()));
    let spec = SinkSpec { connector: "filesystem".to_owned(), options: options(&[("path", path), ("format", format)]) };
    let schema = Arc::new(schema());
    let mut writers: Vec<_> =
        (0..parallelism).map(|i| sink.create_writer(&spec, &schema, writer_context(i, parallelism)).unwrap()).collect();
    for (index, from) in (0..300).step_by(37).enumerate() {
        let batch = Batch::from_record_batch(Arc::clone(&schema), &rows(from, (from + 37).min(300)));
        let writer = &mut writers[index % parallelism as usize];
        assert_eq!(writer.write(batch).unwrap(), WriterStatus::Ready);
        if index == 4 {
            writers.iter_mut().for_each(|w| flush(w.as_mut(), false).unwrap());
        }
    }
    writers.iter_mut().for_each(|w| flush(w.as_mut(), true).unwrap());
    drop(writers);
    let source = FileSource::new(Arc::new(files.clone()));
    let spec = source_spec("filesystem", &[("path", path)], Schema::clone(&schema));
    let read = read_all(&source, &spec, &[1], 8192, None).unwrap();
    (files, read)
}

#[test]
fn what_is_written_can_be_read() {
    for format in ["parquet", "csv", "json"] {
        for (path, parallelism) in [("/out/dir".to_owned(), 2), (format!("/out/one.{format}"), 1)] {
            if format == "parquet" && parallelism == 1 {
                // A flush finishes a Parquet file, and nothing can be appended to it.
                continue;
            }
            let (_, read) = written(format, &path, parallelism);
            assert_eq!(sorted(read), sorted(expected(0, 300)), "{format} {path}");
        }
    }
}

#[test]
fn what_was_flushed_survives_a_crash_and_nothing_is_overwritten() {
    for format in ["parquet", "csv", "json"] {
        let files = disk();
        let sink = FileSink::new(Arc::new(files.clone()));
        let options = options(&[("path", "/out"), ("format", format)]);
        let spec = SinkSpec { connector: "filesystem".to_owned(), options };
        let schema = Arc::new(schema());
        let mut lost = Vec::new();
        for incarnation in 0..3 {
            let mut writer = sink.create_writer(&spec, &schema, writer_context(0, 1)).unwrap();
            let batch = |from, to| Batch::from_record_batch(Arc::clone(&schema), &rows(from, to));
            writer.write(batch(incarnation * 100, incarnation * 100 + 60)).unwrap();
            flush(writer.as_mut(), false).unwrap();
            writer.write(batch(incarnation * 100 + 60, incarnation * 100 + 100)).unwrap();
            lost.push(writer);
            files.crash();
        }
        let source = FileSource::new(Arc::new(files));
        let spec = source_spec("filesystem", &[("path", "/out")], Schema::clone(&schema));
        let read = read_all(&source, &spec, &[1], 8192, None).unwrap();
        for incarnation in 0..3 {
            for line in expected(incarnation * 100, incarnation * 100 + 60) {
                assert!(read.contains(&line), "{format}: {line} was flushed and is gone");
            }
        }
    }
}

#[test]
fn a_full_disk_is_a_failure_with_the_path() {
    let files = disk();
    let sink = FileSink::new(Arc::new(files.clone()));
    let spec =
        SinkSpec { connector: "filesystem".to_owned(), options: options(&[("path", "/out"), ("format", "csv")]) };
    let schema = Arc::new(schema());
    let mut writer = sink.create_writer(&spec, &schema, writer_context(0, 1)).unwrap();
    files.inject(flumen_io::Operation::Write, 0, Fault::StorageFull);
    writer.write(Batch::from_record_batch(Arc::clone(&schema), &rows(0, 100))).unwrap();
    let error = (0..10).find_map(|_| writer.flush(false).err()).unwrap();
    assert!(error.to_string().contains("/out/part-0-") && error.to_string().contains("no space left"), "{error}");
}

#[test]
fn sinks_refuse_what_they_cannot_do() {
    let sink = FileSink::new(Arc::new(disk()));
    let check = |pairs: &[(&str, &str)], problem: &str| {
        let error = sink.validate(&options(pairs), &schema()).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    };
    check(&[("path", "/out")], "needs option 'format'");
    check(&[("path", "/out/*.csv")], "not a pattern");
    let spec = SinkSpec { connector: "filesystem".to_owned(), options: options(&[("path", "/out.csv")]) };
    let schema = Arc::new(schema());
    let error = sink.create_writer(&spec, &schema, writer_context(0, 2)).err().unwrap();
    assert!(error.to_string().contains("2 subtasks cannot append to one file"), "{error}");
    let mut writer = sink.create_writer(&spec, &schema, writer_context(0, 1)).unwrap();
    let batch = Batch::from_record_batch(Arc::clone(&schema), &rows(0, 2)).with_row_kinds(Some(vec![0i8, 3].into()));
    assert!(writer.write(batch).unwrap_err().chain().contains("a row of kind -D"));
}
