//! The grouped access: from the keys of a batch to slots, all rows at once.
//!
//! 1. If keys repeat in a way that is cheap to see, one representative per distinct code or run stands for the rest:
//!    dictionary codes and small integer ranges index an array ([`few_codes`]); equal neighbours form runs.
//! 2. The representatives' keys become words, their hashes are looked up in the directory (all of them, before any key
//!    is touched, so that cache misses overlap).
//! 3. Words are compared; rows without a candidate, or whose candidate differs, are looked up again one by one and
//!    inserted if they are new.
//! 4. Slots of representatives are spread to their rows.
//!
//! Dense keys of one word need no directory ([`super::direct`]).
//!
//! What a row touches: with few groups one entry of an array; else one word of the directory and one row of key words,
//! each a cache line from memory once the groups outgrow the caches. Nanoseconds are for the micro benchmarks to say.

use flumen_core::batch::{Column, Selection};

use super::layout::{EncodedKeys, Rows};
use super::table::KeyedTable;
use crate::error::Result;
use crate::values::{ColumnView, Index, Lanes};

/// Codes that are indexed directly at most.
const CODES_MAX: usize = 1 << 14;
/// Rows that are looked at to see whether neighbours are equal.
const RUN_SAMPLE_ROWS: usize = 256;

/// The keys of a batch.
#[derive(Clone, Copy)]
pub struct KeyInput<'a> {
    /// The key columns, in the table's order.
    pub columns: &'a [&'a Column],
    /// Physical rows of the batch.
    pub rows: usize,
    /// Which of them count; `None` means all.
    pub selection: Option<&'a Selection>,
    /// Hash of each physical row (`flumen_kernels::hash` over the key columns in order); computed if absent.
    pub hashes: Option<&'a [u64]>,
}

/// What grouping a batch gives. Keep one and pass it again: its allocations are reused.
#[derive(Default)]
pub struct Groups {
    /// The slot of each selected row, in order.
    pub slots: Vec<u32>,
    /// Slots of the groups that this batch created, in the order of their first rows.
    pub new_slots: Vec<u32>,
    /// Physical row of the first occurrence of each of `new_slots`.
    pub new_rows: Vec<u32>,
    /// All rows are in this one group, if that is known without looking.
    pub single: Option<u32>,
    pub(super) scratch: Scratch,
}

/// Allocations that live from batch to batch.
#[derive(Default)]
pub(super) struct Scratch {
    words: Vec<u64>,
    nulls: Vec<u64>,
    hashes: Vec<u64>,
    candidates: Vec<u32>,
    /// Physical rows of the representatives.
    representatives: Vec<u32>,
    /// For each selected row, which representative stands for it.
    members: Vec<u32>,
    codes: Vec<u32>,
    code_groups: Vec<u32>,
    representative_slots: Vec<u32>,
}

impl KeyedTable {
    /// Finds or creates the group of every selected row.
    ///
    /// `groups` receives one slot per selected row and the groups that are new; accumulators have memory for all of
    /// them afterwards. NULL is a key like any other.
    ///
    /// # Errors
    /// If memory is refused or a column does not carry its key's type. Groups that were created before a refusal stay.
    pub fn group(&mut self, input: KeyInput<'_>, groups: &mut Groups) -> Result<()> {
        let selected = input.selection.map_or(input.rows, |s| s.len());
        let mut scratch = std::mem::take(&mut groups.scratch);
        groups.slots.clear();
        groups.new_slots.clear();
        groups.new_rows.clear();
        groups.single = None;
        let result = if self.key_fields().is_empty() {
            self.group_all(input, selected, groups)
        } else if selected == 0 {
            Ok(())
        } else {
            self.group_keys(input, selected, groups, &mut scratch)
        };
        groups.scratch = scratch;
        result
    }

    /// No keys: one group.
    fn group_all(&mut self, input: KeyInput<'_>, selected: usize, groups: &mut Groups) -> Result<()> {
        if selected > 0 {
            if self.ensure_single_group()? {
                groups.new_slots.push(0);
                groups.new_rows.push(input.selection.map_or(0, |s| s[0]));
            }
            groups.slots.resize(selected, 0);
            groups.single = Some(0);
        }
        Ok(())
    }

    fn group_keys(
        &mut self,
        input: KeyInput<'_>,
        selected: usize,
        groups: &mut Groups,
        scratch: &mut Scratch,
    ) -> Result<()> {
        assert_eq!(input.columns.len(), self.key_fields().len(), "one column for each key");
        let layout = std::sync::Arc::clone(&self.keys.layout);
        let columns = layout.simple(input.columns)?;
        let views = columns.iter().map(|c| ColumnView::new(c)).collect::<Result<Vec<_>>>()?;
        let all = input.selection.map_or(Rows::All(input.rows), |s| Rows::List(s));
        if few_codes(&views, all, selected, scratch) {
            let representatives = std::mem::take(&mut scratch.representatives);
            let result = self.group_representatives(input, &views, &representatives, groups, scratch);
            scratch.representatives = representatives;
            return result;
        }
        let words = std::mem::take(&mut scratch.words);
        let nulls = std::mem::take(&mut scratch.nulls);
        let keys = layout.encode(&views, all, words, nulls)?;
        let is_small = layout.words == 1 && keys.nulls.is_empty() && small_range(&keys.words, all, scratch);
        if is_small || (layout.views.is_empty() && equal_runs(&keys, layout.words, all, scratch)) {
            (scratch.words, scratch.nulls) = (keys.words, keys.nulls);
            let representatives = std::mem::take(&mut scratch.representatives);
            let result = self.group_representatives(input, &views, &representatives, groups, scratch);
            scratch.representatives = representatives;
            return result;
        }
        let mut computed = std::mem::take(&mut scratch.hashes);
        let hashes = match input.hashes {
            Some(hashes) => hashes,
            None => {
                flumen_kernels::hash::hash_columns_into(input.columns, input.rows, input.selection, &mut computed);
                &computed
            }
        };
        let result = self.lookup(&keys, hashes, all, groups, scratch);
        scratch.hashes = computed;
        (scratch.words, scratch.nulls) = (keys.words, keys.nulls);
        result?;
        std::mem::swap(&mut groups.slots, &mut scratch.representative_slots);
        Ok(())
    }

    /// Groups the representatives and spreads their slots to all rows.
    fn group_representatives(
        &mut self,
        input: KeyInput<'_>,
        views: &[ColumnView<'_>],
        representatives: &[u32],
        groups: &mut Groups,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let rows = Rows::List(representatives);
        let layout = std::sync::Arc::clone(&self.keys.layout);
        let words = std::mem::take(&mut scratch.words);
        let nulls = std::mem::take(&mut scratch.nulls);
        let keys = layout.encode(views, rows, words, nulls)?;
        let mut computed = std::mem::take(&mut scratch.hashes);
        let hashes = match input.hashes {
            Some(hashes) => hashes,
            None => {
                // A row outside of the selection may hold anything, so only the representatives' rows are hashed; they
                // ascend, because each is the first row of its code.
                let selection = Selection::from(representatives.to_vec());
                flumen_kernels::hash::hash_columns_into(input.columns, input.rows, Some(&selection), &mut computed);
                &computed
            }
        };
        let result = self.lookup(&keys, hashes, rows, groups, scratch);
        scratch.hashes = computed;
        (scratch.words, scratch.nulls) = (keys.words, keys.nulls);
        result?;
        if let [slot] = scratch.representative_slots[..] {
            groups.single = Some(slot);
        }
        let slots = &scratch.representative_slots;
        groups.slots.extend(scratch.members.iter().map(|member| slots[*member as usize]));
        Ok(())
    }

    /// Slots of the encoded rows into `scratch.representative_slots`.
    fn lookup(
        &mut self,
        keys: &EncodedKeys<'_>,
        hashes: &[u64],
        rows: Rows<'_>,
        groups: &mut Groups,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let count = rows.len();
        if self.lookup_direct(keys, hashes, rows, groups, scratch)? {
            return self.reserve_accumulators();
        }
        self.directory.expect(self.expected_groups)?;
        let candidates = &mut scratch.candidates;
        candidates.clear();
        candidates.reserve(count);
        match rows {
            Rows::All(n) => candidates.extend(hashes[..n].iter().map(|hash| self.directory.candidate(*hash))),
            Rows::List(list) => {
                candidates.extend(list.iter().map(|row| self.directory.candidate(hashes[*row as usize])));
            }
        }
        let slots = &mut scratch.representative_slots;
        slots.clear();
        slots.resize(count, 0);
        let plain = keys.nulls.is_empty() && !self.keys.has_nulls() && self.keys.layout.views.is_empty();
        // Rows that need a closer look: no candidate, or another key with the same tag. They are noted without a
        // branch, since among many groups no one can guess.
        let mut open = std::mem::take(&mut scratch.codes);
        open.clear();
        open.resize(count, 0);
        let mut open_count = 0;
        let mut note = |i: usize, candidate: u32, equal: bool| {
            slots[i] = candidate.wrapping_sub(1);
            open[open_count] = i as u32;
            open_count += usize::from(!equal);
        };
        match (plain, self.keys.layout.words) {
            (true, 1) => {
                for (i, (&candidate, &word)) in candidates.iter().zip(&keys.words).enumerate() {
                    note(i, candidate, candidate != 0 && self.keys.word(candidate - 1) == word);
                }
            }
            (true, 2) => {
                for (i, (&candidate, words)) in candidates.iter().zip(keys.words.as_chunks::<2>().0).enumerate() {
                    note(i, candidate, candidate != 0 && self.keys.two_words(candidate - 1) == *words);
                }
            }
            _ => {
                for (i, &candidate) in candidates.iter().enumerate() {
                    note(i, candidate, candidate != 0 && self.keys.equals(candidate - 1, keys, i, rows.row(i)));
                }
            }
        }
        open.truncate(open_count);
        let result = self.insert_missing(keys, hashes, rows, &open, groups, slots);
        scratch.codes = open;
        result?;
        self.reserve_accumulators()
    }

    /// As [`Self::lookup`], by the keys themselves; `false` if these, or those before, are not dense enough for that.
    fn lookup_direct(
        &mut self,
        keys: &EncodedKeys<'_>,
        hashes: &[u64],
        rows: Rows<'_>,
        groups: &mut Groups,
        scratch: &mut Scratch,
    ) -> Result<bool> {
        let Some(direct) = &mut self.direct else { return Ok(false) };
        let (mut low, mut high) = (u64::MAX, 0);
        for &word in &keys.words {
            low = low.min(word);
            high = high.max(word);
        }
        if !keys.nulls.is_empty() || low > high || !direct.cover(low, high, self.slots as usize + keys.words.len()) {
            self.leave_direct()?;
            return Ok(false);
        }
        let slots = &mut scratch.representative_slots;
        slots.clear();
        slots.extend(keys.words.iter().map(|word| direct.get(*word).wrapping_sub(1)));
        for (i, found) in slots.iter_mut().enumerate() {
            if *found != u32::MAX {
                continue;
            }
            // It may be the key of a row before.
            let known = self.direct.as_ref().map_or(0, |direct| direct.get(keys.words[i]));
            *found = match known.checked_sub(1) {
                Some(slot) => slot,
                None => {
                    let row = rows.row(i);
                    let slot = self.insert(hashes[row], keys, i, row)?;
                    groups.new_slots.push(slot);
                    groups.new_rows.push(row as u32);
                    slot
                }
            };
        }
        Ok(true)
    }

    fn insert_missing(
        &mut self,
        keys: &EncodedKeys<'_>,
        hashes: &[u64],
        rows: Rows<'_>,
        open: &[u32],
        groups: &mut Groups,
        slots: &mut [u32],
    ) -> Result<()> {
        for &i in open {
            let i = i as usize;
            let row = rows.row(i);
            let hash = hashes[row];
            slots[i] = match self.directory.find(hash, |slot| self.keys.equals(slot, keys, i, row)) {
                Some(slot) => slot,
                None => {
                    let slot = self.insert(hash, keys, i, row)?;
                    groups.new_slots.push(slot);
                    groups.new_rows.push(row as u32);
                    slot
                }
            };
        }
        Ok(())
    }
}

/// If the keys are dictionary codes (and constants) of few combinations: fills representatives and members.
fn few_codes(views: &[ColumnView<'_>], rows: Rows<'_>, selected: usize, scratch: &mut Scratch) -> bool {
    let mut combinations = 1usize;
    let mut any = false;
    for view in views {
        match &view.index {
            Index::Constant(_) => {}
            Index::Positions(_) => {
                any = true;
                // One more for NULL.
                combinations = combinations.saturating_mul(lane_count(&view.lanes) + 1);
            }
            Index::Row => return false,
        }
    }
    // A table of codes that is larger than the batch costs more to clear than it saves.
    if combinations > CODES_MAX.min(selected.max(64)) {
        return false;
    }
    let codes = &mut scratch.codes;
    codes.clear();
    codes.resize(selected, 0);
    if any {
        for view in views {
            let Index::Positions(positions) = &view.index else { continue };
            let values = lane_count(&view.lanes) as u32;
            for (i, code) in codes.iter_mut().enumerate() {
                let row = rows.row(i);
                let position = if view.is_null(row) { values } else { positions[row] };
                *code = *code * (values + 1) + position;
            }
        }
    }
    index_codes(rows, combinations, scratch);
    true
}

/// If the words span a small range: fills representatives and members.
fn small_range(words: &[u64], rows: Rows<'_>, scratch: &mut Scratch) -> bool {
    let (mut low, mut high) = (u64::MAX, 0);
    for &word in words {
        low = low.min(word);
        high = high.max(word);
    }
    let span = high.wrapping_sub(low);
    if span >= CODES_MAX.min(words.len() / 2) as u64 {
        return false;
    }
    scratch.codes.clear();
    scratch.codes.extend(words.iter().map(|word| (word - low) as u32));
    index_codes(rows, span as usize + 1, scratch);
    true
}

/// If many neighbours have the same key, as in clustered input: fills representatives and members. Not for layouts with
/// strings, whose words do not tell long ones apart.
fn equal_runs(keys: &EncodedKeys<'_>, width: usize, rows: Rows<'_>, scratch: &mut Scratch) -> bool {
    let count = rows.len();
    let begins = |i: usize| {
        keys.words[i * width..(i + 1) * width] != keys.words[(i - 1) * width..i * width]
            || keys.null_mask(i) != keys.null_mask(i - 1)
    };
    // A sample decides; where it errs, only time is lost.
    let sample = count.min(RUN_SAMPLE_ROWS);
    if (1..sample).filter(|i| !begins(*i)).count() * 3 < sample {
        return false;
    }
    let Scratch { representatives, members, .. } = scratch;
    representatives.clear();
    members.clear();
    for i in 0..count {
        if i == 0 || begins(i) {
            representatives.push(rows.row(i) as u32);
        }
        members.push(representatives.len() as u32 - 1);
    }
    true
}

/// From the code of each row to representatives (first row of each code) and members.
fn index_codes(rows: Rows<'_>, code_count: usize, scratch: &mut Scratch) {
    let Scratch { codes, code_groups, representatives, members, .. } = scratch;
    code_groups.clear();
    code_groups.resize(code_count, u32::MAX);
    representatives.clear();
    members.clear();
    members.reserve(codes.len());
    for (i, &code) in codes.iter().enumerate() {
        let group = &mut code_groups[code as usize];
        if *group == u32::MAX {
            *group = representatives.len() as u32;
            representatives.push(rows.row(i) as u32);
        }
        members.push(*group);
    }
}

fn lane_count(lanes: &Lanes<'_>) -> usize {
    use crate::values::ByteLanes;
    match lanes {
        Lanes::Null | Lanes::Opaque => 0,
        Lanes::Bool(values) => values.len(),
        Lanes::I8(values) => values.len(),
        Lanes::I16(values) => values.len(),
        Lanes::I32(values) => values.len(),
        Lanes::I64(values) => values.len(),
        Lanes::I128(values) => values.len(),
        Lanes::U8(values) => values.len(),
        Lanes::U16(values) => values.len(),
        Lanes::U32(values) => values.len(),
        Lanes::U64(values) => values.len(),
        Lanes::F32(values) => values.len(),
        Lanes::F64(values) => values.len(),
        Lanes::Interval(values) => values.len(),
        Lanes::Bytes(ByteLanes::Small(offsets, _)) => offsets.len() - 1,
        Lanes::Bytes(ByteLanes::Large(offsets, _)) => offsets.len() - 1,
        Lanes::Bytes(ByteLanes::Views(views, _)) => views.len(),
        Lanes::Bytes(ByteLanes::Fixed(width, data)) => data.len().checked_div(*width).unwrap_or(0),
    }
}
