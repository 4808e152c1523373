//! Reads sqllogictest files: records separated by empty lines, lines that begin with # are comments.
//!
//! ```text
//! statement ok                    the statement is done
//! statement error part of it      the first line of what is said has this part; without one any error will do
//! query IT rowsort                rows follow: a letter for each column, then nosort (as they come) or rowsort
//! ```
//!
//! Letters: I and T are compared to the letter, R as numbers that may differ in their last digits. The rows come after
//! `----`, a line each, columns separated by tabs. `skipif duckdb` before a record keeps `expected.py` from asking DuckDB.

/// What a record asks, and what must come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Expected<'a> {
    Done,
    Error(&'a str),
    Rows { letters: &'a str, sorted: bool, rows: Vec<Vec<&'a str>> },
}

/// A statement with the line it begins in.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) line: usize,
    pub(crate) text: String,
    pub(crate) expected: Expected<'a>,
}

/// All records of a file.
///
/// # Panics
/// If it is not written as said above.
pub(crate) fn records(file: &str) -> Vec<Record<'_>> {
    let mut records = Vec::new();
    let mut lines = file.lines().enumerate().peekable();
    while let Some((index, head)) = lines.next() {
        if head.trim().is_empty() || head.starts_with('#') || head.starts_with("skipif ") {
            continue;
        }
        let mut text = Vec::new();
        while let Some((_, line)) = lines.next_if(|(_, line)| !line.is_empty() && *line != "----") {
            text.push(line);
        }
        let mut rows = Vec::new();
        if lines.next_if(|(_, line)| *line == "----").is_some() {
            while let Some((_, line)) = lines.next_if(|(_, line)| !line.is_empty()) {
                rows.push(line.split('\t').collect());
            }
        }
        let expected = expected(head, rows).unwrap_or_else(|| panic!("line {}: {head}", index + 1));
        records.push(Record { line: index + 2, text: text.join("\n"), expected });
    }
    records
}

fn expected<'a>(head: &'a str, rows: Vec<Vec<&'a str>>) -> Option<Expected<'a>> {
    if head == "statement ok" {
        return Some(Expected::Done);
    }
    if let Some(part) = head.strip_prefix("statement error") {
        return Some(Expected::Error(part.trim_start()));
    }
    let mut words = head.strip_prefix("query ")?.split(' ');
    let letters = words.next().filter(|letters| letters.bytes().all(|b| b"ITR".contains(&b)))?;
    let sorted = match words.next() {
        None | Some("nosort") => false,
        Some("rowsort") => true,
        Some(_) => return None,
    };
    rows.iter().all(|row| row.len() == letters.len()).then_some(Expected::Rows { letters, sorted, rows })
}

#[test]
fn records_are_read() {
    let text = "# about\n\nstatement ok\nCREATE VIEW v AS\nSELECT 1\n\nskipif duckdb\nquery IT rowsort\nSELECT 1, 'a b'\n----\n1\ta b\n\nstatement error no table\nSELECT * FROM t\n";
    let records = records(text);
    assert_eq!(records.len(), 3);
    assert_eq!((records[0].text.as_str(), records[0].line), ("CREATE VIEW v AS\nSELECT 1", 4));
    assert_eq!(records[1].expected, Expected::Rows { letters: "IT", sorted: true, rows: vec![vec!["1", "a b"]] });
    assert_eq!(records[2].expected, Expected::Error("no table"));
}
