//! The rows of a snapshot: the tables of all open windows as one, key group by key group.

use std::sync::Arc;

use flumen_core::batch::{Batch, Column};
use flumen_core::failure::Failure;
use flumen_core::key_group::KeyGroup;
use flumen_core::types::{Field, LogicalType, Resolution, Schema, SchemaRef};
use flumen_kernels::gather::expand_constant;
use flumen_state::KeyedRows;

use super::NAME;
use crate::event_time::time_value;

/// Keys, `window_end`, states.
pub(super) fn state_schema(table: &SchemaRef, keys: usize) -> SchemaRef {
    let mut schema = Schema::clone(table);
    let millis = LogicalType::Timestamp { resolution: Resolution::Millisecond, zone: None };
    schema.fields.insert(keys, Field::new("window_end", millis, false));
    Arc::new(schema)
}

/// Merges the snapshots of the windows' tables by key group.
pub(super) struct WindowRows<R> {
    schema: SchemaRef,
    keys: usize,
    windows: Vec<Window<R>>,
    is_started: bool,
}

struct Window<R> {
    end: i64,
    rows: R,
    next: Option<(KeyGroup, Batch)>,
}

impl<R: KeyedRows> WindowRows<R> {
    pub(super) fn new(schema: SchemaRef, keys: usize, windows: Vec<(i64, R)>) -> Self {
        let windows = windows.into_iter().map(|(end, rows)| Window { end, rows, next: None }).collect();
        Self { schema, keys, windows, is_started: false }
    }
}

impl<R: KeyedRows> KeyedRows for WindowRows<R> {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn next(&mut self) -> Result<Option<(KeyGroup, Batch)>, Failure> {
        if !std::mem::replace(&mut self.is_started, true) {
            for window in &mut self.windows {
                window.next = window.rows.next()?;
            }
        }
        let pending = self.windows.iter_mut().filter(|window| window.next.is_some());
        let first = pending.min_by_key(|window| window.next.as_ref().map(|(group, _)| *group));
        let Some(window) = first else { return Ok(None) };
        let Some((group, batch)) = window.next.take() else { return Ok(None) };
        window.next = window.rows.next()?;
        let count = batch.physical_rows();
        let mut columns = batch.columns().to_vec();
        let window_end = time_value(window.end, &self.schema.fields[self.keys], NAME)?;
        columns.insert(self.keys, Column::Array(expand_constant(&window_end, count)?));
        let batch = Batch::new(Arc::clone(&self.schema), columns, count).with_hashes(batch.hashes().cloned());
        Ok(Some((group, batch)))
    }
}
