//! From a path in a table definition to files.
//!
//! A path is a file, a directory (all files below it), or a pattern: `*` and `?` within a name, `**` for any number of
//! directories, `{a,b}` for either, `[a-z]` and `[!a-z]` for a letter of a class or of none. Several paths have a line each.
//! Names that begin with `.` or `_` are not part of a table. The answer is sorted, so that every run sees the same files
//! in the same order.

use std::path::{Path, PathBuf};

use flumen_io::nearest::not_found;
use flumen_io::{FileKind, FileMetadata, FileSystem, Operation};

use crate::error::{ConnectorError, Result};

/// Files of one table at most.
const FILES_MAX: usize = 100_000;
/// How deep directories are searched; a loop of links ends here.
const DEPTH_MAX: usize = 32;
/// Names that an error about a pattern mentions.
const NEIGHBOURS_MAX: usize = 5;
/// Patterns that braces may stand for.
const ALTERNATIVES_MAX: usize = 1_000;

/// A file of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListedFile {
    pub(crate) path: PathBuf,
    pub(crate) metadata: FileMetadata,
}

/// What makes a path a pattern.
const SPECIAL: [char; 4] = ['*', '?', '{', '['];

/// Whether a path is one only if there is a file of that very name.
pub(crate) fn is_pattern(path: &str) -> bool {
    path.contains(SPECIAL) || path.contains('\n')
}

/// The files that `paths` stand for, at least one for each. May block.
pub(crate) fn list_files(files: &dyn FileSystem, paths: &str) -> Result<Vec<ListedFile>> {
    let mut found = Vec::new();
    for path in paths.split('\n') {
        find(files, path, &mut found)?;
    }
    found.sort_unstable();
    found.dedup();
    found.into_iter().map(|path| Ok(ListedFile { metadata: files.metadata(&path)?, path })).collect()
}

fn find(files: &dyn FileSystem, path: &str, all: &mut Vec<PathBuf>) -> Result<()> {
    let literal = Path::new(path);
    let is_pattern = path.contains(SPECIAL);
    let mut found = Vec::new();
    // A name with such letters in it may exist, and then it is meant.
    match files.metadata(literal) {
        Ok(metadata) if metadata.kind == FileKind::File => found.push(literal.to_path_buf()),
        Ok(_) => below(files, literal, 0, &mut found)?,
        // A probe does not look for names that are close; opening does.
        Err(error) if !is_pattern && error.is_not_found() => {
            return Err(files.open(literal).err().unwrap_or(error).into());
        }
        Err(error) if !is_pattern || !error.is_not_found() => return Err(error.into()),
        Err(_) => {
            for alternative in braces(path)? {
                expand(files, &alternative, &mut found)?;
            }
        }
    }
    if found.is_empty() {
        let problem = match is_pattern {
            true => format!("no name fits the pattern; {}", neighbours(files, path)?),
            false => "the directory holds no files (names that begin with '.' or '_' are left out)".to_owned(),
        };
        return Err(ConnectorError::NoFiles { path: path.to_owned(), problem });
    }
    all.append(&mut found);
    Ok(())
}

/// What is in the directory where a pattern begins, for the error that nothing fits; an error if there is none.
fn neighbours(files: &dyn FileSystem, pattern: &str) -> Result<String> {
    let (start, _) = literal_start(pattern, &SPECIAL);
    let directory = if start.as_os_str().is_empty() { Path::new(".") } else { &start };
    let mut entries = match files.list(directory) {
        Ok(entries) => entries,
        Err(error) if error.is_not_found() => return Err(not_found(files, Operation::List, directory).into()),
        Err(error) => return Err(error.into()),
    };
    entries.retain(|entry| !is_hidden(&entry.name));
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let shown = entries.iter().take(NEIGHBOURS_MAX).map(|entry| match entry.kind {
        FileKind::File => format!("'{}'", entry.name),
        FileKind::Directory => format!("'{}/'", entry.name),
    });
    let names = match shown.collect::<Vec<_>>().join(", ") {
        names if names.is_empty() => "nothing".to_owned(),
        names => names,
    };
    let more = if entries.len() > NEIGHBOURS_MAX { ", ..." } else { "" };
    Ok(format!("{} holds {names}{more}", directory.display()))
}

/// The part of a pattern before the first name with one of these letters, and the names from there on.
fn literal_start<'a>(pattern: &'a str, special: &[char]) -> (PathBuf, Vec<&'a str>) {
    let parts: Vec<&str> = pattern.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    let literal = parts.iter().take_while(|p| !p.contains(special)).count();
    let mut start = PathBuf::from(if pattern.starts_with('/') { "/" } else { "" });
    start.extend(&parts[..literal]);
    (start, parts[literal..].to_vec())
}

fn is_hidden(name: &str) -> bool {
    name.starts_with(['.', '_'])
}

fn push(found: &mut Vec<PathBuf>, path: PathBuf) -> Result<()> {
    if found.len() == FILES_MAX {
        let path = path.display().to_string();
        return Err(ConnectorError::NoFiles { path, problem: format!("more than {FILES_MAX} files") });
    }
    found.push(path);
    Ok(())
}

/// All files below a directory.
fn below(files: &dyn FileSystem, directory: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    if depth > DEPTH_MAX {
        return Ok(());
    }
    for entry in files.list(directory)?.into_iter().filter(|e| !is_hidden(&e.name)) {
        match entry.kind {
            FileKind::File => push(found, entry.path)?,
            FileKind::Directory => below(files, &entry.path, depth + 1, found)?,
        }
    }
    Ok(())
}

/// The patterns without braces that one with braces stands for.
fn braces(pattern: &str) -> Result<Vec<String>> {
    let mut open = vec![pattern.to_owned()];
    let mut done = Vec::new();
    while let Some(pattern) = open.pop() {
        // The innermost pair: the last opening brace before the first closing one.
        let pair = pattern.find('}').and_then(|end| pattern[..end].rfind('{').map(|start| (start, end)));
        match pair {
            None => done.push(pattern),
            Some((start, end)) => {
                let (before, after) = (&pattern[..start], &pattern[end + 1..]);
                open.extend(pattern[start + 1..end].split(',').map(|choice| format!("{before}{choice}{after}")));
            }
        }
        if open.len() + done.len() > ALTERNATIVES_MAX {
            let problem = format!("its braces stand for more than {ALTERNATIVES_MAX} patterns");
            return Err(ConnectorError::NoFiles { path: pattern_text(&open, &done), problem });
        }
    }
    Ok(done)
}

fn pattern_text(open: &[String], done: &[String]) -> String {
    open.first().or(done.first()).cloned().unwrap_or_default()
}

/// Files that fit a pattern without braces.
fn expand(files: &dyn FileSystem, pattern: &str, found: &mut Vec<PathBuf>) -> Result<()> {
    let (start, parts) = literal_start(pattern, &['*', '?', '[']);
    walk(files, &start, &parts, 0, found)
}

fn walk(
    files: &dyn FileSystem,
    directory: &Path,
    parts: &[&str],
    depth: usize,
    found: &mut Vec<PathBuf>,
) -> Result<()> {
    if depth > DEPTH_MAX {
        return Ok(());
    }
    let Some((part, rest)) = parts.split_first() else {
        return match files.metadata(directory) {
            Ok(metadata) if metadata.kind == FileKind::File => push(found, directory.to_path_buf()),
            _ => Ok(()),
        };
    };
    if *part == "**" {
        walk(files, directory, rest, depth, found)?;
    }
    let listed = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    // A part of the pattern that leads nowhere fits nothing.
    let Ok(entries) = files.list(listed) else { return Ok(()) };
    for entry in entries {
        let path = directory.join(&entry.name);
        let is_directory = entry.kind == FileKind::Directory;
        match *part {
            "**" if is_directory && !is_hidden(&entry.name) => walk(files, &path, parts, depth + 1, found)?,
            "**" if rest.is_empty() && !is_directory && !is_hidden(&entry.name) => push(found, path)?,
            "**" => {}
            part if !fits(part, &entry.name) => {}
            _ if rest.is_empty() && !is_directory => push(found, path)?,
            _ if is_directory && !rest.is_empty() => walk(files, &path, rest, depth + 1, found)?,
            _ => {}
        }
    }
    Ok(())
}

/// Whether a letter fits the pattern's next one, which is not a star, and how many letters of the pattern that takes.
/// A bracket that is not closed is a letter.
fn fits_one(pattern: &[char], letter: char) -> Option<usize> {
    match pattern.first()? {
        '?' => Some(1),
        '[' => {
            // A closing bracket that comes first is one of the class.
            let (negated, start) = match pattern.get(1) {
                Some('!' | '^') => (true, 2),
                _ => (false, 1),
            };
            let Some(length) = pattern.iter().skip(start + 1).position(|c| *c == ']') else {
                return (letter == '[').then_some(1);
            };
            let mut class = &pattern[start..start + 1 + length];
            let mut is_in = false;
            while let Some(first) = class.first() {
                match class {
                    [first, '-', last, rest @ ..] => {
                        is_in |= (*first..=*last).contains(&letter);
                        class = rest;
                    }
                    _ => {
                        is_in |= *first == letter;
                        class = &class[1..];
                    }
                }
            }
            (is_in != negated).then_some(start + 2 + length)
        }
        c => (*c == letter).then_some(1),
    }
}

/// Whether a name fits a pattern of `*`, `?` and `[...]`. A leading `.` or `_` has to be written.
fn fits(pattern: &str, name: &str) -> bool {
    if is_hidden(name) && !is_hidden(pattern) {
        return false;
    }
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where the last star was, and how much of the name it had taken.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            _ => match (fits_one(&pattern[p..], name[n]), star) {
                (Some(length), _) => {
                    p += length;
                    n += 1;
                }
                (None, None) => return false,
                (None, Some((at, taken))) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    n = taken + 1;
                }
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use flumen_io::{SimulatedClock, SimulatedFileSystem};
    use std::sync::Arc;

    fn check(path: &str, expected: &[&str]) {
        let files = SimulatedFileSystem::new(1, Arc::new(SimulatedClock::new()));
        for name in [
            "/d/a.csv",
            "/d/b.csv",
            "/d/b.json",
            "/d/.hidden.csv",
            "/d/_tmp.csv",
            "/d/x/c.csv",
            "/d/x/y/d.csv",
            "/d/_t/e.csv",
            "/e/a{1}.csv",
        ] {
            files.create_directory_all(Path::new(name).parent().unwrap()).unwrap();
            files.create(Path::new(name)).unwrap().finish().unwrap();
        }
        files.create_directory_all(Path::new("/empty")).unwrap();
        let found = match list_files(&files, path) {
            Ok(found) => found.iter().map(|f| f.path.display().to_string()).collect(),
            Err(error) => vec![error.to_string()],
        };
        assert_eq!(found, expected, "{path}");
    }

    #[test]
    fn paths_patterns_and_directories() {
        check("/d/a.csv", &["/d/a.csv"]);
        check("/d", &["/d/a.csv", "/d/b.csv", "/d/b.json", "/d/x/c.csv", "/d/x/y/d.csv"]);
        check("/d/*.csv", &["/d/a.csv", "/d/b.csv"]);
        check("/d/**/*.csv", &["/d/a.csv", "/d/b.csv", "/d/x/c.csv", "/d/x/y/d.csv"]);
        check("/d/x/**", &["/d/x/c.csv", "/d/x/y/d.csv"]);
        check("/d/*/c.csv", &["/d/x/c.csv"]);
        check("/d/?.{csv,json}", &["/d/a.csv", "/d/b.csv", "/d/b.json"]);
        check("/{d,e}/a*", &["/d/a.csv", "/e/a{1}.csv"]);
        check("/e/a{1}.csv", &["/e/a{1}.csv"]);
        check("/d/{a,b,{c,x/c}}.csv", &["/d/a.csv", "/d/b.csv", "/d/x/c.csv"]);
        check("/d/_*", &["/d/_tmp.csv"]);
        check("/d/[a-c].csv", &["/d/a.csv", "/d/b.csv"]);
        check("/d/[!a].csv\n/d/x/*", &["/d/b.csv", "/d/x/c.csv"]);
        check("/d/*.csv\n/d/a.csv", &["/d/a.csv", "/d/b.csv"]);
    }

    #[test]
    fn what_is_not_there_is_named() {
        check(
            "/d/*.orc",
            &["no file matches '/d/*.orc': no name fits the pattern; /d holds 'a.csv', 'b.csv', 'b.json', 'x/'"],
        );
        check(
            "/d/x/*/*.csv/e",
            &["no file matches '/d/x/*/*.csv/e': no name fits the pattern; /d/x holds 'c.csv', 'y/'"],
        );
        check("/dd/*.csv", &["cannot list /dd: no such file or directory; nearest in /: 'd', 'e'"]);
        check("/d/aa.csv", &["cannot open /d/aa.csv: no such file or directory; nearest in /d: 'a.csv', 'b.csv'"]);
        check(
            "/empty",
            &["no file matches '/empty': the directory holds no files (names that begin with '.' or '_' are left out)"],
        );
        check("/empty/*", &["no file matches '/empty/*': no name fits the pattern; /empty holds nothing"]);
    }

    #[test]
    fn stars_take_any_run() {
        for (pattern, name, expected) in [
            ("*", "anything", true),
            ("a*b*c", "axxbyybc", true),
            ("a*b*c", "axxbyyb", false),
            ("**x", "aax", true),
            ("?", "ü", true),
            ("??", "a", false),
            ("[a-c]x", "bx", true),
            ("[a-c]x", "dx", false),
            ("[!a-c]*", "dx", true),
            ("[^a-c]*", "bx", false),
            ("*[0-9]", "part7", true),
            ("*[0-9]", "party", false),
            ("[]a]", "]", true),
            ("[a-]", "-", true),
            ("[abc", "[abc", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}
