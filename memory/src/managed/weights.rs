//! How managed memory divides over kinds of consumers.
//!
//! Each kind has a weight; the kinds that are really there share all of it, absent ones drop out. Divisions round so
//! that the parts add up to the whole. Source: Flink's `taskmanager.memory.managed.consumer-weights`.

use crate::error::MemoryError;
use crate::options::CONSUMER_WEIGHTS;

const CONSUMER_WEIGHTS_KEY: &str = CONSUMER_WEIGHTS.key();

/// A kind of consumer of managed memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ConsumerKind {
    /// Built-in algorithms: sorts, hash tables, caches.
    Operator,
    /// A state backend's caches.
    StateBackend,
    /// Python workers.
    Python,
}

impl ConsumerKind {
    /// All kinds, in the order of Flink's option.
    pub const ALL: [Self; 3] = [Self::Operator, Self::StateBackend, Self::Python];

    /// Its name in the option.
    pub fn name(self) -> &'static str {
        match self {
            Self::Operator => "OPERATOR",
            Self::StateBackend => "STATE_BACKEND",
            Self::Python => "PYTHON",
        }
    }
}

/// The weights of the kinds; the default is OPERATOR 70, STATE_BACKEND 70, PYTHON 30.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsumerWeights {
    weights: [u32; 3],
}

impl Default for ConsumerWeights {
    fn default() -> Self {
        Self { weights: [70, 70, 30] }
    }
}

impl ConsumerWeights {
    /// Reads `OPERATOR:70,STATE_BACKEND:70,PYTHON:30`; a kind left out has weight zero.
    ///
    /// # Errors
    /// [`MemoryError::Layout`] for an unknown kind, a kind named twice or a weight that is not a number.
    pub fn parse(text: &str) -> Result<Self, MemoryError> {
        let wrong = |part: &str, why: &str| {
            MemoryError::Layout(format!(
                "{CONSUMER_WEIGHTS_KEY}: {why} in '{part}', expected KIND:WEIGHT of OPERATOR, STATE_BACKEND, PYTHON"
            ))
        };
        let mut weights = [None; 3];
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (kind, weight) = part.split_once(':').ok_or_else(|| wrong(part, "no weight"))?;
            let known = ConsumerKind::ALL.iter().position(|known| known.name() == kind.trim());
            let slot = &mut weights[known.ok_or_else(|| wrong(part, "unknown kind"))?];
            let weight: u32 = weight.trim().parse().map_err(|_| wrong(part, "no whole number"))?;
            if slot.replace(weight).is_some() {
                return Err(wrong(part, "kind named twice"));
            }
        }
        Ok(Self { weights: weights.map(Option::unwrap_or_default) })
    }

    /// The weight of a kind.
    pub fn weight(&self, kind: ConsumerKind) -> u32 {
        self.weights[kind as usize]
    }

    /// Divides `bytes` over the kinds that are present (each counted once), in their order.
    ///
    /// # Errors
    /// [`MemoryError::Layout`] if a present kind has weight zero: it would get nothing.
    pub fn divide(&self, bytes: u64, present: &[ConsumerKind]) -> Result<Vec<(ConsumerKind, u64)>, MemoryError> {
        let kinds: Vec<_> = ConsumerKind::ALL.into_iter().filter(|kind| present.contains(kind)).collect();
        if let Some(kind) = kinds.iter().find(|kind| self.weight(**kind) == 0) {
            let name = kind.name();
            let text = format!("{CONSUMER_WEIGHTS_KEY} gives {name} no weight, but the job uses it; add {name}:70");
            return Err(MemoryError::Layout(text));
        }
        let weights: Vec<_> = kinds.iter().map(|kind| self.weight(*kind)).collect();
        Ok(kinds.into_iter().zip(divide_by_weight(bytes, &weights)).collect())
    }
}

/// Divides `bytes` in proportion to `weights`; the parts add up to `bytes` unless all weights are zero.
fn divide_by_weight(bytes: u64, weights: &[u32]) -> Vec<u64> {
    let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
    let mut seen = 0_u128;
    let mut given = 0_u128;
    let part = |weight: &u32| {
        seen += u128::from(*weight);
        // 64 bits times a sum of 32-bit weights: no overflow below 2^32 weights.
        let until_here = (u128::from(bytes) * seen).checked_div(total).unwrap_or(0);
        let part = until_here - given;
        given = until_here;
        part as u64
    };
    weights.iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ConsumerKind::{Operator, Python, StateBackend};

    #[test]
    fn absent_kinds_drop_out() {
        let check = |present: &[ConsumerKind], expected: &[(ConsumerKind, u64)]| {
            assert_eq!(ConsumerWeights::default().divide(1700, present).unwrap(), expected);
        };
        check(&[], &[]);
        check(&[Operator], &[(Operator, 1700)]);
        check(&[StateBackend, Operator], &[(Operator, 850), (StateBackend, 850)]);
        check(&[Operator, Python], &[(Operator, 1190), (Python, 510)]);
        check(&[Python, Operator, StateBackend], &[(Operator, 700), (StateBackend, 700), (Python, 300)]);
    }

    #[test]
    fn parts_add_up() {
        let check = |bytes: u64, weights: &[u32], expected: &[u64]| {
            assert_eq!(divide_by_weight(bytes, weights), expected, "{bytes} by {weights:?}");
        };
        check(100, &[], &[]);
        check(100, &[0, 0], &[0, 0]);
        check(100, &[1, 1, 1], &[33, 33, 34]);
        check(7, &[0, 128, 0, 128], &[0, 3, 0, 4]);
        check(u64::MAX, &[u32::MAX, u32::MAX], &[u64::MAX / 2, u64::MAX / 2 + 1]);
    }

    #[test]
    fn weights_are_read_strictly() {
        let check = |text: &str, expected: Result<[u32; 3], &str>| match (ConsumerWeights::parse(text), expected) {
            (Ok(weights), Ok(expected)) => assert_eq!(weights.weights, expected, "{text}"),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (found, expected) => panic!("{text}: {found:?}, not {expected:?}"),
        };
        check("OPERATOR:70,STATE_BACKEND:70,PYTHON:30", Ok([70, 70, 30]));
        check(" STATE_BACKEND : 1 , ", Ok([0, 1, 0]));
        check("OPERATOR", Err("no weight in 'OPERATOR'"));
        check("operator:1", Err("unknown kind"));
        check("OPERATOR:1,OPERATOR:2", Err("named twice"));
        check("PYTHON:-1", Err("no whole number"));
        let error = ConsumerWeights::parse("OPERATOR:1").unwrap().divide(10, &[Python]).unwrap_err();
        assert!(error.to_string().contains("add PYTHON:70"), "{error}");
    }
}
