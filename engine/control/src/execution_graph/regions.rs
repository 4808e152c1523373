//! Pipelined regions: the largest sets of subtasks that must run at the same time.
//!
//! Union-find over the exchanges that must be pipelined. An all-to-all exchange joins everybody on both sides, so it is
//! n + m unions, not n times m; a pointwise one joins blocks, `max(n, m)` in all. Regions are numbered by their first
//! subtask, so producers' regions tend to come first.

use flumen_core::graph::job_graph::pointwise_producers;
use flumen_core::graph::{DistributionPattern, JobGraph};

use super::TaskIndex;

/// Number of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionId(pub u32);

/// Which subtask is in which region.
#[derive(Clone, Debug)]
pub struct Regions {
    of: Vec<RegionId>,
    /// Members of region r are `members[starts[r]..starts[r + 1]]`, ascending.
    starts: Vec<u32>,
    members: Vec<TaskIndex>,
}

impl Regions {
    /// Finds them. `first_task[v]` is the index of vertex v's first subtask; `tasks` their number.
    pub(super) fn find(graph: &JobGraph, first_task: &[u32], tasks: u32) -> Self {
        let mut sets = UnionFind::new(tasks);
        for consumer in &graph.vertices {
            let consumer_first = first_task[consumer.id.0 as usize];
            for edge in &consumer.inputs {
                let producer = graph.vertex(edge.producer);
                let producer_first = first_task[producer.id.0 as usize];
                let data_set = producer.produced.iter().find(|d| d.id == edge.data_set);
                let data_set = data_set.expect("an edge names a data set of its producer");
                if !data_set.partition_type.must_be_pipelined() {
                    continue;
                }
                match data_set.distribution {
                    DistributionPattern::AllToAll => {
                        (0..producer.parallelism).for_each(|p| sets.union(consumer_first, producer_first + p));
                        (1..consumer.parallelism).for_each(|c| sets.union(consumer_first, consumer_first + c));
                    }
                    DistributionPattern::Pointwise => {
                        for c in 0..consumer.parallelism {
                            for p in pointwise_producers(c, producer.parallelism, consumer.parallelism) {
                                sets.union(consumer_first + c, producer_first + p);
                            }
                        }
                    }
                }
            }
        }
        Self::collect(&mut sets, tasks)
    }

    fn collect(sets: &mut UnionFind, tasks: u32) -> Self {
        let mut number_of_root = vec![u32::MAX; tasks as usize];
        let mut sizes: Vec<u32> = Vec::new();
        let of: Vec<RegionId> = (0..tasks)
            .map(|task| {
                let root = sets.find(task) as usize;
                if number_of_root[root] == u32::MAX {
                    number_of_root[root] = sizes.len() as u32;
                    sizes.push(0);
                }
                sizes[number_of_root[root] as usize] += 1;
                RegionId(number_of_root[root])
            })
            .collect();
        let mut starts = Vec::with_capacity(sizes.len() + 1);
        let mut end = 0;
        starts.push(0);
        for size in sizes {
            end += size;
            starts.push(end);
        }
        let mut next = starts.clone();
        let mut members = vec![TaskIndex(0); tasks as usize];
        for (task, region) in of.iter().enumerate() {
            let place = &mut next[region.0 as usize];
            members[*place as usize] = TaskIndex(task as u32);
            *place += 1;
        }
        Self { of, starts, members }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        (self.starts.len() - 1) as u32
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = RegionId> + use<> {
        (0..self.count()).map(RegionId)
    }

    /// The region of a subtask.
    #[must_use]
    pub fn of(&self, task: TaskIndex) -> RegionId {
        self.of[task.0 as usize]
    }

    /// The subtasks of a region, ascending: producers' vertices first.
    #[must_use]
    pub fn members(&self, region: RegionId) -> &[TaskIndex] {
        let region = region.0 as usize;
        &self.members[self.starts[region] as usize..self.starts[region + 1] as usize]
    }
}

struct UnionFind {
    parent: Vec<u32>,
}

impl UnionFind {
    fn new(count: u32) -> Self {
        Self { parent: (0..count).collect() }
    }

    fn find(&mut self, mut item: u32) -> u32 {
        while self.parent[item as usize] != item {
            let grandparent = self.parent[self.parent[item as usize] as usize];
            self.parent[item as usize] = grandparent;
            item = grandparent;
        }
        item
    }

    /// The smaller root wins; with path halving that is near-linear in practice and keeps the numbering stable.
    fn union(&mut self, a: u32, b: u32) {
        let (a, b) = (self.find(a), self.find(b));
        self.parent[a.max(b) as usize] = a.min(b);
    }
}
