use std::sync::Arc;

use flumen_core::batch::Batch;
use flumen_core::meter::MemoryMeter;
use flumen_core::spec::relational::SortKey;
use flumen_core::types::{LogicalType, SchemaRef};

use super::{ExternalSort, Order, Piece};
use crate::spill::testing::Budget;
use crate::testing::{Numbers, batch, batch_texts, context, ints, schema, texts};

fn rows_schema() -> SchemaRef {
    schema(&[("k", LogicalType::Int64), ("s", LogicalType::Utf8), ("n", LogicalType::Int64)])
}

fn rows(count: usize, keys: u64) -> Batch {
    let mut numbers = Numbers::new(5);
    let keys: Vec<Option<i64>> = (0..count).map(|_| numbers.nullable(keys)).collect();
    let names: Vec<Option<String>> =
        (0..count).map(|_| numbers.nullable(9).map(|t| format!("a rather long common beginning {t}"))).collect();
    let numbers = ints((0..count as i64).map(Some));
    batch(&rows_schema(), vec![ints(keys), texts(names), numbers])
}

fn orders() -> Vec<Vec<SortKey>> {
    let key = |column, descending| SortKey { column, descending, nulls_first: descending };
    vec![vec![key(0, false)], vec![key(1, true), key(0, false)], Vec::new()]
}

fn given(sort: &mut ExternalSort, rows: usize, mut between: impl FnMut(&mut ExternalSort)) -> Vec<String> {
    let mut given = Vec::new();
    loop {
        match sort.next(rows).unwrap() {
            Piece::Rows(batch) => {
                assert!(batch.num_rows() <= rows);
                given.extend(batch_texts(&batch));
            }
            Piece::Working => {}
            Piece::End => return given,
        }
        between(sort);
    }
}

#[test]
fn the_order_is_the_same_at_every_memory() {
    for (count, keys) in [(0, 5), (1, 5), (20_000, 1), (20_000, 50), (20_000, 1 << 40)] {
        let all = rows(count, keys);
        for keys in orders() {
            let mut expected: Option<Vec<String>> = None;
            // Without a limit, a few runs, and so many that it takes several passes.
            for (limit, cut) in [(1 << 30, 8192), (2 << 20, 1000), (1 << 20, 7), (1 << 20, 1000)] {
                let budget = Budget::new(limit);
                let mut context = context(0, 1, 8192, budget.meter("sort"));
                context.spill = crate::spill::testing::space();
                let order = Order::new(&rows_schema(), keys.clone());
                let mut sort = ExternalSort::new(order, None, &context);
                let cut = if count > 10_000 { cut.max(100) } else { cut };
                for offset in (0..count).step_by(cut) {
                    sort.push(&all.slice(offset, cut.min(count - offset))).unwrap();
                }
                sort.finish(0..usize::MAX).unwrap();
                let answer = given(&mut sort, 777, |_| {});
                assert_eq!(answer.len(), count);
                assert_eq!(context.spill.spilled_bytes() > 0, limit < 1 << 30 && count > 1);
                assert!(expected.get_or_insert_with(|| answer.clone()) == &answer, "{keys:?} at {limit} cut {cut}");
                sort.clear().unwrap();
                drop(sort);
                budget.manager.verify_empty().unwrap();
                context.spill.verify_empty().unwrap();
            }
        }
    }
}

#[test]
fn rows_in_memory_are_spilled_when_the_arbiter_asks() {
    let all = rows(20_000, 100);
    let keys = orders().remove(0);
    let sort = |range: std::ops::Range<usize>, asked_at: Option<usize>| {
        let budget = Budget::new(64 << 20);
        let meter = budget.meter("sort");
        let context = context(0, 1, 8192, Arc::<_>::clone(&meter) as Arc<dyn MemoryMeter>);
        let mut sort = ExternalSort::new(Order::new(&rows_schema(), keys.clone()), None, &context);
        let ask = |sort: &mut ExternalSort| {
            assert!(budget.manager.request_revocation(1) > 0);
            let held = budget.manager.used_bytes();
            assert!(sort.revoke().unwrap() > 0);
            assert!(budget.manager.used_bytes() < held);
            assert_eq!(meter.revocation_requested(), 0);
        };
        for offset in (0..20_000).step_by(5_000) {
            sort.push(&all.slice(offset, 5_000)).unwrap();
            if asked_at == Some(offset) {
                ask(&mut sort);
            }
        }
        sort.finish(range).unwrap();
        let mut pieces = 20_000;
        given(&mut sort, 100, |sort| {
            pieces += 1;
            if asked_at == Some(pieces) {
                ask(sort);
            }
        })
    };
    for range in [0..usize::MAX, 50..130, 19_990..30_000, 0..0] {
        let expected = sort(range.clone(), None);
        for asked_at in [0, 5_000, 20_001, 20_007] {
            assert!(sort(range.clone(), Some(asked_at)) == expected, "{range:?} asked at {asked_at}");
        }
    }
}

#[test]
fn a_batch_that_fits_nowhere_is_refused_with_the_top_consumers() {
    let budget = Budget::new(256 << 10);
    let other = budget.meter("another holder");
    other.resize(0, 200 << 10).unwrap();
    let context = context(0, 1, 8192, budget.meter("sort"));
    let mut sort = ExternalSort::new(Order::new(&rows_schema(), orders().remove(0)), None, &context);
    let error = sort.push(&rows(500, 10)).unwrap_err();
    assert!(error.chain().contains("another holder 200 KiB"), "{}", error.chain());
}
