//! Frames in sequence over a list of extents: written once, read at random.
//!
//! Frames lie back to back and may run over the end of an extent into the next. Where each frame starts and how long it
//! is stays in memory (16 bytes a frame), so nothing read from the disk decides how much is read or allocated.

use super::extent::{Extent, ExtentPool};
use super::frame::FrameCodec;
use crate::error::{FrameProblem, MemoryError};
use std::sync::Arc;

/// Where a frame is.
#[derive(Debug, Clone, Copy)]
struct FrameEntry {
    /// Within the sequence of extents.
    start: u64,
    stored_bytes: u32,
    raw_bytes: u32,
}

/// Appends frames to extents that it takes as it goes.
#[derive(Debug)]
pub struct SpillWriter {
    pool: ExtentPool,
    owner: Arc<str>,
    extents: Vec<Extent>,
    frames: Vec<FrameEntry>,
    end: u64,
    failed: bool,
}

/// Finished frames, read by any number of threads; its extents return when it is dropped.
#[derive(Debug)]
pub struct SpillFile {
    extent_bytes: usize,
    extents: Vec<Extent>,
    frames: Vec<FrameEntry>,
    stored_bytes: u64,
    raw_bytes: u64,
}

impl SpillWriter {
    /// A writer for `owner` (its name in leak reports); it takes no extent before the first frame.
    pub fn new(pool: &ExtentPool, owner: &str) -> Self {
        let (pool, owner) = (pool.clone(), Arc::from(owner));
        Self { pool, owner, extents: Vec::new(), frames: Vec::new(), end: 0, failed: false }
    }

    /// Compresses and writes one frame; answers its index.
    ///
    /// # Errors
    /// [`MemoryError::FrameTooLarge`]; [`MemoryError::SpillFull`] or [`MemoryError::SpillIo`] if it could not be
    /// written. After one of the last two every further call is refused: what was written is kept, but incomplete.
    pub fn append(&mut self, payload: &[u8], codec: &mut FrameCodec) -> Result<usize, MemoryError> {
        if self.failed {
            return Err(self.failed_before());
        }
        let frame = codec.encode(payload)?;
        self.failed = true;
        self.write(frame)?;
        self.failed = false;
        let (stored_bytes, raw_bytes) = (frame.len() as u32, payload.len() as u32);
        self.frames.push(FrameEntry { start: self.end, stored_bytes, raw_bytes });
        self.end += frame.len() as u64;
        Ok(self.frames.len() - 1)
    }

    /// Frames so far.
    pub fn frame_count(&self) -> usize {
        self.frames.len()
    }

    /// Bytes on disk so far.
    pub fn stored_bytes(&self) -> u64 {
        self.end
    }

    /// Ends writing.
    ///
    /// # Errors
    /// [`MemoryError::SpillFailedBefore`] if a write failed.
    pub fn finish(self) -> Result<SpillFile, MemoryError> {
        if self.failed {
            return Err(self.failed_before());
        }
        let raw_bytes = self.frames.iter().map(|frame| u64::from(frame.raw_bytes)).sum();
        let (extent_bytes, stored_bytes) = (self.pool.extent_bytes(), self.end);
        Ok(SpillFile { extent_bytes, extents: self.extents, frames: self.frames, stored_bytes, raw_bytes })
    }

    fn write(&mut self, frame: &[u8]) -> Result<(), MemoryError> {
        let size = self.pool.extent_bytes();
        let mut at = self.end;
        let mut rest = frame;
        while !rest.is_empty() {
            let (extent, within) = place(at, size);
            if extent == self.extents.len() {
                self.extents.push(self.pool.allocate(&self.owner)?);
            }
            let (now, later) = rest.split_at(rest.len().min(size - within));
            self.extents[extent].write(within, now)?;
            at += now.len() as u64;
            rest = later;
        }
        Ok(())
    }

    fn failed_before(&self) -> MemoryError {
        let file = self.extents.first().map_or(&*self.owner, Extent::file_name);
        MemoryError::SpillFailedBefore { file: file.to_owned() }
    }
}

impl SpillFile {
    /// Number of frames.
    pub fn frame_count(&self) -> usize {
        self.frames.len()
    }

    /// Uncompressed length of a frame.
    ///
    /// # Panics
    /// If there is no frame `index`.
    pub fn frame_bytes(&self, index: usize) -> usize {
        self.frames[index].raw_bytes as usize
    }

    /// Bytes on disk.
    pub fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// Bytes of all payloads.
    pub fn raw_bytes(&self) -> u64 {
        self.raw_bytes
    }

    /// Reads frame `index` into `out`, replacing what it held.
    ///
    /// # Errors
    /// [`MemoryError::SpillIo`]; [`MemoryError::SpillCorrupt`] if the bytes are not what was written. `out` is empty or
    /// meaningless then.
    ///
    /// # Panics
    /// If there is no frame `index`.
    pub fn read(&self, index: usize, codec: &mut FrameCodec, out: &mut Vec<u8>) -> Result<(), MemoryError> {
        out.clear();
        out.resize(self.frame_bytes(index), 0);
        self.read_into(index, codec, out).inspect_err(|_| out.clear())
    }

    /// Reads frame `index` into memory of exactly [`Self::frame_bytes`], for instance the start of a segment.
    ///
    /// # Errors
    /// As [`Self::read`]; what `out` holds is meaningless then.
    ///
    /// # Panics
    /// If there is no frame `index`, or `out` has another length.
    pub fn read_into(&self, index: usize, codec: &mut FrameCodec, out: &mut [u8]) -> Result<(), MemoryError> {
        let frame = self.frames[index];
        assert_eq!(out.len(), frame.raw_bytes as usize, "frame {index} needs memory of its length");
        let bytes = codec.scratch(frame.stored_bytes as usize);
        self.fetch(frame.start, bytes)?;
        FrameCodec::decode_into(bytes, out).map_err(|problem| self.corrupt(frame, problem))
    }

    fn fetch(&self, mut at: u64, bytes: &mut [u8]) -> Result<(), MemoryError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (extent, within) = place(at, self.extent_bytes);
            let (now, later) = rest.split_at_mut(rest.len().min(self.extent_bytes - within));
            self.extents[extent].read(within, now)?;
            at += now.len() as u64;
            rest = later;
        }
        Ok(())
    }

    fn corrupt(&self, frame: FrameEntry, problem: FrameProblem) -> MemoryError {
        let (extent, within) = place(frame.start, self.extent_bytes);
        let extent = &self.extents[extent];
        let offset = extent.offset() + within as u64;
        MemoryError::SpillCorrupt { file: extent.file_name().to_owned(), offset, problem }
    }
}

/// The extent that holds byte `at` of the sequence, and where in it.
fn place(at: u64, extent_bytes: usize) -> (usize, usize) {
    ((at / extent_bytes as u64) as usize, (at % extent_bytes as u64) as usize)
}
