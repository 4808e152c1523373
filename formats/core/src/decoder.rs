//! Bytes in, batches out.

use std::error::Error;

use flumen_core::batch::Batch;
use flumen_core::failure::{Failure, FailureKind};
use flumen_core::types::{Schema, SchemaRef};

/// What a decoder or encoder could not do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The bytes are not what the format says.
    #[error("{format} data is damaged at byte {offset}: {problem}")]
    Corrupt {
        /// The format.
        format: &'static str,
        /// Where, counted from the first byte that the decoder was given.
        offset: u64,
        /// What is wrong.
        problem: String,
    },
    /// A row does not fit the schema.
    #[error("{format} row {row}: {problem}")]
    Row {
        /// The format.
        format: &'static str,
        /// The row, counted from 0 over the decoder's life.
        row: u64,
        /// What is wrong, and with which column.
        problem: String,
    },
    /// A line of text does not fit the schema.
    #[error("{format} line {line}: {problem}")]
    Line {
        /// The format.
        format: &'static str,
        /// Where its row begins, counted from 1 as editors do; a header and empty lines count.
        line: u64,
        /// What is wrong, with which column, and what to try.
        problem: String,
    },
    /// The format cannot carry the schema or an option has no meaning.
    #[error("{format} cannot do this: {problem}")]
    Unsupported {
        /// The format.
        format: &'static str,
        /// What, and what to try.
        problem: String,
    },
    /// A library underneath failed.
    #[error("{format}")]
    Library {
        /// The format.
        format: &'static str,
        /// Its error.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl FormatError {
    /// How control is to treat it: the same bytes give the same error again.
    #[must_use]
    pub fn failure_kind(&self) -> FailureKind {
        FailureKind::User
    }
}

impl From<FormatError> for Failure {
    fn from(error: FormatError) -> Self {
        Self::new(error.failure_kind(), error)
    }
}

/// Turns bytes that arrive in pieces into batches.
///
/// The caller pushes bytes until [`Decoder::decode`] takes fewer than it was given, which means that a batch is full;
/// then it takes the batch with [`Decoder::flush`] and goes on with the rest.
pub trait Decoder: Send {
    /// What its batches look like.
    fn schema(&self) -> &SchemaRef;

    /// Takes bytes and says how many; less than all means that a batch is full. An unfinished row is kept inside.
    ///
    /// # Errors
    /// If the bytes are damaged or do not fit the schema; the decoder is not used again.
    fn decode(&mut self, bytes: &[u8]) -> Result<usize, FormatError>;

    /// Rows that [`Decoder::flush`] would give.
    fn buffered_rows(&self) -> usize;

    /// The rows decoded so far, or `None` if there are none.
    ///
    /// # Errors
    /// As [`Decoder::decode`].
    fn flush(&mut self) -> Result<Option<Batch>, FormatError>;

    /// No bytes follow: finishes an unfinished last row, which [`Decoder::flush`] then gives.
    ///
    /// # Errors
    /// If the end comes in the middle of a row that needs more.
    fn finish(&mut self) -> Result<(), FormatError>;
}

/// Tells the columns of a file from its first bytes. Of a column without a value the type is NULL.
pub trait SchemaInference {
    /// Takes bytes; `false` if no more are needed.
    ///
    /// # Errors
    /// If the bytes are not of the format.
    fn push(&mut self, bytes: &[u8]) -> Result<bool, FormatError>;

    /// The columns; `is_whole` if all bytes of the file were pushed, so that its last row counts.
    ///
    /// # Errors
    /// As [`SchemaInference::push`].
    fn finish(&mut self, is_whole: bool) -> Result<Schema, FormatError>;
}

/// All batches of `bytes`; for small inputs.
///
/// # Errors
/// Of the decoder.
pub fn decode_all(decoder: &mut dyn Decoder, mut bytes: &[u8]) -> Result<Vec<Batch>, FormatError> {
    let mut batches = Vec::new();
    while !bytes.is_empty() {
        let taken = decoder.decode(bytes)?;
        bytes = &bytes[taken..];
        if !bytes.is_empty() {
            let batch = decoder.flush()?;
            if taken == 0 && batch.is_none() {
                let problem = "the decoder takes no more bytes and has no rows".to_owned();
                return Err(FormatError::Unsupported { format: "input", problem });
            }
            batches.extend(batch);
        }
    }
    decoder.finish()?;
    batches.extend(decoder.flush()?);
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::UInt8Array;
    use flumen_core::types::{Field, LogicalType};
    use std::sync::Arc;

    /// Two bytes a batch, each byte a row; 0xff is damage.
    struct Bytes {
        schema: SchemaRef,
        rows: Vec<u8>,
    }

    impl Decoder for Bytes {
        fn schema(&self) -> &SchemaRef {
            &self.schema
        }

        fn decode(&mut self, bytes: &[u8]) -> Result<usize, FormatError> {
            let taken = bytes.len().min(2 - self.rows.len());
            if let Some(at) = bytes[..taken].iter().position(|b| *b == 0xff) {
                let problem = "0xff".to_owned();
                return Err(FormatError::Corrupt { format: "bytes", offset: at as u64, problem });
            }
            self.rows.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn buffered_rows(&self) -> usize {
            self.rows.len()
        }

        fn flush(&mut self) -> Result<Option<Batch>, FormatError> {
            let rows = std::mem::take(&mut self.rows);
            let count = rows.len();
            let column = Arc::new(UInt8Array::from(rows)) as arrow_array::ArrayRef;
            Ok((count > 0).then(|| Batch::new(Arc::clone(&self.schema), vec![column.into()], count)))
        }

        fn finish(&mut self) -> Result<(), FormatError> {
            Ok(())
        }
    }

    #[test]
    fn batches_are_cut_where_the_decoder_says() {
        let schema = Arc::new(Schema::new(vec![Field::new("b", LogicalType::UInt8, false)]));
        for (bytes, expected) in [(&b""[..], vec![]), (b"a", vec![1]), (b"ab", vec![2]), (b"abcde", vec![2, 2, 1])] {
            let mut decoder = Bytes { schema: Arc::clone(&schema), rows: Vec::new() };
            let rows: Vec<_> = decode_all(&mut decoder, bytes).unwrap().iter().map(Batch::num_rows).collect();
            assert_eq!(rows, expected);
        }
        let mut decoder = Bytes { schema, rows: Vec::new() };
        let error = decode_all(&mut decoder, b"ab\xff").unwrap_err();
        assert_eq!(error.to_string(), "bytes data is damaged at byte 0: 0xff");
        assert_eq!(Failure::from(error).failure_kind(), FailureKind::User);
    }
}
