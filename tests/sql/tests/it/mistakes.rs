//! A hundred wrong statements: how many are told the right place and, for a mistyped name, the right name first.
//!
//! `mistakes/statements.txt` says what is right, decided by reading; `mistakes/messages.txt` holds all messages as they are,
//! so that none gets worse unseen. After a change of wording: `UPDATE_MESSAGES=1 cargo test --workspace mistakes`, and
//! read the difference.

use std::fmt::Write;

use crate::session::{rows, session};

const STATEMENTS: &str = include_str!("../../mistakes/statements.txt");
/// How many of the hundred have to be right, by the project's own bar.
const RIGHT_MIN: usize = 95;
const TABLES: [&str; 2] = [
    "CREATE TABLE orders (id BIGINT, customer_id BIGINT, quantity INTEGER, price DECIMAL(9, 2), status VARCHAR,
        ordered DATE, shipped TIMESTAMP)",
    "CREATE TABLE customers (id BIGINT, name VARCHAR, city VARCHAR, since DATE)",
];

#[derive(Debug)]
struct Mistake<'a> {
    title: &'a str,
    /// What has to be offered first, if a name is mistyped.
    name: Option<&'a str>,
    statement: String,
    line: usize,
    column: usize,
}

fn mistakes() -> Vec<Mistake<'static>> {
    let blocks = STATEMENTS.split("\n## ").skip(1);
    blocks
        .map(|block| {
            let (head, marked) = block.split_once('\n').expect("a title and a statement");
            let (title, name) = match head.split_once(" => ") {
                Some((title, name)) => (title, Some(name)),
                None => (head, None),
            };
            let marked = marked.trim_end();
            let (before, _) = marked.split_once('⟦').unwrap_or_else(|| panic!("no place is marked: {title}"));
            Mistake {
                title,
                name,
                statement: marked.replace(['⟦', '⟧'], ""),
                line: before.matches('\n').count() + 1,
                column: before.rsplit('\n').next().unwrap_or_default().chars().count() + 1,
            }
        })
        .collect()
}

/// The first name in quotes after `did you mean`, or of the files that are nearest.
fn offered(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("did you mean ").or_else(|| message.split_once("nearest in "))?;
    rest.split(['"', '\'']).nth(1)
}

/// What is wrong with what is said; nothing if it is right.
fn problem(mistake: &Mistake<'_>, message: &str) -> Option<String> {
    let place = format!("at line {}, column {}\n", mistake.line, mistake.column);
    if !message.contains(&place) {
        return Some(format!("the place is line {}, column {}", mistake.line, mistake.column));
    }
    let name = mistake.name?;
    (!offered(message).is_some_and(|o| o.eq_ignore_ascii_case(name)))
        .then(|| format!("{name:?} is to be offered first"))
}

#[test]
fn ninety_five_of_a_hundred_wrong_statements_are_explained() {
    let mistakes = mistakes();
    assert_eq!(mistakes.len(), 100);
    let mut messages = String::from("# What is said about each of the wrong statements in statements.txt.\n");
    let mut problems = Vec::new();
    for mistake in &mistakes {
        let mut session = session(&[("parallelism.default", "1")]);
        for table in TABLES {
            rows(&mut session, table).unwrap_or_else(|error| panic!("{table}: {}", error.render()));
        }
        let message = match rows(&mut session, &mistake.statement) {
            Ok(_) => "no error".to_owned(),
            Err(error) => error.render(),
        };
        write!(messages, "\n## {}\n{message}\n", mistake.title).expect("a string takes all");
        if let Some(problem) = problem(mistake, &format!("{message}\n")) {
            problems.push(format!("{}: {problem}\n{}\n{message}\n", mistake.title, mistake.statement));
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/mistakes/messages.txt");
    if std::env::var_os("UPDATE_MESSAGES").is_some() {
        std::fs::write(path, &messages).expect("the file can be written");
    }
    let right = mistakes.len() - problems.len();
    println!("{right} of {} are right; not so:\n\n{}", mistakes.len(), problems.join("\n"));
    assert!(right >= RIGHT_MIN, "{right} of 100 are right");
    let kept = std::fs::read_to_string(path).expect("the messages are kept");
    for (kept, now) in kept.split("\n## ").zip(messages.split("\n## ")) {
        assert_eq!(kept.trim_end(), now.trim_end(), "a message changed; UPDATE_MESSAGES=1 accepts it");
    }
    assert_eq!(kept.len(), messages.len());
}
