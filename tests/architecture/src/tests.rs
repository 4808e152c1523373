use std::collections::BTreeSet;
use std::path::Path;

use crate::layers::{CRATES, SAME_RANK_EDGES, layer_of};
use crate::rules::{self, Rule};
use crate::workspace::{Dependency, Package, Usage, Workspace, read_lock};

#[test]
fn this_workspace_keeps_every_rule() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let workspace = Workspace::read(&root).unwrap();
    assert!(workspace.packages.len() > 10 && workspace.locked.len() > 100, "the workspace was not read whole");
    let wrong: Vec<String> = rules::ALL
        .iter()
        .flat_map(|(name, rule)| rule(&workspace).into_iter().map(move |text| format!("{name}: {text}")))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_of_layers_is_consistent() {
    let packages: BTreeSet<_> = CRATES.iter().map(|layer| layer.package).collect();
    let directories: BTreeSet<_> = CRATES.iter().map(|layer| layer.directory).collect();
    assert_eq!((packages.len(), directories.len()), (CRATES.len(), CRATES.len()));
    for (from, to) in SAME_RANK_EDGES {
        assert_eq!(layer_of(from).unwrap().rank, layer_of(to).unwrap().rank, "{from} -> {to}");
        assert!(!SAME_RANK_EDGES.contains(&(to, from)), "{from} and {to} use each other");
    }
}

/// A workspace of one package with one dependency.
fn edge(from: &str, usage: Usage, to: &str) -> Workspace {
    let directory = layer_of(from).map_or("engine/new", |layer| layer.directory).to_owned();
    let dependencies = vec![Dependency { name: to.to_owned(), usage }];
    Workspace { packages: vec![Package { name: from.to_owned(), directory, dependencies }], ..Workspace::default() }
}

fn locked(packages: &[(&str, &str)]) -> Workspace {
    let needed = [("arrow-array", "59.0.0"), ("arrow-buffer", "59.0.0"), ("parquet", "59.0.0")];
    let all = needed.iter().chain(packages).map(|(name, version)| ((*name).to_owned(), (*version).to_owned()));
    Workspace { locked: all.collect(), ..Workspace::default() }
}

fn check(rule: Rule, workspace: &Workspace, expected: &[&str]) {
    assert_eq!(rule(workspace), expected);
}

#[test]
fn crates_have_a_place() {
    check(rules::places, &edge("flumen-io", Usage::Normal, "x"), &[]);
    let new = edge("flumen-helpers", Usage::Normal, "x");
    check(rules::places, &new, &["flumen-helpers in engine/new has no line in the table of layers"]);
    let mut moved = edge("flumen-io", Usage::Normal, "x");
    moved.packages[0].directory = "tools/io".to_owned();
    check(rules::places, &moved, &["flumen-io is in tools/io and belongs in engine/io"]);
}

#[test]
fn dependencies_run_downwards() {
    let good = |from, usage, to| check(rules::directions, &edge(from, usage, to), &[]);
    let bad = |from, usage, to| assert_eq!(rules::directions(&edge(from, usage, to)).len(), 1, "{from} -> {to}");
    good("flumen-core", Usage::Normal, "flumen-io");
    good("flumen-memory", Usage::Normal, "flumen-io");
    good("flumen-network", Usage::Normal, "flumen-formats-ipc");
    good("flumen", Usage::Normal, "flumen-cluster");
    good("flumen-core", Usage::Normal, "serde");
    bad("flumen-io", Usage::Normal, "flumen-memory");
    bad("flumen-core", Usage::Normal, "flumen-kernels");
    bad("flumen-core", Usage::Build, "flumen-kernels");
    bad("flumen-runtime", Usage::Normal, "flumen-control");
    bad("flumen-control", Usage::Normal, "flumen-runtime");
    bad("flumen-formats-csv", Usage::Normal, "flumen-formats-json");
    bad("flumen-cluster", Usage::Normal, "flumen");
    bad("flumen-sql", Usage::Normal, "flumen-testkit");
    check(
        rules::directions,
        &edge("flumen-network", Usage::Normal, "flumen-flight-exchange"),
        &["flumen-network (rank 4) uses flumen-flight-exchange (rank 8)"],
    );
}

#[test]
fn tests_see_more() {
    let good = |from, usage, to| check(rules::directions, &edge(from, usage, to), &[]);
    let bad = |from, usage, to| assert_eq!(rules::directions(&edge(from, usage, to)).len(), 1, "{from} -> {to}");
    good("flumen-testkit", Usage::Normal, "flumen");
    good("flumen-engine-tests", Usage::Normal, "flumen-testkit");
    good("flumen-micro-benches", Usage::Dev, "flumen-sql");
    good("flumen-io", Usage::Dev, "flumen-testkit");
    good("flumen-runtime", Usage::Dev, "flumen-control");
    bad("flumen-io", Usage::Dev, "flumen-core");
}

#[test]
fn outside_crates_stay_in_their_corner() {
    check(rules::datafusion, &edge("flumen-sql", Usage::Normal, "datafusion-expr"), &[]);
    let names = edge("flumen-operators", Usage::Dev, "datafusion-expr");
    check(rules::datafusion, &names, &["flumen-operators names datafusion-expr"]);
    assert_eq!(rules::datafusion(&edge("flumen", Usage::Normal, "datafusion")).len(), 1);

    check(rules::arrow_in_memory, &edge("flumen-memory", Usage::Normal, "arrow-buffer"), &[]);
    check(rules::arrow_in_memory, &edge("flumen-core", Usage::Normal, "arrow-array"), &[]);
    for arrow in ["arrow", "arrow-array", "arrow-schema", "parquet"] {
        assert_eq!(rules::arrow_in_memory(&edge("flumen-memory", Usage::Dev, arrow)).len(), 1);
    }

    check(rules::tokio, &edge("flumen-runtime", Usage::Normal, "tokio"), &[]);
    for from in ["flumen-memory", "flumen-formats", "flumen-formats-parquet", "flumen-kernels", "flumen-operators"] {
        for (usage, to) in [(Usage::Normal, "tokio"), (Usage::Dev, "tokio"), (Usage::Build, "tokio-util")] {
            assert_eq!(rules::tokio(&edge(from, usage, to)).len(), 1, "{from} -> {to}");
        }
    }
}

#[test]
fn two_arrows_are_seen() {
    check(rules::one_arrow, &locked(&[("serde", "1.0.0"), ("serde", "2.0.0")]), &[]);
    check(
        rules::one_arrow,
        &locked(&[("arrow-array", "60.0.0")]),
        &["arrow-array is in the lock file as 59.0.0 and 60.0.0"],
    );
    assert_eq!(rules::one_arrow(&locked(&[("parquet", "59.0.1")])).len(), 1);
    assert_eq!(rules::one_arrow(&Workspace::default()).len(), 3, "an empty lock file is not a good one");
}

#[test]
fn build_tools_are_seen() {
    check(rules::build_tools, &edge("flumen-io", Usage::Build, "cc"), &[]);
    check(rules::build_tools, &edge("flumen-io", Usage::Build, "prost-build"), &["flumen-io names prost-build"]);
    check(rules::build_tools, &locked(&[("cmake", "0.1.0")]), &["cmake 0.1.0 is in the lock file"]);
}

#[test]
fn additions_to_the_root_are_seen() {
    let root = |names: &[&str]| Workspace {
        top_level: names.iter().map(|&name| name.to_owned()).collect(),
        ..Workspace::default()
    };
    check(rules::top_level, &root(&["Cargo.toml", "engine", ".ci", ".gitignore", "target", "a.tmp", "deny.toml"]), &[]);
    check(rules::top_level, &root(&["docs", "engine", "src"]), &["'docs' is at the root", "'src' is at the root"]);
}

#[test]
fn lock_files_are_read() {
    let text = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"x\"\n\n\
                [[package]]\nname = \"a\"\nversion = \"2.0.0+b\"\ndependencies = [\n \"name\",\n]\n";
    let pair = |version: &str| ("a".to_owned(), version.to_owned());
    assert_eq!(read_lock(text), [pair("1.0.0"), pair("2.0.0+b")]);
}
