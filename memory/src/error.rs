//! Everything that can go wrong with memory and spill files, in one enum.
//!
//! A refusal is an answer, not an accident: [`MemoryError::ReservationRefused`] is what makes an operator spill or fail
//! its job with a message that says who holds the memory. Sizes are in bytes and shown in binary units.

use std::fmt;
use std::io;

/// Who holds how much, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The path of names, as `job/task/operator`.
    pub name: String,
    /// Bytes held.
    pub bytes: u64,
}

impl Holder {
    /// A holder of `bytes` bytes.
    pub fn new(name: impl Into<String>, bytes: u64) -> Self {
        Self { name: name.into(), bytes }
    }
}

/// Consumers in a message: at most this many are named.
pub(crate) const HOLDERS_SHOWN: usize = 5;

/// The largest holders, largest first, equal ones by name.
pub(crate) fn largest_first(mut holders: Vec<Holder>) -> Vec<Holder> {
    holders.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    holders
}

/// A refused reservation, in full.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// Who asked.
    pub reservation: String,
    /// Bytes asked for, beyond what was held.
    pub requested_bytes: u64,
    /// The budget that had no room: the reservation's own task or job, or the whole managed memory.
    pub budget: String,
    /// That budget's limit.
    pub limit_bytes: u64,
    /// What was in use of it.
    pub used_bytes: u64,
    /// What other holders under that budget have now been asked to give back; if not zero, waiting for it is an
    /// alternative to failing.
    pub revoking_bytes: u64,
    /// All holders under that budget, largest first.
    pub consumers: Vec<Holder>,
}

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The address range of an arena could not be had.
    #[error("cannot reserve {} of memory for segments; try a smaller taskmanager.memory.process.size", Bytes(*bytes))]
    Reserve {
        /// Size asked for.
        bytes: u64,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A run of zero pages, or of more than a slab has.
    #[error("a segment has 1 to 32 pages of 64 KiB, not {pages}; use a list of segments for more")]
    RunTooLong {
        /// Pages asked for.
        pages: usize,
    },
    /// No run of that length is free.
    #[error(
        "no run of {pages} free pages in the memory arena: {pages_used} of {pages_total} pages of 64 KiB are in use, \
         the longest free run has {run_pages_longest}"
    )]
    ArenaExhausted {
        /// Pages asked for.
        pages: usize,
        /// Pages of the arena.
        pages_total: usize,
        /// Pages held by segments.
        pages_used: usize,
        /// The longest run that is free.
        run_pages_longest: usize,
    },
    /// The budgets of an arena would exceed it.
    #[error(
        "cannot set {pages} pages of 64 KiB aside: {promised} of the arena's {total} belong to other budgets; make the \
         arena as large as its budgets together"
    )]
    ArenaOverbooked {
        /// Pages asked for.
        pages: usize,
        /// Pages set aside before.
        promised: usize,
        /// Pages of the arena.
        total: usize,
    },
    /// A buffer pool's minimum cannot be guaranteed.
    #[error(
        "insufficient number of network buffers: {pool} needs at least {required}, but only {available} of {total} are \
         not promised to others; increase taskmanager.memory.network.fraction, .min or .max, or lower the parallelism"
    )]
    InsufficientNetworkBuffers {
        /// The pool that was asked for.
        pool: String,
        /// Its minimum.
        required: usize,
        /// What is not promised.
        available: usize,
        /// All buffers.
        total: usize,
    },
    /// A budget has no room.
    #[error("{}", RefusalText(.0))]
    ReservationRefused(Box<Refusal>),
    /// Something is still held at a leak check.
    #[error("{owner} is not empty, {}", HoldersText(.held))]
    Leak {
        /// What was checked.
        owner: String,
        /// Who holds what, largest first.
        held: Vec<Holder>,
    },
    /// The configured sizes contradict each other or leave nothing to work with.
    #[error("invalid memory configuration: {0}")]
    Layout(String),
    /// A spill file could not be created, written or read.
    #[error("cannot {action} spill file {file} at byte {offset}")]
    SpillIo {
        /// `create`, `write` or `read`.
        action: &'static str,
        /// Its name.
        file: String,
        /// Where in the file.
        offset: u64,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The disk, or the limit set for spilling, is full.
    #[error(
        "no space left to spill: {file} holds {} in use of at most {}; free disk space, or set io.tmp.dirs to a larger \
         disk",
        Bytes(*used_bytes), Limit(*limit_bytes)
    )]
    SpillFull {
        /// The spill file.
        file: String,
        /// Bytes of extents in use.
        used_bytes: u64,
        /// The configured limit; `None` if the disk itself was full.
        limit_bytes: Option<u64>,
        /// What the system said, if the disk was full.
        #[source]
        source: Option<io::Error>,
    },
    /// A frame is not what was written.
    #[error("spill file {file} is damaged at byte {offset}: {problem}")]
    SpillCorrupt {
        /// The spill file.
        file: String,
        /// Where the frame starts.
        offset: u64,
        /// What is wrong with it.
        problem: FrameProblem,
    },
    /// A payload that no frame may have.
    #[error("a spill frame holds at most {}, not {}; write it in pieces", Bytes(*limit_bytes), Bytes(*bytes))]
    FrameTooLarge {
        /// Its size.
        bytes: u64,
        /// The most that a frame holds.
        limit_bytes: u64,
    },
    /// A write failed before, so what the writer holds is incomplete.
    #[error("spill file {file} refuses work after a failed write")]
    SpillFailedBefore {
        /// The spill file.
        file: String,
    },
}

impl MemoryError {
    pub(crate) fn leak(owner: impl Into<String>, held: Vec<Holder>) -> Self {
        Self::Leak { owner: owner.into(), held: largest_first(held) }
    }

    /// Whether memory (or disk for spilling) ran out, as opposed to damage or a wrong configuration.
    pub fn is_exhaustion(&self) -> bool {
        matches!(
            self,
            Self::ArenaExhausted { .. }
                | Self::InsufficientNetworkBuffers { .. }
                | Self::ReservationRefused(_)
                | Self::SpillFull { .. }
        )
    }
}

/// What is wrong with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameProblem {
    /// Fewer bytes than the header or its lengths ask for.
    #[error("the frame is cut short, {available} of {needed} bytes are there")]
    Truncated {
        /// Bytes that the frame needs.
        needed: u64,
        /// Bytes that are there.
        available: u64,
    },
    /// The header's own checksum, magic or version is wrong.
    #[error("the frame header is not valid")]
    Header,
    /// The lengths of the header exceed the limits or contradict the reader's.
    #[error("the frame's lengths are not plausible")]
    Lengths,
    /// The payload's checksum is wrong.
    #[error("the checksum is {found:08x}, not {expected:08x}")]
    Checksum {
        /// As the header says.
        expected: u32,
        /// Of the bytes.
        found: u32,
    },
    /// The compressed bytes do not decompress to the stated length.
    #[error("the payload does not decompress")]
    Decompress,
}

/// Bytes in binary units, exact where they are whole.
pub(crate) struct Bytes(pub(crate) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        let unit = (self.0.checked_ilog2().unwrap_or(0) / 10).min(UNITS.len() as u32 - 1);
        let size = 1_u64 << (10 * unit);
        if self.0.is_multiple_of(size) {
            write!(f, "{} {}", self.0 / size, UNITS[unit as usize])
        } else {
            write!(f, "{:.1} {}", self.0 as f64 / size as f64, UNITS[unit as usize])
        }
    }
}

struct Limit(Option<u64>);

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(bytes) => Bytes(bytes).fmt(f),
            None => f.write_str("what the disk has"),
        }
    }
}

struct HoldersText<'a>(&'a [Holder]);

impl fmt::Display for HoldersText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("held by")?;
        for (at, holder) in self.0.iter().take(HOLDERS_SHOWN).enumerate() {
            let separator = if at == 0 { "" } else { "," };
            write!(f, "{separator} {} {}", holder.name, Bytes(holder.bytes))?;
        }
        match self.0.get(HOLDERS_SHOWN..) {
            Some(rest) if !rest.is_empty() => {
                write!(f, " and {} more {}", rest.len(), Bytes(rest.iter().map(|holder| holder.bytes).sum()))
            }
            _ => Ok(()),
        }
    }
}

struct RefusalText<'a>(&'a Refusal);

impl fmt::Display for RefusalText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refusal { reservation, requested_bytes, budget, limit_bytes, used_bytes, consumers, .. } = self.0;
        write!(
            f,
            "{reservation} cannot have {} more memory: {} of {} of {budget} are in use, {}; increase \
             taskmanager.memory.process.size or lower the parallelism",
            Bytes(*requested_bytes),
            Bytes(*used_bytes),
            Bytes(*limit_bytes),
            HoldersText(consumers)
        )
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_in_binary_units() {
        let check = |bytes, expected: &str| assert_eq!(Bytes(bytes).to_string(), expected);
        check(0, "0 B");
        check(1023, "1023 B");
        check(65536, "64 KiB");
        check(1_572_864, "1.5 MiB");
        check(3 << 30, "3 GiB");
        check(5000 << 40, "5000 TiB");
    }

    #[test]
    fn a_refusal_names_the_largest_and_counts_the_rest() {
        let consumers = (1..=7).map(|n| Holder::new(format!("op-{n}"), n << 20)).collect();
        let error = MemoryError::ReservationRefused(Box::new(Refusal {
            reservation: "job/join".into(),
            requested_bytes: 1 << 20,
            budget: "managed memory".into(),
            limit_bytes: 32 << 20,
            used_bytes: 28 << 20,
            revoking_bytes: 0,
            consumers: largest_first(consumers),
        }));
        assert_eq!(
            error.to_string(),
            "job/join cannot have 1 MiB more memory: 28 MiB of 32 MiB of managed memory are in use, held by op-7 7 MiB, \
             op-6 6 MiB, op-5 5 MiB, op-4 4 MiB, op-3 3 MiB and 2 more 3 MiB; increase taskmanager.memory.process.size \
             or lower the parallelism"
        );
        assert!(error.is_exhaustion());
    }
}
