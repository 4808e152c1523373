use std::time::Duration;

use super::*;
use crate::file_system::{read_file, replace_file};

fn write(files: &SimulatedFileSystem, path: &str, content: &[u8]) {
    let mut file = files.create(Path::new(path)).unwrap();
    file.write_all(content).unwrap();
    file.finish().unwrap();
}

fn content(files: &SimulatedFileSystem, path: &str) -> Option<Vec<u8>> {
    read_file(files, Path::new(path), u64::MAX).ok().map(|bytes| bytes.to_vec())
}

fn faults(files: &SimulatedFileSystem) -> Vec<(Operation, Fault)> {
    files.faults().into_iter().map(|record| (record.operation, record.fault)).collect()
}

#[test]
fn a_crash_loses_exactly_what_was_not_synced() {
    let files = SimulatedFileSystem::without_faults();
    write(&files, "finished", b"safe");
    let mut synced_bytes_only = files.create(Path::new("nameless")).unwrap();
    synced_bytes_only.write_all(b"bytes").unwrap();
    synced_bytes_only.sync().unwrap();
    let mut appended = files.append(Path::new("finished")).unwrap();
    appended.write_all(b" not").unwrap();
    let reader = files.open(Path::new("finished")).unwrap();
    assert_eq!(content(&files, "finished").unwrap(), b"safe not");

    files.crash();
    assert_eq!(files.paths(), [Path::new("/finished")]);
    assert_eq!(content(&files, "finished").unwrap(), b"safe");
    let error = appended.write_all(b"!").unwrap_err();
    assert!(error.to_string().ends_with("refuses work since the simulated machine crashed"), "{error}");
    assert!(matches!(reader.read_at(0, &mut [0]), Err(IoError::HandleRefuses { .. })));
    assert!(files.faults()[0].to_string().contains("1 names and 1 writes lost"), "{:?}", files.faults());
}

#[test]
fn names_survive_by_their_directory() {
    let files = SimulatedFileSystem::without_faults();
    for directory in ["a", "b"] {
        files.create_directory_all(Path::new(directory)).unwrap();
    }
    write(&files, "a/x", b"x");
    files.rename(Path::new("a/x"), Path::new("a/y")).unwrap();
    files.rename(Path::new("a/y"), Path::new("b/z")).unwrap();
    write(&files, "a/x", b"second");
    // Syncing `b` must carry the renames that led there, and may not bring the first a/x back beside it.
    files.remove_file(Path::new("a/x")).unwrap();
    files.sync_directory(Path::new("b")).unwrap();
    files.crash();
    let paths = files.paths();
    assert!(paths.contains(&PathBuf::from("/b/z")) && !paths.contains(&PathBuf::from("/a/y")), "{paths:?}");
    assert_eq!(content(&files, "b/z").unwrap(), b"x");

    files.remove_file(Path::new("b/z")).unwrap();
    files.crash();
    assert_eq!(content(&files, "b/z").unwrap(), b"x", "an unsynced removal is undone");
}

#[test]
fn replacing_is_all_or_nothing_under_every_crash() {
    let (mut old, mut new) = (0, 0);
    for seed in 0..50 {
        // The n-th operation of the replacement meets a crash; beyond the last there is none.
        for (operation, skip) in [
            (Operation::Create, 0),
            (Operation::Write, 0),
            (Operation::Sync, 0),
            (Operation::Rename, 0),
            (Operation::SyncDirectory, 0),
            (Operation::SyncDirectory, 1),
            (Operation::SyncDirectory, 2),
        ] {
            let files = SimulatedFileSystem::new(seed, Arc::new(SimulatedClock::new()));
            let path = Path::new("meta");
            replace_file(&files, path, b"the old text").unwrap();
            files.inject(operation, skip, Fault::Crash);
            let result = replace_file(&files, path, b"something new");
            files.crash_torn();
            match content(&files, "meta").as_deref() {
                Some(b"the old text") => {
                    assert!(result.is_err(), "a replacement that succeeded was lost");
                    old += 1;
                }
                Some(b"something new") => new += 1,
                other => panic!("seed {seed}, {operation} {skip}: {other:?}"),
            }
        }
    }
    assert!(old > 0 && new > 0, "{old} {new}");
}

#[test]
fn writing_in_place_is_torn_by_some_crash() {
    // The counterpart of the test above: it can fail, since the careless way does.
    let torn = (0..50).filter(|&seed| {
        let files = SimulatedFileSystem::new(seed, Arc::new(SimulatedClock::new()));
        write(&files, "meta", b"the old text");
        let mut file = files.create(Path::new("meta")).unwrap();
        file.write_all(b"something new").unwrap();
        files.crash_torn();
        !matches!(content(&files, "meta").as_deref(), Some(b"the old text" | b"something new"))
    });
    assert!(torn.count() > 5);
}

#[test]
fn a_failed_sync_gives_up_the_bytes_for_good() {
    let files = SimulatedFileSystem::without_faults();
    write(&files, "log", b"");
    let mut file = files.append(Path::new("log")).unwrap();
    file.write_all(b"lost").unwrap();
    files.inject(Operation::Sync, 0, Fault::Failed);
    assert!(matches!(file.sync(), Err(IoError::System { operation: Operation::Sync, .. })));
    assert!(matches!(file.sync(), Err(IoError::HandleRefuses { .. })));
    assert!(matches!(file.write_all(b"x"), Err(IoError::HandleRefuses { .. })));
    // A second handle may sync, and is told all is well; the bytes are gone after a crash all the same.
    files.append(Path::new("log")).unwrap().sync().unwrap();
    assert_eq!(content(&files, "log").unwrap(), b"lost");
    files.crash();
    assert_eq!(content(&files, "log").unwrap(), b"");
    assert_eq!(faults(&files)[0], (Operation::Sync, Fault::Failed));
}

#[test]
fn each_kind_of_failed_write_does_what_it_says() {
    let check = |fault, expected: fn(&[u8]) -> bool| {
        let files = SimulatedFileSystem::without_faults();
        let mut file = files.create(Path::new("f")).unwrap();
        file.write_all(b"0123").unwrap();
        files.inject(Operation::Write, 0, fault);
        let error = file.write_all(b"456789").unwrap_err();
        assert_eq!(error.operation(), Operation::Write);
        assert_eq!(file.position(), 4);
        assert!(expected(&content(&files, "f").unwrap()), "{fault:?}");
        assert_eq!(faults(&files), [(Operation::Write, fault)]);
        assert!(matches!(file.finish(), Err(IoError::HandleRefuses { .. })));

        let spill = files.create_positioned(Path::new("s")).unwrap();
        files.inject(Operation::Write, 0, fault);
        spill.write_all_at(0, b"456789").unwrap_err();
        spill.write_all_at(0, b"456789").unwrap();
    };
    check(Fault::Failed, |bytes| bytes == b"0123");
    check(Fault::Torn, |bytes| b"0123456789".starts_with(bytes) && (4..10).contains(&bytes.len()));
    check(Fault::AppliedButFailed, |bytes| bytes == b"0123456789");
    check(Fault::StorageFull, |bytes| bytes == b"0123");
}

#[test]
fn a_full_disk_takes_what_fits_and_room_comes_back() {
    let files = SimulatedFileSystem::without_faults();
    files.set_plan(FaultPlan { capacity_bytes: 10, ..FaultPlan::default() });
    let file = files.create_positioned(Path::new("s")).unwrap();
    file.write_all_at(0, b"12345678").unwrap();
    let error = file.write_all_at(8, b"9abc").unwrap_err();
    assert_eq!(error.to_string(), "cannot write s: no space left; free some or choose another directory");
    assert_eq!((file.size().unwrap(), files.used_bytes()), (10, 10));
    assert!(matches!(file.set_size(11), Err(IoError::StorageFull { .. })));
    file.write_all_at(0, b"over").unwrap();
    file.set_size(4).unwrap();
    file.write_all_at(4, b"again").unwrap();
    files.remove_file(Path::new("s")).unwrap();
    assert_eq!(files.used_bytes(), 9, "an open file keeps its bytes");
    files.sync_directory(Path::new("/")).unwrap();
    drop(file);
    assert_eq!((files.used_bytes(), files.handles_open()), (0, 0));
    assert!(file_too_far(&files));
}

fn file_too_far(files: &SimulatedFileSystem) -> bool {
    let file = files.create_positioned(Path::new("far")).unwrap();
    file.write_all_at(u64::MAX - 1, b"xyz").is_err() && file.set_size(u64::MAX).is_err()
}

#[test]
fn short_reads_are_completed_by_the_exact_ones() {
    let files = SimulatedFileSystem::new(5, Arc::new(SimulatedClock::new()));
    let bytes: Vec<u8> = (0..=255).collect();
    write(&files, "f", &bytes);
    files.set_plan(FaultPlan { read_short: 0.9, ..FaultPlan::default() });
    for _ in 0..20 {
        assert_eq!(content(&files, "f").unwrap(), bytes);
    }
    assert!(files.fault_count() > 20);
    assert!(faults(&files).iter().all(|fault| *fault == (Operation::Read, Fault::Short)));
}

#[test]
fn a_stale_listing_lacks_what_is_new_and_is_logged() {
    let clock = Arc::new(SimulatedClock::new());
    let files = SimulatedFileSystem::new(5, Arc::<SimulatedClock>::clone(&clock));
    let names = || files.list(Path::new("/")).unwrap().into_iter().map(|entry| entry.name).collect::<Vec<_>>();
    write(&files, "old", b"");
    clock.advance(Duration::from_secs(6));
    write(&files, "new", b"");
    files.inject(Operation::List, 1, Fault::Stale);
    assert_eq!(names(), ["new", "old"]);
    assert_eq!(names(), ["old"]);
    assert_eq!(names(), ["new", "old"]);
    clock.advance(Duration::from_secs(5));
    files.inject(Operation::List, 0, Fault::Stale);
    assert_eq!(names(), ["new", "old"]);
    assert_eq!(faults(&files), [(Operation::List, Fault::Stale)], "a fault without effect is none");
}

#[test]
fn names_fail_before_or_after_the_fact() {
    let files = SimulatedFileSystem::without_faults();
    write(&files, "a", b"a");
    files.inject(Operation::Rename, 0, Fault::Failed);
    files.inject(Operation::Rename, 0, Fault::AppliedButFailed);
    assert!(files.rename(Path::new("a"), Path::new("b")).unwrap_err().is_transient());
    assert_eq!(files.paths(), [Path::new("/a")]);
    assert!(files.rename(Path::new("a"), Path::new("b")).is_err());
    assert_eq!(files.paths(), [Path::new("/b")]);
    assert!(files.rename(Path::new("a"), Path::new("b")).unwrap_err().is_not_found());
    // A refusal of the disk itself is no fault, even if one was due.
    files.inject(Operation::Remove, 0, Fault::AppliedButFailed);
    assert!(files.remove_file(Path::new("none")).unwrap_err().is_not_found());
    assert_eq!(files.fault_count(), 2);
}

/// Runs a fixed programme under faults and returns all that could differ.
fn programme(seed: u64) -> (Vec<String>, Vec<Option<Vec<u8>>>, u64) {
    let files = SimulatedFileSystem::new(seed, Arc::new(SimulatedClock::new()));
    files.set_plan(FaultPlan::every(0.05));
    for round in 0..100_u8 {
        let name = format!("f{}", round % 7);
        let path = Path::new(&name);
        let _ = replace_file(&files, path, &[round; 100]);
        let _ = files.list(Path::new("/"));
        let _ = read_file(&files, path, 1_000);
        if round % 25 == 24 {
            files.crash_torn();
        }
    }
    let log = files.faults().iter().map(ToString::to_string).collect();
    files.set_plan(FaultPlan::default());
    let contents = (0..7).map(|n| content(&files, &format!("f{n}"))).collect();
    assert_eq!(files.handles_open(), 0);
    (log, contents, files.operation_count())
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let (log, contents, operations) = programme(11);
    assert_eq!((log.clone(), contents, operations), programme(11));
    assert_ne!(log, programme(12).0);
    assert!(log.len() > 20, "{log:#?}");
}

#[test]
fn no_plan_ever_shows_a_part_of_a_replacement() {
    for seed in 0..100 {
        let (log, contents, _) = programme(seed);
        for bytes in contents.into_iter().flatten() {
            assert!(
                bytes.len() == 100 && bytes.iter().all(|&byte| byte == bytes[0]),
                "seed {seed}: {bytes:?}\n{log:#?}"
            );
        }
    }
}

#[test]
fn faults_keep_to_their_directory() {
    let files = SimulatedFileSystem::new(3, Arc::new(SimulatedClock::new()));
    for directory in ["good", "bad"] {
        files.create_directory_all(Path::new(directory)).unwrap();
    }
    files.set_plan(FaultPlan { below: Some(PathBuf::from("bad")), ..FaultPlan::every(0.4) });
    for round in 0..20 {
        replace_file(&files, Path::new("good/f"), &[round]).unwrap();
        let _ = replace_file(&files, Path::new("bad/f"), &[round]);
    }
    assert!(files.fault_count() > 5);
    assert!(files.faults().iter().all(|record| record.path.starts_with("/bad") || record.path.starts_with("bad")));
}

#[test]
fn corruption_changes_what_is_stored() {
    let files = SimulatedFileSystem::without_faults();
    write(&files, "f", &[0, 0, 0]);
    files.corrupt(Path::new("f"), 1, 0x10).unwrap();
    files.crash();
    assert_eq!(content(&files, "f").unwrap(), [0, 0x10, 0]);
    assert!(matches!(files.corrupt(Path::new("f"), 3, 1), Err(IoError::UnexpectedEnd { size: 3, .. })));
    assert!(files.corrupt(Path::new("g"), 0, 1).unwrap_err().is_not_found());
}

#[test]
fn a_missing_file_comes_with_its_neighbours_and_costs_no_operation() {
    let files = SimulatedFileSystem::without_faults();
    write(&files, "orders.parquet", b"");
    let before = files.operation_count();
    let error = files.open(Path::new("order.parquet")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot open /order.parquet: no such file or directory; nearest in /: 'orders.parquet'"
    );
    assert_eq!(files.operation_count(), before + 1);
}
