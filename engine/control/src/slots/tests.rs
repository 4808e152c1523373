use flumen_gateway::TaskExecutorId;

use super::pool::SlotPool;
use super::sharing::SlotSharing;
use crate::testing::{Shape, job};

#[test]
fn slots_are_needed_by_the_widest_vertex_of_each_group() {
    let mut graph = (*job(&[3, 5, 2], &[(0, 1, Shape::Pipelined), (1, 2, Shape::Pipelined)])).clone();
    assert_eq!(SlotSharing::new(&graph).required(), 5);
    graph.vertices[2].slot_sharing_group = "other".to_owned();
    let sharing = SlotSharing::new(&graph);
    assert_eq!(sharing.required(), 7);
    assert_eq!(sharing.groups().collect::<Vec<_>>(), [("default", 5), ("other", 2)]);
}

#[test]
fn shared_slots_are_taken_once_and_go_back_with_the_last_user() {
    let graph = job(&[2, 2], &[(0, 1, Shape::Pipelined)]);
    let (mut sharing, mut pool) = (SlotSharing::new(&graph), SlotPool::default());
    let keys = [sharing.key(0, 0), sharing.key(0, 1), sharing.key(1, 0), sharing.key(1, 1)];
    pool.offer(TaskExecutorId(1), 1);
    assert_eq!(sharing.acquire(&keys, &mut pool), Err(2));
    assert_eq!((pool.free(), pool.total()), (1, 1));
    pool.offer(TaskExecutorId(2), 1);
    pool.offer(TaskExecutorId(2), 7);
    let slots = sharing.acquire(&keys, &mut pool).unwrap();
    assert_eq!((slots[0], slots[1]), (slots[2], slots[3]));
    assert_ne!(slots[0], slots[1]);
    assert_eq!(pool.free(), 0);
    sharing.release(keys[0], &mut pool);
    assert_eq!(pool.free(), 0);
    sharing.release(keys[2], &mut pool);
    assert_eq!(pool.free(), 1);
    assert!(pool.remove(slots[1].executor));
    sharing.release(keys[1], &mut pool);
    sharing.release(keys[3], &mut pool);
    assert_eq!((pool.free(), pool.total()), (1, 1));
}
