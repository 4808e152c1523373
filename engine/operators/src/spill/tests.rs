use std::sync::Arc;

use flumen_core::batch::Batch;
use flumen_core::meter::{MemoryMeter, Unmetered};
use flumen_core::types::{LogicalType, SchemaRef};

use super::testing::space;
use super::{LEVELS, PARTITIONS, SpillPartitions, SpillSpace, SpillWriter, SpilledBytes, SpilledRows, partition_of};
use crate::testing::{Limited, Numbers, batch, batch_texts, ints, schema, texts};

fn rows_schema() -> SchemaRef {
    schema(&[("k", LogicalType::Int64), ("s", LogicalType::Utf8)])
}

fn rows(count: usize, seed: u64) -> Batch {
    let mut numbers = Numbers::new(seed);
    let keys: Vec<Option<i64>> = (0..count).map(|_| numbers.nullable(50)).collect();
    let names = keys.iter().map(|k| k.map(|k| format!("a name that is not kept inline {k}")));
    batch(&rows_schema(), vec![ints(keys.iter().copied()), texts(names)])
}

fn read(rows: &SpilledRows) -> Vec<String> {
    let mut reader = rows.reader();
    let mut given = Vec::new();
    while let Some(batch) = reader.next(rows).unwrap() {
        given.extend(batch_texts(&batch));
    }
    given
}

#[test]
fn rows_come_back_as_they_were() {
    for count in [0, 1, 7, 20_000] {
        let spilled = SpilledBytes::default();
        let space = space().of_operator("test", spilled.clone());
        let mut writer = SpillWriter::new(&space, &rows_schema());
        let all = rows(count, 3);
        let selected = all.clone().with_selection(Some((0..count as u32).step_by(3).collect()));
        let mut expected = Vec::new();
        for batch in [&all, &selected] {
            writer.push(batch).unwrap();
            expected.extend(batch_texts(batch));
        }
        let written = writer.finish().unwrap();
        assert_eq!(written.rows(), expected.len());
        assert_eq!(read(&written), expected);
        assert_eq!(read(&written), expected, "again");
        assert_eq!(spilled.get() > 0, count > 0);
        assert_eq!(spilled.get(), space.spilled_bytes());
        assert_eq!(space.verify_empty().is_err(), count > 0);
        drop(written);
        space.verify_empty().unwrap();
    }
}

#[test]
fn a_partition_has_all_rows_of_its_keys_in_order() {
    let all = rows(5_000, 9);
    for memory in [Arc::new(Unmetered) as Arc<dyn MemoryMeter>, Limited::new(2_000)] {
        for level in 0..LEVELS {
            let space = space();
            let mut partitions = SpillPartitions::new(&space, &memory, &rows_schema(), &[0], level);
            for offset in (0..5_000).step_by(100) {
                partitions.push(&all.slice(offset, 100)).unwrap();
            }
            let files = partitions.finish().unwrap();
            let hashes = flumen_kernels::hash::hash_batch(&all, &[0]);
            let mut expected = vec![Vec::new(); PARTITIONS];
            for (row, text) in batch_texts(&all).into_iter().enumerate() {
                expected[partition_of(hashes[row], level)].push(text);
            }
            assert!(expected.iter().filter(|rows| !rows.is_empty()).count() > 8, "they spread at level {level}");
            assert_eq!(files.iter().map(read).collect::<Vec<_>>(), expected);
        }
    }
}

#[test]
fn without_space_an_operator_says_so() {
    let mut writer = SpillWriter::new(&SpillSpace::none(), &rows_schema());
    let error = writer.push(&rows(10, 1)).unwrap_err();
    assert!(error.chain().contains("no place to spill"), "{}", error.chain());
}
