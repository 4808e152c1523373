//! Where the pages of a row group lie, so that it can be fetched in pieces.
//!
//! A row group is as large as its writer liked, and a scan should not have to hold it whole. The map has, for each wanted
//! column, the place of its dictionary page and the place and first row of each data page. It is read out of the page
//! headers themselves, going from one to the next: that works for every file, whether its writer made a page index or
//! not, and what it says has been checked like any page header.
//!
//! Only columns that our own decoders take can be read from the middle; a row group in which another one is wanted is
//! not divided.
//!
//! Cost: one read of 1 KiB for each page (64 KiB to 1 MiB), about 1 us each from the page cache.

use std::ops::Range;

use arrow_schema::DataType;
use bytes::Bytes;
use flumen_io::ReadFile;

use crate::decode::{encoding, leaf};
use crate::error::ParquetError;
use crate::fetch::{ColumnChunk, PAGES_MAX, RowGroupPlan};
use crate::thrift::{PAGE_DATA, PAGE_DATA_V2, PAGE_DICTIONARY, PageHeader, check_page, page_header};

/// Bytes read in the hope that a page header is among them; a header with statistics takes a few hundred.
const HEADER_BYTES: u64 = 1 << 10;
/// A header longer than this is not read; the row group is then read as a whole.
const HEADER_BYTES_MAX: u64 = 1 << 20;

/// The pages of some columns of a row group.
#[derive(Clone, Debug)]
pub struct PageMap {
    /// In the order of the plan's chunks.
    columns: Vec<ColumnPages>,
    rows: u64,
}

/// The pages of a column.
#[derive(Clone, Debug, Default)]
struct ColumnPages {
    /// Empty if there is none.
    dictionary: Range<u64>,
    pages: Vec<PagePlace>,
    end: u64,
}

/// A data page.
#[derive(Clone, Copy, Debug)]
struct PagePlace {
    /// Where its header begins.
    offset: u64,
    first_row: u64,
    /// Its values are codes of the dictionary.
    is_coded: bool,
}

impl ColumnPages {
    /// What to fetch for a range of rows.
    fn piece(&self, rows: &Range<u64>) -> ColumnPiece {
        let first = self.pages.partition_point(|page| page.first_row <= rows.start).saturating_sub(1);
        let behind = self.pages.partition_point(|page| page.first_row < rows.end).max(first);
        let end = self.pages.get(behind).map_or(self.end, |page| page.offset);
        let pages = &self.pages[first..behind];
        let (start, first_row) = pages.first().map_or((end, rows.start), |page| (page.offset, page.first_row));
        let dictionary = match pages.iter().any(|page| page.is_coded) {
            true => self.dictionary.clone(),
            false => start..start,
        };
        ColumnPiece { dictionary, pages: start..end, first_row }
    }
}

/// A piece of a column: its dictionary page, its data pages, and the first row in them.
pub(crate) struct ColumnPiece {
    pub(crate) dictionary: Range<u64>,
    pub(crate) pages: Range<u64>,
    pub(crate) first_row: u64,
}

impl ColumnPiece {
    fn bytes(&self) -> u64 {
        (self.pages.end - self.pages.start) + (self.dictionary.end - self.dictionary.start)
    }
}

impl PageMap {
    /// The map of what a plan would fetch; `None` if it cannot be divided. May block.
    ///
    /// # Errors
    /// If reading fails or a page header is damaged.
    pub fn read(plan: &RowGroupPlan, source: &dyn ReadFile) -> Result<Option<Self>, ParquetError> {
        let (file, row_group) = (plan.file(), plan.row_group());
        let metadata = file.metadata().row_group(row_group);
        let mut columns = Vec::with_capacity(plan.chunks().len());
        for chunk in plan.chunks() {
            let Some(data_type) = plan.data_type(chunk.leaf) else { return Ok(None) };
            let walked = walk(source, &chunk.range, |header, left| check_page(header, left, chunk.limits));
            let Some((place, headers)) = walked.map_err(|problem| plan.damaged(chunk, problem))? else {
                return Ok(None);
            };
            if !is_ours(metadata.column(chunk.leaf), chunk.leaf, headers, data_type) {
                return Ok(None);
            }
            columns.push(place);
        }
        Ok(Some(Self { columns, rows: file.row_group_rows(row_group) }))
    }

    /// The rows from `from` on that can be fetched in `bytes_max`: up to the beginning of a page of some column, and at
    /// least to the next one.
    pub(crate) fn rows_within(&self, from: u64, bytes_max: usize) -> Range<u64> {
        let starts = self.columns.iter().flat_map(|column| column.pages.iter().map(|page| page.first_row));
        let mut ends: Vec<u64> = starts.filter(|row| *row > from).chain([self.rows.max(from)]).collect();
        ends.sort_unstable();
        ends.dedup();
        let bytes = |end: u64| self.pieces(&(from..end)).map(|piece| piece.bytes()).sum::<u64>();
        let fitting = ends.partition_point(|end| bytes(*end) <= bytes_max as u64);
        from..ends[fitting.saturating_sub(1)]
    }

    /// What to read of each column for a range of rows.
    pub(crate) fn pieces(&self, rows: &Range<u64>) -> impl Iterator<Item = ColumnPiece> {
        self.columns.iter().map(|column| column.piece(rows))
    }
}

/// Whether our own decoders take a column with these pages.
fn is_ours(
    metadata: &parquet::file::metadata::ColumnChunkMetaData,
    leaf_index: usize,
    headers: Vec<PageHeader>,
    data_type: &DataType,
) -> bool {
    let values = metadata.num_values();
    let chunk = ColumnChunk { leaf: leaf_index, bytes: Bytes::new(), pages: headers.into(), first_row: 0, values };
    leaf(metadata, &chunk, data_type, 0).is_some()
}

/// Goes over the pages of a chunk; `None` if there are too many or a header is too long.
fn walk(
    source: &dyn ReadFile,
    chunk: &Range<u64>,
    check: impl Fn(&PageHeader, usize) -> Result<usize, String>,
) -> Result<Option<(ColumnPages, Vec<PageHeader>)>, String> {
    let mut place = ColumnPages { end: chunk.end, ..ColumnPages::default() };
    let (mut at, mut rows) = (chunk.start, 0u64);
    let mut headers = Vec::new();
    while at < chunk.end {
        let Some(header) = header_at(source, at, chunk.end)? else { return Ok(None) };
        let body = at + header.header_bytes as u64;
        let left = usize::try_from(chunk.end.saturating_sub(body)).unwrap_or(usize::MAX);
        let end = body + check(&header, left)? as u64;
        match header.kind {
            PAGE_DATA | PAGE_DATA_V2 => {
                let is_coded = matches!(header.encoding, encoding::PLAIN_DICTIONARY | encoding::RLE_DICTIONARY);
                place.pages.push(PagePlace { offset: at, first_row: rows, is_coded });
                // It was checked not to be negative.
                rows += header.values as u64;
            }
            PAGE_DICTIONARY if headers.is_empty() => place.dictionary = at..end,
            _ => {}
        }
        if headers.len() == PAGES_MAX - 1 {
            return Ok(None);
        }
        headers.push(header);
        at = end;
    }
    Ok(Some((place, headers)))
}

/// The page header at an offset; `None` if it is too long to be read.
fn header_at(source: &dyn ReadFile, at: u64, end: u64) -> Result<Option<PageHeader>, String> {
    let mut length = HEADER_BYTES;
    loop {
        let upto = at.saturating_add(length).min(end);
        let bytes = source.read_range(at..upto).map_err(|error| error.to_string())?;
        match page_header(&bytes) {
            Ok(header) => return Ok(Some(header)),
            Err(problem) if upto == end => return Err(problem),
            Err(_) if length >= HEADER_BYTES_MAX => return Ok(None),
            Err(_) => length *= 8,
        }
    }
}
