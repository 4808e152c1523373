//! Spill files on real directories, and on disks that fail, lie and fill up.

use super::*;
use crate::MemoryError;
use flumen_io::{Fault, FileSystem, LocalFileSystem, Operation, SimulatedFileSystem};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A disk in memory with faults: a capacity, a number of writes after which all fail, short transfers.
#[derive(Clone, Default)]
struct Disk {
    shared: Arc<DiskState>,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Disk")
    }
}

#[derive(Default)]
struct DiskState {
    bytes: Mutex<Vec<u8>>,
    capacity: Mutex<Option<usize>>,
    /// Fails the call with this number, counted over writes and reads.
    fail_call: Mutex<Option<(usize, io::ErrorKind)>>,
    calls: AtomicUsize,
    transfer_max: Mutex<Option<usize>>,
    files: AtomicUsize,
}

struct DiskFile(Arc<DiskState>);

impl std::fmt::Debug for DiskFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DiskFile")
    }
}

impl Drop for DiskFile {
    fn drop(&mut self) {
        self.0.files.fetch_sub(1, Ordering::SeqCst);
    }
}

impl SpillStorage for Disk {
    fn create(&self) -> io::Result<Box<dyn SpillIo>> {
        self.shared.enter()?;
        self.shared.files.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(DiskFile(Arc::clone(&self.shared))))
    }

    fn name(&self) -> String {
        "disk".into()
    }
}

impl DiskState {
    fn enter(&self) -> io::Result<()> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        match *self.fail_call.lock().unwrap() {
            Some((fails, kind)) if fails == call => Err(kind.into()),
            _ => Ok(()),
        }
    }

    fn transfer(&self, length: usize) -> usize {
        self.transfer_max.lock().unwrap().map_or(length, |most| length.min(most))
    }
}

impl SpillIo for DiskFile {
    fn name(&self) -> &str {
        "disk/spill"
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.0.enter()?;
        let bytes = self.0.bytes.lock().unwrap();
        let from = bytes.get(offset as usize..).unwrap_or_default();
        let length = self.0.transfer(out.len().min(from.len()));
        out[..length].copy_from_slice(&from[..length]);
        Ok(length)
    }

    fn write_at(&self, offset: u64, from: &[u8]) -> io::Result<usize> {
        self.0.enter()?;
        let mut bytes = self.0.bytes.lock().unwrap();
        let length = self.0.transfer(from.len());
        let end = offset as usize + length;
        if self.0.capacity.lock().unwrap().is_some_and(|capacity| end > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset as usize..end].copy_from_slice(&from[..length]);
        Ok(length)
    }
}

fn pool_on(disk: &Disk, extent_bytes: u32) -> ExtentPool {
    ExtentPool::new(Box::new(disk.clone()), ExtentPoolOptions::default().with_extent_bytes(extent_bytes))
}

fn payload(seed: usize, length: usize) -> Vec<u8> {
    // Half noise, half zeros, so that frames are compressed but not to nothing.
    let noise = |n: usize| {
        let mixed = (n + seed * 1_000_003).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 56) as u8
    };
    (0..length).map(|n| if n % 64 < 32 { noise(n) } else { 0 }).collect()
}

fn write_all(pool: &ExtentPool, owner: &str, lengths: &[usize]) -> Result<SpillFile, MemoryError> {
    let mut codec = FrameCodec::default();
    let mut writer = SpillWriter::new(pool, owner);
    for (seed, length) in lengths.iter().enumerate() {
        assert_eq!(writer.append(&payload(seed, *length), &mut codec)?, seed);
    }
    writer.finish()
}

fn check_all(file: &SpillFile, lengths: &[usize]) -> Result<(), MemoryError> {
    let mut codec = FrameCodec::default();
    let mut out = Vec::new();
    assert_eq!(file.frame_count(), lengths.len());
    for (seed, length) in lengths.iter().enumerate().rev() {
        file.read(seed, &mut codec, &mut out)?;
        assert_eq!(out, payload(seed, *length));
    }
    Ok(())
}

const LENGTHS: [usize; 8] = [0, 1, 100, 5000, 65536, 3, 200_000, 40];

#[test]
fn frames_of_all_lengths_over_extents_of_all_sizes() {
    for extent_bytes in [1, 7, 4096, 256 << 10] {
        for transfer_max in [None, Some(1000)] {
            let disk = Disk::default();
            *disk.shared.transfer_max.lock().unwrap() = transfer_max;
            let pool = pool_on(&disk, extent_bytes);
            let file = write_all(&pool, "sort", &LENGTHS).unwrap();
            assert_eq!(file.raw_bytes(), LENGTHS.iter().sum::<usize>() as u64);
            assert_eq!(pool.used_bytes(), file.stored_bytes().next_multiple_of(u64::from(extent_bytes)));
            check_all(&file, &LENGTHS).unwrap();
            drop(file);
            pool.verify_empty().unwrap();
        }
    }
}

fn local(directory: &Path) -> ExtentPool {
    let storage = DirectoryStorage::new(Arc::new(LocalFileSystem), directory);
    ExtentPool::new(Box::new(storage), ExtentPoolOptions::default())
}

#[test]
fn a_directory_shows_no_file_and_is_made_if_missing() {
    let directory = tempfile::tempdir().unwrap();
    let below = directory.path().join("a/b");
    let pool = local(&below);
    assert!(!below.exists(), "nothing is made before it is needed");
    let file = write_all(&pool, "join", &LENGTHS).unwrap();
    assert_eq!(std::fs::read_dir(&below).unwrap().count(), 0, "the file has no name");
    std::thread::scope(|scope| {
        (0..3).for_each(|_| {
            scope.spawn(|| check_all(&file, &LENGTHS).unwrap());
        });
    });
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let occupied = directory.path().join("file");
    std::fs::write(&occupied, b"").unwrap();
    let pool = local(&occupied.join("x"));
    let error = write_all(&pool, "join", &[10]).unwrap_err();
    assert!(error.to_string().starts_with("cannot create spill file") && error.to_string().contains("file/x"));
    pool.verify_empty().unwrap();
}

/// The file system of the engine's simulations, with each kind of fault at each of its operations.
#[test]
fn simulated_faults_leave_no_file_and_no_handle() {
    for operation in
        [Operation::CreateDirectory, Operation::Create, Operation::Remove, Operation::Write, Operation::Read]
    {
        for skip in 0..12 {
            let files = Arc::new(SimulatedFileSystem::without_faults());
            files.inject(operation, skip, Fault::StorageFull);
            let storage = DirectoryStorage::new(Arc::clone(&files) as Arc<dyn FileSystem>, "/spill");
            let options = ExtentPoolOptions::default().with_extent_bytes(32 << 10);
            let pool = ExtentPool::new(Box::new(storage), options);
            let answer = write_all(&pool, "sort", &LENGTHS).and_then(|file| check_all(&file, &LENGTHS));
            // A name that stays until the end is no failure.
            let expected = files.fault_count() == 0 || operation == Operation::Remove;
            assert_eq!(answer.is_ok(), expected, "{operation:?} {skip}: {answer:?}");
            if operation == Operation::Write && !expected {
                assert!(matches!(answer, Err(MemoryError::SpillFull { limit_bytes: None, .. })), "{answer:?}");
            }
            pool.verify_empty().unwrap();
            drop(pool);
            assert_eq!(files.handles_open(), 0, "{operation:?} {skip}");
            let left: Vec<_> = files.paths().into_iter().filter(|path| path != Path::new("/spill")).collect();
            assert!(left.is_empty(), "{operation:?} {skip}: {left:?}");
        }
    }
}

#[test]
fn extents_are_recycled_and_the_file_given_up() {
    let disk = Disk::default();
    let pool = pool_on(&disk, 4096);
    for _ in 0..10 {
        let file = write_all(&pool, "aggregate", &LENGTHS).unwrap();
        check_all(&file, &LENGTHS).unwrap();
        assert!(!pool.release_file(), "it is in use");
    }
    assert_eq!(pool.file_bytes(), pool.peak_bytes(), "ten rounds use the extents of one");
    assert_eq!(disk.shared.files.load(Ordering::SeqCst), 1);
    assert!(pool.release_file());
    assert_eq!((disk.shared.files.load(Ordering::SeqCst), pool.file_bytes()), (0, 0));
    check_all(&write_all(&pool, "aggregate", &LENGTHS).unwrap(), &LENGTHS).unwrap();
}

#[test]
fn the_leak_check_names_the_owners() {
    let pool = pool_on(&Disk::default(), 64 << 10);
    let one = write_all(&pool, "job/sort", &[10]).unwrap();
    let two = write_all(&pool, "job/join", &[400_000]).unwrap();
    let text = pool.verify_empty().unwrap_err().to_string();
    assert!(text.starts_with("spill space in disk is not empty, held by job/join"), "{text}");
    assert!(text.ends_with(", job/sort 64 KiB"), "{text}");
    drop((one, two));
    pool.verify_empty().unwrap();
}

#[test]
fn a_limit_and_a_full_disk_are_told_apart_and_survived() {
    let options = ExtentPoolOptions::default().with_extent_bytes(4096).with_bytes_max(10_000);
    let limited = ExtentPool::new(Box::new(Disk::default()), options);
    let error = write_all(&limited, "sort", &[5000, 20_000]).unwrap_err();
    assert!(matches!(error, MemoryError::SpillFull { limit_bytes: Some(10_000), source: None, .. }), "{error}");
    assert!(error.to_string().contains("holds 8 KiB in use of at most 9.8 KiB"), "{error}");
    limited.verify_empty().unwrap();

    let disk = Disk::default();
    *disk.shared.capacity.lock().unwrap() = Some(10_000);
    let full = pool_on(&disk, 4096);
    let mut writer = SpillWriter::new(&full, "sort");
    let mut codec = FrameCodec::default();
    writer.append(&payload(0, 5000), &mut codec).unwrap();
    let error = writer.append(&payload(1, 20_000), &mut codec).unwrap_err();
    assert!(matches!(error, MemoryError::SpillFull { limit_bytes: None, source: Some(_), .. }), "{error}");
    assert!(error.is_exhaustion());
    let error = writer.append(&[], &mut codec).unwrap_err();
    assert!(matches!(error, MemoryError::SpillFailedBefore { .. }), "{error}");
    assert!(matches!(writer.finish(), Err(MemoryError::SpillFailedBefore { .. })));
    full.verify_empty().unwrap();
    // What fits still works.
    check_all(&write_all(&full, "sort", &[5000]).unwrap(), &[5000]).unwrap();
}

/// Every call to the disk fails once, with every kind; nothing panics, leaks or answers wrong bytes.
#[test]
fn each_failing_call_is_an_error_and_nothing_leaks() {
    use io::ErrorKind::{Interrupted, Other, StorageFull};
    for kind in [StorageFull, Other, Interrupted] {
        let mut failures = 0;
        for call in 0.. {
            let disk = Disk::default();
            *disk.shared.fail_call.lock().unwrap() = Some((call, kind));
            let pool = pool_on(&disk, 16 << 10);
            let answer = write_all(&pool, "sort", &LENGTHS).and_then(|file| check_all(&file, &LENGTHS));
            pool.verify_empty().unwrap();
            failures += usize::from(answer.is_err());
            if disk.shared.calls.load(Ordering::SeqCst) <= call {
                answer.unwrap();
                break;
            }
            // Making the file is not retried; reads and writes go on after an interruption.
            assert_eq!(answer.is_ok(), kind == Interrupted && call > 0, "{kind} at call {call}");
        }
        assert!(failures >= 1);
    }
}

#[test]
fn damage_and_truncation_on_disk_are_found() {
    let lengths = [100, 5000, 300];
    let disk = Disk::default();
    let pool = pool_on(&disk, 1024);
    let file = write_all(&pool, "sort", &lengths).unwrap();
    let original = disk.shared.bytes.lock().unwrap().clone();
    assert_eq!(original.len() as u64, file.stored_bytes());
    for (at, byte) in original.iter().enumerate() {
        disk.shared.bytes.lock().unwrap()[at] ^= 1 << (at % 8);
        let error = check_all(&file, &lengths).unwrap_err();
        assert!(matches!(error, MemoryError::SpillCorrupt { .. }), "byte {at}: {error}");
        disk.shared.bytes.lock().unwrap()[at] = *byte;
    }
    for length in 0..original.len() {
        disk.shared.bytes.lock().unwrap().truncate(original.len() - 1 - length);
        let error = check_all(&file, &lengths).unwrap_err();
        assert!(error.to_string().contains("cut short"), "{error}");
    }
    *disk.shared.bytes.lock().unwrap() = original;
    check_all(&file, &lengths).unwrap();
    // A frame of the right shape from elsewhere (a lost or misdirected write) is not taken for this one.
    let other = FrameCodec::default().encode(&payload(9, 99)).unwrap().to_vec();
    disk.shared.bytes.lock().unwrap()[..other.len()].copy_from_slice(&other);
    assert!(matches!(check_all(&file, &lengths), Err(MemoryError::SpillCorrupt { .. })));
}
