//! Several projections of each row: what GROUPING SETS and aggregates of DISTINCT values group.
//!
//! Each copy of a batch is made of references to its columns and of constants, so that a copy costs nothing for each
//! row; only one copy is out at a time. Selection and row kinds go with every copy. The copies of a batch come one after
//! the other, in the order of the projections.

use std::sync::Arc;

use flumen_core::batch::Batch;
use flumen_core::failure::Failure;
use flumen_core::spec::relational::ExpandSpec;
use flumen_core::spec::{OperatorPayload, OperatorSpec};
use flumen_core::types::SchemaRef;
use flumen_kernels::expr::CompiledExpr;

use crate::contract::{Operator, OperatorContext, OperatorFactory, Output, Step};
use crate::error::{OperatorError, expression_failure, input_schema, output_schema};
use crate::project::compile_columns;
use crate::registry::OperatorRegistry;

const NAME: &str = "expand";

/// Adds the factory.
pub fn register(registry: &mut OperatorRegistry) {
    registry.register(Arc::new(Factory));
}

struct Factory;

impl OperatorFactory for Factory {
    fn kind(&self) -> &'static str {
        ExpandSpec::KIND
    }

    fn create(&self, spec: &OperatorSpec, context: &OperatorContext) -> Result<Box<dyn Operator>, Failure> {
        let payload: ExpandSpec = spec.payload()?;
        let (input, output) = (input_schema(spec, 0, NAME)?, output_schema(spec, NAME)?);
        let compile = |columns: &Vec<_>| compile_columns(NAME, columns, input, output, context);
        let projections = payload.projections.iter().map(compile).collect::<Result<Vec<_>, _>>()?;
        if projections.is_empty() {
            return Err(OperatorError::Spec { operator: NAME, problem: "there is no projection".into() }.into());
        }
        Ok(Box::new(Expand { projections, output: Arc::clone(output), current: None }))
    }
}

struct Expand {
    projections: Vec<Vec<CompiledExpr>>,
    output: SchemaRef,
    /// The batch that is being copied, and the projection that comes next.
    current: Option<(Batch, usize)>,
}

impl Operator for Expand {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut Output) -> Result<Step, Failure> {
        self.current = Some((batch, 0));
        self.resume(out)
    }

    fn resume(&mut self, out: &mut Output) -> Result<Step, Failure> {
        let Some((batch, index)) = &mut self.current else { return Ok(Step::Done) };
        let columns = self.projections[*index].iter().map(|e| e.evaluate(batch)).collect::<Result<_, _>>();
        out.emit(batch.with_columns(Arc::clone(&self.output), columns.map_err(expression_failure)?).with_hashes(None));
        *index += 1;
        if *index < self.projections.len() {
            return Ok(Step::HasMoreOutput);
        }
        self.current = None;
        Ok(Step::Done)
    }
}

#[cfg(test)]
mod tests {
    use flumen_core::expr::{Expr, Literal};
    use flumen_core::types::LogicalType;

    use super::*;
    use crate::testing::{Event, Feed, Instance, batch, ints, rows_given, schema};

    fn spec(projections: Vec<Vec<Expr>>) -> OperatorSpec {
        let input = schema(&[("a", LogicalType::Int64), ("b", LogicalType::Int64)]);
        let output = schema(&[("a", LogicalType::Int64), ("b", LogicalType::Int64), ("set", LogicalType::Int64)]);
        OperatorSpec::new(&ExpandSpec { projections }, vec![input], Some(output))
    }

    fn set(number: i64) -> Expr {
        Expr::Literal(Literal::int64(number))
    }

    fn null() -> Expr {
        Expr::Literal(Literal::null(LogicalType::Int64))
    }

    #[test]
    fn every_row_comes_once_for_each_projection() {
        let spec = spec(vec![
            vec![Expr::Column(0), Expr::Column(1), set(0)],
            vec![Expr::Column(0), null(), set(1)],
            vec![null(), null(), set(3)],
        ]);
        let value = |i: i64| (i % 3 != 0).then_some(i);
        let rows = batch(&spec.inputs[0], vec![ints((0..50).map(value)), ints((0..50).map(Some))]);
        let rows = rows.with_row_kinds(Some((0..50).map(|i| (i % 2) * 2).collect()));
        let mut expected: Vec<String> = (0..50)
            .flat_map(|i| {
                let (kind, a) =
                    (if i % 2 == 0 { "+I" } else { "+U" }, value(i).map_or("NULL".into(), |a| a.to_string()));
                [format!("{kind} {a} {i} 0"), format!("{kind} {a} NULL 1"), format!("{kind} NULL NULL 3")]
            })
            .collect();
        expected.sort();
        for feed in Feed::all(1, false, &[]) {
            let mut given = rows_given(&spec, &[vec![0]], &[Event::Batch(0, rows.clone())], &feed);
            given.sort();
            assert_eq!(given, expected, "{feed:?}");
        }
    }

    #[test]
    fn columns_are_shared_and_constants_stay_constants() {
        let spec = spec(vec![vec![Expr::Column(1), null(), set(0)], vec![null(), Expr::Column(1), set(1)]]);
        let mut expand = Instance::alone(&spec);
        let rows = batch(&spec.inputs[0], vec![ints([Some(1)]), ints([Some(2)])]);
        expand.batch(0, flumen_kernels::hash::with_key_hashes(rows.clone(), &[0])).unwrap();
        let given: Vec<&Batch> = expand
            .given
            .iter()
            .map(|element| match element {
                flumen_core::element::StreamElement::Batch(batch) => batch,
                other => panic!("{other:?}"),
            })
            .collect();
        for (copy, shared) in given.iter().zip([0, 1]) {
            assert!(Arc::ptr_eq(copy.column(shared).array(), rows.column(1).array()));
            assert!(copy.column(1 - shared).as_constant().is_some() && copy.column(2).as_constant().is_some());
            assert!(copy.hashes_of(&[0]).is_none(), "the hashes were of another column");
        }
    }

    #[test]
    fn a_projection_of_another_width_is_refused() {
        let context = crate::testing::context(0, 1, 8, Arc::new(flumen_core::meter::Unmetered));
        for projections in [vec![], vec![vec![Expr::Column(0)]]] {
            assert!(Instance::new(&spec(projections), &context).is_err());
        }
    }
}
