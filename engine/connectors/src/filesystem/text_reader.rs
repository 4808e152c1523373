//! Reads files that are decoded from front to back (CSV, JSON, Arrow IPC), compressed or not.
//!
//! Pieces of 1 MiB are read on the blocking executor, one ahead of the one that is decoded. A decoder is made when the
//! first piece of its file is there, for the piece may tell how the file is laid out. A position is a number of rows: a
//! restored reader decodes the file from its start and drops what was returned before.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use arrow_array::new_null_array;
use bytes::Bytes;
use flumen_core::batch::{Batch, Column};
use flumen_core::failure::Failure;
use flumen_core::source::{ReaderContext, ReaderStatus};
use flumen_core::types::{Field, LogicalType, Schema, SchemaRef};
use flumen_core::waiting::{Outcome, Pending};
use flumen_formats::{Decoder, FormatError};
use flumen_formats_csv::{CsvDecoder, header_names};
use flumen_formats_ipc::IpcDecoder;
use flumen_formats_json::JsonDecoder;
use flumen_io::FileSystem;

use super::compression::ByteStream;
use super::options::{FileOptions, Format};
use super::split::FileSplit;
use crate::charge::Charge;
use crate::error::ConnectorError;

/// Bytes read at once.
const PIECE_BYTES: usize = 1 << 20;

/// What all files of a scan share.
#[derive(Clone)]
pub(super) struct TextScan {
    pub(super) files: Arc<dyn FileSystem>,
    pub(super) options: FileOptions,
    /// The table's columns.
    pub(super) table: Arc<Schema>,
    /// Those that are read from files, in the order of the output.
    pub(super) projection: Vec<usize>,
    pub(super) schema: SchemaRef,
    pub(super) limit: Option<u64>,
}

struct Piece {
    stream: ByteStream,
    bytes: Bytes,
}

/// A decoder of one file, and where its columns go.
struct FileDecoder {
    decoder: Box<dyn Decoder>,
    /// For each output column the decoder's; `None` if the file has none.
    places: Vec<Option<usize>>,
}

/// The file that is being read.
struct Current {
    decoder: Option<FileDecoder>,
    /// `None` while a piece is read, and once the last has been.
    stream: Option<ByteStream>,
    has_begun: bool,
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
    splits: VecDeque<FileSplit>,
    current: Option<Current>,
    charge: Option<Charge>,
    rows_left: u64,
    is_last: bool,
    has_asked: bool,
}

impl TextReader {
    pub(super) fn new(scan: TextScan, context: ReaderContext) -> Self {
        let rows_left = scan.limit.unwrap_or(u64::MAX);
        Self {
            scan,
            context,
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
                self.charge = Some(Charge::new(&self.context.memory, 2 * PIECE_BYTES)?);
            }
            if self.current.is_none() {
                self.current = Some(Current::new(split));
            }
            let current = self.current.as_mut().expect("it was set above");
            let in_file = |source| ConnectorError::Format { path: split.path.clone(), source };
            match current.step(&self.scan, split, &self.context)? {
                Progress::Waiting => return Ok(ReaderStatus::Waiting),
                Progress::Decoded => {}
                Progress::Full => {
                    let batch = match &mut current.decoder {
                        Some(file) => file.flush(&self.scan.schema).map_err(in_file)?,
                        None => None,
                    };
                    if let Some(batch) = batch
                        && let Some(batch) = current.unread(batch)
                    {
                        let rows = (batch.num_rows() as u64).min(self.rows_left);
                        split.row += rows;
                        self.rows_left -= rows;
                        return Ok(ReaderStatus::Batch(batch.slice(0, rows as usize)));
                    }
                    if current.is_finished && current.buffered_rows() == 0 {
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
    fn new(split: &FileSplit) -> Self {
        Self {
            decoder: None,
            stream: None,
            has_begun: false,
            ahead: None,
            bytes: Bytes::new(),
            skip: split.row,
            is_finished: false,
        }
    }

    fn buffered_rows(&self) -> usize {
        self.decoder.as_ref().map_or(0, |file| file.decoder.buffered_rows())
    }

    /// Decodes some bytes, or starts to read some.
    fn step(&mut self, scan: &TextScan, split: &FileSplit, context: &ReaderContext) -> Result<Progress, Failure> {
        let in_file = |source| ConnectorError::Format { path: split.path.clone(), source };
        if self.is_finished {
            return Ok(Progress::Full);
        }
        if self.ahead.is_none() && (self.stream.is_some() || !self.has_begun) {
            self.has_begun = true;
            self.ahead = Some(read(self.stream.take(), scan, split, context));
        }
        if self.bytes.is_empty() {
            let Some(ahead) = &mut self.ahead else {
                if let Some(file) = &mut self.decoder {
                    file.decoder.finish().map_err(in_file)?;
                }
                self.is_finished = true;
                return Ok(Progress::Full);
            };
            match ahead.poll() {
                Outcome::Waiting => return Ok(Progress::Waiting),
                Outcome::Lost => return Err(ConnectorError::Lost { what: "a read of a file" }.into()),
                Outcome::Ready(piece) => {
                    let piece = piece?;
                    self.ahead = None;
                    // A piece that is not full is the last one.
                    self.stream = (piece.bytes.len() == PIECE_BYTES).then_some(piece.stream);
                    self.bytes = piece.bytes;
                    if self.decoder.is_none() {
                        self.decoder = Some(scan.decoder(split, &self.bytes, context.batch_rows).map_err(in_file)?);
                    }
                    return Ok(Progress::Decoded);
                }
            }
        }
        let Some(file) = &mut self.decoder else { return Ok(Progress::Full) };
        let taken = file.decoder.decode(&self.bytes).map_err(in_file)?;
        self.bytes = self.bytes.slice(taken..);
        Ok(if self.bytes.is_empty() { Progress::Decoded } else { Progress::Full })
    }

    /// The part of a batch that was not returned before a restore.
    fn unread(&mut self, batch: Batch) -> Option<Batch> {
        let rows = batch.num_rows();
        let skip = self.skip.min(rows as u64) as usize;
        self.skip -= skip as u64;
        (skip < rows).then(|| batch.slice(skip, rows - skip))
    }
}

/// Reads the next piece of a file.
fn read(
    stream: Option<ByteStream>,
    scan: &TextScan,
    split: &FileSplit,
    context: &ReaderContext,
) -> Pending<Result<Piece, ConnectorError>> {
    let (files, split) = (Arc::clone(&scan.files), split.clone());
    Pending::spawn(context.blocking.as_ref(), context.waker.clone(), move || {
        let mut stream = match stream {
            Some(stream) => stream,
            None => ByteStream::new(files.open(Path::new(&split.path))?, split.codec)?,
        };
        split.check_unchanged(stream.source().size(), stream.source().modified_millis())?;
        let bytes = stream.piece(PIECE_BYTES)?;
        Ok(Piece { stream, bytes })
    })
}

impl FileDecoder {
    fn flush(&mut self, schema: &SchemaRef) -> Result<Option<Batch>, FormatError> {
        let Some(batch) = self.decoder.flush()? else { return Ok(None) };
        let columns = self.places.iter().zip(&schema.fields).map(|(place, field)| match place {
            Some(place) => batch.column(*place).clone(),
            None => Column::Constant(new_null_array(&field.data_type.arrow_type(), 1)),
        });
        Ok(Some(batch.with_columns(Arc::clone(schema), columns.collect())))
    }
}

impl TextScan {
    /// A decoder of a file that begins with `head`.
    fn decoder(&self, split: &FileSplit, head: &[u8], batch_rows: usize) -> Result<FileDecoder, FormatError> {
        match split.format {
            Format::Csv => self.csv(split, head, batch_rows),
            Format::Arrow | Format::ArrowStream => Ok(FileDecoder {
                decoder: Box::new(IpcDecoder::new(&self.table, &self.projection, batch_rows)),
                places: (0..self.projection.len()).map(Some).collect(),
            }),
            Format::Json | Format::Parquet => Ok(FileDecoder {
                decoder: Box::new(JsonDecoder::new(&self.table, &self.projection, batch_rows)?),
                places: (0..self.projection.len()).map(Some).collect(),
            }),
        }
    }

    /// The columns of a CSV file are found by the names in its header if the table has all of them, or it has all of the
    /// table's; else by position.
    fn csv(&self, split: &FileSplit, head: &[u8], batch_rows: usize) -> Result<FileDecoder, FormatError> {
        let all = 0..self.table.fields.len();
        let own: Vec<usize> = all.filter(|column| !split.path_columns.contains(column)).collect();
        let field = |column: usize| &self.table.fields[column];
        let names: Vec<&str> = own.iter().map(|column| field(*column).name.as_str()).collect();
        let layout = self.options.csv_of(Path::new(&split.path)).layout(head, &names);
        let in_file = header_names(&layout, head);
        let found: Vec<Option<usize>> = in_file.iter().map(|name| position(&names, name)).collect();
        let by_name = found.iter().all(Option::is_some) || (0..own.len()).all(|column| found.contains(&Some(column)));
        let columns: Vec<Option<usize>> = match by_name && !in_file.is_empty() {
            true => found.into_iter().map(|at| at.map(|at| own[at])).collect(),
            // If there are more or fewer, the first row says so.
            false => own.iter().copied().map(Some).collect(),
        };
        let fields: Vec<Field> = columns
            .iter()
            .zip(in_file.iter().map(Some).chain(std::iter::repeat(None)))
            .map(|(column, name)| match (column, name) {
                (Some(column), _) => field(*column).clone(),
                (None, name) => Field::new(name.cloned().unwrap_or_default(), LogicalType::Utf8, true),
            })
            .collect();
        let mut wanted = Vec::new();
        let mut places = Vec::with_capacity(self.projection.len());
        for column in &self.projection {
            let place = columns.iter().position(|known| *known == Some(*column));
            if place.is_none() && !field(*column).nullable {
                let problem = format!("it has no column {:?}, which is declared NOT NULL", field(*column).name);
                return Err(FormatError::Unsupported { format: "csv", problem });
            }
            places.push(place.map(|place| {
                wanted.push(place);
                wanted.len() - 1
            }));
        }
        let decoder = Box::new(CsvDecoder::new(&Schema::new(fields), &wanted, layout, batch_rows));
        Ok(FileDecoder { decoder, places })
    }
}

/// Where a name is: exact first, then without case.
fn position(names: &[&str], name: &str) -> Option<usize> {
    names
        .iter()
        .position(|known| *known == name)
        .or_else(|| names.iter().position(|known| known.to_lowercase() == name.to_lowercase()))
}
