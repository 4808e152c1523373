//! Options of a table, read by name.
//!
//! A connector asks for every option it knows and then calls [`OptionReader::finish`], which refuses the others with
//! the nearest name: there is no second list of names to keep in step.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;

use crate::error::{ConnectorError, Result};

/// Names farther than this from what was written (Jaro-Winkler) are not proposed.
const SIMILARITY_MIN: f64 = 0.7;

/// Reads the options of one table.
pub struct OptionReader<'a> {
    connector: &'static str,
    options: &'a BTreeMap<String, String>,
    known: RefCell<BTreeSet<String>>,
}

impl<'a> OptionReader<'a> {
    /// A reader of the options of a table with this connector.
    #[must_use]
    pub fn new(connector: &'static str, options: &'a BTreeMap<String, String>) -> Self {
        Self { connector, options, known: RefCell::new(BTreeSet::from(["connector".to_owned()])) }
    }

    /// The text of an option.
    pub fn text(&self, option: &str) -> Option<&'a str> {
        self.known.borrow_mut().insert(option.to_owned());
        self.options.get(option).map(String::as_str)
    }

    /// The text of an option that must be there.
    ///
    /// # Errors
    /// [`ConnectorError::MissingOption`].
    pub fn required(&self, option: &str, purpose: &'static str) -> Result<&'a str> {
        self.text(option).ok_or_else(|| {
            // The option may be there under a name with a slip in it; that is the better message.
            match self.finish() {
                Err(unknown) => unknown,
                Ok(()) => {
                    ConnectorError::MissingOption { connector: self.connector, option: option.to_owned(), purpose }
                }
            }
        })
    }

    /// The value of an option, parsed.
    ///
    /// # Errors
    /// [`ConnectorError::WrongOption`].
    pub fn parsed<T: FromStr<Err: Display>>(&self, option: &str) -> Result<Option<T>> {
        self.text(option).map(|text| text.trim().parse().map_err(|e| self.wrong(option, text, e))).transpose()
    }

    /// The value of a size or rate: a whole number of at least 1.
    ///
    /// # Errors
    /// [`ConnectorError::WrongOption`].
    pub fn positive(&self, option: &str) -> Result<Option<u64>> {
        match self.parsed::<u64>(option)? {
            Some(0) => Err(self.wrong(option, "0", "it must be at least 1")),
            value => Ok(value),
        }
    }

    /// The error for a value of an option.
    pub fn wrong(&self, option: &str, value: &str, problem: impl Display) -> ConnectorError {
        ConnectorError::WrongOption {
            connector: self.connector,
            option: option.to_owned(),
            value: value.to_owned(),
            problem: problem.to_string(),
        }
    }

    /// Refuses options that nobody asked for.
    ///
    /// # Errors
    /// [`ConnectorError::UnknownOption`] for the first.
    pub fn finish(&self) -> Result<()> {
        let known = self.known.borrow();
        let Some(option) = self.options.keys().find(|name| !known.contains(*name)) else { return Ok(()) };
        let nearest = nearest(option, known.iter().map(String::as_str).filter(|name| *name != "connector"));
        Err(ConnectorError::UnknownOption { connector: self.connector, option: option.clone(), nearest })
    }
}

/// The end of the sentence about an unknown name.
pub(crate) fn nearest<'a>(wanted: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let best = known
        .clone()
        .map(|name| (strsim::jaro_winkler(&wanted.to_lowercase(), name), name))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        Some((similarity, name)) if similarity >= SIMILARITY_MIN => format!("; did you mean '{name}'?"),
        Some(_) => format!("; it knows {}", known.collect::<Vec<_>>().join(", ")),
        None => "; it has none".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_and_malformed_options_are_refused() {
        let options = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let read = |pairs: &[(&str, &str)]| -> std::result::Result<u64, String> {
            let options = options(pairs);
            let reader = OptionReader::new("files", &options);
            let run = || -> Result<u64> {
                let size = reader.positive("size")?;
                reader.required("path", "what to read")?;
                reader.finish()?;
                Ok(size.unwrap_or(7))
            };
            run().map_err(|e| e.to_string())
        };
        assert_eq!(read(&[("path", "/a"), ("connector", "files")]), Ok(7));
        assert_eq!(read(&[("path", "/a"), ("size", " 9 ")]), Ok(9));
        for (pairs, expected) in [
            (&[("pth", "/a")][..], "connector 'files' has no option 'pth'; did you mean 'path'?"),
            (&[("path", "/a"), ("zzz", "1")], "connector 'files' has no option 'zzz'; it knows path, size"),
            (&[], "connector 'files' needs option 'path': what to read"),
            (&[("size", "0")], "option 'size' of connector 'files' is '0': it must be at least 1"),
            (&[("size", "x")], "option 'size' of connector 'files' is 'x': invalid digit found in string"),
        ] {
            assert_eq!(read(pairs), Err(expected.to_owned()));
        }
    }
}
