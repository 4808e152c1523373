//! Rows in a spill file: written in sequence, read in sequence, any number of times.
//!
//! The frames of one file are one channel of `flumen-formats-ipc`: the schema is in the first, dictionaries where they
//! are new, so a reader begins at the first frame. Where frames are is kept in memory, 24 bytes for each.

use flumen_core::batch::Batch;
use flumen_core::failure::Failure;
use flumen_core::types::SchemaRef;
use flumen_formats_ipc::{DecodeOptions, EncodeOptions, FrameDecoder, FrameEncoder};
use flumen_kernels::gather::compact;
use flumen_memory::spill::FRAME_BYTES_MAX;
use flumen_memory::{SpillFile, SpillWriter as FileWriter};

use super::FRAME_BYTES;
use super::space::{SpillSpace, failure};

/// The space, whose file is given up when nothing of it is in use any more.
struct InUse(SpillSpace);

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.release_unused();
    }
}

/// A frame of rows, over as many frames of the file as its bytes need.
#[derive(Clone, Copy)]
struct Frame {
    first: usize,
    count: usize,
}

/// Writes rows.
pub(crate) struct SpillWriter {
    // Before what releases the file that it is in.
    writer: FileWriter,
    space: InUse,
    schema: SchemaRef,
    encoder: FrameEncoder,
    frames: Vec<Frame>,
    rows: usize,
    raw_bytes: usize,
    frame_bytes_max: usize,
}

impl SpillWriter {
    /// For rows of this schema. Nothing is allocated before the first row.
    pub(crate) fn new(space: &SpillSpace, schema: &SchemaRef) -> Self {
        Self {
            writer: FileWriter::new(space.pool(), space.owner()),
            space: InUse(space.clone()),
            schema: SchemaRef::clone(schema),
            encoder: FrameEncoder::new(EncodeOptions { compress: false, hashes: false }),
            frames: Vec::new(),
            rows: 0,
            raw_bytes: 0,
            frame_bytes_max: 0,
        }
    }

    /// Rows so far.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Appends the selected rows of a batch, in frames of about [`FRAME_BYTES`].
    ///
    /// # Errors
    /// If they cannot be written; the file is then of no use.
    pub(crate) fn push(&mut self, batch: &Batch) -> Result<(), Failure> {
        let batch = compact(batch)?;
        let (rows, bytes) = (batch.num_rows(), batch.memory_size().max(1));
        // In 128 bits: rows times bytes of a frame.
        let piece = (rows as u128 * FRAME_BYTES as u128 / bytes as u128).clamp(1, rows.max(1) as u128) as usize;
        for offset in (0..rows).step_by(piece) {
            let count = piece.min(rows - offset);
            self.write(&if count == rows { batch.clone() } else { batch.slice(offset, count) })?;
        }
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> Result<(), Failure> {
        let frame = self.encoder.encode(batch)?;
        let first = self.writer.frame_count();
        let stored = self.writer.stored_bytes();
        let writer = &mut self.writer;
        let written = self.space.0.with_codec(|codec| {
            frame.as_slice().chunks(FRAME_BYTES_MAX).try_for_each(|piece| writer.append(piece, codec).map(|_| ()))
        });
        written.map_err(failure)?;
        self.space.0.count(self.writer.stored_bytes() - stored);
        self.frames.push(Frame { first, count: self.writer.frame_count() - first });
        self.rows += batch.num_rows();
        self.raw_bytes += frame.len();
        self.frame_bytes_max = self.frame_bytes_max.max(frame.len());
        Ok(())
    }

    /// Ends writing.
    ///
    /// # Errors
    /// If a write failed before.
    pub(crate) fn finish(self) -> Result<SpilledRows, Failure> {
        let file = self.writer.finish().map_err(failure)?;
        Ok(SpilledRows {
            space: self.space,
            schema: self.schema,
            file,
            frames: self.frames,
            rows: self.rows,
            raw_bytes: self.raw_bytes,
            frame_bytes_max: self.frame_bytes_max,
        })
    }
}

/// Rows that were written. Dropped, they give their extents back.
pub(crate) struct SpilledRows {
    // Before what releases it.
    file: SpillFile,
    space: InUse,
    schema: SchemaRef,
    frames: Vec<Frame>,
    rows: usize,
    raw_bytes: usize,
    frame_bytes_max: usize,
}

impl SpilledRows {
    /// How many.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of all frames as they were in memory.
    pub(crate) fn raw_bytes(&self) -> usize {
        self.raw_bytes
    }

    /// Bytes of the longest frame: what a reader's batch takes.
    pub(crate) fn frame_bytes_max(&self) -> usize {
        self.frame_bytes_max
    }

    /// A reader that begins at the first row.
    pub(crate) fn reader(&self) -> SpillReader {
        let decoder = FrameDecoder::expecting(SchemaRef::clone(&self.schema), DecodeOptions::default());
        SpillReader { decoder, next: 0, read_bytes: 0 }
    }
}

/// How far rows have been read. A clone reads on from the same place.
#[derive(Clone)]
pub(crate) struct SpillReader {
    decoder: FrameDecoder,
    next: usize,
    read_bytes: usize,
}

impl SpillReader {
    /// Bytes of all frames so far: what their batches keep alive, which share a frame's memory among their columns.
    pub(crate) fn read_bytes(&self) -> usize {
        self.read_bytes
    }

    /// The next batch of the rows that it was made for; `None` at the end.
    ///
    /// # Errors
    /// If they cannot be read, or are not what was written.
    pub(crate) fn next(&mut self, rows: &SpilledRows) -> Result<Option<Batch>, Failure> {
        let Some(frame) = rows.frames.get(self.next) else { return Ok(None) };
        let file = &rows.file;
        let pieces = frame.first..frame.first + frame.count;
        let bytes: usize = pieces.clone().map(|piece| file.frame_bytes(piece)).sum();
        let mut buffer = arrow_buffer::MutableBuffer::from_len_zeroed(bytes);
        let mut rest = buffer.as_slice_mut();
        rows.space
            .0
            .with_codec(|codec| {
                pieces.into_iter().try_for_each(|piece| {
                    let (now, later) = std::mem::take(&mut rest).split_at_mut(file.frame_bytes(piece));
                    rest = later;
                    file.read_into(piece, codec, now)
                })
            })
            .map_err(failure)?;
        self.next += 1;
        self.read_bytes += bytes;
        Ok(Some(self.decoder.decode(&buffer.into())?))
    }
}
