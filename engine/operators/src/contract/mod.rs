//! What every operator promises, and what it is given.
//!
//! An operator takes a batch and gives at most one element per call; it says what it needs next. Nothing is queued
//! between the operators of a chain: the driver passes each output down before it calls again.
//!
//! The life of an operator:
//!
//! 1. created by its factory from a spec and an [`OperatorContext`];
//! 2. [`restore`](Operator::restore) if the job was restored, then [`open`](Operator::open);
//! 3. any number of [`process`](Operator::process), [`watermark`](Operator::watermark), [`timer`](Operator::timer),
//!    [`snapshot`](Operator::snapshot), [`checkpoint_complete`](Operator::checkpoint_complete) and
//!    [`checkpoint_aborted`](Operator::checkpoint_aborted);
//! 4. [`end_of_input`](Operator::end_of_input) for each input;
//! 5. [`finish`](Operator::finish) when all inputs have ended with drain: flush everything; after it only snapshots and
//!    checkpoint notifications (the final checkpoint) come;
//! 6. drop. A cancelled or failed task goes there from anywhere; dropping releases everything.
//!
//! Whatever call answered [`Step::HasMoreOutput`] or [`Step::Blocked`] is continued by [`Operator::resume`] until it
//! answers [`Step::Done`]; no other call comes in between (also no `snapshot`: a barrier waits for the batch before it),
//! except [`revoke_memory`](Operator::revoke_memory), which spills what the operator has said it could, and drop. So an operator keeps a cursor for its unfinished call and nothing else.

mod context;
mod operator;
mod output;

pub use context::{OperatorContext, TaskInfo};
pub use operator::{BlockedReason, InputSelection, Operator, OperatorFactory, Step};
pub use output::Output;
