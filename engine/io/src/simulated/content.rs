//! The bytes of one simulated file: what readers see, what a crash would leave, and the changes in between.
//!
//! `durable` plus all of `pending`, in order, gives `bytes`, but for changes marked `forgotten`: those are what a
//! failed sync threw away. They stay readable, since the page cache still has them, yet no later sync writes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::random::{RandomSource, Rng};

#[derive(Debug)]
pub(super) struct Content {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Pending>,
    pub(super) modified_millis: i64,
    /// Bytes held by all files of the file system; this file's share leaves with it.
    used_bytes: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Pending {
    change: Change,
    forgotten: bool,
}

#[derive(Debug)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    Resize(usize),
}

impl Content {
    pub(super) fn new(modified_millis: i64, used_bytes: Arc<AtomicU64>) -> Self {
        Self { bytes: Vec::new(), durable: Vec::new(), pending: Vec::new(), modified_millis, used_bytes }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// By how much the file would grow.
    pub(super) fn growth(&self, offset: usize, length: usize) -> u64 {
        offset.saturating_add(length).saturating_sub(self.bytes.len()) as u64
    }

    pub(super) fn write(&mut self, offset: usize, data: &[u8]) {
        self.change(Change::Write { offset, data: data.to_vec() });
    }

    pub(super) fn resize(&mut self, size: usize) {
        if size != self.bytes.len() {
            self.change(Change::Resize(size));
        }
    }

    fn change(&mut self, change: Change) {
        let before = self.bytes.len();
        change.apply(&mut self.bytes);
        self.pending.push(Pending { change, forgotten: false });
        self.account(before);
    }

    pub(super) fn sync(&mut self) {
        for pending in self.pending.extract_if(.., |pending| !pending.forgotten) {
            pending.change.apply(&mut self.durable);
        }
    }

    /// What a failed sync does: the changes it should have written are given up.
    pub(super) fn forget_pending(&mut self) {
        self.pending.iter_mut().for_each(|pending| pending.forgotten = true);
    }

    /// Goes back to the durable bytes. With `rng`, each change that was not synced may be kept, torn or lost instead of
    /// just lost. Returns how many changes were lost or torn.
    pub(super) fn crash(&mut self, mut rng: Option<&mut Rng>) -> u64 {
        let before = self.bytes.len();
        let mut lost = 0;
        for pending in std::mem::take(&mut self.pending) {
            let fate = rng.as_deref_mut().filter(|_| !pending.forgotten).map_or(0, |rng| rng.below(3));
            match (fate, pending.change, rng.as_deref_mut()) {
                (1, change, _) => change.apply(&mut self.durable),
                (2, Change::Write { offset, mut data }, Some(rng)) => {
                    data.truncate(rng.below(data.len() as u64) as usize);
                    Change::Write { offset, data }.apply(&mut self.durable);
                    lost += 1;
                }
                _ => lost += 1,
            }
        }
        self.bytes.clone_from(&self.durable);
        self.account(before);
        lost
    }

    /// Damages stored bytes without anybody noticing, as a failing medium does.
    pub(super) fn corrupt(&mut self, offset: usize, mask: u8) {
        for bytes in [&mut self.bytes, &mut self.durable] {
            if let Some(byte) = bytes.get_mut(offset) {
                *byte ^= mask;
            }
        }
    }

    fn account(&self, before: usize) {
        let after = self.bytes.len();
        if after >= before {
            self.used_bytes.fetch_add((after - before) as u64, Ordering::Relaxed);
        } else {
            self.used_bytes.fetch_sub((before - after) as u64, Ordering::Relaxed);
        }
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        self.used_bytes.fetch_sub(self.bytes.len() as u64, Ordering::Relaxed);
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write { offset, data } => {
                let end = offset + data.len();
                if bytes.len() < end && !data.is_empty() {
                    bytes.resize(end, 0);
                }
                if !data.is_empty() {
                    bytes[*offset..end].copy_from_slice(data);
                }
            }
            Self::Resize(size) => bytes.resize(*size, 0),
        }
    }
}
