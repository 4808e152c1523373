//! The 64 bytes before the body. All numbers are little-endian; `FORMAT.md` draws them.

use flumen_core::batch::BatchFlags;

use crate::error::{FrameError, Result};

/// Alignment of a frame, of its length, and of every buffer in it.
pub const FRAME_ALIGNMENT: usize = 64;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 64;
/// Most rows of a frame. Constant columns take no bytes, so a row count has to have a limit of its own.
pub const ROWS_MAX: u32 = 1 << 24;
/// First bytes of every frame.
pub const MAGIC: [u8; 4] = *b"FLMF";
/// The version that this build writes and reads.
pub const VERSION: u16 = 1;

const CHECKSUM_AT: usize = 24;
/// First of the bytes that are zero.
const RESERVED_AT: usize = 34;

/// Bits of the header's flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameFlags(pub u16);

impl FrameFlags {
    /// The body begins with a schema; dictionaries of earlier frames no longer count.
    pub const SCHEMA: u16 = 1;
    /// Buffers of the record batch are compressed (Arrow's LZ4_FRAME).
    pub const COMPRESSED: u16 = 1 << 1;
    /// The first trailing column holds row kinds.
    pub const ROW_KINDS: u16 = 1 << 2;
    /// The last trailing column holds key hashes.
    pub const HASHES: u16 = 1 << 3;
    /// Some row is `-U` or `-D`.
    pub const HAS_DELETES: u16 = 1 << 4;
    /// No two rows share a key.
    pub const KEY_UNIQUE: u16 = 1 << 5;
    /// Rows ascend by the column in `sorted_by`.
    pub const SORTED: u16 = 1 << 6;
    const KNOWN: u16 = (1 << 7) - 1;

    /// Whether a bit is set.
    #[must_use]
    pub fn has(self, bit: u16) -> bool {
        self.0 & bit != 0
    }
}

/// What the header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameHeader {
    /// Flags.
    pub flags: FrameFlags,
    /// Rows, all of them selected.
    pub rows: u32,
    /// Columns of the record batch, with trailing ones.
    pub columns: u32,
    /// Bytes of header and body; a multiple of 64.
    pub total_bytes: u64,
    /// CRC32C of all bytes but the checksum's own four.
    pub checksum: u32,
    /// Bytes between the header and the record batch's buffers: schema, dictionaries and metadata.
    pub metadata_bytes: u32,
    /// Column by which rows ascend, if flagged.
    pub sorted_by: u16,
}

impl FrameHeader {
    /// Reads and checks the header by itself; `bytes` may hold any number of bytes after it.
    ///
    /// # Errors
    /// If it is cut off, no frame's header, or contradicts itself.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let Some((head, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            if !MAGIC.starts_with(&bytes[..bytes.len().min(4)]) {
                return Err(wrong_magic(bytes));
            }
            return Err(FrameError::Truncated { expected: HEADER_BYTES as u64, actual: bytes.len() as u64 });
        };
        if head[..4] != MAGIC {
            return Err(wrong_magic(head));
        }
        let u16_at = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let u32_at = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let version = u16_at(4);
        if version != VERSION {
            return Err(FrameError::UnknownVersion { version });
        }
        let header = Self {
            flags: FrameFlags(u16_at(6)),
            rows: u32_at(8),
            columns: u32_at(12),
            total_bytes: u64::from(u32_at(16)) | u64::from(u32_at(20)) << 32,
            checksum: u32_at(CHECKSUM_AT),
            metadata_bytes: u32_at(28),
            sorted_by: u16_at(32),
        };
        header.check(&head[RESERVED_AT..])?;
        Ok(header)
    }

    fn check(&self, reserved: &[u8]) -> Result<()> {
        let problem = if reserved.iter().any(|byte| *byte != 0) {
            "reserved header bytes are not zero".to_owned()
        } else if self.flags.0 & !FrameFlags::KNOWN != 0 {
            format!("unknown flags {:#06x}", self.flags.0)
        } else if !self.total_bytes.is_multiple_of(FRAME_ALIGNMENT as u64) || self.total_bytes < HEADER_BYTES as u64 {
            format!("its length {} is not a multiple of 64", self.total_bytes)
        } else if u64::from(self.metadata_bytes) + HEADER_BYTES as u64 > self.total_bytes {
            format!("metadata of {} bytes in a frame of {}", self.metadata_bytes, self.total_bytes)
        } else if !self.flags.has(FrameFlags::SORTED) && self.sorted_by != 0 {
            "a sort column without the flag".to_owned()
        } else if self.rows > ROWS_MAX {
            format!("{} rows, at most {ROWS_MAX} are allowed", self.rows)
        } else {
            return Ok(());
        };
        Err(FrameError::Malformed { problem })
    }

    /// The 64 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..6].copy_from_slice(&VERSION.to_le_bytes());
        bytes[6..8].copy_from_slice(&self.flags.0.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.rows.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.columns.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.total_bytes.to_le_bytes());
        bytes[CHECKSUM_AT..28].copy_from_slice(&self.checksum.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.metadata_bytes.to_le_bytes());
        bytes[32..RESERVED_AT].copy_from_slice(&self.sorted_by.to_le_bytes());
        bytes
    }

    pub(crate) fn batch_flags(&self) -> BatchFlags {
        BatchFlags {
            has_deletes: self.flags.has(FrameFlags::HAS_DELETES),
            key_unique: self.flags.has(FrameFlags::KEY_UNIQUE),
            sorted_by: self.flags.has(FrameFlags::SORTED).then_some(self.sorted_by),
        }
    }
}

/// CRC32C of a whole frame, without the bytes that hold it.
///
/// # Panics
/// If there are fewer bytes than a header.
#[must_use]
pub fn frame_checksum(frame: &[u8]) -> u32 {
    let head = crc32c::crc32c(&frame[..CHECKSUM_AT]);
    crc32c::crc32c_append(head, &frame[CHECKSUM_AT + 4..])
}

fn wrong_magic(bytes: &[u8]) -> FrameError {
    let mut found = [0; 4];
    let length = bytes.len().min(4);
    found[..length].copy_from_slice(&bytes[..length]);
    FrameError::WrongMagic { found }
}
