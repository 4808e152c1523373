//! Domain nouns: identifiers, logical types, batches, stream elements, expressions and graphs as data.
