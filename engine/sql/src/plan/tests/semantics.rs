//! What planning decides of `semantics.toml`: the types of results. The rows are checked by the engine's suite.

use std::collections::HashSet;

use super::stub::Session;
use super::{check_graph, query};

const CHOICES: &str = include_str!("../../../semantics.toml");
const PAGE: &str = include_str!("../../../SEMANTICS.md");

#[derive(Debug, serde::Deserialize)]
struct Page {
    choice: Vec<Choice>,
}

/// The part of a row that planning decides.
#[derive(Debug, serde::Deserialize)]
struct Choice {
    id: String,
    sql: String,
    /// Such rows have tables of their own, and the engine's suite plans them.
    #[serde(default)]
    setup: Vec<String>,
    #[serde(default)]
    files: toml::Table,
    expected: Option<Vec<String>>,
    types: Option<Vec<String>>,
    error: Option<String>,
}

fn choices() -> Vec<Choice> {
    toml::from_str::<Page>(CHOICES).unwrap().choice
}

#[test]
fn every_choice_is_planned_with_its_types() {
    for choice in choices() {
        if !choice.setup.is_empty() || !choice.files.is_empty() || choice.sql.contains("<<") {
            continue;
        }
        let planned = Session::new(2).try_run(&choice.sql);
        let planned = match (planned, &choice.error) {
            (Ok(planned), _) => planned,
            (Err(error), Some(expected)) => {
                assert!(error.to_string().to_lowercase().contains(&expected.to_lowercase()), "{}: {error}", choice.id);
                continue;
            }
            (Err(error), None) => panic!("{}: {}", choice.id, error.render()),
        };
        let (graph, schema) = query(planned);
        check_graph(&graph);
        if let Some(types) = &choice.types {
            let found: Vec<String> = schema.fields.iter().map(|f| f.data_type.to_string()).collect();
            assert_eq!(&found, types, "{}", choice.id);
        }
    }
}

#[test]
fn the_list_and_the_page_name_the_same_choices() {
    let mut seen = HashSet::new();
    for choice in choices() {
        assert!(seen.insert(choice.id.clone()), "{} is there twice", choice.id);
        assert!(PAGE.contains(&format!("`{}`", choice.id)), "{} is not on the page", choice.id);
        assert_eq!(choice.expected.is_some(), choice.error.is_none(), "{}", choice.id);
    }
    // The ids of the page stand in the first cell of a row.
    let cells = PAGE.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.split('|').nth(1));
    for id in cells.flat_map(|cell| cell.split(',')).map(|id| id.trim().trim_matches('`')) {
        assert!(seen.contains(id), "{id} of the page has no statement");
    }
}
