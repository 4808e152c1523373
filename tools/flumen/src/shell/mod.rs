//! The shell: lines from an editor, to commands or statements, until someone leaves.
//!
//! An error or an interrupt ends a line and never the shell. The terminal is a thin layer ([`editor`]); what a line means
//! ([`commands`]), when it is finished ([`validate`]), what could go on it ([`complete`], which asks [`names`]) and how it is
//! coloured ([`highlight`]) are plain functions, most of them over [`scan`]'s tokens.

mod commands;
mod complete;
mod editor;
mod highlight;
mod history;
mod keywords;
mod names;
mod scan;
mod validate;

#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use arrow_array::{ArrayRef, RecordBatch, StringArray};

use crate::console::{Console, Ended};
use crate::output::{Destination, Format};
use crate::say;
use crate::terminal::Terminal;
use commands::{Command, Input};
use editor::{Line, LineEditor, LinesOfTerminal, TerminalEditor};
use names::SessionNames;

pub(crate) use history::VARIABLE as HISTORY_VARIABLE;

/// Files that read files that read files.
const READS_MAX: usize = 16;

/// Runs a shell on the terminal of this process; its exit code.
pub(crate) fn run(console: Console, with_banner: bool) -> anyhow::Result<u8> {
    if with_banner {
        say::line(&format!("flumen {}: SQL over files and streams, in this process", env!("CARGO_PKG_VERSION")));
        say::line("Statements end with a semicolon; .help lists the commands, .quit or Ctrl-D leaves");
    }
    let errors = Terminal::of_errors(console.view.color);
    let interrupts = console.interrupts().clone();
    // The editor draws on standard error.
    let mut editor: Box<dyn LineEditor> = if errors.moves {
        let history = history::file(&|name| std::env::var_os(name));
        let names = SessionNames::new(console.names());
        Box::new(TerminalEditor::new(names, history.as_deref(), errors.color, interrupts))
    } else {
        Box::new(LinesOfTerminal::new(io::stdin().lock(), interrupts))
    };
    let mut shell = Shell { console, unexpanded: None, reads: 0 };
    shell.run(editor.as_mut())?;
    shell.console.complete().context("cannot write the results")?;
    Ok(0)
}

/// What happens after a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The next one.
    Line(Ended),
    Leave,
}

struct Shell {
    console: Console,
    /// The format before `.expanded`, while it is on.
    unexpanded: Option<Option<Format>>,
    /// Files that are being read.
    reads: usize,
}

impl Shell {
    /// Until the editor ends or someone leaves.
    fn run(&mut self, editor: &mut dyn LineEditor) -> anyhow::Result<()> {
        loop {
            match editor.read().context("cannot read from the terminal")? {
                Line::End => return Ok(()),
                Line::Text(text) => {
                    if self.line(&text)? == Next::Leave {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Does what a line says. Only results that cannot be written to the terminal are an error.
    fn line(&mut self, text: &str) -> io::Result<Next> {
        match commands::parse(text) {
            Ok(Input::Nothing) => Ok(Next::Line(Ended::Done)),
            Ok(Input::Sql(sql)) => self.console.run_text(sql, false).map(Next::Line),
            Ok(Input::Command(command)) => self.command(command),
            Err(problem) => {
                say::error(&problem);
                Ok(Next::Line(Ended::Failed))
            }
        }
    }

    fn command(&mut self, command: Command) -> io::Result<Next> {
        let view = &mut self.console.view;
        let mut ended = Ended::Done;
        match command {
            Command::Help => say::line(&commands::help()),
            Command::Quit => return Ok(Next::Leave),
            Command::Tables | Command::Schema(None) => ended = self.console.run_text("SHOW TABLES", false)?,
            Command::Schema(Some(name)) => {
                let quote = if name.contains(['.', '/']) { '\'' } else { '"' };
                let name = name.replace(quote, &format!("{quote}{quote}"));
                ended = self.console.run_text(&format!("DESCRIBE {quote}{name}{quote}"), false)?;
            }
            Command::Settings => ended = self.console.run_text("SET", false)?,
            Command::Functions(part) => self.console.show(&functions(part.as_deref()))?,
            Command::Timer(None) => say::line(if view.timer { "timer is on" } else { "timer is off" }),
            Command::Timer(Some(on)) => view.timer = on,
            Command::Format(None) => say::line(&format!("format is {}", self.console.format().name())),
            Command::Format(Some(format)) => {
                let before = view.format.replace(format);
                self.unexpanded = None;
                if let Some(why) = self.console.refusal() {
                    self.console.view.format = before;
                    say::error(&why);
                    ended = Ended::Failed;
                }
            }
            Command::Expanded => match self.unexpanded.take() {
                Some(before) => view.format = before,
                None => self.unexpanded = Some(view.format.replace(Format::Vertical)),
            },
            Command::MaxRows(None) => say::line(&limit("maxrows", view.rows_max)),
            Command::MaxRows(rows) => view.rows_max = rows,
            Command::MaxWidth(None) => say::line(&limit("maxwidth", view.width_max)),
            Command::MaxWidth(width) => view.width_max = width,
            Command::Pager(None) => say::line(if view.pager { "pager is on" } else { "pager is off" }),
            Command::Pager(Some(on)) => view.pager = on,
            Command::Output(path) => ended = self.output(path.as_deref()),
            Command::Read(path) => return self.read(&path),
        }
        Ok(Next::Line(ended))
    }

    fn output(&mut self, path: Option<&Path>) -> Ended {
        let opened = match path {
            None => Ok((Destination::standard(), None)),
            Some(path) => Destination::file(path).map(|to| (to, Format::from_path(path))),
        };
        let sent = opened.and_then(|(to, format)| self.console.send_to(to, format));
        match sent {
            Ok(()) => Ended::Done,
            Err(error) => {
                let place = path.map_or_else(|| "the results".to_owned(), |path| path.display().to_string());
                say::error(&format!("cannot write {place}: {error}"));
                Ended::Failed
            }
        }
    }

    /// Runs a file, line by line as if it were typed, up to its first error.
    fn read(&mut self, path: &Path) -> io::Result<Next> {
        let text = match std::fs::read_to_string(path) {
            _ if self.reads == READS_MAX => {
                Err(format!("files are read {READS_MAX} deep at most; does one read itself?"))
            }
            Ok(text) => Ok(text),
            Err(error) => Err(format!("cannot read {}: {error}", path.display())),
        };
        let text = match text {
            Ok(text) => text,
            Err(problem) => {
                say::error(&problem);
                return Ok(Next::Line(Ended::Failed));
            }
        };
        self.reads += 1;
        let mut next = Next::Line(Ended::Done);
        let (mut input, mut number, mut first) = (String::new(), 0, 1);
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            number += 1;
            if input.is_empty() {
                first = number;
            }
            input.push_str(line);
            input.push('\n');
            if lines.peek().is_some() && !validate::is_complete(&input) {
                continue;
            }
            next = self.line(&std::mem::take(&mut input))?;
            if next != Next::Line(Ended::Done) {
                break;
            }
        }
        self.reads -= 1;
        if next == Next::Line(Ended::Failed) {
            say::line(&format!("  in {}, at the lines from {first} on; the rest was not run", path.display()));
        }
        Ok(next)
    }
}

fn limit(name: &str, limit: Option<usize>) -> String {
    match limit {
        None => format!("{name} is what fits the terminal"),
        Some(0) => format!("{name} is 0: no limit"),
        Some(limit) => format!("{name} is {limit}"),
    }
}

/// The functions whose names contain this.
fn functions(part: Option<&str>) -> RecordBatch {
    let part = part.unwrap_or_default().to_ascii_lowercase();
    let (scalar, aggregates) = flumen_cluster::function_names();
    let mut all: Vec<(String, &str)> = scalar.into_iter().map(|name| (name, "function")).collect();
    all.extend(aggregates.into_iter().map(|name| (name, "aggregate")));
    all.retain(|(name, _)| name.contains(&part));
    all.sort_unstable();
    let names: ArrayRef = Arc::new(all.iter().map(|(name, _)| Some(name)).collect::<StringArray>());
    let kinds: ArrayRef = Arc::new(all.iter().map(|(_, kind)| Some(kind)).collect::<StringArray>());
    RecordBatch::try_from_iter([("function", names), ("kind", kinds)]).expect("two columns of one length")
}
