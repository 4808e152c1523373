//! Grouping and joining, as the questions of db-benchmark (<https://github.com/duckdblabs/db-benchmark>) do it.
//!
//! Ten questions group a table of `rows` rows by keys of few and of many values; five join a table of as many rows with
//! tables of a millionth, a thousandth and all of them. The tables are made by [`generate`], which draws from a fixed seed;
//! the answers, as sums, come from an independent engine (`golden.py` beside this file).

mod generate;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::answers::Sums;
use crate::tables::quoted;

pub use generate::generate;

/// The tables.
const TABLES: [&str; 5] = ["g", "x", "small", "medium", "big"];

/// The questions. A table is its name in braces.
const QUESTIONS: [(&str, &str); 15] = [
    ("g1", "SELECT id1, sum(v1) AS v1 FROM {g} GROUP BY id1"),
    ("g2", "SELECT id1, id2, sum(v1) AS v1 FROM {g} GROUP BY id1, id2"),
    ("g3", "SELECT id3, sum(v1) AS v1, avg(v3) AS v3 FROM {g} GROUP BY id3"),
    ("g4", "SELECT id4, avg(v1) AS v1, avg(v2) AS v2, avg(v3) AS v3 FROM {g} GROUP BY id4"),
    ("g5", "SELECT id6, sum(v1) AS v1, sum(v2) AS v2, sum(v3) AS v3 FROM {g} GROUP BY id6"),
    ("g6", "SELECT id4, id5, median(v3) AS median_v3, stddev(v3) AS sd_v3 FROM {g} GROUP BY id4, id5"),
    ("g7", "SELECT id3, max(v1) - min(v2) AS range_v1_v2 FROM {g} GROUP BY id3"),
    (
        "g8",
        "SELECT id6, v3 AS largest2_v3 FROM (SELECT id6, v3, row_number() OVER (PARTITION BY id6 ORDER BY v3 DESC) \
         AS place FROM {g}) AS placed WHERE place <= 2",
    ),
    ("g9", "SELECT id2, id4, power(corr(v1, v2), 2) AS r2 FROM {g} GROUP BY id2, id4"),
    (
        "g10",
        "SELECT id1, id2, id3, id4, id5, id6, sum(v3) AS v3, count(*) AS n FROM {g} \
         GROUP BY id1, id2, id3, id4, id5, id6",
    ),
    ("j1", "SELECT x.id1, x.id2, x.id3, x.v1, small.id4, small.v2 FROM {x} JOIN {small} ON x.id1 = small.id1"),
    (
        "j2",
        "SELECT x.id1, x.id2, x.id3, x.v1, medium.id1 AS m1, medium.id4, medium.id5, medium.v2 \
         FROM {x} JOIN {medium} ON x.id2 = medium.id2",
    ),
    (
        "j3",
        "SELECT x.id1, x.id2, x.id3, x.v1, medium.id1 AS m1, medium.id4, medium.id5, medium.v2 \
         FROM {x} LEFT JOIN {medium} ON x.id2 = medium.id2",
    ),
    (
        "j4",
        "SELECT x.id1, x.id2, x.id3, x.v1, medium.id1 AS m1, medium.id2 AS m2, medium.id4, medium.v2 \
         FROM {x} JOIN {medium} ON x.id5 = medium.id5",
    ),
    (
        "j5",
        "SELECT x.id1, x.id2, x.id3, x.v1, big.id1 AS b1, big.id2 AS b2, big.id4, big.id5, big.id6, big.v2 \
         FROM {x} JOIN {big} ON x.id3 = big.id3",
    ),
];

/// Names and texts of the questions over the tables in a directory.
#[must_use]
pub fn questions(directory: &Path) -> Vec<(&'static str, String)> {
    let over = |text: &str| {
        TABLES.iter().fold(text.to_owned(), |text, table| {
            text.replace(&format!("{{{table}}}"), &format!("{} AS {table}", quoted(directory, table)))
        })
    };
    QUESTIONS.iter().map(|(name, text)| (*name, over(text))).collect()
}

/// Answers by number of rows, as `golden.py` wrote them.
const ANSWERS: [(u64, &str); 3] = [
    (100_000, include_str!("answers/1e5.json")),
    (1_000_000, include_str!("answers/1e6.json")),
    (10_000_000, include_str!("answers/1e7.json")),
];

#[derive(Deserialize)]
struct Golden {
    answers: BTreeMap<String, Sums>,
}

/// The answers at a size, by question; none if they are not known at it.
///
/// # Errors
/// If the answers are damaged, which a test rules out.
pub fn answers(rows: u64) -> serde_json::Result<BTreeMap<String, Sums>> {
    let Some((_, text)) = ANSWERS.iter().find(|(known, _)| *known == rows) else { return Ok(BTreeMap::new()) };
    Ok(serde_json::from_str::<Golden>(text)?.answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_has_its_files_and_answers() {
        for (name, text) in questions(Path::new("/it's")) {
            assert!(text.contains("'/it''s/") && !text.contains('{'), "{name}: {text}");
        }
        for (rows, _) in ANSWERS {
            let answers = answers(rows).unwrap();
            assert_eq!(answers.len(), QUESTIONS.len());
            for (name, answer) in answers {
                assert!(answer.rows > 0 && answer.values.len() == answer.products.len() + 1, "{name} at {rows}");
            }
        }
        assert!(answers(7).unwrap().is_empty());
    }
}
