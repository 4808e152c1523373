//! Files that are named in FROM.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use datafusion_sql::sqlparser::ast;
use datafusion_sql::sqlparser::parser::Parser;
use flumen_core::connectors::FILE_CONNECTOR;
use flumen_core::types::{LogicalType, Schema};

use super::table::ConnectedTable;
use super::{Binder, connector_error, timestamp_resolution, types, without_slash};
use crate::error::{Result, SqlError, SqlErrorKind, did_you_mean, nearest};
use crate::parse::FlumenDialect;
use crate::parse::read_function::FileCall;

impl Binder<'_> {
    /// A file, directory or pattern, with what the statement says of it.
    pub(super) fn file(&self, call: &FileCall) -> Result<ConnectedTable> {
        let path = call.path();
        let connector = self
            .connectors
            .source(FILE_CONNECTOR)
            .ok_or_else(|| SqlError::unsupported("files in FROM: no connector reads files").about(path))?;
        let about = without_slash(path);
        let mut schema = connector.infer_schema(&call.options).map_err(|e| connector_error(&e, about))?;
        for (column, data_type) in &call.types {
            self.retype(&mut schema, column, data_type)?;
        }
        let schema = Arc::new(schema);
        let options: BTreeMap<String, String> = call.options.clone();
        let boundedness = connector.validate(&options, &schema).map_err(|e| connector_error(&e, about))?;
        Ok(ConnectedTable {
            name: path.to_owned(),
            connector_name: FILE_CONNECTOR.to_owned(),
            connector: Arc::clone(connector),
            options,
            binder_schema: types::binder_schema(&schema),
            schema,
            watermark: None,
            boundedness,
            statistics: OnceLock::new(),
        })
    }

    /// Gives a column the type that the statement says.
    fn retype(&self, schema: &mut Schema, column: &str, written: &str) -> Result<()> {
        let names: Vec<String> = schema.fields.iter().map(|field| field.name.clone()).collect();
        let Some(field) = schema.fields.iter_mut().find(|field| field.name.eq_ignore_ascii_case(column)) else {
            let error =
                SqlError::new(SqlErrorKind::Unknown, format!("the file has no column {column:?}")).about(column);
            let hint = did_you_mean(&nearest(column, names.iter().map(String::as_str)));
            return Err(error.with_hint(hint.unwrap_or_else(|| format!("its columns are {}", names.join(", ")))));
        };
        field.data_type = self.written_type(written)?;
        Ok(())
    }

    fn written_type(&self, written: &str) -> Result<LogicalType> {
        let unknown = || crate::wording::unknown_type(written).about(written);
        let data_type = Parser::new(&FlumenDialect)
            .try_with_sql(written)
            .and_then(|mut parser| parser.parse_data_type())
            .map_err(|_| unknown())?;
        let name = ast::Ident::new("value");
        let definition = ast::ColumnDef { name, data_type: data_type.clone(), options: Vec::new() };
        let arrow = self.front_end().build_schema(vec![definition]).map_err(|_| unknown())?;
        let found =
            arrow.fields().first().and_then(|field| types::logical(field.data_type()).ok()).ok_or_else(unknown)?;
        Ok(match (data_type, found) {
            (ast::DataType::Timestamp(precision, _), LogicalType::Timestamp { zone, .. }) => {
                LogicalType::Timestamp { resolution: timestamp_resolution(precision.unwrap_or(6)), zone }
            }
            (_, found) => found,
        })
    }
}
