//! One statement.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion_sql::sqlparser::ast::{
    self, ColumnOption, DataType, ObjectName, Query, SqlOption, TableConstraint, TableObject,
};
use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::parser::{Parser, ParserError};
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::normalize::{self, WrittenNames};
use super::{FlumenDialect, limits, place, rebalance, syntax_error};
use crate::error::{Position, Result, SqlError};

/// A statement and where it came from.
#[derive(Clone, Debug)]
pub struct Statement {
    pub(crate) kind: StatementKind,
    pub(crate) tokens: Arc<[TokenWithSpan]>,
    pub(crate) source: Arc<str>,
    pub(crate) names: Arc<WrittenNames>,
}

impl Statement {
    /// What it says.
    #[must_use]
    pub fn kind(&self) -> &StatementKind {
        &self.kind
    }

    /// Where its first word is in the text that was parsed.
    #[must_use]
    pub fn position(&self) -> Position {
        let first = self.tokens.iter().find(|t| !matches!(t.token, Token::Whitespace(_)));
        first.map(place).unwrap_or_default()
    }
}

/// What a statement says.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StatementKind {
    /// A query.
    Query(Box<Query>),
    /// `INSERT INTO table [(columns)] query`.
    Insert {
        /// The table.
        table: String,
        /// The columns named, in order; empty means all.
        columns: Vec<String>,
        /// The rows.
        query: Box<Query>,
    },
    /// `CREATE TABLE`.
    CreateTable(Box<CreateTable>),
    /// `DROP TABLE`.
    DropTable {
        /// Its name.
        name: String,
        /// No error if there is none.
        if_exists: bool,
    },
    /// `SET 'key' = 'value'`.
    Set {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// `SET` alone: all settings.
    ShowSettings,
    /// `RESET 'key'`, or of all.
    Reset {
        /// The key; `None` means all.
        key: Option<String>,
    },
    /// `EXPLAIN statement`.
    Explain {
        /// Run it, too, and show what was measured.
        analyze: bool,
        /// What is explained.
        statement: Box<Statement>,
    },
    /// `SHOW TABLES`.
    ShowTables,
    /// `DESCRIBE`.
    Describe(DescribeTarget),
}

/// What is described.
#[derive(Clone, Debug)]
pub enum DescribeTarget {
    /// A table by name, or a file by its path.
    Table(ObjectName),
    /// A query.
    Query(Box<Query>),
}

/// A table definition.
#[derive(Clone, Debug)]
pub struct CreateTable {
    pub(crate) name: ast::Ident,
    pub(crate) if_not_exists: bool,
    pub(crate) or_replace: bool,
    pub(crate) columns: Vec<ColumnDefinition>,
    pub(crate) watermark: Option<Watermark>,
    pub(crate) primary_key: Vec<String>,
    pub(crate) options: BTreeMap<String, String>,
}

/// A column of a table definition.
#[derive(Clone, Debug)]
pub(crate) struct ColumnDefinition {
    pub(crate) name: ast::Ident,
    pub(crate) data_type: DataType,
    pub(crate) nullable: bool,
}

/// `WATERMARK FOR column AS expression`.
#[derive(Clone, Debug)]
pub(crate) struct Watermark {
    pub(crate) column: ast::Ident,
    pub(crate) expression: ast::Expr,
}

struct StatementParser<'a> {
    parser: Parser<'a>,
    tokens: &'a Arc<[TokenWithSpan]>,
    source: &'a Arc<str>,
    names: &'a Arc<WrittenNames>,
}

/// Parses the tokens of one statement.
pub(super) fn parse_statement(
    tokens: &Arc<[TokenWithSpan]>,
    source: &Arc<str>,
    names: &Arc<WrittenNames>,
) -> Result<Statement> {
    // Each level of nesting passes a few recursive functions of the parser that count.
    let parser = Parser::new(&FlumenDialect)
        .with_recursion_limit(limits::NESTING_MAX * 4)
        .with_tokens_with_locations(tokens.to_vec());
    let mut this = StatementParser { parser, tokens, source, names };
    let kind = this.statement()?;
    let rest = this.parser.peek_token();
    if rest.token != Token::EOF {
        return Err(syntax_error(&format!("unexpected {} after the end of the statement", rest.token)).at(place(&rest)));
    }
    Ok(Statement { kind, tokens: Arc::clone(tokens), source: Arc::clone(source), names: Arc::clone(names) })
}

fn syntax(error: ParserError) -> SqlError {
    match error {
        ParserError::RecursionLimitExceeded => limits::too_deep(),
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => syntax_error(&message),
    }
}

impl StatementParser<'_> {
    fn statement(&mut self) -> Result<StatementKind> {
        let first = self.parser.peek_token();
        let Token::Word(word) = &first.token else {
            return match &first.token {
                Token::LParen => self.query().map(StatementKind::Query),
                other => Err(syntax_error(&format!("expected a statement, found {other}")).at(place(&first))),
            };
        };
        match word.keyword {
            Keyword::SELECT | Keyword::WITH | Keyword::VALUES | Keyword::FROM | Keyword::TABLE => {
                self.query().map(StatementKind::Query)
            }
            Keyword::INSERT => self.insert(),
            Keyword::CREATE => self.create(),
            Keyword::DROP => self.drop(),
            Keyword::SET => self.set(),
            Keyword::RESET => {
                self.parser.next_token();
                let key = if self.parser.peek_token().token == Token::EOF { None } else { Some(self.setting_key()?) };
                Ok(StatementKind::Reset { key })
            }
            Keyword::EXPLAIN => {
                self.parser.next_token();
                let analyze = self.parser.parse_keyword(Keyword::ANALYZE);
                // `EXPLAIN PLAN FOR` is Flink's long form.
                if self.parser.parse_keyword(Keyword::PLAN) {
                    self.parser.expect_keyword(Keyword::FOR).map_err(syntax)?;
                }
                let statement = Statement {
                    kind: self.statement()?,
                    tokens: Arc::clone(self.tokens),
                    source: Arc::clone(self.source),
                    names: Arc::clone(self.names),
                };
                Ok(StatementKind::Explain { analyze, statement: Box::new(statement) })
            }
            Keyword::SHOW => {
                self.parser.next_token();
                self.parser.expect_keyword(Keyword::TABLES).map_err(syntax)?;
                Ok(StatementKind::ShowTables)
            }
            Keyword::DESCRIBE | Keyword::DESC => {
                self.parser.next_token();
                let next = self.parser.peek_token();
                let is_query = match &next.token {
                    Token::Word(w) => {
                        matches!(w.keyword, Keyword::SELECT | Keyword::WITH | Keyword::VALUES | Keyword::FROM)
                    }
                    Token::LParen => true,
                    _ => false,
                };
                if is_query {
                    return Ok(StatementKind::Describe(DescribeTarget::Query(self.query()?)));
                }
                let _ = self.parser.parse_keyword(Keyword::TABLE);
                let name = self.parser.parse_object_name(true).map_err(syntax)?;
                Ok(StatementKind::Describe(DescribeTarget::Table(name)))
            }
            _ => {
                const KNOWN: [&str; 13] = [
                    "SELECT", "FROM", "WITH", "VALUES", "INSERT", "CREATE", "DROP", "SET", "RESET", "EXPLAIN", "SHOW",
                    "DESCRIBE", "TABLE",
                ];
                let other = ["UPDATE", "DELETE", "ALTER", "COPY", "MERGE", "TRUNCATE", "USE", "CALL", "ANALYZE"];
                if other.iter().any(|k| k.eq_ignore_ascii_case(&word.value)) {
                    return Err(SqlError::unsupported(word.value.to_uppercase()).at(place(&first)));
                }
                let error = syntax_error(&format!("expected a statement, found {:?}", word.value)).at(place(&first));
                Err(match crate::error::did_you_mean(&crate::error::nearest(&word.value, KNOWN)) {
                    Some(hint) => error.with_hint(hint),
                    None => error,
                })
            }
        }
    }

    fn query(&mut self) -> Result<Box<Query>> {
        let mut query = self.parser.parse_query().map_err(syntax)?;
        rebalance::rebalance_all(&mut *query)?;
        normalize::query(&mut query, self.names)?;
        Ok(query)
    }

    fn insert(&mut self) -> Result<StatementKind> {
        let start = self.parser.peek_token();
        let statement = self.parser.parse_statement().map_err(syntax)?;
        let ast::Statement::Insert(insert) = statement else {
            return Err(syntax_error("expected INSERT INTO").at(place(&start)));
        };
        if insert.overwrite {
            return Err(SqlError::unsupported("INSERT OVERWRITE").at(place(&start)));
        }
        if insert.on.is_some() || insert.returning.is_some() || insert.partitioned.is_some() {
            return Err(SqlError::unsupported("INSERT with ON CONFLICT, RETURNING or PARTITION").at(place(&start)));
        }
        let TableObject::TableName(table) = insert.table else {
            return Err(SqlError::unsupported("INSERT INTO a table function").at(place(&start)));
        };
        let Some(mut query) = insert.source else {
            return Err(syntax_error("INSERT INTO needs a query or VALUES").at(place(&start)));
        };
        rebalance::rebalance_all(&mut *query)?;
        normalize::query(&mut query, self.names)?;
        let columns = insert.columns.iter().map(plain_name).collect::<Result<_>>()?;
        Ok(StatementKind::Insert { table: plain_name(&table)?, columns, query })
    }

    fn create(&mut self) -> Result<StatementKind> {
        let start = self.parser.next_token();
        let or_replace = self.parser.parse_keywords(&[Keyword::OR, Keyword::REPLACE]);
        let _ = self.parser.parse_keyword(Keyword::TEMPORARY) || self.parser.parse_keyword(Keyword::TEMP);
        if !self.parser.parse_keyword(Keyword::TABLE) {
            let what = self.parser.peek_token();
            return Err(SqlError::unsupported(format!("CREATE {}", what.token)).at(place(&start)));
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
            && matches!(w.keyword, Keyword::PARTITIONED | Keyword::LIKE | Keyword::AS)
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
            return Err(SqlError::invalid("the table has no connector")
                .at(place(&start))
                .with_hint("add WITH ('connector' = 'filesystem', 'path' = '...') or another connector"));
        }
        Ok(StatementKind::CreateTable(Box::new(table)))
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

    fn drop(&mut self) -> Result<StatementKind> {
        self.parser.next_token();
        let _ = self.parser.parse_keyword(Keyword::TEMPORARY);
        let what = self.parser.peek_token();
        if !self.parser.parse_keyword(Keyword::TABLE) {
            return Err(SqlError::unsupported(format!("DROP {}", what.token)).at(place(&what)));
        }
        let if_exists = self.parser.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
        let name = self.parser.parse_object_name(false).map_err(syntax)?;
        Ok(StatementKind::DropTable { name: plain_name(&name)?, if_exists })
    }

    fn set(&mut self) -> Result<StatementKind> {
        self.parser.next_token();
        if self.parser.peek_token().token == Token::EOF {
            return Ok(StatementKind::ShowSettings);
        }
        let key = self.setting_key()?;
        if !self.parser.consume_token(&Token::Eq) {
            self.parser.expect_keyword(Keyword::TO).map_err(syntax)?;
        }
        let mut value = String::new();
        loop {
            let token = self.parser.next_token();
            match token.token {
                Token::EOF => break,
                Token::SingleQuotedString(text) => value.push_str(&text),
                other => value.push_str(&other.to_string()),
            }
        }
        Ok(StatementKind::Set { key, value })
    }

    /// `'a.b-c'` or `a.b-c`.
    fn setting_key(&mut self) -> Result<String> {
        let first = self.parser.peek_token();
        let mut key = String::new();
        loop {
            match self.parser.peek_token().token {
                Token::SingleQuotedString(text) if key.is_empty() => {
                    self.parser.next_token();
                    return Ok(text);
                }
                Token::Word(w) if w.keyword != Keyword::TO || key.is_empty() => key.push_str(&w.value),
                Token::Period => key.push('.'),
                Token::Minus => key.push('-'),
                Token::Number(n, _) => key.push_str(&n),
                _ => break,
            }
            self.parser.next_token();
        }
        if key.is_empty() {
            return Err(syntax_error("expected a setting's key").at(place(&first)));
        }
        Ok(key)
    }
}

/// The name of a table that is not in a schema, in lower case unless it was quoted.
fn plain_name(name: &ObjectName) -> Result<String> {
    match name.0.as_slice() {
        [part] => match part.as_ident() {
            Some(ident) => Ok(ident.value.clone()),
            None => Err(SqlError::unsupported(format!("the name {name}"))),
        },
        _ => Err(SqlError::unsupported(format!("tables in other schemas ({name})"))),
    }
}
