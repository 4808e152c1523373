//! Flumen's dialect for the SQL tokenizer and parser.

use std::any::TypeId;

use datafusion_sql::sqlparser::ast::Expr;
use datafusion_sql::sqlparser::dialect::{Dialect, GenericDialect, Precedence};
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
        if let Token::Word(w) = &first.token
            && w.quote_style.is_none()
            && begins_clause(w.keyword)
        {
            let found = first.clone();
            return Some(parser.expected("an expression", found));
        }
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

    fn parse_infix(&self, parser: &mut Parser<'_>, left: &Expr, _precedence: u8) -> Option<Result<Expr, ParserError>> {
        // The parser takes all that follows FROM for the right side: `a IS DISTINCT FROM b AND c` is (... b) AND c.
        let is_not = if parser.parse_keywords(&[Keyword::IS, Keyword::DISTINCT, Keyword::FROM]) {
            false
        } else if parser.parse_keywords(&[Keyword::IS, Keyword::NOT, Keyword::DISTINCT, Keyword::FROM]) {
            true
        } else {
            return None;
        };
        let right = parser.parse_subexpr(self.prec_value(Precedence::Is));
        Some(right.map(|right| {
            let (left, right) = (Box::new(left.clone()), Box::new(right));
            if is_not { Expr::IsNotDistinctFrom(left, right) } else { Expr::IsDistinctFrom(left, right) }
        }))
    }

    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        // A mistake inside CASE is told as it is, and not that CASE is no column.
        keyword == Keyword::CASE || GenericDialect.is_reserved_for_identifier(keyword)
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
    fn supports_bitwise_shift_operators(&self) -> bool {
        true
    }
    fn supports_comma_separated_trim(&self) -> bool {
        true
    }
    fn supports_order_by_all(&self) -> bool {
        true
    }
    fn supports_dictionary_syntax(&self) -> bool {
        true
    }
    fn support_map_literal_syntax(&self) -> bool {
        true
    }
    fn supports_struct_literal(&self) -> bool {
        true
    }
    fn supports_array_typedef_with_brackets(&self) -> bool {
        true
    }
    fn supports_named_fn_args_with_assignment_operator(&self) -> bool {
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

/// Whether a word, if it is not quoted, begins the next part of a query and is never a column or a table.
pub(super) fn begins_clause(keyword: Keyword) -> bool {
    matches!(
        keyword,
        Keyword::FROM
            | Keyword::WHERE
            | Keyword::GROUP
            | Keyword::HAVING
            | Keyword::ORDER
            | Keyword::LIMIT
            | Keyword::UNION
            | Keyword::INTERSECT
            | Keyword::EXCEPT
            | Keyword::AND
            | Keyword::OR
            | Keyword::WHEN
            | Keyword::THEN
            | Keyword::ELSE
            | Keyword::ON
    )
}
