//! What the words of a line are, for colours.

use std::ops::Range;

use super::commands;
use super::keywords::is_keyword;
use super::scan::{Kind, scan};

/// What a piece of the line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Plain,
    Keyword,
    Function,
    Text,
    Name,
    Number,
    Comment,
    /// A command of the shell.
    Command,
    /// A command that there is not.
    Unknown,
}

/// The pieces of a line, which cover it.
pub(super) fn classify(line: &str) -> Vec<(Range<usize>, Class)> {
    if commands::is_command(line) {
        let start = line.len() - line.trim_start().len();
        let end = line[start..].find(char::is_whitespace).map_or(line.len(), |length| start + length);
        let name = line[start..end].trim_end_matches(';');
        let class = if commands::is_known(name) { Class::Command } else { Class::Unknown };
        return vec![(0..start, Class::Plain), (start..end, class), (end..line.len(), Class::Plain)];
    }
    let tokens = scan(line);
    let classes = tokens.iter().enumerate().map(|(index, token)| {
        let class = match token.kind {
            Kind::Comment => Class::Comment,
            Kind::Text => Class::Text,
            Kind::Name => Class::Name,
            Kind::Number => Class::Number,
            Kind::Word if is_keyword(&line[token.range.clone()]) => Class::Keyword,
            Kind::Word if tokens.get(index + 1).is_some_and(|next| line[next.range.clone()] == *"(") => Class::Function,
            Kind::Word | Kind::Space | Kind::Semicolon | Kind::Symbol => Class::Plain,
        };
        (token.range.clone(), class)
    });
    classes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(line: &str) -> Vec<(&str, Class)> {
        let pieces = classify(line);
        assert_eq!(pieces.iter().map(|(range, _)| &line[range.clone()]).collect::<String>(), line);
        pieces
            .into_iter()
            .map(|(range, class)| (&line[range], class))
            .filter(|(text, _)| !text.trim().is_empty())
            .collect()
    }

    #[test]
    fn words_have_classes() {
        use Class::*;
        assert_eq!(
            classes("select sum(x), 12 from \"T\" where s = 'a -- ' -- no"),
            [
                ("select", Keyword),
                ("sum", Function),
                ("(", Plain),
                ("x", Plain),
                (")", Plain),
                (",", Plain),
                ("12", Number),
                ("from", Keyword),
                ("\"T\"", Name),
                ("where", Keyword),
                ("s", Plain),
                ("=", Plain),
                ("'a -- '", Text),
                ("-- no", Comment),
            ]
        );
        assert_eq!(classes(".schema select"), [(".schema", Command), (" select", Plain)]);
        assert_eq!(classes("  .nope"), [(".nope", Unknown)]);
        assert_eq!(classes("quit;"), [("quit;", Command)]);
    }
}
