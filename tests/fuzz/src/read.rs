//! Reads a file as a query does: its schema, its statistics, its splits, its rows.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use flumen_connectors::filesystem::FileSource;
use flumen_core::failure::Failure;
use flumen_core::ids::SubtaskIndex;
use flumen_core::meter::Unmetered;
use flumen_core::source::{ReaderContext, ReaderStatus, SourceConnector, SplitResponse};
use flumen_core::spec::connector::SourceSpec;
use flumen_core::waiting::{InlineExecutor, NoTimers, Waker};
use flumen_io::{FileSystem, IoError, SimulatedClock, SimulatedFileSystem};

use crate::samples::Format;

/// Rows of a batch: few, so that batches end in the middle of things.
const BATCH_ROWS: usize = 16;
/// A damaged file may claim any number of rows that cost nothing to make; more are not asked for.
const ROWS_MAX: usize = 1_000_000;

/// Rows of a file with these bytes.
///
/// # Errors
/// What a query would say.
pub fn read(format: Format, bytes: &[u8]) -> Result<usize, Failure> {
    let clock = Arc::new(SimulatedClock::new());
    let files = SimulatedFileSystem::new(1, Arc::clone(&clock) as _);
    let path = format!("/t.{}", format.suffix());
    write(&files, Path::new(&path), bytes).map_err(|e| Failure::user(e.to_string()))?;
    let source = FileSource::new(Arc::new(files));
    let options = BTreeMap::from([("path".to_owned(), path)]);
    let schema = source.infer_schema(&options)?;
    let spec = SourceSpec {
        connector: source.name().to_owned(),
        options,
        projection: (0..schema.fields.len()).collect(),
        table_schema: Arc::new(schema),
        filters: Vec::new(),
        limit: None,
        runtime_filters: Vec::new(),
        awaits_filters: false,
    };
    let _ = source.statistics(&spec);
    let mut enumerator = source.create_enumerator(&spec, 1, None)?;
    let context = ReaderContext {
        subtask: SubtaskIndex(0),
        parallelism: 1,
        batch_rows: BATCH_ROWS,
        blocking: Arc::new(InlineExecutor),
        waker: Waker::noop().clone(),
        clock,
        timers: Arc::new(NoTimers),
        memory: Arc::new(Unmetered),
    };
    let mut reader = source.create_reader(&spec, context)?;
    let mut rows = 0;
    loop {
        match reader.poll_next()? {
            ReaderStatus::Batch(batch) => {
                rows += batch.num_rows();
                // Whoever takes the rows looks at them.
                flumen_formats::portable_batch(&batch).map_err(|e| Failure::user(e.to_string()))?;
                if rows > ROWS_MAX {
                    return Ok(rows);
                }
            }
            ReaderStatus::NeedsSplit => match enumerator.request_split(SubtaskIndex(0))? {
                SplitResponse::Assign(splits) => reader.add_splits(splits)?,
                _ => reader.no_more_splits(),
            },
            ReaderStatus::EndOfInput => return Ok(rows),
            ReaderStatus::Waiting | ReaderStatus::Watermark(_) => {}
        }
    }
}

fn write(files: &dyn FileSystem, path: &Path, bytes: &[u8]) -> Result<(), IoError> {
    let mut file = files.create(path)?;
    file.write_all(bytes)?;
    file.finish().map(drop)
}
