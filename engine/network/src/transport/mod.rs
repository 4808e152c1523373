//! How a gate reaches partitions: in this process, or through frames to another.
//!
//! A [`Transport`] turns a request for a subpartition into a [`ChannelReader`]. [`LocalTransport`] hands out the
//! partition's own reader, so batches are handed over and nothing is copied. [`remote`] is what channels to other
//! processes have in common; [`HostileTransport`] drives it in tests.

pub mod hostile;
mod local;
pub mod remote;

use std::sync::Arc;

use flumen_core::graph::ResultPartitionType;
use flumen_core::ids::ResultPartitionId;

use crate::credit::gate::GateCredits;
use crate::error::Result;
use crate::partition::{ChannelReader, DataListener};

pub use hostile::{HostileOptions, HostileTransport};
pub use local::LocalTransport;

/// Where a partition is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PartitionLocation {
    /// On this TaskManager.
    Local,
    /// On the TaskManager with this data address.
    Remote(Arc<str>),
}

/// What a channel wants.
#[derive(Clone, Debug)]
pub struct ChannelRequest {
    /// The partition.
    pub partition: ResultPartitionId,
    /// Which of its subpartitions.
    pub subpartition: u32,
    /// How it is kept: a stored partition has to be there, a pipelined one may be deployed a moment later.
    pub partition_type: ResultPartitionType,
    /// Where it is.
    pub location: PartitionLocation,
}

/// The gate's side of a channel.
pub struct ChannelEndpoint {
    /// Told when there is something to read.
    pub listener: Arc<dyn DataListener>,
    /// The gate's credits, for transports that need them.
    pub credits: Arc<GateCredits>,
    /// Index of the channel in its gate.
    pub index: u32,
}

/// See the module.
pub trait Transport: Send + Sync {
    /// Connects a channel. It never waits: what cannot be known yet is reported by the reader's polls.
    ///
    /// # Errors
    /// If the request cannot succeed.
    fn connect(&self, request: &ChannelRequest, endpoint: ChannelEndpoint) -> Result<Box<dyn ChannelReader>>;
}
