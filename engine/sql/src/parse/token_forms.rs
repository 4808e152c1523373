//! Forms that the parser does not know, written in tokens that it does.
//!
//! | written | becomes |
//! |---|---|
//! | `ASOF [LEFT] JOIN t ON ...`, `... USING (...)` | `GLOBAL [LEFT] JOIN ...`; the tree then says `global` ([`super::asof`]) |
//! | `OVER (... ROWS ... EXCLUDE TIES)` | a constant among the partition keys, which divides nothing and is taken out again by the planner ([`exclusion`]) |

use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::place;
use crate::error::{Result, SqlError};

/// Begins the constant that says what a frame leaves out.
const EXCLUDE: &str = "__exclude ";

/// What a frame leaves out, if a constant among the partition keys says so: the words after EXCLUDE.
pub(crate) fn exclusion(constant: &str) -> Option<&str> {
    constant.strip_prefix(EXCLUDE)
}

/// Rewrites the tokens of a text.
///
/// # Errors
/// If the text has a form that another one is written in.
pub(super) fn rewrite(tokens: &mut Vec<TokenWithSpan>) -> Result<()> {
    let mut index = 0;
    while index < tokens.len() {
        match keyword(&tokens[index]) {
            Some(Keyword::GLOBAL) if is_join(tokens, index) => {
                return Err(SqlError::unsupported("GLOBAL JOIN").at(place(&tokens[index])));
            }
            Some(Keyword::ASOF) if is_join(tokens, index) => {
                tokens[index].token = Token::make_keyword("GLOBAL");
            }
            Some(Keyword::EXCLUDE) => exclude(tokens, index),
            _ => {}
        }
        index += 1;
    }
    Ok(())
}

fn keyword(token: &TokenWithSpan) -> Option<Keyword> {
    match &token.token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.keyword),
        _ => None,
    }
}

fn is_blank(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::Whitespace(_))
}

/// The tokens after one, without blanks.
fn after(tokens: &[TokenWithSpan], index: usize) -> impl Iterator<Item = usize> + '_ {
    (index + 1..tokens.len()).filter(|i| !is_blank(&tokens[*i]))
}

/// Whether a word is followed by JOIN, maybe after the kind of the join.
fn is_join(tokens: &[TokenWithSpan], index: usize) -> bool {
    for next in after(tokens, index) {
        match keyword(&tokens[next]) {
            Some(Keyword::JOIN) => return true,
            Some(
                Keyword::LEFT
                | Keyword::RIGHT
                | Keyword::FULL
                | Keyword::INNER
                | Keyword::OUTER
                | Keyword::SEMI
                | Keyword::ANTI,
            ) => {}
            _ => return false,
        }
    }
    false
}

/// Moves `EXCLUDE ...` from the end of a frame to the partition keys.
fn exclude(tokens: &mut Vec<TokenWithSpan>, index: usize) {
    let words: Vec<usize> = after(tokens, index).take(3).collect();
    let word = |at: usize| words.get(at).and_then(|i| keyword(&tokens[*i]));
    let text = |at: usize| words.get(at).map(|i| tokens[*i].token.to_string().to_uppercase());
    let (left_out, count) = match (word(0), text(0).as_deref(), text(1).as_deref()) {
        (Some(Keyword::CURRENT), _, Some("ROW")) => ("CURRENT ROW", 2),
        (Some(Keyword::NO), _, Some("OTHERS")) => ("NO OTHERS", 2),
        (Some(Keyword::GROUP), ..) => ("GROUP", 1),
        (Some(_), Some("TIES"), _) => ("TIES", 1),
        _ => return,
    };
    let before = (0..index).rev().find(|i| !is_blank(&tokens[*i])).and_then(|i| keyword(&tokens[i]));
    let is_frame = matches!(before, Some(Keyword::ROW | Keyword::PRECEDING | Keyword::FOLLOWING));
    let (Some(end), true) = (words.get(count).copied(), is_frame) else { return };
    if tokens[end].token != Token::RParen {
        return;
    }
    // The bracket that opens the window.
    let mut depth = 0_usize;
    let open = (0..index).rev().find(|i| match tokens[*i].token {
        Token::RParen => {
            depth += 1;
            false
        }
        Token::LParen if depth == 0 => true,
        Token::LParen => {
            depth -= 1;
            false
        }
        _ => false,
    });
    let Some(open) = open else { return };
    let span = tokens[index].span;
    tokens.drain(index..end);
    let token = |token: Token| TokenWithSpan { token, span };
    // In brackets: the binder leaves bare constants out itself.
    let constant = [Token::LParen, Token::SingleQuotedString(format!("{EXCLUDE}{left_out}")), Token::RParen].map(token);
    let first: Vec<usize> = after(tokens, open).take(2).collect();
    let kind = |at: usize| first.get(at).and_then(|i| keyword(&tokens[*i]));
    let partition = || [Keyword::PARTITION, Keyword::BY].map(|k| token(Token::make_keyword(&format!("{k:?}"))));
    let (at, added): (usize, Vec<TokenWithSpan>) = match (kind(0), kind(1)) {
        (Some(Keyword::PARTITION), Some(Keyword::BY)) => {
            (first[1] + 1, constant.into_iter().chain([token(Token::Comma)]).collect())
        }
        (Some(Keyword::ORDER | Keyword::ROWS | Keyword::RANGE | Keyword::GROUPS), _) => {
            (open + 1, partition().into_iter().chain(constant).collect())
        }
        // The name of a window.
        _ => match first.first() {
            Some(name) => (name + 1, partition().into_iter().chain(constant).collect()),
            None => return,
        },
    };
    tokens.splice(at..at, added);
}

/// The text of an expression as it was written, where windows leave rows out.
pub(super) fn shown(mut text: String) -> String {
    let begins = format!("('{EXCLUDE}");
    while let Some(start) = text.find(&begins) {
        let Some(length) = text[start + begins.len()..].find('\'') else { return text };
        let left_out = text[start + begins.len()..start + begins.len() + length].to_owned();
        let end = start + begins.len() + length + "')".len();
        let (from, to) = match text[end..].starts_with(", ") {
            true => (start, end + 2),
            false => (text[..start].rfind("PARTITION BY ").unwrap_or(start), end),
        };
        let to = if from < start && text[to..].starts_with(' ') { to + 1 } else { to };
        text.replace_range(from..to, "");
        // The bracket that closes the window.
        let mut depth = 0_usize;
        let close = text[from..].char_indices().find(|(_, c)| {
            match c {
                '(' => depth += 1,
                ')' if depth == 0 => return true,
                ')' => depth -= 1,
                _ => {}
            }
            false
        });
        if let Some((close, _)) = close {
            text.insert_str(from + close, &format!(" EXCLUDE {left_out}"));
        }
    }
    text
}
