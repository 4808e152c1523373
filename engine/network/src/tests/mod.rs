//! Whole exchanges: producers, partitions, transports and consumers together, stepped by hand.

mod fixture;
mod matrix;
mod overtaking;
mod pipelined;
mod stored;
mod threads;
