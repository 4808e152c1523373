//! Unaligned barriers: they overtake at both ends, and what they overtook is what the snapshots of both ends hold.

use std::sync::Arc;

use flumen_core::element::{Alignment, CheckpointBarrier, CheckpointOptions, SnapshotKind, StreamElement};
use flumen_core::graph::{Partitioner, ResultPartitionType::PipelinedBounded};
use flumen_core::ids::CheckpointId;
use flumen_formats_ipc::{DecodeOptions, FrameDecoder};

use super::fixture::*;
use crate::*;

fn barrier() -> StreamElement {
    let options = CheckpointOptions { kind: SnapshotKind::Checkpoint, alignment: Alignment::Unaligned };
    StreamElement::Barrier(CheckpointBarrier { id: CheckpointId(1), timestamp_ms: 0, options })
}

/// The numbers in frames, each read by itself.
fn numbers_of(frames: &[arrow_buffer::Buffer]) -> Vec<i64> {
    let decode = |frame| FrameDecoder::new(DecodeOptions::default()).decode(frame).unwrap();
    frames.iter().flat_map(|frame| numbers(&decode(frame))).collect()
}

fn check(hostile: Option<u64>) {
    let registry = PartitionRegistry::new();
    let transport = hostile.map(|seed| {
        let options = HostileOptions { rows_max: 10, ..HostileOptions::default() };
        HostileTransport::new(Arc::clone(&registry), seed, options)
    });
    let pump = || transport.iter().for_each(HostileTransport::pump_all);
    let environment = match &transport {
        Some(transport) => {
            ShuffleEnvironment::with_transport(options(&file_system()), registry, Arc::new(transport.clone()))
        }
        None => ShuffleEnvironment::local(options(&file_system())),
    };
    let descriptor = descriptor(PipelinedBounded, Partitioner::Hash { columns: vec![0] }, 0, 2);
    let mut writer = writer(&environment, &descriptor, PartitionConfig::default());
    let mut gates: Vec<_> =
        (0..2).map(|i| gate_of(&environment, PipelinedBounded, &[writer.id()], i..i + 1).unwrap()).collect();
    for start in (0..1000).step_by(100) {
        let _ = writer.emit(batch(start, 100)).unwrap();
        writer.flush().unwrap();
        pump();
    }
    // Some rows are in a builder when the barrier comes: it may not leave them behind.
    let _ = writer.emit(batch(1000, 100)).unwrap();
    writer.broadcast_event(barrier()).unwrap();
    pump();
    let mut all = Vec::new();
    for (index, gate) in gates.iter_mut().enumerate() {
        // A blocked channel gives what overtakes, and nothing else.
        gate.block_channel(ChannelIndex(0));
        let first = gate.poll_next().unwrap();
        assert!(matches!(first, Some((ChannelIndex(0), StreamElement::Barrier(_)))), "{first:?}");
        assert!(gate.poll_next().unwrap().is_none());
        let mut state = numbers_of(&gate.snapshot_channel_state(ChannelIndex(0)).unwrap());
        assert_eq!(state.is_empty(), hostile.is_none(), "what a local channel has not read is at the producer");
        let output = numbers_of(&writer.snapshot_channel_state(index as u32).unwrap());
        all.extend_from_slice(&state);
        all.extend_from_slice(&output);
        state.extend(output);
        // Afterwards the consumer gets exactly that.
        gate.unblock_channel(ChannelIndex(0));
        let mut received = Received::default();
        while received.all().len() < state.len() {
            received.drain(gate, 1).unwrap();
            pump();
        }
        if let Some(channel) = &transport {
            assert!(channel.connections() == 2 && received.control.is_empty());
        }
        assert!(received.all().starts_with(&state[..1]));
        state.sort_unstable();
        let mut got = received.all();
        assert!(got.is_sorted(), "in order");
        got.sort_unstable();
        assert_eq!(got, state);
    }
    if hostile.is_none() {
        all.sort_unstable();
        assert_eq!(all, (0..1100).collect::<Vec<_>>());
    }
}

#[test]
fn barriers_overtake_in_one_process() {
    check(None);
}

#[test]
fn barriers_overtake_through_a_network() {
    for seed in 0..10 {
        check(Some(seed));
    }
}
