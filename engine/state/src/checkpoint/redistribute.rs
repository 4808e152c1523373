//! Dealing out list state when the parallelism changes.

use flumen_core::spec::StateKind;

/// The entries that subtask `index` of `parallelism` gets, of the entries of all former subtasks in their order.
///
/// Lists are dealt out evenly, round-robin (Flink's even split); union and broadcast state goes to every subtask:
/// union as all entries, broadcast as those of the former subtask with the same index, wrapping around, since by
/// contract they are all the same. Keyed state is not dealt out by entries and gives nothing.
#[must_use]
pub fn redistribute(kind: StateKind, former: Vec<Vec<Vec<u8>>>, index: u32, parallelism: u32) -> Vec<Vec<u8>> {
    match kind {
        StateKind::Keyed { .. } => Vec::new(),
        // At the same parallelism every subtask keeps its own entries, as in Flink.
        StateKind::OperatorList if former.len() == parallelism as usize => {
            former.into_iter().nth(index as usize).unwrap_or_default()
        }
        StateKind::OperatorList => {
            former.into_iter().flatten().skip(index as usize).step_by(parallelism.max(1) as usize).collect()
        }
        StateKind::OperatorUnion => former.into_iter().flatten().collect(),
        StateKind::Broadcast => {
            // A subtask that had finished left nothing; the others hold what it held.
            let former: Vec<_> = former.into_iter().filter(|entries| !entries.is_empty()).collect();
            let subtasks = former.len().max(1);
            former.into_iter().nth(index as usize % subtasks).unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(subtasks: &[&[u8]]) -> Vec<Vec<Vec<u8>>> {
        subtasks.iter().map(|s| s.iter().map(|e| vec![*e]).collect()).collect()
    }

    #[test]
    fn lists_are_dealt_out_evenly_and_whole() {
        let former = entries(&[&[1, 2, 3], &[], &[4, 5]]);
        for parallelism in 1..8u32 {
            let dealt: Vec<_> = (0..parallelism)
                .map(|i| redistribute(StateKind::OperatorList, former.clone(), i, parallelism))
                .collect();
            let mut all: Vec<_> = dealt.iter().flatten().map(|e| e[0]).collect();
            all.sort_unstable();
            assert_eq!(all, [1, 2, 3, 4, 5], "{parallelism}");
            if parallelism != 3 {
                let sizes: Vec<_> = dealt.iter().map(Vec::len).collect();
                assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{sizes:?}");
            } else {
                assert_eq!(dealt, former, "unchanged parallelism moves nothing");
            }
        }
    }

    #[test]
    fn union_goes_to_all_and_broadcast_once_to_each() {
        let former = entries(&[&[1, 2], &[1, 2]]);
        for index in 0..5 {
            let union = redistribute(StateKind::OperatorUnion, former.clone(), index, 5);
            assert_eq!(union, [vec![1], vec![2], vec![1], vec![2]]);
            let broadcast = redistribute(StateKind::Broadcast, former.clone(), index, 5);
            assert_eq!(broadcast, [vec![1], vec![2]]);
        }
        assert!(redistribute(StateKind::Broadcast, Vec::new(), 0, 2).is_empty());
    }
}
