//! Grouping and accumulators against a model that keeps a map.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::builder::StringDictionaryBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, UInt16Type};
use arrow_array::{
    Array, ArrayRef, Decimal64Array, Decimal128Array, Float64Array, Int16Array, Int32Array, Int64Array, LargeListArray,
    ListArray, StringArray, StringViewArray,
};
use flumen_core::batch::{Column, Selection};
use flumen_core::failure::Failure;
use flumen_core::meter::MemoryMeter;
use flumen_core::spec::relational::AggregateCall;
use flumen_core::types::{Field, LogicalType};
use flumen_io::{RandomSource, Rng};
use flumen_kernels::hash::hash_columns;

use super::directory::Directory;
use super::{Groups, KeyInput, KeyedTable, RowInput, SlotCursor};
use crate::aggregate::{AccumulatorContext, AggregateRegistry};
use crate::error::StateError;
use crate::pages::{MeteredPages, PageSource};

pub(crate) fn call(function: &str, arg: Option<LogicalType>, return_type: LogicalType) -> AggregateCall {
    AggregateCall {
        function: function.into(),
        args: Vec::new(),
        arg_types: arg.into_iter().collect(),
        distinct: false,
        order_by: Vec::new(),
        filter: None,
        return_type,
    }
}

pub(crate) fn table(keys: &[LogicalType], calls: &[AggregateCall], pages: &Arc<dyn PageSource>) -> KeyedTable {
    let context = AccumulatorContext { pages: Arc::clone(pages), retracting: false };
    let registry = AggregateRegistry::default();
    let accumulators = calls.iter().map(|c| registry.create(c, &context).unwrap()).collect();
    let fields = keys.iter().enumerate().map(|(i, t)| Field::new(format!("k{i}"), t.clone(), true)).collect();
    KeyedTable::new(fields, accumulators, Arc::clone(pages)).unwrap()
}

fn group(table: &mut KeyedTable, columns: &[Column], rows: usize, selection: Option<&Selection>, groups: &mut Groups) {
    let columns: Vec<&Column> = columns.iter().collect();
    let hashes = hash_columns(&columns, rows, selection);
    table.group(KeyInput { columns: &columns, rows, selection, hashes: Some(&hashes) }, groups).unwrap();
}

/// One row's key: a number that decides all key columns, or NULL.
type ModelKey = Option<i64>;

/// Strings short, at the border of inline views, and long, with common prefixes.
fn text(key: i64) -> String {
    match key % 4 {
        0 => format!("{key}"),
        1 => format!("twelve{key:06}"),
        2 => format!("a common prefix that is long, then {key}"),
        _ => String::new() + "x" + &key.to_string(),
    }
}

/// Columns for the keys of a batch, in encodings that differ from batch to batch.
fn columns(types: &[LogicalType], keys: &[ModelKey], round: usize) -> Vec<Column> {
    let part = |i: usize, k: i64| if i == 0 { k } else { k % 7 };
    types
        .iter()
        .enumerate()
        .map(|(i, data_type)| {
            let values = keys.iter().map(|k| k.map(|k| part(i, k)));
            let array: ArrayRef = match data_type {
                LogicalType::Int64 => Arc::new(Int64Array::from_iter(values)),
                LogicalType::Int32 => Arc::new(Int32Array::from_iter(values.map(|v| v.map(|v| v as i32)))),
                LogicalType::Int16 => Arc::new(Int16Array::from_iter(values.map(|v| v.map(|v| v as i16)))),
                LogicalType::Float64 => Arc::new(Float64Array::from_iter(values.map(|v| {
                    v.map(|v| match v {
                        // All zeros and all NaNs are one key.
                        0 if round.is_multiple_of(2) => -0.0,
                        6 => f64::from_bits(f64::NAN.to_bits() | (round as u64 & 0xff)),
                        v => v as f64,
                    })
                }))),
                LogicalType::Decimal { precision, scale } if round.is_multiple_of(2) => {
                    let values = values.map(|v| v.map(i128::from));
                    let array = Decimal128Array::from_iter(values);
                    Arc::new(array.with_precision_and_scale(*precision, *scale).unwrap())
                }
                LogicalType::Decimal { scale, .. } => {
                    let array = Decimal64Array::from_iter(values);
                    Arc::new(array.with_precision_and_scale(18, *scale).unwrap())
                }
                LogicalType::Utf8 => {
                    let texts: Vec<Option<String>> = values.map(|v| v.map(text)).collect();
                    match round % 3 {
                        0 => Arc::new(StringViewArray::from_iter(texts)),
                        1 => Arc::new(StringArray::from_iter(texts)),
                        _ => {
                            let mut builder = StringDictionaryBuilder::<UInt16Type>::new();
                            texts.iter().for_each(|t| builder.append_option(t.as_deref()));
                            Arc::new(builder.finish())
                        }
                    }
                }
                other => unreachable!("no test has {other} keys"),
            };
            Column::Array(array)
        })
        .collect()
}

/// Groups random batches, sums and counts, and compares with a map.
fn check(types: &[LogicalType], distinct: i64, batch_rows: usize, total_rows: usize, seed: u64) {
    let pages: Arc<MeteredPages> = Arc::new(MeteredPages::new(Arc::new(flumen_core::meter::Unmetered)));
    let source: Arc<dyn PageSource> = Arc::clone(&pages) as Arc<dyn PageSource>;
    let decimal = LogicalType::Decimal { precision: 38, scale: 0 };
    let calls = [call("sum", Some(LogicalType::Int64), decimal), call("count", None, LogicalType::Int64)];
    let mut table = table(types, &calls, &source);
    let mut rng = Rng::from_seed(seed);
    let mut random = |n: u64| rng.next_u64() % n;
    let mut model: BTreeMap<ModelKey, (u32, i128, i64)> = BTreeMap::new();
    let mut groups = Groups::default();
    for round in 0..total_rows.div_ceil(batch_rows) {
        let keys: Vec<ModelKey> = (0..batch_rows)
            .map(|_| match random(20) {
                0 => None,
                // Skew: one key has a fifth of the rows.
                1..5 => Some(3),
                _ => Some(random(distinct as u64) as i64),
            })
            .collect();
        let values = Int64Array::from_iter_values((0..batch_rows).map(|_| random(1000) as i64 - 300));
        let selection: Option<Selection> = match round % 3 {
            0 => None,
            _ => Some((0..batch_rows as u32).filter(|_| random(3) > 0).collect::<Vec<_>>().into()),
        };
        let key_columns = columns(types, &keys, round);
        group(&mut table, &key_columns, batch_rows, selection.as_ref(), &mut groups);
        let rows: Vec<u32> = selection.as_ref().map_or((0..batch_rows as u32).collect(), |s| s.to_vec());
        assert_eq!(groups.slots.len(), rows.len());
        let mut new_groups = Vec::new();
        for (&row, &slot) in rows.iter().zip(&groups.slots) {
            let state = model.entry(keys[row as usize]).or_insert_with(|| {
                new_groups.push((slot, row));
                (slot, 0, 0)
            });
            assert_eq!(state.0, slot, "round {round} row {row} key {:?}", keys[row as usize]);
            state.1 += i128::from(values.value(row as usize));
            state.2 += 1;
        }
        let reported: Vec<_> = groups.new_slots.iter().copied().zip(groups.new_rows.iter().copied()).collect();
        assert_eq!(reported, new_groups, "round {round}");
        let values = Column::Array(Arc::new(values));
        let selection = selection.as_deref();
        let input = RowInput { args: &[&values], rows: batch_rows, selection, filter: None, row_kinds: None };
        table.update(0, &groups, input).unwrap();
        table.update(1, &groups, RowInput { args: &[], ..input }).unwrap();
    }
    assert_eq!(table.len(), model.len());
    let slots: Vec<u32> = model.values().map(|m| m.0).collect();
    let counts = table.accumulators()[1].evaluate(&slots).unwrap();
    let expected: Vec<i64> = model.values().map(|m| m.2).collect();
    assert_eq!(counts.as_primitive::<Int64Type>().values(), &expected[..]);
    let sums = table.accumulators()[0].evaluate(&slots).unwrap();
    let expected = Decimal64Array::from_iter_values(model.values().map(|m| m.1 as i64));
    let expected = expected.with_precision_and_scale(18, 0).unwrap();
    assert_eq!(sums.as_ref(), &expected as &dyn Array);
    // The keys come out as they went in.
    let keys: Vec<ModelKey> = model.keys().copied().collect();
    let exported = table.export_keys(&slots).unwrap();
    for (c, (exported, data_type)) in exported.iter().zip(types).enumerate() {
        assert_eq!(exported.data_type(), &data_type.arrow_type());
        let again = columns(types, &keys, 0);
        let expected = hash_columns(&[&again[c]], keys.len(), None);
        let hashes = hash_columns(&[&Column::Array(Arc::clone(exported))], keys.len(), None);
        assert_eq!(hashes, expected, "key column {c}");
    }
    drop(table);
    assert_eq!(pages.held_bytes(), 0, "all memory came back");
}

#[test]
fn groups_are_those_of_a_map() {
    use LogicalType::{Float64, Int16, Int32, Int64, Utf8};
    let small = LogicalType::Decimal { precision: 12, scale: 2 };
    let wide = LogicalType::Decimal { precision: 30, scale: 4 };
    let shapes: &[&[LogicalType]] = &[
        &[Int64],
        &[Int32],
        &[Utf8],
        &[Float64],
        &[small.clone()],
        &[wide.clone()],
        &[Int64, Int64],
        &[Int32, Int16, Int16],
        &[Utf8, Int32, wide],
        &[Int64, Utf8, Utf8, small, Float64],
    ];
    for (shape, seed) in shapes.iter().zip(1..) {
        for (batch_rows, total_rows) in [(1, 200), (7, 1000), (8192, 40_000)] {
            for distinct in [1, 10, 300, 30_000] {
                check(shape, distinct, batch_rows, total_rows, seed);
            }
        }
    }
}

#[test]
fn clustered_keys_are_grouped_by_runs() {
    let pages = MeteredPages::unmetered();
    for types in [vec![LogicalType::Int64], vec![LogicalType::Int64, LogicalType::Int32], vec![LogicalType::Utf8]] {
        let mut table = table(&types, &[], &pages);
        let mut groups = Groups::default();
        let mut model = BTreeMap::new();
        for round in 0..20 {
            // Runs of one to six rows, keys far apart; every ninth is NULL, and batches overlap.
            let runs = (0..600).flat_map(|run| vec![round * 500 + run; 1 + run as usize % 6]);
            let keys: Vec<ModelKey> = runs.map(|k| (k % 9 != 0).then_some(k * 1_000_003)).collect();
            let key_columns = columns(&types, &keys, 1);
            group(&mut table, &key_columns, keys.len(), None, &mut groups);
            for (key, slot) in keys.iter().zip(&groups.slots) {
                assert_eq!(model.entry(*key).or_insert(*slot), slot, "{key:?}");
            }
        }
        assert_eq!(table.len(), model.len());
    }
}

#[test]
fn a_table_without_keys_has_one_group() {
    let pages = MeteredPages::unmetered();
    let mut table = table(&[], &[call("count", None, LogicalType::Int64)], &pages);
    let mut groups = Groups::default();
    group(&mut table, &[], 5, None, &mut groups);
    assert_eq!((groups.single, groups.slots.as_slice(), table.len()), (Some(0), &[0; 5][..], 1));
    let input = RowInput { args: &[], rows: 5, selection: None, filter: None, row_kinds: None };
    table.update(0, &groups, input).unwrap();
    assert!(!table.ensure_single_group().unwrap());
    let counts = table.accumulators()[0].evaluate(&[0]).unwrap();
    assert_eq!(counts.as_primitive::<Int64Type>().value(0), 5);
}

#[test]
fn the_one_group_comes_back_fresh_after_its_removal() {
    let pages = MeteredPages::unmetered();
    let decimal = LogicalType::Decimal { precision: 38, scale: 0 };
    let calls = [call("count", None, LogicalType::Int64), call("sum", Some(LogicalType::Int64), decimal)];
    let mut table = table(&[], &calls, &pages);
    let mut groups = Groups::default();
    let schema = table.state_schema();
    for round in 1..4 {
        let values = Column::Array(Arc::new(Int64Array::from_iter_values([round * 10, 1])));
        group(&mut table, &[], 2, None, &mut groups);
        assert_eq!((groups.new_slots.as_slice(), groups.new_rows.as_slice()), (&[0][..], &[0][..]), "it is new again");
        assert_eq!((table.len(), table.slot_count()), (1, 1));
        let input = RowInput { args: &[], rows: 2, selection: None, filter: None, row_kinds: None };
        table.update(0, &groups, input).unwrap();
        table.update(1, &groups, RowInput { args: &[&values], ..input }).unwrap();
        group(&mut table, &[], 1, None, &mut groups);
        assert!(groups.new_slots.is_empty() && !table.ensure_single_group().unwrap(), "now it is known");
        let counts = table.accumulators()[0].evaluate(&[0]).unwrap();
        assert_eq!(counts.as_primitive::<Int64Type>().value(0), 2);
        let sums = table.accumulators()[1].evaluate(&[0]).unwrap();
        let expected = Decimal64Array::from(vec![round * 10 + 1]).with_precision_and_scale(18, 0).unwrap();
        assert_eq!(sums.as_ref(), &expected as &dyn Array);
        // It counts where groups are read: results and snapshots.
        assert_eq!(table.next_states(&mut SlotCursor::default(), &schema, 64).unwrap().unwrap().num_rows(), 1);
        assert_eq!(table.snapshot(128, 64).len(), 1);
        table.remove(&[0]).unwrap();
        assert!(table.is_empty() && table.snapshot(128, 64).is_empty());
        assert!(table.next_states(&mut SlotCursor::default(), &schema, 64).unwrap().is_none());
    }
    assert!(table.ensure_single_group().unwrap(), "the end of input makes it anew, too");
    let counts = table.accumulators()[0].evaluate(&[0]).unwrap();
    assert_eq!(counts.as_primitive::<Int64Type>().value(0), 0);
}

#[test]
fn directories_split_and_keep_every_slot() {
    let pages = MeteredPages::unmetered();
    let mut directory = Directory::new(pages);
    directory.expect(0).unwrap();
    let mut rng = Rng::from_seed(5);
    let hashes: Vec<u64> = (0..700_000).map(|_| rng.next_u64()).collect();
    for (slot, &hash) in (0..).zip(&hashes) {
        directory.reserve(hash).unwrap();
        directory.insert(hash, slot);
    }
    assert!(directory.table_count() >= 5, "700,000 slots need more than four full sub-tables");
    for (slot, &hash) in (0..).zip(&hashes) {
        assert_eq!(directory.find(hash, |s| s == slot), Some(slot));
    }
    // Remove every second one; the others stay where probes find them.
    for (slot, &hash) in (0..).zip(&hashes).step_by(2) {
        directory.remove(hash, slot);
    }
    for (slot, &hash) in (0..).zip(&hashes) {
        let expected = (slot % 2 == 1).then_some(slot);
        assert_eq!(directory.find(hash, |s| s == slot), expected);
    }
}

#[test]
fn equal_hashes_do_not_make_equal_keys() {
    let pages = MeteredPages::unmetered();
    let mut table = table(&[LogicalType::Int64], &[], &pages);
    let keys = Column::Array(Arc::new(Int64Array::from_iter_values((0..100).map(|i| i * 1000))));
    let mut groups = Groups::default();
    for _ in 0..2 {
        let input = KeyInput { columns: &[&keys], rows: 100, selection: None, hashes: Some(&[42; 100]) };
        table.group(input, &mut groups).unwrap();
        assert_eq!(groups.slots, (0..100).collect::<Vec<u32>>());
    }
    assert!(groups.new_slots.is_empty());
}

#[test]
fn removed_groups_are_gone_and_their_slots_used_again() {
    let pages = MeteredPages::unmetered();
    let mut table = table(&[LogicalType::Utf8], &[call("count", None, LogicalType::Int64)], &pages);
    let keys = |range: std::ops::Range<i64>| columns(&[LogicalType::Utf8], &range.map(Some).collect::<Vec<_>>(), 0);
    let mut groups = Groups::default();
    let count = |table: &mut KeyedTable, range: std::ops::Range<i64>, groups: &mut Groups| {
        let rows = (range.end - range.start) as usize;
        group(table, &keys(range), rows, None, groups);
        let input = RowInput { args: &[], rows, selection: None, filter: None, row_kinds: None };
        table.update(0, groups, input).unwrap();
    };
    count(&mut table, 0..1000, &mut groups);
    let gone: Vec<u32> = groups.slots[..500].to_vec();
    table.remove(&gone).unwrap();
    assert_eq!(table.len(), 500);
    count(&mut table, 250..1100, &mut groups);
    assert_eq!((table.len(), table.slot_count()), (850, 1000));
    let counts = table.accumulators()[0].evaluate(&groups.slots).unwrap();
    let expected: Vec<i64> = (250..1100).map(|k| if (500..1000).contains(&k) { 2 } else { 1 }).collect();
    assert_eq!(counts.as_primitive::<Int64Type>().values(), &expected[..]);
    let (mut cursor, schema, mut rows) = (SlotCursor::default(), table.state_schema(), 0);
    while let Some(batch) = table.next_states(&mut cursor, &schema, 64).unwrap() {
        assert!(batch.num_rows() <= 64);
        rows += batch.num_rows();
    }
    assert_eq!(rows, 850);
}

/// A meter with an end.
struct Limited(usize);

impl MemoryMeter for Limited {
    fn resize(&self, _from: usize, to: usize) -> Result<(), Failure> {
        if to <= self.0 { Ok(()) } else { Err(Failure::transient("the budget is at its end")) }
    }
}

#[test]
fn refusal_is_an_error_and_leaves_a_whole_table() {
    let pages: Arc<dyn PageSource> = Arc::new(MeteredPages::new(Arc::new(Limited(300_000))));
    let mut table = table(&[LogicalType::Int64], &[call("count", None, LogicalType::Int64)], &pages);
    let mut groups = Groups::default();
    let mut refused = None;
    for round in 0..100i64 {
        let keys = Column::Array(Arc::new(Int64Array::from_iter_values((0..512).map(|i| (round * 512 + i) * 97))));
        let hashes = hash_columns(&[&keys], 512, None);
        let input = KeyInput { columns: &[&keys], rows: 512, selection: None, hashes: Some(&hashes) };
        match table.group(input, &mut groups) {
            Ok(()) => {
                let input = RowInput { args: &[], rows: 512, selection: None, filter: None, row_kinds: None };
                table.update(0, &groups, input).unwrap();
            }
            Err(error) => {
                refused = Some((round, error));
                break;
            }
        }
    }
    let (round, error) = refused.expect("the budget ends before 51,200 groups");
    assert!(round > 2, "some groups fit");
    assert!(matches!(error, StateError::Memory { .. }), "{error}");
    assert!(table.memory_bytes() <= 300_000);
    // What was there before is found, not created.
    let keys = Column::Array(Arc::new(Int64Array::from_iter_values((0..512).map(|i| i * 97))));
    group(&mut table, &[keys], 512, None, &mut groups);
    assert_eq!((groups.slots.as_slice(), groups.new_slots.len()), (&(0..512).collect::<Vec<u32>>()[..], 0));
}

#[test]
fn nested_keys_group_by_value_and_come_out_again() {
    // Keys of a number that decides them, in carriers that differ from round to round.
    let lists = |keys: &[ModelKey], round: usize| -> ArrayRef {
        let items = |key: &ModelKey| key.map(|k| (0..k % 4).map(|i| (i != 1).then_some(k + i)).collect::<Vec<_>>());
        if round.is_multiple_of(2) {
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(keys.iter().map(items)))
        } else {
            Arc::new(LargeListArray::from_iter_primitive::<Int64Type, _, _>(keys.iter().map(items)))
        }
    };
    let types = [LogicalType::list_of(LogicalType::Int64), LogicalType::Int64];
    let calls = [call("count", None, LogicalType::Int64)];
    for rows in [1, 7, 1000] {
        let mut table = table(&types, &calls, &MeteredPages::unmetered());
        let (mut groups, mut model) = (Groups::default(), BTreeMap::<(String, i64), i64>::new());
        let mut random = Rng::from_seed(11);
        for round in 0..6 {
            let keys: Vec<ModelKey> = (0..rows).map(|_| Some(random.below(40) as i64).filter(|k| k % 9 != 0)).collect();
            let list = lists(&keys, round);
            let parity: Vec<i64> = keys.iter().map(|k| k.unwrap_or(0) % 2).collect();
            let columns = [Column::Array(list), Column::Array(Arc::new(Int64Array::from(parity.clone())))];
            group(&mut table, &columns, rows, None, &mut groups);
            let input = RowInput { args: &[], rows, selection: None, filter: None, row_kinds: None };
            table.update(0, &groups, input).unwrap();
            for (key, parity) in keys.iter().zip(parity) {
                let text = match key {
                    None => String::new(),
                    Some(k) => format!("{:?}", (0..k % 4).map(|i| (i != 1).then_some(k + i)).collect::<Vec<_>>()),
                };
                *model.entry((text, parity)).or_default() += 1;
            }
        }
        let slots: Vec<u32> = (0..table.slot_count() as u32).collect();
        let keys = table.export_keys(&slots).unwrap();
        assert_eq!(keys[0].data_type(), &types[0].arrow_type());
        let (list, parity) = (keys[0].as_list::<i32>(), keys[1].as_primitive::<Int64Type>());
        let counts = table.accumulators()[0].evaluate(&slots).unwrap();
        let given: BTreeMap<(String, i64), i64> = (0..slots.len())
            .map(|row| {
                let text = match list.is_valid(row) {
                    true => format!("{:?}", list.value(row).as_primitive::<Int64Type>().iter().collect::<Vec<_>>()),
                    false => String::new(),
                };
                ((text, parity.value(row)), counts.as_primitive::<Int64Type>().value(row))
            })
            .collect();
        assert_eq!(given, model, "{rows} rows");
    }
}

/// Groups batches of one integer key and compares slots with a map; `None` is a NULL.
fn check_integers(data_type: &LogicalType, batches: &[Vec<Option<i64>>]) -> KeyedTable {
    let pages = MeteredPages::unmetered();
    let mut table = table(std::slice::from_ref(data_type), &[], &pages);
    let mut model: BTreeMap<Option<i64>, u32> = BTreeMap::new();
    let mut groups = Groups::default();
    for keys in batches {
        let array: ArrayRef = match data_type {
            LogicalType::Int32 => Arc::new(keys.iter().map(|k| k.map(|k| k as i32)).collect::<Int32Array>()),
            _ => Arc::new(keys.iter().copied().collect::<Int64Array>()),
        };
        group(&mut table, &[Column::Array(array)], keys.len(), None, &mut groups);
        let before = model.len() as u32;
        for (key, slot) in keys.iter().zip(&groups.slots) {
            let next = model.len() as u32;
            assert_eq!(model.entry(*key).or_insert(next), slot, "{key:?}");
        }
        assert_eq!(groups.new_slots, (before..model.len() as u32).collect::<Vec<_>>());
        let firsts: Vec<_> = groups.new_rows.iter().map(|row| (keys[*row as usize], *row)).collect();
        for (key, row) in firsts {
            assert_eq!(keys.iter().position(|k| *k == key), Some(row as usize));
        }
    }
    let slots: Vec<u32> = (0..model.len() as u32).collect();
    let mut keys: Vec<(u32, Option<i64>)> = model.into_iter().map(|(key, slot)| (slot, key)).collect();
    keys.sort_unstable();
    let exported = table.export_keys(&slots).unwrap();
    let exported: Vec<Option<i64>> = match data_type {
        LogicalType::Int32 => exported[0].as_primitive::<Int32Type>().iter().map(|k| k.map(i64::from)).collect(),
        _ => exported[0].as_primitive::<Int64Type>().iter().collect(),
    };
    assert_eq!(exported, keys.into_iter().map(|(_, key)| key).collect::<Vec<_>>());
    table
}

/// Keys that do not repeat in a way that is cheap to see: each third of them, from `from` on.
fn spread(from: i64, count: i64) -> Vec<Option<i64>> {
    (0..count).map(|i| Some(from + (i * 7919 % count) * 3)).collect()
}

#[test]
fn dense_integers_need_no_hashes() {
    for data_type in [LogicalType::Int64, LogicalType::Int32] {
        // Upwards, then below all others, then all again.
        let up =
            [spread(1 << 20, 5000), spread((1 << 20) + 9000, 20_000), spread(900_000, 3000), spread(1 << 20, 8000)];
        assert!(check_integers(&data_type, &up).direct.is_some());
        // Negative ones are dense among themselves.
        assert!(check_integers(&data_type, &[spread(-50_000, 5000), spread(-40_000, 2000)]).direct.is_some());
        // A single key again and again.
        assert!(check_integers(&data_type, &[vec![Some(7)], vec![Some(7)], vec![Some(8)]]).direct.is_some());
    }
}

#[test]
fn integers_that_turn_out_sparse_are_hashed_from_then_on() {
    let far = |n: i64| (0..1000).map(move |i| Some(i * n)).collect::<Vec<_>>();
    let ends = vec![Some(i64::MIN), Some(i64::MAX), Some(0), Some(-1), Some(42)];
    for batches in [
        vec![spread(0, 4000), far(1 << 40), spread(0, 9000)],
        vec![spread(5, 4000), vec![Some(5), None, Some(-1)], spread(0, 100)],
        vec![vec![None], spread(5, 4000)],
        vec![ends, spread(0, 10)],
        vec![far(1 << 12), far(1 << 11), far(3)],
    ] {
        assert!(check_integers(&LogicalType::Int64, &batches).direct.is_none());
    }
}

#[test]
fn removed_and_cleared_tables_find_what_is_left() {
    let mut table = check_integers(&LogicalType::Int64, &[spread(0, 3000)]);
    let mut groups = Groups::default();
    let column = |keys: &[i64]| Column::Array(Arc::new(Int64Array::from(keys.to_vec())));
    table.remove(&[0, 1]).unwrap();
    group(&mut table, &[column(&[0, 7919 % 3000 * 3, 7919 * 2 % 3000 * 3])], 3, None, &mut groups);
    assert_eq!((groups.slots[2], groups.new_slots.len(), table.len()), (2, 2, 3000));
    table.clear().unwrap();
    group(&mut table, &[column(&[30, 3, 30])], 3, None, &mut groups);
    assert_eq!((&groups.slots[..], table.len(), table.direct.is_some()), (&[0, 1, 0][..], 2, true));
}
