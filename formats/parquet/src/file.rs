//! Parquet files by their footers.
//!
//! A footer is read once: eight bytes at the end give its length, which is limited and must lie within the file; a
//! walk over it checks every length in it before the library parses it; then all offsets and counts are compared with
//! the file and with each other. After that, whatever the metadata says about places in the file can be relied on not
//! to lead outside it.
//!
//! [`FooterCache`] keeps footers by path and forgets one when the file's size or time has changed. It may be shared by
//! all threads; opening reads and so may block.
//!
//! Source: apache/parquet-format README.md, section "File format".

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use flumen_core::types::SchemaRef;
use flumen_io::ReadFile;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use crate::error::{ParquetError, footer, guarded};
use crate::{schema, thrift};

/// Largest footer that is read.
pub const FOOTER_BYTES_MAX: u64 = 64 << 20;
/// Bytes read at the end of a file in the hope that the footer is among them.
const TAIL_BYTES: u64 = 64 << 10;
/// `PAR1` and the footer's length.
const TRAILER_BYTES: u64 = 8;
/// Footers kept by a cache.
const FOOTERS_MAX: usize = 1024;

/// A Parquet file whose footer has been read and checked.
pub struct ParquetFile {
    path: PathBuf,
    size: u64,
    modified_millis: i64,
    schema: SchemaRef,
    metadata: ArrowReaderMetadata,
    footer_bytes: usize,
}

impl ParquetFile {
    /// Reads and checks the footer. May block.
    ///
    /// # Errors
    /// If it cannot be read, is not Parquet, is damaged, or has a column of a type that the engine does not take.
    pub fn open(source: &dyn ReadFile) -> Result<Self, ParquetError> {
        let path = source.path();
        let size = source.size();
        let not_parquet = |problem: String| ParquetError::NotParquet { path: path.to_path_buf(), problem };
        if size < TRAILER_BYTES + 4 {
            return Err(not_parquet(format!("it has {size} bytes, fewer than any Parquet file")));
        }
        let tail_start = size - size.min(TAIL_BYTES);
        let tail = source.read_range(tail_start..size)?;
        let trailer: [u8; 8] = tail[tail.len() - 8..].try_into().expect("eight bytes were cut out");
        match &trailer[4..] {
            b"PAR1" => {}
            b"PARE" => return Err(not_parquet("its footer is encrypted, which is not supported yet".to_owned())),
            other => {
                return Err(not_parquet(format!("it ends in {:?}, not \"PAR1\"", other.escape_ascii().to_string())));
            }
        }
        let length = u64::from(u32::from_le_bytes([trailer[0], trailer[1], trailer[2], trailer[3]]));
        if length > FOOTER_BYTES_MAX {
            return Err(footer(path, format!("it claims {length} bytes, more than the limit of {FOOTER_BYTES_MAX}")));
        }
        let end = size - TRAILER_BYTES;
        let Some(start) = end.checked_sub(length) else {
            return Err(footer(path, format!("it claims {length} bytes, in a file of {size}")));
        };
        let bytes = match start.checked_sub(tail_start) {
            Some(offset) => tail.slice(offset as usize..(end - tail_start) as usize),
            None => source.read_range(start..end)?,
        };
        thrift::check_footer(&bytes).map_err(|problem| footer(path, problem))?;
        let metadata = guarded(|| ParquetMetaDataReader::decode_metadata(&bytes)).map_err(|p| footer(path, p))?;
        check_places(path, size, &metadata)?;
        let (metadata, schema) = schema::carriers(path, Arc::new(metadata))?;
        Ok(Self {
            path: path.to_path_buf(),
            size,
            modified_millis: source.modified_millis(),
            schema,
            metadata,
            footer_bytes: bytes.len(),
        })
    }

    /// The path it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Rows in all.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.metadata().row_groups().iter().map(|g| g.num_rows() as u64).sum()
    }

    /// Row groups.
    #[must_use]
    pub fn row_groups(&self) -> usize {
        self.metadata().num_row_groups()
    }

    /// Rows of a row group.
    ///
    /// # Panics
    /// If there is no such row group.
    #[must_use]
    pub fn row_group_rows(&self, row_group: usize) -> u64 {
        // Counts were checked not to be negative when the file was opened.
        self.metadata().row_group(row_group).num_rows() as u64
    }

    /// Bytes of a row group as stored.
    ///
    /// # Panics
    /// If there is no such row group.
    #[must_use]
    pub fn row_group_bytes(&self, row_group: usize) -> u64 {
        self.metadata().row_group(row_group).columns().iter().map(|c| c.compressed_size().max(0) as u64).sum()
    }

    /// Columns of the file.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Bytes of the footer, for accounting.
    #[must_use]
    pub fn footer_bytes(&self) -> usize {
        self.footer_bytes
    }

    pub(crate) fn metadata(&self) -> &Arc<ParquetMetaData> {
        self.metadata.metadata()
    }

    pub(crate) fn arrow_metadata(&self) -> &ArrowReaderMetadata {
        &self.metadata
    }
}

impl std::fmt::Debug for ParquetFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetFile").field("path", &self.path).field("size", &self.size).finish_non_exhaustive()
    }
}

/// Compares every place and count of the footer with the file and with each other.
fn check_places(path: &Path, size: u64, metadata: &ParquetMetaData) -> Result<(), ParquetError> {
    let mut rows_total = 0i64;
    for (index, group) in metadata.row_groups().iter().enumerate() {
        let rows = group.num_rows();
        rows_total = match rows_total.checked_add(rows) {
            Some(total) if rows >= 0 => total,
            _ => return Err(footer(path, format!("row group {index} claims {rows} rows"))),
        };
        for column in group.columns() {
            let name = || column.column_path().string();
            if column.file_path().is_some() {
                let problem = format!("row group {index} keeps column {:?} in another file, not supported", name());
                return Err(footer(path, problem));
            }
            let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
            let place = (u64::try_from(start), u64::try_from(column.compressed_size()));
            let within =
                matches!(place, (Ok(start), Ok(length)) if start.checked_add(length).is_some_and(|e| e <= size));
            if !within {
                let length = column.compressed_size();
                let problem = format!(
                    "row group {index}, column {:?} claims {length} bytes at {start}, in a file of {size}",
                    name()
                );
                return Err(footer(path, problem));
            }
            let values = column.num_values();
            let is_flat = column.column_descr().max_rep_level() == 0;
            if values < 0 || (is_flat && values != rows) {
                let problem = format!("row group {index}, column {:?} claims {values} values for {rows} rows", name());
                return Err(footer(path, problem));
            }
        }
    }
    let claimed = metadata.file_metadata().num_rows();
    if claimed != rows_total {
        return Err(footer(path, format!("it claims {claimed} rows, its row groups {rows_total}")));
    }
    Ok(())
}

/// Footers by path, as long as the files do not change. Bounded; the one used longest ago goes first.
#[derive(Debug, Default)]
pub struct FooterCache {
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    files: HashMap<PathBuf, (u64, Arc<ParquetFile>)>,
    /// Counts uses, to know the one longest ago.
    uses: u64,
}

impl FooterCache {
    /// The footer of an open file, from the cache if it is the same file. May block.
    ///
    /// # Errors
    /// As [`ParquetFile::open`].
    pub fn open(&self, source: &dyn ReadFile) -> Result<Arc<ParquetFile>, ParquetError> {
        if let Some(file) = self.find(source) {
            return Ok(file);
        }
        // Not under the lock: two threads may read the same footer, which only costs time.
        let file = Arc::new(ParquetFile::open(source)?);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.files.len() >= FOOTERS_MAX {
            let oldest = entries.files.iter().min_by_key(|(_, (used, _))| *used).map(|(path, _)| path.clone());
            oldest.map(|path| entries.files.remove(&path));
        }
        entries.uses += 1;
        let used = entries.uses;
        entries.files.insert(file.path.clone(), (used, Arc::clone(&file)));
        Ok(file)
    }

    fn find(&self, source: &dyn ReadFile) -> Option<Arc<ParquetFile>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.uses += 1;
        let now = entries.uses;
        let (used, file) = entries.files.get_mut(source.path())?;
        if file.size != source.size() || file.modified_millis != source.modified_millis() {
            return None;
        }
        *used = now;
        Some(Arc::clone(file))
    }
}
