//! Whole sessions through scripted lines. Results go to files, which say what happened.

use super::*;
use crate::console::View;
use crate::terminal::ColorChoice;

/// Lines that were written before.
struct Script(std::vec::IntoIter<Line>);

impl LineEditor for Script {
    fn read(&mut self) -> io::Result<Line> {
        Ok(self.0.next().unwrap_or(Line::End))
    }
}

struct Session {
    directory: tempfile::TempDir,
    shell: Shell,
}

impl Session {
    fn new() -> Self {
        let view = View {
            format: None,
            rows_max: None,
            width_max: None,
            color: ColorChoice::Never,
            timer: false,
            pager: false,
            quiet: true,
        };
        let console = Console::open(flumen_cluster::configuration().unwrap(), view).unwrap();
        console.interrupts().in_shell(None);
        let shell = Shell { console, unexpanded: None, reads: 0 };
        Self { directory: tempfile::tempdir().unwrap(), shell }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// Runs lines, in which `@` stands for the directory.
    fn run(&mut self, lines: &[&str]) {
        let directory = self.path("");
        let lines: Vec<Line> = lines.iter().map(|line| Line::Text(line.replace('@', &directory))).collect();
        self.shell.run(&mut Script(lines.into_iter())).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }
}

#[test]
fn results_go_where_they_are_sent() {
    let mut session = Session::new();
    session.run(&[
        ".output @one.csv",
        "SELECT 1 AS a;",
        "SELECT 2 AS b; SELECT 3 AS c;",
        ".output @two.json",
        "SELECT 4 AS d;",
        ".output",
    ]);
    assert_eq!(session.read("one.csv"), "a\n1\nb\n2\nc\n3\n");
    assert_eq!(session.read("two.json"), "[\n{\"d\":4}\n]\n");
}

#[test]
fn errors_and_interrupts_keep_it_alive() {
    let mut session = Session::new();
    session.run(&[".output @out.csv", "SELECT nope;", "SELEC 1;", ".tabels", ".read @none.sql", ".format jsn"]);
    assert!(!session.shell.console.interrupts().interrupt());
    session.run(&["SELECT 1 AS a;"]);
    session.run(&["SELECT 1 / (x - 1) AS q FROM (VALUES (1)) AS t(x);", "SELECT 2 AS a;", ".output"]);
    assert_eq!(session.read("out.csv"), "a\n1\na\n2\n");
}

#[test]
fn leaving_is_leaving() {
    for leave in [".quit", "\\q", "exit", "quit;"] {
        let mut session = Session::new();
        session.run(&[".output @out.csv", leave, "SELECT 1 AS a;"]);
        session.run(&[".output"]);
        assert_eq!(session.read("out.csv"), "", "{leave}");
    }
}

#[test]
fn commands_show_what_there_is() {
    let mut session = Session::new();
    std::fs::write(session.path("file.csv"), "id,tip\n1,2.5\n").unwrap();
    session.run(&[
        "CREATE TABLE orders (id BIGINT, price DOUBLE) WITH ('connector' = 'datagen');",
        ".output @out.csv",
        ".tables",
        "\\d orders",
        ".schema @file.csv",
        "\\df upper",
        "\\df stddev_pop",
        ".output",
        ".output @settings.csv",
        ".settings",
        ".output",
    ]);
    let columns = "name,type,null,watermark\nid,BIGINT,YES,\"\"\n";
    let expected = format!(
        "table\norders\n{columns}price,DOUBLE,YES,\"\"\n{columns}tip,DOUBLE,YES,\"\"\n\
         function,kind\nupper,function\nfunction,kind\nstddev_pop,aggregate\n"
    );
    assert_eq!(session.read("out.csv"), expected);
    assert!(session.read("settings.csv").starts_with("key,value,origin\n"));
    assert!(session.read("settings.csv").contains("\nparallelism.default,0,"));
}

#[test]
fn formats_can_be_changed_and_changed_back() {
    let mut session = Session::new();
    session.run(&[
        ".output @out.txt",
        "SELECT 1 AS a;",
        ".format jsonl",
        "SELECT 2 AS a;",
        "\\x",
        "SELECT 3 AS a;",
        "\\x",
        "SELECT 4 AS a;",
        ".output",
    ]);
    let written = session.read("out.txt");
    let table = "+---------+\n| a       |\n| INTEGER |\n+---------+\n|       1 |\n+---------+\n";
    assert!(written.starts_with(&format!("{table}{{\"a\":2}}\n")), "{written}");
    assert!(written.contains(" row 1 ") && written.ends_with("3\n{\"a\":4}\n"), "{written}");
}

#[test]
fn files_are_read_up_to_their_first_error() {
    let mut session = Session::new();
    let text = ".format jsonl\n-- two lines\nSELECT\n 1 AS a;\n.read @inner.sql\nSELECT nope;\nSELECT 3 AS a;\n";
    std::fs::write(session.path("outer.sql"), text.replace('@', &session.path(""))).unwrap();
    std::fs::write(session.path("inner.sql"), "SELECT 2 AS a").unwrap();
    std::fs::write(session.path("endless.sql"), format!(".read {}", session.path("endless.sql"))).unwrap();
    session.run(&[".output @out.json", ".read @outer.sql", ".read @endless.sql", "SELECT 4 AS a;", ".output"]);
    assert_eq!(session.read("out.json"), "{\"a\":1}\n{\"a\":2}\n{\"a\":4}\n");
}

#[test]
fn a_parquet_file_holds_one_result() {
    let mut session = Session::new();
    session.run(&[".output @out.parquet", "SELECT 1 AS a;", "SELECT 2 AS a;", ".output"]);
    session.run(&[".output @read.csv", "SELECT * FROM '@out.parquet';", ".output"]);
    assert_eq!(session.read("read.csv"), "a\n1\n");
}

#[test]
fn an_interrupt_stops_whatever_runs() {
    let mut session = Session::new();
    session.run(&["CREATE TABLE e (v BIGINT) WITH ('connector' = 'datagen');", ".output @out.csv"]);
    let endless = [
        "SELECT v FROM e;",
        "SELECT count(*) FROM e;",
        "EXPLAIN ANALYZE SELECT v FROM e;",
        "CREATE TABLE b (v BIGINT) WITH ('connector' = 'blackhole'); INSERT INTO b SELECT v FROM e; SELECT 'not reached';",
    ];
    for sql in endless {
        let interrupts = session.shell.console.interrupts().clone();
        let process = Arc::clone(session.shell.console.process());
        let pause = || std::thread::sleep(std::time::Duration::from_millis(1));
        while !process.jobs().is_empty() {
            pause();
        }
        let presser = std::thread::spawn(move || {
            while process.jobs().is_empty() {
                pause();
            }
            assert!(!interrupts.interrupt());
        });
        assert_eq!(session.shell.line(sql).unwrap(), Next::Line(Ended::Interrupted), "{sql}");
        presser.join().unwrap();
    }
    // What an interrupted statement had written is not kept.
    session.run(&["SELECT 1 AS a;", ".output"]);
    assert_eq!(session.read("out.csv"), "a\n1\n");
}
