//! Operators' memory as reservations of managed memory.

use std::sync::Arc;

use flumen_core::failure::Failure;
use flumen_core::meter::MemoryMeter;
use flumen_core::waiting::Waker;
use flumen_memory::Reservation;

/// A meter over a reservation.
pub struct ReservationMeter(pub(super) Arc<Reservation>);

impl ReservationMeter {
    /// Over a reservation that nobody else changes.
    #[must_use]
    pub fn new(reservation: Reservation) -> Self {
        Self(Arc::new(reservation))
    }
}

impl MemoryMeter for ReservationMeter {
    fn resize(&self, from: usize, to: usize) -> Result<(), Failure> {
        if to > from {
            // Trying again with the same budget would be refused again.
            self.0.try_grow((to - from) as u64).map_err(Failure::user)
        } else {
            self.0.shrink((from - to) as u64);
            Ok(())
        }
    }

    fn resize_spillable(&self, from: usize, to: usize) -> Result<(), Failure> {
        if to > from {
            self.0.try_grow_spillable((to - from) as u64).map_err(Failure::user)
        } else {
            self.resize(from, to)
        }
    }

    fn set_revocable(&self, bytes: usize) {
        if bytes == 0 {
            self.0.decline_revocation();
        } else {
            self.0.set_revocable(bytes as u64);
        }
    }

    fn revocation_requested(&self) -> usize {
        usize::try_from(self.0.revocation_requested()).unwrap_or(usize::MAX)
    }

    fn limit_bytes(&self) -> usize {
        usize::try_from(self.0.limit_bytes()).unwrap_or(usize::MAX)
    }

    fn wake_when_others_give(&self, waker: &Waker) -> bool {
        let waker = waker.clone();
        self.0.on_available(Arc::new(move || waker.wake_by_ref()));
        self.0.awaited_bytes() > 0
    }
}
