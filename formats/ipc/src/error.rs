//! What can be wrong with a frame.

use flumen_core::failure::{Failure, FailureKind};

/// The result of encoding or decoding.
pub type Result<T, E = FrameError> = std::result::Result<T, E>;

/// Why a frame could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// There are fewer bytes than the header needs or announces.
    #[error("a frame of {expected} bytes is cut off after {actual}")]
    Truncated {
        /// Bytes that it must have.
        expected: u64,
        /// Bytes that are there.
        actual: u64,
    },
    /// The first bytes are not a frame's.
    #[error("these bytes are no frame: they begin with {found:02x?}")]
    WrongMagic {
        /// What is there.
        found: [u8; 4],
    },
    /// The frame is of a version that this build does not read.
    #[error("frame version {version} is not known, this build reads version 1; use the build that wrote it")]
    UnknownVersion {
        /// The version.
        version: u16,
    },
    /// The checksum does not fit the bytes.
    #[error("frame checksum is {actual:08x}, expected {expected:08x}: the bytes were changed after they were written")]
    Checksum {
        /// What the header says.
        expected: u32,
        /// What the bytes give.
        actual: u32,
    },
    /// The bytes have the right checksum but say something that cannot be.
    #[error("malformed frame: {problem}")]
    Malformed {
        /// What.
        problem: String,
    },
    /// A frame needs a schema or dictionary that an earlier frame of its channel brought, which was not decoded.
    #[error("the frame continues a channel whose first frame was not read")]
    MissingSchema,
    /// The frame's columns are not those that are expected.
    #[error("the frame's schema is not the expected one: {problem}")]
    SchemaMismatch {
        /// Which column, and how it differs.
        problem: String,
    },
    /// The frame is larger than the limit.
    #[error("a frame of {bytes} bytes or {rows} rows is larger than allowed ({bytes_max} bytes, {rows_max} rows)")]
    TooLarge {
        /// Its bytes, decompressed.
        bytes: u64,
        /// Its rows.
        rows: u64,
        /// The limit in bytes.
        bytes_max: u64,
        /// The limit in rows.
        rows_max: u64,
    },
    /// A batch cannot be carried by a frame.
    #[error("the batch cannot be encoded")]
    Encode {
        /// Arrow's reason.
        #[source]
        source: arrow_schema::ArrowError,
    },
    /// Arrow found the frame's arrays invalid.
    #[error("the frame's arrays are invalid")]
    Arrow {
        /// Arrow's reason.
        #[source]
        source: arrow_schema::ArrowError,
    },
}

impl FrameError {
    /// How control is to treat it: a damaged frame can be produced again, a batch that has no frame cannot.
    #[must_use]
    pub fn failure_kind(&self) -> FailureKind {
        match self {
            Self::Encode { .. } | Self::SchemaMismatch { .. } | Self::MissingSchema => FailureKind::Bug,
            _ => FailureKind::Transient,
        }
    }

    pub(crate) fn malformed(problem: impl Into<String>) -> Self {
        Self::Malformed { problem: problem.into() }
    }
}

impl From<FrameError> for Failure {
    fn from(error: FrameError) -> Self {
        Self::new(error.failure_kind(), error)
    }
}
