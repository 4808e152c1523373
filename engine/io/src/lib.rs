//! The outside world as traits: time, randomness and files, each real and simulated.
//!
//! Nothing above this crate reads a clock, draws entropy or opens a file by itself: it is handed a [`Clock`], a
//! [`RandomSource`] and a [`FileSystem`] through its constructor. A process passes the real ones; a test passes
//! [`SimulatedClock`], [`Rng::from_seed`] and [`SimulatedFileSystem`] and so runs a whole cluster in one thread, the
//! same way every time.
//!
//! Everything here is synchronous. Clocks are read on any thread; files are used on I/O threads only, since every
//! call may block. There is no async runtime and no Arrow in this crate.
//!
//! | module | holds |
//! |---|---|
//! | [`clock`] | monotonic and wall time |
//! | [`random`] | seedable, splittable generators |
//! | [`error`] | the crate's error, which names operation and path |
//! | [`nearest`] | sibling names close to a path that does not exist |
//! | [`file_system`] | the traits and the helpers built on them alone |
//! | [`local`] | the machine's file system |
//! | [`simulated`] | a file system in memory with seeded faults and crashes |

pub mod clock;
pub mod error;
pub mod file_system;
pub mod local;
pub mod nearest;
pub mod random;
pub mod simulated;

pub use clock::{Clock, MonotonicTime, SimulatedClock, SystemClock};
pub use error::{IoError, Operation, Result};
pub use file_system::{
    DirectoryEntry, FileKind, FileMetadata, FileSystem, PositionedFile, ReadFile, WriteFile, read_file, replace_file,
};
pub use local::LocalFileSystem;
pub use nearest::NearestSiblings;
pub use random::{RandomSource, Rng};
pub use simulated::{Fault, FaultPlan, FaultRecord, SimulatedFileSystem};
