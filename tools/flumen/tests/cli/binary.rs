//! Starts the binary, alike wherever the tests run.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A directory with the files that the statements here read.
pub(crate) fn data() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    file("orders.csv", "id,customer,price,day\n1,ann,9.50,2024-01-01\n2,bob,3.25,2024-01-02\n3,,1.00,2024-01-03\n");
    file("ragged.csv", "id,price\n1,2.5\n2\n");
    let many: String = (0..30_000).map(|i| format!("{i},{i}.5\n")).collect();
    file("late.csv", &format!("id,price\n{many}x,1\n"));
    directory
}

pub(crate) fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flumen"));
    command.current_dir(directory).args(arguments);
    // Settings of whoever runs the tests are not theirs.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FLUMEN_")) {
        command.env_remove(name);
    }
    for name in ["NO_COLOR", "CLICOLOR_FORCE", "LC_CTYPE", "LANG"] {
        command.env_remove(name);
    }
    command
        .env("COLUMNS", "120")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

pub(crate) fn run(directory: &Path, arguments: &[&str]) -> Output {
    command(directory, arguments).output().unwrap()
}

#[track_caller]
pub(crate) fn check(output: &Output, code: i32, stdout: &str, stderr: &[&str]) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!((output.status.code(), out.as_ref()), (Some(code), stdout), "{err}");
    for part in stderr {
        assert!(err.contains(part), "{part:?} is not in {err:?}");
    }
    if stderr.is_empty() {
        assert_eq!(err, "");
    }
}
