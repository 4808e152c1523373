//! The lines of earlier sessions: where they are kept, and which are not.
//!
//! A history is a file of [`LINES`] lines that its owner alone can read. Lines that begin with a blank never get there, the
//! values of options that sound like secrets are masked on their way, and lines longer than [`LINE_BYTES_MAX`] are left
//! out: somebody pasted data.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use reedline::{FileBackedHistory, History, HistoryItem, HistoryItemId, HistorySessionId, Result, SearchQuery};

use super::scan::{Kind, Token, scan};

/// Names the file, or switches the history off.
pub(crate) const VARIABLE: &str = "FLUMEN_HISTORY";

/// Lines that are kept.
const LINES: usize = 10_000;

/// Bytes of one of them.
const LINE_BYTES_MAX: usize = 64 << 10;

/// The file; `None` if there is to be none, or no place for it.
///
/// `FLUMEN_HISTORY` names another file, or none: `off`, `none`, `0` or nothing.
pub(super) fn file(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    if let Some(chosen) = variable(VARIABLE) {
        let is_off = chosen.to_str().is_some_and(|text| ["", "off", "none", "0"].contains(&text));
        return (!is_off).then(|| PathBuf::from(chosen));
    }
    // The base directory specification ignores relative paths.
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("flumen").join("history"))
}

/// Opens the history in a file, which is made if there is none.
///
/// # Errors
/// If it cannot be made, or holds something else.
pub(super) fn open(path: &Path) -> io::Result<Discreet> {
    // A path without a directory is in this one.
    let path = std::path::absolute(path)?;
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(&path)?;
    FileBackedHistory::with_file(LINES, path).map(Discreet).map_err(io::Error::other)
}

/// A history that does not keep everything.
pub(super) struct Discreet(FileBackedHistory);

impl History for Discreet {
    fn save(&mut self, mut item: HistoryItem) -> Result<HistoryItem> {
        if item.command_line.len() > LINE_BYTES_MAX {
            return Ok(item);
        }
        item.command_line = masked(&item.command_line);
        self.0.save(item)
    }

    fn load(&self, id: HistoryItemId) -> Result<HistoryItem> {
        self.0.load(id)
    }

    fn count(&self, query: SearchQuery) -> Result<i64> {
        self.0.count(query)
    }

    fn search(&self, query: SearchQuery) -> Result<Vec<HistoryItem>> {
        self.0.search(query)
    }

    fn update(&mut self, id: HistoryItemId, updater: &dyn Fn(HistoryItem) -> HistoryItem) -> Result<()> {
        self.0.update(id, updater)
    }

    fn clear(&mut self) -> Result<()> {
        self.0.clear()
    }

    fn delete(&mut self, id: HistoryItemId) -> Result<()> {
        self.0.delete(id)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync()
    }

    fn session(&self) -> Option<HistorySessionId> {
        self.0.session()
    }
}

/// The line with `'***'` for the value of each option whose name sounds like a secret.
fn masked(line: &str) -> String {
    const SECRETS: [&str; 5] = ["password", "passwd", "secret", "token", "credential"];
    let tokens = scan(line);
    let significant: Vec<&Token> = tokens.iter().filter(|token| token.is_significant()).collect();
    let text = |token: &Token| line.get(token.range.clone()).unwrap_or_default();
    let mut masked = String::new();
    let mut at = 0;
    let is_set = significant.first().is_some_and(|first| text(first).eq_ignore_ascii_case("set"));
    for window in significant.windows(3) {
        let [key, equals, value] = window else { continue };
        // Keys of options are texts; after SET also words. Elsewhere a word is a column.
        let is_option = (is_set || key.kind == Kind::Text) && text(equals) == "=";
        // The dots and dashes of a key that is no text are tokens of their own.
        let begins = significant
            .get(1)
            .filter(|_| is_set && key.kind != Kind::Text)
            .map_or(key.range.start, |first| first.range.start);
        let name = line.get(begins..key.range.end).unwrap_or_default().to_ascii_lowercase();
        if is_option && value.kind == Kind::Text && SECRETS.iter().any(|secret| name.contains(secret)) {
            masked.push_str(line.get(at..value.range.start).unwrap_or_default());
            masked.push_str("'***'");
            at = value.range.end;
        }
    }
    masked.push_str(line.get(at..).unwrap_or_default());
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(variables: &[(&str, &str)], expected: Option<&str>) {
        let found = file(&|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()));
        assert_eq!(found, expected.map(PathBuf::from));
    }

    #[test]
    fn the_environment_says_where() {
        check(&[("HOME", "/home/a")], Some("/home/a/.local/state/flumen/history"));
        check(&[("HOME", "/home/a"), ("XDG_STATE_HOME", "/state")], Some("/state/flumen/history"));
        check(&[("HOME", "/home/a"), ("XDG_STATE_HOME", "state")], Some("/home/a/.local/state/flumen/history"));
        check(&[("HOME", "/home/a"), (VARIABLE, "mine")], Some("mine"));
        for off in ["off", "none", "0", ""] {
            check(&[("HOME", "/home/a"), (VARIABLE, off)], None);
        }
        check(&[], None);
    }

    #[test]
    fn secrets_are_masked() {
        for (line, kept) in [
            ("SET 'ssl.keystore-password' = 'it''s';", "SET 'ssl.keystore-password' = '***';"),
            (
                "CREATE TABLE t (a INT) WITH ('user'='u', 's3.SECRET-key' = 'x', 'b'='c')",
                "CREATE TABLE t (a INT) WITH ('user'='u', 's3.SECRET-key' = '***', 'b'='c')",
            ),
            ("SET s3.secret-key = 'x';", "SET s3.secret-key = '***';"),
            ("SELECT token = 'a', 'b' FROM t -- 'token' = 'x'", "SELECT token = 'a', 'b' FROM t -- 'token' = 'x'"),
            ("SELECT tokens FROM \"password\"", "SELECT tokens FROM \"password\""),
            ("SET 'auth.token' = 'half", "SET 'auth.token' = '***'"),
        ] {
            assert_eq!(masked(line), kept);
        }
    }

    #[test]
    fn a_history_is_bounded_private_and_survives() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state/flumen/history");
        let mut history = open(&path).unwrap();
        let long = "x".repeat(LINE_BYTES_MAX + 1);
        for line in ["SELECT 1;", "SELECT\n  2;", &long, "SET 'password' = 'p';"] {
            history.save(HistoryItem::from_command_line(line)).unwrap();
        }
        for number in 0..LINES - 2 {
            history.save(HistoryItem::from_command_line(format!("SELECT {number} AS n;"))).unwrap();
        }
        history.sync().unwrap();
        drop(history);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let history = open(&path).unwrap();
        let all = history.search(SearchQuery::everything(reedline::SearchDirection::Forward, None)).unwrap();
        assert_eq!(all.len(), LINES);
        // The oldest has left, lines of a statement stay together.
        assert_eq!(all[0].command_line, "SELECT\n  2;");
        assert_eq!(all[1].command_line, "SET 'password' = '***';");
        assert_eq!(all[LINES - 1].command_line, format!("SELECT {} AS n;", LINES - 3));
    }
}
