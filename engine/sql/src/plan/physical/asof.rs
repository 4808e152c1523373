//! ASOF joins: both sides to where their keys are.

use std::sync::Arc;

use datafusion_expr::{Expr as LogicalExpr, UserDefinedLogicalNodeCore};
use flumen_core::graph::Partitioner;
use flumen_core::spec::relational::AsofJoinSpec;
use flumen_core::types::Schema;

use super::super::expr::{logical_type, translate, typed};
use super::super::node::{Input, Node, Op};
use super::join::{common_type, with_keys};
use super::{PhysicalPlanner, fields, reach};
use crate::bind::asof::AsofNode;
use crate::error::{Result, SqlError};

impl PhysicalPlanner<'_> {
    pub(super) fn asof(&mut self, join: &AsofNode) -> Result<Node> {
        let (probe, build) = (self.node(&join.left)?, self.node(&join.right)?);
        for side in [&probe, &build] {
            if !side.bounded || side.updating {
                return Err(SqlError::unsupported("ASOF joins of data that does not end").about("ASOF"));
            }
        }
        let (left_schema, right_schema) = (join.left.schema(), join.right.schema());
        let (mut probe_keys, mut build_keys, mut types) = (Vec::new(), Vec::new(), Vec::new());
        let pair = |l: &LogicalExpr, r: &LogicalExpr| -> Result<_> {
            let (from_left, from_right) = (logical_type(l, left_schema)?, logical_type(r, right_schema)?);
            let Some(common) = common_type(&from_left, &from_right) else {
                let what = format!("an ASOF JOIN of {from_left} with {from_right}");
                return Err(SqlError::unsupported(what).about("ASOF"));
            };
            let l = typed(translate(l, left_schema)?, &from_left, &common);
            Ok((l, typed(translate(r, right_schema)?, &from_right, &common), common))
        };
        for (l, r) in join.on.iter().chain([&join.position]) {
            let (l, r, data_type) = pair(l, r)?;
            probe_keys.push(l);
            build_keys.push(r);
            types.push(data_type);
        }
        let (left_width, right_width) = (left_schema.fields().len(), right_schema.fields().len());
        let (probe, mut probe_columns) = with_keys(probe, &probe_keys, &types);
        let (build, mut build_columns) = with_keys(build, &build_keys, &types);
        let (Some(probe_position), Some(build_position)) = (probe_columns.pop(), build_columns.pop()) else {
            return Err(SqlError::internal("an ASOF join has no position"));
        };
        let full_probe = probe.schema.fields.len();
        let mut output = fields(UserDefinedLogicalNodeCore::schema(join))?;
        let mut projection: Vec<usize> = (0..left_width).chain(full_probe..full_probe + right_width).collect();
        if projection.is_empty() {
            projection.push(0);
            output = vec![probe.schema.fields[0].clone()];
        }
        let parallelism = if probe_columns.is_empty() { 1 } else { probe.parallelism.max(build.parallelism) };
        let way = |node: &Node, columns: &[usize]| match parallelism {
            1 => reach(node, 1),
            _ => Partitioner::Hash { columns: columns.to_vec() },
        };
        let inputs = vec![
            Input { partitioner: way(&build, &build_columns), node: build },
            Input { partitioner: way(&probe, &probe_columns), node: probe },
        ];
        let rows = inputs[1].node.rows;
        let spec = AsofJoinSpec {
            build_keys: build_columns,
            probe_keys: probe_columns,
            build_position,
            probe_position,
            forward: join.forward,
            strict: join.strict,
            outer: join.outer,
            projection,
        };
        let schema = Arc::new(Schema::new(output));
        Ok(Node { op: Op::AsofJoin(spec), inputs, schema, parallelism, rows, bounded: true, updating: false })
    }
}
