//! Checkpoints written, damaged, found and restored at other parallelisms.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal64Type, Int64Type};
use arrow_array::{Int64Array, StringViewArray};
use flumen_core::batch::Column;
use flumen_core::graph::{ChainedOperator, JobGraph, JobVertex};
use flumen_core::ids::{
    AttemptNumber, CheckpointId, ExecutionAttemptId, ExecutionVertexId, JobId, JobVertexId, OperatorUid, SubtaskIndex,
};
use flumen_core::key_group::{key_group_of, subtask_of};
use flumen_core::spec::{OperatorSpec, StateDescriptor, StateKind};
use flumen_core::types::LogicalType;
use flumen_io::{FileSystem, LocalFileSystem, SimulatedFileSystem, read_file};
use flumen_kernels::hash::hash_columns;

use super::metadata::{CheckpointMetadata, OperatorStateHandle};
use super::state_file::file_header;
use super::storage::{CheckpointStorage, SubtaskOfCheckpoint, Verification};
use crate::error::StateError;
use crate::keyed::tests::{call, table};
use crate::keyed::{Groups, KeyInput, KeyedTable, RowInput, SlotCursor};
use crate::pages::MeteredPages;
use crate::snapshot::{KeyedPart, ListPart, OperatorSnapshot, RestoredState};

const MAX_PARALLELISM: u32 = 128;

fn uid() -> OperatorUid {
    OperatorUid::from("sums")
}

/// SUM(BIGINT) and COUNT(*) by VARCHAR and BIGINT.
fn sums() -> KeyedTable {
    let decimal = LogicalType::Decimal { precision: 38, scale: 0 };
    let calls = [call("sum", Some(LogicalType::Int64), decimal), call("count", None, LogicalType::Int64)];
    table(&[LogicalType::Utf8, LogicalType::Int64], &calls, &MeteredPages::unmetered())
}

fn text(key: i64) -> Option<String> {
    (key % 11 != 0).then(|| if key % 3 == 0 { format!("a string that is not inline {key}") } else { key.to_string() })
}

/// Adds `value` to each key that belongs to the subtask.
fn add(table: &mut KeyedTable, keys: &[i64], value: i64, subtask: u32, parallelism: u32) {
    let texts = Column::Array(Arc::new(keys.iter().map(|k| text(*k)).collect::<StringViewArray>()));
    let numbers = Column::Array(Arc::new(Int64Array::from(keys.to_vec())));
    let columns = [&texts, &numbers];
    let hashes = hash_columns(&columns, keys.len(), None);
    let owner =
        |row: &u32| subtask_of(key_group_of(hashes[*row as usize], MAX_PARALLELISM), parallelism, MAX_PARALLELISM);
    let mine: Vec<u32> = (0..keys.len() as u32).filter(|row| owner(row) == subtask).collect();
    let selection = mine.into();
    let mut groups = Groups::default();
    let input = KeyInput { columns: &columns, rows: keys.len(), selection: Some(&selection), hashes: Some(&hashes) };
    table.group(input, &mut groups).unwrap();
    let values = Column::Array(Arc::new(Int64Array::from_value(value, keys.len())));
    let (rows, selection) = (keys.len(), Some(selection.as_ref()));
    let input = RowInput { args: &[&values], rows, selection, filter: None, row_kinds: None };
    table.update(0, &groups, input).unwrap();
    table.update(1, &groups, RowInput { args: &[], ..input }).unwrap();
}

/// Sum and count of every key.
fn content(table: &KeyedTable) -> BTreeMap<i64, (i64, i64)> {
    let mut rows = BTreeMap::new();
    let (mut cursor, schema) = (SlotCursor::default(), table.state_schema());
    while let Some(batch) = table.next_results(&mut cursor, &schema, 1000).unwrap() {
        let texts = batch.column(0).array().as_string_view();
        let keys = batch.column(1).array().as_primitive::<Int64Type>();
        let sums = batch.column(2).array().as_primitive::<Decimal64Type>();
        let counts = batch.column(3).array().as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let key = keys.value(row);
            assert_eq!(texts.iter().nth(row).unwrap().map(str::to_owned), text(key));
            assert!(rows.insert(key, (sums.value(row), counts.value(row))).is_none(), "key {key} twice");
        }
    }
    rows
}

fn job_graph(parallelism: u32) -> JobGraph {
    let schema = sums().state_schema();
    let spec = OperatorSpec {
        kind: "hash-aggregate".into(),
        version: 1,
        payload: serde_json::json!({}),
        inputs: vec![Arc::clone(&schema)],
        output: None,
        state: vec![StateDescriptor { name: "groups".into(), kind: StateKind::Keyed { key_columns: 2 }, schema }],
        memory_weight_bytes: 0,
    };
    let operator =
        ChainedOperator { uid: uid(), name: "sums".into(), spec, chained_consumers: Vec::new(), produced: Vec::new() };
    let vertex = JobVertex {
        id: JobVertexId(0),
        name: "sums".into(),
        operators: vec![operator],
        parallelism,
        max_parallelism: MAX_PARALLELISM,
        slot_sharing_group: "default".into(),
        inputs: Vec::new(),
        produced: Vec::new(),
    };
    JobGraph { version: 1, job: JobId(7), name: "job".into(), vertices: vec![vertex] }
}

fn subtask_of_checkpoint(checkpoint: u64, index: u32, parallelism: u32) -> SubtaskOfCheckpoint {
    let execution_vertex = ExecutionVertexId { vertex: JobVertexId(0), subtask: SubtaskIndex(index) };
    SubtaskOfCheckpoint {
        attempt: ExecutionAttemptId { job: JobId(7), execution_vertex, attempt: AttemptNumber(0) },
        parallelism,
        max_parallelism: MAX_PARALLELISM,
        checkpoint: CheckpointId(checkpoint),
    }
}

fn snapshot(table: &mut KeyedTable, index: u32) -> Vec<(OperatorUid, OperatorSnapshot)> {
    let rows = Box::new(table.snapshot(MAX_PARALLELISM, 100));
    let list = |name: &str, kind| ListPart { name: name.into(), kind, entries: vec![vec![index as u8; 20], vec![]] };
    let snapshot = OperatorSnapshot {
        keyed: vec![KeyedPart { name: "groups".into(), rows }],
        lists: vec![list("list", StateKind::OperatorList), list("union", StateKind::OperatorUnion)],
    };
    vec![(OperatorUid::from("stateless"), OperatorSnapshot::default()), (uid(), snapshot)]
}

/// Takes a checkpoint of all subtasks; answers its directory.
fn take(storage: &CheckpointStorage, checkpoint: u64, tables: &mut [KeyedTable]) -> PathBuf {
    let parallelism = tables.len() as u32;
    let mut metadata = CheckpointMetadata::new(CheckpointId(checkpoint), 1234, job_graph(parallelism));
    // Acknowledgements come in any order.
    for (index, table) in tables.iter_mut().enumerate().rev() {
        let subtask = subtask_of_checkpoint(checkpoint, index as u32, parallelism);
        for handle in storage.write_subtask(subtask, snapshot(table, index as u32)).unwrap() {
            metadata.add(OperatorStateHandle::from_bytes(&handle.to_bytes()).unwrap());
        }
    }
    metadata.add_coordinator(&uid(), vec![1, 2, 3]);
    storage.complete(&metadata).unwrap()
}

fn restore_all(storage: &CheckpointStorage, location: &Path, parallelism: u32) -> Result<Vec<KeyedTable>, StateError> {
    let metadata = storage.load(location)?;
    (0..parallelism)
        .map(|index| {
            let mut table = sums();
            table
                .restore(restored(storage, location, &metadata, index, parallelism)?.keyed.remove("groups").unwrap())?;
            Ok(table)
        })
        .collect()
}

fn restored(
    storage: &CheckpointStorage,
    location: &Path,
    metadata: &CheckpointMetadata,
    index: u32,
    parallelism: u32,
) -> Result<RestoredState, StateError> {
    let state = storage.restore(location, metadata, &uid(), SubtaskIndex(index), parallelism, MAX_PARALLELISM)?;
    Ok(state.expect("the operator has state"))
}

fn simulated() -> (Arc<SimulatedFileSystem>, CheckpointStorage) {
    let files = Arc::new(SimulatedFileSystem::without_faults());
    let storage = CheckpointStorage::new(Arc::clone(&files) as Arc<dyn FileSystem>, "/checkpoints");
    (files, storage)
}

#[test]
fn state_survives_two_five_three_with_work_in_between() {
    let directory = tempfile::tempdir().unwrap();
    let storage = CheckpointStorage::new(Arc::new(LocalFileSystem), directory.path());
    let keys: Vec<i64> = (0..5000).collect();
    let mut tables: Vec<KeyedTable> = (0..2).map(|_| sums()).collect();
    let mut expected = BTreeMap::new();
    for (checkpoint, (value, next)) in (1..).zip([(1, 5), (10, 3), (100, 3)]) {
        let parallelism = tables.len() as u32;
        for (index, table) in (0..).zip(&mut tables) {
            add(table, &keys[..keys.len() - value as usize], value, index, parallelism);
        }
        for key in &keys[..keys.len() - value as usize] {
            let (sum, count) = expected.entry(*key).or_insert((0, 0));
            (*sum, *count) = (*sum + value, *count + 1);
        }
        let location = take(&storage, checkpoint, &mut tables);
        // What comes after the barrier is not part of the checkpoint.
        tables.iter_mut().zip(0..).for_each(|(table, index)| add(table, &keys, 1_000_000, index, parallelism));
        tables = restore_all(&storage, &location, next).unwrap();
        let mut all = BTreeMap::new();
        for (index, table) in (0..).zip(&tables) {
            for slot in 0..table.slot_count() as u32 {
                let owner = subtask_of(key_group_of(table.hash(slot), MAX_PARALLELISM), next, MAX_PARALLELISM);
                assert_eq!(owner, index, "a subtask holds only its key groups");
            }
            all.extend(content(table));
        }
        assert_eq!(all, expected, "checkpoint {checkpoint}");
    }
}

#[test]
fn lists_are_dealt_out_with_the_keys() {
    let (_, storage) = simulated();
    let location = take(&storage, 1, &mut [sums(), sums()]);
    let metadata = storage.load(&location).unwrap();
    assert_eq!(metadata.operators[&uid()].coordinator.as_deref(), Some(&[1, 2, 3][..]));
    let (zero, one, empty) = (vec![0; 20], vec![1; 20], Vec::new());
    let all = [&zero, &empty, &one, &empty].map(Clone::clone);
    for (index, list) in (0..).zip([vec![zero.clone(), empty.clone()], vec![empty.clone()], vec![one.clone()]]) {
        let state = restored(&storage, &location, &metadata, index, 3).unwrap();
        assert_eq!(state.lists["list"], list, "{index}");
        assert_eq!(state.lists["union"], all);
    }
    let other = storage.restore(&location, &metadata, &"other".into(), SubtaskIndex(0), 1, MAX_PARALLELISM);
    assert!(other.unwrap().is_none());
}

#[test]
fn snapshots_show_the_moment_they_were_taken() {
    let mut table = sums();
    let keys: Vec<i64> = (0..20_000).collect();
    add(&mut table, &keys, 1, 0, 1);
    let before = content(&table);
    let first = table.snapshot(MAX_PARALLELISM, 500);
    add(&mut table, &keys, 10, 0, 1);
    let gone: Vec<u32> = (0..100).collect();
    table.remove(&gone).unwrap();
    let second = table.snapshot(MAX_PARALLELISM, 500);
    add(&mut table, &(0..30_000).collect::<Vec<_>>(), 100, 0, 1);
    let after = content(&table);
    assert_eq!((first.len(), second.len(), after.len()), (20_000, 19_900, 30_000));
    // Read the later one first: they do not depend on each other.
    let reload = |snapshot: crate::keyed::TableSnapshot| {
        let mut copy = sums();
        copy.restore(vec![Box::new(snapshot)]).unwrap();
        content(&copy)
    };
    let second = reload(second);
    assert_eq!(second.len(), 19_900);
    assert!(second.values().all(|state| *state == (11, 2)));
    assert_eq!(reload(first), before);
    assert_eq!(content(&table), after);
}

#[test]
fn every_damaged_byte_is_found_named_and_passed_over() {
    let (files, storage) = simulated();
    let mut tables = [sums()];
    add(&mut tables[0], &[1, 2, 3], 5, 0, 1);
    let good = take(&storage, 1, &mut tables);
    let location = take(&storage, 2, &mut tables);
    for name in ["_metadata", "0-0-0.state"] {
        let path = location.join(name);
        let size = files.metadata(&path).unwrap().size;
        for offset in 0..size {
            let mask = 1 << (offset % 8);
            files.corrupt(&path, offset, mask).unwrap();
            let found = storage.latest(JobId(7), Verification::Checksums).unwrap();
            assert_eq!(found.location, good, "{name} {offset}");
            let [StateError::Damaged { path: named, .. } | StateError::Version { path: named, .. }] =
                found.passed_over.as_slice()
            else {
                panic!("{name} {offset}: {:?}", found.passed_over)
            };
            assert_eq!(named, &path, "{name} {offset}");
            // Without checksums up front, whoever reads the file finds it out. Bytes of the file that belong to no
            // value of this state are the only ones that may go unseen then.
            if let Ok(tables) = restore_all(&storage, &location, 1) {
                assert_eq!(content(&tables[0]), BTreeMap::from([1, 2, 3].map(|k| (k, (5, 1)))), "{name} {offset}");
            }
            files.corrupt(&path, offset, mask).unwrap();
        }
        assert_eq!(storage.latest(JobId(7), Verification::Checksums).unwrap().location, location);
    }
}

#[test]
fn every_truncation_is_found() {
    let (files, storage) = simulated();
    let mut tables = [sums()];
    add(&mut tables[0], &[1, 2, 3], 5, 0, 1);
    let good = take(&storage, 1, &mut tables);
    let location = take(&storage, 2, &mut tables);
    for name in ["_metadata", "0-0-0.state"] {
        let path = location.join(name);
        let bytes = read_file(files.as_ref(), &path, u64::MAX).unwrap();
        let put = |bytes: &[u8]| {
            let mut file = files.create(&path).unwrap();
            file.write_all(bytes).unwrap();
            file.finish().unwrap();
        };
        for length in 0..bytes.len() {
            put(&bytes[..length]);
            for verification in [Verification::Presence, Verification::Checksums] {
                let found = storage.latest(JobId(7), verification).unwrap();
                assert_eq!((found.location, found.passed_over.len()), (good.clone(), 1), "{name} {length}");
            }
        }
        put(&bytes);
    }
    assert!(storage.verify(&location, Verification::Checksums).is_ok());
    files.remove_file(&location.join("0-0-0.state")).unwrap();
    let error = storage.verify(&location, Verification::Presence).unwrap_err();
    assert!(error.to_string().contains("0-0-0.state is damaged: it is missing"), "{error}");
}

#[test]
fn only_complete_checkpoints_count_and_old_ones_go() {
    let (files, storage) = simulated();
    let none = storage.latest(JobId(7), Verification::Checksums).unwrap_err();
    assert!(matches!(none, StateError::NoCheckpoint { .. }), "{none}");
    let mut tables = [sums()];
    add(&mut tables[0], &[1], 1, 0, 1);
    for checkpoint in [1, 2, 4] {
        take(&storage, checkpoint, &mut tables);
    }
    // 3 and 5 never completed.
    for checkpoint in [3, 5] {
        storage.write_subtask(subtask_of_checkpoint(checkpoint, 0, 1), snapshot(&mut tables[0], 0)).unwrap();
    }
    assert_eq!(storage.jobs().unwrap(), [JobId(7)]);
    assert_eq!(storage.list(JobId(7)).unwrap(), (1..=5).map(CheckpointId).collect::<Vec<_>>());
    assert_eq!(storage.latest(JobId(7), Verification::Presence).unwrap().metadata.checkpoint, CheckpointId(4));
    // What was completed is durable.
    files.crash();
    assert_eq!(storage.latest(JobId(7), Verification::Checksums).unwrap().metadata.checkpoint, CheckpointId(4));
    let removed = storage.retain(JobId(7), CheckpointId(4), 2).unwrap();
    assert_eq!(removed, [CheckpointId(3), CheckpointId(1)]);
    assert_eq!(storage.list(JobId(7)).unwrap(), [CheckpointId(2), CheckpointId(4), CheckpointId(5)]);
    storage.discard(JobId(7), CheckpointId(5)).unwrap();
    assert_eq!(storage.list(JobId(7)).unwrap(), [CheckpointId(2), CheckpointId(4)]);
    storage.remove_empty_job(JobId(7));
    assert_eq!(storage.list(JobId(7)).unwrap().len(), 2, "a job that has checkpoints stays");
    let stateless = vec![(uid(), OperatorSnapshot::default())];
    assert!(storage.write_subtask(subtask_of_checkpoint(6, 0, 1), stateless).unwrap().is_empty());
    assert_eq!(storage.list(JobId(7)).unwrap().len(), 2, "no state, no file");
}

#[test]
fn the_newest_of_all_jobs_is_the_one_triggered_last() {
    let (files, storage) = simulated();
    let none = storage.latest_of_any_job(Verification::Checksums).unwrap_err();
    assert!(matches!(none, StateError::NoCheckpoint { .. }), "{none}");
    // A resumed job has another id; after a fallback even the numbers of checkpoints come a second time.
    let complete = |job, checkpoint, triggered| {
        let graph = JobGraph { job: JobId(job), ..job_graph(1) };
        let metadata = CheckpointMetadata::new(CheckpointId(checkpoint), triggered, graph);
        storage.complete(&metadata).unwrap().join("_metadata")
    };
    let in_order = [complete(7, 1, 100), complete(9, 2, 200), complete(7, 3, 300), complete(8, 3, 400)];
    storage.files().create_directory_all(&storage.location(JobId(9), CheckpointId(4))).unwrap();
    for (passed_over, newest) in in_order.iter().rev().enumerate() {
        let found = storage.latest_of_any_job(Verification::Checksums).unwrap();
        assert_eq!((&found.location.join("_metadata"), found.passed_over.len()), (newest, passed_over));
        files.corrupt(newest, 50, 1).unwrap();
    }
    let error = storage.latest_of_any_job(Verification::Checksums).unwrap_err().to_string();
    assert!(in_order.iter().all(|path| error.contains(&path.display().to_string())), "{error}");
}

#[test]
fn what_cannot_work_is_refused_with_names() {
    let (_, storage) = simulated();
    let mut tables = [sums()];
    add(&mut tables[0], &[1], 1, 0, 1);
    let location = take(&storage, 1, &mut tables);
    let metadata = storage.load(&location).unwrap();
    let check = |change: &dyn Fn(&mut JobGraph), ignore, expected: Option<&str>| {
        let mut graph = job_graph(3);
        change(&mut graph);
        match (metadata.check(&location, &graph, ignore), expected) {
            (Ok(()), None) => {}
            (Err(error), Some(text)) => assert!(error.to_string().contains(text), "{error}"),
            (result, _) => panic!("{result:?}, expected {expected:?}"),
        }
    };
    check(&|_| {}, false, None);
    check(&|g| g.vertices[0].operators[0].uid = "other".into(), false, Some("operator sums has state"));
    check(&|g| g.vertices[0].operators[0].uid = "other".into(), true, None);
    check(&|g| g.vertices[0].max_parallelism = 256, false, Some("maximum parallelism 256, its state 128"));
    check(&|g| g.vertices[0].operators[0].spec.state.clear(), false, Some("no state groups any more"));
    let change = |graph: &mut JobGraph| {
        let state = &mut graph.vertices[0].operators[0].spec.state[0];
        let mut schema = (*state.schema).clone();
        schema.fields[1].data_type = LogicalType::Int32;
        state.schema = Arc::new(schema);
    };
    check(&change, true, Some("state groups of operator sums: column k1 was BIGINT and is INTEGER"));
    let error = storage.restore(&location, &metadata, &uid(), SubtaskIndex(0), 1, 64).err().unwrap();
    assert!(error.to_string().contains("maximum parallelism 64, its state 128"), "{error}");
}

#[test]
fn failing_storage_is_not_taken_for_damage() {
    use flumen_io::{Fault, Operation};
    let (files, storage) = simulated();
    take(&storage, 1, &mut [sums()]);
    files.inject(Operation::Read, 0, Fault::Failed);
    assert!(matches!(storage.latest(JobId(7), Verification::Checksums), Err(StateError::Io(_))));
    assert!(storage.latest(JobId(7), Verification::Checksums).is_ok());
}

#[test]
fn the_bytes_are_those_of_the_format() {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    // CRC32C was computed by another implementation.
    let header = "464c53540100000003000000000000008fa923c6".to_owned() + &"00".repeat(44);
    assert_eq!(hex(&file_header(CheckpointId(3))), header);
    let mut graph = job_graph(1);
    graph.vertices.clear();
    let metadata = CheckpointMetadata::new(CheckpointId(3), 1234, graph);
    let operators = r#"{"timestamp_millis":1234,"operators":[]}"#;
    let job = r#"{"version":1,"job":"00000000000000000000000000000007","name":"job","vertices":[]}"#;
    let head = "464c434b01000000030000000000000028000000000000005100000000000000fe2c3d8500000000";
    let expected = head.to_owned() + &hex(operators.as_bytes()) + &hex(job.as_bytes());
    assert_eq!(hex(&metadata.to_bytes().unwrap()), expected);
}
