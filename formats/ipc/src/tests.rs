//! Frames there and back, and frames that were tampered with.
