//! Whole jobs in one deterministic thread: SQL text in, files or rows out, and in between everything that can go wrong,
//! drawn from a seed.
//!
//! A [`machine::Machine`] has a simulated clock and disk that outlive the processes on it; an
//! [`machine::Incarnation`] is one process on a deterministic executor, assembled by the same code as a real one. The
//! order of all steps, the time they take, how late messages and writes are, and which failures come when follow from
//! the seed, so a run is repeated by its seed alone:
//!
//! ```sh
//! FLUMEN_SIM_SEED=17 cargo test --workspace --locked --test simulation
//! ```
//!
//! With `FLUMEN_SIM_LOG=1` and `-- --nocapture` the run tells what passes through its JobMasters.
//!
//! | module | holds |
//! |---|---|
//! | [`machine`] | the world below a process, and processes on it |
//! | [`trace`] | the hash over what happened |
//! | [`operator_faults`] | operators that fail or panic when they are told to |
//! | [`agenda`] | which failures come when |
//! | [`windowed_sum`] | the job, its closed form, and the check of what it wrote |
//! | [`streaming`] | the job under failures, until its end |
//! | [`seeds`] | 200 seeds of it, and that a seed means one run |
//! | [`queries`] | TPC-H over the hostile transport |

mod agenda;
mod machine;
mod operator_faults;
mod queries;
mod seeds;
mod streaming;
mod trace;
mod windowed_sum;
