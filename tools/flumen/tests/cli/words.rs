//! Verbs, help and settings: the words of the command line.

use crate::binary::{check, command, data, run};

fn text(arguments: &[&str]) -> String {
    let output = run(data().path(), arguments);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn mistyped_verbs_are_pointed_at() {
    let data = data();
    check(&run(data.path(), &["confg"]), 2, "", &["there is no verb \"confg\"", "did you mean \"config\"?"]);
    check(&run(data.path(), &["confg", "--changed"]), 2, "", &["did you mean \"config\"?"]);
    check(&run(data.path(), &["jobs"]), 2, "", &["the verbs are sql, demo, ", "-c"]);
    check(&run(data.path(), &["sql", "--formats", "csv"]), 2, "", &["--format"]);
}

#[test]
fn help_is_one_screen_and_more_on_request() {
    let short = text(&["-h"]);
    assert!(short.lines().count() <= 34, "{short}");
    assert!(short.contains("-c") && short.contains("config") && short.contains("flumen demo"), "{short}");
    let long = text(&["--help"]);
    assert!(
        long.contains("FLUMEN_HISTORY") && long.contains("130 interrupted") && long.contains("--max-rows"),
        "{long}"
    );
    assert_eq!(text(&["help"]), long);
    assert!(text(&["--version"]).starts_with("flumen "));
}

#[test]
fn completions_are_scripts_for_shells() {
    assert!(text(&["completions", "bash"]).contains("_flumen()"));
    assert!(text(&["completions", "zsh"]).starts_with("#compdef flumen"));
    assert!(text(&["completions", "fish"]).contains("complete -c flumen"));
    check(&run(data().path(), &["completions", "tcsh"]), 2, "", &["tcsh", "bash"]);
}

#[test]
fn config_takes_settings() {
    let changed = text(&["config", "--changed", "--set", "parallelism.default=3"]);
    assert_eq!(changed.lines().count(), 1, "{changed}");
    assert!(changed.starts_with("parallelism.default = 3"), "{changed}");
    let data = data();
    std::fs::write(data.path().join("mine.toml"), "[parallelism]\ndefault = 5\n").unwrap();
    let output = run(data.path(), &["config", "--changed", "--config", "mine.toml"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("parallelism.default = 5") && text.contains("mine.toml"), "{text}");
    let wrong = run(data.path(), &["config", "--set", "paralelism.default=3"]);
    check(&wrong, 2, "", &["did you mean 'parallelism.default'"]);
}

#[test]
fn settings_are_rows() {
    let data = data();
    let output = run(data.path(), &["-q", "-c", "SET 'parallelism.default' = '2'; SET", "--format", "jsonl"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found = rows.iter().find(|row| row["key"] == "parallelism.default").unwrap();
    assert_eq!((found["value"].as_str(), found["origin"].as_str()), (Some("2"), Some("a SET statement")), "{found}");
}

#[test]
fn the_history_variable_is_no_setting() {
    let data = data();
    let output = command(data.path(), &["-q", "SELECT 1 AS a"]).env("FLUMEN_HISTORY", "off").output().unwrap();
    check(&output, 0, "a\n1\n", &[]);
}
