//! Names beside a path that does not exist, for the error that says so.
//!
//! The idea: people mistype one part of a path. The helper walks up to the first directory that exists, lists it, and
//! keeps the few names closest (Damerau-Levenshtein, letters compared without case) to the part that is missing there.
//! It is called on the error path only and looks at a bounded number of entries.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{IoError, Operation};
use crate::file_system::FileSystem;

/// How many names an error mentions.
const NAMES_MAX: usize = 3;
/// How many entries of a directory are compared; a directory larger than this is searched in part.
const ENTRIES_MAX: usize = 10_000;
/// Names longer than this are not compared; the distance costs the product of both lengths.
const NAME_CHARS_MAX: usize = 255;

/// Names close to one that is missing, nearest first. Prints as the end of the error's sentence; empty prints nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NearestSiblings {
    directory: PathBuf,
    names: Vec<String>,
}

impl NearestSiblings {
    /// The names in the nearest existing directory above `missing` that look like the part of it that is missing.
    ///
    /// Any trouble on the way (a directory that cannot be listed) gives an empty answer: the caller already has an
    /// error to report.
    pub fn find(files: &dyn FileSystem, missing: &Path) -> Self {
        Self::find_with(&files, missing)
    }

    fn find_with(names: &impl ListNames, missing: &Path) -> Self {
        let mut wanted = missing;
        while let (Some(parent), Some(name)) = (wanted.parent(), wanted.file_name()) {
            // The parent of a bare relative name is the empty path, which stands for the current directory.
            let directory = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            if let Some(found) = names.list_names(directory) {
                let found = found.iter().take(ENTRIES_MAX).map(String::as_str);
                return Self {
                    directory: directory.to_path_buf(),
                    names: nearest_names(&name.to_string_lossy(), found),
                };
            }
            wanted = parent;
        }
        Self::default()
    }

    /// The directory the names are in.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The names, nearest first.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

impl fmt::Display for NearestSiblings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((last, before)) = self.names.split_last() else { return Ok(()) };
        write!(f, "; nearest in {}: ", self.directory.display())?;
        for name in before {
            write!(f, "'{name}', ")?;
        }
        write!(f, "'{last}'")
    }
}

/// [`IoError::NotFound`] with the names near `path`.
pub fn not_found(files: &dyn FileSystem, operation: Operation, path: &Path) -> IoError {
    not_found_with(&files, operation, path)
}

pub(crate) fn not_found_with(names: &impl ListNames, operation: Operation, path: &Path) -> IoError {
    IoError::NotFound { operation, path: path.to_path_buf(), nearest: NearestSiblings::find_with(names, path) }
}

/// What the search needs of a file system; the simulated one answers it without counting it as an operation.
pub(crate) trait ListNames {
    /// The names in a directory, or `None` if it cannot be listed.
    fn list_names(&self, directory: &Path) -> Option<Vec<String>>;
}

impl ListNames for &dyn FileSystem {
    fn list_names(&self, directory: &Path) -> Option<Vec<String>> {
        Some(self.list(directory).ok()?.into_iter().map(|entry| entry.name).collect())
    }
}

/// The names of `found` within a third of the wanted stem's length (at least two edits) of it, nearest first.
fn nearest_names<'a>(wanted: &str, found: impl Iterator<Item = &'a str>) -> Vec<String> {
    let wanted = wanted.to_lowercase();
    let wanted_chars = wanted.chars().count();
    if wanted_chars > NAME_CHARS_MAX {
        return Vec::new();
    }
    // Extensions are long and shared by all the neighbours, so they do not make a name more forgiving.
    let stem_chars = wanted.split('.').next().map_or(0, |stem| stem.chars().count());
    let distance_max = (stem_chars / 3).max(2);
    let mut near: Vec<(usize, &str)> = found
        .filter(|name| name.chars().count() <= NAME_CHARS_MAX)
        .map(|name| (distance(&wanted, &name.to_lowercase()), name))
        .filter(|&(distance, _)| distance <= distance_max)
        .collect();
    near.sort_unstable();
    near.into_iter().take(NAMES_MAX).map(|(_, name)| name.to_owned()).collect()
}

/// A name that only lacks its extension, or has one too many, is as close as a single slip.
fn distance(wanted: &str, name: &str) -> usize {
    let stem = |text: &str| text.split_once('.').map(|(stem, _)| stem.to_owned());
    if stem(name).as_deref() == Some(wanted) || stem(wanted).as_deref() == Some(name) {
        return 1;
    }
    strsim::damerau_levenshtein(wanted, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wanted: &str, found: &[&str], expected: &[&str]) {
        assert_eq!(nearest_names(wanted, found.iter().copied()), expected, "{wanted} among {found:?}");
    }

    #[test]
    fn the_nearest_come_first_and_the_far_not_at_all() {
        let tables = ["customer.parquet", "lineitem.parquet", "orders.parquet", "part.parquet", "README.md"];
        check("lineitme.parquet", &tables, &["lineitem.parquet"]);
        check("order.parquet", &tables, &["orders.parquet"]);
        check("LINEITEM.PARQUET", &tables, &["lineitem.parquet"]);
        check("lineitem", &tables, &["lineitem.parquet"]);
        check("part.parquet.gz", &["part"], &["part"]);
        check("zzzzzzzz", &tables, &[]);
        check("a", &[], &[]);
        check(&"x".repeat(256), &["x"], &[]);
    }

    #[test]
    fn ties_are_broken_by_name_and_the_list_is_short() {
        check("aa", &["ae", "ad", "ac", "ab"], &["ab", "ac", "ad"]);
    }

    #[test]
    fn it_prints_as_the_end_of_a_sentence() {
        let names = |names: &[&str]| NearestSiblings {
            directory: PathBuf::from("/data"),
            names: names.iter().map(|&name| name.to_owned()).collect(),
        };
        assert_eq!(names(&[]).to_string(), "");
        assert_eq!(names(&["a"]).to_string(), "; nearest in /data: 'a'");
        assert_eq!(names(&["a", "b"]).to_string(), "; nearest in /data: 'a', 'b'");
    }
}
