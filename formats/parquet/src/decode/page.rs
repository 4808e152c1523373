//! Pages of a column chunk, one after the other: checksum, decompression, and where levels and values lie.
//!
//! A page that nobody needs a value of is passed over by its header: it is neither verified nor decompressed. A stored
//! page is a piece of the fetched bytes, not a copy; a compressed one goes into a buffer that is used again, unless
//! strings still point into it.
//!
//! Source: apache/parquet-format README.md, "Data Pages"; src/main/thrift/parquet.thrift, `PageHeader`.

use std::ops::Range;
use std::sync::Arc;

use arrow_buffer::Buffer;
use bytes::Bytes;

use super::Checked;
use super::compression::Codec;
use super::spare;
use crate::thrift::{PAGE_DATA, PAGE_DATA_V2, PAGE_DICTIONARY, PageHeader};

/// Encodings by the format's numbers.
pub(crate) mod encoding {
    pub(crate) const PLAIN: i64 = 0;
    pub(crate) const PLAIN_DICTIONARY: i64 = 2;
    pub(crate) const RLE: i64 = 3;
    pub(crate) const RLE_DICTIONARY: i64 = 8;
}

/// The bytes of a page, decompressed.
#[derive(Debug)]
pub(crate) enum Body {
    /// A piece of what was fetched.
    Fetched(Bytes),
    /// A buffer of the page's own, which may be longer than the page.
    Own(Vec<u8>),
    /// Bytes that arrays point into.
    Shared(Buffer),
}

impl Default for Body {
    fn default() -> Self {
        Self::Own(Vec::new())
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Self::Own(bytes) = self {
            spare::give_back(std::mem::take(bytes));
        }
    }
}

impl Body {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Fetched(bytes) => bytes,
            Self::Own(bytes) => bytes,
            Self::Shared(buffer) => buffer,
        }
    }

    /// The bytes as a buffer that arrays may point into.
    pub(crate) fn share(&mut self) -> Buffer {
        let buffer = match self {
            Self::Fetched(bytes) => Buffer::from(bytes.clone()),
            Self::Own(bytes) => Buffer::from_vec(std::mem::take(bytes)),
            Self::Shared(buffer) => buffer.clone(),
        };
        *self = Self::Shared(buffer.clone());
        buffer
    }
}

/// A page.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) body: Body,
    /// Where the definition levels lie.
    pub(crate) levels: Range<usize>,
    /// Where the values lie.
    pub(crate) values: Range<usize>,
    pub(crate) encoding: i64,
    /// Values, NULLs among them.
    pub(crate) count: usize,
}

/// The pages of a column chunk.
pub(crate) struct Pages {
    chunk: Bytes,
    headers: Arc<[PageHeader]>,
    next: usize,
    codec: Codec,
    /// Values may be NULL.
    is_optional: bool,
}

impl Pages {
    pub(crate) fn new(chunk: Bytes, headers: Arc<[PageHeader]>, codec: Codec, is_optional: bool) -> Self {
        Self { chunk, headers, next: 0, codec, is_optional }
    }

    /// The dictionary page, which is the first if there is one.
    pub(crate) fn dictionary(&mut self) -> Checked<Option<Page>> {
        match self.headers.first() {
            Some(header) if header.kind == PAGE_DICTIONARY => {
                let header = *header;
                let mut page = self.load(&header)?;
                page.values = 0..page.values.end;
                Ok(Some(page))
            }
            _ => Ok(None),
        }
    }

    /// Values of the next data page, which stays the next.
    pub(crate) fn next_count(&mut self) -> Checked<usize> {
        loop {
            let header = self.headers.get(self.next).ok_or("its pages end before its rows do")?;
            if matches!(header.kind, PAGE_DATA | PAGE_DATA_V2) {
                return Ok(header.values as usize);
            }
            self.next += 1;
        }
    }

    /// Passes over the next page.
    pub(crate) fn skip(&mut self) {
        self.next += 1;
    }

    /// The next data page.
    pub(crate) fn load_next(&mut self) -> Checked<Page> {
        self.next_count()?;
        let header = self.headers[self.next];
        self.next += 1;
        self.load(&header)
    }

    fn load(&mut self, header: &PageHeader) -> Checked<Page> {
        // Offsets and sizes were checked against the chunk when it was fetched.
        let stored = header.offset..header.offset + header.compressed_bytes as usize;
        let stored = self.chunk.slice(stored);
        if let Some(expected) = header.crc {
            let found = crc32fast::hash(&stored);
            if found != expected {
                return Err(format!(
                    "the page at byte {} of its chunk has checksum {found:08x}, not {expected:08x} as its header says; \
                     the file is damaged, restore it from a copy",
                    header.offset
                ));
            }
        }
        let size = header.uncompressed_bytes as usize;
        // Levels of version 2 stand before the values and are never compressed.
        let levels = match header.kind {
            PAGE_DATA_V2 => usize::try_from(header.repetition_bytes)
                .ok()
                .zip(usize::try_from(header.definition_bytes).ok())
                .filter(|(r, d)| r.checked_add(*d).is_some_and(|sum| sum <= stored.len().min(size)))
                .map(|(r, d)| r..r + d)
                .ok_or("levels that are longer than their page")?,
            _ => 0..0,
        };
        let body = if self.codec.is_stored() || header.is_plain {
            if stored.len() != size {
                return Err(format!("a page of {} bytes whose header says {size}", stored.len()));
            }
            Body::Fetched(stored)
        } else {
            // Bytes behind the page's end are left from longer pages before it; nothing reads them.
            let mut buffer = spare::take(size);
            buffer[..levels.end].copy_from_slice(&stored[..levels.end]);
            // A page of NULLs has no values, and some writers then store nothing at all.
            if size > levels.end || stored.len() > levels.end {
                self.codec.decompress(&stored[levels.end..], &mut buffer[levels.end..size])?;
            }
            Body::Own(buffer)
        };
        let mut page =
            Page { body, values: levels.end..size, levels, encoding: header.encoding, count: header.values as usize };
        if header.kind == PAGE_DATA && self.is_optional {
            let length = page.body.bytes()[..size].first_chunk::<4>().ok_or("a page without levels")?;
            let end = (u32::from_le_bytes(*length) as usize)
                .checked_add(4)
                .filter(|end| *end <= size)
                .ok_or("levels that are longer than their page")?;
            page.levels = 4..end;
            page.values = end..size;
        }
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::basic::Compression;

    fn pages(header: PageHeader, chunk: &[u8], is_optional: bool) -> Pages {
        let codec = Codec::new(Compression::UNCOMPRESSED).unwrap();
        Pages::new(Bytes::copy_from_slice(chunk), vec![header].into(), codec, is_optional)
    }

    fn header(bytes: usize) -> PageHeader {
        PageHeader { uncompressed_bytes: bytes as i64, compressed_bytes: bytes as i64, values: 1, ..Default::default() }
    }

    #[test]
    fn checksums_are_verified() {
        let chunk = b"some values";
        let crc = Some(crc32fast::hash(chunk));
        let page = pages(PageHeader { crc, ..header(11) }, chunk, false).load_next().unwrap();
        assert_eq!((page.body.bytes(), page.values), (&chunk[..], 0..11));
        let problem = pages(PageHeader { crc, ..header(11) }, b"same values", false).load_next();
        let problem = problem.unwrap_err();
        assert!(problem.contains("checksum") && problem.contains("restore"), "{problem}");
    }

    #[test]
    fn levels_lie_within_their_page() {
        let load = |header, chunk: &[u8]| pages(header, chunk, true).load_next();
        let page = load(header(8), &[2, 0, 0, 0, 1, 2, 3, 4]).unwrap();
        assert_eq!((page.levels, page.values), (4..6, 6..8));
        assert!(load(header(8), &[5, 0, 0, 0, 1, 2, 3, 4]).is_err());
        assert!(load(header(3), &[0, 0, 0]).is_err());
        let second = |repetition_bytes, definition_bytes| {
            let header = PageHeader { kind: PAGE_DATA_V2, repetition_bytes, definition_bytes, ..header(8) };
            load(header, &[0; 8])
        };
        assert_eq!(second(1, 2).unwrap().levels, 1..3);
        for (repetition, definition) in [(9, 0), (4, 5), (-1, 2), (i64::MAX, i64::MAX)] {
            assert!(second(repetition, definition).is_err(), "{repetition} {definition}");
        }
    }
}
