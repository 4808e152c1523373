//! The exchange of one TaskManager: makes writers and gates, owns the registry and the spill space.

use std::sync::Arc;

use flumen_core::graph::ResultPartitionType;
use flumen_core::ids::ResultPartitionId;
use flumen_core::meter::MemoryMeter;
use flumen_core::waiting::BlockingExecutor;
use flumen_io::{FileSystem, Rng};
use flumen_memory::{BufferPoolOptions, NetworkBufferPool};

use crate::charge::MemoryCharge;
use crate::credit::CreditConfig;
use crate::credit::gate::GateCredits;
use crate::error::{NetworkError, Result};
use crate::gate::{ChannelInfo, GateDescriptor, GateSignals, InputGate};
use crate::partition::PartitionStore;
use crate::partition::pipelined::PipelinedPartition;
use crate::partition::stored::{StoredOptions, StoredPartition};
use crate::registry::PartitionRegistry;
use crate::spill::SpillSpace;
use crate::transport::{ChannelEndpoint, ChannelRequest, LocalTransport, Transport};
use crate::writer::{PartitionConfig, PartitionDescriptor, PartitionerRegistry, ResultPartitionWriter};

/// Buffers that a pipelined partition is guaranteed. Batches are handed over whole, so one is enough to make progress
/// with any number of subpartitions; two let the consumer work while the producer does.
const BUFFERS_MIN: usize = 2;

/// What the environment needs from its process.
#[derive(Clone)]
pub struct EnvironmentOptions {
    /// Where spill files are made; the directory is made at the first spill.
    pub spill_directory: std::path::PathBuf,
    /// Through what.
    pub file_system: Arc<dyn FileSystem>,
    /// Where reads and writes wait.
    pub blocking: Arc<dyn BlockingExecutor>,
    /// The process's network buffers, of which every pipelined partition has a share.
    pub buffers: NetworkBufferPool,
    /// User-defined partitioners.
    pub partitioners: PartitionerRegistry,
    /// Credits of gates.
    pub credits: CreditConfig,
}

impl EnvironmentOptions {
    /// Without user-defined partitioners, with default credits.
    #[must_use]
    pub fn new(
        spill_directory: impl Into<std::path::PathBuf>,
        file_system: Arc<dyn FileSystem>,
        blocking: Arc<dyn BlockingExecutor>,
        buffers: NetworkBufferPool,
    ) -> Self {
        Self {
            spill_directory: spill_directory.into(),
            file_system,
            blocking,
            buffers,
            partitioners: PartitionerRegistry::default(),
            credits: CreditConfig::default(),
        }
    }
}

/// See the module.
pub struct ShuffleEnvironment {
    options: EnvironmentOptions,
    registry: Arc<PartitionRegistry>,
    transport: Arc<dyn Transport>,
    spill: Arc<SpillSpace>,
}

impl ShuffleEnvironment {
    /// An environment whose channels stay in this process.
    #[must_use]
    pub fn local(options: EnvironmentOptions) -> Self {
        let registry = PartitionRegistry::new();
        let transport = Arc::new(LocalTransport::new(Arc::clone(&registry)));
        Self::with_transport(options, registry, transport)
    }

    /// An environment over another transport, which knows the same registry.
    #[must_use]
    pub fn with_transport(
        options: EnvironmentOptions,
        registry: Arc<PartitionRegistry>,
        transport: Arc<dyn Transport>,
    ) -> Self {
        let spill = SpillSpace::new(Arc::clone(&options.file_system), options.spill_directory.clone());
        Self { options, registry, transport, spill }
    }

    /// The partitions of this TaskManager.
    #[must_use]
    pub fn registry(&self) -> &Arc<PartitionRegistry> {
        &self.registry
    }

    /// Makes and registers a partition and returns its producer's end. `meter` is charged for what a stored one
    /// holds in memory; a pipelined one has a share of the network buffers.
    ///
    /// # Errors
    /// If the partitioner does not fit, the partition exists already, or the network buffers do not suffice.
    pub fn create_writer(
        &self,
        descriptor: &PartitionDescriptor,
        config: PartitionConfig,
        meter: Arc<dyn MemoryMeter>,
        rng: Rng,
    ) -> Result<ResultPartitionWriter> {
        let selector = ResultPartitionWriter::selector(descriptor, &self.options.partitioners, rng)?;
        let store = self.create_store(descriptor, &config, meter)?;
        self.registry.register(Arc::clone(&store))?;
        Ok(ResultPartitionWriter::new(store, selector, Arc::clone(&descriptor.schema), config))
    }

    fn create_store(
        &self,
        descriptor: &PartitionDescriptor,
        config: &PartitionConfig,
        meter: Arc<dyn MemoryMeter>,
    ) -> Result<Arc<dyn PartitionStore>> {
        let id = descriptor.id;
        match descriptor.partition_type {
            ResultPartitionType::PipelinedBounded => {
                let registry = Arc::downgrade(&self.registry);
                let on_consumed = Box::new(move |id: ResultPartitionId| {
                    if let Some(registry) = registry.upgrade() {
                        registry.remove_consumed(id);
                    }
                });
                let most = usize::try_from(config.limit_segments(descriptor.subpartitions)).unwrap_or(usize::MAX);
                let options = BufferPoolOptions::new(id.to_string(), BUFFERS_MIN.min(most), most);
                let refused = |source| NetworkError::Buffers { partition: id, source: Arc::new(source) };
                let buffers = self.options.buffers.create_pool(options).map_err(refused)?;
                Ok(Arc::new(PipelinedPartition::new(
                    id,
                    descriptor.subpartitions,
                    config.segment_bytes,
                    buffers,
                    u64::from(config.segments_per_subpartition_max),
                    on_consumed,
                )))
            }
            partition_type => Ok(StoredPartition::new(StoredOptions {
                id,
                partition_type,
                subpartitions: descriptor.subpartitions,
                memory_bytes: config.store_memory_bytes,
                compress: config.compress,
                charge: MemoryCharge::new(meter),
                spill: self.spill.enter(id.to_string()),
                blocking: Arc::clone(&self.options.blocking),
            })),
        }
    }

    /// Makes a gate and connects its channels: one for each subpartition of each input, in order.
    ///
    /// # Errors
    /// If a partition that has to be there is not.
    pub fn create_gate(&self, descriptor: &GateDescriptor) -> Result<InputGate> {
        let mut infos = Vec::new();
        let mut requests = Vec::new();
        for input in &descriptor.inputs {
            for subpartition in input.subpartitions.clone() {
                infos.push(ChannelInfo { partition: input.partition, subpartition });
                requests.push(ChannelRequest {
                    partition: input.partition,
                    subpartition,
                    partition_type: descriptor.partition_type,
                    location: input.location.clone(),
                });
            }
        }
        let signals = Arc::new(GateSignals::new(infos.len()));
        let credits = GateCredits::new(self.options.credits, infos.len());
        InputGate::connect(&infos, signals, |index, _, listener| {
            let endpoint = ChannelEndpoint { listener, credits: Arc::clone(&credits), index: index.0 };
            self.transport.connect(&requests[index.0 as usize], endpoint)
        })
    }

    /// Bytes of the spill file that partitions hold.
    #[must_use]
    pub fn spilled_bytes(&self) -> u64 {
        self.spill.used_bytes()
    }

    /// Whether no partition is held, no consumer waits and nothing is on file: what must hold when the last job has
    /// ended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.registry.is_empty() && self.spilled_bytes() == 0
    }
}
