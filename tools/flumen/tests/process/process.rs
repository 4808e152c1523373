//! Starts the binary and waits for what it does.

use std::fs::File;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Nothing here takes longer, even on a machine with other work.
const DEADLINE: Duration = Duration::from_secs(120);

/// Waits until `found` finds something; looks often, because what it looks at may be gone again soon.
pub(crate) fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(started.elapsed() < DEADLINE, "waited {DEADLINE:?} for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A process that runs. Dropped, it is killed.
pub(crate) struct Running {
    child: Child,
    stderr: PathBuf,
}

impl Running {
    /// Starts `flumen sql` with these arguments; what it reports goes to the file `stderr`.
    pub(crate) fn start(arguments: &[String], stderr: &Path) -> Self {
        let report = File::create(stderr).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_flumen"))
            .arg("sql")
            .args(arguments)
            .current_dir(stderr.parent().unwrap())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(report)
            .spawn()
            .unwrap();
        Self { child, stderr: stderr.to_owned() }
    }

    /// What it has reported so far.
    pub(crate) fn report(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap()
    }

    /// Panics if it has ended.
    pub(crate) fn assert_running(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("the process ended ({status}): {}", self.report());
        }
    }

    /// Ends it as the system does when memory ends: without a warning.
    pub(crate) fn kill(mut self) -> String {
        self.assert_running();
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "it ended by itself ({status}): {}", self.report());
        self.report()
    }

    /// Asks it to stop, as Ctrl-C does, and waits for its end.
    pub(crate) fn interrupt(self) -> (ExitStatus, String) {
        let sent = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success(), "{sent}");
        self.end()
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let status = wait_for("the end of the process", || self.child.try_wait().unwrap());
        (status, self.report())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a statement came to.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs SQL to its end. A process that ends by a signal fails the test, and so does one whose panic became its exit.
pub(crate) fn flumen(sql: &str, arguments: &[&str]) -> Answer {
    let directory = tempfile::tempdir().unwrap();
    let (stdout, stderr) = (directory.path().join("stdout"), directory.path().join("stderr"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_flumen"))
        .args(["sql", "--quiet"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(File::create(&stdout).unwrap())
        .stderr(File::create(&stderr).unwrap())
        .spawn()
        .unwrap();
    // On standard input: an argument may not be as long as these texts get.
    child.stdin.take().unwrap().write_all(sql.as_bytes()).unwrap();
    let mut running = Running { child, stderr };
    let status = wait_for("an answer", || running.child.try_wait().unwrap());
    let answer = |code| Answer { code, stdout: std::fs::read_to_string(&stdout).unwrap(), stderr: running.report() };
    let start: String = sql.chars().take(120).collect();
    match status.code() {
        Some(code @ (0 | 1)) => answer(code),
        _ => panic!("{start}: {status}: {}", running.report()),
    }
}
