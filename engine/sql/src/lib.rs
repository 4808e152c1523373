//! SQL text to StreamGraph.
