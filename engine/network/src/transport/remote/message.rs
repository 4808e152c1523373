//! The messages of a channel and their bytes.
//!
//! ```text
//! offset  bytes  field (little-endian)
//!      0      4  magic           46 4C 4D 4E ("FLMN")
//!      4      1  version         1
//!      5      1  kind            see `KIND_*`
//!      6      1  flags           1: overtakes, 2: beyond credit
//!      7      1  reserved        0
//!      8      8  channel         unique within a connection
//!     16      8  sequence         of data and control, from 0; else 0
//!     24      4  number          backlog (data, backlog) or credits (open, grant)
//!     28      4  payload length
//!     32      4  cost            of data: credits spent
//!     36     28  reserved        0
//!     64      -  payload, padded with zeros to a multiple of 64
//! ```
//!
//! The header has 64 bytes so that the frame behind it is aligned as it is.

use std::sync::Arc;

use arrow_buffer::{Buffer, MutableBuffer};
use flumen_core::element::{
    Alignment, CheckpointBarrier, CheckpointOptions, LatencyMarker, SnapshotKind, StopMode, StreamElement,
};
use flumen_core::graph::ResultPartitionType;
use flumen_core::ids::{
    AttemptNumber, CheckpointId, ExecutionAttemptId, ExecutionVertexId, IntermediateDataSetId, JobId, JobVertexId,
    ResultPartitionId, SubtaskIndex,
};
use flumen_core::time::{EventTime, Watermark, WatermarkStatus};

/// Bytes before a message's payload.
pub const MESSAGE_HEADER_BYTES: usize = 64;
const MAGIC: [u8; 4] = *b"FLMN";
const VERSION: u8 = 1;
const KIND_OPEN: u8 = 1;
const KIND_DATA: u8 = 2;
const KIND_CONTROL: u8 = 3;
const KIND_BACKLOG: u8 = 4;
const KIND_GRANT: u8 = 5;
const KIND_CLOSE: u8 = 6;
const KIND_BREAK: u8 = 7;
const KIND_ERROR: u8 = 8;
const FLAG_OVERTAKES: u8 = 1;
const FLAG_BEYOND_CREDIT: u8 = 2;
/// Where the reserved bytes begin.
const RESERVED_AT: usize = 36;

/// One message; `channel` is chosen by the consumer.
#[derive(Clone, Debug)]
pub struct Message {
    /// Which channel of the connection.
    pub channel: u64,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug)]
pub enum Body {
    /// Consumer: send me this subpartition.
    Open {
        /// Of this partition.
        partition: ResultPartitionId,
        /// Which one.
        subpartition: u32,
        /// How it is kept.
        partition_type: ResultPartitionType,
        /// The first credits.
        credits: u32,
    },
    /// Producer: a frame.
    Data {
        /// Position among the channel's data and control.
        sequence: u64,
        /// Segments that wait behind it.
        backlog: u32,
        /// Credits spent on it.
        cost: u32,
        /// It was sent with less credit than it costs, because an element that overtakes is right behind it.
        beyond_credit: bool,
        /// The frame.
        frame: Buffer,
    },
    /// Producer: a control element.
    Control {
        /// Position among the channel's data and control.
        sequence: u64,
        /// It overtakes what has arrived and is not consumed.
        overtakes: bool,
        /// The element; never a batch.
        element: StreamElement,
    },
    /// Producer: this much waits and there is no credit.
    Backlog {
        /// Segments.
        backlog: u32,
    },
    /// Consumer: more credits.
    Grant {
        /// How many.
        credits: u32,
    },
    /// Consumer: I have enough.
    Close,
    /// Consumer: I failed.
    Break {
        /// Why.
        cause: Arc<str>,
    },
    /// Producer: nothing more comes.
    Error {
        /// The partition is not there.
        missing: bool,
        /// Why.
        cause: Arc<str>,
    },
}

/// Why bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a message: {problem}")]
pub struct MessageError {
    problem: String,
}

fn refuse<T>(problem: impl Into<String>) -> Result<T, MessageError> {
    Err(MessageError { problem: problem.into() })
}

impl Message {
    /// Its bytes, aligned to 64.
    ///
    /// # Panics
    /// If a control message carries a batch, or a payload has 4 GiB.
    #[must_use]
    pub fn encode(&self) -> Buffer {
        let mut small = Vec::new();
        let mut spent = 0;
        let (kind, flags, sequence, number) = match &self.body {
            Body::Open { partition, subpartition, partition_type, credits } => {
                put_partition(&mut small, partition);
                small.extend_from_slice(&subpartition.to_le_bytes());
                small.push(type_code(*partition_type));
                (KIND_OPEN, 0, 0, *credits)
            }
            Body::Data { sequence, backlog, cost, beyond_credit, .. } => {
                spent = *cost;
                (KIND_DATA, u8::from(*beyond_credit) * FLAG_BEYOND_CREDIT, *sequence, *backlog)
            }
            Body::Control { sequence, overtakes, element } => {
                put_control(&mut small, element);
                (KIND_CONTROL, u8::from(*overtakes) * FLAG_OVERTAKES, *sequence, 0)
            }
            Body::Backlog { backlog } => (KIND_BACKLOG, 0, 0, *backlog),
            Body::Grant { credits } => (KIND_GRANT, 0, 0, *credits),
            Body::Close => (KIND_CLOSE, 0, 0, 0),
            Body::Break { cause } => {
                small.extend_from_slice(cause.as_bytes());
                (KIND_BREAK, 0, 0, 0)
            }
            Body::Error { missing, cause } => {
                small.push(u8::from(*missing));
                small.extend_from_slice(cause.as_bytes());
                (KIND_ERROR, 0, 0, 0)
            }
        };
        let payload = if let Body::Data { frame, .. } = &self.body { frame.as_slice() } else { &small };
        let length = u32::try_from(payload.len()).expect("frames are far below 4 GiB");
        let total = MESSAGE_HEADER_BYTES + payload.len().next_multiple_of(64);
        let mut bytes = MutableBuffer::with_capacity(total);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[VERSION, kind, flags, 0]);
        bytes.extend_from_slice(&self.channel.to_le_bytes());
        bytes.extend_from_slice(&sequence.to_le_bytes());
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&spent.to_le_bytes());
        bytes.resize(MESSAGE_HEADER_BYTES, 0);
        bytes.extend_from_slice(payload);
        bytes.resize(total, 0);
        bytes.into()
    }

    /// Bytes of the message that begins with this header.
    ///
    /// # Errors
    /// If it is no header, or announces more than `bytes_max`.
    pub fn length(header: &[u8; MESSAGE_HEADER_BYTES], bytes_max: usize) -> Result<usize, MessageError> {
        if header[..4] != MAGIC || header[4] != VERSION {
            return refuse("wrong magic or version");
        }
        if header[7] != 0 || header[RESERVED_AT..].iter().any(|byte| *byte != 0) || header[6] > FLAG_BEYOND_CREDIT {
            return refuse("reserved bytes are not zero");
        }
        let length = u32::from_le_bytes([header[28], header[29], header[30], header[31]]) as usize;
        match MESSAGE_HEADER_BYTES.checked_add(length.next_multiple_of(64)) {
            Some(total) if total <= bytes_max => Ok(total),
            _ => refuse(format!("{length} bytes of payload, at most {bytes_max} are allowed")),
        }
    }

    /// Reads exactly one message. The frame of a data message is a slice of `bytes`.
    ///
    /// # Errors
    /// If they are no message.
    pub fn decode(bytes: &Buffer) -> Result<Self, MessageError> {
        let Some((header, _)) = bytes.split_first_chunk::<MESSAGE_HEADER_BYTES>() else {
            return refuse("cut off");
        };
        if Self::length(header, bytes.len())? != bytes.len() {
            return refuse("another length than announced");
        }
        let mut reader = Reader(&header[8..RESERVED_AT]);
        let (channel, sequence) = (reader.u64()?, reader.u64()?);
        let (number, length) = (reader.u32()?, reader.u32()? as usize);
        let cost = reader.u32()?;
        let end = MESSAGE_HEADER_BYTES + length;
        let mut payload = Reader(&bytes[MESSAGE_HEADER_BYTES..end]);
        let overtakes = header[6] == FLAG_OVERTAKES;
        let body = match header[5] {
            KIND_OPEN => Body::Open {
                partition: payload.partition()?,
                subpartition: payload.u32()?,
                partition_type: payload.partition_type()?,
                credits: number,
            },
            KIND_DATA => {
                let frame = bytes.slice_with_length(MESSAGE_HEADER_BYTES, length);
                payload.0 = &[];
                Body::Data { sequence, backlog: number, cost, beyond_credit: header[6] == FLAG_BEYOND_CREDIT, frame }
            }
            KIND_CONTROL => Body::Control { sequence, overtakes, element: payload.control()? },
            KIND_BACKLOG => Body::Backlog { backlog: number },
            KIND_GRANT => Body::Grant { credits: number },
            KIND_CLOSE => Body::Close,
            KIND_BREAK => Body::Break { cause: payload.text() },
            KIND_ERROR => Body::Error { missing: payload.u8()? != 0, cause: payload.text() },
            kind => return refuse(format!("kind {kind}")),
        };
        if !payload.0.is_empty() {
            return refuse("bytes behind the payload");
        }
        Ok(Self { channel, body })
    }
}

fn put_partition(out: &mut Vec<u8>, id: &ResultPartitionId) {
    out.extend_from_slice(&id.data_set.0.to_le_bytes());
    out.extend_from_slice(&id.producer.job.0.to_le_bytes());
    out.extend_from_slice(&id.producer.execution_vertex.vertex.0.to_le_bytes());
    out.extend_from_slice(&id.producer.execution_vertex.subtask.0.to_le_bytes());
    out.extend_from_slice(&id.producer.attempt.0.to_le_bytes());
}

fn type_code(partition_type: ResultPartitionType) -> u8 {
    match partition_type {
        ResultPartitionType::PipelinedBounded => 0,
        ResultPartitionType::Blocking => 1,
        ResultPartitionType::HybridFull => 2,
        ResultPartitionType::HybridSelective => 3,
    }
}

fn put_control(out: &mut Vec<u8>, element: &StreamElement) {
    match element {
        StreamElement::Batch(_) => unreachable!("batches travel as frames"),
        StreamElement::Watermark(watermark) => {
            out.push(1);
            out.extend_from_slice(&watermark.0.0.to_le_bytes());
        }
        StreamElement::WatermarkStatus(status) => {
            let code = match status {
                WatermarkStatus::Active => 0,
                WatermarkStatus::Idle => 1,
                WatermarkStatus::Finished => 2,
            };
            out.extend_from_slice(&[2, code]);
        }
        StreamElement::Barrier(barrier) => {
            out.push(3);
            out.extend_from_slice(&barrier.id.0.to_le_bytes());
            out.extend_from_slice(&barrier.timestamp_ms.to_le_bytes());
            let kind = match barrier.options.kind {
                SnapshotKind::Checkpoint => 0,
                SnapshotKind::Savepoint { stop: None } => 1,
                SnapshotKind::Savepoint { stop: Some(StopMode::Drain) } => 2,
                SnapshotKind::Savepoint { stop: Some(StopMode::NoDrain) } => 3,
            };
            let (alignment, timeout_ms) = match barrier.options.alignment {
                Alignment::Aligned => (0, 0),
                Alignment::AtLeastOnce => (1, 0),
                Alignment::Unaligned => (2, 0),
                Alignment::AlignedWithTimeout { timeout_ms } => (3, timeout_ms),
            };
            out.extend_from_slice(&[kind, alignment]);
            out.extend_from_slice(&timeout_ms.to_le_bytes());
        }
        StreamElement::LatencyMarker(marker) => {
            out.push(4);
            out.extend_from_slice(&marker.marked_ms.to_le_bytes());
            out.extend_from_slice(&marker.source.0.to_le_bytes());
        }
        StreamElement::EndOfData(StopMode::Drain) => out.extend_from_slice(&[5, 0]),
        StreamElement::EndOfData(StopMode::NoDrain) => out.extend_from_slice(&[5, 1]),
        StreamElement::EndOfPartition => out.push(6),
    }
}

/// Takes values off the front of bytes.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], MessageError> {
        let Some((value, rest)) = self.0.split_first_chunk::<N>() else { return refuse("cut off") };
        self.0 = rest;
        Ok(*value)
    }

    fn u8(&mut self) -> Result<u8, MessageError> {
        Ok(self.take::<1>()?[0])
    }

    fn u32(&mut self) -> Result<u32, MessageError> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, MessageError> {
        self.take().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Result<i64, MessageError> {
        self.take().map(i64::from_le_bytes)
    }

    fn text(&mut self) -> Arc<str> {
        String::from_utf8_lossy(std::mem::take(&mut self.0)).into()
    }

    fn partition(&mut self) -> Result<ResultPartitionId, MessageError> {
        let data_set = IntermediateDataSetId(self.u32()?);
        let job = JobId(self.take().map(u128::from_le_bytes)?);
        let (vertex, subtask) = (JobVertexId(self.u32()?), SubtaskIndex(self.u32()?));
        let attempt = AttemptNumber(self.u32()?);
        let execution_vertex = ExecutionVertexId { vertex, subtask };
        Ok(ResultPartitionId { data_set, producer: ExecutionAttemptId { job, execution_vertex, attempt } })
    }

    fn partition_type(&mut self) -> Result<ResultPartitionType, MessageError> {
        Ok(match self.u8()? {
            0 => ResultPartitionType::PipelinedBounded,
            1 => ResultPartitionType::Blocking,
            2 => ResultPartitionType::HybridFull,
            3 => ResultPartitionType::HybridSelective,
            code => return refuse(format!("partition type {code}")),
        })
    }

    fn control(&mut self) -> Result<StreamElement, MessageError> {
        Ok(match self.u8()? {
            1 => StreamElement::Watermark(Watermark(EventTime(self.i64()?))),
            2 => StreamElement::WatermarkStatus(match self.u8()? {
                0 => WatermarkStatus::Active,
                1 => WatermarkStatus::Idle,
                2 => WatermarkStatus::Finished,
                code => return refuse(format!("watermark status {code}")),
            }),
            3 => StreamElement::Barrier(self.barrier()?),
            4 => {
                let marked_ms = self.i64()?;
                StreamElement::LatencyMarker(LatencyMarker { marked_ms, source: SubtaskIndex(self.u32()?) })
            }
            5 => StreamElement::EndOfData(match self.u8()? {
                0 => StopMode::Drain,
                1 => StopMode::NoDrain,
                code => return refuse(format!("stop mode {code}")),
            }),
            6 => StreamElement::EndOfPartition,
            code => return refuse(format!("control element {code}")),
        })
    }

    fn barrier(&mut self) -> Result<CheckpointBarrier, MessageError> {
        let (id, timestamp_ms) = (CheckpointId(self.u64()?), self.i64()?);
        let kind = match self.u8()? {
            0 => SnapshotKind::Checkpoint,
            1 => SnapshotKind::Savepoint { stop: None },
            2 => SnapshotKind::Savepoint { stop: Some(StopMode::Drain) },
            3 => SnapshotKind::Savepoint { stop: Some(StopMode::NoDrain) },
            code => return refuse(format!("snapshot kind {code}")),
        };
        let (alignment, timeout_ms) = (self.u8()?, self.u64()?);
        let alignment = match alignment {
            0 => Alignment::Aligned,
            1 => Alignment::AtLeastOnce,
            2 => Alignment::Unaligned,
            3 => Alignment::AlignedWithTimeout { timeout_ms },
            code => return refuse(format!("alignment {code}")),
        };
        Ok(CheckpointBarrier { id, timestamp_ms, options: CheckpointOptions { kind, alignment } })
    }
}
