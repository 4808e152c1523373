//! Generated queries against DuckDB: 500 of the seed below, where Python can import `duckdb` or pip can get it.
//!
//! The program is `tests/differential/run.py`; what is run here by hand with more queries or another seed is run there.
//! Where neither is at hand the test says on standard error that it was skipped, and passes. `DIFFERENTIAL_PYTHON`
//! names a Python to use, and then it may not be skipped.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const SEED: &str = "1";
const QUERIES: &str = "500";
/// `match` and `tomllib` are there from 3.11 on.
const CHECK: &str = "import sys, duckdb; assert sys.version_info >= (3, 11)";

#[test]
fn generated_queries_are_answered_as_duckdb_answers_them() {
    let Some(python) = python() else {
        // Not by a macro, whose text tests that pass do not show.
        let said = "SKIPPED: generated queries against DuckDB: no Python 3.11 with the package duckdb, and pip cannot get it\n";
        std::io::stderr().write_all(said.as_bytes()).expect("standard error is open");
        return;
    };
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/differential/run.py");
    let output = Command::new(python)
        .arg(program)
        .args(["--seed", SEED, "--queries", QUERIES, "--binary", env!("CARGO_BIN_EXE_flumen")])
        .env_remove("PYTHONPATH")
        .output()
        .expect("Python runs");
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "Flumen and DuckDB differ");
}

/// A Python that has the package: the one named, the system's, or one of our own that is kept beside what cargo builds.
fn python() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("DIFFERENTIAL_PYTHON") {
        let named = PathBuf::from(named);
        assert!(runs(&named, &["-c", CHECK]), "{} cannot import duckdb", named.display());
        return Some(named);
    }
    let system = PathBuf::from("python3");
    if runs(&system, &["-c", CHECK]) {
        return Some(system);
    }
    let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join("duckdb");
    let own = environment.join("bin/python");
    let install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--retries",
        "1",
        "--timeout",
        "15",
        "duckdb",
    ];
    let made = runs(&own, &["-c", CHECK])
        || runs(&system, &["-m", "venv", environment.to_str()?]) && runs(&own, &install) && runs(&own, &["-c", CHECK]);
    made.then_some(own)
}

fn runs(program: &Path, arguments: &[&str]) -> bool {
    let quiet =
        Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}
