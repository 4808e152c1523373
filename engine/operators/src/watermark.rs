//! Derives watermarks from a timestamp column: bounded out-of-orderness by row.
//!
//! Before each row stands the watermark `newest - delay - 1` of the rows before it. A consumer must see that watermark
//! only where it matters: before a row that is late under it, since for any other row the answer is the same under
//! every earlier watermark. So a batch is cut before late rows, and elsewhere one watermark follows at its end; results
//! do not depend on where batches were cut, and rows in order cost one watermark per batch.
//!
//! Watermarks from upstream are ignored but for the last one, which ends event time.
//!
//! Idleness: an operator knows processing time by timers alone, so it looks at it several times per timeout and takes
//! the time of the look after a row for the row's. The input is thus never declared idle too early, and at the latest
//! after 1 + 1/[`LOOKS_PER_TIMEOUT`] timeouts.
//!
//! A watermark is not state: after a restore it starts anew from the first row, as in Flink. Operators that judge
//! lateness keep their own.
//!
//! Cost: one pass for the smallest and largest time of a batch; a second one only if some row may be late.

use std::collections::VecDeque;
use std::sync::Arc;

use flumen_core::batch::Batch;
use flumen_core::failure::Failure;
use flumen_core::spec::streaming::WatermarkSpec;
use flumen_core::spec::{OperatorPayload, OperatorSpec};
use flumen_core::time::{EventTime, Watermark, WatermarkStatus};

use crate::contract::{Operator, OperatorContext, OperatorFactory, Output, Step};
use crate::error::OperatorError;
use crate::event_time::EventTimes;
use crate::registry::OperatorRegistry;

const NAME: &str = "watermark";
const LOOKS_PER_TIMEOUT: u64 = 4;

/// Adds the factory.
pub fn register(registry: &mut OperatorRegistry) {
    registry.register(Arc::new(Factory));
}

struct Factory;

impl OperatorFactory for Factory {
    fn kind(&self) -> &'static str {
        WatermarkSpec::KIND
    }

    fn create(&self, spec: &OperatorSpec, _context: &OperatorContext) -> Result<Box<dyn Operator>, Failure> {
        let payload: WatermarkSpec = spec.payload()?;
        let columns = spec.inputs.first().map_or(0, |s| s.fields.len());
        if payload.column >= columns || payload.delay_ms < 0 {
            let problem = format!("column {} of {columns}, delay {} ms", payload.column, payload.delay_ms);
            return Err(OperatorError::Spec { operator: NAME, problem }.into());
        }
        Ok(Box::new(WatermarkAssigner {
            column: payload.column,
            delay_ms: payload.delay_ms,
            newest: EventTime::MIN,
            sent: Watermark::MIN,
            pieces: None,
            idleness: payload.idle_timeout_ms.map(Idleness::new),
        }))
    }
}

struct WatermarkAssigner {
    column: usize,
    delay_ms: i64,
    /// Largest time of all rows so far.
    newest: EventTime,
    /// The last watermark that was given.
    sent: Watermark,
    pieces: Option<Pieces>,
    idleness: Option<Idleness>,
}

/// A batch on its way out.
struct Pieces {
    batch: Batch,
    /// Rows that were given.
    offset: usize,
    /// Rows after which a watermark stands, ascending; the end of the batch is not among them.
    cuts: VecDeque<(usize, Watermark)>,
    /// After the last row.
    last: Watermark,
    /// The watermark that has to follow the piece given last.
    due: Option<Watermark>,
    /// The input has to be declared active first.
    wakes: bool,
}

impl WatermarkAssigner {
    /// Where the batch has to be cut. Advances `newest`.
    fn cuts(&mut self, batch: &Batch, millis: &[i64]) -> VecDeque<(usize, Watermark)> {
        let (least, most) = match batch.selection() {
            None => extremes(millis.iter().copied()),
            Some(selection) => extremes(selection.iter().map(|row| millis[*row as usize])),
        };
        let newest = self.newest.max(EventTime(most));
        let mut cuts = VecDeque::new();
        if EventTime(least) <= Watermark::bounded(newest, self.delay_ms).0 {
            let rows = batch.num_rows();
            match batch.selection() {
                None => self.find_cuts(rows, |i| millis[i], &mut cuts),
                Some(selection) => self.find_cuts(rows, |i| millis[selection[i] as usize], &mut cuts),
            }
        }
        self.newest = newest;
        cuts
    }

    fn find_cuts(&self, rows: usize, time: impl Fn(usize) -> i64, cuts: &mut VecDeque<(usize, Watermark)>) {
        let (mut newest, mut sent) = (self.newest, self.sent);
        for row in 0..rows {
            let time = EventTime(time(row));
            if time > newest {
                newest = time;
                continue;
            }
            let watermark = Watermark::bounded(newest, self.delay_ms);
            if time <= watermark.0 && watermark > sent {
                cuts.push_back((row, watermark));
                sent = watermark;
            }
        }
    }
}

fn extremes(times: impl Iterator<Item = i64>) -> (i64, i64) {
    times.fold((i64::MAX, i64::MIN), |(least, most), time| (least.min(time), most.max(time)))
}

impl Operator for WatermarkAssigner {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut Output) -> Result<Step, Failure> {
        let times = EventTimes::of(&batch, self.column, NAME)?;
        let cuts = self.cuts(&batch, &times.millis());
        let last = Watermark::bounded(self.newest, self.delay_ms);
        let wakes = self.idleness.as_mut().is_some_and(Idleness::rows_came);
        self.pieces = Some(Pieces { batch, offset: 0, cuts, last, due: None, wakes });
        self.resume(out)
    }

    fn resume(&mut self, out: &mut Output) -> Result<Step, Failure> {
        let Some(pieces) = &mut self.pieces else { return Ok(Step::Done) };
        let rows = pieces.batch.num_rows();
        if std::mem::take(&mut pieces.wakes) {
            out.emit_status(WatermarkStatus::Active);
            return Ok(Step::HasMoreOutput);
        }
        if let Some(watermark) = pieces.due.take() {
            self.sent = watermark;
            out.emit_watermark(watermark);
        } else {
            let (end, watermark) = pieces.cuts.pop_front().unwrap_or((rows, pieces.last));
            if pieces.offset == 0 && end == rows {
                out.emit(pieces.batch.clone());
            } else {
                out.emit(pieces.batch.slice(pieces.offset, end - pieces.offset));
            }
            pieces.offset = end;
            pieces.due = (watermark > self.sent).then_some(watermark);
        }
        if pieces.offset == rows && pieces.due.is_none() {
            self.pieces = None;
            return Ok(Step::Done);
        }
        Ok(Step::HasMoreOutput)
    }

    fn output_watermark(&self, input: Watermark) -> Option<Watermark> {
        (input == Watermark::MAX).then_some(input)
    }

    fn timer(&mut self, now: EventTime, out: &mut Output) -> Result<Step, Failure> {
        if self.idleness.as_mut().is_some_and(|idleness| idleness.look(now)) {
            out.emit_status(WatermarkStatus::Idle);
        }
        Ok(Step::Done)
    }

    fn next_timer(&self) -> Option<EventTime> {
        self.idleness.as_ref().and_then(|idleness| idleness.next_look)
    }
}

/// Finds out when an input has been silent for long.
struct Idleness {
    timeout_ms: i64,
    step_ms: i64,
    /// Rows came since the last look.
    has_rows: bool,
    /// The latest time at which the last row may have come.
    active_at: Option<EventTime>,
    /// None while the input is idle.
    next_look: Option<EventTime>,
}

impl Idleness {
    fn new(timeout_ms: u64) -> Self {
        let timeout_ms = i64::try_from(timeout_ms).unwrap_or(i64::MAX);
        let step_ms = (timeout_ms / LOOKS_PER_TIMEOUT as i64).max(1);
        // The first look only learns what time it is.
        Self { timeout_ms, step_ms, has_rows: false, active_at: None, next_look: Some(EventTime::MIN) }
    }

    /// Notes that there are rows; answers whether the input was idle until now.
    fn rows_came(&mut self) -> bool {
        self.has_rows = true;
        let was_idle = self.next_look.is_none();
        if was_idle {
            self.next_look = Some(EventTime::MIN);
        }
        was_idle
    }

    /// Notes the time; answers whether the input becomes idle.
    fn look(&mut self, now: EventTime) -> bool {
        let active_at = match self.active_at {
            Some(active_at) if !std::mem::take(&mut self.has_rows) => active_at,
            _ => now,
        };
        self.has_rows = false;
        self.active_at = Some(active_at);
        let is_idle = now.0.saturating_sub(active_at.0) >= self.timeout_ms;
        self.next_look = (!is_idle).then(|| EventTime(now.0.saturating_add(self.step_ms)));
        is_idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{CUTS, Instance, Numbers, batch, ints, millis, schema, times};
    use flumen_core::types::{LogicalType, SchemaRef};

    fn spec(delay_ms: i64, idle_timeout_ms: Option<u64>) -> (SchemaRef, OperatorSpec) {
        let schema = schema(&[("v", LogicalType::Int64), ("t", millis())]);
        let payload = WatermarkSpec { column: 1, delay_ms, idle_timeout_ms };
        (Arc::clone(&schema), OperatorSpec::new(&payload, vec![Arc::clone(&schema)], Some(schema)))
    }

    fn rows(schema: &SchemaRef, values: &[i64]) -> Batch {
        batch(schema, vec![ints(values.iter().map(|v| Some(*v))), times(values.iter().copied())])
    }

    #[test]
    fn cuts_before_late_rows_only() {
        let time = |t: i64| format!("+I {t} 1970-01-01T00:00:00.{t:03}");
        for (delay, values, expected) in [
            (0, vec![1, 2, 3], vec!["1", "2", "3", "W 2"]),
            (0, vec![5, 3, 2, 9], vec!["5", "W 4", "3", "2", "9", "W 8"]),
            (2, vec![5, 3, 2, 9], vec!["5", "3", "W 2", "2", "9", "W 6"]),
            (0, vec![5, 5, 5], vec!["5", "5", "5", "W 4"]),
            (0, vec![5, 4, 6, 5], vec!["5", "W 4", "4", "6", "W 5", "5"]),
        ] {
            let (schema, spec) = spec(delay, None);
            let mut operator = Instance::alone(&spec);
            operator.batch(0, rows(&schema, &values)).unwrap();
            let expected: Vec<String> =
                expected.iter().map(|e| e.parse().map_or_else(|_| e.to_string(), time)).collect();
            assert_eq!(operator.texts(), expected, "{delay} {values:?}");
        }
    }

    #[test]
    fn a_late_row_finds_the_same_watermark_under_every_cut() {
        let mut numbers = Numbers::new(7);
        let values: Vec<i64> = (0..500).map(|i| (i + numbers.below(40)) as i64).collect();
        for delay in [0, 10, 45] {
            let (schema, spec) = spec(delay, None);
            // The watermark that each row stands behind, by the definition.
            let mut newest = i64::MIN;
            let mut expected = Vec::new();
            for value in &values {
                let before = Watermark::bounded(EventTime(newest), delay);
                expected.push((before.0.0 >= *value).then_some(before.0.0));
                newest = newest.max(*value);
            }
            for cut in CUTS {
                let mut operator = Instance::alone(&spec);
                for piece in values.chunks(cut) {
                    operator.batch(0, rows(&schema, piece)).unwrap();
                }
                let (mut watermark, mut found) = (i64::MIN, Vec::new());
                for text in operator.texts() {
                    match text.strip_prefix("W ") {
                        Some(millis) => {
                            let next = millis.parse().unwrap();
                            assert!(next > watermark);
                            watermark = next;
                        }
                        None => {
                            let value: i64 = text.split(' ').nth(1).unwrap().parse().unwrap();
                            found.push((watermark >= value).then_some(watermark));
                        }
                    }
                }
                assert_eq!(found, expected, "delay {delay}, cut {cut}");
            }
        }
    }

    #[test]
    fn silence_makes_idle_and_rows_make_active() {
        let (schema, spec) = spec(0, Some(1000));
        let mut operator = Instance::alone(&spec);
        let idle = "WatermarkStatus(Idle)".to_owned();
        operator.timer(0);
        operator.timer(250);
        operator.batch(0, rows(&schema, &[1])).unwrap();
        for now in [500, 750, 1000, 1250, 1499] {
            operator.timer(now);
        }
        assert!(!operator.texts().contains(&idle), "1000 ms have not passed since the row");
        operator.timer(1500);
        assert_eq!(operator.texts().last(), Some(&idle));
        assert_eq!(operator.operator.next_timer(), None);
        operator.given.clear();
        operator.batch(0, rows(&schema, &[9])).unwrap();
        assert_eq!(operator.texts()[0], "WatermarkStatus(Active)");
        assert_eq!(operator.texts().last().unwrap(), "W 8");
        assert!(operator.operator.next_timer().is_some());
    }

    #[test]
    fn only_the_last_watermark_passes() {
        let (_, spec) = spec(0, None);
        let mut operator = Instance::alone(&spec);
        operator.watermark(77).unwrap();
        operator.watermark(i64::MAX).unwrap();
        assert_eq!(operator.texts(), [format!("W {}", i64::MAX)]);
    }

    #[test]
    fn a_missing_time_is_an_error() {
        let (schema, spec) = spec(0, None);
        let times: arrow_array::ArrayRef = Arc::new(arrow_array::TimestampMillisecondArray::from(vec![Some(1), None]));
        let rows = batch(&schema, vec![ints([Some(1), Some(2)]), times]);
        let unselected = rows.clone().with_selection(Some(vec![0].into()));
        assert!(Instance::alone(&spec).batch(0, unselected).is_ok());
        let error = Instance::alone(&spec).batch(0, rows).unwrap_err();
        assert!(error.to_string().contains("\"t\""), "{error}");
    }
}
