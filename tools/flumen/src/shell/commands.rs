//! The commands of the shell: a line to what it asks for.
//!
//! Each has a name with a dot and may have one with a backslash, as psql's users know it. Names with a dot may be cut
//! short as long as one command is left. Commands take at most one argument, in quotes if it has blanks.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::ValueEnum;

use crate::arguments::nearest;
use crate::output::Format;

/// What a command asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Tables,
    /// Columns of a table or file; `None` lists tables.
    Schema(Option<String>),
    /// Functions whose names contain this.
    Functions(Option<String>),
    /// `None` asks how it is.
    Timer(Option<bool>),
    /// `None` asks how it is.
    Format(Option<Format>),
    /// Vertical, or what was before.
    Expanded,
    /// `None` asks how it is.
    MaxRows(Option<usize>),
    /// `None` asks how it is.
    MaxWidth(Option<usize>),
    Read(PathBuf),
    /// `None` is standard output.
    Output(Option<PathBuf>),
    /// `None` asks how it is.
    Pager(Option<bool>),
    Settings,
    Quit,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input<'a> {
    Nothing,
    Command(Command),
    Sql(&'a str),
}

/// What an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Argument {
    Nothing,
    Table,
    Word,
    Switch,
    Format,
    Number,
    File,
}

/// A command, as it is described.
pub(super) struct Description {
    /// Names; the first is shown first.
    pub(super) names: &'static [&'static str],
    pub(super) argument: Argument,
    /// How the argument is written.
    syntax: &'static str,
    pub(super) text: &'static str,
}

const fn command(
    names: &'static [&'static str],
    argument: Argument,
    syntax: &'static str,
    text: &'static str,
) -> Description {
    Description { names, argument, syntax, text }
}

/// All commands.
pub(super) const COMMANDS: &[Description] = &[
    command(&[".help", "\\?"], Argument::Nothing, "", "this list"),
    command(&[".tables", "\\dt"], Argument::Nothing, "", "list the tables"),
    command(&[".schema", "\\d"], Argument::Table, "[TABLE|FILE]", "columns of a table or file"),
    command(&[".functions", "\\df"], Argument::Word, "[PART]", "list the functions whose names contain PART"),
    command(&[".format", ".mode"], Argument::Format, "[NAME]", "how rows are written"),
    command(&[".expanded", "\\x"], Argument::Nothing, "", "one line a column, or back"),
    command(&[".timer", "\\timing"], Argument::Switch, "[on|off]", "how long statements take"),
    command(&[".maxrows"], Argument::Number, "[N]", "rows of a box; 0 means all"),
    command(&[".maxwidth", ".width"], Argument::Number, "[N]", "width of a box; 0 means any"),
    command(&[".pager"], Argument::Switch, "[on|off]", "all rows of long results, through $PAGER or page by page"),
    command(&[".read", "\\i"], Argument::File, "FILE", "run the statements and commands in a file"),
    command(&[".output", "\\o"], Argument::File, "[FILE]", "write results to a file; alone, to the terminal again"),
    command(&[".settings"], Argument::Nothing, "", "list the settings, as SET does"),
    command(&[".quit", ".exit", "\\q"], Argument::Nothing, "", "leave, as Ctrl-D does"),
];

/// Whether a line is for the shell rather than SQL.
pub(crate) fn is_command(line: &str) -> bool {
    let line = line.trim();
    line.starts_with(['.', '\\']) || is_word(line).is_some()
}

/// The words that leave, and the one that helps, without a dot.
fn is_word(line: &str) -> Option<Command> {
    match line.trim_end_matches(';').trim_end().to_ascii_lowercase().as_str() {
        "exit" | "quit" => Some(Command::Quit),
        "help" => Some(Command::Help),
        _ => None,
    }
}

/// Whether there is a command of this name, or of which this is the beginning.
pub(super) fn is_known(name: &str) -> bool {
    is_word(name).is_some() || find(name).is_ok()
}

/// The command of this name.
///
/// # Errors
/// With what to try if there is none, or are several of which this is the beginning.
pub(super) fn find(name: &str) -> Result<&'static Description, String> {
    let name = name.to_ascii_lowercase();
    if let Some(found) = COMMANDS.iter().find(|command| command.names.contains(&name.as_str())) {
        return Ok(found);
    }
    let begins = |command: &&Description| name.len() > 1 && command.names.iter().any(|n| n.starts_with(&name));
    let mut beginning: Vec<&Description> =
        if name.starts_with('.') { COMMANDS.iter().filter(begins).collect() } else { Vec::new() };
    match (beginning.pop(), beginning.pop()) {
        (Some(found), None) => Ok(found),
        (Some(second), Some(first)) => {
            Err(format!("{name} may be {} or {}; write more of it", first.names[0], second.names[0]))
        }
        (None, _) => {
            let names = COMMANDS.iter().flat_map(|command| command.names.iter().copied());
            let hint = match nearest(&name, names) {
                Some(near) => format!("did you mean {near}?"),
                None => ".help lists the commands".to_owned(),
            };
            Err(format!("there is no command {name}\n  hint: {hint}"))
        }
    }
}

/// Reads a line.
///
/// # Errors
/// With what is wrong with a command, and what to try.
pub(crate) fn parse(line: &str) -> Result<Input<'_>, String> {
    let trimmed = line.trim();
    if trimmed.is_empty() {
        return Ok(Input::Nothing);
    }
    if let Some(command) = is_word(trimmed) {
        return Ok(Input::Command(command));
    }
    if !is_command(trimmed) {
        return Ok(Input::Sql(line));
    }
    let (name, rest) = trimmed.split_once(char::is_whitespace).unwrap_or((trimmed, ""));
    let description = find(name.trim_end_matches(';'))?;
    let argument = argument(rest).map_err(|problem| format!("{}: {problem}", description.names[0]))?;
    read(description, argument.as_deref()).map(Input::Command)
}

/// The one argument, without its quotes.
fn argument(text: &str) -> Result<Option<String>, &'static str> {
    let text = text.trim().trim_end_matches(';').trim_end();
    let Some(quote) = text.chars().next() else { return Ok(None) };
    if quote == '\'' || quote == '"' {
        return match text[1..].split_once(quote) {
            Some((inner, "")) => Ok(Some(inner.to_owned())),
            Some(_) => Err("it takes one argument"),
            None => Err("the quote is not closed"),
        };
    }
    if text.contains(char::is_whitespace) {
        return Err("it takes one argument; put quotes around one with blanks");
    }
    Ok(Some(text.to_owned()))
}

fn read(description: &Description, argument: Option<&str>) -> Result<Command, String> {
    let name = description.names[0];
    if description.argument == Argument::Nothing
        && let Some(argument) = argument
    {
        return Err(format!("{name} takes no argument, and {argument:?} is one"));
    }
    let number = || {
        argument
            .map(|text| text.parse::<usize>().map_err(|_| format!("{name} takes a number, and {text:?} is none")))
            .transpose()
    };
    let switch = || match argument.map(str::to_ascii_lowercase).as_deref() {
        None => Ok(None),
        Some("on") => Ok(Some(true)),
        Some("off") => Ok(Some(false)),
        Some(other) => Err(format!("{name} takes on or off, and not {other:?}")),
    };
    Ok(match name {
        ".help" => Command::Help,
        ".tables" => Command::Tables,
        ".schema" => Command::Schema(argument.map(str::to_owned)),
        ".functions" => Command::Functions(argument.map(str::to_owned)),
        ".format" => Command::Format(argument.map(format).transpose()?),
        ".expanded" => Command::Expanded,
        ".timer" => Command::Timer(switch()?),
        ".pager" => Command::Pager(switch()?),
        ".maxrows" => Command::MaxRows(number()?),
        ".maxwidth" => Command::MaxWidth(number()?),
        ".read" => Command::Read(argument.ok_or(".read needs a file, as in .read queries.sql")?.into()),
        ".output" => Command::Output(argument.map(PathBuf::from)),
        ".settings" => Command::Settings,
        _ => Command::Quit,
    })
}

fn format(name: &str) -> Result<Format, String> {
    Format::from_str(name, true).map_err(|_| {
        let all: Vec<String> = Format::value_variants().iter().map(|format| format.name()).collect();
        let hint = match nearest(name, all.iter().map(String::as_str)) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("there are {}", all.join(", ")),
        };
        format!("there is no format {name:?}\n  hint: {hint}")
    })
}

/// The list of commands.
pub(crate) fn help() -> String {
    let mut text = String::from("Statements end with a semicolon. Commands take one line:\n\n");
    for command in COMMANDS {
        let names = command.names.join(" ");
        let _ = writeln!(text, "  {:<32} {}", format!("{names} {}", command.syntax), command.text);
    }
    text.push_str(
        "\nTab completes, Ctrl-R searches earlier lines. Ctrl-C stops a statement, or forgets an unfinished one.",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Command) {
        assert_eq!(parse(line), Ok(Input::Command(expected)), "{line}");
    }

    #[test]
    fn commands_have_two_kinds_of_names() {
        for (line, command) in [
            (".help", Command::Help),
            ("\\?", Command::Help),
            ("help;", Command::Help),
            (".tables", Command::Tables),
            ("\\dt", Command::Tables),
            ("\\d", Command::Schema(None)),
            ("\\d orders;", Command::Schema(Some("orders".to_owned()))),
            (".schema 'my file.csv'", Command::Schema(Some("my file.csv".to_owned()))),
            ("\\df str", Command::Functions(Some("str".to_owned()))),
            (".timer", Command::Timer(None)),
            (".timer on", Command::Timer(Some(true))),
            ("\\timing OFF", Command::Timer(Some(false))),
            (".format JSONL", Command::Format(Some(Format::Jsonl))),
            (".mode csv", Command::Format(Some(Format::Csv))),
            ("\\x", Command::Expanded),
            (".maxrows 0", Command::MaxRows(Some(0))),
            (".maxwidth", Command::MaxWidth(None)),
            (".width 100", Command::MaxWidth(Some(100))),
            (".pager", Command::Pager(None)),
            (".pager on", Command::Pager(Some(true))),
            ("  .read a.sql  ", Command::Read("a.sql".into())),
            (".output \"a b.csv\"", Command::Output(Some("a b.csv".into()))),
            ("\\o", Command::Output(None)),
            (".settings", Command::Settings),
            (".exit", Command::Quit),
            ("EXIT", Command::Quit),
            ("quit;", Command::Quit),
            ("\\q", Command::Quit),
        ] {
            check(line, command);
        }
    }

    #[test]
    fn names_may_be_cut_short() {
        check(".tab", Command::Tables);
        check(".sch t", Command::Schema(Some("t".to_owned())));
        check(".q", Command::Quit);
        let problem = parse(".max 3").unwrap_err();
        assert_eq!(problem, ".max may be .maxrows or .maxwidth; write more of it");
        assert!(parse("\\dfx").is_err());
    }

    #[test]
    fn what_is_wrong_comes_with_what_to_try() {
        for (line, parts) in [
            (".tabels", &["there is no command .tabels", "did you mean .tables?"][..]),
            (".frobnicate", &["there is no command .frobnicate", ".help lists the commands"]),
            (".", &["there is no command ."]),
            (".format jsn", &["there is no format \"jsn\"", "did you mean json?"]),
            (".format spreadsheet", &["there are box, table, markdown, csv, tsv, json, jsonl, vertical, html, "]),
            (".timer maybe", &["on or off", "\"maybe\""]),
            (".tables all", &[".tables takes no argument", "\"all\""]),
            (".maxrows few", &["takes a number", "\"few\""]),
            (".read", &["needs a file"]),
            (".read a b", &["one argument", "quotes"]),
            (".read 'a", &["the quote is not closed"]),
        ] {
            let problem = parse(line).unwrap_err();
            for part in parts {
                assert!(problem.contains(part), "{line}: {part:?} is not in {problem:?}");
            }
        }
    }

    #[test]
    fn everything_else_is_sql() {
        for line in ["SELECT 1;", "  SET", "quit now", "help me"] {
            assert_eq!(parse(line), Ok(Input::Sql(line)));
        }
        assert_eq!(parse(" \n "), Ok(Input::Nothing));
    }

    #[test]
    fn every_command_is_in_the_help_and_reads() {
        let help = help();
        for command in COMMANDS {
            for name in command.names {
                assert!(help.contains(name));
                let argument = match command.argument {
                    Argument::Nothing => "",
                    Argument::Table | Argument::Word | Argument::File => "a",
                    Argument::Switch => "on",
                    Argument::Format => "box",
                    Argument::Number => "1",
                };
                let read = parse(&format!("{name} {argument}")).map(|input| match input {
                    Input::Command(command) => command,
                    other => panic!("{name}: {other:?}"),
                });
                // The last arm of the table of names stands for one command only.
                assert_eq!(read == Ok(Command::Quit), command.names[0] == ".quit", "{name}");
            }
        }
    }
}
