//! The names of a session, quickly enough for someone who waits for a key to have its effect.
//!
//! Tables, functions and settings are in memory. Columns may need files to be opened, which takes as long as it takes: a
//! thread does it, and is waited for no longer than [`PATIENCE`]. What it finds later is there when it is asked for again.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use flumen_cluster::Names as CatalogNames;

use super::complete::Names;

/// How long someone waits for the columns of a table.
const PATIENCE: Duration = Duration::from_millis(40);

/// Entries of a directory that are looked at.
const FILES_MAX: usize = 10_000;

/// Names and types.
type Columns = Vec<(String, String)>;

/// Asks a catalog and the file system.
pub(super) struct SessionNames {
    names: CatalogNames,
    functions: Option<Vec<(String, bool)>>,
    settings: Option<Vec<(String, String)>>,
    /// The thread that finds columns; started with the first question.
    finder: Option<Finder>,
    /// Columns of files that have been found.
    files: HashMap<String, Columns>,
}

struct Finder {
    questions: Sender<String>,
    answers: Receiver<(String, Columns)>,
    /// Questions without an answer yet.
    open: HashSet<String>,
}

impl Finder {
    /// Ends with the sender of its questions.
    fn start(names: CatalogNames) -> Option<Self> {
        let (questions, asked) = channel::<String>();
        let (answer, answers) = channel();
        let find = move || {
            for table in asked {
                let columns = names.columns(&table).unwrap_or_default();
                if answer.send((table, columns)).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("flumen-names".to_owned()).spawn(find).ok()?;
        Some(Self { questions, answers, open: HashSet::new() })
    }
}

impl SessionNames {
    pub(super) fn new(names: CatalogNames) -> Self {
        Self { names, functions: None, settings: None, finder: None, files: HashMap::new() }
    }
}

impl Names for SessionNames {
    fn tables(&mut self) -> Vec<String> {
        self.names.tables()
    }

    #[allow(clippy::disallowed_methods, reason = "the time of someone who waits, not the engine's")]
    fn columns(&mut self, table: &str) -> Columns {
        if let Some(known) = self.files.get(table) {
            return known.clone();
        }
        if self.finder.is_none() {
            self.finder = Finder::start(self.names.clone());
        }
        let Some(finder) = &mut self.finder else { return Vec::new() };
        if finder.open.insert(table.to_owned()) && finder.questions.send(table.to_owned()).is_err() {
            return Vec::new();
        }
        let deadline = Instant::now() + PATIENCE;
        while let Ok((found, columns)) = finder.answers.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            finder.open.remove(&found);
            let is_asked = found == table;
            // Tables of the catalog are asked for anew each time: they come and go.
            let is_file = found.contains(['.', '/']);
            if is_asked {
                if is_file && !columns.is_empty() {
                    self.files.insert(found, columns.clone());
                }
                return columns;
            }
            if is_file && !columns.is_empty() {
                self.files.insert(found, columns);
            }
        }
        Vec::new()
    }

    fn functions(&mut self) -> &[(String, bool)] {
        self.functions.get_or_insert_with(|| {
            let (scalar, aggregates) = flumen_cluster::function_names();
            let all = scalar.into_iter().map(|name| (name, false));
            all.chain(aggregates.into_iter().map(|name| (name, true))).collect()
        })
    }

    fn settings(&mut self) -> &[(String, String)] {
        self.settings.get_or_insert_with(|| {
            let Ok(configuration) = flumen_cluster::configuration() else { return Vec::new() };
            let options = configuration.registry().iter();
            options.map(|option| (option.key().to_owned(), option.description().to_owned())).collect()
        })
    }

    fn files(&mut self, directory: &str) -> Vec<(String, bool)> {
        let place = if directory.is_empty() { "." } else { directory };
        let entries = std::fs::read_dir(place).into_iter().flatten().flatten().take(FILES_MAX);
        let is_directory = |entry: &std::fs::DirEntry| match entry.file_type() {
            // Behind a link may be one.
            Ok(kind) if kind.is_symlink() => entry.path().is_dir(),
            Ok(kind) => kind.is_dir(),
            Err(_) => false,
        };
        let mut files: Vec<(String, bool)> =
            entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, is_directory(&entry)))).collect();
        files.sort_unstable();
        files
    }
}

#[cfg(test)]
mod tests {
    use flumen_cluster::Session;

    use super::*;

    /// Asks until there is an answer.
    fn patiently(names: &mut SessionNames, table: &str) -> Columns {
        loop {
            let columns = names.columns(table);
            if !columns.is_empty() {
                return columns;
            }
        }
    }

    #[test]
    fn a_session_knows_its_tables_files_and_settings() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("trips.csv");
        std::fs::write(&file, "id,tip\n1,2.5\n").unwrap();
        std::fs::create_dir(directory.path().join("more")).unwrap();
        let mut session = Session::open(flumen_cluster::configuration().unwrap()).unwrap();
        let create = "CREATE TABLE t (a BIGINT, b VARCHAR) WITH ('connector' = 'datagen')";
        let statement = session.parse(create).unwrap().pop().unwrap();
        session.execute(&statement).unwrap();
        let mut names = SessionNames::new(session.names());
        let pair = |name: &str, data_type: &str| (name.to_owned(), data_type.to_owned());
        assert_eq!(names.tables(), ["t"]);
        assert_eq!(patiently(&mut names, "T"), [pair("a", "BIGINT"), pair("b", "VARCHAR")]);
        let path = file.to_str().unwrap();
        assert_eq!(patiently(&mut names, path), [pair("id", "BIGINT"), pair("tip", "DOUBLE")]);
        assert!(names.columns("nowhere.csv").is_empty() && names.columns("u").is_empty());
        // A file is looked at once, a table each time.
        std::fs::remove_file(&file).unwrap();
        assert_eq!(names.columns(path).len(), 2);
        let statement = session.parse("DROP TABLE t").unwrap().pop().unwrap();
        session.execute(&statement).unwrap();
        assert!(names.tables().is_empty() && names.columns("t").is_empty());
        assert!(names.functions().contains(&("upper".to_owned(), false)));
        assert!(names.settings().iter().any(|(key, _)| key == "parallelism.default"));
        assert_eq!(names.files(&format!("{}/", directory.path().display())), [("more".to_owned(), true)]);
        assert!(names.files("/nowhere").is_empty());
    }
}
