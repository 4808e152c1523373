//! Operators as data.
//!
//! An [`OperatorSpec`] is open: a kind, a version and a payload that only the kind's factory understands, beside what
//! planning, scheduling and restoring need to know of every operator (schemas, state, memory). The payloads of the
//! built-in operators are in [`relational`], [`window`], [`streaming`] and [`connector`]; a program or a library adds its
//! own kinds by registering a factory under another name, and nothing here changes.

pub mod connector;
pub mod relational;
pub mod streaming;
pub mod window;

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::types::Schema;

/// An operator as data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperatorSpec {
    /// Which factory builds it.
    pub kind: String,
    /// Version of the payload.
    pub version: u32,
    /// What the factory needs.
    pub payload: serde_json::Value,
    /// Schema of each input, in order; empty for sources.
    pub inputs: Vec<Arc<Schema>>,
    /// Schema of the output; `None` for sinks.
    pub output: Option<Arc<Schema>>,
    /// The state it keeps.
    pub state: Vec<StateDescriptor>,
    /// Its share of managed memory, relative to the other operators of its slot, in bytes (as Flink's declared weight);
    /// 0 if it needs none.
    pub memory_weight_bytes: u64,
}

/// A payload that can be put into an [`OperatorSpec`].
pub trait OperatorPayload: Serialize + DeserializeOwned {
    /// The kind whose payload this is.
    const KIND: &'static str;
    /// The version this build writes, and the newest it reads.
    const VERSION: u32 = 1;
}

impl OperatorSpec {
    /// A spec without state and memory, which the caller may add.
    ///
    /// # Panics
    /// If the payload cannot be written as JSON, which the payload types rule out.
    pub fn new<P: OperatorPayload>(payload: &P, inputs: Vec<Arc<Schema>>, output: Option<Arc<Schema>>) -> Self {
        Self {
            kind: P::KIND.to_owned(),
            version: P::VERSION,
            payload: serde_json::to_value(payload).expect("payloads are plain data with text keys"),
            inputs,
            output,
            state: Vec::new(),
            memory_weight_bytes: 0,
        }
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// If the kind is another, the version newer than this build's, or the payload malformed.
    pub fn payload<P: OperatorPayload>(&self) -> Result<P, Failure> {
        if self.kind != P::KIND {
            return Err(Failure::bug(format!("operator of kind {:?} was read as {:?}", self.kind, P::KIND)));
        }
        if self.version > P::VERSION {
            return Err(Failure::user(format!(
                "operator {:?} was written in version {}, this build reads up to {}; use a newer build",
                self.kind,
                self.version,
                P::VERSION
            )));
        }
        P::deserialize(&self.payload).map_err(|e| Failure::user(format!("payload of operator {:?}: {e}", self.kind)))
    }
}

/// One piece of state that an operator keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StateDescriptor {
    /// Its name, unique in the operator.
    pub name: String,
    /// How it is kept and moved on rescale.
    pub kind: StateKind,
    /// Columns of its rows in snapshots; keyed state starts with the key columns.
    pub schema: Arc<Schema>,
}

/// How state is kept and moved on rescale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StateKind {
    /// By key group.
    Keyed {
        /// The first so many columns are the key.
        key_columns: usize,
    },
    /// Entries are dealt out evenly.
    OperatorList,
    /// Every subtask gets all entries.
    OperatorUnion,
    /// The same in every subtask.
    Broadcast,
}
