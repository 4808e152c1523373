//! Which subpartition the next batch, or each of its rows, goes to (Flink 3.4).
//!
//! The batch-wise partitioners decide before they see the batch, so that the writer can ask for room where it will be
//! needed; the row-wise ones may hit every subpartition. Key groups, hash and tables use one hash, computed once: the
//! batch carries it on to its consumer.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_row::{OwnedRow, RowConverter, SortField};
use arrow_schema::SortOptions;
use flumen_core::batch::{Batch, Column};
use flumen_core::graph::Partitioner;
use flumen_core::key_group::MAX_PARALLELISM_UPPER_BOUND;
use flumen_io::{RandomSource, Rng};
use flumen_kernels::hash::with_key_hashes;
use flumen_kernels::scatter::{KeyGroupTargets, PartitionedRows};

use super::config::PartitionDescriptor;
use super::custom::{CustomPartitioner, PartitionerRegistry};
use crate::budget::Targets;
use crate::error::{NetworkError, Result};

/// Where a batch goes.
pub(super) enum Selection {
    /// As a whole to one subpartition.
    One(u32),
    /// As a whole to every subpartition.
    Every,
    /// Row by row, by [`TargetSelector::rows`]; the batch may carry more than before (its hashes).
    Rows(Batch),
}

enum Kind {
    Forward,
    /// Rebalance and rescale: a rescale's subpartitions are already the producer's own group.
    RoundRobin,
    Shuffle,
    Broadcast,
    Global,
    Hash {
        columns: Arc<[usize]>,
        groups: KeyGroupTargets,
    },
    Range {
        column: usize,
        bounds: Option<RangeBounds>,
    },
    Custom {
        name: Arc<str>,
        columns: Vec<usize>,
        partitioner: Arc<dyn CustomPartitioner>,
    },
}

/// See the module.
pub(crate) struct TargetSelector {
    kind: Kind,
    subpartitions: u32,
    /// The next target of a batch-wise partitioner.
    next: u32,
    rng: Rng,
    /// The last batch's rows by target.
    rows: PartitionedRows,
    /// Scratch: targets of selected rows, and of physical ones.
    targets: Vec<u32>,
    by_row: Vec<u16>,
}

impl TargetSelector {
    pub(super) fn new(descriptor: &PartitionDescriptor, registry: &PartitionerRegistry, mut rng: Rng) -> Result<Self> {
        let subpartitions = descriptor.subpartitions;
        let partitioner = &descriptor.partitioner;
        let refuse = |problem: String| NetworkError::Partitioner {
            partitioner: partitioner.name().into(),
            problem: problem.into(),
        };
        if subpartitions > MAX_PARALLELISM_UPPER_BOUND {
            return Err(refuse(format!("at most {MAX_PARALLELISM_UPPER_BOUND} subpartitions, not {subpartitions}")));
        }
        if subpartitions == 0 {
            return Err(refuse("a partition has at least one subpartition".to_owned()));
        }
        let width = descriptor.schema.fields.len();
        let check = |columns: &[usize]| match columns.iter().find(|c| **c >= width) {
            Some(column) => Err(refuse(format!("there is no column {column}, the schema has {width}"))),
            None => Ok(()),
        };
        let kind = match partitioner {
            Partitioner::Forward if subpartitions != 1 => {
                return Err(refuse(format!("it has one subpartition, not {subpartitions}; use REBALANCE")));
            }
            Partitioner::Forward => Kind::Forward,
            Partitioner::Rebalance | Partitioner::Rescale => Kind::RoundRobin,
            Partitioner::Shuffle => Kind::Shuffle,
            Partitioner::Broadcast => Kind::Broadcast,
            Partitioner::Global => Kind::Global,
            Partitioner::KeyGroup { columns } | Partitioner::Hash { columns } => {
                check(columns)?;
                let max_parallelism = descriptor.max_parallelism;
                if max_parallelism < subpartitions {
                    return Err(refuse(format!(
                        "{subpartitions} subpartitions need as many key groups, the maximum parallelism is \
                         {max_parallelism}"
                    )));
                }
                if !(1..=MAX_PARALLELISM_UPPER_BOUND).contains(&max_parallelism) {
                    return Err(refuse(format!(
                        "the maximum parallelism is {max_parallelism}, not 1 to {MAX_PARALLELISM_UPPER_BOUND}"
                    )));
                }
                let groups = KeyGroupTargets::new(subpartitions, max_parallelism);
                Kind::Hash { columns: Arc::from(columns.as_slice()), groups }
            }
            Partitioner::Range { column } => {
                check(&[*column])?;
                Kind::Range { column: *column, bounds: None }
            }
            Partitioner::Custom { name, columns } => {
                check(columns)?;
                let partitioner = registry
                    .get(name)
                    .ok_or_else(|| refuse(format!("{name:?} is not registered; there are: {}", registry.names())))?;
                Kind::Custom { name: name.as_str().into(), columns: columns.clone(), partitioner }
            }
        };
        let next = match kind {
            Kind::RoundRobin | Kind::Shuffle => rng.below(u64::from(subpartitions)) as u32,
            _ => 0,
        };
        Ok(Self {
            kind,
            subpartitions,
            next,
            rng,
            rows: PartitionedRows::default(),
            targets: Vec::new(),
            by_row: Vec::new(),
        })
    }

    /// Whether rows are divided one by one.
    pub(super) fn scatters(&self) -> bool {
        let by_row = matches!(self.kind, Kind::Hash { .. } | Kind::Range { .. } | Kind::Custom { .. });
        by_row && self.subpartitions > 1
    }

    /// Whether a batch can be divided yet.
    pub(super) fn is_ready(&self) -> bool {
        self.subpartitions == 1 || !matches!(self.kind, Kind::Range { bounds: None, .. })
    }

    /// Where the next batch may go.
    pub(super) fn next_targets(&self) -> Targets {
        match self.kind {
            Kind::Forward | Kind::RoundRobin | Kind::Shuffle | Kind::Global => Targets::One(self.next),
            Kind::Broadcast | Kind::Hash { .. } | Kind::Range { .. } | Kind::Custom { .. } => Targets::All,
        }
    }

    /// The last batch's rows by target.
    pub(super) fn rows(&self) -> &PartitionedRows {
        &self.rows
    }

    /// The columns whose hashes choose targets, and travel on.
    pub(super) fn hashed(&self) -> Option<Arc<[usize]>> {
        if let Kind::Hash { columns, .. } = &self.kind { Some(Arc::clone(columns)) } else { None }
    }

    pub(super) fn select(&mut self, batch: &Batch) -> Result<Selection> {
        let by_row = self.scatters();
        let subpartitions = self.subpartitions;
        match &self.kind {
            Kind::Broadcast => Ok(Selection::Every),
            Kind::RoundRobin => {
                let target = self.next;
                self.next = (target + 1) % subpartitions;
                Ok(Selection::One(target))
            }
            Kind::Shuffle => {
                let target = self.next;
                self.next = self.rng.below(u64::from(subpartitions)) as u32;
                Ok(Selection::One(target))
            }
            Kind::Forward | Kind::Global => Ok(Selection::One(0)),
            _ if !by_row => Ok(Selection::One(0)),
            Kind::Hash { columns, groups } => {
                let batch = with_key_hashes(batch.clone(), columns);
                if let Some(hashes) = batch.hashes_of(columns) {
                    self.rows.assign_by_hash(hashes, batch.selection(), groups);
                }
                Ok(Selection::Rows(batch))
            }
            Kind::Range { column, bounds } => {
                let Some(bounds) = bounds else {
                    return Err(NetworkError::Partitioner {
                        partitioner: "RANGE".into(),
                        problem: "its bounds are not set yet; wait until the writer is available".into(),
                    });
                };
                bounds.assign(batch, *column, &mut self.targets)?;
                self.assign_targets(batch);
                Ok(Selection::Rows(batch.clone()))
            }
            Kind::Custom { name, columns, partitioner } => {
                self.targets.clear();
                let refuse = |problem: String| NetworkError::Partitioner {
                    partitioner: Arc::clone(name),
                    problem: problem.into(),
                };
                partitioner
                    .assign(batch, columns, subpartitions, &mut self.targets)
                    .map_err(|failure| refuse(failure.chain()))?;
                if self.targets.len() != batch.num_rows() {
                    return Err(refuse(format!("{} targets for {} rows", self.targets.len(), batch.num_rows())));
                }
                if let Some(target) = self.targets.iter().find(|t| **t >= subpartitions) {
                    return Err(refuse(format!("target {target} of {subpartitions} subpartitions")));
                }
                self.assign_targets(batch);
                Ok(Selection::Rows(batch.clone()))
            }
        }
    }

    /// Groups the rows by `targets`, one for each selected row.
    fn assign_targets(&mut self, batch: &Batch) {
        self.by_row.clear();
        match batch.selection() {
            None => self.by_row.extend(self.targets.iter().map(|target| *target as u16)),
            Some(selection) => {
                self.by_row.resize(batch.physical_rows(), 0);
                for (row, target) in selection.iter().zip(&self.targets) {
                    self.by_row[*row as usize] = *target as u16;
                }
            }
        }
        let by_row = &self.by_row;
        self.rows.assign(self.subpartitions as usize, by_row.len(), batch.selection(), |row| by_row[row]);
    }

    pub(super) fn set_range_bounds(&mut self, array: &ArrayRef) -> Result<()> {
        let expected = self.subpartitions as usize - 1;
        let refuse =
            |problem: String| NetworkError::Partitioner { partitioner: "RANGE".into(), problem: problem.into() };
        let Kind::Range { bounds, .. } = &mut self.kind else {
            return Err(refuse("the partitioner of this edge is another one".to_owned()));
        };
        if array.len() != expected {
            return Err(refuse(format!("{} bounds for {} subpartitions", array.len(), self.subpartitions)));
        }
        *bounds = Some(RangeBounds::new(array)?);
        Ok(())
    }
}

/// Sorted bounds as comparable bytes: target i holds the rows above bound i - 1, up to and with bound i.
struct RangeBounds {
    converter: RowConverter,
    bounds: Vec<OwnedRow>,
}

impl RangeBounds {
    fn new(array: &ArrayRef) -> Result<Self> {
        let options = SortOptions { descending: false, nulls_first: false };
        let converter = RowConverter::new(vec![SortField::new_with_options(array.data_type().clone(), options)])
            .map_err(refused)?;
        let rows = converter.convert_columns(&[Arc::clone(array)]).map_err(refused)?;
        let bounds: Vec<_> = rows.iter().map(|row| row.owned()).collect();
        if !bounds.is_sorted() {
            return Err(refused("bounds have to ascend, nulls last"));
        }
        Ok(Self { converter, bounds })
    }

    fn assign(&self, batch: &Batch, column: usize, targets: &mut Vec<u32>) -> Result<()> {
        let column = batch.column(column);
        let rows = self.converter.convert_columns(&[Arc::clone(column.array())]).map_err(refused)?;
        let target = |row: usize| {
            let key = rows.row(row);
            self.bounds.partition_point(|bound| bound.row() < key) as u32
        };
        targets.clear();
        match (column, batch.selection()) {
            (Column::Constant(_), _) => targets.resize(batch.num_rows(), target(0)),
            (Column::Array(_), Some(selection)) => targets.extend(selection.iter().map(|row| target(*row as usize))),
            (Column::Array(_), None) => targets.extend((0..batch.physical_rows()).map(target)),
        }
        Ok(())
    }
}

fn refused(problem: impl ToString) -> NetworkError {
    NetworkError::Partitioner { partitioner: "RANGE".into(), problem: problem.to_string().into() }
}
