//! Frame to batch.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::{Buffer, MutableBuffer};
use arrow_data::UnsafeFlag;
use arrow_ipc::reader::{RecordBatchDecoder, read_dictionary_impl};
use arrow_ipc::{MessageHeader, MetadataVersion};
use arrow_schema::{DataType, Field, Schema};
use flumen_core::batch::{Batch, BatchFlags};
use flumen_core::types::SchemaRef;

use crate::columns::Layout;
use crate::error::{FrameError, Result};
use crate::header::{FRAME_ALIGNMENT, FrameFlags, FrameHeader, HEADER_BYTES, ROWS_MAX, frame_checksum};
use crate::schema::check_schema;
use crate::validate::{Located, Rules, check_batch, for_each_message};

/// Limits for bytes that come from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Most bytes of a frame, as it is and decompressed.
    pub bytes_max: u64,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self { bytes_max: 1 << 30 }
    }
}

/// Reads the frames of one channel or file, in order. See [`crate::encode::FrameEncoder`].
#[derive(Clone, Debug)]
pub struct FrameDecoder {
    options: DecodeOptions,
    expected: Option<SchemaRef>,
    channel: Option<Channel>,
}

/// What earlier frames brought.
#[derive(Clone, Debug)]
struct Channel {
    carrier: Arc<Schema>,
    layout: Layout,
    dictionaries: HashMap<i64, ArrayRef>,
}

impl FrameDecoder {
    /// A decoder of a channel whose schema is the one that its frames carry.
    #[must_use]
    pub fn new(options: DecodeOptions) -> Self {
        Self { options, expected: None, channel: None }
    }

    /// A decoder that gives batches of `schema` and refuses frames of another one.
    #[must_use]
    pub fn expecting(schema: SchemaRef, options: DecodeOptions) -> Self {
        Self { options, expected: Some(schema), channel: None }
    }

    /// Forgets the channel: the next frame has to begin one.
    pub fn reset(&mut self) {
        self.channel = None;
    }

    /// The batch in a frame. Its arrays point into `frame`, which is copied only if it is not aligned to 64 bytes or
    /// compressed.
    ///
    /// # Errors
    /// For whatever the bytes say that cannot be; never a panic. After an error the channel has to begin anew.
    pub fn decode(&mut self, frame: &Buffer) -> Result<Batch> {
        let header = self.check_frame(frame)?;
        let aligned = if (frame.as_ptr() as usize).is_multiple_of(FRAME_ALIGNMENT) {
            frame.clone()
        } else {
            let mut copy = MutableBuffer::with_capacity(frame.len());
            copy.extend_from_slice(frame.as_slice());
            copy.into()
        };
        // Everything is checked before Arrow acts on it; should it panic all the same, the process goes on.
        let decoded = catch_unwind(AssertUnwindSafe(|| self.decode_body(&header, &aligned)));
        let batch = decoded.unwrap_or_else(|_| Err(FrameError::malformed("its contents made the decoder panic")));
        if batch.is_err() {
            self.channel = None;
        }
        batch
    }

    fn check_frame(&self, frame: &Buffer) -> Result<FrameHeader> {
        let header = FrameHeader::parse(frame)?;
        if header.total_bytes > self.options.bytes_max {
            return Err(self.too_large(header.total_bytes, &header));
        }
        let actual = frame.len() as u64;
        if actual < header.total_bytes {
            return Err(FrameError::Truncated { expected: header.total_bytes, actual });
        }
        if actual > header.total_bytes {
            let rest = actual - header.total_bytes;
            return Err(FrameError::malformed(format!("{rest} bytes follow the frame")));
        }
        let checksum = frame_checksum(frame);
        if checksum != header.checksum {
            return Err(FrameError::Checksum { expected: header.checksum, actual: checksum });
        }
        Ok(header)
    }

    fn too_large(&self, bytes: u64, header: &FrameHeader) -> FrameError {
        let (rows, bytes_max) = (u64::from(header.rows), self.options.bytes_max);
        FrameError::TooLarge { bytes, rows, bytes_max, rows_max: u64::from(ROWS_MAX) }
    }

    fn decode_body(&mut self, header: &FrameHeader, frame: &Buffer) -> Result<Batch> {
        let body = frame.slice(HEADER_BYTES);
        if header.flags.has(FrameFlags::SCHEMA) {
            self.channel = None;
        }
        let mut bytes = 0u64;
        let mut record = None;
        for_each_message(&body, |located| {
            if record.is_some() {
                return Err(FrameError::malformed("a message behind the record batch"));
            }
            match located.message.header_type() {
                MessageHeader::Schema => self.take_schema(header, &located),
                MessageHeader::DictionaryBatch => {
                    bytes = bytes.saturating_add(self.take_dictionary(&located, &body)?);
                    self.check_size(bytes, header)
                }
                MessageHeader::RecordBatch => {
                    if located.body.start as u64 != u64::from(header.metadata_bytes) {
                        return Err(FrameError::malformed("metadata is not as long as the header says"));
                    }
                    record = Some(self.read_record(header, bytes, &located, &body)?);
                    Ok(())
                }
                other => Err(FrameError::malformed(format!("a message of type {other:?}"))),
            }
        })?;
        let record = record.ok_or_else(|| FrameError::malformed("no record batch"))?;
        let channel = self.channel.as_ref().ok_or(FrameError::MissingSchema)?;
        let batch = channel.layout.unwrap(&record)?;
        Ok(with_flags(batch, header.batch_flags()))
    }

    fn check_size(&self, bytes: u64, header: &FrameHeader) -> Result<()> {
        if bytes > self.options.bytes_max { Err(self.too_large(bytes, header)) } else { Ok(()) }
    }

    fn take_schema(&mut self, header: &FrameHeader, located: &Located<'_>) -> Result<()> {
        if !header.flags.has(FrameFlags::SCHEMA) || self.channel.is_some() {
            return Err(FrameError::malformed("a schema where none belongs"));
        }
        let schema = located.message.header_as_schema().ok_or_else(|| FrameError::malformed("an empty schema"))?;
        check_schema(&schema)?;
        let carrier = Arc::new(arrow_ipc::convert::fb_to_schema(schema));
        let layout = Layout::new(&carrier, self.expected.as_ref())?;
        self.channel = Some(Channel { carrier, layout, dictionaries: HashMap::new() });
        Ok(())
    }

    fn take_dictionary(&mut self, located: &Located<'_>, body: &Buffer) -> Result<u64> {
        let channel = self.channel.as_mut().ok_or(FrameError::MissingSchema)?;
        let missing = || FrameError::malformed("an empty dictionary");
        let dictionary = located.message.header_as_dictionary_batch().ok_or_else(missing)?;
        let data = dictionary.data().ok_or_else(missing)?;
        if dictionary.isDelta() {
            return Err(FrameError::malformed("a dictionary delta"));
        }
        let aligned = data.compression().is_none();
        let values = dictionary_type(&channel.carrier, dictionary.id())?;
        let bytes = body.slice_with_length(located.body.start, located.body.len());
        let size = check_batch(&data, &bytes, &Schema::new(vec![Field::new("", values, true)]), Rules::FRAME)?;
        read_dictionary_impl(
            &bytes,
            dictionary,
            &channel.carrier,
            &mut channel.dictionaries,
            &MetadataVersion::V5,
            aligned,
            UnsafeFlag::new(),
        )
        .map_err(|source| FrameError::Arrow { source })?;
        Ok(size)
    }

    fn read_record(
        &self,
        header: &FrameHeader,
        dictionary_bytes: u64,
        located: &Located<'_>,
        body: &Buffer,
    ) -> Result<RecordBatch> {
        let channel = self.channel.as_ref().ok_or(FrameError::MissingSchema)?;
        let batch = located.message.header_as_record_batch();
        let batch = batch.ok_or_else(|| FrameError::malformed("an empty record batch"))?;
        let bytes = body.slice_with_length(located.body.start, located.body.len());
        let size = check_batch(&batch, &bytes, &channel.carrier, Rules::FRAME)?;
        self.check_size(size.saturating_add(dictionary_bytes), header)?;
        let flagged = |bit| header.flags.has(bit);
        let columns = channel.carrier.fields().len();
        if batch.length() != i64::from(header.rows)
            || columns != header.columns as usize
            || flagged(FrameFlags::COMPRESSED) != batch.compression().is_some()
            || flagged(FrameFlags::ROW_KINDS) != channel.layout.has_row_kinds()
            || flagged(FrameFlags::HASHES) != channel.layout.has_hashes()
            || (flagged(FrameFlags::SORTED) && usize::from(header.sorted_by) >= columns)
        {
            return Err(FrameError::malformed("header and record batch say different things"));
        }
        // Decompressed buffers lie where the allocator puts them; Arrow moves those that need it.
        let aligned = batch.compression().is_none();
        let carrier = Arc::clone(&channel.carrier);
        RecordBatchDecoder::try_new(&bytes, batch, carrier, &channel.dictionaries, &MetadataVersion::V5)
            .map(|decoder| decoder.with_require_alignment(aligned))
            .and_then(RecordBatchDecoder::read_record_batch)
            .map_err(|source| FrameError::Arrow { source })
    }
}

/// The value type of a dictionary; the schema may nest it.
#[allow(deprecated, reason = "arrow-ipc itself finds dictionaries by the ids that fields carry")]
pub(crate) fn dictionary_type(carrier: &Schema, id: i64) -> Result<DataType> {
    let fields = carrier.fields_with_dict_id(id);
    match fields.first().map(|field| field.data_type()) {
        Some(DataType::Dictionary(_, values)) => Ok(values.as_ref().clone()),
        _ => Err(FrameError::malformed(format!("dictionary {id} belongs to no column"))),
    }
}

/// Deletes are counted from the row kinds; a frame that says otherwise is not believed.
fn with_flags(batch: Batch, flags: BatchFlags) -> Batch {
    let has_deletes = batch.flags().has_deletes;
    batch.with_flags(BatchFlags { has_deletes, ..flags })
}
