//! The scalar functions of the front-end library, by name.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use datafusion_expr::ScalarUDF;

use super::nested;

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
    all.extend(datafusion_functions_nested::all_default_nested_functions());
    all.push(super::single_value::function());
    all.push(nested::ordinality());
    all
}

/// The function of this name.
pub(crate) fn function(name: &str) -> Option<Arc<ScalarUDF>> {
    FUNCTIONS.get(name).map(Arc::clone)
}

/// Names and aliases of all functions that a statement may call.
pub(crate) fn names() -> Vec<String> {
    FUNCTIONS.keys().filter(|name| !name.starts_with("__")).cloned().collect()
}
