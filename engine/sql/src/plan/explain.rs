//! The physical plan as text: one line an operator, sources innermost, with expected rows, exchanges and state.

use std::fmt::Write;

use flumen_core::expr::{Expr, Literal, Value};
use flumen_core::graph::Partitioner;
use flumen_core::spec::relational::{AggregateCall, AggregatePhase, HashJoinSpec, JoinKind, SortKey};
use flumen_core::types::{LogicalType, Resolution, Schema};

use super::node::{Node, Op};

mod window;

/// The whole tree.
pub(crate) fn explain(root: &Node) -> String {
    let mut text = String::new();
    write_node(root, None, "", "", &mut Vec::new(), &mut text);
    text
}

/// `shown` are the shared parts that stand further up.
fn write_node(
    node: &Node,
    via: Option<(&Partitioner, &Node)>,
    head: &str,
    indent: &str,
    shown: &mut Vec<usize>,
    text: &mut String,
) {
    let mut line = format!("{head}{}", describe(node));
    if !matches!(node.op, Op::Sink { .. }) {
        let _ = write!(line, "  rows~{}", rows_text(node));
    }
    let _ = write!(line, "  x{}", node.parallelism);
    if let Some(state) = state_text(node) {
        let _ = write!(line, "  state={state}");
    }
    if node.updating {
        line.push_str("  changelog=retract");
    }
    if let Some((partitioner, producer)) = via
        && *partitioner != Partitioner::Forward
    {
        let _ = write!(line, "  -> {}", partitioner_text(partitioner, &producer.schema));
    }
    text.push_str(&line);
    if let Op::Shared { id } = node.op {
        if shown.contains(&id) {
            text.push_str("  as above\n");
            return;
        }
        shown.push(id);
    }
    text.push('\n');
    let last = node.inputs.len().saturating_sub(1);
    for (index, input) in node.inputs.iter().enumerate() {
        let (branch, below) = if index == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let role = match (&node.op, index) {
            (Op::Join(_) | Op::AsofJoin(_), 0) => "build: ",
            (Op::Join(_) | Op::AsofJoin(_), _) => "probe: ",
            _ => "",
        };
        let head = format!("{indent}{branch}{role}");
        let via = Some((&input.partitioner, &input.node));
        write_node(&input.node, via, &head, &format!("{indent}{below}"), shown, text);
    }
}

fn rows_text(node: &Node) -> String {
    if !node.bounded {
        return "unbounded".to_owned();
    }
    let rows = node.rows.max(0.0).round();
    match rows {
        r if r >= 1e9 => format!("{:.1}G", r / 1e9),
        r if r >= 1e6 => format!("{:.1}M", r / 1e6),
        r if r >= 1e4 => format!("{:.0}K", r / 1e3),
        r => format!("{r:.0}"),
    }
}

fn partitioner_text(partitioner: &Partitioner, schema: &Schema) -> String {
    match partitioner.key_columns() {
        Some(columns) => format!("{}[{}]", partitioner.name(), names(columns, schema)),
        None => partitioner.name().to_owned(),
    }
}

fn state_text(node: &Node) -> Option<String> {
    match &node.op {
        Op::Aggregate(spec) if spec.phase != AggregatePhase::Local => {
            (!node.bounded || spec.continuous).then(|| "groups".to_owned())
        }
        Op::Tumbling(spec) if spec.phase != AggregatePhase::Local => Some("windows".to_owned()),
        _ => None,
    }
}

/// What people see of an operator in a running job.
pub(crate) fn title(node: &Node) -> String {
    match &node.op {
        Op::Source { table, .. } => format!("Source: {table}"),
        Op::Values { .. } => "Values".to_owned(),
        Op::Watermark(_) => "Watermark".to_owned(),
        Op::Filter { .. } => "Filter".to_owned(),
        Op::Project { .. } => "Project".to_owned(),
        Op::Expand(_) => "Expand".to_owned(),
        Op::Unnest(spec) if spec.outer => "OuterUnnest".to_owned(),
        Op::Unnest(_) => "Unnest".to_owned(),
        Op::Aggregate(spec) => format!("{}Aggregate", phase(spec.phase)),
        Op::Windowed { .. } => "Window".to_owned(),
        Op::Tumbling(spec) => format!("{}WindowAggregate", phase(spec.phase)),
        Op::Join(spec) => join_title(spec),
        Op::AsofJoin(spec) if spec.outer => "LeftAsofJoin".to_owned(),
        Op::AsofJoin(_) => "AsofJoin".to_owned(),
        Op::WindowFunctions(_) => "WindowFunctions".to_owned(),
        Op::Sort(spec) if spec.fetch.is_some() => "TopN".to_owned(),
        Op::Sort(_) => "Sort".to_owned(),
        Op::Limit(_) => "Limit".to_owned(),
        Op::Union => "Union".to_owned(),
        Op::Shared { id } => format!("Shared #{id}"),
        Op::Sink { table: Some(table), .. } => format!("Sink: {table}"),
        Op::Sink { spec, .. } => format!("Sink: {}", spec.connector),
    }
}

fn phase(phase: AggregatePhase) -> &'static str {
    match phase {
        AggregatePhase::Single => "",
        AggregatePhase::Local => "Local",
        AggregatePhase::Global => "Global",
    }
}

fn join_title(spec: &HashJoinSpec) -> String {
    match (spec.kind, spec.build_count.is_some()) {
        (JoinKind::LeftSemi, true) => return "IntersectAll".to_owned(),
        (JoinKind::LeftAnti, true) => return "ExceptAll".to_owned(),
        _ => {}
    }
    let kind = match spec.kind {
        JoinKind::Left => "Left",
        JoinKind::LeftSemi => "Semi",
        JoinKind::LeftAnti if spec.null_aware => "NotIn",
        JoinKind::LeftAnti => "Anti",
        JoinKind::Full => "Full",
        JoinKind::LeftMark => "Mark",
        JoinKind::BuildSemi => "BuildSemi",
        JoinKind::BuildAnti => "BuildAnti",
        _ => "Inner",
    };
    format!("{kind}Join")
}

fn describe(node: &Node) -> String {
    let title = title(node);
    let input = node.inputs.first().map(|i| &*i.node.schema);
    match &node.op {
        Op::Source { spec, exact_filters, note, .. } => {
            let names: Vec<&str> = node.schema.fields.iter().map(|f| f.name.as_str()).collect();
            let mut text = format!("{title} [{}]", names.join(", "));
            let pruning: Vec<&Expr> = spec.filters.iter().filter(|f| !exact_filters.contains(f)).collect();
            for (label, filters) in [("pruned by", pruning), ("filtered by", exact_filters.iter().collect())] {
                if !filters.is_empty() {
                    let filters: Vec<String> = filters.iter().map(|f| expr_text(f, &node.schema)).collect();
                    let _ = write!(text, " {label} ({})", cut(filters.join(" AND ")));
                }
            }
            for (id, column) in &spec.runtime_filters {
                let _ = write!(text, " runtime filter #{id} on [{}]", names_of(&[*column], &node.schema));
            }
            if let Some(limit) = spec.limit {
                let _ = write!(text, " limit {limit}");
            }
            if let Some(note) = note {
                let _ = write!(text, " reads {note}");
            }
            text
        }
        Op::Values { rows } => format!("{title} ({} rows)", rows.len()),
        Op::Watermark(spec) => {
            format!("{title} {} - {} ms", node.schema.fields[spec.column].name, spec.delay_ms)
        }
        Op::Filter { predicate } => format!("{title} ({})", cut(expr_text(predicate, &node.schema))),
        Op::Project { expressions } => {
            let empty = Schema::new(Vec::new());
            let input = input.unwrap_or(&empty);
            let items: Vec<String> = expressions
                .iter()
                .zip(&node.schema.fields)
                .map(|(e, field)| {
                    let text = expr_text(e, input);
                    if text == field.name { text } else { format!("{text} AS {}", field.name) }
                })
                .collect();
            format!("{title} [{}]", cut(items.join(", ")))
        }
        Op::Expand(spec) => {
            let empty = Schema::new(Vec::new());
            let input = input.unwrap_or(&empty);
            let copy = |columns: &Vec<Expr>| {
                let columns: Vec<String> = columns.iter().map(|e| expr_text(e, input)).collect();
                format!("({})", columns.join(", "))
            };
            format!("{title} [{}]", cut(spec.projections.iter().map(copy).collect::<Vec<_>>().join(", ")))
        }
        Op::Unnest(spec) => format!("{title} [{}]", names_of(&spec.lists, input.unwrap_or(&Schema::new(Vec::new())))),
        Op::Aggregate(spec) => {
            let empty = Schema::new(Vec::new());
            let input = input.unwrap_or(&empty);
            format!(
                "{title} by [{}] [{}]",
                names(&spec.group_by, input),
                cut(calls_text(&spec.aggregates, spec.phase, input))
            )
        }
        Op::Tumbling(spec) => {
            let empty = Schema::new(Vec::new());
            let input = input.unwrap_or(&empty);
            let offset = if spec.offset_ms == 0 { String::new() } else { format!(" offset {} ms", spec.offset_ms) };
            format!(
                "{title} tumble({}, {} ms{offset}) by [{}] [{}]",
                input.fields[spec.time_column].name,
                spec.size_ms,
                names(&spec.group_by, input),
                cut(calls_text(&spec.aggregates, spec.phase, input))
            )
        }
        Op::Windowed { size_ms, .. } => format!("{title} tumble {size_ms} ms"),
        Op::Join(spec) => {
            let (build, probe) = (&node.inputs[0].node.schema, &node.inputs[1].node.schema);
            let pairs: Vec<String> = spec
                .probe_keys
                .iter()
                .zip(&spec.build_keys)
                .map(|(&p, &b)| format!("{} = {}", probe.fields[p].name, build.fields[b].name))
                .collect();
            let mut text = format!("{title} on ({})", pairs.join(" AND "));
            if let Some(filter) = &spec.filter {
                let both = Schema::new(probe.fields.iter().chain(&build.fields).cloned().collect());
                let _ = write!(text, " if ({})", cut(expr_text(filter, &both)));
            }
            if spec.build_unique {
                text.push_str(" build unique");
            }
            for (id, _) in &spec.runtime_filters {
                let _ = write!(text, " publishes #{id}");
            }
            text
        }
        Op::AsofJoin(spec) => {
            let (build, probe) = (&node.inputs[0].node.schema, &node.inputs[1].node.schema);
            let op = match (spec.forward, spec.strict) {
                (false, false) => ">=",
                (false, true) => ">",
                (true, false) => "<=",
                (true, true) => "<",
            };
            let keys = spec.probe_keys.iter().zip(&spec.build_keys).map(|(p, b)| (*p, "=", *b));
            let pairs: Vec<String> = keys
                .chain([(spec.probe_position, op, spec.build_position)])
                .map(|(p, op, b)| format!("{} {op} {}", probe.fields[p].name, build.fields[b].name))
                .collect();
            format!("{title} on ({})", pairs.join(" AND "))
        }
        Op::WindowFunctions(spec) => {
            let empty = Schema::new(Vec::new());
            window::describe(&title, spec, input.unwrap_or(&empty))
        }
        Op::Sort(spec) => {
            let mut text = format!("{title} by [{}]", sort_text(&spec.keys, &node.schema));
            limit_text(spec.offset, spec.fetch, &mut text);
            text
        }
        Op::Limit(spec) => {
            let mut text = title;
            limit_text(spec.offset, spec.fetch, &mut text);
            text
        }
        Op::Union | Op::Shared { .. } | Op::Sink { .. } => title,
    }
}

fn limit_text(offset: u64, fetch: Option<u64>, text: &mut String) {
    if let Some(fetch) = fetch {
        let _ = write!(text, " limit {fetch}");
    }
    if offset > 0 {
        let _ = write!(text, " offset {offset}");
    }
}

fn sort_text(keys: &[SortKey], schema: &Schema) -> String {
    let key = |k: &SortKey| {
        let direction = if k.descending { " DESC" } else { "" };
        // Only what differs from the default is said: NULLs are largest.
        let nulls = if k.nulls_first == k.descending {
            ""
        } else if k.nulls_first {
            " NULLS FIRST"
        } else {
            " NULLS LAST"
        };
        format!("{}{direction}{nulls}", schema.fields[k.column].name)
    };
    keys.iter().map(key).collect::<Vec<_>>().join(", ")
}

fn calls_text(calls: &[AggregateCall], phase: AggregatePhase, input: &Schema) -> String {
    let call = |c: &AggregateCall| {
        if phase == AggregatePhase::Global {
            return c.function.clone();
        }
        let (values, order) = c.args.split_at(c.args.len() - c.order_by.len().min(c.args.len()));
        let mut args = if values.is_empty() { "*".to_owned() } else { names_of(values, input) };
        if !order.is_empty() {
            let keys: Vec<SortKey> = order
                .iter()
                .zip(&c.order_by)
                .map(|(&column, o)| SortKey { column, descending: o.descending, nulls_first: o.nulls_first })
                .collect();
            let _ = write!(args, " ORDER BY {}", sort_text(&keys, input));
        }
        let distinct = if c.distinct { "DISTINCT " } else { "" };
        let filter = c.filter.map(|f| format!(" FILTER {}", input.fields[f].name)).unwrap_or_default();
        format!("{}({distinct}{args}){filter}", c.function)
    };
    calls.iter().map(call).collect::<Vec<_>>().join(", ")
}

fn names(columns: &[usize], schema: &Schema) -> String {
    names_of(columns, schema)
}

fn names_of(columns: &[usize], schema: &Schema) -> String {
    columns.iter().map(|&c| schema.fields[c].name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Longest text of a list in a plan.
const TEXT_MAX: usize = 400;

fn cut(text: String) -> String {
    if text.chars().count() <= TEXT_MAX {
        return text;
    }
    text.chars().take(TEXT_MAX).chain("...".chars()).collect()
}

/// An expression as SQL.
pub(crate) fn expr_text(expr: &Expr, schema: &Schema) -> String {
    let infix = |symbol: &str, args: &[Expr]| {
        let parts: Vec<String> = args
            .iter()
            .map(|a| match a {
                Expr::Call { function, .. } if symbol_of(function).is_some() => format!("({})", expr_text(a, schema)),
                _ => expr_text(a, schema),
            })
            .collect();
        parts.join(&format!(" {symbol} "))
    };
    match expr {
        Expr::Column(c) => schema.fields.get(*c).map_or_else(|| format!("${c}"), |f| f.name.clone()),
        Expr::Literal(literal) => literal_text(literal),
        Expr::Call { function, args, .. } => match (symbol_of(function), function.as_str(), args.as_slice()) {
            (Some(symbol), ..) => infix(symbol, args),
            (None, "is_null", [a]) => format!("{} IS NULL", expr_text(a, schema)),
            (None, "is_not_null", [a]) => format!("{} IS NOT NULL", expr_text(a, schema)),
            (None, "is_true", [a]) => format!("{} IS TRUE", expr_text(a, schema)),
            (None, "is_false", [a]) => format!("{} IS FALSE", expr_text(a, schema)),
            (None, "not", [a]) => format!("NOT ({})", expr_text(a, schema)),
            (None, "negate", [a]) => format!("-({})", expr_text(a, schema)),
            (None, name, args) => {
                let name = name.rsplit(':').next().unwrap_or(name);
                format!("{name}({})", args.iter().map(|a| expr_text(a, schema)).collect::<Vec<_>>().join(", "))
            }
        },
        Expr::Case { branches, otherwise, .. } => {
            let mut text = "CASE".to_owned();
            for (condition, value) in branches {
                let _ = write!(text, " WHEN {} THEN {}", expr_text(condition, schema), expr_text(value, schema));
            }
            if let Some(otherwise) = otherwise {
                let _ = write!(text, " ELSE {}", expr_text(otherwise, schema));
            }
            text.push_str(" END");
            text
        }
        Expr::Cast { input, to, safe } => {
            format!("{}({} AS {to})", if *safe { "TRY_CAST" } else { "CAST" }, expr_text(input, schema))
        }
        Expr::InList { input, list, negated } => {
            let shown: Vec<String> = list.iter().take(20).map(literal_text).collect();
            let more = if list.len() > shown.len() { ", ..." } else { "" };
            let not = if *negated { "NOT " } else { "" };
            format!("{} {not}IN ({}{more})", expr_text(input, schema), shown.join(", "))
        }
    }
}

fn symbol_of(function: &str) -> Option<&'static str> {
    Some(match function {
        "and" => "AND",
        "or" => "OR",
        "eq" => "=",
        "ne" => "<>",
        "lt" => "<",
        "le" => "<=",
        "gt" => ">",
        "ge" => ">=",
        "add" => "+",
        "subtract" => "-",
        "multiply" => "*",
        "divide" => "/",
        "modulo" => "%",
        "like" => "LIKE",
        "not_like" => "NOT LIKE",
        "ilike" => "ILIKE",
        "not_ilike" => "NOT ILIKE",
        "is_distinct_from" => "IS DISTINCT FROM",
        "is_not_distinct_from" => "IS NOT DISTINCT FROM",
        _ => return None,
    })
}

fn literal_text(literal: &Literal) -> String {
    let decimal = |v: i128, scale: i8| {
        let scale = usize::try_from(scale).unwrap_or(0);
        if scale == 0 {
            return v.to_string();
        }
        let digits = format!("{:0>width$}", v.unsigned_abs(), width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        format!("{}{whole}.{fraction}", if v < 0 { "-" } else { "" })
    };
    match (&literal.value, &literal.data_type) {
        (Value::Null, _) => "NULL".to_owned(),
        (Value::Boolean(b), _) => b.to_string(),
        (Value::Int(v), LogicalType::Decimal { scale, .. }) => decimal(*v, *scale),
        (Value::Int(v), LogicalType::Date) => date_text(*v),
        (Value::Int(v), LogicalType::Timestamp { resolution, .. }) => timestamp_text(*v, *resolution),
        (Value::Int(v), _) => v.to_string(),
        (Value::FloatBits(bits), _) => f64::from_bits(*bits).to_string(),
        (Value::Utf8(text), _) => format!("'{}'", text.replace('\'', "''")),
        (Value::Binary(bytes), _) => format!("X'{}'", bytes.iter().map(|b| format!("{b:02x}")).collect::<String>()),
        (Value::Interval { months, days, nanos }, _) => {
            let mut parts = Vec::new();
            if *months != 0 {
                parts.push(format!("{months} months"));
            }
            if *days != 0 {
                parts.push(format!("{days} days"));
            }
            if *nanos != 0 || parts.is_empty() {
                parts.push(format!("{} ms", nanos / 1_000_000));
            }
            format!("INTERVAL '{}'", parts.join(" "))
        }
        (other, _) => format!("{other:?}"),
    }
}

fn date_text(days: i128) -> String {
    let date = i64::try_from(days)
        .ok()
        .and_then(|d| d.checked_mul(86_400))
        .and_then(|s| chrono::DateTime::from_timestamp(s, 0));
    date.map_or_else(|| format!("DATE {days}"), |d| format!("DATE '{}'", d.format("%Y-%m-%d")))
}

fn timestamp_text(ticks: i128, resolution: Resolution) -> String {
    let time =
        i64::try_from(ticks).ok().and_then(|t| chrono::DateTime::from_timestamp_millis(resolution.to_millis_floor(t)));
    time.map_or_else(|| format!("TIMESTAMP {ticks}"), |t| format!("TIMESTAMP '{}'", t.format("%Y-%m-%d %H:%M:%S%.3f")))
}
