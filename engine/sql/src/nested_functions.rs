//! Parts of nested values: what the engine does itself, without a copy where there is one.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, UInt32Array, new_null_array};
use flumen_core::batch::Column;
use flumen_core::types::LogicalType;
use flumen_kernels::compare::{NullEquality, rows_equal};
use flumen_kernels::expr::{ExprError, FunctionError, FunctionRegistry, ScalarFunction};
use flumen_kernels::gather::{column_array, flatten, take};

/// `struct, position`: the part at a position, a constant BIGINT from 0.
pub(crate) const FIELD: &str = "sql:field";
/// `map, key`: the value of the first entry with this key.
pub(crate) const MAP_VALUE: &str = "sql:map_value";

/// Adds the functions.
///
/// # Errors
/// If a name is taken.
pub(crate) fn register(registry: &mut FunctionRegistry) -> Result<(), ExprError> {
    registry.register(Arc::new(StructField))?;
    registry.register(Arc::new(MapValue))
}

struct StructField;

fn position(column: &Column) -> Option<usize> {
    let array = column.as_constant()?;
    let position = array.as_primitive_opt::<arrow_array::types::Int64Type>().filter(|p| p.is_valid(0))?.value(0);
    usize::try_from(position).ok()
}

impl ScalarFunction for StructField {
    fn name(&self) -> &str {
        FIELD
    }

    fn return_type(&self, _: &[LogicalType]) -> Result<LogicalType, FunctionError> {
        Err("the position of a part is a constant".into())
    }

    fn return_type_of(
        &self,
        args: &[LogicalType],
        constants: &[Option<&Column>],
    ) -> Result<LogicalType, FunctionError> {
        match (args, constants) {
            ([LogicalType::Struct(fields), _], [_, Some(at)]) => {
                let field = position(at).and_then(|at| fields.get(at));
                field.map(|field| field.data_type.clone()).ok_or_else(|| "there is no such part".into())
            }
            _ => Err("a struct and the constant position of a part are due".into()),
        }
    }

    fn invoke(&self, args: &[Column], _rows: usize, _: &LogicalType) -> Result<Column, FunctionError> {
        let [value, at] = args else { return Err("a struct and a position are due".into()) };
        let field = |array: &ArrayRef| -> Result<ArrayRef, FunctionError> {
            let array = flatten(array)?;
            let parts = array.as_struct_opt().ok_or_else(|| format!("{} has no parts", array.data_type()))?;
            let field = position(at).and_then(|at| parts.columns().get(at)).ok_or("there is no such part")?;
            match parts.nulls().filter(|nulls| nulls.null_count() > 0) {
                None => Ok(Arc::clone(field)),
                // What is behind a NULL struct may be anything.
                Some(nulls) => {
                    let null = BooleanArray::new(!nulls.inner(), None);
                    Ok(arrow_select::nullif::nullif(field, &null)?)
                }
            }
        };
        Ok(match value {
            Column::Array(array) => Column::Array(field(array)?),
            Column::Constant(value) => Column::Constant(field(value)?),
        })
    }

    fn is_strict(&self) -> bool {
        true
    }
}

struct MapValue;

impl ScalarFunction for MapValue {
    fn name(&self) -> &str {
        MAP_VALUE
    }

    fn return_type(&self, args: &[LogicalType]) -> Result<LogicalType, FunctionError> {
        match args {
            [LogicalType::Map { key, value }, asked] if key.data_type == *asked => Ok(value.data_type.clone()),
            _ => Err("a map and one of its keys are due".into()),
        }
    }

    fn invoke(&self, args: &[Column], rows: usize, _: &LogicalType) -> Result<Column, FunctionError> {
        let [maps, key] = args else { return Err("a map and a key are due".into()) };
        let array = flatten(&column_array(maps, rows)?)?;
        let maps = array.as_map_opt().ok_or_else(|| format!("{} has no keys", array.data_type()))?;
        let offsets = maps.value_offsets();
        let (mut entries, mut asked) = (Vec::new(), Vec::new());
        for row in (0..rows).filter(|row| maps.is_valid(*row)) {
            let range = offsets[row] as u32..offsets[row + 1] as u32;
            asked.resize(asked.len() + range.len(), row as u32);
            entries.extend(range);
        }
        let keys = Column::Array(Arc::clone(maps.keys()));
        let mut matches = Vec::new();
        rows_equal(&[&keys], &entries, &[key], &asked, NullEquality::NullsDiffer, &mut matches);
        if matches.is_empty() {
            return Ok(Column::Constant(new_null_array(maps.values().data_type(), 1)));
        }
        let mut found: Vec<Option<u32>> = vec![None; rows];
        for pair in matches {
            let (entry, row) = (entries[pair as usize], asked[pair as usize]);
            found[row as usize].get_or_insert(entry);
        }
        Ok(Column::Array(take(maps.values(), &UInt32Array::from(found))?))
    }

    fn is_strict(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::builder::{Int32Builder, MapBuilder, StringBuilder};
    use arrow_array::types::Int32Type;
    use arrow_array::{Int32Array, Int64Array, StringArray, StructArray};
    use arrow_buffer::NullBuffer;
    use arrow_schema::{DataType, Field};

    use super::*;

    fn registry() -> FunctionRegistry {
        let mut registry = FunctionRegistry::new();
        register(&mut registry).unwrap();
        registry
    }

    #[test]
    fn a_part_of_a_null_struct_is_null() {
        let fields = vec![Field::new("a", DataType::Int32, true), Field::new("b", DataType::Int32, true)];
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int32Array::from(vec![Some(1), None, Some(3)])), Arc::new(Int32Array::from(vec![4, 5, 6]))];
        let valid = NullBuffer::from(vec![true, true, false]);
        let array: ArrayRef = Arc::new(StructArray::new(fields.into(), columns, Some(valid)));
        let registry = registry();
        let field = registry.get(FIELD).unwrap();
        let at = |at: i64| Column::Constant(Arc::new(Int64Array::from(vec![at])));
        let data_type = LogicalType::from_arrow(array.data_type()).unwrap();
        let constant = at(1);
        let types = [data_type.clone(), LogicalType::Int64];
        assert_eq!(field.return_type_of(&types, &[None, Some(&constant)]).unwrap(), LogicalType::Int32);
        assert!(field.return_type_of(&types, &[None, Some(&at(2))]).is_err());
        assert!(field.return_type_of(&types, &[None, None]).is_err());
        let invoke = |column: Column, rows| field.invoke(&[column, at(1)], rows, &LogicalType::Int32).unwrap();
        let out = invoke(Column::Array(Arc::clone(&array)), 3);
        assert_eq!(out.array().as_primitive::<Int32Type>().iter().collect::<Vec<_>>(), [Some(4), Some(5), None]);
        let out = invoke(Column::Array(array.slice(1, 2)), 2);
        assert_eq!(out.array().as_primitive::<Int32Type>().iter().collect::<Vec<_>>(), [Some(5), None]);
        assert!(invoke(Column::Constant(array.slice(0, 1)), 9).as_constant().is_some());
    }

    #[test]
    fn the_first_entry_with_a_key_counts() {
        let mut builder = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
        for entries in
            [Some(vec![("a", Some(1)), ("b", None), ("a", Some(2))]), None, Some(vec![]), Some(vec![("b", Some(3))])]
        {
            for (key, value) in entries.iter().flatten() {
                builder.keys().append_value(key);
                builder.values().append_option(*value);
            }
            builder.append(entries.is_some()).unwrap();
        }
        let maps: ArrayRef = Arc::new(builder.finish());
        let registry = registry();
        let value = registry.get(MAP_VALUE).unwrap();
        let values = |maps: ArrayRef, key: Column| {
            let rows = maps.len();
            let out = value.invoke(&[Column::Array(maps), key], rows, &LogicalType::Int32).unwrap();
            let out = column_array(&out, rows).unwrap();
            out.as_primitive::<Int32Type>().iter().collect::<Vec<_>>()
        };
        let text = |key: &str| Column::Constant(Arc::new(StringArray::from(vec![key])));
        assert_eq!(values(Arc::clone(&maps), text("a")), [Some(1), None, None, None]);
        assert_eq!(values(Arc::clone(&maps), text("b")), [None, None, None, Some(3)]);
        assert_eq!(values(maps.slice(1, 3), text("b")), [None, None, Some(3)]);
        assert_eq!(values(Arc::clone(&maps), text("z")), [None; 4]);
        let each = Column::Array(Arc::new(StringArray::from(vec![Some("a"), Some("a"), None, Some("b")])));
        assert_eq!(values(maps, each), [Some(1), None, None, Some(3)]);
    }
}
