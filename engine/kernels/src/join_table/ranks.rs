//! Which values of a span occur, and the rank of each among them.
//!
//! One word for 64 values: a bit for each, and how many occur before the word. So a rank is one load of 16 bytes, a
//! shift and a population count (Jacobson's rank, with one level).

/// See the module.
pub(super) struct Ranks {
    words: Vec<Word>,
    len: usize,
}

#[derive(Clone, Copy, Default)]
#[repr(align(16))]
struct Word {
    bits: u64,
    /// Values that occur before the word's.
    before: u32,
}

impl Ranks {
    /// Of the `values`, which may repeat and are below `span`.
    pub(super) fn new(span: u64, values: impl Iterator<Item = u64>) -> Self {
        let mut words = vec![Word::default(); span.div_ceil(64) as usize];
        for value in values {
            words[(value >> 6) as usize].bits |= 1 << (value & 63);
        }
        let mut len = 0;
        for word in &mut words {
            word.before = len;
            len += word.bits.count_ones();
        }
        Self { words, len: len as usize }
    }

    /// How many values occur.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Values that occur and are less, of one that occurs.
    pub(super) fn rank(&self, value: u64) -> u32 {
        self.find(value).0
    }

    /// Values that occur and are less, and whether the value itself occurs; any value may be asked for.
    #[inline(always)]
    pub(super) fn find(&self, value: u64) -> (u32, bool) {
        match self.words.get((value >> 6) as usize) {
            Some(word) => {
                let bit = 1 << (value & 63);
                (word.before + (word.bits & (bit - 1)).count_ones(), word.bits & bit != 0)
            }
            None => (0, false),
        }
    }

    pub(super) fn memory_size(&self) -> usize {
        self.words.capacity() * size_of::<Word>()
    }
}
