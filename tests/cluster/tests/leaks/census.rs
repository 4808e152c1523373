//! What the process holds of the system.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::DEADLINE;

/// Threads, descriptors and temporary files of this process, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Census {
    counts: BTreeMap<String, usize>,
}

impl Census {
    pub(crate) fn take() -> Self {
        let mut counts = BTreeMap::new();
        let mut count = |what: String| *counts.entry(what).or_insert(0) += 1;
        for thread in entries(Path::new("/proc/self/task")) {
            // A thread may end while it is looked at.
            if let Ok(name) = std::fs::read_to_string(thread.join("comm")) {
                count(format!("thread {}", name.trim()));
            }
        }
        for descriptor in entries(Path::new("/proc/self/fd")) {
            if let Ok(target) = std::fs::read_link(&descriptor) {
                count(format!("descriptor of {}", target.display()));
            }
        }
        // Every file that the engine makes for itself is in a directory that begins so.
        let ours = format!("flumen-{}-", std::process::id());
        for directory in entries(&std::env::temp_dir()) {
            if directory.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&ours)) {
                entries(&directory).into_iter().for_each(|file| count(format!("file {}", file.display())));
            }
        }
        Self { counts }
    }

    /// Waits until all is as it is here and `is_empty` has nothing to complain of.
    pub(crate) fn wait_for_return(&self, what: &str, is_empty: impl Fn() -> Result<(), String>) {
        let started = Instant::now();
        loop {
            let (left, now) = (is_empty(), Self::take());
            if left.is_ok() && now == *self {
                return;
            }
            let waited = started.elapsed();
            assert!(waited < DEADLINE, "{what}: {waited:?} after its end: {left:?}, {}", self.difference(&now));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What is there more or less of in `now`.
    fn difference(&self, now: &Self) -> String {
        let names: std::collections::BTreeSet<_> = self.counts.keys().chain(now.counts.keys()).collect();
        let count = |census: &Self, name: &String| census.counts.get(name).copied().unwrap_or(0);
        let differences: Vec<_> = names
            .into_iter()
            .filter(|name| count(self, name) != count(now, name))
            .map(|name| format!("{name}: {} before, {} now", count(self, name), count(now, name)))
            .collect();
        if differences.is_empty() { "nothing else is left".to_owned() } else { differences.join("; ") }
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
