//! Runs: the hybrid of run-length encoding and bit-packing that carries levels, dictionary codes and booleans.
//!
//! A stream of runs, each a variable-length integer and what it announces: if its lowest bit is 0, a value that repeats;
//! else groups of eight bit-packed values. The decoder keeps a position in the current run, so that any number of values
//! is read, skipped (by arithmetic, nothing is unpacked) or taken at some positions only. It holds no bytes: the page is
//! passed to each call, always the same one.
//!
//! A packed run that claims more groups than there are bytes ends where the bytes end; that fails only if the missing
//! values are asked for. Every run takes at least a byte, so a walk over runs ends.
//!
//! Source: apache/parquet-format Encodings.md, "Run Length Encoding / Bit-Packing Hybrid".

use std::ops::Range;

use super::Checked;
use super::bits::{unpack, value_at};

/// A position in a stream of runs.
#[derive(Clone, Debug)]
pub(crate) struct Hybrid {
    /// Where the next run begins.
    at: usize,
    end: usize,
    width: usize,
    run: Run,
}

#[derive(Clone, Debug)]
enum Run {
    Repeated {
        value: u32,
        left: usize,
    },
    Packed {
        /// The page's byte at which the first value begins.
        start: usize,
        /// Values taken.
        next: usize,
        /// Values in all.
        count: usize,
    },
}

impl Hybrid {
    /// A stream of runs of values of `width` bits in a range of the page.
    pub(crate) fn new(range: Range<usize>, width: usize) -> Checked<Self> {
        match width {
            0..=32 => Ok(Self { at: range.start, end: range.end, width, run: Run::Repeated { value: 0, left: 0 } }),
            _ => Err(format!("values of {width} bits")),
        }
    }

    /// Bit-packed values without a run's head.
    pub(crate) fn packed(range: Range<usize>, width: usize) -> Self {
        let count = range.len() * 8 / width.max(1);
        Self { at: range.end, end: range.end, width, run: Run::Packed { start: range.start, next: 0, count } }
    }

    fn left(&self) -> usize {
        match self.run {
            Run::Repeated { left, .. } => left,
            Run::Packed { next, count, .. } => count - next,
        }
    }

    /// Values left in a run that has some.
    #[inline]
    fn begin(&mut self, page: &[u8]) -> Checked<usize> {
        loop {
            match self.left() {
                0 => self.next_run(page)?,
                left => return Ok(left),
            }
        }
    }

    fn next_run(&mut self, page: &[u8]) -> Checked<()> {
        let mut head = 0u64;
        let mut shift = 0;
        loop {
            let byte = self.bytes(page, 1)?[0];
            head |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
            if shift > 56 {
                return Err("a run of more than 2^56 values".to_owned());
            }
        }
        let count = (head >> 1) as usize;
        self.run = if head & 1 == 0 {
            let mut value = [0; 4];
            let bytes = self.bytes(page, self.width.div_ceil(8))?;
            value[..bytes.len()].copy_from_slice(bytes);
            Run::Repeated { value: u32::from_le_bytes(value), left: count }
        } else {
            let start = self.at;
            let count = count.saturating_mul(8);
            let here = self.end - start;
            let count = (here * 8).checked_div(self.width).map_or(count, |fit| count.min(fit));
            self.at += (count * self.width).div_ceil(8).min(here);
            Run::Packed { start, next: 0, count }
        };
        Ok(())
    }

    fn bytes<'a>(&mut self, page: &'a [u8], count: usize) -> Checked<&'a [u8]> {
        if count > self.end - self.at {
            return Err("its values end too early".to_owned());
        }
        self.at += count;
        Ok(&page[self.at - count..self.at])
    }

    fn advance(&mut self, count: usize) {
        match &mut self.run {
            Run::Repeated { left, .. } => *left -= count,
            Run::Packed { next, .. } => *next += count,
        }
    }

    /// Fills `out` with the next values.
    pub(crate) fn read(&mut self, page: &[u8], mut out: &mut [u32]) -> Checked<()> {
        while !out.is_empty() {
            let count = self.begin(page)?.min(out.len());
            let (now, rest) = out.split_at_mut(count);
            match self.run {
                Run::Repeated { value, .. } => now.fill(value),
                Run::Packed { start, next, .. } => unpack(&page[start..self.end], self.width, next, now),
            }
            self.advance(count);
            out = rest;
        }
        Ok(())
    }

    /// Of the next `count` values appends those at `positions` (ascending, counted from `base`).
    pub(crate) fn read_at(
        &mut self,
        page: &[u8],
        mut count: usize,
        mut positions: &[u32],
        base: usize,
        out: &mut Vec<u32>,
    ) -> Checked<()> {
        let mut done = base;
        while let Some(first) = positions.first().filter(|_| count > 0) {
            let here = self.begin(page)?.min(count);
            if (*first as usize) < done + here {
                let taken = positions.partition_point(|p| (*p as usize) < done + here);
                match self.run {
                    Run::Repeated { value, .. } => out.resize(out.len() + taken, value),
                    Run::Packed { start, next, .. } => {
                        let (bytes, width) = (&page[start..self.end], self.width);
                        out.extend(
                            positions[..taken].iter().map(|p| value_at(bytes, width, next + (*p as usize - done))),
                        );
                    }
                }
                positions = &positions[taken..];
            }
            self.advance(here);
            done += here;
            count -= here;
        }
        self.skip(page, count)
    }

    /// Appends whether each of the next values, of one bit, is 1.
    pub(crate) fn read_flags(&mut self, page: &[u8], mut count: usize, out: &mut Vec<bool>) -> Checked<()> {
        debug_assert_eq!(self.width, 1, "flags have one bit");
        while count > 0 {
            let here = self.begin(page)?.min(count);
            match self.run {
                Run::Repeated { value, .. } => out.resize(out.len() + here, value != 0),
                Run::Packed { start, next, .. } => {
                    let bytes = &page[start + next / 8..];
                    let first = next % 8;
                    let whole = (first + here).div_ceil(8);
                    let begin = out.len();
                    out.reserve(whole * 8);
                    for byte in &bytes[..whole] {
                        // Each bit to a byte of its own.
                        let spread = (u64::from(*byte) * 0x0101_0101_0101_0101) & 0x8040_2010_0804_0201;
                        out.extend(spread.to_le_bytes().map(|bit| bit != 0));
                    }
                    if first > 0 {
                        out.copy_within(begin + first.., begin);
                    }
                    out.truncate(begin + here);
                }
            }
            self.advance(here);
            count -= here;
        }
        Ok(())
    }

    /// Takes the next values if they are all the same by one run, and says what they are.
    pub(crate) fn take_repeated(&mut self, page: &[u8], count: usize) -> Checked<Option<u32>> {
        let here = self.begin(page)?;
        match self.run {
            Run::Repeated { value, .. } if here >= count => {
                self.advance(count);
                Ok(Some(value))
            }
            _ => Ok(None),
        }
    }

    /// Passes over the next values.
    pub(crate) fn skip(&mut self, page: &[u8], mut count: usize) -> Checked<()> {
        while count > 0 {
            let here = self.begin(page)?.min(count);
            self.advance(here);
            count -= here;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three fives, then 0..16 packed in 4 bits, then two nines.
    fn stream() -> (Vec<u8>, Vec<u32>) {
        let mut bytes = vec![3 << 1, 5, 2 << 1 | 1];
        bytes.extend((0..8).map(|i| (i * 2) | (i * 2 + 1) << 4));
        bytes.extend([2 << 1, 9]);
        (bytes, [vec![5; 3], (0..16).collect(), vec![9; 2]].concat())
    }

    #[test]
    fn values_are_read_skipped_and_picked() {
        let (bytes, values) = stream();
        for cut in 0..=values.len() {
            let mut hybrid = Hybrid::new(0..bytes.len(), 4).unwrap();
            let mut out = vec![0; cut];
            hybrid.read(&bytes, &mut out).unwrap();
            assert_eq!(out, values[..cut]);
            let mut rest = vec![0; values.len() - cut];
            hybrid.clone().read(&bytes, &mut rest).unwrap();
            assert_eq!(rest, values[cut..]);
            let positions: Vec<u32> = (0..rest.len() as u32).filter(|p| p % 3 == 1).map(|p| p + 10).collect();
            let mut picked = Vec::new();
            hybrid.read_at(&bytes, rest.len(), &positions, 10, &mut picked).unwrap();
            let expected: Vec<u32> = positions.iter().map(|p| rest[*p as usize - 10]).collect();
            assert_eq!(picked, expected);
            assert!(hybrid.read(&bytes, &mut [0]).is_err(), "the end");
            let mut hybrid = Hybrid::new(0..bytes.len(), 4).unwrap();
            hybrid.skip(&bytes, cut).unwrap();
            hybrid.read(&bytes, &mut rest).unwrap();
            assert_eq!(rest, values[cut..]);
        }
    }

    #[test]
    fn flags_are_bits() {
        let bytes = [3 << 1, 1, 2 << 1 | 1, 0b1010_0110, 0b0111_0001, 5 << 1, 0];
        let mut values = vec![0; 24];
        Hybrid::new(0..bytes.len(), 1).unwrap().read(&bytes, &mut values).unwrap();
        for cut in 0..=24 {
            let mut hybrid = Hybrid::new(0..bytes.len(), 1).unwrap();
            let mut flags = Vec::new();
            hybrid.read_flags(&bytes, cut, &mut flags).unwrap();
            hybrid.read_flags(&bytes, 24 - cut, &mut flags).unwrap();
            assert_eq!(flags, values.iter().map(|v| *v == 1).collect::<Vec<_>>(), "cut at {cut}");
            assert!(hybrid.read_flags(&bytes, 1, &mut flags).is_err());
        }
    }

    #[test]
    fn damaged_runs_end_or_fail() {
        for bytes in [&[][..], &[0x80; 20], &[0xff; 20], &[0, 0, 0], &[1, 1, 1], &[4], &[3]] {
            let mut hybrid = Hybrid::new(0..bytes.len(), 9).unwrap();
            assert!(hybrid.read(bytes, &mut [0; 100]).is_err(), "{bytes:?}");
            assert!(Hybrid::new(0..bytes.len(), 9).unwrap().skip(bytes, 100).is_err(), "{bytes:?}");
        }
        assert!(Hybrid::new(0..0, 33).is_err());
        // A run of zero bits takes no bytes.
        let mut hybrid = Hybrid::new(0..1, 0).unwrap();
        let mut out = [7; 8];
        hybrid.read(&[3], &mut out).unwrap();
        assert_eq!(out, [0; 8]);
    }
}
