//! Lists against a model that keeps vectors: cut anywhere, merged from parts, reset, and charged.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, BooleanArray, Int64Array, StringViewArray};
use flumen_core::batch::Column;
use flumen_core::failure::Failure;
use flumen_core::meter::MemoryMeter;
use flumen_core::spec::relational::{AggregateCall, ArgumentOrder};
use flumen_core::types::LogicalType;
use flumen_io::{RandomSource, Rng};

use crate::aggregate::{Accumulator, AccumulatorContext, AggregateRegistry, StateInput, UpdateInput};
use crate::error::StateError;
use crate::pages::{MeteredPages, PageSource};

type Value = Option<i64>;

/// A row: its slot, value, what orders it, and whether it counts.
type Row = (u32, Value, Option<String>, bool);

fn call(order: &[ArgumentOrder], distinct: bool) -> AggregateCall {
    let by = if distinct { LogicalType::Int64 } else { LogicalType::Utf8 };
    AggregateCall {
        function: "array_agg".into(),
        args: Vec::new(),
        arg_types: std::iter::once(LogicalType::Int64).chain(order.iter().map(|_| by.clone())).collect(),
        distinct,
        order_by: order.to_vec(),
        filter: None,
        return_type: LogicalType::list_of(LogicalType::Int64),
    }
}

fn make(call: &AggregateCall, pages: &Arc<dyn PageSource>) -> Box<dyn Accumulator> {
    let context = AccumulatorContext { pages: Arc::clone(pages), retracting: false };
    AggregateRegistry::default().create(call, &context).unwrap()
}

fn columns(call: &AggregateCall, rows: &[Row]) -> Vec<Column> {
    let values: ArrayRef = Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.1)));
    let order: ArrayRef = match call.distinct {
        true => Arc::clone(&values),
        false => Arc::new(StringViewArray::from_iter(rows.iter().map(|row| row.2.as_deref()))),
    };
    let order = call.order_by.iter().map(|_| Column::Array(Arc::clone(&order)));
    std::iter::once(Column::Array(Arc::clone(&values))).chain(order).collect()
}

fn update(accumulator: &mut dyn Accumulator, call: &AggregateCall, rows: &[Row]) -> Result<(), StateError> {
    let columns = columns(call, rows);
    let args: Vec<&Column> = columns.iter().collect();
    let slots: Vec<u32> = rows.iter().map(|row| row.0).collect();
    let filter = Column::Array(Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.3)))));
    accumulator.make_room(&args, rows.len(), rows.len())?;
    accumulator.update(&UpdateInput {
        slots: &slots,
        single: None,
        args: &args,
        rows: rows.len(),
        selection: None,
        filter: Some(&filter),
        row_kinds: None,
        slot_count: 100,
    })
}

fn shown(lists: &ArrayRef) -> Vec<Option<Vec<Value>>> {
    let lists = lists.as_list::<i32>();
    lists.iter().map(|list| list.map(|list| list.as_primitive::<Int64Type>().iter().collect())).collect()
}

/// What PostgreSQL's documentation says of `array_agg`: NULLs are kept, and no rows give NULL.
fn model(call: &AggregateCall, rows: &[Row], slots: u32) -> Vec<Option<Vec<Value>>> {
    (0..slots)
        .map(|slot| {
            let mut own: Vec<&Row> = rows.iter().filter(|row| row.0 == slot && row.3).collect();
            let by_value = |row: &&Row| (row.1.is_none(), row.1);
            let by_text = |row: &&Row| (row.2.is_none(), row.2.clone());
            if call.distinct {
                own.sort_by_key(by_value);
                own.dedup_by_key(|row| row.1);
            } else if !call.order_by.is_empty() {
                own.sort_by_key(by_text);
            }
            if call.order_by.first().is_some_and(|order| order.descending) {
                // Equal ones stay in the order in which they came.
                own.reverse();
                let mut kept = Vec::new();
                for group in own.chunk_by(|a, b| if call.distinct { a.1 == b.1 } else { a.2 == b.2 }) {
                    kept.extend(group.iter().rev());
                }
                own = kept;
            }
            Some(own.iter().map(|row| row.1).collect::<Vec<_>>()).filter(|values| !values.is_empty())
        })
        .collect()
}

fn rows(count: usize, slots: u64) -> Vec<Row> {
    let mut random = Rng::from_seed(5);
    (0..count)
        .map(|_| {
            let value = Some(random.below(20) as i64).filter(|v| v % 6 != 0);
            let text =
                Some(random.below(9)).filter(|t| t % 4 != 0).map(|t| format!("ordered by a longer text, number {t}"));
            (random.below(slots) as u32, value, text, random.below(5) != 0)
        })
        .collect()
}

#[test]
fn lists_are_the_values_however_they_come() {
    const SLOTS: u32 = 12;
    let ascending = ArgumentOrder { descending: false, nulls_first: false };
    let descending = ArgumentOrder { descending: true, nulls_first: true };
    // The last slot has no rows.
    let all = rows(700, u64::from(SLOTS) - 1);
    for (order, distinct) in
        [(vec![], false), (vec![ascending], false), (vec![descending], false), (vec![], true), (vec![descending], true)]
    {
        let call = call(&order, distinct);
        let expected = model(&call, &all, SLOTS);
        for cut in [1, 7, 8192] {
            let pages = MeteredPages::unmetered();
            let mut whole = make(&call, &pages);
            all.chunks(cut).for_each(|rows| update(whole.as_mut(), &call, rows).unwrap());
            let slots: Vec<u32> = (0..SLOTS).collect();
            assert_eq!(shown(&whole.evaluate(&slots).unwrap()), expected, "{order:?} {distinct} cut {cut}");
            // A few at a time, in any order, and again.
            for slots in [vec![7, 2], vec![11], vec![]] {
                let some: Vec<_> = slots.iter().map(|slot| expected[*slot as usize].clone()).collect();
                assert_eq!(shown(&whole.evaluate(&slots).unwrap()), some);
            }
            // In parts, whose states are merged in pieces; the parts are frozen first and go on empty.
            let mut merged = make(&call, &pages);
            for part in all.chunks(250) {
                let mut local = make(&call, &pages);
                part.chunks(cut).for_each(|rows| update(local.as_mut(), &call, rows).unwrap());
                let frozen = local.freeze();
                local.reset(&slots).unwrap();
                assert!(shown(&local.evaluate(&slots).unwrap()).iter().all(Option::is_none));
                for slots in slots.chunks(5) {
                    let state = frozen.export_state(slots).unwrap();
                    assert_eq!(
                        state[0].data_type(),
                        &frozen.state_fields()[0].data_type.arrow_type(),
                        "states are of the type that was said"
                    );
                    let state: Vec<Column> = state.into_iter().map(Column::Array).collect();
                    let state: Vec<&Column> = state.iter().collect();
                    // The second row of a piece alone, then the others.
                    let others: Vec<u32> = (0..slots.len() as u32).filter(|row| *row != 1).collect();
                    for selection in [vec![1], others] {
                        let chosen: Vec<u32> =
                            selection.iter().filter_map(|row| slots.get(*row as usize)).copied().collect();
                        let selection = &selection[..chosen.len()];
                        let input = StateInput {
                            slots: &chosen,
                            state: &state,
                            rows: slots.len(),
                            selection: Some(selection),
                            slot_count: 100,
                        };
                        merged.merge(&input).unwrap();
                    }
                }
            }
            assert_eq!(shown(&merged.evaluate(&slots).unwrap()), expected, "{order:?} {distinct} merged, cut {cut}");
        }
    }
}

#[test]
fn a_reset_slot_begins_anew() {
    let call = call(&[], false);
    let mut lists = make(&call, &MeteredPages::unmetered());
    let row = |slot: u32, value: i64| (slot, Some(value), None, true);
    update(lists.as_mut(), &call, &[row(0, 1), row(1, 2), row(0, 3)]).unwrap();
    lists.reset(&[0]).unwrap();
    update(lists.as_mut(), &call, &[row(0, 4)]).unwrap();
    assert_eq!(shown(&lists.evaluate(&[0, 1]).unwrap()), [Some(vec![Some(4)]), Some(vec![Some(2)])]);
}

/// A budget of bytes.
struct Budget(usize);

impl MemoryMeter for Budget {
    fn resize(&self, from: usize, to: usize) -> Result<(), Failure> {
        if to > from && to > self.0 {
            return Err(Failure::user("the budget is at its end"));
        }
        Ok(())
    }
}

#[test]
fn memory_is_refused_before_rows_are_taken_and_given_back() {
    let call = call(&[], false);
    let pages = Arc::new(MeteredPages::new(Arc::new(Budget(300_000))));
    let source: Arc<dyn PageSource> = Arc::clone(&pages) as Arc<dyn PageSource>;
    let mut lists = make(&call, &source);
    let rows: Vec<Row> = (0..1000).map(|i| (i % 10, Some(i64::from(i)), None, true)).collect();
    let mut taken = 0;
    let error = loop {
        match update(lists.as_mut(), &call, &rows) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StateError::Memory { .. }), "{error}");
    // A value has 8 bytes, and 12 beside.
    assert!((10..=15).contains(&taken), "{taken} batches");
    assert!(pages.held_bytes() >= taken * 20_000 && pages.held_bytes() <= 300_000);
    let given = shown(&lists.evaluate(&[3]).unwrap());
    assert_eq!(given[0].as_ref().map(Vec::len), Some(taken * 100), "what was taken is there, and nothing else");
    lists.clear();
    assert_eq!((pages.held_bytes(), lists.memory_bytes()), (0, 0));
}
