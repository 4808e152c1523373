//! SELECT list: computes the columns of the output.
//!
//! References to columns pass the column on without a copy, in whatever encoding it has. Selection and row kinds stay;
//! key hashes stay if all their columns are passed on. Cost: that of the expressions.

use std::sync::Arc;

use flumen_core::batch::{Batch, BatchFlags, KeyHashes};
use flumen_core::expr::Expr;
use flumen_core::failure::Failure;
use flumen_core::spec::relational::ProjectSpec;
use flumen_core::spec::{OperatorPayload, OperatorSpec};
use flumen_core::types::SchemaRef;
use flumen_kernels::expr::CompiledExpr;

use crate::contract::{Operator, OperatorContext, OperatorFactory, Output, Step};
use crate::error::{OperatorError, expression_failure, input_schema, output_schema};
use crate::registry::OperatorRegistry;

const NAME: &str = "project";

/// Adds the factory.
pub fn register(registry: &mut OperatorRegistry) {
    registry.register(Arc::new(Factory));
}

struct Factory;

impl OperatorFactory for Factory {
    fn kind(&self) -> &'static str {
        ProjectSpec::KIND
    }

    fn create(&self, spec: &OperatorSpec, context: &OperatorContext) -> Result<Box<dyn Operator>, Failure> {
        let payload: ProjectSpec = spec.payload()?;
        let input = input_schema(spec, 0, NAME)?;
        let output = output_schema(spec, NAME)?;
        let expressions = compile_columns(NAME, &payload.expressions, input, output, context)?;
        Ok(Box::new(Project { expressions, output: Arc::clone(output) }))
    }
}

/// Compiles the expressions that compute the columns of `output`.
///
/// # Errors
/// If their number or a type is not the output's.
pub(crate) fn compile_columns(
    operator: &'static str,
    expressions: &[Expr],
    input: &SchemaRef,
    output: &SchemaRef,
    context: &OperatorContext,
) -> Result<Vec<CompiledExpr>, Failure> {
    if expressions.len() != output.fields.len() {
        let problem = format!("{} expressions for {} columns", expressions.len(), output.fields.len());
        return Err(OperatorError::Spec { operator, problem }.into());
    }
    let mut columns = Vec::with_capacity(expressions.len());
    for (expression, field) in expressions.iter().zip(&output.fields) {
        let compiled = CompiledExpr::compile(expression, input, &context.functions).map_err(expression_failure)?;
        if *compiled.data_type() != field.data_type {
            let problem =
                format!("column {:?} is {} but is computed as {}", field.name, field.data_type, compiled.data_type());
            return Err(OperatorError::Spec { operator, problem }.into());
        }
        columns.push(compiled);
    }
    Ok(columns)
}

struct Project {
    expressions: Vec<CompiledExpr>,
    output: SchemaRef,
}

impl Project {
    /// Where an input column comes out first.
    fn position(&self, column: usize) -> Option<usize> {
        self.expressions.iter().position(|e| e.as_column() == Some(column))
    }
}

impl Operator for Project {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut Output) -> Result<Step, Failure> {
        let columns = self
            .expressions
            .iter()
            .map(|e| e.evaluate(&batch))
            .collect::<Result<_, _>>()
            .map_err(expression_failure)?;
        let hashes = batch.hashes().and_then(|hashes| {
            let columns =
                hashes.columns.iter().map(|column| self.position(*column)).collect::<Option<Arc<[usize]>>>()?;
            Some(KeyHashes { columns, values: hashes.values.clone() })
        });
        let sorted_by = batch.flags().sorted_by.and_then(|column| self.position(usize::from(column)));
        let projected = batch.with_columns(Arc::clone(&self.output), columns).with_hashes(hashes);
        let flags = BatchFlags { sorted_by: sorted_by.and_then(|c| u16::try_from(c).ok()), ..projected.flags() };
        out.emit(projected.with_flags(flags));
        Ok(Step::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Event, Feed, Instance, batch, ints, rows_given, schema};
    use flumen_core::expr::Literal;
    use flumen_core::types::LogicalType;

    fn spec(expressions: Vec<Expr>, names: &[&str]) -> OperatorSpec {
        let input = schema(&[("a", LogicalType::Int64), ("b", LogicalType::Int64)]);
        let fields: Vec<_> = names.iter().map(|name| (*name, LogicalType::Int64)).collect();
        OperatorSpec::new(&ProjectSpec { expressions }, vec![input], Some(schema(&fields)))
    }

    fn sum() -> Expr {
        Expr::call("add", vec![Expr::Column(0), Expr::Column(1)], LogicalType::Int64)
    }

    #[test]
    fn computes_row_by_row() {
        let spec = spec(vec![Expr::Column(1), sum(), Expr::Literal(Literal::int64(7))], &["b", "sum", "seven"]);
        let (a, b) = (|i: i64| (i % 3 != 0).then_some(i), |i: i64| Some(i * i));
        let rows = batch(&spec.inputs[0], vec![ints((0..50).map(a)), ints((0..50).map(b))]);
        let rows = rows.with_row_kinds(Some((0..50).map(|i| (i % 2) * 2).collect()));
        let expected: Vec<String> = (0..50)
            .map(|i| {
                let sum = a(i).map_or("NULL".to_owned(), |a| (a + i * i).to_string());
                format!("{} {} {sum} 7", if i % 2 == 0 { "+I" } else { "+U" }, i * i)
            })
            .collect();
        for feed in Feed::all(1, false, &[]) {
            assert_eq!(rows_given(&spec, &[vec![0]], &[Event::Batch(0, rows.clone())], &feed), expected, "{feed:?}");
        }
    }

    #[test]
    fn columns_and_their_hashes_pass_without_a_copy() {
        let mut project = Instance::alone(&spec(vec![sum(), Expr::Column(0)], &["sum", "a"]));
        let schema = schema(&[("a", LogicalType::Int64), ("b", LogicalType::Int64)]);
        let rows = batch(&schema, vec![ints([Some(1)]), ints([Some(2)])]);
        for (key, kept) in [(0, true), (1, false)] {
            project.given.clear();
            project.batch(0, flumen_kernels::hash::with_key_hashes(rows.clone(), &[key])).unwrap();
            let flumen_core::element::StreamElement::Batch(given) = &project.given[0] else { panic!("a batch") };
            assert!(Arc::ptr_eq(given.column(1).array(), rows.column(0).array()));
            assert_eq!(given.hashes_of(&[1]).is_some(), kept);
        }
    }

    #[test]
    fn an_output_of_another_type_is_refused() {
        let mut spec = spec(vec![sum()], &["sum"]);
        spec.output = Some(schema(&[("sum", LogicalType::Int32)]));
        let context = crate::testing::context(0, 1, 8, Arc::new(flumen_core::meter::Unmetered));
        let error = Instance::new(&spec, &context).err().unwrap();
        assert!(error.to_string().contains("INTEGER but is computed as BIGINT"), "{error}");
    }
}
