//! One statement.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion_sql::sqlparser::ast::{self, DataType, ObjectName, Query, TableObject};
use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::parser::{Parser, ParserError};
use datafusion_sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use super::normalize::{self, WrittenNames};
use super::{FlumenDialect, limits, place, rebalance, syntax_error};
use crate::error::{Position, Result, SqlError, SqlErrorKind};

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

    /// The error for a setting that SET or RESET cannot give: at the value, if it is that, else at the key.
    #[must_use]
    pub fn setting_error(&self, message: String, is_value: bool) -> SqlError {
        let tokens: Vec<&TokenWithSpan> =
            self.tokens.iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).collect();
        let is_to =
            |t: &&TokenWithSpan| t.token == Token::Eq || matches!(&t.token, Token::Word(w) if w.keyword == Keyword::TO);
        let before = if is_value { tokens.iter().position(is_to) } else { Some(0) };
        let error = SqlError::new(SqlErrorKind::Unknown, message);
        match before.and_then(|before| tokens.get(before + 1)) {
            Some(token) => error.at(place(token)).locate(&self.tokens, &self.source),
            None => error,
        }
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
    /// `CREATE TABLE ... AS query`: a table with the query's columns and rows.
    CreateTableAs {
        /// The table; its columns are the query's.
        table: Box<CreateTable>,
        /// The rows.
        query: Box<Query>,
    },
    /// `CREATE VIEW`.
    CreateView(Box<CreateView>),
    /// `DROP TABLE` or `DROP VIEW`.
    Drop {
        /// Which of the two.
        what: Droppable,
        /// Its name.
        name: String,
        /// No error if there is none.
        if_exists: bool,
    },
    /// `COPY query TO 'file'`.
    Copy {
        /// The rows.
        query: Box<Query>,
        /// The file.
        target: String,
        /// How it is written, by lower-case name.
        options: BTreeMap<String, String>,
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
    /// `SHOW VIEWS`.
    ShowViews,
    /// `DESCRIBE`.
    Describe(DescribeTarget),
    /// `SUMMARIZE` of a query, or of all rows of a table.
    Summarize(Box<Query>),
}

/// What is described.
#[derive(Clone, Debug)]
pub enum DescribeTarget {
    /// A table by name, or a file by its path.
    Table(ObjectName),
    /// A query.
    Query(Box<Query>),
}

/// What a name can be dropped as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Droppable {
    /// A table.
    Table,
    /// A view.
    View,
}

/// A view definition.
#[derive(Clone, Debug)]
pub struct CreateView {
    pub(crate) name: ast::Ident,
    pub(crate) or_replace: bool,
    pub(crate) if_not_exists: bool,
    /// Names for its columns; empty means those of the query.
    pub(crate) columns: Vec<ast::Ident>,
    /// As it is read.
    pub(crate) query: Box<Query>,
    /// As it was written.
    pub(crate) text: String,
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

pub(super) struct StatementParser<'a> {
    pub(super) parser: Parser<'a>,
    tokens: &'a Arc<[TokenWithSpan]>,
    pub(super) source: &'a Arc<str>,
    pub(super) names: &'a Arc<WrittenNames>,
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

pub(super) fn syntax(error: ParserError) -> SqlError {
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
            Keyword::COPY => self.copy(),
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
                if self.parser.parse_keyword(Keyword::VIEWS) {
                    return Ok(StatementKind::ShowViews);
                }
                self.parser.expect_keyword(Keyword::TABLES).map_err(syntax)?;
                Ok(StatementKind::ShowTables)
            }
            Keyword::DESCRIBE | Keyword::DESC => {
                self.parser.next_token();
                if self.is_query_next() {
                    return Ok(StatementKind::Describe(DescribeTarget::Query(self.query()?)));
                }
                let _ = self.parser.parse_keyword(Keyword::TABLE);
                let name = self.parser.parse_object_name(true).map_err(syntax)?;
                Ok(StatementKind::Describe(DescribeTarget::Table(name)))
            }
            _ if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("summarize") => {
                self.parser.next_token();
                let query = if self.is_query_next() { self.query()? } else { self.table_as_query()? };
                Ok(StatementKind::Summarize(query))
            }
            _ => {
                const KNOWN: [&str; 15] = [
                    "SELECT",
                    "FROM",
                    "WITH",
                    "VALUES",
                    "INSERT",
                    "CREATE",
                    "DROP",
                    "SET",
                    "RESET",
                    "EXPLAIN",
                    "SHOW",
                    "DESCRIBE",
                    "TABLE",
                    "COPY",
                    "SUMMARIZE",
                ];
                let other = ["UPDATE", "DELETE", "ALTER", "MERGE", "TRUNCATE", "USE", "CALL", "ANALYZE"];
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

    pub(super) fn query(&mut self) -> Result<Box<Query>> {
        let mut query = self.parser.parse_query().map_err(syntax)?;
        rebalance::rebalance_all(&mut *query)?;
        normalize::query(&mut query, self.names)?;
        Ok(query)
    }

    fn is_query_next(&self) -> bool {
        match &self.parser.peek_token_ref().token {
            Token::Word(w) => matches!(w.keyword, Keyword::SELECT | Keyword::WITH | Keyword::VALUES | Keyword::FROM),
            Token::LParen => true,
            _ => false,
        }
    }

    /// The text from the next token to the end of the statement.
    pub(super) fn rest_of_text(&self) -> String {
        let last = self.tokens.iter().rev().find(|t| !matches!(t.token, Token::Whitespace(_)));
        let start = byte_offset(self.source, self.parser.peek_token_ref().span.start);
        let end = last.map_or(self.source.len(), |t| byte_offset(self.source, t.span.end));
        self.source.get(start..end).unwrap_or_default().to_owned()
    }

    /// `SELECT * FROM` the table or file that is named next.
    pub(super) fn table_as_query(&mut self) -> Result<Box<Query>> {
        let name = self.parser.next_token();
        if !matches!(name.token, Token::Word(_) | Token::SingleQuotedString(_)) {
            let expected = format!("expected a table, a file or a query in parentheses, found {}", name.token);
            return Err(syntax_error(&expected).at(place(&name)));
        }
        let word = |keyword| TokenWithSpan::wrap(Token::make_keyword(keyword));
        let tokens = vec![word("SELECT"), TokenWithSpan::wrap(Token::Mul), word("FROM"), name];
        let parser = Parser::new(&FlumenDialect).with_tokens_with_locations(tokens);
        StatementParser { parser, tokens: self.tokens, source: self.source, names: self.names }.query()
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

/// Where a place counted in lines and letters is in the text.
fn byte_offset(text: &str, location: Location) -> usize {
    let lines_before = usize::try_from(location.line.saturating_sub(1)).unwrap_or(usize::MAX);
    let letters_before = usize::try_from(location.column.saturating_sub(1)).unwrap_or(usize::MAX);
    let line = match lines_before {
        0 => 0,
        n => text.match_indices('\n').nth(n - 1).map_or(text.len(), |(at, _)| at + 1),
    };
    text[line..].char_indices().nth(letters_before).map_or(text.len(), |(at, _)| line + at)
}

/// The name of a table that is not in a schema, in lower case unless it was quoted.
pub(super) fn plain_name(name: &ObjectName) -> Result<String> {
    match name.0.as_slice() {
        [part] => match part.as_ident() {
            Some(ident) => Ok(ident.value.clone()),
            None => Err(SqlError::unsupported(format!("the name {name}"))),
        },
        _ => Err(SqlError::unsupported(format!("tables in other schemas ({name})"))),
    }
}
