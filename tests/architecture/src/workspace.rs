//! What the rules look at: packages with their dependencies, the lock file, the names at the root.

use std::path::Path;

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, MetadataCommand};

/// The structure of a workspace.
#[derive(Clone, Debug, Default)]
pub struct Workspace {
    /// Our packages.
    pub packages: Vec<Package>,
    /// Name and version of every package in the lock file.
    pub locked: Vec<(String, String)>,
    /// The names at the root.
    pub top_level: Vec<String>,
}

/// One of our packages.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its directory, from the root, with slashes.
    pub directory: String,
    /// What it depends on, in no order.
    pub dependencies: Vec<Dependency>,
}

/// One dependency of a package.
#[derive(Clone, Debug)]
pub struct Dependency {
    /// The name of the package depended on, whatever it is renamed to.
    pub name: String,
    /// What it is needed for.
    pub usage: Usage,
}

/// What a dependency is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// The library or binary.
    Normal,
    /// The build script.
    Build,
    /// Tests, examples and benches.
    Dev,
}

impl Workspace {
    /// Reads the workspace at `root`.
    pub fn read(root: &Path) -> Result<Self> {
        let metadata = MetadataCommand::new()
            .manifest_path(root.join("Cargo.toml"))
            .no_deps()
            .exec()
            .context("cargo metadata failed")?;
        let mut packages = Vec::new();
        for package in &metadata.packages {
            let directory = package.manifest_path.parent().context("a manifest is in a directory")?;
            let directory = directory.strip_prefix(&metadata.workspace_root).context("a member is below the root")?;
            let dependencies = package.dependencies.iter().map(|dependency| Dependency {
                name: dependency.name.clone(),
                usage: match dependency.kind {
                    DependencyKind::Development => Usage::Dev,
                    DependencyKind::Build => Usage::Build,
                    _ => Usage::Normal,
                },
            });
            packages.push(Package {
                name: package.name.to_string(),
                directory: directory.as_str().replace('\\', "/"),
                dependencies: dependencies.collect(),
            });
        }
        let lock = std::fs::read_to_string(root.join("Cargo.lock")).context("cannot read Cargo.lock")?;
        let mut top_level = Vec::new();
        for entry in std::fs::read_dir(root).context("cannot list the root")? {
            top_level.push(entry?.file_name().to_string_lossy().into_owned());
        }
        top_level.sort_unstable();
        Ok(Self { packages, locked: read_lock(&lock), top_level })
    }
}

/// Name and version of each package of a lock file. Cargo writes them on lines of their own, in this order.
pub(crate) fn read_lock(text: &str) -> Vec<(String, String)> {
    let field =
        |line: &str, name: &str| line.strip_prefix(name)?.strip_prefix(" = \"")?.strip_suffix('"').map(str::to_owned);
    let lines: Vec<&str> = text.lines().collect();
    lines
        .windows(3)
        .filter(|window| window[0] == "[[package]]")
        .filter_map(|window| Some((field(window[1], "name")?, field(window[2], "version")?)))
        .collect()
}
