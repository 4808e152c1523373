//! Scans that wait for runtime filters.
//!
//! A filter is published when the build side of a join has been read, and goes to scans of its probe side. If these wait
//! for it, the end of the build side must not depend on them, nor on what they would let others do. In the terms of
//! [`super::deadlock`], a vertex that waits *begins after* the producers of the build side have ended, and it must not be
//! among what that requires.
//!
//! In a tree of pipelined operators it never is. Order the tree so that of each join the build side comes before the probe
//! side: a scan waits for joins on whose probe side it is, so for what comes before it. Where an operator has two
//! consumers, one of them may hold it up until a scan of the other has begun; such a scan begins at once. So do all if an
//! exchange is to be complete before it is read: a join behind it does not run before its scans have ended.

use std::collections::HashMap;

use super::deadlock::Exchanges;
use crate::graph::job_graph::{ChainedOperator, JobVertex};
use crate::spec::OperatorPayload;
use crate::spec::connector::SourceSpec;
use crate::spec::relational::HashJoinSpec;

/// The member of a [`SourceSpec`] in its stored form.
const AWAITS: &str = "awaits_filters";

/// Lets scans begin at once whose filters may not come before.
pub(super) fn begin_at_once_where_filters_may_not_come(vertices: &mut [JobVertex]) {
    let waiting: Vec<usize> = (0..vertices.len()).filter(|v| awaits(&vertices[*v].operators[0])).collect();
    if waiting.is_empty() {
        return;
    }
    let mut exchanges = Exchanges::of(vertices);
    let publishers = publishers(vertices);
    for &vertex in &waiting {
        let heard = vertices[vertex].operators[0].spec.payload::<SourceSpec>().map(|s| s.runtime_filters);
        let joins = heard.into_iter().flatten().filter_map(|(id, _)| publishers.get(&id));
        let builds: Vec<usize> = joins.flat_map(|join| exchanges.build_producers(*join)).collect();
        exchanges.begins_after[vertex] = builds;
    }
    for vertex in waiting {
        if exchanges.is_blocking() || exchanges.waits_for_itself(vertex) {
            exchanges.begins_after[vertex].clear();
            if let Some(awaits) = vertices[vertex].operators[0].spec.payload.get_mut(AWAITS) {
                *awaits = false.into();
            }
        }
    }
}

fn awaits(head: &ChainedOperator) -> bool {
    head.spec.kind == SourceSpec::KIND && head.spec.payload.get(AWAITS).is_some_and(|awaits| awaits == true)
}

/// The vertex that publishes each filter. Joins have two inputs, so they are the heads of their chains.
fn publishers(vertices: &[JobVertex]) -> HashMap<u32, usize> {
    let joins = vertices.iter().enumerate().filter(|(_, v)| v.operators[0].spec.kind == HashJoinSpec::KIND);
    joins
        .flat_map(|(vertex, v)| {
            let filters = v.operators[0].spec.payload::<HashJoinSpec>().map(|s| s.runtime_filters);
            filters.into_iter().flatten().map(move |(id, _)| (id, vertex))
        })
        .collect()
}
