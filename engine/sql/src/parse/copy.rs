//! `COPY (query) TO 'file' (FORMAT parquet, ...)`, `COPY table TO 'directory' PARTITION BY (column, ...)`.

use std::collections::BTreeMap;

use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::Token;

use super::statement::{StatementKind, StatementParser, syntax};
use super::{place, syntax_error};
use crate::error::{Position, Result, SqlError};

impl StatementParser<'_> {
    pub(super) fn copy(&mut self) -> Result<StatementKind> {
        self.parser.next_token();
        let start = self.parser.peek_token();
        let query = if start.token == Token::LParen {
            self.parser.next_token();
            let query = self.query()?;
            self.parser.expect_token(&Token::RParen).map_err(syntax)?;
            query
        } else {
            self.table_as_query()?
        };
        let direction = self.parser.peek_token();
        if self.parser.parse_keyword(Keyword::FROM) {
            return Err(SqlError::unsupported("COPY FROM")
                .at(place(&direction))
                .with_hint("write INSERT INTO the_table SELECT * FROM 'file'"));
        }
        self.parser.expect_keyword(Keyword::TO).map_err(syntax)?;
        let target = self.parser.parse_literal_string().map_err(syntax)?;
        let mut options = BTreeMap::new();
        if self.parser.parse_keywords(&[Keyword::PARTITION, Keyword::BY]) {
            options.insert("partition_by".to_owned(), self.names_in_parentheses()?);
        }
        let _ = self.parser.parse_keyword(Keyword::WITH);
        if self.parser.consume_token(&Token::LParen) {
            loop {
                self.copy_option(&mut options)?;
                if !self.parser.consume_token(&Token::Comma) {
                    break;
                }
            }
            self.parser.expect_token(&Token::RParen).map_err(syntax)?;
        }
        Ok(StatementKind::Copy { query, target, options })
    }

    /// `name value` or `name`, which means `name true`.
    fn copy_option(&mut self, options: &mut BTreeMap<String, String>) -> Result<()> {
        let start = self.parser.peek_token();
        let name = self.parser.parse_identifier().map_err(syntax)?.value.to_lowercase();
        let _ = self.parser.consume_token(&Token::Eq);
        let next = self.parser.peek_token();
        if next.token == Token::LParen {
            let names = self.names_in_parentheses()?;
            return self.insert_option(options, name, names, place(&start));
        }
        let is_negative = self.parser.consume_token(&Token::Minus);
        let next = if is_negative { self.parser.peek_token() } else { next };
        let value = match &next.token {
            Token::Comma | Token::RParen => "true".to_owned(),
            Token::SingleQuotedString(text) => text.clone(),
            Token::Word(word) => word.value.clone(),
            Token::Number(number, _) if is_negative => format!("-{number}"),
            Token::Number(number, _) => number.clone(),
            other => return Err(syntax_error(&format!("expected a value of {name}, found {other}")).at(place(&next))),
        };
        if !matches!(self.parser.peek_token().token, Token::Comma | Token::RParen) {
            self.parser.next_token();
        }
        self.insert_option(options, name, value, place(&start))
    }

    fn insert_option(
        &self,
        options: &mut BTreeMap<String, String>,
        name: String,
        value: String,
        at: Position,
    ) -> Result<()> {
        match options.insert(name.clone(), value) {
            None => Ok(()),
            Some(_) => Err(SqlError::invalid(format!("option {name} is given twice")).at(at)),
        }
    }

    /// `(a, b)`, with a line each.
    fn names_in_parentheses(&mut self) -> Result<String> {
        self.parser.expect_token(&Token::LParen).map_err(syntax)?;
        let names = self.parser.parse_comma_separated(Parser::parse_identifier).map_err(syntax)?;
        self.parser.expect_token(&Token::RParen).map_err(syntax)?;
        Ok(names.iter().map(|name| self.names.written(name)).collect::<Vec<_>>().join("\n"))
    }
}
