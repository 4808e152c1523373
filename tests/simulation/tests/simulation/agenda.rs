//! Which failures come when: drawn from the seed before the run begins.

use std::time::Duration;

use flumen_io::{Fault, Operation, RandomSource, Rng};

/// Something that goes wrong, or is mended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Trouble {
    /// A task dies.
    KillTask,
    /// An operator answers an error after so many calls of operators.
    OperatorFails { calls: u64 },
    /// An operator panics after so many calls of operators.
    OperatorPanics { calls: u64 },
    /// Operations on files fail at this rate, until [`Trouble::StorageHeals`].
    StorageFails { rate: f64 },
    /// There is room for only so many bytes more, until [`Trouble::StorageHeals`].
    StorageFills { bytes: u64 },
    /// One operation on a file fails.
    OneOperationFails { operation: Operation, skip: u64, fault: Fault },
    /// The disk is as good as new.
    StorageHeals,
    /// All connections between tasks break.
    ConnectionsBreak,
    /// The process and the machine stop; with `torn`, unsynced writes are lost, kept or torn, without it they are lost.
    MachineStops { torn: bool },
    /// Someone cancels the job.
    Cancel,
}

/// Failures, the next one last.
#[derive(Debug)]
pub(crate) struct Agenda {
    entries: Vec<(Duration, Trouble)>,
}

/// When the last failure comes; a run without failures lasts about half of it.
const SPAN: Duration = Duration::from_secs(4);

impl Agenda {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let mut entries = Vec::new();
        // One seed in eight goes without.
        let count = if rng.chance(0.125) { 0 } else { 1 + rng.below(8) };
        for _ in 0..count {
            let at = Duration::from_micros(rng.below(SPAN.as_micros() as u64));
            let trouble = Self::trouble(rng);
            entries.push((at, trouble));
            if matches!(trouble, Trouble::StorageFails { .. } | Trouble::StorageFills { .. }) {
                let lasts = Duration::from_micros(1 + rng.below(500_000));
                entries.push((at + lasts, Trouble::StorageHeals));
            }
        }
        entries.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        Self { entries }
    }

    /// A task dies again and again.
    pub(crate) fn of_kills(rng: &mut Rng) -> Self {
        let at = |_| Duration::from_micros(rng.below(SPAN.as_micros() as u64));
        let mut entries: Vec<_> = (0..8).map(at).map(|at| (at, Trouble::KillTask)).collect();
        entries.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        Self { entries }
    }

    fn trouble(rng: &mut Rng) -> Trouble {
        match rng.below(20) {
            0..=3 => Trouble::KillTask,
            4..=6 => Trouble::OperatorFails { calls: rng.below(300) },
            7 => Trouble::OperatorPanics { calls: rng.below(300) },
            8..=10 => Trouble::StorageFails { rate: [0.01, 0.05, 0.3][rng.below(3) as usize] },
            11 => Trouble::StorageFills { bytes: rng.below(20_000) },
            12..=15 => {
                let (operation, fault) = [
                    (Operation::Rename, Fault::Failed),
                    (Operation::Rename, Fault::AppliedButFailed),
                    (Operation::Write, Fault::Torn),
                    (Operation::Write, Fault::AppliedButFailed),
                    (Operation::Write, Fault::StorageFull),
                    (Operation::Sync, Fault::Failed),
                    (Operation::SyncDirectory, Fault::Failed),
                    (Operation::Create, Fault::AppliedButFailed),
                    (Operation::Read, Fault::Failed),
                    (Operation::Read, Fault::Short),
                    (Operation::Remove, Fault::Failed),
                    (Operation::CreateDirectory, Fault::Failed),
                ][rng.below(12) as usize];
                Trouble::OneOperationFails { operation, skip: rng.below(6), fault }
            }
            16 => Trouble::ConnectionsBreak,
            17 | 18 => Trouble::MachineStops { torn: rng.chance(0.5) },
            _ => Trouble::Cancel,
        }
    }

    /// The next failure whose time has come.
    pub(crate) fn next(&mut self, now: Duration) -> Option<Trouble> {
        let due = self.entries.last().is_some_and(|(at, _)| *at <= now);
        if due { self.entries.pop().map(|(_, trouble)| trouble) } else { None }
    }
}
