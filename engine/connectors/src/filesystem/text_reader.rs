//! Reads text files (CSV, JSON) from front to back.
//!
//! Pieces of 1 MiB are read on the blocking executor, one ahead of the one that is decoded. A position is a number of
//! rows: a restored reader decodes the file from its start and drops what was returned before.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use flumen_core::batch::Batch;
use flumen_core::failure::Failure;
use flumen_core::source::{ReaderContext, ReaderStatus};
use flumen_core::types::{Schema, SchemaRef};
use flumen_core::waiting::{Outcome, Pending};
use flumen_formats::Decoder;
use flumen_formats_csv::{CsvDecoder, CsvLayout};
use flumen_formats_json::JsonDecoder;
use flumen_io::{FileSystem, ReadFile};

use super::options::Format;
use super::split::FileSplit;
use crate::charge::Charge;
use crate::error::ConnectorError;

/// Bytes read at once.
const PIECE_BYTES: u64 = 1 << 20;

/// What all files of a scan share.
#[derive(Clone)]
pub(super) struct TextScan {
    pub(super) files: Arc<dyn FileSystem>,
    pub(super) csv: CsvLayout,
    pub(super) table: Arc<Schema>,
    pub(super) projection: Vec<usize>,
    pub(super) schema: SchemaRef,
    pub(super) limit: Option<u64>,
}

struct Piece {
    file: Arc<dyn ReadFile>,
    bytes: Bytes,
}

/// The file that is being read.
struct Current {
    decoder: Box<dyn Decoder>,
    file: Option<Arc<dyn ReadFile>>,
    /// Where the next piece begins.
    offset: u64,
    ahead: Option<Pending<Result<Piece, ConnectorError>>>,
    /// What is left of the piece that is being decoded.
    bytes: Bytes,
    /// Rows that were returned before a restore.
    skip: u64,
    is_finished: bool,
}

/// Reads the files of the splits it is given.
pub(super) struct TextReader {
    scan: TextScan,
    context: ReaderContext,
    format: Format,
    splits: VecDeque<FileSplit>,
    current: Option<Current>,
    charge: Option<Charge>,
    rows_left: u64,
    is_last: bool,
    has_asked: bool,
}

impl TextReader {
    pub(super) fn new(scan: TextScan, context: ReaderContext, format: Format) -> Self {
        let rows_left = scan.limit.unwrap_or(u64::MAX);
        Self {
            scan,
            context,
            format,
            splits: VecDeque::new(),
            current: None,
            charge: None,
            rows_left,
            is_last: false,
            has_asked: false,
        }
    }

    pub(super) fn add_splits(&mut self, splits: Vec<FileSplit>) {
        self.splits.extend(splits);
        self.has_asked = false;
    }

    pub(super) fn no_more_splits(&mut self) {
        self.is_last = true;
    }

    pub(super) fn splits(&self) -> impl Iterator<Item = &FileSplit> {
        self.splits.iter()
    }

    pub(super) fn poll_next(&mut self) -> Result<ReaderStatus, Failure> {
        loop {
            if self.rows_left == 0 {
                self.current = None;
                self.splits.clear();
                return Ok(ReaderStatus::EndOfInput);
            }
            let Some(split) = self.splits.front_mut() else {
                self.charge = None;
                return Ok(match (self.is_last, std::mem::replace(&mut self.has_asked, true)) {
                    (true, _) => ReaderStatus::EndOfInput,
                    (false, false) => ReaderStatus::NeedsSplit,
                    (false, true) => ReaderStatus::Waiting,
                });
            };
            if self.charge.is_none() {
                // The piece being decoded and the one read ahead.
                self.charge = Some(Charge::new(&self.context.memory, 2 * PIECE_BYTES as usize)?);
            }
            if self.current.is_none() {
                self.current = Some(self.scan.begin(self.format, split, self.context.batch_rows)?);
            }
            let current = self.current.as_mut().expect("it was set above");
            let in_file = |source| ConnectorError::Format { path: split.path.clone(), source };
            match current.step(&self.scan, split, &self.context)? {
                Progress::Waiting => return Ok(ReaderStatus::Waiting),
                Progress::Decoded => {}
                Progress::Full => {
                    if let Some(batch) = current.decoder.flush().map_err(in_file)?
                        && let Some(batch) = current.unread(batch)
                    {
                        let rows = (batch.num_rows() as u64).min(self.rows_left);
                        split.row += rows;
                        self.rows_left -= rows;
                        // The decoder's columns are the output's; only the mark of event time is not known to it.
                        let batch = batch.slice(0, rows as usize);
                        return Ok(ReaderStatus::Batch(
                            batch.with_columns(Arc::clone(&self.scan.schema), batch.columns().to_vec()),
                        ));
                    }
                    if current.is_finished && current.decoder.buffered_rows() == 0 {
                        self.current = None;
                        self.splits.pop_front();
                    }
                }
            }
        }
    }
}

enum Progress {
    /// A read is under way.
    Waiting,
    /// Bytes were taken; more can be.
    Decoded,
    /// A batch is full, or the file has ended.
    Full,
}

impl Current {
    /// Decodes some bytes, or starts to read some.
    fn step(&mut self, scan: &TextScan, split: &FileSplit, context: &ReaderContext) -> Result<Progress, Failure> {
        let in_file = |source| ConnectorError::Format { path: split.path.clone(), source };
        if self.is_finished {
            return Ok(Progress::Full);
        }
        if self.ahead.is_none() && (self.offset < split.size || self.file.is_none()) {
            self.ahead = Some(self.read(scan, split, context));
        }
        if self.bytes.is_empty() {
            let Some(ahead) = &mut self.ahead else {
                self.decoder.finish().map_err(in_file)?;
                self.is_finished = true;
                return Ok(Progress::Full);
            };
            match ahead.poll() {
                Outcome::Waiting => return Ok(Progress::Waiting),
                Outcome::Lost => return Err(ConnectorError::Lost { what: "a read of a file" }.into()),
                Outcome::Ready(piece) => {
                    let piece = piece?;
                    self.ahead = None;
                    self.offset += piece.bytes.len() as u64;
                    self.bytes = piece.bytes;
                    self.file = Some(piece.file);
                    return Ok(Progress::Decoded);
                }
            }
        }
        let taken = self.decoder.decode(&self.bytes).map_err(in_file)?;
        self.bytes = self.bytes.slice(taken..);
        Ok(if self.bytes.is_empty() { Progress::Decoded } else { Progress::Full })
    }

    fn read(
        &self,
        scan: &TextScan,
        split: &FileSplit,
        context: &ReaderContext,
    ) -> Pending<Result<Piece, ConnectorError>> {
        let (files, split, file) = (Arc::clone(&scan.files), split.clone(), self.file.clone());
        let offset = self.offset;
        Pending::spawn(context.blocking.as_ref(), context.waker.clone(), move || {
            let file = match file {
                Some(file) => file,
                None => files.open(Path::new(&split.path))?,
            };
            split.check_unchanged(file.size(), file.modified_millis())?;
            let end = file.size().min(offset.saturating_add(PIECE_BYTES));
            let bytes = file.read_range(offset.min(end)..end)?;
            Ok(Piece { file, bytes })
        })
    }

    /// The part of a batch that was not returned before a restore.
    fn unread(&mut self, batch: Batch) -> Option<Batch> {
        let rows = batch.num_rows();
        let skip = self.skip.min(rows as u64) as usize;
        self.skip -= skip as u64;
        (skip < rows).then(|| batch.slice(skip, rows - skip))
    }
}

impl TextScan {
    fn begin(&self, format: Format, split: &FileSplit, batch_rows: usize) -> Result<Current, ConnectorError> {
        let decoder: Box<dyn Decoder> = match format {
            Format::Csv => Box::new(CsvDecoder::new(&self.table, &self.projection, self.csv, batch_rows)),
            _ => Box::new(
                JsonDecoder::new(&self.table, &self.projection, batch_rows)
                    .map_err(|source| ConnectorError::Format { path: split.path.clone(), source })?,
            ),
        };
        Ok(Current {
            decoder,
            file: None,
            offset: 0,
            ahead: None,
            bytes: Bytes::new(),
            skip: split.row,
            is_finished: false,
        })
    }
}
