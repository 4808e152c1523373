//! Whole jobs through every part of the engine.
