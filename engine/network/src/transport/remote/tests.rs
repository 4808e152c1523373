//! Messages and their bytes.

use arrow_buffer::Buffer;
use flumen_core::element::{
    Alignment, CheckpointBarrier, CheckpointOptions, LatencyMarker, SnapshotKind, StopMode, StreamElement,
};
use flumen_core::graph::ResultPartitionType;
use flumen_core::ids::{
    AttemptNumber, CheckpointId, ExecutionAttemptId, ExecutionVertexId, IntermediateDataSetId, JobId, JobVertexId,
    ResultPartitionId, SubtaskIndex,
};
use flumen_core::time::{EventTime, Watermark, WatermarkStatus};
use flumen_io::{RandomSource, Rng};

use super::assembler::MessageAssembler;
use super::message::{Body, Message};

fn messages() -> Vec<Message> {
    let execution_vertex = ExecutionVertexId { vertex: JobVertexId(4), subtask: SubtaskIndex(5) };
    let producer = ExecutionAttemptId { job: JobId(u128::MAX / 3), execution_vertex, attempt: AttemptNumber(6) };
    let partition = ResultPartitionId { data_set: IntermediateDataSetId(3), producer };
    let kinds = [SnapshotKind::Checkpoint, SnapshotKind::Savepoint { stop: None }];
    let stops = [StopMode::Drain, StopMode::NoDrain].map(|stop| SnapshotKind::Savepoint { stop: Some(stop) });
    let alignments = [
        Alignment::Aligned,
        Alignment::AtLeastOnce,
        Alignment::Unaligned,
        Alignment::AlignedWithTimeout { timeout_ms: 77 },
    ];
    let barriers = kinds.into_iter().chain(stops).zip(alignments).map(|(kind, alignment)| {
        let options = CheckpointOptions { kind, alignment };
        StreamElement::Barrier(CheckpointBarrier { id: CheckpointId(u64::MAX - 1), timestamp_ms: -5, options })
    });
    let statuses = [WatermarkStatus::Active, WatermarkStatus::Idle, WatermarkStatus::Finished];
    let control = [
        StreamElement::Watermark(Watermark(EventTime(-42))),
        StreamElement::LatencyMarker(LatencyMarker { marked_ms: 9, source: SubtaskIndex(2) }),
        StreamElement::EndOfData(StopMode::Drain),
        StreamElement::EndOfData(StopMode::NoDrain),
        StreamElement::EndOfPartition,
    ];
    let control = control.into_iter().chain(statuses.map(StreamElement::WatermarkStatus)).chain(barriers);
    let mut bodies: Vec<Body> = control
        .enumerate()
        .map(|(i, element)| Body::Control { sequence: i as u64, overtakes: i % 2 == 1, element })
        .collect();
    for partition_type in [
        ResultPartitionType::PipelinedBounded,
        ResultPartitionType::Blocking,
        ResultPartitionType::HybridFull,
        ResultPartitionType::HybridSelective,
    ] {
        bodies.push(Body::Open { partition, subpartition: 8, partition_type, credits: 4 });
    }
    bodies.extend([
        Body::Data {
            sequence: u64::MAX,
            backlog: 3,
            cost: 2,
            beyond_credit: true,
            frame: Buffer::from(&b"not a frame, but bytes"[..]),
        },
        Body::Data { sequence: 0, backlog: 0, cost: 9, beyond_credit: false, frame: Buffer::from(&[7u8; 128][..]) },
        Body::Backlog { backlog: 11 },
        Body::Grant { credits: 12 },
        Body::Close,
        Body::Break { cause: "käse".into() },
        Body::Error { missing: true, cause: "".into() },
        Body::Error { missing: false, cause: "because".into() },
    ]);
    bodies.into_iter().enumerate().map(|(i, body)| Message { channel: i as u64 * 3, body }).collect()
}

/// A message without the addresses of its buffers.
fn shown(message: &Message) -> String {
    match &message.body {
        Body::Data { sequence, backlog, cost, beyond_credit, frame } => {
            format!("{} data {sequence} {backlog} {cost} {beyond_credit} {:?}", message.channel, frame.as_slice())
        }
        body => format!("{} {body:?}", message.channel),
    }
}

#[test]
fn messages_come_back_as_they_were() {
    for message in messages() {
        let bytes = message.encode();
        assert_eq!(bytes.len() % 64, 0);
        assert_eq!(shown(&Message::decode(&bytes).unwrap()), shown(&message));
    }
}

#[test]
fn pieces_of_any_size_are_put_together() {
    let expected = messages();
    let stream: Vec<u8> = expected.iter().flat_map(|message| message.encode().to_vec()).collect();
    for seed in 0..50 {
        let mut rng = Rng::from_seed(seed);
        let mut assembler = MessageAssembler::default();
        let (mut rest, mut found) = (&stream[..], Vec::new());
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(1 + rng.below(200.min(rest.len() as u64)) as usize);
            found.extend(assembler.push(piece).unwrap());
            rest = tail;
        }
        assert!(found.iter().map(shown).eq(expected.iter().map(shown)));
    }
}

#[test]
fn damaged_messages_are_refused_or_read_and_never_panic() {
    for message in messages() {
        let bytes = message.encode();
        for length in 0..bytes.len() {
            assert!(Message::decode(&bytes.slice_with_length(0, length)).is_err());
        }
        let mut damaged = bytes.to_vec();
        for bit in 0..damaged.len() * 8 {
            damaged[bit / 8] ^= 1 << (bit % 8);
            let _ = Message::decode(&Buffer::from(&damaged[..]));
            let _ = MessageAssembler::default().push(&damaged);
            damaged[bit / 8] ^= 1 << (bit % 8);
        }
    }
    assert!(MessageAssembler::default().push(&[0; 64]).is_err());
}
