//! Sessions at a pseudo-terminal: the shell as hands and eyes meet it, and what only a terminal is shown.
#![allow(clippy::disallowed_methods, reason = "deadlines of other processes are those of the machine's clock")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::binary::data;

/// Nothing here takes longer, even on a machine with other work.
const DEADLINE: Duration = Duration::from_secs(120);

/// A process at a terminal of 80 columns. Dropped, it is killed.
struct Terminal {
    child: Child,
    keyboard: File,
    /// All that was written, with what moves the cursor.
    written: Arc<Mutex<Vec<u8>>>,
    screen: Option<JoinHandle<()>>,
    /// Bytes that have been looked at.
    seen: usize,
}

impl Terminal {
    fn start(directory: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let pty = pty_process::blocking::Pty::new().unwrap();
        let pts = pty.pts().unwrap();
        pty.resize(pty_process::Size::new(24, 80)).unwrap();
        let mut command = pty_process::blocking::Command::new(env!("CARGO_BIN_EXE_flumen"));
        command
            .args(arguments)
            .current_dir(directory)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", directory)
            .env("TERM", "xterm-256color")
            .env("LC_ALL", "C.UTF-8")
            .envs(variables.iter().copied());
        let child = command.spawn(&pts).unwrap();
        drop(pts);
        let keyboard = File::from(OwnedFd::from(pty));
        let (mut screen, mut answers) = (keyboard.try_clone().unwrap(), keyboard.try_clone().unwrap());
        let written = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&written);
        let screen = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            let mut asked = 0;
            // It ends with an error when the process has closed its side.
            while let Ok(length @ 1..) = screen.read(&mut buffer) {
                let mut all = all.lock().unwrap();
                all.extend_from_slice(&buffer[..length]);
                // "Where is the cursor?", which a terminal answers.
                let questions = all.windows(4).filter(|window| *window == b"\x1b[6n").count();
                for _ in asked..questions {
                    let _ = answers.write_all(b"\x1b[1;1R");
                }
                asked = questions;
            }
        });
        Self { child, keyboard, written, screen: Some(screen), seen: 0 }
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// What was written since the last call that waited, without what moves the cursor or colours.
    fn unseen(&self) -> String {
        plain(&self.written.lock().unwrap()[self.seen..])
    }

    /// Waits until a text is on the screen that was not there before, and looks past it.
    #[track_caller]
    fn wait_for(&mut self, text: &str) {
        let started = Instant::now();
        loop {
            {
                let written = self.written.lock().unwrap();
                let shows = |end: usize| plain(&written[self.seen..end]).contains(text);
                if shows(written.len()) {
                    // The shortest piece that shows the text: what follows it is for the next call.
                    let (mut without, mut with) = (self.seen, written.len());
                    while with - without > 1 {
                        let middle = without + (with - without) / 2;
                        if shows(middle) { with = middle } else { without = middle }
                    }
                    self.seen = with;
                    return;
                }
            }
            assert!(started.elapsed() < DEADLINE, "waited for {text:?}, and there is {:?}", self.unseen());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the end; its exit code, and what was written at last.
    fn end(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().unwrap();
        self.screen.take().unwrap().join().unwrap();
        (status.code(), self.unseen())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The text without escape sequences.
fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut plain = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '\u{1b}' {
            plain.push(character);
        } else if characters.next_if_eq(&'[').is_some() {
            // Parameters, then one letter.
            while characters.next_if(|c| !c.is_ascii_alphabetic()).is_some() {}
            characters.next();
        } else {
            characters.next();
        }
    }
    plain
}

const ENDLESS: &str = "CREATE TABLE e (v BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '1000');";

fn shell(directory: &Path) -> Terminal {
    let mut terminal = Terminal::start(directory, &[], &[]);
    terminal.wait_for("SQL over files and streams, in this process");
    terminal.wait_for("Ctrl-D leaves");
    terminal.wait_for("flumen> ");
    terminal
}

#[test]
fn statements_errors_and_commands() {
    let data = data();
    let mut terminal = shell(data.path());
    terminal.press("SELECT id, customer\r");
    terminal.wait_for("...> ");
    terminal.press("FROM 'orders.csv' ORDER BY id LIMIT 2;\r");
    terminal.wait_for("│ BIGINT │ VARCHAR  │");
    terminal.wait_for("│      2 │ bob      │");
    terminal.wait_for("2 rows · ");
    terminal.wait_for("flumen> ");
    terminal.press("SELECT prize FROM 'orders.csv';\r");
    terminal.wait_for("there is no column \"prize\"");
    terminal.wait_for("did you mean \"price\"?");
    terminal.wait_for("flumen> ");
    terminal.press(".tabels\r");
    terminal.wait_for("did you mean .tables?");
    terminal.wait_for("flumen> ");
    terminal.press("\\q\r");
    assert_eq!(terminal.end().0, Some(0));
}

#[test]
fn tab_completes_files_columns_tables_and_commands() {
    let data = data();
    let mut terminal = shell(data.path());
    terminal.press("SELECT max(price) AS high FROM 'ord\t");
    terminal.wait_for("orders.csv");
    terminal.press("';\r");
    terminal.wait_for("│    9.5 │");
    terminal.wait_for("flumen> ");
    terminal.press("CREATE TABLE numbers_of_mine AS SELECT * FROM 'orders.csv' WHERE cust\t");
    terminal.wait_for("customer");
    terminal.press(" = 'ann';\r");
    terminal.wait_for("1 row · ");
    terminal.wait_for("flumen> ");
    terminal.press("SELECT count(*) AS n FROM numb\t;\r");
    terminal.wait_for("│      1 │");
    terminal.wait_for("flumen> ");
    // Of several that begin so, the menu has all.
    terminal.press(".max\t");
    terminal.wait_for(".maxrows");
    terminal.wait_for(".maxwidth");
    terminal.press("\u{3}");
    terminal.wait_for("flumen> ");
    terminal.press("\u{4}");
    assert_eq!(terminal.end().0, Some(0));
}

#[test]
fn ctrl_c_forgets_a_line_and_ctrl_d_leaves() {
    let data = data();
    let mut terminal = shell(data.path());
    terminal.press("SELECT 'half\r");
    terminal.wait_for("...> ");
    terminal.press("\u{3}");
    terminal.wait_for("flumen> ");
    terminal.press("SELECT 1 AS a;\r");
    terminal.wait_for("│       1 │");
    terminal.wait_for("flumen> ");
    terminal.press("\u{4}");
    assert_eq!(terminal.end().0, Some(0));
}

#[test]
fn an_interrupt_returns_to_the_prompt() {
    let data = data();
    let mut terminal = shell(data.path());
    terminal.press(&format!("{ENDLESS}\r"));
    terminal.wait_for("table e created");
    terminal.wait_for("flumen> ");
    for statement in ["SELECT v FROM e;", "SELECT count(*) FROM e;"] {
        terminal.press(&format!("{statement}\r"));
        // Progress is shown while it runs, and only then.
        terminal.wait_for("rows/s");
        terminal.press("\u{3}");
        terminal.wait_for("interrupted: the statement was cancelled");
        terminal.wait_for("flumen> ");
    }
    terminal.press("SELECT 40 + 2 AS answer;\r");
    terminal.wait_for("│      42 │");
    terminal.wait_for("flumen> ");
    terminal.press("exit\r");
    assert_eq!(terminal.end().0, Some(0));
}

#[test]
fn lines_of_earlier_sessions_are_there() {
    let data = data();
    let mut terminal = shell(data.path());
    terminal.press("SELECT 'from before' AS a;\r");
    terminal.wait_for("1 row");
    terminal.wait_for("flumen> ");
    // A line that begins with a blank is not kept.
    terminal.press(" SELECT 'secret' AS a;\r");
    terminal.wait_for("1 row");
    terminal.wait_for("flumen> ");
    terminal.press(".quit\r");
    assert_eq!(terminal.end().0, Some(0));
    let history = std::fs::read_to_string(data.path().join(".local/state/flumen/history")).unwrap();
    assert!(history.contains("from before") && !history.contains("secret"), "{history}");
    let mut terminal = shell(data.path());
    // Up: .quit, and once more.
    terminal.press("\u{1b}[A");
    terminal.wait_for(".quit");
    terminal.press("\u{1b}[A");
    terminal.wait_for("SELECT 'from before' AS a;");
    terminal.press("\r");
    terminal.wait_for("│ from before │");
    terminal.wait_for("flumen> ");
    // Ctrl-R looks for a part of a line.
    terminal.press("\u{12}before");
    terminal.wait_for("SELECT 'from before' AS a;");
    terminal.press("\r\r");
    terminal.wait_for("│ from before │");
    terminal.wait_for("flumen> ");
    terminal.press("\u{4}");
    assert_eq!(terminal.end().0, Some(0));
    let mut other = Terminal::start(data.path(), &["-q"], &[("FLUMEN_HISTORY", "mine/history")]);
    other.wait_for("flumen> ");
    other.press("SELECT 1 AS b;\r");
    other.wait_for("│       1 │");
    other.wait_for("flumen> ");
    other.press("\u{4}");
    assert_eq!(other.end().0, Some(0));
    assert!(std::fs::read_to_string(data.path().join("mine/history")).unwrap().contains("AS b;"));
}

#[test]
fn long_results_are_looked_at_in_pages() {
    let data = data();
    let rows: Vec<String> = (0..100).map(|i| format!("({i})")).collect();
    let long = format!("CREATE VIEW hundred AS SELECT n FROM (VALUES {}) AS t(n);\r", rows.join(", "));
    // A program of one's own; what fits the terminal does not go there.
    let mut terminal = Terminal::start(data.path(), &[], &[("PAGER", "sed 's/^/paged /'")]);
    terminal.wait_for("flumen> ");
    terminal.press(&long);
    terminal.wait_for("view hundred created");
    terminal.wait_for("flumen> ");
    terminal.press(".pager on\r");
    terminal.wait_for("flumen> ");
    terminal.press("FROM hundred ORDER BY n;\r");
    terminal.wait_for("paged │      50 │");
    terminal.wait_for("paged │      99 │");
    terminal.wait_for("100 rows · ");
    terminal.wait_for("flumen> ");
    terminal.press("SELECT 41 + 1 AS n;\r");
    terminal.wait_for("\n│      42 │");
    terminal.wait_for("flumen> ");
    terminal.press("\u{4}");
    assert_eq!(terminal.end().0, Some(0));
    // Without one: a page, a line, and enough.
    let mut terminal = shell(data.path());
    terminal.press(&long);
    terminal.wait_for("view hundred created");
    terminal.wait_for("flumen> ");
    terminal.press(".pager on\r");
    terminal.wait_for("flumen> ");
    terminal.press("FROM hundred ORDER BY n;\r");
    terminal.wait_for("│      18 │");
    terminal.wait_for(" more ");
    terminal.press(" ");
    terminal.wait_for("│      41 │");
    terminal.wait_for(" more ");
    terminal.press("\r");
    terminal.wait_for("│      42 │");
    terminal.wait_for(" more ");
    terminal.press("q");
    terminal.wait_for("flumen> ");
    assert!(!plain(&terminal.written.lock().unwrap()).contains("│      43 │"));
    terminal.press("\u{4}");
    assert_eq!(terminal.end().0, Some(0));
}

#[test]
fn a_dumb_terminal_has_a_shell_too() {
    let data = data();
    let mut terminal = Terminal::start(data.path(), &["-q"], &[("TERM", "dumb"), ("LC_ALL", "C")]);
    terminal.wait_for("flumen> ");
    terminal.press("SELECT 1 AS a\n");
    terminal.wait_for("...> ");
    terminal.press(";\n");
    terminal.wait_for("|       1 |");
    terminal.wait_for("flumen> ");
    terminal.press("exit\n");
    let written = String::from_utf8_lossy(&terminal.written.lock().unwrap()).into_owned();
    assert!(!written.contains('\u{1b}'), "{written:?}");
    assert_eq!(terminal.end().0, Some(0));
}

#[test]
fn a_terminal_is_shown_as_much_as_fits() {
    let data = data();
    let columns: Vec<String> = (0..40).map(|i| format!("{i} AS column_{i}")).collect();
    let rows: Vec<String> = (0..100).map(|i| format!("({i})")).collect();
    let wide = format!("SELECT {}", columns.join(", "));
    let long = format!("SELECT * FROM (VALUES {}) AS t(n) ORDER BY n", rows.join(", "));
    let mut terminal = Terminal::start(data.path(), &["-c", &wide, "-c", &long], &[]);
    terminal.wait_for("│ … │");
    terminal.wait_for(" of 40 columns shown");
    terminal.wait_for("│      19 │\r\n│ ·       │\r\n│      80 │");
    terminal.wait_for("100 rows (40 shown)");
    let written = String::from_utf8_lossy(&terminal.written.lock().unwrap()).into_owned();
    assert!(written.contains("\u{1b}[2m"), "types are dim: {written:?}");
    let mut rows = written.lines().map(|line| plain(line.as_bytes())).filter(|line| line.starts_with('│'));
    assert!(rows.all(|line| line.trim_end().chars().count() <= 80), "{written}");
    assert_eq!(terminal.end().0, Some(0));
    // Bytes that a terminal cannot show are refused before anything runs.
    let refused = Terminal::start(data.path(), &["-c", "SELECT 1", "--format", "parquet"], &[]);
    let (code, written) = refused.end();
    assert!(code == Some(2) && written.contains("parquet is not for a terminal"), "{written}");
}

#[test]
fn progress_comes_and_goes() {
    let data = data();
    let sql = "CREATE TABLE e (v BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '1000', 'number-of-rows' = '2000'); \
               SELECT count(*) AS n FROM e";
    let mut terminal = Terminal::start(data.path(), &["-c", sql], &[]);
    terminal.wait_for("rows/s");
    terminal.wait_for("│   2000 │");
    let written = String::from_utf8_lossy(&terminal.written.lock().unwrap()).into_owned();
    // The line is erased before the result is written.
    let (before, _) = written.split_once('┌').unwrap();
    assert!(before.ends_with("\r\u{1b}[K"), "{written:?}");
    assert_eq!(terminal.end().0, Some(0));
}
