//! Constant rows: `'connector' = 'values'`.
//!
//! | option | meaning |
//! |---|---|
//! | `rows` | the rows as JSON (`flumen_core::spec::relational::ValuesRows`) |
//! | `row-kinds` | `+I`, `-U`, `+U` or `-D` for each row, separated by commas; all `+I` by default |
//! | `watermarks` | `rows:milliseconds` pairs separated by commas: after so many rows, this watermark |
//! | `fail-after-rows` | fail after so many rows, for tests of recovery |
//! | `fail-id` | with it the failure comes only once in the process |
//!
//! There is one split, so one subtask reads everything, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::builder::{BinaryViewBuilder, StringViewBuilder};
use arrow_array::types::IntervalMonthDayNanoType;
use arrow_array::{
    ArrayRef, BooleanArray, Decimal64Array, Decimal128Array, Float32Array, Float64Array, Int32Array, Int64Array,
    IntervalMonthDayNanoArray, NullArray, UInt64Array,
};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::DataType;
use flumen_core::batch::{Batch, Column, RowKind};
use flumen_core::expr::{Literal, Value};
use flumen_core::failure::Failure;
use flumen_core::ids::{CheckpointId, SubtaskIndex};
use flumen_core::source::{
    Boundedness, ReaderContext, ReaderStatus, SourceConnector, SourceReader, SourceSplit, SplitEnumerator,
    SplitResponse, TableStatistics,
};
use flumen_core::spec::connector::SourceSpec;
use flumen_core::spec::relational::ValuesRows;
use flumen_core::time::{EventTime, Watermark};
use flumen_core::types::{Field, LogicalType, Schema};

use flumen_kernels::expr::literal_array;

use crate::error::{ConnectorError, Result};
use crate::options::OptionReader;

const NAME: &str = "values";

/// Returns constant rows.
#[derive(Default)]
pub struct ValuesSource {
    /// Failures that have come already, by id.
    failed: Arc<Mutex<BTreeSet<String>>>,
}

struct ValuesOptions {
    rows: ValuesRows,
    kinds: Option<Vec<i8>>,
    /// Rows and the watermark after them, ascending.
    watermarks: Vec<(u64, i64)>,
    fail_after_rows: Option<u64>,
    fail_id: Option<String>,
}

impl ValuesOptions {
    fn read(options: &BTreeMap<String, String>) -> Result<Self> {
        let reader = OptionReader::new(NAME, options);
        let kinds = reader.text("row-kinds");
        let watermarks = reader.text("watermarks");
        let fail_after_rows = reader.parsed("fail-after-rows")?;
        let fail_id = reader.text("fail-id").map(str::to_owned);
        let text = reader.required("rows", "the rows as JSON")?;
        reader.finish()?;
        let rows: ValuesRows = serde_json::from_str(text).map_err(|e| reader.wrong("rows", "(JSON)", e))?;
        let kinds = kinds
            .map(|text| {
                let kinds: Option<Vec<i8>> = text
                    .split(',')
                    .map(|symbol| (0..4).find(|k| RowKind::from_i8(*k).map(RowKind::symbol) == Some(symbol.trim())))
                    .collect();
                match kinds {
                    Some(kinds) if kinds.len() == rows.rows.len() => Ok(kinds),
                    Some(kinds) => {
                        let problem = format!("it has {} kinds for {} rows", kinds.len(), rows.rows.len());
                        Err(reader.wrong("row-kinds", text, problem))
                    }
                    None => Err(reader.wrong("row-kinds", text, "write +I, -U, +U or -D for each row")),
                }
            })
            .transpose()?;
        let watermarks = watermarks
            .map(|text| {
                let pairs: Option<Vec<(u64, i64)>> = text
                    .split(',')
                    .map(|pair| {
                        let (rows, time) = pair.split_once(':')?;
                        Some((rows.trim().parse().ok()?, time.trim().parse().ok()?))
                    })
                    .collect();
                match pairs {
                    Some(pairs) if pairs.is_sorted() => Ok(pairs),
                    _ => Err(reader.wrong("watermarks", text, "write ascending pairs such as '2:1000,5:2000'")),
                }
            })
            .transpose()?
            .unwrap_or_default();
        Ok(Self { rows, kinds, watermarks, fail_after_rows, fail_id })
    }
}

impl SourceConnector for ValuesSource {
    fn name(&self) -> &'static str {
        NAME
    }

    fn validate(&self, options: &BTreeMap<String, String>, _schema: &Schema) -> Result<Boundedness, Failure> {
        ValuesOptions::read(options)?;
        Ok(Boundedness::Bounded)
    }

    fn infer_schema(&self, _options: &BTreeMap<String, String>) -> Result<Schema, Failure> {
        Err(Failure::user("a table with connector 'values' needs its columns written out"))
    }

    fn statistics(&self, spec: &SourceSpec) -> TableStatistics {
        let rows = ValuesOptions::read(&spec.options).ok().map(|o| o.rows.rows.len() as u64);
        TableStatistics { rows, ..TableStatistics::default() }
    }

    fn create_enumerator(
        &self,
        _spec: &SourceSpec,
        _parallelism: u32,
        state: Option<&[u8]>,
    ) -> Result<Box<dyn SplitEnumerator>, Failure> {
        let split = match state {
            None => Some(split_at(0)?),
            Some(state) => serde_json::from_slice(state).map_err(|e| damaged("enumerator state", e))?,
        };
        Ok(Box::new(OneSplit { split }))
    }

    fn create_reader(&self, spec: &SourceSpec, context: ReaderContext) -> Result<Box<dyn SourceReader>, Failure> {
        let options = ValuesOptions::read(&spec.options)?;
        let rows = &options.rows.rows;
        if let Some(row) = rows.iter().find(|row| row.len() != spec.table_schema.fields.len()) {
            let problem = format!("a row has {} values for {} columns", row.len(), spec.table_schema.fields.len());
            return Err(Failure::user(problem));
        }
        let fields: Vec<Field> = spec.projection.iter().map(|c| spec.table_schema.fields[*c].clone()).collect();
        let columns = spec
            .projection
            .iter()
            .zip(&fields)
            .map(|(column, field)| {
                let values: Vec<&Value> = rows.iter().map(|row| &row[*column].value).collect();
                column_of(&values, field).map(Column::Array)
            })
            .collect::<Result<Vec<_>>>()?;
        let mut schema = Schema::new(fields);
        schema.event_time =
            spec.table_schema.event_time.and_then(|column| spec.projection.iter().position(|p| *p == column));
        let batch =
            Batch::new(Arc::new(schema), columns, rows.len()).with_row_kinds(options.kinds.clone().map(Into::into));
        let end = spec.limit.unwrap_or(u64::MAX).min(rows.len() as u64);
        Ok(Box::new(ValuesReader {
            batch,
            end,
            options,
            batch_rows: context.batch_rows as u64,
            failed: Arc::clone(&self.failed),
            position: None,
            returned: 0,
            next_watermark: 0,
            is_last: false,
            has_asked: false,
        }))
    }
}

fn damaged(what: &'static str, problem: impl std::fmt::Display) -> ConnectorError {
    ConnectorError::State { connector: NAME, what, problem: problem.to_string() }
}

fn split_at(row: u64) -> Result<SourceSplit> {
    let payload = serde_json::to_vec(&row).map_err(|e| damaged("a split", e))?;
    Ok(SourceSplit { id: NAME.to_owned(), payload })
}

/// Hands out the one split.
struct OneSplit {
    split: Option<SourceSplit>,
}

impl SplitEnumerator for OneSplit {
    fn request_split(&mut self, _reader: SubtaskIndex) -> Result<SplitResponse, Failure> {
        Ok(self.split.take().map_or(SplitResponse::NoMoreSplits, |split| SplitResponse::Assign(vec![split])))
    }

    fn add_splits_back(&mut self, splits: Vec<SourceSplit>) {
        self.split = splits.into_iter().next().or(self.split.take());
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<Vec<u8>, Failure> {
        Ok(serde_json::to_vec(&self.split).map_err(|e| damaged("enumerator state", e))?)
    }
}

/// Returns slices of one batch.
struct ValuesReader {
    batch: Batch,
    end: u64,
    options: ValuesOptions,
    batch_rows: u64,
    failed: Arc<Mutex<BTreeSet<String>>>,
    /// The next row, once the split is here.
    position: Option<u64>,
    /// Rows returned by this reader, for the failure that was asked for.
    returned: u64,
    next_watermark: usize,
    is_last: bool,
    has_asked: bool,
}

impl ValuesReader {
    /// Rows until the failure that was asked for, if it is still to come.
    fn rows_to_failure(&self) -> Option<u64> {
        let after = self.options.fail_after_rows?;
        if let Some(id) = &self.options.fail_id
            && self.failed.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
        {
            return None;
        }
        Some(after.saturating_sub(self.returned))
    }
}

impl SourceReader for ValuesReader {
    fn poll_next(&mut self) -> Result<ReaderStatus, Failure> {
        let Some(position) = self.position else {
            return Ok(match (self.is_last, std::mem::replace(&mut self.has_asked, true)) {
                (true, _) => ReaderStatus::EndOfInput,
                (false, false) => ReaderStatus::NeedsSplit,
                (false, true) => ReaderStatus::Waiting,
            });
        };
        let watermark = self.options.watermarks.get(self.next_watermark).copied();
        if let Some((rows, time)) = watermark
            && rows <= position
        {
            self.next_watermark += 1;
            return Ok(ReaderStatus::Watermark(Watermark(EventTime(time))));
        }
        let to_failure = self.rows_to_failure();
        if to_failure == Some(0) {
            if let Some(id) = &self.options.fail_id {
                self.failed.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone());
            }
            return Err(ConnectorError::Injected { rows: self.returned }.into());
        }
        if position >= self.end {
            return Ok(ReaderStatus::EndOfInput);
        }
        let to_watermark = watermark.map_or(u64::MAX, |(rows, _)| rows - position);
        let rows = (self.end - position).min(self.batch_rows).min(to_watermark).min(to_failure.unwrap_or(u64::MAX));
        self.position = Some(position + rows);
        self.returned += rows;
        Ok(ReaderStatus::Batch(self.batch.slice(position as usize, rows as usize)))
    }

    fn add_splits(&mut self, splits: Vec<SourceSplit>) -> Result<(), Failure> {
        if let Some(split) = splits.first() {
            let row: u64 = serde_json::from_slice(&split.payload).map_err(|e| damaged("a split", e))?;
            self.position = Some(row);
        }
        Ok(())
    }

    fn no_more_splits(&mut self) {
        self.is_last = true;
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<Vec<SourceSplit>, Failure> {
        Ok(self.position.map(split_at).transpose()?.into_iter().collect())
    }
}

/// Values of one type as an array in the canonical carrier.
fn column_of(values: &[&Value], field: &Field) -> Result<ArrayRef> {
    let wrong = |problem: &str| ConnectorError::Column {
        connector: NAME,
        column: field.name.clone(),
        problem: problem.to_owned(),
    };
    let misfit = || wrong("a value is not of the column's type");
    macro_rules! collect {
        ($array:ty, $pattern:pat => $value:expr) => {
            values
                .iter()
                .map(|value| match value {
                    Value::Null => Ok(None),
                    $pattern => $value.map(Some).ok_or_else(misfit),
                    _ => Err(misfit()),
                })
                .collect::<Result<$array>>()?
        };
    }
    let carrier = field.data_type.arrow_type();
    let array: ArrayRef = match (&field.data_type, &carrier) {
        (LogicalType::Null, _) => Arc::new(NullArray::new(values.len())),
        (LogicalType::Boolean, _) => Arc::new(collect!(BooleanArray, Value::Boolean(v) => Some(*v))),
        (LogicalType::Decimal { precision, scale }, DataType::Decimal64(..)) => Arc::new(
            collect!(Decimal64Array, Value::Int(v) => i64::try_from(*v).ok())
                .with_precision_and_scale(*precision, *scale)
                .map_err(|e| wrong(&e.to_string()))?,
        ),
        (LogicalType::Decimal { precision, scale }, _) => Arc::new(
            collect!(Decimal128Array, Value::Int(v) => Some(*v))
                .with_precision_and_scale(*precision, *scale)
                .map_err(|e| wrong(&e.to_string()))?,
        ),
        #[expect(clippy::cast_possible_truncation, reason = "a REAL constant is the nearest REAL")]
        (LogicalType::Float32, _) => {
            Arc::new(collect!(Float32Array, Value::FloatBits(v) => Some(f64::from_bits(*v) as f32)))
        }
        (LogicalType::Float64, _) => Arc::new(collect!(Float64Array, Value::FloatBits(v) => Some(f64::from_bits(*v)))),
        (LogicalType::Utf8, _) => {
            let mut builder = StringViewBuilder::with_capacity(values.len());
            for value in values {
                match value {
                    Value::Null => builder.append_null(),
                    Value::Utf8(text) => builder.append_value(text),
                    _ => return Err(misfit()),
                }
            }
            Arc::new(builder.finish())
        }
        (LogicalType::Binary, _) => {
            let mut builder = BinaryViewBuilder::with_capacity(values.len());
            for value in values {
                match value {
                    Value::Null => builder.append_null(),
                    Value::Binary(bytes) => builder.append_value(bytes),
                    _ => return Err(misfit()),
                }
            }
            Arc::new(builder.finish())
        }
        (LogicalType::Interval, _) => Arc::new(collect!(
            IntervalMonthDayNanoArray,
            Value::Interval { months, days, nanos } =>
                Some(IntervalMonthDayNanoType::make_value(*months, *days, *nanos))
        )),
        (LogicalType::UInt64, _) => Arc::new(collect!(UInt64Array, Value::Int(v) => u64::try_from(*v).ok())),
        (_, DataType::Date32 | DataType::Time32(_)) => {
            Arc::new(collect!(Int32Array, Value::Int(v) => i32::try_from(*v).ok()))
        }
        (nested, _) if nested.is_nested() => {
            let one = |value: &&Value| {
                let literal = Literal { value: (*value).clone(), data_type: nested.clone() };
                literal_array(&literal).map_err(|e| wrong(&e.to_string()))
            };
            let rows = values.iter().map(one).collect::<Result<Vec<_>>>()?;
            match rows.as_slice() {
                [] => arrow_array::new_empty_array(&carrier),
                rows => {
                    let rows: Vec<&dyn arrow_array::Array> = rows.iter().map(AsRef::as_ref).collect();
                    arrow_select::concat::concat(&rows).map_err(|e| wrong(&e.to_string()))?
                }
            }
        }
        _ => Arc::new(collect!(Int64Array, Value::Int(v) => i64::try_from(*v).ok())),
    };
    if *array.data_type() == carrier {
        return Ok(array);
    }
    // Narrower integers are checked; dates, times and timestamps keep their ticks.
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(&array, &carrier, &options).map_err(|e| wrong(&e.to_string()))
}
