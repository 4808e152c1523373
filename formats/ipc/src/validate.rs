//! What a body says about itself, checked against the bytes that are there, before Arrow acts on it.
//!
//! Arrow's reader slices buffers by offsets from metadata and asserts some of its expectations; everything it would
//! assert or index with is checked here first: message framing, versions, node lengths, null counts, buffer ranges and
//! their alignment, decompressed lengths, counts of variadic buffers. Values within buffers (offsets, codes, UTF-8) are
//! validated by Arrow itself when it builds the arrays.

use std::collections::VecDeque;
use std::ops::Range;

use arrow_ipc::{CompressionType, Message, MetadataVersion, RecordBatch, root_as_message};
use arrow_schema::{DataType, Schema};

use crate::error::{FrameError, Result};
use crate::header::{FRAME_ALIGNMENT, ROWS_MAX};

const CONTINUATION: [u8; 4] = [0xff; 4];
/// A byte of LZ4 stands for at most this many.
const LZ4_RATIO_MAX: u64 = 255;
/// A block of Zstandard is 3 bytes and one that is repeated, and stands for at most 128 KiB.
const ZSTD_RATIO_MAX: u64 = 32 << 10;
/// What a compressed buffer may hold in a handful of bytes beyond that ratio.
const SLACK_BYTES: u64 = 64;

/// One encapsulated message; ranges are positions in the body of the frame.
pub(crate) struct Located<'a> {
    pub(crate) message: Message<'a>,
    pub(crate) body: Range<usize>,
}

/// Walks the messages of a frame's body, which they have to fill exactly.
pub(crate) fn for_each_message<'a>(bytes: &'a [u8], mut visit: impl FnMut(Located<'a>) -> Result<()>) -> Result<()> {
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let (prefix, rest) = rest.split_first_chunk::<8>().ok_or_else(|| cut(at))?;
        if prefix[..4] != CONTINUATION {
            return Err(FrameError::malformed(format!("no message begins at byte {at} of the body")));
        }
        let length = i32::from_le_bytes([prefix[4], prefix[5], prefix[6], prefix[7]]);
        let length = usize::try_from(length).map_err(|_| FrameError::malformed("metadata of a negative length"))?;
        let metadata = rest.get(..length).ok_or_else(|| cut(at))?;
        let message = root_as_message(metadata)
            .map_err(|problem| FrameError::malformed(format!("metadata at byte {at} of the body: {problem}")))?;
        if message.version() != MetadataVersion::V5 {
            return Err(FrameError::malformed(format!("metadata version {:?}", message.version())));
        }
        let start = at + 8 + length;
        let body_length = usize::try_from(message.bodyLength()).ok();
        let end = body_length.and_then(|length| start.checked_add(length)).filter(|end| *end <= bytes.len());
        let end = end.ok_or_else(|| cut(at))?;
        if !start.is_multiple_of(FRAME_ALIGNMENT) || !end.is_multiple_of(FRAME_ALIGNMENT) {
            return Err(FrameError::malformed(format!("message at byte {at} of the body is not aligned")));
        }
        visit(Located { message, body: start..end })?;
        at = end;
    }
    Ok(())
}

fn cut(at: usize) -> FrameError {
    FrameError::malformed(format!("the message at byte {at} of the body is cut off"))
}

/// What differs between frames and the messages of others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Where buffers begin.
    alignment: usize,
    /// Zstandard may be met.
    zstd: bool,
}

impl Rules {
    pub(crate) const FRAME: Self = Self { alignment: FRAME_ALIGNMENT, zstd: false };
    /// Arrow asks for 8 bytes; what else is needed is copied to where it has to be.
    pub(crate) const FOREIGN: Self = Self { alignment: 1, zstd: true };
}

/// Checks everything a record batch's (or dictionary's) metadata says about `body`, and returns the bytes that its
/// buffers have decompressed.
pub(crate) fn check_batch(batch: &RecordBatch<'_>, body: &[u8], schema: &Schema, rules: Rules) -> Result<u64> {
    check_rows("batch", batch.length())?;
    let (Some(nodes), Some(buffers)) = (batch.nodes(), batch.buffers()) else {
        return Err(FrameError::malformed("a batch without nodes or buffers"));
    };
    let ratio_max = check_codec(batch, rules)?;
    let mut lengths = Vec::with_capacity(buffers.len());
    for buffer in buffers {
        let range = range_within(buffer.offset(), buffer.length(), body.len())?;
        if !range.start.is_multiple_of(rules.alignment) {
            return Err(FrameError::malformed(format!("a buffer at {} is not aligned", range.start)));
        }
        lengths.push(match ratio_max {
            Some(ratio_max) => decompressed(&body[range], ratio_max)?,
            None => range.len() as u64,
        });
    }
    let bytes = lengths.iter().fold(0u64, |sum, length| sum.saturating_add(*length));
    let mut walk = Walk {
        nodes: nodes.iter().map(|node| (node.length(), node.null_count())).collect(),
        lengths: lengths.into(),
        variadic: batch.variadicBufferCounts().into_iter().flatten().collect(),
    };
    for field in schema.fields() {
        walk.array(field.data_type())?;
    }
    walk.finish()?;
    Ok(bytes)
}

/// Goes through nodes and buffers in the order in which Arrow's reader takes them.
struct Walk {
    /// Length and null count of each array.
    nodes: VecDeque<(i64, i64)>,
    /// Decompressed length of each buffer.
    lengths: VecDeque<u64>,
    /// Data buffers of each view array.
    variadic: VecDeque<i64>,
}

impl Walk {
    fn array(&mut self, data_type: &DataType) -> Result<()> {
        let (length, nulls) =
            self.nodes.pop_front().ok_or_else(|| FrameError::malformed("fewer arrays than columns"))?;
        // Children of lists may be longer than the batch.
        if !(0..=i64::from(u32::MAX)).contains(&length) || !(0..=length).contains(&nulls) {
            return Err(FrameError::malformed(format!("an array of {length} rows, {nulls} of them null")));
        }
        match data_type {
            DataType::Null => return Ok(()),
            DataType::RunEndEncoded(ends, values) => {
                self.array(ends.data_type())?;
                return self.array(values.data_type());
            }
            _ => {}
        }
        let validity = self.buffer()?;
        if nulls > 0 && validity < (length as u64).div_ceil(8) {
            return Err(FrameError::malformed(format!("{validity} bytes of validity for {length} rows")));
        }
        match data_type {
            DataType::Struct(fields) => fields.iter().try_for_each(|field| self.array(field.data_type())),
            DataType::FixedSizeList(item, _) => self.array(item.data_type()),
            DataType::List(item) | DataType::Map(item, _) => {
                self.typed_buffer(4)?;
                self.array(item.data_type())
            }
            DataType::LargeList(item) => {
                self.typed_buffer(8)?;
                self.array(item.data_type())
            }
            DataType::Utf8View | DataType::BinaryView => {
                self.typed_buffer(16)?;
                let count = self.variadic.pop_front().and_then(|count| usize::try_from(count).ok());
                match count.filter(|count| *count <= self.lengths.len()) {
                    Some(count) => drop(self.lengths.drain(..count)),
                    None => return Err(FrameError::malformed("more view buffers than buffers")),
                }
                Ok(())
            }
            DataType::Utf8 | DataType::Binary => {
                self.typed_buffer(4)?;
                self.buffer().map(drop)
            }
            DataType::LargeUtf8 | DataType::LargeBinary => {
                self.typed_buffer(8)?;
                self.buffer().map(drop)
            }
            DataType::Dictionary(keys, _) => self.typed_buffer(keys.primitive_width().unwrap_or(1)),
            other => self.typed_buffer(other.primitive_width().unwrap_or(1)),
        }
    }

    /// A buffer of whole values.
    fn typed_buffer(&mut self, width: usize) -> Result<()> {
        let length = self.buffer()?;
        if length.is_multiple_of(width as u64) {
            Ok(())
        } else {
            Err(FrameError::malformed(format!("{length} bytes of values that take {width} each")))
        }
    }

    fn buffer(&mut self) -> Result<u64> {
        self.lengths.pop_front().ok_or_else(|| FrameError::malformed("fewer buffers than arrays need"))
    }

    fn finish(self) -> Result<()> {
        if self.nodes.is_empty() && self.lengths.is_empty() && self.variadic.is_empty() {
            Ok(())
        } else {
            Err(FrameError::malformed("more arrays or buffers than columns"))
        }
    }
}

fn check_rows(what: &str, rows: i64) -> Result<()> {
    if (0..=i64::from(ROWS_MAX)).contains(&rows) {
        Ok(())
    } else {
        Err(FrameError::malformed(format!("a {what} of {rows} rows, at most {ROWS_MAX} are allowed")))
    }
}

/// How many bytes a compressed one stands for at most; `None` if they are not compressed.
fn check_codec(batch: &RecordBatch<'_>, rules: Rules) -> Result<Option<u64>> {
    match batch.compression() {
        None => Ok(None),
        Some(compression) if compression.codec() == CompressionType::LZ4_FRAME => Ok(Some(LZ4_RATIO_MAX)),
        Some(compression) if rules.zstd && compression.codec() == CompressionType::ZSTD => Ok(Some(ZSTD_RATIO_MAX)),
        Some(compression) => Err(FrameError::malformed(format!("compression {:?}", compression.codec()))),
    }
}

fn range_within(offset: i64, length: i64, available: usize) -> Result<Range<usize>> {
    let start = usize::try_from(offset).ok();
    let end = start.zip(usize::try_from(length).ok()).and_then(|(start, length)| start.checked_add(length));
    match (start, end) {
        (Some(start), Some(end)) if end <= available => Ok(start..end),
        _ => Err(FrameError::malformed(format!("a buffer of {length} bytes at {offset} in a body of {available}"))),
    }
}

/// Length of a compressed buffer's content; refuses what its codec cannot have made of so few bytes.
fn decompressed(buffer: &[u8], ratio_max: u64) -> Result<u64> {
    if buffer.is_empty() {
        return Ok(0);
    }
    let Some((prefix, content)) = buffer.split_first_chunk::<8>() else {
        return Err(FrameError::malformed("a compressed buffer without its length"));
    };
    let (announced, stored) = (i64::from_le_bytes(*prefix), content.len() as u64);
    match u64::try_from(announced) {
        // -1 stands for a buffer that did not get smaller.
        Err(_) if announced == -1 => Ok(stored),
        Ok(length) if length <= stored.saturating_mul(ratio_max).saturating_add(SLACK_BYTES) => Ok(length),
        _ => Err(FrameError::malformed(format!("{stored} compressed bytes that stand for {announced}"))),
    }
}
