//! One option: key, type, default, range and a sentence that describes it.
//!
//! Default and limits are kept as text, in the form a user would write, so that an option is a constant whatever its
//! type and the reference page shows them as they are meant to be typed. [`crate::OptionRegistry::collect`] refuses an
//! option whose own texts do not read as its type, so a wrong one is found by the first test that starts anything.

use std::fmt;
use std::marker::PhantomData;

use crate::value::ConfigValue;

/// Parts of a key that make an option secret; Flink's list (org.apache.flink.configuration.GlobalConfiguration).
const SECRET_PARTS: [&str; 11] = [
    "password",
    "secret",
    "account.key",
    "apikey",
    "api-key",
    "auth-params",
    "service-key",
    "token",
    "basic-auth",
    "jaas.config",
    "http-headers",
];

/// What stands in place of a secret.
pub(crate) const MASK: &str = "******";

/// An option of type `T`.
pub struct ConfigOption<T> {
    key: &'static str,
    default: &'static str,
    description: &'static str,
    min: Option<&'static str>,
    max: Option<&'static str>,
    secret: bool,
    of: PhantomData<fn() -> T>,
}

impl<T> ConfigOption<T> {
    /// An option named by its full key, such as `execution.batch-size`; `default` is written as a user would.
    pub const fn new(key: &'static str, default: &'static str, description: &'static str) -> Self {
        Self { key, default, description, min: None, max: None, secret: false, of: PhantomData }
    }

    /// Refuses values below `min`.
    pub const fn at_least(mut self, min: &'static str) -> Self {
        self.min = Some(min);
        self
    }

    /// Refuses values above `max`.
    pub const fn at_most(mut self, max: &'static str) -> Self {
        self.max = Some(max);
        self
    }

    /// Refuses values outside `min..=max`.
    pub const fn between(self, min: &'static str, max: &'static str) -> Self {
        self.at_least(min).at_most(max)
    }

    /// Never prints the value. Keys with a telling part ("password", "token") are secret anyway.
    pub const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// The full key.
    pub const fn key(&self) -> &'static str {
        self.key
    }
}

impl<T: ConfigValue + PartialOrd> ConfigOption<T> {
    /// Reads `text` and checks its range.
    pub(crate) fn read(&self, text: &str) -> Option<T> {
        let value = T::parse(text)?;
        let limit = |limit: Option<&str>| limit.and_then(T::parse);
        // Written so that a value that cannot be compared is outside.
        let above = limit(self.min).is_none_or(|min| value >= min);
        let below = limit(self.max).is_none_or(|max| value <= max);
        (above && below).then_some(value)
    }
}

impl<T> fmt::Debug for ConfigOption<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigOption").field("key", &self.key).field("default", &self.default).finish_non_exhaustive()
    }
}

/// An option without its type, for lists, checks and the reference page.
pub trait AnyOption: Send + Sync + fmt::Debug {
    /// The full key.
    fn key(&self) -> &'static str;

    /// The default as a user would write it; empty for an optional value that is absent.
    fn default_text(&self) -> &'static str;

    /// One sentence.
    fn description(&self) -> &'static str;

    /// What a value looks like, with its range, as it follows "expected" in an error.
    fn expected(&self) -> String;

    /// True if `text` is a value in range.
    fn accepts(&self, text: &str) -> bool;

    /// The limits as a user would write them.
    fn limits(&self) -> (Option<&'static str>, Option<&'static str>);

    /// True if the limits read as values of the option's type.
    fn limits_are_values(&self) -> bool;

    /// True if the value must not be printed.
    fn is_secret(&self) -> bool;
}

impl<T: ConfigValue + PartialOrd> AnyOption for ConfigOption<T> {
    fn key(&self) -> &'static str {
        self.key
    }

    fn default_text(&self) -> &'static str {
        self.default
    }

    fn description(&self) -> &'static str {
        self.description
    }

    fn expected(&self) -> String {
        let form = T::expected();
        match (self.min, self.max) {
            (Some(min), Some(max)) => format!("{form}, from {min} to {max}"),
            (Some(min), None) => format!("{form}, at least {min}"),
            (None, Some(max)) => format!("{form}, at most {max}"),
            (None, None) => form,
        }
    }

    fn accepts(&self, text: &str) -> bool {
        self.read(text).is_some()
    }

    fn limits(&self) -> (Option<&'static str>, Option<&'static str>) {
        (self.min, self.max)
    }

    fn limits_are_values(&self) -> bool {
        [self.min, self.max].into_iter().flatten().all(|limit| T::parse(limit).is_some())
    }

    fn is_secret(&self) -> bool {
        self.secret || SECRET_PARTS.iter().any(|part| self.key.contains(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_belong_to_the_range() {
        let option: ConfigOption<u32> = ConfigOption::new("a.b", "5", "Text.").between("1", "10");
        let accepted: Vec<u32> = (0..20).filter(|n| option.accepts(&n.to_string())).collect();
        assert_eq!(accepted, (1..=10).collect::<Vec<_>>());
        assert_eq!(option.expected(), "a whole number that is not negative, from 1 to 10");
    }

    #[test]
    fn limits_are_compared_as_values_not_as_text() {
        let option: ConfigOption<crate::ByteSize> = ConfigOption::new("a.b", "64 kb", "Text.").at_least("4 kb");
        assert!(option.accepts("1 mb") && option.accepts("4096") && !option.accepts("999 bytes"));
    }

    #[test]
    fn secrets_are_told_by_key_or_by_mark() {
        let plain: ConfigOption<String> = ConfigOption::new("a.b", "", "Text.");
        let named: ConfigOption<String> = ConfigOption::new("security.ssl.key-password", "", "Text.");
        let marked: ConfigOption<String> = ConfigOption::new("a.b", "", "Text.").secret();
        assert_eq!([plain.is_secret(), named.is_secret(), marked.is_secret()], [false, true, true]);
    }
}
