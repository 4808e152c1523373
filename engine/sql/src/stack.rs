//! A stack of known size for the recursive parts of planning.
//!
//! The parser, the binder and the optimizer recurse as deep as a statement is nested, with frames of several KiB.
//! Nesting is limited (`parse::limits`), so a stack of [`STACK_BYTES`] is enough on any thread of any caller; its pages
//! are touched only as far as they are used.

use std::sync::{Mutex, PoisonError};

/// Bytes of the stack: 256 levels of nesting at up to a dozen frames of a few KiB for each; and the
/// rules of the library rebuild long conjunctions as deep as they are long.
const STACK_BYTES: usize = 512 << 20;

/// Runs `work` on a thread with a large stack and waits for it; on this thread if none can be started.
pub(crate) fn with_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let work = Mutex::new(Some(work));
    let run = || {
        let work = work.lock().unwrap_or_else(PoisonError::into_inner).take();
        work.map(|work| work())
    };
    let value = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("sql-planner".to_owned()).stack_size(STACK_BYTES);
        match thread.spawn_scoped(scope, run) {
            Ok(handle) => handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(_) => run(),
        }
    });
    value.expect("the work is taken by the one thread that runs it")
}
