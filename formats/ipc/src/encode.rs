//! Batch to frame.

use arrow_buffer::{Buffer, MutableBuffer};
use arrow_ipc::CompressionType;
use arrow_ipc::MetadataVersion;
use arrow_ipc::writer::{IpcWriteOptions, StreamEncoder};
use arrow_schema::SchemaRef;
use flumen_core::batch::Batch;

use crate::columns::carry;
use crate::error::{FrameError, Result};
use crate::header::{FRAME_ALIGNMENT, FrameFlags, FrameHeader, HEADER_BYTES, ROWS_MAX, frame_checksum};

/// How frames are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Compress buffers with LZ4, each by itself as Arrow has it.
    pub compress: bool,
    /// Send key hashes along, so that the consumer need not compute them again.
    pub hashes: bool,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self { compress: false, hashes: true }
    }
}

/// Writes the frames of one channel or file. The schema goes into the first, and again when encodings change; a
/// dictionary goes into the first frame that uses it. After [`FrameEncoder::reset`] the next frame stands by itself.
pub struct FrameEncoder {
    options: EncodeOptions,
    /// The encoder of the current schema.
    stream: Option<(SchemaRef, StreamEncoder)>,
}

impl std::fmt::Debug for FrameEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameEncoder").field("options", &self.options).finish_non_exhaustive()
    }
}

impl FrameEncoder {
    /// An encoder whose next frame is the first of its channel.
    #[must_use]
    pub fn new(options: EncodeOptions) -> Self {
        Self { options, stream: None }
    }

    /// The next frame begins anew: it needs none of the earlier ones.
    pub fn reset(&mut self) {
        self.stream = None;
    }

    /// The frame of the selected rows of `batch`, in one buffer aligned to 64 bytes or more.
    ///
    /// # Errors
    /// If the batch has more than [`ROWS_MAX`] rows, or Arrow cannot carry a column.
    pub fn encode(&mut self, batch: &Batch) -> Result<Buffer> {
        let pieces = self.pieces(batch)?;
        let total: usize = HEADER_BYTES + pieces.body.iter().map(|piece| piece.len()).sum::<usize>();
        let padded = total.next_multiple_of(FRAME_ALIGNMENT);
        let mut frame = MutableBuffer::with_capacity(padded);
        frame.extend_from_slice(&[0u8; HEADER_BYTES]);
        for piece in &pieces.body {
            frame.extend_from_slice(piece.as_slice());
        }
        frame.resize(padded, 0);
        let mut header = pieces.header;
        header.total_bytes = padded as u64;
        header.metadata_bytes = metadata_bytes(&frame[HEADER_BYTES..])?;
        frame[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
        header.checksum = frame_checksum(&frame);
        frame[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
        Ok(frame.into())
    }

    fn pieces(&mut self, batch: &Batch) -> Result<Pieces> {
        let rows = u32::try_from(batch.num_rows()).ok().filter(|rows| *rows <= ROWS_MAX);
        let Some(rows) = rows else {
            return Err(FrameError::TooLarge {
                bytes: 0,
                rows: batch.num_rows() as u64,
                bytes_max: 0,
                rows_max: u64::from(ROWS_MAX),
            });
        };
        let record = carry(batch, self.options.hashes).map_err(|source| FrameError::Encode { source })?;
        let fresh = self.stream.as_ref().is_none_or(|(schema, _)| *schema != record.schema());
        if fresh {
            let encoder = StreamEncoder::try_new_with_options(&record.schema(), self.write_options()?)
                .map_err(|source| FrameError::Encode { source })?;
            self.stream = Some((record.schema(), encoder));
        }
        let Some((_, stream)) = &mut self.stream else { return Err(FrameError::MissingSchema) };
        let body = match stream.encode(&record) {
            Ok(body) => body,
            Err(source) => {
                // Part of the stream may have been taken as written.
                self.stream = None;
                return Err(FrameError::Encode { source });
            }
        };
        let header = self.header(batch, rows, record.num_columns(), fresh);
        Ok(Pieces { header, body })
    }

    fn header(&self, batch: &Batch, rows: u32, columns: usize, fresh: bool) -> FrameHeader {
        let known = batch.flags();
        let bits = [
            (fresh, FrameFlags::SCHEMA),
            (self.options.compress, FrameFlags::COMPRESSED),
            (batch.row_kinds().is_some(), FrameFlags::ROW_KINDS),
            (self.options.hashes && batch.hashes().is_some(), FrameFlags::HASHES),
            (known.has_deletes, FrameFlags::HAS_DELETES),
            (known.key_unique, FrameFlags::KEY_UNIQUE),
            (known.sorted_by.is_some(), FrameFlags::SORTED),
        ];
        let flags = bits.iter().filter(|(set, _)| *set).fold(0, |flags, (_, bit)| flags | bit);
        FrameHeader {
            flags: FrameFlags(flags),
            rows,
            columns: columns as u32,
            sorted_by: known.sorted_by.unwrap_or(0),
            ..FrameHeader::default()
        }
    }

    fn write_options(&self) -> Result<IpcWriteOptions> {
        let compression = self.options.compress.then_some(CompressionType::LZ4_FRAME);
        IpcWriteOptions::try_new(FRAME_ALIGNMENT, false, MetadataVersion::V5)
            .and_then(|options| options.try_with_compression(compression))
            .map_err(|source| FrameError::Encode { source })
    }
}

struct Pieces {
    header: FrameHeader,
    body: Vec<Buffer>,
}

/// Where the record batch's buffers begin in a body that was just written: behind the last message's metadata.
fn metadata_bytes(body: &[u8]) -> Result<u32> {
    let mut last = 0;
    crate::validate::for_each_message(body, |message| {
        last = message.body.start;
        Ok(())
    })?;
    u32::try_from(last).map_err(|_| FrameError::malformed("metadata of more than 4 GiB"))
}
