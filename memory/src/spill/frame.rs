//! The frame: a header with lengths and checksums, and a payload that is LZ4-compressed where that makes it smaller.
//!
//! All numbers are little-endian.
//!
//! | bytes | content |
//! |---|---|
//! | 0..4 | `FSF1` |
//! | 4 | codec: 0 stored, 1 LZ4 block |
//! | 5..8 | zero |
//! | 8..12 | length of the stored payload |
//! | 12..16 | length of the original payload |
//! | 16..20 | CRC32C of the stored payload |
//! | 20..24 | CRC32C of bytes 0..20 |
//! | 24.. | stored payload |
//!
//! A frame is judged before anything is allocated: header checksum, lengths against [`FRAME_BYTES_MAX`] and against the
//! bytes that are there, then the payload's checksum, and only then it is decompressed, into exactly the stated length.
//! Any change of one bit is found by one of the two checksums.

use crate::error::{FrameProblem, MemoryError};
use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};
use std::fmt;

/// Bytes of a header.
pub const FRAME_HEADER_BYTES: usize = 24;
/// The most that one frame carries, uncompressed.
pub const FRAME_BYTES_MAX: usize = 16 << 20;

const MAGIC: [u8; 4] = *b"FSF1";
const CODEC_STORED: u8 = 0;
const CODEC_LZ4: u8 = 1;

/// Encodes and decodes frames, keeping its scratch memory (at most about one frame) from call to call.
pub struct FrameCodec {
    table: CompressTable,
    scratch: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    codec: u8,
    stored_bytes: u32,
    raw_bytes: u32,
    checksum: u32,
}

impl Default for FrameCodec {
    fn default() -> Self {
        Self { table: CompressTable::large(), scratch: Vec::new() }
    }
}

impl FrameCodec {
    /// Encodes `payload`; the frame is valid until the next call.
    ///
    /// # Errors
    /// [`MemoryError::FrameTooLarge`] beyond [`FRAME_BYTES_MAX`].
    pub fn encode(&mut self, payload: &[u8]) -> Result<&[u8], MemoryError> {
        if payload.len() > FRAME_BYTES_MAX {
            return Err(MemoryError::FrameTooLarge {
                bytes: payload.len() as u64,
                limit_bytes: FRAME_BYTES_MAX as u64,
            });
        }
        let room = FRAME_HEADER_BYTES + get_maximum_output_size(payload.len());
        if self.scratch.len() < room {
            self.scratch.resize(room, 0);
        }
        let (header, body) = self.scratch.split_at_mut(FRAME_HEADER_BYTES);
        // The output has the maximum size, so this does not fail; if it did, the payload is stored as it is.
        let compressed = compress_into_with_table(payload, body, &mut self.table).unwrap_or(usize::MAX);
        let (codec, stored) = if compressed < payload.len() {
            (CODEC_LZ4, compressed)
        } else {
            body[..payload.len()].copy_from_slice(payload);
            (CODEC_STORED, payload.len())
        };
        let fields = Header {
            codec,
            stored_bytes: stored as u32,
            raw_bytes: payload.len() as u32,
            checksum: crc32c::crc32c(&body[..stored]),
        };
        header.copy_from_slice(&fields.to_bytes());
        Ok(&self.scratch[..FRAME_HEADER_BYTES + stored])
    }

    /// Decodes the frame at the start of `bytes` into `out` (replacing what it held); answers the frame's length.
    ///
    /// # Errors
    /// What is wrong with the frame; `out` is empty then.
    pub fn decode(bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, FrameProblem> {
        out.clear();
        let (header, payload) = split(bytes)?;
        out.resize(header.raw_bytes as usize, 0);
        match header.unpack(payload, out) {
            Ok(()) => Ok(FRAME_HEADER_BYTES + payload.len()),
            Err(problem) => {
                out.clear();
                Err(problem)
            }
        }
    }

    /// Decodes the frame at the start of `bytes` into memory of exactly its uncompressed length.
    ///
    /// # Errors
    /// What is wrong with the frame; [`FrameProblem::Lengths`] if it does not have `out.len()` bytes.
    pub fn decode_into(bytes: &[u8], out: &mut [u8]) -> Result<(), FrameProblem> {
        let (header, payload) = split(bytes)?;
        if header.raw_bytes as usize != out.len() {
            return Err(FrameProblem::Lengths);
        }
        header.unpack(payload, out)
    }

    /// Scratch memory of `length` bytes to read a frame into.
    pub(super) fn scratch(&mut self, length: usize) -> &mut [u8] {
        if self.scratch.len() < length {
            self.scratch.resize(length, 0);
        }
        &mut self.scratch[..length]
    }
}

impl fmt::Debug for FrameCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameCodec").field("scratch_bytes", &self.scratch.len()).finish_non_exhaustive()
    }
}

/// The header, and the payload it speaks of, both checked.
fn split(bytes: &[u8]) -> Result<(Header, &[u8]), FrameProblem> {
    let available = bytes.len() as u64;
    let truncated = |needed: usize| FrameProblem::Truncated { needed: needed as u64, available };
    let (header, rest) = bytes.split_first_chunk().ok_or_else(|| truncated(FRAME_HEADER_BYTES))?;
    let header = Header::from_bytes(header)?;
    let stored = header.stored_bytes as usize;
    let payload = rest.get(..stored).ok_or_else(|| truncated(FRAME_HEADER_BYTES + stored))?;
    let found = crc32c::crc32c(payload);
    if found != header.checksum {
        return Err(FrameProblem::Checksum { expected: header.checksum, found });
    }
    Ok((header, payload))
}

impl Header {
    fn to_bytes(self) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = self.codec;
        bytes[8..12].copy_from_slice(&self.stored_bytes.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.raw_bytes.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.checksum.to_le_bytes());
        let own = crc32c::crc32c(&bytes[..20]);
        bytes[20..].copy_from_slice(&own.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; FRAME_HEADER_BYTES]) -> Result<Self, FrameProblem> {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let codec = bytes[4];
        let known = bytes[..4] == MAGIC && codec <= CODEC_LZ4 && bytes[5..8] == [0; 3];
        if !known || word(20) != crc32c::crc32c(&bytes[..20]) {
            return Err(FrameProblem::Header);
        }
        let header = Self { codec, stored_bytes: word(8), raw_bytes: word(12), checksum: word(16) };
        let plausible = match codec {
            CODEC_STORED => header.stored_bytes == header.raw_bytes,
            _ => header.stored_bytes < header.raw_bytes,
        };
        if plausible && header.raw_bytes as usize <= FRAME_BYTES_MAX { Ok(header) } else { Err(FrameProblem::Lengths) }
    }

    /// `out` has `raw_bytes` bytes, and the payload's checksum was right.
    fn unpack(&self, payload: &[u8], out: &mut [u8]) -> Result<(), FrameProblem> {
        if self.codec == CODEC_STORED {
            out.copy_from_slice(payload);
            return Ok(());
        }
        match decompress_into(payload, out) {
            Ok(length) if length == out.len() => Ok(()),
            _ => Err(FrameProblem::Decompress),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame_of(payload: &[u8]) -> Vec<u8> {
        FrameCodec::default().encode(payload).unwrap().to_vec()
    }

    #[test]
    fn round_trips() {
        let mut codec = FrameCodec::default();
        let noise: Vec<u8> = (0_u32..100_000).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let mut check = |payload: &[u8], codec_byte: u8| {
            let frame = codec.encode(payload).unwrap().to_vec();
            assert_eq!(frame[4], codec_byte);
            let mut out = vec![1, 2, 3];
            assert_eq!(FrameCodec::decode(&[&frame[..], b"next"].concat(), &mut out), Ok(frame.len()));
            assert_eq!(out, payload);
            let mut exact = vec![0; payload.len()];
            FrameCodec::decode_into(&frame, &mut exact).unwrap();
            assert_eq!(exact, payload);
            let mut longer = vec![0; payload.len() + 1];
            assert_eq!(FrameCodec::decode_into(&frame, &mut longer), Err(FrameProblem::Lengths));
        };
        check(&[], CODEC_STORED);
        check(&[7], CODEC_STORED);
        check(&noise[..64], CODEC_STORED);
        check(&[0; 100_000], CODEC_LZ4);
        check(&vec![9; FRAME_BYTES_MAX], CODEC_LZ4);
        check(&noise.repeat(3), CODEC_LZ4);
        let error = codec.encode(&vec![0; FRAME_BYTES_MAX + 1]).unwrap_err();
        assert_eq!(error.to_string(), "a spill frame holds at most 16 MiB, not 16.0 MiB; write it in pieces");
    }

    /// The format is drawn above; this is its drawing in bytes, with the checksum of `123456789` that RFC 3720 and
    /// every CRC catalogue give for CRC-32C.
    #[test]
    fn a_stored_frame_has_the_documented_bytes() {
        let frame = frame_of(b"123456789");
        assert_eq!(&frame[..16], b"FSF1\0\0\0\0\x09\0\0\0\x09\0\0\0");
        assert_eq!(&frame[16..20], 0xe306_9283_u32.to_le_bytes());
        assert_eq!(&frame[24..], b"123456789");
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let mut out = Vec::new();
        for payload in [&b"stored"[..], &[5; 300], &[]] {
            let frame = frame_of(payload);
            for length in 0..frame.len() {
                let problem = FrameCodec::decode(&frame[..length], &mut out).unwrap_err();
                assert!(matches!(problem, FrameProblem::Truncated { .. }), "{length}: {problem}");
                assert!(out.is_empty());
            }
            for bit in 0..frame.len() * 8 {
                let mut damaged = frame.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(FrameCodec::decode(&damaged, &mut out).is_err(), "bit {bit}");
            }
        }
    }

    /// A forged header with right checksums cannot ask for more memory than the limit, nor fill less than it says.
    #[test]
    fn forged_lengths_are_refused() {
        let check = |codec, stored: &[u8], raw_bytes, expected| {
            let checksum = crc32c::crc32c(stored);
            let header = Header { codec, stored_bytes: stored.len() as u32, raw_bytes, checksum };
            let frame = [&header.to_bytes()[..], stored].concat();
            assert_eq!(FrameCodec::decode(&frame, &mut Vec::new()), Err(expected));
        };
        check(CODEC_LZ4, b"abc", u32::MAX, FrameProblem::Lengths);
        check(CODEC_LZ4, b"abc", FRAME_BYTES_MAX as u32 + 1, FrameProblem::Lengths);
        check(CODEC_STORED, b"abc", 4, FrameProblem::Lengths);
        check(CODEC_LZ4, b"\x30abc", 4 + 1, FrameProblem::Decompress);
        check(2, b"abc", 3, FrameProblem::Header);
    }

    proptest! {
        #[test]
        fn bytes_from_outside_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), forge in any::<bool>()) {
            let mut bytes = bytes;
            if forge && bytes.len() >= FRAME_HEADER_BYTES {
                // Right magic and checksums, so that the decoder itself sees the noise.
                let stored = (bytes.len() - FRAME_HEADER_BYTES) as u32;
                let raw_bytes = stored + u32::from(bytes[0]) + 1;
                let checksum = crc32c::crc32c(&bytes[FRAME_HEADER_BYTES..]);
                let header = Header { codec: CODEC_LZ4, stored_bytes: stored, raw_bytes, checksum };
                bytes[..FRAME_HEADER_BYTES].copy_from_slice(&header.to_bytes());
            }
            let mut out = Vec::new();
            if FrameCodec::decode(&bytes, &mut out).is_err() {
                prop_assert!(out.is_empty());
            }
        }

        #[test]
        fn payloads_round_trip(payload in prop::collection::vec(0..4_u8, 0..5000)) {
            let mut out = Vec::new();
            FrameCodec::decode(&frame_of(&payload), &mut out).unwrap();
            prop_assert_eq!(out, payload);
        }
    }
}
