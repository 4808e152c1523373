//! What planning decides of `semantics.toml`: the types of results. The rows are checked by the engine's suite.

use std::collections::HashSet;

use super::stub::Session;
use super::{check_graph, query};

const CHOICES: &str = include_str!("../../../semantics.toml");
const PAGE: &str = include_str!("../../../SEMANTICS.md");

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    choice: Vec<Choice>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    id: String,
    sql: String,
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
        let planned = Session::new(2).try_run(&choice.sql);
        let planned = match (planned, &choice.error) {
            (Ok(planned), _) => planned,
            (Err(error), Some(_)) => panic!("{}: the error is for the engine to find: {error}", choice.id),
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
}
