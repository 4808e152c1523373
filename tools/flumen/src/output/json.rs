//! JSON: an array of objects, or one object a line.
//!
//! Arrow's writer makes the objects: integers and decimals with all their digits, timestamps as ISO 8601, NULL as `null`,
//! bytes in hexadecimal. A name that several columns have gets a number from its second on, since parsers keep one
//! member of a name.

use std::collections::HashSet;
use std::io::{self, Write};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_json::writer::LineDelimited;
use arrow_schema::{Schema, SchemaRef};

use super::RowWriter;

pub(super) struct Json {
    schema: SchemaRef,
    is_array: bool,
    rows: usize,
}

impl Json {
    pub(super) fn array(schema: &SchemaRef) -> Self {
        Self { schema: with_names_of_their_own(schema), is_array: true, rows: 0 }
    }

    pub(super) fn lines(schema: &SchemaRef) -> Self {
        Self { is_array: false, ..Self::array(schema) }
    }
}

fn with_names_of_their_own(schema: &SchemaRef) -> SchemaRef {
    let mut taken: HashSet<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
    if taken.len() == schema.fields().len() {
        return Arc::clone(schema);
    }
    let mut seen = HashSet::new();
    let fields = schema.fields().iter().map(|field| {
        if seen.insert(field.name().clone()) {
            return field.as_ref().clone();
        }
        let free = (2_usize..).map(|n| format!("{}_{n}", field.name())).find(|name| taken.insert(name.clone()));
        field.as_ref().clone().with_name(free.expect("numbers do not end before columns do"))
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

impl RowWriter for Json {
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.is_array { write!(out, "[") } else { Ok(()) }
    }

    fn rows(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> io::Result<()> {
        let batch =
            RecordBatch::try_new(Arc::clone(&self.schema), batch.columns().to_vec()).map_err(io::Error::other)?;
        let mut lines = Vec::new();
        let mut writer =
            arrow_json::WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut lines);
        writer.write(&batch).map_err(io::Error::other)?;
        writer.finish().map_err(io::Error::other)?;
        if !self.is_array {
            return out.write_all(&lines);
        }
        for line in lines.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            out.write_all(if self.rows == 0 { b"\n" } else { b",\n" })?;
            out.write_all(line)?;
            self.rows += 1;
        }
        Ok(())
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        match (self.is_array, self.rows) {
            (false, _) => Ok(()),
            (true, 0) => writeln!(out, "]"),
            (true, _) => writeln!(out, "\n]"),
        }
    }
}
