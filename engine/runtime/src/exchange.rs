//! The task's view of gates and partitions, over `flumen-network`'s own.

use flumen_core::element::StreamElement;
use flumen_core::failure::Failure;
use flumen_io::MonotonicTime;
use flumen_network::{ChannelIndex, InputGate, ResultPartitionWriter};

use crate::chain::ElementWriter;
use crate::task::ElementReader;

/// An input gate.
pub struct GateReader {
    gate: Option<InputGate>,
    channels: usize,
}

impl GateReader {
    /// Over a gate whose waker is set.
    #[must_use]
    pub fn new(gate: InputGate) -> Self {
        Self { channels: gate.channels(), gate: Some(gate) }
    }
}

impl ElementReader for GateReader {
    fn channels(&self) -> usize {
        self.channels
    }

    fn poll_next(&mut self) -> Result<Option<(usize, StreamElement)>, Failure> {
        let Some(gate) = &mut self.gate else { return Ok(None) };
        let polled = gate.poll_next().map_err(Failure::from)?;
        Ok(polled.map(|(channel, element)| (channel.0 as usize, element)))
    }

    fn block(&mut self, channel: usize) {
        if let Some(gate) = &mut self.gate {
            gate.block_channel(ChannelIndex(channel as u32));
        }
    }

    fn unblock(&mut self, channel: usize) {
        if let Some(gate) = &mut self.gate {
            gate.unblock_channel(ChannelIndex(channel as u32));
        }
    }

    fn close(&mut self) {
        // Dropping a gate tells its producers that nothing more is wanted.
        self.gate = None;
    }
}

/// A result partition. Dropped before it was finished, it tells its consumers that the producer is gone.
pub struct PartitionWriter {
    writer: ResultPartitionWriter,
    next_flush: Option<MonotonicTime>,
    finished: bool,
}

impl PartitionWriter {
    /// Over a writer whose waker is set.
    #[must_use]
    pub fn new(writer: ResultPartitionWriter) -> Self {
        Self { writer, next_flush: None, finished: false }
    }
}

impl ElementWriter for PartitionWriter {
    fn is_available(&mut self) -> bool {
        self.writer.is_available()
    }

    fn write(&mut self, element: StreamElement) -> Result<(), Failure> {
        match element {
            StreamElement::Batch(batch) => self.writer.emit(batch).map(|_| ()).map_err(Failure::from),
            StreamElement::EndOfPartition => {
                self.finished = true;
                self.writer.finish().map_err(Failure::from)
            }
            control => self.writer.broadcast_event(control).map_err(Failure::from),
        }
    }

    fn is_closed(&self) -> bool {
        self.writer.is_closed()
    }

    fn is_settled(&mut self) -> Result<bool, Failure> {
        self.writer.is_settled().map_err(Failure::from)
    }

    fn next_flush(&self) -> Option<MonotonicTime> {
        self.next_flush
    }

    fn flush_due(&mut self, now: MonotonicTime, _idle: bool) -> Result<(), Failure> {
        if !self.finished {
            self.next_flush = self.writer.flush_due(now).map_err(Failure::from)?;
        } else {
            self.next_flush = None;
        }
        Ok(())
    }
}

impl Drop for PartitionWriter {
    fn drop(&mut self) {
        if !self.finished {
            self.writer.fail("its producer ended before its data did");
        }
    }
}
