//! What the terminal can do, as the environment says.
//!
//! Width: `COLUMNS`, else what the terminal answers. Colours: `--color`, else `NO_COLOR`, `CLICOLOR_FORCE`, `TERM=dumb` and
//! whether there is a terminal, in that order. Lines are drawn with Unicode if the locale is UTF-8.

use std::io::IsTerminal;

use clap::ValueEnum;

/// When colours are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal
    #[default]
    Auto,
    /// Also in files and pipes
    Always,
    /// Never
    Never,
}

/// One of the streams to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terminal {
    /// It is a terminal, not a file or a pipe.
    pub(crate) is_terminal: bool,
    /// Its columns, where they are known.
    pub(crate) width: Option<usize>,
    /// Its rows, where they are known.
    pub(crate) height: Option<usize>,
    /// It shows Unicode.
    pub(crate) unicode: bool,
    /// It is to have colours.
    pub(crate) color: bool,
    /// The cursor can be moved: lines can be redrawn and edited.
    pub(crate) moves: bool,
}

impl Terminal {
    /// Standard output.
    pub(crate) fn of_output(choice: ColorChoice) -> Self {
        Self::judge(std::io::stdout().is_terminal(), size(), choice, &environment)
    }

    /// Standard error.
    pub(crate) fn of_errors(choice: ColorChoice) -> Self {
        Self::judge(std::io::stderr().is_terminal(), size(), choice, &environment)
    }

    fn judge(
        is_terminal: bool,
        size: Option<(usize, usize)>,
        choice: ColorChoice,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let columns = set("COLUMNS").and_then(|columns| columns.parse().ok());
        let dumb = set("TERM").is_some_and(|term| term == "dumb");
        let color = match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto if set("NO_COLOR").is_some() => false,
            ColorChoice::Auto if set("CLICOLOR_FORCE").is_some_and(|force| force != "0") => true,
            ColorChoice::Auto => is_terminal && !dumb,
        };
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| set(name)).unwrap_or_default();
        let locale = locale.to_ascii_lowercase();
        Self {
            is_terminal,
            width: columns.or(size.map(|(columns, _)| columns)).filter(|width| *width > 0),
            height: size.map(|(_, rows)| rows).filter(|height| *height > 0),
            unicode: locale.contains("utf-8") || locale.contains("utf8"),
            color,
            moves: is_terminal && !dumb,
        }
    }
}

/// Columns and rows of the terminal that this process stands on, through whichever of its streams is one.
fn size() -> Option<(usize, usize)> {
    terminal_size::terminal_size().map(|(width, height)| (usize::from(width.0), usize::from(height.0)))
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(is_terminal: bool, choice: ColorChoice, variables: &[(&str, &str)]) -> Terminal {
        Terminal::judge(is_terminal, Some((80, 24)), choice, &|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn colours_follow_the_conventions() {
        let color = |is_terminal, choice, variables: &[_]| judged(is_terminal, choice, variables).color;
        assert!(color(true, ColorChoice::Auto, &[("TERM", "xterm")]));
        assert!(!color(false, ColorChoice::Auto, &[("TERM", "xterm")]));
        assert!(!color(true, ColorChoice::Auto, &[("TERM", "dumb")]));
        assert!(!color(true, ColorChoice::Auto, &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")]));
        assert!(color(true, ColorChoice::Auto, &[("NO_COLOR", "")]));
        assert!(color(false, ColorChoice::Auto, &[("CLICOLOR_FORCE", "1")]));
        assert!(!color(false, ColorChoice::Auto, &[("CLICOLOR_FORCE", "0")]));
        assert!(color(false, ColorChoice::Always, &[("NO_COLOR", "1")]));
        assert!(!color(true, ColorChoice::Never, &[("CLICOLOR_FORCE", "1")]));
    }

    #[test]
    fn lines_follow_the_locale() {
        let unicode = |variables: &[_]| judged(true, ColorChoice::Auto, variables).unicode;
        assert!(unicode(&[("LANG", "de_DE.UTF-8")]) && unicode(&[("LC_CTYPE", "C.utf8"), ("LANG", "C")]));
        assert!(!unicode(&[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")]) && !unicode(&[]));
    }

    #[test]
    fn columns_can_be_set() {
        let width = |variables: &[_]| judged(true, ColorChoice::Auto, variables).width;
        assert_eq!([width(&[]), width(&[("COLUMNS", "120")]), width(&[("COLUMNS", "0")])], [Some(80), Some(120), None]);
        assert_eq!(width(&[("COLUMNS", "wide")]), Some(80));
    }
}
