//! What was probably meant where a statement is not SQL.
//!
//! The parser reports the token at which it cannot go on, which for a mistyped keyword is often the one after it (`FORM`
//! is a fine alias) or one before it (`ORDER BU`). So each word that is near a keyword is replaced by it, and the statement
//! parsed again: if that goes well, or comes farther, the word was the slip. Only statements that are wrong pay for this.

use std::sync::Arc;

use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::dialect::begins_clause;
use super::normalize::WrittenNames;
use super::{place, statement};
use crate::error::{Position, SqlError, SqlErrorKind, did_you_mean, nearest};

/// Words that are mistyped. Names of functions and types have hints of their own.
const KEYWORDS: [&str; 36] = [
    "ALL",
    "AND",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "CREATE",
    "CROSS",
    "DESC",
    "DISTINCT",
    "ELSE",
    "END",
    "EXCEPT",
    "EXISTS",
    "FROM",
    "FULL",
    "GROUP",
    "HAVING",
    "INNER",
    "INTERSECT",
    "JOIN",
    "LEFT",
    "LIKE",
    "LIMIT",
    "OFFSET",
    "ORDER",
    "OUTER",
    "PARTITION",
    "RIGHT",
    "SELECT",
    "UNION",
    "USING",
    "VALUES",
    "WHERE",
    "WITH",
];
/// How many words are tried, and how many tokens a statement may have for it.
const TRIES_MAX: usize = 8;
const TOKENS_MAX: usize = 2_000;

/// The error with what was probably meant, if it is a syntax error and something is near.
pub(super) fn explained(
    error: SqlError,
    tokens: &Arc<[TokenWithSpan]>,
    source: &Arc<str>,
    names: &Arc<WrittenNames>,
) -> SqlError {
    if error.kind() != SqlErrorKind::Syntax || error.hint().is_some() || tokens.len() > TOKENS_MAX {
        return error;
    }
    let found = missing_table(tokens).or_else(|| mistyped_keyword(&error, tokens, source, names));
    found.map_or(error, |found| found.locate(tokens, source))
}

/// `FROM WHERE`: the parser takes the keyword for a table.
fn missing_table(tokens: &[TokenWithSpan]) -> Option<SqlError> {
    let mut words = tokens.iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).peekable();
    while let Some(token) = words.next() {
        let is_from = keyword(token).is_some_and(|k| matches!(k, Keyword::FROM | Keyword::JOIN));
        if let (true, Some(next)) = (is_from, words.peek())
            && keyword(next).is_some_and(begins_clause)
        {
            let message = format!("syntax error: expected a table, found {}", next.token);
            return Some(SqlError::new(SqlErrorKind::Syntax, message).at(place(next)));
        }
    }
    None
}

/// The keyword of a word that is not quoted.
fn keyword(token: &TokenWithSpan) -> Option<Keyword> {
    match &token.token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.keyword),
        _ => None,
    }
}

fn mistyped_keyword(
    error: &SqlError,
    tokens: &Arc<[TokenWithSpan]>,
    source: &Arc<str>,
    names: &Arc<WrittenNames>,
) -> Option<SqlError> {
    let reported = error.position()?;
    let mut slips: Vec<(usize, Vec<String>)> = tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| keyword(token) == Some(Keyword::NoKeyword))
        .filter_map(|(index, token)| {
            let near = nearest(&token.token.to_string(), KEYWORDS);
            // Two letters of three or four make another word.
            let near: Vec<String> = near.into_iter().filter(|k| is_slip(&token.token.to_string(), k)).collect();
            (!near.is_empty()).then_some((index, near))
        })
        .collect();
    // The nearest to the reported place first.
    let at = tokens.iter().position(|t| order(place(t)) >= order(reported)).unwrap_or(tokens.len());
    slips.sort_by_key(|(index, _)| index.abs_diff(at));
    slips.truncate(TRIES_MAX);
    slips.into_iter().find_map(|(index, near)| {
        let meant = near.iter().find(|meant| goes_farther(tokens, index, meant, reported, source, names))?;
        let written = &tokens[index];
        let message = format!("syntax error: {:?} is not expected here", written.token.to_string());
        let hint = did_you_mean(std::slice::from_ref(meant))?;
        Some(SqlError::new(SqlErrorKind::Syntax, message).at(place(written)).with_hint(hint))
    })
}

fn is_slip(word: &str, keyword: &str) -> bool {
    let distance = strsim::damerau_levenshtein(&word.to_lowercase(), &keyword.to_lowercase());
    distance <= if keyword.len() < 6 { 1 } else { 2 }
}

fn order(position: Position) -> (u64, u64) {
    (position.line, position.column)
}

/// Whether the statement, with the keyword in place of a token, is SQL or is wrong only later.
fn goes_farther(
    tokens: &[TokenWithSpan],
    index: usize,
    meant: &str,
    reported: Position,
    source: &Arc<str>,
    names: &Arc<WrittenNames>,
) -> bool {
    let mut tried = tokens.to_vec();
    tried[index].token = Token::make_word(meant, None);
    match statement::parse_statement(&tried.into(), source, names) {
        Ok(_) => true,
        Err(error) => error.position().is_some_and(|p| order(p) > order(reported)),
    }
}

/// Where the comment begins that is not closed.
pub(super) fn open_comment(text: &str) -> Option<Position> {
    let mut open: Vec<Position> = Vec::new();
    let mut quote = None;
    let (mut line, mut column) = (1, 0);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        column += 1;
        if c == '\n' {
            (line, column) = (line + 1, 0);
        } else if let Some(q) = quote {
            quote = (c != q).then_some(q);
        } else if c == '/' && chars.next_if_eq(&'*').is_some() {
            open.push(Position { line, column, length: 2 });
            column += 1;
        } else if !open.is_empty() {
            if c == '*' && chars.next_if_eq(&'/').is_some() {
                open.pop();
                column += 1;
            }
        } else if c == '-' && chars.peek() == Some(&'-') {
            // To the end of the line.
            while chars.next_if(|c| *c != '\n').is_some() {
                column += 1;
            }
        } else if matches!(c, '\'' | '"' | '`') {
            quote = Some(c);
        }
    }
    open.into_iter().next()
}
