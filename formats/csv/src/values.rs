//! What the text of a field looks like.

use flumen_core::types::{LogicalType, Resolution};

/// What the values of a column have looked like so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// All are NULL.
    #[default]
    Nothing,
    Boolean,
    Integer,
    Float,
    Date,
    Timestamp,
    /// With an offset from UTC.
    Moment,
    Text,
}

impl Kind {
    /// What a value looks like; spaces around it do not count. Numbers with leading zeros are text, for they are codes.
    pub(crate) fn of(text: &str) -> Self {
        let text = text.trim_matches(' ');
        let bytes = text.as_bytes();
        match bytes.first() {
            None => Self::Text,
            Some(b't' | b'T' | b'f' | b'F') => {
                match text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") {
                    true => Self::Boolean,
                    false => Self::Text,
                }
            }
            Some(b'0'..=b'9' | b'+' | b'-' | b'.') => number(bytes).or_else(|| moment(bytes)).unwrap_or(Self::Text),
            Some(_) => Self::Text,
        }
    }

    /// What values of both look like together.
    pub(crate) fn with(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, x) | (x, Self::Nothing) => x,
            (Self::Integer, Self::Float) | (Self::Float, Self::Integer) => Self::Float,
            (x, y) if x == y => x,
            _ => Self::Text,
        }
    }

    pub(crate) fn data_type(self) -> LogicalType {
        let timestamp = |zone| LogicalType::Timestamp { resolution: Resolution::Microsecond, zone };
        match self {
            Self::Nothing => LogicalType::Null,
            Self::Boolean => LogicalType::Boolean,
            Self::Integer => LogicalType::Int64,
            Self::Float => LogicalType::Float64,
            Self::Date => LogicalType::Date,
            Self::Timestamp => timestamp(None),
            Self::Moment => timestamp(Some("UTC".into())),
            Self::Text => LogicalType::Utf8,
        }
    }
}

fn digits(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|b| b.is_ascii_digit()).count()
}

fn number(bytes: &[u8]) -> Option<Kind> {
    let unsigned = bytes.strip_prefix(b"-").or_else(|| bytes.strip_prefix(b"+")).unwrap_or(bytes);
    let whole = digits(unsigned);
    if whole > 1 && unsigned[0] == b'0' {
        return None;
    }
    if whole == unsigned.len() && whole > 0 {
        let text = std::str::from_utf8(bytes).ok()?;
        return Some(if text.parse::<i64>().is_ok() { Kind::Integer } else { Kind::Float });
    }
    let mut rest = &unsigned[whole..];
    let mut count = whole;
    if let Some(after) = rest.strip_prefix(b".") {
        let fraction = digits(after);
        count += fraction;
        rest = &after[fraction..];
    }
    if let Some(after) = rest.strip_prefix(b"e").or_else(|| rest.strip_prefix(b"E")) {
        let after = after.strip_prefix(b"-").or_else(|| after.strip_prefix(b"+")).unwrap_or(after);
        let exponent = digits(after);
        if exponent == 0 {
            return None;
        }
        rest = &after[exponent..];
    }
    (count > 0 && rest.is_empty()).then_some(Kind::Float)
}

/// `2024-01-31`, `2024-01-31 10:00:00.5` or `2024-01-31T10:00:00+02:00`.
fn moment(bytes: &[u8]) -> Option<Kind> {
    let two = |at: usize| -> Option<u32> {
        let pair = bytes.get(at..at + 2)?;
        pair.iter().all(u8::is_ascii_digit).then(|| u32::from(pair[0] - b'0') * 10 + u32::from(pair[1] - b'0'))
    };
    let is = |at: usize, wanted: &[u8]| bytes.get(at).is_some_and(|b| wanted.contains(b));
    if digits(bytes) != 4 || !is(4, b"-") || !is(7, b"-") {
        return None;
    }
    let year = two(0)? * 100 + two(2)?;
    let (month, day) = (two(5)?, two(8)?);
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 => 28 + u32::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=days).contains(&day) {
        return None;
    }
    if bytes.len() == 10 {
        return Some(Kind::Date);
    }
    if !is(10, b" T") || !is(13, b":") || !is(16, b":") || two(11)? > 23 || two(14)? > 59 || two(17)? > 59 {
        return None;
    }
    let mut rest = &bytes[19..];
    if let Some(after) = rest.strip_prefix(b".") {
        let fraction = digits(after);
        if !(1..=9).contains(&fraction) {
            return None;
        }
        rest = &after[fraction..];
    }
    match rest {
        [] => Some(Kind::Timestamp),
        [b'Z'] => Some(Kind::Moment),
        [b'+' | b'-', a, b, b':', c, d] if [a, b, c, d].iter().all(|b| b.is_ascii_digit()) => Some(Kind::Moment),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_text() {
        for (text, expected) in [
            ("1", Kind::Integer),
            ("-12", Kind::Integer),
            (" 7 ", Kind::Integer),
            ("0", Kind::Integer),
            ("03", Kind::Text),
            ("-007", Kind::Text),
            ("9223372036854775807", Kind::Integer),
            ("9223372036854775808", Kind::Float),
            ("1.5", Kind::Float),
            (".5", Kind::Float),
            ("1.", Kind::Float),
            ("1e5", Kind::Float),
            ("-1.5E-3", Kind::Float),
            ("1e", Kind::Text),
            (".", Kind::Text),
            ("-", Kind::Text),
            ("1_000", Kind::Text),
            ("true", Kind::Boolean),
            ("FALSE", Kind::Boolean),
            ("t", Kind::Text),
            ("2024-02-29", Kind::Date),
            ("2023-02-29", Kind::Text),
            ("2024-13-01", Kind::Text),
            ("2024-1-1", Kind::Text),
            ("2024-01-01 10:00:00", Kind::Timestamp),
            ("2024-01-01T10:00:00.123456", Kind::Timestamp),
            ("2024-01-01 24:00:00", Kind::Text),
            ("2024-01-01T10:00:00Z", Kind::Moment),
            ("2024-01-01 10:00:00+02:00", Kind::Moment),
            ("2024-01-01 10", Kind::Text),
            ("NaN", Kind::Text),
        ] {
            assert_eq!(Kind::of(text), expected, "{text}");
        }
    }

    #[test]
    fn kinds_together() {
        let all = |texts: &[&str]| texts.iter().map(|t| Kind::of(t)).fold(Kind::Nothing, Kind::with);
        assert_eq!(all(&["1", "2.5", "3"]), Kind::Float);
        assert_eq!(all(&["1", "x"]), Kind::Text);
        assert_eq!(all(&["2024-01-01", "2024-01-01 10:00:00"]), Kind::Text);
        assert_eq!(all(&["true", "1"]), Kind::Text);
        assert_eq!(all(&[]), Kind::Nothing);
    }
}
