//! The command line.

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::bench::parse_rows;
use crate::output::Format;
use crate::terminal::ColorChoice;

/// What the program is asked to do.
#[derive(Debug, Parser)]
#[command(
    name = "flumen",
    version,
    about = "SQL over files and streams, in one process; alone on a terminal it opens a shell",
    args_conflicts_with_subcommands = true,
    max_term_width = 100,
    after_help = "Examples:\n  flumen -c \"FROM 'orders.parquet' LIMIT 3\" --format json\n  flumen \"SELECT count(*) FROM 'data/*.parquet'\" -o count.csv\n  flumen demo",
    after_long_help = LONG_HELP
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
    /// What `flumen sql` takes, without the verb.
    #[command(flatten)]
    pub(crate) sql: SqlArguments,
}

const LONG_HELP: &str = "\
Examples:
  flumen                                                  a shell; .help in it lists its commands
  flumen -c \"FROM 'orders.parquet' LIMIT 3\" --format json
  flumen \"SELECT count(*) FROM 'data/*.parquet'\" -o count.csv
  echo \"SELECT count(*) FROM 'data/*.parquet'\" | flumen
  flumen -f stream.sql --set parallelism.default=4
  flumen demo

Exit codes:
  0 done, 1 a statement failed, 2 the command line is wrong, 130 interrupted

Environment:
  FLUMEN_HISTORY     where the shell keeps its history; `off` for nowhere
                     (default: flumen/history in $XDG_STATE_HOME or ~/.local/state)
  PAGER              what shows long results after .pager on
  FLUMEN_LOG         which log lines go to standard error, such as info or flumen_control=debug
  FLUMEN_<OPTION>    a setting, as FLUMEN_PARALLELISM__DEFAULT for parallelism.default
  COLUMNS, NO_COLOR, CLICOLOR_FORCE, TERM, LC_ALL, LC_CTYPE, LANG    what the terminal shows";

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run SQL, or open the shell (this verb may be left out)
    #[command(
        after_help = "Example:\n  flumen sql -c \"SELECT l_returnflag, count(*) FROM 'lineitem.parquet' GROUP BY 1\""
    )]
    Sql(SqlArguments),
    /// Make a little TPC-H data, query it, then kill a stream and resume it
    #[command(after_help = "Example:\n  flumen demo --scale 0.01 --dir demo")]
    Demo(DemoArguments),
    /// Run a benchmark whose answers are checked
    #[command(subcommand, after_help = "Example:\n  flumen bench tpch --scale 1 --threads 1,2 --runs 5")]
    Bench(Benchmark),
    /// List the settings with their defaults, or where their values come from
    #[command(after_help = "Example:\n  flumen config --changed --set parallelism.default=2")]
    Config(ConfigArguments),
    /// Write a script that completes this command's words in a shell
    #[command(after_help = "Example:\n  flumen completions bash > ~/.local/share/bash-completion/completions/flumen")]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: CompletionShell,
    },
}

/// Shells whose words can be completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompletionShell {
    Bash,
    Zsh,
    Fish,
}

/// Arguments of `flumen config`.
#[derive(Debug, Args)]
pub(crate) struct ConfigArguments {
    /// Only settings that are not at their default
    #[arg(long)]
    pub(crate) changed: bool,
    /// As a Markdown reference page
    #[arg(long)]
    pub(crate) markdown: bool,
    /// Settings.
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// Settings that every verb takes.
#[derive(Debug, Default, Args, Clone)]
pub(crate) struct Settings {
    /// Set an option, as in --set parallelism.default=2; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Read options from this TOML file [default: flumen.toml if there is one]
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(crate) config: Option<PathBuf>,
}

/// Arguments of `flumen sql`.
#[derive(Debug, Args)]
pub(crate) struct SqlArguments {
    /// Run these statements; may be repeated
    #[arg(short = 'c', long = "command", value_name = "SQL")]
    pub(crate) commands: Vec<String>,
    /// Run the statements in this file; - is standard input
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Statements, as -c
    #[arg(value_name = "SQL")]
    pub(crate) statements: Vec<String>,
    /// How rows are written: a box on a terminal, csv otherwise
    #[arg(long, value_enum, value_name = "FORMAT", hide_possible_values = true, help = FORMAT_HELP)]
    pub(crate) format: Option<Format>,
    /// Write results to this file, in the format of its suffix; it is there whole or not at all
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Go on after a statement that failed
    #[arg(long, hide_short_help = true)]
    pub(crate) keep_going: bool,
    /// No timing, no progress, no banner
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Rows of a box at most, the first and the last ones; 0 means all [default: 40 on a terminal]
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub(crate) max_rows: Option<usize>,
    /// Width of a box at most; 0 means any [default: the terminal's]
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub(crate) max_width: Option<usize>,
    /// Whether to use colours
    #[arg(long, value_enum, value_name = "WHEN", default_value_t, hide_short_help = true)]
    pub(crate) color: ColorChoice,
    /// Settings.
    #[command(flatten)]
    pub(crate) settings: Settings,
}

const FORMAT_HELP: &str = "How rows are written [default: box on a terminal, else csv]: box, table, markdown, csv, tsv, \
                           json, jsonl, vertical, html, arrow, parquet, none";

/// Arguments of `flumen demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// TPC-H scale factor of the data
    #[arg(long, default_value_t = 0.1)]
    pub(crate) scale: f64,
    /// Keep the data and the stream's output here instead of a temporary directory
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Settings.
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// The benchmarks.
#[derive(Debug, Subcommand)]
pub(crate) enum Benchmark {
    /// TPC-H queries over Parquet files
    #[command(after_help = "Example:\n  flumen bench tpch --scale 1 --threads 1,2 --out results")]
    Tpch {
        /// Scale factor; all answers are checked at 0.01, most at 1, some at 0.1
        #[arg(long, default_value_t = 1.0)]
        scale: f64,
        /// What all suites take.
        #[command(flatten)]
        suite: SuiteArguments,
    },
    /// Grouping and joining: the questions of db-benchmark
    #[command(after_help = "Example:\n  flumen bench h2o --rows 1e7 --queries g1,g5,j5 --out results")]
    H2o {
        /// Rows of the tables; answers are checked at 1e5, 1e6 and 1e7
        #[arg(long, value_name = "N", default_value = "1e6", value_parser = parse_rows)]
        rows: u64,
        /// What all suites take.
        #[command(flatten)]
        suite: SuiteArguments,
    },
    /// The queries of ClickBench over a table that resembles its own
    #[command(after_help = "Example:\n  flumen bench clickbench --rows 1e6 --threads 2")]
    Clickbench {
        /// Rows of the table; answers are checked at 1e5
        #[arg(long, value_name = "N", default_value = "1e6", value_parser = parse_rows)]
        rows: u64,
        /// What all suites take.
        #[command(flatten)]
        suite: SuiteArguments,
    },
    /// Ratios of two results of one suite; exit code 1 if anything is slower by more than noise
    #[command(after_help = "Example:\n  flumen bench compare before/h2o-1e6.json after/h2o-1e6.json --by cpu")]
    Compare(CompareArguments),
    /// Answer queries from standard input, one JSON string a line, with one JSON object a line: times and rows
    #[command(after_help = "Example:\n  echo '\"SELECT 1\"' | flumen bench queries --threads 1")]
    Queries(QueriesArguments),
}

/// Arguments of `flumen bench compare`.
#[derive(Debug, Args)]
pub(crate) struct CompareArguments {
    /// The JSON of the one, as --out writes it
    #[arg(value_name = "A.json")]
    pub(crate) before: PathBuf,
    /// The JSON of the other
    #[arg(value_name = "B.json")]
    pub(crate) after: PathBuf,
    /// What to compare
    #[arg(long, value_enum, default_value_t)]
    pub(crate) by: Measure,
}

/// What a query is measured by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Measure {
    /// The time that somebody waits
    #[default]
    Wall,
    /// The time that processors are busy
    Cpu,
}

/// Arguments of `flumen bench queries`.
#[derive(Debug, Args)]
pub(crate) struct QueriesArguments {
    /// Number of threads to run with
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: u32,
    /// Settings.
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// Arguments of the suites of `flumen bench`.
#[derive(Debug, Args)]
pub(crate) struct SuiteArguments {
    /// Directory of the tables; they are made there if they are missing
    /// [default: flumen/bench in $XDG_CACHE_HOME or ~/.cache]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Numbers of threads to run with
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    pub(crate) threads: Vec<u32>,
    /// Queries to run, such as 1,3 or g1,j5 (default: all)
    #[arg(long, value_delimiter = ',')]
    pub(crate) queries: Vec<String>,
    /// Hot runs after a first, cold one
    #[arg(long, default_value_t = 5)]
    pub(crate) runs: usize,
    /// Write one JSON object a line instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    /// Write the results to this directory: JSON, a Markdown table, and a page of HTML with charts
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Make the tables and run nothing
    #[arg(long)]
    pub(crate) generate_only: bool,
    /// Print names and texts of the queries, one JSON array a line, and run nothing
    #[arg(long)]
    pub(crate) print: bool,
    /// Settings.
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// Why the first argument is no verb, if it looks as if it was meant to be one.
///
/// One word is never a statement, except for those that are.
pub(crate) fn mistyped_verb(first: &str) -> Option<String> {
    const STATEMENTS: [&str; 2] = ["set", "reset"];
    let is_word = !first.is_empty() && first.chars().all(|c| c.is_ascii_alphabetic() || c == '-' || c == '_');
    let command = Arguments::command();
    let verbs: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).chain(["help"]).collect();
    if first.starts_with('-') || !is_word || STATEMENTS.contains(&first.to_ascii_lowercase().as_str()) {
        return None;
    }
    if verbs.contains(&first) {
        return None;
    }
    let hint = match nearest(first, verbs.iter().copied()) {
        Some(verb) => format!("did you mean {verb:?}?"),
        None => format!("the verbs are {}; SQL is given with -c", verbs.join(", ")),
    };
    Some(format!("there is no verb {first:?}\n  hint: {hint}"))
}

/// The word that is most like this one, if there is one that is like it.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let close = known.map(|known| (strsim::damerau_levenshtein(&word, known), known));
    close.filter(|(distance, known)| *distance <= 2 && *distance < known.len()).min().map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn short_help_is_one_screen_with_three_examples() {
        let help = Arguments::command().render_help().to_string();
        assert!(help.lines().count() <= 34, "{} lines:\n{help}", help.lines().count());
        let (_, examples) = help.split_once("Examples:\n").unwrap();
        assert_eq!(examples.lines().filter(|line| line.starts_with("  flumen")).count(), 3, "{help}");
    }

    #[test]
    fn help_names_every_format() {
        for format in Format::value_variants() {
            assert!(FORMAT_HELP.contains(&format.name()), "{}", format.name());
        }
    }

    #[test]
    fn help_of_every_verb_has_an_example() {
        for verb in Arguments::command().get_subcommands_mut().filter(|verb| verb.get_name() != "help") {
            let help = verb.render_help().to_string();
            assert!(help.contains(&format!("Example:\n  flumen {}", verb.get_name())), "{help}");
        }
    }

    #[test]
    fn mistyped_verbs_are_told_from_statements() {
        let hint = |word: &str| mistyped_verb(word).unwrap_or_default();
        assert!(hint("confg").contains("did you mean \"config\"?"));
        assert!(hint("completion").contains("\"completions\""));
        assert!(hint("jobs").contains("the verbs are sql, demo, "));
        for statement in ["SELECT 1", "SET", "config", "-c", "help", "", "FROM 'a.csv'"] {
            assert_eq!(mistyped_verb(statement), None, "{statement}");
        }
    }

    #[test]
    fn statements_need_no_verb() {
        let parse = |words: &[&str]| Arguments::try_parse_from([&["flumen"][..], words].concat()).unwrap();
        assert_eq!(parse(&["SELECT 1", "-q"]).sql.statements, ["SELECT 1"]);
        assert_eq!(parse(&["-c", "SELECT 1", "-c", "SELECT 2"]).sql.commands.len(), 2);
        assert!(matches!(parse(&["sql", "-q"]).verb, Some(Verb::Sql(sql)) if sql.quiet));
        assert!(matches!(parse(&["config", "--set", "a=b"]).verb, Some(Verb::Config(c)) if c.settings.set == ["a=b"]));
    }
}
