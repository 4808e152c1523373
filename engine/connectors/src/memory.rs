//! Tables whose rows are kept in the process: `'connector' = 'memory'`, option `id`, which the session makes up.
//!
//! A table is a list of batches that only grows. A writer keeps its rows to itself until its input ends, then adds all
//! of them at once, so a statement that fails adds nothing. There is one writer (`SinkConnector::is_single`). A query
//! reads what was there when it began: its enumerator notes the number of batches and hands out ranges of them, so
//! `INSERT INTO t SELECT * FROM t` ends.
//!
//! The rows are charged to the registry's meter for as long as the table is there, and refused when that ends. A writer
//! that starts again after its rows were added adds nothing: each job adds once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flumen_core::batch::{Batch, Column};
use flumen_core::connectors::MEMORY_CONNECTOR as NAME;
use flumen_core::failure::Failure;
use flumen_core::ids::{CheckpointId, JobId, SubtaskIndex};
use flumen_core::meter::MemoryMeter;
use flumen_core::sink::{SinkConnector, SinkWriter, WriterContext, WriterStatus};
use flumen_core::source::{
    Boundedness, ReaderContext, ReaderStatus, SourceConnector, SourceReader, SourceSplit, SplitEnumerator,
    SplitResponse, TableStatistics,
};
use flumen_core::spec::connector::{SinkSpec, SourceSpec};
use flumen_core::types::Schema;
use flumen_kernels::gather::compact;
use serde::{Deserialize, Serialize};

use crate::charge::Charge;
use crate::error::{ConnectorError, Result};
use crate::options::OptionReader;

/// Batches of a split.
const SPLIT_BATCHES: usize = 16;

/// The tables of a process, by id.
#[derive(Clone)]
pub struct MemoryTables {
    tables: Arc<Mutex<BTreeMap<String, Stored>>>,
    meter: Arc<dyn MemoryMeter>,
}

struct Stored {
    batches: Vec<Batch>,
    rows: u64,
    charge: Charge,
    /// The last job that added rows.
    job: Option<JobId>,
}

impl MemoryTables {
    /// No tables; their rows will be charged to `meter`.
    #[must_use]
    pub fn new(meter: Arc<dyn MemoryMeter>) -> Self {
        Self { tables: Arc::default(), meter }
    }

    /// Forgets a table. Queries that read it fail, unless they have read it.
    pub fn remove(&self, id: &str) {
        let removed = self.lock().remove(id);
        drop(removed);
    }

    /// A round of a recursive query is over: the rows in `added` go into `all`, and are all that is in `last`. How many
    /// there were.
    ///
    /// # Errors
    /// If there is no memory for them.
    pub fn advance(&self, added: &str, last: &str, all: &str) -> Result<u64, Failure> {
        let mut tables = self.lock();
        tables.remove(last);
        let Some(round) = tables.remove(added).filter(|round| round.rows > 0) else { return Ok(0) };
        match tables.get_mut(all) {
            Some(table) => {
                table.charge.resize(table.charge.bytes() + round.charge.bytes())?;
                table.rows += round.rows;
                table.batches.extend(round.batches.iter().cloned());
            }
            None => {
                let charge = Charge::new(&self.meter, round.charge.bytes())?;
                let (batches, rows) = (round.batches.clone(), round.rows);
                tables.insert(all.to_owned(), Stored { batches, rows, charge, job: None });
            }
        }
        let rows = round.rows;
        tables.insert(last.to_owned(), round);
        Ok(rows)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Stored>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what a job wrote, all of it or nothing.
    fn append(&self, id: &str, job: JobId, batches: Vec<Batch>, bytes: usize) -> Result<(), Failure> {
        let mut tables = self.lock();
        if !tables.contains_key(id) {
            let charge = Charge::new(&self.meter, 0)?;
            tables.insert(id.to_owned(), Stored { batches: Vec::new(), rows: 0, charge, job: None });
        }
        let Some(table) = tables.get_mut(id) else { return Ok(()) };
        if table.job == Some(job) {
            return Ok(());
        }
        table.charge.resize(table.charge.bytes() + bytes)?;
        table.rows += batches.iter().map(|b| b.num_rows() as u64).sum::<u64>();
        table.batches.extend(batches);
        table.job = Some(job);
        Ok(())
    }

    /// Batches and rows of a table; none if nothing was added yet.
    fn size(&self, id: &str) -> (usize, u64) {
        self.lock().get(id).map_or((0, 0), |table| (table.batches.len(), table.rows))
    }

    fn batch(&self, id: &str, index: usize) -> Result<Batch> {
        let batch = self.lock().get(id).and_then(|table| table.batches.get(index).cloned());
        batch.ok_or(ConnectorError::Dropped { connector: NAME })
    }
}

fn id_of(options: &BTreeMap<String, String>) -> Result<String> {
    let reader = OptionReader::new(NAME, options);
    let id = reader.required("id", "the name under which the rows are kept")?;
    reader.finish()?;
    Ok(id.to_owned())
}

/// Reads and writes [`MemoryTables`].
pub struct MemoryConnector {
    tables: MemoryTables,
}

impl MemoryConnector {
    /// Over these tables.
    #[must_use]
    pub fn new(tables: MemoryTables) -> Self {
        Self { tables }
    }
}

impl SinkConnector for MemoryConnector {
    fn name(&self) -> &'static str {
        NAME
    }

    fn validate(&self, options: &BTreeMap<String, String>, _schema: &Schema) -> Result<(), Failure> {
        id_of(options)?;
        Ok(())
    }

    fn is_single(&self, _options: &BTreeMap<String, String>) -> bool {
        true
    }

    fn create_writer(
        &self,
        spec: &SinkSpec,
        schema: &Arc<Schema>,
        context: WriterContext,
    ) -> Result<Box<dyn SinkWriter>, Failure> {
        Ok(Box::new(MemoryWriter {
            tables: self.tables.clone(),
            id: id_of(&spec.options)?,
            job: context.job,
            schema: Arc::clone(schema),
            batches: Vec::new(),
            bytes: 0,
            charge: Charge::new(&context.memory, 0)?,
        }))
    }
}

/// Keeps rows until its input ends.
struct MemoryWriter {
    tables: MemoryTables,
    id: String,
    job: JobId,
    schema: Arc<Schema>,
    batches: Vec<Batch>,
    bytes: usize,
    charge: Charge,
}

impl SinkWriter for MemoryWriter {
    fn write(&mut self, batch: Batch) -> Result<WriterStatus, Failure> {
        let batch = compact(&batch).map_err(Failure::bug)?;
        let batch = batch.with_columns(Arc::clone(&self.schema), batch.columns().to_vec()).with_row_kinds(None);
        self.bytes += batch.memory_size();
        self.charge.resize(self.bytes)?;
        self.batches.push(batch);
        Ok(WriterStatus::Ready)
    }

    fn flush(&mut self, end_of_input: bool) -> Result<WriterStatus, Failure> {
        if end_of_input {
            // From the task's account to the table's: never in both.
            self.charge.resize(0)?;
            let batches = std::mem::take(&mut self.batches);
            self.tables.append(&self.id, self.job, batches, std::mem::take(&mut self.bytes))?;
        }
        Ok(WriterStatus::Ready)
    }
}

impl SourceConnector for MemoryConnector {
    fn name(&self) -> &'static str {
        NAME
    }

    fn validate(&self, options: &BTreeMap<String, String>, _schema: &Schema) -> Result<Boundedness, Failure> {
        id_of(options)?;
        Ok(Boundedness::Bounded)
    }

    fn infer_schema(&self, _options: &BTreeMap<String, String>) -> Result<Schema, Failure> {
        Err(Failure::user("a table in memory needs its columns written out, or CREATE TABLE ... AS SELECT"))
    }

    fn statistics(&self, spec: &SourceSpec) -> TableStatistics {
        let rows = id_of(&spec.options).ok().map(|id| self.tables.size(&id).1);
        TableStatistics { rows, ..TableStatistics::default() }
    }

    fn create_enumerator(
        &self,
        spec: &SourceSpec,
        _parallelism: u32,
        state: Option<&[u8]>,
    ) -> Result<Box<dyn SplitEnumerator>, Failure> {
        let ranges = match state {
            Some(state) => serde_json::from_slice(state).map_err(|e| damaged("enumerator state", e))?,
            None => {
                let end = self.tables.size(&id_of(&spec.options)?).0;
                let starts = (0..end).step_by(SPLIT_BATCHES);
                starts.map(|start| Range { start, end: (start + SPLIT_BATCHES).min(end), row: 0 }).collect()
            }
        };
        Ok(Box::new(Enumerator { ranges }))
    }

    fn create_reader(&self, spec: &SourceSpec, context: ReaderContext) -> Result<Box<dyn SourceReader>, Failure> {
        let fields = spec.projection.iter().map(|c| spec.table_schema.fields[*c].clone()).collect();
        Ok(Box::new(Reader {
            tables: self.tables.clone(),
            id: id_of(&spec.options)?,
            projection: spec.projection.clone(),
            schema: Arc::new(Schema::new(fields)),
            batch_rows: context.batch_rows.max(1),
            ranges: VecDeque::new(),
            is_last: false,
            has_asked: false,
        }))
    }
}

fn damaged(what: &'static str, problem: impl std::fmt::Display) -> ConnectorError {
    ConnectorError::State { connector: NAME, what, problem: problem.to_string() }
}

/// Batches that are to be read, from a row of the first one on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Range {
    start: usize,
    end: usize,
    row: usize,
}

impl Range {
    fn split(self) -> Result<SourceSplit> {
        let payload = serde_json::to_vec(&self).map_err(|e| damaged("a split", e))?;
        Ok(SourceSplit { id: format!("{}-{}", self.start, self.end), payload })
    }

    fn of(split: &SourceSplit) -> Result<Self> {
        serde_json::from_slice(&split.payload).map_err(|e| damaged("a split", e))
    }
}

struct Enumerator {
    ranges: VecDeque<Range>,
}

impl SplitEnumerator for Enumerator {
    fn request_split(&mut self, _reader: SubtaskIndex) -> Result<SplitResponse, Failure> {
        Ok(match self.ranges.pop_front() {
            Some(range) => SplitResponse::Assign(vec![range.split()?]),
            None => SplitResponse::NoMoreSplits,
        })
    }

    fn add_splits_back(&mut self, splits: Vec<SourceSplit>) {
        self.ranges.extend(splits.iter().filter_map(|split| Range::of(split).ok()));
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<Vec<u8>, Failure> {
        Ok(serde_json::to_vec(&self.ranges).map_err(|e| damaged("enumerator state", e))?)
    }
}

struct Reader {
    tables: MemoryTables,
    id: String,
    projection: Vec<usize>,
    schema: Arc<Schema>,
    batch_rows: usize,
    ranges: VecDeque<Range>,
    is_last: bool,
    has_asked: bool,
}

impl SourceReader for Reader {
    fn poll_next(&mut self) -> Result<ReaderStatus, Failure> {
        while let Some(range) = self.ranges.front_mut() {
            if range.start == range.end {
                self.ranges.pop_front();
                continue;
            }
            let batch = self.tables.batch(&self.id, range.start)?;
            let (offset, left) = (range.row, batch.num_rows().saturating_sub(range.row));
            let rows = left.min(self.batch_rows);
            if rows == left {
                (range.start, range.row) = (range.start + 1, 0);
            } else {
                range.row += rows;
            }
            if rows == 0 {
                continue;
            }
            let columns: Vec<Column> = self.projection.iter().map(|c| batch.column(*c).clone()).collect();
            let batch = batch.with_columns(Arc::clone(&self.schema), columns);
            let whole = rows == batch.num_rows();
            return Ok(ReaderStatus::Batch(if whole { batch } else { batch.slice(offset, rows) }));
        }
        Ok(match (self.is_last, std::mem::replace(&mut self.has_asked, true)) {
            (true, _) => ReaderStatus::EndOfInput,
            (false, false) => ReaderStatus::NeedsSplit,
            (false, true) => ReaderStatus::Waiting,
        })
    }

    fn add_splits(&mut self, splits: Vec<SourceSplit>) -> Result<(), Failure> {
        for split in &splits {
            self.ranges.push_back(Range::of(split)?);
        }
        self.has_asked = false;
        Ok(())
    }

    fn no_more_splits(&mut self) {
        self.is_last = true;
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<Vec<SourceSplit>, Failure> {
        Ok(self.ranges.iter().map(|range| range.split()).collect::<Result<_>>()?)
    }
}
