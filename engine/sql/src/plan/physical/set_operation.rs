//! INTERSECT ALL and EXCEPT ALL: a join by all columns in which each row of the right side is used up once.
//!
//! The right side is grouped by all of its columns and counted, so that equal rows are one build row with a count. Rows
//! of both sides that are equal must meet in one subtask; unlike in other joins, copies of the build side would each be
//! used up.

use std::sync::Arc;

use flumen_core::graph::Partitioner;
use flumen_core::spec::relational::{AggregateCall, HashJoinSpec, JoinKind};
use flumen_core::types::{Field, LogicalType, Schema};

use super::super::expr::{logical_type, translate};
use super::super::node::{Input, Node, Op};
use super::aggregate::Grouped;
use super::join::with_keys;
use super::{PhysicalPlanner, fields, reach};
use crate::error::{Result, SqlError};
use crate::optimize::bag_operation::BagOperation;

impl PhysicalPlanner<'_> {
    pub(super) fn bag_operation(&mut self, operation: &BagOperation) -> Result<Node> {
        let (left, right) = (self.node(&operation.left)?, self.node(&operation.right)?);
        let name = if operation.keeps_common { "INTERSECT" } else { "EXCEPT" };
        if [&left, &right].iter().any(|side| !side.bounded || side.updating) {
            return Err(SqlError::unsupported(format!("{name} of data that does not end")).about(name));
        }
        let (left_schema, right_schema) = (operation.left.schema(), operation.right.schema());
        let (mut probe_keys, mut build_keys, mut types) = (Vec::new(), Vec::new(), Vec::new());
        for (l, r) in &operation.columns {
            let (lt, rt) = (logical_type(l, left_schema)?, logical_type(r, right_schema)?);
            if lt != rt {
                return Err(SqlError::unsupported(format!("{name} ALL of {lt} and {rt}")).about(name));
            }
            probe_keys.push(translate(l, left_schema)?);
            build_keys.push(translate(r, right_schema)?);
            types.push(lt);
        }
        let width = left_schema.fields().len();
        let output = fields(left_schema)?;
        let (probe, probe_columns) = with_keys(left, &probe_keys, &types);
        let build = self.counted(right, build_keys, types);
        let build_columns: Vec<usize> = (0..probe_columns.len()).collect();
        let parallelism = probe.parallelism.max(build.parallelism);
        let spec = HashJoinSpec {
            kind: if operation.keeps_common { JoinKind::LeftSemi } else { JoinKind::LeftAnti },
            build_keys: build_columns.clone(),
            probe_keys: probe_columns.clone(),
            filter: None,
            projection: Some((0..width).collect()),
            null_equals_null: true,
            build_unique: true,
            runtime_filters: Vec::new(),
            null_aware: false,
            build_count: Some(build_columns.len()),
        };
        let (build_partitioner, probe_partitioner) = match parallelism {
            1 => (reach(&build, 1), reach(&probe, 1)),
            _ => (Partitioner::Hash { columns: build_columns }, Partitioner::Hash { columns: probe_columns }),
        };
        Ok(Node {
            op: Op::Join(spec),
            rows: probe.rows,
            inputs: vec![
                Input { node: build, partitioner: build_partitioner },
                Input { node: probe, partitioner: probe_partitioner },
            ],
            schema: Arc::new(Schema::new(output)),
            parallelism,
            bounded: true,
            updating: false,
        })
    }

    /// Each different row of `node`, and how often it occurs.
    fn counted(&self, node: Node, keys: Vec<flumen_core::expr::Expr>, types: Vec<LogicalType>) -> Node {
        let key = |(index, data_type)| Field::new(format!("column_{index}"), data_type, true);
        let key_fields: Vec<Field> = types.into_iter().enumerate().map(key).collect();
        let count = AggregateCall {
            function: "count".to_owned(),
            args: Vec::new(),
            arg_types: Vec::new(),
            distinct: false,
            order_by: Vec::new(),
            filter: None,
            return_type: LogicalType::Int64,
        };
        let mut given = key_fields.clone();
        given.push(Field::new("count", LogicalType::Int64, false));
        let rows = node.rows;
        let keys_count = keys.len();
        let child = node.project(keys, key_fields);
        let grouped = Grouped { child, keys: (0..keys_count).collect(), totals: Vec::new() };
        self.two_phases(grouped, vec![count], given, rows)
    }
}
