//! A session: a catalog, settings, and an embedded cluster that statements run on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use flumen_config::{Configuration, Origin};
use flumen_connectors::collect::CollectCapacity;
use flumen_control::JobMasterOptions;
use flumen_core::catalog::{Catalog, CatalogTable};
use flumen_core::connectors::MEMORY_CONNECTOR;
use flumen_core::failure::Failure;
use flumen_core::graph::{ExchangeMode, StreamGraph, TranslateOptions, translate};
use flumen_core::ids::{JobId, OperatorUid};
use flumen_core::source::Boundedness;
use flumen_core::spec::OperatorPayload;
use flumen_core::spec::connector::{SinkSpec, SourceSpec};
use flumen_gateway::{ClientEvent, JobStatus};
use flumen_io::{RandomSource, Rng};
use flumen_runtime::metrics::OperatorCounts;
use flumen_sql::{Droppable, MemoryCatalog, PlanOptions, Planned, RecursiveTable, Statement, plan_statement};
use parking_lot::Mutex;

use crate::embedded::EmbeddedCluster;
use crate::error::SessionError;
use crate::names::Names;
use crate::options::{self, ShuffleMode};
use crate::process::Process;
use crate::stream::{JobHandle, Recovery, RowStream, Running};

/// Between two looks at whether the round of a recursive query is over.
const ROUND_WAIT: Duration = Duration::from_millis(100);

/// What a statement came to.
pub enum Outcome {
    /// Rows, as they are made.
    Rows(RowStream),
    /// A job that runs.
    Job(JobHandle),
    /// Rows that were there at once: names, types.
    Table(RecordBatch),
    /// Text to show.
    Text(String),
    /// It is done; a message for people.
    Done(String),
}

/// A session on an embedded cluster of its own.
pub struct Session {
    configuration: Configuration,
    initial: Configuration,
    /// Shared with jobs that fill a table before it has a name.
    catalog: Arc<MemoryCatalog>,
    process: Arc<Process>,
    workers: u32,
    next_result: AtomicU64,
    rng: Rng,
    /// What the next job reads and nobody else.
    held: Option<HeldTables>,
    /// `None` for sessions over a process that someone else runs.
    cluster: Option<EmbeddedCluster>,
}

impl Session {
    /// Starts a cluster and opens a session on it.
    ///
    /// # Errors
    /// If the cluster cannot be started.
    pub fn open(configuration: Configuration) -> Result<Self, SessionError> {
        let cluster = EmbeddedCluster::start(&configuration).map_err(SessionError::Setup)?;
        Ok(Self::on(cluster, configuration))
    }

    /// Opens a session on a cluster that ends with it.
    #[must_use]
    pub fn on(cluster: EmbeddedCluster, configuration: Configuration) -> Self {
        let (process, workers) = (Arc::clone(cluster.process()), cluster.workers());
        let mut session = Self::over(process, configuration, workers, Rng::from_entropy());
        session.cluster = Some(cluster);
        session
    }

    /// Opens a session over a process that someone else runs (tests).
    #[must_use]
    pub fn over(process: Arc<Process>, configuration: Configuration, workers: u32, rng: Rng) -> Self {
        Self {
            initial: configuration.clone(),
            configuration,
            catalog: Arc::default(),
            process,
            workers,
            next_result: AtomicU64::new(0),
            rng,
            held: None,
            cluster: None,
        }
    }

    /// What the session's jobs share.
    #[must_use]
    pub fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// The names that the session knows, for those who look at them beside it.
    #[must_use]
    pub fn names(&self) -> Names {
        Names::new(&self.catalog, &self.process)
    }

    /// Divides a text into statements.
    ///
    /// # Errors
    /// If it is not SQL.
    pub fn parse(&self, text: &str) -> Result<Vec<Statement>, SessionError> {
        Ok(flumen_sql::parse(text)?)
    }

    /// Divides a text into statements, each of which may be wrong by itself.
    #[must_use]
    pub fn parse_each(&self, text: &str) -> Vec<Result<Statement, SessionError>> {
        flumen_sql::parse_each(text).into_iter().map(|statement| Ok(statement?)).collect()
    }

    /// Runs one statement.
    ///
    /// # Errors
    /// If it cannot be planned or started.
    pub fn execute(&mut self, statement: &Statement) -> Result<Outcome, SessionError> {
        let started = self.process.clock().now();
        let result = format!("result-{}", self.next_result.fetch_add(1, Ordering::Relaxed));
        let parallelism = match self.configuration.get(&options::PARALLELISM) {
            0 => self.workers,
            parallelism => parallelism,
        };
        let plan_options = PlanOptions {
            parallelism,
            job_name: self.configuration.get(&options::JOB_NAME),
            collect_id: result.clone(),
            memory_id: format!("{:016x}{:016x}", self.rng.next_u64(), self.rng.next_u64()),
            now_ms: Some(self.process.clock().wall_millis()),
            ..PlanOptions::default()
        };
        let planned = plan_statement(statement, self.catalog.as_ref(), self.process.connectors(), &plan_options)?;
        let plan_time = self.process.clock().now() - started;
        self.carry_out(planned, &result, plan_time).map_err(|error| match error {
            SessionError::Configuration(error) => {
                let is_value = !matches!(error, flumen_config::ConfigError::UnknownKey { .. });
                statement.setting_error(error.to_string(), is_value).into()
            }
            other => other,
        })
    }

    fn carry_out(&mut self, planned: Planned, result: &str, plan_time: Duration) -> Result<Outcome, SessionError> {
        Ok(match planned {
            Planned::Query { graph, schema, boundedness, summary, .. } => {
                let bytes = self.configuration.get(&options::RESULT_QUEUE_BYTES).saturating_usize();
                let capacity = CollectCapacity { bytes, ..CollectCapacity::default() };
                let stream = self.process.collect().open(result, capacity)?;
                // A job that fails or is cancelled leaves writers that never end; its client learns of it at once.
                let closer = stream.closer();
                let running = self.start(&graph, boundedness, plan_time, None, move |event| {
                    if matches!(event, ClientEvent::JobStatusChanged { status, .. } if status.is_globally_terminal()) {
                        closer.close();
                    }
                })?;
                let schema = match &summary {
                    Some(_) => crate::summary::schema(),
                    None => schema.portable_arrow_schema(),
                };
                Outcome::Rows(RowStream { running, stream, schema, summary })
            }
            Planned::WithRecursion { tables, then } => {
                self.held = Some(self.recurse(&tables)?);
                self.carry_out(*then, result, plan_time)?
            }
            Planned::Insert { graph, boundedness, .. } => {
                let recovery = self.recovery()?;
                let restored = recovery.as_ref().map(|r| r.location.as_str());
                let running = self.start(&graph, boundedness, plan_time, Some(restored), |_| {})?;
                Outcome::Job(JobHandle { running, recovery })
            }
            Planned::CreateTable { table, replace, if_not_exists } => {
                let name = table.name.clone();
                let before = self.catalog.table(&name)?;
                if if_not_exists && before.is_some() {
                    return Ok(Outcome::Done(format!("table {name} exists already")));
                }
                self.catalog.create_table(table, replace)?;
                self.forget_rows(before.as_deref());
                Outcome::Done(format!("table {name} created"))
            }
            Planned::CreateTableAs { graph, table, replace, if_not_exists, boundedness } => {
                let before = self.catalog.table(&table.name)?;
                if if_not_exists && before.is_some() {
                    return Ok(Outcome::Done(format!("table {} exists already", table.name)));
                }
                let (catalog, process) = (Arc::clone(&self.catalog), Arc::downgrade(&self.process));
                let table = Mutex::new(Some(table));
                let running = self.start(&graph, boundedness, plan_time, None, move |event| {
                    let ClientEvent::JobStatusChanged { status, .. } = event else { return };
                    // A table that was never given a name is forgotten with its rows.
                    let Some(table) = status.is_globally_terminal().then(|| table.lock().take()).flatten() else {
                        return;
                    };
                    let rows = memory_id(&table).map(str::to_owned);
                    let named = *status == JobStatus::Finished && catalog.create_table(table, replace).is_ok();
                    let obsolete = if named { before.as_deref().and_then(memory_id) } else { rows.as_deref() };
                    if let (Some(process), Some(id)) = (process.upgrade(), obsolete) {
                        process.tables().remove(id);
                    }
                })?;
                Outcome::Job(JobHandle { running, recovery: None })
            }
            Planned::CreateView { view, replace, if_not_exists } => {
                let name = view.name.clone();
                if if_not_exists && self.catalog.view(&name)?.is_some() {
                    return Ok(Outcome::Done(format!("view {name} exists already")));
                }
                self.catalog.create_view(view, replace)?;
                Outcome::Done(format!("view {name} created"))
            }
            Planned::Drop { what, name, if_exists } => {
                let before = self.catalog.table(&name)?;
                let (sort, there) = match what {
                    Droppable::Table => ("table", self.catalog.drop_table(&name)?),
                    Droppable::View => ("view", self.catalog.drop_view(&name)?),
                };
                if what == Droppable::Table {
                    self.forget_rows(before.as_deref());
                }
                match there {
                    true => Outcome::Done(format!("{sort} {name} dropped")),
                    false if if_exists => Outcome::Done(format!("there is no {sort} {name}")),
                    false => return Err(Failure::user(format!("there is no {sort} {name}")).into()),
                }
            }
            Planned::Set { key, value } => {
                self.configuration.set(&key, &value, Origin::Statement)?;
                Outcome::Done(format!("{key} = {value}"))
            }
            Planned::Reset { key } => {
                match &key {
                    Some(key) => self.configuration.reset(key, &self.initial)?,
                    None => self.configuration = self.initial.clone(),
                }
                Outcome::Done(key.map_or_else(|| "all settings reset".to_owned(), |key| format!("{key} reset")))
            }
            Planned::ShowSettings => {
                let settings = self.configuration.effective();
                let rows: Vec<_> =
                    settings.into_iter().map(|v| vec![v.key.to_owned(), v.text, v.origin.to_string()]).collect();
                Outcome::Table(text_table(&["key", "value", "origin"], &rows)?)
            }
            Planned::Explain { text, analyze: None } => Outcome::Text(text),
            Planned::Explain { text, analyze: Some(planned) } => {
                let counted = self.analyze(*planned, result, plan_time)?;
                Outcome::Text(format!("{text}\n{counted}"))
            }
            Planned::Rows { columns, rows } => Outcome::Table(text_table(&columns, &rows)?),
            _ => return Err(Failure::bug("a statement was planned that the session does not know").into()),
        })
    }

    /// Fills the tables of recursive queries.
    fn recurse(&mut self, tables: &[RecursiveTable]) -> Result<HeldTables, SessionError> {
        let ids = tables.iter().flat_map(|t| [&t.added, &t.last, &t.all]).cloned().collect();
        let held = HeldTables { process: Arc::downgrade(&self.process), ids };
        for table in tables {
            let mut graph = &table.first;
            loop {
                let running = self.start(graph, Boundedness::Bounded, Duration::ZERO, None, |_| {})?;
                let mut job = JobHandle { running, recovery: None };
                while !job.wait_within(ROUND_WAIT)? {}
                if self.process.tables().advance(&table.added, &table.last, &table.all)? == 0 {
                    break;
                }
                graph = &table.next;
            }
        }
        Ok(held)
    }

    /// Gives up the rows of a table that is not in the catalog any more, if they are in memory.
    fn forget_rows(&self, table: Option<&CatalogTable>) {
        if let Some(id) = table.and_then(memory_id) {
            self.process.tables().remove(id);
        }
    }

    /// Runs a statement to its end and says what its operators did.
    fn analyze(&mut self, planned: Planned, result: &str, plan_time: Duration) -> Result<String, SessionError> {
        let wait = Duration::from_millis(100);
        let outcome = self.carry_out(planned, result, plan_time)?;
        let counts = match outcome {
            Outcome::Rows(mut rows) => {
                let mut counts = Vec::new();
                loop {
                    let polled = rows.next_within(wait)?;
                    let now = self.process.task_executor().operator_counts(rows.job().id());
                    if !now.is_empty() {
                        counts = now;
                    }
                    if matches!(polled, crate::stream::Polled::End) {
                        break counts;
                    }
                }
            }
            _ => Vec::new(),
        };
        Ok(counted(counts.into_iter().map(|(_, uid, name, count)| (format!("{name} [{uid}]"), count))))
    }

    /// Starts a job. A `durable` one takes checkpoints, and may start from one.
    fn start(
        &mut self,
        graph: &StreamGraph,
        boundedness: Boundedness,
        plan_time: Duration,
        durable: Option<Option<&str>>,
        listener: impl Fn(&ClientEvent) + Send + Sync + 'static,
    ) -> Result<Running, SessionError> {
        let default_exchange = match (boundedness, self.configuration.get(&options::SHUFFLE_MODE)) {
            (Boundedness::Unbounded, _) | (_, ShuffleMode::Pipelined) => ExchangeMode::Pipelined,
            (_, ShuffleMode::Blocking) => ExchangeMode::Blocking,
            (_, ShuffleMode::HybridFull) => ExchangeMode::HybridFull,
            (_, ShuffleMode::HybridSelective) => ExchangeMode::HybridSelective,
        };
        let translate_options =
            TranslateOptions { chaining: self.configuration.get(&options::CHAINING), default_exchange };
        let mut job_options = JobMasterOptions::from_configuration(&self.configuration);
        match durable {
            None => job_options.checkpoints.interval = None,
            Some(_) if job_options.checkpoints.interval.is_some() => {
                let directory = self.configuration.get(&options::CHECKPOINT_DIRECTORY).ok_or_else(|| {
                    Failure::user(
                        "execution.checkpointing.interval is set, but execution.checkpointing.dir is not; set it to the directory that checkpoints go to",
                    )
                })?;
                self.process.snapshots().prepare(&directory)?;
            }
            Some(_) => {}
        }
        let graph = &self.with_key_groups(graph, durable.flatten())?;
        let id = JobId((u128::from(self.rng.next_u64()) << 64) | u128::from(self.rng.next_u64()));
        let job_graph = translate(graph, id, &translate_options).map_err(Failure::user)?;
        let uids = |kind: &str| -> Vec<OperatorUid> {
            graph.nodes.iter().filter(|n| n.spec.kind == kind).map(|n| n.uid.clone()).collect()
        };
        let (sources, sinks) = (uids(SourceSpec::KIND), uids(SinkSpec::KIND));
        let scans = graph.nodes.iter().filter(|n| n.spec.kind == SourceSpec::KIND);
        let scans = scans.map(|n| n.spec.payload::<SourceSpec>()).collect::<Result<Vec<_>, _>>()?;
        let bytes_before = self.process.bytes_read();
        let seed = self.configuration.get(&options::SEED);
        // Tables that only this job reads are there as long as it is.
        let held = self.held.take();
        let job = self.process.submit(job_graph, job_options, durable.flatten(), seed, move |event| {
            tracing::info!(?event, "job");
            listener(event);
            let _ = &held;
        })?;
        let process = Arc::clone(&self.process);
        Ok(Running { process, job, plan_time, sources, sinks, scans, expected: OnceLock::new(), bytes_before })
    }

    /// The graph with the key groups that are configured, or that its state has.
    fn with_key_groups(&self, graph: &StreamGraph, restored: Option<&str>) -> Result<StreamGraph, SessionError> {
        let saved = restored.map(|location| self.process.snapshots().key_groups(location)).transpose()?;
        let configured = Some(self.configuration.get(&options::MAX_PARALLELISM)).filter(|maximum| *maximum > 0);
        let mut graph = graph.clone();
        for node in &mut graph.nodes {
            let saved = saved.as_ref().and_then(|operators| operators.get(&node.uid).copied());
            node.max_parallelism = node.max_parallelism.or(configured).or(saved);
        }
        Ok(graph)
    }

    /// The checkpoint that `execution.state-recovery.path` means.
    fn recovery(&self) -> Result<Option<Recovery>, SessionError> {
        let Some(path) = self.configuration.get(&options::RECOVERY_PATH) else { return Ok(None) };
        if path != "latest" {
            self.process.snapshots().verify(&path)?;
            return Ok(Some(Recovery { location: path, passed_over: Vec::new() }));
        }
        let directory = self.configuration.get(&options::CHECKPOINT_DIRECTORY).ok_or_else(|| {
            Failure::user(
                "execution.state-recovery.path is `latest`, but execution.checkpointing.dir is not set; set it to the directory to look in",
            )
        })?;
        let (location, passed_over) = self.process.snapshots().latest(&directory)?;
        Ok(Some(Recovery { location, passed_over }))
    }
}

/// Tables in memory without a name in the catalog. Dropped, they are gone.
struct HeldTables {
    process: Weak<Process>,
    ids: Vec<String>,
}

impl Drop for HeldTables {
    fn drop(&mut self) {
        if let Some(process) = self.process.upgrade() {
            for id in &self.ids {
                process.tables().remove(id);
            }
        }
    }
}

/// Under which name the rows of a table are kept in memory, if they are.
fn memory_id(table: &CatalogTable) -> Option<&str> {
    if table.connector == MEMORY_CONNECTOR { table.options.get("id").map(String::as_str) } else { None }
}

/// Rows of text as a batch.
fn text_table<S: AsRef<str>>(columns: &[S], rows: &[Vec<String>]) -> Result<RecordBatch, Failure> {
    let fields: Vec<_> = columns.iter().map(|name| Field::new(name.as_ref(), DataType::Utf8, false)).collect();
    let cells = |column: usize| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(row[column].as_str())).collect::<StringArray>())
    };
    RecordBatch::try_new(Schema::new(fields).into(), (0..columns.len()).map(cells).collect()).map_err(Failure::bug)
}

/// What operators did, one line each, their subtasks added up.
fn counted(counts: impl Iterator<Item = (String, OperatorCounts)>) -> String {
    let mut merged: Vec<(String, OperatorCounts)> = Vec::new();
    for (label, count) in counts {
        match merged.iter_mut().find(|(known, _)| *known == label) {
            Some((_, sum)) => {
                sum.rows_in += count.rows_in;
                sum.rows_out += count.rows_out;
                sum.batches_out += count.batches_out;
                sum.busy += count.busy;
                sum.spilled_bytes += count.spilled_bytes;
            }
            None => merged.push((label, count)),
        }
    }
    let title = "operator";
    let width = merged.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0).max(title.len());
    let mut lines = vec![format!(
        "{title:<width$} {:>12} {:>12} {:>9} {:>10} {:>11}",
        "rows in", "rows out", "batches", "busy ms", "spilled KiB"
    )];
    for (label, count) in merged {
        lines.push(format!(
            "{label:<width$} {:>12} {:>12} {:>9} {:>10.2} {:>11}",
            count.rows_in,
            count.rows_out,
            count.batches_out,
            count.busy.as_secs_f64() * 1e3,
            count.spilled_bytes.div_ceil(1024)
        ));
    }
    lines.join("\n")
}

impl Drop for Session {
    fn drop(&mut self) {
        // Before the catalog and the rest: jobs end first.
        drop(self.cluster.take());
        for name in self.catalog.table_names().unwrap_or_default() {
            self.forget_rows(self.catalog.table(&name).ok().flatten().as_deref());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_measurements_align() {
        let count = |rows_in, millis| OperatorCounts {
            rows_in,
            rows_out: 1,
            batches_out: 1,
            busy: Duration::from_millis(millis),
            spilled_bytes: 2048,
        };
        let long = "hash join on a good many columns [a-uid-that-is-long]";
        let counts = [("scan [1]", count(2_000_000, 12)), (long, count(3, 1)), ("scan [1]", count(5, 1))];
        let text = counted(counts.map(|(label, count)| (label.to_owned(), count)).into_iter());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{text}");
        assert!(lines[1].starts_with("scan [1] ") && lines[1].contains(" 2000005 "), "{text}");
        assert!(lines[1].ends_with(" 13.00           4"), "{text}");
    }
}
