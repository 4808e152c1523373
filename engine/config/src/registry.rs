//! All options of a process, collected from its crates' lists and checked for contradictions.

use std::collections::BTreeMap;

use crate::error::{ConfigError, Result};
use crate::option::AnyOption;

/// How many keys an error proposes.
const NEAREST_MAX: usize = 3;
/// A key longer than this is not compared with others; the distance costs the product of both lengths.
const KEY_CHARS_MAX: usize = 200;

/// Every option there is, by key.
#[derive(Debug, Default)]
pub struct OptionRegistry {
    options: BTreeMap<&'static str, &'static dyn AnyOption>,
}

impl OptionRegistry {
    /// Collects the lists of the process's crates.
    ///
    /// # Errors
    /// [`ConfigError::DuplicateOption`] and [`ConfigError::BadDeclaration`] (a key that is not in dotted kebab case, a
    /// default or limit that is not a value, a missing description): bugs of the program, found when it starts.
    pub fn collect(lists: &[&[&'static dyn AnyOption]]) -> Result<Self> {
        let mut registry = Self::default();
        for &option in lists.iter().copied().flatten() {
            check(option)?;
            if registry.options.insert(option.key(), option).is_some() {
                return Err(ConfigError::DuplicateOption { key: option.key() });
            }
        }
        Ok(registry)
    }

    /// The option with this key.
    pub fn get(&self, key: &str) -> Option<&'static dyn AnyOption> {
        self.options.get(key).copied()
    }

    /// All options, by key.
    pub fn iter(&self) -> impl Iterator<Item = &'static dyn AnyOption> {
        self.options.values().copied()
    }

    /// Keys that look like `key`, nearest first: those few edits away, those that end in it (`batch-size` for
    /// `execution.batch-size`), and those whose last part is few edits from the last part of `key`.
    pub fn nearest(&self, key: &str) -> Vec<String> {
        if key.chars().count() > KEY_CHARS_MAX {
            return Vec::new();
        }
        let wanted = key.to_lowercase().replace('_', "-");
        let mut near: Vec<(usize, &str)> =
            self.options.keys().filter_map(|&known| likeness(&wanted, known).map(|rank| (rank, known))).collect();
        near.sort_unstable();
        near.into_iter().take(NEAREST_MAX).map(|(_, key)| key.to_owned()).collect()
    }
}

/// How far `known` is from `wanted`, or `None` if too far to be meant.
fn likeness(wanted: &str, known: &str) -> Option<usize> {
    let edits_max = |text: &str| (text.chars().count() / 4).max(1);
    let whole = strsim::damerau_levenshtein(wanted, known);
    if whole <= edits_max(wanted) {
        return Some(whole);
    }
    let last = |key: &str| key.rsplit('.').next().map(str::to_owned).unwrap_or_default();
    let (wanted_last, known_last) = (last(wanted), last(known));
    let edits = strsim::damerau_levenshtein(&wanted_last, &known_last);
    // Being right in the last part alone is worth less than a slip in the whole.
    (edits <= edits_max(&wanted_last)).then_some(KEY_CHARS_MAX + edits)
}

fn check(option: &'static dyn AnyOption) -> Result<()> {
    let key = option.key();
    let word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && !word.ends_with('-')
            && !word.contains("--")
    };
    let wrong = if !key.split('.').all(word) {
        "its key is not in dotted kebab case"
    } else if !option.limits_are_values() {
        "a limit is not a value of its type"
    } else if !option.accepts(option.default_text()) {
        "its default is not a value in its range"
    } else if !option.description().ends_with('.') {
        "its description is not a sentence"
    } else {
        return Ok(());
    };
    Err(ConfigError::BadDeclaration { key, reason: wrong })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::option::ConfigOption;

    const SIZE: ConfigOption<usize> = ConfigOption::new("execution.batch-size", "8192", "Rows in a batch.");
    const TIMEOUT: ConfigOption<std::time::Duration> =
        ConfigOption::new("execution.buffer-timeout", "100 ms", "How long rows wait.");
    const DIRECTORY: ConfigOption<String> = ConfigOption::new("execution.checkpointing.dir", "", "Where.");
    const OPTIONS: &[&dyn AnyOption] = &[&SIZE, &TIMEOUT, &DIRECTORY];

    #[test]
    fn the_nearest_keys_are_proposed() {
        let registry = OptionRegistry::collect(&[OPTIONS]).unwrap();
        let check = |key: &str, expected: &[&str]| assert_eq!(registry.nearest(key), expected, "{key}");
        check("execution.batch-szie", &["execution.batch-size"]);
        check("execution.batch_size", &["execution.batch-size"]);
        check("batch-size", &["execution.batch-size"]);
        check("exec.buffer-timeout", &["execution.buffer-timeout"]);
        check("Execution.Buffer-Timeouts", &["execution.buffer-timeout"]);
        check("something.else", &[]);
        check("", &[]);
        check(&"x".repeat(10_000), &[]);
    }

    #[test]
    fn contradictory_declarations_are_refused() {
        let reason = |list: &[&'static dyn AnyOption]| match OptionRegistry::collect(&[list]) {
            Err(ConfigError::BadDeclaration { reason, .. }) => reason,
            other => panic!("{other:?}"),
        };
        const UPPER: ConfigOption<u32> = ConfigOption::new("a.B", "1", "Text.");
        const EMPTY_PART: ConfigOption<u32> = ConfigOption::new("a..b", "1", "Text.");
        const UNDERSCORE: ConfigOption<u32> = ConfigOption::new("a.b_c", "1", "Text.");
        for list in [&[&UPPER as &dyn AnyOption], &[&EMPTY_PART], &[&UNDERSCORE]] {
            assert_eq!(reason(list), "its key is not in dotted kebab case");
        }
        const NO_DEFAULT: ConfigOption<u32> = ConfigOption::new("a.b", "", "Text.");
        const OUTSIDE: ConfigOption<u32> = ConfigOption::new("a.b", "0", "Text.").at_least("1");
        for list in [&[&NO_DEFAULT as &dyn AnyOption], &[&OUTSIDE]] {
            assert_eq!(reason(list), "its default is not a value in its range");
        }
        const BAD_LIMIT: ConfigOption<u32> = ConfigOption::new("a.b", "0", "Text.").at_most("many");
        assert_eq!(reason(&[&BAD_LIMIT]), "a limit is not a value of its type");
        const NO_TEXT: ConfigOption<u32> = ConfigOption::new("a.b", "0", "");
        assert_eq!(reason(&[&NO_TEXT]), "its description is not a sentence");
        let twice = OptionRegistry::collect(&[OPTIONS, &[&SIZE]]).unwrap_err();
        assert_eq!(twice.to_string(), "option 'execution.batch-size' is declared twice");
    }
}
