//! Which rows each row's frame has: two vectors of bounds.
//!
//! Bounds never go back from one row to the next: rows are sorted, and a frame stays within its partition. What sweeps
//! over the rows with two cursors (`range`, `extreme`, `floats`) rests on that. A frame whose end is not behind its start
//! has no rows.
//!
//! A frame that leaves rows out (EXCLUDE) has up to three ranges of rows instead of one; only what asks for
//! [`Frames::parts`] can compute over such frames.

use flumen_core::expr::{Literal, Value};
use flumen_core::failure::Failure;
use flumen_core::spec::window::{Exclusion, Frame, FrameBound, FrameUnits};

use super::{NAME, SortedRows, range};
use crate::error::OperatorError;

/// The rows `start[row]..end[row]` are the frame of a row.
pub(super) struct Frames {
    pub(super) start: Vec<u32>,
    pub(super) end: Vec<u32>,
    exclude: Exclusion,
    /// First row and end of each row's peers, if peers are left out.
    peers: Option<(Vec<u32>, Vec<u32>)>,
}

/// An end of a frame, as it is looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The first row of the frame.
    Start,
    /// The row behind the last one of the frame.
    Behind,
}

impl Frames {
    pub(super) fn new(rows: &SortedRows, frame: &Frame) -> Result<Self, Failure> {
        let leaves_peers_out = matches!(frame.exclude, Exclusion::Group | Exclusion::Ties);
        Ok(Self {
            start: bounds(rows, frame.units, &frame.start, End::Start)?,
            end: bounds(rows, frame.units, &frame.end, End::Behind)?,
            exclude: frame.exclude,
            peers: leaves_peers_out.then(|| peers(rows)),
        })
    }

    /// Whether frames leave rows out, so that [`Self::get`] is not all there is to say.
    pub(super) fn has_parts(&self) -> bool {
        self.exclude != Exclusion::NoOthers
    }

    /// The rows of a row's frame, without those that are left out, in order; ranges may be empty.
    #[inline]
    pub(super) fn parts(&self, row: usize) -> [std::ops::Range<usize>; 3] {
        let whole = self.get(row);
        let none = whole.end..whole.end;
        let (from, to) = match (&self.peers, self.exclude) {
            (_, Exclusion::NoOthers) => return [whole, none.clone(), none],
            (Some((starts, ends)), _) => (starts[row] as usize, ends[row] as usize),
            (None, _) => (row, row + 1),
        };
        let clamp = |at: usize| at.clamp(whole.start, whole.end);
        let itself = if self.exclude == Exclusion::Ties { clamp(row)..clamp(row + 1) } else { none };
        [whole.start..clamp(from), itself, clamp(to)..whole.end]
    }

    /// The rows of a row's frame.
    #[inline(always)]
    pub(super) fn get(&self, row: usize) -> std::ops::Range<usize> {
        let start = self.start[row] as usize;
        start..(self.end[row] as usize).max(start)
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let peers = self.peers.as_ref().map_or(0, |(starts, ends)| starts.len() + ends.len());
        size_of::<u32>() * (self.start.len() + self.end.len() + peers)
    }
}

/// Where the peers of each row begin and end.
fn peers(rows: &SortedRows) -> (Vec<u32>, Vec<u32>) {
    let (mut starts, mut ends) = (Vec::with_capacity(rows.count), Vec::with_capacity(rows.count));
    for group in rows.layout.groups.windows(2) {
        starts.resize(group[1] as usize, group[0]);
        ends.resize(group[1] as usize, group[1]);
    }
    (starts, ends)
}

/// One end of each row's frame.
fn bounds(rows: &SortedRows, units: FrameUnits, bound: &FrameBound, end: End) -> Result<Vec<u32>, Failure> {
    let layout = &rows.layout;
    let mut out = Vec::with_capacity(rows.count);
    // How many units away; `None` at an end of the partition.
    let away = match bound {
        FrameBound::UnboundedPreceding | FrameBound::UnboundedFollowing => None,
        FrameBound::CurrentRow => Some(0),
        FrameBound::Preceding(offset) | FrameBound::Following(offset) if units == FrameUnits::Range => {
            return range::bounds(rows, offset, matches!(bound, FrameBound::Following(_)), end);
        }
        FrameBound::Preceding(offset) => Some(-units_of(offset)?),
        FrameBound::Following(offset) => Some(units_of(offset)?),
    };
    let Some(away) = away else {
        for partition in layout.partitions_in(0..rows.count) {
            let at = if *bound == FrameBound::UnboundedPreceding { partition.whole.start } else { partition.whole.end };
            out.resize(partition.whole.end, at as u32);
        }
        return Ok(out);
    };
    let away = away + i64::from(end == End::Behind);
    for partition in layout.partitions_in(0..rows.count) {
        if units == FrameUnits::Rows {
            let (first, behind) = (partition.whole.start as i64, partition.whole.end as i64);
            out.extend((first..behind).map(|row| (row + away).clamp(first, behind) as u32));
            continue;
        }
        let first = i64::from(layout.first_groups[partition.index]);
        let behind = i64::from(layout.first_groups[partition.index + 1]);
        for group in layout.groups_in(&partition) {
            let at = (group.index as i64 + away).clamp(first, behind);
            out.resize(group.whole.end, layout.groups[at as usize]);
        }
    }
    Ok(out)
}

/// An offset in rows or groups. More than there can be rows is as good as all.
fn units_of(offset: &Literal) -> Result<i64, Failure> {
    match offset.value {
        Value::Int(n) if n >= 0 => Ok(n.min(i128::from(u32::MAX)) as i64),
        _ => {
            let problem = format!("the frame's offset {:?} is not a number of rows", offset.value);
            Err(OperatorError::Spec { operator: NAME, problem }.into())
        }
    }
}
