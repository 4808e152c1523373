//! Parts of queries that the parser knows, the binder passes over, and an answer may not leave out.
//!
//! `FETCH FIRST n ROWS ONLY` becomes a LIMIT; the rest is refused. Row locks are let through: nothing here is written by
//! anyone else while it is read.

use datafusion_sql::sqlparser::ast::{Expr, LimitClause, Query, Select, TableFactor, Value};

use crate::error::{Result, SqlError};

pub(super) fn check_query(query: &mut Query) -> Result<()> {
    if let Some(fetch) = &mut query.fetch {
        if fetch.with_ties || fetch.percent {
            return Err(SqlError::unsupported("FETCH with PERCENT or WITH TIES").about("FETCH"));
        }
        let one = || Expr::value(Value::Number("1".to_owned(), false));
        let rows = fetch.quantity.take().unwrap_or_else(one);
        match &mut query.limit_clause {
            None => {
                query.limit_clause =
                    Some(LimitClause::LimitOffset { limit: Some(rows), offset: None, limit_by: Vec::new() });
            }
            Some(LimitClause::LimitOffset { limit: limit @ None, .. }) => *limit = Some(rows),
            Some(_) => return Err(SqlError::invalid("a query has LIMIT or FETCH, not both").about("FETCH")),
        }
        query.fetch = None;
    }
    refused(query.for_clause.is_some(), "FOR XML and FOR JSON", "FOR")?;
    refused(query.settings.is_some(), "SETTINGS in a query", "SETTINGS")?;
    refused(query.format_clause.is_some(), "FORMAT in a query", "FORMAT")
}

pub(super) fn check_select(select: &Select) -> Result<()> {
    refused(!select.connect_by.is_empty(), "CONNECT BY", "CONNECT")?;
    refused(select.prewhere.is_some(), "PREWHERE", "PREWHERE")?;
    refused(!select.distribute_by.is_empty(), "DISTRIBUTE BY", "DISTRIBUTE")?;
    refused(select.value_table_mode.is_some(), "SELECT AS STRUCT or VALUE", "AS")
}

pub(super) fn check_table(factor: &TableFactor) -> Result<()> {
    match factor {
        TableFactor::Table { version, with_ordinality, partitions, json_path, sample, with_hints, .. } => {
            refused(sample.is_some(), "TABLESAMPLE", "TABLESAMPLE")?;
            refused(version.is_some(), "tables as of a time", "FOR")?;
            refused(*with_ordinality, "WITH ORDINALITY", "ORDINALITY")?;
            refused(!partitions.is_empty(), "PARTITION after a table", "PARTITION")?;
            refused(json_path.is_some(), "paths into a table", "[")?;
            refused(!with_hints.is_empty(), "hints after a table", "WITH")
        }
        TableFactor::Derived { sample, .. } => refused(sample.is_some(), "TABLESAMPLE", "TABLESAMPLE"),
        _ => Ok(()),
    }
}

fn refused(is_there: bool, what: &str, word: &str) -> Result<()> {
    if is_there { Err(SqlError::unsupported(what).about(word)) } else { Ok(()) }
}
