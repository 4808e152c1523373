//! The scalar functions of the front-end library, by name.
//!
//! All that it has are offered, but for those of [`LEFT_OUT`]. Aggregates and window functions are the engine's own
//! ([`super::aggregates`], [`super::windows`]).

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use datafusion_expr::ScalarUDF;

use super::nested;
use crate::parse::spellings::DATE_PARTS;

/// All functions by name and alias. Built at the first name that is asked for: a statement without functions does not
/// pay for it.
static FUNCTIONS: LazyLock<HashMap<String, Arc<ScalarUDF>>> = LazyLock::new(|| {
    let mut functions = HashMap::new();
    for function in all().into_iter().map(nested::as_called) {
        for alias in function.aliases() {
            functions.insert(alias.clone(), Arc::clone(&function));
        }
        functions.insert(function.name().to_owned(), function);
    }
    for name in ["len", "length"] {
        functions.insert(name.to_owned(), nested::length());
    }
    for (name, known) in OTHER_NAMES {
        if let Some(function) = functions.get(*known).map(Arc::clone) {
            functions.entry((*name).to_owned()).or_insert(function);
        }
    }
    functions
});

/// Functions of the library that are not offered, and why.
const LEFT_OUT: [(&str, &str); 13] = [
    ("arrow_cast", "names Arrow's types; CAST names SQL's"),
    ("arrow_try_cast", "as arrow_cast; TRY_CAST"),
    ("arrow_typeof", "tells Arrow's type; DESCRIBE tells SQL's"),
    ("arrow_field", "tells Arrow's field"),
    ("arrow_metadata", "the engine keeps no metadata of fields"),
    ("with_metadata", "the engine keeps no metadata of fields"),
    ("cast_to_type", "takes its type from another expression; CAST"),
    ("try_cast_to_type", "as cast_to_type; TRY_CAST"),
    ("union_extract", "there are no values of a union type"),
    ("union_tag", "there are no values of a union type"),
    ("version", "would be the library's"),
    ("input_file_name", "needs a scan that says which file a row is from"),
    ("file_row_index", "needs a scan that says which row of a file it is"),
];

/// Names that people know for functions of the library.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("array_extract", "array_element"),
    ("array_indexof", "array_position"),
    ("list_cat", "array_concat"),
    ("list_has", "array_has"),
    ("list_indexof", "array_position"),
    ("list_intersect", "array_intersect"),
    ("list_max", "array_max"),
    ("list_min", "array_min"),
    ("list_pack", "make_array"),
    ("list_reverse", "array_reverse"),
    ("list_value", "make_array"),
    ("list_zip", "arrays_zip"),
    ("str_split", "string_to_array"),
    ("string_split", "string_to_array"),
    ("struct_extract", "get_field"),
];

/// Every function once.
pub(crate) fn all() -> Vec<Arc<ScalarUDF>> {
    let mut all = datafusion_functions::all_default_functions();
    all.retain(|function| !is_left_out(function.name()));
    all.extend(datafusion_functions_nested::all_default_nested_functions());
    all.push(super::single_value::function());
    all.push(nested::ordinality());
    all.extend(super::named_cast::functions());
    all.extend(super::own_functions::functions().iter().cloned());
    all
}

fn is_left_out(name: &str) -> bool {
    LEFT_OUT.iter().any(|(left_out, _)| *left_out == name)
}

/// The function of this name.
pub(crate) fn function(name: &str) -> Option<Arc<ScalarUDF>> {
    FUNCTIONS.get(name).map(Arc::clone)
}

/// Names and aliases of all functions that a statement may call.
pub(crate) fn names() -> Vec<String> {
    let parts = DATE_PARTS.iter().map(|(name, _)| (*name).to_owned());
    FUNCTIONS.keys().filter(|name| !name.starts_with("__")).cloned().chain(parts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_those_left_out_are_offered() {
        let library = datafusion_functions::all_default_functions();
        for (name, why) in LEFT_OUT {
            assert!(library.iter().any(|f| f.name() == name), "the library has no {name} any more");
            assert!(function(name).is_none() && !why.is_empty());
        }
        for one in library.iter().filter(|f| !is_left_out(f.name())) {
            assert!(function(one.name()).is_some(), "{} is not offered", one.name());
            assert!(one.aliases().iter().all(|alias| function(alias).is_some()), "an alias of {}", one.name());
        }
        let kinds = ["md5", "encode", "sin", "regexp_like", "split_part", "lpad", "to_char", "nvl2"];
        assert!(kinds.iter().all(|name| function(name).is_some()), "a kind of functions is not compiled in");
    }

    #[test]
    fn what_is_inside_is_no_ones_suggestion() {
        assert!(names().iter().all(|name| !name.starts_with("__")));
        assert!(names().iter().any(|name| name == "dayofweek"));
    }
}
