//! Flumen's dialect for the SQL tokenizer and parser.

use std::any::TypeId;

use datafusion_sql::sqlparser::ast::Expr;
use datafusion_sql::sqlparser::dialect::{Dialect, GenericDialect};
use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::parser::{Parser, ParserError};
use datafusion_sql::sqlparser::tokenizer::Token;

/// Generic SQL with both kinds of quotes for names, FROM first, and `TABLE t` as an argument of table functions.
#[derive(Debug, Default)]
pub(crate) struct FlumenDialect;

impl Dialect for FlumenDialect {
    fn dialect(&self) -> TypeId {
        // The parser asks for the generic dialect in a few hundred places; we are it but for what follows.
        TypeId::of::<GenericDialect>()
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_' || ch == '$'
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '"' || ch == '`'
    }

    fn parse_prefix(&self, parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        // `TUMBLE(TABLE t, ...)`.
        let [first, second] = parser.peek_tokens_ref::<2>();
        let is_table = matches!(&first.token, Token::Word(w) if w.keyword == Keyword::TABLE && w.quote_style.is_none());
        if !is_table || !matches!(second.token, Token::Word(_) | Token::SingleQuotedString(_)) {
            return None;
        }
        parser.next_token();
        Some(parser.parse_object_name(false).map(|name| {
            let parts: Vec<_> = name.0.into_iter().filter_map(|p| p.as_ident().cloned()).collect();
            match <[_; 1]>::try_from(parts) {
                Ok([one]) => Expr::Identifier(one),
                Err(parts) => Expr::CompoundIdentifier(parts),
            }
        }))
    }

    fn supports_from_first_select(&self) -> bool {
        true
    }
    fn supports_group_by_expr(&self) -> bool {
        true
    }
    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }
    fn supports_select_wildcard_except(&self) -> bool {
        true
    }
    fn supports_select_wildcard_exclude(&self) -> bool {
        true
    }
    fn supports_select_wildcard_replace(&self) -> bool {
        true
    }
    fn supports_parens_around_table_factor(&self) -> bool {
        true
    }
    fn supports_values_as_table_factor(&self) -> bool {
        true
    }
    fn supports_projection_trailing_commas(&self) -> bool {
        true
    }
    fn supports_nested_comments(&self) -> bool {
        true
    }
    fn supports_string_escape_constant(&self) -> bool {
        true
    }
    fn supports_interval_options(&self) -> bool {
        true
    }
    fn supports_order_by_all(&self) -> bool {
        true
    }
    fn supports_table_versioning(&self) -> bool {
        true
    }
    fn supports_window_function_null_treatment_arg(&self) -> bool {
        true
    }
    fn supports_match_recognize(&self) -> bool {
        true
    }
    fn supports_try_convert(&self) -> bool {
        true
    }
    fn allow_extract_custom(&self) -> bool {
        true
    }
    fn allow_extract_single_quotes(&self) -> bool {
        true
    }
}
