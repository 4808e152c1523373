//! Runs sources and sinks without a runtime, for the tests of this crate.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};

use arrow_array::RecordBatch;
use arrow_cast::display::array_value_to_string;
use flumen_core::batch::Batch;
use flumen_core::failure::Failure;
use flumen_core::ids::{CheckpointId, JobId, SubtaskIndex};
use flumen_core::meter::{MemoryMeter, Unmetered};
use flumen_core::sink::{SinkWriter, WriterContext, WriterStatus};
use flumen_core::source::{ReaderContext, ReaderStatus, SourceConnector, SourceReader, SplitResponse};
use flumen_core::spec::connector::SourceSpec;
use flumen_core::types::Schema;
use flumen_core::waiting::{BlockingExecutor, InlineExecutor, NoTimers, Waker};
use flumen_formats::portable_batch;
use flumen_io::{FileSystem, SimulatedClock, SimulatedFileSystem};

/// Options from pairs.
pub(crate) fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// A spec that reads all columns.
pub(crate) fn source_spec(connector: &str, pairs: &[(&str, &str)], schema: Schema) -> SourceSpec {
    SourceSpec {
        connector: connector.to_owned(),
        options: options(pairs),
        projection: (0..schema.fields.len()).collect(),
        table_schema: Arc::new(schema),
        filters: Vec::new(),
        limit: None,
        runtime_filters: Vec::new(),
        awaits_filters: false,
    }
}

/// An empty simulated disk.
pub(crate) fn disk() -> SimulatedFileSystem {
    SimulatedFileSystem::new(7, Arc::new(SimulatedClock::new()))
}

/// Writes a file and the directories above it.
pub(crate) fn write_file(files: &dyn FileSystem, path: &str, bytes: &[u8]) {
    let path = Path::new(path);
    files.create_directory_all(path.parent().unwrap()).unwrap();
    let mut file = files.create(path).unwrap();
    file.write_all(bytes).unwrap();
    file.finish().unwrap();
}

pub(crate) fn reader_context(subtask: u32, parallelism: u32, batch_rows: usize) -> ReaderContext {
    ReaderContext {
        subtask: SubtaskIndex(subtask),
        parallelism,
        batch_rows,
        blocking: Arc::new(InlineExecutor),
        waker: Waker::noop().clone(),
        clock: Arc::new(SimulatedClock::new()),
        timers: Arc::new(NoTimers),
        memory: Arc::new(Unmetered),
    }
}

pub(crate) fn writer_context(subtask: u32, parallelism: u32) -> WriterContext {
    WriterContext {
        job: JobId(0xabc),
        subtask: SubtaskIndex(subtask),
        parallelism,
        blocking: Arc::new(InlineExecutor),
        waker: Waker::noop().clone(),
        clock: Arc::new(SimulatedClock::new()),
        timers: Arc::new(NoTimers),
        memory: Arc::new(Unmetered),
        restored: Vec::new(),
        is_restored: false,
    }
}

/// Something to be run later.
type Work = Box<dyn FnOnce() + Send>;

/// Runs work only when told to.
#[derive(Clone, Default)]
pub(crate) struct Delayed(Arc<Mutex<VecDeque<Work>>>);

impl Delayed {
    /// Runs the oldest piece of work; `false` if there is none.
    pub(crate) fn run_one(&self) -> bool {
        let work = self.0.lock().unwrap().pop_front();
        work.map(|work| work()).is_some()
    }
}

impl BlockingExecutor for Delayed {
    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.0.lock().unwrap().push_back(work);
    }
}

/// Counts what is charged, and refuses more than a limit.
pub(crate) struct Meter {
    pub(crate) held: Mutex<usize>,
    pub(crate) peak: Mutex<usize>,
    pub(crate) limit: usize,
}

impl Meter {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { held: Mutex::new(0), peak: Mutex::new(0), limit })
    }
}

impl MemoryMeter for Meter {
    fn resize(&self, from: usize, to: usize) -> Result<(), Failure> {
        let mut held = self.held.lock().unwrap();
        if *held - from + to > self.limit && to > from {
            return Err(Failure::transient("no memory"));
        }
        *held = *held - from + to;
        let mut peak = self.peak.lock().unwrap();
        *peak = (*peak).max(*held);
        Ok(())
    }
}

/// Rows as text, `+I` left out.
pub(crate) fn lines(batch: &Batch) -> Vec<String> {
    let rows: RecordBatch = portable_batch(batch).unwrap();
    (0..rows.num_rows())
        .map(|row| {
            let values: Vec<_> = rows.columns().iter().map(|c| array_value_to_string(c, row).unwrap()).collect();
            values.join("|")
        })
        .collect()
}

/// Reads a whole source with several readers, taking turns; after every `restore_every` batches everything is
/// snapshotted, thrown away and restored, at the next parallelism of `parallelism`. Rows come back in reading order,
/// by reader of the last incarnation.
pub(crate) fn read_all(
    connector: &dyn SourceConnector,
    spec: &SourceSpec,
    parallelism: &[u32],
    batch_rows: usize,
    restore_every: Option<usize>,
) -> Result<Vec<String>, Failure> {
    let mut incarnation = 0;
    let mut count = parallelism[0];
    let mut enumerator = connector.create_enumerator(spec, count, None)?;
    let reader = |i, count| connector.create_reader(spec, reader_context(i, count, batch_rows));
    let mut readers: Vec<Option<Box<dyn SourceReader>>> =
        (0..count).map(|i| reader(i, count).map(Some)).collect::<Result<_, _>>()?;
    let mut rows = Vec::new();
    let mut batches = 0;
    let mut checkpoint = 0;
    while readers.iter().any(Option::is_some) {
        let mut progressed = false;
        for (index, slot) in readers.iter_mut().enumerate() {
            let Some(reader) = slot else { continue };
            match reader.poll_next()? {
                ReaderStatus::Batch(batch) => {
                    assert!(batch.num_rows() > 0 && batch.num_rows() <= batch_rows);
                    rows.extend(lines(&batch));
                    batches += 1;
                    progressed = true;
                }
                ReaderStatus::NeedsSplit => {
                    progressed = true;
                    match enumerator.request_split(SubtaskIndex(index as u32))? {
                        SplitResponse::Assign(splits) => reader.add_splits(splits)?,
                        SplitResponse::NoMoreSplits => reader.no_more_splits(),
                        SplitResponse::Wait => panic!("no source here lets readers wait"),
                    }
                }
                ReaderStatus::Watermark(_) => progressed = true,
                ReaderStatus::Waiting => {}
                ReaderStatus::EndOfInput => {
                    *slot = None;
                    progressed = true;
                }
            }
        }
        assert!(progressed, "all readers wait, and nothing will wake them");
        if restore_every.is_some_and(|every| batches >= every) {
            batches = 0;
            checkpoint += 1;
            incarnation += 1;
            let state = enumerator.snapshot(CheckpointId(checkpoint))?;
            let mut splits = Vec::new();
            for reader in readers.iter_mut().flatten() {
                splits.extend(reader.snapshot(CheckpointId(checkpoint))?);
            }
            count = parallelism[incarnation % parallelism.len()];
            enumerator = connector.create_enumerator(spec, count, Some(&state))?;
            readers = (0..count).map(|i| reader(i, count).map(Some)).collect::<Result<_, _>>()?;
            for (i, split) in splits.into_iter().enumerate() {
                readers[i % count as usize].as_mut().unwrap().add_splits(vec![split])?;
            }
        }
    }
    Ok(rows)
}

/// Polls until the writer has let go of everything.
pub(crate) fn flush(writer: &mut dyn SinkWriter, end: bool) -> Result<(), Failure> {
    for _ in 0..1_000 {
        if writer.flush(end)? == WriterStatus::Ready {
            return Ok(());
        }
    }
    panic!("a writer never gets ready");
}
