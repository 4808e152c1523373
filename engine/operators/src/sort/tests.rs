use std::cmp::Ordering;

use flumen_core::batch::Batch;
use flumen_core::spec::OperatorSpec;
use flumen_core::spec::relational::{SortKey, SortSpec};
use flumen_core::types::{LogicalType, SchemaRef};

use super::HEAP_ROWS_MAX;
use crate::spill::testing::run_within;
use crate::testing::{Event, Feed, Instance, Limited, Numbers, Parallel, batch, ints, rows_given, schema, texts};

/// Two keys and the position in the input.
type Row = (Option<i64>, Option<String>, i64);

fn input() -> SchemaRef {
    schema(&[("k", LogicalType::Int64), ("s", LogicalType::Utf8), ("n", LogicalType::Int64)])
}

fn rows_batch(rows: &[Row]) -> Batch {
    let arrays = vec![
        ints(rows.iter().map(|r| r.0)),
        texts(rows.iter().map(|r| r.1.clone())),
        ints(rows.iter().map(|r| Some(r.2))),
    ];
    batch(&input(), arrays)
}

fn spec(keys: &[SortKey], offset: u64, fetch: Option<u64>) -> OperatorSpec {
    OperatorSpec::new(&SortSpec { keys: keys.to_vec(), offset, fetch }, vec![input()], Some(input()))
}

fn key(column: usize, descending: bool, nulls_first: bool) -> SortKey {
    SortKey { column, descending, nulls_first }
}

fn random_rows(count: usize, seed: u64) -> Vec<Row> {
    let mut numbers = Numbers::new(seed);
    (0..count as i64)
        .map(|n| {
            let text = numbers.nullable(5).map(|t| format!("a rather long common beginning {t}"));
            (numbers.nullable(8).map(|v| v - 3), text, n)
        })
        .collect()
}

fn compare<T: Ord>(a: &Option<T>, b: &Option<T>, key: &SortKey) -> Ordering {
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, _) => {
            if key.nulls_first {
                Ordering::Less
            } else {
                Ordering::Greater
            }
        }
        (_, None) => {
            if key.nulls_first {
                Ordering::Greater
            } else {
                Ordering::Less
            }
        }
        (Some(a), Some(b)) => {
            if key.descending {
                b.cmp(a)
            } else {
                a.cmp(b)
            }
        }
    }
}

/// The answer by a stable sort of rows.
fn model(rows: &[Row], keys: &[SortKey], offset: u64, fetch: Option<u64>) -> Vec<String> {
    let mut rows = rows.to_vec();
    rows.sort_by(|a, b| {
        keys.iter().fold(Ordering::Equal, |so_far, key| {
            so_far.then_with(|| if key.column == 0 { compare(&a.0, &b.0, key) } else { compare(&a.1, &b.1, key) })
        })
    });
    let text = |v: Option<String>| v.unwrap_or("NULL".into());
    let rows = rows.into_iter().skip(offset as usize).take(fetch.map_or(usize::MAX, |f| f as usize));
    rows.map(|r| format!("+I {} {} {}", text(r.0.map(|v| v.to_string())), text(r.1), r.2)).collect()
}

#[test]
fn rows_come_out_in_order() {
    let orders = [
        vec![key(0, false, false)],
        vec![key(0, true, true)],
        vec![key(1, false, true), key(0, true, false)],
        vec![key(1, true, false)],
        vec![],
    ];
    for count in [0, 1, 40, 700] {
        let rows = random_rows(count, 6);
        let events: Vec<Event> = rows.chunks(300).map(|rows| Event::Batch(0, rows_batch(rows))).collect();
        for keys in &orders {
            for (offset, fetch) in
                [(0, None), (5, None), (0, Some(1)), (3, Some(10)), (0, Some(0)), (690, Some(100)), (9999, Some(5))]
            {
                let expected = model(&rows, keys, offset, fetch);
                for feed in Feed::all(0, false, &[]) {
                    let given = rows_given(&spec(keys, offset, fetch), &[vec![]], &events, &feed);
                    assert_eq!(given, expected, "{keys:?} {offset} {fetch:?} {feed:?}");
                }
            }
        }
    }
}

fn descending(count: i64) -> Vec<Event> {
    // The worst case for a Top-N: every row is better than all before.
    let rows: Vec<Row> = (0..count).map(|n| (Some(-n), Some(format!("payload of row {n}")), n)).collect();
    rows.chunks(8192).map(|rows| Event::Batch(0, rows_batch(rows))).collect()
}

#[test]
fn top_n_holds_little_more_than_its_rows() {
    let events = descending(200_000);
    let feed = Feed { cut: 8192, selected: false, restore: None, batch_rows: 8192, parallelism: 1 };
    for (fetch, limit) in [(10, 6_000_000), (HEAP_ROWS_MAX + 5, 20_000_000)] {
        let memory = Limited::new(limit);
        let sort = Parallel::new(&spec(&[key(0, false, false)], 2, Some(fetch)), &[vec![]], &feed, memory.clone());
        let given = sort.unwrap().run(&events).unwrap();
        let rows: Vec<String> = given.iter().flat_map(crate::testing::element_texts).collect();
        assert_eq!(rows.len(), fetch as usize);
        assert_eq!(rows[0], "+I -199997 payload of row 199997 199997");
        assert_eq!(memory.held.load(std::sync::atomic::Ordering::Relaxed), 0, "all memory is given back");
    }
}

#[test]
fn a_sort_without_room_for_a_batch_is_refused_and_leaves_nothing_behind() {
    let memory = Limited::new(100_000);
    let feed = Feed { cut: 8192, selected: false, restore: None, batch_rows: 8192, parallelism: 1 };
    let sort = Parallel::new(&spec(&[key(0, false, false)], 0, None), &[vec![]], &feed, memory.clone()).unwrap();
    let error = sort.run(&descending(200_000)).unwrap_err();
    assert!(error.chain().contains("top consumer"), "{}", error.chain());
    assert_eq!(memory.held.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[test]
fn the_order_is_the_same_with_little_memory() {
    let orders = [vec![key(0, false, false)], vec![key(1, true, true), key(0, false, false)], vec![]];
    for (count, budget) in [(0, 1 << 20), (1, 1 << 20), (9_000, 1 << 20)] {
        let rows = random_rows(count, 6);
        let events = [Event::Batch(0, rows_batch(&rows))];
        for keys in &orders {
            for (offset, fetch) in [(0, None), (5, Some(30)), (100, Some(HEAP_ROWS_MAX + 1)), (8_990, None)] {
                let expected = model(&rows, keys, offset, fetch);
                for (cut, batch_rows, asks) in [(100, 8192, false), (7, 7, false), (1000, 1, false), (1000, 999, true)]
                {
                    let spec = spec(keys, offset, fetch);
                    let (given, spilled) = run_within(&spec, &events, cut, batch_rows, budget, asks).unwrap();
                    assert!(given == expected, "{keys:?} {offset} {fetch:?} {cut} {asks}");
                    assert!(spilled > 0 || count < 2 || fetch.is_some_and(|f| f < HEAP_ROWS_MAX));
                }
            }
        }
    }
}

#[test]
fn snapshots_and_changes_are_refused() {
    let mut sort = Instance::alone(&spec(&[key(0, false, false)], 0, None));
    let rows = rows_batch(&[(Some(1), None, 0)]);
    assert!(sort.snapshot().is_ok());
    sort.batch(0, rows.clone()).unwrap();
    assert!(sort.snapshot().err().unwrap().to_string().contains("without checkpoints"));
    sort.finish().unwrap();
    assert!(sort.snapshot().is_ok());
    let change = rows.with_row_kinds(Some(vec![3i8].into()));
    let error = Instance::alone(&spec(&[], 0, None)).batch(0, change).unwrap_err();
    assert!(error.to_string().contains("append-only"), "{error}");
}

#[test]
fn the_order_is_told_to_consumers() {
    for (keys, sorted_by) in [(vec![key(1, false, false)], Some(1)), (vec![key(1, true, false)], None)] {
        for fetch in [None, Some(5)] {
            let mut sort = Instance::alone(&spec(&keys, 0, fetch));
            sort.batch(0, rows_batch(&random_rows(20, 1))).unwrap();
            sort.finish().unwrap();
            let flumen_core::element::StreamElement::Batch(given) = &sort.given[0] else { panic!("a batch") };
            assert_eq!(given.flags().sorted_by, sorted_by);
        }
    }
}
