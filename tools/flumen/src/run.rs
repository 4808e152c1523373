//! What the command line asks for.

use std::io::{IsTerminal, Read, Write};

use anyhow::Context;
use clap::CommandFactory;
use flumen_config::Configuration;

use crate::arguments::{Arguments, CompletionShell, ConfigArguments, Settings, SqlArguments, Verb};
use crate::console::{Console, Ended, View};
use crate::interrupt::INTERRUPTED;
use crate::output::{Destination, Format};
use crate::terminal::Terminal;
use crate::{say, shell};

/// Whether the error is that nobody reads our output any more.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Does what the command line asks; the exit code.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<u8> {
    match arguments.verb {
        None => sql(&arguments.sql),
        Some(Verb::Sql(arguments)) => sql(&arguments),
        Some(Verb::Demo(arguments)) => crate::demo::demo(&arguments),
        Some(Verb::Bench(benchmark)) => crate::bench::run(&benchmark),
        Some(Verb::Config(arguments)) => config(&arguments),
        Some(Verb::Completions { shell }) => completions(shell),
    }
}

/// The command line, or what it names, is wrong.
#[derive(Debug)]
pub(crate) struct UsageError(anyhow::Error);

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for UsageError {}

/// The configuration from file, environment and flags. Errors are [`UsageError`]s.
pub(crate) fn configuration(settings: &Settings) -> anyhow::Result<Configuration> {
    Ok(configured(settings).map_err(UsageError)?)
}

fn configured(settings: &Settings) -> anyhow::Result<Configuration> {
    let mut configuration = flumen_cluster::configuration()?;
    let default = std::path::Path::new("flumen.toml");
    if let Some(path) = settings.config.as_deref().or_else(|| default.exists().then_some(default)) {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        configuration.apply_toml(&text, path)?;
    }
    // The log filter and the shell's history are this binary's, not the engine's.
    configuration.apply_environment(std::env::vars(), &["FLUMEN_LOG", shell::HISTORY_VARIABLE])?;
    configuration.apply_flags(&settings.set)?;
    Ok(configuration)
}

fn config(arguments: &ConfigArguments) -> anyhow::Result<u8> {
    let configuration = configuration(&arguments.settings)?;
    let mut out = std::io::stdout().lock();
    if arguments.markdown {
        write!(out, "{}", flumen_config::reference::markdown(configuration.registry()))?;
        return Ok(0);
    }
    for value in configuration.effective() {
        if !arguments.changed || value.origin != flumen_config::Origin::Default {
            writeln!(out, "{} = {}  # {}", value.key, value.text, value.origin)?;
        }
    }
    Ok(0)
}

fn completions(shell: CompletionShell) -> anyhow::Result<u8> {
    let generator = match shell {
        CompletionShell::Bash => clap_complete::Shell::Bash,
        CompletionShell::Zsh => clap_complete::Shell::Zsh,
        CompletionShell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(generator, &mut Arguments::command(), "flumen", &mut script);
    std::io::stdout().lock().write_all(&script)?;
    Ok(0)
}

/// What is to be run: from options, then files.
fn texts(arguments: &SqlArguments) -> anyhow::Result<Vec<String>> {
    let mut texts: Vec<String> = arguments.commands.iter().chain(&arguments.statements).cloned().collect();
    for file in &arguments.files {
        texts.push(if file.as_os_str() == "-" {
            standard_input()?
        } else {
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
        });
    }
    Ok(texts)
}

fn standard_input() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
    Ok(text)
}

/// The file of `-o`, and the format that its name asks for.
fn destination(arguments: &SqlArguments) -> anyhow::Result<Option<(Destination, Option<Format>)>> {
    let Some(path) = &arguments.output else { return Ok(None) };
    let by_name = Format::from_path(path);
    let has_suffix = path.extension().is_some();
    if arguments.format.is_none() && by_name.is_none() && has_suffix {
        anyhow::bail!(
            "the suffix of {} names no format; try .csv, .tsv, .json, .jsonl, .parquet, .arrow, .md, .html or .txt, or say it with --format",
            path.display()
        );
    }
    let to = Destination::file(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Some((to, by_name)))
}

fn sql(arguments: &SqlArguments) -> anyhow::Result<u8> {
    say::use_color(Terminal::of_errors(arguments.color).color);
    let mut texts = texts(arguments).map_err(UsageError)?;
    let is_shell = texts.is_empty() && std::io::stdin().is_terminal();
    if texts.is_empty() && !is_shell {
        texts.push(standard_input().map_err(UsageError)?);
    }
    let configuration = configuration(&arguments.settings)?;
    let view = View {
        format: arguments.format,
        rows_max: arguments.max_rows,
        width_max: arguments.max_width,
        color: arguments.color,
        timer: !arguments.quiet,
        pager: false,
        quiet: arguments.quiet,
    };
    let to = destination(arguments).map_err(UsageError)?;
    let mut console = Console::open(configuration, view)?;
    if let Some((to, format)) = to {
        console.send_to(to, format)?;
    }
    if let Some(why) = console.refusal() {
        return Err(UsageError(anyhow::anyhow!(why)).into());
    }
    console.interrupts().listen()?;
    if is_shell {
        return shell::run(console, !arguments.quiet);
    }
    let mut all = Ended::Done;
    for text in texts {
        let ended = console.run_text(&text, arguments.keep_going)?;
        if ended != Ended::Done {
            all = ended;
        }
        if ended == Ended::Interrupted || (ended == Ended::Failed && !arguments.keep_going) {
            break;
        }
    }
    // Without --keep-going a file has the results of all statements, or is not there.
    if all == Ended::Done || (all == Ended::Failed && arguments.keep_going) {
        let path = arguments.output.as_deref().unwrap_or(std::path::Path::new("standard output"));
        console.complete().with_context(|| format!("cannot write {}", path.display()))?;
    } else if let Some(path) = arguments.output.as_deref().filter(|path| path.as_os_str() != "-") {
        say::line(&format!("{} was not written", path.display()));
    }
    Ok(match all {
        Ended::Done => 0,
        Ended::Failed => 1,
        Ended::Interrupted => INTERRUPTED,
    })
}
