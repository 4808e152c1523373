//! Window functions by their definition: for each row all rows of its partition are looked at.

use std::cmp::Ordering;

use flumen_core::expr::{Literal, Value};
use flumen_core::spec::relational::SortKey;
use flumen_core::spec::window::{
    Count, Exclusion, Frame, FrameBound, FrameUnits, Position, Shift, WindowCall, WindowFunction,
};

use super::{B, F, ID, O, P, S, V};

#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) p: Option<i64>,
    pub(super) o: Option<i64>,
    pub(super) v: Option<i64>,
    pub(super) f: Option<f64>,
    pub(super) s: Option<String>,
    pub(super) b: Option<bool>,
    pub(super) id: i64,
}

/// A value that can be compared and shown.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
}

impl Cell {
    fn of(row: &Row, column: usize) -> Self {
        match column {
            P => row.p.map_or(Self::Null, Self::Int),
            O => row.o.map_or(Self::Null, Self::Int),
            V => row.v.map_or(Self::Null, Self::Int),
            F => row.f.map_or(Self::Null, Self::Float),
            S => row.s.clone().map_or(Self::Null, Self::Text),
            B => row.b.map_or(Self::Null, Self::Bool),
            ID => Self::Int(row.id),
            other => panic!("no column {other}"),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Null => "NULL".into(),
            Self::Bool(v) => v.to_string(),
            Self::Int(v) => v.to_string(),
            Self::Float(v) => format!("{v:?}"),
            Self::Text(v) => v.clone(),
        }
    }

    fn number(&self) -> f64 {
        match self {
            Self::Int(v) => *v as f64,
            Self::Float(v) => *v,
            other => panic!("{other:?} is no number"),
        }
    }
}

fn compare(a: &Row, b: &Row, key: &SortKey) -> Ordering {
    let (a, b) = (Cell::of(a, key.column), Cell::of(b, key.column));
    match (a == Cell::Null, b == Cell::Null) {
        (true, true) => Ordering::Equal,
        (true, false) => {
            if key.nulls_first {
                Ordering::Less
            } else {
                Ordering::Greater
            }
        }
        (false, true) => {
            if key.nulls_first {
                Ordering::Greater
            } else {
                Ordering::Less
            }
        }
        (false, false) => {
            let order = a.partial_cmp(&b).expect("no NaN here");
            if key.descending { order.reverse() } else { order }
        }
    }
}

fn compare_all(a: &Row, b: &Row, keys: &[SortKey]) -> Ordering {
    keys.iter().fold(Ordering::Equal, |so_far, key| so_far.then_with(|| compare(a, b, key)))
}

/// The rows that come out, as text: id and the value of each call.
pub(super) fn model(rows: &[Row], partition_by: &[usize], order_by: &[SortKey], calls: &[WindowCall]) -> Vec<String> {
    let partition_keys: Vec<SortKey> =
        partition_by.iter().map(|&column| SortKey { column, descending: false, nulls_first: false }).collect();
    let mut sorted = rows.to_vec();
    sorted.sort_by(|a, b| compare_all(a, b, &partition_keys).then_with(|| compare_all(a, b, order_by)));
    let mut out = Vec::new();
    for partition in sorted.chunk_by(|a, b| compare_all(a, b, &partition_keys).is_eq()) {
        let mut groups = vec![0];
        for pair in partition.windows(2) {
            groups.push(groups[groups.len() - 1] + usize::from(compare_all(&pair[0], &pair[1], order_by).is_ne()));
        }
        let partition = Partition { rows: partition, groups, order_by };
        for row in 0..partition.rows.len() {
            let mut text = format!("+I {}", partition.rows[row].id);
            for call in calls {
                text.push(' ');
                text.push_str(&partition.value(row, call).text());
            }
            out.push(text);
        }
    }
    out
}

struct Partition<'a> {
    rows: &'a [Row],
    /// Peer group of each row.
    groups: Vec<usize>,
    order_by: &'a [SortKey],
}

impl Partition<'_> {
    fn value(&self, row: usize, call: &WindowCall) -> Cell {
        let count = self.rows.len();
        let peers = |row: usize| (0..count).filter(move |other| self.groups[*other] == self.groups[row]);
        let rank = peers(row).next().unwrap() as i64;
        match &call.function {
            WindowFunction::RowNumber => Cell::Int(row as i64 + 1),
            WindowFunction::Rank => Cell::Int(rank + 1),
            WindowFunction::DenseRank => Cell::Int(self.groups[row] as i64 + 1),
            WindowFunction::PercentRank => Cell::Float(if count == 1 { 0.0 } else { rank as f64 / (count - 1) as f64 }),
            WindowFunction::CumeDist => Cell::Float((peers(row).next_back().unwrap() + 1) as f64 / count as f64),
            WindowFunction::Ntile(buckets) => match self.number(row, buckets) {
                None => Cell::Null,
                Some(buckets) => {
                    // Deal out sizes, then see where the row falls.
                    let (mut bucket, mut left) = (0, 0);
                    for _ in 0..=row {
                        if left == 0 {
                            let larger = i64::from(bucket < count as i64 % buckets);
                            left = count as i64 / buckets + larger;
                            bucket += 1;
                        }
                        left -= 1;
                    }
                    Cell::Int(bucket)
                }
            },
            WindowFunction::Lag(shift) => self.shifted(row, shift, -1),
            WindowFunction::Lead(shift) => self.shifted(row, shift, 1),
            WindowFunction::Value { position, column, ignore_nulls, frame } => {
                let values = self.frame(row, frame).into_iter().map(|at| Cell::of(&self.rows[at], *column));
                let values: Vec<Cell> = values.filter(|value| !ignore_nulls || *value != Cell::Null).collect();
                let found = match position {
                    Position::First => values.first(),
                    Position::Last => values.last(),
                    Position::Nth(n) => self.number(row, n).and_then(|n| values.get(n as usize - 1)),
                };
                found.cloned().unwrap_or(Cell::Null)
            }
            WindowFunction::Aggregate { call, frame } => {
                let passes = |at: &usize| call.filter.is_none_or(|f| Cell::of(&self.rows[*at], f) == Cell::Bool(true));
                let frame = self.frame(row, frame).into_iter().filter(passes);
                let Some(arg) = call.args.first() else { return Cell::Int(frame.count() as i64) };
                let values: Vec<Cell> =
                    frame.map(|at| Cell::of(&self.rows[at], *arg)).filter(|value| *value != Cell::Null).collect();
                aggregate(&call.function, &values)
            }
            other => panic!("no model of {other:?}"),
        }
    }

    fn number(&self, row: usize, count: &Count) -> Option<i64> {
        match count {
            Count::Constant(n) => *n,
            Count::Column(column) => match Cell::of(&self.rows[row], *column) {
                Cell::Int(n) => Some(n),
                _ => None,
            },
        }
    }

    fn shifted(&self, row: usize, shift: &Shift, sign: i64) -> Cell {
        let Some(offset) = self.number(row, &shift.offset) else { return Cell::Null };
        let away = offset.saturating_mul(sign);
        let value = |at: usize| Cell::of(&self.rows[at], shift.column);
        if away == 0 {
            return value(row);
        }
        let counts = |at: &usize| !shift.ignore_nulls || value(*at) != Cell::Null;
        let steps = away.unsigned_abs() as usize - 1;
        let found = if away > 0 {
            (row + 1..self.rows.len()).filter(counts).nth(steps)
        } else {
            (0..row).rev().filter(counts).nth(steps)
        };
        match (found, shift.default) {
            (Some(at), _) => value(at),
            (None, Some(default)) => Cell::of(&self.rows[row], default),
            (None, None) => Cell::Null,
        }
    }

    fn frame(&self, row: usize, frame: &Frame) -> Vec<usize> {
        let inside = |at: &usize| {
            self.is_inside(row, *at, &frame.start, frame.units, true)
                && self.is_inside(row, *at, &frame.end, frame.units, false)
                && !match frame.exclude {
                    Exclusion::NoOthers => false,
                    Exclusion::CurrentRow => *at == row,
                    Exclusion::Group => self.groups[*at] == self.groups[row],
                    Exclusion::Ties => self.groups[*at] == self.groups[row] && *at != row,
                }
        };
        (0..self.rows.len()).filter(inside).collect()
    }

    /// Whether row `at` is on the inner side of one end of the frame of `row`.
    fn is_inside(&self, row: usize, at: usize, bound: &FrameBound, units: FrameUnits, is_start: bool) -> bool {
        let distance = match bound {
            FrameBound::UnboundedPreceding | FrameBound::UnboundedFollowing => return true,
            FrameBound::CurrentRow => 0,
            FrameBound::Preceding(n) => -int(n),
            FrameBound::Following(n) => int(n),
        };
        let on_side = |ahead: i64| if is_start { ahead >= distance } else { ahead <= distance };
        let groups_ahead = self.groups[at] as i64 - self.groups[row] as i64;
        match units {
            FrameUnits::Rows => on_side(at as i64 - row as i64),
            FrameUnits::Groups => on_side(groups_ahead),
            FrameUnits::Range if *bound == FrameBound::CurrentRow => on_side(groups_ahead),
            FrameUnits::Range => {
                let key = &self.order_by[0];
                match (Cell::of(&self.rows[row], key.column), Cell::of(&self.rows[at], key.column)) {
                    (Cell::Null, _) => {
                        if is_start {
                            groups_ahead >= 0
                        } else {
                            groups_ahead <= 0
                        }
                    }
                    (_, Cell::Null) => {
                        if is_start {
                            at > row
                        } else {
                            at < row
                        }
                    }
                    (Cell::Int(own), Cell::Int(other)) => {
                        on_side(if key.descending { own - other } else { other - own })
                    }
                    pair => panic!("no distance between {pair:?}"),
                }
            }
        }
    }
}

fn int(literal: &Literal) -> i64 {
    match literal.value {
        Value::Int(n) => n as i64,
        _ => panic!("{literal:?} is no number of rows"),
    }
}

fn aggregate(function: &str, values: &[Cell]) -> Cell {
    if function == "count" {
        return Cell::Int(values.len() as i64);
    }
    let Some(first) = values.first() else { return Cell::Null };
    let best = |wanted: Ordering| {
        let better = |a: Cell, b: &Cell| if b.partial_cmp(&a) == Some(wanted) { b.clone() } else { a };
        values.iter().fold(first.clone(), better)
    };
    let sum: f64 =
        if matches!(first, Cell::Bool(_) | Cell::Text(_)) { 0.0 } else { values.iter().map(Cell::number).sum() };
    match (function, first) {
        ("sum", Cell::Int(_)) => Cell::Int(sum as i64),
        ("sum", _) => Cell::Float(sum),
        ("avg", _) => Cell::Float(sum / values.len() as f64),
        ("min", _) => best(Ordering::Less),
        ("max", _) => best(Ordering::Greater),
        ("bool_and", _) => Cell::Bool(!values.contains(&Cell::Bool(false))),
        ("bool_or", _) => Cell::Bool(values.contains(&Cell::Bool(true))),
        other => panic!("no model of {other:?}"),
    }
}
