//! Where the words, texts and comments of SQL are, in text that need not be finished.
//!
//! The engine's parser refuses half a statement, which is what a prompt has at first. This scanner knows the same quotes: `'text'`
//! with doubled quotes, `E'text'` with backslashes, `"name"`, `` `name` ``, `$tag$text$tag$`, `-- comment` and nested
//! `/* comments */`. It never fails, and its tokens cover the whole text.

use std::ops::Range;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Space,
    Comment,
    /// A keyword or a name without quotes.
    Word,
    /// A name in quotes.
    Name,
    /// A text, or a file in place of a table.
    Text,
    Number,
    Semicolon,
    /// Any other character.
    Symbol,
}

/// A piece of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    /// Bytes.
    pub(crate) range: Range<usize>,
    /// Its end has not been written yet.
    pub(crate) is_open: bool,
}

impl Token {
    /// Whether it says something.
    pub(crate) fn is_significant(&self) -> bool {
        !matches!(self.kind, Kind::Space | Kind::Comment)
    }
}

/// Divides a text into tokens.
pub(crate) fn scan(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let (kind, length, is_open) = token(&text[at..], first);
        let token = Token { kind, range: at..at + length, is_open };
        at = token.range.end;
        tokens.push(token);
    }
    tokens
}

/// The first token of a text that begins with `first`: kind, bytes, and whether it is open.
fn token(text: &str, first: char) -> (Kind, usize, bool) {
    let run = |belongs: &dyn Fn(char) -> bool| text.find(|c| !belongs(c)).unwrap_or(text.len());
    match first {
        c if c.is_whitespace() => (Kind::Space, run(&char::is_whitespace), false),
        '-' if text.starts_with("--") => (Kind::Comment, text.find('\n').unwrap_or(text.len()), false),
        '/' if text.starts_with("/*") => {
            let (length, is_open) = comment(text);
            (Kind::Comment, length, is_open)
        }
        'e' | 'E' if text[1..].starts_with('\'') => {
            let (length, is_open) = quoted(&text[1..], '\'', true);
            (Kind::Text, length + 1, is_open)
        }
        '\'' => {
            let (length, is_open) = quoted(text, first, false);
            (Kind::Text, length, is_open)
        }
        '"' | '`' => {
            let (length, is_open) = quoted(text, first, false);
            (Kind::Name, length, is_open)
        }
        '$' => match dollar_quoted(text) {
            Some((length, is_open)) => (Kind::Text, length, is_open),
            None => (Kind::Symbol, 1, false),
        },
        c if c.is_alphabetic() || c == '_' => {
            (Kind::Word, run(&|c| c.is_alphanumeric() || c == '_' || c == '$'), false)
        }
        c if c.is_ascii_digit() => (Kind::Number, run(&|c| c.is_ascii_alphanumeric() || c == '.' || c == '_'), false),
        ';' => (Kind::Semicolon, 1, false),
        c => (Kind::Symbol, c.len_utf8(), false),
    }
}

fn comment(text: &str) -> (usize, bool) {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return (at, false);
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    (text.len(), true)
}

/// A text that begins with its quote; a doubled quote is one of its characters.
fn quoted(text: &str, quote: char, has_backslashes: bool) -> (usize, bool) {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        if has_backslashes && character == '\\' {
            characters.next();
        } else if character == quote && characters.next_if(|(_, next)| *next == quote).is_none() {
            return (at + 1, false);
        }
    }
    (text.len(), true)
}

/// `$tag$...$tag$`; `None` if it is only a dollar.
fn dollar_quoted(text: &str) -> Option<(usize, bool)> {
    let tag = 1 + text[1..].find('$')?;
    if !text[1..tag].chars().all(|c| c.is_alphanumeric() || c == '_') || text[1..].starts_with(|c: char| c.is_numeric())
    {
        return None;
    }
    let mark = &text[..=tag];
    Some(match text[mark.len()..].find(mark) {
        Some(end) => (end + 2 * mark.len(), false),
        None => (text.len(), true),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(Kind, &str)]) {
        let tokens = scan(text);
        let all: String = tokens.iter().map(|t| &text[t.range.clone()]).collect();
        assert_eq!(all, text);
        let significant: Vec<_> =
            tokens.iter().filter(|t| t.kind != Kind::Space).map(|t| (t.kind, &text[t.range.clone()])).collect();
        assert_eq!(significant, expected);
    }

    #[test]
    fn quotes_and_comments_are_known() {
        use Kind::*;
        check("a 'it''s; -- no' b", &[(Word, "a"), (Text, "'it''s; -- no'"), (Word, "b")]);
        check(r"E'a\';' 'a\'", &[(Text, r"E'a\';'"), (Text, r"'a\'")]);
        check("\"a\"\"b\" `c;`", &[(Name, "\"a\"\"b\""), (Name, "`c;`")]);
        check("-- a ; '\n1.5e3;", &[(Comment, "-- a ; '"), (Number, "1.5e3"), (Semicolon, ";")]);
        check("/* a /* b */ ; */ x$1", &[(Comment, "/* a /* b */ ; */"), (Word, "x$1")]);
        check("$$a;'$$ $f$ $$ $f$", &[(Text, "$$a;'$$"), (Text, "$f$ $$ $f$")]);
        check("$1 + $2", &[(Symbol, "$"), (Number, "1"), (Symbol, "+"), (Symbol, "$"), (Number, "2")]);
        check("größe = 'ü'", &[(Word, "größe"), (Symbol, "="), (Text, "'ü'")]);
    }

    #[test]
    fn what_is_open_is_told() {
        for open in ["'a", "E'a\\'", "\"a", "`a", "/* a", "/* /* */", "$$ a", "$x$ a $$", "'a''", "1; 'b"] {
            assert!(scan(open).last().is_some_and(|t| t.is_open), "{open}");
        }
        for closed in ["'a'", "E'a\\\\'", "\"a\"", "/* /* */ */", "$$a$$", "-- a", "a", "", "$1"] {
            assert!(scan(closed).last().is_none_or(|t| !t.is_open), "{closed}");
        }
    }
}
