//! Lengths in footers and page headers, checked before the library underneath allocates by them.
//!
//! A walk over the bytes in Thrift's compact protocol: every list must have its elements, nesting is limited, sizes
//! must be possible for the bytes that are there. It builds nothing; the library parses the same bytes afterwards. A
//! footer is walked once per file, a page header once per page (about 100 ns each).
//!
//! Source: apache/thrift doc/specs/thrift-compact-protocol.md; apache/parquet-format src/main/thrift/parquet.thrift.

/// How deep structs and lists may nest.
const DEPTH_MAX: usize = 64;
/// How deep groups of a schema may nest; the library recurses over them.
const SCHEMA_DEPTH_MAX: usize = 64;
/// Row groups have 16-bit ordinals.
const ROW_GROUPS_MAX: usize = i16::MAX as usize;
/// A page larger than this is not believed, whatever its compression could do.
const PAGE_BYTES_MAX: u64 = 512 << 20;

const TYPE_STOP: u8 = 0;
const TYPE_TRUE: u8 = 1;
const TYPE_FALSE: u8 = 2;
const TYPE_BYTE: u8 = 3;
const TYPE_I32: u8 = 5;
const TYPE_I64: u8 = 6;
const TYPE_DOUBLE: u8 = 7;
const TYPE_BINARY: u8 = 8;
const TYPE_LIST: u8 = 9;
const TYPE_SET: u8 = 10;
const TYPE_MAP: u8 = 11;
const TYPE_STRUCT: u8 = 12;
const TYPE_UUID: u8 = 13;

type Checked<T> = Result<T, String>;

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn byte(&mut self) -> Checked<u8> {
        let byte = *self.bytes.get(self.at).ok_or("it ends in the middle of a value")?;
        self.at += 1;
        Ok(byte)
    }

    fn skip_bytes(&mut self, count: usize) -> Checked<()> {
        if count > self.remaining() {
            return Err(format!("a length of {count} bytes, with {} left", self.remaining()));
        }
        self.at += count;
        Ok(())
    }

    fn varint(&mut self) -> Checked<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("an integer longer than ten bytes".to_owned())
    }

    fn zigzag(&mut self) -> Checked<i64> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn length(&mut self) -> Checked<usize> {
        let length = self.varint()?;
        usize::try_from(length).map_err(|_| format!("a length of {length}"))
    }

    /// Type and count of a list, whose elements take at least a byte each.
    fn list(&mut self) -> Checked<(u8, usize)> {
        let head = self.byte()?;
        let size = match head >> 4 {
            15 => self.length()?,
            size => usize::from(size),
        };
        if size > self.remaining() {
            return Err(format!("a list of {size} elements, with {} bytes left", self.remaining()));
        }
        Ok((head & 0x0f, size))
    }

    /// Calls `field` with the id and type of each field; it must consume the value.
    fn fields(&mut self, mut field: impl FnMut(&mut Self, i64, u8) -> Checked<()>) -> Checked<()> {
        let mut id = 0i64;
        loop {
            let head = self.byte()?;
            let kind = head & 0x0f;
            if kind == TYPE_STOP {
                return Ok(());
            }
            id = match head >> 4 {
                0 => self.zigzag()?,
                delta => id.saturating_add(i64::from(delta)),
            };
            field(self, id, kind)?;
        }
    }

    /// Passes over the value of a field.
    fn skip(&mut self, kind: u8, depth: usize) -> Checked<()> {
        if depth > DEPTH_MAX {
            return Err(format!("values nest deeper than {DEPTH_MAX}"));
        }
        match kind {
            TYPE_TRUE | TYPE_FALSE => Ok(()),
            TYPE_BYTE => self.skip_bytes(1),
            4..=TYPE_I64 => self.varint().map(drop),
            TYPE_DOUBLE => self.skip_bytes(8),
            TYPE_BINARY => {
                let length = self.length()?;
                self.skip_bytes(length)
            }
            TYPE_LIST | TYPE_SET => {
                let (kind, size) = self.list()?;
                (0..size).try_for_each(|_| self.skip_element(kind, depth + 1))
            }
            TYPE_MAP => {
                let size = self.length()?;
                if size == 0 {
                    return Ok(());
                }
                let kinds = self.byte()?;
                (0..size).try_for_each(|_| {
                    self.skip_element(kinds >> 4, depth + 1)?;
                    self.skip_element(kinds & 0x0f, depth + 1)
                })
            }
            TYPE_STRUCT => self.fields(|cursor, _, kind| cursor.skip(kind, depth + 1)),
            TYPE_UUID => self.skip_bytes(16),
            other => Err(format!("a value of unknown type {other}")),
        }
    }

    /// As `skip`, for elements of lists and maps, whose booleans take a byte.
    fn skip_element(&mut self, kind: u8, depth: usize) -> Checked<()> {
        match kind {
            TYPE_TRUE | TYPE_FALSE => self.skip_bytes(1),
            kind => self.skip(kind, depth),
        }
    }
}

/// Checks a footer (the serialized `FileMetaData`) before it is parsed.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub fn check_footer(bytes: &[u8]) -> Result<(), String> {
    let mut cursor = Cursor { bytes, at: 0 };
    cursor.fields(|cursor, id, kind| match (id, kind) {
        (2, TYPE_LIST) => check_schema(cursor),
        (4, TYPE_LIST) => {
            let (kind, size) = cursor.list()?;
            if size > ROW_GROUPS_MAX {
                return Err(format!("{size} row groups, more than the format's {ROW_GROUPS_MAX}"));
            }
            (0..size).try_for_each(|_| cursor.skip_element(kind, 1))
        }
        _ => cursor.skip(kind, 1),
    })
}

/// The schema is a tree in depth-first order, each group with its number of children.
fn check_schema(cursor: &mut Cursor<'_>) -> Checked<()> {
    let (kind, size) = cursor.list()?;
    if kind != TYPE_STRUCT {
        return Err("its schema is not a list of elements".to_owned());
    }
    // Children that each open group still lacks.
    let mut open: Vec<usize> = Vec::new();
    for index in 0..size {
        while open.last() == Some(&0) {
            open.pop();
        }
        match open.last_mut() {
            Some(missing) => *missing -= 1,
            None if index == 0 => {}
            None => return Err("its schema has elements beside the root".to_owned()),
        }
        let mut children = 0;
        cursor.fields(|cursor, id, kind| match (id, kind) {
            (5, TYPE_I32) => {
                let count = cursor.zigzag()?;
                children = usize::try_from(count)
                    .ok()
                    .filter(|c| *c < size)
                    .ok_or_else(|| format!("a group with {count} children, in a schema of {size} elements"))?;
                Ok(())
            }
            _ => cursor.skip(kind, 1),
        })?;
        if children > 0 || index == 0 {
            open.push(children);
        }
        if open.len() > SCHEMA_DEPTH_MAX {
            return Err(format!("its schema nests deeper than {SCHEMA_DEPTH_MAX}"));
        }
    }
    match open.iter().all(|missing| *missing == 0) {
        true => Ok(()),
        false => Err("its schema lacks elements".to_owned()),
    }
}

/// What a page header says. Sizes and counts are as they stand there; [`check_pages`] compares them with what is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageHeader {
    /// 0 data, 1 index, 2 dictionary, 3 data of version 2.
    pub kind: i64,
    /// Bytes of the page once decompressed.
    pub uncompressed_bytes: i64,
    /// Bytes of the page as stored.
    pub compressed_bytes: i64,
    /// CRC-32 of the bytes as stored.
    pub crc: Option<u32>,
    /// Values in the page, NULLs among them.
    pub values: i64,
    /// How the values are encoded, by the format's number.
    pub encoding: i64,
    /// How definition levels are encoded in a page of version 1.
    pub level_encoding: i64,
    /// Bytes of definition levels in a page of version 2.
    pub definition_bytes: i64,
    /// Bytes of repetition levels in a page of version 2.
    pub repetition_bytes: i64,
    /// Whether the values of a page of version 2 are stored as they are in a compressed chunk.
    pub is_plain: bool,
    /// Bytes of the header itself.
    pub header_bytes: usize,
    /// Where the page's bytes begin in its chunk, behind the header.
    pub offset: usize,
}

/// Kind of a data page of version 1.
pub const PAGE_DATA: i64 = 0;
/// Kind of a dictionary page.
pub const PAGE_DICTIONARY: i64 = 2;
/// Kind of a data page of version 2.
pub const PAGE_DATA_V2: i64 = 3;

impl PageHeader {
    /// Whether it is of a page of values, not a dictionary or an index.
    #[must_use]
    pub fn is_data(&self) -> bool {
        matches!(self.kind, PAGE_DATA | PAGE_DATA_V2)
    }
}

/// Reads a page header from the front of `bytes`.
///
/// # Errors
/// What is wrong with it.
pub fn page_header(bytes: &[u8]) -> Result<PageHeader, String> {
    let mut cursor = Cursor { bytes, at: 0 };
    let mut header = PageHeader { kind: -1, uncompressed_bytes: -1, compressed_bytes: -1, ..PageHeader::default() };
    cursor.fields(|cursor, id, kind| {
        match (id, kind) {
            (1, TYPE_I32) => header.kind = cursor.zigzag()?,
            (2, TYPE_I32) => header.uncompressed_bytes = cursor.zigzag()?,
            (3, TYPE_I32) => header.compressed_bytes = cursor.zigzag()?,
            // A signed integer in the schema, a checksum in truth.
            (4, TYPE_I32) => header.crc = Some(cursor.zigzag()? as u32),
            (page @ (5 | 7 | 8), TYPE_STRUCT) => cursor.fields(|cursor, id, kind| {
                match (page, id, kind) {
                    (_, 1, TYPE_I32) => header.values = cursor.zigzag()?,
                    (5 | 7, 2, TYPE_I32) | (8, 4, TYPE_I32) => header.encoding = cursor.zigzag()?,
                    (5, 3, TYPE_I32) => header.level_encoding = cursor.zigzag()?,
                    (8, 5, TYPE_I32) => header.definition_bytes = cursor.zigzag()?,
                    (8, 6, TYPE_I32) => header.repetition_bytes = cursor.zigzag()?,
                    (8, 7, TYPE_FALSE) => header.is_plain = true,
                    _ => cursor.skip(kind, 2)?,
                }
                Ok(())
            })?,
            _ => cursor.skip(kind, 1)?,
        }
        Ok(())
    })?;
    header.header_bytes = cursor.at;
    Ok(header)
}

/// What the pages of a column chunk may hold.
#[derive(Clone, Copy, Debug)]
pub struct ChunkLimits {
    /// Most bytes that one stored byte can become.
    pub expansion: u64,
    /// Values of the chunk.
    pub values: i64,
}

/// Checks the header of a page of a chunk in which `left` bytes come behind it; how many of them are the page's.
///
/// # Errors
/// What is wrong with it.
pub fn check_page(header: &PageHeader, left: usize, limits: ChunkLimits) -> Result<usize, String> {
    let stored = usize::try_from(header.compressed_bytes).ok().filter(|stored| *stored <= left);
    let Some(stored) = stored else {
        return Err(format!("a page of {} bytes, with {left} left", header.compressed_bytes));
    };
    let size_max = (stored as u64).saturating_mul(limits.expansion).saturating_add(64).min(PAGE_BYTES_MAX);
    if u64::try_from(header.uncompressed_bytes).map_or(true, |size| size > size_max) {
        return Err(format!("a page of {stored} bytes that claims to hold {}", header.uncompressed_bytes));
    }
    // A value of a dictionary takes at least a byte.
    let values_max = if header.kind == PAGE_DICTIONARY { header.uncompressed_bytes } else { limits.values };
    if header.values < 0 || header.values > values_max {
        return Err(format!("a page that claims to hold {} values", header.values));
    }
    Ok(stored)
}

/// Checks all page headers of a column chunk and gives the first `pages_max`.
///
/// # Errors
/// What is wrong with the first wrong one.
pub fn check_pages(chunk: &[u8], limits: ChunkLimits, pages_max: usize) -> Result<Vec<PageHeader>, String> {
    let mut at = 0;
    let mut headers = Vec::new();
    while at < chunk.len() {
        let mut header = page_header(&chunk[at..])?;
        at += header.header_bytes;
        header.offset = at;
        let stored = check_page(&header, chunk.len() - at, limits)?;
        at += stored;
        if headers.len() < pages_max {
            headers.push(header);
        }
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_must_have_their_elements() {
        // Field 4 (row groups), a list of 2^31 - 1 structs.
        let claim = [0x49, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07, 0x00];
        assert!(check_footer(&claim).unwrap_err().contains("a list of 2147483647 elements"));
        // The same field with two empty structs.
        assert_eq!(check_footer(&[0x49, 0x2c, 0x00, 0x00, 0x00]), Ok(()));
        assert!(check_footer(&[0x49, 0x2c, 0x00, 0x00]).is_err());
    }

    #[test]
    fn nesting_is_limited() {
        // A struct in a struct in a struct, each as field 1.
        let deep = [vec![0x1c; 100], vec![0x00; 101]].concat();
        assert!(check_footer(&deep).unwrap_err().contains("nest deeper"));
        let shallow = [vec![0x1c; 10], vec![0x00; 11]].concat();
        assert_eq!(check_footer(&shallow), Ok(()));
    }

    /// A schema as a list of elements with these numbers of children.
    fn schema(children: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x29, 0xfc, u8::try_from(children.len()).unwrap()];
        for count in children {
            bytes.extend([0x55, count * 2, 0x00]);
        }
        bytes.push(0x00);
        bytes
    }

    #[test]
    fn schemas_are_trees_of_limited_depth() {
        for (children, right) in [
            (&[2, 0, 0][..], true),
            (&[1, 2, 0, 0], true),
            (&[2, 1, 0, 0], true),
            (&[0], true),
            (&[1, 0, 0], false),
            (&[2, 0], false),
            (&[5, 0], false),
        ] {
            assert_eq!(check_footer(&schema(children)).is_ok(), right, "{children:?}");
        }
        let deep = [vec![1; 70], vec![0]].concat();
        assert!(check_footer(&schema(&deep)).unwrap_err().contains("schema nests deeper"));
    }

    #[test]
    fn page_sizes_must_be_possible() {
        // type = data, uncompressed, compressed, data header { values }.
        let page = |uncompressed: u8, compressed: u8, values: u8, body: usize| {
            let mut bytes = vec![0x15, 0, 0x15, uncompressed * 2, 0x15, compressed * 2, 0x2c, 0x15, values * 2, 0, 0];
            bytes.extend(vec![0; body]);
            bytes
        };
        let limits = ChunkLimits { expansion: 1, values: 9 };
        let check_pages = |chunk: &[u8], limits| super::check_pages(chunk, limits, 9).map(|pages| pages.len());
        assert_eq!(check_pages(&page(5, 5, 3, 5), limits), Ok(1));
        assert_eq!(check_pages(&[page(5, 5, 3, 5), page(1, 1, 1, 1)].concat(), limits), Ok(2));
        assert!(check_pages(&page(5, 6, 3, 5), limits).is_err(), "longer than the chunk");
        assert!(check_pages(&page(5, 5, 10, 5), limits).is_err(), "more values than the chunk has");
        assert!(check_pages(&page(63, 0, 0, 0), limits).is_ok());
        assert!(check_pages(&[page(5, 5, 3, 5), vec![0x15]].concat(), limits).is_err(), "half a header");
    }
}
