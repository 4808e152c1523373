//! `CREATE` and `DROP`.

use std::collections::BTreeMap;

use datafusion_sql::sqlparser::ast::{self, ColumnOption, SqlOption, TableConstraint};
use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::parser::IsOptional;
use datafusion_sql::sqlparser::tokenizer::Token;
use flumen_core::connectors::MEMORY_CONNECTOR;

use super::statement::{
    ColumnDefinition, CreateTable, CreateView, Droppable, StatementKind, StatementParser, Watermark, plain_name, syntax,
};
use super::{place, syntax_error};
use crate::error::{Result, SqlError, did_you_mean, nearest};

impl StatementParser<'_> {
    pub(super) fn create(&mut self) -> Result<StatementKind> {
        let start = self.parser.next_token();
        let or_replace = self.parser.parse_keywords(&[Keyword::OR, Keyword::REPLACE]);
        let _ = self.parser.parse_keyword(Keyword::TEMPORARY) || self.parser.parse_keyword(Keyword::TEMP);
        if self.parser.parse_keyword(Keyword::VIEW) {
            return self.create_view(or_replace);
        }
        if !self.parser.parse_keyword(Keyword::TABLE) {
            let what = self.parser.peek_token();
            let word = what.token.to_string();
            if let Some(hint) = did_you_mean(&nearest(&word, ["TABLE", "VIEW"])) {
                return Err(syntax_error(&format!("expected TABLE or VIEW, found {word}"))
                    .at(place(&what))
                    .with_hint(hint));
            }
            return Err(SqlError::unsupported(format!("CREATE {word}")).at(place(&start)));
        }
        let if_not_exists = self.parser.parse_keywords(&[Keyword::IF, Keyword::NOT, Keyword::EXISTS]);
        let name = self.parser.parse_identifier().map_err(syntax)?;
        if self.parser.peek_token().token == Token::Period {
            return Err(SqlError::unsupported("tables in other schemas").at(place(&self.parser.peek_token())));
        }
        let mut table = CreateTable {
            name,
            if_not_exists,
            or_replace,
            columns: Vec::new(),
            watermark: None,
            primary_key: Vec::new(),
            options: BTreeMap::new(),
        };
        if self.parser.consume_token(&Token::LParen) {
            loop {
                self.table_element(&mut table)?;
                if self.parser.consume_token(&Token::RParen) {
                    break;
                }
                self.parser.expect_token(&Token::Comma).map_err(syntax)?;
                if self.parser.consume_token(&Token::RParen) {
                    break;
                }
            }
        }
        if self.parser.parse_keyword(Keyword::COMMENT) {
            self.parser.parse_literal_string().map_err(syntax)?;
        }
        let next = self.parser.peek_token();
        if let Token::Word(w) = &next.token
            && matches!(w.keyword, Keyword::PARTITIONED | Keyword::LIKE)
        {
            return Err(SqlError::unsupported(format!("CREATE TABLE ... {}", w.value.to_uppercase())).at(place(&next)));
        }
        for option in self.parser.parse_options(Keyword::WITH).map_err(syntax)? {
            let SqlOption::KeyValue { key, value } = option else {
                return Err(syntax_error("options are written 'key' = 'value'").at(place(&next)));
            };
            let value = match &value {
                ast::Expr::Value(v) => match v.value.clone().into_string() {
                    Some(text) => text,
                    None => v.value.to_string(),
                },
                other => other.to_string(),
            };
            if table.options.insert(key.value.clone(), value).is_some() {
                return Err(SqlError::invalid(format!("option {:?} is given twice", key.value)).about(key.value));
            }
        }
        if !table.options.contains_key("connector") {
            if let Some(option) = table.options.keys().next() {
                return Err(SqlError::invalid("the table has options, but no connector")
                    .about(option.clone())
                    .with_hint("add 'connector' = 'filesystem' or another connector to them"));
            }
            table.options.insert("connector".to_owned(), MEMORY_CONNECTOR.to_owned());
        }
        if self.parser.parse_keyword(Keyword::AS) {
            if !table.columns.is_empty() {
                return Err(SqlError::unsupported("CREATE TABLE with columns and a query")
                    .at(place(&start))
                    .with_hint("name the columns in the query: SELECT a AS x, ..."));
            }
            let query = self.query()?;
            return Ok(StatementKind::CreateTableAs { table: Box::new(table), query });
        }
        if table.columns.is_empty() && table.options.get("connector").is_some_and(|c| c == MEMORY_CONNECTOR) {
            return Err(SqlError::invalid("the table has no columns")
                .at(place(&start))
                .with_hint("write CREATE TABLE t (a INT, b VARCHAR), CREATE TABLE t AS SELECT ..., or WITH ('connector' = 'filesystem', 'path' = '...')"));
        }
        Ok(StatementKind::CreateTable(Box::new(table)))
    }

    /// `[IF NOT EXISTS] name [(columns)] AS query`.
    fn create_view(&mut self, or_replace: bool) -> Result<StatementKind> {
        let if_not_exists = self.parser.parse_keywords(&[Keyword::IF, Keyword::NOT, Keyword::EXISTS]);
        let name = self.parser.parse_identifier().map_err(syntax)?;
        if self.parser.peek_token().token == Token::Period {
            return Err(SqlError::unsupported("views in other schemas").at(place(&self.parser.peek_token())));
        }
        let columns = self.parser.parse_parenthesized_column_list(IsOptional::Optional, false).map_err(syntax)?;
        self.parser.expect_keyword(Keyword::AS).map_err(syntax)?;
        let text = self.rest_of_text();
        let query = self.query()?;
        Ok(StatementKind::CreateView(Box::new(CreateView { name, or_replace, if_not_exists, columns, query, text })))
    }

    fn table_element(&mut self, table: &mut CreateTable) -> Result<()> {
        let start = self.parser.peek_token();
        if let Token::Word(w) = &start.token
            && w.quote_style.is_none()
            && w.value.eq_ignore_ascii_case("watermark")
        {
            self.parser.next_token();
            self.parser.expect_keyword(Keyword::FOR).map_err(syntax)?;
            let column = self.parser.parse_identifier().map_err(syntax)?;
            self.parser.expect_keyword(Keyword::AS).map_err(syntax)?;
            let expression = self.parser.parse_expr().map_err(syntax)?;
            if table.watermark.replace(Watermark { column, expression }).is_some() {
                return Err(SqlError::invalid("a table has one WATERMARK at most").at(place(&start)));
            }
            return Ok(());
        }
        if let Some(constraint) = self.parser.parse_optional_table_constraint().map_err(syntax)? {
            let TableConstraint::PrimaryKey(key) = constraint else {
                return Err(SqlError::unsupported("table constraints other than PRIMARY KEY").at(place(&start)));
            };
            // `NOT ENFORCED` may have been taken as part of the constraint already.
            if self.parser.parse_keyword(Keyword::NOT) {
                self.parser.expect_keyword(Keyword::ENFORCED).map_err(syntax)?;
            } else if key.characteristics.as_ref().and_then(|c| c.enforced) != Some(false) {
                return Err(SqlError::invalid("a PRIMARY KEY must be NOT ENFORCED")
                    .at(place(&start))
                    .with_hint("the engine does not check keys; write PRIMARY KEY (...) NOT ENFORCED"));
            }
            for column in &key.columns {
                table.primary_key.push(column.to_string());
            }
            return Ok(());
        }
        let name = self.parser.parse_identifier().map_err(syntax)?;
        if self.parser.parse_keyword(Keyword::AS) {
            return Err(SqlError::unsupported("computed columns").at(place(&start)));
        }
        let data_type = self.parser.parse_data_type().map_err(syntax)?;
        let mut column = ColumnDefinition { name, data_type, nullable: true };
        loop {
            let next = self.parser.peek_token();
            if let Token::Word(w) = &next.token
                && w.value.eq_ignore_ascii_case("metadata")
            {
                return Err(SqlError::unsupported("METADATA columns").at(place(&next)));
            }
            match self.parser.parse_optional_column_option().map_err(syntax)? {
                None => break,
                Some(ColumnOption::NotNull) => column.nullable = false,
                Some(ColumnOption::Null) => column.nullable = true,
                Some(ColumnOption::Comment(_)) => {}
                Some(ColumnOption::PrimaryKey(_)) => {
                    let not_enforced = self.parser.parse_keyword(Keyword::NOT);
                    if not_enforced {
                        self.parser.expect_keyword(Keyword::ENFORCED).map_err(syntax)?;
                    }
                    table.primary_key.push(column.name.value.clone());
                }
                Some(other) => {
                    return Err(SqlError::unsupported(format!("column option {other}")).at(place(&next)));
                }
            }
        }
        table.columns.push(column);
        Ok(())
    }

    pub(super) fn drop(&mut self) -> Result<StatementKind> {
        self.parser.next_token();
        let _ = self.parser.parse_keyword(Keyword::TEMPORARY);
        let next = self.parser.peek_token();
        let what = match () {
            () if self.parser.parse_keyword(Keyword::TABLE) => Droppable::Table,
            () if self.parser.parse_keyword(Keyword::VIEW) => Droppable::View,
            () => return Err(SqlError::unsupported(format!("DROP {}", next.token)).at(place(&next))),
        };
        let if_exists = self.parser.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
        let name = self.parser.parse_object_name(false).map_err(syntax)?;
        Ok(StatementKind::Drop { what, name: plain_name(&name)?, if_exists })
    }
}
