//! The proleptic Gregorian calendar on day numbers, and time zones.
//!
//! Source: Howard Hinnant, "chrono-compatible low-level date algorithms" (`days_from_civil`, `civil_from_days`).

use arrow_array::timezone::Tz;
use chrono::{DateTime, Offset, TimeZone};

/// Seconds of a day.
pub(crate) const DAY_SECONDS: i64 = 86_400;
/// Nanoseconds of a second.
pub(crate) const SECOND_NANOS: i64 = 1_000_000_000;

/// Year, month (1 to 12) and day (1 to 31) of days since 1970-01-01. Good for all days that fit in an `i32` and far
/// beyond.
#[inline]
pub(crate) fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Days since 1970-01-01.
#[inline]
pub(crate) fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Days of a month.
pub(crate) fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The same day (since 1970-01-01) some months later; the last of the month if there is no such day. Good for all days
/// that fit in an `i32`, and far beyond.
#[must_use]
pub fn add_months(days: i64, months: i64) -> i64 {
    if months == 0 {
        return days;
    }
    let (year, month, day) = civil_from_days(days);
    let total = year * 12 + month - 1 + months;
    let (year, month) = (total.div_euclid(12), total.rem_euclid(12) + 1);
    days_from_civil(year, month, day.min(days_in_month(year, month)))
}

/// Day of the week, Monday 1 to Sunday 7.
pub(crate) fn iso_weekday(days: i64) -> i64 {
    (days + 3).rem_euclid(7) + 1
}

/// ISO 8601 year and week.
pub(crate) fn iso_week(days: i64) -> (i64, i64) {
    // The week belongs to the year of its Thursday.
    let thursday = days - (iso_weekday(days) - 4);
    let (year, _, _) = civil_from_days(thursday);
    (year, (thursday - days_from_civil(year, 1, 1)) / 7 + 1)
}

/// A time zone, or none where local time is UTC.
#[derive(Clone, Debug)]
pub(crate) struct Zone(Option<Tz>);

impl Zone {
    /// The zone of a timestamp type; `None` if there is no such zone.
    pub(crate) fn new(name: Option<&str>) -> Option<Self> {
        match name {
            None | Some("UTC" | "Z" | "+00:00" | "Etc/UTC" | "GMT") => Some(Self(None)),
            Some(name) => Some(Self(Some(name.parse().ok()?))),
        }
    }

    /// Whether local time is UTC.
    pub(crate) fn is_utc(&self) -> bool {
        self.0.is_none()
    }

    /// Seconds to add to UTC for local time, at a moment in seconds of UTC.
    pub(crate) fn offset_at(&self, utc_seconds: i64) -> i64 {
        let Some(zone) = &self.0 else { return 0 };
        let Some(moment) = DateTime::from_timestamp(utc_seconds, 0) else { return 0 };
        i64::from(zone.offset_from_utc_datetime(&moment.naive_utc()).fix().local_minus_utc())
    }

    /// Seconds of UTC of a local reading in seconds. A doubled hour means its first pass; in a missing hour the clock is
    /// read as before the change (PostgreSQL).
    pub(crate) fn to_utc(&self, local_seconds: i64) -> i64 {
        let Some(zone) = &self.0 else { return local_seconds };
        let Some(local) = DateTime::from_timestamp(local_seconds, 0) else { return local_seconds };
        let offset = match zone.offset_from_local_datetime(&local.naive_utc()) {
            chrono::LocalResult::Single(offset) | chrono::LocalResult::Ambiguous(offset, _) => {
                i64::from(offset.fix().local_minus_utc())
            }
            chrono::LocalResult::None => self.offset_at(local_seconds - DAY_SECONDS),
        };
        local_seconds - offset
    }
}
