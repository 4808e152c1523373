//! The file of one subtask: a header and frames of `flumen-formats-ipc`, nothing in between.
//!
//! Keyed frames hold rows of one key group; the first frame of every key group stands by itself, so that a reader can
//! begin at any. Entries of list states are frames of one binary column.

use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, BinaryViewArray};
use arrow_buffer::{Buffer, MutableBuffer};
use flumen_core::batch::{Batch, Column};
use flumen_core::failure::Failure;
use flumen_core::ids::CheckpointId;
use flumen_core::key_group::KeyGroup;
use flumen_core::types::{Field, LogicalType, Schema, SchemaRef};
use flumen_formats_ipc::{DecodeOptions, EncodeOptions, FRAME_ALIGNMENT, FrameDecoder, FrameEncoder};
use flumen_io::{FileSystem, ReadFile, WriteFile};

use super::metadata::{KeyedHandle, ListHandle};
use crate::error::{Result, StateError};
use crate::snapshot::{KeyedPart, KeyedRows, ListPart};

/// Version of the file that this build writes, and the newest it reads.
pub(crate) const FILE_VERSION: u32 = 1;
const MAGIC: [u8; 4] = *b"FLST";
pub(crate) const FILE_HEADER_BYTES: usize = 64;
/// Written to storage in pieces of at least this, since files do not buffer.
const WRITE_BYTES: usize = 1 << 20;
/// Entries of a list in one frame hold about this many bytes.
const LIST_FRAME_BYTES: usize = 1 << 20;
/// A frame that claims to be larger is damaged.
const FRAME_BYTES_MAX: u64 = 1 << 31;

/// The 64 bytes before the frames.
pub(crate) fn file_header(checkpoint: CheckpointId) -> [u8; FILE_HEADER_BYTES] {
    let mut bytes = [0; FILE_HEADER_BYTES];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..8].copy_from_slice(&FILE_VERSION.to_le_bytes());
    bytes[8..16].copy_from_slice(&checkpoint.0.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..16]);
    bytes[16..20].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Checks the 64 bytes before the frames.
pub(crate) fn check_file_header(path: &Path, bytes: &[u8], checkpoint: CheckpointId) -> Result<()> {
    let damaged = |problem: String| StateError::Damaged { path: path.to_owned(), problem };
    let Some((head, _)) = bytes.split_first_chunk::<FILE_HEADER_BYTES>() else {
        return Err(damaged(format!("{} bytes are fewer than its header", bytes.len())));
    };
    let found = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    let mut expected = file_header(checkpoint);
    expected[4..8].copy_from_slice(&found.to_le_bytes());
    let checksum = crc32c::crc32c(&expected[..16]);
    expected[16..20].copy_from_slice(&checksum.to_le_bytes());
    if *head != expected {
        return Err(damaged(format!("its header is not that of a state file of {checkpoint}")));
    }
    if found > FILE_VERSION {
        return Err(StateError::Version { path: path.to_owned(), found, supported: FILE_VERSION });
    }
    Ok(())
}

/// Writes a state file.
pub(crate) struct StateFileWriter {
    file: Box<dyn WriteFile>,
    pending: Vec<u8>,
    position: u64,
    checksum: u32,
}

impl StateFileWriter {
    pub(crate) fn create(files: &dyn FileSystem, path: &Path, checkpoint: CheckpointId) -> Result<Self> {
        let mut writer =
            Self { file: files.create(path)?, pending: Vec::with_capacity(WRITE_BYTES), position: 0, checksum: 0 };
        writer.write(&file_header(checkpoint))?;
        Ok(writer)
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.checksum = crc32c::crc32c_append(self.checksum, bytes);
        self.position += bytes.len() as u64;
        if self.pending.len() + bytes.len() > WRITE_BYTES && !self.pending.is_empty() {
            self.file.write_all(&self.pending)?;
            self.pending.clear();
        }
        if bytes.len() >= WRITE_BYTES {
            self.file.write_all(bytes)?;
        } else {
            self.pending.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn frame(&mut self, name: &str, encoder: &mut FrameEncoder, batch: &Batch) -> Result<(u64, u64)> {
        let failed = |e: &dyn std::error::Error| StateError::Codec { what: name.into(), problem: e.to_string() };
        let frame = encoder.encode(batch).map_err(|e| failed(&e))?;
        let offset = self.position;
        self.write(&frame)?;
        Ok((offset, frame.len() as u64))
    }

    /// Writes all rows of a keyed state.
    pub(crate) fn keyed(&mut self, part: KeyedPart) -> Result<KeyedHandle> {
        let KeyedPart { name, mut rows } = part;
        // Hashes are cheap to compute again and eight bytes a row.
        let mut encoder = FrameEncoder::new(EncodeOptions { compress: false, hashes: false });
        let mut handle = KeyedHandle { name: name.clone(), schema: rows.schema(), frames: Vec::new() };
        let mut last = None;
        while let Some((KeyGroup(group), batch)) =
            rows.next().map_err(|source| StateError::Rows { name: name.clone(), source })?
        {
            if last != Some(group) {
                encoder.reset();
                last = Some(group);
            }
            let (offset, bytes) = self.frame(&name, &mut encoder, &batch)?;
            handle.frames.push((group, offset, bytes, batch.num_rows() as u64));
        }
        Ok(handle)
    }

    /// Writes all entries of a list state.
    pub(crate) fn list(&mut self, part: &ListPart) -> Result<ListHandle> {
        let entries = part.entries.len() as u64;
        let mut handle = ListHandle { name: part.name.clone(), kind: part.kind, entries, frames: Vec::new() };
        let schema = entry_schema();
        let mut encoder = FrameEncoder::new(EncodeOptions::default());
        let mut rest = part.entries.as_slice();
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |entry: &&Vec<u8>| {
                bytes += entry.len();
                bytes <= LIST_FRAME_BYTES
            };
            let count = rest.iter().take_while(fits).count().clamp(1, rest.len());
            let array = BinaryViewArray::from_iter_values(&rest[..count]);
            let batch = Batch::new(Arc::clone(&schema), vec![Column::Array(Arc::new(array))], count);
            handle.frames.push(self.frame(&part.name, &mut encoder, &batch)?);
            rest = &rest[count..];
        }
        Ok(handle)
    }

    /// Makes the file durable; answers its length and checksum.
    pub(crate) fn finish(mut self) -> Result<(u64, u32)> {
        if !self.pending.is_empty() {
            self.file.write_all(&self.pending)?;
        }
        self.file.finish()?;
        Ok((self.position, self.checksum))
    }
}

fn entry_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("entry", LogicalType::Binary, false)]))
}

/// Reads the frames of a state file that its handle lists. The handle was checked against the file's length.
pub(crate) struct FrameReader {
    file: Arc<dyn ReadFile>,
    decoder: FrameDecoder,
}

impl FrameReader {
    fn new(file: Arc<dyn ReadFile>, schema: SchemaRef) -> Self {
        let options = DecodeOptions { bytes_max: FRAME_BYTES_MAX };
        Self { file, decoder: FrameDecoder::expecting(schema, options) }
    }

    fn damaged(&self, problem: String) -> StateError {
        StateError::Damaged { path: self.file.path().to_owned(), problem }
    }

    fn read(&mut self, offset: u64, bytes: u64) -> Result<Batch> {
        // The file's own length bounds what is allocated.
        if bytes > FRAME_BYTES_MAX || offset.checked_add(bytes).is_none_or(|end| end > self.file.size()) {
            let size = self.file.size();
            return Err(self.damaged(format!("a frame of {bytes} bytes at {offset} is not within its {size}")));
        }
        let mut buffer = MutableBuffer::from_len_zeroed((bytes as usize).next_multiple_of(FRAME_ALIGNMENT));
        self.file.read_exact_at(offset, &mut buffer.as_slice_mut()[..bytes as usize])?;
        let frame = Buffer::from(buffer).slice_with_length(0, bytes as usize);
        self.decoder.decode(&frame).map_err(|e| self.damaged(format!("frame at {offset}: {e}")))
    }
}

/// Rows of some key groups of one keyed state of one file.
pub(crate) struct FileRows {
    reader: FrameReader,
    schema: SchemaRef,
    frames: std::vec::IntoIter<(u16, u64, u64, u64)>,
    last: Option<u16>,
}

impl FileRows {
    pub(crate) fn new(file: Arc<dyn ReadFile>, schema: SchemaRef, frames: Vec<(u16, u64, u64, u64)>) -> Self {
        let reader = FrameReader::new(file, Arc::clone(&schema));
        Self { reader, schema, frames: frames.into_iter(), last: None }
    }
}

impl KeyedRows for FileRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn next(&mut self) -> Result<Option<(KeyGroup, Batch)>, Failure> {
        let Some((group, offset, bytes, rows)) = self.frames.next() else { return Ok(None) };
        if self.last != Some(group) {
            self.reader.decoder.reset();
            self.last = Some(group);
        }
        let batch = self.reader.read(offset, bytes)?;
        if batch.num_rows() as u64 != rows {
            let problem = format!("frame at {offset} has {} rows, its metadata says {rows}", batch.num_rows());
            return Err(self.reader.damaged(problem).into());
        }
        Ok(Some((KeyGroup(group), batch)))
    }
}

/// All entries of a list state of one file.
pub(crate) fn read_list(file: Arc<dyn ReadFile>, handle: &ListHandle) -> Result<Vec<Vec<u8>>> {
    let mut reader = FrameReader::new(file, entry_schema());
    let mut entries = Vec::new();
    for &(offset, bytes) in &handle.frames {
        let batch = reader.read(offset, bytes)?;
        let Some(array) = batch.column(0).array().as_binary_view_opt() else {
            return Err(reader.damaged(format!("frame at {offset} does not hold list entries")));
        };
        entries.extend((0..array.len()).map(|i| array.value(i).to_vec()));
    }
    if entries.len() as u64 != handle.entries {
        let problem =
            format!("state {} has {} entries, its metadata says {}", handle.name, entries.len(), handle.entries);
        return Err(reader.damaged(problem));
    }
    Ok(entries)
}
