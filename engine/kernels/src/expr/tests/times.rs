//! Dates, timestamps and intervals.

use super::*;

fn days(text: &str) -> i32 {
    i32::try_from(crate::expr::functions::parse::date(text).unwrap()).unwrap()
}

fn at(text: &str) -> i64 {
    let utc = crate::expr::functions::calendar::Zone::new(None).unwrap();
    i64::try_from(crate::expr::functions::parse::timestamp(text, &utc, false).unwrap() / 1000).unwrap()
}

fn interval(months: i32, days: i32, nanos: i64) -> Expr {
    Expr::Literal(Literal { value: Value::Interval { months, days, nanos }, data_type: LogicalType::Interval })
}

const HOUR: i64 = 3_600_000_000_000;
const DATE: LogicalType = LogicalType::Date;

#[test]
fn the_calendar_agrees_with_chrono() {
    use chrono::Datelike;
    for day in (-800_000..3_000_000).step_by(997) {
        let chrono = chrono::NaiveDate::from_num_days_from_ce_opt(day + 719_163).unwrap();
        let (year, month, of_month) = crate::expr::functions::calendar::civil_from_days(day.into());
        assert_eq!((year, month, of_month), (chrono.year().into(), chrono.month().into(), chrono.day().into()));
        assert_eq!(crate::expr::functions::calendar::days_from_civil(year, month, of_month), i64::from(day));
        let (iso_year, week) = crate::expr::functions::calendar::iso_week(day.into());
        assert_eq!((iso_year, week), (chrono.iso_week().year().into(), chrono.iso_week().week().into()));
    }
}

#[test]
fn dates_and_intervals() {
    let a = dates([Some(days("2024-01-31")), Some(days("1998-12-01")), None]);
    check(&call("add", [col(0), interval(1, 0, 0)], DATE), &[a.clone()], &["2024-02-29", "1999-01-01", "NULL"]);
    check(&call("subtract", [col(0), interval(0, 90, 0)], DATE), &[a.clone()], &["2023-11-02", "1998-09-02", "NULL"]);
    check(&call("subtract", [col(0), interval(12, 1, 0)], DATE), &[a.clone()], &["2023-01-30", "1997-11-30", "NULL"]);
    check(&call("add", [interval(0, 1, 0), col(0)], DATE), &[a.clone()], &["2024-02-01", "1998-12-02", "NULL"]);
    check(&call("add", [col(0), int(1)], DATE), &[a.clone()], &["2024-02-01", "1998-12-02", "NULL"]);
    let micros = timestamp(Resolution::Microsecond);
    let expected = ["2024-01-31T12:00:00", "1998-12-01T12:00:00", "NULL"];
    check(&call("add", [col(0), interval(0, 0, 12 * HOUR)], micros), &[a.clone()], &expected);
    let b = dates([Some(days("2024-01-01")), Some(days("1999-01-01")), Some(0)]);
    check(&call("subtract", [col(0), col(1)], LogicalType::Int64), &[a.clone(), b.clone()], &["30", "-31", "NULL"]);
    check(&call("subtract", [col(0), col(1)], LogicalType::Int32), &[a.clone(), b], &["30", "-31", "NULL"]);
    check_error(&call("add", [col(0), int(i64::MAX)], DATE), &[a], "add of 2024-01-31 + 9223372036854775807");
}

#[test]
fn timestamps_and_intervals() {
    let micros_type = timestamp(Resolution::Microsecond);
    let a = micros([Some(at("2024-02-29 23:30:00.5")), None, Some(at("1969-12-31 23:59:59.999999"))]);
    let plus = |by| call("add", [col(0), by], micros_type.clone());
    check(&plus(interval(12, 0, 0)), &[a.clone()], &["2025-02-28T23:30:00.500", "NULL", "1970-12-31T23:59:59.999999"]);
    check(
        &plus(interval(0, 1, HOUR)),
        &[a.clone()],
        &["2024-03-02T00:30:00.500", "NULL", "1970-01-02T00:59:59.999999"],
    );
    let span =
        Expr::Literal(Literal { value: Value::Int(1500), data_type: LogicalType::Duration(Resolution::Millisecond) });
    let minus = call("subtract", [col(0), span], micros_type.clone());
    check(&minus, &[a.clone()], &["2024-02-29T23:29:59", "NULL", "1969-12-31T23:59:58.499999"]);
    let b = micros([Some(at("2024-02-28 22:30:00")), Some(0), Some(at("1970-01-01 00:00:00"))]);
    let difference = call("subtract", [col(0), col(1)], LogicalType::Duration(Resolution::Microsecond));
    let seconds = call("extract", [text("epoch"), difference], LogicalType::Float64);
    check(&seconds, &[a, b], &["90000.5", "NULL", "-1e-6"]);
}

#[test]
fn a_day_across_a_change_of_clocks_keeps_the_time() {
    let zone = |name: &str| LogicalType::Timestamp { resolution: Resolution::Second, zone: Some(name.into()) };
    // 2024-03-30 12:00 in Berlin is 11:00 UTC; a day later 12:00 is 10:00 UTC.
    let noon = at("2024-03-30 11:00:00") / 1_000_000;
    let a: ArrayRef = Arc::new(TimestampSecondArray::from(vec![noon]).with_timezone("Europe/Berlin"));
    let berlin = zone("Europe/Berlin");
    let next = call("add", [col(0), interval(0, 1, 0)], berlin.clone());
    check(&next, &[a.clone()], &["2024-03-31T12:00:00+02:00"]);
    check(
        &call("add", [col(0), interval(0, 0, 24 * HOUR)], berlin.clone()),
        &[a.clone()],
        &["2024-03-31T13:00:00+02:00"],
    );
    check(&call("date_trunc", [text("day"), next.clone()], berlin), &[a.clone()], &["2024-03-31T00:00:00+01:00"]);
    check(&call("extract", [text("hour"), next], LogicalType::Int64), &[a], &["12"]);
}

#[test]
fn parts_of_dates_and_timestamps() {
    let a = micros([Some(at("2024-12-30 13:14:15.678901")), Some(at("1969-12-31 00:00:01")), None]);
    let part = |field: &str, data_type| call("extract", [text(field), col(0)], data_type);
    for (field, first, second) in [
        ("year", "2024", "1969"),
        ("isoyear", "2025", "1970"),
        ("quarter", "4", "4"),
        ("month", "12", "12"),
        ("week", "1", "1"),
        ("day", "30", "31"),
        ("doy", "365", "365"),
        ("dow", "1", "3"),
        ("isodow", "1", "3"),
        ("hour", "13", "0"),
        ("minute", "14", "0"),
        ("second", "15", "1"),
        ("MILLISECOND", "15678", "1000"),
        ("microsecond", "15678901", "1000000"),
        ("century", "21", "20"),
        ("millennium", "3", "2"),
        ("decade", "202", "196"),
        ("epoch", "1735564455", "-86399"),
    ] {
        check(&part(field, LogicalType::Int64), &[a.clone()], &[first, second, "NULL"]);
        check(&part(field, LogicalType::Int32), &[a.clone()], &[first, second, "NULL"]);
    }
    check(&part("second", LogicalType::Float64), &[a.clone()], &["15.678901", "1.0", "NULL"]);
    check(&part("second", dec_type(8, 6)), &[a.clone()], &["15.678901", "1.000000", "NULL"]);
    check(&part("epoch", dec_type(20, 3)), &[a], &["1735564455.679", "-86399.000", "NULL"]);
    let b = dates([Some(days("1995-03-05")), None]);
    check(&call("date_part", [text("year"), col(0)], LogicalType::Int64), &[b.clone()], &["1995", "NULL"]);
    check(&call("date_part", [text("month"), col(0)], LogicalType::Int32), &[b.clone()], &["3", "NULL"]);
    check_error(
        &call("date_part", [text("yaer"), col(0)], LogicalType::Int64),
        &[b.clone()],
        "there is no field \"yaer\"",
    );
    check_error(&call("date_part", [text("month"), col(0)], LogicalType::Utf8), &[b], "but the plan states VARCHAR");
}

#[test]
fn truncation() {
    let micros_type = timestamp(Resolution::Microsecond);
    let a = micros([Some(at("2024-12-30 13:14:15.678901")), Some(at("1969-12-30 23:59:59.9")), None]);
    for (unit, first, second) in [
        ("millennium", "2001-01-01T00:00:00", "1001-01-01T00:00:00"),
        ("century", "2001-01-01T00:00:00", "1901-01-01T00:00:00"),
        ("decade", "2020-01-01T00:00:00", "1960-01-01T00:00:00"),
        ("year", "2024-01-01T00:00:00", "1969-01-01T00:00:00"),
        ("quarter", "2024-10-01T00:00:00", "1969-10-01T00:00:00"),
        ("month", "2024-12-01T00:00:00", "1969-12-01T00:00:00"),
        ("week", "2024-12-30T00:00:00", "1969-12-29T00:00:00"),
        ("day", "2024-12-30T00:00:00", "1969-12-30T00:00:00"),
        ("hour", "2024-12-30T13:00:00", "1969-12-30T23:00:00"),
        ("minute", "2024-12-30T13:14:00", "1969-12-30T23:59:00"),
        ("second", "2024-12-30T13:14:15", "1969-12-30T23:59:59"),
        ("millisecond", "2024-12-30T13:14:15.678", "1969-12-30T23:59:59.900"),
    ] {
        let truncated = call("date_trunc", [text(unit), col(0)], micros_type.clone());
        check(&truncated, &[a.clone()], &[first, second, "NULL"]);
    }
    let b = dates([Some(days("1995-03-05")), None]);
    check(&call("date_trunc", [text("month"), col(0)], DATE), &[b.clone()], &["1995-03-01", "NULL"]);
    check(&call("date_trunc", [text("month"), col(0)], micros_type.clone()), &[b], &["1995-03-01T00:00:00", "NULL"]);
    check_error(&call("date_trunc", [text("dow"), col(0)], micros_type), &[a], "cannot truncate to");
}

#[test]
fn intervals_and_durations_among_themselves() {
    let sum = call("add", [interval(1, 2, 3), interval(1, -5, 4)], LogicalType::Interval);
    let days = call("extract", [text("day"), sum], LogicalType::Int64);
    check(&days, &[], &["-3"]);
    let times = call("multiply", [interval(0, 2, HOUR), int(3)], LogicalType::Interval);
    check(&call("extract", [text("hour"), times], LogicalType::Int64), &[], &["3"]);
    let span: ArrayRef = Arc::new(DurationSecondArray::from(vec![Some(90_061), None]));
    let part = |field| call("extract", [text(field), col(0)], LogicalType::Int64);
    check(&part("day"), &[span.clone()], &["1", "NULL"]);
    check(&part("minute"), &[span.clone()], &["1", "NULL"]);
    let doubled = call("add", [col(0), col(0)], LogicalType::Duration(Resolution::Second));
    check(&call("extract", [text("epoch"), doubled], LogicalType::Int64), &[span], &["180122", "NULL"]);
}
