//! The functions that expressions may name beyond the built-in ones.
//!
//! `engine/sql` registers DataFusion's functions as `datafusion:<name>`, a program its own as `user:<name>`. The
//! registry is filled once at start-up and then shared read-only; compiled expressions keep the functions they use.

use std::collections::BTreeMap;
use std::sync::Arc;

use flumen_core::batch::Column;
use flumen_core::types::LogicalType;

use super::error::ExprError;
use super::functions;

/// The error of a registered function.
pub type FunctionError = Box<dyn std::error::Error + Send + Sync>;

/// How many names an error mentions, and how far (Jaro-Winkler) they may be from what was written.
const NEAREST_MAX: usize = 3;
const NEAREST_SIMILARITY: f64 = 0.75;

/// A function of columns, row by row.
///
/// Called from many tasks at once; a call must not block.
pub trait ScalarFunction: Send + Sync {
    /// The name under which expressions find it, with its prefix (`user:score`).
    fn name(&self) -> &str;

    /// The type of the result for arguments of these types.
    ///
    /// # Errors
    /// If it does not take them.
    fn return_type(&self, args: &[LogicalType]) -> Result<LogicalType, FunctionError>;

    /// As [`Self::return_type`], where the values of some arguments are known: a constant is an array of one row. For
    /// functions whose type depends on a value, as that of `named_struct('a', 1)`.
    ///
    /// # Errors
    /// As [`Self::return_type`].
    fn return_type_of(
        &self,
        args: &[LogicalType],
        constants: &[Option<&Column>],
    ) -> Result<LogicalType, FunctionError> {
        let _ = constants;
        self.return_type(args)
    }

    /// The results for `rows` rows. Every argument is an array of `rows` values or a constant; flat arrays arrive in
    /// any carrier of their logical type, dictionaries are flattened. There is no selection: all rows count.
    ///
    /// The result is an array of `rows` values or a constant, in any carrier of `return_type`.
    ///
    /// # Errors
    /// Its own; the expression fails with it.
    fn invoke(&self, args: &[Column], rows: usize, return_type: &LogicalType) -> Result<Column, FunctionError>;

    /// Whether equal arguments always give equal results. Only such calls are shared, folded over constants, and
    /// evaluated once for each distinct value of a dictionary.
    fn is_deterministic(&self) -> bool {
        true
    }

    /// Whether a NULL argument always gives NULL.
    fn is_strict(&self) -> bool {
        false
    }
}

/// The functions that expressions may name. The built-in ones are always there.
#[derive(Clone, Default)]
pub struct FunctionRegistry {
    functions: BTreeMap<String, Arc<dyn ScalarFunction>>,
}

impl FunctionRegistry {
    /// A registry with the built-in functions only.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a function under its own name.
    ///
    /// # Errors
    /// [`ExprError::DuplicateFunction`] if a built-in or registered function has this name.
    pub fn register(&mut self, function: Arc<dyn ScalarFunction>) -> Result<(), ExprError> {
        let name = function.name().to_owned();
        if functions::NAMES.contains(&name.as_str()) || self.functions.contains_key(&name) {
            return Err(ExprError::DuplicateFunction { name });
        }
        self.functions.insert(name, function);
        Ok(())
    }

    /// The registered function of this name. Built-in ones have no object behind them and are not found here.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<dyn ScalarFunction>> {
        self.functions.get(name)
    }

    /// Whether an expression may name it, built in or registered.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        functions::NAMES.contains(&name) || self.functions.contains_key(name)
    }

    /// Every name, built-in ones first, then the registered ones in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        functions::NAMES.iter().copied().chain(self.functions.keys().map(String::as_str))
    }

    /// The error for a name that is not there.
    #[must_use]
    pub fn unknown(&self, name: &str) -> ExprError {
        let wanted = name.to_ascii_lowercase();
        // A name is also compared without its prefix: `uper` finds `datafusion:upper`.
        let bare = |n: &str| n.rsplit(':').next().unwrap_or(n).to_ascii_lowercase();
        let wanted_bare = bare(&wanted);
        let mut near: Vec<(f64, &str)> = self
            .names()
            .map(|n| (strsim::jaro_winkler(&wanted, n).max(strsim::jaro_winkler(&wanted_bare, &bare(n))), n))
            .filter(|(similarity, _)| *similarity >= NEAREST_SIMILARITY)
            .collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        let nearest = near.into_iter().take(NEAREST_MAX).map(|(_, n)| n.to_owned()).collect();
        ExprError::UnknownFunction { name: name.to_owned(), nearest }
    }
}

impl std::fmt::Debug for FunctionRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.functions.keys()).finish()
    }
}
