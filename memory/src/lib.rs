//! Memory segments, buffer pools, reservations and spill extents.
