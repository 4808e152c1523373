//! The producing end of a channel: a partition's reader in, messages out, as far as credit goes.
//!
//! Rows are taken from the partition only when there is credit, and no more than it pays for, so that what is not sent
//! stays in the partition, where an unaligned snapshot finds it. Where the estimate was too low, or the partition is a
//! stored one and gives whole batches, frames wait here. An element that overtakes sends them first, beyond credit if
//! need be (Flink's overdraft): on the consumer's side they become part of what was overtaken. Owned by whatever drives
//! the connection; not shared.

use std::collections::VecDeque;

use arrow_buffer::Buffer;
use flumen_core::batch::Batch;
use flumen_core::element::StreamElement;
use flumen_core::ids::ResultPartitionId;
use flumen_formats_ipc::{EncodeOptions, FrameEncoder};
use std::sync::Arc;

use super::message::{Body, Message};
use crate::credit::CreditConfig;
use crate::credit::send::SendCredits;
use crate::error::{NetworkError, Result};
use crate::partition::{ChannelReader, PieceLimit};
use crate::size::batch_bytes;

/// Header, schema, metadata and padding of a frame of some tens of columns.
const FRAME_OVERHEAD_BYTES: usize = 8 << 10;

/// Waits for its turn, or for credit.
enum Waiting {
    Frame { frame: Buffer, cost: u32 },
    Control(StreamElement),
}

/// See the module.
pub(crate) struct OutboundChannel {
    channel: u64,
    partition: ResultPartitionId,
    reader: Box<dyn ChannelReader>,
    encoder: FrameEncoder,
    config: CreditConfig,
    credits: SendCredits,
    waiting: VecDeque<Waiting>,
    /// An element that overtakes, and that waits only for the frames in `waiting`.
    urgent: Option<StreamElement>,
    /// Backlog of the partition, as its reader said last.
    behind: u32,
    sequence: u64,
    /// Rows of a frame at most; a hostile transport makes them few.
    rows_max: usize,
    /// `EndOfPartition` or an error was sent.
    ended: bool,
}

impl OutboundChannel {
    pub(crate) fn new(
        channel: u64,
        partition: ResultPartitionId,
        reader: Box<dyn ChannelReader>,
        config: CreditConfig,
        credits: u32,
    ) -> Self {
        Self {
            channel,
            partition,
            reader,
            encoder: FrameEncoder::new(EncodeOptions::default()),
            config,
            credits: SendCredits::new(credits),
            waiting: VecDeque::new(),
            urgent: None,
            behind: 0,
            sequence: 0,
            rows_max: usize::MAX,
            ended: false,
        }
    }

    pub(crate) fn set_rows_max(&mut self, rows_max: usize) {
        self.rows_max = rows_max.max(1);
    }

    pub(crate) fn on_grant(&mut self, credits: u32) {
        self.credits.on_grant(credits);
    }

    /// The consumer or the connection failed: the producer learns of it.
    pub(crate) fn on_break(&mut self, cause: &str) {
        self.reader.break_connection(cause);
        self.ended = true;
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Appends the messages that can be sent now, at most `limit`; `true` if there may be more at once.
    pub(crate) fn pump(&mut self, limit: usize, out: &mut Vec<Message>) -> bool {
        for _ in 0..limit {
            if self.ended {
                return false;
            }
            match self.step() {
                Ok(Some(body)) => out.push(Message { channel: self.channel, body }),
                Ok(None) => return false,
                Err(error) => {
                    self.ended = true;
                    let missing = matches!(error, NetworkError::PartitionNotFound { .. });
                    let body = Body::Error { missing, cause: error.to_string().into() };
                    out.push(Message { channel: self.channel, body });
                    return false;
                }
            }
        }
        true
    }

    fn step(&mut self) -> Result<Option<Body>> {
        loop {
            if self.urgent.is_none() {
                self.urgent = self.reader.poll(true)?.map(|polled| polled.element);
            }
            match self.waiting.pop_front() {
                Some(Waiting::Control(element)) => return Ok(Some(self.control(element, false))),
                Some(Waiting::Frame { frame, cost }) if self.credits.try_spend(cost) => {
                    return Ok(Some(self.data(frame, cost, false)));
                }
                Some(Waiting::Frame { frame, .. }) if self.urgent.is_some() => {
                    let rest = self.credits.spend_rest();
                    return Ok(Some(self.data(frame, rest, true)));
                }
                Some(frame) => {
                    self.waiting.push_front(frame);
                    return Ok(self.announce());
                }
                None if self.urgent.is_some() => {
                    return Ok(self.urgent.take().map(|element| self.control(element, true)));
                }
                None if self.credits.available() == 0 => {
                    self.behind = u32::try_from(self.reader.queued()).unwrap_or(u32::MAX);
                    return Ok(if self.behind > 0 { self.announce() } else { None });
                }
                None => {}
            }
            let Some(polled) = self.reader.poll_piece(self.piece_limit())? else {
                self.behind = 0;
                return Ok(None);
            };
            self.behind = polled.backlog;
            match polled.element {
                StreamElement::Batch(batch) => self.cut(&batch)?,
                control => self.waiting.push_back(Waiting::Control(control)),
            }
        }
    }

    /// What credit pays for, less what a frame takes beyond its rows.
    fn piece_limit(&self) -> PieceLimit {
        let credits = self.credits.available().min(self.config.exclusive_per_channel) as usize;
        let bytes = (credits * self.config.segment_bytes).saturating_sub(FRAME_OVERHEAD_BYTES).max(1);
        PieceLimit { bytes, rows: self.rows_max }
    }

    fn data(&mut self, frame: Buffer, cost: u32, beyond_credit: bool) -> Body {
        Body::Data { sequence: self.next_sequence(), backlog: self.backlog(), cost, beyond_credit, frame }
    }

    /// Tells the consumer that something waits, once.
    fn announce(&mut self) -> Option<Body> {
        self.credits.should_announce().then(|| Body::Backlog { backlog: self.backlog() })
    }

    fn backlog(&self) -> u32 {
        let here = self.waiting.iter().map(|waiting| if let Waiting::Frame { cost, .. } = waiting { *cost } else { 0 });
        here.fold(self.behind, u32::saturating_add)
    }

    fn control(&mut self, element: StreamElement, overtakes: bool) -> Body {
        self.ended = matches!(element, StreamElement::EndOfPartition);
        Body::Control { sequence: self.next_sequence(), overtakes, element }
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence - 1
    }

    /// Frames of a batch, each within the channel's exclusive share. Rows are taken to be about equally wide; a piece
    /// that is still too large is halved, and a single row that is too large goes as it is.
    fn cut(&mut self, batch: &Batch) -> Result<()> {
        let bytes_max = self.config.frame_bytes_max();
        let rows = batch.num_rows();
        let pieces = batch_bytes(batch).div_ceil(bytes_max).max(1);
        let step = rows.div_ceil(pieces).clamp(1, self.rows_max);
        let mut parts: VecDeque<Batch> =
            (0..rows).step_by(step).map(|offset| batch.slice(offset, step.min(rows - offset))).collect();
        while let Some(part) = parts.pop_front() {
            let frame = self
                .encoder
                .encode(&part)
                .map_err(|source| NetworkError::Frame { partition: self.partition, source: Arc::new(source) })?;
            if frame.len() > bytes_max && part.num_rows() > 1 {
                // The frame is thrown away; if it brought the schema, the next one has to bring it again.
                self.encoder.reset();
                let half = part.num_rows() / 2;
                parts.push_front(part.slice(half, part.num_rows() - half));
                parts.push_front(part.slice(0, half));
                continue;
            }
            let cost = self.config.cost(frame.len());
            self.waiting.push_back(Waiting::Frame { frame, cost });
        }
        Ok(())
    }
}
