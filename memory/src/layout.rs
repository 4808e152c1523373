//! One configured size into all others.
//!
//! `taskmanager.memory.process.size` is what the process may use. Network and managed memory are fractions of it by
//! Flink's keys and defaults, rounded down to whole pages; both come from the arena. The rest is working memory:
//! code, stacks, and what libraries allocate themselves. Flink's parts for the JVM (metaspace, overhead, heap) do not
//! exist. A set of options that cannot hold is an error that names keys and numbers, never a silent adjustment.
//! Sizes are in bytes. Pure functions. Source: Flink's `TaskExecutorFlinkMemoryUtils`.

use crate::arena::PAGE_BYTES;
use crate::error::{Bytes, MemoryError};
use crate::options::{MANAGED_FRACTION, MANAGED_SIZE, NETWORK_FRACTION, NETWORK_MAX, NETWORK_MIN, PROCESS_SIZE};

const NETWORK_FRACTION_KEY: &str = NETWORK_FRACTION.key();
const NETWORK_MIN_KEY: &str = NETWORK_MIN.key();
const NETWORK_MAX_KEY: &str = NETWORK_MAX.key();
const MANAGED_FRACTION_KEY: &str = MANAGED_FRACTION.key();
const MANAGED_SIZE_KEY: &str = MANAGED_SIZE.key();
const PROCESS_SIZE_KEY: &str = PROCESS_SIZE.key();

/// The least that must remain for everything that is not a segment.
pub const WORKING_BYTES_MIN: u64 = 32 << 20;

const MIB: u64 = 1 << 20;

/// The options that a layout is computed from.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct MemoryOptions {
    /// All memory of the process.
    pub process_bytes: u64,
    /// Part of the process size for network buffers.
    pub network_fraction: f64,
    /// Network buffers at least.
    pub network_bytes_min: u64,
    /// Network buffers at most.
    pub network_bytes_max: u64,
    /// Part of the process size for managed memory, unless its size is given.
    pub managed_fraction: f64,
    /// Managed memory exactly.
    pub managed_bytes: Option<u64>,
}

impl MemoryOptions {
    /// Flink's defaults for a process of `process_bytes`: 10 % network but at least 64 MiB, 40 % managed.
    pub fn new(process_bytes: u64) -> Self {
        Self {
            process_bytes,
            network_fraction: 0.1,
            network_bytes_min: 64 * MIB,
            network_bytes_max: u64::MAX,
            managed_fraction: 0.4,
            managed_bytes: None,
        }
    }

    /// Sets the managed size instead of its fraction.
    #[must_use]
    pub fn with_managed_bytes(mut self, bytes: u64) -> Self {
        self.managed_bytes = Some(bytes);
        self
    }
}

/// The process size where none is configured: 70 % of what the machine (or its control group) has.
pub fn default_process_bytes(machine_bytes: u64) -> u64 {
    machine_bytes / 10 * 7
}

/// How the process's memory divides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryLayout {
    /// All of it.
    pub process_bytes: u64,
    /// Network buffers: whole pages.
    pub network_bytes: u64,
    /// Managed memory: whole pages.
    pub managed_bytes: u64,
    /// What is left.
    pub working_bytes: u64,
}

impl MemoryLayout {
    /// Divides `options.process_bytes`.
    ///
    /// # Errors
    /// [`MemoryError::Layout`] for a fraction that is none, a minimum above its maximum, or parts that leave less than
    /// [`WORKING_BYTES_MIN`].
    pub fn compute(options: &MemoryOptions) -> Result<Self, MemoryError> {
        let MemoryOptions { process_bytes, network_bytes_min, network_bytes_max, .. } = *options;
        let network_part = fraction(NETWORK_FRACTION_KEY, options.network_fraction, process_bytes)?;
        let managed_part = fraction(MANAGED_FRACTION_KEY, options.managed_fraction, process_bytes)?;
        if network_bytes_min > network_bytes_max {
            return Err(MemoryError::Layout(format!(
                "{NETWORK_MIN_KEY} ({}) is above {NETWORK_MAX_KEY} ({})",
                Bytes(network_bytes_min),
                Bytes(network_bytes_max)
            )));
        }
        let network_bytes = whole_pages(network_part.clamp(network_bytes_min, network_bytes_max));
        if network_bytes == 0 {
            return Err(MemoryError::Layout(format!(
                "network memory is less than one buffer of 64 KiB; increase {NETWORK_FRACTION_KEY} or {NETWORK_MIN_KEY}"
            )));
        }
        let managed_bytes = whole_pages(options.managed_bytes.unwrap_or(managed_part));
        let segments = network_bytes.saturating_add(managed_bytes);
        let needed = segments.saturating_add(WORKING_BYTES_MIN);
        if needed > process_bytes {
            return Err(too_small(options, network_bytes, managed_bytes, needed));
        }
        Ok(Self { process_bytes, network_bytes, managed_bytes, working_bytes: process_bytes - segments })
    }

    /// Size of the arena: network and managed memory.
    pub fn arena_bytes(&self) -> u64 {
        self.network_bytes + self.managed_bytes
    }

    /// Number of network buffers.
    pub fn network_buffers(&self) -> usize {
        (self.network_bytes / PAGE_BYTES as u64) as usize
    }
}

fn fraction(key: &str, fraction: f64, of: u64) -> Result<u64, MemoryError> {
    if (0.0..=1.0).contains(&fraction) {
        Ok((of as f64 * fraction) as u64)
    } else {
        Err(MemoryError::Layout(format!("{key} is {fraction}, expected a number from 0 to 1")))
    }
}

fn whole_pages(bytes: u64) -> u64 {
    bytes - bytes % PAGE_BYTES as u64
}

fn too_small(options: &MemoryOptions, network: u64, managed: u64, needed: u64) -> MemoryError {
    let managed_key = match options.managed_bytes {
        Some(_) => MANAGED_SIZE_KEY,
        None => MANAGED_FRACTION_KEY,
    };
    MemoryError::Layout(format!(
        "network ({}), managed ({}) and at least {} of working memory need {}, but {PROCESS_SIZE_KEY} is {}; increase \
         it, or lower {managed_key} or {NETWORK_MIN_KEY}",
        Bytes(network),
        Bytes(managed),
        Bytes(WORKING_BYTES_MIN),
        Bytes(needed),
        Bytes(options.process_bytes)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GIB: u64 = 1 << 30;

    fn check(options: MemoryOptions, network: u64, managed: u64) {
        let layout = MemoryLayout::compute(&options).unwrap();
        assert_eq!((layout.network_bytes, layout.managed_bytes), (network, managed), "{options:?}");
        assert_eq!(layout.working_bytes, options.process_bytes - network - managed);
        assert_eq!(layout.network_buffers() as u64, network / 65536);
    }

    fn refused(options: MemoryOptions, parts: &[&str]) {
        let text = MemoryLayout::compute(&options).unwrap_err().to_string();
        parts.iter().for_each(|part| assert!(text.contains(part), "'{part}' in: {text}"));
    }

    #[test]
    fn fractions_minima_and_sizes() {
        // 10 % and 40 %, down to whole pages: 1 GiB / 10 = 1638.4 pages, 1 GiB * 0.4 = 6553.6 pages.
        check(MemoryOptions::new(GIB), 1638 << 16, 6553 << 16);
        check(MemoryOptions::new(10 * GIB), 16384 << 16, 65536 << 16);
        // 10 % of 256 MiB is below the minimum of 64 MiB; 40 % are 1638.4 pages.
        check(MemoryOptions::new(256 * MIB), 64 * MIB, 1638 << 16);
        check(MemoryOptions::new(GIB).with_managed_bytes(0), 1638 << 16, 0);
        check(MemoryOptions::new(GIB).with_managed_bytes(100 * MIB + 5), 1638 << 16, 100 * MIB);
        check(MemoryOptions { network_bytes_max: 80 * MIB, ..MemoryOptions::new(GIB) }, 80 * MIB, 6553 << 16);
        check(MemoryOptions { network_fraction: 0.0, ..MemoryOptions::new(GIB) }, 64 * MIB, 6553 << 16);
        // Exactly the least that works.
        check(MemoryOptions::new(196 * MIB).with_managed_bytes(100 * MIB), 64 * MIB, 100 * MIB);
    }

    #[test]
    fn contradictions_are_errors_with_keys_and_numbers() {
        let gib = MemoryOptions::new(GIB);
        refused(MemoryOptions::new(128 * MIB), &["64 MiB", "process.size is 128 MiB", MANAGED_FRACTION_KEY]);
        refused(MemoryOptions::new(0), &["process.size is 0 B"]);
        refused(gib.with_managed_bytes(GIB), &["managed (1 GiB)", MANAGED_SIZE_KEY]);
        refused(gib.with_managed_bytes(u64::MAX), &[MANAGED_SIZE_KEY]);
        refused(MemoryOptions { network_fraction: 1.5, ..gib }, &[NETWORK_FRACTION_KEY, "1.5"]);
        refused(MemoryOptions { managed_fraction: -0.1, ..gib }, &[MANAGED_FRACTION_KEY, "-0.1"]);
        refused(MemoryOptions { managed_fraction: f64::NAN, ..gib }, &["NaN"]);
        refused(MemoryOptions { network_bytes_max: MIB, ..gib }, &["min (64 MiB)", "max (1 MiB)"]);
        refused(MemoryOptions { network_bytes_min: 0, network_fraction: 0.0, ..gib }, &["less than one buffer"]);
    }

    proptest! {
        #[test]
        fn the_parts_never_exceed_the_whole(
            process_bytes in any::<u64>(),
            network_fraction in 0.0..=1.0_f64,
            managed_fraction in 0.0..=1.0_f64,
        ) {
            let options = MemoryOptions { network_fraction, managed_fraction, ..MemoryOptions::new(process_bytes) };
            if let Ok(layout) = MemoryLayout::compute(&options) {
                let parts = [layout.network_bytes, layout.managed_bytes, layout.working_bytes];
                prop_assert_eq!(parts.iter().map(|part| u128::from(*part)).sum::<u128>(), u128::from(process_bytes));
                prop_assert!(layout.working_bytes >= WORKING_BYTES_MIN);
            }
        }
    }
}
