//! Result partitions, input gates, credits and the transport between them.
//!
//! A producer's task owns a [`ResultPartitionWriter`] for each data set; rows go by the edge's partitioner to
//! subpartitions, which a partition keeps until they are consumed (PIPELINED), on file (BLOCKING), or in memory first
//! and on file under pressure (HYBRID). A consumer's task owns an [`InputGate`] for each edge, whose channels reach
//! partitions through a [`Transport`]: in the same process batches are handed over as they are, elsewhere they travel
//! as frames under credit. Nothing here blocks: a producer without room and a gate without data say so and wake.
//!
//! | module | holds |
//! |---|---|
//! | [`writer`] | the producer's end: partitioners, scatter, flushing |
//! | [`partition`] | what is kept between both ends, by type |
//! | [`gate`] | the consumer's end: channels, fairness, blocking |
//! | [`registry`] | the partitions of a TaskManager |
//! | [`credit`] | how much a producer may send to another process |
//! | [`transport`] | how a channel reaches its partition |
//! | [`environment`] | makes writers and gates |
//! | [`error`] | what can go wrong, and how control is to treat it |

mod budget;
mod charge;
pub mod credit;
pub mod environment;
pub mod error;
pub mod gate;
pub mod partition;
pub mod registry;
mod size;
mod snapshot;
mod spill;
#[cfg(test)]
mod tests;
pub mod transport;
pub mod writer;

pub use credit::CreditConfig;
pub use credit::gate::GateCredits;
pub use environment::{EnvironmentOptions, ShuffleEnvironment};
pub use error::{NetworkError, Result};
pub use gate::{ChannelIndex, ChannelInfo, GateDescriptor, InputDescriptor, InputGate};
pub use partition::{ChannelReader, DataListener, PieceLimit, Polled};
pub use registry::PartitionRegistry;
pub use transport::{
    ChannelEndpoint, ChannelRequest, HostileOptions, HostileTransport, LocalTransport, PartitionLocation, Transport,
};
pub use writer::{
    CustomPartitioner, PartitionConfig, PartitionDescriptor, PartitionerRegistry, ResultPartitionWriter,
    WriterCounters, WriterStatus,
};
