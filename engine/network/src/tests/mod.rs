//! Whole exchanges: producers, partitions, transports and consumers together, stepped by hand.

mod fixture;
mod matrix;
mod pipelined;
mod stored;
