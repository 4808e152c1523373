//! Channels within one process: the reader of the partition itself, once the partition is there.
//!
//! A pipelined consumer may be deployed before its producer, so a channel waits in the registry until the partition is
//! registered, or the request times out.

use std::sync::Arc;

use super::{ChannelEndpoint, ChannelRequest, Transport};
use crate::error::{NetworkError, Result};
use crate::partition::{ChannelReader, DataListener, PieceLimit, Polled};
use crate::registry::{Lookup, PartitionRegistry};

/// See the module.
pub struct LocalTransport {
    registry: Arc<PartitionRegistry>,
}

impl LocalTransport {
    /// Channels to the partitions of this registry.
    #[must_use]
    pub fn new(registry: Arc<PartitionRegistry>) -> Self {
        Self { registry }
    }
}

impl Transport for LocalTransport {
    fn connect(&self, request: &ChannelRequest, endpoint: ChannelEndpoint) -> Result<Box<dyn ChannelReader>> {
        self.open(request, endpoint.listener)
    }
}

impl LocalTransport {
    /// A reader without credits: the producing end of a channel to another process reads like a local consumer.
    pub(crate) fn open(
        &self,
        request: &ChannelRequest,
        listener: Arc<dyn DataListener>,
    ) -> Result<Box<dyn ChannelReader>> {
        let mut channel = LocalChannel {
            registry: Arc::clone(&self.registry),
            request: request.clone(),
            state: State::Waiting { listener },
        };
        channel.try_open()?;
        Ok(Box::new(channel))
    }
}

enum State {
    Waiting { listener: Arc<dyn DataListener> },
    Open(Box<dyn ChannelReader>),
    Failed(NetworkError),
}

struct LocalChannel {
    registry: Arc<PartitionRegistry>,
    request: ChannelRequest,
    state: State,
}

impl LocalChannel {
    fn try_open(&mut self) -> Result<()> {
        let State::Waiting { listener } = &self.state else { return Ok(()) };
        match self.registry.lookup(&self.request, listener) {
            Lookup::Waiting => {}
            Lookup::Found(store) => match store.open(self.request.subpartition, Arc::clone(listener)) {
                Ok(reader) => self.state = State::Open(reader),
                Err(error) => {
                    self.state = State::Failed(error.clone());
                    return Err(error);
                }
            },
            Lookup::Missing(error) => {
                self.registry.stop_waiting(self.request.partition, listener);
                self.state = State::Failed(error.clone());
                return Err(error);
            }
        }
        Ok(())
    }
}

impl ChannelReader for LocalChannel {
    fn poll(&mut self, priority_only: bool) -> Result<Option<Polled>> {
        self.try_open()?;
        match &mut self.state {
            State::Waiting { .. } => Ok(None),
            State::Open(reader) => reader.poll(priority_only),
            State::Failed(error) => Err(error.clone()),
        }
    }

    fn poll_piece(&mut self, limit: PieceLimit) -> Result<Option<Polled>> {
        self.try_open()?;
        match &mut self.state {
            State::Waiting { .. } => Ok(None),
            State::Open(reader) => reader.poll_piece(limit),
            State::Failed(error) => Err(error.clone()),
        }
    }

    fn queued(&self) -> usize {
        if let State::Open(reader) = &self.state { reader.queued() } else { 0 }
    }

    fn usage(&self) -> f32 {
        if let State::Open(reader) = &self.state { reader.usage() } else { 0.0 }
    }

    fn break_connection(&mut self, cause: &str) {
        if let State::Open(reader) = &mut self.state {
            reader.break_connection(cause);
        }
    }
}

impl Drop for LocalChannel {
    fn drop(&mut self) {
        if let State::Waiting { listener } = &self.state {
            self.registry.stop_waiting(self.request.partition, listener);
        }
    }
}
