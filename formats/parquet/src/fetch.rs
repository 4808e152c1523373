//! Which bytes of a file a row group needs, and getting them.
//!
//! The plan is made on any thread, [`RowGroupPlan::fetch`] reads and may block. Neighbouring column chunks are read
//! together: one call of 64 KiB costs as much as the gap it saves.
//!
//! A row group that is too large to hold is fetched in pieces ([`RowGroupPlan::piece`]): a range of rows, of each column
//! the dictionary page and the data pages that hold those rows. Pages of different columns do not end at the same rows,
//! so a page at the edge may be fetched with both pieces.

use std::io::Cursor;
use std::ops::Range;
use std::sync::Arc;

use arrow_schema::DataType;
use bytes::Bytes;
use flumen_io::ReadFile;
use parquet::arrow::ProjectionMask;
use parquet::basic::Compression;
use parquet::errors::{ParquetError as LibraryError, Result as LibraryResult};
use parquet::file::reader::{ChunkReader, Length};

use crate::buffers::FetchBuffers;
use crate::error::ParquetError;
use crate::file::ParquetFile;
use crate::page_map::{ColumnPiece, PageMap};
use crate::thrift::{ChunkLimits, PageHeader, check_pages};

/// A gap up to this size between two chunks is read along with them.
const GAP_BYTES_MAX: u64 = 64 << 10;
/// A chunk of more pages is left to the library, so that a list of headers does not outgrow what it is about.
pub(crate) const PAGES_MAX: usize = 1 << 16;

/// A column chunk that is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    /// Which primitive column of the file.
    pub(crate) leaf: usize,
    pub(crate) range: Range<u64>,
    pub(crate) limits: ChunkLimits,
    column: String,
    /// Of a piece: which of the reads has its bytes, and the first row in them.
    piece: Option<(usize, u64)>,
}

/// The bytes that some columns of a row group take.
#[derive(Clone, Debug)]
pub struct RowGroupPlan {
    file: Arc<ParquetFile>,
    row_group: usize,
    chunks: Vec<Chunk>,
    /// What is read into one buffer each: of a whole row group one range, ascending and apart; of a piece a column's
    /// dictionary and data pages.
    reads: Vec<Vec<Range<u64>>>,
    /// Rows that can be decoded from it.
    rows: Range<u64>,
}

impl RowGroupPlan {
    /// A plan for the given root columns of the file.
    ///
    /// # Errors
    /// If a chunk lies outside the file.
    pub fn new(file: &Arc<ParquetFile>, row_group: usize, columns: &[usize]) -> Result<Self, ParquetError> {
        let metadata = file.metadata();
        let mask = ProjectionMask::roots(metadata.file_metadata().schema_descr(), columns.iter().copied());
        let mut chunks = Vec::new();
        for (leaf, column) in metadata.row_group(row_group).columns().iter().enumerate() {
            if !mask.leaf_included(leaf) {
                continue;
            }
            // Offsets and lengths were checked against the file when it was opened.
            let (start, length) = column.byte_range();
            let limits = ChunkLimits { expansion: expansion(column.compression()), values: column.num_values() };
            let (range, column) = (start..start + length, column.column_path().string());
            chunks.push(Chunk { leaf, range, limits, column, piece: None });
        }
        let mut ranges: Vec<_> = chunks.iter().map(|c| c.range.clone()).collect();
        ranges.sort_unstable_by_key(|r| (r.start, r.end));
        let mut reads: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match reads.last_mut() {
                Some(last) if range.start <= last.end.saturating_add(GAP_BYTES_MAX) => {
                    last.end = last.end.max(range.end)
                }
                _ => reads.push(range),
            }
        }
        let reads = reads.into_iter().map(|range| vec![range]).collect();
        Ok(Self { file: Arc::clone(file), row_group, chunks, reads, rows: 0..file.row_group_rows(row_group) })
    }

    /// The part of it that holds the rows from `from` on, as many as fit into `bytes_max`; but at least up to the end of
    /// a page, however large.
    #[must_use]
    pub fn piece(&self, map: &PageMap, from: u64, bytes_max: usize) -> Self {
        let rows = map.rows_within(from, bytes_max);
        let mut piece = Self { reads: Vec::with_capacity(self.chunks.len()), rows, ..self.clone() };
        for (chunk, column) in piece.chunks.iter_mut().zip(map.pieces(&piece.rows)) {
            chunk.piece = Some((piece.reads.len(), column.first_row));
            let ColumnPiece { dictionary, pages, .. } = column;
            let is_one = dictionary.end == pages.start;
            let ranges = if is_one { [dictionary.start..pages.end, pages.end..pages.end] } else { [dictionary, pages] };
            piece.reads.push(ranges.into());
        }
        piece
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &Arc<ParquetFile> {
        &self.file
    }

    /// Which row group.
    #[must_use]
    pub fn row_group(&self) -> usize {
        self.row_group
    }

    /// The rows of the row group that can be decoded from what it fetches.
    #[must_use]
    pub fn rows(&self) -> Range<u64> {
        self.rows.clone()
    }

    pub(crate) fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// The type that a primitive column is decoded to, if it is a column of its own.
    pub(crate) fn data_type(&self, leaf: usize) -> Option<&DataType> {
        let fields = self.file.arrow_metadata().schema().fields();
        let column = (0..fields.len()).find(|column| self.file.leaf_of(*column) == Some(leaf))?;
        Some(fields[column].data_type())
    }

    pub(crate) fn damaged(&self, chunk: &Chunk, problem: String) -> ParquetError {
        ParquetError::RowGroup {
            path: self.file.path().to_path_buf(),
            row_group: self.row_group,
            column: Some(chunk.column.clone()),
            problem,
        }
    }

    /// Bytes that [`RowGroupPlan::fetch`] allocates; never more than the file has.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.reads.iter().flatten().map(|r| (r.end - r.start) as usize).sum()
    }

    /// Reads the bytes, into buffers that are used again, and checks their page headers. May block.
    ///
    /// # Errors
    /// If reading fails or a page header is damaged.
    pub fn fetch(&self, source: &dyn ReadFile, buffers: &FetchBuffers) -> Result<RowGroupChunks, ParquetError> {
        let mut pieces = Vec::with_capacity(self.reads.len());
        for ranges in &self.reads {
            let start = ranges.first().map_or(0, |range| range.start);
            pieces.push((start, read(source, ranges, buffers)?));
        }
        let mut chunks = RowGroupChunks {
            pieces: pieces.into(),
            file_size: self.file.size(),
            columns: Arc::default(),
            rows: self.rows.clone(),
        };
        let mut columns = Vec::with_capacity(self.chunks.len());
        for chunk in &self.chunks {
            let bytes = match chunk.piece {
                Some((read, _)) => chunks.pieces.get(read).map(|(_, bytes)| bytes.clone()),
                None => chunks.slice(chunk.range.start, (chunk.range.end - chunk.range.start) as usize),
            };
            let (bytes, pages) = bytes
                .ok_or_else(|| "its chunk was not read".to_owned())
                .and_then(|bytes| check_pages(&bytes, chunk.limits, PAGES_MAX).map(|pages| (bytes, pages)))
                .map_err(|problem| self.damaged(chunk, problem))?;
            let pages = if pages.len() < PAGES_MAX { pages } else { Vec::new() };
            let first_row = chunk.piece.map_or(0, |(_, row)| row);
            let values = match chunk.piece {
                None => chunk.limits.values,
                Some(_) => pages.iter().filter(|page| page.is_data()).map(|page| page.values).sum(),
            };
            columns.push(ColumnChunk { leaf: chunk.leaf, bytes, pages: pages.into(), first_row, values });
        }
        chunks.columns = columns.into();
        Ok(chunks)
    }
}

/// Ranges of a file, one behind the other.
fn read(source: &dyn ReadFile, ranges: &[Range<u64>], buffers: &FetchBuffers) -> Result<Bytes, ParquetError> {
    if let [range] = ranges
        && range.end > source.size()
    {
        // It was checked when the file was opened, which is shorter now.
        return Ok(source.read_range(range.clone())?);
    }
    let size = ranges.iter().map(|range| (range.end - range.start) as usize).sum();
    Ok(buffers.filled(size, |buffer| {
        let mut rest = buffer;
        ranges.iter().try_for_each(|range| {
            let (part, behind) = std::mem::take(&mut rest).split_at_mut((range.end - range.start) as usize);
            rest = behind;
            source.read_exact_at(range.start, part)
        })
    })?)
}

/// Most bytes that one compressed byte can become, by the formats' own limits.
fn expansion(compression: Compression) -> u64 {
    match compression {
        Compression::UNCOMPRESSED => 1,
        Compression::SNAPPY => 32,
        Compression::LZ4 | Compression::LZ4_RAW | Compression::LZO => 256,
        Compression::GZIP(_) => 1100,
        // A run-length block of zstd gives 128 KiB for four bytes.
        Compression::ZSTD(_) | Compression::BROTLI(_) => 32 << 10,
    }
}

/// The bytes of a column in a row group, or in a piece of one.
#[derive(Clone, Debug)]
pub(crate) struct ColumnChunk {
    /// Which primitive column of the file.
    pub(crate) leaf: usize,
    pub(crate) bytes: Bytes,
    /// Headers of all its pages; none if there are too many to list.
    pub(crate) pages: Arc<[PageHeader]>,
    /// The row that its first data page begins with.
    pub(crate) first_row: u64,
    /// Values that its pages hold together.
    pub(crate) values: i64,
}

/// The fetched bytes of a row group. Clones share them.
#[derive(Clone, Debug)]
pub struct RowGroupChunks {
    /// Offset in the file and bytes, ascending.
    pieces: Arc<[(u64, Bytes)]>,
    file_size: u64,
    columns: Arc<[ColumnChunk]>,
    rows: Range<u64>,
}

impl RowGroupChunks {
    /// The chunk of a primitive column, if it was planned for.
    pub(crate) fn column(&self, leaf: usize) -> Option<&ColumnChunk> {
        self.columns.iter().find(|c| c.leaf == leaf)
    }

    /// The rows of the row group that can be decoded from it.
    #[must_use]
    pub fn rows(&self) -> Range<u64> {
        self.rows.clone()
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.pieces.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    fn slice(&self, start: u64, length: usize) -> Option<Bytes> {
        let rest = self.rest(start)?;
        (length <= rest.len()).then(|| rest.slice(..length))
    }

    /// What was read from `start` on, up to the end of its piece.
    fn rest(&self, start: u64) -> Option<Bytes> {
        let after = self.pieces.partition_point(|(offset, _)| *offset <= start);
        let (offset, bytes) = self.pieces.get(after.checked_sub(1)?)?;
        let skip = usize::try_from(start - offset).ok().filter(|skip| *skip <= bytes.len())?;
        Some(bytes.slice(skip..))
    }
}

impl Length for RowGroupChunks {
    fn len(&self) -> u64 {
        self.file_size
    }
}

impl ChunkReader for RowGroupChunks {
    type T = Cursor<Bytes>;

    fn get_read(&self, start: u64) -> LibraryResult<Self::T> {
        self.rest(start).map(Cursor::new).ok_or_else(|| not_read(start, 0))
    }

    fn get_bytes(&self, start: u64, length: usize) -> LibraryResult<Bytes> {
        self.slice(start, length).ok_or_else(|| not_read(start, length))
    }
}

fn not_read(start: u64, length: usize) -> LibraryError {
    LibraryError::EOF(format!("{length} bytes at {start} lie outside the chunks that were read"))
}
