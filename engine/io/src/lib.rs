//! Clock, randomness and file system as traits, real and simulated.
