//! The machine that a benchmark ran on.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What of a machine decides about times. What it does not tell is empty or 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Host {
    /// Operating system and architecture.
    pub(super) system: String,
    pub(super) cpu: String,
    /// Threads that run at once.
    pub(super) cores: usize,
    pub(super) memory_mib: u64,
}

impl Host {
    /// The machine of this process.
    pub(super) fn of_process() -> Self {
        let of_file = |path: &str, key: &str| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.lines()
                .find(|line| line.starts_with(key))
                .and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()))
        };
        let memory = of_file("/proc/meminfo", "MemTotal").unwrap_or_default();
        let memory_kib: u64 = memory.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0);
        Self {
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            cpu: of_file("/proc/cpuinfo", "model name").unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: memory_kib / 1024,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.system)?;
        if !self.cpu.is_empty() {
            write!(f, ", {}", self.cpu)?;
        }
        write!(f, ", {} cores", self.cores)?;
        if self.memory_mib > 0 { write!(f, ", {} MiB of memory", self.memory_mib) } else { Ok(()) }
    }
}
