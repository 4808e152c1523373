//! What a pipelined partition may hold at once, in segments, and who is woken when there is room again.
//!
//! A batch costs `ceil(bytes / segment)` segments and at least one. The producer asks [`OutputBudget::is_available`]
//! before it emits; a batch is then taken whole, so what is in flight is at most the limit plus one batch (divided or
//! not). One subpartition may hold `per_subpartition` segments before the producer has to wait for it, so a slow
//! consumer cannot take what the others need.
//!
//! Wake-up protocol, all under one mutex, which is why no wake-up is lost:
//! 1. the producer finds no room and sets `waiting`;
//! 2. a consumer gives segments back, sees `waiting`, clears it and wakes;
//! 3. the producer asks again and may go back to 1: wake-ups may be spurious, never missing.
//!
//! The limit is the share that the partition has at the moment of the process's network buffers: a local pool, which
//! grows and shrinks as others come and go. A producer waits only while its partition holds something, so what is given
//! back wakes it, also when the share has grown meanwhile.
//!
//! Any thread may call. The waker is called without the lock.

use std::task::Waker;

use flumen_memory::LocalBufferPool;
use parking_lot::Mutex;

/// Which subpartitions the next batch may go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Targets {
    /// Any of them.
    All,
    /// Only this one.
    One(u32),
}

#[derive(Debug)]
struct State {
    /// Segments held now.
    used: u64,
    /// Segments held by each subpartition; sums up to `used`.
    by_subpartition: Vec<u64>,
    /// How many subpartitions are at their limit.
    full: usize,
    /// The producer found no room and has not been woken since.
    waiting: bool,
    waker: Option<Waker>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct OutputBudget {
    buffers: LocalBufferPool,
    per_subpartition: u64,
    state: Mutex<State>,
}

impl OutputBudget {
    pub(crate) fn new(subpartitions: usize, buffers: LocalBufferPool, per_subpartition: u64) -> Self {
        let state = State { used: 0, by_subpartition: vec![0; subpartitions], full: 0, waiting: false, waker: None };
        Self { buffers, per_subpartition: per_subpartition.max(1), state: Mutex::new(state) }
    }

    /// Whom to wake from now on.
    pub(crate) fn set_waker(&self, waker: Waker) {
        self.state.lock().waker = Some(waker);
    }

    /// Segments that may be held now.
    fn limit(&self) -> u64 {
        (self.buffers.size() as u64).max(1)
    }

    /// Whether there is room for a batch; if not, the waker will be called once there may be.
    pub(crate) fn is_available(&self, targets: Targets) -> bool {
        let limit = self.limit();
        let mut state = self.state.lock();
        let open = match targets {
            Targets::All => state.full == 0,
            Targets::One(subpartition) => state.by_subpartition[subpartition as usize] < self.per_subpartition,
        };
        let available = open && state.used < limit;
        state.waiting |= !available;
        available
    }

    /// Takes segments for a batch. Never refused: asking is the producer's part.
    pub(crate) fn charge(&self, subpartition: u32, segments: u32) {
        let mut state = self.state.lock();
        state.used += u64::from(segments);
        let held = &mut state.by_subpartition[subpartition as usize];
        let was_open = *held < self.per_subpartition;
        *held += u64::from(segments);
        if was_open && *held >= self.per_subpartition {
            state.full += 1;
        }
    }

    /// Gives back what [`OutputBudget::charge`] took.
    pub(crate) fn refund(&self, subpartition: u32, segments: u64) {
        let woken = {
            let mut state = self.state.lock();
            state.used = state.used.checked_sub(segments).expect("segments are given back once");
            let held = &mut state.by_subpartition[subpartition as usize];
            let was_full = *held >= self.per_subpartition;
            *held = held.checked_sub(segments).expect("segments are given back where they were taken");
            if was_full && *held < self.per_subpartition {
                state.full -= 1;
            }
            if std::mem::take(&mut state.waiting) { state.waker.clone() } else { None }
        };
        if let Some(waker) = woken {
            waker.wake();
        }
    }

    /// Wakes the producer whatever the state, since something else changed that it has to see.
    pub(crate) fn wake(&self) {
        let waker = {
            let mut state = self.state.lock();
            state.waiting = false;
            state.waker.clone()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Segments held, and how many may be.
    pub(crate) fn usage(&self) -> (u64, u64) {
        (self.state.lock().used, self.limit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flumen_memory::{Arena, ArenaOptions, BufferPoolOptions, NetworkBufferPool, PAGE_BYTES};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn buffers(limit: usize) -> LocalBufferPool {
        let arena = Arena::new(ArenaOptions::new((limit * PAGE_BYTES) as u64)).unwrap();
        NetworkBufferPool::new(arena, limit).unwrap().create_pool(BufferPoolOptions::new("test", 1, limit)).unwrap()
    }

    #[test]
    fn the_limit_follows_the_share() {
        let arena = Arena::new(ArenaOptions::new(8 * PAGE_BYTES as u64)).unwrap();
        let all = NetworkBufferPool::new(arena, 8).unwrap();
        let budget = OutputBudget::new(1, all.create_pool(BufferPoolOptions::new("one", 2, 8)).unwrap(), 100);
        assert_eq!(budget.usage(), (0, 8));
        budget.charge(0, 6);
        assert!(budget.is_available(Targets::All));
        let other = all.create_pool(BufferPoolOptions::new("two", 2, 8)).unwrap();
        assert_eq!(budget.usage(), (6, 4), "shared out evenly");
        assert!(!budget.is_available(Targets::All));
        drop(other);
        assert!(budget.is_available(Targets::All));
    }

    #[test]
    fn the_producer_is_woken_once_for_each_refusal() {
        let budget = OutputBudget::new(2, buffers(4), 3);
        let count = Arc::new(Count::default());
        budget.set_waker(Arc::clone(&count).into());
        assert!(budget.is_available(Targets::All));
        budget.charge(0, 3);
        // Subpartition 0 is full, the other is not.
        assert!(!budget.is_available(Targets::All));
        assert!(budget.is_available(Targets::One(1)));
        budget.charge(1, 2);
        assert!(!budget.is_available(Targets::One(1)), "the partition is full");
        budget.refund(1, 2);
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        budget.refund(0, 1);
        assert_eq!(count.0.load(Ordering::SeqCst), 1, "nobody waits");
        assert!(budget.is_available(Targets::All));
        budget.refund(0, 2);
        assert_eq!(budget.usage(), (0, 4));
    }

    #[test]
    #[should_panic(expected = "given back")]
    fn giving_back_twice_is_a_bug() {
        let budget = OutputBudget::new(1, buffers(4), 3);
        budget.charge(0, 1);
        budget.refund(0, 1);
        budget.refund(0, 1);
    }
}
