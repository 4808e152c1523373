//! Window functions (`OVER`): rows with the same partition keys are brought together, sorted and computed in one operator.
//!
//! Functions with the same partitions and order share an operator; others follow one another. Where the operator below
//! has brought together what is to be together here (its partition keys are among these), rows stay where they are.

use std::sync::Arc;

use datafusion_common::ScalarValue;
use datafusion_expr::expr::{
    NullTreatment, WindowFunction as LogicalCall, WindowFunctionDefinition, WindowFunctionParams,
};
use datafusion_expr::{Expr as LogicalExpr, Window, WindowFrameBound, WindowFrameUnits};
use flumen_core::expr::{Expr, Literal, Value};
use flumen_core::graph::Partitioner;
use flumen_core::spec::relational::{AggregateCall, SortKey};
use flumen_core::spec::window::{
    Count, Exclusion, Frame, FrameBound, FrameUnits, Position, Shift, WindowCall, WindowFunction, WindowFunctionsSpec,
};
use flumen_core::types::{Field, LogicalType, Schema};

use super::super::expr::{literal, logical_type, translate};
use super::super::node::{Node, Op};
use crate::bind::aggregates::{AggregateFunction, AggregateKind, takes_pairs};
use crate::bind::windows::{WindowFunction as BoundFunction, WindowKind};
use crate::error::{Result, SqlError};
use crate::parse::token_forms;

use super::{PhysicalPlanner, fields, nullable};

/// Calls with the same partitions and order.
struct Group {
    partition_by: Vec<usize>,
    order_by: Vec<SortKey>,
    /// Each with its position in the statement.
    calls: Vec<(usize, WindowCall)>,
}

impl PhysicalPlanner<'_> {
    pub(super) fn window_functions(&mut self, window: &Window) -> Result<Node> {
        let child = self.node(&window.input)?;
        if !child.bounded || child.updating {
            return Err(SqlError::unsupported("window functions (OVER) over data that does not end").about("OVER"));
        }
        let out = fields(&window.schema)?;
        let kept = window.input.schema().fields().len();
        let mut inputs = Inputs::new(window, &child);
        let mut groups: Vec<Group> = Vec::new();
        for (index, expr) in window.window_expr.iter().enumerate() {
            let call = call_of(expr)?;
            let keys: Vec<LogicalExpr> =
                call.params.partition_by.iter().filter(|key| left_out(key).is_none()).cloned().collect();
            let partition_by = inputs.columns(&keys)?;
            let order_by = inputs.order(call)?;
            let function = inputs.function(call, &out[kept + index].data_type)?;
            let call = WindowCall { function, return_type: out[kept + index].data_type.clone() };
            match groups.iter_mut().find(|g| g.partition_by == partition_by && g.order_by == order_by) {
                Some(group) => group.calls.push((index, call)),
                None => groups.push(Group { partition_by, order_by, calls: vec![(index, call)] }),
            }
        }
        let computed = inputs.computed;
        let mut node = child;
        if !computed.is_empty() {
            let (more, more_fields): (Vec<_>, Vec<_>) = computed.into_iter().unzip();
            let all = (0..node.schema.fields.len()).map(Expr::Column).chain(more).collect();
            let all_fields = node.schema.fields.iter().cloned().chain(more_fields).collect();
            node = node.project(all, all_fields);
        }
        // Where each call's value is among the columns so far.
        let mut places = vec![0; window.window_expr.len()];
        for group in groups {
            for (position, (index, _)) in group.calls.iter().enumerate() {
                places[*index] = node.schema.fields.len() + position;
            }
            node = self.window_operator(node, group, &out[kept..]);
        }
        Ok(node.project((0..kept).chain(places).map(Expr::Column).collect(), out))
    }

    fn window_operator(&self, node: Node, group: Group, names: &[Field]) -> Node {
        let Group { partition_by, order_by, calls } = group;
        let fields = node.schema.fields.iter().chain(calls.iter().map(|(index, _)| &names[*index])).cloned();
        let schema = Arc::new(Schema { fields: fields.collect(), event_time: node.schema.event_time });
        let (partitioner, parallelism) = match node.parallelism {
            1 => (Partitioner::Forward, 1),
            _ if partition_by.is_empty() => (Partitioner::Global, 1),
            parallelism if is_partitioned(&node, &partition_by) => (Partitioner::Forward, parallelism),
            parallelism => (Partitioner::Hash { columns: partition_by.clone() }, parallelism),
        };
        let calls = calls.into_iter().map(|(_, call)| call).collect();
        let projection = (0..schema.fields.len()).collect();
        let spec = WindowFunctionsSpec { partition_by, order_by, calls, projection };
        let rows = node.rows;
        node.exchange(partitioner, parallelism, Op::WindowFunctions(spec), schema, rows)
    }
}

/// Whether rows that agree in `columns` are in one subtask already.
fn is_partitioned(node: &Node, columns: &[usize]) -> bool {
    let Op::WindowFunctions(spec) = &node.op else { return false };
    let has = |below: &usize| columns.iter().any(|column| spec.projection[*column] == *below);
    !spec.partition_by.is_empty() && spec.partition_by.iter().all(has)
}

fn call_of(expr: &LogicalExpr) -> Result<&LogicalCall> {
    match expr {
        LogicalExpr::Alias(alias) => call_of(&alias.expr),
        LogicalExpr::WindowFunction(call) => Ok(call),
        other => Err(SqlError::internal(format!("{other} is not a window function"))),
    }
}

/// What the frame leaves out, if this partition key says it ([`token_forms`]).
fn left_out(key: &LogicalExpr) -> Option<&str> {
    match key {
        LogicalExpr::Literal(ScalarValue::Utf8(Some(text)), _) => token_forms::exclusion(text),
        LogicalExpr::Alias(alias) => left_out(&alias.expr),
        _ => None,
    }
}

/// Columns that the calls read, computed ones behind those that are there.
struct Inputs<'a> {
    window: &'a Window,
    width: usize,
    computed: Vec<(Expr, Field)>,
}

impl<'a> Inputs<'a> {
    fn new(window: &'a Window, child: &Node) -> Self {
        Self { window, width: child.schema.fields.len(), computed: Vec::new() }
    }

    fn column(&mut self, expr: &LogicalExpr) -> Result<usize> {
        let schema = self.window.input.schema();
        let translated = match translate(expr, schema)? {
            Expr::Column(column) => return Ok(column),
            other => other,
        };
        if let Some(found) = self.computed.iter().position(|(known, _)| *known == translated) {
            return Ok(self.width + found);
        }
        let name = format!("window_arg_{}", self.computed.len());
        let field = Field::new(name, logical_type(expr, schema)?, nullable(expr, schema));
        self.computed.push((translated, field));
        Ok(self.width + self.computed.len() - 1)
    }

    fn columns(&mut self, exprs: &[LogicalExpr]) -> Result<Vec<usize>> {
        exprs.iter().map(|expr| self.column(expr)).collect()
    }

    fn order(&mut self, call: &LogicalCall) -> Result<Vec<SortKey>> {
        let frame = &call.params.window_frame;
        let has_offset = |bound: &WindowFrameBound| *bound != WindowFrameBound::CurrentRow && !bound.is_unbounded();
        let by_difference =
            frame.units == WindowFrameUnits::Range && (has_offset(&frame.start_bound) || has_offset(&frame.end_bound));
        let mut keys = Vec::with_capacity(call.params.order_by.len());
        for key in &call.params.order_by {
            // A constant orders nothing.
            if !by_difference && matches!(key.expr, LogicalExpr::Literal(..)) {
                continue;
            }
            keys.push(SortKey { column: self.column(&key.expr)?, descending: !key.asc, nulls_first: key.nulls_first });
        }
        Ok(keys)
    }

    /// A whole number.
    fn count(&mut self, expr: &LogicalExpr) -> Result<Count> {
        Ok(match translate(expr, self.window.input.schema())? {
            Expr::Literal(Literal { value: Value::Int(number), .. }) => {
                // Farther than any row, in either direction.
                let far = number.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
                Count::Constant(Some(far as i64))
            }
            Expr::Literal(Literal { value: Value::Null, .. }) => Count::Constant(None),
            _ => Count::Column(self.column(expr)?),
        })
    }

    fn function(&mut self, call: &LogicalCall, return_type: &LogicalType) -> Result<WindowFunction> {
        let params = &call.params;
        let name = call.fun.name();
        if params.distinct {
            // Without repetition the smallest is still the smallest.
            if !matches!(name, "min" | "max") {
                let what = format!("{name}(DISTINCT ...) as a window function");
                return Err(SqlError::unsupported(what).about("DISTINCT"));
            }
        }
        let kind = match &call.fun {
            WindowFunctionDefinition::AggregateUDF(function) => {
                let any: &dyn std::any::Any = function.inner().as_ref();
                match any.downcast_ref::<AggregateFunction>().map(|function| function.kind) {
                    None => return Err(SqlError::unsupported(format!("the aggregate {name}")).about(name)),
                    Some(AggregateKind::Ordered(_) | AggregateKind::List) => {
                        return Err(SqlError::unsupported(format!("{name} as a window function")).about(name));
                    }
                    Some(_) => {}
                }
                if params.null_treatment.is_some() {
                    let error = SqlError::invalid(format!("IGNORE NULLS and RESPECT NULLS mean nothing for {name}"));
                    return Err(error.about("NULLS").with_hint("an aggregate leaves NULLs out in any case"));
                }
                let call = self.aggregate(call, return_type)?;
                return Ok(WindowFunction::Aggregate { call, frame: self.frame(params)? });
            }
            WindowFunctionDefinition::WindowUDF(function) => match function.inner().downcast_ref::<BoundFunction>() {
                Some(function) => function.kind,
                None => return Err(SqlError::unsupported(format!("the window function {name}")).about(name)),
            },
        };
        if params.null_treatment.is_some() && !kind.takes_null_treatment() {
            let error = SqlError::invalid(format!("IGNORE NULLS and RESPECT NULLS mean nothing for {name}"));
            return Err(error.about("NULLS"));
        }
        let ignore_nulls = params.null_treatment == Some(NullTreatment::IgnoreNulls);
        let shift = |this: &mut Self| -> Result<Shift> {
            Ok(Shift {
                column: this.column(&params.args[0])?,
                offset: match params.args.get(1) {
                    Some(offset) => this.count(offset)?,
                    None => Count::Constant(Some(1)),
                },
                default: match params.args.get(2) {
                    Some(LogicalExpr::Literal(value, _)) if value.is_null() => None,
                    Some(default) => Some(this.column(default)?),
                    None => None,
                },
                ignore_nulls,
            })
        };
        let value = |this: &mut Self, position: Position| -> Result<WindowFunction> {
            Ok(WindowFunction::Value {
                position,
                column: this.column(&params.args[0])?,
                ignore_nulls,
                frame: this.frame(params)?,
            })
        };
        Ok(match kind {
            WindowKind::RowNumber => WindowFunction::RowNumber,
            WindowKind::Rank => WindowFunction::Rank,
            WindowKind::DenseRank => WindowFunction::DenseRank,
            WindowKind::PercentRank => WindowFunction::PercentRank,
            WindowKind::CumeDist => WindowFunction::CumeDist,
            WindowKind::Ntile => WindowFunction::Ntile(self.count(&params.args[0])?),
            WindowKind::Lag => WindowFunction::Lag(shift(self)?),
            WindowKind::Lead => WindowFunction::Lead(shift(self)?),
            WindowKind::FirstValue => value(self, Position::First)?,
            WindowKind::LastValue => value(self, Position::Last)?,
            WindowKind::NthValue => {
                let number = self.count(&params.args[1])?;
                value(self, Position::Nth(number))?
            }
        })
    }

    fn aggregate(&mut self, call: &LogicalCall, return_type: &LogicalType) -> Result<AggregateCall> {
        let (params, name) = (&call.params, call.fun.name());
        // A count of a constant counts rows.
        let is_constant = |arg: &LogicalExpr| matches!(arg, LogicalExpr::Literal(value, _) if !value.is_null());
        let counts_rows = name == "count" && params.args.iter().all(is_constant);
        let args: &[LogicalExpr] = if counts_rows { &[] } else { &params.args };
        if args.len() > 1 && !takes_pairs(call.fun.name()) {
            return Err(SqlError::unsupported(format!("{name} of several columns")).about(name));
        }
        let schema = self.window.input.schema();
        Ok(AggregateCall {
            function: name.to_owned(),
            arg_types: args.iter().map(|arg| logical_type(arg, schema)).collect::<Result<_>>()?,
            args: self.columns(args)?,
            distinct: false,
            order_by: Vec::new(),
            filter: params.filter.as_deref().map(|filter| self.column(filter)).transpose()?,
            return_type: return_type.clone(),
        })
    }

    fn frame(&self, params: &WindowFunctionParams) -> Result<Frame> {
        let frame = &params.window_frame;
        let units = match frame.units {
            WindowFrameUnits::Rows => FrameUnits::Rows,
            WindowFrameUnits::Range => FrameUnits::Range,
            WindowFrameUnits::Groups => FrameUnits::Groups,
        };
        let key = match (units, params.order_by.first()) {
            (FrameUnits::Range, Some(key)) => Some(logical_type(&key.expr, self.window.input.schema())?),
            _ => None,
        };
        let bound = |bound: &WindowFrameBound| -> Result<FrameBound> {
            Ok(match bound {
                WindowFrameBound::Preceding(offset) if offset.is_null() => FrameBound::UnboundedPreceding,
                WindowFrameBound::Preceding(offset) => FrameBound::Preceding(frame_offset(offset, key.as_ref())?),
                WindowFrameBound::CurrentRow => FrameBound::CurrentRow,
                WindowFrameBound::Following(offset) if offset.is_null() => FrameBound::UnboundedFollowing,
                WindowFrameBound::Following(offset) => FrameBound::Following(frame_offset(offset, key.as_ref())?),
            })
        };
        let exclude = match params.partition_by.iter().find_map(left_out) {
            Some("CURRENT ROW") => Exclusion::CurrentRow,
            Some("GROUP") => Exclusion::Group,
            Some("TIES") => Exclusion::Ties,
            _ => Exclusion::NoOthers,
        };
        let frame = Frame { units, start: bound(&frame.start_bound)?, end: bound(&frame.end_bound)?, exclude };
        let backwards = match (&frame.start, &frame.end) {
            (FrameBound::CurrentRow, FrameBound::Preceding(_)) => Some("CURRENT ROW to a row before"),
            (FrameBound::Following(_), FrameBound::Preceding(_) | FrameBound::CurrentRow) => {
                Some("FOLLOWING to a row before")
            }
            _ => None,
        };
        match backwards {
            Some(what) => Err(SqlError::invalid(format!("a frame cannot go from {what}")).about("BETWEEN")),
            None => Ok(frame),
        }
    }
}

/// The offset of a frame over an order key of this type (ranges), or in rows or groups.
fn frame_offset(offset: &ScalarValue, key: Option<&LogicalType>) -> Result<Literal> {
    let negative = || {
        SqlError::invalid("the offset of a frame cannot be negative")
            .about("BETWEEN")
            .with_hint("swap PRECEDING and FOLLOWING")
    };
    let refused = |what: String| Err(SqlError::unsupported(what).about("RANGE"));
    let literal = literal(offset)?;
    match (&literal.value, key) {
        (Value::Int(n), _) if *n < 0 => Err(negative()),
        (Value::FloatBits(bits), _) if f64::from_bits(*bits) < 0.0 => Err(negative()),
        (Value::FloatBits(bits), _) if !f64::from_bits(*bits).is_finite() => {
            Err(SqlError::invalid("the offset of a frame is a finite number").about("RANGE"))
        }
        (Value::Interval { months, days, nanos }, _) if *months < 0 || *days < 0 || *nanos < 0 => Err(negative()),
        (Value::Interval { months, days, .. }, Some(LogicalType::Timestamp { zone: Some(zone), .. }))
            if (*months, *days) != (0, 0) && zone.as_ref() != "UTC" =>
        {
            refused(format!("RANGE with an offset of days over times in zone {zone}"))
        }
        (Value::Interval { .. }, Some(LogicalType::Date | LogicalType::Timestamp { .. })) => Ok(literal),
        (Value::Int(_) | Value::FloatBits(_), None) => Ok(literal),
        (Value::Int(_), Some(key)) if key.is_integer() || matches!(key, LogicalType::Decimal { .. }) => Ok(literal),
        (Value::FloatBits(_), Some(key)) if key.is_float() => Ok(literal),
        (_, Some(key)) => refused(format!("RANGE with an offset over {key}")),
        (_, None) => Err(SqlError::internal(format!("a frame's offset {offset} is no number"))),
    }
}
