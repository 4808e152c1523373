//! `COPY (query) TO 'file' (FORMAT parquet, ...)`, `COPY table TO 'file'`.

use std::collections::BTreeMap;

use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::tokenizer::Token;

use super::statement::{StatementKind, StatementParser, syntax};
use super::{place, syntax_error};
use crate::error::{Result, SqlError};

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
        let _ = self.parser.parse_keyword(Keyword::WITH);
        let mut options = BTreeMap::new();
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
        let next = self.parser.peek_token();
        let value = match &next.token {
            Token::Comma | Token::RParen => "true".to_owned(),
            Token::SingleQuotedString(text) => text.clone(),
            Token::Word(word) => word.value.clone(),
            Token::Number(number, _) => number.clone(),
            other => return Err(syntax_error(&format!("expected a value of {name}, found {other}")).at(place(&next))),
        };
        if !matches!(self.parser.peek_token().token, Token::Comma | Token::RParen) {
            self.parser.next_token();
        }
        match options.insert(name.clone(), value) {
            None => Ok(()),
            Some(_) => Err(SqlError::invalid(format!("option {name} is given twice")).at(place(&start))),
        }
    }
}
