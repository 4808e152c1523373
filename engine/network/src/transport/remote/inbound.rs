//! The consuming end of a channel: messages in, elements out, credits back.
//!
//! [`InboundChannel`] is shared by the connection, which delivers messages, and the gate's reader. Data waits encoded
//! and is decoded when it is read, so what credit bounds is what is held. Messages carry a sequence number: a gap or a
//! repetition means that the carrier is broken, and fails the channel.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_buffer::Buffer;
use flumen_core::batch::Batch;
use flumen_core::element::StreamElement;
use flumen_core::ids::ResultPartitionId;
use flumen_formats_ipc::{DecodeOptions, FrameDecoder};
use parking_lot::Mutex;

use super::message::Body;
use crate::credit::gate::GateCredits;
use crate::error::{NetworkError, Result};
use crate::partition::{ChannelReader, DataListener, Polled};

enum Arrived {
    Frame { frame: Buffer, cost: u32 },
    Control(StreamElement),
}

#[derive(Default)]
struct State {
    queue: VecDeque<Arrived>,
    /// How many elements at the front overtook.
    priority: usize,
    sequence: u64,
    /// The last element has arrived.
    ended: bool,
    failure: Option<NetworkError>,
}

/// What the connection sees of a channel.
pub(crate) struct InboundChannel {
    partition: ResultPartitionId,
    subpartition: u32,
    /// Index among the gate's channels.
    index: u32,
    credits: Arc<GateCredits>,
    listener: Arc<dyn DataListener>,
    state: Mutex<State>,
}

impl InboundChannel {
    pub(crate) fn new(
        partition: ResultPartitionId,
        subpartition: u32,
        index: u32,
        credits: Arc<GateCredits>,
        listener: Arc<dyn DataListener>,
    ) -> Arc<Self> {
        Arc::new(Self { partition, subpartition, index, credits, listener, state: Mutex::default() })
    }

    /// Takes a message of the producer.
    pub(crate) fn on_message(&self, body: Body) {
        match body {
            Body::Data { sequence, backlog, cost, beyond_credit, frame } => {
                let full = self.credits.config().cost(frame.len());
                if cost == full || (beyond_credit && cost < full) {
                    self.on_data(sequence, backlog, cost, frame);
                } else {
                    self.fail(self.violation(format!("a frame that costs {full} credits was sent for {cost}")));
                }
            }
            Body::Control { sequence, overtakes, element } => {
                if self.check_sequence(sequence) {
                    self.queue(Arrived::Control(element), overtakes);
                }
            }
            Body::Backlog { backlog } => self.credits.on_backlog(self.index, backlog),
            Body::Error { missing: true, .. } => {
                self.fail(NetworkError::PartitionNotFound { partition: self.partition });
            }
            Body::Error { missing: false, cause } => {
                self.fail(NetworkError::ProducerFailed { partition: self.partition, cause });
            }
            Body::Open { .. } | Body::Grant { .. } | Body::Close | Body::Break { .. } => {
                self.fail(self.violation("a message that only consumers send".to_owned()));
            }
        }
    }

    fn on_data(&self, sequence: u64, backlog: u32, cost: u32, frame: Buffer) {
        if !self.check_sequence(sequence) {
            return;
        }
        match self.credits.on_data(self.index, cost, backlog) {
            Ok(()) => self.queue(Arrived::Frame { frame, cost }, false),
            Err(overspent) => {
                let problem = format!("a frame costs {} credits, {} were given", overspent.cost, overspent.granted);
                self.fail(self.violation(problem));
            }
        }
    }

    fn check_sequence(&self, sequence: u64) -> bool {
        let expected = {
            let mut state = self.state.lock();
            state.sequence += 1;
            state.sequence - 1
        };
        if sequence != expected {
            self.fail(self.violation(format!("message {sequence} where {expected} is due")));
        }
        sequence == expected
    }

    fn violation(&self, problem: String) -> NetworkError {
        NetworkError::Protocol { partition: self.partition, problem: problem.into() }
    }

    fn queue(&self, arrived: Arrived, overtakes: bool) {
        {
            let mut state = self.state.lock();
            if state.failure.is_some() {
                return;
            }
            state.ended |= matches!(arrived, Arrived::Control(StreamElement::EndOfPartition));
            if overtakes {
                let position = state.priority;
                state.queue.insert(position, arrived);
                state.priority += 1;
            } else {
                state.queue.push_back(arrived);
            }
        }
        if overtakes { self.listener.priority_available() } else { self.listener.data_available() }
    }

    /// The connection broke, or the producer's end did. What came after `EndOfPartition` does not matter.
    pub(crate) fn fail(&self, error: NetworkError) {
        {
            let mut state = self.state.lock();
            if state.ended {
                return;
            }
            state.queue.clear();
            state.priority = 0;
            state.failure.get_or_insert(error);
        }
        self.listener.data_available();
    }

    pub(crate) fn fail_connection(&self, cause: &str) {
        let (partition, subpartition) = (self.partition, self.subpartition);
        self.fail(NetworkError::ConnectionBroken { partition, subpartition, cause: cause.into() });
    }
}

/// How the reader tells the producer's end that it has gone.
pub(crate) trait ReturnPath: Send {
    fn send(&self, body: Body);
}

/// The gate's reader of a channel.
pub(crate) struct InboundReader {
    channel: Arc<InboundChannel>,
    decoder: FrameDecoder,
    path: Box<dyn ReturnPath>,
    broken: bool,
}

impl InboundReader {
    pub(crate) fn new(channel: Arc<InboundChannel>, path: Box<dyn ReturnPath>) -> Self {
        Self { channel, decoder: FrameDecoder::new(DecodeOptions::default()), path, broken: false }
    }
}

impl ChannelReader for InboundReader {
    fn poll(&mut self, priority_only: bool) -> Result<Option<Polled>> {
        let (arrived, more) = {
            let mut state = self.channel.state.lock();
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            if priority_only && state.priority == 0 {
                return Ok(None);
            }
            let Some(arrived) = state.queue.pop_front() else { return Ok(None) };
            state.priority = state.priority.saturating_sub(1);
            (arrived, !state.queue.is_empty())
        };
        let element = match arrived {
            Arrived::Control(element) => element,
            Arrived::Frame { frame, cost } => {
                let batch = self.decoder.decode(&frame).map_err(|source| {
                    let error = NetworkError::Frame { partition: self.channel.partition, source: Arc::new(source) };
                    self.channel.fail(error.clone());
                    error
                })?;
                self.channel.credits.on_consumed(self.channel.index, cost);
                StreamElement::Batch(batch)
            }
        };
        Ok(Some(Polled { element, more, backlog: 0 }))
    }

    fn queued(&self) -> usize {
        self.channel.state.lock().queue.len()
    }

    fn usage(&self) -> f32 {
        self.channel.credits.usage(self.channel.index)
    }

    fn in_flight(&self) -> Result<Vec<Batch>> {
        // Frames of a channel build on each other only through the schema, which the decoder has or the first brings;
        // a decoder of their own reads them without taking them.
        let state = self.channel.state.lock();
        let mut decoder = self.decoder.clone();
        let frames =
            state.queue.iter().filter_map(|a| if let Arrived::Frame { frame, .. } = a { Some(frame) } else { None });
        frames
            .map(|frame| {
                decoder.decode(frame).map_err(|source| NetworkError::Frame {
                    partition: self.channel.partition,
                    source: Arc::new(source),
                })
            })
            .collect()
    }

    fn break_connection(&mut self, cause: &str) {
        self.broken = true;
        self.path.send(Body::Break { cause: cause.into() });
    }
}

impl Drop for InboundReader {
    fn drop(&mut self) {
        self.channel.credits.close(self.channel.index);
        if !self.broken {
            self.path.send(Body::Close);
        }
    }
}
