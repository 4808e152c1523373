//! Damage: what hardware, transfers and people with bad intentions do to bytes.

/// A small generator (xorshift64*), so that a case is the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0xd134_2543_de82_ef95) | 1);
        for _ in 0..4 {
            random.next();
        }
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`, which is 0 for an end of 0.
    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() >> 11) as usize % end }
    }
}

/// Bytes that mean something to a format, and numbers at the ends of their types.
const WORDS: [&[u8]; 24] = [
    b"\"",
    b",",
    b"\n",
    b"\r\n",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b"\\",
    b"\0",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
    b"\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\0\0\0\0\0\0\0\x80",
    b"\x80\x80\x80\x80\x08",
    b"\xfe\xff\xff\xff\x0f",
    b"null",
    b"1e999",
    b"-",
    b"\xc3\x28",
    b"\xef\xbb\xbf",
    b"9999999999999999999999999999999999999999",
];

/// A damaged sample.
pub fn mutate(random: &mut Random, samples: &[Vec<u8>]) -> Vec<u8> {
    let Some(sample) = samples.get(random.below(samples.len())) else { return Vec::new() };
    let mut bytes = sample.clone();
    for _ in 0..1 + random.below(6) {
        let at = random.below(bytes.len() + 1);
        let bits = random.below(10);
        let length = (1 + random.below(1 << bits)).min(bytes.len() - at);
        match random.below(12) {
            0..=2 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            3 | 4 if at < bytes.len() => bytes[at] = random.below(256) as u8,
            5 => {
                let word = WORDS[random.below(WORDS.len())];
                let end = (at + word.len()).min(bytes.len());
                bytes[at..end].copy_from_slice(&word[..end - at]);
            }
            6 => {
                let word = WORDS[random.below(WORDS.len())];
                bytes.splice(at..at, word.iter().copied());
            }
            7 => bytes.truncate(at),
            8 => drop(bytes.drain(at..at + length)),
            9 => {
                let copy = bytes[at..at + length].to_vec();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            10 => {
                // The head of this and the tail of another.
                let other = &samples[random.below(samples.len())];
                bytes.truncate(at);
                bytes.extend_from_slice(&other[random.below(other.len() + 1)..]);
            }
            _ => {
                // A number near the end, where footers have theirs.
                let near = bytes.len().saturating_sub(1 + random.below(64));
                if let Some(byte) = bytes.get_mut(near) {
                    *byte = [0, 1, 0x7f, 0x80, 0xff][random.below(5)];
                }
            }
        }
    }
    bytes
}
