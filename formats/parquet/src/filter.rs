//! Conditions that a scan applies while it decodes.
//!
//! They are applied so that columns need not be decoded where no row is wanted, not to be relied on: whoever needs the
//! rows filtered keeps the filter. So only what is sure to pay and never fails is taken: conditions over one column that
//! is stored as the table has it, and the keys that a join's build side is known to have. A condition that cannot be
//! compiled or evaluated lets every row pass.
//!
//! A [`ScanFilter`] is made once per scan, or anew when a join has published its keys, and shared; row groups learn for
//! themselves whether it is worth it.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Decimal64Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use flumen_core::batch::{Batch, Column};
use flumen_core::expr::{Expr, Literal, Value};
use flumen_core::source::RuntimeFilter;
use flumen_core::types::{Field, LogicalType, Schema, SchemaRef};
use flumen_kernels::expr::{CompiledPredicate, FunctionRegistry, Selected};

/// A condition over one column.
#[derive(Clone)]
pub(crate) struct Condition {
    tests: Vec<Arc<Test>>,
}

/// One of the tests that all must pass.
enum Test {
    Predicate { schema: SchemaRef, predicate: CompiledPredicate },
    Keys(Keys),
}

/// Integers that are wanted: a range, and which of it if that is known.
struct Keys {
    min: i64,
    max: i64,
    /// Bit 0 stands for `min`.
    bits: Option<Arc<[u64]>>,
}

impl Condition {
    /// The rows of an array that meet it, ascending; `None` if that cannot be said.
    pub(crate) fn passing(&self, array: &ArrayRef) -> Option<Vec<u32>> {
        let mut passing: Vec<u32> = (0..u32::try_from(array.len()).ok()?).collect();
        for test in &self.tests {
            match test.as_ref() {
                Test::Predicate { schema, predicate } => {
                    let column = Column::Array(Arc::clone(array));
                    let batch = Batch::new(Arc::clone(schema), vec![column], array.len());
                    let narrows = passing.len() < array.len();
                    let batch = if narrows { batch.with_selection(Some(passing.clone().into())) } else { batch };
                    if let Selected::Rows(rows) = predicate.select(&batch).ok()? {
                        passing = rows.to_vec();
                    }
                }
                Test::Keys(keys) => keys.retain(array, &mut passing)?,
            }
        }
        Some(passing)
    }
}

impl Keys {
    /// Keeps the rows whose value is wanted; NULL never is. `None` if the array holds no integers.
    fn retain(&self, array: &ArrayRef, rows: &mut Vec<u32>) -> Option<()> {
        let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
        let mut by = |value: &dyn Fn(usize) -> i64| {
            rows.retain(|row| nulls.is_none_or(|n| n.is_valid(*row as usize)) && self.holds(value(*row as usize)));
        };
        match array.data_type() {
            DataType::Int32 => by(&|row| i64::from(array.as_primitive::<Int32Type>().value(row))),
            DataType::Date32 => by(&|row| i64::from(array.as_primitive::<Date32Type>().value(row))),
            DataType::Int64 => self.retain_wide(array.as_primitive::<Int64Type>().values(), nulls, rows),
            DataType::Decimal64(..) => self.retain_wide(array.as_primitive::<Decimal64Type>().values(), nulls, rows),
            _ => return None,
        }
        Some(())
    }

    fn retain_wide(&self, values: &[i64], nulls: Option<&arrow_buffer::NullBuffer>, rows: &mut Vec<u32>) {
        let mut count = 0;
        for at in 0..rows.len() {
            let row = rows[at];
            let is_valid = nulls.is_none_or(|n| n.is_valid(row as usize));
            rows[count] = row;
            count += usize::from(is_valid & self.holds(values[row as usize]));
        }
        rows.truncate(count);
    }

    #[inline(always)]
    fn holds(&self, value: i64) -> bool {
        let in_range = (self.min..=self.max).contains(&value);
        match &self.bits {
            None => in_range,
            Some(bits) => {
                let bit = value.wrapping_sub(self.min) as u64;
                in_range && bits.get((bit / 64) as usize).is_some_and(|word| word >> (bit % 64) & 1 == 1)
            }
        }
    }
}

/// What a scan filters by.
#[derive(Clone, Default)]
pub struct ScanFilter {
    /// Output columns and the condition over each, one for a column.
    conditions: Arc<[(usize, Condition)]>,
}

impl ScanFilter {
    /// The filter that conditions (all of which must hold) over columns of `schema` allow.
    #[must_use]
    pub fn new(filters: &[Expr], schema: &Schema) -> Self {
        let functions = FunctionRegistry::new();
        let conditions = schema.fields.iter().enumerate().filter_map(|(column, field)| {
            let is_alone = |filter: &&Expr| filter.columns() == [column];
            let alone = filters.iter().filter(is_alone).map(|filter| filter.map_columns(&|_| 0));
            let sure = alone.filter(|filter| compile(filter, field, &functions).is_some());
            let all = sure.reduce(|a, b| Expr::call("and", vec![a, b], LogicalType::Boolean))?;
            let tests = vec![Arc::new(compile(&all, field, &functions)?)];
            Some((column, Condition { tests }))
        });
        Self { conditions: conditions.collect() }
    }

    /// The filter that also leaves out rows whose key no row of a join's build side has. `column` is the output column
    /// that the key is over. Only integers are looked at.
    #[must_use]
    pub fn with_keys(&self, column: usize, filter: &RuntimeFilter, schema: &Schema) -> Self {
        let is_alike = |literal: &Literal| {
            schema.fields.get(column).is_some_and(|field| {
                literal.data_type == field.data_type || (literal.data_type.is_integer() && field.data_type.is_integer())
            })
        };
        let int = |literal: &Literal| match &literal.value {
            Value::Int(value) if is_alike(literal) => i64::try_from(*value).ok(),
            _ => None,
        };
        let (Some(min), Some(max)) = (int(&filter.min), int(&filter.max)) else { return self.clone() };
        let test = Arc::new(Test::Keys(Keys { min, max, bits: filter.bitmap.clone() }));
        let mut conditions = self.conditions.to_vec();
        match conditions.iter_mut().find(|(c, _)| *c == column) {
            Some((_, condition)) => condition.tests.push(test),
            None => conditions.push((column, Condition { tests: vec![test] })),
        }
        Self { conditions: conditions.into() }
    }

    pub(crate) fn conditions(&self) -> &Arc<[(usize, Condition)]> {
        &self.conditions
    }
}

impl std::fmt::Debug for ScanFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.conditions.iter().map(|(column, _)| column)).finish()
    }
}

/// The condition over a single column, if it is one that never fails.
fn compile(condition: &Expr, field: &Field, functions: &FunctionRegistry) -> Option<Test> {
    let schema = Arc::new(Schema::new(vec![field.clone()]));
    let predicate = CompiledPredicate::compile(condition, &schema, functions).ok()?;
    (!predicate.can_fail()).then_some(Test::Predicate { schema, predicate })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Int32Array, Int64Array};

    #[test]
    fn keys_are_a_range_and_bits() {
        let schema = Schema::new(vec![
            Field::new("a", LogicalType::Int64, true),
            Field::new("b", LogicalType::Int32, true),
            Field::new("c", LogicalType::Utf8, true),
        ]);
        // 100 + {0, 3, 64}.
        let bits: Arc<[u64]> = vec![1 | 1 << 3, 1].into();
        let filter = RuntimeFilter { min: Literal::int64(100), max: Literal::int64(164), bitmap: Some(bits) };
        let values = [Some(100), None, Some(99), Some(103), Some(104), Some(164), Some(165), Some(i64::MIN)];
        let wide: ArrayRef = Arc::new(values.into_iter().collect::<Int64Array>());
        let narrow: ArrayRef = Arc::new(values.iter().map(|v| v.map(|v| v as i32)).collect::<Int32Array>());
        for (column, array) in [(0, wide), (1, narrow)] {
            let filter = ScanFilter::default().with_keys(column, &filter, &schema);
            assert_eq!(filter.conditions()[0].0, column);
            assert_eq!(filter.conditions()[0].1.passing(&array), Some(vec![0, 3, 5]));
        }
        let range = RuntimeFilter { bitmap: None, ..filter.clone() };
        let array: ArrayRef = Arc::new(Int64Array::from(vec![99, 100, 164, 165]));
        let condition =
            Expr::call("gt", vec![Expr::Column(0), Expr::Literal(Literal::int64(100))], LogicalType::Boolean);
        let both = ScanFilter::new(&[condition], &schema).with_keys(0, &range, &schema);
        assert_eq!(both.conditions().len(), 1);
        assert_eq!(both.conditions()[0].1.passing(&array), Some(vec![2]));
        for (column, filter) in [(2, &filter), (0, &RuntimeFilter::unknown())] {
            assert!(ScanFilter::default().with_keys(column, filter, &schema).conditions().is_empty());
        }
    }

    #[test]
    fn conditions_that_may_fail_or_span_columns_are_left_out() {
        let schema =
            Schema::new(vec![Field::new("a", LogicalType::Int64, true), Field::new("b", LogicalType::Int64, true)]);
        let call = |name: &str, args, data_type| Expr::call(name, args, data_type);
        let (a, b, one) = (Expr::Column(0), Expr::Column(1), Expr::Literal(Literal::int64(1)));
        let quotient = call("divide", vec![one.clone(), a.clone()], LogicalType::Int64);
        let across = call("lt", vec![a.clone(), b.clone()], LogicalType::Boolean);
        let risky = call("lt", vec![quotient, one.clone()], LogicalType::Boolean);
        let unknown = call("no such function", vec![b.clone()], LogicalType::Boolean);
        let fine = call("lt", vec![b, one], LogicalType::Boolean);
        let filter = ScanFilter::new(&[across, risky, unknown, fine], &schema);
        assert_eq!(format!("{filter:?}"), "[1]");
    }
}
