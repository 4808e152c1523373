//! Consumers that wait for a partition that never comes.
//!
//! A pipelined or hybrid consumer may be deployed before its producer and waits in the registry. Should the producer be
//! lost before it registers, the consumer learns of it here: while anyone waits, the registry is asked every
//! [`REQUEST_WAIT`] to fail those that already waited the last time, so a request waits between one and two of them.
//! Nothing is armed while nobody waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;
use std::time::Duration;

use super::{Shared, WeakShared};

/// How long a consumer waits at least.
pub(super) const REQUEST_WAIT: Duration = Duration::from_secs(10);

/// Whether an alarm is set.
#[derive(Default)]
pub(super) struct Expiry {
    armed: AtomicBool,
}

struct Alarm(WeakShared);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        let Some(shared) = self.0.upgrade() else { return };
        shared.services.shuffle.registry().expire_waiting();
        shared.expiry.armed.store(false, Ordering::Release);
        watch(&shared);
    }
}

/// Sees to it that those who wait now do not wait for ever.
pub(super) fn watch(shared: &Arc<Shared>) {
    if !shared.services.shuffle.registry().is_waiting() || shared.expiry.armed.swap(true, Ordering::AcqRel) {
        return;
    }
    let at = shared.services.clock.now().after(REQUEST_WAIT);
    shared.services.timers.wake_at(at, Arc::new(Alarm(Arc::downgrade(shared))).into());
}
