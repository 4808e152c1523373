//! Where operators spill to: the extents of the process, codecs that are used again, and counters.
//!
//! Codecs are taken for a call and given back; there are never more than threads that spill at once. Any thread may
//! call.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use flumen_core::failure::Failure;
use flumen_memory::{ExtentPool, ExtentPoolOptions, FrameCodec, MemoryError, SpillIo, SpillStorage};

/// Bytes that one operator has written to spill files, as stored. Cloned handles count together.
#[derive(Clone, Debug, Default)]
pub struct SpilledBytes(Arc<AtomicU64>);

impl SpilledBytes {
    /// Bytes so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// The spill space of a process, as one operator sees it; cheap to clone.
#[derive(Clone)]
pub struct SpillSpace {
    shared: Arc<Shared>,
    /// Its name in leak reports.
    owner: Arc<str>,
    spilled: SpilledBytes,
}

struct Shared {
    pool: ExtentPool,
    /// Locked to take one or give one back, once for each frame.
    codecs: Mutex<Vec<FrameCodec>>,
    total: SpilledBytes,
}

impl SpillSpace {
    /// Spill space on these extents.
    #[must_use]
    pub fn new(pool: ExtentPool) -> Self {
        let shared = Shared { pool, codecs: Mutex::default(), total: SpilledBytes::default() };
        Self { shared: Arc::new(shared), owner: Arc::from("operators"), spilled: SpilledBytes::default() }
    }

    /// No space: whoever has to spill fails, and says so.
    #[must_use]
    pub fn none() -> Self {
        Self::new(ExtentPool::new(Box::new(NoStorage), ExtentPoolOptions::default()))
    }

    /// The same space for one operator, which is named in leak reports and whose bytes are counted.
    #[must_use]
    pub fn of_operator(&self, owner: &str, spilled: SpilledBytes) -> Self {
        Self { shared: Arc::clone(&self.shared), owner: Arc::from(owner), spilled }
    }

    /// Bytes that all operators of the process have written so far, as stored.
    #[must_use]
    pub fn spilled_bytes(&self) -> u64 {
        self.shared.total.get()
    }

    /// The leak check: nothing is spilled now.
    ///
    /// # Errors
    /// With those who hold extents.
    pub fn verify_empty(&self) -> Result<(), MemoryError> {
        self.shared.pool.verify_empty()
    }

    pub(super) fn pool(&self) -> &ExtentPool {
        &self.shared.pool
    }

    pub(super) fn owner(&self) -> &str {
        &self.owner
    }

    pub(super) fn count(&self, bytes: u64) {
        self.spilled.add(bytes);
        self.shared.total.add(bytes);
    }

    /// Runs `work` with a codec.
    pub(super) fn with_codec<T>(&self, work: impl FnOnce(&mut FrameCodec) -> T) -> T {
        let codecs = || self.shared.codecs.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = codecs().pop();
        let mut codec = kept.unwrap_or_default();
        let answer = work(&mut codec);
        codecs().push(codec);
        answer
    }

    /// Something that was spilled is gone; the file goes with the last.
    pub(super) fn release_unused(&self) {
        if self.shared.pool.release_file() {
            self.shared.codecs.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }
}

/// How a failure to spill is to be treated: more disk helps where there was too little, another attempt where the disk
/// had a fault.
pub(super) fn failure(error: MemoryError) -> Failure {
    if error.is_exhaustion() || matches!(error, MemoryError::FrameTooLarge { .. }) {
        Failure::user(error)
    } else {
        Failure::transient(error)
    }
}

#[derive(Debug)]
struct NoStorage;

impl SpillStorage for NoStorage {
    fn create(&self) -> io::Result<Box<dyn SpillIo>> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this process was given no place to spill to"))
    }

    fn name(&self) -> String {
        "no spill space".to_owned()
    }
}
