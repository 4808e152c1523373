//! The consumer's end of one job edge: n channels, read in turn.
//!
//! A channel is one subpartition of one producer's partition (a consumer of a range of subpartitions has a channel for
//! each). Channels that have something are in a ready queue and are read one element at a time, so none starves; those
//! with a priority element come first, also when they are blocked. A blocked channel (barrier alignment) is not read
//! until it is unblocked; what arrives waits where it is, and credit ends.
//!
//! Threading: the task that owns the gate calls it; listeners call `GateSignals` from any thread. A channel leaves the
//! ready queue *before* it is polled, so a notification during the poll puts it back: none is lost.

mod signals;

use std::sync::Arc;
use std::task::Waker;

use arrow_buffer::Buffer;
use flumen_core::element::StreamElement;
use flumen_core::graph::ResultPartitionType;
use flumen_core::ids::ResultPartitionId;

use crate::error::Result;
use crate::partition::{ChannelReader, DataListener};
use crate::transport::PartitionLocation;
pub(crate) use signals::{ChannelSignal, GateSignals};

/// Position of a channel in its gate, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelIndex(pub u32);

/// What one channel reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelInfo {
    /// The producer's partition.
    pub partition: ResultPartitionId,
    /// Which of its subpartitions.
    pub subpartition: u32,
}

/// One producer of a gate: which subpartitions of its partition the consumer reads, and where they are.
#[derive(Clone, Debug)]
pub struct InputDescriptor {
    /// The partition.
    pub partition: ResultPartitionId,
    /// Its subpartitions; each becomes a channel.
    pub subpartitions: std::ops::Range<u32>,
    /// Where it is.
    pub location: PartitionLocation,
}

/// Which gate to make.
#[derive(Clone, Debug)]
pub struct GateDescriptor {
    /// How the partitions are kept; decides what a missing one means.
    pub partition_type: ResultPartitionType,
    /// The producers, in order of their subtask index.
    pub inputs: Vec<InputDescriptor>,
}

struct Channel {
    info: ChannelInfo,
    /// `None` once it has ended.
    reader: Option<Box<dyn ChannelReader>>,
    blocked: bool,
}

/// See the module.
pub struct InputGate {
    channels: Vec<Channel>,
    signals: Arc<GateSignals>,
    /// Channels that have not ended.
    open: usize,
}

impl std::fmt::Debug for InputGate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InputGate").field("channels", &self.channels.len()).field("open", &self.open).finish()
    }
}

impl InputGate {
    /// Connects every channel; `connect` is given the channel's listener.
    pub(crate) fn connect(
        infos: &[ChannelInfo],
        signals: Arc<GateSignals>,
        mut connect: impl FnMut(ChannelIndex, ChannelInfo, Arc<dyn DataListener>) -> Result<Box<dyn ChannelReader>>,
    ) -> Result<Self> {
        let mut channels = Vec::with_capacity(infos.len());
        for (index, info) in infos.iter().enumerate() {
            let index = ChannelIndex(index as u32);
            let listener = Arc::new(ChannelSignal::new(Arc::clone(&signals), index));
            let reader = connect(index, *info, listener)?;
            channels.push(Channel { info: *info, reader: Some(reader), blocked: false });
        }
        let open = channels.len();
        Ok(Self { channels, signals, open })
    }

    /// Number of channels.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// What a channel reads.
    ///
    /// # Panics
    /// If there is no such channel.
    #[must_use]
    pub fn channel_info(&self, channel: ChannelIndex) -> ChannelInfo {
        self.channels[channel.0 as usize].info
    }

    /// Whom to wake when [`InputGate::poll_next`] may give something; called at once if it may already.
    pub fn set_waker(&mut self, waker: Waker) {
        self.signals.set_waker(waker);
    }

    /// The next element and the channel it came on, or `None` until the waker is called. After a channel's
    /// `EndOfPartition` nothing follows on it; [`InputGate::is_finished`] tells when that is so for all.
    ///
    /// # Errors
    /// Of the channel that failed; the task is expected to fail with it.
    pub fn poll_next(&mut self) -> Result<Option<(ChannelIndex, StreamElement)>> {
        while let Some((index, priority)) = self.signals.take_next() {
            let channel = &mut self.channels[index.0 as usize];
            let Some(reader) = &mut channel.reader else { continue };
            let priority_only = channel.blocked;
            if priority_only && !priority {
                // Unblocking queues it again.
                continue;
            }
            let Some(polled) = reader.poll(priority_only)? else { continue };
            if matches!(polled.element, StreamElement::EndOfPartition) {
                channel.reader = None;
                self.open -= 1;
            } else if polled.more && !channel.blocked {
                self.signals.put_back(index);
            }
            return Ok(Some((index, polled.element)));
        }
        Ok(None)
    }

    /// Whether a poll may give something: channels are in the ready queue.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.signals.is_ready()
    }

    /// Whether every channel has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.open == 0
    }

    /// Reads nothing more from a channel, but for priority elements, until it is unblocked.
    ///
    /// # Panics
    /// If there is no such channel.
    pub fn block_channel(&mut self, channel: ChannelIndex) {
        self.channels[channel.0 as usize].blocked = true;
    }

    /// Resumes a channel.
    ///
    /// # Panics
    /// If there is no such channel.
    pub fn unblock_channel(&mut self, channel: ChannelIndex) {
        let state = &mut self.channels[channel.0 as usize];
        if std::mem::take(&mut state.blocked) {
            self.signals.put_back(channel);
        }
    }

    /// Resumes every channel: the barriers are all there.
    pub fn resume(&mut self) {
        for index in 0..self.channels.len() {
            self.unblock_channel(ChannelIndex(index as u32));
        }
    }

    /// Elements that could be read without waiting.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.readers().map(|reader| reader.queued()).sum()
    }

    /// Share of the receive capacity in use, averaged over channels (Flink's `inPoolUsage`).
    #[must_use]
    pub fn in_pool_usage(&self) -> f32 {
        let usage: f32 = self.readers().map(|reader| reader.usage()).sum();
        if self.open == 0 { 0.0 } else { usage / self.open as f32 }
    }

    fn readers(&self) -> impl Iterator<Item = &dyn ChannelReader> {
        self.channels.iter().filter_map(|c| c.reader.as_deref())
    }

    /// Batches that arrived on a channel and are not consumed, as self-contained frames, for an unaligned snapshot.
    ///
    /// # Errors
    /// If one cannot be encoded.
    ///
    /// # Panics
    /// If there is no such channel.
    pub fn snapshot_channel_state(&self, channel: ChannelIndex) -> Result<Vec<Buffer>> {
        let state = &self.channels[channel.0 as usize];
        let batches = state.reader.as_ref().map_or_else(|| Ok(Vec::new()), |reader| reader.in_flight())?;
        crate::snapshot::encode_frames(state.info.partition, &batches)
    }

    /// Breaks every connection because the task failed; producers learn of it. Dropping the gate ends them in peace.
    pub fn fail(&mut self, cause: &str) {
        for channel in &mut self.channels {
            if let Some(mut reader) = channel.reader.take() {
                reader.break_connection(cause);
            }
        }
        self.open = 0;
    }
}
