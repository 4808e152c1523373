//! From kinds to factories.

use std::collections::BTreeMap;
use std::sync::Arc;

use flumen_core::failure::Failure;
use flumen_core::spec::OperatorSpec;
use flumen_memory::ConsumerKind;

use crate::contract::{Operator, OperatorContext, OperatorFactory};

/// The factories that a process knows.
#[derive(Clone, Default)]
pub struct OperatorRegistry {
    factories: BTreeMap<&'static str, Arc<dyn OperatorFactory>>,
}

impl OperatorRegistry {
    /// Adds a factory, in place of one with its kind.
    pub fn register(&mut self, factory: Arc<dyn OperatorFactory>) {
        self.factories.insert(factory.kind(), factory);
    }

    /// The factories, by kind.
    pub fn factories(&self) -> impl Iterator<Item = &Arc<dyn OperatorFactory>> {
        self.factories.values()
    }

    /// What an operator of this spec takes managed memory as.
    #[must_use]
    pub fn memory_consumer(&self, spec: &OperatorSpec) -> Option<ConsumerKind> {
        self.factories.get(spec.kind.as_str())?.memory_consumer(spec)
    }

    /// Builds an operator.
    ///
    /// # Errors
    /// If no factory has the kind, or it refuses the spec.
    pub fn create(&self, spec: &OperatorSpec, context: &OperatorContext) -> Result<Box<dyn Operator>, Failure> {
        match self.factories.get(spec.kind.as_str()) {
            Some(factory) => factory.create(spec, context),
            None => Err(Failure::user(format!(
                "no operator of kind {:?} is registered here; known are {}",
                spec.kind,
                self.factories.keys().copied().collect::<Vec<_>>().join(", ")
            ))),
        }
    }
}

/// Adds the operators of this crate. Sources and sinks are the connectors' to add.
pub fn register_builtin(registry: &mut OperatorRegistry) {
    crate::filter::register(registry);
    crate::project::register(registry);
    crate::expand::register(registry);
    crate::limit::register(registry);
    crate::hash_aggregate::register(registry);
    crate::hash_join::register(registry);
    crate::asof_join::register(registry);
    crate::sort::register(registry);
    crate::tumbling_aggregate::register(registry);
    crate::unnest::register(registry);
    crate::watermark::register(registry);
    crate::window_functions::register(registry);
}
