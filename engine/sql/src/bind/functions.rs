//! The scalar functions of the front-end library, by name.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use datafusion_expr::ScalarUDF;

/// All functions by name and alias. Built at the first name that is asked for: a statement without functions does not
/// pay for it.
static FUNCTIONS: LazyLock<HashMap<String, Arc<ScalarUDF>>> = LazyLock::new(|| {
    let mut functions = HashMap::new();
    for function in all() {
        for alias in function.aliases() {
            functions.insert(alias.clone(), Arc::clone(&function));
        }
        functions.insert(function.name().to_owned(), function);
    }
    functions
});

/// Every function once.
pub(crate) fn all() -> Vec<Arc<ScalarUDF>> {
    let mut all = datafusion_functions::all_default_functions();
    all.push(super::single_value::function());
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
