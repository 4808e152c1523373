//! The configuration keys of this crate, Flink's where the concept is the same.

use crate::layout::MemoryOptions;
use crate::managed::ConsumerWeights;
use crate::{MemoryError, layout};
use flumen_config::{AnyOption, ByteSize, ConfigOption, Configuration};
use std::path::PathBuf;

/// All memory of the process.
pub const PROCESS_SIZE: ConfigOption<Option<ByteSize>> = ConfigOption::new(
    "taskmanager.memory.process.size",
    "",
    "All memory of the process; network, managed and working memory are divided from it. Nothing means 70 % of the \
     machine's or the control group's memory.",
);

/// Network memory as a part of the process size.
pub const NETWORK_FRACTION: ConfigOption<f64> = ConfigOption::new(
    "taskmanager.memory.network.fraction",
    "0.1",
    "Part of the process size that is network buffers, within network.min and network.max.",
)
.between("0", "1");

/// Network memory at least.
pub const NETWORK_MIN: ConfigOption<ByteSize> =
    ConfigOption::new("taskmanager.memory.network.min", "64 mb", "Network buffers take at least this much.")
        .at_least("64 kb");

/// Network memory at most.
pub const NETWORK_MAX: ConfigOption<Option<ByteSize>> = ConfigOption::new(
    "taskmanager.memory.network.max",
    "",
    "Network buffers take at most this much; nothing means no limit.",
);

/// Managed memory as a part of the process size.
pub const MANAGED_FRACTION: ConfigOption<f64> = ConfigOption::new(
    "taskmanager.memory.managed.fraction",
    "0.4",
    "Part of the process size that is managed memory, unless managed.size is set.",
)
.between("0", "1");

/// Managed memory exactly.
pub const MANAGED_SIZE: ConfigOption<Option<ByteSize>> = ConfigOption::new(
    "taskmanager.memory.managed.size",
    "",
    "Managed memory for operators and state backends; nothing means managed.fraction of the process size.",
);

/// How managed memory divides over kinds of consumers.
pub const CONSUMER_WEIGHTS: ConfigOption<String> = ConfigOption::new(
    "taskmanager.memory.managed.consumer-weights",
    "OPERATOR:70,STATE_BACKEND:70,PYTHON:30",
    "How managed memory divides over the kinds of consumers that run; kinds that are not there drop out.",
);

/// Where spill files go.
pub const SPILL_DIRECTORIES: ConfigOption<Vec<PathBuf>> = ConfigOption::new(
    "io.tmp.dirs",
    "/tmp",
    "Directories for spill files, separated by ';'; a process uses one of them. Files there have no names while open.",
);

/// Every option of this crate.
pub const OPTIONS: &[&dyn AnyOption] = &[
    &PROCESS_SIZE,
    &NETWORK_FRACTION,
    &NETWORK_MIN,
    &NETWORK_MAX,
    &MANAGED_FRACTION,
    &MANAGED_SIZE,
    &CONSUMER_WEIGHTS,
    &SPILL_DIRECTORIES,
];

impl MemoryOptions {
    /// The configured options, for a machine (or control group) with `machine_bytes` of memory.
    pub fn from_configuration(configuration: &Configuration, machine_bytes: u64) -> Self {
        let process = configuration.get(&PROCESS_SIZE).map(ByteSize::bytes);
        let mut options = Self::new(process.unwrap_or_else(|| layout::default_process_bytes(machine_bytes)));
        options.network_fraction = configuration.get(&NETWORK_FRACTION);
        options.network_bytes_min = configuration.get(&NETWORK_MIN).bytes();
        options.network_bytes_max = configuration.get(&NETWORK_MAX).map_or(u64::MAX, ByteSize::bytes);
        options.managed_fraction = configuration.get(&MANAGED_FRACTION);
        options.managed_bytes = configuration.get(&MANAGED_SIZE).map(ByteSize::bytes);
        options
    }
}

impl ConsumerWeights {
    /// The configured weights.
    ///
    /// # Errors
    /// As [`ConsumerWeights::parse`].
    pub fn from_configuration(configuration: &Configuration) -> Result<Self, MemoryError> {
        Self::parse(&configuration.get(&CONSUMER_WEIGHTS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flumen_config::{OptionRegistry, Origin};

    fn configuration(settings: &[(&str, &str)]) -> Configuration {
        let mut configuration = Configuration::new(OptionRegistry::collect(&[OPTIONS]).unwrap().into());
        for (key, text) in settings {
            configuration.set(key, text, Origin::Statement).unwrap();
        }
        configuration
    }

    #[test]
    fn defaults_are_the_same_in_both_places() {
        let configured = MemoryOptions::from_configuration(&configuration(&[]), 10 << 30);
        assert_eq!(configured, MemoryOptions::new(7 << 30));
        assert_eq!(ConsumerWeights::from_configuration(&configuration(&[])).unwrap(), ConsumerWeights::default());
    }

    #[test]
    fn every_key_reaches_its_option() {
        let configured = configuration(&[
            ("taskmanager.memory.process.size", "1 gb"),
            ("taskmanager.memory.network.fraction", "0.2"),
            ("taskmanager.memory.network.min", "1 mb"),
            ("taskmanager.memory.network.max", "100 mb"),
            ("taskmanager.memory.managed.fraction", "0.5"),
            ("taskmanager.memory.managed.size", "3 mb"),
        ]);
        let mut expected = MemoryOptions::new(1 << 30).with_managed_bytes(3 << 20);
        expected.network_fraction = 0.2;
        expected.network_bytes_min = 1 << 20;
        expected.network_bytes_max = 100 << 20;
        expected.managed_fraction = 0.5;
        assert_eq!(MemoryOptions::from_configuration(&configured, 0), expected);
    }
}
