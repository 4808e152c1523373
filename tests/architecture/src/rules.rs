//! The rules: each takes a workspace and returns what is wrong with it, in sentences that name the crates.

use std::collections::BTreeMap;

use crate::layers::{FORBIDDEN_BUILD_TOOLS, SAME_RANK_EDGES, TESTS, TOP_LEVEL, layer_of};
use crate::workspace::{Dependency, Package, Usage, Workspace};

/// A rule: from a workspace to what is wrong with it.
pub type Rule = fn(&Workspace) -> Vec<String>;

/// Every rule with its name.
pub const ALL: &[(&str, Rule)] = &[
    ("every crate has its place", places),
    ("dependencies run downwards", directions),
    ("only flumen-sql names DataFusion", datafusion),
    ("memory names no Arrow crate but arrow-buffer", arrow_in_memory),
    ("tokio stays out of computation", tokio),
    ("there is one Arrow", one_arrow),
    ("a build needs Rust and a C compiler", build_tools),
    ("the top level is fixed", top_level),
];

/// Every package is in the table of layers, in its directory.
pub fn places(workspace: &Workspace) -> Vec<String> {
    let wrong = |package: &Package| match layer_of(&package.name) {
        None => Some(format!("{} in {} has no line in the table of layers", package.name, package.directory)),
        Some(layer) if layer.directory != package.directory => {
            Some(format!("{} is in {} and belongs in {}", package.name, package.directory, layer.directory))
        }
        Some(_) => None,
    };
    workspace.packages.iter().filter_map(wrong).collect()
}

/// A package uses lower ranks only, but for listed edges. Test-only dependencies may also name test crates.
pub fn directions(workspace: &Workspace) -> Vec<String> {
    each_dependency(workspace, |package, dependency| {
        let (from, to) = (layer_of(&package.name)?, layer_of(&dependency.name)?);
        let allowed = from.rank == TESTS
            || to.rank < from.rank
            || SAME_RANK_EDGES.contains(&(from.package, to.package))
            || (dependency.usage == Usage::Dev && (to.rank == TESTS || to.rank == from.rank));
        let (from_rank, to_rank) = (from.rank, to.rank);
        (!allowed).then(|| format!("{} (rank {from_rank}) uses {} (rank {to_rank})", from.package, to.package))
    })
}

/// DataFusion is a library behind one crate.
pub fn datafusion(workspace: &Workspace) -> Vec<String> {
    each_dependency(workspace, |package, dependency| {
        let named = dependency.name == "datafusion" || dependency.name.starts_with("datafusion-");
        // The crate that measures other engines runs them whole.
        let allowed = ["flumen-sql", "flumen-compare-benches"].contains(&package.name.as_str());
        (named && !allowed).then(|| format!("{} names {}", package.name, dependency.name))
    })
}

/// `memory` moves bytes and knows no schema or kernel.
pub fn arrow_in_memory(workspace: &Workspace) -> Vec<String> {
    each_dependency(workspace, |package, dependency| {
        let wrong = is_arrow(&dependency.name) && dependency.name != "arrow-buffer";
        (package.name == "flumen-memory" && wrong).then(|| format!("flumen-memory names {}", dependency.name))
    })
}

/// Memory, formats, kernels and operators are synchronous.
pub fn tokio(workspace: &Workspace) -> Vec<String> {
    each_dependency(workspace, |package, dependency| {
        let synchronous = ["flumen-memory", "flumen-kernels", "flumen-operators"].contains(&package.name.as_str())
            || package.name.starts_with("flumen-formats");
        let named = dependency.name == "tokio" || dependency.name.starts_with("tokio-");
        (synchronous && named).then(|| format!("{} names {}", package.name, dependency.name))
    })
}

/// Two versions of an Arrow crate would not unify: their arrays are different types.
pub fn one_arrow(workspace: &Workspace) -> Vec<String> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, version) in &workspace.locked {
        if is_arrow(name) {
            versions.entry(name).or_default().push(version);
        }
    }
    let mut wrong: Vec<String> = versions
        .iter()
        .filter(|(_, versions)| versions.len() > 1)
        .map(|(name, versions)| format!("{name} is in the lock file as {}", versions.join(" and ")))
        .collect();
    // Without this an empty or unreadable lock file would pass.
    for needed in ["arrow-array", "arrow-buffer", "parquet"] {
        if !versions.contains_key(needed) {
            wrong.push(format!("{needed} is not in the lock file"));
        }
    }
    wrong
}

/// Nothing of ours, and nothing in the lock file, asks for another compiler or a system library.
pub fn build_tools(workspace: &Workspace) -> Vec<String> {
    let mut wrong = each_dependency(workspace, |package, dependency| {
        let forbidden = FORBIDDEN_BUILD_TOOLS.contains(&dependency.name.as_str());
        forbidden.then(|| format!("{} names {}", package.name, dependency.name))
    });
    let locked = workspace.locked.iter().filter(|(name, _)| FORBIDDEN_BUILD_TOOLS.contains(&name.as_str()));
    wrong.extend(locked.map(|(name, version)| format!("{name} {version} is in the lock file")));
    wrong
}

/// Nothing is added to the root but dot files.
pub fn top_level(workspace: &Workspace) -> Vec<String> {
    // `target` and `*.tmp` are what .gitignore leaves out.
    let foreign = |name: &&String| {
        !name.starts_with('.')
            && name.as_str() != "target"
            && !name.ends_with(".tmp")
            && !TOP_LEVEL.contains(&name.as_str())
    };
    workspace.top_level.iter().filter(foreign).map(|name| format!("'{name}' is at the root")).collect()
}

fn is_arrow(name: &str) -> bool {
    name == "arrow" || name.starts_with("arrow-") || name == "parquet" || name.starts_with("parquet_")
}

fn each_dependency(workspace: &Workspace, wrong: impl Fn(&Package, &Dependency) -> Option<String>) -> Vec<String> {
    let packages = workspace.packages.iter();
    packages.flat_map(|package| package.dependencies.iter().filter_map(|one| wrong(package, one))).collect()
}
