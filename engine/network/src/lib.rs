//! Result partitions, input gates, credits and the transport between them.
