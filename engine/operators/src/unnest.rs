//! UNNEST: every row once for each item of its lists.
//!
//! A batch is given out in pieces of at most the batch size, however long its lists are: a *piece* is a range of items,
//! counted over all rows of the batch in order, and begins and ends wherever that is, also within a list. For each piece
//! the rows of its items are found once; the columns that stay are gathered by them, and items by their place among the
//! items of the column. Items that lie together are a slice and not a copy: always so with one list and no row without
//! items.
//!
//! Several lists of a row go side by side; where one is at its end before the longest, its item is NULL. A row whose lists
//! are NULL or empty has no items: it is left out, or comes once with NULLs (`outer`).
//!
//! Cost: a few nanoseconds an item and column. Holds one batch, and nothing across calls beside it.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, Int64Array, UInt32Array, new_null_array};
use arrow_buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};
use arrow_schema::DataType;
use flumen_core::batch::{Batch, Column};
use flumen_core::failure::Failure;
use flumen_core::spec::relational::{UnnestColumn, UnnestSpec};
use flumen_core::spec::{OperatorPayload, OperatorSpec};
use flumen_core::types::{LogicalType, SchemaRef};
use flumen_kernels::gather::{apply_selection, flatten, index_array, take, take_column, take_values};

use crate::contract::{Operator, OperatorContext, OperatorFactory, Output, Step};
use crate::error::{OperatorError, check_columns, input_schema, output_schema};
use crate::registry::OperatorRegistry;

const NAME: &str = "unnest";

/// Adds the factory.
pub fn register(registry: &mut OperatorRegistry) {
    registry.register(Arc::new(Factory));
}

struct Factory;

impl OperatorFactory for Factory {
    fn kind(&self) -> &'static str {
        UnnestSpec::KIND
    }

    fn create(&self, spec: &OperatorSpec, context: &OperatorContext) -> Result<Box<dyn Operator>, Failure> {
        let spec_of = |problem: String| Failure::from(OperatorError::Spec { operator: NAME, problem });
        let payload: UnnestSpec = spec.payload()?;
        let (input, output) = (input_schema(spec, 0, NAME)?, output_schema(spec, NAME)?);
        check_columns(payload.lists.iter().copied(), input, NAME)?;
        if payload.lists.is_empty() || payload.columns.len() != output.fields.len() {
            return Err(spec_of(format!("{} columns for {}", payload.columns.len(), output.fields.len())));
        }
        for (column, field) in payload.columns.iter().zip(&output.fields) {
            let found = match *column {
                UnnestColumn::Input(index) => {
                    check_columns([index], input, NAME)?;
                    Some(&input.fields[index].data_type)
                }
                UnnestColumn::Item(list) => {
                    let list = payload.lists.get(list).map(|index| &input.fields[*index].data_type);
                    match list {
                        Some(LogicalType::List(item)) => Some(&item.data_type),
                        _ => None,
                    }
                }
                UnnestColumn::Ordinality => Some(&LogicalType::Int64),
                _ => None,
            };
            if found != Some(&field.data_type) {
                return Err(spec_of(format!("column {:?} cannot be {}", field.name, field.data_type)));
            }
        }
        Ok(Box::new(Unnest {
            lists: payload.lists,
            columns: payload.columns,
            is_outer: payload.outer,
            output: Arc::clone(output),
            batch_rows: context.batch_rows.max(1),
            current: None,
        }))
    }
}

struct Unnest {
    lists: Vec<usize>,
    columns: Vec<UnnestColumn>,
    is_outer: bool,
    output: SchemaRef,
    batch_rows: usize,
    current: Option<Current>,
}

/// A batch that is being given out.
struct Current {
    batch: Batch,
    lists: Vec<Lists>,
    /// Rows of the output up to and with each input row.
    ends: Vec<u64>,
    /// Rows given.
    given: u64,
}

/// The lists of one column.
struct Lists {
    items: ArrayRef,
    /// Where the items of each row are; nothing for NULL.
    ranges: Vec<Range<u32>>,
}

impl Lists {
    fn new(column: &Column, rows: usize) -> Result<Self, Failure> {
        let array = flatten(column.array())?;
        let canonical = LogicalType::from_arrow(array.data_type()).map(|t| t.arrow_type());
        let array = match (array.data_type(), canonical) {
            (DataType::List(_), _) | (_, None) => array,
            (_, Some(canonical)) => arrow_cast::cast(&array, &canonical).map_err(|source| {
                let column = array.data_type().to_string();
                flumen_kernels::KernelError::Column { column, action: "unnested", source }
            })?,
        };
        let Some(list) = array.as_list_opt::<i32>() else {
            let problem = format!("a column of type {} has no items", array.data_type());
            return Err(OperatorError::Spec { operator: NAME, problem }.into());
        };
        let range = |row: usize| match list.is_null(row) {
            true => 0..0,
            // Offsets are not negative.
            false => list.value_offsets()[row] as u32..list.value_offsets()[row + 1] as u32,
        };
        let ranges = match column {
            Column::Array(_) => (0..rows).map(range).collect(),
            Column::Constant(_) => vec![range(0); rows],
        };
        Ok(Self { items: Arc::clone(list.values()), ranges })
    }

    /// The items of these rows of the output: an input row for each, and the number of the item in its list.
    fn gather(&self, rows: &[u32], numbers: &[u32]) -> Result<ArrayRef, Failure> {
        let place = |row: u32, number: u32| {
            let range = &self.ranges[row as usize];
            (number < range.end - range.start).then(|| range.start + number)
        };
        let together = rows.first().zip(numbers.first()).and_then(|(row, number)| place(*row, *number));
        if let Some(first) = together
            && rows.iter().zip(numbers).enumerate().all(|(at, (r, n))| place(*r, *n) == Some(first + at as u32))
        {
            return Ok(self.items.slice(first as usize, rows.len()));
        }
        let places: UInt32Array = rows.iter().zip(numbers).map(|(row, number)| place(*row, *number)).collect();
        if places.null_count() == places.len() {
            return Ok(new_null_array(self.items.data_type(), places.len()));
        }
        Ok(take(&self.items, &places)?)
    }
}

impl Unnest {
    fn start(&self, batch: &Batch) -> Result<Option<Current>, Failure> {
        let batch = apply_selection(batch)?;
        let rows = batch.physical_rows();
        let lists = self.lists.iter().map(|list| Lists::new(batch.column(*list), rows));
        let lists = lists.collect::<Result<Vec<_>, _>>()?;
        let mut end = 0_u64;
        let ends: Vec<u64> = (0..rows)
            .map(|row| {
                let longest = lists.iter().map(|list| list.ranges[row].len()).max().unwrap_or(0);
                end += longest.max(usize::from(self.is_outer)) as u64;
                end
            })
            .collect();
        Ok((end > 0).then_some(Current { batch, lists, ends, given: 0 }))
    }
}

impl Current {
    /// The next rows of the output: an input row for each, and the number of the item.
    fn next(&mut self, rows_max: usize) -> (Vec<u32>, Vec<u32>) {
        let total = self.ends.last().copied().unwrap_or(0);
        let until = total.min(self.given.saturating_add(rows_max as u64));
        let count = (until - self.given) as usize;
        let (mut rows, mut numbers) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut row = self.ends.partition_point(|end| *end <= self.given);
        while self.given < until {
            let begin = if row == 0 { 0 } else { self.ends[row - 1] };
            let end = self.ends[row].min(until);
            // Lists have 32-bit offsets, so numbers have 32 bits, too.
            let range = (self.given - begin) as u32..(end - begin) as u32;
            rows.resize(rows.len() + range.len(), row as u32);
            numbers.extend(range);
            self.given = end;
            row += 1;
        }
        (rows, numbers)
    }

    fn is_done(&self) -> bool {
        self.ends.last().is_none_or(|end| self.given >= *end)
    }

    fn ordinality(&self, rows: &[u32], numbers: &[u32]) -> Int64Array {
        let has_item = |at: usize| {
            let row = rows[at] as usize;
            self.lists.iter().any(|list| !list.ranges[row].is_empty())
        };
        let valid = NullBuffer::new(BooleanBuffer::collect_bool(rows.len(), has_item));
        let numbers = numbers.iter().map(|number| i64::from(*number) + 1).collect::<Vec<_>>();
        Int64Array::new(numbers.into(), Some(valid).filter(|n| n.null_count() > 0))
    }
}

impl Operator for Unnest {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut Output) -> Result<Step, Failure> {
        self.current = self.start(&batch)?;
        self.resume(out)
    }

    fn resume(&mut self, out: &mut Output) -> Result<Step, Failure> {
        let Some(current) = &mut self.current else { return Ok(Step::Done) };
        let (rows, numbers) = current.next(self.batch_rows);
        let rows = ScalarBuffer::from(rows);
        let rows_index = index_array(&rows, None);
        let columns = self.columns.iter().map(|column| -> Result<Column, Failure> {
            Ok(match *column {
                UnnestColumn::Input(index) => take_column(current.batch.column(index), &rows_index)?,
                UnnestColumn::Item(list) => Column::Array(current.lists[list].gather(&rows, &numbers)?),
                _ => Column::Array(Arc::new(current.ordinality(&rows, &numbers))),
            })
        });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let kinds = current.batch.row_kinds().map(|kinds| take_values(kinds, &rows));
        out.emit(Batch::new(Arc::clone(&self.output), columns, rows.len()).with_row_kinds(kinds));
        if current.is_done() {
            self.current = None;
            return Ok(Step::Done);
        }
        Ok(Step::HasMoreOutput)
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::types::Int32Type;
    use arrow_array::{Int64Array, ListArray};
    use flumen_core::element::StreamElement;

    use super::*;
    use crate::testing::{Event, Feed, Instance, batch, context, ints, rows_given, schema};

    type List = Option<Vec<Option<i32>>>;

    fn lists(values: Vec<List>) -> ArrayRef {
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(values))
    }

    fn spec(outer: bool) -> OperatorSpec {
        let list = LogicalType::list_of(LogicalType::Int32);
        let input = schema(&[("i", LogicalType::Int64), ("a", list.clone()), ("b", list)]);
        let output = schema(&[
            ("i", LogicalType::Int64),
            ("x", LogicalType::Int32),
            ("y", LogicalType::Int32),
            ("n", LogicalType::Int64),
        ]);
        let columns =
            vec![UnnestColumn::Input(0), UnnestColumn::Item(0), UnnestColumn::Item(1), UnnestColumn::Ordinality];
        OperatorSpec::new(&UnnestSpec { lists: vec![1, 2], columns, outer }, vec![input], Some(output))
    }

    /// `SELECT i, unnest(a), unnest(b)`, with the number of the row among those of its `i`.
    fn expected(rows: &[(i64, List, List)], outer: bool) -> Vec<String> {
        let show = |value: Option<i32>| value.map_or("NULL".to_owned(), |v| v.to_string());
        let mut all = Vec::new();
        for (i, a, b) in rows {
            let (a, b) = (a.clone().unwrap_or_default(), b.clone().unwrap_or_default());
            for n in 0..a.len().max(b.len()) {
                let item = |list: &[Option<i32>]| show(list.get(n).copied().flatten());
                all.push(format!("+I {i} {} {} {}", item(&a), item(&b), n + 1));
            }
            if outer && a.is_empty() && b.is_empty() {
                all.push(format!("+I {i} NULL NULL NULL"));
            }
        }
        all.sort();
        all
    }

    #[test]
    fn lists_side_by_side_whatever_the_cut() {
        let some = |values: std::ops::Range<i32>| Some(values.map(|v| (v % 4 != 0).then_some(v)).collect::<Vec<_>>());
        let rows: Vec<(i64, List, List)> = (0..60)
            .map(|i| {
                let a = match i % 5 {
                    0 => None,
                    1 => Some(vec![]),
                    n => some(i..i + n * 3),
                };
                let b = match i % 3 {
                    0 => None,
                    1 => Some(vec![]),
                    _ => some(i..i + 4),
                };
                (i64::from(i), a, b)
            })
            .collect();
        for outer in [false, true] {
            let spec = spec(outer);
            let input = batch(
                &spec.inputs[0],
                vec![
                    ints(rows.iter().map(|r| Some(r.0))),
                    lists(rows.iter().map(|r| r.1.clone()).collect()),
                    lists(rows.iter().map(|r| r.2.clone()).collect()),
                ],
            );
            for feed in Feed::all(1, false, &[]) {
                let mut given = rows_given(&spec, &[vec![0]], &[Event::Batch(0, input.clone())], &feed);
                given.sort();
                assert_eq!(given, expected(&rows, outer), "{feed:?}");
            }
        }
    }

    #[test]
    fn a_long_list_comes_in_pieces_and_is_not_copied() {
        const ITEMS: i32 = 1_000_000;
        let list = LogicalType::list_of(LogicalType::Int32);
        let input = schema(&[("i", LogicalType::Int64), ("a", list)]);
        let output = schema(&[("i", LogicalType::Int64), ("x", LogicalType::Int32)]);
        let columns = vec![UnnestColumn::Input(0), UnnestColumn::Item(0)];
        let spec = UnnestSpec { lists: vec![1], columns, outer: false };
        let spec = OperatorSpec::new(&spec, vec![input], Some(output));
        for batch_rows in [7 * 1024, 8192] {
            let context = context(0, 1, batch_rows, Arc::new(flumen_core::meter::Unmetered));
            let mut unnest = Instance::new(&spec, &context).unwrap();
            let values = lists(vec![None, Some((0..ITEMS).map(Some).collect()), Some(vec![])]);
            let items = values.as_list::<i32>().values().to_data().buffers()[0].as_ptr_range();
            unnest.batch(0, batch(&spec.inputs[0], vec![ints([Some(1), Some(2), Some(3)]), values])).unwrap();
            let mut next = 0;
            for element in &unnest.given {
                let StreamElement::Batch(batch) = element else { panic!("only rows are given") };
                assert!(batch.num_rows() <= batch_rows);
                let x = batch.column(1).array().as_primitive::<Int32Type>();
                assert!(items.contains(&x.values().as_ptr().cast()), "items are a slice");
                assert!(x.values().iter().copied().eq(next..next + x.len() as i32));
                let i = flumen_kernels::gather::column_array(batch.column(0), x.len()).unwrap();
                let i: &Int64Array = i.as_primitive();
                assert!(i.values().iter().all(|i| *i == 2));
                next += x.len() as i32;
            }
            assert_eq!(next, ITEMS);
        }
    }

    #[test]
    fn a_constant_is_every_rows_list() {
        let spec = spec(false);
        let columns = vec![
            Column::Array(ints([Some(1), Some(2)])),
            Column::Constant(lists(vec![Some(vec![Some(5), None])])),
            Column::Constant(lists(vec![None])),
        ];
        let mut unnest = Instance::alone(&spec);
        unnest.batch(0, Batch::new(Arc::clone(&spec.inputs[0]), columns, 2)).unwrap();
        assert_eq!(unnest.texts(), ["+I 1 5 NULL 1", "+I 1 NULL NULL 2", "+I 2 5 NULL 1", "+I 2 NULL NULL 2"]);
    }

    #[test]
    fn specs_that_do_not_fit_are_refused() {
        let good = spec(false);
        let payload: UnnestSpec = good.payload().unwrap();
        let refused = |payload: UnnestSpec| {
            let spec = OperatorSpec::new(&payload, good.inputs.clone(), good.output.clone());
            let context = context(0, 1, 8192, Arc::new(flumen_core::meter::Unmetered));
            assert!(Instance::new(&spec, &context).is_err(), "{payload:?}");
        };
        refused(UnnestSpec { lists: vec![], ..payload.clone() });
        refused(UnnestSpec { lists: vec![0, 2], ..payload.clone() });
        refused(UnnestSpec { lists: vec![1, 9], ..payload.clone() });
        refused(UnnestSpec { columns: payload.columns[1..].to_vec(), ..payload });
    }
}
