//! Which operation fails and how: rates drawn from the seed, faults asked for by a test, and the log of all of them.
//!
//! Each operation draws once, whatever the rates, so that a seed's later draws do not move when a rate changes. A
//! fault is never silent: the caller gets an error (or less than it asked for, where the contract allows that), and
//! the log gets a record that a test can print.

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::MonotonicTime;
use crate::error::Operation;
use crate::random::{RandomSource, Rng};

/// The log keeps this many records; older ones are dropped and counted.
const RECORDS_MAX: usize = 65_536;

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing happens and an error is reported. A failed sync also gives up the bytes it should have written.
    Failed,
    /// A read returns fewer bytes than there are; no error.
    Short,
    /// A write stops somewhere before its end and reports an error. Other operations fail.
    Torn,
    /// It happens in full and an error is reported.
    AppliedButFailed,
    /// The disk has no room: what fits is written and an error is reported.
    StorageFull,
    /// A listing leaves out names that are newer than the plan's delay; no error.
    Stale,
    /// The machine stopped: what was not synced is lost and open handles refuse work.
    Crash,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed => "failed",
            Self::Short => "returned less than was there",
            Self::Torn => "stopped midway",
            Self::AppliedButFailed => "worked but reported failure",
            Self::StorageFull => "found the disk full",
            Self::Stale => "left out what is new",
            Self::Crash => "was cut off by a crash",
        })
    }
}

/// How often operations fail. Rates are probabilities per operation; the default is a disk without faults.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultPlan {
    /// Only paths below this one suffer from the rates; `None` means all.
    pub below: Option<PathBuf>,
    /// [`Fault::Failed`] for opening, looking at and listing a path.
    pub open_failed: f64,
    /// [`Fault::Failed`] for reads.
    pub read_failed: f64,
    /// [`Fault::Short`] for reads.
    pub read_short: f64,
    /// [`Fault::Failed`] for writes and resizes.
    pub write_failed: f64,
    /// [`Fault::Torn`] for writes.
    pub write_torn: f64,
    /// [`Fault::AppliedButFailed`] for writes and resizes.
    pub write_applied_but_failed: f64,
    /// [`Fault::Failed`] for syncs of files and directories.
    pub sync_failed: f64,
    /// [`Fault::Failed`] for creating, renaming and removing.
    pub name_failed: f64,
    /// [`Fault::AppliedButFailed`] for creating, renaming and removing.
    pub name_applied_but_failed: f64,
    /// [`Fault::Stale`] for listings.
    pub listing_stale: f64,
    /// How long a stale listing lags behind.
    pub listing_delay: Duration,
    /// Room for the bytes of all files; `u64::MAX` means no limit. Applies to all paths.
    pub capacity_bytes: u64,
}

impl Default for FaultPlan {
    fn default() -> Self {
        Self {
            below: None,
            open_failed: 0.0,
            read_failed: 0.0,
            read_short: 0.0,
            write_failed: 0.0,
            write_torn: 0.0,
            write_applied_but_failed: 0.0,
            sync_failed: 0.0,
            name_failed: 0.0,
            name_applied_but_failed: 0.0,
            listing_stale: 0.0,
            listing_delay: Duration::from_secs(5),
            capacity_bytes: u64::MAX,
        }
    }
}

impl FaultPlan {
    /// Every kind of fault at the same rate; short reads, which callers must expect anyway, at ten times that.
    pub fn every(rate: f64) -> Self {
        Self {
            open_failed: rate,
            read_failed: rate,
            read_short: (rate * 10.0).min(0.5),
            write_failed: rate,
            write_torn: rate,
            write_applied_but_failed: rate,
            sync_failed: rate,
            name_failed: rate,
            name_applied_but_failed: rate,
            listing_stale: rate,
            ..Self::default()
        }
    }

    /// The faults an operation may suffer, each with its rate.
    fn rates(&self, operation: Operation) -> [(Fault, f64); 3] {
        let none = (Fault::Failed, 0.0);
        match operation {
            Operation::Open | Operation::Stat => [(Fault::Failed, self.open_failed), none, none],
            Operation::List => [(Fault::Failed, self.open_failed), (Fault::Stale, self.listing_stale), none],
            Operation::Read => [(Fault::Failed, self.read_failed), (Fault::Short, self.read_short), none],
            Operation::Write => [
                (Fault::Failed, self.write_failed),
                (Fault::Torn, self.write_torn),
                (Fault::AppliedButFailed, self.write_applied_but_failed),
            ],
            Operation::Resize => {
                [(Fault::Failed, self.write_failed), (Fault::AppliedButFailed, self.write_applied_but_failed), none]
            }
            Operation::Sync | Operation::SyncDirectory => [(Fault::Failed, self.sync_failed), none, none],
            Operation::Create | Operation::Rename | Operation::Remove | Operation::CreateDirectory => {
                [(Fault::Failed, self.name_failed), (Fault::AppliedButFailed, self.name_applied_but_failed), none]
            }
        }
    }
}

/// One fault that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultRecord {
    /// The number of the operation since the file system was made.
    pub sequence: u64,
    /// When, by the file system's clock.
    pub at: MonotonicTime,
    /// What was being done.
    pub operation: Operation,
    /// The path it was done to.
    pub path: PathBuf,
    /// How it failed.
    pub fault: Fault,
}

impl fmt::Display for FaultRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sequence, at, operation, path, fault } = self;
        write!(f, "{at} operation {sequence}: {operation} {} {fault}", path.display())
    }
}

/// A fault that a test asked for.
#[derive(Debug)]
struct Ordered {
    operation: Operation,
    /// How many operations of this kind still pass unharmed.
    skip: u64,
    fault: Fault,
}

#[derive(Debug)]
pub(super) struct Faults {
    pub(super) plan: FaultPlan,
    pub(super) rng: Rng,
    ordered: Vec<Ordered>,
    records: VecDeque<FaultRecord>,
    records_dropped: u64,
    sequence: u64,
}

impl Faults {
    pub(super) fn new(rng: Rng) -> Self {
        Self {
            plan: FaultPlan::default(),
            rng,
            ordered: Vec::new(),
            records: VecDeque::new(),
            records_dropped: 0,
            sequence: 0,
        }
    }

    pub(super) fn order(&mut self, operation: Operation, skip: u64, fault: Fault) {
        self.ordered.push(Ordered { operation, skip, fault });
    }

    /// Counts the operation and decides how it fails, if it does. What is decided here is yet to be recorded: a fault
    /// that turns out to change nothing is none.
    pub(super) fn decide(&mut self, operation: Operation, path: &Path) -> Option<Fault> {
        self.sequence += 1;
        let mut draw = self.rng.unit_f64();
        let mut ordered = None;
        self.ordered.retain_mut(|order| {
            if order.operation != operation {
                return true;
            }
            // Two orders for the same operation: the first one wins and the other waits for the next.
            if order.skip == 0 && ordered.is_none() {
                ordered = Some(order.fault);
                return false;
            }
            order.skip = order.skip.saturating_sub(1);
            true
        });
        if ordered.is_some() {
            return ordered;
        }
        if self.plan.below.as_ref().is_some_and(|below| !path.starts_with(below)) {
            return None;
        }
        self.plan.rates(operation).into_iter().find_map(|(fault, rate)| {
            let hit = draw < rate;
            draw -= rate;
            hit.then_some(fault)
        })
    }

    pub(super) fn record(&mut self, at: MonotonicTime, operation: Operation, path: &Path, fault: Fault) -> u64 {
        if self.records.len() == RECORDS_MAX {
            self.records.pop_front();
            self.records_dropped += 1;
        }
        self.records.push_back(FaultRecord { sequence: self.sequence, at, operation, path: path.to_path_buf(), fault });
        self.sequence
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &FaultRecord> {
        self.records.iter()
    }

    pub(super) fn count(&self) -> u64 {
        self.records_dropped + self.records.len() as u64
    }

    pub(super) fn operations(&self) -> u64 {
        self.sequence
    }
}
