//! Sizes in bytes, written with Flink's units: `8GiB`, `64 kb`, `1024`.
//!
//! Every unit is a power of 1024, also `kb`, as in Flink (org.apache.flink.configuration.MemorySize). A number without
//! a unit is bytes.

use std::fmt;
use std::str::FromStr;

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

/// The shift of each unit and its names; the first is the one that is printed.
const UNITS: [(u32, &[&str]); 5] = [
    (40, &["tb", "t", "tib", "tebibytes"]),
    (30, &["gb", "g", "gib", "gibibytes"]),
    (20, &["mb", "m", "mib", "mebibytes"]),
    (10, &["kb", "k", "kib", "kibibytes"]),
    (0, &["bytes", "b", "byte"]),
];

impl ByteSize {
    /// `bytes` bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// `kib` times 1024 bytes.
    ///
    /// # Panics
    /// If that does not fit 64 bits.
    pub const fn from_kib(kib: u64) -> Self {
        Self(kib.checked_mul(1 << 10).expect("the size fits 64 bits"))
    }

    /// `mib` times 1024 * 1024 bytes.
    ///
    /// # Panics
    /// If that does not fit 64 bits.
    pub const fn from_mib(mib: u64) -> Self {
        Self(mib.checked_mul(1 << 20).expect("the size fits 64 bits"))
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The number of bytes, or the largest `usize` where it does not fit.
    pub fn saturating_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// Splits `64 kb` into its digits and its unit in lower case.
pub(crate) fn number_and_unit(text: &str) -> Option<(u64, String)> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..digits].parse().ok()?;
    Some((number, text[digits..].trim_start().to_lowercase()))
}

impl FromStr for ByteSize {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (number, unit) = number_and_unit(text).ok_or(())?;
        let shift = match unit.as_str() {
            "" => 0,
            unit => UNITS.iter().find(|(_, names)| names.contains(&unit)).ok_or(())?.0,
        };
        number.checked_mul(1 << shift).map(Self).ok_or(())
    }
}

/// Prints in the largest unit that divides the size, so that it reads back as the same size.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = |shift: u32| self.0 != 0 && self.0.trailing_zeros() >= shift;
        let (shift, names) = UNITS.iter().find(|(shift, _)| exact(*shift)).unwrap_or(&UNITS[4]);
        write!(f, "{} {}", self.0 >> shift, names[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_units() {
        let check = |text: &str, bytes: Option<u64>| {
            assert_eq!(text.parse::<ByteSize>().ok().map(ByteSize::bytes), bytes, "{text:?}");
        };
        check("0", Some(0));
        check("1024", Some(1024));
        check(" 64 kb ", Some(65_536));
        check("64KiB", Some(65_536));
        check("64 kibibytes", Some(65_536));
        check("3m", Some(3_145_728));
        check("8GiB", Some(8_589_934_592));
        check("2 tb", Some(2_199_023_255_552));
        check("7 bytes", Some(7));
        check("18446744073709551615 b", Some(u64::MAX));
        check("16777215 t", Some(18_446_742_974_197_923_840));
        for wrong in ["", "kb", "-1", "1.5 gb", "1 kilo", "1 k b", "16777216 t", "18446744073709551616", "٣ kb"] {
            check(wrong, None);
        }
    }

    #[test]
    fn what_is_printed_reads_back() {
        let check = |bytes: u64, expected: &str| {
            let shown = ByteSize::from_bytes(bytes).to_string();
            assert_eq!(shown, expected);
            assert_eq!(shown.parse(), Ok(ByteSize::from_bytes(bytes)));
        };
        check(0, "0 bytes");
        check(1023, "1023 bytes");
        check(65_536, "64 kb");
        check(1_048_577, "1048577 bytes");
        check(ByteSize::from_mib(1536).bytes(), "1536 mb");
        check(ByteSize::from_kib(1 << 30).bytes(), "1 tb");
    }
}
