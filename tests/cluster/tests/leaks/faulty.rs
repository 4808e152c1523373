//! A connector that panics where its table says: `'connector' = 'faulty'`, option `panics-in`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::Int64Array;
use flumen_core::batch::{Batch, Column};
use flumen_core::connectors::ConnectorRegistry;
use flumen_core::failure::Failure;
use flumen_core::ids::{CheckpointId, SubtaskIndex};
use flumen_core::sink::{SinkConnector, SinkWriter, WriterContext, WriterStatus};
use flumen_core::source::{
    Boundedness, ReaderContext, ReaderStatus, SourceConnector, SourceReader, SourceSplit, SplitEnumerator,
    SplitResponse,
};
use flumen_core::spec::connector::{SinkSpec, SourceSpec};
use flumen_core::types::{Schema, SchemaRef};

const NAME: &str = "faulty";
const OPTION: &str = "panics-in";
const MESSAGE: &str = "a panic on purpose";
/// Batches and rows before a panic in the middle.
const BATCHES: u32 = 50;
const ROWS: i64 = 1_000;

pub(crate) fn register(connectors: &mut ConnectorRegistry) {
    connectors.add_source(Arc::new(Faulty));
    connectors.add_sink(Arc::new(Faulty));
}

/// Panics on purpose are not reported on the terminal; all others are.
pub(crate) fn silence() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str() != Some(MESSAGE) {
            report(panic);
        }
    }));
}

struct Faulty;

/// Panics if this is the place.
fn reach(place: &str, options: &BTreeMap<String, String>) {
    if options.get(OPTION).is_some_and(|wanted| wanted == place) {
        panic!("{MESSAGE}");
    }
}

impl SourceConnector for Faulty {
    fn name(&self) -> &'static str {
        NAME
    }

    fn validate(&self, _options: &BTreeMap<String, String>, _schema: &Schema) -> Result<Boundedness, Failure> {
        Ok(Boundedness::Bounded)
    }

    fn infer_schema(&self, _options: &BTreeMap<String, String>) -> Result<Schema, Failure> {
        Err(Failure::user("its columns are written out"))
    }

    fn create_enumerator(
        &self,
        spec: &SourceSpec,
        _parallelism: u32,
        _state: Option<&[u8]>,
    ) -> Result<Box<dyn SplitEnumerator>, Failure> {
        reach("enumerator", &spec.options);
        Ok(Box::new(FaultyEnumerator { options: spec.options.clone() }))
    }

    fn create_reader(&self, spec: &SourceSpec, context: ReaderContext) -> Result<Box<dyn SourceReader>, Failure> {
        reach("reader", &spec.options);
        let fields = spec.projection.iter().map(|column| spec.table_schema.fields[*column].clone()).collect();
        let schema = Arc::new(Schema::new(fields));
        Ok(Box::new(FaultyReader { options: spec.options.clone(), schema, context, asked: false, batches: 0 }))
    }
}

struct FaultyEnumerator {
    options: BTreeMap<String, String>,
}

impl SplitEnumerator for FaultyEnumerator {
    fn request_split(&mut self, _reader: SubtaskIndex) -> Result<SplitResponse, Failure> {
        reach("request", &self.options);
        Ok(SplitResponse::Wait)
    }

    fn add_splits_back(&mut self, _splits: Vec<SourceSplit>) {}

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<Vec<u8>, Failure> {
        Ok(Vec::new())
    }
}

struct FaultyReader {
    options: BTreeMap<String, String>,
    schema: SchemaRef,
    context: ReaderContext,
    asked: bool,
    batches: u32,
}

impl SourceReader for FaultyReader {
    fn poll_next(&mut self) -> Result<ReaderStatus, Failure> {
        if !std::mem::replace(&mut self.asked, true) {
            return Ok(ReaderStatus::NeedsSplit);
        }
        self.batches += 1;
        if self.batches > BATCHES {
            reach("poll", &self.options);
            let soon = self.context.clock.now().after(std::time::Duration::from_millis(1));
            self.context.timers.wake_at(soon, self.context.waker.clone());
            return Ok(ReaderStatus::Waiting);
        }
        let columns = self.schema.fields.iter().map(|_| {
            let numbers = Int64Array::from_iter_values(0..ROWS);
            Column::Array(Arc::new(numbers))
        });
        Ok(ReaderStatus::Batch(Batch::new(Arc::clone(&self.schema), columns.collect(), ROWS as usize)))
    }

    fn add_splits(&mut self, _splits: Vec<SourceSplit>) -> Result<(), Failure> {
        Ok(())
    }

    fn no_more_splits(&mut self) {}

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<Vec<SourceSplit>, Failure> {
        reach("snapshot", &self.options);
        Ok(Vec::new())
    }
}

impl SinkConnector for Faulty {
    fn name(&self) -> &'static str {
        NAME
    }

    fn validate(&self, _options: &BTreeMap<String, String>, _schema: &Schema) -> Result<(), Failure> {
        Ok(())
    }

    fn create_writer(
        &self,
        spec: &SinkSpec,
        _schema: &Arc<Schema>,
        _context: WriterContext,
    ) -> Result<Box<dyn SinkWriter>, Failure> {
        reach("open", &spec.options);
        Ok(Box::new(FaultyWriter { options: spec.options.clone(), batches: 0 }))
    }
}

struct FaultyWriter {
    options: BTreeMap<String, String>,
    batches: u32,
}

impl SinkWriter for FaultyWriter {
    fn write(&mut self, _batch: Batch) -> Result<WriterStatus, Failure> {
        self.batches += 1;
        if self.batches > BATCHES {
            reach("write", &self.options);
        }
        Ok(WriterStatus::Ready)
    }

    fn flush(&mut self, _end_of_input: bool) -> Result<WriterStatus, Failure> {
        reach("flush", &self.options);
        Ok(WriterStatus::Ready)
    }
}
