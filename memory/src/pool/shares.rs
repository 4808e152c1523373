//! How many buffers an input gate or a result partition asks for: exclusive and floating shares.
//!
//! A gate with `n` channels wants `n * exclusive + floating` buffers and needs one less floating per missing buffer,
//! down to one; where even that is more than may be required of the pool (`required_max`, which bounds blocking gates),
//! each channel gets fewer exclusive buffers and the rest floats. A result partition needs one buffer per subpartition
//! and one more. Source: Flink's `NettyShuffleUtils` and `GateBuffersSpec` (FLIP-266).

/// The settings behind the shares; the defaults are Flink's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetworkShareOptions {
    /// Exclusive buffers of each input channel.
    pub exclusive_per_channel: usize,
    /// Floating buffers of each gate.
    pub floating_per_gate: usize,
    /// The most that one gate may require; the rest of what it wants is optional.
    pub required_per_gate_max: usize,
    /// Buffers that a clustered (sort-shuffle) partition needs at least.
    pub clustered_partition_min: usize,
}

impl Default for NetworkShareOptions {
    fn default() -> Self {
        Self {
            exclusive_per_channel: 2,
            floating_per_gate: 8,
            required_per_gate_max: usize::MAX,
            // Flink's 512 buffers of 32 KiB, in pages of 64 KiB.
            clustered_partition_min: 256,
        }
    }
}

impl NetworkShareOptions {
    /// For gates that read blocking partitions: at most 1000 buffers are required.
    pub fn blocking() -> Self {
        Self { required_per_gate_max: 1000, ..Self::default() }
    }
}

/// A minimum and a maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferRange {
    /// Guaranteed.
    pub min: usize,
    /// Used at most.
    pub max: usize,
}

/// The shares of one input gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelShares {
    /// Each channel's own buffers, from an exclusive pool of `channels * exclusive_per_channel`.
    pub exclusive_per_channel: usize,
    /// The pool of buffers that go to the channels by backlog.
    pub floating: BufferRange,
}

impl ChannelShares {
    /// The shares of a gate with `channels` channels.
    pub fn for_gate(channels: usize, options: &NetworkShareOptions) -> Self {
        let target = channels.saturating_mul(options.exclusive_per_channel).saturating_add(options.floating_per_gate);
        let full = channels.saturating_mul(options.exclusive_per_channel).saturating_add(1);
        let required = options.required_per_gate_max.max(1).min(full);
        let per_channel = (required - 1).checked_div(channels).unwrap_or(0).min(options.exclusive_per_channel);
        let exclusive = per_channel * channels;
        let floating = BufferRange { min: required - exclusive, max: target.saturating_sub(exclusive).max(1) };
        Self { exclusive_per_channel: per_channel, floating }
    }
}

impl BufferRange {
    /// For a pipelined, bounded partition.
    pub fn for_pipelined_partition(subpartitions: usize, options: &NetworkShareOptions) -> Self {
        let max = subpartitions.saturating_mul(options.exclusive_per_channel).saturating_add(options.floating_per_gate);
        let min = subpartitions.saturating_add(1);
        Self { min, max: max.max(min) }
    }

    /// For a partition that clusters its output by subpartition before it writes (blocking, hybrid).
    pub fn for_clustered_partition(subpartitions: usize, options: &NetworkShareOptions) -> Self {
        let min = options.clustered_partition_min.max(1);
        Self { min, max: subpartitions.saturating_mul(4).max(min) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected numbers by hand from Flink's rules in the module documentation.
    #[test]
    fn gates() {
        let check = |channels, options: NetworkShareOptions, exclusive, min, max| {
            let expected = ChannelShares { exclusive_per_channel: exclusive, floating: BufferRange { min, max } };
            assert_eq!(ChannelShares::for_gate(channels, &options), expected, "{channels} channels");
        };
        check(1, NetworkShareOptions::default(), 2, 1, 8);
        check(100, NetworkShareOptions::default(), 2, 1, 8);
        check(499, NetworkShareOptions::blocking(), 2, 1, 8);
        // 1000 required of 1208 wanted: one exclusive buffer each, the rest floats.
        check(600, NetworkShareOptions::blocking(), 1, 400, 608);
        // More channels than required buffers: all float.
        check(2000, NetworkShareOptions::blocking(), 0, 1000, 4008);
        check(0, NetworkShareOptions::default(), 0, 1, 8);
    }

    #[test]
    fn partitions() {
        let options = NetworkShareOptions::default();
        let pipelined = |subpartitions, min, max| {
            assert_eq!(BufferRange::for_pipelined_partition(subpartitions, &options), BufferRange { min, max });
        };
        pipelined(1, 2, 10);
        pipelined(7, 8, 22);
        let clustered = |subpartitions, min, max| {
            assert_eq!(BufferRange::for_clustered_partition(subpartitions, &options), BufferRange { min, max });
        };
        clustered(10, 256, 256);
        clustered(100, 256, 400);
    }
}
