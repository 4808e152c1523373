#![allow(unsafe_code)]
//! Byte strings: PLAIN and dictionary codes, as views into the page's bytes or as codes of a shared dictionary.
//!
//! A PLAIN value is its length in four bytes and then its bytes, which is how a view begins: one load of 16 bytes and a
//! mask make the view of a string of up to 12 bytes, and the first half of any other, whose second half is where it
//! lies. Nothing is copied but views; the page stays as long as an array points into it. Where few values of a page are
//! wanted they are copied instead, so that a handful of rows does not keep a megabyte.
//!
//! UTF-8 is checked a page at a time: a page that is ASCII throughout needs nothing more; one that is valid as a whole
//! only that strings begin and end between characters; else (lengths from 128 on are no text) each string by itself.
//!
//! Codes are given out as a dictionary column as long as a batch has nothing else and the dictionary is not larger than a
//! batch; operators then work on codes. Every batch of a row group shares the same dictionary array.
//!
//! Cost per value: PLAIN 1.3 ns (the next length is known only after this one: a load that waits for a load) plus the
//! check of 0.03 ns a byte; coded 0.1 ns as codes, 0.4 as views.
//!
//! Unsafe code here: arrays of views are made without checking each view again, which costs twice what making it does.

use std::sync::Arc;

use arrow_array::builder::make_view;
use arrow_array::types::UInt32Type;
use arrow_array::{ArrayRef, BinaryViewArray, DictionaryArray, StringViewArray, UInt32Array};
use arrow_buffer::{Buffer, NullBuffer};

use super::Checked;
use super::page::{Page, encoding};
use super::values::{Codes, Values, keep, spread};

/// Longest string that lies inside its view.
const INLINE_BYTES: usize = 12;
/// One in so many values of a page wanted: they are copied.
const COPIED_BELOW_ONE_OF: usize = 4;

/// What was found out of a page's text.
#[derive(Clone, Copy, PartialEq)]
enum Text {
    /// Any string of it is text, or it need not be.
    Fine,
    /// Strings that begin and end between characters are text.
    Whole,
    /// Nothing.
    Unknown,
}

/// PLAIN strings of a page.
struct Plain {
    bytes: Buffer,
    /// Where the next string begins.
    at: usize,
    end: usize,
    text: Text,
    /// Its place among the buffers of what is given out next, if it has one.
    slot: Option<u32>,
}

enum Source {
    Plain(Plain),
    Codes(Codes),
}

/// Decodes byte strings.
pub(crate) struct Strings {
    is_text: bool,
    /// Largest dictionary that is given out as such.
    codes_max: usize,
    page: Page,
    source: Source,
    dictionary: Option<Dictionary>,
    scratch: Vec<u32>,
    codes: Vec<u32>,
    views: Vec<u128>,
    buffers: Vec<Buffer>,
    copied: Vec<u8>,
    copied_slot: Option<usize>,
}

struct Dictionary {
    views: Vec<u128>,
    bytes: Buffer,
    array: ArrayRef,
}

impl Strings {
    /// A decoder of text or of bytes that gives out dictionaries of up to `codes_max` values.
    pub(crate) fn new(is_text: bool, codes_max: usize) -> Self {
        let nothing = Plain { bytes: Buffer::default(), at: 0, end: 0, text: Text::Fine, slot: None };
        Self {
            is_text,
            codes_max,
            page: Page::default(),
            source: Source::Plain(nothing),
            dictionary: None,
            scratch: Vec::new(),
            codes: Vec::new(),
            views: Vec::new(),
            buffers: Vec::new(),
            copied: Vec::new(),
            copied_slot: None,
        }
    }

    fn plain(&self, page: &mut Page) -> Plain {
        let bytes = page.body.share();
        let values = &bytes[page.values.clone()];
        let text = match self.is_text {
            false => Text::Fine,
            true if values.is_ascii() => Text::Fine,
            true if simdutf8::basic::from_utf8(values).is_ok() => Text::Whole,
            true => Text::Unknown,
        };
        Plain { at: page.values.start, end: page.values.end, bytes, text, slot: None }
    }

    fn array(&self, views: Vec<u128>, buffers: Vec<Buffer>, nulls: Option<NullBuffer>) -> ArrayRef {
        match self.is_text {
            // SAFETY: every view was made here, of a string that lies in the buffer it names (or is zero, the empty
            // string) and that was found to be UTF-8; there is a validity for each view.
            true => Arc::new(unsafe { StringViewArray::new_unchecked(views.into(), buffers, nulls) }),
            // SAFETY: as above, but for UTF-8, which bytes need not be.
            false => Arc::new(unsafe { BinaryViewArray::new_unchecked(views.into(), buffers, nulls) }),
        }
    }

    /// Views in place of the codes gathered so far.
    fn codes_to_views(&mut self) {
        if let (false, Some(dictionary)) = (self.codes.is_empty(), &self.dictionary) {
            if self.buffers.is_empty() {
                self.buffers.push(dictionary.bytes.clone());
            }
            let views = dictionary.views.as_slice();
            self.views.extend(self.codes.drain(..).map(|code| views[code as usize]));
        }
    }

    fn gives_codes(&self) -> bool {
        self.views.is_empty() && self.dictionary.as_ref().is_some_and(|d| (1..=self.codes_max).contains(&d.views.len()))
    }

    /// A place for a buffer; the dictionary's is the first.
    fn slot(buffers: &mut Vec<Buffer>, dictionary: Option<&Dictionary>, buffer: Buffer) -> Checked<u32> {
        if buffers.is_empty() {
            buffers.extend(dictionary.map(|d| d.bytes.clone()));
        }
        buffers.push(buffer);
        u32::try_from(buffers.len() - 1).map_err(|_| "2^32 pages in a batch".to_owned())
    }

    fn read_codes(&mut self, count: usize, at: Option<(&[u32], usize)>) -> Checked<()> {
        let mut codes = std::mem::take(&mut self.scratch);
        let taken = self.take_codes(count, at, &mut codes);
        if taken.is_ok() {
            self.push_codes(&codes);
        }
        self.scratch = codes;
        taken
    }

    /// A copy of a string that does not fit its view, among the strings that are copied.
    fn copy(&mut self, string: &[u8]) -> Checked<u128> {
        if self.copied.len() + string.len() > u32::MAX as usize {
            return Err("a batch of more than 4 GiB of text; read fewer rows at a time".to_owned());
        }
        let slot = match self.copied_slot {
            Some(slot) => slot,
            None => {
                let slot = Self::slot(&mut self.buffers, self.dictionary.as_ref(), Buffer::default())? as usize;
                self.copied_slot = Some(slot);
                slot
            }
        };
        let view = make_view(string, slot as u32, self.copied.len() as u32);
        self.copied.extend_from_slice(string);
        Ok(view)
    }
}

impl Plain {
    /// Where the next string lies; moves behind it.
    #[inline(always)]
    fn next(&mut self) -> Checked<(usize, usize)> {
        let bytes = &self.bytes[..self.end];
        let start = self.at + 4;
        let Some(length) = bytes.get(self.at..start) else { return Err(too_few()) };
        let length = u32::from_le_bytes(length.try_into().expect("four bytes were cut out")) as usize;
        if length > self.end - start {
            return Err(format!("a string of {length} bytes, with {} left in its page", self.end - start));
        }
        self.at = start + length;
        Ok((start, length))
    }

    /// The view of a string of this page.
    #[inline(always)]
    fn view(&self, start: usize, length: usize, slot: u32) -> Checked<u128> {
        if self.text != Text::Fine {
            self.check(start, length)?;
        }
        // From the length on: what is behind a short string is cut off, or the page ends there.
        let Some(head) = self.bytes.get(start - 4..start + INLINE_BYTES) else {
            return Ok(make_view(&self.bytes[start..start + length], slot, start as u32));
        };
        let head = u128::from_le_bytes(head.try_into().expect("sixteen bytes were cut out"));
        Ok(match length {
            0..=INLINE_BYTES => head & (u128::MAX >> (8 * (INLINE_BYTES - length))),
            _ => u128::from(head as u64) | u128::from(slot) << 64 | (start as u128) << 96,
        })
    }

    /// Whether a string is text.
    #[cold]
    fn check(&self, start: usize, length: usize) -> Checked<()> {
        let is_text = match self.text {
            Text::Fine => true,
            Text::Whole => {
                let is_boundary =
                    |at: usize| at >= self.end || self.bytes.get(at).is_none_or(|byte| (*byte as i8) >= -0x40);
                is_boundary(start) && is_boundary(start + length)
            }
            Text::Unknown => simdutf8::basic::from_utf8(&self.bytes[start..start + length]).is_ok(),
        };
        match is_text {
            true => Ok(()),
            false => {
                let found = String::from_utf8_lossy(&self.bytes[start..start + length.min(40)]).into_owned();
                Err(format!("{found:?} is not UTF-8; read the column as bytes"))
            }
        }
    }
}

fn too_few() -> String {
    "its strings end too early".to_owned()
}

impl Values for Strings {
    fn set_dictionary(&mut self, mut page: Page) -> Checked<()> {
        let mut plain = self.plain(&mut page);
        // A string takes four bytes and more: the count was not checked against that yet.
        if page.count > page.values.len() / 4 {
            return Err(format!("a dictionary of {} bytes that claims {} strings", page.values.len(), page.count));
        }
        let mut views = Vec::with_capacity(page.count);
        for _ in 0..page.count {
            let (start, length) = plain.next()?;
            views.push(plain.view(start, length, 0)?);
        }
        let array = self.array(views.clone(), vec![plain.bytes.clone()], None);
        self.dictionary = Some(Dictionary { views, bytes: plain.bytes, array });
        Ok(())
    }

    fn set_page(&mut self, mut page: Page) -> Checked<()> {
        self.source = match page.encoding {
            encoding::PLAIN => Source::Plain(self.plain(&mut page)),
            _ => Source::Codes(Codes::new(&page)?),
        };
        self.page = page;
        Ok(())
    }

    fn page(&self) -> &Page {
        &self.page
    }

    fn read(&mut self, count: usize) -> Checked<()> {
        if let Source::Codes(_) = self.source {
            return self.read_codes(count, None);
        }
        self.codes_to_views();
        let Source::Plain(plain) = &mut self.source else { unreachable!("looked at above") };
        if count > (plain.end - plain.at) / 4 {
            return Err(too_few());
        }
        let slot = match plain.slot {
            Some(slot) => slot,
            None => {
                let slot = Self::slot(&mut self.buffers, self.dictionary.as_ref(), plain.bytes.clone())?;
                plain.slot = Some(slot);
                slot
            }
        };
        self.views.reserve(count);
        for _ in 0..count {
            let (start, length) = plain.next()?;
            self.views.push(plain.view(start, length, slot)?);
        }
        Ok(())
    }

    fn read_at(&mut self, count: usize, positions: &[u32], base: usize) -> Checked<()> {
        if let Source::Codes(_) = self.source {
            return self.read_codes(count, Some((positions, base)));
        }
        self.codes_to_views();
        let is_copied = positions.len() * COPIED_BELOW_ONE_OF < count;
        let mut done = base;
        for position in positions {
            let Source::Plain(plain) = &mut self.source else { unreachable!("looked at above") };
            for _ in done..*position as usize {
                plain.next()?;
            }
            done = *position as usize + 1;
            let (start, length) = plain.next()?;
            let view = if length <= INLINE_BYTES {
                plain.view(start, length, 0)?
            } else if is_copied {
                plain.check(start, length)?;
                let bytes = plain.bytes.clone();
                self.copy(&bytes[start..start + length])?
            } else {
                let slot = match plain.slot {
                    Some(slot) => slot,
                    None => {
                        let slot = Self::slot(&mut self.buffers, self.dictionary.as_ref(), plain.bytes.clone())?;
                        plain.slot = Some(slot);
                        slot
                    }
                };
                plain.view(start, length, slot)?
            };
            self.views.push(view);
        }
        self.skip(count - (done - base))
    }

    fn skip(&mut self, count: usize) -> Checked<()> {
        match &mut self.source {
            Source::Codes(codes) => codes.skip(&self.page, count),
            Source::Plain(plain) => (0..count).try_for_each(|_| plain.next().map(drop)),
        }
    }

    fn is_coded(&self) -> bool {
        matches!(self.source, Source::Codes(_)) && self.dictionary.is_some()
    }

    fn dictionary_len(&self) -> usize {
        self.dictionary.as_ref().map_or(0, |d| d.views.len())
    }

    fn dictionary(&self) -> ArrayRef {
        match &self.dictionary {
            Some(dictionary) => Arc::clone(&dictionary.array),
            None => self.array(Vec::new(), Vec::new(), None),
        }
    }

    fn take_codes(&mut self, count: usize, at: Option<(&[u32], usize)>, codes: &mut Vec<u32>) -> Checked<()> {
        let limit = self.dictionary_len();
        match &mut self.source {
            Source::Codes(source) => source.read(&self.page, count, at, limit, codes),
            Source::Plain(_) => unreachable!("the callers have looked"),
        }
    }

    fn push_codes(&mut self, codes: &[u32]) {
        if self.gives_codes() {
            self.codes.extend_from_slice(codes);
        } else if let Some(dictionary) = &self.dictionary {
            if self.buffers.is_empty() {
                self.buffers.push(dictionary.bytes.clone());
            }
            let views = dictionary.views.as_slice();
            self.views.extend(codes.iter().map(|code| views[*code as usize]));
        }
    }

    fn len(&self) -> usize {
        // Only one of both has rows.
        self.codes.len() + self.views.len()
    }

    fn spread(&mut self, present: usize, valid: &[bool]) {
        match self.codes.is_empty() {
            false => spread(&mut self.codes, present, valid),
            true => spread(&mut self.views, present, valid),
        }
    }

    fn keep(&mut self, from: usize, kept: &[u32]) {
        match self.codes.is_empty() {
            false => keep(&mut self.codes, from, kept),
            true => keep(&mut self.views, from, kept),
        }
    }

    fn tail(&self, from: usize, nulls: Option<NullBuffer>) -> Checked<ArrayRef> {
        if let (false, Some(dictionary)) = (self.codes.is_empty(), &self.dictionary) {
            return coded(self.codes[from..].to_vec(), nulls, dictionary);
        }
        let mut buffers = self.buffers.clone();
        if let Some(slot) = self.copied_slot {
            buffers[slot] = Buffer::from(self.copied.as_slice());
        }
        Ok(self.array(self.views[from..].to_vec(), buffers, nulls))
    }

    fn finish(&mut self, nulls: Option<NullBuffer>) -> Checked<ArrayRef> {
        if let (false, Some(dictionary)) = (self.codes.is_empty(), &self.dictionary) {
            let next = Vec::with_capacity(self.codes.len());
            return coded(std::mem::replace(&mut self.codes, next), nulls, dictionary);
        }
        let mut buffers = std::mem::take(&mut self.buffers);
        if let Some(slot) = self.copied_slot.take() {
            buffers[slot] = Buffer::from_vec(std::mem::take(&mut self.copied));
        }
        if let Source::Plain(plain) = &mut self.source {
            plain.slot = None;
        }
        let next = Vec::with_capacity(self.views.len());
        let views = std::mem::replace(&mut self.views, next);
        Ok(self.array(views, buffers, nulls))
    }
}

fn coded(codes: Vec<u32>, nulls: Option<NullBuffer>, dictionary: &Dictionary) -> Checked<ArrayRef> {
    let keys = UInt32Array::new(codes.into(), nulls);
    let array = DictionaryArray::<UInt32Type>::try_new(keys, Arc::clone(&dictionary.array));
    array.map(|array| Arc::new(array) as ArrayRef).map_err(|error| error.to_string())
}
