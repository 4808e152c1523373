//! WHERE: keeps the rows for which a condition is true.
//!
//! The columns are not touched: the batch goes on with a narrower selection, and whoever needs dense rows gathers them.
//! Row kinds and key hashes stay. A condition that is NULL or false drops the row. Cost: that of the condition, which
//! `flumen_kernels::expr` evaluates term by term for the rows that are left.

use std::sync::Arc;

use flumen_core::batch::Batch;
use flumen_core::failure::Failure;
use flumen_core::spec::relational::FilterSpec;
use flumen_core::spec::{OperatorPayload, OperatorSpec};
use flumen_kernels::expr::CompiledPredicate;

use crate::contract::{Operator, OperatorContext, OperatorFactory, Output, Step};
use crate::error::{expression_failure, input_schema};
use crate::registry::OperatorRegistry;

/// Adds the factory.
pub fn register(registry: &mut OperatorRegistry) {
    registry.register(Arc::new(Factory));
}

struct Factory;

impl OperatorFactory for Factory {
    fn kind(&self) -> &'static str {
        FilterSpec::KIND
    }

    fn create(&self, spec: &OperatorSpec, context: &OperatorContext) -> Result<Box<dyn Operator>, Failure> {
        let payload: FilterSpec = spec.payload()?;
        let input = input_schema(spec, 0, "filter")?;
        let predicate =
            CompiledPredicate::compile(&payload.predicate, input, &context.functions).map_err(expression_failure)?;
        Ok(Box::new(Filter { predicate }))
    }
}

struct Filter {
    predicate: CompiledPredicate,
}

impl Operator for Filter {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut Output) -> Result<Step, Failure> {
        let selected = self.predicate.select(&batch).map_err(expression_failure)?;
        out.emit(selected.apply(batch));
        Ok(Step::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Event, Feed, Instance, batch, ints, rows_given, schema, texts};
    use flumen_core::expr::{Expr, Literal};
    use flumen_core::types::LogicalType;

    fn greater_than(bound: i64) -> Expr {
        Expr::call("gt", vec![Expr::Column(0), Expr::Literal(Literal::int64(bound))], LogicalType::Boolean)
    }

    #[test]
    fn keeps_rows_for_which_it_is_true() {
        let schema = schema(&[("v", LogicalType::Int64), ("s", LogicalType::Utf8)]);
        let values = || (0..100).map(|i| (i % 7 != 0).then_some(i));
        let rows = batch(&schema, vec![ints(values()), texts(values().map(|v| v.map(|v| format!("s{v}"))))]);
        let spec = |bound| {
            let payload = FilterSpec { predicate: greater_than(bound) };
            OperatorSpec::new(&payload, vec![Arc::clone(&schema)], Some(Arc::clone(&schema)))
        };
        for bound in [-1, 40, 99] {
            let expected: Vec<String> =
                values().flatten().filter(|v| *v > bound).map(|v| format!("+I {v} s{v}")).collect();
            for feed in Feed::all(1, false, &[]) {
                let given = rows_given(&spec(bound), &[vec![0]], &[Event::Batch(0, rows.clone())], &feed);
                assert_eq!(given, expected, "{bound} {feed:?}");
            }
        }
    }

    #[test]
    fn row_kinds_and_hashes_stay() {
        let schema = schema(&[("v", LogicalType::Int64)]);
        let payload = FilterSpec { predicate: greater_than(1) };
        let spec = OperatorSpec::new(&payload, vec![Arc::clone(&schema)], Some(Arc::clone(&schema)));
        let rows = batch(&schema, vec![ints([Some(1), Some(2), Some(3)])]).with_row_kinds(Some(vec![0i8, 1, 2].into()));
        let rows = flumen_kernels::hash::with_key_hashes(rows, &[0]);
        let mut filter = Instance::alone(&spec);
        filter.batch(0, rows).unwrap();
        assert_eq!(filter.texts(), ["-U 2", "+U 3"]);
        let flumen_core::element::StreamElement::Batch(given) = &filter.given[0] else { panic!("a batch") };
        assert!(given.hashes_of(&[0]).is_some());
    }

    #[test]
    fn a_condition_that_is_no_boolean_is_refused() {
        let schema = schema(&[("v", LogicalType::Int64)]);
        let payload = FilterSpec { predicate: Expr::Column(0) };
        let spec = OperatorSpec::new(&payload, vec![Arc::clone(&schema)], Some(schema));
        let context = crate::testing::context(0, 1, 8, Arc::new(flumen_core::meter::Unmetered));
        assert!(Instance::new(&spec, &context).is_err());
    }
}
