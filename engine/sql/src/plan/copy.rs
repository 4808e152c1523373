//! `COPY ... TO`: a query whose rows become a file or a directory of partitions, which is there whole or not at all.

use std::collections::BTreeMap;

use datafusion_sql::sqlparser::ast;
use flumen_core::connectors::FILE_CONNECTOR;
use flumen_core::spec::connector::SinkSpec;

use super::node::Node;
use super::statement::{StatementPlanner, written};
use crate::bind::connector_error;
use crate::error::{Result, SqlError, SqlErrorKind, did_you_mean, nearest};

/// Options of COPY, and of the connector that they are.
const OPTIONS: [(&str, &str); 17] = [
    ("format", "format"),
    ("header", "csv.header"),
    ("delimiter", "csv.field-delimiter"),
    ("delim", "csv.field-delimiter"),
    ("sep", "csv.field-delimiter"),
    ("quote", "csv.quote-character"),
    ("escape", "csv.escape-character"),
    ("nullstr", "csv.null-literal"),
    ("null", "csv.null-literal"),
    ("compression", "compression"),
    ("codec", "compression"),
    ("compression_level", "compression-level"),
    ("row_group_size", "parquet.row-group-rows"),
    ("array", "json.array"),
    ("partition_by", "partition-by"),
    ("overwrite", "overwrite"),
    ("overwrite_or_ignore", "overwrite"),
];

impl StatementPlanner<'_> {
    pub(super) fn copy(&self, query: &ast::Query, target: &str, options: &BTreeMap<String, String>) -> Result<Node> {
        let sink = self
            .connectors
            .sink(FILE_CONNECTOR)
            .ok_or_else(|| SqlError::unsupported("COPY: no connector writes files").about("COPY"))?;
        let mut written_options =
            BTreeMap::from([("path".to_owned(), target.to_owned()), ("write-mode".to_owned(), "replace".to_owned())]);
        for (name, value) in options {
            let Some((_, option)) = OPTIONS.iter().find(|(known, _)| known == name) else {
                let error =
                    SqlError::new(SqlErrorKind::Unknown, format!("COPY has no option {name}")).about(name.clone());
                let names = OPTIONS.map(|(name, _)| name);
                let hint = did_you_mean(&nearest(name, names));
                return Err(error.with_hint(hint.unwrap_or_else(|| format!("there are {}", names.join(", ")))));
            };
            if written_options.insert((*option).to_owned(), value.clone()).is_some() {
                return Err(SqlError::invalid(format!("option {name} is given twice")).about(name.clone()));
            }
        }
        let node = self.query(query)?;
        self.check_append_only(&node, target)?;
        if !node.bounded {
            return Err(SqlError::unsupported("COPY of rows that do not end")
                .about("COPY")
                .with_hint("INSERT INTO a table with connector 'filesystem'"));
        }
        sink.validate(&written_options, &node.schema).map_err(|e| connector_error(&e, target))?;
        let spec = SinkSpec { connector: FILE_CONNECTOR.to_owned(), options: written_options };
        Ok(written(node, sink.as_ref(), spec, target))
    }
}
