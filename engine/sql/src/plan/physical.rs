//! Logical plan to physical plan.
//!
//! Rules of thumb, all of them about cost and none about results: aggregation in two phases when there is more than
//! one subtask; a join builds on its smaller side and sends it to everyone when that is cheaper than moving both; an
//! ordered result is sorted in one subtask, after each subtask has cut its part to what a LIMIT can use.

use std::sync::Arc;

use datafusion_common::{DFSchema, JoinType, NullEquality};
use datafusion_expr::expr::AggregateFunction as AggregateExpr;
use datafusion_expr::{
    Aggregate, Expr as LogicalExpr, FetchType, Join, Limit, LogicalPlan, SkipType, Sort, TableScan, Union, Values,
};
use flumen_core::expr::{Expr, Literal, Value};
use flumen_core::graph::Partitioner;
use flumen_core::source::Boundedness;
use flumen_core::spec::relational::{
    AggregateCall, AggregatePhase, HashAggregateSpec, HashJoinSpec, JoinKind, LimitSpec, SortKey, SortSpec,
};
use flumen_core::spec::streaming::{TumblingAggregateSpec, WatermarkSpec};
use flumen_core::types::{Field, LogicalType, Resolution, Schema, SchemaRef};

use super::PlanOptions;
use super::expr::{logical_type, n_ary, translate};
use super::node::{Input, Node, Op, plain_columns, row_bytes, substitute};
use super::state::state_fields;
use crate::bind::aggregates::AggregateFunction;
use crate::bind::table::ConnectedTable;
use crate::bind::tumble::TumbleNode;
use crate::bind::types::{logical, logical_field};
use crate::error::{Result, SqlError};
use crate::optimize::estimate;

/// Largest build side that is copied to every subtask.
const BROADCAST_BYTES_MAX: f64 = 256.0 * 1024.0 * 1024.0;
/// Moving a row to another subtask, against putting it into a hash table (which is 1).
const EXCHANGE_COST: f64 = 0.5;

/// Makes the physical plan of one statement.
pub(crate) struct PhysicalPlanner<'a> {
    options: &'a PlanOptions,
    runtime_filters: u32,
}

impl<'a> PhysicalPlanner<'a> {
    pub(crate) fn new(options: &'a PlanOptions) -> Self {
        Self { options, runtime_filters: 0 }
    }

    /// The plan of a query, without what takes its rows.
    pub(crate) fn plan(&mut self, plan: &LogicalPlan) -> Result<Node> {
        let node = self.node(plan)?;
        check_windows(&node)?;
        Ok(node)
    }

    fn node(&mut self, plan: &LogicalPlan) -> Result<Node> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::SubqueryAlias(alias) => self.node(&alias.input),
            LogicalPlan::Subquery(subquery) => self.node(&subquery.subquery),
            LogicalPlan::Projection(projection) => {
                let fields = fields(&projection.schema)?;
                let expressions = translate_all(&projection.expr, projection.input.schema())?;
                // Constants alone need no row to compute them from.
                if let LogicalPlan::EmptyRelation(empty) = &*projection.input {
                    let constants: Option<Vec<Literal>> = expressions
                        .iter()
                        .map(|e| if let Expr::Literal(l) = e { Some(l.clone()) } else { None })
                        .collect();
                    if let (Some(row), true) = (constants, empty.produce_one_row) {
                        return Ok(Node::leaf(Op::Values { rows: vec![row] }, Schema::new(fields), 1, 1.0, true));
                    }
                }
                let node = self.node(&projection.input)?;
                // Only the number of rows counts; the columns that are there do no harm.
                Ok(if expressions.is_empty() { node } else { node.project(expressions, fields) })
            }
            LogicalPlan::Filter(filter) => {
                let predicate = translate(&filter.predicate, filter.input.schema())?;
                let share = estimate::selectivity(&filter.predicate, &filter.input);
                Ok(self.node(&filter.input)?.filter(predicate, share))
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Sort(sort) => self.sort(sort, 0, sort.fetch.map(|n| n as u64)),
            LogicalPlan::Limit(limit) => self.limit(limit),
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::Values(values) => self.values(values),
            LogicalPlan::EmptyRelation(empty) => {
                let fields = fields(&empty.schema)?;
                if fields.is_empty() {
                    // A batch needs a column to have rows.
                    let field = Field::new("dummy", LogicalType::Int32, false);
                    let row = vec![Literal { value: Value::Int(0), data_type: LogicalType::Int32 }];
                    let rows = if empty.produce_one_row { vec![row] } else { Vec::new() };
                    let count = rows.len() as f64;
                    return Ok(Node::leaf(Op::Values { rows }, Schema::new(vec![field]), 1, count, true));
                }
                Ok(Node::leaf(Op::Values { rows: Vec::new() }, Schema::new(fields), 1, 0.0, true))
            }
            LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<TumbleNode>() {
                Some(tumble) => self.tumble(tumble),
                None => Err(SqlError::unsupported(extension.node.name())),
            },
            LogicalPlan::Distinct(_) => Err(SqlError::unsupported("DISTINCT ON").about("DISTINCT")),
            LogicalPlan::Window(_) => Err(SqlError::unsupported("window functions (OVER)").about("OVER")),
            LogicalPlan::RecursiveQuery(_) => Err(SqlError::unsupported("WITH RECURSIVE").about("RECURSIVE")),
            LogicalPlan::Unnest(_) => Err(SqlError::unsupported("UNNEST").about("UNNEST")),
            other => Err(SqlError::unsupported(other.display())),
        }
    }

    fn scan(&mut self, scan: &TableScan) -> Result<Node> {
        let table = scan
            .source
            .downcast_ref::<ConnectedTable>()
            .ok_or_else(|| SqlError::internal("a scan of a foreign table"))?;
        let full = DFSchema::try_from_qualified_schema(scan.table_name.clone(), &table.binder_schema)
            .map_err(|e| SqlError::internal(e.strip_backtrace()))?;
        let wanted: Vec<usize> = match &scan.projection {
            Some(columns) => columns.clone(),
            None => (0..table.schema.fields.len()).collect(),
        };
        // Filters over the table's columns; their columns are read, too, and so is the time for watermarks.
        let filters = translate_all(&scan.filters, &full)?;
        let mut columns = wanted.clone();
        let time = table.watermark.as_ref().map(|w| w.column);
        for column in filters.iter().flat_map(Expr::columns).chain(time) {
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        if columns.is_empty() {
            // COUNT(*) reads the narrowest column.
            let narrowest = (0..table.schema.fields.len())
                .min_by_key(|&i| table.schema.fields[i].data_type.fixed_width().unwrap_or(usize::MAX))
                .ok_or_else(|| {
                    SqlError::invalid(format!("table {:?} has no columns; is its file empty?", table.name))
                        .about(table.name.clone())
                })?;
            columns.push(narrowest);
        }
        let position = |column: usize| columns.iter().position(|&c| c == column).unwrap_or(0);
        let filters: Vec<Expr> = filters.iter().map(|f| f.map_columns(&position)).collect();
        let mut spec = table.scan(columns.clone());
        let applied = table.connector.pushdown(&spec, &filters).filters_applied;
        spec.filters.clone_from(&filters);
        let is_exact = |i: usize| applied.get(i).copied().unwrap_or(false);
        let remaining: Vec<Expr> =
            filters.iter().enumerate().filter(|(i, _)| !is_exact(*i)).map(|(_, f)| f.clone()).collect();
        let exact_filters = filters.iter().enumerate().filter(|(i, _)| is_exact(*i)).map(|(_, f)| f.clone()).collect();
        if remaining.is_empty() {
            spec.limit = scan.fetch.map(|n| n as u64);
        }
        let output = Schema {
            fields: columns.iter().map(|&c| table.schema.fields[c].clone()).collect(),
            event_time: time.map(position),
        };
        let all = table.statistics().rows.map_or(estimate::UNKNOWN_ROWS, |r| r as f64);
        let bounded = table.boundedness == Boundedness::Bounded;
        let parallelism = self.options.parallelism.max(1);
        let op = Op::Source { spec, table: table.name.clone(), exact_filters };
        let mut node = Node::leaf(op, output, parallelism, all, bounded);
        let kept = estimate::rows(&LogicalPlan::TableScan(scan.clone()));
        if let Some(watermark) = &table.watermark {
            let schema = Arc::clone(&node.schema);
            let spec = WatermarkSpec {
                column: position(watermark.column),
                delay_ms: watermark.delay_ms,
                idle_timeout_ms: self.options.source_idle_timeout_ms,
            };
            node = node.then(Op::Watermark(spec), schema, all);
        }
        if remaining.is_empty() {
            node.rows = kept;
        } else {
            node = node.filter(n_ary("and", remaining), (kept / all).min(1.0));
        }
        let expressions: Vec<Expr> = wanted.iter().map(|&c| Expr::Column(position(c))).collect();
        let fields = fields(&scan.projected_schema)?;
        if expressions.is_empty() {
            // Only the number of rows counts; the column that is there does no harm.
            return Ok(node);
        }
        Ok(node.project(expressions, fields))
    }

    fn values(&mut self, values: &Values) -> Result<Node> {
        let fields = fields(&values.schema)?;
        let rows = values
            .values
            .iter()
            .map(|row| {
                row.iter()
                    .zip(&fields)
                    .map(|(e, field)| match translate(e, &DFSchema::empty())? {
                        Expr::Literal(l) if l.data_type == field.data_type => Ok(l),
                        Expr::Literal(l) if l.value == Value::Null => Ok(Literal::null(field.data_type.clone())),
                        _ => Err(SqlError::unsupported(format!("the expression {e} in VALUES; it is not a constant"))),
                    })
                    .collect()
            })
            .collect::<Result<Vec<Vec<Literal>>>>()?;
        let count = rows.len() as f64;
        Ok(Node::leaf(Op::Values { rows }, Schema::new(fields), 1, count, true))
    }

    fn union(&mut self, union: &Union) -> Result<Node> {
        let fields = fields(&union.schema)?;
        let schema = Arc::new(Schema::new(fields.clone()));
        let mut nodes = Vec::with_capacity(union.inputs.len());
        for input in &union.inputs {
            let node = self.node(input)?;
            let same = node.schema.fields == fields;
            let columns: Vec<Expr> = (0..fields.len()).map(Expr::Column).collect();
            let node = if same || node.names_its_output() {
                node.project(columns, fields.clone())
            } else {
                let rows = node.rows;
                node.then(Op::Project { expressions: columns }, Arc::clone(&schema), rows)
            };
            nodes.push(node);
        }
        let parallelism = nodes.iter().map(|n| n.parallelism).max().unwrap_or(1);
        let rows = nodes.iter().map(|n| n.rows).sum();
        let bounded = nodes.iter().all(|n| n.bounded);
        let updating = nodes.iter().any(|n| n.updating);
        let inputs = nodes.into_iter().map(|node| Input { partitioner: reach(&node, parallelism), node }).collect();
        Ok(Node { op: Op::Union, inputs, schema, parallelism, rows, bounded, updating })
    }

    fn sort(&mut self, sort: &Sort, offset: u64, fetch: Option<u64>) -> Result<Node> {
        let mut node = self.node(&sort.input)?;
        if node.updating || !node.bounded {
            return Err(SqlError::unsupported("ORDER BY over data that does not end").about("ORDER"));
        }
        let width = node.schema.fields.len();
        // Keys that are not columns are computed beside them, and left out again afterwards.
        let mut keys = Vec::with_capacity(sort.expr.len());
        let mut computed: Vec<(Expr, Field)> = Vec::new();
        for key in &sort.expr {
            let column = match translate(&key.expr, sort.input.schema())? {
                Expr::Column(c) => c,
                Expr::Literal(_) => continue,
                e => {
                    let data_type = logical_type(&key.expr, sort.input.schema())?;
                    computed.push((e, Field::new(format!("sort_key_{}", computed.len()), data_type, true)));
                    width + computed.len() - 1
                }
            };
            keys.push(SortKey { column, descending: !key.asc, nulls_first: key.nulls_first });
        }
        let extended = !computed.is_empty();
        let original = node.schema.fields.clone();
        if extended {
            let (more, more_fields): (Vec<_>, Vec<_>) = computed.into_iter().unzip();
            let expressions = (0..width).map(Expr::Column).chain(more).collect();
            node = node.project(expressions, original.iter().cloned().chain(more_fields).collect());
        }
        if keys.is_empty() {
            return Ok(limit_node(node, offset, fetch));
        }
        let schema = Arc::clone(&node.schema);
        let cut = |rows: f64| match fetch {
            Some(n) => rows.min(n as f64),
            None => rows,
        };
        if node.parallelism > 1
            && let Some(n) = fetch
        {
            let fetch = n.saturating_add(offset);
            let rows = node.rows.min(fetch as f64 * f64::from(node.parallelism));
            let spec = SortSpec { keys: keys.clone(), offset: 0, fetch: Some(fetch) };
            node = node.then(Op::Sort(spec), Arc::clone(&schema), rows);
        }
        let rows = cut(node.rows);
        let partitioner = if node.parallelism == 1 { Partitioner::Forward } else { Partitioner::Global };
        node = node.exchange(partitioner, 1, Op::Sort(SortSpec { keys, offset, fetch }), schema, rows);
        if extended {
            node = node.project((0..width).map(Expr::Column).collect(), original);
        }
        Ok(node)
    }

    fn limit(&mut self, limit: &Limit) -> Result<Node> {
        let offset = match limit.get_skip_type() {
            Ok(SkipType::Literal(n)) => n as u64,
            _ => return Err(SqlError::unsupported("an OFFSET that is not a constant").about("OFFSET")),
        };
        let fetch = match limit.get_fetch_type() {
            Ok(FetchType::Literal(n)) => n.map(|n| n as u64),
            _ => return Err(SqlError::unsupported("a LIMIT that is not a constant").about("LIMIT")),
        };
        // The sort knows better than a limit above it which rows it needs. Projections between do not matter.
        match &*limit.input {
            LogicalPlan::Sort(sort) => return self.sort(sort, offset, fetch),
            LogicalPlan::Projection(projection) => {
                if let LogicalPlan::Sort(sort) = &*projection.input {
                    let node = self.sort(sort, offset, fetch)?;
                    let expressions = translate_all(&projection.expr, projection.input.schema())?;
                    return Ok(node.project(expressions, fields(&projection.schema)?));
                }
            }
            _ => {}
        }
        let node = self.node(&limit.input)?;
        if node.updating {
            return Err(SqlError::unsupported("LIMIT over results that change").about("LIMIT"));
        }
        Ok(limit_node(node, offset, fetch))
    }

    fn aggregate(&mut self, aggregate: &Aggregate) -> Result<Node> {
        let input_schema = aggregate.input.schema();
        let groups = translate_all(&aggregate.group_expr, input_schema)?;
        let mut calls = Vec::with_capacity(aggregate.aggr_expr.len());
        // Columns of the input of the aggregation: keys first, then arguments and filters, each once.
        let mut expressions = groups.clone();
        let mut fields_in = Vec::with_capacity(groups.len());
        for (index, e) in aggregate.group_expr.iter().enumerate() {
            let field = &aggregate.schema.fields()[index];
            fields_in.push(Field::new(field.name(), logical_type(e, input_schema)?, field.is_nullable()));
        }
        for (index, expr) in aggregate.aggr_expr.iter().enumerate() {
            let field = &aggregate.schema.fields()[groups.len() + index];
            let mut column = |e: &LogicalExpr| -> Result<usize> {
                let translated = translate(e, input_schema)?;
                if let Some(found) = expressions[groups.len()..].iter().position(|x| *x == translated) {
                    return Ok(groups.len() + found);
                }
                // A key that is also an argument is read once.
                if let Some(found) = expressions[..groups.len()].iter().position(|x| *x == translated) {
                    return Ok(found);
                }
                expressions.push(translated);
                let nullable = datafusion_expr::ExprSchemable::nullable(e, input_schema.as_ref()).unwrap_or(true);
                fields_in.push(Field::new(
                    format!("arg_{}", fields_in.len()),
                    logical_type(e, input_schema)?,
                    nullable,
                ));
                Ok(expressions.len() - 1)
            };
            calls.push(aggregate_call(expr, input_schema, logical(field.data_type())?, &mut column)?);
        }
        let child = self.node(&aggregate.input)?;
        let estimated = estimate::rows(&LogicalPlan::Aggregate(aggregate.clone()));
        let fields_out = fields(&aggregate.schema)?;
        if let Some((base, columns, window)) = windowed(&child) {
            let on_window = groups.iter().any(
                |g| matches!(substitute(g, &columns), Expr::Column(c) if c >= window.width && c < window.width + 2),
            );
            if on_window {
                return tumbling(base, &columns, &window, &expressions, &fields_in, groups.len(), calls, fields_out);
            }
        }
        if child.updating {
            return Err(SqlError::unsupported("aggregation of results that change").about("GROUP"));
        }
        let (child, keys) = child.project_for_aggregate(expressions, fields_in, &mut calls, groups.len());
        Ok(self.two_phases(child, keys, calls, fields_out, estimated))
    }

    /// Local and global, or all in one.
    fn two_phases(
        &self,
        child: Node,
        group_by: Vec<usize>,
        calls: Vec<AggregateCall>,
        fields_out: Vec<Field>,
        estimated: f64,
    ) -> Node {
        let continuous = !child.bounded;
        let rows = estimated.min(child.rows.max(1.0));
        let estimated_groups = (!group_by.is_empty()).then_some(rows as u64);
        let output: SchemaRef = Arc::new(Schema::new(fields_out));
        let keys = group_by.len();
        let spec = |group_by: Vec<usize>, calls: Vec<AggregateCall>, phase: AggregatePhase, continuous: bool| {
            Op::Aggregate(HashAggregateSpec { group_by, aggregates: calls, phase, continuous, estimated_groups })
        };
        let parallelism = child.parallelism;
        let key_columns: Vec<usize> = (0..keys).collect();
        let mut node = if parallelism == 1 && !continuous {
            child.then(spec(group_by, calls, AggregatePhase::Single, false), output, rows)
        } else if calls.iter().any(|c| c.distinct) || continuous {
            // Distinct values must meet before they are counted; and a changelog is kept where the key lives.
            let (partitioner, target) = if keys == 0 {
                (if parallelism == 1 { Partitioner::Forward } else { Partitioner::Global }, 1)
            } else {
                (Partitioner::KeyGroup { columns: group_by.clone() }, parallelism)
            };
            child.exchange(partitioner, target, spec(group_by, calls, AggregatePhase::Single, continuous), output, rows)
        } else {
            let local_fields = group_by
                .iter()
                .map(|&c| child.schema.fields[c].clone())
                .chain(calls.iter().flat_map(state_fields))
                .collect();
            let local_rows = (rows * f64::from(parallelism)).min(child.rows.max(1.0));
            let local = spec(group_by, calls.clone(), AggregatePhase::Local, false);
            let node = child.then(local, Arc::new(Schema::new(local_fields)), local_rows);
            let (partitioner, target) = if keys == 0 {
                (Partitioner::Global, 1)
            } else {
                (Partitioner::KeyGroup { columns: key_columns.clone() }, parallelism)
            };
            node.exchange(partitioner, target, spec(key_columns, calls, AggregatePhase::Global, false), output, rows)
        };
        node.updating = continuous;
        node
    }

    fn join(&mut self, join: &Join) -> Result<Node> {
        let (kind, swapped) = match join.join_type {
            JoinType::Inner => (JoinKind::Inner, false),
            JoinType::Left => (JoinKind::Left, false),
            JoinType::Right => (JoinKind::Left, true),
            JoinType::LeftSemi => (JoinKind::LeftSemi, false),
            JoinType::RightSemi => (JoinKind::LeftSemi, true),
            JoinType::LeftAnti => (JoinKind::LeftAnti, false),
            JoinType::RightAnti => (JoinKind::LeftAnti, true),
            JoinType::Full => return Err(SqlError::unsupported("FULL JOIN").about("FULL")),
            JoinType::LeftMark | JoinType::RightMark => {
                return Err(SqlError::unsupported("IN or EXISTS with a subquery inside an OR").about("OR"));
            }
        };
        let (left, right) = (self.node(&join.left)?, self.node(&join.right)?);
        for side in [&left, &right] {
            if !side.bounded || side.updating {
                return Err(SqlError::unsupported("joins of data that does not end").about("JOIN"));
            }
        }
        let (left_schema, right_schema) = (join.left.schema(), join.right.schema());
        let mut pairs = Vec::with_capacity(join.on.len());
        for (l, r) in &join.on {
            let (lt, rt) = (logical_type(l, left_schema)?, logical_type(r, right_schema)?);
            if lt != rt {
                return Err(SqlError::unsupported(format!("a join of {l}, which is {lt}, with {r}, which is {rt}")));
            }
            if join.null_aware && (nullable(l, left_schema) || nullable(r, right_schema)) {
                return Err(SqlError::unsupported("NOT IN with a subquery whose values may be NULL")
                    .about("IN")
                    .with_hint("write NOT EXISTS, or filter with IS NOT NULL on both sides"));
            }
            pairs.push((translate(l, left_schema)?, translate(r, right_schema)?, lt));
        }
        let estimated = estimate::rows(&LogicalPlan::Join(join.clone()));
        // Widths are those of the logical sides: a side of which no column is needed has one all the same.
        let widths = (left_schema.fields().len(), right_schema.fields().len());
        let mut output = fields(&join.schema)?;
        // Inner joins build on the side that needs less memory.
        let size = |n: &Node| n.rows * (row_bytes(&n.schema) + 16.0);
        let swapped = if kind == JoinKind::Inner { size(&left) < size(&right) } else { swapped };
        let (probe, build) = if swapped { (right, left) } else { (left, right) };
        let (mut probe_keys, mut build_keys): (Vec<Expr>, Vec<Expr>) =
            pairs.iter().map(|(l, r, _)| if swapped { (r.clone(), l.clone()) } else { (l.clone(), r.clone()) }).unzip();
        let mut types: Vec<LogicalType> = pairs.into_iter().map(|(_, _, t)| t).collect();
        if probe_keys.is_empty() {
            // A cross product is a join on a constant.
            let one = Expr::Literal(Literal { value: Value::Int(1), data_type: LogicalType::Int32 });
            probe_keys.push(one.clone());
            build_keys.push(one);
            types.push(LogicalType::Int32);
        }
        let cross = join.on.is_empty();
        let (probe_width, build_width) = if swapped { (widths.1, widths.0) } else { widths };
        let (probe, probe_columns) = with_keys(probe, &probe_keys, &types);
        let (build, build_columns) = with_keys(build, &build_keys, &types);
        // Conditions beyond equalities, over probe columns then build columns as they are now.
        let full_probe = probe.schema.fields.len();
        let condition = match &join.filter {
            None => None,
            Some(filter) => {
                let both = left_schema.join(right_schema).map_err(|e| SqlError::internal(e.strip_backtrace()))?;
                let place = |c: usize| {
                    let (on_left, index) = if c < widths.0 { (true, c) } else { (false, c - widths.0) };
                    if on_left == swapped { full_probe + index } else { index }
                };
                Some(translate(filter, &both)?.map_columns(&place))
            }
        };
        // The output in the order of the logical plan.
        let semi = matches!(kind, JoinKind::LeftSemi | JoinKind::LeftAnti);
        let mut projection: Vec<usize> = if semi {
            (0..probe_width).collect()
        } else {
            let probe_part = 0..probe_width;
            let build_part = full_probe..full_probe + build_width;
            if swapped { build_part.chain(probe_part).collect() } else { probe_part.chain(build_part).collect() }
        };
        if projection.is_empty() {
            projection.push(0);
            output = vec![probe.schema.fields[0].clone()];
        }
        let parallelism = probe.parallelism.max(build.parallelism);
        let copies = f64::from(parallelism);
        let broadcast_cost = build.rows * copies * (1.0 + EXCHANGE_COST);
        let exchange_cost = (build.rows + probe.rows) * EXCHANGE_COST + build.rows;
        let broadcast = cross || (broadcast_cost <= exchange_cost && size(&build) * copies <= BROADCAST_BYTES_MAX);
        let build_unique = is_unique(&build, &build_columns);
        let mut probe = probe;
        let alone = parallelism == 1;
        let runtime_filter = (matches!(kind, JoinKind::Inner | JoinKind::LeftSemi) && !cross && (broadcast || alone))
            .then(|| self.publish(&mut probe, &probe_columns))
            .flatten();
        let spec = HashJoinSpec {
            kind,
            build_keys: build_columns.clone(),
            probe_keys: probe_columns.clone(),
            filter: condition,
            projection: Some(projection),
            null_equals_null: join.null_equality == NullEquality::NullEqualsNull,
            build_unique,
            runtime_filter,
        };
        let (build_partitioner, probe_partitioner) = if alone {
            (Partitioner::Forward, Partitioner::Forward)
        } else if broadcast {
            (Partitioner::Broadcast, reach(&probe, parallelism))
        } else {
            (Partitioner::Hash { columns: build_columns }, Partitioner::Hash { columns: probe_columns })
        };
        Ok(Node {
            op: Op::Join(spec),
            inputs: vec![
                Input { node: build, partitioner: build_partitioner },
                Input { node: probe, partitioner: probe_partitioner },
            ],
            schema: Arc::new(Schema::new(output)),
            parallelism,
            rows: estimated,
            bounded: true,
            updating: false,
        })
    }

    /// Lets the scan that these columns come from listen to a new runtime filter, if there is one such scan.
    fn publish(&mut self, probe: &mut Node, columns: &[usize]) -> Option<u32> {
        let id = self.runtime_filters;
        listen(probe, columns, id).then(|| {
            self.runtime_filters += 1;
            id
        })
    }

    fn tumble(&mut self, tumble: &TumbleNode) -> Result<Node> {
        let child = self.node(&tumble.input)?;
        let time_column = tumble
            .input
            .schema()
            .maybe_index_of_column(&tumble.time)
            .ok_or_else(|| SqlError::internal("the time column of a window is gone"))?;
        if !child.bounded && child.schema.event_time != Some(time_column) {
            let name = &tumble.time.name;
            return Err(SqlError::invalid(format!("{name} has no watermark, so its windows would never close"))
                .about(name.clone())
                .with_hint(format!("add WATERMARK FOR {name} AS {name} - INTERVAL '5' SECOND to the table")));
        }
        let mut fields = child.schema.fields.clone();
        let zone = match &fields[time_column].data_type {
            LogicalType::Timestamp { zone, .. } => zone.clone(),
            _ => None,
        };
        for name in crate::bind::tumble::WINDOW_COLUMNS {
            let data_type = LogicalType::Timestamp { resolution: Resolution::Millisecond, zone: zone.clone() };
            fields.push(Field::new(name, data_type, false));
        }
        let schema = Arc::new(Schema { fields, event_time: child.schema.event_time });
        let rows = child.rows;
        let op = Op::Windowed { time_column, size_ms: tumble.size_ms, offset_ms: tumble.offset_ms };
        Ok(child.then(op, schema, rows))
    }
}

/// The engine's fields of a logical schema.
fn fields(schema: &DFSchema) -> Result<Vec<Field>> {
    schema.fields().iter().map(|f| logical_field(f, f.name())).collect()
}

fn translate_all(exprs: &[LogicalExpr], schema: &DFSchema) -> Result<Vec<Expr>> {
    exprs.iter().map(|e| translate(e, schema)).collect()
}

fn nullable(expr: &LogicalExpr, schema: &DFSchema) -> bool {
    datafusion_expr::ExprSchemable::nullable(expr, schema).unwrap_or(true)
}

/// How rows get to `parallelism` subtasks when it does not matter to which.
fn reach(node: &Node, parallelism: u32) -> Partitioner {
    match node.parallelism {
        same if same == parallelism => Partitioner::Forward,
        _ if parallelism == 1 => Partitioner::Global,
        _ => Partitioner::Rebalance,
    }
}

fn limit_node(mut node: Node, offset: u64, fetch: Option<u64>) -> Node {
    if offset == 0 && fetch.is_none() {
        return node;
    }
    let schema = Arc::clone(&node.schema);
    if node.parallelism > 1
        && let Some(n) = fetch
    {
        let most = n.saturating_add(offset);
        let rows = node.rows.min(most as f64 * f64::from(node.parallelism));
        node = node.then(Op::Limit(LimitSpec { offset: 0, fetch: Some(most) }), Arc::clone(&schema), rows);
    }
    let rows = fetch.map_or(node.rows, |n| node.rows.min(n as f64));
    let partitioner = if node.parallelism == 1 { Partitioner::Forward } else { Partitioner::Global };
    node.exchange(partitioner, 1, Op::Limit(LimitSpec { offset, fetch }), schema, rows)
}

fn aggregate_call(
    expr: &LogicalExpr,
    schema: &DFSchema,
    return_type: LogicalType,
    column: &mut impl FnMut(&LogicalExpr) -> Result<usize>,
) -> Result<AggregateCall> {
    let mut inner = expr;
    while let LogicalExpr::Alias(alias) = inner {
        inner = &alias.expr;
    }
    let LogicalExpr::AggregateFunction(AggregateExpr { func, params }) = inner else {
        return Err(SqlError::internal(format!("{inner} is not an aggregate")));
    };
    let name = func.name();
    let any: &dyn std::any::Any = func.inner().as_ref();
    if any.downcast_ref::<AggregateFunction>().is_none() {
        return Err(SqlError::unsupported(format!("the aggregate {name}")).about(name));
    }
    if !params.order_by.is_empty() {
        return Err(SqlError::unsupported(format!("ORDER BY inside {name}")).about(name));
    }
    // A count of a constant counts rows.
    let counts_rows =
        name == "count" && params.args.iter().all(|a| matches!(a, LogicalExpr::Literal(v, _) if !v.is_null()));
    let args: &[LogicalExpr] = if counts_rows { &[] } else { &params.args };
    if args.len() > 1 {
        return Err(SqlError::unsupported(format!("{name} of several columns")).about(name));
    }
    // Without repetition the smallest is still the smallest.
    let distinct = params.distinct && !matches!(name, "min" | "max");
    if distinct {
        return Err(SqlError::unsupported(format!("{name}(DISTINCT ...)"))
            .about("DISTINCT")
            .with_hint(format!("aggregate a subquery: SELECT {name}(x) FROM (SELECT DISTINCT x FROM ...)")));
    }
    Ok(AggregateCall {
        function: name.to_owned(),
        args: args.iter().map(&mut *column).collect::<Result<_>>()?,
        arg_types: args.iter().map(|a| logical_type(a, schema)).collect::<Result<_>>()?,
        distinct,
        filter: params.filter.as_deref().map(column).transpose()?,
        return_type,
    })
}

impl Node {
    /// Computes the inputs of an aggregation, unless they are all columns already; then the calls are pointed to them.
    fn project_for_aggregate(
        self,
        expressions: Vec<Expr>,
        fields: Vec<Field>,
        calls: &mut [AggregateCall],
        keys: usize,
    ) -> (Self, Vec<usize>) {
        if let Some(columns) = plain_columns(&expressions) {
            for call in calls {
                for arg in call.args.iter_mut().chain(call.filter.as_mut()) {
                    *arg = columns[*arg];
                }
            }
            return (self, columns[..keys].to_vec());
        }
        (self.project(expressions, fields), (0..keys).collect())
    }
}

/// Adds the keys that are not columns to the output of a node.
fn with_keys(node: Node, keys: &[Expr], types: &[LogicalType]) -> (Node, Vec<usize>) {
    let width = node.schema.fields.len();
    let mut fields = node.schema.fields.clone();
    let mut expressions: Vec<Expr> = (0..width).map(Expr::Column).collect();
    let mut columns = Vec::with_capacity(keys.len());
    for (key, data_type) in keys.iter().zip(types) {
        match key {
            Expr::Column(c) => columns.push(*c),
            other => {
                columns.push(expressions.len());
                fields.push(Field::new(format!("join_key_{}", expressions.len() - width), data_type.clone(), true));
                expressions.push(other.clone());
            }
        }
    }
    if expressions.len() == width {
        return (node, columns);
    }
    (node.project(expressions, fields), columns)
}

/// Whether no two rows agree in these columns, as far as the plan shows: a grouping by them, or by some of them.
fn is_unique(node: &Node, columns: &[usize]) -> bool {
    match &node.op {
        Op::Aggregate(spec) => {
            spec.phase != AggregatePhase::Local && (0..spec.group_by.len()).all(|key| columns.contains(&key))
        }
        Op::Filter { .. } | Op::Sort(_) | Op::Limit(_) | Op::Watermark(_) => {
            node.inputs.first().is_some_and(|i| is_unique(&i.node, columns))
        }
        Op::Project { expressions } => {
            let below: Option<Vec<usize>> = columns
                .iter()
                .map(|&c| if let Expr::Column(below) = expressions[c] { Some(below) } else { None })
                .collect();
            below.is_some_and(|below| node.inputs.first().is_some_and(|i| is_unique(&i.node, &below)))
        }
        Op::Join(spec) if matches!(spec.kind, JoinKind::LeftSemi | JoinKind::LeftAnti) => {
            let below: Vec<usize> = columns.iter().map(|&c| spec.projection.as_ref().map_or(c, |p| p[c])).collect();
            node.inputs.get(1).is_some_and(|i| is_unique(&i.node, &below))
        }
        _ => false,
    }
}

/// Finds the scan whose columns these are and lets it listen. Only operators through which dropping rows that cannot
/// match later changes nothing are passed.
fn listen(node: &mut Node, columns: &[usize], id: u32) -> bool {
    match &mut node.op {
        Op::Source { spec, .. } => {
            // A scan that stops after some rows must not have others dropped first.
            if spec.limit.is_some() || !node.bounded {
                return false;
            }
            spec.runtime_filters.push((id, columns.to_vec()));
            true
        }
        Op::Filter { .. } => listen(&mut node.inputs[0].node, columns, id),
        Op::Project { expressions } => {
            let below: Option<Vec<usize>> = columns
                .iter()
                .map(|&c| if let Expr::Column(below) = expressions[c] { Some(below) } else { None })
                .collect();
            below.is_some_and(|below| listen(&mut node.inputs[0].node, &below, id))
        }
        Op::Join(spec) => {
            let inner = spec.kind == JoinKind::Inner;
            let below: Vec<usize> = columns.iter().map(|&c| spec.projection.as_ref().map_or(c, |p| p[c])).collect();
            let probe_width = node.inputs[1].node.schema.fields.len();
            if below.iter().all(|&c| c < probe_width) {
                return listen(&mut node.inputs[1].node, &below, id);
            }
            if inner && below.iter().all(|&c| c >= probe_width) {
                let below: Vec<usize> = below.iter().map(|c| c - probe_width).collect();
                return listen(&mut node.inputs[0].node, &below, id);
            }
            false
        }
        _ => false,
    }
}

/// The window below a node, through projections and filters.
struct Window {
    time_column: usize,
    size_ms: i64,
    offset_ms: i64,
    /// Columns of the window's input.
    width: usize,
}

/// The input of the window below `node`, and the columns of `node` over the window's output.
fn windowed(node: &Node) -> Option<(Node, Vec<Expr>, Window)> {
    match &node.op {
        Op::Windowed { time_column, size_ms, offset_ms } => {
            let input = node.inputs.first()?.node.clone();
            let width = input.schema.fields.len();
            let columns = (0..node.schema.fields.len()).map(Expr::Column).collect();
            Some((
                input,
                columns,
                Window { time_column: *time_column, size_ms: *size_ms, offset_ms: *offset_ms, width },
            ))
        }
        Op::Project { expressions } => {
            let (input, below, window) = windowed(&node.inputs.first()?.node)?;
            Some((input, expressions.iter().map(|e| substitute(e, &below)).collect(), window))
        }
        Op::Filter { predicate } => {
            let (input, below, window) = windowed(&node.inputs.first()?.node)?;
            let predicate = substitute(predicate, &below);
            // On columns of the input a filter may go below; on the window's own it may not.
            if predicate.columns().iter().any(|&c| c >= window.width) {
                return None;
            }
            let share = (node.rows / node.inputs[0].node.rows.max(1.0)).min(1.0);
            Some((input.filter(predicate, share), below, window))
        }
        _ => None,
    }
}

/// An aggregation by window.
#[expect(clippy::too_many_arguments, reason = "one caller, and each is a part of the aggregation")]
fn tumbling(
    base: Node,
    columns: &[Expr],
    window: &Window,
    expressions: &[Expr],
    fields_in: &[Field],
    group_count: usize,
    mut calls: Vec<AggregateCall>,
    fields_out: Vec<Field>,
) -> Result<Node> {
    let not_yet = |what: &str| SqlError::unsupported(what).about("GROUP");
    if calls.iter().any(|c| c.distinct) {
        return Err(SqlError::unsupported("DISTINCT aggregates over windows").about("DISTINCT"));
    }
    if base.updating {
        return Err(not_yet("windows over results that change"));
    }
    let mut inputs: Vec<Expr> = expressions.iter().map(|e| substitute(e, columns)).collect();
    // Which window column each group is, if it is one.
    let window_column = |e: &Expr| match e {
        Expr::Column(c) if *c >= window.width => Some(c - window.width),
        _ => None,
    };
    let group_windows: Vec<Option<usize>> = inputs[..group_count].iter().map(window_column).collect();
    for (index, input) in inputs.iter().enumerate() {
        let is_window_key = index < group_count && group_windows[index].is_some();
        if !is_window_key && input.columns().iter().any(|&c| c >= window.width) {
            return Err(not_yet("expressions over window_start, window_end or window_time below GROUP BY"));
        }
    }
    // Input of the operator: keys, time, arguments.
    let mut fields: Vec<Field> = Vec::new();
    let mut projected: Vec<Expr> = Vec::new();
    let mut place = vec![usize::MAX; inputs.len()];
    for index in (0..group_count).filter(|&i| group_windows[i].is_none()) {
        place[index] = projected.len();
        projected.push(std::mem::replace(&mut inputs[index], Expr::Column(0)));
        fields.push(fields_in[index].clone());
    }
    let keys = projected.len();
    let time_column = projected.len();
    projected.push(Expr::Column(window.time_column));
    fields.push(base.schema.fields[window.time_column].clone());
    for index in group_count..inputs.len() {
        place[index] = projected.len();
        projected.push(std::mem::replace(&mut inputs[index], Expr::Column(0)));
        fields.push(fields_in[index].clone());
    }
    for call in &mut calls {
        for arg in call.args.iter_mut().chain(call.filter.as_mut()) {
            if place[*arg] == usize::MAX {
                return Err(not_yet("aggregates of window_start and window_end"));
            }
            *arg = place[*arg];
        }
    }
    let zone = match &fields[time_column].data_type {
        LogicalType::Timestamp { zone, .. } => zone.clone(),
        _ => None,
    };
    let bound_type = LogicalType::Timestamp { resolution: Resolution::Millisecond, zone };
    let rows = (base.rows * 0.1).max(1.0);
    let child = base.project(projected, fields);
    let key_fields: Vec<Field> = child.schema.fields[..keys].to_vec();
    let end = Field::new("window_end", bound_type.clone(), false);
    let final_fields: Vec<Field> = key_fields
        .iter()
        .cloned()
        .chain([Field::new("window_start", bound_type.clone(), false), end.clone()])
        .chain(fields_out[group_count..].iter().cloned())
        .collect();
    let final_schema = Arc::new(Schema::new(final_fields));
    let key_columns: Vec<usize> = (0..keys).collect();
    let spec = |time_column: usize, calls: Vec<AggregateCall>, phase: AggregatePhase| {
        Op::Tumbling(TumblingAggregateSpec {
            group_by: (0..keys).collect(),
            time_column,
            size_ms: window.size_ms,
            offset_ms: window.offset_ms,
            aggregates: calls,
            phase,
        })
    };
    // The same operators at every parallelism, so that state can be restored at another: also over tables that end, since
    // a stream of a given number of rows takes checkpoints too.
    let local_fields = key_fields.into_iter().chain([end]).chain(calls.iter().flat_map(state_fields)).collect();
    // Event time travels in the column that names the window.
    let local_schema = Arc::new(Schema { fields: local_fields, event_time: Some(keys) });
    let parallelism = child.parallelism;
    let local = child.then(spec(time_column, calls.clone(), AggregatePhase::Local), local_schema, rows);
    let (partitioner, target) = if keys == 0 {
        (Partitioner::Global, 1)
    } else {
        (Partitioner::KeyGroup { columns: key_columns }, parallelism)
    };
    let node = local.exchange(partitioner, target, spec(keys, calls, AggregatePhase::Global), final_schema, rows);
    // The order that the query asked for.
    let output = (0..group_count)
        .map(|index| match group_windows[index] {
            None => Expr::Column(place[index]),
            Some(0) => Expr::Column(keys),
            Some(1) => Expr::Column(keys + 1),
            Some(_) => {
                let milli = Literal {
                    value: Value::Interval { months: 0, days: 0, nanos: 1_000_000 },
                    data_type: LogicalType::Interval,
                };
                Expr::call("subtract", vec![Expr::Column(keys + 1), Expr::Literal(milli)], bound_type.clone())
            }
        })
        .chain((0..fields_out.len() - group_count).map(|i| Expr::Column(keys + 2 + i)))
        .collect();
    Ok(node.project(output, fields_out))
}

/// Windows that no aggregation took in.
fn check_windows(node: &Node) -> Result<()> {
    if matches!(node.op, Op::Windowed { .. }) {
        return Err(SqlError::unsupported("TUMBLE without GROUP BY window_start, window_end").about("TUMBLE"));
    }
    node.inputs.iter().try_for_each(|i| check_windows(&i.node))
}
