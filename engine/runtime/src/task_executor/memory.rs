//! Operators' memory as reservations of managed memory.

use std::sync::Arc;

use flumen_core::failure::Failure;
use flumen_core::meter::MemoryMeter;
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
}
