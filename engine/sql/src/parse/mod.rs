//! SQL text to statements.
//!
//! Statements are found by sqlparser's tokenizer and parser; what it does not know (watermarks, `SET 'k' = 'v'`, files
//! to describe) is parsed here with its helpers. The steps for a text: tokens, [`limits`] on depth, the forms of
//! [`token_forms`], a cut at the semicolons, one statement each, and the rewriting of [`rebalance`], [`normalize`],
//! [`spellings`] and [`named_windows`]. Parsing and dropping a statement recurse as deep as it is nested, so both happen on
//! a thread with a stack of known size (see `crate::stack`).

pub(crate) mod asof;
mod copy;
mod definition;
mod dialect;
pub(crate) mod limits;
pub(crate) mod merged_columns;
mod named_windows;
mod nested;
pub(crate) mod normalize;
pub(crate) mod read_function;
pub(crate) mod rebalance;
mod shadowed;
mod slips;
pub(crate) mod spellings;
mod statement;
mod struct_type;
#[cfg(test)]
mod tests;
pub(crate) mod token_forms;
pub(crate) mod unnest;
mod unread;
pub(crate) mod using;

use std::sync::Arc;

use datafusion_sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use crate::error::{Position, Result, SqlError, SqlErrorKind};
pub use statement::{CreateTable, CreateView, DescribeTarget, Droppable, Statement, StatementKind};

pub(crate) use dialect::FlumenDialect;
pub(crate) use statement::Watermark;

/// Parses a text of any number of statements.
///
/// # Errors
/// For the first statement that is not SQL; nothing is returned of the others.
pub fn parse(sql: &str) -> Result<Vec<Statement>> {
    crate::stack::with_large_stack(|| parse_here(sql).and_then(|all| all.into_iter().collect()))
}

/// Parses a text of any number of statements, each for itself: one that is not SQL does not hide the others.
#[must_use]
pub fn parse_each(sql: &str) -> Vec<Result<Statement>> {
    crate::stack::with_large_stack(|| parse_here(sql).unwrap_or_else(|error| vec![Err(error)]))
}

fn parse_here(sql: &str) -> Result<Vec<Result<Statement>>> {
    let source: Arc<str> = sql.into();
    let mut tokens = Tokenizer::new(&FlumenDialect, sql).tokenize_with_location().map_err(|e| {
        let place = slips::open_comment(sql).unwrap_or_else(|| at(e.location));
        SqlError::new(SqlErrorKind::Syntax, lower_first(&e.message)).at(place).locate(&[], sql)
    })?;
    limits::check_depth(&tokens).map_err(|e| e.locate(&tokens, sql))?;
    token_forms::rewrite(&mut tokens).map_err(|e| e.locate(&tokens, sql))?;
    struct_type::with_angles(&mut tokens);
    let names = normalize::WrittenNames::lower(&mut tokens);
    let names = Arc::new(names);
    let mut statements = Vec::new();
    for part in tokens.split(|t| t.token == Token::SemiColon) {
        let is_blank = part.iter().all(|t| matches!(t.token, Token::Whitespace(_)));
        if is_blank {
            continue;
        }
        let tokens: Arc<[TokenWithSpan]> = part.into();
        let statement = statement::parse_statement(&tokens, &source, &names);
        let end = || part.iter().rev().find(|t| !matches!(t.token, Token::Whitespace(_))).map(|t| at(t.span.end));
        // What is missing at the end has no token to point at.
        let located = |e: SqlError| match end() {
            Some(end) if e.kind() == SqlErrorKind::Syntax => {
                e.locate(&tokens, &source).at(end).locate(&tokens, &source)
            }
            _ => e.locate(&tokens, &source),
        };
        let statement = statement.map_err(|e| slips::explained(located(e), &tokens, &source, &names));
        statements.push(statement);
    }
    Ok(statements)
}

pub(crate) fn at(location: Location) -> Position {
    Position { line: location.line, column: location.column, length: 1 }
}

pub(crate) fn place(token: &TokenWithSpan) -> Position {
    let (start, end) = (token.span.start, token.span.end);
    let length = if start.line == end.line { end.column.saturating_sub(start.column).max(1) } else { 1 };
    Position { line: start.line, column: start.column, length }
}

/// An error from the text that sqlparser reports, whose end may be ` at Line: 1, Column: 5`.
pub(crate) fn syntax_error(message: &str) -> SqlError {
    let message = message.trim_start_matches("sql parser error: ").trim_start_matches("ParserError(\"");
    if message.contains("recursion limit") {
        return limits::too_deep();
    }
    let (text, position) = match message.rsplit_once(" at Line: ") {
        Some((text, place)) => {
            let mut numbers = place
                .split(|c: char| !c.is_ascii_digit())
                .filter(|part| !part.is_empty())
                .filter_map(|part| part.parse::<u64>().ok());
            match (numbers.next(), numbers.next()) {
                (Some(line), Some(column)) => (text, Some(Position { line, column, length: 1 })),
                _ => (message, None),
            }
        }
        None => (message, None),
    };
    let error = SqlError::new(SqlErrorKind::Syntax, format!("syntax error: {}", lower_first(text)));
    match position {
        Some(position) => error.at(position),
        None => error,
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|c| c.to_lowercase().chain(chars).collect()).unwrap_or_default()
}
