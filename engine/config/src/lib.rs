//! Typed configuration: options, where their values come from, and the registry of metrics.
//!
//! A crate declares its options as [`ConfigOption`] constants and lists them as `pub const OPTIONS: &[&dyn AnyOption]`;
//! the process collects those lists into an [`OptionRegistry`] and fills a [`Configuration`] from a TOML file, the
//! environment, flags and SQL `SET`, in that order of precedence. Values are checked when they come in, so reading one
//! cannot fail. Values are read once, where a component is built, and passed down as plain types: nothing looks a key up
//! per row or batch. This crate knows no key of another crate.
//!
//! ```
//! use flumen_config::{AnyOption, ConfigOption, Configuration, OptionRegistry, Origin};
//!
//! /// Rows in a batch on bounded work.
//! pub const BATCH_SIZE: ConfigOption<usize> =
//!     ConfigOption::new("execution.batch-size", "8192", "Rows in a full batch.").between("1", "65536");
//! pub const OPTIONS: &[&dyn AnyOption] = &[&BATCH_SIZE];
//!
//! let mut configuration = Configuration::new(OptionRegistry::collect(&[OPTIONS])?.into());
//! configuration.apply_toml("[execution]\nbatch-size = 1024", "flumen.toml".as_ref())?;
//! assert_eq!(configuration.get(&BATCH_SIZE), 1024);
//! configuration.set("execution.batch-size", "7", Origin::Statement)?;
//! assert_eq!(configuration.get(&BATCH_SIZE), 7);
//! # Ok::<(), flumen_config::ConfigError>(())
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`value`] | what types an option may have and how they are written |
//! | [`byte_size`], [`duration`] | sizes and times with Flink's units |
//! | [`option`] | one option |
//! | [`registry`] | all options, checked; nearest key to a wrong one |
//! | [`configuration`] | the merged values with their origins |
//! | [`reference`](mod@reference) | the generated reference page |
//! | [`metrics`] | counters, gauges and histograms |
//! | [`error`] | the crate's error |

pub mod byte_size;
pub mod configuration;
pub mod duration;
pub mod error;
pub mod metrics;
pub mod option;
pub mod reference;
pub mod registry;
pub mod value;

pub use byte_size::ByteSize;
pub use configuration::{Configuration, EffectiveValue, Origin};
pub use error::{ConfigError, Result};
pub use option::{AnyOption, ConfigOption};
pub use registry::OptionRegistry;
pub use value::ConfigValue;
