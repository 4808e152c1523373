//! Slots: which there are ([`pool`]), and how subtasks share them ([`sharing`]).

pub mod pool;
pub mod sharing;
#[cfg(test)]
mod tests;
