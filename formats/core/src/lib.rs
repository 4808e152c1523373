//! Encoders and decoders between bytes and batches.
