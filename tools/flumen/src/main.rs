//! The `flumen` binary: SQL over files and streams, embedded in this process.
//!
//! Data goes to stdout; progress, timing, warnings and errors to stderr. Exit codes: 0 done, 1 a statement failed, 2 the
//! command line is wrong, 130 interrupted. A closed pipe ends the program without a word.
//!
//! | module | holds |
//! |---|---|
//! | [`arguments`], [`run`] | the command line, and what it asks for |
//! | [`console`] | one statement after another: rows, footers, errors |
//! | [`output`] | the formats, and where they go |
//! | [`shell`] | the shell |
//! | [`terminal`], [`progress`], [`interrupt`], [`say`] | what the terminal can do, the line on it, Ctrl-C, words to people |
//! | [`bench`], [`demo`] | those verbs |

mod arguments;
mod bench;
mod console;
mod demo;
mod interrupt;
mod output;
mod progress;
mod run;
mod say;
mod shell;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Some(problem) = std::env::args().nth(1).as_deref().and_then(arguments::mistyped_verb) {
        say::error(&problem);
        return ExitCode::from(2);
    }
    let arguments = match arguments::Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are answers, not errors.
            let code = if error.use_stderr() { 2 } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_env("FLUMEN_LOG").unwrap_or_else(|_| "error".into()))
        .with_writer(std::io::stderr)
        .init();
    match run::run(arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) if run::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            say::error(&format!("{error:#}"));
            ExitCode::from(if error.is::<run::UsageError>() { 2 } else { 1 })
        }
    }
}
