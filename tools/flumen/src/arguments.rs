//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// What the program is asked to do.
#[derive(Debug, Parser)]
#[command(
    name = "flumen",
    version,
    about = "SQL over files and streams, in one process",
    after_help = "Examples:\n  flumen -c \"SELECT 1\"\n  flumen -c \"FROM 'orders.parquet' LIMIT 3\" --format json\n  echo \"SELECT count(*) FROM 'data/*.parquet'\" | flumen\n  flumen demo"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run SQL (this verb may be left out)
    #[command(
        after_help = "Example:\n  flumen sql -c \"SELECT l_returnflag, count(*) FROM 'lineitem.parquet' GROUP BY 1\""
    )]
    Sql(SqlArguments),
    /// Make a little TPC-H data, query it, then kill a stream and resume it
    Demo(DemoArguments),
    /// Run a benchmark whose answers are checked
    #[command(subcommand, after_help = "Example:\n  flumen bench tpch --scale 1 --threads 1,2 --runs 5")]
    Bench(Benchmark),
    /// List the settings with their defaults, or where their values come from
    Config {
        /// Only settings that are not at their default
        #[arg(long)]
        changed: bool,
        /// As a Markdown reference page
        #[arg(long)]
        markdown: bool,
    },
}

/// Settings that every verb takes.
#[derive(Debug, Default, Args, Clone)]
pub(crate) struct Settings {
    /// Set an option, as in --set parallelism.default=2; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Read options from this TOML file (default: flumen.toml if there is one)
    #[arg(long, value_name = "FILE")]
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
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
    /// Go on after a statement that failed
    #[arg(long)]
    pub(crate) keep_going: bool,
    /// No timing, no progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Rows of a box at most; 0 means all
    #[arg(long, default_value_t = 40, value_name = "N")]
    pub(crate) max_rows: usize,
    /// Settings.
    #[command(flatten)]
    pub(crate) settings: Settings,
}

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
    Tpch(TpchArguments),
    /// Answer queries from standard input, one JSON string a line, with one JSON object a line: times and rows
    #[command(after_help = "Example:\n  echo '\"SELECT 1\"' | flumen bench queries --threads 1")]
    Queries(QueriesArguments),
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

/// Arguments of `flumen bench tpch`.
#[derive(Debug, Args)]
pub(crate) struct TpchArguments {
    /// Scale factor; all answers are checked at 0.01, those of queries 1, 3, 6, 12 and 18 also at 0.1 and 1
    #[arg(long, default_value_t = 1.0)]
    pub(crate) scale: f64,
    /// Directory of the tables; they are made there if they are missing
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Numbers of threads to run with
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    pub(crate) threads: Vec<u32>,
    /// Queries to run (default: all)
    #[arg(long, value_delimiter = ',')]
    pub(crate) queries: Vec<u32>,
    /// Hot runs after a first, cold one
    #[arg(long, default_value_t = 5)]
    pub(crate) runs: usize,
    /// Write one JSON object a line instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    /// Settings.
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table with borders
    Box,
    /// Comma-separated values with a header
    Csv,
    /// One JSON object a row, in an array
    Json,
    /// Nothing; for timing
    None,
}

/// Puts the verb `sql` in front when none is named.
pub(crate) fn with_verb(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.collect();
    let verbs = ["sql", "demo", "bench", "config", "help"];
    let answers = ["-h", "--help", "-V", "--version"];
    let named = arguments.get(1).and_then(|a| a.to_str()).is_some_and(|a| verbs.contains(&a) || answers.contains(&a));
    if !named {
        arguments.insert(1.min(arguments.len()), "sql".into());
    }
    arguments
}
