//! The physical plan: what becomes operators and edges.
//!
//! A tree in which every node knows its operator's payload, how its inputs reach it, its parallelism and how many rows
//! it is expected to give. Columns of a node line up one to one with those of the logical plan it stands for.

use std::sync::Arc;

use flumen_core::expr::{Expr, Literal};
use flumen_core::graph::Partitioner;
use flumen_core::spec::connector::{SinkSpec, SourceSpec};
use flumen_core::spec::relational::{
    AsofJoinSpec, ExpandSpec, HashAggregateSpec, HashJoinSpec, LimitSpec, SortSpec, UnnestSpec,
};
use flumen_core::spec::streaming::{TumblingAggregateSpec, WatermarkSpec};
use flumen_core::spec::window::WindowFunctionsSpec;
use flumen_core::types::{Field, LogicalType, Schema, SchemaRef};

/// What a node does.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// Reads; the second field is what people call the table, the third the filters that the connector applies, the
    /// fourth what the connector says of the scan.
    Source {
        spec: SourceSpec,
        table: String,
        exact_filters: Vec<Expr>,
        note: Option<String>,
    },
    Values {
        rows: Vec<Vec<Literal>>,
    },
    Watermark(WatermarkSpec),
    Filter {
        predicate: Expr,
    },
    Project {
        expressions: Vec<Expr>,
    },
    /// Several projections of each row.
    Expand(ExpandSpec),
    Aggregate(HashAggregateSpec),
    Tumbling(TumblingAggregateSpec),
    /// Rows with the bounds of their window, of which no operator exists: the aggregation above takes it in.
    Windowed {
        time_column: usize,
        size_ms: i64,
        offset_ms: i64,
    },
    /// Each row once for each item of its lists.
    Unnest(UnnestSpec),
    Join(HashJoinSpec),
    AsofJoin(AsofJoinSpec),
    WindowFunctions(WindowFunctionsSpec),
    Sort(SortSpec),
    Limit(LimitSpec),
    /// Several inputs as one; not an operator but several edges.
    Union,
    /// What several consumers read: each has a copy of the node, whose operators are emitted once.
    Shared {
        id: usize,
    },
    Sink {
        spec: SinkSpec,
        table: Option<String>,
    },
}

/// An input and how its rows find their subtask.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub(crate) node: Node,
    pub(crate) partitioner: Partitioner,
}

/// A node.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) op: Op,
    pub(crate) inputs: Vec<Input>,
    pub(crate) schema: SchemaRef,
    pub(crate) parallelism: u32,
    /// Expected rows.
    pub(crate) rows: f64,
    /// It ends.
    pub(crate) bounded: bool,
    /// It takes rows back.
    pub(crate) updating: bool,
}

impl Node {
    /// A node without inputs.
    pub(crate) fn leaf(op: Op, schema: Schema, parallelism: u32, rows: f64, bounded: bool) -> Self {
        Self { op, inputs: Vec::new(), schema: Arc::new(schema), parallelism, rows, bounded, updating: false }
    }

    /// A node over this one, in the same subtasks.
    pub(crate) fn then(self, op: Op, schema: SchemaRef, rows: f64) -> Self {
        let (parallelism, bounded, updating) = (self.parallelism, self.bounded, self.updating);
        let inputs = vec![Input { node: self, partitioner: Partitioner::Forward }];
        Self { op, inputs, schema, parallelism, rows, bounded, updating }
    }

    /// A node over this one, elsewhere.
    pub(crate) fn exchange(
        self,
        partitioner: Partitioner,
        parallelism: u32,
        op: Op,
        schema: SchemaRef,
        rows: f64,
    ) -> Self {
        let (bounded, updating) = (self.bounded, self.updating);
        let inputs = vec![Input { node: self, partitioner }];
        Self { op, inputs, schema, parallelism, rows, bounded, updating }
    }

    /// Keeps the rows for which `predicate` is true.
    pub(crate) fn filter(self, predicate: Expr, selectivity: f64) -> Self {
        let (schema, rows) = (Arc::clone(&self.schema), self.rows * selectivity);
        self.then(Op::Filter { predicate }, schema, rows)
    }

    /// Computes columns; none if they are the ones that are there. Projections over projections become one.
    pub(crate) fn project(self, expressions: Vec<Expr>, fields: Vec<Field>) -> Self {
        let is_identity = expressions.len() == self.schema.fields.len()
            && expressions.iter().enumerate().all(|(i, e)| *e == Expr::Column(i));
        if is_identity {
            return self.with_names(fields);
        }
        let event_time = self.schema.event_time.and_then(|t| expressions.iter().position(|e| *e == Expr::Column(t)));
        let schema = Arc::new(Schema { fields, event_time });
        if let (Op::Join(spec), Some(columns)) = (&self.op, plain_columns(&expressions)) {
            let mut spec = spec.clone();
            spec.projection = Some(match &spec.projection {
                Some(below) => columns.iter().map(|&c| below[c]).collect(),
                None => columns,
            });
            return Self { op: Op::Join(spec), schema, ..self };
        }
        if let (Op::AsofJoin(spec), Some(columns)) = (&self.op, plain_columns(&expressions)) {
            let mut spec = spec.clone();
            spec.projection = columns.iter().map(|&c| spec.projection[c]).collect();
            return Self { op: Op::AsofJoin(spec), schema, ..self };
        }
        if let (Op::WindowFunctions(spec), Some(columns)) = (&self.op, plain_columns(&expressions)) {
            let mut spec = spec.clone();
            spec.projection = columns.iter().map(|&c| spec.projection[c]).collect();
            return Self { op: Op::WindowFunctions(spec), schema, ..self };
        }
        if let Op::Project { expressions: below } = &self.op {
            // Cheap columns may be named more than once; a computed one is not computed twice.
            let mut uses = vec![0_usize; below.len()];
            for e in &expressions {
                e.visit(&mut |e| {
                    if let Expr::Column(c) = e {
                        uses[*c] += 1;
                    }
                });
            }
            let simple = |e: &Expr| matches!(e, Expr::Column(_) | Expr::Literal(_));
            if below.iter().zip(&uses).all(|(e, &n)| n <= 1 || simple(e)) {
                let expressions = expressions.iter().map(|e| substitute(e, below)).collect();
                return Self { op: Op::Project { expressions }, schema, ..self };
            }
        }
        let rows = self.rows;
        self.then(Op::Project { expressions }, schema, rows)
    }

    /// The same columns under these names, where the operator gives its output names; else as it is.
    fn with_names(mut self, fields: Vec<Field>) -> Self {
        if self.names_its_output() {
            let event_time = self.schema.event_time;
            self.schema = Arc::new(Schema { fields, event_time });
        }
        self
    }

    /// Whether the columns of the output take their names from the output's schema.
    pub(crate) fn names_its_output(&self) -> bool {
        match &self.op {
            Op::Project { .. }
            | Op::Expand(_)
            | Op::Unnest(_)
            | Op::Join(_)
            | Op::AsofJoin(_)
            | Op::WindowFunctions(_)
            | Op::Values { .. } => true,
            Op::Aggregate(spec) => spec.phase != flumen_core::spec::relational::AggregatePhase::Local,
            _ => false,
        }
    }
}

/// The columns, if all expressions are columns.
pub(crate) fn plain_columns(expressions: &[Expr]) -> Option<Vec<usize>> {
    expressions.iter().map(|e| if let Expr::Column(c) = e { Some(*c) } else { None }).collect()
}

/// `expr` with every column replaced by the expression that computes it.
pub(crate) fn substitute(expr: &Expr, by: &[Expr]) -> Expr {
    let all = |exprs: &[Expr]| exprs.iter().map(|e| substitute(e, by)).collect();
    match expr {
        Expr::Column(c) => by[*c].clone(),
        Expr::Literal(l) => Expr::Literal(l.clone()),
        Expr::Call { function, args, return_type } => {
            Expr::Call { function: function.clone(), args: all(args), return_type: return_type.clone() }
        }
        Expr::Case { branches, otherwise, return_type } => Expr::Case {
            branches: branches.iter().map(|(c, v)| (substitute(c, by), substitute(v, by))).collect(),
            otherwise: otherwise.as_ref().map(|o| Box::new(substitute(o, by))),
            return_type: return_type.clone(),
        },
        Expr::Cast { input, to, safe } => {
            Expr::Cast { input: Box::new(substitute(input, by)), to: to.clone(), safe: *safe }
        }
        Expr::InList { input, list, negated } => {
            Expr::InList { input: Box::new(substitute(input, by)), list: list.clone(), negated: *negated }
        }
    }
}

/// Bytes of a row, about.
pub(crate) fn row_bytes(schema: &Schema) -> f64 {
    schema
        .fields
        .iter()
        .map(|f| match &f.data_type {
            LogicalType::Utf8 | LogicalType::Binary => 32.0,
            other => other.fixed_width().map_or(64.0, |w| w as f64),
        })
        .sum()
}
