//! Limits on the shape of a statement, checked before anything recursive sees it.
//!
//! Depth is counted on tokens in one pass: brackets, `CASE ... END`, types within types, and runs of prefix operators.
//! Length is not limited but by memory; what is long and flat is made balanced after parsing (see `rebalance`).

use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::place;
use crate::error::{Result, SqlError, SqlErrorKind};

/// How deep expressions and queries may be nested.
pub(crate) const NESTING_MAX: usize = 256;
/// How many expressions may be inside of each other: a level of nesting may take several.
pub(crate) const EXPRESSIONS_MAX: usize = 4 * NESTING_MAX;
/// Joins, set operations and other relations of one statement that the binder meets recursively.
pub(crate) const RELATIONS_MAX: usize = 256;

/// Refuses statements that are nested too deep.
pub(crate) fn check_depth(tokens: &[TokenWithSpan]) -> Result<()> {
    let mut depth = 0_usize;
    let mut prefixes = 0_usize;
    let mut set_operations = 0_usize;
    // `<` after the name of a type that takes others opens a bracket; `>` closes one only as long as there is one.
    let mut types = 0_usize;
    let mut after_type_name = false;
    for token in tokens.iter().filter(|t| !matches!(t.token, Token::Whitespace(_))) {
        let opens_types = std::mem::take(&mut after_type_name) && token.token == Token::Lt;
        match &token.token {
            Token::SemiColon => set_operations = 0,
            Token::Lt if opens_types => types += 1,
            Token::Gt => types = types.saturating_sub(1),
            Token::ShiftRight => types = types.saturating_sub(2),
            Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
            Token::RParen | Token::RBracket | Token::RBrace => depth = depth.saturating_sub(1),
            Token::Word(w) if w.quote_style.is_none() => match w.keyword {
                Keyword::CASE => depth += 1,
                Keyword::END => depth = depth.saturating_sub(1),
                Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT => set_operations += 1,
                Keyword::ARRAY | Keyword::MAP | Keyword::STRUCT | Keyword::ROW => after_type_name = true,
                _ => {}
            },
            _ => {}
        }
        let is_prefix = match &token.token {
            Token::Minus | Token::Plus | Token::Tilde | Token::ExclamationMark => true,
            Token::Word(w) => w.keyword == Keyword::NOT && w.quote_style.is_none(),
            _ => false,
        };
        prefixes = if is_prefix { prefixes + 1 } else { 0 };
        if depth.max(prefixes).max(types) > NESTING_MAX {
            return Err(too_deep().at(place(token)));
        }
        if set_operations > RELATIONS_MAX {
            return Err(SqlError::new(
                SqlErrorKind::Limit,
                format!("the statement has more than {RELATIONS_MAX} set operations"),
            )
            .at(place(token))
            .with_hint("write the parts into a table, or read the files by one pattern"));
        }
    }
    Ok(())
}

/// The error for statements that are nested too deep.
pub(crate) fn too_deep() -> SqlError {
    SqlError::new(SqlErrorKind::Limit, format!("the statement is nested more than {NESTING_MAX} levels deep"))
        .with_hint("take the inner levels out into WITH queries; chains of AND, OR and + may be of any length")
}
