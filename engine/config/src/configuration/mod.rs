//! The merged values of all sources, each with where it came from.
//!
//! Precedence, lowest first: default, TOML file, environment, flag, program, SQL `SET`. It belongs to the origin and
//! not to the order of calls: a value never replaces one of a higher origin. Between files, the one applied later wins.
//! A value is checked against its option when it comes in, so reads cannot fail. Threading: filled by one thread at
//! start-up, then cloned or shared read-only.

mod origin;
#[cfg(test)]
mod tests;
mod toml_file;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

pub use self::origin::Origin;

use crate::error::{ConfigError, Result};
use crate::option::{ConfigOption, MASK};
use crate::registry::OptionRegistry;
use crate::value::ConfigValue;

/// What environment variables of ours begin with.
const ENVIRONMENT_PREFIX: &str = "FLUMEN_";

/// Values by key, over the options of a registry.
#[derive(Clone)]
pub struct Configuration {
    registry: Arc<OptionRegistry>,
    values: BTreeMap<&'static str, Value>,
}

#[derive(Clone)]
struct Value {
    text: String,
    origin: Origin,
}

/// An option's value as it stands, for `config list` and the like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveValue {
    /// The option.
    pub key: &'static str,
    /// Its value as text; asterisks for a secret that is set.
    pub text: String,
    /// Where it came from.
    pub origin: Origin,
}

impl Configuration {
    /// A configuration in which every option has its default.
    pub const fn new(registry: Arc<OptionRegistry>) -> Self {
        Self { registry, values: BTreeMap::new() }
    }

    /// The options this configuration knows.
    pub const fn registry(&self) -> &Arc<OptionRegistry> {
        &self.registry
    }

    /// The value of an option: what was set, or else the default.
    ///
    /// # Panics
    /// If the option is not in the registry and its own default is not a value: a bug of the program.
    pub fn get<T: ConfigValue + PartialOrd>(&self, option: &ConfigOption<T>) -> T {
        let default = crate::option::AnyOption::default_text(option);
        let text = self.values.get(option.key()).map_or(default, |value| value.text.as_str());
        option.read(text).expect("values are checked when they are set, and defaults when options are collected")
    }

    /// True if the option has another source than its default.
    pub fn is_set<T>(&self, option: &ConfigOption<T>) -> bool {
        self.values.contains_key(option.key())
    }

    /// Where the value of `key` comes from; `None` if there is no such option.
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        self.registry.get(key).map(|_| self.values.get(key).map_or(&Origin::Default, |value| &value.origin))
    }

    /// Sets one value, unless one of a higher origin is there.
    ///
    /// # Errors
    /// [`ConfigError::UnknownKey`] with the nearest keys; [`ConfigError::InvalidValue`]. Nothing has changed then.
    pub fn set(&mut self, key: &str, text: &str, origin: Origin) -> Result<()> {
        let Some(option) = self.registry.get(key) else {
            return Err(ConfigError::UnknownKey { key: key.to_owned(), origin, nearest: self.registry.nearest(key) });
        };
        if !option.accepts(text) {
            return Err(ConfigError::InvalidValue {
                key: key.to_owned(),
                value: if option.is_secret() { MASK.to_owned() } else { text.to_owned() },
                origin,
                expected: option.expected(),
            });
        }
        if self.values.get(option.key()).is_none_or(|value| value.origin.rank() <= origin.rank()) {
            self.values.insert(option.key(), Value { text: text.to_owned(), origin });
        }
        Ok(())
    }

    /// Takes back what SQL `SET` or the program set (SQL `RESET`); the value of the start-up sources is not kept beside
    /// it, so a caller that wants that keeps the configuration from before.
    ///
    /// # Errors
    /// [`ConfigError::UnknownKey`].
    pub fn reset(&mut self, key: &str, to: &Self) -> Result<()> {
        let Some(option) = self.registry.get(key) else {
            let (origin, nearest) = (Origin::Statement, self.registry.nearest(key));
            return Err(ConfigError::UnknownKey { key: key.to_owned(), origin, nearest });
        };
        match to.values.get(option.key()) {
            Some(value) => self.values.insert(option.key(), value.clone()),
            None => self.values.remove(option.key()),
        };
        Ok(())
    }

    /// Sets every key of a TOML text; nested tables are parts of keys. `path` is named in errors and origins.
    ///
    /// # Errors
    /// [`ConfigError::Syntax`], or that of the first wrong key or value. Nothing has changed then.
    pub fn apply_toml(&mut self, text: &str, path: &Path) -> Result<()> {
        let mut changed = self.clone();
        for (key, value, origin) in toml_file::flatten(text, path)? {
            changed.set(&key, &value, origin)?;
        }
        *self = changed;
        Ok(())
    }

    /// Sets a key for each variable that begins with `FLUMEN_`, but for those in `except` (variables with a meaning of
    /// their own). In the rest of the name two underscores are a dot and one is a dash:
    /// `FLUMEN_EXECUTION__BATCH_SIZE` is `execution.batch-size`.
    ///
    /// # Errors
    /// That of the first wrong key or value. Nothing has changed then.
    pub fn apply_environment(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
        except: &[&str],
    ) -> Result<()> {
        let mut changed = self.clone();
        let mut variables: Vec<_> = variables.into_iter().collect();
        // The environment has no order; the error should not depend on chance.
        variables.sort_unstable();
        for (name, value) in variables {
            let Some(rest) = name.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
            if except.contains(&name.as_str()) {
                continue;
            }
            let key = rest.to_lowercase().replace("__", ".").replace('_', "-");
            changed.set(&key, &value, Origin::Environment { variable: name.clone() })?;
        }
        *self = changed;
        Ok(())
    }

    /// Sets a key for each `key=value`; the value may contain further equals signs.
    ///
    /// # Errors
    /// [`ConfigError::MalformedFlag`], or that of the first wrong key or value. Nothing has changed then.
    pub fn apply_flags<S: AsRef<str>>(&mut self, flags: impl IntoIterator<Item = S>) -> Result<()> {
        let mut changed = self.clone();
        for flag in flags {
            let flag = flag.as_ref();
            let Some((key, value)) = flag.split_once('=').filter(|(key, _)| !key.trim().is_empty()) else {
                return Err(ConfigError::MalformedFlag { text: flag.to_owned() });
            };
            changed.set(key.trim(), value.trim(), Origin::Flag)?;
        }
        *self = changed;
        Ok(())
    }

    /// Every option with its value and origin, by key. Secrets are masked.
    pub fn effective(&self) -> Vec<EffectiveValue> {
        let effective = |option: &'static dyn crate::AnyOption| {
            let (text, origin) = match self.values.get(option.key()) {
                Some(value) => (value.text.as_str(), value.origin.clone()),
                None => (option.default_text(), Origin::Default),
            };
            let text = if option.is_secret() && !text.is_empty() { MASK } else { text };
            EffectiveValue { key: option.key(), text: text.to_owned(), origin }
        };
        self.registry.iter().map(effective).collect()
    }

    /// What differs from the defaults, as keys and values that can be sent to another process and set there. Secrets
    /// are in clear text.
    pub fn overrides(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.values.iter().map(|(key, value)| (*key, value.text.as_str()))
    }
}

/// Shows what differs from the defaults, with secrets masked.
impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = self.effective().into_iter().filter(|value| value.origin != Origin::Default);
        f.debug_map().entries(set.map(|value| (value.key, value.text))).finish()
    }
}
