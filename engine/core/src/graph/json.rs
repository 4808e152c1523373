//! The stored form of a JobGraph: JSON text, since it is small, must stay readable for years, and people look at it.
//!
//! Expressions nest, and serde_json's own limit of 128 levels is less than queries reach. The limit is lifted, but not
//! to the stack's end: nesting is bounded by [`MAX_JSON_DEPTH`], counted over the bytes as they are written, and over
//! the whole text before it is parsed. At that depth reading or writing takes less than 1 MiB of stack, half of what
//! a thread of the standard library has (measured by a test that runs with exactly that much).

use std::io;

use serde::{Deserialize, Serialize};

use super::job_graph::{JOB_GRAPH_VERSION, JobGraph};

/// Levels of `{` and `[` that a stored graph may have. An expression takes three levels for a call.
pub const MAX_JSON_DEPTH: usize = 1024;
/// Longest text that is read.
pub const MAX_JSON_BYTES: usize = 1 << 30;

/// Why a graph cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobGraphError {
    /// It nests too deeply.
    #[error("the job graph nests more than {MAX_JSON_DEPTH} levels deep; split the deepest expression")]
    TooDeep,
    /// It is too long.
    #[error("the job graph has {bytes} bytes, more than {MAX_JSON_BYTES}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It was written by a newer build.
    #[error("the job graph has version {version}, this build reads up to {JOB_GRAPH_VERSION}; use a newer build")]
    NewerVersion {
        /// The version it says.
        version: u32,
    },
    /// The text is not a job graph.
    #[error("the text is not a job graph")]
    Malformed(#[source] serde_json::Error),
    /// The graph refers to something it does not contain.
    #[error("the job graph is damaged: {what}")]
    Inconsistent {
        /// What does not fit.
        what: String,
    },
}

impl JobGraph {
    /// The stored form.
    ///
    /// # Errors
    /// [`JobGraphError::TooDeep`] if it could not be read again.
    pub fn to_json(&self) -> Result<String, JobGraphError> {
        let mut guard = DepthGuard { depth: Depth::default(), text: Vec::new() };
        let mut serializer = serde_json::Serializer::new(&mut guard);
        match self.serialize(&mut serializer) {
            Ok(()) => Ok(String::from_utf8(guard.text).expect("serde_json writes UTF-8")),
            Err(_) if guard.depth.too_deep => Err(JobGraphError::TooDeep),
            Err(error) => Err(JobGraphError::Malformed(error)),
        }
    }

    /// Reads the stored form and checks that it holds together: whoever gets a graph from here may index by it.
    ///
    /// # Errors
    /// If the text is too long, too deep, newer than this build, malformed or inconsistent.
    pub fn from_json(text: &str) -> Result<Self, JobGraphError> {
        if text.len() > MAX_JSON_BYTES {
            return Err(JobGraphError::TooLong { bytes: text.len() });
        }
        let mut depth = Depth::default();
        depth.scan(text.as_bytes());
        if depth.too_deep {
            return Err(JobGraphError::TooDeep);
        }
        // The version comes first, by itself: a newer graph need not parse as this build's.
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = parse(text)?;
        if version > JOB_GRAPH_VERSION {
            return Err(JobGraphError::NewerVersion { version });
        }
        let graph: Self = parse(text)?;
        graph.check().map_err(|what| JobGraphError::Inconsistent { what })?;
        Ok(graph)
    }

    /// That every reference in the graph leads somewhere and vertices are in order.
    fn check(&self) -> Result<(), String> {
        let mut producers = std::collections::HashMap::new();
        for (position, vertex) in self.vertices.iter().enumerate() {
            let id = vertex.id;
            if id.0 as usize != position {
                return Err(format!("{id} is at position {position}"));
            }
            if vertex.operators.is_empty() {
                return Err(format!("{id} has no operators"));
            }
            let (parallelism, max_parallelism) = (vertex.parallelism, vertex.max_parallelism);
            if parallelism == 0
                || parallelism > max_parallelism
                || max_parallelism > crate::key_group::MAX_PARALLELISM_UPPER_BOUND
            {
                return Err(format!("{id} has parallelism {parallelism} of at most {max_parallelism}"));
            }
            for (place, operator) in vertex.operators.iter().enumerate() {
                let length = vertex.operators.len();
                if operator.chained_consumers.iter().any(|consumer| *consumer <= place || *consumer >= length) {
                    return Err(format!("operator {place} of {id} has consumers outside the chain"));
                }
                if operator.produced.iter().any(|produced| *produced >= vertex.produced.len()) {
                    return Err(format!("operator {place} of {id} writes to a data set that is not there"));
                }
            }
            for edge in &vertex.inputs {
                match producers.remove(&edge.data_set) {
                    Some((producer, consumer)) if producer == edge.producer && consumer == id => {}
                    _ => {
                        return Err(format!("{id} reads {}, which no vertex before it produces for it", edge.data_set));
                    }
                }
                if edge.head_input as usize >= vertex.operators[0].spec.inputs.len() {
                    return Err(format!("{id} has no input {}", edge.head_input));
                }
            }
            for data_set in &vertex.produced {
                if producers.insert(data_set.id, (id, data_set.consumer)).is_some() {
                    return Err(format!("{} exists twice", data_set.id));
                }
            }
        }
        match producers.keys().next() {
            Some(data_set) => Err(format!("{data_set} is read by no vertex")),
            None => Ok(()),
        }
    }
}

fn parse<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, JobGraphError> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer.disable_recursion_limit();
    let value = T::deserialize(&mut deserializer).map_err(JobGraphError::Malformed)?;
    deserializer.end().map_err(JobGraphError::Malformed)?;
    Ok(value)
}

/// Counts nesting over JSON text that comes in pieces. For text that is not JSON the count means nothing, but then
/// the parser stops at the first wrong byte, which is not deeper than the count up to there.
#[derive(Default)]
struct Depth {
    levels: usize,
    in_string: bool,
    escaped: bool,
    too_deep: bool,
}

impl Depth {
    fn scan(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => {
                    self.levels += 1;
                    self.too_deep |= self.levels > MAX_JSON_DEPTH;
                }
                b'}' | b']' => self.levels = self.levels.saturating_sub(1),
                _ => {}
            }
        }
    }
}

struct DepthGuard {
    depth: Depth,
    text: Vec<u8>,
}

impl io::Write for DepthGuard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.depth.scan(bytes);
        if self.depth.too_deep {
            // Stops the serializer, which recurses as deep as the value.
            return Err(io::Error::other("too deep"));
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::{Expr, Literal};
    use crate::graph::{Partitioner, StreamGraph, TranslateOptions, translate};
    use crate::ids::JobId;
    use crate::spec::OperatorSpec;
    use crate::spec::relational::FilterSpec;
    use crate::types::{LogicalType, Schema};
    use std::sync::Arc;

    fn graph_with(predicate: Expr) -> JobGraph {
        let schema = Arc::new(Schema::new(vec![]));
        let mut graph = StreamGraph { name: "deep \"{[\\ name".to_owned(), ..StreamGraph::default() };
        let filter = FilterSpec { predicate };
        let source = OperatorSpec { inputs: vec![], ..OperatorSpec::new(&filter, vec![], Some(Arc::clone(&schema))) };
        let a = graph.add_node("a", "a", source, 2);
        let b = graph.add_node("b", "b", OperatorSpec::new(&filter, vec![schema], None), 3);
        graph.add_edge(a, b, 0, Partitioner::Rebalance);
        translate(&graph, JobId(7), &TranslateOptions::default()).unwrap()
    }

    fn nested(depth: usize) -> Expr {
        (0..depth).fold(Expr::Literal(Literal::boolean(true)), |e, _| Expr::call("not", vec![e], LogicalType::Boolean))
    }

    /// Runs in as much stack as the module promises to do with.
    fn in_one_mebibyte<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::Builder::new().stack_size(1 << 20).spawn(work).unwrap().join().unwrap()
    }

    #[test]
    fn expressions_near_the_limit_survive_and_deeper_ones_are_refused() {
        in_one_mebibyte(|| {
            let graph = graph_with(nested(330));
            let text = graph.to_json().unwrap();
            let read = JobGraph::from_json(&text).unwrap();
            assert_eq!(read, graph);
            let payload: FilterSpec = read.vertices[1].operators[0].spec.payload().unwrap();
            assert_eq!(payload.predicate, nested(330));
            assert!(matches!(graph_with(nested(400)).to_json(), Err(JobGraphError::TooDeep)));
            let hostile = format!("{{\"version\":1,\"x\":{}", "[".repeat(1_000_000));
            assert!(matches!(JobGraph::from_json(&hostile), Err(JobGraphError::TooDeep)));
            let brackets = "[".repeat(MAX_JSON_DEPTH - 1) + &"]".repeat(MAX_JSON_DEPTH - 1);
            let ignored = format!("{{\"version\":1,\"x\":{brackets}}}");
            assert!(matches!(JobGraph::from_json(&ignored), Err(JobGraphError::Malformed(_))));
        });
    }

    #[test]
    fn brackets_inside_text_do_not_count() {
        let value = "\\\"[".repeat(MAX_JSON_DEPTH * 2);
        let graph = graph_with(Expr::Literal(Literal::utf8(value)));
        assert_eq!(JobGraph::from_json(&graph.to_json().unwrap()).unwrap(), graph);
    }

    #[test]
    fn damaged_graphs_are_refused() {
        let text = graph_with(nested(1)).to_json().unwrap();
        for (from, to, expected) in [
            ("\"version\":1", "\"version\":2", "version 2"),
            ("\"parallelism\":3", "\"parallelism\":0", "parallelism 0"),
            ("\"parallelism\":3", "\"parallelism\":129", "parallelism 129"),
            ("\"id\":1", "\"id\":9", "vertex-9"),
            ("\"producer\":0", "\"producer\":1", "dataset-0"),
            ("\"consumer\":1", "\"consumer\":0", "dataset-0"),
            ("\"head_input\":0", "\"head_input\":1", "no input 1"),
            ("\"chained_consumers\":[]", "\"chained_consumers\":[0]", "outside the chain"),
            ("\"produced\":[0]", "\"produced\":[1]", "not there"),
            ("\"job\":\"00", "\"job\":\"", "not a job graph"),
        ] {
            assert!(text.contains(from), "{from} is not in {text}");
            let error = JobGraph::from_json(&text.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(expected), "{from} -> {to}: {error}");
        }
        for end in 0..text.len() {
            assert!(JobGraph::from_json(text.get(..end).unwrap_or_default()).is_err());
        }
    }
}
