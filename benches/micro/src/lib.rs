//! Kernels in nanoseconds per row.
