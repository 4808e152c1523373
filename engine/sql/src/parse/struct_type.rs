//! `STRUCT(a INTEGER, b VARCHAR)` as a type, which the parser knows as `STRUCT<a INTEGER, b VARCHAR>`.
//!
//! It is told from a call of the function by what is first in its brackets: a name and the name of a type.

use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// Whether a word can begin a type.
fn begins_type(token: &Token) -> bool {
    let Token::Word(word) = token else { return false };
    word.quote_style.is_none()
        && matches!(
            word.keyword,
            Keyword::ARRAY
                | Keyword::BIGINT
                | Keyword::BOOL
                | Keyword::BOOLEAN
                | Keyword::BYTEA
                | Keyword::CHAR
                | Keyword::DATE
                | Keyword::DEC
                | Keyword::DECIMAL
                | Keyword::DOUBLE
                | Keyword::FLOAT
                | Keyword::INT
                | Keyword::INTEGER
                | Keyword::INTERVAL
                | Keyword::NUMERIC
                | Keyword::REAL
                | Keyword::SMALLINT
                | Keyword::STRING
                | Keyword::STRUCT
                | Keyword::TEXT
                | Keyword::TIME
                | Keyword::TIMESTAMP
                | Keyword::TINYINT
                | Keyword::VARBINARY
                | Keyword::VARCHAR
        )
}

/// Gives the brackets of such types the form that the parser knows.
pub(super) fn with_angles(tokens: &mut [TokenWithSpan]) {
    let words: Vec<usize> =
        (0..tokens.len()).filter(|index| !matches!(tokens[*index].token, Token::Whitespace(_))).collect();
    for (at, window) in words.windows(4).enumerate() {
        let [keyword, open, name, data_type] = [0, 1, 2, 3].map(|i| &tokens[window[i]].token);
        let is_struct =
            matches!(keyword, Token::Word(word) if word.keyword == Keyword::STRUCT && word.quote_style.is_none());
        if !is_struct || *open != Token::LParen || !matches!(name, Token::Word(_)) || !begins_type(data_type) {
            continue;
        }
        let mut depth = 0_usize;
        let close = words[at + 1..].iter().copied().find(|index| {
            match tokens[*index].token {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                // The brackets of a struct around this one are turned already.
                _ => {}
            }
            depth == 0
        });
        if let Some(close) = close {
            tokens[words[at + 1]].token = Token::Lt;
            tokens[close].token = Token::Gt;
        }
    }
}
