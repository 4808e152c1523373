//! The suites: what they ask, over what data, and what the answers are.
//!
//! Data is made once for each size and kept in a cache (`flumen/bench` in `$XDG_CACHE_HOME` or `~/.cache`). It is made under
//! another name and renamed when it is complete, so that what is there is whole.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context;
use flumen::answers::{Adder, Ordered, Sums, check_rows};
use flumen::{clickbench, h2o, tpch};

use crate::arguments::nearest;
use crate::say;

/// A query and its answer.
pub(super) struct Query {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) answer: Answer,
}

/// What is known of an answer.
pub(super) enum Answer {
    Nothing,
    /// Every run is held against it.
    Rows(Vec<Vec<String>>, Ordered),
    /// The first run is held against it, later ones only against its number of rows.
    Sums(Sums),
}

/// What has been seen of a result.
pub(super) enum Seen {
    Rows(Vec<Vec<String>>),
    Sums(Adder),
    Count(u64),
}

impl Answer {
    /// What to look at in a run.
    pub(super) fn looks_at(&self, is_first: bool) -> Seen {
        match self {
            Self::Rows(..) => Seen::Rows(Vec::new()),
            Self::Sums(_) if is_first => Seen::Sums(Adder::default()),
            _ => Seen::Count(0),
        }
    }

    /// Holds a result against it.
    ///
    /// # Errors
    /// With the first difference.
    pub(super) fn check(&self, seen: Seen) -> Result<(), String> {
        match (self, seen) {
            (Self::Rows(expected, order), Seen::Rows(rows)) => check_rows(expected, &rows, *order),
            (Self::Sums(expected), Seen::Sums(found)) => expected.check(&found.sums()),
            (Self::Sums(expected), Seen::Count(rows)) if rows != expected.rows => {
                Err(format!("{rows} rows instead of {}", expected.rows))
            }
            _ => Ok(()),
        }
    }

    /// Whether there is anything to hold a result against.
    pub(super) fn is_known(&self) -> bool {
        !matches!(self, Self::Nothing)
    }
}

/// Makes the tables of a suite in a directory.
type Generate = Box<dyn Fn(&Path) -> anyhow::Result<()>>;

/// A suite at a size.
pub(super) struct Suite {
    pub(super) name: &'static str,
    pub(super) size: String,
    pub(super) queries: Vec<Query>,
    directory: PathBuf,
    /// A table that is there when the data is.
    last_table: &'static str,
    generate: Generate,
}

impl Suite {
    pub(super) fn tpch(scale: f64, directory: Option<&Path>) -> anyhow::Result<Self> {
        let size = format!("sf{scale}");
        let directory = place(directory, "tpch", &size)?;
        let owned = |rows: Vec<Vec<&str>>| -> Vec<Vec<String>> {
            rows.into_iter().map(|row| row.into_iter().map(str::to_owned).collect()).collect()
        };
        let query = |(number, text): (u32, &str)| Query {
            name: format!("q{number}"),
            text: tpch::query_over(text, &directory),
            answer: tpch::answer(number, scale)
                .map_or(Answer::Nothing, |rows| Answer::Rows(owned(rows), Ordered::Wholly)),
        };
        let queries = tpch::QUERIES.into_iter().map(query).collect();
        let generate = Box::new(move |directory: &Path| tpch::generate(directory, scale).map(drop));
        Ok(Self { name: "tpch", size, queries, directory, last_table: "lineitem", generate })
    }

    pub(super) fn h2o(rows: u64, directory: Option<&Path>) -> anyhow::Result<Self> {
        let size = short(rows);
        let directory = place(directory, "h2o", &size)?;
        let mut answers = h2o::answers(rows)?;
        let query = |(name, text): (&str, String)| Query {
            answer: answers.remove(name).map_or(Answer::Nothing, Answer::Sums),
            name: name.to_owned(),
            text,
        };
        let queries = h2o::questions(&directory).into_iter().map(query).collect();
        let generate = Box::new(move |directory: &Path| h2o::generate(directory, rows));
        Ok(Self { name: "h2o", size, queries, directory, last_table: "big", generate })
    }

    pub(super) fn clickbench(rows: u64, directory: Option<&Path>) -> anyhow::Result<Self> {
        let size = short(rows);
        let directory = place(directory, "clickbench", &size)?;
        let mut answers = clickbench::answers(rows)?;
        let query = |query: clickbench::Query| Query {
            answer: answers.remove(&query.name).map_or(Answer::Nothing, |rows| Answer::Rows(rows, query.order)),
            name: query.name,
            text: query.text,
        };
        let queries = clickbench::queries(&directory, rows).into_iter().map(query).collect();
        let generate = Box::new(move |directory: &Path| clickbench::generate(directory, rows));
        Ok(Self { name: "clickbench", size, queries, directory, last_table: "hits", generate })
    }

    /// The queries of these names, all if there are none; a number stands for the query that has it after a letter.
    ///
    /// # Errors
    /// If there is no such query.
    pub(super) fn choose(&self, names: &[String]) -> anyhow::Result<Vec<&Query>> {
        if names.is_empty() {
            return Ok(self.queries.iter().collect());
        }
        let find = |name: &String| {
            let is_meant = |query: &&Query| query.name == *name || query.name == format!("q{name}");
            self.queries.iter().find(is_meant).with_context(|| {
                let known = self.queries.iter().map(|query| query.name.as_str());
                let hint = nearest(name, known.clone()).map(|near| format!("did you mean {near}?"));
                let hint = hint.unwrap_or_else(|| format!("there are {}", known.collect::<Vec<_>>().join(", ")));
                format!("there is no query {name:?} in {}; {hint}", self.name)
            })
        };
        names.iter().map(find).collect()
    }

    /// Makes the data if it is not there.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn provide(&self) -> anyhow::Result<()> {
        let place = &self.directory;
        if place.join(format!("{}.parquet", self.last_table)).exists() {
            return Ok(());
        }
        let parent = place.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        say::line(&format!("making the tables of {} at {} in {}", self.name, self.size, place.display()));
        let unfinished = tempfile::Builder::new().prefix(".flumen-bench-").tempdir_in(parent)?;
        (self.generate)(unfinished.path())?;
        std::fs::create_dir_all(place).with_context(|| format!("cannot make {}", place.display()))?;
        // The table that says that the data is there comes last.
        let mut files = std::fs::read_dir(unfinished.path())?.collect::<Result<Vec<_>, _>>()?;
        files.sort_by_key(|file| file.path().file_stem().is_some_and(|stem| stem == self.last_table));
        for file in files {
            std::fs::rename(file.path(), place.join(file.file_name()))
                .with_context(|| format!("cannot put {} in {}", file.path().display(), place.display()))?;
        }
        Ok(())
    }
}

/// `1e6` for 1000000.
fn short(rows: u64) -> String {
    let zeros = rows.to_string().bytes().rev().take_while(|digit| *digit == b'0').count();
    match u32::try_from(zeros).ok().and_then(|zeros| 10_u64.checked_pow(zeros)) {
        Some(power) if zeros > 2 => format!("{}e{zeros}", rows / power),
        _ => rows.to_string(),
    }
}

/// Where the data of a suite is: in the directory that was asked for, or in the cache.
fn place(asked: Option<&Path>, suite: &str, size: &str) -> anyhow::Result<PathBuf> {
    match asked {
        Some(directory) => Ok(directory.to_owned()),
        None => cache(&|name| std::env::var_os(name))
            .map(|cache| cache.join(suite).join(size))
            .context("there is no HOME to keep data in; say where with --dir"),
    }
}

fn cache(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("flumen").join("bench"))
}

/// Reads a number of rows: `1000000`, `1_000_000` or `1e6`.
///
/// # Errors
/// With what is accepted.
pub(crate) fn parse_rows(text: &str) -> Result<u64, String> {
    let plain = text.replace('_', "");
    let parsed = match plain.split_once(['e', 'E']) {
        None => plain.parse().ok(),
        Some((digits, zeros)) => {
            let power = zeros.parse().ok().and_then(|zeros| 10_u64.checked_pow(zeros));
            digits.parse().ok().zip(power).and_then(|(digits, power): (u64, u64)| digits.checked_mul(power))
        }
    };
    parsed.filter(|rows| *rows > 0).ok_or_else(|| "a number of rows is written 1000000 or 1e6".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_rows_are_read_and_written() {
        for (text, rows) in [("1e6", 1_000_000), ("1_000", 1000), ("25e3", 25_000), ("7", 7)] {
            assert_eq!(parse_rows(text), Ok(rows));
        }
        for wrong in ["", "0", "1e", "e6", "-1", "1.5e6", "1e40", "many"] {
            assert!(parse_rows(wrong).is_err(), "{wrong}");
        }
        assert_eq!([short(1_000_000), short(25_000), short(1200), short(7)], ["1e6", "25e3", "1200", "7"]);
    }

    #[test]
    fn queries_are_chosen_by_name_or_number() {
        let suite = Suite::tpch(0.01, Some(Path::new("/nowhere"))).unwrap();
        let names = |asked: &[&str]| {
            let asked: Vec<String> = asked.iter().map(|name| (*name).to_owned()).collect();
            suite.choose(&asked).map(|chosen| chosen.iter().map(|query| query.name.clone()).collect::<Vec<_>>())
        };
        assert_eq!(names(&["3", "q1"]).unwrap(), ["q3", "q1"]);
        assert_eq!(names(&[]).unwrap().len(), 22);
        assert!(names(&["q23"]).unwrap_err().to_string().contains("there is no query \"q23\" in tpch"));
    }

    #[test]
    fn data_is_made_once_and_whole() {
        let directory = tempfile::tempdir().unwrap();
        let suite = Suite::h2o(1000, Some(&directory.path().join("data"))).unwrap();
        suite.provide().unwrap();
        let entries = || {
            let names = std::fs::read_dir(directory.path().join("data")).unwrap().map(|file| file.unwrap().file_name());
            let mut names: Vec<_> = names.collect();
            names.sort();
            names
        };
        assert_eq!(entries(), ["big.parquet", "g.parquet", "medium.parquet", "small.parquet", "x.parquet"]);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
        let small = directory.path().join("data/small.parquet");
        std::fs::write(&small, "mine").unwrap();
        suite.provide().unwrap();
        assert_eq!(std::fs::read_to_string(small).unwrap(), "mine");
    }

    #[test]
    fn the_cache_is_where_caches_are() {
        let at = |variables: &[(&str, &str)]| {
            cache(&|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
        };
        assert_eq!(at(&[("HOME", "/h")]), Some("/h/.cache/flumen/bench".into()));
        assert_eq!(at(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/c")]), Some("/c/flumen/bench".into()));
        assert_eq!(at(&[("XDG_CACHE_HOME", "c")]), None);
    }
}
