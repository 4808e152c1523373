//! Values out of text, and floating-point numbers into text. Blanks around a value are ignored (PostgreSQL).

use super::calendar::{DAY_SECONDS, SECOND_NANOS, Zone, days_from_civil, days_in_month};
use super::decimal::{POWERS, limit};

/// `true`, `t`, `yes`, `y`, `on`, `1` and their opposites, in any case.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    Some(match text.trim().to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "on" | "1" => true,
        "false" | "f" | "no" | "n" | "off" | "0" => false,
        _ => return None,
    })
}

/// A decimal, perhaps with an exponent, rounded half up to the scale.
pub(crate) fn decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let text = text.trim();
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (negative, digits) = match mantissa.as_bytes().first()? {
        b'-' => (true, &mantissa[1..]),
        b'+' => (false, &mantissa[1..]),
        _ => (false, mantissa),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if (whole.is_empty() && fraction.is_empty()) || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    // Digits that count for the result: those before the point after it has moved to the scale.
    let kept = i64::try_from(whole.len()).ok()? + i64::from(exponent) + i64::from(scale);
    let mut value: i128 = 0;
    let mut position = 0i64;
    let mut round = false;
    for digit in whole.bytes().chain(fraction.bytes()).map(|b| i128::from(b - b'0')) {
        if position < kept {
            value = value.checked_mul(10)?.checked_add(digit)?;
        } else if position == kept {
            round = digit >= 5;
        }
        position += 1;
    }
    if position < kept && value != 0 {
        value = value.checked_mul(*POWERS.get(usize::try_from(kept - position).ok()?)?)?;
    }
    value += i128::from(round);
    (value <= limit(precision)).then_some(if negative { -value } else { value })
}

/// A date `YYYY-MM-DD` as days since 1970-01-01.
pub(crate) fn date(text: &str) -> Option<i64> {
    let text = text.trim();
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let mut parts = text.splitn(3, '-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if year.len() < 4 {
        return None;
    }
    let (year, month, day) = (number(year, 4, 6)?, number(month, 1, 2)?, number(day, 1, 2)?);
    let year = if negative { -year } else { year };
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    Some(days_from_civil(year, month, day))
}

fn number(text: &str, least: usize, most: usize) -> Option<i64> {
    if text.len() < least || text.len() > most || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// A time `HH:MM[:SS[.fraction]]` as nanoseconds since midnight.
pub(crate) fn time(text: &str) -> Option<i64> {
    let mut parts = text.trim().splitn(3, ':');
    let hour = number(parts.next()?, 1, 2)?;
    let minute = number(parts.next()?, 2, 2)?;
    let (second, nanos) = match parts.next() {
        None => (0, 0),
        Some(text) => {
            let (second, fraction) = text.split_once('.').unwrap_or((text, ""));
            let mut nanos = 0;
            if !fraction.is_empty() {
                // Digits beyond nanoseconds are cut.
                let digits = fraction.len().min(9);
                if !fraction.bytes().all(|b| b.is_ascii_digit()) {
                    return None;
                }
                nanos = fraction[..digits].parse::<i64>().ok()? * 10i64.pow(9 - u32::try_from(digits).ok()?);
            }
            (number(second, 2, 2)?, nanos)
        }
    };
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some((hour * 3600 + minute * 60 + second) * SECOND_NANOS + nanos)
}

/// A date with an optional time after a blank or `T` and an optional offset (`Z`, `+02`, `+02:00`), as nanoseconds since
/// the epoch. Without an offset the reading is local in `zone`; with one, a type without a zone ignores it.
pub(crate) fn timestamp(text: &str, zone: &Zone, keeps_zone: bool) -> Option<i128> {
    let text = text.trim();
    let split = text.find(['T', 't', ' ']);
    let (day, rest) = match split {
        Some(at) => (&text[..at], text[at + 1..].trim()),
        None => (text, ""),
    };
    let days = date(day)?;
    let (clock, offset) = match rest.find(['Z', 'z', '+', '-']) {
        Some(at) => (rest[..at].trim(), Some(offset(&rest[at..])?)),
        None => (rest, None),
    };
    let nanos = if clock.is_empty() && split.is_none() { 0 } else { time(clock)? };
    let local = days * DAY_SECONDS + nanos / SECOND_NANOS;
    let utc = match (keeps_zone, offset) {
        (false, _) => local,
        (true, Some(offset)) => local - offset,
        (true, None) => zone.to_utc(local),
    };
    Some(i128::from(utc) * i128::from(SECOND_NANOS) + i128::from(nanos % SECOND_NANOS))
}

fn offset(text: &str) -> Option<i64> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, digits) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        _ => (-1, text.strip_prefix('-')?),
    };
    let (hour, minute) = match digits.split_once(':') {
        Some((hour, minute)) => (hour, minute),
        None if digits.len() == 4 && digits.is_ascii() => digits.split_at(2),
        None => (digits, "00"),
    };
    let (hour, minute) = (number(hour, 1, 2)?, number(minute, 2, 2)?);
    (hour <= 18 && minute <= 59).then_some(sign * (hour * 3600 + minute * 60))
}

/// The shortest text that reads back as the same number, in PostgreSQL's form.
/// `plain_below` is the exponent from which on it is scientific: 15 for DOUBLE, 6 for REAL.
pub(crate) fn float_text(value: f64, scientific: &str, plain: String, plain_below: i32) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return plain };
    match exponent.parse::<i32>() {
        Ok(e) if !(-4..plain_below).contains(&e) => {
            format!("{mantissa}e{}{:02}", if e < 0 { '-' } else { '+' }, e.unsigned_abs())
        }
        _ => plain,
    }
}
