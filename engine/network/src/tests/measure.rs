//! Throwaway figures.
use super::fixture::*;
use crate::*;
use flumen_core::graph::{Partitioner, ResultPartitionType::*};
use flumen_io::{Clock, SystemClock};
#[test]
fn measure() {
    let clock = SystemClock;
    let batches: Vec<_> = (0..16).map(|i| batch(i * 8192, 8192)).collect();
    for (name, part, n) in [("forward", Partitioner::Forward, 1u32), ("rebalance", Partitioner::Rebalance, 2), ("hash2", Partitioner::Hash { columns: vec![0] }, 2), ("hash128", Partitioner::Hash { columns: vec![0] }, 128)] {
        for kind in [PipelinedBounded, HybridFull, Blocking] {
            let env = ShuffleEnvironment::local(EnvironmentOptions::new("/tmp/flumen-measure", std::sync::Arc::new(flumen_io::LocalFileSystem), std::sync::Arc::new(flumen_core::waiting::InlineExecutor)));
            let mut w = writer(&env, &descriptor(kind, part.clone(), 0, n), PartitionConfig::default());
            let open = || (0..n).map(|i| gate_of(&env, kind, &[partition_id(1, 0, 0)], i..i + 1).unwrap()).collect::<Vec<_>>();
            let mut gates = if kind == Blocking { vec![] } else { open() };
            let start = clock.now();
            let mut rows = 0;
            let mut got = 0;
            for round in 0..200 {
                let b = batches[round % 16].clone();
                rows += b.num_rows();
                let _ = w.emit(b).unwrap();
                for g in &mut gates { while let Some((_, e)) = g.poll_next().unwrap() { if let flumen_core::element::StreamElement::Batch(b) = e { got += b.num_rows() } } }
            }
            w.finish().unwrap();
            if kind == Blocking { gates = open(); }
            for g in &mut gates { while let Some((_, e)) = g.poll_next().unwrap() { if let flumen_core::element::StreamElement::Batch(b) = e { got += b.num_rows() } } }
            let t = clock.now().since(start);
            assert_eq!(got, rows);
            println!("{name:10} {kind:?}: {:.2} ns/row", t.as_nanos() as f64 / rows as f64);
        }
    }
    use flumen_formats_ipc::*;
    for compress in [false, true] {
        let mut e = FrameEncoder::new(EncodeOptions { compress, hashes: true });
        let start = clock.now();
        let frames: Vec<_> = (0..200).map(|i| e.encode(&batches[i % 16]).unwrap()).collect();
        let t = clock.now().since(start);
        let bytes: usize = frames.iter().map(|f| f.len()).sum();
        let mut d = FrameDecoder::new(DecodeOptions::default());
        let start = clock.now();
        for f in &frames { d.decode(f).unwrap(); }
        let t2 = clock.now().since(start);
        println!("frame compress={compress}: {} B, encode {:.2} ns/row {:.2} GB/s, decode {:.2} ns/row {:.2} GB/s", bytes / 200, t.as_nanos() as f64 / 1638400., bytes as f64 / t.as_nanos() as f64, t2.as_nanos() as f64 / 1638400., bytes as f64 / t2.as_nanos() as f64);
    }
}
