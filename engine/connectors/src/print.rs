//! Writes rows as lines: `'connector' = 'print'`.
//!
//! A line is `subtask> +I[a, b]`, without `subtask> ` when there is only one; NULL is `null`. With the option
//! `print-identifier` the line begins with it and a colon, as Flink's does. Lines go to the target that the process
//! chose, standard output unless it said otherwise, a whole batch under one lock. The target is written to on the
//! worker: whoever prints millions of rows waits for the terminal.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_cast::display::{ArrayFormatter, FormatOptions};
use flumen_core::batch::{Batch, RowKind};
use flumen_core::failure::Failure;
use flumen_core::sink::{SinkConnector, SinkWriter, WriterContext, WriterStatus};
use flumen_core::spec::connector::SinkSpec;
use flumen_core::types::Schema;
use flumen_formats::portable_batch;

use crate::options::OptionReader;

const NAME: &str = "print";

/// Where printed rows go. Shared by all writers; locked for a batch.
#[derive(Clone)]
pub struct PrintTarget(Arc<Mutex<dyn Write + Send>>);

impl PrintTarget {
    /// Lines go to `target`.
    #[must_use]
    pub fn new(target: Arc<Mutex<dyn Write + Send>>) -> Self {
        Self(target)
    }
}

impl Default for PrintTarget {
    /// Standard output.
    fn default() -> Self {
        Self(Arc::new(Mutex::new(io::stdout())))
    }
}

/// Writes rows as lines.
#[derive(Clone, Default)]
pub struct PrintSink {
    target: PrintTarget,
}

impl PrintSink {
    /// A sink that writes to `target`.
    #[must_use]
    pub fn new(target: PrintTarget) -> Self {
        Self { target }
    }
}

impl SinkConnector for PrintSink {
    fn name(&self) -> &'static str {
        NAME
    }

    fn validate(&self, options: &BTreeMap<String, String>, _schema: &Schema) -> Result<(), Failure> {
        let reader = OptionReader::new(NAME, options);
        reader.text("print-identifier");
        Ok(reader.finish()?)
    }

    fn create_writer(
        &self,
        spec: &SinkSpec,
        schema: &Arc<Schema>,
        context: WriterContext,
    ) -> Result<Box<dyn SinkWriter>, Failure> {
        self.validate(&spec.options, schema)?;
        let mut prefix = spec.options.get("print-identifier").cloned().unwrap_or_default();
        if context.parallelism > 1 {
            if !prefix.is_empty() {
                prefix.push(':');
            }
            // Flink counts subtasks from 1 here.
            prefix.push_str(&(context.subtask.0 + 1).to_string());
        }
        if !prefix.is_empty() {
            prefix.push_str("> ");
        }
        Ok(Box::new(PrintWriter { target: self.target.clone(), prefix, text: String::new() }))
    }
}

struct PrintWriter {
    target: PrintTarget,
    prefix: String,
    text: String,
}

impl PrintWriter {
    fn with_target(&self, work: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
        let mut target = self.target.0.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut *target).map_err(|e| Failure::transient(format!("connector 'print' cannot write: {e}")))
    }
}

impl SinkWriter for PrintWriter {
    fn write(&mut self, batch: Batch) -> Result<WriterStatus, Failure> {
        let rows = portable_batch(&batch).map_err(Failure::user)?;
        let options = FormatOptions::default().with_null("null");
        let columns = rows
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
            .collect::<Result<Vec<_>, _>>()
            .map_err(Failure::user)?;
        self.text.clear();
        for row in 0..rows.num_rows() {
            let physical = batch.selection().map_or(row, |selection| selection[row] as usize);
            let kind = batch.row_kinds().and_then(|kinds| RowKind::from_i8(kinds[physical])).unwrap_or(RowKind::Insert);
            let _ = write!(self.text, "{}{}[", self.prefix, kind.symbol());
            for (index, column) in columns.iter().enumerate() {
                let _ = write!(self.text, "{}{}", if index == 0 { "" } else { ", " }, column.value(row));
            }
            self.text.push_str("]\n");
        }
        self.with_target(|target| target.write_all(self.text.as_bytes()))?;
        Ok(WriterStatus::Ready)
    }

    fn flush(&mut self, _end_of_input: bool) -> Result<WriterStatus, Failure> {
        self.with_target(|target| target.flush())?;
        Ok(WriterStatus::Ready)
    }
}
