//! The suites of `flumen bench`: every answer is held against another engine's, and nothing is left out of the results.

use std::path::Path;

use serde_json::Value;

use crate::binary::{check, command, run};

/// Runs a suite at the size whose answers are all known, and gives its results.
fn results(directory: &Path, suite: &str) -> Vec<Value> {
    let arguments = ["bench", suite, "--rows", "1e5", "--threads", "2", "--runs", "1", "--out", "out"];
    // Without a directory the data goes to the cache.
    let output = command(directory, &arguments).env("XDG_CACHE_HOME", directory.join("cache")).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    assert!(directory.join("cache/flumen/bench").join(suite).join("1e5").is_dir());
    let form = |suffix: &str| std::fs::read_to_string(directory.join(format!("out/{suite}-1e5.{suffix}"))).unwrap();
    let report: Value = serde_json::from_str(&form("json")).unwrap();
    let results = report["results"].as_array().unwrap().clone();
    for result in &results {
        let name = result["query"].as_str().unwrap();
        assert!(form("md").contains(&format!("| {name} | 2 |")), "{name}");
        assert!(form("html").contains(&format!("<td>{name}</td>")) && out.contains(name), "{name}");
    }
    results
}

/// The queries that the engine refuses; all others are right.
fn refused(results: &[Value]) -> Vec<&str> {
    let mut refused = Vec::new();
    for result in results {
        match result["outcome"].as_str().unwrap() {
            "right" => {
                assert!(result["hot_s"].as_f64().unwrap() > 0.0 && result["rows"].as_u64().unwrap() > 0, "{result}")
            }
            "unsupported" => refused.push(result["query"].as_str().unwrap()),
            _ => panic!("{result}"),
        }
    }
    refused
}

#[test]
fn grouping_and_joining_answers_as_another_engine_does() {
    let directory = tempfile::tempdir().unwrap();
    let results = results(directory.path(), "h2o");
    assert_eq!(results.len(), 15);
    let refused = refused(&results);
    assert!(refused.iter().all(|query| ["g9"].contains(query)), "{refused:?}");
    // A report is as fast as itself.
    let compared = run(directory.path(), &["bench", "compare", "out/h2o-1e5.json", "out/h2o-1e5.json", "--by", "cpu"]);
    let text = String::from_utf8_lossy(&compared.stdout);
    assert_eq!(compared.status.code(), Some(0), "{text}");
    assert!(
        text.contains("| g1 | 2 |") && text.contains("| 1.00 |") && text.contains("geometric mean: 1.000"),
        "{text}"
    );
}

#[test]
fn page_views_are_asked_about_as_another_engine_answers() {
    let directory = tempfile::tempdir().unwrap();
    let results = results(directory.path(), "clickbench");
    assert_eq!(results.len(), 43);
    assert_eq!(refused(&results), [""; 0]);
}

#[test]
fn what_is_wrong_with_a_benchmark_is_told() {
    let directory = tempfile::tempdir().unwrap();
    check(&run(directory.path(), &["bench", "h2o", "--rows", "many"]), 2, "", &["--rows", "1000000 or 1e6"]);
    let unknown = run(directory.path(), &["bench", "h2o", "--dir", "d", "--queries", "g11"]);
    check(&unknown, 1, "", &["there is no query \"g11\" in h2o; did you mean g1"]);
    check(&run(directory.path(), &["bench", "compare", "a.json", "b.json"]), 1, "", &["cannot read a.json"]);
    let one = run(directory.path(), &["bench", "h2o", "--dir", "it's", "--queries", "g1", "--print"]);
    check(&one, 0, "[\"g1\",\"SELECT id1, sum(v1) AS v1 FROM 'it''s/g.parquet' AS g GROUP BY id1\"]\n", &[]);
    assert!(!directory.path().join("it's").exists());
}
