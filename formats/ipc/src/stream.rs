//! Arrow IPC files and streams, as others write them.
//!
//! A file is a magic number and a stream, and behind it an index that is not needed to read it from front to back. So both
//! are read message by message: what the metadata says is checked against the bytes of the body before Arrow acts on it
//! ([`crate::validate`]), bytes are gathered as they come and never allocated by what a length says, and should Arrow panic
//! all the same, that is an error. A dictionary has to come before the batches that use it, which every writer sees to.
//!
//! Limits: 16 million rows and 1 GiB in a message; decompressed, 64 MiB or 255 times its bytes.
//!
//! Source: Arrow columnar format, "Serialization and Interprocess Communication".

use std::collections::HashMap;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::{Buffer, MutableBuffer};
use arrow_data::UnsafeFlag;
use arrow_ipc::reader::{RecordBatchDecoder, read_dictionary_impl};
use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use arrow_ipc::{CompressionType, MessageHeader, MetadataVersion, root_as_message};
use arrow_schema::{ArrowError, Field, Schema as ArrowSchema};
use flumen_core::batch::Batch;
use flumen_core::types::{Schema, SchemaRef};
use flumen_formats::{
    Conform, Decoder, Encoder, FormatError, SchemaInference, insertions_only, panic_text, portable_batch,
};

use crate::decode::dictionary_type;
use crate::error::FrameError;
use crate::schema::check_schema;
use crate::validate::{Rules, check_batch};

const FORMAT: &str = "arrow";
/// The first bytes of a file, and of nothing else.
const MAGIC: &[u8; 8] = b"ARROW1\0\0";
const CONTINUATION: [u8; 4] = [0xff; 4];
/// Largest metadata of a message.
const METADATA_BYTES_MAX: usize = 64 << 20;
/// Largest body of a message.
const BODY_BYTES_MAX: u64 = 1 << 30;
/// What a body may always stand for, decompressed.
const DECOMPRESSED_BYTES: u64 = 64 << 20;
/// ... and for each of its bytes.
const RATIO_MAX: u64 = 255;

/// Cuts bytes into messages.
#[derive(Debug)]
struct Messages {
    place: Place,
    /// Bytes of the part that is being gathered.
    part: Vec<u8>,
    metadata: Vec<u8>,
    body: MutableBuffer,
    body_length: usize,
    /// Bytes before the part.
    offset: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The first eight bytes of all.
    Start,
    /// Behind the magic number, where a writer may have put zeros up to its alignment.
    Padding,
    /// The length of the metadata.
    Prefix,
    Metadata(usize),
    Body,
    /// The end was announced.
    End,
}

impl Messages {
    fn new() -> Self {
        Self {
            place: Place::Start,
            part: Vec::new(),
            metadata: Vec::new(),
            body: MutableBuffer::new(0),
            body_length: 0,
            offset: 0,
        }
    }

    fn corrupt(&self, problem: impl Into<String>) -> FormatError {
        FormatError::Corrupt { format: FORMAT, offset: self.offset, problem: problem.into() }
    }

    /// Takes bytes up to the end of a message; says how many, and whether there is one.
    fn take(&mut self, bytes: &[u8]) -> Result<(usize, bool), FormatError> {
        let mut at = 0;
        while at < bytes.len() {
            let wanted = match self.place {
                Place::End => return Ok((bytes.len(), false)),
                Place::Start | Place::Padding | Place::Prefix => 8,
                Place::Metadata(length) => length,
                Place::Body => {
                    let count = (self.body_length - self.body.len()).min(bytes.len() - at);
                    self.body.extend_from_slice(&bytes[at..at + count]);
                    at += count;
                    if self.body.len() < self.body_length {
                        continue;
                    }
                    self.offset += self.body_length as u64;
                    self.place = Place::Prefix;
                    return Ok((at, true));
                }
            };
            let count = (wanted - self.part.len()).min(bytes.len() - at);
            self.part.extend_from_slice(&bytes[at..at + count]);
            at += count;
            if self.part.len() == wanted && self.part_complete()? {
                return Ok((at, true));
            }
        }
        Ok((at, false))
    }

    /// What comes next; `true` if a message is complete, which one without a body is now.
    fn part_complete(&mut self) -> Result<bool, FormatError> {
        let part = std::mem::take(&mut self.part);
        match self.place {
            Place::Start if part == MAGIC => self.place = Place::Padding,
            Place::Padding if part == [0; 8] => {}
            Place::Start | Place::Padding | Place::Prefix => {
                let (mark, length) = part.split_at(4);
                if mark != CONTINUATION {
                    return Err(self.corrupt("no message begins here; is it an Arrow IPC file or stream?"));
                }
                let length = i32::from_le_bytes([length[0], length[1], length[2], length[3]]);
                self.place = match usize::try_from(length) {
                    Ok(0) => Place::End,
                    Ok(length) if length <= METADATA_BYTES_MAX => Place::Metadata(length),
                    _ => return Err(self.corrupt(format!("metadata of {length} bytes"))),
                };
            }
            Place::Metadata(_) => {
                let length = root_as_message(&part).map_err(|e| self.corrupt(format!("metadata: {e}")))?.bodyLength();
                if !u64::try_from(length).is_ok_and(|length| length <= BODY_BYTES_MAX) {
                    let problem = format!("a message of {length} bytes, at most {BODY_BYTES_MAX} are allowed");
                    return Err(self.corrupt(problem));
                }
                self.offset += part.len() as u64;
                self.metadata = part;
                self.body = MutableBuffer::new(0);
                self.body_length = length as usize;
                self.place = if length == 0 { Place::Prefix } else { Place::Body };
                return Ok(length == 0);
            }
            Place::Body | Place::End => {}
        }
        self.offset += 8;
        Ok(false)
    }

    /// No bytes follow.
    fn finish(&self) -> Result<(), FormatError> {
        match self.place {
            Place::End => Ok(()),
            // A stream may end without saying so.
            Place::Prefix if self.part.is_empty() => Ok(()),
            Place::Start if self.part.is_empty() => Ok(()),
            _ => Err(self.corrupt("the file ends in the middle of a message")),
        }
    }
}

/// What the messages so far have brought.
struct Channel {
    schema: Arc<ArrowSchema>,
    dictionaries: HashMap<i64, ArrayRef>,
}

impl Channel {
    fn begin(messages: &Messages) -> Result<Self, FormatError> {
        let message = root_as_message(&messages.metadata).map_err(|e| messages.corrupt(e.to_string()))?;
        let schema = message
            .header_as_schema()
            .ok_or_else(|| messages.corrupt(format!("it begins with a message of type {:?}", message.header_type())))?;
        check_schema(&schema).map_err(|e| frame(messages, &e))?;
        let schema = guarded(messages, || Ok(arrow_ipc::convert::fb_to_schema(schema)))?;
        Ok(Self { schema: Arc::new(schema), dictionaries: HashMap::new() })
    }

    /// Works off a message behind the first; rows, if it has some.
    fn message(&mut self, messages: &mut Messages, wanted: &[usize]) -> Result<Option<RecordBatch>, FormatError> {
        let body: Buffer = std::mem::replace(&mut messages.body, MutableBuffer::new(0)).into();
        let metadata = std::mem::take(&mut messages.metadata);
        let message = root_as_message(&metadata).map_err(|e| messages.corrupt(e.to_string()))?;
        let version = message.version();
        if version != MetadataVersion::V5 && version != MetadataVersion::V4 {
            return Err(messages.corrupt(format!("metadata version {version:?}; write it anew with a newer library")));
        }
        let check = |batch, schema: &ArrowSchema| {
            let size = check_batch(batch, &body, schema, Rules::FOREIGN).map_err(|e| frame(messages, &e))?;
            let size_max = DECOMPRESSED_BYTES.max((body.len() as u64).saturating_mul(RATIO_MAX));
            match size <= size_max {
                true => Ok(()),
                false => Err(messages.corrupt(format!("{} compressed bytes that stand for {size}", body.len()))),
            }
        };
        match message.header_type() {
            MessageHeader::DictionaryBatch => {
                let missing = || messages.corrupt("an empty dictionary");
                let dictionary = message.header_as_dictionary_batch().ok_or_else(missing)?;
                let data = dictionary.data().ok_or_else(missing)?;
                let values = dictionary_type(&self.schema, dictionary.id()).map_err(|e| frame(messages, &e))?;
                check(&data, &ArrowSchema::new(vec![Field::new("", values, true)]))?;
                let (schema, dictionaries) = (&self.schema, &mut self.dictionaries);
                guarded(messages, || {
                    read_dictionary_impl(&body, dictionary, schema, dictionaries, &version, false, UnsafeFlag::new())
                })?;
                Ok(None)
            }
            MessageHeader::RecordBatch => {
                let batch =
                    message.header_as_record_batch().ok_or_else(|| messages.corrupt("an empty record batch"))?;
                check(&batch, &self.schema)?;
                let rows = guarded(messages, || {
                    RecordBatchDecoder::try_new(&body, batch, Arc::clone(&self.schema), &self.dictionaries, &version)?
                        .with_require_alignment(false)
                        .with_projection(Some(wanted))
                        .read_record_batch()
                })?;
                Ok(Some(rows))
            }
            other => Err(messages.corrupt(format!("a message of type {other:?}, which is not supported"))),
        }
    }
}

fn frame(messages: &Messages, error: &FrameError) -> FormatError {
    messages.corrupt(error.to_string().trim_start_matches("malformed frame: "))
}

/// Runs work of Arrow, should it panic all the same.
fn guarded<T>(messages: &Messages, work: impl FnOnce() -> Result<T, ArrowError>) -> Result<T, FormatError> {
    contained(messages, || work().map_err(|error| messages.corrupt(error.to_string())))
}

fn contained<T>(messages: &Messages, work: impl FnOnce() -> Result<T, FormatError>) -> Result<T, FormatError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(messages.corrupt(panic_text(panic.as_ref()))))
}

/// Bytes of an Arrow IPC file or stream to batches.
pub struct IpcDecoder {
    table: Schema,
    projection: Vec<usize>,
    schema: SchemaRef,
    batch_rows: usize,
    messages: Messages,
    channel: Option<(Channel, Conform)>,
    /// Rows that have not been given out.
    ready: Option<Batch>,
}

impl IpcDecoder {
    /// A decoder of a table's rows into the columns `projection`, which are found by name.
    #[must_use]
    pub fn new(table: &Schema, projection: &[usize], batch_rows: usize) -> Self {
        let fields = projection.iter().map(|column| table.fields[*column].clone()).collect();
        Self {
            table: table.clone(),
            projection: projection.to_vec(),
            schema: Arc::new(Schema::new(fields)),
            batch_rows,
            messages: Messages::new(),
            channel: None,
            ready: None,
        }
    }
}

impl Decoder for IpcDecoder {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn decode(&mut self, bytes: &[u8]) -> Result<usize, FormatError> {
        let mut at = 0;
        while at < bytes.len() && self.ready.is_none() {
            let (taken, is_complete) = self.messages.take(&bytes[at..])?;
            at += taken;
            if !is_complete {
                continue;
            }
            let Some((channel, conform)) = &mut self.channel else {
                let channel = Channel::begin(&self.messages)?;
                let conform = Conform::new(FORMAT, &self.table, &self.projection, &channel.schema)?;
                self.channel = Some((channel, conform));
                continue;
            };
            if let Some(rows) = channel.message(&mut self.messages, &conform.wanted())?
                && rows.num_rows() > 0
            {
                self.ready = Some(contained(&self.messages, || conform.batch(&rows, true))?);
            }
        }
        Ok(at)
    }

    fn buffered_rows(&self) -> usize {
        self.ready.as_ref().map_or(0, Batch::num_rows)
    }

    fn flush(&mut self) -> Result<Option<Batch>, FormatError> {
        let Some(rows) = self.ready.take() else { return Ok(None) };
        let count = rows.num_rows();
        if count <= self.batch_rows {
            return Ok(Some(rows));
        }
        self.ready = Some(rows.slice(self.batch_rows, count - self.batch_rows));
        Ok(Some(rows.slice(0, self.batch_rows)))
    }

    fn finish(&mut self) -> Result<(), FormatError> {
        self.messages.finish()
    }
}

/// Reads the schema, which comes first.
pub struct IpcInference {
    messages: Messages,
    schema: Option<Schema>,
}

impl Default for IpcInference {
    fn default() -> Self {
        Self { messages: Messages::new(), schema: None }
    }
}

impl SchemaInference for IpcInference {
    fn push(&mut self, bytes: &[u8]) -> Result<bool, FormatError> {
        if self.messages.take(bytes)?.1 {
            let channel = Channel::begin(&self.messages)?;
            let schema = Schema::from_arrow(&channel.schema).map_err(|field| FormatError::Unsupported {
                format: FORMAT,
                problem: format!("column {:?} has type {}", field.name(), field.data_type()),
            })?;
            self.schema = Some(schema);
        }
        Ok(self.schema.is_none())
    }

    fn finish(&mut self, _is_whole: bool) -> Result<Schema, FormatError> {
        self.schema.take().ok_or_else(|| self.messages.corrupt("it ends before its schema does"))
    }
}

/// How buffers are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IpcCompression {
    /// Not at all.
    #[default]
    None,
    /// LZ4 frames.
    Lz4,
    /// Zstandard.
    Zstd,
}

enum Writer {
    File(FileWriter<Written>),
    Stream(StreamWriter<Written>),
}

/// Batches to an Arrow IPC file or stream.
pub struct IpcEncoder {
    schema: SchemaRef,
    compression: IpcCompression,
    is_stream: bool,
    written: Written,
    writer: Option<Writer>,
}

impl IpcEncoder {
    /// An encoder of rows of this schema into a file, or into a stream.
    #[must_use]
    pub fn new(schema: SchemaRef, compression: IpcCompression, is_stream: bool) -> Self {
        Self { schema, compression, is_stream, written: Written::default(), writer: None }
    }
}

fn library(error: ArrowError) -> FormatError {
    FormatError::Library { format: FORMAT, source: Box::new(error) }
}

impl Encoder for IpcEncoder {
    fn start(&mut self, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let codec = match self.compression {
            IpcCompression::None => None,
            IpcCompression::Lz4 => Some(CompressionType::LZ4_FRAME),
            IpcCompression::Zstd => Some(CompressionType::ZSTD),
        };
        let options = IpcWriteOptions::default().try_with_compression(codec).map_err(library)?;
        let (written, schema) = (self.written.clone(), self.schema.portable_arrow_schema());
        self.writer = Some(match self.is_stream {
            true => Writer::Stream(StreamWriter::try_new_with_options(written, &schema, options).map_err(library)?),
            false => Writer::File(FileWriter::try_new_with_options(written, &schema, options).map_err(library)?),
        });
        self.written.take_into(out);
        Ok(())
    }

    fn encode(&mut self, batch: &Batch, out: &mut Vec<u8>) -> Result<(), FormatError> {
        insertions_only(FORMAT, batch)?;
        let rows = portable_batch(batch).map_err(library)?;
        match &mut self.writer {
            Some(Writer::File(writer)) => writer.write(&rows),
            Some(Writer::Stream(writer)) => writer.write(&rows),
            None => Ok(()),
        }
        .map_err(library)?;
        self.written.take_into(out);
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), FormatError> {
        match &mut self.writer {
            Some(Writer::File(writer)) => writer.finish(),
            Some(Writer::Stream(writer)) => writer.finish(),
            None => Ok(()),
        }
        .map_err(library)?;
        self.writer = None;
        self.written.take_into(out);
        Ok(())
    }
}

/// What the library has written and nobody has taken yet. Locked by the thread that encodes.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn take_into(&self, out: &mut Vec<u8>) {
        out.append(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
