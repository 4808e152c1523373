//! The 43 queries of ClickBench (<https://github.com/ClickHouse/ClickBench>) over a table that resembles its own.
//!
//! The table of ClickBench is one company's traffic and has to be downloaded; [`generate`] makes one of any size with the
//! columns that the queries read, whose values are as skewed, as repetitive and as often empty. Times are therefore not
//! those of ClickBench. What the queries take for granted of 100 million rows is scaled with the rows: how many make a
//! group worth showing, and how many groups are passed over. Answers come from an independent engine (`golden.py`).

mod generate;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::answers::Ordered;
use crate::tables::quoted;

pub use generate::generate;

/// One query a line.
const QUERIES: &str = include_str!("queries.sql");

/// A query.
pub struct Query {
    /// `q0` to `q42`, as ClickBench counts.
    pub name: String,
    /// Its text.
    pub text: String,
    /// What of the order of its rows is determined.
    pub order: Ordered,
}

/// The queries over the table in a directory, of so many rows.
#[must_use]
pub fn queries(directory: &Path, rows: u64) -> Vec<Query> {
    let hits = format!("{} AS hits", quoted(directory, "hits"));
    let widths: Vec<String> = (0..90).map(|more| format!("sum(ResolutionWidth + {more})")).collect();
    let (many, few) = ((rows / 1000).to_string(), (rows / 10_000).min(1000).to_string());
    let text = |line: &str| {
        let text = line.trim_end_matches(';').replace("{hits}", &hits).replace("{widths}", &widths.join(", "));
        text.replace("{many}", &many).replace("{few}", &few)
    };
    let queries = QUERIES.lines().enumerate();
    queries.map(|(number, line)| Query { name: format!("q{number}"), text: text(line), order: order(number) }).collect()
}

/// What of the order of a query's rows is determined, by its ORDER BY and LIMIT.
fn order(number: usize) -> Ordered {
    match number {
        // One row, or an order in which rows of this table are never equal.
        0..=6 | 19 | 20 | 24..=26 | 29 | 42 => Ordered::Wholly,
        7 => Ordered::By(1),
        17 => Ordered::NotAndCut,
        8 | 10 | 12 | 13 | 15 | 27 | 28 | 33 | 36..=38 => Ordered::ByAndCut(1),
        9 | 11 | 14 | 16 | 21 | 23 | 30..=32 | 34 | 40 | 41 => Ordered::ByAndCut(2),
        18 | 22 => Ordered::ByAndCut(3),
        35 => Ordered::ByAndCut(4),
        39 => Ordered::ByAndCut(5),
        _ => Ordered::NotAndCut,
    }
}

/// Answers by number of rows, as `golden.py` wrote them.
const ANSWERS: [(u64, &str); 1] = [(100_000, include_str!("answers/1e5.json"))];

#[derive(Deserialize)]
struct Golden {
    answers: BTreeMap<String, Vec<Vec<String>>>,
}

/// The answers at a size, by query; none if they are not known at it.
///
/// # Errors
/// If the answers are damaged, which a test rules out.
pub fn answers(rows: u64) -> serde_json::Result<BTreeMap<String, Vec<Vec<String>>>> {
    let Some((_, text)) = ANSWERS.iter().find(|(known, _)| *known == rows) else { return Ok(BTreeMap::new()) };
    Ok(serde_json::from_str::<Golden>(text)?.answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_query_has_an_answer_that_says_something() {
        let queries = queries(Path::new("/data"), 100_000);
        let answers = answers(100_000).unwrap();
        assert_eq!((queries.len(), answers.len()), (43, 43));
        for query in &queries {
            assert!(!query.text.contains('{') && query.text.contains("'/data/hits.parquet' AS hits"), "{}", query.text);
            let answer = &answers[&query.name];
            let key = match query.order {
                Ordered::By(key) | Ordered::ByAndCut(key) => key,
                _ => 0,
            };
            assert!(answer.iter().all(|row| row.len() > key) && !answer.is_empty(), "{}", query.name);
            let is_cut = query.text.contains(" LIMIT ");
            assert!(is_cut || !matches!(query.order, Ordered::ByAndCut(_) | Ordered::NotAndCut), "{}", query.name);
        }
    }
}
